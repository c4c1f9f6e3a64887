//! One run of ffmpeg: its progress, the pictures it decoded, and what it said.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::model::failure::Failure;
use crate::model::fault;
use crate::model::rational::Rational;
use crate::plan::loudness::Loudness;
use crate::tool::child::{self, ChildError, Order, Output, run};

/// No progress for this long means it hangs. A slow machine still encodes a
/// frame of the largest size in seconds.
const SILENCE: Duration = Duration::from_mins(2);

/// Downloads, uploads and the terminal go before encoders.
const NICE: i32 = 5;

/// What ffmpeg says of a picture that it shows although a part of it is made up,
/// and of a packet that it gives up, before and since version 7. It exits 0 all
/// the same; `-xerror` would end it for the first, and for much that is harmless.
const DAMAGE: [&str; 3] =
    ["corrupt decoded frame", "Error while decoding stream", "Error submitting packet to decoder"];

/// What a run of ffmpeg showed. Its exit status was 0, which proves nothing alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Times of the decoded pictures, as in the source, in order of decoding.
    pub decoded: Vec<f64>,
    /// Every shape of a decoded picture, as its width over its height, once.
    pub shapes: Vec<f64>,
    /// CPU seconds, user and system.
    pub cpu_seconds: f64,
    /// The first lines it marked as errors. Many are harmless, at the edge of an open GOP above all.
    pub errors: Vec<String>,
    /// Pictures or packets it says it could not decode, or only in part.
    pub damaged: u64,
    /// Pictures that are made of fields, top first and bottom first, and such as are not, if it was to count them.
    pub fields: Fields,
    /// Loudness, if it was to measure it.
    pub loudness: Option<Loudness>,
    /// What it measured of the picture, by the number that stands behind the filter's name.
    pub scores: Vec<(usize, f64)>,
}

/// How many of some pictures are made of fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// Those whose top field comes first.
    pub top: u64,
    /// Those whose bottom field comes first.
    pub bottom: u64,
    /// Those that are whole.
    pub whole: u64,
}

/// What a line of ffmpeg's output means to us.
#[derive(Debug, PartialEq)]
enum Line<'a> {
    Decoded(f64, Option<f64>),
    Fields(Fields),
    Cpu(f64),
    OutTime(f64),
    Error(&'a str),
    Loudness(f64),
    Peak(f64),
    Score(usize, f64),
    Damage,
    Talk,
}

/// Runs ffmpeg. `progress` gets seconds of output as they are made.
pub async fn encode(
    ffmpeg: &Path,
    arguments: &[OsString],
    cancel: &CancellationToken,
    mut progress: impl FnMut(f64),
) -> Result<Report, Failure> {
    let mut report = Report::default();
    let silence = fault::limit("SILENCE", SILENCE);
    let order = Order { silence, nice: NICE, ..Order::new(ffmpeg).args(arguments) };
    let mut furthest = -1.0;
    let ended = run(&order, cancel, |output, line| {
        match read(output, line) {
            Line::Decoded(time, shape) => {
                report.decoded.push(time);
                report.shapes.extend(shape.filter(|shape| !report.shapes.contains(shape)));
                return true;
            }
            Line::Cpu(seconds) => report.cpu_seconds += seconds,
            Line::OutTime(seconds) if seconds > furthest => {
                furthest = seconds;
                progress(seconds);
                return true;
            }
            Line::Loudness(integrated) => report.loudness = Some(Loudness { integrated, peak: f64::NAN }),
            Line::Peak(peak) => report.loudness = report.loudness.map(|loudness| Loudness { peak, ..loudness }),
            Line::Score(number, score) => report.scores.push((number, score)),
            Line::Damage => report.damaged += 1,
            Line::Fields(Fields { top, bottom, whole }) => {
                report.fields.top += top;
                report.fields.bottom += bottom;
                report.fields.whole += whole;
            }
            Line::Error(text) if report.errors.len() < 20 => report.errors.push(text.into()),
            _ => {}
        }
        false
    })
    .await
    .map_err(child_failure)?;
    if ended.status.success() {
        return Ok(report);
    }
    Err(failure(ended.status, &report.errors, &ended.last_lines))
}

/// With `-loglevel level+info` a line is `[libx264 @ 0x…] [info] text` or `[error] text`.
fn read(output: Output, line: &str) -> Line<'_> {
    if output == Output::Out {
        let time = line.strip_prefix("out_time_us=").and_then(|text| text.trim().parse::<f64>().ok());
        return time.map_or(Line::Talk, |micros| Line::OutTime(micros / 1e6));
    }
    if line.starts_with("[Parsed_showinfo") {
        let time = line.split_once(" pts_time:").and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
        return time.map_or(Line::Talk, |time| Line::Decoded(time, shape(line)));
    }
    if let Some((_, counts)) = line.split_once("Single frame detection:") {
        return Line::Fields(fields(counts));
    }
    if let Some((_, times)) = line.split_once("bench: utime=") {
        let numbers = times.split_whitespace().map(|word| word.trim_start_matches("stime=").trim_end_matches('s'));
        return Line::Cpu(numbers.take(2).filter_map(|number| number.parse::<f64>().ok()).sum());
    }
    // Lines of `loudnorm`: `"input_i" : "-21.75",`.
    let measured = |key: &str| {
        let value = line.trim().strip_prefix(key)?.trim_matches([' ', ':', ',', '"']);
        value.parse::<f64>().ok()
    };
    if let Some(loudness) = measured("\"input_i\"") {
        return Line::Loudness(loudness);
    }
    if let Some(peak) = measured("\"input_tp\"") {
        return Line::Peak(peak);
    }
    if let Some((number, score)) = score(line) {
        return Line::Score(number, score);
    }
    if DAMAGE.iter().any(|words| line.contains(words)) {
        return Line::Damage;
    }
    for mark in ["[error] ", "[fatal] ", "[panic] "] {
        if let Some((_, text)) = line.split_once(mark) {
            return Line::Error(text);
        }
    }
    Line::Talk
}

/// Width over height of `… sar:64/45 s:720x576 …`; pixels that say nothing are square.
fn shape(line: &str) -> Option<f64> {
    let word = |key: &str| line.split_once(key)?.1.split_whitespace().next();
    let (width, height) = word(" s:")?.split_once('x')?;
    let (width, height): (f64, f64) = (width.parse().ok()?, height.parse().ok()?);
    let pixel = word(" sar:").and_then(|text| Rational::parse(&text.replace('/', ":"))).map_or(1.0, Rational::as_f64);
    (height > 0.0).then(|| width / height * pixel)
}

/// What `idet` counted: `TFF:    10 BFF:     0 Progressive:     2 Undetermined:     4`.
fn fields(counts: &str) -> Fields {
    let words: Vec<&str> = counts.split_whitespace().collect();
    let count = |key: &str| {
        let at = words.iter().position(|word| *word == key);
        at.and_then(|at| words.get(at + 1)?.parse().ok()).unwrap_or(0)
    };
    Fields { top: count("TFF:"), bottom: count("BFF:"), whole: count("Progressive:") }
}

/// `[ssim@q0 @ 0x…] [info] SSIM Y:0.99 (20.1) U:… All:0.987 (18.9)` and `[libvmaf@q0 @ …] [info] VMAF score: 93.1`.
fn score(line: &str) -> Option<(usize, f64)> {
    let (filter, rest) = line.split_once(" @ ")?;
    let number = filter.strip_prefix("[ssim@q").or_else(|| filter.strip_prefix("[libvmaf@q"))?.parse().ok()?;
    let text = rest.split_once(" All:").or_else(|| rest.split_once("VMAF score: "))?.1;
    Some((number, text.split_whitespace().next()?.parse().ok()?))
}

fn child_failure(error: ChildError) -> Failure {
    match error {
        ChildError::Stopped { .. } => Failure::stopped(),
        ChildError::Hung { .. } => Failure::temporary(error.to_string()),
        error => Failure::environment(error.to_string()).hint("run `forebay doctor`"),
    }
}

fn failure(status: std::process::ExitStatus, errors: &[String], last_lines: &[String]) -> Failure {
    let all = last_lines.join("\n");
    if all.contains("No space left on device") || all.contains("Disk quota exceeded") {
        return no_space();
    }
    if let Some(killed) = child::killed(status, "ffmpeg") {
        return killed;
    }
    let said = errors.first().or(last_lines.last()).map_or("no reason given", String::as_str);
    Failure::permanent(format!("ffmpeg: {}", said.escape_debug()))
}

/// The scratch folder is full.
pub fn no_space() -> Failure {
    Failure::environment("no space left in the scratch folder")
        .hint("free some space, or choose another folder with --scratch; then run the same command again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart() {
        let frame = "[Parsed_showinfo_0 @ 0x55] [info] n:   1 pts:  56315 pts_time:3.66634 pos:  1805038 fmt:yuv420p";
        assert_eq!(read(Output::Err, frame), Line::Decoded(3.66634, None));
        let dvd = format!("{frame} sar:16/15 s:720x576 i:P");
        assert_eq!(read(Output::Err, &dvd), Line::Decoded(3.66634, Some(720.0 / 576.0 * (16.0 / 15.0))));
        let idet = "[Parsed_idet_0 @ 0x5] [info] Single frame detection: TFF:    10 BFF:     1 Progressive:     2 Undetermined:     4";
        assert_eq!(read(Output::Err, idet), Line::Fields(Fields { top: 10, bottom: 1, whole: 2 }));
        assert_eq!(read(Output::Err, "[info] bench: utime=1.250s stime=0.250s rtime=1.1s"), Line::Cpu(1.5));
        assert_eq!(read(Output::Out, "out_time_us=6500000"), Line::OutTime(6.5));
        assert_eq!(read(Output::Out, "out_time_us=N/A"), Line::Talk);
        assert_eq!(read(Output::Err, "[h264 @ 0x5] [error] Invalid NAL"), Line::Error("Invalid NAL"));
        assert_eq!(read(Output::Err, "\t\"input_i\" : \"-21.75\","), Line::Loudness(-21.75));
        assert_eq!(read(Output::Err, "\t\"input_tp\" : \"-18.06\","), Line::Peak(-18.06));
        let ssim = "[ssim@q1 @ 0x5] [info] SSIM Y:0.74 (5.9) U:0.81 (7.2) V:0.82 (7.5) All:0.771176 (6.404992)";
        assert_eq!(read(Output::Err, ssim), Line::Score(1, 0.771_176));
        assert_eq!(read(Output::Err, "[libvmaf@q0 @ 0x7] [info] VMAF score: 94.439385"), Line::Score(0, 94.439_385));
        assert_eq!(read(Output::Err, "[info] Stream mapping:"), Line::Talk);
        assert_eq!(read(Output::Err, "[warning] file:a.mp4: corrupt decoded frame in stream 0"), Line::Damage);
        assert_eq!(
            read(Output::Err, "[h264 @ 0x5] [error] mmco: unref short failure"),
            Line::Error("mmco: unref short failure")
        );
    }
}
