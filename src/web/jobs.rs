//! Jobs: handed in, listed, shown, cancelled, retried, checked.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::guest::Guest;
use super::problem::{Answer, Problem};
use super::summary::whole;
use super::token::Scope;
use super::{Site, follow, index, uploads};
use crate::model::fault;
use crate::model::job::{Job, LONGEST};
use crate::queue::{Record, State as JobState};

/// Jobs on a page if nothing is said, and at the most.
const PAGE: (u32, u32) = (50, 200);

/// Words of one search.
const MOST_WORDS: usize = 8;

/// Longest `Idempotency-Key`.
const LONGEST_KEY: usize = 64;

/// `POST /api/v1/jobs`
pub(super) async fn submit(
    State(site): State<Arc<Site>>,
    Extension(guest): Extension<Guest>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    check_size(body.len())?;
    let mut value: Value =
        serde_json::from_slice(&body).map_err(|error| Problem::bad(format!("not valid JSON: {error}")))?;
    let key = headers.get("idempotency-key").map(|key| idempotency_key(&guest, key)).transpose()?;
    complete(&site, &guest, &mut value, key).await?;
    let job = Job::from_value(&value)?.from_outside()?;
    // With all that was added, and as workers read it.
    check_size(job.to_value().to_string().len())?;
    let submitted = site.queue.submit(&job).await?;
    fault::point("job-accepted");
    let record = site.queue.get(&submitted.id).await?;
    let record = record.ok_or_else(|| Problem::missing("job"))?;
    if !submitted.new && headers.contains_key("idempotency-key") && record.job != job.to_value() {
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "this Idempotency-Key was used for another job"));
    }
    site.metrics.submitted(submitted.new);
    let status = if submitted.new { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = (status, Json(whole(&record, &site.settings))).into_response();
    let place = HeaderValue::try_from(format!("/api/v1/jobs/{}", submitted.id));
    response.headers_mut().extend(place.ok().map(|place| (header::LOCATION, place)));
    Ok(response)
}

fn check_size(bytes: usize) -> Answer<()> {
    if bytes > LONGEST {
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("a job has at most {LONGEST} bytes")));
    }
    Ok(())
}

/// Adds what the server knows better than who asks, and refuses what is not theirs to say.
async fn complete(site: &Site, guest: &Guest, value: &mut Value, key: Option<String>) -> Answer<()> {
    let Value::Object(job) = value else { return Err(Problem::bad("a job is a JSON object")) };
    job.entry("v").or_insert(json!(1));
    job.entry("kind").or_insert(json!("hls"));
    job.entry("to").or_insert(json!(site.settings.to));
    job.extend(key.map(|key| ("key".to_owned(), json!(key))));
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(String::from);
    if let Some(input) = text(job.get("input")) {
        if let Some(id) = input.strip_prefix("upload:") {
            let (path, title) = uploaded(site, id, job).await?;
            job.insert("input".into(), path);
            if let Some(title) = title {
                job.entry("title").or_insert(title);
            }
        } else if !input.contains("://") && !guest.token.may(Scope::Admin) {
            return Err(Problem::new(StatusCode::FORBIDDEN, "files of the server are named by administrators alone")
                .hint("send the file to /api/v1/uploads, and name it as `upload:ID`"));
        }
    }
    let encrypts = text(job.get("options").and_then(|options| options.get("encrypt")));
    if encrypts.is_some_and(|method| method != "none") && site.keys.is_some() {
        let keys = format!("{}/keys/{{id}}/{{key}}", site.base());
        if let Some(Value::Object(options)) = job.get_mut("options") {
            options.entry("key-uri").or_insert(json!(keys));
        }
    }
    Ok(())
}

/// Where the upload is that a job names, and its title.
async fn uploaded(site: &Site, id: &str, job: &Map<String, Value>) -> Answer<(Value, Option<Value>)> {
    match site.uploads.finished(id).await {
        Ok(upload) => {
            let title = (!upload.name.is_empty()).then(|| json!(upload.title()));
            Ok((json!(upload.path), title))
        }
        Err(problem) => earlier(site, id, job).await?.ok_or(problem),
    }
}

/// The same of a request that was sent before: its job may be done, and the upload gone with that.
async fn earlier(site: &Site, id: &str, job: &Map<String, Value>) -> Answer<Option<(Value, Option<Value>)>> {
    if !job.contains_key("key") {
        return Ok(None);
    }
    let wish = Job::from_value(&Value::Object(job.clone()))?.from_outside()?;
    let Some(number) = site.queue.twin(&wish).await? else { return Ok(None) };
    let Some(Record { job, .. }) = site.queue.get(&number).await? else { return Ok(None) };
    let input = job.get("input").and_then(Value::as_str).unwrap_or_default();
    let same = uploads::id_of(&site.settings, input).is_some_and(|known| known == id);
    Ok(same.then(|| (json!(input), job.get("title").cloned())))
}

/// The key of a request as that of the job: what others send does not meet it.
fn idempotency_key(guest: &Guest, key: &HeaderValue) -> Answer<String> {
    let text = key.to_str().map(|key| key.trim_matches('"')).unwrap_or_default();
    if text.is_empty() || text.len() > LONGEST_KEY {
        return Err(Problem::bad(format!("an Idempotency-Key has 1 to {LONGEST_KEY} plain letters")));
    }
    Ok(format!("{}:{text}", guest.token.name))
}

/// What `GET /api/v1/jobs` takes.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Listing {
    state: String,
    q: String,
    after: String,
    limit: Option<u32>,
}

/// `GET /api/v1/jobs`
pub(super) async fn list(
    State(site): State<Arc<Site>>,
    listing: Result<Query<Listing>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let Query(listing) = listing.map_err(|error| Problem::bad(error.body_text()))?;
    let limit = listing.limit.unwrap_or(PAGE.0);
    if !(1..=PAGE.1).contains(&limit) {
        return Err(Problem::bad(format!("`limit` is from 1 to {}", PAGE.1)));
    }
    let state = (!listing.state.is_empty()).then(|| JobState::named(&listing.state));
    let state = state.map(|state| state.ok_or_else(|| Problem::bad("there is no such `state`"))).transpose()?;
    let words = listing.q.to_lowercase();
    let words = words.split_whitespace().take(MOST_WORDS).map(|word| word.replace('\0', "")).collect();
    let before = (!listing.after.is_empty()).then(|| {
        let (submitted, id) = listing.after.split_once('.')?;
        Some((submitted.parse().ok()?, id.to_owned()))
    });
    let before =
        before.map(|before| before.ok_or_else(|| Problem::bad("`after` is not of this server"))).transpose()?;
    let query = index::Query { state, words, before, limit: limit + 1 };
    let mut jobs = site.store.page(&query).await?;
    let more = jobs.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    jobs.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next = jobs
        .last()
        .filter(|_| more)
        .map(|job| format!("{}.{}", job["submitted"], job["id"].as_str().unwrap_or_default()));
    Ok(Json(json!({ "jobs": jobs, "next": next, "counts": follow::counts(&site).await })).into_response())
}

/// `GET /api/v1/jobs/{id}`
pub(super) async fn show(State(site): State<Arc<Site>>, Path(id): Path<String>) -> Answer {
    let record = find(&site, &id).await?;
    let mut value = whole(&record, &site.settings);
    value["live"] = follow::live(&site).get(&id).cloned().unwrap_or(Value::Null);
    Ok(Json(value).into_response())
}

/// `POST /api/v1/jobs/{id}/cancel`
pub(super) async fn cancel(State(site): State<Arc<Site>>, Path(id): Path<String>) -> Answer {
    let record = find(&site, &id).await?;
    if record.state.is_over() {
        return Err(Problem::new(StatusCode::CONFLICT, format!("the job is {} already", record.state.name())));
    }
    site.queue.cancel(&id).await?;
    shown(&site, &id).await
}

/// `POST /api/v1/jobs/{id}/retry`
pub(super) async fn retry(State(site): State<Arc<Site>>, Path(id): Path<String>) -> Answer {
    let record = find(&site, &id).await?;
    if !matches!(record.state, JobState::Dead | JobState::Cancelled | JobState::Delayed) {
        return Err(Problem::new(StatusCode::CONFLICT, format!("the job is {}", record.state.name()))
            .hint("only dead, cancelled and delayed jobs can be tried again"));
    }
    site.queue.revive(&id).await?;
    shown(&site, &id).await
}

/// `POST /api/v1/jobs/{id}/verify`
pub(super) async fn verify(State(site): State<Arc<Site>>, Path(id): Path<String>) -> Answer {
    let record = find(&site, &id).await?;
    let master = record.result.as_ref().and_then(|result| result.get("master")).and_then(Value::as_str);
    let Some(master) = master else {
        return Err(Problem::new(StatusCode::CONFLICT, "the job has published nothing yet"));
    };
    let Ok(_permit) = site.verifies.try_acquire() else {
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "other packages are being checked").again_in(5));
    };
    let findings = site.service.verify(master).await?;
    Ok(Json(findings).into_response())
}

async fn find(site: &Site, id: &str) -> Answer<Record> {
    site.queue.get(id).await?.ok_or_else(|| Problem::missing("job"))
}

async fn shown(site: &Site, id: &str) -> Answer<Response> {
    let record = find(site, id).await?;
    Ok(Json(whole(&record, &site.settings)).into_response())
}
