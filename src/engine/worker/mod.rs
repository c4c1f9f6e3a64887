//! A worker: takes jobs from a queue, runs them, and never stops by itself.
//!
//! Nothing here knows what a job does: a [`Runner`] does. The worker holds the
//! lease, and gives the job up before the lease ends if it cannot be renewed.

mod attend;
mod hands;
pub mod progress;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::stop::Stop;
use crate::model::event::What;
use crate::model::failure::{Class, Failure};
use crate::model::job::Job;
use crate::queue::{Asker, Queue, State};
use crate::storage::outage::Outage;

/// An idle worker looks again after this long, a little later each time.
const FIRST_LOOK: Duration = Duration::from_millis(50);

/// The longest an idle worker waits between two looks.
const LAST_LOOK: Duration = Duration::from_millis(500);

/// The longest wait for a queue that cannot be reached.
const LONGEST_OUTAGE_WAIT: Duration = Duration::from_secs(5);

/// How long a worker that is to do one job waits for a queue that cannot be reached.
const PATIENCE: Duration = Duration::from_secs(30);

/// Does jobs.
#[async_trait]
pub trait Runner: Send + Sync {
    /// Does the job of `order`. When this returns well, the result is durable and
    /// no process is left, and the same holds when it fails.
    async fn run(&self, order: &Order) -> Result<Value, Failure>;

    /// Whether order `number` waits for its turn in this process, behind others that work.
    fn waits(&self, number: u64) -> bool;

    /// The label of chunks of films of which this program makes the bytes that any worker with that
    /// label makes; none if it makes no chunks for others.
    fn make(&self) -> Option<String>;

    /// Cores that nobody has or waits for.
    fn idle(&self) -> u64;

    /// The store that order `number` waits for because it fails, if there is one. That wait has an end of
    /// its own, by the store's tries and patience, so silence meanwhile is no bad sign.
    fn outage(&self, number: u64) -> Option<Outage>;

    /// The job is over everywhere: what was kept for another attempt may go.
    async fn forget(&self, id: &str);
}

/// A job and what steers it.
#[derive(Clone)]
pub struct Order {
    /// Its number in the queue.
    pub id: String,
    /// What to do.
    pub job: Job,
    /// Counts the jobs of this worker; earlier ones have the right of way.
    pub number: u64,
    /// Begin nothing new after this.
    pub stop: CancellationToken,
    /// End everything now.
    pub cancel: CancellationToken,
    /// Hears what happens.
    pub report: Arc<dyn Fn(What) + Send + Sync>,
}

/// How a worker works.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// Its name, in logs and records.
    pub name: String,
    /// What it has.
    pub labels: BTreeSet<String>,
    /// Jobs at once.
    pub slots: u64,
    /// How long a job may go without progress.
    pub lease: Duration,
    /// The wait before a second attempt; it doubles with each.
    pub retry_wait: Duration,
    /// How long to take no jobs when this machine failed several in a row; it doubles each time.
    pub bench: Duration,
    /// Take one job at most.
    pub once: bool,
}

/// What a worker tells.
#[derive(Clone, Debug)]
pub enum News {
    /// It took a job.
    Took {
        /// The job.
        id: String,
        /// The attempt.
        attempt: u32,
        /// What from, fit to be shown.
        input: String,
        /// Where to.
        to: String,
    },
    /// Something happened to a job.
    Job {
        /// The job.
        id: String,
        /// What.
        what: What,
    },
    /// A job left its hands.
    Ended {
        /// The job.
        id: String,
        /// Where it stands now; `None` if the lease was lost.
        state: Option<State>,
        /// The result, or why there is none.
        outcome: Result<Value, Failure>,
        /// How long it took.
        seconds: f64,
    },
    /// The queue cannot be reached.
    Outage {
        /// Why.
        why: String,
    },
    /// The queue is there again.
    Back,
    /// It takes no jobs for a while, as this machine seems unfit.
    Benched {
        /// For how long.
        seconds: f64,
        /// Why.
        why: String,
    },
    /// It takes no more jobs, and puts aside those it has.
    Draining,
}

/// How a worker's life went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerSummary {
    /// Jobs done.
    pub done: u64,
    /// Jobs that failed, for now or for good.
    pub failed: u64,
    /// Jobs given back.
    pub released: u64,
    /// Whether it gave up because the queue could not be reached.
    pub unreachable: bool,
}

/// What the slots of a worker share.
struct Shared {
    queue: Arc<dyn Queue>,
    runner: Arc<dyn Runner>,
    settings: WorkerSettings,
    stop: CancellationToken,
    now: CancellationToken,
    news: UnboundedSender<News>,
    /// Jobs taken.
    taken: AtomicU64,
    /// Signs of life of all jobs.
    pulse: AtomicU64,
    bench: watch::Sender<Bench>,
}

/// Failures of this machine, in a row, and until when it takes no jobs for that.
#[derive(Debug, Default)]
struct Bench {
    /// The jobs they came to: one job alone that fails again and again proves nothing.
    jobs: BTreeSet<String>,
    /// How often it was benched since a job last did well.
    rests: u32,
    until: Option<Instant>,
}

impl Bench {
    /// Notes that job `id` failed through this machine. The rest to take for it, if there were enough.
    fn failed(&mut self, id: &str, first: Duration) -> Option<Duration> {
        if self.jobs.len() < STREAK {
            self.jobs.insert(id.to_owned());
        }
        if self.jobs.len() < STREAK {
            return None;
        }
        let rest = (first * 2_u32.pow(self.rests.min(10))).min(LONGEST_BENCH);
        self.rests += 1;
        self.until = Some(Instant::now() + rest);
        Some(rest)
    }
}

/// After so many different jobs in a row that failed through this machine, it takes a rest.
const STREAK: usize = 3;

/// The longest rest.
const LONGEST_BENCH: Duration = Duration::from_mins(15);

/// Works until it is told to stop; with `once`, until one job is done or none is due.
pub async fn work(
    queue: Arc<dyn Queue>,
    runner: Arc<dyn Runner>,
    settings: WorkerSettings,
    mut stop: Stop,
    listener: &mut (dyn FnMut(&News) + Send),
) -> WorkerSummary {
    let (news, mut heard) = mpsc::unbounded_channel();
    let slots = if settings.once { 1 } else { settings.slots };
    let shared = Arc::new(Shared {
        queue,
        runner,
        settings,
        stop: stop.begin.clone(),
        now: stop.now.clone(),
        news,
        taken: AtomicU64::new(0),
        pulse: AtomicU64::new(0),
        bench: watch::Sender::new(Bench::default()),
    });
    let mut tasks = JoinSet::new();
    // Who does one job lends a hand as long as that takes.
    let (hands, until) = (Arc::clone(&shared), shared.stop.child_token());
    for _ in 0..slots {
        tasks.spawn(slot_until(Arc::clone(&shared), until.clone()));
    }
    tasks.spawn(async move {
        hands::lend(hands, until).await;
        true
    });
    let mut summary = WorkerSummary::default();
    let mut count = |news: &News, summary: &mut WorkerSummary| {
        if let News::Ended { state, outcome, .. } = news {
            match (state, outcome) {
                (Some(State::Done), _) => summary.done += 1,
                (Some(State::Dead), _) => summary.failed += 1,
                (_, Err(failure)) if matches!(failure.class, Class::Stopped | Class::Environment) => {
                    summary.released += 1;
                }
                _ => summary.failed += 1,
            }
        }
        listener(news);
    };
    while !tasks.is_empty() {
        tokio::select! {
            Some(news) = heard.recv() => count(&news, &mut summary),
            Some(ended) = tasks.join_next() => match ended {
                Ok(reachable) => summary.unreachable |= !reachable,
                Err(error) => {
                    // The job's lease runs out, and that attempt counts: a job that does this to every worker dies.
                    tracing::error!(%error, "a slot ended by a fault of the program");
                    if !shared.stop.is_cancelled() && !shared.settings.once {
                        tasks.spawn(slot(Arc::clone(&shared)));
                    }
                }
            },
            () = stop.step() => count(&News::Draining, &mut summary),
        }
    }
    while let Ok(news) = heard.try_recv() {
        count(&news, &mut summary);
    }
    summary
}

/// A slot whose end ends `until`.
async fn slot_until(shared: Arc<Shared>, until: CancellationToken) -> bool {
    let reachable = slot(shared).await;
    until.cancel();
    reachable
}

/// Takes one job after the other. `false` if it gave up on the queue.
async fn slot(shared: Arc<Shared>) -> bool {
    let mut asker = Asker { worker: shared.settings.name.clone(), labels: shared.settings.labels.clone(), only: None };
    if shared.settings.once {
        // Nobody else in this program would take a chunk while there is no job.
        asker.labels.extend(shared.runner.make());
    }
    let (mut look, mut outage, begun) = (FIRST_LOOK, None, Instant::now());
    loop {
        shared.rested().await;
        if shared.stop.is_cancelled() {
            return true;
        }
        // A claim is never cut short: a job could be on its way to us.
        match shared.queue.claim(&asker, shared.settings.lease).await {
            Ok(Some(claim)) => {
                shared.reached(&mut outage);
                look = FIRST_LOOK;
                shared.attend(claim, None).await;
                if shared.settings.once {
                    return true;
                }
            }
            Ok(None) => {
                shared.reached(&mut outage);
                if shared.settings.once {
                    return true;
                }
                shared.pause(look).await;
                look = (look * 3 / 2).min(LAST_LOOK);
            }
            Err(error) => {
                if shared.settings.once && begun.elapsed() > PATIENCE {
                    shared.tell(News::Outage { why: error.to_string() });
                    return false;
                }
                let wait = match outage {
                    None => {
                        shared.tell(News::Outage { why: error.to_string() });
                        FIRST_LOOK * 4
                    }
                    Some(wait) => (wait * 2).min(LONGEST_OUTAGE_WAIT),
                };
                outage = Some(wait);
                shared.pause(jittered(wait)).await;
            }
        }
    }
}

impl Shared {
    fn tell(&self, news: News) {
        // Whoever listens does so until the last slot has ended.
        self.news.send(news).unwrap_or_default();
    }

    fn reached(&self, outage: &mut Option<Duration>) {
        if outage.take().is_some() {
            self.tell(News::Back);
        }
    }

    async fn pause(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// Waits until this worker may take jobs.
    async fn rested(&self) {
        let mut bench = self.bench.subscribe();
        loop {
            let until = bench.borrow_and_update().until;
            let Some(until) = until.filter(|until| *until > Instant::now()) else { return };
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                _ = bench.changed() => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// Notes how job `id` ended: failures of several in a row through this machine bench it.
    fn judge(&self, id: &str, outcome: &Result<Value, Failure>) {
        let mut benched = None;
        self.bench.send_modify(|bench| match outcome {
            Err(failure) if failure.class == Class::Environment => {
                benched = bench.failed(id, self.settings.bench).map(|rest| (rest, failure.to_string()));
            }
            Err(failure) if failure.class == Class::Stopped => {}
            _ => *bench = Bench::default(),
        });
        if let Some((rest, why)) = benched {
            self.tell(News::Benched { seconds: rest.as_secs_f64(), why });
        }
    }

    fn number(&self) -> u64 {
        self.taken.fetch_add(1, Ordering::Relaxed)
    }

    /// The wait before the next attempt of a job that was tried or given back `times` times.
    fn wait(&self, times: u32) -> Duration {
        let doubled = self.settings.retry_wait * 2_u32.pow(times.saturating_sub(1).min(10));
        jittered(doubled.min(LONGEST_BENCH))
    }
}

/// Half to one and a half of `time`, by chance, so that many who failed together do not come together.
fn jittered(time: Duration) -> Duration {
    let mut bytes = [0; 2];
    // Without chance the wait is as good.
    getrandom::fill(&mut bytes).unwrap_or_default();
    time.mul_f64(0.5 + f64::from(u16::from_le_bytes(bytes)) / f64::from(u16::MAX))
}

/// A job as it is shown: URLs have no query, for that may hold a signature.
pub fn shown(text: &str) -> String {
    match url::Url::parse(text) {
        Ok(url) => crate::model::secret::masked_url(&url),
        Err(_) => text.escape_debug().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_jobs_that_fail_bench_a_worker_and_one_does_not() {
        let first = Duration::from_secs(1);
        let mut bench = Bench::default();
        let mut rests = |ids: &[&str]| ids.iter().map(|id| bench.failed(id, first)).collect::<Vec<_>>();
        assert_eq!(rests(&["a", "a", "a", "a", "b", "a"]), [None; 6]);
        assert_eq!(rests(&["c", "a", "d"]), [1, 2, 4].map(|rest| Some(first * rest)));
        assert_eq!(rests(&["a"; 20]).last(), Some(&Some(LONGEST_BENCH)));
    }
}
