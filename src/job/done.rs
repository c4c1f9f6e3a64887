//! What is done already, asked before any work: a folder that merely exists
//! proves nothing, a manifest whose objects are all there does.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::model::failure::Failure;
use crate::model::fault;
use crate::model::id;
use crate::model::item::Item;
use crate::scratch::journal::{self, Object};
use crate::source::Record;
use crate::source::beside::Beside;
use crate::storage::store::Store;

use super::dash;
use super::film;
use super::hls::fetch_context;
use super::reuse::Recipes;
use super::{Context, Report};

/// A playlist or a manifest is small; a film of three hours has a few megabytes.
const LARGEST_TEXT: u64 = 64 << 20;

/// `manifest.json`: all there is to know of a generation, written when all of it is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format.
    pub version: u32,
    /// The id of the item.
    pub id: String,
    /// The name of the generation.
    pub generation: String,
    /// A title for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Length in seconds.
    pub seconds: f64,
    /// Digest of the settings it was made with.
    pub settings: String,
    /// Whether a manifest of MPEG-DASH leads to it too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dash: bool,
    /// What it was made from.
    pub source: Source,
    /// The programs that made it, with their versions.
    pub tools: Vec<String>,
    /// How its parts were made.
    #[serde(default)]
    pub recipes: Recipes,
    /// Every object below the generation, but this one.
    pub objects: Vec<Object>,
}

/// The source of a package.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// What to compare with, to see whether it changed.
    pub input: Record,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
    /// Its bytes.
    pub bytes: u64,
    /// Digest of the subtitles that lay beside it, if there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<String>,
}

/// What a package has to be, to be the one that is asked for.
pub struct Wish<'a> {
    /// Digest of the settings.
    pub settings: &'a str,
    /// The subtitles beside the source; unknown where it is gone.
    pub beside: Option<&'a Beside>,
}

/// What is at the destination of an item.
pub enum Found {
    /// The package that is asked for, with the address of its master playlist.
    Published(String),
    /// Another one, or one that is not whole.
    Another(Box<Manifest>),
    /// None.
    Nothing,
}

/// The master playlist of `item`, if the journal knows its id and the package is there.
pub async fn known(
    item: &Item,
    input: &str,
    wish: &Wish<'_>,
    cx: &Context,
    report: Report<'_>,
) -> Result<Option<String>, Failure> {
    match cx.journal.id_of(input, &cx.destination, wish.settings).await? {
        Some(id) if !cx.force => Ok(match published(item, &id, wish, cx, report).await? {
            Found::Published(master) => Some(master),
            Found::Another(_) | Found::Nothing => None,
        }),
        _ => Ok(None),
    }
}

/// What is there of `id`: the package that is asked for was made from this input with these settings and is complete.
pub async fn published(
    item: &Item,
    id: &str,
    wish: &Wish<'_>,
    cx: &Context,
    report: Report<'_>,
) -> Result<Found, Failure> {
    if cx.force {
        return Ok(Found::Nothing);
    }
    let master = format!("{id}/master.m3u8");
    if fault::mutant("skip-if-folder-exists") && !cx.storage.list(id).await?.is_empty() {
        return Ok(Found::Published(cx.storage.address(&master)));
    }
    let Some(manifest) = manifest(id, &cx.storage).await? else { return Ok(Found::Nothing) };
    let other_texts = wish.beside.is_some_and(|beside| beside.digest() != manifest.source.beside);
    if manifest.settings != wish.settings || other_texts || !complete(&manifest, cx).await? {
        return Ok(Found::Another(Box::new(manifest)));
    }
    let nobody = watch::Sender::new(None);
    let context = fetch_context(item, cx, report, &nobody);
    let same = cx.sources.unchanged(item, &manifest.source.input, &context).await;
    if same && cx.crew.is_some() {
        // Whoever published it may have died before it cleared away.
        film::end(&cx.storage, &format!("{id}/{}", manifest.generation)).await?;
    }
    Ok(if same { Found::Published(cx.storage.address(&master)) } else { Found::Another(Box::new(manifest)) })
}

/// The manifest that the pointer of `id` leads to.
pub async fn manifest(id: &str, storage: &Store) -> Result<Option<Manifest>, Failure> {
    let Some(generation) = pointer(id, storage).await? else { return Ok(None) };
    let Some(bytes) = storage.load(&format!("{id}/{generation}/manifest.json"), LARGEST_TEXT).await? else {
        return Ok(None);
    };
    // A manifest that cannot be read is not ours, or not whole: the package is made again.
    Ok(serde_json::from_slice(&bytes).ok().filter(|manifest: &Manifest| manifest.generation == generation))
}

/// The generation that the master playlist of `id` leads to.
pub async fn pointer(id: &str, storage: &Store) -> Result<Option<String>, Failure> {
    let Some(bytes) = storage.load(&format!("{id}/master.m3u8"), LARGEST_TEXT).await? else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes);
    let uri = text.lines().find(|line| !line.is_empty() && !line.starts_with('#'));
    let generation = uri.and_then(|uri| uri.split_once('/')).map(|(generation, _)| generation);
    Ok(generation.filter(|name| id::is_generation(name)).map(Into::into))
}

/// Whether every object of the manifest is there with its size.
async fn complete(manifest: &Manifest, cx: &Context) -> Result<bool, Failure> {
    let place = format!("{}/{}", manifest.id, manifest.generation);
    let found = sizes(&place, cx).await?;
    if manifest.dash {
        let dash = cx.storage.load(&format!("{}/{}", manifest.id, dash::NAME), LARGEST_TEXT).await?;
        let leads = format!("<BaseURL>{}/", manifest.generation);
        if !dash.is_some_and(|dash| String::from_utf8_lossy(&dash).contains(&leads)) {
            return Ok(false);
        }
    }
    Ok(!manifest.objects.is_empty()
        && manifest.objects.iter().all(|object| found.get(&object.name) == Some(&object.bytes)))
}

/// The size of every object below `place`, by its name there.
pub async fn sizes(place: &str, cx: &Context) -> Result<HashMap<String, u64>, Failure> {
    let listed = cx.storage.list(place).await?;
    let name = |key: &str| key.strip_prefix(place).and_then(|rest| rest.strip_prefix('/')).map(Into::into);
    Ok(listed.into_iter().filter_map(|stat| Some((name(&stat.key)?, stat.bytes))).collect())
}

/// The chunks of the generation at `place` that earlier runs have made, if all their objects are still there.
/// With `shared` they may have been made by other workers.
pub async fn chunks(place: &str, cx: &Context, shared: bool) -> Result<HashMap<String, journal::Chunk>, Failure> {
    let mut noted = cx.journal.chunks(&journal_place(place, cx)).await?;
    if shared {
        noted.extend(film::noted(place, cx).await?);
    }
    if noted.is_empty() {
        return Ok(HashMap::new());
    }
    let found = sizes(place, cx).await?;
    let mut chunks = HashMap::new();
    for (name, chunk) in noted {
        let trusted = fault::mutant("unverified-resume");
        if trusted || chunk.objects.iter().all(|object| found.get(&object.name) == Some(&object.bytes)) {
            chunks.insert(name, chunk);
        } else {
            cx.journal.forget_chunk(&journal_place(place, cx), &name).await?;
        }
    }
    Ok(chunks)
}

/// A generation's place, destination included, by which the journal knows it.
pub fn journal_place(place: &str, cx: &Context) -> String {
    format!("{}\n{place}", cx.destination)
}
