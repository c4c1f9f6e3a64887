//! Which stores fail right now, for whoever wonders why nothing moves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The stores of one job that do not answer as they should. Clones know the same.
#[derive(Clone, Debug, Default)]
pub struct Outages {
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    watched: u64,
    failing: BTreeMap<u64, (Instant, String)>,
}

/// A store that fails, and is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Since its last good answer, or the first that was none.
    pub lasts: Duration,
    /// The last failure, one line.
    pub why: String,
}

/// Notes what one store does. Dropped with it, because nobody waits for it any more.
pub(super) struct Watch {
    outages: Outages,
    number: u64,
}

impl Outages {
    /// The store that has failed for longest.
    pub fn longest(&self) -> Option<Outage> {
        let known = self.lock();
        let (since, why) = known.failing.values().min_by_key(|(since, _)| *since)?;
        Some(Outage { lasts: since.elapsed(), why: why.clone() })
    }

    /// To be told of one more store.
    pub(super) fn watch(&self) -> Watch {
        let mut known = self.lock();
        known.watched += 1;
        Watch { outages: self.clone(), number: known.watched }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// The store failed, in a way that may pass.
    pub(super) fn failed(&self, why: &str) {
        let mut known = self.outages.lock();
        let (_, last) = known.failing.entry(self.number).or_insert_with(|| (Instant::now(), String::new()));
        why.clone_into(last);
    }

    /// The store gave an answer.
    pub(super) fn answered(&self) {
        self.outages.lock().failing.remove(&self.number);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.answered();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_lasts_from_the_first_failure_to_the_first_answer() {
        let outages = Outages::default();
        let (one, other) = (outages.watch(), outages.watch());
        assert_eq!(outages.longest(), None);
        one.failed("no connection");
        other.failed("503");
        one.failed("no answer");
        assert_eq!(outages.longest().unwrap().why, "no answer");
        one.answered();
        assert_eq!(outages.longest().unwrap().why, "503");
        drop(other);
        assert_eq!(outages.longest(), None);
    }
}
