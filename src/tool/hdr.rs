//! What a film in HDR says of the screen it was made on and of its brightness.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::model::media::{Light, Mastering};

/// One entry of `side_data_list`, of a stream or of a picture.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct SideData(BTreeMap<String, Value>);

/// ffprobe's answer to `-show_frames`.
#[derive(Deserialize)]
pub(super) struct Frames {
    #[serde(default)]
    pub(super) frames: Vec<Frame>,
}

/// One picture.
#[derive(Deserialize)]
pub(super) struct Frame {
    /// When it is shown, in seconds.
    #[serde(rename = "best_effort_timestamp_time")]
    pub(super) time: Option<String>,
    #[serde(default)]
    pub(super) side_data_list: Vec<SideData>,
}

impl SideData {
    /// Whether the picture is one of Dolby Vision alone, in colours that no other decoder knows: it has no base that
    /// is SDR, HDR10 or HLG (a compatibility of 0, as profile 5 has).
    pub(super) fn is_dolby_alone(&self) -> bool {
        let base = self.0.get("dv_bl_signal_compatibility_id").and_then(Value::as_u64);
        self.0.contains_key("dv_profile") && base == Some(0)
    }

    /// The screen, if this entry is of it and whole.
    pub(super) fn mastering(&self) -> Option<Mastering> {
        let point = |name: &str| {
            let part = |axis: &str| self.steps(&format!("{name}_{axis}"), 50_000.0)?.try_into().ok();
            Some((part("x")?, part("y")?))
        };
        Some(Mastering {
            primaries: [point("green")?, point("blue")?, point("red")?],
            white: point("white_point")?,
            luminance: (self.steps("max_luminance", 10_000.0)?, self.steps("min_luminance", 10_000.0)?),
        })
    }

    /// The brightness, if this entry is of it.
    pub(super) fn light(&self) -> Option<Light> {
        let nits = |name: &str| u16::try_from(self.0.get(name)?.as_u64()?).ok();
        Some(Light { pixel: nits("max_content")?, picture: nits("max_average")? })
    }

    /// The lines of a display matrix, and the turn they make.
    pub(super) fn matrix(&self) -> Option<(&str, f64)> {
        Some((self.0.get("displaymatrix")?.as_str()?, self.0.get("rotation").and_then(Value::as_f64).unwrap_or(0.0)))
    }

    /// A fraction such as `13250/50000`, in so many steps a unit.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is looked at before")]
    fn steps(&self, name: &str, a_unit: f64) -> Option<u32> {
        let (above, below) = self.0.get(name)?.as_str()?.split_once('/')?;
        let value = above.parse::<f64>().ok()? / below.parse::<f64>().ok()? * a_unit;
        (value.is_finite() && (0.0..4e9).contains(&value)).then(|| value.round() as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_hdr_are_read() {
        let text = r#"{"frames":[{"side_data_list":[
            {"side_data_type":"Mastering display metadata","red_x":"34000/50000","red_y":"16000/50000",
             "green_x":"13250/50000","green_y":"34500/50000","blue_x":"9830/65536","blue_y":"3000/50000",
             "white_point_x":"15635/50000","white_point_y":"16450/50000","min_luminance":"50/10000",
             "max_luminance":"10000000/10000"},
            {"side_data_type":"Content light level metadata","max_content":1000,"max_average":400},
            {"side_data_type":"H.26[45] User Data Unregistered SEI message"},
            {"max_content":70000,"max_average":1,"red_x":"1/0"}]}]}"#;
        let frames: Frames = serde_json::from_str(text).unwrap();
        let data = &frames.frames[0].side_data_list;
        let mastering = Mastering {
            primaries: [(13_250, 34_500), (7_500, 3_000), (34_000, 16_000)],
            white: (15_635, 16_450),
            luminance: (10_000_000, 50),
        };
        assert_eq!((data[0].mastering(), data[0].light()), (Some(mastering), None));
        assert_eq!((data[1].mastering(), data[1].light()), (None, Some(Light { pixel: 1000, picture: 400 })));
        assert!(data[2..].iter().all(|data| data.mastering().is_none() && data.light().is_none()));
    }
}
