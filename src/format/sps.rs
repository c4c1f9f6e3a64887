//! The sequence parameter set of H.264: what a decoder must know beforehand.

/// What the parameter set says, as far as players and rules care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sps {
    /// `profile_idc`: 66 Baseline, 77 Main, 100 High.
    pub profile: u8,
    /// The byte of constraint flags.
    pub constraints: u8,
    /// `level_idc`: ten times the level.
    pub level: u8,
    /// 1 is 4:2:0.
    pub chroma: u32,
    /// Bits of a luma sample.
    pub bit_depth: u32,
    /// Width after cropping.
    pub width: u32,
    /// Height after cropping.
    pub height: u32,
    /// Macroblocks of one picture.
    pub macroblocks: u64,
    /// Whether all pictures are frames, never fields.
    pub progressive: bool,
    /// Width of a sample over its height, where given.
    pub sample_aspect: Option<(u32, u32)>,
    /// Whether samples use the full range, where given.
    pub full_range: Option<bool>,
    /// Primaries, transfer and matrix by their numbers, where given.
    pub colour: Option<(u32, u32, u32)>,
}

impl Sps {
    /// Reads a NAL unit, header byte included. `None` where it ends too early or contradicts itself.
    pub fn read(nal: &[u8]) -> Option<Self> {
        let raw = without_emulation(nal.get(1..)?.get(..4096.min(nal.len() - 1))?);
        let (&profile, &constraints, &level) = (raw.first()?, raw.get(1)?, raw.get(2)?);
        let mut bits = Bits { bytes: raw.get(3..)?, at: 0 };
        bits.unsigned()?;
        let (chroma, bit_depth) = if HAS_CHROMA.contains(&profile) { chroma(&mut bits)? } else { (1, 8) };
        bits.unsigned()?;
        match bits.unsigned()? {
            0 => {
                bits.unsigned()?;
            }
            1 => {
                bits.flag()?;
                bits.unsigned()?;
                bits.unsigned()?;
                for _ in 0..bits.unsigned().filter(|&count| count <= 255)? {
                    bits.unsigned()?;
                }
            }
            _ => {}
        }
        bits.unsigned()?;
        bits.flag()?;
        let columns = bits.unsigned().filter(|&count| count < 4096)? + 1;
        let units = bits.unsigned().filter(|&count| count < 4096)? + 1;
        let progressive = bits.flag()?;
        if !progressive {
            bits.flag()?;
        }
        let rows = if progressive { units } else { units * 2 };
        bits.flag()?;
        let (width, height) = cropped(&mut bits, (columns * 16, rows * 16), chroma, progressive)?;
        let mut sps = Self {
            profile,
            constraints,
            level,
            chroma,
            bit_depth,
            width,
            height,
            macroblocks: u64::from(columns) * u64::from(rows),
            progressive,
            sample_aspect: None,
            full_range: None,
            colour: None,
        };
        if bits.flag()? {
            sps.usability(&mut bits)?;
        }
        Some(sps)
    }

    /// The start of the VUI: aspect and colour.
    fn usability(&mut self, bits: &mut Bits<'_>) -> Option<()> {
        if bits.flag()? {
            self.sample_aspect = match bits.read(8)? {
                255 => Some((bits.read(16)?, bits.read(16)?)),
                index => ASPECTS.get(usize::try_from(index).ok()?).copied(),
            };
        }
        if bits.flag()? {
            bits.flag()?;
        }
        if bits.flag()? {
            bits.read(3)?;
            self.full_range = Some(bits.flag()?);
            if bits.flag()? {
                self.colour = Some((bits.read(8)?, bits.read(8)?, bits.read(8)?));
            }
        }
        Some(())
    }

    /// `avc1.PPCCLL`, as CODECS wants it.
    pub fn codec(&self) -> String {
        format!("avc1.{:02x}{:02x}{:02x}", self.profile, self.constraints, self.level)
    }
}

/// Profiles whose parameter set has the chroma fields.
pub(super) const HAS_CHROMA: [u8; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

/// Table E-1: sample aspect ratios by their index. Index 0 says nothing.
const ASPECTS: [(u32, u32); 17] = [
    (1, 1),
    (1, 1),
    (12, 11),
    (10, 11),
    (16, 11),
    (40, 33),
    (24, 11),
    (20, 11),
    (32, 11),
    (80, 33),
    (18, 11),
    (15, 11),
    (64, 33),
    (160, 99),
    (4, 3),
    (3, 2),
    (2, 1),
];

/// Chroma format and luma depth, and past the scaling matrices.
pub(super) fn chroma(bits: &mut Bits<'_>) -> Option<(u32, u32)> {
    let chroma = bits.unsigned()?;
    if chroma == 3 {
        bits.flag()?;
    }
    let depth = bits.unsigned().filter(|&depth| depth <= 6)? + 8;
    bits.unsigned()?;
    bits.flag()?;
    if bits.flag()? {
        for list in 0..if chroma == 3 { 12 } else { 8 } {
            if bits.flag()? {
                skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    Some((chroma, depth))
}

fn skip_scaling_list(bits: &mut Bits<'_>, size: u32) -> Option<()> {
    let (mut last, mut next) = (8_i64, 8_i64);
    for _ in 0..size {
        if next != 0 {
            let code = i64::from(bits.unsigned()?);
            let delta = if code % 2 == 0 { -(code / 2) } else { (code + 1) / 2 };
            next = (last + delta).rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Some(())
}

/// The size that is shown, from the size that is coded.
fn cropped(bits: &mut Bits<'_>, (width, height): (u32, u32), chroma: u32, progressive: bool) -> Option<(u32, u32)> {
    if !bits.flag()? {
        return Some((width, height));
    }
    let (left, right, top, bottom) = (bits.unsigned()?, bits.unsigned()?, bits.unsigned()?, bits.unsigned()?);
    let across = if matches!(chroma, 1 | 2) { 2 } else { 1 };
    let down = if chroma == 1 { 2 } else { 1 } * if progressive { 1 } else { 2 };
    let less = |size: u32, one: u32, other: u32, unit: u32| {
        size.checked_sub(one.checked_add(other)?.checked_mul(unit)?).filter(|&size| size > 0)
    };
    Some((less(width, left, right, across)?, less(height, top, bottom, down)?))
}

/// Drops the 3 of every 0 0 3.
pub(super) fn without_emulation(bytes: &[u8]) -> Vec<u8> {
    let mut raw = Vec::with_capacity(bytes.len());
    let mut zeros = 0;
    for &byte in bytes {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        raw.push(byte);
    }
    raw
}

/// Reads bits, most significant first.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes that are read, the last one perhaps in part.
    pub(super) fn read_bytes(&self) -> usize {
        self.at.div_ceil(8)
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        let byte = *self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    pub(super) fn read(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            value = value << 1 | u32::from(self.flag()?);
        }
        Some(value)
    }

    /// An Exp-Golomb code.
    pub(super) fn unsigned(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1_u32 << zeros) - 1 + self.read(zeros)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From x264 at 1920x1080, High, with bt709 in the VUI.
    const FULL_HD: &str = "67640028acd940780227e5c05a808080a0000003002000000641e30632c0";
    /// From x264 at 640x360, Constrained Baseline, without colour.
    const SMALL: &str = "6742c01ed900a02ff97011000003000100000300320f162e48";

    fn read(text: &str) -> Option<Sps> {
        Sps::read(&hex::decode(text).unwrap())
    }

    #[test]
    fn x264_parameter_sets_are_read() {
        let sps = read(FULL_HD).unwrap();
        assert_eq!((sps.width, sps.height, sps.macroblocks, sps.progressive), (1920, 1080, 8160, true));
        assert_eq!((sps.codec().as_str(), sps.chroma, sps.bit_depth), ("avc1.640028", 1, 8));
        assert_eq!((sps.colour, sps.full_range, sps.sample_aspect), (Some((1, 1, 1)), Some(false), Some((1, 1))));
        let sps = read(SMALL).unwrap();
        assert_eq!((sps.width, sps.height, sps.codec().as_str()), (640, 360, "avc1.42c01e"));
        assert_eq!(sps.colour, None);
    }

    #[test]
    fn cut_ones_give_nothing_and_no_panic() {
        let whole = hex::decode(FULL_HD).unwrap();
        for length in 0..12 {
            assert_eq!(Sps::read(&whole[..length]), None);
        }
        for at in 0..whole.len() {
            for value in [0, 0x55, 0xff] {
                let mut broken = whole.clone();
                broken[at] = value;
                Sps::read(&broken);
            }
        }
    }
}
