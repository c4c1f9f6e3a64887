//! Subtitles of a manifest: fetched as its other tracks are, and each made one file in the time of the whole.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::format::webvtt::{self, Cue, WRAP};
use crate::model::failure::{Class, Failure};
use crate::model::media::{Place, Text};
use crate::model::sha256::Sha256;
use crate::plan::sidecar::Format;

use super::super::beside::{self, Beside, Sidecar};
use super::super::hash::{blocking_or, writing};
use super::Stop;
use super::bring::{self, Keys, RunFile};
use super::join::Joined;
use super::reader::Reader;
use super::room::Budget;
use super::track::{Track, Tracks};

/// One track of text, and what the manifest says of it. Where it is, is known when all are brought.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Words {
    pub(super) track: Track,
    pub(super) text: Text,
}

impl Words {
    /// A name for people.
    pub(super) fn shown(&self) -> &str {
        self.text.title.as_deref().unwrap_or(&self.text.language)
    }
}

/// What came of one track of text: the files of its runs, or why it is left out.
pub(super) type Brought = Result<Vec<RunFile>, Failure>;

/// Fetches all texts. One that cannot be had is left out with a word: a film without it is better than none.
pub(super) async fn bring(
    reader: &Reader<'_>,
    tracks: &Tracks,
    keys: &mut Keys,
    folder: &Path,
    budget: &mut Budget<'_>,
) -> Result<Vec<Brought>, Stop> {
    let mut all = Vec::new();
    for (number, words) in tracks.texts.iter().enumerate() {
        let brought = async {
            bring::keys(reader, &words.track, keys).await?;
            bring::track(reader, &words.track, tracks.all.len() + number, keys, folder, budget).await
        };
        all.push(match brought.await {
            Ok(files) => Ok(files),
            Err(Stop::Refused(failure)) => Err(failure),
            Err(Stop::Failed(failure)) if failure.class == Class::Permanent => Err(failure),
            Err(stop) => return Err(stop),
        });
    }
    Ok(all)
}

/// Makes one file of each text, in the time of the whole.
pub(super) async fn all(
    tracks: &Tracks,
    joined: &Joined,
    brought: Vec<Brought>,
    folder: &Path,
) -> Result<Beside, Failure> {
    let mut beside = Beside { files: Vec::new(), skipped: tracks.skipped.clone() };
    for (number, (words, brought)) in tracks.texts.iter().zip(brought).enumerate() {
        let made = async {
            let clock = Clock::new(tracks, words, joined)?;
            written(brought?, clock, folder.join(format!("texts-{number}.vtt"))).await
        };
        match made.await {
            Ok((path, sha256)) => beside.files.push(Sidecar {
                path,
                shown: words.shown().to_owned(),
                format: Format::WebVtt,
                sha256,
                text: Text { place: Place::Beside(beside.files.len()), ..words.text.clone() },
            }),
            Err(failure) if failure.class == Class::Permanent => {
                beside.skipped.push(left_out(words.shown(), &failure));
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(beside)
}

/// The word with which a track of text is left out.
pub(super) fn left_out(shown: &str, why: &Failure) -> String {
    format!("the subtitles `{}` are left out: {}", shown.escape_debug(), why.what)
}

/// Writes the cues of all runs into one file; answers where it is and the digest of its bytes.
async fn written(files: Vec<RunFile>, clock: Clock, path: PathBuf) -> Result<(PathBuf, String), Failure> {
    let cannot = writing(&path);
    let written = blocking_or(&cannot, move || {
        let mut cues = Vec::new();
        for (run, file) in files.iter().enumerate() {
            let bytes = match beside::read(&file.path) {
                Ok(bytes) => bytes,
                Err(error) => return Ok(Err(error.to_string())),
            };
            for piece in pieces(&bytes, &file.lengths) {
                let Some((map, found)) = webvtt::read(&String::from_utf8_lossy(piece)) else {
                    return Ok(Err("they are no WebVTT".into()));
                };
                cues.extend(found.into_iter().filter_map(|cue| clock.moved(cue, run, map)));
            }
        }
        let text = webvtt::whole(&once(cues)).into_bytes();
        File::create(&path)?.write_all(&text)?;
        Ok(Ok((path, hex::encode(Sha256::digest(&text)))))
    });
    written.await?.map_err(Failure::permanent)
}

/// The segments that lie behind each other, each with its length.
fn pieces<'b>(mut bytes: &'b [u8], lengths: &[u64]) -> Vec<&'b [u8]> {
    let cut = |length: &u64| {
        let length = usize::try_from(*length).unwrap_or(usize::MAX).min(bytes.len());
        let (piece, rest) = bytes.split_at(length);
        bytes = rest;
        piece
    };
    lengths.iter().map(cut).collect()
}

/// A cue that is seen over the edge of a segment is in both.
fn once(mut cues: Vec<Cue>) -> Vec<Cue> {
    let order = |a: &Cue, b: &Cue| a.start.total_cmp(&b.start).then(a.end.total_cmp(&b.end));
    cues.sort_by(order);
    let near = |a: f64, b: f64| (a - b).abs() < 0.002;
    let mut found: Vec<Cue> = Vec::new();
    for cue in cues {
        let mut before = found.iter().rev().take_while(|one| near(one.start, cue.start));
        if !before.any(|one| near(one.end, cue.end) && one.text == cue.text) {
            found.push(cue);
        }
    }
    found
}

/// Where the times of cues are in the whole.
#[derive(Clone, Debug, PartialEq)]
struct Clock {
    /// Of every run: when its picture begins by its own clock, when in the whole, and when the presentation of the
    /// run begins by the clock of the text.
    runs: Vec<(f64, f64, Zero)>,
}

/// What time 0 of a text without a map is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Zero {
    /// The beginning of the whole.
    Whole,
    /// This time before the picture of the run begins.
    BeforePicture(f64),
}

impl Clock {
    fn new(tracks: &Tracks, words: &Words, joined: &Joined) -> Result<Self, Failure> {
        if words.track.runs.len() != joined.starts.len() {
            return Err(Failure::permanent("they have other discontinuities than the picture"));
        }
        let unknown = || Failure::permanent("how long the parts between discontinuities are is not known");
        let lengths = joined.lengths.iter().take(joined.starts.len().saturating_sub(1));
        let lengths = lengths.copied().collect::<Option<Vec<f64>>>().ok_or_else(unknown)?;
        let first = joined.media.video.as_ref().map_or(0.0, |video| video.timeline.start() - joined.media.start());
        let places = std::iter::once(first).chain(lengths.iter().scan(first, |at, length| {
            *at += length;
            Some(*at)
        }));
        let pictures = tracks.all.first().map(|track| track.runs.as_slice()).unwrap_or_default();
        let zero = |run: usize, own: f64| match (pictures.get(run), words.track.runs.get(run)) {
            // A period of DASH begins where the offsets of its streams are.
            (Some(picture), Some(text)) if tracks.is_dash => Zero::BeforePicture(own - picture.offset + text.offset),
            _ => Zero::Whole,
        };
        let runs = joined.starts.iter().zip(places).enumerate();
        Ok(Self { runs: runs.map(|(run, (own, here))| (*own, here, zero(run, *own))).collect() })
    }

    /// A cue in the time of the whole; `None` if that is before it.
    fn moved(&self, cue: Cue, run: usize, map: Option<webvtt::TimestampMap>) -> Option<Cue> {
        let (own, here, zero) = *self.runs.get(run)?;
        let shift = match (map, zero) {
            (Some(map), _) => here + nearest(map.picture - own) - map.local,
            (None, Zero::Whole) => 0.0,
            (None, Zero::BeforePicture(seconds)) => here - seconds,
        };
        let (start, end) = ((cue.start + shift).max(0.0), cue.end + shift);
        (start < end).then_some(Cue { start, end, ..cue })
    }
}

/// A time apart on a clock that wraps.
fn nearest(apart: f64) -> f64 {
    apart - (apart / WRAP).round() * WRAP
}

#[cfg(test)]
mod tests {
    use crate::format::webvtt::TimestampMap;

    use super::*;

    fn cue(start: f64, end: f64) -> Cue {
        Cue { start, end, text: "a".into() }
    }

    #[test]
    fn cues_are_where_the_picture_is() {
        // Two runs, whose clocks begin at 10 s and shortly before they wrap; the second is at 20 s of the whole.
        let clock = Clock { runs: vec![(10.0, 0.5, Zero::Whole), (WRAP - 1.0, 20.0, Zero::BeforePicture(3.0))] };
        let map = |picture, local| Some(TimestampMap { local, picture });
        assert_eq!(clock.moved(cue(1.0, 2.0), 0, map(10.0, 0.0)), Some(cue(1.5, 2.5)));
        assert_eq!(clock.moved(cue(1.0, 2.0), 0, None), Some(cue(1.0, 2.0)));
        assert_eq!(clock.moved(cue(1.0, 2.0), 0, map(8.0, 0.0)), Some(cue(0.0, 0.5)));
        assert_eq!(clock.moved(cue(1.0, 2.0), 0, map(5.0, 0.0)), None);
        assert_eq!(clock.moved(cue(5.0, 6.0), 1, None), Some(cue(22.0, 23.0)));
        let after_wrap = clock.moved(cue(5.0, 6.0), 1, map(1.0, 5.0)).unwrap();
        assert!((after_wrap.start - 22.0).abs() < 1e-6, "{after_wrap:?}");
    }

    #[test]
    fn what_is_in_two_segments_is_taken_once() {
        let other = Cue { text: "b".into(), ..cue(1.0, 3.0) };
        let cues = vec![cue(5.0, 6.0), cue(1.0, 3.0), other.clone(), cue(1.0004, 3.0), cue(1.0, 2.0)];
        assert_eq!(once(cues), [cue(1.0, 2.0), cue(1.0, 3.0), other, cue(5.0, 6.0)]);
    }
}
