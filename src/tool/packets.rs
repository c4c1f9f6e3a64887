//! The packets of a file as ffprobe lists them: their places in time and in the file.

use std::collections::{BTreeMap, HashSet};

/// A clock that goes back by more than this, or on by more than that, in seconds, jumps: ffmpeg's own bounds
/// (`-dts_delta_threshold`).
const BACK: f64 = 0.1;
const ON: f64 = 10.0;

/// An interval between packets of sound that is a hole.
const SILENT_HOLE: f64 = 0.5;

/// Packets of one stream.
#[derive(Default)]
pub(super) struct Packets {
    pub(super) times: Vec<f64>,
    /// Time, first byte and the one behind the last.
    pub(super) spans: Vec<(f64, u64, u64)>,
    pub(super) keys: Vec<f64>,
    pub(super) start: Option<f64>,
    pub(super) end: f64,
    pub(super) holes: Vec<(f64, f64)>,
    pub(super) empty: u64,
    pub(super) last: Option<f64>,
    pub(super) backward: f64,
    pub(super) last_decoded: Option<f64>,
    pub(super) jumps: u64,
    pub(super) untimed: u64,
    /// Times of what comes before the first key frame.
    headless: Vec<f64>,
}

/// One line: `0,0.033008,0.033008,0.033333,1200,48,K__`; `N/A` for what is not known.
pub(super) fn add(streams: &mut BTreeMap<u32, Packets>, line: &str) {
    let mut fields = line.split(',');
    let Some(index) = fields.next().and_then(|index| index.parse().ok()) else { return };
    let mut time = || fields.next().and_then(|text| text.parse::<f64>().ok());
    let (pts, dts, duration) = (time(), time(), time());
    let mut bytes = || fields.next().and_then(|text| text.parse::<u64>().ok());
    let (size, position) = (bytes(), bytes());
    let flags = fields.next().unwrap_or_default();
    let packets = streams.entry(index).or_default();
    if let Some(now) = dts {
        let jumps = packets.last_decoded.is_some_and(|last| now < last - BACK || now > last + ON);
        packets.jumps += u64::from(jumps);
        packets.last_decoded = Some(now);
    }
    if size == Some(0) {
        // Some writers of Ogg put them between the real ones; their times are made up.
        packets.empty += 1;
        return;
    }
    packets.untimed += u64::from(pts.or(dts).is_none());
    // Packets an edit list hides are decoded and not shown.
    let Some(at) = pts.or(dts).filter(|_| !flags.contains('D')) else { return };
    packets.backward += packets.last.map_or(0.0, |last| (last - at).max(0.0));
    packets.last = Some(at);
    if packets.start.is_some() && at - packets.end > SILENT_HOLE {
        packets.holes.push((packets.end, at - packets.end));
    }
    packets.times.push(at);
    packets.spans.extend(position.zip(size).map(|(position, size)| (at, position, position + size)));
    if flags.contains('K') {
        packets.keys.push(at);
    } else if packets.keys.is_empty() {
        packets.headless.push(at);
    }
    packets.start = Some(packets.start.map_or(at, |start| start.min(at)));
    packets.end = packets.end.max(at + duration.unwrap_or(0.0));
}

/// So many seconds of a recording may come before its first key frame.
const LONGEST_HEADLESS: f64 = 10.0;

impl Packets {
    /// Leaves out what comes before the first key frame, which nobody can decode. Gives the seconds that this is.
    pub(super) fn begin_with_a_key_frame(&mut self) -> Option<f64> {
        let first = self.headless.iter().copied().reduce(f64::min)?;
        let key = self.keys.first().copied()?;
        if !(0.0..LONGEST_HEADLESS).contains(&(key - first)) {
            return None;
        }
        let headless: HashSet<u64> = self.headless.iter().map(|time| time.to_bits()).collect();
        self.times.retain(|time| !headless.contains(&time.to_bits()));
        self.spans.retain(|span| !headless.contains(&span.0.to_bits()));
        self.start = self.times.iter().copied().reduce(f64::min);
        Some(key - first)
    }
}

/// The end of the last picture. One that does not say how long it lasts gets the usual time; one that lasts for
/// ever as well, and one that the container cuts short is not to be rounded away.
pub(super) fn end(packets: &Packets, last: f64, usual: f64) -> f64 {
    let said = if packets.end > last && packets.end < last + 600.0 { packets.end } else { last + usual };
    said.max(last + usual.min(0.1))
}

/// Where all packets lie, or nothing where one does not say.
pub(super) fn spans(packets: &Packets) -> Vec<(u64, u64)> {
    if packets.spans.len() != packets.times.len() {
        return Vec::new();
    }
    packets.spans.iter().map(|&(_, from, to)| (from, to)).collect()
}

/// The usual time from one picture to the next.
pub(super) fn usual_interval(times: &[f64]) -> f64 {
    let mut intervals: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    intervals.sort_by(f64::total_cmp);
    intervals.get(intervals.len() / 2).copied().unwrap_or(0.04)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_read_in_any_order_and_without_times() {
        let mut streams = BTreeMap::new();
        for line in [
            "0,0.08,0.0,0.04,90,48,K__",
            "0,0.04,0.04,0.04,8,138,___",
            "1,N/A,0.5,N/A,7,N/A,K__",
            "1,-9.0,-9.0,0.02,0,9,K__",
            "1,2.0,2.0,0.02,7,9,K__",
            "1,1.5,1.5,0.02,7,9,K__",
            "0,N/A,N/A,N/A,5,9,_D_",
            "",
        ] {
            add(&mut streams, line);
        }
        assert_eq!(streams[&0].times, [0.08, 0.04]);
        assert_eq!(spans(&streams[&0]), [(48, 138), (138, 146)]);
        assert!(spans(&streams[&1]).is_empty());
        assert!((streams[&0].end - 0.12).abs() < 1e-9);
        assert_eq!(streams[&1].holes, [(0.5, 1.5)]);
        assert_eq!((streams[&1].empty, streams[&1].backward), (1, 0.5));
    }

    #[test]
    fn a_recording_begins_with_its_first_key_frame() {
        let mut streams = BTreeMap::new();
        let lines = ["0,1,1,1,9,0,_", "0,2,2,1,9,9,_", "0,4,3,1,9,18,K", "0,3,4,1,9,27,_", "0,5,5,1,9,36,_"];
        for line in lines {
            add(&mut streams, line);
        }
        let packets = streams.get_mut(&0).unwrap();
        assert_eq!(packets.begin_with_a_key_frame(), Some(3.0));
        assert_eq!((packets.times.as_slice(), packets.start), (&[4.0, 3.0, 5.0][..], Some(3.0)));
        assert_eq!(spans(packets), [(18, 27), (27, 36), (36, 45)]);
    }

    #[test]
    fn the_last_picture_lasts_like_the_others() {
        let check = |end: f64, expected: f64| {
            let found = super::end(&Packets { end, ..Packets::default() }, 7.96, 0.04);
            assert!((found - expected).abs() < 1e-9, "{end}: {found}");
        };
        check(8.0, 8.0);
        check(7.96, 8.0);
        check(7.979, 8.0);
        check(9.0, 9.0);
        check(9000.0, 8.0);
    }
}
