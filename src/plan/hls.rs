//! The plan of one package: pure, from what was probed and what was asked.

use crate::model::failure::Failure;
use crate::model::media::{Audio, Media, Video};
use crate::model::rational::Rational;
use crate::plan::audio::{AudioRendition, FRAME_SAMPLES, SAMPLE_RATE, renditions};
use crate::plan::budget;
use crate::plan::chapter;
use crate::plan::copy::{self, Top};
use crate::plan::grid::Grid;
use crate::plan::ladder::{Rendition, ladder, upright_size};
use crate::plan::picture;
use crate::plan::rate::output_rate;
use crate::plan::settings::{Container, HlsSettings, Limits};
use crate::plan::subtitle::{self, SubtitleRendition};

/// Packets may end this much before what the container declares, or one part
/// in a hundred, whichever is longer: many writers round.
const ROUNDING_SECONDS: f64 = 1.0;

/// A hole in picture and sound at once is damage from this length on.
const SHARED_HOLE: f64 = 1.0;

/// A hole in the pictures of a silent source is damage from this length on,
/// if the pictures come regularly otherwise: screen recorders leave still times out.
const SILENT_HOLE: f64 = 3.0;

/// Sound that goes on after the picture for longer than this is no padding of an encoder.
const SOUND_AFTER: f64 = 0.25;

/// The grid of sound without a picture: a "picture" is a frame of AAC.
const SOUND_RATE: Rational = match Rational::new(SAMPLE_RATE, FRAME_SAMPLES) {
    Some(rate) => rate,
    None => unreachable!(),
};

/// What to make of one source.
#[derive(Clone, Debug)]
pub struct HlsPlan {
    /// Frames, segments, chunks.
    pub grid: Grid,
    /// The source's time of frame 0, in seconds.
    pub start: f64,
    /// The source's time of the first sample of sound, in seconds: the same, unless the decoder shows pictures late.
    pub sound_start: f64,
    /// The video renditions, largest first.
    pub video: Vec<Rendition>,
    /// For each chunk, its part of the renditions' caps: 1 on average.
    pub shares: Vec<f64>,
    /// Where the largest of them comes from.
    pub top: Top,
    /// The audio renditions.
    pub audio: Vec<AudioRendition>,
    /// The subtitle renditions.
    pub subtitles: Vec<SubtitleRendition>,
    /// Objects that each rendition has besides its segments and its playlist.
    pub headers: u64,
    /// Objects that the package has besides those of its renditions, the manifest and the pointer.
    pub extras: u64,
    /// What the user should know, one line each.
    pub warnings: Vec<String>,
}

/// Decides what to make of `media`, or refuses it with the reason.
pub fn plan(media: &Media, settings: &HlsSettings) -> Result<HlsPlan, Failure> {
    decide(media, settings, None)
}

/// Decides what to make of `media` if it cannot be copied, `because` its bytes say more than its packets.
pub fn plan_encoding(media: &Media, settings: &HlsSettings, because: String) -> Result<HlsPlan, Failure> {
    decide(media, settings, Some(because))
}

fn decide(media: &Media, settings: &HlsSettings, not_copied: Option<String>) -> Result<HlsPlan, Failure> {
    let (start, seconds) = span(media).ok_or_else(|| nothing(media))?;
    within_limits(media, seconds, &settings.limits)?;
    let warnings = warnings(media, settings)?;
    let sound_start = start - media.video.as_ref().map_or(0.0, |video| video.late);
    let rate = media.video.as_ref().map_or(SOUND_RATE, output_rate);
    let grid = Grid::new(rate, seconds.min(settings.limits.seconds), settings.segment_seconds);
    let headers = u64::from(settings.container == Container::Fmp4);
    let chapters = if chapter::chapters(&media.chapters, start, grid.seconds()).is_empty() { 0 } else { 2 };
    let audio = renditions(&media.audio, &settings.audio);
    let subtitles = subtitle::renditions(&media.text, &settings.subtitles);
    let Some(picture) = &media.video else {
        let top = Top::Encoded { because: "there is no picture".into() };
        let (video, shares, extras) = (Vec::new(), Vec::new(), dash(settings, subtitles.len()) + chapters);
        return Ok(HlsPlan {
            grid,
            start,
            sound_start,
            video,
            shares,
            top,
            audio,
            subtitles,
            headers,
            extras,
            warnings,
        });
    };
    let video = ladder(picture, &settings.rungs, &settings.codecs, settings.keep_hdr);
    let edges = match (not_copied, video.first()) {
        (None, Some(largest)) => copy::edges(picture, largest, (rate, start, grid.frames), settings),
        (because, _) => Err(because.unwrap_or_default()),
    };
    let (grid, top) = match edges {
        Ok(edges) => (Grid::with_edges(rate, edges), Top::Copied),
        Err(because) => (grid, Top::Encoded { because }),
    };
    let shares = budget::shares(&picture.timeline, &grid, start);
    let mut plan =
        HlsPlan { grid, start, sound_start, video, shares, top, audio, subtitles, headers, extras: 0, warnings };
    plan.extras = extras(&plan, settings) + chapters;
    Ok(plan)
}

/// What the user should know of the source; damage is refused unless it is accepted.
fn warnings(media: &Media, settings: &HlsSettings) -> Result<Vec<String>, Failure> {
    let mut warnings = media.skipped.clone();
    if let Some(damage) = damage(media) {
        if !settings.accept_damaged {
            return Err(
                Failure::permanent(damage).hint("get the file again, or publish what there is with --accept-damaged")
            );
        }
        warnings.push(damage);
    }
    if media.video.as_ref().is_some_and(|video| video.alpha && !media.is_animation()) {
        warnings.push("the picture may be see-through; what is behind it is black".into());
    }
    for track in media.audio.iter().filter(|track| !track.is_in_order()) {
        let Audio { index, codec, .. } = track;
        warnings
            .push(format!("the times of stream {index} (audio, {codec}) are in disorder: it is taken in one piece"));
    }
    Ok(warnings)
}

/// The source's time at which the package begins, and its length in seconds.
///
/// The picture rules. Sound that goes on after it is kept, under the last picture; sound that begins
/// before it is not, as nothing is there to be seen.
fn span(media: &Media) -> Option<(f64, f64)> {
    let end = media.audio.iter().map(|track| track.end).reduce(f64::max);
    let Some(video) = &media.video else {
        let start = media.audio.iter().map(|track| track.start).reduce(f64::min)?;
        return Some((start, end? - start));
    };
    let (start, picture_end) = (video.timeline.start(), video.timeline.end);
    let end = end.filter(|end| end - picture_end > SOUND_AFTER).unwrap_or(picture_end);
    Some((start, end - start))
}

/// What was asked for beside renditions: a manifest of DASH, key frames, pictures.
fn extras(plan: &HlsPlan, settings: &HlsSettings) -> u64 {
    let i_frames = if settings.i_frames { plan.video.len() as u64 } else { 0 };
    let storyboard = if settings.storyboard { picture::storyboard(plan).sheets() + 1 } else { 0 };
    dash(settings, plan.subtitles.len()) + i_frames + u64::from(settings.poster) + storyboard
}

/// What DASH takes: its manifest, and the whole text of every track.
fn dash(settings: &HlsSettings, texts: usize) -> u64 {
    if settings.dash { 1 + texts as u64 } else { 0 }
}

impl HlsPlan {
    /// The first of the video renditions that is encoded.
    pub fn first_encoded(&self) -> usize {
        usize::from(self.top == Top::Copied)
    }

    /// Objects of the package: a segment and a playlist for every rendition, the manifest, the pointer.
    /// The last segment of sound may be missing where the last one of the picture is a blink.
    pub fn objects(&self) -> u64 {
        let renditions = (self.video.len() + self.audio.len()) as u64;
        let texts = self.subtitles.len() as u64 * (subtitle::segments(&self.grid).len() as u64 + 1);
        renditions * (self.grid.segments() + 1 + self.headers) + texts + self.extras + 2
    }

    /// One line for people: `1080p 720p 360p + audio-eng`. What is `kept` of an earlier package says so.
    pub fn summary(&self, kept: &dyn Fn(&str) -> bool) -> String {
        let said = |name: &str, copied: bool| match (kept(name), copied) {
            (true, _) => format!("{name} (kept)"),
            (false, true) => format!("{name} (copied)"),
            (false, false) => name.to_owned(),
        };
        let rungs = self.video.iter().enumerate().map(|(number, one)| said(&one.name, number < self.first_encoded()));
        let tracks = self.audio.iter().map(|one| said(&one.folder, false));
        let (rungs, tracks): (Vec<String>, Vec<String>) = (rungs.collect(), tracks.collect());
        if rungs.is_empty() {
            return format!("{} (no picture)", tracks.join(" "));
        }
        if tracks.is_empty() {
            return format!("{} (no sound)", rungs.join(" "));
        }
        format!("{} + {}", rungs.join(" "), tracks.join(" "))
    }
}

fn nothing(media: &Media) -> Failure {
    if media.untimed {
        return Failure::permanent("the file is a bare stream of pictures without time stamps")
            .hint("put it into a container first, with a tool such as mkvmerge or MP4Box");
    }
    Failure::permanent("the file holds neither picture nor sound").hint("check what the address really gives")
}

fn within_limits(media: &Media, seconds: f64, limits: &Limits) -> Result<(), Failure> {
    let refuse = |what: String, key: &str| {
        Err(Failure::permanent(what).hint(format!("if that is right, raise `{key}` in the settings")))
    };
    if let Some(video) = &media.video {
        let pixels = u64::from(video.width) * u64::from(video.height);
        let (width, height) = upright_size(video);
        let shape = width.max(height) / width.min(height).max(1.0);
        let size = format!("the picture is {}x{}", video.width, video.height);
        if pixels > limits.pixels {
            return Err(too_large(&format!("{}x{}", video.width, video.height), limits.pixels));
        }
        if video.width < 2 || video.height < 2 || shape > 100.0 {
            return Err(Failure::permanent(format!("{size}, which no player shows")));
        }
    }
    if seconds > limits.seconds {
        return refuse(
            format!("the source lasts {seconds:.0} s, more than {:.0} s", limits.seconds),
            "limits.duration",
        );
    }
    Ok(())
}

/// Why a picture of `size`, such as `16000x16000`, is refused.
pub fn too_large(size: &str, most: u64) -> Failure {
    Failure::permanent(format!("the picture is {size}, more than {most} pixels"))
        .hint("if that is right, raise `limits.pixels` in the settings")
}

/// What is missing of the source, judged by its packets against its header.
fn damage(media: &Media) -> Option<String> {
    // The stream's own length speaks of the picture; the container's of the longest stream.
    let picture = media.video.as_ref().map(|video| (&video.timeline, video.declared_seconds));
    let (declared, held) = match (picture, media.declared_seconds) {
        (Some((timeline, Some(declared))), _) => (declared, timeline.end - timeline.start()),
        (_, Some(declared)) => {
            let picture = picture.map(|(timeline, _)| (timeline.start(), timeline.end));
            let spans = media.audio.iter().map(|track| (track.start, track.end)).chain(picture);
            let (first, end) = spans.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
            // Some containers count from zero, some from the first packet.
            (declared, (end - first).max(end.max(media.other_end).min(declared)))
        }
        (_, None) => (0.0, 0.0),
    };
    if declared - held > ROUNDING_SECONDS.max(declared / 100.0) {
        return Some(format!("the file is cut short: it says {declared:.1} s and holds {held:.1} s"));
    }
    let video = media.video.as_ref()?;
    let (untimed, timed) = (video.timeline.untimed, video.timeline.times.len() as u64);
    // Elsewhere the second field of a picture may have a packet without a time.
    if media.container.starts_with("matroska") && untimed > MOST_UNTIMED && untimed * 100 > timed {
        return Some(format!("{untimed} of {} pictures have no time stamp", timed + untimed));
    }
    let (at, seconds) = hole(media, video)?;
    Some(format!("nothing is there for {seconds:.1} s, {} into the video", clock(at - video.timeline.start())))
}

/// So many pictures without a time stamp are nobody's loss.
const MOST_UNTIMED: u64 = 3;

/// The first hole in the packets that is damage: begin and length in seconds.
fn hole(media: &Media, video: &Video) -> Option<(f64, f64)> {
    let holes = video.timeline.times.windows(2).map(|pair| (pair[0], pair[1] - pair[0]));
    if media.audio.is_empty() {
        let mut intervals: Vec<f64> = holes.clone().map(|hole| hole.1).collect();
        intervals.sort_by(f64::total_cmp);
        let usual = *intervals.get(intervals.len() * 9 / 10)?;
        // What is lost is whole fragments, which begin with key frames; who records a screen goes on as he was.
        let resumes =
            |&(begin, length): &(f64, f64)| video.timeline.keys.iter().any(|key| (key - begin - length).abs() < 1e-3);
        return holes.into_iter().find(|hole| hole.1 > SILENT_HOLE.max(usual * 20.0) && resumes(hole));
    }
    holes.into_iter().filter(|hole| hole.1 > SHARED_HOLE).find(|&(begin, length)| {
        let silent =
            |&(from, silence): &(f64, f64)| (from + silence).min(begin + length) - from.max(begin) > 0.5 * length;
        media.audio.iter().any(|track| track.holes.iter().any(silent))
    })
}

/// Seconds as `1:02:03`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a position in a video")]
pub fn clock(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    format!("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::media::Timeline;
    use crate::plan::ladder::tests::{rungs, video};
    use crate::plan::language::Wanted;
    use crate::plan::settings::{Codec, Profile};

    pub(crate) fn settings() -> HlsSettings {
        HlsSettings {
            rungs: rungs(),
            profile: Profile {
                name: "balanced".into(),
                preset: "veryfast".into(),
                x264: String::new(),
                crf_shift: 0.0,
                rate: 1.0,
            },
            segment_seconds: 6.0,
            key_frame_seconds: 2.0,
            two_pass: false,
            copy_over: None,
            quality: None,
            audio_kbps: 128,
            container: Container::Ts,
            dash: false,
            codecs: vec![Codec::H264],
            keep_hdr: true,
            audio: Wanted::All,
            subtitles: Wanted::All,
            loudness: None,
            i_frames: false,
            poster: false,
            storyboard: false,
            encryption: None,
            accept_damaged: false,
            limits: Limits { pixels: 1 << 26, streams: 64, seconds: 86_400.0, bytes: 1 << 40 },
        }
    }

    /// Ten seconds of 1080p at 25 frames a second, with `keep` choosing the packets.
    pub(crate) fn media(declared: f64, keep: impl Fn(u32) -> bool) -> Media {
        let times: Vec<f64> = (0..250).filter(|frame| keep(*frame)).map(|frame| f64::from(frame) / 25.0).collect();
        let end = times.last().copied().unwrap_or(0.0) + 0.04;
        let keys = times.iter().step_by(50).copied().collect();
        let timeline = Timeline { times, keys, end, ..Timeline::default() };
        Media {
            container: "mov,mp4".into(),
            declared_seconds: Some(declared),
            title: None,
            video: Some(Video { declared_seconds: Some(declared), timeline, ..video(1920, 1080) }),
            audio: Vec::new(),
            text: Vec::new(),
            other_end: 0.0,
            chapters: Vec::new(),
            skipped: Vec::new(),
            other_programs: 0,
            clock_jumps: 0,
            untimed: false,
        }
    }

    #[test]
    fn a_whole_source_is_planned() {
        let plan = plan(&media(10.0, |_| true), &settings()).unwrap();
        assert_eq!(
            (plan.grid.frames, plan.grid.segments(), plan.summary(&|_| false).as_str()),
            (250, 2, "1080p 720p 360p (no sound)")
        );
    }

    #[test]
    fn every_object_is_counted() {
        let plain = plan(&media(10.0, |_| true), &settings()).unwrap().objects();
        let all = HlsSettings { dash: true, i_frames: true, poster: true, storyboard: true, ..settings() };
        // Three renditions have a playlist of key frames each; the storyboard is one sheet and its cues.
        assert_eq!(plan(&media(10.0, |_| true), &all).unwrap().objects(), plain + 1 + 3 + 1 + 2);
    }

    #[test]
    fn a_truncated_source_is_refused_with_both_lengths() {
        let failure = plan(&media(10.0, |frame| frame < 100), &settings()).unwrap_err();
        assert_eq!(failure.what, "the file is cut short: it says 10.0 s and holds 4.0 s");
        let accepting = HlsSettings { accept_damaged: true, ..settings() };
        assert_eq!(plan(&media(10.0, |frame| frame < 100), &accepting).unwrap().grid.frames, 100);
    }

    #[test]
    fn a_missing_fragment_is_a_hole() {
        let failure = plan(&media(10.0, |frame| !(100..200).contains(&frame)), &settings()).unwrap_err();
        assert!(failure.what.contains("nothing is there for 4.0 s, 0:00:03 into"), "{failure}");
    }

    #[test]
    fn a_slide_show_has_no_holes() {
        assert!(plan(&media(10.0, |frame| frame % 60 == 0 || frame == 249), &settings()).is_ok());
    }

    #[test]
    fn a_screen_that_stood_still_is_no_hole() {
        let mut recording = media(10.0, |frame| !(110..210).contains(&frame));
        recording.video.as_mut().unwrap().timeline.keys.truncate(1);
        assert!(plan(&recording, &settings()).is_ok());
    }

    #[test]
    fn sound_alone_is_cut_in_whole_frames_of_sound() {
        let track = crate::plan::audio::tests::track(0, "eng", None, true);
        let podcast = Media { video: None, audio: vec![Audio { end: 10.0, ..track }], ..media(10.0, |_| true) };
        let plan = plan(&podcast, &settings()).unwrap();
        assert_eq!((plan.grid.longest_segment(), plan.grid.segments(), plan.objects()), (281, 2, 5));
        assert_eq!(plan.summary(&|_| false), "audio-eng (no picture)");
        let cut = Media { declared_seconds: Some(20.0), ..podcast };
        assert!(super::plan(&cut, &settings()).unwrap_err().what.contains("cut short"));
    }

    #[test]
    fn huge_pictures_are_refused() {
        let mut bomb = media(10.0, |_| true);
        bomb.video.as_mut().unwrap().width = 65_535;
        assert!(plan(&bomb, &settings()).unwrap_err().what.contains("65535x1080"));
    }
}
