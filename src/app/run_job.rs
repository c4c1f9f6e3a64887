//! Runs one job of a queue: what it may touch, its settings, and its work folder.
//! The place where a kind of job becomes work: a new kind is one more arm of `run`.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

#[cfg(any(feature = "photos", feature = "stores"))]
use super::bulk;
use super::film::{self, Fleet};
use super::{keys, lanes, make_folder, source_settings};
use crate::config::Config;
use crate::config::layer::{Flag, Surroundings};
use crate::engine::dispatcher::lane_use;
use crate::engine::worker::{Order, Runner};
use crate::job::film::Crew;
use crate::job::hls::{self, Outcome};
#[cfg(feature = "photos")]
use crate::job::share::Share;
use crate::job::{Context, Ids, Lanes};
use crate::model::event::Usage;
use crate::model::failure::{Class, Failure};
use crate::model::id;
use crate::model::item::{Item, Locator, Rank};
use crate::model::job::{Job, Task};
use crate::pipeline::lane::Lane;
use crate::plan::settings::HlsSettings;
use crate::queue::Queue;
use crate::scratch::file::Privacy;
use crate::scratch::journal::Journal;
use crate::scratch::lock::Lock;
use crate::source::{SourceSettings, Sources, list};
use crate::storage::outage::{Outage, Outages};
use crate::tool::find;

/// Work folders of jobs that nobody came back for are removed after this long.
const STALE: Duration = Duration::from_hours(7 * 24);

/// Work folders of one job: more than one only while a worker that was given up still holds the first.
const MOST_FOLDERS: u32 = 20;

/// What it takes to work on one video.
pub(super) struct Bench {
    pub(super) item: Item,
    pub(super) settings: HlsSettings,
    pub(super) context: Context,
}

/// Runs jobs in this process. What is scarce is shared by all of them.
pub struct Workshop {
    flags: Vec<Flag>,
    cores: NonZeroU64,
    config: Config,
    lanes: Lanes,
    ids: Ids,
    turns: Arc<AtomicU64>,
    state: PathBuf,
    /// One job at a time chooses names of pictures.
    album: Lane<Rank>,
    #[cfg(feature = "stores")]
    moving: bulk::Moving,
    /// The workers that share long films.
    fleet: OnceLock<Fleet>,
    /// Which stores fail, by the number of the job that uses them.
    outages: Mutex<HashMap<u64, Outages>>,
    /// Work folders that are in use, by job, with what locks them.
    folders: Mutex<HashMap<String, (PathBuf, Lock)>>,
}

impl Workshop {
    /// For jobs under the settings that `flags` give; they are read anew for every
    /// job. Work lies in the folder `state`.
    pub fn new(flags: Vec<Flag>, cores: NonZeroU64, state: PathBuf) -> Result<Self, Failure> {
        let config = load(flags.clone(), cores)?;
        make_folder(&state.join("jobs"), "state")?;
        sweep(&state.join("jobs"));
        sweep(&state.join("films"));
        Ok(Self {
            lanes: lanes(&config),
            #[cfg(feature = "stores")]
            moving: bulk::Moving::new(&config),
            flags,
            cores,
            config,
            ids: Arc::default(),
            turns: Arc::default(),
            state,
            album: Lane::new(1),
            fleet: OnceLock::new(),
            outages: Mutex::default(),
            folders: Mutex::default(),
        })
    }

    /// The settings that the workshop began with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How busy the lanes are. `at` is the time in seconds, by any clock that does not jump.
    pub fn usage(&self, at: f64) -> Usage {
        let lanes = &self.lanes;
        Usage {
            at,
            network: lane_use(&lanes.network),
            disk: lane_use(&lanes.disk),
            cpu: lane_use(&lanes.cpu),
            scratch: lane_use(&lanes.room),
            upload: lane_use(&lanes.upload),
            downloaded_bytes: 0,
        }
    }

    /// The settings with the options of the job on top.
    fn settings(&self, job: &Job) -> Result<Config, Failure> {
        let mut flags = self.flags.clone();
        let rules = job.task.options().iter().filter(|rule| !rule.setting.is_empty());
        flags.extend(rules.filter_map(|rule| {
            let value = job.options.get(rule.name)?.clone();
            Some(Flag { name: rule.name, key: rule.setting, value })
        }));
        let mut config = load(flags.clone(), self.cores).or_else(|_| {
            // Without the job's options they were right when the workshop began. If they no longer are,
            // somebody may be writing them just now.
            load(self.flags.clone(), self.cores).map_err(|failure| Failure { class: Class::Environment, ..failure })?;
            load(flags, self.cores)
        })?;
        // A request that hangs has to be known for one while the lease still runs, which was not renewed just now.
        config.stores.wire.stall = config.stores.wire.stall.min(config.worker.lease / 3);
        Ok(config)
    }

    async fn hls(&self, order: &Order, config: &Config, folder: &Path) -> Result<Value, Failure> {
        let bench = self.bench(order, &order.job, config, folder).await?;
        let crew = self.fleet.get().map(|fleet| fleet.crew(order, config, &bench.context) as Arc<dyn Crew>);
        let context = Context { crew, ..bench.context };
        let outcome = hls::run(&bench.item, &bench.settings, &context, order.report.as_ref()).await;
        context.journal.close().await;
        Ok(match outcome? {
            Outcome::Published { master, objects, bytes, seconds } => {
                json!({ "master": master, "objects": objects, "bytes": bytes, "seconds": seconds })
            }
            Outcome::AlreadyDone { master } => json!({ "master": master, "already-done": true }),
            Outcome::Would { what } => json!({ "would": what }),
        })
    }

    /// Makes a chunk of a film that another job leads.
    async fn chunk(&self, order: &Order, folder: &Path) -> Result<Value, Failure> {
        let fleet = self.fleet.get().ok_or_else(|| Failure::environment("this program takes no chunks"))?;
        let storage = self.config.stores.open(&order.job.to, Privacy::Public)?;
        let Some(chunk) = fleet.find(&order.job, &storage).await? else { return Ok(json!({ "over": true })) };
        allow(&chunk.film_job, &self.config)?;
        let config = self.settings(&chunk.film_job)?;
        let bench = self.bench(order, &chunk.film_job, &config, folder).await?;
        let made = fleet.make(&chunk, &bench, folder, order.report.as_ref()).await;
        bench.context.journal.close().await;
        made.map(|()| json!({ "chunk": chunk.number }))
    }

    /// What it takes to work on the video of `job`.
    async fn bench(&self, order: &Order, job: &Job, config: &Config, folder: &Path) -> Result<Bench, Failure> {
        let item = Item {
            id: job.id.clone(),
            title: job.title.clone(),
            priority: job.priority,
            ..Item::new(order.number, locator(&job.input, config)?)
        };
        let (encryption, keys) = keys::encryption(config, &job.to, &self.state)?;
        let settings = config.hls_settings(None, encryption)?;
        let storage = config.stores.open(&job.to, Privacy::Public)?;
        let reaching = SourceSettings { reach: config.worker.reach.clone(), ..source_settings(config) };
        let context = Context {
            lanes: self.lanes.clone(),
            sources: Sources::new(reaching, config.stores.clone())?,
            ffmpeg: find::ffmpeg(&config.tools.ffmpeg, &config.tools.ffprobe).await?,
            destination: storage.address("."),
            storage,
            keys,
            journal: Journal::open(folder).await?,
            scratch: folder.join("scratch"),
            force: job.force,
            dry_run: false,
            stop: order.stop.clone(),
            cancel: order.cancel.clone(),
            turns: Arc::clone(&self.turns),
            ids: Arc::clone(&self.ids),
            crew: None,
        };
        Ok(Bench { item, settings, context })
    }

    /// Shares long films with the other workers of `queue`, and takes chunks of theirs.
    pub async fn join(&self, queue: &Arc<dyn Queue>) {
        // Who cannot encode now makes no chunks; jobs say what is wrong.
        let Ok(ffmpeg) = find::ffmpeg(&self.config.tools.ffmpeg, &self.config.tools.ffprobe).await else { return };
        let Ok(settings) = self.config.hls_settings(None, None) else { return };
        let make = film::label(&settings, &ffmpeg.version);
        let fleet = Fleet::new(Arc::clone(queue), make, self.state.join("films"));
        // Once is enough.
        self.fleet.set(fleet).unwrap_or_default();
    }

    #[cfg(feature = "photos")]
    async fn photos(&self, order: &Order, config: &Config) -> Result<Value, Failure> {
        let rank = Rank { number: order.number, ..Rank::default() };
        let turn = order.stop.run_until_cancelled(self.album.acquire(rank, 1)).await;
        let _turn = turn.ok_or_else(Failure::stopped)?;
        let rank = Rank { priority: -i64::from(order.job.priority), ..rank };
        let share = Share::new(self.lanes.cpu.clone(), rank, Arc::clone(&self.turns));
        bulk::photos(config.clone(), order.clone(), self.state.clone(), share).await
    }

    #[cfg(not(feature = "photos"))]
    async fn photos(&self, _order: &Order, _config: &Config) -> Result<Value, Failure> {
        std::future::ready(Err(lacks("photos"))).await
    }

    #[cfg(feature = "stores")]
    async fn migrate(&self, order: &Order, config: &Config, folder: &Path) -> Result<Value, Failure> {
        bulk::migrate(config.clone(), order.clone(), folder.to_owned(), self.moving.clone()).await
    }

    #[cfg(not(feature = "stores"))]
    async fn migrate(&self, _order: &Order, _config: &Config, _folder: &Path) -> Result<Value, Failure> {
        std::future::ready(Err(lacks("stores"))).await
    }

    /// The job's own work folder, in which an earlier attempt may have left finished chunks.
    fn folder(&self, id: &str) -> Result<(PathBuf, Lock), Failure> {
        let jobs = self.state.join("jobs");
        for number in 0..MOST_FOLDERS {
            let name = if number == 0 { id.to_owned() } else { format!("{id}-{number}") };
            let folder = jobs.join(name);
            let taken = Lock::make(&folder)
                .map_err(|error| Failure::io(&format!("could not lock `{}`", folder.display()), &error))?;
            if let Some(lock) = taken {
                return Ok((folder, lock));
            }
        }
        Err(Failure::environment(format!("all work folders of job `{id}` are in use")))
    }
}

#[async_trait]
impl Runner for Workshop {
    async fn run(&self, order: &Order) -> Result<Value, Failure> {
        allow(&order.job, &self.config)?;
        let config = self.settings(&order.job)?;
        let (folder, lock) = self.folder(&order.id)?;
        self.folders().insert(order.id.clone(), (folder.clone(), lock));
        self.outages().insert(order.number, config.stores.outages.clone());
        let outcome = match order.job.task {
            Task::Hls => self.hls(order, &config, &folder).await,
            Task::Photos => self.photos(order, &config).await,
            Task::Migrate => self.migrate(order, &config, &folder).await,
            Task::Chunk => self.chunk(order, &folder).await,
        };
        self.outages().remove(&order.number);
        // Another attempt on this machine may begin as soon as the folder is free.
        if outcome.is_err() {
            self.folders().remove(&order.id);
        }
        outcome
    }

    fn waits(&self, number: u64) -> bool {
        let mine = |rank: &Rank| rank.number == number;
        let lanes = &self.lanes;
        let all = [&lanes.network, &lanes.disk, &lanes.cpu, &lanes.upload, &lanes.room, &lanes.backlog, &lanes.early];
        let leads = self.fleet.get().is_some_and(|fleet| fleet.waits(number));
        leads || all.into_iter().chain([&self.album]).any(|lane| lane.waits(mine))
    }

    fn make(&self) -> Option<String> {
        self.fleet.get().map(Fleet::make_of)
    }

    fn idle(&self) -> u64 {
        let cpu = self.lanes.cpu.stats();
        if cpu.waiting > 0 { 0 } else { cpu.capacity.saturating_sub(cpu.taken) }
    }

    fn outage(&self, number: u64) -> Option<Outage> {
        self.outages().get(&number)?.longest()
    }

    async fn forget(&self, id: &str) {
        if let Some(fleet) = self.fleet.get() {
            fleet.dismiss(id).await;
        }
        let held = self.folders().remove(id);
        let folder = held.as_ref().map_or_else(|| self.state.join("jobs").join(id), |(folder, _)| folder.clone());
        let gone = folder.clone();
        let removed = tokio::task::spawn_blocking(move || match held {
            Some((_, lock)) => lock.remove(&gone),
            // Whoever works there removes it.
            None => Lock::take(&gone)?.map_or(Ok(()), |lock| lock.remove(&gone)),
        });
        match removed.await {
            Ok(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(folder = %folder.display(), %error, "a work folder could not be removed");
            }
            _ => {}
        }
    }
}

impl Workshop {
    fn folders(&self) -> std::sync::MutexGuard<'_, HashMap<String, (PathBuf, Lock)>> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outages(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Outages>> {
        self.outages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(not(all(feature = "photos", feature = "stores")))]
fn lacks(feature: &str) -> Failure {
    Failure::environment(format!("this worker was built without the feature `{feature}`"))
}

/// A job's text comes from outside: it may use what the settings allow, and nothing else.
pub fn allow(job: &Job, config: &Config) -> Result<(), Failure> {
    if !config.worker.inputs.iter().any(|place| is_within(&job.input, place)) {
        return Err(Failure::permanent("this worker does not take jobs with that input")
            .hint("allow its beginning in `worker.inputs`, or with --allow-input"));
    }
    if !config.worker.outputs.iter().any(|place| is_within(&job.to, place)) {
        return Err(Failure::permanent("this worker does not publish there")
            .hint("allow the destination in `worker.outputs`, or with --to"));
    }
    Ok(())
}

/// Whether `text` is `place` or lies below it: the same scheme and host, and
/// whole names of a path. A place such as `https:` allows the whole scheme, but
/// for `WebDAV` and SFTP: the job would choose who gets the password.
fn is_within(text: &str, place: &str) -> bool {
    if let Some(store) = address_of_store(text) {
        let chooses = matches!(store, "webdav" | "webdavs" | "sftp");
        let whole = place.strip_suffix(':').is_some_and(|allowed| allowed == store && !chooses);
        // A store takes keys as they are written, so they are compared as they are written.
        let place = place.trim_end_matches('/');
        let rest = text.strip_prefix(place).filter(|_| place.len() > store.len() + 1);
        let below = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        return (whole || below) && !text.split('/').any(|part| part == "..");
    }
    if let Ok(url) = url::Url::parse(text) {
        if place.strip_suffix(':') == Some(url.scheme()) {
            return true;
        }
        let Ok(place) = url::Url::parse(place) else { return false };
        let same = url.scheme() == place.scheme()
            && url.host_str() == place.host_str()
            && url.port_or_known_default() == place.port_or_known_default();
        // `url` has resolved `..` in paths of web addresses; of others none is accepted.
        return same && below(Path::new(url.path()), Path::new(place.path().trim_end_matches('/')));
    }
    let Ok(place) = std::path::absolute(place) else { return false };
    std::path::absolute(text).is_ok_and(|path| below(&path, &place))
}

/// What stands before the colon of an address that is neither of the web nor a path: a scheme, or a name of the settings.
fn address_of_store(text: &str) -> Option<&str> {
    let (name, rest) = text.split_once(':')?;
    let scheme = rest.starts_with("//");
    (id::check(name) && !(scheme && matches!(name, "http" | "https" | "file"))).then_some(name)
}

fn below(path: &Path, place: &Path) -> bool {
    path.starts_with(place) && !path.components().any(|part| part == Component::ParentDir)
}

fn locator(input: &str, config: &Config) -> Result<Locator, Failure> {
    if config.stores.is_place(input)? {
        let (place, key) = list::place::split(input);
        return match key {
            "" => Err(Failure::permanent(format!("`{}` names no object", input.escape_debug()))),
            key => Ok(Locator::Object { place: place.into(), key: key.into() }),
        };
    }
    match url::Url::parse(input) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(Locator::Url(url)),
        Ok(url) => Err(Failure::permanent(format!("`{}:` is not an input of this version", url.scheme()))),
        Err(_) => Ok(Locator::File(input.into())),
    }
}

fn load(flags: Vec<Flag>, cores: NonZeroU64) -> Result<Config, Failure> {
    Config::load(&Surroundings::of_process(flags), cores).map_err(|error| {
        let hint = error.hint();
        let failure = Failure::permanent(error.to_string());
        hint.into_iter().fold(failure, Failure::hint)
    })
}

/// Removes work folders that have not been touched for long, unless somebody works there.
fn sweep(jobs: &Path) {
    for entry in std::fs::read_dir(jobs).into_iter().flatten().flatten() {
        let age = entry.metadata().and_then(|meta| meta.modified()).map(|time| time.elapsed().unwrap_or_default());
        let stale = age.is_ok_and(|age| age > STALE);
        if stale && let Ok(Some(lock)) = Lock::take(&entry.path()) {
            // One that stays is looked at again at the next start.
            lock.remove(&entry.path()).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_allow_what_lies_below_them_and_nothing_else() {
        for (text, place) in [
            ("https://a.example/x.mp4", "https:"),
            ("https://a.example/up/x.mp4", "https://a.example/up/"),
            ("https://a.example:443/up/x.mp4", "https://a.example/up"),
            ("/srv/video/cdn", "/srv/video"),
            ("/srv/video", "/srv/video/"),
            ("s3://bucket/a/b", "s3://bucket/a"),
            ("s3://bucket/a/b", "s3:"),
            ("s3://bucket/a?b#c", "s3://bucket/"),
            ("webdavs://h/a/b", "webdavs://h/a"),
            ("my_films:a.mp4", "my_films:"),
            ("films:a/b", "films:a"),
        ] {
            assert!(is_within(text, place), "{text} in {place}");
        }
        for (text, place) in [
            ("http://a.example/x.mp4", "https:"),
            ("https://a.example.evil/x", "https://a.example/"),
            ("https://a.example/upper/x", "https://a.example/up"),
            ("https://a.example/up/../x", "https://a.example/up"),
            ("/srv/video-private", "/srv/video"),
            ("/srv/video/../private", "/srv/video"),
            ("file:///etc/passwd", "/etc"),
            ("s3://other/a", "s3://bucket/a"),
            ("s3://bucket-2/a", "s3://bucket"),
            ("s3://bucket/a/../b", "s3://bucket/a"),
            ("s3://bucket/ab", "s3://bucket/a"),
            ("s3://bucket/a%2F..%2Fb", "s3://bucket/b"),
            ("webdavs://h/a", "webdavs:"),
            ("films:b", "films:a"),
            ("films:a", "s3:"),
            ("my_films:a", "/"),
            ("/etc/passwd", "https:"),
        ] {
            assert!(!is_within(text, place), "{text} in {place}");
        }
    }
}
