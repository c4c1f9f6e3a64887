//! Which renditions a source gets, and their sizes.

use crate::model::media::{DynamicRange, Video};
use crate::plan::settings::{Codec, Rung};

/// A source within this factor of a rung counts as that rung, at its own size:
/// 1916x1076 is a 1080p film, and is not blown up by four pixels.
const NEARLY: f64 = 1.05;

/// One rendition of the picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendition {
    /// Its folder, such as `720p`.
    pub name: String,
    /// Its codec.
    pub codec: Codec,
    /// Its dynamic range.
    pub range: DynamicRange,
    /// Width in pixels, even.
    pub width: u32,
    /// Height in pixels, even.
    pub height: u32,
    /// x264's constant rate factor.
    pub crf: f64,
    /// Cap of the bitrate in kb/s.
    pub max_kbps: u32,
    /// The larger sizes that the picture is brought to on its way to this one, largest first.
    pub through: Vec<Size>,
}

/// Width and height in pixels.
pub type Size = (u32, u32);

/// Size of the picture as it is to be seen: square pixels, upright.
pub fn upright_size(video: &Video) -> (f64, f64) {
    let width = f64::from(video.width) * video.pixel_aspect.as_f64();
    let height = f64::from(video.height);
    if video.rotation.is_multiple_of(180) { (width, height) } else { (height, width) }
}

/// The renditions of `video`, largest first, each in every one of `codecs`.
///
/// A rung such as `720p` is the box 1280x720, or 720x1280 for portrait, into
/// which the picture is fitted: so a wide film of 1920x800 is a 1080p film.
/// Nothing is ever blown up; a source below every rung gets the lowest at its
/// own size.
///
/// HDR is kept by the codecs that have ten bits, if it is to be. Then there is SDR too, for who has no such
/// screen: by H.264, or by the first of the others.
pub fn ladder(video: &Video, rungs: &[Rung], codecs: &[Codec], keep_hdr: bool) -> Vec<Rendition> {
    let range = if keep_hdr { video.dynamic_range() } else { DynamicRange::Sdr };
    let is_kept = |codec: Codec| codec != Codec::H264 && range != DynamicRange::Sdr;
    let sdr = if codecs.iter().all(|codec| is_kept(*codec)) { codecs.first() } else { None };
    let in_range = |codec: &Codec| (*codec, if is_kept(*codec) { range } else { DynamicRange::Sdr });
    let mut kinds: Vec<(Codec, DynamicRange)> = codecs.iter().map(in_range).collect();
    kinds.extend(sdr.map(|codec| (*codec, DynamicRange::Sdr)));
    let mut renditions: Vec<Rendition> =
        sizes(video, rungs).iter().flat_map(|one| kinds.iter().map(|kind| one.of_kind(*kind))).collect();
    for number in 0..renditions.len() {
        let through = cascade(&renditions, number);
        if let Some(rendition) = renditions.get_mut(number) {
            rendition.through = through;
        }
    }
    renditions
}

/// The sizes above that of a rendition, in SDR or in HDR as it is: every size is made of the one before.
fn cascade(renditions: &[Rendition], number: usize) -> Vec<Size> {
    let Some((one, above)) = renditions.get(..=number).and_then(<[Rendition]>::split_last) else { return Vec::new() };
    let is_sdr = |rendition: &Rendition| rendition.range == DynamicRange::Sdr;
    let alike = above.iter().filter(|larger| is_sdr(larger) == is_sdr(one));
    let mut sizes: Vec<Size> = alike.map(|larger| (larger.width, larger.height)).collect();
    sizes.dedup();
    sizes.retain(|size| *size != (one.width, one.height));
    sizes
}

/// Says which renditions are not made as this ladder alone would make them, if any are: they are those
/// of an earlier, shorter ladder.
pub fn lineage(renditions: &[Rendition]) -> Option<String> {
    let other = |(number, one): &(usize, &Rendition)| one.through != cascade(renditions, *number);
    let others: Vec<String> = renditions
        .iter()
        .enumerate()
        .filter(other)
        .map(|(_, one)| format!("{} through {:?}\n", one.name, one.through))
        .collect();
    if others.is_empty() { None } else { Some(others.concat()) }
}

impl Rendition {
    /// The same size in another codec. HEVC and AV1 take fewer bits for the same
    /// quality, and count it on scales of their own.
    fn of_kind(&self, (codec, range): (Codec, DynamicRange)) -> Self {
        let (mut name, crf, share) = match codec {
            Codec::H264 => (self.name.clone(), self.crf, 1.0),
            Codec::Hevc => (format!("{}-hevc", self.name), (self.crf + 3.5).min(51.0), 0.7),
            Codec::Av1 => (format!("{}-av1", self.name), (self.crf * 1.3 + 7.0).min(63.0), 0.6),
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a u32")]
        let max_kbps = (f64::from(self.max_kbps) * share).ceil() as u32;
        if range != DynamicRange::Sdr {
            name.push_str("-hdr");
        }
        Self { name, codec, range, crf, max_kbps, ..self.clone() }
    }
}

fn sizes(video: &Video, rungs: &[Rung]) -> Vec<Rendition> {
    let mut sorted: Vec<&Rung> = rungs.iter().collect();
    sorted.sort_by_key(|rung| std::cmp::Reverse(rung.short_side));
    let fitting = sorted.iter().filter(|rung| fits(video, rung));
    let mut renditions: Vec<Rendition> = fitting.map(|rung| rendition(video, rung, fit(video, rung))).collect();
    renditions.dedup_by(|a, b| (a.width, a.height) == (b.width, b.height));
    if renditions.is_empty() {
        renditions.extend(sorted.last().map(|rung| own_size(video, rung)));
    }
    renditions
}

/// The short side of the largest rung, in pixels.
pub fn tallest(rungs: &[Rung]) -> u32 {
    rungs.iter().map(|rung| rung.short_side).max().unwrap_or(u32::MAX)
}

/// Whether a picture of `width` and `height` is large enough for a rung with this short side.
pub fn covers(width: u32, height: u32, short_side: u32) -> bool {
    fit_box((width.into(), height.into()), short_side) <= NEARLY
}

/// Whether `video` is large enough for `rung`.
pub fn fits(video: &Video, rung: &Rung) -> bool {
    fit(video, rung) <= NEARLY
}

/// The factor that fits the picture into the box of `rung`.
fn fit(video: &Video, rung: &Rung) -> f64 {
    fit_box(upright_size(video), rung.short_side)
}

fn fit_box((width, height): (f64, f64), short_side: u32) -> f64 {
    let (long, short) = (width.max(height), width.min(height));
    let box_short = f64::from(short_side);
    // 854 and not 853.3 for 480p: the box is as wide as an even number makes it.
    let box_long = (box_short * 16.0 / 18.0).ceil() * 2.0;
    (box_long / long).min(box_short / short)
}

fn rendition(video: &Video, rung: &Rung, factor: f64) -> Rendition {
    let (width, height) = upright_size(video);
    let factor = factor.min(1.0);
    Rendition {
        name: rung.name.clone(),
        codec: Codec::H264,
        range: DynamicRange::Sdr,
        width: even(width * factor, width),
        height: even(height * factor, height),
        crf: rung.crf,
        max_kbps: rung.max_kbps,
        through: Vec::new(),
    }
}

fn own_size(video: &Video, rung: &Rung) -> Rendition {
    let own = rendition(video, rung, 1.0);
    Rendition { name: format!("{}p", own.width.min(own.height)), ..own }
}

/// The nearest even number, at least 2 and never above the source, unless that is a single pixel.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sizes are positive and limited")]
fn even(size: f64, most: f64) -> u32 {
    let nearest = (size / 2.0).round() * 2.0;
    let fitting = if nearest > most + 0.01 { nearest - 2.0 } else { nearest };
    fitting.max(2.0) as u32
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::media::Timeline;
    use crate::model::rational::Rational;

    pub(crate) fn video(width: u32, height: u32) -> Video {
        Video {
            index: 0,
            codec: "h264".into(),
            width,
            height,
            pixel_aspect: Rational::new(1, 1).unwrap(),
            rotation: 0,
            mirrored: false,
            base_rate: Rational::new(25, 1),
            average_rate: Rational::new(25, 1),
            late: 0.0,
            interlaced: false,
            first_field: None,
            fields_in_doubt: false,
            changes_shape: false,
            pixel_format: "yuv420p".into(),
            alpha: false,
            range: None,
            matrix: None,
            transfer: None,
            primaries: None,
            mastering: None,
            light: None,
            declared_seconds: None,
            timeline: Timeline::default(),
        }
    }

    pub(crate) fn rungs() -> Vec<Rung> {
        [(360, 24.5, 540), (720, 25.0, 1300), (1080, 24.3, 3150)]
            .map(|(short_side, crf, max_kbps)| Rung { name: format!("{short_side}p"), short_side, crf, max_kbps })
            .to_vec()
    }

    #[track_caller]
    fn check(video: &Video, expected: &[(&str, u32, u32)]) {
        let renditions = ladder(video, &rungs(), &[Codec::H264], true);
        let found: Vec<_> = renditions.iter().map(|one| (one.name.as_str(), one.width, one.height)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn landscape_and_portrait_get_the_same_rungs() {
        check(&video(1920, 1080), &[("1080p", 1920, 1080), ("720p", 1280, 720), ("360p", 640, 360)]);
        check(&video(1080, 1920), &[("1080p", 1080, 1920), ("720p", 720, 1280), ("360p", 360, 640)]);
        let turned = Video { rotation: 90, ..video(1920, 1080) };
        check(&turned, &[("1080p", 1080, 1920), ("720p", 720, 1280), ("360p", 360, 640)]);
    }

    #[test]
    fn nothing_is_blown_up() {
        check(&video(1280, 720), &[("720p", 1280, 720), ("360p", 640, 360)]);
        check(&video(720, 480), &[("360p", 540, 360)]);
        check(&video(320, 240), &[("240p", 320, 240)]);
        check(&video(321, 241), &[("240p", 320, 240)]);
    }

    #[test]
    fn hdr_is_kept_where_it_can_be_and_never_alone() {
        let hdr = Video { transfer: Some("smpte2084".into()), ..video(640, 360) };
        let check = |codecs: &[Codec], keep: bool, expected: &[(&str, DynamicRange)]| {
            let made = ladder(&hdr, &rungs(), codecs, keep);
            let found: Vec<_> = made.iter().map(|one| (one.name.as_str(), one.range)).collect();
            assert_eq!(found, expected);
        };
        let (sdr, pq) = (DynamicRange::Sdr, DynamicRange::Pq);
        check(&[Codec::H264], true, &[("360p", sdr)]);
        check(&[Codec::H264, Codec::Hevc], true, &[("360p", sdr), ("360p-hevc-hdr", pq)]);
        check(&[Codec::Hevc], true, &[("360p-hevc-hdr", pq), ("360p-hevc", sdr)]);
        check(&[Codec::Av1, Codec::Hevc], true, &[("360p-av1-hdr", pq), ("360p-hevc-hdr", pq), ("360p-av1", sdr)]);
        check(&[Codec::Hevc], false, &[("360p-hevc", sdr)]);
    }

    #[test]
    fn wide_films_are_not_halved() {
        check(&video(1920, 800), &[("1080p", 1920, 800), ("720p", 1280, 534), ("360p", 640, 266)]);
        check(&video(1916, 1076), &[("1080p", 1916, 1076), ("720p", 1280, 718), ("360p", 640, 360)]);
    }

    #[test]
    fn every_codec_has_a_ladder_of_its_own() {
        let made = ladder(&video(1280, 720), &rungs(), &[Codec::H264, Codec::Hevc], true);
        let found: Vec<_> = made.iter().map(|one| (one.name.as_str(), one.codec, one.max_kbps)).collect();
        assert_eq!(
            found,
            [
                ("720p", Codec::H264, 1300),
                ("720p-hevc", Codec::Hevc, 910),
                ("360p", Codec::H264, 540),
                ("360p-hevc", Codec::Hevc, 378)
            ]
        );
    }

    #[test]
    fn a_rendition_is_made_of_the_larger_ones_of_its_kind() {
        let hdr = Video { transfer: Some("smpte2084".into()), ..video(1920, 1080) };
        let mut made = ladder(&hdr, &rungs(), &[Codec::H264, Codec::Hevc], true);
        let last = |made: &[Rendition]| made.iter().rev().take(2).map(|one| one.through.clone()).collect::<Vec<_>>();
        assert_eq!(last(&made), [vec![(1920, 1080), (1280, 720)], vec![(1920, 1080), (1280, 720)]]);
        assert_eq!(lineage(&made), None);
        let of_one_size = ladder(&video(640, 360), &rungs(), &[Codec::H264, Codec::Hevc], true);
        assert!(of_one_size.iter().all(|one| one.through.is_empty()));
        made[5].through = vec![(1280, 720)];
        assert_eq!(lineage(&made).as_deref(), Some("360p-hevc-hdr through [(1280, 720)]\n"));
    }

    #[test]
    fn pixels_become_square() {
        let anamorphic = Video { pixel_aspect: Rational::new(64, 45).unwrap(), ..video(720, 576) };
        check(&anamorphic, &[("360p", 640, 360)]);
    }
}
