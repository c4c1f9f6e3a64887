//! The manifest of MPEG-DASH of a package: a second pointer to the same generation.

use crate::format::mpd_write::{self, Presentation, Times};
use crate::format::playlist_write::{Text, Track, Variant};
use crate::storage::Serving;

use super::cut;
use super::pack;
use super::subtitle::WHOLE;
use super::work::Work;

/// Its name beside the master playlist.
pub const NAME: &str = "manifest.mpd";

/// How it is served.
pub const POINTER: Serving = Serving { content_type: "application/dash+xml", cache_control: "public, max-age=10" };

/// The manifest of `variants`, `tracks` and `texts`, all of whose segments are stored.
pub fn manifest(work: &Work<'_>, variants: &[Variant<'_>], tracks: &[Track<'_>], texts: &[Text<'_>]) -> String {
    let grid = &work.plan.grid;
    let (timescale, duration) = pack::video_units(grid);
    let video_times = Times {
        timescale,
        start: pack::first(timescale),
        durations: (0..grid.segments()).map(|segment| grid.segment(segment).1 * duration).collect(),
        rate: Some((grid.rate.num(), grid.rate.den())),
    };
    let (timescale, duration) = pack::AUDIO_UNITS;
    // Every track has the same samples: they are as long as the picture.
    let durations: Vec<u64> = cut::audio_frames(grid).map(|frames| frames * duration).collect();
    let audio: Vec<(&Track<'_>, Times)> = tracks
        .iter()
        .map(|track| {
            let (start, durations) = (pack::first(timescale), durations.clone());
            (track, Times { timescale, start, durations, rate: None })
        })
        .collect();
    let key_id = work.target().key_ring.as_ref().map(|ring| ring.key_id());
    mpd_write::manifest(&Presentation {
        generation: &work.target().generation,
        seconds: grid.seconds(),
        buffer_seconds: grid.target_duration(),
        video: variants,
        video_times: &video_times,
        audio: &audio,
        texts,
        text_file: WHOLE,
        key_id,
    })
}
