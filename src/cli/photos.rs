//! `forebay photos`: pictures made to fit, and mailed.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::options::Flags;
use super::photo_sheet::Sheet;
use super::text::{clean, count, percent, size, time};
use super::trouble::Trouble;
use super::{Exit, block_on, print_err, print_out};
use crate::app::photos::{self, Begun, PhotosRequest};
use crate::job::photo::{Said, Summary};

const EXAMPLES: &str = "\
Examples:
  forebay photos /media/card --to ~/Pictures/small
  forebay photos /media/card --to ~/Pictures/small --max-size 2MB --max-edge 3000
  forebay photos /media/card --to web --format avif --max-edge 2000
  FOREBAY_MAIL__FROM=me@example.org forebay photos *.jpg --to small --mail ann@example.org --eml outbox
  forebay photos /media/card --to small --report sheet.html

Originals are never touched, and nothing is enlarged. What fits already is
copied byte for byte, but for where it was taken: give --keep-location to
leave that in. After any stop, the same command goes on where it was.";

/// Makes pictures fit: the best quality that is not too large, ready to be mailed.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{}", super::EXIT_CODES))]
pub(super) struct Args {
    /// Pictures, and folders or stores that are searched for them: JPEG, PNG, WebP, TIFF, HEIC.
    #[arg(required = true)]
    input: Vec<OsString>,
    /// Where pictures go: a folder or a store.
    #[arg(long, value_name = "DEST")]
    to: String,
    /// What pictures become: jpeg, webp or avif.
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Most bytes of a picture, such as `5MB`.
    #[arg(long, value_name = "SIZE")]
    max_size: Option<String>,
    /// Longest edge in pixels.
    #[arg(long, value_name = "PIXELS")]
    max_edge: Option<String>,
    /// Leave in where pictures were taken.
    #[arg(long)]
    keep_location: bool,
    /// Mail the pictures to this address; may be given several times.
    #[arg(long, value_name = "ADDRESS")]
    mail: Vec<String>,
    /// Most bytes of a message, such as `20MB`.
    #[arg(long, value_name = "SIZE")]
    mail_limit: Option<String>,
    /// Write messages into this folder, for a mail program to open, instead of sending them.
    #[arg(long, value_name = "DIR", requires = "mail")]
    eml: Option<PathBuf>,
    /// Threads that compute; 0 takes every core.
    #[arg(long, value_name = "N")]
    threads: Option<String>,
    /// Folder of the work state; `.forebay` beside the destination if not given.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Write an HTML page with a contact sheet.
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
    flags.text("--format", "photos.format", args.format.as_ref());
    flags.text("--max-size", "photos.max-size", args.max_size.as_ref());
    flags.text("--max-edge", "photos.max-edge", args.max_edge.as_ref());
    flags.switch("--keep-location", "photos.keep-location", args.keep_location);
    flags.text("--mail-limit", "mail.limit", args.mail_limit.as_ref());
    flags.text("--threads", "lanes.threads", args.threads.as_ref());
    let config = flags.config()?;
    if let Some(file) = &args.report {
        super::check_report(file)?;
    }
    let request = PhotosRequest {
        inputs: args.input.clone(),
        to: args.to.clone(),
        mail: args.mail.clone(),
        eml: args.eml.clone(),
        state: args.state.clone(),
        sheet: args.report.is_some(),
    };
    let teller = Teller::new(args);
    let begun = std::time::Instant::now();
    let (found, said) = (|found| teller.found(found), |said| teller.tell(said));
    let result = block_on(photos::photos(&config, request, &found, &said))?;
    teller.end();
    let summary = result?;
    let seconds = begun.elapsed().as_secs_f64();
    if !args.quiet {
        print_err(&last_lines(&summary, seconds));
    }
    if args.json {
        print_out(&json_summary(&summary, seconds).to_string());
    }
    if let Some(file) = &args.report {
        teller.sheet().write(file, &summary, &args.to, seconds)?;
    }
    Ok(exit(&summary))
}

/// Prints what happens.
struct Teller {
    quiet: bool,
    json: bool,
    bar: ProgressBar,
    sheet: Option<Mutex<Sheet>>,
}

impl Teller {
    fn new(args: &Args) -> Self {
        let taken = args.quiet || (args.json && std::io::stdout().is_terminal());
        let bar = if !taken && std::io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} pictures, {eta} to go");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { quiet: args.quiet, json: args.json, bar, sheet: args.report.is_some().then(Mutex::default) }
    }

    fn found(&self, found: Begun) {
        self.bar.set_length(found.pictures);
        let mut left = Vec::new();
        if found.raw > 0 {
            left.push(count(found.raw, "raw file"));
        }
        if found.other > 0 {
            left.push(count(found.other, "other file"));
        }
        let mut notes = Vec::new();
        if found.pictures == 0 {
            notes.push("no pictures found".to_owned());
        }
        if !left.is_empty() {
            notes.push(format!("{} left alone", left.join(" and ")));
        }
        if !self.quiet && !notes.is_empty() {
            self.line(&format!("note  {}", notes.join(", ")));
        }
    }

    fn tell(&self, said: Said) {
        if !self.quiet || is_failure(&said) {
            self.line(&line(&said));
        }
        if self.json {
            print_out(&json_line(&said).to_string());
        }
        if !matches!(said, Said::Mailed { .. } | Said::MailWaits { .. } | Said::NotMailed { .. }) {
            self.bar.inc(1);
        }
        if let Some(sheet) = &self.sheet {
            sheet.lock().unwrap_or_else(PoisonError::into_inner).add(said);
        }
    }

    fn line(&self, line: &str) {
        self.bar.suspend(|| print_err(line));
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }

    fn sheet(self) -> Sheet {
        self.sheet.map(|sheet| sheet.into_inner().unwrap_or_else(PoisonError::into_inner)).unwrap_or_default()
    }
}

fn is_failure(said: &Said) -> bool {
    matches!(said, Said::Failed { .. } | Said::NotMailed { .. })
}

/// What a person reads of it.
fn line(said: &Said) -> String {
    let failed = |what: String, failure: &crate::model::failure::Failure| {
        let hint = failure.hint.as_ref().map_or_else(String::new, |hint| format!("\n      hint: {}", clean(hint)));
        format!("fail  {}: {}{hint}", clean(&what), clean(&failure.what))
    };
    match said {
        Said::Done { name, before, after, size: seen, quality, note, .. } => {
            let how = match (quality, seen) {
                (Some(quality), Some((width, height))) => {
                    format!("{} → {}, {width}x{height} at quality {quality}", size(*before), size(*after))
                }
                _ => format!("{}, copied", size(*after)),
            };
            let note = note.as_ref().map_or_else(String::new, |note| format!("\nnote  {}: {note}", clean(name)));
            format!("done  {}  {how}{note}", clean(name))
        }
        Said::Already { name, .. } => format!("same  {}", clean(name)),
        Said::Failed { input, failure } => failed(input.clone(), failure),
        Said::Mailed { pictures, bytes } => {
            format!("mail  {} in {}", count(*pictures as u64, "picture"), size(*bytes))
        }
        Said::MailWaits { failure, wait } => {
            format!("wait  {}; again in {}", clean(&failure.what), time(wait.as_secs_f64()))
        }
        Said::NotMailed { pictures, failure } => failed(count(*pictures as u64, "picture"), failure),
    }
}

/// What a program reads of it.
fn json_line(said: &Said) -> serde_json::Value {
    match said {
        Said::Done { input, name, before, after, size, quality, note, .. } => json!({
            "event": "photo-done", "input": input, "name": name, "bytes_before": before, "bytes": after,
            "width": size.map(|size| size.0), "height": size.map(|size| size.1),
            "quality": quality, "note": note,
        }),
        Said::Already { input, name } => json!({ "event": "photo-already", "input": input, "name": name }),
        Said::Failed { input, failure } => json!({
            "event": "photo-failed", "input": input,
            "class": failure.class, "error": failure.what, "hint": failure.hint,
        }),
        Said::Mailed { pictures, bytes } => json!({ "event": "mailed", "pictures": pictures, "bytes": bytes }),
        Said::MailWaits { failure, wait } => json!({
            "event": "mail-waits", "class": failure.class, "error": failure.what, "seconds": wait.as_secs_f64(),
        }),
        Said::NotMailed { pictures, failure } => json!({
            "event": "mail-failed", "pictures": pictures,
            "class": failure.class, "error": failure.what, "hint": failure.hint,
        }),
    }
}

fn json_summary(summary: &Summary, seconds: f64) -> serde_json::Value {
    json!({
        "event": "summary", "done": summary.done, "copied": summary.copied, "already": summary.already,
        "failed": summary.failed, "left": summary.left, "unsent": summary.unsent, "messages": summary.messages,
        "bytes_before": summary.before, "bytes": summary.after, "stopped": summary.stopped, "seconds": seconds,
    })
}

fn last_lines(summary: &Summary, seconds: f64) -> String {
    let mut parts = vec![format!("{} done", count(summary.done, "picture"))];
    let others = [
        (summary.already, "already done"),
        (summary.failed, "failed"),
        (summary.left, "left for the next run"),
        (summary.unsent, "to be mailed by the next run"),
    ];
    parts.extend(others.iter().filter(|(number, _)| *number > 0).map(|(number, what)| format!("{number} {what}")));
    if summary.messages > 0 {
        parts.push(count(summary.messages, "message"));
    }
    let mut lines =
        format!("{} in {}, {} → {}", parts.join(", "), time(seconds), size(summary.before), size(summary.after));
    if let Some(stage) = summary.stages.bottleneck() {
        let busy = percent(stage.utilization(summary.stages.elapsed));
        let cpu = summary.stages.stage("shrink").map_or(0.0, |stage| stage.utilization(summary.stages.elapsed));
        let other = if &*stage.name == "shrink" { String::new() } else { format!(", CPU {}", percent(cpu)) };
        let what = if &*stage.name == "shrink" { "CPU-bound".to_owned() } else { format!("bound by `{}`", stage.name) };
        lines = format!("{lines}\n{what} {busy}{other}");
    }
    if summary.stopped {
        lines.push_str("\nstopped; the same command goes on where it was");
    }
    lines
}

fn exit(summary: &Summary) -> Exit {
    match summary {
        Summary { stopped: true, .. } => Exit::Stopped,
        Summary { failed: 0, left: 0, unsent: 0, .. } => Exit::Done,
        Summary { failed, environment, .. } if failed == environment => Exit::Environment,
        _ => Exit::SomeFailed,
    }
}
