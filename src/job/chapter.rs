//! The chapters of a package: two small objects beside its renditions.

use crate::format::chapters::{json, vtt};
use crate::model::failure::Failure;
use crate::scratch::journal::Object;
use crate::storage::Serving;

use super::chunk::IMMUTABLE;
use super::publish::write;
use super::work::Work;

/// The name of Apple's list below the generation.
pub(super) const LIST: &str = "chapters.json";

const TRACK: Serving = Serving { content_type: "text/vtt", cache_control: IMMUTABLE };
const JSON: Serving = Serving { content_type: "application/json", cache_control: IMMUTABLE };

/// Writes the chapters, if the source has any.
pub(super) async fn store(work: &Work<'_>) -> Result<Vec<Object>, Failure> {
    let chapters = &work.target().chapters;
    if chapters.is_empty() {
        return Ok(Vec::new());
    }
    let track = write(work, "chapters.vtt", vtt(chapters).into_bytes(), TRACK).await?;
    Ok(vec![track, write(work, LIST, json(chapters).into_bytes(), JSON).await?])
}
