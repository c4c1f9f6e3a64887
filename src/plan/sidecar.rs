//! Files of subtitles beside a film: whose they are, and what their names say.

use serde::{Deserialize, Serialize};

use crate::model::media::{Place, Text};
use crate::plan::language::language;

/// How the text in a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// `SubRip`.
    Srt,
    /// `WebVTT`.
    WebVtt,
    /// Advanced `SubStation` Alpha, and what came before it.
    Ass,
    /// Pictures of text.
    Pictures,
}

impl Format {
    /// ffmpeg's name of the demuxer.
    pub fn demuxer(self) -> &'static str {
        match self {
            Self::Srt => "srt",
            Self::WebVtt => "webvtt",
            Self::Ass | Self::Pictures => "ass",
        }
    }
}

/// How the subtitles `name` are written, if they belong to `film`: `film.srt` and `film.en.forced.vtt`
/// to `film.mp4`, but not where `films` has a `film.en.mp4`.
pub fn belongs(film: &[u8], name: &[u8], films: &[&[u8]]) -> Option<Format> {
    let (name, ending) = split(name)?;
    let format = match ending.to_ascii_lowercase().as_slice() {
        b"srt" => Format::Srt,
        b"vtt" => Format::WebVtt,
        b"ass" | b"ssa" => Format::Ass,
        b"idx" | b"sup" => Format::Pictures,
        _ => return None,
    };
    let stem = stem(film);
    let is_of = |stem: &[u8]| name.strip_prefix(stem).is_some_and(|tail| tail.is_empty() || tail.starts_with(b"."));
    let nearer = |other: &&[u8]| self::stem(other).len() > stem.len() && is_of(self::stem(other));
    (is_of(stem) && !films.iter().any(nearer)).then_some(format)
}

/// What the `name` of subtitles says of them: `film.pt-BR.forced.srt`.
pub fn text(film: &[u8], name: &[u8], number: usize) -> Text {
    let name = stem(name);
    let tail = String::from_utf8_lossy(name.strip_prefix(stem(film)).unwrap_or_default()).into_owned();
    let mut text = Text {
        place: Place::Beside(number),
        language: "und".into(),
        title: None,
        default: false,
        forced: false,
        hearing_impaired: false,
    };
    for tag in tail.split('.').map(str::trim).filter(|tag| !tag.is_empty()) {
        let has_language = text.language != "und";
        match tag.to_ascii_lowercase().as_str() {
            "forced" | "foreign" => text.forced = true,
            "default" => text.default = true,
            "sdh" | "cc" => text.hearing_impaired = true,
            // Hindi, if nothing before said which language it is.
            "hi" if has_language => text.hearing_impaired = true,
            _ if !has_language && is_language(tag) => text.language = tag.into(),
            _ if tag.bytes().all(|byte| byte.is_ascii_digit()) => {}
            _ => text.title = Some(tag.into()),
        }
    }
    text
}

/// A known language by any of its names, or what has the form of a code.
fn is_language(tag: &str) -> bool {
    let first = tag.split(['-', '_']).next().unwrap_or_default();
    !language(tag).name.is_empty()
        || (2..=3).contains(&first.len())
            && first.bytes().all(|byte| byte.is_ascii_lowercase())
            && language(tag).tag != "und"
}

fn stem(name: &[u8]) -> &[u8] {
    split(name).map_or(name, |(stem, _)| stem)
}

/// What stands before and after the last dot.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let dot = name.iter().rposition(|&byte| byte == b'.').filter(|&dot| dot > 0)?;
    Some((name.get(..dot)?, name.get(dot + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_belongs_to_the_film_with_the_longest_name_it_begins_with() {
        let films: [&[u8]; 3] = [b"film.mp4", b"film.en.mkv", b"film 2.mp4"];
        let check = |film: &str, name: &str, expected: Option<Format>| {
            assert_eq!(belongs(film.as_bytes(), name.as_bytes(), &films), expected, "{film} {name}");
        };
        check("film.mp4", "film.srt", Some(Format::Srt));
        check("film.mp4", "film.de.forced.VTT", Some(Format::WebVtt));
        check("film.mp4", "film.ass", Some(Format::Ass));
        check("film.mp4", "film.idx", Some(Format::Pictures));
        check("film.mp4", "film.en.srt", None);
        check("film.en.mkv", "film.en.srt", Some(Format::Srt));
        check("film.mp4", "film 2.srt", None);
        check("film.mp4", "filmed.srt", None);
        check("film.mp4", "film.txt", None);
        check("film.mp4", ".srt", None);
    }

    #[test]
    fn names_say_language_and_kind() {
        let check = |file: &str, language: &str, kind: (bool, bool, bool), title: Option<&str>| {
            let text = text(b"film.mp4", file.as_bytes(), 0);
            let found = (text.forced, text.hearing_impaired, text.default);
            assert_eq!((text.language.as_str(), found, text.title.as_deref()), (language, kind, title), "{file}");
        };
        check("film.srt", "und", (false, false, false), None);
        check("film.en.srt", "en", (false, false, false), None);
        check("film.de.forced.vtt", "de", (true, false, false), None);
        check("film.German.default.srt", "German", (false, false, true), None);
        check("film.pt-BR.sdh.srt", "pt-BR", (false, true, false), None);
        check("film.en.hi.srt", "en", (false, true, false), None);
        check("film.hi.srt", "hi", (false, false, false), None);
        check("film.en.The director speaks.srt", "en", (false, false, false), Some("The director speaks"));
        check("film.2.en.srt", "en", (false, false, false), None);
        check("film.Commentary.srt", "und", (false, false, false), Some("Commentary"));
    }
}
