//! The subtitle renditions: one for every track of text.

use crate::model::media::{Place, Text};
use crate::plan::audio::{name, unique};
use crate::plan::grid::Grid;
use crate::plan::language::{Wanted, language};

/// No player offers more tracks than this in a menu one can read.
const MOST_TRACKS: usize = 32;

/// Text is small: a segment of it is as long as so many of the picture.
const SEGMENTS: usize = 10;

/// One subtitle rendition.
#[derive(Clone, Debug, PartialEq)]
pub struct SubtitleRendition {
    /// Its folder, such as `subs-deu`.
    pub folder: String,
    /// Its `NAME` in the master playlist, unique in the group.
    pub name: String,
    /// Its language as players know it, `und` where unknown.
    pub language: String,
    /// Whether players show it when nobody asked.
    pub default: bool,
    /// Whether it translates what everybody has to understand.
    pub forced: bool,
    /// Whether it tells of sounds as well, for who cannot hear.
    pub hearing_impaired: bool,
    /// Where its text is.
    pub place: Place,
}

/// The subtitle renditions of a source, in its order.
pub fn renditions(tracks: &[Text], wanted: &Wanted) -> Vec<SubtitleRendition> {
    let tracks: Vec<&Text> = tracks.iter().filter(|track| wanted.place(&track.language).is_some()).collect();
    let default = tracks.iter().position(|track| track.default);
    let mut renditions: Vec<SubtitleRendition> = Vec::new();
    for (number, track) in tracks.into_iter().enumerate().take(MOST_TRACKS) {
        let language = language(&track.language);
        let kind = if track.forced { "-forced" } else { "" };
        let folder = format!("subs-{}{kind}", language.code);
        let folder = unique(&folder, "-", |folder| renditions.iter().any(|one| one.folder == folder));
        let wanted = name(track.title.as_deref(), &language);
        let name = unique(&wanted, " ", |name| renditions.iter().any(|one| one.name == name));
        renditions.push(SubtitleRendition {
            folder,
            name,
            language: language.tag,
            default: Some(number) == default,
            forced: track.forced,
            hearing_impaired: track.hearing_impaired,
            place: track.place,
        });
    }
    renditions
}

/// Begin and end of every segment of text, in seconds: they begin where segments of the picture do.
pub fn segments(grid: &Grid) -> Vec<(f64, f64)> {
    let begin = |segment: u64| grid.rate.seconds(grid.segment(segment).0);
    let mut begins: Vec<f64> = (0..grid.segments()).step_by(SEGMENTS).map(begin).collect();
    begins.push(grid.seconds());
    begins.windows(2).map(|pair| (pair[0], pair[1])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::rational::Rational;

    #[test]
    fn tracks_are_told_apart() {
        let track = |index, language: &str, forced| Text {
            place: Place::Stream(index),
            language: language.into(),
            title: None,
            default: index == 3,
            forced,
            hearing_impaired: false,
        };
        let tracks = [track(2, "ger", false), track(3, "ger", true), track(4, "eng", false)];
        let made = renditions(&tracks, &Wanted::All);
        let found: Vec<_> = made.iter().map(|one| (one.folder.as_str(), one.name.as_str(), one.default)).collect();
        assert_eq!(
            found,
            [("subs-deu", "Deutsch", false), ("subs-deu-forced", "Deutsch 2", true), ("subs-eng", "English", false)]
        );
        assert_eq!(renditions(&tracks, &Wanted::parse("de").unwrap()).len(), 2);
        assert_eq!(renditions(&tracks, &Wanted::None), []);
    }

    #[test]
    fn text_is_cut_less_often() {
        let grid = Grid::new(Rational::new(25, 1).unwrap(), 130.0, 6.0);
        assert_eq!(segments(&grid), [(0.0, 60.0), (60.0, 120.0), (120.0, 130.0)]);
    }
}
