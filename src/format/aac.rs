//! AAC frames with the header that MPEG-TS wants (ADTS, ISO/IEC 13818-7, 6.2).

/// What `AudioSpecificConfig` says, as far as ADTS can repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    object_type: u8,
    frequency_index: u8,
    channels: u8,
}

impl Config {
    /// Reads `AudioSpecificConfig` (ISO/IEC 14496-3, 1.6.2.1); `None` for what ADTS cannot carry.
    pub fn parse(config: &[u8]) -> Option<Self> {
        let (first, second) = (*config.first()?, *config.get(1)?);
        let parsed = Self {
            object_type: first >> 3,
            frequency_index: (first & 7) << 1 | second >> 7,
            channels: second >> 3 & 15,
        };
        let valid =
            (1..=4).contains(&parsed.object_type) && parsed.frequency_index < 13 && (1..=7).contains(&parsed.channels);
        valid.then_some(parsed)
    }

    /// `mp4a.40.2` for AAC-LC (RFC 6381 §3.3).
    pub fn codec(&self) -> String {
        format!("mp4a.40.{}", self.object_type)
    }

    /// Appends one frame with its header; `None` when it is too long for one.
    pub fn append_adts(&self, frame: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let length = u16::try_from(frame.len() + 7).ok().filter(|length| *length < 1 << 13)?;
        // 13 bits of length: two, eight, and three before a full buffer (0x7ff).
        let bits = |from: u16, mask: u16| u8::try_from(length >> from & mask).expect("masked to a byte");
        out.extend_from_slice(&[
            0xff,
            0xf1,
            (self.object_type - 1) << 6 | self.frequency_index << 2 | self.channels >> 2,
            (self.channels & 3) << 6 | bits(11, 3),
            bits(3, 0xff),
            bits(0, 7) << 5 | 0x1f,
            0xfc,
        ]);
        out.extend_from_slice(frame);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stereo_frame_gets_the_usual_header() {
        let config = Config::parse(&[0x11, 0x90]).unwrap();
        assert_eq!(config.codec(), "mp4a.40.2");
        let mut out = Vec::new();
        config.append_adts(&[0; 364], &mut out).unwrap();
        // 371 bytes in all: 0b00001_01110011.
        assert_eq!(out[..7], [0xff, 0xf1, 0x4c, 0x80, 0x2e, 0x7f, 0xfc]);
        assert!(config.append_adts(&[0; 9000], &mut Vec::new()).is_none());
    }
}
