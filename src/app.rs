//! Builds the whole program from settings: the only file that knows every part.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use crate::config::{Config, EncryptWish};
use crate::engine::dispatcher::{self, SettingsOf};
use crate::engine::stop::Stop;
use crate::engine::{Listener, Summary};
use crate::job::{Context, Lanes};
use crate::model::failure::Failure;
use crate::model::item::Item;
use crate::model::secret::Secret;
use crate::pipeline::lane::Lane;
use crate::plan::settings::{Encryption, HlsSettings};
use crate::scratch::file::{self, Privacy};
use crate::scratch::journal::Journal;
use crate::scratch::lock::Lock;
use crate::source::{SourceSettings, Sources};
use crate::storage::{self, Storage};
use crate::tool::find;

/// The environment variable with the master key, in hex.
pub const MASTER_KEY_VARIABLE: &str = "FOREBAY_MASTER_KEY";

/// Bytes of a master key that is made here.
const MASTER_KEY_BYTES: usize = 32;

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
    let state = request.state.clone().unwrap_or_else(|| default_state(&request.to));
    make_folder(&state, "state")?;
    let taken =
        Lock::take(&state).map_err(|error| Failure::io(&format!("could not lock `{}`", state.display()), &error))?;
    let _lock = taken.ok_or_else(|| {
        Failure::environment(format!("another run is using the state folder `{}`", state.display()))
            .hint("wait for it, or give this one a state folder of its own with --state")
    })?;
    let (encryption, keys) = encryption(config, &request.to, &state)?;
    let context = Arc::new(context(config, &request, &state, keys, &stop).await?);
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
    keys: Option<Arc<dyn Storage>>,
    stop: &Stop,
) -> Result<Context, Failure> {
    let scratch = config.scratch.folder.clone().unwrap_or_else(|| state.join("scratch"));
    make_folder(&scratch, "scratch")?;
    let storage = storage::open(&request.to, Privacy::Public)?;
    Ok(Context {
        lanes: lanes(config),
        sources: Sources::new(source_settings(config))?,
        ffmpeg: find::ffmpeg(&config.tools.ffmpeg, &config.tools.ffprobe).await?,
        destination: storage.address("."),
        storage,
        keys,
        journal: Journal::open(state).await?,
        scratch,
        force: request.force,
        dry_run: request.dry_run,
        stop: stop.begin.clone(),
        cancel: stop.now.clone(),
        turns: AtomicU64::new(0),
        ids: Mutex::new(HashMap::new()),
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
        ytdlp: config.tools.yt_dlp.clone(),
        ytdlp_format: network.format.clone(),
    }
}

fn settings_of(config: Config, encryption: Option<Encryption>) -> Arc<SettingsOf> {
    Arc::new(move |item: &Item| -> Result<HlsSettings, Failure> {
        config.hls_settings(item.ladder.as_deref(), encryption.clone())
    })
}

/// `.forebay` beside a folder; for everything else, and where that cannot be, the user's state folder.
pub fn default_state(to: &str) -> PathBuf {
    let destination = std::path::absolute(to).unwrap_or_else(|_| to.into());
    match destination.parent() {
        Some(parent) if !to.contains("://") => parent.join(".forebay"),
        _ => {
            let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
            let state = std::env::var_os("XDG_STATE_HOME").map_or_else(|| home.join(".local/state"), PathBuf::from);
            state.join("forebay")
        }
    }
}

fn make_folder(folder: &Path, what: &str) -> Result<(), Failure> {
    file::make_folder(folder, Privacy::Public)
        .map_err(|error| Failure::io(&format!("could not make the {what} folder `{}`", folder.display()), &error))
}

type Keys = (Option<Encryption>, Option<Arc<dyn Storage>>);

/// The master key and the store for key files, if packages are encrypted.
fn encryption(config: &Config, to: &str, state: &Path) -> Result<Keys, Failure> {
    let Some(wish) = &config.hls.encrypt else { return Ok((None, None)) };
    let folder = key_folder(wish, to, state)?;
    let master_key = match std::env::var(MASTER_KEY_VARIABLE) {
        Ok(text) => read_key(&text).ok_or_else(|| {
            Failure::permanent(format!("`{MASTER_KEY_VARIABLE}` is not a key"))
                .hint("give 32 to 128 hex digits: `openssl rand -hex 32`")
        })?,
        Err(_) => kept_key(&folder.join("master.key"))?,
    };
    let keys = storage::open(&folder.to_string_lossy(), Privacy::Private)?;
    Ok((Some(wish.with_master_key(master_key)), Some(keys)))
}

/// The folder for keys, which must not be where everybody can fetch them.
fn key_folder(wish: &EncryptWish, to: &str, state: &Path) -> Result<PathBuf, Failure> {
    let folder = wish.keys.clone().unwrap_or_else(|| state.join("keys"));
    file::make_folder(&folder, Privacy::Private)
        .map_err(|error| Failure::io(&format!("could not make the key folder `{}`", folder.display()), &error))?;
    let real = |path: &Path| {
        std::fs::canonicalize(path).or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.into())
    };
    if real(&folder).starts_with(real(Path::new(to))) {
        return Err(Failure::permanent(format!("the key folder `{}` is inside the destination", folder.display()))
            .hint("everyone who can fetch the videos could fetch the keys: choose another folder with --keys"));
    }
    Ok(folder)
}

/// The master key kept in `path`, made there the first time.
fn kept_key(path: &Path) -> Result<Secret, Failure> {
    let problem =
        |what: &str, error: &std::io::Error| Failure::io(&format!("could not {what} `{}`", path.display()), error);
    match std::fs::read_to_string(path) {
        Ok(text) => read_key(&text).ok_or_else(|| {
            Failure::environment(format!("`{}` does not hold a key", path.display()))
                .hint("restore it from a backup: packages that are published need it")
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut bytes = vec![0; MASTER_KEY_BYTES];
            getrandom::fill(&mut bytes)
                .map_err(|error| Failure::environment(format!("the system gives no random bytes: {error}")))?;
            let text = format!("{}\n", hex::encode(&bytes));
            file::write(path, text.as_bytes(), Privacy::Private).map_err(|error| problem("write", &error))?;
            Ok(Secret::new(bytes))
        }
        Err(error) => Err(problem("read", &error)),
    }
}

fn read_key(text: &str) -> Option<Secret> {
    hex::decode(text.trim()).ok().filter(|bytes| (16..=64).contains(&bytes.len())).map(Secret::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_master_key_is_made_once_and_kept_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        let made = kept_key(&path).unwrap();
        assert_eq!(kept_key(&path).unwrap(), made);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn keys_are_not_put_where_the_videos_are() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("cdn");
        let wish = |keys: &Path| EncryptWish { key_uri: "k".into(), keys: Some(keys.into()), rotate: 0 };
        assert!(key_folder(&wish(&to.join("keys")), &to.to_string_lossy(), folder.path()).is_err());
        assert!(key_folder(&wish(&folder.path().join("keys")), &to.to_string_lossy(), folder.path()).is_ok());
    }
}
