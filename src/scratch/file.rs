//! Files that are either whole or not there: written under another name,
//! flushed, renamed, and the folder flushed. Without the last two a power cut
//! leaves an empty file or none.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::fault;

/// Every temporary name ends like this, so that a sweep knows them.
pub const TEMPORARY: &str = ".forebay-tmp";

/// A disk with fewer free bytes than this is full: no chunk of a film fits.
const FULL: u64 = 1 << 20;

/// Who may read what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privacy {
    /// Everyone the folder lets in (0644).
    Public,
    /// The owner alone (0600), from the first byte on.
    Private,
}

/// Writes `bytes` to `path`, which afterwards holds all of them, durably, or
/// what it held before. Blocks.
pub fn write(path: &Path, bytes: &[u8], privacy: Privacy) -> io::Result<()> {
    if fault::mutant("no-rename") {
        std::fs::remove_file(path).unwrap_or_default();
        return write_new(path, path, bytes, privacy);
    }
    let temporary = temporary(path)?;
    let written = write_new(&temporary, path, bytes, privacy).and_then(|()| std::fs::rename(&temporary, path));
    if let Err(error) = written {
        // What cannot be removed is swept with the next run.
        std::fs::remove_file(&temporary).unwrap_or_default();
        return Err(error);
    }
    fault::point_at("renamed", path);
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

/// A file that is written piece by piece under another name, and removed unless it is finished. Blocks.
#[derive(Debug)]
pub struct Draft {
    file: File,
    temporary: PathBuf,
    last: PathBuf,
    finished: bool,
}

/// What becomes of a finished draft if there is a file already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It is replaced.
    Replace,
    /// It stays, and finishing fails with [`io::ErrorKind::AlreadyExists`].
    Keep,
}

impl Draft {
    /// Begins what is to become `path`.
    pub fn begin(path: &Path, privacy: Privacy) -> io::Result<Self> {
        let temporary = temporary(path)?;
        let mode = if privacy == Privacy::Private { 0o600 } else { 0o644 };
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        Ok(Self { file, temporary, last: path.into(), finished: false })
    }

    /// Adds bytes to the end.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Gives the file its name, durably, and its own date if it has one.
    pub fn finish(mut self, modified: Option<std::time::SystemTime>, existing: Existing) -> io::Result<()> {
        if let Some(modified) = modified {
            self.file.set_modified(modified)?;
        }
        self.file.sync_all()?;
        match existing {
            Existing::Replace => std::fs::rename(&self.temporary, &self.last)?,
            // A link is made only where nothing is; a rename would replace it.
            Existing::Keep => {
                std::fs::hard_link(&self.temporary, &self.last)?;
                std::fs::remove_file(&self.temporary)?;
            }
        }
        self.finished = true;
        sync_folder(self.last.parent().unwrap_or(Path::new(".")))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.finished {
            // What cannot be removed is swept with the next run.
            std::fs::remove_file(&self.temporary).unwrap_or_default();
        }
    }
}

/// Writes a new file at `path`, which is to become `last`.
fn write_new(path: &Path, last: &Path, bytes: &[u8], privacy: Privacy) -> io::Result<()> {
    let mode = if privacy == Privacy::Private { 0o600 } else { 0o644 };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    let (first, rest) = bytes.split_at(bytes.len() / 2);
    file.write_all(first)?;
    fault::point_at("half-written", last);
    file.write_all(rest)?;
    fault::point_at("unsynced", last);
    file.sync_all()
}

/// Flushes the names in a folder.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes a folder and those above it, durably; what is there stays as it is.
pub fn make_folder(folder: &Path, privacy: Privacy) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        make_folder(parent, privacy)?;
    }
    let mode = if privacy == Privacy::Private { 0o700 } else { 0o755 };
    match std::fs::DirBuilder::new().mode(mode).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_folder(parent.unwrap_or(Path::new("."))),
    }
}

/// Whether a folder is ours and nobody else may write there. A link is not: others may have made it.
pub fn is_ours_alone(folder: &Path) -> io::Result<bool> {
    let metadata = std::fs::symlink_metadata(folder)?;
    let is_ours = metadata.uid() == rustix::process::geteuid().as_raw();
    Ok(metadata.is_dir() && is_ours && metadata.mode() & 0o022 == 0)
}

/// Where a path leads, links followed as far as it exists.
pub fn real(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.into());
    for above in absolute.ancestors() {
        if let Ok(mut real) = std::fs::canonicalize(above) {
            for part in absolute.strip_prefix(above).unwrap_or(Path::new("")).components() {
                match part {
                    Component::ParentDir => drop(real.pop()),
                    part => real.push(part),
                }
            }
            return real;
        }
    }
    absolute
}

/// Whether there is next to no room left where `folder` is.
pub fn is_full(folder: &Path) -> bool {
    rustix::fs::statvfs(folder).is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < FULL)
}

/// A name beside `path` that no other write uses.
fn temporary(path: &Path) -> io::Result<PathBuf> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!(".{}-{count}{TEMPORARY}", std::process::id());
    path.file_name().map(|_| path.with_file_name(name)).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_write_replaces_the_whole_file_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/key");
        make_folder(path.parent().unwrap(), Privacy::Private).unwrap();
        write(&path, b"one", Privacy::Private).unwrap();
        write(&path, b"two", Privacy::Private).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        std::fs::create_dir(&path).unwrap();
        assert!(write(&path, b"x", Privacy::Public).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
