//! Changes of the catalog, as many at once as have come together while the last were written.

use std::sync::{Mutex as SyncMutex, PoisonError};

use tokio::sync::{Mutex, oneshot};

use crate::catalog::sql::{Catalog, Change};
use crate::model::failure::Failure;

/// Most changes in one transaction.
const MOST: usize = 1000;

/// Writes changes of one catalog.
pub(super) struct Recorder<'a> {
    catalog: &'a Catalog,
    waiting: SyncMutex<Vec<Waiting>>,
    writing: Mutex<()>,
}

struct Waiting {
    change: Change,
    done: oneshot::Sender<Result<(), Failure>>,
}

impl<'a> Recorder<'a> {
    /// Nothing waits yet.
    pub(super) fn new(catalog: &'a Catalog) -> Self {
        Self { catalog, waiting: SyncMutex::default(), writing: Mutex::default() }
    }

    /// Makes one change. When this returns it is durable.
    pub(super) async fn record(&self, change: Change) -> Result<(), Failure> {
        let (done, mut answer) = oneshot::channel();
        self.waiting().push(Waiting { change, done });
        // Whoever has the lock writes for all who wait.
        let lost = |_| Failure::environment("the catalog gave no answer");
        loop {
            let writing = self.writing.lock().await;
            if let Ok(result) = answer.try_recv() {
                return result;
            }
            let batch: Vec<Waiting> = {
                let mut line = self.waiting();
                let count = line.len().min(MOST);
                line.drain(..count).collect()
            };
            if batch.is_empty() {
                drop(writing);
                return answer.await.unwrap_or_else(|error| Err(lost(error)));
            }
            let (changes, dones): (Vec<_>, Vec<_>) = batch.into_iter().map(|one| (one.change, one.done)).unzip();
            let result = self.catalog.change(&changes).await;
            for done in dones {
                // Who does not wait any more needs no answer.
                done.send(result.clone()).unwrap_or_default();
            }
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
