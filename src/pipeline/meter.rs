//! Counts what passes through a stage, and for how long.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

// Tokio's clock, so that a test which pauses time measures exactly.
use tokio::time::Instant;

use super::report::{Kind, StageReport};

/// What one stage has been doing.
pub(super) struct Meter {
    name: Arc<str>,
    kind: Kind,
    concurrency: u64,
    tally: Mutex<Tally>,
}

/// Where an item is within its stage.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It waits for a worker.
    Queued,
    /// A worker is at it.
    Working,
    /// It waits for the next try.
    BackingOff,
    /// It is done and waits for room in the next stage.
    Blocked,
}

#[derive(Default)]
struct Tally {
    since: Option<Instant>,
    inside: [u64; 4],
    spent: [Duration; 4],
    peak: [u64; 4],
    peak_inside: u64,
    entered: u64,
    done: u64,
    failed: u64,
    abandoned: u64,
    retried: u64,
}

/// One item's stay in a stage. Whoever leaves without a word has been abandoned.
pub(super) struct Visit {
    meter: Arc<Meter>,
    phase: Phase,
    settled: bool,
}

impl Meter {
    pub(super) fn new(name: Arc<str>, kind: Kind, concurrency: u64) -> Self {
        Self { name, kind, concurrency, tally: Mutex::default() }
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(super) fn report(&self) -> StageReport {
        let mut tally = self.lock();
        tally.tick();
        let [queued, working, backing_off, blocked] = tally.spent;
        let [peak_queued, peak_working, ..] = tally.peak;
        // A stop while the source is asked for its next item loses none.
        let asked_in_vain = if self.kind == Kind::Source { tally.entered - tally.done } else { 0 };
        StageReport {
            name: Arc::clone(&self.name),
            kind: self.kind,
            concurrency: self.concurrency,
            entered: tally.entered - asked_in_vain,
            done: tally.done,
            failed: tally.failed,
            abandoned: if self.kind == Kind::Source { 0 } else { tally.abandoned },
            retried: tally.retried,
            busy: working,
            queued,
            backing_off,
            blocked,
            peak_queued,
            peak_working,
            peak_inside: tally.peak_inside,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    /// Adds the time since the last change to what the items inside spent it on.
    fn tick(&mut self) {
        let now = Instant::now();
        let passed = now.duration_since(self.since.unwrap_or(now));
        self.since = Some(now);
        for (spent, inside) in self.spent.iter_mut().zip(self.inside) {
            *spent += passed.saturating_mul(u32::try_from(inside).unwrap_or(u32::MAX));
        }
    }

    fn enter(&mut self, phase: Phase) {
        let place = phase as usize;
        self.inside[place] += 1;
        self.peak[place] = self.peak[place].max(self.inside[place]);
        self.peak_inside = self.peak_inside.max(self.inside.iter().sum());
    }

    fn leave(&mut self, phase: Phase) {
        self.inside[phase as usize] -= 1;
    }
}

impl Visit {
    /// An item enters the stage.
    pub(super) fn new(meter: &Arc<Meter>, phase: Phase) -> Self {
        let mut tally = meter.lock();
        tally.tick();
        tally.entered += 1;
        tally.enter(phase);
        drop(tally);
        Self { meter: Arc::clone(meter), phase, settled: false }
    }

    /// The name of the stage.
    pub(super) fn name(&self) -> &Arc<str> {
        self.meter.name()
    }

    pub(super) fn turn(&mut self, phase: Phase) {
        let mut tally = self.meter.lock();
        tally.tick();
        tally.leave(self.phase);
        tally.enter(phase);
        if phase == Phase::BackingOff {
            tally.retried += 1;
        }
        drop(tally);
        self.phase = phase;
    }

    /// The work is done; the item stays until there is room for it in the next stage.
    pub(super) fn done(&mut self) {
        self.turn(Phase::Blocked);
        self.settled = true;
        self.meter.lock().done += 1;
    }

    /// The item goes no further.
    pub(super) fn failed(mut self) {
        self.settled = true;
        self.meter.lock().failed += 1;
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut tally = self.meter.lock();
        tally.tick();
        tally.leave(self.phase);
        if !self.settled {
            tally.abandoned += 1;
        }
    }
}
