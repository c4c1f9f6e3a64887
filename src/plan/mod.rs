//! Decisions without side effects.

pub mod settings;
