//! R43: subtitles in `WebVTT` against the time of the picture.

use crate::format::ts_read::near;

use super::finding::Findings;
use super::inside::Facts;
use super::package::{Package, Rendition, Role};
use super::picture_rules::in_seconds;
use super::playlist_rules::seconds;
use super::time_rules;
use super::vtt::Text;

/// Cues may stand this far outside of their segment before it is said.
const SLACK: f64 = 0.5;

/// A picture that starts later than this needs a mapping for its cues.
const LATE: f64 = 0.1;

/// Checks every rendition of subtitles.
pub(super) fn check(package: &Package, findings: &mut Findings) {
    let start = time_rules::reference_start(package);
    let longest = package.renditions.iter().filter(|other| other.role != Role::Subtitles).map(Rendition::seconds);
    let longest = longest.fold(0.0, f64::max);
    for rendition in package.renditions.iter().filter(|rendition| rendition.role == Role::Subtitles) {
        check_header(rendition, start, findings);
        check_cues(rendition, start, findings);
        let target = rendition.media.target_duration.map_or(6.0, seconds).max(1.0);
        let missing = longest - rendition.seconds();
        if missing > target {
            let what = format!("the subtitles end {missing:.1} s before picture and sound");
            findings.apple("R43", &rendition.address.path, what);
        }
    }
}

fn texts(rendition: &Rendition) -> impl Iterator<Item = (usize, &Text)> {
    let facts = rendition.facts.iter().enumerate();
    facts.filter_map(|(index, facts): (usize, &Option<Facts>)| Some((index, facts.as_ref()?.text.as_ref()?)))
}

fn check_header(rendition: &Rendition, start: Option<i64>, findings: &mut Findings) {
    let mut missing = 0;
    for (index, text) in texts(rendition) {
        for fault in &text.faults {
            findings.violation("R43", rendition.segment(index), fault);
        }
        missing += usize::from(text.map.is_none() && text.faults.is_empty());
    }
    if missing == 0 {
        return;
    }
    let late = start.map(in_seconds).filter(|start| start.abs() > LATE);
    let path = &rendition.address.path;
    match late {
        Some(start) => {
            let what = format!(
                "{missing} segments have no X-TIMESTAMP-MAP: their cues come {start:.3} s early, since the picture \
                 starts at that time stamp"
            );
            findings.violation("R43", path, what);
        }
        None => findings.warning("R43", path, format!("{missing} segments have no X-TIMESTAMP-MAP")),
    }
}

fn check_cues(rendition: &Rendition, start: Option<i64>, findings: &mut Findings) {
    let Some(start) = start else { return };
    if rendition.media.segments.iter().any(|segment| segment.discontinuity) {
        return;
    }
    let mut begin = 0.0;
    let mut ranges = Vec::new();
    for segment in &rendition.media.segments {
        ranges.push((begin, begin + segment.seconds));
        begin += segment.seconds;
    }
    for (index, text) in texts(rendition) {
        let (Some((latest, earliest)), Some(&(from, to))) = (text.inner, ranges.get(index)) else { continue };
        // Without a mapping the cues are early altogether, which is said once.
        let Some((ticks, local)) = text.map else { continue };
        let shown = |cue: f64| in_seconds(near(start, ticks) - start) + cue - local;
        if shown(earliest) < from - SLACK || shown(latest) > to + SLACK {
            let what = format!(
                "cues end from {:.3} s and begin up to {:.3} s, the segment is {from:.3} to {to:.3} s",
                shown(earliest),
                shown(latest)
            );
            findings.violation("R43", rendition.segment(index), what);
        }
    }
}
