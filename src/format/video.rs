//! What the encoders of pictures say of their streams, in the words of MP4: the
//! codec string, and samples without what is nobody's business.

use super::h264;

/// HEVC: an IDR picture with and without leading ones, and a note in front of a picture.
const HEVC_IDR: [u8; 2] = [19, 20];
const HEVC_SEI: u8 = 39;

/// A note of any content, such as the encoder's settings.
const USER_DATA_UNREGISTERED: u8 = 5;

/// The stream of one encoder's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The sample entry: `avc1`, `hvc1` or `av01`.
    pub entry: [u8; 4],
    /// `avcC`, `hvcC` or `av1C`, without its header.
    pub record: Vec<u8>,
    /// The codec string (RFC 6381).
    pub codec: String,
    /// Bytes of a length before each unit; AV1 has none.
    length_bytes: usize,
}

impl Config {
    /// Reads the record of a sample entry; `None` when it is not whole, or of another codec.
    pub fn parse(entry: [u8; 4], record: &[u8]) -> Option<Self> {
        let (codec, length_bytes) = match &entry {
            b"avc1" => (h264::Config::parse(record)?.codec, usize::from(record.get(4)? & 3) + 1),
            b"hvc1" => (hevc_codec(record)?, usize::from(record.get(21)? & 3) + 1),
            b"av01" => (av1_codec(record)?, 0),
            _ => return None,
        };
        Some(Self { entry, record: record.to_vec(), codec, length_bytes })
    }

    /// A sample without the encoder's notes, and whether decoding can begin at it.
    /// `marked` is what the file says of that. `None` when lengths do not add up.
    pub fn sample(&self, bytes: Vec<u8>, marked: bool) -> Option<(Vec<u8>, bool)> {
        if self.length_bytes == 0 {
            return Some((bytes, marked));
        }
        let mut kept = Vec::with_capacity(bytes.len());
        let mut key = false;
        for (head, _, unit) in self.units(&bytes)? {
            key |= self.is_idr(unit);
            if !self.is_note(unit) {
                kept.extend_from_slice(bytes.get(head..head + self.length_bytes)?);
                kept.extend_from_slice(unit);
            }
        }
        Some((kept, key))
    }

    /// The units of a sample, each with the place of its length and its own; `None` when lengths do not add up.
    pub fn units<'a>(&self, sample: &'a [u8]) -> Option<Vec<(usize, usize, &'a [u8])>> {
        let mut units = Vec::new();
        let mut at = 0;
        while at < sample.len() {
            let length = sample.get(at..at + self.length_bytes)?;
            let length = length.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte));
            let from = at + self.length_bytes;
            units.push((at, from, sample.get(from..from + length).filter(|unit| !unit.is_empty())?));
            at = from + length;
        }
        Some(units)
    }

    fn is_idr(&self, unit: &[u8]) -> bool {
        let head = unit.first().copied().unwrap_or_default();
        if self.entry == *b"avc1" { head & 0x1f == 5 } else { HEVC_IDR.contains(&(head >> 1 & 0x3f)) }
    }

    fn is_note(&self, unit: &[u8]) -> bool {
        let head = unit.first().copied().unwrap_or_default();
        let (sei, payload) =
            if self.entry == *b"avc1" { (head & 0x1f == 6, 1) } else { (head >> 1 & 0x3f == HEVC_SEI, 2) };
        sei && unit.get(payload) == Some(&USER_DATA_UNREGISTERED)
    }
}

/// `hvc1.2.4.L120.90` (ISO/IEC 14496-15, annex E).
fn hevc_codec(record: &[u8]) -> Option<String> {
    let (profile, level) = (*record.get(1)?, *record.get(12)?);
    let space = ["", "A", "B", "C"].get(usize::from(profile >> 6))?;
    let compatible = u32::from_be_bytes(record.get(2..6)?.try_into().ok()?).reverse_bits();
    let tier = if profile & 0x20 == 0 { 'L' } else { 'H' };
    let constraints = record.get(6..12)?;
    let used = constraints.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let codec = format!("hvc1.{space}{}.{compatible:X}.{tier}{level}", profile & 0x1f);
    Some(constraints.iter().take(used).fold(codec, |codec, byte| format!("{codec}.{byte:X}")))
}

/// `av01.0.05M.08` (AV1 in ISO base media, section 5).
fn av1_codec(record: &[u8]) -> Option<String> {
    let (profile, depth) = (*record.get(1)?, *record.get(2)?);
    let tier = if depth & 0x80 == 0 { 'M' } else { 'H' };
    let bits = match (depth & 0x40 != 0, depth & 0x20 != 0) {
        (false, _) => 8,
        (true, false) => 10,
        (true, true) => 12,
    };
    (record.first() == Some(&0x81)).then(|| format!("av01.{}.{:02}{tier}.{bits:02}", profile >> 5, profile & 0x1f))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AVCC: [u8; 15] = [1, 0x64, 0, 0x1f, 0xff, 0xe1, 0, 2, 0x67, 1, 1, 0, 2, 0x68, 2];

    #[test]
    fn codec_strings_come_from_the_stream() {
        assert_eq!(Config::parse(*b"avc1", &AVCC).unwrap().codec, "avc1.64001f");
        // From x265 at 160x90, Main.
        let hvcc = hex::decode("0101600000009000000000001ef000fcfdf8f800000f03").unwrap();
        assert_eq!(Config::parse(*b"hvc1", &hvcc).unwrap().codec, "hvc1.1.6.L30.90");
        assert_eq!(Config::parse(*b"av01", &[0x81, 0x05, 0x4c, 0]).unwrap().codec, "av01.0.05M.10");
        assert_eq!(Config::parse(*b"av01", &[0x01, 0x05, 0x0c, 0]), None);
        assert_eq!(Config::parse(*b"mp4v", &AVCC), None);
    }

    #[test]
    fn notes_of_the_encoder_are_dropped_and_lies_found() {
        let config = Config::parse(*b"avc1", &AVCC).unwrap();
        let sample = vec![0, 0, 0, 3, 6, 5, 9, 0, 0, 0, 2, 0x65, 7];
        assert_eq!(config.sample(sample, false), Some((vec![0, 0, 0, 2, 0x65, 7], true)));
        assert_eq!(config.sample(vec![0, 0, 0, 9, 0x65], true), None);
    }
}
