//! Places media come from: a list of inputs, plain files over HTTP, the segments
//! of manifests, pages through yt-dlp, files of this machine, and objects of stores.

pub mod beside;
pub mod file;
pub mod list;

mod body;
mod gate;
mod guard;
mod hash;
mod http;
mod manifest;
mod mark;
mod name;
mod object;
mod pace;
mod page;
mod part;
mod pieces;
mod room;
pub mod spans;
mod tries;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::format::looks::PAGE;
use crate::model::address::Reach;
use crate::model::event::What;
use crate::model::failure::{Class, Failure};
use crate::model::item::{Item, Locator, Rank};
use crate::model::secret::masked_url;
use crate::pipeline::lane::{Lane, Permit};
use crate::plan::language::Wanted as Languages;
use crate::plan::settings::Limits;
use crate::storage::open::Stores;
use crate::storage::store::Store;

use self::beside::Beside;

use self::http::{Answers, Client, Input, Outcome};
use self::manifest::place::Place;
use self::manifest::reader::Reader;
use self::object::Object;
use self::page::{Pages, Wanted};

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
    /// ffmpeg and ffprobe, which join the segments of manifests and look at them.
    pub tools: (PathBuf, PathBuf),
    /// What is refused of segments that were joined.
    pub limits: Limits,
    /// The yt-dlp program; empty to look in the project's own venv and then in `PATH`.
    pub ytdlp: PathBuf,
    /// What yt-dlp is asked for, in its own format language.
    pub ytdlp_format: String,
    /// How far requests go: not everywhere if inputs come from outside.
    pub reach: Reach,
}

/// What a fetch works with: its rank, the lanes it takes permits from, and whom it tells.
pub struct FetchContext<'a> {
    /// The item's place in every lane.
    pub rank: Rank,
    /// Connections.
    pub network: &'a Lane<Rank>,
    /// Readers of files.
    pub disk: &'a Lane<Rank>,
    /// Bytes of scratch space.
    pub room: &'a Lane<Rank>,
    /// The short side of the largest picture that is wanted, in pixels. Of a manifest, no larger one is fetched.
    pub tallest: u32,
    /// The subtitles that are wanted: what else a manifest or page has of them is not fetched.
    pub subtitles: &'a Languages,
    /// Ends the fetch at once.
    pub cancel: &'a CancellationToken,
    /// Hears of progress.
    pub report: &'a (dyn Fn(What) + Sync),
    /// Told which bytes are here already, while a download goes on.
    pub arrival: &'a watch::Sender<Option<Arrival>>,
}

/// A download that goes on: what of it is here already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The incomplete file. It has its full length; what is not here yet reads as zeros.
    pub path: PathBuf,
    /// Another serial is another file: the one before is not to be trusted. A download that goes
    /// on after a restart keeps its own.
    pub serial: String,
    /// Its full length.
    pub size: u64,
    /// The bytes that are here, in ascending ranges that do not touch.
    pub ranges: Vec<(u64, u64)>,
}

impl Arrival {
    /// Whether all bytes from `from` up to `to` are here.
    pub fn has(&self, from: u64, to: u64) -> bool {
        from >= to || self.ranges.iter().any(|range| range.0 <= from && to <= range.1)
    }
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
    /// A manifest: its segments are the media.
    Manifest(url::Url),
    /// A page: yt-dlp finds the media, of so many bytes if it is known.
    Page(url::Url, Option<u64>),
    /// An object of a store: the store's address and the key.
    Object(String, String),
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
    /// The serial of the [`Arrival`] it grew from, if it did.
    pub serial: Option<String>,
    /// By which a file that is used in place is known to be the same still.
    pub seal: Option<file::Seal>,
    /// Subtitles that came with it; `None` where there was nothing to ask.
    pub beside: Option<Beside>,
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
    client: Client,
    pages: Pages,
    stores: Stores,
    /// Those that are open, by address: all objects of one share its patience.
    open: Mutex<HashMap<String, Store>>,
}

impl Sources {
    /// Makes the HTTP client. Asks nobody anything.
    pub fn new(settings: SourceSettings, stores: Stores) -> Result<Self, Failure> {
        let (client, pages) = (Client::new(settings.clone())?, Pages::new(settings.clone()));
        Ok(Self { shared: Arc::new(Shared { settings, client, pages, stores, open: Mutex::default() }) })
    }

    /// Finds out id, title and key without a download. Files, manifests and URLs whose path ends
    /// in a media extension are known without any request.
    pub async fn identify(&self, item: &Item, context: &FetchContext<'_>) -> Result<Identity, Failure> {
        stoppable(context, Box::pin(self.look(item, context))).await
    }

    async fn look(&self, item: &Item, context: &FetchContext<'_>) -> Result<Identity, Failure> {
        let key = name::key(&item.locator);
        let known = |kind| Identity {
            id: item.id.clone().unwrap_or_else(|| name::id_of(&item.locator, &key)),
            title: item.title.clone(),
            key: key.clone(),
            kind,
        };
        let url = match &item.locator {
            Locator::File(path) => return Ok(known(Kind::File(path.clone()))),
            Locator::Object { place, key } => return Ok(known(Kind::Object(place.clone(), key.clone()))),
            Locator::Url(url) => url,
        };
        guard::may_ask(&self.shared.settings.reach, url)?;
        let name = name::of_url(url);
        if name::is_manifest(&name) {
            return Ok(known(Kind::Manifest(url.clone())));
        }
        let input = Input { url, headers: &item.headers, key: &key };
        if name::is_media(&name) {
            return Ok(known(Kind::Media(url.clone())));
        }
        match http::answers(&self.shared.client, &input, context).await? {
            Answers::Media => return Ok(known(Kind::Media(url.clone()))),
            Answers::Manifest => return Ok(known(Kind::Manifest(url.clone()))),
            Answers::Page => (),
        }
        let found = self.shared.pages.identify(item, url, context).await?;
        let id = || name::id_of_page(&found.extractor, &found.id, &item.locator, &key);
        Ok(Identity {
            id: item.id.clone().unwrap_or_else(id),
            title: item.title.clone().or(found.title),
            kind: Kind::Page(url.clone(), found.bytes),
            key,
        })
    }

    /// Whether the input still is what `record` says. An input that cannot be asked counts as unchanged.
    pub async fn unchanged(&self, item: &Item, record: &Record, context: &FetchContext<'_>) -> bool {
        let key = name::key(&item.locator);
        if key != record.key {
            return false;
        }
        let ask = async {
            Ok(match &item.locator {
                Locator::File(path) => file::unchanged(path, record).await,
                // Of a manifest's segments no store can be asked.
                Locator::Object { key: object, .. } if name::is_manifest(object.as_bytes()) => true,
                Locator::Object { place, key: object } => {
                    self.shared.object(place, object, &key)?.unchanged(record).await
                }
                // Pages change with every visit, so only what has validators is asked, or a size that is of a file.
                Locator::Url(url)
                    if record.etag.is_none()
                        && record.last_modified.is_none()
                        && !name::is_media(&name::of_url(url)) =>
                {
                    true
                }
                Locator::Url(url) => {
                    let input = Input { url, headers: &item.headers, key: &key };
                    http::unchanged(&self.shared.client, &input, record).await
                }
            })
        };
        stoppable(context, ask).await.unwrap_or(true)
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
        stoppable(context, Box::pin(self.bring(item, identity, folder, context))).await
    }

    async fn bring(
        &self,
        item: &Item,
        identity: &Identity,
        folder: &Path,
        context: &FetchContext<'_>,
    ) -> Result<Fetched, Failure> {
        let Shared { settings, client, pages, .. } = &*self.shared;
        let Identity { id, key, .. } = identity;
        let (url, bytes) = match &identity.kind {
            Kind::File(path) => return file::fetch(path, key, folder, settings, context).await,
            Kind::Object(place, object) => return self.shared.bring_object(place, object, key, folder, context).await,
            Kind::Manifest(url) => return self.shared.bring_manifest(item, url, key, folder, context).await,
            Kind::Page(url, bytes) => (url, *bytes),
            Kind::Media(url) => {
                let input = Input { url, headers: &item.headers, key };
                match http::fetch(client, &input, folder, context).await? {
                    Outcome::Whole(fetched) => return Ok(*fetched),
                    Outcome::Manifest => return self.shared.bring_manifest(item, url, key, folder, context).await,
                    Outcome::Page if name::is_media(&name::of_url(url)) => {
                        let found = pages.fetch(&Wanted { item, url, key, id, bytes: None }, folder, context).await;
                        return found.map_err(|failure| no_video(failure, url));
                    }
                    Outcome::Page => (url, None),
                }
            }
        };
        pages.fetch(&Wanted { item, url, key, id, bytes }, folder, context).await
    }
}

impl Shared {
    async fn bring_manifest(
        &self,
        item: &Item,
        url: &url::Url,
        key: &str,
        folder: &Path,
        context: &FetchContext<'_>,
    ) -> Result<Fetched, Failure> {
        let input = Input { url, headers: &item.headers, key };
        let reader = Reader::new(&self.client, &input, None, context);
        Box::pin(manifest::fetch(&reader, &Place::Web(url.clone()), folder)).await
    }

    async fn bring_object(
        &self,
        place: &str,
        object: &str,
        key: &str,
        folder: &Path,
        context: &FetchContext<'_>,
    ) -> Result<Fetched, Failure> {
        let found = self.object(place, object, key)?;
        if !name::is_manifest(object.as_bytes()) {
            return found.fetch(folder, context).await;
        }
        // A manifest may name what lies above it. Of a job that is none of its business.
        let (store, prefix) = match self.settings.reach {
            Reach::Anywhere => list::place::whole_store(place),
            Reach::Public(_) => (place, ""),
        };
        let found = self.object(store, object, key)?;
        let object = if prefix.is_empty() { object.to_owned() } else { format!("{prefix}/{object}") };
        // Headers of a list are for web servers, and none is named yet.
        let (nowhere, none) = (manifest::place::nowhere(), BTreeMap::new());
        let input = Input { url: &nowhere, headers: &none, key };
        let reader = Reader::new(&self.client, &input, Some(&found.store), context);
        Box::pin(manifest::fetch(&reader, &Place::Object(object), folder)).await
    }

    fn object<'a>(&'a self, place: &str, key: &'a str, name: &'a str) -> Result<Object<'a>, Failure> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let store = match open.entry(place.to_owned()) {
            Entry::Occupied(store) => store.get().clone(),
            Entry::Vacant(room) => room.insert(self.stores.open_to_read(place)?).clone(),
        };
        Ok(Object { store, key, name, settings: &self.settings })
    }
}

/// Why a page with the name of a video has none.
fn no_video(failure: Failure, url: &url::Url) -> Failure {
    match failure.class {
        Class::Stopped | Class::Temporary => failure,
        Class::Permanent | Class::Environment => {
            Failure::permanent(format!("`{}` answered {PAGE}, not a video", masked_url(url))).hint(failure.what)
        }
    }
}

/// Runs `work` unless and until the run is stopped.
async fn stoppable<T>(
    context: &FetchContext<'_>,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    context.cancel.run_until_cancelled(work).await.unwrap_or_else(|| Err(Failure::stopped()))
}

impl SourceSettings {
    /// Bytes that must come in one `slow_window`.
    fn least_in_window(&self) -> u64 {
        let least = u128::from(self.min_bytes_per_second) * self.slow_window.as_millis() / 1000;
        u64::try_from(least).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests;
