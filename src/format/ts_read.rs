//! Looks into MPEG transport streams: packets, tables, counters, and the time
//! of every access unit. Takes bytes as they come and keeps only facts.

use std::collections::BTreeMap;

use super::adts;
use super::sps::Sps;

/// Bytes of a packet.
pub const PACKET: usize = 188;

/// Ticks of a time stamp in a second.
pub const CLOCK: i64 = 90_000;

/// The PID of the service description.
const SDT: u16 = 0x11;

/// Faults of one kind that are kept in words; more are only counted.
const KEPT_FAULTS: usize = 5;

/// Bytes of one PES packet that are kept: a picture's start is enough, audio is never longer.
const KEPT_PES: usize = 1 << 20;

/// Access units of one stream that are kept: an hour of AAC, so no honest segment has more.
const KEPT_UNITS: usize = 200_000;

/// Everything that was seen in one segment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Segment {
    /// All bytes.
    pub bytes: u64,
    /// What makes it no whole, correct transport stream.
    pub faults: Vec<String>,
    /// Places where a continuity counter does not follow the one before.
    pub jumps: Vec<String>,
    /// Whether a table has a wrong checksum, so that the streams may be seen in part.
    pub tables_damaged: bool,
    /// Whether the first packet is the PAT and the second the PMT.
    pub tables_first: bool,
    /// Elementary streams, in the order of the PMT.
    pub streams: Vec<Stream>,
    /// First and last continuity counter by PID.
    pub counters: BTreeMap<u16, Counter>,
    /// The name that the service description gives, unless it is a muxer's own.
    pub service: Option<String>,
}

/// The continuity counters of one PID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// Of the first packet with a payload.
    pub first: u8,
    /// Of the last one.
    pub last: u8,
    /// Whether the first packet says that the counter starts anew.
    pub restarts: bool,
    repeated: bool,
}

/// One elementary stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stream {
    /// Its PID.
    pub pid: u16,
    /// Its stream type: 0x1b H.264, 0x0f AAC in ADTS.
    pub kind: u8,
    /// Its PES packets, in the order of the file.
    pub units: Vec<Unit>,
    /// The first parameter set of H.264.
    pub sps: Option<Sps>,
    /// Whether later parameter sets differ from the first in what this reader sees.
    pub sps_changes: bool,
    /// Whether SPS and PPS stand before the first picture.
    pub sps_first: bool,
    /// The first ADTS header.
    pub adts: Option<adts::Header>,
    /// Complete ADTS frames.
    pub frames: u64,
    pending: Vec<u8>,
    lost_sync: bool,
}

/// One PES packet: a picture, or some frames of audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Presentation time in ticks, made to run on past 2^33 within the segment.
    pub pts: i64,
    /// Decoding time in ticks.
    pub dts: i64,
    /// Whether its first slice is an IDR.
    pub idr: bool,
}

impl Stream {
    /// Whether it is a picture that players know.
    pub fn is_video(&self) -> bool {
        matches!(self.kind, 0x01 | 0x02 | 0x10 | 0x1b | 0x24 | 0xdb)
    }

    /// Whether it is sound that players know.
    pub fn is_audio(&self) -> bool {
        matches!(self.kind, 0x03 | 0x04 | 0x0f | 0x11 | 0x81 | 0x87 | 0xc1 | 0xc2 | 0xcf)
    }

    /// Whether it is H.264, encrypted or not.
    pub fn is_h264(&self) -> bool {
        matches!(self.kind, 0x1b | 0xdb)
    }

    /// Whether its samples are encrypted one by one.
    pub fn is_sealed(&self) -> bool {
        matches!(self.kind, 0xdb | 0xc1 | 0xc2 | 0xcf)
    }
}

/// Reads one segment.
#[derive(Default)]
pub struct Inspector {
    segment: Segment,
    partial: Vec<u8>,
    packets: u64,
    hidden_faults: usize,
    hidden_jumps: usize,
    pmt_pid: Option<u16>,
    has_pmt: bool,
    sections: BTreeMap<u16, Vec<u8>>,
    packet_of_pid: BTreeMap<u16, Vec<u8>>,
    first_pids: Vec<u16>,
}

impl Inspector {
    /// Takes the next bytes, cut anywhere.
    pub fn push(&mut self, mut bytes: &[u8]) {
        self.segment.bytes += bytes.len() as u64;
        if !self.partial.is_empty() {
            let (head, rest) = bytes.split_at(bytes.len().min(PACKET - self.partial.len()));
            self.partial.extend_from_slice(head);
            bytes = rest;
            if self.partial.len() == PACKET {
                let packet = std::mem::take(&mut self.partial);
                self.packet(&packet);
            }
        }
        let mut packets = bytes.chunks_exact(PACKET);
        for packet in packets.by_ref() {
            self.packet(packet);
        }
        self.partial.extend_from_slice(packets.remainder());
    }

    /// Ends the segment and gives what was seen.
    pub fn finish(mut self) -> Segment {
        if !self.partial.is_empty() {
            let what = format!("the last packet has {} of {PACKET} bytes", self.partial.len());
            self.fault(what);
        }
        if self.packets == 0 {
            self.fault("there is no packet".into());
        } else if self.pmt_pid.is_none() {
            self.fault("there is no program association table".into());
        } else if !self.has_pmt {
            self.fault("there is no program map table".into());
        }
        for pid in self.packet_of_pid.keys().copied().collect::<Vec<_>>() {
            self.end_pes(pid);
        }
        let Self { mut segment, hidden_faults, hidden_jumps, first_pids, pmt_pid, .. } = self;
        for (list, hidden) in [(&mut segment.faults, hidden_faults), (&mut segment.jumps, hidden_jumps)] {
            if hidden > 0 {
                list.push(format!("and {hidden} more like these"));
            }
        }
        segment.tables_first =
            first_pids.first() == Some(&0) && pmt_pid.is_some() && first_pids.get(1) == pmt_pid.as_ref();
        segment
    }

    fn packet(&mut self, packet: &[u8]) {
        let number = self.packets;
        self.packets += 1;
        let &[sync, high, low, flags, ref rest @ ..] = packet else { return };
        if sync != 0x47 {
            return self.fault(format!("packet {number} does not begin with the sync byte"));
        }
        let pid = u16::from(high & 0x1f) << 8 | u16::from(low);
        if self.first_pids.len() < 2 {
            self.first_pids.push(pid);
        }
        if high & 0x80 != 0 {
            self.fault(format!("packet {number} is marked as damaged"));
        }
        if flags & 0xc0 != 0 {
            self.fault(format!("packet {number} is scrambled"));
        }
        // The null packet carries nothing and counts nothing.
        if pid == 0x1fff {
            return;
        }
        let adapted = flags & 0x20 != 0;
        let room = rest.first().copied().map_or(0, usize::from);
        if adapted && room > PACKET - 5 {
            return self.fault(format!("packet {number} has an adaptation field longer than itself"));
        }
        let restarts = adapted && room > 0 && rest.get(1).is_some_and(|bits| bits & 0x80 != 0);
        if flags & 0x10 == 0 {
            return;
        }
        let repeated = self.count(pid, flags & 0x0f, restarts, number);
        let payload = if adapted { rest.get(room + 1..) } else { Some(rest) };
        if let (false, Some(payload)) = (repeated, payload) {
            self.payload(pid, payload, high & 0x40 != 0);
        }
    }

    /// Follows the continuity counter; answers whether the packet is the allowed repetition of the one before.
    fn count(&mut self, pid: u16, counter: u8, restarts: bool, number: u64) -> bool {
        let Some(seen) = self.segment.counters.get_mut(&pid) else {
            let first = Counter { first: counter, last: counter, restarts, repeated: false };
            self.segment.counters.insert(pid, first);
            return false;
        };
        let (last, again) = (seen.last, seen.last == counter && !seen.repeated);
        seen.last = counter;
        seen.repeated = again;
        if again || restarts || counter == (last + 1) % 16 {
            return again;
        }
        if self.segment.jumps.len() < KEPT_FAULTS {
            self.segment.jumps.push(format!("PID {pid} goes from {last} to {counter} at packet {number}"));
        } else {
            self.hidden_jumps += 1;
        }
        false
    }

    fn payload(&mut self, pid: u16, payload: &[u8], starts: bool) {
        if pid == 0 || pid == SDT || Some(pid) == self.pmt_pid {
            self.section(pid, payload, starts);
        } else if self.segment.streams.iter().any(|stream| stream.pid == pid) {
            if starts {
                self.end_pes(pid);
                self.packet_of_pid.insert(pid, payload.to_vec());
            } else if let Some(pes) = self.packet_of_pid.get_mut(&pid)
                && pes.len() < KEPT_PES
            {
                pes.extend_from_slice(payload);
            }
        }
    }

    /// Puts a table together and reads it once it is whole.
    fn section(&mut self, pid: u16, payload: &[u8], starts: bool) {
        if starts {
            let pointer = payload.first().copied().map_or(0, usize::from);
            let begun = payload.get(1 + pointer..).unwrap_or_default().to_vec();
            self.sections.insert(pid, begun);
        } else if let Some(section) = self.sections.get_mut(&pid) {
            section.extend_from_slice(payload);
        }
        let Some(section) = self.sections.get(&pid) else { return };
        let &[table, high, low, ..] = section.as_slice() else { return };
        let length = 3 + (usize::from(high & 0x0f) << 8 | usize::from(low));
        let Some(whole) = section.get(..length).map(<[u8]>::to_vec) else { return };
        self.sections.remove(&pid);
        if pid == SDT {
            return self.describe(&whole);
        }
        let (name, expected) = if pid == 0 { ("association", 0) } else { ("map", 2) };
        if table != expected {
            return;
        }
        if crc32(&whole) != 0 {
            self.segment.tables_damaged = true;
            return self.fault(format!("the checksum of the program {name} table is wrong"));
        }
        // Eight bytes of header before, four of checksum after.
        let body = whole.get(8..length.saturating_sub(4)).unwrap_or_default();
        if pid == 0 { self.association(body) } else { self.map(body) }
    }

    /// Looks for a service's name, in which muxers put the title of a file.
    fn describe(&mut self, table: &[u8]) {
        let read = || {
            // One service: eleven bytes of header, five of the entry, then descriptors.
            let descriptors = table.get(16..)?;
            let &[0x48, _, _, provider, ref rest @ ..] = descriptors else { return None };
            let &[length, ref rest @ ..] = rest.get(usize::from(provider)..)? else { return None };
            Some(String::from_utf8_lossy(rest.get(..usize::from(length))?).into_owned())
        };
        let own = |name: &String| name.is_empty() || name.starts_with("Service");
        self.segment.service = self.segment.service.take().or(read().filter(|name| !own(name)));
    }

    fn association(&mut self, body: &[u8]) {
        // Program 0 is the network's own table.
        let mut programs = body.chunks_exact(4).filter(|entry| entry.get(..2) != Some(&[0, 0]));
        let Some(&[_, _, high, low]) = programs.next() else {
            return self.fault("the program association table names no program".into());
        };
        if programs.next().is_some() {
            self.fault("there is more than one program".into());
        }
        let pid = u16::from(high & 0x1f) << 8 | u16::from(low);
        if self.pmt_pid.is_some_and(|before| before != pid) {
            self.fault("the program moves to another PID".into());
        }
        self.pmt_pid = Some(pid);
    }

    fn map(&mut self, body: &[u8]) {
        let &[_, _, high, low, ref rest @ ..] = body else { return };
        let mut rest = rest.get(usize::from(high & 0x0f) << 8 | usize::from(low)..).unwrap_or_default();
        let mut found = Vec::new();
        while let &[kind, pid_high, pid_low, high, low, ref after @ ..] = rest {
            found.push((u16::from(pid_high & 0x1f) << 8 | u16::from(pid_low), kind));
            rest = after.get(usize::from(high & 0x0f) << 8 | usize::from(low)..).unwrap_or_default();
        }
        if !self.has_pmt {
            self.segment.streams =
                found.into_iter().map(|(pid, kind)| Stream { pid, kind, ..Stream::default() }).collect();
            self.has_pmt = true;
        } else if !found.iter().copied().eq(self.segment.streams.iter().map(|stream| (stream.pid, stream.kind))) {
            self.fault("the streams change within the segment".into());
        }
    }

    fn end_pes(&mut self, pid: u16) {
        let Some(pes) = self.packet_of_pid.remove(&pid) else { return };
        let Some(stream) = self.segment.streams.iter_mut().find(|stream| stream.pid == pid) else { return };
        if let Err(what) = stream.pes(&pes) {
            self.fault(format!("PID {pid}: {what}"));
        }
    }

    fn fault(&mut self, what: String) {
        if self.segment.faults.len() < KEPT_FAULTS {
            self.segment.faults.push(what);
        } else {
            self.hidden_faults += 1;
        }
    }
}

impl Stream {
    fn pes(&mut self, pes: &[u8]) -> Result<(), String> {
        let &[0, 0, 1, _, length_high, length_low, _, flags, header, ref rest @ ..] = pes else {
            return Err("a PES packet has no start code".into());
        };
        let payload = rest.get(usize::from(header)..).ok_or("a PES header is longer than its packet")?;
        let declared = usize::from(length_high) << 8 | usize::from(length_low);
        if declared > 0 && pes.len() < KEPT_PES && pes.len() < declared + 6 {
            return Err(format!("a PES packet has {} of {} bytes", pes.len(), declared + 6));
        }
        let pts = (flags & 0x80 != 0).then(|| rest.get(..5).and_then(stamp)).flatten();
        let dts = (flags & 0x40 != 0).then(|| rest.get(5..10).and_then(stamp)).flatten().or(pts);
        let (Some(pts), Some(dts)) = (pts, dts) else { return Err("a PES packet has no time stamp".into()) };
        let before = self.units.last().map_or(dts, |unit| unit.dts);
        let dts = near(before, dts);
        let mut unit = Unit { pts: near(dts, pts), dts, idr: false };
        match self.kind {
            0x1b | 0xdb => unit.idr = self.picture(payload),
            0x0f | 0xcf => self.sound(payload)?,
            _ => {}
        }
        if self.units.len() < KEPT_UNITS {
            self.units.push(unit);
        }
        Ok(())
    }

    /// Reads NAL units up to the first slice; answers whether that is an IDR.
    fn picture(&mut self, payload: &[u8]) -> bool {
        let (mut sequence_set, mut pictures_set) = (false, false);
        for nal in nal_units(payload) {
            match nal.first().map_or(0, |header| header & 0x1f) {
                kind @ 1..=5 => {
                    if self.units.is_empty() {
                        self.sps_first = sequence_set && pictures_set;
                    }
                    return kind == 5;
                }
                7 => {
                    sequence_set = true;
                    let sps = Sps::read(nal);
                    if self.sps.is_none() {
                        self.sps = sps;
                    } else if self.sps != sps {
                        self.sps_changes = true;
                    }
                }
                8 => pictures_set = true,
                _ => {}
            }
        }
        false
    }

    /// Counts ADTS frames, which may be cut by the edges of PES packets.
    fn sound(&mut self, payload: &[u8]) -> Result<(), String> {
        if self.lost_sync {
            return Ok(());
        }
        self.pending.extend_from_slice(payload);
        let mut rest = self.pending.as_slice();
        while rest.len() >= adts::LENGTH {
            let Some(header) = adts::Header::read(rest) else {
                self.lost_sync = true;
                return Err("the AAC frames lose their sync".into());
            };
            let Some(after) = rest.get(header.length..) else { break };
            self.adts.get_or_insert(header);
            self.frames += 1;
            rest = after;
        }
        self.pending = rest.to_vec();
        Ok(())
    }
}

/// A 33-bit time stamp.
fn stamp(bytes: &[u8]) -> Option<i64> {
    let &[top, high, middle, low, bottom] = bytes else { return None };
    let parts = [(top >> 1 & 7, 30), (high, 22), (middle >> 1, 15), (low, 7), (bottom >> 1, 0)];
    Some(parts.into_iter().fold(0, |stamp, (bits, shift)| stamp | i64::from(bits) << shift))
}

/// The time nearest to `before` that has the 33 bits of `stamp`.
pub fn near(before: i64, stamp: i64) -> i64 {
    const TURN: i64 = 1 << 33;
    before + (stamp - before + TURN / 2).rem_euclid(TURN) - TURN / 2
}

/// What follows each start code, up to the end of `bytes`: nobody here needs the end of a unit.
fn nal_units(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        rest = rest.get(start_code(rest)? + 3..)?;
        Some(rest)
    })
}

/// Where the next 0 0 1 is.
fn start_code(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(&[first, second, third]) = bytes.get(at..at + 3) {
        if third > 1 {
            at += 3;
        } else if (first, second, third) == (0, 0, 1) {
            return Some(at);
        } else {
            at += 1;
        }
    }
    None
}

/// The checksum of tables. Over a table with its checksum it is 0.
pub fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(
            crc ^ u32::from(byte) << 24,
            |crc, _| {
                if crc & 1 << 31 == 0 { crc << 1 } else { crc << 1 ^ 0x04c1_1db7 }
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPS: &str = "6742c01ed900a02ff97011000003000100000300320f162e48";
    const PMT: u16 = 0x1000;
    const VIDEO: u16 = 0x100;
    const AUDIO: u16 = 0x101;

    /// Writes packets as a muxer does.
    #[derive(Default)]
    struct Writer {
        bytes: Vec<u8>,
        counters: BTreeMap<u16, u8>,
    }

    impl Writer {
        fn payload(&mut self, pid: u16, payload: &[u8]) {
            for (at, part) in payload.chunks(PACKET - 6).enumerate() {
                let counter = self.counters.entry(pid).or_default();
                let high = u8::try_from(pid >> 8).unwrap() | if at == 0 { 0x40 } else { 0 };
                let room = PACKET - 5 - part.len();
                self.bytes.extend([0x47, high, pid.to_le_bytes()[0], 0x30 | *counter, u8::try_from(room).unwrap(), 0]);
                self.bytes.resize(self.bytes.len() + room - 1, 0xff);
                self.bytes.extend(part);
                *counter = (*counter + 1) % 16;
            }
        }

        fn table(&mut self, pid: u16, id: u8, body: &[u8]) {
            let length = u8::try_from(body.len() + 9).unwrap();
            let mut section = vec![id, 0xb0, length, 0, 1, 0xc1, 0, 0];
            section.extend(body);
            section.extend(crc32(&section).to_be_bytes());
            section.insert(0, 0);
            self.payload(pid, &section);
        }

        fn pes(&mut self, pid: u16, pts: i64, dts: i64, payload: &[u8]) {
            let mut pes = vec![0, 0, 1, 0xe0, 0, 0, 0x80, 0xc0, 10];
            for (mark, time) in [(0x31, pts), (0x11, dts)] {
                let part = |shift: i64, mask: i64| u8::try_from(time >> shift & mask).unwrap();
                pes.extend([mark | part(30, 7) << 1, part(22, 255), part(15, 127) << 1 | 1, part(7, 255)]);
                pes.push(part(0, 127) << 1 | 1);
            }
            pes.extend(payload);
            self.payload(pid, &pes);
        }
    }

    fn tables() -> Writer {
        let mut writer = Writer::default();
        writer.table(0, 0, &[0, 1, 0xf0, 0]);
        writer.table(PMT, 2, &[0xe1, 0, 0xf0, 0, 0x1b, 0xe1, 0, 0xf0, 0, 0x0f, 0xe1, 1, 0xf0, 0]);
        writer
    }

    fn picture(idr: bool) -> Vec<u8> {
        let mut bytes = vec![0, 0, 0, 1, 9, 0xf0];
        if idr {
            bytes.extend([0, 0, 0, 1]);
            bytes.extend(hex::decode(SPS).unwrap());
            bytes.extend([0, 0, 0, 1, 0x68, 0xce, 0, 0, 1, 0x65]);
        } else {
            bytes.extend([0, 0, 1, 0x41]);
        }
        bytes.resize(700, 0x55);
        bytes
    }

    fn sound(frames: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..frames {
            bytes.extend([0xff, 0xf1, 0x4c, 0x80, 0x04, 0x1f, 0xfc]);
            bytes.resize(bytes.len() + 25, 0x11);
        }
        bytes
    }

    fn good() -> Writer {
        let mut writer = tables();
        writer.pes(VIDEO, 7200, 0, &picture(true));
        writer.pes(AUDIO, 7200, 7200, &sound(3));
        writer.pes(VIDEO, 18_000, 3600, &picture(false));
        writer.pes(VIDEO, 10_800, 7200, &picture(false));
        writer
    }

    fn read(bytes: &[u8], step: usize) -> Segment {
        let mut inspector = Inspector::default();
        bytes.chunks(step).for_each(|part| inspector.push(part));
        inspector.finish()
    }

    #[test]
    fn everything_in_a_good_segment_is_seen() {
        let bytes = good().bytes;
        let segment = read(&bytes, 188);
        assert_eq!((segment.faults.as_slice(), segment.jumps.as_slice()), (&[][..], &[][..]));
        assert!(segment.tables_first);
        let [video, audio] = segment.streams.as_slice() else { panic!("{:?}", segment.streams) };
        let units: Vec<_> = video.units.iter().map(|unit| (unit.pts, unit.dts, unit.idr)).collect();
        assert_eq!(units, [(7200, 0, true), (18_000, 3600, false), (10_800, 7200, false)]);
        assert!(video.sps_first && video.sps.as_ref().is_some_and(|sps| sps.width == 640));
        assert_eq!((audio.frames, audio.adts.map(|header| header.sample_rate)), (3, Some(48_000)));
        assert_eq!(segment.counters[&0], Counter { first: 0, last: 0, restarts: false, repeated: false });
        for step in [1, 7, 187, 189, 100_000] {
            assert_eq!(read(&bytes, step), segment, "fed by {step}");
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Vec<u8>), fault: &str) {
        let mut bytes = good().bytes;
        change(&mut bytes);
        let segment = read(&bytes, 1000);
        let all = [segment.faults, segment.jumps].concat();
        assert!(all.iter().any(|what| what.contains(fault)), "{fault:?} is not among {all:?}");
    }

    #[test]
    fn damage_is_named() {
        check(|bytes| bytes.truncate(1000), "the last packet has 60 of 188 bytes");
        check(Vec::clear, "no packet");
        check(|bytes| bytes[188 * 3] = 0, "packet 3 does not begin with the sync byte");
        check(|bytes| bytes[187] ^= 1, "checksum of the program association table");
        check(|bytes| bytes[188 * 2 - 9] ^= 1, "checksum of the program map table");
        check(|bytes| drop(bytes.drain(..188)), "no program association table");
        check(|bytes| drop(bytes.drain(188..376)), "no program map table");
        check(|bytes| drop(bytes.drain(188 * 3..188 * 4)), "PID 256 goes from 0 to 2 at packet 3");
        check(|bytes| bytes[188 * 3 + 3] |= 0x80, "scrambled");
        check(|bytes| bytes[188 * 3 + 4] = 255, "longer than itself");
        check(|bytes| bytes.extend(tables().bytes.repeat(2)), "PID 0 goes from 0 to 0");
    }

    #[test]
    fn one_repeated_packet_is_allowed() {
        let mut bytes = good().bytes;
        let third = bytes[376..564].to_vec();
        bytes.splice(376..376, third.clone());
        assert_eq!(read(&bytes, 188).jumps, Vec::<String>::new());
        bytes.splice(376..376, third);
        assert_eq!(read(&bytes, 188).jumps.len(), 1);
    }

    #[test]
    fn time_runs_on_past_its_33_bits() {
        let top = (1_i64 << 33) - 3600;
        let mut writer = tables();
        for (time, idr) in [(top, true), (0, false), (3600, false)] {
            writer.pes(VIDEO, time, time, &picture(idr));
        }
        let units = read(&writer.bytes, 188).streams[0].units.clone();
        assert_eq!(units.iter().map(|unit| unit.pts - top).collect::<Vec<_>>(), [0, 3600, 7200]);
    }

    #[test]
    fn noise_is_read_without_a_panic() {
        let mut state = 1_u32;
        for round in 0..200 {
            let mut bytes = good().bytes;
            for _ in 0..50 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = usize::try_from(state >> 8).unwrap() % bytes.len();
                bytes[at] = state.to_le_bytes()[0];
            }
            read(&bytes, round + 1);
        }
    }
}
