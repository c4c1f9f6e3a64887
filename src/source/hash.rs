//! SHA-256 of files, on threads where blocking is allowed.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use crate::model::failure::Failure;
use crate::model::sha256::Sha256;

/// Bytes hashed before anybody looks whether to stop.
pub(super) const STEP: u64 = 8 * 1024 * 1024;

/// Feeds `range` of `file` to `hasher`. Fails if the file ends before.
pub(super) async fn feed(file: &Arc<File>, range: Range<u64>, hasher: Sha256) -> io::Result<Sha256> {
    let file = Arc::clone(file);
    blocking(move || {
        let (mut hasher, mut at) = (hasher, range.start);
        let mut buffer = vec![0; 256 * 1024];
        while at < range.end {
            let wanted = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(buffer.len());
            let bytes = buffer.get_mut(..wanted).unwrap_or_default();
            file.read_exact_at(bytes, at)?;
            hasher.update(&*bytes);
            at += wanted as u64;
        }
        Ok(hasher)
    })
    .await
}

/// SHA-256 of the first `size` bytes of `file`, in hex. Dropping the future ends it after a step.
pub(super) async fn of_file(file: &Arc<File>, size: u64) -> io::Result<String> {
    let (mut hasher, mut at) = (Sha256::new(), 0);
    while at < size {
        let to = size.min(at + STEP);
        hasher = feed(file, at..to, hasher).await?;
        at = to;
    }
    Ok(hex::encode(hasher.finalize()))
}

/// Runs file system calls where they may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// As [`blocking`], with the error in words.
pub(super) async fn blocking_or<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    blocking(work).await.map_err(|error| Failure::io(what, &error))
}

/// The words for [`blocking_or`] where something cannot be written to `path`.
pub(super) fn writing(path: &Path) -> String {
    format!("could not write to `{}`", path.to_string_lossy().escape_debug())
}
