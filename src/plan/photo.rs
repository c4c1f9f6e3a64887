//! What is made of a picture: which files are pictures, what is copied as it
//! is, and in which size the others are written anew.

use std::ffi::OsString;
use std::path::Path;

use sha2::{Digest as _, Sha256};

/// What the user wants of pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct PhotoSettings {
    /// Most bytes of a picture.
    pub max_bytes: u64,
    /// Longest edge in pixels; `None` leaves sizes alone.
    pub max_edge: Option<u32>,
    /// Leave the place in that the camera wrote.
    pub keep_location: bool,
    /// Best quality that is spent, by libjpeg's scale.
    pub quality: u8,
    /// Below this quality the picture is made smaller instead.
    pub quality_floor: u8,
    /// Most pixels of a picture that is decoded.
    pub max_pixels: u64,
}

/// Kinds of files that are pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// JPEG.
    Jpeg,
    /// PNG.
    Png,
    /// WebP.
    WebP,
    /// TIFF, but no camera's raw file.
    Tiff,
    /// HEIC, and AVIF in the same container.
    Heic,
    /// GIF.
    Gif,
    /// Windows bitmap.
    Bmp,
}

/// Bytes of a file's head that tell its kind.
pub const HEAD: usize = 32;

/// Endings under which pictures are looked for in folders.
const ENDINGS: [&str; 15] =
    ["jpg", "jpeg", "jpe", "jfif", "mpo", "png", "webp", "tif", "tiff", "heic", "heif", "hif", "avif", "gif", "bmp"];

/// Endings of raw files, of which some look like TIFF inside.
const RAW: [&str; 15] =
    ["dng", "cr2", "cr3", "nef", "nrw", "arw", "sr2", "orf", "rw2", "raf", "pef", "srw", "raw", "3fr", "iiq"];

/// Brands of HEIC and AVIF files.
const BRANDS: [&[u8]; 8] = [b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1", b"avif"];

/// What a file's name promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// A picture.
    Picture,
    /// A camera's raw data, which need a developer and not a shrinker.
    Raw,
    /// Something else.
    Other,
}

/// What the ending of a name promises.
pub fn promise(name: &str) -> Promise {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending).to_ascii_lowercase();
    match ending.as_str() {
        ending if ENDINGS.contains(&ending) => Promise::Picture,
        ending if RAW.contains(&ending) => Promise::Raw,
        _ => Promise::Other,
    }
}

/// The kind of a file by its first bytes, whatever its name says.
pub fn kind(head: &[u8]) -> Option<Kind> {
    let brand = || head.get(8..12).filter(|_| head.get(4..8) == Some(b"ftyp"));
    match head {
        [0xff, 0xd8, 0xff, ..] => Some(Kind::Jpeg),
        [0x89, b'P', b'N', b'G', ..] => Some(Kind::Png),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Kind::WebP),
        [b'I', b'I', b'*', 0, ..] | [b'M', b'M', 0, b'*', ..] => Some(Kind::Tiff),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Kind::Gif),
        [b'B', b'M', _, _, _, _, 0, 0, 0, 0, ..] => Some(Kind::Bmp),
        _ => brand().filter(|brand| BRANDS.contains(brand)).map(|_| Kind::Heic),
    }
}

impl Kind {
    /// Whether mail programs and browsers show it, so that it may stay what it is.
    pub fn is_shown_everywhere(self) -> bool {
        matches!(self, Self::Jpeg | Self::Png | Self::WebP | Self::Gif)
    }

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::WebP => "image/webp",
            Self::Tiff => "image/tiff",
            Self::Heic => "image/heic",
            Self::Gif => "image/gif",
            Self::Bmp => "image/bmp",
        }
    }
}

impl PhotoSettings {
    /// Whether a file of this kind and size may be copied as it is.
    pub fn fits(&self, kind: Kind, bytes: u64, (width, height): (u32, u32)) -> bool {
        let small = self.max_edge.is_none_or(|edge| width.max(height) <= edge);
        kind.is_shown_everywhere() && bytes <= self.max_bytes && small
    }

    /// The size to begin with: inside the longest edge, and never larger than it is.
    pub fn first_size(&self, size: (u32, u32)) -> (u32, u32) {
        let longest = size.0.max(size.1);
        match self.max_edge {
            Some(edge) if edge < longest => scaled(size, f64::from(edge) / f64::from(longest)),
            _ => size,
        }
    }

    /// Names what makes one run's pictures differ from another's.
    pub fn digest(&self) -> String {
        let Self { max_bytes, max_edge, keep_location, quality, quality_floor, max_pixels: _ } = self;
        let text = format!("1 {max_bytes} {max_edge:?} {keep_location} {quality} {quality_floor}");
        let mut digest = hex::encode(Sha256::digest(text));
        digest.truncate(16);
        digest
    }
}

/// What libheif's converter is told: a JPEG that loses next to nothing.
pub fn heif_arguments(input: &Path, output: &Path) -> Vec<OsString> {
    vec!["-q".into(), "100".into(), "--".into(), input.into(), output.into()]
}

/// A size times `factor`, at least one pixel.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sizes of pictures are small")]
pub fn scaled((width, height): (u32, u32), factor: f64) -> (u32, u32) {
    let side = |side: u32| ((f64::from(side) * factor).round() as u32).clamp(1, side.max(1));
    (side(width), side(height))
}

/// The next smaller size, when `bytes` at the lowest quality are more than `room`.
#[expect(clippy::cast_precision_loss, reason = "sizes of files are estimates here")]
pub fn smaller(size: (u32, u32), bytes: u64, room: u64) -> (u32, u32) {
    // Small pictures have more bits a pixel: a little less than the ratio says.
    let factor = (room.max(1) as f64 / bytes.max(1) as f64).sqrt() * 0.97;
    let (width, height) = scaled(size, factor.clamp(0.05, 0.97));
    (width.min(size.0.saturating_sub(1).max(1)), height.min(size.1.saturating_sub(1).max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(max_edge: Option<u32>) -> PhotoSettings {
        PhotoSettings {
            max_bytes: 5_000_000,
            max_edge,
            keep_location: false,
            quality: 96,
            quality_floor: 75,
            max_pixels: 100_000_000,
        }
    }

    #[test]
    fn nothing_is_enlarged() {
        let cases = [
            (None, (6000, 4000), (6000, 4000)),
            (Some(3000), (6000, 4000), (3000, 2000)),
            (Some(3000), (4000, 6000), (2000, 3000)),
            (Some(3000), (300, 200), (300, 200)),
            (Some(100), (10_000, 1), (100, 1)),
        ];
        for (edge, size, expected) in cases {
            assert_eq!(settings(edge).first_size(size), expected);
        }
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        let fits = |edge, kind, bytes| settings(edge).fits(kind, bytes, (4000, 3000));
        assert!(fits(None, Kind::Jpeg, 5_000_000) && fits(Some(4000), Kind::Png, 1));
        assert!(!fits(None, Kind::Jpeg, 5_000_001) && !fits(Some(3999), Kind::Jpeg, 1));
        assert!(!fits(None, Kind::Tiff, 1) && !fits(None, Kind::Heic, 1), "not every mail program shows these");
    }

    #[test]
    fn a_smaller_size_is_always_smaller_and_never_nothing() {
        assert_eq!(smaller((6000, 4000), 20_000_000, 5_000_000), (2910, 1940));
        assert_eq!(smaller((2, 1), 5_000_001, 5_000_000), (1, 1));
        let (width, height) = smaller((100, 100), 5_000_001, 5_000_000);
        assert!(width < 100 && height < 100);
    }

    #[test]
    fn kinds_are_told_by_bytes_and_folders_by_endings() {
        assert_eq!(kind(b"\0\0\0\x18ftypheic\0\0\0\0"), Some(Kind::Heic));
        assert_eq!(kind(b"RIFF\0\0\0\0WEBPVP8 "), Some(Kind::WebP));
        assert_eq!(kind(b"\0\0\0\x18ftypisom\0\0\0\0"), None);
        assert_eq!(kind(b""), None);
        let promises = ["a.JPG", "a.b.heic", "IMG.DNG", "a.mp4", "jpg"].map(promise);
        let expected = [Promise::Picture, Promise::Picture, Promise::Raw, Promise::Other, Promise::Other];
        assert_eq!(promises, expected);
    }

    #[test]
    fn names_that_look_like_options_are_none() {
        let arguments = heif_arguments(Path::new("-x"), Path::new("-y"));
        assert_eq!(arguments, ["-q", "100", "--", "-x", "-y"]);
    }

    #[test]
    fn other_wishes_make_other_pictures() {
        assert_ne!(settings(None).digest(), settings(Some(1)).digest());
    }
}
