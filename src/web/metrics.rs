//! `/metrics`: figures in Prometheus's text format, by its conventions of names and units.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};

use super::Site;
use crate::model::event::LaneUse;

/// Upper ends of the buckets of request durations, in seconds.
const BUCKETS: [f64; 10] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// What is counted.
#[derive(Default)]
pub(super) struct Metrics {
    /// Answers by the first digit of their status.
    answers: [AtomicU64; 6],
    buckets: [AtomicU64; BUCKETS.len() + 1],
    microseconds: AtomicU64,
    submitted: AtomicU64,
    repeated: AtomicU64,
    uploaded: AtomicU64,
    delivered: AtomicU64,
    undelivered: AtomicU64,
    keys: AtomicU64,
    refused_keys: AtomicU64,
}

impl Metrics {
    /// A request was answered.
    pub(super) fn answered(&self, status: u16, time: Duration) {
        one(self.answers.get(usize::from(status / 100)).unwrap_or(&self.answers[5]));
        let seconds = time.as_secs_f64();
        let place = BUCKETS.iter().position(|end| seconds <= *end).unwrap_or(BUCKETS.len());
        one(&self.buckets[place]);
        self.microseconds.fetch_add(u64::try_from(time.as_micros()).unwrap_or(0), Ordering::Relaxed);
    }

    /// A job was handed in, or was there already.
    pub(super) fn submitted(&self, new: bool) {
        one(if new { &self.submitted } else { &self.repeated });
    }

    /// Bytes were uploaded.
    pub(super) fn uploaded(&self, bytes: u64) {
        self.uploaded.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A webhook was sent.
    pub(super) fn delivered(&self, taken: bool) {
        one(if taken { &self.delivered } else { &self.undelivered });
    }

    /// A key was given out.
    pub(super) fn key_served(&self) {
        one(&self.keys);
    }

    /// A key was asked for in vain.
    pub(super) fn key_refused(&self) {
        one(&self.refused_keys);
    }
}

fn one(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The text as it grows.
#[derive(Default)]
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}").unwrap_or_default();
    }

    fn value(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        writeln!(self.0, "{name}{labels} {value}").unwrap_or_default();
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
        self.head(name, kind, help);
        self.value(name, "", value);
    }
}

/// `GET /metrics`
pub(super) async fn metrics(State(site): State<Arc<Site>>) -> Response {
    let mut text = Text::default();
    text.head("forebay_build_info", "gauge", "The version that runs.");
    text.value("forebay_build_info", concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""), 1);
    requests(&mut text, &site.metrics);
    jobs(&mut text, &site).await;
    lanes(&mut text, &site);
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, text.0).into_response()
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn requests(text: &mut Text, metrics: &Metrics) {
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    text.head("forebay_http_responses_total", "counter", "Answers, by class of status.");
    for class in 1..6 {
        let labels = format!("class=\"{class}xx\"");
        text.value("forebay_http_responses_total", &labels, get(&metrics.answers[class]));
    }
    let name = "forebay_http_request_duration_seconds";
    text.head(name, "histogram", "Time until an answer begins.");
    let mut sum = 0;
    for (end, bucket) in BUCKETS.iter().zip(&metrics.buckets) {
        sum += get(bucket);
        text.value(&format!("{name}_bucket"), &format!("le=\"{end}\""), sum);
    }
    sum += get(&metrics.buckets[BUCKETS.len()]);
    text.value(&format!("{name}_bucket"), "le=\"+Inf\"", sum);
    text.value(&format!("{name}_sum"), "", get(&metrics.microseconds) as f64 / 1e6);
    text.value(&format!("{name}_count"), "", sum);
    text.single("forebay_jobs_submitted_total", "counter", "Jobs that were handed in.", get(&metrics.submitted));
    let help = "Jobs that were handed in although they were there.";
    text.single("forebay_jobs_repeated_total", "counter", help, get(&metrics.repeated));
    text.single("forebay_upload_received_bytes_total", "counter", "Bytes of uploads.", get(&metrics.uploaded));
    text.head("forebay_webhook_deliveries_total", "counter", "Tries to deliver a webhook, by outcome.");
    text.value("forebay_webhook_deliveries_total", "outcome=\"taken\"", get(&metrics.delivered));
    text.value("forebay_webhook_deliveries_total", "outcome=\"failed\"", get(&metrics.undelivered));
    text.head("forebay_keys_total", "counter", "Requests for keys, by outcome.");
    text.value("forebay_keys_total", "outcome=\"served\"", get(&metrics.keys));
    text.value("forebay_keys_total", "outcome=\"refused\"", get(&metrics.refused_keys));
}

async fn jobs(text: &mut Text, site: &Site) {
    if let Ok(counts) = site.store.job_counts().await {
        text.head("forebay_jobs", "gauge", "Jobs, by state.");
        for (state, count) in counts {
            text.value("forebay_jobs", &format!("state=\"{}\"", state.name()), count);
        }
    }
    text.single("forebay_event_listeners", "gauge", "Open event streams.", site.hub.listeners());
    text.single(
        "forebay_upload_reserved_bytes",
        "gauge",
        "Bytes that uploads have or will have.",
        site.uploads.bytes(),
    );
}

fn lanes(text: &mut Text, site: &Site) {
    let (usage, bytes_in, bytes_out) = site.live.usage();
    let help = "Bytes of sources that this process downloaded.";
    text.single("forebay_download_received_bytes_total", "counter", help, bytes_in);
    let help = "Bytes that this process stored at destinations.";
    text.single("forebay_upload_sent_bytes_total", "counter", help, bytes_out);
    let Some(usage) = usage else { return };
    let lanes = [("network", usage.network), ("disk", usage.disk), ("cpu", usage.cpu), ("upload", usage.upload)];
    let mut each = |name: &str, kind: &str, help: &str, of: &dyn Fn(&LaneUse) -> f64| {
        text.head(name, kind, help);
        for (lane, usage) in &lanes {
            text.value(name, &format!("lane=\"{lane}\""), of(usage));
        }
    };
    each("forebay_lane_permits", "gauge", "Permits of a lane.", &|usage| float(usage.capacity));
    each("forebay_lane_taken", "gauge", "Permits that are taken.", &|usage| float(usage.taken));
    each("forebay_lane_waiting", "gauge", "Work that waits for a permit.", &|usage| float(usage.waiting));
    each("forebay_lane_busy_seconds_total", "counter", "Permit-seconds that were taken.", &|usage| usage.busy_seconds);
    text.single("forebay_scratch_used_bytes", "gauge", "Scratch space in use.", usage.scratch.taken);
    text.single("forebay_scratch_limit_bytes", "gauge", "Scratch space that may be used.", usage.scratch.capacity);
}

#[expect(clippy::cast_precision_loss, reason = "permits are few")]
fn float(number: u64) -> f64 {
    number as f64
}
