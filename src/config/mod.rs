//! Files, environment and flags become checked settings.
//!
//! Two passes: [`layer`] finds the strongest value of every key and remembers
//! who set it; [`check`] turns them into a [`Config`] that cannot be wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use crate::model::address::Reach;
use crate::model::failure::Failure;
use crate::plan::language::Wanted;
use crate::plan::photo::PhotoSettings;
use crate::plan::quality::Quality;
use crate::plan::settings::{Codec, Container, Encryption, HlsSettings, Limits, Method, Profile, Rung};
use crate::storage::open::{Stores, Variables};

pub mod error;
pub mod layer;
pub mod unit;

mod check;
mod stores;

/// All settings, complete and checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// How much happens at the same time.
    pub lanes: Lanes,
    /// Where work lies meanwhile.
    pub scratch: Scratch,
    /// What a package is like.
    pub hls: Hls,
    /// How to behave towards servers.
    pub network: Network,
    /// What is refused.
    pub limits: Limits,
    /// How pictures are to be.
    pub photos: PhotoSettings,
    /// What is younger at a destination is never swept.
    pub gc_grace: Duration,
    /// How objects move from store to store.
    pub migrate: Migrate,
    /// How messages are sent.
    pub mail: Mail,
    /// The programs we start.
    pub tools: Tools,
    /// The places that keep objects.
    pub stores: Stores,
    /// How long running work may go on after the first Ctrl-C.
    pub grace: Duration,
    /// Where jobs wait.
    pub queue: Queue,
    /// How a worker works.
    pub worker: Worker,
    /// How the server serves.
    pub serve: Serve,
    rungs: BTreeMap<String, Rung>,
    ladders: BTreeMap<String, Vec<Rung>>,
    profile: Profile,
    effective: Vec<Effective>,
}

/// Permits of the lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lanes {
    /// Connections that download.
    pub downloads: NonZeroU64,
    /// Objects that are being stored.
    pub uploads: NonZeroU64,
    /// Encoder threads.
    pub threads: NonZeroU64,
    /// Folder reads and writes.
    pub disk: NonZeroU64,
    /// Items in flight.
    pub look_ahead: NonZeroU64,
}

/// The work folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scratch {
    /// Where it is; `None` is `scratch` in the state folder.
    pub folder: Option<PathBuf>,
    /// Bytes that may be in use.
    pub limit: NonZeroU64,
}

/// What the user wants of a package, short of the parts that [`Config::hls_settings`] gives.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a wish of its own")]
pub struct Hls {
    /// A ladder's name, or rungs with commas between. Checked.
    pub ladder: String,
    /// Wanted length of a segment in seconds.
    pub segment_seconds: f64,
    /// Longest time between key frames in seconds.
    pub key_frame_seconds: f64,
    /// Cut from the source what conforms, up to this many times a rung's cap; `None` encodes always.
    pub copy_over: Option<f64>,
    /// Two passes instead of capped quality.
    pub two_pass: bool,
    /// The quality that is searched for, if one is asked for.
    pub quality: Option<Quality>,
    /// Bitrate of stereo AAC.
    pub audio_kbps: u32,
    /// What segments are.
    pub container: Container,
    /// A manifest of MPEG-DASH too.
    pub dash: bool,
    /// The codecs of the picture.
    pub codecs: Vec<Codec>,
    /// Keep HDR where the codec can.
    pub keep_hdr: bool,
    /// The tracks of sound to keep.
    pub audio: Wanted,
    /// The tracks of text to keep.
    pub subtitles: Wanted,
    /// Loudness of the sound in LUFS.
    pub loudness: Option<f64>,
    /// Playlists of key frames.
    pub i_frames: bool,
    /// A still picture.
    pub poster: bool,
    /// Small pictures of all of it.
    pub storyboard: bool,
    /// Encryption, if asked for.
    pub encrypt: Option<EncryptWish>,
    /// Publish what can be decoded of a damaged source.
    pub accept_damaged: bool,
}

/// Encryption as asked for: everything but the master key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptWish {
    /// Whole segments, or samples.
    pub method: Method,
    /// Template of the key's URI in playlists, with `{key}` and perhaps `{id}`.
    pub key_uri: String,
    /// Folder that receives the key files; `None` is `keys` in the state folder.
    pub keys: Option<PathBuf>,
    /// A new key every so many segments; 0 keeps one.
    pub rotate: u64,
}

/// How to behave towards servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Sent with every request.
    pub user_agent: String,
    /// Longest time to wait for a connection.
    pub connect_timeout: Duration,
    /// Fewest bytes a second over [`Self::slow_window`]; 0 accepts any rate.
    pub min_rate: u64,
    /// The time over which the rate is judged.
    pub slow_window: Duration,
    /// Further tries after a failure that may pass.
    pub retries: u32,
    /// Longest wait between two tries.
    pub longest_wait: Duration,
    /// Connections for one file.
    pub connections_per_file: NonZeroU32,
    /// What to ask yt-dlp for.
    pub format: String,
}

/// How objects move from store to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrate {
    /// Objects on their way at once.
    pub transfers: u64,
    /// Most bytes a second, if there is a limit.
    pub bandwidth: Option<u64>,
    /// Have ffprobe look into sound and film.
    pub probe: bool,
    /// The catalog of jobs from a queue; empty if such jobs are not taken.
    pub catalog: String,
}

/// How messages are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The server's name; empty if there is none.
    pub server: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected: `starttls`, `implicit` or `none`.
    pub tls: String,
    /// A file of certificates that are trusted too.
    pub authority: Option<PathBuf>,
    /// Who to log in as; empty if nobody.
    pub user: String,
    /// A file with the password.
    pub password_file: Option<PathBuf>,
    /// The sender's address.
    pub from: String,
    /// Most bytes of a message.
    pub limit: u64,
}

/// The programs we start: paths, or bare names that are looked up in `PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tools {
    /// ffmpeg.
    pub ffmpeg: PathBuf,
    /// ffprobe.
    pub ffprobe: PathBuf,
    /// yt-dlp; `None` is the one that `make setup` installs, else the one in `PATH`.
    pub yt_dlp: Option<PathBuf>,
}

/// Where jobs wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Its address, perhaps with a password; empty is a file in the state folder.
    pub url: String,
    /// How long jobs that are over are remembered.
    pub keep: Duration,
}

/// How a worker works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Its name; empty is the machine's and the process's.
    pub name: String,
    /// What it has.
    pub labels: BTreeSet<String>,
    /// Jobs at once.
    pub slots: NonZeroU64,
    /// How long a job may go without progress.
    pub lease: Duration,
    /// Films of at least this length are shared with other workers.
    pub share_after: Duration,
    /// The wait before a second attempt.
    pub retry_wait: Duration,
    /// How long to take no jobs after this machine failed several.
    pub bench: Duration,
    /// How long running work may go on after SIGTERM.
    pub grace: Duration,
    /// Beginnings of inputs that jobs may name.
    pub inputs: Vec<String>,
    /// Beginnings of destinations that jobs may name.
    pub outputs: Vec<String>,
    /// How far downloads of jobs reach.
    pub reach: Reach,
    /// The collector that hears of spans, if there is one.
    pub otlp: Option<url::Url>,
}

/// How the server serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serve {
    /// Where it listens.
    pub listen: SocketAddr,
    /// How people and players reach it.
    pub public_url: Option<url::Url>,
    /// Further names under which it may be asked for.
    pub hosts: BTreeSet<String>,
    /// Origins of pages that may fetch media and keys.
    pub origins: BTreeSet<String>,
    /// Where jobs publish if they do not say; empty is a folder in the state folder.
    pub to: String,
    /// Where players find media that are in no folder.
    pub media_url: Option<url::Url>,
    /// Everybody may fetch media.
    pub public_media: bool,
    /// Largest upload.
    pub upload_limit: u64,
    /// Bytes of all uploads together.
    pub upload_room: u64,
    /// How long an upload is kept that nobody used.
    pub upload_keep: Duration,
    /// Requests a second that one token may send.
    pub rate: NonZeroU32,
    /// How far webhooks reach.
    pub reach: Reach,
}

/// One setting for `forebay config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// Its key.
    pub key: String,
    /// Its value in TOML.
    pub value: String,
    /// Who set it.
    pub origin: String,
}

impl Config {
    /// Reads and checks all layers. `cores` is what `lanes.threads = 0` means.
    pub fn load(surroundings: &layer::Surroundings, cores: NonZeroU64) -> Result<Self, error::ConfigError> {
        let layers = layer::Layers::read(surroundings)?;
        let mut config = check::config(&layers, cores)?;
        let bundle = surroundings.variables.iter().find(|(name, value)| name == "AWS_CA_BUNDLE" && !value.is_empty());
        config.stores.wire.ca_bundle = bundle.map(|(_, path)| path.into());
        config.stores.variables = Variables::new(&surroundings.variables);
        Ok(config)
    }

    /// The rungs of a ladder's name or of a list such as `360p,720p`.
    pub fn ladder(&self, wanted: &str) -> Result<Vec<Rung>, Failure> {
        check::ladder(wanted, &self.ladders, &self.rungs).map_err(|(what, hint)| Failure::permanent(what).hint(hint))
    }

    /// What shapes the bytes of one item's package. `ladder` is the item's own, if its list gives one.
    pub fn hls_settings(&self, ladder: Option<&str>, encryption: Option<Encryption>) -> Result<HlsSettings, Failure> {
        Ok(HlsSettings {
            rungs: self.ladder(ladder.unwrap_or(&self.hls.ladder))?,
            profile: self.profile.clone(),
            segment_seconds: self.hls.segment_seconds,
            key_frame_seconds: self.hls.key_frame_seconds,
            copy_over: self.hls.copy_over,
            two_pass: self.hls.two_pass,
            quality: self.hls.quality,
            audio_kbps: self.hls.audio_kbps,
            container: self.hls.container,
            dash: self.hls.dash,
            codecs: self.hls.codecs.clone(),
            keep_hdr: self.hls.keep_hdr,
            audio: self.hls.audio.clone(),
            subtitles: self.hls.subtitles.clone(),
            loudness: self.hls.loudness,
            i_frames: self.hls.i_frames,
            poster: self.hls.poster,
            storyboard: self.hls.storyboard,
            encryption,
            accept_damaged: self.hls.accept_damaged,
            limits: self.limits,
        })
    }

    /// Every setting with its value and who set it, by key.
    pub fn effective(&self) -> &[Effective] {
        &self.effective
    }
}

impl EncryptWish {
    /// The wish with the master key that makes it possible.
    pub fn with_master_key(&self, master_key: crate::model::secret::Secret) -> Encryption {
        Encryption { method: self.method, master_key, key_uri: self.key_uri.clone(), rotate: self.rotate }
    }
}
