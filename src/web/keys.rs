//! The key server, and the grants by which a site lets a viewer play one video.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::IntoResponse as _;
use serde::Deserialize;
use serde_json::json;

use super::problem::{Answer, Problem};
use super::token::Scope;
use super::{Site, grant, guest, now};
use crate::model::id;

/// What grants are signed for.
pub(super) const PURPOSE: &str = "play";

/// Bytes of a key.
const KEY: usize = 16;

/// Seconds a grant holds if nothing is said, and at the most.
const SECONDS: (i64, i64) = (4 * 3600, 7 * 86_400);

/// What a key's address may carry.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Carried {
    grant: String,
}

/// `GET /keys/{id}/{key}`: 16 bytes, for who has a grant for that video, or may read.
pub(super) async fn key(
    State(site): State<Arc<Site>>,
    Path((video, name)): Path<(String, String)>,
    carried: Result<Query<Carried>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Answer {
    let grant = carried.map(|Query(carried)| carried.grant).unwrap_or_default();
    let granted = grant::read(&site.secret, PURPOSE, &grant, now());
    if granted.as_deref() != Some(video.as_str()) {
        let guest = guest::recognise(&site, &headers).await?;
        if !guest.is_some_and(|guest| guest.token.may(Scope::Read)) {
            site.metrics.key_refused();
            return Err(Problem::new(StatusCode::FORBIDDEN, "a key needs a grant for its video"));
        }
    }
    let hex = name.len() == 2 * KEY && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let keys = site.keys.as_ref().filter(|_| hex && id::check(&video)).ok_or_else(|| Problem::missing("key"))?;
    let found = keys.load(&format!("{video}/{name}.key"), KEY as u64).await;
    let found = found.map_err(|error| {
        tracing::error!(%error, "a key could not be read");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "keys cannot be read now").again_in(5)
    })?;
    let bytes = found.filter(|bytes| bytes.len() == KEY).ok_or_else(|| Problem::missing("key"))?;
    site.metrics.key_served();
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    video: String,
    seconds: Option<i64>,
}

/// `POST /api/v1/grants`: lets somebody play a video for a while.
pub(super) async fn allow(State(site): State<Arc<Site>>, body: Bytes) -> Answer {
    let wish: Wish = serde_json::from_slice(&body)
        .map_err(|error| Problem::bad(format!("send `{{\"video\": \"ID\", \"seconds\": 3600}}`: {error}")))?;
    if !id::check(&wish.video) {
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "`video` is not the id of a video"));
    }
    let seconds = wish.seconds.unwrap_or(SECONDS.0);
    if !(1..=SECONDS.1).contains(&seconds) {
        return Err(Problem::bad(format!("`seconds` is from 1 to {}", SECONDS.1)));
    }
    let end = now() + seconds * 1000;
    let signed = grant::sign(&site.secret, PURPOSE, &wish.video, end);
    let base = site.base();
    let play = site.settings.media.as_ref().map(|_| format!("{base}/play/{signed}/{}/master.m3u8", wish.video));
    let answer =
        json!({ "video": wish.video, "grant": signed, "ends": end, "play": play, "query": format!("grant={signed}") });
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}
