//! Files of this machine: used in place, unless they lie behind a network,
//! where an encoder would wait for every read.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rustix::fs::OFlags;

use crate::model::event::What;
use crate::model::failure::Failure;
use crate::model::sha256::Sha256;

use super::hash::{self, blocking};
use super::room::Room;
use super::{FetchContext, Fetched, Record, SourceSettings};

/// `statfs` numbers of file systems behind a network: NFS, SMB, SMB2, CIFS, FUSE, 9P, Ceph, AFS.
const REMOTE: &[u64] = &[0x6969, 0x517B, 0xFE53_4D42, 0xFF53_4D42, 0x6573_5546, 0x0102_1997, 0x00C3_6400, 0x5346_414F];

/// Bytes copied at once from a network file system.
const STEP: usize = 4 * 1024 * 1024;

/// Whether the file still has the size and date of `record`.
pub(super) async fn unchanged(path: &Path, record: &Record) -> bool {
    let path = path.to_path_buf();
    let now = blocking(move || path.metadata()).await;
    // A file that is gone cannot be made anew; what was made of it stays.
    now.map_or(true, |now| Some(now.len()) == record.bytes && Some(now.mtime()) == record.modified)
}

/// Hashes the file, and copies it to `folder` if it lies behind a network.
pub(super) async fn fetch(
    path: &Path,
    key: &str,
    folder: &Path,
    settings: &SourceSettings,
    context: &FetchContext<'_>,
) -> Result<Fetched, Failure> {
    let shown = path.to_string_lossy().escape_debug().to_string();
    let (file, before) = open(path, &shown).await?;
    let mut room = Room::new(context, u64::MAX, shown.clone());
    if before.version.bytes == 0 {
        return Err(Failure::permanent(format!("`{shown}` is empty (0 bytes)")));
    }
    if before.version.bytes > settings.max_bytes {
        let (bytes, most) = (before.version.bytes, settings.max_bytes);
        return Err(Failure::permanent(format!("`{shown}` has {bytes} bytes, and at most {most} are allowed")));
    }
    if before.remote {
        room.reserve(before.version.bytes).await?;
    }
    let permit = context.disk.acquire(context.rank, 1).await;
    let (place, sha256) = if before.remote {
        copy(&file, before.version.bytes, &shown, folder, context).await?
    } else {
        let hashed = hash::of_file(&file, before.version.bytes).await;
        (path.to_path_buf(), hashed.map_err(|error| unreadable(&shown, &error))?)
    };
    drop(permit);
    let after = open(path, &shown).await?.1;
    if after.version != before.version {
        return Err(changed(&shown, "read"));
    }
    (context.report)(What::Downloaded { bytes: before.version.bytes });
    let record = Record {
        key: key.to_owned(),
        etag: None,
        last_modified: None,
        bytes: Some(before.version.bytes),
        modified: Some(before.version.modified.0),
    };
    let room = room.finish(before.version.bytes);
    let seal = (!before.remote).then(|| Seal { path: path.to_path_buf(), version: before.version });
    Ok(Fetched {
        path: place,
        bytes: before.version.bytes,
        sha256,
        record,
        temporary: before.remote,
        serial: None,
        seal,
        beside: None,
        room,
    })
}

/// A file that is used in place, as it was when it was hashed.
#[derive(Clone, Debug)]
pub struct Seal {
    path: PathBuf,
    version: Version,
}

impl Seal {
    /// Fails if the file is another one now: what was made of it is not of the bytes that were hashed.
    pub async fn check(&self) -> Result<(), Failure> {
        let shown = self.path.to_string_lossy().escape_debug().to_string();
        let now = open(&self.path, &shown).await?.1;
        if now.version == self.version { Ok(()) } else { Err(changed(&shown, "encoded")) }
    }
}

/// What tells one state of a file from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    bytes: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    inode: (u64, u64),
}

struct About {
    version: Version,
    remote: bool,
}

fn changed(shown: &str, while_it_was: &str) -> Failure {
    Failure::temporary(format!("`{shown}` changed while it was {while_it_was}")).hint("try again when it is whole")
}

async fn open(path: &Path, shown: &str) -> Result<(Arc<File>, About), Failure> {
    let path = path.to_path_buf();
    let opened = blocking(move || {
        // Opening a FIFO would wait for a writer, for ever.
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        let file = File::options().read(true).custom_flags(flags).open(path)?;
        let metadata = file.metadata()?;
        let kind = rustix::fs::fstatfs(&file)?.f_type;
        Ok((file, metadata, kind))
    });
    let (file, metadata, kind) = opened.await.map_err(|error| unreadable(shown, &error))?;
    if !metadata.is_file() {
        let what = if metadata.is_dir() { "a folder" } else { "not a regular file" };
        return Err(Failure::permanent(format!("`{shown}` is {what}")));
    }
    // The number is signed on some machines and has 32 bits on others.
    let kind = u64::try_from(kind).unwrap_or_default() & 0xFFFF_FFFF;
    let about = About {
        version: Version {
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            inode: (metadata.dev(), metadata.ino()),
        },
        remote: REMOTE.contains(&kind),
    };
    Ok((Arc::new(file), about))
}

async fn copy(
    file: &Arc<File>,
    bytes: u64,
    shown: &str,
    folder: &Path,
    context: &FetchContext<'_>,
) -> Result<(PathBuf, String), Failure> {
    let writing = format!("could not write to `{}`", folder.to_string_lossy().escape_debug());
    let (place, made) = (folder.join("source"), folder.to_path_buf());
    let created = blocking(move || {
        std::fs::create_dir_all(&made)?;
        File::create(made.join("source"))
    });
    let mut target = created.await.map_err(|error| Failure::io(&writing, &error))?;
    let (mut hasher, mut done, mut told) = (Sha256::new(), 0, Instant::now());
    while done < bytes {
        let source = Arc::clone(file);
        // Reading and writing fail for different reasons, so their errors are kept apart.
        let step = blocking(move || {
            let mut buffer = Vec::with_capacity(STEP);
            let read = (&*source).take(STEP as u64).read_to_end(&mut buffer).and_then(|read| match read {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                read => Ok(read as u64),
            });
            hasher.update(&buffer);
            let written = target.write_all(&buffer);
            Ok((hasher, target, read, written))
        });
        let (read, written);
        (hasher, target, read, written) = step.await.map_err(|error| unreadable(shown, &error))?;
        done += read.map_err(|error| unreadable(shown, &error))?;
        written.map_err(|error| Failure::io(&writing, &error))?;
        if told.elapsed().as_millis() >= 200 {
            told = Instant::now();
            (context.report)(What::Downloading { bytes: done, total: Some(bytes) });
        }
    }
    Ok((place, hex::encode(hasher.finalize())))
}

fn unreadable(shown: &str, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::NotFound => Failure::permanent(format!("`{shown}` is not there any more")),
        io::ErrorKind::UnexpectedEof => Failure::temporary(format!("`{shown}` changed while it was read")),
        io::ErrorKind::PermissionDenied => {
            Failure::permanent(format!("`{shown}` may not be read: {error}")).hint("check the rights of that file")
        }
        _ => Failure::temporary(format!("could not read `{shown}`: {error}")),
    }
}
