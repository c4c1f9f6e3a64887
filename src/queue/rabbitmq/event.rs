//! What stands in the log: JSON arrays of changes, in the order in which all believe them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::{Progress, Record};

/// The changes of one message. One that is alone may stand without an array.
pub(super) fn events(text: &[u8]) -> serde_json::Result<Vec<Event>> {
    if text.starts_with(b"[") {
        serde_json::from_slice(text)
    } else {
        serde_json::from_slice(text).map(|one| vec![one])
    }
}

/// One entry of the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Event {
    /// The writer's calendar, in milliseconds since 1970.
    pub(super) at: i64,
    /// By which the writer knows its own entry again.
    pub(super) mark: String,
    /// What is to change.
    pub(super) what: Change,
}

/// A change that somebody asked for. Whether it comes about depends on what stands before it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Change {
    /// Nothing: who reads its own has read all that was before.
    Hello,
    /// A job is taken in, if there is none of the same identity.
    Submit(Place),
    /// A worker takes a job, if that is as the worker knew it.
    Claim(Wish),
    /// A claim ends, if it is still the one under which the job is lent.
    Settle(Word),
    /// A lease ran out, if it was not followed by anything.
    Expire { id: String, seen: u64 },
    /// Somebody wants a job no more.
    Cancel { id: String },
    /// Somebody wants a job again.
    Revive { id: String },
    /// A job that has stood still for long is written anew, before its last change leaves the log.
    Keep { seen: u64, held: Box<Held> },
}

/// A job as it comes, and where it stands among others.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) id: String,
    /// The job's text, which may be anything if a stranger wrote it.
    pub(super) text: String,
    pub(super) identity: String,
    /// Whether the identity outlives the job.
    pub(super) named: bool,
    pub(super) labels: String,
    pub(super) priority: i32,
    pub(super) tenant: String,
    pub(super) attempts: u32,
    /// In milliseconds.
    pub(super) delay: i64,
    /// How long a name is remembered, in milliseconds.
    pub(super) keep: i64,
}

/// Who wants a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Wish {
    pub(super) id: String,
    /// Which change was the job's last, as far as the worker knows.
    pub(super) seen: u64,
    pub(super) worker: String,
    pub(super) token: String,
    /// In milliseconds.
    pub(super) lease: i64,
    /// Whether the attempt counts.
    pub(super) counted: bool,
}

/// How a claim ends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Word {
    pub(super) id: String,
    pub(super) token: String,
    pub(super) end: Ending,
    pub(super) what: String,
    /// In milliseconds.
    pub(super) wait: i64,
    pub(super) result: Option<Value>,
}

/// The kinds of ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Ending {
    Done,
    Retry,
    Dead,
    Released,
    /// Released, because the machine was at fault.
    Missed,
    Cancelled,
}

/// A lease.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Lease {
    pub(super) token: String,
    /// In milliseconds.
    pub(super) length: i64,
    /// By this process's clock since boot, counted from when it heard of it.
    #[serde(skip)]
    pub(super) until: i64,
}

/// A job, all of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Held {
    /// What is shown; its job stays in `place`.
    pub(super) record: Record,
    pub(super) place: Place,
    pub(super) misses: u32,
    pub(super) lease: Option<Lease>,
    /// Its turn among the tenants.
    pub(super) turn: u64,
    /// Its place among all jobs.
    pub(super) number: u64,
    /// Where in the log its last change stands.
    #[serde(skip)]
    pub(super) seen: u64,
    /// When that was written.
    #[serde(skip)]
    pub(super) touched: i64,
}

/// A sign of life, which stands in a log of its own that is soon forgotten.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Pulse {
    pub(super) at: i64,
    pub(super) id: String,
    pub(super) token: String,
    /// In milliseconds.
    pub(super) lease: i64,
    pub(super) progress: Progress,
}
