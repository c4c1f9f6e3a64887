//! When a failed try is worth another, and after how long.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::error::{Again, Error};

/// How often a stage tries an item, and how long it waits in between.
///
/// The wait is drawn evenly from nothing up to a limit that doubles with every
/// try (exponential backoff with full jitter), so that items which failed
/// together do not come back together.
#[derive(Clone)]
pub struct Retry {
    attempts: u32,
    base: Duration,
    cap: Duration,
    only_if: Option<Arc<Filter>>,
}

type Filter = dyn Fn(&(dyn std::error::Error + 'static)) -> bool + Send + Sync;

impl Retry {
    /// At most `attempts` tries in all, the first one included; waits of up to
    /// 0.5 s, 1 s, 2 s … 30 s in between.
    pub fn attempts(attempts: u32) -> Self {
        // Half a second outlasts a lost packet, half a minute a server's restart.
        Self { attempts, base: Duration::from_millis(500), cap: Duration::from_secs(30), only_if: None }
    }

    /// Waits of up to `base`, twice that, four times that … but never more than `cap`.
    #[must_use]
    pub fn backoff(mut self, base: Duration, cap: Duration) -> Self {
        self.base = base;
        self.cap = cap;
        self
    }

    /// Tries again only after errors for which `worth_it` is true.
    #[must_use]
    pub fn only_if(
        mut self,
        worth_it: impl Fn(&(dyn std::error::Error + 'static)) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.only_if = Some(Arc::new(worth_it));
        self
    }

    /// How long to wait after `attempts` tries, the last of which ended in
    /// `error`; `None` if it was the last one.
    pub(super) fn wait(&self, attempts: u32, error: &Error) -> Option<Duration> {
        if attempts >= self.attempts {
            return None;
        }
        let least = match error.again() {
            Again::No => return None,
            Again::Yes => Duration::ZERO,
            Again::After(least) => least,
        };
        if self.only_if.as_ref().is_some_and(|worth_it| !worth_it(error.source())) {
            return None;
        }
        Some(least.saturating_add(jitter(self.limit(attempts))))
    }

    /// The longest wait after `attempts` tries.
    fn limit(&self, attempts: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(attempts.saturating_sub(1));
        self.base.saturating_mul(doubled).min(self.cap)
    }
}

/// A time drawn evenly from nothing up to `limit`; the limit if there is no randomness to be had.
fn jitter(limit: Duration) -> Duration {
    let part = getrandom::u32().map_or(1.0, |drawn| f64::from(drawn) / f64::from(u32::MAX));
    limit.mul_f64(part)
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attempts, base, cap, only_if } = self;
        let filtered = only_if.is_some();
        f.debug_struct("Retry")
            .field("attempts", attempts)
            .field("base", base)
            .field("cap", cap)
            .field("filtered", &filtered)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::failure::Failure;

    #[track_caller]
    fn check(attempts: u32, expected_seconds: u64) {
        let retry = Retry::attempts(99).backoff(Duration::from_secs(1), Duration::from_secs(10));
        assert_eq!(retry.limit(attempts), Duration::from_secs(expected_seconds));
    }

    #[test]
    fn the_limit_doubles() {
        check(1, 1);
        check(2, 2);
        check(4, 8);
    }

    #[test]
    fn the_limit_is_capped_and_never_overflows() {
        check(5, 10);
        check(u32::MAX, 10);
    }

    #[test]
    fn the_wait_stays_within_its_limit() {
        let retry = Retry::attempts(9).backoff(Duration::from_secs(1), Duration::from_secs(10));
        for _ in 0..200 {
            assert!(retry.wait(3, &Error::from("busy")).unwrap() <= Duration::from_secs(4));
        }
    }

    #[test]
    fn a_server_that_names_a_time_gets_it() {
        let error = Error::retry_after("busy", Duration::from_secs(7));
        assert!(Retry::attempts(2).wait(1, &error).unwrap() >= Duration::from_secs(7));
    }

    #[test]
    fn the_error_decides() {
        let retry = Retry::attempts(3);
        assert!(retry.wait(1, &Error::permanent("gone")).is_none());
        assert!(retry.wait(1, &Failure::permanent("gone").into()).is_none());
        assert!(retry.wait(1, &Failure::temporary("busy").into()).is_some());
        assert!(retry.wait(3, &Error::from("busy")).is_none());
        let picky = retry.only_if(|error| error.to_string() == "busy");
        assert!(picky.wait(1, &Error::from("busy")).is_some());
        assert!(picky.wait(1, &Error::from("gone")).is_none());
    }
}
