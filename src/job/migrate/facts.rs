//! What the bytes of an object tell: pictures by their headers, sound and film by ffprobe.
//! Facts are extras: what cannot be read has none, and is copied all the same.

use std::panic::AssertUnwindSafe;
use std::path::Path;

use bytes::Bytes;

use super::Context;
use super::content::{ScratchFile, computed};
use crate::catalog::Facts;
use crate::format::jpeg::Jpeg;
use crate::model::media::Media;
use crate::pipeline::Rank;
use crate::scratch::file::{Privacy, make_folder, write};
use crate::tool::ffprobe;

/// What the bytes of a picture tell. Computes.
pub(super) fn of_bytes(bytes: &[u8], media_type: Option<&str>) -> Facts {
    if !media_type.is_some_and(|media_type| media_type.starts_with("image/")) {
        return Facts::default();
    }
    // Decoders read hostile files: one that stumbles tells nothing.
    std::panic::catch_unwind(AssertUnwindSafe(|| of_picture(bytes))).unwrap_or_default()
}

/// As [`of_bytes`], of the head of a large object.
pub(super) async fn of_head(head: Bytes, media_type: Option<&'static str>) -> Facts {
    computed(move || of_bytes(&head, media_type)).await.unwrap_or_default()
}

/// What ffprobe says of media that are in memory.
pub(super) async fn of_media_bytes(bytes: &Bytes, context: &Context) -> Facts {
    if context.ffprobe.is_none() {
        return Facts::default();
    }
    let file = ScratchFile::new(&context.scratch);
    let (path, scratch, bytes) = (file.path().to_path_buf(), context.scratch.clone(), bytes.clone());
    let keep = move || {
        make_folder(&scratch, Privacy::Private)?;
        write(&path, &bytes, Privacy::Private)
    };
    match computed(keep).await {
        Ok(Ok(())) => of_media(file.path(), context).await,
        _ => Facts::default(),
    }
}

/// What ffprobe says of a file.
pub(super) async fn of_media(path: &Path, context: &Context) -> Facts {
    let Some(program) = &context.ffprobe else { return Facts::default() };
    let permit = context.cpu.acquire(Rank::default(), 1).await;
    let media = ffprobe::probe(program, path, &context.limits, &context.cancel).await;
    drop(permit);
    media.map(told).unwrap_or_default()
}

/// Two sets of facts as one; those of `first` count.
pub(super) fn merged(first: Facts, second: Facts) -> Facts {
    let mut more = second.more;
    more.extend(first.more);
    Facts {
        width: first.width.or(second.width),
        height: first.height.or(second.height),
        seconds: first.seconds.or(second.seconds),
        taken: first.taken.or(second.taken),
        camera: first.camera.or(second.camera),
        latitude: first.latitude.or(second.latitude),
        longitude: first.longitude.or(second.longitude),
        more,
    }
}

fn told(media: Media) -> Facts {
    let mut facts = Facts { seconds: media.declared_seconds, ..Facts::default() };
    facts.more.insert("container".into(), media.container);
    facts.more.extend(media.title.map(|title| ("title".to_owned(), clean(&title))));
    if let Some(video) = media.video {
        (facts.width, facts.height) = (Some(video.width), Some(video.height));
        facts.more.insert("video".into(), video.codec);
        facts.more.extend(video.average_rate.map(|rate| ("frame-rate".to_owned(), rate.to_string())));
    }
    let codecs: Vec<String> = media.audio.into_iter().map(|audio| audio.codec).collect();
    if !codecs.is_empty() {
        facts.more.insert("audio".into(), codecs.join(" "));
    }
    facts
}

fn of_picture(bytes: &[u8]) -> Facts {
    let size = match Jpeg::read(bytes) {
        Some(jpeg) => Some((jpeg.frame.width, jpeg.frame.height)),
        None => other_size(bytes),
    };
    let facts = Facts { width: size.map(|size| size.0), height: size.map(|size| size.1), ..Facts::default() };
    merged(facts, exif_facts(bytes))
}

#[cfg(feature = "photos")]
fn other_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let reader = image::ImageReader::new(std::io::Cursor::new(bytes));
    reader.with_guessed_format().ok()?.into_dimensions().ok()
}

#[cfg(not(feature = "photos"))]
fn other_size(_bytes: &[u8]) -> Option<(u32, u32)> {
    None
}

#[cfg(not(feature = "photos"))]
fn exif_facts(_bytes: &[u8]) -> Facts {
    Facts::default()
}

#[cfg(feature = "photos")]
fn exif_facts(bytes: &[u8]) -> Facts {
    use exif::{In, Tag, Value};

    /// Longest value that is kept of one tag: notes of cameras are longer and say nothing to others.
    const LONGEST: usize = 200;

    let Ok(read) = exif::Reader::new().read_from_container(&mut std::io::Cursor::new(bytes)) else {
        return Facts::default();
    };
    let field = |tag| read.get_field(tag, In::PRIMARY);
    let shown = |tag| field(tag).map(|field| clean(&field.display_value().to_string())).filter(|text| !text.is_empty());
    let degrees = |place, side, negative: &str| {
        let Value::Rational(parts) = &field(place)?.value else { return None };
        let [degrees, minutes, seconds] = parts.as_slice() else { return None };
        let value = degrees.to_f64() + minutes.to_f64() / 60.0 + seconds.to_f64() / 3600.0;
        let value = if shown(side).is_some_and(|side| side.starts_with(negative)) { -value } else { value };
        value.is_finite().then_some(value)
    };
    let words: Vec<String> = [Tag::Make, Tag::Model].into_iter().filter_map(shown).collect();
    let camera = (!words.is_empty()).then(|| words.join(" ").replace('"', ""));
    let kept = read.fields().filter(|field| field.ifd_num == In::PRIMARY).filter_map(|field| {
        let text = clean(&field.display_value().to_string());
        (text.len() <= LONGEST).then(|| (field.tag.to_string(), text))
    });
    Facts {
        taken: shown(Tag::DateTimeOriginal).map(|taken| taken.replacen(' ', "T", 1)),
        camera,
        latitude: degrees(Tag::GPSLatitude, Tag::GPSLatitudeRef, "S"),
        longitude: degrees(Tag::GPSLongitude, Tag::GPSLongitudeRef, "W"),
        more: kept.collect(),
        ..Facts::default()
    }
}

/// Text that any database takes.
fn clean(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).collect::<String>().trim().to_owned()
}
