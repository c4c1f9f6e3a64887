//! What a job does, top to bottom, and what it works with.

mod chapter;
pub mod chunk;
pub mod copy;
pub mod cut;
pub mod dash;
pub mod done;
pub mod early;
mod extras;
pub mod film;
pub mod gc;
pub mod guest;
pub mod hls;
mod kept;
#[cfg(feature = "stores")]
pub mod migrate;
pub mod pack;
#[cfg(feature = "photos")]
pub mod photo;
pub mod pictures;
pub mod piece;
pub mod probe;
pub mod publish;
pub mod quality;
pub mod reuse;
#[cfg(feature = "photos")]
pub mod share;
pub mod subtitle;
pub mod verify;
pub mod work;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::model::event::What;
use crate::model::failure::Failure;
use crate::model::item::Rank;
use crate::pipeline::lane::{Lane, Permit};
use crate::scratch::journal::Journal;
use crate::source::Sources;
use crate::storage::store::Store;
use crate::tool::find::Ffmpeg;

/// The scarce things, shared by all jobs of a run.
#[derive(Clone)]
pub struct Lanes {
    /// Connections to sources.
    pub network: Lane<Rank>,
    /// Readers of folders.
    pub disk: Lane<Rank>,
    /// Encoder threads.
    pub cpu: Lane<Rank>,
    /// Uploads at once.
    pub upload: Lane<Rank>,
    /// Bytes of scratch space for sources.
    pub room: Lane<Rank>,
    /// Chunks that are encoded, or about to be, and not yet stored: this bounds
    /// what waits on the disk when the destination is slow.
    pub backlog: Lane<Rank>,
    /// Chunks that are encoded while their source is still coming. They wait on
    /// the disk until it is whole, and a kill meanwhile costs them, so there may
    /// be one for a core and no more.
    pub early: Lane<Rank>,
}

/// Ids that are worked on, each with its lock.
pub type Ids = Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>>;

/// Everything a job works with.
pub struct Context {
    /// The scarce things.
    pub lanes: Lanes,
    /// Where media come from.
    pub sources: Sources,
    /// The encoder.
    pub ffmpeg: Ffmpeg,
    /// Where packages go.
    pub storage: Store,
    /// The address of `storage`, by which the journal tells destinations apart.
    pub destination: String,
    /// Where key files go, if packages are encrypted.
    pub keys: Option<Store>,
    /// What is done already.
    pub journal: Journal,
    /// Work folders of jobs are made here.
    pub scratch: PathBuf,
    /// Make packages again that are there already.
    pub force: bool,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
    /// No new work is begun after this.
    pub stop: CancellationToken,
    /// Everything ends now.
    pub cancel: CancellationToken,
    /// Turns of fair sharing; see [`Context::turn`].
    pub turns: Arc<AtomicU64>,
    /// One job at a time works on an id.
    pub ids: Ids,
    /// The workers that may be asked for help with a long film, if there are any.
    pub crew: Option<Arc<dyn film::Crew>>,
}

/// Hears what a job does.
pub type Report<'a> = &'a (dyn Fn(What) + Sync);

/// Chunks an item may encode before others have their turn.
const CHUNKS_A_TURN: u64 = 8;

impl Context {
    /// Waits for `count` permits, unless the run stops first.
    pub async fn permit(&self, lane: &Lane<Rank>, rank: Rank, count: u64) -> Result<Permit<Rank>, Failure> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Failure::stopped()),
            permit = lane.acquire(rank, count) => Ok(permit),
        }
    }

    /// Does `work`, unless and until everything has to end now.
    pub async fn unless_cancelled<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        self.cancel.run_until_cancelled(work).await.unwrap_or_else(|| Err(Failure::stopped()))
    }

    /// The turn at which an item that comes now begins: the one being served.
    ///
    /// A long film takes a later turn with every few chunks, so that short
    /// items come through; but they begin at the film's turn, not before it, so
    /// that it does not starve either (start-time fair queueing).
    pub fn turn(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// The rank of chunk `number` of an item that began at `turn`.
    pub fn chunk_rank(&self, rank: Rank, turn: u64, number: u64) -> Rank {
        Rank { turn: turn + number / CHUNKS_A_TURN, ..rank }
    }

    /// Notes that `rank` is being served.
    pub fn served(&self, rank: Rank) {
        self.turns.fetch_max(rank.turn, Ordering::Relaxed);
    }

    /// Waits until no other job works on `id`.
    pub async fn claim_id(&self, id: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
            // Ids nobody works on are forgotten now and then, so that the map stays small.
            if ids.len() > 1000 {
                ids.retain(|_, lock| Arc::strong_count(lock) > 1);
            }
            Arc::clone(ids.entry(id.to_string()).or_default())
        };
        lock.lock_owned().await
    }
}

/// Runs work that computes or reads files where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Failure::environment(format!("a worker thread was lost: {error}"))))
}
