//! Tries after the first: how many, how long apart, and what is said about them.

use std::time::Duration;

use crate::model::event::{Stage, What};
use crate::model::failure::{Class, Failure};

use super::{FetchContext, SourceSettings};

/// The first wait is at most this long; it doubles with every failure.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// Why a try failed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Another try may help, after the wait the server asked for.
    Again(Failure, Option<Duration>),
    /// Bytes came in too slowly. Another try may help, but those bytes are no progress.
    Slow(Failure),
    /// The server's bytes are not those we began with: start over.
    Changed(String),
    /// The server does not serve us as we are.
    Refused(Failure),
    /// Another try gives the same.
    Final(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        match failure.class {
            Class::Temporary => Self::Again(failure, None),
            _ => Self::Final(failure),
        }
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Again(failure, _)
            | Trouble::Slow(failure)
            | Trouble::Refused(failure)
            | Trouble::Final(failure) => failure,
            Trouble::Changed(why) => Self::temporary(format!("{why}, again and again")),
        }
    }
}

/// Counts the failures in a row of one download or of one piece of it.
#[derive(Debug, Default)]
pub(super) struct Tries {
    failures: u32,
}

impl Tries {
    /// A failure that comes after progress begins a new row.
    pub(super) fn progress(&mut self) {
        self.failures = 0;
    }

    /// Waits before the next try, or gives up. Hold no permit meanwhile.
    pub(super) async fn again(
        &mut self,
        failure: Failure,
        asked: Option<Duration>,
        settings: &SourceSettings,
        context: &FetchContext<'_>,
    ) -> Result<(), Failure> {
        self.failures += 1;
        if self.failures > settings.retries {
            let what = format!("{} (tried {} times)", failure.what, self.failures);
            return Err(Failure { what, ..failure });
        }
        let wait = asked.unwrap_or_else(|| jitter(self.failures)).min(settings.longest_wait);
        (context.report)(What::Retrying { stage: Stage::Download, why: failure.what, wait: wait.as_secs_f64() });
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// Anything between nothing and the doubled wait, so that many who failed together do not return together.
fn jitter(failures: u32) -> Duration {
    let longest = FIRST_WAIT.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let part = f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX);
    longest.mul_f64(part)
}
