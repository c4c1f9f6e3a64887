//! Places that keep objects, all held to one promise.
//!
//! A [`Storage`] is one kind of place and knows how to ask it once.
//! A [`store::Store`] is what the rest of the program holds: a storage with
//! patience, that splits large objects, goes on where a read broke off, and
//! waits while the place is down.

use std::collections::BTreeMap;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use jiff::Timestamp;

use self::error::{Kind, StorageError};

pub mod body;
pub mod error;
pub mod folder;
pub mod open;
pub mod options;
pub mod outage;
pub mod patience;
pub mod store;

mod address;
#[cfg(feature = "stores")]
mod az;
#[cfg(feature = "stores")]
mod digest;
mod mount;
#[cfg(feature = "stores")]
mod s3;
#[cfg(feature = "sftp")]
mod sftp;
#[cfg(feature = "stores")]
mod swift;
#[cfg(any(feature = "stores", feature = "sftp"))]
mod walk;
#[cfg(feature = "stores")]
mod webdav;
#[cfg(feature = "stores")]
mod wire;

/// Every byte of an object, however many there are.
pub const WHOLE: Range<u64> = 0..u64::MAX;

/// What is kept with an object besides its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Its `Content-Type`.
    pub content_type: Option<String>,
    /// Its `Cache-Control`.
    pub cache_control: Option<String>,
    /// Its `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// Its `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// Its `Content-Language`.
    pub content_language: Option<String>,
    /// When what it holds was last changed, whenever it was stored.
    pub modified: Option<Timestamp>,
    /// The user's own words on it; names are in lower case.
    pub metadata: BTreeMap<String, String>,
}

/// What a storage says of one object. A listing may leave out all but the key and the bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Its key.
    pub key: String,
    /// Its bytes.
    pub bytes: u64,
    /// Another tag is another version of the object.
    pub etag: Option<String>,
    /// MD5 of its bytes in hex, where the storage knows it.
    pub md5: Option<String>,
    /// When it was stored.
    pub stored: Option<Timestamp>,
    /// What is kept with it. Listings leave it out.
    pub about: About,
}

/// What a write came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The tag of the version that was stored, where the storage gives one.
    pub etag: Option<String>,
}

/// On what condition an object is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When<'a> {
    /// On none.
    Always,
    /// Nothing has that key.
    Absent,
    /// The key still has the version with this tag.
    Same(&'a str),
}

/// Bytes as they come.
pub type ByteStream = BoxStream<'static, Result<Bytes, StorageError>>;

/// An object that is being read.
pub struct Reading {
    /// What is known of it; `bytes` are those of the whole object.
    pub stat: Stat,
    /// The bytes that were asked for.
    pub stream: ByteStream,
}

/// Some of the objects below a prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The objects.
    pub found: Vec<Stat>,
    /// Where the next page begins; `None` is the end.
    pub next: Option<String>,
}

/// What a storage can do beyond the promise, as far as its protocol tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an ability of its own")]
pub struct Abilities {
    /// It keeps content types and cache headers.
    pub serving: bool,
    /// It keeps the user's own metadata.
    pub metadata: bool,
    /// Its keys are paths of files: there are folders, and no object whose key ends in a slash.
    pub paths: bool,
    /// Its lists give no bytes to objects that are made of others when they are read.
    pub dynamic: bool,
    /// Its protocol has these; whether the server obeys has to be tried.
    pub conditions: Conditions,
}

/// Conditions on which an object can be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// [`When::Absent`].
    pub if_absent: bool,
    /// [`When::Same`].
    pub if_same: bool,
}

/// Keeps objects by key. Keys are relative, with `/` between their parts, and
/// never empty. Each call asks once; trying again is the caller's.
#[async_trait]
pub trait Storage: Send + Sync {
    /// The address of a key, for people. Holds no secret.
    fn address(&self, key: &str) -> String;

    /// The address of the whole place with all that tells it from others: its server, and its account there. Ends in
    /// a slash, so that a place in another one begins as that does. Holds no secret.
    fn identity(&self) -> String {
        self.address("")
    }

    /// Whether there is something to list from. A folder may be missing, and comes with the first write; of a
    /// bucket that is missing each listing tells.
    async fn is_there(&self) -> Result<bool, StorageError> {
        Ok(true)
    }

    /// What is known of the object, `None` when there is none.
    async fn stat(&self, key: &str) -> Result<Option<Stat>, StorageError>;

    /// Reads the bytes of `range` that the object has, if it still is the version with the tag
    /// `same`; `None` when there is no object.
    async fn read(&self, key: &str, range: Range<u64>, same: Option<&str>) -> Result<Option<Reading>, StorageError>;

    /// Stores an object. When this returns the object is durable and whole;
    /// until then whoever reads the key finds what was there before.
    async fn write(&self, key: &str, bytes: Bytes, about: &About, when: When<'_>) -> Result<Written, StorageError>;

    /// How objects that are too large for memory are stored.
    fn large(&self) -> Large<'_>;

    /// Removes an object. One that is not there is removed already.
    async fn delete(&self, key: &str) -> Result<(), StorageError>;

    /// The objects whose key begins with `prefix` and a `/`, or all for an empty one, in no
    /// order, from where the page before ended. Leftovers of interrupted writes are among them.
    async fn page(&self, prefix: &str, after: Option<&str>) -> Result<Page, StorageError>;

    /// What it can do beyond this.
    fn abilities(&self) -> Abilities;
}

/// Ways to store a large object.
#[derive(Clone, Copy)]
pub enum Large<'a> {
    /// In parts, several at once.
    Parts(&'a dyn Parts),
    /// In one stream.
    Stream(&'a dyn Stream),
}

/// A large object on its way. Nobody finds it before [`Parts::finish`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The key it will have.
    pub key: String,
    /// How the storage calls the upload.
    pub id: String,
    /// What is kept with the object.
    pub about: About,
    /// When it was begun, where a listing tells.
    pub begun: Option<Timestamp>,
}

/// A stored part of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its place, from 0.
    pub number: u32,
    /// Its bytes.
    pub bytes: u64,
    /// How the storage calls it.
    pub tag: String,
}

/// The bounds of parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartRules {
    /// Fewest bytes of any but the last part.
    pub least: u64,
    /// Most parts of one object.
    pub count: u64,
}

/// Stores large objects in parts.
#[async_trait]
pub trait Parts: Send + Sync {
    /// The bounds of parts.
    fn rules(&self) -> PartRules;

    /// Begins a large object.
    async fn begin(&self, key: &str, about: &About) -> Result<Upload, StorageError>;

    /// Stores one part. The same part may be stored again, and then takes the place of the first.
    async fn part(&self, upload: &Upload, number: u32, bytes: Bytes) -> Result<Part, StorageError>;

    /// Makes the parts, which are in order, one object.
    async fn finish(&self, upload: &Upload, parts: &[Part]) -> Result<Written, StorageError>;

    /// Removes what is there of an upload that will not be finished. One that is finished stays.
    async fn abandon(&self, upload: &Upload) -> Result<(), StorageError>;

    /// Uploads below `prefix` that somebody began and nobody has finished or abandoned.
    async fn unfinished(&self, prefix: &str) -> Result<Vec<Upload>, StorageError>;
}

/// Stores large objects in one stream.
#[async_trait]
pub trait Stream: Send + Sync {
    /// As [`Storage::write`]; fails if the stream does or is not `bytes` long, and then leaves
    /// what was there before.
    async fn pour(&self, key: &str, stream: ByteStream, bytes: u64, about: &About) -> Result<Written, StorageError>;
}

/// How an object of a package is to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serving {
    /// Its `Content-Type`.
    pub content_type: &'static str,
    /// Its `Cache-Control`.
    pub cache_control: &'static str,
}

impl From<Serving> for About {
    fn from(serving: Serving) -> Self {
        let content_type = Some(serving.content_type.into());
        Self { content_type, cache_control: Some(serving.cache_control.into()), ..Self::default() }
    }
}

/// Whether all parts of a key are names: this keeps every key below its root.
fn is_key(key: &str) -> bool {
    key.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.contains('\0'))
}

/// Fails if the object is not the version with the tag `same`.
fn same_version(stat: &Stat, same: Option<&str>, address: &str) -> Result<(), StorageError> {
    match same {
        Some(same) if stat.etag.as_deref() != Some(same) => Err(changed(address)),
        _ => Ok(()),
    }
}

fn changed(address: &str) -> StorageError {
    StorageError::new(Kind::Changed, format!("`{address}` changed while it was read"))
}

/// Fails if a source did not have the length it declared.
fn right_length(address: &str, came: u64, declared: u64) -> Result<(), StorageError> {
    if came == declared {
        return Ok(());
    }
    let what = format!("{came} bytes came of the {declared} that are to be stored as `{address}`");
    Err(StorageError::new(Kind::Source, what).hint("the source changed or broke off; run the same command again"))
}
