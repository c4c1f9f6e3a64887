//! Child processes: starting, watching, stopping and reaping them, and the
//! programs built on top.

pub mod avif;
pub mod child;
pub mod ffmpeg;
pub mod ffprobe;
pub mod find;
mod hdr;
mod header;
pub mod heif;
mod packets;
pub mod reaper;
mod refusal;
pub mod ytdlp;
mod ytdlp_error;
