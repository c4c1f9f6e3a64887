//! Rules about the coded picture: R21 to R23, R27, R30 to R33.

use crate::format::ts_read::CLOCK;

use super::finding::Findings;
use super::inside::Video;
use super::master_rules::{first_inside, frame_rate, videos};
use super::package::{Package, Rendition};
use super::picture::{Picture, range_of};

/// Key frames further apart than this make seeking coarse. A frame more is rounding.
const KEY_STEP: i64 = 2 * CLOCK + CLOCK / 10;

/// Checks every rendition, then compares their colours.
pub(super) fn check(package: &Package, findings: &mut Findings) {
    let independent = package.master.as_ref().is_some_and(|master| master.independent);
    for rendition in &package.renditions {
        let independent = independent || rendition.media.independent;
        check_tables(rendition, findings);
        for (index, facts) in rendition.facts.iter().enumerate() {
            let video = facts.as_ref().and_then(|facts| facts.inside.as_ref()?.video.as_ref());
            if let Some(video) = video {
                check_start(rendition, index, (video, independent), findings);
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

/// A promise of independent segments binds everybody, else Apple alone asks for it.
fn check_start(rendition: &Rendition, index: usize, (video, independent): (&Video, bool), findings: &mut Findings) {
    let name = rendition.segment(index);
    let mut wrong = |rule, what| {
        if independent { findings.violation(rule, &name, what) } else { findings.apple(rule, &name, what) }
    };
    if video.starts_with_key == Some(false) {
        wrong("R22", "the first picture is not an IDR");
    } else if !video.configured {
        wrong("R22", "the parameter sets do not stand before the first picture");
    }
    if !video.first_is_earliest {
        wrong("R23", "a picture is shown before the first one of the segment");
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
    let Some(first) = videos(rendition).find_map(|video| video.picture.as_ref()) else { return };
    let key = |picture: &Picture| (picture.codec.clone(), picture.width, picture.height);
    for (index, facts) in rendition.facts.iter().enumerate() {
        let video = facts.as_ref().and_then(|facts| facts.inside.as_ref()?.video.as_ref());
        let marked = rendition.media.segments.iter().take(index + 1).any(|segment| segment.discontinuity);
        if let Some(picture) = video.and_then(|video| video.picture.as_ref())
            && key(picture) != key(first)
            && !marked
        {
            let (codec, width, height) = key(picture);
            let what = format!("the segment is {codec} at {width}x{height}, the first one differs");
            findings.violation("R15", rendition.segment(index), what);
        }
    }
    if videos(rendition).any(|video| video.turned) {
        findings.warning("R36", path, "the picture is to be turned or mirrored when shown");
    }
    check_level(path, first, frame_rate(rendition).map(|(average, _)| average), findings);
    if !first.progressive {
        findings.apple("R31", path, "the picture is coded as fields");
    }
    let depth = first.bit_depth;
    if first.chroma != 1 || (first.h264.is_some() && depth != 8) || depth > 10 {
        findings.apple("R31", path, format!("the picture has {depth} bits and chroma format {}", first.chroma));
    }
    if first.full_range == Some(true) {
        findings.warning("R31", path, "samples use the full range");
    }
    if first.codec.starts_with("hev1.") || first.codec.starts_with("dvhe.") {
        findings.apple("R30", path, "HEVC must be hvc1, with its parameter sets in the init section");
    }
    if first.width % 2 != 0 || first.height % 2 != 0 {
        findings.warning("R32", path, format!("{}x{} is not even", first.width, first.height));
    }
    if let Some((across, down)) = first.sample_aspect
        && across != down
    {
        findings.warning("R32", path, format!("pixels are {across}:{down} and not square"));
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

fn check_level(path: &str, picture: &Picture, rate: Option<f64>, findings: &mut Findings) {
    let Some(sps) = picture.h264 else { return };
    let allowed = [66, 77, 88, 100];
    if !allowed.contains(&sps.profile) {
        findings.apple("R30", path, format!("profile {} is above High", sps.profile));
    }
    let level = |level: u8| format!("{}.{}", level / 10, level % 10);
    if sps.level > 52 {
        findings.apple("R30", path, format!("level {} is above 5.2", level(sps.level)));
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
    let tagged: Vec<(&str, &Picture)> = package
        .renditions
        .iter()
        .filter_map(|rendition| {
            let picture = first_inside(rendition)?.video.as_ref()?.picture.as_ref()?;
            Some((rendition.address.path.as_str(), picture))
        })
        .collect();
    for &(path, picture) in &tagged {
        let range = range_of(picture.colour);
        // Renditions in another range have other colours by nature.
        let alike = tagged.iter().find(|(_, other)| range_of(other.colour) == range);
        if let Some((first_path, first)) = alike
            && first.colour != picture.colour
        {
            findings.apple("R33", path, format!("colour is tagged unlike in {first_path}"));
        }
        if picture.colour.is_none() && picture.h264.is_some() {
            findings.warning("R33", path, "colour is not tagged");
        }
        if range != "SDR" && picture.bit_depth == 8 {
            findings.apple("R33", path, "a picture of 8 bits is tagged as HDR");
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
