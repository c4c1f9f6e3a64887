//! Pictures made to fit, and mailed: what the job works with and what it says.

use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use self::shrink::Kit;
use super::share::Share;
use crate::mail::Outbox;
use crate::model::failure::Failure;
use crate::pipeline;
use crate::scratch::album::Album;
use crate::storage::store::Store;

pub mod encode;
pub mod input;
pub mod run;
pub mod shrink;

mod fit;
mod metadata;
mod picture;
mod post;
mod turn;

/// Everything the job works with.
pub struct Context {
    /// How pictures are to be, and what makes them so.
    pub kit: Kit,
    /// Where they go.
    pub store: Store,
    /// What is done already.
    pub album: Album,
    /// A folder for what a converter needs as files.
    pub scratch: PathBuf,
    /// Whom they are mailed to.
    pub mail: Option<Mailing>,
    /// Files that are read at once.
    pub readers: usize,
    /// Threads that compute, each with a permit of `share`.
    pub threads: usize,
    /// The permits.
    pub share: Share,
    /// Pictures that are stored at once.
    pub writers: usize,
    /// No new picture is begun after this.
    pub stop: CancellationToken,
    /// Everything ends now.
    pub cancel: CancellationToken,
}

/// Whom pictures are mailed to, and how.
#[derive(Clone, Debug)]
pub struct Mailing {
    /// Where messages go.
    pub outbox: Outbox,
    /// The sender's address.
    pub from: String,
    /// The recipients' addresses.
    pub to: Vec<String>,
    /// Most bytes of a message.
    pub limit: u64,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Said {
    /// A picture is stored.
    Done {
        /// Its source, fit to be shown.
        input: String,
        /// Its name at the destination.
        name: String,
        /// Bytes of the source.
        before: u64,
        /// Its bytes.
        after: u64,
        /// Its columns and rows; `None` where nobody looked.
        size: Option<(u32, u32)>,
        /// Its quality; `None` for a copy.
        quality: Option<u8>,
        /// What a person should know of it.
        note: Option<String>,
        /// A small JPEG of it, if asked for.
        thumbnail: Option<Vec<u8>>,
    },
    /// An earlier run had made it.
    Already {
        /// Its source.
        input: String,
        /// Its name at the destination.
        name: String,
    },
    /// It could not be made.
    Failed {
        /// Its source.
        input: String,
        /// Why.
        failure: Failure,
    },
    /// A message was taken by the server, or written.
    Mailed {
        /// Pictures in it.
        pictures: usize,
        /// Its bytes.
        bytes: u64,
    },
    /// A message was not taken, and is tried again.
    MailWaits {
        /// Why.
        failure: Failure,
        /// After which time.
        wait: Duration,
    },
    /// A message could not be sent.
    NotMailed {
        /// Pictures in it.
        pictures: usize,
        /// Why.
        failure: Failure,
    },
}

/// Hears what happens.
pub type Listener<'a> = &'a (dyn Fn(Said) + Sync);

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Pictures stored.
    pub done: u64,
    /// Of those, copied as they were.
    pub copied: u64,
    /// Pictures that were there already.
    pub already: u64,
    /// Pictures, and messages, that failed.
    pub failed: u64,
    /// Of those, by the fault of this machine, the destination or the mail server.
    pub environment: u64,
    /// Pictures that a stop left for the next run.
    pub left: u64,
    /// Pictures that are stored, and that a stop left for the next run to mail.
    pub unsent: u64,
    /// Messages sent or written.
    pub messages: u64,
    /// Bytes of the sources of what was stored.
    pub before: u64,
    /// Bytes stored.
    pub after: u64,
    /// Whether the run was stopped.
    pub stopped: bool,
    /// What the stages were doing.
    pub stages: pipeline::report::Summary,
}
