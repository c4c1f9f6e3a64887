//! One child process: started without a shell in a group of its own, watched
//! while it works, stopped by asking and then by force, and always reaped.
//!
//! Nothing else in the program starts a process.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::reaper;
use crate::model::failure::Failure;

/// How long a child that was asked to end may take before it is killed.
const ASK: Duration = Duration::from_millis(500);

/// How long the outputs of a child that has ended may stay open. What it started
/// in its group is killed then, so only a process that left the group holds them.
const DRAIN: Duration = Duration::from_secs(1);

/// Lines of standard error that are kept, the last ones.
const KEPT_LINES: usize = 40;

/// Longest line that is kept or handed on, in bytes.
const LONGEST_LINE: usize = 64 * 1024;

/// Variables with secrets that no child has any business with.
const SECRETS: [&str; 3] = ["FOREBAY_MASTER_KEY", "FOREBAY_VERIFY_KEY", "FOREBAY_MAIL_PASSWORD"];

/// What to run. Arguments go to the program as they are; no shell sees them.
#[derive(Clone, Debug)]
pub struct Order {
    /// The program: a path, or a name that is looked up in `PATH`.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Where it runs.
    pub folder: Option<PathBuf>,
    /// Variables added to the environment.
    pub environment: Vec<(&'static str, OsString)>,
    /// Longest time without a line on either output before it counts as hung.
    pub silence: Duration,
    /// Added to the niceness, so that downloads and the terminal stay quick.
    pub nice: i32,
}

/// How a child ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its exit status. Proof of nothing by itself: ffmpeg and yt-dlp exit 0 on damage.
    pub status: ExitStatus,
    /// The last lines of its standard error.
    pub last_lines: Vec<String>,
}

/// Why a child has no exit status of its own choosing.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// The program is not there or may not be run.
    #[error("could not start `{program}`")]
    Start {
        /// The program.
        program: String,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// It said nothing for longer than allowed and was killed.
    #[error("`{program}` showed no progress for {seconds} s and was stopped")]
    Hung {
        /// The program.
        program: String,
        /// The limit that passed.
        seconds: u64,
    },
    /// The run is stopping, and the child was stopped with it.
    #[error("`{program}` was stopped with the run")]
    Stopped {
        /// The program.
        program: String,
    },
    /// The kernel refused to say how it ended.
    #[error("lost track of `{program}`")]
    Lost {
        /// The program.
        program: String,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
}

/// What a program that was killed, or fell over, failed with: it says nothing of what it worked on.
pub fn killed(status: ExitStatus, program: &str) -> Option<Failure> {
    status.signal().map(|signal| Failure::temporary(format!("{program} was killed by signal {signal}")))
}

/// Which of its two outputs a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

impl Order {
    /// An order with no arguments yet, which may be silent for a minute.
    pub fn new(program: &Path) -> Self {
        Self {
            program: program.to_path_buf(),
            arguments: Vec::new(),
            folder: None,
            environment: Vec::new(),
            silence: Duration::from_mins(1),
            nice: 0,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_os_string());
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_os_string()));
        self
    }

    fn name(&self) -> String {
        self.program.file_name().unwrap_or(self.program.as_os_str()).to_string_lossy().into_owned()
    }

    fn hung(&self) -> ChildError {
        ChildError::Hung { program: self.name(), seconds: self.silence.as_secs() }
    }
}

/// Runs `order` to its end. `line` sees every line of both outputs as it comes,
/// and answers whether it was progress; only progress resets the watchdog.
///
/// Whatever happens, the child and its group are gone when this returns. If the
/// future is dropped, they are killed.
pub async fn run(
    order: &Order,
    cancel: &CancellationToken,
    mut line: impl FnMut(Output, &str) -> bool,
) -> Result<Ended, ChildError> {
    let program = order.name();
    if cancel.is_cancelled() {
        return Err(ChildError::Stopped { program });
    }
    let start_error = |source| ChildError::Start { program: order.name(), source };
    reaper::start().await.map_err(start_error)?;
    let mut child = command(order).spawn().map_err(start_error)?;
    let group = Group::of(&child);
    let mut out = Lines::new(child.stdout.take().expect("standard output is piped"));
    let mut err = Lines::new(child.stderr.take().expect("standard error is piped"));
    let mut last_lines = VecDeque::new();
    let mut alive = Instant::now();
    let mut exit = None;
    let mut outcome = loop {
        if out.ended && err.ended {
            break Ok(());
        }
        tokio::select! {
            text = out.next(), if !out.ended => {
                if text.is_some_and(|text| line(Output::Out, &text)) { alive = Instant::now(); }
            }
            text = err.next(), if !err.ended => if let Some(text) = text {
                if line(Output::Err, &text) { alive = Instant::now(); }
                if last_lines.len() == KEPT_LINES { last_lines.pop_front(); }
                last_lines.push_back(text);
            },
            status = child.wait(), if exit.is_none() => {
                // Its own children would keep the outputs open, perhaps for ever.
                group.kill();
                exit = Some((status, Instant::now() + DRAIN));
            }
            () = tokio::time::sleep_until(exit.as_ref().map_or(alive + order.silence, |(_, end)| *end)) => {
                if exit.is_some() {
                    break Ok(());
                }
                break Err(order.hung());
            }
            () = cancel.cancelled() => break Err(ChildError::Stopped { program: program.clone() }),
        }
    };
    if outcome.is_err() {
        group.stop(&mut child).await;
    }
    // Both pipes can be closed by a child that then hangs: the same limit holds for its exit.
    let status = match (exit, tokio::time::timeout(order.silence, child.wait()).await) {
        (Some((status, _)), _) | (None, Ok(status)) => status,
        (None, Err(_)) => {
            group.kill();
            outcome = outcome.and(Err(order.hung()));
            child.wait().await
        }
    };
    drop(group);
    outcome?;
    let status = status.map_err(|source| ChildError::Lost { program, source })?;
    Ok(Ended { status, last_lines: last_lines.into() })
}

/// Starts the reaper: this program again, with nothing but a pipe from us.
pub(super) fn spawn_reaper() -> std::io::Result<std::fs::File> {
    let mut order = Order::new(&std::env::current_exe()?);
    order.arguments.push(reaper::COMMAND.into());
    let mut command = unwatched(&order);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let stdin = child.stdin.take().ok_or_else(|| std::io::Error::other("the reaper has no standard input"))?;
    Ok(stdin.into_owned_fd()?.into())
}

fn command(order: &Order) -> Command {
    let mut command = unwatched(order);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let (parent, nice) = (rustix::process::getpid(), order.nice);
    // The one unsafe block of the program. Between fork and exec only
    // async-signal-safe calls are allowed; these are plain system calls.
    #[expect(unsafe_code, reason = "pre_exec is unsafe by signature")]
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have died before the line above took effect.
            if rustix::process::getppid() != Some(parent) {
                return Err(std::io::ErrorKind::BrokenPipe.into());
            }
            if nice != 0 {
                rustix::process::nice(nice)?;
            }
            Ok(())
        });
    }
    command
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that starts processes")]
fn unwatched(order: &Order) -> Command {
    let mut command = Command::new(&order.program);
    command.args(&order.arguments).envs(order.environment.iter().map(|(name, value)| (name, value)));
    // What only we need to know is not passed on.
    for secret in SECRETS {
        command.env_remove(secret);
    }
    // Terminal signals reach us, not them: we decide when they stop.
    command.process_group(0);
    if let Some(folder) = &order.folder {
        command.current_dir(folder);
    }
    command
}

/// The process group of one child. Dropping it kills what is left of it.
struct Group {
    pid: u32,
}

impl Group {
    fn of(child: &Child) -> Self {
        let pid = child.id().expect("a child that was not waited for has a pid");
        reaper::tell(pid, true);
        Self { pid }
    }

    /// Asks the group to end, then kills it.
    async fn stop(&self, child: &mut Child) {
        self.signal(Signal::TERM);
        if tokio::time::timeout(ASK, child.wait()).await.is_err() {
            self.kill();
        }
    }

    fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = Pid::from_raw(self.pid.cast_signed()) {
            // A group that is gone already is what we want.
            kill_process_group(group, signal).unwrap_or_default();
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        reaper::tell(self.pid, false);
    }
}

/// The lines of one pipe. Bytes that are not UTF-8 are replaced; a line that
/// never ends is cut, so that no child can fill our memory.
struct Lines<R> {
    reader: BufReader<R>,
    partial: Vec<u8>,
    ended: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    fn new(pipe: R) -> Self {
        Self { reader: BufReader::new(pipe), partial: Vec::new(), ended: false }
    }

    /// The next line; `None` for an empty one and at the end. Cancel-safe.
    async fn next(&mut self) -> Option<String> {
        loop {
            let Ok(bytes) = self.reader.fill_buf().await else {
                self.ended = true;
                return None;
            };
            if bytes.is_empty() {
                self.ended = true;
                return self.take();
            }
            // ffmpeg and yt-dlp end a status line with a carriage return.
            let end = bytes.iter().position(|&byte| byte == b'\n' || byte == b'\r');
            let line = end.map_or(bytes, |end| bytes.get(..end).unwrap_or_default());
            let room = LONGEST_LINE.saturating_sub(self.partial.len());
            self.partial.extend_from_slice(line.get(..room.min(line.len())).unwrap_or_default());
            let used = end.map_or(bytes.len(), |end| end + 1);
            self.reader.consume(used);
            if end.is_some() {
                return self.take();
            }
        }
    }

    fn take(&mut self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.partial).into_owned();
        self.partial.clear();
        (!text.is_empty()).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Order {
        Order { silence: Duration::from_secs(5), ..Order::new(Path::new("/bin/sh")).arg("-c").arg(script) }
    }

    #[tokio::test]
    async fn both_outputs_are_drained_and_the_last_lines_kept() {
        let mut seen = 0;
        let order = shell("for i in $(seq 2000); do echo out$i; echo err$i >&2; done; exit 3");
        let ended = run(&order, &CancellationToken::new(), |_, _| {
            seen += 1;
            true
        })
        .await
        .unwrap();
        assert_eq!((ended.status.code(), seen), (Some(3), 4000));
        assert_eq!(ended.last_lines.last().map(String::as_str), Some("err2000"));
        assert_eq!(ended.last_lines.len(), KEPT_LINES);
    }

    #[tokio::test]
    async fn a_silent_child_is_stopped_with_its_own_children() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().display();
        let order =
            Order { silence: Duration::from_millis(300), ..shell(&format!("sleep 60 & echo $! > {path}; wait")) };
        let error = run(&order, &CancellationToken::new(), |_, _| true).await.unwrap_err();
        assert!(matches!(error, ChildError::Hung { .. }), "{error}");
        let grandchild = std::fs::read_to_string(file.path()).unwrap();
        let stat = || std::fs::read_to_string(format!("/proc/{}/stat", grandchild.trim())).unwrap_or_default();
        let alive = || !stat().is_empty() && !stat().contains(") Z ");
        for _ in 0..40 {
            if alive() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        assert!(!alive(), "still there: {}", stat());
    }

    #[tokio::test]
    async fn what_a_dead_child_leaves_behind_is_not_waited_for() {
        let begun = Instant::now();
        let order = shell("sleep 60 & echo last; kill -9 $$");
        let mut lines = Vec::new();
        let note = |_, line: &str| {
            lines.push(line.to_owned());
            true
        };
        let ended = run(&order, &CancellationToken::new(), note).await.unwrap();
        assert_eq!((ended.status.code(), lines), (None, vec!["last".into()]));
        assert!(begun.elapsed() < Duration::from_secs(3));
    }

    #[tokio::test]
    async fn a_child_that_closes_its_outputs_and_stays_has_hung() {
        let order = Order { silence: Duration::from_millis(300), ..shell("exec >&- 2>&-; sleep 60") };
        let error = run(&order, &CancellationToken::new(), |_, _| true).await.unwrap_err();
        assert!(matches!(error, ChildError::Hung { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_child_that_ignores_the_request_is_killed() {
        let cancel = CancellationToken::new();
        let stop = cancel.clone();
        let order = shell("trap '' TERM; echo ready; while :; do sleep 0.1; done");
        let begun = Instant::now();
        let error = run(&order, &cancel, |_, _| {
            stop.cancel();
            true
        })
        .await
        .unwrap_err();
        assert!(matches!(error, ChildError::Stopped { .. }), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(3));
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let error = run(&Order::new(Path::new("no-such-tool")), &CancellationToken::new(), |_, _| true).await;
        assert_eq!(error.unwrap_err().to_string(), "could not start `no-such-tool`");
    }
}
