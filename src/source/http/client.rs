//! Asks servers: redirects followed by hand, headers kept from strangers, errors put into words.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue, IF_RANGE, LOCATION, RANGE};
use reqwest::{Method, Response, redirect};
use url::Url;

use crate::model::failure::Failure;
use crate::model::secret::masked_url;

use super::super::tries::Trouble;
use super::super::{SourceSettings, guard};
use super::answer::refusal;

/// More redirects than this are a loop.
const REDIRECTS: usize = 5;

/// An input of the list, as far as HTTP is concerned.
pub(in super::super) struct Input<'a> {
    /// Where the list says it is.
    pub(in super::super) url: &'a Url,
    /// Headers of the list, for that server alone.
    pub(in super::super) headers: &'a BTreeMap<String, String>,
    /// Its stable name.
    pub(in super::super) key: &'a str,
}

impl Input<'_> {
    /// The URL for people.
    pub(super) fn shown(&self) -> String {
        masked_url(self.url)
    }
}

/// One request.
#[derive(Clone, Default)]
pub(super) struct Question {
    pub(super) method: Method,
    /// Where earlier redirects led; the input's own URL if `None`.
    pub(super) at: Option<Url>,
    pub(super) range: Option<Range<u64>>,
    pub(super) if_range: Option<String>,
    /// Whether a compressed body is welcome, and unpacked.
    pub(super) packed: bool,
}

/// The one HTTP client.
pub(in super::super) struct Client {
    http: reqwest::Client,
    /// The same, for texts, which some servers only have compressed.
    texts: reqwest::Client,
    pub(in super::super) settings: SourceSettings,
}

impl Client {
    pub(in super::super) fn new(settings: SourceSettings) -> Result<Self, Failure> {
        let http = Self::build(&settings, false)?;
        let texts = Self::build(&settings, true)?;
        Ok(Self { http, texts, settings })
    }

    fn build(settings: &SourceSettings, packed: bool) -> Result<reqwest::Client, Failure> {
        guard::client(&settings.reach)
            .user_agent(&settings.user_agent)
            .connect_timeout(settings.connect_timeout)
            .redirect(redirect::Policy::none())
            // One connection each, because servers throttle connections, not requests.
            .http1_only()
            .gzip(packed)
            .pool_idle_timeout(Duration::from_secs(20))
            .pool_max_idle_per_host(8)
            .build()
            .map_err(|error| Failure::environment(format!("could not set up HTTP: {}", root(&error))))
    }

    /// Sends one request and follows redirects. Answers are 200, 206 or 416; all else is trouble.
    pub(super) async fn ask(&self, input: &Input<'_>, question: &Question) -> Result<(Response, Url), Trouble> {
        let mut url = question.at.clone().unwrap_or_else(|| input.url.clone());
        let http = if question.packed { &self.texts } else { &self.http };
        for _ in 0..=REDIRECTS {
            let request = http.request(question.method.clone(), url.clone()).headers(headers(input, &url, question));
            let shown = masked_url(&url);
            let patience = self.settings.slow_window;
            let Ok(response) = tokio::time::timeout(patience, request.send()).await else {
                let what = format!("`{shown}` gave no answer for {} s", patience.as_secs());
                return Err(Trouble::Again(Failure::temporary(what), None));
            };
            let response = response.map_err(|error| could_not(&error, &shown))?;
            match response.status().as_u16() {
                200 | 206 | 416 => return Ok((response, url)),
                301 | 302 | 303 | 307 | 308 => {
                    url = target(&response, &url)?;
                    guard::may_ask(&self.settings.reach, &url).map_err(Trouble::Final)?;
                }
                _ => return Err(refusal(&response, &shown)),
            }
        }
        let first = question.at.as_ref().unwrap_or(input.url);
        let what = format!("`{}` redirects more than {REDIRECTS} times", masked_url(first));
        Err(Trouble::Final(Failure::permanent(what)))
    }
}

fn headers(input: &Input<'_>, url: &Url, question: &Question) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    // Headers of the list may be secret: they are for the server the list names.
    let upgraded = url.scheme() == "https" && url.host() == input.url.host() && input.url.port().is_none();
    if url.origin() == input.url.origin() || (upgraded && url.port().is_none()) {
        for (name, value) in input.headers {
            // Both were checked when the list was read.
            if let (Ok(name), Ok(mut value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
        }
    }
    if !question.packed {
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    if let Some(range) = &question.range {
        let text = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
        headers.extend(HeaderValue::try_from(text).ok().map(|value| (RANGE, value)));
    }
    if let Some(validator) = &question.if_range {
        headers.extend(HeaderValue::try_from(validator).ok().map(|value| (IF_RANGE, value)));
    }
    headers
}

/// Where a redirect leads.
fn target(response: &Response, from: &Url) -> Result<Url, Trouble> {
    let refused = |what: String| Trouble::Final(Failure::permanent(format!("`{}` {what}", masked_url(from))));
    // Many servers send letters as they are; the URL escapes them.
    let location = response.headers().get(LOCATION).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let location = location.ok_or_else(|| refused("redirects to nowhere".into()))?;
    let mut to = from.join(&location).map_err(|error| refused(format!("redirects to an invalid URL: {error}")))?;
    if to.origin() == from.origin() && to.username().is_empty() && to.password().is_none() {
        // Both fail only for URLs that cannot carry a user, which then have none.
        to.set_username(from.username()).and_then(|()| to.set_password(from.password())).unwrap_or_default();
    }
    match to.scheme() {
        "http" | "https" => Ok(to),
        scheme => Err(refused(format!("redirects to `{scheme}:`, which is refused"))),
    }
}

/// Puts an error of the HTTP client into words.
pub(in super::super) fn could_not(error: &reqwest::Error, shown: &str) -> Trouble {
    if guard::is_private(error) {
        return Trouble::Final(guard::refused(shown));
    }
    let root = root(error);
    // A wrong certificate is wrong again in a minute.
    if root.to_ascii_lowercase().contains("certificate") {
        return Trouble::Final(Failure::permanent(format!("could not trust `{shown}`: {root}")));
    }
    let doing = match () {
        () if error.is_connect() => "connect to",
        () if error.is_body() || error.is_decode() => "read on from",
        () => "fetch from",
    };
    Trouble::Again(Failure::temporary(format!("could not {doing} `{shown}`: {root}")), None)
}

/// The innermost reason: the outer ones repeat the URL, which may hold secrets.
fn root(error: &reqwest::Error) -> String {
    let mut reason: &dyn std::error::Error = error;
    while let Some(inner) = reason.source() {
        reason = inner;
    }
    match reason.downcast_ref::<reqwest::Error>() {
        Some(_) if error.is_timeout() => "timed out".into(),
        Some(_) => "the connection failed".into(),
        None => reason.to_string(),
    }
}
