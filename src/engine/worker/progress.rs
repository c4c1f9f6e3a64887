//! From what a job tells to how far it is.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::event::What;
use crate::queue::Progress;

/// A wait between two tries may last this much longer than announced.
const SLACK: Duration = Duration::from_secs(10);

/// Adds up a job's events.
#[derive(Debug, Default)]
pub struct Tracker {
    /// How far it is.
    pub progress: Progress,
    /// A wait that the job announced: until then silence is no bad sign.
    pub excused: Option<Instant>,
    /// Signs of life that the worker has counted.
    pub(super) counted: u64,
    chunks: u64,
    encoded: u64,
    objects: u64,
    parts: HashMap<u64, f64>,
}

impl Tracker {
    /// Takes in an event. Says whether it is a sign of life.
    pub fn hear(&mut self, what: &What) -> bool {
        match what {
            What::Named { id, title } => {
                self.progress.id = Some(id.to_string());
                self.progress.title = title.as_ref().map(ToString::to_string);
            }
            What::Downloading { bytes, total } => {
                self.progress.download = total.filter(|total| *total > 0).map(|total| share(*bytes, total));
            }
            What::Downloaded { .. } => self.progress.download = Some(1.0),
            What::Searching { round, .. } => {
                self.progress.note = Some(format!("the quality is looked for, round {round}"));
            }
            What::Planned { chunks, resumed, objects, summary, .. } => {
                (self.chunks, self.encoded, self.objects) = (*chunks, *resumed, *objects);
                self.parts.clear();
                self.progress.plan = Some(summary.to_string());
                self.encoding();
            }
            What::ChunkStarted { chunk } => drop(self.parts.insert(*chunk, 0.0)),
            What::ChunkProgress { chunk, part } => {
                self.parts.insert(*chunk, *part);
                self.encoding();
            }
            What::ChunkEncoded { chunk, .. } | What::ChunkKept { chunk } => {
                self.parts.remove(chunk);
                self.encoded += 1;
                self.encoding();
            }
            What::Uploading { objects, .. } if self.objects > 0 => {
                self.progress.upload = Some(share(*objects, self.objects));
            }
            What::Retrying { why, wait, .. } => {
                self.progress.note = Some(why.clone());
                self.excused = Some(Instant::now() + Duration::from_secs_f64(wait.clamp(0.0, 86_400.0)) + SLACK);
                return false;
            }
            What::Warning { message } => {
                self.progress.note = Some(message.clone());
                return false;
            }
            _ => {}
        }
        self.excused = None;
        true
    }

    #[expect(clippy::cast_precision_loss, reason = "chunks are few")]
    fn encoding(&mut self) {
        let part: f64 = self.parts.values().sum();
        if self.chunks > 0 {
            let share = (self.encoded as f64 + part) / self.chunks as f64;
            self.progress.encode = Some(share.clamp(0.0, 1.0));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn share(part: u64, whole: u64) -> f64 {
    (part as f64 / whole as f64).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::Stage;

    #[tokio::test]
    async fn events_become_shares_and_signs_of_life() {
        let mut tracker = Tracker::default();
        assert!(tracker.hear(&What::Downloading { bytes: 25, total: Some(100) }));
        let planned =
            What::Planned { seconds: 9.0, chunks: 4, resumed: 1, renditions: 1, objects: 10, summary: "360p".into() };
        assert!(tracker.hear(&planned));
        tracker.hear(&What::ChunkProgress { chunk: 2, part: 0.5 });
        tracker.hear(&What::Uploading { objects: 5, bytes: 1 });
        let progress = &tracker.progress;
        assert_eq!((progress.download, progress.encode, progress.upload), (Some(0.25), Some(0.375), Some(0.5)));
        tracker.hear(&What::ChunkEncoded { chunk: 2, cpu_seconds: 1.0 });
        assert_eq!(tracker.progress.encode, Some(0.5));
        let retrying = What::Retrying { stage: Stage::Download, why: "503".into(), wait: 120.0 };
        assert!(!tracker.hear(&retrying) && tracker.excused.is_some());
        assert!(tracker.hear(&What::Downloading { bytes: 1, total: None }) && tracker.excused.is_none());
    }
}
