//! What the log says, read from its beginning. Pure: whoever reads the same log knows the same.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::super::{Claim, Counts, Entry, Filter, Record, State, Submitted, is_chunk, note};
use super::event::{Change, Ending, Event, Held, Lease, Place, Pulse, Wish, Word};

/// Finished jobs are in memory so long, in milliseconds; names are remembered for less.
pub(super) const REMEMBERED: i64 = 14 * DAY;

/// A day in milliseconds.
pub(super) const DAY: i64 = 86_400_000;

/// A lease that began so long ago, in milliseconds, has run out, however wrong the calendars of two machines are.
const SURELY: i64 = 60_000;

/// When somebody reads an entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// By this machine's clock since boot, in milliseconds.
    pub(super) since_boot: i64,
    /// By its calendar, in milliseconds since 1970.
    pub(super) calendar: i64,
}

impl Moment {
    /// When a lease of that `length` ends, of which is read now what was written `at` some time.
    /// Who comes new gives it its whole length, unless it was written long ago.
    fn until(self, at: i64, length: i64) -> i64 {
        let old = self.calendar > at.saturating_add(length).saturating_add(SURELY);
        self.since_boot + if old { 0 } else { length }
    }
}

/// What became of a change.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// Nothing to tell.
    Read,
    /// The job was taken in, or was there.
    Submitted(Submitted),
    /// The worker has it.
    Claimed(Claim),
    /// The job stands so now; `None` if it is unknown.
    Stands(Option<State>),
    /// Somebody else was faster.
    Lost,
}

/// The order of jobs that may be taken: priority, turn, place.
type Rank = (i32, u64, u64, String);

/// All jobs, as the log tells them.
#[derive(Default)]
pub(super) struct Ledger {
    jobs: HashMap<String, Held>,
    identities: HashMap<String, String>,
    /// What may be taken, by labels.
    ready: HashMap<String, BTreeSet<Rank>>,
    delayed: BTreeSet<(i64, String)>,
    running: BTreeSet<String>,
    /// Jobs that are not over, by the place of their last change in the log.
    open: BTreeMap<u64, String>,
    over: BTreeSet<(i64, String)>,
    changed: BTreeMap<u64, String>,
    turns: HashMap<String, u64>,
    served: u64,
    version: u64,
    counts: Counts,
}

impl Ledger {
    /// Takes in one entry of the log; read `now`.
    pub(super) fn apply(&mut self, offset: u64, event: Event, now: Moment) -> Outcome {
        let at = event.at;
        match event.what {
            Change::Hello => Outcome::Read,
            Change::Submit(place) => self.submit(offset, at, place),
            Change::Claim(wish) => self.lend((offset, at, now), wish),
            Change::Settle(word) => self.settle(offset, at, word),
            Change::Expire { id, seen } => self.expire(offset, at, &id, seen),
            Change::Cancel { id } => self.cancel(offset, at, &id),
            Change::Revive { id } => self.revive(offset, at, &id),
            Change::Keep { seen, held } => self.keep((offset, at, now), seen, *held),
        }
    }

    /// Takes in a sign of life.
    pub(super) fn hear(&mut self, pulse: Pulse, now: Moment) {
        let Some(held) = self.jobs.get_mut(&pulse.id) else { return };
        let Some(lease) = held.lease.as_mut().filter(|lease| lease.token == pulse.token) else { return };
        lease.until = now.until(pulse.at, pulse.lease);
        held.record.progress = Some(pulse.progress);
        self.touch(&pulse.id, pulse.at);
    }

    fn submit(&mut self, offset: u64, at: i64, place: Place) -> Outcome {
        self.forget(at);
        if let Some(twin) = self.twin(at, &place) {
            // An entry that was sent twice, as nobody answered the first time.
            let new = twin == place.id;
            return Outcome::Submitted(Submitted { id: twin, new });
        }
        let last = self.turns.get(&place.tenant).copied().unwrap_or(0);
        let turn = 1 + self.served.max(last);
        self.turns.insert(place.tenant.clone(), turn);
        self.identities.insert(place.identity.clone(), place.id.clone());
        let id = place.id.clone();
        let record = Record {
            id: id.clone(),
            job: serde_json::Value::Null,
            state: State::Waiting,
            attempt: 0,
            worker: None,
            submitted: at,
            due: at,
            started: None,
            ended: None,
            progress: None,
            result: None,
            log: Vec::new(),
            cancel: false,
            version: 0,
        };
        let delay = place.delay;
        let held = Held { record, place, misses: 0, lease: None, turn, number: offset, seen: 0, touched: 0 };
        self.insert(held);
        self.stand(&id, if delay > 0 { State::Delayed } else { State::Waiting }, at + delay, (offset, at));
        Outcome::Submitted(Submitted { id, new: true })
    }

    /// The job that stands for the same wish already.
    pub(super) fn twin(&self, at: i64, place: &Place) -> Option<String> {
        let twin = self.jobs.get(self.identities.get(&place.identity)?)?;
        let fresh = twin.record.ended.is_some_and(|ended| ended + place.keep > at);
        let known = place.named && twin.record.state != State::Dead && fresh;
        (known || !twin.record.state.is_over()).then(|| twin.record.id.clone())
    }

    fn lend(&mut self, (offset, at, now): (u64, i64, Moment), wish: Wish) -> Outcome {
        let Some(held) = self.jobs.get_mut(&wish.id) else { return Outcome::Lost };
        let free = matches!(held.record.state, State::Waiting | State::Delayed);
        if !free || held.seen != wish.seen {
            return Outcome::Lost;
        }
        held.record.attempt += u32::from(wish.counted);
        held.record.worker = Some(wish.worker.clone());
        held.record.started = Some(at);
        held.record.progress = None;
        held.lease = Some(Lease { token: wish.token.clone(), length: wish.lease, until: now.until(at, wish.lease) });
        let claim = Claim {
            id: wish.id.clone(),
            text: held.place.text.clone(),
            attempt: held.record.attempt,
            misses: held.misses,
            worker: wish.worker,
            token: wish.token,
        };
        self.served = self.served.max(held.turn);
        self.stand(&wish.id, State::Running, at, (offset, at));
        Outcome::Claimed(claim)
    }

    fn settle(&mut self, offset: u64, at: i64, word: Word) -> Outcome {
        let Some(held) = self.jobs.get_mut(&word.id).filter(|held| holds(held, &word.token)) else {
            return Outcome::Lost;
        };
        if word.end == Ending::Done {
            held.record.result = word.result;
        }
        Outcome::Stands(Some(self.end(offset, at, &word.id, (word.end, &word.what, word.wait))))
    }

    fn expire(&mut self, offset: u64, at: i64, id: &str, seen: u64) -> Outcome {
        let Some(held) = self.jobs.get(id).filter(|held| held.record.state == State::Running && held.seen == seen)
        else {
            return Outcome::Lost;
        };
        let worker = held.record.worker.clone().unwrap_or_default();
        let what = format!("failed: worker `{worker}` died, or was silent for longer than its lease");
        Outcome::Stands(Some(self.end(offset, at, id, (Ending::Retry, &what, 0))))
    }

    /// The end of a lease.
    fn end(&mut self, offset: u64, at: i64, id: &str, (ending, what, wait): (Ending, &str, i64)) -> State {
        let Some(held) = self.jobs.get_mut(id) else { return State::Dead };
        let record = &mut held.record;
        let entry = Entry {
            at,
            attempt: record.attempt,
            worker: record.worker.clone().unwrap_or_default(),
            what: what.to_owned(),
        };
        note(&mut record.log, entry);
        let again = if wait > 0 { State::Delayed } else { State::Waiting };
        let state = match ending {
            Ending::Done => State::Done,
            Ending::Dead => State::Dead,
            Ending::Cancelled => State::Cancelled,
            Ending::Retry if record.attempt >= held.place.attempts => State::Dead,
            Ending::Retry => again,
            Ending::Released | Ending::Missed => {
                record.attempt = record.attempt.saturating_sub(1);
                again
            }
        };
        let unwanted = record.cancel && !state.is_over();
        let state = if unwanted { State::Cancelled } else { state };
        held.misses = if ending == Ending::Missed { held.misses + 1 } else { 0 };
        held.lease = None;
        self.stand(id, state, at + wait, (offset, at));
        state
    }

    fn cancel(&mut self, offset: u64, at: i64, id: &str) -> Outcome {
        let Some(held) = self.jobs.get_mut(id) else { return Outcome::Stands(None) };
        let state = held.record.state;
        if state.is_over() {
            return Outcome::Stands(Some(state));
        }
        held.record.cancel = true;
        if state == State::Running {
            // Its place in the log stays: the lease goes on.
            self.touch(id, at);
            return Outcome::Stands(Some(state));
        }
        self.stand(id, State::Cancelled, at, (offset, at));
        Outcome::Stands(Some(State::Cancelled))
    }

    fn revive(&mut self, offset: u64, at: i64, id: &str) -> Outcome {
        let Some(held) = self.jobs.get_mut(id) else { return Outcome::Stands(None) };
        let state = held.record.state;
        if !matches!(state, State::Dead | State::Cancelled | State::Delayed) {
            return Outcome::Stands(Some(state));
        }
        let record = &mut held.record;
        (record.cancel, record.attempt, record.ended, held.misses) = (false, 0, None, 0);
        self.stand(id, State::Waiting, at, (offset, at));
        Outcome::Stands(Some(State::Waiting))
    }

    fn keep(&mut self, (offset, at, now): (u64, i64, Moment), seen: u64, mut held: Held) -> Outcome {
        let id = held.record.id.clone();
        let (mut state, mut due) = (held.record.state, held.record.due);
        if let Some(known) = self.jobs.get(&id) {
            if known.seen != seen {
                return Outcome::Lost;
            }
            (state, due) = (known.record.state, known.record.due);
        } else {
            if let Some(lease) = held.lease.as_mut() {
                lease.until = now.until(at, lease.length);
            }
            self.identities.insert(held.place.identity.clone(), id.clone());
            self.insert(held);
        }
        self.stand(&id, state, due, (offset, at));
        Outcome::Read
    }

    /// Puts in a job that stands nowhere yet.
    fn insert(&mut self, held: Held) {
        *self.counts.of(held.record.state) += 1;
        self.jobs.insert(held.record.id.clone(), held);
    }

    /// Takes a job out of where it stands and puts it where `state` stands.
    fn stand(&mut self, id: &str, state: State, due: i64, (offset, at): (u64, i64)) {
        self.lift(id);
        let Some(held) = self.jobs.get_mut(id) else { return };
        held.record.due = due;
        (held.seen, held.touched) = (offset, at);
        if state.is_over() {
            held.record.ended = Some(at);
        }
        self.put(id, state);
        self.touch(id, at);
    }

    /// Puts a job that was taken out where `state` stands.
    fn put(&mut self, id: &str, state: State) {
        let Some(held) = self.jobs.get_mut(id) else { return };
        *self.counts.of(held.record.state) -= 1;
        *self.counts.of(state) += 1;
        held.record.state = state;
        match state {
            State::Waiting => {
                let rank = rank(held);
                self.ready.entry(held.place.labels.clone()).or_default().insert(rank);
            }
            State::Delayed => _ = self.delayed.insert((held.record.due, id.to_owned())),
            State::Running => _ = self.running.insert(id.to_owned()),
            State::Done | State::Dead | State::Cancelled => {
                self.over.insert((held.record.ended.unwrap_or(0), id.to_owned()));
            }
        }
        if !state.is_over() {
            self.open.insert(held.seen, id.to_owned());
        }
    }

    /// Takes a job out of where it stands.
    fn lift(&mut self, id: &str) {
        let Some(held) = self.jobs.get(id) else { return };
        let due = held.record.due;
        match held.record.state {
            State::Waiting => {
                let rank = rank(held);
                if let Some(ready) = self.ready.get_mut(&held.place.labels) {
                    ready.remove(&rank);
                }
            }
            State::Delayed => _ = self.delayed.remove(&(due, id.to_owned())),
            State::Running => _ = self.running.remove(id),
            State::Done | State::Dead | State::Cancelled => {
                self.over.remove(&(held.record.ended.unwrap_or(0), id.to_owned()));
            }
        }
        if self.open.get(&held.seen).is_some_and(|other| other == id) {
            self.open.remove(&held.seen);
        }
    }

    fn remove(&mut self, id: &str) {
        self.lift(id);
        let Some(held) = self.jobs.remove(id) else { return };
        *self.counts.of(held.record.state) -= 1;
        self.changed.remove(&held.record.version);
        if self.identities.get(&held.place.identity).is_some_and(|other| other == id) {
            self.identities.remove(&held.place.identity);
        }
    }

    /// Notes that a job changed. Versions follow the calendar, so that they mean the same to all who read the log.
    fn touch(&mut self, id: &str, at: i64) {
        self.version = (self.version + 1).max(u64::try_from(at).unwrap_or(0) * 1000);
        let Some(held) = self.jobs.get_mut(id) else { return };
        self.changed.remove(&held.record.version);
        held.record.version = self.version;
        self.changed.insert(self.version, id.to_owned());
    }

    /// Forgets what ended long before `at`.
    fn forget(&mut self, at: i64) {
        while let Some((_, id)) = self.over.first().filter(|(ended, _)| *ended < at - REMEMBERED).cloned() {
            self.remove(&id);
        }
    }

    /// Jobs whose time has come may be taken; `at` is the calendar.
    pub(super) fn mature(&mut self, at: i64) {
        while let Some((_, id)) = self.delayed.first().filter(|(due, _)| *due <= at).cloned() {
            self.lift(&id);
            self.put(&id, State::Waiting);
            self.touch(&id, at);
        }
    }

    /// Jobs whose lease ran out, with the place of their last change.
    pub(super) fn silent(&self, now: i64) -> Vec<(String, u64)> {
        let held = self.running.iter().filter_map(|id| self.jobs.get(id));
        let silent = held.filter(|held| held.lease.as_ref().is_none_or(|lease| lease.until <= now));
        silent.map(|held| (held.record.id.clone(), held.seen)).collect()
    }

    /// The best job for who has these labels, but for those that are `taken`.
    pub(super) fn first(&self, labels: &[String], taken: &HashSet<String>) -> Option<(String, u64)> {
        let ready = labels.iter().filter_map(|labels| self.ready.get(labels));
        let best = ready.filter_map(|ranks| ranks.iter().find(|rank| !taken.contains(&rank.3))).min()?;
        self.jobs.get(&best.3).map(|held| (held.record.id.clone(), held.seen))
    }

    /// A job that has stood still since before `at` and is not over.
    pub(super) fn oldest(&self, at: i64) -> Option<&Held> {
        let held = self.jobs.get(self.open.first_key_value()?.1)?;
        (held.touched < at).then_some(held)
    }

    /// Whether a claim is still good, and whether it is to end.
    pub(super) fn wanted(&self, claim: &Claim) -> Option<bool> {
        self.jobs.get(&claim.id).filter(|held| holds(held, &claim.token)).map(|held| !held.record.cancel)
    }

    /// A job, unless it ended before `since`.
    pub(super) fn get(&self, id: &str, since: i64) -> Option<Record> {
        self.jobs.get(id).filter(|held| held.record.ended.is_none_or(|ended| ended >= since)).map(record)
    }

    /// Jobs by `filter`, but for those that ended before `since`.
    pub(super) fn list(&self, filter: &Filter, since: i64) -> Vec<Record> {
        let fits = |held: &&Held| {
            let record = &held.record;
            filter.state.is_none_or(|state| record.state == state)
                && record.ended.is_none_or(|ended| ended >= since)
                && (filter.chunks || !is_chunk(&held.place.labels))
        };
        let limit = usize::try_from(filter.limit).unwrap_or(usize::MAX);
        if let Some(after) = filter.after {
            let changed = self.changed.range(after + 1..).filter_map(|(_, id)| self.jobs.get(id));
            return changed.filter(fits).take(limit).map(record).collect();
        }
        let mut all: Vec<&Held> = self.jobs.values().filter(fits).collect();
        all.sort_unstable_by(|one, other| {
            let newest = |held: &Held| (held.record.submitted, held.number);
            newest(other).cmp(&newest(one))
        });
        all.into_iter().take(limit).map(record).collect()
    }

    /// Jobs by state, but for those that ended before `since`.
    pub(super) fn counts(&self, since: i64) -> Counts {
        let mut counts = self.counts;
        for (_, id) in self.over.range(..(since, String::new())) {
            if let Some(held) = self.jobs.get(id) {
                *counts.of(held.record.state) -= 1;
            }
        }
        counts
    }
}

/// Whether a claim with that token is the one under which the job is lent.
fn holds(held: &Held, token: &str) -> bool {
    held.lease.as_ref().is_some_and(|lease| lease.token == token || token == "*")
}

fn rank(held: &Held) -> Rank {
    (-held.place.priority, held.turn, held.number, held.record.id.clone())
}

fn record(held: &Held) -> Record {
    let job = serde_json::from_str(&held.place.text).unwrap_or_default();
    Record { job, ..held.record.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment { since_boot: 1000, calendar: 50_000 };

    fn place(name: &str) -> Place {
        Place {
            id: name.into(),
            text: "{}".into(),
            identity: name.into(),
            named: false,
            labels: String::new(),
            priority: 0,
            tenant: String::new(),
            attempts: 3,
            delay: 0,
            keep: DAY,
        }
    }

    fn wish(seen: u64, token: &str) -> Change {
        let (id, worker) = ("a".into(), "w".into());
        Change::Claim(Wish { id, seen, worker, token: token.into(), lease: 1000, counted: true })
    }

    /// What became of each change of a log.
    fn read(ledger: &mut Ledger, from: u64, changes: Vec<Change>) -> Vec<Outcome> {
        let apply = |(offset, what)| ledger.apply(offset, Event { at: NOW.calendar, mark: String::new(), what }, NOW);
        (from..).zip(changes).map(apply).collect()
    }

    #[test]
    fn of_two_that_claim_the_first_in_the_log_has_the_job() {
        let changes = vec![Change::Submit(place("a")), wish(0, "one"), wish(0, "two")];
        let outcomes = read(&mut Ledger::default(), 0, changes);
        assert!(matches!(&outcomes[1], Outcome::Claimed(claim) if claim.token == "one"), "{outcomes:?}");
        assert!(matches!(outcomes[2], Outcome::Lost), "{outcomes:?}");
    }

    #[test]
    fn a_lease_that_was_taken_over_cannot_run_out_once_more() {
        let expire = || Change::Expire { id: "a".into(), seen: 1 };
        let changes = vec![Change::Submit(place("a")), wish(0, "one"), expire(), wish(2, "two"), expire()];
        let mut ledger = Ledger::default();
        let outcomes = read(&mut ledger, 0, changes);
        assert!(matches!(outcomes[4], Outcome::Lost), "{outcomes:?}");
        let record = ledger.get("a", 0).unwrap();
        assert_eq!((record.state, record.attempt), (State::Running, 2));
    }

    #[test]
    fn who_reads_only_what_was_written_anew_knows_the_same() {
        let mut old = Ledger::default();
        read(&mut old, 0, vec![Change::Submit(place("a")), wish(0, "one")]);
        let held = old.oldest(NOW.calendar + 1).unwrap().clone();
        // It travels as JSON.
        let text = serde_json::to_string(&Change::Keep { seen: held.seen, held: Box::new(held) }).unwrap();
        let keep = || serde_json::from_str::<Change>(&text).unwrap();
        let mut new = Ledger::default();
        for ledger in [&mut old, &mut new] {
            read(ledger, 2, vec![keep(), keep()]);
        }
        let record = |ledger: &Ledger| Record { version: 0, ..ledger.get("a", 0).unwrap() };
        assert_eq!(record(&old), record(&new));
        assert_eq!(old.counts(0), new.counts(0));
        assert!(old.oldest(NOW.calendar).is_none());
        let late = Moment { since_boot: NOW.since_boot + 1000, ..NOW };
        assert_eq!(
            (old.silent(late.since_boot), new.silent(late.since_boot)),
            (vec![("a".into(), 2)], vec![("a".into(), 2)])
        );
    }

    #[test]
    fn an_old_lease_has_run_out_and_a_clock_that_is_a_little_wrong_ends_none() {
        let moment = Moment { since_boot: 0, calendar: 10 * SURELY };
        assert_eq!(moment.until(moment.calendar - SURELY, 1000), 1000);
        assert_eq!(moment.until(moment.calendar + SURELY, 1000), 1000);
        assert_eq!(moment.until(moment.calendar - SURELY * 2, 1000), 0);
    }
}
