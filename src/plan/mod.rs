//! Decisions without side effects: what to make of a source, and how.

pub mod audio;
pub mod budget;
pub mod copy;
pub mod decoded;
pub mod encode;
pub mod filter;
pub mod generation;
pub mod grid;
pub mod hls;
pub mod ladder;
pub mod language;
pub mod level;
pub mod loudness;
pub mod mail;
pub mod migrate;
pub mod photo;
pub mod photo_fit;
pub mod photo_name;
pub mod picture;
pub mod piece;
pub mod quality;
pub mod rate;
pub mod recipe;
pub mod settings;
pub mod sidecar;
pub mod subtitle;
