//! `WebDAV`: files of a web server. What is written gets its name when it is whole.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use reqwest::{Method, Response, StatusCode, Url};
use serde::Deserialize;

use super::error::{Kind, StorageError};
use super::open::WireSettings;
use super::options::Fields;
use super::walk::{self, Entry, Lister};
use super::wire::{self, Payload, Request, Wire};
use super::{
    Abilities, About, ByteStream, Large, Page, Reading, Stat, Storage, Stream, When, Written, is_key, right_length,
};
use crate::model::failure::Failure;
use crate::model::secret::Secret;
use crate::scratch::file::TEMPORARY;

/// Bytes of a listing of one folder.
const LARGEST_ANSWER: usize = 64 << 20;

/// What is asked of a folder.
const WANTED: &str = r#"<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop><resourcetype/>
<getcontentlength/><getlastmodified/><getetag/></prop></propfind>"#;

/// A folder of a web server.
pub(super) struct WebDav {
    wire: Wire,
    /// The root, ending in a slash.
    base: Url,
    authorization: Option<Secret>,
}

#[derive(Deserialize)]
struct Multistatus {
    #[serde(default)]
    response: Vec<Found>,
}

#[derive(Deserialize)]
struct Found {
    href: String,
    #[serde(default)]
    propstat: Vec<Propstat>,
}

#[derive(Deserialize)]
struct Propstat {
    #[serde(default)]
    prop: Prop,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Prop {
    resourcetype: Option<ResourceType>,
    getcontentlength: Option<String>,
    getlastmodified: Option<String>,
    getetag: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResourceType {
    collection: Option<Empty>,
}

#[derive(Default, Deserialize)]
struct Empty {}

impl WebDav {
    /// The server that `fields` describe, below `prefix`. Asks nobody anything.
    pub(super) fn new(fields: &Fields, prefix: &str, settings: &WireSettings) -> Result<Self, Failure> {
        let text = fields.need("url", "write it as `webdavs://host/path`, or in the settings of the storage")?;
        let bad = || Failure::permanent(format!("`{}` is no address of a web server", text.escape_debug()));
        let mut base = Url::parse(&text).map_err(|_| bad())?;
        if !matches!(base.scheme(), "http" | "https") || base.username() != "" || base.password().is_some() {
            return Err(bad().hint("it begins with https:// or http://, and holds no password"));
        }
        let prefix = wire::path_of(prefix.trim_matches('/'));
        let path = base.path().trim_end_matches('/').to_owned();
        base.set_path(&if prefix.is_empty() { format!("{path}/") } else { format!("{path}/{prefix}/") });
        let authorization = match (fields.get("token"), fields.get("user")) {
            (Some(token), _) => Some(format!("Bearer {token}")),
            (None, Some(user)) => {
                use base64::Engine as _;
                let password = fields.get("password").unwrap_or_default();
                let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
                Some(format!("Basic {pair}"))
            }
            (None, None) => None,
        };
        let authorization = authorization.map(|text| Secret::new(text.into_bytes()));
        let wire = Wire::new(settings, &format!("`{}`", base.host_str().unwrap_or_default()))?;
        Ok(Self { wire, base, authorization })
    }

    fn url(&self, key: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{}", self.base.path(), wire::path_of(key)));
        url
    }

    fn request(&self, method: Method, key: &str) -> Result<Request, StorageError> {
        if is_key(key) { Ok(Request::new(method, self.url(key))) } else { Err(self.bad_key(key)) }
    }

    fn bad_key(&self, key: &str) -> StorageError {
        StorageError::bad_key(key, &self.address(""))
    }

    async fn send(&self, request: Request) -> Result<Response, StorageError> {
        let authorization = self.authorization.as_ref().map(|secret| String::from_utf8_lossy(secret.expose()));
        self.wire.send(request.maybe("authorization", authorization.as_deref())).await
    }

    fn refusal(&self, what: &str, response: &Response) -> StorageError {
        self.wire.refusal(what, response.status(), response.headers())
    }

    /// Stores a payload under another name beside `key`, then gives it its own.
    async fn put(
        &self,
        key: &str,
        payload: impl Fn() -> Payload,
        once: Option<Payload>,
    ) -> Result<Written, StorageError> {
        self.request(Method::PUT, key)?;
        let drawn = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
        let folder = key.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
        let temporary = format!("{folder}.{drawn:016x}{TEMPORARY}");
        let is_stream = once.is_some();
        if is_stream {
            // A stream cannot be sent twice, so its folders are made first.
            self.make_folders(&folder).await?;
        }
        let send = async |payload| {
            let request = Request { payload, ..self.request(Method::PUT, &temporary)? };
            self.send(request.header("content-type", "application/octet-stream")).await
        };
        let mut stored = send(once.unwrap_or_else(&payload)).await;
        let lacks_folder = |status: StatusCode| matches!(status.as_u16(), 403 | 404 | 409 | 500);
        if !is_stream && stored.as_ref().is_ok_and(|response| lacks_folder(response.status())) {
            self.make_folders(&folder).await?;
            stored = send(payload()).await;
        }
        let stored = match stored {
            Ok(response) if response.status().is_success() => self.rename(&temporary, key).await,
            Ok(response) => Err(self.refusal(&format!("write `{key}`"), &response)),
            Err(error) => Err(error),
        };
        if stored.is_err() {
            // What cannot be removed is swept with the next run.
            self.delete(&temporary).await.unwrap_or_default();
        }
        stored
    }

    async fn rename(&self, temporary: &str, key: &str) -> Result<Written, StorageError> {
        let to = self.url(key);
        let request = self.request(method("MOVE"), temporary)?.header("overwrite", "T");
        let response = self.send(request.header("destination", to.as_str())).await?;
        if response.status().is_success() {
            return Ok(Written::default());
        }
        Err(self.refusal(&format!("give `{key}` its name"), &response))
    }

    async fn make_folders(&self, folder: &str) -> Result<(), StorageError> {
        // The root itself may be missing as well.
        let parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
        for count in 0..=parts.len() {
            let mut url = self.base.clone();
            let below: Vec<String> = parts.iter().take(count).map(|part| wire::path_of(part) + "/").collect();
            let below = below.concat();
            url.set_path(&format!("{}{below}", self.base.path()));
            let response = self.send(Request::new(method("MKCOL"), url)).await?;
            // 405 is the answer for what is there already; the root of a server cannot be made.
            let fine = response.status().is_success() || matches!(response.status().as_u16(), 405 | 409 | 301);
            if !fine && count > 0 {
                return Err(self.refusal(&format!("make the folder `{below}`"), &response));
            }
        }
        Ok(())
    }

    /// What is told of the folder at `key`, and at a depth of 1 of what is in it; `None` if it is not there.
    async fn found(&self, key: &str, depth: &str) -> Result<Option<Vec<Found>>, StorageError> {
        let request = Request::new(method("PROPFIND"), self.url(&folder(key)));
        let request = request.header("depth", depth).header("content-type", "application/xml");
        let response = self.send(request.bytes(Bytes::from_static(WANTED.as_bytes()))).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if response.status().as_u16() != 207 {
            return Err(self.refusal(&format!("list `{key}`"), &response));
        }
        let text = self.wire.text(response, LARGEST_ANSWER).await?;
        let listed: Multistatus = quick_xml::de::from_str(&text).map_err(|_| {
            StorageError::new(Kind::Other, format!("the list of `{}` is not one of WebDAV", self.address(key)))
        })?;
        Ok(Some(listed.response))
    }

    fn stat_of(&self, key: &str, response: &Response) -> Result<Option<Stat>, StorageError> {
        let headers = response.headers();
        if wire::text_of(headers, "content-type") == Some("httpd/unix-directory") {
            return Ok(None);
        }
        let stat = self.wire.stat_of(key, response.status(), headers, "x-none-")?;
        // The type is guessed from the name, and nothing else is kept.
        Ok(Some(Stat { about: About::default(), md5: None, ..stat }))
    }
}

impl Prop {
    fn is_folder(&self) -> bool {
        self.resourcetype.as_ref().is_some_and(|kind| kind.collection.is_some())
    }
}

/// A key as a folder is asked for.
fn folder(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!("{key}/") }
}

fn method(name: &str) -> Method {
    Method::from_bytes(name.as_bytes()).expect("these names are tokens")
}

#[async_trait]
impl Storage for WebDav {
    fn address(&self, key: &str) -> String {
        format!("{}{key}", self.base.as_str().replacen("http", "webdav", 1))
    }

    async fn is_there(&self) -> Result<bool, StorageError> {
        let found = self.found("", "0").await?;
        Ok(found.into_iter().flatten().filter_map(prop_of).any(|prop| prop.is_folder()))
    }

    async fn stat(&self, key: &str) -> Result<Option<Stat>, StorageError> {
        let response = self.send(self.request(Method::HEAD, key)?).await?;
        match response.status().as_u16() {
            200 => self.stat_of(key, &response),
            // A folder is answered with its name and a slash.
            301 | 302 | 404 | 405 => Ok(None),
            _ => Err(self.refusal(&format!("look up `{key}`"), &response)),
        }
    }

    async fn read(&self, key: &str, range: Range<u64>, same: Option<&str>) -> Result<Option<Reading>, StorageError> {
        let tag = same.map(|same| format!("\"{same}\""));
        let request = self.request(Method::GET, key)?.range(&range).maybe("if-match", tag.as_deref());
        let response = self.send(request).await?;
        match response.status().as_u16() {
            200 | 206 => {
                let is_whole = response.status() == StatusCode::OK;
                let Some(stat) = self.stat_of(key, &response)? else { return Ok(None) };
                super::same_version(&stat, same, &self.address(key))?;
                if is_whole && range.start > 0 {
                    let what = format!("`{}` cannot be read from the middle", self.address(key));
                    return Err(StorageError::new(Kind::Unsupported, what));
                }
                Ok(Some(Reading { stat, stream: self.wire.stream(response) }))
            }
            301 | 302 | 404 | 405 => Ok(None),
            412 => Err(super::changed(&self.address(key))),
            // There is nothing to read: the object is empty, or shorter.
            416 => {
                let stat = self.stat(key).await?;
                let stream = Box::pin(futures_util::stream::empty());
                Ok(stat.map(|stat| Reading { stat, stream }))
            }
            _ => Err(self.refusal(&format!("read `{key}`"), &response)),
        }
    }

    async fn write(&self, key: &str, bytes: Bytes, _about: &About, when: When<'_>) -> Result<Written, StorageError> {
        if when != When::Always {
            return Err(StorageError::new(Kind::Unsupported, "WebDAV has no conditions that hold to the end"));
        }
        self.put(key, || Payload::Bytes(bytes.clone()), None).await
    }

    fn large(&self) -> Large<'_> {
        Large::Stream(self)
    }

    async fn delete(&self, key: &str) -> Result<(), StorageError> {
        let response = self.send(self.request(Method::DELETE, key)?).await?;
        if response.status().is_success() || response.status() == StatusCode::NOT_FOUND {
            return Ok(());
        }
        Err(self.refusal(&format!("delete `{key}`"), &response))
    }

    async fn page(&self, prefix: &str, after: Option<&str>) -> Result<Page, StorageError> {
        if prefix.is_empty() || is_key(prefix) {
            return walk::page(self, prefix, after).await;
        }
        Err(self.bad_key(prefix))
    }

    fn abilities(&self) -> Abilities {
        Abilities { paths: true, ..Abilities::default() }
    }
}

#[async_trait]
impl Stream for WebDav {
    async fn pour(&self, key: &str, stream: ByteStream, bytes: u64, _about: &About) -> Result<Written, StorageError> {
        let checked = checked(stream, self.address(key), bytes);
        self.put(key, || Payload::Nothing, Some(Payload::Stream(checked, bytes))).await
    }
}

/// A stream that fails where it is longer or shorter than it should be.
fn checked(stream: ByteStream, address: String, bytes: u64) -> ByteStream {
    use futures_util::stream::StreamExt as _;
    let checked = futures_util::stream::try_unfold((stream, 0), move |(mut stream, came)| {
        let address = address.clone();
        async move {
            match stream.next().await {
                None => right_length(&address, came, bytes).map(|()| None),
                Some(piece) => {
                    let piece = piece?;
                    let came = came + piece.len() as u64;
                    // Who sends it stops at the length it was told, and would not see what comes after.
                    let more = if came == bytes { stream.next().await.transpose()? } else { None };
                    let came = came + more.map_or(0, |more| more.len() as u64);
                    if came > bytes {
                        right_length(&address, came, bytes)?;
                    }
                    Ok(Some((piece, (stream, came))))
                }
            }
        }
    });
    checked.boxed()
}

#[async_trait]
impl Lister for WebDav {
    async fn entries(&self, key: &str) -> Result<Vec<Entry>, StorageError> {
        let found = self.found(key, "1").await?.unwrap_or_default();
        let above = percent_decode_str(self.url(&folder(key)).path()).decode_utf8_lossy().into_owned();
        Ok(found.into_iter().filter_map(|found| entry(found, &above)).collect())
    }
}

/// What is known of one: a server answers apart for what it does not know.
fn prop_of(found: Found) -> Option<Prop> {
    let mut props = found.propstat.into_iter().map(|propstat| propstat.prop);
    props.find(|prop| prop.resourcetype.is_some() || prop.getcontentlength.is_some())
}

/// A name below the folder with the path `above`; the folder itself is listed too.
fn entry(found: Found, above: &str) -> Option<Entry> {
    let path = match found.href.split_once("://") {
        Some((_, rest)) => rest.get(rest.find('/')?..)?,
        None => &found.href,
    };
    let path = percent_decode_str(path).decode_utf8().ok()?.into_owned();
    let name = path.strip_prefix(above)?.trim_end_matches('/').to_owned();
    if name.is_empty() || name.contains('/') {
        return None;
    }
    let prop = prop_of(found)?;
    if prop.is_folder() {
        return Some(Entry::Folder(name));
    }
    let stat = Stat {
        bytes: prop.getcontentlength.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or_default(),
        etag: prop.getetag.as_deref().map(wire::tag_of).or_else(|| prop.getlastmodified.clone()),
        stored: prop.getlastmodified.as_deref().and_then(wire::time_of_header),
        ..Stat::default()
    };
    Some(Entry::Object(name, Box::new(stat)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_whatever_their_prefixes() {
        let xml = r#"<?xml version="1.0"?><D:multistatus xmlns:D="DAV:">
            <D:response><D:href>/d/</D:href><D:propstat><D:prop><D:resourcetype><D:collection/></D:resourcetype></D:prop></D:propstat></D:response>
            <D:response><D:href>/d/sub/</D:href><D:propstat><D:prop><D:resourcetype><D:collection/></D:resourcetype></D:prop></D:propstat></D:response>
            <D:response><D:href>http://h/d/a%20b</D:href><D:propstat><D:prop><D:resourcetype/><D:getcontentlength>7</D:getcontentlength>
            <D:getetag>"x"</D:getetag></D:prop></D:propstat></D:response></D:multistatus>"#;
        let listed: Multistatus = quick_xml::de::from_str(xml).unwrap();
        let entries: Vec<Entry> = listed.response.into_iter().filter_map(|found| entry(found, "/d/")).collect();
        assert!(matches!(&entries[0], Entry::Folder(name) if name == "sub"));
        assert!(matches!(&entries[1], Entry::Object(name, stat) if name == "a b" && stat.bytes == 7));
        assert_eq!(entries.len(), 2);
    }
}
