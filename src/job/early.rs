//! The head start: an MP4 file whose index is here can be planned, and its
//! first chunks encoded, while the rest is still coming.
//!
//! So the cores need not wait for the whole first download of a list, nor a
//! list for the encoding of all of its last.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use tokio::sync::watch;

use crate::format::mp4;
use crate::model::failure::Failure;
use crate::model::media::Media;
use crate::plan::copy::Top;
use crate::plan::hls::plan;
use crate::plan::settings::HlsSettings;
use crate::source::Arrival;
use crate::tool::ffprobe;

use super::{Context, blocking};

/// ffprobe decodes a few pictures at the head of a file to tell their format.
pub(super) const HEAD: u64 = 512 << 10;

/// A source that comes faster than this needs no head start.
const SMALLEST: u64 = 3 * HEAD;

/// No index of a film is larger.
pub(super) const LARGEST_INDEX: u64 = 64 << 20;

/// A source that is coming, as far as its index tells.
pub struct Head {
    /// Which of the files that may come.
    pub serial: String,
    /// A name of its own for the file, which it keeps when it is whole.
    pub path: PathBuf,
    /// What it holds.
    pub media: Media,
}

/// What can be said of the index of a file that is coming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Index {
    /// It may still come.
    Coming,
    /// It is here.
    Here,
    /// It is no MP4 file, or one whose index does not tell where all samples are.
    Never,
}

/// Waits until enough is here to plan. Where that is not before the end, it waits for ever.
pub async fn head(
    arrival: &mut watch::Receiver<Option<Arrival>>,
    folder: &Path,
    settings: &HlsSettings,
    cx: &Context,
) -> Head {
    // What quality costs is told by all of the film.
    if settings.quality.is_some() {
        return std::future::pending().await;
    }
    while arrival.changed().await.is_ok() {
        let Some(now) = arrival.borrow_and_update().clone() else { continue };
        let found = blocking(move || Ok((index(&now).unwrap_or(Index::Never), now))).await;
        match found {
            Ok((Index::Coming, _)) => {}
            Ok((Index::Here, now)) => match open(&now, folder, settings, cx).await {
                Ok(head) => return head,
                Err(_) => break,
            },
            _ => break,
        }
    }
    std::future::pending().await
}

fn index(arrival: &Arrival) -> io::Result<Index> {
    let size = arrival.size;
    if size < SMALLEST {
        return Ok(Index::Never);
    }
    if !arrival.has(0, HEAD) {
        return Ok(Index::Coming);
    }
    let file = File::open(&arrival.path)?;
    let mut first = [0; 8];
    file.read_exact_at(&mut first, 0)?;
    if first.get(4..) != Some(b"ftyp") {
        return Ok(Index::Never);
    }
    // `WouldBlock` says that a box lies where nothing is yet.
    let read = |at: u64| {
        let mut bytes = [0; 16];
        let to = size.min(at + 16);
        if !arrival.has(at, to) {
            return Err(io::Error::from(io::ErrorKind::WouldBlock));
        }
        let count = usize::try_from(to - at).unwrap_or(16);
        file.read_exact_at(bytes.get_mut(..count).unwrap_or_default(), at).map(|()| bytes)
    };
    let (at, length) = match mp4::find_moov(size, read) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Index::Coming),
        Err(error) => return Err(error),
        Ok(None) => return Ok(Index::Never),
        Ok(Some((_, length))) if length > LARGEST_INDEX => return Ok(Index::Never),
        Ok(Some(moov)) => moov,
    };
    if !arrival.has(at, at + length) {
        return Ok(Index::Coming);
    }
    let mut moov = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut moov, at)?;
    Ok(if mp4::is_fragmented(&moov) { Index::Never } else { Index::Here })
}

/// Probes the file under a name that it keeps. Whatever is odd about it is left to the whole file.
async fn open(arrival: &Arrival, folder: &Path, settings: &HlsSettings, cx: &Context) -> Result<Head, Failure> {
    let (from, path) = (arrival.path.clone(), folder.join("coming"));
    let link = path.clone();
    blocking(move || {
        let linked = remove(&link).and_then(|()| std::fs::hard_link(&from, &link));
        linked.map_err(|error| Failure::io("could not link", &error))
    })
    .await?;
    let media = ffprobe::probe_index(&cx.ffmpeg.ffprobe, &path, &settings.limits, &cx.cancel).await?;
    let known =
        media.video.as_ref().is_some_and(|video| !video.pixel_format.is_empty() && !video.timeline.spans.is_empty());
    // Whether a source can be copied is seen only when it is whole.
    let encoded = || plan(&media, settings).is_ok_and(|plan| plan.top != Top::Copied);
    if !known || !encoded() {
        return Err(Failure::temporary("not told by the index alone"));
    }
    Ok(Head { serial: arrival.serial.clone(), path, media })
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
