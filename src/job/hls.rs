//! Turns one input into a published HLS package.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::stream::StreamExt as _;
use tokio::sync::{SetOnce, mpsc, watch};

use crate::format::keys::KeyRing;
use crate::model::event::What;
use crate::model::failure::{Class, Failure};
use crate::model::fault;
use crate::model::item::{self, Item, Locator};
use crate::model::media::{Chapter, Media};
use crate::model::sha256::Sha256;
use crate::plan::chapter;
use crate::plan::generation::{self, Origin};
use crate::plan::hls::{HlsPlan, plan};
use crate::plan::ladder;
use crate::plan::language::Wanted;
use crate::plan::settings::HlsSettings;
use crate::scratch::journal;
use crate::source::beside::{self, Beside};
use crate::source::{Arrival, FetchContext, Fetched, Identity};
use crate::tool::ffprobe;

use super::chunk::{self, Made, Part};
use super::copy::{self, Original};
use super::done::{self, Found, Manifest, Wish};
use super::early::{self, Head};
use super::extras;
use super::film;
use super::probe;
use super::publish::{self, Provenance};
use super::quality::{self, Bench};
use super::reuse::{self, Earlier};
use super::work::{Stored, Target, Work};
use super::{Context, Report};

/// Chunks that may be encoded while the source is coming stand before the sound.
const EARLY_CHUNKS: usize = 4;

/// So many parts of an item are under way while its source is coming. Those that are encoded wait as
/// files, each with a task.
const MOST_KEPT: u64 = 256;

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
    let beside = beside::find(item, &settings.subtitles).await;
    let wanted = Wish { settings: &wish, beside: beside.as_ref() };
    if let Some(master) = done::known(item, &input, &wanted, cx, report).await? {
        return Ok(Outcome::AlreadyDone { master });
    }
    let nobody = watch::Sender::new(None);
    let identity = cx.sources.identify(item, &fetch_context(item, cx, report, &nobody)).await?;
    report(What::Named { id: identity.id.as_str().into(), title: title(item, &identity) });
    let _mine = cx.claim_id(&identity.id).await;
    let earlier = match done::published(item, &identity.id, &wanted, cx, report).await? {
        Found::Published(master) => {
            cx.journal.published(&input, &cx.destination, &wish, &identity.id).await?;
            return Ok(Outcome::AlreadyDone { master });
        }
        Found::Another(manifest) if reuse::is_possible(settings) => Some(manifest),
        Found::Another(_) | Found::Nothing => None,
    };
    if cx.dry_run {
        let master = cx.storage.address(&format!("{}/master.m3u8", identity.id));
        return Ok(Outcome::Would { what: format!("be downloaded, encoded and published as {master}") });
    }
    let folder = cx.scratch.join(input.chars().take(24).collect::<String>());
    make_folder(&folder).await?;
    fault::point("folder-made");
    let beside = beside.unwrap_or_default();
    let job = Job { item, identity: &identity, settings, beside: &beside, folder: &folder, earlier, cx, report };
    let made = job.run().await;
    // The id alone does not tell which line of a list it was.
    let outcome = made.map_err(|failure| match failure.class {
        Class::Permanent if !failure.what.contains(&item.locator.shown()) => {
            failure.context(&format!("`{}`", item.locator.shown()))
        }
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

/// One item on its way from its source to its package.
struct Job<'a> {
    item: &'a Item,
    identity: &'a Identity,
    settings: &'a HlsSettings,
    /// The subtitles beside a local source.
    beside: &'a Beside,
    folder: &'a Path,
    /// What is published of it now.
    earlier: Option<Box<Manifest>>,
    cx: &'a Context,
    report: Report<'a>,
}

/// Why chunks that were begun early come to nothing.
enum Detour {
    /// The item failed.
    Failed(Failure),
    /// The source that came in the end is not the one that was coming.
    Changed(Box<Fetched>),
}

impl From<Failure> for Detour {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Job<'_> {
    /// Encodes what can be encoded while the source is still coming, and the rest when it is whole.
    async fn run(&self) -> Result<Outcome, Failure> {
        let (sender, mut arrival) = watch::channel(None);
        let tallest = ladder::tallest(&self.settings.rungs);
        let subtitles = &self.settings.subtitles;
        let context = FetchContext { tallest, subtitles, ..fetch_context(self.item, self.cx, self.report, &sender) };
        let mut fetching = Box::pin(self.cx.sources.fetch(self.item, self.identity, self.folder, &context));
        let fetched = tokio::select! {
            biased;
            fetched = &mut fetching => fetched?,
            head = self.head(&mut arrival) => {
                match Box::pin(self.overlapped(fetching, head, arrival)).await {
                    Ok(outcome) => return Ok(outcome),
                    Err(Detour::Failed(failure)) => return Err(failure),
                    Err(Detour::Changed(fetched)) => *fetched,
                }
            }
        };
        fault::point("fetched");
        // Thousands of items that end before this do not pay for its size.
        Box::pin(self.whole(&fetched)).await
    }

    /// The source that is coming, as soon as its index is here. Where much of an earlier package may
    /// do, nothing is begun before it is known what.
    async fn head(&self, arrival: &mut watch::Receiver<Option<Arrival>>) -> Head {
        let wish = generation::settings_digest(self.settings);
        let nobody = watch::Sender::new(None);
        let context = fetch_context(self.item, self.cx, self.report, &nobody);
        if let Some(earlier) = self.earlier.as_ref().filter(|earlier| earlier.settings != wish)
            && !earlier.recipes.renditions.is_empty()
            && self.cx.sources.unchanged(self.item, &earlier.source.input, &context).await
        {
            std::future::pending::<()>().await;
        }
        early::head(arrival, self.folder, self.settings, self.cx).await
    }

    /// The source is here: everything can be told of it.
    async fn whole(&self, fetched: &Fetched) -> Result<Outcome, Failure> {
        let limits = &self.settings.limits;
        let tools = &self.cx.ffmpeg;
        let (path, mut media) = probe::probe((&fetched.path, self.folder), tools, limits, &self.cx.cancel).await?;
        let beside = self.beside(fetched);
        beside.join(&mut media);
        let (mut plan, original) = copy::decide(&media, &path, self.settings).await?;
        let cpu = (&self.cx.lanes.cpu, self.item.rank());
        let (ffmpeg, cancel, source) = (&tools.ffmpeg, &self.cx.stop, &path);
        let bench = Bench {
            ffmpeg,
            cpu,
            cancel,
            folder: self.folder,
            source,
            media: &media,
            settings: self.settings,
            report: self.report,
        };
        quality::choose_once(&bench, &self.generation(fetched, &plan, &[]), &mut plan).await?;
        if let Some(earlier) = self.earlier_of(fetched) {
            reuse::adopt(&mut plan, &earlier.recipes, self.origin(fetched), self.settings);
        }
        let mut work = self.work((media, (plan, original)), (path.clone(), beside), (fetched.serial.clone(), None));
        work.seal.clone_from(&fetched.seal);
        self.aim(&work, fetched, &work.media.chapters).await?;
        let made = all_chunks(&work, self.item).await;
        self.publish(&work, made, fetched).await
    }

    /// The source is coming, and its index is here.
    async fn overlapped(
        &self,
        fetching: impl Future<Output = Result<Fetched, Failure>>,
        head: Head,
        arrival: watch::Receiver<Option<Arrival>>,
    ) -> Result<Outcome, Detour> {
        let planned = (plan(&head.media, self.settings)?, None);
        let work = self.work((head.media, planned), (head.path, self.beside), (Some(head.serial), Some(arrival)));
        let arriving = async {
            let fetched = fetching.await?;
            fault::point("fetched");
            if fetched.serial != work.serial {
                return Err(Detour::Changed(Box::new(fetched)));
            }
            // So may the pictures that show whether they are made of fields.
            let mut video = work.media.video.clone();
            if let Some(video) = &mut video {
                probe::find_fields(&fetched.path, video, &self.cx.ffmpeg, &self.cx.cancel).await?;
            }
            if video != work.media.video {
                return Err(Detour::Changed(Box::new(fetched)));
            }
            // The titles may lie where nothing was yet.
            let (ffprobe, limits) = (&self.cx.ffmpeg.ffprobe, &self.settings.limits);
            let chapters = ffprobe::chapters(ffprobe, &fetched.path, limits, &self.cx.cancel).await?;
            self.aim(&work, &fetched, &chapters).await?;
            Ok(fetched)
        };
        // A failure to encode comes after the source is whole, and has to be cleaned up behind.
        let chunks = async { Ok(all_chunks(&work, self.item).await) };
        let (fetched, made) = tokio::try_join!(arriving, chunks)?;
        Ok(self.publish(&work, made, &fetched).await?)
    }

    /// The subtitles beside the source: those that came with it, if it was downloaded.
    fn beside<'b>(&'b self, fetched: &'b Fetched) -> &'b Beside {
        fetched.beside.as_ref().unwrap_or(self.beside)
    }

    fn work<'b>(
        &'b self,
        (media, (plan, original)): (Media, (HlsPlan, Option<Arc<Original>>)),
        (source, beside): (PathBuf, &'b Beside),
        (serial, arrival): (Option<String>, Option<watch::Receiver<Option<Arrival>>>),
    ) -> Work<'b> {
        for warning in &plan.warnings {
            (self.report)(What::Warning { message: warning.clone() });
        }
        fault::point("planned");
        Work {
            cx: self.cx,
            settings: self.settings,
            media,
            plan,
            original,
            source,
            beside,
            folder: self.folder,
            id: &self.identity.id,
            rank: self.item.rank(),
            turn: self.cx.turn(),
            report: self.report,
            stored: Stored::default(),
            serial,
            seal: None,
            arrival,
            target: SetOnce::new(),
            guest: false,
            rest: None,
        }
    }

    fn origin<'a>(&'a self, fetched: &'a Fetched) -> Origin<'a> {
        Origin { source: &fetched.sha256, beside: None, ffmpeg: &self.cx.ffmpeg.version, extras: &[], lineage: None }
    }

    fn generation(&self, fetched: &Fetched, plan: &HlsPlan, extras: &[&str]) -> String {
        let (beside, lineage) = (self.beside(fetched).digest(), ladder::lineage(&plan.video));
        let (beside, lineage) = (beside.as_deref(), lineage.as_deref());
        let origin = Origin { beside, extras, lineage, ..self.origin(fetched) };
        generation::name(&origin, self.settings)
    }

    /// What is published now, if it was made of the same source.
    fn earlier_of(&self, fetched: &Fetched) -> Option<&Manifest> {
        self.earlier.as_deref().filter(|earlier| earlier.source.sha256 == fetched.sha256)
    }

    /// Names the generation, which takes the digest of the whole source, and finds what is there of it.
    async fn aim(&self, work: &Work<'_>, fetched: &Fetched, chapters: &[Chapter]) -> Result<(), Failure> {
        let chapters = chapter::chapters(chapters, work.plan.start, work.plan.grid.seconds());
        let extras = extras::of((&work.media, &work.plan), self.settings.dash, &chapters, self.beside(fetched));
        let generation = self.generation(fetched, &work.plan, &extras);
        let place = format!("{}/{generation}", self.identity.id);
        let encryption = self.settings.encryption.as_ref();
        let key_ring = encryption.map(|wish| Arc::new(KeyRing::new(&wish.master_key, &generation, wish.rotate)));
        let pointer = self.cx.storage.stat(&format!("{}/master.m3u8", self.identity.id)).await?;
        let pointer = pointer.and_then(|stat| stat.etag);
        let recipes = reuse::recipes(&work.plan, self.origin(fetched), self.settings);
        // What is lost of the same package is made again.
        let earlier = self.earlier_of(fetched).filter(|earlier| earlier.generation != generation);
        let earlier = earlier.map(|earlier| Earlier::new(earlier, self.settings));
        // What is taken over for the most part is not worth sharing.
        let alone = earlier.is_some() || ladder::lineage(&work.plan.video).is_some();
        let led = if alone { None } else { film::share(work, self.item, fetched, (&place, &extras)).await? };
        let made = done::chunks(&place, self.cx, led.is_some()).await?;
        let set =
            work.target.set(Target { generation, place, key_ring, pointer, chapters, recipes, earlier, made, led });
        set.map_err(|_| Failure::environment("the source was whole twice"))
    }

    async fn publish(
        &self,
        work: &Work<'_>,
        made: Result<Vec<journal::Chunk>, Failure>,
        fetched: &Fetched,
    ) -> Result<Outcome, Failure> {
        let provenance = Provenance {
            record: &fetched.record,
            sha256: &fetched.sha256,
            bytes: fetched.bytes,
            title: title(self.item, self.identity),
        };
        let published = match made {
            Ok(chunks) => self.cx.unless_cancelled(publish::publish(work, &chunks, &provenance)).await,
            Err(failure) => Err(failure),
        };
        if let Err(failure) = &published {
            film::abandon(work, failure).await;
            if failure.class == Class::Permanent {
                publish::withdraw(work).await;
            }
        }
        let published = published?;
        Ok(Outcome::Published {
            master: self.cx.storage.address(&format!("{}/master.m3u8", self.identity.id)),
            objects: published.objects,
            bytes: published.bytes,
            seconds: work.plan.grid.seconds(),
        })
    }
}

/// Makes all parts that no earlier run has made, several at once.
async fn all_chunks(work: &Work<'_>, item: &Item) -> Result<Vec<journal::Chunk>, Failure> {
    let wanted = work.settings.poster || work.settings.storyboard;
    let pictures = wanted && !work.plan.video.is_empty();
    let parts = parts(&work.plan, pictures, work.target.get().is_none());
    (work.report)(What::Planned {
        seconds: work.plan.grid.seconds(),
        chunks: parts.len() as u64,
        resumed: work.target.get().map_or(0, |target| target.made.len() as u64),
        renditions: work.plan.video.len() as u64,
        objects: work.plan.objects(),
        summary: summary(work).into(),
    });
    let at_once = if work.target.get().is_none() { MOST_KEPT } else { work.cx.lanes.backlog.capacity() };
    let at_once = usize::try_from(at_once).unwrap_or(usize::MAX);
    let making = futures_util::stream::iter(parts).map(|part| chunk::make(work, part));
    let mut making = making.buffer_unordered(at_once);
    let (leave, left) = mpsc::unbounded_channel();
    let here = async {
        // Dropped with the last part, which tells that no more are left to others.
        let leave = leave;
        let (mut made, mut stopped) = (Vec::new(), None);
        while let Some(outcome) = making.next().await {
            match outcome {
                Ok(Made::Stored(chunk)) => made.push(chunk),
                Ok(Made::Left(number)) => leave.send(number).unwrap_or_default(),
                // Those at work may finish while the run winds down; no other gets a permit any more.
                Err(failure) if failure.class == Class::Stopped => stopped = Some(failure),
                Err(failure) => return Err(failure),
            }
        }
        Ok(stopped.map_or(Ok(made), Err))
    };
    let elsewhere = async {
        match film::gather(work, item, left).await {
            Err(failure) if failure.class != Class::Stopped => Err(failure),
            gathered => Ok(gathered),
        }
    };
    let (here, elsewhere) = tokio::try_join!(here, elsewhere)?;
    let mut made = here?;
    made.extend(elsewhere?);
    Ok(made)
}

/// One line for people, with what an earlier package has.
fn summary(work: &Work<'_>) -> String {
    let kept = |folder: &str| {
        let target = work.target.get();
        target.is_some_and(|target| target.earlier.as_ref().is_some_and(|one| one.has(folder, &target.recipes)))
    };
    work.plan.summary(&kept)
}

/// All that is to be encoded. Sound comes first: it is one long piece, and the
/// last thing to wait for otherwise. But it needs all of the source: while that
/// is coming it waits behind the first chunks.
fn parts(plan: &HlsPlan, pictures: bool, coming: bool) -> Vec<Part> {
    let chunks = if plan.video.is_empty() { 0 } else { plan.grid.chunks() };
    let video = (0..chunks).map(|number| Part::Video(plan.grid.chunk(number)));
    let mut parts: Vec<Part> = video.collect();
    let first = if coming { parts.len().min(EARLY_CHUNKS) } else { 0 };
    parts.splice(first..first, (0..plan.audio.len()).map(Part::Audio));
    parts.extend(pictures.then_some(Part::Pictures));
    parts
}

pub(super) fn fetch_context<'a>(
    item: &Item,
    cx: &'a Context,
    report: Report<'a>,
    arrival: &'a watch::Sender<Option<Arrival>>,
) -> FetchContext<'a> {
    FetchContext {
        rank: item.rank(),
        network: &cx.lanes.network,
        disk: &cx.lanes.disk,
        room: &cx.lanes.room,
        tallest: u32::MAX,
        subtitles: &Wanted::None,
        cancel: &cx.stop,
        report,
        arrival,
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
        Locator::Object { place, key } => hash.update(item::object(place, key)),
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
