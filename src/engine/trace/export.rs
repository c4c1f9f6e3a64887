//! Sends spans to a collector, a batch at a time. A collector that is slow or gone costs spans, never a job.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::span::{Trace, attribute};
use crate::engine::worker::{Order, Runner, shown};
use crate::model::failure::Failure;
use crate::storage::outage::Outage;

/// Spans that wait to be sent; what comes beyond is dropped.
const WAITING: usize = 8192;

/// Spans in one request.
const BATCH: usize = 512;

/// A batch is sent after this long, however small it is.
const SOON: Duration = Duration::from_secs(2);

/// A collector gets this long to answer, and the last batch as long when the program ends.
const PATIENCE: Duration = Duration::from_secs(5);

/// The way to a collector.
#[derive(Clone)]
pub struct Exporter {
    sender: mpsc::Sender<Value>,
    sending: Arc<Mutex<JoinSet<()>>>,
    attempts: Arc<AtomicU64>,
}

/// A runner whose jobs are told to a collector.
pub struct Traced {
    runner: Arc<dyn Runner>,
    exporter: Exporter,
}

impl Exporter {
    /// To the collector whose base address is `endpoint`, such as `http://127.0.0.1:4318`.
    pub fn start(endpoint: &str, service: &str) -> Result<Self, Failure> {
        let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        let client = reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).build();
        let client = client.map_err(|error| Failure::environment(format!("no client for traces: {error}")))?;
        let (sender, spans) = mpsc::channel(WAITING);
        let mut sending = JoinSet::new();
        sending.spawn(send_all(client, url, resource(service), spans));
        let sending = Arc::new(Mutex::new(sending));
        Ok(Self { sender, sending, attempts: Arc::default() })
    }

    /// Sends what is left. Whoever else has this exporter should have ended.
    pub async fn close(self) {
        let Self { sender, sending, .. } = self;
        drop(sender);
        let mut sending = sending.lock().await;
        tokio::time::timeout(PATIENCE * 2, sending.join_next()).await.map(drop).unwrap_or_default();
        sending.abort_all();
    }

    fn tell(&self, span: Value) {
        // Full: the collector is slow, and jobs do not wait for it.
        self.sender.try_send(span).unwrap_or_default();
    }
}

impl Traced {
    /// Tells what `runner` does.
    pub fn new(runner: Arc<dyn Runner>, exporter: Exporter) -> Self {
        Self { runner, exporter }
    }
}

#[async_trait]
impl Runner for Traced {
    async fn run(&self, order: &Order) -> Result<Value, Failure> {
        let begun = now();
        let seed = begun.wrapping_add(self.exporter.attempts.fetch_add(1, Ordering::Relaxed));
        let trace = Trace::new(&order.id, order.job.task.name(), &shown(&order.job.input), seed, begun);
        let id: Arc<str> = trace.id().into();
        let open = Arc::new(std::sync::Mutex::new(Some(trace)));
        let (heard, exporter, trace_id, report) =
            (Arc::clone(&open), self.exporter.clone(), Arc::clone(&id), Arc::clone(&order.report));
        let told = move |what| {
            let mut open = heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let span = open.as_mut().and_then(|trace| trace.hear(&what, now()));
            drop(open);
            if let Some(span) = span {
                exporter.tell(span.otlp(&trace_id));
            }
            report(what);
        };
        let outcome = self.runner.run(&Order { report: Arc::new(told), ..order.clone() }).await;
        let trace = open.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let failure = outcome.as_ref().err().map(|failure| failure.what.clone());
        for span in trace.map(|trace| trace.end(failure, now())).unwrap_or_default() {
            self.exporter.tell(span.otlp(&id));
        }
        outcome
    }

    fn waits(&self, number: u64) -> bool {
        self.runner.waits(number)
    }

    fn make(&self) -> Option<String> {
        self.runner.make()
    }

    fn idle(&self) -> u64 {
        self.runner.idle()
    }

    fn outage(&self, number: u64) -> Option<Outage> {
        self.runner.outage(number)
    }

    async fn forget(&self, id: &str) {
        self.runner.forget(id).await;
    }
}

/// Sends spans as they come, until nobody has any more.
async fn send_all(client: reqwest::Client, url: String, resource: Value, mut spans: mpsc::Receiver<Value>) {
    let (mut batch, mut well) = (VecDeque::new(), true);
    loop {
        let more = tokio::time::timeout(SOON, async {
            while batch.len() < BATCH {
                match spans.recv().await {
                    Some(span) => batch.push_back(span),
                    None => return false,
                }
            }
            true
        })
        .await
        .unwrap_or(true);
        if !batch.is_empty() {
            let scope = json!({ "scope": { "name": "forebay" }, "spans": batch });
            let body = json!({ "resourceSpans": [{ "resource": resource, "scopeSpans": [scope] }] });
            let sent = send(&client, &url, body.to_string()).await;
            if let (Err(error), true) = (&sent, well) {
                tracing::warn!(%url, %error, "traces are lost: the collector does not take them");
            }
            well = sent.is_ok();
            batch.clear();
        }
        if !more {
            return;
        }
    }
}

async fn send(client: &reqwest::Client, url: &str, body: String) -> Result<(), reqwest::Error> {
    let request = client.post(url).header("content-type", "application/json").body(body);
    request.send().await?.error_for_status().map(drop)
}

/// Who tells.
fn resource(service: &str) -> Value {
    let attributes = [("service.name", json!("forebay")), ("service.version", json!(env!("CARGO_PKG_VERSION")))];
    let instance = ("service.instance.id", json!(service));
    let all: Vec<_> = attributes.iter().chain([&instance]).map(|(name, value)| attribute(name, value)).collect();
    json!({ "attributes": all })
}

fn now() -> u64 {
    let passed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX)
}
