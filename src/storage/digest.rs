//! MD5 of what is stored, by which servers and we tell whether it arrived as it was sent.

use bytes::Bytes;
use md5::{Digest as _, Md5};

/// Up to so many bytes it takes longer to hand them to another thread than to digest them.
const FEW: usize = 32 * 1024;

/// The digest of `bytes`, computed where no connection waits for it.
pub(super) async fn md5(bytes: &Bytes) -> [u8; 16] {
    let digest = |bytes: &Bytes| Md5::digest(bytes).into();
    if bytes.len() <= FEW {
        return digest(bytes);
    }
    let many = bytes.clone();
    tokio::task::spawn_blocking(move || digest(&many)).await.unwrap_or_else(|_| digest(bytes))
}
