//! Opens the port, answers, follows the queue and delivers webhooks, until it is told to stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::deliver::{self, Courier};
use super::{Parts, Site, WebSettings, door, follow, router};
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
    pub async fn run(self) {
        let Self { site, listener, courier } = self;
        let mut tasks = JoinSet::new();
        tasks.spawn(follow::follow(Arc::clone(&site)));
        tasks.spawn(deliver::deliver(Arc::clone(&site), courier));
        let router = router::router(&site);
        tokio::select! {
            () = door::answer(listener, &router, &site.stop) => {}
            () = long_after(&site.stop) => {}
        }
        site.stop.cancel();
        tasks.join_all().await;
        site.store.close().await;
    }
}

/// Waits until the last answers should be over. Who still loads a film then begins again at that byte.
async fn long_after(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(LAST_ANSWERS).await;
}

fn check_open(settings: &WebSettings, has_tokens: bool) -> Result<(), Failure> {
    if settings.listen.ip().is_loopback() || has_tokens {
        return Ok(());
    }
    Err(Failure::permanent(format!("there is no token, and `{}` can be reached by others", settings.listen))
        .hint("make one first: `forebay token add NAME --scope admin`"))
}
