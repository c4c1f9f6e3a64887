//! Scratch space for one download.
//!
//! Nobody waits for room while holding some: who needs more than is free gives
//! all back and begins again with enough. So downloads cannot block each other
//! for ever.

use futures_util::FutureExt as _;

use crate::model::failure::Failure;
use crate::model::item::Rank;
use crate::pipeline::lane::{Lane, Permit};

use super::FetchContext;

/// The bytes of scratch space that one download may fill.
pub(super) struct Room<'a> {
    lane: &'a Lane<Rank>,
    rank: Rank,
    largest: u64,
    shown: String,
    permit: Option<Permit<Rank>>,
}

impl<'a> Room<'a> {
    /// No room yet, for a download of at most `largest` bytes.
    pub(super) fn new(context: &FetchContext<'a>, largest: u64, shown: String) -> Self {
        Self { lane: context.room, rank: context.rank, largest, shown, permit: None }
    }

    /// How many bytes are reserved.
    pub(super) fn bytes(&self) -> u64 {
        self.permit.as_ref().map_or(0, Permit::count)
    }

    /// The most that can ever be reserved.
    pub(super) fn most(&self) -> u64 {
        self.lane.stats().capacity.min(self.largest)
    }

    /// Refuses what can never fit.
    pub(super) fn check(&self, bytes: u64) -> Result<(), Failure> {
        let capacity = self.lane.stats().capacity;
        if bytes > self.largest {
            return Err(Failure::permanent(format!(
                "`{}` has {bytes} bytes or more, and at most {} are allowed",
                self.shown, self.largest
            )));
        }
        if bytes > capacity {
            return Err(Failure::environment(format!(
                "`{}` needs {bytes} bytes of scratch space, which is limited to {capacity}",
                self.shown
            ))
            .hint("allow more scratch space"));
        }
        Ok(())
    }

    /// Reserves `bytes` in all, if they are free now.
    pub(super) fn try_reserve(&mut self, bytes: u64) -> Result<bool, Failure> {
        self.check(bytes)?;
        let more = bytes.saturating_sub(self.bytes());
        if more == 0 {
            return Ok(true);
        }
        let Some(permit) = self.lane.acquire(self.rank, more).now_or_never() else { return Ok(false) };
        match &mut self.permit {
            Some(held) => held.join(permit),
            None => self.permit = Some(permit),
        }
        Ok(true)
    }

    /// Reserves `bytes` in all. Gives back what is held before it waits; hold no other permit.
    pub(super) async fn reserve(&mut self, bytes: u64) -> Result<(), Failure> {
        if !self.try_reserve(bytes)? {
            self.permit = None;
            self.permit = Some(self.lane.acquire(self.rank, bytes).await);
        }
        Ok(())
    }

    /// The permit of a download that turned out to have `bytes`.
    pub(super) fn finish(mut self, bytes: u64) -> Option<Permit<Rank>> {
        if let Some(permit) = &mut self.permit {
            permit.shrink(bytes);
        }
        self.permit
    }
}
