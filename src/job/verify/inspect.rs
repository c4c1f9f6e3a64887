//! Turns the bytes of a segment into facts, by what packs them.

use crate::format::adts;
use crate::format::aes128::BLOCK;
use crate::format::ts_read::{self, Inspector, Stream};

use super::finding::Findings;
use super::inside::{Audio, Form, Inside, Times, Video};
use super::mp4::{Fragments, Init, Run, Track};
use super::picture::{Picture, Sound};

/// What is known of a segment before it is looked into.
pub(super) struct Setting<'a> {
    /// Its name for people.
    pub(super) name: &'a str,
    /// Its init section, if it has one that could be read.
    pub(super) init: Option<&'a Init>,
    /// Whether the playlist names an init section.
    pub(super) has_map: bool,
    /// The method that encrypts samples one by one, if one does.
    pub(super) method: Option<&'a str>,
}

/// Boxes that a file of MP4 may begin with.
const FIRST: [&[u8; 4]; 10] =
    [b"styp", b"moof", b"sidx", b"emsg", b"prft", b"ftyp", b"free", b"skip", b"mdat", b"moov"];

/// How the segment is packed, by its first bytes.
pub(super) fn form(bytes: &[u8]) -> Option<Form> {
    let is_ts = |bytes: &[u8]| {
        !bytes.is_empty() && (0..5).all(|packet| bytes.get(packet * ts_read::PACKET).is_none_or(|&byte| byte == 0x47))
    };
    if bytes.get(4..8).is_some_and(|name| FIRST.iter().any(|first| first[..] == *name)) {
        return Some(Form::Fragments);
    }
    if is_ts(bytes) {
        return Some(Form::Stream);
    }
    (bytes.starts_with(b"ID3") || adts::Header::read(bytes).is_some()).then_some(Form::Packed)
}

/// Looks into a segment that is not encrypted as a whole.
pub(super) fn inspect(bytes: &[u8], setting: &Setting<'_>, findings: &mut Findings) -> Option<Inside> {
    match form(bytes) {
        Some(Form::Fragments) => fragments(bytes, setting, findings),
        Some(Form::Stream) => stream(bytes, setting, findings),
        Some(Form::Packed) => packed(bytes, setting, findings),
        None => {
            let sealed = bytes.len().is_multiple_of(BLOCK) && !bytes.len().is_multiple_of(ts_read::PACKET);
            let (rule, what) = match bytes {
                [] => ("R21", "it is empty"),
                _ if sealed && setting.method.is_none() => {
                    ("R49", "it is no media; perhaps it is encrypted and the playlist does not say so")
                }
                _ => ("R21", "it is neither MPEG-TS nor fMP4 nor packed sound"),
            };
            findings.violation(rule, setting.name, what);
            None
        }
    }
}

fn stream(bytes: &[u8], setting: &Setting<'_>, findings: &mut Findings) -> Option<Inside> {
    let mut inspector = Inspector::default();
    inspector.push(bytes);
    let segment = inspector.finish();
    for fault in &segment.faults {
        findings.violation("R21", setting.name, fault);
    }
    for jump in &segment.jumps {
        findings.violation("R26", setting.name, format!("the continuity counter of {jump}"));
    }
    if let Some(title) = &segment.service {
        let what = format!("the stream names its service `{}`, perhaps the source's title", super::short(title));
        findings.warning("R54", setting.name, what);
    }
    if segment.tables_damaged {
        // What follows from it would only hide the reason.
        return None;
    }
    check_streams(&segment.streams, setting, findings);
    let filled =
        |kind: fn(&Stream) -> bool| segment.streams.iter().find(|stream| kind(stream) && !stream.units.is_empty());
    let video = filled(Stream::is_video).and_then(video);
    let audio = filled(Stream::is_audio).and_then(audio);
    Some(Inside {
        form: Form::Stream,
        tables_first: segment.tables_first,
        counters: segment.counters,
        numbers: None,
        video,
        audio,
    })
}

fn check_streams(streams: &[Stream], setting: &Setting<'_>, findings: &mut Findings) {
    let name = setting.name;
    let (videos, audios) = (Stream::is_video, Stream::is_audio);
    let count = |kind: fn(&Stream) -> bool| streams.iter().filter(|stream| kind(stream)).count();
    count_streams((count(videos), count(audios)), name, findings);
    let sealed = streams.iter().any(Stream::is_sealed);
    match setting.method {
        Some(method) if !sealed && !streams.is_empty() => {
            let what = format!("the playlist says METHOD={method}, and no stream is of an encrypted type");
            findings.violation("R49", name, what);
        }
        None if sealed => {
            findings.violation("R49", name, "samples are encrypted, and the playlist does not say so");
        }
        _ => {}
    }
    for stream in streams {
        if !stream.is_video() && !stream.is_audio() {
            // ID3 tags with times are what Apple itself puts there.
            if stream.kind != 0x15 {
                let what = format!("there is a stream of type {:#04x}, neither video nor audio", stream.kind);
                findings.warning("R28", name, what);
            }
        } else if stream.units.is_empty() {
            findings.violation("R28", name, format!("the stream with PID {} is empty", stream.pid));
        }
        if matches!(stream.kind, 0x01 | 0x02 | 0x10) {
            let what = format!("the picture is in MPEG-1, MPEG-2 or MPEG-4 part 2 (type {:#04x})", stream.kind);
            findings.apple("R30", name, what);
        }
        if stream.kind == 0x24 {
            findings.apple("R30", name, "HEVC belongs in fMP4 segments");
        }
        if stream.sps_changes {
            findings.violation("R15", name, "the parameter sets change within the segment");
        }
    }
}

fn count_streams((videos, audios): (usize, usize), name: &str, findings: &mut Findings) {
    if videos > 1 || audios > 1 {
        let what = format!("there are {videos} video and {audios} audio streams");
        findings.violation("R28", name, what);
    }
    if videos + audios == 0 {
        findings.violation("R28", name, "there is neither video nor audio");
    }
}

fn video(stream: &Stream) -> Option<Video> {
    let shown = stream.units.iter().map(|unit| unit.pts).collect();
    let first = stream.units.first()?;
    let times = Times::of(shown, (first.dts, stream.units.last()?.dts))?;
    let known = stream.is_h264();
    Some(Video {
        times,
        pictures: stream.units.len() as u64,
        keys: stream.units.iter().filter(|unit| unit.idr).map(|unit| unit.pts).collect(),
        starts_with_key: known.then_some(first.idr),
        first_is_earliest: first.pts == times.start,
        picture: stream.sps.as_ref().map(Picture::from),
        configured: !known || stream.sps_first,
        turned: false,
    })
}

fn audio(stream: &Stream) -> Option<Audio> {
    let shown = stream.units.iter().map(|unit| unit.pts).collect();
    let mut times = Times::of(shown, (stream.units.first()?.dts, stream.units.last()?.dts))?;
    if let Some(header) = stream.adts {
        let samples = i64::try_from(stream.frames).ok()?.checked_mul(i64::from(header.samples))?;
        times.end = times.start + samples.checked_mul(ts_read::CLOCK)? / i64::from(header.sample_rate.max(1));
    }
    let codec = match stream.kind {
        0x0f | 0xcf => stream.adts.map(|header| format!("mp4a.40.{}", header.object_type)),
        0x81 | 0xc1 => Some("ac-3".into()),
        0x87 | 0xc2 => Some("ec-3".into()),
        0x03 | 0x04 => Some("mp4a.40.34".into()),
        _ => None,
    };
    Some(Audio { codec, times, frames: stream.frames, sound: stream.adts.map(Sound::from) })
}

fn fragments(bytes: &[u8], setting: &Setting<'_>, findings: &mut Findings) -> Option<Inside> {
    let name = setting.name;
    let Some(init) = setting.init else {
        if !setting.has_map {
            findings.violation("R21", name, "it is fMP4, and the playlist names no init section (EXT-X-MAP)");
        }
        return None;
    };
    let fragments = Fragments::read(bytes, init);
    for fault in &fragments.faults {
        findings.violation("R21", name, fault);
    }
    for fault in &fragments.seals {
        findings.violation("R45", name, fault);
    }
    let tracks: Vec<(&Run, &Track)> =
        fragments.runs.iter().filter_map(|run| Some((run, init.track(run.track)?))).collect();
    let picked = |kind: fn(&Track) -> bool| tracks.iter().copied().filter(move |(_, track)| kind(track));
    let counts = (picked(Track::is_video).count(), picked(Track::is_audio).count());
    // Subtitles may be packed alike; what has no other track is judged where its playlist is.
    if !tracks.is_empty() && tracks.iter().any(|(_, track)| track.is_video() || track.is_audio()) {
        count_streams(counts, name, findings);
    }
    check_seal(&tracks, setting, findings);
    let video = picked(Track::is_video)
        .find(|(run, _)| !run.samples.is_empty())
        .and_then(|(run, track)| moving(bytes, run, track, name, findings));
    let audio = picked(Track::is_audio).find(|(run, _)| !run.samples.is_empty()).and_then(sounding);
    Some(Inside {
        form: Form::Fragments,
        tables_first: true,
        counters: std::collections::BTreeMap::new(),
        numbers: fragments.numbers,
        video,
        audio,
    })
}

/// What the playlist says of encryption against what the tracks say.
fn check_seal(tracks: &[(&Run, &Track)], setting: &Setting<'_>, findings: &mut Findings) {
    let schemes = tracks.iter().filter_map(|(_, track)| track.protection.as_ref()).filter(|seal| seal.protected);
    let schemes: Vec<&str> = schemes.map(|seal| seal.scheme.as_str()).collect();
    let expected = match setting.method {
        Some("SAMPLE-AES") => Some("cbcs"),
        Some("SAMPLE-AES-CTR") => Some("cenc"),
        _ => None,
    };
    match (setting.method, schemes.first()) {
        (Some(method), None) if !tracks.is_empty() => {
            let what =
                format!("the playlist says METHOD={method}, and the init section says that nothing is encrypted");
            findings.violation("R49", setting.name, what);
        }
        (None, Some(scheme)) => {
            let what = format!("samples are encrypted by `{}`, and the playlist does not say so", super::short(scheme));
            findings.violation("R49", setting.name, what);
        }
        (Some(method), Some(scheme)) if expected.is_some_and(|expected| expected != *scheme) => {
            let what = format!("METHOD={method}, and samples are encrypted by `{}`", super::short(scheme));
            findings.violation("R49", setting.name, what);
        }
        _ => {}
    }
}

/// The times of a run, whose last sample says how long it is.
fn run_times(run: &Run) -> Option<Times> {
    let shown = run.samples.iter().map(|sample| sample.pts).collect();
    let mut times = Times::of(shown, (run.samples.first()?.dts, run.samples.last()?.dts))?;
    times.end = run.samples.iter().map(|sample| sample.end).max()?;
    Some(times)
}

fn moving(bytes: &[u8], run: &Run, track: &Track, name: &str, findings: &mut Findings) -> Option<Video> {
    let times = run_times(run)?;
    let first = run.samples.first()?;
    let has_units = track.description.nal_length > 0;
    let mut torn = 0;
    let mut starts_with_key = None;
    for (index, sample) in run.samples.iter().enumerate().filter(|_| has_units) {
        let data = bytes.get(sample.at..sample.at.saturating_add(sample.bytes)).unwrap_or_default();
        match first_slice(data, track) {
            Some(key) if index == 0 => starts_with_key = Some(key),
            Some(_) => {}
            None => torn += 1,
        }
    }
    if torn > 0 {
        let what = format!("{torn} of {} pictures are not made of whole NAL units", run.samples.len());
        findings.violation("R21", name, what);
    }
    let starts_with_key = starts_with_key.or(if has_units { None } else { Some(first.sync) });
    if starts_with_key == Some(true) && !first.sync {
        findings.warning("R22", name, "the first picture is a key frame, and the fragment marks it as none");
    }
    Some(Video {
        times,
        pictures: run.samples.len() as u64,
        keys: run.samples.iter().filter(|sample| sample.sync).map(|sample| sample.pts).collect(),
        starts_with_key,
        first_is_earliest: first.pts == times.start,
        picture: track.description.picture.clone(),
        configured: track.description.configured || !matches!(&track.description.format, b"avc1" | b"hvc1"),
        turned: track.turned,
    })
}

/// Whether the first slice of a sample is that of a key frame; `None` if its units do not fill it exactly.
pub(super) fn first_slice(sample: &[u8], track: &Track) -> Option<bool> {
    let width = usize::from(track.description.nal_length);
    let mut rest = sample;
    let mut key = None;
    while !rest.is_empty() {
        let (length, after) = rest.split_at_checked(width)?;
        let length = length.iter().fold(0_usize, |length, &byte| length << 8 | usize::from(byte));
        let (unit, after) = after.split_at_checked(length)?;
        if let (None, Some(&header)) = (key, unit.first()) {
            key = slice_kind(header, track);
        }
        rest = after;
    }
    Some(key.unwrap_or(false))
}

/// Whether the header of a NAL unit is that of a key frame's slice; `None` where it is none of a slice.
fn slice_kind(header: u8, track: &Track) -> Option<bool> {
    if track.description.is_h264() {
        let kind = header & 31;
        (1..=5).contains(&kind).then_some(kind == 5)
    } else if track.description.is_hevc() {
        let kind = header >> 1 & 63;
        (kind < 32).then_some(matches!(kind, 19 | 20))
    } else {
        None
    }
}

fn sounding((run, track): (&Run, &Track)) -> Option<Audio> {
    Some(Audio {
        codec: track.description.codec.clone(),
        times: run_times(run)?,
        frames: run.samples.len() as u64,
        sound: track.description.sound,
    })
}

/// The name of the ID3 frame that holds the time of packed sound.
const OWNER: &[u8] = b"com.apple.streaming.transportStreamTimestamp\0";

/// Frames of AAC alone, after an ID3 tag.
fn packed(bytes: &[u8], setting: &Setting<'_>, findings: &mut Findings) -> Option<Inside> {
    let name = setting.name;
    let (tag, mut rest) = match bytes {
        [b'I', b'D', b'3', _, _, _, sizes @ ..] => {
            let length = sizes.iter().take(4).fold(0_usize, |length, &byte| length << 7 | usize::from(byte & 0x7f));
            bytes.split_at_checked(10 + length).unwrap_or((bytes, &[]))
        }
        _ => (&[][..], bytes),
    };
    let at = tag.windows(OWNER.len()).position(|window| window == OWNER).map(|at| at + OWNER.len());
    let stamp =
        at.and_then(|at| tag.get(at..at + 8)).and_then(|stamp| Some(u64::from_be_bytes(stamp.try_into().ok()?)));
    let Some(start) = stamp.and_then(|stamp| i64::try_from(stamp).ok()) else {
        findings.violation("R21", name, "packed sound has no time: an ID3 tag with one must stand first");
        return None;
    };
    let first = adts::Header::read(rest);
    let Some(first) = first else {
        findings.warning("R21", name, "packed sound that is not AAC is not looked into");
        return None;
    };
    let mut frames = 0_u64;
    while let Some(header) = adts::Header::read(rest) {
        let Some(after) = rest.get(header.length..) else { break };
        rest = after;
        frames += 1;
    }
    if !rest.is_empty() {
        findings.violation("R21", name, format!("{} bytes at the end are no whole frame of sound", rest.len()));
    }
    let samples = i64::try_from(frames).ok()?.checked_mul(i64::from(first.samples))?;
    let rate = i64::from(first.sample_rate.max(1));
    let step = i64::from(first.samples) * ts_read::CLOCK / rate;
    let end = start + samples.checked_mul(ts_read::CLOCK)? / rate;
    let last = (end - step).max(start);
    let times = Times { start, last, end, decode: (start, last), steps: (step, step) };
    let codec = Some(format!("mp4a.40.{}", first.object_type));
    let audio = Some(Audio { codec, times, frames, sound: Some(first.into()) });
    Some(Inside {
        form: Form::Packed,
        tables_first: true,
        counters: std::collections::BTreeMap::new(),
        numbers: None,
        video: None,
        audio,
    })
}
