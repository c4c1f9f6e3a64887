//! Delivers webhooks from the outbox, by a client that private networks are closed to.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use url::Url;

use super::webhook::{Delivery, Letter, signature};
use super::{Site, now};
use crate::model::address::Reach;
use crate::model::failure::Failure;
use crate::model::fault;

/// How often the outbox is looked at.
const BEAT: Duration = Duration::from_millis(500);

/// Messages that are on their way to one webhook at once.
const EACH: u32 = 4;

/// Messages that are on their way at once.
const AT_ONCE: usize = 64;

/// Longest time for an answer, as the specification asks.
const PATIENCE: Duration = Duration::from_secs(15);

/// Sends to places that others named.
#[derive(Clone)]
pub(super) struct Courier {
    http: reqwest::Client,
    reach: Reach,
}

/// Looks names up, and gives the addresses of the public internet alone. The
/// connection goes to what was checked: there is no second look that could differ.
struct Guarded {
    reach: Reach,
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.reach.clone();
        Box::pin(async move {
            let name = name.as_str().to_owned();
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| reach.may_connect(&name, address.ip())).collect();
            if public.is_empty() {
                return Err("it leads into a private network".into());
            }
            if fault::mutant("look-twice") {
                let again: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
                return Ok(Box::new(again.into_iter()) as Addrs);
            }
            let addresses: Addrs = Box::new(public.into_iter());
            Ok(addresses)
        })
    }
}

impl Courier {
    /// A courier to the public internet, and to the hosts of private networks that the settings name.
    pub(super) fn new(reach: Reach) -> Result<Self, Failure> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("forebay/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(PATIENCE)
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(Arc::new(Guarded { reach: reach.clone() }))
            .no_proxy()
            .pool_max_idle_per_host(1)
            .build()
            .map_err(|error| Failure::environment(format!("could not set up HTTP: {error}")))?;
        Ok(Self { http, reach })
    }

    /// Tries to deliver a letter.
    pub(super) async fn deliver(&self, letter: &Letter, now: i64) -> Delivery {
        let url = match Url::parse(&letter.url) {
            Ok(url) if self.reach.may_ask(&url) => url,
            _ => return Delivery::Failed("it leads into a private network".into()),
        };
        let timestamp = now / 1000;
        let sent = self
            .http
            .post(url)
            .header("content-type", "application/json")
            .header("webhook-id", &letter.id)
            .header("webhook-timestamp", timestamp.to_string())
            .header("webhook-signature", signature(&letter.secret, &letter.id, timestamp, &letter.body))
            .body(letter.body.clone())
            .send()
            .await;
        match sent.map(|response| response.status().as_u16()) {
            Ok(200..=299) => Delivery::Taken,
            Ok(410) => Delivery::Gone,
            // What it says is not kept: it could be anything.
            Ok(status) => Delivery::Failed(format!("it answered {status}")),
            Err(error) if error.is_timeout() => Delivery::Failed("it gave no answer in time".into()),
            Err(_) => Delivery::Failed("it could not be reached".into()),
        }
    }
}

/// Delivers until the server stops. What is on its way then is sent again: its number stays.
pub(super) async fn deliver(site: Arc<Site>, courier: Courier) {
    let mut beats = tokio::time::interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut tasks: JoinSet<(String, String)> = JoinSet::new();
    let mut busy: HashSet<(String, String)> = HashSet::new();
    loop {
        tokio::select! {
            () = site.stop.cancelled() => return,
            Some(ended) = tasks.join_next() => {
                match ended {
                    Ok(letter) => drop(busy.remove(&letter)),
                    Err(error) => tracing::error!(%error, "a delivery ended by a fault of the program"),
                }
                continue;
            }
            _ = beats.tick() => {}
        }
        let letters = match site.store.due_letters(now(), EACH).await {
            Ok(letters) => letters,
            Err(failure) => {
                tracing::warn!(%failure, "the outbox cannot be read");
                continue;
            }
        };
        for letter in letters {
            let key = (letter.id.clone(), letter.webhook.clone());
            if busy.len() < AT_ONCE && busy.insert(key.clone()) {
                let (site, courier) = (Arc::clone(&site), courier.clone());
                tasks.spawn(async move {
                    send(&site, &courier, &letter).await;
                    key
                });
            }
        }
    }
}

async fn send(site: &Site, courier: &Courier, letter: &Letter) {
    let delivery = courier.deliver(letter, now()).await;
    site.metrics.delivered(delivery == Delivery::Taken);
    if let Delivery::Failed(why) = &delivery {
        tracing::info!(message = letter.id, webhook = letter.webhook, why, "a webhook was not delivered");
    }
    if let Err(failure) = site.store.delivered(letter, &delivery, now()).await {
        tracing::warn!(%failure, "the outbox cannot be written");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_that_lead_home_are_not_followed() {
        let courier = Courier::new(Reach::listed(&[])).unwrap();
        let letter = Letter {
            id: "msg_1".into(),
            webhook: "w".into(),
            url: "http://localhost:9/".into(),
            secret: crate::model::secret::Secret::new(vec![0; 32]),
            body: "{}".into(),
            tries: 0,
        };
        assert_eq!(courier.deliver(&letter, 0).await, Delivery::Failed("it could not be reached".into()));
        let guarded = Guarded { reach: Reach::listed(&[]) };
        let refused = guarded.resolve("localhost".parse().unwrap()).await.err().unwrap();
        assert_eq!(refused.to_string(), "it leads into a private network");
    }
}
