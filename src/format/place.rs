//! Where a picture was taken, taken out of a whole file without touching its
//! pixels. Nothing moves within a JPEG: what is found is blanked where it lies,
//! in the file, in pictures behind it, and in the short film some phones add.

use std::ops::Range;

use super::exif::{self, Change};
use super::jpeg::Jpeg;
use super::png;

const FORGET: Change = Change { forget_place: true, anew: None };

/// Longest text from an XMP name to its end.
const LONGEST_VALUE: usize = 512;

/// Longest prefix of an XMP name; those in use have a third of it.
const LONGEST_PREFIX: usize = 32;

/// Boxes of a film that hold a place.
const FILM_BOXES: [&[u8]; 2] = [b"\xa9xyz", b"loci"];

/// Takes the place out of a JPEG.
pub fn forget_in_jpeg(bytes: &mut [u8]) {
    let mut from = 0;
    while let Some(at) = find(bytes, b"Exif\0\0", from) {
        from = at + 6;
        let length = at.checked_sub(2).and_then(|before| bytes.get(before..at));
        let length = length.map_or(0, |length| usize::from(length[0]) << 8 | usize::from(length[1]));
        let end = (at + length.saturating_sub(2)).min(bytes.len());
        let Some(tiff) = bytes.get_mut(from..end) else { continue };
        if (tiff.starts_with(b"II*\0") || tiff.starts_with(b"MM\0*")) && !exif::change(tiff, FORGET) {
            tiff.fill(0);
        }
    }
    forget_in_xmp(bytes);
    if let Some(end) = Jpeg::read(bytes).and_then(|jpeg| jpeg.end) {
        forget_in_film(bytes.get_mut(end..).unwrap_or_default());
    }
}

/// Takes the place out of a PNG, which may lose whole chunks for it.
pub fn forget_in_png(bytes: &[u8]) -> Vec<u8> {
    let mut kept = bytes.get(..png::SIGNATURE).unwrap_or(bytes).to_vec();
    let mut at = png::SIGNATURE;
    while let Some((kind, length)) = png::chunk(bytes, at) {
        let Some(chunk) = bytes.get(at..at + length + 12) else { break };
        at += chunk.len();
        let mut data = chunk.get(8..8 + length).unwrap_or_default().to_vec();
        let keep = match &kind {
            b"eXIf" => exif::change(&mut data, FORGET),
            b"iTXt" if data.starts_with(b"XML:com.adobe.xmp\0") => {
                forget_in_xmp(&mut data);
                // A compressed one cannot be searched.
                data.get(18) == Some(&0)
            }
            b"tEXt" | b"zTXt" | b"iTXt" => !data.starts_with(b"Raw profile type "),
            _ => {
                kept.extend_from_slice(chunk);
                continue;
            }
        };
        if keep {
            let body = [&kind[..], &data].concat();
            kept.extend_from_slice(chunk.get(..4).unwrap_or_default());
            kept.extend_from_slice(&body);
            kept.extend_from_slice(&crc(&body).to_be_bytes());
        }
    }
    kept.extend_from_slice(bytes.get(at..).unwrap_or_default());
    kept
}

/// Takes the place out of a WebP.
pub fn forget_in_webp(bytes: &mut [u8]) {
    let mut at = 12;
    while let Some(header) = bytes.get(at..at + 8) {
        let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
        let is_exif = header.starts_with(b"EXIF");
        let end = at.saturating_add(8).saturating_add(length).min(bytes.len());
        if let Some(body) = bytes.get_mut(at + 8..end).filter(|_| is_exif) {
            let tiff = if body.starts_with(b"Exif\0\0") { body.get_mut(6..).unwrap_or_default() } else { body };
            if !exif::change(tiff, FORGET) {
                tiff.fill(0);
            }
        }
        at = end + length % 2;
    }
    forget_in_xmp(bytes);
}

/// Blanks every GPS property of XMP in `bytes`, whatever else they are and whoever's it is:
/// `exif:GPSLatitude` is the standard's, `drone-dji:GpsLongtitude` a drone maker's.
pub fn forget_in_xmp(bytes: &mut [u8]) {
    let mut from = 0;
    while let Some(colon) = find(bytes, b":", from) {
        from = colon + 1;
        if let Some(property) = gps_property(bytes, colon) {
            from = property.end.max(from);
            bytes.get_mut(property).unwrap_or_default().fill(b' ');
        }
    }
}

/// The attribute or element whose name has its colon at `colon`, if it is one of GPS.
fn gps_property(bytes: &[u8], colon: usize) -> Option<Range<usize>> {
    if !bytes.get(colon + 1..colon + 4)?.eq_ignore_ascii_case(b"gps") {
        return None;
    }
    let before = bytes.get(colon.saturating_sub(LONGEST_PREFIX)..colon)?;
    let prefix = before.iter().rev().take_while(|byte| is_of_name(**byte)).count();
    let at = colon - prefix;
    let element = bytes.get(..at)?.last() == Some(&b'<');
    let rest = bytes.get(at..(at + LONGEST_VALUE).min(bytes.len()))?;
    let name = prefix + 1 + rest.get(prefix + 1..)?.iter().take_while(|byte| is_of_name(**byte)).count();
    let end = at + if element { element_length(rest, name) } else { attribute_length(rest, name)? };
    (prefix > 0).then_some(at - usize::from(element)..end)
}

/// Whether a name of XML may have this byte, colons apart.
fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// Bytes of the element whose name of `name` bytes `rest` begins with.
fn element_length(rest: &[u8], name: usize) -> usize {
    let closing = [b"</", rest.get(..name).unwrap_or_default(), b">"].concat();
    let whole = find(rest, &closing, 0).map(|found| found + closing.len());
    // Broken XML: at least the name goes, and with it the meaning.
    whole.or_else(|| find(rest, b"/>", 0).map(|found| found + 2)).unwrap_or(name)
}

/// Bytes of the attribute whose name of `name` bytes `rest` begins with; `None` if it is none:
/// the same letters stand in compressed pixels, if one only looks long enough.
fn attribute_length(rest: &[u8], name: usize) -> Option<usize> {
    let equals = name + spaces(rest.get(name..)?);
    let quote = equals + 1 + spaces(rest.get(equals + 1..)?);
    let mark = rest.get(quote..=quote).filter(|mark| matches!(mark, [b'"' | b'\'']))?;
    if rest.get(equals) != Some(&b'=') {
        return None;
    }
    Some(find(rest, mark, quote + 1).map_or(name, |close| close + 1))
}

fn spaces(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

fn forget_in_film(bytes: &mut [u8]) {
    for kind in FILM_BOXES {
        let mut from = 0;
        while let Some(at) = find(bytes, kind, from) {
            from = at + 4;
            let size = at.checked_sub(4).and_then(|before| bytes.get(before..at));
            let size = size.and_then(|size| size.try_into().ok()).map_or(0, u32::from_be_bytes) as usize;
            // The same four bytes within the film's pictures have no such size before them.
            if (12..=256).contains(&size) {
                bytes.get_mut(from..at - 4 + size).unwrap_or_default().fill(0);
            }
        }
    }
}

/// The first place from `from` on where `word` stands.
fn find(bytes: &[u8], word: &[u8], from: usize) -> Option<usize> {
    let (&first, tail) = word.split_first()?;
    let mut at = from;
    loop {
        at += bytes.get(at..)?.iter().position(|&byte| byte == first)?;
        if bytes.get(at + 1..)?.starts_with(tail) {
            return Some(at);
        }
        at += 1;
    }
}

/// PNG's checksum.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xmp_loses_the_place_and_keeps_its_length() {
        let xmp = br#"<d exif:GPSLatitude="52,30N" a='1' exif:GPSLongitude = '13,2E'><exif:GPSAltitude>3</exif:GPSAltitude><exif:GPSMapDatum/><b/></d>"#;
        let mut blanked = xmp.to_vec();
        forget_in_xmp(&mut blanked);
        assert_eq!(blanked.len(), xmp.len());
        let words: Vec<_> = String::from_utf8(blanked).unwrap().split_whitespace().map(str::to_owned).collect();
        assert_eq!(words.join(" "), "<d a='1' > <b/></d>");
        for broken in [&b"exif:GPS"[..], b"<exif:GPSLatitude>", b" exif:GPSLatitude=\"5", b":GPS=", b":gps", b"a:GPS= "]
        {
            forget_in_xmp(&mut broken.to_vec());
        }
    }

    #[test]
    fn every_maker_s_own_words_for_a_place_go() {
        let cases: [(&[u8], &str); 6] = [
            (b"<d drone-dji:GpsLatitude=\"+52.5\" drone-dji:GpsLongtitude=\"+13.4\"/>", "<d />"),
            (b"<drone-dji:GpsLatitude>+52.5</drone-dji:GpsLatitude><b/>", "<b/>"),
            (b"<d A_b.c:gpsstatus='RTK' x='1'/>", "<d x='1'/>"),
            (b"<d drone-dji:GimbalRollDegree=\"+0.0\"/>", "<d drone-dji:GimbalRollDegree=\"+0.0\"/>"),
            (b"the word exif:GPSLatitude alone", "the word exif:GPSLatitude alone"),
            (b"pixels a:GPS5\xff\"\"", "pixels a:GPS5\u{fffd}\"\""),
        ];
        for (xmp, expected) in cases {
            let mut blanked = xmp.to_vec();
            forget_in_xmp(&mut blanked);
            assert_eq!(blanked.len(), xmp.len());
            let text = String::from_utf8_lossy(&blanked).into_owned();
            assert_eq!(text.split_whitespace().collect::<Vec<_>>().join(" "), expected);
        }
    }

    #[test]
    fn the_film_behind_a_picture_loses_its_place() {
        let mut film = b"\0\0\0\x1f\xa9xyz\0\x13\x15\xc7+52.5+013.4/...........\xa9xyz picture data".to_vec();
        forget_in_film(&mut film);
        assert!(find(&film, b"+52.5", 0).is_none() && find(&film, b"picture data", 0).is_some());
    }

    #[test]
    fn chunks_of_a_png_are_right_afterwards() {
        assert_eq!(crc(b"IEND"), 0xae42_6082);
        let chunk = |kind: &[u8; 4], data: &[u8]| {
            let length = u32::try_from(data.len()).unwrap().to_be_bytes();
            let body = [&kind[..], data].concat();
            [&length[..], &body, &crc(&body).to_be_bytes()].concat()
        };
        let head = b"\x89PNG\r\n\x1a\n";
        let png = [
            &head[..],
            &chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<a exif:GPSLatitude='5'/>"),
            &chunk(b"iTXt", b"XML:com.adobe.xmp\0\x01\0\0\0zlib"),
            &chunk(b"tEXt", b"Title\0A"),
            &chunk(b"IEND", b""),
        ];
        let expected = [
            &head[..],
            &chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<a                     />"),
            &chunk(b"tEXt", b"Title\0A"),
            &chunk(b"IEND", b""),
        ];
        assert_eq!(forget_in_png(&png.concat()), expected.concat());
    }
}
