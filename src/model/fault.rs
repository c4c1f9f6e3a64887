//! Named places where a test can end the program, and broken behaviours that a
//! test must catch. Without the `faults` feature all of this compiles to nothing.

use std::path::Path;
use std::time::Duration;

/// Ends the program as `kill -9` would, if `FOREBAY_FAULT_KILL` names this
/// step (`name` or `name:3` for the third time it is reached). Stops it as
/// `kill -STOP` would, if `FOREBAY_FAULT_STOP` does.
#[inline]
pub fn point(step: &str) {
    #[cfg(feature = "faults")]
    real::point(step);
    #[cfg(not(feature = "faults"))]
    let _ = step;
}

/// As [`point`], for a step that many files go through: it is named `step/file-name`.
#[inline]
pub fn point_at(step: &str, file: &Path) {
    #[cfg(feature = "faults")]
    real::point(&format!("{step}/{}", file.file_name().unwrap_or_default().to_string_lossy()));
    #[cfg(not(feature = "faults"))]
    let _ = (step, file);
}

/// A shorter limit than the usual one, in milliseconds in the variable `FOREBAY_FAULT_{name}`.
#[inline]
pub fn limit(name: &str, usual: Duration) -> Duration {
    #[cfg(feature = "faults")]
    if let Some(shorter) = std::env::var(format!("FOREBAY_FAULT_{name}")).ok().and_then(|text| text.parse().ok()) {
        return Duration::from_millis(shorter);
    }
    #[cfg(not(feature = "faults"))]
    let _ = name;
    usual
}

/// Whether the deliberately broken behaviour `mutant` is switched on by `FOREBAY_FAULT_MUTANT`.
#[inline]
pub fn mutant(mutant: &str) -> bool {
    #[cfg(feature = "faults")]
    return std::env::var("FOREBAY_FAULT_MUTANT").is_ok_and(|wanted| wanted == mutant);
    #[cfg(not(feature = "faults"))]
    {
        let _ = mutant;
        false
    }
}

#[cfg(feature = "faults")]
mod real {
    use std::sync::atomic::{AtomicU64, Ordering};

    static REACHED: AtomicU64 = AtomicU64::new(0);

    pub(super) fn point(step: &str) {
        if std::env::var("FOREBAY_FAULT_STOP").is_ok_and(|wanted| wanted == step) {
            let me = rustix::process::getpid();
            let mut begun = std::time::Instant::now();
            rustix::process::kill_process(me, rustix::process::Signal::STOP).expect("a process may stop itself");
            // Another thread may take the signal, and this one would run on until it does: it
            // looks on until time has been lost.
            while begun.elapsed() < std::time::Duration::from_millis(500) {
                begun = std::time::Instant::now();
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
        let Ok(wanted) = std::env::var("FOREBAY_FAULT_KILL") else { return };
        let (name, time) =
            wanted.split_once(':').map_or((wanted.as_str(), 1), |(name, time)| (name, time.parse().unwrap_or(1)));
        if name == step && REACHED.fetch_add(1, Ordering::SeqCst) + 1 == time {
            // SIGKILL, not abort: no destructor and no handler may run.
            let me = rustix::process::getpid();
            rustix::process::kill_process(me, rustix::process::Signal::KILL).expect("a process may kill itself");
            std::thread::park();
        }
    }
}
