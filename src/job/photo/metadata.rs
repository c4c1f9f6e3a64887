//! What a picture says of itself besides its pixels, and what of it goes along.

use super::picture::Described;
use crate::format::exif::{self, Change};
use crate::format::jpeg::{self, Jpeg};
use crate::format::{avif, place, webp};
use crate::plan::photo::Format;

/// Metadata larger than this part of the limit is cut down to what matters most.
const LARGEST_PART: u64 = 4;

/// What goes along with a picture.
#[derive(Clone, Debug, Default)]
pub(super) struct Along {
    exif: Option<Vec<u8>>,
    icc: Option<Vec<u8>>,
    xmp: Option<Vec<u8>>,
    /// Captions and comments, as segments of a JPEG; no other format has a place for them.
    words: Vec<u8>,
}

/// What a picture that is written anew will be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anew {
    /// Its columns and rows, upright.
    pub(super) size: (u32, u32),
    /// 1 grey, 3 colour.
    pub(super) components: u8,
    /// Whether it may say where it was taken.
    pub(super) keep_location: bool,
    /// Most bytes of it.
    pub(super) room: u64,
}

impl Along {
    /// Of a JPEG.
    pub(super) fn of_jpeg(source: &Jpeg<'_>, anew: Anew) -> Self {
        let words = source.segments.iter().filter(|segment| segment.is_words());
        let along = Self {
            exif: source.exif().and_then(|tiff| exif_anew(tiff, anew)),
            icc: source.icc().filter(|profile| fits_colour(profile, anew.components)),
            xmp: source.segments.iter().find_map(jpeg::Segment::xmp).map(|xml| xmp_anew(xml, anew.keep_location)),
            words: words.filter_map(|segment| jpeg::segment(segment.marker, &[segment.body])).flatten().collect(),
        };
        along.cut_down(anew.room)
    }

    /// Of a picture in another format.
    pub(super) fn of_other(source: &Described, anew: Anew) -> Self {
        // Some writers keep JPEG's mark before the block.
        let tiff = source.exif.as_deref().map(|exif| exif.strip_prefix(b"Exif\0\0").unwrap_or(exif));
        let along = Self {
            exif: tiff.and_then(|tiff| exif_anew(tiff, anew)),
            icc: source.icc.clone().filter(|profile| fits_colour(profile, anew.components)),
            xmp: source.xmp.as_deref().map(|xml| xmp_anew(xml, anew.keep_location)),
            words: Vec::new(),
        };
        along.cut_down(anew.room)
    }

    /// Without what would leave no room for the picture.
    fn cut_down(self, room: u64) -> Self {
        let bytes = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
        let all = bytes(&self.exif) + bytes(&self.icc) + bytes(&self.xmp) + self.words.len();
        if all as u64 <= room / LARGEST_PART { self } else { Self { xmp: None, words: Vec::new(), ..self } }
    }

    /// Most bytes that it adds to a picture of that format.
    pub(super) fn bytes(&self, format: Format) -> u64 {
        let beside = [&self.exif, &self.icc, &self.xmp].into_iter().flatten().map(|part| part.len() as u64 + 1);
        match format {
            Format::Jpeg => self.segments().len() as u64,
            Format::WebP => beside.sum::<u64>() + webp::OVERHEAD,
            Format::Avif => beside.sum::<u64>() + avif::OVERHEAD,
        }
    }

    /// `encoded`, fresh from an encoder of that format, with all of this.
    pub(super) fn around(&self, encoded: &[u8], format: Format, size: (u32, u32)) -> Option<Vec<u8>> {
        let Self { exif, icc, xmp, .. } = self;
        let beside = webp::Beside { icc: icc.as_deref(), exif: exif.as_deref(), xmp: xmp.as_deref() };
        match format {
            Format::Jpeg => Some(jpeg::with_metadata(encoded, &self.segments())),
            Format::WebP => Some(webp::with_metadata(encoded, size, beside)),
            Format::Avif => Some(avif::Coded::read(encoded)?.file(size, beside)),
        }
    }

    fn segments(&self) -> Vec<u8> {
        let exif = self.exif.as_deref().and_then(jpeg::exif_segment).unwrap_or_default();
        let icc = self.icc.as_deref().map(jpeg::icc_segments).unwrap_or_default();
        let xmp = self.xmp.as_deref().and_then(jpeg::xmp_segment).unwrap_or_default();
        [exif, icc, xmp, self.words.clone()].concat()
    }
}

fn exif_anew(tiff: &[u8], Anew { size, keep_location, .. }: Anew) -> Option<Vec<u8>> {
    let mut tiff = tiff.to_vec();
    let change = Change { forget_place: !keep_location, anew: Some(size) };
    let readable = exif::change(&mut tiff, change);
    if !keep_location {
        place::forget_in_xmp(&mut tiff);
    }
    readable.then(|| exif::without_tail(&tiff).to_vec())
}

fn xmp_anew(xml: &[u8], keep_location: bool) -> Vec<u8> {
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
    xml
}

/// Whether a profile speaks of the colours the new picture has.
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
        let text = String::from_utf8_lossy(&xmp_anew(xml, false)).into_owned();
        assert!(text.contains(r#"Orientation="1""#) && text.contains(">1<") && !text.contains("GPS"), "{text}");
        assert!(String::from_utf8_lossy(&xmp_anew(xml, true)).contains("GPSLatitude=\"1\""));
    }

    #[test]
    fn metadata_that_would_leave_no_room_for_the_picture_stays_behind() {
        let described =
            Described { icc: Some(profile(*b"RGB ")), xmp: Some(vec![b' '; 50_000]), ..Described::default() };
        let along = |room| {
            let anew = Anew { size: (1, 1), components: 3, keep_location: false, room };
            Along::of_other(&described, anew).bytes(Format::Jpeg)
        };
        assert!(along(100_000) < 200 && along(1 << 20) > 50_000);
    }
}
