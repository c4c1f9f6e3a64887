//! `--verify-only`: whether the destination still has what the catalog says.

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::copy::sha256_of;
use super::run::seen;
use super::{Context, Listener, Moved, Summary};
use crate::catalog::sql::Listed;
use crate::model::failure::Failure;
use crate::plan::migrate::{Sign, is_same};

/// Compares every row with the destination: bytes and MD5 by a look, SHA-256 by reading if `read_back`.
pub async fn check(context: &Context, listener: Listener<'_>) -> Result<Summary, Failure> {
    let mut summary = Summary::default();
    let pages = stream::try_unfold(String::new(), |after| async move {
        let page = context.catalog.page(&after).await?;
        let last = page.last().map(|row| row.key.clone());
        Ok::<_, Failure>(last.map(|last| (page, last)))
    });
    let rows = pages.map_ok(|page| stream::iter(page).map(Ok::<_, Failure>)).try_flatten();
    let wanted = rows.try_filter(|row| std::future::ready(context.filter.wants(&row.key)));
    let answers = wanted
        .take_until(context.stop.cancelled())
        .map(|row: Result<Listed, Failure>| async move {
            let row = row?;
            let sign = compare(&row, context).await;
            let (sign, failure) = sign.map_or_else(|failure| (Sign::Error, Some(failure)), |sign| (sign, None));
            Ok::<_, Failure>(Moved { key: row.key, sign, bytes: row.known.bytes, failure })
        })
        .buffer_unordered(context.transfers);
    let mut answers = std::pin::pin!(answers);
    while let Some(moved) = answers.try_next().await? {
        summary.count(&moved);
        listener(moved);
    }
    summary.stopped = context.stop.is_cancelled();
    Ok(summary)
}

async fn compare(row: &Listed, context: &Context) -> Result<Sign, Failure> {
    let Some(there) = context.destination.stat(&row.key).await?.map(seen) else { return Ok(Sign::New) };
    if !is_same(&row.known, &there) {
        return Ok(Sign::Changed);
    }
    let right = !context.read_back || sha256_of(&row.key, context).await? == row.sha256;
    Ok(if right { Sign::Same } else { Sign::Changed })
}
