//! `GET /api/v1/events`: what happens, as server-sent events. Whoever comes back
//! with `Last-Event-ID` is told what changed meanwhile.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::Site;
use super::follow;
use super::hub::{Message, RESET, Seat};
use super::problem::{Answer, Problem};

/// Jobs that are told to somebody who comes back; if there were more, they load the page anew.
const MISSED: u32 = 1000;

/// Silence that proxies bear.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

struct Listening {
    first: VecDeque<Message>,
    messages: Receiver<Message>,
    /// What was told already.
    version: u64,
    stop: CancellationToken,
    _seat: Seat,
}

/// `GET /api/v1/events`
pub(super) async fn events(State(site): State<Arc<Site>>, headers: HeaderMap) -> Answer {
    let (messages, seat) = site
        .hub
        .listen()
        .ok_or_else(|| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many listen already").again_in(10))?;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse::<u64>().ok());
    let mut first = VecDeque::new();
    let mut version = 0;
    if let Some(last) = last {
        let missed = site.store.since(last, MISSED + 1).await?;
        let newest = site.store.newest().await?.map_or(0, |(_, version, _)| version);
        // Who knows of later changes than there were has heard them from a queue that is gone.
        if missed.len() > usize::try_from(MISSED).unwrap_or(usize::MAX) || last > newest {
            first.push_back(message(0, RESET, &Value::Null));
        } else if let Some(newest) = missed.last().and_then(|job| job["version"].as_u64()) {
            version = newest;
            first.push_back(message(newest, "jobs", &json!(missed)));
        }
    }
    first.push_back(message(0, "counts", &follow::counts(&site).await));
    first.push_back(message(0, "live", &follow::live(&site)));
    let listening = Listening { first, messages, version, stop: site.stop.clone(), _seat: seat };
    let events = stream::unfold(listening, next);
    Ok(answer(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()))
}

/// A proxy that collects an answer would keep events from the page.
fn answer(mut response: Response) -> Response {
    response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

async fn next(mut listening: Listening) -> Option<(Result<Event, Infallible>, Listening)> {
    if let Some(message) = listening.first.pop_front() {
        return Some((Ok(event(&message)), listening));
    }
    loop {
        let heard = tokio::select! {
            () = listening.stop.cancelled() => return None,
            heard = listening.messages.recv() => heard,
        };
        match heard {
            Ok(message) if message.version != 0 && message.version <= listening.version => {}
            Ok(message) => {
                if message.event == RESET {
                    listening.version = 0;
                }
                return Some((Ok(event(&message)), listening));
            }
            Err(RecvError::Lagged(_)) => return Some((Ok(event(&message(0, RESET, &Value::Null))), listening)),
            Err(RecvError::Closed) => return None,
        }
    }
}

fn message(version: u64, event: &'static str, data: &Value) -> Message {
    Message { version, event, data: data.to_string().into() }
}

fn event(message: &Message) -> Event {
    let event = Event::default().event(message.event).data(&message.data);
    if message.version == 0 { event } else { event.id(message.version.to_string()) }
}
