//! What the jobs of this process are doing right now: figures finer and fresher
//! than a queue keeps, and the course of the last hour.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::Serialize;

use crate::model::event::{Stage, Usage, What};

/// Samples of the lanes that are kept: an hour of one a second.
const SAMPLES: usize = 3600;

/// Stretches of work that are kept for the timeline.
const SPANS: usize = 2000;

/// A stage that was silent for so many seconds has paused; the next sign begins a new stretch.
const PAUSE: f64 = 3.0;

/// Over how many seconds a speed is smoothed.
const SMOOTH: f64 = 4.0;

/// One second of the lanes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// Milliseconds since 1970.
    pub at: i64,
    /// Part of the encoder threads that were busy, from 0 to 1.
    pub cpu: f64,
    /// Part of the time in which something was downloaded.
    pub download: f64,
    /// Part of the time in which something was stored.
    pub upload: f64,
    /// Downloaded bytes a second.
    pub bytes_in: f64,
    /// Stored bytes a second.
    pub bytes_out: f64,
    /// Bytes of scratch space in use.
    pub scratch: u64,
    /// Work that waits for the network, the CPU, and the destination.
    pub waiting: [u64; 3],
}

/// A stretch of one stage of one job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Span {
    /// The job.
    pub job: String,
    /// What it did.
    pub stage: Stage,
    /// From when, in milliseconds since 1970.
    pub from: i64,
    /// Until when.
    pub to: i64,
}

/// A running job in figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Bytes of the source that are here.
    pub downloaded: u64,
    /// All its bytes, if the server said.
    pub size: Option<u64>,
    /// Downloaded bytes a second.
    pub download_rate: f64,
    /// Seconds of the source.
    pub seconds: f64,
    /// Part encoded.
    pub encoded: f64,
    /// Seconds of the source that are encoded in a second.
    pub encode_rate: f64,
    /// Stored bytes.
    pub uploaded: u64,
    /// Stored objects, and all there will be.
    pub objects: [u64; 2],
    /// Stored bytes a second.
    pub upload_rate: f64,
    /// Seconds until it is done, as far as can be told.
    pub remaining: Option<f64>,
}

/// The board all jobs of this process write to.
pub struct Live {
    board: Mutex<Board>,
    /// The clock of spans and samples, which never jumps: milliseconds since 1970 at its start.
    begun: (Instant, i64),
}

#[derive(Default)]
struct Board {
    jobs: HashMap<String, Running>,
    samples: VecDeque<Sample>,
    spans: VecDeque<Span>,
    last: Option<Usage>,
    bytes_in: u64,
    bytes_out: u64,
    counted: (u64, u64),
    changed: u64,
}

#[derive(Default)]
struct Running {
    figures: Figures,
    chunks: u64,
    finished: u64,
    parts: HashMap<u64, f64>,
    speeds: [Speed; 3],
    /// Where the open stretch of each stage is among all spans.
    open: [Option<Span>; 3],
}

/// A smoothed rate of something that only grows.
#[derive(Clone, Copy, Default)]
struct Speed {
    last: Option<(f64, f64)>,
    rate: f64,
}

impl Speed {
    /// Takes in a new reading at second `at`.
    fn read(&mut self, at: f64, value: f64) -> f64 {
        match self.last {
            Some((then, before)) if at - then >= 0.2 => {
                let now = (value - before).max(0.0) / (at - then);
                let weight = if self.rate == 0.0 { 1.0 } else { ((at - then) / SMOOTH).min(1.0) };
                self.rate += (now - self.rate) * weight;
                self.last = Some((at, value));
            }
            Some(_) => {}
            None => self.last = Some((at, value)),
        }
        self.rate
    }
}

impl Live {
    /// An empty board; `now` is the time in milliseconds since 1970.
    pub fn new(now: i64) -> Self {
        Self { board: Mutex::default(), begun: (Instant::now(), now) }
    }

    /// A job begins here.
    pub fn began(&self, job: &str) {
        let mut board = self.board();
        board.jobs.insert(job.into(), Running::default());
        board.changed += 1;
    }

    /// Something happened to a job.
    pub fn hear(&self, job: &str, what: &What) {
        let (at, now) = (self.begun.0.elapsed().as_secs_f64(), self.now());
        let mut board = self.board();
        let Some(running) = board.jobs.get_mut(job) else { return };
        let before = (running.figures.downloaded, running.figures.uploaded);
        let closed = running.hear(job, what, at, now);
        let after = (running.figures.downloaded, running.figures.uploaded);
        board.bytes_in += after.0.saturating_sub(before.0);
        board.bytes_out += after.1.saturating_sub(before.1);
        board.changed += 1;
        board.keep(closed);
    }

    /// A job has left this process.
    pub fn ended(&self, job: &str) {
        let mut board = self.board();
        if let Some(running) = board.jobs.remove(job) {
            for span in running.open.into_iter().flatten() {
                board.keep(Some(span));
            }
        }
        board.changed += 1;
    }

    /// Takes in the state of the lanes, once a second.
    pub fn sample(&self, usage: &Usage) {
        let at = self.now();
        let mut board = self.board();
        if let Some(last) = board.last.replace(*usage) {
            let seconds = (usage.at - last.at).max(0.001);
            let part = |now: f64, then: f64, of: f64| ((now - then) / seconds / of.max(1.0)).clamp(0.0, 1.0);
            let counted = (board.bytes_in, board.bytes_out);
            let sample = Sample {
                at,
                cpu: part(usage.cpu.busy_seconds, last.cpu.busy_seconds, float(usage.cpu.capacity)),
                download: part(usage.network.active_seconds, last.network.active_seconds, 1.0),
                upload: part(usage.upload.active_seconds, last.upload.active_seconds, 1.0),
                bytes_in: float(counted.0 - board.counted.0) / seconds,
                bytes_out: float(counted.1 - board.counted.1) / seconds,
                scratch: usage.scratch.taken,
                waiting: [usage.network.waiting, usage.cpu.waiting, usage.upload.waiting],
            };
            board.counted = counted;
            if board.samples.len() == SAMPLES {
                board.samples.pop_front();
            }
            board.samples.push_back(sample);
        }
    }

    /// The newest state of the lanes, and the bytes in and out since the start.
    pub fn usage(&self) -> (Option<Usage>, u64, u64) {
        let board = self.board();
        (board.last, board.bytes_in, board.bytes_out)
    }

    /// The samples after `at`.
    pub fn samples(&self, after: i64) -> Vec<Sample> {
        self.board().samples.iter().filter(|sample| sample.at > after).copied().collect()
    }

    /// The stretches of work that ended after `after`, those that go on included.
    pub fn spans(&self, after: i64) -> Vec<Span> {
        let board = self.board();
        let open = board.jobs.values().flat_map(|running| running.open.iter().flatten());
        board.spans.iter().chain(open).filter(|span| span.to > after).cloned().collect()
    }

    /// The figures of every job that runs here.
    pub fn figures(&self) -> Vec<(String, Figures)> {
        self.board().jobs.iter().map(|(id, running)| (id.clone(), running.figures.clone())).collect()
    }

    /// A number that grows with every change.
    pub fn changed(&self) -> u64 {
        self.board().changed
    }

    fn now(&self) -> i64 {
        self.begun.1 + i64::try_from(self.begun.0.elapsed().as_millis()).unwrap_or(0)
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Board {
    fn keep(&mut self, span: Option<Span>) {
        let Some(span) = span else { return };
        if self.spans.len() == SPANS {
            self.spans.pop_front();
        }
        self.spans.push_back(span);
    }
}

impl Running {
    /// Takes in an event. Gives a stretch of work that is over with it.
    fn hear(&mut self, job: &str, what: &What, at: f64, now: i64) -> Option<Span> {
        let figures = &mut self.figures;
        let stage = match what {
            What::Downloading { bytes, total } => {
                (figures.downloaded, figures.size) = (*bytes, *total);
                Some(Stage::Download)
            }
            What::Downloaded { bytes } => {
                (figures.downloaded, figures.size) = (*bytes, Some(*bytes));
                Some(Stage::Download)
            }
            What::Planned { seconds, chunks, resumed, objects, .. } => {
                (self.chunks, self.finished, figures.seconds) = (*chunks, *resumed, *seconds);
                figures.objects[1] = *objects;
                self.parts.clear();
                None
            }
            What::ChunkStarted { chunk } => {
                self.parts.insert(*chunk, 0.0);
                Some(Stage::Encode)
            }
            What::ChunkProgress { chunk, part } => {
                self.parts.insert(*chunk, *part);
                Some(Stage::Encode)
            }
            What::ChunkEncoded { chunk, .. } | What::ChunkKept { chunk } => {
                self.parts.remove(chunk);
                self.finished += 1;
                Some(Stage::Encode)
            }
            What::Uploading { objects, bytes } => {
                (figures.objects[0], figures.uploaded) = (*objects, *bytes);
                Some(Stage::Upload)
            }
            _ => None,
        };
        if self.chunks > 0 {
            let done = float(self.finished) + self.parts.values().sum::<f64>();
            figures.encoded = (done / float(self.chunks)).clamp(0.0, 1.0);
        }
        let stage = stage?;
        self.rates(stage, at);
        self.stretch(job, stage, now)
    }

    fn rates(&mut self, stage: Stage, at: f64) {
        let figures = &mut self.figures;
        let speed = &mut self.speeds[stage as usize];
        match stage {
            Stage::Download => figures.download_rate = speed.read(at, float(figures.downloaded)),
            Stage::Encode => figures.encode_rate = speed.read(at, figures.encoded * figures.seconds),
            Stage::Upload => figures.upload_rate = speed.read(at, float(figures.uploaded)),
        }
        // The slowest of what is left says when it ends.
        let left = |whole: f64, rate: f64| (rate > 0.0).then(|| whole.max(0.0) / rate);
        let encode = left((1.0 - figures.encoded) * figures.seconds, figures.encode_rate);
        let size = figures.size.map_or(0.0, float);
        let download = left(size - float(figures.downloaded), figures.download_rate);
        figures.remaining = match (encode, download) {
            (Some(encode), Some(download)) => Some(encode.max(download)),
            (one, None) => one,
            // While nothing is planned, the encode is still unknown.
            (None, Some(_)) => None,
        };
    }

    fn stretch(&mut self, job: &str, stage: Stage, now: i64) -> Option<Span> {
        let open = &mut self.open[stage as usize];
        match open {
            Some(span) if float_ms(now - span.to) <= PAUSE => {
                span.to = now;
                None
            }
            _ => open.replace(Span { job: job.into(), stage, from: now, to: now }),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn float(number: u64) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn float_ms(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_followed_from_its_first_byte_to_its_last_object() {
        let mut running = Running::default();
        let hear = |running: &mut Running, at: f64, what: &What| {
            #[expect(clippy::cast_possible_truncation, reason = "small")]
            running.hear("j", what, at, (at * 1000.0) as i64)
        };
        hear(&mut running, 0.0, &What::Downloading { bytes: 0, total: Some(1000) });
        hear(&mut running, 1.0, &What::Downloading { bytes: 500, total: Some(1000) });
        assert!((running.figures.download_rate - 500.0).abs() < 1e-6);
        assert_eq!(running.figures.remaining, None, "nothing is known of the encode");
        let planned =
            What::Planned { seconds: 10.0, chunks: 2, resumed: 0, renditions: 1, objects: 9, summary: "".into() };
        hear(&mut running, 1.5, &planned);
        hear(&mut running, 2.0, &What::ChunkStarted { chunk: 0 });
        hear(&mut running, 3.0, &What::ChunkProgress { chunk: 0, part: 0.5 });
        assert!((running.figures.encoded - 0.25).abs() < 1e-6);
        assert!((running.figures.encode_rate - 2.5).abs() < 1e-6);
        assert_eq!(running.figures.remaining.map(f64::round), Some(3.0));
        let closed = hear(&mut running, 60.0, &What::ChunkEncoded { chunk: 0, cpu_seconds: 1.0 });
        assert_eq!(closed, Some(Span { job: "j".into(), stage: Stage::Encode, from: 2000, to: 3000 }));
    }

    #[test]
    fn the_board_counts_bytes_of_jobs_that_are_gone() {
        let live = Live::new(0);
        live.began("a");
        live.hear("a", &What::Downloading { bytes: 70, total: None });
        live.ended("a");
        live.hear("a", &What::Downloading { bytes: 99, total: None });
        assert_eq!(live.usage().1, 70);
        assert_eq!(live.spans(-1).len(), 1);
        assert!(live.figures().is_empty());
    }
}
