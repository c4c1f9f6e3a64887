//! Forebay fetches, encodes and publishes videos so that the network and the
//! CPU are busy at the same time.
//!
//! The modules in reading order, each naming only what stands above it:
//!
//! | module | what it is |
//! |---|---|
//! | [`model`] | the words all others share: items, events, media, retry, secrets |
//! | [`pipeline`] | lanes and stages: the IO-bound/CPU-bound pattern, for any program |
//! | [`plan`] | decisions without side effects: the ladder, chunks, ffmpeg arguments |
//! | [`format`] | bytes in and out: MP4 samples, MPEG-TS, playlists, AES-128 |
//! | [`scratch`] | the work folder: room, write-then-rename, the journal |
//! | [`tool`] | child processes: ffmpeg, ffprobe, yt-dlp |
//! | [`storage`] | places that keep objects |
//! | [`queue`] | holds jobs and lends them to workers |
//! | [`source`] | places media come from |
//! | [`catalog`] | what is known of moved objects, in SQLite or PostgreSQL |
//! | `mail` | messages with pictures |
//! | [`job`] | what a job does, top to bottom |
//! | [`engine`] | runs jobs: dispatcher, events, shutdown |
//! | `web` | the API, the page and the key server, with the feature `serve` |
//! | [`config`] | files and environment become checked settings |
//! | [`app`] | builds the whole program from settings |
//! | [`cli`] | arguments and everything that is printed |

pub mod model;
pub mod pipeline;

pub mod plan;

pub mod format;

pub mod scratch;
pub mod tool;

pub mod storage;

pub mod queue;

pub mod source;

pub mod catalog;

#[cfg(feature = "photos")]
pub mod mail;

pub mod job;

pub mod engine;

#[cfg(feature = "serve")]
pub mod web;

pub mod config;

pub mod app;

pub mod cli;
