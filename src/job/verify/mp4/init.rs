//! The init section: which tracks there are and how their samples are to be read.

use super::boxes::{Atom, Cursor, Name, boxes, child, descend, shown};
use super::codec::{self, Description};
use super::protection::Protection;
use super::{note, ticks};

/// What an init section says.
#[derive(Clone, Debug, Default)]
pub(in crate::job::verify) struct Init {
    pub(in crate::job::verify) faults: Vec<String>,
    pub(in crate::job::verify) brands: Vec<Name>,
    pub(in crate::job::verify) tracks: Vec<Track>,
    /// Names of boxes that tell of the source: titles, places, comments.
    pub(in crate::job::verify) tells: Vec<String>,
}

/// One track.
#[derive(Clone, Debug, Default)]
pub(in crate::job::verify) struct Track {
    pub(in crate::job::verify) id: u32,
    pub(in crate::job::verify) timescale: u32,
    pub(in crate::job::verify) handler: Name,
    pub(in crate::job::verify) description: Description,
    pub(in crate::job::verify) protection: Option<Protection>,
    /// Whether the picture is to be turned or mirrored when shown.
    pub(in crate::job::verify) turned: bool,
    /// What is subtracted from the times of samples, in the track's own units.
    pub(super) edit: i64,
    pub(super) defaults: Defaults,
}

/// What holds for samples that do not say otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Defaults {
    pub(super) duration: u32,
    pub(super) size: u32,
    pub(super) flags: u32,
}

/// Brands that stand for movie-fragment relative addressing.
const MODERN: [&Name; 10] = [b"iso6", b"iso7", b"iso8", b"iso9", b"isoa", b"cmfc", b"cmf2", b"cmfs", b"cmfl", b"dash"];

/// Boxes that tell of the source.
const TELLING: [&Name; 8] = [b"\xa9nam", b"\xa9cmt", b"\xa9xyz", b"loci", b"desc", b"\xa9ART", b"\xa9des", b"titl"];

impl Init {
    /// Reads an init section.
    pub(in crate::job::verify) fn read(bytes: &[u8]) -> Self {
        let mut init = Self::default();
        let (atoms, wrong) = boxes(bytes);
        init.faults.extend(wrong);
        match atoms.first() {
            Some(first) if first.name == *b"ftyp" => init.brands(first.body),
            _ => note(&mut init.faults, "the init section does not begin with `ftyp`"),
        }
        if atoms.iter().any(|atom| atom.name == *b"mdat" || atom.name == *b"moof") {
            note(&mut init.faults, "there are samples in the init section");
        }
        match atoms.iter().find(|atom| atom.name == *b"moov") {
            Some(moov) => init.movie(moov.body),
            None => note(&mut init.faults, "the init section has no `moov`"),
        }
        init
    }

    /// The track with that number.
    pub(in crate::job::verify) fn track(&self, id: u32) -> Option<&Track> {
        self.tracks.iter().find(|track| track.id == id)
    }

    fn brands(&mut self, body: &[u8]) {
        self.brands = body
            .chunks_exact(4)
            .enumerate()
            .filter(|(at, _)| *at != 1)
            .filter_map(|(_, brand)| brand.try_into().ok())
            .collect();
        if !self.brands.iter().any(|brand| MODERN.contains(&brand)) {
            let listed: Vec<String> = self.brands.iter().take(8).map(|&brand| shown(brand)).collect();
            note(&mut self.faults, format!("no brand is iso6 or newer ({})", listed.join(" ")));
        }
    }

    fn movie(&mut self, moov: &[u8]) {
        let (atoms, wrong) = boxes(moov);
        self.faults.extend(wrong);
        let mvex = atoms.iter().find(|atom| atom.name == *b"mvex");
        if mvex.is_none() {
            note(&mut self.faults, "there is no `mvex`: it is no fragmented file");
        }
        let extends = mvex.map(|mvex| boxes(mvex.body).0).unwrap_or_default();
        for trak in atoms.iter().filter(|atom| atom.name == *b"trak").take(32) {
            match track(trak.body, &extends, &mut self.faults) {
                Some(track) if self.track(track.id).is_some() => {
                    note(&mut self.faults, format!("two tracks have the number {}", track.id));
                }
                Some(track) => self.tracks.push(track),
                None => note(&mut self.faults, "a track cannot be read"),
            }
        }
        if self.tracks.is_empty() {
            note(&mut self.faults, "there is no track");
        }
        let tags = descend(moov, &[b"udta", b"meta"]).and_then(|meta| meta.get(4..)).unwrap_or_default();
        let listed = child(tags, *b"ilst").map(|ilst| boxes(ilst.body).0).unwrap_or_default();
        let loose = child(moov, *b"udta").map(|udta| boxes(udta.body).0).unwrap_or_default();
        let told = listed.iter().chain(&loose).map(|atom| atom.name);
        self.tells = told.filter(|name| TELLING.contains(&name)).map(shown).collect();
    }
}

fn track(body: &[u8], extends: &[Atom<'_>], faults: &mut Vec<String>) -> Option<Track> {
    let mut header = Cursor(child(body, *b"tkhd")?.body);
    let (version, _) = header.full()?;
    header.time(version)?;
    header.time(version)?;
    let id = header.u32()?;
    let mut track = Track { id, ..Track::default() };
    header.u32()?;
    header.time(version)?;
    header.take(16)?;
    let matrix: Vec<u32> = (0..9).map_while(|_| header.u32()).collect();
    track.turned = matrix.len() == 9 && (matrix[0], matrix[1], matrix[3], matrix[4]) != (0x1_0000, 0, 0, 0x1_0000);
    let inner = child(body, *b"mdia")?.body;
    let mut media = Cursor(child(inner, *b"mdhd")?.body);
    let (version, _) = media.full()?;
    media.time(version)?;
    media.time(version)?;
    track.timescale = media.u32()?;
    if track.timescale == 0 {
        note(faults, format!("track {id} has no timescale"));
    }
    track.handler = Cursor(child(inner, *b"hdlr")?.body.get(8..)?).array()?;
    let stbl = descend(inner, &[b"minf", b"stbl"])?;
    entry(&mut track, stbl, faults)?;
    if let Some(samples) = child(stbl, *b"stsz").and_then(|stsz| Cursor(stsz.body.get(8..)?).u32())
        && samples > 0
    {
        note(faults, format!("there are {samples} samples in the init section"));
    }
    edit(&mut track, body);
    let defaults = extends.iter().filter(|atom| atom.name == *b"trex").find_map(|trex| trex_of(trex.body, id));
    match defaults {
        Some(defaults) => track.defaults = defaults,
        None => note(faults, format!("track {id} has no `trex`")),
    }
    Some(track)
}

fn entry(track: &mut Track, stbl: &[u8], faults: &mut Vec<String>) -> Option<()> {
    let stsd = child(stbl, *b"stsd")?.body.get(8..)?;
    let (entries, wrong) = boxes(stsd);
    faults.extend(wrong);
    let entry = entries.first()?;
    if entries.len() > 1 {
        note(faults, format!("track {} has {} descriptions", track.id, entries.len()));
    }
    let mut format = entry.name;
    if matches!(&format, b"encv" | b"enca" | b"enct") {
        let inner = codec::extensions(track.handler, entry.body);
        match child(inner, *b"sinf").and_then(|sinf| Protection::read(sinf.body, faults)) {
            Some((protection, under)) => {
                format = under;
                track.protection = Some(protection);
            }
            None => note(faults, format!("track {} is encrypted and does not say how", track.id)),
        }
    }
    match Description::read(format, track.handler, entry.body) {
        Some(description) => {
            if !description.configured && matches!(&format, b"avc1" | b"hvc1" | b"av01" | b"mp4a") {
                note(faults, format!("`{}` has no configuration of its decoder", shown(format)));
            }
            track.description = description;
        }
        None => note(faults, format!("the description of `{}` cannot be read", shown(format))),
    }
    Some(())
}

/// The first edit that is not empty moves the times of all samples.
fn edit(track: &mut Track, body: &[u8]) {
    let Some(elst) = descend(body, &[b"edts", b"elst"]) else { return };
    let mut elst = Cursor(elst);
    let (Some((version, _)), Some(count)) = (elst.full(), elst.u32()) else { return };
    for _ in 0..count.min(16) {
        let Some(_duration) = elst.time(version) else { return };
        let time = if version == 0 { elst.i32().map(i64::from) } else { elst.array().map(i64::from_be_bytes) };
        let Some(time) = time else { return };
        if time >= 0 {
            track.edit = time;
            return;
        }
        elst.u32();
    }
}

fn trex_of(body: &[u8], id: u32) -> Option<Defaults> {
    let mut trex = Cursor(body);
    trex.full()?;
    if trex.u32()? != id {
        return None;
    }
    trex.u32()?;
    Some(Defaults { duration: trex.u32()?, size: trex.u32()?, flags: trex.u32()? })
}

impl Track {
    /// A time of the track in ticks of 90 kHz, moved by its edit.
    pub(super) fn ticks(&self, time: i128) -> i64 {
        ticks(time - i128::from(self.edit), self.timescale)
    }

    pub(in crate::job::verify) fn is_video(&self) -> bool {
        self.handler == *b"vide"
    }

    pub(in crate::job::verify) fn is_audio(&self) -> bool {
        self.handler == *b"soun"
    }
}
