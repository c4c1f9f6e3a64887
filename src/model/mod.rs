//! The words every other module shares. No IO, no clock, no async.

pub mod address;
pub mod event;
pub mod failure;
pub mod fault;
pub mod id;
pub mod item;
pub mod job;
pub mod media;
pub mod rational;
pub mod secret;
pub mod sha256;
