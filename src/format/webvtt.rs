//! Subtitles in `WebVTT`: read as ffmpeg and as others write them, and cut into segments.

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

/// How the text of cues is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// By ffmpeg, out of other formats: a `<` or `&` may be nothing but that.
    Converted,
    /// As `WebVTT` says: a `<` begins a tag and a `&` a character reference.
    WebVtt,
}

/// Where the times of a segment are on the clock of the picture (RFC 8216 §3.5).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimestampMap {
    /// A time of the cues, in seconds.
    pub local: f64,
    /// The time of the picture, in seconds, that is the same. It wraps after [`WRAP`].
    pub picture: f64,
}

/// Seconds after which the clock of MPEG-2 begins anew: 33 bits of 90 kHz.
pub const WRAP: f64 = 8_589_934_592.0 / TICKS;

/// The clock of MPEG-2.
const TICKS: f64 = 90_000.0;

/// All cues of a file, in order of time, moved by `-start` and cut to `0..seconds`.
pub fn cues(file: &str, start: f64, seconds: f64, spelling: Spelling) -> Vec<Cue> {
    let mut cues = blocks(file, spelling);
    for cue in &mut cues {
        cue.start = (cue.start - start).max(0.0);
        cue.end = (cue.end - start).min(seconds);
        cue.text = cue.text.lines().map(|line| spelling.line(line)).collect::<Vec<_>>().join("\n").trim_end().into();
    }
    cues.retain(|cue| {
        cue.start < cue.end && !cue.text.is_empty() && !(spelling == Spelling::Converted && is_drawing(&cue.text))
    });
    cues.sort_by(|a, b| a.start.total_cmp(&b.start));
    cues
}

/// The cues of a file as they are written, and the map of their times, if there is one; `None` if it is no `WebVTT`.
pub fn read(file: &str) -> Option<(Option<TimestampMap>, Vec<Cue>)> {
    let text = file.strip_prefix('\u{feff}').unwrap_or(file).strip_prefix("WEBVTT")?;
    let mut head = text.lines().skip(1).take_while(|line| !line.trim().is_empty() && !line.contains("-->"));
    let map = head.find_map(|line| line.trim().strip_prefix("X-TIMESTAMP-MAP="));
    Some((map.and_then(timestamp_map), blocks(text, Spelling::WebVtt)))
}

fn timestamp_map(text: &str) -> Option<TimestampMap> {
    let part = |name: &str| text.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix(':'));
    let ticks: u64 = part("MPEGTS")?.trim().parse().ok()?;
    #[expect(clippy::cast_precision_loss, reason = "33 bits")]
    let picture = (ticks % (1 << 33)) as f64 / TICKS;
    Some(TimestampMap { local: seconds(part("LOCAL")?)?, picture })
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

/// All cues of a file, as they are written. What ffmpeg converts may have empty lines in a cue.
fn blocks(file: &str, spelling: Spelling) -> Vec<Cue> {
    let file = file.replace("\r\n", "\n").replace('\r', "\n");
    let mut cues: Vec<Cue> = Vec::new();
    for block in file.split("\n\n") {
        match (cue(block), cues.last_mut()) {
            (Some(cue), _) => cues.push(cue),
            (None, Some(before)) if spelling == Spelling::Converted => {
                let text = format!("{}\n{}", before.text, block.trim_matches('\n'));
                text.trim_matches('\n').clone_into(&mut before.text);
            }
            (None, _) => {}
        }
    }
    cues
}

/// Whether a text is a drawing of `SubStation` Alpha: `m 0 0 l 100 0 100 100`.
fn is_drawing(text: &str) -> bool {
    let is_step = |word: &str| matches!(word, "m" | "n" | "l" | "b" | "s" | "p" | "c") || word.parse::<f64>().is_ok();
    text.starts_with("m ") && text.split_whitespace().all(is_step)
}

/// A block of lines, if there is a line of times in it; what stands before is its name.
fn cue(block: &str) -> Option<Cue> {
    let mut lines = block.lines().skip_while(|line| !line.contains("-->"));
    let (start, rest) = lines.next()?.split_once("-->")?;
    let end = rest.split_whitespace().next()?;
    let text = lines.collect::<Vec<_>>().join("\n");
    Some(Cue { start: seconds(start)?, end: seconds(end)?, text: text.trim_end().into() })
}

impl Spelling {
    fn line(self, line: &str) -> String {
        match self {
            Self::Converted => marked_up(line),
            Self::WebVtt => plain(line),
        }
    }
}

/// A line of `WebVTT` without what only some players know: of its tags the few that all do stay.
fn plain(line: &str) -> String {
    let (mut text, mut rest) = (String::new(), line);
    while let Some((before, from)) = rest.split_once('<') {
        text.push_str(&referred(before));
        // A tag that does not end ends with the line.
        let (tag, behind) = from.split_once('>').unwrap_or((from, ""));
        let (close, name) = tag.strip_prefix('/').map_or(("", tag), |name| ("/", name));
        let name = name.split(['.', ' ', '\t']).next().unwrap_or_default();
        if matches!(name, "i" | "b" | "u") {
            text.extend(["<", close, name, ">"]);
        }
        rest = behind;
    }
    text + &referred(rest)
}

/// Text of `WebVTT` between tags: character references stay, and a `&` that is none is made one.
fn referred(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, from)) = rest.split_once('&') {
        out.push_str(&before.replace('>', "&gt;"));
        let name = from.split_once(';').map_or("", |(name, _)| name);
        let is_reference = (1..=8).contains(&name.len())
            && name.strip_prefix('#').unwrap_or(name).bytes().all(|byte| byte.is_ascii_alphanumeric());
        out.push_str(if is_reference { "&" } else { "&amp;" });
        rest = from;
    }
    out + &rest.replace('>', "&gt;")
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
        let found = cues(FILE, 0.5, 7200.0, Spelling::Converted);
        let cue = |start, end, text: &str| Cue { start, end, text: text.into() };
        assert_eq!(found, [cue(0.5, 2.0, "Hello\nyou"), cue(3658.5, 3660.5, "a --&gt; b")]);
    }

    #[test]
    fn text_is_no_markup_but_for_a_few_tags() {
        assert_eq!(marked_up("1 < 2 & <i>3</i> <x> &amp;"), "1 &lt; 2 &amp; <i>3</i> &lt;x&gt; &amp;amp;");
    }

    #[test]
    fn empty_lines_of_a_converted_cue_are_left_out_and_drawings_too() {
        let file = "WEBVTT\n\n00:01.000 --> 00:02.000\nFirst\n\nafter a blank\n\n00:03.000 --> 00:04.000\n\nleading\n\n\
                    00:05.000 --> 00:06.000\nm 0 0 l 100 0 -10.5 100\n";
        let texts = |spelling| cues(file, 0.0, 60.0, spelling).into_iter().map(|cue| cue.text).collect::<Vec<_>>();
        assert_eq!(texts(Spelling::Converted), ["First\nafter a blank", "leading"]);
        assert_eq!(texts(Spelling::WebVtt), ["First", "m 0 0 l 100 0 -10.5 100"]);
    }

    #[test]
    fn what_others_wrote_keeps_its_meaning() {
        let check = |line: &str, wanted: &str| assert_eq!(plain(line), wanted, "{line}");
        check("<v Ann>Tom &amp; <i.loud>Jerry</i>", "Tom &amp; <i>Jerry</i>");
        check("<c.yellow>1 &lt; 2</c> <00:00:01.000>&#39;now&#39;", "1 &lt; 2 &#39;now&#39;");
        check("R&B --> x & y <b", "R&amp;B --&gt; x &amp; y <b>");
    }

    #[test]
    fn a_segment_tells_where_its_times_are() {
        let head = "\u{feff}WEBVTT - title\r\nX-TIMESTAMP-MAP=LOCAL:00:00:10.500, MPEGTS:900000\r\n";
        let (map, cues) = read(&format!("{head}\r\n00:11.000 --> 00:12.000 line:0\r\n<v Ann>a &amp; b\r\n")).unwrap();
        assert_eq!(map, Some(TimestampMap { local: 10.5, picture: 10.0 }));
        assert_eq!(cues, [Cue { start: 11.0, end: 12.0, text: "<v Ann>a &amp; b".into() }]);
        assert_eq!(read("WEBVTT\n\nX-TIMESTAMP-MAP=MPEGTS:1,LOCAL:00:00.000\n").unwrap().0, None);
        assert_eq!(read("1\n00:00:01,000 --> 00:00:02,000\nSubRip\n"), None);
    }

    #[test]
    fn a_cue_over_an_edge_is_in_both_segments() {
        let all = cues(FILE, 0.0, 7200.0, Spelling::Converted);
        let head = "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:900000,LOCAL:00:00:00.000\n";
        let late = format!("{head}\n01:00:59.000 --> 01:01:01.000\na --&gt; b\n");
        assert_eq!(segment(&all, (3600.0, 3660.0), 900_000), late);
        assert_eq!(segment(&all, (3660.0, 3720.0), 900_000), late);
        assert_eq!(segment(&all, (3720.0, 3780.0), 900_000), head);
        let begin = "WEBVTT\n\n00:00:00.000 --> 00:00:00.400\ntoo early\n\n00:00:01.000 --> 00:00:02.500\nHello\nyou\n";
        assert!(whole(&all).starts_with(begin), "{}", whole(&all));
    }
}
