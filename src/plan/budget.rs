//! How the bits are shared out among the chunks of a video.
//!
//! Chunks are encoded apart, so no encoder can save in one what another needs.
//! But whoever made the source has seen all of it: where it spent many bits the
//! picture is hard. So the cap of a rung holds for the whole, and a chunk gets
//! more or less of it by the source's own bits.

use crate::model::media::Timeline;
use crate::plan::grid::Grid;

/// The least and the most of the cap that a chunk gets, but for evening out.
const LEAST: f64 = 0.6;
const MOST: f64 = 1.7;

/// For each chunk, its part of the cap: 1 on average over the video.
#[expect(clippy::cast_precision_loss, reason = "bytes and frames of a video")]
pub fn shares(timeline: &Timeline, grid: &Grid, start: f64) -> Vec<f64> {
    let bytes = |number: u64| {
        let chunk = grid.chunk(number);
        let begin = start + grid.rate.seconds(chunk.first_frame);
        let end = begin + grid.rate.seconds(chunk.frames);
        // Half a frame early, since time stamps are rounded.
        let at = |time: f64| timeline.times.partition_point(|shown| *shown < time - 0.5 / grid.rate.as_f64());
        let spans = timeline.spans.get(at(begin)..at(end)).unwrap_or_default();
        (spans.iter().map(|span| span.1 - span.0).sum::<u64>() as f64, chunk.frames as f64)
    };
    let chunks: Vec<(f64, f64)> = (0..grid.chunks()).map(bytes).collect();
    // Not in proportion: the source was free to spend, and what is twice as hard is not worth twice as much.
    let mut shares: Vec<f64> = chunks.iter().map(|(bytes, frames)| (bytes / frames).sqrt()).collect();
    if shares.iter().sum::<f64>() == 0.0 {
        return vec![1.0; shares.len()];
    }
    even_out(&mut shares, &chunks);
    for share in &mut shares {
        *share = share.clamp(LEAST, MOST);
    }
    even_out(&mut shares, &chunks);
    shares
}

/// Makes the mean over all frames 1.
fn even_out(shares: &mut [f64], chunks: &[(f64, f64)]) {
    let frames: f64 = chunks.iter().map(|(_, frames)| frames).sum();
    let mean = shares.iter().zip(chunks).map(|(share, (_, frames))| share * frames).sum::<f64>() / frames;
    for share in shares {
        *share /= mean;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::rational::Rational;

    /// The shares of 18 seconds in three chunks whose pictures have so many bytes.
    fn of(bytes: [u64; 3]) -> Vec<f64> {
        let times = (0..450).map(|frame| f64::from(frame) / 25.0).collect();
        let sizes = bytes.iter().flat_map(|bytes| std::iter::repeat_n(*bytes, 150));
        let spans = sizes.scan(0, |end, size| {
            *end += size;
            Some((*end - size, *end))
        });
        let timeline = Timeline { times, spans: spans.collect(), end: 18.0, ..Timeline::default() };
        let shares = shares(&timeline, &Grid::new(Rational::new(25, 1).unwrap(), 18.0, 6.0), 0.0);
        shares.iter().map(|share| (share * 100.0).round() / 100.0).collect()
    }

    #[test]
    fn hard_chunks_get_more_and_the_whole_no_more() {
        assert_eq!(of([1000, 1000, 1000]), [1.0, 1.0, 1.0]);
        assert_eq!(of([900, 1600, 2500]), [0.75, 1.0, 1.25]);
        let extreme = of([10, 10, 100_000]);
        assert_eq!(extreme, [0.62, 0.62, 1.76]);
    }

    #[test]
    fn where_the_source_does_not_tell_all_get_the_same() {
        assert_eq!(of([0, 0, 0]), [1.0, 1.0, 1.0]);
    }
}
