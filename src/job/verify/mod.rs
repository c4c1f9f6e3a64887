//! Checks a published package, ours or anybody's, against the rules of HLS.
//!
//! Playlists are read first, then every segment once, several at a time. What
//! is kept of a segment are facts of a few bytes; the rules look at those. No
//! URL is ever given to ffmpeg, and nothing outside the package's folder is
//! opened, whatever its playlists say.

pub mod finding;
pub mod render;
pub mod rules;

mod address;
mod compare;
mod dash;
mod decode;
mod fetch;
mod inside;
mod inspect;
mod key;
mod likeness;
mod manifest;
mod master_rules;
mod mp4;
mod names;
mod package;
mod picture;
mod picture_rules;
mod playlist_rules;
mod segment;
mod sound_rules;
mod source;
mod stored;
mod text_rules;
mod time_rules;
mod trick;
mod vtt;

use std::path::PathBuf;

use futures_util::StreamExt as _;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::model::failure::Failure;
use crate::model::secret::Secret;
use crate::storage::store::Store;

use crate::format::playlist::attribute::short;
use address::Address;
use fetch::{Fetch, Folder, PLAYLIST, Web};
use finding::{Finding, Findings};
use package::{Package, Rendition};
use rules::{Needs, RULES};
use stored::Stored;

/// Where a package is.
#[derive(Clone)]
pub enum Location {
    /// A master playlist on this machine, or a folder with a `master.m3u8`.
    Path(PathBuf),
    /// The URL of a master playlist, http or https.
    Url(Url),
    /// An object in a store, or the usual names where none is given.
    Store(Store, Option<String>),
}

impl Location {
    /// A URL if it begins like one, else a path.
    pub fn parse(text: &str) -> Self {
        match Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => Self::Url(url),
            _ => Self::Path(PathBuf::from(text)),
        }
    }
}

/// Which segments of each rendition are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decode {
    /// None.
    Nothing,
    /// The first, the middle and the last.
    Sample,
    /// All.
    All,
}

/// How to check.
#[derive(Clone, Debug)]
pub struct VerifyOptions {
    /// Folder of 16-byte key files, named as the last part of the key's URI, perhaps with `.key`.
    pub keys: Option<PathBuf>,
    /// The key of all that has none in the folder.
    pub key: Option<Secret>,
    /// The file that the package was made from.
    pub source: Option<PathBuf>,
    /// Which segments are decoded.
    pub decode: Decode,
    /// Whether Apple's own rules bind.
    pub apple: bool,
    /// Segments that are read at once.
    pub at_once: usize,
    /// The ffprobe to run for `source` and `decode`.
    pub ffprobe: PathBuf,
    /// The ffmpeg that shows the pictures and plays the sound for `source`.
    pub ffmpeg: PathBuf,
    /// Ends the check early.
    pub cancel: CancellationToken,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Report {
    /// What must not be.
    pub violations: Vec<Finding>,
    /// What should not be, or could not be looked into.
    pub warnings: Vec<Finding>,
    /// Rules that were checked.
    pub rules: usize,
    /// Segments that were read.
    pub segments: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Length by the longest playlist.
    pub seconds: f64,
}

/// Checks the package. Fails only if the master playlist cannot be read, or a tool or the source is missing.
pub async fn verify(package: Location, options: VerifyOptions) -> Result<Report, Failure> {
    let cancel = options.cancel.clone();
    tokio::select! {
        report = open_and_check(package, &options) => report,
        () = cancel.cancelled() => Err(Failure::stopped()),
    }
}

async fn open_and_check(location: Location, options: &VerifyOptions) -> Result<Report, Failure> {
    match location {
        Location::Path(path) => {
            let (folder, address) = fetch::blocking(move || Folder::open(&path)).await?;
            let loaded = folder.read(&address, None, PLAYLIST).await;
            let loaded =
                loaded.map_err(|error| Failure::environment(format!("could not read `{}`: {error}", address.path)))?;
            check(&folder, address, loaded, options).await
        }
        Location::Store(store, name) => {
            let (stored, address, loaded) = Stored::open(store, name.as_deref()).await?;
            check(&stored, address, loaded, options).await
        }
        Location::Url(url) => {
            let (web, address, loaded) = Web::open(&url).await?;
            check(&web, address, loaded, options).await
        }
    }
}

async fn check(
    fetch: &dyn Fetch,
    address: Address,
    loaded: fetch::Loaded,
    options: &VerifyOptions,
) -> Result<Report, Failure> {
    let mut findings = Findings::default();
    if dash::is_manifest(&loaded.bytes) {
        return check_manifest(fetch, address, loaded, options).await;
    }
    names::playlist(&address, loaded.kind.as_deref(), &mut findings);
    let mut package = Package::read(fetch, address, &loaded.bytes, &mut findings).await;
    drop(loaded);
    let keys = key::collect(fetch, &package, options, &mut findings).await;
    key::check(fetch, &package, &keys, &mut findings);
    let at_once = options.at_once.max(1);
    look_at_inits(fetch, &keys, &mut package, &mut findings).await;
    look_at_segments(fetch, &keys, &mut package, at_once, &mut findings).await;
    playlist_rules::check(&package, &mut findings);
    master_rules::check(fetch, &package, &mut findings);
    picture_rules::check(&package, &mut findings);
    sound_rules::check(&package, &mut findings);
    time_rules::check(&package, &mut findings);
    text_rules::check(&package, &mut findings);
    trick::check(fetch, &package, &mut findings).await;
    dash::check_beside(&dash::Tools { fetch, keys: &keys, at_once }, &mut package, &mut findings).await;
    let listed = manifest::check(fetch, &package, at_once, &mut findings).await;
    manifest::check_folder(fetch, &package, &keys, &listed, &mut findings).await;
    finish(fetch, &package, &keys, options, findings).await
}

/// A DASH manifest by itself.
async fn check_manifest(
    fetch: &dyn Fetch,
    address: Address,
    loaded: fetch::Loaded,
    options: &VerifyOptions,
) -> Result<Report, Failure> {
    let mut findings = Findings::default();
    let mut package = Package::empty(address.clone());
    let keys = key::Keys::default();
    let tools = dash::Tools { fetch, keys: &keys, at_once: options.at_once.max(1) };
    dash::check(&tools, &mut package, &address, &loaded.bytes, &mut findings).await;
    sound_rules::check(&package, &mut findings);
    finish(fetch, &package, &keys, options, findings).await
}

/// What takes ffmpeg, and the report.
async fn finish(
    fetch: &dyn Fetch,
    package: &Package,
    keys: &key::Keys,
    options: &VerifyOptions,
    mut findings: Findings,
) -> Result<Report, Failure> {
    let tool = (options.ffprobe.as_path(), &options.cancel);
    if options.decode != Decode::Nothing {
        decode::check(fetch, package, keys, (options.decode, tool), &mut findings).await?;
    }
    if let Some(source) = &options.source {
        let bench = compare::Bench { fetch, keys, ffmpeg: &options.ffmpeg, cancel: &options.cancel };
        source::check(&bench, package, source, tool, &mut findings).await?;
    }
    Ok(report(package, findings, options))
}

/// Reads every segment once and keeps the facts.
async fn look_at_segments(
    fetch: &dyn Fetch,
    keys: &key::Keys,
    package: &mut Package,
    at_once: usize,
    findings: &mut Findings,
) {
    for at in 0..package.renditions.len() {
        let Some(rendition) = package.renditions.get(at) else { continue };
        // What was read for another list is not read again.
        let looks = futures_util::stream::iter(0..rendition.places.len())
            .map(|index| async move {
                match rendition.facts.get(index).cloned().flatten() {
                    Some(facts) => segment::Look { facts: Some(facts), findings: Findings::default() },
                    None => segment::look(fetch, keys, rendition, index).await,
                }
            })
            .buffered(at_once);
        let looks: Vec<_> = looks.collect().await;
        let mut facts: Vec<_> = Vec::new();
        for look in looks {
            findings.append(look.findings);
            facts.push(look.facts);
        }
        let Package { renditions, referred, .. } = &mut *package;
        let Some(rendition) = renditions.get_mut(at) else { continue };
        for (place, facts) in rendition.places.iter().zip(&facts) {
            if let (Some(place), Some(sum)) = (place, facts.as_ref().and_then(|facts| facts.sum)) {
                referred.insert(place.path.clone(), Some(sum));
            }
        }
        facts.resize_with(rendition.media.segments.len(), || None);
        rendition.facts = facts;
        settle_times(rendition);
    }
}

/// Reads the init sections that segments need.
async fn look_at_inits(fetch: &dyn Fetch, keys: &key::Keys, package: &mut Package, findings: &mut Findings) {
    let Package { renditions, tricks, .. } = package;
    for rendition in renditions.iter_mut().chain(tricks) {
        rendition.inits = segment::read_inits(fetch, keys, rendition, findings).await;
    }
}

/// Makes times run on over the edges of segments, and gives lone pictures a length.
fn settle_times(rendition: &mut Rendition) {
    let step = master_rules::videos(rendition).find(|video| video.pictures > 1);
    let step = step.map_or(0, |video| video.times.end - video.times.last);
    let mut before = None;
    for inside in rendition.facts.iter_mut().flatten().filter_map(|facts| facts.inside.as_mut()) {
        if let Some(before) = before {
            inside.run_on_from(before);
        }
        let unknown = |video: &&mut inside::Video| video.pictures == 1 && video.times.end == video.times.last;
        if let Some(video) = inside.video.as_mut().filter(unknown) {
            video.times.end = video.times.last + step;
        }
        before = inside.times().map(|times| times.start).or(before);
    }
}

fn report(package: &Package, findings: Findings, options: &VerifyOptions) -> Report {
    let facts = package.renditions.iter().flat_map(|rendition| rendition.facts.iter().flatten());
    let (segments, bytes) = facts.fold((0, 0), |(count, bytes), facts| (count + 1, bytes + facts.bytes));
    let skipped = |needs: Needs| match needs {
        Needs::Nothing => false,
        Needs::Decoding => options.decode == Decode::Nothing,
        Needs::Source => options.source.is_none(),
    };
    let (violations, warnings) = findings.finish(options.apple);
    Report {
        violations,
        warnings,
        rules: RULES.iter().filter(|rule| !skipped(rule.needs)).count(),
        segments,
        bytes,
        seconds: package.renditions.iter().map(Rendition::seconds).fold(0.0, f64::max),
    }
}

/// An error with all its reasons in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut reason = error.source();
    while let Some(inner) = reason {
        text = format!("{text}: {inner}");
        reason = inner.source();
    }
    text
}
