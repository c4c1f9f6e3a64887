//! `--report FILE.html`: collects what a run did, in bounded memory, and
//! writes the page about it when the run is over.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::report_page;
use super::text::{clean, fit};
use super::trouble::Trouble;
use crate::engine::{Listener, Summary};
use crate::model::event::{Event, Usage, What};

/// Videos that are remembered one by one; later ones are only counted.
const MOST_VIDEOS: usize = 20_000;

/// Samples of the lanes that are kept, however long the run.
const MOST_SAMPLES: usize = 600;

/// Longest text that is kept of a title or an error.
const LONGEST_TEXT: usize = 300;

/// Everything the page shows.
#[derive(Debug)]
pub(super) struct Report {
    /// Videos by number.
    pub(super) videos: BTreeMap<u64, Row>,
    /// Videos beyond those that are remembered.
    pub(super) unseen: u64,
    /// The lanes over time, evenly spread.
    pub(super) samples: Vec<Usage>,
    /// Every so many samples one is kept.
    stride: u64,
    ticks: u64,
}

/// What happened to one video.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    /// Its id, or its input.
    pub(super) name: String,
    /// Its title, if any.
    pub(super) title: String,
    /// When it was taken from the list, and when nothing followed.
    pub(super) span: Span,
    /// When its source came in.
    pub(super) download: Option<Span>,
    /// When its chunks were encoded.
    pub(super) encode: Option<Span>,
    /// When its objects were stored.
    pub(super) upload: Option<Span>,
    /// Bytes of the source.
    pub(super) bytes: u64,
    /// Seconds of source.
    pub(super) seconds: f64,
    /// What was made.
    pub(super) plan: String,
    /// CPU seconds of its encoders.
    pub(super) cpu_seconds: f64,
    /// Times a try failed and another followed.
    pub(super) retries: u64,
    /// How it ended.
    pub(super) outcome: Outcome,
}

/// From when to when, in seconds of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Span {
    pub(super) from: f64,
    pub(super) to: f64,
}

/// How a video ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It did not.
    #[default]
    Open,
    /// Published.
    Done,
    /// An earlier run had published it.
    Already,
    /// Given up, and why.
    Failed(String),
    /// Put aside.
    Parked,
}

/// Listens on behalf of a report. Clones fill the same one.
#[derive(Clone, Default)]
pub(super) struct Collector {
    report: Arc<Mutex<Report>>,
}

impl Collector {
    /// The report so far; what follows goes into a new one.
    pub(super) fn take(&self) -> Report {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Report> {
        // A report is never half changed across a panic that matters.
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for Collector {
    fn event(&mut self, event: &Event) {
        self.lock().event(event);
    }

    fn tick(&mut self, usage: &Usage) {
        self.lock().tick(usage);
    }
}

impl Default for Report {
    fn default() -> Self {
        Self { videos: BTreeMap::new(), unseen: 0, samples: Vec::new(), stride: 1, ticks: 0 }
    }
}

impl Report {
    pub(super) fn event(&mut self, event: &Event) {
        if !self.videos.contains_key(&event.item) && self.videos.len() >= MOST_VIDEOS {
            self.unseen += u64::from(event.what.is_last());
            return;
        }
        let row = self
            .videos
            .entry(event.item)
            .or_insert_with(|| Row { span: Span { from: event.at, to: event.at }, ..Row::default() });
        row.event(event);
    }

    pub(super) fn tick(&mut self, usage: &Usage) {
        if self.ticks.is_multiple_of(self.stride) {
            self.samples.push(*usage);
        }
        self.ticks += 1;
        if self.samples.len() > MOST_SAMPLES {
            // Every sample holds sums since the begin, so leaving out every other one loses only detail.
            let mut odd = true;
            self.samples.retain(|_| {
                odd = !odd;
                !odd
            });
            self.stride *= 2;
        }
    }

    /// Writes the page; a file of that name stays whole until the new one is.
    pub(super) fn write(mut self, file: &Path, summary: &Summary, to: &str) -> Result<(), Trouble> {
        if self.samples.last().is_none_or(|last| last.at < summary.usage.at) {
            self.samples.push(summary.usage);
        }
        let page = report_page::page(&self, summary, to);
        write_page(file, &page)
    }
}

/// Writes a page; a file of that name stays whole until the new one is.
pub(super) fn write_page(file: &Path, page: &str) -> Result<(), Trouble> {
    let mut fresh = file.as_os_str().to_owned();
    fresh.push(".part");
    let write = || {
        let mut part = std::fs::File::create(&fresh)?;
        part.write_all(page.as_bytes())?;
        part.sync_all()?;
        std::fs::rename(&fresh, file)
    };
    write().map_err(|error| {
        let shown = file.to_string_lossy();
        Trouble::environment(format!("could not write the report `{shown}`")).because(&error)
    })
}

impl Row {
    /// Seconds in which something was done for it, waits left out.
    pub(super) fn work_seconds(&self) -> f64 {
        [self.download, self.encode, self.upload].into_iter().flatten().map(Span::seconds).sum()
    }

    fn event(&mut self, event: &Event) {
        let at = event.at;
        self.span.to = self.span.to.max(at);
        match &event.what {
            What::Started { input } => self.name = kept(input),
            What::Named { id, title } => {
                self.name = kept(id);
                self.title = title.as_deref().map(kept).unwrap_or_default();
            }
            What::Downloading { bytes, .. } | What::Downloaded { bytes } => {
                self.bytes = *bytes;
                Span::grow(&mut self.download, at);
            }
            What::Planned { seconds, summary, .. } => (self.seconds, self.plan) = (*seconds, kept(summary)),
            What::ChunkStarted { .. } | What::ChunkProgress { .. } => Span::grow(&mut self.encode, at),
            What::ChunkEncoded { cpu_seconds, .. } => {
                self.cpu_seconds += cpu_seconds;
                Span::grow(&mut self.encode, at);
            }
            What::Uploading { .. } => Span::grow(&mut self.upload, at),
            What::Retrying { .. } => self.retries += 1,
            What::Done { .. } => {
                Span::grow(&mut self.upload, at);
                self.outcome = Outcome::Done;
            }
            What::AlreadyDone { .. } => self.outcome = Outcome::Already,
            What::Failed { failure } => self.outcome = Outcome::Failed(kept(&failure.what)),
            What::Parked => self.outcome = Outcome::Parked,
            What::Searching { .. } | What::ChunkKept { .. } | What::Warning { .. } | What::Would { .. } => {}
        }
    }
}

impl Span {
    fn grow(span: &mut Option<Self>, at: f64) {
        span.get_or_insert(Self { from: at, to: at }).to = at;
    }

    /// Its length in seconds.
    pub(super) fn seconds(self) -> f64 {
        self.to - self.from
    }
}

fn kept(text: &str) -> String {
    fit(&clean(text), LONGEST_TEXT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_stay_few_and_evenly_spread() {
        let mut report = Report::default();
        for tick in 0..100_000_u32 {
            report.tick(&Usage { at: f64::from(tick) / 4.0, ..Usage::default() });
        }
        assert!((300..=600).contains(&report.samples.len()), "{}", report.samples.len());
        let steps: Vec<f64> = report.samples.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
        assert!(steps.iter().all(|step| (step - steps[0]).abs() < 1e-9));
    }

    #[test]
    fn videos_beyond_the_limit_are_counted_only() {
        let mut report = Report::default();
        for item in 0..20_005 {
            report.event(&Event { at: 1.0, item, what: What::Parked });
        }
        assert_eq!((report.videos.len(), report.unseen), (MOST_VIDEOS, 5));
    }
}
