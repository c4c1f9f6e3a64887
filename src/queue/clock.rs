//! Times of a queue: the calendar for people and delays, and a clock that
//! nobody can set for leases.

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds since 1970.
pub fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// Milliseconds since this machine started. All its processes see the same, and it never jumps.
pub fn since_boot() -> i64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec * 1000 + i64::from(i32::try_from(time.tv_nsec / 1_000_000).unwrap_or(0))
}

/// Which start of this machine it is: no lease outlives it.
pub fn boot() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

/// A duration in whole milliseconds.
pub fn millis(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
