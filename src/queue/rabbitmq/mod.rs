//! A queue in RabbitMQ: one log, which everybody reads and writes.
//!
//! The server cannot look up, compare or count, but it has logs (its *streams*), in which all
//! entries stand in one order for all. So each change is an entry, and whether it comes about
//! is decided by what stands before it: of two workers that claim a job, the first in the log
//! has it, and both know. Nothing is held by an unacknowledged message, so no timeout of the
//! server ends a long job. Signs of life stand in a second log, which is soon forgotten.

mod event;
mod ledger;
mod link;
mod outbox;
mod queues;
mod stranger;

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use lapin::uri::AMQPUri;

use super::{
    Abilities, Asker, Claim, Counts, End, Filter, Progress, Queue, QueueError, Record, State, Submitted, clock,
    label_keys, new_id, random, word,
};
use crate::model::failure::Failure;
use crate::model::fault;
use crate::model::job::Job;
use crate::model::secret::masked_url;
use event::{Change, Ending, Pulse, Wish, Word};
use ledger::{DAY, Ledger, Outcome, REMEMBERED};
use link::Link;

/// Times to go for another job when somebody else was faster.
const TRIES: u32 = 10;

/// The queue in RabbitMQ.
pub struct RabbitMq {
    link: Link,
    /// How long jobs that are over are shown, in milliseconds.
    keep: i64,
    /// Jobs that this process reaches for just now.
    reached: Mutex<HashSet<String>>,
}

/// A job that this process reaches for: nobody else in it does.
struct Reach<'a> {
    id: String,
    seen: u64,
    queue: &'a RabbitMq,
}

impl Drop for Reach<'_> {
    fn drop(&mut self) {
        self.queue.reached().remove(&self.id);
    }
}

impl RabbitMq {
    /// The queue at `url`, to which a connection is made with the first verb.
    pub fn open(url: &str, keep: Duration) -> Result<Self, Failure> {
        let bad = |why: String| Failure::permanent(format!("the address of the queue is wrong: {why}"));
        let parsed = url::Url::parse(url).map_err(|error| bad(error.to_string()))?;
        let uri: AMQPUri = url.parse().map_err(bad)?;
        // The log is thrown away by whole files, so some of what is nearly too old is gone already.
        let keep = clock::millis(keep).min(REMEMBERED - DAY);
        Ok(Self { link: Link::new(uri, masked_url(&parsed)), keep, reached: Mutex::default() })
    }

    fn reached(&self) -> MutexGuard<'_, HashSet<String>> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Jobs that ended before this are not shown.
    fn since(&self) -> i64 {
        clock::now() - self.keep
    }

    /// Jobs whose lease ran out are due again, or dead.
    async fn rescue(&self) -> Result<(), QueueError> {
        let silent = self.link.ledger().silent(clock::since_boot());
        for (id, seen) in silent {
            self.link.append(Change::Expire { id, seen }).await?;
        }
        Ok(())
    }

    /// What is known, by now.
    fn matured(&self) -> MutexGuard<'_, Ledger> {
        let mut ledger = self.link.ledger();
        ledger.mature(clock::now());
        ledger
    }

    /// What is known, after a look whether the server is there.
    async fn fresh(&self) -> Result<MutexGuard<'_, Ledger>, QueueError> {
        self.link.refresh().await?;
        Ok(self.matured())
    }

    /// The best job that nobody else in this process reaches for.
    fn reach(&self, labels: &[String]) -> Option<Reach<'_>> {
        let mut reached = self.reached();
        let (id, seen) = self.matured().first(labels, &reached)?;
        reached.insert(id.clone());
        Some(Reach { id, seen, queue: self })
    }

    async fn stands(&self, change: Change) -> Result<Option<State>, QueueError> {
        match self.link.append(change).await? {
            Outcome::Stands(state) => Ok(state),
            _ => Ok(None),
        }
    }
}

#[async_trait]
impl Queue for RabbitMq {
    async fn submit(&self, job: &Job) -> Result<Submitted, QueueError> {
        let place = stranger::place_of(job, new_id(clock::now())?, self.keep);
        let id = place.id.clone();
        // Sent twice it is the same job, as it has its number already.
        let outcome = match self.link.append(Change::Submit(place.clone())).await {
            Err(_) => self.link.append(Change::Submit(place)).await?,
            Ok(outcome) => outcome,
        };
        match outcome {
            Outcome::Submitted(submitted) => Ok(submitted),
            _ => Ok(Submitted { id, new: true }),
        }
    }

    async fn twin(&self, job: &Job) -> Result<Option<String>, QueueError> {
        let place = stranger::place_of(job, String::new(), self.keep);
        Ok(self.fresh().await?.twin(clock::now(), &place))
    }

    async fn claim(&self, asker: &Asker, lease: Duration) -> Result<Option<Claim>, QueueError> {
        self.link.move_strangers();
        self.link.live().await?;
        self.rescue().await?;
        let labels = label_keys(asker);
        for _ in 0..TRIES {
            let Some(reach) = self.reach(&labels) else { return Ok(None) };
            let wish = Wish {
                id: reach.id.clone(),
                seen: reach.seen,
                worker: asker.worker.clone(),
                token: random(16)?,
                lease: clock::millis(lease),
                counted: !fault::mutant("no-attempts"),
            };
            if let Outcome::Claimed(claim) = self.link.append(Change::Claim(wish)).await? {
                return Ok(Some(claim));
            }
        }
        Ok(None)
    }

    async fn renew(&self, claim: &Claim, lease: Duration, progress: Option<&Progress>) -> Result<bool, QueueError> {
        self.link.live().await?;
        let wanted = || self.link.ledger().wanted(claim).ok_or_else(|| QueueError::Lost { id: claim.id.clone() });
        let before = wanted()?;
        let Some(progress) = progress else { return Ok(!before) };
        let pulse = Pulse {
            at: clock::now(),
            id: claim.id.clone(),
            token: claim.token.clone(),
            lease: clock::millis(lease),
            progress: progress.clone(),
        };
        self.link.pulse(&pulse).await?;
        Ok(!wanted()?)
    }

    async fn settle(&self, claim: &Claim, end: &End) -> Result<State, QueueError> {
        let (ending, wait) = match end {
            End::Done(_) => (Ending::Done, Duration::ZERO),
            End::Retry { wait, .. } => (Ending::Retry, *wait),
            End::Dead { .. } => (Ending::Dead, Duration::ZERO),
            End::Released { wait, miss: true, .. } => (Ending::Missed, *wait),
            End::Released { wait, .. } => (Ending::Released, *wait),
            End::Cancelled => (Ending::Cancelled, Duration::ZERO),
        };
        let said = Word {
            id: claim.id.clone(),
            token: if fault::mutant("no-owner") { "*".into() } else { claim.token.clone() },
            end: ending,
            what: word(end),
            wait: clock::millis(wait),
            result: if let End::Done(result) = end { Some(result.clone()) } else { None },
        };
        self.stands(Change::Settle(said)).await?.ok_or_else(|| QueueError::Lost { id: claim.id.clone() })
    }

    async fn cancel(&self, id: &str) -> Result<Option<State>, QueueError> {
        self.stands(Change::Cancel { id: id.to_owned() }).await
    }

    async fn revive(&self, id: &str) -> Result<Option<State>, QueueError> {
        self.stands(Change::Revive { id: id.to_owned() }).await
    }

    async fn get(&self, id: &str) -> Result<Option<Record>, QueueError> {
        Ok(self.fresh().await?.get(id, self.since()))
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Record>, QueueError> {
        Ok(self.fresh().await?.list(filter, self.since()))
    }

    async fn counts(&self) -> Result<Counts, QueueError> {
        Ok(self.fresh().await?.counts(self.since()))
    }

    async fn warnings(&self) -> Result<Vec<String>, QueueError> {
        self.link.live().await?;
        let one = "RabbitMQ leaves it to the system when its logs reach the disk: if the only server loses power, the \
                   last seconds may be lost; three servers lose nothing";
        Ok(vec![one.into()])
    }

    fn address(&self) -> String {
        self.link.shown().to_owned()
    }

    fn abilities(&self) -> Abilities {
        Abilities { once: true, fair: true, lists_waiting: false, remote: true }
    }
}
