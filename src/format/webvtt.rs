//! Subtitles in `WebVTT`: read as ffmpeg writes them, and cut into segments.

use std::fmt::Write as _;

/// One cue.
#[derive(Clone, Debug, PartialEq)]
pub struct Cue {
    /// When it comes, in seconds.
    pub start: f64,
    /// When it goes.
    pub end: f64,
    /// What it says, in one line or several.
    pub text: String,
}

/// All cues of a file, in order of time, moved by `-start` and cut to `0..seconds`.
pub fn cues(file: &str, start: f64, seconds: f64) -> Vec<Cue> {
    let mut cues: Vec<Cue> = file.replace("\r\n", "\n").split("\n\n").filter_map(cue).collect();
    for cue in &mut cues {
        cue.start = (cue.start - start).max(0.0);
        cue.end = (cue.end - start).min(seconds);
    }
    cues.retain(|cue| cue.start < cue.end && !cue.text.is_empty());
    cues.sort_by(|a, b| a.start.total_cmp(&b.start));
    cues
}

/// One segment, with the cues that are seen between `from` and `to`: one over an edge is in both.
///
/// Time 0 of the cues is at `first_tick` of the picture's clock (RFC 8216 §3.5).
pub fn segment(cues: &[Cue], (from, to): (f64, f64), first_tick: u64) -> String {
    let head = format!("WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:{first_tick},LOCAL:00:00:00.000\n");
    list(head, cues.iter().filter(|cue| cue.start < to && cue.end > from))
}

/// All cues in one file, for players that count from the beginning of the film.
pub fn whole(cues: &[Cue]) -> String {
    list("WEBVTT\n".into(), cues.iter())
}

fn list<'a>(mut text: String, cues: impl Iterator<Item = &'a Cue>) -> String {
    for cue in cues {
        write!(text, "\n{} --> {}\n{}\n", clock(cue.start), clock(cue.end), cue.text)
            .expect("writing to a string cannot fail");
    }
    text
}

/// A block of lines, if there is a line of times in it; what stands before is its name.
fn cue(block: &str) -> Option<Cue> {
    let mut lines = block.lines().skip_while(|line| !line.contains("-->"));
    let (start, rest) = lines.next()?.split_once("-->")?;
    let end = rest.split_whitespace().next()?;
    let text = lines.map(marked_up).collect::<Vec<_>>().join("\n");
    Some(Cue { start: seconds(start)?, end: seconds(end)?, text: text.trim_end().into() })
}

/// A line as a cue may have it: ffmpeg writes text as it is, and tags of these few kinds.
fn marked_up(line: &str) -> String {
    const TAGS: [&str; 6] = ["<i>", "</i>", "<b>", "</b>", "<u>", "</u>"];
    let (mut text, mut rest) = (String::new(), line);
    while let Some(at) = rest.find('<') {
        let (before, from) = rest.split_at(at);
        let tag = TAGS.into_iter().find(|tag| from.starts_with(tag)).unwrap_or("<");
        text.push_str(&escaped(before));
        text.push_str(if tag == "<" { "&lt;" } else { tag });
        rest = from.strip_prefix(tag).unwrap_or_default();
    }
    text + &escaped(rest)
}

/// Text that is no tag, no character reference and no line of times (`WebVTT`, 4.2.2).
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// `01:02.500` or `10:01:02.500`.
fn seconds(text: &str) -> Option<f64> {
    text.trim().split(':').try_fold(0.0, |sum, part| Some(sum * 60.0 + part.parse::<f64>().ok()?))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time in a film")]
pub(super) fn clock(seconds: f64) -> String {
    let millis = (seconds * 1000.0).round() as u64;
    let (hours, minutes) = (millis / 3_600_000, millis / 60_000 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{:03}", millis / 1000 % 60, millis % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "WEBVTT\n\n00:01.000 --> 00:02.500\nHello\nyou\n\nname\n01:00:59.000 --> 01:01:01.000 line:0\n\
                        a --> b\n\n00:00.000 --> 00:00.400\ntoo early\n\n00:05.000 --> 00:05.000\nnever\n";

    #[test]
    fn cues_are_read_and_moved() {
        let found = cues(FILE, 0.5, 7200.0);
        let cue = |start, end, text: &str| Cue { start, end, text: text.into() };
        assert_eq!(found, [cue(0.5, 2.0, "Hello\nyou"), cue(3658.5, 3660.5, "a --&gt; b")]);
    }

    #[test]
    fn text_is_no_markup_but_for_a_few_tags() {
        assert_eq!(marked_up("1 < 2 & <i>3</i> <x> &amp;"), "1 &lt; 2 &amp; <i>3</i> &lt;x&gt; &amp;amp;");
    }

    #[test]
    fn a_cue_over_an_edge_is_in_both_segments() {
        let all = cues(FILE, 0.0, 7200.0);
        let head = "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:900000,LOCAL:00:00:00.000\n";
        let late = format!("{head}\n01:00:59.000 --> 01:01:01.000\na --&gt; b\n");
        assert_eq!(segment(&all, (3600.0, 3660.0), 900_000), late);
        assert_eq!(segment(&all, (3660.0, 3720.0), 900_000), late);
        assert_eq!(segment(&all, (3720.0, 3780.0), 900_000), head);
        let begin = "WEBVTT\n\n00:00:00.000 --> 00:00:00.400\ntoo early\n\n00:00:01.000 --> 00:00:02.500\nHello\nyou\n";
        assert!(whole(&all).starts_with(begin), "{}", whole(&all));
    }
}
