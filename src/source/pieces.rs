//! Several pieces of one file at once, each over a connection of its own and
//! with a network permit of its own.
//!
//! After every piece a permit goes to whoever is before us. So the first video of a list
//! has the whole link as soon as it asks for it, and the others have what it leaves.
//! Pieces are small on a thin line, so that bytes come nearly in order: who
//! encodes while the rest is coming needs the first of them first.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::format::mp4;
use crate::model::failure::Failure;
use crate::model::item::Rank;
use crate::pipeline::lane::Permit;

use super::body::Body;
use super::mark::Mark;
use super::part::{Flow, Part};
use super::tries::{Tries, Trouble};
use super::{FetchContext, SourceSettings};

/// The smallest piece, and the first: below, questions and answers are too many.
const SMALLEST: u64 = 128 * 1024;

/// The largest piece: a connection that fails or a better-ranked item waits no longer than this takes.
const LARGEST: u64 = 16 * 1024 * 1024;

/// How long a piece takes on its connection, more or less.
const SPAN: Duration = Duration::from_secs(2);

/// But so many times as long as an answer takes to come, so that a long line is full nevertheless.
const WAITS: u32 = 8;

/// Where answers come at once, a piece is at most this part of what was asked for before, so that
/// the head of a file comes in order.
const PART: u64 = 32;

/// With fewer bytes a try has brought nothing, however often it is repeated.
const PROGRESS: u64 = 16 * 1024;

/// Where the pieces of one file come from.
#[async_trait]
pub(super) trait Origin: Sync {
    /// How files are fetched.
    fn settings(&self) -> &SourceSettings;

    /// Asks once for the bytes of `piece` of the version that `mark` tells of.
    async fn open(&self, piece: &Range<u64>, mark: &Mark) -> Result<Body, Trouble>;

    /// Waits, after a try that failed, until it makes sense to ask again.
    async fn recover(&self) -> Result<(), Failure> {
        Ok(())
    }
}

/// An answer that began at byte 0, with its permit.
pub(super) struct First {
    pub(super) body: Body,
    /// The first bytes of the body, which are read already.
    pub(super) head: Vec<u8>,
    /// Where the body ends.
    pub(super) end: u64,
    pub(super) permit: Permit<Rank>,
}

struct Pieces<'a> {
    origin: &'a dyn Origin,
    context: &'a FetchContext<'a>,
    part: &'a Part<'a>,
    size: u64,
    /// What is still missing, in the order in which it is wanted.
    queue: Mutex<VecDeque<Range<u64>>>,
    /// Workers that have a connection, among whom the least rate is divided.
    active: AtomicU64,
    shared: Mutex<Shared>,
}

/// What one connection learned for all.
struct Shared {
    /// No request before this time: the server asked for it.
    quiet_until: Instant,
    /// The shortest wait for an answer: the line's own, when nothing else is on it.
    wait: Duration,
    /// Bytes a second of one connection.
    rate: f64,
}

/// Fetches all that is missing in `part`. `first` is an answer that began at byte 0.
pub(super) async fn fetch(
    origin: &dyn Origin,
    context: &FetchContext<'_>,
    part: &Part<'_>,
    first: Option<First>,
) -> Result<(), Trouble> {
    let connections = origin.settings().connections_per_file.max(1);
    let mark = part.mark();
    let size = mark.size.unwrap_or_default();
    let begun = first.as_ref().map_or(0, |first| first.end);
    let missing = mark.written.missing(size, size).into_iter();
    let missing = missing.map(|range| range.start.max(begun)..range.end).filter(|range| !range.is_empty());
    let queue = first_of_all(first.as_ref().and_then(|first| far_index(&first.head, size)), missing);
    let workers = connections.min(size.div_ceil(SMALLEST));
    let shared = Shared { quiet_until: Instant::now(), wait: Duration::MAX, rate: 0.0 };
    let (queue, shared, active) = (Mutex::new(queue), Mutex::new(shared), AtomicU64::new(0));
    let pieces = Pieces { origin, context, part, size, queue, active, shared };
    let mut first = first;
    let workers = (0..workers).map(|_| pieces.work(first.take().map(|first| (0..begun, first))));
    let outcome = futures_util::future::try_join_all(workers).await;
    if outcome.is_err() {
        part.save().await?;
    }
    outcome.map(drop)
}

impl Pieces<'_> {
    async fn work(&self, first: Option<(Range<u64>, First)>) -> Result<(), Trouble> {
        let mut tries = Tries::default();
        let mut held = None;
        if let Some((mut piece, first)) = first {
            let outcome = self.first(&mut piece, first).await;
            held = self.after(outcome, piece, 0, &mut tries).await?;
        }
        let mut permit = None;
        while held.is_some() || !self.queue().is_empty() {
            let quiet_until = self.shared().quiet_until;
            let network = self.context.network;
            if quiet_until > Instant::now() || network.waits(|rank| *rank < self.context.rank) {
                permit = None;
            }
            tokio::time::sleep_until(quiet_until).await;
            let ours = match permit.take() {
                Some(permit) => permit,
                None => network.acquire(self.context.rank, 1).await,
            };
            let Some(mut piece) = held.take().or_else(|| self.next()) else { break };
            let start = piece.start;
            let outcome = self.bring(&mut piece).await;
            permit = outcome.is_ok().then_some(ours);
            held = self.after(outcome, piece, start, &mut tries).await?;
        }
        Ok(())
    }

    /// Decides what follows a try that moved `piece.start` from `start`: the rest of the piece, or nothing.
    async fn after(
        &self,
        outcome: Result<(), Trouble>,
        piece: Range<u64>,
        start: u64,
        tries: &mut Tries,
    ) -> Result<Option<Range<u64>>, Trouble> {
        let (failure, wait) = match outcome {
            Ok(()) => {
                tries.progress();
                return Ok(None);
            }
            Err(Trouble::Slow(failure)) => (failure, None),
            Err(Trouble::Again(failure, wait)) => {
                if piece.start - start >= PROGRESS {
                    tries.progress();
                }
                (failure, wait)
            }
            Err(trouble) => return Err(trouble),
        };
        if let Some(wait) = wait {
            let until = Instant::now() + wait.min(self.origin.settings().longest_wait);
            let mut shared = self.shared();
            shared.quiet_until = shared.quiet_until.max(until);
        }
        let again = tries.again(failure, wait, self.origin.settings(), self.context).await;
        again.map_err(Trouble::Final)?;
        self.origin.recover().await.map_err(Trouble::Final)?;
        Ok(Some(piece))
    }

    async fn first(&self, piece: &mut Range<u64>, first: First) -> Result<(), Trouble> {
        let First { body, head, permit: _permit, .. } = first;
        self.pour(body, head, piece).await
    }

    /// The next piece, no larger than that all connections have something to do to the end.
    fn next(&self) -> Option<Range<u64>> {
        let (rate, wait) = {
            let shared = self.shared();
            (shared.rate, shared.wait)
        };
        let mut queue = self.queue();
        let left: u64 = queue.iter().map(|range| range.end - range.start).sum();
        let even = left / self.origin.settings().connections_per_file.max(1);
        let mut range = queue.pop_front()?;
        let end = (range.start + length(rate, wait, (self.size - left) / PART).min(even.max(SMALLEST))).min(range.end);
        let piece = range.start..end;
        range.start = end;
        if !range.is_empty() {
            queue.push_front(range);
        }
        Some(piece)
    }

    /// Asks for a piece and lets it land.
    async fn bring(&self, piece: &mut Range<u64>) -> Result<(), Trouble> {
        let (start, asked_at) = (piece.start, Instant::now());
        let body = self.origin.open(piece, &self.part.mark()).await?;
        let answered_at = Instant::now();
        self.pour(body, Vec::new(), piece).await?;
        self.learn(piece.start - start, answered_at - asked_at, answered_at.elapsed());
        Ok(())
    }

    /// Takes note of an answer that took `waited` to come and `poured` to end.
    #[expect(clippy::cast_precision_loss, reason = "bytes of a piece")]
    fn learn(&self, bytes: u64, waited: Duration, poured: Duration) {
        let mut shared = self.shared();
        shared.wait = shared.wait.min(waited);
        shared.rate = bytes as f64 / poured.as_secs_f64().max(0.001);
    }

    async fn pour(&self, mut body: Body, head: Vec<u8>, piece: &mut Range<u64>) -> Result<(), Trouble> {
        let settings = self.origin.settings();
        let active = self.active.fetch_add(1, Ordering::Relaxed) + 1;
        let _active = Leaving(&self.active);
        let least = settings.least_in_window() / active;
        let flow = Flow { body: &mut body, head, end: Some(piece.end), least };
        self.part.pour(flow, &mut piece.start, settings, &mut |_| Ok(())).await
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Range<u64>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes of the next piece, at `rate` bytes a second with answers after `wait`, of which there
/// should be no more than `most`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
fn length(rate: f64, wait: Duration, most: u64) -> u64 {
    let least = wait.min(SPAN) * WAITS;
    let most = most.max((rate * least.as_secs_f64()) as u64);
    ((rate * SPAN.max(least).as_secs_f64()) as u64).min(most).clamp(SMALLEST, LARGEST)
}

/// Where in an MP4 file the index has to lie, by its first bytes, if that is not at its head.
fn far_index(head: &[u8], size: u64) -> Option<u64> {
    if head.get(4..8) != Some(b"ftyp") {
        return None;
    }
    let read = |at: u64| {
        let from = usize::try_from(at).map_err(|_| at)?;
        head.get(from..from.saturating_add(16)).and_then(|bytes| bytes.try_into().ok()).ok_or(at)
    };
    mp4::find_moov(size, read).err()
}

/// What is missing, with what lies from `index` on before the rest: with the index of a film
/// the rest can be worked on as it comes.
fn first_of_all(index: Option<u64>, missing: impl Iterator<Item = Range<u64>>) -> VecDeque<Range<u64>> {
    let index = index.unwrap_or(u64::MAX);
    let (mut first, mut rest) = (VecDeque::new(), VecDeque::new());
    for range in missing {
        let edge = index.clamp(range.start, range.end);
        rest.push_back(range.start..edge);
        first.push_back(edge..range.end);
    }
    first.append(&mut rest);
    first.retain(|range| !range.is_empty());
    first
}

struct Leaving<'a>(&'a AtomicU64);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_grow_with_what_is_here_and_are_long_on_a_long_line() {
        let milliseconds = Duration::from_millis;
        let (thin, fast, many) = (250e3, 5e6, u64::MAX);
        assert_eq!(length(0.0, Duration::MAX, 0), SMALLEST);
        assert_eq!(length(thin, milliseconds(1), 200_000), 200_000);
        assert_eq!(length(thin, milliseconds(1), many), 500_000);
        assert_eq!(length(fast, milliseconds(1), many), 10_000_000);
        assert_eq!(length(fast, milliseconds(100), 200_000), 4_000_000);
        assert_eq!(length(1e9, milliseconds(100), many), LARGEST);
    }

    #[test]
    fn a_far_index_comes_first() {
        let boxed = |size: u32, kind: &[u8; 4]| [&size.to_be_bytes()[..], kind].concat();
        let head = |then: &[u8]| [&boxed(16, b"ftyp"), &[0; 8][..], then, &[0; 32]].concat();
        assert_eq!(far_index(&head(&boxed(5000, b"mdat")), 6000), Some(5016));
        assert_eq!(far_index(&head(&boxed(500, b"moov")), 6000), None);
        assert_eq!(far_index(b"RIFF....AVI ....", 6000), None);
        assert_eq!(first_of_all(Some(5016), [100..2000, 3000..6000].into_iter()), [5016..6000, 100..2000, 3000..5016]);
        let in_order = first_of_all(None, [100..2000, 3000..6000].into_iter());
        assert_eq!(in_order, [100..2000, 3000..6000]);
    }
}
