//! Webhooks by the API, for administrators.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use serde::Deserialize;
use serde_json::json;

use super::problem::{Answer, Problem};
use super::webhook::Replay;
use super::{Site, now};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    url: String,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Again {
    since: i64,
    failed: bool,
}

/// `POST /api/v1/webhooks`
pub(super) async fn add(State(site): State<Arc<Site>>, body: Bytes) -> Answer {
    let new: New =
        serde_json::from_slice(&body).map_err(|error| Problem::bad(format!("send `{{\"url\": \"…\"}}`: {error}")))?;
    let (id, secret) = site.store.add_webhook(&new.url, now()).await?;
    Ok((StatusCode::CREATED, Json(json!({ "id": id, "url": new.url, "secret": secret }))).into_response())
}

/// `GET /api/v1/webhooks`
pub(super) async fn list(State(site): State<Arc<Site>>) -> Answer {
    Ok(Json(json!({ "webhooks": site.store.webhooks().await? })).into_response())
}

/// `DELETE /api/v1/webhooks/{id}`
pub(super) async fn remove(State(site): State<Arc<Site>>, Path(id): Path<String>) -> Answer {
    if !site.store.remove_webhook(&id).await? {
        return Err(Problem::missing("webhook"));
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /api/v1/webhooks/{id}/replay`
pub(super) async fn replay(State(site): State<Arc<Site>>, Path(id): Path<String>, body: Bytes) -> Answer {
    let again: Again = if body.is_empty() {
        Again::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| Problem::bad(error.to_string()))?
    };
    if !site.store.webhooks().await?.iter().any(|webhook| webhook.id == id) {
        return Err(Problem::missing("webhook"));
    }
    let replay = Replay { webhook: Some(id), since: again.since, failed: again.failed };
    let messages = site.store.replay(&replay, now()).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "messages": messages }))).into_response())
}
