//! The search for the best quality that fits, in few encodes.
//!
//! A sample of the picture, encoded at a few qualities, gives the shape of its
//! curve of bytes over quality; each full encode sets the curve's height right.
//! So the first full encode is mostly near, and the second is mostly it.

/// One point: quality and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// The quality.
    pub quality: u8,
    /// Bytes at it.
    pub bytes: u64,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Encode at this quality.
    Try(u8),
    /// The encode at this quality is the one.
    Take(u8),
    /// Not even the lowest quality fits; this many bytes it takes there, roughly.
    TooLarge(u64),
}

/// Where to look, and what is known so far.
#[derive(Clone, Debug)]
pub struct Search {
    room: u64,
    lowest: u8,
    highest: u8,
    curve: Vec<Point>,
    scale: f64,
    best: Option<u8>,
    too_large: Option<Point>,
}

/// A sample is a part only: the first guess stays this far below the limit.
const CAUTION: f64 = 1.01;

/// A quality that is forecast to pass the limit by more than this is not tried.
const SURE: f64 = 1.004;

impl Search {
    /// A search from `lowest` to `highest` for what fits in `room` bytes.
    /// `sample` is a part of the picture at some qualities, of which it is `share`.
    pub fn new(room: u64, lowest: u8, highest: u8, mut sample: Vec<Point>, share: f64) -> Self {
        sample.sort_by_key(|point| point.quality);
        sample.dedup_by_key(|point| point.quality);
        let (highest, scale) = (highest.max(lowest), CAUTION / share.max(1e-6));
        Self { room, lowest, highest, curve: sample, scale, best: None, too_large: None }
    }

    /// What to do next.
    pub fn step(&self) -> Step {
        let bottom = self.best.map_or(self.lowest, |best| best + 1);
        let top = self.too_large.map_or(self.highest, |point| point.quality.saturating_sub(1));
        if bottom > top {
            return self.end();
        }
        let calibrated = self.best.is_some() || self.too_large.is_some();
        let room = self.room_for(calibrated);
        let forecast = (bottom..=top).rev().find(|&quality| self.bytes_at(quality) <= room);
        match (forecast, self.best) {
            (Some(quality), _) => Step::Try(quality),
            (None, Some(best)) => Step::Take(best),
            // The forecast may be wrong by a little: the lowest is worth a try unless it is far off.
            (None, None) if self.bytes_at(bottom) > room * 1.25 => Step::TooLarge(round(self.bytes_at(self.lowest))),
            (None, None) => Step::Try(bottom),
        }
    }

    /// Notes a full encode.
    pub fn note(&mut self, point: Point) {
        self.scale *= as_f64(point.bytes) / self.bytes_at(point.quality).max(1.0);
        if point.bytes <= self.room {
            self.best = self.best.max(Some(point.quality));
        } else {
            let nearer = self.too_large.is_none_or(|known| point.quality < known.quality);
            self.too_large = if nearer { Some(point) } else { self.too_large };
        }
    }

    fn end(&self) -> Step {
        match (self.best, self.too_large) {
            (Some(best), _) => Step::Take(best),
            (None, Some(point)) => Step::TooLarge(point.bytes),
            (None, None) => Step::TooLarge(round(self.bytes_at(self.lowest))),
        }
    }

    fn room_for(&self, calibrated: bool) -> f64 {
        as_f64(self.room) * if calibrated && self.best.is_some() { SURE } else { 1.0 }
    }

    /// The curve at `quality`: straight lines between the logarithms of the sample.
    fn bytes_at(&self, quality: u8) -> f64 {
        let log = |point: &Point| as_f64(point.bytes.max(1)).ln();
        let above = self.curve.iter().position(|point| point.quality >= quality).unwrap_or(self.curve.len());
        let right = above.clamp(1, self.curve.len().saturating_sub(1).max(1));
        let pair = self.curve.get(right - 1).zip(self.curve.get(right).or(self.curve.first()));
        let Some((left, right)) = pair else { return f64::INFINITY };
        let width = f64::from(right.quality) - f64::from(left.quality);
        let slope = if width > 0.0 { (log(right) - log(left)) / width } else { 0.0 };
        (log(left) + slope * (f64::from(quality) - f64::from(left.quality))).exp() * self.scale
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes of pictures stay far below 2^52")]
fn as_f64(bytes: u64) -> f64 {
    bytes as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sizes of pictures are small")]
fn round(bytes: f64) -> u64 {
    bytes.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes over quality as pictures have it: slowly rising, then steeply.
    fn size(quality: u8) -> u64 {
        let x = f64::from(quality);
        round(400_000.0 * (0.030 * x).exp() + 800.0 * (0.085 * x).exp())
    }

    /// The result and the number of full encodes, with a sample off by `error`.
    fn search(room: u64, error: f64) -> (Option<u8>, usize) {
        let sample =
            [75, 85, 91, 96].map(|quality| Point { quality, bytes: round(as_f64(size(quality)) * error / 8.0) });
        let mut search = Search::new(room, 75, 96, sample.into(), 0.125);
        for tries in 0.. {
            match search.step() {
                Step::Try(quality) => search.note(Point { quality, bytes: size(quality) }),
                Step::Take(quality) => return (Some(quality), tries),
                Step::TooLarge(_) => return (None, tries),
            }
        }
        unreachable!()
    }

    #[test]
    fn the_best_quality_that_fits_is_found_in_few_encodes() {
        let mut encodes = 0;
        for step in 0..200_u64 {
            let room = 3_900_000 + step * 35_000;
            let best = (75..=96).rev().find(|&quality| size(quality) <= room);
            for error in [0.9, 0.97, 1.0, 1.03, 1.1] {
                let (found, tries) = search(room, error);
                assert_eq!(found, best, "{room} {error}");
                assert!(tries <= 5, "{room} {error}: {tries} encodes");
                encodes += tries;
            }
        }
        assert!(encodes <= 2200, "{encodes} encodes for 1000 pictures");
    }

    #[test]
    fn what_cannot_fit_is_known_after_one_encode_at_most() {
        assert_eq!(search(1_000_000, 1.0), (None, 0));
        let (found, tries) = search(size(75) - 1, 1.0);
        assert!(found.is_none() && tries <= 1, "{tries}");
    }

    #[test]
    fn a_limit_that_is_far_away_takes_one_encode() {
        assert_eq!(search(99_000_000, 1.0), (Some(96), 1));
    }
}
