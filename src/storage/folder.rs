//! A folder as a storage: a local disk, a mounted bucket, a NAS.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use crate::scratch::file::{self, Privacy, TEMPORARY};
use crate::storage::{Abilities, Serving, Stat, Storage, StorageError};

/// Objects as files below one folder.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
    privacy: Privacy,
}

impl Folder {
    /// The storage below `root`, which is made with the first write.
    pub fn new(root: PathBuf, privacy: Privacy) -> Self {
        Self { root, privacy }
    }

    fn place(&self) -> String {
        self.root.display().to_string()
    }

    /// The path of a key. Keys come from ids and plans, which are checked; this
    /// is the second lock on the same door.
    fn path(&self, key: &str) -> Result<PathBuf, StorageError> {
        let valid = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
        if key.split('/').all(valid) {
            return Ok(self.root.join(key));
        }
        Err(StorageError::BadKey { place: self.place(), key: key.into() })
    }

    fn failed(&self, operation: &'static str, key: &str) -> impl FnOnce(io::Error) -> StorageError {
        let (place, key) = (self.place(), key.to_string());
        move |source| StorageError::Failed { place, operation, key, source }
    }

    /// Runs `work` where it may block: a NAS that hangs must not hang the rest.
    async fn blocking<T: Send + 'static>(
        &self,
        operation: &'static str,
        key: &str,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, StorageError> {
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(self.failed(operation, key))
    }
}

#[async_trait]
impl Storage for Folder {
    fn address(&self, key: &str) -> String {
        self.root.join(key).display().to_string()
    }

    async fn stat(&self, key: &str) -> Result<Option<Stat>, StorageError> {
        let path = self.path(key)?;
        let found = self.blocking("look up", key, move || absent(fs::metadata(path))).await?;
        Ok(found.filter(fs::Metadata::is_file).map(|metadata| Stat { key: key.into(), bytes: metadata.len() }))
    }

    async fn read(&self, key: &str, limit: u64) -> Result<Option<Vec<u8>>, StorageError> {
        let path = self.path(key)?;
        let read = move || {
            use io::Read as _;
            let Some(file) = absent(fs::File::open(path))? else { return Ok(None) };
            let mut bytes = Vec::new();
            if file.take(limit + 1).read_to_end(&mut bytes)? as u64 > limit {
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {limit} bytes")));
            }
            Ok(Some(bytes))
        };
        self.blocking("read", key, read).await
    }

    async fn write(&self, key: &str, bytes: Vec<u8>, _serving: Serving) -> Result<(), StorageError> {
        let path = self.path(key)?;
        let privacy = self.privacy;
        let write = move || {
            file::make_folder(path.parent().unwrap_or(Path::new(".")), privacy)?;
            file::write(&path, &bytes, privacy)
        };
        self.blocking("write", key, write).await
    }

    async fn delete(&self, key: &str) -> Result<(), StorageError> {
        let path = self.path(key)?;
        let root = self.root.clone();
        let delete = move || {
            absent(fs::remove_file(&path))?;
            // Objects have no folders: those that nothing is left in go too.
            let above = path.ancestors().skip(1).take_while(|folder| *folder != root && folder.starts_with(&root));
            for folder in above {
                if fs::remove_dir(folder).is_err() {
                    break;
                }
            }
            Ok(())
        };
        self.blocking("delete", key, delete).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Stat>, StorageError> {
        let top = self.path(prefix)?;
        let root = self.root.clone();
        self.blocking("list", prefix, move || list(&root, top)).await
    }

    fn abilities(&self) -> Abilities {
        Abilities { serving: false }
    }
}

/// All files below `top`, links not followed, with their keys from `root`.
fn list(root: &Path, top: PathBuf) -> io::Result<Vec<Stat>> {
    let mut found = Vec::new();
    let mut folders = vec![top];
    while let Some(folder) = folders.pop() {
        let Some(entries) = absent(fs::read_dir(&folder))? else { continue };
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
                continue;
            }
            let path = entry.path();
            let Some(key) = path.strip_prefix(root).ok().and_then(Path::to_str) else { continue };
            // A file may be gone between the listing and the look.
            let Some(metadata) = absent(entry.metadata())? else { continue };
            found.push(Stat { key: key.into(), bytes: metadata.len() });
        }
    }
    Ok(found)
}

/// `None` for what is not there.
fn absent<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a key is the leftover of an interrupted write.
pub fn is_leftover(key: &str) -> bool {
    key.ends_with(TEMPORARY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVING: Serving = Serving { content_type: "video/mp2t", cache_control: "max-age=1" };

    fn storage() -> (tempfile::TempDir, Folder) {
        let folder = tempfile::tempdir().unwrap();
        let storage = Folder::new(folder.path().join("dest"), Privacy::Public);
        (folder, storage)
    }

    #[tokio::test]
    async fn objects_come_back_as_they_were_put() {
        let (_folder, storage) = storage();
        storage.write("a/gen/0.ts", b"xyz".to_vec(), SERVING).await.unwrap();
        assert_eq!(storage.stat("a/gen/0.ts").await.unwrap().map(|stat| stat.bytes), Some(3));
        assert_eq!(storage.read("a/gen/0.ts", 3).await.unwrap().as_deref(), Some(&b"xyz"[..]));
        assert!(storage.read("a/gen/0.ts", 2).await.is_err());
        assert_eq!(storage.read("a/gen/1.ts", 9).await.unwrap(), None);
        assert_eq!(storage.stat("a/gen").await.unwrap(), None, "a folder is no object");
        assert_eq!(storage.list("a").await.unwrap(), [Stat { key: "a/gen/0.ts".into(), bytes: 3 }]);
    }

    #[tokio::test]
    async fn deleting_leaves_no_empty_folder_behind() {
        let (folder, storage) = storage();
        storage.write("a/gen/0.ts", vec![1], SERVING).await.unwrap();
        storage.write("a/master.m3u8", vec![1], SERVING).await.unwrap();
        storage.delete("a/gen/0.ts").await.unwrap();
        storage.delete("a/gen/0.ts").await.unwrap();
        assert!(!folder.path().join("dest/a/gen").exists() && folder.path().join("dest/a").exists());
    }

    #[tokio::test]
    async fn keys_cannot_leave_the_folder() {
        let (_folder, storage) = storage();
        for key in ["../x", "a/../../x", "/etc/passwd", "", "a//b", "a/./b"] {
            assert!(storage.write(key, vec![1], SERVING).await.is_err(), "{key}");
        }
    }
}
