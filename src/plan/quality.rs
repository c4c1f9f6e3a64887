//! Quality that is asked for as a number: how it is searched for, from a few
//! seconds of the film, before the film is encoded.

use crate::plan::grid::Grid;
use crate::plan::piece::Piece;
use crate::plan::settings::Codec;

/// Seconds of one sample: about the length of a group of pictures.
const SAMPLE_SECONDS: f64 = 2.0;

/// So many samples, evenly over the film. More would take longer and tell little else.
const SAMPLES: u64 = 4;

/// The first step away from what a rung has by default; afterwards steps are halved.
const STEP: u32 = 6;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// VMAF, 0 to 100, by its default model.
    Vmaf,
    /// Structural similarity, 0 to 1, of brightness and colour.
    Ssim,
}

impl Metric {
    /// Its name in the settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vmaf => "vmaf",
            Self::Ssim => "ssim",
        }
    }

    /// ffmpeg's filter that measures it.
    pub fn filter(self) -> &'static str {
        match self {
            Self::Vmaf => "libvmaf",
            Self::Ssim => "ssim",
        }
    }

    /// Nobody sees a smaller difference.
    fn slack(self) -> f64 {
        match self {
            Self::Vmaf => 0.5,
            Self::Ssim => 0.001,
        }
    }
}

/// A quality that every rendition is to have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// What is measured.
    pub metric: Metric,
    /// Its least mean over the samples.
    pub target: f64,
}

impl Quality {
    /// `vmaf=93` or `ssim=0.98`.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, number) = text.split_once('=')?;
        let metric = [Metric::Vmaf, Metric::Ssim].into_iter().find(|metric| metric.name() == name.trim())?;
        let range = if metric == Metric::Vmaf { 20.0..=99.0 } else { 0.5..=0.999 };
        let target = number.trim().parse().ok().filter(|target| range.contains(target))?;
        Some(Self { metric, target })
    }
}

/// The pieces of the film to try on: all of a short one.
pub fn samples(grid: &Grid) -> Vec<Piece> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "two seconds of pictures")]
    let frames = ((grid.rate.as_f64() * SAMPLE_SECONDS).round() as u64).clamp(1, grid.frames);
    let room = grid.frames - frames;
    let count = grid.frames.div_ceil(frames).min(SAMPLES);
    let place = |number: u64| if count > 1 { room * number / (count - 1) } else { 0 };
    // Titles at both ends are no film: where there is more of it, the samples keep away from them.
    let edge = if grid.frames > frames * SAMPLES * 4 { room / (count * 2) } else { 0 };
    let inside = |number: u64| edge + place(number) * (room - edge * 2) / room.max(1);
    let piece = |number: u64| {
        let first_frame = inside(number);
        let is_in = |chunk: &u64| grid.chunk(*chunk).first_frame <= first_frame;
        let chunk = (0..grid.chunks()).take_while(is_in).last().unwrap_or(0);
        let number = usize::try_from(number).unwrap_or(0);
        Piece { chunk, number, first_frame, frames, key_frames: vec![0] }
    };
    (0..count).map(piece).collect()
}

/// The search for one rendition's constant rate factor: the highest that is good enough.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    quality: Quality,
    range: (u32, u32),
    start: u32,
    tried: Vec<(u32, f64)>,
}

/// What a search has found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// The constant rate factor.
    pub crf: u32,
    /// The quality it gives.
    pub score: f64,
    /// Whether that is what was asked for: a cap may stand before it.
    pub reached: bool,
}

impl Search {
    /// A search that begins at `start`.
    pub fn new(quality: Quality, codec: Codec, start: f64) -> Self {
        let range = match codec {
            Codec::H264 | Codec::Hevc => (12, 42),
            Codec::Av1 => (16, 60),
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within a small range")]
        let start = start.round().clamp(f64::from(range.0), f64::from(range.1)) as u32;
        Self { quality, range, start, tried: Vec::new() }
    }

    /// Notes the score of a factor.
    pub fn note(&mut self, crf: u32, score: f64) {
        self.tried.push((crf, score));
    }

    /// The factor to try next, if it is not found yet.
    pub fn next(&self) -> Option<u32> {
        let (lowest, highest) = self.range;
        match (self.good(), self.bad()) {
            (None, None) => Some(self.start),
            (None, Some(bad)) => (bad > lowest).then(|| lowest.max(bad.saturating_sub(STEP))),
            (Some(good), None) => (good < highest).then(|| highest.min(good + STEP)),
            (Some(good), Some(bad)) => (bad - good > 1).then(|| good.midpoint(bad)),
        }
    }

    /// What was found, when nothing is left to try.
    pub fn choice(&self) -> Option<Choice> {
        let score = |crf: u32| self.tried.iter().find(|tried| tried.0 == crf).map(|tried| tried.1);
        if let Some(crf) = self.good() {
            return Some(Choice { crf, score: score(crf)?, reached: true });
        }
        // Where the cap is what holds it back, a lower factor gives nothing more.
        let best = self.tried.iter().map(|tried| tried.1).reduce(f64::max)? - self.quality.metric.slack();
        let (crf, score) = self.tried.iter().filter(|tried| tried.1 >= best).max_by_key(|tried| tried.0)?;
        Some(Choice { crf: *crf, score: *score, reached: false })
    }

    /// The highest that is good enough.
    fn good(&self) -> Option<u32> {
        self.tried.iter().filter(|tried| tried.1 >= self.quality.target).map(|tried| tried.0).max()
    }

    /// The lowest above it that is not.
    fn bad(&self) -> Option<u32> {
        let above = self.good().unwrap_or(0);
        let bad = self.tried.iter().filter(|tried| tried.1 < self.quality.target && tried.0 > above);
        bad.map(|tried| tried.0).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::rational::Rational;

    const SSIM: Quality = Quality { metric: Metric::Ssim, target: 0.95 };

    /// What comes of a search among scores by `score`, and how many it takes.
    fn found(score: impl Fn(u32) -> f64) -> (Choice, usize) {
        let mut search = Search::new(SSIM, Codec::H264, 22.5);
        while let Some(crf) = search.next() {
            search.note(crf, score(crf));
        }
        (search.choice().unwrap(), search.tried.len())
    }

    #[test]
    fn the_highest_factor_that_is_good_enough_is_found() {
        for wanted in 12..=42 {
            let score = |crf: u32| 0.95 + (f64::from(wanted) - f64::from(crf)) / 1000.0;
            let (choice, tries) = found(score);
            assert_eq!((choice.crf, choice.reached), (wanted, true));
            assert!(tries <= 7, "{tries} tries for {wanted}");
        }
    }

    #[test]
    fn behind_a_cap_no_bit_is_spent_for_nothing() {
        let capped = |crf: u32| if crf <= 23 { 0.94 } else { 0.94 - f64::from(crf - 23) / 100.0 };
        assert_eq!(found(capped).0, Choice { crf: 23, score: 0.94, reached: false });
        assert_eq!(found(|_| 0.99).0.crf, 42);
    }

    #[test]
    fn qualities_are_read() {
        assert_eq!(Quality::parse("vmaf=93"), Some(Quality { metric: Metric::Vmaf, target: 93.0 }));
        assert_eq!(Quality::parse("ssim = 0.98"), Some(Quality { metric: Metric::Ssim, target: 0.98 }));
        for wrong in ["", "vmaf", "vmaf=", "vmaf=101", "ssim=93", "psnr=40", "ssim=nan"] {
            assert_eq!(Quality::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn samples_are_spread_over_the_film() {
        let of = |seconds: f64| -> Vec<(u64, u64)> {
            let grid = Grid::new(Rational::new(25, 1).unwrap(), seconds, 6.0);
            samples(&grid).iter().map(|piece| (piece.first_frame, piece.frames)).collect()
        };
        assert_eq!(of(1.0), [(0, 25)]);
        assert_eq!(of(3.0), [(0, 50), (25, 50)]);
        assert_eq!(of(8.0), [(0, 50), (50, 50), (100, 50), (150, 50)]);
        assert_eq!(of(1000.0), [(3118, 50), (9355, 50), (15593, 50), (21832, 50)]);
    }
}
