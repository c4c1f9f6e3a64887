//! Tells everybody who listens. What is sent is written once and shared.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::broadcast;

/// Messages a slow listener may be behind before it has to begin anew.
const BEHIND: usize = 128;

/// Most listeners at once.
pub(super) const MOST: u64 = 2000;

/// The event that says: load anew, what was told is of no use any more.
pub(super) const RESET: &str = "reset";

/// One message.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// The version of the queue it brings one to; 0 for what is not worth repeating.
    pub(super) version: u64,
    /// What kind of message.
    pub(super) event: &'static str,
    /// JSON.
    pub(super) data: Arc<str>,
}

/// Where messages go out.
pub(super) struct Hub {
    sender: broadcast::Sender<Message>,
    listeners: Arc<AtomicU64>,
}

/// A place among the listeners, given back when dropped.
pub(super) struct Seat(Arc<AtomicU64>);

impl Hub {
    pub(super) fn new() -> Self {
        Self { sender: broadcast::Sender::new(BEHIND), listeners: Arc::default() }
    }

    /// To everybody.
    pub(super) fn send(&self, version: u64, event: &'static str, data: &serde_json::Value) {
        if self.sender.receiver_count() > 0 {
            // The last listener may have gone meanwhile.
            drop(self.sender.send(Message { version, event, data: data.to_string().into() }));
        }
    }

    /// What is sent from now on, and a seat; nothing if all are taken.
    pub(super) fn listen(&self) -> Option<(broadcast::Receiver<Message>, Seat)> {
        let before = self.listeners.fetch_add(1, Ordering::Relaxed);
        let seat = Seat(Arc::clone(&self.listeners));
        (before < MOST).then(|| (self.sender.subscribe(), seat))
    }

    /// How many listen.
    pub(super) fn listeners(&self) -> u64 {
        self.listeners.load(Ordering::Relaxed)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
