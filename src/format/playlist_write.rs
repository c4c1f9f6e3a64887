//! Writes the playlists of a package (RFC 8216).

use std::fmt::Write as _;

use crate::model::media::DynamicRange;
use crate::plan::audio::{AudioRendition, CHANNELS};
use crate::plan::ladder::Rendition;
use crate::plan::settings::Method;
use crate::plan::subtitle::SubtitleRendition;

/// One finished segment, as a playlist needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// Its file name beside the playlist.
    pub file: String,
    /// Its length in seconds.
    pub seconds: f64,
    /// Its bytes as stored.
    pub bytes: u64,
    /// Bytes up to the end of its first picture; 0 where nobody asked.
    pub head: u64,
    /// How it is encrypted.
    pub key: Option<Key>,
}

/// `EXT-X-KEY` of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Whole segments, or samples.
    pub method: Method,
    /// Where players get the 16 bytes.
    pub uri: String,
    /// The initialisation vector.
    pub iv: [u8; 16],
}

/// Bits a second of one rendition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bandwidth {
    /// Peak segment bit rate (RFC 8216 §4.1).
    pub peak: u64,
    /// Average segment bit rate.
    pub average: u64,
}

/// One rendition of the picture in the master playlist.
pub struct Variant<'a> {
    /// Its size and folder.
    pub rendition: &'a Rendition,
    /// Its codec string.
    pub codec: &'a str,
    /// Frames a second.
    pub frame_rate: f64,
    /// What it needs.
    pub bandwidth: Bandwidth,
    /// What its playlist of key frames needs, if it has one.
    pub i_frames: Option<Bandwidth>,
}

/// One rendition of the sound in the master playlist.
pub struct Track<'a> {
    /// Its name and folder.
    pub rendition: &'a AudioRendition,
    /// Its codec string.
    pub codec: &'a str,
    /// What it needs.
    pub bandwidth: Bandwidth,
}

/// One rendition of subtitles in the master playlist.
pub struct Text<'a> {
    /// Its name and folder.
    pub rendition: &'a SubtitleRendition,
    /// What it needs.
    pub bandwidth: Bandwidth,
}

/// What players call subtitles for who cannot hear.
const SOUNDS_TOLD: &str = ",CHARACTERISTICS=\"public.accessibility.transcribes-spoken-dialog,\
                           public.accessibility.describes-music-and-sound\"";

/// By what name players of Apple's know chapters.
const CHAPTERS: &str = "com.apple.hls.chapters";

/// The name of a playlist of key frames beside that of the segments.
pub const I_FRAMES: &str = "iframes.m3u8";

/// The playlist of the first picture of every segment (RFC 8216 §4.3.3.6).
pub fn i_frames(target_duration: u64, map: Option<&str>, segments: &[Segment]) -> String {
    list(Entries::FirstPictures, target_duration, map, segments)
}

/// The bit rates of a playlist of key frames.
pub fn i_frame_bandwidth(target_duration: u64, segments: &[Segment]) -> Bandwidth {
    let heads: Vec<Segment> = segments.iter().map(|one| Segment { bytes: one.head, ..one.clone() }).collect();
    bandwidth(target_duration, &heads)
}

/// The media playlist of finished segments; `map` is the header that all of them need, if they do.
pub fn media(target_duration: u64, map: Option<&str>, segments: &[Segment]) -> String {
    list(Entries::Segments, target_duration, map, segments)
}

/// What a media playlist leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Entries {
    Segments,
    FirstPictures,
}

fn list(entries: Entries, target_duration: u64, map: Option<&str>, segments: &[Segment]) -> String {
    // Version 3: EXTINF in decimals; 4: EXT-X-BYTERANGE; 6: EXT-X-MAP (RFC 8216 §7). Keys need no more.
    let (plain, tag) = match entries {
        Entries::Segments => (3, ""),
        Entries::FirstPictures => (4, "#EXT-X-I-FRAMES-ONLY\n"),
    };
    let version = if map.is_some() { 6 } else { plain };
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:{version}\n#EXT-X-TARGETDURATION:{target_duration}\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n{tag}"
    );
    if let Some(map) = map {
        // Before any key, so it is in the clear.
        put(&mut text, format_args!("#EXT-X-MAP:URI=\"{map}\"\n"));
    }
    let mut last: Option<&Key> = None;
    for segment in segments {
        if let Some(key) = segment.key.as_ref().filter(|key| last != Some(*key)) {
            put(&mut text, format_args!("{}\n", key_tag(key)));
            last = Some(key);
        }
        put(&mut text, format_args!("#EXTINF:{:.6},\n", segment.seconds));
        if entries == Entries::FirstPictures {
            put(&mut text, format_args!("#EXT-X-BYTERANGE:{}@0\n", segment.head));
        }
        put(&mut text, format_args!("{}\n", segment.file));
    }
    text.push_str("#EXT-X-ENDLIST\n");
    text
}

fn key_tag(key: &Key) -> String {
    let (iv, uri) = (hex::encode(key.iv), &key.uri);
    match key.method {
        Method::Aes128 => format!("#EXT-X-KEY:METHOD=AES-128,URI=\"{uri}\",IV=0x{iv}"),
        Method::Cbcs => format!(
            "#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"{uri}\",IV=0x{iv},KEYFORMAT=\"identity\",KEYFORMATVERSIONS=\"1\""
        ),
    }
}

/// The master playlist, with every URI below the folder `generation`.
///
/// Without a picture the default track is the one variant; a group is needed only where one can choose.
/// `chapters` is the name of Apple's list of chapters there, if there is one.
pub fn master(
    (generation, chapters): (&str, Option<&str>),
    variants: &[Variant<'_>],
    tracks: &[Track<'_>],
    texts: &[Text<'_>],
) -> String {
    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-INDEPENDENT-SEGMENTS\n");
    if let Some(list) = chapters {
        // RFC 8216 §4.3.4.4: what a URI leads to is JSON.
        put(&mut text, format_args!("#EXT-X-SESSION-DATA:DATA-ID=\"{CHAPTERS}\",URI=\"{generation}/{list}\"\n"));
    }
    let grouped = !variants.is_empty() || tracks.len() > 1;
    for track in tracks.iter().filter(|_| grouped) {
        let AudioRendition { folder, name, language, default, .. } = track.rendition;
        let default = if *default { "YES" } else { "NO" };
        put(
            &mut text,
            format_args!(
                "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"{name}\",LANGUAGE=\"{language}\",DEFAULT={default},\
                 AUTOSELECT=YES,CHANNELS=\"{CHANNELS}\",URI=\"{generation}/{folder}/index.m3u8\"\n"
            ),
        );
    }
    // Any track of the group may play with any variant, so the largest counts.
    let sound = Bandwidth {
        peak: tracks.iter().map(|track| track.bandwidth.peak).max().unwrap_or(0),
        average: tracks.iter().map(|track| track.bandwidth.average).max().unwrap_or(0),
    };
    let mut group = String::from(if grouped && !tracks.is_empty() { ",AUDIO=\"audio\"" } else { "" });
    let words = put_texts(&mut text, generation, texts);
    if !texts.is_empty() {
        group.push_str(",SUBTITLES=\"subs\"");
    }
    let sound = Bandwidth { peak: sound.peak + words.peak, average: sound.average + words.average };
    let ranges = video_ranges(variants);
    for variant in variants {
        let Rendition { name, width, height, range, .. } = variant.rendition;
        let range = ranges(*range);
        let mut codecs = variant.codec.to_string();
        if let Some(track) = tracks.first() {
            put(&mut codecs, format_args!(",{}", track.codec));
        }
        let (peak, average) = (variant.bandwidth.peak + sound.peak, variant.bandwidth.average + sound.average);
        put(
            &mut text,
            format_args!(
                "#EXT-X-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={average},CODECS=\"{codecs}\",\
                 RESOLUTION={width}x{height},FRAME-RATE={:.3}{range}{group}\n{generation}/{name}/index.m3u8\n",
                variant.frame_rate,
            ),
        );
    }
    let alone = tracks.iter().find(|track| track.rendition.default).filter(|_| variants.is_empty());
    if let Some(Track { rendition, codec, .. }) = alone {
        let (Bandwidth { peak, average }, folder) = (sound, &rendition.folder);
        put(
            &mut text,
            format_args!(
                "#EXT-X-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={average},CODECS=\"{codec}\"{group}\n\
                 {generation}/{folder}/index.m3u8\n"
            ),
        );
    }
    put_i_frames(&mut text, generation, variants);
    text
}

/// Where there is HDR every variant says its range; SDR alone goes without saying.
fn video_ranges(variants: &[Variant<'_>]) -> impl Fn(DynamicRange) -> String {
    let said = variants.iter().any(|variant| variant.rendition.range != DynamicRange::Sdr);
    move |range| if said { format!(",VIDEO-RANGE={}", range.name()) } else { String::new() }
}

/// The playlists of key frames of the variants that have one.
fn put_i_frames(text: &mut String, generation: &str, variants: &[Variant<'_>]) {
    let ranges = video_ranges(variants);
    for variant in variants {
        let Rendition { name, width, height, range, .. } = variant.rendition;
        let range = ranges(*range);
        let Some(bandwidth) = variant.i_frames else { continue };
        put(
            text,
            format_args!(
                "#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={},CODECS=\"{}\",RESOLUTION={width}x{height}{range},\
                 URI=\"{generation}/{name}/{I_FRAMES}\"\n",
                bandwidth.peak, bandwidth.average, variant.codec
            ),
        );
    }
}

/// The subtitle renditions; gives what the largest needs.
fn put_texts(text: &mut String, generation: &str, texts: &[Text<'_>]) -> Bandwidth {
    let yes = |yes: bool| if yes { "YES" } else { "NO" };
    for Text { rendition, .. } in texts {
        let SubtitleRendition { folder, name, language, .. } = rendition;
        let traits = if rendition.hearing_impaired { SOUNDS_TOLD } else { "" };
        put(
            text,
            format_args!(
                "#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"subs\",NAME=\"{name}\",LANGUAGE=\"{language}\",DEFAULT={},\
                 AUTOSELECT=YES,FORCED={}{traits},URI=\"{generation}/{folder}/index.m3u8\"\n",
                yes(rendition.default),
                yes(rendition.forced),
            ),
        );
    }
    Bandwidth {
        peak: texts.iter().map(|text| text.bandwidth.peak).max().unwrap_or(0),
        average: texts.iter().map(|text| text.bandwidth.average).max().unwrap_or(0),
    }
}

/// The bit rates of a rendition, from what is stored.
///
/// The peak is the largest of any run of segments that lasts between half and
/// one and a half target durations (RFC 8216 §4.1). A rendition shorter than
/// that has the rate of all of it.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "bits of a few segments"
)]
pub fn bandwidth(target_duration: u64, segments: &[Segment]) -> Bandwidth {
    let rate = |bytes: u64, seconds: f64| (bytes as f64 * 8.0 / seconds).ceil() as u64;
    let bytes = segments.iter().map(|segment| segment.bytes).sum();
    let seconds: f64 = segments.iter().map(|segment| segment.seconds).sum();
    let average = if seconds > 0.0 { rate(bytes, seconds) } else { 0 };
    let (shortest, longest) = (target_duration as f64 * 0.5, target_duration as f64 * 1.5);
    let mut peak = 0;
    for first in 0..segments.len() {
        let (mut bytes, mut seconds) = (0, 0.0);
        for segment in segments.iter().skip(first) {
            bytes += segment.bytes;
            seconds += segment.seconds;
            if seconds > longest + 1e-9 {
                break;
            }
            if seconds >= shortest - 1e-9 {
                peak = peak.max(rate(bytes, seconds));
            }
        }
    }
    Bandwidth { peak: peak.max(average), average }
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::settings::Codec;

    fn segment(seconds: f64, bytes: u64) -> Segment {
        Segment { file: "00000.ts".into(), seconds, bytes, head: bytes / 10, key: None }
    }

    #[track_caller]
    fn check(segments: &[(f64, u64)], expected: (u64, u64)) {
        let segments: Vec<Segment> = segments.iter().map(|&(seconds, bytes)| segment(seconds, bytes)).collect();
        let bandwidth = bandwidth(6, &segments);
        assert_eq!((bandwidth.peak, bandwidth.average), expected);
    }

    #[test]
    fn the_peak_is_that_of_runs_of_about_a_target_duration() {
        check(&[(6.0, 750_000), (6.0, 1_500_000)], (2_000_000, 1_500_000));
        // A last segment of a blink does not count alone, but with the one before it.
        check(&[(6.0, 750_000), (0.1, 100_000)], (1_114_755, 1_114_755));
        check(&[(0.4, 50_000)], (1_000_000, 1_000_000));
    }

    #[test]
    fn a_media_playlist_is_complete() {
        let key = Key { method: Method::Aes128, uri: "https://k/1".into(), iv: [0xab; 16] };
        let segments = [segment(6.006, 9), Segment { file: "00001.ts".into(), key: Some(key), ..segment(0.4, 9) }];
        assert_eq!(
            media(6, None, &segments),
            "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:6\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n\
             #EXTINF:6.006000,\n00000.ts\n\
             #EXT-X-KEY:METHOD=AES-128,URI=\"https://k/1\",IV=0xabababababababababababababababab\n\
             #EXTINF:0.400000,\n00001.ts\n#EXT-X-ENDLIST\n"
        );
    }

    fn track(folder: &str, default: bool) -> AudioRendition {
        let language = "eng".to_string();
        AudioRendition {
            folder: folder.into(),
            name: folder.into(),
            language,
            default,
            index: 1,
            timed: true,
            surround: false,
        }
    }

    #[test]
    fn sound_alone_is_the_variant_itself() {
        let (one, two) = (track("audio-eng", false), track("audio-eng-2", true));
        let of = |rendition| Track { rendition, codec: "mp4a.40.2", bandwidth: Bandwidth { peak: 130, average: 128 } };
        assert_eq!(
            master(("gen", None), &[], &[of(&two)], &[]),
            "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-INDEPENDENT-SEGMENTS\n\
             #EXT-X-STREAM-INF:BANDWIDTH=130,AVERAGE-BANDWIDTH=128,CODECS=\"mp4a.40.2\"\n\
             gen/audio-eng-2/index.m3u8\n"
        );
        let both = master(("gen", None), &[], &[of(&one), of(&two)], &[]);
        assert_eq!(both.matches("#EXT-X-MEDIA:").count(), 2);
        assert!(both.ends_with("CODECS=\"mp4a.40.2\",AUDIO=\"audio\"\ngen/audio-eng-2/index.m3u8\n"), "{both}");
    }

    #[test]
    fn key_frames_are_ranges_of_their_segments() {
        assert_eq!(
            i_frames(6, None, &[segment(6.0, 5000)]),
            "#EXTM3U\n#EXT-X-VERSION:4\n#EXT-X-TARGETDURATION:6\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n\
             #EXT-X-I-FRAMES-ONLY\n#EXTINF:6.000000,\n#EXT-X-BYTERANGE:500@0\n00000.ts\n#EXT-X-ENDLIST\n"
        );
        assert_eq!(i_frame_bandwidth(6, &[segment(6.0, 7500)]).peak, 1000);
    }

    #[test]
    fn the_header_stands_before_the_key() {
        let key = Key { method: Method::Cbcs, uri: "https://k/1".into(), iv: [1; 16] };
        let one = Segment { file: "00000.m4s".into(), key: Some(key), ..segment(2.0, 9) };
        let text = media(2, Some("init.mp4"), &[one.clone(), one]);
        assert!(text.contains(
            "#EXT-X-MAP:URI=\"init.mp4\"\n#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"https://k/1\",\
             IV=0x01010101010101010101010101010101,KEYFORMAT=\"identity\",KEYFORMATVERSIONS=\"1\"\n#EXTINF"
        ));
        assert_eq!((text.matches("EXT-X-KEY").count(), text.contains("#EXT-X-VERSION:6\n")), (1, true));
    }

    #[test]
    fn a_master_playlist_names_everything() {
        let rendition = Rendition {
            name: "720p".into(),
            codec: Codec::H264,
            range: DynamicRange::Sdr,
            width: 1280,
            height: 720,
            crf: 25.0,
            max_kbps: 1300,
            through: Vec::new(),
        };
        let bandwidth = Bandwidth { peak: 1000, average: 900 };
        let track = AudioRendition {
            folder: "audio-eng".into(),
            name: "eng".into(),
            language: "eng".into(),
            default: true,
            index: 1,
            timed: true,
            surround: false,
        };
        let variant =
            Variant { rendition: &rendition, codec: "avc1.64001f", frame_rate: 29.97, bandwidth, i_frames: None };
        let track = Track { rendition: &track, codec: "mp4a.40.2", bandwidth: Bandwidth { peak: 130, average: 128 } };
        assert_eq!(
            master(("gen", None), &[variant], &[track], &[]),
            "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-INDEPENDENT-SEGMENTS\n\
             #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"eng\",LANGUAGE=\"eng\",DEFAULT=YES,AUTOSELECT=YES,\
             CHANNELS=\"2\",URI=\"gen/audio-eng/index.m3u8\"\n\
             #EXT-X-STREAM-INF:BANDWIDTH=1130,AVERAGE-BANDWIDTH=1028,CODECS=\"avc1.64001f,mp4a.40.2\",\
             RESOLUTION=1280x720,FRAME-RATE=29.970,AUDIO=\"audio\"\ngen/720p/index.m3u8\n"
        );
    }
}
