//! A lane: a number of permits, handed out by rank.
//!
//! Tokio's semaphore serves in order of arrival. A lane serves the smallest
//! rank first, so that the first video of a list is finished before the tenth
//! is begun, whenever both could use the same core or connection.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// Permits of one kind (connections, cores, bytes) shared by all jobs.
///
/// Clones share the same permits. `Rank` decides who goes first; equal ranks
/// are served in order of arrival.
pub struct Lane<R: Ord + Send> {
    inner: Arc<Mutex<Inner<R>>>,
}

struct Inner<R: Ord> {
    capacity: u64,
    taken: u64,
    arrivals: u64,
    queue: BinaryHeap<Reverse<Waiter<R>>>,
    meter: Meter,
}

struct Waiter<R: Ord> {
    rank: R,
    arrival: u64,
    count: u64,
    grant: oneshot::Sender<()>,
}

/// Integrates how many permits are taken over time.
struct Meter {
    since: Instant,
    busy: f64,
    active: f64,
}

/// What a lane has been doing. Times are since the lane was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LaneStats {
    /// Permits in all.
    pub capacity: u64,
    /// Permits taken now.
    pub taken: u64,
    /// Requests waiting now.
    pub waiting: u64,
    /// Permit-seconds: two permits for three seconds are six.
    pub busy: Duration,
    /// Time in which at least one permit was taken.
    pub active: Duration,
}

/// Permits in hand; given back on drop.
#[must_use = "a permit that is dropped at once guards nothing"]
pub struct Permit<R: Ord + Send> {
    lane: Lane<R>,
    count: u64,
}

impl<R: Ord + Send> Lane<R> {
    /// A lane with `capacity` permits (at least one).
    pub fn new(capacity: u64) -> Self {
        let meter = Meter { since: Instant::now(), busy: 0.0, active: 0.0 };
        let inner = Inner { capacity: capacity.max(1), taken: 0, arrivals: 0, queue: BinaryHeap::new(), meter };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Waits for `count` permits. Asking for more than exist waits for all of them.
    ///
    /// Cancel-safe: a dropped future gives back what it was granted.
    pub async fn acquire(&self, rank: R, count: u64) -> Permit<R> {
        let (grant, granted) = oneshot::channel();
        let count = {
            let mut inner = self.lock();
            let count = count.min(inner.capacity);
            inner.arrivals += 1;
            let arrival = inner.arrivals;
            inner.queue.push(Reverse(Waiter { rank, arrival, count, grant }));
            inner.serve();
            count
        };
        let mut waiting = Waiting { lane: self, count, granted, done: false };
        // The sender lives in the queue until it grants, so this cannot fail.
        let granted = (&mut waiting.granted).await;
        debug_assert!(granted.is_ok());
        waiting.done = true;
        Permit { lane: self.clone(), count }
    }

    /// Takes `count` permits if they are free and nobody waits for any.
    pub fn try_acquire(&self, count: u64) -> Option<Permit<R>> {
        let mut inner = self.lock();
        inner.serve();
        if !inner.queue.is_empty() || inner.taken + count > inner.capacity {
            return None;
        }
        inner.taken += count;
        Some(Permit { lane: self.clone(), count })
    }

    /// Runs `work` with one permit in hand.
    pub async fn run<T>(&self, rank: R, work: impl Future<Output = T>) -> T {
        let _permit = self.acquire(rank, 1).await;
        work.await
    }

    /// What the lane has been doing.
    pub fn stats(&self) -> LaneStats {
        let mut inner = self.lock();
        inner.tick();
        LaneStats {
            capacity: inner.capacity,
            taken: inner.taken,
            waiting: inner.queue.iter().filter(|waiter| !waiter.0.grant.is_closed()).count() as u64,
            busy: Duration::from_secs_f64(inner.meter.busy),
            active: Duration::from_secs_f64(inner.meter.active),
        }
    }

    /// Whether somebody whose rank is `whose` waits for permits.
    pub fn waits(&self, whose: impl Fn(&R) -> bool) -> bool {
        self.lock().queue.iter().any(|waiter| !waiter.0.grant.is_closed() && whose(&waiter.0.rank))
    }

    /// Permits in all.
    pub fn capacity(&self) -> u64 {
        self.lock().capacity
    }

    fn release(&self, count: u64) {
        let mut inner = self.lock();
        inner.tick();
        inner.taken -= count;
        inner.serve();
    }

    fn lock(&self) -> MutexGuard<'_, Inner<R>> {
        // The lock is never held across a panic that could leave it half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: Ord> Inner<R> {
    /// Grants permits to the first in line until the first one does not fit.
    fn serve(&mut self) {
        self.tick();
        while let Some(Reverse(first)) = self.queue.peek() {
            let fits = self.taken + first.count <= self.capacity;
            if !fits && !first.grant.is_closed() {
                return;
            }
            let Some(Reverse(waiter)) = self.queue.pop() else { return };
            // A waiter that went away takes nothing.
            if waiter.grant.send(()).is_ok() {
                self.taken += waiter.count;
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "permits in use stay far below 2^52")]
    fn tick(&mut self) {
        let now = Instant::now();
        let passed = now.duration_since(self.meter.since).as_secs_f64();
        self.meter.since = now;
        self.meter.busy += passed * self.taken as f64;
        if self.taken > 0 {
            self.meter.active += passed;
        }
    }
}

/// Gives a grant back that arrived while its future was being dropped.
struct Waiting<'a, R: Ord + Send> {
    lane: &'a Lane<R>,
    count: u64,
    granted: oneshot::Receiver<()>,
    done: bool,
}

impl<R: Ord + Send> Drop for Waiting<'_, R> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        self.granted.close();
        if self.granted.try_recv().is_ok() {
            self.lane.release(self.count);
        } else {
            self.lane.lock().serve();
        }
    }
}

impl<R: Ord + Send> Drop for Permit<R> {
    fn drop(&mut self) {
        self.lane.release(self.count);
    }
}

impl<R: Ord + Send> Permit<R> {
    /// How many permits these are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Takes the permits of `other`, of the same lane, into this one.
    pub fn join(&mut self, mut other: Self) {
        debug_assert!(Arc::ptr_eq(&self.lane.inner, &other.lane.inner));
        self.count += std::mem::take(&mut other.count);
    }

    /// Gives back all but `count` permits.
    pub fn shrink(&mut self, count: u64) {
        if count < self.count {
            self.lane.release(self.count - count);
            self.count = count;
        }
    }
}

impl<R: Ord + Send> Clone for Lane<R> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<R: Ord + Send> From<usize> for Lane<R> {
    /// A lane of its own with this many permits.
    fn from(capacity: usize) -> Self {
        Self::new(u64::try_from(capacity).unwrap_or(u64::MAX))
    }
}

impl<R: Ord + Send> From<&Lane<R>> for Lane<R> {
    /// The same lane, shared.
    fn from(lane: &Lane<R>) -> Self {
        lane.clone()
    }
}

impl<R: Ord> PartialEq for Waiter<R> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<R: Ord> Eq for Waiter<R> {}

impl<R: Ord> PartialOrd for Waiter<R> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<R: Ord> Ord for Waiter<R> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank).then(self.arrival.cmp(&other.arrival))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn the_smallest_rank_goes_first() {
        let lane = Lane::new(1);
        let held = lane.acquire(0, 1).await;
        let mut last = Box::pin(lane.acquire(9, 1));
        let mut early = Box::pin(lane.acquire(1, 1));
        assert!(last.as_mut().now_or_never().is_none());
        assert!(early.as_mut().now_or_never().is_none());
        drop(held);
        let second = early.await;
        assert!(last.as_mut().now_or_never().is_none());
        drop(second);
        drop(last.await);
        assert_eq!(lane.stats().taken, 0);
    }

    #[tokio::test]
    async fn who_goes_away_leaves_no_permit_behind() {
        let lane = Lane::new(2);
        let held = lane.acquire(0, 2).await;
        let mut gone = Box::pin(lane.acquire(1, 1));
        assert!(gone.as_mut().now_or_never().is_none());
        drop(held);
        drop(gone);
        assert_eq!(lane.stats().taken, 0);
        drop(lane.acquire(2, 2).await);
    }

    #[tokio::test]
    async fn permits_join_and_shrink() {
        let lane = Lane::new(9);
        let mut permit = lane.acquire(0, 4).await;
        permit.join(lane.acquire(0, 3).await);
        assert_eq!((permit.count(), lane.stats().taken), (7, 7));
        permit.shrink(2);
        permit.shrink(5);
        assert_eq!((permit.count(), lane.stats().taken), (2, 2));
        drop(permit);
        assert_eq!(lane.stats().taken, 0);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_can_be_had_at_once() {
        let lane = Lane::new(2);
        let held = lane.acquire(0, 1).await;
        let spare = lane.try_acquire(1);
        assert!(spare.is_some() && lane.try_acquire(1).is_none());
        let mut waiting = Box::pin(lane.acquire(1, 2));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(spare);
        assert!(lane.try_acquire(1).is_none(), "somebody waits");
        drop((waiting, held));
        assert_eq!(lane.stats().taken, 0);
    }

    #[tokio::test]
    async fn asking_for_more_than_exist_gets_all() {
        let lane = Lane::new(2);
        assert_eq!(lane.acquire(0, 5).await.count(), 2);
    }
}
