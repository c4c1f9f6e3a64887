//! Threads for work that computes, as many as there are permits.
//!
//! Not `spawn_blocking`: its limit is meant for waiting, not for computing,
//! and whoever is beyond it waits in a queue that nobody sees.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::sync::oneshot;

use super::Rank;
use super::error::Cause;
use super::lane::{Lane, Permit};

/// A bounded pool of threads. Clones share the same threads.
///
/// Threads start when first needed and end when the last clone is dropped and
/// the work in hand is done.
#[derive(Clone)]
pub struct Pool {
    lane: Lane<Rank>,
    crew: Arc<Crew>,
}

/// Ends the threads when the last pool is dropped.
struct Crew(Arc<Desk>);

/// Where threads pick up their work.
struct Desk {
    threads: usize,
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    started: usize,
    idle: usize,
    closed: bool,
}

type Job = Box<dyn FnOnce() + Send>;

impl Pool {
    /// A pool of `threads` threads (at least one).
    pub fn new(threads: usize) -> Self {
        let threads = threads.max(1);
        let desk = Desk { threads, state: Mutex::default(), more: Condvar::new() };
        Self { lane: Lane::from(threads), crew: Arc::new(Crew(Arc::new(desk))) }
    }

    /// Runs `work` on a thread of the pool, smallest rank first.
    ///
    /// Dropping the future before a thread took the work up means that it is
    /// never done; after that it runs to its end, unheard.
    pub async fn run<T: Send + 'static>(
        &self,
        rank: Rank,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Cause> {
        let permit = self.lane.acquire(rank, 1).await;
        self.run_with(permit, work).await
    }

    /// The permits, one a thread.
    pub(super) fn lane(&self) -> &Lane<Rank> {
        &self.lane
    }

    /// Runs `work` on a thread; `permit` is given back when that is free again.
    pub(super) async fn run_with<T: Send + 'static>(
        &self,
        permit: Permit<Rank>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Cause> {
        let (answer, answered) = oneshot::channel();
        self.crew.0.submit(Box::new(move || {
            if answer.is_closed() {
                return;
            }
            let result = panic::catch_unwind(AssertUnwindSafe(work));
            // An answer that nobody waits for any more is dropped, its permit too.
            drop(answer.send((result, permit)));
        }))?;
        match answered.await {
            Ok((Ok(value), _permit)) => Ok(value),
            Ok((Err(payload), _permit)) => Err(Cause::panic(&*payload)),
            Err(_) => Err(Cause::Error("the thread ended without an answer".into())),
        }
    }
}

impl Desk {
    fn submit(self: &Arc<Self>, job: Job) -> Result<(), Cause> {
        let mut state = self.lock();
        if state.idle <= state.jobs.len() && state.started < self.threads {
            let desk = Arc::clone(self);
            let thread = thread::Builder::new().name("pipeline-cpu".into()).spawn(move || desk.serve());
            match thread {
                Ok(_) => state.started += 1,
                // With fewer threads than wished the work still gets done.
                Err(_) if state.started > 0 => {}
                Err(error) => return Err(Cause::Error(error.into())),
            }
        }
        state.jobs.push_back(job);
        drop(state);
        self.more.notify_one();
        Ok(())
    }

    /// A thread's life.
    fn serve(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                job();
                state = self.lock();
            } else if state.closed {
                return;
            } else {
                state.idle += 1;
                state = self.more.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No job runs while the lock is held, so it cannot be left half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.more.notify_all();
    }
}

impl From<usize> for Pool {
    fn from(threads: usize) -> Self {
        Self::new(threads)
    }
}

impl From<&Pool> for Pool {
    /// The same threads, shared.
    fn from(pool: &Pool) -> Self {
        pool.clone()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("threads", &self.crew.0.threads).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use futures_util::FutureExt as _;
    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn never_more_threads_than_asked_for() {
        let pool = Pool::new(3);
        let work = (0..50).map(|number| {
            let rank = Rank { order: 0, number };
            pool.run(rank, || thread::current().id())
        });
        let threads: HashSet<_> = join_all(work).await.into_iter().map(Result::unwrap).collect();
        assert!(threads.len() <= 3);
        assert!(pool.crew.0.lock().started <= 3);
    }

    #[tokio::test]
    async fn a_panic_costs_neither_thread_nor_permit() {
        let pool = Pool::new(1);
        let rank = Rank::default();
        let answer = pool.run(rank, || panic!("on purpose")).await;
        assert!(matches!(answer, Err(Cause::Panic(message)) if message == "on purpose"));
        assert_eq!(pool.run(rank, || 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_thread_that_nobody_waits_for_is_still_taken() {
        let pool = Pool::new(1);
        let rank = Rank::default();
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let mut unheard = Box::pin(pool.run(rank, move || gone.recv()));
        assert!(unheard.as_mut().now_or_never().is_none());
        drop(unheard);
        assert_eq!(pool.lane.stats().taken, 1);
        drop(go);
        assert_eq!(pool.run(rank, || 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn threads_end_with_the_pool() {
        let pool = Pool::new(2);
        let rank = Rank::default();
        pool.run(rank, || ()).await.unwrap();
        let desk = Arc::downgrade(&pool.crew.0);
        drop(pool);
        while desk.strong_count() > 0 {
            thread::yield_now();
        }
    }
}
