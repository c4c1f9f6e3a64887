//! Runs items: the dispatcher, its events, and the order of shutdown.

use crate::model::event::{Event, Usage};

pub mod dispatcher;
pub mod live;
pub mod stop;
pub mod trace;
pub mod worker;

/// Sees everything a run does, in order, on the dispatcher's own task: it must be quick.
pub trait Listener: Send {
    /// Something happened to an item.
    fn event(&mut self, event: &Event);
    /// Four times a second: how busy the lanes are.
    fn tick(&mut self, usage: &Usage);
}

/// How a run went.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Items published by this run.
    pub done: u64,
    /// Items that an earlier run had published already.
    pub already: u64,
    /// Items of a dry run that a real one would make.
    pub would: u64,
    /// Items given up, bad lines of the list not included.
    pub failed: u64,
    /// Those of them for which this machine or the destination is to blame.
    pub environment: u64,
    /// Items put aside because the run was stopped, started or not.
    pub parked: u64,
    /// Whether a signal ended the run.
    pub stopped: bool,
    /// Wall-clock seconds of the run.
    pub seconds: f64,
    /// Seconds of source that were encoded.
    pub source_seconds: f64,
    /// The lanes over the whole run.
    pub usage: Usage,
}
