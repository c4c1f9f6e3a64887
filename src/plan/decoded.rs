//! Whether what was decoded is what the packets promised.
//!
//! ffmpeg exits 0 on sources of which it could decode only a part, and the grid
//! fills what is missing with the picture before: only this comparison tells.

use crate::model::media::Timeline;
use crate::plan::grid::Grid;
use crate::plan::piece::Piece;

/// A stretch without decoded pictures is damage from this length on, if the
/// packets have pictures there.
const LONGEST_GAP: f64 = 0.5;

/// So many packets must be within a gap: a hidden frame or a second field is no picture.
const PACKETS_IN_GAP: usize = 3;

/// The first stretch of `piece` for which packets exist and no pictures came
/// out of the decoder: begin and length, in seconds of the source.
pub fn gap(decoded: &[f64], timeline: &Timeline, grid: &Grid, piece: &Piece, start: f64) -> Option<(f64, f64)> {
    let begin = start + grid.rate.seconds(piece.first_frame);
    let end = (begin + grid.rate.seconds(piece.frames)).min(timeline.end);
    let mut times: Vec<f64> = decoded.iter().copied().filter(|time| *time < end).collect();
    times.sort_by(f64::total_cmp);
    // What was decoded before the piece only matters as the picture it begins with.
    let first = times.iter().rposition(|time| *time <= begin).unwrap_or(0);
    let mut edges = vec![begin];
    edges.extend(times.iter().skip(first).copied().filter(|time| *time > begin));
    edges.push(end);
    edges.windows(2).find_map(|pair| {
        let (from, to) = (pair[0], pair[1]);
        let inside = |time: &&f64| **time > from + 0.02 && **time < to - 0.02;
        let is_gap = to - from > LONGEST_GAP && timeline.times.iter().filter(inside).count() >= PACKETS_IN_GAP;
        is_gap.then_some((from, to - from))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::rational::Rational;

    #[track_caller]
    fn check(keep: impl Fn(f64) -> bool, expected: Option<(f64, f64)>) {
        let times: Vec<f64> = (0..300).map(|frame| f64::from(frame) * 0.04).collect();
        let timeline = Timeline { end: 12.0, times: times.clone(), ..Timeline::default() };
        let grid = Grid::new(Rational::new(25, 1).unwrap(), 12.0, 6.0);
        let piece = Piece { chunk: 1, number: 0, first_frame: 150, frames: 150, key_frames: vec![0] };
        let decoded: Vec<f64> = times.into_iter().filter(|time| *time >= 4.0 && keep(*time)).collect();
        let found = gap(&decoded, &timeline, &grid, &piece, 0.0);
        let rounded = found.map(|(from, length)| ((from * 100.0).round() / 100.0, (length * 100.0).round() / 100.0));
        assert_eq!(rounded, expected);
    }

    #[test]
    fn a_whole_chunk_has_no_gap() {
        check(|_| true, None);
        check(|time| (time * 5.0).fract() > 0.1, None);
    }

    #[test]
    fn what_the_decoder_dropped_is_found() {
        check(|time| !(7.0..9.0).contains(&time), Some((6.96, 2.04)));
        check(|time| time < 8.0, Some((7.96, 4.04)));
        check(|time| time > 8.0, Some((6.0, 2.04)));
        check(|_| false, Some((6.0, 6.0)));
    }
}
