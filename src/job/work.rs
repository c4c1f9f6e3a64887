//! What all parts of an item share, from the moment it is known what to make of it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::{SetOnce, watch};

use crate::format::keys::KeyRing;
use crate::model::failure::Failure;
use crate::model::fault;
use crate::model::item::Rank;
use crate::model::media::{Chapter, Media};
use crate::plan::grid::Chunk;
use crate::plan::hls::HlsPlan;
use crate::plan::piece::{Piece, pieces};
use crate::plan::settings::HlsSettings;
use crate::scratch::journal;
use crate::source::Arrival;
use crate::source::beside::Beside;
use crate::source::file::Seal;

use super::copy::Original;
use super::film::Led;
use super::guest::Rest;
use super::reuse::{Earlier, Recipes};
use super::{Context, Report};

/// Packets that a decoder takes before it gives out the picture of one, and that are read while its
/// output is shut: two or three as a rule. Where it takes more, the piece is encoded again later.
const READ_AHEAD: usize = 8;

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
    /// The source as a rendition, if it is one.
    pub original: Option<Arc<Original>>,
    /// The source, or as much of it as is here.
    pub source: PathBuf,
    /// The subtitles beside the source.
    pub beside: &'a Beside,
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
    /// The serial of the source, if it was downloaded.
    pub serial: Option<String>,
    /// By which a source that is used in place is known to be the same still.
    pub seal: Option<Seal>,
    /// Which bytes are here while the source is still coming.
    pub arrival: Option<watch::Receiver<Option<Arrival>>>,
    /// Where it all goes, known when the source is whole.
    pub target: SetOnce<Target>,
    /// Whether another worker leads the film, and this one makes a chunk of it.
    pub guest: bool,
    /// How to get the rest of a source of which only some is here.
    pub rest: Option<&'a Rest<'a>>,
}

/// Where a package goes. Its name depends on the whole source.
pub struct Target {
    /// The name of the generation.
    pub generation: String,
    /// Its place at the destination.
    pub place: String,
    /// Its keys, if it is encrypted.
    pub key_ring: Option<Arc<KeyRing>>,
    /// The tag of the pointer that was there when this was aimed, if there was one.
    pub pointer: Option<String>,
    /// Its chapters.
    pub chapters: Vec<Chapter>,
    /// How its renditions are made.
    pub recipes: Recipes,
    /// What was published before of the same source, if it may be taken over.
    pub earlier: Option<Earlier>,
    /// What earlier runs have made of it, by the parts' names.
    pub made: HashMap<String, journal::Chunk>,
    /// The film, if other workers make its chunks.
    pub led: Option<Arc<Led>>,
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

    /// Fails if the source is not the one that was hashed any more.
    pub(super) async fn source_is_the_same(&self) -> Result<(), Failure> {
        match &self.seal {
            Some(seal) => seal.check().await,
            None => Ok(()),
        }
    }

    /// What one encoder after another makes of a chunk.
    pub fn pieces(&self, chunk: &Chunk) -> Vec<Piece> {
        let timeline = self.media.video.as_ref().map(|video| &video.timeline);
        timeline.map_or(Vec::new(), |timeline| pieces(&self.plan, timeline, chunk, self.settings))
    }

    /// Waits until all bytes that a piece needs are here; for ever if that cannot be told.
    pub async fn has_arrived(&self, piece: Option<&Piece>) {
        let bytes = piece.and_then(|piece| self.bytes_of(piece));
        let (Some(arrival), Some((from, to))) = (&self.arrival, bytes) else { return std::future::pending().await };
        let here = |arrival: &Option<Arrival>| arrival.as_ref().is_some_and(|arrival| arrival.has(from, to));
        // The sender goes when the download ends: the target is what to wait for then.
        if arrival.clone().wait_for(here).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// All bytes that a chunk needs; none if that cannot be told.
    pub(super) fn bytes_of_chunk(&self, chunk: &Chunk) -> Option<(u64, u64)> {
        let pieces = self.pieces(chunk).into_iter();
        let bytes = pieces.map(|piece| self.bytes_of(&piece)).collect::<Option<Vec<(u64, u64)>>>()?;
        bytes.into_iter().reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))
    }

    /// The bytes from the key frame before a piece to what a decoder reads after it.
    fn bytes_of(&self, piece: &Piece) -> Option<(u64, u64)> {
        let timeline = &self.media.video.as_ref()?.timeline;
        let rate = self.plan.grid.rate;
        let begin = self.plan.start + rate.seconds(piece.first_frame);
        let key = timeline.keys.iter().rev().find(|key| **key <= begin + 1e-6)?;
        let end = begin + rate.seconds(piece.frames);
        let (from, to) = timeline.bytes_between(key - 1e-6, end, READ_AHEAD)?;
        Some(if fault::mutant("too-early") { (0, 1) } else { (from, to) })
    }
}
