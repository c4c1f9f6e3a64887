//! How long the header of a slice of HEVC is (ITU-T H.265, 7.3.6): what encrypts
//! slices must leave it in the clear, for decoders in hardware read it.

use super::h264_slice::with_emulation;
use super::sps::{Bits, without_emulation};

/// Bytes of the header of a unit.
const UNIT_HEADER: usize = 2;

/// A header is never longer than this; a slice that says so is none.
const LONGEST: usize = 2048;

/// Types of units: the first and the one behind the last of random access pictures, the two of IDR, and the sets.
const RANDOM_ACCESS: std::ops::Range<u8> = 16..24;
const IDR: [u8; 2] = [19, 20];
const SEQUENCE: u8 = 33;
const PICTURE: u8 = 34;

/// A picture refers to no more others.
const MOST_REFERENCES: u32 = 16;

/// As much of the parameter sets as headers of slices depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    sequence: Sequence,
    picture: Picture,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sequence {
    /// 0 is grey.
    chroma: u32,
    separate_planes: bool,
    /// Bits of the address of a slice.
    address_bits: u32,
    order_bits: u32,
    offset: bool,
    /// Sets of references, each by how many pictures it has.
    sets: Vec<u32>,
    temporal_vectors: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the standard")]
struct Picture {
    dependent: bool,
    output: bool,
    extra_bits: u32,
    cabac_init: bool,
    references: [u32; 2],
    chroma_offsets: bool,
    weighted: bool,
    weighted_both: bool,
    entry_points: bool,
    across_slices: bool,
    deblocking_override: bool,
    deblocking_off: bool,
    extension: bool,
}

impl Parameters {
    /// Reads the first of each set in an `hvcC`; `None` for what our encoder does not write.
    pub fn parse(hvcc: &[u8]) -> Option<Self> {
        let (mut sequence, mut picture) = (None, None);
        let mut rest = hvcc.get(23..)?;
        for _ in 0..*hvcc.get(22)? {
            let kind = rest.first()? & 0x3f;
            let count = u16::from_be_bytes([*rest.get(1)?, *rest.get(2)?]);
            rest = rest.get(3..)?;
            for _ in 0..count {
                let length = usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]));
                let raw = without_emulation(rest.get(2 + UNIT_HEADER..2 + length)?);
                match kind {
                    SEQUENCE if sequence.is_none() => sequence = Some(Sequence::read(&mut Bits::new(&raw))?),
                    PICTURE if picture.is_none() => picture = Some(Picture::read(&mut Bits::new(&raw))?),
                    _ => {}
                }
                rest = rest.get(2 + length..)?;
            }
        }
        Some(Self { sequence: sequence?, picture: picture? })
    }

    /// Whether a unit is a slice of a picture.
    pub fn is_slice(unit: &[u8]) -> bool {
        matches!(kind(unit), Some(0..=9 | 16..=21))
    }

    /// Bytes of a slice up to the end of its header, the unit's own included.
    pub fn header_bytes(&self, slice: &[u8]) -> Option<usize> {
        let raw = without_emulation(slice.get(UNIT_HEADER..slice.len().min(LONGEST))?);
        let mut bits = Bits::new(&raw);
        self.header(&mut bits, kind(slice)?)?;
        // A one, and zeros up to the next byte.
        if !bits.flag()? {
            return None;
        }
        Some(UNIT_HEADER + with_emulation(slice.get(UNIT_HEADER..)?, bits.read_bytes()))
    }

    fn header(&self, bits: &mut Bits<'_>, kind: u8) -> Option<()> {
        let Self { sequence, picture } = self;
        let is_first = bits.flag()?;
        if RANDOM_ACCESS.contains(&kind) {
            bits.flag()?;
        }
        bits.unsigned()?;
        let mut is_dependent = false;
        if !is_first {
            is_dependent = picture.dependent && bits.flag()?;
            bits.read(sequence.address_bits)?;
        }
        if !is_dependent {
            self.independent(bits, kind)?;
        }
        if picture.entry_points {
            let count = bits.unsigned().filter(|&count| count < 65_536)?;
            if count > 0 {
                let length = bits.unsigned().filter(|&less| less < 32)? + 1;
                for _ in 0..count {
                    bits.read(length)?;
                }
            }
        }
        if picture.extension {
            let bytes = bits.unsigned().filter(|&bytes| bytes <= 256)?;
            bits.read(bytes * 8)?;
        }
        Some(())
    }

    /// All that a slice says that does not go on with the one before.
    fn independent(&self, bits: &mut Bits<'_>, kind: u8) -> Option<()> {
        let Self { sequence, picture } = self;
        bits.read(picture.extra_bits)?;
        let slice = bits.unsigned().filter(|&slice| slice <= 2)?;
        if picture.output {
            bits.flag()?;
        }
        if sequence.separate_planes {
            bits.read(2)?;
        }
        let mut vectors = false;
        if !IDR.contains(&kind) {
            bits.read(sequence.order_bits)?;
            self.references(bits)?;
            vectors = sequence.temporal_vectors && bits.flag()?;
        }
        let mut is_offset = false;
        if sequence.offset {
            is_offset = bits.flag()?;
            is_offset |= sequence.has_colour() && bits.flag()?;
        }
        if slice != 2 {
            self.prediction(bits, slice == 0, vectors)?;
        }
        bits.unsigned()?;
        if picture.chroma_offsets {
            bits.unsigned()?;
            bits.unsigned()?;
        }
        let mut is_off = picture.deblocking_off;
        if picture.deblocking_override && bits.flag()? {
            is_off = bits.flag()?;
            if !is_off {
                bits.unsigned()?;
                bits.unsigned()?;
            }
        }
        if picture.across_slices && (is_offset || !is_off) {
            bits.flag()?;
        }
        Some(())
    }

    /// The set of pictures that are kept.
    fn references(&self, bits: &mut Bits<'_>) -> Option<()> {
        let sets = &self.sequence.sets;
        if bits.flag()? {
            bits.read(bits_for(u32::try_from(sets.len()).ok()?))?;
        } else {
            reference_set(bits, sets, true)?;
        }
        Some(())
    }

    fn prediction(&self, bits: &mut Bits<'_>, is_b: bool, vectors: bool) -> Option<()> {
        let picture = &self.picture;
        let lists = if is_b { 2 } else { 1 };
        let mut counts = picture.references;
        if bits.flag()? {
            for count in counts.iter_mut().take(lists) {
                *count = bits.unsigned().filter(|&more| more < MOST_REFERENCES)? + 1;
            }
        }
        if is_b {
            bits.flag()?;
        }
        if picture.cabac_init {
            bits.flag()?;
        }
        if vectors {
            let from_first = !is_b || bits.flag()?;
            if counts[usize::from(!from_first)] > 1 {
                bits.unsigned()?;
            }
        }
        if (picture.weighted && !is_b) || (picture.weighted_both && is_b) {
            self.weights(bits, counts.get(..lists)?)?;
        }
        bits.unsigned()?;
        Some(())
    }

    fn weights(&self, bits: &mut Bits<'_>, counts: &[u32]) -> Option<()> {
        let colour = self.sequence.has_colour();
        bits.unsigned()?;
        if colour {
            bits.unsigned()?;
        }
        for &count in counts {
            let mut numbers = 0;
            for _ in 0..count {
                numbers += if bits.flag()? { 2 } else { 0 };
            }
            for _ in 0..if colour { count } else { 0 } {
                numbers += if bits.flag()? { 4 } else { 0 };
            }
            for _ in 0..numbers {
                bits.unsigned()?;
            }
        }
        Some(())
    }
}

/// The type of a unit.
fn kind(unit: &[u8]) -> Option<u8> {
    Some(unit.first()? >> 1 & 0x3f)
}

/// Bits that tell so many things apart.
fn bits_for(count: u32) -> u32 {
    count.max(1).next_power_of_two().trailing_zeros()
}

/// A set of references, as `sets` before it and the standard have it; gives how many pictures it has (7.3.7).
fn reference_set(bits: &mut Bits<'_>, sets: &[u32], in_slice: bool) -> Option<u32> {
    if !sets.is_empty() && bits.flag()? {
        // Told by its differences from another one.
        let back = if in_slice { usize::try_from(bits.unsigned()?).ok()? + 1 } else { 1 };
        let other = *sets.get(sets.len().checked_sub(back)?)?;
        bits.flag()?;
        bits.unsigned()?;
        let mut count = 0;
        for _ in 0..=other {
            let used = bits.flag()?;
            count += u32::from(used || bits.flag()?);
        }
        return Some(count);
    }
    let (before, after) = (bits.unsigned()?, bits.unsigned()?);
    let count = before.checked_add(after).filter(|&count| count <= MOST_REFERENCES)?;
    for _ in 0..count {
        bits.unsigned()?;
        bits.flag()?;
    }
    Some(count)
}

impl Sequence {
    fn has_colour(&self) -> bool {
        self.chroma != 0 && !self.separate_planes
    }

    fn read(bits: &mut Bits<'_>) -> Option<Self> {
        bits.read(4)?;
        let layers = bits.read(3)?;
        bits.flag()?;
        skip_profile(bits, layers)?;
        bits.unsigned()?;
        let chroma = bits.unsigned().filter(|&chroma| chroma <= 3)?;
        let separate_planes = chroma == 3 && bits.flag()?;
        let (width, height) = (bits.unsigned()?, bits.unsigned()?);
        if bits.flag()? {
            for _ in 0..4 {
                bits.unsigned()?;
            }
        }
        bits.unsigned()?;
        bits.unsigned()?;
        let order_bits = bits.unsigned().filter(|&more| more <= 12)? + 4;
        let layer_by_layer = bits.flag()?;
        for _ in if layer_by_layer { 0 } else { layers }..=layers {
            for _ in 0..3 {
                bits.unsigned()?;
            }
        }
        let smallest = bits.unsigned().filter(|&more| more <= 3)? + 3;
        let block = smallest + bits.unsigned().filter(|&more| more <= 3)?;
        for _ in 0..4 {
            bits.unsigned()?;
        }
        let blocks = |size: u32| u64::from(size).div_ceil(1 << block);
        let address_bits = bits_for(u32::try_from(blocks(width) * blocks(height)).ok().filter(|&all| all < 1 << 30)?);
        // Lists of scaling factors of its own.
        if bits.flag()? && bits.flag()? {
            return None;
        }
        bits.flag()?;
        let offset = bits.flag()?;
        // Samples without compression.
        if bits.flag()? {
            bits.read(8)?;
            bits.unsigned()?;
            bits.unsigned()?;
            bits.flag()?;
        }
        let mut sets = Vec::new();
        for _ in 0..bits.unsigned().filter(|&count| count <= 64)? {
            sets.push(reference_set(bits, &sets, false)?);
        }
        // Pictures that are kept for long.
        if bits.flag()? {
            return None;
        }
        let temporal_vectors = bits.flag()?;
        Some(Self { chroma, separate_planes, address_bits, order_bits, offset, sets, temporal_vectors })
    }
}

/// Profile, tier and level of all layers of time (7.3.3).
fn skip_profile(bits: &mut Bits<'_>, layers: u32) -> Option<()> {
    bits.read(88)?;
    bits.read(8)?;
    let mut said = Vec::new();
    for _ in 0..layers {
        said.push((bits.flag()?, bits.flag()?));
    }
    if layers > 0 {
        bits.read((8 - layers) * 2)?;
    }
    for (profile, level) in said {
        bits.read(if profile { 88 } else { 0 })?;
        bits.read(if level { 8 } else { 0 })?;
    }
    Some(())
}

impl Picture {
    fn read(bits: &mut Bits<'_>) -> Option<Self> {
        bits.unsigned()?;
        bits.unsigned()?;
        let (dependent, output, extra_bits) = (bits.flag()?, bits.flag()?, bits.read(3)?);
        bits.flag()?;
        let cabac_init = bits.flag()?;
        let mut reference = || Some(bits.unsigned().filter(|&more| more < MOST_REFERENCES)? + 1);
        let references = [reference()?, reference()?];
        bits.unsigned()?;
        bits.flag()?;
        bits.flag()?;
        if bits.flag()? {
            bits.unsigned()?;
        }
        bits.unsigned()?;
        bits.unsigned()?;
        let (chroma_offsets, weighted, weighted_both) = (bits.flag()?, bits.flag()?, bits.flag()?);
        bits.flag()?;
        let (tiles, rows) = (bits.flag()?, bits.flag()?);
        if tiles {
            skip_tiles(bits)?;
        }
        let across_slices = bits.flag()?;
        let (mut deblocking_override, mut deblocking_off) = (false, false);
        if bits.flag()? {
            deblocking_override = bits.flag()?;
            deblocking_off = bits.flag()?;
            if !deblocking_off {
                bits.unsigned()?;
                bits.unsigned()?;
            }
        }
        // Lists of scaling factors of its own, and of references in an order of their own.
        if bits.flag()? || bits.flag()? {
            return None;
        }
        bits.unsigned()?;
        let extension = bits.flag()?;
        let entry_points = tiles || rows;
        Some(Self {
            dependent,
            output,
            extra_bits,
            cabac_init,
            references,
            chroma_offsets,
            weighted,
            weighted_both,
            entry_points,
            across_slices,
            deblocking_override,
            deblocking_off,
            extension,
        })
    }
}

fn skip_tiles(bits: &mut Bits<'_>) -> Option<()> {
    let mut count = || bits.unsigned().filter(|&count| count < 64);
    let sizes = count()? + count()?;
    if !bits.flag()? {
        for _ in 0..sizes {
            bits.unsigned()?;
        }
    }
    bits.flag()?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_are_told_apart_by_few_bits() {
        assert_eq!([0, 1, 2, 3, 4, 5, 64].map(bits_for), [0, 0, 1, 2, 2, 3, 6]);
    }

    #[test]
    fn garbage_is_nothing_and_no_panic() {
        assert_eq!(Parameters::parse(&[]), None);
        assert_eq!(Parameters::parse(&[0xff; 64]), None);
        assert!(Parameters::is_slice(&[0x26, 1]) && !Parameters::is_slice(&[0x4e, 1]) && !Parameters::is_slice(&[]));
    }
}
