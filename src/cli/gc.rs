//! `forebay gc`: removes from a destination what no pointer leads to.

use std::time::Duration;

use serde_json::json;

use super::options::Flags;
use super::text::{clean, count, size};
use super::trouble::Trouble;
use super::{Exit, block_on, print_err, print_out};
use crate::app;
use crate::app::gc::News;
use crate::job::gc::{Generation, Verdict};
use crate::model::failure::Failure;

/// Removes from a destination the generations that no pointer leads to, and uploads that were never finished.
///
/// A video that is made anew gets a new generation; the one before stays for
/// players that are in the middle of it, until this is run. A generation younger
/// than the grace is never touched: it may still be on its way.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  forebay gc /srv/video --dry-run
  forebay gc s3://bucket/videos --grace 7d

Exits with 1 if something could not be removed.")]
pub(super) struct Args {
    /// The destination: a folder, a store such as `s3://bucket/videos`, or `name:prefix` of the settings.
    #[arg(value_name = "DEST")]
    to: String,
    /// How long nothing may have been added to a generation, such as `24h`; longer than any job takes.
    #[arg(long, value_name = "TIME")]
    grace: Option<String>,
    /// Say what would be removed, and remove nothing.
    #[arg(long)]
    dry_run: bool,
    /// One JSON object a line on standard output.
    #[arg(long)]
    json: bool,
}

/// What was found, in sums.
#[derive(Default)]
struct Sums {
    swept: u64,
    objects: u64,
    bytes: u64,
    young: u64,
    ageless: u64,
    failed: u64,
    uploads: u64,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<Exit, Trouble> {
    let mut flags = Flags::default();
    flags.text("--grace", "gc.grace", args.grace.as_ref());
    let config = flags.config()?;
    let mut sums = Sums::default();
    let mut report = |news: News| sums.take(&news, args);
    block_on(app::gc::sweep(&config, &args.to, args.dry_run, &mut report))??;
    sums.tell(args);
    Ok(if sums.failed > 0 { Exit::SomeFailed } else { Exit::Done })
}

impl Sums {
    fn take(&mut self, news: &News, args: &Args) {
        match news {
            News::Judged(generation, verdict) => self.judged(generation, *verdict, args),
            News::Failed(generation, failure) => {
                self.failed += 1;
                if args.json {
                    print_out(&line(generation, "failed", Some(&failure.to_string())));
                }
                print_err(&format!("failed  {}/{}: {}", generation.id, generation.name, clean(&failure.to_string())));
            }
            News::Upload(key, failure) => self.upload(key, failure.as_ref(), args),
        }
    }

    fn upload(&mut self, key: &str, failure: Option<&Failure>, args: &Args) {
        let action = match (failure, args.dry_run) {
            (Some(_), _) => "failed",
            (None, true) => "would-remove",
            (None, false) => "removed",
        };
        if args.json {
            let why = failure.map(ToString::to_string);
            print_out(&json!({ "event": "upload", "key": key, "action": action, "why": why }).to_string());
        }
        if let Some(failure) = failure {
            self.failed += 1;
            print_err(&format!("failed  {}: {}", clean(key), clean(&failure.to_string())));
            return;
        }
        self.uploads += 1;
        if !args.json {
            print_out(&format!("{}  {}  an upload that was never finished", action.replace('-', " "), clean(key)));
        }
    }

    fn judged(&mut self, generation: &Generation, verdict: Verdict, args: &Args) {
        let done = if args.dry_run { "would remove" } else { "removed" };
        let name = match verdict {
            Verdict::Swept => {
                self.swept += 1;
                self.objects += generation.objects;
                self.bytes += generation.bytes;
                if args.dry_run { "would-remove" } else { "removed" }
            }
            Verdict::Young => {
                self.young += 1;
                "young"
            }
            Verdict::Ageless => {
                self.ageless += 1;
                "ageless"
            }
            Verdict::Reached => "reached",
        };
        if args.json {
            print_out(&line(generation, name, None));
        } else if verdict == Verdict::Swept {
            let Generation { id, name, objects, bytes, .. } = generation;
            let age = generation.age().map(old).unwrap_or_default();
            print_out(&format!("{done}  {id}/{name}  {}, {}{age}", count(*objects, "object"), size(*bytes)));
        }
    }

    fn tell(&self, args: &Args) {
        if args.json {
            let Self { swept, objects, bytes, young, ageless, failed, uploads } = self;
            print_out(
                &json!({
                    "event": "summary", "dry-run": args.dry_run, "generations": swept, "objects": objects, "bytes": bytes,
                    "young": young, "ageless": ageless, "failed": failed, "uploads": uploads,
                })
                .to_string(),
            );
            return;
        }
        let verb = if args.dry_run { "would be removed" } else { "removed" };
        let (objects, bytes) = (count(self.objects, "object"), size(self.bytes));
        let mut text = format!("{}, {objects}, {bytes} {verb}", count(self.swept, "generation"));
        let uploads = format!("{} {verb}", count(self.uploads, "unfinished upload"));
        for (number, what) in [
            (self.uploads, uploads),
            (self.young, format!("{} kept, younger than the grace", self.young)),
            (self.ageless, format!("{} kept, as the store does not say how old", self.ageless)),
            (self.failed, format!("{} failed", self.failed)),
        ] {
            if number > 0 {
                text.extend(["; ", &what]);
            }
        }
        print_err(&text);
    }
}

fn line(generation: &Generation, action: &str, why: Option<&str>) -> String {
    let Generation { id, name, objects, bytes, .. } = generation;
    json!({
        "event": "generation", "id": id, "generation": name, "action": action, "objects": objects, "bytes": bytes,
        "age": generation.age().map(|age| age.as_secs()), "why": why,
    })
    .to_string()
}

/// `, 3 days old`.
fn old(age: Duration) -> String {
    let hours = age.as_secs() / 3600;
    if hours >= 48 { format!(", {} days old", hours / 24) } else { format!(", {} old", count(hours, "hour")) }
}
