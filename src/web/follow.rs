//! Follows the queue: what changed goes into the index and out to the listeners.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior};

use super::hub::RESET;
use super::index::Entry;
use super::summary::summary;
use super::{Site, now};
use crate::model::failure::Failure;
use crate::queue::{Filter, Record, State};

/// How often the queue is asked what changed.
const BEAT: Duration = Duration::from_millis(250);

/// Jobs that are asked for at once.
const BATCH: u32 = 500;

/// How often what is old is forgotten.
const SWEEP: Duration = Duration::from_hours(1);

/// The longest wait for a queue that cannot be reached.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How often a silent queue is asked whether it is the one from before.
const DOUBT: Duration = Duration::from_secs(3);

/// Follows until the server stops.
pub(super) async fn follow(site: Arc<Site>) {
    let mut cursor = begin(&site).await;
    let mut beats = tokio::time::interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut wait, mut swept, mut counted) = (Duration::ZERO, None::<Instant>, Value::Null);
    let (mut drawn, mut checked) = (0, None);
    loop {
        tokio::select! {
            () = site.stop.cancelled() => return,
            _ = beats.tick() => {}
        }
        let before = cursor;
        if let Err(failure) = catch_up(&site, &mut cursor, &mut checked).await {
            wait = (wait * 2).clamp(BEAT, LONGEST_WAIT);
            tracing::warn!(%failure, "the queue cannot be followed");
            beats.reset_after(wait);
            continue;
        }
        wait = Duration::ZERO;
        if cursor != before || counted.is_null() {
            counted = counts(&site).await;
            site.hub.send(0, "counts", &counted);
        }
        let changed = site.live.changed();
        if changed != drawn {
            drawn = changed;
            site.hub.send(0, "live", &live(&site));
        }
        if swept.is_none_or(|swept| swept.elapsed() > SWEEP) {
            swept = Some(Instant::now());
            sweep(&site).await;
        }
    }
}

/// Where to begin: where the last run ended, if it read the same address.
async fn begin(site: &Site) -> u64 {
    let cursor = site.store.cursor(&site.queue.address()).await.unwrap_or(0);
    if cursor == 0
        && let Err(failure) = site.store.forget_jobs().await
    {
        tracing::warn!(%failure, "the index of jobs could not be emptied");
    }
    cursor
}

/// Whether another queue lies at the address where `cursor` was reached: it was emptied, or
/// an older copy took its place.
async fn is_another(site: &Site, cursor: u64) -> Result<bool, Failure> {
    let Some(before) = cursor.checked_sub(1) else { return Ok(false) };
    if let Some((id, version, ended)) = site.store.newest().await? {
        match site.queue.get(&id).await? {
            // Queues forget what was over long ago, and nothing else.
            None if ended.is_none_or(|ended| ended > oldest(site)) => return Ok(true),
            Some(record) if record.version >= version => return Ok(false),
            _ => {}
        }
    }
    let last = Filter { state: None, after: Some(before), limit: 1, chunks: true };
    Ok(site.queue.list(&last).await?.is_empty())
}

/// Forgets the jobs of a queue that is gone, to read anew.
async fn start_over(site: &Site, cursor: &mut u64) -> Result<(), Failure> {
    tracing::warn!(queue = site.queue.address(), "another queue lies there now: its jobs are read anew");
    site.store.forget_jobs().await?;
    *cursor = 0;
    site.hub.send(0, RESET, &Value::Null);
    Ok(())
}

/// Takes in all that changed since `cursor`.
async fn catch_up(site: &Site, cursor: &mut u64, checked: &mut Option<Instant>) -> Result<(), Failure> {
    let mut used = BTreeSet::new();
    loop {
        let filter = Filter { state: None, after: Some(*cursor), limit: BATCH, chunks: false };
        let records = site.queue.list(&filter).await?;
        // What comes may be of another queue, and silence may be as well.
        if !records.is_empty() || checked.is_none_or(|checked| checked.elapsed() > DOUBT) {
            if is_another(site, *cursor).await? {
                start_over(site, cursor).await?;
                continue;
            }
            *checked = Some(Instant::now());
        }
        let Some(last) = records.iter().map(|record| record.version).max() else { break };
        let full = records.len() >= usize::try_from(BATCH).unwrap_or(usize::MAX);
        let entries: Vec<Entry> = records.iter().map(|record| entry(site, record)).collect();
        site.store.take_in(&entries, &site.queue.address(), now()).await?;
        *cursor = last;
        let jobs: Vec<Value> = entries.into_iter().map(|entry| entry.summary).collect();
        site.hub.send(last, "jobs", &json!(jobs));
        let done = records.iter().filter(|record| record.state == State::Done);
        used.extend(done.filter_map(|record| site.uploads.of(record)));
        if !full {
            break;
        }
    }
    let_go(site, &used).await
}

/// Removes uploads that a job has used, unless another still needs them.
async fn let_go(site: &Site, used: &BTreeSet<String>) -> Result<(), Failure> {
    if used.is_empty() {
        return Ok(());
    }
    let wanted = site.store.wanted_uploads().await?;
    for id in used.difference(&wanted) {
        site.uploads.forget(id).await;
    }
    Ok(())
}

fn entry(site: &Site, record: &Record) -> Entry {
    Entry {
        id: record.id.clone(),
        version: record.version,
        state: record.state,
        submitted: record.submitted,
        ended: record.ended,
        summary: summary(record, &site.settings),
    }
}

/// How many jobs there are in each state, by its name.
pub(super) async fn counts(site: &Site) -> Value {
    match site.store.job_counts().await {
        Ok(counts) => counts.into_iter().map(|(state, count)| (state.name().to_owned(), json!(count))).collect(),
        Err(failure) => {
            tracing::warn!(%failure, "jobs could not be counted");
            Value::Null
        }
    }
}

/// The figures of every job that runs here, by its number.
pub(super) fn live(site: &Site) -> Value {
    site.live.figures().into_iter().map(|(id, figures)| (id, json!(figures))).collect()
}

/// What was over before this is forgotten.
fn oldest(site: &Site) -> i64 {
    now() - i64::try_from(site.settings.keep).unwrap_or(i64::MAX).saturating_mul(1000)
}

async fn sweep(site: &Site) {
    match site.store.wanted_uploads().await {
        Ok(wanted) => site.uploads.sweep(wanted).await,
        Err(failure) => tracing::warn!(%failure, "uploads could not be swept"),
    }
    let limit = oldest(site);
    let forgotten = async {
        site.store.forget_jobs_before(limit).await?;
        site.store.forget_messages_before(limit).await
    };
    if let Err(failure) = forgotten.await {
        tracing::warn!(%failure, "what is old could not be forgotten");
    }
}
