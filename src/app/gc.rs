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
    /// The key of an upload that was never finished, which is removed or could not be; in a dry run it would be.
    Upload(String, Option<Failure>),
}

/// Sweeps `to` of what no pointer leads to and is older than the grace of the settings.
pub async fn sweep(config: &Config, to: &str, dry_run: bool, report: &mut dyn FnMut(News)) -> Result<(), Failure> {
    let store = config.stores.open(to, Privacy::Public)?;
    store.require().await?;
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
    for upload in gc::unfinished(&store, grace).await? {
        let removed = if dry_run { Ok(()) } else { store.discard(&upload).await };
        report(News::Upload(upload.key, removed.err().map(Failure::from)));
    }
    Ok(())
}
