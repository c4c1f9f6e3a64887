//! The ADTS header, which stands before each frame of AAC in MPEG-TS.

/// What one header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// MPEG-4 object type: 2 is AAC-LC.
    pub object_type: u8,
    /// Samples a second.
    pub sample_rate: u32,
    /// Channel configuration: 1 mono, 2 stereo, 6 is 5.1, 7 is 7.1; 0 is said elsewhere.
    pub channels: u8,
    /// Bytes of the frame, header included.
    pub length: usize,
    /// Samples of the frame in each channel.
    pub samples: u32,
}

/// Bytes that a header has at least.
pub const LENGTH: usize = 7;

const RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

impl Header {
    /// Reads the header at the start of `bytes`; `None` where there is none.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let &[sync, flags, kind, mixed, middle, low, blocks, ..] = bytes else { return None };
        // The layer is always 0, which tells ADTS from MP3.
        if sync != 0xff || flags & 0xf6 != 0xf0 {
            return None;
        }
        let length = usize::from(mixed & 3) << 11 | usize::from(middle) << 3 | usize::from(low >> 5);
        let header = if flags & 1 == 1 { LENGTH } else { LENGTH + 2 };
        (length > header).then_some(Self {
            object_type: (kind >> 6) + 1,
            sample_rate: *RATES.get(usize::from(kind >> 2 & 15))?,
            channels: (kind & 1) << 2 | mixed >> 6,
            length,
            samples: 1024 * (u32::from(blocks & 3) + 1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stereo_header_is_read() {
        let header = Header::read(&[0xff, 0xf1, 0x4c, 0x80, 0x2e, 0x7f, 0xfc]).unwrap();
        let expected = Header { object_type: 2, sample_rate: 48_000, channels: 2, length: 371, samples: 1024 };
        assert_eq!(header, expected);
    }

    #[test]
    fn other_bytes_are_not() {
        for bytes in [&[0xff, 0xf1][..], &[0; 7], &[0xff; 7], &[0xff, 0xf1, 0x4c, 0x80, 0, 0x1f, 0xfc]] {
            assert_eq!(Header::read(bytes), None);
        }
    }
}
