//! Values become settings that cannot be wrong.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::{Table, Value};

use super::error::ConfigError;
use super::layer::{Layers, Origin, Setting, shown};
use super::stores::is_secret;
use super::{Config, Effective, EncryptWish, Hls, Lanes, Network, Scratch, Tools, unit};
use crate::model::id;
use crate::model::secret::masked_url;
use crate::plan::language::Wanted;
use crate::plan::quality::Quality;
use crate::plan::settings::{Codec, Container, Limits, Method, Profile, Rung};

mod service;

/// x264's presets, quickest first.
const PRESETS: &[&str] =
    &["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo"];

/// What is wrong and what to do, for the caller to say where.
type Complaint = (String, String);

/// Checks all layers. `cores` is what `lanes.threads = 0` means.
pub(super) fn config(layers: &Layers, cores: NonZeroU64) -> Result<Config, ConfigError> {
    let read = Reader { layers };
    let rungs = read.rungs()?;
    let ladders = read.ladders(&rungs)?;
    Ok(Config {
        lanes: read.lanes(cores)?,
        scratch: read.scratch()?,
        hls: read.hls(&ladders, &rungs)?,
        network: read.network()?,
        limits: read.limits()?,
        photos: read.photos()?,
        gc_grace: read.time("gc.grace", 0.0..=3e9)?,
        migrate: read.migrate()?,
        mail: read.mail()?,
        tools: read.tools(),
        stores: read.stores()?,
        grace: read.time("shutdown.grace", 0.0..=3600.0)?,
        queue: read.queue()?,
        worker: read.worker()?,
        serve: read.serve()?,
        profile: read.profile()?,
        rungs,
        ladders,
        effective: layers
            .iter()
            .filter(|(key, _)| !key.starts_with("storage.example."))
            .map(|(key, setting)| effective(key, setting))
            .collect(),
    })
}

/// The rungs of a ladder's name, or of rung names with commas between.
pub(super) fn ladder(
    wanted: &str,
    ladders: &BTreeMap<String, Vec<Rung>>,
    rungs: &BTreeMap<String, Rung>,
) -> Result<Vec<Rung>, Complaint> {
    if let Some(ladder) = ladders.get(wanted) {
        return Ok(ladder.clone());
    }
    let named: Result<Vec<Rung>, Complaint> = wanted.split(',').map(|name| rung(name.trim(), rungs)).collect();
    named.and_then(distinct).map_err(|(what, hint)| {
        let hint = if wanted.contains(',') { hint } else { format!("{hint}; ladders: {}", names(ladders)) };
        (what, hint)
    })
}

fn rung(name: &str, rungs: &BTreeMap<String, Rung>) -> Result<Rung, Complaint> {
    let complaint = || (format!("there is no rung `{}`", name.escape_debug()), format!("rungs: {}", names(rungs)));
    rungs.get(name).cloned().ok_or_else(complaint)
}

fn distinct(rungs: Vec<Rung>) -> Result<Vec<Rung>, Complaint> {
    for (place, rung) in rungs.iter().enumerate() {
        let twin = rungs.iter().take(place).find(|one| one.name == rung.name || one.short_side == rung.short_side);
        if let Some(twin) = twin {
            let what = format!("rungs `{}` and `{}` of one ladder are the same", twin.name, rung.name);
            return Err((what, "give every rung a name and a size of its own".into()));
        }
    }
    if rungs.is_empty() {
        return Err(("a ladder has no rungs".into(), "give at least one rung, such as `720p`".into()));
    }
    Ok(rungs)
}

fn names<T>(map: &BTreeMap<String, T>) -> String {
    let mut names: Vec<&str> = map.keys().map(String::as_str).collect();
    names.sort_by_key(|name| (name.len(), *name));
    names.join(", ")
}

fn effective(key: &str, setting: &Setting) -> Effective {
    let value = match setting.value.as_str().and_then(|text| url::Url::parse(text).ok()) {
        // The address of a queue may carry a password.
        Some(url) if key == "queue.url" => Value::String(masked_url(&url)).to_string(),
        _ if is_secret(key) && setting.value.as_str() != Some("") => "***".into(),
        _ => setting.value.to_string(),
    };
    Effective { key: key.into(), value, origin: setting.origin.to_string() }
}

/// Reads one value after the other, each with its own rule.
pub(super) struct Reader<'a> {
    pub(super) layers: &'a Layers,
}

impl Reader<'_> {
    fn lanes(&self, cores: NonZeroU64) -> Result<Lanes, ConfigError> {
        Ok(Lanes {
            downloads: self.count("lanes.downloads", 1..=1000)?,
            uploads: self.count("lanes.uploads", 1..=1000)?,
            threads: NonZeroU64::new(self.whole("lanes.threads", 0..=4096)?).unwrap_or(cores),
            disk: self.count("lanes.disk", 1..=1000)?,
            look_ahead: self.count("lanes.look-ahead", 1..=100_000)?,
        })
    }

    fn scratch(&self) -> Result<Scratch, ConfigError> {
        let limit = self.bytes("scratch.limit")?;
        let limit = NonZeroU64::new(limit).ok_or_else(|| self.wrong("scratch.limit", "give a size such as `20GB`"))?;
        Ok(Scratch { folder: self.path("scratch.dir"), limit })
    }

    fn hls(&self, ladders: &BTreeMap<String, Vec<Rung>>, rungs: &BTreeMap<String, Rung>) -> Result<Hls, ConfigError> {
        let wanted = self.text("hls.ladder");
        ladder(wanted, ladders, rungs).map_err(|(what, hint)| self.wrong("hls.ladder", &format!("{what}; {hint}")))?;
        let container = match self.choice("hls.container", &["ts", "fmp4"])? {
            "fmp4" => Container::Fmp4,
            _ => Container::Ts,
        };
        let (dash, encrypt) = (self.switch("hls.dash"), self.method()?);
        self.fits_together(container, dash, encrypt)?;
        let copy_over = self.number("hls.copy-over", 0.1..=100.0)?;
        Ok(Hls {
            container,
            dash,
            codecs: self.codecs(container)?,
            keep_hdr: self.switch("hls.hdr"),
            audio: self.wanted("hls.audio")?,
            subtitles: self.wanted("hls.subtitles")?,
            loudness: self.loudness()?,
            i_frames: self.switch("hls.i-frames"),
            poster: self.switch("hls.poster"),
            storyboard: self.switch("hls.storyboard"),
            ladder: wanted.into(),
            segment_seconds: self.time("hls.segment", 1.0..=60.0)?.as_secs_f64(),
            key_frame_seconds: self.time("hls.key-frames", 0.5..=60.0)?.as_secs_f64(),
            copy_over: self.switch("hls.copy").then_some(copy_over),
            two_pass: self.switch("hls.two-pass"),
            quality: self.wanted_quality()?,
            audio_kbps: self.small("hls.audio-bitrate", 32..=512)?,
            encrypt: encrypt.map(|method| self.encrypt(method)).transpose()?,
            accept_damaged: self.switch("hls.accept-damaged"),
        })
    }

    fn method(&self) -> Result<Option<Method>, ConfigError> {
        Ok(match self.choice("hls.encrypt", &["none", "aes-128", "cbcs"])? {
            "aes-128" => Some(Method::Aes128),
            "cbcs" => Some(Method::Cbcs),
            _ => None,
        })
    }

    /// What one setting makes of another.
    fn fits_together(&self, container: Container, dash: bool, encrypt: Option<Method>) -> Result<(), ConfigError> {
        if encrypt == Some(Method::Cbcs) && container == Container::Ts {
            return Err(self.wrong("hls.encrypt", "`cbcs` needs `hls.container = \"fmp4\"` (--container fmp4)"));
        }
        if dash && container == Container::Ts {
            return Err(self.wrong("hls.dash", "DASH needs `hls.container = \"fmp4\"` (--container fmp4)"));
        }
        if dash && encrypt == Some(Method::Aes128) {
            return Err(
                self.wrong("hls.dash", "DASH has no whole-segment AES-128: take `--encrypt cbcs`, or no --dash")
            );
        }
        if self.switch("hls.i-frames") && encrypt == Some(Method::Aes128) {
            let wanted =
                "no part of a segment that is encrypted whole can be read: take `--encrypt cbcs`, or no --i-frames";
            return Err(self.wrong("hls.i-frames", wanted));
        }
        if encrypt == Some(Method::Cbcs) && self.whole("hls.rotate", 0..=1_000_000)? != 0 {
            return Err(self.wrong("hls.rotate", "`cbcs` has one key for a video: give 0"));
        }
        Ok(())
    }

    fn wanted(&self, key: &str) -> Result<Wanted, ConfigError> {
        let wanted = Wanted::parse(self.text(key));
        wanted.ok_or_else(|| self.wrong(key, "give `all`, `none`, or languages such as `en,de`"))
    }

    fn loudness(&self) -> Result<Option<f64>, ConfigError> {
        let text = self.text("hls.loudness");
        let number = text.parse().ok().filter(|loudness| (-70.0..=-5.0).contains(loudness));
        match (text, number) {
            ("", _) => Ok(None),
            (_, Some(loudness)) => Ok(Some(loudness)),
            _ => Err(self.wrong("hls.loudness", "give LUFS from -70 to -5, such as `-23`, or nothing")),
        }
    }

    fn wanted_quality(&self) -> Result<Option<Quality>, ConfigError> {
        let text = self.text("hls.quality");
        let quality = Quality::parse(text);
        match quality {
            None if !text.is_empty() => Err(self.wrong("hls.quality", "give `vmaf=93`, `ssim=0.98`, or nothing")),
            Some(_) if self.switch("hls.two-pass") => {
                Err(self.wrong("hls.quality", "two passes aim at bits, not at quality: give one of the two"))
            }
            quality => Ok(quality),
        }
    }

    fn codecs(&self, container: Container) -> Result<Vec<Codec>, ConfigError> {
        let known = [Codec::H264, Codec::Hevc, Codec::Av1];
        let mut codecs = Vec::new();
        for name in self.text("hls.codec").split(',').map(str::trim) {
            let codec = known.into_iter().find(|codec| codec.name() == name);
            match codec.filter(|codec| !codecs.contains(codec)) {
                Some(codec) => codecs.push(codec),
                None => return Err(self.wrong("hls.codec", "give h264, hevc, av1, or several with commas between")),
            }
        }
        if codecs != [Codec::H264] && container == Container::Ts {
            return Err(self.wrong("hls.codec", "HEVC and AV1 need `hls.container = \"fmp4\"` (--container fmp4)"));
        }
        if codecs != [Codec::H264] && self.switch("hls.two-pass") {
            return Err(
                self.wrong("hls.two-pass", "two passes are made of H.264: give `--codec h264`, or no --two-pass")
            );
        }
        Ok(codecs)
    }

    fn encrypt(&self, method: Method) -> Result<EncryptWish, ConfigError> {
        let (key_uri, rotate) = (self.text("hls.key-uri"), self.whole("hls.rotate", 0..=1_000_000)?);
        // The URI stands between quotes in a playlist, one line each.
        let unfit = |character: char| character.is_control() || character.is_whitespace() || character == '"';
        if !key_uri.contains("{key}") || key_uri.contains(unfit) {
            let wanted = "say where players get keys, such as `--key-uri https://example.org/keys/{key}`; \
                          {key} becomes the key's name";
            return Err(self.wrong("hls.key-uri", wanted));
        }
        Ok(EncryptWish { method, key_uri: key_uri.into(), keys: self.path("hls.keys"), rotate })
    }

    pub(super) fn network(&self) -> Result<Network, ConfigError> {
        let user_agent = match self.text("network.user-agent") {
            "" => concat!("forebay/", env!("CARGO_PKG_VERSION")),
            other => other,
        };
        if user_agent.bytes().any(|byte| !(b' '..=b'~').contains(&byte)) {
            return Err(self.wrong("network.user-agent", "give one line of plain letters"));
        }
        Ok(Network {
            user_agent: user_agent.into(),
            connect_timeout: self.time("network.connect-timeout", 0.1..=600.0)?,
            min_rate: self.bytes("network.min-rate")?,
            slow_window: self.time("network.slow-window", 0.1..=3600.0)?,
            retries: self.small("network.retries", 0..=1000)?,
            longest_wait: self.time("network.longest-wait", 0.0..=86_400.0)?,
            connections_per_file: self.small_count("network.connections-per-file", 1..=64)?,
            format: self.text("network.format").into(),
        })
    }

    fn limits(&self) -> Result<Limits, ConfigError> {
        Ok(Limits {
            pixels: self.whole("limits.pixels", 1..=1 << 40)?,
            streams: self.whole("limits.streams", 1..=100_000)?,
            seconds: self.time("limits.duration", 0.001..=3e9)?.as_secs_f64(),
            bytes: self.bytes("limits.bytes")?,
        })
    }

    /// A list of texts; one empty text, as the environment gives it, is an empty list.
    fn texts(&self, key: &str) -> Result<Vec<String>, ConfigError> {
        let parts = self.setting(key).value.as_array().cloned().unwrap_or_default();
        let texts: Option<Vec<String>> = parts.iter().map(|part| part.as_str().map(String::from)).collect();
        let texts = texts.ok_or_else(|| self.wrong(key, "give a list of texts"))?;
        Ok(texts.into_iter().filter(|text| !text.is_empty()).collect())
    }

    fn tools(&self) -> Tools {
        let tool = |key, name: &str| self.path(key).unwrap_or_else(|| PathBuf::from(name));
        Tools {
            ffmpeg: tool("tools.ffmpeg", "ffmpeg"),
            ffprobe: tool("tools.ffprobe", "ffprobe"),
            yt_dlp: self.path("tools.yt-dlp"),
        }
    }

    fn profile(&self) -> Result<Profile, ConfigError> {
        let known = self.names_in("profiles");
        for name in &known {
            self.profile_named(name)?;
        }
        let name = self.text("hls.profile");
        if !known.iter().any(|one| one == name) {
            return Err(self.wrong("hls.profile", &format!("give one of: {}", known.join(", "))));
        }
        self.profile_named(name)
    }

    fn profile_named(&self, name: &str) -> Result<Profile, ConfigError> {
        let key = |field: &str| format!("profiles.{name}.{field}");
        self.complete("profiles", name, &["preset", "x264", "crf-shift", "rate"])?;
        let x264 = self.text(&key("x264"));
        if x264.contains(|character: char| character.is_control() || character.is_whitespace()) {
            return Err(self.wrong(&key("x264"), "give x264 settings such as `aq-mode=3:rc-lookahead=20`"));
        }
        Ok(Profile {
            name: name.into(),
            preset: self.choice(&key("preset"), PRESETS)?.into(),
            x264: x264.into(),
            crf_shift: self.number(&key("crf-shift"), -20.0..=20.0)?,
            rate: self.number(&key("rate"), 0.1..=10.0)?,
        })
    }

    fn rungs(&self) -> Result<BTreeMap<String, Rung>, ConfigError> {
        let rung = |name: String| {
            let key = |field: &str| format!("rungs.{name}.{field}");
            self.complete("rungs", &name, &["short-side", "crf", "max-bitrate"])?;
            let rung = Rung {
                short_side: self.small(&key("short-side"), 32..=8192)?,
                crf: self.number(&key("crf"), 0.0..=51.0)?,
                max_kbps: self.small(&key("max-bitrate"), 16..=1_000_000)?,
                name: name.clone(),
            };
            Ok((name, rung))
        };
        self.names_in("rungs").into_iter().map(rung).collect()
    }

    fn ladders(&self, rungs: &BTreeMap<String, Rung>) -> Result<BTreeMap<String, Vec<Rung>>, ConfigError> {
        let ladder = |name: String| {
            let key = format!("ladders.{name}");
            let parts = self.setting(&key).value.as_array().cloned().unwrap_or_default();
            let ladder = parts.iter().map(|part| match part {
                Value::String(name) => rung(name, rungs),
                Value::Table(table) => rung_of_table(table),
                other => Err((format!("`{other}` is no rung"), "give names, or tables as in the default file".into())),
            });
            let ladder = ladder.collect::<Result<_, _>>().and_then(distinct);
            let ladder = ladder.map_err(|(what, hint)| self.wrong(&key, &format!("{what}; {hint}")))?;
            Ok((name, ladder))
        };
        self.names_in("ladders").into_iter().map(ladder).collect()
    }

    /// The names the user or the defaults give inside an open section.
    fn names_in(&self, section: &str) -> Vec<String> {
        let name = |key: &str| Some(key.strip_prefix(section)?.strip_prefix('.')?.split('.').next()?.to_owned());
        let mut names: Vec<String> = self.layers.iter().filter_map(|(key, _)| name(key)).collect();
        names.dedup();
        names
    }

    /// A rung or profile of the user's own must have all its fields.
    fn complete(&self, section: &str, name: &str, fields: &[&str]) -> Result<(), ConfigError> {
        let missing = fields.iter().find(|field| self.layers.get(&format!("{section}.{name}.{field}")).is_none());
        let Some(missing) = missing else { return Ok(()) };
        let begun = fields.iter().find_map(|field| self.layers.get(&format!("{section}.{name}.{field}")));
        Err(ConfigError::Incomplete {
            key: format!("{section}.{name}"),
            field: (*missing).into(),
            origin: begun.map_or(Origin::Default, |setting| setting.origin.clone()),
        })
    }

    fn setting(&self, key: &str) -> &Setting {
        self.layers.get(key).expect("every key that is read is in the defaults, which a test checks")
    }

    pub(super) fn wrong(&self, key: &str, wanted: &str) -> ConfigError {
        let Setting { value, origin } = self.setting(key).clone();
        ConfigError::Wrong { key: key.into(), value: shown(&value), origin, wanted: wanted.into() }
    }

    fn text(&self, key: &str) -> &str {
        self.setting(key).value.as_str().unwrap_or_default()
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        Some(self.text(key)).filter(|text| !text.is_empty()).map(PathBuf::from)
    }

    fn switch(&self, key: &str) -> bool {
        self.setting(key).value.as_bool().unwrap_or_default()
    }

    fn choice(&self, key: &str, known: &[&str]) -> Result<&str, ConfigError> {
        let text = self.text(key);
        let wrong = || self.wrong(key, &format!("give one of: {}", known.join(", ")));
        if known.contains(&text) { Ok(text) } else { Err(wrong()) }
    }

    pub(super) fn whole(&self, key: &str, range: RangeInclusive<u64>) -> Result<u64, ConfigError> {
        let value = self.setting(key).value.as_integer().and_then(|value| u64::try_from(value).ok());
        let wanted = || format!("give a whole number from {} to {}", range.start(), range.end());
        value.filter(|value| range.contains(value)).ok_or_else(|| self.wrong(key, &wanted()))
    }

    pub(super) fn small(&self, key: &str, range: RangeInclusive<u32>) -> Result<u32, ConfigError> {
        let value = self.whole(key, u64::from(*range.start())..=u64::from(*range.end()))?;
        Ok(u32::try_from(value).expect("the range ends at a u32"))
    }

    fn count(&self, key: &str, range: RangeInclusive<u64>) -> Result<NonZeroU64, ConfigError> {
        Ok(NonZeroU64::new(self.whole(key, range)?).expect("the range begins at 1"))
    }

    fn small_count(&self, key: &str, range: RangeInclusive<u32>) -> Result<NonZeroU32, ConfigError> {
        Ok(NonZeroU32::new(self.small(key, range)?).expect("the range begins at 1"))
    }

    fn number(&self, key: &str, range: RangeInclusive<f64>) -> Result<f64, ConfigError> {
        let value = self.setting(key).value.as_float();
        let wanted = || format!("give a number from {} to {}", range.start(), range.end());
        value.filter(|value| range.contains(value)).ok_or_else(|| self.wrong(key, &wanted()))
    }

    pub(super) fn bytes(&self, key: &str) -> Result<u64, ConfigError> {
        unit::bytes(self.text(key)).ok_or_else(|| self.wrong(key, "give a size such as `20GB` or `500MiB`"))
    }

    pub(super) fn time(&self, key: &str, range: RangeInclusive<f64>) -> Result<Duration, ConfigError> {
        let time = unit::time(self.text(key));
        let time = time.ok_or_else(|| self.wrong(key, "give a time with its unit, such as `6s` or `1.5m`"))?;
        let wanted = || format!("give a time from {} s to {} s", range.start(), range.end());
        Some(time).filter(|time| range.contains(&time.as_secs_f64())).ok_or_else(|| self.wrong(key, &wanted()))
    }
}

/// A rung written out inside a ladder.
fn rung_of_table(table: &Table) -> Result<Rung, Complaint> {
    let fields = "name, short-side, crf, max-bitrate";
    let complaint = |what: String| (what, format!("a rung has exactly {fields}"));
    let field = |name: &str| table.get(name).ok_or_else(|| complaint(format!("a rung lacks `{name}`")));
    if let Some(odd) = table.keys().find(|key| !fields.split(", ").any(|field| field == key.as_str())) {
        return Err(complaint(format!("a rung has no `{}`", odd.escape_debug())));
    }
    let whole = |name: &str, range: RangeInclusive<u32>| {
        let value = field(name)?.as_integer().and_then(|value| u32::try_from(value).ok());
        let wanted = || complaint(format!("`{name}` of a rung is not from {} to {}", range.start(), range.end()));
        value.filter(|value| range.contains(value)).ok_or_else(wanted)
    };
    let name = field("name")?.as_str().filter(|name| id::check(name));
    let crf = field("crf")?;
    let crf = crf.as_float().or_else(|| crf.as_integer().and_then(|whole| i32::try_from(whole).ok()).map(f64::from));
    Ok(Rung {
        name: name.ok_or_else(|| complaint("the name of a rung is not plain letters and digits".into()))?.into(),
        short_side: whole("short-side", 32..=8192)?,
        crf: crf
            .filter(|crf| (0.0..=51.0).contains(crf))
            .ok_or_else(|| complaint("`crf` of a rung is not from 0 to 51".into()))?,
        max_kbps: whole("max-bitrate", 16..=1_000_000)?,
    })
}

mod photo;

#[cfg(test)]
mod tests;
