//! `forebay worker` from its request to its end.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::run_job::Workshop;
use super::{queue, state_folder};
use crate::config::Config;
use crate::config::layer::Flag;
use crate::engine::stop::Stop;
use crate::engine::trace::export::{Exporter, Traced};
use crate::engine::worker::{News, Runner, WorkerSettings, WorkerSummary, work};
use crate::model::failure::Failure;

/// What `forebay worker` was asked to do.
#[derive(Clone, Debug)]
pub struct WorkerRequest {
    /// The flags that are settings.
    pub flags: Vec<Flag>,
    /// What `lanes.threads = 0` means.
    pub cores: NonZeroU64,
    /// The state folder, if the user chose one.
    pub state: Option<PathBuf>,
    /// Take one job at most.
    pub once: bool,
}

/// What a worker says when it begins.
#[derive(Clone, Debug)]
pub struct Introduction {
    /// Its name.
    pub name: String,
    /// Its queue, with no password.
    pub queue: String,
    /// Its labels.
    pub labels: BTreeSet<String>,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// Takes jobs until a signal comes.
pub async fn worker(
    request: WorkerRequest,
    begin: impl FnOnce(&Introduction),
    listener: &mut (dyn FnMut(&News) + Send),
) -> Result<WorkerSummary, Failure> {
    let state = state_folder(request.state.as_deref(), None);
    let workshop = Workshop::new(request.flags, request.cores, state)?;
    let config = workshop.config().clone();
    let stop = Stop::on_signals(config.worker.grace)
        .map_err(|error| Failure::environment(format!("signals cannot be caught: {error}")))?;
    let queue = queue::open(&config).await?;
    // A queue that cannot be reached yet is no reason to end: the worker says so, and waits.
    let warnings = queue.warnings().await.unwrap_or_default();
    let settings = settings(&config, request.once);
    let labels = settings.labels.clone();
    begin(&Introduction { name: settings.name.clone(), queue: queue.address(), labels, warnings });
    workshop.join(&queue).await;
    let (runner, exporter) = traced(Arc::new(workshop), &config)?;
    let summary = work(queue, runner, settings, stop, listener).await;
    told(exporter).await;
    Ok(summary)
}

/// A runner whose jobs are told to the collector, if there is one.
pub(super) fn traced(runner: Arc<dyn Runner>, config: &Config) -> Result<(Arc<dyn Runner>, Option<Exporter>), Failure> {
    let Some(endpoint) = &config.worker.otlp else { return Ok((runner, None)) };
    let name = if config.worker.name.is_empty() { default_name() } else { config.worker.name.clone() };
    let exporter = Exporter::start(endpoint.as_str(), &name)?;
    Ok((Arc::new(Traced::new(runner, exporter.clone())), Some(exporter)))
}

/// Sends the last spans.
pub(super) async fn told(exporter: Option<Exporter>) {
    if let Some(exporter) = exporter {
        exporter.close().await;
    }
}

/// How a worker works, by the settings.
pub fn settings(config: &Config, once: bool) -> WorkerSettings {
    let worker = &config.worker;
    WorkerSettings {
        name: if worker.name.is_empty() { default_name() } else { worker.name.clone() },
        labels: worker.labels.clone(),
        slots: worker.slots.get(),
        lease: worker.lease,
        retry_wait: worker.retry_wait,
        bench: worker.bench,
        once,
    }
}

/// The machine and the process: no two workers that live at the same time share it.
fn default_name() -> String {
    let host = std::fs::read_to_string(Path::new("/proc/sys/kernel/hostname")).unwrap_or_default();
    let host: String = host.trim().chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-').collect();
    format!("{}-{}", if host.is_empty() { "worker" } else { &host }, std::process::id())
}
