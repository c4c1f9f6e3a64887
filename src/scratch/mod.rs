//! The work folder of a run: durable files, the journal, and who may use it.

pub mod album;
pub(crate) mod database;
pub mod file;
pub mod journal;
pub mod lock;
