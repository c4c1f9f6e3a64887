//! Bytes on their way: digests are taken as they pass.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
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

/// Bytes that are digested at once: handing them to a thread and back has its price.
const STEP: usize = 1 << 20;

/// Digests of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Digests {
    /// Only where there is another to compare it with: large objects are told of by the MD5 of their parts.
    pub(super) md5: Option<String>,
    pub(super) sha256: String,
}

/// Digests on the way.
#[derive(Clone, Default)]
struct Hashing {
    md5: Option<Md5>,
    sha256: Sha256,
    bytes: u64,
}

impl Digests {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let sha256 = Sha256::digest(bytes);
        Self { md5: Some(hex::encode(Md5::digest(bytes))), sha256: hex::encode(sha256) }
    }
}

impl Hashing {
    /// Of an object of which nothing has come yet.
    fn begun(stat: &Stat, context: &Context) -> Self {
        let compared = stat.md5.is_some() || stat.bytes <= context.destination.part_bytes();
        Self { md5: compared.then(Md5::default), ..Self::default() }
    }

    /// With more bytes, both digests at the same time.
    async fn fed(self, bytes: Bytes) -> Result<Self, Failure> {
        let Self { md5, mut sha256, bytes: before } = self;
        let (passed, same) = (before + bytes.len() as u64, bytes.clone());
        let one = async {
            let Some(mut md5) = md5 else { return Ok(None) };
            let add = move || {
                md5.update(&same);
                Some(md5)
            };
            computed(add).await
        };
        let other = computed(move || {
            sha256.update(&bytes);
            sha256
        });
        let (md5, sha256) = tokio::try_join!(one, other)?;
        Ok(Self { md5, sha256, bytes: passed })
    }

    fn finished(self) -> Digests {
        let md5 = self.md5.map(|md5| hex::encode(md5.finalize()));
        Digests { md5, sha256: hex::encode(self.sha256.finalize()) }
    }
}

/// Computes where nobody waits for a socket.
pub(super) async fn computed<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Failure::environment(error.to_string()))
}

/// An object whose digests are taken as it passes.
pub(super) struct Watched {
    body: ObjectBody,
    begun: Hashing,
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
    pub(super) fn new(stat: &Stat, context: &Context) -> Self {
        let body = ObjectBody::new(context.source.clone(), stat.clone());
        let (begun, pace) = (Hashing::begun(stat, context), Arc::clone(&context.pace));
        Self { body, begun, hashing: Arc::default(), pace }
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
        *self.hashing.lock().unwrap_or_else(PoisonError::into_inner) = self.begun.clone();
        let hashing = Arc::clone(&self.hashing);
        let watched = gathered(paced(stream, &self.pace)).and_then(move |piece| {
            let (hashing, bytes) = (Arc::clone(&hashing), piece.clone());
            async move {
                let before = std::mem::take(&mut *hashing.lock().unwrap_or_else(PoisonError::into_inner));
                let hashed = before.fed(bytes).await;
                let after = hashed.map_err(|failure| StorageError::new(Kind::Source, failure.what))?;
                *hashing.lock().unwrap_or_else(PoisonError::into_inner) = after;
                Ok(piece)
            }
        });
        Ok(watched.boxed())
    }
}

/// The same bytes, not faster than they may come.
fn paced(stream: ByteStream, pace: &Arc<Pace>) -> ByteStream {
    let pace = Arc::clone(pace);
    let paced = stream.and_then(move |piece| {
        let pace = Arc::clone(&pace);
        async move {
            pace.wait(piece.len() as u64).await;
            Ok(piece)
        }
    });
    paced.boxed()
}

/// The same bytes in pieces of at least [`STEP`], but for the last.
pub(super) fn gathered(stream: ByteStream) -> ByteStream {
    let gather = async |mut stream: ByteStream| {
        let Some(first) = stream.try_next().await? else { return Ok(None) };
        if first.len() >= STEP {
            return Ok(Some((first, stream)));
        }
        let mut bytes = BytesMut::with_capacity(STEP + first.len());
        bytes.extend_from_slice(&first);
        while bytes.len() < STEP
            && let Some(piece) = stream.try_next().await?
        {
            bytes.extend_from_slice(&piece);
        }
        Ok(Some((bytes.freeze(), stream)))
    };
    stream::try_unfold(stream, gather).boxed()
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
    let (mut stream, mut hashing) = (gathered(paced(reading.stream, &context.pace)), Hashing::begun(stat, context));
    while let Some(piece) = stream.try_next().await? {
        let same = piece.clone();
        let write = computed(move || draft.append(&same).map(|()| draft));
        let (written, hashed) = tokio::try_join!(write, hashing.fed(piece))?;
        (draft, hashing) = (written.map_err(failed)?, hashed);
    }
    computed(move || draft.finish(None, Existing::Replace)).await?.map_err(failed)?;
    let now = context.source.stat(&stat.key).await?.ok_or_else(gone)?;
    if now.etag != stat.etag {
        return Err(Failure::temporary("changed while it was read").hint("run the same command again"));
    }
    Ok((file, hashing.finished()))
}
