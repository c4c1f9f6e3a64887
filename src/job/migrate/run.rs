//! A migration from its listing to its rows: looking, reading, computing,
//! storing and recording at the same time.

use futures_util::stream::{self, Stream, StreamExt as _, TryStreamExt as _};

use super::copy::{self, Copy};
use super::record::Recorder;
use super::{Context, Listener, Moved, Summary};
use crate::catalog::sql::Change;
use crate::model::failure::Failure;
use crate::model::fault;
use crate::pipeline::Pipeline;
use crate::pipeline::error::{BoxError, Cause, ItemError, Result};
use crate::plan::migrate::{Seen, Sign, verdict};
use crate::storage::Stat;
use crate::storage::error::StorageError;
use crate::storage::folder::is_leftover;

/// Questions at once for each transfer: a question is short.
const QUESTIONS: usize = 4;

/// Rows that wait for one write of the catalog.
const ROWS: usize = 512;

/// An object on its way.
enum Step {
    /// Nothing is to be done.
    Kept(String, u64),
    /// It is on its way.
    Copy(Box<Copy>),
}

/// What a stage failed on.
#[derive(Debug, thiserror::Error)]
#[error("{failure}")]
struct Trouble {
    key: String,
    failure: Failure,
}

/// Copies what the destination lacks. Everything that becomes of an object is told to `listener`.
pub async fn run(context: &Context, listener: Listener<'_>) -> std::result::Result<Summary, Failure> {
    let recorder = Recorder::new(&context.catalog);
    // Where nothing is yet, nobody needs to look for each object whether it is there.
    let fresh = context.destination.page("", None).await.is_ok_and(|page| page.found.is_empty() && page.next.is_none());
    let mut summary = Summary::default();
    let mut whole = true;
    let found = match &context.keys {
        Some(keys) => named(keys, context).boxed(),
        None => wanted(context).boxed(),
    };
    let stages = Pipeline::from_stream(found)
        .io("look", context.transfers * QUESTIONS, async |found| look(found, context, fresh).await)
        .io("read", context.transfers, async |step| read(step, context).await)
        .cpu("examine", context.threads, |step| {
            Ok(match step {
                Step::Copy(copy) => Step::Copy(Box::new(copy.examined())),
                kept @ Step::Kept(..) => kept,
            })
        })
        .io("write", context.transfers, async |step| write(step, context).await)
        .io("record", ROWS, async |step| record(step, context, &recorder).await)
        .stop_on(context.stop.clone())
        .abort_on(context.cancel.clone());
    let stages = stages
        .for_each(|outcome| match outcome.result {
            Ok(moved) => {
                summary.count(&moved);
                listener(moved);
            }
            Err(error) if error.cause.is_stop() => summary.left += 1,
            Err(error) => {
                let moved = failed(error);
                // Without a whole listing nobody knows what is gone.
                whole &= !moved.key.is_empty();
                summary.count(&moved);
                listener(moved);
            }
        })
        .await;
    if whole && context.keys.is_none() && !context.stop.is_cancelled() && !context.dry_run {
        gone(context, &mut summary, listener).await?;
    }
    summary.stages = stages;
    Ok(summary)
}

/// The wanted objects of the source, page by page, and an error if the listing breaks off.
fn wanted(context: &Context) -> impl Stream<Item = std::result::Result<Stat, StorageError>> {
    let first = Some(None::<String>);
    let pages = stream::try_unfold(first, |after| async {
        let Some(after) = after else { return Ok(None) };
        let page = context.source.page("", after.as_deref()).await?;
        Ok(Some((page.found, page.next.map(Some))))
    });
    let objects = pages.map_ok(|found| stream::iter(found).map(Ok)).try_flatten();
    objects.try_filter(|stat| std::future::ready(!is_leftover(&stat.key) && context.filter.wants(&stat.key)))
}

/// The objects of the source that have these keys; those that are gone are left out.
fn named<'a>(
    keys: &'a [String],
    context: &'a Context,
) -> impl Stream<Item = std::result::Result<Stat, StorageError>> + Send + 'a {
    let wanted = keys.iter().filter(|key| !is_leftover(key) && context.filter.wants(key));
    let asked = stream::iter(wanted).map(|key| context.source.stat(key));
    asked.buffer_unordered(context.transfers * QUESTIONS).filter_map(|found| std::future::ready(found.transpose()))
}

async fn look(found: std::result::Result<Stat, StorageError>, context: &Context, fresh: bool) -> Result<Step> {
    let stat = counted(found.map_err(|error| trouble("", error))?, context).await?;
    if is_marker(&stat) && context.destination.storage().abilities().paths {
        tracing::info!(key = %stat.key, "stands for a folder, which comes with the first file in it");
        return Ok(Step::Kept(stat.key, 0));
    }
    let known = context.catalog.find(&stat.key).await.map_err(|failure| trouble(&stat.key, failure))?;
    let there = match &known {
        None if fresh => None,
        Some(known) if fault::mutant("trust-catalog") => {
            Some(Seen { version: String::new(), bytes: known.bytes, md5: None })
        }
        _ => context.destination.stat(&stat.key).await.map_err(|error| trouble(&stat.key, error))?.map(seen),
    };
    let source = seen(stat.clone());
    Ok(match verdict(&source, known.as_ref(), there.as_ref()) {
        Sign::Same => Step::Kept(stat.key, stat.bytes),
        sign => Step::Copy(Box::new(Copy::new(stat, sign))),
    })
}

/// An object with its bytes: Swift lists those that are made of others, dynamically, as empty.
async fn counted(stat: Stat, context: &Context) -> Result<Stat> {
    if stat.bytes > 0 || !context.source.storage().abilities().dynamic {
        return Ok(stat);
    }
    let there = context.source.stat(&stat.key).await.map_err(|error| trouble(&stat.key, error))?;
    Ok(there.ok_or_else(|| trouble(&stat.key, copy::vanished(&stat.key)))?)
}

/// Whether an object stands for a folder, as programs that show buckets as folders make them.
fn is_marker(stat: &Stat) -> bool {
    stat.bytes == 0 && stat.key.ends_with('/')
}

/// An object in the words of the plan.
pub(super) fn seen(stat: Stat) -> Seen {
    Seen { version: version(&stat), bytes: stat.bytes, md5: stat.md5 }
}

/// The version of an object: its tag, or when it was stored.
pub(super) fn version(stat: &Stat) -> String {
    stat.etag.clone().or_else(|| stat.stored.map(|stored| stored.to_string())).unwrap_or_default()
}

async fn read(step: Step, context: &Context) -> Result<Step> {
    match step {
        Step::Copy(copy) if !context.dry_run => {
            let key = copy.key().to_owned();
            let copy = copy::read(*copy, context).await.map_err(|failure| trouble(&key, failure))?;
            Ok(Step::Copy(Box::new(copy)))
        }
        other => Ok(other),
    }
}

async fn write(step: Step, context: &Context) -> Result<Step> {
    match step {
        Step::Copy(copy) if !context.dry_run => {
            let key = copy.key().to_owned();
            let copy = copy::write(*copy, context).await.map_err(|failure| trouble(&key, failure))?;
            fault::point("object-copied");
            Ok(Step::Copy(Box::new(copy)))
        }
        other => Ok(other),
    }
}

async fn record(step: Step, context: &Context, recorder: &Recorder<'_>) -> Result<Moved> {
    let (key, sign, bytes, change) = match step {
        Step::Kept(key, bytes) => (key.clone(), Sign::Same, bytes, Some(Change::Seen(key))),
        Step::Copy(copy) => {
            let (sign, bytes) = (copy.sign(), copy.bytes());
            (copy.key().to_owned(), sign, bytes, copy.into_row().map(|row| Change::Put(Box::new(row))))
        }
    };
    if let Some(change) = change.filter(|_| !context.dry_run) {
        recorder.record(change).await.map_err(|failure| trouble(&key, failure))?;
        fault::point("object-recorded");
    }
    Ok(Moved { key, sign, bytes, failure: None })
}

/// Tells of the objects that the catalog has and the source has no longer.
async fn gone(context: &Context, summary: &mut Summary, listener: Listener<'_>) -> std::result::Result<(), Failure> {
    let mut after = String::new();
    loop {
        let keys = context.catalog.unseen(&after).await?;
        let Some(last) = keys.last() else { return Ok(()) };
        after.clone_from(last);
        for key in keys.into_iter().filter(|key| context.filter.wants(key)) {
            // What failed now was not seen either, but is there.
            let there = context.source.stat(&key).await.map_err(Failure::from)?;
            if there.is_none() {
                let moved = Moved { key, sign: Sign::Gone, bytes: 0, failure: None };
                summary.count(&moved);
                listener(moved);
            }
        }
    }
}

fn trouble(key: &str, failure: impl Into<Failure>) -> BoxError {
    Box::new(Trouble { key: key.into(), failure: failure.into() })
}

fn failed(error: ItemError) -> Moved {
    let (key, failure) = match error.cause {
        Cause::Error(source) => match source.downcast::<Trouble>() {
            Ok(trouble) => (trouble.key, trouble.failure),
            Err(other) => (String::new(), Failure::environment(other.to_string())),
        },
        cause => (String::new(), Failure::permanent(format!("could not be worked on: {cause:?}"))),
    };
    Moved { key, sign: Sign::Error, bytes: 0, failure: Some(failure) }
}
