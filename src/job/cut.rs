//! Cuts an encoder's file into the segments of a package.
//!
//! Everything the encoder promised is checked here, on the bytes it wrote: the
//! number of pictures, their order, a key frame at the head of every segment.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::format::aac;
use crate::format::h264;
use crate::format::mp4::{self, Sample, Track};
use crate::format::ts_write::{self, FIRST_TICK, Kind, Unit};
use crate::format::video;
use crate::model::failure::Failure;
use crate::plan::audio::{self, FRAME_SAMPLES, SAMPLE_RATE};
use crate::plan::encode::DELAY_FRAMES;
use crate::plan::grid::{Chunk, Grid};
use crate::plan::piece::Piece;

use super::copy::Original;

/// The sample table of a long audio track is a few megabytes; more is no table of ours.
const LARGEST_TABLE: u64 = 256 << 20;

/// AAC frames that share one PES header: 85 ms, within the 100 ms at which
/// clock references must come (ISO/IEC 13818-1, 2.7.2).
const FRAMES_TOGETHER: usize = 4;

/// Frames of sound that the encoder needs before the first and after the last.
const AT_THE_ENDS: usize = 4;

/// The encoder's files of one rendition, checked, ready to be cut.
pub struct Cutter {
    files: Vec<Source>,
    /// Whether the files are there for this rendition alone.
    own: bool,
    stream: Stream,
    cuts: Vec<Cut>,
}

/// One of the encoder's files.
struct Source {
    path: PathBuf,
    /// The number of its first sample among those of all files.
    first: usize,
    samples: Vec<Sample>,
}

/// Where one segment lies.
#[derive(Clone, Debug, PartialEq)]
pub struct Cut {
    /// Number of the segment in the package.
    pub segment: u64,
    /// Its length in seconds.
    pub seconds: f64,
    first_sample: usize,
    samples: usize,
}

/// One picture or frame of sound as the encoder wrote it, without its notes.
pub struct Coded {
    /// The frame of the grid, or of sound, that it shows.
    pub shown: u64,
    /// Its place in decoding order, counted as frames are.
    pub decoded: u64,
    /// Whether decoding can begin here.
    pub key: bool,
    /// The bytes, as MP4 has them.
    pub bytes: Vec<u8>,
    /// The number of its file.
    file: usize,
}

/// What is in the files.
pub enum Stream {
    /// A config for every file, and for every sample the frame of the chunk that it shows.
    Video {
        /// What each file says of its pictures.
        configs: Vec<video::Config>,
        /// The grid they are on.
        grid: Grid,
        /// The first frame of the chunk.
        first_frame: u64,
        /// By samples.
        shown: Vec<u64>,
    },
    /// AAC at the rate of every rendition of sound.
    Audio {
        /// `AudioSpecificConfig`.
        config: Vec<u8>,
    },
}

impl Cutter {
    /// Opens one rendition of a chunk of video, which lies in a file for each of its pieces.
    pub fn video(pieces: &[(PathBuf, Piece)], grid: &Grid, chunk: &Chunk) -> Result<Self, Failure> {
        let (mut files, mut configs, mut shown) = (Vec::new(), Vec::new(), Vec::new());
        for (path, piece) in pieces {
            let track = read_track(path)?;
            let config = video::Config::parse(track.entry, &track.config);
            configs.push(config.ok_or_else(|| broken(path, "its parameter sets cannot be read"))?);
            let first = shown.len();
            let order = shown_order(path, &track, grid, piece.frames)?;
            shown.extend(order.into_iter().map(|frame| first as u64 + frame));
            files.push(Source { path: path.clone(), first, samples: track.samples });
        }
        let cuts = video_cuts(grid, chunk);
        for cut in &cuts {
            closed(&files, &shown, cut)?;
        }
        let stream = Stream::Video { configs, grid: grid.clone(), first_frame: chunk.first_frame, shown };
        Ok(Self { files, own: true, stream, cuts })
    }

    /// Opens a chunk of the source itself.
    pub fn copy(original: &Original, grid: &Grid, chunk: &Chunk) -> Result<Self, Failure> {
        let range = index(chunk.first_frame)..index(chunk.first_frame + chunk.frames);
        let samples = original.samples.get(range.clone()).unwrap_or_default().to_vec();
        let shown = original.shown.get(range).unwrap_or_default();
        let shown: Vec<u64> = shown.iter().map(|frame| frame.saturating_sub(chunk.first_frame)).collect();
        let files = vec![Source { path: original.path.clone(), first: 0, samples }];
        let cuts = video_cuts(grid, chunk);
        for cut in &cuts {
            closed(&files, &shown, cut)?;
        }
        let configs = vec![original.config.clone()];
        let stream = Stream::Video { configs, grid: grid.clone(), first_frame: chunk.first_frame, shown };
        Ok(Self { files, own: false, stream, cuts })
    }

    /// Opens a rendition of sound, which is one file for the whole package.
    pub fn audio(path: &Path, grid: &Grid) -> Result<Self, Failure> {
        let mut track = read_track(path)?;
        aac::Config::parse(&track.config).ok_or_else(|| broken(path, "its audio config cannot be read"))?;
        // The first frame holds only what the encoder needs to get going; left
        // out, the sound begins with the picture.
        let wanted = audio_length(grid);
        if track.samples.len() <= wanted {
            let found = track.samples.len().saturating_sub(1);
            return Err(broken(path, &format!("{wanted} frames of sound were expected and {found} are there")));
        }
        track.samples.remove(0);
        track.samples.truncate(wanted);
        let cuts = audio_cuts(grid, wanted);
        let files = vec![Source { path: path.into(), first: 0, samples: track.samples }];
        Ok(Self { files, own: true, stream: Stream::Audio { config: track.config }, cuts })
    }

    /// Whether a rendition of sound is longer than was ordered. ffmpeg writes it all anew, with all
    /// the silence before, when the source changes its channels.
    pub fn is_too_long(path: &Path, grid: &Grid) -> Result<bool, Failure> {
        let wanted = index(audio::samples(grid.seconds()).div_ceil(FRAME_SAMPLES));
        Ok(read_track(path)?.samples.len() > wanted + AT_THE_ENDS)
    }

    /// The codec string for the master playlist.
    pub fn codec(&self) -> String {
        match &self.stream {
            Stream::Video { configs, .. } => configs.first().map(|config| config.codec.clone()).unwrap_or_default(),
            Stream::Audio { config } => aac::Config::parse(config).map(|config| config.codec()).unwrap_or_default(),
        }
    }

    /// What is in the files.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The segments, in order.
    pub fn cuts(&self) -> &[Cut] {
        &self.cuts
    }

    /// The encoder's files: what may go when all is cut.
    pub fn own_files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().filter(|_| self.own).map(|file| file.path.as_path())
    }

    /// The file to name when something is wrong.
    fn path(&self) -> &Path {
        self.files.first().map_or(Path::new(""), |file| &file.path)
    }

    /// The samples of one segment in decoding order. Reads the files: blocks.
    pub fn coded(&self, cut: &Cut) -> Result<Vec<Coded>, Failure> {
        let path = self.path();
        let samples = self.read(&cut.range())?.into_iter().zip(cut.range());
        let coded = samples.map(|((file, marked, bytes), number)| match &self.stream {
            Stream::Video { configs, first_frame, shown, .. } => {
                let sample = configs.get(file).and_then(|config| config.sample(bytes, marked));
                let (bytes, key) = sample.ok_or_else(|| broken(path, "a picture's units do not add up"))?;
                let shown = first_frame + shown.get(number).copied().unwrap_or(u64::MAX);
                Ok(Coded { shown, decoded: first_frame + number as u64, key, bytes, file })
            }
            Stream::Audio { .. } => Ok(Coded { shown: number as u64, decoded: number as u64, key: true, bytes, file }),
        });
        let coded = coded.collect::<Result<Vec<Coded>, Failure>>()?;
        if !coded.first().is_some_and(|first| first.key) {
            return Err(broken(path, "a segment does not begin with an IDR picture"));
        }
        Ok(coded)
    }

    /// The bytes of one segment of MPEG-TS. Reads the files: blocks.
    pub fn transport(&self, cut: &Cut) -> Result<Vec<u8>, Failure> {
        let coded = self.coded(cut)?;
        let path = self.path();
        match &self.stream {
            Stream::Video { configs, grid, .. } => {
                let configs: Vec<_> = configs.iter().map(|config| h264::Config::parse(&config.record)).collect();
                let units = coded.into_iter().map(|Coded { shown, decoded, key, bytes, file }| {
                    let mut annex_b = Vec::with_capacity(bytes.len() + 64);
                    let config = configs.get(file).and_then(Option::as_ref);
                    let written = config.and_then(|config| config.append_annex_b(&bytes, &mut annex_b));
                    written.ok_or_else(|| broken(path, "a picture's units do not add up"))?;
                    Ok(Unit {
                        pts: ticks(grid, shown, 0),
                        dts: ticks(grid, decoded, DELAY_FRAMES),
                        key,
                        bytes: annex_b,
                    })
                });
                Ok(ts_write::segment(Kind::H264, cut.segment, &units.collect::<Result<Vec<Unit>, Failure>>()?))
            }
            Stream::Audio { config } => {
                let config = aac::Config::parse(config).ok_or_else(|| broken(path, "its audio config is odd"))?;
                let units = coded.chunks(FRAMES_TOGETHER).map(|frames| {
                    let mut adts = Vec::new();
                    for frame in frames {
                        config
                            .append_adts(&frame.bytes, &mut adts)
                            .ok_or_else(|| broken(path, "a frame of sound is too long"))?;
                    }
                    let frame = frames.first().map_or(0, |first| first.shown);
                    let pts = FIRST_TICK + (frame * FRAME_SAMPLES * 90_000 + SAMPLE_RATE / 2) / SAMPLE_RATE;
                    Ok(Unit { pts, dts: pts, key: true, bytes: adts })
                });
                Ok(ts_write::segment(Kind::Aac, cut.segment, &units.collect::<Result<Vec<Unit>, Failure>>()?))
            }
        }
    }

    /// The bytes of a range of samples, each with the number of its file and whether that marks it as a key frame.
    fn read(&self, range: &Range<usize>) -> Result<Vec<(usize, bool, Vec<u8>)>, Failure> {
        let mut all = Vec::with_capacity(range.len());
        for (number, file) in self.files.iter().enumerate() {
            let samples = file.within(range);
            let bytes = read_samples(&file.path, samples)?;
            all.extend(bytes.into_iter().zip(samples).map(|(bytes, sample)| (number, sample.key, bytes)));
        }
        if all.len() != range.len() {
            return Err(Failure::temporary("a segment lies outside of the encoder's files"));
        }
        Ok(all)
    }
}

impl Cut {
    fn range(&self) -> Range<usize> {
        self.first_sample..self.first_sample + self.samples
    }
}

impl Source {
    /// Its samples that are in a range of those of all files.
    fn within(&self, range: &Range<usize>) -> &[Sample] {
        let after = self.first + self.samples.len();
        let of_all = |number: usize| number.clamp(self.first, after) - self.first;
        self.samples.get(of_all(range.start)..of_all(range.end)).unwrap_or_default()
    }
}

/// 90 kHz ticks of a frame of the grid, `back` frames earlier.
fn ticks(grid: &Grid, frame: u64, back: u64) -> u64 {
    let at = |frame: u64| (frame * 90_000 * grid.rate.den() + grid.rate.num() / 2) / grid.rate.num();
    FIRST_TICK + at(frame) - at(back)
}

/// For every sample in decoding order, the frame of the piece it shows; all `expected` ones must be there once.
fn shown_order(path: &Path, track: &Track, grid: &Grid, expected: u64) -> Result<Vec<u64>, Failure> {
    if track.samples.len() as u64 != expected {
        return Err(broken(path, &format!("{expected} pictures were expected and {} are there", track.samples.len())));
    }
    let mut decoded = 0_i64;
    let times: Vec<i64> = track
        .samples
        .iter()
        .map(|sample| {
            let time = decoded + sample.composition;
            decoded += i64::from(sample.duration);
            time
        })
        .collect();
    let first = times.iter().copied().min().unwrap_or(0);
    let scale = u128::from(grid.rate.num());
    let unit = u128::from(grid.rate.den()) * u128::from(track.timescale);
    let frame = |time: &i64| {
        u64::try_from((u128::from((time - first).unsigned_abs()) * scale + unit / 2) / unit).unwrap_or(u64::MAX)
    };
    let shown: Vec<u64> = times.iter().map(frame).collect();
    let mut seen = vec![false; index(expected)];
    for (decoded, &frame) in (0..).zip(&shown) {
        let slot = seen.get_mut(index(frame)).filter(|seen| !**seen);
        *slot.ok_or_else(|| broken(path, "a picture is doubled or out of place"))? = true;
        if decoded > frame + DELAY_FRAMES {
            return Err(broken(path, "a picture would be shown before it is decoded"));
        }
    }
    Ok(shown)
}

/// A segment must hold exactly its own frames, beginning with a key frame (Apple 7.4).
fn closed(files: &[Source], shown: &[u64], cut: &Cut) -> Result<(), Failure> {
    let range = cut.range();
    let mut found = files.iter().filter_map(|file| Some((file, file.within(&range).first()?)));
    let Some((file, first)) = found.next() else {
        return Err(Failure::temporary(format!("segment {} was not encoded", cut.segment)));
    };
    let (path, key) = (&file.path, first.key);
    let own = shown.get(range.clone()).is_some_and(|shown| {
        shown.first() == Some(&(cut.first_sample as u64)) && shown.iter().all(|&frame| range.contains(&index(frame)))
    });
    if key && own { Ok(()) } else { Err(broken(path, &format!("segment {} does not stand by itself", cut.segment))) }
}

fn video_cuts(grid: &Grid, chunk: &Chunk) -> Vec<Cut> {
    let segments = chunk.first_segment..chunk.first_segment + chunk.segments;
    let cut = |segment| {
        let (first, frames) = grid.segment(segment);
        let first_sample = index(first - chunk.first_frame);
        Cut { segment, seconds: grid.rate.seconds(frames), first_sample, samples: index(frames) }
    };
    segments.map(cut).collect()
}

/// Frames of sound in each segment that has any.
pub fn audio_frames(grid: &Grid) -> impl Iterator<Item = u64> {
    audio_cuts(grid, audio_length(grid)).into_iter().map(|cut| cut.samples as u64)
}

/// Frames of sound under the whole picture.
fn audio_length(grid: &Grid) -> usize {
    index(audio::samples(grid.seconds()).div_ceil(FRAME_SAMPLES))
}

/// Sound is cut at the first frame that begins in each segment of video. A last
/// segment shorter than a frame of sound may have none, and then is none.
fn audio_cuts(grid: &Grid, frames: usize) -> Vec<Cut> {
    let boundary = |segment: u64| {
        let (first_frame, _) = grid.segment(segment);
        let samples = first_frame * SAMPLE_RATE * grid.rate.den();
        index(samples.div_ceil(grid.rate.num() * FRAME_SAMPLES)).min(frames)
    };
    let edges = (0..grid.segments()).map(boundary).chain([frames]);
    let edges: Vec<usize> = edges.collect();
    #[expect(clippy::cast_precision_loss, reason = "frames of one segment")]
    let seconds = |samples: usize| samples as f64 * FRAME_SAMPLES as f64 / SAMPLE_RATE as f64;
    let cuts = edges.windows(2).zip(0..).map(|(pair, segment)| {
        let samples = pair[1] - pair[0];
        Cut { segment, seconds: seconds(samples), first_sample: pair[0], samples }
    });
    cuts.filter(|cut| cut.samples > 0).collect()
}

fn read_track(path: &Path) -> Result<Track, Failure> {
    let io = |error: std::io::Error| Failure::io(&format!("could not read `{}`", path.display()), &error);
    let file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let head = |at: u64| {
        let mut bytes = [0; 16];
        let count = usize::try_from((length - at).min(16)).unwrap_or(16);
        file.read_exact_at(bytes.get_mut(..count).unwrap_or_default(), at).map(|()| bytes)
    };
    let moov = mp4::find_moov(length, head).map_err(io)?;
    let (at, bytes) = moov.filter(|moov| moov.1 <= LARGEST_TABLE).ok_or_else(|| broken(path, "it ends too early"))?;
    let mut table = vec![0; usize::try_from(bytes).unwrap_or(0)];
    file.read_exact_at(&mut table, at).map_err(io)?;
    mp4::track(&table).map_err(|error| broken(path, &error.to_string()))
}

fn read_samples(path: &Path, samples: &[Sample]) -> Result<Vec<Vec<u8>>, Failure> {
    let io = |error: std::io::Error| Failure::io(&format!("could not read `{}`", path.display()), &error);
    let file = File::open(path).map_err(io)?;
    let read = |sample: &Sample| {
        let mut bytes = vec![0; sample.bytes as usize];
        file.read_exact_at(&mut bytes, sample.offset).map_err(io)?;
        Ok(bytes)
    };
    samples.iter().map(read).collect()
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The encoder's file is not what was ordered. Another try may do better: a
/// disk that was full, an encoder that was killed.
fn broken(path: &Path, why: &str) -> Failure {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Failure::temporary(format!("the encoder's file `{name}` is not whole: {why}"))
}
