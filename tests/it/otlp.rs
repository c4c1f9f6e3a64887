//! Traces of jobs, read by a collector that knows OpenTelemetry's own definition of them.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use forebay::queue::State;
use serde_json::Value;

use crate::support::yard::Yard;

struct Collector {
    child: Child,
    port: u16,
    file: std::path::PathBuf,
}

impl Collector {
    fn start(file: std::path::PathBuf) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut child = Command::new(root.join("target/test-venv/bin/python3"))
            .arg(root.join("tests/it/support/collector.py"))
            .arg(&file)
            .stdout(Stdio::piped())
            .spawn()
            .expect("scripts/setup.sh --test installs it");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, port: line.trim().parse().expect("opentelemetry-proto is installed"), file }
    }

    fn spans(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The only span of that name.
#[track_caller]
fn one<'a>(spans: &'a [Value], name: &str) -> &'a Value {
    let named: Vec<_> = spans.iter().filter(|span| span["name"] == name).collect();
    assert_eq!(named.len(), 1, "{name}: {spans:#?}");
    named[0]
}

#[test]
fn a_collector_hears_of_a_job_its_fetch_its_chunks_and_its_publishing() {
    let yard = Yard::new(None);
    let collector = Collector::start(yard.sandbox.path("spans"));
    let id = yard.submit(&yard.job("film", "clip.mp4"));
    let otlp = format!("http://127.0.0.1:{}/", collector.port);
    let run = yard.worker(&["--once", "--otlp", &otlp], &[]).wait();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    yard.stands(&id, State::Done);
    let spans = collector.spans();
    let job = one(&spans, "job hls");
    let chunks = spans.iter().filter(|span| span["name"] == "chunk").count();
    assert!(chunks >= 2, "{spans:#?}");
    one(&spans, "publish");
    for span in &spans {
        assert_eq!((&span["service"], &span["status"]), (&"forebay".into(), &0.into()), "{span}");
        assert_eq!(span["trace"], job["trace"], "{span}");
        let time = |span: &Value, name: &str| span[name].as_u64().unwrap();
        assert!(time(span, "begun") <= time(span, "ended"), "{span}");
        assert!(time(job, "begun") <= time(span, "begun") && time(span, "ended") <= time(job, "ended"), "{span}");
        let inside = span["parent"] == job["id"];
        assert!(inside || span == job, "{span}");
    }
    assert!(job["attributes"].as_array().unwrap().contains(&"forebay.plan".into()), "{job}");
}

#[test]
fn a_failed_job_says_why_and_a_collector_that_is_gone_harms_nobody() {
    let yard = Yard::new(None);
    let collector = Collector::start(yard.sandbox.path("spans"));
    let otlp = format!("http://127.0.0.1:{}", collector.port);
    yard.submit(&yard.job("missing", "nothing.mp4"));
    yard.worker(&["--once", "--otlp", &otlp], &[]).wait();
    let spans = collector.spans();
    let job = one(&spans, "job hls");
    assert!(job["status"] == 2 && job["why"].as_str().is_some_and(|why| !why.is_empty()), "{job}");
    drop(collector);
    let id = yard.submit(&yard.job("film", "clip.mp4"));
    let run = yard.worker(&["--once", "--otlp", &otlp], &[("FOREBAY_LOG", "warn")]).wait();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("traces are lost"), "{}", run.stderr);
    yard.stands(&id, State::Done);
}
