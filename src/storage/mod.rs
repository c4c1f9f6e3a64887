//! Places that keep objects, all held to one promise.

use std::sync::Arc;

use async_trait::async_trait;

use crate::model::failure::Failure;
use crate::scratch::file::Privacy;

pub mod folder;

/// What a storage says of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its key.
    pub key: String,
    /// Its bytes.
    pub bytes: u64,
}

/// How an object is to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serving {
    /// Its `Content-Type`.
    pub content_type: &'static str,
    /// Its `Cache-Control`.
    pub cache_control: &'static str,
}

/// What a storage can do beyond the promise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// It keeps content type and cache headers.
    pub serving: bool,
}

/// Why a storage did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The key would leave the storage, or cannot be a name in it.
    #[error("`{key}` cannot be a name at `{place}`")]
    BadKey {
        /// The storage.
        place: String,
        /// The key.
        key: String,
    },
    /// The operation failed.
    #[error("could not {operation} `{key}` at `{place}`")]
    Failed {
        /// The storage.
        place: String,
        /// What was tried.
        operation: &'static str,
        /// The key.
        key: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// A place that keeps objects by key. Keys are relative, with `/` between
/// their parts, and never empty.
#[async_trait]
pub trait Storage: Send + Sync {
    /// The address of a key, for people.
    fn address(&self, key: &str) -> String;

    /// What is known of the object, `None` when there is none.
    async fn stat(&self, key: &str) -> Result<Option<Stat>, StorageError>;

    /// The object's bytes, `None` when there is none. For small objects: it fails above `limit` bytes.
    async fn read(&self, key: &str, limit: u64) -> Result<Option<Vec<u8>>, StorageError>;

    /// Stores an object. When this returns the object is durable and whole;
    /// until then whoever reads the key finds what was there before.
    async fn write(&self, key: &str, bytes: Vec<u8>, serving: Serving) -> Result<(), StorageError>;

    /// Removes an object. One that is not there is removed already.
    async fn delete(&self, key: &str) -> Result<(), StorageError>;

    /// All objects whose key begins with `prefix` and a `/`, in no order.
    /// Leftovers of interrupted writes are among them.
    async fn list(&self, prefix: &str) -> Result<Vec<Stat>, StorageError>;

    /// What it can do beyond this.
    fn abilities(&self) -> Abilities;
}

/// Opens the storage that `destination` names. `privacy` is for what is written there.
pub fn open(destination: &str, privacy: Privacy) -> Result<Arc<dyn Storage>, Failure> {
    if let Some((scheme, _)) = destination.split_once("://") {
        return Err(Failure::permanent(format!("`{scheme}://` is not a destination of this version"))
            .hint("give a folder; a mounted bucket or share is one too"));
    }
    if destination.is_empty() {
        return Err(Failure::permanent("the destination is empty").hint("give a folder with --to"));
    }
    Ok(Arc::new(folder::Folder::new(destination.into(), privacy)))
}
