//! The page's login: a token is exchanged for a cookie that scripts cannot read.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::json;

use super::grant;
use super::guest::recognise;
use super::problem::{Answer, Problem};
use super::{Site, now};
use crate::model::secret::Secret;

/// The cookie's name.
pub(super) const COOKIE: &str = "forebay";

/// How long a login holds.
const SECONDS: i64 = 7 * 86_400;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    token: String,
}

/// The token's id in a cookie, if it is ours and its time is not over.
pub(super) fn read(secret: &Secret, cookie: &str, now: i64) -> Option<String> {
    grant::read(secret, "cookie", cookie, now)
}

/// `POST /api/v1/login`
pub(super) async fn login(State(site): State<Arc<Site>>, body: Bytes) -> Answer {
    let login: Login = serde_json::from_slice(&body).map_err(|_| Problem::bad("send `{\"token\": \"…\"}`"))?;
    let token = site.store.token_of(login.token.trim()).await?;
    let token = token.ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "the token is not valid"))?;
    let cookie = grant::sign(&site.secret, "cookie", &token.id, now() + SECONDS * 1000);
    let mut response = Json(json!({ "name": token.name, "scopes": token.scopes })).into_response();
    set(&mut response, &site, &cookie, SECONDS);
    Ok(response)
}

/// `POST /api/v1/logout`
pub(super) async fn logout(State(site): State<Arc<Site>>) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    set(&mut response, &site, "", 0);
    response
}

/// `GET /api/v1/session`: who one is.
pub(super) async fn session(State(site): State<Arc<Site>>, headers: HeaderMap) -> Answer {
    let guest = recognise(&site, &headers).await?;
    let guest = guest.ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "log in with a token"))?;
    let open = guest.token.id.is_empty();
    Ok(Json(json!({ "name": guest.token.name, "scopes": guest.token.scopes, "open": open })).into_response())
}

fn set(response: &mut Response, site: &Site, value: &str, seconds: i64) {
    let secure = site.settings.public_url.as_ref().is_some_and(|url| url.scheme() == "https");
    let secure = if secure { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    response.headers_mut().extend(HeaderValue::try_from(cookie).ok().map(|value| (header::SET_COOKIE, value)));
}
