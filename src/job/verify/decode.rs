//! R29: some segments are decoded, each by itself.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use crate::format::playlist::attribute::short;
use crate::model::failure::Failure;
use crate::tool::child::{Ended, Order, Output, run};

use super::Decode;
use super::fetch::{self, Fetch};
use super::finding::Findings;
use super::inside::Form;
use super::key::Keys;
use super::package::{Package, Rendition, Role};
use super::segment;

/// The first, the middle and the last of so many.
pub(super) fn sample(count: usize) -> Vec<usize> {
    vec![0, count / 2, count.saturating_sub(1)]
}

/// Decodes segments of each rendition.
pub(super) async fn check(
    fetch: &dyn Fetch,
    package: &Package,
    keys: &Keys,
    (wish, (ffprobe, cancel)): (Decode, (&Path, &CancellationToken)),
    findings: &mut Findings,
) -> Result<(), Failure> {
    let promised = package.master.as_ref().is_some_and(|master| master.independent);
    for rendition in package.renditions.iter().filter(|rendition| rendition.role != Role::Subtitles) {
        let count = rendition.facts.len();
        let mut chosen = if wish == Decode::All { (0..count).collect() } else { sample(count) };
        chosen.dedup();
        for index in chosen {
            let looked_into =
                rendition.facts.get(index).and_then(Option::as_ref).is_some_and(|facts| facts.inside.is_some());
            if !looked_into {
                continue;
            }
            let Some(plain) = segment::plain(fetch, keys, rendition, index).await else { continue };
            let form = plain.form;
            let file = Scratch::of(plain.bytes).await?;
            let promised = promised || rendition.media.independent;
            decode((rendition, index, promised), (&file.path, form), (ffprobe, cancel), findings).await?;
        }
    }
    Ok(())
}

async fn decode(
    (rendition, index, promised): (&Rendition, usize, bool),
    (file, form): (&Path, Form),
    (ffprobe, cancel): (&Path, &CancellationToken),
    findings: &mut Findings,
) -> Result<(), Failure> {
    let mut path = std::ffi::OsString::from("file:");
    path.push(file);
    let format = demuxer(form);
    let order = Order::new(ffprobe)
        .args(["-v", "error", "-protocol_whitelist", "file", "-format_whitelist", format, "-f", format])
        .args(["-count_frames", "-show_entries", "stream=codec_type,nb_read_frames", "-of", "compact=p=0", "-i"])
        .arg(path);
    let mut read = (None, None);
    let ended = run(&order, cancel, |output, line| {
        if output == Output::Out {
            // What HDR says of itself comes behind the count.
            let count = line.rsplit_once("nb_read_frames=").and_then(|(_, rest)| rest.split('|').next());
            let count = count.and_then(|count| count.parse::<u64>().ok());
            if line.contains("codec_type=video") {
                read.0 = read.0.or(count);
            } else if line.contains("codec_type=audio") {
                read.1 = read.1.or(count);
            }
        }
        true
    });
    let Ended { status, last_lines } = ended.await.map_err(|error| Failure::environment(super::chain(&error)))?;
    let name = rendition.segment(index);
    let said = last_lines.iter().map(|line| line.trim()).find(|line| !line.starts_with("Last message repeated"));
    if let Some(line) = said {
        findings.violation("R29", &name, format!("the decoder complains: {}", short(line)));
    } else if !status.success() {
        findings.violation("R29", &name, "it cannot be decoded");
    }
    let inside = rendition.facts.get(index).and_then(|facts| facts.as_ref()?.inside.as_ref());
    let Some(inside) = inside else { return Ok(()) };
    let packed = (
        inside.video.as_ref().map(|video| video.pictures),
        inside.audio.as_ref().map(|audio| audio.frames).filter(|&frames| frames > 0),
    );
    // Pictures that lean on the segment before are allowed where nothing says otherwise (RFC 8216, 4.3.5.1).
    let leans = !promised && inside.video.as_ref().is_some_and(|video| video.starts_with_key == Some(false));
    let all = [(packed.0, read.0, "pictures", leans), (packed.1, read.1, "frames of sound", false)];
    for (packed, decoded, what, is_allowed) in all {
        if let Some(packed) = packed
            && decoded != Some(packed)
        {
            let what = format!("{} of {packed} {what} can be decoded", decoded.unwrap_or(0));
            if is_allowed {
                findings.warning("R29", &name, what);
            } else {
                findings.violation("R29", &name, what);
            }
        }
    }
    Ok(())
}

/// The demuxer that a segment is given to, which may use no other.
pub(super) fn demuxer(form: Form) -> &'static str {
    match form {
        Form::Stream => "mpegts",
        Form::Fragments => "mov",
        Form::Packed => "aac",
    }
}

/// A decrypted segment on disk, for us alone and only while it is needed.
pub(super) struct Scratch {
    pub(super) path: PathBuf,
}

impl Scratch {
    /// Writes the bytes.
    pub(super) async fn of(bytes: Vec<u8>) -> Result<Self, Failure> {
        let file = fetch::blocking(move || Self::write(&bytes)).await;
        file.map_err(|error| Failure::io("could not write a segment to be decoded", &error))
    }

    fn write(bytes: &[u8]) -> std::io::Result<Self> {
        let mut name = [0; 16];
        getrandom::fill(&mut name).map_err(|error| std::io::Error::other(error.to_string()))?;
        let path = std::env::temp_dir().join(format!("forebay-{}.media", hex::encode(name)));
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let scratch = Self { path };
        file.write_all(bytes)?;
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Gone already is as good.
        std::fs::remove_file(&self.path).unwrap_or_default();
    }
}
