//! WebP's container: metadata around a picture that an encoder made, how many pictures a file holds, and
//! whether it is whole.

/// What stands beside the pixels.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside<'a> {
    /// The colour profile.
    pub icc: Option<&'a [u8]>,
    /// The Exif block, a small TIFF file.
    pub exif: Option<&'a [u8]>,
    /// XMP.
    pub xmp: Option<&'a [u8]>,
}

/// Most bytes of a container around all that is beside the pixels.
pub const OVERHEAD: u64 = 64;

/// `encoded`, a plain lossy WebP of this size, with what stands beside it.
pub fn with_metadata(encoded: &[u8], (width, height): (u32, u32), beside: Beside<'_>) -> Vec<u8> {
    let Beside { icc, exif, xmp } = beside;
    if icc.is_none() && exif.is_none() && xmp.is_none() {
        return encoded.to_vec();
    }
    let flag = |there: bool, bit: u8| if there { bit } else { 0 };
    let flags = flag(icc.is_some(), 0x20) | flag(exif.is_some(), 0x08) | flag(xmp.is_some(), 0x04);
    let mut extended = vec![flags, 0, 0, 0];
    for side in [width, height] {
        extended.extend_from_slice(&side.saturating_sub(1).to_le_bytes()[..3]);
    }
    let mut body = [b"WEBP".to_vec(), chunk(*b"VP8X", &extended)].concat();
    body.extend(icc.map(|icc| chunk(*b"ICCP", icc)).unwrap_or_default());
    body.extend_from_slice(encoded.get(12..).unwrap_or_default());
    body.extend(exif.map(|exif| chunk(*b"EXIF", exif)).unwrap_or_default());
    body.extend(xmp.map(|xmp| chunk(*b"XMP ", xmp)).unwrap_or_default());
    chunk(*b"RIFF", &body)
}

/// Whether a file is as long as it says.
pub fn is_whole(bytes: &[u8]) -> bool {
    let length = bytes.get(4..8).and_then(|length| length.try_into().ok()).map_or(u32::MAX, u32::from_le_bytes);
    // An odd length is meant with the byte that fills it up, which some writers leave out.
    8 + u64::from(length & !1) <= bytes.len() as u64
}

/// The pictures of a film; none in a file that is none.
pub fn frames(bytes: &[u8]) -> usize {
    let mut frames = 0;
    let mut at = 12;
    while let Some(header) = bytes.get(at..at + 8) {
        frames += usize::from(header.starts_with(b"ANMF"));
        let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
        at += 8 + length.next_multiple_of(2);
    }
    frames
}

fn chunk(name: [u8; 4], body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
    let padding: &[u8] = if body.len() % 2 == 1 { &[0] } else { &[] };
    [&name[..], &length, body, padding].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beside_the_pixels_is_named_and_padded() {
        let plain = [b"RIFF\x10\0\0\0WEBP".as_slice(), &chunk(*b"VP8 ", b"abcd")].concat();
        assert_eq!(with_metadata(&plain, (3, 2), Beside::default()), plain, "nothing beside it, nothing changed");
        let beside = Beside { icc: Some(b"icc"), exif: None, xmp: Some(b"xm") };
        let file = with_metadata(&plain, (0x12345, 2), beside);
        let expected =
            b"RIFF\x38\0\0\0WEBPVP8X\x0a\0\0\0\x24\0\0\0\x44\x23\x01\x01\0\0ICCP\x03\0\0\0icc\0VP8 \x04\0\0\0abcdXMP \x02\0\0\0xm";
        assert_eq!(file, expected);
        assert!(file.len() as u64 <= plain.len() as u64 + 5 + OVERHEAD);
    }

    #[test]
    fn the_pictures_of_a_film_are_counted() {
        let film = |frames: usize| [b"RIFF\0\0\0\0WEBP".to_vec(), chunk(*b"ANMF", b"odd").repeat(frames)].concat();
        for count in 0..3 {
            assert_eq!(frames(&film(count)), count);
        }
        assert_eq!(frames(b"RIFF\0\0\0\0WEBPANMF\xff\xff\xff\xff"), 1);
        assert_eq!(frames(b""), 0);
    }

    #[test]
    fn a_file_is_whole_when_it_is_as_long_as_it_says() {
        let whole = chunk(*b"RIFF", b"WEBPodd");
        assert!(is_whole(&whole) && is_whole(&whole[..whole.len() - 1]), "the filling may be missing");
        assert!((0..whole.len() - 2).all(|cut| !is_whole(&whole[..cut])));
    }
}
