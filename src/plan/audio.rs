//! The audio renditions: one for every track, stereo AAC.

use crate::model::media::Audio;
use crate::plan::language::{Language, Wanted, language};

/// Samples a second of every audio rendition.
pub const SAMPLE_RATE: u64 = 48_000;

/// Samples in one frame of AAC-LC.
pub const FRAME_SAMPLES: u64 = 1024;

/// Channels of every audio rendition.
pub const CHANNELS: u32 = 2;

/// No player offers more tracks than this in a menu one can read.
const MOST_TRACKS: usize = 16;

/// One audio rendition.
#[derive(Clone, Debug, PartialEq)]
pub struct AudioRendition {
    /// Its folder, such as `audio-eng`.
    pub folder: String,
    /// Its `NAME` in the master playlist, unique in the group.
    pub name: String,
    /// Its language as players know it, `und` where unknown.
    pub language: String,
    /// Whether players choose it when nobody asked.
    pub default: bool,
    /// The stream's index in the source.
    pub index: u32,
    /// Whether the source's time stamps say when a sample is to be heard.
    pub timed: bool,
    /// Whether more channels than two are mixed into it.
    pub surround: bool,
}

/// The audio renditions of a source, in its order.
pub fn renditions(tracks: &[Audio], wanted: &Wanted) -> Vec<AudioRendition> {
    let tracks = choose(tracks, wanted);
    let first = tracks.iter().filter_map(|track| wanted.place(&track.language)).min();
    let of_the_first = |track: &&Audio| wanted.place(&track.language) == first;
    let marked = tracks.iter().position(|track| track.default && of_the_first(track));
    let default = marked.or_else(|| tracks.iter().position(of_the_first)).unwrap_or(0);
    let mut renditions: Vec<AudioRendition> = Vec::new();
    for (number, track) in tracks.into_iter().enumerate().take(MOST_TRACKS) {
        let language = language(&track.language);
        let folder = format!("audio-{}", language.code);
        let folder = unique(&folder, "-", |folder| renditions.iter().any(|one| one.folder == folder));
        let name =
            unique(&name(track.title.as_deref(), &language), " ", |name| renditions.iter().any(|one| one.name == name));
        renditions.push(AudioRendition {
            folder,
            name,
            language: language.tag,
            default: number == default,
            index: track.index,
            timed: track.is_in_order(),
            surround: track.channels > CHANNELS,
        });
    }
    renditions
}

/// The tracks that are wanted. Where none is of the wanted languages, what the source itself would
/// play is kept: silence is not what was asked for.
fn choose<'a>(tracks: &'a [Audio], wanted: &Wanted) -> Vec<&'a Audio> {
    let chosen: Vec<&Audio> = tracks.iter().filter(|track| wanted.place(&track.language).is_some()).collect();
    if chosen.is_empty() && *wanted != Wanted::None {
        return tracks.iter().find(|track| track.default).or(tracks.first()).into_iter().collect();
    }
    chosen
}

/// What people read: the title, else the language.
pub(super) fn name(title: Option<&str>, language: &Language) -> String {
    let title = title.map(printable).filter(|title| !title.is_empty());
    let known = if language.name.is_empty() { &language.tag } else { language.name };
    title.unwrap_or_else(|| known.into())
}

/// First `wanted`, then `wanted-2`, `wanted-3`, …
pub(super) fn unique(wanted: &str, joint: &str, taken: impl Fn(&str) -> bool) -> String {
    let mut name = wanted.to_string();
    let mut number = 2;
    while taken(&name) {
        name = format!("{wanted}{joint}{number}");
        number += 1;
    }
    name
}

/// A title that can stand in a quoted attribute (RFC 8216 §4.2: no quotes, no line breaks).
fn printable(title: &str) -> String {
    title
        .chars()
        .filter(|character| !character.is_control() && *character != '"')
        .take(60)
        .collect::<String>()
        .trim()
        .into()
}

/// Samples of `seconds`, rounded up to whole ones.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "lengths are positive and limited"
)]
pub fn samples(seconds: f64) -> u64 {
    (seconds * SAMPLE_RATE as f64).round().max(1.0) as u64
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn track(index: u32, language: &str, title: Option<&str>, default: bool) -> Audio {
        Audio {
            index,
            codec: "aac".into(),
            channels: 2,
            sample_rate: 48_000,
            language: language.into(),
            title: title.map(Into::into),
            default,
            start: 0.0,
            end: 1.0,
            holes: Vec::new(),
            empty_packets: 0,
            backward_seconds: 0.0,
        }
    }

    #[test]
    fn every_track_has_its_own_folder_and_name() {
        let tracks = [
            track(1, "eng", None, false),
            track(2, "deu", Some("Kom\"men\ntar"), true),
            track(3, "eng", None, false),
            track(4, "../..", None, false),
        ];
        let made = renditions(&tracks, &Wanted::All);
        let found: Vec<_> = made.iter().map(|one| (one.folder.as_str(), one.name.as_str(), one.default)).collect();
        assert_eq!(
            found,
            [
                ("audio-eng", "English", false),
                ("audio-deu", "Kommentar", true),
                ("audio-eng-2", "English 2", false),
                ("audio-und", "und", false)
            ]
        );
    }

    #[test]
    fn wanted_languages_are_kept_and_the_first_is_played() {
        let tracks = [track(1, "eng", None, true), track(2, "deu", None, false), track(3, "fra", None, false)];
        let made = |wanted: &str| {
            let made = renditions(&tracks, &Wanted::parse(wanted).unwrap());
            made.into_iter().map(|one| (one.language, one.default)).collect::<Vec<_>>()
        };
        assert_eq!(made("de,en"), [("en".to_string(), false), ("de".to_string(), true)]);
        assert_eq!(made("fr"), [("fr".to_string(), true)]);
        assert_eq!(made("ja"), [("en".to_string(), true)]);
        assert_eq!(made("none"), []);
    }
}
