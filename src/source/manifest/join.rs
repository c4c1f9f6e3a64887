//! Makes one file of what was fetched. What is one file already stays as it is;
//! all else ffmpeg puts together, from local files and without encoding.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use crate::model::failure::Failure;
use crate::model::media::{Media, Video};
use crate::plan::join::{Input, concat, mux};
use crate::plan::language::language;
use crate::tool::{ffmpeg, ffprobe};

use super::super::hash::{blocking_or, writing};
use super::bring::RunFile;
use super::check;
use super::reader::Reader;
use super::track::{Run, Tracks};

/// The one file, and how its runs lie in it.
pub(super) struct Joined {
    pub(super) path: PathBuf,
    pub(super) media: Media,
    /// When the picture of each run begins, by the clock of the run.
    pub(super) starts: Vec<f64>,
    /// How long after the beginning of each run the next one begins, in seconds. The last has none.
    pub(super) lengths: Vec<Option<f64>>,
}

/// One file of `files`, which has those of each track, each with as many runs.
pub(super) async fn all(
    reader: &Reader<'_>,
    tracks: &Tracks,
    files: &[Vec<RunFile>],
    folder: &Path,
) -> Result<Joined, Failure> {
    let first = tracks.all.first().map_or(0, |track| track.runs.len());
    if tracks.all.iter().any(|track| track.runs.len() != first) {
        let what = "picture and sound have different numbers of discontinuities, so they cannot be joined";
        return Err(Failure::permanent(what));
    }
    let permit = reader.context.disk.acquire(reader.context.rank, 1).await;
    let (mut made, mut starts) = (Vec::new(), Vec::new());
    for number in 0..first {
        let (path, media, start) = one_run(reader, tracks, files, number, folder).await?;
        made.push((path, media));
        starts.push(start);
    }
    let parts: Vec<Media> = made.iter().map(|(_, media)| media.clone()).collect();
    let lengths = lengths(&parts);
    let (path, media) = match &made[..] {
        [only] => only.clone(),
        _ => behind_each_other(reader, &made, (&parts, &lengths), folder).await?,
    };
    drop(permit);
    Ok(Joined { path, media, starts, lengths })
}

/// Checks the files of one run and joins them, and tells when its picture began before. The only one of its only
/// run stays as it is.
async fn one_run(
    reader: &Reader<'_>,
    tracks: &Tracks,
    files: &[Vec<RunFile>],
    number: usize,
    folder: &Path,
) -> Result<(PathBuf, Media, f64), Failure> {
    let mut parts = Vec::new();
    let mut inputs = Vec::new();
    for (place, (track, files)) in tracks.all.iter().zip(files).enumerate() {
        let (Some(run), Some(file)) = (track.runs.get(number), files.get(number)) else { continue };
        let media = looked_at(reader, run, file).await?;
        let picture = place == 0;
        inputs.push(Input {
            path: file.path.clone(),
            shift: start_of(&file.path).await? - run.offset,
            picture,
            sound: !picture || tracks.own_sound,
            language: track.language.as_deref().map(|tag| language(tag).code),
        });
        parts.push(media);
    }
    let picture = parts.first().and_then(|media: &Media| media.video.as_ref());
    let start = picture.map_or(0.0, |video| video.timeline.start());
    if let ([only], [media]) = (&inputs[..], &parts[..])
        && tracks.is_one_file()
    {
        return Ok((only.path.clone(), media.clone(), start));
    }
    let output = folder.join(format!("run-{number}.mp4"));
    ffmpeg::encode(&reader.settings().tools.0, &mux(&inputs, &output), reader.context.cancel, |_| ()).await?;
    let media = probe(reader, &output).await?;
    parts.truncate(1);
    check::all_of(&parts, &media)?;
    if media.audio.is_empty() && inputs.iter().any(|input| !input.picture) {
        return Err(Failure::permanent("joining its segments left no sound"));
    }
    Ok((output, media, start))
}

/// Puts runs behind each other that are alike.
async fn behind_each_other(
    reader: &Reader<'_>,
    made: &[(PathBuf, Media)],
    (parts, lengths): (&[Media], &[Option<f64>]),
    folder: &Path,
) -> Result<(PathBuf, Media), Failure> {
    alike(parts)?;
    let text: String = made.iter().zip(lengths).map(|((path, _), length)| line(path, *length)).collect();
    let (list, output) = (folder.join("runs.txt"), folder.join("whole.mp4"));
    let written = list.clone();
    let write = move || File::create(written)?.write_all(format!("ffconcat version 1.0\n{text}").as_bytes());
    blocking_or(&writing(folder), write).await?;
    ffmpeg::encode(&reader.settings().tools.0, &concat(&list, &output), reader.context.cancel, |_| ()).await?;
    let media = probe(reader, &output).await?;
    check::all_of(parts, &media)?;
    Ok((output, media))
}

/// How long after the beginning of each run the next one begins, so that picture follows picture. Sound may
/// stand over by a frame, and would leave the picture still for as long.
fn lengths(parts: &[Media]) -> Vec<Option<f64>> {
    let nexts = parts.iter().skip(1).map(|next| next.video.as_ref()).chain([None]);
    let length =
        |(part, next): (&Media, Option<&Video>)| Some(part.video.as_ref()?.timeline.end - next?.timeline.start());
    parts.iter().zip(nexts).map(length).map(|length| length.filter(|length| *length > 0.0)).collect()
}

/// A file and its length, as ffmpeg's list of files has them.
fn line(path: &Path, length: Option<f64>) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let length = length.map(|length| format!("duration {length:.6}\n"));
    format!("file '{name}'\n{}", length.unwrap_or_default())
}

/// One stream has one codec and one size from its beginning to its end.
fn alike(parts: &[Media]) -> Result<(), Failure> {
    let kinds = |media: &Media| {
        let picture = media.video.as_ref().map(|video| (video.codec.clone(), video.width, video.height));
        let sounds: Vec<_> =
            media.audio.iter().map(|audio| (audio.codec.clone(), audio.channels, audio.sample_rate)).collect();
        (picture, sounds)
    };
    let mut all = parts.iter().map(kinds);
    let first = all.next();
    match all.position(|other| Some(&other) != first.as_ref()) {
        None => Ok(()),
        Some(at) => Err(Failure::permanent(format!(
            "behind discontinuity {} codec, size or sound are others than before (advertisements?), so it cannot be joined",
            at + 1
        ))),
    }
}

/// Probes what was joined, and holds it against the manifest.
async fn looked_at(reader: &Reader<'_>, run: &Run, file: &RunFile) -> Result<Media, Failure> {
    let media = probe(reader, &file.path).await?;
    match check::fault(&media, run, &file.lengths) {
        None => Ok(media),
        Some((piece, why)) => {
            let shown = run.pieces.get(piece).map(|piece| reader.shown(&piece.place)).unwrap_or_default();
            let failure = Failure::permanent(format!("segment `{shown}` {why}"));
            Err(failure.hint("the stream is not whole on its server"))
        }
    }
}

async fn probe(reader: &Reader<'_>, path: &Path) -> Result<Media, Failure> {
    let settings = reader.settings();
    ffprobe::probe(&settings.tools.1, path, &settings.limits, reader.context.cancel).await
}

/// Where raw sound begins, in seconds: its frames have no times, so a tag before them has the time of
/// the first (RFC 8216, 3.4). Other files tell themselves.
async fn start_of(path: &Path) -> Result<f64, Failure> {
    let opened = path.to_path_buf();
    let reading = format!("could not read `{}`", path.display());
    let head = blocking_or(&reading, move || {
        let mut head = Vec::new();
        File::open(opened)?.take(1024).read_to_end(&mut head)?;
        Ok(head)
    });
    Ok(tagged_start(&head.await?).unwrap_or_default())
}

fn tagged_start(head: &[u8]) -> Option<f64> {
    const OWNER: &[u8] = b"com.apple.streaming.transportStreamTimestamp\0";
    let at = head.windows(OWNER.len()).position(|window| window == OWNER).filter(|_| head.starts_with(b"ID3"))?;
    let time = head.get(at + OWNER.len()..)?.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))?;
    // 33 bits of a clock of 90 kHz.
    #[expect(clippy::cast_precision_loss, reason = "33 bits")]
    Some((time & ((1 << 33) - 1)) as f64 / 90_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_sound_begins_when_its_tag_says() {
        let mut head = b"ID3\x04\0\0\0\0\0\x3fPRIV....".to_vec();
        head.extend(b"com.apple.streaming.transportStreamTimestamp\0");
        head.extend(900_000_u64.to_be_bytes());
        assert_eq!(tagged_start(&head), Some(10.0));
        assert_eq!(tagged_start(&head[..60]), None);
        assert_eq!(tagged_start(b"\xff\xf1"), None);
    }
}
