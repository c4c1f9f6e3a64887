//! Rules about time: lengths, edges and what must agree between renditions.

use crate::format::ts_read::CLOCK;

use super::finding::Findings;
use super::inside::{Inside, Times, Video};
use super::master_rules::{has_video, videos};
use super::package::{Package, Rendition, Role};
use super::picture_rules::in_seconds;
use super::playlist_rules::seconds;

/// One frame of AAC at 48 kHz takes 1920 ticks; times of sound are as coarse.
const SOUND_STEP: i64 = 1920;

/// Rounding of times to whole milliseconds on their way through other containers.
const ROUNDING: i64 = CLOCK / 1000;

/// Sound this far from its picture is noticed by some.
const SYNC_WARNING: i64 = CLOCK * 45 / 1000;

/// And this far by everybody.
const SYNC_LIMIT: i64 = CLOCK / 10;

/// Ends may differ by this before it is said.
const END_WARNING: i64 = CLOCK / 10;

/// And by this before the shorter one counts as cut off.
const END_LIMIT: i64 = CLOCK / 2;

/// R07, R10, R24 to R26, R39 to R41.
pub(super) fn check(package: &Package, findings: &mut Findings) {
    for rendition in &package.renditions {
        check_lengths(rendition, findings);
        check_sums(rendition, findings);
    }
    check_continuity(package, findings);
    check_alignment(package, findings);
    check_muxed_sound(package, findings);
}

/// What holds wherever segments are listed: R25, R26, R40 and R41.
pub(super) fn check_continuity(package: &Package, findings: &mut Findings) {
    for rendition in &package.renditions {
        check_edges(rendition, findings);
        check_holes(rendition, findings);
        check_sync(rendition, findings);
    }
    check_starts(package, findings);
    check_ends(package, findings);
}

fn inside(rendition: &Rendition, index: usize) -> Option<&Inside> {
    rendition.facts.get(index)?.as_ref()?.inside.as_ref()
}

fn times(rendition: &Rendition, index: usize) -> Option<&Times> {
    inside(rendition, index)?.times()
}

/// How long a segment really is: up to the next one, or to its own end.
fn real_length(rendition: &Rendition, index: usize) -> Option<i64> {
    let this = times(rendition, index)?;
    let follows = rendition.media.segments.get(index + 1).is_some_and(|next| !next.discontinuity);
    match times(rendition, index + 1) {
        Some(next) if follows => Some(next.start - this.start),
        _ if follows => None,
        _ => Some(this.end - this.start),
    }
}

/// How far lengths may be off: a frame of the picture, or for sound a frame of a common picture.
fn tolerance(rendition: &Rendition, index: usize) -> i64 {
    let video = inside(rendition, index).and_then(|inside| inside.video.as_ref());
    let frame = video.map_or(CLOCK / 30, |video| {
        let average = video.times.end - video.times.last;
        // A hole in the picture must not excuse itself.
        average.max(video.times.steps.1.min(CLOCK / 10))
    });
    frame + ROUNDING
}

/// The step between pictures, if at least half of the segments keep to one.
fn constant_step(rendition: &Rendition) -> Option<i64> {
    let steps = |video: &Video| (video.pictures > 1).then_some(video.times.steps);
    let all: Vec<(i64, i64)> = videos(rendition).filter_map(steps).collect();
    let mut even: Vec<i64> =
        all.iter().filter(|(shortest, longest)| longest - shortest <= 2 * ROUNDING).map(|steps| steps.1).collect();
    even.sort_unstable();
    even.get(even.len() / 2).copied().filter(|_| even.len() * 2 >= all.len())
}

/// Pictures or sound that are missing inside a segment.
fn check_holes(rendition: &Rendition, findings: &mut Findings) {
    let step = constant_step(rendition);
    for index in 0..rendition.facts.len() {
        let Some(inside) = inside(rendition, index) else { continue };
        if let (Some(step), Some(video)) = (step, &inside.video)
            && video.times.steps.1 > step + step / 2 + ROUNDING
        {
            let what = format!("pictures are missing: two are {:.3} s apart", in_seconds(video.times.steps.1));
            findings.violation("R26", rendition.segment(index), what);
        }
        if let Some(audio) = inside.audio.as_ref().filter(|audio| audio.frames > 0)
            && audio.times.last > audio.times.end + SOUND_STEP
        {
            findings.violation("R26", rendition.segment(index), "sound is missing inside the segment");
        }
    }
}

fn ticks(seconds: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "playlist lengths are bounded, and a cast saturates")]
    let ticks = (seconds * 90_000.0).round() as i64;
    ticks
}

fn check_lengths(rendition: &Rendition, findings: &mut Findings) {
    let target = rendition.media.target_duration.map_or(f64::MAX, seconds);
    for (index, segment) in rendition.media.segments.iter().enumerate() {
        // A segment that ends before it begins is in the wrong place, which its edges show.
        let Some(real) = real_length(rendition, index).filter(|&real| real > 0) else { continue };
        let name = rendition.segment(index);
        let off = ticks(segment.seconds).saturating_sub(real).saturating_abs();
        if off > tolerance(rendition, index) {
            let what = format!("EXTINF is {} s, the segment {:.3} s long", segment.seconds, in_seconds(real));
            judge_length(off, &name, what, findings);
        }
        if in_seconds(real) > target + 0.5 {
            let what = format!("the segment is {:.3} s long, the target duration {target}", in_seconds(real));
            findings.apple("R07", &name, what);
        }
    }
}

/// Errors that each are small may add up: the sum over any run must be as near.
fn check_sums(rendition: &Rendition, findings: &mut Findings) {
    let (mut sum, mut lowest, mut highest, mut allowed) = (0, 0, 0, 0);
    for (index, segment) in rendition.media.segments.iter().enumerate() {
        let Some(real) = real_length(rendition, index) else { return };
        let off = ticks(segment.seconds).saturating_sub(real);
        sum = i64::saturating_add(sum, off);
        lowest = lowest.min(sum);
        highest = highest.max(sum);
        allowed = allowed.max(tolerance(rendition, index));
    }
    let spread = i64::saturating_sub(highest, lowest);
    if spread > allowed {
        let what = format!("the sum of EXTINF is up to {:.3} s off", in_seconds(spread));
        judge_length(spread, &rendition.address.path, what, findings);
    }
}

/// Players seek by EXTINF: half a second is noticed by everybody, a frame by Apple.
fn judge_length(off: i64, where_: &str, what: String, findings: &mut Findings) {
    if off > CLOCK / 2 {
        findings.violation("R10", where_, what);
    } else {
        findings.apple("R10", where_, what);
    }
}

fn check_edges(rendition: &Rendition, findings: &mut Findings) {
    let constant = constant_step(rendition);
    for index in 1..rendition.facts.len() {
        let continues = rendition.media.segments.get(index).is_some_and(|segment| !segment.discontinuity);
        let (Some(before), Some(this), true) = (inside(rendition, index - 1), inside(rendition, index), continues)
        else {
            continue;
        };
        let name = rendition.segment(index);
        let jumps: Vec<String> = this
            .counters
            .iter()
            .filter_map(|(pid, counter)| {
                let last = before.counters.get(pid)?.last;
                let follows = counter.restarts || counter.first == (last + 1) % 16;
                (!follows).then(|| format!("PID {pid} from {last} to {}", counter.first))
            })
            .collect();
        if !jumps.is_empty() {
            let what = format!("continuity counters jump from the segment before: {}", jumps.join(", "));
            findings.violation("R26", &name, what);
        }
        if let (Some((_, last)), Some((first, _))) = (before.numbers, this.numbers)
            && first <= last
        {
            findings.warning("R26", &name, format!("fragment {first} follows fragment {last} of the segment before"));
        }
        let video = before.video.as_ref().zip(this.video.as_ref());
        if let Some((before, this)) = video {
            let varying = before.times.steps.1.max(this.times.steps.1).max(CLOCK / 30);
            let step = constant.map_or(varying, |step| step / 2);
            check_join(&name, "the picture", (&before.times, &this.times), step, findings);
        }
        let audio = before.audio.as_ref().zip(this.audio.as_ref());
        // Only the frames of AAC are counted, so only its end is known.
        if let Some((before, this)) = audio.filter(|(before, this)| before.frames > 0 && this.frames > 0) {
            check_join(&name, "the sound", (&before.times, &this.times), SOUND_STEP, findings);
        }
    }
}

fn check_join(name: &str, what: &str, (before, this): (&Times, &Times), step: i64, findings: &mut Findings) {
    let gap = this.start - before.end;
    if this.start <= before.last {
        let back = in_seconds(before.last - this.start);
        findings.violation("R26", name, format!("{what} goes back by {back:.3} s from the segment before"));
    } else if gap.abs() > step + ROUNDING {
        findings.violation("R26", name, format!("{what} has a gap of {:.3} s to the segment before", in_seconds(gap)));
    } else if this.decode.0 <= before.decode.1 {
        findings.violation("R26", name, format!("{what} is decoded before the end of the segment before"));
    }
}

/// Where sound and picture are in one file they must start together.
fn check_sync(rendition: &Rendition, findings: &mut Findings) {
    let Some(inside) = inside(rendition, 0) else { return };
    if let (Some(video), Some(audio)) = (&inside.video, &inside.audio) {
        let offset = audio.times.start - video.times.start;
        let what = format!("the sound starts {:+.3} s from the picture", in_seconds(offset));
        if offset.abs() > SYNC_WARNING {
            // It may be so in the source, too; with the source at hand it is measured.
            findings.warning("R40", rendition.segment(0), what);
        }
    }
}

fn judge_offset(rule: &'static str, where_: &str, offset: i64, findings: &mut Findings) {
    let what = format!("the sound starts {:+.3} s from the picture", in_seconds(offset));
    if offset.abs() > SYNC_LIMIT {
        findings.violation(rule, where_, what);
    } else if offset.abs() > SYNC_WARNING {
        findings.warning(rule, where_, what);
    }
}

/// The rendition that the others are measured by: the first with a picture.
fn reference(package: &Package) -> Option<&Rendition> {
    package.renditions.iter().find(|rendition| has_video(rendition) && times(rendition, 0).is_some())
}

/// When the picture that others are measured by starts, in ticks.
pub(super) fn reference_start(package: &Package) -> Option<i64> {
    times(reference(package)?, 0).map(|times| times.start)
}

fn check_starts(package: &Package, findings: &mut Findings) {
    let Some(first) = reference(package) else { return };
    let Some(start) = times(first, 0).map(|times| times.start) else { return };
    for other in package.renditions.iter().filter(|other| other.role != Role::Subtitles) {
        let Some(times) = times(other, 0) else { continue };
        if !has_video(other) {
            judge_offset("R25", &other.address.path, times.start - start, findings);
        } else if (times.start - start).abs() > ROUNDING {
            let what = format!("it starts {:+.3} s from {}", in_seconds(times.start - start), first.address.path);
            findings.violation("R25", &other.address.path, what);
        }
    }
}

fn check_alignment(package: &Package, findings: &mut Findings) {
    let Some(first) = reference(package) else { return };
    let others = package.renditions.iter().filter(|other| has_video(other) && other.role != Role::Subtitles);
    for other in others.filter(|other| other.address != first.address) {
        let (count, other_count) = (first.media.segments.len(), other.media.segments.len());
        if count != other_count {
            let what = format!("there are {other_count} segments, in {} there are {count}", first.address.path);
            findings.apple("R24", &other.address.path, what);
            continue;
        }
        let breaks = |rendition: &Rendition| -> Vec<bool> {
            rendition.media.segments.iter().map(|segment| segment.discontinuity).collect()
        };
        if breaks(first) != breaks(other) {
            let what = format!("discontinuities are not where {} has them", first.address.path);
            findings.violation("R26", &other.address.path, what);
        }
        for index in 0..count {
            let (Some(one), Some(two)) = (times(first, index), times(other, index)) else { continue };
            if (one.start - two.start).abs() > ROUNDING {
                let what = format!(
                    "the segment starts {:+.3} s from {}",
                    in_seconds(two.start - one.start),
                    first.segment(index)
                );
                findings.apple("R24", other.segment(index), what);
            }
        }
        let lengths = first.media.segments.iter().zip(&other.media.segments);
        if lengths.into_iter().any(|(one, two)| (one.seconds - two.seconds).abs() > 0.001) {
            let what = format!("EXTINF differs from {}", first.address.path);
            findings.warning("R24", &other.address.path, what);
        }
    }
}

/// The end of the last segment, in ticks from the start of the first.
pub(super) fn end(rendition: &Rendition) -> Option<i64> {
    Some(times(rendition, rendition.facts.len().checked_sub(1)?)?.end)
}

fn check_ends(package: &Package, findings: &mut Findings) {
    for rendition in &package.renditions {
        let last = rendition.facts.len().checked_sub(1).and_then(|last| inside(rendition, last));
        if let Some((video, audio)) = last.and_then(|inside| inside.video.as_ref().zip(inside.audio.as_ref())) {
            judge_end(&rendition.address.path, audio.times.end - video.times.end, findings);
        }
    }
    let Some(first) = reference(package) else { return };
    let Some(picture) = end(first) else { return };
    for other in package.renditions.iter().filter(|other| other.role == Role::Audio) {
        if let Some(sound) = end(other) {
            judge_end(&other.address.path, sound - picture, findings);
        }
    }
}

fn judge_end(where_: &str, difference: i64, findings: &mut Findings) {
    let what = format!("the sound ends {:+.3} s from the picture", in_seconds(difference));
    if difference.abs() > END_LIMIT {
        findings.apple("R41", where_, what);
    } else if difference.abs() > END_WARNING {
        findings.warning("R41", where_, what);
    }
}

fn check_muxed_sound(package: &Package, findings: &mut Findings) {
    let frames = |rendition: &Rendition| -> Option<Vec<u64>> {
        let each = rendition.facts.iter();
        each.map(|facts| Some(facts.as_ref()?.inside.as_ref()?.audio.as_ref()?.frames)).collect()
    };
    let mut muxed = package.renditions.iter().filter(|rendition| has_video(rendition));
    let Some((first, counts)) = muxed.find_map(|rendition| Some((rendition, frames(rendition)?))) else { return };
    for other in muxed {
        if frames(other).is_some_and(|others| others != counts) {
            let what = format!("its segments do not hold the same frames of sound as {}", first.address.path);
            findings.warning("R39", &other.address.path, what);
        }
    }
}
