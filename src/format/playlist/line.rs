//! The lines of a playlist and the rules that hold for any line.

use super::Problem;
use super::attribute::short;

/// One line with its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// From 1.
    pub number: usize,
    /// As written, without its end.
    pub text: String,
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// Nothing.
    Blank,
    /// `# words`, to be ignored.
    Comment,
    /// `#EXT…` with what follows the colon.
    Tag(&'a str, &'a str),
    /// Everything else.
    Uri(&'a str),
}

impl Line {
    /// What the line is.
    pub fn content(&self) -> Content<'_> {
        let text = self.text.as_str();
        if text.is_empty() {
            Content::Blank
        } else if let Some(tag) = text.strip_prefix('#') {
            if !tag.starts_with("EXT") {
                return Content::Comment;
            }
            let (name, value) = tag.split_once(':').unwrap_or((tag, ""));
            Content::Tag(name, value)
        } else {
            Content::Uri(text)
        }
    }

    /// The name of the tag, if it is one.
    pub fn tag_name(&self) -> Option<&str> {
        match self.content() {
            Content::Tag(name, _) => Some(name),
            _ => None,
        }
    }
}

/// Tags that only a master playlist may hold.
const MASTER: [&str; 6] = [
    "EXT-X-MEDIA",
    "EXT-X-STREAM-INF",
    "EXT-X-I-FRAME-STREAM-INF",
    "EXT-X-SESSION-DATA",
    "EXT-X-SESSION-KEY",
    "EXT-X-CONTENT-STEERING",
];

/// Tags that only a media playlist may hold.
const MEDIA: [&str; 15] = [
    "EXTINF",
    "EXT-X-BYTERANGE",
    "EXT-X-DISCONTINUITY",
    "EXT-X-KEY",
    "EXT-X-MAP",
    "EXT-X-PROGRAM-DATE-TIME",
    "EXT-X-DATERANGE",
    "EXT-X-GAP",
    "EXT-X-BITRATE",
    "EXT-X-TARGETDURATION",
    "EXT-X-MEDIA-SEQUENCE",
    "EXT-X-DISCONTINUITY-SEQUENCE",
    "EXT-X-ENDLIST",
    "EXT-X-PLAYLIST-TYPE",
    "EXT-X-I-FRAMES-ONLY",
];

/// Tags that may stand once.
const ONCE: [&str; 9] = [
    "EXTM3U",
    "EXT-X-VERSION",
    "EXT-X-TARGETDURATION",
    "EXT-X-MEDIA-SEQUENCE",
    "EXT-X-DISCONTINUITY-SEQUENCE",
    "EXT-X-ENDLIST",
    "EXT-X-PLAYLIST-TYPE",
    "EXT-X-I-FRAMES-ONLY",
    "EXT-X-INDEPENDENT-SEGMENTS",
];

/// Lines that are kept. A day in segments of two seconds, each with a key, has 130,000.
const KEPT: usize = 500_000;

/// Whether the tag makes a playlist a master playlist.
pub(super) fn only_in_master(tag: &str) -> bool {
    MASTER.contains(&tag)
}

/// Whether the tag makes a playlist a media playlist, unless it is a master playlist.
pub(super) fn only_in_media(tag: &str) -> bool {
    MEDIA.contains(&tag)
}

/// Cuts bytes into lines. What is not UTF-8 is replaced and is a problem.
pub(super) fn split(bytes: &[u8], problems: &mut Vec<Problem>) -> Vec<Line> {
    let text = String::from_utf8_lossy(bytes);
    if matches!(text, std::borrow::Cow::Owned(_)) {
        problems.push(Problem::new("R01", 1, "the playlist is not UTF-8"));
    }
    let text = text.strip_prefix('\u{feff}').map_or(&*text, |rest| {
        problems.push(Problem::new("R01", 1, "the playlist begins with a byte order mark"));
        rest
    });
    if text.bytes().filter(|&byte| byte == b'\n').count() > KEPT {
        problems.push(Problem::new("R03", KEPT, format!("more than {KEPT} lines: the rest was not read")));
    }
    let mut lines: Vec<Line> = text
        .split('\n')
        .take(KEPT)
        .enumerate()
        .map(|(at, line)| Line { number: at + 1, text: line.strip_suffix('\r').unwrap_or(line).to_owned() })
        .collect();
    if lines.last().is_some_and(|line| line.text.is_empty()) {
        lines.pop();
    }
    lines
}

/// What holds for every playlist.
pub(super) fn check(lines: &[Line], problems: &mut Vec<Problem>) {
    if lines.first().is_none_or(|line| line.text != "#EXTM3U") {
        problems.push(Problem::new("R01", 1, "the first line is not #EXTM3U"));
    }
    let has = |tags: &[&str]| lines.iter().any(|line| line.tag_name().is_some_and(|name| tags.contains(&name)));
    let both = has(&MASTER);
    for line in lines {
        if line.text.chars().any(char::is_control) {
            problems.push(Problem::new("R01", line.number, "the line holds a control character"));
        }
        match line.content() {
            Content::Tag("EXT-X-ALLOW-CACHE", _) => {
                problems.push(Problem::new("R03", line.number, "EXT-X-ALLOW-CACHE was removed from the protocol"));
            }
            Content::Tag(name, _) if both && MEDIA.contains(&name) => {
                problems.push(Problem::new("R03", line.number, format!("{name} does not belong in a master playlist")));
            }
            Content::Uri(uri) if uri.starts_with([' ', '\t']) || uri.ends_with([' ', '\t']) => {
                problems.push(Problem::new("R03", line.number, format!("`{}` has blanks around it", short(uri))));
            }
            Content::Blank | Content::Comment | Content::Tag(..) | Content::Uri(_) => {}
        }
    }
    for tag in ONCE {
        let mut found = lines.iter().filter(|line| line.tag_name() == Some(tag));
        if let (Some(_), Some(second)) = (found.next(), found.next()) {
            let rule = if tag == "EXT-X-VERSION" { "R02" } else { "R03" };
            problems.push(Problem::new(rule, second.number, format!("{tag} is given more than once")));
        }
    }
}

/// The value of EXT-X-VERSION, which is 1 where it is missing.
pub(super) fn version(lines: &[Line], problems: &mut Vec<Problem>) -> u64 {
    let tag = lines.iter().find_map(|line| match line.content() {
        Content::Tag("EXT-X-VERSION", value) => Some((line.number, value)),
        _ => None,
    });
    let Some((number, value)) = tag else { return 1 };
    super::attribute::integer(value).unwrap_or_else(|| {
        problems.push(Problem::new("R02", number, format!("`{}` is not a version", short(value))));
        1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_bytes(bytes: &[u8], wrong: &[(&str, usize)]) {
        let mut problems = Vec::new();
        let lines = split(bytes, &mut problems);
        check(&lines, &mut problems);
        let got: Vec<_> = problems.iter().map(|problem| (problem.rule, problem.line)).collect();
        assert_eq!(got, wrong, "{problems:?}");
    }

    #[test]
    fn both_line_ends_are_fine() {
        check_bytes(b"#EXTM3U\n# words\n\na.ts\n", &[]);
        check_bytes(b"#EXTM3U\r\na.ts\r\n", &[]);
    }

    #[test]
    fn the_first_line_counts() {
        check_bytes(b"", &[("R01", 1)]);
        check_bytes(b"#EXTM3U8\n", &[("R01", 1)]);
        check_bytes(b"\xef\xbb\xbf#EXTM3U\n", &[("R01", 1)]);
        check_bytes(b"\xff\xfe", &[("R01", 1), ("R01", 1)]);
    }

    #[test]
    fn bad_lines_are_named() {
        check_bytes(b"#EXTM3U\na\x07.ts\n", &[("R01", 2)]);
        check_bytes(b"#EXTM3U\n#EXT-X-ALLOW-CACHE:YES\n", &[("R03", 2)]);
        check_bytes(b"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-VERSION:3\n", &[("R02", 3)]);
        check_bytes(b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na\n#EXTINF:6,\n", &[("R03", 4)]);
    }
}
