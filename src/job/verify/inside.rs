//! The facts of one segment, which are all that is kept of it.

use std::collections::BTreeMap;

use crate::format::ts_read::{self, Counter};

use super::package::Sum;
use super::picture::{Picture, Sound};

/// What is kept of one segment.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// Bytes as stored, of the segment alone.
    pub(super) bytes: u64,
    /// Of the whole object; `None` for a part of one.
    pub(super) sum: Option<Sum>,
    /// What is in it, if it could be looked into.
    pub(super) inside: Option<Inside>,
    /// What a segment of subtitles says.
    pub(super) text: Option<super::vtt::Text>,
}

/// How segments are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// MPEG-TS.
    Stream,
    /// Fragmented MP4.
    Fragments,
    /// Frames of sound alone, after an ID3 tag with their time.
    Packed,
}

/// What is in a segment.
#[derive(Clone, Debug)]
pub(super) struct Inside {
    pub(super) form: Form,
    /// Whether PAT and PMT come first; true of all that has none.
    pub(super) tables_first: bool,
    pub(super) counters: BTreeMap<u16, Counter>,
    /// First and last number of a fragment.
    pub(super) numbers: Option<(u32, u32)>,
    pub(super) video: Option<Video>,
    pub(super) audio: Option<Audio>,
}

/// Times of a stream in ticks, by presentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    /// The earliest.
    pub(super) start: i64,
    /// That of the last unit.
    pub(super) last: i64,
    /// When the last unit is over; `last` where that cannot be known.
    pub(super) end: i64,
    /// The first and the last time of decoding.
    pub(super) decode: (i64, i64),
    /// The shortest and the longest step; 0 where there is one unit.
    pub(super) steps: (i64, i64),
}

impl Times {
    /// From all times of presentation and the first and last one of decoding.
    pub(super) fn of(mut shown: Vec<i64>, decode: (i64, i64)) -> Option<Self> {
        shown.sort_unstable();
        let (&start, &last) = (shown.first()?, shown.last()?);
        let steps = shown.windows(2).filter_map(|pair| Some(pair.get(1)? - pair.first()?));
        let steps = steps.fold(None, |seen: Option<(i64, i64)>, step| {
            Some(seen.map_or((step, step), |(shortest, longest)| (shortest.min(step), longest.max(step))))
        });
        let average = (last - start) / i64::try_from(shown.len() - 1).unwrap_or(i64::MAX).max(1);
        Some(Self { start, last, end: last + average, decode, steps: steps.unwrap_or((0, 0)) })
    }
}

/// The picture of a segment.
#[derive(Clone, Debug)]
pub(super) struct Video {
    pub(super) times: Times,
    pub(super) pictures: u64,
    /// Times of pictures at which decoding may begin.
    pub(super) keys: Vec<i64>,
    /// Whether the first one is such a picture; `None` where that cannot be seen.
    pub(super) starts_with_key: Option<bool>,
    /// Whether the first picture of the file is the first shown.
    pub(super) first_is_earliest: bool,
    pub(super) picture: Option<Picture>,
    /// Whether the parameter sets stand before the first picture, or in the init section.
    pub(super) configured: bool,
    /// Whether the picture is to be turned or mirrored when shown.
    pub(super) turned: bool,
}

/// The sound of a segment.
#[derive(Clone, Debug)]
pub(super) struct Audio {
    pub(super) codec: Option<String>,
    pub(super) times: Times,
    /// Frames, where they can be counted.
    pub(super) frames: u64,
    pub(super) sound: Option<Sound>,
}

impl Inside {
    /// The times that the segment's length goes by: the picture's, else the sound's.
    pub(super) fn times(&self) -> Option<&Times> {
        self.video.as_ref().map(|video| &video.times).or(self.audio.as_ref().map(|audio| &audio.times))
    }

    /// Moves all times by whole turns of the 33-bit clock, so that they are near `before`.
    pub(super) fn run_on_from(&mut self, before: i64) {
        if self.form == Form::Fragments {
            return;
        }
        let Some(start) = self.times().map(|times| times.start) else { return };
        let shift = ts_read::near(before, start) - start;
        let video = self.video.as_mut().map(|video| {
            video.keys.iter_mut().for_each(|key| *key += shift);
            &mut video.times
        });
        for times in video.into_iter().chain(self.audio.as_mut().map(|audio| &mut audio.times)) {
            times.start += shift;
            times.last += shift;
            times.end += shift;
            times.decode = (times.decode.0 + shift, times.decode.1 + shift);
        }
    }
}
