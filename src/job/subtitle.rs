//! Subtitles: all tracks of text, taken from the source at once, cut and stored.

use std::path::PathBuf;

use crate::format::charset;
use crate::format::playlist_write::{self, Bandwidth, Segment};
use crate::format::ts_write::FIRST_TICK;
use crate::format::webvtt::{self, Cue, Spelling};
use crate::model::event::What;
use crate::model::failure::{Class, Failure};
use crate::model::media::Place;
use crate::plan::encode;
use crate::plan::language::language;
use crate::plan::sidecar::Format;
use crate::plan::subtitle::{self, SubtitleRendition};
use crate::scratch::file::{self, Privacy};
use crate::scratch::journal::Object;
use crate::storage::Serving;
use crate::tool::ffmpeg;

use super::blocking;
use super::chunk::IMMUTABLE;
use super::publish;
use super::work::Work;

/// The name of the file that DASH leads to, in the folder of its rendition.
pub const WHOLE: &str = "whole.vtt";

const TEXT: Serving = Serving { content_type: "text/vtt", cache_control: IMMUTABLE };

/// The words of a long film are a hundred kilobytes; more than this is something else.
const LARGEST: u64 = 32 << 20;

/// One rendition that is stored, but for its playlist.
pub struct Finished<'a> {
    /// Which.
    pub rendition: &'a SubtitleRendition,
    /// Its segments.
    pub objects: Vec<Object>,
    /// Its playlist.
    pub playlist: String,
    /// What it needs.
    pub bandwidth: Bandwidth,
    /// All of it in one file, for DASH.
    pub whole: Option<Object>,
}

/// Makes all subtitle renditions. A track that cannot be read is left out with a word:
/// a film without it is better than none.
pub async fn make<'a>(work: &'a Work<'_>) -> Result<Vec<Finished<'a>>, Failure> {
    let renditions = &work.plan.subtitles;
    let is_inside = |rendition: &SubtitleRendition| matches!(rendition.place, Place::Stream(_));
    let inside =
        renditions.iter().any(is_inside) && left_out(work, "the subtitles of the source", extract(work).await)?;
    work.source_is_the_same().await?;
    let mut finished = Vec::new();
    for (number, rendition) in renditions.iter().enumerate() {
        let (spelling, start) = match rendition.place {
            Place::Stream(_) => (inside.then_some(Spelling::Converted), work.plan.start),
            Place::Beside(file) => (beside(work, number, file).await?, work.plan.start - work.media.start()),
        };
        let Some(spelling) = spelling else { continue };
        let cues = read(work, encode::subtitle_output(work.folder, number), start, spelling).await?;
        if cues.is_empty() {
            let message = format!("{} is left out: there is nothing to read in it", rendition.folder);
            (work.report)(What::Warning { message });
            continue;
        }
        finished.push(store(work, rendition, &cues).await?);
    }
    Ok(finished)
}

async fn extract(work: &Work<'_>) -> Result<(), Failure> {
    let _permit = work.cx.permit(&work.cx.lanes.cpu, work.rank, 1).await?;
    let arguments = encode::subtitles(&work.source, &work.plan, work.settings, work.folder);
    ffmpeg::encode(&work.cx.ffmpeg.ffmpeg, &arguments, &work.cx.cancel, |_| ()).await?;
    Ok(())
}

/// Whether text was found. What is no text is left out with a word.
fn left_out(work: &Work<'_>, what: &str, found: Result<(), Failure>) -> Result<bool, Failure> {
    match found {
        Err(failure) if failure.class == Class::Permanent => {
            (work.report)(What::Warning { message: format!("{what} are left out: {}", failure.what) });
            Ok(false)
        }
        found => found.map(|()| true),
    }
}

/// Makes `WebVTT` of a file beside the source; tells how it is written, if there is any.
async fn beside(work: &Work<'_>, number: usize, which: usize) -> Result<Option<Spelling>, Failure> {
    let Some(found) = work.beside.files.get(which) else { return Ok(None) };
    let what = format!("the subtitles `{}`", found.shown);
    // WebVTT is read as it is; ffmpeg stumbles over its styles.
    let is_ready = found.format == Format::WebVtt;
    let input = if is_ready { encode::subtitle_output } else { encode::sidecar_input };
    let (sidecar, input) = (found.clone(), input(work.folder, number));
    let trouble = blocking(move || {
        let bytes = sidecar.read().map_err(|error| {
            Failure::temporary(format!("could not read `{}`: {error}", sidecar.shown))
                .hint("run the same command again")
        })?;
        let (text, trouble) = charset::text(&bytes, &language(&sidecar.text.language).tag);
        let written = file::write(&input, text.as_bytes(), Privacy::Private);
        written.map_err(|error| Failure::io(&format!("could not write `{}`", input.display()), &error))?;
        Ok(trouble)
    })
    .await?;
    if let Some(trouble) = trouble {
        (work.report)(What::Warning { message: format!("`{}` {trouble}", found.shown) });
    }
    if is_ready {
        return Ok(Some(Spelling::WebVtt));
    }
    let converted = async {
        let _permit = work.cx.permit(&work.cx.lanes.cpu, work.rank, 1).await?;
        let arguments = encode::sidecar(found.format, number, work.folder);
        ffmpeg::encode(&work.cx.ffmpeg.ffmpeg, &arguments, &work.cx.cancel, |_| ()).await.map(drop)
    };
    Ok(left_out(work, &what, converted.await)?.then_some(Spelling::Converted))
}

async fn read(work: &Work<'_>, path: PathBuf, start: f64, spelling: Spelling) -> Result<Vec<Cue>, Failure> {
    let seconds = work.plan.grid.seconds();
    blocking(move || {
        let failed = |error| Failure::io(&format!("could not read `{}`", path.display()), &error);
        if path.metadata().map_err(failed)?.len() > LARGEST {
            return Ok(Vec::new());
        }
        let bytes = std::fs::read(&path).map_err(failed)?;
        std::fs::remove_file(&path).map_err(failed)?;
        Ok(webvtt::cues(&String::from_utf8_lossy(&bytes), start, seconds, spelling))
    })
    .await
}

async fn store<'a>(work: &Work<'_>, rendition: &'a SubtitleRendition, cues: &[Cue]) -> Result<Finished<'a>, Failure> {
    let (mut objects, mut segments) = (Vec::new(), Vec::new());
    for (number, span) in subtitle::segments(&work.plan.grid).into_iter().enumerate() {
        let text = webvtt::segment(cues, span, FIRST_TICK);
        let file = format!("{number:05}.vtt");
        let seconds = span.1 - span.0;
        let object = publish::write(work, &format!("{}/{file}", rendition.folder), text.into_bytes(), TEXT).await?;
        segments.push(Segment { file, seconds, bytes: object.bytes, key: None, head: 0 });
        objects.push(Object { seconds, ..object });
    }
    let longest = segments.iter().map(|segment| segment.seconds).fold(1.0, f64::max);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a segment is some seconds")]
    let target = longest.round() as u64;
    let (playlist, bandwidth) =
        (playlist_write::media(target, None, &segments), playlist_write::bandwidth(target, &segments));
    let whole = if work.settings.dash {
        let text = webvtt::whole(cues).into_bytes();
        Some(publish::write(work, &format!("{}/{WHOLE}", rendition.folder), text, TEXT).await?)
    } else {
        None
    };
    Ok(Finished { rendition, objects, playlist, bandwidth, whole })
}
