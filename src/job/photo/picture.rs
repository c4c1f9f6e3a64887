//! Pictures in memory: decoded, made smaller, turned.

use std::io::Cursor;

use fast_image_resize as fir;
use image::ImageDecoder as _;
use turbojpeg::{Colorspace, Decompressor, PixelFormat, ScalingFactor, Subsamp};

use super::turn::Plane;
use crate::format::gif::Gif;
use crate::format::jpeg::Jpeg;
use crate::format::{exif, tiff, webp};
use crate::model::failure::Failure;
use crate::plan::photo::Kind;

/// Pixels and what they mean.
#[derive(Debug)]
pub(super) struct Picture {
    /// One plane of RGB, or Y, or Y, Cb and Cr.
    pub(super) planes: Vec<Plane>,
    /// How the planes of YCbCr relate; `Subsamp::None` for RGB.
    pub(super) sampling: Subsamp,
    /// Columns and rows, without padding.
    pub(super) size: (u32, u32),
    /// What had to be changed that can be seen, if anything.
    pub(super) note: Option<&'static str>,
}

/// What stands in the way of a picture, said in one line.
pub(super) type Refusal = Failure;

/// More memory than a picture of the largest allowed size takes is refused to decoders.
const BYTES_A_PIXEL: u64 = 16;

/// Scans of a progressive picture; a bomb has thousands.
const MOST_SCANS: u32 = 500;

/// A decoder's complaints about pictures that are whole all the same.
const HARMLESS: [&str; 4] =
    ["extraneous bytes before marker", "Invalid SOS parameters", "unknown Adobe", "Inconsistent progression sequence"];

impl Picture {
    /// Whether the planes are RGB in one.
    pub(super) fn is_rgb(&self) -> bool {
        self.planes.first().is_some_and(|plane| plane.depth == 3)
    }

    /// Decodes a JPEG, at least as large as `wanted` (in the file's own orientation).
    /// `only_rgb` asks for RGB even where the file's own planes would do.
    pub(super) fn of_jpeg(bytes: &[u8], jpeg: &Jpeg<'_>, wanted: (u32, u32), only_rgb: bool) -> Result<Self, Refusal> {
        if jpeg.frame.bits != 8 {
            return Err(refused(&format!("has {} bits a sample, which few programs can show", jpeg.frame.bits)));
        }
        let mut decoder = Decompressor::new().map_err(broken)?;
        decoder.set_scan_limit(MOST_SCANS).map_err(broken)?;
        let header = decoder.read_header(bytes).map_err(broken)?;
        if header.is_lossless {
            return Err(refused("is a lossless JPEG, which few programs can show"));
        }
        let factor = scaling(jpeg, wanted);
        decoder.set_scaling_factor(factor).map_err(broken)?;
        let (width, height) = (factor.scale(header.width), factor.scale(header.height));
        let read = Decoding { decoder, bytes, width, height };
        match header.colorspace {
            Colorspace::YCbCr | Colorspace::Gray if !only_rgb && read.fits_planes(header.subsamp) => {
                read.planes(header.subsamp)
            }
            Colorspace::CMYK | Colorspace::YCCK => read.cmyk(),
            _ => read.rgb(),
        }
    }

    /// Decodes what is no JPEG and needs no other program.
    pub(super) fn of_other(bytes: &[u8], kind: Kind, max_pixels: u64) -> Result<(Self, Described), Refusal> {
        let mut limits = image::Limits::default();
        limits.max_alloc = Some(max_pixels.saturating_mul(BYTES_A_PIXEL));
        let unreadable = |error: image::ImageError| refused(&format!("cannot be read: {error}"));
        let input = Cursor::new(bytes);
        match kind {
            Kind::Png => {
                let decoder = image::codecs::png::PngDecoder::with_limits(input, limits).map_err(unreadable)?;
                if decoder.is_apng().map_err(unreadable)? {
                    return Err(animated());
                }
                decode(decoder, max_pixels)
            }
            Kind::WebP => {
                if webp::frames(bytes) > 1 {
                    return Err(animated());
                }
                let mut decoder = image::codecs::webp::WebPDecoder::new(input).map_err(unreadable)?;
                decoder.set_limits(limits).map_err(unreadable)?;
                decode(decoder, max_pixels)
            }
            Kind::Gif => {
                if Gif::read(bytes).frames > 1 {
                    return Err(animated());
                }
                let mut decoder = image::codecs::gif::GifDecoder::new(input).map_err(unreadable)?;
                decoder.set_limits(limits).map_err(unreadable)?;
                decode(decoder, max_pixels)
            }
            Kind::Bmp => {
                let mut decoder = image::codecs::bmp::BmpDecoder::new(input).map_err(unreadable)?;
                decoder.set_limits(limits).map_err(unreadable)?;
                decode(decoder, max_pixels)
            }
            _ => {
                let mut decoder = image::codecs::tiff::TiffDecoder::new(input).map_err(unreadable)?;
                decoder.set_limits(limits).map_err(unreadable)?;
                let (mut picture, mut described) = decode(decoder, max_pixels)?;
                described.exif = exif::of_tiff(bytes);
                if tiff::has_more_pages(bytes) {
                    picture.note = Some("has more pages: only the first is kept");
                }
                Ok((picture, described))
            }
        }
    }

    /// The picture made smaller; never larger.
    pub(super) fn resized(self, size: (u32, u32)) -> Result<Self, Refusal> {
        if size.0 >= self.size.0 && size.1 >= self.size.1 {
            return Ok(self);
        }
        let (width, height) = padded_size(self.sampling, size);
        let sampling = self.sampling;
        let mut planes = Vec::new();
        let old = self.size;
        for (number, plane) in self.planes.into_iter().enumerate() {
            // Padding is not part of the picture: each plane is cropped to what is.
            let (across, down) = if number == 0 { (1, 1) } else { step(sampling) };
            let of = |side: u32, by: usize| (side as usize).div_ceil(by);
            let plane = plane.cropped(of(old.0, across), of(old.1, down));
            let small = shrink(plane, of(size.0, across), of(size.1, down))?;
            planes.push(small.padded(width / across, height / down));
        }
        Ok(Self { planes, size, ..self })
    }

    /// The picture as it looks when held as `orientation` says.
    pub(super) fn upright(self, orientation: u8) -> Self {
        if orientation <= 1 {
            return self;
        }
        let swaps = super::turn::swaps(orientation);
        let sampling = match self.sampling {
            Subsamp::Sub2x1 if swaps => Subsamp::Sub1x2,
            Subsamp::Sub1x2 if swaps => Subsamp::Sub2x1,
            same => same,
        };
        let size = if swaps { (self.size.1, self.size.0) } else { self.size };
        let (width, height) = padded_size(sampling, size);
        let (old, old_sampling) = (self.size, self.sampling);
        let turned = self.planes.into_iter().enumerate().map(|(number, plane)| {
            let (across, down) = if number == 0 { (1, 1) } else { step(old_sampling) };
            let inside = plane.cropped((old.0 as usize).div_ceil(across), (old.1 as usize).div_ceil(down));
            let (across, down) = if number == 0 { (1, 1) } else { step(sampling) };
            inside.upright(orientation).padded(width / across, height / down)
        });
        Self { planes: turned.collect(), sampling, size, note: self.note }
    }
}

/// What a file that is no JPEG says of itself.
#[derive(Debug, Default)]
pub(super) struct Described {
    pub(super) icc: Option<Vec<u8>>,
    pub(super) exif: Option<Vec<u8>>,
    pub(super) xmp: Option<Vec<u8>>,
    pub(super) orientation: u8,
}

/// A JPEG on its way into memory.
struct Decoding<'a> {
    decoder: Decompressor,
    bytes: &'a [u8],
    width: usize,
    height: usize,
}

impl Decoding<'_> {
    /// Whether the planes can be taken and given back as they are.
    fn fits_planes(&self, sampling: Subsamp) -> bool {
        let common =
            matches!(sampling, Subsamp::None | Subsamp::Gray | Subsamp::Sub2x1 | Subsamp::Sub2x2 | Subsamp::Sub1x2);
        common && self.width > 1 && self.height > 1
    }

    fn size(&self) -> (u32, u32) {
        // A JPEG has at most 65,535 columns and rows.
        (u32::try_from(self.width).unwrap_or(u32::MAX), u32::try_from(self.height).unwrap_or(u32::MAX))
    }

    fn planes(mut self, sampling: Subsamp) -> Result<Picture, Refusal> {
        let size = self.size();
        let (width, height) = padded_size(sampling, size);
        let (across, down) = step(sampling);
        let luma = width * height;
        let chroma = if sampling == Subsamp::Gray { 0 } else { (width / across) * (height / down) };
        let mut pixels = vec![0; luma + 2 * chroma];
        let output = turbojpeg::YuvImage {
            pixels: pixels.as_mut_slice(),
            width: self.width,
            align: 1,
            height: self.height,
            subsamp: sampling,
        };
        forgiven(self.decoder.decompress_to_yuv(self.bytes, output))?;
        let mut planes = Vec::new();
        if chroma > 0 {
            for at in [luma + chroma, luma] {
                let pixels = pixels.split_off(at);
                planes.insert(0, Plane { width: width / across, height: height / down, depth: 1, pixels });
            }
        }
        planes.insert(0, Plane { width, height, depth: 1, pixels });
        Ok(Picture { planes, sampling, size, note: None })
    }

    fn rgb(mut self) -> Result<Picture, Refusal> {
        let pixels = self.pixels(PixelFormat::RGB, 3)?;
        Ok(picture(self.width, self.height, pixels, None))
    }

    fn cmyk(mut self) -> Result<Picture, Refusal> {
        let inks = self.pixels(PixelFormat::CMYK, 4)?;
        // Adobe writes inks inverted, and so does everybody since: 255 is no ink.
        let paper = |ink: u8, black: u8| u8::try_from(u16::from(ink) * u16::from(black) / 255).unwrap_or(u8::MAX);
        let light = |ink: &[u8]| [paper(ink[0], ink[3]), paper(ink[1], ink[3]), paper(ink[2], ink[3])];
        let pixels = inks.chunks_exact(4).flat_map(light).collect();
        let note = "was in printing inks (CMYK): colours are near, not exact";
        Ok(picture(self.width, self.height, pixels, Some(note)))
    }

    fn pixels(&mut self, format: PixelFormat, depth: usize) -> Result<Vec<u8>, Refusal> {
        let (width, height) = (self.width, self.height);
        let mut pixels = vec![0; width * height * depth];
        let output = turbojpeg::Image { pixels: pixels.as_mut_slice(), width, pitch: width * depth, height, format };
        forgiven(self.decoder.decompress(self.bytes, output))?;
        Ok(pixels)
    }
}

/// Luminance samples for one of colour, across and down.
pub(super) fn step(sampling: Subsamp) -> (usize, usize) {
    match sampling {
        Subsamp::Sub2x1 => (2, 1),
        Subsamp::Sub2x2 => (2, 2),
        Subsamp::Sub1x2 => (1, 2),
        _ => (1, 1),
    }
}

/// The size of the first plane: whole steps of colour.
pub(super) fn padded_size(sampling: Subsamp, (width, height): (u32, u32)) -> (usize, usize) {
    let (across, down) = step(sampling);
    ((width as usize).next_multiple_of(across), (height as usize).next_multiple_of(down))
}

/// The strongest reduction while decoding that leaves at least `wanted`, which is nearly free.
fn scaling(jpeg: &Jpeg<'_>, wanted: (u32, u32)) -> ScalingFactor {
    let (width, height) = (jpeg.frame.width as usize, jpeg.frame.height as usize);
    let enough =
        |factor: &ScalingFactor| factor.scale(width) >= wanted.0 as usize && factor.scale(height) >= wanted.1 as usize;
    // Only halves: other factors cost as much as the full size.
    let halves = [8, 4, 2].map(|part| ScalingFactor::new(1, part));
    halves.into_iter().find(enough).unwrap_or(ScalingFactor::ONE)
}

fn decode<D: image::ImageDecoder>(mut decoder: D, max_pixels: u64) -> Result<(Picture, Described), Refusal> {
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > max_pixels {
        return Err(too_many_pixels((width, height), max_pixels));
    }
    let described = Described {
        icc: decoder.icc_profile().ok().flatten(),
        exif: decoder.exif_metadata().ok().flatten(),
        xmp: decoder.xmp_metadata().ok().flatten(),
        orientation: decoder.orientation().map_or(1, image::metadata::Orientation::to_exif),
    };
    let deep = decoder.color_type().bytes_per_pixel() / decoder.color_type().channel_count() > 1;
    let pixels = image::DynamicImage::from_decoder(decoder)
        .map_err(|error| refused(&format!("is damaged and cannot be read: {error}")))?;
    let (pixels, see_through) =
        if pixels.color().has_alpha() { on_white(pixels) } else { (pixels.into_rgb8().into_raw(), false) };
    let note = match (see_through, deep) {
        (true, _) => Some("was see-through in places: that is white now"),
        (false, true) => Some("had 16 bits a colour: has 8 now"),
        (false, false) => None,
    };
    Ok((picture(width as usize, height as usize, pixels, note), described))
}

fn picture(width: usize, height: usize, pixels: Vec<u8>, note: Option<&'static str>) -> Picture {
    let size = (u32::try_from(width).unwrap_or(u32::MAX), u32::try_from(height).unwrap_or(u32::MAX));
    Picture { planes: vec![Plane { width, height, depth: 3, pixels }], sampling: Subsamp::None, size, note }
}

/// Pixels on a white ground, and whether that is to be seen anywhere: GIF is always read as if it could be.
fn on_white(decoded: image::DynamicImage) -> (Vec<u8>, bool) {
    let pixels = decoded.into_rgba8().into_raw();
    let see_through = pixels.chunks_exact(4).any(|pixel| pixel[3] != u8::MAX);
    let blend = |colour: u8, alpha: u8| {
        let (colour, alpha) = (u32::from(colour), u32::from(alpha));
        u8::try_from((colour * alpha + 255 * (255 - alpha) + 127) / 255).unwrap_or(u8::MAX)
    };
    let opaque = |pixel: &[u8]| [blend(pixel[0], pixel[3]), blend(pixel[1], pixel[3]), blend(pixel[2], pixel[3])];
    (pixels.chunks_exact(4).flat_map(opaque).collect(), see_through)
}

fn shrink(plane: Plane, width: usize, height: usize) -> Result<Plane, Refusal> {
    if (plane.width, plane.height) == (width, height) {
        return Ok(plane);
    }
    let kind = if plane.depth == 3 { fir::PixelType::U8x3 } else { fir::PixelType::U8 };
    let side = |side: usize| u32::try_from(side.max(1)).unwrap_or(u32::MAX);
    let odd = |error: &dyn std::fmt::Display| refused(&format!("cannot be made smaller: {error}"));
    let source = fir::images::ImageRef::new(side(plane.width), side(plane.height), &plane.pixels, kind)
        .map_err(|error| odd(&error))?;
    let mut small = fir::images::Image::new(side(width), side(height), kind);
    let options = fir::ResizeOptions::new().resize_alg(fir::ResizeAlg::Convolution(fir::FilterType::Lanczos3));
    fir::Resizer::new().resize(&source, &mut small, &options).map_err(|error| odd(&error))?;
    Ok(Plane { width, height, depth: plane.depth, pixels: small.into_vec() })
}

/// A picture larger than allowed, refused before a pixel of it is decoded.
pub(super) fn too_many_pixels((width, height): (u32, u32), max_pixels: u64) -> Refusal {
    refused(&format!("has {width}x{height} pixels, more than the {max_pixels} of `photos.pixels`"))
}

pub(super) fn refused(what: &str) -> Refusal {
    Failure::permanent(what)
}

fn animated() -> Refusal {
    refused("is animated, and a still would lose that").hint("make it smaller with a program for animations")
}

#[expect(clippy::needless_pass_by_value, reason = "fits `map_err`")]
fn broken(error: turbojpeg::Error) -> Refusal {
    let text = error.to_string();
    let text = text.trim_start_matches("TurboJPEG error: ");
    if text.contains("remature end") {
        return refused("is cut off: part of the picture is missing").hint("copy it from the card again");
    }
    refused(&format!("is damaged: {text}"))
}

/// A decode that complained about nothing of weight is a decode.
fn forgiven(result: turbojpeg::Result<()>) -> Result<(), Refusal> {
    match result {
        Err(turbojpeg::Error::TurboJpegError(text)) if HARMLESS.iter().any(|harmless| text.contains(harmless)) => {
            Ok(())
        }
        other => other.map_err(broken),
    }
}
