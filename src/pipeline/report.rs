//! What a run did, and what bounded it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::error::{Cause, ItemError};
use super::meter::Meter;

/// Everything a run gave.
#[derive(Debug)]
pub struct Report<T> {
    /// What came out of the last stage, in the order of the source.
    pub done: Vec<T>,
    /// The items that did not come out, in the order of the source.
    pub errors: Vec<ItemError>,
    /// Counts and times.
    pub summary: Summary,
}

/// One item that is through, or will never be.
#[derive(Debug)]
pub struct Outcome<T> {
    /// Which item of the source, counted from 0.
    pub number: u64,
    /// What came out of the last stage, or why nothing did.
    pub result: Result<T, ItemError>,
}

/// Counts and times of a run, so far or over all.
///
/// `taken` is always the sum of `done`, `failed`, `not_started`, `aborted` and
/// `in_flight`: no item is lost.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Time since the first item was asked for.
    pub elapsed: Duration,
    /// Items taken from the source.
    pub taken: u64,
    /// Items that came out of the last stage.
    pub done: u64,
    /// Items that ended in an error or a panic.
    pub failed: u64,
    /// Items taken, but stopped before any work was done on them.
    pub not_started: u64,
    /// Items on their way when the run was aborted.
    pub aborted: u64,
    /// Items on their way now.
    pub in_flight: u64,
    /// The source, then the stages in their order.
    pub stages: Vec<StageReport>,
}

/// Counts and times of one stage. Times are sums over its items or workers.
#[derive(Clone, Debug)]
pub struct StageReport {
    /// Its name.
    pub name: Arc<str>,
    /// What its work is bound by.
    pub kind: Kind,
    /// Items it works on at once, at most.
    pub concurrency: u64,
    /// Items that came in.
    pub entered: u64,
    /// Items that it finished.
    pub done: u64,
    /// Items that ended here in an error or a panic.
    pub failed: u64,
    /// Items that a stop or an abort ended here.
    pub abandoned: u64,
    /// Tries beyond an item's first.
    pub retried: u64,
    /// Time its workers were at work: two workers for three seconds are six.
    pub busy: Duration,
    /// Time items waited for a worker.
    pub queued: Duration,
    /// Time items waited for their next try.
    pub backing_off: Duration,
    /// Time finished items waited for room in the next stage: back-pressure.
    pub blocked: Duration,
    /// Most items that waited for a worker at once.
    pub peak_queued: u64,
    /// Most items worked on at once.
    pub peak_working: u64,
    /// Most items inside at once; never more than concurrency and queue together.
    pub peak_inside: u64,
}

/// What the work of a stage is bound by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The items come from here.
    Source,
    /// It waits for something outside.
    Io,
    /// It computes.
    Cpu,
}

/// Looks at a run from outside, while it goes on.
#[derive(Clone, Default)]
pub struct Monitor {
    board: Arc<OnceLock<Arc<Board>>>,
}

/// What the run itself keeps count of.
pub(super) struct Board {
    tally: Mutex<Tally>,
    meters: Vec<Arc<Meter>>,
}

#[derive(Default)]
struct Tally {
    started: Option<Instant>,
    ended: Option<Instant>,
    summary: Summary,
}

impl Summary {
    /// What bounded the run: the stage, or the source, whose workers were busiest.
    ///
    /// A run cannot be faster than this stage; giving any other one more
    /// workers changes nothing.
    pub fn bottleneck(&self) -> Option<&StageReport> {
        let busy = |stage: &StageReport| stage.utilization(self.elapsed);
        self.stages.iter().filter(|stage| busy(stage) > 0.0).max_by(|a, b| busy(a).total_cmp(&busy(b)))
    }

    /// The stage of this name.
    pub fn stage(&self, name: &str) -> Option<&StageReport> {
        self.stages.iter().find(|stage| *stage.name == *name)
    }
}

impl StageReport {
    /// The part of `elapsed` that its workers were at work, from 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "workers stay far below 2^52")]
    pub fn utilization(&self, elapsed: Duration) -> f64 {
        let available = elapsed.as_secs_f64() * self.concurrency as f64;
        if available > 0.0 { self.busy.as_secs_f64() / available } else { 0.0 }
    }
}

impl Monitor {
    /// Counts and times so far; nothing before the run has begun.
    pub fn summary(&self) -> Summary {
        self.board.get().map(|board| board.summary()).unwrap_or_default()
    }

    /// The board of a run with these meters.
    pub(super) fn begin(&self, meters: Vec<Arc<Meter>>) -> Arc<Board> {
        let board = Board { tally: Mutex::default(), meters };
        Arc::clone(self.board.get_or_init(|| Arc::new(board)))
    }
}

impl Board {
    pub(super) fn source(&self) -> &Arc<Meter> {
        self.meters.first().expect("the source is always there")
    }

    pub(super) fn start(&self) {
        self.lock().started.get_or_insert_with(Instant::now);
    }

    pub(super) fn end(&self) {
        self.lock().ended.get_or_insert_with(Instant::now);
    }

    pub(super) fn took(&self) {
        self.lock().summary.taken += 1;
    }

    pub(super) fn settle<T>(&self, result: &Result<T, ItemError>) {
        let summary = &mut self.lock().summary;
        match result.as_ref().map_err(|error| &error.cause) {
            Ok(_) => summary.done += 1,
            Err(Cause::Error(_) | Cause::Panic(_)) => summary.failed += 1,
            Err(Cause::NotStarted) => summary.not_started += 1,
            Err(Cause::Aborted) => summary.aborted += 1,
        }
    }

    pub(super) fn summary(&self) -> Summary {
        let (mut summary, started, ended) = {
            let tally = self.lock();
            (tally.summary.clone(), tally.started, tally.ended)
        };
        let now = ended.unwrap_or_else(Instant::now);
        summary.elapsed = now.duration_since(started.unwrap_or(now));
        summary.in_flight = summary.taken - summary.done - summary.failed - summary.not_started - summary.aborted;
        summary.stages = self.meters.iter().map(|meter| meter.report()).collect();
        summary
    }

    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Summary {
    /// A line for the run, a line a stage.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { taken, done, failed, .. } = self;
        write!(f, "{done} of {taken} items done, {failed} failed, in {:.1} s", self.elapsed.as_secs_f64())?;
        if let Some(stage) = self.bottleneck() {
            write!(f, "; bound by `{}`", stage.name)?;
        }
        for stage in &self.stages {
            let StageReport { name, concurrency, done, failed, retried, .. } = stage;
            let busy = stage.utilization(self.elapsed) * 100.0;
            let blocked = stage.blocked.as_secs_f64();
            write!(f, "\n{name:>12}: {busy:3.0} % of {concurrency} busy, {done} done, {failed} failed, ")?;
            write!(f, "{retried} retried, {blocked:.1} s blocked")?;
        }
        Ok(())
    }
}
