//! A film that many workers make: what all of them have to know of it, and what came of its chunks,
//! lie at the destination beside its segments until it is published.
//!
//! The worker that has the film's job *leads*: it has the whole source, plans, makes the sound and
//! the pictures, offers the chunks, and puts together what comes of them. If it dies, the next one
//! finds what is done already. [`super::guest`] makes a chunk.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

use crate::model::event::What;
use crate::model::failure::{Class, Failure};
use crate::model::item::Item;
use crate::model::media::Media;
use crate::model::sha256::Sha256;
use crate::plan::copy::Top;
use crate::plan::hls::{HlsPlan, clock};
use crate::scratch::journal;
use crate::source::spans::has_spans;
use crate::source::{Fetched, Record};
use crate::storage::Serving;
use crate::storage::store::Store;

use super::Context;
use super::chunk::Part;
use super::done::{self, Source};
use super::hls::fetch_context;
use super::publish;
use super::work::Work;

/// The folder in a generation that holds all of this. It goes when the pointer is written.
pub const FOLDER: &str = ".chunks";

/// What is known of the film.
const FILM: &str = "film.json";

/// What came of a chunk is a page of text, and what is known of a film is less.
const LARGEST: u64 = 4 << 20;

/// Texts that are read at once.
const READ_AT_ONCE: usize = 8;

/// With so few chunks under way, they are looked at often.
const FEW: usize = 16;

/// Chunks that are offered at once.
const MOST_AT_ONCE: usize = 1000;

const OFTEN: Duration = Duration::from_millis(250);
const SELDOM: Duration = Duration::from_secs(1);

const NOTE: Serving = Serving { content_type: "application/json", cache_control: "no-store" };

/// What a worker has to know to make a chunk. Only who may write to the destination can say it, so a
/// job of a stranger shapes nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Film {
    /// Version of this format.
    pub version: u32,
    /// The number of the film's job in its queue.
    pub film: String,
    /// That job.
    pub job: Value,
    /// The source it is made from.
    pub source: Source,
    /// What the name of its generation tells besides ([`crate::plan::generation::Origin::extras`]).
    pub extras: Vec<String>,
    /// Digest of what is planned: who plans otherwise would make other bytes.
    pub plan: String,
}

/// A film whose source is whole on this machine, as other jobs of this program may use it.
pub struct Led {
    /// What all workers know.
    pub film: Film,
    /// Its place at the destination: id and generation.
    pub place: String,
    /// What the source holds.
    pub media: Media,
    /// What is made of it.
    pub plan: HlsPlan,
    /// The source.
    pub source: PathBuf,
}

/// Where the job of a chunk stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Stand {
    /// Nobody has it yet.
    Waiting,
    /// Somebody makes it, and has made so much of it, from 0 to 1.
    Running(f64),
    /// It is said to be stored.
    Over,
    /// It failed for good.
    Failed(String),
    /// Nobody knows of it.
    Unknown,
}

/// The workers that can be asked to make chunks of one film.
#[async_trait]
pub trait Crew: Send + Sync {
    /// The film's job: its number in the queue, and its text.
    fn job(&self) -> (String, Value);

    /// Whether a film of so many seconds is worth sharing.
    fn takes(&self, seconds: f64) -> bool;

    /// Offers chunks to all workers. One that is offered already is not offered twice.
    async fn offer(&self, led: &Arc<Led>, chunks: &[u64]) -> Result<(), Failure>;

    /// Where a chunk stands that was offered.
    async fn look(&self, chunk: u64) -> Result<Stand, Failure>;

    /// Takes back what nobody has finished.
    async fn dismiss(&self);
}

/// Makes a film known to all workers, if it is worth sharing and they could read what they need of its source.
pub(super) async fn share(
    work: &Work<'_>,
    item: &Item,
    fetched: &Fetched,
    (place, extras): (&str, &[&str]),
) -> Result<Option<Arc<Led>>, Failure> {
    let Work { cx, settings, plan, .. } = work;
    let Some(crew) = cx.crew.as_ref().filter(|crew| crew.takes(plan.grid.seconds())) else { return Ok(None) };
    // What quality costs, and whether it can be copied, is told by all of a film.
    let by_parts = settings.quality.is_none() && work.original.is_none() && plan.top != Top::Copied;
    let readable = fetched.serial.is_some() && has_spans(item, &fetched.record);
    if !by_parts || !readable || plan.video.is_empty() {
        return Ok(None);
    }
    let (film, job) = crew.job();
    let source = Source {
        input: fetched.record.clone(),
        sha256: fetched.sha256.clone(),
        bytes: fetched.bytes,
        beside: work.beside.digest(),
    };
    let extras = extras.iter().map(|&extra| extra.to_owned()).collect();
    let film = Film { version: 1, film, job, source, extras, plan: digest(&work.media, plan) };
    write(&cx.storage, place, FILM, &film).await?;
    let (media, plan) = (work.media.clone(), plan.clone());
    Ok(Some(Arc::new(Led { film, place: place.into(), media, plan, source: work.source.clone() })))
}

/// What is known of the film at `place`, if there is one that is not published yet.
pub async fn load(store: &Store, place: &str) -> Result<Option<Film>, Failure> {
    let text = store.load(&format!("{place}/{FOLDER}/{FILM}"), LARGEST).await?;
    Ok(text.and_then(|text| serde_json::from_slice(&text).ok()).filter(|film: &Film| film.version == 1))
}

/// Ends the film at `place`: whoever takes one of its chunks from now on finds that it is over.
pub async fn end(store: &Store, place: &str) -> Result<(), Failure> {
    // The film first: what is left of this if it is cut short is swept with the generation.
    store.delete(&format!("{place}/{FOLDER}/{FILM}")).await?;
    for stat in store.list(&format!("{place}/{FOLDER}")).await? {
        store.delete(&stat.key).await?;
    }
    Ok(())
}

/// A digest of all that shapes the bytes of the picture, but for the settings.
pub(super) fn digest(media: &Media, plan: &HlsPlan) -> String {
    let HlsPlan { grid, start, video, shares, top, .. } = plan;
    let text = format!("{}\n{:?}\n{grid:?}\n{start:?}\n{video:?}\n{shares:?}\n{top:?}", media.container, media.video);
    hex::encode(Sha256::digest(text))
}

/// Notes at the destination what came of a part, all of whose objects are stored.
pub(super) async fn note(work: &Work<'_>, part: Part, chunk: &journal::Chunk) -> Result<(), Failure> {
    let (store, place) = (&work.cx.storage, &work.target().place);
    let name = format!("{}.json", part.name());
    write(store, place, &name, chunk).await?;
    let is_over = work.guest && load(store, place).await?.is_none();
    if !is_over || done::pointer(work.id, store).await?.as_deref() == Some(work.target().generation.as_str()) {
        return Ok(());
    }
    // The film failed meanwhile, and whoever cleared away did not find this yet.
    let objects = chunk.objects.iter().map(|object| format!("{place}/{}", object.name));
    for key in objects.chain([format!("{place}/{FOLDER}/{name}")]) {
        store.delete(&key).await?;
    }
    Ok(())
}

/// What came of the parts of the generation at `place`, as far as workers have noted it there.
pub(super) async fn noted(place: &str, cx: &Context) -> Result<Vec<(String, journal::Chunk)>, Failure> {
    let folder = format!("{place}/{FOLDER}");
    let listed = cx.storage.list(&folder).await?.into_iter();
    let name = |key: &str| Some(key.strip_prefix(&folder)?.strip_prefix('/')?.strip_suffix(".json")?.to_owned());
    let names = listed.filter_map(|stat| name(&stat.key)).filter(|name| format!("{name}.json") != FILM);
    let read = |name: String| async move { Ok::<_, Failure>(read(place, &name, cx).await?.map(|chunk| (name, chunk))) };
    let reads: Vec<_> = names.map(read).collect();
    let found: Vec<_> = futures_util::stream::iter(reads).buffer_unordered(READ_AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

async fn read(place: &str, name: &str, cx: &Context) -> Result<Option<journal::Chunk>, Failure> {
    let text = cx.storage.load(&format!("{place}/{FOLDER}/{name}.json"), LARGEST).await?;
    // What cannot be read is a chunk to make again.
    Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
}

async fn write(store: &Store, place: &str, name: &str, what: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_vec(what).map_err(|error| Failure::environment(error.to_string()))?;
    store.write(&format!("{place}/{FOLDER}/{name}"), json.into(), &NOTE.into()).await?;
    Ok(())
}

/// Chunks that are in the hands of the crew.
struct Away<'a> {
    work: &'a Work<'a>,
    item: &'a Item,
    crew: &'a dyn Crew,
    led: Arc<Led>,
    /// Those that could not be offered yet.
    unoffered: Vec<u64>,
    offered: Vec<u64>,
    made: Vec<journal::Chunk>,
}

/// Offers the chunks that are `left` to the crew, and waits for all of them.
pub(super) async fn gather(
    work: &Work<'_>,
    item: &Item,
    mut left: UnboundedReceiver<u64>,
) -> Result<Vec<journal::Chunk>, Failure> {
    let mut new = Vec::new();
    if left.recv_many(&mut new, MOST_AT_ONCE).await == 0 {
        return Ok(Vec::new());
    }
    let (Some(crew), Some(led)) = (&work.cx.crew, &work.target().led) else {
        return Err(Failure::environment("chunks were left to nobody"));
    };
    let (crew, led) = (crew.as_ref(), Arc::clone(led));
    let mut away = Away { work, item, crew, led, unoffered: new, offered: Vec::new(), made: Vec::new() };
    let mut open = true;
    loop {
        away.offer().await;
        if !open && away.offered.is_empty() && away.unoffered.is_empty() {
            return Ok(away.made);
        }
        let pause = if away.offered.len() <= FEW { OFTEN } else { SELDOM };
        tokio::select! {
            biased;
            () = work.cx.stop.cancelled() => return Err(Failure::stopped()),
            count = left.recv_many(&mut away.unoffered, MOST_AT_ONCE), if open => open = count > 0,
            () = tokio::time::sleep(pause) => away.look().await?,
        }
    }
}

impl Away<'_> {
    async fn offer(&mut self) {
        if self.unoffered.is_empty() {
            return;
        }
        match self.crew.offer(&self.led, &self.unoffered).await {
            Ok(()) => self.offered.append(&mut self.unoffered),
            // The queue may be back at the next look; if not for long, the lease of the film ends too.
            Err(failure) => tracing::warn!(%failure, "chunks could not be offered"),
        }
    }

    /// Looks how far all chunks are.
    async fn look(&mut self) -> Result<(), Failure> {
        let crew = self.crew;
        let ask = |chunk: u64| async move { (chunk, crew.look(chunk).await) };
        let asked: Vec<_> = std::mem::take(&mut self.offered).into_iter().map(ask).collect();
        let mut stands: Vec<_> = futures_util::stream::iter(asked).buffer_unordered(READ_AT_ONCE).collect().await;
        stands.sort_unstable_by_key(|(chunk, _)| *chunk);
        for (chunk, stand) in stands {
            match stand {
                Ok(Stand::Waiting) => self.offered.push(chunk),
                Ok(Stand::Running(part)) => {
                    (self.work.report)(What::ChunkProgress { chunk, part });
                    self.offered.push(chunk);
                }
                Ok(Stand::Over) => self.take_in(chunk).await?,
                Ok(Stand::Unknown) => self.unoffered.push(chunk),
                Ok(Stand::Failed(why)) => return Err(self.failed(chunk, &why).await),
                Err(failure) => {
                    tracing::warn!(%failure, chunk, "a chunk could not be looked at");
                    self.offered.push(chunk);
                }
            }
        }
        Ok(())
    }

    /// Takes what came of a chunk. One of which nothing came is offered once more.
    async fn take_in(&mut self, number: u64) -> Result<(), Failure> {
        let Work { cx, plan, stored, .. } = self.work;
        let place = &self.led.place;
        let Some(chunk) = read(place, &Part::Video(plan.grid.chunk(number)).name(), cx).await? else {
            write(&cx.storage, place, FILM, &self.led.film).await?;
            self.unoffered.push(number);
            return Ok(());
        };
        let bytes: u64 = chunk.objects.iter().map(|object| object.bytes).sum();
        let count = chunk.objects.len() as u64;
        let objects = stored.objects.fetch_add(count, Ordering::Relaxed) + count;
        let bytes = stored.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        // Its CPU seconds were another job's.
        (self.work.report)(What::ChunkEncoded { chunk: number, cpu_seconds: 0.0 });
        (self.work.report)(What::Uploading { objects, bytes });
        self.made.push(chunk);
        Ok(())
    }

    /// Why the film failed, if a chunk of it did.
    async fn failed(&self, chunk: u64, why: &str) -> Failure {
        if is_changed(self.work, self.item, &self.led.film.source.input).await {
            // The next attempt makes another generation.
            self.crew.dismiss().await;
            publish::withdraw(self.work).await;
            return Failure::temporary("the source changed while it was encoded");
        }
        let plan = &self.work.plan;
        let at = clock(plan.grid.rate.seconds(plan.grid.chunk(chunk).first_frame));
        Failure::permanent(format!("the chunk at {at} failed: {why}"))
    }
}

async fn is_changed(work: &Work<'_>, item: &Item, record: &Record) -> bool {
    let nobody = watch::Sender::new(None);
    let context = fetch_context(item, work.cx, work.report, &nobody);
    !work.cx.sources.unchanged(item, record, &context).await
}

/// What remains to be done for a film that ended with `failure`.
pub(super) async fn abandon(work: &Work<'_>, failure: &Failure) {
    let (Some(crew), Some(target)) = (&work.cx.crew, work.target.get()) else { return };
    // After anything else the next attempt goes on with what is there.
    if target.led.is_some() && failure.class == Class::Permanent {
        crew.dismiss().await;
    }
}
