//! The source itself as a rendition: its own sample table, compared with what
//! ffprobe said of its packets, and its key frames, looked at one by one.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::format::h264;
use crate::format::mp4::{self, Sample};
use crate::format::video;
use crate::model::failure::Failure;
use crate::model::media::{Media, Timeline};
use crate::plan::copy::{Top, decoding_order};
use crate::plan::grid::Grid;
use crate::plan::hls::{HlsPlan, plan, plan_encoding};
use crate::plan::settings::HlsSettings;

use super::blocking;

/// No index of a film is larger.
const LARGEST_INDEX: u64 = 64 << 20;

/// The slice of a key frame begins within so many bytes: notes of the encoder and parameter sets come before.
const HEAD: u64 = 4096;

/// A source whose packets are a rendition.
#[derive(Clone, Debug, PartialEq)]
pub struct Original {
    /// The file.
    pub path: PathBuf,
    /// Its pictures in decoding order.
    pub samples: Vec<Sample>,
    /// For each of them, the frame it shows.
    pub shown: Vec<u64>,
    /// Its parameter sets.
    pub config: video::Config,
}

/// What to make of a source that is whole, and the source as a rendition if it is one.
pub async fn decide(
    media: &Media,
    source: &Path,
    settings: &HlsSettings,
) -> Result<(HlsPlan, Option<Arc<Original>>), Failure> {
    let first = plan(media, settings)?;
    let Some(video) = media.video.as_ref().filter(|_| first.top == Top::Copied) else { return Ok((first, None)) };
    let (path, grid, index, timeline) = (source.to_path_buf(), first.grid.clone(), video.index, video.timeline.clone());
    match blocking(move || Ok(open(path, index, &timeline, &grid))).await? {
        Ok(original) => Ok((first, Some(Arc::new(original)))),
        Err(because) => Ok((plan_encoding(media, settings, because)?, None)),
    }
}

/// Opens the source as a rendition, or says why it is none.
fn open(path: PathBuf, track: u32, timeline: &Timeline, grid: &Grid) -> Result<Original, String> {
    let unread = |error: std::io::Error| format!("its index cannot be read: {error}");
    let file = File::open(&path).map_err(unread)?;
    let moov = index(&file).map_err(unread)?.ok_or("it is no MP4 file with an index of its own")?;
    let track = mp4::nth_track(&moov, track).map_err(|error| format!("of its index, {error}"))?;
    let config = h264::Config::parse(&track.config).ok_or("its parameter sets cannot be read")?;
    if !config.plays_everywhere() {
        return Err(format!("not every player knows its profile or level ({})", config.codec));
    }
    let order = decoding_order(timeline);
    let spans = order.iter().map(|&frame| timeline.spans.get(frame).copied());
    if !track.samples.iter().map(|sample| Some((sample.offset, sample.offset + u64::from(sample.bytes)))).eq(spans) {
        return Err("its index and its packets disagree".into());
    }
    for segment in 0..grid.segments() {
        let first = usize::try_from(grid.segment(segment).0).ok().and_then(|first| track.samples.get(first));
        if !first.is_some_and(|sample| is_idr(&file, sample, &config)) {
            return Err("its pictures refer back over its key frames".into());
        }
    }
    let config = video::Config::parse(track.entry, &track.config).ok_or("its parameter sets cannot be read")?;
    Ok(Original { path, samples: track.samples, shown: order.iter().map(|&frame| frame as u64).collect(), config })
}

fn index(file: &File) -> std::io::Result<Option<Vec<u8>>> {
    let length = file.metadata()?.len();
    let head = |at: u64| {
        let mut bytes = [0; 16];
        let count = usize::try_from((length - at).min(16)).unwrap_or(16);
        file.read_exact_at(bytes.get_mut(..count).unwrap_or_default(), at).map(|()| bytes)
    };
    let Some((at, bytes)) = mp4::find_moov(length, head)?.filter(|moov| moov.1 <= LARGEST_INDEX) else {
        return Ok(None);
    };
    let mut moov = vec![0; usize::try_from(bytes).unwrap_or(0)];
    file.read_exact_at(&mut moov, at)?;
    Ok((!mp4::is_fragmented(&moov)).then_some(moov))
}

fn is_idr(file: &File, sample: &Sample, config: &h264::Config) -> bool {
    let mut head = vec![0; usize::try_from(HEAD.min(u64::from(sample.bytes))).unwrap_or(0)];
    file.read_exact_at(&mut head, sample.offset).is_ok() && config.begins_with_idr(&head)
}
