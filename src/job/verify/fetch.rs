//! Reads objects of a package, from a folder or over HTTP.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use url::Url;

use crate::model::failure::Failure;
use crate::model::sha256::Sha256;

use super::address::Address;
use super::package::Sum;

/// The largest playlist, key list or manifest that is read.
pub(super) const PLAYLIST: u64 = 16 << 20;

/// The largest segment that is read.
pub(super) const SEGMENT: u64 = 512 << 20;

/// Unit of the memory budget.
const MIB: u64 = 1 << 20;

/// A server that sends slower than this allows does not serve players either.
const WHOLE_ANSWER: Duration = Duration::from_mins(2);

/// Times an answer that may be luck (connection lost, 5xx, 429) is asked for.
const ATTEMPTS: u32 = 3;

/// Bytes in memory, and the room they take of the budget until dropped.
pub(super) struct Loaded {
    /// The bytes.
    pub(super) bytes: Vec<u8>,
    /// The Content-Type, where a server said one.
    pub(super) kind: Option<String>,
    _room: OwnedSemaphorePermit,
}

impl Loaded {
    /// Bytes that have their room.
    pub(super) fn new(bytes: Vec<u8>, kind: Option<String>, room: OwnedSemaphorePermit) -> Self {
        Self { bytes, kind, _room: room }
    }
}

/// Why an object could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// It is not there.
    #[error("it is not there")]
    Missing,
    /// It is larger than anything honest.
    #[error("it is larger than {} MiB and was not read", .0 / MIB)]
    TooLarge(u64),
    /// It leads elsewhere or is no plain file.
    #[error("{0}")]
    Refused(&'static str),
    /// The range does not lie in the file.
    #[error("the file ends before the range does")]
    Range,
    /// The disk or the network failed.
    #[error("{0}")]
    Failed(String),
}

/// A part of an object: offset and length.
pub(super) type Part = Option<(u64, u64)>;

/// A place that holds a package.
#[async_trait::async_trait]
pub(super) trait Fetch: Send + Sync {
    /// Reads an object or a part of it, at most `most` bytes.
    async fn read(&self, address: &Address, part: Part, most: u64) -> Result<Loaded, FetchError>;
    /// Size and checksum of an object, which may be too large for memory.
    async fn sum(&self, address: &Address) -> Result<Sum, FetchError>;
    /// The URL of the package's folder, if it has one.
    fn root_url(&self) -> Option<&str>;
    /// The folder itself, if its names can be listed.
    fn folder(&self) -> Option<&Path>;
}

/// All bytes that are in memory at once. One segment of the largest size fits.
#[derive(Clone)]
pub(super) struct Budget(Arc<Semaphore>);

impl Budget {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(usize::try_from(SEGMENT / MIB).expect("512 fits"))))
    }

    /// Waits until there is room for so many bytes.
    pub(super) async fn room(&self, bytes: u64) -> OwnedSemaphorePermit {
        let units = u32::try_from(bytes.min(SEGMENT).div_ceil(MIB)).expect("at most 512");
        Arc::clone(&self.0).acquire_many_owned(units).await.expect("the budget is never closed")
    }
}

/// A package in a folder.
pub(super) struct Folder {
    root: PathBuf,
    budget: Budget,
}

impl Folder {
    /// The folder of the master playlist `file`.
    pub(super) fn open(file: &Path) -> Result<(Self, Address), Failure> {
        let what = format!("could not open `{}`", file.display());
        let file = file.canonicalize().map_err(|error| Failure::io(&what, &error))?;
        let file = if file.is_dir() { first_list(&file).ok_or_else(|| no_package(&file))? } else { file };
        let (Some(root), Some(name)) = (file.parent(), file.file_name()) else {
            return Err(Failure::environment(format!("{what}: it is no file")));
        };
        let name = name.to_string_lossy().into_owned();
        Ok((Self { root: root.to_path_buf(), budget: Budget::new() }, Address::top(&name, &name)))
    }
}

/// What a folder is to be read by: `master.m3u8`, or the only list with variants, or any list.
fn first_list(folder: &Path) -> Option<PathBuf> {
    let usual = folder.join("master.m3u8");
    if usual.is_file() {
        return Some(usual);
    }
    let entries = folder.read_dir().into_iter().flatten().flatten().map(|entry| entry.path());
    let mut lists: Vec<PathBuf> = entries.filter(|path| rank(path) < 3 && path.is_file()).collect();
    lists.sort_by_key(|path| (rank(path), !is_master(path), path.clone()));
    lists.into_iter().next()
}

/// A folder without a playlist, which may be one of packages.
fn no_package(folder: &Path) -> Failure {
    let failure = Failure::environment(format!("there is no playlist in `{}`", folder.display()));
    let below = folder.read_dir().into_iter().flatten().flatten().map(|entry| entry.path());
    match below.filter(|path| path.join("master.m3u8").is_file()).min() {
        Some(first) => failure.hint(format!("give one package, such as `{}`", first.display())),
        None => failure.hint("give a master playlist, a media playlist, a DASH manifest, or a folder that holds one"),
    }
}

/// Playlists come before DASH manifests.
fn rank(path: &Path) -> u8 {
    match path.extension().and_then(|end| end.to_str()) {
        Some("m3u8" | "m3u") => 1,
        Some("mpd") => 2,
        _ => 3,
    }
}

/// Whether the first part of the file names variants.
fn is_master(path: &Path) -> bool {
    let head = read_file(path, 0, 1 << 16).unwrap_or_default();
    head.windows(17).any(|window| window == b"#EXT-X-STREAM-INF")
}

#[async_trait::async_trait]
impl Fetch for Folder {
    async fn read(&self, address: &Address, part: Part, most: u64) -> Result<Loaded, FetchError> {
        let (root, path) = (self.root.clone(), self.root.join(&address.path));
        let length = blocking({
            let (root, path) = (root.clone(), path.clone());
            move || plain_length(&root, &path)
        })
        .await?;
        let (offset, wanted) = part.unwrap_or((0, length));
        if wanted > most {
            return Err(FetchError::TooLarge(most));
        }
        if offset.checked_add(wanted).is_none_or(|end| end > length) {
            return Err(FetchError::Range);
        }
        let permit = self.budget.room(wanted).await;
        let bytes = blocking(move || read_file(&path, offset, wanted)).await?;
        Ok(Loaded::new(bytes, None, permit))
    }

    async fn sum(&self, address: &Address) -> Result<Sum, FetchError> {
        let (root, path) = (self.root.clone(), self.root.join(&address.path));
        blocking(move || {
            plain_length(&root, &path)?;
            let file = std::fs::File::open(&path).map_err(|error| disk(&error))?;
            let mut hasher = Sha256::new();
            let bytes = std::io::copy(&mut std::io::BufReader::new(file), &mut hasher).map_err(|error| disk(&error))?;
            Ok(Sum { bytes, sha256: hasher.finalize() })
        })
        .await
    }

    fn root_url(&self) -> Option<&str> {
        None
    }

    fn folder(&self) -> Option<&Path> {
        Some(&self.root)
    }
}

/// The length of a plain file that really is below `root`.
fn plain_length(root: &Path, path: &Path) -> Result<u64, FetchError> {
    let real = path.canonicalize().map_err(|error| disk(&error))?;
    if !real.starts_with(root) {
        return Err(FetchError::Refused("a link leads out of the package"));
    }
    let metadata = real.metadata().map_err(|error| disk(&error))?;
    // Opening a named pipe would wait for ever.
    if !metadata.is_file() {
        return Err(FetchError::Refused("it is no plain file"));
    }
    Ok(metadata.len())
}

fn read_file(path: &Path, offset: u64, wanted: u64) -> Result<Vec<u8>, FetchError> {
    let mut file = std::fs::File::open(path).map_err(|error| disk(&error))?;
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(offset)).map_err(|error| disk(&error))?;
    let mut bytes = Vec::new();
    file.take(wanted).read_to_end(&mut bytes).map_err(|error| disk(&error))?;
    Ok(bytes)
}

fn disk(error: &std::io::Error) -> FetchError {
    match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => FetchError::Missing,
        _ => FetchError::Failed(error.to_string()),
    }
}

/// Runs work that waits for the disk or uses the processor, away from the threads that serve sockets.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("the work does not panic and is not aborted")
}

/// A package behind a URL.
pub(super) struct Web {
    root: String,
    client: reqwest::Client,
    budget: Budget,
}

impl Web {
    /// The folder of the master playlist at `url`, which may redirect; the rest of the package may not leave its server.
    pub(super) async fn open(url: &Url) -> Result<(Self, Address, Loaded), Failure> {
        let cannot = |error: &dyn std::fmt::Display| {
            Failure::temporary(format!("could not read {}: {error}", crate::model::secret::masked_url(url)))
        };
        let first = client(reqwest::redirect::Policy::limited(5)).map_err(|error| cannot(&error))?;
        let budget = Budget::new();
        let answer = ask(&first, url.as_str(), None).await.map_err(|error| cannot(&error))?;
        let mut root = answer.url().clone();
        let loaded = body(answer, PLAYLIST, &budget).await.map_err(|error| cannot(&error))?;
        let name = root.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default().to_owned();
        let encoded = root.query().map_or_else(|| name.clone(), |query| format!("{name}?{query}"));
        root.set_query(None);
        root.set_fragment(None);
        let root = root.join(".").map_err(|error| cannot(&error))?;
        let home = root.origin();
        let stay = reqwest::redirect::Policy::custom(move |attempt| {
            if attempt.url().origin() != home || attempt.previous().len() > 5 {
                attempt.stop()
            } else {
                attempt.follow()
            }
        });
        let client = client(stay).map_err(|error| cannot(&error))?;
        Ok((Self { root: root.into(), client, budget }, Address::top(&name, &encoded), loaded))
    }
}

#[async_trait::async_trait]
impl Fetch for Web {
    async fn read(&self, address: &Address, part: Part, most: u64) -> Result<Loaded, FetchError> {
        if part.is_some_and(|(_, length)| length > most) {
            return Err(FetchError::TooLarge(most));
        }
        let url = format!("{}{}", self.root, address.encoded);
        let mut attempt = 1;
        loop {
            let result = match ask(&self.client, &url, part).await {
                Ok(answer) => body(answer, most, &self.budget).await,
                Err(error) => Err(error),
            };
            match result {
                Err(FetchError::Failed(_)) if attempt < ATTEMPTS => attempt += 1,
                Ok(loaded) if part.is_some_and(|(_, length)| length != loaded.bytes.len() as u64) => {
                    return Err(FetchError::Range);
                }
                other => return other,
            }
            tokio::time::sleep(Duration::from_millis(500) * attempt).await;
        }
    }

    async fn sum(&self, address: &Address) -> Result<Sum, FetchError> {
        let url = format!("{}{}", self.root, address.encoded);
        let mut stream = ask(&self.client, &url, None).await?.bytes_stream();
        let (mut bytes, mut hasher) = (0, Sha256::new());
        while let Some(part) = stream.next().await {
            let part = part.map_err(network)?;
            bytes += part.len() as u64;
            hasher.update(&part);
        }
        Ok(Sum { bytes, sha256: hasher.finalize() })
    }

    fn root_url(&self) -> Option<&str> {
        Some(&self.root)
    }

    fn folder(&self) -> Option<&Path> {
        None
    }
}

/// A client with the limits that hold for every request.
pub(super) fn client(redirect: reqwest::redirect::Policy) -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .redirect(redirect)
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(Duration::from_secs(20))
        .timeout(WHOLE_ANSWER)
        .user_agent(concat!("forebay/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Asks for an object, or the part of it.
pub(super) async fn ask(client: &reqwest::Client, url: &str, part: Part) -> Result<reqwest::Response, FetchError> {
    let mut request = client.get(url);
    if let Some((offset, length)) = part {
        let last = offset.saturating_add(length).saturating_sub(1);
        request = request.header(reqwest::header::RANGE, format!("bytes={offset}-{last}"));
    }
    let answer = request.send().await.map_err(network)?;
    match answer.status().as_u16() {
        206 => Ok(answer),
        200 if part.is_none() => Ok(answer),
        200 => Err(FetchError::Refused("the server does not know byte ranges")),
        404 | 410 => Err(FetchError::Missing),
        416 => Err(FetchError::Range),
        300..=399 => Err(FetchError::Refused("it redirects to another server")),
        401 | 403 => Err(FetchError::Refused("the server does not give it out")),
        status => Err(FetchError::Failed(format!("the server answered {status}"))),
    }
}

/// Reads an answer whose length may be a lie.
async fn body(answer: reqwest::Response, most: u64, budget: &Budget) -> Result<Loaded, FetchError> {
    let declared = answer.content_length();
    let kind = answer.headers().get(reqwest::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.map(|kind| kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    if declared.is_some_and(|length| length > most) {
        return Err(FetchError::TooLarge(most));
    }
    let room = budget.room(declared.unwrap_or(most)).await;
    let mut bytes = Vec::new();
    let mut stream = answer.bytes_stream();
    while let Some(part) = stream.next().await {
        let part = part.map_err(network)?;
        if (bytes.len() + part.len()) as u64 > declared.unwrap_or(most) {
            return Err(FetchError::TooLarge(most));
        }
        bytes.extend_from_slice(&part);
    }
    Ok(Loaded::new(bytes, kind, room))
}

/// The innermost reason, without the URL, which may carry a signature.
pub(super) fn network(error: reqwest::Error) -> FetchError {
    let error = error.without_url();
    let mut reason: &dyn std::error::Error = &error;
    while let Some(inner) = reason.source() {
        reason = inner;
    }
    FetchError::Failed(reason.to_string())
}
