//! MPEG-TS segments behind each other as one stream: the continuity counters
//! run on over the joints, as if one muxer had made them all.
//!
//! A demuxer takes a counter that jumps for lost packets and the picture for
//! damaged. Segments may begin their counters where they like (RFC 8216, 3.2 asks
//! for no more than tables in each), so those of a segment are shifted. What is
//! lost within a segment still shows.

use std::collections::HashMap;

/// Bytes of a packet (ISO 13818-1, 2.4.3.2).
pub const PACKET: usize = 188;

/// The identifier of packets that carry nothing, whose counters mean nothing.
const NULL: u16 = 0x1fff;

/// The counters of one stream.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// The counter that was written last, by packet identifier.
    last: HashMap<u16, u8>,
    /// What is added in this segment.
    shift: HashMap<u16, u8>,
}

impl Counters {
    /// The counters behind packets that were written already.
    pub fn behind(packets: &[u8]) -> Self {
        let mut counters = Self::default();
        for packet in packets.chunks_exact(PACKET).filter_map(head) {
            counters.last.insert(packet.identifier, packet.counter);
        }
        counters
    }

    /// A new segment begins.
    pub fn joint(&mut self) {
        self.shift.clear();
    }

    /// Renumbers whole packets. What is no packet stays as it is.
    pub fn renumber(&mut self, packets: &mut [u8]) {
        for bytes in packets.chunks_exact_mut(PACKET) {
            let Some(packet) = head(bytes) else { continue };
            let last = self.last.get(&packet.identifier).copied();
            let wanted = last.map_or(packet.counter, |last| if packet.payload { last + 1 } else { last });
            let shift = *self.shift.entry(packet.identifier).or_insert(wanted.wrapping_sub(packet.counter) & 15);
            let counter = (packet.counter + shift) & 15;
            self.last.insert(packet.identifier, counter);
            if let Some(byte) = bytes.get_mut(3) {
                *byte = *byte & 0xf0 | counter;
            }
        }
    }
}

/// Whether bytes are the beginning of a transport stream.
pub fn is_stream(head: &[u8]) -> bool {
    head.first() == Some(&0x47) && head.get(PACKET).is_none_or(|byte| *byte == 0x47) && head.len() >= PACKET
}

struct Head {
    identifier: u16,
    counter: u8,
    /// Only packets with a payload count.
    payload: bool,
}

fn head(packet: &[u8]) -> Option<Head> {
    let &[0x47, high, low, flags, ..] = packet else { return None };
    let identifier = u16::from_be_bytes([high & 0x1f, low]);
    (identifier != NULL).then_some(Head { identifier, counter: flags & 15, payload: flags & 0x10 != 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(counters: &[u8]) -> Vec<u8> {
        counters
            .iter()
            .flat_map(|counter| {
                let mut packet = vec![0; PACKET];
                packet[..4].copy_from_slice(&[0x47, 0x41, 0x00, 0x10 | counter]);
                packet
            })
            .collect()
    }

    fn counters(packets: &[u8]) -> Vec<u8> {
        packets.chunks(PACKET).map(|packet| packet[3] & 15).collect()
    }

    #[test]
    fn counters_run_on_over_joints_and_losses_still_show() {
        let mut joined = Counters::default();
        let mut all = Vec::new();
        for segment in [&[0, 1, 2][..], &[0, 1, 3], &[9, 10]] {
            let mut bytes = packets(segment);
            joined.joint();
            joined.renumber(&mut bytes);
            all.extend(bytes);
        }
        assert_eq!(counters(&all), [0, 1, 2, 3, 4, 6, 7, 8]);
        let mut resumed = Counters::behind(&all);
        let mut next = packets(&[0, 1]);
        resumed.renumber(&mut next);
        assert_eq!(counters(&next), [9, 10]);
        assert!(is_stream(&all) && !is_stream(b"\0\0\0\x18ftyp"));
    }
}
