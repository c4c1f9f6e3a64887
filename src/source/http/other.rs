//! What an input names: parts of a manifest, its segments and keys, on whichever server they lie.

use std::ops::Range;

use url::Url;

use crate::model::failure::Failure;
use crate::model::secret::masked_url;

use super::super::body::Body;
use super::super::tries::Trouble;
use super::answer::Answer;
use super::client::{Client, Input, Question};

/// One answer that is all of what was asked for.
pub(in super::super) struct Other {
    pub(in super::super) body: Body,
    /// Its bytes, if they are said.
    pub(in super::super) bytes: Option<u64>,
    /// Bytes of the whole file, if they are said.
    pub(in super::super) whole: Option<u64>,
    /// What tells this version of the file from others.
    pub(in super::super) version: Option<String>,
    /// Where redirects led.
    pub(in super::super) at: Option<Url>,
}

/// Asks once for the file at `url`, or for a part of it. Headers of the list go to the input's own server alone.
pub(in super::super) async fn ask_other(
    client: &Client,
    input: &Input<'_>,
    url: &Url,
    range: Option<Range<u64>>,
    packed: bool,
) -> Result<Other, Trouble> {
    let question = Question { at: Some(url.clone()), range: range.clone(), packed, ..Question::default() };
    let (response, at) = client.ask(input, &question).await?;
    let answer = Answer::of(&response);
    let refused = |what: &str| Trouble::Final(Failure::permanent(format!("`{}` {what}", masked_url(url))));
    match (answer.status, answer.range, range) {
        _ if answer.encoded && !packed => return Err(refused("sends its bytes compressed, although asked not to")),
        (200, _, None) => (),
        (206, Some((first, last, _)), Some(range)) if first == range.start && last + 1 == range.end => (),
        (206, Some((first, last, _)), Some(range)) if first == range.start && last < range.end => {
            return Err(refused(&format!("ends at byte {}, within the part that its playlist names", last + 1)));
        }
        (416, ..) => return Err(refused("has no such bytes as its playlist names")),
        (200, _, Some(_)) => return Err(refused("cannot send a part of the file, as its playlist wants")),
        _ => return Err(refused("sent another part than asked for")),
    }
    let version = answer.etag.clone().filter(|etag| !etag.starts_with("W/")).or(answer.last_modified.clone());
    let (bytes, whole) = (answer.length, answer.whole_size());
    Ok(Other { body: Body::Http(response), bytes, whole, version, at: Some(at) })
}
