//! Options that several commands share, and the settings they stand for.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::PathBuf;

use super::trouble::Trouble;
use crate::config::Config;
use crate::config::layer::{Flag, Surroundings};
use crate::model::job::HLS_OPTIONS;

/// What shapes a package.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "The package")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct PackageArgs {
    /// Renditions to make: rungs such as `360p,720p,1080p`, or a ladder of the settings.
    #[arg(long, value_name = "RUNGS|NAME")]
    ladder: Option<String>,
    /// `fast`, `balanced`, `small`, or a profile of the settings.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Exact average bitrates instead of capped quality; takes more CPU.
    #[arg(long)]
    two_pass: bool,
    /// The quality of every rendition, found from samples of each film: `vmaf=93` or `ssim=0.98`.
    #[arg(long, value_name = "METRIC=N")]
    quality: Option<String>,
    /// Encode also what could be cut from the source as it is.
    #[arg(long)]
    no_copy: bool,
    /// Length of a segment, such as `6s`.
    #[arg(long, value_name = "TIME")]
    segment: Option<String>,
    /// What segments are: `ts` or `fmp4` (CMAF).
    #[arg(long, value_name = "CONTAINER")]
    container: Option<String>,
    /// A manifest of MPEG-DASH too, for the same segments; needs fmp4.
    #[arg(long)]
    dash: bool,
    /// Codecs of the picture, a ladder for each, such as `h264,hevc,av1`; those after h264 need fmp4.
    #[arg(long, value_name = "CODECS")]
    codec: Option<String>,
    /// Make SDR of HDR in HEVC and AV1 too, as in H.264.
    #[arg(long)]
    no_hdr: bool,
    /// Languages of sound to keep, such as `en,de`: the first is played; `none` drops all.
    #[arg(long, value_name = "LANGUAGES")]
    audio: Option<String>,
    /// Languages of subtitles to keep, such as `en,de`, or `none`.
    #[arg(long, value_name = "LANGUAGES")]
    subtitles: Option<String>,
    /// Loudness of every track of sound in LUFS, such as -23 (EBU R128).
    #[arg(long, value_name = "LUFS", allow_hyphen_values = true)]
    loudness: Option<String>,
    /// Playlists of key frames, for fast forward.
    #[arg(long)]
    i_frames: bool,
    /// A still picture, poster.jpg.
    #[arg(long)]
    poster: bool,
    /// Small pictures of all of it, storyboard.vtt.
    #[arg(long)]
    storyboard: bool,
    /// Publish what can be decoded of a damaged source instead of failing.
    #[arg(long)]
    accept_damaged: bool,
}

/// How much happens at the same time, and where.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "The machine")]
pub(super) struct MachineArgs {
    /// Connections that download at the same time.
    #[arg(long, value_name = "N")]
    downloads: Option<String>,
    /// Objects that are stored at the same time.
    #[arg(long, value_name = "N")]
    uploads: Option<String>,
    /// Encoder threads in all; 0 takes every core.
    #[arg(long, value_name = "N")]
    threads: Option<String>,
    /// Where sources and chunks lie while they are worked on.
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Downloads wait when this much scratch space is in use, such as `20GB`.
    #[arg(long, value_name = "SIZE")]
    scratch_limit: Option<String>,
}

/// Encryption of the segments.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Encryption")]
pub(super) struct EncryptArgs {
    /// `aes-128` encrypts whole segments, `cbcs` samples (fmp4); `none` is the default.
    #[arg(long, value_name = "METHOD")]
    encrypt: Option<String>,
    /// Where players get a key: a URI with {key} for its name and, if wanted, {id} for the video's.
    #[arg(long, value_name = "TEMPLATE")]
    key_uri: Option<String>,
    /// Folder that receives the key files; never inside the destination.
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// A new key every N segments; 0 keeps one for the whole video.
    #[arg(long, value_name = "N")]
    rotate: Option<String>,
}

/// Which queue.
#[derive(Debug, Default, clap::Args)]
pub(super) struct QueueArgs {
    /// Where jobs wait: `sqlite:PATH`, `redis://HOST` or `amqp://HOST`. A password belongs in `FOREBAY_QUEUE__URL`.
    #[arg(long, value_name = "URL", global = true)]
    queue: Option<String>,
}

impl QueueArgs {
    /// Adds what was given.
    pub(super) fn add_to(&self, flags: &mut Flags) {
        flags.text("--queue", "queue.url", self.queue.as_ref());
    }
}

/// Collects flags that were given as settings.
#[derive(Clone, Debug, Default)]
pub(super) struct Flags(Vec<Flag>);

impl Flags {
    /// A text, if it was given.
    pub(super) fn text(&mut self, name: &'static str, key: &'static str, value: Option<&String>) {
        self.0.extend(value.map(|value| Flag { name, key, value: value.clone() }));
    }

    fn path(&mut self, name: &'static str, key: &'static str, value: Option<&PathBuf>) -> Result<(), Trouble> {
        let text = value.map(|path| path.to_str().ok_or_else(|| Trouble::usage(format!("{name} is not UTF-8"))));
        self.text(name, key, text.transpose()?.map(String::from).as_ref());
        Ok(())
    }

    /// Texts, if any were given. The setting is written with commas between them.
    pub(super) fn list(&mut self, name: &'static str, key: &'static str, values: &[String]) -> Result<(), Trouble> {
        if values.iter().any(|value| value.contains(',')) {
            return Err(Trouble::usage(format!("{name} holds a comma")).hint("write it into the settings file"));
        }
        self.text(name, key, (!values.is_empty()).then(|| values.join(",")).as_ref());
        Ok(())
    }

    /// All of them.
    pub(super) fn into_flags(self) -> Vec<Flag> {
        self.0
    }

    /// A setting that is on.
    pub(super) fn switch(&mut self, name: &'static str, key: &'static str, on: bool) {
        self.text(name, key, on.then(|| "true".to_owned()).as_ref());
    }

    /// All of them as options of a job. What a job cannot say is an error, not a wish that is forgotten.
    fn options(self) -> Result<BTreeMap<&'static str, String>, Trouble> {
        let option = |flag: Flag| match HLS_OPTIONS.iter().find(|rule| rule.setting == flag.key) {
            Some(rule) => Ok((rule.name, flag.value)),
            None => Err(Trouble::usage(format!("{} cannot be given with a job", flag.name))),
        };
        self.0.into_iter().map(option).collect()
    }

    /// The settings with these flags on top.
    pub(super) fn config(self) -> Result<Config, Trouble> {
        Ok(Config::load(&Surroundings::of_process(self.0), cores())?)
    }
}

impl PackageArgs {
    /// Adds what was given.
    pub(super) fn add_to(&self, flags: &mut Flags) {
        flags.text("--ladder", "hls.ladder", self.ladder.as_ref());
        flags.text("--profile", "hls.profile", self.profile.as_ref());
        flags.text("--segment", "hls.segment", self.segment.as_ref());
        flags.text("--container", "hls.container", self.container.as_ref());
        flags.switch("--dash", "hls.dash", self.dash);
        flags.text("--codec", "hls.codec", self.codec.as_ref());
        flags.text("--no-hdr", "hls.hdr", self.no_hdr.then(|| "false".to_owned()).as_ref());
        flags.text("--audio", "hls.audio", self.audio.as_ref());
        flags.text("--subtitles", "hls.subtitles", self.subtitles.as_ref());
        flags.text("--loudness", "hls.loudness", self.loudness.as_ref());
        flags.switch("--i-frames", "hls.i-frames", self.i_frames);
        flags.switch("--poster", "hls.poster", self.poster);
        flags.switch("--storyboard", "hls.storyboard", self.storyboard);
        flags.switch("--two-pass", "hls.two-pass", self.two_pass);
        flags.text("--quality", "hls.quality", self.quality.as_ref());
        flags.text("--no-copy", "hls.copy", self.no_copy.then(|| "false".to_owned()).as_ref());
        flags.switch("--accept-damaged", "hls.accept-damaged", self.accept_damaged);
    }

    /// What was given, as options of a job.
    pub(super) fn options(&self) -> Result<BTreeMap<&'static str, String>, Trouble> {
        let mut flags = Flags::default();
        self.add_to(&mut flags);
        flags.options()
    }
}

impl MachineArgs {
    /// Adds what was given.
    pub(super) fn add_to(&self, flags: &mut Flags) -> Result<(), Trouble> {
        flags.text("--downloads", "lanes.downloads", self.downloads.as_ref());
        flags.text("--uploads", "lanes.uploads", self.uploads.as_ref());
        flags.text("--threads", "lanes.threads", self.threads.as_ref());
        flags.text("--scratch-limit", "scratch.limit", self.scratch_limit.as_ref());
        flags.path("--scratch", "scratch.dir", self.scratch.as_ref())
    }
}

impl EncryptArgs {
    /// Adds what was given.
    pub(super) fn add_to(&self, flags: &mut Flags) -> Result<(), Trouble> {
        flags.text("--encrypt", "hls.encrypt", self.encrypt.as_ref());
        flags.text("--key-uri", "hls.key-uri", self.key_uri.as_ref());
        flags.text("--rotate", "hls.rotate", self.rotate.as_ref());
        flags.path("--keys", "hls.keys", self.keys.as_ref())
    }

    /// What was given, as options of a job. Where keys are kept is the worker's business.
    pub(super) fn options(&self) -> Result<BTreeMap<&'static str, String>, Trouble> {
        if self.keys.is_some() {
            return Err(Trouble::usage("--keys names a folder of the worker").hint("set `hls.keys` there"));
        }
        let mut flags = Flags::default();
        self.add_to(&mut flags)?;
        flags.options()
    }
}

/// Cores this process may use, by affinity and control groups.
pub(super) fn cores() -> NonZeroU64 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u64::try_from(cores).ok().and_then(NonZeroU64::new).unwrap_or(NonZeroU64::MIN)
}
