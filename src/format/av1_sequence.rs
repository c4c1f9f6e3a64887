//! The header of a sequence of AV1 (AV1 bitstream specification, 5.5), as far as headers of frames depend on it.

use super::sps::Bits;

/// What all frames have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the standard")]
pub(super) struct Sequence {
    pub(super) size_bits: (u32, u32),
    pub(super) size: (u32, u32),
    /// Bits of a frame's number and of a difference of two, if they have numbers.
    pub(super) id_bits: Option<(u32, u32)>,
    pub(super) large_blocks: bool,
    pub(super) warped: bool,
    pub(super) hint_bits: u32,
    pub(super) motion_vectors: bool,
    /// 0 and 1 for all frames, 2 for those that say so.
    pub(super) screen_tools: u32,
    pub(super) whole_vectors: u32,
    pub(super) stretched: bool,
    pub(super) directional: bool,
    pub(super) restored: bool,
    pub(super) grey: bool,
    pub(super) halved: bool,
    pub(super) separate_chroma: bool,
    pub(super) grain: bool,
}

impl Sequence {
    pub(super) fn read(bits: &mut Bits<'_>) -> Option<Self> {
        let profile = bits.read(3)?;
        bits.flag()?;
        // Still pictures, and streams that say when to decode, are not ours.
        if bits.flag()? {
            return None;
        }
        operating_points(bits)?;
        let size_bits = (bits.read(4)? + 1, bits.read(4)? + 1);
        let size = (bits.read(size_bits.0)? + 1, bits.read(size_bits.1)? + 1);
        let id_bits = if bits.flag()? {
            let difference = bits.read(4)? + 2;
            Some((difference + bits.read(3)? + 1, difference))
        } else {
            None
        };
        let large_blocks = bits.flag()?;
        bits.read(4)?;
        let warped = bits.flag()?;
        bits.flag()?;
        let has_hints = bits.flag()?;
        let motion_vectors = has_hints && {
            bits.flag()?;
            bits.flag()?
        };
        let screen_tools = if bits.flag()? { 2 } else { bits.read(1)? };
        let whole_vectors = if screen_tools == 0 || bits.flag()? { 2 } else { bits.read(1)? };
        let hint_bits = if has_hints { bits.read(3)? + 1 } else { 0 };
        let (stretched, directional, restored) = (bits.flag()?, bits.flag()?, bits.flag()?);
        let (grey, halved, separate_chroma) = colours(bits, profile)?;
        let grain = bits.flag()?;
        Some(Self {
            size_bits,
            size,
            id_bits,
            large_blocks,
            warped,
            hint_bits,
            motion_vectors,
            screen_tools,
            whole_vectors,
            stretched,
            directional,
            restored,
            grey,
            halved,
            separate_chroma,
            grain,
        })
    }
}

/// Goes over the timing and the operating points.
fn operating_points(bits: &mut Bits<'_>) -> Option<()> {
    if bits.flag()? {
        bits.read(64)?;
        if bits.flag()? {
            bits.unsigned()?;
        }
        if bits.flag()? {
            return None;
        }
    }
    let delays = bits.flag()?;
    for _ in 0..=bits.read(5)? {
        bits.read(12)?;
        if bits.read(5)? > 7 {
            bits.flag()?;
        }
        if delays && bits.flag()? {
            bits.read(4)?;
        }
    }
    Some(())
}

/// Whether the picture is grey, its colour halved, and quantized plane by plane. Only 4:2:0 is ours.
fn colours(bits: &mut Bits<'_>, profile: u32) -> Option<(bool, bool, bool)> {
    bits.flag()?;
    if profile != 0 {
        return None;
    }
    let grey = bits.flag()?;
    if bits.flag()? {
        bits.read(24)?;
    }
    bits.flag()?;
    if grey {
        return Some((true, true, false));
    }
    bits.read(2)?;
    Some((false, true, bits.flag()?))
}
