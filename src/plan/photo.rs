//! What is made of a picture: which files are pictures, what is copied as it
//! is, and in which size the others are written anew.

use std::ffi::OsString;
use std::path::Path;

use crate::model::sha256::Sha256;
use crate::plan::encode::{file, words};

/// What pictures are written as, where they are written anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// What every program shows.
    Jpeg,
    /// What every browser shows.
    WebP,
    /// The smallest.
    Avif,
}

/// What the user wants of pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct PhotoSettings {
    /// What pictures become. With JPEG, whatever is shown everywhere may stay what it is.
    pub format: Format,
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
    /// HEIC.
    Heic,
    /// AVIF, in the same container.
    Avif,
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

/// Brands of HEIC files.
const BRANDS: [&[u8]; 7] = [b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"];

/// Longest edge of a WebP: its header has 14 bits for it.
const WEBP_EDGE: u32 = 16_383;

/// Bytes beside the pixels of a picture: metadata, and the short film or the second picture behind one.
const BESIDE: u64 = 256 << 20;

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
        _ if brand() == Some(b"avif") => Some(Kind::Avif),
        _ => brand().filter(|brand| BRANDS.contains(brand)).map(|_| Kind::Heic),
    }
}

impl Kind {
    /// Whether mail programs and browsers show it, so that it may stay what it is.
    pub fn is_shown_everywhere(self) -> bool {
        matches!(self, Self::Jpeg | Self::Png | Self::WebP | Self::Gif)
    }

    /// Most bytes of a file of this kind that has at most `pixels`: those as they are without compression,
    /// and what is beside and behind them.
    pub fn most_bytes(self, pixels: u64) -> u64 {
        let pixel = match self {
            Self::Tiff => 16,
            Self::Png | Self::Bmp => 8,
            Self::Jpeg | Self::WebP | Self::Gif | Self::Heic | Self::Avif => 4,
        };
        pixels.saturating_mul(pixel).saturating_add(BESIDE)
    }

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::WebP => "image/webp",
            Self::Tiff => "image/tiff",
            Self::Heic => "image/heic",
            Self::Avif => "image/avif",
            Self::Gif => "image/gif",
            Self::Bmp => "image/bmp",
        }
    }
}

impl Format {
    /// All, by the names that settings have for them.
    pub const NAMES: [&'static str; 3] = ["jpeg", "webp", "avif"];

    /// The format of that name.
    pub fn of_name(name: &str) -> Self {
        match name {
            "webp" => Self::WebP,
            "avif" => Self::Avif,
            _ => Self::Jpeg,
        }
    }

    /// The kind of its files.
    pub fn kind(self) -> Kind {
        match self {
            Self::Jpeg => Kind::Jpeg,
            Self::WebP => Kind::WebP,
            Self::Avif => Kind::Avif,
        }
    }

    /// The longest edge it can have.
    pub fn longest_edge(self) -> u32 {
        if self == Self::WebP { WEBP_EDGE } else { 65_535 }
    }
}

/// The quality of WebP that looks like JPEG's `quality`: the same SSIM on photos.
pub fn webp_quality(quality: u8) -> f32 {
    between(&[(0.0, 0.0), (50.0, 68.0), (75.0, 86.0), (95.0, 97.0), (100.0, 100.0)], quality)
}

/// The rate factor of AV1, 0 to 63, whose picture looks like JPEG's `quality`: the same SSIM on photos.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 63")]
pub fn avif_factor(quality: u8) -> u8 {
    between(&[(0.0, 63.0), (50.0, 25.0), (75.0, 13.0), (95.0, 4.0), (100.0, 2.0)], quality).round() as u8
}

/// Straight lines between known points.
fn between(points: &[(f32, f32)], quality: u8) -> f32 {
    let at = f32::from(quality);
    let pair = points.windows(2).find(|pair| at <= pair[1].0).unwrap_or(&points[points.len() - 2..]);
    let share = ((at - pair[0].0) / (pair[1].0 - pair[0].0)).min(1.0);
    pair[0].1 + (pair[1].1 - pair[0].1) * share
}

impl PhotoSettings {
    /// Whether a file of this kind and size may be copied as it is.
    pub fn fits(&self, kind: Kind, bytes: u64, (width, height): (u32, u32)) -> bool {
        let small = self.max_edge.is_none_or(|edge| width.max(height) <= edge);
        let stays = match self.format {
            Format::Jpeg => kind.is_shown_everywhere(),
            other => kind == other.kind(),
        };
        stays && bytes <= self.max_bytes && small
    }

    /// The size to begin with: inside the longest edge, and never larger than it is.
    pub fn first_size(&self, size: (u32, u32)) -> (u32, u32) {
        let longest = size.0.max(size.1);
        match self.max_edge.into_iter().chain([self.format.longest_edge()]).min() {
            Some(edge) if edge < longest => scaled(size, f64::from(edge) / f64::from(longest)),
            _ => size,
        }
    }

    /// Names what makes one run's pictures differ from another's.
    pub fn digest(&self) -> String {
        let Self { format, max_bytes, max_edge, keep_location, quality, quality_floor, max_pixels: _ } = self;
        let format = if *format == Format::Jpeg { String::new() } else { format!(" {format:?}") };
        let text = format!("1 {max_bytes} {max_edge:?} {keep_location} {quality} {quality_floor}{format}");
        let mut digest = hex::encode(Sha256::digest(text));
        digest.truncate(16);
        digest
    }
}

/// The quality in which HEIC and AVIF become JPEG, which loses next to nothing.
pub const CONVERTED: u8 = 100;

/// What libheif's converter is told.
pub fn heif_arguments(input: &Path, output: &Path) -> Vec<OsString> {
    vec!["-q".into(), CONVERTED.to_string().into(), "--".into(), input.into(), output.into()]
}

/// What ffmpeg is told to make an AVIF of raw pixels: one thread, and a speed at which it takes seconds.
/// `pixels` is ffmpeg's name of their layout; all colours have their full range, as in a JPEG.
pub fn avif_arguments(input: &Path, pixels: &str, size: (u32, u32), factor: u8, output: &Path) -> Vec<OsString> {
    let layout = if pixels == "gray" { "gray" } else { "yuv420p" };
    let filter = format!("scale=in_range=full:out_range=full:out_color_matrix=smpte170m,format={layout}");
    let (width, height) = size;
    let mut arguments = words(&format!(
        "-hide_banner -nostdin -v error -y -protocol_whitelist file -threads 1 \
         -f rawvideo -color_range pc -pixel_format {pixels} -video_size {width}x{height} -i"
    ));
    arguments.push(file(input));
    arguments.extend(words(&format!(
        "-frames:v 1 -filter_threads 1 -vf {filter} -c:v libaom-av1 -threads 1 \
         -still-picture 1 -usage allintra -cpu-used 8 -crf {factor} -b:v 0 \
         -color_range pc -color_primaries bt709 -color_trc iec61966-2-1 -colorspace smpte170m -f avif"
    )));
    arguments.push(file(output));
    arguments
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
            format: Format::Jpeg,
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
        let webp = PhotoSettings { format: Format::WebP, ..settings(None) };
        assert!(webp.fits(Kind::WebP, 1, (1, 1)) && !webp.fits(Kind::Jpeg, 1, (1, 1)), "who asks for one gets it");
        assert_eq!(webp.first_size((20_000, 100)), (16_383, 82), "no WebP is wider");
    }

    #[test]
    fn better_quality_is_better_in_every_format() {
        let webp: Vec<_> = (1..=100).map(webp_quality).collect();
        assert!(webp.is_sorted() && webp[99] <= 100.0 && webp[74] > 75.0);
        let avif: Vec<_> = (1..=100).map(avif_factor).collect();
        assert!(avif.iter().rev().is_sorted() && avif[0] <= 63 && avif[99] == 2);
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
        assert_eq!(kind(b"\0\0\0\x18ftypavif\0\0\0\0"), Some(Kind::Avif));
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
        let arguments = avif_arguments(Path::new("-x"), "gray", (3, 2), 20, Path::new("-y"));
        assert!(arguments.contains(&"file:-x".into()) && arguments.last() == Some(&"file:-y".into()));
    }

    #[test]
    fn other_wishes_make_other_pictures() {
        assert_ne!(settings(None).digest(), settings(Some(1)).digest());
        assert_ne!(settings(None).digest(), PhotoSettings { format: Format::Avif, ..settings(None) }.digest());
    }
}
