//! Why ffprobe turned a file away, in words for a person.

use std::path::Path;

use tokio::io::AsyncReadExt as _;

use crate::model::failure::Failure;
use crate::plan::hls;
use crate::tool::child::{self, Ended};

/// What to do about a file that is no video.
pub(super) const DRESSED: &str =
    "check what the address really gives; playlists and texts dressed as videos are refused";

/// ffprobe's refusal in words for a person.
pub(super) async fn refused(ended: &Ended, path: &Path, pixels: u64) -> Failure {
    if let Some(size) = oversize(&ended.last_lines, pixels) {
        return hls::too_large(size, pixels);
    }
    if let Some(killed) = child::killed(ended.status, "ffprobe") {
        return killed;
    }
    let said = ended.last_lines.iter().rev().find(|line| !line.trim().is_empty()).cloned().unwrap_or_default();
    let reason = said.rsplit(": ").next().unwrap_or(&said).to_string();
    let all = ended.last_lines.join("\n");
    // A text named .mp4 lacks the index as well: nothing in it was ever an MP4.
    if all.contains("moov atom not found") && begins_as_mp4(path).await {
        return Failure::permanent("the file is cut short: its index (`moov`) is missing").hint("get the file again");
    }
    if let Some(codec) = all.split_once("Codec (").and_then(|(_, rest)| rest.split_once(") not on whitelist")) {
        let what = format!("a stream of the file is in `{}`, which is not supported", codec.0.escape_debug());
        return Failure::permanent(what).hint("leave that stream out first, with a tool such as mkvmerge or ffmpeg");
    }
    let unknown = ["whitelist", "Invalid data found", "moov atom not found"].iter().any(|words| all.contains(words));
    let what = if unknown {
        "the file is not a video that is understood".to_string()
    } else {
        format!("ffprobe cannot read the file: {}", reason.escape_debug())
    };
    Failure::permanent(what).hint(DRESSED)
}

/// The size of a picture that a decoder would not take, if it said so: `Picture size 16000x16000 exceeds …`.
pub(super) fn oversize(lines: &[String], most: u64) -> Option<&str> {
    let sizes = lines.iter().filter_map(|line| line.split_once("Picture size ")?.1.split(' ').next());
    sizes.into_iter().find(|size| {
        let area = size.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
        area.is_some_and(|(width, height): (u64, u64)| width.saturating_mul(height) > most)
    })
}

async fn begins_as_mp4(path: &Path) -> bool {
    let mut head = [0; 8];
    let read = async { tokio::fs::File::open(path).await?.read_exact(&mut head).await };
    read.await.is_ok() && [b"ftyp", b"mdat", b"free", b"skip", b"wide"].iter().any(|kind| head.ends_with(*kind))
}
