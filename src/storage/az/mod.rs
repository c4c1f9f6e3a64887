//! Azure's Blob Storage. Large objects are blocks that are committed together.

mod answer;
mod client;
mod signing;

use std::ops::Range;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Method, Response, StatusCode};

use self::client::Client;
use super::digest;
use super::error::{Kind, StorageError};
use super::open::WireSettings;
use super::options::Fields;
use super::wire::{self, Request};
use super::{
    Abilities, About, Conditions, Large, Page, Part, PartRules, Parts, Reading, Stat, Storage, Upload, When, Written,
};
use crate::model::failure::Failure;

/// Before the user's own names.
const META: &str = "x-ms-meta-";

/// A container, or what lies below a prefix in it.
pub(super) struct Az {
    client: Client,
}

impl Az {
    /// The container that `fields` describe, below `prefix`. Asks nobody anything.
    pub(super) fn new(fields: &Fields, prefix: &str, wire: &WireSettings) -> Result<Self, Failure> {
        Ok(Self { client: Client::new(fields, prefix, wire)? })
    }

    /// What the headers of an answer say of an object.
    fn stat_of(&self, key: &str, status: StatusCode, headers: &HeaderMap) -> Result<Stat, StorageError> {
        let mut stat = self.client.wire.stat_of(key, status, headers, META)?;
        let metadata = std::mem::take(&mut stat.about.metadata);
        stat.about.metadata =
            metadata.into_iter().map(|(name, value)| (plain(&name), wire::from_ascii(&value))).collect();
        // Of a range, Content-MD5 would be that of the range.
        let whole = wire::text_of(headers, "x-ms-blob-content-md5");
        let whole = whole.or_else(|| wire::text_of(headers, "content-md5").filter(|_| status == StatusCode::OK));
        stat.md5 = whole.and_then(|digest| STANDARD.decode(digest).ok()).map(hex::encode);
        Ok(stat)
    }

    /// What an answer to a write says of what arrived.
    async fn written(&self, what: &str, response: Response, sent: Option<&[u8]>) -> Result<Written, StorageError> {
        if !response.status().is_success() {
            return Err(self.client.refusal(what, response).await);
        }
        let headers = response.headers();
        let arrived = wire::text_of(headers, "content-md5");
        if sent.zip(arrived).is_some_and(|(sent, arrived)| STANDARD.encode(sent) != arrived) {
            let what = format!("could not {what} at `{}`: other bytes arrived than were sent", self.address(""));
            return Err(StorageError::new(Kind::Damaged, what));
        }
        Ok(Written { etag: wire::text_of(headers, "etag").map(wire::tag_of) })
    }
}

/// Puts what is kept with an object in the headers of the request that stores it.
fn with_about(request: Request, about: &About) -> Request {
    let about = wire::plain(about);
    let content_type = about.content_type.as_deref().unwrap_or("application/octet-stream");
    let mut request = request
        .header("x-ms-blob-content-type", content_type)
        .maybe("x-ms-blob-cache-control", about.cache_control.as_deref())
        .maybe("x-ms-blob-content-encoding", about.content_encoding.as_deref())
        .maybe("x-ms-blob-content-disposition", about.content_disposition.as_deref())
        .maybe("x-ms-blob-content-language", about.content_language.as_deref());
    for (name, value) in &about.metadata {
        request = request.header(&format!("{META}{}", identifier(name)), &wire::to_ascii(value));
    }
    request.maybe(&format!("{META}mtime"), wire::modified(&about).as_deref())
}

/// A name of metadata as Azure takes it: an identifier, in which any other letter is `__` and its two hex digits.
fn identifier(name: &str) -> String {
    let letter = |(at, byte): (usize, u8)| match byte {
        b'a'..=b'z' | b'_' => char::from(byte).to_string(),
        b'0'..=b'9' if at > 0 => char::from(byte).to_string(),
        _ => format!("__{byte:02x}"),
    };
    name.bytes().enumerate().map(letter).collect()
}

/// The opposite of [`identifier`]; a name that somebody else gave stays as it is.
fn plain(name: &str) -> String {
    let mut pieces = name.split("__");
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let digits = piece.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match digits {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend_from_slice(piece.get(2..).unwrap_or_default().as_bytes());
            }
            None => bytes.extend([b"__", piece.as_bytes()].concat()),
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| name.into())
}

fn on(request: Request, when: When<'_>) -> Request {
    match when {
        When::Always => request,
        When::Absent => request.header("if-none-match", "*"),
        When::Same(tag) => request.header("if-match", &format!("\"{tag}\"")),
    }
}

/// The name of a block, as long as that of every other block of the object.
fn block(upload: &Upload, number: u32) -> String {
    STANDARD.encode(format!("{}-{number:05}", upload.id))
}

#[async_trait]
impl Storage for Az {
    fn address(&self, key: &str) -> String {
        self.client.address(key)
    }

    fn identity(&self) -> String {
        self.client.identity()
    }

    async fn stat(&self, key: &str) -> Result<Option<Stat>, StorageError> {
        let response = self.client.send(self.client.request(Method::HEAD, key, &[])?).await?;
        match response.status() {
            StatusCode::OK => self.stat_of(key, response.status(), response.headers()).map(Some),
            StatusCode::NOT_FOUND if client::code_of(response.headers()) != Some("ContainerNotFound") => Ok(None),
            // An answer to HEAD has no text that says why; one to GET has.
            StatusCode::FORBIDDEN => Ok(self.read(key, 0..1, None).await?.map(|reading| reading.stat)),
            _ => Err(self.client.refusal(&format!("look up `{key}`"), response).await),
        }
    }

    async fn read(&self, key: &str, range: Range<u64>, same: Option<&str>) -> Result<Option<Reading>, StorageError> {
        let tag = same.map(|same| format!("\"{same}\""));
        let request = self.client.request(Method::GET, key, &[])?.range(&range).maybe("if-match", tag.as_deref());
        let response = self.client.send(request).await?;
        let status = response.status();
        match status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => {
                let stat = self.stat_of(key, status, response.headers())?;
                super::same_version(&stat, same, &self.address(key))?;
                if status == StatusCode::OK && range.start > 0 {
                    let what = format!("`{}` cannot be read from the middle", self.address(key));
                    return Err(StorageError::new(Kind::Unsupported, what));
                }
                Ok(Some(Reading { stat, stream: self.client.wire.stream(response) }))
            }
            StatusCode::PRECONDITION_FAILED => Err(super::changed(&self.address(key))),
            // There is nothing to read: the object is empty, or shorter.
            StatusCode::RANGE_NOT_SATISFIABLE => {
                let stream = Box::pin(futures_util::stream::empty());
                Ok(self.stat(key).await?.map(|stat| Reading { stat, stream }))
            }
            StatusCode::NOT_FOUND if client::code_of(response.headers()) != Some("ContainerNotFound") => Ok(None),
            _ => Err(self.client.refusal(&format!("read `{key}`"), response).await),
        }
    }

    async fn write(&self, key: &str, bytes: Bytes, about: &About, when: When<'_>) -> Result<Written, StorageError> {
        let digest = digest::md5(&bytes).await;
        let request = self.client.request(Method::PUT, key, &[])?.header("x-ms-blob-type", "BlockBlob");
        let request = on(with_about(request, about), when);
        let request = request.header("content-md5", &STANDARD.encode(digest)).bytes(bytes);
        let response = self.client.send(request).await?;
        self.written(&format!("write `{key}`"), response, Some(&digest)).await
    }

    fn large(&self) -> Large<'_> {
        Large::Parts(self)
    }

    async fn delete(&self, key: &str) -> Result<(), StorageError> {
        let response = self.client.send(self.client.request(Method::DELETE, key, &[])?).await?;
        match response.status() {
            status if status.is_success() => Ok(()),
            StatusCode::NOT_FOUND if client::code_of(response.headers()) != Some("ContainerNotFound") => Ok(()),
            _ => Err(self.client.refusal(&format!("delete `{key}`"), response).await),
        }
    }

    async fn page(&self, prefix: &str, after: Option<&str>) -> Result<Page, StorageError> {
        let text = self.client.list(&self.client.below(prefix), after).await?;
        let page = answer::page(text.trim_start_matches('\u{feff}'), &self.client.below(""));
        page.ok_or_else(|| self.client.nonsense(&format!("list `{prefix}`")))
    }

    fn abilities(&self) -> Abilities {
        let conditions = Conditions { if_absent: true, if_same: true };
        Abilities { serving: true, metadata: true, conditions, ..Abilities::default() }
    }
}

#[async_trait]
impl Parts for Az {
    fn rules(&self) -> PartRules {
        PartRules { least: 1, count: 50_000 }
    }

    /// Blocks need no beginning.
    async fn begin(&self, key: &str, about: &About) -> Result<Upload, StorageError> {
        self.client.request(Method::PUT, key, &[])?;
        let drawn = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
        Ok(Upload { key: key.into(), id: format!("{drawn:016x}"), about: about.clone(), begun: None })
    }

    async fn part(&self, upload: &Upload, number: u32, bytes: Bytes) -> Result<Part, StorageError> {
        let (count, digest, name) = (bytes.len() as u64, digest::md5(&bytes).await, block(upload, number));
        let query = [("comp", "block"), ("blockid", name.as_str())];
        let request = self.client.request(Method::PUT, &upload.key, &query)?;
        let request = request.header("content-md5", &STANDARD.encode(digest)).bytes(bytes);
        let response = self.client.send(request).await?;
        self.written(&format!("write part {} of `{}`", number + 1, upload.key), response, Some(&digest)).await?;
        Ok(Part { number, bytes: count, tag: name })
    }

    async fn finish(&self, upload: &Upload, parts: &[Part]) -> Result<Written, StorageError> {
        let request = self.client.request(Method::PUT, &upload.key, &[("comp", "blocklist")])?;
        let names = parts.iter().map(|part| format!("<Uncommitted>{}</Uncommitted>", part.tag));
        let list =
            format!("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>{}</BlockList>", names.collect::<String>());
        let request = with_about(request, &upload.about).header("content-type", "application/xml").bytes(list.into());
        let response = self.client.send(request).await?;
        self.written(&format!("finish `{}`", upload.key), response, None).await
    }

    /// Blocks that nobody commits are gone after a week; there is no other way to be rid of them
    /// that would not show an empty object for a moment.
    async fn abandon(&self, _upload: &Upload) -> Result<(), StorageError> {
        Ok(())
    }

    async fn unfinished(&self, _prefix: &str) -> Result<Vec<Upload>, StorageError> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_metadata_become_identifiers_and_come_back() {
        assert_eq!(identifier("one-two"), "one__2dtwo");
        for name in ["title", "one-two", "a_b", "7th", "x.y!z"] {
            let sent = identifier(name);
            assert!(sent.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{sent}");
            assert!(!sent.starts_with(|letter: char| letter.is_ascii_digit()), "{sent}");
            assert_eq!(plain(&sent), name);
        }
        assert_eq!(plain("some__words"), "some__words");
    }

    #[test]
    fn blocks_of_one_object_have_names_of_one_length() {
        let upload = Upload { key: "a".into(), id: "0123456789abcdef".into(), about: About::default(), begun: None };
        assert_eq!(block(&upload, 0).len(), block(&upload, 49_999).len());
    }
}
