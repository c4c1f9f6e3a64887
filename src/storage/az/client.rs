//! Requests to one container of Azure's Blob Storage, and what its answers mean.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::header::HeaderMap;
use reqwest::{Method, Response, StatusCode, Url};
use serde::Deserialize;

use super::super::error::{Kind, StorageError};
use super::super::open::WireSettings;
use super::super::options::Fields;
use super::super::wire::{self, Payload, Request, Wire};
use super::signing::Signing;
use crate::model::failure::Failure;
use crate::model::secret::Secret;

/// The version of the protocol that is spoken.
const VERSION: &str = "2021-12-02";

/// Azure takes no longer names, in characters.
const LONGEST_KEY: usize = 1024;

/// Bytes of a page of a listing.
const LARGEST_ANSWER: usize = 32 << 20;

/// Asks one container.
pub(super) struct Client {
    pub(super) wire: Wire,
    signing: Signing,
    /// The container's own URL, without a slash at its end.
    base: Url,
    container: String,
    /// Empty, or ending in a slash.
    root: String,
    /// Something worked, so the credentials were right once.
    worked: std::sync::atomic::AtomicBool,
}

/// An error's own words.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Complaint {
    code: String,
    message: String,
    authentication_error_detail: String,
}

impl Client {
    pub(super) fn new(fields: &Fields, prefix: &str, settings: &WireSettings) -> Result<Self, Failure> {
        let fields = &with_connection_string(fields);
        let container = fields.need("container", "write it as `az://container/prefix`, or in the settings")?;
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'$');
        if container.len() > 63 || !container.bytes().all(fits) {
            let what = format!("`{}` is no name of a container at Azure", container.escape_debug());
            return Err(Failure::permanent(what).hint("they have up to 63 lower-case letters, digits and `-`"));
        }
        let hint = "set AZURE_STORAGE_ACCOUNT or AZURE_STORAGE_CONNECTION_STRING, or the settings of the storage";
        let endpoint = match fields.text("endpoint") {
            Some(endpoint) => endpoint,
            None => format!("https://{}.blob.core.windows.net", fields.need("account", hint)?),
        };
        let base = base(&endpoint, &container)?;
        let signing = signing(fields, hint)?;
        let wire = Wire::new(settings, &format!("`{}`", base.host_str().unwrap_or_default()))?;
        let prefix = prefix.trim_matches('/');
        let root = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Self { wire, signing, base, container, root, worked: false.into() })
    }

    pub(super) fn address(&self, key: &str) -> String {
        format!("az://{}/{}{key}", self.container, self.root)
    }

    /// Names of containers are those of one account, which is in the URL.
    pub(super) fn identity(&self) -> String {
        format!("az://{}/{}", wire::place_of(&self.base), self.root)
    }

    /// A prefix of names as the container has them, ending in a slash if there is any.
    pub(super) fn below(&self, prefix: &str) -> String {
        let slash = if prefix.is_empty() { "" } else { "/" };
        format!("{}{prefix}{slash}", self.root)
    }

    /// A request about an object. Azure takes a backslash for a slash, so no key has one.
    pub(super) fn request(&self, method: Method, key: &str, query: &[(&str, &str)]) -> Result<Request, StorageError> {
        let whole = format!("{}{key}", self.root);
        let bad = |part: &str| matches!(part, "." | "..");
        if key.is_empty()
            || whole.chars().count() > LONGEST_KEY
            || whole.contains(['\0', '\\'])
            || whole.split('/').any(bad)
        {
            return Err(StorageError::bad_key(key, &self.address("")));
        }
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{}", self.base.path(), wire::path_of(&whole)));
        url.set_query(Some(wire::query_of(query).as_str()).filter(|query| !query.is_empty()));
        Ok(Request::new(method, url))
    }

    /// A page of the names that begin with `below`, as XML.
    pub(super) async fn list(&self, below: &str, after: Option<&str>) -> Result<String, StorageError> {
        let mut query = vec![("restype", "container"), ("comp", "list"), ("maxresults", "1000")];
        query.extend(Some(("prefix", below)).filter(|(_, below)| !below.is_empty()));
        query.extend(after.map(|after| ("marker", after)));
        let mut url = self.base.clone();
        url.set_query(Some(&wire::query_of(&query)));
        let response = self.send(Request::new(Method::GET, url)).await?;
        if !response.status().is_success() {
            return Err(self.refusal("list", response).await);
        }
        self.wire.text(response, LARGEST_ANSWER).await
    }

    /// Signs and sends a request.
    pub(super) async fn send(&self, request: Request) -> Result<Response, StorageError> {
        let date = rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&Timestamp::now());
        let date = date.map_err(|error| StorageError::new(Kind::Clock, error.to_string()))?;
        let mut request = request.header("x-ms-version", VERSION).header("x-ms-date", &date);
        let length = match &request.payload {
            Payload::Bytes(bytes) => bytes.len(),
            Payload::Nothing | Payload::Stream(..) => 0,
        };
        self.signing.sign(&request.method, &mut request.url, &mut request.headers, length);
        let response = self.wire.send(request).await?;
        if response.status().is_success() {
            self.worked.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(response)
    }

    /// What an answer that is not a success means.
    pub(super) async fn refusal(&self, what: &str, response: Response) -> StorageError {
        let (status, headers) = (response.status(), response.headers().clone());
        let plain = self.wire.refusal(what, status, &headers);
        let text = self.wire.complaint(response).await;
        let mut complaint: Complaint = quick_xml::de::from_str(text.trim_start_matches('\u{feff}')).unwrap_or_default();
        if let Some(code) = code_of(&headers) {
            complaint.code = code.into();
        }
        if complaint.code.is_empty() {
            return plain;
        }
        self.explained(what, status, &complaint, plain)
    }

    fn explained(&self, what: &str, status: StatusCode, complaint: &Complaint, plain: StorageError) -> StorageError {
        let code = complaint.code.as_str();
        let mut kind = kind_of(code).unwrap_or(if status == StatusCode::NOT_FOUND { Kind::Other } else { plain.kind });
        let detail = &complaint.authentication_error_detail;
        if kind == Kind::Refused && detail.contains("time frame") {
            let worked = self.worked.load(std::sync::atomic::Ordering::Relaxed);
            kind = if worked { Kind::Expired } else { Kind::Refused };
        }
        // The rest of a message is the number of the request and the time.
        let message = complaint.message.lines().next().unwrap_or_default().trim_end_matches('.');
        let what = format!("could not {what} at `{}`: {message} ({code})", self.address(""));
        let error = StorageError { wait: plain.wait, ..StorageError::new(kind, what) };
        match kind {
            Kind::NoPlace => error.hint(format!("make the container `{}`, or correct its name", self.container)),
            Kind::Refused if detail.contains("date header") => error.hint("set this machine's clock"),
            Kind::Refused if code == "AuthenticationFailed" => {
                error.hint("the credentials are wrong or have run out: check the account, and its key or the signature")
            }
            Kind::Refused => error.hint("these credentials are not allowed to do this there"),
            Kind::Expired => error.hint("renew the shared access signature; work goes on when it is valid again"),
            _ => match plain.hint {
                Some(hint) => error.hint(hint),
                None => error,
            },
        }
    }

    pub(super) fn nonsense(&self, what: &str) -> StorageError {
        let what = format!("could not {what} at `{}`: the answer is not one of Azure", self.address(""));
        StorageError::new(Kind::Other, what).hint("check the endpoint")
    }
}

/// Why, in Azure's words, which stand in a header too.
pub(super) fn code_of(headers: &HeaderMap) -> Option<&str> {
    wire::text_of(headers, "x-ms-error-code").filter(|code| !code.is_empty())
}

/// The fields, with those of a connection string where they leave something open.
fn with_connection_string(fields: &Fields) -> Fields {
    let mut all = fields.clone();
    let Some(text) = fields.text("connection-string") else { return all };
    let parts = || text.split(';').filter_map(|part| part.split_once('='));
    let of = |wanted: &str| parts().find(|(name, _)| *name == wanted).map(|(_, value)| value.to_owned());
    let suffix = of("EndpointSuffix").unwrap_or_else(|| "core.windows.net".into());
    let scheme = of("DefaultEndpointsProtocol").unwrap_or_else(|| "https".into());
    let usual = of("AccountName").map(|account| format!("{scheme}://{account}.blob.{suffix}"));
    for (field, value) in [
        ("account", of("AccountName")),
        ("key", of("AccountKey")),
        ("sas", of("SharedAccessSignature")),
        ("endpoint", of("BlobEndpoint").or(usual)),
    ] {
        if let Some(value) = value.filter(|_| fields.get(field).is_none()) {
            all.set(field, &value);
        }
    }
    all
}

fn signing(fields: &Fields, hint: &str) -> Result<Signing, Failure> {
    if fields.is_on("anonymous") {
        return Ok(Signing::Nothing);
    }
    if let Some(key) = fields.get("key") {
        let bytes = STANDARD.decode(key.trim()).map_err(|_| {
            Failure::environment("the key of the account at Azure is not Base64").hint("copy it again, with its `==`")
        })?;
        return Ok(Signing::Key { account: fields.need("account", hint)?, key: Secret::new(bytes) });
    }
    match fields.get("sas") {
        Some(query) => Ok(Signing::Access(Secret::new(query.trim_start_matches('?').as_bytes().to_vec()))),
        None => Err(Failure::environment("there are no credentials for Azure").hint(
            "set AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN or AZURE_STORAGE_CONNECTION_STRING, or the settings",
        )),
    }
}

/// The URL of a container.
fn base(endpoint: &str, container: &str) -> Result<Url, Failure> {
    let bad = || {
        Failure::permanent(format!("`{}` is no address of Azure's Blob Storage", endpoint.escape_debug()))
            .hint("give an endpoint such as `https://account.blob.core.windows.net`, without a password")
    };
    let mut url = Url::parse(endpoint).map_err(|_| bad())?;
    let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    if !matches!(url.scheme(), "http" | "https") || !plain {
        return Err(bad());
    }
    url.set_path(&format!("{}/{container}", url.path().trim_end_matches('/')));
    Ok(url)
}

fn kind_of(code: &str) -> Option<Kind> {
    Some(match code {
        "ContainerNotFound" | "ContainerBeingDeleted" | "ContainerDisabled" | "ResourceNotFound" => Kind::NoPlace,
        "AuthenticationFailed"
        | "AuthorizationFailure"
        | "AuthorizationPermissionMismatch"
        | "InsufficientAccountPermissions"
        | "NoAuthenticationInformation"
        | "PublicAccessNotPermitted" => Kind::Refused,
        "ServerBusy" | "AccountIsBeingCreated" => Kind::Busy,
        "InternalError" | "OperationTimedOut" => Kind::Unreachable,
        "Md5Mismatch" | "InvalidMd5" => Kind::Damaged,
        // Blocks are gone with another upload of the same object: whoever finished looks.
        "BlobAlreadyExists" | "ConditionNotMet" | "TargetConditionNotMet" | "InvalidBlockList" => Kind::Conflict,
        "RequestBodyTooLarge" => Kind::Unsupported,
        "BlockCountExceedsLimit" => Kind::Full,
        "InvalidResourceName" | "InvalidUri" => Kind::BadKey,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_have_their_urls() {
        let url = |endpoint, container| base(endpoint, container).map(String::from);
        assert_eq!(url("http://127.0.0.1:9/dev", "box").unwrap(), "http://127.0.0.1:9/dev/box");
        assert_eq!(url("https://a.blob.example/", "box").unwrap(), "https://a.blob.example/box");
        for endpoint in ["ftp://x", "https://u:p@x", "x", "https://x/?sig=1"] {
            assert!(base(endpoint, "box").is_err(), "{endpoint}");
        }
    }

    #[test]
    fn connection_strings_fill_what_is_open() {
        let mut fields = Fields::new("az");
        fields.set(
            "connection-string",
            "DefaultEndpointsProtocol=https;AccountName=films;AccountKey=YQ==;EndpointSuffix=x.y",
        );
        let all = with_connection_string(&fields);
        let of = |name| all.get(name);
        assert_eq!((of("account"), of("key")), (Some("films"), Some("YQ==")));
        assert_eq!(of("endpoint"), Some("https://films.blob.x.y"));
    }
}
