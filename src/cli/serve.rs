//! `forebay serve`: the page, the API, the key server, and a worker.

use std::path::PathBuf;

use super::options::{Flags, MachineArgs, PackageArgs, QueueArgs, cores};
use super::text::clean;
use super::trouble::Trouble;
use super::{Exit, block_on, print_err};
use crate::app;
use crate::app::serve::{Opening, ServeRequest};
use crate::engine::worker::News;

const EXAMPLES: &str = "\
Examples:
  forebay serve
  forebay serve --to /srv/video --listen 127.0.0.1:9000
  forebay token add site --scope submit && \\
      forebay serve --listen 0.0.0.0:8080 --public-url https://video.example.org

Without settings it is for one person on this machine: open the page, drop a
file, play it. Beyond 127.0.0.1 it starts only when there is a token.";

/// Serves a page and an API to upload, encode, watch and play videos.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Where videos are published and served from: a folder; `media` in the state folder if not given.
    #[arg(long, value_name = "DEST")]
    to: Option<String>,
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// How people and players reach this server, if another stands before it.
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// A collector of OpenTelemetry that hears of jobs, such as `http://127.0.0.1:4318`.
    #[arg(long, value_name = "URL")]
    otlp: Option<String>,
    /// Do no jobs: leave them to `forebay worker` on other machines.
    #[arg(long)]
    no_worker: bool,
    /// Folder of the work state, tokens, uploads and keys; in the user's state folder if not given.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    #[command(flatten)]
    queue: QueueArgs,
    #[command(flatten)]
    package: PackageArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<Exit, Trouble> {
    let mut flags = Flags::default();
    args.queue.add_to(&mut flags);
    args.package.add_to(&mut flags);
    args.machine.add_to(&mut flags)?;
    flags.text("--otlp", "worker.otlp", args.otlp.as_ref());
    flags.text("--to", "serve.to", args.to.as_ref());
    flags.text("--listen", "serve.listen", args.listen.as_ref());
    flags.text("--public-url", "serve.public-url", args.public_url.as_ref());
    flags.clone().config()?;
    let request = ServeRequest {
        flags: flags.into_flags(),
        cores: cores(),
        state: args.state.clone(),
        no_worker: args.no_worker,
    };
    block_on(app::serve::serve(request, begin, &mut tell))??;
    Ok(Exit::Done)
}

fn begin(opening: &Opening) {
    for warning in &opening.warnings {
        print_err(&format!("warning: {}", clean(warning)));
    }
    print_err(&format!("serving {}, videos go to {}", opening.address, clean(&opening.to)));
    if opening.open {
        print_err("everybody on this machine may use it; `forebay token add` makes a first token");
    }
}

fn tell(news: &News) {
    match news {
        News::Ended { id, outcome: Err(failure), .. } => {
            print_err(&clean(&format!("job {id}: {failure}")));
        }
        News::Outage { why } => print_err(&clean(&format!("warning: {why}; trying again"))),
        News::Back => print_err("the queue is there again"),
        News::Benched { seconds, why } => {
            print_err(&clean(&format!(
                "warning: several jobs in a row failed here; taking none for {seconds:.0} s: {why}"
            )));
        }
        News::Draining => print_err("stopping; running chunks are finished first"),
        News::Took { .. } | News::Job { .. } | News::Ended { .. } => {}
    }
}
