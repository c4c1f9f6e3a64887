//! What is on disk of a download, kept beside it, so that the next try goes on there.
//!
//! Nothing is synced: the page cache survives a kill, and after a power cut the
//! machine has another boot id, by which the mark is not believed.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::event::What;
use crate::model::failure::Failure;
use crate::model::fault;

use super::room::Room;
use super::{FetchContext, Fetched, Record};

/// The whole source.
const WHOLE: &str = "source";
/// The source while it is incomplete.
pub(super) const PART: &str = "source.part";
const MARK: &str = "source.json";

/// How far a download is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mark {
    pub(super) boot: String,
    pub(super) key: String,
    /// Tells this file from any other that is downloaded, also after a restart.
    pub(super) serial: String,
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
    /// Bytes of the whole.
    pub(super) size: Option<u64>,
    /// Bytes that are on disk.
    pub(super) written: Ranges,
    /// SHA-256 in hex, once all is there.
    pub(super) sha256: Option<String>,
}

/// A source that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finished {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

impl Mark {
    /// An empty mark of this boot.
    pub(super) fn new(key: &str) -> Self {
        Self { boot: boot_id(), key: key.to_owned(), serial: serial(), ..Self::default() }
    }

    /// The mark in `folder`, if it belongs to this input and can be believed.
    pub(super) fn load(folder: &Path, key: &str) -> Option<Self> {
        let mark: Self = serde_json::from_slice(&fs::read(folder.join(MARK)).ok()?).ok()?;
        (mark.key == key && !mark.boot.is_empty() && mark.boot == boot_id()).then_some(mark)
    }

    /// Replaces the mark in `folder`.
    pub(super) fn save(&self, folder: &Path) -> io::Result<()> {
        let temporary = folder.join("source.json.part");
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        fault::point("mark-before-rename");
        fs::rename(temporary, folder.join(MARK))?;
        fault::point("mark-saved");
        Ok(())
    }

    /// What to remember of the input.
    pub(super) fn record(&self) -> Record {
        Record {
            key: self.key.clone(),
            etag: self.etag.clone(),
            last_modified: self.last_modified.clone(),
            bytes: self.size,
            modified: None,
        }
    }

    /// The header that lets a server continue only the same bytes. Weak tags cannot.
    pub(super) fn validator(&self) -> Option<String> {
        let strong = self.etag.as_ref().filter(|etag| !etag.starts_with("W/"));
        strong.or(self.last_modified.as_ref()).cloned()
    }

    /// The whole source, if this mark says that it is there and it is.
    pub(super) fn finished(&self, folder: &Path) -> Option<Finished> {
        let (sha256, size) = (self.sha256.clone()?, self.size?);
        let (whole, part) = (folder.join(WHOLE), folder.join(PART));
        let has_size = |path: &Path| path.metadata().is_ok_and(|about| about.is_file() && about.len() == size);
        // A kill between the last mark and the rename leaves the part.
        if !has_size(&whole) && (!has_size(&part) || fs::rename(&part, &whole).is_err()) {
            return None;
        }
        Some(Finished { path: whole, bytes: size, sha256 })
    }

    /// Makes `path` the whole source that this mark describes.
    pub(super) fn finish(&self, folder: &Path, path: &Path) -> io::Result<PathBuf> {
        self.save(folder)?;
        fault::point("source-before-rename");
        let whole = folder.join(WHOLE);
        fs::rename(path, &whole)?;
        fault::point("source-renamed");
        Ok(whole)
    }

    /// Whether the part in `folder` can be gone on with.
    pub(super) fn resumable(&self, folder: &Path) -> bool {
        let part = folder.join(PART).metadata();
        self.validator().is_some()
            && self.sha256.is_none()
            && part.is_ok_and(|about| about.is_file() && Some(about.len()) == self.size)
    }
}

impl Finished {
    /// Hands the source out that an earlier try completed, which `mark` tells of.
    pub(super) async fn hand_out(
        self,
        mark: &Mark,
        mut room: Room<'_>,
        context: &FetchContext<'_>,
    ) -> Result<Fetched, Failure> {
        let Self { path, bytes, sha256 } = self;
        room.reserve(bytes).await?;
        (context.report)(What::Downloaded { bytes });
        let (record, serial, room) = (mark.record(), Some(mark.serial.clone()), room.finish(bytes));
        Ok(Fetched { path, bytes, sha256, record, temporary: true, serial, seal: None, beside: None, room })
    }
}

/// Removes what is there of a download.
pub(super) fn wipe(folder: &Path) -> io::Result<()> {
    for name in [MARK, PART, WHOLE] {
        match fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => (),
        }
    }
    Ok(())
}

fn serial() -> String {
    let drawn = getrandom::u64();
    drawn.map(|number| format!("{number:016x}")).unwrap_or_default()
}

/// What tells this run of the machine from others; empty if it has none.
pub(super) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// A set of bytes: ranges in ascending order that do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Adds the bytes of `range`.
    pub(super) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let first = self.0.partition_point(|&(_, end)| end < range.start);
        let after = self.0.partition_point(|&(start, _)| start <= range.end);
        let touched = self.0.get(first..after).unwrap_or_default();
        let start = touched.first().map_or(range.start, |&(start, _)| start.min(range.start));
        let end = touched.last().map_or(range.end, |&(_, end)| end.max(range.end));
        self.0.splice(first..after.max(first), [(start, end)]);
    }

    /// The ranges themselves.
    pub(super) fn as_slice(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// How many bytes there are.
    pub(super) fn total(&self) -> u64 {
        self.0.iter().map(|(start, end)| end - start).sum()
    }

    /// How many bytes there are from byte 0 on without a gap.
    pub(super) fn prefix(&self) -> u64 {
        self.0.first().map_or(0, |&(start, end)| if start == 0 { end } else { 0 })
    }

    /// What is missing of `size` bytes, in parts of at most `piece`.
    pub(super) fn missing(&self, size: u64, piece: u64) -> Vec<Range<u64>> {
        let mut pieces = Vec::new();
        let mut from = 0;
        for &(start, end) in self.0.iter().chain([&(size, size)]) {
            while from < start.min(size) {
                let to = start.min(size).min(from + piece);
                pieces.push(from..to);
                from = to;
            }
            from = from.max(end);
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_merge_and_tell_what_is_missing() {
        let mut ranges = Ranges::default();
        for range in [10..20, 30..40, 0..5, 20..25, 39..45, 5..5] {
            ranges.insert(range);
        }
        assert_eq!(ranges.0, [(0, 5), (10, 25), (30, 45)]);
        assert_eq!((ranges.total(), ranges.prefix()), (35, 5));
        assert_eq!(ranges.missing(50, 3), [5..8, 8..10, 25..28, 28..30, 45..48, 48..50]);
        ranges.insert(4..46);
        assert_eq!(ranges.0, [(0, 46)]);
        assert_eq!(ranges.missing(40, 9), []);
        assert_eq!(Ranges::default().missing(4, 9).len(), 1);
    }

    #[test]
    fn a_mark_of_another_boot_or_input_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let mark = Mark { etag: Some("\"x\"".into()), size: Some(3), ..Mark::new("key") };
        mark.save(folder.path()).unwrap();
        assert_eq!(Mark::load(folder.path(), "key").as_ref(), Some(&mark));
        assert_eq!(Mark::load(folder.path(), "other"), None);
        assert!(!mark.resumable(folder.path()));
        File::create(folder.path().join(PART)).unwrap().set_len(3).unwrap();
        assert!(mark.resumable(folder.path()));
        Mark { boot: "another".into(), ..mark.clone() }.save(folder.path()).unwrap();
        assert_eq!(Mark::load(folder.path(), "key"), None);
        let whole = Mark { sha256: Some("00".into()), ..mark };
        assert_eq!(whole.finished(folder.path()).unwrap().bytes, 3);
        assert!(folder.path().join(WHOLE).exists());
    }

    #[test]
    fn only_strong_validators_continue() {
        let mark = |etag: Option<&str>, date: Option<&str>| {
            Mark { etag: etag.map(Into::into), last_modified: date.map(Into::into), ..Mark::default() }.validator()
        };
        assert_eq!(mark(Some("\"a\""), Some("d")).as_deref(), Some("\"a\""));
        assert_eq!(mark(Some("W/\"a\""), Some("d")).as_deref(), Some("d"));
        assert_eq!(mark(Some("W/\"a\""), None), None);
    }
}
