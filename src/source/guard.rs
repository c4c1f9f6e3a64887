//! Keeps requests whose addresses come from outside on the public internet.
//!
//! A name is looked up once, by the connection itself, so there is no second
//! look that could differ; redirects are asked about one by one.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::ClientBuilder;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Url;

use crate::model::address::Reach;
use crate::model::failure::Failure;
use crate::model::fault;
use crate::model::secret::masked_url;

/// A name leads to private addresses alone.
#[derive(Debug, thiserror::Error)]
#[error("it leads into a private network")]
struct Private;

/// Looks names up and forgets what is out of reach.
struct Guarded(Reach);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0.clone();
        Box::pin(async move {
            let addresses: Addrs = Box::new(look_up(&reach, name.as_str(), 0).await?.into_iter());
            Ok(addresses)
        })
    }
}

/// The addresses of a host that may be connected to: at least one.
pub(super) async fn look_up(reach: &Reach, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let mut addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
    addresses.retain(|address| reach.may_connect(host, address.ip()));
    if fault::mutant("look-twice") && !addresses.is_empty() {
        return Ok(tokio::net::lookup_host((host, port)).await?.collect());
    }
    if addresses.is_empty() { Err(io::Error::new(io::ErrorKind::PermissionDenied, Private)) } else { Ok(addresses) }
}

/// The beginning of an HTTP client that goes no further than it may. A proxy would
/// look names up itself, so there is none where they have to be checked.
pub(super) fn client(reach: &Reach) -> ClientBuilder {
    let builder = reqwest::Client::builder();
    match reach {
        Reach::Anywhere => builder,
        Reach::Public(_) => builder.no_proxy().dns_resolver(Arc::new(Guarded(reach.clone()))),
    }
}

/// Refuses addresses that are written out and private.
pub(super) fn may_ask(reach: &Reach, url: &Url) -> Result<(), Failure> {
    if reach.may_ask(url) { Ok(()) } else { Err(refused(&masked_url(url))) }
}

/// What is said when an address is out of reach.
pub(super) fn refused(shown: &str) -> Failure {
    Failure::permanent(format!("`{shown}` leads into a private network, where jobs may not fetch"))
        .hint("if that host is meant to be reached, name it in `worker.private-hosts`")
}

/// Whether a request failed for that reason.
pub(super) fn is_private(error: &reqwest::Error) -> bool {
    let mut reason: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(one) = reason {
        let inner = one.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if one.is::<Private>() || inner.is_some_and(<dyn std::error::Error + Send + Sync>::is::<Private>) {
            return true;
        }
        reason = one.source();
    }
    false
}
