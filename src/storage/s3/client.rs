//! Requests to one bucket: where they go, how they are signed, and what an error means.

use reqwest::{Method, Response, StatusCode, Url};
use serde::de::DeserializeOwned;

use super::super::error::{Kind, StorageError};
use super::super::open::WireSettings;
use super::super::options::Fields;
use super::super::wire::{self, Request, Wire};
use super::super::{About, Written};
use super::answer::{Complaint, Finished};
use super::signing::{Scheme, Signing};
use super::{LARGEST_ANSWER, plain};
use crate::model::failure::Failure;

/// S3 takes no longer keys.
const LONGEST_KEY: usize = 1024;

/// How the two providers' words differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dialect {
    scheme: &'static str,
    /// Before the user's own names.
    pub(super) meta: &'static str,
    /// The header with an object's version, where that is not its tag.
    pub(super) version: Option<&'static str>,
}

const AMAZON: Dialect = Dialect { scheme: "s3", meta: "x-amz-meta-", version: None };

const GOOGLE: Dialect = Dialect { scheme: "gs", meta: "x-goog-meta-", version: Some("x-goog-generation") };

/// Asks one bucket.
pub(super) struct Client {
    pub(super) wire: Wire,
    pub(super) dialect: Dialect,
    signing: Option<Signing>,
    /// The bucket's own URL, ending in a slash.
    base: Url,
    bucket: String,
    /// Where a bucket of this name is another one: empty at the providers themselves, else `@` and the server.
    server: String,
    region: String,
    /// Empty, or ending in a slash.
    root: String,
}

impl Client {
    pub(super) fn new(fields: &Fields, prefix: &str, settings: &WireSettings) -> Result<Self, Failure> {
        let is_google = fields.kind() == "gs";
        let dialect = if is_google { GOOGLE } else { AMAZON };
        let bucket = fields.need("bucket", "write it as `s3://bucket/prefix`, or in the settings of the storage")?;
        let region = fields.text("region").unwrap_or_else(|| "us-east-1".into());
        let endpoint = fields.text("endpoint").unwrap_or_else(|| {
            if is_google {
                "https://storage.googleapis.com".into()
            } else {
                format!("https://s3.{region}.amazonaws.com")
            }
        });
        let by_path = match fields.get("style") {
            Some("path") => true,
            Some("virtual") => false,
            // AWS wants names with dots by path, for its certificate has one star.
            _ => fields.get("endpoint").is_some() || is_google || bucket.contains('.'),
        };
        let base = base(&endpoint, &bucket, by_path)?;
        let wire = Wire::new(settings, &format!("`{}`", base.host_str().unwrap_or_default()))?;
        let scheme = if is_google { Scheme::Google } else { Scheme::Aws };
        let signing = Signing::new(scheme, region.clone(), fields, wire.client().clone());
        let signing = if fields.is_on("anonymous") { None } else { Some(signing) };
        let prefix = prefix.trim_matches('/');
        let root = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let server = server(&endpoint);
        Ok(Self { wire, dialect, signing, base, bucket, server, region, root })
    }

    pub(super) fn address(&self, key: &str) -> String {
        format!("{}://{}/{}{key}", self.dialect.scheme, self.bucket, self.root)
    }

    pub(super) fn identity(&self) -> String {
        format!("{}://{}{}/{}", self.dialect.scheme, self.bucket, self.server, self.root)
    }

    /// A prefix of keys as the bucket has them, ending in a slash if there is any.
    pub(super) fn below(&self, prefix: &str) -> String {
        let slash = if prefix.is_empty() { "" } else { "/" };
        format!("{}{prefix}{slash}", self.root)
    }

    /// A request about an object.
    pub(super) fn request(&self, method: Method, key: &str, query: &[(&str, &str)]) -> Result<Request, StorageError> {
        let whole = format!("{}{key}", self.root);
        let bad = |part: &str| matches!(part, "." | "..");
        if key.is_empty() || whole.len() > LONGEST_KEY || whole.contains('\0') || whole.split('/').any(bad) {
            return Err(StorageError::bad_key(key, &self.address("")));
        }
        let mut url = self.base.clone();
        url.set_path(&format!("{}{}", self.base.path(), wire::path_of(&whole)));
        url.set_query(Some(wire::query_of(query).as_str()).filter(|query| !query.is_empty()));
        Ok(plain(method, url))
    }

    /// Puts what is kept with an object in the headers; what is not ASCII is written as mail does it.
    pub(super) fn with_about(&self, request: Request, about: &About) -> Request {
        let mut about = wire::plain(about);
        for value in about.metadata.values_mut() {
            *value = wire::to_ascii(value);
        }
        wire::with_about(request, &about, self.dialect.meta)
    }

    /// Asks about the bucket and reads the answer.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        query: &[(&str, &str)],
        what: &str,
    ) -> Result<T, StorageError> {
        let mut url = self.base.clone();
        url.set_query(Some(&wire::query_of(query)));
        self.ask_with(plain(method, url), what).await
    }

    /// Sends a request and reads the answer.
    pub(super) async fn ask_with<T: DeserializeOwned>(&self, request: Request, what: &str) -> Result<T, StorageError> {
        let response = self.send(request).await?;
        if !response.status().is_success() {
            return Err(self.refusal(what, response).await);
        }
        let text = self.wire.text(response, LARGEST_ANSWER).await?;
        quick_xml::de::from_str(&text).map_err(|_| self.nonsense(what))
    }

    /// Sends the request that makes parts an object. Its answer may be an error with status 200.
    pub(super) async fn complete(&self, request: Request, what: &str) -> Result<Written, StorageError> {
        let response = self.send(request).await?;
        if response.status() == StatusCode::NOT_FOUND {
            // An earlier try may have succeeded without our hearing of it: the caller looks.
            let error = self.refusal(what, response).await;
            return Err(StorageError { kind: Kind::Conflict, ..error });
        }
        if !response.status().is_success() {
            return Err(self.refusal(what, response).await);
        }
        let text = self.wire.text(response, LARGEST_ANSWER).await?;
        let finished: Finished = quick_xml::de::from_str(&text).map_err(|_| self.nonsense(what))?;
        match finished.code {
            Some(code) => {
                let message = finished.message.unwrap_or_default();
                Err(self.explained(what, StatusCode::INTERNAL_SERVER_ERROR, &Complaint { code, message }, None))
            }
            None => Ok(Written { etag: finished.etag.as_deref().map(wire::tag_of) }),
        }
    }

    /// Signs and sends a request. Credentials that have expired are renewed, once.
    pub(super) async fn send(&self, request: Request) -> Result<Response, StorageError> {
        let Some(signing) = &self.signing else { return self.wire.send(request).await };
        let Request { method, url, headers, payload } = request;
        let signed = async || {
            let head = http::Request::builder().method(method.clone()).uri(url.as_str());
            let (mut parts, ()) = head.body(()).map_err(|_| self.nonsense("sign a request"))?.into_parts();
            parts.headers.clone_from(&headers);
            signing.sign(&mut parts).await?;
            Ok(parts.headers)
        };
        let again = match &payload {
            wire::Payload::Bytes(bytes) => Some(wire::Payload::Bytes(bytes.clone())),
            wire::Payload::Nothing => Some(wire::Payload::Nothing),
            wire::Payload::Stream(..) => None,
        };
        let first = Request { method: method.clone(), url: url.clone(), headers: signed().await?, payload };
        let response = self.wire.send(first).await?;
        let is_about_credentials = matches!(response.status().as_u16(), 400 | 401 | 403);
        let Some(payload) = again.filter(|_| is_about_credentials && method != Method::HEAD) else {
            return Ok(response);
        };
        let (head, text) = kept(response, &self.wire).await;
        if !expired(&complaint(&text).code) {
            return Ok(joined(head, text));
        }
        signing.renew();
        self.wire.send(Request { method: method.clone(), url: url.clone(), headers: signed().await?, payload }).await
    }

    /// What an answer that is not a success means.
    pub(super) async fn refusal(&self, what: &str, response: Response) -> StorageError {
        let (status, headers) = (response.status(), response.headers().clone());
        let plain = self.wire.refusal(what, status, &headers);
        let complaint = complaint(&self.wire.complaint(response).await);
        let error =
            if complaint.code.is_empty() { plain } else { self.explained(what, status, &complaint, Some(&plain)) };
        match wire::text_of(&headers, "x-amz-bucket-region").filter(|region| *region != self.region) {
            Some(region) => error.hint(format!("the bucket is in region `{region}`: set AWS_REGION or `region`")),
            None => error,
        }
    }

    fn explained(
        &self,
        what: &str,
        status: StatusCode,
        complaint: &Complaint,
        plain: Option<&StorageError>,
    ) -> StorageError {
        let Complaint { code, message } = complaint;
        let place = self.address("");
        let general = plain.map_or(Kind::Unreachable, |plain| plain.kind);
        let kind = kind_of(code).unwrap_or(if status == StatusCode::NOT_FOUND { Kind::Other } else { general });
        let what = format!("could not {what} at `{place}`: {} ({code})", message.trim().trim_end_matches('.'));
        let wait = plain.and_then(|plain| plain.wait);
        let error = StorageError { wait, ..StorageError::new(kind, what) };
        match (kind, code.as_str()) {
            (Kind::NoPlace, _) => error.hint(format!("make the bucket `{}`, or correct its name", self.bucket)),
            (Kind::Refused, "AccessDenied") => error.hint("these credentials are not allowed to do this there"),
            (Kind::Refused, _) => error.hint("the credentials are wrong: check the access key and the secret key"),
            (Kind::Expired, _) => error.hint("renew the credentials; work goes on when they are valid again"),
            (Kind::Clock, _) => error.hint("set this machine's clock"),
            (Kind::Full, _) => error.hint("free some space there, or raise the quota"),
            (_, "EntityTooLarge") => error.hint(wire::TOO_LARGE),
            (
                _,
                "PermanentRedirect"
                | "TemporaryRedirect"
                | "AuthorizationHeaderMalformed"
                | "IllegalLocationConstraintException",
            ) => error.hint(format!("the bucket is not in region `{}`: set AWS_REGION or `region`", self.region)),
            _ => match plain.and_then(|plain| plain.hint.clone()) {
                Some(hint) => error.hint(hint),
                None => error,
            },
        }
    }

    pub(super) fn nonsense(&self, what: &str) -> StorageError {
        let what = format!("could not {what} at `{}`: the answer is not one of S3", self.address(""));
        StorageError::new(Kind::Other, what).hint("check the endpoint")
    }
}

/// What tells the buckets of an endpoint from those of the two providers, whose names are all different.
fn server(endpoint: &str) -> String {
    let known = |host: &str| host.ends_with(".amazonaws.com") || host == "storage.googleapis.com";
    match Url::parse(endpoint) {
        Ok(url) if !url.host_str().is_some_and(known) => format!("@{}", wire::place_of(&url)),
        _ => String::new(),
    }
}

/// The URL of a bucket.
fn base(endpoint: &str, bucket: &str, by_path: bool) -> Result<Url, Failure> {
    let bad = |why: &str| {
        Failure::permanent(format!(
            "`{endpoint}` with bucket `{}` is no address of a store: {why}",
            bucket.escape_debug()
        ))
        .hint("give an endpoint such as `https://s3.example.org`")
    };
    let mut url = Url::parse(endpoint).map_err(|error| bad(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
        return Err(bad("it has to begin with http:// or https://, and to hold no password"));
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'+' | b':');
    if bucket.is_empty() || !bucket.bytes().all(fits) || bucket.starts_with('.') {
        return Err(bad("that is no name of a bucket"));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    if by_path {
        url.set_path(&format!("{path}/{}/", wire::path_of(bucket)));
    } else {
        let host = format!("{bucket}.{}", url.host_str().unwrap_or_default());
        url.set_host(Some(&host)).map_err(|error| bad(&error.to_string()))?;
        url.set_path(&format!("{path}/"));
    }
    Ok(url)
}

fn kind_of(code: &str) -> Option<Kind> {
    Some(match code {
        "NoSuchBucket" => Kind::NoPlace,
        "AccessDenied" | "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "AllAccessDisabled" | "AccountProblem" => {
            Kind::Refused
        }
        code if expired(code) => Kind::Expired,
        "RequestTimeTooSkewed" | "RequestExpired" => Kind::Clock,
        "SlowDown" | "ServiceUnavailable" | "TooManyRequests" | "RequestLimitExceeded" | "Throttling" => Kind::Busy,
        "InternalError" | "RequestTimeout" => Kind::Unreachable,
        "BadDigest" | "InvalidDigest" | "XAmzContentSHA256Mismatch" | "IncompleteBody" => Kind::Damaged,
        "PreconditionFailed" | "ConditionalRequestConflict" | "OperationAborted" => Kind::Conflict,
        "QuotaExceeded" | "XMinioStorageFull" => Kind::Full,
        "NotImplemented" | "MethodNotAllowed" | "EntityTooLarge" => Kind::Unsupported,
        "KeyTooLongError" => Kind::BadKey,
        _ => return None,
    })
}

fn expired(code: &str) -> bool {
    matches!(code, "ExpiredToken" | "TokenRefreshRequired" | "InvalidToken" | "ExpiredTokenException")
}

fn complaint(text: &str) -> Complaint {
    quick_xml::de::from_str(text).unwrap_or_default()
}

/// An answer whose text was read, and that text.
async fn kept(response: Response, wire: &Wire) -> (http::Response<()>, String) {
    let mut head = http::Response::new(());
    *head.status_mut() = response.status();
    head.headers_mut().clone_from(response.headers());
    (head, wire.complaint(response).await)
}

fn joined(head: http::Response<()>, text: String) -> Response {
    Response::from(head.map(|()| text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_of_the_same_name_are_told_apart_by_their_server() {
        assert_eq!(server("https://s3.eu-west-1.amazonaws.com"), "");
        assert_eq!(server("https://storage.googleapis.com"), "");
        assert_eq!(server("http://127.0.0.1:9/s3/"), "@127.0.0.1:9/s3");
        assert_eq!(server("https://s3.example.org"), "@s3.example.org");
    }

    #[test]
    fn buckets_are_addressed_by_path_or_by_host() {
        let url = |endpoint, bucket, by_path| base(endpoint, bucket, by_path).map(String::from);
        assert_eq!(url("http://127.0.0.1:9/s3", "b", true).unwrap(), "http://127.0.0.1:9/s3/b/");
        assert_eq!(url("https://s3.eu.example", "b", false).unwrap(), "https://b.s3.eu.example/");
        for (endpoint, bucket) in [("ftp://x", "b"), ("https://u:p@x", "b"), ("https://x", "a/../b"), ("x", "b")] {
            assert!(url(endpoint, bucket, true).is_err(), "{endpoint} {bucket}");
        }
    }
}
