//! What is to be stored, when it is too large for memory: it can be opened again for another try.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::StreamExt as _;
use tokio::io::AsyncReadExt as _;

use super::error::{Kind, StorageError};
use super::store::Store;
use super::{ByteStream, Stat, WHOLE};

/// Bytes that are read from a file at once.
const STEP: usize = 256 * 1024;

/// A source of bytes whose length is known.
#[async_trait]
pub trait Body: Send + Sync {
    /// How many bytes there are.
    fn bytes(&self) -> u64;

    /// All bytes from the first on.
    async fn open(&self) -> Result<ByteStream, StorageError>;
}

/// A file of this machine.
#[derive(Clone, Debug)]
pub struct FileBody {
    path: PathBuf,
    bytes: u64,
}

impl FileBody {
    /// The file at `path` as it is now.
    pub async fn of(path: &Path) -> Result<Self, StorageError> {
        let metadata = tokio::fs::metadata(path).await.map_err(|error| unreadable(path, &error))?;
        Ok(Self { path: path.into(), bytes: metadata.len() })
    }
}

#[async_trait]
impl Body for FileBody {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    async fn open(&self) -> Result<ByteStream, StorageError> {
        let file = tokio::fs::File::open(&self.path).await.map_err(|error| unreadable(&self.path, &error))?;
        let path = self.path.clone();
        let stream = futures_util::stream::try_unfold(file, move |mut file| {
            let path = path.clone();
            async move {
                let mut buffer = Vec::with_capacity(STEP);
                let read = file.read_buf(&mut buffer).await.map_err(|error| unreadable(&path, &error))?;
                Ok((read > 0).then(|| (Bytes::from(buffer), file)))
            }
        });
        Ok(stream.boxed())
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> StorageError {
    StorageError::new(Kind::Source, format!("could not read `{}`: {error}", path.display()))
}

/// One version of an object of a store.
pub struct ObjectBody {
    store: Store,
    stat: Stat,
}

impl ObjectBody {
    /// The object that `stat` was told of.
    pub fn new(store: Store, stat: Stat) -> Self {
        Self { store, stat }
    }
}

#[async_trait]
impl Body for ObjectBody {
    fn bytes(&self) -> u64 {
        self.stat.bytes
    }

    async fn open(&self) -> Result<ByteStream, StorageError> {
        let as_source = |error: StorageError| StorageError { kind: Kind::Source, ..error };
        let same = self.stat.etag.as_deref();
        let reading = self.store.read(&self.stat.key, WHOLE, same).await.map_err(as_source)?;
        let reading = reading.ok_or_else(|| {
            let address = self.store.address(&self.stat.key);
            StorageError::new(Kind::Source, format!("`{address}` is not there any more"))
        })?;
        Ok(reading.stream.map(move |piece| piece.map_err(as_source)).boxed())
    }
}
