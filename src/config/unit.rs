//! Sizes and times as people write them.

use std::time::Duration;

const SIZES: &[(&str, f64)] = &[
    ("KiB", 1024.0),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
    ("TiB", 1_099_511_627_776.0),
    ("kB", 1e3),
    ("KB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("TB", 1e12),
    ("B", 1.0),
    ("", 1.0),
];

const TIMES: &[(&str, f64)] = &[("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0)];

/// Bytes of `20GB` (20·10⁹), `20GiB` (20·2³⁰), `1.5MB` or `5000`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked first")]
pub fn bytes(text: &str) -> Option<u64> {
    // Larger sizes could not be told apart as floating-point numbers.
    scaled(text, SIZES).filter(|&bytes| bytes < 9e15).map(|bytes| bytes.round() as u64)
}

/// The time of `250ms`, `6s`, `1.5m`, `2h` or `1d`. The unit is never left out.
pub fn time(text: &str) -> Option<Duration> {
    // A century is more than any setting means.
    scaled(text, TIMES).filter(|&seconds| seconds < 3.2e9).map(Duration::from_secs_f64)
}

fn scaled(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let text = text.trim();
    let digits = |character: char| character.is_ascii_digit() || character == '.';
    let unit = text.trim_start_matches(digits);
    let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
    let (_, scale) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    Some(number * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_decimal_and_binary_units() {
        let cases = [("20GB", 20_000_000_000), ("20GiB", 21_474_836_480), ("1.5 MB", 1_500_000), ("5000", 5000)];
        for (text, expected) in cases {
            assert_eq!(bytes(text), Some(expected), "{text}");
        }
        for text in ["", "GB", "-1GB", "1e9", "20 gigs", "1..5MB", "999999999TB"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn times_have_a_unit() {
        let cases = [("6s", 6000), ("1.5m", 90_000), ("250ms", 250), ("24h", 86_400_000), ("1 s", 1000)];
        for (text, expected) in cases {
            assert_eq!(time(text), Some(Duration::from_millis(expected)), "{text}");
        }
        for text in ["6", "s", "-6s", "six seconds", "99999999999h"] {
            assert_eq!(time(text), None, "{text}");
        }
    }
}
