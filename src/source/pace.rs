//! Whether bytes of a connection come fast enough.

use std::time::Instant;

use bytes::Bytes;

use crate::model::failure::Failure;

use super::SourceSettings;
use super::body::Body;
use super::tries::Trouble;

/// Watches one body.
pub(super) struct Pace<'s> {
    settings: &'s SourceSettings,
    least: u64,
    since: Instant,
    bytes: u64,
}

impl<'s> Pace<'s> {
    /// Fewer than `least` bytes in a window of the settings are too few.
    pub(super) fn new(settings: &'s SourceSettings, least: u64) -> Self {
        Self { settings, least, since: Instant::now(), bytes: 0 }
    }

    /// The next bytes; `None` after the last. A stalled connection is noticed in half the window.
    pub(super) async fn next(&mut self, body: &mut Body) -> Result<Option<Bytes>, Trouble> {
        let wait = self.settings.slow_window / 2;
        let Ok(next) = tokio::time::timeout(wait, body.next()).await else {
            let what = format!("`{}` sent nothing for {} s", body.shown(), wait.as_secs_f64());
            return Err(Trouble::Slow(Failure::temporary(what)));
        };
        let next = next?;
        self.bytes += next.as_ref().map_or(0, |bytes| bytes.len() as u64);
        Ok(next)
    }

    /// Fails at the end of a window in which too little came. What [`Self::next`] gave is good all the same.
    pub(super) fn check(&mut self, body: &Body) -> Result<(), Trouble> {
        if self.since.elapsed() < self.settings.slow_window {
            return Ok(());
        }
        let low = self.bytes < self.least;
        (self.since, self.bytes) = (Instant::now(), 0);
        if low { Err(too_slow(self.settings, &body.shown())) } else { Ok(()) }
    }
}

/// What is said of a server that sent less than the settings want for a whole window.
pub(super) fn too_slow(settings: &SourceSettings, shown: &str) -> Trouble {
    let (rate, window) = (settings.min_bytes_per_second, settings.slow_window.as_secs_f64());
    Trouble::Slow(Failure::temporary(format!("`{shown}` was slower than {rate} bytes/s for {window} s")))
}
