//! Whether the source itself can be a rendition: its packets are then cut into
//! segments as they are, at its own key frames, and nothing is lost or spent.

use crate::model::media::{Timeline, Video};
use crate::model::rational::Rational;
use crate::plan::encode::DELAY_FRAMES;
use crate::plan::filter::is_plain;
use crate::plan::ladder::Rendition;
use crate::plan::settings::{Codec, HlsSettings, Method};

/// A segment that follows the source's key frames may be longer than wanted by this factor.
const LONGEST_SEGMENT: f64 = 1.75;

/// A segment may have this many times the bits that the whole may have on average (Apple 1.30 wants 2 at most).
const PEAK: f64 = 2.0;

/// A picture may be this part of a frame off the grid.
const OFF_GRID: f64 = 0.3;

/// Where the largest rendition comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Top {
    /// From the source's own packets.
    Copied,
    /// From an encoder, since the source does not do.
    Encoded {
        /// Why not, for people.
        because: String,
    },
}

/// The frames at which segments begin if the source's packets are `rendition`,
/// and the one behind the last; or why they cannot be.
pub fn edges(
    video: &Video,
    rendition: &Rendition,
    (rate, start, frames): (Rational, f64, u64),
    settings: &HlsSettings,
) -> Result<Vec<u64>, String> {
    let Some(over) = settings.copy_over else { return Err("copying is turned off".into()) };
    if settings.two_pass {
        return Err("two passes were asked for".into());
    }
    if settings.codecs != [Codec::H264] {
        return Err("several codecs, or one of its own, were asked for".into());
    }
    if settings.encryption.as_ref().is_some_and(|wish| wish.method == Method::Cbcs) {
        return Err("encryption by samples has to know the encoder".into());
    }
    if let Some(why) = other_picture(video, rendition) {
        return Err(why);
    }
    let keys = keys_on_grid(video, (rate, start, frames))?;
    let edges = segments(&keys, frames, settings.segment_seconds * rate.as_f64())
        .map_err(|gap| format!("its key frames are up to {:.1} s apart", rate.seconds(gap)))?;
    let most = f64::from(rendition.max_kbps) * settings.profile.rate * over;
    within_rate(video, &edges, rate, most)?;
    Ok(edges)
}

/// What of the source's picture is not as the rendition's has to be.
fn other_picture(video: &Video, rendition: &Rendition) -> Option<String> {
    if video.codec != "h264" {
        return Some(format!("its codec is {}, not h264", video.codec));
    }
    if video.pixel_format != "yuv420p" {
        return Some(format!("its pictures are {}, not yuv420p", video.pixel_format));
    }
    if video.interlaced {
        return Some("it is interlaced".into());
    }
    if video.rotation != 0 || video.mirrored {
        return Some("its pictures have to be turned".into());
    }
    if video.pixel_aspect.num() != video.pixel_aspect.den() {
        return Some("its pixels are not square".into());
    }
    if (video.width, video.height) != (rendition.width, rendition.height) {
        let Rendition { width, height, .. } = rendition;
        return Some(format!("it is {}x{}, not {width}x{height}", video.width, video.height));
    }
    if !is_plain(video) {
        return Some("its colours are not those of BT.709".into());
    }
    video.timeline.spans.is_empty().then(|| "its container does not tell where its pictures lie".into())
}

/// The pictures in the order in which they lie in the file, which within a track is that of decoding.
pub fn decoding_order(timeline: &Timeline) -> Vec<usize> {
    let mut order: Vec<usize> = (0..timeline.spans.len()).collect();
    order.sort_by_key(|&frame| timeline.spans.get(frame));
    order
}

/// The frames that are closed key frames, if every picture is a frame of the grid.
fn keys_on_grid(video: &Video, (rate, start, frames): (Rational, f64, u64)) -> Result<Vec<u64>, String> {
    let timeline = &video.timeline;
    let off = |(time, frame): (&f64, u64)| (time - start - rate.seconds(frame)).abs() * rate.as_f64() > OFF_GRID;
    if timeline.times.len() as u64 != frames || timeline.times.iter().zip(0..).any(off) {
        return Err("its pictures do not come at a constant rate".into());
    }
    let order = decoding_order(timeline);
    if order.iter().enumerate().any(|(decoded, &shown)| decoded as u64 > shown as u64 + DELAY_FRAMES) {
        return Err(format!("its pictures are put in order over more than {DELAY_FRAMES} frames"));
    }
    let mut latest = None;
    let mut keys = Vec::new();
    let mut is_key = vec![false; timeline.times.len()];
    for key in &timeline.keys {
        let frame = timeline.times.partition_point(|time| *time < key - 1e-6);
        if let Some(is_key) = is_key.get_mut(frame) {
            *is_key = true;
        }
    }
    for (decoded, &shown) in order.iter().enumerate() {
        // All that is shown before a closed key frame is decoded before it, and nothing else.
        if is_key.get(shown) == Some(&true) && shown == decoded && latest.is_none_or(|latest| latest < shown) {
            keys.push(shown as u64);
        }
        latest = latest.max(Some(shown));
    }
    if keys.first() == Some(&0) { Ok(keys) } else { Err("it does not begin with a key frame".into()) }
}

/// Segments as near to `wanted` frames as the key frames come. Fails with the longest gap between these.
#[expect(clippy::cast_precision_loss, reason = "frames of a video")]
fn segments(keys: &[u64], frames: u64, wanted: f64) -> Result<Vec<u64>, u64> {
    let mut edges = vec![0];
    let mut begin = 0;
    while begin < frames {
        let after = keys.get(keys.partition_point(|key| *key <= begin)..).unwrap_or_default();
        let near = |key: &u64| (key - begin) as f64 <= wanted * LONGEST_SEGMENT;
        let off = |key: &u64| ((key - begin) as f64 - wanted).abs();
        let candidates = after.iter().copied().take_while(near).chain([frames].into_iter().filter(near));
        let next = candidates.min_by(|a, b| off(a).total_cmp(&off(b)));
        begin = next.ok_or_else(|| after.first().unwrap_or(&frames) - begin)?;
        edges.push(begin);
    }
    Ok(edges)
}

/// Fails if the source has more kilobits a second than `most`, or far more in one segment.
fn within_rate(video: &Video, edges: &[u64], rate: Rational, most: f64) -> Result<(), String> {
    let kbps = |from: u64, to: u64| {
        let range = usize::try_from(from).unwrap_or(0)..usize::try_from(to).unwrap_or(0);
        rate_of(video.timeline.spans.get(range).unwrap_or_default(), rate.seconds(to - from))
    };
    let all = kbps(0, edges.last().copied().unwrap_or(1));
    if all > most {
        return Err(format!("it has {all:.0} kb/s, more than {most:.0}"));
    }
    let peak = edges.windows(2).map(|pair| kbps(pair[0], pair[1])).fold(0.0, f64::max);
    if peak > most * PEAK {
        return Err(format!("it has {peak:.0} kb/s in one segment, more than {:.0}", most * PEAK));
    }
    Ok(())
}

/// Kilobits a second of the source's picture.
pub fn kbps(video: &Video) -> f64 {
    rate_of(&video.timeline.spans, video.timeline.end - video.timeline.start())
}

#[expect(clippy::cast_precision_loss, reason = "bytes of a video")]
fn rate_of(spans: &[(u64, u64)], seconds: f64) -> f64 {
    let bytes: u64 = spans.iter().map(|span| span.1 - span.0).sum();
    bytes as f64 * 8.0 / 1000.0 / seconds.max(1e-3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::media::Media;
    use crate::plan::hls::plan;
    use crate::plan::hls::tests::{media, settings};

    /// Ten seconds of 1080p at 25 frames a second and 2000 kb/s, a key frame every `group` frames, no B-frames.
    fn source(group: usize) -> Media {
        let mut media = media(10.0, |_| true);
        let timeline = &mut media.video.as_mut().unwrap().timeline;
        timeline.keys = timeline.times.iter().copied().step_by(group).collect();
        timeline.spans = (0..250).map(|frame| (frame * 10_000, (frame + 1) * 10_000)).collect();
        media
    }

    fn copying() -> HlsSettings {
        HlsSettings { copy_over: Some(1.0), ..settings() }
    }

    #[track_caller]
    fn check(media: &Media, settings: &HlsSettings, expected: Result<&[(u64, u64)], &str>) {
        let plan = plan(media, settings).unwrap();
        match (expected, &plan.top) {
            (Ok(segments), Top::Copied) => {
                let found: Vec<_> = (0..plan.grid.segments()).map(|segment| plan.grid.segment(segment)).collect();
                assert_eq!(found, segments);
            }
            (Err(expected), Top::Encoded { because }) => assert_eq!(because, expected),
            (expected, found) => panic!("{found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn segments_follow_the_key_frames_of_the_source() {
        check(&source(50), &copying(), Ok(&[(0, 150), (150, 100)]));
        check(&source(110), &copying(), Ok(&[(0, 110), (110, 140)]));
        check(&source(250), &copying(), Ok(&[(0, 250)]));
    }

    #[test]
    fn key_frames_too_far_apart_are_no_segments() {
        let short = HlsSettings { segment_seconds: 3.0, ..copying() };
        check(&source(250), &short, Err("its key frames are up to 10.0 s apart"));
    }

    #[test]
    fn open_groups_are_not_cut() {
        let mut open = source(50);
        let timeline = &mut open.video.as_mut().unwrap().timeline;
        // The picture shown before every key frame is decoded after it.
        for key in (50..250).step_by(50) {
            timeline.spans.swap(key - 1, key);
        }
        check(&open, &copying(), Ok(&[(0, 250)]));
    }

    #[test]
    fn what_is_not_as_the_rendition_has_to_be_is_said() {
        let with = |change: fn(&mut Video)| {
            let mut media = source(50);
            change(media.video.as_mut().unwrap());
            media
        };
        let check = |media: &Media, because| check(media, &copying(), Err(because));
        check(&with(|video| video.codec = "hevc".into()), "its codec is hevc, not h264");
        check(&with(|video| video.pixel_format = "yuv422p".into()), "its pictures are yuv422p, not yuv420p");
        check(&with(|video| video.interlaced = true), "it is interlaced");
        check(&with(|video| video.rotation = 90), "its pictures have to be turned");
        check(&with(|video| video.width = 2560), "it is 2560x1080, not 1920x810");
        check(&with(|video| video.range = Some("pc".into())), "its colours are not those of BT.709");
        check(&with(|video| video.timeline.spans.clear()), "its container does not tell where its pictures lie");
        check(&with(|video| video.timeline.times[7] += 0.02), "its pictures do not come at a constant rate");
        check(
            &with(|video| video.timeline.spans.rotate_left(3)),
            "its pictures are put in order over more than 2 frames",
        );
    }

    #[test]
    fn a_source_with_many_bits_is_encoded() {
        let media = source(50);
        let tight = HlsSettings { copy_over: Some(0.5), ..copying() };
        check(&media, &tight, Err("it has 2000 kb/s, more than 1575"));
        check(&media, &HlsSettings { copy_over: None, ..copying() }, Err("copying is turned off"));
    }
}
