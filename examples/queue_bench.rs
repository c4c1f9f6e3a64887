//! How fast a queue hands out jobs that take no time: `queue_bench URL JOBS CLAIMERS`.
//!
//! Prints one JSON object: jobs a second in and out, and how long a claim took
//! at the start, with all jobs waiting. `bench/workers.py` compares it with others.
#![expect(clippy::print_stdout, reason = "its numbers are what it is for")]

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay::model::job::{Job, Task};
use forebay::queue::{self, Asker, End, Queue};
use serde_json::json;
use tokio::task::JoinSet;

/// Claims whose time is taken while all else waits.
const MEASURED: usize = 1000;

const LEASE: Duration = Duration::from_mins(5);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, jobs, claimers] = arguments.as_slice() else { return Err("give URL JOBS CLAIMERS".into()) };
    let (jobs, claimers): (usize, usize) = (jobs.parse()?, claimers.parse()?);
    // One worker with so many slots: they share what it has.
    let queue = queue::open(url, LEASE).await?;
    let begun = Instant::now();
    all(claimers, |part| submit(Arc::clone(&queue), part, jobs, claimers)).await?;
    let submitted = begun.elapsed();
    let mut times = measure(&queue, MEASURED.min(jobs)).await?;
    times.sort();
    let left = jobs - times.len();
    let begun = Instant::now();
    let done: usize = all(claimers, |part| drain(Arc::clone(&queue), part)).await?.iter().sum();
    let drained = begun.elapsed();
    if done != left {
        return Err(format!("{done} of {left} jobs came out").into());
    }
    let percentile = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)].as_secs_f64() * 1000.0;
    let rate = |count: usize, time: Duration| f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / time.as_secs_f64();
    let line = json!({
        "jobs": jobs,
        "claimers": claimers,
        "submitted-per-second": rate(jobs, submitted),
        "done-per-second": rate(left, drained),
        "claim-p50-ms": percentile(50),
        "claim-p99-ms": percentile(99),
    });
    println!("{line}");
    Ok(())
}

/// Runs `count` of the same side by side.
async fn all<T: Send + 'static, F>(count: usize, work: impl Fn(usize) -> F) -> Result<Vec<T>, Box<dyn Error>>
where
    F: Future<Output = Result<T, String>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for part in 0..count {
        tasks.spawn(work(part));
    }
    Ok(tasks.join_all().await.into_iter().collect::<Result<_, _>>()?)
}

async fn submit(queue: Arc<dyn Queue>, part: usize, jobs: usize, parts: usize) -> Result<(), String> {
    for number in (part..jobs).step_by(parts) {
        let job = Job::new(Task::Hls, &format!("https://example.org/{number}.mp4"), "/srv/video");
        queue.submit(&job).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The time of single claims, one after the other.
async fn measure(queue: &Arc<dyn Queue>, count: usize) -> Result<Vec<Duration>, Box<dyn Error>> {
    let asker = Asker { worker: "measure".into(), labels: BTreeSet::new(), only: None };
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        let claim = queue.claim(&asker, LEASE).await?.ok_or("a job is missing")?;
        times.push(begun.elapsed());
        queue.settle(&claim, &End::Done(json!(null))).await?;
    }
    Ok(times)
}

async fn drain(queue: Arc<dyn Queue>, part: usize) -> Result<usize, String> {
    let asker = Asker { worker: format!("w{part}"), labels: BTreeSet::new(), only: None };
    let mut done = 0;
    while let Some(claim) = queue.claim(&asker, LEASE).await.map_err(|error| error.to_string())? {
        queue.settle(&claim, &End::Done(json!(null))).await.map_err(|error| error.to_string())?;
        done += 1;
    }
    Ok(done)
}
