//! The hands that a worker lends to films: it takes their chunks as long as it has cores that nobody
//! wants, beside the slots for jobs. So the worker that leads a film works on it like any other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Asker, FIRST_LOOK, LONGEST_OUTAGE_WAIT, Shared};

/// The longest wait between two looks for chunks. Films are few.
const LAST_LOOK: std::time::Duration = std::time::Duration::from_millis(800);

/// A chunk that was taken and has no core yet. Dropped when it has one.
pub(super) struct Seat(Arc<AtomicU64>);

impl Seat {
    fn take(waiting: &Arc<AtomicU64>) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(waiting))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes chunks until `until`, then ends those it has.
pub(super) async fn lend(shared: Arc<Shared>, until: CancellationToken) {
    let Some(label) = shared.runner.make() else { return };
    let mut labels = shared.settings.labels.clone();
    labels.insert(label.clone());
    let asker = Asker { worker: shared.settings.name.clone(), labels, only: Some(label) };
    let waiting = Arc::new(AtomicU64::new(0));
    let (mut busy, mut look) = (JoinSet::new(), FIRST_LOOK);
    while !until.is_cancelled() {
        ended(&mut busy);
        shared.rested().await;
        let free = shared.runner.idle() > waiting.load(Ordering::Relaxed);
        let wait = if free && !until.is_cancelled() {
            match shared.queue.claim(&asker, shared.settings.lease).await {
                Ok(Some(claim)) => {
                    let (shared, seat) = (Arc::clone(&shared), Seat::take(&waiting));
                    busy.spawn(async move { shared.attend(claim, Some(seat)).await });
                    look = FIRST_LOOK;
                    continue;
                }
                Ok(None) => look,
                // The slots say so.
                Err(_) => LONGEST_OUTAGE_WAIT,
            }
        } else {
            look = FIRST_LOOK;
            FIRST_LOOK
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = until.cancelled() => {}
        }
        look = (look * 3 / 2).min(LAST_LOOK);
    }
    while busy.join_next().await.is_some_and(told) {}
}

/// Forgets the chunks that have ended.
fn ended(busy: &mut JoinSet<()>) {
    while busy.try_join_next().is_some_and(told) {}
}

fn told(ended: Result<(), tokio::task::JoinError>) -> bool {
    if let Err(error) = ended {
        // The chunk's lease runs out, and that attempt counts.
        tracing::error!(%error, "a chunk ended by a fault of the program");
    }
    true
}
