//! `forebay migrate`: from one store to another, with a row for every object in a catalog.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::migrate_page::Timeline;
use super::options::Flags;
use super::text::{clean, count, percent, size, time};
use super::trouble::Trouble;
use super::{Exit, block_on, print_err, print_out};
use crate::app::migrate::{self, MigrateRequest};
use crate::job::migrate::{Moved, Summary};
use crate::plan::migrate::{Filter, Sign};

const EXAMPLES: &str = "\
Examples:
  forebay migrate s3://archive --to swift://archive --catalog archive.db
  forebay migrate s3://archive/2024 --to /mnt/nas/2024 --catalog postgres://ann@db/media
  forebay migrate s3://a --to swift://a --catalog a.db --include '*.jpg' --exclude 'tmp/**'
  forebay migrate s3://a --to swift://a --catalog a.db --dry-run --combined -
  forebay migrate s3://a --to swift://a --catalog a.db --verify-only --read-back

Nothing is ever changed at the source. A row is written once its object is at
the destination and checked there. After any stop, the same command goes on.";

/// Moves objects from one store to another and records what they are in a catalog.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{}", super::EXIT_CODES))]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct Args {
    /// Where objects come from: a store, or a folder.
    #[arg(value_name = "SRC")]
    from: String,
    /// Where they go: a store, or a folder.
    #[arg(long, value_name = "DEST")]
    to: String,
    /// The catalog: a file, or `postgres://USER@HOST/DATABASE`.
    #[arg(long, value_name = "DB")]
    catalog: String,
    /// Only objects whose key fits: `*` within a part, `**` across parts; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    include: Vec<String>,
    /// No objects whose key fits.
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Most bytes a second, such as `10MB`.
    #[arg(long, value_name = "SIZE")]
    bandwidth: Option<String>,
    /// Objects on their way at once.
    #[arg(long, value_name = "N")]
    transfers: Option<String>,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Compare the destination with the catalog, and copy nothing.
    #[arg(long, conflicts_with = "dry_run")]
    verify_only: bool,
    /// Read every object back from the destination and compare its SHA-256.
    #[arg(long)]
    read_back: bool,
    /// Write a line for every object: `=` there already, `+` new, `*` changed, `-` gone from the source,
    /// `!` failed. `-` is standard output.
    #[arg(long, value_name = "FILE")]
    combined: Option<PathBuf>,
    /// Folder of the work state.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Write an HTML page with the throughput over time.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// One JSON event a line on standard output.
    #[arg(long)]
    json: bool,
    /// Print failures and nothing else.
    #[arg(long, short)]
    quiet: bool,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<Exit, Trouble> {
    let mut flags = Flags::default();
    flags.text("--bandwidth", "migrate.bandwidth", args.bandwidth.as_ref());
    flags.text("--transfers", "migrate.transfers", args.transfers.as_ref());
    let config = flags.config()?;
    if let Some(file) = &args.report {
        super::check_report(file)?;
    }
    let request = MigrateRequest {
        from: args.from.clone(),
        to: args.to.clone(),
        catalog: args.catalog.clone(),
        filter: Filter { include: args.include.clone(), exclude: args.exclude.clone() },
        verify_only: args.verify_only,
        read_back: args.read_back,
        dry_run: args.dry_run,
        state: args.state.clone(),
    };
    let teller = Teller::new(args)?;
    let (tick, moved) = (|bytes| teller.tick(bytes), |moved| teller.tell(&moved));
    let result = block_on(migrate::migrate(&config, request, &tick, &moved))?;
    teller.bar.finish_and_clear();
    let summary = result?;
    let seconds = teller.begun.elapsed().as_secs_f64();
    if !args.quiet {
        print_err(&last_lines(&summary, seconds, args));
    }
    if args.json {
        print_out(&json_summary(&summary, seconds).to_string());
    }
    let state = teller.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(mut combined) = state.combined {
        let flushed = combined.flush();
        flushed.map_err(|error| Trouble::environment("could not write the list of --combined").because(&error))?;
    }
    if let Some(file) = &args.report {
        let title = format!("{} → {}", args.from, args.to);
        super::report::write_page(file, &state.timeline.page(&title, &summary, seconds))?;
    }
    Ok(exit(&summary, args.verify_only))
}

/// Prints what happens.
struct Teller {
    quiet: bool,
    json: bool,
    begun: Instant,
    bar: ProgressBar,
    state: Mutex<State>,
}

struct State {
    combined: Option<Box<dyn std::io::Write + Send>>,
    timeline: Timeline,
}

impl Teller {
    fn new(args: &Args) -> Result<Self, Trouble> {
        let taken = args.combined.as_deref() == Some(Path::new("-")) || args.json;
        let taken = args.quiet || (taken && std::io::stdout().is_terminal());
        let bar =
            if !taken && std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{spinner} {pos} objects, {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        let combined: Option<Box<dyn std::io::Write + Send>> = match &args.combined {
            None => None,
            Some(path) if path == Path::new("-") => Some(Box::new(std::io::stdout())),
            Some(path) => {
                let file = std::fs::File::create(path)
                    .map_err(|error| Trouble::usage(format!("could not write `{}`", path.display())).because(&error))?;
                Some(Box::new(std::io::BufWriter::new(file)))
            }
        };
        let state = Mutex::new(State { combined, timeline: Timeline::default() });
        Ok(Self { quiet: args.quiet, json: args.json, begun: Instant::now(), bar, state })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tick(&self, bytes: u64) {
        self.bar.set_message(size(bytes));
        self.state().timeline.note(self.begun.elapsed().as_secs_f64(), bytes, self.bar.position());
    }

    fn tell(&self, moved: &Moved) {
        let name = if moved.key.is_empty() { "(the listing)" } else { &moved.key };
        self.bar.inc(1);
        if let Some(failure) = &moved.failure {
            let hint = failure.hint.as_ref().map_or_else(String::new, |hint| format!("\n      hint: {}", clean(hint)));
            self.bar.suspend(|| print_err(&format!("fail  {}: {}{hint}", clean(name), clean(&failure.what))));
        } else if moved.sign == Sign::Gone && !self.quiet {
            self.bar.suspend(|| print_err(&format!("gone  {}  from the source; it stays where it is", clean(name))));
        }
        if self.json {
            print_out(&json_line(moved).to_string());
        }
        if let Some(combined) = &mut self.state().combined {
            // A reader that went away wants no more lines; a full disk shows when the list is flushed.
            writeln!(combined, "{} {}", moved.sign.letter(), one_line(name)).unwrap_or_default();
        }
    }
}

/// A key on one line: what would break it is escaped.
fn one_line(key: &str) -> String {
    let escape = |character: char| character.is_control() || character == '\\';
    let escaped = |character: char| {
        if escape(character) { character.escape_default().to_string() } else { character.to_string() }
    };
    key.chars().map(escaped).collect()
}

fn json_line(moved: &Moved) -> serde_json::Value {
    let failure = moved.failure.as_ref();
    json!({
        "event": "object", "key": moved.key, "sign": moved.sign.letter().to_string(), "bytes": moved.bytes,
        "class": failure.map(|failure| failure.class), "error": failure.map(|failure| &failure.what),
        "hint": failure.and_then(|failure| failure.hint.as_ref()),
    })
}

fn json_summary(summary: &Summary, seconds: f64) -> serde_json::Value {
    json!({
        "event": "summary", "same": summary.same, "new": summary.new, "changed": summary.changed,
        "gone": summary.gone, "failed": summary.failed, "left": summary.left, "bytes": summary.bytes,
        "stopped": summary.stopped, "seconds": seconds,
    })
}

fn last_lines(summary: &Summary, seconds: f64, args: &Args) -> String {
    let (new, changed) = match (args.verify_only, args.dry_run) {
        (true, _) => ("missing", "different"),
        (_, true) => ("would be copied", "would be replaced"),
        _ => ("copied", "replaced"),
    };
    let parts = [
        (summary.same, "the same"),
        (summary.new, new),
        (summary.changed, changed),
        (summary.gone, "gone from the source"),
        (summary.failed, "failed"),
        (summary.left, "left for the next run"),
    ];
    let told: Vec<String> =
        parts.iter().filter(|(number, _)| *number > 0).map(|(n, what)| format!("{n} {what}")).collect();
    let objects = summary.same + summary.new + summary.changed + summary.failed;
    let told = if told.is_empty() { "nothing to do".to_owned() } else { told.join(", ") };
    let mut lines = format!("{} in {}: {told}", count(objects, "object"), time(seconds));
    if summary.bytes > 0 && !args.verify_only {
        lines = format!("{lines}\n{}", size(summary.bytes));
    }
    if let Some(stage) = summary.stages.bottleneck().filter(|_| summary.bytes > 0 && !args.dry_run) {
        let busy = percent(stage.utilization(summary.stages.elapsed));
        lines = format!("{lines}, bound by `{}`, whose {} places were busy {busy}", stage.name, stage.concurrency);
    }
    if summary.stopped {
        lines.push_str("\nstopped; the same command goes on where it was");
    }
    lines
}

fn exit(summary: &Summary, verify_only: bool) -> Exit {
    let wrong = verify_only && summary.new + summary.changed > 0;
    match summary {
        Summary { stopped: true, .. } => Exit::Stopped,
        Summary { failed: 0, left: 0, .. } if !wrong => Exit::Done,
        Summary { failed, environment, .. } if *failed > 0 && failed == environment && !wrong => Exit::Environment,
        _ => Exit::SomeFailed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stays_on_its_line() {
        assert_eq!(one_line("a\nb\\c \u{fc}"), "a\\nb\\\\c \u{fc}");
    }

    #[test]
    fn a_difference_that_is_found_is_no_success() {
        let summary = Summary { same: 1, changed: 1, ..Summary::default() };
        assert_eq!(exit(&summary, true), Exit::SomeFailed);
        assert_eq!(exit(&summary, false), Exit::Done);
    }
}
