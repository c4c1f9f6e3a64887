//! Child processes: starting, watching, stopping and reaping them, and the
//! programs built on top.

pub mod avif;
pub mod child;
pub mod ffmpeg;
pub mod ffprobe;
pub mod find;
mod hdr;
pub mod heif;
pub mod reaper;
pub mod ytdlp;
mod ytdlp_error;
