//! What a media file holds, as far as the plan needs to know.

use serde::{Deserialize, Serialize};

use super::rational::Rational;

/// What ffprobe says of one file, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Media {
    /// ffprobe's name of the container, such as `mov,mp4,m4a,3gp,3g2,mj2`.
    pub container: String,
    /// The length the container declares, in seconds.
    pub declared_seconds: Option<f64>,
    /// The title tag, if any.
    pub title: Option<String>,
    /// The picture: the first real video stream.
    pub video: Option<Video>,
    /// All audio streams, in file order.
    pub audio: Vec<Audio>,
    /// All tracks of text, in file order, and then those that lie beside the file.
    pub text: Vec<Text>,
    /// End of the last packet of all other streams, in seconds: a subtitle may stand longer than the film.
    pub other_end: f64,
    /// Its chapters, in file order.
    pub chapters: Vec<Chapter>,
    /// Streams that are left out, each with the reason.
    pub skipped: Vec<String>,
    /// Programs of a broadcast beside the one of the picture, which are left out.
    pub other_programs: u64,
    /// How often the clock of a broadcast jumps, as where two recordings are joined.
    pub clock_jumps: u64,
    /// Whether there are pictures, and none of them says when it is shown.
    pub untimed: bool,
}

/// A part of a film with a name of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Chapter {
    /// When it begins, in seconds.
    pub start: f64,
    /// When it ends.
    pub end: f64,
    /// What it is called; may be empty.
    pub title: String,
}

impl Media {
    /// The time at which players begin: the first of picture and sound.
    pub fn start(&self) -> f64 {
        let picture = self.video.iter().map(|video| video.timeline.start());
        picture.chain(self.audio.iter().map(|track| track.start)).reduce(f64::min).unwrap_or(0.0)
    }

    /// Whether it is of a kind of file that holds a still picture as well.
    pub fn is_animation(&self) -> bool {
        matches!(self.container.as_str(), "gif" | "apng")
    }
}

/// The video stream of a source.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each says a thing of its own")]
pub struct Video {
    /// Its index in the file.
    pub index: u32,
    /// ffprobe's codec name, such as `h264`.
    pub codec: String,
    /// Coded width in pixels, before rotation.
    pub width: u32,
    /// Coded height in pixels, before rotation.
    pub height: u32,
    /// Width of one pixel over its height.
    pub pixel_aspect: Rational,
    /// Degrees clockwise the picture must be turned to stand upright: 0, 90, 180 or 270.
    pub rotation: u32,
    /// Whether the picture is mirrored before it is turned.
    pub mirrored: bool,
    /// ffprobe's `r_frame_rate`: the base rate.
    pub base_rate: Option<Rational>,
    /// ffprobe's `avg_frame_rate`.
    pub average_rate: Option<Rational>,
    /// Seconds by which the decoder shows pictures later than they belong to the sound.
    pub late: f64,
    /// Whether the fields are interlaced.
    pub interlaced: bool,
    /// Which field comes first, where the pictures themselves do not say it.
    pub first_field: Option<Field>,
    /// Whether it may be interlaced although it does not say so.
    pub fields_in_doubt: bool,
    /// Whether pictures of another shape come on the way.
    pub changes_shape: bool,
    /// ffprobe's `pix_fmt`.
    pub pixel_format: String,
    /// Whether parts of the picture may be see-through.
    pub alpha: bool,
    /// `tv` or `pc`, if tagged.
    pub range: Option<String>,
    /// Matrix coefficients, if tagged (`bt709`, `bt2020nc`, …).
    pub matrix: Option<String>,
    /// Transfer characteristics, if tagged (`smpte2084`, `arib-std-b67`, …).
    pub transfer: Option<String>,
    /// Colour primaries, if tagged.
    pub primaries: Option<String>,
    /// What HDR says of the screen it was made on, if it does.
    pub mastering: Option<Mastering>,
    /// How bright HDR says it gets, if it does.
    pub light: Option<Light>,
    /// The length the stream itself declares, in seconds.
    pub declared_seconds: Option<f64>,
    /// Where the timeline of packets begins and what is on it.
    pub timeline: Timeline,
}

/// The lines of an interlaced picture that were taken at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The first line and every second one after it.
    Top,
    /// The others.
    Bottom,
}

/// How bright and how dark a picture can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DynamicRange {
    /// As television always was.
    Sdr,
    /// HDR by absolute nits (SMPTE ST 2084).
    Pq,
    /// HDR as broadcasters have it (ARIB STD-B67).
    Hlg,
}

impl DynamicRange {
    /// `VIDEO-RANGE` in playlists.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sdr => "SDR",
            Self::Pq => "PQ",
            Self::Hlg => "HLG",
        }
    }

    /// ffmpeg's name of the transfer, and its number (ISO/IEC 23091-2).
    pub fn transfer(self) -> (&'static str, u16) {
        match self {
            Self::Sdr => ("bt709", 1),
            Self::Pq => ("smpte2084", 16),
            Self::Hlg => ("arib-std-b67", 18),
        }
    }
}

impl Video {
    /// Width of the picture over its height, as it is to be seen, before rotation.
    pub fn shape(&self) -> f64 {
        f64::from(self.width) / f64::from(self.height.max(1)) * self.pixel_aspect.as_f64()
    }

    /// The range of its transfer function.
    pub fn dynamic_range(&self) -> DynamicRange {
        let is = |range: &DynamicRange| self.transfer.as_deref() == Some(range.transfer().0);
        [DynamicRange::Pq, DynamicRange::Hlg].into_iter().find(is).unwrap_or(DynamicRange::Sdr)
    }
}

/// The screen on which a film in HDR was made (SMPTE ST 2086).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mastering {
    /// Green, blue and red, each as x and y in steps of 0.00002.
    pub primaries: [(u16, u16); 3],
    /// White, in the same steps.
    pub white: (u16, u16),
    /// Most and least nits, in steps of 0.0001.
    pub luminance: (u32, u32),
}

/// How bright a film in HDR gets (CTA-861.3), in nits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Light {
    /// Its brightest pixel.
    pub pixel: u16,
    /// Its brightest picture, on average.
    pub picture: u16,
}

/// Where a track of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// In the source: the stream of this index.
    Stream(u32),
    /// In one of the files beside it.
    Beside(usize),
}

/// One track of text of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// Where it is.
    pub place: Place,
    /// Language tag as found; `und` where there is none.
    pub language: String,
    /// The track's title, if any.
    pub title: Option<String>,
    /// Whether the container marks it as the default.
    pub default: bool,
    /// Whether it is for those who have not asked for subtitles.
    pub forced: bool,
    /// Whether it tells of sounds as well.
    pub hearing_impaired: bool,
}

/// One audio stream of a source.
#[derive(Clone, Debug, PartialEq)]
pub struct Audio {
    /// Its index in the file.
    pub index: u32,
    /// ffprobe's codec name.
    pub codec: String,
    /// Number of channels.
    pub channels: u32,
    /// Samples a second.
    pub sample_rate: u32,
    /// ISO 639 language tag as found, lower case; `und` where there is none.
    pub language: String,
    /// The track's title, if any.
    pub title: Option<String>,
    /// Whether the container marks it as the default.
    pub default: bool,
    /// First presentation time, in seconds.
    pub start: f64,
    /// End of the last packet, in seconds.
    pub end: f64,
    /// Where no packet is for more than half a second: begin and length, in seconds.
    pub holes: Vec<(f64, f64)>,
    /// Packets without a byte in them, which no decoder takes.
    pub empty_packets: u64,
    /// How far the time stamps jump back, over all jumps, in seconds. Sound has no reason for it.
    pub backward_seconds: f64,
}

impl Audio {
    /// Whether the time stamps say when a sample is to be heard.
    pub fn is_in_order(&self) -> bool {
        // The last packets of a recording, and edges of a broadcast, go back by less.
        self.backward_seconds < 0.5
    }
}

/// The packets of the video stream in presentation order, in seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline {
    /// Presentation times, ascending.
    pub times: Vec<f64>,
    /// Presentation times of key frames, ascending.
    pub keys: Vec<f64>,
    /// Where each packet lies in the file, as first byte and the one behind the
    /// last, in the order of `times`; empty where the container does not say.
    pub spans: Vec<(u64, u64)>,
    /// End of the last packet.
    pub end: f64,
    /// Packets that have no time, of which `times` knows nothing.
    pub untimed: u64,
}

impl Timeline {
    /// The bytes of all pictures between two times and of the `more` that come behind them in the
    /// file: first byte and the one behind the last.
    pub fn bytes_between(&self, from: f64, to: f64, more: usize) -> Option<(u64, u64)> {
        let first = self.times.partition_point(|time| *time < from);
        let after = self.times.partition_point(|time| *time < to);
        let spans = self.spans.get(first..after)?;
        let (begin, end) = (spans.iter().map(|span| span.0).min()?, spans.iter().map(|span| span.1).max()?);
        let mut behind: Vec<(u64, u64)> = self.spans.iter().copied().filter(|span| span.0 >= end).collect();
        if behind.len() > more {
            behind.select_nth_unstable(more);
            behind.truncate(more);
        }
        Some((begin, behind.into_iter().map(|span| span.1).max().unwrap_or(end)))
    }

    /// Moves all of it by `seconds`.
    pub fn shift(&mut self, seconds: f64) {
        for time in self.times.iter_mut().chain(&mut self.keys) {
            *time += seconds;
        }
        self.end += seconds;
    }

    /// Time of the first picture.
    pub fn start(&self) -> f64 {
        self.times.first().copied().unwrap_or(0.0)
    }
}
