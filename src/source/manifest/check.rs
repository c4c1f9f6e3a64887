//! Holds what was joined against what the manifest said of it: a segment that
//! is empty or cut is named, and never left out without a word.

use crate::model::failure::Failure;
use crate::model::media::{Media, Video};

use super::track::{Run, float};

/// A segment may be this many seconds shorter than its manifest says, and this part of itself.
const SHORT: (f64, f64) = (0.5, 0.05);

/// Whole seconds are rounded (RFC 8216, 4.3.2.1).
const ROUNDED: f64 = 0.5;

/// A longer time between two pictures is no habit of the film.
const HABIT: f64 = 10.0;

/// A segment as the manifest has it and as it lies in the file.
struct Segment {
    /// The first of its pieces.
    piece: usize,
    from: u64,
    seconds: f64,
    /// Times of its first picture and of its last.
    times: Option<(f64, f64)>,
}

/// What is wrong with which piece of a run, if anything is.
pub(super) fn fault(media: &Media, run: &Run, lengths: &[u64]) -> Option<(usize, String)> {
    let mut segments = segments(run, lengths);
    match (&media.video, media.audio.first()) {
        (Some(video), _) if video.timeline.spans.len() == video.timeline.times.len() => {
            let habit = place(&mut segments, video);
            cut(&segments, video, habit, run.loose)
        }
        (Some(video), _) => short_sum(&segments, video.timeline.end - video.timeline.start(), run.loose),
        (None, Some(audio)) => audio.holes.first().map_or_else(
            || short_sum(&segments, audio.end - audio.start, run.loose),
            |(at, length)| {
                let piece = at_time(&segments, at - audio.start);
                Some((piece, format!("leaves {length:.1} s of silence where its sound should be")))
            },
        ),
        (None, None) => Some((0, "begins a stretch without picture and sound".into())),
    }
}

fn segments(run: &Run, lengths: &[u64]) -> Vec<Segment> {
    let mut from = 0;
    let mut segments = Vec::new();
    for (piece, (one, length)) in run.pieces.iter().zip(lengths).enumerate() {
        segments.extend(one.seconds.map(|seconds| Segment { piece, from, seconds, times: None }));
        from += length;
    }
    segments
}

/// Finds the pictures of every segment. Answers the longest time between two of one segment.
fn place(segments: &mut [Segment], video: &Video) -> f64 {
    let (mut habit, mut before) = (0.0_f64, None);
    for (&time, span) in video.timeline.times.iter().zip(&video.timeline.spans) {
        let index = segments.partition_point(|segment| segment.from <= span.0).saturating_sub(1);
        let Some(segment) = segments.get_mut(index) else { continue };
        let (first, last) = segment.times.unwrap_or((time, time));
        segment.times = Some((first.min(time), last.max(time)));
        if let Some((_, earlier)) = before.filter(|(of, _)| *of == index) {
            habit = habit.max(time - earlier);
        }
        before = Some((index, time));
    }
    habit.min(HABIT)
}

fn cut(segments: &[Segment], video: &Video, habit: f64, loose: f64) -> Option<(usize, String)> {
    let frame = video.timeline.end - video.timeline.times.last().copied().unwrap_or_default();
    for (index, segment) in segments.iter().enumerate() {
        let allowed = tolerance(segment.seconds) + habit + loose;
        let Some((first, last)) = segment.times else {
            if segment.seconds > allowed {
                return Some((segment.piece, format!("holds no picture of its {:.1} s", segment.seconds)));
            }
            continue;
        };
        let next = segments.get(index + 1..).unwrap_or_default().iter().find_map(|next| next.times);
        let hole = next.is_none_or(|(begins, _)| begins - last > SHORT.0 + habit);
        let seconds = last - first + frame;
        if hole && segment.seconds - seconds > allowed {
            return Some((segment.piece, format!("holds {seconds:.1} s of its {:.1} s", segment.seconds)));
        }
    }
    None
}

/// Where single segments cannot be told apart: all of it against the sum.
fn short_sum(segments: &[Segment], seconds: f64, loose: f64) -> Option<(usize, String)> {
    let wanted: f64 = segments.iter().map(|segment| segment.seconds).sum();
    let rounded = segments.iter().filter(|segment| is_rounded(segment.seconds)).count() as u64;
    let allowed = SHORT.0 + SHORT.1 * longest(segments) + ROUNDED * float(rounded) + loose;
    let last = segments.last()?.piece;
    (wanted - seconds > allowed).then(|| (last, format!("ends a stretch that has {seconds:.1} s of its {wanted:.1} s")))
}

fn longest(segments: &[Segment]) -> f64 {
    segments.iter().map(|segment| segment.seconds).fold(0.0, f64::max)
}

fn at_time(segments: &[Segment], time: f64) -> usize {
    let mut end = 0.0;
    let found = segments.iter().find(|segment| {
        end += segment.seconds;
        end > time
    });
    found.or(segments.last()).map_or(0, |segment| segment.piece)
}

fn tolerance(seconds: f64) -> f64 {
    SHORT.0 + SHORT.1 * seconds + if is_rounded(seconds) { ROUNDED } else { 0.0 }
}

fn is_rounded(seconds: f64) -> bool {
    seconds.fract() == 0.0
}

/// What the parts hold has to be in what was made of them: pictures, and seconds of them.
pub(super) fn all_of(parts: &[Media], whole: &Media) -> Result<(), Failure> {
    let sums = |media: &Media| {
        media.video.as_ref().map(|video| (video.timeline.times.len(), video.timeline.end - video.timeline.start()))
    };
    let (pictures, seconds) = parts.iter().filter_map(sums).fold((0, 0.0), |all, one| (all.0 + one.0, all.1 + one.1));
    let (made, lasting) = sums(whole).unwrap_or_default();
    // What stands before the first key frame cannot be shown, and is not copied.
    if made + 50 + pictures / 100 < pictures || lasting + 1.0 < seconds {
        let what = format!("joining its segments left {made} pictures of {pictures}, {lasting:.1} s of {seconds:.1} s");
        return Err(Failure::permanent(what));
    }
    Ok(())
}
