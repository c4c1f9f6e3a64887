//! `forebay verify`: checks a package against the HLS rules.

use std::path::PathBuf;

use super::options::Flags;
use super::trouble::Trouble;
use super::{Exit, block_on, print_out};
use crate::app::check::{VerifyRequest, check};

const EXAMPLES: &str = "\
Examples:
  forebay verify /srv/video/talk-1f0c2a9b/master.m3u8
  forebay verify out/talk --source talk.mp4 --keys /srv/keys --decode

Exits with 0 if no rule is broken, with 1 if one is.";

/// Checks a package, ours or anyone's, against the HLS rules.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The master playlist: a file, a folder that holds `master.m3u8`, or a URL.
    master: String,
    /// The file that the package was made from; lengths are compared.
    #[arg(long, value_name = "FILE")]
    source: Option<PathBuf>,
    /// Folder of key files, to look into encrypted segments.
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// Decode the first, the middle and the last segment of each rendition.
    #[arg(long)]
    decode: bool,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<Exit, Trouble> {
    let config = Flags::default().config()?;
    let request = VerifyRequest {
        master: args.master.clone(),
        source: args.source.clone(),
        keys: args.keys.clone(),
        decode: args.decode,
    };
    let verdict = block_on(check(&config, request))??;
    let text = if args.json { verdict.json.to_string() } else { verdict.text };
    print_out(text.trim_end());
    Ok(if verdict.right { Exit::Done } else { Exit::SomeFailed })
}
