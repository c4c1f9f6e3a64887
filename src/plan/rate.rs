//! The frame rate of the output, chosen from what the packets show.

use crate::model::media::Video;
use crate::model::rational::Rational;

/// The rates that films, broadcasters, phones and screens use.
const STANDARD: [(u64, u64); 14] = [
    (10, 1),
    (12, 1),
    (15, 1),
    (20, 1),
    (24000, 1001),
    (24, 1),
    (25, 1),
    (30000, 1001),
    (30, 1),
    (48, 1),
    (50, 1),
    (60000, 1001),
    (60, 1),
    (5, 1),
];

/// No rendition is faster (Apple's authoring specification, 1.19).
const FASTEST: f64 = 60.5;

/// A source whose frames lie beside its own grid gets at least this, so that a slide is never
/// more than a thirtieth of a second off.
const SLOWEST_IRREGULAR: u64 = 15;

/// No rendition is slower, whatever the source is: decoding times run ahead by two frames, which must not be
/// more than the 10 s at which media time begins.
const SLOWEST_REGULAR: f64 = 0.5;

/// Intervals of which many are this part longer than many others are of two rates.
const MIXED: f64 = 0.1;

/// Seconds that a frame of a slow source may lie beside the grid.
const BESIDE: f64 = 0.03;

/// The constant rate to make from `video`.
///
/// Regular sources keep their own rate, halved until it is at most 60. For
/// irregular ones the short intervals decide, so that no motion is lost.
pub fn output_rate(video: &Video) -> Rational {
    let mut intervals: Vec<f64> =
        video.timeline.times.windows(2).map(|pair| pair[1] - pair[0]).filter(|interval| *interval > 1e-4).collect();
    if intervals.is_empty() {
        return sensible(video.base_rate).or_else(|| sensible(video.average_rate)).unwrap_or(THIRTY);
    }
    intervals.sort_by(f64::total_cmp);
    let median = intervals[intervals.len() / 2];
    let alike = intervals.iter().filter(|interval| (*interval / median - 1.0).abs() < 0.25).count();
    let regular = alike * 20 >= intervals.len() * 19;
    let (mean, short) = (mean_near(&intervals, median), intervals[intervals.len() / 4]);
    let chosen = |interval: f64| nearest(1.0 / interval, 1.0 / median, video.base_rate);
    // Two rates behind each other, such as those of film and of television, have a mean that nobody uses.
    let long = intervals[intervals.len() * 3 / 4];
    let is_mixed = regular && long / short - 1.0 > MIXED && !is_standard(chosen(mean));
    let rate = halved(chosen(if regular && !is_mixed { mean } else { short }));
    let slowest = Rational::new(SLOWEST_IRREGULAR, 1).unwrap_or(THIRTY);
    let rate = if rate.as_f64() < SLOWEST_REGULAR { ONE } else { rate };
    let slow = rate.as_f64() < slowest.as_f64();
    if slow && !(regular && is_on_grid(&video.timeline.times, rate)) { slowest } else { rate }
}

fn is_standard(rate: Rational) -> bool {
    STANDARD.contains(&(rate.num(), rate.den()))
}

/// Whether all frames lie on the grid of `rate` that begins with the first.
fn is_on_grid(times: &[f64], rate: Rational) -> bool {
    let start = times.first().copied().unwrap_or(0.0);
    let frames = times.iter().map(|time| (time - start) * rate.as_f64());
    frames.map(|frame| (frame - frame.round()).abs() / rate.as_f64()).all(|beside| beside < BESIDE)
}

const ONE: Rational = match Rational::new(1, 1) {
    Some(rate) => rate,
    None => unreachable!(),
};

const THIRTY: Rational = match Rational::new(30, 1) {
    Some(rate) => rate,
    None => unreachable!(),
};

fn sensible(rate: Option<Rational>) -> Option<Rational> {
    rate.filter(|rate| (1.0..=FASTEST).contains(&rate.as_f64()))
}

/// The mean of the intervals around the median: time stamps in milliseconds
/// make 33 and 34 of what is 33.37.
#[expect(clippy::cast_precision_loss, reason = "counts of frames are far below 2^52")]
fn mean_near(intervals: &[f64], median: f64) -> f64 {
    let near: Vec<f64> = intervals.iter().copied().filter(|interval| (interval / median - 1.0).abs() < 0.25).collect();
    near.iter().sum::<f64>() / near.len() as f64
}

/// The base rate if it fits, else a standard rate within 1 %, else the rate to three decimals.
/// A base rate that nobody uses, such as 301/12 of what was joined, has to fit better.
fn nearest(fps: f64, usual: f64, base: Option<Rational>) -> Rational {
    let fits = |rate: &Rational, within: f64| (rate.as_f64() / fps - 1.0).abs() < within;
    let base = base.filter(|base| fits(base, 0.01) && base.den() <= 1001);
    if let Some(base) =
        base.filter(|base| is_standard(*base) || fits(base, 0.0015) && (base.as_f64() / usual - 1.0).abs() < 0.0015)
    {
        return base;
    }
    let standard = STANDARD.iter().filter_map(|&(num, den)| Rational::new(num, den));
    let closest = standard
        .filter(|rate| fits(rate, 0.01))
        .min_by(|a, b| (a.as_f64() - fps).abs().total_cmp(&(b.as_f64() - fps).abs()));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive rate below 10^7")]
    closest.or(base).or_else(|| Rational::new((fps.min(1e6) * 1000.0).round() as u64, 1000)).unwrap_or(THIRTY)
}

fn halved(mut rate: Rational) -> Rational {
    while rate.as_f64() > FASTEST {
        rate = Rational::new(rate.num(), rate.den() * 2).unwrap_or(THIRTY);
    }
    rate
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::media::Timeline;

    #[track_caller]
    fn check(times: &[f64], base: &str, expected: &str) {
        let video = Video {
            base_rate: Rational::parse(base),
            timeline: Timeline { times: times.to_vec(), ..Timeline::default() },
            ..crate::plan::ladder::tests::video(1920, 1080)
        };
        assert_eq!(output_rate(&video).to_string(), expected);
    }

    fn every(interval: f64) -> Vec<f64> {
        (0..100).map(|frame| f64::from(frame) * interval).collect()
    }

    #[test]
    fn regular_sources_keep_their_rate() {
        check(&every(0.04), "25/1", "25/1");
        check(&every(1001.0 / 24000.0), "24000/1001", "24000/1001");
        check(&every(1.0), "1/1", "1/1");
    }

    #[test]
    fn millisecond_stamps_find_the_standard_rate() {
        let times: Vec<f64> = every(1001.0 / 30000.0).iter().map(|time| (time * 1000.0).round() / 1000.0).collect();
        check(&times, "1000/1", "30000/1001");
    }

    #[test]
    fn fast_sources_are_halved() {
        check(&every(1.0 / 120.0), "120/1", "60/1");
        check(&every(1001.0 / 120_000.0), "120000/1001", "60000/1001");
    }

    #[test]
    fn phones_that_drop_frames_get_their_full_rate() {
        let mut times = every(1.0 / 30.0);
        times.retain(|time| !(1.0..1.4).contains(time));
        times.extend((0..30).map(|frame| 4.0 + f64::from(frame) / 15.0));
        check(&times, "90000/1", "30/1");
    }

    #[test]
    fn two_rates_behind_each_other_become_the_quicker() {
        let two = |first: f64, then: f64| {
            let behind = every(then).into_iter().map(move |time| 100.0 * first + time);
            every(first).into_iter().chain(behind).collect::<Vec<f64>>()
        };
        check(&two(1001.0 / 24000.0, 1001.0 / 30000.0), "24000/1001", "30000/1001");
        check(&two(1.0 / 30.0, 1.0 / 25.0), "25/1", "30/1");
    }

    #[test]
    fn irregular_slides_get_fifteen_a_second() {
        check(&[0.0, 3.1, 9.9, 11.0, 30.2], "1/5", "15/1");
        let trembling: Vec<f64> = (0..100).map(|slide| f64::from(slide) + 0.1 * f64::from(slide % 2)).collect();
        check(&trembling, "1/1", "15/1");
    }

    #[test]
    fn two_slides_for_a_lecture_get_one_a_second() {
        check(&[0.0, 20.0], "1/20", "1/1");
        check(&[0.0, 19.96], "25/499", "15/1");
        check(&[0.0, 2.0, 4.0], "1/2", "1/2");
    }

    #[test]
    fn a_rate_that_was_joined_together_is_none() {
        check(&every(0.04), "301/12", "25/1");
        check(&every(1.0 / 33.0), "33/1", "33/1");
        check(&[0.0, 0.042, 0.083, 0.125], "24000/1001", "24000/1001");
    }

    #[test]
    fn one_frame_takes_the_declared_rate() {
        check(&[0.0], "25/1", "25/1");
        check(&[0.0], "90000/1", "25/1");
    }
}
