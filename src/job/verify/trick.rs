//! R20: I-frame playlists, each entry of which is one key frame.

use crate::format::playlist::master::Variant;
use crate::format::ts_read::{self, Inspector};

use super::fetch::{Fetch, SEGMENT};
use super::finding::Findings;
use super::mp4::Fragments;
use super::package::{Package, Rendition, Role};
use super::playlist_rules::seconds;
use super::segment;

/// Entries of one playlist that are looked into, spread over all of it.
const LOOKS: usize = 12;

/// Bytes at the start of a file in which its tables are looked for.
const HEAD: u64 = 188 * 40;

/// Checks every I-frame playlist.
pub(super) async fn check(fetch: &dyn Fetch, package: &Package, findings: &mut Findings) {
    let Some(master) = &package.master else { return };
    for variant in &master.trick {
        check_attributes(package, variant, findings);
    }
    for trick in &package.tricks {
        let path = &trick.address.path;
        if !trick.media.iframes_only {
            findings.violation("R20", path, "EXT-X-I-FRAMES-ONLY is missing");
        }
        if !trick.media.ended {
            findings.violation("R05", path, "EXT-X-ENDLIST is missing: players wait for more");
        }
        check_rate(fetch, package, trick, findings);
        check_length(package, trick, findings);
        check_entries(fetch, trick, findings).await;
    }
}

fn check_attributes(package: &Package, variant: &Variant, findings: &mut Findings) {
    let where_ = format!("{} line {}", package.address.path, variant.line);
    if variant.bandwidth.is_none() {
        findings.violation("R20", &where_, "BANDWIDTH is missing");
    }
    for (name, there) in [("CODECS", variant.codecs.is_some()), ("RESOLUTION", variant.resolution.is_some())] {
        if !there {
            findings.apple("R20", &where_, format!("{name} is missing"));
        }
    }
}

/// BANDWIDTH must not be below what the ranges add up to.
fn check_rate(fetch: &dyn Fetch, package: &Package, trick: &Rendition, findings: &mut Findings) {
    let variants = package.master.iter().flat_map(|master| &master.trick);
    let mut own = variants.filter(|variant| {
        package.address.resolve(&variant.uri, fetch.root_url()).is_ok_and(|address| address.is(&trick.address))
    });
    let Some((variant, declared)) = own.next().and_then(|variant| Some((variant, variant.bandwidth?))) else { return };
    let sizes: Option<Vec<u64>> = trick.media.segments.iter().map(|entry| Some(entry.range?.length)).collect();
    let Some(sizes) = sizes.filter(|_| trick.seconds() > 0.0) else { return };
    let bytes = sizes.iter().fold(0_u64, |sum, size| sum.saturating_add(*size));
    #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
    let measured = bytes as f64 * 8.0 / trick.seconds();
    if seconds(declared) < measured * 0.9 {
        let where_ = format!("{} line {}", package.address.path, variant.line);
        let what = format!("BANDWIDTH={declared}, and its key frames take {measured:.0} on average");
        findings.violation("R20", where_, what);
    }
}

fn check_length(package: &Package, trick: &Rendition, findings: &mut Findings) {
    let shown = package.renditions.iter().filter(|other| other.role == Role::Variant);
    let longest = shown.map(Rendition::seconds).fold(0.0, f64::max);
    let target = trick.media.target_duration.map_or(1.0, seconds).max(1.0);
    if longest > 0.0 && (longest - trick.seconds()).abs() > target {
        let what = format!("it lists {:.3} s, the variants {longest:.3} s", trick.seconds());
        findings.apple("R20", &trick.address.path, what);
    }
}

async fn check_entries(fetch: &dyn Fetch, trick: &Rendition, findings: &mut Findings) {
    let count = trick.places.len();
    let step = count.div_ceil(LOOKS).max(1);
    for index in (0..count).step_by(step) {
        let (Some(Some(place)), Some(entry)) = (trick.places.get(index), trick.media.segments.get(index)) else {
            continue;
        };
        // What is encrypted as a whole cannot be read in part.
        let key = entry.key.and_then(|key| trick.media.keys.get(key));
        if key.is_some_and(|key| key.method == "AES-128") {
            continue;
        }
        let where_ = trick.line(entry.line);
        let loaded = match fetch.read(place, segment::part(entry.range), SEGMENT).await {
            Ok(loaded) => loaded,
            Err(error) => {
                findings.violation(segment::rule(&error), &where_, format!("`{}`: {error}", place.path));
                continue;
            }
        };
        let init = entry.map.and_then(|map| trick.inits.get(map).cloned().flatten());
        let fault = match (&init, loaded.bytes.first()) {
            (Some(init), _) => fragment_fault(loaded.bytes, init),
            (None, Some(0x47)) => {
                let head = fetch.read(place, Some((0, HEAD)), SEGMENT).await.map(|head| head.bytes);
                stream_fault(&head.unwrap_or_default(), &loaded.bytes)
            }
            _ => Some(wrong("it is no key frame of a picture")),
        };
        match fault {
            Some(Fault::Wrong(what)) => findings.violation("R20", where_, what),
            Some(Fault::More(pictures)) => findings.warning("R20", where_, format!("it holds {pictures} pictures")),
            None => {}
        }
    }
}

/// What may be wrong with an entry.
enum Fault {
    /// It is no key frame.
    Wrong(String),
    /// More pictures follow the key frame.
    More(usize),
}

fn wrong(what: &str) -> Fault {
    Fault::Wrong(what.to_owned())
}

/// What is wrong with a part of a transport stream.
fn stream_fault(head: &[u8], bytes: &[u8]) -> Option<Fault> {
    let mut inspector = Inspector::default();
    // The tables stand at the start of the file, the key frame anywhere.
    let tables = head.chunks_exact(ts_read::PACKET).take_while(|packet| !begins_unit(packet));
    tables.for_each(|packet| inspector.push(packet));
    inspector.push(bytes);
    let segment = inspector.finish();
    let video = segment.streams.iter().find(|stream| stream.is_video());
    let Some(first) = video.and_then(|stream| stream.units.first()) else {
        return Some(wrong("no picture begins in it"));
    };
    let video = video?;
    if video.is_h264() && !first.idr {
        return Some(wrong("its picture is no IDR"));
    }
    let keys = video.units.len();
    (keys > 1).then_some(Fault::More(keys))
}

/// Whether the packet begins picture or sound.
fn begins_unit(packet: &[u8]) -> bool {
    let &[_, high, _, flags, room, ..] = packet else { return true };
    let payload = if flags & 0x20 == 0 { 4 } else { 5 + usize::from(room) };
    high & 0x40 != 0 && packet.get(payload..payload + 3) == Some(&[0, 0, 1])
}

/// What is wrong with a fragment that may end after its first sample.
fn fragment_fault(mut bytes: Vec<u8>, init: &super::mp4::Init) -> Option<Fault> {
    super::mp4::open_end(&mut bytes);
    let fragments = Fragments::read(&bytes, init);
    let run = fragments.runs.iter().find(|run| init.track(run.track).is_some_and(super::mp4::Track::is_video));
    let Some((sample, track)) = run.and_then(|run| Some((run.samples.first()?, init.track(run.track)?))) else {
        return Some(wrong("no picture begins in it"));
    };
    let Some(data) = bytes.get(sample.at..sample.at.saturating_add(sample.bytes)) else {
        return Some(wrong("its picture is not whole"));
    };
    let key = if track.description.nal_length > 0 {
        super::inspect::first_slice(data, track).unwrap_or(false)
    } else {
        sample.sync
    };
    (!key).then(|| wrong("its picture is no key frame"))
}
