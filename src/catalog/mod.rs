//! The record of a migration: one row an object, in `SQLite` or `PostgreSQL`.

pub mod sql;

use std::collections::BTreeMap;

/// Everything that is recorded of one object, once it is at the destination and checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// Its key, at the source and at the destination.
    pub key: String,
    /// The version of the source: its tag, or when it was stored.
    pub version: String,
    /// Its bytes.
    pub bytes: u64,
    /// The `Content-Type` it is served with.
    pub content_type: Option<String>,
    /// What its bytes are, whatever it is served as.
    pub media_type: Option<String>,
    /// When what it holds was last changed (RFC 3339).
    pub modified: Option<String>,
    /// MD5 of its bytes, in hex, if it was taken.
    pub md5: Option<String>,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
    /// The user's own words on it, and headers that are kept with it.
    pub metadata: BTreeMap<String, String>,
    /// What its bytes tell.
    pub facts: Facts,
}

/// What the bytes of an object tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Columns of a picture.
    pub width: Option<u32>,
    /// Rows of a picture.
    pub height: Option<u32>,
    /// Seconds of sound or film.
    pub seconds: Option<f64>,
    /// When a picture was taken, as the camera's clock had it (RFC 3339 without a zone).
    pub taken: Option<String>,
    /// The camera.
    pub camera: Option<String>,
    /// Degrees north.
    pub latitude: Option<f64>,
    /// Degrees east.
    pub longitude: Option<f64>,
    /// Everything else by name: Exif tags, codecs.
    pub more: BTreeMap<String, String>,
}
