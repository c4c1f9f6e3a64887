//! What ffprobe tells of a file and its streams, as it prints it.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::model::media::Chapter;
use crate::tool::hdr::SideData;

#[derive(Deserialize)]
pub(super) struct Header {
    #[serde(default)]
    pub(super) streams: Vec<Stream>,
    pub(super) format: Format,
    #[serde(default)]
    pub(super) chapters: Vec<Part>,
    #[serde(default)]
    pub(super) programs: Vec<Program>,
}

/// One of the programs that a transport stream carries, each with streams of its own.
#[derive(Deserialize)]
pub(super) struct Program {
    #[serde(rename = "program_num")]
    number: u32,
    #[serde(default)]
    streams: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    index: u32,
}

impl Program {
    fn has(&self, stream: u32) -> bool {
        self.streams.iter().any(|member| member.index == stream)
    }
}

impl Header {
    /// Leaves the program of the stream `chosen`, and what belongs to none. Gives the numbers of the others.
    pub(super) fn keep_program_of(&mut self, chosen: u32) -> Vec<u32> {
        let (kept, others): (Vec<_>, Vec<_>) = self.programs.iter().partition(|program| program.has(chosen));
        if kept.is_empty() {
            return Vec::new();
        }
        let has = |programs: &[&Program], stream: &Stream| programs.iter().any(|program| program.has(stream.index));
        self.streams.retain(|stream| has(&kept, stream) || !has(&others, stream));
        others.iter().filter(|program| !program.streams.is_empty()).map(|program| program.number).collect()
    }
}

#[derive(Deserialize)]
pub(super) struct Parts {
    pub(super) chapters: Vec<Part>,
}

#[derive(Deserialize)]
pub(super) struct Part {
    pub(super) start_time: Option<String>,
    pub(super) end_time: Option<String>,
    #[serde(default)]
    pub(super) tags: BTreeMap<String, String>,
}

impl Part {
    pub(super) fn chapter(&self) -> Option<Chapter> {
        let title = self.tags.get("title").cloned().unwrap_or_default();
        let time = |text: &Option<String>| text.as_ref()?.parse::<f64>().ok().filter(|time| time.is_finite());
        let start = time(&self.start_time)?;
        Some(Chapter { start, end: time(&self.end_time).unwrap_or(start), title })
    }
}

#[derive(Deserialize)]
pub(super) struct Format {
    #[serde(rename = "format_name")]
    pub(super) name: String,
    pub(super) duration: Option<String>,
    #[serde(default)]
    pub(super) tags: BTreeMap<String, String>,
}

#[derive(Deserialize)]
pub(super) struct Stream {
    pub(super) index: u32,
    pub(super) codec_type: Option<String>,
    pub(super) codec_name: Option<String>,
    pub(super) width: Option<u32>,
    pub(super) height: Option<u32>,
    pub(super) sample_aspect_ratio: Option<String>,
    pub(super) pix_fmt: Option<String>,
    pub(super) field_order: Option<String>,
    pub(super) color_range: Option<String>,
    pub(super) color_space: Option<String>,
    pub(super) color_transfer: Option<String>,
    pub(super) color_primaries: Option<String>,
    pub(super) r_frame_rate: Option<String>,
    pub(super) avg_frame_rate: Option<String>,
    pub(super) duration: Option<String>,
    pub(super) sample_rate: Option<String>,
    pub(super) channels: Option<u32>,
    #[serde(default)]
    pub(super) disposition: BTreeMap<String, i64>,
    #[serde(default)]
    pub(super) tags: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) side_data_list: Vec<SideData>,
}
