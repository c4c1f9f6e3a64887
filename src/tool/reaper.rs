//! A small second process that outlives `kill -9`.
//!
//! A child can ask the kernel to die with its parent, but its own children (the
//! ffmpeg that yt-dlp starts) do not. So the first child of a run is this
//! program again, in the role of the reaper: it is told every process group
//! that starts and ends, and when its standard input closes, which the kernel
//! does however the run ended, it kills the groups that are left.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead as _, Write as _};
use std::sync::OnceLock;

use rustix::process::{Pid, Signal, kill_process_group};

/// The hidden command that runs [`serve`].
pub const COMMAND: &str = "__reaper";

static PIPE: OnceLock<File> = OnceLock::new();

/// Starts the reaper once per process. Programs that embed the library and are
/// not `forebay` run without: their direct children still die with them.
pub(super) async fn start() -> std::io::Result<()> {
    static STARTING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _one_at_a_time = STARTING.lock().await;
    if PIPE.get().is_some() || !is_forebay() {
        return Ok(());
    }
    let pipe = super::child::spawn_reaper()?;
    // Set once, under the lock above.
    let _first = PIPE.set(pipe);
    Ok(())
}

/// Tells the reaper that the process group `pid` has started or is gone.
///
/// A few bytes into a pipe that is read all the time: this does not wait, and
/// lines this short arrive whole.
pub(super) fn tell(pid: u32, started: bool) {
    if let Some(mut pipe) = PIPE.get() {
        let line = format!("{}{pid}\n", if started { '+' } else { '-' });
        if let Err(error) = pipe.write_all(line.as_bytes()) {
            tracing::warn!(%error, "the reaper is gone; children of children may outlive a kill");
        }
    }
}

fn is_forebay() -> bool {
    std::env::current_exe().is_ok_and(|exe| exe.file_stem().is_some_and(|stem| stem == "forebay"))
}

/// The reaper itself: reads groups until its parent is gone, then kills what is left.
pub fn serve() {
    let mut groups = HashSet::new();
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let (started, pid) = match (line.strip_prefix('+'), line.strip_prefix('-')) {
            (Some(pid), _) => (true, pid),
            (_, Some(pid)) => (false, pid),
            _ => continue,
        };
        let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) else { continue };
        if started {
            groups.insert(pid)
        } else {
            groups.remove(&pid)
        };
    }
    for group in groups {
        // A group that ended meanwhile is what we want.
        kill_process_group(group, Signal::KILL).unwrap_or_default();
    }
}
