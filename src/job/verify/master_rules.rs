//! Rules about what the master playlist promises of its variants and renditions.

use std::collections::BTreeSet;

use crate::format::playlist::attribute::short;
use crate::format::playlist::master::{Master, Rendition as Media, Variant};

use super::fetch::Fetch;
use super::finding::Findings;
use super::inside::{Inside, Video};
use super::package::{Package, Rendition, Role};
use super::picture::{Picture, range_of};
use super::playlist_rules::seconds;

/// How far a declared bit rate may be from the measured one.
const RATE_TOLERANCE: f64 = 0.1;

/// What the rounding of times to milliseconds makes of a rate.
const ROUNDING: f64 = 0.002;

/// R11 to R18.
pub(super) fn check(fetch: &dyn Fetch, package: &Package, findings: &mut Findings) {
    let Some(master) = &package.master else { return };
    let path = &package.address.path;
    if master.variants.len() == 1 {
        findings.warning("R11", path, "there is only one variant");
    }
    let mut seen = BTreeSet::new();
    for variant in &master.variants {
        let where_ = format!("{path} line {}", variant.line);
        if !seen.insert((&variant.uri, &variant.audio, &variant.subtitles)) {
            findings.apple("R11", &where_, format!("`{}` is listed twice", short(&variant.uri)));
        }
        let place = Place { fetch, package, master, variant, where_ };
        place.check_presence(findings);
        place.check_groups(findings);
        if let Some(rendition) = package.rendition(fetch, &variant.uri) {
            place.check_rates(rendition, findings);
            place.check_codecs(rendition, findings);
            place.check_picture(rendition, findings);
        }
    }
    check_renditions(fetch, package, master, findings);
    check_ranges(package, findings);
    check_shapes(package, findings);
}

/// One variant with all that is needed to judge it.
struct Place<'a> {
    fetch: &'a dyn Fetch,
    package: &'a Package,
    master: &'a Master,
    variant: &'a Variant,
    where_: String,
}

impl Place<'_> {
    fn check_presence(&self, findings: &mut Findings) {
        let variant = self.variant;
        let video = self.package.rendition(self.fetch, &variant.uri).is_none_or(has_video);
        let wanted = [
            ("R12", "BANDWIDTH", variant.bandwidth.is_some(), true),
            ("R13", "AVERAGE-BANDWIDTH", variant.average_bandwidth.is_some(), true),
            ("R15", "CODECS", variant.codecs.is_some(), true),
            ("R16", "RESOLUTION", variant.resolution.is_some(), video),
            ("R17", "FRAME-RATE", variant.frame_rate.is_some(), video),
        ];
        for (rule, name, there, needed) in wanted {
            if !needed || there {
                continue;
            }
            let what = format!("{name} is missing");
            if name == "BANDWIDTH" {
                findings.violation(rule, &self.where_, what);
            } else {
                findings.apple(rule, &self.where_, what);
            }
        }
    }

    fn check_groups(&self, findings: &mut Findings) {
        let groups =
            [("AUDIO", &self.variant.audio), ("SUBTITLES", &self.variant.subtitles), ("VIDEO", &self.variant.video)];
        for (kind, group) in groups {
            let Some(group) = group else { continue };
            if !self.master.renditions.iter().any(|media| media.kind == kind && media.group == *group) {
                findings.violation("R18", &self.where_, format!("there is no {kind} group `{}`", short(group)));
            }
        }
    }

    /// The renditions that may be played with this variant, by kind.
    fn companions(&self, kind: &str) -> Vec<&Rendition> {
        let group = if kind == "AUDIO" { &self.variant.audio } else { &self.variant.subtitles };
        let media =
            self.master.renditions.iter().filter(|media| media.kind == kind && Some(&media.group) == group.as_ref());
        media.filter_map(|media| self.package.rendition(self.fetch, media.uri.as_deref()?)).collect()
    }

    fn check_rates(&self, rendition: &Rendition, findings: &mut Findings) {
        let mut rates = Rates::of(rendition);
        for kind in ["AUDIO", "SUBTITLES"] {
            let companions: Vec<_> = self.companions(kind).into_iter().map(Rates::of).collect();
            let largest = |pick: fn(&Rates) -> Option<f64>| {
                companions.iter().map(pick).try_fold(0.0_f64, |largest, rate| rate.map(|rate| largest.max(rate)))
            };
            rates.peak = rates.peak.zip(largest(|rates| rates.peak)).map(|(one, two)| one + two);
            rates.average = rates.average.zip(largest(|rates| rates.average)).map(|(one, two)| one + two);
        }
        let checks = [
            ("R12", "BANDWIDTH", self.variant.bandwidth, rates.peak, "peak"),
            ("R13", "AVERAGE-BANDWIDTH", self.variant.average_bandwidth, rates.average, "average"),
        ];
        for (rule, name, declared, measured, word) in checks {
            let (Some(declared), Some(measured)) = (declared, measured) else { continue };
            let off = seconds(declared) / measured - 1.0;
            let what = format!("{name}={declared}, the measured {word} is {measured:.0} ({:+.1} %)", off * 100.0);
            // A player may be short of bits only if too few are declared.
            if off < -RATE_TOLERANCE || (rule == "R13" && off > RATE_TOLERANCE) {
                findings.violation(rule, &self.where_, what);
            } else if off > RATE_TOLERANCE {
                findings.apple(rule, &self.where_, what);
            } else if rule == "R12" && off < -ROUNDING {
                findings.warning(rule, &self.where_, what);
            }
        }
        if let (Some(peak), Some(average)) = (rates.peak, rates.average)
            && peak > 2.0 * average
        {
            let what = format!("the peak of {peak:.0} bit/s is more than twice the average of {average:.0}");
            findings.warning("R14", &self.where_, what);
        }
    }

    fn check_codecs(&self, rendition: &Rendition, findings: &mut Findings) {
        let Some(codecs) = &self.variant.codecs else { return };
        let mut real = BTreeSet::new();
        let all = std::iter::once(rendition).chain(self.companions("AUDIO"));
        for inside in all.filter_map(first_inside) {
            real.extend(inside.video.iter().filter_map(|video| Some(video.picture.as_ref()?.codec.clone())));
            real.extend(inside.audio.iter().filter_map(|audio| audio.codec.clone()));
        }
        if real.is_empty() {
            return;
        }
        let declared: Vec<String> = codecs.split(',').map(|codec| codec.trim().to_owned()).collect();
        for codec in &real {
            if declared.iter().any(|other| fit(other, codec) == Fit::Same) {
                continue;
            }
            let alike = declared.iter().any(|other| fit(other, codec) == Fit::Alike);
            let what = format!("CODECS=\"{}\" does not name {}", short(codecs), short(codec));
            if alike {
                findings.warning("R15", &self.where_, what);
            } else {
                findings.violation("R15", &self.where_, what);
            }
        }
        // Renditions that could not be looked into may hold the rest.
        let known = KNOWN.iter().filter(|known| real.iter().any(|real| family(real) == family(known)));
        let known: Vec<&str> = known.map(|known| family(known)).collect();
        let complete = self.companions("AUDIO").iter().all(|other| first_inside(other).is_some());
        for codec in &declared {
            let found = real.iter().any(|real| fit(codec, real) != Fit::Other);
            let checked = known.contains(&family(codec))
                || (complete && KNOWN.iter().any(|known| family(known) == family(codec)));
            if checked && !found {
                findings.violation("R15", &self.where_, format!("there is no {} in the media", short(codec)));
            }
        }
    }

    fn check_picture(&self, rendition: &Rendition, findings: &mut Findings) {
        let picture = first_inside(rendition).and_then(|inside| inside.video.as_ref()?.picture.as_ref());
        if let (Some(picture), Some(size)) = (picture, self.variant.resolution)
            && size != (u64::from(picture.width), u64::from(picture.height))
            && !is_shown_size(picture, size)
        {
            let what = format!("RESOLUTION={}x{}, the picture is {}x{}", size.0, size.1, picture.width, picture.height);
            findings.violation("R16", &self.where_, what);
        }
        if let Some(picture) = picture {
            self.check_range(range_of(picture.colour), findings);
        }
        let (Some(declared), Some((average, fastest))) = (self.variant.frame_rate, frame_rate(rendition)) else {
            return;
        };
        // Three decimals, and time stamps that are whole ticks.
        let slack = 0.002 + average * 0.0005;
        if declared < average - slack || declared > fastest + slack {
            let what = format!("FRAME-RATE={declared}, the real one is {average:.3}");
            findings.violation("R17", &self.where_, what);
        }
        if average > 60.0 + slack {
            findings.apple("R17", &self.where_, format!("{average:.3} frames a second are more than 60"));
        }
    }

    fn check_range(&self, real: &str, findings: &mut Findings) {
        match self.variant.video_range.as_deref() {
            None if real != "SDR" => {
                findings.apple("R19", &self.where_, format!("VIDEO-RANGE is missing, and the picture is {real}"));
            }
            Some(declared) if declared != real => {
                let what = format!("VIDEO-RANGE={}, and the picture is {real}", short(declared));
                findings.violation("R19", &self.where_, what);
            }
            _ => {}
        }
    }
}

/// Whether the size is that of the picture as shown, pixels made square.
fn is_shown_size(picture: &Picture, (width, height): (u64, u64)) -> bool {
    let Some((across, down)) = picture.sample_aspect.filter(|&(_, down)| down > 0) else { return false };
    let shown = u64::from(picture.width) * u64::from(across) / u64::from(down);
    shown.abs_diff(width) <= 1 && u64::from(picture.height) == height
}

/// One codec of each family that is looked into.
const KNOWN: [&str; 8] = ["avc1", "hvc1", "av01", "vp09", "mp4a", "ac-3", "ec-3", "opus"];

/// The codec without what is particular; names that mean the same are the same.
fn family(codec: &str) -> &str {
    match codec.split('.').next().unwrap_or_default() {
        "avc1" | "avc3" => "avc1",
        "hvc1" | "hev1" => "hvc1",
        first => first,
    }
}

/// How well a declared codec fits a real one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    Same,
    Alike,
    Other,
}

/// Whether a declared codec is the real one, or differs only where players do not care.
pub(super) fn fits(declared: &str, real: &str) -> bool {
    fit(declared, real) != Fit::Other
}

fn fit(declared: &str, real: &str) -> Fit {
    let (declared, real) = (declared.to_ascii_lowercase(), real.to_ascii_lowercase());
    // AV1 may go on with chroma and colour.
    let longer = real.starts_with("av01.") && declared.strip_prefix(&real).is_some_and(|rest| rest.starts_with('.'));
    if declared == real || longer {
        Fit::Same
    } else if same_but_flags(&declared, &real) || both_aac(&declared, &real) || same_hevc(&declared, &real) {
        Fit::Alike
    } else {
        Fit::Other
    }
}

/// The flags in the middle narrow the profile; players go by profile and level.
fn same_but_flags(one: &str, two: &str) -> bool {
    let parts = |codec: &str| {
        let codec = codec.strip_prefix("avc1.").or_else(|| codec.strip_prefix("avc3."))?;
        let whole = codec.len() == 6 && codec.is_ascii();
        whole.then(|| Some((codec.get(..2)?.to_owned(), codec.get(4..)?.to_owned()))).flatten()
    };
    parts(one).is_some() && parts(one) == parts(two)
}

/// Profile, tier and level are the same, the rest is finer.
fn same_hevc(one: &str, two: &str) -> bool {
    let parts = |codec: &str| {
        let mut parts = codec.split('.').map(ToOwned::to_owned);
        let (name, profile) = (parts.next()?, parts.next()?);
        (family(&name) == "hvc1").then_some((profile, parts.nth(1)?))
    };
    parts(one).is_some() && parts(one) == parts(two)
}

/// ADTS headers call HE-AAC plain AAC.
fn both_aac(one: &str, two: &str) -> bool {
    let is_aac = |codec: &str| matches!(codec, "mp4a.40.2" | "mp4a.40.5" | "mp4a.40.29");
    is_aac(one) && is_aac(two)
}

/// What is in the first segment that could be looked into.
pub(super) fn first_inside(rendition: &Rendition) -> Option<&Inside> {
    rendition.facts.iter().flatten().find_map(|facts| facts.inside.as_ref())
}

/// Whether there is a picture, as far as is known.
pub(super) fn has_video(rendition: &Rendition) -> bool {
    first_inside(rendition).map_or(rendition.role == Role::Variant, |inside| inside.video.is_some())
}

/// The video of every segment that has one.
pub(super) fn videos(rendition: &Rendition) -> impl Iterator<Item = &Video> {
    rendition.facts.iter().flatten().filter_map(|facts| facts.inside.as_ref()?.video.as_ref())
}

/// Frames a second over all segments, and by the shortest step.
pub(super) fn frame_rate(rendition: &Rendition) -> Option<(f64, f64)> {
    let steps = videos(rendition).filter(|video| video.pictures > 1);
    let (mut pictures, mut ticks, mut shortest) = (0_u64, 0_i64, i64::MAX);
    for video in steps {
        pictures += video.pictures - 1;
        ticks += video.times.last - video.times.start;
        shortest = shortest.min(video.times.steps.0);
    }
    (pictures > 0 && ticks > 0 && shortest > 0).then(|| {
        #[expect(clippy::cast_precision_loss, reason = "counts of pictures and ticks are far below 2^52")]
        let average = pictures as f64 / ticks as f64 * 90_000.0;
        #[expect(clippy::cast_precision_loss, reason = "a step is far below 2^52")]
        let fastest = 90_000.0 / shortest as f64;
        (average, fastest.max(average))
    })
}

/// Measured bit rates of one media playlist; `None` where a segment could not be read.
struct Rates {
    peak: Option<f64>,
    average: Option<f64>,
}

impl Rates {
    fn of(rendition: &Rendition) -> Self {
        let segments = rendition.media.segments.iter().zip(&rendition.facts);
        let there = segments.filter(|(segment, _)| !segment.gap);
        let sizes: Option<Vec<(f64, f64)>> = there
            .map(|(segment, facts)| {
                let bytes = facts.as_ref()?.bytes;
                #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
                let bits = bytes as f64 * 8.0;
                Some((bits, segment.seconds))
            })
            .collect();
        let Some(sizes) = sizes else { return Self { peak: None, average: None } };
        let (bits, length) = sizes.iter().fold((0.0, 0.0), |sum, size| (sum.0 + size.0, sum.1 + size.1));
        let average = (length > 0.0).then(|| bits / length);
        let target = rendition.media.target_duration.map_or(length, seconds);
        Self { peak: peak(&sizes, target).or(average), average }
    }
}

/// Segments of one run; a hostile list of segments without length must not take for ever.
const RUN: usize = 200;

/// The highest rate of any run of segments that is 0.5 to 1.5 target durations long.
fn peak(sizes: &[(f64, f64)], target: f64) -> Option<f64> {
    let mut peak: Option<f64> = None;
    for start in 0..sizes.len() {
        let (mut bits, mut length) = (0.0, 0.0);
        for size in sizes.iter().skip(start).take(RUN) {
            (bits, length) = (bits + size.0, length + size.1);
            if length > 1.5 * target {
                break;
            }
            if length >= 0.5 * target && length > 0.0 {
                peak = Some(peak.unwrap_or_default().max(bits / length));
            }
        }
    }
    peak
}

/// The picture of every variant that could be looked into.
fn pictures(package: &Package) -> impl Iterator<Item = (&Rendition, &Picture)> {
    let shown = package.renditions.iter().filter(|rendition| rendition.role == Role::Variant);
    shown.filter_map(|rendition| Some((rendition, first_inside(rendition)?.video.as_ref()?.picture.as_ref()?)))
}

fn check_ranges(package: &Package, findings: &mut Findings) {
    let ranges: BTreeSet<&str> = pictures(package).map(|(_, picture)| range_of(picture.colour)).collect();
    if !ranges.is_empty() && !ranges.contains("SDR") {
        findings.apple("R19", &package.address.path, "there is no variant in SDR");
    }
}

/// R34: the shape as shown, measured on the width that goes with the other's height.
fn check_shapes(package: &Package, findings: &mut Findings) {
    let shape = |picture: &Picture| {
        let (across, down) = picture.sample_aspect.filter(|&(across, down)| across > 0 && down > 0).unwrap_or((1, 1));
        (f64::from(picture.width) * f64::from(across) / f64::from(down), f64::from(picture.height))
    };
    let largest = pictures(package).max_by_key(|(_, picture)| picture.width);
    let Some((first, reference)) = largest.map(|(rendition, picture)| (rendition, shape(picture))) else { return };
    for (rendition, picture) in pictures(package) {
        let (width, height) = shape(picture);
        let fitting = reference.0 * height / reference.1.max(1.0);
        if (width - fitting).abs() > 2.0 && (width * reference.1 / reference.0.max(1.0) - height).abs() > 2.0 {
            let what = format!("{width:.0}x{height} has another shape than {}", first.address.path);
            findings.warning("R34", &rendition.address.path, what);
        }
    }
}

fn check_renditions(fetch: &dyn Fetch, package: &Package, master: &Master, findings: &mut Findings) {
    let mut names = BTreeSet::new();
    let mut defaults = BTreeSet::new();
    for media in &master.renditions {
        let where_ = format!("{} line {}", package.address.path, media.line);
        if !["AUDIO", "VIDEO", "SUBTITLES", "CLOSED-CAPTIONS"].contains(&media.kind.as_str()) {
            findings.violation("R18", &where_, format!("`{}` is not a TYPE", short(&media.kind)));
        }
        let group = (&media.kind, &media.group);
        if !names.insert((group, &media.name)) {
            findings.violation("R18", &where_, format!("the NAME `{}` is twice in its group", short(&media.name)));
        }
        if media.default && !defaults.insert(group) {
            findings.violation("R18", &where_, "the group has a DEFAULT already");
        }
        if media.kind == "SUBTITLES" && media.uri.is_none() {
            findings.violation("R18", &where_, "subtitles have no URI");
        }
        if media.kind != "VIDEO" && media.language.is_none() {
            findings.apple("R18", &where_, "LANGUAGE is missing");
        }
        check_channels(fetch, package, media, &where_, findings);
    }
}

fn check_channels(fetch: &dyn Fetch, package: &Package, media: &Media, where_: &str, findings: &mut Findings) {
    if media.kind != "AUDIO" {
        return;
    }
    let Some(declared) = media.channels else {
        return findings.apple("R18", where_, "CHANNELS is missing");
    };
    let rendition = media.uri.as_deref().and_then(|uri| package.rendition(fetch, uri));
    let sound = rendition.and_then(first_inside).and_then(|inside| inside.audio.as_ref()?.sound);
    // 0 is said in the stream.
    let real = sound.map(|sound| u64::from(sound.channels));
    if let Some(real) = real.filter(|&real| real != 0 && real != declared) {
        findings.violation("R18", where_, format!("CHANNELS=\"{declared}\", the sound has {real}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_peak(sizes: &[(f64, f64)], expected: Option<f64>) {
        assert_eq!(peak(sizes, 6.0), expected);
    }

    #[test]
    fn the_peak_is_that_of_runs_of_about_the_target() {
        check_peak(&[(600.0, 6.0), (1200.0, 6.0)], Some(200.0));
        check_peak(&[(600.0, 6.0), (900.0, 1.0)], Some(1500.0 / 7.0));
        check_peak(&[(300.0, 3.0), (900.0, 3.0), (900.0, 3.0)], Some(300.0));
        check_peak(&[(100.0, 0.4)], None);
        check_peak(&[(100.0, 100.0)], None);
    }

    #[test]
    fn flags_of_a_profile_are_told_from_another_profile() {
        assert!(same_but_flags("avc1.42c01e", "avc1.42e01e"));
        assert!(!same_but_flags("avc1.42c01e", "avc1.64001e"));
        assert!(!same_but_flags("hvc1.1", "hvc1.1"));
    }
}
