//! Checks a published package, ours or anybody's, against the rules of HLS.
//!
//! Playlists are read first, then every segment once, several at a time. What
//! is kept of a segment are facts of a few bytes; the rules look at those. No
//! URL is ever given to ffmpeg, and nothing outside the package's folder is
//! opened, whatever its playlists say.

mod address;
mod decode;
mod fetch;
pub mod finding;
mod key;
mod manifest;
mod master_rules;
mod package;
mod picture_rules;
mod playlist_rules;
pub mod render;
mod segment;
mod source;
mod time_rules;

use std::path::PathBuf;

use futures_util::StreamExt as _;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::model::failure::Failure;

use address::Address;
use fetch::{Fetch, Folder, PLAYLIST, Web};
use finding::{Finding, Findings, Needs, RULES};
use package::{Package, Rendition};

/// Where a package is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A master playlist on this machine, or a folder with a `master.m3u8`.
    Path(PathBuf),
    /// The URL of a master playlist, http or https.
    Url(Url),
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

/// How to check.
#[derive(Clone, Debug)]
pub struct VerifyOptions {
    /// Folder of 16-byte key files, named as the last part of the key's URI, perhaps with `.key`.
    pub keys: Option<PathBuf>,
    /// The file that the package was made from.
    pub source: Option<PathBuf>,
    /// Decode the first, the middle and the last segment of each rendition.
    pub decode: bool,
    /// Segments that are read at once.
    pub at_once: usize,
    /// The ffprobe to run for `source` and `decode`.
    pub ffprobe: PathBuf,
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
            check(&folder, address, loaded.bytes, options).await
        }
        Location::Url(url) => {
            let (web, address, bytes) = Web::open(&url).await?;
            check(&web, address, bytes, options).await
        }
    }
}

async fn check(
    fetch: &dyn Fetch,
    address: Address,
    bytes: Vec<u8>,
    options: &VerifyOptions,
) -> Result<Report, Failure> {
    let mut findings = Findings::default();
    let mut package = Package::read(fetch, address, &bytes, &mut findings).await;
    let keys = key::collect(fetch, &package, options.keys.as_deref(), &mut findings).await;
    key::check(fetch, &package, &keys, &mut findings);
    let at_once = options.at_once.max(1);
    look_at_segments(fetch, &keys, &mut package, at_once, &mut findings).await;
    look_at_init_sections(fetch, &mut package, &mut findings).await;
    playlist_rules::check(&package, &mut findings);
    master_rules::check(fetch, &package, &mut findings);
    picture_rules::check(&package, &mut findings);
    time_rules::check(&package, &mut findings);
    let listed = manifest::check(fetch, &package, at_once, &mut findings).await;
    manifest::check_folder(fetch, &package, &keys, &listed, &mut findings).await;
    let tool = (options.ffprobe.as_path(), &options.cancel);
    if options.decode {
        decode::check(fetch, &package, &keys, tool, &mut findings).await?;
    }
    if let Some(source) = &options.source {
        source::check(&package, source, tool, &mut findings).await?;
    }
    Ok(report(&package, findings, options))
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
        let looks = futures_util::stream::iter(0..rendition.places.len())
            .map(|index| segment::look(fetch, keys, rendition, index))
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

/// Init sections are read for their presence; what is in fMP4 is not looked into.
async fn look_at_init_sections(fetch: &dyn Fetch, package: &mut Package, findings: &mut Findings) {
    let Package { renditions, referred, .. } = package;
    for rendition in renditions.iter().filter(|rendition| !rendition.media.maps.is_empty()) {
        let what = "the segments are fMP4, which is not looked into: only sizes and lists are checked";
        findings.warning("R21", &rendition.address.path, what);
        for map in &rendition.media.maps {
            let Ok(address) = rendition.address.resolve(&map.uri, fetch.root_url()) else { continue };
            if referred.get(&address.path).copied().flatten().is_some() {
                continue;
            }
            match fetch.read(&address, None, PLAYLIST).await {
                Ok(loaded) => {
                    referred.insert(address.path, Some(package::Sum::of(&loaded.bytes)));
                }
                Err(error) => {
                    findings.violation("R04", rendition.line(map.line), format!("`{}`: {error}", address.path));
                }
            }
        }
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
        if let Some(video) = inside.video.as_mut().filter(|video| video.pictures == 1) {
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
        Needs::Decoding => !options.decode,
        Needs::Source => options.source.is_none(),
    };
    let (violations, warnings) = findings.finish();
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
