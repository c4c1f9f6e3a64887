//! `forebay verify` from its request to its verdict.

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::job::verify::render::render;
use crate::job::verify::{Decode, Location, VerifyOptions, verify};
use crate::model::failure::Failure;
use crate::model::secret::Secret;
use crate::scratch::file::Privacy;
use crate::tool::find;

/// Segments that are read at once: enough to keep a link busy, few enough for memory.
const AT_ONCE: usize = 8;

/// The environment variable with the key of a package, in hex.
pub const KEY_VARIABLE: &str = "FOREBAY_VERIFY_KEY";

/// What `forebay verify` was asked to check.
#[derive(Clone, Debug)]
pub struct VerifyRequest {
    /// A playlist or a DASH manifest: a path, a folder that holds one, or a URL.
    pub package: String,
    /// The file that the package was made from.
    pub source: Option<PathBuf>,
    /// Folder of key files, or one key file, to look into encrypted segments.
    pub keys: Option<PathBuf>,
    /// Which segments are decoded; without an answer some, if there is ffmpeg.
    pub decode: Option<Decode>,
    /// Whether Apple's own rules bind.
    pub apple: bool,
    /// Whether warnings count.
    pub strict: bool,
}

/// What `forebay verify` found.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Whether no rule is broken.
    pub right: bool,
    /// The findings for people, safe to print.
    pub text: String,
    /// The findings for programs.
    pub json: serde_json::Value,
}

/// Checks a package against the HLS rules.
pub async fn check(config: &Config, request: VerifyRequest) -> Result<Verdict, Failure> {
    let ffprobe = find::program("ffprobe", &config.tools.ffprobe);
    let ffmpeg = find::program("ffmpeg", &config.tools.ffmpeg);
    let has_tools = ffprobe.is_some() && ffmpeg.is_some();
    let decode = request.decode.unwrap_or(if has_tools { Decode::Sample } else { Decode::Nothing });
    if !has_tools && (decode != Decode::Nothing || request.source.is_some()) {
        return Err(Failure::environment("there is no `ffprobe` or no `ffmpeg`")
            .hint("install ffmpeg, or leave --source away and say --decode none"));
    }
    let (keys, key) = keys(request.keys)?;
    let options = VerifyOptions {
        keys,
        key,
        source: request.source,
        decode,
        apple: request.apple,
        at_once: AT_ONCE,
        ffprobe: ffprobe.unwrap_or_default(),
        ffmpeg: ffmpeg.unwrap_or_default(),
        cancel: CancellationToken::new(),
    };
    let report = verify(location(config, &request.package)?, options).await?;
    let json = serde_json::to_value(&report).map_err(|error| Failure::environment(error.to_string()))?;
    let right = report.violations.is_empty() && (report.warnings.is_empty() || !request.strict);
    Ok(Verdict { right, text: render(&report), json })
}

/// Where the package is: a URL, a path, or a store that the settings know.
fn location(config: &Config, package: &str) -> Result<Location, Failure> {
    let known = Location::parse(package);
    let is_url = matches!(known, Location::Url(_));
    if is_url || Path::new(package).exists() || config.stores.is_folder(package) {
        return Ok(known);
    }
    let (folder, name) = package.rsplit_once('/').unwrap_or((package, ""));
    let is_list = [".m3u8", ".m3u", ".mpd"].iter().any(|end| name.to_ascii_lowercase().ends_with(end));
    let (folder, name) = if is_list { (folder, Some(name.to_owned())) } else { (package, None) };
    Ok(Location::Store(config.stores.open(folder, Privacy::Public)?, name))
}

/// The folder of keys, and the one key that is given as a file or in the environment.
fn keys(path: Option<PathBuf>) -> Result<(Option<PathBuf>, Option<Secret>), Failure> {
    let given =
        match std::env::var(KEY_VARIABLE) {
            Ok(text) => Some(read_key(text.as_bytes()).ok_or_else(|| {
                Failure::permanent(format!("`{KEY_VARIABLE}` is not a key")).hint("give 32 hex digits")
            })?),
            Err(_) => None,
        };
    match path {
        Some(path) if path.is_file() => Ok((None, Some(key_file(&path)?))),
        path => Ok((path, given)),
    }
}

/// A key in a file of its own: 16 bytes, or 32 hex digits.
fn key_file(path: &Path) -> Result<Secret, Failure> {
    let what = format!("could not read the key `{}`", path.display());
    let length = path.metadata().map_err(|error| Failure::io(&what, &error))?.len();
    let bytes =
        if length > 256 { Vec::new() } else { std::fs::read(path).map_err(|error| Failure::io(&what, &error))? };
    read_key(&bytes).ok_or_else(|| Failure::permanent(format!("{what}: it is neither 16 bytes nor 32 hex digits")))
}

fn read_key(bytes: &[u8]) -> Option<Secret> {
    if bytes.len() == 16 {
        return Some(Secret::new(bytes.to_vec()));
    }
    let key = hex::decode(bytes.trim_ascii()).ok()?;
    (key.len() == 16).then(|| Secret::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_bytes_or_digits() {
        assert_eq!(read_key(&[7; 16]), Some(Secret::new(vec![7; 16])));
        assert_eq!(read_key(b"07070707070707070707070707070707\n"), Some(Secret::new(vec![7; 16])));
        for wrong in [&b""[..], &[7; 17], b"0707", b"x7070707070707070707070707070707"] {
            assert_eq!(read_key(wrong), None);
        }
    }
}
