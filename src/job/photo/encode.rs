//! One picture as JPEG, WebP or AVIF, at a given quality.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use turbojpeg::{Compressor, PixelFormat, Subsamp};

use super::picture::{Picture, Refusal, refused, step};
use super::turn::Plane;
use crate::model::failure::Failure;
use crate::plan::photo::{Format, avif_arguments, avif_factor, webp_quality};
use crate::scratch::file::{Privacy, make_folder};
use crate::tool::avif;

/// Encodes pictures at any quality. Qualities are on libjpeg's scale in every format.
pub(super) enum Encoder {
    /// As JPEG, with the colour that the picture has, or less of it.
    Jpeg(Compressor, Subsamp),
    /// As WebP.
    WebP,
    /// As AVIF, by ffmpeg. Has the last one, as neighbouring qualities are often the same to it.
    Avif(Av1, Option<LastOne>),
}

/// An AVIF, with the picture's size and the factor it was made with.
pub(super) type LastOne = ((u32, u32), u8, Vec<u8>);

/// What making an AVIF takes: ffmpeg, and a folder for its files.
#[derive(Clone, Debug)]
pub struct Av1 {
    /// The program.
    pub ffmpeg: PathBuf,
    /// Where pixels lie meanwhile.
    pub folder: PathBuf,
    /// Where its children are watched.
    pub runtime: Handle,
    /// Ends them.
    pub cancel: CancellationToken,
}

impl Encoder {
    /// An encoder of JPEG, which keeps colour as `sampling` says.
    pub(super) fn jpeg(sampling: Subsamp) -> Result<Self, Refusal> {
        let mut compressor = Compressor::new().map_err(failed)?;
        compressor.set_optimize(true).map_err(failed)?;
        Ok(Self::Jpeg(compressor, sampling))
    }

    /// An encoder of `format`; AVIF takes `av1`.
    pub(super) fn of(format: Format, picture: &Picture, av1: Option<&Av1>) -> Result<Self, Refusal> {
        match (format, av1) {
            (Format::Jpeg, _) => Self::jpeg(picture.sampling),
            (Format::WebP, _) => Ok(Self::WebP),
            (Format::Avif, Some(av1)) => Ok(Self::Avif(av1.clone(), None)),
            (Format::Avif, None) => Err(Failure::environment("there is no ffmpeg to make AVIF with")),
        }
    }

    /// The picture at `quality`, without metadata.
    pub(super) fn encode(&mut self, picture: &Picture, quality: u8) -> Result<Vec<u8>, Refusal> {
        match self {
            Self::Jpeg(compressor, sampling) => jpeg(compressor, picture, *sampling, quality),
            Self::WebP => webp(picture, quality),
            Self::Avif(av1, last) => {
                let (size, factor) = (picture.size, avif_factor(quality));
                if let Some((_, _, bytes)) = last.as_ref().filter(|last| (last.0, last.1) == (size, factor)) {
                    return Ok(bytes.clone());
                }
                let bytes = av1.encode(picture, factor)?;
                *last = Some((size, factor, bytes.clone()));
                Ok(bytes)
            }
        }
    }
}

fn jpeg(compressor: &mut Compressor, picture: &Picture, sampling: Subsamp, quality: u8) -> Result<Vec<u8>, Refusal> {
    compressor.set_quality(i32::from(quality)).map_err(failed)?;
    let (width, height) = (picture.size.0 as usize, picture.size.1 as usize);
    let encoded = match picture.planes.as_slice() {
        [rgb] if rgb.depth == 3 => {
            compressor.set_subsamp(sampling).map_err(failed)?;
            compressor.compress_to_owned(turbojpeg::Image {
                pixels: rgb.pixels.as_slice(),
                width,
                pitch: rgb.width * 3,
                height,
                format: PixelFormat::RGB,
            })
        }
        [grey] => compressor.compress_yuv_to_owned(turbojpeg::YuvImage {
            pixels: grey.pixels.as_slice(),
            width,
            align: 1,
            height,
            subsamp: Subsamp::Gray,
        }),
        planes => {
            let plane = |number: usize| planes.get(number).map_or(&[][..], |plane| plane.pixels.as_slice());
            let stride = |number: usize| planes.get(number).map_or(0, |plane| plane.width);
            compressor.compress_yuv_planes_to_owned(&turbojpeg::YuvPlanesImage {
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
    Ok(encoded.map_err(failed)?.to_vec())
}

fn webp(picture: &Picture, quality: u8) -> Result<Vec<u8>, Refusal> {
    let [Plane { pixels, depth: 3, .. }] = picture.planes.as_slice() else {
        return Err(refused("cannot be encoded: it was not decoded for WebP"));
    };
    let odd = |what: &str| refused(&format!("cannot be encoded as WebP: {what}"));
    let mut config = webp::WebPConfig::new().map_err(|()| odd("its encoder is of another version"))?;
    config.quality = webp_quality(quality);
    let source = webp::Encoder::from_rgb(pixels, picture.size.0, picture.size.1);
    let encoded = source.encode_advanced(&config).map_err(|error| odd(&format!("{error:?}")))?;
    Ok(encoded.to_vec())
}

impl Av1 {
    fn encode(&self, picture: &Picture, factor: u8) -> Result<Vec<u8>, Refusal> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = self.folder.join(format!("avif-{}-{number}", std::process::id()));
        let (input, output) = (folder.join("in.yuv"), folder.join("out.avif"));
        let written = make_folder(&folder, Privacy::Private).and_then(|()| raw(&input, picture));
        let encoded = written.map_err(|error| Failure::io("could not prepare an encode", &error)).and_then(|()| {
            let arguments = avif_arguments(&input, layout(picture), picture.size, factor, &output);
            self.runtime.block_on(avif::encode(&self.ffmpeg, arguments, &output, &self.cancel))
        });
        // What stays is in the run's own scratch folder.
        fs::remove_dir_all(folder).unwrap_or_default();
        encoded
    }
}

/// ffmpeg's name of how the pixels lie.
fn layout(picture: &Picture) -> &'static str {
    match (picture.planes.len(), picture.sampling) {
        (1, _) if picture.is_rgb() => "rgb24",
        (1, _) => "gray",
        (_, Subsamp::Sub2x2) => "yuv420p",
        (_, Subsamp::Sub2x1) => "yuv422p",
        (_, Subsamp::Sub1x2) => "yuv440p",
        _ => "yuv444p",
    }
}

/// Writes the planes one after another, without padding. A file of a moment: nobody reads it after a crash.
fn raw(path: &std::path::Path, picture: &Picture) -> std::io::Result<()> {
    let mut file = fs::File::create(path)?;
    for (number, plane) in picture.planes.iter().enumerate() {
        let (across, down) = if number == 0 { (1, 1) } else { step(picture.sampling) };
        let width = (picture.size.0 as usize).div_ceil(across) * plane.depth;
        let height = (picture.size.1 as usize).div_ceil(down);
        let stride = plane.width * plane.depth;
        if stride == width {
            file.write_all(&plane.pixels[..width * height])?;
            continue;
        }
        for row in plane.pixels.chunks_exact(stride).take(height) {
            file.write_all(&row[..width])?;
        }
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "fits `map_err`")]
fn failed(error: turbojpeg::Error) -> Refusal {
    refused(&format!("cannot be encoded: {error}"))
}
