//! What protects samples: the scheme, its pattern, and the vectors of each sample.

use super::boxes::{Cursor, child, descend, shown};
use super::note;

/// The protection of a track, from its sample entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::job::verify) struct Protection {
    /// `cbcs`, `cenc` and the like.
    pub(in crate::job::verify) scheme: String,
    pub(in crate::job::verify) protected: bool,
    /// Blocks of 16 bytes that are encrypted, then left clear; 0 and 0 is all.
    pub(in crate::job::verify) pattern: (u8, u8),
    /// Bytes of the vector of each sample; 0 where all have the constant one.
    pub(in crate::job::verify) iv_size: u8,
    pub(in crate::job::verify) constant_iv: Option<[u8; 16]>,
}

impl Protection {
    /// Reads the `sinf` of an entry; the second value is the format underneath.
    pub(super) fn read(sinf: &[u8], faults: &mut Vec<String>) -> Option<(Self, [u8; 4])> {
        let format = Cursor(child(sinf, *b"frma")?.body).array::<4>()?;
        let mut protection = Self::default();
        if let Some(schm) = child(sinf, *b"schm") {
            let mut schm = Cursor(schm.body);
            schm.full()?;
            protection.scheme = shown(schm.array()?);
        } else {
            note(faults, "an encrypted track has no scheme (`schm`)");
        }
        match descend(sinf, &[b"schi", b"tenc"]) {
            Some(tenc) => protection.defaults(tenc)?,
            None => note(faults, "an encrypted track has no defaults (`tenc`)"),
        }
        Some((protection, format))
    }

    fn defaults(&mut self, tenc: &[u8]) -> Option<()> {
        let mut tenc = Cursor(tenc);
        let (version, _) = tenc.full()?;
        tenc.u8()?;
        let pattern = tenc.u8()?;
        if version > 0 {
            self.pattern = (pattern >> 4, pattern & 15);
        }
        self.protected = tenc.u8()? == 1;
        self.iv_size = tenc.u8()?;
        tenc.take(16)?;
        if self.protected && self.iv_size == 0 {
            let size = usize::from(tenc.u8()?);
            self.constant_iv = padded(tenc.take(size)?);
        }
        Some(())
    }
}

/// A vector of 8 or 16 bytes as 16.
fn padded(bytes: &[u8]) -> Option<[u8; 16]> {
    let mut iv = [0; 16];
    iv.get_mut(..bytes.len())?.copy_from_slice(bytes);
    matches!(bytes.len(), 8 | 16).then_some(iv)
}

/// What `senc` says of one sample.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cover {
    pub(super) iv: Option<[u8; 16]>,
    /// Clear and encrypted bytes by turns; empty is all encrypted.
    pub(super) parts: Vec<(u32, u32)>,
}

/// Subsamples of one fragment that are kept.
const PARTS: usize = 1_000_000;

/// Reads a `senc` box.
pub(super) fn covers(senc: &[u8], iv_size: u8) -> Option<Vec<Cover>> {
    let mut senc = Cursor(senc);
    let (_, flags) = senc.full()?;
    let count = senc.u32()?;
    let mut covers = Vec::new();
    let mut kept = 0;
    if iv_size == 0 && flags & 2 == 0 {
        // Nothing is said of any sample, so there is nothing to count.
        return Some(covers);
    }
    for _ in 0..count {
        let iv = if iv_size == 0 { None } else { Some(padded(senc.take(iv_size.into())?)?) };
        let mut parts = Vec::new();
        if flags & 2 != 0 {
            for _ in 0..senc.u16()? {
                parts.push((u32::from(senc.u16()?), senc.u32()?));
            }
            kept += parts.len();
        }
        covers.push(Cover { iv, parts });
        if kept > PARTS {
            return None;
        }
    }
    Some(covers)
}
