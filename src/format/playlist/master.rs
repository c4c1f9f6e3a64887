//! What a master playlist says: variants and renditions.

use super::Problem;
use super::attribute::{Attributes, decimal, integer, short};
use super::line::{Content, Line, version};

/// A master playlist.
#[derive(Clone, Debug, Default)]
pub struct Master {
    /// EXT-X-VERSION, 1 where it is missing.
    pub version: u64,
    /// Whether EXT-X-INDEPENDENT-SEGMENTS is there.
    pub independent: bool,
    /// The variants, in order.
    pub variants: Vec<Variant>,
    /// The renditions, in order.
    pub renditions: Vec<Rendition>,
    /// The I-frame playlists, in order.
    pub trick: Vec<Variant>,
}

/// One EXT-X-STREAM-INF.
#[derive(Clone, Debug, Default)]
pub struct Variant {
    /// Line of the tag.
    pub line: usize,
    /// Its playlist.
    pub uri: String,
    /// Peak bits a second.
    pub bandwidth: Option<u64>,
    /// Average bits a second.
    pub average_bandwidth: Option<u64>,
    /// All codecs, as written.
    pub codecs: Option<String>,
    /// Width and height.
    pub resolution: Option<(u64, u64)>,
    /// Frames a second.
    pub frame_rate: Option<f64>,
    /// Group of audio renditions.
    pub audio: Option<String>,
    /// Group of subtitle renditions.
    pub subtitles: Option<String>,
    /// Group of video renditions.
    pub video: Option<String>,
    /// SDR, PQ or HLG.
    pub video_range: Option<String>,
}

/// Variants, renditions and I-frame playlists that are kept, of each; more are hostile.
const KEPT: usize = 1000;

/// One EXT-X-MEDIA.
#[derive(Clone, Debug, Default)]
pub struct Rendition {
    /// Line of the tag.
    pub line: usize,
    /// AUDIO, VIDEO, SUBTITLES or CLOSED-CAPTIONS.
    pub kind: String,
    /// Its group.
    pub group: String,
    /// Its name for people.
    pub name: String,
    /// Its playlist; one without is inside the variants.
    pub uri: Option<String>,
    /// RFC 5646 tag.
    pub language: Option<String>,
    /// Whether it is played when the user chose nothing.
    pub default: bool,
    /// Whether the player may choose it by language.
    pub autoselect: bool,
    /// Whether it is for those who have not asked for subtitles.
    pub forced: bool,
    /// CHARACTERISTICS, as written.
    pub characteristics: Option<String>,
    /// The first part of CHANNELS.
    pub channels: Option<u64>,
}

/// Makes sense of the lines.
pub(super) fn read(lines: &[Line], problems: &mut Vec<Problem>) -> Master {
    let mut master = Master { version: version(lines, problems), ..Master::default() };
    let mut open: Option<Variant> = None;
    for line in lines {
        match line.content() {
            Content::Tag("EXT-X-INDEPENDENT-SEGMENTS", _) => master.independent = true,
            Content::Tag("EXT-X-STREAM-INF", value) => {
                if let Some(variant) = open.replace(variant(line.number, value, problems)) {
                    problems.push(Problem::new("R03", variant.line, "EXT-X-STREAM-INF has no URI after it"));
                }
            }
            Content::Tag("EXT-X-MEDIA", value) => master.renditions.push(rendition(line.number, value, problems)),
            Content::Tag("EXT-X-I-FRAME-STREAM-INF", value) => {
                let trick = variant(line.number, value, problems);
                if trick.uri.is_empty() {
                    problems.push(Problem::new("R03", line.number, "EXT-X-I-FRAME-STREAM-INF has no URI"));
                } else {
                    master.trick.push(trick);
                }
            }
            Content::Uri(uri) => match open.take() {
                Some(variant) => master.variants.push(Variant { uri: uri.to_owned(), ..variant }),
                None => problems.push(Problem::new(
                    "R03",
                    line.number,
                    format!("`{}` has no EXT-X-STREAM-INF before it", short(uri)),
                )),
            },
            Content::Blank | Content::Comment | Content::Tag(..) => {}
        }
        if [master.variants.len(), master.renditions.len(), master.trick.len()].contains(&KEPT) {
            problems.push(Problem::new("R03", line.number, format!("more than {KEPT} entries: the rest was not read")));
            return master;
        }
    }
    if let Some(variant) = open {
        problems.push(Problem::new("R03", variant.line, "EXT-X-STREAM-INF has no URI after it"));
    }
    master
}

fn variant(line: usize, value: &str, problems: &mut Vec<Problem>) -> Variant {
    let attributes = Attributes::read(line, value, problems);
    let resolution = attributes.bare("RESOLUTION", problems).and_then(|text| {
        let size = text.split_once('x').and_then(|(width, height)| Some((integer(width)?, integer(height)?)));
        if size.is_none() {
            problems.push(Problem::new("R03", line, format!("RESOLUTION={} is not WIDTHxHEIGHT", short(&text))));
        }
        size
    });
    Variant {
        line,
        uri: attributes.quoted("URI", problems).unwrap_or_default(),
        bandwidth: attributes.integer("BANDWIDTH", problems),
        average_bandwidth: attributes.integer("AVERAGE-BANDWIDTH", problems),
        codecs: attributes.quoted("CODECS", problems),
        resolution,
        frame_rate: attributes.decimal("FRAME-RATE", problems),
        audio: attributes.quoted("AUDIO", problems),
        subtitles: attributes.quoted("SUBTITLES", problems),
        video: attributes.quoted("VIDEO", problems),
        video_range: attributes.bare("VIDEO-RANGE", problems),
    }
}

fn rendition(line: usize, value: &str, problems: &mut Vec<Problem>) -> Rendition {
    let attributes = Attributes::read(line, value, problems);
    let mut required = |found: Option<String>, name: &str| {
        found.unwrap_or_else(|| {
            problems.push(Problem::new("R18", line, format!("EXT-X-MEDIA has no {name}")));
            String::new()
        })
    };
    let plain = |name: &str| attributes.get(name).map(|attribute| attribute.value.clone());
    let kind = required(plain("TYPE"), "TYPE");
    let group = required(plain("GROUP-ID"), "GROUP-ID");
    let name = required(plain("NAME"), "NAME");
    for quoted in ["GROUP-ID", "NAME"] {
        attributes.quoted(quoted, problems);
    }
    attributes.bare("TYPE", problems);
    let channels = attributes.quoted("CHANNELS", problems);
    Rendition {
        line,
        kind,
        group,
        name,
        uri: attributes.quoted("URI", problems),
        language: attributes.quoted("LANGUAGE", problems),
        default: attributes.bare("DEFAULT", problems).as_deref() == Some("YES"),
        autoselect: attributes.bare("AUTOSELECT", problems).as_deref() == Some("YES"),
        forced: attributes.bare("FORCED", problems).as_deref() == Some("YES"),
        characteristics: attributes.quoted("CHARACTERISTICS", problems),
        channels: channels
            .and_then(|text| decimal(text.split('/').next().unwrap_or_default()).and(integer_part(&text))),
    }
}

/// The count of `6/JOC`.
fn integer_part(channels: &str) -> Option<u64> {
    integer(channels.split('/').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, read};

    const GOOD: &str = r#"#EXTM3U
#EXT-X-VERSION:6
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="aud",NAME="English",LANGUAGE="en",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",URI="g/a/index.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=1200,AVERAGE-BANDWIDTH=1000,CODECS="avc1.640028,mp4a.40.2",RESOLUTION=1920x1080,FRAME-RATE=23.976,AUDIO="aud"
g/1080p/index.m3u8
"#;

    #[test]
    fn everything_said_is_read() {
        let playlist = read(GOOD.as_bytes());
        assert_eq!(playlist.problems, []);
        let Kind::Master(master) = playlist.kind else { panic!("not a master") };
        assert!(master.independent && master.version == 6);
        let variant = &master.variants[0];
        assert_eq!((variant.line, variant.uri.as_str()), (5, "g/1080p/index.m3u8"));
        assert_eq!((variant.bandwidth, variant.average_bandwidth), (Some(1200), Some(1000)));
        assert_eq!((variant.resolution, variant.frame_rate), (Some((1920, 1080)), Some(23.976)));
        let audio = &master.renditions[0];
        assert_eq!((audio.kind.as_str(), audio.group.as_str(), audio.channels), ("AUDIO", "aud", Some(2)));
        assert!(audio.default && audio.language.as_deref() == Some("en"));
    }

    #[track_caller]
    fn check(from: &str, to: &str, rule: &str, line: usize) {
        assert!(GOOD.contains(from));
        let problems = read(GOOD.replace(from, to).as_bytes()).problems;
        let got: Vec<_> = problems.iter().map(|problem| (problem.rule, problem.line)).collect();
        assert_eq!(got, [(rule, line)], "{problems:?}");
    }

    #[test]
    fn each_mistake_is_named() {
        check("g/1080p/index.m3u8\n", "", "R03", 5);
        check("BANDWIDTH=1200", "BANDWIDTH=\"1200\"", "R03", 5);
        check("BANDWIDTH=1200", "BANDWIDTH=1.2", "R03", 5);
        check("1920x1080", "1920*1080", "R03", 5);
        check("NAME=\"English\",", "", "R18", 4);
        check("LANGUAGE=\"en\"", "LANGUAGE=en", "R03", 4);
        check("g/1080p/index.m3u8\n", "g/1080p/index.m3u8\nmore.m3u8\n", "R03", 7);
    }
}
