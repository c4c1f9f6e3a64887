//! Packs the samples of one rendition into segments: MPEG-TS, or CMAF with its header.

use std::sync::Arc;

use crate::format::aes128::BLOCK;
use crate::format::cbcs::{self, Parameters};
use crate::format::fmp4::{self, BT709, Content, Sample, Track, bt2020};
use crate::format::protection::Protection;
use crate::format::ts_write::{self, FIRST_TICK};
use crate::format::video;
use crate::model::failure::Failure;
use crate::model::media::DynamicRange;
use crate::model::secret::Secret;
use crate::plan::audio::{CHANNELS, FRAME_SAMPLES, SAMPLE_RATE};
use crate::plan::encode::DELAY_FRAMES;
use crate::plan::grid::Grid;
use crate::plan::settings::{Container, Method};

use super::cut::{Coded, Cut, Cutter, Stream};
use super::work::Work;

/// The name of CMAF's header.
pub const INIT: &str = "init.mp4";

/// Units of MPEG-TS in a second. Both containers begin at the same time.
const TICKS: u64 = 90_000;

/// A track of pictures has at least so many units a second.
const FINEST: u64 = 10_000;

/// One rendition, ready to be written.
pub struct Pack {
    cutter: Arc<Cutter>,
    cmaf: Option<Cmaf>,
}

/// CMAF of one rendition.
struct Cmaf {
    track: Track,
    seal: Option<Seal>,
}

/// What encrypts samples.
#[derive(Clone)]
struct Seal {
    key: Secret,
    iv: [u8; BLOCK],
    /// What headers of slices depend on, if the samples are pictures, with their units.
    picture: Option<(Parameters, video::Config)>,
}

impl Pack {
    /// The rendition in the folder `name`.
    pub fn new(work: &Work<'_>, name: &str, cutter: Arc<Cutter>) -> Result<Self, Failure> {
        let cmaf = match work.settings.container {
            Container::Ts => None,
            Container::Fmp4 => Some(Cmaf::new(work, name, &cutter)?),
        };
        Ok(Self { cutter, cmaf })
    }

    /// The cutter it packs from.
    pub fn cutter(&self) -> &Cutter {
        &self.cutter
    }

    /// The header, where the container has one.
    pub fn init(&self) -> Option<Vec<u8>> {
        self.cmaf.as_ref().map(|cmaf| fmp4::init(&cmaf.track))
    }

    /// The bytes of one segment, and how many of them are its first picture or
    /// frame of sound with all it needs. Reads the encoder's files: blocks.
    pub fn segment(&self, cut: &Cut) -> Result<(Vec<u8>, u64), Failure> {
        match &self.cmaf {
            None => self.cutter.transport(cut).map(|bytes| {
                let head = ts_write::first_unit(&bytes) as u64;
                (bytes, head)
            }),
            Some(cmaf) => cmaf.segment(cut.segment, self.cutter.coded(cut)?),
        }
    }
}

impl Cmaf {
    fn new(work: &Work<'_>, name: &str, cutter: &Cutter) -> Result<Self, Failure> {
        let (timescale, duration, content) = match cutter.stream() {
            Stream::Video { configs, grid, .. } => {
                let (timescale, duration) = video_units(grid);
                (timescale, duration, picture(work, name, one_config(name, configs)?)?)
            }
            Stream::Audio { config } => (AUDIO_UNITS.0, AUDIO_UNITS.1, sound(work, name, config)),
        };
        let seal = seal(work, name, cutter.stream())?;
        let protection = seal.as_ref().map(|seal| Protection { key_id: key_id(work), iv: seal.iv });
        let short = |number: u64| u32::try_from(number).map_err(|_| Failure::permanent("the frame rate is too odd"));
        let track = Track { timescale: short(timescale)?, duration: short(duration)?, content, protection };
        Ok(Self { track, seal })
    }

    fn segment(&self, number: u64, coded: Vec<Coded>) -> Result<(Vec<u8>, u64), Failure> {
        let duration = u64::from(self.track.duration);
        let shown = |frame: u64| first(u64::from(self.track.timescale)) + frame * duration;
        let decoded = |frame: u64| shown(frame) - self.delay_frames() * duration;
        let start = coded.first().map_or(0, |first| decoded(first.decoded));
        // Every segment begins with a key frame, and is read by itself.
        let mut seal = self.seal.clone();
        let samples = coded.into_iter().map(|mut coded| {
            let late = shown(coded.shown).checked_sub(decoded(coded.decoded));
            let composition = late.and_then(|late| u32::try_from(late).ok());
            let composition =
                composition.ok_or_else(|| Failure::permanent("a picture would be shown before it is decoded"))?;
            let sealed = seal.as_mut().map_or(Some(Vec::new()), |seal| seal.encrypt(&mut coded.bytes));
            let sealed = sealed.ok_or_else(|| Failure::environment("a picture cannot be read to be encrypted"))?;
            Ok(Sample { composition, key: coded.key, bytes: coded.bytes, sealed })
        });
        let samples = samples.collect::<Result<Vec<_>, Failure>>()?;
        let bytes = fmp4::segment(&self.track, number, start, &samples);
        let later: usize = samples.iter().skip(1).map(|sample| sample.bytes.len()).sum();
        let head = (bytes.len() - later) as u64;
        Ok((bytes, head))
    }
}

impl Cmaf {
    /// How many frames before its time the picture of a frame is decoded. AV1 puts pictures
    /// that are shown later into the sample before, so that samples are in order.
    fn delay_frames(&self) -> u64 {
        match &self.track.content {
            Content::Video { entry, .. } if entry != b"av01" => DELAY_FRAMES,
            _ => 0,
        }
    }
}

impl Seal {
    fn encrypt(&mut self, bytes: &mut [u8]) -> Option<Vec<crate::format::protection::Sealed>> {
        let key: &[u8; BLOCK] = self.key.expose().try_into().ok()?;
        if let Some((parameters, config)) = &mut self.picture {
            return cbcs::picture((key, &self.iv), config, parameters, bytes);
        }
        cbcs::sound(key, &self.iv, bytes);
        Some(Vec::new())
    }
}

/// The one config of all files: CMAF has one header for all chunks.
fn one_config<'a>(name: &str, configs: &'a [video::Config]) -> Result<&'a video::Config, Failure> {
    let first = configs.first().ok_or_else(|| Failure::temporary("nothing was encoded"))?;
    match configs.iter().find(|config| *config != first) {
        None => Ok(first),
        Some(_) => Err(Failure::permanent(format!("the pieces of {name} need several headers, and fMP4 has one"))
            .hint("use --container ts")),
    }
}

/// Units a second of pictures on a grid, and units of a frame.
pub fn video_units(grid: &Grid) -> (u64, u64) {
    let finer = FINEST.div_ceil(grid.rate.num());
    (grid.rate.num() * finer, grid.rate.den() * finer)
}

/// Units a second of sound, and units of a frame.
pub const AUDIO_UNITS: (u64, u64) = (SAMPLE_RATE, FRAME_SAMPLES);

/// The time of the first picture and of the first frame of sound, in units of a track.
pub fn first(timescale: u64) -> u64 {
    FIRST_TICK * timescale / TICKS
}

fn picture(work: &Work<'_>, name: &str, config: &video::Config) -> Result<Content, Failure> {
    let rendition = work.plan.video.iter().find(|rendition| rendition.name == name);
    let (width, height) = rendition.map_or((0, 0), |rendition| (rendition.width, rendition.height));
    let short = |size: u32| u16::try_from(size).map_err(|_| Failure::permanent("the picture is too large for MP4"));
    let (entry, config) = (config.entry, config.record.clone());
    let (colour, hdr) = match (rendition.map(|rendition| rendition.range), &work.media.video) {
        (None | Some(DynamicRange::Sdr), _) | (_, None) => (BT709, (None, None)),
        (Some(DynamicRange::Pq), Some(video)) => (bt2020(DynamicRange::Pq), (video.mastering, video.light)),
        (Some(range), Some(_)) => (bt2020(range), (None, None)),
    };
    Ok(Content::Video { entry, config, width: short(width)?, height: short(height)?, colour, hdr })
}

/// The codec string of a rendition. AV1 has to say in it that it is no BT.709 (AV1 in ISO base media, section 5).
pub fn codec(work: &Work<'_>, name: &str, cutter: &Cutter) -> String {
    let range = work.plan.video.iter().find(|rendition| rendition.name == name).map(|rendition| rendition.range);
    let codec = cutter.codec();
    match range {
        Some(range @ (DynamicRange::Pq | DynamicRange::Hlg)) if codec.starts_with("av01") => {
            format!("{codec}.0.110.09.{}.09.0", range.transfer().1)
        }
        _ => codec,
    }
}

fn sound(work: &Work<'_>, name: &str, config: &[u8]) -> Content {
    let track = work.plan.audio.iter().find(|track| track.folder == name);
    let language = track.map_or("und", |track| track.language.as_str()).to_owned();
    let (channels, rate) = (u16::try_from(CHANNELS).unwrap_or(2), u32::try_from(SAMPLE_RATE).unwrap_or(48_000));
    Content::Audio { config: config.to_vec(), channels, rate, language }
}

fn seal(work: &Work<'_>, name: &str, stream: &Stream) -> Result<Option<Seal>, Failure> {
    let by_sample = work.settings.encryption.as_ref().is_some_and(|wish| wish.method == Method::Cbcs);
    let Some(ring) = work.target().key_ring.as_ref().filter(|_| by_sample) else { return Ok(None) };
    let picture = match stream {
        Stream::Audio { .. } => None,
        Stream::Video { configs, .. } => {
            let config = one_config(name, configs)?;
            let parameters = Parameters::of(config);
            let parameters =
                parameters.ok_or_else(|| Failure::environment("the encoder's parameter sets cannot be read"))?;
            Some((parameters, config.clone()))
        }
    };
    Ok(Some(Seal { key: ring.key(0).key, iv: ring.constant_iv(name), picture }))
}

/// The id of the one key of a package encrypted by samples: its name.
fn key_id(work: &Work<'_>) -> [u8; BLOCK] {
    work.target().key_ring.as_ref().map(|ring| ring.key_id()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::rational::Rational;

    #[test]
    fn units_are_whole_parts_of_a_frame_and_fine() {
        for rate in [(1, 1), (10, 1), (25, 1), (60, 1), (24_000, 1001), (60_500, 1000)] {
            let grid = Grid::new(Rational::new(rate.0, rate.1).unwrap(), 10.0, 6.0);
            let (timescale, duration) = video_units(&grid);
            assert_eq!(timescale * rate.1, duration * rate.0);
            assert!(timescale >= FINEST && first(timescale) * TICKS == FIRST_TICK * timescale, "{rate:?}");
        }
    }
}
