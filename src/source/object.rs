//! Objects of a store: asked first what they are, then brought in pieces, each
//! on the condition that the object is still the same version.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;

use crate::format::looks::{HEAD, Looks, looks};
use crate::model::event::{Stage, What};
use crate::model::failure::Failure;
use crate::storage::Stat;
use crate::storage::error::{Kind, StorageError};
use crate::storage::store::Store;

use super::body::Body;
use super::http::FIRST;
use super::mark::Mark;
use super::part::{Part, clear, make};
use super::pieces::{self, First, Origin};
use super::room::Room;
use super::tries::{Tries, Trouble};
use super::{FetchContext, Fetched, Record, SourceSettings};

/// A question on the side may take no longer.
const ASIDE: Duration = Duration::from_secs(10);

/// An object that is an input.
pub(super) struct Object<'a> {
    pub(super) store: Store,
    /// Its key in the store.
    pub(super) key: &'a str,
    /// The stable name of the input.
    pub(super) name: &'a str,
    pub(super) settings: &'a SourceSettings,
}

impl Object<'_> {
    fn shown(&self) -> String {
        self.store.address(self.key)
    }

    /// Whether the object still is what `record` says. What is gone, or cannot be asked, counts as unchanged.
    pub(super) async fn unchanged(&self, record: &Record) -> bool {
        match tokio::time::timeout(ASIDE, self.store.storage().stat(self.key)).await {
            Ok(Ok(Some(stat))) => same(&stat, record),
            _ => true,
        }
    }

    /// Brings the object into `folder`.
    pub(super) async fn fetch(&self, folder: &Path, context: &FetchContext<'_>) -> Result<Fetched, Failure> {
        make(folder).await?;
        let mut restarts = 0;
        loop {
            let stat = self.look().await?;
            let mark = Mark::load(folder, self.name).filter(|mark| same(&stat, &mark.record()));
            if let Some(mark) = &mark
                && let Some(finished) = mark.finished(folder)
            {
                return finished.hand_out(mark, self.room(context), context).await;
            }
            let mark = mark.filter(|mark| mark.resumable(folder));
            if mark.is_none() {
                clear(folder).await?;
            }
            match self.bring(&stat, mark, folder, context).await {
                Err(Trouble::Changed(why)) if restarts <= self.settings.retries => {
                    clear(folder).await?;
                    restarts += 1;
                    let why = format!("{why}; starting over");
                    (context.report)(What::Retrying { stage: Stage::Download, why, wait: 0.0 });
                }
                fetched => return Ok(fetched?),
            }
        }
    }

    fn room<'a>(&self, context: &FetchContext<'a>) -> Room<'a> {
        Room::new(context, self.settings.max_bytes, self.shown())
    }

    async fn look(&self) -> Result<Stat, Failure> {
        let stat = self.store.stat(self.key).await?;
        let stat = stat.ok_or_else(|| Failure::permanent(format!("`{}` was not found", self.shown())))?;
        if stat.bytes == 0 {
            return Err(Failure::permanent(format!("`{}` is empty (0 bytes)", self.shown())));
        }
        Ok(stat)
    }

    async fn bring(
        &self,
        stat: &Stat,
        mark: Option<Mark>,
        folder: &Path,
        context: &FetchContext<'_>,
    ) -> Result<Fetched, Trouble> {
        let mut room = self.room(context);
        room.reserve(stat.bytes).await?;
        let (mark, first) = if let Some(mark) = mark {
            (mark, None)
        } else {
            let mark = self.mark(stat);
            let first = self.begin(&mark, context).await?;
            (mark, Some(first))
        };
        let part = Part::open(folder, mark, context).await?;
        part.save().await?;
        let bring = async {
            pieces::fetch(self, context, &part, first).await?;
            part.complete();
            Ok(())
        };
        let ((), sha256) = tokio::try_join!(bring, async { part.hash().await.map_err(Trouble::Final) })?;
        Ok(part.deliver(sha256, room).await?)
    }

    /// The mark of a download that begins.
    fn mark(&self, stat: &Stat) -> Mark {
        Mark {
            etag: stat.etag.clone(),
            last_modified: stat.stored.map(|stored| stored.to_string()),
            size: Some(stat.bytes),
            ..Mark::new(self.name)
        }
    }

    /// Asks for the beginning of the object, as often as it takes, and judges it.
    async fn begin(&self, mark: &Mark, context: &FetchContext<'_>) -> Result<First, Trouble> {
        let mut tries = Tries::default();
        loop {
            let permit = context.network.acquire(context.rank, 1).await;
            let end = FIRST.min(mark.size.unwrap_or_default());
            let began = match self.open(&(0..end), mark).await {
                Ok(body) => self.head(body).await,
                Err(trouble) => Err(trouble),
            };
            match began {
                Ok((body, head)) => return Ok(First { body, head, end, permit }),
                Err(Trouble::Again(failure, wait)) => {
                    drop(permit);
                    tries.again(failure, wait, self.settings, context).await.map_err(Trouble::Final)?;
                    self.recover().await.map_err(Trouble::Final)?;
                }
                Err(trouble) => return Err(trouble),
            }
        }
    }

    async fn head(&self, mut body: Body) -> Result<(Body, Vec<u8>), Trouble> {
        let mut head = Vec::new();
        while head.len() < HEAD {
            let Some(bytes) = body.next().await? else { break };
            head.extend_from_slice(&bytes);
        }
        // Stores keep what they were told of an object's type, and few are told right.
        let what = match looks("", &head) {
            Looks::Media => return Ok((body, head)),
            Looks::Image(kind) => format!("a still image ({kind})"),
            Looks::Text(what) => what.to_owned(),
            Looks::Manifest => "a manifest".to_owned(),
        };
        Err(Trouble::Final(Failure::permanent(format!("`{}` holds {what}, not a video", self.shown()))))
    }
}

#[async_trait]
impl Origin for Object<'_> {
    fn settings(&self) -> &SourceSettings {
        self.settings
    }

    async fn open(&self, piece: &Range<u64>, mark: &Mark) -> Result<Body, Trouble> {
        let changed = || Trouble::Changed(format!("`{}` changed while it was read", self.shown()));
        let reading = self.store.storage().read(self.key, piece.clone(), mark.etag.as_deref()).await;
        let reading = reading.map_err(trouble)?.ok_or_else(changed)?;
        if !same(&reading.stat, &mark.record()) {
            return Err(changed());
        }
        Ok(Body::Object(reading.stream, self.shown()))
    }

    async fn recover(&self) -> Result<(), Failure> {
        // Asked with patience: this waits as long as the store is down.
        self.store.stat(self.key).await?;
        Ok(())
    }
}

/// Whether this is the version that `record` tells of.
fn same(stat: &Stat, record: &Record) -> bool {
    let stored = stat.stored.map(|stored| stored.to_string());
    let version = match (&stat.etag, &record.etag) {
        (Some(now), Some(then)) => now == then,
        _ => stored == record.last_modified,
    };
    version && Some(stat.bytes) == record.bytes
}

/// What an error of a store means for a download.
pub(super) fn trouble(error: StorageError) -> Trouble {
    match error.kind {
        Kind::Changed => Trouble::Changed(error.what),
        kind if kind.may_pass() => {
            let (failure, wait) = (Failure::temporary(error.what), error.wait);
            Trouble::Again(failure, wait)
        }
        _ => Trouble::Final(error.into()),
    }
}
