//! Takes connections: no more than leave files for the work, and only of those
//! who say in time what they want. A stranger who says nothing loses the place.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::serve::Listener as _;
use futures_util::{StreamExt as _, stream};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Longest wait for the head of a request, and so for a further one on the same connection.
const HEAD: Duration = Duration::from_secs(10);

/// Longest wait for a whole body that is no upload; those are small.
const BODY: Duration = Duration::from_secs(15);

/// Connections if the system does not say how many files a process may have open.
const USUAL: u64 = 512;

/// The most there is use for; listeners to events, of whom there may be many, have one each.
const MOST: u64 = 4096;

/// A connection and its place.
type Visit = (TcpStream, OwnedSemaphorePermit);

/// Answers by `router` until `stop`; then lets requests that have begun end.
pub(super) async fn answer(mut listener: TcpListener, router: &Router, stop: &CancellationToken) {
    let places = Arc::new(Semaphore::new(places()));
    let mut visits = JoinSet::new();
    while let Some(visit) = stop.run_until_cancelled(next(&mut listener, &places)).await.flatten() {
        visits.spawn(attend(visit, router.clone(), stop.clone()));
        // Those that have ended meanwhile.
        while visits.try_join_next().is_some() {}
    }
    // Another process may take the port now.
    drop(listener);
    visits.join_all().await;
}

/// The next connection, when there is a place for it.
async fn next(listener: &mut TcpListener, places: &Arc<Semaphore>) -> Option<Visit> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    let (stream, _) = listener.accept().await;
    Some((stream, place))
}

/// Answers all requests of one connection.
async fn attend((stream, _place): Visit, router: Router, stop: CancellationToken) {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    let mut requests = pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    let ended = tokio::select! {
        ended = requests.as_mut() => ended,
        () = stop.cancelled() => {
            requests.as_mut().graceful_shutdown();
            requests.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

/// How many connections there may be: half of the files that this process may have open.
fn places() -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let places = files.map_or(USUAL, |files| files / 2).clamp(1, MOST);
    usize::try_from(places).unwrap_or(1)
}

/// A body that ends in an error if it is not whole in time.
pub(super) fn in_time(body: Body) -> Body {
    let end = Instant::now() + BODY;
    Body::from_stream(stream::unfold(body.into_data_stream(), move |mut body| async move {
        match tokio::time::timeout_at(end, body.next()).await {
            Ok(chunk) => Some((chunk?.map_err(std::io::Error::other), body)),
            Err(_) => Some((Err(std::io::ErrorKind::TimedOut.into()), body)),
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_comes_too_slowly_is_given_up() {
        let slow = stream::unfold(0, |number| async move {
            tokio::time::sleep(Duration::from_secs(4)).await;
            Some((Ok::<_, std::io::Error>("x"), number + 1))
        });
        let begun = Instant::now();
        let read = axum::body::to_bytes(in_time(Body::from_stream(slow)), 1000).await;
        assert!(read.is_err() && begun.elapsed() == BODY, "{read:?} after {:?}", begun.elapsed());
        let read = axum::body::to_bytes(in_time(Body::from("whole")), 1000).await;
        assert_eq!(read.unwrap(), "whole");
    }
}
