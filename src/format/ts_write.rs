//! Writes one segment of MPEG-TS (ISO/IEC 13818-1) with one elementary stream.
//!
//! Continuity counters must run on from segment to segment (RFC 8216 §3, as
//! ISO/IEC 13818-1 2.4.3.3 has them), although segments are made apart, on any
//! machine, in any order. So each segment is made self-contained: the tables
//! stand once at its head, with the segment's number as their counter, and the
//! stream's packets are padded to a multiple of 16, so that it begins at 0 and
//! ends at 15 in every segment. Padding splits a packet in two, since packets
//! without payload do not count.

const PACKET: usize = 188;
const PAYLOAD: usize = 184;
const PMT_PID: u16 = 0x1000;
const STREAM_PID: u16 = 0x0100;

/// 90 kHz ticks before the first picture, so that decoding times and clock
/// references, which come before it, are never negative. All renditions share it.
pub const FIRST_TICK: u64 = 900_000;

/// Clock references are this far ahead of decoding: time for a decoder to
/// collect the largest picture.
const CLOCK_LEAD: u64 = 45_000;

/// Ticks are 33 bits long (ISO/IEC 13818-1, 2.4.3.7).
const TICK_MASK: u64 = (1 << 33) - 1;

/// What the stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// H.264 access units of Annex B.
    H264,
    /// AAC frames with ADTS headers.
    Aac,
}

/// One access unit, or several AAC frames that share a header.
#[derive(Clone, Debug)]
pub struct Unit {
    /// Presentation time in 90 kHz ticks.
    pub pts: u64,
    /// Decoding time in 90 kHz ticks.
    pub dts: u64,
    /// Whether decoding can begin here.
    pub key: bool,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// The bytes of segment number `segment`.
pub fn segment(kind: Kind, segment: u64, units: &[Unit]) -> Vec<u8> {
    let sizes: usize = units.iter().map(|unit| unit.bytes.len()).sum();
    let mut writer = Writer { out: Vec::with_capacity(sizes + sizes / 20 + 32 * PACKET), counter: 0, splits: 0 };
    let tables = u8::try_from(segment % 16).expect("a remainder of 16 fits");
    writer.table(0, tables, &pat());
    writer.table(PMT_PID, tables, &pmt(kind));
    let packets: usize = units.iter().map(|unit| packets_of(kind, unit)).sum();
    writer.splits = (16 - packets % 16) % 16;
    for unit in units {
        writer.unit(kind, unit);
    }
    writer.out
}

/// How many bytes of a segment hold its tables and its first unit.
pub fn first_unit(segment: &[u8]) -> usize {
    let starts = segment.chunks(PACKET).enumerate().filter(|(_, packet)| {
        let pid = [packet.get(1).map_or(0, |high| high & 0x1f), packet.get(2).copied().unwrap_or_default()];
        u16::from_be_bytes(pid) == STREAM_PID && packet.get(1).is_some_and(|flags| flags & 0x40 != 0)
    });
    starts.map(|(number, _)| number * PACKET).nth(1).unwrap_or(segment.len())
}

struct Writer {
    out: Vec<u8>,
    /// Continuity counter of the next packet of the stream.
    counter: u8,
    /// Packets still to be split in two.
    splits: usize,
}

impl Writer {
    fn table(&mut self, pid: u16, counter: u8, section: &[u8]) {
        let [high, low] = pid.to_be_bytes();
        self.out.extend_from_slice(&[0x47, 0x40 | high, low, 0x10 | counter, 0]);
        self.out.extend_from_slice(section);
        self.out.resize(self.out.len() + PACKET - 5 - section.len(), 0xff);
    }

    fn unit(&mut self, kind: Kind, unit: &Unit) {
        let header = pes_header(kind, unit);
        let clock = clock_field(unit);
        let mut payload = header.iter().chain(&unit.bytes).copied();
        let mut left = header.len() + unit.bytes.len();
        let mut field = clock.as_slice();
        let mut first = true;
        while left > 0 {
            let mut size = room(field).min(left);
            left -= size;
            // What would fill one packet is spread over as many as padding asks for.
            let splits = self.splits.min(size - 1);
            self.splits -= splits;
            for pieces in (1..=splits + 1).rev() {
                let piece = size / pieces;
                self.packet(first, field, piece, &mut payload);
                size -= piece;
                (field, first) = (&[], false);
            }
        }
    }

    /// One packet with `size` bytes of payload; what is short is stuffed.
    fn packet(&mut self, first: bool, field: &[u8], size: usize, payload: &mut impl Iterator<Item = u8>) {
        let adaptation = !field.is_empty() || size < PAYLOAD;
        let [high, low] = STREAM_PID.to_be_bytes();
        let start = if first { 0x40 } else { 0 };
        let control = if adaptation { 0x30 } else { 0x10 };
        self.out.extend_from_slice(&[0x47, start | high, low, control | self.counter]);
        self.counter = (self.counter + 1) % 16;
        if adaptation {
            // The length counts what follows it; a length of 0 is one byte of stuffing.
            let length = PAYLOAD - size - 1;
            self.out.push(u8::try_from(length).expect("shorter than a packet"));
            let end = self.out.len() + length;
            if field.is_empty() && length > 0 {
                self.out.push(0);
            }
            self.out.extend_from_slice(field);
            self.out.resize(end, 0xff);
        }
        self.out.extend(payload.take(size));
    }
}

/// Payload that fits beside an adaptation field, which has a byte of length before it.
fn room(field: &[u8]) -> usize {
    if field.is_empty() { PAYLOAD } else { PAYLOAD - 1 - field.len() }
}

/// How many packets a unit takes without padding.
fn packets_of(kind: Kind, unit: &Unit) -> usize {
    let bytes = pes_header(kind, unit).len() + unit.bytes.len();
    let first = room(&clock_field(unit));
    1 + bytes.saturating_sub(first).div_ceil(PAYLOAD)
}

/// The adaptation field of a unit's first packet behind its length: flags and the clock reference.
fn clock_field(unit: &Unit) -> Vec<u8> {
    let clock = unit.dts.saturating_sub(CLOCK_LEAD) & TICK_MASK;
    // random_access_indicator, PCR_flag.
    let flags = if unit.key { 0x50 } else { 0x10 };
    let base = (clock << 15 | 0x7e00).to_be_bytes();
    let mut field = vec![flags];
    field.extend_from_slice(base.get(2..).unwrap_or_default());
    field
}

fn pes_header(kind: Kind, unit: &Unit) -> Vec<u8> {
    let with_dts = unit.pts != unit.dts;
    let stamps = if with_dts { 10 } else { 5 };
    let (stream, length) = match kind {
        // A picture may be longer than 16 bits say; 0 is allowed for video only.
        Kind::H264 => (0xe0, 0),
        Kind::Aac => (0xc0, u16::try_from(unit.bytes.len() + 3 + stamps).unwrap_or(0)),
    };
    let [high, low] = length.to_be_bytes();
    // data_alignment_indicator: a unit begins right after the header.
    let mut header =
        vec![0, 0, 1, stream, high, low, 0x84, if with_dts { 0xc0 } else { 0x80 }, if with_dts { 10 } else { 5 }];
    header.extend(stamp(if with_dts { 3 } else { 2 }, unit.pts));
    if with_dts {
        header.extend(stamp(1, unit.dts));
    }
    header
}

/// A 33-bit time stamp in five bytes with its marker bits.
fn stamp(prefix: u8, ticks: u64) -> [u8; 5] {
    let ticks = ticks & TICK_MASK;
    let bits = |from: u32, mask: u64| u8::try_from(ticks >> from & mask).expect("masked to a byte");
    [prefix << 4 | bits(30, 7) << 1 | 1, bits(22, 0xff), bits(15, 0x7f) << 1 | 1, bits(7, 0xff), bits(0, 0x7f) << 1 | 1]
}

fn pat() -> Vec<u8> {
    let [high, low] = PMT_PID.to_be_bytes();
    section(0, &[0, 1, 0xe0 | high, low])
}

fn pmt(kind: Kind) -> Vec<u8> {
    let [high, low] = STREAM_PID.to_be_bytes();
    let stream_type = match kind {
        Kind::H264 => 0x1b,
        Kind::Aac => 0x0f,
    };
    section(2, &[0xe0 | high, low, 0xf0, 0, stream_type, 0xe0 | high, low, 0xf0, 0])
}

/// A section of program 1 (or transport stream 1), with its CRC.
fn section(table: u8, body: &[u8]) -> Vec<u8> {
    let length = u8::try_from(body.len() + 9).expect("our tables are short");
    let mut bytes = vec![table, 0xb0, length, 0, 1, 0xc1, 0, 0];
    bytes.extend_from_slice(body);
    let crc = crc32(&bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes
}

/// CRC-32/MPEG-2 (ISO/IEC 13818-1, annex A).
fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8)
            .fold(crc ^ u32::from(byte) << 24, |crc, _| if crc >> 31 == 1 { crc << 1 ^ 0x04c1_1db7 } else { crc << 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(number: u64, bytes: usize) -> Unit {
        let ticks = FIRST_TICK + number * 3600;
        Unit {
            pts: ticks + 3600,
            dts: ticks,
            key: number == 0,
            bytes: vec![u8::try_from(number % 251).unwrap(); bytes],
        }
    }

    /// Payload of the stream's packets, and their counters.
    fn unpack(segment: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let (mut payload, mut counters) = (Vec::new(), Vec::new());
        for packet in segment.chunks(PACKET) {
            assert_eq!((packet.len(), packet[0]), (PACKET, 0x47));
            if u16::from_be_bytes([packet[1] & 0x1f, packet[2]]) == STREAM_PID {
                counters.push(packet[3] & 15);
                let from = if packet[3] & 0x20 == 0 { 4 } else { 5 + usize::from(packet[4]) };
                assert!(from < PACKET, "a packet without payload does not count");
                payload.extend_from_slice(&packet[from..]);
            }
        }
        (payload, counters)
    }

    #[track_caller]
    fn check(sizes: &[usize]) {
        for kind in [Kind::H264, Kind::Aac] {
            let units: Vec<Unit> = (0..).zip(sizes).map(|(number, &bytes)| unit(number, bytes)).collect();
            let (payload, counters) = unpack(&segment(kind, 21, &units));
            let expected: Vec<u8> =
                units.iter().flat_map(|unit| [pes_header(kind, unit), unit.bytes.clone()].concat()).collect();
            assert!(payload == expected, "the payload is not what was put in: {sizes:?}");
            assert_eq!(counters.len() % 16, 0, "{sizes:?}");
            assert!(counters.iter().enumerate().all(|(number, &counter)| number % 16 == usize::from(counter)));
        }
    }

    #[test]
    fn every_segment_ends_at_fifteen() {
        check(&[1]);
        check(&[40_000, 3, 170, 171, 157, 158, 159, 160, 184, 500]);
        for size in 1..800 {
            check(&[size, 1000]);
        }
        check(&vec![377; 70]);
    }

    #[test]
    fn the_first_unit_ends_where_the_second_begins() {
        let one = segment(Kind::H264, 0, &[unit(0, 1000)]);
        assert_eq!(first_unit(&one), one.len());
        let two = segment(Kind::H264, 0, &[unit(0, 1000), unit(1, 10)]);
        let (payload, _) = unpack(&two[..first_unit(&two)]);
        assert_eq!(payload.len(), pes_header(Kind::H264, &unit(0, 1000)).len() + 1000);
    }

    #[test]
    fn tables_count_on_from_segment_to_segment() {
        for number in [0, 1, 15, 16, 17] {
            let made = segment(Kind::H264, number, &[unit(0, 9)]);
            assert_eq!((made[3] & 15, made[PACKET + 3] & 15), ((number % 16) as u8, (number % 16) as u8));
        }
    }

    #[test]
    fn the_checksum_is_mpegs() {
        assert_eq!(crc32(b"123456789"), 0x0376_e6e7);
    }
}
