//! Bytes on their way: digests are taken as they pass.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::stream::{StreamExt as _, TryStreamExt as _};
use md5::{Digest as _, Md5};

use super::Context;
use crate::model::failure::Failure;
use crate::model::sha256::Sha256;
use crate::scratch::file::{Draft, Existing, Privacy, make_folder};
use crate::storage::body::{Body, ObjectBody};
use crate::storage::error::{Kind, StorageError};
use crate::storage::{ByteStream, Stat, WHOLE};

/// Bytes of a large object's head that are looked at: Exif stands there.
pub(super) const HEAD: u64 = 256 << 10;

/// Digests of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Digests {
    pub(super) md5: String,
    pub(super) sha256: String,
}

/// Digests on the way.
#[derive(Clone, Default)]
struct Hashing {
    md5: Md5,
    sha256: Sha256,
    bytes: u64,
}

impl Digests {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Hashing::default().with(bytes).finished()
    }
}

impl Hashing {
    fn with(mut self, bytes: &[u8]) -> Self {
        self.md5.update(bytes);
        self.sha256.update(bytes);
        self.bytes += bytes.len() as u64;
        self
    }

    fn finished(self) -> Digests {
        Digests { md5: hex::encode(self.md5.finalize()), sha256: hex::encode(self.sha256.finalize()) }
    }
}

/// Computes where nobody waits for a socket.
pub(super) async fn computed<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Failure::environment(error.to_string()))
}

/// An object whose digests are taken as it passes.
pub(super) struct Watched {
    body: ObjectBody,
    hashing: Arc<Mutex<Hashing>>,
    pace: Arc<Pace>,
}

/// How fast bytes may come, and how many have.
#[derive(Debug, Default)]
pub struct Pace {
    /// Bytes a second, if there is a limit.
    bandwidth: Option<u64>,
    passed: AtomicU64,
    begun: OnceLock<Instant>,
}

impl Pace {
    /// A pace of at most `bandwidth` bytes a second.
    pub fn new(bandwidth: Option<u64>) -> Self {
        Self { bandwidth, ..Self::default() }
    }

    /// Bytes that have come.
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    /// Waits until `bytes` more may come.
    pub(super) async fn wait(&self, bytes: u64) {
        let begun = self.begun.get_or_init(Instant::now);
        let passed = self.passed.fetch_add(bytes, Ordering::Relaxed);
        if let Some(bandwidth) = self.bandwidth {
            let pause = crate::plan::migrate::pause(passed, begun.elapsed(), bandwidth);
            if pause > Duration::ZERO {
                tokio::time::sleep(pause).await;
            }
        }
    }
}

impl Watched {
    pub(super) fn new(body: ObjectBody, context: &Context) -> Self {
        Self { body, hashing: Arc::default(), pace: Arc::clone(&context.pace) }
    }

    /// The digests of what passed, which must be all of it.
    pub(super) fn digests(&self) -> Result<Digests, Failure> {
        let hashing = self.hashing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if hashing.bytes != self.body.bytes() {
            return Err(Failure::temporary("did not pass whole"));
        }
        Ok(hashing.finished())
    }
}

#[async_trait]
impl Body for Watched {
    fn bytes(&self) -> u64 {
        self.body.bytes()
    }

    async fn open(&self) -> Result<ByteStream, StorageError> {
        let stream = self.body.open().await?;
        // Another try begins anew, and so do the digests.
        *self.hashing.lock().unwrap_or_else(PoisonError::into_inner) = Hashing::default();
        let (hashing, pace) = (Arc::clone(&self.hashing), Arc::clone(&self.pace));
        let watched = stream.and_then(move |piece| {
            let (hashing, pace, bytes) = (Arc::clone(&hashing), Arc::clone(&pace), piece.clone());
            async move {
                pace.wait(bytes.len() as u64).await;
                let hash = move || {
                    let mut hashing = hashing.lock().unwrap_or_else(PoisonError::into_inner);
                    *hashing = std::mem::take(&mut *hashing).with(&bytes);
                };
                let hashed = computed(hash).await;
                hashed.map(|()| piece).map_err(|failure| StorageError::new(Kind::Source, failure.what))
            }
        });
        Ok(watched.boxed())
    }
}

/// A file in scratch. Dropped, it is gone.
pub(super) struct ScratchFile {
    path: PathBuf,
}

impl ScratchFile {
    /// A path that nobody else has.
    pub(super) fn new(scratch: &Path) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self { path: scratch.join(format!("object-{}-{number}", std::process::id())) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ScratchFile {
    fn drop(&mut self) {
        // What cannot be removed goes with the scratch folder, which the next run empties.
        std::fs::remove_file(&self.path).unwrap_or_default();
    }
}

/// Fetches one version of an object into a file, with its digests.
pub(super) async fn fetch(stat: &Stat, context: &Context) -> Result<(ScratchFile, Digests), Failure> {
    let file = ScratchFile::new(&context.scratch);
    let (path, scratch) = (file.path.clone(), context.scratch.clone());
    let failed = |error: std::io::Error| Failure::io("could not write into the scratch folder", &error);
    let begin = move || {
        make_folder(&scratch, Privacy::Private)?;
        Draft::begin(&path, Privacy::Private)
    };
    let mut draft = computed(begin).await?.map_err(failed)?;
    let gone = || Failure::temporary("is not there any more");
    let reading = context.source.read(&stat.key, WHOLE, stat.etag.as_deref()).await?.ok_or_else(gone)?;
    let (mut stream, mut hashing) = (reading.stream, Hashing::default());
    while let Some(piece) = stream.try_next().await? {
        context.pace.wait(piece.len() as u64).await;
        let write = move || {
            draft.append(&piece)?;
            Ok((draft, hashing.with(&piece)))
        };
        (draft, hashing) = computed(write).await?.map_err(failed)?;
    }
    computed(move || draft.finish(None, Existing::Replace)).await?.map_err(failed)?;
    let now = context.source.stat(&stat.key).await?.ok_or_else(gone)?;
    if now.etag != stat.etag {
        return Err(Failure::temporary("changed while it was read").hint("run the same command again"));
    }
    Ok((file, hashing.finished()))
}
