//! A folder as a storage: a local disk, a mounted bucket, a NAS.

use std::fs;
use std::io::{self, Read as _, Seek as _};
use std::ops::Range;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::StreamExt as _;
use jiff::Timestamp;
use rustix::fs::OFlags;
use tokio::sync::RwLock;

use super::error::{Kind, StorageError};
use super::mount::{self, Mount};
use super::{
    Abilities, About, ByteStream, Conditions, Large, Page, Reading, Stat, Storage, Stream, When, Written, is_key,
    same_version,
};
use crate::scratch::file::{self, Draft, Existing, Privacy, TEMPORARY};

/// Files that are listed at once.
const PAGE: usize = 1000;

/// Bytes that are read from a file at once.
const STEP: usize = 256 * 1024;

/// Where runs of ours keep their state; what it holds are no objects.
const STATE: &str = ".forebay";

/// Objects as files below one folder.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
    privacy: Privacy,
    mount: Option<Mount>,
    /// Shared by writes that are under way. A disk finishes them even if nobody waits for them any more, so that who
    /// lists what is to be removed waits instead.
    writing: Arc<RwLock<()>>,
}

impl Folder {
    /// The storage below `root`, which is made with the first write.
    pub fn new(root: PathBuf, privacy: Privacy) -> Self {
        let mount = Mount::of(&root);
        Self { root, privacy, mount, writing: Arc::default() }
    }

    /// A share of `/etc/fstab` above the folder that is not mounted.
    pub fn unmounted(&self) -> Option<PathBuf> {
        mount::unmounted(&self.root)
    }

    /// A file that stands where the folder, or one above it, should be.
    pub fn obstacle(&self) -> Option<&Path> {
        self.root.ancestors().find(|path| path.exists()).filter(|path| !path.is_dir())
    }

    fn place(&self) -> String {
        self.root.display().to_string()
    }

    /// The path of a key. Keys come from ids and plans, which are checked; this
    /// is the second lock on the same door.
    fn path(&self, key: &str) -> Result<PathBuf, StorageError> {
        let fits = |part: &str| part.len() <= 255 && part != "." && part != "..";
        if is_key(key) && key.split('/').all(fits) {
            return Ok(self.root.join(key));
        }
        Err(StorageError::bad_key(key, &self.place()))
    }

    fn failed(&self, operation: &str, key: &str) -> impl FnOnce(io::Error) -> StorageError {
        let what = format!("could not {operation} `{}` at `{}`", key.escape_debug(), self.place());
        let place = self.place();
        move |error| match error.kind() {
            io::ErrorKind::AlreadyExists => StorageError::new(Kind::Conflict, format!("{what}: it is there already")),
            io::ErrorKind::NotConnected => {
                StorageError::new(Kind::Unreachable, format!("what was mounted at `{place}` is not there any more"))
                    .hint("mount it again")
            }
            io::ErrorKind::NotADirectory => {
                StorageError::new(Kind::Other, format!("{what}: a file stands where a folder should be"))
                    .hint("move the file away, or give another destination")
            }
            _ => StorageError::io(&what, &error),
        }
    }

    /// Runs `work` where it may block: a NAS that hangs must not hang the rest.
    async fn blocking<T: Send + 'static>(
        &self,
        operation: &str,
        key: &str,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, StorageError> {
        blocking(work).await.map_err(self.failed(operation, key))
    }

    /// Begins a file, in folders that are made if need be.
    async fn draft(&self, key: &str) -> Result<Draft, StorageError> {
        let (path, root, mount, privacy) = (self.path(key)?, self.root.clone(), self.mount.clone(), self.privacy);
        let begin = move || {
            make_way(&path, (&root, mount), privacy)?;
            Draft::begin(&path, privacy)
        };
        self.blocking("write", key, begin).await
    }
}

#[async_trait]
impl Storage for Folder {
    fn address(&self, key: &str) -> String {
        self.root.join(key).display().to_string()
    }

    async fn is_there(&self) -> Result<bool, StorageError> {
        let root = self.root.clone();
        let found = self.blocking("look up", "", move || absent(fs::metadata(root))).await?;
        Ok(found.is_some_and(|found| found.is_dir()))
    }

    async fn stat(&self, key: &str) -> Result<Option<Stat>, StorageError> {
        let path = self.path(key)?;
        let found = self.blocking("look up", key, move || absent(fs::metadata(path))).await?;
        Ok(found.filter(fs::Metadata::is_file).map(|metadata| stat_of(key, &metadata)))
    }

    async fn read(&self, key: &str, range: Range<u64>, same: Option<&str>) -> Result<Option<Reading>, StorageError> {
        let path = self.path(key)?;
        let open = move || {
            // A named pipe that is opened otherwise waits for somebody who writes.
            let flags = OFlags::NONBLOCK.bits().cast_signed();
            let opened = fs::OpenOptions::new().read(true).custom_flags(flags).open(path);
            let Some(mut file) = absent(opened)? else { return Ok(None) };
            let metadata = file.metadata()?;
            if !metadata.is_file() {
                return Ok(None);
            }
            file.seek(io::SeekFrom::Start(range.start))?;
            let length = range.end.min(metadata.len()).saturating_sub(range.start);
            Ok(Some((file, metadata, length)))
        };
        let Some((file, metadata, length)) = self.blocking("read", key, open).await? else { return Ok(None) };
        let stat = stat_of(key, &metadata);
        same_version(&stat, same, &self.address(key))?;
        let (storage, name) = (self.clone(), key.to_owned());
        let stream = futures_util::stream::try_unfold((file, length), move |(file, left)| {
            let (storage, name) = (storage.clone(), name.clone());
            async move { storage.step(&name, file, left).await }
        });
        Ok(Some(Reading { stat, stream: stream.boxed() }))
    }

    async fn write(&self, key: &str, bytes: Bytes, about: &About, when: When<'_>) -> Result<Written, StorageError> {
        let existing = match when {
            When::Always => Existing::Replace,
            When::Absent => Existing::Keep,
            When::Same(_) => {
                return Err(StorageError::new(Kind::Unsupported, "a folder cannot replace one version alone"));
            }
        };
        let (path, modified) = (self.path(key)?, about.modified.map(Into::into));
        let writing = Arc::clone(&self.writing).read_owned().await;
        if modified.is_none() && existing == Existing::Replace {
            // The usual way, whose steps the tests of kills know by name.
            let (root, mount, privacy) = (self.root.clone(), self.mount.clone(), self.privacy);
            let write = move || {
                let _writing = writing;
                make_way(&path, (&root, mount), privacy)?;
                file::write(&path, &bytes, privacy)
            };
            self.blocking("write", key, write).await?;
        } else {
            let mut draft = self.draft(key).await?;
            let write = move || {
                let _writing = writing;
                draft.append(&bytes).and_then(|()| draft.finish(modified, existing))
            };
            self.blocking("write", key, write).await?;
        }
        Ok(Written::default())
    }

    fn large(&self) -> Large<'_> {
        Large::Stream(self)
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

    async fn page(&self, prefix: &str, after: Option<&str>) -> Result<Page, StorageError> {
        let top = if prefix.is_empty() { self.root.clone() } else { self.path(prefix)? };
        let (root, mount) = (self.root.clone(), self.mount.clone());
        let after: Vec<String> = after.into_iter().flat_map(|after| after.split('/').map(Into::into)).collect();
        drop(self.writing.write().await);
        let list = move || {
            // An empty folder in the place of a share is no share with nothing in it.
            mounted(&root, mount)?;
            let mut found = Vec::new();
            walk(&root, &top, &after, &mut found)?;
            Ok(found)
        };
        let found = self.blocking("list", prefix, list).await?;
        let below = |key: &str| key.strip_prefix(prefix).map(|rest| rest.trim_start_matches('/').to_owned());
        let next = if found.len() < PAGE { None } else { found.last().and_then(|last: &Stat| below(&last.key)) };
        Ok(Page { found, next })
    }

    fn abilities(&self) -> Abilities {
        let conditions = Conditions { if_absent: true, if_same: false };
        Abilities { conditions, paths: true, ..Abilities::default() }
    }
}

impl Folder {
    /// The next bytes of an open file.
    async fn step(
        &self,
        key: &str,
        mut file: fs::File,
        left: u64,
    ) -> Result<Option<(Bytes, (fs::File, u64))>, StorageError> {
        if left == 0 {
            return Ok(None);
        }
        let read = move || {
            let mut buffer = vec![0; STEP.min(usize::try_from(left).unwrap_or(STEP))];
            let read = file.read(&mut buffer)?;
            buffer.truncate(read);
            if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok((Bytes::from(buffer), file)) }
        };
        let (bytes, file) = self.blocking("read", key, read).await?;
        let left = left.saturating_sub(bytes.len() as u64);
        Ok(Some((bytes, (file, left))))
    }
}

#[async_trait]
impl Stream for Folder {
    async fn pour(
        &self,
        key: &str,
        mut stream: ByteStream,
        bytes: u64,
        about: &About,
    ) -> Result<Written, StorageError> {
        let mut draft = self.draft(key).await?;
        let mut written = 0;
        while let Some(piece) = stream.next().await {
            let piece = piece?;
            written += piece.len() as u64;
            let append = move || draft.append(&piece).map(|()| draft);
            draft = self.blocking("write", key, append).await?;
        }
        super::right_length(&self.address(key), written, bytes)?;
        let modified = about.modified.map(Into::into);
        self.blocking("write", key, move || draft.finish(modified, Existing::Replace)).await?;
        Ok(Written::default())
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn stat_of(key: &str, metadata: &fs::Metadata) -> Stat {
    let modified = Timestamp::new(metadata.mtime(), i32::try_from(metadata.mtime_nsec()).unwrap_or_default()).ok();
    let etag = format!("{:x}-{:x}-{:x}.{:x}", metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec());
    Stat {
        key: key.into(),
        bytes: metadata.len(),
        etag: Some(etag),
        md5: None,
        stored: modified,
        about: About { modified, ..About::default() },
    }
}

/// All files below `folder`, those too that links lead to, but not into folders behind links, that come after the path
/// `after` in it, up to a page of them. Tells whether the page is full.
fn walk(root: &Path, folder: &Path, after: &[String], found: &mut Vec<Stat>) -> io::Result<bool> {
    let Some(entries) = absent(fs::read_dir(folder))? else { return Ok(false) };
    // A name that is not UTF-8 is listed all the same, for somebody to hear of it; no key leads to it.
    let named = |entry: fs::DirEntry| (entry.file_name().to_string_lossy().into_owned(), entry);
    let mut entries = entries.map(|entry| entry.map(named)).collect::<io::Result<Vec<_>>>()?;
    entries.sort_by(|one, other| one.0.cmp(&other.0));
    for (name, entry) in entries {
        if name == STATE && folder == root {
            continue;
        }
        let (is_on_the_way, rest) = match after.split_first() {
            Some((first, _)) if name < *first => continue,
            Some((first, rest)) if name == *first => (true, rest),
            _ => (false, &[][..]),
        };
        if entry.file_type()?.is_dir() {
            if walk(root, &entry.path(), rest, found)? {
                return Ok(true);
            }
            continue;
        }
        if is_on_the_way {
            continue;
        }
        let path = entry.path();
        let Ok(key) = path.strip_prefix(root) else { continue };
        // A file may be gone between the listing and the look. Pipes, sockets and devices are no objects.
        let Some(metadata) = absent(fs::metadata(&path))?.filter(fs::Metadata::is_file) else { continue };
        found.push(stat_of(&key.to_string_lossy(), &metadata));
        if found.len() == PAGE {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Fails if the share that a folder was on is gone.
fn mounted(root: &Path, mount: Option<Mount>) -> io::Result<()> {
    if mount.is_some_and(|mount| !mount.holds(root)) { Err(io::ErrorKind::NotConnected.into()) } else { Ok(()) }
}

/// Makes the folders above `path`, unless the share they belong on is gone.
fn make_way(path: &Path, (root, mount): (&Path, Option<Mount>), privacy: Privacy) -> io::Result<()> {
    mounted(root, mount)?;
    file::make_folder(path.parent().unwrap_or(Path::new(".")), privacy).map_err(|error| match error.kind() {
        // It is a file that stands there: no condition of a write failed.
        io::ErrorKind::AlreadyExists => io::ErrorKind::NotADirectory.into(),
        _ => error,
    })
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
    use futures_util::FutureExt as _;

    use super::super::WHOLE;
    use super::*;

    fn storage() -> (tempfile::TempDir, Folder) {
        let folder = tempfile::tempdir().unwrap();
        let storage = Folder::new(folder.path().join("dest"), Privacy::Public);
        (folder, storage)
    }

    async fn put(storage: &Folder, key: &str, bytes: &'static [u8]) -> Result<Written, StorageError> {
        storage.write(key, Bytes::from_static(bytes), &About::default(), When::Always).await
    }

    #[tokio::test]
    async fn deleting_leaves_no_empty_folder_behind() {
        let (folder, storage) = storage();
        put(&storage, "a/gen/0.ts", b"1").await.unwrap();
        put(&storage, "a/master.m3u8", b"1").await.unwrap();
        storage.delete("a/gen/0.ts").await.unwrap();
        storage.delete("a/gen/0.ts").await.unwrap();
        assert!(!folder.path().join("dest/a/gen").exists() && folder.path().join("dest/a").exists());
        assert_eq!(storage.stat("a").await.unwrap(), None, "a folder is no object");
    }

    #[tokio::test]
    async fn a_listing_has_what_nobody_waits_for_any_more() {
        let (_folder, storage) = storage();
        let keys: Vec<String> = (0..100).map(|number| format!("a/{number}")).collect();
        for key in &keys {
            // Begun and dropped.
            drop(put(&storage, key, b"1").now_or_never());
        }
        assert_eq!(storage.page("", None).await.unwrap().found.len(), keys.len());
    }

    #[tokio::test]
    async fn keys_cannot_leave_the_folder() {
        let (_folder, storage) = storage();
        for key in ["../x", "a/../../x", "/etc/passwd", "", "a//b", "a/./b", "a\0b"] {
            assert_eq!(put(&storage, key, b"1").await.unwrap_err().kind, Kind::BadKey, "{key}");
            assert!(storage.read(key, WHOLE, None).await.is_err(), "{key}");
        }
    }

    #[tokio::test]
    async fn a_named_pipe_is_no_object_and_nobody_waits_for_it() {
        let (_folder, storage) = storage();
        put(&storage, "a", b"1").await.unwrap();
        let pipe = storage.root.join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        let keys: Vec<String> = storage.page("", None).await.unwrap().found.into_iter().map(|stat| stat.key).collect();
        assert_eq!(keys, ["a"]);
        assert!(storage.read("pipe", WHOLE, None).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_listing_hides_no_file_but_our_own_state() {
        use std::os::unix::ffi::OsStrExt as _;
        let (_folder, storage) = storage();
        put(&storage, "a/.forebay/x", b"1").await.unwrap();
        put(&storage, ".forebay/x", b"1").await.unwrap();
        fs::File::create(storage.root.join(std::ffi::OsStr::from_bytes(b"b\xff"))).unwrap();
        std::os::unix::fs::symlink("a", storage.root.join("folder")).unwrap();
        std::os::unix::fs::symlink("nowhere", storage.root.join("broken")).unwrap();
        let keys: Vec<String> = storage.page("", None).await.unwrap().found.into_iter().map(|stat| stat.key).collect();
        assert_eq!(keys, ["a/.forebay/x", "b\u{fffd}"]);
    }

    #[tokio::test]
    async fn pages_go_on_where_the_one_before_ended() {
        let (_folder, storage) = storage();
        for number in 0..1203 {
            let place = storage.root.join(format!("p/{}", number % 7));
            fs::create_dir_all(&place).unwrap();
            fs::File::create(place.join(format!("{number:04}"))).unwrap();
        }
        let first = storage.page("p", None).await.unwrap();
        let second = storage.page("p", first.next.as_deref()).await.unwrap();
        assert_eq!((first.found.len(), second.found.len(), second.next), (PAGE, 203, None));
        let mut keys: Vec<_> = first.found.iter().chain(&second.found).map(|stat| &stat.key).collect();
        keys.dedup();
        assert_eq!(keys.len(), 1203);
        assert_eq!(storage.page("", None).await.unwrap().found.len(), PAGE);
    }

    #[tokio::test]
    async fn a_folder_whose_mount_is_gone_is_not_filled() {
        let (folder, mut storage) = storage();
        put(&storage, "a", b"1").await.unwrap();
        storage.mount = Mount::of(Path::new("/proc"));
        let error = put(&storage, "b", b"1").await.unwrap_err();
        assert_eq!((error.kind, error.hint.as_deref()), (Kind::Unreachable, Some("mount it again")));
        assert!(!folder.path().join("dest/b").exists());
        assert_eq!(storage.page("", None).await.unwrap_err().kind, Kind::Unreachable, "it is not an empty one");
    }
}
