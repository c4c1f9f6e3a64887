//! `forebay submit`: the same jobs, put on a queue.

use std::ffi::OsString;
use std::path::Path;

use serde_json::json;

use super::options::{EncryptArgs, Flags, PackageArgs, QueueArgs};
use super::trouble::Trouble;
use super::{Exit, block_on, outcome, print_err, print_out, submit_bulk};
use crate::app;
use crate::config::Config;
use crate::model::failure::Failure;
use crate::model::id;
use crate::model::item::{self, Item, Locator};
use crate::model::job::{ATTEMPTS, Job, Task, label_set};
use crate::queue::Queue;
use crate::source::list::BadLine;

const EXAMPLES: &str = "\
Examples:
  forebay submit hls https://example.org/talk.mp4 --to /srv/video
  forebay submit hls -a videos.txt --to /srv/video --tenant ann --priority 5
  forebay submit hls https://example.org/a.mp4 --to /srv/video --queue redis://queue:6379

Prints the number of each job. A job that is in the queue already is not put there again.";

/// Puts jobs on a queue, for `forebay worker` on this or another machine.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, clap::Subcommand)]
enum Kind {
    Hls(Box<HlsArgs>),
    Photos(submit_bulk::PhotosArgs),
    #[cfg(feature = "stores")]
    Migrate(submit_bulk::MigrateArgs),
}

/// Jobs that download, encode and publish videos.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct HlsArgs {
    /// URLs, files, folders, objects or prefixes of stores, lists (.txt, .yaml, .jsonl), or `-` for a list on
    /// standard input.
    #[arg(required_unless_present = "list")]
    input: Vec<OsString>,
    /// A list of inputs; may be given several times.
    #[arg(short = 'a', long, value_name = "LIST")]
    list: Vec<OsString>,
    /// Where packages go, as the worker knows it.
    #[arg(long, value_name = "DEST")]
    to: String,
    /// The video's id at the destination; for a single input.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Make packages anew that are there already.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    package: PackageArgs,
    #[command(flatten)]
    encrypt: EncryptArgs,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    queue: QueueArgs,
    /// One JSON object a job on standard output.
    #[arg(long)]
    json: bool,
}

/// A job's place in the queue.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The queue")]
pub(super) struct PlaceArgs {
    /// From -9 to 9; higher goes first.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    priority: Option<i32>,
    /// Whose jobs these are; tenants take turns.
    #[arg(long, value_name = "NAME", default_value = "")]
    tenant: String,
    /// Only for workers that have this label; may be given several times.
    #[arg(long = "label", value_name = "LABEL")]
    labels: Vec<String>,
    /// Your own name for the job: submitted again, it is the same job. For a single input.
    #[arg(long, value_name = "KEY")]
    pub(super) key: Option<String>,
    /// Wait so many seconds before the first attempt.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    delay: u64,
    /// Attempts before a job counts as dead.
    #[arg(long, value_name = "N", default_value_t = ATTEMPTS)]
    attempts: u32,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<Exit, Trouble> {
    match &args.kind {
        Kind::Hls(args) => hls(args),
        Kind::Photos(args) => submit_bulk::photos(args),
        #[cfg(feature = "stores")]
        Kind::Migrate(args) => submit_bulk::migrate(args),
    }
}

/// The settings, with the queue that was given.
pub(super) fn config(queue: &QueueArgs) -> Result<Config, Trouble> {
    let mut flags = Flags::default();
    queue.add_to(&mut flags);
    flags.config()
}

fn hls(args: &HlsArgs) -> Result<Exit, Trouble> {
    let config = config(&args.queue)?;
    let (jobs, bad) = jobs(&config, args)?;
    if jobs.is_empty() {
        return if bad.is_empty() {
            Err(Trouble::usage("there are no inputs"))
        } else {
            Ok(super::hls::no_items(&bad))
        };
    }
    let refused = block_on(submit(&config, &jobs, args.json))??;
    Ok(if bad.len() as u64 + refused == 0 { Exit::Done } else { Exit::SomeFailed })
}

/// The jobs, and the lines that were bad.
fn jobs(config: &Config, args: &HlsArgs) -> Result<(Vec<Job>, Vec<BadLine>), Trouble> {
    let entries = block_on(app::inputs(config, &args.input, &args.list))?;
    let entries = entries.map_err(|failure| Trouble::from(failure).exit(Exit::Usage))?;
    let single = entries.len() == 1;
    if !single && (args.id.is_some() || args.place.key.is_some()) {
        return Err(Trouble::usage(format!("--id and --key are for one video, but there are {}", entries.len())));
    }
    let (mut jobs, mut bad) = (Vec::new(), Vec::new());
    for entry in entries {
        match entry {
            Ok(item) => jobs.push(job(args, &item)?),
            Err(line) => {
                print_err(&outcome::failed(&line.place, &line.failure()));
                bad.push(line);
            }
        }
    }
    Ok((jobs, bad))
}

fn job(args: &HlsArgs, item: &Item) -> Result<Job, Trouble> {
    if !item.headers.is_empty() {
        return Err(Trouble::usage("headers may be secret, and jobs hold no secrets")
            .hint("run `forebay hls` with this list, or leave the headers away"));
    }
    let input = match &item.locator {
        Locator::Url(url) => url.to_string(),
        Locator::File(path) => absolute(path)?,
        Locator::Object { place, key } => item::object(place, key),
    };
    let mut job = Job {
        id: args.id.clone().or_else(|| item.id.clone()),
        title: item.title.clone(),
        force: args.force,
        ..placed(&args.place, Job::new(Task::Hls, &input, &destination(&args.to)?))?
    };
    job.priority = args.place.priority.unwrap_or(item.priority.clamp(-9, 9));
    job.options = args.package.options()?;
    job.options.extend(args.encrypt.options()?);
    if let Some(ladder) = &item.ladder {
        job.options.insert("ladder", ladder.clone());
    }
    if let Some(id) = job.id.as_ref().filter(|id| !id::check(id)) {
        return Err(Trouble::usage(format!("`{}` cannot be an id", id.escape_debug())));
    }
    // What a worker would refuse is refused here, where somebody can mend it.
    Ok(Job::from_value(&job.to_value())?)
}

/// A job with its place in the queue.
pub(super) fn placed(place: &PlaceArgs, job: Job) -> Result<Job, Trouble> {
    Ok(Job {
        priority: place.priority.unwrap_or(0),
        tenant: place.tenant.clone(),
        key: place.key.clone(),
        labels: label_set(place.labels.iter().cloned()).map_err(Trouble::usage)?,
        delay: place.delay,
        attempts: place.attempts,
        ..job
    })
}

/// A destination as the worker knows it.
pub(super) fn destination(to: &str) -> Result<String, Trouble> {
    if to.contains(':') { Ok(to.to_owned()) } else { absolute(Path::new(to)) }
}

/// The worker stands elsewhere: a path from here would mean nothing to it.
pub(super) fn absolute(path: &Path) -> Result<String, Trouble> {
    let absolute = std::path::absolute(path).map_err(|error| Trouble::usage("a path leads nowhere").because(&error))?;
    absolute.to_str().map(String::from).ok_or_else(|| Trouble::usage("a path is not UTF-8, and JSON has no other"))
}

/// Puts jobs on the queue. Gives the number of those that it refused.
pub(super) async fn submit(config: &Config, jobs: &[Job], json: bool) -> Result<u64, Failure> {
    let queue: std::sync::Arc<dyn Queue> = app::queue::open(config).await?;
    put(queue.as_ref(), jobs, json).await
}

/// As [`submit`], on a queue that is open.
pub(super) async fn put(queue: &dyn Queue, jobs: &[Job], json: bool) -> Result<u64, Failure> {
    let mut refused = 0;
    for job in jobs {
        match queue.submit(job).await {
            Ok(submitted) if json => {
                let line = json!({ "job": submitted.id, "new": submitted.new, "input": job.input });
                print_out(&line.to_string());
            }
            Ok(submitted) => {
                print_out(&submitted.id);
                if !submitted.new {
                    print_err(&format!("note: {} was in the queue already", submitted.id));
                }
            }
            Err(crate::queue::QueueError::Refused(failure)) => {
                print_err(&outcome::failed(&job.input, &failure));
                refused += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(refused)
}
