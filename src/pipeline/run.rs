//! Runs a pipeline: takes items while there is room, and carries all of them at once.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, Stream, StreamExt as _};
use futures_util::{FutureExt as _, stream};
use tokio_util::sync::CancellationToken;

use super::error::{Cause, ItemError};
use super::lane::{Lane, Permit};
use super::meter::{Phase, Visit};
use super::report::{Board, Outcome};
use super::stage::{Chain, Ticket};
use super::{Pipeline, Rank};

/// All that a run holds. Whoever drops it ends the run at once.
struct Engine<S, C, B, J> {
    /// Gone once it has ended or nothing more is wanted of it, so that whoever
    /// feeds it knows.
    source: Option<Pin<Box<S>>>,
    /// Where items come in.
    entrance: Lane<Rank>,
    /// Room for the next item, and the wait for it.
    pull: Option<(Permit<Rank>, Visit)>,
    chain: Arc<C>,
    begin: B,
    journeys: FuturesUnordered<J>,
    board: Arc<Board>,
    number: u64,
    stop: CancellationToken,
    abort: CancellationToken,
}

/// The outcomes of a pipeline, as they come.
pub(super) fn outcomes<S, C>(pipeline: Pipeline<S, C>) -> impl Stream<Item = Outcome<C::Out>>
where
    C: Chain,
    S: Stream<Item = C::In>,
{
    let Pipeline { source, chain, stop, abort, monitor } = pipeline;
    let board = monitor.begin(chain.meters().0);
    let engine = Engine {
        source: Some(Box::pin(source)),
        entrance: chain.entrance().cloned().unwrap_or_else(|| Lane::new(1)),
        pull: None,
        chain: Arc::new(chain),
        begin: journey::<C>,
        journeys: FuturesUnordered::new(),
        board,
        number: 0,
        stop,
        abort,
    };
    stream::unfold(engine, async |mut engine| engine.next().await.map(|outcome| (outcome, engine)))
}

/// One item's way, cut short by an abort.
async fn journey<C: Chain>(
    chain: Arc<C>,
    mut ticket: Ticket,
    item: C::In,
    abort: CancellationToken,
) -> Outcome<C::Out> {
    let number = ticket.number();
    let way = AssertUnwindSafe(chain.carry(&mut ticket, item)).catch_unwind();
    let result = match abort.run_until_cancelled(way).await {
        Some(Ok(result)) => result,
        // Stages catch their own panics; this one was in a destructor.
        Some(Err(payload)) => Err(halt(&ticket, Cause::panic(&*payload))),
        None => Err(halt(&ticket, Cause::Aborted)),
    };
    Outcome { number, result }
}

fn halt(ticket: &Ticket, cause: Cause) -> ItemError {
    ItemError { number: ticket.number(), stage: ticket.stage(), attempts: 0, cause }
}

impl<S, C, B, J> Engine<S, C, B, J>
where
    C: Chain,
    S: Stream<Item = C::In>,
    B: Fn(Arc<C>, Ticket, C::In, CancellationToken) -> J,
    J: Future<Output = Outcome<C::Out>>,
{
    /// The next item that is through; `None` at the end of the run.
    ///
    /// Cancel-safe: all it has in hand is kept in `self`.
    async fn next(&mut self) -> Option<Outcome<C::Out>> {
        self.board.start();
        let outcome = loop {
            if self.stop.is_cancelled() || self.abort.is_cancelled() {
                self.source = None;
            }
            if self.source.is_none() {
                self.pull = None;
                break self.journeys.next().await;
            }
            if let Some(outcome) = self.step().await {
                break Some(outcome);
            }
        };
        match &outcome {
            Some(outcome) => self.board.settle(&outcome.result),
            None => self.board.end(),
        }
        outcome
    }

    /// Waits until an item is through, or can be taken, or the run is to end.
    async fn step(&mut self) -> Option<Outcome<C::Out>> {
        let source = self.source.as_mut()?;
        if self.pull.is_none() {
            let rank = Rank { order: 0, number: self.number };
            tokio::select! {
                biased;
                Some(outcome) = self.journeys.next() => return Some(outcome),
                () = self.stop.cancelled() => {}
                () = self.abort.cancelled() => {}
                room = self.entrance.acquire(rank, 1) => {
                    self.pull = Some((room, Visit::new(self.board.source(), Phase::Working)));
                }
            }
            return None;
        }
        tokio::select! {
            biased;
            Some(outcome) = self.journeys.next() => return Some(outcome),
            () = self.stop.cancelled() => {}
            () = self.abort.cancelled() => {}
            item = source.next() => self.take(item),
        }
        None
    }

    fn take(&mut self, item: Option<C::In>) {
        let Some(item) = item else {
            self.source = None;
            return;
        };
        let (room, mut visit) = self.pull.take().expect("an item is only asked for when there is room");
        visit.done();
        self.board.took();
        let rank = Rank { order: self.chain.order(&item), number: self.number };
        self.number += 1;
        let ticket = Ticket::new(rank, self.stop.clone(), Some(room));
        self.journeys.push((self.begin)(Arc::clone(&self.chain), ticket, item, self.abort.clone()));
    }
}
