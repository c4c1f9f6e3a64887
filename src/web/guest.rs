//! Who asks: a token in a header, a cookie of the page, or, where no tokens
//! exist, whoever can reach the loopback address.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use axum::http::{HeaderMap, Method, StatusCode, header};
use url::Url;

use super::login::{self, COOKIE};
use super::problem::{Answer, Problem};
use super::token::{Scope, Token};
use super::{Site, now};

/// Clients whose rate is remembered; more than that are an attack, and are all forgotten.
const MOST_CLIENTS: usize = 10_000;

/// Somebody who asks.
#[derive(Clone, Debug)]
pub(super) struct Guest {
    /// The token, or what stands for one.
    pub(super) token: Token,
    /// Whether the browser sends it by itself, so that another page could have made it ask.
    pub(super) ambient: bool,
}

/// Finds out who asks; nothing if they show nothing that is valid.
pub(super) async fn recognise(site: &Site, headers: &HeaderMap) -> Answer<Option<Guest>> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let text = value.to_str().unwrap_or_default();
        let text = text.strip_prefix("Bearer ").or_else(|| text.strip_prefix("bearer ")).unwrap_or_default();
        let token = site.store.token_of(text.trim()).await?;
        return match token {
            Some(token) => Ok(Some(Guest { token, ambient: false })),
            None => Err(Problem::new(StatusCode::UNAUTHORIZED, "the token is not valid")),
        };
    }
    if let Some(text) = cookie(headers, COOKIE)
        && let Some(number) = login::read(&site.secret, text, now())
        && let Some(token) = site.store.token_with_id(&number).await?
    {
        return Ok(Some(Guest { token, ambient: true }));
    }
    if site.settings.listen.ip().is_loopback() && !site.store.has_tokens().await? {
        let scopes = Scope::ALL.to_vec();
        let token = Token { id: String::new(), name: "local".into(), scopes, created: 0 };
        return Ok(Some(Guest { token, ambient: true }));
    }
    Ok(None)
}

/// A cookie's value.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|line| line.split(';')).find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

/// Whether a request that came with a cookie was made by a page of ours, and not by another. A proxy
/// may have changed the name that is asked for; then `public` says how the page is reached.
pub(super) fn is_of_our_page(headers: &HeaderMap, method: &Method, has_cookie: bool, public: Option<&Url>) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let site = text("sec-fetch-site");
    if let Some(site) = site {
        let fits = matches!(site, "same-origin") || (site == "none" && method.is_safe());
        if !fits {
            return false;
        }
    }
    let Some(origin) = text("origin") else {
        // Browsers send one of the two with whatever changes something; programs without cookies do not.
        return method.is_safe() || site.is_some() || !has_cookie;
    };
    if public.is_some_and(|public| public.origin().ascii_serialization() == origin) {
        return true;
    }
    let host = text("host").unwrap_or_default();
    origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
}

/// How much each client asked lately.
pub(super) struct Rates {
    per_second: f64,
    buckets: Mutex<HashMap<String, (f64, Instant)>>,
}

impl Rates {
    /// So many requests a second, and two seconds' worth at once.
    pub(super) fn new(per_second: u32) -> Self {
        Self { per_second: f64::from(per_second.max(1)), buckets: Mutex::default() }
    }

    /// Counts a request of `client`; after too many, how many seconds to wait.
    pub(super) fn take(&self, client: &str) -> Result<(), u64> {
        let now = Instant::now();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() > MOST_CLIENTS {
            buckets.clear();
        }
        let most = self.per_second * 2.0;
        let (left, then) = buckets.entry(client.into()).or_insert((most, now));
        *left = (*left + now.duration_since(*then).as_secs_f64() * self.per_second).min(most);
        *then = now;
        if *left < 1.0 {
            return Err(1);
        }
        *left -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn other_pages_cannot_make_a_browser_act() {
        let host = ("host", "127.0.0.1:8080");
        for (method, cookie, pairs) in [
            (Method::POST, true, vec![host, ("origin", "http://127.0.0.1:8080"), ("sec-fetch-site", "same-origin")]),
            (Method::POST, true, vec![host, ("origin", "http://127.0.0.1:8080")]),
            (Method::POST, true, vec![host, ("sec-fetch-site", "same-origin")]),
            (Method::POST, false, vec![host]),
            (Method::GET, true, vec![host]),
            (Method::GET, true, vec![host, ("sec-fetch-site", "none")]),
        ] {
            assert!(is_of_our_page(&headers(&pairs), &method, cookie, None), "{method} {pairs:?}");
        }
        for (method, cookie, pairs) in [
            (Method::POST, true, vec![host]),
            (Method::POST, false, vec![host, ("origin", "https://evil.example")]),
            (Method::POST, false, vec![host, ("origin", "null")]),
            (Method::POST, true, vec![host, ("origin", "http://127.0.0.1:8081")]),
            (Method::POST, true, vec![host, ("origin", "http://127.0.0.1:8080"), ("sec-fetch-site", "cross-site")]),
            (Method::POST, true, vec![host, ("sec-fetch-site", "same-site")]),
            (Method::POST, true, vec![host, ("sec-fetch-site", "none")]),
            (Method::GET, true, vec![host, ("sec-fetch-site", "cross-site")]),
        ] {
            assert!(!is_of_our_page(&headers(&pairs), &method, cookie, None), "{method} {pairs:?}");
        }
    }

    #[test]
    fn our_page_is_known_behind_a_proxy_that_changes_the_name() {
        let public = Url::parse("https://video.example.org:8443/below/").unwrap();
        let fits = |origin: &'static str| {
            let headers = headers(&[("host", "127.0.0.1:8080"), ("origin", origin)]);
            is_of_our_page(&headers, &Method::POST, true, Some(&public))
        };
        assert!(fits("https://video.example.org:8443") && fits("http://127.0.0.1:8080"));
        for other in ["https://video.example.org", "http://video.example.org:8443", "https://evil.example:8443"] {
            assert!(!fits(other), "{other}");
        }
    }

    #[test]
    fn nobody_asks_without_end() {
        let rates = Rates::new(5);
        assert_eq!((0..10).filter(|_| rates.take("a").is_ok()).count(), 10);
        assert_eq!(rates.take("a"), Err(1));
        assert_eq!(rates.take("b"), Ok(()));
    }

    #[test]
    fn cookies_are_found_among_others() {
        let headers = headers(&[("cookie", "a=1; forebay=x.y; forebay2=z")]);
        assert_eq!(cookie(&headers, "forebay"), Some("x.y"));
        assert_eq!(cookie(&headers, "b"), None);
    }
}
