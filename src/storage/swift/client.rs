//! Requests to one container, with a token that is renewed when it has run out.

use reqwest::{Method, Response, StatusCode};

use super::super::error::{Kind, StorageError};
use super::super::open::WireSettings;
use super::super::options::Fields;
use super::super::wire::{self, Payload, Request, Wire};
use super::login::Login;
use super::{Found, PAGE};
use crate::model::failure::Failure;

/// Before the user's own names.
pub(super) const META: &str = "x-object-meta-";

/// Swift takes no longer names.
const LONGEST_KEY: usize = 1024;

/// Bytes of a listing of one page.
const LARGEST_ANSWER: usize = 16 << 20;

/// Asks one account about one container.
pub(super) struct Client {
    pub(super) wire: Wire,
    pub(super) container: String,
    /// The server and the account, without which a name of a container tells little.
    account: String,
    login: Login,
    /// Empty, or ending in a slash.
    root: String,
}

/// A request below the URL of the account, which is known only with a token.
pub(super) struct Ask {
    pub(super) path: String,
    pub(super) query: String,
    pub(super) request: Request,
}

impl Client {
    pub(super) fn new(fields: &Fields, prefix: &str, settings: &WireSettings) -> Result<Self, Failure> {
        let container =
            fields.need("container", "write it as `swift://container/prefix`, or in the settings of the storage")?;
        if container.is_empty() || container.len() > 200 || container.contains(['/', '\0']) {
            let what = format!("`{}` is no name of a container", container.escape_debug());
            return Err(Failure::permanent(what));
        }
        let prefix = prefix.trim_matches('/');
        let root = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let wire = Wire::new(settings, &format!("`swift://{container}`"))?;
        Ok(Self { login: Login::new(fields, settings)?, wire, container, account: account(fields), root })
    }

    pub(super) fn identity(&self) -> String {
        format!("swift://{}@{}/{}", self.container, self.account, self.root)
    }

    pub(super) fn address(&self, key: &str) -> String {
        format!("swift://{}/{}{key}", self.container, self.root)
    }

    /// The container for the segments of large objects.
    pub(super) fn segments(&self) -> String {
        format!("{}_segments", self.container)
    }

    /// A prefix of names as the container has them, ending in a slash if there is any.
    pub(super) fn below(&self, prefix: &str) -> String {
        let slash = if prefix.is_empty() { "" } else { "/" };
        format!("{}{prefix}{slash}", self.root)
    }

    /// A key as the container has it.
    pub(super) fn name(&self, key: &str) -> Result<String, StorageError> {
        let name = format!("{}{key}", self.root);
        let bad = |part: &str| matches!(part, "." | "..");
        if key.is_empty() || name.len() > LONGEST_KEY || name.contains('\0') || name.split('/').any(bad) {
            return Err(StorageError::bad_key(key, &self.address("")));
        }
        Ok(name)
    }

    /// A request about an object.
    pub(super) fn object(&self, method: Method, key: &str) -> Result<Ask, StorageError> {
        let path = format!("{}/{}", self.container, self.name(key)?);
        Ok(ask(method, &path, &[]))
    }

    /// Some of the names in a container that begin with `below`.
    pub(super) async fn listed(
        &self,
        container: &str,
        below: &str,
        after: Option<&str>,
    ) -> Result<Vec<Found>, StorageError> {
        let mut query = vec![("format", "json"), ("limit", PAGE)];
        query.extend(Some(("prefix", below)).filter(|(_, below)| !below.is_empty()));
        query.extend(after.map(|after| ("marker", after)));
        let response = self.send(ask(Method::GET, container, &query)).await?;
        match response.status() {
            StatusCode::NOT_FOUND if container == self.container => Err(self.no_container()),
            StatusCode::NOT_FOUND | StatusCode::NO_CONTENT => Ok(Vec::new()),
            status if status.is_success() => {
                let text = self.wire.text(response, LARGEST_ANSWER).await?;
                serde_json::from_str(&text).map_err(|_| self.nonsense("list"))
            }
            _ => Err(self.refusal("list", response).await),
        }
    }

    /// Sends a request. A token that has run out is renewed, once.
    pub(super) async fn send(&self, ask: Ask) -> Result<Response, StorageError> {
        let Ask { path, query, request } = ask;
        let session = self.login.session().await?;
        let again = match &request.payload {
            Payload::Bytes(bytes) => Some(Payload::Bytes(bytes.clone())),
            Payload::Nothing => Some(Payload::Nothing),
            Payload::Stream(..) => None,
        };
        let (method, headers) = (request.method.clone(), request.headers.clone());
        let response = self.wire.send(session.sign(request, &path, &query)).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let session = self.login.renewed(session.number).await?;
        let Some(payload) = again else { return Ok(response) };
        let request = Request { method, url: session.url.clone(), headers, payload };
        self.wire.send(session.sign(request, &path, &query)).await
    }

    /// What an answer that is not a success means.
    pub(super) async fn refusal(&self, what: &str, response: Response) -> StorageError {
        let (status, headers) = (response.status(), response.headers().clone());
        let error = self.wire.refusal(what, status, &headers);
        let text = self.wire.complaint(response).await;
        match error.kind {
            Kind::Refused if status == StatusCode::FORBIDDEN => {
                StorageError::new(Kind::Refused, format!("{} does not let this user {what}", self.address("")))
                    .hint("ask for a role that may read and write there, or choose another project")
            }
            Kind::Refused => error.hint("the token is not accepted: check the credentials"),
            Kind::Full => error,
            // Swift says it of a quota with the status of a body that is too large.
            _ if text.contains("Upload exceeds quota") => {
                StorageError { kind: Kind::Full, ..error }.hint("free some space there, or raise the quota")
            }
            _ => error,
        }
    }

    pub(super) fn no_container(&self) -> StorageError {
        let what = format!("there is no container `{}`", self.container);
        StorageError::new(Kind::NoPlace, what).hint("make it, or correct its name; the project may be the wrong one")
    }

    pub(super) fn nonsense(&self, what: &str) -> StorageError {
        let what = format!("could not {what} at {}: the answer is not one of Swift", self.address(""));
        StorageError::new(Kind::Other, what).hint("check the URL of the storage")
    }
}

/// What tells one account from others: its own URL, or that of who gives tokens and a project there.
fn account(fields: &Fields) -> String {
    let place = |field| fields.get(field).and_then(|url| reqwest::Url::parse(url).ok()).map(|url| wire::place_of(&url));
    if let Some(account) = place("storage-url") {
        return account;
    }
    // A user of Swift's own is written `account:user`.
    let of_user = || fields.get("user").and_then(|user| user.split(':').next());
    let project = fields.get("project-id").or_else(|| fields.get("project")).or_else(of_user);
    format!("{}/{}", place("auth-url").unwrap_or_default(), project.unwrap_or_default())
}

/// A request for something below the account.
pub(super) fn ask(method: Method, path: &str, query: &[(&str, &str)]) -> Ask {
    let url = reqwest::Url::parse("http://account.invalid").expect("that is a URL");
    Ask { path: wire::path_of(path), query: wire::query_of(query), request: Request::new(method, url) }
}
