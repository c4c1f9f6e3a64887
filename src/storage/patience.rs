//! When and how often a storage is asked: the one place around all of them.
//!
//! * A failure that may pass is tried again after a wait that is drawn evenly
//!   up to a limit that doubles (full jitter), and not before `Retry-After`.
//! * A storage that asks for fewer requests gets half as many at once, and
//!   slowly more again.
//! * Tries are paid for by successes. When none are left the storage counts as
//!   down: all wait, and one of them asks now and then. So an outage costs a
//!   handful of requests and no job.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::error::{Kind, StorageError};
use super::outage::Watch;
use crate::model::fault;

/// What a failure costs of the budget is one; a success brings this much. At
/// three failures in ten requests both are even.
const EARNED: f64 = 0.5;

/// The budget of a storage that works.
const BUDGET: f64 = 10.0;

/// The limit of the first wait.
const BASE: Duration = Duration::from_millis(200);

/// Several answers to requests that were under way together halve the number at once only once.
const HALVING: Duration = Duration::from_millis(500);

/// The bounds of patience.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Most requests at once.
    pub most: usize,
    /// Tries for one request while others succeed.
    pub tries: u32,
    /// Longest wait between two tries.
    pub longest_wait: Duration,
    /// How long a storage may be down before those who wait give up.
    pub patience: Duration,
}

/// Guards one storage.
pub(super) struct Patience {
    rules: Rules,
    place: String,
    watch: Watch,
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    limit: f64,
    running: usize,
    budget: f64,
    halved: Instant,
    worked: bool,
    /// The last answer was none.
    failing: bool,
    down: Option<Down>,
}

/// A storage that gives no good answers.
struct Down {
    since: Instant,
    tries: u32,
    next: Instant,
    asking: bool,
    why: StorageError,
}

/// Leave to ask once.
struct Turn<'a> {
    patience: &'a Patience,
    asks_whether_it_is_back: bool,
}

/// What to do while it is not one's turn.
enum Next<'a> {
    Ask(Turn<'a>),
    Wait(Duration),
    GiveUp(StorageError),
}

impl Patience {
    pub(super) fn new(rules: Rules, place: String, watch: Watch) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
        let limit = rules.most.max(1) as f64;
        let (halved, worked, failing) = (Instant::now(), false, false);
        let state = State { limit, running: 0, budget: BUDGET, halved, worked, failing, down: None };
        Self { rules, place, watch, state: Mutex::new(state), changed: Notify::new() }
    }

    /// Asks until there is an answer, or an error that will not pass.
    pub(super) async fn ask<T, F>(&self, mut once: impl FnMut() -> F) -> Result<T, StorageError>
    where
        F: Future<Output = Result<T, StorageError>>,
    {
        let mut tries = 0;
        loop {
            let turn = self.enter().await?;
            let answer = once().await;
            let error = match answer {
                Err(error) if error.kind.may_pass() => error,
                answer => {
                    self.answered();
                    return answer;
                }
            };
            let goes_on = self.failed(&error, turn.asks_whether_it_is_back);
            drop(turn);
            tries += 1;
            if !goes_on || (tries >= self.rules.tries && !self.is_down()) {
                return Err(error);
            }
            tracing::debug!(place = %self.place, %error, tries, "will be tried again");
            tokio::time::sleep(self.wait(tries, &error)).await;
        }
    }

    /// Waits until it may be asked.
    async fn enter(&self) -> Result<Turn<'_>, StorageError> {
        loop {
            let changed = self.changed.notified();
            match self.next() {
                Next::Ask(turn) => return Ok(turn),
                Next::GiveUp(error) => return Err(error),
                // The timer covers what nobody is notified of: that the time to ask has come.
                Next::Wait(longest) => {
                    tokio::time::timeout(longest, changed).await.unwrap_or_default();
                }
            }
        }
    }

    fn next(&self) -> Next<'_> {
        let mut state = self.lock();
        let now = Instant::now();
        if let Some(down) = &mut state.down {
            if now.duration_since(down.since) >= self.rules.patience {
                return Next::GiveUp(Self::gave_up(down));
            }
            if down.asking || now < down.next {
                return Next::Wait(down.next.saturating_duration_since(now).max(Duration::from_millis(50)));
            }
            down.asking = true;
            state.running += 1;
            return Next::Ask(Turn { patience: self, asks_whether_it_is_back: true });
        }
        #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
        let running = state.running as f64;
        if running >= state.limit.floor().max(1.0) {
            return Next::Wait(Duration::from_secs(1));
        }
        state.running += 1;
        Next::Ask(Turn { patience: self, asks_whether_it_is_back: false })
    }

    fn gave_up(down: &Down) -> StorageError {
        let minutes = down.since.elapsed().as_secs() / 60;
        let what = format!("{}; it has been like this for {minutes} minutes", down.why.what);
        StorageError { what, ..down.why.clone() }
    }

    /// The storage gave an answer, whether it was a good one for the caller or not.
    fn answered(&self) {
        let mut state = self.lock();
        state.worked = true;
        if std::mem::take(&mut state.failing) {
            self.watch.answered();
        }
        state.budget = (state.budget + EARNED).min(BUDGET);
        #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
        let most = self.rules.most as f64;
        state.limit = (state.limit + 1.0 / state.limit).min(most.max(1.0));
        if let Some(down) = state.down.take() {
            // It begins carefully: one request, then more with every answer.
            state.limit = 1.0;
            state.budget = BUDGET / 2.0;
            tracing::warn!(place = %self.place, seconds = down.since.elapsed().as_secs(), "the storage is back");
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Notes a failure that may pass. Tells whether waiting makes sense.
    fn failed(&self, error: &StorageError, asked_whether_it_is_back: bool) -> bool {
        let mut state = self.lock();
        if error.kind == Kind::Expired && !state.worked {
            // These never were any good.
            return false;
        }
        state.failing = true;
        self.watch.failed(&error.what);
        let now = Instant::now();
        if error.kind == Kind::Busy && now.duration_since(state.halved) >= HALVING {
            #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
            let running = state.running as f64;
            state.limit = (state.limit.min(running) / 2.0).max(1.0);
            state.halved = now;
        }
        state.budget -= 1.0;
        if fault::mutant("retry-without-budget") {
            state.budget = BUDGET;
        }
        let is_over = state.budget < 1.0 || error.kind == Kind::Expired;
        match &mut state.down {
            Some(down) if asked_whether_it_is_back => {
                down.tries += 1;
                down.next = now + self.wait(down.tries, error);
                down.why = error.clone();
            }
            None if is_over => {
                tracing::warn!(place = %self.place, why = %error, hint = error.hint, "the storage is down; waiting for it");
                let next = now + self.wait(1, error);
                state.down = Some(Down { since: now, tries: 1, next, asking: false, why: error.clone() });
            }
            _ => (),
        }
        true
    }

    fn is_down(&self) -> bool {
        self.lock().down.is_some()
    }

    /// How long to wait after so many tries.
    fn wait(&self, tries: u32, error: &StorageError) -> Duration {
        let longest = self.rules.longest_wait;
        let limit = BASE.saturating_mul(2_u32.saturating_pow(tries.saturating_sub(1))).min(longest);
        let drawn = getrandom::u32().map_or(1.0, |drawn| f64::from(drawn) / f64::from(u32::MAX));
        error.wait.unwrap_or_default().min(longest) + limit.mul_f64(drawn)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.patience.lock();
        state.running -= 1;
        if let (true, Some(down)) = (self.asks_whether_it_is_back, &mut state.down) {
            down.asking = false;
        }
        drop(state);
        self.patience.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::super::outage::Outages;
    use super::*;

    fn patience(patience: Duration) -> Patience {
        let longest_wait = Duration::from_millis(20);
        Patience::new(Rules { most: 8, tries: 6, longest_wait, patience }, "test".into(), Outages::default().watch())
    }

    fn error(kind: Kind) -> StorageError {
        StorageError::new(kind, "no")
    }

    /// Of `requests`, each try of which fails with `kind` when `fails` says so: how many tries there were.
    async fn tries(patience: &Patience, requests: u32, kind: Kind, fails: impl Fn(u32) -> bool + Sync) -> u32 {
        let asked = AtomicU32::new(0);
        let one = |_| async {
            let answer = patience.ask(|| async {
                let number = asked.fetch_add(1, Ordering::SeqCst);
                if fails(number) { Err(error(kind)) } else { Ok(()) }
            });
            answer.await
        };
        let answers = futures_util::future::join_all((0..requests).map(one)).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        asked.into_inner()
    }

    #[tokio::test]
    async fn three_errors_in_ten_cost_little_more_than_they_must() {
        let patience = patience(Duration::from_mins(1));
        let tries = tries(&patience, 300, Kind::Busy, |number| number % 10 < 3).await;
        assert!((300..480).contains(&tries), "{tries}");
    }

    #[tokio::test]
    async fn an_outage_costs_few_requests_and_no_job() {
        let patience = patience(Duration::from_mins(1));
        let begun = Instant::now();
        let back = || begun.elapsed() > Duration::from_millis(600);
        let tries = tries(&patience, 100, Kind::Unreachable, |_| !back()).await;
        // Ten of the budget, those under way with them, and one for each wait.
        assert!(tries < 100 + 90, "{tries}");
    }

    #[tokio::test]
    async fn those_who_wait_give_up_in_the_end() {
        let patience = patience(Duration::from_millis(300));
        let always = || async { Err::<(), _>(error(Kind::Unreachable)) };
        let ended = futures_util::future::join_all((0..30).map(|_| patience.ask(always))).await;
        assert!(ended.iter().all(|answer| answer.as_ref().is_err_and(|error| error.kind == Kind::Unreachable)));
    }

    #[tokio::test]
    async fn credentials_that_expire_pause_and_wrong_ones_do_not() {
        let patience = patience(Duration::from_mins(1));
        let expired = || async { Err::<(), _>(error(Kind::Expired)) };
        assert_eq!(patience.ask(expired).await.unwrap_err().kind, Kind::Expired);
        assert!(!patience.is_down());
        patience.ask(|| async { Ok(()) }).await.unwrap();
        let tries = tries(&patience, 20, Kind::Expired, |number| number < 4).await;
        assert!(tries <= 24, "{tries}");
    }

    #[tokio::test]
    async fn a_storage_that_is_busy_gets_fewer_requests_at_once() {
        let patience = patience(Duration::from_mins(1));
        patience.lock().running = 8;
        patience.lock().halved = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        patience.failed(&error(Kind::Busy), false);
        assert!(patience.lock().limit <= 4.0);
        for _ in 0..100 {
            patience.answered();
        }
        assert!(patience.lock().limit > 7.0);
    }

    #[tokio::test]
    async fn what_does_not_pass_is_not_tried_again() {
        let patience = patience(Duration::from_mins(1));
        let asked = AtomicU32::new(0);
        let refused = patience.ask(|| async {
            asked.fetch_add(1, Ordering::SeqCst);
            Err::<(), _>(error(Kind::Refused))
        });
        assert_eq!(refused.await.unwrap_err().kind, Kind::Refused);
        assert_eq!(asked.into_inner(), 1);
    }
}
