//! The incomplete file of one download: bytes land in it anywhere and in any
//! order, and are hashed from its beginning while the rest is still coming.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use std::os::unix::fs::FileExt as _;

use rustix::fs::FallocateFlags;
use tokio::sync::watch;

use crate::model::event::What;
use crate::model::failure::Failure;
use crate::model::fault;
use crate::model::sha256::Sha256;

use super::body::Body;
use super::hash::{self, blocking, blocking_or, writing};
use super::mark::{self, Mark, PART};
use super::pace::Pace;
use super::room::Room;
use super::tries::Trouble;
use super::{Arrival, FetchContext, Fetched, SourceSettings};

/// Bytes gathered before they are written: large enough to make calls rare, small enough for many at once.
const BUFFER: usize = 256 * 1024;

/// No byte waits longer for the disk, and no mark is older: so much a kill can lose.
const FLUSH: Duration = Duration::from_millis(500);

/// Progress is told no more often.
const TELL: Duration = Duration::from_millis(200);

pub(super) struct Part<'a> {
    folder: &'a Path,
    file: Arc<File>,
    context: &'a FetchContext<'a>,
    state: Mutex<State>,
    /// When the mark was saved last. Held while saving.
    saved: tokio::sync::Mutex<Instant>,
    landed: watch::Sender<Landed>,
}

struct State {
    mark: Mark,
    told: Option<Instant>,
}

/// What the hasher waits for.
#[derive(Clone, Copy, Default)]
struct Landed {
    prefix: u64,
    complete: bool,
}

/// The body of one answer, and where its next byte belongs.
pub(super) struct Flow<'r> {
    pub(super) body: &'r mut Body,
    /// Bytes that were read from it already.
    pub(super) head: Vec<u8>,
    /// Where the body ends for us; open if its length is not known.
    pub(super) end: Option<u64>,
    /// Fewer bytes in `slow_window` are too slow.
    pub(super) least: u64,
}

impl<'a> Part<'a> {
    /// Opens the part in `folder` and takes its space on disk at once, so that a full disk is noticed before the work.
    pub(super) async fn open(folder: &'a Path, mark: Mark, context: &'a FetchContext<'a>) -> Result<Self, Failure> {
        let (path, size) = (folder.join(PART), mark.size);
        let file = blocking_or(&writing(folder), move || {
            let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
            match size {
                None => file.set_len(0)?,
                Some(size) if file.metadata()?.len() == size => (),
                Some(size) => {
                    file.set_len(0)?;
                    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, size) {
                        Err(error) if error == rustix::io::Errno::NOSPC || error == rustix::io::Errno::DQUOT => {
                            file.set_len(0)?;
                            return Err(error.into());
                        }
                        // Not every file system can; a hole does as well.
                        _ => file.set_len(size)?,
                    }
                }
            }
            Ok(file)
        })
        .await?;
        let landed = Landed { prefix: mark.written.prefix(), complete: false };
        Ok(Self {
            folder,
            file: Arc::new(file),
            context,
            state: Mutex::new(State { mark, told: None }),
            saved: tokio::sync::Mutex::new(Instant::now()),
            landed: watch::Sender::new(landed),
        })
    }

    pub(super) fn mark(&self) -> Mark {
        self.state().mark.clone()
    }

    /// Copies a body to the disk from `offset` on and moves `offset` with it, also when it
    /// fails. `allow` is asked before bytes up to an offset are taken.
    pub(super) async fn pour(
        &self,
        flow: Flow<'_>,
        offset: &mut u64,
        settings: &SourceSettings,
        allow: &mut (dyn FnMut(u64) -> Result<(), Trouble> + Send),
    ) -> Result<(), Trouble> {
        let mut buffer = flow.head;
        buffer.reserve(BUFFER.saturating_sub(buffer.len()));
        let outcome = self
            .take(flow.body, &mut buffer, offset, &Gate { end: flow.end, least: flow.least, settings }, allow)
            .await;
        // What came before the trouble is good.
        if let Some(end) = flow.end {
            buffer.truncate(usize::try_from(end.saturating_sub(*offset)).unwrap_or(usize::MAX));
        }
        self.write(offset, &mut buffer).await?;
        outcome
    }

    async fn take(
        &self,
        body: &mut Body,
        buffer: &mut Vec<u8>,
        offset: &mut u64,
        gate: &Gate<'_>,
        allow: &mut (dyn FnMut(u64) -> Result<(), Trouble> + Send),
    ) -> Result<(), Trouble> {
        let mut pace = Pace::new(gate.settings, gate.least);
        let mut flushed = Instant::now();
        loop {
            let at = *offset + buffer.len() as u64;
            allow(gate.end.map_or(at, |end| end.min(at)))?;
            if gate.end.is_some_and(|end| at >= end) {
                return Ok(());
            }
            if buffer.len() >= BUFFER || flushed.elapsed() >= FLUSH {
                self.write(offset, buffer).await?;
                flushed = Instant::now();
            }
            let Some(bytes) = pace.next(body).await? else {
                let Some(end) = gate.end else { return Ok(()) };
                let what = format!("`{}` ended {} bytes too early", body.shown(), end - at);
                return Err(Trouble::Again(Failure::temporary(what), None));
            };
            buffer.extend_from_slice(&bytes);
            pace.check(body)?;
        }
    }

    async fn write(&self, offset: &mut u64, buffer: &mut Vec<u8>) -> Result<(), Failure> {
        if buffer.is_empty() {
            return Ok(());
        }
        let (file, at, bytes) = (Arc::clone(&self.file), *offset, std::mem::take(buffer));
        let written = blocking(move || file.write_all_at(&bytes, at).map(|()| bytes)).await;
        let mut bytes = written.map_err(|error| Failure::io(&writing(self.folder), &error))?;
        *offset += bytes.len() as u64;
        fault::point("piece-written");
        self.note(at..*offset);
        self.save_if_old().await?;
        bytes.clear();
        *buffer = bytes;
        Ok(())
    }

    fn note(&self, range: std::ops::Range<u64>) {
        let mut state = self.state();
        state.mark.written.insert(range);
        let prefix = state.mark.written.prefix();
        self.announce(&state.mark);
        if state.told.is_none_or(|told| told.elapsed() >= TELL) {
            state.told = Some(Instant::now());
            let what = What::Downloading { bytes: state.mark.written.total(), total: state.mark.size };
            drop(state);
            (self.context.report)(what);
        }
        self.landed.send_modify(|landed| landed.prefix = landed.prefix.max(prefix));
    }

    /// Says which bytes are here.
    fn announce(&self, mark: &Mark) {
        let Some(size) = mark.size else { return };
        let ranges = mark.written.as_slice().to_vec();
        let arrival = Arrival { path: self.folder.join(PART), serial: mark.serial.clone(), size, ranges };
        self.context.arrival.send_replace(Some(arrival));
    }

    async fn save_if_old(&self) -> Result<(), Failure> {
        // Whoever is saving now saves for all.
        let Ok(mut saved) = self.saved.try_lock() else { return Ok(()) };
        if saved.elapsed() >= FLUSH {
            self.save().await?;
            *saved = Instant::now();
        }
        Ok(())
    }

    /// Writes down how far the download is.
    pub(super) async fn save(&self) -> Result<(), Failure> {
        let (mark, folder) = (self.mark(), self.folder.to_path_buf());
        blocking_or(&writing(self.folder), move || mark.save(&folder)).await
    }

    /// Says that no more bytes will come.
    pub(super) fn complete(&self) {
        let mut state = self.state();
        state.mark.size = Some(state.mark.written.prefix());
        drop(state);
        self.landed.send_modify(|landed| landed.complete = true);
    }

    /// Hashes the bytes as they land, up to the end.
    pub(super) async fn hash(&self) -> Result<String, Failure> {
        let mut landed = self.landed.subscribe();
        let (mut hasher, mut at) = (Sha256::new(), 0);
        loop {
            let now = *landed.borrow_and_update();
            if at < now.prefix {
                let to = now.prefix.min(at + hash::STEP);
                let fed = hash::feed(&self.file, at..to, hasher).await;
                hasher = fed.map_err(|error| Failure::io(&format!("could not read `{PART}`"), &error))?;
                at = to;
            } else if now.complete {
                return Ok(hex::encode(hasher.finalize()));
            } else {
                // The sender is `self`, so it is not gone.
                landed.changed().await.unwrap_or_default();
            }
        }
    }

    /// Gives the whole file its name, tells of it and hands it out.
    pub(super) async fn deliver(&self, sha256: String, room: Room<'_>) -> Result<Fetched, Failure> {
        let (path, mark) = self.finish(&sha256).await?;
        let bytes = mark.size.unwrap_or_default();
        (self.context.report)(What::Downloading { bytes, total: Some(bytes) });
        (self.context.report)(What::Downloaded { bytes });
        let (record, serial) = (mark.record(), Some(mark.serial));
        Ok(Fetched {
            path,
            bytes,
            sha256,
            record,
            temporary: true,
            serial,
            seal: None,
            beside: None,
            room: room.finish(bytes),
        })
    }

    /// Gives the whole file its name.
    async fn finish(&self, sha256: &str) -> Result<(PathBuf, Mark), Failure> {
        let mark = Mark { sha256: Some(sha256.to_owned()), ..self.mark() };
        let (folder, finished) = (self.folder.to_path_buf(), mark.clone());
        let path = blocking_or(&writing(self.folder), move || finished.finish(&folder, &folder.join(PART))).await?;
        Ok((path, mark))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is whole or none.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When to stop taking bytes.
struct Gate<'s> {
    end: Option<u64>,
    least: u64,
    settings: &'s SourceSettings,
}

/// Makes the folder of a download.
pub(super) async fn make(folder: &Path) -> Result<(), Failure> {
    let made = folder.to_path_buf();
    blocking_or(&writing(folder), move || std::fs::create_dir_all(made)).await
}

/// Removes what is there of a download.
pub(super) async fn clear(folder: &Path) -> Result<(), Failure> {
    let cleared = folder.to_path_buf();
    blocking_or(&writing(folder), move || mark::wipe(&cleared)).await
}
