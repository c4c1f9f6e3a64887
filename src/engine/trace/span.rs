//! Spans, made of what jobs tell of themselves. Pure: the time is handed in.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::model::event::What;
use crate::model::sha256::Sha256;

/// Spans of one job that are open at the same time.
const MOST_OPEN: usize = 10_000;

/// One span, or a part of one that is still open.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    name: String,
    id: String,
    parent: Option<String>,
    begun: u64,
    attributes: Vec<(&'static str, Value)>,
    failure: Option<String>,
    notes: Vec<(u64, String)>,
    ended: u64,
}

/// The spans of one attempt at a job. Times are nanoseconds since 1970.
pub struct Trace {
    id: String,
    job: Span,
    fetch: Option<Span>,
    chunks: HashMap<u64, Span>,
    /// When the last chunk was encoded: what follows is publishing.
    encoded: Option<u64>,
    numbers: u64,
}

impl Trace {
    /// An attempt that begins now. All attempts at a job are one trace; `seed` tells them apart.
    pub fn new(job: &str, kind: &str, input: &str, seed: u64, now: u64) -> Self {
        let id = digest(&["trace", job], 32);
        let attributes =
            vec![("forebay.job", json!(job)), ("forebay.kind", json!(kind)), ("forebay.input", json!(input))];
        let span_id = digest(&["span", job, &seed.to_string()], 16);
        let job = Span { attributes, ..Span::new(format!("job {kind}"), span_id, None, now) };
        Self { id, job, fetch: None, chunks: HashMap::new(), encoded: None, numbers: 0 }
    }

    /// Hears what the job does; gives the span that ended by it.
    pub fn hear(&mut self, what: &What, now: u64) -> Option<Span> {
        match what {
            What::Named { id, .. } => self.job.attributes.push(("forebay.id", json!(&**id))),
            What::Planned { summary, .. } => self.job.attributes.push(("forebay.plan", json!(&**summary))),
            What::Downloading { .. } if self.fetch.is_none() => self.fetch = Some(self.child("fetch".into(), now)),
            What::Downloaded { bytes } => {
                let fetch = self.fetch.take().unwrap_or_else(|| self.child("fetch".into(), now));
                return Some(fetch.with("forebay.bytes", json!(bytes)).end(now));
            }
            What::ChunkStarted { chunk } if self.chunks.len() < MOST_OPEN => {
                let span = self.child("chunk".into(), now).with("forebay.chunk", json!(chunk));
                self.chunks.entry(*chunk).or_insert(span);
            }
            What::ChunkEncoded { chunk, cpu_seconds } => {
                self.encoded = Some(now);
                let span = self.chunks.remove(chunk)?;
                return Some(span.with("forebay.cpu_seconds", json!(cpu_seconds)).end(now));
            }
            What::Retrying { why, .. } => self.job.notes.push((now, why.clone())),
            What::Warning { message } => self.job.notes.push((now, message.clone())),
            _ => {}
        }
        None
    }

    /// The spans that are still open when the job ends, itself last.
    pub fn end(mut self, failure: Option<String>, now: u64) -> Vec<Span> {
        let mut spans: Vec<Span> = self.fetch.take().into_iter().collect();
        spans.extend(std::mem::take(&mut self.chunks).into_values());
        for span in &mut spans {
            span.failure.clone_from(&failure);
        }
        if let Some(encoded) = self.encoded.filter(|_| failure.is_none()) {
            spans.push(self.child("publish".into(), encoded));
        }
        spans.push(Span { failure, ..self.job });
        spans.into_iter().map(|span| span.end(now)).collect()
    }

    /// The trace's id, 32 hex digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    fn child(&mut self, name: String, now: u64) -> Span {
        self.numbers += 1;
        let id = digest(&[&self.job.id, &self.numbers.to_string()], 16);
        Span::new(name, id, Some(self.job.id.clone()), now)
    }
}

impl Span {
    fn new(name: String, id: String, parent: Option<String>, begun: u64) -> Self {
        Self { name, id, parent, begun, attributes: Vec::new(), failure: None, notes: Vec::new(), ended: 0 }
    }

    fn with(mut self, name: &'static str, value: Value) -> Self {
        self.attributes.push((name, value));
        self
    }

    fn end(mut self, now: u64) -> Self {
        self.ended = now.max(self.begun);
        self
    }

    /// As OTLP has it in JSON: numbers of 64 bits are texts.
    pub fn otlp(&self, trace: &str) -> Value {
        let events = self.notes.iter().map(|(at, text)| json!({ "timeUnixNano": at.to_string(), "name": text }));
        let status = match &self.failure {
            Some(failure) => json!({ "code": 2, "message": failure }),
            None => json!({}),
        };
        json!({
            "traceId": trace, "spanId": self.id, "parentSpanId": self.parent.as_deref().unwrap_or_default(),
            "name": self.name, "kind": if self.parent.is_none() { 5 } else { 1 },
            "startTimeUnixNano": self.begun.to_string(), "endTimeUnixNano": self.ended.to_string(),
            "attributes": self.attributes.iter().map(|(name, value)| attribute(name, value)).collect::<Vec<_>>(),
            "events": events.collect::<Vec<_>>(), "status": status,
        })
    }
}

/// A name and its value as OTLP has them.
pub fn attribute(name: &str, value: &Value) -> Value {
    let value = match value {
        Value::Number(number) if number.is_f64() => json!({ "doubleValue": number }),
        Value::Number(number) => json!({ "intValue": number.to_string() }),
        Value::String(text) => json!({ "stringValue": text }),
        other => json!({ "stringValue": other.to_string() }),
    };
    json!({ "key": name, "value": value })
}

fn digest(parts: &[&str], length: usize) -> String {
    let mut digest = hex::encode(Sha256::digest(parts.join("\0")));
    digest.truncate(length);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(spans: &[Span]) -> Vec<(&str, u64, u64)> {
        spans.iter().map(|span| (span.name.as_str(), span.begun, span.ended)).collect()
    }

    #[test]
    fn a_job_is_a_span_with_what_it_did_inside() {
        let mut trace = Trace::new("j1", "hls", "https://a.example/x", 1, 10);
        let mut spans = Vec::new();
        let told = [
            What::Downloading { bytes: 1, total: None },
            What::ChunkStarted { chunk: 0 },
            What::Downloading { bytes: 2, total: None },
            What::Downloaded { bytes: 2 },
            What::ChunkEncoded { chunk: 0, cpu_seconds: 1.5 },
        ];
        for (at, what) in (11..).zip(&told) {
            spans.extend(trace.hear(what, at));
        }
        let id = trace.id().to_owned();
        spans.extend(trace.end(None, 20));
        assert_eq!(names(&spans), [("fetch", 11, 14), ("chunk", 12, 15), ("publish", 15, 20), ("job hls", 10, 20)]);
        let job = spans.last().unwrap();
        assert!(spans[..3].iter().all(|span| span.parent.as_deref() == Some(job.id.as_str())));
        let (text, again) = (job.otlp(&id), Trace::new("j1", "hls", "", 2, 10));
        assert_eq!((text["traceId"].as_str().unwrap().len(), text["spanId"].as_str().unwrap().len()), (32, 16));
        assert!(again.id() == id && again.job.id != job.id, "another attempt is another span of one trace");
    }

    #[test]
    fn what_fails_says_why_and_leaves_nothing_open() {
        let mut trace = Trace::new("j1", "hls", "x", 1, 10);
        trace.hear(&What::ChunkStarted { chunk: 3 }, 11);
        trace.hear(&What::Warning { message: "is short".into() }, 12);
        let spans = trace.end(Some("no space".into()), 13);
        assert_eq!(names(&spans), [("chunk", 11, 13), ("job hls", 10, 13)]);
        let job = spans[1].otlp("t");
        assert_eq!((&job["status"]["code"], &job["events"][0]["name"]), (&json!(2), &json!("is short")));
    }
}
