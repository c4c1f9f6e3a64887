//! `--json`: every event as one JSON object a line on standard output.
//! `docs/events.md` is its manual.

use std::io::{BufWriter, Write};

use serde_json::{Map, Value, json};

use crate::engine::{Listener, Summary};
use crate::model::event::{Event, Usage, What};

/// Writes lines; after the reader has gone away it writes nothing.
pub(super) struct Json<W: Write + Send> {
    out: Option<BufWriter<W>>,
    next_usage: f64,
}

impl<W: Write + Send> Json<W> {
    /// To `out`.
    pub(super) fn new(out: W) -> Self {
        Self { out: Some(BufWriter::new(out)), next_usage: 0.0 }
    }

    fn line(&mut self, value: &Value) {
        let Some(out) = &mut self.out else { return };
        if let Err(error) = writeln!(out, "{value}") {
            self.give_up(&error);
        }
    }

    fn flush(&mut self) {
        if let Some(Err(error)) = self.out.as_mut().map(Write::flush) {
            self.give_up(&error);
        }
    }

    fn give_up(&mut self, error: &std::io::Error) {
        super::note_lost(error);
        self.out = None;
    }
}

impl<W: Write + Send> Listener for Json<W> {
    fn event(&mut self, event: &Event) {
        let mut object = Map::new();
        object.insert("at".into(), json!(rounded(event.at)));
        object.insert("event".into(), json!(event.what.name()));
        object.insert("item".into(), json!(event.item));
        object.extend(details(&event.what));
        self.line(&Value::Object(object));
        if event.what.is_last() {
            self.flush();
        }
    }

    fn tick(&mut self, usage: &Usage) {
        if usage.at >= self.next_usage {
            self.next_usage = usage.at + 1.0;
            self.line(&usage_line(usage));
        }
        self.flush();
    }
}

/// The line about a bad line of a list.
pub(super) fn bad_line(place: &str, message: &str) -> Value {
    json!({ "at": 0.0, "event": "bad-line", "place": place, "why": message })
}

/// The last line.
pub(super) fn summary(summary: &Summary, bad_lines: u64) -> Value {
    json!({
        "at": rounded(summary.seconds),
        "event": "summary",
        "done": summary.done,
        "already-done": summary.already,
        "would": summary.would,
        "failed": summary.failed,
        "bad-lines": bad_lines,
        "parked": summary.parked,
        "seconds": rounded(summary.seconds),
        "source-seconds": rounded(summary.source_seconds),
        "usage": lanes(&summary.usage),
    })
}

fn usage_line(usage: &Usage) -> Value {
    let mut line = Map::new();
    line.insert("at".into(), json!(rounded(usage.at)));
    line.insert("event".into(), json!("usage"));
    if let Value::Object(lanes) = lanes(usage) {
        line.extend(lanes);
    }
    Value::Object(line)
}

fn lanes(usage: &Usage) -> Value {
    let lane = |lane: crate::model::event::LaneUse| {
        json!({
            "capacity": lane.capacity,
            "taken": lane.taken,
            "waiting": lane.waiting,
            "busy-seconds": rounded(lane.busy_seconds),
            "active-seconds": rounded(lane.active_seconds),
        })
    };
    json!({
        "network": lane(usage.network),
        "disk": lane(usage.disk),
        "cpu": lane(usage.cpu),
        "scratch": lane(usage.scratch),
        "upload": lane(usage.upload),
        "downloaded-bytes": usage.downloaded_bytes,
    })
}

/// The members that only this kind of event has.
pub(super) fn details(what: &What) -> Map<String, Value> {
    let value = match what {
        What::Started { input } => json!({ "input": **input }),
        What::Named { id, title } => json!({ "id": **id, "title": title.as_deref() }),
        What::Downloading { bytes, total } => json!({ "bytes": bytes, "total": total }),
        What::Downloaded { bytes } => json!({ "bytes": bytes }),
        What::Searching { round, done, samples, found } => {
            json!({ "round": round, "done": done, "samples": samples, "found": **found })
        }
        What::Planned { seconds, chunks, resumed, renditions, objects, summary } => json!({
            "seconds": rounded(*seconds),
            "chunks": chunks,
            "resumed": resumed,
            "renditions": renditions,
            "objects": objects,
            "summary": **summary,
        }),
        What::ChunkStarted { chunk } | What::ChunkKept { chunk } => json!({ "chunk": chunk }),
        What::ChunkProgress { chunk, part } => json!({ "chunk": chunk, "part": rounded(*part) }),
        What::ChunkEncoded { chunk, cpu_seconds } => json!({ "chunk": chunk, "cpu-seconds": rounded(*cpu_seconds) }),
        What::Uploading { objects, bytes } => json!({ "objects": objects, "bytes": bytes }),
        What::Retrying { stage, why, wait } => json!({ "stage": stage, "why": why, "wait": rounded(*wait) }),
        What::Would { what } => json!({ "what": what }),
        What::Warning { message } => json!({ "message": message }),
        What::Done { master, objects, bytes } => json!({ "master": master, "objects": objects, "bytes": bytes }),
        What::AlreadyDone { master } => json!({ "master": master }),
        What::Failed { failure } => json!({ "class": failure.class, "why": failure.what, "hint": failure.hint }),
        What::Parked => json!({}),
    };
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

/// Milliseconds are enough for every reader.
fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::failure::Failure;

    #[test]
    fn an_event_is_one_line() {
        let mut out = Vec::new();
        let mut json = Json::new(&mut out);
        json.event(&Event { at: 0.0, item: 3, what: What::Started { input: "a\nb".into() } });
        let failure = Failure::permanent("`a` is empty").hint("look at it");
        json.event(&Event { at: 1.2345, item: 3, what: What::Failed { failure } });
        json.tick(&Usage { at: 1.5, downloaded_bytes: 7, ..Usage::default() });
        json.tick(&Usage { at: 1.75, downloaded_bytes: 8, ..Usage::default() });
        drop(json);
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        let started: Value = serde_json::from_str(lines[0]).unwrap();
        assert_eq!(started, json!({ "at": 0.0, "event": "started", "item": 3, "input": "a\nb" }));
        let failed: Value = serde_json::from_str(lines[1]).unwrap();
        let expected = json!({ "at": 1.235, "event": "failed", "item": 3, "class": "permanent",
            "why": "`a` is empty", "hint": "look at it" });
        assert_eq!(failed, expected);
        let usage: Value = serde_json::from_str(lines[2]).unwrap();
        assert_eq!((&usage["event"], &usage["downloaded-bytes"]), (&json!("usage"), &json!(7)));
    }

    #[test]
    fn every_event_of_the_manual_exists() {
        let manual = include_str!("../../docs/events.md");
        let names = [
            "started",
            "named",
            "downloading",
            "downloaded",
            "planned",
            "searching",
            "chunk-started",
            "chunk-progress",
        ];
        let more = [
            "chunk-encoded",
            "chunk-kept",
            "uploading",
            "retrying",
            "warning",
            "done",
            "already-done",
            "would",
            "failed",
            "parked",
        ];
        for name in names.into_iter().chain(more).chain(["usage", "summary", "bad-line"]) {
            assert!(manual.contains(&format!("| `{name}` |")), "{name}");
        }
    }
}
