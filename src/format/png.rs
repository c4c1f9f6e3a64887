//! PNG's chunks, as far as they are asked here.

/// Bytes before the first chunk.
pub(super) const SIGNATURE: usize = 8;

/// The name of the chunk at `at`, and the bytes of its data.
pub(super) fn chunk(bytes: &[u8], at: usize) -> Option<([u8; 4], usize)> {
    let length = u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?);
    Some((bytes.get(at + 4..at + 8)?.try_into().ok()?, length as usize))
}

/// Whether a file goes on to its last chunk.
pub fn is_whole(bytes: &[u8]) -> bool {
    let mut at = SIGNATURE;
    while let Some((name, length)) = chunk(bytes, at) {
        at += length + 12;
        if name == *b"IEND" {
            return at <= bytes.len();
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_with_its_last_chunk() {
        let whole = b"\x89PNG\r\n\x1a\n\0\0\0\x01IDATxcrc.\0\0\0\0IENDcrc.";
        assert!(is_whole(whole));
        assert!((0..whole.len()).all(|cut| !is_whole(&whole[..cut])));
    }
}
