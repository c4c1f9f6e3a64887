//! `forebay plan`: what would be made of an input, and why.

use std::ffi::OsString;

use super::options::{Flags, PackageArgs};
use super::text::clean;
use super::trouble::Trouble;
use super::{Exit, block_on, print_err, print_out};
use crate::app;

const EXAMPLES: &str = "\
Examples:
  forebay plan talk.mp4
  forebay plan https://example.org/talk.mp4 --ladder 720p --profile small";

/// Explains what would be made of an input and why, without doing it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// A URL, a file, a folder, or an object or prefix of a store.
    #[arg(required = true)]
    input: Vec<OsString>,
    #[command(flatten)]
    package: PackageArgs,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<Exit, Trouble> {
    let mut flags = Flags::default();
    args.package.add_to(&mut flags);
    let config = flags.config()?;
    let entries = block_on(app::inputs(&config, &args.input, &[]))?;
    let entries = entries.map_err(|failure| Trouble::from(failure).exit(Exit::Usage))?;
    block_on(async {
        let mut exit = Exit::Done;
        for entry in entries {
            let lines = match entry {
                Ok(item) => {
                    app::explain::explain(&config, &item).await.map_err(|failure| Trouble::from(failure).to_string())
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
