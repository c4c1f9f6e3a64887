//! How alike pictures and sounds are: small grey frames and envelopes, compared by correlation.

/// Width and height of the frames that are compared.
pub(super) const SIZE: (usize, usize) = (32, 18);

/// Bytes of a frame.
pub(super) const FRAME: usize = SIZE.0 * SIZE.1;

/// Frames of the source a second.
pub(super) const RATE: f64 = 10.0;

/// The source is looked at from this much before the segment to this much after it, in seconds.
pub(super) const MARGIN: f64 = 1.5;

/// The same in frames of the source.
const STEPS: i64 = 15;

/// Frames this near in time count as those of the same time.
const NEAR: i64 = 2;

/// Frames of a segment that are compared.
const CHOSEN: usize = 24;

/// Pictures that differ by less than this, in steps of grey, stand still.
const STILL: f64 = 0.2;

/// And by more than this they move.
const MOVES: f64 = 3.0;

/// Standing still for so long, in seconds, is seen.
const SEEN: f64 = 0.45;

/// What was found of the pictures of a segment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Picture {
    /// They are those of the source, or say too little.
    Same,
    /// They are turned as the words say.
    Turned(&'static str),
    /// They come this many seconds late, or early if negative.
    Shifted(f64),
    /// They are of something else.
    Other,
    /// They stand still for so long while those of the source move.
    Frozen(f64),
}

/// The frames of a segment beside those of the source.
struct Pair<'a> {
    own: Vec<&'a [u8]>,
    theirs: Vec<&'a [u8]>,
    /// Seconds from one frame of the segment to the next.
    step: f64,
}

/// Compares the frames of a segment, evenly spread over `seconds`, with those of the source around them.
pub(super) fn pictures(segment: &[u8], seconds: f64, source: &[u8]) -> Picture {
    let own: Vec<&[u8]> = segment.chunks_exact(FRAME).collect();
    let theirs: Vec<&[u8]> = source.chunks_exact(FRAME).collect();
    let step = seconds / float(own.len().max(1));
    let pair = Pair { own, theirs, step };
    let Some(straight) = pair.best(Turn::No) else { return Picture::Same };
    let turns = [(Turn::Across, "mirrored"), (Turn::Down, "upside down and mirrored"), (Turn::Both, "upside down")];
    for (turn, words) in turns {
        if pair.best(turn).is_some_and(|other| other > straight + 0.1 && other > 0.6) {
            return Picture::Turned(words);
        }
    }
    if let Some(shift) = pair.shift() {
        return Picture::Shifted(shift);
    }
    if straight < 0.5 {
        return Picture::Other;
    }
    pair.frozen().map_or(Picture::Same, Picture::Frozen)
}

impl<'a> Pair<'a> {
    /// The frame of the source that is shown with the frame `index`, and `shift` frames later.
    fn beside(&self, index: usize, shift: i64) -> Option<&'a [u8]> {
        #[expect(clippy::cast_possible_truncation, reason = "a segment has seconds, not years")]
        let place = ((float(index) * self.step + MARGIN) * RATE).round() as i64 + shift;
        self.theirs.get(usize::try_from(place).ok()?).copied()
    }

    /// Frames of the segment and of the source at the same time and `shift` frames later.
    fn pairs(&self, shift: i64) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let every = self.own.len().div_ceil(CHOSEN).max(1);
        let chosen = self.own.iter().enumerate().step_by(every);
        chosen.filter_map(move |(index, own)| Some((*own, self.beside(index, shift)?)))
    }

    /// How well the pictures fit if they are turned, at about the same time.
    fn best(&self, turn: Turn) -> Option<f64> {
        let mean = |shift| {
            average(
                self.pairs(shift)
                    .filter_map(|(own, other)| correlation(&turned(own, turn), &turned(other, Turn::No), 4.0)),
            )
        };
        (-NEAR..=NEAR).filter_map(mean).reduce(f64::max)
    }

    /// The shift in seconds at which what moves fits, if it fits there alone.
    fn shift(&self) -> Option<f64> {
        let own_still = still(self.pairs(0).map(|(own, _)| own))?;
        let other_still = still(self.pairs(0).map(|(_, other)| other))?;
        let fit = |shift: i64| {
            let moving = self.pairs(shift).map(|(own, other)| (less(own, &own_still), less(other, &other_still)));
            average(moving.filter_map(|(own, other)| correlation(&own, &other, 1.0)))
        };
        let now = (-NEAR..=NEAR).filter_map(fit).reduce(f64::max)?;
        let fits = (-STEPS..=STEPS).filter_map(|shift| Some((shift, fit(shift)?)));
        let (shift, most) = fits.reduce(|best, other| if other.1 > best.1 { other } else { best })?;
        #[expect(clippy::cast_precision_loss, reason = "a shift is a few frames")]
        let late = -(shift as f64) / RATE;
        // A pattern that comes again fits as well now.
        (shift.abs() > NEAR && most > 0.6 && most > now + 0.2).then_some(late)
    }

    /// The longest time that the pictures stand still while those of the source move.
    fn frozen(&self) -> Option<f64> {
        let mut longest = 0.0_f64;
        let mut start = 0;
        for index in 1..self.own.len() {
            let (Some(before), Some(now)) = (self.own.get(index - 1), self.own.get(index)) else { break };
            if difference(before, now) >= STILL {
                start = index;
                continue;
            }
            let moved = self.beside(start, 0).zip(self.beside(index, 0)).map(|(from, to)| difference(from, to));
            if moved.is_some_and(|moved| moved > MOVES) {
                longest = longest.max(float(index - start) * self.step);
            }
        }
        (longest > SEEN).then_some(longest)
    }
}

/// How a picture may be turned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    No,
    Across,
    Down,
    Both,
}

fn turned(frame: &[u8], turn: Turn) -> Vec<f64> {
    let rows = frame.chunks_exact(SIZE.0).map(|row| {
        let mut row: Vec<f64> = row.iter().map(|&value| f64::from(value)).collect();
        if matches!(turn, Turn::Across | Turn::Both) {
            row.reverse();
        }
        row
    });
    let mut rows: Vec<Vec<f64>> = rows.collect();
    if matches!(turn, Turn::Down | Turn::Both) {
        rows.reverse();
    }
    rows.concat()
}

/// The mean of all frames: what does not move.
fn still<'a>(frames: impl Iterator<Item = &'a [u8]>) -> Option<Vec<f64>> {
    let mut sum = vec![0.0; FRAME];
    let mut count = 0_usize;
    for frame in frames {
        sum.iter_mut().zip(frame).for_each(|(sum, &value)| *sum += f64::from(value));
        count += 1;
    }
    (count > 1).then(|| sum.into_iter().map(|sum| sum / float(count)).collect())
}

fn less(frame: &[u8], still: &[f64]) -> Vec<f64> {
    frame.iter().zip(still).map(|(&value, still)| f64::from(value) - still).collect()
}

/// The mean difference of two frames in steps of grey.
fn difference(one: &[u8], two: &[u8]) -> f64 {
    let sum: u32 = one.iter().zip(two).map(|(one, two)| u32::from(one.abs_diff(*two))).sum();
    f64::from(sum) / float(FRAME)
}

/// From -1 to 1; nothing where one of them varies by less than `least`.
fn correlation(one: &[f64], two: &[f64], least: f64) -> Option<f64> {
    let count = float(one.len().min(two.len()));
    let mean = |values: &[f64]| values.iter().sum::<f64>() / count.max(1.0);
    let (first, second) = (mean(one), mean(two));
    let (mut cross, mut left, mut right) = (0.0, 0.0, 0.0);
    for (one, two) in one.iter().zip(two) {
        let (one, two) = (one - first, two - second);
        cross += one * two;
        left += one * one;
        right += two * two;
    }
    let varies = |sum: f64| (sum / count.max(1.0)).sqrt() >= least && sum > 0.0;
    (varies(left) && varies(right)).then(|| cross / (left * right).sqrt())
}

fn average(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / float(count))
}

fn float(count: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let float = count as f64;
    float
}

/// Samples of sound a second.
pub(super) const SOUND_RATE: usize = 8000;

/// Samples of one value of an envelope, which so has a step of two milliseconds.
const STEP: usize = 16;

/// Sound of the source before the segment's, in values of the envelope: 0.6 s.
const LEAD: usize = 300;

/// The same in seconds.
pub(super) const SOUND_LEAD: f64 = 0.6;

/// How late the sound of a segment is, in seconds; nothing where it cannot be told.
///
/// `own` and `theirs` are samples of 16 bits; those of the source begin [`SOUND_LEAD`] earlier.
pub(super) fn sound(own: &[u8], theirs: &[u8]) -> Option<f64> {
    let (own, theirs) = (envelope(own), envelope(theirs));
    let mut fits = Vec::new();
    for shift in 0..=2 * LEAD {
        let other = theirs.get(shift..).unwrap_or_default();
        let common = own.len().min(other.len());
        if common < 400 {
            break;
        }
        fits.extend(correlation(own.get(..common)?, other.get(..common)?, 60.0).map(|fit| (shift, fit)));
    }
    let (shift, most) = fits.iter().copied().reduce(|best, other| if other.1 > best.1 { other } else { best })?;
    // What comes again, such as a beat, fits at several places and tells nothing.
    let elsewhere =
        fits.iter().filter(|(other, _)| other.abs_diff(shift) > 50).map(|(_, fit)| *fit).fold(0.0, f64::max);
    let milliseconds = 1000.0 * float(STEP) / float(SOUND_RATE);
    (most > 0.7 && most > elsewhere + 0.15).then(|| (float(LEAD) - float(shift)) * milliseconds / 1000.0)
}

/// The loudness in steps of two milliseconds.
fn envelope(samples: &[u8]) -> Vec<f64> {
    let values: Vec<f64> = samples
        .chunks_exact(2)
        .map(|bytes| f64::from(i16::from_le_bytes([bytes[0], bytes[1]]).unsigned_abs()))
        .collect();
    values.chunks_exact(STEP).map(|chunk| chunk.iter().sum::<f64>() / float(STEP)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A square that wanders over a slope of grey.
    fn frame(time: f64) -> Vec<u8> {
        let mut frame = Vec::new();
        for row in 0..SIZE.1 {
            for column in 0..SIZE.0 {
                let (x, y) = (float(column) - 6.0 - 4.0 * time, float(row) - 5.0 - 3.0 * (time * 2.0).sin());
                let square = x.abs() < 3.0 && y.abs() < 3.0;
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
                let grey = (float(column) * 3.0 + float(row)) as u8;
                frame.push(if square { 250 } else { grey });
            }
        }
        frame
    }

    fn film(from: f64, seconds: f64, rate: f64) -> Vec<u8> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
        let count = (seconds * rate) as usize;
        (0..count).flat_map(|at| frame(from + float(at) / rate)).collect()
    }

    fn source() -> Vec<u8> {
        film(2.0 - MARGIN, 2.0 + 2.0 * MARGIN, RATE)
    }

    #[test]
    fn the_same_pictures_are_the_same() {
        assert_eq!(pictures(&film(2.0, 2.0, 25.0), 2.0, &source()), Picture::Same);
        assert_eq!(pictures(&[], 2.0, &source()), Picture::Same);
        assert_eq!(
            pictures(&vec![128; FRAME * 9], 2.0, &vec![16; FRAME * 50]),
            Picture::Same,
            "flat pictures say nothing"
        );
    }

    #[test]
    fn turned_late_and_frozen_pictures_are_told() {
        let across: Vec<u8> = film(2.0, 2.0, 25.0).chunks(SIZE.0).flat_map(|row| row.iter().rev().copied()).collect();
        assert_eq!(pictures(&across, 2.0, &source()), Picture::Turned("mirrored"));
        let Picture::Shifted(late) = pictures(&film(1.0, 2.0, 25.0), 2.0, &source()) else { panic!("not shifted") };
        assert!((late - 1.0).abs() < 0.15, "{late}");
        let mut frozen = film(2.0, 2.0, 25.0);
        let first = frozen[FRAME * 10..FRAME * 11].to_vec();
        frozen[FRAME * 10..FRAME * 34].chunks_exact_mut(FRAME).for_each(|frame| frame.copy_from_slice(&first));
        let Picture::Frozen(seconds) = pictures(&frozen, 2.0, &source()) else { panic!("not frozen") };
        assert!((seconds - 0.92).abs() < 0.2, "{seconds}");
    }

    /// Beeps at uneven times.
    fn beeps(from: f64, seconds: f64) -> Vec<u8> {
        const AT: [f64; 7] = [0.3, 0.9, 1.25, 2.2, 2.5, 3.4, 4.3];
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
        let count = (seconds * float(SOUND_RATE)) as usize;
        let sample = |at: usize| -> i16 {
            let time = from + float(at) / float(SOUND_RATE);
            let loud = AT.iter().any(|beep| (time - beep).abs() < 0.06);
            if loud && at % 8 < 4 { 12_000 } else { 40 }
        };
        (0..count).flat_map(|at| sample(at).to_le_bytes()).collect()
    }

    #[test]
    fn late_sound_is_measured() {
        let source = beeps(0.6 - SOUND_LEAD, 5.2);
        for late in [0.0, 0.08, -0.2, 0.4] {
            let found = sound(&beeps(0.6 - late, 4.0), &source).unwrap();
            assert!((found - late).abs() < 0.01, "{late}: {found}");
        }
        assert_eq!(sound(&vec![0; 64_000], &source), None);
        let tone: Vec<u8> = (0_i16..32_000).flat_map(|at| ((at % 18 - 9) * 900).to_le_bytes()).collect();
        assert_eq!(sound(&tone, &source), None);
    }
}
