//! The fragments of one segment: which samples there are, when, and where.

use super::boxes::{Atom, Cursor, boxes, child};
use super::init::{Init, Track};
use super::note;
use super::protection::{self, Cover};

/// Samples of one segment that are kept; an hour of sound has 170,000.
const SAMPLES: usize = 200_000;

/// Everything that was seen in one segment.
#[derive(Debug, Default)]
pub(in crate::job::verify) struct Fragments {
    pub(in crate::job::verify) faults: Vec<String>,
    /// Faults of what protects samples.
    pub(in crate::job::verify) seals: Vec<String>,
    /// The first and the last number of a fragment.
    pub(in crate::job::verify) numbers: Option<(u32, u32)>,
    /// What was found of each track, in the order of the file.
    pub(in crate::job::verify) runs: Vec<Run>,
    samples: usize,
    /// `sidx` boxes: the first byte after the box, the bytes, the earliest time and the length, both in 90 kHz.
    indexes: Vec<(usize, u64, i128, i128, u32)>,
}

/// The samples of one track.
#[derive(Debug, Default)]
pub(in crate::job::verify) struct Run {
    pub(in crate::job::verify) track: u32,
    pub(in crate::job::verify) samples: Vec<Sample>,
    /// The decoding time after the last sample, in the track's units.
    next: i128,
}

/// One sample.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::job::verify) struct Sample {
    /// Times in ticks of 90 kHz.
    pub(in crate::job::verify) dts: i64,
    pub(in crate::job::verify) pts: i64,
    pub(in crate::job::verify) end: i64,
    /// Whether the file says that decoding may begin here.
    pub(in crate::job::verify) sync: bool,
    /// Where it is in the segment.
    pub(in crate::job::verify) at: usize,
    pub(in crate::job::verify) bytes: usize,
    pub(super) cover: Cover,
}

impl Fragments {
    /// Reads the segment, whose samples are described by `init`.
    pub(in crate::job::verify) fn read(bytes: &[u8], init: &Init) -> Self {
        let mut fragments = Self::default();
        let (atoms, wrong) = boxes(bytes);
        fragments.faults.extend(wrong);
        let data: Vec<(usize, usize)> = atoms
            .iter()
            .filter(|atom| atom.name == *b"mdat")
            .map(|atom| (atom.body_at, atom.body_at + atom.body.len()))
            .collect();
        for atom in &atoms {
            match &atom.name {
                b"moof" => fragments.fragment(atom, init, &data),
                b"sidx" => fragments.index(atom),
                _ => {}
            }
        }
        if fragments.numbers.is_none() {
            note(&mut fragments.faults, "there is no `moof`");
        }
        fragments.check_indexes(bytes.len(), init);
        fragments
    }

    fn fragment(&mut self, moof: &Atom<'_>, init: &Init, data: &[(usize, usize)]) {
        let (atoms, wrong) = boxes(moof.body);
        self.faults.extend(wrong);
        let number = atoms.iter().find(|atom| atom.name == *b"mfhd").and_then(|atom| Cursor(atom.body.get(4..)?).u32());
        match (number, self.numbers) {
            (None, _) => note(&mut self.faults, "a fragment has no `mfhd`"),
            (Some(number), None) => self.numbers = Some((number, number)),
            (Some(number), Some((first, last))) => {
                if number <= last {
                    note(&mut self.faults, format!("fragment {number} follows fragment {last}"));
                }
                self.numbers = Some((first, number));
            }
        }
        let mut found = false;
        // Where the data of a track without an offset begins.
        let mut after = moof.at;
        for traf in atoms.iter().filter(|atom| atom.name == *b"traf") {
            found = true;
            match self.track(traf, moof, init, data, after) {
                Some(end) => after = end,
                None => note(&mut self.faults, "a track fragment cannot be read"),
            }
        }
        if !found {
            note(&mut self.faults, "a fragment has no track");
        }
    }

    /// Reads one `traf`; answers where its data ends.
    fn track(
        &mut self,
        traf: &Atom<'_>,
        moof: &Atom<'_>,
        init: &Init,
        data: &[(usize, usize)],
        after: usize,
    ) -> Option<usize> {
        let (atoms, wrong) = boxes(traf.body);
        self.faults.extend(wrong);
        let tfhd = atoms.iter().find(|atom| atom.name == *b"tfhd")?;
        let mut header = Cursor(tfhd.body);
        let (_, flags) = header.full()?;
        let id = header.u32()?;
        let Some(track) = init.track(id) else {
            note(&mut self.faults, format!("there is a track {id}, which the init section does not know"));
            return Some(after);
        };
        let mut defaults = track.defaults;
        if flags & 1 != 0 {
            header.u64()?;
            note(&mut self.faults, "data is addressed from the start of the file and not of the fragment");
        }
        if flags & 2 != 0 {
            header.u32()?;
        }
        for (flag, field) in [(8, &mut defaults.duration), (0x10, &mut defaults.size), (0x20, &mut defaults.flags)] {
            if flags & flag != 0 {
                *field = header.u32()?;
            }
        }
        let base = if let Some(tfdt) = atoms.iter().find(|atom| atom.name == *b"tfdt") {
            let mut tfdt = Cursor(tfdt.body);
            let (version, _) = tfdt.full()?;
            Some(i128::from(tfdt.time(version)?))
        } else {
            note(&mut self.faults, format!("track {id} of a fragment has no time (`tfdt`)"));
            None
        };
        let (run, start) = self.run(track, base);
        let mut at = if flags & 0x2_0000 != 0 { moof.at } else { after };
        for trun in atoms.iter().filter(|atom| atom.name == *b"trun") {
            at = self.samples(run, track, defaults, (trun.body, moof.at, at))?;
        }
        self.within(run, start, data);
        self.seal(run, start, track, &atoms, moof);
        Some(at)
    }

    /// The run of a track, and how many samples it has.
    fn run(&mut self, track: &Track, base: Option<i128>) -> (usize, usize) {
        let known = self.runs.iter().position(|run| run.track == track.id);
        let index = known.unwrap_or_else(|| {
            self.runs.push(Run { track: track.id, ..Run::default() });
            self.runs.len() - 1
        });
        let run = &mut self.runs[index];
        if let Some(base) = base {
            // A unit of time may be lost to rounding.
            if !run.samples.is_empty() && (base - run.next).abs() > i128::from(track.timescale / 1000).max(1) {
                let off = base - run.next;
                let what =
                    format!("a fragment of track {} begins {off} units from the end of the one before", track.id);
                note(&mut self.faults, what);
            }
            run.next = base;
        }
        (index, run.samples.len())
    }

    /// Reads a `trun`; answers where its data ends.
    fn samples(
        &mut self,
        run: usize,
        track: &Track,
        defaults: super::init::Defaults,
        (trun, moof, mut at): (&[u8], usize, usize),
    ) -> Option<usize> {
        let mut cursor = Cursor(trun);
        let (version, flags) = cursor.full()?;
        let count = cursor.u32()?;
        if flags & 1 != 0 {
            let offset = i64::from(cursor.i32()?);
            at = usize::try_from(i64::try_from(moof).ok()?.checked_add(offset)?).ok()?;
        }
        let first_flags = if flags & 4 != 0 { Some(cursor.u32()?) } else { None };
        let run = self.runs.get_mut(run)?;
        for index in 0..count {
            if self.samples == SAMPLES {
                note(&mut self.faults, format!("there are more than {SAMPLES} samples"));
                return Some(at);
            }
            let duration = if flags & 0x100 != 0 { cursor.u32()? } else { defaults.duration };
            let size = if flags & 0x200 != 0 { cursor.u32()? } else { defaults.size };
            let own = if flags & 0x400 != 0 { cursor.u32()? } else { defaults.flags };
            let own = if index == 0 { first_flags.unwrap_or(own) } else { own };
            let composition = match (flags & 0x800 != 0, version) {
                (false, _) => 0,
                (true, 0) => i128::from(cursor.u32()?),
                (true, _) => i128::from(cursor.i32()?),
            };
            let shown = run.next + composition;
            let bytes = usize::try_from(size).ok()?;
            run.samples.push(Sample {
                dts: track.ticks(run.next),
                pts: track.ticks(shown),
                end: track.ticks(shown + i128::from(duration)),
                sync: own & 0x1_0000 == 0,
                at,
                bytes,
                cover: Cover::default(),
            });
            self.samples += 1;
            run.next += i128::from(duration);
            at = at.checked_add(bytes)?;
        }
        Some(at)
    }

    /// Every sample must lie in an `mdat` of this segment.
    fn within(&mut self, run: usize, start: usize, data: &[(usize, usize)]) {
        let samples =
            self.runs.get_mut(run).map_or(&mut [][..], |run| run.samples.get_mut(start..).unwrap_or_default());
        let inside =
            |sample: &Sample| data.iter().any(|&(from, to)| sample.at >= from && sample.at + sample.bytes <= to);
        let outside = samples.iter().filter(|sample| sample.bytes > 0 && !inside(sample)).count();
        if outside > 0 {
            note(&mut self.faults, format!("{outside} samples lie outside of the media data of the segment"));
        }
    }

    /// Vectors and subsamples of a protected track.
    fn seal(&mut self, run: usize, start: usize, track: &Track, atoms: &[Atom<'_>], moof: &Atom<'_>) {
        let Some(protection) = track.protection.as_ref().filter(|protection| protection.protected) else { return };
        let senc = atoms.iter().find(|atom| atom.name == *b"senc");
        let Some(senc) = senc else {
            let needed = protection.iv_size > 0;
            if needed {
                note(&mut self.seals, format!("track {} is encrypted and its samples have no vectors", track.id));
            }
            return;
        };
        let Some(covers) = protection::covers(senc.body, protection.iv_size) else {
            return note(&mut self.seals, "`senc` is shorter than it says");
        };
        if let Some(saio) = atoms.iter().find(|atom| atom.name == *b"saio")
            && let Some(place) = offset(saio.body)
        {
            // Past the header, the flags and the count of `senc`; the body of a moof begins after its header.
            let expected = moof_offset(moof, atoms, senc);
            if let Some(expected) = expected
                && place != expected
            {
                note(
                    &mut self.seals,
                    format!("`saio` points to byte {place} of the fragment, `senc` is at {expected}"),
                );
            }
        }
        let samples =
            self.runs.get_mut(run).map_or(&mut [][..], |run| run.samples.get_mut(start..).unwrap_or_default());
        if !covers.is_empty() && covers.len() != samples.len() {
            let what = format!("`senc` has {} entries for {} samples", covers.len(), samples.len());
            return note(&mut self.seals, what);
        }
        let mut wrong = 0;
        for (sample, cover) in samples.iter_mut().zip(covers) {
            let sum: u64 = cover.parts.iter().map(|&(clear, sealed)| u64::from(clear) + u64::from(sealed)).sum();
            if !cover.parts.is_empty() && sum != sample.bytes as u64 {
                wrong += 1;
            } else {
                sample.cover = cover;
            }
        }
        if wrong > 0 {
            note(&mut self.seals, format!("the parts of {wrong} samples do not add up to their size"));
        }
    }

    fn index(&mut self, atom: &Atom<'_>) {
        let read = || {
            let mut sidx = Cursor(atom.body);
            let (version, _) = sidx.full()?;
            sidx.u32()?;
            let timescale = sidx.u32()?;
            let earliest = i128::from(sidx.time(version)?);
            let offset = sidx.time(version)?;
            sidx.u16()?;
            let (mut bytes, mut length) = (0, 0);
            for _ in 0..sidx.u16()? {
                bytes += u64::from(sidx.u32()? & 0x7fff_ffff);
                length += i128::from(sidx.u32()?);
                sidx.u32()?;
            }
            let end = atom.body_at + atom.body.len();
            Some((end.checked_add(usize::try_from(offset).ok()?)?, bytes, earliest, length, timescale))
        };
        match read() {
            Some(index) if self.indexes.len() < 64 => self.indexes.push(index),
            Some(_) => {}
            None => note(&mut self.faults, "`sidx` is shorter than it says"),
        }
    }

    /// `sidx` must tell the truth of the segment that it is in.
    fn check_indexes(&mut self, length: usize, init: &Init) {
        // With several, the first is an index of the others.
        let [(start, bytes, earliest, duration, timescale)] = self.indexes.as_slice() else { return };
        let rest = length.saturating_sub(*start) as u64;
        if *bytes != rest {
            note(&mut self.faults, format!("`sidx` counts {bytes} bytes, and {rest} follow"));
        }
        let run = self.runs.iter().find(|run| init.track(run.track).is_some_and(Track::is_video)).or(self.runs.first());
        let Some((run, track)) = run.and_then(|run| Some((run, init.track(run.track)?))) else { return };
        let (start, end) = (super::ticks(*earliest, *timescale), super::ticks(earliest + duration, *timescale));
        let edit = super::ticks(i128::from(track.edit), track.timescale);
        let real =
            run.samples.iter().map(|sample| sample.pts).min().zip(run.samples.iter().map(|sample| sample.end).max());
        let Some((first, last)) = real else { return };
        // Some count from before the edit, some from after it.
        let near = |one: i64, two: i64| (one - two).abs() <= 9000 || (one - edit - two).abs() <= 9000;
        if !near(start, first) || !near(end, last) {
            let what = format!(
                "`sidx` tells of {:.3} to {:.3} s, the samples are {:.3} to {:.3} s",
                seconds(start),
                seconds(end),
                seconds(first),
                seconds(last)
            );
            note(&mut self.faults, what);
        }
    }
}

fn seconds(ticks: i64) -> f64 {
    crate::job::verify::picture_rules::in_seconds(ticks)
}

/// The first offset of a `saio` box.
fn offset(saio: &[u8]) -> Option<u64> {
    let mut saio = Cursor(saio);
    let (version, flags) = saio.full()?;
    if flags & 1 != 0 {
        saio.u64()?;
    }
    if saio.u32()? != 1 {
        return None;
    }
    saio.time(version)
}

/// Where the entries of `senc` are, from the start of the fragment.
fn moof_offset(moof: &Atom<'_>, atoms: &[Atom<'_>], senc: &Atom<'_>) -> Option<u64> {
    let traf = boxes(moof.body).0.into_iter().find(|atom| {
        let first = child(atom.body, *b"tfhd").map(|tfhd| tfhd.body.as_ptr());
        atom.name == *b"traf"
            && first.is_some()
            && first == atoms.iter().find(|atom| atom.name == *b"tfhd").map(|tfhd| tfhd.body.as_ptr())
    })?;
    let header = moof.body_at - moof.at;
    u64::try_from(header + traf.body_at + senc.body_at + 8).ok()
}
