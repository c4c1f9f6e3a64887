//! Poster and storyboard: which pictures, how large, where in a sheet, and the
//! arguments of the ffmpeg that makes them.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::model::media::{DynamicRange, Video};
use crate::plan::encode::{file, opening, reading, words};
use crate::plan::filter::{self, deinterlaced};
use crate::plan::hls::HlsPlan;
use crate::plan::ladder::Rendition;
use crate::plan::settings::Codec;

/// A sheet has so many pictures beside and below one another.
const SIDE: u64 = 5;

/// The longest side of a picture of the storyboard.
const LONGEST_SIDE: f64 = 160.0;

/// A storyboard has about so many pictures, unless they would be closer than [`CLOSEST`] seconds.
const WANTED: f64 = 100.0;
const CLOSEST: f64 = 2.0;

/// The part of the video after which the poster is taken: past the black and the titles.
const POSTER_PART: usize = 10;

/// The pictures of a storyboard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Storyboard {
    /// Seconds from one picture to the next.
    pub interval: f64,
    /// How many there are.
    pub count: u64,
    /// Width of each.
    pub width: u32,
    /// Height of each.
    pub height: u32,
}

/// The storyboard of a video.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a hundred pictures of 160 pixels")]
pub fn storyboard(plan: &HlsPlan) -> Storyboard {
    let seconds = plan.grid.seconds();
    let interval = (seconds / WANTED).ceil().max(CLOSEST);
    let (width, height) =
        plan.video.first().map_or((1.0, 1.0), |largest| (f64::from(largest.width), f64::from(largest.height)));
    let factor = (LONGEST_SIDE / width.max(height)).min(1.0);
    let even = |side: f64| ((side * factor / 2.0).round() as u32 * 2).max(2);
    let count = ((seconds / interval).ceil() as u64).max(1);
    Storyboard { interval, count, width: even(width), height: even(height) }
}

impl Storyboard {
    /// How many sheets there are.
    pub fn sheets(&self) -> u64 {
        self.count.div_ceil(SIDE * SIDE)
    }

    /// `storyboard.vtt`: when each picture is shown and where it is.
    #[expect(clippy::cast_precision_loss, reason = "a hundred pictures")]
    pub fn cues(&self, seconds: f64) -> String {
        let mut text = String::from("WEBVTT\n");
        for number in 0..self.count {
            let (sheet, place) = (number / (SIDE * SIDE), number % (SIDE * SIDE));
            let (left, top) = (place % SIDE * u64::from(self.width), place / SIDE * u64::from(self.height));
            let from = number as f64 * self.interval;
            let (from, to) = (stamp(from), stamp((from + self.interval).min(seconds)));
            let Self { width, height, .. } = self;
            write!(text, "\n{from} --> {to}\n{}#xywh={left},{top},{width},{height}\n", sheet_name(sheet))
                .expect("writing to a string cannot fail");
        }
        text
    }
}

/// The name of a sheet at the destination.
pub fn sheet_name(number: u64) -> String {
    format!("storyboard-{number:03}.jpg")
}

/// The file that all sheets are written to, one after another.
pub fn sheets_output(folder: &Path) -> PathBuf {
    folder.join("storyboard.mjpeg")
}

/// The file that the poster is written to.
pub fn poster_output(folder: &Path) -> PathBuf {
    folder.join("poster.jpg")
}

/// Makes the poster: a tenth into the video, of the size of the largest rendition.
pub fn poster(source: &Path, video: &Video, plan: &HlsPlan, folder: &Path) -> Vec<OsString> {
    let times = &video.timeline.times;
    let at = times.get(times.len() / POSTER_PART).copied().unwrap_or(plan.start);
    let size = plan.video.first().map_or((2, 2), |largest| (largest.width, largest.height));
    let mut arguments = opening();
    arguments.extend(words("-noautorotate -copyts -reinit_filter 0 -seek_timestamp 1 -ss"));
    arguments.push(format!("{at:.6}").into());
    arguments.extend(reading(source));
    let (one_shape, fields) = (filter::one_shape(video), deinterlaced(video));
    let graph = format!("[0:{}]{one_shape},{fields}{}[p]", video.index, still(video, size));
    arguments.extend(["-filter_complex".into(), graph.into()]);
    arguments.extend(words("-map [p] -frames:v 1 -q:v 3"));
    arguments.extend(output());
    arguments.push(file(&poster_output(folder)));
    arguments
}

/// Makes the sheets of the storyboard from the key frames, or from all pictures where those are too far apart.
pub fn sheets(source: &Path, video: &Video, plan: &HlsPlan, board: &Storyboard, folder: &Path) -> Vec<OsString> {
    let close = |pair: &[f64]| matches!(pair, [one, next] if next - one <= board.interval);
    let from_keys = video.timeline.keys.len() > 1 && video.timeline.keys.windows(2).all(close);
    let mut arguments = opening();
    // A graph that is built anew in mid-stream would begin another sheet.
    arguments.extend(words("-noautorotate -threads 1 -copyts -reinit_filter 0"));
    if from_keys {
        arguments.extend(words("-skip_frame nokey"));
    }
    arguments.extend(reading(source));
    let Storyboard { interval, count, width, height } = board;
    let graph = format!(
        "[0:{}]{},{}fps=fps=1/{interval}:start_time={:.9}:round=up,tpad=stop=-1:stop_mode=clone,trim=end_frame={count},\
         setpts=N{},tile={SIDE}x{SIDE}[s]",
        video.index,
        filter::one_shape(video),
        deinterlaced(video),
        plan.start,
        format_args!(",{}", still(video, (*width, *height))),
    );
    arguments.extend(["-filter_complex".into(), graph.into()]);
    arguments.extend(words("-map [s] -fps_mode passthrough -q:v 5"));
    arguments.extend(output());
    arguments.push(file(&sheets_output(folder)));
    arguments
}

/// Upright, of the wanted size, SDR, and in the colours that JPEG has: BT.601, full range.
fn still(video: &Video, (width, height): (u32, u32)) -> String {
    let name = String::new();
    let (codec, range) = (Codec::H264, DynamicRange::Sdr);
    let rendition = Rendition { name, codec, range, width, height, crf: 0.0, max_kbps: 0, through: Vec::new() };
    let upright = filter::set_upright(video, &rendition);
    format!("{upright},scale=in_color_matrix=bt709:out_color_matrix=bt601:in_range=tv:out_range=pc,format=yuvj420p")
}

fn output() -> Vec<OsString> {
    words("-an -sn -dn -map_metadata -1 -c:v mjpeg -fflags +bitexact -flags:v +bitexact -threads 1 -f image2pipe")
}

/// `1:02:03.450` in the form of a `WebVTT` file.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a position in a video")]
fn stamp(seconds: f64) -> String {
    let millis = (seconds * 1000.0).round() as u64;
    let (hours, minutes) = (millis / 3_600_000, millis / 60_000 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{:03}", millis / 1000 % 60, millis % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::hls;
    use crate::plan::hls::tests::{media, settings};

    fn line(arguments: &[OsString]) -> String {
        arguments.iter().map(|argument| argument.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_storyboard_covers_the_video_and_no_more() {
        let plan = hls::plan(&media(10.0, |_| true), &settings()).unwrap();
        let board = storyboard(&plan);
        assert_eq!(board, Storyboard { interval: 2.0, count: 5, width: 160, height: 90 });
        let cues = board.cues(9.5);
        assert!(cues.starts_with("WEBVTT\n\n00:00:00.000 --> 00:00:02.000\nstoryboard-000.jpg#xywh=0,0,160,90\n"));
        assert!(cues.ends_with("00:00:08.000 --> 00:00:09.500\nstoryboard-000.jpg#xywh=640,0,160,90\n"), "{cues}");
        assert_eq!(Storyboard { count: 26, ..board }.sheets(), 2);
    }

    #[test]
    fn key_frames_do_where_they_are_close() {
        let media = media(10.0, |_| true);
        let plan = hls::plan(&media, &settings()).unwrap();
        let mut video = media.video.clone().unwrap();
        let board = storyboard(&plan);
        let of = |video: &Video| line(&sheets(Path::new("/s"), video, &plan, &board, Path::new("/w")));
        assert!(of(&video).contains("-skip_frame nokey"));
        video.timeline.keys = vec![0.0, 9.0];
        assert!(!of(&video).contains("-skip_frame nokey"));
    }

    #[test]
    fn the_poster_is_a_picture_that_is_there() {
        let media = media(10.0, |_| true);
        let plan = hls::plan(&media, &settings()).unwrap();
        let text = line(&poster(Path::new("/s"), media.video.as_ref().unwrap(), &plan, Path::new("/w")));
        assert!(text.contains("-ss 1.000000 ") && text.ends_with("file:/w/poster.jpg"), "{text}");
    }
}
