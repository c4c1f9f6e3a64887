//! `forebay verify`: checks a package against the HLS rules.

use std::path::PathBuf;

use super::options::Flags;
use super::text::{clean, count};
use super::trouble::Trouble;
use super::{Exit, block_on, print_out};
use crate::app;

const EXAMPLES: &str = "\
Examples:
  forebay verify /srv/video/talk-1f0c2a9b/master.m3u8
  forebay verify out/talk/master.m3u8 --source talk.mp4";

/// Checks a package, ours or anyone's, against the HLS rules.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The master playlist.
    master: String,
    /// The file it was made from; its length is compared.
    #[arg(long, value_name = "FILE")]
    source: Option<PathBuf>,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<Exit, Trouble> {
    let config = Flags::default().config()?;
    let verdict = block_on(app::verify(&config, &args.master, args.source.as_deref()))??;
    for note in &verdict.notes {
        print_out(&format!("ok    {}", clean(note)));
    }
    for problem in &verdict.problems {
        print_out(&format!("FAIL  {}", clean(problem)));
    }
    if verdict.problems.is_empty() {
        print_out("the package is right");
        return Ok(Exit::Done);
    }
    let problems = u64::try_from(verdict.problems.len()).unwrap_or(u64::MAX);
    print_out(&format!("{} found", count(problems, "problem")));
    Ok(Exit::SomeFailed)
}
