//! One job in the hands of a worker: run, watched, and settled.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::hands::Seat;
use super::progress::Tracker;
use super::{News, Order, Shared, shown};
use crate::model::event::What;
use crate::model::failure::{Class, Failure};
use crate::model::fault;
use crate::model::job::Job;
use crate::queue::{Claim, End, QueueError, State};

/// How often the queue is asked whether to cancel, at the most.
const BEAT: Duration = Duration::from_millis(700);

/// Progress is written this often, at the most.
const WRITE: Duration = Duration::from_secs(2);

/// How long to try to tell the queue how a job ended.
const LAST_WORD: Duration = Duration::from_mins(1);

/// A question to the queue that is on its way when a job ends gets this long: cut off half-way, a
/// process that is stopped just then would keep the queue locked for all others.
const HEARD_OUT: Duration = Duration::from_secs(5);

/// After so many machines in a row that could not do a job, it seems to be the job's fault after all, and
/// the attempt counts: a folder that stands where its result should be is nothing that a machine cures.
const MOST_MISSES: u32 = 10;

/// Why a job was ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// Somebody cancelled it.
    Cancelled,
    /// The queue gave it to somebody else.
    Lost,
    /// It made no progress for the time of a lease.
    Silent,
    /// The lease could not be renewed in time.
    Fenced,
}

/// The signs of life of one job.
struct Pulse {
    beats: AtomicU64,
    tracker: Mutex<Tracker>,
    /// The job has ended by itself.
    over: CancellationToken,
}

impl Shared {
    /// Does the job of `claim`, and tells the queue how it ended.
    pub(super) async fn attend(&self, claim: Claim, seat: Option<Seat>) {
        let begun = Instant::now();
        let job = match Job::parse(claim.text.as_bytes()) {
            Ok(job) => job,
            Err(failure) => {
                let end = End::Dead { why: failure.to_string() };
                let state = self.settle(&claim, &end, begun + LAST_WORD).await;
                self.tell(News::Ended { id: claim.id, state, outcome: Err(failure), seconds: 0.0 });
                return;
            }
        };
        self.tell(News::Took {
            id: claim.id.clone(),
            attempt: claim.attempt,
            input: shown(&job.input),
            to: shown(&job.to),
        });
        if fault::mutant("ack-first") {
            self.settle(&claim, &End::Done(Value::Null), begun + LAST_WORD).await;
        }
        fault::point("job-claimed");
        let (ended, outcome) = self.run(&claim, (job, seat), begun).await;
        fault::point("job-ended");
        let end = self.end(&claim, ended, &outcome);
        let state = match end {
            Some(end) => self.settle(&claim, &end, Instant::now() + LAST_WORD).await,
            None => None,
        };
        if outcome.is_ok() || state == Some(State::Cancelled) {
            self.runner.forget(&claim.id).await;
        }
        if ended.is_none() {
            self.judge(&claim.id, &outcome);
        }
        let outcome = match (ended, outcome) {
            (Some(ended), Err(_)) => Err(reason(ended, self.settings.lease)),
            (_, outcome) => outcome,
        };
        let seconds = begun.elapsed().as_secs_f64();
        self.tell(News::Ended { id: claim.id, state, outcome, seconds });
    }

    /// Runs the job and holds its lease meanwhile. Returns when nothing of it is left.
    async fn run(
        &self,
        claim: &Claim,
        (job, seat): (Job, Option<Seat>),
        begun: Instant,
    ) -> (Option<Ended>, Result<Value, Failure>) {
        let seat = Mutex::new(seat);
        let pulse =
            Arc::new(Pulse { beats: AtomicU64::new(0), tracker: Mutex::default(), over: CancellationToken::new() });
        let (seen, news, id) = (Arc::clone(&pulse), self.news.clone(), claim.id.clone());
        let report = move |what: What| {
            if matches!(what, What::ChunkStarted { .. }) {
                drop(seat.lock().unwrap_or_else(PoisonError::into_inner).take());
            }
            if seen.hear(&what) {
                news.send(News::Job { id: id.clone(), what }).unwrap_or_default();
            }
        };
        let order = Order {
            id: claim.id.clone(),
            job,
            number: self.number(),
            stop: self.stop.child_token(),
            cancel: self.now.child_token(),
            report: Arc::new(report),
        };
        let mut running = std::pin::pin!(self.runner.run(&order));
        let mut holding = std::pin::pin!(self.hold(claim, &order, &pulse, begun));
        let ended = tokio::select! {
            outcome = &mut running => {
                pulse.over.cancel();
                // Who answers too late is not needed any more.
                tokio::time::timeout(HEARD_OUT, holding).await.unwrap_or_default();
                return (None, outcome);
            }
            Some(ended) = &mut holding => ended,
        };
        order.stop.cancel();
        order.cancel.cancel();
        (Some(ended), running.await)
    }

    /// Renews the lease as long as there is progress. Returns when the job has to end, or is over.
    async fn hold(&self, claim: &Claim, order: &Order, pulse: &Pulse, begun: Instant) -> Option<Ended> {
        let lease = self.settings.lease;
        let (beat, write) = (BEAT.min(lease / 6), WRITE.min(lease / 4));
        // Children take a moment to end, and that must be over when the lease is.
        let margin = (lease / 6).min(Duration::from_secs(10));
        let (mut until, mut written) = (begun + lease, begun);
        let mut known = self.life(pulse, order.number);
        let (mut unheard, mut told) = (false, false);
        loop {
            let end = until - margin;
            let next = (Instant::now() + beat).min(end);
            pulse.over.run_until_cancelled(tokio::time::sleep_until(next)).await?;
            let now = Instant::now();
            if now >= end {
                return Some(if unheard { Ended::Fenced } else { Ended::Silent });
            }
            let life = self.life(pulse, order.number);
            let outage = self.runner.outage(order.number);
            if let Some(outage) = outage.as_ref().filter(|outage| !told && outage.lasts > beat) {
                (order.report)(What::Warning { message: format!("waits for a store: {}", outage.why) });
            }
            told = outage.as_ref().is_some_and(|outage| outage.lasts > beat);
            let waits = pulse.is_excused() || outage.is_some();
            let alive = life != known || waits || fault::mutant("renew-by-timer");
            let renew = alive && now >= written + write;
            let progress = renew.then(|| pulse.progress());
            let asked = self.queue.renew(claim, lease, progress.as_ref());
            match tokio::time::timeout_at(end, asked).await {
                Ok(Ok(true)) => return Some(Ended::Cancelled),
                Ok(Ok(false)) => {
                    unheard = false;
                    if renew {
                        (known, until, written) = (life, now + lease, now);
                    }
                }
                Ok(Err(QueueError::Lost { .. })) => return Some(Ended::Lost),
                Ok(Err(error)) => {
                    unheard = true;
                    tracing::warn!(%error, job = claim.id, "a lease could not be renewed");
                }
                Err(_) => return Some(Ended::Fenced),
            }
        }
    }

    /// A number that grows with each sign of life of a job. A job that waits for
    /// its turn behind others lives as long as they do.
    fn life(&self, pulse: &Pulse, number: u64) -> u64 {
        let own = pulse.beats.load(Ordering::Relaxed);
        if own != pulse.counted(own) {
            self.pulse.fetch_add(1, Ordering::Relaxed);
        }
        if self.runner.waits(number) { own + self.pulse.load(Ordering::Relaxed) } else { own }
    }

    /// What to tell the queue; nothing if the job is somebody else's.
    fn end(&self, claim: &Claim, ended: Option<Ended>, outcome: &Result<Value, Failure>) -> Option<End> {
        let failure = match outcome {
            // Published is published, whatever was asked meanwhile.
            Ok(result) => return Some(End::Done(result.clone())),
            Err(failure) => failure,
        };
        let why = failure.to_string();
        Some(match (ended, failure.class) {
            (Some(Ended::Lost), _) => return None,
            (Some(Ended::Cancelled), _) => End::Cancelled,
            (Some(ended @ (Ended::Silent | Ended::Fenced)), _) => {
                let why = reason(ended, self.settings.lease).to_string();
                End::Retry { why, wait: self.wait(claim.attempt) }
            }
            (None, Class::Permanent) => End::Dead { why: with_hint(failure) },
            (None, Class::Temporary) => End::Retry { why, wait: self.wait(claim.attempt) },
            (None, Class::Environment) if claim.misses >= MOST_MISSES => {
                End::Retry { why: with_hint(failure), wait: self.wait(claim.misses) }
            }
            (None, Class::Environment) => {
                End::Released { why: with_hint(failure), wait: self.wait(claim.misses + 1), miss: true }
            }
            (None, Class::Stopped) => {
                End::Released { why: "the worker was stopped".into(), wait: Duration::ZERO, miss: false }
            }
        })
    }

    /// Tells the queue how a job ended, through outages up to a limit. `None` if the queue no longer listens.
    async fn settle(&self, claim: &Claim, end: &End, limit: Instant) -> Option<State> {
        let mut wait = Duration::from_millis(100);
        loop {
            match self.queue.settle(claim, end).await {
                Ok(state) => return Some(state),
                Err(QueueError::Lost { .. }) => return None,
                Err(error) => {
                    // The lease runs out then, and the next attempt finds what is published.
                    if Instant::now() + wait > limit || (self.now.is_cancelled() && wait > Duration::from_secs(1)) {
                        self.tell(News::Outage { why: error.to_string() });
                        return None;
                    }
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(Duration::from_secs(3));
                }
            }
        }
    }
}

impl Pulse {
    /// Notes an event. Says whether people want to hear of it.
    fn hear(&self, what: &What) -> bool {
        let mut tracker = self.tracker.lock().unwrap_or_else(PoisonError::into_inner);
        if tracker.hear(what) {
            self.beats.fetch_add(1, Ordering::Relaxed);
        }
        !matches!(what, What::Downloading { .. } | What::ChunkProgress { .. } | What::Uploading { .. })
    }

    /// The beats that were counted before, and counts `now`.
    fn counted(&self, now: u64) -> u64 {
        let mut tracker = self.tracker.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut tracker.counted, now)
    }

    /// Whether it waits between two tries, as it said it would.
    fn is_excused(&self) -> bool {
        let tracker = self.tracker.lock().unwrap_or_else(PoisonError::into_inner);
        tracker.excused.is_some_and(|until| until > Instant::now())
    }

    fn progress(&self) -> crate::queue::Progress {
        self.tracker.lock().unwrap_or_else(PoisonError::into_inner).progress.clone()
    }
}

fn with_hint(failure: &Failure) -> String {
    match &failure.hint {
        Some(hint) => format!("{failure} ({hint})"),
        None => failure.to_string(),
    }
}

fn reason(ended: Ended, lease: Duration) -> Failure {
    match ended {
        Ended::Cancelled => Failure { what: "cancelled".into(), ..Failure::stopped() },
        Ended::Lost => Failure { what: "the queue gave the job to another worker".into(), ..Failure::stopped() },
        Ended::Silent => Failure::temporary(format!("it made no progress for {} s", lease.as_secs_f64())),
        Ended::Fenced => Failure::temporary("the queue was not reached in time to renew the lease"),
    }
}
