//! Turns one input into a published HLS package.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::stream::{StreamExt as _, TryStreamExt as _};
use sha2::{Digest as _, Sha256};

use crate::format::keys::KeyRing;
use crate::model::event::What;
use crate::model::failure::{Class, Failure};
use crate::model::fault;
use crate::model::item::{Item, Locator};
use crate::plan::generation;
use crate::plan::hls::{HlsPlan, plan};
use crate::plan::settings::HlsSettings;
use crate::scratch::journal;
use crate::source::{FetchContext, Fetched, Identity};
use crate::tool::ffprobe;

use super::chunk::{self, Part, Work};
use super::publish::{self, Provenance};
use super::{Context, Report, done};

/// How a job ended well.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Published by this job.
    Published {
        /// Address of the master playlist.
        master: String,
        /// Objects in the package.
        objects: u64,
        /// Their bytes.
        bytes: u64,
        /// Seconds of source.
        seconds: f64,
    },
    /// An earlier job had published the same.
    AlreadyDone {
        /// Address of the master playlist.
        master: String,
    },
    /// A dry run: what a real one would do.
    Would {
        /// One line for people.
        what: String,
    },
}

/// Fetches, encodes and publishes `item`.
///
/// A download never holds a CPU permit and an encode never holds a network
/// one, so a slow server cannot keep an encoder idle. Nothing is visible at the
/// destination before the pointer, which is written last.
pub async fn run(item: &Item, settings: &HlsSettings, cx: &Context, report: Report<'_>) -> Result<Outcome, Failure> {
    let wish = generation::settings_digest(settings);
    let input = input_digest(item);
    if let Some(master) = done::known(item, &input, &wish, cx, report).await? {
        return Ok(Outcome::AlreadyDone { master });
    }
    let fetching = fetch_context(item, cx, report);
    let identity = cx.sources.identify(item, &fetching).await?;
    report(What::Named { id: identity.id.as_str().into(), title: title(item, &identity) });
    let _mine = cx.claim_id(&identity.id).await;
    if let Some(master) = done::published(item, &identity.id, &wish, cx, report).await? {
        cx.journal.published(&input, &cx.destination, &wish, &identity.id).await?;
        return Ok(Outcome::AlreadyDone { master });
    }
    if cx.dry_run {
        let master = cx.storage.address(&format!("{}/master.m3u8", identity.id));
        return Ok(Outcome::Would { what: format!("be downloaded, encoded and published as {master}") });
    }
    let folder = cx.scratch.join(input.chars().take(24).collect::<String>());
    make_folder(&folder).await?;
    fault::point("folder-made");
    let fetched = fetch(item, &identity, &folder, cx, report).await?;
    fault::point("fetched");
    let made = make(item, &identity, settings, &folder, &fetched, cx, report).await;
    // The id alone does not tell which line of a list it was.
    let outcome = made.map_err(|failure| match failure.class {
        Class::Permanent => failure.context(&format!("`{}`", item.locator.shown())),
        _ => failure,
    });
    if let Err(failure) = &outcome
        && failure.class != Class::Permanent
    {
        return outcome;
    }
    // Done, or no better with another try: the room is for others.
    remove_folder(folder).await;
    fault::point("folder-removed");
    if outcome.is_ok() {
        cx.journal.published(&input, &cx.destination, &wish, &identity.id).await?;
        fault::point("publish-noted");
    }
    outcome
}

/// From a whole source to a published package.
#[expect(clippy::too_many_arguments, reason = "the whole of a job comes together here")]
async fn make(
    item: &Item,
    identity: &Identity,
    settings: &HlsSettings,
    folder: &Path,
    fetched: &Fetched,
    cx: &Context,
    report: Report<'_>,
) -> Result<Outcome, Failure> {
    let media = ffprobe::probe(&cx.ffmpeg.ffprobe, &fetched.path, settings.limits.streams, &cx.cancel).await?;
    let plan = plan(&media, settings)?;
    for warning in &plan.warnings {
        report(What::Warning { message: warning.clone() });
    }
    fault::point("planned");
    let generation = generation::name(&fetched.sha256, settings, &cx.ffmpeg.version);
    let place = format!("{}/{generation}", identity.id);
    let key_ring = settings.encryption.as_ref().map(|wish| KeyRing::new(&wish.master_key, &generation, wish.rotate));
    let work = Work {
        cx,
        settings,
        media: &media,
        plan: &plan,
        source: &fetched.path,
        folder,
        id: &identity.id,
        place: &place,
        key_ring: key_ring.map(Arc::new),
        rank: item.rank(),
        turn: cx.turn(),
        report,
        stored: Default::default(),
    };
    let made = all_chunks(&work).await;
    let provenance = Provenance {
        record: &fetched.record,
        sha256: &fetched.sha256,
        bytes: fetched.bytes,
        title: title(item, identity),
    };
    let published = match made {
        Ok(chunks) => publish::publish(&work, &generation, &chunks, &provenance).await,
        Err(failure) => Err(failure),
    };
    if let Err(failure) = &published
        && failure.class == Class::Permanent
    {
        publish::withdraw(&work, &generation).await;
    }
    let published = published?;
    Ok(Outcome::Published {
        master: cx.storage.address(&format!("{}/master.m3u8", identity.id)),
        objects: published.objects,
        bytes: published.bytes,
        seconds: plan.grid.seconds(),
    })
}

/// Encodes and stores what no earlier run has, several chunks at once.
async fn all_chunks(work: &Work<'_>) -> Result<Vec<journal::Chunk>, Failure> {
    let parts = parts(work.plan);
    let mut made = done::chunks(work).await?;
    let left: Vec<Part> = parts.iter().copied().filter(|part| !made.contains_key(&part.name())).collect();
    (work.report)(What::Planned {
        seconds: work.plan.grid.seconds(),
        chunks: parts.len() as u64,
        resumed: made.len() as u64,
        summary: work.plan.summary().into(),
    });
    let at_once = usize::try_from(work.cx.lanes.backlog.stats().capacity).unwrap_or(usize::MAX);
    let new: Vec<(String, journal::Chunk)> = futures_util::stream::iter(left)
        .map(|part| async move { Ok::<_, Failure>((part.name(), chunk::make(work, part).await?)) })
        .buffer_unordered(at_once)
        .try_collect()
        .await?;
    made.extend(new);
    parts.iter().map(|part| made.remove(&part.name()).ok_or_else(|| Failure::environment("a chunk was lost"))).collect()
}

/// All that is to be encoded. Sound comes first: it is one long piece, and the
/// last thing to wait for otherwise.
fn parts(plan: &HlsPlan) -> Vec<Part> {
    let audio = (0..plan.audio.len()).map(Part::Audio);
    audio.chain((0..plan.grid.chunks()).map(|number| Part::Video(plan.grid.chunk(number)))).collect()
}

async fn fetch(
    item: &Item,
    identity: &Identity,
    folder: &Path,
    cx: &Context,
    report: Report<'_>,
) -> Result<Fetched, Failure> {
    let context = fetch_context(item, cx, report);
    cx.sources.fetch(item, identity, folder, &context).await
}

pub(super) fn fetch_context<'a>(item: &Item, cx: &'a Context, report: Report<'a>) -> FetchContext<'a> {
    FetchContext {
        rank: item.rank(),
        network: &cx.lanes.network,
        disk: &cx.lanes.disk,
        room: &cx.lanes.room,
        cancel: &cx.stop,
        report,
    }
}

fn title(item: &Item, identity: &Identity) -> Option<Arc<str>> {
    item.title.as_deref().or(identity.title.as_deref()).map(Into::into)
}

/// Names the input in the journal and in scratch. A digest, because a URL may carry a signature.
fn input_digest(item: &Item) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let mut hash = Sha256::new();
    match &item.locator {
        Locator::Url(url) => hash.update(url.as_str()),
        Locator::File(path) => hash.update(std::path::absolute(path).as_ref().unwrap_or(path).as_os_str().as_bytes()),
    }
    if let Some(id) = &item.id {
        hash.update([0]);
        hash.update(id);
    }
    hex::encode(hash.finalize())
}

async fn make_folder(folder: &Path) -> Result<(), Failure> {
    let made = tokio::fs::create_dir_all(folder).await;
    made.map_err(|error| Failure::io(&format!("could not make the work folder `{}`", folder.display()), &error))
}

async fn remove_folder(folder: PathBuf) {
    if let Err(error) = tokio::fs::remove_dir_all(&folder).await {
        tracing::warn!(folder = %folder.display(), %error, "a work folder could not be removed");
    }
}
