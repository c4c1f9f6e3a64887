//! `forebay plan`: what would be made of an input, and why.

use std::ffi::OsString;

use super::options::{Flags, PackageArgs};
use super::text::clean;
use super::trouble::Trouble;
use super::{Exit, block_on, hls, print_err, print_out};
use crate::app;

const EXAMPLES: &str = "\
Examples:
  forebay plan talk.mp4
  forebay plan https://example.org/talk.mp4 --ladder 720p --profile small
  forebay plan talk.mp4 --ladder 360p,720p --to /srv/video";

/// Explains what would be made of an input and why, without doing it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// A URL, a file, a folder, or an object or prefix of a store.
    #[arg(required = true)]
    input: Vec<OsString>,
    /// Where the package would go: what is published there already need not be encoded.
    #[arg(long, value_name = "DEST")]
    to: Option<String>,
    /// The video's id at the destination; for a single input.
    #[arg(long, value_name = "ID", requires = "to")]
    id: Option<String>,
    #[command(flatten)]
    package: PackageArgs,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<Exit, Trouble> {
    let mut flags = Flags::default();
    args.package.add_to(&mut flags);
    let config = flags.config()?;
    let entries = block_on(app::inputs(&config, &args.input, &[]))?;
    let mut entries = entries.map_err(|failure| Trouble::from(failure).exit(Exit::Usage))?;
    match (&args.id, entries.as_mut_slice()) {
        (Some(id), [Ok(item)]) => hls::name_single(std::slice::from_mut(item), id)?,
        (Some(_), _) => return Err(Trouble::usage("--id names one video").hint("give one input that is a video")),
        (None, _) => {}
    }
    block_on(async {
        let mut exit = Exit::Done;
        for entry in entries {
            let lines = match entry {
                Ok(item) => {
                    let lines = app::explain::explain(&config, &item, args.to.as_deref()).await;
                    lines.map_err(|failure| Trouble::from(failure).to_string())
                }
                Err(bad) => Err(Trouble::usage(format!("{}: {}", bad.place, bad.message)).to_string()),
            };
            match lines {
                Ok(lines) => lines.iter().for_each(|line| print_out(&clean(line))),
                Err(error) => {
                    print_err(error.trim_end());
                    exit = Exit::SomeFailed;
                }
            }
        }
        exit
    })
}
