//! What an earlier package of the same source has already: a rung that is added later is all that is encoded.
//!
//! Every object is read, compared with the manifest that tells of it, encrypted anew where it has to
//! be, and stored under the new generation, which then stands by itself. What is missing or damaged
//! is encoded as if it had never been there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures_util::stream::{StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};

use crate::format::aes128;
use crate::format::keys::KeyRing;
use crate::model::event::What;
use crate::model::failure::Failure;
use crate::model::item::Rank;
use crate::model::sha256::Sha256;
use crate::plan::generation::Origin;
use crate::plan::hls::HlsPlan;
use crate::plan::ladder::Size;
use crate::plan::recipe::Kitchen;
use crate::plan::settings::{HlsSettings, Method};
use crate::scratch::journal::{Chunk, Object};

use super::blocking;
use super::chunk::{self, Part, SEGMENTS_AT_ONCE};
use super::done::Manifest;
use super::pack::INIT;
use super::work::Work;

/// How the parts of a package were made, as its manifest tells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recipes {
    /// Renditions of picture and sound, by folder.
    #[serde(default)]
    pub renditions: BTreeMap<String, Recipe>,
    /// Poster and storyboard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stills: Option<String>,
}

/// How one rendition was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// A digest of all that its bytes depend on.
    pub digest: String,
    /// Its codec string.
    pub codec: String,
    /// The larger sizes that the picture was brought to on the way to this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub through: Vec<Size>,
}

/// A generation that was published before this one, of the same source.
pub struct Earlier {
    place: String,
    recipes: Recipes,
    objects: HashMap<String, Object>,
    key_ring: Option<Arc<KeyRing>>,
}

/// What is there of a part.
pub struct Taken {
    /// What was taken over.
    pub chunk: Chunk,
    /// The numbers of the renditions that are still to be made.
    pub missing: Vec<usize>,
    /// Whether it is all of it.
    pub whole: bool,
}

impl Earlier {
    /// The generation that `manifest` tells of.
    pub fn new(manifest: &Manifest, settings: &HlsSettings) -> Self {
        let ring = |wish: &crate::plan::settings::Encryption| {
            Arc::new(KeyRing::new(&wish.master_key, &manifest.generation, wish.rotate))
        };
        Self {
            place: format!("{}/{}", manifest.id, manifest.generation),
            recipes: manifest.recipes.clone(),
            objects: manifest.objects.iter().map(|object| (object.name.clone(), object.clone())).collect(),
            key_ring: settings.encryption.as_ref().map(ring),
        }
    }

    fn recipe(&self, folder: &str, recipes: &Recipes) -> Option<&Recipe> {
        let (before, now) = (self.recipes.renditions.get(folder)?, recipes.renditions.get(folder)?);
        (before.digest == now.digest && before.through == now.through).then_some(before)
    }

    /// Whether a rendition can be taken over.
    pub fn has(&self, folder: &str, recipes: &Recipes) -> bool {
        self.recipe(folder, recipes).is_some()
    }

    fn has_stills(&self, recipes: &Recipes) -> bool {
        recipes.stills.is_some() && self.recipes.stills == recipes.stills
    }
}

/// The recipes of a package. Codecs are known when it is made.
pub fn recipes(plan: &HlsPlan, origin: Origin<'_>, settings: &HlsSettings) -> Recipes {
    let kitchen = Kitchen { origin, plan, settings };
    let recipe = |digest: String, through: &[Size]| Recipe { digest, codec: String::new(), through: through.to_vec() };
    let pictures = plan.video.iter().enumerate();
    let pictures =
        pictures.filter_map(|(number, one)| Some((one.name.clone(), recipe(kitchen.picture(number)?, &one.through))));
    let sounds = plan.audio.iter().enumerate();
    let sounds = sounds.filter_map(|(track, one)| Some((one.folder.clone(), recipe(kitchen.sound(track)?, &[]))));
    Recipes { renditions: pictures.chain(sounds).collect(), stills: kitchen.stills() }
}

/// Lets the renditions that an earlier package has come the way they came there, so that they can be
/// taken over. Gives their folders, those of sound too.
pub fn adopt(plan: &mut HlsPlan, earlier: &Recipes, origin: Origin<'_>, settings: &HlsSettings) -> Vec<String> {
    let mut now = recipes(plan, origin, settings).renditions;
    now.retain(|folder, recipe| earlier.renditions.get(folder).is_some_and(|before| before.digest == recipe.digest));
    for rendition in plan.video.iter_mut().filter(|rendition| now.contains_key(&rendition.name)) {
        if let Some(before) = earlier.renditions.get(&rendition.name) {
            rendition.through.clone_from(&before.through);
        }
    }
    now.into_keys().collect()
}

/// Whether packages with these settings can be taken over: where samples are encrypted, their key
/// stands in the header and in every sample.
pub fn is_possible(settings: &HlsSettings) -> bool {
    settings.encryption.as_ref().is_none_or(|wish| wish.method == Method::Aes128)
}

/// Takes over what an earlier generation has of `part`.
pub async fn take(work: &Work<'_>, part: Part, rank: Rank) -> Result<Taken, Failure> {
    let mut taken = Taken { chunk: Chunk::default(), missing: renditions(work, part), whole: false };
    let Some(target) = work.target.get() else { return Ok(taken) };
    let Some(earlier) = &target.earlier else { return Ok(taken) };
    if part == Part::Pictures {
        if earlier.has_stills(&target.recipes) {
            let stills = earlier.objects.values().filter(|object| !object.name.contains('/') && is_still(&object.name));
            let objects = copies(work, earlier, stills.cloned().collect(), rank).await?;
            taken.whole = objects.is_some();
            taken.chunk.objects = objects.unwrap_or_default();
        }
        return Ok(taken);
    }
    let wanted = std::mem::take(&mut taken.missing);
    for number in wanted {
        match rendition(work, earlier, (part, number), rank).await? {
            Some(chunk) => taken.chunk = taken.chunk.and(chunk),
            None => taken.missing.push(number),
        }
    }
    taken.whole = taken.missing.is_empty() && !taken.chunk.codecs.is_empty();
    if taken.whole {
        (work.report)(What::ChunkKept { chunk: part.number(&work.plan) });
    }
    Ok(taken)
}

fn renditions(work: &Work<'_>, part: Part) -> Vec<usize> {
    match part {
        Part::Video(_) => (0..work.plan.video.len()).collect(),
        Part::Audio(track) => vec![track],
        Part::Pictures => Vec::new(),
    }
}

fn is_still(name: &str) -> bool {
    name == "poster.jpg" || name.starts_with("storyboard")
}

/// One rendition of a part, if all of it is there.
async fn rendition(
    work: &Work<'_>,
    earlier: &Earlier,
    (part, number): (Part, usize),
    rank: Rank,
) -> Result<Option<Chunk>, Failure> {
    let folder = match part {
        Part::Video(_) => work.plan.video.get(number).map(|one| &one.name),
        Part::Audio(_) | Part::Pictures => work.plan.audio.get(number).map(|one| &one.folder),
    };
    let Some(folder) = folder else { return Ok(None) };
    let Some(recipe) = earlier.recipe(folder, &work.target().recipes) else { return Ok(None) };
    let header = earlier.objects.get(&format!("{folder}/{INIT}"));
    let Some(mut wanted) = segments(earlier, part, folder) else { return Ok(None) };
    wanted.extend(header.filter(|_| part.is_first()).cloned());
    let Some(objects) = copies(work, earlier, wanted, rank).await? else { return Ok(None) };
    let inits = header.map(|header| (folder.clone(), header.sha256.clone())).into_iter().collect();
    Ok(Some(Chunk { codecs: vec![(folder.clone(), recipe.codec.clone())], inits, objects }))
}

/// The segments of a rendition in a part, if the manifest has them all.
fn segments(earlier: &Earlier, part: Part, folder: &str) -> Option<Vec<Object>> {
    let number_of = |object: &Object| -> Option<u64> {
        let (of, file) = object.name.split_once('/')?;
        let (number, ending) = file.split_once('.')?;
        (of == folder && matches!(ending, "ts" | "m4s")).then(|| number.parse().ok())?
    };
    let all = earlier.objects.values().filter_map(|object| Some((number_of(object)?, object)));
    let mut segments: BTreeMap<u64, Object> = all.map(|(number, object)| (number, object.clone())).collect();
    if let Part::Video(chunk) = part {
        let (from, to) = (chunk.first_segment, chunk.first_segment + chunk.segments);
        segments.retain(|number, _| (from..to).contains(number));
        if segments.len() as u64 != chunk.segments {
            return None;
        }
    }
    (!segments.is_empty()).then(|| segments.into_values().collect())
}

/// Stores the objects under the new generation, if all of them are as the manifest tells.
async fn copies(
    work: &Work<'_>,
    earlier: &Earlier,
    objects: Vec<Object>,
    rank: Rank,
) -> Result<Option<Vec<Object>>, Failure> {
    if objects.is_empty() {
        return Ok(None);
    }
    let copies = futures_util::stream::iter(objects).map(|object| copy(work, earlier, object, rank));
    let copies: Vec<Option<Object>> = copies.buffer_unordered(SEGMENTS_AT_ONCE).try_collect().await?;
    Ok(copies.into_iter().collect())
}

async fn copy(work: &Work<'_>, earlier: &Earlier, object: Object, rank: Rank) -> Result<Option<Object>, Failure> {
    let cx = work.cx;
    let _permit = cx.permit(&cx.lanes.upload, rank, 1).await?;
    let key = format!("{}/{}", earlier.place, object.name);
    let read = cx.unless_cancelled(async { Ok(cx.storage.load(&key, object.bytes).await) }).await?;
    let bytes = match read {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(None),
        Err(error) => {
            tracing::warn!(%key, %error, "an object of an earlier package could not be read and is made again");
            return Ok(None);
        }
    };
    let rings = earlier.key_ring.clone().zip(work.target().key_ring.clone());
    let expected = object.clone();
    let bytes = blocking(move || {
        if hex::encode(Sha256::digest(&bytes)) != expected.sha256 {
            return Ok(None);
        }
        Ok(match rings {
            Some(rings) => sealed_anew(&rings, &expected.name, bytes.to_vec()),
            None => Some(bytes.to_vec()),
        })
    })
    .await?;
    let Some(bytes) = bytes else { return Ok(None) };
    let stored = chunk::put(work, (object.name.clone(), object.seconds), bytes, chunk::serving(&object.name));
    let stored = cx.unless_cancelled(stored).await?;
    Ok(Some(Object { head: object.head, ..stored }))
}

/// A segment encrypted with the keys of the new generation instead of those of the earlier one; what
/// is not encrypted stays as it is. `None` if it cannot be read.
fn sealed_anew((from, to): &(Arc<KeyRing>, Arc<KeyRing>), name: &str, bytes: Vec<u8>) -> Option<Vec<u8>> {
    let number = name.split_once('/').and_then(|(folder, file)| Some((folder, file.split_once('.')?.0.parse().ok()?)));
    let Some((folder, segment)) = number else { return Some(bytes) };
    let key = |ring: &KeyRing| <[u8; 16]>::try_from(ring.key(segment).key.expose()).ok();
    let plain = aes128::decrypt(&key(from)?, &from.iv(folder, segment), bytes).ok()?;
    Some(aes128::encrypt(&key(to)?, &to.iv(folder, segment), plain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::secret::Secret;

    #[test]
    fn segments_change_keys_and_pictures_stay() {
        let ring = |generation| Arc::new(KeyRing::new(&Secret::new(vec![7; 32]), generation, 2));
        let rings = (ring("a"), ring("b"));
        let seal = |ring: &KeyRing| {
            let key = <[u8; 16]>::try_from(ring.key(3).key.expose()).unwrap();
            aes128::encrypt(&key, &ring.iv("720p", 3), b"picture".to_vec())
        };
        assert_eq!(sealed_anew(&rings, "720p/00003.ts", seal(&rings.0)), Some(seal(&rings.1)));
        assert_eq!(sealed_anew(&rings, "720p/00003.ts", b"torn".to_vec()), None);
        assert_eq!(sealed_anew(&rings, "720p/init.mp4", b"head".to_vec()), Some(b"head".to_vec()));
    }
}
