//! Workers at a queue: a sandbox with tiny videos, and a look into the queue from outside.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay::model::job::{Job, Task};
use forebay::queue::{self, Filter, Queue, Record, State};

use super::fake_tools::Fake;
use super::media;
use super::oracle::{self, Package};
use super::sandbox::{Run, Running, Sandbox};

/// A job may go so long without progress.
pub(crate) const LEASE: Duration = Duration::from_secs(2);

/// Parts of a tiny video: two of picture, one of sound.
pub(crate) const PARTS: usize = 3;

/// Long enough for anything on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(150);

const CONFIG: &str = r#"
[hls]
copy = false
segment = "1s"
ladder = "tiny"
profile = "fast"
[lanes]
threads = 1
[ladders]
tiny = [{ name = "90p", short-side = 90, crf = 35.0, max-bitrate = 100 }]
[worker]
slots = 1
lease = "2s"
retry-wait = "200ms"
bench = "1s"
grace = "5s"
"#;

/// A place with a queue, where workers come and go.
pub(crate) struct Yard {
    pub(crate) sandbox: Sandbox,
    pub(crate) ffmpeg: Fake,
    runtime: tokio::runtime::Runtime,
    queue: Arc<dyn Queue>,
    pub(crate) url: String,
}

impl Yard {
    /// With the queue at `url`, or one in a file of its own.
    pub(crate) fn new(url: Option<String>) -> Self {
        let sandbox = Sandbox::new();
        for name in ["clip.mp4", "poison.mp4"] {
            sandbox.copy(&media::clip_of(2, "160x90"), name);
        }
        let ffmpeg = Fake::ffmpeg(&sandbox);
        let url = url.unwrap_or_else(|| format!("sqlite:{}", sandbox.path("queue.db").display()));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let queue = runtime.block_on(queue::open(&url, Duration::from_hours(1))).unwrap();
        let yard = Self { sandbox, ffmpeg, runtime, queue, url };
        yard.settings("");
        yard
    }

    /// The settings of all workers that begin now, with more of the `[worker]` section.
    pub(crate) fn settings(&self, more: &str) {
        let root = self.sandbox.path("").display().to_string();
        self.settings_with(&format!("{more}\noutputs = [\"{root}\"]"), "");
    }

    /// The same for workers that publish elsewhere, with more sections.
    pub(crate) fn settings_with(&self, more: &str, sections: &str) {
        let (ffmpeg, root) = (self.ffmpeg.program.display(), self.sandbox.path("").display().to_string());
        let url = &self.url;
        self.sandbox.config(&format!(
            "{CONFIG}\n{more}\ninputs = [\"{root}\"]\n[tools]\nffmpeg = \"{ffmpeg}\"\n[queue]\nurl = \"{url}\"\n\
             {sections}"
        ));
    }

    /// A job of this yard.
    pub(crate) fn job(&self, id: &str, input: &str) -> Job {
        let path = |name: &str| self.sandbox.path(name).to_str().unwrap().to_owned();
        Job { id: Some(id.into()), attempts: 20, ..Job::new(Task::Hls, &path(input), &path("dest")) }
    }

    /// Puts a job on the queue and gives its number there. Tries on while the server is away.
    pub(crate) fn submit(&self, job: &Job) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.runtime.block_on(self.queue.submit(job)) {
                Ok(submitted) => return submitted.id,
                Err(error) => assert!(Instant::now() < end, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What is known of a job; tries on while the server is away.
    pub(crate) fn record(&self, id: &str) -> Record {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.runtime.block_on(self.queue.get(id)) {
                Ok(Some(record)) => return record,
                other => assert!(Instant::now() < end, "{other:?}"),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// All jobs, chunks of films too, if the server is there.
    pub(crate) fn all_records(&self) -> Option<Vec<Record>> {
        let all = Filter { state: None, after: None, limit: 10_000, chunks: true };
        self.runtime.block_on(self.queue.list(&all)).ok()
    }

    /// All jobs but chunks of films, if the server is there.
    pub(crate) fn records(&self) -> Option<Vec<Record>> {
        self.runtime.block_on(self.queue.list(&Filter { state: None, after: None, limit: 10_000, chunks: false })).ok()
    }

    /// Waits until a job stands so.
    #[track_caller]
    pub(crate) fn stands(&self, id: &str, state: State) -> Record {
        let end = Instant::now() + PATIENCE;
        loop {
            let record = self.record(id);
            if record.state == state {
                return record;
            }
            assert!(Instant::now() < end, "{record:#?}");
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Starts a worker.
    pub(crate) fn worker(&self, options: &[&str], variables: &[(&str, &str)]) -> Running {
        let usual = ["worker", "--json", "--state", "state"];
        self.sandbox.start_with(usual.iter().chain(options), variables)
    }

    /// The pointer of a package.
    pub(crate) fn master(&self, id: &str) -> PathBuf {
        self.sandbox.path("dest").join(id).join("master.m3u8")
    }

    /// The package, judged.
    pub(crate) fn package(&self, id: &str) -> Result<Package, String> {
        oracle::judge(&self.master(id)).map_err(|problem| format!("{id}: {problem}"))
    }

    /// Waits until ffmpeg was started `count` times.
    #[track_caller]
    pub(crate) fn encodes_begin(&self, count: usize) {
        let end = Instant::now() + PATIENCE;
        while self.ffmpeg.starts() < count {
            assert!(Instant::now() < end, "no encoder starts");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Waits for the end of a worker.
#[track_caller]
pub(crate) fn ended(worker: &mut Running) -> Run {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(run) = worker.ended() {
            return run;
        }
        assert!(Instant::now() < end, "the worker does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}
