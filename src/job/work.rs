//! What all parts of an item share, from the moment it is known what to make of it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::{SetOnce, watch};

use crate::format::keys::KeyRing;
use crate::model::item::Rank;
use crate::model::media::Media;
use crate::plan::hls::HlsPlan;
use crate::plan::settings::HlsSettings;
use crate::scratch::journal;
use crate::source::Arrival;

use super::chunk::Part;
use super::{Context, Report};

/// A decoder reads ahead of the picture it gives out, by less than this many seconds.
const READ_AHEAD: f64 = 1.0;

/// One item's work.
pub struct Work<'a> {
    /// The run.
    pub cx: &'a Context,
    /// What the user asked for.
    pub settings: &'a HlsSettings,
    /// What the source holds.
    pub media: Media,
    /// What is made of it.
    pub plan: HlsPlan,
    /// The source, or as much of it as is here.
    pub source: PathBuf,
    /// The item's work folder.
    pub folder: &'a Path,
    /// The item's id.
    pub id: &'a str,
    /// The item's rank.
    pub rank: Rank,
    /// The turn at which it began.
    pub turn: u64,
    /// Who hears of it.
    pub report: Report<'a>,
    /// Objects and bytes stored so far.
    pub stored: Stored,
    /// Which bytes are here while the source is still coming.
    pub arrival: Option<watch::Receiver<Option<Arrival>>>,
    /// Where it all goes, known when the source is whole.
    pub target: SetOnce<Target>,
}

/// Where a package goes. Its name depends on the whole source.
pub struct Target {
    /// The name of the generation.
    pub generation: String,
    /// Its place at the destination.
    pub place: String,
    /// Its keys, if it is encrypted.
    pub key_ring: Option<Arc<KeyRing>>,
    /// What earlier runs have made of it, by the parts' names.
    pub made: HashMap<String, journal::Chunk>,
}

/// A count of what is stored.
#[derive(Debug, Default)]
pub struct Stored {
    /// Objects.
    pub objects: AtomicU64,
    /// Their bytes.
    pub bytes: AtomicU64,
}

impl Work<'_> {
    /// Where it all goes. Nothing is stored before that is known.
    pub fn target(&self) -> &Target {
        self.target.get().expect("parts wait for the target before they are stored")
    }

    /// Waits until all bytes that `part` needs are here; for ever if that cannot be told.
    pub async fn has_arrived(&self, part: Part) {
        let bytes = self.bytes_of(part);
        let (Some(arrival), Some((from, to))) = (&self.arrival, bytes) else { return std::future::pending().await };
        let here = |arrival: &Option<Arrival>| arrival.as_ref().is_some_and(|arrival| arrival.has(from, to));
        // The sender goes when the download ends: the target is what to wait for then.
        if arrival.clone().wait_for(here).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The bytes from the key frame before a chunk to what a decoder reads after it. Sound needs all.
    fn bytes_of(&self, part: Part) -> Option<(u64, u64)> {
        let (Part::Video(chunk), Some(video)) = (part, &self.media.video) else { return None };
        let timeline = &video.timeline;
        let begin = self.plan.start + self.plan.grid.rate.seconds(chunk.first_frame);
        let end = begin + self.plan.grid.rate.seconds(chunk.frames);
        let key = timeline.keys.iter().rev().find(|key| **key <= begin + 1e-6)?;
        timeline.bytes_between(key - READ_AHEAD, end + READ_AHEAD)
    }
}
