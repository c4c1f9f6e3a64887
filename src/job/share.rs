//! A job's share of the processor: permits from the lane that all jobs of a process have in common.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::fault;
use crate::model::item::Rank;
use crate::pipeline::lane::{Lane, Permit};

/// Permits a job takes before others have their turn: each is for seconds at most.
const PERMITS_A_TURN: u64 = 32;

/// The permits of one job, in fair turns with all others; see [`super::Context::turn`].
pub struct Share {
    lane: Lane<Rank>,
    rank: Rank,
    turns: Arc<AtomicU64>,
    begun: u64,
    taken: AtomicU64,
}

impl Share {
    /// A job of that rank, which begins now.
    pub fn new(lane: Lane<Rank>, rank: Rank, turns: Arc<AtomicU64>) -> Self {
        let begun = turns.load(Ordering::Relaxed);
        Self { lane, rank, turns, begun, taken: AtomicU64::new(0) }
    }

    /// A job that has the processor to itself.
    pub fn alone(threads: NonZeroU64) -> Self {
        Self::new(Lane::new(threads.get()), Rank::default(), Arc::default())
    }

    /// Waits until one thread may compute.
    pub async fn permit(&self) -> Option<Permit<Rank>> {
        if fault::mutant("no-permits") {
            return None;
        }
        let taken = self.taken.fetch_add(1, Ordering::Relaxed);
        let rank = Rank { turn: self.begun + taken / PERMITS_A_TURN, ..self.rank };
        let permit = self.lane.acquire(rank, 1).await;
        self.turns.fetch_max(rank.turn, Ordering::Relaxed);
        Some(permit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_long_job_lets_one_that_comes_later_through() {
        let (lane, turns) = (Lane::new(1), Arc::new(AtomicU64::new(0)));
        let rank = |number| Rank { number, ..Rank::default() };
        let long = Share::new(lane.clone(), rank(0), Arc::clone(&turns));
        for _ in 0..PERMITS_A_TURN {
            drop(long.permit().await);
        }
        let held = lane.acquire(Rank::default(), 1).await;
        let newcomer = Share::new(lane, rank(1), turns);
        let (mut next, mut first) = (Box::pin(long.permit()), Box::pin(newcomer.permit()));
        assert!(futures_util::poll!(&mut next).is_pending() && futures_util::poll!(&mut first).is_pending());
        drop(held);
        let first = futures_util::poll!(&mut first);
        assert!(first.is_ready() && futures_util::poll!(&mut next).is_pending());
    }
}
