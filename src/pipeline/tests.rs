//! What the pipeline promises, by a clock that the tests turn themselves.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use futures_util::{FutureExt as _, pin_mut};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Pipeline;
use super::error::{Cause, Error, Result};
use super::lane::Lane;
use super::pool::Pool;
use super::report::Summary;
use super::retry::Retry;

/// Counts how many are inside at once.
#[derive(Default)]
struct Gauge {
    now: Cell<u32>,
    peak: Cell<u32>,
}

impl Gauge {
    fn add(&self) {
        self.now.set(self.now.get() + 1);
        self.peak.set(self.peak.get().max(self.now.get()));
    }

    fn sub(&self) {
        self.now.set(self.now.get() - 1);
    }
}

async fn seconds(seconds: u64) -> Result {
    sleep(Duration::from_secs(seconds)).await;
    Ok(())
}

/// No item may be unaccounted for, in the run or in a stage.
#[track_caller]
fn check_sums(summary: &Summary) {
    let Summary { taken, done, failed, not_started, aborted, in_flight, .. } = summary;
    assert_eq!(*taken, done + failed + not_started + aborted + in_flight);
    assert_eq!(*in_flight, 0);
    for stage in &summary.stages {
        assert_eq!(stage.entered, stage.done + stage.failed + stage.abandoned, "{stage:?}");
        assert!(stage.peak_working <= stage.concurrency, "{stage:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_takes_as_long_as_its_slowest_stage() {
    let start = Instant::now();
    let report = Pipeline::from_iter(0..10)
        .io("download", 1, async |number| seconds(4).await.map(|()| number))
        .io("encode", 1, async |number| seconds(5).await.map(|()| number))
        .io("upload", 1, async |number| seconds(2).await.map(|()| number))
        .run()
        .await;
    // The first download before, the last upload after ten encodes; one after the other it would be 110 s.
    assert_eq!(start.elapsed().as_secs(), 4 + 10 * 5 + 2);
    assert_eq!(report.done, (0..10).collect::<Vec<_>>());
    let summary = &report.summary;
    check_sums(summary);
    assert_eq!(&*summary.bottleneck().unwrap().name, "encode");
    assert_eq!(summary.stage("encode").unwrap().busy.as_secs(), 50);
    assert!(summary.stage("download").unwrap().blocked.as_secs() > 0);
    assert!(summary.to_string().contains("bound by `encode`"), "{summary}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_source_is_named_as_the_bound() {
    let items = stream::iter(0..5).then(async |number| seconds(3).await.map_or(0, |()| number));
    let report = Pipeline::from_stream(items).io("use", 2, async |_| seconds(1).await).run().await;
    assert_eq!(&*report.summary.bottleneck().unwrap().name, "source");
}

#[tokio::test(start_paused = true)]
async fn earlier_items_go_first_and_results_keep_the_order() {
    let served = RefCell::new(Vec::new());
    let report = Pipeline::from_iter(0..6)
        // Later items are through the first stage sooner.
        .io("shuffle", 6, async |number| seconds(60 - number).await.map(|()| number))
        .io("one by one", 1, async |number| {
            served.borrow_mut().push(number);
            seconds(100).await.unwrap();
            Ok(number)
        })
        .queue(6)
        .run()
        .await;
    assert_eq!(*served.borrow(), [5, 0, 1, 2, 3, 4]);
    assert_eq!(report.done, [0, 1, 2, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn an_order_of_ones_own_wins_over_the_number() {
    let served = RefCell::new(Vec::new());
    let served = &served;
    Pipeline::from_iter([3_u64, 9, 5, 1])
        .order_by(|urgency| *urgency)
        .io("one by one", 1, async |urgency| {
            served.borrow_mut().push(urgency);
            seconds(1).await
        })
        .queue(9)
        .run()
        .await;
    // The first is alone when it arrives.
    assert_eq!(*served.borrow(), [3, 1, 5, 9]);
}

#[tokio::test(start_paused = true)]
async fn a_full_stage_holds_up_the_source() {
    let inside = Gauge::default();
    let inside = &inside;
    let endless = (0_u64..).inspect(|_| inside.add());
    let stop = CancellationToken::new();
    let mut summary = None;
    let run = Pipeline::from_iter(endless)
        .io("fast", 3, async |number| Ok(number))
        .queue(2)
        .io("slow", 2, async |number| seconds(10).await.map(|()| number))
        .queue(0)
        .stop_on(stop.clone())
        .for_each(|_| inside.sub());
    tokio::join!(async { summary = Some(run.await) }, async {
        seconds(95).await.unwrap();
        stop.cancel();
    });
    let summary = summary.unwrap();
    check_sums(&summary);
    assert_eq!(inside.peak.get(), (3 + 2) + 2);
    assert_eq!(summary.stage("fast").unwrap().peak_inside, 5);
    assert_eq!(summary.stage("slow").unwrap().peak_inside, 2);
    assert_eq!(summary.stage("slow").unwrap().peak_working, 2);
    assert!(summary.done >= 18);
}

#[tokio::test(start_paused = true)]
async fn a_failed_item_is_tried_again_as_often_as_allowed() {
    let tries = Cell::new(0);
    let report = Pipeline::from_iter(0..3)
        .io("flaky", 1, async |number| match number {
            0 => Err(Error::permanent("gone")),
            1 => {
                tries.set(tries.get() + 1);
                if tries.get() < 3 { Err("busy".into()) } else { Ok("third time") }
            }
            _ => Err("always busy".into()),
        })
        .retry(Retry::attempts(4))
        .run()
        .await;
    check_sums(&report.summary);
    assert_eq!(report.done, ["third time"]);
    let attempts: Vec<_> = report.errors.iter().map(|error| (error.number, error.attempts)).collect();
    assert_eq!(attempts, [(0, 1), (2, 4)]);
    assert_eq!(report.errors[1].to_string(), "item 2 in `flaky` failed 4 times");
    let flaky = report.summary.stage("flaky").unwrap();
    assert_eq!((flaky.retried, flaky.failed, flaky.done), (2 + 3, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_next_try_holds_no_worker() {
    let start = Instant::now();
    let first = Cell::new(true);
    let report = Pipeline::from_iter(0..5)
        .io("upload", 1, async |number| {
            if number == 0 && first.replace(false) {
                return Err(Error::retry_after("slow down", Duration::from_secs(10)));
            }
            seconds(2).await.unwrap();
            Ok(number)
        })
        .queue(9)
        .retry(Retry::attempts(2).backoff(Duration::ZERO, Duration::ZERO))
        .run()
        .await;
    assert_eq!(report.done, [0, 1, 2, 3, 4]);
    assert_eq!(start.elapsed().as_secs(), 10 + 2);
}

#[tokio::test]
async fn a_panic_costs_one_item() {
    let report = Pipeline::from_iter(0..10)
        .io("wait", 2, async |number| if number == 3 { panic!("dropped {number}") } else { Ok(number) })
        .cpu("compute", 2, |number| if number == 5 { panic!("divided by zero") } else { Ok(number) })
        .retry(Retry::attempts(3))
        .run()
        .await;
    check_sums(&report.summary);
    assert_eq!(report.done, [0, 1, 2, 4, 6, 7, 8, 9]);
    let messages: Vec<_> = report.errors.iter().map(ToString::to_string).collect();
    assert_eq!(messages, ["item 3 in `wait` panicked: dropped 3", "item 5 in `compute` panicked: divided by zero"]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_finishes_what_was_begun_and_nothing_else() {
    let stop = CancellationToken::new();
    let run = Pipeline::from_iter(0..100)
        .io("one", 2, async |number| seconds(10).await.map(|()| number))
        .io("two", 2, async |number| seconds(10).await.map(|()| number))
        .stop_on(stop.clone())
        .run();
    let (report, ()) = tokio::join!(run, async {
        seconds(15).await.unwrap();
        stop.cancel();
    });
    check_sums(&report.summary);
    assert_eq!(report.done, [0, 1, 2, 3]);
    assert_eq!((report.summary.taken, report.summary.not_started), (6, 2));
    assert!(report.errors.iter().all(|error| matches!(error.cause, Cause::NotStarted)));
    assert_eq!(report.summary.elapsed.as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_wait_for_another_try() {
    let stop = CancellationToken::new();
    let run = Pipeline::from_iter(0..1)
        .io("down", 1, async |_| Err::<(), _>(Error::retry_after("come back tomorrow", Duration::from_hours(24))))
        .retry(Retry::attempts(9))
        .stop_on(stop.clone())
        .run();
    let (report, ()) = tokio::join!(run, async {
        seconds(1).await.unwrap();
        stop.cancel();
    });
    assert_eq!(report.summary.failed, 1);
    assert_eq!(report.summary.elapsed.as_secs(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_abort_ends_all_at_once() {
    let abort = CancellationToken::new();
    let run = Pipeline::from_iter(0..)
        .io("quick", 2, async |number| Ok(number))
        .io("endless", 2, async |_| std::future::pending::<Result>().await)
        .abort_on(abort.clone())
        .run();
    let (report, ()) = tokio::join!(run, async {
        seconds(1).await.unwrap();
        abort.cancel();
    });
    check_sums(&report.summary);
    assert_eq!(report.summary.aborted, report.summary.taken);
    assert_eq!(report.errors[0].stage.as_deref(), Some("endless"));
    assert_eq!(report.summary.elapsed.as_secs(), 1);
}

#[tokio::test(start_paused = true)]
async fn whenever_a_run_ends_every_item_is_accounted_for() {
    for (stop_after, abort_after) in (0..40).flat_map(|stop| [0, 1, 3, 90].map(|more| (stop, stop + more))) {
        let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
        let seen = RefCell::new(Vec::new());
        let run = Pipeline::from_iter(0_u64..)
            .io("one", 3, async |number| seconds(number % 4).await.map(|()| number))
            .io("two", 2, async |number| match number % 5 {
                0 => Err("fifth".into()),
                1 => panic!("fifth and one"),
                _ => seconds(number % 3 + 1).await.map(|()| number),
            })
            .retry(Retry::attempts(2))
            .queue(0)
            .io("three", 1, async |number| seconds(2).await.map(|()| number))
            .stop_on(stop.clone())
            .abort_on(abort.clone())
            .for_each(|outcome| seen.borrow_mut().push(outcome.number));
        let (summary, ()) = tokio::join!(run, async {
            seconds(stop_after).await.unwrap();
            stop.cancel();
            seconds(abort_after - stop_after).await.unwrap();
            abort.cancel();
        });
        check_sums(&summary);
        let mut seen = seen.take();
        seen.sort_unstable();
        assert_eq!(seen, (0..summary.taken).collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_tells_those_who_feed_the_run() {
    let (send, receive) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let run = Pipeline::from_channel(receive)
        .io("slow", 1, async |()| seconds(100).await)
        .queue(0)
        .stop_on(stop.clone())
        .run();
    let (report, ()) = tokio::join!(run, async {
        send.send(()).await.unwrap();
        seconds(1).await.unwrap();
        stop.cancel();
        send.closed().await;
    });
    assert_eq!((report.done.len(), report.summary.elapsed.as_secs()), (1, 100));
}

#[tokio::test]
async fn functions_with_a_name_are_work_too() {
    async fn fetch(url: &str) -> Result<Vec<u8>> {
        Ok(url.into())
    }
    #[expect(clippy::unnecessary_wraps, clippy::needless_pass_by_value, reason = "it stands for work that may fail")]
    fn measure(page: Vec<u8>) -> Result<usize> {
        Ok(page.len())
    }
    let urls = [String::from("one"), String::from("three")];
    let urls = urls.iter().map(String::as_str);
    let report = Pipeline::from_iter(urls).io("fetch", 2, fetch).cpu("measure", 2, measure).run().await;
    assert_eq!(report.done, [3, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_run_ends_all_its_work() {
    let alive = Arc::new(());
    let lane = Lane::new(2);
    {
        let run = Pipeline::from_iter(0..9)
            .io("endless", &lane, async |_| {
                let _alive = Arc::clone(&alive);
                std::future::pending::<Result>().await
            })
            .run();
        pin_mut!(run);
        assert!(run.as_mut().now_or_never().is_none());
        assert_eq!(Arc::strong_count(&alive), 3);
        assert_eq!(lane.stats().taken, 2);
    }
    assert_eq!(Arc::strong_count(&alive), 1);
    assert_eq!(lane.stats().taken, 0);
}

#[tokio::test(start_paused = true)]
async fn stages_may_share_a_lane_without_locking_up() {
    let lane = Lane::from(1);
    let gauge = Gauge::default();
    let work = async |number: u64| {
        gauge.add();
        seconds(1).await.unwrap();
        gauge.sub();
        Ok(number)
    };
    let report =
        Pipeline::from_iter(0..9).io("down", &lane, &work).queue(0).io("up", &lane, &work).queue(0).run().await;
    assert_eq!(report.done.len(), 9);
    assert_eq!(gauge.peak.get(), 1);
}

#[tokio::test]
async fn stages_may_share_a_pool() {
    let pool = Pool::new(2);
    let report = Pipeline::from_iter(0..50_u64)
        .cpu("double", &pool, |number| Ok(number * 2))
        .cpu("add", &pool, |number| Ok(number + 1))
        .run()
        .await;
    assert_eq!(report.done, (0..50).map(|number| number * 2 + 1).collect::<Vec<_>>());
    check_sums(&report.summary);
}

#[tokio::test(start_paused = true)]
async fn items_come_from_a_channel_and_leave_as_a_stream() {
    let (send, receive) = mpsc::channel(1);
    let pipeline = Pipeline::from_channel(receive).io("square", 4, async |number: u64| Ok(number * number));
    let monitor = pipeline.monitor();
    assert_eq!(monitor.summary().taken, 0);
    let mut outcomes = pipeline.stream();
    for number in 0..20 {
        send.send(number).await.unwrap();
        assert_eq!(outcomes.next().await.unwrap().result.unwrap(), number * number);
        assert_eq!(monitor.summary().done, number + 1);
    }
    drop(send);
    assert!(outcomes.next().await.is_none());
    check_sums(&monitor.summary());
}

#[tokio::test]
async fn without_a_stage_items_pass_as_they_are() {
    assert_eq!(Pipeline::from_iter(0..5).run().await.done, [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn a_run_moves_to_another_thread_if_its_parts_do() {
    let client = Arc::new(String::from("client"));
    let run = Pipeline::from_iter(vec![String::from("a"), String::from("b")])
        .io("fetch", 2, async move |url| {
            tokio::task::yield_now().await;
            Ok(format!("{client} {url}"))
        })
        .retry(Retry::attempts(2))
        .cpu("measure", 2, |page: String| Ok(page.len()))
        .run();
    let mut tasks = JoinSet::new();
    tasks.spawn(run);
    assert_eq!(tasks.join_next().await.unwrap().unwrap().done, [8, 8]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_items_leave_nothing_behind() {
    let summary = Pipeline::from_iter(0..10_000_u64)
        .io("yield", 16, async |number| {
            tokio::task::yield_now().await;
            if number % 7 == 0 { Err("seventh".into()) } else { Ok(number) }
        })
        .cpu("hash", 2, |number| Ok(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .queue(1)
        .io("keep", 3, async |_| Ok(()))
        .for_each(|_| ())
        .await;
    check_sums(&summary);
    assert_eq!((summary.done, summary.failed), (8571, 1429));
}
