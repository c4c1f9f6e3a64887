//! Keys of AES-128 packages, derived and not drawn: every attempt on every
//! worker encrypts alike, and a key server computes what it serves.

use hkdf::Hkdf;
use sha2::Sha256;

use crate::model::secret::Secret;

/// Derives all keys of one generation (HKDF-SHA256, RFC 5869, with the
/// generation's name as salt).
pub struct KeyRing {
    hkdf: Hkdf<Sha256>,
    rotate: u64,
}

/// The key of a run of segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentKey {
    /// 32 hex digits that name the key in URIs and files, and tell nothing of it.
    pub name: String,
    /// The 16 bytes.
    pub key: Secret,
}

impl KeyRing {
    /// The ring of `generation`; a new key every `rotate` segments, 0 for never.
    pub fn new(master_key: &Secret, generation: &str, rotate: u64) -> Self {
        Self { hkdf: Hkdf::new(Some(generation.as_bytes()), master_key.expose()), rotate }
    }

    /// The key of `segment`. All renditions share it: they are the same video.
    pub fn key(&self, segment: u64) -> SegmentKey {
        let rotation = segment.checked_div(self.rotate).unwrap_or(0);
        let key = Secret::new(self.derive(&format!("key {rotation}")).to_vec());
        SegmentKey { name: hex::encode(self.derive(&format!("name {rotation}"))), key }
    }

    /// The IV of one segment of one rendition: never the same twice under one key.
    pub fn iv(&self, rendition: &str, segment: u64) -> [u8; 16] {
        self.derive(&format!("iv {rendition} {segment}"))
    }

    /// The IV of all samples of one rendition, where samples are encrypted and not whole segments.
    pub fn constant_iv(&self, rendition: &str) -> [u8; 16] {
        self.derive(&format!("iv {rendition}"))
    }

    /// The id of the first key: the bytes of its name.
    pub fn key_id(&self) -> [u8; 16] {
        self.derive("name 0")
    }

    /// How many different keys `segments` segments use.
    pub fn keys(&self, segments: u64) -> impl Iterator<Item = SegmentKey> + '_ {
        let step = if self.rotate == 0 { segments.max(1) } else { self.rotate };
        (0..segments.max(1)).step_by(usize::try_from(step).unwrap_or(usize::MAX)).map(|segment| self.key(segment))
    }

    fn derive(&self, purpose: &str) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.hkdf.expand(purpose.as_bytes(), &mut bytes).expect("16 bytes are within what HKDF gives");
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_rotate_and_repeat_themselves() {
        let ring = |generation| KeyRing::new(&Secret::new(vec![7; 32]), generation, 3);
        let one = ring("a");
        assert_eq!(one.key(0), one.key(2));
        assert_ne!(one.key(2), one.key(3));
        assert_eq!(one.key(3), ring("a").key(5));
        assert_ne!(one.key(0), ring("b").key(0));
        assert_eq!(one.keys(7).count(), 3);
        assert_ne!(one.iv("720p", 0), one.iv("360p", 0));
        assert_ne!(one.constant_iv("720p"), one.constant_iv("360p"));
        assert_eq!(hex::encode(one.key_id()), one.key(0).name);
        assert_ne!(hex::decode(&one.key(0).name).unwrap(), one.key(0).key.expose());
    }
}
