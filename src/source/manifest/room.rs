//! Scratch space for the pieces of a manifest, whose bytes nobody knows before they are here.

use crate::model::failure::Failure;
use crate::model::item::Rank;
use crate::pipeline::lane::Permit;

use super::super::room::Room;
use super::Stop;

/// More space is taken in steps of this.
const STEP: u64 = 256 * 1024 * 1024;

/// What the pieces may fill, and what they do.
pub(super) struct Budget<'a> {
    room: Room<'a>,
    /// How often each byte lies there: twice where pieces are joined to another file.
    times: u64,
    used: u64,
    most: u64,
    shown: String,
}

impl<'a> Budget<'a> {
    /// `most` is the largest download.
    pub(super) fn new(room: Room<'a>, times: u64, most: u64, shown: String) -> Self {
        Self { room, times, used: 0, most, shown }
    }

    /// Waits for room for about so many bytes, with nothing in hand, and counts anew.
    pub(super) async fn begin(&mut self, bytes: Option<u64>) -> Result<(), Failure> {
        self.recount();
        let guess = bytes.map_or(STEP, |bytes| bytes.saturating_mul(self.times));
        self.room.reserve(guess.min(self.room.most())).await
    }

    /// Counts anew, in the same room.
    pub(super) fn recount(&mut self) {
        self.used = 0;
    }

    /// Bytes that are here and in their place.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// Counts bytes that are here.
    pub(super) fn add(&mut self, bytes: u64) -> Result<(), Stop> {
        self.used = self.used.saturating_add(bytes);
        if self.used > self.most {
            let what = format!("`{}` has more bytes than {}, which are allowed", self.shown, self.most);
            return Err(Stop::Failed(Failure::permanent(what)));
        }
        let needed = self.used.saturating_mul(self.times);
        if needed <= self.room.bytes() {
            return Ok(());
        }
        let most = self.room.most();
        self.room.check(needed).map_err(Stop::Failed)?;
        let more = needed.max(self.room.bytes().saturating_add(STEP)).min(most);
        if self.room.try_reserve(more).map_err(Stop::Failed)? {
            return Ok(());
        }
        Err(Stop::Short(self.used.saturating_mul(2)))
    }

    pub(super) fn finish(self, bytes: u64) -> Option<Permit<Rank>> {
        self.room.finish(bytes)
    }
}
