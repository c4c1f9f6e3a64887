//! `forebay submit photos` and `forebay submit migrate`: many small things, put on a queue.

use super::options::QueueArgs;
use super::submit::{PlaceArgs, absolute, config, destination, placed, submit};
use super::trouble::Trouble;
use super::{Exit, block_on};
#[cfg(feature = "stores")]
use super::{print_err, text::clean};
#[cfg(feature = "stores")]
use crate::model::job::LONGEST_TEXT;
use crate::model::job::{Job, Task};

const PHOTO_EXAMPLES: &str = "\
Examples:
  forebay submit photos /srv/cards/ann --to /srv/pictures/ann
  forebay submit photos s3://cards/ann --to s3://pictures/ann --max-size 2MB

One job for each input. Pictures that are there already are not made again.";

#[cfg(feature = "stores")]
const MIGRATE_EXAMPLES: &str = "\
Examples:
  forebay submit migrate old: --to new: --queue redis://queue:6379
  forebay submit migrate s3://archive --to swift://archive --include '*.jpg' --batch 200

Lists the source and puts a job on the queue for every so many objects, so that
many workers share them. Their catalog is the one of their settings
(`migrate.catalog`). What is there already is not copied again.";

/// Jobs that make pictures fit.
#[derive(Debug, clap::Args)]
#[command(after_help = PHOTO_EXAMPLES)]
pub(super) struct PhotosArgs {
    /// Pictures, and folders or stores that are searched for them, as the worker knows them.
    #[arg(required = true)]
    input: Vec<String>,
    /// Where pictures go, as the worker knows it.
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
    max_edge: Option<u32>,
    /// Leave in where pictures were taken.
    #[arg(long)]
    keep_location: bool,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    queue: QueueArgs,
    /// One JSON object a job on standard output.
    #[arg(long)]
    json: bool,
}

/// Jobs that move objects from one store to another, a part each.
#[cfg(feature = "stores")]
#[derive(Debug, clap::Args)]
#[command(after_help = MIGRATE_EXAMPLES)]
pub(super) struct MigrateArgs {
    /// Where objects come from: a store, or a folder, here and for the worker.
    #[arg(value_name = "SRC")]
    from: String,
    /// Where they go, as the worker knows it.
    #[arg(long, value_name = "DEST")]
    to: String,
    /// Only objects whose key fits: `*` within a part, `**` across parts; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    include: Vec<String>,
    /// No objects whose key fits.
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Objects in a job at most.
    #[arg(long, value_name = "N", default_value_t = 500)]
    batch: usize,
    /// Read every object back from the destination and compare its SHA-256.
    #[arg(long)]
    read_back: bool,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    queue: QueueArgs,
    /// One JSON object a job on standard output.
    #[arg(long)]
    json: bool,
}

/// An input as the worker knows it.
fn input(text: &str) -> Result<String, Trouble> {
    if text.contains(':') { Ok(text.to_owned()) } else { absolute(std::path::Path::new(text)) }
}

/// Runs `submit photos`.
pub(super) fn photos(args: &PhotosArgs) -> Result<Exit, Trouble> {
    if args.place.key.is_some() && args.input.len() > 1 {
        return Err(Trouble::usage("--key is for one job"));
    }
    let mut jobs = Vec::new();
    for text in &args.input {
        let mut job = placed(&args.place, Job::new(Task::Photos, &input(text)?, &destination(&args.to)?))?;
        job.options.extend(args.format.clone().map(|format| ("format", format)));
        job.options.extend(args.max_size.clone().map(|size| ("max-size", size)));
        job.options.extend(args.max_edge.map(|edge| ("max-edge", edge.to_string())));
        job.options.extend(args.keep_location.then(|| ("keep-location", "true".to_owned())));
        // What a worker would refuse is refused here, where somebody can mend it.
        jobs.push(Job::from_value(&job.to_value())?);
    }
    let refused = block_on(submit(&config(&args.queue)?, &jobs, args.json))??;
    Ok(if refused == 0 { Exit::Done } else { Exit::SomeFailed })
}

/// Runs `submit migrate`.
#[cfg(feature = "stores")]
pub(super) fn migrate(args: &MigrateArgs) -> Result<Exit, Trouble> {
    if args.place.key.is_some() {
        return Err(Trouble::usage("--key is for one job, and this makes many"));
    }
    let config = config(&args.queue)?;
    let (from, to) = (input(&args.from)?, destination(&args.to)?);
    let list = |texts: &[String]| serde_json::json!(texts).to_string();
    let mut whole = placed(&args.place, Job::new(Task::Migrate, &from, &to))?;
    whole.options.extend(args.read_back.then(|| ("read-back", "true".to_owned())));
    whole = Job::from_value(&whole.to_value())?;
    let filter = crate::plan::migrate::Filter { include: args.include.clone(), exclude: args.exclude.clone() };
    let work = async {
        let mut parts = crate::app::migrate::Parts::new(&config, &from, filter, args.batch)?;
        let queue = crate::app::queue::open(&config).await?;
        let mut refused = 0;
        loop {
            let keys = parts.next().await?;
            if keys.is_empty() {
                return Ok::<u64, crate::model::failure::Failure>(refused);
            }
            let (keys, long): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| key.len() <= LONGEST_TEXT);
            refused += left_out(&long);
            if keys.is_empty() {
                continue;
            }
            let mut job = whole.clone();
            job.options.insert("keys", list(&keys));
            refused += super::submit::put(queue.as_ref(), &[job], args.json).await?;
        }
    };
    let refused = block_on(work)??;
    Ok(if refused == 0 { Exit::Done } else { Exit::SomeFailed })
}

/// Names the keys that no job can hold: one of them would make its whole part dead. Gives their number.
#[cfg(feature = "stores")]
fn left_out(keys: &[String]) -> u64 {
    for key in keys {
        let key = clean(key);
        print_err(&format!(
            "error: `{key}` is left out: its key has more than {LONGEST_TEXT} bytes; `forebay migrate` moves it"
        ));
    }
    keys.len() as u64
}
