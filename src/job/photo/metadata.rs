//! What a picture says of itself besides its pixels, and what of it goes along.

use super::picture::Described;
use crate::format::exif::{self, Change};
use crate::format::jpeg::{self, Jpeg};
use crate::format::place;

/// Metadata larger than this part of the limit is cut down to what matters most.
const LARGEST_PART: u64 = 4;

/// The metadata segments of a JPEG whose pixels are written anew, upright in `size`.
pub(super) fn of_jpeg(source: &Jpeg<'_>, size: (u32, u32), components: u8, keep_location: bool, room: u64) -> Vec<u8> {
    let mut kept = Vec::new();
    let exif = source.exif().and_then(|tiff| exif_anew(tiff, size, keep_location));
    kept.extend(exif);
    kept.extend(source.icc().filter(|profile| fits_colour(profile, components)).map(|icc| jpeg::icc_segments(&icc)));
    let mut extra = Vec::new();
    for segment in &source.segments {
        if let Some(xml) = segment.xmp() {
            extra.extend(xmp_anew(xml, keep_location));
        } else if segment.is_words() {
            extra.extend(jpeg::segment(segment.marker, &[segment.body]));
        }
    }
    joined(&kept, &extra, room)
}

/// The metadata segments for a picture that came in another format.
pub(super) fn of_other(source: &Described, size: (u32, u32), keep_location: bool, room: u64) -> Vec<u8> {
    let mut kept = Vec::new();
    // Some writers keep JPEG's mark before the block.
    let tiff = source.exif.as_deref().map(|exif| exif.strip_prefix(b"Exif\0\0").unwrap_or(exif));
    kept.extend(tiff.and_then(|tiff| exif_anew(tiff, size, keep_location)));
    kept.extend(source.icc.as_ref().filter(|profile| fits_colour(profile, 3)).map(|icc| jpeg::icc_segments(icc)));
    let extra = source.xmp.as_deref().and_then(|xml| xmp_anew(xml, keep_location));
    joined(&kept, &extra.into_iter().collect::<Vec<_>>(), room)
}

fn joined(kept: &[Vec<u8>], extra: &[Vec<u8>], room: u64) -> Vec<u8> {
    let (kept, extra) = (kept.concat(), extra.concat());
    if (kept.len() + extra.len()) as u64 > room / LARGEST_PART { kept } else { [kept, extra].concat() }
}

fn exif_anew(tiff: &[u8], size: (u32, u32), keep_location: bool) -> Option<Vec<u8>> {
    let mut tiff = tiff.to_vec();
    let change = Change { forget_place: !keep_location, anew: Some(size) };
    let readable = exif::change(&mut tiff, change);
    if !keep_location {
        place::forget_in_xmp(&mut tiff);
    }
    readable.then(|| jpeg::exif_segment(exif::without_tail(&tiff))).flatten()
}

fn xmp_anew(xml: &[u8], keep_location: bool) -> Option<Vec<u8>> {
    let mut xml = xml.to_vec();
    if !keep_location {
        place::forget_in_xmp(&mut xml);
    }
    // The pixels are upright now; a second opinion would turn them again.
    for (before, after) in [(&b"tiff:Orientation=\""[..], &b"\""[..]), (b"<tiff:Orientation>", b"</tiff:Orientation>")]
    {
        let places: Vec<_> = xml.windows(before.len()).enumerate().filter(|(_, window)| *window == before).collect();
        let values: Vec<_> = places.into_iter().map(|(at, _)| at + before.len()).collect();
        for value in values {
            if xml.get(value + 1..).is_some_and(|rest| rest.starts_with(after)) {
                xml[value] = b'1';
            }
        }
    }
    jpeg::xmp_segment(&xml)
}

/// Whether a profile speaks of the colours the new JPEG has.
fn fits_colour(profile: &[u8], components: u8) -> bool {
    match profile.get(16..20) {
        Some(b"RGB ") => components == 3,
        Some(b"GRAY") => components == 1,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(colours: [u8; 4]) -> Vec<u8> {
        [&[0; 16][..], &colours, &[7; 100]].concat()
    }

    #[test]
    fn a_profile_for_other_colours_does_not_go_along() {
        assert!(fits_colour(&profile(*b"RGB "), 3) && fits_colour(&profile(*b"GRAY"), 1));
        assert!(!fits_colour(&profile(*b"CMYK"), 3) && !fits_colour(&profile(*b"GRAY"), 3));
        assert!(!fits_colour(b"short", 3));
    }

    #[test]
    fn xmp_says_upright_and_no_place() {
        let xml = br#"<d tiff:Orientation="6" exif:GPSLatitude="1"><tiff:Orientation>8</tiff:Orientation></d>"#;
        let text = String::from_utf8_lossy(&xmp_anew(xml, false).unwrap()).into_owned();
        assert!(text.contains(r#"Orientation="1""#) && text.contains(">1<") && !text.contains("GPS"), "{text}");
        assert!(String::from_utf8_lossy(&xmp_anew(xml, true).unwrap()).contains("GPSLatitude=\"1\""));
    }

    #[test]
    fn metadata_that_would_leave_no_room_for_the_picture_stays_behind() {
        let described =
            Described { icc: Some(profile(*b"RGB ")), xmp: Some(vec![b' '; 50_000]), ..Described::default() };
        let (small, large) =
            (of_other(&described, (1, 1), false, 100_000), of_other(&described, (1, 1), false, 1 << 20));
        assert!(small.len() < 200 && large.len() > 50_000);
    }
}
