//! `OpenStack` Swift in its own tongue: tokens of Keystone or of Swift itself, and
//! large objects as manifests of segments in a container of their own.

mod client;
mod large;
mod login;

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde::Deserialize;

use self::client::{Client, META};
use super::digest;
use super::error::{Kind, StorageError};
use super::open::WireSettings;
use super::options::Fields;
use super::wire;
use super::{Abilities, About, Large, Page, Reading, Stat, Storage, When, Written};
use crate::model::failure::Failure;

/// Objects in one page of a listing.
const PAGE: &str = "1000";

/// A container, or what lies below a prefix in it.
pub(super) struct Swift {
    client: Client,
}

impl Swift {
    /// The container that `fields` describe, below `prefix`. Asks nobody anything.
    pub(super) fn new(fields: &Fields, prefix: &str, wire: &WireSettings) -> Result<Self, Failure> {
        Ok(Self { client: Client::new(fields, prefix, wire)? })
    }

    /// What the headers of an answer say. The tag of a large object is no digest of its bytes.
    fn stat_of(&self, key: &str, status: StatusCode, headers: &HeaderMap) -> Result<Stat, StorageError> {
        let stat = self.client.wire.stat_of(key, status, headers, META)?;
        let md5 = stat.md5.clone().filter(|_| !is_large(headers));
        Ok(Stat { md5, ..stat })
    }
}

/// Whether an object is made of others that its manifest names, or that have a prefix in common.
fn is_large(headers: &HeaderMap) -> bool {
    is_static(headers) || headers.contains_key("x-object-manifest")
}

/// Whether an object is made of others that its manifest names, and that go with it.
fn is_static(headers: &HeaderMap) -> bool {
    wire::text_of(headers, "x-static-large-object").is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// An object in a listing.
#[derive(Debug, Deserialize)]
struct Found {
    name: String,
    bytes: u64,
    hash: Option<String>,
    slo_etag: Option<String>,
    last_modified: Option<String>,
}

impl Found {
    fn stat(self, root: &str) -> Option<Stat> {
        let key = self.name.strip_prefix(root).filter(|key| !key.is_empty())?.to_owned();
        let is_large = self.slo_etag.is_some();
        let stored = self.last_modified.and_then(|time| time_of(&time));
        let etag = self.slo_etag.as_deref().map(wire::tag_of).or_else(|| self.hash.clone());
        Some(Stat { key, bytes: self.bytes, etag, md5: self.hash.filter(|_| !is_large), stored, ..Stat::default() })
    }
}

/// Where the next page begins. A server may give fewer than it was asked for: the end is where nothing comes.
fn next_of(found: &[Found]) -> Option<String> {
    found.last().map(|last| last.name.clone())
}

/// The time of a listing, which is in UTC and does not say so.
fn time_of(text: &str) -> Option<Timestamp> {
    let time: DateTime = text.trim_end_matches('Z').parse().ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[async_trait]
impl Storage for Swift {
    fn address(&self, key: &str) -> String {
        self.client.address(key)
    }

    fn identity(&self) -> String {
        self.client.identity()
    }

    async fn stat(&self, key: &str) -> Result<Option<Stat>, StorageError> {
        let response = self.client.send(self.client.object(Method::HEAD, key)?).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => self.stat_of(key, status, response.headers()).map(Some),
            _ => Err(self.client.refusal(&format!("look up `{key}`"), response).await),
        }
    }

    async fn read(&self, key: &str, range: Range<u64>, same: Option<&str>) -> Result<Option<Reading>, StorageError> {
        let tag = same.map(|same| format!("\"{same}\""));
        let mut ask = self.client.object(Method::GET, key)?;
        ask.request = ask.request.range(&range).maybe("if-match", tag.as_deref());
        let response = self.client.send(ask).await?;
        let status = response.status();
        match status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => {
                let stat = self.stat_of(key, status, response.headers())?;
                super::same_version(&stat, same, &self.address(key))?;
                Ok(Some(Reading { stat, stream: self.client.wire.stream(response) }))
            }
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::PRECONDITION_FAILED => Err(super::changed(&self.address(key))),
            // There is nothing to read: the object is empty, or shorter.
            StatusCode::RANGE_NOT_SATISFIABLE => {
                let stat = self.stat(key).await?;
                let stream = Box::pin(futures_util::stream::empty());
                Ok(stat.map(|stat| Reading { stat, stream }))
            }
            _ => Err(self.client.refusal(&format!("read `{key}`"), response).await),
        }
    }

    async fn write(&self, key: &str, bytes: Bytes, about: &About, when: When<'_>) -> Result<Written, StorageError> {
        let digest = hex::encode(digest::md5(&bytes).await);
        let mut ask = self.client.object(Method::PUT, key)?;
        ask.request = wire::with_about(ask.request, about, META).header("etag", &digest).bytes(bytes);
        ask.request = match when {
            When::Always => ask.request,
            When::Absent => ask.request.header("if-none-match", "*"),
            When::Same(_) => {
                return Err(StorageError::new(Kind::Unsupported, "Swift cannot replace one version alone"));
            }
        };
        let response = self.client.send(ask).await?;
        let etag = wire::text_of(response.headers(), "etag").map(wire::tag_of);
        match response.status() {
            status if status.is_success() => Ok(Written { etag }),
            StatusCode::NOT_FOUND => Err(self.client.no_container()),
            _ => Err(self.client.refusal(&format!("write `{key}`"), response).await),
        }
    }

    fn large(&self) -> Large<'_> {
        Large::Parts(self)
    }

    async fn delete(&self, key: &str) -> Result<(), StorageError> {
        // The segments of a large object go with it only if that is asked for, and a small one refuses it.
        let looked_at = self.client.send(self.client.object(Method::HEAD, key)?).await?;
        let status = looked_at.status();
        if status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        if !status.is_success() {
            return Err(self.client.refusal(&format!("look up `{key}`"), looked_at).await);
        }
        if is_static(looked_at.headers()) {
            return self.delete_large(key).await;
        }
        let response = self.client.send(self.client.object(Method::DELETE, key)?).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(()),
            status if status.is_success() => Ok(()),
            _ => Err(self.client.refusal(&format!("delete `{key}`"), response).await),
        }
    }

    async fn page(&self, prefix: &str, after: Option<&str>) -> Result<Page, StorageError> {
        let (below, root) = (self.client.below(prefix), self.client.below(""));
        let found = self.client.listed(&self.client.container, &below, after).await?;
        let next = next_of(&found);
        if next.is_some() && next.as_deref() == after {
            let what = format!("could not list {}: the list does not get on", self.address(prefix));
            return Err(StorageError::new(Kind::Other, what).hint("check the URL of the storage"));
        }
        Ok(Page { found: found.into_iter().filter_map(|found| found.stat(&root)).collect(), next })
    }

    fn abilities(&self) -> Abilities {
        // Swift has `If-None-Match: *`, but looks before the bytes come: of eight who write at the
        // same time, all eight succeed.
        Abilities { serving: true, metadata: true, dynamic: true, ..Abilities::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_are_read() {
        let json = r#"[{"bytes":3,"hash":"d41d8cd98f00b204e9800998ecf8427e","name":"p/a b","content_type":"x",
            "last_modified":"2026-01-02T03:04:05.678900"},
            {"bytes":9,"hash":"0","slo_etag":"\"ab\"","name":"p/large","last_modified":"2026-01-02T03:04:05.000000"}]"#;
        let found: Vec<Found> = serde_json::from_str(json).unwrap();
        assert_eq!(next_of(&found).as_deref(), Some("p/large"), "a short page is not the last one");
        assert_eq!(next_of(&[]), None);
        let stats: Vec<Stat> = found.into_iter().filter_map(|found| found.stat("p/")).collect();
        assert_eq!((stats[0].key.as_str(), stats[0].md5.is_some(), stats[0].stored.is_some()), ("a b", true, true));
        assert_eq!((stats[1].etag.as_deref(), stats[1].md5.as_deref()), (Some("ab"), None));
    }
}
