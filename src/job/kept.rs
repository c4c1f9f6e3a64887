//! What was encoded of a source that is still coming, kept for whoever goes on after a kill.
//!
//! Nothing can be stored before the source is whole, since its digest names the generation. Until
//! then the encoder's files lie in the work folder, each chunk with a note of what it was made of.
//! After a power cut the source has another serial, and nothing of it is believed.

use std::path::PathBuf;

use crate::model::failure::Failure;
use crate::model::fault;
use crate::model::item::Rank;
use crate::model::sha256::Sha256;
use crate::pipeline::lane::Permit;
use crate::plan::generation;
use crate::scratch::file::{self, Privacy};

use super::blocking;
use super::chunk::{Part, Rendition, open};
use super::work::Work;

/// Notes that `files` are whole. Gives the room in scratch that they take, if it is free.
pub(super) async fn keep(work: &Work<'_>, part: Part, files: &[Rendition]) -> Result<Option<Permit<Rank>>, Failure> {
    let Some(made_of) = made_of(work) else { return Ok(None) };
    let path = note(work, part);
    let paths: Vec<PathBuf> = files.iter().flat_map(|(_, cutter)| cutter.own_files()).map(Into::into).collect();
    let bytes = blocking(move || {
        file::write(&path, made_of.as_bytes(), Privacy::Public)
            .map_err(|error| Failure::io("could not note what was encoded", &error))?;
        Ok(paths.iter().filter_map(|path| path.metadata().ok()).map(|about| about.len()).sum())
    })
    .await?;
    fault::point("early-kept");
    Ok(work.cx.lanes.room.try_acquire(bytes))
}

/// The encoder's checked files of `part`, if an earlier run has made them of the same source and kept them.
pub(super) async fn find(work: &Work<'_>, what: (Part, &[usize])) -> Option<Vec<Rendition>> {
    let (path, made_of) = (note(work, what.0), made_of(work)?);
    let same = blocking(move || Ok(std::fs::read_to_string(path).is_ok_and(|noted| noted == made_of))).await;
    if same.unwrap_or(false) { open(work, what).await.ok() } else { None }
}

/// Forgets that anything is kept of `part`.
pub(super) async fn forget(work: &Work<'_>, part: Part) {
    // What stays is no harm: it goes with the folder, and whoever believes it finds no files.
    tokio::fs::remove_file(note(work, part)).await.unwrap_or_default();
}

fn note(work: &Work<'_>, part: Part) -> PathBuf {
    work.folder.join(format!("{}.kept", part.name()))
}

/// All that the bytes depend on. Nothing where it is not known which file they come from.
fn made_of(work: &Work<'_>) -> Option<String> {
    let (serial, settings) = (work.serial.as_ref()?, generation::settings_digest(work.settings));
    let plan = hex::encode(Sha256::digest(format!("{:?}", work.plan)));
    Some(format!("{serial}\n{settings}\n{plan}\nffmpeg {}\n", work.cx.ffmpeg.version))
}
