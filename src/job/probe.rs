//! What a source holds, where its packets alone do not tell: whether its pictures are made of fields. And a
//! broadcast whose clock jumps is brought into one time.

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use crate::model::failure::{Class, Failure};
use crate::model::media::{Field, Media, Video};
use crate::plan::prepare;
use crate::plan::settings::Limits;
use crate::tool::ffmpeg::{self, Fields};
use crate::tool::ffprobe;
use crate::tool::find::Ffmpeg;

/// So many pictures of the sample must be made of fields, and so many times as many as have the other field first:
/// stripes and noise are taken for fields now and then. In a film that was made fit for NTSC they are two of five.
const FEWEST: u64 = 8;
const CLEARLY: u64 = 5;

/// What the file at `path` holds, and what of it is to be read: the file itself, or a copy in `folder`.
pub async fn probe(
    (path, folder): (&Path, &Path),
    tools: &Ffmpeg,
    limits: &Limits,
    cancel: &CancellationToken,
) -> Result<(PathBuf, Media), Failure> {
    let mut path = path.to_path_buf();
    let mut media = ffprobe::probe(&tools.ffprobe, &path, limits, cancel).await?;
    if media.clock_jumps > 0 {
        path = straight(&path, &media, folder, tools, cancel).await?;
        let Media { clock_jumps: jumps, other_programs, skipped, .. } = media;
        media = ffprobe::probe(&tools.ffprobe, &path, limits, cancel).await?;
        media.other_programs = other_programs;
        media.skipped.splice(0..0, skipped);
        let times = if jumps == 1 { "once".into() } else { format!("{jumps} times") };
        media.skipped.push(format!("the clock of the file jumps {times}: its parts are played one after the other"));
    }
    if let Some(video) = &mut media.video {
        find_fields(&path, video, tools, cancel).await?;
    }
    Ok((path, media))
}

/// Looks at some pictures where it is in doubt whether they are made of fields.
pub async fn find_fields(
    path: &Path,
    video: &mut Video,
    tools: &Ffmpeg,
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    if !video.fields_in_doubt {
        return Ok(());
    }
    let mut counted = count_fields(path, video, prepare::ONE_PLACE, tools, cancel).await?;
    // Where nothing moves, or some may be, the others are looked at too: a decoder costs more than a glance.
    if !is_whole(counted) {
        counted = count_fields(path, video, prepare::THREE_PLACES, tools, cancel).await?;
    }
    video.first_field = first_field(counted);
    video.interlaced = video.first_field.is_some();
    Ok(())
}

async fn count_fields(
    path: &Path,
    video: &Video,
    places: &[usize],
    tools: &Ffmpeg,
    cancel: &CancellationToken,
) -> Result<Fields, Failure> {
    match ffmpeg::encode(&tools.ffmpeg, &prepare::fields(path, video, places), cancel, |_| {}).await {
        Ok(report) => Ok(report.fields),
        // Pictures that cannot be read are found by others.
        Err(failure) if failure.class == Class::Permanent => Ok(Fields::default()),
        Err(failure) => Err(failure),
    }
}

/// Whether pictures move, and as a whole.
fn is_whole(Fields { top, bottom, whole }: Fields) -> bool {
    whole >= FEWEST && top + bottom <= 1
}

fn first_field(Fields { top, bottom, whole }: Fields) -> Option<Field> {
    let (field, many, few) = if top > bottom { (Field::Top, top, bottom) } else { (Field::Bottom, bottom, top) };
    (many >= FEWEST && many >= few * CLEARLY && many * 4 >= many + few + whole).then_some(field)
}

async fn straight(
    path: &Path,
    media: &Media,
    folder: &Path,
    tools: &Ffmpeg,
    cancel: &CancellationToken,
) -> Result<PathBuf, Failure> {
    let made = tokio::fs::create_dir_all(folder).await;
    made.map_err(|error| Failure::io(&format!("could not make the folder `{}`", folder.display()), &error))?;
    ffmpeg::encode(&tools.ffmpeg, &prepare::straight(path, media, folder), cancel, |_| {})
        .await
        .map_err(|failure| failure.context("the clock of the file jumps, and it cannot be copied"))?;
    Ok(prepare::straight_output(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_believed_if_they_are_clear() {
        let found = |top, bottom, whole| first_field(Fields { top, bottom, whole });
        assert_eq!(found(40, 0, 2), Some(Field::Top));
        assert_eq!(found(1, 30, 10), Some(Field::Bottom));
        assert_eq!(found(19, 0, 29), Some(Field::Top));
        assert_eq!(found(0, 0, 48), None);
        assert_eq!(found(5, 0, 10), None);
        assert_eq!(found(8, 6, 10), None);
        assert_eq!(found(8, 0, 40), None);
        let clear = |top, bottom, whole| is_whole(Fields { top, bottom, whole });
        assert_eq!((clear(0, 0, 8), clear(1, 0, 15)), (true, true));
        assert_eq!((clear(0, 0, 3), clear(2, 0, 14), clear(6, 0, 9)), (false, false, false));
    }
}
