//! Uploads: streamed to disk, bounded, and whole before anybody may name them.
//!
//! Each has a folder: `upload.json` says what it is to be, `part` grows, and
//! takes its last name when it is whole and durable.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::body::Body;
use axum::extract::{Path as UrlPath, Query, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::problem::{Answer, Problem};
use super::{Site, WebSettings, tus};
use crate::model::failure::Failure;
use crate::model::fault;
use crate::queue::Record;
use crate::scratch::file::{self, Privacy};

/// Longest silence of a client that sends.
const SILENCE: Duration = Duration::from_mins(1);

/// Longest name that is kept of a file, in bytes.
const LONGEST_NAME: usize = 200;

/// The file that grows.
const PART: &str = "part";

/// What an upload is to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Upload {
    /// Its number, which nobody guesses.
    pub(super) id: String,
    /// The file's name as the client gave it.
    pub(super) name: String,
    /// Its bytes, if that was said.
    pub(super) size: Option<u64>,
    /// Its place once it is whole.
    pub(super) path: PathBuf,
    /// What else a client of tus said of it, as it was written.
    #[serde(default)]
    pub(super) metadata: String,
}

impl Upload {
    /// A title for people: the name without its ending.
    pub(super) fn title(&self) -> String {
        let title: String = self.name.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        let title = title.rsplit_once('.').map_or(title.as_str(), |(stem, _)| stem);
        if title.is_empty() { self.name.clone() } else { title.to_owned() }
    }
}

/// All uploads, and the room they share.
pub(super) struct Uploads {
    folder: PathBuf,
    limit: u64,
    room: u64,
    keep: Duration,
    /// Bytes that each upload has or will have.
    taken: Mutex<HashMap<String, u64>>,
    /// Uploads that somebody is writing to.
    busy: Mutex<HashSet<String>>,
}

/// An upload in the hands of one writer.
pub(super) struct Writing<'a> {
    uploads: &'a Uploads,
    id: String,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.uploads.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

impl Uploads {
    /// Opens the folder, and counts what earlier runs left.
    pub(super) async fn open(settings: &WebSettings) -> Result<Self, Failure> {
        let folder = settings.uploads.clone();
        file::make_folder(&folder, Privacy::Private)
            .map_err(|error| Failure::io(&format!("could not make the folder `{}`", folder.display()), &error))?;
        let uploads = Self {
            folder,
            limit: settings.upload_limit,
            room: settings.upload_room,
            keep: Duration::from_secs(settings.upload_keep),
            taken: Mutex::default(),
            busy: Mutex::default(),
        };
        // Nothing is removed before it is known what jobs need.
        uploads.look(Duration::MAX, BTreeSet::new()).await;
        Ok(uploads)
    }

    /// Removes what nobody used for long, but for the `wanted`, and counts the rest.
    pub(super) async fn sweep(&self, wanted: BTreeSet<String>) {
        self.look(self.keep, wanted).await;
    }

    async fn look(&self, keep: Duration, wanted: BTreeSet<String>) {
        let folder = self.folder.clone();
        let found = tokio::task::spawn_blocking(move || {
            let mut found = Vec::new();
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let Some(id) = entry.file_name().to_str().filter(|name| is_id(name)).map(String::from) else {
                    continue;
                };
                if !wanted.contains(&id) && age(&entry.path()) > keep {
                    remove(&entry.path());
                } else if let Some(bytes) = reserved(&entry.path()) {
                    found.push((id, bytes));
                }
            }
            found
        });
        let found: HashMap<String, u64> = found.await.unwrap_or_default().into_iter().collect();
        let mut taken = self.taken();
        // What began meanwhile is counted already; what is gone gives its room back.
        taken.retain(|id, _| found.contains_key(id) || self.is_busy(id));
        for (id, bytes) in found {
            taken.entry(id).or_insert(bytes);
        }
    }

    /// Begins an upload.
    pub(super) async fn create(&self, name: &str, size: Option<u64>, metadata: &str) -> Answer<Upload> {
        if size.is_some_and(|size| size > self.limit) {
            return Err(self.too_large());
        }
        let id = hex::encode(super::store::random(16)?);
        self.reserve(&id, size.unwrap_or(0))?;
        let folder = self.folder.join(&id);
        let path = folder.join(safe_name(name));
        let upload = Upload { path, id, name: short(name), size, metadata: metadata.into() };
        let (made, text) = (upload.clone(), json!(upload).to_string());
        let created = on_disk(move || {
            file::make_folder(&folder, Privacy::Private)?;
            file::write(&folder.join("upload.json"), text.as_bytes(), Privacy::Private)?;
            private_file(&folder.join(PART)).map(drop)
        });
        if let Err(error) = created.await {
            self.forget(&made.id).await;
            return Err(trouble(&error));
        }
        Ok(upload)
    }

    /// What an upload is to be, and how many bytes are here.
    pub(super) async fn find(&self, id: &str) -> Answer<(Upload, u64)> {
        if !is_id(id) {
            return Err(Problem::missing("upload"));
        }
        let text = tokio::fs::read(self.folder.join(id).join("upload.json")).await;
        let text = text.map_err(|_| Problem::missing("upload"))?;
        let mut upload: Upload = serde_json::from_slice(&text).map_err(|_| Problem::missing("upload"))?;
        // The folder may have been moved since.
        upload.path = self.folder.join(id).join(upload.path.file_name().unwrap_or_default());
        if let Ok(whole) = tokio::fs::metadata(&upload.path).await {
            return Ok((upload, whole.len()));
        }
        let part = tokio::fs::metadata(self.folder.join(id).join(PART)).await;
        let bytes = part.map_err(|_| Problem::missing("upload"))?.len();
        if upload.size == Some(bytes) && !self.is_busy(id) {
            // A run that was killed had all of it and could not say so.
            self.finish(&upload).await?;
        }
        Ok((upload, bytes))
    }

    /// An upload that is whole.
    pub(super) async fn finished(&self, id: &str) -> Answer<Upload> {
        let (upload, _) = self.find(id).await.map_err(|_| {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "there is no such upload")
                .hint("it may have been used, or removed because nobody did")
        })?;
        if tokio::fs::metadata(&upload.path).await.is_err() {
            return Err(Problem::new(StatusCode::CONFLICT, "the upload is not whole yet"));
        }
        Ok(upload)
    }

    /// Takes an upload to write to it.
    pub(super) fn take(&self, id: &str) -> Answer<Writing<'_>> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if !busy.insert(id.into()) {
            return Err(Problem::new(StatusCode::LOCKED, "somebody is sending to this upload").again_in(1));
        }
        Ok(Writing { uploads: self, id: id.into() })
    }

    /// Adds what a client sends from byte `from` on, and gives how many bytes are here then. What
    /// came before a connection was lost is kept.
    pub(super) async fn append(&self, upload: &Upload, from: u64, body: Body) -> Answer<u64> {
        let part = self.folder.join(&upload.id).join(PART);
        let opened = tokio::fs::OpenOptions::new().append(true).open(&part).await;
        let mut file = opened.map_err(|error| trouble(&error))?;
        let copied = self.copy(upload, from, body, &mut file).await;
        let flushed = async {
            file.flush().await?;
            file.sync_all().await
        };
        flushed.await.map_err(|error| trouble(&error))?;
        copied
    }

    async fn copy(&self, upload: &Upload, from: u64, body: Body, file: &mut tokio::fs::File) -> Answer<u64> {
        let mut bytes = from;
        let mut stream = body.into_data_stream();
        loop {
            let next = tokio::time::timeout(SILENCE, stream.next()).await;
            let next = next.map_err(|_| Problem::new(StatusCode::REQUEST_TIMEOUT, "nothing came for a minute"))?;
            let Some(chunk) = next else { return Ok(bytes) };
            let chunk = chunk.map_err(|_| Problem::bad("the connection was lost"))?;
            bytes += chunk.len() as u64;
            if bytes > upload.size.unwrap_or(self.limit) {
                return Err(if upload.size.is_some() {
                    Problem::bad("more bytes came than were announced")
                } else {
                    self.too_large()
                });
            }
            if upload.size.is_none() {
                self.reserve(&upload.id, bytes)?;
            }
            file.write_all(&chunk).await.map_err(|error| trouble(&error))?;
        }
    }

    /// Gives an upload its last name. It is durable then.
    pub(super) async fn finish(&self, upload: &Upload) -> Answer<()> {
        let (folder, path) = (self.folder.join(&upload.id), upload.path.clone());
        fault::point("upload-whole");
        let finished = on_disk(move || {
            std::fs::File::open(folder.join(PART))?.sync_all()?;
            std::fs::rename(folder.join(PART), &path)?;
            file::sync_folder(&folder)
        });
        finished.await.map_err(|error| trouble(&error))
    }

    /// Removes an upload, and gives its room back.
    pub(super) async fn forget(&self, id: &str) {
        if is_id(id) {
            let folder = self.folder.join(id);
            let removed = on_disk(move || {
                remove(&folder);
                Ok(())
            });
            // A folder that cannot be removed now is swept later.
            removed.await.unwrap_or_default();
            self.taken().remove(id);
        }
    }

    /// The upload that a job takes, if it takes one.
    pub(super) fn of(&self, record: &Record) -> Option<String> {
        id_below(&self.folder, record.job.get("input")?.as_str()?)
    }

    /// Bytes of all uploads.
    pub(super) fn bytes(&self) -> u64 {
        self.taken().values().sum()
    }

    fn reserve(&self, id: &str, bytes: u64) -> Answer<()> {
        let mut taken = self.taken();
        let others: u64 = taken.iter().filter(|(other, _)| *other != id).map(|(_, bytes)| bytes).sum();
        if others.saturating_add(bytes) > self.room {
            return Err(Problem::new(StatusCode::INSUFFICIENT_STORAGE, "there is no room for another upload now")
                .hint("wait until other uploads are made into videos, or raise `serve.upload-room`")
                .again_in(60));
        }
        taken.insert(id.into(), bytes);
        Ok(())
    }

    fn too_large(&self) -> Problem {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("an upload has at most {} bytes", self.limit))
    }

    /// Largest upload.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    fn is_busy(&self, id: &str) -> bool {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    fn taken(&self) -> std::sync::MutexGuard<'_, HashMap<String, u64>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of the upload that a job's input is.
pub(super) fn id_of(settings: &WebSettings, input: &str) -> Option<String> {
    id_below(&settings.uploads, input)
}

fn id_below(folder: &Path, input: &str) -> Option<String> {
    let below = Path::new(input).strip_prefix(folder).ok()?;
    let id = below.components().next()?.as_os_str().to_str()?;
    is_id(id).then(|| id.to_owned())
}

fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A name for the disk out of one that may be anything.
fn safe_name(name: &str) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_') { letter } else { '-' };
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = last.chars().map(plain).take(80).collect();
    let name = name.trim_matches(['-', '.', '_']);
    // Never the name of a file of ours.
    if name.is_empty() || name == PART || name == "upload.json" { "video".into() } else { name.into() }
}

fn short(name: &str) -> String {
    let mut end = name.len().min(LONGEST_NAME);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.get(..end).unwrap_or_default().to_owned()
}

fn private_file(path: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// How long ago somebody last wrote there.
fn age(folder: &Path) -> Duration {
    let times = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let newest = times.filter_map(|entry| entry.metadata().ok()?.modified().ok()).max();
    let newest = newest.or_else(|| std::fs::metadata(folder).ok()?.modified().ok());
    newest.map_or(Duration::MAX, |time| SystemTime::now().duration_since(time).unwrap_or_default())
}

fn reserved(folder: &Path) -> Option<u64> {
    let upload: Upload = serde_json::from_slice(&std::fs::read(folder.join("upload.json")).ok()?).ok()?;
    let bytes = |path: PathBuf| std::fs::metadata(path).ok().map(|meta| meta.len());
    let here = bytes(folder.join(PART)).or_else(|| bytes(folder.join(upload.path.file_name()?)));
    Some(upload.size.unwrap_or(0).max(here.unwrap_or(0)))
}

fn remove(folder: &Path) {
    // What cannot be removed is tried again with the next sweep.
    std::fs::remove_dir_all(folder).unwrap_or_default();
}

async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

/// An error of the disk in words that tell a client nothing of the machine.
fn trouble(error: &std::io::Error) -> Problem {
    tracing::error!(%error, "an upload could not be stored");
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            Problem::new(StatusCode::INSUFFICIENT_STORAGE, "the server's disk is full").again_in(60)
        }
        _ => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the upload could not be stored").again_in(5),
    }
}

/// What a plain upload says in its query.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Named {
    name: String,
}

/// `POST /api/v1/uploads`: by the tus protocol, or the file itself.
pub(super) async fn post(State(site): State<Arc<Site>>, named: Query<Named>, headers: HeaderMap, body: Body) -> Answer {
    if headers.contains_key(tus::VERSION_HEADER) {
        return tus::create(&site, &headers, body).await;
    }
    plain(&site, &named.name, &headers, body).await
}

/// `PUT /api/v1/uploads/{name}`
pub(super) async fn put(
    State(site): State<Arc<Site>>,
    UrlPath(name): UrlPath<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    plain(&site, &name, &headers, body).await
}

async fn plain(site: &Site, name: &str, headers: &HeaderMap, body: Body) -> Answer {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let upload = site.uploads.create(name, length, "").await?;
    let bytes = site.uploads.take(&upload.id).map(|writing| (writing, site.uploads.append(&upload, 0, body)));
    let (writing, appended) = bytes?;
    let received = match appended.await {
        Ok(0) => Err(Problem::bad("the upload is empty")),
        Ok(bytes) if length.is_some_and(|length| length != bytes) => Err(Problem::bad("the connection was lost")),
        Ok(bytes) => site.uploads.finish(&upload).await.map(|()| bytes),
        Err(problem) => Err(problem),
    };
    drop(writing);
    match received {
        Ok(bytes) => {
            site.metrics.uploaded(bytes);
            Ok((StatusCode::CREATED, Json(shown(&upload, bytes, true))).into_response())
        }
        Err(problem) => {
            // Nobody can go on with it.
            site.uploads.forget(&upload.id).await;
            Err(problem)
        }
    }
}

/// `GET` and `HEAD /api/v1/uploads/{id}`
pub(super) async fn show(
    State(site): State<Arc<Site>>,
    UrlPath(id): UrlPath<String>,
    method: Method,
) -> Answer<Response> {
    let (upload, bytes) = site.uploads.find(&id).await?;
    if method == Method::HEAD {
        return Ok(tus::status(&upload, bytes));
    }
    let whole = tokio::fs::metadata(&upload.path).await.is_ok();
    let mut response = Json(shown(&upload, bytes, whole)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `DELETE /api/v1/uploads/{id}`
pub(super) async fn delete(State(site): State<Arc<Site>>, UrlPath(id): UrlPath<String>) -> Answer<Response> {
    let (upload, _) = site.uploads.find(&id).await?;
    let _writing = site.uploads.take(&upload.id)?;
    site.uploads.forget(&upload.id).await;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// An upload as the API shows it.
pub(super) fn shown(upload: &Upload, bytes: u64, whole: bool) -> serde_json::Value {
    json!({
        "id": upload.id,
        "name": upload.name,
        "bytes": bytes,
        "size": upload.size,
        "complete": whole,
        "input": format!("upload:{}", upload.id),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_outside_stay_in_their_folder() {
        for (name, expected) in [
            ("holiday film.mp4", "holiday-film.mp4"),
            ("../../etc/passwd", "passwd"),
            ("..\\..\\boot.ini", "boot.ini"),
            ("..", "video"),
            ("", "video"),
            ("part", "video"),
            ("upload.json", "video"),
            ("-rf.mp4", "rf.mp4"),
            (".hidden", "hidden"),
            ("<script>.mp4\n\0", "script-.mp4"),
            ("Ünïcode.mkv", "n-code.mkv"),
        ] {
            assert_eq!(safe_name(name), expected, "{name:?}");
        }
        assert_eq!(short(&"é".repeat(300)).len(), 200);
    }

    #[test]
    fn an_input_below_the_folder_is_an_upload() {
        let id = "0123456789abcdef0123456789abcdef";
        let folder = Path::new("/var/uploads");
        assert_eq!(id_below(folder, &format!("/var/uploads/{id}/a.mp4")).as_deref(), Some(id));
        assert_eq!(id_below(folder, &format!("/var/other/{id}/a.mp4")), None);
        assert_eq!(id_below(folder, "/var/uploads/../x"), None);
    }
}
