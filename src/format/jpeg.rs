//! JPEG files as lists of segments: what a picture says of itself, where it
//! ends, and what of it goes along when its pixels are written anew.

/// One marker segment before the first scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Its marker's second byte: 0xe1 is APP1.
    pub marker: u8,
    /// What follows its length.
    pub body: &'a [u8],
}

/// What a file says before its pixels.
#[derive(Clone, Debug)]
pub struct Jpeg<'a> {
    /// All segments before the first scan.
    pub segments: Vec<Segment<'a>>,
    /// Its frame.
    pub frame: Frame,
    /// The quality its luminance table stands for, by libjpeg's scale.
    pub quality: Option<u8>,
    /// Where the end marker ends; `None` for a file that is cut off.
    pub end: Option<usize>,
}

/// The frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// 1 grey, 3 colour, 4 CMYK.
    pub components: u8,
    /// Bits of a sample.
    pub bits: u8,
}

/// Longest body of a segment.
pub const LONGEST_BODY: usize = 65_533;

const EXIF: &[u8] = b"Exif\0\0";
const XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
const ICC: &[u8] = b"ICC_PROFILE\0";

/// libjpeg's luminance table at quality 50, summed: what a table is measured by.
const SUM_AT_50: u32 = 3688;

impl<'a> Jpeg<'a> {
    /// Reads the header; `None` if this is no JPEG, or one without a frame.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (mut segments, mut frame, mut quality) = (Vec::new(), None, None);
        let mut at = bytes.starts_with(&[0xff, 0xd8]).then_some(2)?;
        loop {
            // Any number of 0xff may stand before a marker.
            at += bytes.get(at..)?.iter().take_while(|&&byte| byte == 0xff).count().checked_sub(1)?;
            let marker = *bytes.get(at + 1)?;
            at += 2;
            if marker == 0x01 || (0xd0..=0xd7).contains(&marker) {
                continue;
            }
            let length = usize::from(be16(bytes, at)?);
            let body = bytes.get(at + 2..at + length)?;
            at += length;
            match marker {
                0xda => break,
                0xdb => quality = quality.or_else(|| table_quality(body)),
                0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => frame = Some(Frame::read(body)?),
                _ => {}
            }
            segments.push(Segment { marker, body });
        }
        Some(Self { segments, frame: frame?, quality, end: end(bytes, at) })
    }

    /// The Exif block, a small TIFF file.
    pub fn exif(&self) -> Option<&'a [u8]> {
        self.segments.iter().find_map(Segment::exif)
    }

    /// The colour profile, joined from its parts.
    pub fn icc(&self) -> Option<Vec<u8>> {
        let mut parts: Vec<_> = self.segments.iter().filter_map(Segment::icc).collect();
        parts.sort_by_key(|(number, _)| *number);
        (!parts.is_empty()).then(|| parts.into_iter().flat_map(|(_, part)| part).copied().collect())
    }
}

impl<'a> Segment<'a> {
    /// The TIFF file of an Exif segment.
    pub fn exif(&self) -> Option<&'a [u8]> {
        (self.marker == 0xe1).then(|| self.body.strip_prefix(EXIF)).flatten()
    }

    /// The XML of an XMP segment.
    pub fn xmp(&self) -> Option<&'a [u8]> {
        (self.marker == 0xe1).then(|| self.body.strip_prefix(XMP)).flatten()
    }

    /// A part of a colour profile with its number.
    fn icc(&self) -> Option<(u8, &'a [u8])> {
        let rest = (self.marker == 0xe2).then(|| self.body.strip_prefix(ICC)).flatten()?;
        Some((*rest.first()?, rest.get(2..)?))
    }

    /// Whether it holds what a person wrote: captions and comments.
    pub fn is_words(&self) -> bool {
        matches!(self.marker, 0xed | 0xfe)
    }
}

impl Frame {
    fn read(body: &[u8]) -> Option<Self> {
        let frame = Self {
            bits: *body.first()?,
            height: be16(body, 1)?.into(),
            width: be16(body, 3)?.into(),
            components: *body.get(5)?,
        };
        (frame.width > 0 && frame.height > 0).then_some(frame)
    }
}

/// An Exif segment of a TIFF block, if it fits into one.
pub fn exif_segment(tiff: &[u8]) -> Option<Vec<u8>> {
    segment(0xe1, &[EXIF, tiff])
}

/// An XMP segment, if it fits into one.
pub fn xmp_segment(xml: &[u8]) -> Option<Vec<u8>> {
    segment(0xe1, &[XMP, xml])
}

/// The segments of a colour profile.
pub fn icc_segments(profile: &[u8]) -> Vec<u8> {
    let parts: Vec<_> = profile.chunks(LONGEST_BODY - ICC.len() - 2).collect();
    // A profile of more than 255 parts is none.
    let Ok(count) = u8::try_from(parts.len()) else { return Vec::new() };
    let part = |(number, part): (u8, &&[u8])| segment(0xe2, &[ICC, &[number, count], part]).unwrap_or_default();
    (1..=count).zip(&parts).flat_map(part).collect()
}

/// A segment of any kind, if its parts fit into one.
pub fn segment(marker: u8, parts: &[&[u8]]) -> Option<Vec<u8>> {
    let body = parts.concat();
    let length = u16::try_from(body.len() + 2).ok()?;
    Some([&[0xff, marker], &length.to_be_bytes()[..], &body].concat())
}

/// `encoded`, fresh from an encoder, with `metadata` segments behind its first one.
pub fn with_metadata(encoded: &[u8], metadata: &[u8]) -> Vec<u8> {
    let jfif = encoded.get(2..4) == Some(&[0xff, 0xe0]);
    let first = if jfif { 4 + usize::from(be16(encoded, 4).unwrap_or_default()) } else { 2 };
    let (head, tail) = encoded.split_at(first.min(encoded.len()));
    [head, metadata, tail].concat()
}

/// The end of the last scan that begins at `at`, end marker included.
fn end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += bytes.get(at..)?.iter().position(|&byte| byte == 0xff)? + 1;
        match *bytes.get(at)? {
            0xd9 => return Some(at + 1),
            // Stuffing, restart markers, fill bytes.
            0x00 | 0x01 | 0xd0..=0xd7 | 0xff => {}
            // Between the scans of a progressive picture.
            _ => at += 1 + usize::from(be16(bytes, at + 1)?),
        }
    }
}

/// The quality of libjpeg whose luminance table is nearest to the one in `body`.
fn table_quality(body: &[u8]) -> Option<u8> {
    let kind = *body.first()?;
    if kind & 0x0f != 0 {
        return None;
    }
    let sum: u32 = if kind >> 4 == 0 {
        body.get(1..65)?.iter().map(|&step| u32::from(step)).sum()
    } else {
        (0..64).map(|step| be16(body, 1 + step * 2).map(u32::from)).sum::<Option<u32>>()?
    };
    let scale = sum * 100 / SUM_AT_50;
    let quality = if scale >= 100 { 5000 / scale } else { 100 - scale / 2 };
    u8::try_from(quality.clamp(1, 100)).ok()
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(metadata: &[u8]) -> Vec<u8> {
        let table = segment(0xdb, &[&[0], &[16; 64]]).unwrap();
        let frame = segment(0xc0, &[&[8, 0, 20, 0, 30, 3]]).unwrap();
        let scan = segment(0xda, &[&[0]]).unwrap();
        [&[0xff, 0xd8], metadata, &table, &frame, &scan, &[1, 0xff, 0, 0xff, 0xd0, 2, 0xff, 0xd9]].concat()
    }

    #[test]
    fn a_picture_says_its_size_and_where_it_ends() {
        let bytes = picture(&[]);
        let jpeg = Jpeg::read(&bytes).unwrap();
        assert_eq!(jpeg.frame, Frame { width: 30, height: 20, components: 3, bits: 8 });
        assert_eq!(jpeg.end, Some(bytes.len()));
        assert_eq!(jpeg.quality, Some(87), "a sum of 1024 is 27 % of the table of 50");
        assert_eq!(Jpeg::read(bytes.get(..bytes.len() - 1).unwrap()).unwrap().end, None);
        assert_eq!(Jpeg::read(&[bytes.as_slice(), b"film"].concat()).unwrap().end, Some(bytes.len()));
        for cut in 0..bytes.len() - 9 {
            assert!(Jpeg::read(bytes.get(..cut).unwrap()).is_none(), "{cut}");
        }
    }

    #[test]
    fn metadata_comes_back_as_it_was_put() {
        let profile: Vec<u8> = (0..150_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        let metadata = [exif_segment(b"MM").unwrap(), xmp_segment(b"<x/>").unwrap(), icc_segments(&profile)].concat();
        let bytes = with_metadata(&picture(&segment(0xe0, &[b"JFIF\0"]).unwrap()), &metadata);
        let jpeg = Jpeg::read(&bytes).unwrap();
        assert_eq!(jpeg.segments.first().map(|segment| segment.marker), Some(0xe0));
        assert_eq!(jpeg.exif(), Some(&b"MM"[..]));
        assert_eq!(jpeg.segments.iter().find_map(Segment::xmp), Some(&b"<x/>"[..]));
        assert_eq!(jpeg.icc(), Some(profile));
        assert!(exif_segment(&vec![0; 65_530]).is_none());
    }
}
