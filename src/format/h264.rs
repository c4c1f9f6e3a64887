//! H.264 as MP4 keeps it (ISO/IEC 14496-15) becomes H.264 as MPEG-TS wants it
//! (Annex B of ITU-T H.264).

const START: [u8; 4] = [0, 0, 0, 1];

/// Access unit delimiter for any slice type; every access unit in TS begins with one.
const DELIMITER: [u8; 6] = [0, 0, 0, 1, 0x09, 0xf0];

const SEI: u8 = 6;
const IDR: u8 = 5;
const ACCESS_UNIT_DELIMITER: u8 = 9;

/// Level 5.2, as far as Apple's authoring specification goes (1.4).
const HIGHEST_LEVEL: u8 = 52;

/// What `avcC` says: the parameter sets and the codec string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// SPS and PPS with start codes, for the head of every key frame.
    parameter_sets: Vec<u8>,
    /// Bytes of a length field in a sample.
    length_bytes: usize,
    /// `avc1.PPCCLL` (RFC 6381 §3.3), from the SPS itself.
    pub codec: String,
}

impl Config {
    /// Reads `avcC`; `None` when it is not whole.
    pub fn parse(avcc: &[u8]) -> Option<Self> {
        let (profile, constraints, level) = (avcc.get(1)?, avcc.get(2)?, avcc.get(3)?);
        let codec = format!("avc1.{profile:02x}{constraints:02x}{level:02x}");
        let length_bytes = usize::from(avcc.get(4)? & 3) + 1;
        let mut parameter_sets = Vec::new();
        let mut rest = avcc.get(5..)?;
        for mask in [0x1f, 0xff] {
            let count = rest.first()? & mask;
            rest = rest.get(1..)?;
            for _ in 0..count {
                let length = usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]));
                parameter_sets.extend_from_slice(&START);
                parameter_sets.extend_from_slice(rest.get(2..2 + length)?);
                rest = rest.get(2 + length..)?;
            }
        }
        (!parameter_sets.is_empty()).then_some(Self { parameter_sets, length_bytes, codec })
    }

    /// Whether every player of H.264 knows the profile and level.
    pub fn plays_everywhere(&self) -> bool {
        let byte = |at: usize| self.codec.get(at..at + 2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let (Some(profile), Some(constraints), Some(level)) = (byte(5), byte(7), byte(9)) else { return false };
        // Baseline only as far as it is Main as well (`constraint_set1_flag`).
        let known = matches!(profile, 77 | 100) || (profile == 66 && constraints & 0x40 != 0);
        known && level <= HIGHEST_LEVEL
    }

    /// Whether the first slice in `head`, the first bytes of a sample, is one of an IDR picture.
    pub fn begins_with_idr(&self, mut head: &[u8]) -> bool {
        while let Some((length, rest)) = head.split_at_checked(self.length_bytes) {
            let length = length.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
            match rest.first().map(|first| first & 0x1f) {
                Some(IDR) => return true,
                None | Some(1..=4) => return false,
                _ => head = rest.get(length..).unwrap_or_default(),
            }
        }
        false
    }

    /// Appends one sample to `out` as an access unit of Annex B and tells whether it is an IDR picture.
    /// `None` when its lengths do not add up.
    ///
    /// The encoder's own note of its settings (SEI) is left out: it is in no
    /// player's interest, and nothing of the encoder's making should reach the public.
    pub fn append_annex_b(&self, sample: &[u8], out: &mut Vec<u8>) -> Option<bool> {
        let is_idr = self.units(sample).any(|unit| unit.is_some_and(|unit| unit_type(unit) == IDR));
        out.extend_from_slice(&DELIMITER);
        if is_idr {
            out.extend_from_slice(&self.parameter_sets);
        }
        for unit in self.units(sample) {
            let unit = unit?;
            let kept = match unit_type(unit) {
                SEI => unit.get(1) != Some(&USER_DATA_UNREGISTERED),
                kind => kind != ACCESS_UNIT_DELIMITER,
            };
            if kept {
                out.extend_from_slice(&START);
                out.extend_from_slice(unit);
            }
        }
        Some(is_idr)
    }

    /// The NAL units of a sample; `None` once for a length that does not fit.
    fn units<'a>(&self, mut sample: &'a [u8]) -> impl Iterator<Item = Option<&'a [u8]>> {
        let length_bytes = self.length_bytes;
        std::iter::from_fn(move || {
            if sample.is_empty() {
                return None;
            }
            let unit = sample.get(..length_bytes).and_then(|length| {
                let length = length.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte));
                sample.get(length_bytes..length_bytes + length).filter(|unit| !unit.is_empty())
            });
            sample = unit.map_or(&[], |unit| sample.get(length_bytes + unit.len()..).unwrap_or_default());
            Some(unit)
        })
    }
}

const USER_DATA_UNREGISTERED: u8 = 5;

fn unit_type(unit: &[u8]) -> u8 {
    unit.first().map_or(0, |head| head & 0x1f)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config::parse(&[1, 0x64, 0, 0x1f, 0xff, 0xe1, 0, 2, 0x67, 1, 1, 0, 2, 0x68, 2]).unwrap()
    }

    #[test]
    fn the_codec_string_comes_from_the_stream() {
        assert_eq!(config().codec, "avc1.64001f");
        assert_eq!(Config::parse(&[1, 0x64, 0]), None);
    }

    #[test]
    fn key_frames_carry_their_parameter_sets() {
        let mut out = Vec::new();
        assert_eq!(config().append_annex_b(&[0, 0, 0, 2, 0x65, 9], &mut out), Some(true));
        assert_eq!(out, [0, 0, 0, 1, 9, 0xf0, 0, 0, 0, 1, 0x67, 1, 0, 0, 0, 1, 0x68, 2, 0, 0, 0, 1, 0x65, 9]);
    }

    #[test]
    fn the_encoders_note_is_dropped_and_lies_are_found() {
        let mut out = Vec::new();
        assert_eq!(config().append_annex_b(&[0, 0, 0, 2, 6, 5, 0, 0, 0, 1, 0x41], &mut out), Some(false));
        assert_eq!(out, [0, 0, 0, 1, 9, 0xf0, 0, 0, 0, 1, 0x41]);
        assert_eq!(config().append_annex_b(&[0, 0, 0, 9, 0x41], &mut Vec::new()), None);
    }
}
