//! `forebay verify`: checks a package against the HLS rules.

use std::path::PathBuf;

use super::options::Flags;
use super::trouble::Trouble;
use super::{Exit, block_on, print_out};
use crate::app::check::{VerifyRequest, check};
use crate::job::verify::Decode;

const EXAMPLES: &str = "\
Examples:
  forebay verify /srv/video/talk-1f0c2a9b/master.m3u8
  forebay verify https://cdn.example/talk/master.m3u8 --apple --json
  forebay verify s3://bucket/talk/master.m3u8
  forebay verify out/talk --source talk.mp4 --keys /srv/keys --decode all

Exits with 0 if no rule is broken, with 1 if one is.
The key of a package may also be given in FOREBAY_VERIFY_KEY, in hex.";

/// Checks a package, ours or anyone's, against the rules of HLS and DASH.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// A master or media playlist, or a DASH manifest: a file, a folder that holds one, a URL, or an object in a store.
    master: String,
    /// The file that the package was made from: length, pictures and sound are compared.
    #[arg(long, value_name = "FILE")]
    source: Option<PathBuf>,
    /// Folder of key files, or one key file, to look into encrypted segments.
    #[arg(long, value_name = "PATH")]
    keys: Option<PathBuf>,
    /// Segments of each rendition that are decoded: none, the first, the middle and the last, or all.
    #[arg(long, value_name = "WHICH", num_args = 0..=1, default_missing_value = "sample")]
    decode: Option<Which>,
    /// Let Apple's own rules bind, as its review of apps does.
    #[arg(long)]
    apple: bool,
    /// Let warnings count as violations for the exit code.
    #[arg(long)]
    strict: bool,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
}

/// Which segments are decoded.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Which {
    None,
    Sample,
    All,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<Exit, Trouble> {
    let config = Flags::default().config()?;
    let decode = args.decode.map(|which| match which {
        Which::None => Decode::Nothing,
        Which::Sample => Decode::Sample,
        Which::All => Decode::All,
    });
    let request = VerifyRequest {
        package: args.master.clone(),
        source: args.source.clone(),
        keys: args.keys.clone(),
        decode,
        apple: args.apple,
        strict: args.strict,
    };
    let verdict = block_on(check(&config, request))??;
    let text = if args.json { verdict.json.to_string() } else { verdict.text };
    print_out(text.trim_end());
    Ok(if verdict.right { Exit::Done } else { Exit::SomeFailed })
}
