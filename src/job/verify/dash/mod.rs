//! R56 to R58: DASH manifests, alone or beside HLS playlists of the same segments.

use std::collections::BTreeMap;

use crate::format::mpd::{Presentation, Representation};
use crate::format::playlist::attribute::short;
use crate::format::playlist::media::Range;
use crate::format::xml;

use super::address::Address;
use super::fetch::{Fetch, FetchError, PLAYLIST};
use super::finding::Findings;
use super::inside::{Facts, Form, Video};
use super::key::Keys;
use super::master_rules::{self, first_inside};
use super::package::{Package, Rendition, Role, Sum};
use super::picture_rules::in_seconds;
use super::{look_at_inits, look_at_segments, picture_rules, playlist_rules, time_rules};

/// A segment may begin this far from where the manifest says, in seconds.
const OFF: f64 = 0.1;

/// And the whole may be this much longer or shorter.
const LENGTH_OFF: f64 = 0.5;

/// What is needed to look at segments.
pub(super) struct Tools<'a> {
    pub(super) fetch: &'a dyn Fetch,
    pub(super) keys: &'a Keys,
    pub(super) at_once: usize,
}

/// Whether the bytes are a DASH manifest.
pub(super) fn is_manifest(bytes: &[u8]) -> bool {
    let head = bytes.get(..bytes.len().min(4096)).unwrap_or_default();
    let head = head.strip_prefix("\u{feff}".as_bytes()).unwrap_or(head).trim_ascii_start();
    head.starts_with(b"<") && head.windows(4).any(|window| window == b"MPD " || window == b"<MPD" || window == b":MPD")
}

/// Looks for manifests beside the playlists and checks them.
pub(super) async fn check_beside(tools: &Tools<'_>, package: &mut Package, findings: &mut Findings) {
    let fragments = package.renditions.iter().any(|rendition| !rendition.media.maps.is_empty());
    if !fragments {
        return;
    }
    for address in candidates(tools.fetch, package) {
        match tools.fetch.read(&address, None, PLAYLIST).await {
            Ok(loaded) if is_manifest(&loaded.bytes) => {
                package.referred.insert(address.path.clone(), Some(Sum::of(&loaded.bytes)));
                check(tools, package, &address, &loaded.bytes, findings).await;
            }
            Ok(_) | Err(FetchError::Missing) => {}
            Err(error) => findings.violation("R56", &address.path, error.to_string()),
        }
    }
}

/// Manifests in the folder, or the names that are usual on a server.
fn candidates(fetch: &dyn Fetch, package: &Package) -> Vec<Address> {
    let Some(folder) = fetch.folder() else {
        let stem = package.address.path.rsplit_once('.').map_or("", |(stem, _)| stem);
        return ["manifest.mpd", &format!("{stem}.mpd")].map(|name| Address::top(name, name)).to_vec();
    };
    let entries = folder.read_dir().into_iter().flatten().flatten().map(|entry| entry.file_name());
    let names =
        entries.filter_map(|name| name.into_string().ok()).filter(|name| name.rsplit('.').next() == Some("mpd"));
    let mut names: Vec<String> = names.take(20).collect();
    names.sort();
    names.iter().map(|name| Address::top(name, name)).collect()
}

/// Checks one manifest; what it lists counts as referred to.
pub(super) async fn check(
    tools: &Tools<'_>,
    package: &mut Package,
    address: &Address,
    bytes: &[u8],
    findings: &mut Findings,
) {
    let root = match xml::read(bytes) {
        Ok(root) => root,
        Err(why) => return findings.violation("R56", &address.path, format!("it cannot be read: {why}")),
    };
    let presentation = Presentation::read(&root);
    for (rule, what) in &presentation.faults {
        findings.violation(rule, &address.path, what);
    }
    let mut dash = Package::empty(address.clone());
    for representation in &presentation.representations {
        let rendition = rendition(tools, package, address, representation, findings);
        dash.renditions.push(rendition);
    }
    let known = known(package);
    let alone = package.renditions.is_empty();
    look_at_inits(tools.fetch, tools.keys, &mut dash, findings).await;
    share(&known, &mut dash);
    look_at_segments(tools.fetch, tools.keys, &mut dash, tools.at_once, findings).await;
    if alone {
        picture_rules::check(&dash, findings);
        time_rules::check_continuity(&dash, findings);
    }
    for (representation, rendition) in presentation.representations.iter().zip(&dash.renditions) {
        let where_ = format!("{} representation {}", address.path, short(&representation.name));
        check_presence(rendition, &where_, findings);
        check_timeline(representation, rendition, &where_, findings);
        check_truth(representation, rendition, &where_, findings);
        check_index(tools, representation, rendition, &where_, findings).await;
    }
    if presentation.is_static {
        check_length(&presentation, &dash, findings);
    }
    if !alone {
        check_agreement(package, &dash, findings);
    }
    package.referred.append(&mut dash.referred);
    if alone {
        package.renditions = dash.renditions;
    }
}

fn rendition(
    tools: &Tools<'_>,
    package: &mut Package,
    address: &Address,
    representation: &Representation,
    findings: &mut Findings,
) -> Rendition {
    let media = representation.media.clone();
    let mut place =
        |uri: &str, findings: &mut Findings| package.place(tools.fetch, address, uri, &address.path, findings);
    let places = media.segments.iter().map(|segment| place(&segment.uri, findings)).collect();
    let map_places = media.maps.iter().map(|map| place(&map.uri, findings)).collect();
    let role = match representation.kind.as_str() {
        "audio" => Role::Audio,
        "text" => Role::Subtitles,
        _ => Role::Variant,
    };
    let facts = media.segments.iter().map(|_| None).collect();
    Rendition { address: address.clone(), role, media, facts, places, map_places, inits: Vec::new() }
}

/// What a segment is known by: its path and its range.
type Key = (String, Option<(u64, u64)>);

fn key(place: &Address, range: Option<Range>) -> Key {
    (place.path.clone(), range.and_then(|range| Some((range.offset?, range.length))))
}

/// The facts of all segments that playlists led to.
fn known(package: &Package) -> BTreeMap<Key, Facts> {
    let mut known = BTreeMap::new();
    for rendition in &package.renditions {
        for ((place, facts), segment) in rendition.places.iter().zip(&rendition.facts).zip(&rendition.media.segments) {
            if let (Some(place), Some(facts)) = (place, facts) {
                known.insert(key(place, segment.range), facts.clone());
            }
        }
    }
    known
}

/// What was read for HLS is not read again.
fn share(known: &BTreeMap<Key, Facts>, dash: &mut Package) {
    for rendition in &mut dash.renditions {
        let Rendition { places, media, facts, .. } = rendition;
        for ((place, segment), facts) in places.iter().zip(&media.segments).zip(facts) {
            *facts = place.as_ref().and_then(|place| known.get(&key(place, segment.range)).cloned());
        }
    }
}

fn check_presence(rendition: &Rendition, where_: &str, findings: &mut Findings) {
    let missing = rendition.facts.iter().filter(|facts| facts.is_none()).count();
    if missing > 0 {
        let what = format!("{missing} of {} segments cannot be read", rendition.facts.len());
        findings.violation("R56", where_, what);
    }
}

fn check_timeline(representation: &Representation, rendition: &Rendition, where_: &str, findings: &mut Findings) {
    let Some(starts) = &representation.starts else { return };
    let mut worst: Option<(usize, f64)> = None;
    for (index, (&start, facts)) in starts.iter().zip(&rendition.facts).enumerate() {
        let inside =
            facts.as_ref().and_then(|facts| facts.inside.as_ref()).filter(|inside| inside.form == Form::Fragments);
        let Some(real) = inside.and_then(super::inside::Inside::times) else { continue };
        let off = in_seconds(real.start) - start;
        if off.abs() > OFF && worst.is_none_or(|(_, most)| off.abs() > most.abs()) {
            worst = Some((index, off));
        }
    }
    if let Some((index, off)) = worst {
        let what = format!("{} begins {off:+.3} s from where the timeline says", rendition.segment(index));
        findings.violation("R57", where_, what);
    }
}

/// What is declared against what is in the media.
fn check_truth(representation: &Representation, rendition: &Rendition, where_: &str, findings: &mut Findings) {
    let inside = first_inside(rendition);
    let video = inside.and_then(|inside| inside.video.as_ref());
    let picture = video.and_then(|video: &Video| video.picture.as_ref());
    let sound = inside.and_then(|inside| inside.audio.as_ref()?.codec.clone());
    for real in picture.map(|picture| picture.codec.clone()).into_iter().chain(sound) {
        match &representation.codecs {
            None => findings.violation("R58", where_, format!("`codecs` is missing; it is {real}")),
            Some(declared) if !declared.split(',').any(|declared| master_rules::fits(declared.trim(), &real)) => {
                let what = format!("`codecs` is \"{}\", and it is {}", short(declared), short(&real));
                findings.violation("R58", where_, what);
            }
            Some(_) => {}
        }
    }
    if let (Some(picture), Some((width, height))) = (picture, representation.size)
        && (u64::from(picture.width), u64::from(picture.height)) != (width, height)
    {
        let what = format!("it says {width}x{height}, the picture is {}x{}", picture.width, picture.height);
        findings.violation("R58", where_, what);
    }
    let complete = rendition.facts.iter().all(Option::is_some);
    let bytes: u64 = rendition.facts.iter().flatten().map(|facts| facts.bytes).sum();
    if let (Some(declared), true) = (representation.bandwidth, complete && rendition.seconds() > 0.0) {
        #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
        let measured = bytes as f64 * 8.0 / rendition.seconds();
        if playlist_rules::seconds(declared) < measured * 0.9 {
            let what = format!("`bandwidth` is {declared}, and on average {measured:.0} bits are needed a second");
            findings.violation("R58", where_, what);
        }
    }
}

/// The index of a single file must lie where the manifest says.
async fn check_index(
    tools: &Tools<'_>,
    representation: &Representation,
    rendition: &Rendition,
    where_: &str,
    findings: &mut Findings,
) {
    let (Some(Range { offset: Some(offset), length }), Some(Some(place))) =
        (representation.index, rendition.places.first())
    else {
        return;
    };
    match tools.fetch.read(place, Some((offset, length)), PLAYLIST).await {
        Ok(loaded) if loaded.bytes.get(4..8) == Some(b"sidx") => {}
        Ok(_) => findings.violation("R56", where_, "there is no index (`sidx`) where indexRange says"),
        Err(error) => findings.violation("R56", where_, format!("the index cannot be read: {error}")),
    }
}

/// The declared length against the segments' own times.
fn check_length(presentation: &Presentation, dash: &Package, findings: &mut Findings) {
    let Some(declared) = presentation.seconds else {
        return findings.violation("R57", &dash.address.path, "`mediaPresentationDuration` is missing");
    };
    let lengths = dash.renditions.iter().filter(|rendition| rendition.role == Role::Variant).filter_map(|rendition| {
        let start = first_inside(rendition)?.times()?.start;
        Some(in_seconds(time_rules::end(rendition)? - start))
    });
    let single_period = presentation.representations.iter().all(|one| !one.name.contains(" of period "));
    let Some(longest) = lengths.reduce(f64::max).filter(|_| single_period) else { return };
    if (longest - declared).abs() > LENGTH_OFF {
        let what = format!("`mediaPresentationDuration` is {declared:.3} s, the picture lasts {longest:.3} s");
        findings.violation("R57", &dash.address.path, what);
    }
}

/// The same renditions with the same segments as in HLS.
fn check_agreement(package: &Package, dash: &Package, findings: &mut Findings) {
    let path = &dash.address.path;
    let list = |rendition: &Rendition| -> Vec<Option<String>> {
        rendition.places.iter().map(|place| place.as_ref().map(|place| place.path.clone())).collect()
    };
    let lists: Vec<_> = dash.renditions.iter().map(list).collect();
    let mut shared = 0;
    for rendition in package.renditions.iter().filter(|rendition| rendition.role != Role::Subtitles) {
        let own = list(rendition);
        let Some(other) = lists.iter().find(|other| other.first() == own.first()) else { continue };
        shared += 1;
        let ranged = rendition.media.segments.iter().any(|segment| segment.range.is_some());
        if *other != own && !ranged {
            let what = format!(
                "it lists {} segments that {} does not list alike ({})",
                other.len(),
                rendition.address.path,
                own.len()
            );
            findings.violation("R58", path, what);
        }
    }
    let fragmented = |rendition: &&Rendition| rendition.role != Role::Subtitles && !rendition.media.maps.is_empty();
    let expected = package.renditions.iter().filter(fragmented).count();
    if shared > 0 && shared < expected {
        findings.warning("R58", path, format!("it has {shared} of the {expected} renditions of the HLS playlists"));
    }
}
