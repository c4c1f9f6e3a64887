//! Pieces: what one encoder makes of a chunk at a time.
//!
//! A long chunk is one piece. The first segment of a source is what idle cores
//! wait for, and the last is what everybody waits for in the end; these two are
//! cut at their key frames into pieces, which several cores share and which
//! begin as soon as *their* bytes are here. Other chunks of one segment are cut
//! once, in the middle: each cut costs a little quality, as an encoder cannot
//! look beyond it.

use crate::model::media::Timeline;
use crate::plan::grid::Chunk;
use crate::plan::hls::HlsPlan;
use crate::plan::settings::HlsSettings;

/// A decoder begins at the source's key frame before a piece. What is decoded
/// for nothing may be this long, in seconds, or the piece stays with the one before it:
/// to decode so much takes a tenth of what it takes to encode a piece.
const LONGEST_RUN_UP: f64 = 5.0;

/// Frames of one chunk that one encoder makes by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The number of its chunk.
    pub chunk: u64,
    /// Its number in the chunk, from 0.
    pub number: usize,
    /// Its first frame.
    pub first_frame: u64,
    /// How many frames it has.
    pub frames: u64,
    /// Its key frames, counted from its first frame.
    pub key_frames: Vec<u64>,
}

/// The pieces of `chunk`, in order.
pub fn pieces(plan: &HlsPlan, timeline: &Timeline, chunk: &Chunk, settings: &HlsSettings) -> Vec<Piece> {
    let keys = plan.grid.key_frames(chunk, settings.key_frame_seconds);
    let is_edge = chunk.number == 0 || chunk.number + 1 == plan.grid.chunks();
    // Two passes share out the bits of a chunk by all of it.
    let divide = chunk.segments == 1 && !settings.two_pass;
    let near = |key: &&u64| run_up(plan, timeline, chunk.first_frame + **key) <= LONGEST_RUN_UP;
    let inner = keys.get(1..).unwrap_or_default();
    let mut starts = vec![0];
    if divide && is_edge {
        starts.extend(inner.iter().filter(near));
    } else if divide {
        starts.extend(inner.get(inner.len().saturating_sub(1) / 2).filter(near));
    }
    let ends = starts.iter().skip(1).copied().chain([chunk.frames]);
    let piece = |(number, (&start, end)): (usize, (&u64, u64))| {
        let inside = keys.iter().filter(|key| (start..end).contains(key));
        Piece {
            chunk: chunk.number,
            number,
            first_frame: chunk.first_frame + start,
            frames: end - start,
            key_frames: inside.map(|key| key - start).collect(),
        }
    };
    starts.iter().zip(ends).enumerate().map(piece).collect()
}

/// Seconds from the source's key frame before a frame of the grid to that frame.
fn run_up(plan: &HlsPlan, timeline: &Timeline, frame: u64) -> f64 {
    let at = plan.start + plan.grid.rate.seconds(frame);
    let before = timeline.keys.partition_point(|key| *key <= at + 1e-6);
    before.checked_sub(1).and_then(|key| timeline.keys.get(key)).map_or(f64::INFINITY, |key| at - key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::hls;
    use crate::plan::hls::tests::{media, settings};

    /// Of ten seconds at 25 frames a second, the pieces of a chunk as first frame, frames and key frames.
    fn of(number: u64, settings: &HlsSettings, keys: &[f64]) -> Vec<(u64, u64, Vec<u64>)> {
        let media = media(10.0, |_| true);
        let plan = hls::plan(&media, settings).unwrap();
        let timeline = Timeline { keys: keys.to_vec(), ..media.video.unwrap().timeline };
        let pieces = pieces(&plan, &timeline, &plan.grid.chunk(number), settings);
        pieces.into_iter().map(|piece| (piece.first_frame, piece.frames, piece.key_frames)).collect()
    }

    #[test]
    fn first_and_last_segment_are_cut_at_key_frames() {
        let often = [0.0, 1.5, 3.0, 4.5, 6.0, 7.5];
        assert_eq!(of(0, &settings(), &often), [(0, 50, vec![0]), (50, 50, vec![0]), (100, 50, vec![0])]);
        assert_eq!(of(1, &settings(), &often), [(150, 50, vec![0]), (200, 50, vec![0])]);
    }

    #[test]
    fn another_segment_is_cut_once() {
        let often: Vec<f64> = (0..10).map(f64::from).collect();
        let settings = HlsSettings { segment_seconds: 3.0, key_frame_seconds: 1.0, ..settings() };
        assert_eq!(of(1, &settings, &often), [(75, 25, vec![0]), (100, 50, vec![0, 25])]);
    }

    #[test]
    fn nothing_is_cut_where_the_source_has_no_key_frame_near() {
        assert_eq!(of(1, &settings(), &[0.0]), [(150, 100, vec![0, 50])]);
        assert_eq!(of(1, &settings(), &[0.0, 3.5]), [(150, 50, vec![0]), (200, 50, vec![0])]);
    }

    #[test]
    fn two_passes_see_the_whole_chunk() {
        let two_pass = HlsSettings { two_pass: true, ..settings() };
        assert_eq!(of(0, &two_pass, &[0.0, 2.0, 4.0]).len(), 1);
    }
}
