//! R37 and R40: the pictures and the sound of some segments beside those of the source.

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use crate::model::failure::Failure;
use crate::tool::child::{Order, run};

use super::decode::{self, Scratch};
use super::fetch::{self, Fetch};
use super::finding::Findings;
use super::inside::{Form, Times};
use super::key::Keys;
use super::likeness::{self, FRAME, MARGIN, Picture, RATE, SIZE, SOUND_LEAD, SOUND_RATE};
use super::master_rules::{first_inside, has_video};
use super::package::{Package, Rendition, Role};
use super::picture_rules::in_seconds;
use super::segment::{self, Plain};

/// The longest part of a segment that is compared, in seconds.
const LONGEST: f64 = 12.0;

/// Sound this far from its picture is noticed by some.
const SYNC_WARNING: f64 = 0.045;

/// And this far by everybody.
const SYNC_LIMIT: f64 = 0.1;

/// The source, and where its first picture is from the start of the file, in seconds.
pub(super) struct Original<'a> {
    pub(super) file: &'a Path,
    pub(super) containers: &'static str,
    pub(super) first: f64,
    pub(super) length: f64,
}

/// What the comparison works with.
pub(super) struct Bench<'a> {
    pub(super) fetch: &'a dyn Fetch,
    pub(super) keys: &'a Keys,
    pub(super) ffmpeg: &'a Path,
    pub(super) cancel: &'a CancellationToken,
}

/// Compares the first, the middle and the last segment of every picture, and of the first sound.
pub(super) async fn check(
    bench: &Bench<'_>,
    package: &Package,
    original: &Original<'_>,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let pictures = package.renditions.iter().filter(|one| one.role != Role::Subtitles && has_video(one));
    let pictures: Vec<&Rendition> = pictures.collect();
    let alone = package.renditions.iter().find(|one| one.role == Role::Audio && first_inside(one).is_some());
    // Sound without a picture is a variant itself.
    let sound = package.renditions.iter().find(|one| one.role == Role::Variant && first_inside(one).is_some());
    let sound = alone.or(pictures.first().copied()).or(sound);
    let first = pictures.first().copied().or(sound);
    let Some(start) = first.and_then(|first| Some(first_inside(first)?.times()?.start)) else { return Ok(()) };
    for rendition in &pictures {
        for index in places(rendition) {
            compare_pictures(bench, original, (rendition, index), start, findings).await?;
        }
    }
    if let Some(sound) = sound {
        for index in places(sound) {
            compare_sound(bench, original, (sound, index), start, findings).await?;
        }
    }
    Ok(())
}

fn places(rendition: &Rendition) -> Vec<usize> {
    let mut places = decode::sample(rendition.facts.len());
    places.dedup();
    places
}

/// Where a segment begins from the first picture of all, and how long it is.
fn span(times: &Times, start: i64) -> (f64, f64) {
    (in_seconds(times.start - start), in_seconds(times.end - times.start).min(LONGEST))
}

async fn compare_pictures(
    bench: &Bench<'_>,
    original: &Original<'_>,
    (rendition, index): (&Rendition, usize),
    start: i64,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let facts = rendition.facts.get(index).and_then(Option::as_ref);
    let video = facts.and_then(|facts| facts.inside.as_ref()?.video.as_ref());
    let Some((times, pictures)) = video.map(|video| (video.times, video.pictures)) else { return Ok(()) };
    let Some(plain) = segment::plain(bench.fetch, bench.keys, rendition, index).await else { return Ok(()) };
    let (begin, length) = span(&times, start);
    if begin >= original.length {
        return Ok(());
    }
    let grey = format!("scale={}:{}:flags=area,format=gray", SIZE.0, SIZE.1);
    let input = Input::segment(plain).await?;
    let own = bench.raw(&input, &["-map", "0:v:0", "-vsync", "0", "-vf", &grey]).await?;
    let from = original.first + begin - MARGIN;
    let theirs = Input::part(original, from, length + 2.0 * MARGIN);
    // Before the first picture there is nothing, so that part stays away.
    let missing = (-from).max(0.0);
    let filter = format!("fps={RATE}:start_time=0,{grey}");
    let theirs = bench.raw(&theirs, &["-map", "0:V:0", "-vf", &filter]).await?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most the margin")]
    let padding = (missing * RATE).round() as usize;
    let mut padded = theirs.get(..FRAME).unwrap_or_default().repeat(padding);
    padded.extend(theirs);
    #[expect(clippy::cast_precision_loss, reason = "counts of pictures are far below 2^52")]
    let step = in_seconds(times.end - times.start) / (pictures as f64).max(1.0);
    let found = fetch::blocking(move || {
        let whole = own.len() / FRAME * FRAME;
        #[expect(clippy::cast_precision_loss, reason = "counts of pictures are far below 2^52")]
        let seconds = step * (whole / FRAME) as f64;
        likeness::pictures(&own, seconds, &padded)
    });
    let what = match found.await {
        Picture::Same => return Ok(()),
        Picture::Turned(words) => format!("the picture is {words}"),
        Picture::Shifted(late) if late > 0.0 => format!("the picture comes {late:.1} s late"),
        Picture::Shifted(early) => format!("the picture comes {:.1} s early", -early),
        Picture::Other => "the picture is another than that of the source".to_owned(),
        Picture::Frozen(seconds) => format!("the picture stands still for {seconds:.2} s, that of the source moves"),
    };
    findings.violation("R37", rendition.segment(index), what);
    Ok(())
}

async fn compare_sound(
    bench: &Bench<'_>,
    original: &Original<'_>,
    (rendition, index): (&Rendition, usize),
    start: i64,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let facts = rendition.facts.get(index).and_then(Option::as_ref);
    let audio = facts.and_then(|facts| facts.inside.as_ref()?.audio.as_ref());
    let Some(times) = audio.map(|audio| audio.times) else { return Ok(()) };
    let Some(plain) = segment::plain(bench.fetch, bench.keys, rendition, index).await else { return Ok(()) };
    let (begin, length) = span(&times, start);
    let rate = SOUND_RATE.to_string();
    let samples = ["-map", "0:a:0", "-ac", "1", "-ar", &rate];
    let input = Input::segment(plain).await?;
    let own = bench.raw(&input, &samples).await?;
    let from = original.first + begin - SOUND_LEAD;
    // Sound that begins later than the file is filled up with silence, as is what lies before the file.
    let late = "aresample=async=1:first_pts=0";
    let delay = format!("{late},adelay={:.0}:all=1", (-from).max(0.0) * 1000.0);
    let theirs = Input::part(original, from, length + 2.0 * SOUND_LEAD);
    let theirs = bench.raw(&theirs, &[&samples[..], &["-af", &delay]].concat()).await?;
    let Some(late) = fetch::blocking(move || likeness::sound(&own, &theirs)).await else { return Ok(()) };
    let what = format!("the sound comes {late:+.3} s from where the source has it");
    if late.abs() > SYNC_LIMIT {
        findings.violation("R40", rendition.segment(index), what);
    } else if late.abs() > SYNC_WARNING {
        findings.warning("R40", rendition.segment(index), what);
    }
    Ok(())
}

/// What ffmpeg reads.
struct Input {
    /// What stands before `-i`.
    before: Vec<String>,
    path: PathBuf,
    /// Keeps the file of a segment until it was read.
    _scratch: Option<Scratch>,
}

impl Input {
    async fn segment(plain: Plain) -> Result<Self, Failure> {
        let form: Form = plain.form;
        let scratch = Scratch::of(plain.bytes).await?;
        let format = decode::demuxer(form);
        let before = ["-format_whitelist", format, "-f", format].map(ToOwned::to_owned).to_vec();
        Ok(Self { before, path: scratch.path.clone(), _scratch: Some(scratch) })
    }

    fn part(original: &Original<'_>, from: f64, length: f64) -> Self {
        let from = from.max(0.0);
        let before =
            ["-format_whitelist", original.containers, "-ss", &format!("{from:.3}"), "-t", &format!("{length:.3}")];
        Self { before: before.map(ToOwned::to_owned).to_vec(), path: original.file.to_path_buf(), _scratch: None }
    }
}

/// The arguments for raw frames or samples in the file `to`.
fn arguments(input: &Input, wishes: &[&str], to: &Path) -> Vec<std::ffi::OsString> {
    let file = |path: &Path| {
        let mut name = std::ffi::OsString::from("file:");
        name.push(path);
        name
    };
    let mut all: Vec<std::ffi::OsString> = Vec::new();
    all.extend(["-v", "error", "-nostdin", "-y", "-protocol_whitelist", "file"].map(Into::into));
    all.extend(input.before.iter().map(Into::into));
    all.push("-i".into());
    all.push(file(&input.path));
    all.extend(wishes.iter().map(Into::into));
    let format = if wishes.contains(&"-ar") { "s16le" } else { "rawvideo" };
    all.extend(["-t", "16", "-fs", "16000000", "-f", format].map(Into::into));
    all.push(file(to));
    all
}

impl Bench<'_> {
    /// The raw frames or samples of the input; none where it cannot be decoded, which R29 finds.
    async fn raw(&self, input: &Input, wishes: &[&str]) -> Result<Vec<u8>, Failure> {
        let scratch = Scratch::of(Vec::new()).await?;
        let order = Order::new(self.ffmpeg).args(arguments(input, wishes, &scratch.path));
        let ended = run(&order, self.cancel, |_, _| true).await;
        ended.map_err(|error| Failure::environment(super::chain(&error)))?;
        let path = scratch.path.clone();
        let read = fetch::blocking(move || std::fs::read(path)).await;
        read.map_err(|error| Failure::io("could not read what ffmpeg decoded", &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ffmpeg_gets_files_alone() {
        let original = Original { file: Path::new("-x"), containers: "mov", first: 1.0, length: 9.0 };
        let all = arguments(&Input::part(&original, -1.0, 2.0), &["-map", "0:V:0"], Path::new("/out"));
        let all: Vec<_> = all.iter().map(|argument| argument.to_string_lossy()).collect();
        let expected = "-v error -nostdin -y -protocol_whitelist file -format_whitelist mov -ss 0.000 -t 2.000 \
                        -i file:-x -map 0:V:0 -t 16 -fs 16000000 -f rawvideo file:/out";
        assert_eq!(all.join(" "), expected);
    }
}
