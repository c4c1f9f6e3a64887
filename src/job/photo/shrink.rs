//! One picture from its bytes to bytes that fit. All of it computes; nothing waits.

use std::panic::AssertUnwindSafe;

use super::fit::{self, Fitted};
use super::metadata;
use super::picture::{Picture, Refusal, refused, too_many_pixels};
use super::turn;
use crate::format::exif;
use crate::format::jpeg::{self, Jpeg};
use crate::format::place;
use crate::model::failure::Failure;
use crate::plan::photo::{Kind, PhotoSettings, kind};

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

/// Edge of pictures on a contact sheet.
const SHEET_EDGE: u32 = 240;

/// Makes `bytes` fit. `sheet` asks for a thumbnail too.
pub fn shrink(bytes: Vec<u8>, settings: &PhotoSettings, sheet: bool) -> Result<Made, Failure> {
    // Decoders read hostile files: a panic in one is that file's failure.
    let work = AssertUnwindSafe(|| make(bytes, settings, sheet));
    std::panic::catch_unwind(work)
        .unwrap_or_else(|_| Err(refused("is damaged in a way that its decoder does not stand")))
}

fn make(bytes: Vec<u8>, settings: &PhotoSettings, sheet: bool) -> Result<Made, Refusal> {
    if bytes.is_empty() {
        return Err(refused("is empty").hint("copy it from the card again"));
    }
    let Some(kind) = kind(&bytes) else {
        return Err(refused("is no picture, whatever its name says"));
    };
    match kind {
        Kind::Jpeg => of_jpeg(bytes, settings, sheet),
        Kind::Png | Kind::WebP | Kind::Tiff | Kind::Gif | Kind::Bmp => of_other(bytes, kind, settings, sheet),
        Kind::Heic => Err(refused("is HEIC and was not converted")),
    }
}

fn of_jpeg(bytes: Vec<u8>, settings: &PhotoSettings, sheet: bool) -> Result<Made, Refusal> {
    let jpeg = Jpeg::read(&bytes).ok_or_else(|| refused("is damaged: its header cannot be read"))?;
    let frame = jpeg.frame;
    let size = (frame.width, frame.height);
    if settings.fits(Kind::Jpeg, bytes.len() as u64, size) {
        let note = jpeg.end.is_none().then(|| "is cut off: copied as it is, but part of the picture is missing".into());
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
    let picture = Picture::of_jpeg(&bytes, &jpeg, wanted)?.resized(wanted)?.upright(orientation);
    let best = settings.quality.min(jpeg.quality.unwrap_or(100).max(settings.quality_floor));
    let components = if picture.planes.len() == 1 && !picture.is_rgb() { 1 } else { 3 };
    let room = settings.max_bytes;
    let first = metadata::of_jpeg(&jpeg, picture.size, components, settings.keep_location, room);
    let before = picture.size;
    let note = picture.note;
    let fitted = fit::fit(picture, room.saturating_sub(first.len() as u64), best, settings)?;
    let along = if fitted.size == before {
        first
    } else {
        metadata::of_jpeg(&jpeg, fitted.size, components, settings.keep_location, room)
    };
    let note = note.or_else(|| jpeg.end.and_then(|end| bytes.get(end..)).and_then(left_behind));
    finish(fitted, &along, note, sheet)
}

fn of_other(bytes: Vec<u8>, kind: Kind, settings: &PhotoSettings, sheet: bool) -> Result<Made, Refusal> {
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
    let (before, room) = (picture.size, settings.max_bytes);
    let first = metadata::of_other(&described, before, settings.keep_location, room);
    let fitted = fit::fit(picture, room.saturating_sub(first.len() as u64), settings.quality, settings)?;
    let along = if fitted.size == before {
        first
    } else {
        metadata::of_other(&described, fitted.size, settings.keep_location, room)
    };
    finish(fitted, &along, note, sheet)
}

fn copy(bytes: Vec<u8>, kind: Kind, size: (u32, u32), settings: &PhotoSettings, thumbnail: Option<Vec<u8>>) -> Made {
    let mut bytes = bytes;
    if !settings.keep_location {
        match kind {
            Kind::Png => bytes = place::forget_in_png(&bytes),
            Kind::WebP => place::forget_in_webp(&mut bytes),
            _ => {}
        }
    }
    Made { bytes, kind, size, quality: None, note: None, thumbnail }
}

fn finish(fitted: Fitted, metadata: &[u8], note: Option<&str>, sheet: bool) -> Result<Made, Refusal> {
    let Fitted { bytes, quality, size, picture } = fitted;
    let bytes = jpeg::with_metadata(&bytes, metadata);
    let thumbnail = if sheet { Some(fit::thumbnail(picture, SHEET_EDGE)?) } else { None };
    Ok(Made { bytes, kind: Kind::Jpeg, size, quality: Some(quality), note: note.map(Into::into), thumbnail })
}

/// A thumbnail of a JPEG that is copied; none where that does not work, as it is no part of the result.
fn thumbnail_of(bytes: &[u8], jpeg: &Jpeg<'_>, orientation: u8, settings: &PhotoSettings) -> Option<Vec<u8>> {
    let pixels = u64::from(jpeg.frame.width) * u64::from(jpeg.frame.height);
    if pixels > settings.max_pixels {
        return None;
    }
    let picture = Picture::of_jpeg(bytes, jpeg, (SHEET_EDGE, SHEET_EDGE)).ok()?;
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
