//! The time grid of a package: frames, segments of whole frames, and chunks
//! of whole segments.

use crate::model::rational::Rational;

/// Segments of one chunk of a long source, about 30 s at 6 s a segment.
const LONGEST_CHUNK: u64 = 5;

/// A source has at least so many chunks before chunks grow beyond one segment,
/// so that many cores have work.
const WANTED_CHUNKS: u64 = 8;

/// Frames, segments and chunks of one source. Everything follows from the
/// source and the settings, nothing from the machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// Frames a second.
    pub rate: Rational,
    /// Frames in all, at least one.
    pub frames: u64,
    /// Frames of every segment but the last.
    pub segment_frames: u64,
    /// Segments of every chunk but the last.
    pub chunk_segments: u64,
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
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "lengths are positive and limited")]
    pub fn new(rate: Rational, seconds: f64, segment_seconds: f64) -> Self {
        let frames = ((seconds * rate.as_f64()).round() as u64).max(1);
        let segment_frames = ((segment_seconds * rate.as_f64()).round() as u64).max(1);
        let segments = frames.div_ceil(segment_frames);
        let chunk_segments = (segments / WANTED_CHUNKS).clamp(1, LONGEST_CHUNK);
        Self { rate, frames, segment_frames, chunk_segments }
    }

    /// Frames between key frames that divide a segment evenly, at most `seconds` apart as near as whole frames come.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of frames in a segment")]
    pub fn group_frames(&self, seconds: f64) -> u64 {
        let most = ((seconds * self.rate.as_f64()).round() as u64).max(1);
        let groups = self.segment_frames.div_ceil(most);
        self.segment_frames.div_ceil(groups)
    }

    /// Length of the whole in seconds.
    pub fn seconds(&self) -> f64 {
        self.rate.seconds(self.frames)
    }

    /// Number of segments.
    pub fn segments(&self) -> u64 {
        self.frames.div_ceil(self.segment_frames)
    }

    /// Number of chunks.
    pub fn chunks(&self) -> u64 {
        self.segments().div_ceil(self.chunk_segments)
    }

    /// First frame and number of frames of a segment.
    pub fn segment(&self, segment: u64) -> (u64, u64) {
        let first = segment * self.segment_frames;
        (first, self.segment_frames.min(self.frames - first))
    }

    /// One chunk.
    pub fn chunk(&self, number: u64) -> Chunk {
        let first_segment = number * self.chunk_segments;
        let segments = self.chunk_segments.min(self.segments() - first_segment);
        let first_frame = first_segment * self.segment_frames;
        let frames = (segments * self.segment_frames).min(self.frames - first_frame);
        Chunk { number, first_segment, segments, first_frame, frames }
    }

    /// `EXT-X-TARGETDURATION`: the longest segment, rounded (RFC 8216 §4.3.3.1), never 0.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a segment is a few seconds")]
    pub fn target_duration(&self) -> u64 {
        (self.rate.seconds(self.segment_frames.min(self.frames)).round() as u64).max(1)
    }
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
        check((25, 1), 7200.0, (180_000, 1200, 240));
        check((30000, 1001), 600.0, (17982, 100, 20));
    }

    #[test]
    fn segments_are_whole_frames() {
        let grid = Grid::new(Rational::new(24000, 1001).unwrap(), 60.0, 6.0);
        assert_eq!((grid.segment_frames, grid.target_duration()), (144, 6));
        let slow = Grid::new(Rational::new(1, 1).unwrap(), 7200.0, 6.0);
        assert_eq!((slow.segment_frames, slow.segments()), (6, 1200));
        assert_eq!((grid.group_frames(2.0), grid.group_frames(6.0), slow.group_frames(2.0)), (48, 144, 2));
    }
}
