//! Rules about what media playlists say, each by itself and all together.

use crate::format::playlist::attribute::short;

use super::finding::Findings;
use super::package::{Package, Rendition, Role};

/// R05 to R09.
pub(super) fn check(package: &Package, findings: &mut Findings) {
    for rendition in &package.renditions {
        check_type(rendition, findings);
        check_lengths(rendition, findings);
    }
    check_targets(package, findings);
    check_independence(package, findings);
}

fn check_type(rendition: &Rendition, findings: &mut Findings) {
    let path = &rendition.address.path;
    if !rendition.media.ended {
        findings.violation("R05", path, "EXT-X-ENDLIST is missing: players wait for more");
    }
    match rendition.media.playlist_type.as_deref() {
        Some("VOD") => {}
        Some(other) => findings.apple("R06", path, format!("the playlist type is {} and not VOD", short(other))),
        None => findings.apple("R06", path, "EXT-X-PLAYLIST-TYPE is missing"),
    }
    if rendition.media.segments.is_empty() {
        findings.violation("R03", path, "there is no segment");
    }
}

fn check_lengths(rendition: &Rendition, findings: &mut Findings) {
    let Some(target) = rendition.media.target_duration else { return };
    if target == 0 {
        findings.violation("R07", &rendition.address.path, "the target duration is 0");
    }
    for segment in &rendition.media.segments {
        if segment.seconds.round() > seconds(target) {
            let what = format!("EXTINF:{} is longer than the target duration {target}", segment.seconds);
            findings.violation("R07", rendition.line(segment.inf_line), what);
        }
        if segment.seconds == 0.0 {
            findings.violation("R10", rendition.line(segment.inf_line), "the segment is 0 seconds long");
        }
    }
}

/// An integer of a playlist as seconds.
pub(super) fn seconds(integer: u64) -> f64 {
    u32::try_from(integer).map_or(f64::MAX, f64::from)
}

fn check_targets(package: &Package, findings: &mut Findings) {
    let mut timed = package.renditions.iter().filter(|rendition| rendition.role != Role::Subtitles);
    let Some(first) = timed.next() else { return };
    for other in timed {
        if let (Some(one), Some(two)) = (first.media.target_duration, other.media.target_duration)
            && one != two
        {
            let what = format!("the target duration is {two}, in {} it is {one}", first.address.path);
            findings.violation("R08", &other.address.path, what);
        }
    }
    let longest = package.renditions.iter().flat_map(|rendition| &rendition.media.segments);
    let longest = longest.map(|segment| segment.seconds.round()).fold(1.0, f64::max);
    for rendition in &package.renditions {
        if let Some(target) = rendition.media.target_duration
            && seconds(target) > longest + 1.0
        {
            let what = format!("the target duration is {target}, the longest segment of all {longest} s");
            findings.warning("R07", &rendition.address.path, what);
        }
    }
}

fn check_independence(package: &Package, findings: &mut Findings) {
    if package.master.as_ref().is_some_and(|master| master.independent) {
        return;
    }
    let video = package.renditions.iter().filter(|rendition| matches!(rendition.role, Role::Variant | Role::Video));
    let missing: Vec<_> = video.filter(|rendition| !rendition.media.independent).collect();
    if package.master.is_some() {
        findings.warning("R09", &package.address.path, "EXT-X-INDEPENDENT-SEGMENTS is not in the master playlist");
    }
    for rendition in missing {
        let what = "EXT-X-INDEPENDENT-SEGMENTS is neither in the master playlist nor here";
        findings.apple("R09", &rendition.address.path, what);
    }
}
