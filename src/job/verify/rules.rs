//! The rules: what they are called, where they are written, what they ask for and what to do.

/// One rule of a package.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Its name in reports.
    pub id: &'static str,
    /// Where it is written.
    pub source: &'static str,
    /// What it asks for.
    pub asks: &'static str,
    /// What to do where it is broken.
    pub remedy: &'static str,
    /// What must be given besides the package to check it.
    pub needs: Needs,
}

/// What a check needs besides the package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// Segments decoded by ffmpeg.
    Decoding,
    /// The file the package was made from.
    Source,
}

const fn rule(id: &'static str, source: &'static str, asks: &'static str, remedy: &'static str) -> Rule {
    Rule { id, source, asks, remedy, needs: Needs::Nothing }
}

const fn with(needs: Needs, rule: Rule) -> Rule {
    Rule { needs, ..rule }
}

/// Every rule that is checked.
pub const RULES: &[Rule] = &[
    rule(
        "R01",
        "RFC 8216 §4.1",
        "playlists begin with `#EXTM3U` and are UTF-8 without a byte order mark or control characters",
        "write the playlist as plain UTF-8; a proxy or an editor may have changed it",
    ),
    rule(
        "R02",
        "RFC 8216 §7",
        "`EXT-X-VERSION` stands once and is high enough for what is used",
        "raise EXT-X-VERSION to what the finding names",
    ),
    rule(
        "R03",
        "RFC 8216 §4.2, §4.3",
        "tags and attribute lists are well formed, none twice, each in the right kind of playlist",
        "correct the line that is named",
    ),
    rule(
        "R04",
        "RFC 8216 §4.1, Forebay",
        "every URI is an object in the package, and in a folder nothing else lies about",
        "upload what is missing, correct its name, or delete what nothing refers to",
    ),
    rule(
        "R05",
        "RFC 8216 §4.3.3.4",
        "media playlists have `EXT-X-ENDLIST`",
        "append #EXT-X-ENDLIST; if the packager was killed, make the package anew",
    ),
    rule(
        "R06",
        "Apple 8.6",
        "media playlists say `EXT-X-PLAYLIST-TYPE:VOD`",
        "add #EXT-X-PLAYLIST-TYPE:VOD to every media playlist",
    ),
    rule(
        "R07",
        "RFC 8216 §4.3.3.1, Apple 7.5",
        "no segment is longer than the target duration, by `EXTINF` (rounded) or really (by half a second); the target \
         duration is not needlessly long",
        "set EXT-X-TARGETDURATION to the longest segment, rounded; force key frames so that segments are alike",
    ),
    rule(
        "R08",
        "RFC 8216 §6.2.4, Apple 8.2",
        "all playlists of picture and sound have one target duration",
        "give all of them the largest EXT-X-TARGETDURATION",
    ),
    rule(
        "R09",
        "Apple 9.11, 9.12",
        "`EXT-X-INDEPENDENT-SEGMENTS` is in the master playlist, or in every playlist of pictures",
        "add #EXT-X-INDEPENDENT-SEGMENTS to the master playlist, if every segment begins with a key frame",
    ),
    rule(
        "R10",
        "RFC 8216 §4.3.2.1, Apple 8.1",
        "`EXTINF` is the real length within a frame, for each segment and the sum of every run of them",
        "write EXTINF from the time stamps of the pictures, with six decimals",
    ),
    rule(
        "R11",
        "RFC 8216 §4.3.4.2, Apple 9.9",
        "there is a master playlist with several variants, each can be read and none is listed twice",
        "list each variant once; a slow connection needs a smaller one",
    ),
    rule(
        "R12",
        "RFC 8216 §4.1, §4.3.4.2, Apple 9.13, 1.27",
        "`BANDWIDTH` is the measured peak, sound included, within 10 %",
        "measure the finished segments and write their peak, container and padding included",
    ),
    rule(
        "R13",
        "RFC 8216 §4.3.4.2, Apple 9.14, 1.26",
        "`AVERAGE-BANDWIDTH` is the measured average within 10 %",
        "measure the finished segments and write their average",
    ),
    rule("R14", "Apple 1.30", "the peak is at most twice the average", "cap the encoder's rate (maxrate and bufsize)"),
    rule(
        "R15",
        "RFC 8216 §4.3.4.2, Apple 9.1",
        "`CODECS` names what is in the media and nothing else, and that does not change",
        "write CODECS from the headers of the stream, as the finding shows them",
    ),
    rule("R16", "Apple 9.2", "`RESOLUTION` is the size of the picture", "write the coded size"),
    rule(
        "R17",
        "Apple 9.15, 1.19",
        "`FRAME-RATE` is the real one and at most 60",
        "write the measured rate with three decimals",
    ),
    rule(
        "R18",
        "RFC 8216 §4.3.4.1, Apple 8.10, 4.7",
        "renditions have a type, a group, a language and a name of their own; groups exist; `CHANNELS` is true",
        "correct the EXT-X-MEDIA line, or the group that the variant names",
    ),
    rule(
        "R19",
        "Apple 9.16, 1.24",
        "`VIDEO-RANGE` is what the picture is, and where there is HDR there is SDR too",
        "write VIDEO-RANGE from the transfer function, and add an SDR variant",
    ),
    rule(
        "R20",
        "RFC 8216 §4.3.3.6, §4.3.4.3, Apple 6.1, 6.8, 9.3, 9.4",
        "I-frame playlists are marked as such, say their bandwidth, codecs and size, and each entry is one key frame",
        "make the I-frame playlist anew from the segments as they are now",
    ),
    rule(
        "R21",
        "RFC 8216 §3.2, §3.3, §3.4, Apple 8.20",
        "segments are whole: 188-byte packets, one program and right tables; or boxes that hold what they say, with \
         an init section that describes them; or packed sound with its time",
        "the file is damaged or cut: upload it again, or make it again",
    ),
    rule(
        "R22",
        "Apple 7.4, RFC 8216 §4.3.5.1",
        "video segments begin with an IDR picture, its parameter sets before it",
        "force a key frame at every edge, and let no other than IDR pictures be cut at",
    ),
    rule(
        "R23",
        "Apple 7.4, RFC 8216 §4.3.5.1",
        "no picture is shown before the first one of its segment",
        "encode with closed groups of pictures",
    ),
    rule(
        "R24",
        "RFC 8216 §6.2.4, Apple 8.22",
        "video renditions are cut at the same places",
        "force key frames at the same times in all renditions",
    ),
    rule(
        "R25",
        "RFC 8216 §6.2.4",
        "all playlists start at the same time: pictures within 1 ms, sound within 100 ms",
        "start all encoders at the same time stamp",
    ),
    rule(
        "R26",
        "RFC 8216 §3, §4.3.2.3, Apple 7.1-7.3, 8.13",
        "counters and times run on within segments and over their edges, unless a discontinuity is marked, and \
         discontinuities are at the same places in all renditions",
        "a segment is missing, doubled or of another run: make the package anew, or mark a discontinuity",
    ),
    rule("R27", "Apple 1.13", "key frames are at most two seconds apart", "set the encoder's key frame interval"),
    rule(
        "R28",
        "Apple 2.17",
        "a segment has at most one video and one audio stream, and no other",
        "put further sound into renditions of its own, and leave data streams out",
    ),
    with(
        Needs::Decoding,
        rule(
            "R29",
            "RFC 8216 §4.3.5.1",
            "segments decode by themselves, every picture of them",
            "the media is damaged, or the key is wrong: make the segment anew",
        ),
    ),
    rule(
        "R30",
        "Apple 1.3-1.5, 1.10, 1.11, H.264 Table A-1",
        "H.264 is up to High and 5.2, at a level that takes the picture; HEVC is in fMP4, as hvc1",
        "encode with the profile and level that the finding names",
    ),
    rule(
        "R31",
        "Apple 1.14",
        "the picture is progressive, and H.264 is 8 bit, 4:2:0",
        "deinterlace, and encode as yuv420p in the limited range",
    ),
    rule("R32", "Forebay", "width and height are even, pixels are square", "scale to square pixels"),
    rule(
        "R33",
        "Apple 1.21, 1.22",
        "colour is tagged, alike in all renditions of a range, and H.264 of 8 bit not as HDR",
        "tag the colour in the encoder, the same for all renditions",
    ),
    rule(
        "R34",
        "Apple 1.33",
        "all variants have the same shape, within two pixels",
        "scale all renditions from the same picture",
    ),
    with(Needs::Source, rule("R35", "Forebay", "no rendition is larger than the source", "leave the rendition out")),
    rule(
        "R36",
        "Forebay",
        "the picture stands upright by itself: no rotation is left to the player",
        "turn the picture when encoding",
    ),
    with(
        Needs::Source,
        rule(
            "R37",
            "Forebay",
            "the picture is that of the source: not another, not mirrored, not turned, not shifted, not standing still",
            "look at the named segment beside the source at that time",
        ),
    ),
    rule(
        "R38",
        "Apple 2.2-2.4",
        "sound is AAC, AC-3 or the like at 44.1 or 48 kHz, HE-AAC only for few bits, and there is sound in stereo AAC",
        "encode the sound as AAC-LC at 48 kHz",
    ),
    rule(
        "R39",
        "RFC 8216 §6.2.4",
        "variants that carry sound carry the same frames of it",
        "put the sound into a rendition of its own, or mux the same encode into all variants",
    ),
    rule(
        "R40",
        "Forebay",
        "sound and picture of a segment start together; with `--source` they are in step as in the source, at the start \
         and at the end",
        "give both encoders the same start; do not cut one of them",
    ),
    rule(
        "R41",
        "Apple 8.3, 8.7",
        "sound and picture are equally long",
        "pad or cut the sound to the length of the picture",
    ),
    with(
        Needs::Source,
        rule(
            "R42",
            "Forebay",
            "the package is as long as the source within a frame, and has its pictures",
            "the packager lost the end or pictures: make the package anew",
        ),
    ),
    rule(
        "R43",
        "RFC 8216 §3.5, Apple 5.3, 5.5",
        "WebVTT segments have their header and a mapping of time, cues are inside the segments that list them, and \
         subtitles go on to the end",
        "write X-TIMESTAMP-MAP with the time of the first picture, and put each cue into all segments that it touches",
    ),
    rule(
        "R44",
        "RFC 8216 §4.3.2.4",
        "`EXT-X-KEY` has a known method, a quoted URI, a whole IV, and covers all segments or none",
        "correct the EXT-X-KEY line",
    ),
    rule(
        "R45",
        "RFC 8216 §4.3.2.4, §5, ISO 23001-7",
        "keys are 16 bytes, segments decrypt to media with right padding, and encrypted samples have their vectors",
        "check that key, IV and segment belong together; give the keys with --keys",
    ),
    rule(
        "R46",
        "Forebay, RFC 8216 §10",
        "no key lies in the package: no 16-byte file, no `*.key`, no file that holds a key, raw or in hex",
        "move the key to a server that asks who wants it, and encrypt with a new one",
    ),
    rule("R47", "Forebay, RFC 8216 §10", "keys look drawn by chance", "make keys from a source of random numbers"),
    rule(
        "R48",
        "RFC 8216 §4.3.2.5, §5.2",
        "no IV is the key, each segment has its own, and an encrypted init section has one",
        "give each segment an IV of its own, or leave it to the sequence number",
    ),
    rule(
        "R49",
        "RFC 8216 §4.3.2.4, §4.3.2.5",
        "what is said to be encrypted is, by that method, and nothing else",
        "encrypt the segment, or take EXT-X-KEY away; an init section is encrypted if EXT-X-KEY stands before it",
    ),
    rule("R50", "Forebay", "key URIs are https", "serve keys over https"),
    rule(
        "R51",
        "RFC 8216 §4.3.2.2",
        "byte ranges lie inside their files",
        "the file is cut, or the list is of another",
    ),
    rule(
        "R52",
        "RFC 8216 §4, Apple 10.1",
        "playlists are known by name or content type, and servers tell the types of segments",
        "set the content types of the server or the store",
    ),
    rule(
        "R54",
        "Forebay",
        "segments do not carry a title, a place or a comment of the source",
        "package without metadata (-map_metadata -1)",
    ),
    rule(
        "R55",
        "Forebay",
        "`manifest.json`, where there is one, lists every object with its size and SHA-256",
        "an object was changed after the package was made: make it anew",
    ),
    rule(
        "R56",
        "ISO 23009-1 §5",
        "a DASH manifest can be read, is static, and every segment it names is there with its init section",
        "upload what is missing, or make the manifest anew",
    ),
    rule(
        "R57",
        "ISO 23009-1 §5.3.9",
        "the timeline of a DASH manifest is that of its segments, without gaps, up to its duration",
        "make the manifest anew from the segments as they are now",
    ),
    rule(
        "R58",
        "ISO 23009-1 §5.3, Forebay",
        "a DASH manifest says the true codecs, size and rate, and has the renditions and the length of the HLS playlists",
        "make both from the same segments",
    ),
];

/// Rules whose breaking stops playback; their findings are shown first.
const GRAVE: [&str; 9] = ["R04", "R21", "R45", "R49", "R29", "R51", "R56", "R01", "R03"];

/// The rule with that name.
pub(super) fn find(id: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.id == id)
}

/// What stops playback comes first, then the order of the rules.
pub(super) fn weight(id: &str) -> (usize, usize) {
    let grave = GRAVE.iter().position(|grave| *grave == id).unwrap_or(GRAVE.len());
    (grave, RULES.iter().position(|rule| rule.id == id).unwrap_or(RULES.len()))
}

/// The rules as a table in Markdown, as `docs/verify.md` has it.
pub fn table() -> String {
    let line = |rule: &Rule| {
        let needs = match rule.needs {
            Needs::Nothing => "",
            Needs::Decoding => " (`--decode`)",
            Needs::Source => " (`--source`)",
        };
        format!("| {} | {} | {}{needs} | {} |\n", rule.id, rule.source, rule.asks, rule.remedy)
    };
    let lines: String = RULES.iter().map(line).collect();
    format!("| rule | source | asks that | what to do |\n|---|---|---|---|\n{lines}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_in_order_and_named_once() {
        assert!(RULES.windows(2).all(|pair| pair[0].id < pair[1].id));
        assert!(GRAVE.iter().all(|id| find(id).is_some()));
    }

    #[test]
    fn the_page_has_the_rules_as_they_are() {
        let page = include_str!("../../../docs/verify.md");
        assert!(page.contains(&table()), "docs/verify.md must hold this table:\n\n{}", table());
    }
}
