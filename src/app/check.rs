//! `forebay verify` from its request to its verdict.

use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::job::verify::render::render;
use crate::job::verify::{Location, VerifyOptions, verify};
use crate::model::failure::Failure;
use crate::tool::find;

/// Segments that are read at once: enough to keep a link busy, few enough for memory.
const AT_ONCE: usize = 8;

/// What `forebay verify` was asked to check.
#[derive(Clone, Debug)]
pub struct VerifyRequest {
    /// A master playlist: a path, a folder that holds one, or a URL.
    pub master: String,
    /// The file that the package was made from.
    pub source: Option<PathBuf>,
    /// Folder of key files, to look into encrypted segments.
    pub keys: Option<PathBuf>,
    /// Decode some segments of each rendition.
    pub decode: bool,
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
    if ffprobe.is_none() && (request.decode || request.source.is_some()) {
        return Err(
            Failure::environment("there is no `ffprobe`").hint("install ffmpeg, or leave --source and --decode away")
        );
    }
    let options = VerifyOptions {
        keys: request.keys,
        source: request.source,
        decode: request.decode,
        at_once: AT_ONCE,
        ffprobe: ffprobe.unwrap_or_default(),
        cancel: CancellationToken::new(),
    };
    let report = verify(Location::parse(&request.master), options).await?;
    let json = serde_json::to_value(&report).map_err(|error| Failure::environment(error.to_string()))?;
    Ok(Verdict { right: report.violations.is_empty(), text: render(&report), json })
}
