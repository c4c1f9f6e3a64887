//! One answer from its first byte to its last, for servers that cannot begin in the middle.

use std::path::Path;

use crate::model::failure::Failure;

use super::super::FetchContext;
use super::super::body::Body;
use super::super::mark::{Mark, Ranges};
use super::super::part::{Flow, Part};
use super::super::room::Room;
use super::super::tries::{Tries, Trouble};
use super::client::{Client, Input};
use super::{Opened, open_plain};

/// Scratch space is taken in steps of this size when nobody says how large the file is.
pub(super) const STEP: u64 = 64 * 1024 * 1024;

/// What stays the same over all tries.
pub(super) struct Job<'a> {
    pub(super) client: &'a Client,
    pub(super) input: &'a Input<'a>,
    pub(super) folder: &'a Path,
    pub(super) context: &'a FetchContext<'a>,
}

/// Fetches the file in one go, from the beginning again after every failure.
pub(super) async fn fetch<'a>(
    job: &Job<'a>,
    mark: &Mark,
    mut opened: Option<Opened>,
    room: &mut Room<'_>,
) -> Result<(Part<'a>, String), Trouble> {
    let mut tries = Tries::default();
    loop {
        let first = match opened.take() {
            Some(first) => first,
            None => open_plain(job.client, job.input, job.context, false).await?,
        };
        let answer = &first.answer;
        let mark = Mark {
            etag: answer.etag.clone(),
            last_modified: answer.last_modified.clone(),
            size: answer.whole_size(),
            ..mark.clone()
        };
        let mut wanted = None;
        match pour(job, mark, first, room, &mut wanted).await {
            Err(_) if wanted.is_some() => room.reserve(wanted.unwrap_or_default()).await?,
            Err(Trouble::Again(failure, wait)) => {
                let again = tries.again(failure, wait, &job.client.settings, job.context).await;
                again.map_err(Trouble::Final)?;
            }
            Err(Trouble::Slow(failure)) => {
                let again = tries.again(failure, None, &job.client.settings, job.context).await;
                again.map_err(Trouble::Final)?;
            }
            outcome => return outcome,
        }
    }
}

/// One try. Sets `wanted` when it ended for want of scratch space.
async fn pour<'a>(
    job: &Job<'a>,
    mark: Mark,
    opened: Opened,
    room: &mut Room<'_>,
    wanted: &mut Option<u64>,
) -> Result<(Part<'a>, String), Trouble> {
    let (size, settings) = (mark.size, &job.client.settings);
    let Opened { response, head, permit, .. } = opened;
    let mut body = Body::Http(response);
    let part = Part::open(job.folder, Mark { written: Ranges::default(), ..mark }, job.context).await?;
    let mut allow = |end: u64| {
        if end <= room.bytes() {
            return Ok(());
        }
        if room.try_reserve((room.bytes() + STEP).min(room.most()).max(end))? {
            return Ok(());
        }
        // Twice as much as came, or the same would happen soon again.
        *wanted = Some((2 * end).min(room.most()));
        Err(Trouble::Again(Failure::temporary("waiting for scratch space"), None))
    };
    let bring = async {
        let flow = Flow { body: &mut body, head, end: size, least: settings.least_in_window() };
        part.pour(flow, &mut 0, settings, &mut allow).await?;
        drop(permit);
        part.complete();
        Ok(())
    };
    let ((), sha256) = tokio::try_join!(bring, async { part.hash().await.map_err(Trouble::Final) })?;
    Ok((part, sha256))
}
