//! What a file holds, by ffprobe: its streams, and every packet's place in time.
//!
//! A header can promise what the file does not hold, and a decoder's exit code
//! says nothing of it. The packets are the truth.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio_util::sync::CancellationToken;

use crate::format::looks::{HEAD, Looks, looks};
use crate::model::failure::Failure;
use crate::model::media::{Audio, Chapter, DynamicRange, Media, Place, Text, Timeline, Video};
use crate::model::rational::Rational;
use crate::plan::encode::{DECODERS, DEMUXERS, file};
use crate::plan::settings::Limits;
use crate::tool::child::{ChildError, Ended, Order, Output, run};
use crate::tool::hdr::{Frame, Frames, SideData};
use crate::tool::header::{Header, Part, Parts, Stream};
use crate::tool::packets::{self, Packets};
use crate::tool::refusal::{DRESSED, oversize, refused};

/// A file that cannot be read in this time is on a disk that hangs.
const SILENCE: Duration = Duration::from_mins(2);

/// Subtitles that are text; all others are pictures.
const TEXTS: [&str; 7] = ["subrip", "srt", "ass", "ssa", "mov_text", "webvtt", "text"];

/// What ffprobe is asked for chapters.
const CHAPTERS: &[&str] = &["-show_entries", "chapter=start_time,end_time:chapter_tags=title", "-of", "json=compact=1"];

/// Containers whose clock may jump: what was recorded of them can simply be joined.
const BROADCASTS: [&str; 2] = ["mpegts", "mpeg"];

/// Nobody misses so many seconds before the first key frame of a recording.
const LONGEST_HEADLESS_UNSAID: f64 = 0.5;

/// Lines of a picture in the formats of television that have fields.
const TELEVISION: [u32; 7] = [480, 486, 512, 576, 608, 1080, 1088];

/// Codecs that cannot have fields.
const WHOLE: [&str; 11] =
    ["vp6f", "vp8", "vp9", "av1", "gif", "png", "apng", "theora", "flv1", "cinepak", "mpeg1video"];

/// Decoders hold back a few pictures. If the first one comes later than this, in seconds, some are missing.
const MOST_HELD_BACK: f64 = 0.25;

/// `genpts`: AVI and MPEG program streams say only when a packet is to be decoded.
const BY_ALL: &str = "+genpts";

/// `noparse`: which pictures are key frames is told by the index, not by bytes that are not here.
const BY_INDEX: &str = "+genpts+noparse";

/// Probes a file: never a URL, never through a playlist.
pub async fn probe(ffprobe: &Path, path: &Path, limits: &Limits, cancel: &CancellationToken) -> Result<Media, Failure> {
    probe_by(BY_ALL, ffprobe, path, limits, cancel).await
}

/// Probes a file of which no more than its head and its index may be here.
pub async fn probe_index(
    ffprobe: &Path,
    path: &Path,
    limits: &Limits,
    cancel: &CancellationToken,
) -> Result<Media, Failure> {
    probe_by(BY_INDEX, ffprobe, path, limits, cancel).await
}

async fn probe_by(
    flags: &str,
    ffprobe: &Path,
    path: &Path,
    limits: &Limits,
    cancel: &CancellationToken,
) -> Result<Media, Failure> {
    refuse_by_looks(path).await?;
    let header = header(ffprobe, path, limits.pixels, cancel);
    let (header, packets) = tokio::try_join!(header, packets(ffprobe, path, (limits.pixels, flags), cancel))?;
    let (many, most) = (header.streams.len() as u64, limits.streams);
    if many > most {
        return Err(Failure::permanent(format!("the file has {many} streams, more than {most}"))
            .hint("if that is right, raise `limits.streams` in the settings"));
    }
    let mut media = media(header, packets)?;
    if let Some(video) = media.video.as_mut().filter(|video| is_silent_hdr10(video)) {
        complete_hdr(ffprobe, path, limits.pixels, video, cancel).await?;
    }
    if let Some(video) = media.video.as_mut().filter(|_| media.container == "avi") {
        begin_as_shown(ffprobe, path, limits.pixels, video, cancel).await?;
    }
    // An animation of one picture is none.
    if media.is_animation() && media.video.as_ref().is_some_and(|video| video.timeline.times.len() < 2) {
        let kind = if media.container == "gif" { "GIF" } else { "PNG" };
        return Err(Failure::permanent(format!("the file is a still image ({kind}), not a video")));
    }
    Ok(media)
}

/// Turns away what is plainly no video, before a parser sees it.
async fn refuse_by_looks(path: &Path) -> Result<(), Failure> {
    let mut head = Vec::new();
    let read = async { tokio::fs::File::open(path).await?.take(HEAD as u64).read_to_end(&mut head).await };
    read.await.map_err(|error| Failure::io(&format!("could not read `{}`", path.display()), &error))?;
    let what = match looks("text/plain", &head) {
        Looks::Media => return Ok(()),
        Looks::Manifest => "a playlist".to_string(),
        Looks::Text(kind) => kind.to_string(),
        Looks::Image(kind) => format!("a still image ({kind})"),
    };
    Err(Failure::permanent(format!("the file is {what}, not a video")).hint(DRESSED))
}

/// Reading, with `most` pixels in a picture: a decoder gives up before it takes the memory for more.
fn order(ffprobe: &Path, path: &Path, most: u64, what: &[&str]) -> Order {
    let most = most.to_string();
    let input = ["-protocol_whitelist", "file,pipe", "-format_whitelist", DEMUXERS, "-codec_whitelist", DECODERS];
    let input = input.into_iter().chain(["-max_pixels", &most]);
    let order =
        Order::new(ffprobe).args(["-hide_banner", "-v", "error"]).args(input).args(what).arg("-i").arg(file(path));
    Order { silence: SILENCE, ..order }
}

async fn header(ffprobe: &Path, path: &Path, pixels: u64, cancel: &CancellationToken) -> Result<Header, Failure> {
    let what = [&["-show_streams", "-show_format", "-show_programs"], CHAPTERS].concat();
    let (ended, json) = answer(&order(ffprobe, path, pixels, &what), cancel).await?;
    if !ended.status.success() || oversize(&ended.last_lines, pixels).is_some() {
        return Err(refused(&ended, path, pixels).await);
    }
    parsed(&json)
}

fn parsed<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, Failure> {
    serde_json::from_str(json).map_err(|error| Failure::permanent(format!("ffprobe's answer makes no sense: {error}")))
}

/// What ffprobe prints, as much as any real file takes.
async fn answer(order: &Order, cancel: &CancellationToken) -> Result<(Ended, String), Failure> {
    let mut json = String::new();
    let collect = |output, line: &str| {
        if output == Output::Out && json.len() < 4 << 20 {
            json.push_str(line);
        }
        true
    };
    let ended = run(order, cancel, collect).await.map_err(child_failure)?;
    Ok((ended, json))
}

/// The chapters of a file that is whole. Where their titles lie among the pictures, an index alone does not tell them.
pub async fn chapters(
    ffprobe: &Path,
    path: &Path,
    limits: &Limits,
    cancel: &CancellationToken,
) -> Result<Vec<Chapter>, Failure> {
    let (ended, json) = answer(&order(ffprobe, path, limits.pixels, CHAPTERS), cancel).await?;
    if !ended.status.success() {
        return Err(refused(&ended, path, limits.pixels).await);
    }
    Ok(parsed::<Parts>(&json)?.chapters.iter().filter_map(Part::chapter).collect())
}

/// Whether the header leaves out what HDR10 may say of itself.
fn is_silent_hdr10(video: &Video) -> bool {
    video.dynamic_range() == DynamicRange::Pq && (video.mastering.is_none() || video.light.is_none())
}

/// Some decoded pictures, as far as they can be read; what cannot is found by others.
async fn frames(
    what: &[&str],
    ffprobe: &Path,
    path: &Path,
    pixels: u64,
    video: &Video,
    cancel: &CancellationToken,
) -> Result<Vec<Frame>, Failure> {
    let index = video.index.to_string();
    let what = [&["-select_streams", index.as_str(), "-of", "json=compact=1"], what].concat();
    let (_, json) = answer(&order(ffprobe, path, pixels, &what), cancel).await?;
    Ok(serde_json::from_str::<Frames>(&json).map(|answer| answer.frames).unwrap_or_default())
}

/// What HDR10 says of itself stands in the header, or in the first picture.
async fn complete_hdr(
    ffprobe: &Path,
    path: &Path,
    pixels: u64,
    video: &mut Video,
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    let what = ["-read_intervals", "%+#1", "-show_frames"];
    let frames = frames(&what, ffprobe, path, pixels, video, cancel).await?;
    let said: Vec<&SideData> = frames.iter().flat_map(|frame| &frame.side_data_list).collect();
    video.mastering = video.mastering.or_else(|| said.iter().find_map(|data| data.mastering()));
    video.light = video.light.or_else(|| said.iter().find_map(|data| data.light()));
    Ok(())
}

/// AVI says when a packet is decoded. When the first picture is shown, and so all others, the decoder tells. It
/// belongs to the beginning, whatever the decoder held back.
async fn begin_as_shown(
    ffprobe: &Path,
    path: &Path,
    pixels: u64,
    video: &mut Video,
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    let what = ["-read_intervals", "%+#24", "-show_entries", "frame=best_effort_timestamp_time"];
    let shown = frames(&what, ffprobe, path, pixels, video, cancel).await?;
    let first = shown.iter().filter_map(|frame| frame.time.as_ref()?.parse::<f64>().ok()).reduce(f64::min);
    if let Some(first) = first {
        video.timeline.shift(first - video.timeline.start());
        video.late = if (0.0..MOST_HELD_BACK).contains(&first) { first } else { 0.0 };
    }
    Ok(())
}

/// Reads every packet's stream, times and flags; a film of three hours has a million.
async fn packets(
    ffprobe: &Path,
    path: &Path,
    (pixels, flags): (u64, &str),
    cancel: &CancellationToken,
) -> Result<BTreeMap<u32, Packets>, Failure> {
    let entries = [
        "-fflags",
        flags,
        "-show_entries",
        "packet=stream_index,pts_time,dts_time,duration_time,size,pos,flags",
        "-of",
        "csv=p=0",
    ];
    let mut streams: BTreeMap<u32, Packets> = BTreeMap::new();
    let take = |output, line: &str| {
        if output == Output::Out {
            packets::add(&mut streams, line);
        }
        true
    };
    let ended = run(&order(ffprobe, path, pixels, &entries), cancel, take).await.map_err(child_failure)?;
    // ffprobe answers a damaged end with an error after all the packets before it.
    if !ended.status.success() && streams.is_empty() {
        return Err(refused(&ended, path, pixels).await);
    }
    for packets in streams.values_mut() {
        packets.times.sort_by(f64::total_cmp);
        packets.keys.sort_by(f64::total_cmp);
        packets.spans.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    Ok(streams)
}

fn media(mut header: Header, mut packets: BTreeMap<u32, Packets>) -> Result<Media, Failure> {
    let picture = picture(&header.streams, &packets);
    let sound = || header.streams.iter().find(|stream| stream.codec_type.as_deref() == Some("audio"));
    let chosen = picture.or_else(|| sound().map(|stream| stream.index));
    let left_out = chosen.map(|chosen| header.keep_program_of(chosen)).unwrap_or_default();
    refuse_dolby(&header.streams, picture)?;
    let began = picture.filter(|_| BROADCASTS.contains(&header.format.name.as_str())).and_then(|picture| {
        // Who records a broadcast begins in the middle of it.
        packets.get_mut(&picture).and_then(Packets::begin_with_a_key_frame)
    });
    let mut media = Media {
        container: header.format.name,
        declared_seconds: seconds(header.format.duration.as_deref()),
        title: header.format.tags.get("title").cloned(),
        video: None,
        audio: Vec::new(),
        text: Vec::new(),
        other_end: 0.0,
        chapters: header.chapters.iter().filter_map(Part::chapter).collect(),
        skipped: Vec::new(),
        other_programs: left_out.len() as u64,
        clock_jumps: 0,
        untimed: false,
    };
    let late = |seconds: f64| format!("{seconds:.1} s of picture before the first key frame are left out");
    media.skipped.extend(began.filter(|seconds| *seconds >= LONGEST_HEADLESS_UNSAID).map(late));
    media.skipped.extend(left_out.iter().map(|number| format!("program {number} of the file is left out")));
    let mut jumps = Vec::new();
    for stream in header.streams {
        let packets = packets.remove(&stream.index).unwrap_or_default();
        let codec = stream.codec_name.clone().unwrap_or_else(|| "unknown".into());
        if packets.last_decoded.is_some() && matches!(stream.codec_type.as_deref(), Some("video" | "audio")) {
            jumps.push(packets.jumps);
        }
        let is_cover = stream.disposition.get("attached_pic") == Some(&1);
        match stream.codec_type.as_deref() {
            Some("video") if picture == Some(stream.index) => {
                media.video = Some(video(stream, codec, packets, began.unwrap_or_default()));
            }
            Some("audio") if packets.start.is_some() && stream.channels.is_some_and(|channels| channels > 0) => {
                media.audio.push(audio(&stream, codec, packets));
            }
            Some("video") if is_cover => {}
            Some("video") if packets.untimed > 0 => media.untimed = true,
            Some("subtitle") => {
                media.other_end = media.other_end.max(packets.end);
                if TEXTS.contains(&codec.as_str()) {
                    media.text.push(text(&stream));
                } else {
                    let (index, kind) = (stream.index, kind_of_subtitles(&codec));
                    media.skipped.push(format!("subtitles (stream {index}, {codec}) are {kind}, which are left out"));
                }
            }
            Some(kind @ ("video" | "audio")) => {
                media.skipped.push(format!("stream {} ({kind}, {codec}) is left out", stream.index));
            }
            _ => {}
        }
    }
    // A clock that jumps does so for all: one of them alone has a pause.
    let jumps = jumps.into_iter().min().unwrap_or(0);
    media.clock_jumps = if BROADCASTS.contains(&media.container.as_str()) { jumps } else { 0 };
    Ok(media)
}

/// What subtitles are that are no text.
fn kind_of_subtitles(codec: &str) -> &'static str {
    match codec {
        "eia_608" => "closed captions",
        "dvb_teletext" => "teletext",
        _ => "pictures",
    }
}

/// Turns away a picture that nobody here could show in its colours.
fn refuse_dolby(streams: &[Stream], picture: Option<u32>) -> Result<(), Failure> {
    let mut said = streams.iter().filter(|stream| picture == Some(stream.index)).flat_map(|it| &it.side_data_list);
    if !said.any(SideData::is_dolby_alone) {
        return Ok(());
    }
    let what = "its colours are those of Dolby Vision alone, which ffmpeg cannot turn into others";
    Err(Failure::permanent(what).hint("export it with an HDR10, HLG or SDR base (profile 8, not 5)"))
}

/// The stream of the film: the first picture that the container marks as its choice, else the first.
fn picture(streams: &[Stream], packets: &BTreeMap<u32, Packets>) -> Option<u32> {
    let is = |stream: &Stream, kind: &str| stream.disposition.get(kind) == Some(&1);
    let shown = |stream: &&Stream| packets.get(&stream.index).is_some_and(|packets| !packets.times.is_empty());
    let films = streams.iter().filter(|stream| stream.codec_type.as_deref() == Some("video"));
    let films: Vec<&Stream> = films.filter(|stream| !is(stream, "attached_pic")).filter(shown).collect();
    let chosen = films.iter().find(|stream| is(stream, "default"));
    chosen.or(films.first()).map(|stream| stream.index)
}

/// `left_out` are the seconds before the first key frame that are not in `packets`, but were counted.
fn video(stream: Stream, codec: String, packets: Packets, left_out: f64) -> Video {
    let (rotation, mirrored) = stream.side_data_list.iter().find_map(orientation).unwrap_or((0, false));
    let known = |text: Option<String>| text.filter(|text| text != "unknown" && text != "reserved");
    let usual = packets::usual_interval(&packets.times);
    let last = packets.times.last().copied().unwrap_or(0.0);
    let end = packets::end(&packets, last, usual);
    let interlaced = matches!(stream.field_order.as_deref(), Some("tt" | "bb" | "tb" | "bt"));
    let fields_in_doubt = !interlaced && fields_in_doubt(&stream, &codec);
    let pixel_format = stream.pix_fmt.unwrap_or_default();
    // The decoder of VP8 and VP9 says nothing of alpha before it decodes.
    // The fourth byte of raw RGB means nothing more often than not.
    let alpha = has_alpha(&pixel_format) && codec != "rawvideo"
        || stream.tags.get("alpha_mode").is_some_and(|mode| mode == "1");
    Video {
        index: stream.index,
        codec,
        width: stream.width.unwrap_or(0),
        height: stream.height.unwrap_or(0),
        pixel_aspect: stream
            .sample_aspect_ratio
            .as_deref()
            .and_then(Rational::parse)
            .or(Rational::new(1, 1))
            .expect("one over one is a fraction"),
        rotation,
        mirrored,
        base_rate: stream.r_frame_rate.as_deref().and_then(Rational::parse),
        average_rate: stream.avg_frame_rate.as_deref().and_then(Rational::parse),
        late: 0.0,
        interlaced,
        first_field: None,
        fields_in_doubt,
        changes_shape: false,
        pixel_format,
        alpha,
        range: known(stream.color_range),
        matrix: known(stream.color_space),
        transfer: known(stream.color_transfer),
        primaries: known(stream.color_primaries),
        mastering: stream.side_data_list.iter().find_map(SideData::mastering),
        light: stream.side_data_list.iter().find_map(SideData::light),
        declared_seconds: seconds(stream.duration.as_deref()).map(|said| said - left_out),
        timeline: Timeline {
            end,
            spans: packets::spans(&packets),
            untimed: packets.untimed,
            times: packets.times,
            keys: packets.keys,
        },
    }
}

/// Whether pictures may be made of fields although nothing says so: at the rates of television, where the codec
/// has no word for it, or where the picture has the lines of television. Writers forget the flag.
fn fields_in_doubt(stream: &Stream, codec: &str) -> bool {
    let rate = stream.r_frame_rate.as_deref().and_then(Rational::parse);
    let of_television = [Rational::new(25, 1), Rational::new(30000, 1001)].contains(&rate);
    let lines = TELEVISION.contains(&stream.height.unwrap_or(0));
    let silent = stream.field_order.as_deref().is_none_or(|order| order == "unknown");
    rate.is_some() && of_television && !WHOLE.contains(&codec) && (lines || silent)
}

fn has_alpha(pixel_format: &str) -> bool {
    let kinds = ["yuva", "gbrap", "ya8", "ya16", "rgba", "bgra", "argb", "abgr", "pal8"];
    kinds.iter().any(|kind| pixel_format.starts_with(kind))
}

fn audio(stream: &Stream, codec: String, packets: Packets) -> Audio {
    Audio {
        index: stream.index,
        codec,
        channels: stream.channels.unwrap_or(0),
        sample_rate: stream.sample_rate.as_deref().and_then(|rate| rate.parse().ok()).unwrap_or(0),
        language: stream.tags.get("language").cloned().unwrap_or_else(|| "und".into()),
        title: stream.tags.get("title").cloned(),
        default: stream.disposition.get("default") == Some(&1),
        start: packets.start.unwrap_or(0.0),
        end: packets.end,
        holes: packets.holes,
        empty_packets: packets.empty,
        backward_seconds: packets.backward,
    }
}

fn text(stream: &Stream) -> Text {
    let is = |kind: &str| stream.disposition.get(kind) == Some(&1);
    Text {
        place: Place::Stream(stream.index),
        language: stream.tags.get("language").cloned().unwrap_or_else(|| "und".into()),
        title: stream.tags.get("title").cloned(),
        default: is("default"),
        forced: is("forced"),
        hearing_impaired: is("hearing_impaired"),
    }
}

/// Degrees clockwise to turn the picture, and whether it is mirrored first.
///
/// The display matrix is printed as `00000000: a b u` lines; a negative
/// determinant of a, b, c, d is a mirror. A mirror and then a turn by θ is
/// a = -cos θ, b = -sin θ.
fn orientation(side_data: &SideData) -> Option<(u32, bool)> {
    let (matrix, rotation) = side_data.matrix()?;
    let numbers: Vec<f64> =
        matrix.split_whitespace().filter(|word| !word.ends_with(':')).filter_map(|word| word.parse().ok()).collect();
    let (a, b, c, d) = (*numbers.first()?, *numbers.get(1)?, *numbers.get(3)?, *numbers.get(4)?);
    let mirrored = a * d - b * c < 0.0;
    // ffprobe counts counter-clockwise; of a mirrored picture it measures the second axis.
    let turned = if mirrored { (-b).atan2(-a).to_degrees() } else { -rotation };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded to quarters of a circle")]
    let quarters = (turned / 90.0).round().rem_euclid(4.0) as u32;
    Some((quarters * 90, mirrored))
}

fn seconds(text: Option<&str>) -> Option<f64> {
    text?.parse().ok().filter(|seconds: &f64| *seconds > 0.0)
}

fn child_failure(error: ChildError) -> Failure {
    match error {
        ChildError::Stopped { .. } => Failure::stopped(),
        ChildError::Hung { .. } => Failure::environment(format!("{error}; is the disk still answering?")),
        error => Failure::environment(error.to_string()).hint("run `forebay doctor`"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_clock_that_jumps_does_so_for_all_streams() {
        let header = |container: &str| {
            let streams =
                json!([{ "index": 0, "codec_type": "video" }, { "index": 1, "codec_type": "audio", "channels": 2 }]);
            serde_json::from_value(json!({ "streams": streams, "format": { "format_name": container } })).unwrap()
        };
        let jumps = |container, lines: &[&str]| {
            let mut streams = BTreeMap::new();
            for line in lines {
                packets::add(&mut streams, line);
            }
            media(header(container), streams).unwrap().clock_jumps
        };
        let joined = [
            "0,5,5,0.04,9,9,K_",
            "1,5,5,0.02,9,9,K_",
            "0,5.04,5.04,0.04,9,9,_",
            "0,1,1,0.04,9,9,K_",
            "1,1,1,0.02,9,9,K_",
        ];
        assert_eq!(jumps("mpegts", &joined), 1);
        assert_eq!(jumps("matroska,webm", &joined), 0);
        assert_eq!(jumps("mpegts", &["0,5,5,0.04,9,9,K_", "1,5,5,0.02,9,9,K_", "0,50,50,0.04,9,9,K_"]), 0);
    }

    #[track_caller]
    fn check(matrix: &str, rotation: f64, expected: (u32, bool)) {
        let side_data = json!({ "displaymatrix": matrix, "rotation": rotation });
        let side_data = serde_json::from_value(side_data).unwrap();
        assert_eq!(orientation(&side_data), Some(expected));
    }

    #[test]
    fn phones_are_turned_upright() {
        let line = |a: i32, b: i32, c: i32, d: i32| {
            format!("\n00000000: {a} {b} 0\n00000001: {c} {d} 0\n00000002: 0 0 1073741824\n")
        };
        check(&line(0, 65536, -65536, 0), -90.0, (90, false));
        check(&line(-65536, 0, 0, -65536), -180.0, (180, false));
        check(&line(0, -65536, 65536, 0), 90.0, (270, false));
        check(&line(-65536, 0, 0, 65536), 180.0, (0, true));
        check(&line(65536, 0, 0, -65536), 0.0, (180, true));
        check(&line(0, 65536, 65536, 0), -90.0, (270, true));
        check(&line(0, -65536, -65536, 0), 90.0, (90, true));
    }
}
