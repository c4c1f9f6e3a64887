//! S3 and what speaks its language, Google's Cloud Storage among them.

mod answer;
mod client;
mod signing;

use std::ops::Range;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};

use self::answer::{Begun, Listing, Uploads};
use self::client::Client;
use super::digest;
use super::error::{Kind, StorageError};
use super::open::WireSettings;
use super::options::Fields;
use super::wire::{self, Payload, Request};
use super::{
    Abilities, About, Conditions, Large, Page, Part, PartRules, Parts, Reading, Stat, Storage, Upload, When, Written,
};
use crate::model::failure::Failure;

/// Bytes of a listing, which has at most 1000 objects, or of an answer that should be short.
const LARGEST_ANSWER: usize = 16 << 20;

/// A bucket, or what lies below a prefix in it.
pub(super) struct S3 {
    client: Client,
}

impl S3 {
    /// The bucket that `fields` describe, below `prefix`. Asks nobody anything.
    pub(super) fn new(fields: &Fields, prefix: &str, wire: &WireSettings) -> Result<Self, Failure> {
        Ok(Self { client: Client::new(fields, prefix, wire)? })
    }

    /// What the headers of an answer say. Google's versions are numbers and not tags.
    fn stat_of(&self, key: &str, status: StatusCode, headers: &HeaderMap) -> Result<Stat, StorageError> {
        let dialect = self.client.dialect;
        let mut stat = self.client.wire.stat_of(key, status, headers, dialect.meta)?;
        for value in stat.about.metadata.values_mut() {
            *value = wire::from_ascii(value);
        }
        if let Some(version) = dialect.version.and_then(|name| wire::text_of(headers, name)) {
            stat.etag = Some(version.into());
        }
        Ok(stat)
    }

    fn same(&self, request: Request, same: &str) -> Request {
        match self.client.dialect.version {
            Some(_) => request.header("x-goog-if-generation-match", same),
            None => request.header("if-match", &format!("\"{same}\"")),
        }
    }

    fn on(&self, request: Request, when: When<'_>) -> Request {
        match (when, self.client.dialect.version) {
            (When::Always, _) => request,
            (When::Absent, None) => request.header("if-none-match", "*"),
            (When::Absent, Some(_)) => request.header("x-goog-if-generation-match", "0"),
            (When::Same(tag), _) => self.same(request, tag),
        }
    }
}

#[async_trait]
impl Storage for S3 {
    fn address(&self, key: &str) -> String {
        self.client.address(key)
    }

    fn identity(&self) -> String {
        self.client.identity()
    }

    async fn stat(&self, key: &str) -> Result<Option<Stat>, StorageError> {
        let request = self.client.request(Method::HEAD, key, &[])?;
        let response = self.client.send(request).await?;
        match response.status() {
            StatusCode::OK => self.stat_of(key, response.status(), response.headers()).map(Some),
            StatusCode::NOT_FOUND => Ok(None),
            // An answer to HEAD has no text that says why; one to GET has.
            StatusCode::BAD_REQUEST
            | StatusCode::FORBIDDEN
            | StatusCode::MOVED_PERMANENTLY
            | StatusCode::TEMPORARY_REDIRECT => {
                let found = self.read(key, 0..1, None).await?;
                Ok(found.map(|reading| reading.stat))
            }
            _ => Err(self.client.refusal(&format!("look up `{key}`"), response).await),
        }
    }

    async fn read(&self, key: &str, range: Range<u64>, same: Option<&str>) -> Result<Option<Reading>, StorageError> {
        let mut request = self.client.request(Method::GET, key, &[])?.range(&range);
        if let Some(same) = same {
            request = self.same(request, same);
        }
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
                let stat = self.stat(key).await?;
                let stream = Box::pin(futures_util::stream::empty());
                Ok(stat.map(|stat| Reading { stat, stream }))
            }
            StatusCode::NOT_FOUND => {
                let error = self.client.refusal(&format!("read `{key}`"), response).await;
                if error.kind == Kind::NoPlace { Err(error) } else { Ok(None) }
            }
            _ => Err(self.client.refusal(&format!("read `{key}`"), response).await),
        }
    }

    async fn write(&self, key: &str, bytes: Bytes, about: &About, when: When<'_>) -> Result<Written, StorageError> {
        let digest = digest::md5(&bytes).await;
        let request = self.client.request(Method::PUT, key, &[])?;
        let request = self.on(self.client.with_about(request, about), when);
        let request = request.header("content-md5", &STANDARD.encode(digest)).bytes(bytes);
        let response = self.client.send(request).await?;
        if !response.status().is_success() {
            return Err(self.client.refusal(&format!("write `{key}`"), response).await);
        }
        let headers = response.headers();
        let tag = wire::text_of(headers, "etag").map(wire::tag_of);
        let plain = wire::text_of(headers, "x-amz-server-side-encryption").is_none_or(|how| how == "AES256");
        if plain && tag.as_deref().is_some_and(|tag| wire::is_md5(tag) && tag != hex::encode(digest)) {
            let what = format!("`{}` arrived with other bytes than were sent", self.address(key));
            return Err(StorageError::new(Kind::Damaged, what));
        }
        let version = self.client.dialect.version.and_then(|name| wire::text_of(headers, name)).map(Into::into);
        Ok(Written { etag: version.or(tag) })
    }

    fn large(&self) -> Large<'_> {
        Large::Parts(self)
    }

    async fn delete(&self, key: &str) -> Result<(), StorageError> {
        let response = self.client.send(self.client.request(Method::DELETE, key, &[])?).await?;
        if response.status().is_success() {
            return Ok(());
        }
        let gone = response.status() == StatusCode::NOT_FOUND;
        let error = self.client.refusal(&format!("delete `{key}`"), response).await;
        if gone && error.kind != Kind::NoPlace { Ok(()) } else { Err(error) }
    }

    async fn page(&self, prefix: &str, after: Option<&str>) -> Result<Page, StorageError> {
        let below = self.client.below(prefix);
        let mut query = vec![("encoding-type", "url"), ("list-type", "2"), ("prefix", below.as_str())];
        query.extend(after.into_iter().flat_map(answer::beginning));
        let what = format!("list `{prefix}`");
        let Listing::ListBucketResult(listed) = self.client.ask(Method::GET, &query, &what).await?;
        let next = listed.next(after).map_err(|_| {
            let what = format!("could not {what} at `{}`: the list does not get on", self.address(""));
            StorageError::new(Kind::Other, what).hint("check the endpoint: this is how S3 does not answer")
        })?;
        Ok(Page { next, ..listed.page(&self.client.below(""), self.client.dialect.version.is_some()) })
    }

    fn abilities(&self) -> Abilities {
        let conditions = Conditions { if_absent: true, if_same: true };
        Abilities { serving: true, metadata: true, conditions, ..Abilities::default() }
    }
}

#[async_trait]
impl Parts for S3 {
    fn rules(&self) -> PartRules {
        PartRules { least: 5 << 20, count: 10_000 }
    }

    async fn begin(&self, key: &str, about: &About) -> Result<Upload, StorageError> {
        let request = self.client.request(Method::POST, key, &[("uploads", "")])?;
        let request = self.client.with_about(request, about).bytes(Bytes::new());
        let begun: Begun = self.client.ask_with(request, &format!("begin `{key}`")).await?;
        Ok(Upload { key: key.into(), id: begun.upload_id, about: about.clone(), begun: None })
    }

    async fn part(&self, upload: &Upload, number: u32, bytes: Bytes) -> Result<Part, StorageError> {
        let (count, digest) = (bytes.len() as u64, digest::md5(&bytes).await);
        let place = (number + 1).to_string();
        let query = [("partNumber", place.as_str()), ("uploadId", upload.id.as_str())];
        let request = self.client.request(Method::PUT, &upload.key, &query)?;
        let request = request.header("content-md5", &STANDARD.encode(digest)).bytes(bytes);
        let response = self.client.send(request).await?;
        let what = || format!("write part {place} of `{}`", upload.key);
        if !response.status().is_success() {
            return Err(self.client.refusal(&what(), response).await);
        }
        let tag = wire::text_of(response.headers(), "etag").map(wire::tag_of);
        let tag = tag.ok_or_else(|| self.client.nonsense(&what()))?;
        Ok(Part { number, bytes: count, tag })
    }

    async fn finish(&self, upload: &Upload, parts: &[Part]) -> Result<Written, StorageError> {
        let request = self.client.request(Method::POST, &upload.key, &[("uploadId", &upload.id)])?;
        let request = request.header("content-type", "application/xml").bytes(answer::manifest(parts).into());
        self.client.complete(request, &format!("finish `{}`", upload.key)).await
    }

    async fn abandon(&self, upload: &Upload) -> Result<(), StorageError> {
        let request = self.client.request(Method::DELETE, &upload.key, &[("uploadId", &upload.id)])?;
        let response = self.client.send(request).await?;
        if response.status().is_success() || response.status() == StatusCode::NOT_FOUND {
            return Ok(());
        }
        Err(self.client.refusal(&format!("give up `{}`", upload.key), response).await)
    }

    async fn unfinished(&self, prefix: &str) -> Result<Vec<Upload>, StorageError> {
        let below = self.client.below(prefix);
        let (mut found, mut marker) = (Vec::new(), None::<(String, String)>);
        loop {
            let mut query = vec![("uploads", ""), ("prefix", below.as_str())];
            if let Some((key, id)) = &marker {
                query.extend([("key-marker", key.as_str()), ("upload-id-marker", id.as_str())]);
            }
            let uploads: Uploads = self.client.ask(Method::GET, &query, "list unfinished uploads").await?;
            marker = uploads.next();
            found.extend(uploads.uploads(&self.client.below("")));
            if marker.is_none() {
                return Ok(found);
            }
        }
    }
}

/// A request without a body.
fn plain(method: Method, url: reqwest::Url) -> Request {
    Request { payload: Payload::Nothing, ..Request::new(method, url) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::super::open::Stores;
    use super::*;

    /// The endpoint of a server that gives every request this answer.
    fn server(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        // It ends with the tests: a thread that waits for connections cannot be asked to.
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                // A client that goes away is no fault of the server.
                stream.read(&mut [0; 4096]).and_then(|_| stream.write_all(answer.as_bytes())).unwrap_or_default();
            }
        });
        endpoint
    }

    fn bucket(answer: &'static str) -> S3 {
        let mut fields = Fields::new("s3");
        for (name, value) in [("bucket", "b"), ("endpoint", &server(answer)), ("anonymous", "true")] {
            fields.set(name, value);
        }
        S3::new(&fields, "", &Stores::bare().wire).unwrap()
    }

    #[tokio::test]
    async fn a_bucket_elsewhere_says_in_which_region_it_is() {
        let moved = "HTTP/1.1 301 Moved Permanently\r\nx-amz-bucket-region: eu-west-1\r\ncontent-length: 0\r\n\
                     connection: close\r\n\r\n";
        let error = bucket(moved).stat("a").await.unwrap_err();
        let hint = error.hint.unwrap_or_default();
        assert!(hint.contains("`eu-west-1`"), "{hint}");
    }

    #[tokio::test]
    async fn an_object_without_a_length_is_an_error() {
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n1\r\nx\r\n0\r\n\r\n";
        let s3 = bucket(chunked);
        assert!(s3.read("a", 0..u64::MAX, None).await.is_err_and(|error| error.what.contains("how many bytes")));
    }
}
