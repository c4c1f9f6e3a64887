//! The promise of a queue, kept by every backend against its real server.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay::model::job::{Job, Task};
use forebay::queue::{self, Asker, Claim, End, Filter, Progress, Queue, QueueError, Record, State};
use serde_json::json;

/// Long enough for a busy machine, where nothing is to run out.
const LONG: Duration = Duration::from_mins(1);

/// Short enough to wait for.
const SHORT: Duration = Duration::from_millis(1500);

/// A queue that nobody else uses, and a way to reach it again as another process would.
struct Bench {
    url: String,
    queue: Arc<dyn Queue>,
    _folder: tempfile::TempDir,
}

impl Bench {
    async fn again(&self) -> Arc<dyn Queue> {
        open(&self.url).await
    }

    async fn submit(&self, job: &Job) -> String {
        let submitted = self.queue.submit(job).await.unwrap();
        assert!(submitted.new, "{job:?}");
        submitted.id
    }

    /// Claims as soon as there is something.
    async fn claim(&self, lease: Duration) -> Claim {
        claim_with(&self.queue, &asker("w", &[]), lease).await.expect("a job is due")
    }

    /// Nothing is due, and nothing comes.
    async fn none(&self) {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let claim = self.queue.claim(&asker("w", &[]), LONG).await.unwrap();
        assert!(claim.is_none(), "{claim:?}");
    }

    async fn record(&self, id: &str) -> Record {
        self.queue.get(id).await.unwrap().expect("the job is known")
    }

    /// Waits until a job stands where it should: some queues tell a little later.
    async fn stands(&self, id: &str, state: State) -> Record {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let record = self.queue.get(id).await.unwrap();
            if let Some(record) = record.filter(|record| record.state == state) {
                return record;
            }
            assert!(Instant::now() < end, "{:?}", self.queue.get(id).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn open(url: &str) -> Arc<dyn Queue> {
    queue::open(url, Duration::from_hours(1)).await.unwrap()
}

fn asker(worker: &str, labels: &[&str]) -> Asker {
    Asker { worker: worker.into(), labels: set(labels), only: None }
}

fn set(labels: &[&str]) -> BTreeSet<String> {
    labels.iter().map(|label| (*label).to_owned()).collect()
}

async fn claim_with(queue: &Arc<dyn Queue>, asker: &Asker, lease: Duration) -> Option<Claim> {
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        if let Some(claim) = queue.claim(asker, lease).await.unwrap() {
            return Some(claim);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    None
}

fn job(name: &str) -> Job {
    Job::new(Task::Hls, &format!("https://example.org/{name}.mp4"), "/srv/video")
}

fn input(claim: &Claim) -> String {
    let job = Job::parse(claim.text.as_bytes()).unwrap();
    job.input.trim_start_matches("https://example.org/").trim_end_matches(".mp4").to_owned()
}

fn retry(wait: Duration) -> End {
    End::Retry { why: "the server said 503".into(), wait }
}

async fn a_job_is_lent_and_done(bench: Bench) {
    let id = bench.submit(&job("a")).await;
    assert_eq!(bench.stands(&id, State::Waiting).await.job, job("a").to_value());
    let claim = bench.claim(LONG).await;
    assert_eq!((claim.id.as_str(), claim.attempt, input(&claim).as_str()), (id.as_str(), 1, "a"));
    bench.none().await;
    assert!(!bench.queue.renew(&claim, LONG, None).await.unwrap());
    let progress = Progress { encode: Some(0.5), id: Some("a-1".into()), ..Progress::default() };
    assert!(!bench.queue.renew(&claim, LONG, Some(&progress)).await.unwrap());
    let seen = bench.again().await;
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let running = seen.get(&id).await.unwrap().unwrap();
        if running.progress.as_ref() == Some(&progress) {
            assert_eq!((running.state, running.worker.as_deref()), (State::Running, Some("w")));
            break;
        }
        assert!(Instant::now() < end, "progress is not seen from elsewhere: {running:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let end = End::Done(json!({ "master": "m" }));
    assert_eq!(bench.queue.settle(&claim, &end).await.unwrap(), State::Done);
    let done = bench.stands(&id, State::Done).await;
    assert_eq!((done.result, done.attempt, done.log.len()), (Some(json!({ "master": "m" })), 1, 1));
    assert!(done.submitted <= done.started.unwrap() && done.started <= done.ended);
    bench.none().await;
    let lost = bench.queue.settle(&claim, &end).await;
    assert!(matches!(lost, Err(QueueError::Lost { .. })), "settled twice: {lost:?}");
}

async fn two_never_have_the_same(bench: Bench) {
    const JOBS: usize = 40;
    for number in 0..JOBS {
        bench.submit(&job(&number.to_string())).await;
    }
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..4 {
        let queue = bench.again().await;
        workers.spawn(async move {
            let (mut mine, asker) = (Vec::new(), asker(&format!("w{worker}"), &[]));
            let mut idle = 0;
            while idle < 20 {
                let Some(claim) = queue.claim(&asker, LONG).await.unwrap() else {
                    idle += 1;
                    tokio::time::sleep(Duration::from_millis(25)).await;
                    continue;
                };
                idle = 0;
                mine.push(input(&claim));
                queue.settle(&claim, &End::Done(json!(null))).await.unwrap();
            }
            mine
        });
    }
    let all: Vec<String> = workers.join_all().await.into_iter().flatten().collect();
    let distinct: BTreeSet<&String> = all.iter().collect();
    assert_eq!((all.len(), distinct.len()), (JOBS, JOBS), "{all:?}");
}

async fn failures_are_tried_again_and_then_dead(bench: Bench) {
    let id = bench.submit(&Job { attempts: 2, ..job("a") }).await;
    let claim = bench.claim(LONG).await;
    assert_eq!(bench.queue.settle(&claim, &retry(Duration::from_secs(1))).await.unwrap(), State::Delayed);
    let begun = Instant::now();
    let claim = bench.claim(LONG).await;
    assert!(begun.elapsed() > Duration::from_millis(700), "the wait was not kept");
    assert_eq!(claim.attempt, 2);
    assert_eq!(bench.queue.settle(&claim, &retry(Duration::ZERO)).await.unwrap(), State::Dead);
    let dead = bench.stands(&id, State::Dead).await;
    assert!(dead.log.iter().filter(|entry| entry.what.contains("503")).count() == 2, "{dead:?}");
    bench.none().await;
    assert_eq!(bench.queue.revive(&id).await.unwrap(), Some(State::Waiting));
    let claim = bench.claim(LONG).await;
    assert_eq!((claim.id.as_str(), claim.attempt), (id.as_str(), 1));
    assert_eq!(bench.queue.settle(&claim, &End::Dead { why: "no video".into() }).await.unwrap(), State::Dead);
    assert!(bench.stands(&id, State::Dead).await.log.last().unwrap().what.contains("no video"));
    bench.none().await;
}

async fn what_is_given_back_does_not_count(bench: Bench) {
    let id = bench.submit(&Job { attempts: 1, ..job("a") }).await;
    for round in 0..3 {
        let claim = bench.claim(LONG).await;
        assert_eq!((claim.attempt, claim.misses), (1, round));
        let end = End::Released { why: "disk full".into(), wait: Duration::ZERO, miss: true };
        assert_eq!(bench.queue.settle(&claim, &end).await.unwrap(), State::Waiting);
    }
    let claim = bench.claim(LONG).await;
    bench.queue.settle(&claim, &End::Done(json!(null))).await.unwrap();
    assert_eq!(bench.stands(&id, State::Done).await.log.len(), 4);
}

async fn the_important_and_the_fair_come_first(bench: Bench) {
    let from = |tenant: &str, priority, name: &str| Job { tenant: tenant.into(), priority, ..job(name) };
    for (tenant, priority, name) in [
        ("", 0, "a1"),
        ("", 0, "a2"),
        ("", 0, "a3"),
        ("bob", 0, "b1"),
        ("bob", 0, "b2"),
        ("", -5, "low"),
        ("", 5, "high"),
    ] {
        bench.submit(&from(tenant, priority, name)).await;
    }
    let mut order = Vec::new();
    for _ in 0..7 {
        let claim = bench.claim(LONG).await;
        order.push(input(&claim));
        bench.queue.settle(&claim, &End::Done(json!(null))).await.unwrap();
    }
    let fair = ["high", "a1", "b1", "a2", "b2", "a3", "low"];
    let plain = ["high", "a1", "a2", "a3", "b1", "b2", "low"];
    assert_eq!(order, if bench.queue.abilities().fair { fair } else { plain });
}

async fn labels_lead_to_who_has_them(bench: Bench) {
    bench.submit(&Job { labels: set(&["gpu"]), ..job("g") }).await;
    bench.submit(&Job { labels: set(&["gpu", "big-disk"]), ..job("both") }).await;
    bench.none().await;
    let gpu = asker("g", &["gpu"]);
    let claim = claim_with(&bench.queue, &gpu, LONG).await.unwrap();
    assert_eq!(input(&claim), "g");
    assert!(bench.queue.claim(&gpu, LONG).await.unwrap().is_none());
    let both = claim_with(&bench.queue, &asker("b", &["big-disk", "gpu", "more"]), LONG).await.unwrap();
    assert_eq!(input(&both), "both");
    for claim in [claim, both] {
        bench.queue.settle(&claim, &End::Done(json!(null))).await.unwrap();
    }
}

async fn some_begin_later(bench: Bench) {
    let id = bench.submit(&Job { delay: 1, ..job("a") }).await;
    assert_eq!(bench.stands(&id, State::Delayed).await.state, State::Delayed);
    assert!(bench.queue.claim(&asker("w", &[]), LONG).await.unwrap().is_none());
    let claim = bench.claim(LONG).await;
    bench.queue.settle(&claim, &End::Done(json!(null))).await.unwrap();
}

async fn the_same_wish_is_one_job(bench: Bench) {
    if !bench.queue.abilities().once {
        return;
    }
    let id = bench.submit(&job("a")).await;
    let again = bench.queue.submit(&job("a")).await.unwrap();
    assert_eq!((again.id.as_str(), again.new), (id.as_str(), false));
    let claim = bench.claim(LONG).await;
    assert!(!bench.queue.submit(&job("a")).await.unwrap().new);
    bench.queue.settle(&claim, &End::Done(json!(null))).await.unwrap();
    let later = bench.submit(&job("a")).await;
    assert_ne!(later, id);
    let claim = bench.claim(LONG).await;
    bench.queue.settle(&claim, &End::Done(json!(null))).await.unwrap();
    let named = Job { key: Some("order-7".into()), ..job("b") };
    let id = bench.submit(&named).await;
    let claim = bench.claim(LONG).await;
    bench.queue.settle(&claim, &End::Done(json!(null))).await.unwrap();
    let again = bench.queue.submit(&named).await.unwrap();
    assert_eq!((&again.id, again.new), (&id, false));
    assert_eq!(bench.queue.twin(&named).await.unwrap(), Some(id));
    assert_eq!(bench.queue.twin(&Job { tenant: "other".into(), ..named }).await.unwrap(), None);
    assert_eq!(bench.queue.twin(&job("a")).await.unwrap(), None, "it is done, and has no name");
    bench.none().await;
}

async fn waiting_jobs_are_cancelled_and_running_ones_are_told(bench: Bench) {
    let id = bench.submit(&job("a")).await;
    assert_eq!(bench.queue.cancel(&id).await.unwrap(), Some(State::Cancelled));
    bench.none().await;
    bench.stands(&id, State::Cancelled).await;
    let id = bench.submit(&job("b")).await;
    let claim = bench.claim(LONG).await;
    assert_eq!(bench.queue.cancel(&id).await.unwrap(), Some(State::Running));
    let begun = Instant::now();
    while !bench.queue.renew(&claim, LONG, None).await.unwrap() {
        assert!(begun.elapsed() < Duration::from_secs(5), "the worker is not told");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(bench.queue.settle(&claim, &End::Cancelled).await.unwrap(), State::Cancelled);
    bench.stands(&id, State::Cancelled).await;
    bench.none().await;
    assert_eq!(bench.queue.cancel("no-such-job").await.unwrap(), None);
    let id = bench.submit(&job("c")).await;
    let claim = bench.claim(LONG).await;
    bench.queue.cancel(&id).await.unwrap();
    // It failed at the same moment: it is not tried again.
    while !bench.queue.renew(&claim, LONG, None).await.unwrap() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(bench.queue.settle(&claim, &retry(Duration::ZERO)).await.unwrap(), State::Cancelled);
    bench.none().await;
}

async fn every_change_is_seen_once(bench: Bench) {
    let ids = [bench.submit(&job("a")).await, bench.submit(&job("b")).await];
    bench.stands(&ids[1], State::Waiting).await;
    let filter = |after| Filter { state: None, after, limit: 100, chunks: false };
    let all = bench.queue.list(&filter(Some(0))).await.unwrap();
    assert_eq!(all.iter().map(|record| record.id.clone()).collect::<Vec<_>>(), ids);
    let newest = bench.queue.list(&filter(None)).await.unwrap();
    assert_eq!(newest[0].id, ids[1]);
    let last = all[1].version;
    assert!(bench.queue.list(&filter(Some(last))).await.unwrap().is_empty());
    let claim = bench.claim(LONG).await;
    bench.stands(&claim.id, State::Running).await;
    let changed = bench.queue.list(&filter(Some(last))).await.unwrap();
    assert_eq!(changed.len(), 1);
    assert_eq!((changed[0].id.as_str(), changed[0].state), (claim.id.as_str(), State::Running));
    let waiting = Filter { state: Some(State::Waiting), after: None, limit: 100, chunks: false };
    assert_eq!(bench.queue.list(&waiting).await.unwrap().len(), 1);
    let counts = bench.queue.counts().await.unwrap();
    assert_eq!((counts.waiting, counts.running, counts.done), (1, 1, 0));
}

async fn a_lease_that_runs_out_is_lent_anew(bench: Bench) {
    let id = bench.submit(&Job { attempts: 2, ..job("a") }).await;
    let zombie = bench.claim(SHORT).await;
    let progress = Progress::default();
    for _ in 0..4 {
        tokio::time::sleep(SHORT / 3).await;
        bench.queue.renew(&zombie, SHORT, Some(&progress)).await.unwrap();
    }
    assert!(bench.queue.claim(&asker("w", &[]), LONG).await.unwrap().is_none(), "a lease that was renewed ran out");
    // Looking does not renew.
    tokio::time::sleep(SHORT / 2).await;
    bench.queue.renew(&zombie, SHORT, None).await.unwrap();
    tokio::time::sleep(SHORT * 3 / 4).await;
    let claim = bench.claim(SHORT).await;
    assert_eq!((claim.id.as_str(), claim.attempt), (id.as_str(), 2));
    for end in [End::Done(json!(null)), retry(Duration::ZERO), End::Cancelled] {
        let lost = bench.queue.settle(&zombie, &end).await;
        assert!(matches!(lost, Err(QueueError::Lost { .. })), "a zombie wrote {end:?}: {lost:?}");
    }
    assert!(matches!(bench.queue.renew(&zombie, LONG, Some(&progress)).await, Err(QueueError::Lost { .. })));
    assert!(matches!(bench.queue.renew(&zombie, LONG, None).await, Err(QueueError::Lost { .. })));
    assert!(!bench.queue.renew(&claim, SHORT, Some(&progress)).await.unwrap());
    tokio::time::sleep(SHORT + Duration::from_millis(200)).await;
    // It ended two workers: it gets no third.
    bench.none().await;
    let dead = bench.record(&id).await;
    assert_eq!(dead.state, State::Dead);
    assert_eq!(dead.log.iter().filter(|entry| entry.what.contains("died")).count(), 2, "{dead:?}");
}

/// One test a promise and backend.
macro_rules! contract {
    ($backend:ident: $($promise:ident),* $(,)?) => {
        mod $backend {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    super::$promise(super::benches::$backend().await).await;
                }
            )*
        }
    };
}

mod benches {
    use super::{Bench, open};
    use crate::support::brokers::{RabbitServer, RedisServer};

    pub(super) async fn sqlite() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("queue.db").display());
        Bench { queue: open(&url).await, url, _folder: folder }
    }

    pub(super) async fn redis() -> Bench {
        let url = tokio::task::spawn_blocking(RedisServer::shared).await.unwrap();
        Bench { queue: open(&url).await, url, _folder: tempfile::tempdir().unwrap() }
    }

    pub(super) async fn rabbitmq() -> Bench {
        let url = tokio::task::spawn_blocking(RabbitServer::shared).await.unwrap();
        Bench { queue: open(&url).await, url, _folder: tempfile::tempdir().unwrap() }
    }
}

/// The whole promise.
macro_rules! whole_contract {
    ($($backend:ident),*) => {
        $(contract!($backend:
            a_job_is_lent_and_done,
            two_never_have_the_same,
            failures_are_tried_again_and_then_dead,
            what_is_given_back_does_not_count,
            the_important_and_the_fair_come_first,
            labels_lead_to_who_has_them,
            some_begin_later,
            the_same_wish_is_one_job,
            waiting_jobs_are_cancelled_and_running_ones_are_told,
            every_change_is_seen_once,
            a_lease_that_runs_out_is_lent_anew,
        );)*
    };
}

whole_contract!(sqlite, redis, rabbitmq);
