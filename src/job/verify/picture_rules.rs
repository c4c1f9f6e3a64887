//! Rules about the coded picture: R21 to R23, R27, R30 to R33.

use crate::format::sps::Sps;
use crate::format::ts_read::CLOCK;

use super::finding::Findings;
use super::master_rules::{first_inside, frame_rate, videos};
use super::package::{Package, Rendition};
use super::segment::Video;

/// Key frames further apart than this make seeking coarse. A frame more is rounding.
const KEY_STEP: i64 = 2 * CLOCK + CLOCK / 10;

/// Checks every rendition, then compares their colours.
pub(super) fn check(package: &Package, findings: &mut Findings) {
    for rendition in &package.renditions {
        check_tables(rendition, findings);
        for (index, facts) in rendition.facts.iter().enumerate() {
            let video = facts.as_ref().and_then(|facts| facts.inside.as_ref()?.video.as_ref());
            if let Some(video) = video.filter(|video| video.kind == 0x1b) {
                check_start(rendition, index, video, findings);
            }
        }
        check_keys(rendition, findings);
        check_parameters(rendition, findings);
    }
    check_colour(package, findings);
}

fn check_tables(rendition: &Rendition, findings: &mut Findings) {
    let inside = rendition.facts.iter().flatten().filter_map(|facts| facts.inside.as_ref());
    let late = inside.filter(|inside| !inside.tables_first).count();
    if late > 0 {
        let what = format!("{late} segments do not begin with the PAT and the PMT");
        findings.warning("R21", &rendition.address.path, what);
    }
}

fn check_start(rendition: &Rendition, index: usize, video: &Video, findings: &mut Findings) {
    let name = rendition.segment(index);
    if !video.starts_with_idr {
        findings.violation("R22", &name, "the first picture is not an IDR");
    } else if !video.sps_first {
        findings.violation("R22", &name, "SPS and PPS do not stand before the first picture");
    }
    if !video.first_is_earliest {
        findings.violation("R23", &name, "a picture is shown before the first one of the segment");
    }
}

fn check_keys(rendition: &Rendition, findings: &mut Findings) {
    let mut longest = 0;
    for video in videos(rendition) {
        let ends = video.keys.iter().skip(1).copied().chain([video.times.end]);
        let steps = video.keys.iter().zip(ends).map(|(key, end)| end - key);
        longest = steps.fold(longest, i64::max);
    }
    if longest > KEY_STEP {
        let what = format!("key frames are up to {:.1} s apart", in_seconds(longest));
        findings.warning("R27", &rendition.address.path, what);
    }
}

fn check_parameters(rendition: &Rendition, findings: &mut Findings) {
    let path = &rendition.address.path;
    let Some(first) = videos(rendition).find_map(|video| video.sps.as_ref()) else { return };
    let key = |sps: &Sps| (sps.codec(), sps.width, sps.height);
    for (index, facts) in rendition.facts.iter().enumerate() {
        let video = facts.as_ref().and_then(|facts| facts.inside.as_ref()?.video.as_ref());
        if let Some(sps) = video.and_then(|video| video.sps.as_ref())
            && key(sps) != key(first)
        {
            let what = format!("the segment is {} at {}x{}, the first one differs", sps.codec(), sps.width, sps.height);
            findings.violation("R15", rendition.segment(index), what);
        }
    }
    check_level(path, first, frame_rate(rendition).map(|(average, _)| average), findings);
    if !first.progressive {
        findings.violation("R31", path, "the picture is coded as fields");
    }
    if first.chroma != 1 || first.bit_depth != 8 {
        let what = format!("the picture has {} bits and chroma format {}", first.bit_depth, first.chroma);
        findings.violation("R31", path, what);
    }
    if first.full_range == Some(true) {
        findings.warning("R31", path, "samples use the full range");
    }
    if first.width % 2 != 0 || first.height % 2 != 0 {
        findings.violation("R32", path, format!("{}x{} is not even", first.width, first.height));
    }
    if let Some((across, down)) = first.sample_aspect
        && across != down
    {
        findings.violation("R32", path, format!("pixels are {across}:{down} and not square"));
    }
}

/// H.264 Table A-1: level, macroblocks a second, macroblocks a picture.
const LEVELS: [(u8, f64, u64); 17] = [
    (10, 1485.0, 99),
    (11, 3000.0, 396),
    (12, 6000.0, 396),
    (13, 11_880.0, 396),
    (20, 11_880.0, 396),
    (21, 19_800.0, 792),
    (22, 20_250.0, 1620),
    (30, 40_500.0, 1620),
    (31, 108_000.0, 3600),
    (32, 216_000.0, 5120),
    (40, 245_760.0, 8192),
    (41, 245_760.0, 8192),
    (42, 522_240.0, 8704),
    (50, 589_824.0, 22_080),
    (51, 983_040.0, 36_864),
    (52, 2_073_600.0, 36_864),
    (60, 4_177_920.0, 139_264),
];

/// The lowest level that takes the picture.
fn lowest_level(macroblocks: u64, rate: f64) -> Option<u8> {
    let each = u32::try_from(macroblocks).map_or(f64::MAX, f64::from) * rate;
    LEVELS.iter().find(|&&(_, a_second, a_picture)| macroblocks <= a_picture && each <= a_second).map(|level| level.0)
}

fn check_level(path: &str, sps: &Sps, rate: Option<f64>, findings: &mut Findings) {
    let allowed = [66, 77, 88, 100];
    if !allowed.contains(&sps.profile) {
        findings.violation("R30", path, format!("profile {} is above High", sps.profile));
    }
    let level = |level: u8| format!("{}.{}", level / 10, level % 10);
    if sps.level > 52 {
        findings.violation("R30", path, format!("level {} is above 5.2", level(sps.level)));
    }
    // Rates are measured; a hair above the limit is rounding.
    match lowest_level(sps.macroblocks, rate.unwrap_or_default() * 0.999) {
        Some(needed) if sps.level < needed => {
            let what = format!("level {} is too low: the picture needs {}", level(sps.level), level(needed));
            findings.violation("R30", path, what);
        }
        Some(needed) if sps.level > 40 && needed <= 31 => {
            let what = format!("level {} is needlessly high: {} would do", level(sps.level), level(needed));
            findings.warning("R30", path, what);
        }
        Some(_) => {}
        None => findings.violation("R30", path, "no level takes a picture of this size and rate"),
    }
}

fn check_colour(package: &Package, findings: &mut Findings) {
    let tagged: Vec<_> = package
        .renditions
        .iter()
        .filter_map(|rendition| {
            let sps = first_inside(rendition)?.video.as_ref()?.sps.as_ref()?;
            Some((rendition.address.path.as_str(), sps.colour))
        })
        .collect();
    let Some(&(first_path, first)) = tagged.first() else { return };
    for &(path, colour) in &tagged {
        if colour != first {
            findings.violation("R33", path, format!("colour is tagged unlike in {first_path}"));
        }
        match colour {
            None => findings.warning("R33", path, "colour is not tagged"),
            // 16 is PQ and 18 is HLG.
            Some((_, 16 | 18, _)) => {
                findings.violation("R33", path, "8-bit H.264 is tagged as HDR");
            }
            Some(_) => {}
        }
    }
}

/// Ticks as seconds.
pub(super) fn in_seconds(ticks: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "times are far below 2^52 ticks")]
    let ticks = ticks as f64;
    ticks / 90_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_follow_size_and_rate() {
        assert_eq!(lowest_level(8160, 25.0), Some(40));
        assert_eq!(lowest_level(8160, 60.0), Some(42));
        assert_eq!(lowest_level(3600, 30.0), Some(31));
        assert_eq!(lowest_level(920, 25.0), Some(30));
        assert_eq!(lowest_level(1_000_000, 25.0), None);
    }
}
