//! Named places where a test can end the program, and broken behaviours that a
//! test must catch. Without the `faults` feature all of this compiles to nothing.

/// Ends the program as `kill -9` would, if `FOREBAY_FAULT_KILL` names this
/// step (`name` or `name:3` for the third time it is reached).
#[inline]
pub fn point(step: &str) {
    #[cfg(feature = "faults")]
    real::point(step);
    #[cfg(not(feature = "faults"))]
    let _ = step;
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
