//! Several pieces of one file at once, each over a connection of its own and
//! with a network permit of its own.
//!
//! A permit is given back after every piece. So the first video of a list has
//! the whole link as soon as it asks for it, and the others have what it leaves.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::super::FetchContext;
use super::super::tries::{Tries, Trouble};
use super::answer::Answer;
use super::client::{Client, Input, Question};
use super::part::{Flow, Part};
use super::{FIRST, Opened};
use url::Url;

/// The smallest piece: below, the wait for an answer outweighs the bytes.
const SMALLEST: u64 = 1024 * 1024;

/// The largest piece: a connection that fails or a better-ranked item waits no longer than this takes.
const LARGEST: u64 = 16 * 1024 * 1024;

/// With fewer bytes a try has brought nothing, however often it is repeated.
const PROGRESS: u64 = 16 * 1024;

struct Pieces<'a> {
    client: &'a Client,
    input: &'a Input<'a>,
    context: &'a FetchContext<'a>,
    part: &'a Part<'a>,
    size: u64,
    queue: Mutex<VecDeque<Range<u64>>>,
    /// Workers that have a connection, among whom the least rate is divided.
    active: AtomicU64,
    shared: Mutex<Shared>,
}

/// What one connection learned for all.
struct Shared {
    /// Where redirects led.
    at: Option<Url>,
    /// No request before this time: the server asked for it.
    quiet_until: Instant,
}

/// Fetches all that is missing in `part`. `first` is an answer that began at byte 0.
pub(super) async fn fetch(
    client: &Client,
    input: &Input<'_>,
    context: &FetchContext<'_>,
    part: &Part<'_>,
    first: Option<Opened>,
) -> Result<(), Trouble> {
    let connections = client.settings.connections_per_file.max(1);
    let mark = part.mark();
    let size = mark.size.unwrap_or_default();
    let piece = (size / (2 * connections)).clamp(SMALLEST, LARGEST);
    let begun = first.as_ref().map_or(0, |first| first.answer.range.map_or(0, |(_, last, _)| last + 1).min(FIRST));
    let missing = mark.written.missing(size, piece);
    let mut queue: VecDeque<_> =
        missing.into_iter().map(|piece| piece.start.max(begun)..piece.end).filter(|piece| !piece.is_empty()).collect();
    // The index of an MP4 file is at its head or at its end. With both the rest
    // can be worked on as it comes.
    if let Some(last) = queue.pop_back() {
        queue.push_front(last);
    }
    let workers = connections.min(queue.len() as u64 + u64::from(first.is_some()));
    let shared = Shared { at: first.as_ref().map(|first| first.at.clone()), quiet_until: Instant::now() };
    let (queue, shared, active) = (Mutex::new(queue), Mutex::new(shared), AtomicU64::new(0));
    let pieces = Pieces { client, input, context, part, size, queue, active, shared };
    let mut first = first;
    let workers = (0..workers).map(|_| pieces.work(first.take().map(|first| (0..begun, first))));
    let outcome = futures_util::future::try_join_all(workers).await;
    if outcome.is_err() {
        part.save().await?;
    }
    outcome.map(drop)
}

impl Pieces<'_> {
    async fn work(&self, first: Option<(Range<u64>, Opened)>) -> Result<(), Trouble> {
        let mut tries = Tries::default();
        let mut held = None;
        if let Some((mut piece, opened)) = first {
            let outcome = self.first(&mut piece, opened).await;
            held = self.after(outcome, piece, 0, &mut tries).await?;
        }
        while held.is_some() || !self.queue().is_empty() {
            let quiet_until = self.shared().quiet_until;
            tokio::time::sleep_until(quiet_until).await;
            let permit = self.context.network.acquire(self.context.rank, 1).await;
            let Some(mut piece) = held.take().or_else(|| self.queue().pop_front()) else { break };
            let start = piece.start;
            let outcome = self.bring(&mut piece).await;
            drop(permit);
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
            let until = Instant::now() + wait.min(self.client.settings.longest_wait);
            let mut shared = self.shared();
            shared.quiet_until = shared.quiet_until.max(until);
        }
        let again = tries.again(failure, wait, &self.client.settings, self.context).await;
        again.map_err(Trouble::Final)?;
        Ok(Some(piece))
    }

    async fn first(&self, piece: &mut Range<u64>, opened: Opened) -> Result<(), Trouble> {
        let Opened { mut response, head, permit: _permit, .. } = opened;
        self.pour(&mut response, head, piece).await
    }

    /// Asks for a piece and lets it land.
    async fn bring(&self, piece: &mut Range<u64>) -> Result<(), Trouble> {
        let mark = self.part.mark();
        let at = self.shared().at.clone();
        let question =
            Question { at: at.clone(), range: Some(piece.clone()), if_range: mark.validator(), ..Question::default() };
        let asked = self.client.ask(self.input, &question).await;
        let (mut response, at) = match asked {
            Ok(answer) => answer,
            Err(Trouble::Final(failure) | Trouble::Refused(failure))
                if at.as_ref().is_some_and(|at| at != self.input.url) =>
            {
                // Where a redirect led may be signed for a short time only. The input's own URL has the last word.
                self.shared().at = None;
                return Err(Trouble::Again(failure, None));
            }
            Err(trouble) => return Err(trouble),
        };
        self.shared().at = Some(at);
        let answer = Answer::of(&response);
        if let Some(why) = differs(&answer, piece, self.size, mark.etag.as_deref()) {
            return Err(Trouble::Changed(format!("`{}` {why}", self.input.shown())));
        }
        self.pour(&mut response, Vec::new(), piece).await
    }

    async fn pour(
        &self,
        response: &mut reqwest::Response,
        head: Vec<u8>,
        piece: &mut Range<u64>,
    ) -> Result<(), Trouble> {
        let settings = &self.client.settings;
        let active = self.active.fetch_add(1, Ordering::Relaxed) + 1;
        let _active = Leaving(&self.active);
        let least = settings.least_in_window() / active;
        let flow = Flow { response, head, end: Some(piece.end), least };
        self.part.pour(flow, &mut piece.start, settings, &mut |_| Ok(())).await
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Range<u64>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Leaving<'a>(&'a AtomicU64);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why this answer does not continue the file we began with.
fn differs(answer: &Answer, piece: &Range<u64>, size: u64, etag: Option<&str>) -> Option<String> {
    if answer.status != 206 {
        return Some("changed, or cannot go on in the middle".into());
    }
    let Some((first, last, total)) = answer.range else { return Some("sent a part without saying which".into()) };
    if first != piece.start || last >= piece.end {
        return Some(format!("was asked for bytes from {} and sent bytes from {first}", piece.start));
    }
    let other_etag = answer.etag.as_deref().zip(etag).is_some_and(|(now, then)| now != then);
    (total.is_some_and(|total| total != size) || other_etag || answer.encoded)
        .then(|| "changed while it was downloaded".into())
}
