//! What a codec's headers say of the picture and of the sound, whatever carries them.

use crate::format::adts;
use crate::format::sps::Sps;

/// The picture by its headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Picture {
    /// As CODECS names it.
    pub(super) codec: String,
    pub(super) width: u32,
    pub(super) height: u32,
    /// 1 is 4:2:0.
    pub(super) chroma: u32,
    pub(super) bit_depth: u32,
    pub(super) progressive: bool,
    /// Width of a sample over its height, where given.
    pub(super) sample_aspect: Option<(u32, u32)>,
    pub(super) full_range: Option<bool>,
    /// Primaries, transfer and matrix by their numbers, where given.
    pub(super) colour: Option<(u32, u32, u32)>,
    /// What only H.264 has.
    pub(super) h264: Option<H264>,
}

/// Profile and level of H.264.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct H264 {
    pub(super) profile: u8,
    pub(super) level: u8,
    pub(super) macroblocks: u64,
}

impl From<&Sps> for Picture {
    fn from(sps: &Sps) -> Self {
        Self {
            codec: sps.codec(),
            width: sps.width,
            height: sps.height,
            chroma: sps.chroma,
            bit_depth: sps.bit_depth,
            progressive: sps.progressive,
            sample_aspect: sps.sample_aspect,
            full_range: sps.full_range,
            colour: sps.colour,
            h264: Some(H264 { profile: sps.profile, level: sps.level, macroblocks: sps.macroblocks }),
        }
    }
}

/// The dynamic range by the transfer function: 16 is PQ and 18 is HLG.
pub(super) fn range_of(colour: Option<(u32, u32, u32)>) -> &'static str {
    match colour {
        Some((_, 16, _)) => "PQ",
        Some((_, 18, _)) => "HLG",
        _ => "SDR",
    }
}

/// The sound by its headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sound {
    /// Samples a second; 0 where it is not known.
    pub(super) rate: u32,
    /// 0 where it is not known.
    pub(super) channels: u32,
    /// Samples of a frame; 0 where it is not known.
    pub(super) samples: u32,
    /// MPEG-4 object type: 2 is AAC-LC, 5 is HE-AAC, 29 is HE-AAC v2.
    pub(super) object_type: Option<u32>,
}

impl From<adts::Header> for Sound {
    fn from(header: adts::Header) -> Self {
        Self {
            rate: header.sample_rate,
            channels: if header.channels == 7 { 8 } else { header.channels.into() },
            samples: header.samples,
            object_type: Some(header.object_type.into()),
        }
    }
}
