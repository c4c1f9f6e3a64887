//! Reads fragmented MP4 as segments carry it: the init section, the fragments
//! and what protects their samples. It shares nothing with what writes MP4.

mod boxes;
mod cbcs;
mod codec;
mod fragment;
mod init;
mod protection;

pub(super) use boxes::open_end;
pub(super) use cbcs::{clear_init, clear_segment, decrypt};
pub(super) use fragment::{Fragments, Run};
pub(super) use init::{Init, Track};

/// Ticks that all times are turned into, those of MPEG-TS.
const CLOCK: i128 = 90_000;

/// Faults of one file that are kept in words.
const KEPT_FAULTS: usize = 8;

/// `time` of a track in ticks of 90 kHz.
fn ticks(time: i128, timescale: u32) -> i64 {
    let scaled = (time * CLOCK).div_euclid(i128::from(timescale.max(1)));
    i64::try_from(scaled).unwrap_or(i64::MAX / 4)
}

/// Keeps the first few faults.
fn note(faults: &mut Vec<String>, what: impl Into<String>) {
    if faults.len() < KEPT_FAULTS {
        faults.push(what.into());
    }
}
