//! Reads one segment, decrypts it if need be, and keeps the facts.

use std::collections::BTreeMap;

use crate::format::adts;
use crate::format::aes128::{self, BLOCK};
use crate::format::sps::Sps;
use crate::format::ts_read::{self, Counter, Inspector, Stream};

use super::address::Address;
use super::fetch::{self, Fetch, SEGMENT};
use super::finding::Findings;
use super::key::{self, Keys};
use super::package::{Rendition, Role, Sum};

/// What is kept of one segment.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// Bytes as stored, of the segment alone.
    pub(super) bytes: u64,
    /// Of the whole object; `None` for a part of one.
    pub(super) sum: Option<Sum>,
    /// What is in it, if it could be looked into.
    pub(super) inside: Option<Inside>,
}

/// What is in a transport stream.
#[derive(Clone, Debug)]
pub(super) struct Inside {
    pub(super) tables_first: bool,
    pub(super) counters: BTreeMap<u16, Counter>,
    pub(super) video: Option<Video>,
    pub(super) audio: Option<Audio>,
}

/// Times of a stream in ticks, by presentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    /// The earliest.
    pub(super) start: i64,
    /// That of the last unit.
    pub(super) last: i64,
    /// When the last unit is over; `last` where that cannot be known.
    pub(super) end: i64,
    /// The first and the last time of decoding.
    pub(super) decode: (i64, i64),
    /// The shortest and the longest step; 0 where there is one unit.
    pub(super) steps: (i64, i64),
}

/// The picture of a segment.
#[derive(Clone, Debug)]
pub(super) struct Video {
    pub(super) kind: u8,
    pub(super) times: Times,
    pub(super) pictures: u64,
    /// Times of IDR pictures.
    pub(super) keys: Vec<i64>,
    pub(super) starts_with_idr: bool,
    /// Whether the first picture of the file is the first shown.
    pub(super) first_is_earliest: bool,
    pub(super) sps: Option<Sps>,
    pub(super) sps_first: bool,
}

/// The sound of a segment.
#[derive(Clone, Debug)]
pub(super) struct Audio {
    pub(super) kind: u8,
    pub(super) times: Times,
    pub(super) frames: u64,
    pub(super) header: Option<adts::Header>,
}

impl Inside {
    /// The times that the segment's length goes by: the picture's, else the sound's.
    pub(super) fn times(&self) -> Option<&Times> {
        self.video.as_ref().map(|video| &video.times).or(self.audio.as_ref().map(|audio| &audio.times))
    }

    /// Moves all times by whole turns of the 33-bit clock, so that they are near `before`.
    pub(super) fn run_on_from(&mut self, before: i64) {
        let Some(start) = self.times().map(|times| times.start) else { return };
        let shift = ts_read::near(before, start) - start;
        let video = self.video.as_mut().map(|video| {
            video.keys.iter_mut().for_each(|key| *key += shift);
            &mut video.times
        });
        for times in video.into_iter().chain(self.audio.as_mut().map(|audio| &mut audio.times)) {
            times.start += shift;
            times.last += shift;
            times.end += shift;
            times.decode = (times.decode.0 + shift, times.decode.1 + shift);
        }
    }
}

/// What became of one segment.
pub(super) struct Look {
    pub(super) facts: Option<Facts>,
    pub(super) findings: Findings,
}

/// Reads and inspects the segment `index` of `rendition`.
pub(super) async fn look(fetch: &dyn Fetch, keys: &Keys, rendition: &Rendition, index: usize) -> Look {
    let mut findings = Findings::default();
    let Some((address, sealed)) = load(fetch, rendition, index, &mut findings).await else {
        return Look { facts: None, findings };
    };
    let whole = rendition.media.segments.get(index).is_none_or(|segment| segment.range.is_none());
    let lock = lock(keys, rendition, index);
    let plain_format = rendition.role != Role::Subtitles && rendition.media.maps.is_empty();
    let facts = fetch::blocking(move || {
        let bytes = sealed.bytes.len() as u64;
        let sum = whole.then(|| Sum::of(&sealed.bytes));
        let inside = match open(sealed.bytes, &lock, &address, &mut findings) {
            Some(plain) if plain_format => inspect(&plain, &address, &mut findings),
            _ => None,
        };
        (Facts { bytes, sum, inside }, findings)
    });
    let (facts, findings) = facts.await;
    Look { facts: Some(facts), findings }
}

/// The segment as it would be played; `None` if it cannot be had.
pub(super) async fn plain(fetch: &dyn Fetch, keys: &Keys, rendition: &Rendition, index: usize) -> Option<Vec<u8>> {
    let mut ignored = Findings::default();
    let (address, sealed) = load(fetch, rendition, index, &mut ignored).await?;
    let lock = lock(keys, rendition, index);
    fetch::blocking(move || open(sealed.bytes, &lock, &address, &mut ignored)).await
}

/// How a segment is said to be encrypted.
enum Lock {
    Clear,
    Key([u8; BLOCK], [u8; BLOCK]),
    KeyIsMissing,
    OtherMethod,
}

fn lock(keys: &Keys, rendition: &Rendition, index: usize) -> Lock {
    let segment = rendition.media.segments.get(index);
    let Some(key) = segment.and_then(|segment| segment.key).and_then(|key| rendition.media.keys.get(key)) else {
        return Lock::Clear;
    };
    if key.method != "AES-128" {
        return Lock::OtherMethod;
    }
    match keys.get(rendition, key) {
        Some(bytes) => Lock::Key(bytes, key::vector(rendition, index, key)),
        None => Lock::KeyIsMissing,
    }
}

async fn load(
    fetch: &dyn Fetch,
    rendition: &Rendition,
    index: usize,
    findings: &mut Findings,
) -> Option<(Address, fetch::Loaded)> {
    let address = rendition.places.get(index)?.clone()?;
    let segment = rendition.media.segments.get(index)?;
    let part = segment.range.and_then(|range| Some((range.offset?, range.length)));
    match fetch.read(&address, part, SEGMENT).await {
        Ok(loaded) => Some((address, loaded)),
        Err(error) => {
            let rule = if matches!(error, fetch::FetchError::Range) { "R51" } else { "R04" };
            findings.violation(rule, rendition.line(segment.line), format!("`{}`: {error}", address.path));
            None
        }
    }
}

/// Takes the encryption off, if there is one and the key is at hand.
fn open(sealed: Vec<u8>, lock: &Lock, address: &Address, findings: &mut Findings) -> Option<Vec<u8>> {
    let clear = looks_like_ts(&sealed);
    match lock {
        Lock::Clear => Some(sealed),
        Lock::OtherMethod => None,
        Lock::Key(..) | Lock::KeyIsMissing if clear => {
            findings.violation("R49", &address.path, "the playlist says that it is encrypted, and it is not");
            Some(sealed)
        }
        Lock::KeyIsMissing => {
            if !sealed.len().is_multiple_of(BLOCK) {
                let what = format!("{} bytes are not a whole number of 16-byte blocks", sealed.len());
                findings.violation("R45", &address.path, what);
            }
            None
        }
        Lock::Key(bytes, vector) => match aes128::decrypt(bytes, vector, sealed) {
            Ok(plain) if looks_like_ts(&plain) => Some(plain),
            Ok(plain) => {
                // A wrong IV spoils the first block alone.
                let tail_is_fine = plain.get(ts_read::PACKET..).is_some_and(looks_like_ts);
                let why = if tail_is_fine {
                    "the IV is wrong: only the first block is spoiled"
                } else {
                    "it decrypts to something that is no media"
                };
                findings.violation("R45", &address.path, why);
                None
            }
            Err(error) => {
                findings.violation("R45", &address.path, error.to_string());
                None
            }
        },
    }
}

/// Whether sync bytes stand where the first packets begin.
fn looks_like_ts(bytes: &[u8]) -> bool {
    !bytes.is_empty() && (0..5).all(|packet| bytes.get(packet * ts_read::PACKET).is_none_or(|&byte| byte == 0x47))
}

fn inspect(plain: &[u8], address: &Address, findings: &mut Findings) -> Option<Inside> {
    if !looks_like_ts(plain) {
        let sealed = plain.len().is_multiple_of(BLOCK) && !plain.len().is_multiple_of(ts_read::PACKET);
        let (rule, what) = match plain {
            [] => ("R21", "it is empty"),
            _ if sealed => {
                ("R49", "it is no transport stream; perhaps it is encrypted and the playlist does not say so")
            }
            _ => ("R21", "it is no transport stream"),
        };
        findings.violation(rule, &address.path, what);
        return None;
    }
    let mut inspector = Inspector::default();
    inspector.push(plain);
    let segment = inspector.finish();
    for fault in &segment.faults {
        findings.violation("R21", &address.path, fault);
    }
    for jump in &segment.jumps {
        findings.violation("R26", &address.path, format!("the continuity counter of {jump}"));
    }
    if segment.tables_damaged {
        // What follows from it would only hide the reason.
        return None;
    }
    check_streams(&segment.streams, address, findings);
    let video = segment.streams.iter().find(|stream| stream.is_video() && !stream.units.is_empty()).and_then(video);
    let audio = segment.streams.iter().find(|stream| stream.is_audio() && !stream.units.is_empty()).and_then(audio);
    Some(Inside { tables_first: segment.tables_first, counters: segment.counters, video, audio })
}

fn check_streams(streams: &[Stream], address: &Address, findings: &mut Findings) {
    let videos = streams.iter().filter(|stream| stream.is_video()).count();
    let audios = streams.iter().filter(|stream| stream.is_audio()).count();
    if videos > 1 || audios > 1 {
        let what = format!("there are {videos} video and {audios} audio streams");
        findings.violation("R28", &address.path, what);
    }
    if videos + audios == 0 {
        findings.violation("R28", &address.path, "there is neither video nor audio");
    }
    for stream in streams {
        if !stream.is_video() && !stream.is_audio() {
            let what = format!("there is a stream of type {:#04x}, neither video nor audio", stream.kind);
            findings.warning("R28", &address.path, what);
        } else if stream.units.is_empty() {
            findings.violation("R28", &address.path, format!("the stream with PID {} is empty", stream.pid));
        }
        if stream.kind == 0x24 {
            findings.violation("R30", &address.path, "HEVC belongs in fMP4 segments");
        }
        if stream.sps_changes {
            findings.violation("R15", &address.path, "the parameter sets change within the segment");
        }
    }
}

fn times(stream: &Stream) -> Option<Times> {
    let mut shown: Vec<i64> = stream.units.iter().map(|unit| unit.pts).collect();
    shown.sort_unstable();
    let (&start, &last) = (shown.first()?, shown.last()?);
    let steps = shown.windows(2).filter_map(|pair| Some(pair.get(1)? - pair.first()?));
    let steps = steps.fold(None, |seen: Option<(i64, i64)>, step| {
        Some(seen.map_or((step, step), |(shortest, longest)| (shortest.min(step), longest.max(step))))
    });
    let average = (last - start) / i64::try_from(shown.len() - 1).unwrap_or(i64::MAX).max(1);
    let decode = (stream.units.first()?.dts, stream.units.last()?.dts);
    Some(Times { start, last, end: last + average, decode, steps: steps.unwrap_or((0, 0)) })
}

fn video(stream: &Stream) -> Option<Video> {
    let times = times(stream)?;
    let first = stream.units.first()?;
    Some(Video {
        kind: stream.kind,
        times,
        pictures: stream.units.len() as u64,
        keys: stream.units.iter().filter(|unit| unit.idr).map(|unit| unit.pts).collect(),
        starts_with_idr: first.idr,
        first_is_earliest: first.pts == times.start,
        sps: stream.sps.clone(),
        sps_first: stream.sps_first,
    })
}

fn audio(stream: &Stream) -> Option<Audio> {
    let mut times = times(stream)?;
    if let Some(header) = stream.adts {
        let samples = i64::try_from(stream.frames).ok()?.checked_mul(i64::from(header.samples))?;
        times.end = times.start + samples.checked_mul(ts_read::CLOCK)? / i64::from(header.sample_rate);
    }
    Some(Audio { kind: stream.kind, times, frames: stream.frames, header: stream.adts })
}
