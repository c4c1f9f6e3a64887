//! The chapters of a source on the clock of its package.

use crate::model::media::Chapter;

/// No player offers more chapters than this in a menu one can read.
const MOST: usize = 1000;

/// No title is longer, in characters.
const LONGEST_TITLE: usize = 200;

/// A chapter may begin this much too early or late, in seconds; what is shorter is none.
const SHORTEST: f64 = 0.01;

/// The chapters, in order, each up to the next at most, on a clock that is 0 at `start` and ends after `seconds`.
pub fn chapters(found: &[Chapter], start: f64, seconds: f64) -> Vec<Chapter> {
    let moved = |chapter: &Chapter| Chapter {
        start: (chapter.start - start).max(0.0),
        end: (chapter.end - start).min(seconds),
        title: title(&chapter.title),
    };
    let mut chapters: Vec<Chapter> = found.iter().map(moved).filter(|one| one.start + SHORTEST < seconds).collect();
    chapters.sort_by(|a, b| a.start.total_cmp(&b.start));
    chapters.truncate(MOST);
    let begins: Vec<f64> = chapters.iter().map(|chapter| chapter.start).skip(1).chain([seconds]).collect();
    for (chapter, next) in chapters.iter_mut().zip(begins) {
        // Some writers say no end, or one before the beginning.
        chapter.end = if chapter.end > chapter.start { chapter.end.min(next) } else { next };
    }
    chapters.retain(|chapter| chapter.end - chapter.start >= SHORTEST);
    // One without a title is the whole film, which goes without saying.
    if let [only] = chapters.as_slice()
        && only.title.is_empty()
    {
        return Vec::new();
    }
    for (number, chapter) in (1..).zip(&mut chapters) {
        if chapter.title.is_empty() {
            chapter.title = format!("{number}");
        }
    }
    chapters
}

/// In one line, without what is not to be seen.
fn title(text: &str) -> String {
    let line: String = text.chars().map(|one| if one.is_control() { ' ' } else { one }).collect();
    let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().take(LONGEST_TITLE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(found: &[(f64, f64, &str)], expected: &[(f64, f64, &str)]) {
        let of = |&(start, end, title): &(f64, f64, &str)| Chapter { start, end, title: title.into() };
        let found: Vec<Chapter> = found.iter().map(of).collect();
        assert_eq!(chapters(&found, 1.0, 10.0), expected.iter().map(of).collect::<Vec<_>>());
    }

    #[test]
    fn chapters_stand_on_the_clock_of_the_package() {
        check(&[(0.5, 4.0, "One"), (4.0, 99.0, "Two")], &[(0.0, 3.0, "One"), (3.0, 10.0, "Two")]);
    }

    #[test]
    fn odd_ones_are_put_right_or_left_out() {
        // Out of order, over one another, without an end, after the film, of no length.
        let found = [(6.0, 6.0, "c"), (1.0, 9.0, "a"), (11.0, 12.0, "late"), (4.0, 5.0, "b"), (4.0, 5.0, "b2")];
        check(&found, &[(0.0, 3.0, "a"), (3.0, 4.0, "b2"), (5.0, 10.0, "c")]);
        check(&[(1.0, 11.0, "")], &[]);
        check(&[(1.0, 2.0, " \n"), (2.0, 3.0, "a\r\n\tb")], &[(0.0, 1.0, "1"), (1.0, 2.0, "a b")]);
        let (long, kept) = ("x".repeat(5000), "x".repeat(LONGEST_TITLE));
        check(&[(1.0, 2.0, &long)], &[(0.0, 1.0, &kept)]);
    }
}
