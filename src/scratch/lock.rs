//! One run at a time uses a state folder.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::file::{self, Privacy};

/// A folder that is removed so often while it is taken is not worth more.
const TRIES: u32 = 1000;

/// Holds the state folder until dropped. The kernel lets go of it with the
/// process, so a killed run leaves no stale lock.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the folder, or gives `None` when another run has it.
    pub fn take(folder: &Path) -> io::Result<Option<Self>> {
        let path = folder.join("lock");
        loop {
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // Who had it before may have removed the folder since the file was opened.
                Ok(()) if !is_at(&file, &path)? => {}
                Ok(()) => return Ok(Some(Self { file })),
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// As [`Lock::take`], of a folder that is made if it is not there, or was removed just now.
    pub fn make(folder: &Path) -> io::Result<Option<Self>> {
        let mut tries = 0;
        loop {
            tries += 1;
            match file::make_folder(folder, Privacy::Public).and_then(|()| Self::take(folder)) {
                // It went before it was taken, or while it was made.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists)
                        && tries < TRIES => {}
                taken => return taken,
            }
        }
    }

    /// Removes the folder. It gets another name before, so that who comes meanwhile makes a new one.
    pub fn remove(self, folder: &Path) -> io::Result<()> {
        // No other file has this number as long as ours is there.
        let number = self.file.metadata()?.ino();
        let mut gone = folder.as_os_str().to_owned();
        gone.push(format!(".gone-{number}"));
        std::fs::rename(folder, &gone)?;
        std::fs::remove_dir_all(&gone)
    }
}

/// Whether that file is what `path` leads to.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match path.metadata() {
        Ok(found) => Ok((found.dev(), found.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_folder_is_taken_once() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take(folder.path()).unwrap();
        assert!(first.is_some() && Lock::take(folder.path()).unwrap().is_none());
        drop(first);
        assert!(Lock::take(folder.path()).unwrap().is_some());
    }

    #[test]
    fn a_folder_that_others_remove_has_one_owner() {
        let parent = tempfile::tempdir().unwrap();
        let (folder, owned) = (parent.path().join("job"), AtomicBool::new(false));
        let own = || {
            let Some(lock) = Lock::make(&folder).unwrap() else { return };
            assert!(!owned.swap(true, Ordering::SeqCst), "two have it");
            File::create_new(folder.join("work")).unwrap();
            owned.store(false, Ordering::SeqCst);
            lock.remove(&folder).unwrap();
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..500).for_each(|_| own()));
            }
        });
    }
}
