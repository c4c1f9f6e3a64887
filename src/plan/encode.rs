//! The arguments of every ffmpeg that is run.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::model::media::{DynamicRange, Light, Mastering, Place, Video};
use crate::plan::audio::{AudioRendition, CHANNELS, SAMPLE_RATE, samples};
use crate::plan::filter;
use crate::plan::hls::HlsPlan;
use crate::plan::ladder::Rendition;
use crate::plan::level;
use crate::plan::piece::Piece;
use crate::plan::quality::Metric;
use crate::plan::settings::{Codec, HlsSettings};
use crate::plan::sidecar::Format;

/// The demuxers a source may need. A playlist, a concat script or a session
/// description dressed as a video would make ffmpeg open what it names.
pub const DEMUXERS: &str = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,mpeg,mpegvideo,avi,flv,asf,ogg,mxf,\
                            rm,dv,nut,h264,hevc,m4v,gif,apng,wtv,mpegtsraw,ivf,obu,yuv4mpegpipe,\
                            mp3,wav,w64,flac,aac,ac3,eac3,aiff,caf,amr";

/// The decoders a source may need, and no exotic ones: each is a parser of hostile bytes. The last are opened
/// for subtitles that are left out: without them ffprobe refuses the whole file.
pub const DECODERS: &str = "h264,hevc,vp8,vp9,libvpx,libvpx-vp9,av1,libdav1d,libaom-av1,mpeg1video,mpeg2video,mpeg4,\
                            msmpeg4,msmpeg4v1,msmpeg4v2,h263,h263p,h263i,flv,flv1,wmv1,wmv2,wmv3,vc1,theora,prores,\
                            dnxhd,jpeg2000,mjpeg,mjpegb,dvvideo,rawvideo,ffv1,huffyuv,ffvhuff,utvideo,cinepak,indeo3,\
                            indeo4,indeo5,svq1,svq3,qtrle,rpza,rv10,rv20,rv30,rv40,vp6,vp6f,vp6a,vp3,gif,png,apng,\
                            msrle,msvideo1,cfhd,v210,aac,aac_latm,ac3,eac3,dca,truehd,mlp,mp1,mp1float,mp2,mp2float,\
                            mp3,mp3float,opus,libopus,vorbis,libvorbis,flac,alac,wmav1,wmav2,wmapro,wmavoice,\
                            wmalossless,cook,amrnb,amrwb,libopencore_amrnb,libopencore_amrwb,adpcm_ms,adpcm_ima_wav,\
                            adpcm_ima_qt,adpcm_swf,adpcm_yamaha,nellymoser,speex,libspeex,ra_144,ra_288,qdm2,mace3,\
                            mace6,gsm,gsm_ms,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_s8,pcm_u8,\
                            pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be,pcm_alaw,pcm_mulaw,pcm_bluray,pcm_dvd,magicyuv,\
                            lagarith,fraps,camtasia,tscc2,flashsv,flashsv2,dirac,zmbv,hap,v308,v408,v410,r210,ayuv,\
                            yuv4,wavpack,tta,s302m,dvaudio,pcm_u16le,pcm_s24daud,subrip,srt,ass,ssa,mov_text,webvtt,\
                            text,pgssub,dvdsub,dvbsub,xsub,cc_dec,libzvbi_teletextdec,libaribb24,libaribcaption";

/// B-frames of every rendition. x264 then delays by two frames, as references
/// among them are pyramids; the same delay in every chunk keeps DTS running on.
pub const DELAY_FRAMES: u64 = 2;

/// Decoding times run ahead of presentation times by less than this.
const BEFORE_KEY_FRAME: f64 = 0.5;

/// Times of the source stay as they are. Without the second option, which is far less than a tick, ffmpeg takes the
/// first time of an MPEG-TS stream for 0 if it is nearly that.
pub(super) const OWN_TIMES: &str = "-copyts -itsoffset 0.000001";

/// Seconds that sound may be beside its time stamps before it is put right.
/// Half a picture more, which is how far the grid may move one, is still within 40 ms.
const MOST_OFF: f64 = 0.02;

/// Brings down what is louder than the loudest, and leaves alone what is not. It looks ahead, and so is late
/// by its attack, which is cut off.
const LIMITER: &str = "alimiter=limit=0.95:attack=5:release=50:level=disabled,atrim=start_sample=240,asetpts=N/SR/TB";

/// Where the decoder starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// At the key frame before the piece.
    KeyFrame,
    /// At the head of the file, for sources in which seeking goes astray.
    Head,
}

/// What a piece is decoded from.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The file.
    pub source: &'a Path,
    /// ffprobe's name of its container.
    pub container: &'a str,
    /// The stream in it.
    pub video: &'a Video,
    /// Where the decoder starts.
    pub entry: Entry,
    /// The numbers of the renditions to make, in order.
    pub wanted: &'a [usize],
}

/// Which run over a piece this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Constant quality under a cap: the only run.
    Only,
    /// Decodes, to see whether the source is whole, and encodes nothing.
    Look,
    /// Measures, writes nothing but statistics.
    First,
    /// Spends the bits by the statistics of the first.
    Second,
}

/// The file a rendition of a piece is written to.
pub fn video_output(folder: &Path, piece: &Piece, rendition: usize) -> PathBuf {
    folder.join(format!("chunk-{:05}-{}-{rendition}.mp4", piece.chunk, piece.number))
}

/// What the files of two passes over a rendition of a chunk begin with.
pub fn statistics(folder: &Path, chunk: u64, rendition: usize) -> PathBuf {
    folder.join(format!("pass-{chunk:05}-{rendition}"))
}

/// The file an audio rendition is written to.
pub fn audio_output(folder: &Path, rendition: usize) -> PathBuf {
    folder.join(format!("audio-{rendition}.mp4"))
}

/// The wanted renditions of one piece, all as a rule: one decode, an encoder of one thread for each.
///
/// Decoding begins at the key frame before the piece; what comes before the
/// piece is dropped by the grid, not by ffmpeg's own seeking, which would leave
/// nothing to show where a picture stands still over the edge.
pub fn piece(
    input: &Input<'_>,
    plan: &HlsPlan,
    at: (&Piece, Pass),
    settings: &HlsSettings,
    folder: &Path,
) -> Vec<OsString> {
    let share = usize::try_from(at.0.chunk).ok().and_then(|chunk| plan.shares.get(chunk)).copied().unwrap_or(1.0);
    let (piece, pass) = at;
    let Input { video, wanted, .. } = input;
    let mut arguments = decoding(input, plan, piece, settings);
    arguments.push("-filter_complex".into());
    arguments.push(filter::graph(video, &plan.grid, piece, plan.start, (&plan.video, wanted)).into());
    for (number, rendition) in plan.video.iter().enumerate().filter(|(number, _)| wanted.contains(number)) {
        arguments.extend(words(&format!("-map [v{number}] -fps_mode passthrough")));
        if pass == Pass::Look {
            arguments.extend(words("-an -sn -dn -f null -"));
            continue;
        }
        arguments.extend(words(&format!("-c:v {} -threads 1", rendition.codec.encoder())));
        if rendition.codec == Codec::H264 {
            let most = plan.shares.iter().copied().fold(share, f64::max);
            let kbps = f64::from(rendition.max_kbps) * settings.profile.rate * most;
            arguments.extend(["-level".into(), level::h264(rendition, plan.grid.rate.as_f64(), kbps).into()]);
        }
        arguments.extend(encoder(piece, (rendition, video), (settings, share), pass));
        let statistics = statistics(folder, piece.chunk, number);
        match pass {
            Pass::Only | Pass::Look => {}
            Pass::First => arguments.extend(["-pass".into(), "1".into(), "-passlogfile".into(), statistics.into()]),
            Pass::Second => arguments.extend(["-pass".into(), "2".into(), "-passlogfile".into(), statistics.into()]),
        }
        if pass == Pass::First {
            arguments.extend(words("-an -sn -dn -f null -"));
        } else {
            arguments.extend(output());
            arguments.push(file(&video_output(folder, piece, number)));
        }
    }
    arguments
}

/// Reading a source from the key frame before a piece on.
fn decoding(input: &Input<'_>, plan: &HlsPlan, piece: &Piece, settings: &HlsSettings) -> Vec<OsString> {
    let Input { source, container, video, entry, .. } = input;
    let mut arguments = opening();
    arguments.extend(words("-noautorotate -threads 1"));
    arguments.extend(words(OWN_TIMES));
    if *entry == Entry::KeyFrame && piece.first_frame > 0 {
        arguments.extend(words("-seek_timestamp 1 -noaccurate_seek -ss"));
        arguments.push(format!("{:.6}", seek(video, container, plan, piece)).into());
    }
    // ffmpeg's own decoders of these leave the alpha out.
    match video.codec.as_str() {
        "vp9" if video.alpha => arguments.extend(words(&format!("-c:{} libvpx-vp9", video.index))),
        "vp8" if video.alpha => arguments.extend(words(&format!("-c:{} libvpx", video.index))),
        _ => {}
    }
    // A graph that is built anew in mid-stream would count its frames from the start again.
    arguments.extend(words(&format!("-reinit_filter 0 -max_pixels {}", settings.limits.pixels)));
    arguments.extend(reading(source));
    arguments
}

/// Measures the renditions that [`piece`] has made in `folder`, each against the picture its encoder got.
pub fn measure(
    input: &Input<'_>,
    plan: &HlsPlan,
    (piece, metric): (&Piece, Metric),
    settings: &HlsSettings,
    folder: &Path,
) -> Vec<OsString> {
    let (mut arguments, wanted) = (decoding(input, plan, piece, settings), input.wanted);
    let mut graph = filter::graph(input.video, &plan.grid, piece, plan.start, (&plan.video, wanted));
    for (made, &number) in (1..).zip(wanted) {
        arguments.extend(reading(&video_output(folder, piece, number)));
        let filter = metric.filter();
        let threads = if metric == Metric::Vmaf { "=n_threads=1" } else { "" };
        // Both sides are counted picture by picture, whatever their clocks say.
        write!(
            graph,
            ";[{made}:v]settb=1/1000,setpts=N[e{number}];[v{number}]settb=1/1000,setpts=N[r{number}];\
             [e{number}][r{number}]{filter}@q{number}{threads}[q{number}]"
        )
        .expect("writing to a string cannot fail");
    }
    arguments.extend(words("-filter_complex_threads 1 -filter_complex"));
    arguments.push(graph.into());
    for number in wanted {
        arguments.extend(words(&format!("-map [q{number}] -an -sn -dn -f null -")));
    }
    arguments
}

/// Measures the loudness of what [`audio`] is going to make.
pub fn loudness(source: &Path, plan: &HlsPlan, track: &AudioRendition) -> Vec<OsString> {
    let graph = format!("{},loudnorm=print_format=json[a]", sound(plan, track, ""));
    let mut arguments = opening();
    arguments.extend(words(OWN_TIMES));
    arguments.extend(reading(source));
    arguments.extend(["-filter_complex".into(), graph.into()]);
    arguments.extend(words("-map [a] -vn -sn -dn -f null -"));
    arguments
}

/// The samples of an audio rendition: stereo, from the first picture to the end of the last. `then` may change them.
fn sound(plan: &HlsPlan, track: &AudioRendition, then: &str) -> String {
    let samples = samples(plan.grid.seconds());
    let first = signed_samples(plan.sound_start);
    // Time stamps in disorder would cut the sound to pieces: it is taken in one piece then.
    let stamps = if track.timed { String::new() } else { format!("asetpts=N/SR/TB+{:.6}/TB,", plan.sound_start) };
    // Many channels may add up to more than a sample can hold.
    let then = if track.surround { format!("{LIMITER},{then}") } else { then.to_owned() };
    // `async=1` fills holes and cuts overlaps by the time stamps, and never stretches. `first_pts` counts samples as
    // they come in, so they have their rate before.
    format!(
        "[0:{}]{stamps}aresample={SAMPLE_RATE},aresample=async=1:min_hard_comp={MOST_OFF}:first_pts={first},\
         aformat=sample_fmts=fltp:channel_layouts=stereo,{then}apad,atrim=end_sample={samples},asetpts=N/SR/TB",
        track.index
    )
}

/// One audio rendition, whole: stereo AAC that begins with the picture and ends with it, `gain` decibels louder.
pub fn audio(
    source: &Path,
    plan: &HlsPlan,
    (number, track, gain): (usize, &AudioRendition, f64),
    settings: &HlsSettings,
    folder: &Path,
) -> Vec<OsString> {
    let louder = if gain == 0.0 { String::new() } else { format!("volume={gain:.2}dB:precision=float,") };
    let graph = format!("{}[a]", sound(plan, track, &louder));
    let mut arguments = opening();
    arguments.extend(words(OWN_TIMES));
    arguments.extend(reading(source));
    arguments.extend(["-filter_complex".into(), graph.into()]);
    arguments.extend(words(&format!(
        "-map [a] -c:a aac -ac {CHANNELS} -b:a {}k -fflags +bitexact -flags:a +bitexact",
        settings.audio_kbps
    )));
    arguments.extend(words("-vn -sn -dn -map_metadata -1 -map_chapters -1 -f mp4"));
    arguments.push(file(&audio_output(folder, number)));
    arguments
}

/// The file a subtitle rendition is written to.
pub fn subtitle_output(folder: &Path, rendition: usize) -> PathBuf {
    folder.join(format!("subs-{rendition}.vtt"))
}

/// All subtitle renditions that are in the source, whole, with its times.
pub fn subtitles(source: &Path, plan: &HlsPlan, settings: &HlsSettings, folder: &Path) -> Vec<OsString> {
    let mut arguments = opening();
    arguments.extend(words(&format!("-copyts -max_pixels {}", settings.limits.pixels)));
    arguments.extend(reading(source));
    for (number, rendition) in plan.subtitles.iter().enumerate() {
        let Place::Stream(index) = rendition.place else { continue };
        arguments.extend(words(&format!("-map 0:{index} -c:s webvtt -map_metadata -1 -f webvtt")));
        arguments.push(file(&subtitle_output(folder, number)));
    }
    arguments
}

/// The file that the text of a sidecar is written to, in UTF-8.
pub fn sidecar_input(folder: &Path, rendition: usize) -> PathBuf {
    folder.join(format!("beside-{rendition}.txt"))
}

/// One subtitle rendition, whole, of a file beside the source.
pub fn sidecar(format: Format, number: usize, folder: &Path) -> Vec<OsString> {
    let mut arguments = opening();
    let demuxer = format.demuxer();
    arguments.extend(words(&format!("-protocol_whitelist file,pipe -format_whitelist {demuxer} -f {demuxer} -i")));
    arguments.push(file(&sidecar_input(folder, number)));
    arguments.extend(words("-map 0:s:0 -c:s webvtt -map_metadata -1 -f webvtt"));
    arguments.push(file(&subtitle_output(folder, number)));
    arguments
}

/// The file that [`plain_audio`] writes.
pub fn plain_audio_output(folder: &Path, rendition: usize) -> PathBuf {
    folder.join(format!("audio-{rendition}.nut"))
}

/// One track of a source decoded to plain stereo, with its times, where a
/// broadcast goes over from stereo to surround: what comes of it does not change.
pub fn plain_audio(source: &Path, (number, track): (usize, &AudioRendition), folder: &Path) -> Vec<OsString> {
    let mut arguments = opening();
    arguments.extend(words(OWN_TIMES));
    arguments.extend(reading(source));
    arguments.extend(words(&format!(
        "-map 0:{} -af aresample={SAMPLE_RATE},aformat=sample_fmts=s16:channel_layouts=stereo",
        track.index
    )));
    arguments.extend(words("-c:a pcm_s16le -map_metadata -1 -map_chapters -1 -f nut"));
    arguments.push(file(&plain_audio_output(folder, number)));
    arguments
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a time stamp of 33 bits at 90 kHz fits easily"
)]
fn signed_samples(seconds: f64) -> i64 {
    (seconds * SAMPLE_RATE as f64).round() as i64
}

/// Where ffmpeg is to look for the key frame that decoding begins with.
///
/// Containers with an index go to the key frame at or before a time. The others
/// go to some packet before it and wait for the next key frame, so they are
/// sent to a little before the key frame that is known from the packets.
fn seek(video: &Video, container: &str, plan: &HlsPlan, piece: &Piece) -> f64 {
    let begin = plan.start + plan.grid.rate.seconds(piece.first_frame);
    let last = video.timeline.times.last().copied().unwrap_or(plan.start);
    let begin = begin.min(last);
    if container.starts_with("mov") || container.starts_with("matroska") {
        return begin;
    }
    let key = video.timeline.keys.iter().rev().find(|key| **key <= begin + 1e-6);
    key.copied().unwrap_or(plan.start) - BEFORE_KEY_FRAME
}

fn encoder(
    piece: &Piece,
    (rendition, video): (&Rendition, &Video),
    (settings, share): (&HlsSettings, f64),
    pass: Pass,
) -> Vec<OsString> {
    let Rendition { crf, max_kbps, .. } = rendition;
    let max_kbps = f64::from(*max_kbps) * settings.profile.rate * share;
    let profile = &settings.profile;
    let quality = match pass {
        // SVT-AV1 counts in whole steps.
        Pass::Only if rendition.codec == Codec::Av1 => format!("-crf {:.0}", crf + profile.crf_shift),
        Pass::Only | Pass::Look => format!("-crf {:.2}", crf + profile.crf_shift),
        Pass::First | Pass::Second => format!("-b:v {:.0}k", max_kbps * 0.9),
    };
    let (maxrate, buffer) = (format!("{max_kbps:.0}k"), format!("{:.0}k", max_kbps * 2.0));
    let is_hdr = rendition.range != DynamicRange::Sdr;
    let (pixels, gamut, matrix) =
        if is_hdr { ("yuv420p10le", "bt2020", "bt2020nc") } else { ("yuv420p", "bt709", "bt709") };
    let mut arguments = match rendition.codec {
        Codec::H264 => words(&format!(
            "-preset {} {quality} -maxrate {maxrate} -bufsize {buffer} -profile:v high -pix_fmt yuv420p -bf 3 -g {}",
            profile.preset,
            group(piece)
        )),
        // One thread as the others have, closed groups, no note of its settings, and the delay of x264.
        Codec::Hevc => words(&format!(
            "-preset {} {quality} -maxrate {maxrate} -bufsize {buffer} -profile:v {} -pix_fmt {pixels} -g {} \
             -forced-idr 1 -tag:v hvc1 -x265-params \
             pools=none:frame-threads=1:open-gop=0:bframes=3:b-pyramid=1:info=0:log-level=error{}",
            profile.preset,
            if is_hdr { "main10" } else { "main" },
            group(piece),
            hdr_x265(rendition.range, video)
        )),
        // It takes key frames at equal distances and no orders.
        Codec::Av1 => words(&format!(
            "-preset {} {quality} -maxrate {maxrate} -bufsize {buffer} -pix_fmt {pixels} -g {} -svtav1-params lp=1{}",
            svt_preset(&profile.preset),
            common_group(piece),
            hdr_svt(rendition.range, video)
        )),
    };
    if rendition.codec != Codec::Av1 {
        let keys: Vec<String> = piece.key_frames.iter().map(|key| format!("eq(n,{key})")).collect();
        arguments.extend(["-force_key_frames".into(), format!("expr:{}", keys.join("+")).into()]);
    }
    let transfer = rendition.range.transfer().0;
    arguments
        .extend(words(&format!("-color_range tv -color_primaries {gamut} -color_trc {transfer} -colorspace {matrix}")));
    if rendition.codec == Codec::H264 && !profile.x264.is_empty() {
        arguments.extend(["-x264-params".into(), (&profile.x264).into()]);
    }
    arguments
}

/// What HDR10 says of itself, in x265's words: steps of 0.00002 and of 0.0001 nits.
fn hdr_x265(range: DynamicRange, video: &Video) -> String {
    let mut text = String::new();
    if range != DynamicRange::Pq {
        return text;
    }
    if let Some(Mastering { primaries: [green, blue, red], white, luminance }) = video.mastering {
        text = format!(
            ":master-display=G({},{})B({},{})R({},{})WP({},{})L({},{})",
            green.0, green.1, blue.0, blue.1, red.0, red.1, white.0, white.1, luminance.0, luminance.1
        );
    }
    if let Some(Light { pixel, picture }) = video.light {
        write!(text, ":max-cll={pixel},{picture}").expect("writing to a string cannot fail");
    }
    text
}

/// The same in SVT-AV1's words: parts of one, and nits.
fn hdr_svt(range: DynamicRange, video: &Video) -> String {
    let mut text = String::from(if range == DynamicRange::Sdr { "" } else { ":enable-hdr=1" });
    if range != DynamicRange::Pq {
        return text;
    }
    if let Some(Mastering { primaries: [green, blue, red], white, luminance }) = video.mastering {
        let point = |(x, y): (u16, u16)| format!("({:.5},{:.5})", f64::from(x) / 5e4, f64::from(y) / 5e4);
        let nits = |steps: u32| f64::from(steps) / 1e4;
        write!(
            text,
            ":mastering-display=G{}B{}R{}WP{}L({:.4},{:.4})",
            point(green),
            point(blue),
            point(red),
            point(white),
            nits(luminance.0),
            nits(luminance.1)
        )
        .expect("writing to a string cannot fail");
    }
    if let Some(Light { pixel, picture }) = video.light {
        write!(text, ":content-light={pixel},{picture}").expect("writing to a string cannot fail");
    }
    text
}

/// The most frames from one key frame of a piece to the next. Never one: x264 would call it another profile
/// than what it makes of all other pieces.
fn group(piece: &Piece) -> u64 {
    let ends = piece.key_frames.iter().skip(1).copied().chain([piece.frames]);
    piece.key_frames.iter().zip(ends).map(|(key, end)| end - key).max().unwrap_or(piece.frames).max(2)
}

/// Frames between key frames at equal distances that hit every one of a piece.
fn common_group(piece: &Piece) -> u64 {
    let common = piece.key_frames.iter().fold(0, |a, &b| greatest_common_divisor(a, b));
    if common == 0 { piece.frames } else { common }
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// SVT-AV1's preset that takes about as long as one of x264 is worth.
fn svt_preset(preset: &str) -> u32 {
    match preset {
        "ultrafast" | "superfast" => 12,
        "veryfast" => 10,
        "faster" | "fast" => 9,
        "medium" => 8,
        _ => 6,
    }
}

/// `info` is needed for the decoded frames and the CPU time; `level` tells errors from talk.
pub(super) fn opening() -> Vec<OsString> {
    // The rate of errors at which ffmpeg gives up means little: we judge by what came out.
    words(
        "-hide_banner -nostdin -y -loglevel level+info -nostats -benchmark -max_error_rate 1 \
         -progress pipe:1 -stats_period 0.5",
    )
}

pub(super) fn reading(source: &Path) -> Vec<OsString> {
    let mut arguments = words("-protocol_whitelist file,pipe -format_whitelist");
    arguments.extend([DEMUXERS.into(), "-codec_whitelist".into(), DECODERS.into(), "-i".into(), file(source)]);
    arguments
}

fn output() -> Vec<OsString> {
    words(
        "-an -sn -dn -map_metadata -1 -map_chapters -1 -fflags +bitexact -flags:v +bitexact -video_track_timescale 90000 -f mp4",
    )
}

/// `file:` keeps ffmpeg from reading `pipe:0.mp4` or `12:30 talk.mp4` as a protocol.
pub fn file(path: &Path) -> OsString {
    let mut text = OsString::from("file:");
    text.push(path);
    text
}

pub(super) fn words(text: &str) -> Vec<OsString> {
    text.split_whitespace().map(Into::into).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::hls;
    use crate::plan::hls::tests::{media, settings};
    use crate::plan::piece::pieces;

    fn line(arguments: &[OsString]) -> String {
        arguments.iter().map(|argument| argument.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    fn of(media: &crate::model::media::Media, source: &'static str, number: u64, pass: Pass) -> String {
        let plan = hls::plan(media, &settings()).unwrap();
        let video = media.video.as_ref().unwrap();
        let wanted: Vec<usize> = (0..plan.video.len()).collect();
        let (container, entry) = (&media.container, Entry::KeyFrame);
        let input = Input { source: Path::new(source), container, video, entry, wanted: &wanted };
        let pieces = pieces(&plan, &video.timeline, &plan.grid.chunk(number), &settings());
        line(&piece(&input, &plan, (&pieces[0], pass), &settings(), Path::new("/w")))
    }

    #[test]
    fn ffmpeg_gets_a_local_file_and_closed_lists() {
        let text = of(&media(10.0, |_| true), "/s/-a %05d\n.mp4", 1, Pass::Only);
        assert!(text.contains("-protocol_whitelist file,pipe -format_whitelist mov,"), "{text}");
        assert!(text.contains("-i file:/s/-a %05d\n.mp4 "), "{text}");
        assert!(text.contains("-ss 6.000000 "), "{text}");
        assert!(text.ends_with("-f mp4 file:/w/chunk-00001-0-2.mp4"), "{text}");
        assert_eq!(text.matches("-c:v libx264 -threads 1").count(), 3);
    }

    #[test]
    fn every_codec_gets_its_own_encoder_and_key_frames() {
        let media = media(10.0, |_| true);
        let settings = HlsSettings { codecs: vec![Codec::Hevc, Codec::Av1], ..settings() };
        let plan = hls::plan(&media, &settings).unwrap();
        let part = Piece { chunk: 1, number: 0, first_frame: 150, frames: 100, key_frames: vec![0, 50] };
        let video = media.video.as_ref().unwrap();
        let input = Input { source: Path::new("/s"), container: "mov", video, entry: Entry::KeyFrame, wanted: &[0, 1] };
        let text = line(&piece(&input, &plan, (&part, Pass::Only), &settings, Path::new("/w")));
        assert!(text.contains("-c:v libx265 -threads 1") && text.contains("-tag:v hvc1"), "{text}");
        assert!(text.contains("-c:v libsvtav1 ") && text.contains("-g 50 -svtav1-params lp=1"), "{text}");
        assert_eq!(text.matches("-force_key_frames expr:eq(n,0)+eq(n,50)").count(), 1);
    }

    #[test]
    fn without_an_index_seeking_aims_before_the_key_frame() {
        let stream = crate::model::media::Media { container: "mpegts".into(), ..media(10.0, |_| true) };
        assert!(of(&stream, "/s", 1, Pass::Only).contains("-ss 5.500000 "));
        assert!(!of(&stream, "/s", 0, Pass::Only).contains("-ss "));
    }

    #[test]
    fn sound_whose_times_are_in_disorder_is_counted_in_samples() {
        let plan = hls::plan(&media(10.0, |_| true), &settings()).unwrap();
        let of = |timed| {
            let (folder, name, language) = ("audio-und".into(), "und".into(), "und".into());
            let track = AudioRendition { folder, name, language, default: true, index: 1, timed, surround: false };
            line(&audio(Path::new("/s"), &plan, (0, &track, 0.0), &settings(), Path::new("/w")))
        };
        assert!(of(true).contains("[0:1]aresample=48000,aresample=async=1"));
        assert!(of(false).contains("[0:1]asetpts=N/SR/TB+0.000000/TB,aresample=48000,aresample=async=1"));
    }

    #[test]
    fn a_group_of_one_picture_is_no_other_profile() {
        let piece = Piece { chunk: 1, number: 0, first_frame: 150, frames: 1, key_frames: vec![0] };
        assert_eq!(group(&piece), 2);
    }

    #[test]
    fn two_passes_share_their_statistics() {
        let media = media(10.0, |_| true);
        let first = of(&media, "/s", 0, Pass::First);
        assert!(first.contains("-b:v 2835k") && first.ends_with("-f null -"), "{first}");
        assert!(of(&media, "/s", 0, Pass::Second).contains("-pass 2 -passlogfile /w/pass-00000-0"));
    }
}
