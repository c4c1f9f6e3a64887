//! Holds jobs and lends them to workers, all backends under one promise:
//! a job that was taken in is done, dead, or still there, whoever dies.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::failure::Failure;
use crate::model::job::Job;

pub mod clock;
#[cfg(feature = "rabbitmq")]
pub mod rabbitmq;
#[cfg(feature = "redis")]
pub mod redis;
pub mod sqlite;

/// Entries of a job's log that are kept, the last ones.
pub const KEPT_ENTRIES: usize = 40;

/// Longest text of an entry, in bytes.
const LONGEST_ENTRY: usize = 4000;

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// A worker may take it now.
    Waiting,
    /// A worker may take it later.
    Delayed,
    /// A worker has it.
    Running,
    /// Its result is published.
    Done,
    /// Given up, with its log.
    Dead,
    /// Somebody wanted it no more.
    Cancelled,
}

impl State {
    /// All of them, in the order of a job's life.
    pub const ALL: [Self; 6] = [Self::Waiting, Self::Delayed, Self::Running, Self::Done, Self::Dead, Self::Cancelled];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delayed => "delayed",
            Self::Running => "running",
            Self::Done => "done",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether nothing happens to it any more by itself.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Dead | Self::Cancelled)
    }
}

/// How far a running job is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Part downloaded, from 0 to 1; nothing while that cannot be told.
    pub download: Option<f64>,
    /// Part encoded, from 0 to 1.
    pub encode: Option<f64>,
    /// Part stored, from 0 to 1.
    pub upload: Option<f64>,
    /// The id at the destination, once it is known.
    pub id: Option<String>,
    /// A title for people.
    pub title: Option<String>,
    /// What is made: `1080p 720p 360p + audio`.
    pub plan: Option<String>,
    /// The last warning or retry.
    pub note: Option<String>,
}

/// One line of a job's log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// In which attempt.
    pub attempt: u32,
    /// On which worker; empty where none had it.
    pub worker: String,
    /// What happened.
    pub what: String,
}

/// All that is known of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its number in the queue.
    pub id: String,
    /// The job as it was handed in.
    pub job: Value,
    /// Where it stands.
    pub state: State,
    /// Attempts begun.
    pub attempt: u32,
    /// Who has it, or had it last.
    pub worker: Option<String>,
    /// When it was handed in, in milliseconds since 1970.
    pub submitted: i64,
    /// When it may begin.
    pub due: i64,
    /// When the last attempt began.
    pub started: Option<i64>,
    /// When it was over.
    pub ended: Option<i64>,
    /// How far it is.
    pub progress: Option<Progress>,
    /// What came out.
    pub result: Option<Value>,
    /// What happened to it.
    pub log: Vec<Entry>,
    /// Whether somebody asked it to end.
    pub cancel: bool,
    /// Grows with every change of any job of the queue.
    pub version: u64,
}

/// A job that was taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// Its number.
    pub id: String,
    /// Whether it was not there before.
    pub new: bool,
}

/// Who asks for work.
#[derive(Clone, Debug)]
pub struct Asker {
    /// The worker's name.
    pub worker: String,
    /// What it has.
    pub labels: BTreeSet<String>,
    /// Only jobs that ask for this one of its labels.
    pub only: Option<String>,
}

/// A job in the hands of one worker, for the time of a lease.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Its number.
    pub id: String,
    /// The job's text, which may be anything if a stranger wrote it.
    pub text: String,
    /// This attempt, from 1.
    pub attempt: u32,
    /// Times in a row that it was given back because a machine was at fault.
    pub misses: u32,
    /// Who has it.
    pub worker: String,
    /// The secret of this lease: every write must show it.
    pub token: String,
}

/// How a claim ends.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// The result is durable.
    Done(Value),
    /// It failed and may do better later: due again after `wait`, or dead if no attempt is left.
    Retry {
        /// Why.
        why: String,
        /// How long to wait.
        wait: Duration,
    },
    /// It failed, and would again.
    Dead {
        /// Why.
        why: String,
    },
    /// The worker could not do it, which is not the job's fault: the attempt does not count.
    Released {
        /// Why.
        why: String,
        /// How long to wait.
        wait: Duration,
        /// Whether the machine is at fault, and not somebody who stopped the worker.
        miss: bool,
    },
    /// It ended because it was cancelled.
    Cancelled,
}

/// Which jobs to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only those in this state.
    pub state: Option<State>,
    /// Only those that changed after this version, in the order of their changes. Without it the newest come first.
    pub after: Option<u64>,
    /// At most so many.
    pub limit: u32,
    /// Chunks of films too, each of which is a job of its own.
    pub chunks: bool,
}

/// Jobs by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// May be taken now.
    pub waiting: u64,
    /// May be taken later.
    pub delayed: u64,
    /// In the hands of workers.
    pub running: u64,
    /// Published.
    pub done: u64,
    /// Given up.
    pub dead: u64,
    /// Wanted no more.
    pub cancelled: u64,
}

impl Counts {
    /// The count of one state.
    pub fn of(&mut self, state: State) -> &mut u64 {
        match state {
            State::Waiting => &mut self.waiting,
            State::Delayed => &mut self.delayed,
            State::Running => &mut self.running,
            State::Done => &mut self.done,
            State::Dead => &mut self.dead,
            State::Cancelled => &mut self.cancelled,
        }
    }
}

/// What a queue can do beyond the promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is an ability of its own")]
pub struct Abilities {
    /// Two submissions of one wish are one job.
    pub once: bool,
    /// Tenants take turns.
    pub fair: bool,
    /// Jobs that other programs put there are listed while they wait.
    pub lists_waiting: bool,
    /// It is reached from other machines.
    pub remote: bool,
}

/// Why a queue did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The lease was lost: somebody else may have the job.
    #[error("the lease of job `{id}` is lost")]
    Lost {
        /// The job.
        id: String,
    },
    /// The server cannot be reached or did not answer; worth another try.
    #[error("the queue `{queue}` cannot be used: {why}")]
    Unreachable {
        /// The queue, with no password.
        queue: String,
        /// Why.
        why: String,
    },
    /// The job cannot be taken in.
    #[error("{0}")]
    Refused(Failure),
}

impl From<QueueError> for Failure {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::Refused(failure) => failure,
            QueueError::Lost { .. } => Self::temporary(error.to_string()),
            QueueError::Unreachable { ref why, .. } => {
                let hint = if why.contains("certificate") {
                    "if the server has a certificate of your own authority, name that one's file in `SSL_CERT_FILE`"
                } else {
                    "is the server running, and are address and rights correct?"
                };
                Self::environment(error.to_string()).hint(hint)
            }
        }
    }
}

/// Holds jobs and lends them out. Every write to a claimed job shows the
/// claim, and fails with [`QueueError::Lost`] once the job is somebody else's.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Takes in a job. When this returns it is as safe as the queue can make it.
    /// One that is there already, by [`Job::identity`], is not taken in twice.
    async fn submit(&self, job: &Job) -> Result<Submitted, QueueError>;

    /// The job that is there already and stands for the same wish as `job`, if there is one: [`Queue::submit`]
    /// would give it, too.
    async fn twin(&self, job: &Job) -> Result<Option<String>, QueueError>;

    /// Lends one due job for `lease`, if there is one: the highest priority, then the tenant
    /// whose turn it is, then the oldest. The attempt is counted now. A lease that
    /// runs out makes the job due again, or dead if that was its last attempt.
    async fn claim(&self, asker: &Asker, lease: Duration) -> Result<Option<Claim>, QueueError>;

    /// Notes progress and renews the lease; without progress it does neither. Says whether to cancel.
    async fn renew(&self, claim: &Claim, lease: Duration, progress: Option<&Progress>) -> Result<bool, QueueError>;

    /// Ends a claim. Only after what it says is durable. Says where the job stands now.
    async fn settle(&self, claim: &Claim, end: &End) -> Result<State, QueueError>;

    /// Asks a job to end: at once if it waits, at the worker's next look if it runs.
    /// Says where it stands now, `None` if there is none.
    async fn cancel(&self, id: &str) -> Result<Option<State>, QueueError>;

    /// Makes a job that is dead or cancelled due again, with new attempts. Says where it stands now.
    async fn revive(&self, id: &str) -> Result<Option<State>, QueueError>;

    /// All that is known of a job.
    async fn get(&self, id: &str) -> Result<Option<Record>, QueueError>;

    /// Jobs by `filter`.
    async fn list(&self, filter: &Filter) -> Result<Vec<Record>, QueueError>;

    /// Jobs by state.
    async fn counts(&self) -> Result<Counts, QueueError>;

    /// Things the operator should know, such as settings under which jobs could be lost.
    async fn warnings(&self) -> Result<Vec<String>, QueueError>;

    /// Its address for people, with no password.
    fn address(&self) -> String;

    /// What it can do beyond this.
    fn abilities(&self) -> Abilities;
}

/// Opens the queue at `url`; `keep` is how long finished jobs are remembered.
pub async fn open(url: &str, keep: Duration) -> Result<Arc<dyn Queue>, Failure> {
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return Ok(Arc::new(sqlite::Sqlite::open(std::path::Path::new(path), keep).await?));
    }
    let scheme = url.split(':').next().unwrap_or_default();
    #[cfg(feature = "redis")]
    if matches!(scheme, "redis" | "rediss") {
        return Ok(Arc::new(redis::Redis::open(url, keep)?));
    }
    #[cfg(feature = "rabbitmq")]
    if matches!(scheme, "amqp" | "amqps") {
        return Ok(Arc::new(rabbitmq::RabbitMq::open(url, keep)?));
    }
    Err(Failure::permanent(format!("`{}` is not a queue of this version", scheme.escape_debug()))
        .hint("give sqlite:PATH, or redis://HOST or amqp://HOST if this build has them"))
}

/// A number for a job: its time first, so that they sort, then chance.
fn new_id(now: i64) -> Result<String, QueueError> {
    Ok(format!("{now:012x}{}", random(5)?))
}

/// Random bytes in hex.
fn random(bytes: usize) -> Result<String, QueueError> {
    let mut buffer = vec![0; bytes];
    getrandom::fill(&mut buffer).map_err(|error| {
        QueueError::Refused(Failure::environment(format!("the system gives no random bytes: {error}")))
    })?;
    Ok(hex::encode(buffer))
}

/// Labels as one text: a job's, by which it is found.
fn label_key(labels: &BTreeSet<String>) -> String {
    labels.iter().map(String::as_str).collect::<Vec<_>>().join(",")
}

/// The keys of all jobs that the asker can do and wants.
fn label_keys(asker: &Asker) -> Vec<String> {
    let labels: Vec<&String> = asker.labels.iter().collect();
    let subset = |bits: u32| -> BTreeSet<String> {
        let chosen = labels.iter().enumerate().filter(|(place, _)| bits >> place & 1 == 1);
        chosen.map(|(_, label)| (*label).clone()).collect()
    };
    // One more than a job may have: the one of Forebay's own.
    let subsets = (0..1_u32 << labels.len().min(crate::model::job::MOST_LABELS + 1)).map(subset);
    let wanted = subsets.filter(|subset| asker.only.as_ref().is_none_or(|only| subset.contains(only)));
    wanted.map(|subset| label_key(&subset)).collect()
}

/// Whether a job with this key is a chunk of a film.
#[cfg(feature = "rabbitmq")]
fn is_chunk(label_key: &str) -> bool {
    label_key.contains(crate::model::job::OWN_LABEL)
}

/// Adds a line to a log, which keeps the last ones.
fn note(log: &mut Vec<Entry>, entry: Entry) {
    let what = entry.what.char_indices().take_while(|(place, _)| *place < LONGEST_ENTRY).map(|(_, letter)| letter);
    log.push(Entry { what: what.collect(), ..entry });
    if log.len() > KEPT_ENTRIES {
        log.drain(..log.len() - KEPT_ENTRIES);
    }
}

/// Where a claim that ended like this leaves its job, and when that is due.
fn after(end: &End, attempt: u32, attempts: u32) -> (State, Duration) {
    match end {
        End::Done(_) => (State::Done, Duration::ZERO),
        End::Dead { .. } => (State::Dead, Duration::ZERO),
        End::Cancelled => (State::Cancelled, Duration::ZERO),
        End::Retry { .. } if attempt >= attempts => (State::Dead, Duration::ZERO),
        End::Retry { wait, .. } | End::Released { wait, .. } => {
            (if wait.is_zero() { State::Waiting } else { State::Delayed }, *wait)
        }
    }
}

/// What to write into a log when a claim ends.
fn word(end: &End) -> String {
    match end {
        End::Done(_) => "done".into(),
        End::Retry { why, .. } => format!("failed: {why}"),
        End::Dead { why } => format!("failed for good: {why}"),
        End::Released { why, .. } => format!("given back: {why}"),
        End::Cancelled => "cancelled".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_can_do_what_needs_less_than_it_has() {
        let asker = |labels: &[&str], only: Option<&str>| Asker {
            worker: "w".into(),
            labels: labels.iter().map(ToString::to_string).collect(),
            only: only.map(Into::into),
        };
        assert_eq!(label_keys(&asker(&["gpu", "big-disk"], None)), ["", "big-disk", "gpu", "big-disk,gpu"]);
        assert_eq!(label_keys(&asker(&["gpu", "big-disk"], Some("gpu"))), ["gpu", "big-disk,gpu"]);
        assert_eq!(label_keys(&asker(&[], None)), [""]);
    }

    #[test]
    fn logs_stay_short() {
        let mut log = Vec::new();
        for _ in 0..100 {
            note(&mut log, Entry { at: 0, attempt: 1, worker: String::new(), what: "é".repeat(5000) });
        }
        assert_eq!(log.len(), KEPT_ENTRIES);
        assert!(log[0].what.len() <= LONGEST_ENTRY);
    }
}
