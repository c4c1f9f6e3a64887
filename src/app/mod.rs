//! Builds the whole program from settings: the only file that knows every part.

#[cfg(feature = "stores")]
mod apart;
#[cfg(any(feature = "photos", feature = "stores"))]
mod bulk;
pub mod check;
pub mod explain;
mod film;
pub mod gc;
pub mod keys;
#[cfg(feature = "stores")]
pub mod migrate;
#[cfg(feature = "photos")]
pub mod photos;
pub mod queue;
pub mod run_job;
#[cfg(feature = "serve")]
pub mod serve;
pub mod store_check;
pub mod worker;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::Config;
use crate::engine::dispatcher::{self, SettingsOf};
use crate::engine::stop::Stop;
use crate::engine::{Listener, Summary};
use crate::job::{Context, Lanes};
use crate::model::address::Reach;
use crate::model::failure::Failure;
use crate::model::item::Item;
use crate::pipeline::lane::Lane;
use crate::plan::settings::{Codec, Encryption, HlsSettings};
use crate::scratch::file::{self, Privacy};
use crate::scratch::journal::Journal;
use crate::scratch::lock::Lock;
use crate::source::list::{self, Entry};
use crate::source::{SourceSettings, Sources};
use crate::storage::store::Store;
use crate::tool::find;

/// One run of `forebay hls`.
#[derive(Clone, Debug)]
pub struct HlsRequest {
    /// What to make.
    pub items: Vec<Item>,
    /// Where to.
    pub to: String,
    /// The state folder, if the user chose one.
    pub state: Option<PathBuf>,
    /// Make again what is there already.
    pub force: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// Runs `request` to its end.
pub async fn hls(config: &Config, request: HlsRequest, listener: &mut dyn Listener) -> Result<Summary, Failure> {
    let stop = Stop::on_signals(config.grace)
        .map_err(|error| Failure::environment(format!("signals cannot be caught: {error}")))?;
    // Before a state folder is made beside the destination.
    let storage = config.stores.open(&request.to, Privacy::Public)?;
    let beside = Some(request.to.as_str()).filter(|to| config.stores.is_folder(to));
    let state = state_folder(request.state.as_deref(), beside);
    make_folder(&state, "state")?;
    let taken =
        Lock::take(&state).map_err(|error| Failure::io(&format!("could not lock `{}`", state.display()), &error))?;
    let _lock = taken.ok_or_else(|| {
        Failure::environment(format!("another run is using the state folder `{}`", state.display()))
            .hint("wait for it, or give this one a state folder of its own with --state")
    })?;
    let (encryption, keys) = keys::encryption(config, &request.to, &state)?;
    let context = Arc::new(context(config, &request, &state, (storage, keys), &stop).await?);
    let settings_of = settings_of(config.clone(), encryption);
    let look_ahead = usize::try_from(config.lanes.look_ahead.get()).unwrap_or(usize::MAX);
    let summary = dispatcher::run(request.items, Arc::clone(&context), settings_of, look_ahead, stop, listener).await;
    context.journal.close().await;
    Ok(summary)
}

async fn context(
    config: &Config,
    request: &HlsRequest,
    state: &Path,
    (storage, keys): (Store, Option<Store>),
    stop: &Stop,
) -> Result<Context, Failure> {
    let scratch = config.scratch.folder.clone().unwrap_or_else(|| state.join("scratch"));
    make_folder(&scratch, "scratch")?;
    let ffmpeg = find::ffmpeg(&config.tools.ffmpeg, &config.tools.ffprobe).await?;
    if config.hls.codecs != [Codec::H264] {
        let wanted: Vec<&str> = config.hls.codecs.iter().map(|codec| codec.encoder()).collect();
        find::encoders(&ffmpeg.ffmpeg, &wanted).await?;
    }
    if let Some(quality) = config.hls.quality {
        find::metric(&ffmpeg.ffmpeg, quality.metric).await?;
    }
    Ok(Context {
        lanes: lanes(config),
        sources: Sources::new(source_settings(config), config.stores.clone())?,
        ffmpeg,
        destination: storage.address("."),
        storage,
        keys,
        journal: Journal::open(state).await?,
        scratch,
        force: request.force,
        dry_run: request.dry_run,
        stop: stop.begin.clone(),
        cancel: stop.now.clone(),
        turns: Arc::default(),
        ids: Arc::default(),
        crew: None,
    })
}

fn lanes(config: &Config) -> Lanes {
    let (threads, uploads) = (config.lanes.threads.get(), config.lanes.uploads.get());
    Lanes {
        network: Lane::new(config.lanes.downloads.get()),
        disk: Lane::new(config.lanes.disk.get()),
        cpu: Lane::new(threads),
        upload: Lane::new(uploads),
        room: Lane::new(config.scratch.limit.get()),
        // A chunk in work for every thread, and as many again on their way out.
        backlog: Lane::new(threads * 2 + uploads),
        early: Lane::new(threads),
    }
}

fn source_settings(config: &Config) -> SourceSettings {
    let network = &config.network;
    SourceSettings {
        user_agent: network.user_agent.clone(),
        connect_timeout: network.connect_timeout,
        min_bytes_per_second: network.min_rate,
        slow_window: network.slow_window,
        retries: network.retries,
        longest_wait: network.longest_wait,
        connections_per_file: u64::from(network.connections_per_file.get()),
        max_bytes: config.limits.bytes,
        tools: (
            find::program("ffmpeg", &config.tools.ffmpeg).unwrap_or_else(|| "ffmpeg".into()),
            find::program("ffprobe", &config.tools.ffprobe).unwrap_or_else(|| "ffprobe".into()),
        ),
        limits: config.limits,
        ytdlp: config.tools.yt_dlp.clone().unwrap_or_default(),
        ytdlp_format: network.format.clone(),
        // The user of this machine may go wherever the machine can.
        reach: Reach::Anywhere,
    }
}

fn settings_of(config: Config, encryption: Option<Encryption>) -> Arc<SettingsOf> {
    Arc::new(move |item: &Item| -> Result<HlsSettings, Failure> {
        config.hls_settings(item.ladder.as_deref(), encryption.clone())
    })
}

/// Where work state lies: as asked, else `.forebay` beside a folder, else the user's state folder.
pub fn state_folder(state: Option<&Path>, to: Option<&str>) -> PathBuf {
    if let Some(state) = state {
        return state.to_path_buf();
    }
    let beside = to.and_then(|to| {
        let destination = std::path::absolute(to).ok()?;
        destination.parent().map(|parent| parent.join(".forebay"))
    });
    beside.unwrap_or_else(|| {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
        home.unwrap_or_else(std::env::temp_dir).join("forebay")
    })
}

/// Reads inputs and lists, one entry a video or bad line.
pub async fn inputs(config: &Config, inputs: &[OsString], lists: &[OsString]) -> Result<Vec<Entry>, Failure> {
    list::read(inputs, lists, &config.stores).await
}

fn make_folder(folder: &Path, what: &str) -> Result<(), Failure> {
    let failure = |error: std::io::Error| {
        Failure::io(&format!("could not make the {what} folder `{}`", folder.display()), &error)
    };
    file::make_folder(folder, Privacy::Public).map_err(failure)?;
    let shared = std::env::temp_dir().join("forebay");
    if folder.starts_with(&shared) && !file::is_ours_alone(&shared).map_err(failure)? {
        // Everybody may make folders there, also before us.
        let what = format!("`{}` belongs to somebody else, or others may write there", shared.display());
        return Err(Failure::environment(what).hint("choose a folder of your own with --state, or set HOME"));
    }
    Ok(())
}
