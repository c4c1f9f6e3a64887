//! What a media playlist says: segments, and what holds for each.

use super::Problem;
use super::attribute::{Attributes, decimal, integer, short};
use super::line::{Content, Line, version};

/// A media playlist.
#[derive(Clone, Debug, Default)]
pub struct Media {
    /// EXT-X-VERSION, 1 where it is missing.
    pub version: u64,
    /// EXT-X-TARGETDURATION.
    pub target_duration: Option<u64>,
    /// EXT-X-MEDIA-SEQUENCE, 0 where it is missing.
    pub sequence: u64,
    /// EXT-X-PLAYLIST-TYPE.
    pub playlist_type: Option<String>,
    /// Whether EXT-X-ENDLIST is there.
    pub ended: bool,
    /// Whether EXT-X-INDEPENDENT-SEGMENTS is there.
    pub independent: bool,
    /// Whether EXT-X-I-FRAMES-ONLY is there.
    pub iframes_only: bool,
    /// All EXT-X-KEY, in order.
    pub keys: Vec<Key>,
    /// All EXT-X-MAP, in order.
    pub maps: Vec<Map>,
    /// The segments, in order.
    pub segments: Vec<Segment>,
}

/// One media segment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Segment {
    /// Line of the URI.
    pub line: usize,
    /// Line of its EXTINF.
    pub inf_line: usize,
    /// Where it is.
    pub uri: String,
    /// Its length by EXTINF.
    pub seconds: f64,
    /// The part of the file that it is.
    pub range: Option<Range>,
    /// Whether EXT-X-DISCONTINUITY stands before it.
    pub discontinuity: bool,
    /// Index of its key in `keys`; `None` where it is clear.
    pub key: Option<usize>,
    /// Index of its init section in `maps`.
    pub map: Option<usize>,
    /// Whether EXT-X-GAP says that it is not there.
    pub gap: bool,
}

/// EXT-X-BYTERANGE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Bytes.
    pub length: u64,
    /// Where they begin; without it, after the range before.
    pub offset: Option<u64>,
}

/// EXT-X-KEY.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Key {
    /// Its line.
    pub line: usize,
    /// NONE, AES-128, SAMPLE-AES.
    pub method: String,
    /// Where the key is.
    pub uri: Option<String>,
    /// The initialisation vector, where given.
    pub iv: Option<[u8; 16]>,
    /// KEYFORMAT, where given.
    pub format: Option<String>,
}

/// EXT-X-MAP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Map {
    /// Its line.
    pub line: usize,
    /// Where the init section is.
    pub uri: String,
    /// The part of the file that it is.
    pub range: Option<Range>,
    /// Index of the key that held where the tag stands.
    pub key: Option<usize>,
}

/// What was read and waits for its URI.
#[derive(Default)]
struct Open {
    inf: Option<(usize, f64)>,
    range: Option<(usize, Range)>,
    discontinuity: bool,
    gap: bool,
    key: Option<usize>,
    /// Whether no segment came since `key` was set, so that another tag may stand beside it.
    beside: bool,
    map: Option<usize>,
    needs: Needs,
}

/// The highest version that a feature asks for, and the feature.
#[derive(Default)]
struct Needs {
    version: u64,
    line: usize,
    feature: &'static str,
}

impl Needs {
    fn at_least(&mut self, version: u64, line: usize, feature: &'static str) {
        if version > self.version {
            *self = Self { version, line, feature };
        }
    }
}

/// Makes sense of the lines.
pub(super) fn read(lines: &[Line], problems: &mut Vec<Problem>) -> Media {
    let mut media = Media { version: version(lines, problems), ..Media::default() };
    let mut open = Open::default();
    for line in lines {
        match line.content() {
            Content::Tag(name, value) => tag(&mut media, &mut open, line.number, (name, value), problems),
            Content::Uri(uri) => segment(&mut media, &mut open, line.number, uri, problems),
            Content::Blank | Content::Comment => {}
        }
    }
    if let Some((line, _)) = open.inf {
        problems.push(Problem::new("R03", line, "EXTINF has no URI after it"));
    }
    if !media.maps.is_empty() {
        let version = if media.iframes_only { 5 } else { 6 };
        open.needs.at_least(version, media.maps[0].line, "EXT-X-MAP");
    }
    if media.target_duration.is_none() {
        problems.push(Problem::new("R03", 1, "EXT-X-TARGETDURATION is missing"));
    }
    let Needs { version, line, feature } = open.needs;
    if media.version < version {
        let what = format!("{feature} needs EXT-X-VERSION {version}, the playlist says {}", media.version);
        problems.push(Problem::new("R02", line, what));
    }
    media
}

fn tag(media: &mut Media, open: &mut Open, line: usize, tag: (&str, &str), problems: &mut Vec<Problem>) {
    let (name, value) = tag;
    let mut wrong = |what: String| problems.push(Problem::new("R03", line, what));
    match name {
        "EXT-X-ENDLIST" => media.ended = true,
        "EXT-X-INDEPENDENT-SEGMENTS" => media.independent = true,
        "EXT-X-DISCONTINUITY" => open.discontinuity = true,
        "EXT-X-GAP" => open.gap = true,
        "EXT-X-I-FRAMES-ONLY" => {
            media.iframes_only = true;
            open.needs.at_least(4, line, "EXT-X-I-FRAMES-ONLY");
        }
        "EXT-X-PLAYLIST-TYPE" => {
            if !matches!(value, "VOD" | "EVENT") {
                wrong(format!("`{}` is not a playlist type", short(value)));
            }
            media.playlist_type = Some(value.to_owned());
        }
        "EXT-X-TARGETDURATION" => {
            media.target_duration = integer(value);
            if media.target_duration.is_none() {
                wrong(format!("EXT-X-TARGETDURATION:{} is not an integer", short(value)));
            }
        }
        "EXT-X-MEDIA-SEQUENCE" => {
            if !media.segments.is_empty() {
                wrong("EXT-X-MEDIA-SEQUENCE stands after the first segment".into());
            }
            match integer(value) {
                Some(sequence) => media.sequence = sequence,
                None => wrong(format!("EXT-X-MEDIA-SEQUENCE:{} is not an integer", short(value))),
            }
        }
        "EXTINF" => inf(open, line, value, problems),
        "EXT-X-BYTERANGE" => {
            open.needs.at_least(4, line, "EXT-X-BYTERANGE");
            match range(value) {
                Some(range) => open.range = Some((line, range)),
                None => problems.push(Problem::new("R51", line, format!("`{}` is not a byte range", short(value)))),
            }
        }
        "EXT-X-KEY" => key(media, open, line, value, problems),
        "EXT-X-MAP" => {
            let attributes = Attributes::read(line, value, problems);
            let uri = attributes.quoted("URI", problems).unwrap_or_default();
            if uri.is_empty() {
                problems.push(Problem::new("R03", line, "EXT-X-MAP has no URI"));
            }
            let range = attributes.quoted("BYTERANGE", problems).and_then(|text| {
                let found = range(&text).map(|range| Range { offset: range.offset.or(Some(0)), ..range });
                if found.is_none() {
                    problems.push(Problem::new("R51", line, format!("`{}` is not a byte range", short(&text))));
                }
                found
            });
            open.map = Some(media.maps.len());
            media.maps.push(Map { line, uri, range, key: open.key });
        }
        _ => {}
    }
}

fn inf(open: &mut Open, line: usize, value: &str, problems: &mut Vec<Problem>) {
    let (text, _title) = value.split_once(',').unwrap_or_else(|| {
        problems.push(Problem::new("R03", line, "EXTINF has no comma after the duration"));
        (value, "")
    });
    let seconds = decimal(text).unwrap_or_else(|| {
        problems.push(Problem::new("R03", line, format!("EXTINF:{} is not a duration", short(text))));
        0.0
    });
    if text.contains('.') {
        open.needs.at_least(3, line, "a decimal EXTINF");
    }
    if let Some((before, _)) = open.inf.replace((line, seconds)) {
        problems.push(Problem::new("R03", before, "EXTINF has no URI after it"));
    }
}

fn segment(media: &mut Media, open: &mut Open, line: usize, uri: &str, problems: &mut Vec<Problem>) {
    let (inf_line, seconds) = open.inf.take().unwrap_or_else(|| {
        problems.push(Problem::new("R03", line, format!("`{}` has no EXTINF before it", short(uri))));
        (line, 0.0)
    });
    let mut range = open.range.take();
    if let Some((range_line, range)) = &mut range
        && range.offset.is_none()
    {
        let before = media.segments.last().filter(|before| before.uri == uri).and_then(|before| before.range);
        range.offset = before.and_then(|before| before.offset.and_then(|offset| offset.checked_add(before.length)));
        if range.offset.is_none() {
            let what = "the byte range has no offset and none of the same file stands before it";
            problems.push(Problem::new("R51", *range_line, what));
        }
    }
    media.segments.push(Segment {
        line,
        inf_line,
        uri: uri.to_owned(),
        seconds,
        range: range.map(|(_, range)| range),
        discontinuity: std::mem::take(&mut open.discontinuity),
        gap: std::mem::take(&mut open.gap),
        key: open.key,
        map: open.map,
    });
    open.beside = false;
}

fn key(media: &mut Media, open: &mut Open, line: usize, value: &str, problems: &mut Vec<Problem>) {
    let attributes = Attributes::read(line, value, problems);
    let method = attributes.bare("METHOD", problems).unwrap_or_default();
    let mut wrong = |what: String| problems.push(Problem::new("R44", line, what));
    let attribute = |name: &str| attributes.get(name);
    match method.as_str() {
        "NONE" => {
            if attributes.list.len() > 1 {
                wrong("METHOD=NONE must stand alone".into());
            }
            open.key = None;
            return;
        }
        "AES-128" | "SAMPLE-AES" | "SAMPLE-AES-CTR" => {}
        "" => wrong("EXT-X-KEY has no METHOD".into()),
        other => wrong(format!("`{}` is not a METHOD", short(other))),
    }
    match attribute("URI") {
        None => wrong("EXT-X-KEY has no URI".into()),
        Some(uri) if !uri.quoted => wrong("the URI of EXT-X-KEY is not in quotes".into()),
        Some(_) => {}
    }
    let iv = attribute("IV").and_then(|iv| {
        let bytes = if iv.quoted { None } else { vector(&iv.value) };
        if bytes.is_none() {
            wrong(format!("IV={} is not 0x and 32 hex digits", short(&iv.value)));
        }
        bytes
    });
    let format = attribute("KEYFORMAT").map(|format| format.value.clone());
    if attribute("IV").is_some() {
        open.needs.at_least(2, line, "an IV");
    }
    if format.is_some() || attribute("KEYFORMATVERSIONS").is_some() || method == "SAMPLE-AES" {
        open.needs.at_least(5, line, "KEYFORMAT or SAMPLE-AES");
    }
    let uri = attribute("URI").map(|uri| uri.value.clone());
    // Tags in other formats may say the same for other players; the plain one is the one to go by.
    let plain = |format: &Option<String>| format.as_deref().is_none_or(|format| format == "identity");
    let kept = open.key.and_then(|key| media.keys.get(key)).is_some_and(|before| plain(&before.format));
    if !(open.beside && kept && !plain(&format)) {
        open.key = Some(media.keys.len());
    }
    open.beside = true;
    media.keys.push(Key { line, method, uri, iv, format });
}

/// `0x` and 32 hex digits.
fn vector(text: &str) -> Option<[u8; 16]> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?;
    let mut bytes = [0; 16];
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    Some(bytes)
}

/// `LENGTH` or `LENGTH@OFFSET`.
fn range(text: &str) -> Option<Range> {
    let (length, offset) = match text.split_once('@') {
        Some((length, offset)) => (length, Some(integer(offset)?)),
        None => (text, None),
    };
    Some(Range { length: integer(length)?, offset })
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, Playlist, read};
    use super::*;

    const GOOD: &str = r#"#EXTM3U
#EXT-X-VERSION:6
#EXT-X-TARGETDURATION:6
#EXT-X-MEDIA-SEQUENCE:3
#EXT-X-PLAYLIST-TYPE:VOD
#EXT-X-KEY:METHOD=AES-128,URI="https://k/1",IV=0x000102030405060708090a0b0c0d0e0f
#EXTINF:6.006,
00000.ts
#EXT-X-DISCONTINUITY
#EXTINF:5.5,a title, with a comma
00001.ts
#EXT-X-ENDLIST
"#;

    fn media(playlist: &Playlist) -> &Media {
        match &playlist.kind {
            Kind::Media(media) => media,
            Kind::Master(_) => panic!("not a media playlist"),
        }
    }

    #[test]
    fn everything_said_is_read() {
        let playlist = read(GOOD.as_bytes());
        assert_eq!(playlist.problems, []);
        assert_eq!(playlist.lines.len(), 12);
        let media = media(&playlist);
        assert_eq!((media.target_duration, media.sequence, media.ended), (Some(6), 3, true));
        assert_eq!(media.playlist_type.as_deref(), Some("VOD"));
        assert_eq!(media.keys[0].iv.map(hex::encode).as_deref(), Some("000102030405060708090a0b0c0d0e0f"));
        let read: Vec<_> = media.segments.iter().map(|s| (s.line, s.seconds, s.discontinuity, s.key)).collect();
        assert_eq!(read, [(8, 6.006, false, Some(0)), (11, 5.5, true, Some(0))]);
    }

    #[track_caller]
    fn check(from: &str, to: &str, wrong: &[(&str, usize)]) {
        assert!(GOOD.contains(from));
        let problems = read(GOOD.replace(from, to).as_bytes()).problems;
        let got: Vec<_> = problems.iter().map(|problem| (problem.rule, problem.line)).collect();
        assert_eq!(got, wrong, "{problems:?}");
    }

    #[test]
    fn each_mistake_is_named() {
        check("#EXT-X-TARGETDURATION:6\n", "", &[("R03", 1)]);
        check("TARGETDURATION:6", "TARGETDURATION:6.0", &[("R03", 3), ("R03", 1)]);
        check("VERSION:6", "VERSION:2", &[("R02", 7)]);
        check("VERSION:6", "VERSION:six", &[("R02", 2), ("R02", 7)]);
        check("00000.ts\n", "", &[("R03", 7)]);
        check("#EXTINF:6.006,\n", "", &[("R03", 7)]);
        check("EXTINF:6.006,", "EXTINF:6.006", &[("R03", 7)]);
        check("EXTINF:6.006,", "EXTINF:-6,", &[("R03", 7)]);
        check("VOD", "vod", &[("R03", 5)]);
        check("IV=0x00", "IV=0x", &[("R44", 6)]);
        check("IV=0x00", "IV=00", &[("R44", 6)]);
        check("METHOD=AES-128,", "", &[("R44", 6)]);
        check("AES-128", "AES-256", &[("R44", 6)]);
        check("URI=\"https://k/1\"", "URI=https://k/1", &[("R44", 6)]);
        check("00001.ts\n", "00001.ts\n#EXT-X-MEDIA-SEQUENCE:1\n", &[("R03", 12), ("R03", 12)]);
    }

    #[test]
    fn ranges_follow_each_other() {
        let ranged = GOOD
            .replace("00000.ts", "#EXT-X-BYTERANGE:100@50\nall.ts")
            .replace("00001.ts", "#EXT-X-BYTERANGE:70\nall.ts");
        let playlist = read(ranged.as_bytes());
        assert_eq!(playlist.problems, []);
        assert_eq!(media(&playlist).segments[1].range, Some(Range { length: 70, offset: Some(150) }));
        check("00000.ts", "#EXT-X-BYTERANGE:100\nall.ts", &[("R51", 8)]);
        check("00000.ts", "#EXT-X-BYTERANGE:x\nall.ts", &[("R51", 8)]);
    }

    #[test]
    fn a_key_holds_until_the_next() {
        let clear = GOOD.replace("#EXT-X-DISCONTINUITY", "#EXT-X-KEY:METHOD=NONE");
        let playlist = read(clear.as_bytes());
        let keys: Vec<_> = media(&playlist).segments.iter().map(|segment| segment.key).collect();
        assert_eq!((keys, playlist.problems), (vec![Some(0), None], vec![]));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic() {
        for bytes in [&b""[..], b"\0", b"\xff\xff", b"#EXTM3U\n#EXTINF", b"#EXTM3U\n#EXT-X-KEY:\n#EXT-X-MAP:\n#EXT"] {
            read(bytes);
        }
        read("#EXTINF:99999999999999999999999,\n".repeat(1000).as_bytes());
    }
}
