//! Sweeps a destination and tells of each step.

use std::time::Duration;

use crate::config::Config;
use crate::job::gc::{self, Generation, Verdict};
use crate::model::failure::Failure;
use crate::scratch::file::Privacy;

/// What came of a look at a destination.
pub enum News {
    /// A generation, and what became of it; in a dry run what would.
    Judged(Generation, Verdict),
    /// A generation that could not be looked at or removed.
    Failed(Generation, Failure),
    /// So many uploads that were never finished are removed; in a dry run they would be.
    Uploads(u64),
}

/// Sweeps `to` of what no pointer leads to and is older than the grace of the settings.
pub async fn sweep(config: &Config, to: &str, dry_run: bool, report: &mut dyn FnMut(News)) -> Result<(), Failure> {
    let store = config.stores.open(to, Privacy::Public)?;
    let grace: Duration = config.gc_grace;
    for generation in gc::generations(&store).await? {
        let judged = async {
            let verdict = gc::judge(&store, &generation, grace).await?;
            if verdict != Verdict::Swept || dry_run || gc::remove(&store, &generation).await? {
                return Ok(verdict);
            }
            // Somebody wrote to it meanwhile.
            Ok(Verdict::Young)
        };
        let news = match judged.await {
            Ok(verdict) => News::Judged(generation, verdict),
            Err(failure) => News::Failed(generation, failure),
        };
        report(news);
    }
    let uploads =
        if dry_run { store.unfinished("", grace).await?.len() as u64 } else { store.sweep("", grace).await? };
    report(News::Uploads(uploads));
    Ok(())
}
