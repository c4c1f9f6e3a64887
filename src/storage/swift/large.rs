//! Large objects: segments in a container of their own, and a manifest that names them (SLO).

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::super::digest;
use super::super::error::{Kind, StorageError};
use super::super::wire;
use super::super::{About, Part, PartRules, Parts, Storage as _, Upload, Written};
use super::Swift;
use super::client::{Ask, META, ask};

/// Every folder of segments begins like this, then comes when it was begun.
const OURS: &str = "forebay-";

/// A segment in the manifest that we write.
#[derive(Serialize)]
struct Segment {
    path: String,
    etag: String,
    size_bytes: u64,
}

/// A segment in a manifest that we read.
#[derive(Deserialize)]
struct Named {
    name: String,
}

/// What came of deleting a large object with its segments.
#[derive(Deserialize)]
struct Deleted {
    #[serde(rename = "Response Status")]
    status: String,
    #[serde(rename = "Errors", default)]
    errors: Vec<(String, String)>,
}

impl Swift {
    /// The folder of an upload's segments, in the container for segments.
    fn folder(&self, upload: &Upload) -> Result<String, StorageError> {
        Ok(format!("{}/{}/", self.client.name(&upload.key)?, upload.id))
    }

    fn segment(&self, method: Method, name: &str) -> Ask {
        ask(method, &format!("{}/{name}", self.client.segments()), &[])
    }

    /// Deletes a large object and its segments.
    pub(super) async fn delete_large(&self, key: &str) -> Result<(), StorageError> {
        let mut ask = self.client.object(Method::DELETE, key)?;
        ask.query = wire::query_of(&[("multipart-manifest", "delete")]);
        ask.request = ask.request.header("accept", "application/json");
        let response = self.client.send(ask).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(());
        }
        if !response.status().is_success() {
            return Err(self.client.refusal(&format!("delete `{key}`"), response).await);
        }
        let text = self.client.wire.text(response, 1 << 20).await?;
        let deleted: Deleted = serde_json::from_str(text.trim()).map_err(|_| self.client.nonsense("delete"))?;
        if deleted.status.starts_with("200") && deleted.errors.is_empty() {
            return Ok(());
        }
        let (what, why) = deleted.errors.first().cloned().unwrap_or_else(|| (key.into(), deleted.status));
        Err(StorageError::new(Kind::Other, format!("could not delete `{what}` of {}: {why}", self.address(key))))
    }

    async fn make_segments_container(&self) -> Result<(), StorageError> {
        let response = self.client.send(ask(Method::PUT, &self.client.segments(), &[])).await?;
        if response.status().is_success() {
            return Ok(());
        }
        Err(self.client.refusal("make the container for segments", response).await)
    }

    /// Whether the object at `key` is made of the segments in `folder`.
    async fn is_made_of(&self, key: &str, folder: &str) -> Result<bool, StorageError> {
        let mut ask = self.client.object(Method::GET, key)?;
        ask.query = wire::query_of(&[("multipart-manifest", "get")]);
        let response = self.client.send(ask).await?;
        let is_manifest = super::is_static(response.headers());
        match response.status() {
            StatusCode::NOT_FOUND => Ok(false),
            status if status.is_success() && !is_manifest => Ok(false),
            status if status.is_success() => {
                let text = self.client.wire.text(response, 16 << 20).await?;
                let named: Vec<Named> =
                    serde_json::from_str(&text).map_err(|_| self.client.nonsense("read a manifest"))?;
                Ok(named.iter().any(|segment| segment.name.contains(folder)))
            }
            _ => Err(self.client.refusal("read a manifest", response).await),
        }
    }
}

#[async_trait]
impl Parts for Swift {
    fn rules(&self) -> PartRules {
        // Swift's default limit of segments in one manifest.
        PartRules { least: 1, count: 1000 }
    }

    async fn begin(&self, key: &str, about: &About) -> Result<Upload, StorageError> {
        self.client.name(key)?;
        self.make_segments_container().await?;
        let drawn = getrandom::u32().unwrap_or_else(|_| std::process::id());
        let id = format!("{OURS}{}-{drawn:08x}", Timestamp::now().as_second());
        Ok(Upload { key: key.into(), id, about: about.clone(), begun: None })
    }

    async fn part(&self, upload: &Upload, number: u32, bytes: Bytes) -> Result<Part, StorageError> {
        let (count, tag) = (bytes.len() as u64, hex::encode(digest::md5(&bytes).await));
        let mut ask = self.segment(Method::PUT, &format!("{}{number:08}", self.folder(upload)?));
        ask.request = ask.request.header("etag", &tag).bytes(bytes);
        let response = self.client.send(ask).await?;
        if response.status().is_success() {
            return Ok(Part { number, bytes: count, tag });
        }
        Err(self.client.refusal(&format!("write segment {number} of `{}`", upload.key), response).await)
    }

    async fn finish(&self, upload: &Upload, parts: &[Part]) -> Result<Written, StorageError> {
        let (container, folder) = (self.client.segments(), self.folder(upload)?);
        let segment = |part: &Part| Segment {
            path: format!("/{container}/{folder}{:08}", part.number),
            etag: part.tag.clone(),
            size_bytes: part.bytes,
        };
        let manifest: Vec<Segment> = parts.iter().map(segment).collect();
        let manifest = serde_json::to_vec(&manifest).map_err(|_| self.client.nonsense("write a manifest"))?;
        let mut ask = self.client.object(Method::PUT, &upload.key)?;
        ask.query = wire::query_of(&[("multipart-manifest", "put")]);
        ask.request = wire::with_about(ask.request, &upload.about, META).bytes(manifest.into());
        let response = self.client.send(ask).await?;
        let etag = wire::text_of(response.headers(), "etag").map(wire::tag_of);
        match response.status() {
            status if status.is_success() => Ok(Written { etag }),
            StatusCode::NOT_FOUND => Err(self.client.no_container()),
            _ => Err(self.client.refusal(&format!("write the manifest of `{}`", upload.key), response).await),
        }
    }

    async fn abandon(&self, upload: &Upload) -> Result<(), StorageError> {
        let folder = self.folder(upload)?;
        // The answer to the manifest may have been lost: then the segments are the object.
        if self.is_made_of(&upload.key, &folder).await? {
            return Ok(());
        }
        loop {
            let found = self.client.listed(&self.client.segments(), &folder, None).await?;
            if found.is_empty() {
                return Ok(());
            }
            for segment in found {
                let response = self.client.send(self.segment(Method::DELETE, &segment.name)).await?;
                if !response.status().is_success() && response.status() != StatusCode::NOT_FOUND {
                    return Err(self.client.refusal("delete a segment", response).await);
                }
            }
        }
    }

    async fn unfinished(&self, prefix: &str) -> Result<Vec<Upload>, StorageError> {
        let (below, root) = (self.client.below(prefix), self.client.below(""));
        let mut folders: BTreeMap<(String, String), Upload> = BTreeMap::new();
        let mut after: Option<String> = None;
        loop {
            let found = self.client.listed(&self.client.segments(), &below, after.as_deref()).await?;
            let Some(last) = found.last() else { break };
            after = Some(last.name.clone());
            let uploads = found.iter().filter_map(|segment| upload_of(segment.name.strip_prefix(&root)?));
            folders.extend(uploads.map(|upload| ((upload.key.clone(), upload.id.clone()), upload)));
        }
        let mut unfinished = Vec::new();
        for upload in folders.into_values() {
            let folder = self.folder(&upload)?;
            if !self.is_made_of(&upload.key, &folder).await? {
                unfinished.push(upload);
            }
        }
        Ok(unfinished)
    }
}

/// The upload to which a segment of ours belongs.
fn upload_of(segment: &str) -> Option<Upload> {
    let (folder, _) = segment.rsplit_once('/')?;
    let (key, id) = folder.rsplit_once('/')?;
    let seconds = id.strip_prefix(OURS)?.split('-').next()?.parse().ok()?;
    let begun = Timestamp::from_second(seconds).ok();
    Some(Upload { key: key.into(), id: id.into(), about: About::default(), begun })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_tell_their_upload() {
        let upload = upload_of("a/b.mp4/forebay-60-0badcafe/00000003").unwrap();
        assert_eq!((upload.key.as_str(), upload.id.as_str()), ("a/b.mp4", "forebay-60-0badcafe"));
        assert_eq!(upload.begun.map(Timestamp::as_second), Some(60));
        assert!(upload_of("a/b.mp4/somebody-else/1").is_none() && upload_of("x").is_none());
    }
}
