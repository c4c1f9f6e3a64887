//! Objects from one store to another, with a row for each in a catalog: what the job works with and what it says.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use self::content::Pace;
use crate::catalog::sql::Catalog;
use crate::model::failure::Failure;
use crate::pipeline;
use crate::pipeline::Rank;
use crate::pipeline::lane::Lane;
use crate::plan::migrate::{Filter, Sign};
use crate::plan::settings::Limits;
use crate::storage::store::Store;

pub mod check;
pub mod content;
pub mod run;

mod copy;
mod facts;
mod record;

/// Everything the job works with.
pub struct Context {
    /// Where objects come from. Nothing is ever changed there.
    pub source: Store,
    /// Where they go.
    pub destination: Store,
    /// The catalog.
    pub catalog: Catalog,
    /// Which objects are wanted.
    pub filter: Filter,
    /// Only these keys: a part of a migration that somebody else divided up.
    pub keys: Option<Vec<String>>,
    /// A folder for media that ffprobe looks at.
    pub scratch: PathBuf,
    /// ffprobe, if media are to be looked into.
    pub ffprobe: Option<PathBuf>,
    /// What ffprobe does not look into.
    pub limits: Limits,
    /// Objects on their way at once.
    pub transfers: usize,
    /// Threads that compute.
    pub threads: usize,
    /// Bytes of small objects that are held in memory.
    pub room: Lane<Rank>,
    /// Large objects that pass through at once.
    pub passing: Lane<Rank>,
    /// Bytes of media that lie in scratch.
    pub disk_room: Lane<Rank>,
    /// Processes of ffprobe.
    pub cpu: Lane<Rank>,
    /// How fast bytes may come, and how many have.
    pub pace: Arc<Pace>,
    /// Read every object back and compare.
    pub read_back: bool,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
    /// No new object is begun after this.
    pub stop: CancellationToken,
    /// Everything ends now.
    pub cancel: CancellationToken,
}

/// What became of one object.
#[derive(Clone, Debug)]
pub struct Moved {
    /// Its key.
    pub key: String,
    /// What became of it.
    pub sign: Sign,
    /// Its bytes.
    pub bytes: u64,
    /// Why not, or what a person should know.
    pub failure: Option<Failure>,
}

/// Hears what becomes of objects.
pub type Listener<'a> = &'a (dyn Fn(Moved) + Sync);

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Objects that were there already.
    pub same: u64,
    /// Objects that were copied and were not there before.
    pub new: u64,
    /// Objects that were copied over another version.
    pub changed: u64,
    /// Objects of the catalog that the source has no longer.
    pub gone: u64,
    /// Objects that could not be copied or checked.
    pub failed: u64,
    /// Of those, by the fault of this machine or of a store.
    pub environment: u64,
    /// Objects that a stop left for the next run.
    pub left: u64,
    /// Bytes copied.
    pub bytes: u64,
    /// Whether the run was stopped.
    pub stopped: bool,
    /// What the stages were doing.
    pub stages: pipeline::report::Summary,
}

impl Summary {
    /// Counts one object.
    pub fn count(&mut self, moved: &Moved) {
        match moved.sign {
            Sign::Same => self.same += 1,
            Sign::New => self.new += 1,
            Sign::Changed => self.changed += 1,
            Sign::Gone => self.gone += 1,
            Sign::Error => {
                self.failed += 1;
                let class = moved.failure.as_ref().map(|failure| failure.class);
                self.environment += u64::from(class == Some(crate::model::failure::Class::Environment));
            }
        }
        if matches!(moved.sign, Sign::New | Sign::Changed) {
            self.bytes += moved.bytes;
        }
    }
}
