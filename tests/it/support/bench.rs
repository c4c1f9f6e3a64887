//! One video and the command that publishes it, watched while it is run,
//! killed and run again.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::fake_tools::Fake;
use super::media;
use super::oracle::{self, Package};
use super::sandbox::{Run, Running, Sandbox};

/// Encoders at once in every run.
pub(crate) const CORES: usize = 2;

/// Parts of the video that are encoded apart: eight of picture, one of sound.
pub(crate) const PARTS: usize = 9;

/// Children must be gone this long after a kill.
pub(crate) const LAST_BREATH: Duration = Duration::from_secs(2);

const CONFIG: &str = r#"
[hls]
segment = "1s"
ladder = "tiny"
profile = "fast"
[lanes]
threads = 2
[ladders]
tiny = [
    { name = "120p", short-side = 120, crf = 30.0, max-bitrate = 300 },
    { name = "90p", short-side = 90, crf = 30.0, max-bitrate = 200 },
]
"#;

/// A sandbox with a small video and settings under which it is quickly made.
pub(crate) struct Bench {
    pub(crate) sandbox: Sandbox,
    pub(crate) ffmpeg: Fake,
    pub(crate) arguments: Vec<String>,
}

impl Bench {
    /// For the file `clip.mp4` in the sandbox.
    pub(crate) fn new() -> Self {
        let sandbox = Sandbox::new();
        sandbox.copy(&media::clip(), "clip.mp4");
        let ffmpeg = Fake::ffmpeg(&sandbox);
        let bench = Self { sandbox, ffmpeg, arguments: Vec::new() };
        bench.tools(&[]);
        bench.with_input("clip.mp4", &[])
    }

    /// The same for another input and more options.
    pub(crate) fn with_input(mut self, input: &str, options: &[&str]) -> Self {
        let usual = ["hls", input, "--id", "clip", "--to", "dest/cdn", "--state", "state", "--json"];
        self.arguments = usual.iter().chain(options).map(|text| (*text).to_owned()).collect();
        self
    }

    /// Puts stand-ins of more tools than ffmpeg in the settings.
    pub(crate) fn tools(&self, more: &[(&str, &Fake)]) {
        let all = [("ffmpeg", &self.ffmpeg)].into_iter().chain(more.iter().copied());
        let lines: Vec<_> = all.map(|(name, fake)| format!("{name} = \"{}\"", fake.program.display())).collect();
        self.sandbox.config(&format!("{CONFIG}\n[tools]\n{}\n", lines.join("\n")));
    }

    /// The pointer.
    pub(crate) fn master(&self) -> PathBuf {
        self.sandbox.path("dest/cdn/clip/master.m3u8")
    }

    pub(crate) fn start(&self, more: &[(&str, &str)]) -> Running {
        self.sandbox.start_with(&self.arguments, more)
    }

    pub(crate) fn run(&self) -> Run {
        self.start(&[]).wait()
    }

    /// The package, judged by the oracle and by `forebay verify`.
    pub(crate) fn package(&self, verify: &[&str]) -> Result<Package, String> {
        let package = oracle::judge(&self.master())?;
        let master = self.master();
        let run = self.sandbox.forebay(["verify", master.to_str().unwrap()].iter().chain(verify));
        if run.code != Some(0) {
            return Err(format!("verify: {}{}", run.stdout, run.stderr));
        }
        Ok(package)
    }

    /// Looks at the pointer all the time until the answer is asked for.
    pub(crate) fn watch(&self) -> Watch {
        let (master, stop) = (self.master(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            loop {
                // One more look after the last run has ended.
                let last = stopped.load(Ordering::SeqCst);
                oracle::look(&master).map_err(|problem| format!("a player would have found: {problem}"))?;
                if last {
                    return Ok(());
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Watch { stop, thread }
    }
}

/// A reader of the pointer.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<(), String>>,
}

impl Watch {
    /// Whether every pointer that was seen led to a whole package.
    pub(crate) fn answer(self) -> Result<(), String> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}
