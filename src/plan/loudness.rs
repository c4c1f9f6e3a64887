//! How much louder or quieter a track becomes: one step for all of it, so that
//! nothing of its dynamics changes (EBU R128, as ITU-R BS.1770 measures).

/// No peak gets above this, in decibels of full scale, between samples too (EBU R128 asks for -1).
const HIGHEST_PEAK: f64 = -1.0;

/// A track below this is silence.
const SILENCE: f64 = -69.0;

/// What was measured over the whole of a track.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loudness {
    /// Integrated loudness in LUFS.
    pub integrated: f64,
    /// True peak in decibels of full scale.
    pub peak: f64,
}

/// Decibels to add to a track of `found` loudness for `wanted` LUFS, and whether its peaks allow no more than that.
pub fn gain(found: Loudness, wanted: f64) -> (f64, bool) {
    if !(found.integrated > SILENCE && found.peak.is_finite()) {
        return (0.0, false);
    }
    let (full, room) = (wanted - found.integrated, HIGHEST_PEAK - found.peak);
    // Peaks are a reason not to be louder, and none to be quieter than was asked for.
    let limited = full > 0.0 && room < full;
    let gain = if limited { room.max(0.0) } else { full };
    ((gain * 100.0).round() / 100.0, limited)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(integrated: f64, peak: f64, expected: (f64, bool)) {
        assert_eq!(gain(Loudness { integrated, peak }, -23.0), expected);
    }

    #[test]
    fn tracks_are_moved_as_far_as_their_peaks_allow() {
        check(-30.0, -12.0, (7.0, false));
        check(-14.0, 0.3, (-9.0, false));
        check(-30.0, -4.0, (3.0, true));
        check(-30.0, 0.0, (0.0, true));
    }

    #[test]
    fn silence_stays_silence() {
        check(-70.0, -90.0, (0.0, false));
        check(f64::NEG_INFINITY, f64::NEG_INFINITY, (0.0, false));
        check(f64::NAN, 0.0, (0.0, false));
    }
}
