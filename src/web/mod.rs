//! The API, the page and the key server. It sees jobs through the queue and the
//! board of the engine alone, and knows no backend.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::engine::live::Live;
use crate::model::address::Reach;
use crate::model::failure::Failure;
use crate::queue::Queue;
use crate::storage::store::Store as KeyStore;

pub mod store;
pub mod token;
pub mod webhook;

pub mod server;

mod deliver;
mod door;
mod events;
mod follow;
mod grant;
mod guard;
mod guest;
mod hub;
mod index;
mod jobs;
mod keys;
mod login;
mod media;
mod metrics;
mod openapi;
mod page;
mod problem;
mod router;
mod status;
mod summary;
mod timeline;
mod tus;
mod uploads;
mod webhooks;

/// What the server is told.
#[derive(Clone, Debug)]
pub struct WebSettings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// How people and players reach it, such as `https://video.example.org`; nothing if only by the address.
    pub public_url: Option<url::Url>,
    /// Names under which it may be asked for, besides those.
    pub hosts: BTreeSet<String>,
    /// Origins of pages that may fetch media and keys.
    pub origins: BTreeSet<String>,
    /// Where jobs publish if they do not say.
    pub to: String,
    /// The folder of `to`, if it is one: then media are served from here.
    pub media: Option<PathBuf>,
    /// Where players find media that lie elsewhere.
    pub media_url: Option<url::Url>,
    /// Everybody may fetch media, not only who has a token or a grant.
    pub public_media: bool,
    /// Folder of uploads.
    pub uploads: PathBuf,
    /// Largest upload.
    pub upload_limit: u64,
    /// Bytes of all uploads together.
    pub upload_room: u64,
    /// Seconds until an upload that nobody used is removed.
    pub upload_keep: u64,
    /// Requests a second that one client may send, on average.
    pub rate: u32,
    /// How far webhooks reach.
    pub reach: Reach,
    /// Seconds that jobs which are over are remembered.
    pub keep: u64,
}

/// What the server can have done that is not the queue's to do.
#[async_trait]
pub trait Service: Send + Sync {
    /// Checks the package whose master playlist is at `master`, and gives the findings.
    async fn verify(&self, master: &str) -> Result<Value, Failure>;
}

/// All that requests work with.
pub struct Site {
    settings: WebSettings,
    queue: Arc<dyn Queue>,
    live: Arc<Live>,
    store: store::Store,
    hub: hub::Hub,
    uploads: uploads::Uploads,
    /// Signs cookies and grants.
    secret: crate::model::secret::Secret,
    /// Where key files are.
    keys: Option<KeyStore>,
    service: Arc<dyn Service>,
    metrics: metrics::Metrics,
    rates: guest::Rates,
    /// Checks of packages that may run at once.
    verifies: tokio::sync::Semaphore,
    stop: CancellationToken,
}

/// What the server is built from.
pub struct Parts {
    /// What it is told.
    pub settings: WebSettings,
    /// Where jobs wait.
    pub queue: Arc<dyn Queue>,
    /// What this process does.
    pub live: Arc<Live>,
    /// Its own memory.
    pub store: store::Store,
    /// Where key files are.
    pub keys: Option<KeyStore>,
    /// What it can have done.
    pub service: Arc<dyn Service>,
    /// No more requests after this.
    pub stop: CancellationToken,
}

impl Site {
    /// Puts the parts together.
    pub async fn new(parts: Parts) -> Result<Arc<Self>, Failure> {
        let Parts { settings, queue, live, store, keys, service, stop } = parts;
        let uploads = uploads::Uploads::open(&settings).await?;
        let secret = store.secret("cookies").await?;
        Ok(Arc::new(Self {
            rates: guest::Rates::new(settings.rate),
            hub: hub::Hub::new(),
            metrics: metrics::Metrics::default(),
            verifies: tokio::sync::Semaphore::new(2),
            settings,
            queue,
            live,
            store,
            uploads,
            secret,
            keys,
            service,
            stop,
        }))
    }

    /// The beginning of every address that is given out, without a `/` at its end;
    /// empty if only the client knows how it reaches us.
    fn base(&self) -> String {
        self.settings.public_url.as_ref().map(|url| url.as_str().trim_end_matches('/').to_owned()).unwrap_or_default()
    }
}

/// Milliseconds since 1970.
pub fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
