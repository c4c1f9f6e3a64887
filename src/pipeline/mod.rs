//! The IO-bound/CPU-bound pattern, for any program.
//!
//! Items flow through stages. A stage has an IO lane (async work, so many at
//! once) or a CPU lane (blocking work, so many threads), and so much room:
//! when a stage is full, the one before it waits. All stages work at the same
//! time, so a run takes as long as its slowest stage and not as their sum.
//!
//! ```
//! use forebay::pipeline::Pipeline;
//! use forebay::pipeline::error::Result;
//! # async fn fetch(url: &str) -> Result<Vec<u8>> { Ok(url.into()) }
//! # fn shrink(photo: Vec<u8>) -> Result<Vec<u8>> { Ok(photo) }
//! # async fn put(photo: Vec<u8>) -> Result<usize> { Ok(photo.len()) }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let report = Pipeline::from_iter(["https://a.example", "https://b.example"])
//!     .io("download", 8, async |url| fetch(url).await)
//!     .cpu("resize", 2, |photo| shrink(photo))
//!     .io("upload", 4, async |photo| put(photo).await)
//!     .run()
//!     .await;
//! assert_eq!(report.done, [17, 17]);
//! println!("{}", report.summary);
//! # }
//! ```
//!
//! `docs/pipeline.md` says more: retries, back-pressure, stopping, metrics.

pub mod error;
pub mod lane;
pub mod pool;
pub mod report;
pub mod retry;
pub mod stage;

mod meter;
mod run;

#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::{self, Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use error::Result;
use lane::Lane;
use pool::Pool;
use report::{Monitor, Outcome, Report, Summary};
use retry::Retry;
use stage::{Chain, Cpu, Io, Start, Then, Work};

/// A source of items and the stages they pass. Nothing happens before it is run.
///
/// A run is one future, and all async work is polled inside it: the work may
/// borrow from its surroundings, nothing needs to be `'static` or `Send` (the
/// run is `Send` if its parts are), and dropping the run ends all of it at
/// once. Work that computes for more than a moment belongs on a CPU stage.
///
/// A panic in a stage is that item's error; one in the source is the caller's.
#[must_use = "a pipeline does nothing until it is run"]
pub struct Pipeline<S, C> {
    source: S,
    chain: C,
    stop: CancellationToken,
    abort: CancellationToken,
    monitor: Monitor,
}

/// Who is served first, where several items could use the same worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// Smaller first; 0 unless [`Pipeline::order_by`] says otherwise.
    pub order: u64,
    /// Then the earlier item first.
    pub number: u64,
}

impl<I: Iterator> Pipeline<stream::Iter<I>, Start<I::Item>> {
    /// Items from an iterator, which may be endless: the next item is asked for
    /// only when there is room for it. It must not block; for one that does,
    /// see [`from_channel`](Pipeline::from_channel).
    #[expect(clippy::should_implement_trait, reason = "`collect` would read the whole iterator at once")]
    pub fn from_iter(items: impl IntoIterator<IntoIter = I>) -> Self {
        Self::from_stream(stream::iter(items))
    }
}

impl<T> Pipeline<stream::BoxStream<'static, T>, Start<T>>
where
    T: Send + 'static,
{
    /// Items from a channel, until all its senders are gone.
    ///
    /// A stop closes the channel: what was sent and not yet taken is gone, and
    /// the next `send` fails.
    pub fn from_channel(items: mpsc::Receiver<T>) -> Self {
        let receive = async |mut items: mpsc::Receiver<T>| items.recv().await.map(|item| (item, items));
        Self::from_stream(stream::unfold(items, receive).boxed())
    }
}

impl<S: Stream> Pipeline<S, Start<S::Item>> {
    /// Items from a stream.
    pub fn from_stream(items: S) -> Self {
        let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
        Self { source: items, chain: Start::new(), stop, abort, monitor: Monitor::default() }
    }

    /// Serves items for which `order` is smaller first, wherever several wait for the same worker.
    ///
    /// Without it, and among equals, earlier items go first.
    pub fn order_by(self, order: fn(&S::Item) -> u64) -> Self {
        Self { chain: self.chain.ordered(order), ..self }
    }
}

impl<S, C> Pipeline<S, C>
where
    C: Chain,
    S: Stream<Item = C::In>,
{
    /// Adds a stage that waits for something outside: a server, a disk, a child process.
    ///
    /// `concurrency` is the number of items worked on at once (at least one),
    /// or a [`Lane`] that other stages or pipelines share.
    pub fn io<F, Out>(
        self,
        name: impl Into<Arc<str>>,
        concurrency: impl Into<Lane<Rank>>,
        work: F,
    ) -> Pipeline<S, Then<C, Io<F, Out>>>
    where
        F: AsyncFn(C::Out) -> Result<Out>,
    {
        self.with(|chain| Then::io(chain, name.into(), concurrency.into(), work))
    }

    /// Adds a stage that computes, on threads of its own.
    ///
    /// `threads` is the number of threads (at least one), or a [`Pool`] that
    /// other stages or pipelines share.
    pub fn cpu<F, Out>(
        self,
        name: impl Into<Arc<str>>,
        threads: impl Into<Pool>,
        work: F,
    ) -> Pipeline<S, Then<C, Cpu<F, Out>>>
    where
        F: Fn(C::Out) -> Result<Out> + Send + Sync + 'static,
        C::Out: Send + 'static,
        Out: Send + 'static,
    {
        self.with(|chain| Then::cpu(chain, name.into(), threads.into(), work))
    }

    /// Once `token` is cancelled, no new item is taken and no failed one is
    /// tried again; what is at work is finished, through all stages.
    pub fn stop_on(self, token: CancellationToken) -> Self {
        Self { stop: token, ..self }
    }

    /// Once `token` is cancelled, the run ends at once: async work is dropped,
    /// blocking work ends unheard.
    pub fn abort_on(self, token: CancellationToken) -> Self {
        Self { abort: token, ..self }
    }

    /// Runs to the end and keeps everything that came out, in the order of the source.
    ///
    /// For a source without an end, use [`for_each`](Self::for_each) or
    /// [`stream`](Self::stream).
    pub async fn run(self) -> Report<C::Out> {
        let mut done = Vec::new();
        let mut errors = Vec::new();
        let summary = self
            .for_each(|outcome| match outcome.result {
                Ok(value) => done.push((outcome.number, value)),
                Err(error) => errors.push(error),
            })
            .await;
        done.sort_by_key(|(number, _)| *number);
        errors.sort_by_key(|error| error.number);
        Report { done: done.into_iter().map(|(_, value)| value).collect(), errors, summary }
    }

    /// Runs to the end and shows each item as it gets through, or fails, to `see`.
    pub async fn for_each(self, mut see: impl FnMut(Outcome<C::Out>)) -> Summary {
        let monitor = self.monitor();
        let mut outcomes = std::pin::pin!(run::outcomes(self));
        while let Some(outcome) = outcomes.next().await {
            see(outcome);
        }
        monitor.summary()
    }

    /// The items as they get through, or fail.
    ///
    /// The pipeline moves only while the stream is polled. Where handling an
    /// outcome takes time, make it one more stage and use [`for_each`](Self::for_each).
    pub fn stream(self) -> Pin<Box<impl Stream<Item = Outcome<C::Out>>>> {
        Box::pin(run::outcomes(self).fuse())
    }

    /// Looks at the run from outside, while it goes on.
    pub fn monitor(&self) -> Monitor {
        self.monitor.clone()
    }

    fn with<D>(self, add: impl FnOnce(C) -> D) -> Pipeline<S, D> {
        let Self { source, chain, stop, abort, monitor } = self;
        Pipeline { source, chain: add(chain), stop, abort, monitor }
    }
}

impl<S, C: Chain, W: Work<C::Out>> Pipeline<S, Then<C, W>> {
    /// Lets `length` more items than are worked on into the last stage, to wait
    /// there before the work or after it. As many as are worked on, if not said.
    pub fn queue(self, length: usize) -> Self {
        Self { chain: self.chain.queue(length), ..self }
    }

    /// Tries an item again when the last stage fails on it.
    ///
    /// The item is cloned for every try: share what is large.
    pub fn retry(self, retry: Retry) -> Self
    where
        C::Out: Clone,
    {
        Self { chain: self.chain.retry(retry), ..self }
    }
}

/// The examples of the page are tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/pipeline.md")]
struct Page;
