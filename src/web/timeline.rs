//! `GET /api/v1/timeline`: the last hour of this process, and what bounds it.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::json;

use super::Site;
use super::problem::{Answer, Problem};
use crate::engine::live::Sample;

/// Samples over which the bound is judged: the last half minute.
const RECENT: usize = 30;

/// A lane that is busier than this bounds the run.
const BUSY: f64 = 0.85;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct From {
    after: i64,
}

/// `GET /api/v1/timeline`
pub(super) async fn timeline(
    State(site): State<Arc<Site>>,
    from: Result<Query<From>, axum::extract::rejection::QueryRejection>,
) -> Answer<Response> {
    let Query(From { after }) = from.map_err(|error| Problem::bad(error.body_text()))?;
    let samples = site.live.samples(after);
    let recent = site.live.samples(0);
    let recent = recent.get(recent.len().saturating_sub(RECENT)..).unwrap_or_default();
    let body = json!({ "samples": samples, "spans": site.live.spans(after), "bound": bound(recent) });
    Ok(Json(body).into_response())
}

/// What the machine waits for: `idle`, `cpu`, `download`, `upload`, or `none` if nothing is short.
fn bound(samples: &[Sample]) -> serde_json::Value {
    #[expect(clippy::cast_precision_loss, reason = "few samples")]
    let count = samples.len().max(1) as f64;
    let mean = |of: &dyn Fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (cpu, download, upload) =
        (mean(&|sample| sample.cpu), mean(&|sample| sample.download), mean(&|sample| sample.upload));
    let what = if cpu.max(download).max(upload) < 0.02 {
        "idle"
    } else if cpu >= BUSY {
        "cpu"
    } else if upload >= BUSY && upload >= download {
        "upload"
    } else if download >= BUSY {
        "download"
    } else {
        "none"
    };
    json!({ "what": what, "cpu": cpu, "download": download, "upload": upload })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_lane_bounds_and_the_cpu_before_the_network() {
        let sample = |cpu, download, upload| Sample {
            at: 0,
            cpu,
            download,
            upload,
            bytes_in: 0.0,
            bytes_out: 0.0,
            scratch: 0,
            waiting: [0; 3],
        };
        for (one, expected) in [
            (sample(0.0, 0.0, 0.0), "idle"),
            (sample(0.96, 1.0, 0.3), "cpu"),
            (sample(0.4, 1.0, 0.3), "download"),
            (sample(0.4, 0.9, 1.0), "upload"),
            (sample(0.4, 0.5, 0.3), "none"),
        ] {
            assert_eq!(bound(&[one, one])["what"], expected);
        }
        assert_eq!(bound(&[])["what"], "idle");
    }
}
