//! What a server's answer says: size, range, validators, and whether another try helps.

use std::time::{Duration, SystemTime};

use reqwest::Response;
use reqwest::header::{
    CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, LAST_MODIFIED, RETRY_AFTER,
};

use crate::model::failure::Failure;

use super::super::tries::Trouble;

/// The head of an answer, as far as a download needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// First and last byte, and the size of the whole, as `Content-Range` gives them.
    pub(super) range: Option<(u64, u64, Option<u64>)>,
    /// Whether the file has bytes, as a refused range (416) tells: `bytes */1234`.
    pub(super) has_bytes: bool,
    /// Bytes of this body, if said.
    pub(super) length: Option<u64>,
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
    pub(super) content_type: String,
    /// Whether the body is compressed, although we asked for it as it is.
    pub(super) encoded: bool,
}

impl Answer {
    pub(super) fn of(response: &Response) -> Self {
        let headers = response.headers();
        Self {
            status: response.status().as_u16(),
            range: text(headers, &CONTENT_RANGE).and_then(|text| content_range(&text)),
            has_bytes: text(headers, &CONTENT_RANGE)
                .and_then(|text| text.rsplit_once('/')?.1.trim().parse::<u64>().ok())
                .is_some_and(|size| size > 0),
            // Not `response.content_length()`, which knows nothing about answers to HEAD.
            length: text(headers, &reqwest::header::CONTENT_LENGTH).and_then(|text| text.parse().ok()),
            etag: text(headers, &ETAG),
            last_modified: text(headers, &LAST_MODIFIED),
            content_type: text(headers, &CONTENT_TYPE).unwrap_or_default().to_ascii_lowercase(),
            encoded: text(headers, &CONTENT_ENCODING)
                .is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")),
        }
    }

    /// The size of the whole, if the answer gives it.
    pub(super) fn whole_size(&self) -> Option<u64> {
        match self.status {
            206 => self.range.and_then(|(_, _, size)| size),
            _ => self.length,
        }
    }
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.trim().to_owned()).filter(|text| !text.is_empty())
}

/// `bytes 0-99/1234` or `bytes 0-99/*`.
fn content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, size) = text.strip_prefix("bytes")?.trim_start().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let size = match size.trim() {
        "*" => None,
        size => Some(size.parse().ok()?),
    };
    (first <= last && size.is_none_or(|size| last < size)).then_some((first, last, size))
}

/// Why this status brings no media. `shown` is the masked URL.
pub(super) fn refusal(response: &Response, shown: &str) -> Trouble {
    let status = response.status().as_u16();
    let permanent = |what: &str| Failure::permanent(format!("`{shown}` {what} ({status})"));
    match status {
        401 => Trouble::Refused(permanent("wants a login").hint("a YAML or JSONL list can give the `headers` to send")),
        403 => Trouble::Refused(permanent("refuses access")),
        404 => Trouble::Final(permanent("was not found")),
        407 => Trouble::Final(permanent("is behind a proxy that wants a login")),
        410 => Trouble::Final(permanent("is gone for good")),
        429 => again(response, format!("`{shown}` asks for fewer requests (429)")),
        408 | 425 => again(response, format!("`{shown}` asks to try again ({status})")),
        500..=599 => again(response, format!("`{shown}` has a server error ({status})")),
        _ => Trouble::Refused(permanent("gave an answer that is no file")),
    }
}

fn again(response: &Response, what: String) -> Trouble {
    let wait = text(response.headers(), &RETRY_AFTER).and_then(|text| retry_after(&text, SystemTime::now()));
    Trouble::Again(Failure::temporary(what), wait)
}

/// `Retry-After`: seconds, or a date.
fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(SystemTime::from(date.timestamp()).duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        let cases = [
            ("bytes 0-99/1234", Some((0, 99, Some(1234)))),
            ("bytes 5-5/*", Some((5, 5, None))),
            ("bytes 9-5/10", None),
            ("bytes 0-10/10", None),
            ("bytes */10", None),
            ("items 0-1/2", None),
            ("bytes 0-18446744073709551616/1", None),
        ];
        for (text, wanted) in cases {
            assert_eq!(content_range(text), wanted, "{text}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 30);
        assert_eq!(retry_after("7", now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", SystemTime::now()), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
    }
}
