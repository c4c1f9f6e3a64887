//! `forebay serve` from its request to its end: the server, and a worker beside it.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::check::{VerifyRequest, check};
use super::run_job::Workshop;
use super::{make_folder, queue, state_folder, worker};
use crate::config::Config;
use crate::config::layer::{Flag, Surroundings};
use crate::engine::live::Live;
use crate::engine::stop::Stop;
use crate::engine::worker::{News, Order, Runner, work};
use crate::model::failure::Failure;
use crate::scratch::file::Privacy;
use crate::storage::outage::Outage;
use crate::web::server::Server;
use crate::web::store::Store;
use crate::web::{Parts, Service, WebSettings, now};

/// How often the lanes are looked at for the timeline.
const SECOND: Duration = Duration::from_secs(1);

/// What `forebay serve` was asked to do.
#[derive(Clone, Debug)]
pub struct ServeRequest {
    /// The flags that are settings.
    pub flags: Vec<Flag>,
    /// What `lanes.threads = 0` means.
    pub cores: NonZeroU64,
    /// The state folder, if the user chose one.
    pub state: Option<PathBuf>,
    /// Do no jobs: other workers do.
    pub no_worker: bool,
}

/// What a server says when it begins.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The address to open.
    pub address: String,
    /// Where videos go.
    pub to: String,
    /// Its queue, with no password.
    pub queue: String,
    /// Whether nobody needs a token.
    pub open: bool,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// The server's own memory in the state folder.
pub async fn store(state: Option<&Path>) -> Result<Store, Failure> {
    Store::open(&state_folder(state, None)).await
}

/// Serves until a signal comes.
pub async fn serve(
    request: ServeRequest,
    tell: impl FnOnce(&Opening),
    listener: &mut (dyn FnMut(&News) + Send),
) -> Result<(), Failure> {
    let state = std::path::absolute(state_folder(request.state.as_deref(), None))
        .map_err(|error| Failure::io("could not find the state folder", &error))?;
    make_folder(&state, "state")?;
    let (flags, settings) = prepare(&request, &state)?;
    let workshop = Arc::new(Workshop::new(flags, request.cores, state.clone())?);
    let config = workshop.config().clone();
    let mut stop = Stop::on_signals(config.worker.grace)
        .map_err(|error| Failure::environment(format!("signals cannot be caught: {error}")))?;
    let queue = queue::open(&config).await?;
    let keys = key_folder(&request, &state)?;
    let store = Store::open(&state).await?;
    let live = Arc::new(Live::new(now()));
    let opening = Opening {
        address: String::new(),
        to: settings.to.clone(),
        queue: queue.address(),
        open: !store.has_tokens().await?,
        warnings: queue.warnings().await.unwrap_or_default(),
    };
    let parts = Parts {
        settings,
        queue: Arc::clone(&queue),
        live: Arc::clone(&live),
        store,
        keys: Some(config.stores.open(&keys.to_string_lossy(), Privacy::Private)?),
        service: Arc::new(Checker { config: config.clone(), keys }),
        stop: stop.begin.child_token(),
    };
    let server = Server::bind(parts).await?;
    tell(&Opening { address: server.address(), ..opening });
    let (begun, now) = (stop.begin.clone(), stop.now.clone());
    let watched = Arc::new(Watched { workshop: Arc::clone(&workshop), live: Arc::clone(&live) });
    let (watched, exporter) = worker::traced(watched, &config)?;
    let working = async {
        if request.no_worker {
            while !begun.is_cancelled() {
                stop.step().await;
            }
        } else {
            workshop.join(&queue).await;
            work(queue, watched, worker::settings(&config, false), stop, listener).await;
        }
    };
    let serving = async {
        server.run().await;
        // A server that ended by itself takes the worker along.
        begun.cancel();
    };
    tokio::join!(working, serving, sample(&workshop, &live, &begun));
    now.cancel();
    worker::told(exporter).await;
    Ok(())
}

/// The flags with what the server adds, and the server's own settings.
fn prepare(request: &ServeRequest, state: &Path) -> Result<(Vec<Flag>, WebSettings), Failure> {
    let config = load(request.flags.clone(), request.cores)?;
    let serve = config.serve.clone();
    let absolute = |path: &str| {
        let path = std::path::absolute(path).map_err(|error| Failure::io("could not find the destination", &error))?;
        path.to_str().map(String::from).ok_or_else(|| Failure::permanent("the destination is not UTF-8"))
    };
    let is_folder = |to: &str| !to.contains("://") && config.stores.is_folder(to);
    let to = match serve.to.as_str() {
        "" => absolute(&state.join("media").to_string_lossy())?,
        to if is_folder(to) => absolute(to)?,
        to => to.to_owned(),
    };
    let media = is_folder(&to).then(|| PathBuf::from(&to));
    if let Some(media) = &media {
        make_folder(media, "media")?;
    }
    let uploads = state.join("uploads");
    let mut flags = request.flags.clone();
    let uploads_text = uploads.to_str().ok_or_else(|| Failure::permanent("the state folder is not UTF-8"))?;
    for (key, mut places, place) in [
        ("worker.inputs", config.worker.inputs.clone(), uploads_text),
        ("worker.outputs", config.worker.outputs.clone(), to.as_str()),
    ] {
        places.push(place.to_owned());
        if places.iter().any(|place| place.contains(',')) {
            return Err(Failure::permanent("the name of a folder holds a comma").hint("choose another with --state"));
        }
        flags.push(Flag { name: "serve", key, value: places.join(",") });
    }
    if config.queue.url.is_empty() {
        let value = format!("sqlite:{}", state.join("queue.db").display());
        flags.push(Flag { name: "serve", key: "queue.url", value });
    }
    let settings = WebSettings {
        listen: serve.listen,
        public_url: serve.public_url,
        hosts: serve.hosts,
        origins: serve.origins,
        to,
        media,
        media_url: serve.media_url,
        public_media: serve.public_media,
        uploads,
        upload_limit: serve.upload_limit,
        upload_room: serve.upload_room,
        upload_keep: serve.upload_keep.as_secs(),
        rate: serve.rate.get(),
        reach: serve.reach,
        keep: config.queue.keep.as_secs(),
    };
    Ok((flags, settings))
}

/// Where jobs that encrypt put key files.
fn key_folder(request: &ServeRequest, state: &Path) -> Result<PathBuf, Failure> {
    let mut flags = request.flags.clone();
    for (key, value) in [("hls.encrypt", "aes-128"), ("hls.key-uri", "{key}")] {
        flags.push(Flag { name: "serve", key, value: value.into() });
    }
    let config = load(flags, request.cores)?;
    Ok(config.hls.encrypt.and_then(|wish| wish.keys).unwrap_or_else(|| state.join("keys")))
}

fn load(flags: Vec<Flag>, cores: NonZeroU64) -> Result<Config, Failure> {
    Config::load(&Surroundings::of_process(flags), cores).map_err(|error| {
        let hint = error.hint();
        hint.into_iter().fold(Failure::permanent(error.to_string()), Failure::hint)
    })
}

/// A workshop whose jobs are shown on the board.
struct Watched {
    workshop: Arc<Workshop>,
    live: Arc<Live>,
}

#[async_trait]
impl Runner for Watched {
    async fn run(&self, order: &Order) -> Result<Value, Failure> {
        let (live, id, report) = (Arc::clone(&self.live), order.id.clone(), Arc::clone(&order.report));
        let seen = Order {
            id: order.id.clone(),
            job: order.job.clone(),
            number: order.number,
            stop: order.stop.clone(),
            cancel: order.cancel.clone(),
            report: Arc::new(move |what| {
                live.hear(&id, &what);
                report(what);
            }),
        };
        self.live.began(&order.id);
        let outcome = self.workshop.run(&seen).await;
        self.live.ended(&order.id);
        outcome
    }

    fn waits(&self, number: u64) -> bool {
        self.workshop.waits(number)
    }

    fn make(&self) -> Option<String> {
        self.workshop.make()
    }

    fn idle(&self) -> u64 {
        self.workshop.idle()
    }

    fn outage(&self, number: u64) -> Option<Outage> {
        self.workshop.outage(number)
    }

    async fn forget(&self, id: &str) {
        self.workshop.forget(id).await;
    }
}

async fn sample(workshop: &Workshop, live: &Live, stop: &CancellationToken) {
    let begun = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SECOND) => live.sample(&workshop.usage(begun.elapsed().as_secs_f64())),
        }
    }
}

/// Checks packages for the page.
struct Checker {
    config: Config,
    keys: PathBuf,
}

#[async_trait]
impl Service for Checker {
    async fn verify(&self, master: &str) -> Result<Value, Failure> {
        let keys = self.keys.is_dir().then(|| self.keys.clone());
        let request =
            VerifyRequest { package: master.into(), source: None, keys, decode: None, apple: false, strict: false };
        let (config, runtime) = (self.config.clone(), tokio::runtime::Handle::current());
        // The check reads many files, and what it holds meanwhile cannot move between threads.
        let checked = tokio::task::spawn_blocking(move || runtime.block_on(check(&config, request)));
        let verdict = checked.await.map_err(|error| Failure::environment(error.to_string()))??;
        Ok(json!({ "right": verdict.right, "text": verdict.text, "report": verdict.json }))
    }
}
