//! The last steps: playlists, a look at every object, the manifest, the keys,
//! and then the pointer. Until that one is written nobody can find the rest.

use std::collections::BTreeMap;

use crate::format::playlist_write::{self, Bandwidth, I_FRAMES, Key, Segment, Text, Track, Variant};
use crate::model::failure::Failure;
use crate::model::fault;
use crate::model::sha256::Sha256;
use crate::plan::audio::AudioRendition;
use crate::plan::settings::Method;
use crate::plan::{generation, ladder};
use crate::scratch::journal::{Chunk, Object};
use crate::source::Record;
use crate::storage::error::Kind;
use crate::storage::folder::is_leftover;
use crate::storage::store::Store;
use crate::storage::{Serving, When};

use super::chapter;
use super::chunk::IMMUTABLE;
use super::dash;
use super::done::{self, Manifest, Source, journal_place};
use super::film;
use super::pack::INIT;
use super::reuse::Recipes;
use super::subtitle;
use super::work::Work;

const PLAYLIST: Serving = Serving { content_type: "application/vnd.apple.mpegurl", cache_control: IMMUTABLE };
const POINTER: Serving = Serving { content_type: "application/vnd.apple.mpegurl", cache_control: "public, max-age=10" };
const MANIFEST: Serving = Serving { content_type: "application/json", cache_control: IMMUTABLE };
const KEY: Serving = Serving { content_type: "application/octet-stream", cache_control: "no-store" };

/// The name of the pointer beside the generations of a video.
pub const MASTER: &str = "master.m3u8";

/// Where the source came from.
pub struct Provenance<'a> {
    /// What to compare with later.
    pub record: &'a Record,
    /// SHA-256 of its bytes, in hex.
    pub sha256: &'a str,
    /// Its bytes.
    pub bytes: u64,
    /// A title for people.
    pub title: Option<std::sync::Arc<str>>,
}

/// What was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Objects in the package.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// One rendition, put together from its chunks.
#[derive(Default)]
struct Rendition {
    codec: String,
    /// SHA-256 of its header, where it has one.
    init: Option<String>,
    segments: Vec<Segment>,
    bandwidth: Bandwidth,
}

/// Publishes a generation all of whose chunks are stored.
pub async fn publish(work: &Work<'_>, chunks: &[Chunk], from: &Provenance<'_>) -> Result<Published, Failure> {
    let renditions = assemble(work, chunks)?;
    let texts = subtitle::make(work).await?;
    let master = master(work, &renditions, &texts);
    let dash = work
        .settings
        .dash
        .then(|| dash::manifest(work, &variants(work, &renditions), &tracks(work, &renditions), &words(&texts)));
    if fault::mutant("pointer-first") {
        write_pointer(work, MASTER, &master, POINTER).await?;
    }
    let mut objects: Vec<Object> = chunks.iter().flat_map(|chunk| chunk.objects.clone()).collect();
    for (folder, rendition) in &renditions {
        let map = rendition.init.as_ref().map(|_| INIT);
        let text = playlist_write::media(target_duration(work), map, &rendition.segments);
        objects.push(write(work, &format!("{folder}/index.m3u8"), text.into_bytes(), PLAYLIST).await?);
        fault::point("playlist-stored");
        if work.settings.i_frames && is_picture(work, folder) {
            let text = playlist_write::i_frames(target_duration(work), map, &rendition.segments);
            objects.push(write(work, &format!("{folder}/{I_FRAMES}"), text.into_bytes(), PLAYLIST).await?);
        }
    }
    for subtitle::Finished { rendition, objects: segments, playlist, whole, .. } in texts {
        objects.extend(segments);
        objects.extend(whole);
        objects.push(write(work, &format!("{}/index.m3u8", rendition.folder), playlist.into_bytes(), PLAYLIST).await?);
    }
    fault::point("playlists-stored");
    objects.extend(chapter::store(work).await?);
    objects.sort_by(|a, b| a.name.cmp(&b.name));
    look_at_all(work, &objects).await?;
    let totals =
        (objects.len() as u64 + 2 + u64::from(dash.is_some()), objects.iter().map(|object| object.bytes).sum::<u64>());
    let manifest = write_manifest(work, (objects, &renditions), from).await?;
    fault::point("manifest-stored");
    write_keys(work).await?;
    fault::point("keys-stored");
    sweep(&work.cx.storage, work.id).await?;
    if let Some(dash) = &dash {
        write_pointer(work, dash::NAME, dash, dash::POINTER).await?;
    }
    write_pointer(work, MASTER, &master, POINTER).await?;
    fault::point("pointer-stored");
    if dash.is_none() {
        // One of an earlier generation would lead to what is no longer meant.
        work.cx.storage.delete(&format!("{}/{}", work.id, dash::NAME)).await?;
    }
    if work.target().led.is_some() {
        film::end(&work.cx.storage, &work.target().place).await?;
    }
    work.cx.journal.forget(&journal_place(&work.target().place, work.cx)).await?;
    fault::point("chunks-forgotten");
    Ok(Published { objects: totals.0, bytes: totals.1 + manifest + master.len() as u64 })
}

/// Removes a generation that will never be whole, unless a pointer leads to it.
pub async fn withdraw(work: &Work<'_>) {
    let withdrawn = async {
        if done::pointer(work.id, &work.cx.storage).await?.as_deref() == Some(work.target().generation.as_str()) {
            return Ok(());
        }
        for stat in work.cx.storage.list(&work.target().place).await? {
            work.cx.storage.delete(&stat.key).await?;
        }
        work.cx.journal.forget(&journal_place(&work.target().place, work.cx)).await
    };
    if let Err(failure) = withdrawn.await {
        tracing::warn!(place = %work.target().place, %failure, "an unfinished generation could not be removed");
    }
}

/// Puts the segments of every rendition in order, and checks that none is missing.
fn assemble(work: &Work<'_>, chunks: &[Chunk]) -> Result<BTreeMap<String, Rendition>, Failure> {
    let mut renditions: BTreeMap<String, Rendition> = BTreeMap::new();
    for chunk in chunks {
        for (folder, codec) in &chunk.codecs {
            let rendition = renditions.entry(folder.clone()).or_default();
            if !rendition.codec.is_empty() && rendition.codec != *codec {
                let what = format!("the chunks of {folder} differ: {} and {codec}", rendition.codec);
                return Err(Failure::environment(what).hint("use one version of ffmpeg for a whole package"));
            }
            rendition.codec.clone_from(codec);
        }
        for (folder, sha256) in &chunk.inits {
            let rendition = renditions.entry(folder.clone()).or_default();
            if rendition.init.get_or_insert_with(|| sha256.clone()) != sha256 {
                let what = format!("the chunks of {folder} need different headers");
                return Err(Failure::environment(what).hint("use one version of ffmpeg for a whole package"));
            }
        }
        for object in &chunk.objects {
            let Some((folder, file)) = object.name.split_once('/') else { continue };
            if file == INIT {
                continue;
            }
            let segment = Segment {
                file: file.into(),
                seconds: object.seconds,
                bytes: object.bytes,
                head: object.head,
                key: key(work, folder, file),
            };
            renditions.entry(folder.into()).or_default().segments.push(segment);
        }
    }
    let target = target_duration(work);
    for (folder, rendition) in &mut renditions {
        rendition.segments.sort_by(|a, b| a.file.cmp(&b.file));
        rendition.bandwidth = playlist_write::bandwidth(target, &rendition.segments);
        let is_video = is_picture(work, folder);
        let numbered =
            rendition.segments.iter().zip(0_u64..).all(|(segment, number)| number_of(&segment.file) == number);
        let all = !is_video || rendition.segments.len() as u64 == work.plan.grid.segments();
        if !numbered || !all || rendition.segments.is_empty() {
            return Err(Failure::environment(format!("segments of {folder} are missing")));
        }
    }
    Ok(renditions)
}

fn is_picture(work: &Work<'_>, folder: &str) -> bool {
    work.plan.video.iter().any(|video| video.name == folder)
}

fn number_of(file: &str) -> u64 {
    file.split('.').next().and_then(|number| number.parse().ok()).unwrap_or(u64::MAX)
}

fn key(work: &Work<'_>, folder: &str, file: &str) -> Option<Key> {
    let (ring, wish) = (work.target().key_ring.as_ref()?, work.settings.encryption.as_ref()?);
    let segment = number_of(file);
    let uri = wish.key_uri.replace("{id}", work.id).replace("{key}", &ring.key(segment).name);
    let iv = match wish.method {
        Method::Aes128 => ring.iv(folder, segment),
        Method::Cbcs => ring.constant_iv(folder),
    };
    Some(Key { method: wish.method, uri, iv })
}

fn master(work: &Work<'_>, renditions: &BTreeMap<String, Rendition>, texts: &[subtitle::Finished<'_>]) -> String {
    let texts = words(texts);
    let (variants, tracks) = (variants(work, renditions), tracks(work, renditions));
    let list = (!work.target().chapters.is_empty()).then_some(chapter::LIST);
    playlist_write::master((&work.target().generation, list), &variants, &tracks, &texts)
}

fn words<'a>(texts: &[subtitle::Finished<'a>]) -> Vec<Text<'a>> {
    texts.iter().map(|made| Text { rendition: made.rendition, bandwidth: made.bandwidth }).collect()
}

fn variants<'a>(work: &'a Work<'_>, renditions: &'a BTreeMap<String, Rendition>) -> Vec<Variant<'a>> {
    let variant = |rendition: &'a ladder::Rendition| {
        let made = renditions.get(&rendition.name)?;
        let frame_rate = work.plan.grid.rate.as_f64();
        let i_frames =
            work.settings.i_frames.then(|| playlist_write::i_frame_bandwidth(target_duration(work), &made.segments));
        Some(Variant { rendition, codec: &made.codec, frame_rate, bandwidth: made.bandwidth, i_frames })
    };
    work.plan.video.iter().filter_map(variant).collect()
}

fn tracks<'a>(work: &'a Work<'_>, renditions: &'a BTreeMap<String, Rendition>) -> Vec<Track<'a>> {
    let track = |rendition: &'a AudioRendition| {
        let made = renditions.get(&rendition.folder)?;
        Some(Track { rendition, codec: &made.codec, bandwidth: made.bandwidth })
    };
    work.plan.audio.iter().filter_map(track).collect()
}

fn target_duration(work: &Work<'_>) -> u64 {
    work.plan.grid.target_duration()
}

/// Every object must be at the destination with its size; what is there besides is swept.
async fn look_at_all(work: &Work<'_>, objects: &[Object]) -> Result<(), Failure> {
    let mut found = done::sizes(&work.target().place, work.cx).await?;
    for object in objects {
        if found.remove(&object.name) != Some(object.bytes) {
            let key = work.cx.storage.address(&format!("{}/{}", work.target().place, object.name));
            return Err(Failure::environment(format!("`{key}` is not there although it was stored"))
                .hint("run the same command again"));
        }
    }
    // A package that is made again keeps its manifest until the new one takes its place.
    found.remove("manifest.json");
    // What came of a film's chunks stays until nothing is to be done any more.
    found.retain(|name, _| work.target().led.is_none() || !name.starts_with(film::FOLDER));
    for leftover in found.keys() {
        work.cx.storage.delete(&format!("{}/{leftover}", work.target().place)).await?;
    }
    Ok(())
}

fn recipes(work: &Work<'_>, renditions: &BTreeMap<String, Rendition>) -> Recipes {
    let mut recipes = work.target().recipes.clone();
    for (folder, recipe) in &mut recipes.renditions {
        recipe.codec = renditions.get(folder).map(|rendition| rendition.codec.clone()).unwrap_or_default();
    }
    recipes
}

async fn write_manifest(
    work: &Work<'_>,
    (objects, renditions): (Vec<Object>, &BTreeMap<String, Rendition>),
    from: &Provenance<'_>,
) -> Result<u64, Failure> {
    let manifest = Manifest {
        version: 1,
        id: work.id.into(),
        generation: work.target().generation.clone(),
        title: from.title.as_deref().map(Into::into),
        seconds: work.plan.grid.seconds(),
        settings: generation::settings_digest(work.settings),
        dash: work.settings.dash,
        source: Source {
            input: from.record.clone(),
            sha256: from.sha256.into(),
            bytes: from.bytes,
            beside: work.beside.digest(),
        },
        recipes: recipes(work, renditions),
        tools: vec![
            concat!("forebay ", env!("CARGO_PKG_VERSION")).into(),
            format!("ffmpeg {}", work.cx.ffmpeg.version),
        ],
        objects,
    };
    let json = serde_json::to_vec_pretty(&manifest).map_err(|error| Failure::environment(error.to_string()))?;
    Ok(write(work, "manifest.json", json, MANIFEST).await?.bytes)
}

async fn write_keys(work: &Work<'_>) -> Result<(), Failure> {
    let (Some(ring), Some(keys)) = (&work.target().key_ring, &work.cx.keys) else { return Ok(()) };
    sweep(keys, work.id).await?;
    for key in ring.keys(work.plan.grid.segments()) {
        keys.write(&format!("{}/{}.key", work.id, key.name), key.key.expose().to_vec().into(), &KEY.into()).await?;
    }
    Ok(())
}

/// Removes what a killed run left of a write directly below `folder`.
async fn sweep(storage: &Store, folder: &str) -> Result<(), Failure> {
    for stat in storage.list(folder).await? {
        let here = stat.key.rsplit_once('/').is_some_and(|(above, _)| above == folder);
        if here && is_leftover(&stat.key) {
            storage.delete(&stat.key).await?;
        }
    }
    Ok(())
}

/// On what condition the pointer is written: that it still is the one this run began with, where
/// the store can tell. A run that slept through another one's work replaces nothing then.
async fn condition<'a>(work: &'a Work<'_>, name: &str) -> Result<When<'a>, Failure> {
    let storage = &work.cx.storage;
    if name != MASTER || !storage.storage().abilities().conditions.if_same {
        return Ok(When::Always);
    }
    let conditions = storage.conditions().await?;
    Ok(match &work.target().pointer {
        Some(etag) if conditions.if_same => When::Same(etag),
        None if conditions.if_absent => When::Absent,
        _ => When::Always,
    })
}

async fn write_pointer(work: &Work<'_>, name: &str, text: &str, serving: Serving) -> Result<(), Failure> {
    let key = format!("{}/{name}", work.id);
    let bytes = text.as_bytes().to_vec().into();
    match condition(work, name).await? {
        When::Always => work.cx.storage.write(&key, bytes, &serving.into()).await,
        when => work.cx.storage.write_if(&key, bytes, &serving.into(), when).await,
    }
    .map_err(|error| match error.kind {
        Kind::Conflict => {
            Failure::temporary(format!("another run has published `{}` meanwhile", work.cx.storage.address(&key)))
                .hint("run the same command again, if this one's settings are the ones you want")
        }
        _ => error.into(),
    })?;
    let read = work.cx.storage.load(&key, text.len() as u64).await;
    if read.is_ok_and(|bytes| bytes.as_deref() == Some(text.as_bytes())) {
        return Ok(());
    }
    let address = work.cx.storage.address(&key);
    Err(Failure::environment(format!("`{address}` was written and does not read back the same"))
        .hint("another program may be writing there; run the same command again"))
}

pub(super) async fn write(work: &Work<'_>, name: &str, bytes: Vec<u8>, serving: Serving) -> Result<Object, Failure> {
    let object = Object {
        name: name.into(),
        bytes: bytes.len() as u64,
        sha256: hex::encode(Sha256::digest(&bytes)),
        seconds: 0.0,
        head: 0,
    };
    let _permit = work.cx.lanes.upload.acquire(work.rank, 1).await;
    work.cx.storage.write(&format!("{}/{name}", work.target().place), bytes.into(), &serving.into()).await?;
    Ok(object)
}
