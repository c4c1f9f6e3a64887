//! The stages of a pipeline, and an item's way through them.
//!
//! An item holds one place in one stage, and takes its place in the next before
//! it gives up the one it has. So the number of items on their way has a bound,
//! and since places are only ever waited for downstream, nothing can lock up.
//! Workers are permits of a lane, held for the work alone and never while
//! waiting for anything else.

use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

use super::Rank;
use super::error::{Cause, Error, ItemError, Result};
use super::lane::{Lane, Permit};
use super::meter::{Meter, Phase, Visit};
use super::pool::Pool;
use super::report::Kind;
use super::retry::Retry;

/// The stages so far, seen as one step from `In` to `Out`.
pub trait Chain {
    /// What comes from the source.
    type In;
    /// What comes out of the last stage.
    type Out;
    /// Carries one item through all stages.
    fn carry(
        &self,
        ticket: &mut Ticket,
        item: Self::In,
    ) -> impl Future<Output = std::result::Result<Self::Out, ItemError>>;
    /// Where an item comes in, if there is a stage at all.
    fn entrance(&self) -> Option<&Lane<Rank>>;
    /// The order in which an item is to be served, before its number.
    fn order(&self, item: &Self::In) -> u64;
    /// The meters of the source and all stages.
    fn meters(&self) -> Meters;
}

/// The meters of a chain.
pub struct Meters(pub(super) Vec<Arc<Meter>>);

/// How a stage does its work.
pub trait Work<In> {
    /// What it makes of an item.
    type Out;
    /// Works on an item with a worker's permit in hand; an outer error is a panic.
    fn attempt(
        &self,
        permit: Permit<Rank>,
        item: In,
    ) -> impl Future<Output = std::result::Result<Result<Self::Out>, Cause>>;
}

/// Goes with an item on its way.
pub struct Ticket {
    rank: Rank,
    stop: CancellationToken,
    entrance: Option<Permit<Rank>>,
    place: Option<Place>,
    begun: bool,
}

/// A place in a stage.
struct Place {
    visit: Visit,
    _room: Permit<Rank>,
}

/// The source, before any stage.
pub struct Start<T> {
    meter: Arc<Meter>,
    order: fn(&T) -> u64,
}

/// A chain and one more stage.
pub struct Then<C: Chain, W> {
    before: C,
    work: W,
    workers: Lane<Rank>,
    room: Lane<Rank>,
    meter: Arc<Meter>,
    retry: Option<Again<C::Out>>,
}

/// When to try again, and how to keep the item for it.
struct Again<T> {
    retry: Retry,
    clone: fn(&T) -> T,
}

/// Async work.
pub struct Io<F, Out>(F, PhantomData<fn() -> Out>);

/// Blocking work on a pool of threads.
pub struct Cpu<F, Out>(Pool, Arc<F>, PhantomData<fn() -> Out>);

impl Ticket {
    pub(super) fn new(rank: Rank, stop: CancellationToken, entrance: Option<Permit<Rank>>) -> Self {
        Self { rank, stop, entrance, place: None, begun: false }
    }

    /// The name of the stage it is in.
    pub(super) fn stage(&self) -> Option<Arc<str>> {
        self.place.as_ref().map(|place| Arc::clone(place.visit.name()))
    }

    pub(super) fn number(&self) -> u64 {
        self.rank.number
    }

    fn turn(&mut self, phase: Phase) {
        if let Some(place) = &mut self.place {
            place.visit.turn(phase);
        }
    }
}

impl<T> Start<T> {
    pub(super) fn new() -> Self {
        Self { meter: Arc::new(Meter::new("source".into(), Kind::Source, 1)), order: |_| 0 }
    }

    pub(super) fn ordered(mut self, order: fn(&T) -> u64) -> Self {
        self.order = order;
        self
    }
}

impl<T> Chain for Start<T> {
    type In = T;
    type Out = T;

    async fn carry(&self, _ticket: &mut Ticket, item: T) -> std::result::Result<T, ItemError> {
        Ok(item)
    }

    fn entrance(&self) -> Option<&Lane<Rank>> {
        None
    }

    fn order(&self, item: &T) -> u64 {
        (self.order)(item)
    }

    fn meters(&self) -> Meters {
        Meters(vec![Arc::clone(&self.meter)])
    }
}

impl<C: Chain, F, Out> Then<C, Io<F, Out>> {
    pub(super) fn io(before: C, name: Arc<str>, workers: Lane<Rank>, work: F) -> Self {
        Self::new(before, name, Kind::Io, workers, Io(work, PhantomData))
    }
}

impl<C: Chain, F, Out> Then<C, Cpu<F, Out>> {
    pub(super) fn cpu(before: C, name: Arc<str>, pool: Pool, work: F) -> Self {
        let workers = pool.lane().clone();
        Self::new(before, name, Kind::Cpu, workers, Cpu(pool, Arc::new(work), PhantomData))
    }
}

impl<C: Chain, W> Then<C, W> {
    fn new(before: C, name: Arc<str>, kind: Kind, workers: Lane<Rank>, work: W) -> Self {
        let concurrency = workers.capacity();
        let meter = Arc::new(Meter::new(name, kind, concurrency));
        // As much again as is worked on, so that a worker who is free finds the next item ready.
        let room = Lane::new(concurrency.saturating_mul(2));
        Self { before, work, workers, room, meter, retry: None }
    }

    pub(super) fn queue(mut self, length: usize) -> Self {
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        self.room = Lane::new(self.workers.capacity().saturating_add(length));
        self
    }

    pub(super) fn retry(mut self, retry: Retry) -> Self
    where
        C::Out: Clone,
    {
        self.retry = Some(Again { retry, clone: C::Out::clone });
        self
    }

    /// Takes a place here and gives up the one before.
    async fn enter(&self, ticket: &mut Ticket) {
        let room = match ticket.entrance.take() {
            Some(room) => room,
            None => self.room.acquire(ticket.rank, 1).await,
        };
        ticket.place = Some(Place { visit: Visit::new(&self.meter, Phase::Queued), _room: room });
    }

    /// Waits for a worker; `None` if the run stops before anything was done for the item.
    async fn worker(&self, ticket: &mut Ticket) -> Option<Permit<Rank>> {
        let free = self.workers.acquire(ticket.rank, 1);
        let permit = if ticket.begun { free.await } else { ticket.stop.run_until_cancelled(free).await? };
        ticket.begun = true;
        ticket.turn(Phase::Working);
        Some(permit)
    }

    fn fail(&self, ticket: &mut Ticket, attempts: u32, cause: Cause) -> ItemError {
        if let Some(place) = ticket.place.take()
            && !cause.is_stop()
        {
            place.visit.failed();
        }
        ItemError { number: ticket.number(), stage: Some(Arc::clone(self.meter.name())), attempts, cause }
    }
}

impl<C: Chain, W: Work<C::Out>> Then<C, W> {
    /// One try: what it gave, and the item once more if there may be another.
    async fn attempt(
        &self,
        permit: Permit<Rank>,
        item: C::Out,
    ) -> std::result::Result<(Result<W::Out>, Option<C::Out>), Cause> {
        let work = async {
            let again = self.retry.as_ref().map(|again| (again.clone)(&item));
            Ok((self.work.attempt(permit, item).await?, again))
        };
        AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|payload| Err(Cause::panic(&*payload)))
    }

    /// Waits for the next try; false if there is none.
    async fn back_off(&self, ticket: &mut Ticket, attempts: u32, error: &Error) -> bool {
        let wait = self.retry.as_ref().and_then(|again| again.retry.wait(attempts, error));
        let Some(wait) = wait.filter(|_| !ticket.stop.is_cancelled()) else { return false };
        ticket.turn(Phase::BackingOff);
        ticket.stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_some()
    }
}

impl<C: Chain, W: Work<C::Out>> Chain for Then<C, W> {
    type In = C::In;
    type Out = W::Out;

    async fn carry(&self, ticket: &mut Ticket, item: C::In) -> std::result::Result<W::Out, ItemError> {
        let mut item = self.before.carry(ticket, item).await?;
        self.enter(ticket).await;
        let mut attempts = 0;
        loop {
            let Some(permit) = self.worker(ticket).await else {
                return Err(self.fail(ticket, attempts, Cause::NotStarted));
            };
            attempts += 1;
            let (error, again) = match self.attempt(permit, item).await {
                Ok((Ok(value), _)) => {
                    if let Some(place) = &mut ticket.place {
                        place.visit.done();
                    }
                    return Ok(value);
                }
                Ok((Err(error), again)) => (error, again),
                Err(cause) => return Err(self.fail(ticket, attempts, cause)),
            };
            match again {
                Some(again) if self.back_off(ticket, attempts, &error).await => item = again,
                _ => return Err(self.fail(ticket, attempts, Cause::Error(error.into_source()))),
            }
            ticket.turn(Phase::Queued);
        }
    }

    fn entrance(&self) -> Option<&Lane<Rank>> {
        self.before.entrance().or(Some(&self.room))
    }

    fn order(&self, item: &C::In) -> u64 {
        self.before.order(item)
    }

    fn meters(&self) -> Meters {
        let mut meters = self.before.meters();
        meters.0.push(Arc::clone(&self.meter));
        meters
    }
}

impl<In, Out, F: AsyncFn(In) -> Result<Out>> Work<In> for Io<F, Out> {
    type Out = Out;

    async fn attempt(&self, permit: Permit<Rank>, item: In) -> std::result::Result<Result<Out>, Cause> {
        let result = (self.0)(item).await;
        drop(permit);
        Ok(result)
    }
}

impl<In, Out, F> Work<In> for Cpu<F, Out>
where
    In: Send + 'static,
    Out: Send + 'static,
    F: Fn(In) -> Result<Out> + Send + Sync + 'static,
{
    type Out = Out;

    async fn attempt(&self, permit: Permit<Rank>, item: In) -> std::result::Result<Result<Out>, Cause> {
        let work = Arc::clone(&self.1);
        self.0.run_with(permit, move || work(item)).await
    }
}
