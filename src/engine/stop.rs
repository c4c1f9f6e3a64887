//! The shutdown ladder: asked once, a run begins nothing new and parks; after a
//! moment, or asked twice, everything ends.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The two steps of stopping, and how long the first may take.
pub struct Stop {
    /// No new work is begun after this; downloads end, as they can be resumed.
    pub begin: CancellationToken,
    /// Child processes are ended after this.
    pub now: CancellationToken,
    grace: Duration,
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
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next step down the ladder and takes it. Never returns when both are taken.
    /// Cancel-safe but for the grace time, which then begins anew.
    pub async fn step(&mut self) {
        if self.now.is_cancelled() {
            std::future::pending::<()>().await;
        }
        let grace = self.grace;
        let begun = self.begin.is_cancelled();
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
            () = tokio::time::sleep(grace), if begun => {}
        }
        if begun {
            self.now.cancel();
        } else {
            self.begin.cancel();
        }
    }
}
