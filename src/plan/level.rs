//! The level of an H.264 rendition (ITU-T H.264, table A-1). Chunks are encoded apart
//! and have caps of their own; left to the encoder, their levels would differ.

use crate::plan::ladder::Rendition;

/// Pictures that a decoder has to keep: a pyramid of B-frames needs four.
const KEPT: u64 = 4;

/// Name, macroblocks a second, of a picture, of the pictures kept, and kb/s of High profile.
const LEVELS: [(&str, u64, u64, u64, f64); 19] = [
    ("1", 1_485, 99, 396, 80.0),
    ("1.1", 3_000, 396, 900, 240.0),
    ("1.2", 6_000, 396, 2_376, 480.0),
    ("1.3", 11_880, 396, 2_376, 960.0),
    ("2", 11_880, 396, 2_376, 2_500.0),
    ("2.1", 19_800, 792, 4_752, 5_000.0),
    ("2.2", 20_250, 1_620, 8_100, 5_000.0),
    ("3", 40_500, 1_620, 8_100, 12_500.0),
    ("3.1", 108_000, 3_600, 18_000, 17_500.0),
    ("3.2", 216_000, 5_120, 20_480, 25_000.0),
    ("4", 245_760, 8_192, 32_768, 25_000.0),
    ("4.1", 245_760, 8_192, 32_768, 62_500.0),
    ("4.2", 522_240, 8_704, 34_816, 62_500.0),
    ("5", 589_824, 22_080, 110_400, 168_750.0),
    ("5.1", 983_040, 36_864, 184_320, 300_000.0),
    ("5.2", 2_073_600, 36_864, 184_320, 300_000.0),
    ("6", 4_177_920, 139_264, 696_320, 300_000.0),
    ("6.1", 8_355_840, 139_264, 696_320, 600_000.0),
    ("6.2", 16_711_680, 139_264, 696_320, 1_000_000.0),
];

/// The lowest level that `rendition` fits into at `fps` pictures and at most `kbps`.
#[expect(clippy::cast_precision_loss, reason = "macroblocks of a picture")]
pub fn h264(rendition: &Rendition, fps: f64, kbps: f64) -> &'static str {
    let (wide, high) = (u64::from(rendition.width.div_ceil(16)), u64::from(rendition.height.div_ceil(16)));
    let blocks = wide * high;
    let fits = |&&(_, a_second, picture, kept, most): &&(&str, u64, u64, u64, f64)| {
        blocks as f64 * fps <= a_second as f64
            && blocks <= picture
            && wide.max(high).pow(2) <= picture * 8
            && blocks * KEPT <= kept
            && kbps <= most
    };
    LEVELS.iter().find(fits).map_or("6.2", |level| level.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::ladder::{ladder, tests};
    use crate::plan::settings::Codec;

    #[track_caller]
    fn check(width: u32, height: u32, fps: f64, kbps: f64, expected: &str) {
        let rendition = ladder(&tests::video(width, height), &tests::rungs(), &[Codec::H264], true).remove(0);
        let rendition = Rendition { width, height, ..rendition };
        assert_eq!(h264(&rendition, fps, kbps), expected);
    }

    #[test]
    fn levels_are_as_low_as_they_can_be() {
        check(1920, 1080, 30.0, 4_400.0, "4");
        check(1920, 1080, 60.0, 4_400.0, "4.2");
        check(1280, 720, 30.0, 1_900.0, "3.1");
        check(640, 360, 25.0, 820.0, "3");
        check(192, 108, 25.0, 400.0, "1.2");
        check(192, 108, 25.0, 820.0, "1.3");
        check(3840, 2160, 60.0, 18_000.0, "5.2");
    }
}
