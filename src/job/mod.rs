//! What a job does, top to bottom.

pub mod verify;
