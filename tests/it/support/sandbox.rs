//! A folder of its own for each test, in which the program finds nobody's
//! settings and leaves nothing behind.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The variable by which a test knows its own processes.
const MARK: &str = "TEST_RUN";

/// No run of a test takes longer, even on a busy machine.
const LONGEST_RUN: Duration = Duration::from_mins(1);

/// A temporary folder with a home of its own.
pub(crate) struct Sandbox {
    folder: tempfile::TempDir,
    mark: String,
    /// Where programs are looked for.
    search: OsString,
    variables: Vec<(OsString, OsString)>,
    runs: AtomicU64,
}

/// A run that has ended.
#[derive(Debug)]
pub(crate) struct Run {
    /// Its exit code, if it was not killed.
    pub(crate) code: Option<i32>,
    /// The signal that killed it.
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A run that goes on. Dropped, it is killed.
pub(crate) struct Running {
    child: Child,
    begun: Instant,
    out: PathBuf,
    err: PathBuf,
}

/// Where `scripts/setup.sh --test` puts an ffmpeg and an ffprobe that are in one piece each.
pub(crate) fn quick_tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-venv/quick")
}

impl Sandbox {
    /// With the quick tools, where they are: the tests start them many thousand times, and those with two hundred
    /// libraries beside them spend more on their start than on such short clips.
    pub(crate) fn new() -> Self {
        let mut search = quick_tools().into_os_string();
        search.push(":");
        search.push(std::env::var_os("PATH").unwrap());
        Self { search, ..Self::with_system_tools() }
    }

    /// With the ffmpeg and ffprobe of the system, for tests of what they make.
    pub(crate) fn with_system_tools() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let folder = tempfile::Builder::new().prefix("forebay-it-").tempdir().unwrap();
        for name in ["home", "config/forebay", "tmp"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let mark = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // Whether the small clips of the tests happen to be fit to copy is a matter of `copy.rs` alone.
        let variables = vec![("FOREBAY_HLS__COPY".into(), "false".into())];
        let search = std::env::var_os("PATH").unwrap();
        Self { folder, mark, search, variables, runs: AtomicU64::new(0) }
    }

    /// A path inside.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file inside and gives its path.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Copies a file to a name inside and gives its path.
    pub(crate) fn copy(&self, from: &Path, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(from, &path).unwrap();
        path
    }

    /// Replaces the user's settings, which all runs then find.
    pub(crate) fn config(&self, toml: &str) {
        self.write("config/forebay/config.toml", toml);
    }

    /// Sets a variable for all runs.
    pub(crate) fn set(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.unset(name);
        self.variables.push((name.into(), value.as_ref().into()));
    }

    /// Takes a variable back.
    pub(crate) fn unset(&mut self, name: &str) {
        self.variables.retain(|(known, _)| known != name);
    }

    /// Runs `forebay` in the sandbox to its end.
    pub(crate) fn forebay<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Run {
        self.start(arguments).wait()
    }

    /// Starts `forebay` in the sandbox.
    pub(crate) fn start<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Running {
        self.start_with(arguments, &[])
    }

    /// Starts `forebay` with more variables.
    pub(crate) fn start_with<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
        more: &[(&str, &str)],
    ) -> Running {
        let mut command = self.command(env!("CARGO_BIN_EXE_forebay"));
        command.args(arguments).envs(more.iter().copied());
        self.spawn(command)
    }

    /// A program in the surroundings of the sandbox.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).env_clear();
        for (name, below) in [
            ("HOME", "home"),
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_STATE_HOME", "home/state"),
            ("XDG_DATA_HOME", "home/data"),
            ("TMPDIR", "tmp"),
        ] {
            command.env(name, self.path(below));
        }
        command.env("PATH", &self.search).env(MARK, &self.mark).envs(self.variables.iter().cloned());
        command
    }

    /// Starts a command with its outputs in files: no pipe can fill up or be held open.
    pub(crate) fn spawn(&self, mut command: Command) -> Running {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        let (out, err) = (self.path(&format!("tmp/out-{run}")), self.path(&format!("tmp/err-{run}")));
        command.stdin(Stdio::null()).stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        Running { child: command.spawn().unwrap(), begun: Instant::now(), out, err }
    }

    /// Every live process that was started from this sandbox, with its command line.
    pub(crate) fn alive(&self) -> Vec<(i32, String)> {
        let wanted = format!("{MARK}={}", self.mark);
        let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let entry = entry.ok()?;
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let environment = fs::read(entry.path().join("environ")).ok()?;
            let ours = environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes());
            let command = fs::read(entry.path().join("cmdline")).ok().filter(|_| ours)?;
            // A process that has ended and waits for its parent has no memory and so no command line.
            (!command.is_empty()).then(|| (pid, String::from_utf8_lossy(&command).replace('\0', " ")))
        });
        processes.collect()
    }

    /// Who is still alive after `patience`; returns as soon as nobody is.
    pub(crate) fn alive_after(&self, patience: Duration) -> Vec<(i32, String)> {
        let end = Instant::now() + patience;
        loop {
            let alive = self.alive();
            if alive.is_empty() || Instant::now() >= end {
                return alive;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it was stopped, as by SIGSTOP.
    pub(crate) fn wait_until_stopped(&self) {
        let stat = || std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        let begun = Instant::now();
        while !stat().contains(") T ") {
            assert!(begun.elapsed() < Duration::from_mins(1), "it does not stop: {}", stat());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// What it has said so far on standard error.
    pub(crate) fn said(&self) -> String {
        text(&self.err)
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<Run> {
        let status = self.child.try_wait().unwrap()?;
        Some(self.run(status))
    }

    #[track_caller]
    pub(crate) fn wait(self) -> Run {
        self.wait_for(LONGEST_RUN)
    }

    #[track_caller]
    pub(crate) fn wait_for(mut self, longest: Duration) -> Run {
        loop {
            if let Some(run) = self.ended() {
                return run;
            }
            let time = self.begun.elapsed();
            assert!(time < longest, "it does not end: {}", text(&self.err));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn run(&self, status: ExitStatus) -> Run {
        Run { code: status.code(), signal: status.signal(), stdout: text(&self.out), stderr: text(&self.err) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

impl Run {
    /// Fails the test unless the run ended with `code`.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "signal {:?}\n{}", self.signal, self.stderr);
        self
    }

    /// The events of `--json`.
    pub(crate) fn events(&self) -> Vec<serde_json::Value> {
        self.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

fn text(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
}
