//! Writes CMAF (ISO/IEC 23000-19): the header of one track, and segments of it
//! that are made apart, on any machine, in any order.
//!
//! There is no edit list: all times are absolute and far enough from zero for
//! pictures to be decoded before they are shown, as in MPEG-TS. (Signed
//! compositions would do too, but ffmpeg then shows the picture late.) Data are
//! addressed from their own `moof` on, so segments need nothing of their neighbours.

use crate::format::protection::{self, Protection, Sealed};
use crate::model::media::{DynamicRange, Light, Mastering};

/// What a sample entry says of the picture's colours (ISO/IEC 23091-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour {
    /// Colour primaries: 1 is BT.709, 9 is BT.2020.
    pub primaries: u16,
    /// Transfer characteristics: 1 is BT.709, 16 is PQ, 18 is HLG.
    pub transfer: u16,
    /// Matrix coefficients: 1 is BT.709, 9 is BT.2020.
    pub matrix: u16,
}

/// BT.709, which every SDR rendition has.
pub const BT709: Colour = Colour { primaries: 1, transfer: 1, matrix: 1 };

/// BT.2020 with the transfer of a range of HDR.
pub fn bt2020(range: DynamicRange) -> Colour {
    Colour { primaries: 9, transfer: range.transfer().1, matrix: 9 }
}

/// What is in a track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Pictures.
    Video {
        /// The sample entry: `avc1`, `hvc1` or `av01`.
        entry: [u8; 4],
        /// `avcC`, `hvcC` or `av1C`, without its header.
        config: Vec<u8>,
        /// Width in pixels.
        width: u16,
        /// Height in pixels.
        height: u16,
        /// Its colours; always limited range.
        colour: Colour,
        /// What HDR says of itself.
        hdr: (Option<Mastering>, Option<Light>),
    },
    /// AAC.
    Audio {
        /// `AudioSpecificConfig`.
        config: Vec<u8>,
        /// Channels.
        channels: u16,
        /// Samples a second, also the track's units.
        rate: u32,
        /// ISO 639-2/T, three letters; `und` where unknown.
        language: String,
    },
}

/// One track, which is all there is in a file of CMAF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// Units a second.
    pub timescale: u32,
    /// Units that every sample lasts.
    pub duration: u32,
    /// What is in it.
    pub content: Content,
    /// How its samples are encrypted, if they are.
    pub protection: Option<Protection>,
}

/// One picture or one frame of sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Presentation after decoding, in units of the track.
    pub composition: u32,
    /// Whether decoding can begin here.
    pub key: bool,
    /// The bytes, encrypted if the track is.
    pub bytes: Vec<u8>,
    /// What of them is encrypted, if not all.
    pub sealed: Vec<Sealed>,
}

/// Flags of a sample that can be decoded by itself, and of one that cannot.
const SYNC: u32 = 0x0200_0000;
const NOT_SYNC: u32 = 0x0101_0000;

/// The only track of a file.
const TRACK: u32 = 1;

/// The header: everything but samples.
pub fn init(track: &Track) -> Vec<u8> {
    let mut out = brands(*b"ftyp", *b"iso6", &[*b"iso6", *b"cmfc", *b"mp41"]);
    let mut moov = movie_header();
    moov.extend(boxed(*b"trak", &[track_header(track), media(track)].concat()));
    let extends = full(*b"trex", 0, 0, &words(&[TRACK, 1, 0, 0, 0]));
    moov.extend(boxed(*b"mvex", &extends));
    if let Some(protection) = &track.protection {
        moov.extend(protection::system_header(protection));
    }
    out.extend(boxed(*b"moov", &moov));
    out
}

/// One segment: `number` counts from 0, `time` is when its first sample is decoded, in units of the track.
pub fn segment(track: &Track, number: u64, time: u64, samples: &[Sample]) -> Vec<u8> {
    let mut out = brands(*b"styp", *b"msdh", &[*b"msdh", *b"iso6", *b"cmfs"]);
    let at = out.len();
    let sequence = u32::try_from(number + 1).unwrap_or(u32::MAX);
    // The run says how far the data are from the head of `moof`, whose size must be known for it.
    let moof = |offset: u32| {
        let header = full(*b"mfhd", 0, 0, &sequence.to_be_bytes());
        let fragment = fragment(track, time, samples, offset);
        boxed(*b"moof", &[header, boxed(*b"traf", &fragment)].concat())
    };
    let length = u32::try_from(moof(0).len()).unwrap_or(u32::MAX);
    out.extend(moof(length + 8));
    let bytes: usize = samples.iter().map(|sample| sample.bytes.len()).sum();
    out.reserve(bytes + 8);
    out.extend((u32::try_from(bytes + 8).unwrap_or(u32::MAX)).to_be_bytes());
    out.extend_from_slice(b"mdat");
    for sample in samples {
        out.extend_from_slice(&sample.bytes);
    }
    if let Some(place) = auxiliary_offset(&out, at) {
        let offset = u32::try_from(place.1 - at).unwrap_or(u32::MAX);
        out.splice(place.0..place.0 + 4, offset.to_be_bytes());
    }
    out
}

/// Where `saio` keeps its offset, and where the auxiliary information in `senc` begins.
fn auxiliary_offset(bytes: &[u8], moof: usize) -> Option<(usize, usize)> {
    // Sizes of what comes first are fixed: `moof` and `traf` have headers of 8 bytes, `mfhd` is 16 long.
    let (mut at, mut saio, mut senc) = (moof + 32, None, None);
    while let Some(head) = bytes.get(at..at + 8) {
        let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        match head.get(4..8)? {
            b"saio" => saio = Some(at + 16),
            b"senc" => senc = Some(at + 16),
            b"mdat" => break,
            _ => {}
        }
        at += size.max(8);
    }
    Some((saio?, senc?))
}

fn fragment(track: &Track, time: u64, samples: &[Sample], offset: u32) -> Vec<u8> {
    let video = matches!(track.content, Content::Video { .. });
    let usual = if video { NOT_SYNC } else { SYNC };
    // default-base-is-moof, default-sample-duration, default-sample-flags.
    let mut out = full(*b"tfhd", 0, 0x02_0028, &words(&[TRACK, track.duration, usual]));
    out.extend(full(*b"tfdt", 1, 0, &time.to_be_bytes()));
    // data-offset, sample-size; for pictures sample-flags and composition.
    let flags = if video { 0x0e01 } else { 0x0201 };
    let mut run = words(&[u32::try_from(samples.len()).unwrap_or(u32::MAX), offset]);
    for sample in samples {
        run.extend(u32::try_from(sample.bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        if video {
            run.extend(if sample.key { SYNC } else { NOT_SYNC }.to_be_bytes());
            run.extend(sample.composition.to_be_bytes());
        }
    }
    out.extend(full(*b"trun", 0, flags, &run));
    if track.protection.is_some() {
        let sealed: Vec<&[Sealed]> = samples.iter().map(|sample| sample.sealed.as_slice()).collect();
        out.extend(protection::auxiliary(&sealed));
    }
    out
}

fn brands(kind: [u8; 4], major: [u8; 4], compatible: &[[u8; 4]]) -> Vec<u8> {
    boxed(kind, &[major.as_slice(), &[0; 4], &compatible.concat()].concat())
}

/// `mvhd` without times, since bytes must not depend on the clock; the length is that of the fragments.
fn movie_header() -> Vec<u8> {
    let mut body = words(&[0, 0, 1000, 0, 0x0001_0000, 0x0100_0000, 0, 0]);
    body.extend(words(&UNITY));
    body.extend([0; 24]);
    body.extend((TRACK + 1).to_be_bytes());
    full(*b"mvhd", 0, 0, &body)
}

const UNITY: [u32; 9] = [0x0001_0000, 0, 0, 0, 0x0001_0000, 0, 0, 0, 0x4000_0000];

fn track_header(track: &Track) -> Vec<u8> {
    let (width, height, volume) = match track.content {
        Content::Video { width, height, .. } => (width, height, 0),
        Content::Audio { .. } => (0, 0, 0x0100_0000),
    };
    let mut body = words(&[0, 0, TRACK, 0, 0, 0, 0, 0, volume]);
    body.extend(words(&UNITY));
    body.extend(words(&[u32::from(width) << 16, u32::from(height) << 16]));
    // Enabled, in the movie, in the preview.
    full(*b"tkhd", 0, 7, &body)
}

fn media(track: &Track) -> Vec<u8> {
    let (language, handler, kind) = match &track.content {
        Content::Video { .. } => ("und", *b"vide", full(*b"vmhd", 0, 1, &[0; 8])),
        Content::Audio { language, .. } => (language.as_str(), *b"soun", full(*b"smhd", 0, 0, &[0; 4])),
    };
    let mut header = words(&[0, 0, track.timescale, 0]);
    header.extend(packed(language).to_be_bytes());
    header.extend([0; 2]);
    let name: &[u8] = if handler == *b"vide" { b"Video\0" } else { b"Sound\0" };
    let handler = full(*b"hdlr", 0, 0, &[&[0; 4], handler.as_slice(), &[0; 12], name].concat());
    let here = full(*b"url ", 0, 1, &[]);
    let references = boxed(*b"dinf", &full(*b"dref", 0, 0, &[&1_u32.to_be_bytes(), here.as_slice()].concat()));
    let table = [
        full(*b"stsd", 0, 0, &[&1_u32.to_be_bytes(), sample_entry(track).as_slice()].concat()),
        full(*b"stts", 0, 0, &[0; 4]),
        full(*b"stsc", 0, 0, &[0; 4]),
        full(*b"stsz", 0, 0, &[0; 8]),
        full(*b"stco", 0, 0, &[0; 4]),
    ];
    let information = boxed(*b"minf", &[kind, references, boxed(*b"stbl", &table.concat())].concat());
    boxed(*b"mdia", &[full(*b"mdhd", 0, 0, &header), handler, information].concat())
}

/// Three letters of five bits each (ISO/IEC 14496-12, 8.4.2.3); what is no such code is `und`.
fn packed(language: &str) -> u16 {
    let valid = language.len() == 3 && language.bytes().all(|byte| byte.is_ascii_lowercase());
    let language = if valid { language } else { "und" };
    language.bytes().fold(0, |sum, byte| sum << 5 | u16::from(byte - 0x60))
}

fn sample_entry(track: &Track) -> Vec<u8> {
    let (kind, mut body) = match &track.content {
        Content::Video { entry, config, width, height, colour, hdr } => {
            let mut body = video_entry(*entry, config, (*width, *height), *colour);
            body.extend(hdr.0.iter().flat_map(mastering_display));
            body.extend(hdr.1.map(content_light).unwrap_or_default());
            (*entry, body)
        }
        Content::Audio { config, channels, rate, .. } => (*b"mp4a", audio_entry(config, *channels, *rate)),
    };
    let Some(protection) = &track.protection else { return boxed(kind, &body) };
    let (sealed, video) = match &track.content {
        Content::Video { .. } => (*b"encv", true),
        Content::Audio { .. } => (*b"enca", false),
    };
    body.extend(protection::scheme(protection, kind, video));
    boxed(sealed, &body)
}

fn video_entry(entry: [u8; 4], config: &[u8], (width, height): (u16, u16), colour: Colour) -> Vec<u8> {
    let name = match &entry {
        b"avc1" => *b"avcC",
        b"hvc1" => *b"hvcC",
        _ => *b"av1C",
    };
    let mut body = vec![0, 0, 0, 0, 0, 0, 0, 1];
    body.extend([0; 16]);
    body.extend(width.to_be_bytes());
    body.extend(height.to_be_bytes());
    // 72 dots an inch, one picture a sample, no name of the encoder, 24 bits.
    body.extend(words(&[0x0048_0000, 0x0048_0000, 0]));
    body.extend([0, 1]);
    body.extend([0; 32]);
    body.extend([0, 0x18, 0xff, 0xff]);
    body.extend(boxed(name, config));
    let Colour { primaries, transfer, matrix } = colour;
    let colours = [primaries, transfer, matrix].map(u16::to_be_bytes).concat();
    body.extend(boxed(*b"colr", &[b"nclx".as_slice(), &colours, &[0]].concat()));
    body.extend(boxed(*b"pasp", &words(&[1, 1])));
    body
}

/// `mdcv` (ISO/IEC 14496-12, 12.1.7): green, blue, red, white, most and least light.
fn mastering_display(mastering: &Mastering) -> Vec<u8> {
    let Mastering { primaries: [green, blue, red], white, luminance } = mastering;
    let points = [green, blue, red, white].into_iter().flat_map(|point| [point.0, point.1]);
    let mut body: Vec<u8> = points.flat_map(u16::to_be_bytes).collect();
    body.extend(words(&[luminance.0, luminance.1]));
    boxed(*b"mdcv", &body)
}

/// `clli` (ISO/IEC 14496-12, 12.1.6).
fn content_light(light: Light) -> Vec<u8> {
    boxed(*b"clli", &[light.pixel.to_be_bytes(), light.picture.to_be_bytes()].concat())
}

fn audio_entry(config: &[u8], channels: u16, rate: u32) -> Vec<u8> {
    let mut body = vec![0, 0, 0, 0, 0, 0, 0, 1];
    body.extend([0; 8]);
    body.extend(channels.to_be_bytes());
    body.extend([0, 16, 0, 0, 0, 0]);
    body.extend((rate << 16).to_be_bytes());
    // MPEG-4 audio in an audio stream; rates are not said, since chunks must not differ in them.
    let decoder = [&[0x40, 0x15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], descriptor(5, config).as_slice()].concat();
    let stream = [&[0, 0, 0], descriptor(4, &decoder).as_slice(), &descriptor(6, &[2])].concat();
    body.extend(full(*b"esds", 0, 0, &descriptor(3, &stream)));
    body
}

/// One descriptor of MPEG-4 systems; ours are short.
fn descriptor(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag, u8::try_from(body.len()).expect("shorter than 128 bytes")], body].concat()
}

/// A box with version and flags.
pub(super) fn full(kind: [u8; 4], version: u8, flags: u32, body: &[u8]) -> Vec<u8> {
    boxed(kind, &[(u32::from(version) << 24 | flags).to_be_bytes().as_slice(), body].concat())
}

/// A box.
pub(super) fn boxed(kind: [u8; 4], body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len() + 8).unwrap_or(u32::MAX);
    [size.to_be_bytes().as_slice(), &kind, body].concat()
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn video() -> Track {
        let config = vec![1, 0x64, 0, 0x1f, 0xff, 0xe1, 0, 2, 0x67, 1, 1, 0, 2, 0x68, 2];
        let content =
            Content::Video { entry: *b"avc1", config, width: 1280, height: 720, colour: BT709, hdr: (None, None) };
        Track { timescale: 25_000, duration: 1000, content, protection: None }
    }

    fn sample(composition: u32, key: bool, bytes: &[u8]) -> Sample {
        Sample { composition, key, bytes: bytes.to_vec(), sealed: Vec::new() }
    }

    /// The payload of the box that `path` leads to.
    fn find<'a>(bytes: &'a [u8], path: &[&[u8; 4]]) -> &'a [u8] {
        let Some((name, rest)) = path.split_first() else { return bytes };
        let mut at = 0;
        loop {
            let size = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
            if &bytes[at + 4..at + 8] == *name {
                return find(&bytes[at + 8..at + size], rest);
            }
            at += size;
        }
    }

    #[test]
    fn boxes_fill_the_file_exactly() {
        let made = [init(&video()), segment(&video(), 0, 250_000, &[sample(0, true, &[1, 2])])].concat();
        let mut at = 0;
        let mut names = Vec::new();
        while at < made.len() {
            names.push(String::from_utf8(made[at + 4..at + 8].to_vec()).unwrap());
            at += u32::from_be_bytes(made[at..at + 4].try_into().unwrap()) as usize;
        }
        assert_eq!((at, names.join(" ").as_str()), (made.len(), "ftyp moov styp moof mdat"));
    }

    #[test]
    fn a_segment_says_when_and_where_its_samples_are() {
        let made = segment(&video(), 7, 1 << 40, &[sample(0, true, &[1, 2]), sample(2000, false, &[3])]);
        assert_eq!(find(&made, &[b"moof", b"mfhd"])[4..], 8_u32.to_be_bytes());
        assert_eq!(find(&made, &[b"moof", b"traf", b"tfdt"])[4..], (1_u64 << 40).to_be_bytes());
        let run = find(&made, &[b"moof", b"traf", b"trun"]);
        let word = |at: usize| u32::from_be_bytes(run[at..at + 4].try_into().unwrap());
        let moof = made.windows(4).position(|four| four == b"moof").unwrap() - 4;
        assert_eq!((word(4), &made[moof + word(8) as usize..]), (2, &[1, 2, 3][..]));
        assert_eq!((word(12), word(16), word(24), word(32)), (2, SYNC, 1, 2000));
    }

    #[test]
    fn languages_are_packed_and_odd_ones_unknown() {
        assert_eq!((packed("eng"), packed("und")), (0x15c7, 0x55c4));
        assert_eq!((packed("en"), packed("x-klingon")), (0x55c4, 0x55c4));
    }

    #[test]
    fn the_sound_entry_holds_its_config() {
        let content = Content::Audio { config: vec![0x11, 0x90], channels: 2, rate: 48_000, language: "deu".into() };
        let track = Track { timescale: 48_000, duration: 1024, content, protection: None };
        let made = init(&track);
        assert!(made.windows(4).any(|four| four == [5, 2, 0x11, 0x90]));
    }
}
