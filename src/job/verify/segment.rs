//! Reads one segment, decrypts it if need be, and keeps the facts.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::format::aes128::{self, BLOCK};
use crate::format::playlist::media::{Key, Range};
use crate::format::ts_read;

use super::address::Address;
use super::fetch::{self, Fetch, PLAYLIST, SEGMENT};
use super::finding::Findings;
use super::inside::{Facts, Form, Inside};
use super::inspect::{self, Setting};
use super::key::{self, Keys};
use super::mp4::{self, Fragments, Init};
use super::names;
use super::package::{Rendition, Role, Sum};
use super::vtt::Text;

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
    let segment = rendition.media.segments.get(index);
    let whole = segment.is_none_or(|segment| segment.range.is_none());
    let lock = lock(keys, rendition, index);
    let role = rendition.role;
    let map = segment.and_then(|segment| segment.map);
    let init = map.and_then(|map| rendition.inits.get(map).cloned().flatten());
    let facts = fetch::blocking(move || {
        let bytes = sealed.bytes.len() as u64;
        let sum = whole.then(|| Sum::of(&sealed.bytes));
        let kind = sealed.kind.clone();
        let plain = open(sealed.bytes, &lock, &address.path, &mut findings);
        let mut facts = Facts { bytes, sum, inside: None, text: None };
        if let Some(plain) = plain {
            let method = lock.method();
            let setting = Setting { name: &address.path, init: init.as_deref(), has_map: map.is_some(), method };
            names::segment(&address.path, inspect::form(&plain), kind.as_deref(), &mut findings);
            facts = inside(&plain, role, &setting, facts, &mut findings);
        }
        (facts, findings)
    });
    let (facts, findings) = facts.await;
    Look { facts: Some(facts), findings }
}

fn inside(plain: &[u8], role: Role, setting: &Setting<'_>, facts: Facts, findings: &mut Findings) -> Facts {
    if role == Role::Subtitles && !setting.has_map {
        return Facts { text: Some(Text::read(plain)), ..facts };
    }
    let inside = inspect::inspect(plain, setting, findings);
    // Text in fMP4 has neither picture nor sound to be judged.
    let heard = inside.filter(|inside: &Inside| role != Role::Subtitles && inside.times().is_some());
    Facts { inside: heard, ..facts }
}

/// A segment as a decoder can take it.
pub(super) struct Plain {
    /// The init section, if there is one, and the segment.
    pub(super) bytes: Vec<u8>,
    pub(super) form: Form,
}

/// The segment as it would be played; `None` if it cannot be had or stays encrypted.
pub(super) async fn plain(fetch: &dyn Fetch, keys: &Keys, rendition: &Rendition, index: usize) -> Option<Plain> {
    let mut ignored = Findings::default();
    let (address, sealed) = load(fetch, rendition, index, &mut ignored).await?;
    let segment = rendition.media.segments.get(index)?;
    let lock = lock(keys, rendition, index);
    let init = match segment.map {
        Some(map) => Some(init_bytes(fetch, keys, rendition, map, &mut ignored).await?),
        None => None,
    };
    fetch::blocking(move || {
        let mut bytes = open(sealed.bytes, &lock, &address.path, &mut ignored)?;
        let form = inspect::form(&bytes)?;
        let Some(mut head) = init else {
            // The samples of a transport stream stay as they are.
            return matches!(lock, Lock::Clear | Lock::Key(..)).then_some(Plain { bytes, form });
        };
        let init = Init::read(&head);
        if init.tracks.iter().any(|track| track.protection.is_some()) {
            let Lock::Samples(_, Some(key)) = &lock else { return None };
            let fragments = Fragments::read(&bytes, &init);
            if !mp4::decrypt(&mut bytes, &fragments, &init, key) {
                return None;
            }
            mp4::clear_init(&mut head, &init);
            mp4::clear_segment(&mut bytes);
        }
        head.append(&mut bytes);
        Some(Plain { bytes: head, form })
    })
    .await
}

/// How a segment is said to be encrypted.
enum Lock {
    Clear,
    Key([u8; BLOCK], [u8; BLOCK]),
    KeyIsMissing,
    /// Sample by sample: the method, and the key if it is at hand.
    Samples(String, Option<[u8; BLOCK]>),
}

impl Lock {
    /// The method, if samples are encrypted one by one.
    fn method(&self) -> Option<&str> {
        match self {
            Self::Samples(method, _) => Some(method),
            _ => None,
        }
    }
}

fn lock(keys: &Keys, rendition: &Rendition, index: usize) -> Lock {
    let segment = rendition.media.segments.get(index);
    let key = segment.and_then(|segment| segment.key).and_then(|key| rendition.media.keys.get(key));
    lock_of(keys, rendition, key, key::number(rendition, index))
}

fn lock_of(keys: &Keys, rendition: &Rendition, key: Option<&Key>, number: [u8; BLOCK]) -> Lock {
    let Some(key) = key else { return Lock::Clear };
    let bytes = keys.get(rendition, key);
    if key.method != "AES-128" {
        return Lock::Samples(key.method.clone(), bytes);
    }
    match bytes {
        Some(bytes) => Lock::Key(bytes, key.iv.unwrap_or(number)),
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
    match fetch.read(&address, part(segment.range), SEGMENT).await {
        Ok(loaded) => Some((address, loaded)),
        Err(error) => {
            findings.violation(rule(&error), rendition.line(segment.line), format!("`{}`: {error}", address.path));
            None
        }
    }
}

/// The rule that a failure to read is against.
pub(super) fn rule(error: &fetch::FetchError) -> &'static str {
    if matches!(error, fetch::FetchError::Range) { "R51" } else { "R04" }
}

/// A byte range as it is asked for.
pub(super) fn part(range: Option<Range>) -> fetch::Part {
    range.and_then(|range| Some((range.offset?, range.length)))
}

/// Takes the encryption of whole segments off, if there is one and the key is at hand.
fn open(sealed: Vec<u8>, lock: &Lock, name: &str, findings: &mut Findings) -> Option<Vec<u8>> {
    let clear = looks_like_media(&sealed);
    match lock {
        Lock::Clear | Lock::Samples(..) => Some(sealed),
        Lock::Key(..) | Lock::KeyIsMissing if clear => {
            findings.violation("R49", name, "the playlist says that it is encrypted, and it is not");
            Some(sealed)
        }
        Lock::KeyIsMissing => {
            if !sealed.len().is_multiple_of(BLOCK) {
                let what = format!("{} bytes are not a whole number of 16-byte blocks", sealed.len());
                findings.violation("R45", name, what);
            }
            None
        }
        Lock::Key(bytes, vector) => match aes128::decrypt(bytes, vector, sealed) {
            Ok(plain) if looks_like_media(&plain) && first_box_fits(&plain) => Some(plain),
            Ok(plain) => {
                // A wrong IV spoils the first block alone.
                let why = if rest_is_media(&plain) {
                    "the IV is wrong: only the first block is spoiled"
                } else {
                    "it decrypts to something that is no media"
                };
                findings.violation("R45", name, why);
                None
            }
            Err(error) => {
                findings.violation("R45", name, error.to_string());
                None
            }
        },
    }
}

fn looks_like_media(bytes: &[u8]) -> bool {
    let text = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes).starts_with(b"WEBVTT");
    text || inspect::form(bytes).is_some()
}

/// Whether the first box, if it is one, says a length that can be; a spoiled one says any.
fn first_box_fits(bytes: &[u8]) -> bool {
    let size = bytes.first_chunk().map_or(0, |size| u32::from_be_bytes(*size));
    inspect::form(bytes) != Some(Form::Fragments) || usize::try_from(size).is_ok_and(|size| size <= bytes.len())
}

/// Whether what follows a spoiled first block is media: packets, or a box soon after.
fn rest_is_media(bytes: &[u8]) -> bool {
    let packets = bytes.get(ts_read::PACKET..).is_some_and(|rest| inspect::form(rest) == Some(Form::Stream));
    let head = bytes.get(BLOCK..bytes.len().min(512)).unwrap_or_default();
    packets || head.windows(4).any(|name| matches!(name, b"moof" | b"sidx" | b"mvhd" | b"moov"))
}

/// Init sections of one playlist; more are hostile.
const INITS: usize = 1000;

/// Reads the init sections of all renditions, each once.
pub(super) async fn read_inits(
    fetch: &dyn Fetch,
    keys: &Keys,
    rendition: &Rendition,
    findings: &mut Findings,
) -> Vec<Option<Arc<Init>>> {
    let mut inits: Vec<Option<Arc<Init>>> = Vec::new();
    let mut known = BTreeMap::new();
    for (index, map) in rendition.media.maps.iter().enumerate() {
        let range = map.range.map(|range| (range.offset, range.length));
        let name = (map.uri.as_str(), range, map.key);
        if let Some(&at) = known.get(&name) {
            inits.push(inits.get::<usize>(at).cloned().flatten());
            continue;
        }
        if known.len() == INITS {
            let what = format!("more than {INITS} init sections: the rest was not read");
            findings.violation("R04", rendition.line(map.line), what);
            break;
        }
        known.insert(name, index);
        let bytes = init_bytes(fetch, keys, rendition, index, findings).await;
        inits.push(bytes.and_then(|bytes| judge_init(&bytes, rendition, index, findings)));
    }
    inits
}

fn judge_init(bytes: &[u8], rendition: &Rendition, map: usize, findings: &mut Findings) -> Option<Arc<Init>> {
    let name = rendition.map_name(map);
    // Tables of a transport stream may stand in an init section too.
    if inspect::form(bytes) == Some(Form::Stream) {
        return None;
    }
    if inspect::form(bytes) != Some(Form::Fragments) {
        findings.violation("R21", &name, "the init section is no MP4");
        return None;
    }
    let init = Init::read(bytes);
    for fault in &init.faults {
        findings.violation("R21", &name, fault);
    }
    if !init.tells.is_empty() {
        let what = format!("it tells of the source: {}", init.tells.join(", "));
        findings.warning("R54", &name, what);
    }
    Some(Arc::new(init))
}

/// The bytes of an init section, with encryption taken off.
async fn init_bytes(
    fetch: &dyn Fetch,
    keys: &Keys,
    rendition: &Rendition,
    index: usize,
    findings: &mut Findings,
) -> Option<Vec<u8>> {
    let map = rendition.media.maps.get(index)?;
    let address = rendition.map_places.get(index)?.clone()?;
    let loaded = match fetch.read(&address, part(map.range), PLAYLIST).await {
        Ok(loaded) => loaded,
        Err(error) => {
            findings.violation(rule(&error), rendition.line(map.line), format!("`{}`: {error}", address.path));
            return None;
        }
    };
    let key = map.key.and_then(|key| rendition.media.keys.get(key)).filter(|key| key.method == "AES-128");
    if key.is_some_and(|key| key.iv.is_none()) {
        let what = "the init section is encrypted, and EXT-X-KEY before it has no IV";
        findings.violation("R48", rendition.line(map.line), what);
    }
    open(loaded.bytes, &lock_of(keys, rendition, key, [0; BLOCK]), &address.path, findings)
}
