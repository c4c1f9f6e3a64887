//! R35 and R42, and R37 and R40 by `compare`: the package against the file it was made from.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use crate::model::failure::Failure;
use crate::plan::encode::DEMUXERS;
use crate::tool::child::{Order, Output, run};

use super::compare::{self, Bench, Original};
use super::finding::Findings;
use super::master_rules::{frame_rate, has_video, videos};
use super::package::{Package, Role};
use super::picture_rules::in_seconds;
use super::time_rules;

/// The length of a sound by its packets is as exact as this, in seconds: some of its first and last samples are padding.
const SOUND_LENGTH: f64 = 0.1;

/// What is compared of the source.
#[derive(Debug, Default, PartialEq)]
struct Source {
    size: Option<(u64, u64)>,
    /// Where the file begins by its own clock, which ffmpeg counts from.
    begins: f64,
    first: Option<f64>,
    last: f64,
    end: f64,
    pictures: u64,
    /// Whether a key frame has come: what a recording has before its first cannot be shown.
    keyed: bool,
}

/// Compares the package with its source, of pictures or of sound alone.
pub(super) async fn check(
    bench: &Bench<'_>,
    package: &Package,
    file: &Path,
    (ffprobe, cancel): (&Path, &CancellationToken),
    findings: &mut Findings,
) -> Result<(), Failure> {
    let mut source = probe(file, "V:0", ffprobe, cancel).await?;
    if source.first.is_some() {
        let sound = probe(file, "a", ffprobe, cancel).await?;
        check_pictures(package, &source, sound.end, findings);
    } else {
        source = probe(file, "a:0", ffprobe, cancel).await?;
        check_sound(package, &source, file, findings)?;
    }
    let first = source.first.unwrap_or_default() - source.begins;
    let original = Original { file: &real_path(file)?, containers: DEMUXERS, first, length: source.length() };
    compare::check(bench, package, &original, findings).await
}

/// Compares sizes, length and number of pictures. The last picture may stand until the sound of the source ends.
fn check_pictures(package: &Package, source: &Source, sound_end: f64, findings: &mut Findings) {
    let (length, stretch) = (source.length(), (sound_end - source.end).max(0.0));
    #[expect(clippy::cast_precision_loss, reason = "counts of pictures are far below 2^52")]
    let rate = (source.pictures - 1) as f64 / (source.last - source.first.unwrap_or_default()).max(f64::EPSILON);
    for rendition in &package.renditions {
        let Some(inside) = super::master_rules::first_inside(rendition) else { continue };
        let path = &rendition.address.path;
        let picture = inside.video.as_ref().and_then(|video| video.picture.as_ref());
        if let (Some(picture), Some((width, height))) = (picture, source.size) {
            let (short, long) =
                (u64::from(picture.width.min(picture.height)), u64::from(picture.width.max(picture.height)));
            // Odd sizes may be rounded up by one.
            if short > width.min(height) + 1 || long > width.max(height) + 1 {
                let what = format!("{}x{} is larger than the source's {width}x{height}", picture.width, picture.height);
                findings.violation("R35", path, what);
            }
        }
        if rendition.role == Role::Subtitles || !has_video(rendition) {
            continue;
        }
        let (Some(begin), Some(end)) = (inside.times().map(|times| times.start), time_rules::end(rendition)) else {
            continue;
        };
        let real = in_seconds(end - begin);
        let own = frame_rate(rendition).map_or(rate, |(average, _)| average);
        let frame = 1.0 / own.min(rate).max(1.0);
        let is_near = |length: f64| (real - length).abs() <= frame + 0.002;
        let stands = !is_near(length) && is_near(length + stretch);
        if !is_near(length) && !stands {
            let what = format!("the picture lasts {real:.3} s, that of the source {length:.3} s");
            findings.violation("R42", path, what);
        }
        let pictures: u64 = videos(rendition).map(|video| video.pictures).sum();
        let complete = rendition.facts.iter().flatten().all(|facts| facts.inside.is_some());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "pictures of some seconds")]
        let wanted = source.pictures + if stands { (stretch * rate).round() as u64 } else { 0 };
        if complete && (own / rate - 1.0).abs() < 0.001 && pictures.abs_diff(wanted) > 1 {
            let what = format!("there are {pictures} pictures, in the source {}", source.pictures);
            findings.violation("R42", path, what);
        }
    }
}

/// Compares the length of a package of sound alone.
fn check_sound(package: &Package, source: &Source, file: &Path, findings: &mut Findings) -> Result<(), Failure> {
    let lacks = |what| Err(Failure::permanent(format!("`{}` has no {what} to compare with", file.display())));
    if source.first.is_none() {
        return lacks("picture and no sound");
    }
    if package.renditions.iter().any(|one| one.role != Role::Subtitles && has_video(one)) {
        return lacks("picture");
    }
    let length = source.length();
    for rendition in package.renditions.iter().filter(|one| one.role != Role::Subtitles) {
        let begin = super::master_rules::first_inside(rendition).and_then(|inside| Some(inside.times()?.start));
        let (Some(begin), Some(end)) = (begin, time_rules::end(rendition)) else { continue };
        let real = in_seconds(end - begin);
        if (real - length).abs() > SOUND_LENGTH {
            let what = format!("the sound lasts {real:.3} s, that of the source {length:.3} s");
            findings.violation("R42", &rendition.address.path, what);
        }
    }
    Ok(())
}

fn real_path(file: &Path) -> Result<std::path::PathBuf, Failure> {
    file.canonicalize().map_err(|error| Failure::io(&format!("could not open the source `{}`", file.display()), &error))
}

/// The times of the packets of a stream, and the size if it is a picture.
async fn probe(file: &Path, stream: &str, ffprobe: &Path, cancel: &CancellationToken) -> Result<Source, Failure> {
    let real = real_path(file)?;
    let mut path = std::ffi::OsString::from("file:");
    path.push(real);
    let order = Order::new(ffprobe)
        .args(["-v", "error", "-protocol_whitelist", "file", "-format_whitelist", DEMUXERS])
        .args(["-select_streams", stream, "-of", "compact=p=1"])
        .args(["-show_entries", "packet=pts_time,duration_time,flags:stream=width,height:format=start_time", "-i"])
        .arg(path);
    let mut source = Source::default();
    let ended = run(&order, cancel, |output, line| {
        if output == Output::Out {
            source.take(line);
        }
        true
    });
    let ended = ended.await.map_err(|error| Failure::environment(super::chain(&error)))?;
    if !ended.status.success() {
        let reason = ended.last_lines.last().map_or("ffprobe failed", String::as_str);
        return Err(Failure::permanent(format!("could not read the source `{}`: {reason}", file.display())));
    }
    Ok(source)
}

impl Source {
    /// Seconds from its first packet to the end of its last.
    fn length(&self) -> f64 {
        self.end - self.first.unwrap_or_default()
    }

    /// Takes a line such as `packet|pts_time=0.04|duration_time=0.04|flags=K__`.
    fn take(&mut self, line: &str) {
        let field = |name: &str| line.split('|').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        let number = |name: &str| field(name).and_then(|value| value.parse::<f64>().ok());
        if line.starts_with("stream|") {
            let size = |name: &str| field(name).and_then(|value| value.parse().ok());
            self.size = size("width").zip(size("height"));
        } else if line.starts_with("format|") {
            self.begins = number("start_time").unwrap_or_default();
        } else if let Some(time) = number("pts_time") {
            // D marks what an edit list hides.
            let flags = field("flags").unwrap_or_default();
            if flags.contains('D') {
                return;
            }
            if flags.contains('K') && !std::mem::replace(&mut self.keyed, true) {
                *self = Self { size: self.size, begins: self.begins, keyed: true, ..Self::default() };
            }
            self.pictures += 1;
            self.first = Some(self.first.map_or(time, |first| first.min(time)));
            self.last = self.last.max(time);
            self.end = self.end.max(time + number("duration_time").unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_that_are_shown_are_counted() {
        let mut source = Source::default();
        for line in [
            "packet|pts_time=-0.080000|duration_time=0.040000|flags=___",
            "packet|pts_time=-0.040000|duration_time=0.040000|flags=KD_",
            "packet|pts_time=0.040000|duration_time=0.040000|flags=K__",
            "packet|pts_time=0.000000|duration_time=0.040000|flags=___",
            "packet|pts_time=N/A|flags=___",
            "stream|width=640|height=360",
            "format|start_time=-0.040000",
        ] {
            source.take(line);
        }
        let expected = Source {
            size: Some((640, 360)),
            begins: -0.04,
            first: Some(0.0),
            last: 0.04,
            end: 0.08,
            pictures: 2,
            keyed: true,
        };
        assert_eq!(source, expected);
    }
}
