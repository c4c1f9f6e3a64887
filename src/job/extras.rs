//! What a package has that those of such sources did not have from the first version on. It is part of the name
//! of the generation: the same name never stands for other bytes.

use crate::model::media::{Chapter, Media};
use crate::plan::audio::SAMPLE_RATE;
use crate::plan::hls::HlsPlan;
use crate::plan::sidecar::Format;
use crate::source::beside::Beside;

/// All of it, by names that never change.
pub(super) fn of(
    (media, plan): (&Media, &HlsPlan),
    dash: bool,
    chapters: &[Chapter],
    beside: &Beside,
) -> Vec<&'static str> {
    let texts = !plan.subtitles.is_empty();
    let dash = texts && dash;
    let alone = media.other_programs > 0;
    let other_rate = media.audio.iter().any(|track| u64::from(track.sample_rate) != SAMPLE_RATE);
    let is_vtt = beside.files.iter().any(|file| file.format == Format::WebVtt);
    let extras = [
        (!chapters.is_empty(), "chapters"),
        (texts, "escaped texts"),
        (texts, "texts with empty lines"),
        (texts && is_vtt, "tags of WebVTT"),
        (dash, "texts for DASH"),
        (alone, "one program"),
        (other_rate, "sound of another rate in step"),
    ];
    extras.into_iter().filter_map(|(has, extra)| has.then_some(extra)).collect()
}
