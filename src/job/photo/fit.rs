//! The best of a picture that fits: best quality first, then less size.

use turbojpeg::Subsamp;

use super::encode::Encoder;
use super::picture::{Picture, Refusal, refused, step};
use super::shrink::Kit;
use super::turn::Plane;
use crate::plan::photo::{Format, smaller};
use crate::plan::photo_fit::{Point, Search, Step};

/// A picture that fits, encoded.
pub(super) struct Fitted {
    /// Its bytes, without metadata.
    pub(super) bytes: Vec<u8>,
    /// Its quality by libjpeg's scale.
    pub(super) quality: u8,
    /// Its columns and rows.
    pub(super) size: (u32, u32),
    /// The picture it was made of.
    pub(super) picture: Picture,
}

/// Rows of the sample: bands of one row of blocks of 16, one in so many.
const BAND: usize = 16;

/// Pictures below this are encoded whole instead of sampled.
const SAMPLED_FROM: usize = 1 << 20;

/// Quality from which colour is kept in full, where the source had it in full.
const FULL_COLOUR: u8 = 90;

/// Sizes that are tried before a picture is given up: each is clearly smaller.
const MOST_SIZES: usize = 12;

/// The best of `picture` in at most `room` bytes. `best` is the quality above which nothing is gained.
pub(super) fn fit(mut picture: Picture, room: u64, best: u8, kit: &Kit) -> Result<Fitted, Refusal> {
    let floor = kit.settings.quality_floor.min(best);
    for _ in 0..MOST_SIZES {
        let mut encoder = encoder(&picture, room, best, kit)?;
        let (points, share) = sample(&mut encoder, &picture, floor, best)?;
        let mut search = Search::new(room, floor, best, points, share);
        let mut taken = None;
        let bytes = loop {
            match search.step() {
                Step::Take(quality) => {
                    let Some(bytes) = taken else { break 0 };
                    return Ok(Fitted { bytes, quality, size: picture.size, picture });
                }
                Step::Try(quality) => {
                    let made = encoder.encode(&picture, quality)?;
                    let bytes = made.len() as u64;
                    search.note(Point { quality, bytes });
                    if bytes <= room {
                        taken = Some(made);
                    }
                }
                Step::TooLarge(bytes) => break bytes,
            }
        };
        let size = smaller(picture.size, bytes, room);
        picture = picture.resized(size)?;
    }
    Err(refused(&format!("does not fit into {room} bytes in any size")))
}

/// A small JPEG of at most `edge` pixels, to look at in lists.
pub(super) fn thumbnail(picture: Picture, edge: u32) -> Result<Vec<u8>, Refusal> {
    let longest = picture.size.0.max(picture.size.1).max(1);
    let factor = (f64::from(edge) / f64::from(longest)).min(1.0);
    let size = crate::plan::photo::scaled(picture.size, factor);
    let small = picture.resized(size)?;
    Encoder::jpeg(small.sampling)?.encode(&small, 70)
}

/// How much colour to keep of full colour: what quality leaves room for. Only JPEG has the choice.
fn encoder(picture: &Picture, room: u64, best: u8, kit: &Kit) -> Result<Encoder, Refusal> {
    if kit.settings.format == Format::Jpeg && picture.is_rgb() {
        let quality = FULL_COLOUR.min(best);
        let mut full = Encoder::jpeg(Subsamp::None)?;
        let (points, share) = sample(&mut full, picture, quality, quality)?;
        let step = Search::new(room, quality, quality, points, share).step();
        return if matches!(step, Step::TooLarge(_)) { Encoder::jpeg(Subsamp::Sub2x2) } else { Ok(full) };
    }
    Encoder::of(kit.settings.format, picture, kit.av1.as_ref())
}

/// The bytes of a part of the picture at some qualities, and which part it is.
fn sample(encoder: &mut Encoder, picture: &Picture, floor: u8, best: u8) -> Result<(Vec<Point>, f64), Refusal> {
    let (sample, share) = bands(picture);
    let inner = [85, 91].into_iter().filter(|quality| (floor + 1..best).contains(quality));
    let mut points = Vec::new();
    for quality in std::iter::once(floor).chain(inner).chain(std::iter::once(best)) {
        points.push(Point { quality, bytes: encoder.encode(&sample, quality)?.len() as u64 });
    }
    Ok((points, share))
}

/// Bands of the picture from top to bottom, as one picture, and the part they are of it.
fn bands(picture: &Picture) -> (Picture, f64) {
    let height = picture.size.1 as usize;
    let pixels = picture.size.0 as usize * height;
    // The larger the picture, the smaller the part that stands for it.
    let every = (pixels / SAMPLED_FROM).clamp(1, 8);
    let rows: Vec<usize> = (0..height / BAND).step_by(every).map(|band| band * BAND).collect();
    let (_, down) = step(picture.sampling);
    let cut = |number: usize, plane: &Plane| {
        let by = if number == 0 { 1 } else { down };
        let row = plane.width * plane.depth;
        let mut pixels = Vec::with_capacity(rows.len() * BAND / by * row);
        for top in &rows {
            pixels.extend_from_slice(&plane.pixels[top / by * row..(top + BAND) / by * row]);
        }
        Plane { width: plane.width, height: rows.len() * BAND / by, depth: plane.depth, pixels }
    };
    if every == 1 || rows.is_empty() {
        let planes = picture.planes.clone();
        return (Picture { planes, sampling: picture.sampling, size: picture.size, note: None }, 1.0);
    }
    let planes = picture.planes.iter().enumerate().map(|(number, plane)| cut(number, plane)).collect();
    let rows = u32::try_from(rows.len() * BAND).unwrap_or(u32::MAX);
    let size = (picture.size.0, rows);
    let share = f64::from(rows) / f64::from(picture.size.1);
    (Picture { planes, sampling: picture.sampling, size, note: None }, share)
}
