//! Some bytes of an input, for who needs no more: each piece on the condition that it is of the
//! version that was read before.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::stream::{StreamExt as _, TryStreamExt as _};

use crate::model::event::What;
use crate::model::failure::Failure;
use crate::model::item::{Item, Locator};

use super::hash::blocking;
use super::http::{Input, Ranges};
use super::mark::Mark;
use super::pace::Pace;
use super::pieces::Origin;
use super::tries::{Tries, Trouble};
use super::{FetchContext, Record, Sources, guard, name, stoppable};

/// One request asks for no more: a connection that fails costs no more than this.
const LARGEST: u64 = 8 * 1024 * 1024;

/// Whether some bytes of what `record` tells of can be asked for, and a change would be noticed.
pub fn has_spans(item: &Item, record: &Record) -> bool {
    let told = record.etag.is_some() || record.last_modified.is_some();
    told && record.bytes.is_some() && !matches!(item.locator, Locator::File(_))
}

impl Sources {
    /// Writes the bytes of `spans` of the version that `record` tells of into `file`, each to its place.
    pub async fn spans(
        &self,
        item: &Item,
        record: &Record,
        spans: &[Range<u64>],
        file: &Arc<File>,
        context: &FetchContext<'_>,
    ) -> Result<(), Failure> {
        let shared = &self.shared;
        let key = name::key(&item.locator);
        let mark = Mark {
            etag: record.etag.clone(),
            last_modified: record.last_modified.clone(),
            size: record.bytes,
            ..Mark::new(&record.key)
        };
        let bring = async {
            match &item.locator {
                Locator::File(_) => Err(Failure::permanent("files of a machine are not read in parts")),
                Locator::Object { place, key: object } => {
                    all(&shared.object(place, object, &key)?, &mark, spans, file, context).await
                }
                Locator::Url(url) => {
                    guard::may_ask(&shared.settings.reach, url)?;
                    let input = Input { url, headers: &item.headers, key: &key };
                    all(&Ranges::new(&shared.client, &input, None), &mark, spans, file, context).await
                }
            }
        };
        stoppable(context, bring).await
    }
}

async fn all(
    origin: &dyn Origin,
    mark: &Mark,
    spans: &[Range<u64>],
    file: &Arc<File>,
    context: &FetchContext<'_>,
) -> Result<(), Failure> {
    let total: u64 = spans.iter().map(|span| span.end - span.start).sum();
    let here = AtomicU64::new(0);
    let pieces = spans.iter().flat_map(|span| {
        let begins = (span.start..span.end).step_by(usize::try_from(LARGEST).unwrap_or(usize::MAX));
        begins.map(|begin| begin..span.end.min(begin + LARGEST))
    });
    let connections = usize::try_from(origin.settings().connections_per_file.max(1)).unwrap_or(1);
    let one = |piece| {
        let here = &here;
        async move {
            let told = |bytes: u64| {
                let bytes = here.fetch_add(bytes, Ordering::Relaxed) + bytes;
                (context.report)(What::Downloading { bytes, total: Some(total) });
            };
            bring(origin, mark, piece, file, context, &told).await
        }
    };
    let all: Vec<_> = pieces.map(one).collect();
    futures_util::stream::iter(all).buffer_unordered(connections).try_collect().await
}

async fn bring(
    origin: &dyn Origin,
    mark: &Mark,
    mut piece: Range<u64>,
    file: &Arc<File>,
    context: &FetchContext<'_>,
    told: &(dyn Fn(u64) + Sync),
) -> Result<(), Failure> {
    let mut tries = Tries::default();
    while !piece.is_empty() {
        let permit = context.network.acquire(context.rank, 1).await;
        let begin = piece.start;
        let outcome = pour(origin, mark, &mut piece, file).await;
        drop(permit);
        if piece.start > begin {
            tries.progress();
            told(piece.start - begin);
        }
        let (failure, wait) = match outcome {
            Ok(()) => continue,
            Err(Trouble::Again(failure, wait)) => (failure, wait),
            Err(Trouble::Slow(failure)) => (failure, None),
            Err(Trouble::Changed(why)) => return Err(Failure::temporary(why)),
            Err(trouble) => return Err(trouble.into()),
        };
        tries.again(failure, wait, origin.settings(), context).await?;
        origin.recover().await?;
    }
    Ok(())
}

/// Asks once for what is left of `piece`, and lets it land.
async fn pour(origin: &dyn Origin, mark: &Mark, piece: &mut Range<u64>, file: &Arc<File>) -> Result<(), Trouble> {
    let mut body = origin.open(piece, mark).await?;
    let mut pace = Pace::new(origin.settings(), 0);
    while !piece.is_empty() {
        let Some(mut bytes) = pace.next(&mut body).await? else {
            let missing = piece.end - piece.start;
            let what = format!("`{}` ended {missing} bytes too early", body.shown());
            return Err(Trouble::Again(Failure::temporary(what), None));
        };
        bytes.truncate(usize::try_from(piece.end - piece.start).unwrap_or(usize::MAX));
        let (file, at, count) = (Arc::clone(file), piece.start, bytes.len() as u64);
        let written = blocking(move || file.write_all_at(&bytes, at)).await;
        written.map_err(|error| Failure::io("could not write to the work folder", &error))?;
        piece.start += count;
    }
    Ok(())
}
