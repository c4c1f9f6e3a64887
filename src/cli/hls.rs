//! `forebay hls`: download, encode, publish.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use super::options::{EncryptArgs, Flags, MachineArgs, PackageArgs};
use super::plain::{Amount, Plain};
use super::progress::{Progress, first_line};
use super::report::Collector;
use super::tee::Tee;
use super::trouble::Trouble;
use super::{Exit, block_on, json, outcome, print_err, print_out};
use crate::app::{self, HlsRequest};
use crate::config::Config;
use crate::engine::{Listener, Summary};
use crate::model::failure::Class;
use crate::model::id;
use crate::model::item::Item;
use crate::source::list::BadLine;

const EXAMPLES: &str = "\
Examples:
  forebay hls talk.mp4 --to /srv/video
  forebay hls https://example.org/a.mp4 https://example.org/b.mp4 --to /srv/video
  forebay hls -a videos.txt --to /srv/video --downloads 8 --report run.html
  forebay hls s3://films/talks/ archive:raw/a.mp4 --to s3://public/video
  forebay hls talk.mp4 --to /srv/video --ladder 360p,720p --profile small
  forebay hls talk.mp4 --to /srv/video --encrypt aes-128 \\
      --key-uri 'https://example.org/keys/{key}' --keys /srv/keys

A list has one input a line; `#` begins a comment. Lines of .yaml and .jsonl
lists may add id, title, ladder, headers and priority.

After any stop, the same command goes on where it was.";

/// Downloads videos, encodes them to HLS and publishes them.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{}", super::EXIT_CODES))]
pub(super) struct Args {
    /// URLs, files, folders, objects or prefixes of stores, lists (.txt, .yaml, .jsonl), or `-` for a list on
    /// standard input.
    #[arg(required_unless_present = "list")]
    input: Vec<OsString>,
    /// A list of inputs; may be given several times.
    #[arg(short = 'a', long, value_name = "LIST")]
    list: Vec<OsString>,
    /// Where packages go: a folder, a store such as `s3://bucket/videos`, or `name:prefix` of the settings.
    #[arg(long, value_name = "DEST")]
    to: String,
    /// The video's id at the destination; for a single input.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    #[command(flatten)]
    package: PackageArgs,
    #[command(flatten)]
    encrypt: EncryptArgs,
    #[command(flatten)]
    machine: MachineArgs,
    #[command(flatten)]
    run: RunArgs,
}

/// How the run goes and what it says.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The run")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
struct RunArgs {
    /// Folder of the work state; `.forebay` beside the destination if not given.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Make packages anew that are there already.
    #[arg(long)]
    force: bool,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// One JSON event a line on standard output.
    #[arg(long)]
    json: bool,
    /// Print failures and nothing else.
    #[arg(long, short)]
    quiet: bool,
    /// Write an HTML page with a timeline of the run and why it took as long as it did.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<Exit, Trouble> {
    let config = settings(args)?;
    let (mut items, bad_lines) = read_inputs(&config, args)?;
    if let Some(id) = &args.id {
        name_single(&mut items, id)?;
    }
    for bad in &bad_lines {
        tell_bad_line(bad, args.run.json);
    }
    if items.is_empty() {
        return if bad_lines.is_empty() { Err(nothing_to_do()) } else { Ok(no_items(&bad_lines)) };
    }
    if let Some(file) = &args.run.report {
        super::check_report(file)?;
    }
    let count = items.len() as u64;
    let amount = Amount::of(&args.run);
    if amount != Amount::Quiet {
        print_err(&first_line(count, &args.to));
    }
    let collector = args.run.report.is_some().then(Collector::default);
    let request = HlsRequest {
        items,
        to: args.to.clone(),
        state: args.run.state.clone(),
        force: args.run.force,
        dry_run: args.run.dry_run,
    };
    let mut listener = listener(&args.run, count, collector.as_ref());
    let result = block_on(app::hls(&config, request, &mut listener))?;
    // The bars go before anything else is printed.
    drop(listener);
    let summary = result?;
    let bad = bad_lines.len() as u64;
    if amount != Amount::Quiet {
        print_err(outcome::summary(&summary, bad).trim_end());
    }
    if args.run.json {
        print_out(&json::summary(&summary, bad).to_string());
    }
    if let (Some(file), Some(collector)) = (&args.run.report, &collector) {
        collector.take().write(file, &summary, &args.to)?;
    }
    Ok(exit(&summary, bad))
}

fn settings(args: &Args) -> Result<Config, Trouble> {
    let mut flags = Flags::default();
    args.package.add_to(&mut flags);
    args.encrypt.add_to(&mut flags)?;
    args.machine.add_to(&mut flags)?;
    flags.config()
}

/// The inputs and lists as items and bad lines.
fn read_inputs(config: &Config, args: &Args) -> Result<(Vec<Item>, Vec<BadLine>), Trouble> {
    let entries = block_on(app::inputs(config, &args.input, &args.list))?;
    let entries = entries.map_err(|failure| Trouble::from(failure).exit(Exit::Usage))?;
    let (mut items, mut bad_lines) = (Vec::new(), Vec::new());
    for entry in entries {
        match entry {
            Ok(item) => items.push(item),
            Err(bad) => bad_lines.push(bad),
        }
    }
    Ok((items, bad_lines))
}

/// Gives the only one of `items` an id.
pub(super) fn name_single(items: &mut [Item], id: &str) -> Result<(), Trouble> {
    let [item] = items else {
        let trouble = Trouble::usage(format!("--id names one video, but there are {}", items.len()));
        return Err(trouble.hint("give ids in a .yaml or .jsonl list"));
    };
    if !id::check(id) {
        let trouble = Trouble::usage(format!("`{id}` cannot be an id"));
        return Err(trouble.hint("use up to 96 letters, digits, `.`, `_` and `-`, the first a letter or digit"));
    }
    item.id = Some(id.into());
    Ok(())
}

fn nothing_to_do() -> Trouble {
    Trouble::usage("there are no inputs").hint("the lists hold only comments, or the folders no videos")
}

/// Nothing can be begun: what was typed is wrong, unless it is only the stores that cannot be asked.
pub(super) fn no_items(bad_lines: &[BadLine]) -> Exit {
    let environment = bad_lines.iter().all(|bad| bad.class == Class::Environment);
    if environment { Exit::Environment } else { Exit::Usage }
}

fn tell_bad_line(bad: &BadLine, json: bool) {
    print_err(&outcome::failed(&bad.place, &bad.failure()));
    if json {
        print_out(&json::bad_line(&bad.place, &bad.message).to_string());
    }
}

impl Amount {
    /// Events on a terminal leave no room for other lines there.
    fn of(run: &RunArgs) -> Self {
        let quiet = run.quiet || (run.json && std::io::stdout().is_terminal());
        if quiet { Self::Quiet } else { Self::Normal }
    }
}

fn listener(run: &RunArgs, items: u64, collector: Option<&Collector>) -> Tee {
    let amount = Amount::of(run);
    let logged = std::env::var_os("FOREBAY_LOG").is_some_and(|filter| !filter.is_empty());
    let human: Box<dyn Listener> = if amount == Amount::Normal && std::io::stderr().is_terminal() && !logged {
        Box::new(Progress::new(items))
    } else {
        Box::new(Plain::new(items, amount))
    };
    let mut listeners = vec![human];
    if run.json {
        listeners.push(Box::new(json::Json::new(std::io::stdout())));
    }
    if let Some(collector) = collector {
        listeners.push(Box::new(collector.clone()));
    }
    Tee { listeners }
}

fn exit(summary: &Summary, bad_lines: u64) -> Exit {
    if summary.parked > 0 {
        // Without a signal it was trouble of this machine that ended the run.
        return if summary.stopped { Exit::Stopped } else { Exit::Environment };
    }
    if summary.failed == 0 {
        return if bad_lines == 0 { Exit::Done } else { Exit::SomeFailed };
    }
    // Trouble of this machine meets every item alike; the input is not to blame.
    if summary.environment == summary.failed { Exit::Environment } else { Exit::SomeFailed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::Usage;
    use crate::model::item::Locator;

    #[test]
    fn exit_codes_tell_who_has_to_act() {
        let run = |done, failed, environment, parked, stopped| Summary {
            done,
            already: 0,
            would: 0,
            failed,
            environment,
            parked,
            stopped,
            seconds: 1.0,
            source_seconds: 1.0,
            usage: Usage::default(),
        };
        let cases = [
            (run(3, 0, 0, 0, false), 0, Exit::Done),
            (run(3, 0, 0, 0, false), 1, Exit::SomeFailed),
            (run(2, 1, 0, 0, false), 0, Exit::SomeFailed),
            (run(2, 2, 1, 0, false), 0, Exit::SomeFailed),
            (run(2, 2, 2, 0, false), 0, Exit::Environment),
            (run(2, 1, 1, 1, true), 0, Exit::Stopped),
            (run(0, 3, 3, 9, false), 0, Exit::Environment),
        ];
        for (summary, bad_lines, expected) in cases {
            assert_eq!(exit(&summary, bad_lines), expected, "{summary:?}");
        }
    }

    #[test]
    fn an_id_names_one_video() {
        let item = || Item::new(0, Locator::File("a.mp4".into()));
        let mut one = [item()];
        assert!(name_single(&mut one, "clip").is_ok());
        assert_eq!(one[0].id.as_deref(), Some("clip"));
        assert!(name_single(&mut one, "../clip").is_err());
        assert!(name_single(&mut [item(), item()], "clip").is_err());
    }
}
