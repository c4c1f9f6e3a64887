//! How long the header of a slice of H.264 is (ITU-T H.264, 7.3.3): what
//! encrypts slices must leave it in the clear, for decoders in hardware read it.

use super::sps::{Bits, HAS_CHROMA, chroma, without_emulation};

/// As much of the parameter sets as headers of slices depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the standard")]
pub struct Parameters {
    frame_number_bits: u32,
    /// Bits of the picture order, where it is said in full.
    order_bits: Option<u32>,
    /// Whether differences of the picture order are said.
    order_differences: bool,
    frames_only: bool,
    /// 0 is grey: no weights of colour.
    chroma: u32,
    cabac: bool,
    bottom_order: bool,
    references: [u32; 2],
    weighted: bool,
    weighted_both: u32,
    deblocking: bool,
    redundant: bool,
}

/// A header is never longer than this; a slice that says so is none.
const LONGEST: usize = 1024;

impl Parameters {
    /// Reads the first of each set in an `avcC`; `None` for what our encoders do not write.
    pub fn parse(avcc: &[u8]) -> Option<Self> {
        let sets = avcc.get(6..)?;
        let length = |at: usize| Some(usize::from(u16::from_be_bytes([*sets.get(at)?, *sets.get(at + 1)?])));
        let sps = sets.get(2..2 + length(0)?)?;
        let after = 2 + sps.len();
        let pps = sets.get(after + 3..after + 3 + length(after + 1)?)?;
        let mut parameters = Self::of_sequence(&without_emulation(sps.get(1..)?))?;
        parameters.of_picture(&without_emulation(pps.get(1..)?))?;
        Some(parameters)
    }

    fn of_sequence(sps: &[u8]) -> Option<Self> {
        let mut bits = Bits::new(sps.get(3..)?);
        bits.unsigned()?;
        let chroma = if HAS_CHROMA.contains(sps.first()?) { chroma(&mut bits)?.0 } else { 1 };
        let frame_number_bits = bits.unsigned().filter(|&more| more <= 12)? + 4;
        let (order_bits, order_differences) = match bits.unsigned()? {
            0 => (Some(bits.unsigned().filter(|&more| more <= 12)? + 4), false),
            1 => {
                let differences = !bits.flag()?;
                bits.unsigned()?;
                bits.unsigned()?;
                for _ in 0..bits.unsigned().filter(|&count| count <= 255)? {
                    bits.unsigned()?;
                }
                (None, differences)
            }
            _ => (None, false),
        };
        // Reference frames, gaps in frame numbers, and the size.
        bits.unsigned()?;
        bits.flag()?;
        bits.unsigned()?;
        bits.unsigned()?;
        let frames_only = bits.flag()?;
        Some(Self {
            frame_number_bits,
            order_bits,
            order_differences,
            frames_only,
            chroma,
            cabac: false,
            bottom_order: false,
            references: [1, 1],
            weighted: false,
            weighted_both: 0,
            deblocking: false,
            redundant: false,
        })
    }

    fn of_picture(&mut self, pps: &[u8]) -> Option<()> {
        let mut bits = Bits::new(pps);
        bits.unsigned()?;
        bits.unsigned()?;
        self.cabac = bits.flag()?;
        self.bottom_order = bits.flag()?;
        // Groups of slices are of the Baseline and Extended profiles.
        bits.unsigned().filter(|&groups| groups == 0)?;
        self.references = [bits.unsigned()? + 1, bits.unsigned()? + 1];
        self.weighted = bits.flag()?;
        self.weighted_both = bits.read(2)?;
        for _ in 0..3 {
            bits.unsigned()?;
        }
        self.deblocking = bits.flag()?;
        bits.flag()?;
        self.redundant = bits.flag()?;
        Some(())
    }

    /// Bytes of a slice up to the end of its header, the unit's own byte included.
    pub fn header_bytes(&self, slice: &[u8]) -> Option<usize> {
        let head = *slice.first()?;
        let raw = without_emulation(slice.get(1..slice.len().min(LONGEST))?);
        let mut bits = Bits::new(&raw);
        self.header(&mut bits, head & 0x1f == 5, head >> 5 & 3 != 0)?;
        Some(1 + with_emulation(slice.get(1..)?, bits.read_bytes()))
    }

    fn header(&self, bits: &mut Bits<'_>, is_idr: bool, is_reference: bool) -> Option<()> {
        bits.unsigned()?;
        let kind = bits.unsigned()? % 5;
        bits.unsigned()?;
        bits.read(self.frame_number_bits)?;
        let is_field = !self.frames_only && bits.flag()?;
        if is_field {
            bits.flag()?;
        }
        if is_idr {
            bits.unsigned()?;
        }
        let both_orders = self.bottom_order && !is_field;
        if let Some(count) = self.order_bits {
            bits.read(count)?;
            if both_orders {
                bits.unsigned()?;
            }
        } else if self.order_differences {
            bits.unsigned()?;
            if both_orders {
                bits.unsigned()?;
            }
        }
        if self.redundant {
            bits.unsigned()?;
        }
        self.references(bits, kind, is_field)?;
        if is_reference {
            marking(bits, is_idr)?;
        }
        if self.cabac && !is_intra(kind) {
            bits.unsigned()?;
        }
        bits.unsigned()?;
        self.tail(bits, kind)
    }

    /// Which pictures are referred to, in which order, and with which weights.
    fn references(&self, bits: &mut Bits<'_>, kind: u32, is_field: bool) -> Option<()> {
        let is_b = kind == 1;
        if is_b {
            bits.flag()?;
        }
        if is_intra(kind) {
            return Some(());
        }
        let lists = if is_b { 2 } else { 1 };
        let mut counts = self.references.map(|count| if is_field { count * 2 } else { count });
        if bits.flag()? {
            for count in counts.iter_mut().take(lists) {
                *count = bits.unsigned().filter(|&more| more < 32)? + 1;
            }
        }
        for _ in 0..lists {
            if bits.flag()? {
                while bits.unsigned()? != 3 {
                    bits.unsigned()?;
                }
            }
        }
        if (self.weighted && !is_b) || (self.weighted_both == 1 && is_b) {
            self.weights(bits, counts.get(..lists)?)?;
        }
        Some(())
    }

    fn weights(&self, bits: &mut Bits<'_>, counts: &[u32]) -> Option<()> {
        bits.unsigned()?;
        if self.chroma != 0 {
            bits.unsigned()?;
        }
        for count in counts {
            for _ in 0..*count {
                // A weight and an offset of brightness, and two of each of colour.
                for numbers in if self.chroma == 0 { [2, 0] } else { [2, 4] } {
                    if numbers > 0 && bits.flag()? {
                        for _ in 0..numbers {
                            bits.unsigned()?;
                        }
                    }
                }
            }
        }
        Some(())
    }

    /// Switching slices, and the filter of edges between blocks.
    fn tail(&self, bits: &mut Bits<'_>, kind: u32) -> Option<()> {
        if kind >= 3 {
            return None;
        }
        if self.deblocking && bits.unsigned()? != 1 {
            bits.unsigned()?;
            bits.unsigned()?;
        }
        Some(())
    }
}

fn is_intra(kind: u32) -> bool {
    kind == 2 || kind == 4
}

/// Which pictures are kept for reference.
fn marking(bits: &mut Bits<'_>, is_idr: bool) -> Option<()> {
    if is_idr {
        bits.flag()?;
        bits.flag()?;
    } else if bits.flag()? {
        loop {
            match bits.unsigned()? {
                0 => break,
                5 => {}
                3 => {
                    bits.unsigned()?;
                    bits.unsigned()?;
                }
                _ => {
                    bits.unsigned()?;
                }
            }
        }
    }
    Some(())
}

/// How many bytes hold `count` bytes when a 3 stands after every two zeros that need it.
pub(super) fn with_emulation(bytes: &[u8], count: usize) -> usize {
    let (mut zeros, mut left) = (0, count);
    for (at, &byte) in bytes.iter().enumerate() {
        if left == 0 {
            return at;
        }
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        left -= 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emulation_counts_among_the_bytes() {
        assert_eq!(with_emulation(&[0, 0, 3, 1, 9, 9], 3), 4);
        assert_eq!(with_emulation(&[1, 2, 3, 4], 2), 2);
        assert_eq!(with_emulation(&[0, 0, 3], 3), 3);
    }

    #[test]
    fn garbage_is_nothing_and_no_panic() {
        assert_eq!(Parameters::parse(&[1, 0x64, 0, 0x1f, 0xff, 0xe1, 0, 2, 0x67, 1, 1, 0, 2, 0x68, 2]), None);
        assert_eq!(Parameters::parse(&[]), None);
    }
}
