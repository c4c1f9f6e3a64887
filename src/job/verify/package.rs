//! The playlists of a package, read and tied together.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt as _;

use crate::format::playlist::attribute::short;
use crate::format::playlist::master::Master;
use crate::format::playlist::media::Media;
use crate::format::playlist::{Kind, Playlist, read};
use crate::model::sha256::Sha256;

use super::address::{Address, is_encoded};
use super::fetch::{Fetch, PLAYLIST};
use super::finding::Findings;
use super::inside::Facts;
use super::mp4::Init;
use super::names;

/// Media playlists of one package; more are hostile.
const PLAYLISTS: usize = 100;

/// Segments of one package; more are hostile. A day in ten renditions has 144,000.
const SEGMENTS: usize = 200_000;

/// Playlists that are read at once.
const AT_ONCE: usize = 8;

/// A package, as far as its playlists tell.
pub(super) struct Package {
    /// The address of the playlist that was given.
    pub(super) address: Address,
    /// The master playlist; `None` where a media playlist was given.
    pub(super) master: Option<Master>,
    /// Each media playlist once.
    pub(super) renditions: Vec<Rendition>,
    /// Each I-frame playlist once.
    pub(super) tricks: Vec<Rendition>,
    /// Everything that playlists refer to, with what was read of it.
    pub(super) referred: BTreeMap<String, Option<Sum>>,
}

/// Size and checksum of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) bytes: u64,
    pub(super) sha256: [u8; 32],
}

impl Sum {
    /// Of these bytes.
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u64, sha256: Sha256::digest(bytes) }
    }
}

/// What a media playlist is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A variant's own playlist.
    Variant,
    /// An audio rendition.
    Audio,
    /// Subtitles, whose segments are not looked into.
    Subtitles,
    /// Another rendition of the picture.
    Video,
    /// An I-frame playlist.
    Trick,
}

/// One media playlist.
pub(super) struct Rendition {
    pub(super) address: Address,
    pub(super) role: Role,
    pub(super) media: Media,
    /// What was seen of each segment, in order.
    pub(super) facts: Vec<Option<Facts>>,
    /// The address of each segment, where it has one.
    pub(super) places: Vec<Option<Address>>,
    /// The address of each init section, where it has one.
    pub(super) map_places: Vec<Option<Address>>,
    /// Each init section, where it is one of fMP4 and could be read.
    pub(super) inits: Vec<Option<Arc<Init>>>,
}

impl Rendition {
    /// The name of an init section for people.
    pub(super) fn map_name(&self, index: usize) -> String {
        match self.map_places.get(index) {
            Some(Some(place)) => place.path.clone(),
            _ => format!("{} init section {index}", self.address.path),
        }
    }

    /// The file and line of something in the playlist.
    pub(super) fn line(&self, line: usize) -> String {
        format!("{} line {line}", self.address.path)
    }

    /// The name of a segment for people.
    pub(super) fn segment(&self, index: usize) -> String {
        match self.places.get(index) {
            Some(Some(place)) => place.path.clone(),
            _ => format!("{} segment {index}", self.address.path),
        }
    }

    /// Seconds by EXTINF.
    pub(super) fn seconds(&self) -> f64 {
        self.media.segments.iter().map(|segment| segment.seconds).sum()
    }
}

impl Package {
    /// Nothing but an address.
    pub(super) fn empty(address: Address) -> Self {
        Self { address, master: None, renditions: Vec::new(), tricks: Vec::new(), referred: BTreeMap::new() }
    }

    /// Reads all playlists that the one at `address` leads to.
    pub(super) async fn read(fetch: &dyn Fetch, address: Address, bytes: &[u8], findings: &mut Findings) -> Self {
        let playlist = read(bytes);
        report(&address, &playlist, findings);
        let mut package =
            Self { address, master: None, renditions: Vec::new(), tricks: Vec::new(), referred: BTreeMap::new() };
        package.referred.insert(package.address.path.clone(), Some(Sum::of(bytes)));
        match playlist.kind {
            Kind::Media(media) => {
                findings.warning("R11", &package.address.path, "this is a media playlist: there is no master playlist");
                let address = package.address.clone();
                let role = if media.iframes_only { Role::Trick } else { Role::Variant };
                package.add(fetch, address, role, media, findings);
            }
            Kind::Master(master) => {
                package.follow(fetch, &master, findings).await;
                if package.renditions.iter().all(|rendition| rendition.role != Role::Variant) {
                    findings.violation("R11", &package.address.path, "no variant could be read");
                }
                package.master = Some(master);
            }
        }
        package
    }

    /// The rendition whose playlist `uri` of the master means.
    pub(super) fn rendition(&self, fetch: &dyn Fetch, uri: &str) -> Option<&Rendition> {
        let address = self.address.resolve(uri, fetch.root_url()).ok()?;
        self.renditions.iter().find(|rendition| rendition.address.is(&address))
    }

    async fn follow(&mut self, fetch: &dyn Fetch, master: &Master, findings: &mut Findings) {
        let variants = master.variants.iter().map(|variant| (variant.line, variant.uri.as_str(), Role::Variant));
        let renditions = master.renditions.iter().filter_map(|rendition| {
            let role = match rendition.kind.as_str() {
                "AUDIO" => Role::Audio,
                "SUBTITLES" => Role::Subtitles,
                _ => Role::Video,
            };
            Some((rendition.line, rendition.uri.as_deref()?, role))
        });
        let tricks = master.trick.iter().map(|trick| (trick.line, trick.uri.as_str(), Role::Trick));
        let mut all: Vec<(Address, Role, String)> = Vec::new();
        for (line, uri, role) in variants.chain(renditions).chain(tricks) {
            let where_ = format!("{} line {line}", self.address.path);
            let Some(address) = self.place(fetch, &self.address.clone(), uri, &where_, findings) else { continue };
            if address.is(&self.address) {
                findings.violation("R03", where_, "the master playlist refers to itself");
            } else if all.len() == PLAYLISTS {
                findings.violation("R04", where_, format!("more than {PLAYLISTS} playlists: the rest was not read"));
                break;
            } else if !all.iter().any(|(known, ..)| known.is(&address)) {
                all.push((address, role, where_));
            }
        }
        let mut loaded = futures_util::stream::iter(all)
            .map(|(address, role, where_)| async move {
                (fetch.read(&address, None, PLAYLIST).await, address, role, where_)
            })
            .buffered(AT_ONCE);
        while let Some((result, address, role, where_)) = loaded.next().await {
            match result {
                Ok(loaded) => {
                    names::playlist(&address, loaded.kind.as_deref(), findings);
                    self.media(fetch, address, role, &loaded.bytes, findings);
                }
                Err(error) => findings.violation("R04", where_, format!("`{}`: {error}", address.path)),
            }
        }
    }

    fn media(&mut self, fetch: &dyn Fetch, address: Address, role: Role, bytes: &[u8], findings: &mut Findings) {
        self.referred.insert(address.path.clone(), Some(Sum::of(bytes)));
        let playlist = read(bytes);
        report(&address, &playlist, findings);
        match playlist.kind {
            Kind::Media(media) => {
                if role == Role::Variant && media.iframes_only {
                    findings.violation("R20", &address.path, "a variant has key frames only (EXT-X-I-FRAMES-ONLY)");
                }
                self.add(fetch, address, role, media, findings);
            }
            Kind::Master(_) => {
                findings.violation("R03", &address.path, "a master playlist stands where a media playlist belongs");
            }
        }
    }

    fn add(&mut self, fetch: &dyn Fetch, address: Address, role: Role, media: Media, findings: &mut Findings) {
        let known = self.renditions.iter().chain(&self.tricks);
        let taken: usize = known.map(|rendition| rendition.places.len()).sum();
        let mut places = Vec::new();
        for segment in &media.segments {
            if taken + places.len() == SEGMENTS {
                findings.violation(
                    "R04",
                    &address.path,
                    format!("more than {SEGMENTS} segments: the rest was not read"),
                );
                break;
            }
            let where_ = format!("{} line {}", address.path, segment.line);
            let place = self.place(fetch, &address, &segment.uri, &where_, findings);
            places.push(place.filter(|_| !segment.gap));
        }
        let mut map_places = Vec::new();
        for map in &media.maps {
            let where_ = format!("{} line {}", address.path, map.line);
            map_places.push(self.place(fetch, &address, &map.uri, &where_, findings));
        }
        let facts = media.segments.iter().map(|_| None).collect();
        let list = if role == Role::Trick { &mut self.tricks } else { &mut self.renditions };
        list.push(Rendition { address, role, media, facts, places, map_places, inits: Vec::new() });
    }

    /// The address of a URI, which from then on counts as referred to.
    pub(super) fn place(
        &mut self,
        fetch: &dyn Fetch,
        playlist: &Address,
        uri: &str,
        where_: &str,
        findings: &mut Findings,
    ) -> Option<Address> {
        if !is_encoded(uri) {
            findings.violation("R04", where_, format!("`{}` is not percent-encoded", short(uri)));
        }
        match playlist.resolve(uri, fetch.root_url()) {
            Ok(address) => {
                self.referred.entry(address.path.clone()).or_default();
                Some(address)
            }
            Err(why) => {
                findings.violation("R04", where_, format!("{why}; it was not opened"));
                None
            }
        }
    }
}

/// Hands on what the reader of the format found.
fn report(address: &Address, playlist: &Playlist, findings: &mut Findings) {
    for problem in &playlist.problems {
        findings.violation(problem.rule, format!("{} line {}", address.path, problem.line), &problem.what);
    }
}
