//! `verify` has no false alarm on what other packagers make. Where they truly
//! break a rule, the table says which and why.

use std::collections::BTreeSet;

use forebay::job::verify::render::render;
use forebay::job::verify::{Decode, VerifyOptions};

use crate::verify_packages::{Kind, entrance, film, look, made, options};

/// What a package must be told, and what it may be warned of.
struct Expected {
    kind: Kind,
    /// Rules that it breaks, and why that is so.
    broken: &'static [(&'static str, &'static str)],
    /// Rules that it is warned of.
    warned: &'static [&'static str],
}

/// ffmpeg begins segments with another table than the PAT (R21, a SHOULD). Its
/// lists are no master playlists (R11) and say nothing of independence (R09).
const LIST: &[&str] = &["R09", "R11", "R21"];

/// 1.1 times the rates that the encoders were asked for, without the container's own bytes.
const NOMINAL: &str = "ffmpeg declares the nominal rates and a tenth, and the container takes more";

const TABLE: &[Expected] = &[
    Expected { kind: Kind::FfmpegTs, broken: &[], warned: LIST },
    Expected { kind: Kind::FfmpegTsTitled, broken: &[], warned: &["R09", "R11", "R21", "R54"] },
    Expected { kind: Kind::FfmpegTsOneFile, broken: &[], warned: LIST },
    // One IV for all segments is legal, and weak.
    Expected { kind: Kind::FfmpegTsEncrypted, broken: &[], warned: &["R09", "R11", "R21", "R48"] },
    Expected { kind: Kind::FfmpegFragments, broken: &[], warned: &["R09", "R11"] },
    Expected { kind: Kind::FfmpegFragmentsOneFile, broken: &[], warned: &["R09", "R11"] },
    Expected { kind: Kind::FfmpegTsVariants, broken: &[("R12", NOMINAL)], warned: &["R09", "R13", "R17", "R21"] },
    Expected {
        kind: Kind::FfmpegFragmentsVariants,
        broken: &[("R12", NOMINAL)],
        warned: &["R09", "R12", "R13", "R17", "R18"],
    },
    Expected {
        kind: Kind::FfmpegTsSubtitles,
        broken: &[
            ("R12", NOMINAL),
            ("R43", "cues have no X-TIMESTAMP-MAP, and the picture starts at 1.48 s: they come early"),
        ],
        warned: &["R06", "R09", "R11", "R13", "R15", "R17", "R21"],
    },
    Expected { kind: Kind::FfmpegDash, broken: &[], warned: &[] },
    Expected { kind: Kind::SealedFragments, broken: &[], warned: &["R09", "R11"] },
    Expected { kind: Kind::ShakaFragments, broken: &[], warned: &["R43"] },
    Expected { kind: Kind::ShakaOneFile, broken: &[], warned: &[] },
    // Its entries for I-frames reach into the pictures after them.
    Expected { kind: Kind::ShakaTs, broken: &[], warned: &["R20"] },
    Expected { kind: Kind::ShakaCbcs, broken: &[], warned: &[] },
    Expected { kind: Kind::ShakaTsSampleAes, broken: &[], warned: &[] },
];

#[test]
fn packages_of_other_packagers_raise_no_false_alarm() {
    for Expected { kind, broken, warned } in TABLE {
        let looked = VerifyOptions { decode: Decode::Sample, ..options() };
        let report = look(entrance(&made(*kind)), looked);
        let found: BTreeSet<&str> = report.violations.iter().map(|finding| finding.rule).collect();
        let allowed: BTreeSet<&str> = broken.iter().map(|(rule, _)| *rule).collect();
        // Rates may come out right by luck; all else that is told of must be found.
        let surprising: Vec<_> = found.symmetric_difference(&allowed).filter(|rule| **rule != "R12").collect();
        assert!(surprising.is_empty(), "{kind:?}: {surprising:?} in\n{}", render(&report));
        let alarms = report.warnings.iter().filter(|finding| !warned.contains(&finding.rule)).count();
        assert_eq!(alarms, 0, "{kind:?}:\n{}", render(&report));
        assert!(report.segments >= 3 && (report.seconds - 6.0).abs() < 0.1, "{kind:?}:\n{}", render(&report));
    }
}

/// What verify says of ffmpeg's rates, measured anew.
#[test]
fn rates_that_ffmpeg_declares_are_too_low() {
    let root = made(Kind::FfmpegTsVariants);
    let report = look(entrance(&root), options());
    let master = std::fs::read_to_string(root.join("master.m3u8")).unwrap();
    let declared = master.split_once("BANDWIDTH=").unwrap().1.split_once(',').unwrap().0.parse::<f64>().unwrap();
    let list = std::fs::read_to_string(root.join("v0.m3u8")).unwrap();
    let mut peak = 0.0_f64;
    let mut seconds = 0.0;
    for line in list.lines() {
        if let Some(length) = line.strip_prefix("#EXTINF:") {
            seconds = length.trim_end_matches(',').parse().unwrap();
        } else if !line.starts_with('#') {
            let bytes = std::fs::metadata(root.join(line)).unwrap().len();
            peak = peak.max(f64::from(u32::try_from(bytes).unwrap()) * 8.0 / seconds);
        }
    }
    let told = report.violations.iter().any(|finding| finding.rule == "R12" && finding.where_.ends_with("line 3"));
    assert_eq!(told, declared < peak * 0.9, "{declared} {peak}\n{}", render(&report));
}

#[test]
fn the_source_is_found_in_what_was_made_of_it() {
    for kind in [Kind::FfmpegTsVariants, Kind::ShakaFragments, Kind::ShakaCbcs] {
        let looked = VerifyOptions { source: Some(film()), ..options() };
        let report = look(entrance(&made(kind)), looked);
        let against: Vec<_> = report.violations.iter().chain(&report.warnings).collect();
        let about = ["R35", "R37", "R40", "R42"];
        assert!(against.iter().all(|finding| !about.contains(&finding.rule)), "{kind:?}:\n{}", render(&report));
    }
}
