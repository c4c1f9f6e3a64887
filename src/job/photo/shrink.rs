//! One picture from its bytes to bytes that fit. All of it computes; nothing waits.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use super::encode::Av1;
use super::fit::{self, Fitted};
use super::input::kind_of;
use super::metadata::{Along, Anew};
use super::picture::{Picture, Refusal, refused, too_many_pixels};
use super::turn;
use crate::format::gif::Gif;
use crate::format::jpeg::Jpeg;
use crate::format::{exif, place, png, webp};
use crate::model::failure::Failure;
use crate::plan::photo::{Format, Kind, PhotoSettings};

/// A picture that fits.
#[derive(Clone, Debug)]
pub struct Made {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What they are.
    pub kind: Kind,
    /// Its columns and rows as a person sees them; `None` if it was copied and not asked.
    pub size: (u32, u32),
    /// Its quality by libjpeg's scale; `None` for a copy.
    pub quality: Option<u8>,
    /// What a person should know of it.
    pub note: Option<String>,
    /// A small JPEG of it, if asked for.
    pub thumbnail: Option<Vec<u8>>,
}

/// How pictures are to be, and what that takes.
#[derive(Clone, Debug)]
pub struct Kit {
    /// How they are to be.
    pub settings: Arc<PhotoSettings>,
    /// Make a thumbnail too.
    pub sheet: bool,
    /// What makes AVIF, where that is asked for.
    pub av1: Option<Av1>,
}

/// Edge of pictures on a contact sheet.
const SHEET_EDGE: u32 = 240;

/// What a person should know of a copy of part of a picture.
const CUT_OFF: &str = "is cut off: copied as it is, but part of the picture is missing";

/// Makes `bytes` fit.
pub fn shrink(bytes: Vec<u8>, kit: &Kit) -> Result<Made, Failure> {
    // Decoders read hostile files: a panic in one is that file's failure.
    let work = AssertUnwindSafe(|| make(bytes, kit));
    std::panic::catch_unwind(work)
        .unwrap_or_else(|_| Err(refused("is damaged in a way that its decoder does not stand")))
}

fn make(bytes: Vec<u8>, kit: &Kit) -> Result<Made, Refusal> {
    let kind = kind_of(&bytes)?;
    match kind {
        Kind::Jpeg => of_jpeg(bytes, kit),
        Kind::Png | Kind::WebP | Kind::Tiff | Kind::Gif | Kind::Bmp => of_other(bytes, kind, kit),
        Kind::Heic | Kind::Avif => Err(refused("is HEIC or AVIF and was not converted")),
    }
}

fn of_jpeg(bytes: Vec<u8>, kit: &Kit) -> Result<Made, Refusal> {
    let (settings, sheet) = (&*kit.settings, kit.sheet);
    let jpeg = Jpeg::read(&bytes).ok_or_else(|| refused("is damaged: its header cannot be read"))?;
    let frame = jpeg.frame;
    let size = (frame.width, frame.height);
    if settings.fits(Kind::Jpeg, bytes.len() as u64, size) {
        let note = jpeg.end.is_none().then(|| CUT_OFF.into());
        let orientation = jpeg.exif().map_or(1, exif::orientation);
        let thumbnail = if sheet { thumbnail_of(&bytes, &jpeg, orientation, settings) } else { None };
        let mut bytes = bytes;
        if !settings.keep_location {
            place::forget_in_jpeg(&mut bytes);
        }
        return Ok(Made { bytes, kind: Kind::Jpeg, size: seen(size, orientation), quality: None, note, thumbnail });
    }
    if u64::from(size.0) * u64::from(size.1) > settings.max_pixels {
        return Err(too_many_pixels(size, settings.max_pixels));
    }
    let orientation = jpeg.exif().map_or(1, exif::orientation);
    let wanted = settings.first_size(size);
    let only_rgb = settings.format == Format::WebP;
    let picture = Picture::of_jpeg(&bytes, &jpeg, wanted, only_rgb)?.resized(wanted)?.upright(orientation);
    let best = settings.quality.min(jpeg.quality.unwrap_or(100).max(settings.quality_floor));
    let components = if picture.planes.len() == 1 && !picture.is_rgb() { 1 } else { 3 };
    let note = picture.note.or_else(|| jpeg.end.and_then(|end| bytes.get(end..)).and_then(left_behind));
    let along = |size| Along::of_jpeg(&jpeg, anew(size, components, settings));
    finish(picture, best, note, &along, kit)
}

fn anew(size: (u32, u32), components: u8, settings: &PhotoSettings) -> Anew {
    Anew { size, components, keep_location: settings.keep_location, room: settings.max_bytes }
}

fn of_other(bytes: Vec<u8>, kind: Kind, kit: &Kit) -> Result<Made, Refusal> {
    let (settings, sheet) = (&*kit.settings, kit.sheet);
    // Small enough, and not too wide as far as its header says: no need to look at its pixels.
    let copied = settings.max_edge.is_none() && settings.fits(kind, bytes.len() as u64, (1, 1));
    if copied && !sheet {
        return Ok(copy(bytes, kind, (0, 0), settings, None));
    }
    let decoded = Picture::of_other(&bytes, kind, settings.max_pixels);
    let (picture, described) = match decoded {
        Ok(decoded) => decoded,
        // What is small enough goes along even where it cannot be shown.
        Err(_) if copied => return Ok(copy(bytes, kind, (0, 0), settings, None)),
        Err(refusal) => return Err(refusal),
    };
    if settings.fits(kind, bytes.len() as u64, picture.size) {
        let size = seen(picture.size, described.orientation);
        let thumbnail =
            if sheet { fit::thumbnail(picture.upright(described.orientation), SHEET_EDGE).ok() } else { None };
        return Ok(copy(bytes, kind, size, settings, thumbnail));
    }
    drop(bytes);
    let wanted = settings.first_size(picture.size);
    let note = picture.note;
    let picture = picture.resized(wanted)?.upright(described.orientation);
    let along = |size| Along::of_other(&described, anew(size, 3, settings));
    finish(picture, settings.quality, note, &along, kit)
}

fn copy(bytes: Vec<u8>, kind: Kind, size: (u32, u32), settings: &PhotoSettings, thumbnail: Option<Vec<u8>>) -> Made {
    let is_whole = match kind {
        Kind::Png => png::is_whole(&bytes),
        Kind::WebP => webp::is_whole(&bytes),
        Kind::Gif => Gif::read(&bytes).is_whole,
        _ => true,
    };
    let note = (!is_whole).then(|| CUT_OFF.into());
    let mut bytes = bytes;
    if !settings.keep_location {
        match kind {
            Kind::Png => bytes = place::forget_in_png(&bytes),
            Kind::WebP => place::forget_in_webp(&mut bytes),
            // Its XMP lies in one piece, and no length moves.
            Kind::Gif => place::forget_in_xmp(&mut bytes),
            _ => {}
        }
    }
    Made { bytes, kind, size, quality: None, note, thumbnail }
}

/// Encodes a picture so that it fits together with what goes `along` with it, which depends on its size.
fn finish(
    picture: Picture,
    best: u8,
    note: Option<&str>,
    along: &dyn Fn((u32, u32)) -> Along,
    kit: &Kit,
) -> Result<Made, Refusal> {
    let format = kit.settings.format;
    let room = kit.settings.max_bytes.saturating_sub(along(picture.size).bytes(format));
    let Fitted { bytes, quality, size, picture } = fit::fit(picture, room, best, kit)?;
    let bytes = along(size).around(&bytes, format, size);
    let bytes = bytes.ok_or_else(|| Failure::environment("ffmpeg wrote an AVIF that cannot be read"))?;
    let thumbnail = if kit.sheet { Some(fit::thumbnail(picture, SHEET_EDGE)?) } else { None };
    Ok(Made { bytes, kind: format.kind(), size, quality: Some(quality), note: note.map(Into::into), thumbnail })
}

/// A thumbnail of a JPEG that is copied; none where that does not work, as it is no part of the result.
fn thumbnail_of(bytes: &[u8], jpeg: &Jpeg<'_>, orientation: u8, settings: &PhotoSettings) -> Option<Vec<u8>> {
    let pixels = u64::from(jpeg.frame.width) * u64::from(jpeg.frame.height);
    if pixels > settings.max_pixels {
        return None;
    }
    let picture = Picture::of_jpeg(bytes, jpeg, (SHEET_EDGE, SHEET_EDGE), false).ok()?;
    fit::thumbnail(picture.upright(orientation), SHEET_EDGE).ok()
}

/// The size as a person sees it.
fn seen((width, height): (u32, u32), orientation: u8) -> (u32, u32) {
    if turn::swaps(orientation) { (height, width) } else { (width, height) }
}

/// What a person should know of the bytes behind a picture.
fn left_behind(trailer: &[u8]) -> Option<&'static str> {
    let film = |window: &[u8]| window == b"ftypmp42" || window == b"ftypisom";
    if trailer.windows(8).any(film) {
        return Some("had a short film behind it, which stays behind");
    }
    let picture = trailer.windows(3).any(|window| window == [0xff, 0xd8, 0xff]);
    picture.then_some("had another picture behind it (depth, brightness or a second eye), which stays behind")
}
