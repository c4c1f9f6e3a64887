//! Places media come from: a list of inputs, plain files over HTTP, pages and
//! manifests through yt-dlp, and files of this machine.

pub mod list;

mod file;
mod http;
mod name;
mod page;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::model::event::What;
use crate::model::failure::Failure;
use crate::model::item::{Item, Rank};
use crate::pipeline::lane::{Lane, Permit};

/// How inputs are fetched.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    /// What we call ourselves to servers.
    pub user_agent: String,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// A download that is slower than this over `slow_window` is ended and tried again.
    pub min_bytes_per_second: u64,
    /// The time over which the rate is measured; also the longest wait for an answer.
    pub slow_window: Duration,
    /// Tries after the first one, counted anew after progress.
    pub retries: u32,
    /// No wait between two tries is longer, whatever `Retry-After` says.
    pub longest_wait: Duration,
    /// Connections at once for one file.
    pub connections_per_file: u64,
    /// The largest download.
    pub max_bytes: u64,
    /// The yt-dlp program; empty to look in the project's own venv and then in `PATH`.
    pub ytdlp: PathBuf,
    /// What yt-dlp is asked for, in its own format language.
    pub ytdlp_format: String,
}

/// What a fetch works with: its rank, the lanes it takes permits from, and whom it tells.
pub struct FetchContext<'a> {
    /// The item's place in every lane.
    pub rank: Rank,
    /// Connections.
    pub network: &'a Lane<Rank>,
    /// Readers of network file systems.
    pub disk: &'a Lane<Rank>,
    /// Bytes of scratch space.
    pub room: &'a Lane<Rank>,
    /// Ends the fetch at once.
    pub cancel: &'a CancellationToken,
    /// Hears of progress.
    pub report: &'a (dyn Fn(What) + Sync),
}

/// Who an input is, known without downloading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The id at the destination.
    pub id: String,
    /// A title for people, when one is known.
    pub title: Option<String>,
    /// The stable name of the input, without secrets, by which done work is recognised.
    pub key: String,
    kind: Kind,
}

/// How an input is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// A file of this machine.
    File(PathBuf),
    /// One response body is the media.
    Media(url::Url),
    /// A page or a manifest: yt-dlp finds the media.
    Page(url::Url),
}

/// What was fetched, so that a later run can tell whether the input is still the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The key of the input.
    pub key: String,
    /// The entity tag, if the server gave one.
    pub etag: Option<String>,
    /// The server's date of last change.
    pub last_modified: Option<String>,
    /// Bytes of the source.
    pub bytes: Option<u64>,
    /// The date of last change of a local file, in seconds of Unix time.
    pub modified: Option<i64>,
}

/// A source that is whole on this machine.
pub struct Fetched {
    /// Where it is.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
    /// What to remember of it.
    pub record: Record,
    /// Whether it lies in scratch and may be deleted after use.
    pub temporary: bool,
    /// The scratch space it fills, if any. Drop it when the file is deleted.
    pub room: Option<Permit<Rank>>,
}

/// All ways to fetch an input. Clones share one HTTP client.
#[derive(Clone)]
pub struct Sources {
    shared: Arc<Shared>,
}

struct Shared {
    settings: SourceSettings,
}

impl Sources {
    /// Makes the HTTP client. Asks nobody anything.
    pub fn new(settings: SourceSettings) -> Result<Self, Failure> {
        Ok(Self { shared: Arc::new(Shared { settings }) })
    }

    /// Finds out id, title and key without a download. Files, manifests and URLs whose path ends
    /// in a media extension are known without any request.
    pub async fn identify(&self, item: &Item, context: &FetchContext<'_>) -> Result<Identity, Failure> {
        let (_, _, _) = (item, context, &self.shared.settings);
        Err(Failure::environment("not written yet"))
    }

    /// Whether the input still is what `record` says. An input that cannot be asked counts as unchanged.
    pub async fn unchanged(&self, item: &Item, record: &Record, context: &FetchContext<'_>) -> bool {
        let (_, _, _) = (item, record, context);
        true
    }

    /// Brings the input to this machine. `folder` belongs to this input alone and survives kills:
    /// what an earlier try left in it is used.
    pub async fn fetch(
        &self,
        item: &Item,
        identity: &Identity,
        folder: &Path,
        context: &FetchContext<'_>,
    ) -> Result<Fetched, Failure> {
        let (_, _, _, _) = (item, identity, folder, context);
        Err(Failure::environment("not written yet"))
    }
}
