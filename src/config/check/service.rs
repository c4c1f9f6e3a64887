//! What runs as a service: the queue, its workers, the page.

use super::{ConfigError, Reader};
use crate::config::{Queue, Serve, Worker};
use crate::model::address::Reach;
use crate::model::id;
use crate::model::job::label_set;

impl Reader<'_> {
    pub(super) fn queue(&self) -> Result<Queue, ConfigError> {
        Ok(Queue { url: self.text("queue.url").into(), keep: self.time("queue.keep", 0.0..=3e9)? })
    }

    pub(super) fn worker(&self) -> Result<Worker, ConfigError> {
        let name = self.text("worker.name");
        if !name.is_empty() && !id::check(name) {
            return Err(self.wrong("worker.name", "give letters, digits, `.`, `_` and `-`"));
        }
        let labels = label_set(self.texts("worker.labels")?);
        Ok(Worker {
            name: name.into(),
            labels: labels.map_err(|what| self.wrong("worker.labels", &what))?,
            slots: self.count("worker.slots", 1..=1000)?,
            lease: self.time("worker.lease", 1.0..=86_400.0)?,
            share_after: self.time("worker.share-after", 0.0..=3e9)?,
            retry_wait: self.time("worker.retry-wait", 0.0..=86_400.0)?,
            bench: self.time("worker.bench", 0.0..=86_400.0)?,
            grace: self.time("worker.grace", 0.0..=86_400.0)?,
            inputs: self.texts("worker.inputs")?,
            outputs: self.texts("worker.outputs")?,
            reach: Reach::listed(&self.texts("worker.private-hosts")?),
            otlp: self.web_address("worker.otlp")?,
        })
    }

    pub(super) fn serve(&self) -> Result<Serve, ConfigError> {
        let wanted = "give an address and a port, such as `127.0.0.1:8080` or `[::]:8080`";
        let listen = self.text("serve.listen").parse().map_err(|_| self.wrong("serve.listen", wanted))?;
        Ok(Serve {
            listen,
            public_url: self.web_address("serve.public-url")?,
            hosts: self.texts("serve.hosts")?.into_iter().map(|host| host.to_lowercase()).collect(),
            origins: self.texts("serve.origins")?.into_iter().map(|url| url.trim_end_matches('/').into()).collect(),
            to: self.text("serve.to").into(),
            media_url: self.web_address("serve.media-url")?,
            public_media: self.switch("serve.public-media"),
            upload_limit: self.bytes("serve.upload-limit")?,
            upload_room: self.bytes("serve.upload-room")?,
            upload_keep: self.time("serve.upload-keep", 1.0..=3e9)?,
            rate: self.small_count("serve.rate", 1..=1_000_000)?,
            reach: Reach::listed(&self.texts("serve.private-hosts")?),
        })
    }

    /// The beginning of web addresses, if one is given.
    fn web_address(&self, key: &str) -> Result<Option<url::Url>, ConfigError> {
        let text = self.text(key);
        if text.is_empty() {
            return Ok(None);
        }
        let url = url::Url::parse(text).ok().filter(|url| {
            matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none()
        });
        let wanted = "give the beginning of an address, such as `https://video.example.org`";
        url.map(Some).ok_or_else(|| self.wrong(key, wanted))
    }
}
