//! A job as the API shows it: one shape in lists, events and webhooks.

use serde_json::{Map, Value, json};

use super::WebSettings;
use crate::engine::worker::shown;
use crate::queue::{Record, State};

/// What lists and events show of a job.
pub(super) fn summary(record: &Record, settings: &WebSettings) -> Value {
    let job = |name: &str| record.job.get(name).cloned().unwrap_or(Value::Null);
    let progress = record.progress.as_ref();
    let input = record.job.get("input").and_then(Value::as_str).unwrap_or_default();
    let upload = super::uploads::id_of(settings, input);
    let video = progress.and_then(|progress| progress.id.clone()).map(Value::from);
    let video = video.or_else(|| video_of(record).map(Value::from)).unwrap_or_else(|| job("id"));
    let title = job("title").as_str().map(Value::from);
    let title = title.or_else(|| progress.and_then(|progress| progress.title.clone()).map(Value::from));
    json!({
        "id": record.id,
        "state": record.state.name(),
        "kind": job("kind"),
        "input": upload.map_or_else(|| shown(input), |id| format!("upload:{id}")),
        "to": shown(record.job.get("to").and_then(Value::as_str).unwrap_or_default()),
        "title": title,
        "video": video,
        "priority": job("priority").as_i64().unwrap_or(0),
        "encrypted": record.job.pointer("/options/encrypt").is_some_and(|method| method != "none"),
        "submitted": record.submitted,
        "started": record.started,
        "ended": record.ended,
        "attempt": record.attempt,
        "worker": record.worker,
        "cancelling": record.cancel && !record.state.is_over(),
        "progress": progress.map(|progress| json!({
            "download": progress.download,
            "encode": progress.encode,
            "upload": progress.upload,
        })),
        "plan": progress.and_then(|progress| progress.plan.clone()),
        "note": progress.and_then(|progress| progress.note.clone()),
        "error": error(record),
        "bytes": record.result.as_ref().and_then(|result| result.get("bytes").cloned()),
        "media": media(record, settings),
        "version": record.version,
    })
}

/// All that the API shows of a job.
pub(super) fn whole(record: &Record, settings: &WebSettings) -> Value {
    let mut value = summary(record, settings);
    if let Value::Object(map) = &mut value {
        map.insert("result".into(), record.result.clone().unwrap_or(Value::Null));
        map.insert("log".into(), json!(record.log));
        map.insert("options".into(), record.job.get("options").cloned().unwrap_or_else(|| Value::Object(Map::new())));
    }
    value
}

/// By what a job is found, in lower case.
pub(super) fn words(summary: &Value) -> String {
    let part = |name: &str| summary.get(name).and_then(Value::as_str).unwrap_or_default();
    let all: Vec<&str> = ["title", "video", "input", "id", "worker", "error"].map(part).into();
    all.join("\n").to_lowercase()
}

fn error(record: &Record) -> Option<String> {
    if record.state != State::Dead && record.state != State::Delayed {
        return None;
    }
    record.log.last().map(|entry| entry.what.clone())
}

/// The id of a published video: the folder of its pointer.
fn video_of(record: &Record) -> Option<String> {
    let master = record.result.as_ref()?.get("master")?.as_str()?;
    let folder = master.strip_suffix("/master.m3u8")?;
    folder.rsplit('/').next().map(String::from)
}

/// Where a player finds the video, if it can.
fn media(record: &Record, settings: &WebSettings) -> Option<String> {
    let master = record.result.as_ref()?.get("master")?.as_str()?;
    let place = settings.to.trim_end_matches('/');
    let below = master.strip_prefix(place)?.strip_prefix('/')?;
    let below = percent_encoding::utf8_percent_encode(below, PATH).to_string();
    match (&settings.media_url, &settings.media) {
        (Some(url), _) => Some(format!("{}/{below}", url.as_str().trim_end_matches('/'))),
        (None, Some(_)) => Some(format!("/media/{below}")),
        (None, None) => None,
    }
}

const PATH: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_');
