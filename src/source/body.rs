//! Bytes of an answer as they come, whoever sends them.

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use reqwest::Response;

use crate::model::secret::masked_url;
use crate::storage::ByteStream;

use super::http::could_not;
use super::object;
use super::tries::Trouble;

/// The body of one answer.
pub(super) enum Body {
    /// Of a web server.
    Http(Response),
    /// Of a store, and the address for people.
    Object(ByteStream, String),
}

impl Body {
    /// The next bytes; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Trouble> {
        match self {
            Self::Http(response) => {
                let next = response.chunk().await;
                next.map_err(|error| could_not(&error, &masked_url(response.url())))
            }
            Self::Object(stream, _) => stream.try_next().await.map_err(object::trouble),
        }
    }

    /// Where it comes from, for people.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Http(response) => masked_url(response.url()),
            Self::Object(_, shown) => shown.clone(),
        }
    }
}
