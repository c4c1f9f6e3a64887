//! Exact fractions, for frame rates and time bases.

use std::fmt;

/// A positive fraction, kept in lowest terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rational {
    num: u64,
    den: u64,
}

impl Rational {
    /// `num / den`, or `None` when either is zero.
    pub const fn new(num: u64, den: u64) -> Option<Self> {
        if num == 0 || den == 0 {
            return None;
        }
        let divisor = gcd(num, den);
        Some(Self { num: num / divisor, den: den / divisor })
    }

    /// Reads ffprobe's `30000/1001`; `0/0` and nonsense give `None`.
    pub fn parse(text: &str) -> Option<Self> {
        let (num, den) = text.split_once('/').or_else(|| text.split_once(':'))?;
        Self::new(num.trim().parse().ok()?, den.trim().parse().ok()?)
    }

    /// The numerator.
    pub fn num(self) -> u64 {
        self.num
    }

    /// The denominator.
    pub fn den(self) -> u64 {
        self.den
    }

    /// The nearest floating-point number.
    #[expect(clippy::cast_precision_loss, reason = "frame rates and time bases are small")]
    pub fn as_f64(self) -> f64 {
        self.num as f64 / self.den as f64
    }

    /// `count` periods of this rate, in seconds: 180 at 30000/1001 is 6.006.
    #[expect(clippy::cast_precision_loss, reason = "frame counts stay far below 2^52")]
    pub fn seconds(self, count: u64) -> f64 {
        count as f64 * self.den as f64 / self.num as f64
    }
}

impl fmt::Display for Rational {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.num, self.den)
    }
}

const fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ffprobe_rates_in_lowest_terms() {
        assert_eq!(Rational::parse("50/2"), Rational::new(25, 1));
        assert_eq!(Rational::parse("30000/1001").map(|rate| rate.to_string()).as_deref(), Some("30000/1001"));
        assert_eq!(Rational::parse("0/0"), None);
        assert_eq!(Rational::parse("N/A"), None);
    }

    #[test]
    fn frames_become_exact_seconds() {
        let ntsc = Rational::new(30000, 1001).unwrap();
        assert!((ntsc.seconds(180) - 6.006).abs() < 1e-12);
    }
}
