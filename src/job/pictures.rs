//! Poster and storyboard: made of the source when it is whole, and stored as a part of their own.

use std::path::Path;

use crate::model::event::What;
use crate::model::failure::Failure;
use crate::model::item::Rank;
use crate::plan::picture;
use crate::scratch::journal::{Chunk, Object};
use crate::tool::ffmpeg;

use super::blocking;
use super::chunk::{self, Part};
use super::work::Work;

/// Where one JPEG ends and the next begins; within one, no such bytes follow each other.
const JOINT: [u8; 5] = [0xff, 0xd9, 0xff, 0xd8, 0xff];

/// Makes and stores what was asked for.
pub async fn make(work: &Work<'_>, rank: Rank) -> Result<Chunk, Failure> {
    let cx = work.cx;
    let number = Part::Pictures.number(&work.plan);
    let permit = cx.permit(&cx.lanes.cpu, rank, 1).await?;
    (work.report)(What::ChunkStarted { chunk: number });
    let mut cpu_seconds = 0.0;
    let mut objects = Vec::new();
    if work.settings.poster {
        let (pictures, seconds) = poster(work).await?;
        cpu_seconds += seconds;
        objects.push(("poster.jpg".to_owned(), pictures));
    }
    if work.settings.storyboard {
        let (sheets, seconds) = storyboard(work).await?;
        cpu_seconds += seconds;
        objects.extend(sheets);
    }
    drop(permit);
    (work.report)(What::ChunkEncoded { chunk: number, cpu_seconds });
    let mut stored: Vec<Object> = Vec::new();
    for (name, bytes) in objects {
        let serving = chunk::serving(&name);
        let _permit = cx.lanes.upload.acquire(rank, 1).await;
        stored.push(cx.unless_cancelled(chunk::put(work, (name, 0.0), bytes, serving)).await?);
    }
    Ok(Chunk { codecs: Vec::new(), inits: Vec::new(), objects: stored })
}

async fn poster(work: &Work<'_>) -> Result<(Vec<u8>, f64), Failure> {
    let video = work.media.video.as_ref().expect("a plan is made only of what has a picture");
    let arguments = picture::poster(&work.source, video, &work.plan, work.folder);
    let report = ffmpeg::encode(&work.cx.ffmpeg.ffmpeg, &arguments, &work.cx.cancel, |_| {}).await?;
    let pictures = pictures(&picture::poster_output(work.folder)).await?;
    match <[Vec<u8>; 1]>::try_from(pictures) {
        Ok([poster]) => Ok((poster, report.cpu_seconds)),
        Err(_) => Err(Failure::permanent("no poster could be made of the source").hint("leave --poster out")),
    }
}

type Named = (String, Vec<u8>);

async fn storyboard(work: &Work<'_>) -> Result<(Vec<Named>, f64), Failure> {
    let video = work.media.video.as_ref().expect("a plan is made only of what has a picture");
    let board = picture::storyboard(&work.plan);
    let arguments = picture::sheets(&work.source, video, &work.plan, &board, work.folder);
    let report = ffmpeg::encode(&work.cx.ffmpeg.ffmpeg, &arguments, &work.cx.cancel, |_| {}).await?;
    let sheets = pictures(&picture::sheets_output(work.folder)).await?;
    if sheets.len() as u64 != board.sheets() {
        let what = format!("{} sheets of the storyboard were expected and {} are there", board.sheets(), sheets.len());
        return Err(Failure::permanent(what).hint("leave --storyboard out"));
    }
    let mut named: Vec<Named> = (0..).zip(sheets).map(|(number, sheet)| (picture::sheet_name(number), sheet)).collect();
    named.push(("storyboard.vtt".into(), board.cues(work.plan.grid.seconds()).into_bytes()));
    Ok((named, report.cpu_seconds))
}

/// The JPEGs that a file holds one after another; the file is removed.
async fn pictures(path: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let path = path.to_path_buf();
    blocking(move || {
        let io = |error: std::io::Error| Failure::io(&format!("could not read `{}`", path.display()), &error);
        let bytes = std::fs::read(&path).map_err(io)?;
        std::fs::remove_file(&path).map_err(io)?;
        Ok(split(&bytes))
    })
    .await
}

fn split(bytes: &[u8]) -> Vec<Vec<u8>> {
    if !bytes.starts_with(&JOINT[2..]) || !bytes.ends_with(&JOINT[..2]) {
        return Vec::new();
    }
    let joints = bytes.windows(JOINT.len()).enumerate().filter(|(_, window)| *window == JOINT);
    let edges: Vec<usize> = [0].into_iter().chain(joints.map(|(at, _)| at + 2)).chain([bytes.len()]).collect();
    edges.windows(2).filter_map(|pair| bytes.get(pair[0]..pair[1]).map(<[u8]>::to_vec)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_told_apart_and_torn_ones_are_none() {
        let one = [0xff, 0xd8, 0xff, 0xe0, 7, 0xff, 0xd9];
        assert_eq!(split(&one), [one.to_vec()]);
        assert_eq!(split(&[one, one].concat()), [one.to_vec(), one.to_vec()]);
        assert!(split(&one[..5]).is_empty() && split(&[]).is_empty());
    }
}
