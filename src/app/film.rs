//! Long films on many workers: whoever leads one offers its chunks as jobs of the queue, and every
//! worker takes such jobs as long as it has cores that nobody wants.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::keys::MASTER_KEY_VARIABLE;
use super::make_folder;
use super::run_job::Bench;
use crate::config::Config;
use crate::engine::worker::Order;
use crate::job::film::{self, Crew, Film, Led, Stand};
use crate::job::guest::{Guest, Known, Shelf};
use crate::job::{Context, Report};
use crate::model::failure::Failure;
use crate::model::job::{Job, MOST_LABELS, OWN_LABEL, Task};
use crate::model::sha256::Sha256;
use crate::plan::generation;
use crate::plan::settings::HlsSettings;
use crate::queue::{Queue, QueueError, State};
use crate::scratch::lock::Lock;
use crate::storage::store::Store;

/// All chunks are one tenant's: those of the film that began first come first.
const TENANT: &str = "forebay-chunks";

/// Films whose index is kept for the next chunk.
const MOST_FILMS: usize = 8;

/// Folders of one film: more than one only where workers share a state folder.
const MOST_FOLDERS: u32 = 20;

/// Chunks that are handed in at once.
const OFFERED_AT_ONCE: usize = 8;

/// The fleet as one of its workers sees it.
pub(super) struct Fleet {
    queue: Arc<dyn Queue>,
    make: String,
    /// Where indexes of films are kept.
    folder: PathBuf,
    /// Films that jobs of this program lead, by the job.
    led: Mutex<HashMap<String, Arc<Helpers>>>,
    /// Films of which this program makes chunks, by place.
    known: Mutex<HashMap<String, Arc<Place>>>,
}

/// A film of which this program makes chunks.
struct Place {
    shelf: Shelf,
    known: OnceCell<Known>,
    _lock: Lock,
}

impl Drop for Place {
    fn drop(&mut self) {
        // What stays is swept at a later start.
        std::fs::remove_dir_all(&self.shelf.folder).unwrap_or_default();
    }
}

/// One chunk that is to be made.
pub(super) struct ChunkOf {
    /// Its number.
    pub(super) number: u64,
    /// The job of its film, as the one who leads it has written it down.
    pub(super) film_job: Job,
    id: String,
    generation: String,
    film: Film,
}

/// The label of workers that make the same bytes of the same film: one version of Forebay and of
/// ffmpeg, the same settings and the same master key.
pub(super) fn label(settings: &HlsSettings, ffmpeg: &str) -> String {
    let key = std::env::var(MASTER_KEY_VARIABLE).unwrap_or_default();
    let version = env!("CARGO_PKG_VERSION");
    let digest = generation::settings_digest(settings);
    let text = format!("forebay {version}\nffmpeg {ffmpeg}\n{digest}\n{}\n", hex::encode(Sha256::digest(key)));
    let mut made = hex::encode(Sha256::digest(text));
    made.truncate(16);
    format!("{OWN_LABEL}{made}")
}

impl Fleet {
    /// The workers of `queue` that make what `make` says.
    pub(super) fn new(queue: Arc<dyn Queue>, make: String, folder: PathBuf) -> Self {
        Self { queue, make, folder, led: Mutex::default(), known: Mutex::default() }
    }

    /// The label of those who make the same.
    pub(super) fn make_of(&self) -> String {
        self.make.clone()
    }

    /// Those who may be asked for help with the film of `order`.
    pub(super) fn crew(&self, order: &Order, config: &Config, context: &Context) -> Arc<Helpers> {
        let helpers = Arc::new(Helpers {
            queue: Arc::clone(&self.queue),
            make: self.make.clone(),
            film: order.id.clone(),
            number: order.number,
            job: order.job.clone(),
            least: config.worker.share_after,
            storage: context.storage.clone(),
            led: Mutex::default(),
            offered: Mutex::default(),
        });
        let mut led = lock(&self.led);
        if led.len() >= MOST_FILMS {
            // Those that failed here and may be led elsewhere now.
            led.retain(|_, helpers| Arc::strong_count(helpers) > 1);
        }
        led.insert(order.id.clone(), Arc::clone(&helpers));
        drop(led);
        helpers
    }

    /// Whether order `number` leads a film whose chunks are offered.
    pub(super) fn waits(&self, number: u64) -> bool {
        lock(&self.led).values().any(|helpers| helpers.number == number && !lock(&helpers.offered).is_empty())
    }

    /// The film of a job is over: nobody needs to make its chunks any more.
    pub(super) async fn dismiss(&self, film: &str) {
        let helpers = lock(&self.led).remove(film);
        if let Some(helpers) = helpers.filter(|helpers| lock(&helpers.led).is_some()) {
            helpers.dismiss().await;
        }
    }

    /// The chunk that `job` asks for, if its film is not over.
    pub(super) async fn find(&self, job: &Job, storage: &Store) -> Result<Option<ChunkOf>, Failure> {
        let option = |name: &str| job.options.get(name).cloned().unwrap_or_default();
        let (id, generation) = (job.id.clone().unwrap_or_default(), option("generation"));
        let place = format!("{id}/{generation}");
        let film = film::load(storage, &place).await?.filter(|film| film.film == option("film"));
        let Some(film) = film else {
            lock(&self.known).remove(&storage.address(&place));
            return Ok(None);
        };
        if self.queue.get(&film.film).await?.is_none_or(|record| record.state.is_over()) {
            return Ok(None);
        }
        let film_job = Job::from_value(&film.job)?;
        let number = option("chunk").parse().map_err(|_| Failure::permanent("the chunk has no number"))?;
        Ok(Some(ChunkOf { number, film_job, id, generation, film }))
    }

    /// Makes `chunk` in `folder`.
    pub(super) async fn make(
        &self,
        chunk: &ChunkOf,
        bench: &Bench,
        folder: &Path,
        report: Report<'_>,
    ) -> Result<(), Failure> {
        let place = format!("{}/{}", chunk.id, chunk.generation);
        let film = self.place(&bench.context.storage.address(&place), &chunk.generation)?;
        let guest = Guest {
            item: &bench.item,
            settings: &bench.settings,
            place: (&chunk.id, &chunk.generation),
            shelf: &film.shelf,
            cx: &bench.context,
            report,
        };
        let led = self.led_here(&chunk.film).map(|led| Known::led(&led));
        let known = match &led {
            Some(known) => known,
            None => film.known.get_or_try_init(|| guest.open(chunk.film.clone())).await?,
        };
        if !known.is(&chunk.film) {
            // It was begun anew by another attempt: so is what is known of it.
            lock(&self.known).remove(&bench.context.storage.address(&place));
            return Err(Failure::temporary("the film was planned anew"));
        }
        guest.make(known, chunk.number, folder).await
    }

    fn led_here(&self, film: &Film) -> Option<Arc<Led>> {
        let all = lock(&self.led);
        let led = lock(&all.get(&film.film)?.led).clone();
        led.filter(|led| led.film == *film && led.source.exists())
    }

    fn place(&self, address: &str, generation: &str) -> Result<Arc<Place>, Failure> {
        let mut known = lock(&self.known);
        if let Some(place) = known.get(address) {
            return Ok(Arc::clone(place));
        }
        if known.len() >= MOST_FILMS {
            known.retain(|_, place| Arc::strong_count(place) > 1);
        }
        for number in 0..MOST_FOLDERS {
            let folder = self.folder.join(format!("{generation}-{number}"));
            make_folder(&folder, "work")?;
            let taken = Lock::take(&folder)
                .map_err(|error| Failure::io(&format!("could not lock `{}`", folder.display()), &error))?;
            if let Some(lock) = taken {
                let place = Arc::new(Place { shelf: Shelf::new(folder), known: OnceCell::new(), _lock: lock });
                known.insert(address.to_owned(), Arc::clone(&place));
                return Ok(place);
            }
        }
        Err(Failure::environment(format!("all work folders of generation `{generation}` are in use")))
    }
}

/// The fleet as the one who leads a film sees it.
pub(super) struct Helpers {
    queue: Arc<dyn Queue>,
    make: String,
    film: String,
    number: u64,
    job: Job,
    least: Duration,
    storage: Store,
    led: Mutex<Option<Arc<Led>>>,
    /// The jobs of the chunks that are not made yet, by the chunks' numbers.
    offered: Mutex<HashMap<u64, String>>,
}

impl Helpers {
    fn chunk(&self, led: &Led, number: u64, again: u32) -> Job {
        let (id, generation) = led.place.split_once('/').unwrap_or((&led.place, ""));
        let mut labels = self.job.labels.clone();
        labels.insert(self.make.clone());
        let options = [("film", self.film.clone()), ("generation", generation.into()), ("chunk", number.to_string())];
        let again = if again == 0 { String::new() } else { format!("-{again}") };
        Job {
            id: Some(id.into()),
            key: Some(format!("{}-{generation}-{number}{again}", self.film)),
            tenant: TENANT.into(),
            labels,
            priority: self.job.priority,
            attempts: self.job.attempts,
            options: options.into_iter().collect(),
            ..Job::new(Task::Chunk, &self.job.input, &self.job.to)
        }
    }

    /// Hands in one chunk, unless it is there already.
    async fn hand_in(&self, led: &Led, number: u64) -> Result<String, QueueError> {
        let mut again = 0;
        loop {
            let submitted = self.queue.submit(&self.chunk(led, number, again)).await?;
            if submitted.new {
                return Ok(submitted.id);
            }
            match self.queue.get(&submitted.id).await?.map(|record| record.state) {
                // Nothing came of it, or it would not be offered.
                Some(State::Done | State::Dead) | None => again += 1,
                Some(State::Cancelled) => {
                    self.queue.revive(&submitted.id).await?;
                    return Ok(submitted.id);
                }
                Some(_) => return Ok(submitted.id),
            }
        }
    }
}

#[async_trait]
impl Crew for Helpers {
    fn job(&self) -> (String, Value) {
        (self.film.clone(), self.job.to_value())
    }

    fn takes(&self, seconds: f64) -> bool {
        self.job.labels.len() < MOST_LABELS && seconds >= self.least.as_secs_f64()
    }

    async fn offer(&self, led: &Arc<Led>, chunks: &[u64]) -> Result<(), Failure> {
        use futures_util::stream::{StreamExt as _, TryStreamExt as _};
        *lock(&self.led) = Some(Arc::clone(led));
        let hand_in = |number: u64| async move { Ok::<_, QueueError>((number, self.hand_in(led, number).await?)) };
        // In order, so that they are taken in order.
        let jobs: Vec<_> = chunks.iter().copied().map(hand_in).collect();
        let jobs = futures_util::stream::iter(jobs).buffered(OFFERED_AT_ONCE);
        let jobs: Vec<(u64, String)> = jobs.try_collect().await?;
        lock(&self.offered).extend(jobs);
        Ok(())
    }

    async fn look(&self, chunk: u64) -> Result<Stand, Failure> {
        let id = lock(&self.offered).get(&chunk).cloned();
        let record = match &id {
            Some(id) => self.queue.get(id).await?,
            None => None,
        };
        let Some(record) = record else { return Ok(Stand::Unknown) };
        let stand = match record.state {
            State::Waiting => Stand::Waiting,
            // It has its reasons, and the queue watches it.
            State::Delayed => Stand::Running(0.0),
            State::Running => Stand::Running(record.progress.and_then(|progress| progress.encode).unwrap_or(0.0)),
            State::Done => Stand::Over,
            State::Cancelled => Stand::Failed("it was cancelled".into()),
            State::Dead => Stand::Failed(record.log.last().map(|entry| entry.what.clone()).unwrap_or_default()),
        };
        if record.state.is_over() {
            lock(&self.offered).remove(&chunk);
        }
        Ok(stand)
    }

    async fn dismiss(&self) {
        let Some(led) = lock(&self.led).take() else { return };
        let offered = std::mem::take(&mut *lock(&self.offered));
        // Nobody begins with any, whatever the queue says of them.
        if let Err(failure) = film::end(&self.storage, &led.place).await {
            tracing::warn!(%failure, place = led.place, "what is known of a film could not be removed");
        }
        for id in offered.values() {
            if let Err(error) = self.queue.cancel(id).await {
                tracing::warn!(%error, "a chunk could not be cancelled");
                return;
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under a lock is whole or none.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
