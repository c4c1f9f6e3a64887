//! The page: files that Vite made and the build put into the program.

use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::problem::{Answer, Problem};

/// What `make web` makes; without it only a note that says so.
#[derive(rust_embed::RustEmbed)]
#[folder = "web/dist"]
struct Made;

/// Shown where the page was not built in.
const NOTE: &str = include_str!("note.html");

/// `GET /`
pub(super) async fn index() -> Response {
    let page = Made::get("index.html").map_or_else(|| NOTE.as_bytes().to_vec(), |file| file.data.into_owned());
    let mut response = page.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// `GET /assets/{name}`: their names change with what is in them.
pub(super) async fn asset(Path(name): Path<String>) -> Answer {
    let kind = match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("woff2") => "font/woff2",
        _ => return Err(Problem::missing("file")),
    };
    let file = Made::get(&format!("assets/{name}")).ok_or_else(|| Problem::missing("file"))?;
    let mut response = (StatusCode::OK, file.data.into_owned()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    Ok(response)
}
