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
