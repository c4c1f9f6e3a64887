//! The best JPEG of a picture that fits: best quality first, then less size.

use turbojpeg::{Compressor, OwnedBuf, PixelFormat, Subsamp};

use super::picture::{Picture, Refusal, refused, step};
use super::turn::Plane;
use crate::plan::photo::{PhotoSettings, smaller};
use crate::plan::photo_fit::{Point, Search, Step};

/// A JPEG that fits.
pub(super) struct Fitted {
    /// Its bytes, without metadata.
    pub(super) bytes: OwnedBuf,
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

/// The best JPEG of `picture` in at most `room` bytes. `best` is the quality above which nothing is gained.
pub(super) fn fit(mut picture: Picture, room: u64, best: u8, settings: &PhotoSettings) -> Result<Fitted, Refusal> {
    let floor = settings.quality_floor.min(best);
    for _ in 0..MOST_SIZES {
        let mut encoder = Encoder::new()?;
        let sampling = encoder.sampling(&picture, room, best)?;
        let (sample, share) = encoder.sample(&picture, sampling, floor, best)?;
        let mut search = Search::new(room, floor, best, sample, share);
        let mut taken = None;
        let bytes = loop {
            match search.step() {
                Step::Take(quality) => {
                    let Some(bytes) = taken else { break 0 };
                    return Ok(Fitted { bytes, quality, size: picture.size, picture });
                }
                Step::Try(quality) => {
                    let jpeg = encoder.encode(&picture, sampling, quality)?;
                    let bytes = jpeg.len() as u64;
                    search.note(Point { quality, bytes });
                    if bytes <= room {
                        taken = Some(jpeg);
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
    let sampling = small.sampling;
    Ok(Encoder::new()?.encode(&small, sampling, 70)?.to_vec())
}

struct Encoder {
    compressor: Compressor,
}

impl Encoder {
    fn new() -> Result<Self, Refusal> {
        let mut compressor = Compressor::new().map_err(failed)?;
        compressor.set_optimize(true).map_err(failed)?;
        Ok(Self { compressor })
    }

    /// How much colour to keep: as the source has it, but of full colour only what quality leaves room for.
    fn sampling(&mut self, picture: &Picture, room: u64, best: u8) -> Result<Subsamp, Refusal> {
        if !picture.is_rgb() {
            return Ok(picture.sampling);
        }
        let quality = FULL_COLOUR.min(best);
        let (sample, share) = self.sample(picture, Subsamp::None, quality, quality)?;
        let step = Search::new(room, quality, quality, sample, share).step();
        Ok(if matches!(step, Step::TooLarge(_)) { Subsamp::Sub2x2 } else { Subsamp::None })
    }

    /// The bytes of a part of the picture at some qualities, and which part it is.
    fn sample(
        &mut self,
        picture: &Picture,
        sampling: Subsamp,
        floor: u8,
        best: u8,
    ) -> Result<(Vec<Point>, f64), Refusal> {
        let (sample, share) = bands(picture);
        let inner = [85, 91].into_iter().filter(|quality| (floor + 1..best).contains(quality));
        let mut points = Vec::new();
        for quality in std::iter::once(floor).chain(inner).chain(std::iter::once(best)) {
            points.push(Point { quality, bytes: self.encode(&sample, sampling, quality)?.len() as u64 });
        }
        Ok((points, share))
    }

    fn encode(&mut self, picture: &Picture, sampling: Subsamp, quality: u8) -> Result<OwnedBuf, Refusal> {
        self.compressor.set_quality(i32::from(quality)).map_err(failed)?;
        let (width, height) = (picture.size.0 as usize, picture.size.1 as usize);
        let encoded = match picture.planes.as_slice() {
            [rgb] if rgb.depth == 3 => {
                self.compressor.set_subsamp(sampling).map_err(failed)?;
                self.compressor.compress_to_owned(turbojpeg::Image {
                    pixels: rgb.pixels.as_slice(),
                    width,
                    pitch: rgb.width * 3,
                    height,
                    format: PixelFormat::RGB,
                })
            }
            [grey] => self.compressor.compress_yuv_to_owned(turbojpeg::YuvImage {
                pixels: grey.pixels.as_slice(),
                width,
                align: 1,
                height,
                subsamp: Subsamp::Gray,
            }),
            planes => {
                let plane = |number: usize| planes.get(number).map_or(&[][..], |plane| plane.pixels.as_slice());
                let stride = |number: usize| planes.get(number).map_or(0, |plane| plane.width);
                self.compressor.compress_yuv_planes_to_owned(&turbojpeg::YuvPlanesImage {
                    y_plane: plane(0),
                    u_plane: plane(1),
                    v_plane: plane(2),
                    width,
                    y_stride: stride(0),
                    u_stride: stride(1),
                    v_stride: stride(2),
                    height,
                    subsamp: picture.sampling,
                })
            }
        };
        encoded.map_err(failed)
    }
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

#[expect(clippy::needless_pass_by_value, reason = "fits `map_err`")]
fn failed(error: turbojpeg::Error) -> Refusal {
    refused(&format!("cannot be encoded: {error}"))
}
