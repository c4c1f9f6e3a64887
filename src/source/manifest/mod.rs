//! HLS playlists and DASH manifests: their segments are fetched by our own client
//! and joined to one file. No tool is ever given an address.
//!
//! Everything a manifest names passes the same checks as an input does. What is
//! live, encrypted for players of others, or not whole is refused in words.

mod bring;
mod check;
mod dash;
mod hls;
mod join;
pub(super) mod place;
pub(super) mod reader;
mod room;
mod texts;
mod track;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::format::looks::{HEAD, Looks, looks};
use crate::format::playlist::{self, Kind, Playlist};
use crate::model::event::{Stage, What};
use crate::model::failure::{Class, Failure};
use crate::plan::language::Wanted;

use self::place::Place;
use self::reader::Reader;
use self::room::Budget;
use self::texts::Words;
use self::track::{Track, Tracks};
use super::beside::Beside;
use super::hash::{self, blocking_or, writing};
use super::mark::{Finished, Mark};
use super::room::Room;
use super::{Fetched, Record};

/// Bytes of a playlist or manifest; a day in segments of two seconds, each with a long name and a key, has 10 MB.
const LARGEST: usize = 16 * 1024 * 1024;

/// Lines of a playlist, before it is read.
const MOST_LINES: usize = 450_000;

/// Folders of manifests begin with this.
const FOLDER: &str = "manifest-";

/// Why there is no whole source yet.
enum Stop {
    /// Space is needed for so many bytes.
    Short(u64),
    /// The files on the server are not those we began with.
    Changed(String),
    /// The server does not give us a file, or does not any more.
    Refused(Failure),
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Brings what the manifest at `place` names into `folder`, as one file.
pub(super) async fn fetch(reader: &Reader<'_>, place: &Place, folder: &Path) -> Result<Fetched, Failure> {
    let shown = reader.shown(place);
    let mut tracks = tracks(reader, place).await.map_err(|failure| named(failure, &shown))?;
    let mut own = own_folder(folder, &tracks).await?;
    let settings = reader.settings();
    let times = if tracks.is_one_file() { 1 } else { 2 };
    let room = Room::new(reader.context, settings.max_bytes.saturating_mul(times), shown.clone());
    let mut budget = Budget::new(room, times, settings.max_bytes, shown.clone());
    if let Some(finished) = Mark::load(&own, reader.key()).and_then(|mark| mark.finished(&own)) {
        budget.begin(Some(finished.bytes)).await?;
        return Ok(fetched(finished, &own, reader, budget));
    }
    budget.begin(tracks.guess()).await?;
    let (mut restarts, mut refusals, mut furthest) = (0, 0, 0);
    loop {
        let stop = match whole(reader, &tracks, &own, &mut budget).await {
            Ok(path) => {
                let finished = finish(reader, &own, path).await?;
                return Ok(fetched(finished, &own, reader, budget));
            }
            Err(stop) => stop,
        };
        let again = match stop {
            // The files go with the space they filled, so that nothing lies there unaccounted.
            Stop::Short(bytes) => Some(bytes),
            Stop::Changed(why) if restarts < settings.retries => {
                restarts += 1;
                let why = format!("{why}; starting over");
                (reader.context.report)(What::Retrying { stage: Stage::Download, why, wait: 0.0 });
                tracks.guess()
            }
            Stop::Changed(why) => return Err(Failure::temporary(format!("{why}, again and again"))),
            // What signs its addresses runs out on the way: read again, it has new ones.
            Stop::Refused(failure) if refusals < settings.retries => {
                let progress = budget.used() > furthest;
                furthest = furthest.max(budget.used());
                refusals = if progress { 0 } else { refusals + 1 };
                let now = self::tracks(reader, place).await.map_err(|failure| named(failure, &shown))?;
                if !progress && now == tracks {
                    return Err(named(failure, &shown));
                }
                let why = format!("{}; going on with the manifest as it is now", failure.what);
                (reader.context.report)(What::Retrying { stage: Stage::Download, why, wait: 0.0 });
                tracks = now;
                let now = own_folder(folder, &tracks).await?;
                if now == own {
                    reader.forget();
                    budget.recount();
                    continue;
                }
                own = now;
                tracks.guess()
            }
            Stop::Refused(failure) | Stop::Failed(failure) => return Err(named(failure, &shown)),
        };
        clear(&own).await?;
        reader.forget();
        budget.begin(again).await?;
    }
}

/// A failure of something that a manifest names also names the manifest.
fn named(failure: Failure, shown: &str) -> Failure {
    let what = if failure.what.contains(shown) { failure.what } else { format!("`{shown}`: {}", failure.what) };
    Failure { what, ..failure }
}

/// Reads the manifest and what it leads to, and decides what to fetch, in which pieces.
async fn tracks(reader: &Reader<'_>, place: &Place) -> Result<Tracks, Failure> {
    let mut tracks = chosen(reader, place).await?;
    for track in &mut tracks.all {
        bring::divide(reader, track).await?;
    }
    Ok(tracks)
}

async fn chosen(reader: &Reader<'_>, place: &Place) -> Result<Tracks, Failure> {
    let (tallest, wanted) = (reader.context.tallest, reader.context.subtitles);
    let (bytes, at) = reader.load(place, LARGEST).await?;
    let is_manifest = looks("", bytes.get(..bytes.len().min(HEAD)).unwrap_or_default());
    if !is_playlist(&bytes) {
        // Comments may be long, so that the root stands behind what is looked at.
        return match is_manifest {
            Looks::Manifest | Looks::Text("an XML text") => dashed(bytes, at, tallest, wanted.clone()).await,
            Looks::Text(what) => Err(Failure::permanent(format!("it answered {what}, not a manifest"))),
            Looks::Media | Looks::Image(_) => Err(Failure::permanent("what it answered is no manifest")),
        };
    }
    let playlist = read(bytes).await?;
    let Kind::Master(master) = &playlist.kind else {
        return Ok(Tracks { all: vec![hls::track(&playlist, &at)?], own_sound: true, ..Tracks::default() });
    };
    hls::whole(&playlist)?;
    let choice = hls::choose(master, tallest, wanted)?;
    let mut picture = media(reader, &at, &choice.picture).await?;
    picture.bandwidth = choice.bandwidth;
    let mut all = vec![picture];
    for (uri, language) in choice.sounds {
        // That of the picture is the peak of both, so the sound counts as nothing.
        all.push(Track { language, bandwidth: Some(0), ..media(reader, &at, &uri).await? });
    }
    let mut tracks = Tracks { all, own_sound: choice.own_sound, ..Tracks::default() };
    for (uri, words) in choice.texts {
        match media(reader, &at, &uri).await {
            Ok(track) => tracks.texts.push(Words { track, ..words }),
            Err(failure) if failure.class == Class::Permanent => {
                tracks.skipped.push(texts::left_out(words.shown(), &failure));
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(tracks)
}

/// A playlist that a master playlist names.
async fn media(reader: &Reader<'_>, base: &Place, uri: &str) -> Result<Track, Failure> {
    let place = base.join(uri)?;
    let shown = reader.shown(&place);
    let (bytes, at) = reader.load(&place, LARGEST).await?;
    if !is_playlist(&bytes) {
        return Err(Failure::permanent(format!("`{shown}` is no playlist, although a playlist names it as such")));
    }
    let playlist = read(bytes).await?;
    hls::track(&playlist, &at).map_err(|failure| named(failure, &shown))
}

/// The first line counts (RFC 8216, 4.3.1.1), behind a byte order mark or blanks that nobody minds.
fn is_playlist(bytes: &[u8]) -> bool {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    text.trim_ascii_start().starts_with(b"#EXTM3U")
}

async fn read(bytes: Vec<u8>) -> Result<Playlist, Failure> {
    let lines = bytes.split(|byte| *byte == b'\n').count();
    if lines > MOST_LINES {
        return Err(Failure::permanent(format!("the playlist has {lines} lines, more than {MOST_LINES}")));
    }
    blocking_or("could not read the playlist", move || Ok(playlist::read(&bytes))).await
}

async fn dashed(bytes: Vec<u8>, at: Place, tallest: u32, wanted: Wanted) -> Result<Tracks, Failure> {
    blocking_or("could not read the manifest", move || Ok(dash::tracks(&bytes, &at, tallest, &wanted))).await?
}

/// Fetches all tracks and makes one file of them.
async fn whole(reader: &Reader<'_>, tracks: &Tracks, folder: &Path, budget: &mut Budget<'_>) -> Result<PathBuf, Stop> {
    let mut keys = bring::Keys::new();
    // They are small, and their addresses may not last as long as the film.
    let texts = texts::bring(reader, tracks, &mut keys, folder, budget).await?;
    let mut files = Vec::new();
    for (number, track) in tracks.all.iter().enumerate() {
        bring::keys(reader, track, &mut keys).await?;
        files.push(bring::track(reader, track, number, &keys, folder, budget).await?);
    }
    let joined = join::all(reader, tracks, &files, folder).await?;
    let texts = texts::all(tracks, &joined, texts, folder).await?;
    let own = folder.to_path_buf();
    blocking_or(&writing(folder), move || texts.save(&own)).await?;
    Ok(joined.path)
}

/// A folder for exactly this work: of a manifest that has changed, nothing is gone on with.
async fn own_folder(folder: &Path, tracks: &Tracks) -> Result<PathBuf, Failure> {
    let name = format!("{FOLDER}{}", tracks.digest());
    let (own, folder) = (folder.join(&name), folder.to_path_buf());
    let made = own.clone();
    blocking_or(&writing(&own), move || {
        fs::create_dir_all(&made)?;
        for entry in folder.read_dir()? {
            let entry = entry?;
            let other = entry.file_name();
            let other = other.to_string_lossy();
            if other.starts_with(FOLDER) && other != name {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    })
    .await?;
    Ok(own)
}

async fn clear(folder: &Path) -> Result<(), Failure> {
    let cleared = folder.to_path_buf();
    blocking_or(&writing(folder), move || {
        fs::remove_dir_all(&cleared)?;
        fs::create_dir_all(&cleared)
    })
    .await
}

/// Hashes the whole file and gives it its name.
async fn finish(reader: &Reader<'_>, folder: &Path, path: PathBuf) -> Result<Finished, Failure> {
    let reading = format!("could not read `{}`", path.display());
    let opened = path.clone();
    let open = blocking_or(&reading, move || {
        let file = File::open(opened)?;
        let bytes = file.metadata()?.len();
        Ok((file, bytes))
    });
    let (file, bytes) = open.await?;
    let permit = reader.context.disk.acquire(reader.context.rank, 1).await;
    let sha256 = hash::of_file(&Arc::new(file), bytes).await.map_err(|error| Failure::io(&reading, &error))?;
    drop(permit);
    let mark = Mark { size: Some(bytes), sha256: Some(sha256.clone()), ..Mark::new(reader.key()) };
    let own = folder.to_path_buf();
    let path = blocking_or(&writing(folder), move || mark.finish(&own, &path)).await?;
    Ok(Finished { path, bytes, sha256 })
}

fn fetched(finished: Finished, folder: &Path, reader: &Reader<'_>, budget: Budget<'_>) -> Fetched {
    let Finished { path, bytes, sha256 } = finished;
    (reader.context.report)(What::Downloaded { bytes });
    let (key, beside) = (reader.key().to_owned(), Some(Beside::load(folder)));
    // The address may stay the same when the segments are others, and the other way round: no server can be asked.
    let record = Record { key, etag: None, last_modified: None, bytes: Some(bytes), modified: None };
    Fetched {
        path,
        bytes,
        sha256,
        record,
        temporary: true,
        serial: None,
        seal: None,
        beside,
        room: budget.finish(bytes),
    }
}
