//! The plan of one package: pure, from what was probed and what was asked.

use crate::model::failure::Failure;
use crate::model::media::{Audio, Media, Video};
use crate::plan::audio::{AudioRendition, renditions};
use crate::plan::budget;
use crate::plan::copy::{self, Top};
use crate::plan::grid::Grid;
use crate::plan::ladder::{Rendition, ladder, upright_size};
use crate::plan::rate::output_rate;
use crate::plan::settings::{Container, HlsSettings, Limits};

/// Packets may end this much before what the container declares, or one part
/// in a hundred, whichever is longer: many writers round.
const ROUNDING_SECONDS: f64 = 1.0;

/// A hole in picture and sound at once is damage from this length on.
const SHARED_HOLE: f64 = 1.0;

/// A hole in the pictures of a silent source is damage from this length on,
/// if the pictures come regularly otherwise: screen recorders leave still times out.
const SILENT_HOLE: f64 = 3.0;

/// What to make of one source.
#[derive(Clone, Debug)]
pub struct HlsPlan {
    /// Frames, segments, chunks.
    pub grid: Grid,
    /// The source's time of frame 0, in seconds.
    pub start: f64,
    /// The video renditions, largest first.
    pub video: Vec<Rendition>,
    /// For each chunk, its part of the renditions' caps: 1 on average.
    pub shares: Vec<f64>,
    /// Where the largest of them comes from.
    pub top: Top,
    /// The audio renditions.
    pub audio: Vec<AudioRendition>,
    /// Objects that each rendition has besides its segments and its playlist.
    pub headers: u64,
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
    let video = media.video.as_ref().ok_or_else(|| no_video(media))?;
    within_limits(media, video, &settings.limits)?;
    let mut warnings = media.skipped.clone();
    if let Some(damage) = damage(media, video) {
        if !settings.accept_damaged {
            return Err(
                Failure::permanent(damage).hint("get the file again, or publish what there is with --accept-damaged")
            );
        }
        warnings.push(damage);
    }
    for track in media.audio.iter().filter(|track| !track.is_in_order()) {
        let Audio { index, codec, .. } = track;
        warnings
            .push(format!("the times of stream {index} (audio, {codec}) are in disorder: it is taken in one piece"));
    }
    let start = video.timeline.start();
    let video_seconds = video.timeline.end - start;
    // Sound that goes on after the picture is kept, under the last picture.
    let audio_end = media.audio.iter().map(|track| track.end).fold(start, f64::max);
    let seconds = if audio_end - video.timeline.end > 1.0 { audio_end - start } else { video_seconds };
    let rate = output_rate(video);
    let renditions_of_picture = ladder(video, &settings.rungs, &settings.codecs);
    let grid = Grid::new(rate, seconds.min(settings.limits.seconds), settings.segment_seconds);
    let edges = match (not_copied, renditions_of_picture.first()) {
        (None, Some(largest)) => copy::edges(video, largest, (rate, start, grid.frames), settings),
        (because, _) => Err(because.unwrap_or_default()),
    };
    let (grid, top) = match edges {
        Ok(edges) => (Grid::with_edges(rate, edges), Top::Copied),
        Err(because) => (grid, Top::Encoded { because }),
    };
    let shares = budget::shares(&video.timeline, &grid, start);
    Ok(HlsPlan {
        grid,
        start,
        video: renditions_of_picture,
        shares,
        top,
        audio: renditions(&media.audio),
        headers: u64::from(settings.container == Container::Fmp4),
        warnings,
    })
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
        renditions * (self.grid.segments() + 1 + self.headers) + 2
    }

    /// One line for people: `1080p 720p 360p + audio-eng`.
    pub fn summary(&self) -> String {
        let rungs = self.video.iter().enumerate().map(|(number, one)| {
            if number < self.first_encoded() { format!("{} (copied)", one.name) } else { one.name.clone() }
        });
        let tracks = self.audio.iter().map(|one| one.folder.as_str());
        let (rungs, tracks): (Vec<String>, Vec<&str>) = (rungs.collect(), tracks.collect());
        if tracks.is_empty() {
            return format!("{} (no sound)", rungs.join(" "));
        }
        format!("{} + {}", rungs.join(" "), tracks.join(" "))
    }
}

fn no_video(media: &Media) -> Failure {
    if media.audio.is_empty() {
        Failure::permanent("the file holds neither picture nor sound").hint("check what the address really gives")
    } else {
        Failure::permanent("the file holds sound but no picture; sound alone is not made into HLS yet")
    }
}

fn within_limits(media: &Media, video: &Video, limits: &Limits) -> Result<(), Failure> {
    let pixels = u64::from(video.width) * u64::from(video.height);
    let (width, height) = upright_size(video);
    let shape = width.max(height) / width.min(height).max(1.0);
    let seconds = media.declared_seconds.unwrap_or(0.0).max(video.timeline.end - video.timeline.start());
    let refuse = |what: String, key: &str| {
        Err(Failure::permanent(what).hint(format!("if that is right, raise `{key}` in the settings")))
    };
    if pixels > limits.pixels {
        return refuse(
            format!("the picture is {}x{}, more than {} pixels", video.width, video.height, limits.pixels),
            "limits.pixels",
        );
    }
    if video.width < 2 || video.height < 2 || shape > 100.0 {
        return Err(Failure::permanent(format!(
            "the picture is {}x{}, which no player shows",
            video.width, video.height
        )));
    }
    if seconds > limits.seconds {
        return refuse(format!("the video lasts {seconds:.0} s, more than {:.0} s", limits.seconds), "limits.duration");
    }
    Ok(())
}

/// What is missing of the source, judged by its packets against its header.
fn damage(media: &Media, video: &Video) -> Option<String> {
    let timeline = &video.timeline;
    let length = timeline.end - timeline.start();
    // The stream's own length speaks of the picture; the container's of the longest stream.
    let (declared, held) = match (video.declared_seconds, media.declared_seconds) {
        (Some(declared), _) => (declared, length),
        (None, Some(declared)) => {
            let audio_end = media.audio.iter().map(|track| track.end).fold(timeline.end, f64::max);
            let first = media.audio.iter().map(|track| track.start).fold(timeline.start(), f64::min);
            // Some containers count from zero, some from the first packet.
            (declared, (audio_end - first).max(audio_end.min(declared)))
        }
        (None, None) => (length, length),
    };
    if declared - held > ROUNDING_SECONDS.max(declared / 100.0) {
        return Some(format!("the file is cut short: it says {declared:.1} s and holds {held:.1} s"));
    }
    let (at, seconds) = hole(media, video)?;
    Some(format!("nothing is there for {seconds:.1} s, {} into the video", clock(at - timeline.start())))
}

/// The first hole in the packets that is damage: begin and length in seconds.
fn hole(media: &Media, video: &Video) -> Option<(f64, f64)> {
    let holes = video.timeline.times.windows(2).map(|pair| (pair[0], pair[1] - pair[0]));
    if media.audio.is_empty() {
        let mut intervals: Vec<f64> = holes.clone().map(|hole| hole.1).collect();
        intervals.sort_by(f64::total_cmp);
        let usual = *intervals.get(intervals.len() * 9 / 10)?;
        return holes.into_iter().find(|hole| hole.1 > SILENT_HOLE.max(usual * 20.0));
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
            audio_kbps: 128,
            container: Container::Ts,
            dash: false,
            codecs: vec![Codec::H264],
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
            skipped: Vec::new(),
        }
    }

    #[test]
    fn a_whole_source_is_planned() {
        let plan = plan(&media(10.0, |_| true), &settings()).unwrap();
        assert_eq!(
            (plan.grid.frames, plan.grid.segments(), plan.summary().as_str()),
            (250, 2, "1080p 720p 360p (no sound)")
        );
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
    fn huge_pictures_are_refused() {
        let mut bomb = media(10.0, |_| true);
        bomb.video.as_mut().unwrap().width = 65_535;
        assert!(plan(&bomb, &settings()).unwrap_err().what.contains("65535x1080"));
    }
}
