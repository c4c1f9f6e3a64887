//! The arguments of ffmpeg before anything of a source is planned: a look at its fields, and a copy with one clock.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::model::media::{Media, Video};

use super::encode::{OWN_TIMES, file, opening, reading, words};

/// The file that [`straight`] writes.
pub fn straight_output(folder: &Path) -> PathBuf {
    folder.join("straight.ts")
}

/// A copy of a broadcast, packet by packet, with a clock that runs through where the source's jumps.
pub fn straight(source: &Path, media: &Media, folder: &Path) -> Vec<OsString> {
    let mut arguments = opening();
    // What the demuxer holds back of one part may come after the first packets of the next.
    arguments.extend(words("-fflags +genpts -dts_delta_threshold 1"));
    arguments.extend(reading(source));
    let picture = media.video.iter().map(|video| video.index);
    for index in picture.chain(media.audio.iter().map(|track| track.index)) {
        arguments.extend(words(&format!("-map 0:{index}")));
    }
    arguments.extend(words("-c copy -max_muxing_queue_size 9999 -output_ts_offset 10 -f mpegts"));
    arguments.push(file(&straight_output(folder)));
    arguments
}

/// Where a source's fields are looked at first, in tenths of its pictures.
pub const ONE_PLACE: &[usize] = &[5];

/// Where they are looked at more closely.
pub const THREE_PLACES: &[usize] = &[1, 4, 8];

/// Counts, at some places of a source, pictures that are made of fields, and such as are not.
pub fn fields(source: &Path, video: &Video, places: &[usize]) -> Vec<OsString> {
    let times = &video.timeline.times;
    let mut arguments = opening();
    arguments.extend(words(OWN_TIMES));
    for place in places {
        let at = times.get(times.len() * place / 10).copied().unwrap_or_default();
        arguments.extend(words(&format!("-noaccurate_seek -seek_timestamp 1 -ss {at:.6}")));
        arguments.extend(reading(source));
    }
    for number in 0..places.len() {
        let index = video.index;
        arguments.extend(words(&format!("-map {number}:{index} -vf idet -frames:v 16 -an -sn -dn -f null -")));
    }
    arguments
}
