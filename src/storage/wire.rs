//! HTTP as stores speak it: one request, one answer, and what went wrong in plain words.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Body, Client, Method, Response, StatusCode, Url};
use tokio::time::Instant;

use super::error::{Kind, StorageError};
use super::open::WireSettings;
use super::{About, ByteStream, Stat};
use crate::model::failure::Failure;

/// Bytes of an error's body that are looked at.
const LARGEST_COMPLAINT: usize = 64 * 1024;

/// What to do where a request is refused for its size.
pub(super) const TOO_LARGE: &str =
    "the server, or a proxy before it, takes no bodies of this size: raise its limit, or lower `stores.part-size`";

/// A body in memory is handed on in pieces of this size, so that its progress shows.
const PIECE: usize = 64 * 1024;

/// All but these characters are written `%XX` in the path of an object.
const KEY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// All but these characters are written `%XX` in a query.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Sends requests to one place.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    client: Client,
    place: Arc<str>,
    stall: Duration,
}

/// What goes with a request.
pub(super) enum Payload {
    Nothing,
    Bytes(Bytes),
    Stream(ByteStream, u64),
}

/// A request on its way.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) payload: Payload,
}

impl Request {
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), payload: Payload::Nothing }
    }

    /// Adds a header, unless its value cannot be one.
    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value.as_bytes())) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Adds a header if there is a value.
    pub(super) fn maybe(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.header(name, value),
            None => self,
        }
    }

    /// Asks for a range of bytes.
    pub(super) fn range(self, range: &std::ops::Range<u64>) -> Self {
        match (range.start, range.end) {
            (0, u64::MAX) => self,
            (start, u64::MAX) => self.header("range", &format!("bytes={start}-")),
            (start, end) => self.header("range", &format!("bytes={start}-{}", end.saturating_sub(1))),
        }
    }

    pub(super) fn bytes(mut self, bytes: Bytes) -> Self {
        self.payload = Payload::Bytes(bytes);
        self
    }
}

impl Wire {
    pub(super) fn new(settings: &WireSettings, place: &str) -> Result<Self, Failure> {
        let mut builder = Client::builder()
            .user_agent(&settings.user_agent)
            .connect_timeout(settings.connect_timeout)
            .pool_idle_timeout(Duration::from_secs(20))
            // An object that is kept packed is read as it is kept: its bytes, length and digests belong together.
            .no_gzip()
            .redirect(reqwest::redirect::Policy::none());
        if let Some(path) = &settings.ca_bundle {
            builder = builder.tls_certs_merge(certificates(path)?);
        }
        let client = builder.build();
        let client =
            client.map_err(|error| Failure::environment(format!("no HTTPS connections can be made: {error}")))?;
        Ok(Self { client, place: place.into(), stall: settings.stall })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Sends a request and waits for the head of the answer, whatever its status.
    pub(super) async fn send(&self, request: Request) -> Result<Response, StorageError> {
        let Request { method, url, headers, payload } = request;
        let moved = Arc::new(Mutex::new(Instant::now()));
        let mut builder = self.client.request(method, url).headers(headers);
        builder = match payload {
            Payload::Nothing => builder,
            Payload::Bytes(bytes) if bytes.is_empty() => builder.header(CONTENT_LENGTH, 0).body(Bytes::new()),
            Payload::Bytes(bytes) => builder.header(CONTENT_LENGTH, bytes.len()).body(noted(in_pieces(bytes), &moved)),
            Payload::Stream(stream, length) => builder.header(CONTENT_LENGTH, length).body(noted(stream, &moved)),
        };
        let mut answer = std::pin::pin!(builder.send());
        loop {
            let end = *moved.lock().unwrap_or_else(PoisonError::into_inner) + self.stall;
            match tokio::time::timeout_at(end, &mut answer).await {
                Ok(answer) => return answer.map_err(|error| self.unreachable(&error)),
                Err(_) if *moved.lock().unwrap_or_else(PoisonError::into_inner) + self.stall <= Instant::now() => {
                    return Err(self.stalled());
                }
                Err(_) => {}
            }
        }
    }

    /// The body of an answer as it comes.
    pub(super) fn stream(&self, response: Response) -> ByteStream {
        let wire = self.clone();
        let stream = stream::try_unfold(response.bytes_stream().boxed(), move |mut body| {
            let wire = wire.clone();
            async move {
                match tokio::time::timeout(wire.stall, body.next()).await {
                    Err(_) => Err(wire.stalled()),
                    Ok(None) => Ok(None),
                    Ok(Some(Err(error))) => Err(wire.unreachable(&error)),
                    Ok(Some(Ok(bytes))) => Ok(Some((bytes, body))),
                }
            }
        });
        stream.boxed()
    }

    /// The whole body of an answer, which is a short text.
    pub(super) async fn text(&self, response: Response, limit: usize) -> Result<String, StorageError> {
        let mut text = Vec::new();
        let mut stream = self.stream(response);
        while let Some(piece) = stream.next().await {
            text.extend_from_slice(&piece?);
            if text.len() > limit {
                return Err(StorageError::new(Kind::Other, format!("{} answers more than it should", self.place)));
            }
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// The beginning of the text that goes with an error.
    pub(super) async fn complaint(&self, response: Response) -> String {
        self.text(response, LARGEST_COMPLAINT).await.unwrap_or_default()
    }

    /// What an answer's status alone tells.
    pub(super) fn refusal(&self, what: &str, status: StatusCode, headers: &HeaderMap) -> StorageError {
        let what = format!("could not {what} at {}: the answer is {status}", self.place);
        let error = StorageError::new(kind_of(status), what);
        let error = match error.kind {
            Kind::Refused => error.hint("check the credentials and what they are allowed to do"),
            Kind::Full => error.hint("free some space there, or raise the quota, and run the same command again"),
            _ if status == StatusCode::PAYLOAD_TOO_LARGE => error.hint(TOO_LARGE),
            _ => error,
        };
        StorageError { wait: retry_after(headers), ..error }
    }

    /// What the headers of an answer say of an object. `meta` is what stands before the user's own names.
    ///
    /// Without a length nobody could tell a whole object from a part of it.
    pub(super) fn stat_of(
        &self,
        key: &str,
        status: StatusCode,
        headers: &HeaderMap,
        meta: &str,
    ) -> Result<Stat, StorageError> {
        let bytes = length_of(status, headers).ok_or_else(|| {
            let what = format!("{} does not say how many bytes `{}` has", self.place, key.escape_debug());
            StorageError::new(Kind::Other, what).hint("is there a proxy before it that packs or cuts what passes?")
        })?;
        let etag = text_of(headers, "etag").map(tag_of);
        Ok(Stat {
            key: key.into(),
            bytes,
            md5: etag.clone().filter(|tag| is_md5(tag)),
            etag,
            stored: text_of(headers, "last-modified").and_then(time_of_header),
            about: about_of(headers, meta),
        })
    }

    fn stalled(&self) -> StorageError {
        let what = format!("{} does not answer: no byte in {} s", self.place, self.stall.as_secs());
        StorageError::new(Kind::Unreachable, what)
    }

    /// Why there is no answer.
    fn unreachable(&self, error: &reqwest::Error) -> StorageError {
        // A query may hold a signature.
        let url = error.url().map_or_else(|| "\0".into(), ToString::to_string);
        let mut why = Vec::new();
        let mut cause: Option<&dyn std::error::Error> = Some(error);
        while let Some(error) = cause {
            // The source of what is sent failed: its own words count.
            if let Some(inner) = error.downcast_ref::<StorageError>() {
                return inner.clone();
            }
            why.push(error.to_string().replace(&url, "the store"));
            cause = error.source();
        }
        let last = why.last().cloned().unwrap_or_default();
        let all = why.join(": ").to_ascii_lowercase();
        let place = &self.place;
        let (what, hint) = match () {
            () if all.contains("dns error") || all.contains("lookup address") => {
                (format!("the name of {place} cannot be resolved"), "check the endpoint, and this machine's DNS")
            }
            () if all.contains("certificate") || all.contains("tls") || all.contains("handshake") => (
                format!("no secure connection to {place}: {last}"),
                "check the endpoint and the clock; AWS_CA_BUNDLE names a file of certificates to trust besides the usual",
            ),
            () if error.is_connect() => {
                (format!("no connection to {place}: {last}"), "check the endpoint, and whether the server runs")
            }
            () => (format!("the connection to {place} was cut: {last}"), "the network or the server is at fault"),
        };
        StorageError::new(Kind::Unreachable, what).hint(hint)
    }
}

fn kind_of(status: StatusCode) -> Kind {
    match status.as_u16() {
        401 | 403 => Kind::Refused,
        409 | 412 => Kind::Conflict,
        507 => Kind::Full,
        422 => Kind::Damaged,
        429 | 503 => Kind::Busy,
        408 | 498 | 500 | 502 | 504 => Kind::Unreachable,
        405 | 413 | 501 => Kind::Unsupported,
        _ => Kind::Other,
    }
}

/// How long the server wants to be left alone.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Duration::try_from(time_of_header(text)? - Timestamp::now()).ok(),
    }
}

fn certificates(path: &std::path::Path) -> Result<Vec<reqwest::Certificate>, Failure> {
    let problem = |why: String| {
        Failure::environment(format!("the certificates in `{}` cannot be used: {why}", path.display()))
            .hint("correct AWS_CA_BUNDLE, or unset it")
    };
    let text = std::fs::read(path).map_err(|error| problem(error.to_string()))?;
    reqwest::Certificate::from_pem_bundle(&text).map_err(|error| problem(error.to_string()))
}

fn in_pieces(bytes: Bytes) -> ByteStream {
    let pieces = stream::unfold(bytes, |mut rest| async move {
        let piece = rest.split_to(rest.len().min(PIECE));
        (!piece.is_empty()).then_some((Ok(piece), rest))
    });
    pieces.boxed()
}

/// A body that notes when a part of it was last taken to be sent.
fn noted(stream: ByteStream, moved: &Arc<Mutex<Instant>>) -> Body {
    let moved = Arc::clone(moved);
    Body::wrap_stream(stream.inspect(move |piece| {
        if piece.is_ok() {
            *moved.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
    }))
}

/// The server of a URL and the path there, without a slash at its end.
pub(super) fn place_of(url: &Url) -> String {
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    format!("{}{port}{}", url.host_str().unwrap_or_default(), url.path().trim_end_matches('/'))
}

/// A key as part of a path.
pub(super) fn path_of(key: &str) -> String {
    utf8_percent_encode(key, KEY).to_string()
}

/// A query of names and values; names without a value stand alone.
pub(super) fn query_of(parts: &[(&str, &str)]) -> String {
    let part = |(name, value): &(&str, &str)| {
        if value.is_empty() {
            utf8_percent_encode(name, QUERY).to_string()
        } else {
            format!("{}={}", utf8_percent_encode(name, QUERY), utf8_percent_encode(value, QUERY))
        }
    };
    parts.iter().map(part).collect::<Vec<_>>().join("&")
}

/// The value of a header as text.
pub(super) fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| str::from_utf8(value.as_bytes()).ok())
}

/// A date as HTTP writes it.
pub(super) fn time_of_header(text: &str) -> Option<Timestamp> {
    rfc2822::parse(text).ok().map(|time| time.timestamp())
}

/// A tag without its quotes; weak tags stay as they are.
pub(super) fn tag_of(text: &str) -> String {
    text.trim_matches('"').into()
}

/// Whether a tag is the MD5 of an object's bytes by the look of it.
pub(super) fn is_md5(tag: &str) -> bool {
    tag.len() == 32 && tag.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// How many bytes an object has of which an answer has all or a range.
fn length_of(status: StatusCode, headers: &HeaderMap) -> Option<u64> {
    if status == StatusCode::PARTIAL_CONTENT {
        text_of(headers, "content-range")?.rsplit('/').next()?.parse().ok()
    } else {
        text_of(headers, "content-length")?.parse().ok()
    }
}

/// What is kept with an object.
fn about_of(headers: &HeaderMap, meta: &str) -> About {
    let text = |name| text_of(headers, name).map(Into::into);
    let mut about = About {
        content_type: text("content-type"),
        cache_control: text("cache-control"),
        content_encoding: text("content-encoding"),
        content_disposition: text("content-disposition"),
        content_language: text("content-language"),
        ..About::default()
    };
    for (name, value) in headers {
        let (Some(name), Ok(value)) = (name.as_str().strip_prefix(meta), str::from_utf8(value.as_bytes())) else {
            continue;
        };
        match (name, seconds(value)) {
            ("mtime", Some(time)) => about.modified = Some(time),
            _ => {
                about.metadata.insert(name.into(), value.into());
            }
        }
    }
    about
}

/// Puts what is kept with an object in the headers of a request.
pub(super) fn with_about(request: Request, about: &About, meta: &str) -> Request {
    let content_type = about.content_type.as_deref().unwrap_or("application/octet-stream");
    let mut request = request
        .header("content-type", content_type)
        .maybe("cache-control", about.cache_control.as_deref())
        .maybe("content-encoding", about.content_encoding.as_deref())
        .maybe("content-disposition", about.content_disposition.as_deref())
        .maybe("content-language", about.content_language.as_deref());
    for (name, value) in &about.metadata {
        request = request.header(&format!("{meta}{name}"), value);
    }
    request.maybe(&format!("{meta}mtime"), modified(about).as_deref())
}

/// What is kept with an object, with headers that stores take which sign them: in ASCII.
pub(super) fn plain(about: &About) -> About {
    let header = |value: &Option<String>| value.as_deref().map(ascii_of);
    About {
        content_type: header(&about.content_type),
        cache_control: header(&about.cache_control),
        content_encoding: header(&about.content_encoding),
        content_disposition: about.content_disposition.as_deref().map(disposition),
        content_language: header(&about.content_language),
        ..about.clone()
    }
}

/// A `Content-Disposition` in ASCII: the name of a file is written a second time as RFC 6266 has it.
fn disposition(value: &str) -> String {
    let lower = value.to_ascii_lowercase();
    let (Some(at), false) = (lower.find("filename="), value.is_ascii()) else { return ascii_of(value) };
    let (head, tail) = value.split_at(at);
    let tail = tail.get("filename=".len()..).unwrap_or_default();
    let (name, rest) = match tail.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
        None => tail.split_at(tail.find(';').unwrap_or(tail.len())),
    };
    let encoded = if lower.contains("filename*=") {
        String::new()
    } else {
        format!("; filename*=UTF-8''{}", utf8_percent_encode(name, QUERY))
    };
    format!("{}filename=\"{}\"{encoded}{}", ascii_of(head), ascii_of(name), ascii_of(rest))
}

/// A text whose letters are in ASCII; in the place of any other stands a `_`.
fn ascii_of(text: &str) -> String {
    text.chars().map(|letter| if letter.is_ascii() { letter } else { '_' }).collect()
}

/// When what an object holds was changed, as it is kept with the object.
pub(super) fn modified(about: &About) -> Option<String> {
    about.modified.map(|time| format!("{}.{:09}", time.as_second(), time.subsec_nanosecond()))
}

/// A header's value in ASCII: anything else becomes an encoded word (RFC 2047), as S3 itself shows it.
pub(super) fn to_ascii(value: &str) -> String {
    let plain = value.bytes().all(|byte| (0x20..0x7f).contains(&byte)) && !value.starts_with("=?");
    if plain && value.trim() == value { value.into() } else { format!("=?UTF-8?B?{}?=", STANDARD.encode(value)) }
}

/// The opposite of [`to_ascii`], also for encoded words of the other kind, and for several of them.
pub(super) fn from_ascii(value: &str) -> String {
    let words: Option<Vec<Vec<u8>>> = value.split(' ').map(word_of).collect();
    // A letter may be spread over two words.
    words.and_then(|words| String::from_utf8(words.concat()).ok()).unwrap_or_else(|| value.into())
}

/// The bytes of an encoded word in UTF-8.
fn word_of(text: &str) -> Option<Vec<u8>> {
    let word = text.strip_prefix("=?")?.strip_suffix("?=")?;
    let (head, text) = word.split_at_checked("UTF-8?B?".len())?;
    match head.to_ascii_uppercase().as_str() {
        "UTF-8?B?" => STANDARD.decode(text).ok(),
        "UTF-8?Q?" => Some(percent_decode_str(&text.replace('%', "=25").replace('_', " ").replace('=', "%")).collect()),
        _ => None,
    }
}

/// A time in seconds with nine digits behind the point, as rclone writes it too.
fn seconds(text: &str) -> Option<Timestamp> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let nanoseconds = format!("{:0<9}", rest.get(..rest.len().min(9))?);
    Timestamp::new(whole.parse().ok()?, nanoseconds.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_queries_are_written_once() {
        assert_eq!(path_of("a b/ü+%?#&=.ts"), "a%20b/%C3%BC%2B%25%3F%23%26%3D.ts");
        assert_eq!(query_of(&[("uploads", ""), ("prefix", "a/b c")]), "uploads&prefix=a%2Fb%20c");
    }

    #[test]
    fn metadata_of_any_language_fits_in_a_header() {
        for text in ["plain", "grün", "=?odd", " blank ", "日本\n"] {
            let ascii = to_ascii(text);
            assert!(ascii.is_ascii() && from_ascii(&ascii) == text, "{ascii}");
        }
    }

    #[test]
    fn encoded_words_of_both_kinds_are_read() {
        for (word, expected) in [
            ("=?UTF-8?Q?gr=C3=BCn_=3D_100%25?=", "gr\u{fc}n = 100%25"),
            ("=?utf-8?b?Z3LDvG4=?= =?utf-8?q?=21?=", "gr\u{fc}n!"),
            ("=?ISO-8859-1?Q?gr=FCn?=", "=?ISO-8859-1?Q?gr=FCn?="),
            ("two words", "two words"),
        ] {
            assert_eq!(from_ascii(word), expected);
        }
    }

    #[test]
    fn a_file_keeps_its_name_in_a_header_of_ascii() {
        for (value, expected) in [
            ("inline", "inline"),
            ("attachment; filename=\"a b.txt\"", "attachment; filename=\"a b.txt\""),
            (
                "attachment; filename=\"gr\u{fc}n.txt\"; size=7",
                "attachment; filename=\"gr_n.txt\"; filename*=UTF-8''gr%C3%BCn.txt; size=7",
            ),
            ("inline; FileName=\u{fc}; x=\u{fc}", "inline; filename=\"_\"; filename*=UTF-8''%C3%BC; x=_"),
            ("inline; filename=\u{fc}; filename*=UTF-8''%C3%BC", "inline; filename=\"_\"; filename*=UTF-8''%C3%BC"),
            ("gr\u{fc}n", "gr_n"),
        ] {
            assert_eq!(disposition(value), expected);
        }
    }

    #[test]
    fn times_and_tags_are_read() {
        assert_eq!(time_of_header("Thu, 01 Jan 1970 00:01:00 GMT").map(Timestamp::as_second), Some(60));
        assert_eq!(seconds("12.5").map(Timestamp::as_nanosecond), Some(12_500_000_000));
        assert_eq!(seconds("yesterday"), None);
        assert!(is_md5("d41d8cd98f00b204e9800998ecf8427e") && !is_md5("d41d8cd98f00b204e9800998ecf8427e-2"));
    }

    #[test]
    fn a_length_is_that_of_the_whole_object() {
        let check = |status, name: &'static str, value: &'static str, expected| {
            let headers = HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))]);
            assert_eq!(length_of(status, &headers), expected, "{status} {name}: {value}");
        };
        check(StatusCode::OK, "content-length", "7", Some(7));
        check(StatusCode::OK, "transfer-encoding", "chunked", None);
        check(StatusCode::PARTIAL_CONTENT, "content-range", "bytes 0-0/7", Some(7));
        check(StatusCode::PARTIAL_CONTENT, "content-range", "bytes 0-0/*", None);
        check(StatusCode::PARTIAL_CONTENT, "content-length", "1", None);
    }

    #[test]
    fn a_body_that_is_too_large_fills_no_disk() {
        assert_eq!(kind_of(StatusCode::PAYLOAD_TOO_LARGE), Kind::Unsupported);
        assert_eq!(kind_of(StatusCode::INSUFFICIENT_STORAGE), Kind::Full);
    }

    #[test]
    fn servers_say_how_long_to_wait() {
        let headers = |text: &'static str| HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]);
        assert_eq!(retry_after(&headers("7")), Some(Duration::from_secs(7)));
        assert_eq!(retry_after(&headers("soon")), None);
        assert_eq!(retry_after(&headers("Thu, 01 Jan 1970 00:01:00 GMT")), None);
    }
}
