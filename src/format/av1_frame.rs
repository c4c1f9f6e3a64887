//! Where the tiles of a frame of AV1 lie (AV1 bitstream specification, 5.5 to 5.11): what encrypts
//! them must leave all that comes before in the clear.

use std::ops::Range;

use super::av1_sequence::Sequence;
use super::sps::Bits;

/// Types of units.
const SEQUENCE_HEADER: u8 = 1;
const FRAME_HEADER: u8 = 3;
const TILE_GROUP: u8 = 4;
const FRAME: u8 = 6;

/// Types of frames.
const KEY: u32 = 0;
const INTRA_ONLY: u32 = 2;
const SWITCH: u32 = 3;

/// No other frame is taken as the base of this one.
const NO_BASE: u32 = 7;

/// A tile is no wider and has no more pixels.
const WIDEST_TILE: u32 = 4096;
const LARGEST_TILE: u32 = 4096 * 2304;
const MOST_TILES: u32 = 64;

/// Frames that are kept for reference, and that one refers to.
const KEPT: usize = 8;
const REFERENCES: usize = 7;

/// Bits of what a segment may have of its own: how many, and whether a sign goes before.
const FEATURES: [(u32, u32); 8] = [(8, 1), (6, 1), (6, 1), (6, 1), (6, 1), (3, 0), (0, 0), (0, 0)];

/// Finds tiles, one sample after another from a key frame on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reader {
    sequence: Option<Sequence>,
    /// When the kept frames are shown.
    hints: [u32; KEPT],
    /// The tiles of the frame whose header came last.
    tiles: Option<Tiles>,
}

/// How many tiles a frame has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tiles {
    count: u32,
    bits: u32,
    size_bytes: u32,
}

/// What later parts of a header depend on.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the standard")]
struct Frame {
    kind: u32,
    shown: bool,
    showable: bool,
    resilient: bool,
    /// Whether its probabilities stay as they are.
    frozen: bool,
    screen_tools: bool,
    whole_vectors: bool,
    base: u32,
    hint: u32,
    intra_copy: bool,
    references: [usize; REFERENCES],
}

impl Frame {
    fn is_intra(&self) -> bool {
        self.kind == KEY || self.kind == INTRA_ONLY
    }
}

impl Reader {
    /// For a stream whose `av1C` is `record`; `None` for what our encoder does not write.
    pub fn new(record: &[u8]) -> Option<Self> {
        let mut reader = Self::default();
        reader.tiles(record.get(4..)?)?;
        reader.sequence.is_some().then_some(reader)
    }

    /// The places of all tiles in a sample. `None` where it cannot be read.
    pub fn tiles(&mut self, sample: &[u8]) -> Option<Vec<Range<usize>>> {
        let (mut places, mut at) = (Vec::new(), 0);
        while at < sample.len() {
            let head = *sample.get(at)?;
            let mut from = at + 1 + usize::from(head >> 2 & 1);
            let mut to = sample.len();
            if head & 2 != 0 {
                let (size, bytes) = leb128(sample.get(from..)?)?;
                from += bytes;
                to = from.checked_add(size).filter(|&to| to <= sample.len())?;
            }
            let payload = sample.get(from..to)?;
            let mut bits = Bits::new(payload);
            match head >> 3 & 15 {
                SEQUENCE_HEADER => self.sequence = Some(Sequence::read(&mut bits)?),
                FRAME_HEADER => self.header(&mut bits)?,
                TILE_GROUP => self.group(payload, 0, from, &mut places)?,
                FRAME => {
                    self.header(&mut bits)?;
                    self.group(payload, bits.read_bytes(), from, &mut places)?;
                }
                _ => {}
            }
            at = to;
        }
        Some(places)
    }

    /// The tiles of a group that begins at `begin` of a payload, which lies at `from`.
    fn group(&self, payload: &[u8], begin: usize, from: usize, places: &mut Vec<Range<usize>>) -> Option<()> {
        let tiles = self.tiles.as_ref()?;
        let mut bits = Bits::new(payload.get(begin..)?);
        let (mut first, mut last) = (0, tiles.count - 1);
        if tiles.count > 1 && bits.flag()? {
            (first, last) = (bits.read(tiles.bits)?, bits.read(tiles.bits)?);
        }
        let mut at = begin + bits.read_bytes();
        for tile in first..=last {
            let mut end = payload.len();
            if tile < last {
                let bytes = usize::try_from(tiles.size_bytes).ok()?;
                let size = payload.get(at..at + bytes)?;
                let size = size.iter().rev().fold(0, |sum, &byte| sum << 8 | usize::from(byte)) + 1;
                at += bytes;
                end = at.checked_add(size).filter(|&end| end <= payload.len())?;
            }
            places.push(from + at..from + end);
            at = end;
        }
        Some(())
    }

    fn header(&mut self, bits: &mut Bits<'_>) -> Option<()> {
        let sequence = self.sequence?;
        if bits.flag()? {
            // A kept frame is shown. A key frame that is shown so would begin everything anew: ours are shown at once.
            bits.read(3)?;
            bits.read(sequence.id_bits.map_or(0, |bits| bits.0))?;
            return Some(());
        }
        let mut frame = kind(bits, &sequence)?;
        if frame.kind == KEY && frame.shown {
            self.hints = [0; KEPT];
        }
        bits.read(sequence.id_bits.map_or(0, |bits| bits.0))?;
        let other_size = frame.kind == SWITCH || bits.flag()?;
        frame.hint = bits.read(sequence.hint_bits)?;
        frame.base = if frame.is_intra() || frame.resilient { NO_BASE } else { bits.read(3)? };
        let all = frame.kind == SWITCH || (frame.kind == KEY && frame.shown);
        let refreshed = if all { 255 } else { bits.read(8)? };
        if (!frame.is_intra() || refreshed != 255) && frame.resilient && sequence.hint_bits > 0 {
            for hint in &mut self.hints {
                *hint = bits.read(sequence.hint_bits)?;
            }
        }
        let (size, high_precision) = rest_of_kind(bits, &mut frame, &sequence, other_size)?;
        if !frame.frozen {
            bits.flag()?;
        }
        self.tiles = Some(tiles(bits, &sequence, size)?);
        let lossless = quantizers(bits, &sequence, &frame)?;
        filters(bits, &sequence, &frame, lossless)?;
        self.prediction(bits, &sequence, &frame, high_precision)?;
        for (number, hint) in self.hints.iter_mut().enumerate() {
            if refreshed >> number & 1 == 1 {
                *hint = frame.hint;
            }
        }
        Some(())
    }

    /// How blocks are predicted, up to the end of the header.
    fn prediction(&self, bits: &mut Bits<'_>, sequence: &Sequence, frame: &Frame, high: bool) -> Option<()> {
        if !frame.is_intra() {
            let several = bits.flag()?;
            if several && sequence.hint_bits > 0 && self.may_skip(sequence, frame) {
                bits.flag()?;
            }
            if !frame.resilient && sequence.warped {
                bits.flag()?;
            }
        }
        bits.flag()?;
        if !frame.is_intra() {
            for _ in 0..REFERENCES {
                global_motion(bits, high)?;
            }
        }
        // Grain that a decoder adds: our encoder is asked for none.
        if sequence.grain && (frame.shown || frame.showable) && bits.flag()? {
            return None;
        }
        Some(())
    }

    /// Whether blocks may skip everything: there are two references, of which one is before (5.9.22).
    fn may_skip(&self, sequence: &Sequence, frame: &Frame) -> bool {
        let sign = 1_i64 << (sequence.hint_bits - 1);
        let off = |one: u32, other: u32| {
            let difference = i64::from(one) - i64::from(other);
            (difference & (sign - 1)) - (difference & sign)
        };
        let hints: Vec<u32> = frame.references.iter().filter_map(|&one| self.hints.get(one).copied()).collect();
        let before = hints.iter().copied().filter(|&hint| off(hint, frame.hint) < 0);
        let Some(nearest) = before.max_by_key(|&hint| off(hint, frame.hint)) else { return false };
        hints.iter().any(|&hint| off(hint, frame.hint) > 0) || hints.iter().any(|&hint| off(hint, nearest) < 0)
    }
}

fn leb128(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (number, &byte) in bytes.iter().take(8).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * number);
        if byte & 0x80 == 0 {
            return Some((value, number + 1));
        }
    }
    None
}

/// The first part of a header, up to the tools for screens.
fn kind(bits: &mut Bits<'_>, sequence: &Sequence) -> Option<Frame> {
    let (kind, shown) = (bits.read(2)?, bits.flag()?);
    let showable = if shown { kind != KEY } else { bits.flag()? };
    let resilient = kind == SWITCH || (kind == KEY && shown) || bits.flag()?;
    let frozen = bits.flag()?;
    let screen_tools = if sequence.screen_tools == 2 { bits.flag()? } else { sequence.screen_tools == 1 };
    let whole_vectors =
        screen_tools && if sequence.whole_vectors == 2 { bits.flag()? } else { sequence.whole_vectors == 1 };
    Some(Frame {
        kind,
        shown,
        showable,
        resilient,
        frozen,
        screen_tools,
        whole_vectors,
        base: NO_BASE,
        hint: 0,
        intra_copy: false,
        references: [0; REFERENCES],
    })
}

/// The size, and what is referred to; gives the size and whether vectors are as fine as can be.
fn rest_of_kind(
    bits: &mut Bits<'_>,
    frame: &mut Frame,
    sequence: &Sequence,
    other_size: bool,
) -> Option<((u32, u32), bool)> {
    let mut high_precision = false;
    let size;
    if frame.is_intra() {
        size = frame_size(bits, sequence, other_size)?;
        frame.intra_copy = frame.screen_tools && bits.flag()?;
    } else {
        // References in short, and sizes of other frames, are not what our encoder writes.
        if sequence.hint_bits > 0 && bits.flag()? {
            return None;
        }
        for reference in &mut frame.references {
            *reference = usize::try_from(bits.read(3)?).ok()?;
            bits.read(sequence.id_bits.map_or(0, |bits| bits.1))?;
        }
        if other_size && !frame.resilient {
            return None;
        }
        size = frame_size(bits, sequence, other_size)?;
        high_precision = !frame.whole_vectors && bits.flag()?;
        if !bits.flag()? {
            bits.read(2)?;
        }
        bits.flag()?;
        if !frame.resilient && sequence.motion_vectors {
            bits.flag()?;
        }
    }
    Some((size, high_precision))
}

/// The size of a frame; one that is stretched is not ours.
fn frame_size(bits: &mut Bits<'_>, sequence: &Sequence, other: bool) -> Option<(u32, u32)> {
    let size = if other {
        (bits.read(sequence.size_bits.0)? + 1, bits.read(sequence.size_bits.1)? + 1)
    } else {
        sequence.size
    };
    if sequence.stretched && bits.flag()? {
        return None;
    }
    if bits.flag()? {
        bits.read(32)?;
    }
    Some(size)
}

/// The least power of two times `unit` that is `target` or more, as its exponent.
fn log2(unit: u32, target: u32) -> u32 {
    (0..31).find(|&power| unit << power >= target).unwrap_or(31)
}

/// The tiles of a frame, all alike (5.9.15).
fn tiles(bits: &mut Bits<'_>, sequence: &Sequence, (width, height): (u32, u32)) -> Option<Tiles> {
    let shift = if sequence.large_blocks { 7 } else { 6 };
    let blocks = |pixels: u32| pixels.div_ceil(8).saturating_mul(8).div_ceil(1 << shift).max(1);
    let (columns, rows) = (blocks(width), blocks(height));
    let fewest_columns = log2(WIDEST_TILE >> shift, columns);
    let fewest = fewest_columns.max(log2(LARGEST_TILE >> (2 * shift), rows.checked_mul(columns)?));
    if !bits.flag()? {
        return None;
    }
    let mut grow = |from: u32, all: u32| {
        let (mut power, most) = (from, log2(1, all.min(MOST_TILES)));
        while power < most && bits.flag()? {
            power += 1;
        }
        Some((power, all.div_ceil((all + (1 << power) - 1) >> power)))
    };
    let (column_bits, column_count) = grow(fewest_columns, columns)?;
    let (row_bits, row_count) = grow(fewest.saturating_sub(column_bits), rows)?;
    let several = column_bits + row_bits;
    let mut size_bytes = 0;
    if several > 0 {
        bits.read(several)?;
        size_bytes = bits.read(2)? + 1;
    }
    Some(Tiles { count: column_count * row_count, bits: several, size_bytes })
}

/// A number with a sign, if it is said; whether it is another than 0.
fn difference(bits: &mut Bits<'_>) -> Option<bool> {
    Some(bits.flag()? && bits.read(7)? != 0)
}

/// Quantizers, segments and differences of blocks; whether nothing is lost.
fn quantizers(bits: &mut Bits<'_>, sequence: &Sequence, frame: &Frame) -> Option<bool> {
    let base = bits.read(8)?;
    let mut differs = difference(bits)?;
    if !sequence.grey {
        let both = sequence.separate_chroma && bits.flag()?;
        for _ in 0..if both { 4 } else { 2 } {
            differs |= difference(bits)?;
        }
    }
    if bits.flag()? {
        bits.read(8)?;
        bits.read(if sequence.separate_chroma { 4 } else { 0 })?;
    }
    let segmented = bits.flag()?;
    if segmented {
        segments(bits, frame)?;
        if base == 0 {
            return None;
        }
    }
    if base > 0 && bits.flag()? {
        bits.read(2)?;
        if !frame.intra_copy && bits.flag()? {
            bits.read(3)?;
        }
    }
    Some(base == 0 && !differs)
}

fn segments(bits: &mut Bits<'_>, frame: &Frame) -> Option<()> {
    let mut said = true;
    if frame.base != NO_BASE {
        if bits.flag()? {
            bits.flag()?;
        }
        said = bits.flag()?;
    }
    for (count, sign) in std::iter::repeat_n(FEATURES, if said { 8 } else { 0 }).flatten() {
        if bits.flag()? {
            bits.read(count + sign)?;
        }
    }
    Some(())
}

/// What is done to the edges of blocks and to all of the picture.
fn filters(bits: &mut Bits<'_>, sequence: &Sequence, frame: &Frame, lossless: bool) -> Option<()> {
    let colour = !sequence.grey;
    if !lossless && !frame.intra_copy {
        let (across, down) = (bits.read(6)?, bits.read(6)?);
        if colour && (across > 0 || down > 0) {
            bits.read(12)?;
        }
        bits.read(3)?;
        // Eight by what is referred to, two by how.
        if bits.flag()? && bits.flag()? {
            for _ in 0..10 {
                difference(bits)?;
            }
        }
        if sequence.directional {
            bits.read(2)?;
            for _ in 0..1 << bits.read(2)? {
                bits.read(if colour { 12 } else { 6 })?;
            }
        }
        if sequence.restored {
            restoration(bits, sequence)?;
        }
    }
    // The sizes of transforms.
    if !lossless {
        bits.flag()?;
    }
    Some(())
}

fn restoration(bits: &mut Bits<'_>, sequence: &Sequence) -> Option<()> {
    let (mut any, mut of_colour) = (false, false);
    for plane in 0..if sequence.grey { 1 } else { 3 } {
        if bits.read(2)? != 0 {
            any = true;
            of_colour |= plane > 0;
        }
    }
    if any && bits.flag()? && !sequence.large_blocks {
        bits.flag()?;
    }
    if any && sequence.halved && of_colour {
        bits.flag()?;
    }
    Some(())
}

/// How all of the picture moves against one reference (5.9.24).
fn global_motion(bits: &mut Bits<'_>, high_precision: bool) -> Option<()> {
    if !bits.flag()? {
        return Some(());
    }
    let turns = bits.flag()?;
    let moves = !turns && bits.flag()?;
    if !moves {
        for _ in 0..if turns { 2 } else { 4 } {
            parameter(bits, 12)?;
        }
    }
    for _ in 0..2 {
        parameter(bits, if moves { 8 + u32::from(high_precision) } else { 12 })?;
    }
    Some(())
}

/// A number from `-(1 << size)` to `1 << size` (5.9.25): how many bits it has does not depend on what it is told from.
fn parameter(bits: &mut Bits<'_>, size: u32) -> Option<()> {
    let all = (2_u32 << size) + 1;
    let (mut step, mut before) = (0, 0);
    loop {
        let length = if step == 0 { 3 } else { 2 + step };
        let run = 1_u32 << length;
        if all <= before + 3 * run {
            let count = all - before;
            let whole = 32 - count.leading_zeros();
            let short = (1 << whole) - count;
            if bits.read(whole - 1)? >= short {
                bits.flag()?;
            }
            return Some(());
        }
        if !bits.flag()? {
            bits.read(length)?;
            return Some(());
        }
        step += 1;
        before += run;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_is_nothing_and_no_panic() {
        assert_eq!(Reader::new(&[]), None);
        assert_eq!(Reader::new(&[0x81, 0, 0, 0, 0x0a, 4, 0xff, 0xff, 0xff, 0xff]), None);
        let mut reader = Reader::default();
        assert_eq!(reader.tiles(&[0x32, 3, 0x10, 0, 0]), None);
        assert_eq!(reader.tiles(&[0x12, 0]), Some(Vec::new()));
    }

    #[test]
    fn lengths_and_powers() {
        assert_eq!(leb128(&[0xe5, 0x8e, 0x26]), Some((624_485, 3)));
        assert_eq!(leb128(&[0x80]), None);
        assert_eq!(
            [(1, 1), (1, 2), (1, 5), (64, 30), (64, 65)].map(|(unit, target)| log2(unit, target)),
            [0, 1, 3, 0, 1]
        );
    }
}
