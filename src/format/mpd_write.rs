//! Writes the manifest of MPEG-DASH (ISO/IEC 23009-1) for the segments of CMAF
//! that the playlists of HLS lead to.

use std::fmt::Write as _;

use crate::model::media::DynamicRange;
use crate::plan::audio::CHANNELS;
use crate::plan::settings::Codec;

use super::playlist_write::{Text, Track, Variant};

/// All there is to say of one package.
pub struct Presentation<'a> {
    /// The folder of the generation, below which all segments lie.
    pub generation: &'a str,
    /// Length of the picture in seconds.
    pub seconds: f64,
    /// Longest segment in seconds; a player that has so much never waits at the bit rates said.
    pub buffer_seconds: u64,
    /// The pictures.
    pub video: &'a [Variant<'a>],
    /// When their segments begin.
    pub video_times: &'a Times,
    /// The tracks of sound, each with its own times.
    pub audio: &'a [(&'a Track<'a>, Times)],
    /// The subtitles.
    pub texts: &'a [Text<'a>],
    /// The name of the file in the folder of each of them that has all of its text.
    pub text_file: &'a str,
    /// The id of the key, if samples are encrypted.
    pub key_id: Option<[u8; 16]>,
}

/// When the segments of a rendition begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Times {
    /// Units a second.
    pub timescale: u64,
    /// Time of the first segment, which is shown at zero.
    pub start: u64,
    /// How long each segment lasts.
    pub durations: Vec<u64>,
    /// Frames a second, as a fraction; nothing for sound.
    pub rate: Option<(u64, u64)>,
}

/// The manifest.
pub fn manifest(presentation: &Presentation<'_>) -> String {
    let Presentation { generation, seconds, buffer_seconds, .. } = presentation;
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" xmlns:cenc=\"urn:mpeg:cenc:2013\" \
         profiles=\"urn:mpeg:dash:profile:isoff-live:2011,urn:mpeg:dash:profile:cmaf:2019\" type=\"static\" \
         mediaPresentationDuration=\"PT{seconds:.6}S\" minBufferTime=\"PT{buffer_seconds}S\">\n  \
         <Period id=\"0\" start=\"PT0S\">\n    <BaseURL>{generation}/</BaseURL>\n"
    );
    let mut id = 0;
    let ranges = [DynamicRange::Sdr, DynamicRange::Pq, DynamicRange::Hlg];
    let codecs = [Codec::H264, Codec::Hevc, Codec::Av1];
    for kind in codecs.into_iter().flat_map(|codec| ranges.map(|range| (codec, range))) {
        let is_one = |variant: &&Variant<'_>| (variant.rendition.codec, variant.rendition.range) == kind;
        let variants: Vec<&Variant<'_>> = presentation.video.iter().filter(is_one).collect();
        if !variants.is_empty() {
            pictures(&mut text, presentation, id, &variants);
            id += 1;
        }
    }
    for (track, times) in presentation.audio {
        sound(&mut text, presentation, id, (track, times));
        id += 1;
    }
    for (id, track) in (id..).zip(presentation.texts) {
        words(&mut text, presentation.text_file, id, track);
    }
    text.push_str("  </Period>\n</MPD>\n");
    text
}

/// One codec and range: players do not change from one to another while they play.
fn pictures(text: &mut String, presentation: &Presentation<'_>, id: u32, variants: &[&Variant<'_>]) {
    let most = |of: fn(&Variant<'_>) -> u32| variants.iter().map(|variant| of(variant)).max().unwrap_or(0);
    let (width, height) = (most(|one| one.rendition.width), most(|one| one.rendition.height));
    let rate = presentation.video_times.rate.map_or(String::new(), |(frames, seconds)| match seconds {
        1 => frames.to_string(),
        _ => format!("{frames}/{seconds}"),
    });
    put(
        text,
        format_args!(
            "    <AdaptationSet id=\"{id}\" contentType=\"video\" mimeType=\"video/mp4\" segmentAlignment=\"true\" \
             startWithSAP=\"1\" maxWidth=\"{width}\" maxHeight=\"{height}\" maxFrameRate=\"{rate}\">\n"
        ),
    );
    protection(text, presentation.key_id);
    let range = variants.first().map_or(DynamicRange::Sdr, |variant| variant.rendition.range);
    if range != DynamicRange::Sdr {
        // Who does not know these shall not show it (ISO/IEC 23091-2, as DASH-IF has it).
        let said = [("ColourPrimaries", 9), ("TransferCharacteristics", range.transfer().1), ("MatrixCoefficients", 9)];
        for (name, value) in said {
            let scheme = format!("urn:mpeg:mpegB:cicp:{name}");
            put(text, format_args!("      <EssentialProperty schemeIdUri=\"{scheme}\" value=\"{value}\"/>\n"));
        }
    }
    template(text, presentation.video_times);
    for Variant { rendition, codec, bandwidth, .. } in variants {
        put(
            text,
            format_args!(
                "      <Representation id=\"{}\" codecs=\"{codec}\" bandwidth=\"{}\" width=\"{}\" height=\"{}\" \
                 frameRate=\"{rate}\" sar=\"1:1\"/>\n",
                rendition.name, bandwidth.peak, rendition.width, rendition.height
            ),
        );
    }
    text.push_str("    </AdaptationSet>\n");
}

fn sound(text: &mut String, presentation: &Presentation<'_>, id: u32, (track, times): (&Track<'_>, &Times)) {
    let Track { rendition, codec, bandwidth } = track;
    put(
        text,
        format_args!(
            "    <AdaptationSet id=\"{id}\" contentType=\"audio\" mimeType=\"audio/mp4\" lang=\"{}\" \
             segmentAlignment=\"true\" startWithSAP=\"1\">\n",
            escaped(&rendition.language)
        ),
    );
    protection(text, presentation.key_id);
    let role = if rendition.default { "main" } else { "alternate" };
    put(text, format_args!("      <Role schemeIdUri=\"urn:mpeg:dash:role:2011\" value=\"{role}\"/>\n"));
    put(text, format_args!("      <Label>{}</Label>\n", escaped(&rendition.name)));
    template(text, times);
    put(
        text,
        format_args!(
            "      <Representation id=\"{}\" codecs=\"{codec}\" bandwidth=\"{}\" audioSamplingRate=\"{}\">\n        \
             <AudioChannelConfiguration schemeIdUri=\"urn:mpeg:dash:23003:3:audio_channel_configuration:2011\" \
             value=\"{CHANNELS}\"/>\n      </Representation>\n    </AdaptationSet>\n",
            escaped(&rendition.folder),
            bandwidth.peak,
            times.timescale
        ),
    );
}

/// Text in one file, as it is: its clock is the period's, and it is never encrypted.
fn words(text: &mut String, file: &str, id: u32, Text { rendition, bandwidth }: &Text<'_>) {
    let (folder, language) = (escaped(&rendition.folder), escaped(&rendition.language));
    put(
        text,
        format_args!(
            "    <AdaptationSet id=\"{id}\" contentType=\"text\" mimeType=\"text/vtt\" lang=\"{language}\">\n"
        ),
    );
    if rendition.hearing_impaired {
        // For who cannot hear (TV-Anytime's purposes of sound, as DVB-DASH takes them).
        put(
            text,
            format_args!(
                "      <Accessibility schemeIdUri=\"urn:tva:metadata:cs:AudioPurposeCS:2007\" value=\"2\"/>\n"
            ),
        );
    }
    let kind = match (rendition.forced, rendition.hearing_impaired) {
        (true, _) => "forced-subtitle",
        (false, true) => "caption",
        (false, false) => "subtitle",
    };
    for role in [Some(kind), rendition.default.then_some("main")].into_iter().flatten() {
        put(text, format_args!("      <Role schemeIdUri=\"urn:mpeg:dash:role:2011\" value=\"{role}\"/>\n"));
    }
    put(
        text,
        format_args!(
            "      <Label>{}</Label>\n      <Representation id=\"{folder}\" bandwidth=\"{}\">\n        \
             <BaseURL>{folder}/{file}</BaseURL>\n      </Representation>\n    </AdaptationSet>\n",
            escaped(&rendition.name),
            bandwidth.peak.max(1),
        ),
    );
}

/// The scheme with the key's id, and the W3C's common system: a page that plays it gives the key (`ClearKey`).
fn protection(text: &mut String, key_id: Option<[u8; 16]>) {
    let Some(key_id) = key_id else { return };
    let hex = hex::encode(key_id);
    let lengths = [8, 4, 4, 4, 12];
    let mut digits = hex.chars();
    let parts: Vec<String> = lengths.iter().map(|&count| digits.by_ref().take(count).collect()).collect();
    put(
        text,
        format_args!(
            "      <ContentProtection schemeIdUri=\"urn:mpeg:dash:mp4protection:2011\" value=\"cbcs\" \
             cenc:default_KID=\"{}\"/>\n      \
             <ContentProtection schemeIdUri=\"urn:uuid:e2719d58-a985-b3c9-781a-b030af78d30e\" value=\"ClearKey1.0\"/>\n",
            parts.join("-")
        ),
    );
}

fn template(text: &mut String, times: &Times) {
    let Times { timescale, start, durations, .. } = times;
    put(
        text,
        format_args!(
            "      <SegmentTemplate timescale=\"{timescale}\" presentationTimeOffset=\"{start}\" startNumber=\"0\" \
             initialization=\"$RepresentationID$/init.mp4\" media=\"$RepresentationID$/$Number%05d$.m4s\">\n        \
             <SegmentTimeline>\n"
        ),
    );
    let mut time = Some(*start);
    for run in durations.chunk_by(PartialEq::eq) {
        let at = time.take().map_or(String::new(), |time| format!(" t=\"{time}\""));
        let repeat = if run.len() > 1 { format!(" r=\"{}\"", run.len() - 1) } else { String::new() };
        put(text, format_args!("          <S{at} d=\"{}\"{repeat}/>\n", run.first().unwrap_or(&0)));
    }
    text.push_str("        </SegmentTimeline>\n      </SegmentTemplate>\n");
}

fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, character| {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
        escaped
    })
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::playlist_write::Bandwidth;
    use crate::model::media::Place;
    use crate::plan::audio::AudioRendition;
    use crate::plan::ladder::Rendition;
    use crate::plan::subtitle::SubtitleRendition;

    fn made(key_id: Option<[u8; 16]>) -> String {
        let name = "720p".into();
        let (codec, range) = (Codec::H264, DynamicRange::Sdr);
        let rendition =
            Rendition { name, codec, range, width: 1280, height: 720, crf: 25.0, max_kbps: 1300, through: Vec::new() };
        let bandwidth = Bandwidth { peak: 1000, average: 900 };
        let variant =
            Variant { rendition: &rendition, codec: "avc1.64001f", frame_rate: 29.97, bandwidth, i_frames: None };
        let track = AudioRendition {
            folder: "audio-eng".into(),
            name: "Tom & \"Co\"".into(),
            language: "eng".into(),
            default: true,
            index: 1,
            timed: true,
            surround: false,
        };
        let track = Track { rendition: &track, codec: "mp4a.40.2", bandwidth };
        let words = SubtitleRendition {
            folder: "subs-deu-forced".into(),
            name: "<Zeichen>".into(),
            language: "de".into(),
            default: true,
            forced: true,
            hearing_impaired: false,
            place: Place::Stream(3),
        };
        let video_times =
            Times { timescale: 30_000, start: 300_000, durations: vec![180, 180, 7], rate: Some((30_000, 1001)) };
        let times = Times { timescale: 48_000, start: 480_000, durations: vec![5], rate: None };
        manifest(&Presentation {
            generation: "gen",
            seconds: 12.5,
            buffer_seconds: 6,
            video: &[variant],
            video_times: &video_times,
            audio: &[(&track, times)],
            texts: &[Text { rendition: &words, bandwidth }],
            text_file: "whole.vtt",
            key_id,
        })
    }

    #[test]
    fn a_manifest_names_everything() {
        let text = made(None);
        for expected in [
            "mediaPresentationDuration=\"PT12.500000S\" minBufferTime=\"PT6S\"",
            "<BaseURL>gen/</BaseURL>",
            "<S t=\"300000\" d=\"180\" r=\"1\"/>\n          <S d=\"7\"/>",
            "frameRate=\"30000/1001\"",
            "lang=\"eng\"",
            "<Label>Tom &amp; &quot;Co&quot;</Label>",
            "contentType=\"text\" mimeType=\"text/vtt\" lang=\"de\"",
            "value=\"forced-subtitle\"",
            "<Label>&lt;Zeichen&gt;</Label>",
            "<BaseURL>subs-deu-forced/whole.vtt</BaseURL>",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
        assert!(!text.contains("ContentProtection"));
    }

    #[test]
    fn the_key_is_named_as_a_uuid() {
        assert!(made(Some([0xab; 16])).contains("cenc:default_KID=\"abababab-abab-abab-abab-abababababab\""));
    }
}
