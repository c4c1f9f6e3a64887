//! Uploads that go on after a break: the tus protocol, version 1.0, with its
//! extensions creation, creation-with-upload and termination.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Site;
use super::problem::{Answer, Problem};
use super::uploads::{Upload, delete, shown};

/// The header that says which version is spoken.
pub(super) const VERSION_HEADER: &str = "tus-resumable";

const VERSION: &str = "1.0.0";

/// Longest `Upload-Metadata`, which is kept for as long as the upload.
const LONGEST_METADATA: usize = 4096;

/// The type of what a `PATCH` brings.
const PIECE: &str = "application/offset+octet-stream";

/// `OPTIONS /api/v1/uploads`
pub(super) async fn options(State(site): State<Arc<Site>>) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    put(&mut response, "tus-version", VERSION);
    put(&mut response, "tus-extension", "creation,creation-with-upload,termination");
    put(&mut response, "tus-max-size", &site.uploads.limit().to_string());
    response
}

/// Begins an upload.
pub(super) async fn create(site: &Site, headers: &HeaderMap, body: Body) -> Answer {
    check_version(headers)?;
    let Some(length) = number(headers, "upload-length") else {
        return Err(Problem::bad("`Upload-Length` is missing; uploads of unknown length are sent without tus"));
    };
    if length == 0 {
        return Err(Problem::bad("the upload is empty"));
    }
    let metadata = headers.get("upload-metadata").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if metadata.len() > LONGEST_METADATA {
        return Err(Problem::bad(format!("`Upload-Metadata` has more than {LONGEST_METADATA} bytes")));
    }
    let name = metadata_of(metadata, "filename").or_else(|| metadata_of(metadata, "name")).unwrap_or_default();
    let upload = site.uploads.create(&name, Some(length), metadata).await?;
    let with_bytes = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == PIECE);
    let offset = if with_bytes { receive(site, &upload, 0, body).await? } else { 0 };
    let mut response = (StatusCode::CREATED, Json(shown(&upload, offset, offset == length))).into_response();
    put(&mut response, "location", &format!("{}/api/v1/uploads/{}", site.base(), upload.id));
    put(&mut response, "upload-offset", &offset.to_string());
    Ok(response)
}

/// `PATCH /api/v1/uploads/{id}`
pub(super) async fn patch(
    State(site): State<Arc<Site>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    check_version(&headers)?;
    if headers.get(header::CONTENT_TYPE).is_none_or(|kind| kind != PIECE) {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("send `{PIECE}`")));
    }
    let offset = number(&headers, "upload-offset").ok_or_else(|| Problem::bad("`Upload-Offset` is missing"))?;
    let (upload, here) = site.uploads.find(&id).await?;
    if offset != here {
        return Err(Problem::new(StatusCode::CONFLICT, format!("the upload has {here} bytes, not {offset}")));
    }
    let offset = if Some(here) == upload.size { here } else { receive(&site, &upload, here, body).await? };
    let mut response = StatusCode::NO_CONTENT.into_response();
    put(&mut response, "upload-offset", &offset.to_string());
    Ok(response)
}

/// `POST /api/v1/uploads/{id}`: another method, sent by who cannot send it as such.
pub(super) async fn instead(site: State<Arc<Site>>, id: Path<String>, headers: HeaderMap, body: Body) -> Answer {
    match headers.get("x-http-method-override").map(HeaderValue::as_bytes) {
        Some(b"PATCH") => patch(site, id, headers, body).await,
        Some(b"DELETE") => delete(site, id).await,
        _ => Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this address does not take that method")
            .hint("`X-HTTP-Method-Override` says PATCH or DELETE")),
    }
}

/// Answers a `HEAD`: how many bytes are here.
pub(super) fn status(upload: &Upload, bytes: u64) -> Response {
    let mut response = StatusCode::OK.into_response();
    put(&mut response, "cache-control", "no-store");
    if !upload.metadata.is_empty() {
        put(&mut response, "upload-metadata", &upload.metadata);
    }
    put(&mut response, "upload-offset", &bytes.to_string());
    if let Some(size) = upload.size {
        put(&mut response, "upload-length", &size.to_string());
    }
    response
}

/// What every answer about uploads says: which version this is, and if another was asked for, which there are.
pub(super) fn mark(response: &mut Response) {
    put(response, VERSION_HEADER, VERSION);
    if response.status() == StatusCode::PRECONDITION_FAILED {
        put(response, "tus-version", VERSION);
    }
}

async fn receive(site: &Site, upload: &Upload, from: u64, body: Body) -> Answer<u64> {
    let _writing = site.uploads.take(&upload.id)?;
    // Somebody else may have written until a moment ago.
    let (_, here) = site.uploads.find(&upload.id).await?;
    if here != from {
        return Err(Problem::new(StatusCode::CONFLICT, format!("the upload has {here} bytes, not {from}")));
    }
    let bytes = site.uploads.append(upload, from, body).await?;
    site.metrics.uploaded(bytes - from);
    if Some(bytes) == upload.size {
        site.uploads.finish(upload).await?;
    }
    Ok(bytes)
}

fn check_version(headers: &HeaderMap) -> Answer<()> {
    if headers.get(VERSION_HEADER).is_some_and(|version| version == VERSION) {
        return Ok(());
    }
    Err(Problem::new(StatusCode::PRECONDITION_FAILED, format!("`Tus-Resumable` is not {VERSION}")))
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// A value of `Upload-Metadata`: names and values in base64, with commas between them.
fn metadata_of(metadata: &str, wanted: &str) -> Option<String> {
    let mut pairs = metadata.split(',').filter_map(|pair| pair.trim().split_once(' '));
    let (_, value) = pairs.find(|(name, _)| *name == wanted)?;
    Some(String::from_utf8_lossy(&STANDARD.decode(value.trim()).ok()?).into_owned())
}

fn put(response: &mut Response, name: &'static str, value: &str) {
    let value = HeaderValue::try_from(value).ok();
    response.headers_mut().extend(value.map(|value| (HeaderName::from_static(name), value)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_read_as_far_as_it_can_be() {
        let metadata = "filename aG9saWRheS5tcDQ=, filetype dmlkZW8vbXA0,bad %%%,alone";
        assert_eq!(metadata_of(metadata, "filename").as_deref(), Some("holiday.mp4"));
        assert_eq!(metadata_of(metadata, "bad"), None);
        assert_eq!(metadata_of(metadata, "alone"), None);
    }
}
