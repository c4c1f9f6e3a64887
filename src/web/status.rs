//! Whether the server lives, and whether it can work.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;

use super::Site;
use super::problem::{Answer, Problem};

const TEXT: [(header::HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

/// `GET /healthz`: the process answers.
pub(super) async fn healthz() -> impl axum::response::IntoResponse {
    (TEXT, "ok\n")
}

/// `GET /readyz`: the queue and the database answer, and the server is not ending.
pub(super) async fn readyz(State(site): State<Arc<Site>>) -> Answer {
    if site.stop.is_cancelled() {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the server is ending"));
    }
    site.store.ping().await?;
    site.queue.counts().await?;
    Ok((TEXT, "ready\n").into_response())
}
