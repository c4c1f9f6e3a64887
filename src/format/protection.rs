//! What CMAF says of encrypted samples (ISO/IEC 23001-7), scheme `cbcs`: a
//! constant IV, of pictures one block in ten, of sound every whole block.

use super::fmp4::{boxed, full};

/// Blocks of a pattern that are encrypted, and that are not.
pub const PATTERN: (usize, usize) = (1, 9);

/// The system of keys that need no licence (W3C "cenc" initialization data).
const COMMON_SYSTEM: [u8; 16] =
    [0x10, 0x77, 0xef, 0xec, 0xc0, 0xb2, 0x4d, 0x02, 0xac, 0xe3, 0x3c, 0x1e, 0x52, 0xe2, 0xfb, 0x4b];

/// The key of a track by its name, and its IV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protection {
    /// The key's id.
    pub key_id: [u8; 16],
    /// The IV of every run of encrypted bytes.
    pub iv: [u8; 16],
}

/// A run of clear bytes and the encrypted one behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Bytes in the clear.
    pub clear: u16,
    /// Bytes that the pattern covers.
    pub covered: u32,
}

/// `sinf`: what the track was before, and how it is encrypted.
pub(super) fn scheme(protection: &Protection, was: [u8; 4], video: bool) -> Vec<u8> {
    let (crypt, skip) = if video { PATTERN } else { (0, 0) };
    let pattern = u8::try_from(crypt << 4 | skip).unwrap_or(0);
    // Protected, and no IV with each sample: one of 16 bytes for all.
    let encryption = [&[0, pattern, 1, 0], protection.key_id.as_slice(), &[16], protection.iv.as_slice()].concat();
    let kind = full(*b"schm", 0, 0, &[b"cbcs".as_slice(), &0x0001_0000_u32.to_be_bytes()].concat());
    let information = boxed(*b"schi", &full(*b"tenc", 1, 0, &encryption));
    boxed(*b"sinf", &[boxed(*b"frma", &was), kind, information].concat())
}

/// `pssh` of the common system: the id of the key, for players that ask a page for keys.
pub(super) fn system_header(protection: &Protection) -> Vec<u8> {
    full(*b"pssh", 1, 0, &system_body(protection))
}

fn system_body(protection: &Protection) -> Vec<u8> {
    [COMMON_SYSTEM.as_slice(), &1_u32.to_be_bytes(), protection.key_id.as_slice(), &[0; 4]].concat()
}

/// `senc`, `saiz` and `saio`: which bytes of each sample are encrypted. Nothing
/// where all of them are, as the constant IV is said in the header.
pub(super) fn auxiliary(samples: &[&[Sealed]]) -> Vec<u8> {
    if samples.iter().all(|sealed| sealed.is_empty()) {
        return Vec::new();
    }
    let count = u32::try_from(samples.len()).unwrap_or(u32::MAX).to_be_bytes();
    let size = |sealed: &&[Sealed]| u8::try_from(2 + sealed.len() * 6).unwrap_or(u8::MAX);
    let sizes: Vec<u8> = samples.iter().map(size).collect();
    let mut list = count.to_vec();
    for sealed in samples {
        list.extend(u16::try_from(sealed.len()).unwrap_or(u16::MAX).to_be_bytes());
        for Sealed { clear, covered } in *sealed {
            list.extend(clear.to_be_bytes());
            list.extend(covered.to_be_bytes());
        }
    }
    // Sub-samples are listed. It comes first: ffmpeg takes places of the others for those of the first fragment.
    let mut bytes = full(*b"senc", 0, 2, &list);
    bytes.extend(full(*b"saiz", 0, 0, &[&[0], count.as_slice(), &sizes].concat()));
    // The place of the first is filled in when it is known.
    bytes.extend(full(*b"saio", 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROTECTION: Protection = Protection { key_id: [7; 16], iv: [9; 16] };

    #[test]
    fn the_scheme_names_key_pattern_and_iv() {
        let made = scheme(&PROTECTION, *b"avc1", true);
        let at = made.windows(4).position(|four| four == b"tenc").unwrap() + 4;
        let expected = [&[1, 0, 0, 0, 0, 0x19, 1, 0], [7; 16].as_slice(), &[16], [9; 16].as_slice()].concat();
        assert_eq!(made[at..], expected);
        assert!(made.windows(8).any(|eight| eight == b"schm\0\0\0\0"));
    }

    #[test]
    fn sound_needs_no_list() {
        assert!(auxiliary(&[&[], &[]]).is_empty());
        let made = auxiliary(&[&[Sealed { clear: 30, covered: 500 }], &[]]);
        assert_eq!(made[12..30], [0, 0, 0, 2, 0, 1, 0, 30, 0, 0, 1, 0xf4, 0, 0, 0, 0, 0, 19]);
    }
}
