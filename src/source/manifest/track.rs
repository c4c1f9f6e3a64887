//! What is to be fetched of a manifest: tracks, of runs, of pieces.

use std::ops::Range;

use crate::format::playlist::media;
use crate::model::failure::Failure;
use crate::model::sha256::Sha256;

use super::place::Place;
use super::texts::Words;

/// Pieces of one track; a day in segments of a second has 86,400.
const MOST_PIECES: usize = 200_000;

/// Discontinuities and periods; a day with an advertisement every five minutes has 600.
const MOST_RUNS: usize = 1000;

/// One stream of the source, or several that lie in the same segments.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Track {
    pub(super) runs: Vec<Run>,
    /// RFC 5646 tag of its sound.
    pub(super) language: Option<String>,
    /// Bits a second, if the manifest says.
    pub(super) bandwidth: Option<u64>,
}

/// Segments that are one file when they are behind each other: no discontinuity between them, one header before them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Run {
    pub(super) pieces: Vec<Piece>,
    /// Where it begins in its own time, in seconds (presentationTimeOffset of DASH).
    pub(super) offset: f64,
    /// Seconds by which its segments may be shorter than said, because no more than their usual length is said.
    pub(super) loose: f64,
}

/// A file or a part of one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Piece {
    pub(super) place: Place,
    /// All of the file if `None`.
    pub(super) range: Option<Range<u64>>,
    /// Where the key of AES-128 is, and the IV.
    pub(super) key: Option<(Place, [u8; 16])>,
    /// How long it is by the manifest; `None` for headers, and for what goes on with the piece before.
    pub(super) seconds: Option<f64>,
}

/// Everything that is to be fetched: the picture first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tracks {
    pub(super) all: Vec<Track>,
    /// Whether what lies beside the picture in its own segments is the sound of the source, or one of its tracks.
    pub(super) own_sound: bool,
    /// The tracks of text that are wanted.
    pub(super) texts: Vec<Words>,
    /// What is left out of them, each with the reason.
    pub(super) skipped: Vec<String>,
    /// Whether times count from the beginning of a period, as in DASH.
    pub(super) is_dash: bool,
}

impl Track {
    pub(super) fn seconds(&self) -> f64 {
        self.runs.iter().flat_map(|run| &run.pieces).filter_map(|piece| piece.seconds).sum()
    }

    pub(super) fn pieces(&self) -> impl Iterator<Item = (usize, &Piece)> {
        self.runs.iter().enumerate().flat_map(|(number, run)| run.pieces.iter().map(move |piece| (number, piece)))
    }

    /// Refuses what nobody could mean.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let pieces: usize = self.runs.iter().map(|run| run.pieces.len()).sum();
        if pieces > MOST_PIECES || self.runs.len() > MOST_RUNS {
            let what =
                format!("{pieces} segments in {} stretches, more than {MOST_PIECES} in {MOST_RUNS}", self.runs.len());
            return Err(Failure::permanent(format!("the manifest names {what}")));
        }
        Ok(())
    }
}

impl Tracks {
    /// Whether all of it is one file when it is fetched.
    pub(super) fn is_one_file(&self) -> bool {
        self.all.len() == 1 && self.all.iter().all(|track| track.runs.len() == 1)
    }

    /// How many bytes this may be, by what the manifest says of it.
    pub(super) fn guess(&self) -> Option<u64> {
        let bits: Option<f64> = self.all.iter().map(|track| Some(float(track.bandwidth?) * track.seconds())).sum();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast saturates")]
        bits.filter(|bits| *bits > 0.0).map(|bits| (bits / 8.0) as u64)
    }

    /// A name for exactly this work, whatever signs its URLs today.
    pub(super) fn digest(&self) -> String {
        let mut digest = Sha256::new();
        for (number, track) in self.all.iter().chain(self.texts.iter().map(|words| &words.track)).enumerate() {
            digest.update(format!("track {number} {:?} {}\n", track.language, self.own_sound));
            for (run, Piece { place, range, key, seconds }) in track.pieces() {
                let key = key.as_ref().map(|(place, iv)| (place.stable(), iv));
                digest.update(format!("{run} {} {range:?} {key:?} {seconds:?}\n", place.stable()));
            }
        }
        for words in &self.texts {
            digest.update(format!("{:?}\n", words.text));
        }
        let mut name = hex::encode(digest.finalize());
        name.truncate(16);
        name
    }
}

/// The part of a file that a playlist means.
pub(super) fn part(range: Option<media::Range>) -> Result<Option<Range<u64>>, Failure> {
    let Some(media::Range { length, offset }) = range else { return Ok(None) };
    let wrong = || Failure::permanent("the manifest names a part of a file without saying where it begins");
    let start = offset.ok_or_else(wrong)?;
    let end = start.checked_add(length).filter(|end| *end > start);
    end.map(|end| Some(start..end))
        .ok_or_else(|| Failure::permanent("the manifest names a part of a file without bytes"))
}

#[expect(clippy::cast_precision_loss, reason = "rates are far below 2^52")]
pub(super) fn float(number: u64) -> f64 {
    number as f64
}
