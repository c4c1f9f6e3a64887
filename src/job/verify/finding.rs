//! Findings, and the rules they are against.

use std::collections::BTreeMap;

/// Findings of one rule and level that are listed; more are only counted, so
/// that a hostile package cannot fill the memory.
const LISTED: usize = 20;

/// One rule of a package.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Its name in reports.
    pub id: &'static str,
    /// Where it is written.
    pub source: &'static str,
    /// What it asks for.
    pub asks: &'static str,
    /// What must be given besides the package to check it.
    pub needs: Needs,
}

/// What a check needs besides the package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// Segments decoded by ffmpeg.
    Decoding,
    /// The file the package was made from.
    Source,
}

const fn rule(id: &'static str, source: &'static str, asks: &'static str) -> Rule {
    Rule { id, source, asks, needs: Needs::Nothing }
}

/// Every rule that is checked.
pub const RULES: &[Rule] = &[
    rule("R01", "RFC 8216 §4.1", "playlists begin with #EXTM3U and are UTF-8 without a byte order mark"),
    rule("R02", "RFC 8216 §7", "EXT-X-VERSION stands once and is high enough for what is used"),
    rule("R03", "RFC 8216 §4.2, §4.3", "tags and attribute lists are well formed and in the right playlist"),
    rule("R04", "RFC 8216 §4.1, Forebay", "every URI is an object in the package, and nothing else lies about"),
    rule("R05", "RFC 8216 §4.3.3.4", "media playlists end in EXT-X-ENDLIST"),
    rule("R06", "Apple 8.6", "media playlists say EXT-X-PLAYLIST-TYPE:VOD"),
    rule("R07", "RFC 8216 §4.3.3.1, Apple 7.5", "no segment is longer than the target duration"),
    rule("R08", "RFC 8216 §6.2.4, Apple 8.2", "the target duration is the same in all playlists"),
    rule("R09", "Apple 9.11, 9.12", "EXT-X-INDEPENDENT-SEGMENTS is there"),
    rule("R10", "Apple 8.1", "EXTINF is the real length, of each segment and of every run of them"),
    rule("R11", "Apple 9.9", "there are several variants, none twice"),
    rule("R12", "RFC 8216 §4.3.4.2, Apple 9.13, 1.27", "BANDWIDTH is the measured peak within 10 %"),
    rule("R13", "Apple 9.14, 1.26", "AVERAGE-BANDWIDTH is the measured average within 10 %"),
    rule("R14", "Apple 1.30", "the peak is at most twice the average"),
    rule("R15", "RFC 8216 §4.3.4.2, Apple 9.1", "CODECS names what is in the media and nothing else"),
    rule("R16", "Apple 9.2", "RESOLUTION is the size of the picture"),
    rule("R17", "Apple 9.15, 1.19", "FRAME-RATE is the real one and at most 60"),
    rule("R18", "RFC 8216 §4.3.4.1", "renditions are named once and groups exist"),
    rule("R21", "RFC 8216 §3.2", "segments are whole transport streams with one program and right tables"),
    rule("R22", "Apple 7.4", "video segments begin with an IDR picture, SPS and PPS before it"),
    rule("R23", "Apple 7.4, RFC 8216 §4.3.5.1", "no picture is shown before the first of its segment"),
    rule("R24", "RFC 8216 §6.2.4, Apple 8.22", "video renditions are cut at the same places"),
    rule("R25", "RFC 8216 §6.2.4", "all playlists start at the same time"),
    rule("R26", "RFC 8216 §3, Apple 8.13", "counters and times run on over every edge"),
    rule("R27", "Apple 1.13", "there is a key frame every two seconds"),
    rule("R28", "Apple 2.17", "a segment has at most one video and one audio stream, and no other"),
    Rule { needs: Needs::Decoding, ..rule("R29", "RFC 8216 §4.3.5.1", "a segment decodes by itself") },
    rule("R30", "Apple 1.3-1.5, H.264 Table A-1", "profile and level fit the picture and the players"),
    rule("R31", "Apple 1.14", "the picture is progressive, 8 bit, 4:2:0"),
    rule("R32", "Forebay", "width and height are even, pixels are square"),
    rule("R33", "Apple 1.21", "colour is tagged, and alike in all renditions"),
    Rule { needs: Needs::Source, ..rule("R35", "Forebay", "no rendition is larger than the source") },
    rule("R39", "RFC 8216 §6.2.4", "variants that carry audio carry the same audio"),
    rule("R40", "Forebay", "audio and video of a segment start together"),
    rule("R41", "Apple 8.3, 8.7", "audio and video are equally long"),
    Rule { needs: Needs::Source, ..rule("R42", "Forebay", "the package is as long as the source") },
    rule("R44", "RFC 8216 §4.3.2.4", "EXT-X-KEY has a known METHOD, a quoted URI and a whole IV"),
    rule("R45", "RFC 8216 §4.3.2.4, §5", "keys are 16 bytes, and segments decrypt to media"),
    rule("R46", "Forebay, RFC 8216 §10", "no key lies in the package"),
    rule("R48", "RFC 8216 §5.2", "each segment has an IV of its own, and it is not the key"),
    rule("R49", "RFC 8216 §4.3.2.4", "what is said to be encrypted is, and nothing else"),
    rule("R50", "Forebay", "key URIs are https"),
    rule("R51", "RFC 8216 §4.3.2.2", "byte ranges lie inside their files"),
    rule("R55", "Forebay", "manifest.json lists every object with its size and SHA-256"),
];

/// How binding what was broken is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Players may fail.
    Must,
    /// Players manage, and would rather not.
    Should,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// The rule, such as `R10`.
    pub rule: &'static str,
    /// Where the rule is written.
    pub source: &'static str,
    /// How binding it is.
    pub level: Level,
    /// The file, and perhaps the line.
    #[serde(rename = "where")]
    pub where_: String,
    /// What is wrong, a sentence.
    pub what: String,
}

/// Findings as they come.
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    counts: BTreeMap<(&'static str, Level), usize>,
}

impl Findings {
    /// Something that must not be.
    pub(super) fn violation(&mut self, rule: &'static str, where_: impl Into<String>, what: impl Into<String>) {
        self.add(rule, Level::Must, where_.into(), what.into());
    }

    /// Something that should not be.
    pub(super) fn warning(&mut self, rule: &'static str, where_: impl Into<String>, what: impl Into<String>) {
        self.add(rule, Level::Should, where_.into(), what.into());
    }

    /// Takes over all of `other`.
    pub(super) fn append(&mut self, other: Self) {
        for finding in other.list {
            self.add(finding.rule, finding.level, finding.where_, finding.what);
        }
        for ((rule, level), count) in other.counts {
            let hidden = count.saturating_sub(LISTED);
            if hidden > 0 {
                *self.counts.entry((rule, level)).or_default() += hidden;
            }
        }
    }

    /// Violations and warnings, by rule, then in the order they were found.
    pub(super) fn finish(mut self) -> (Vec<Finding>, Vec<Finding>) {
        for (&(rule, level), &count) in &self.counts {
            if let Some(more) = count.checked_sub(LISTED).filter(|&more| more > 0) {
                let what = format!("{more} more of this kind.");
                self.list.push(Finding { rule, source: source(rule), level, where_: "the package".into(), what });
            }
        }
        self.list.sort_by_key(|finding| finding.rule);
        self.list.into_iter().partition(|finding| finding.level == Level::Must)
    }

    fn add(&mut self, rule: &'static str, level: Level, where_: String, what: String) {
        let count = self.counts.entry((rule, level)).or_default();
        *count += 1;
        if *count <= LISTED {
            self.list.push(Finding { rule, source: source(rule), level, where_, what: sentence(what) });
        }
    }
}

fn source(rule: &str) -> &'static str {
    RULES.iter().find(|known| known.id == rule).map_or("Forebay", |known| known.source)
}

/// With a capital letter and a full stop.
fn sentence(what: String) -> String {
    let mut characters = what.chars();
    let Some(first) = characters.next().filter(char::is_ascii_lowercase) else {
        return if what.ends_with('.') { what } else { what + "." };
    };
    let rest = characters.as_str();
    let first_word = rest.find(' ').map_or(rest, |end| rest.split_at(end).0);
    // `avc1.640028` or `00001.ts` at the start stays as it is.
    let first = if first_word.contains(['.', '/']) { first } else { first.to_ascii_uppercase() };
    format!("{first}{rest}{}", if rest.ends_with('.') { "" } else { "." })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_not_kept() {
        let mut all = Findings::default();
        for _ in 0..3 {
            let mut part = Findings::default();
            (0..100).for_each(|at| part.violation("R10", format!("{at}.ts"), "the length is wrong"));
            all.append(part);
        }
        all.warning("R27", "x", "a key frame is missing");
        let (violations, warnings) = all.finish();
        assert_eq!((violations.len(), warnings.len()), (LISTED + 1, 1));
        assert_eq!(violations[LISTED].what, "280 more of this kind.");
        assert_eq!((warnings[0].what.as_str(), warnings[0].source), ("A key frame is missing.", "Apple 1.13"));
    }

    #[test]
    fn rules_are_in_order_and_named_once() {
        assert!(RULES.windows(2).all(|pair| pair[0].id < pair[1].id));
    }
}
