//! scratch.
