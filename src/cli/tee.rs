//! Several listeners as one.

use crate::engine::Listener;
use crate::model::event::{Event, Usage};

/// Hands everything to each listener in turn.
pub(super) struct Tee {
    /// The listeners.
    pub(super) listeners: Vec<Box<dyn Listener>>,
}

impl Listener for Tee {
    fn event(&mut self, event: &Event) {
        for listener in &mut self.listeners {
            listener.event(event);
        }
    }

    fn tick(&mut self, usage: &Usage) {
        for listener in &mut self.listeners {
            listener.tick(usage);
        }
    }
}
