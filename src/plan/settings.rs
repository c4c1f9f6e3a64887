//! What the user decides about an HLS package, checked and complete.

use crate::model::secret::Secret;
use crate::plan::language::Wanted;
use crate::plan::quality::Quality;

/// Everything that shapes the bytes of a package.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a wish of its own")]
pub struct HlsSettings {
    /// The rungs to make where the source is large enough, in any order.
    pub rungs: Vec<Rung>,
    /// How much CPU to spend for how few bits.
    pub profile: Profile,
    /// Wanted length of a segment in seconds; whole frames come as near as they can.
    pub segment_seconds: f64,
    /// Longest time between key frames in seconds, so that seeking is quick (Apple 1.13 wants 2).
    pub key_frame_seconds: f64,
    /// The largest rendition is the source itself where that does, and has at most this many times
    /// the rung's cap; `None` encodes it always.
    pub copy_over: Option<f64>,
    /// Exact average bitrates by two passes instead of capped quality.
    pub two_pass: bool,
    /// The quality that every rendition is to have, found from samples, instead of the rungs' own.
    pub quality: Option<Quality>,
    /// Bitrate of stereo AAC in kb/s.
    pub audio_kbps: u32,
    /// The tracks of sound to keep.
    pub audio: Wanted,
    /// The tracks of text to keep.
    pub subtitles: Wanted,
    /// What segments are.
    pub container: Container,
    /// Write a manifest of MPEG-DASH beside the master playlist, for the same segments.
    pub dash: bool,
    /// The codecs of the picture, a ladder for each.
    pub codecs: Vec<Codec>,
    /// Keep HDR in the codecs that have ten bits, with SDR beside it.
    pub keep_hdr: bool,
    /// Loudness that every track of sound gets, in LUFS.
    pub loudness: Option<f64>,
    /// Playlists of key frames, for fast forward.
    pub i_frames: bool,
    /// A still picture of the video.
    pub poster: bool,
    /// Small pictures of all of it, for the time line of a player.
    pub storyboard: bool,
    /// Encryption, if asked for.
    pub encryption: Option<Encryption>,
    /// Publish what can be decoded of a damaged source, with a warning.
    pub accept_damaged: bool,
    /// What is refused before any work.
    pub limits: Limits,
}

/// One rendition of the picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Rung {
    /// Its folder at the destination, such as `720p`.
    pub name: String,
    /// Length of the shorter side in pixels, so that portrait works.
    pub short_side: u32,
    /// x264's constant rate factor; lower is better and larger.
    pub crf: f64,
    /// The bitrate is never above this for long, in kb/s. Two passes aim at nine tenths of it.
    pub max_kbps: u32,
}

/// A trade of CPU time against bits.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// `fast`, `balanced`, `small`, or a name of the user's.
    pub name: String,
    /// x264's preset.
    pub preset: String,
    /// More x264 settings, as `key=value:key=value`; may be empty.
    pub x264: String,
    /// Added to the CRF of every rung.
    pub crf_shift: f64,
    /// Times the cap of every rung.
    pub rate: f64,
}

/// What segments are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// MPEG-TS.
    Ts,
    /// Fragmented MP4, as CMAF has it.
    Fmp4,
}

/// A codec of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// H.264, by x264.
    H264,
    /// HEVC, by x265.
    Hevc,
    /// AV1, by SVT-AV1.
    Av1,
}

impl Codec {
    /// Its name in the settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::Hevc => "hevc",
            Self::Av1 => "av1",
        }
    }

    /// ffmpeg's name of the encoder.
    pub fn encoder(self) -> &'static str {
        match self {
            Self::H264 => "libx264",
            Self::Hevc => "libx265",
            Self::Av1 => "libsvtav1",
        }
    }
}

/// How a package is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// AES-128 in CBC mode of whole segments.
    Aes128,
    /// Samples by scheme `cbcs`.
    Cbcs,
}

/// Encryption of the segments.
#[derive(Clone, Debug)]
pub struct Encryption {
    /// Whole segments, or samples.
    pub method: Method,
    /// 16 bytes or more from which all keys are derived.
    pub master_key: Secret,
    /// Template of the key's URI in playlists: `{id}` and `{key}` are filled in.
    pub key_uri: String,
    /// A new key every so many segments; 0 keeps one for the whole package.
    pub rotate: u64,
}

/// Bounds that hold whatever the input says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Pixels of one picture.
    pub pixels: u64,
    /// Streams in one file.
    pub streams: u64,
    /// Length in seconds.
    pub seconds: f64,
    /// Bytes of one download.
    pub bytes: u64,
}
