//! What is known of a run from its events: the state that all displays draw.

use std::collections::BTreeMap;

use super::text::clean;
use crate::model::event::{Event, What};

/// An item between list and destination.
#[derive(Clone, Debug)]
pub(super) struct Video {
    /// Its id, or its input while the id is not known. Safe to print.
    pub(super) name: String,
    /// Its title, if any. Safe to print.
    pub(super) title: String,
    /// When it was taken from the list.
    pub(super) since: f64,
    /// Bytes of the source here, and in all if that is known.
    pub(super) bytes: (u64, Option<u64>),
    /// Whether the source is whole.
    pub(super) downloaded: bool,
    /// The round in which its quality is looked for; 0 is none.
    pub(super) search: u64,
    /// What is made of it.
    pub(super) plan: Option<Plan>,
    /// Objects and bytes at the destination.
    pub(super) stored: (u64, u64),
    /// Why and until when it waits for another try.
    pub(super) retry: Option<(String, f64)>,
    rate: Rate,
}

/// What is made of an item, and how far it is.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Seconds of source.
    pub(super) seconds: f64,
    /// Renditions of the picture.
    pub(super) renditions: u64,
    chunks: u64,
    resumed: u64,
    encoded: u64,
    running: BTreeMap<u64, f64>,
    encoding_since: Option<f64>,
    objects: u64,
}

/// Bytes a second, smoothed.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    at: f64,
    bytes: u64,
    per_second: f64,
}

/// How many items ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Totals {
    pub(super) done: u64,
    pub(super) already: u64,
    pub(super) failed: u64,
    pub(super) parked: u64,
    /// Seconds of source in the items that are done.
    pub(super) source_seconds: f64,
}

impl Totals {
    /// Items that nothing follows for.
    pub(super) fn ended(&self) -> u64 {
        self.done + self.already + self.failed + self.parked
    }
}

/// All items in flight and the sums over those that ended.
#[derive(Debug)]
pub(super) struct Board {
    /// Items in flight, by number.
    pub(super) videos: BTreeMap<u64, Video>,
    /// The others.
    pub(super) totals: Totals,
    /// Items of the run in all.
    pub(super) items: u64,
}

impl Board {
    /// A run of `items`, none of them begun.
    pub(super) fn new(items: u64) -> Self {
        Self { videos: BTreeMap::new(), totals: Totals::default(), items }
    }

    /// Takes in an event. Returns the item if nothing follows for it.
    pub(super) fn event(&mut self, event: &Event) -> Option<Video> {
        if let What::Started { input } = &event.what {
            self.videos.insert(event.item, Video::new(input, event.at));
            return None;
        }
        if event.what.is_last() {
            return Some(self.end(event));
        }
        let video = self.videos.get_mut(&event.item)?;
        video.event(event);
        None
    }

    fn end(&mut self, event: &Event) -> Video {
        // An item that was never started can still be parked.
        let video = self.videos.remove(&event.item).unwrap_or_else(|| Video::new("", event.at));
        match event.what {
            What::Done { .. } => {
                self.totals.done += 1;
                self.totals.source_seconds += video.plan.as_ref().map_or(0.0, |plan| plan.seconds);
            }
            What::AlreadyDone { .. } | What::Would { .. } => self.totals.already += 1,
            What::Failed { .. } => self.totals.failed += 1,
            _ => self.totals.parked += 1,
        }
        video
    }

    /// Seconds until the run ends, if `at` seconds of it allow a guess.
    ///
    /// Downloads and encodes each go on at their rate so far; the later end counts.
    pub(super) fn eta(&self, at: f64) -> Option<f64> {
        let ended = as_f64(self.totals.done + self.totals.failed);
        let all = as_f64(self.items.saturating_sub(self.totals.already));
        let sum = |part: fn(&Video) -> f64| ended + self.videos.values().map(part).sum::<f64>();
        let rest = |done: f64| at * (all - done) / done;
        let slower = sum(Video::download_part).min(sum(Video::encode_part));
        (at > 2.0 && slower > 0.02).then(|| rest(slower))
    }
}

impl Video {
    fn new(input: &str, at: f64) -> Self {
        Self {
            name: clean(input),
            title: String::new(),
            since: at,
            bytes: (0, None),
            downloaded: false,
            search: 0,
            plan: None,
            stored: (0, 0),
            retry: None,
            rate: Rate { at, ..Rate::default() },
        }
    }

    fn event(&mut self, event: &Event) {
        if !matches!(event.what, What::Retrying { .. } | What::Warning { .. }) {
            self.retry = None;
        }
        match &event.what {
            What::Named { id, title } => {
                self.name = clean(id);
                self.title = title.as_deref().map(clean).unwrap_or_default();
            }
            What::Downloading { bytes, total } => {
                self.bytes = (*bytes, *total);
                self.rate.add(event.at, *bytes);
            }
            What::Downloaded { bytes } => {
                self.bytes = (*bytes, Some(*bytes));
                self.downloaded = true;
            }
            What::Searching { round, .. } => (self.downloaded, self.search) = (true, *round),
            What::Planned { .. } => {
                self.downloaded = true;
                self.plan = Plan::of(&event.what);
            }
            What::Uploading { objects, bytes } => self.stored = (*objects, *bytes),
            What::Retrying { why, wait, .. } => self.retry = Some((clean(why), event.at + wait)),
            other => {
                if let Some(plan) = &mut self.plan {
                    plan.event(event.at, other);
                }
            }
        }
    }

    /// Part of the source that is here, from 0 to 1.
    pub(super) fn download_part(&self) -> f64 {
        match self.bytes {
            _ if self.downloaded => 1.0,
            (bytes, Some(total)) if total > 0 => (as_f64(bytes) / as_f64(total)).min(1.0),
            _ => 0.0,
        }
    }

    /// Part that is encoded, from 0 to 1.
    pub(super) fn encode_part(&self) -> f64 {
        self.plan.as_ref().map_or(0.0, Plan::part)
    }

    /// Part of the objects that are stored, from 0 to 1.
    pub(super) fn upload_part(&self) -> f64 {
        let all = self.plan.as_ref().map_or(1, |plan| plan.objects.max(1));
        (as_f64(self.stored.0) / as_f64(all)).min(0.99)
    }

    /// Bytes a second of the download.
    pub(super) fn download_rate(&self) -> f64 {
        self.rate.per_second
    }

    /// Seconds until it is downloaded or, once it is, until it is encoded.
    pub(super) fn eta(&self, at: f64) -> Option<f64> {
        if let Some(plan) = self.plan.as_ref().filter(|_| self.downloaded) {
            return plan.eta(at);
        }
        let (bytes, total) = self.bytes;
        let rest = as_f64(total?.saturating_sub(bytes));
        (self.rate.per_second > 0.0).then(|| rest / self.rate.per_second)
    }
}

impl Plan {
    fn of(what: &What) -> Option<Self> {
        let What::Planned { seconds, chunks, resumed, renditions, objects, .. } = what else { return None };
        Some(Self {
            seconds: *seconds,
            renditions: *renditions,
            chunks: *chunks,
            resumed: *resumed,
            encoded: 0,
            running: BTreeMap::new(),
            encoding_since: None,
            objects: *objects,
        })
    }

    fn event(&mut self, at: f64, what: &What) {
        match what {
            What::ChunkStarted { chunk } => {
                self.encoding_since.get_or_insert(at);
                self.running.insert(*chunk, 0.0);
            }
            What::ChunkProgress { chunk, part } => {
                self.running.insert(*chunk, part.clamp(0.0, 1.0));
            }
            What::ChunkEncoded { chunk, .. } | What::ChunkKept { chunk } => {
                self.running.remove(chunk);
                self.encoded += 1;
            }
            _ => {}
        }
    }

    /// Chunks made by this run, in parts too.
    fn made(&self) -> f64 {
        as_f64(self.encoded) + self.running.values().sum::<f64>()
    }

    fn part(&self) -> f64 {
        ((as_f64(self.resumed) + self.made()) / as_f64(self.chunks.max(1))).min(1.0)
    }

    /// Whether a chunk is being encoded.
    pub(super) fn is_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// Whether all chunks are encoded.
    pub(super) fn is_encoded(&self) -> bool {
        self.resumed + self.encoded >= self.chunks
    }

    /// Seconds of source encoded a second.
    pub(super) fn speed(&self, at: f64) -> f64 {
        let Some(since) = self.encoding_since.filter(|since| at > *since) else { return 0.0 };
        self.seconds * self.made() / as_f64(self.chunks.max(1)) / (at - since)
    }

    fn eta(&self, at: f64) -> Option<f64> {
        let speed = self.speed(at);
        (speed > 0.0).then(|| self.seconds * (1.0 - self.part()) / speed)
    }
}

impl Rate {
    /// The newest half second counts a quarter: quick to follow, slow enough to read.
    fn add(&mut self, at: f64, bytes: u64) {
        let passed = at - self.at;
        if passed < 0.5 && self.per_second > 0.0 {
            return;
        }
        let newest = as_f64(bytes.saturating_sub(self.bytes)) / passed.max(0.05);
        self.per_second = if self.per_second > 0.0 { 0.75 * self.per_second + 0.25 * newest } else { newest };
        (self.at, self.bytes) = (at, bytes);
    }
}

#[expect(clippy::cast_precision_loss, reason = "only shown to people, as parts and rates")]
pub(super) fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::failure::Failure;

    fn feed(board: &mut Board, at: f64, item: u64, what: What) -> Option<Video> {
        board.event(&Event { at, item, what })
    }

    #[test]
    fn a_video_is_followed_from_list_to_destination() {
        let mut board = Board::new(2);
        feed(&mut board, 0.0, 0, What::Started { input: "https://host/a\u{1b}.mp4".into() });
        assert_eq!(board.videos[&0].name, "https://host/a\u{fffd}.mp4");
        feed(&mut board, 0.5, 0, What::Downloading { bytes: 500, total: Some(1000) });
        assert!((board.videos[&0].download_part() - 0.5).abs() < 1e-9);
        assert_eq!(board.videos[&0].eta(0.5), Some(0.5));
        feed(&mut board, 1.0, 0, What::Downloaded { bytes: 1000 });
        let summary = "720p 360p + audio".into();
        feed(
            &mut board,
            1.0,
            0,
            What::Planned { seconds: 60.0, chunks: 4, resumed: 1, renditions: 2, objects: 33, summary },
        );
        feed(&mut board, 1.0, 0, What::ChunkStarted { chunk: 1 });
        feed(&mut board, 2.0, 0, What::ChunkProgress { chunk: 1, part: 0.5 });
        let video = &board.videos[&0];
        assert!((video.encode_part() - 0.375).abs() < 1e-9);
        assert!((video.plan.as_ref().unwrap().speed(2.0) - 7.5).abs() < 1e-9);
        assert_eq!(video.plan.as_ref().unwrap().renditions, 2);
        feed(&mut board, 3.0, 0, What::Uploading { objects: 11, bytes: 99 });
        assert!((board.videos[&0].upload_part() - 1.0 / 3.0).abs() < 1e-9);
        let done = feed(&mut board, 4.0, 0, What::Done { master: "m".into(), objects: 34, bytes: 99 });
        assert!(done.is_some() && board.videos.is_empty());
        assert_eq!(board.eta(4.0), Some(4.0));
        feed(&mut board, 5.0, 1, What::Failed { failure: Failure::permanent("no") });
        assert_eq!((board.totals.ended(), board.totals.failed), (2, 1));
    }
}
