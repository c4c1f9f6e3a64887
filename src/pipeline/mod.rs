//! The IO-bound/CPU-bound pattern, for any program.

pub mod lane;
