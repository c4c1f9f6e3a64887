//! SFTP: files of a server one may log in to. What is written gets its name when it is whole.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::FutureExt as _;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use russh_sftp::client::error::Error;
use russh_sftp::protocol::{FileAttributes, OpenFlags, Packet, StatusCode};

use super::error::{Kind, StorageError};
use super::open::WireSettings;
use super::options::Fields;
use super::walk::{self, Entry, Lister};
use super::{
    Abilities, About, ByteStream, Conditions, Large, Page, Reading, Stat, Storage, Stream, When, Written, is_key,
    right_length, same_version,
};
use crate::model::failure::Failure;
use crate::scratch::file::TEMPORARY;
use link::{Link, Session};

mod link;

/// Bytes of one question or answer: more is not understood by every server.
const STEP: u32 = 32 * 1024;

/// Questions on their way for one file, so that a long line is full.
const AHEAD: usize = 32;

/// How often folders are made for a file: another who deletes the last file in one removes it.
const FOLDER_TRIES: usize = 3;

/// A folder of a server.
pub(super) struct Sftp {
    link: Arc<Link>,
    /// The folder's path, without a slash at its end.
    root: String,
}

impl Sftp {
    /// The server that `fields` describe, below `prefix`. Asks nobody anything.
    pub(super) fn new(fields: &Fields, prefix: &str, settings: &WireSettings) -> Result<Self, Failure> {
        let prefix = prefix.trim_matches('/');
        // A path is one from the root, unless it begins in the home of the user.
        let root = match prefix.strip_prefix('~') {
            Some(below) => format!(".{below}"),
            None if prefix.is_empty() => String::new(),
            None => format!("/{prefix}"),
        };
        Ok(Self { link: Arc::new(Link::new(fields, settings)?), root })
    }

    fn path(&self, key: &str) -> Result<String, StorageError> {
        if is_key(key) { Ok(format!("{}/{key}", self.root)) } else { Err(self.bad_key(key)) }
    }

    fn bad_key(&self, key: &str) -> StorageError {
        StorageError::bad_key(key, &self.address(""))
    }

    /// Puts an error into words, and forgets the session if it was the session's.
    async fn failed(&self, doing: &str, key: &str, session: &Arc<Session>, error: Error) -> StorageError {
        let what = format!("could not {doing} `{}` at `{}`", key.escape_debug(), self.address(""));
        let Error::Status(status) = error else {
            self.link.forget(session).await;
            return StorageError::new(Kind::Unreachable, format!("{what}: {error}"));
        };
        let said = status.error_message.trim().to_ascii_lowercase();
        match status.status_code {
            StatusCode::PermissionDenied => {
                StorageError::new(Kind::Refused, format!("{what}: {said}")).hint("check the rights of that folder")
            }
            StatusCode::NoConnection | StatusCode::ConnectionLost => {
                self.link.forget(session).await;
                StorageError::new(Kind::Unreachable, format!("{what}: {said}"))
            }
            StatusCode::OpUnsupported => StorageError::new(Kind::Unsupported, format!("{what}: {said}")),
            // This is all that SFTP says of a full disk and of much else.
            _ => StorageError::new(Kind::Other, format!("{what}: {said}")).hint("is the server's disk full?"),
        }
    }

    async fn look(&self, key: &str) -> Result<Option<Stat>, StorageError> {
        let (path, session) = (self.path(key)?, self.link.session().await?);
        match session.sftp.stat(path).await {
            Ok(found) => Ok(stat_of(key, &found.attrs)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(self.failed("look up", key, &session, error).await),
        }
    }

    /// Stores a stream under another name beside `key`, then gives it its own.
    async fn put(&self, key: &str, stream: ByteStream, when: When<'_>) -> Result<Written, StorageError> {
        let path = self.path(key)?;
        let session = self.link.session().await?;
        let drawn = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let temporary = format!("{folder}/.{drawn:016x}{TEMPORARY}");
        let handle = self.begin(key, folder, &temporary, &session).await?;
        let poured = self.pour_into(key, &handle, stream, &session).await;
        let closed = session.sftp.close(handle).await;
        let stored = match (poured, closed) {
            (Ok(()), Ok(_)) => self.name(key, &temporary, path, when, &session).await,
            (Err(error), _) => Err(error),
            (Ok(()), Err(error)) => Err(self.failed("write", key, &session, error).await),
        };
        if stored.is_err() {
            self.link.remove(temporary).await;
        }
        stored
    }

    /// Makes a file, in folders that are made if need be.
    async fn begin(
        &self,
        key: &str,
        folder: &str,
        temporary: &str,
        session: &Arc<Session>,
    ) -> Result<String, StorageError> {
        let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUDE;
        let open = || session.sftp.open(temporary, flags, FileAttributes::empty());
        let mut opened = open().await;
        for _ in 0..FOLDER_TRIES {
            if !opened.as_ref().is_err_and(is_absent) {
                break;
            }
            for (end, _) in folder.match_indices('/').filter(|(at, _)| *at > 0).chain([(folder.len(), "")]) {
                let part = folder.get(..end).unwrap_or_default();
                // One that is there already is refused like one that cannot be: the file itself decides.
                session.sftp.mkdir(part, FileAttributes::empty()).await.map(drop).unwrap_or_default();
            }
            opened = open().await;
        }
        match opened {
            Ok(opened) => Ok(opened.handle),
            Err(error) => Err(self.failed("write", key, session, error).await),
        }
    }

    async fn pour_into(
        &self,
        key: &str,
        handle: &str,
        stream: ByteStream,
        session: &Arc<Session>,
    ) -> Result<(), StorageError> {
        let steps = stream.map_ok(|piece| stream::iter(steps(piece)).map(Ok)).try_flatten();
        let mut offset = 0;
        let placed = steps.map_ok(move |piece: Bytes| {
            let at = offset;
            offset += piece.len() as u64;
            (at, piece)
        });
        let write = |(at, piece): (u64, Bytes)| async move {
            match session.sftp.write(handle, at, piece.to_vec()).await {
                Ok(_) => Ok(()),
                Err(error) => Err(self.failed("write", key, session, error).await),
            }
        };
        placed.map_ok(write).try_buffer_unordered(AHEAD).try_collect::<()>().await?;
        if session.syncs
            && let Err(error) = session.sftp.fsync(handle).await
        {
            return Err(self.failed("write", key, session, error).await);
        }
        Ok(())
    }

    /// Gives a whole file its name.
    async fn name(
        &self,
        key: &str,
        temporary: &str,
        path: String,
        when: When<'_>,
        session: &Arc<Session>,
    ) -> Result<Written, StorageError> {
        let renamed = match when {
            When::Same(_) => {
                return Err(StorageError::new(Kind::Unsupported, "SFTP cannot replace one version alone"));
            }
            When::Always if session.replaces => replace(session, temporary, &path).await,
            // Servers refuse to rename onto what is there.
            When::Always | When::Absent => session.sftp.rename(temporary, path).await.map(drop),
        };
        let Err(error) = renamed else { return Ok(Written::default()) };
        // Without an answer nobody knows whether it has its name: the whole write is tried again.
        if !matches!(error, Error::Status(_)) {
            return Err(self.failed("give its name to", key, session, error).await);
        }
        if self.look(key).await?.is_none() {
            return Err(self.failed("give its name to", key, session, error).await);
        }
        let place = self.address(key);
        if when == When::Absent {
            return Err(StorageError::new(Kind::Conflict, format!("could not write `{place}`: it is there already")));
        }
        let what = format!("`{place}` is there, and this server cannot replace a file in one step");
        Err(StorageError::new(Kind::Unsupported, what).hint("use a server with posix-rename@openssh.com"))
    }
}

/// Puts a file in the place of another in one step.
async fn replace(session: &Session, from: &str, to: &str) -> Result<(), Error> {
    let text =
        |text: &str| [&u32::try_from(text.len()).unwrap_or_default().to_be_bytes()[..], text.as_bytes()].concat();
    match session.sftp.extended("posix-rename@openssh.com", [text(from), text(to)].concat()).await? {
        Packet::Status(status) if status.status_code == StatusCode::Ok => Ok(()),
        Packet::Status(status) => Err(Error::Status(status)),
        _ => Err(Error::UnexpectedPacket),
    }
}

/// A piece in steps that every server takes.
fn steps(mut piece: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let length = piece.len().min(STEP as usize);
        (length > 0).then(|| piece.split_to(length))
    })
}

fn is_absent(error: &Error) -> bool {
    matches!(error, Error::Status(status) if status.status_code == StatusCode::NoSuchFile)
}

/// What is known of a file; `None` if it is none.
fn stat_of(key: &str, attributes: &FileAttributes) -> Option<Stat> {
    let modified = attributes.mtime.unwrap_or_default();
    let bytes = attributes.size.unwrap_or_default();
    attributes.is_regular().then(|| Stat {
        key: key.to_owned(),
        bytes,
        etag: Some(format!("{bytes:x}-{modified:x}")),
        stored: Timestamp::from_second(i64::from(modified)).ok(),
        ..Stat::default()
    })
}

/// A file that is being read. It is closed when it is dropped.
struct Opened {
    link: Arc<Link>,
    session: Arc<Session>,
    handle: String,
    address: String,
}

impl Drop for Opened {
    fn drop(&mut self) {
        // The question is on its way when it was asked once; nobody waits for the answer.
        self.session.sftp.close(self.handle.clone()).now_or_never();
    }
}

impl Opened {
    /// The bytes of `range`, which the file should have.
    async fn step(&self, range: Range<u64>) -> Result<Bytes, StorageError> {
        let mut bytes = Vec::new();
        let length = range.end - range.start;
        while (bytes.len() as u64) < length {
            let left = u32::try_from(length - bytes.len() as u64).unwrap_or(STEP);
            match self.session.sftp.read(self.handle.as_str(), range.start + bytes.len() as u64, left).await {
                Ok(data) if !data.data.is_empty() => bytes.extend_from_slice(&data.data),
                Ok(_) => return Err(super::changed(&self.address)),
                Err(Error::Status(status)) if status.status_code == StatusCode::Eof => {
                    return Err(super::changed(&self.address));
                }
                Err(error) => {
                    if !matches!(error, Error::Status(_)) {
                        self.link.forget(&self.session).await;
                    }
                    let what = format!("could not read `{}`: {error}", self.address);
                    return Err(StorageError::new(Kind::Unreachable, what));
                }
            }
        }
        Ok(bytes.into())
    }
}

#[async_trait]
impl Storage for Sftp {
    fn address(&self, key: &str) -> String {
        let link = &self.link;
        let port = if link.port == 22 { String::new() } else { format!(":{}", link.port) };
        let root = match self.root.strip_prefix('.') {
            Some(below) => format!("/~{below}"),
            None => self.root.clone(),
        };
        format!("sftp://{}@{}{port}{root}/{key}", link.user, link.host)
    }

    async fn is_there(&self) -> Result<bool, StorageError> {
        let session = self.link.session().await?;
        match session.sftp.stat(format!("{}/", self.root)).await {
            Ok(found) => Ok(found.attrs.is_dir()),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => Err(self.failed("look up", "", &session, error).await),
        }
    }

    async fn stat(&self, key: &str) -> Result<Option<Stat>, StorageError> {
        self.look(key).await
    }

    async fn read(&self, key: &str, range: Range<u64>, same: Option<&str>) -> Result<Option<Reading>, StorageError> {
        let (path, session) = (self.path(key)?, self.link.session().await?);
        let handle = match session.sftp.open(path, OpenFlags::READ, FileAttributes::empty()).await {
            Ok(opened) => opened.handle,
            Err(error) if is_absent(&error) => return Ok(None),
            // A folder is no object, and opening one is a failure that says no more.
            Err(Error::Status(_)) if self.look(key).await?.is_none() => return Ok(None),
            Err(error) => return Err(self.failed("read", key, &session, error).await),
        };
        let link = Arc::clone(&self.link);
        let opened = Opened { link, session: Arc::clone(&session), handle, address: self.address(key) };
        let about = match session.sftp.fstat(opened.handle.as_str()).await {
            Ok(about) => about.attrs,
            Err(error) => return Err(self.failed("read", key, &session, error).await),
        };
        let Some(stat) = stat_of(key, &about) else { return Ok(None) };
        same_version(&stat, same, &opened.address)?;
        let end = range.end.min(stat.bytes);
        let opened = Arc::new(opened);
        let starts = (range.start.min(end)..end).step_by(STEP as usize);
        let steps = starts.map(move |at| {
            let opened = Arc::clone(&opened);
            async move { opened.step(at..end.min(at + u64::from(STEP))).await }
        });
        Ok(Some(Reading { stat, stream: stream::iter(steps).buffered(AHEAD).boxed() }))
    }

    async fn write(&self, key: &str, bytes: Bytes, _about: &About, when: When<'_>) -> Result<Written, StorageError> {
        self.put(key, stream::once(async { Ok(bytes) }).boxed(), when).await
    }

    fn large(&self) -> Large<'_> {
        Large::Stream(self)
    }

    async fn delete(&self, key: &str) -> Result<(), StorageError> {
        let (path, session) = (self.path(key)?, self.link.session().await?);
        match session.sftp.remove(path.as_str()).await {
            Err(error) if !is_absent(&error) => return Err(self.failed("delete", key, &session, error).await),
            _ => {}
        }
        // Objects have no folders: those that nothing is left in go too, and servers refuse to remove others.
        let above = std::iter::successors(path.rsplit_once('/'), |(folder, _)| folder.rsplit_once('/'));
        for (folder, _) in above.take_while(|(folder, _)| folder.len() > self.root.len()) {
            if session.sftp.rmdir(folder).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn page(&self, prefix: &str, after: Option<&str>) -> Result<Page, StorageError> {
        if prefix.is_empty() || is_key(prefix) {
            return walk::page(self, prefix, after).await;
        }
        Err(self.bad_key(prefix))
    }

    fn abilities(&self) -> Abilities {
        let conditions = Conditions { if_absent: true, if_same: false };
        Abilities { conditions, paths: true, ..Abilities::default() }
    }
}

#[async_trait]
impl Stream for Sftp {
    async fn pour(&self, key: &str, stream: ByteStream, bytes: u64, _about: &About) -> Result<Written, StorageError> {
        let (address, mut came) = (self.address(key), 0);
        let end = address.clone();
        let ended = stream::once(async { Ok(None) });
        let checked = stream.map_ok(Some).chain(ended).map(move |piece| match piece? {
            Some(piece) => {
                came += piece.len() as u64;
                if came > bytes { right_length(&address, came, bytes).map(|()| piece) } else { Ok(piece) }
            }
            None => right_length(&end, came, bytes).map(|()| Bytes::new()),
        });
        self.put(key, checked.boxed(), When::Always).await
    }
}

#[async_trait]
impl Lister for Sftp {
    async fn entries(&self, key: &str) -> Result<Vec<Entry>, StorageError> {
        let path = if key.is_empty() { format!("{}/", self.root) } else { self.path(key)? };
        let session = self.link.session().await?;
        let handle = match session.sftp.opendir(path.as_str()).await {
            Ok(opened) => opened.handle,
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            Err(error) => return Err(self.failed("list", key, &session, error).await),
        };
        let mut files = Vec::new();
        let read = loop {
            match session.sftp.readdir(handle.as_str()).await {
                Ok(name) => files.extend(name.files),
                Err(Error::Status(status)) if status.status_code == StatusCode::Eof => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        session.sftp.close(handle).await.map(drop).unwrap_or_default();
        if let Err(error) = read {
            return Err(self.failed("list", key, &session, error).await);
        }
        let mut entries = Vec::new();
        for file in files.into_iter().filter(|file| !matches!(file.filename.as_str(), "." | "..")) {
            let mut attributes = file.attrs;
            if attributes.is_symlink() {
                // One that leads nowhere is no object.
                let target = format!("{}/{}", path.trim_end_matches('/'), file.filename);
                let Ok(found) = session.sftp.stat(target).await else { continue };
                attributes = found.attrs;
            }
            if attributes.is_dir() {
                entries.push(Entry::Folder(file.filename));
            } else if let Some(stat) = stat_of("", &attributes) {
                entries.push(Entry::Object(file.filename, Box::new(stat)));
            }
        }
        Ok(entries)
    }
}
