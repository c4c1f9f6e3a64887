//! The description of the API, for programs that make clients of it.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};

/// The document; a test holds it against the routes.
pub(super) const DOCUMENT: &str = include_str!("../../docs/api/openapi.json");

/// `GET /api/v1/openapi.json`
pub(super) async fn document() -> Response {
    let mut response = DOCUMENT.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
