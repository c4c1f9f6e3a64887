//! Opens the port, answers, follows the queue and delivers webhooks, until it is told to stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::deliver::{self, Courier};
use super::{Parts, Site, WebSettings, follow, router};
use crate::model::failure::Failure;

/// How long answers that have begun may go on after the server was told to stop.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// A server that has its port and answers nobody yet.
pub struct Server {
    site: Arc<Site>,
    listener: TcpListener,
    courier: Courier,
}

impl Server {
    /// Takes the port. Refused beyond this machine while there is no token, for everybody could do everything.
    pub async fn bind(parts: Parts) -> Result<Self, Failure> {
        check_open(&parts.settings, parts.store.has_tokens().await?)?;
        let address = parts.settings.listen;
        let listener = TcpListener::bind(address).await.map_err(|error| {
            Failure::io(&format!("could not listen on `{address}`"), &error)
                .hint("another program may have the port: choose another with --listen")
        })?;
        let courier = Courier::new(parts.settings.reach.clone())?;
        Ok(Self { site: Site::new(parts).await?, listener, courier })
    }

    /// The address people open.
    pub fn address(&self) -> String {
        match self.site.base() {
            base if base.is_empty() => {
                let address = self.listener.local_addr().unwrap_or(self.site.settings.listen);
                format!("http://{address}/")
            }
            base => format!("{base}/"),
        }
    }

    /// Answers until the stop that it was built with.
    pub async fn run(self) -> Result<(), Failure> {
        let Self { site, listener, courier } = self;
        let mut tasks = JoinSet::new();
        tasks.spawn(follow::follow(Arc::clone(&site)));
        tasks.spawn(deliver::deliver(Arc::clone(&site), courier));
        let stopped = site.stop.clone().cancelled_owned();
        let serving = axum::serve(listener, router::router(&site)).with_graceful_shutdown(stopped);
        let mut serving = std::pin::pin!(serving.into_future());
        let served = tokio::select! {
            served = &mut serving => Some(served),
            () = site.stop.cancelled() => None,
        };
        let served = match served {
            Some(served) => served,
            // Who still loads a film then begins again at that byte.
            None => tokio::time::timeout(LAST_ANSWERS, serving).await.unwrap_or(Ok(())),
        };
        site.stop.cancel();
        tasks.join_all().await;
        site.store.close().await;
        served.map_err(|error| Failure::io("could not go on answering", &error))
    }
}

fn check_open(settings: &WebSettings, has_tokens: bool) -> Result<(), Failure> {
    if settings.listen.ip().is_loopback() || has_tokens {
        return Ok(());
    }
    Err(Failure::permanent(format!("there is no token, and `{}` can be reached by others", settings.listen))
        .hint("make one first: `forebay token add NAME --scope admin`"))
}
