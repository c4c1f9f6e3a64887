//! The shutdown ladder: asked once, a run begins nothing new and parks; after a
//! moment, or asked twice, everything ends.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The two steps of stopping, and how long the first may take.
pub struct Stop {
    /// No new work is begun after this; downloads end, as they can be resumed.
    pub begin: CancellationToken,
    /// Child processes are ended after this.
    pub now: CancellationToken,
    grace: Duration,
    /// When the grace time is over, once it has begun.
    end: Option<Instant>,
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Stop {
    /// Listens to SIGINT, SIGTERM and SIGHUP. Chunks that run when the first
    /// comes have `grace` to finish.
    pub fn on_signals(grace: Duration) -> std::io::Result<Self> {
        Ok(Self {
            begin: CancellationToken::new(),
            now: CancellationToken::new(),
            grace,
            end: None,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next step down the ladder and takes it. Never returns when both are taken.
    /// Cancel-safe.
    pub async fn step(&mut self) {
        if self.now.is_cancelled() {
            std::future::pending::<()>().await;
        }
        let begun = self.begin.is_cancelled();
        // The run may stop by itself too: the grace time begins when it is first seen here.
        let end = if begun { *self.end.get_or_insert(Instant::now() + self.grace) } else { Instant::now() };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
            () = tokio::time::sleep_until(end), if begun => {}
        }
        if begun {
            self.now.cancel();
        } else {
            self.begin.cancel();
        }
    }
}
