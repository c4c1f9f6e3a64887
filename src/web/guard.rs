//! What every request passes: the name it asks for, who asks, how often, and
//! the headers that tell browsers what this page may do.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::guest::{self, recognise};
use super::login::COOKIE;
use super::problem::Problem;
use super::token::Scope;
use super::{Site, door, tus};

/// What lies here has large bodies, and limits of its own.
const UPLOADS: &str = "/api/v1/uploads";

/// One route's door.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) site: Arc<Site>,
    pub(super) scope: Option<Scope>,
}

/// Outermost: only for names that are ours, and with the right headers on every answer.
pub(super) async fn guard(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let path = request.uri().path().to_owned();
    let request = if path.starts_with(UPLOADS) { request } else { request.map(door::in_time) };
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = if !is_ours(&site, request.headers()) {
        Problem::new(StatusCode::MISDIRECTED_REQUEST, "this server is not asked for by that name")
            .hint("name it in `serve.hosts` or `serve.public-url`")
            .into_response()
    } else if is_for_players(&path) && request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    site.metrics.answered(response.status().as_u16(), begun.elapsed());
    harden(&site, &path, response.headers_mut());
    if path.starts_with(UPLOADS) {
        tus::mark(&mut response);
    }
    if is_for_players(&path) {
        share(&site, origin.as_ref(), response.headers_mut());
    }
    response
}

/// At each route: who asks, whether they may, whether a page of ours made them, how often.
pub(super) async fn admit(State(entry): State<Entry>, mut request: Request, next: Next) -> Response {
    let site = &entry.site;
    let (headers, method) = (request.headers(), request.method().clone());
    let has_cookie = guest::cookie(headers, COOKIE).is_some();
    let api = request.uri().path().starts_with("/api/");
    let ours = guest::is_of_our_page(headers, &method, has_cookie, site.settings.public_url.as_ref());
    let Some(scope) = entry.scope else {
        if api && !ours && method != Method::OPTIONS {
            return other_page();
        }
        return next.run(request).await;
    };
    let guest = match recognise(site, headers).await {
        Ok(Some(guest)) => guest,
        Ok(None) => return Problem::new(StatusCode::UNAUTHORIZED, "a token is needed").into_response(),
        Err(problem) => return problem.into_response(),
    };
    if guest.ambient && !ours {
        return other_page();
    }
    if !guest.token.may(scope) {
        let detail = format!("this token may not do what needs `{}`", scope.name());
        return Problem::new(StatusCode::FORBIDDEN, detail).into_response();
    }
    if guest.ambient && !is_json_or_bytes(&request) {
        return Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send `application/json`").into_response();
    }
    if let Err(seconds) = site.rates.take(&guest.token.name) {
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many requests; `serve.rate` is the limit");
        return problem.again_in(seconds).into_response();
    }
    request.extensions_mut().insert(guest);
    next.run(request).await
}

fn other_page() -> Response {
    Problem::new(StatusCode::FORBIDDEN, "another page sent this request").into_response()
}

/// Forms of other pages cannot send JSON; uploads have a type of their own.
fn is_json_or_bytes(request: &Request) -> bool {
    if request.method().is_safe() || request.uri().path().starts_with(UPLOADS) {
        return true;
    }
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let empty = request.headers().get(header::CONTENT_LENGTH).is_none_or(|length| length == "0");
    kind.map_or(empty, |kind| kind.split(';').next().unwrap_or_default().trim() == "application/json")
}

/// Whether the server is asked for by an address or by one of its names. A name of
/// somebody else that leads here could let his page read ours.
fn is_ours(site: &Site, headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let Ok(url) = url::Url::parse(&format!("http://{host}/")) else { return false };
    match url.host() {
        Some(url::Host::Domain(name)) => {
            let public = site.settings.public_url.as_ref().and_then(url::Url::host_str);
            name == "localhost" || public == Some(name) || site.settings.hosts.contains(name)
        }
        Some(_) => true,
        None => false,
    }
}

fn is_for_players(path: &str) -> bool {
    ["/media/", "/play/", "/keys/"].iter().any(|beginning| path.starts_with(beginning))
}

/// Lets the pages that the settings name fetch media and keys.
fn share(site: &Site, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    let known = origin.filter(|origin| origin.to_str().is_ok_and(|origin| site.settings.origins.contains(origin)));
    if let Some(origin) = known {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD"));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Range"));
        headers
            .insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Content-Range, Content-Length"));
        headers
            .insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("cross-origin"));
    }
}

fn harden(site: &Site, path: &str, headers: &mut HeaderMap) {
    let elsewhere = site.settings.media_url.as_ref().map(|url| format!(" {}", url.origin().ascii_serialization()));
    let elsewhere = elsewhere.unwrap_or_default();
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
         connect-src 'self'{elsewhere}; media-src 'self' blob:{elsewhere}; worker-src 'self' blob:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let mut put = |name: &'static str, value: &str| {
        let name = HeaderName::from_static(name);
        if !headers.contains_key(&name) {
            headers.extend(HeaderValue::try_from(value).ok().map(|value| (name, value)));
        }
    };
    put("content-security-policy", &policy);
    put("x-content-type-options", "nosniff");
    put("referrer-policy", "no-referrer");
    put("x-frame-options", "DENY");
    put("cross-origin-opener-policy", "same-origin");
    put("cross-origin-resource-policy", "same-origin");
    if path.starts_with("/api/") {
        put("cache-control", "no-store");
    }
}
