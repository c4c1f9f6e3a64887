//! The time grid of a package: frames, segments of whole frames, and chunks
//! of whole segments.

use std::sync::Arc;

use crate::model::rational::Rational;

/// The most segments of one chunk, about 30 s at 6 s a segment.
const LONGEST_CHUNK: u64 = 5;

/// A chunk takes at most this part of what is still to come, so that many cores
/// have work, and none is left alone with a long one at the end.
const PART_OF_REST: u64 = 8;

/// Frames, segments and chunks of one source. Everything follows from the
/// source and the settings, nothing from the machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// Frames a second.
    pub rate: Rational,
    /// Frames in all, at least one.
    pub frames: u64,
    /// The frames at which segments begin, and the one behind the last.
    edges: Arc<[u64]>,
    /// The segments at which chunks begin, and the one behind the last.
    chunks: Arc<[u64]>,
}

/// One run of whole segments, encoded by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its number, from 0.
    pub number: u64,
    /// Its first segment.
    pub first_segment: u64,
    /// How many segments it has.
    pub segments: u64,
    /// Its first frame.
    pub first_frame: u64,
    /// How many frames it has.
    pub frames: u64,
}

impl Grid {
    /// The grid for `seconds` of source at `rate`, in segments as near to `segment_seconds` as whole frames come.
    pub fn new(rate: Rational, seconds: f64, segment_seconds: f64) -> Self {
        let frames = whole_frames(rate, seconds);
        let segment_frames = whole_frames(rate, segment_seconds);
        let edges = (0..frames.div_ceil(segment_frames)).map(|segment| segment * segment_frames).chain([frames]);
        Self::with_edges(rate, edges.collect())
    }

    /// The grid whose segments begin at the frames `edges`, of which the last is the one behind the last segment.
    pub fn with_edges(rate: Rational, edges: Vec<u64>) -> Self {
        let frames = edges.last().copied().unwrap_or(1);
        let segments = edges.len().saturating_sub(1) as u64;
        let mut chunks = vec![0];
        let mut first = 0;
        while first < segments {
            first += ((segments - first) / PART_OF_REST).clamp(1, LONGEST_CHUNK);
            chunks.push(first);
        }
        Self { rate, frames, edges: edges.into(), chunks: chunks.into() }
    }

    /// The key frames of a chunk, counted from its first frame: they divide each
    /// segment evenly, at most `seconds` apart as near as whole frames come.
    pub fn key_frames(&self, chunk: &Chunk, seconds: f64) -> Vec<u64> {
        let most = whole_frames(self.rate, seconds);
        let segments = chunk.first_segment..chunk.first_segment + chunk.segments;
        let keys = segments.flat_map(|segment| {
            let (first, _) = self.segment(segment);
            // The last segment is as long as the rest, and its groups as long as those of a whole one.
            let frames = self.usual_frames(segment);
            let group = frames.div_ceil(frames.div_ceil(most));
            (0..frames).step_by(index(group)).map(move |key| first - chunk.first_frame + key)
        });
        keys.filter(|key| *key < chunk.frames).collect()
    }

    /// Length of the whole in seconds.
    pub fn seconds(&self) -> f64 {
        self.rate.seconds(self.frames)
    }

    /// Number of segments.
    pub fn segments(&self) -> u64 {
        self.edges.len().saturating_sub(1) as u64
    }

    /// Number of chunks.
    pub fn chunks(&self) -> u64 {
        self.chunks.len().saturating_sub(1) as u64
    }

    /// First frame and number of frames of a segment.
    pub fn segment(&self, segment: u64) -> (u64, u64) {
        let edge = |number: u64| self.edges.get(index(number)).copied().unwrap_or(self.frames);
        (edge(segment), edge(segment + 1) - edge(segment))
    }

    /// One chunk.
    pub fn chunk(&self, number: u64) -> Chunk {
        let edge = |number: u64| self.chunks.get(index(number)).copied().unwrap_or(self.segments());
        let (first_segment, after) = (edge(number), edge(number + 1));
        let (first_frame, _) = self.segment(first_segment);
        let frames = self.segment(after).0 - first_frame;
        Chunk { number, first_segment, segments: after - first_segment, first_frame, frames }
    }

    /// Frames of the longest segment.
    pub fn longest_segment(&self) -> u64 {
        self.edges.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(1)
    }

    /// `EXT-X-TARGETDURATION`: the longest segment, rounded (RFC 8216 §4.3.3.1), never 0.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a segment is a few seconds")]
    pub fn target_duration(&self) -> u64 {
        (self.rate.seconds(self.longest_segment()).round() as u64).max(1)
    }

    /// Frames of a segment; of the last, those of the one before it if that is longer.
    fn usual_frames(&self, segment: u64) -> u64 {
        let (_, frames) = self.segment(segment);
        let is_last = segment + 1 == self.segments();
        if is_last && segment > 0 { frames.max(self.segment(segment - 1).1) } else { frames }
    }
}

/// The frames of `seconds`, at least one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "lengths are positive and limited")]
fn whole_frames(rate: Rational, seconds: f64) -> u64 {
    ((seconds * rate.as_f64()).round() as u64).max(1)
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rate: (u64, u64), seconds: f64, expected: (u64, u64, u64)) {
        let grid = Grid::new(Rational::new(rate.0, rate.1).unwrap(), seconds, 6.0);
        assert_eq!((grid.frames, grid.segments(), grid.chunks()), expected);
        let chunks: Vec<Chunk> = (0..grid.chunks()).map(|number| grid.chunk(number)).collect();
        assert_eq!(chunks.iter().map(|chunk| chunk.frames).sum::<u64>(), grid.frames);
        assert_eq!(chunks.iter().map(|chunk| chunk.segments).sum::<u64>(), grid.segments());
        for pair in chunks.windows(2) {
            assert_eq!(pair[0].first_frame + pair[0].frames, pair[1].first_frame);
        }
    }

    #[test]
    fn short_sources_have_a_chunk_a_segment() {
        check((25, 1), 20.0, (500, 4, 4));
        check((25, 1), 0.4, (10, 1, 1));
        check((30, 1), 0.001, (1, 1, 1));
    }

    #[test]
    fn long_sources_have_chunks_of_half_a_minute() {
        check((25, 1), 7200.0, (180_000, 1200, 255));
        check((30000, 1001), 600.0, (17982, 100, 35));
    }

    #[test]
    fn segments_are_whole_frames() {
        let grid = Grid::new(Rational::new(24000, 1001).unwrap(), 60.0, 6.0);
        assert_eq!((grid.segment(0), grid.segment(1), grid.target_duration()), ((0, 144), (144, 144), 6));
        let slow = Grid::new(Rational::new(1, 1).unwrap(), 7200.0, 6.0);
        assert_eq!((slow.segment(3), slow.segments()), ((18, 6), 1200));
    }

    #[test]
    fn chunks_become_short_at_the_end() {
        let grid = Grid::new(Rational::new(25, 1).unwrap(), 240.0, 6.0);
        let sizes: Vec<u64> = (0..grid.chunks()).map(|number| grid.chunk(number).segments).collect();
        assert_eq!(sizes, [5, 4, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
    }

    #[test]
    fn key_frames_divide_each_segment() {
        let grid = Grid::with_edges(Rational::new(25, 1).unwrap(), vec![0, 150, 260, 300]);
        let keys = |number| grid.key_frames(&grid.chunk(number), 2.0);
        assert_eq!((keys(0), keys(1), keys(2)), (vec![0, 50, 100], vec![0, 37, 74], vec![0, 37]));
        assert_eq!(grid.target_duration(), 6);
        let all = Chunk { number: 0, first_segment: 0, segments: 2, first_frame: 0, frames: 260 };
        assert_eq!(grid.key_frames(&all, 6.0), [0, 150]);
    }
}
