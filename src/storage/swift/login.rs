//! Where Swift's tokens come from: Keystone, version 3, by a password or an
//! application credential; Swift itself, version 1; or somebody who has one.

use std::sync::Arc;

use reqwest::header::HeaderValue;
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::super::error::{Kind, StorageError};
use super::super::open::WireSettings;
use super::super::options::Fields;
use super::super::wire::{self, Request, Wire};
use crate::model::failure::Failure;
use crate::model::secret::Secret;

/// Bytes of a catalog.
const LARGEST_CATALOG: usize = 4 << 20;

/// Gets tokens and remembers the last one.
pub(super) struct Login {
    wire: Wire,
    method: How,
    storage_url: Option<Url>,
    region: Option<String>,
    interface: String,
    session: Mutex<Option<Arc<Session>>>,
}

/// A token and where it is good for.
pub(super) struct Session {
    /// Another number is another token.
    pub(super) number: u64,
    /// The account.
    pub(super) url: Url,
    token: HeaderValue,
}

/// By what a token is got.
enum How {
    /// Keystone, version 3. The body of the request holds secrets.
    Keystone { url: Url, body: Secret },
    /// Swift's own, version 1.
    First { url: Url, user: String, key: Secret },
    /// Somebody gave us one.
    Given(Secret),
}

#[derive(Deserialize)]
struct Answer {
    token: Token,
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    catalog: Vec<Service>,
}

#[derive(Deserialize)]
struct Service {
    #[serde(rename = "type")]
    kind: String,
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    interface: String,
    region_id: Option<String>,
    region: Option<String>,
    url: String,
}

impl Session {
    /// A request of the account, with the token.
    pub(super) fn sign(&self, mut request: Request, path: &str, query: &str) -> Request {
        let mut url = self.url.clone();
        url.set_path(&format!("{}/{path}", self.url.path().trim_end_matches('/')));
        url.set_query(Some(query).filter(|query| !query.is_empty()));
        request.url = url;
        request.headers.insert("x-auth-token", self.token.clone());
        request
    }
}

impl Login {
    pub(super) fn new(fields: &Fields, settings: &WireSettings) -> Result<Self, Failure> {
        let storage_url = fields.get("storage-url").map(url_of).transpose()?;
        let method = how(fields)?;
        let place = match &method {
            How::Keystone { url, .. } | How::First { url, .. } => url.host_str().unwrap_or_default().to_owned(),
            How::Given(_) => String::new(),
        };
        if matches!(method, How::Given(_)) && storage_url.is_none() {
            return Err(Failure::environment("a token is of no use without the URL of the account")
                .hint("set OS_STORAGE_URL, or `storage-url` in the settings of the storage"));
        }
        Ok(Self {
            wire: Wire::new(settings, &format!("`{place}`"))?,
            method,
            storage_url,
            region: fields.text("region"),
            interface: fields.text("interface").unwrap_or_else(|| "public".into()),
            session: Mutex::new(None),
        })
    }

    /// The session, which is begun if there is none.
    pub(super) async fn session(&self) -> Result<Arc<Session>, StorageError> {
        let mut session = self.session.lock().await;
        if let Some(session) = &*session {
            return Ok(Arc::clone(session));
        }
        Ok(Arc::clone(session.insert(self.begin(1).await?)))
    }

    /// A session after the one with this number, whose token is not accepted any more. Many may
    /// ask for it at once; one of them gets the token for all.
    pub(super) async fn renewed(&self, number: u64) -> Result<Arc<Session>, StorageError> {
        let mut session = self.session.lock().await;
        match &*session {
            Some(newer) if newer.number > number => Ok(Arc::clone(newer)),
            _ => {
                // Without a session the next request asks for a token again, if this fails.
                *session = None;
                Ok(Arc::clone(session.insert(self.begin(number + 1).await?)))
            }
        }
    }

    async fn begin(&self, number: u64) -> Result<Arc<Session>, StorageError> {
        let (token, found) = match &self.method {
            How::Given(_) if number > 1 => {
                return Err(StorageError::new(Kind::Expired, "the given token is not accepted any more")
                    .hint("get a new one and set OS_AUTH_TOKEN, or give credentials that can be used again"));
            }
            How::Given(token) => (token.expose().to_vec(), None),
            How::First { url, user, key } => self.first(url, user, key, number).await?,
            How::Keystone { url, body } => self.keystone(url, body, number).await?,
        };
        let url = self.storage_url.clone().or(found).ok_or_else(Self::nonsense)?;
        let mut token = HeaderValue::from_bytes(&token).map_err(|_| Self::nonsense())?;
        token.set_sensitive(true);
        Ok(Arc::new(Session { number, url, token }))
    }

    async fn first(
        &self,
        url: &Url,
        user: &str,
        key: &Secret,
        number: u64,
    ) -> Result<(Vec<u8>, Option<Url>), StorageError> {
        let key = String::from_utf8_lossy(key.expose()).into_owned();
        let request = Request::new(Method::GET, url.clone()).header("x-auth-user", user).header("x-auth-key", &key);
        let response = self.wire.send(request).await?;
        self.check(response.status(), response.headers(), number)?;
        let (headers, url) = (response.headers(), wire::text_of(response.headers(), "x-storage-url"));
        let token = headers.get("x-auth-token").ok_or_else(Self::nonsense)?;
        Ok((token.as_bytes().to_vec(), url.and_then(|url| Url::parse(url).ok())))
    }

    async fn keystone(&self, url: &Url, body: &Secret, number: u64) -> Result<(Vec<u8>, Option<Url>), StorageError> {
        let request = Request::new(Method::POST, url.clone())
            .header("content-type", "application/json")
            .bytes(body.expose().to_vec().into());
        let response = self.wire.send(request).await?;
        self.check(response.status(), response.headers(), number)?;
        let token = response.headers().get("x-subject-token").ok_or_else(Self::nonsense)?.as_bytes().to_vec();
        let text = self.wire.text(response, LARGEST_CATALOG).await?;
        let answer: Answer = serde_json::from_str(&text).map_err(|_| Self::nonsense())?;
        let found = if self.storage_url.is_some() { None } else { Some(self.endpoint(&answer.token.catalog)?) };
        Ok((token, found))
    }

    /// The account's URL in the catalog.
    fn endpoint(&self, catalog: &[Service]) -> Result<Url, StorageError> {
        let services = catalog.iter().filter(|service| service.kind == "object-store");
        let all: Vec<&Endpoint> = services.flat_map(|service| &service.endpoints).collect();
        let region = |endpoint: &Endpoint| endpoint.region_id.clone().or_else(|| endpoint.region.clone());
        let wanted = |endpoint: &&&Endpoint| {
            endpoint.interface == self.interface && (self.region.is_none() || region(endpoint) == self.region)
        };
        let found = all.iter().find(wanted).and_then(|endpoint| Url::parse(&endpoint.url).ok());
        found.ok_or_else(|| {
            let mut regions: Vec<String> = all.iter().filter_map(|endpoint| region(endpoint)).collect();
            regions.sort();
            regions.dedup();
            let what = "the catalog of Keystone has no object store for this project, region and interface";
            let hint = if regions.is_empty() {
                "the user may have no role in the project: check OS_PROJECT_NAME and its domain".into()
            } else {
                format!("regions with one: {}; set OS_REGION_NAME", regions.join(", "))
            };
            StorageError::new(Kind::Refused, what).hint(hint)
        })
    }

    fn check(&self, status: StatusCode, headers: &reqwest::header::HeaderMap, number: u64) -> Result<(), StorageError> {
        if status.is_success() {
            return Ok(());
        }
        if matches!(status.as_u16(), 401 | 403) {
            let error = StorageError::new(Kind::Expired, format!("no token for Swift: the answer is {status}"));
            return Err(error.hint(match number {
                1 => "check user, password, project and their domains, or the application credential",
                _ => "the credentials have expired or were withdrawn: renew them, and work goes on",
            }));
        }
        if status == StatusCode::NOT_FOUND {
            let what = "there is no service for tokens at that address";
            return Err(StorageError::new(Kind::NoPlace, what).hint("OS_AUTH_URL ends in /v3, ST_AUTH in /auth/v1.0"));
        }
        Err(self.wire.refusal("get a token for Swift", status, headers))
    }

    fn nonsense() -> StorageError {
        StorageError::new(Kind::Other, "what was asked for a token does not answer like Keystone or Swift")
            .hint("check OS_AUTH_URL, which ends in /v3, or ST_AUTH, which ends in /auth/v1.0")
    }
}

/// By what the fields want tokens to be got.
fn how(fields: &Fields) -> Result<How, Failure> {
    let secret = |text: &str| Secret::new(text.as_bytes().to_vec());
    if let Some(token) = fields.get("token") {
        return Ok(How::Given(secret(token)));
    }
    let hint = "set the variables OS_* or ST_*, or the settings of the storage";
    let url = url_of(&fields.need("auth-url", hint)?)?;
    let is_first = fields.get("auth-version") == Some("1") || url.path().ends_with("/v1.0");
    if is_first {
        let (user, key) = (fields.need("user", hint)?, fields.need("password", hint)?);
        return Ok(How::First { url, user, key: secret(&key) });
    }
    let mut tokens = url;
    let path = tokens.path().trim_end_matches('/').trim_end_matches("/auth/tokens").to_owned();
    let version = if path.ends_with("/v3") { "" } else { "/v3" };
    tokens.set_path(&format!("{path}{version}/auth/tokens"));
    let body = serde_json::to_vec(&json!({ "auth": keystone_body(fields, hint)? }));
    let body = body.map_err(|error| Failure::environment(error.to_string()))?;
    Ok(How::Keystone { url: tokens, body: Secret::new(body) })
}

fn keystone_body(fields: &Fields, hint: &str) -> Result<Value, Failure> {
    if let Some(id) = fields.get("application-credential-id") {
        let secret = fields.need("application-credential-secret", hint)?;
        let credential = json!({ "id": id, "secret": secret });
        let identity = json!({ "methods": ["application_credential"], "application_credential": credential });
        return Ok(json!({ "identity": identity }));
    }
    let domain = |id: &str, name: &str| match (fields.get(id), fields.get(name)) {
        (Some(id), _) => json!({ "id": id }),
        (None, Some(name)) => json!({ "name": name }),
        (None, None) => json!({ "id": "default" }),
    };
    let (user, password) = (fields.need("user", hint)?, fields.need("password", hint)?);
    let user = json!({
        "name": user,
        "password": password,
        "domain": domain("user-domain-id", "user-domain"),
    });
    let identity = json!({ "methods": ["password"], "password": { "user": user } });
    let project = match fields.get("project-id") {
        Some(id) => json!({ "id": id }),
        None => json!({
            "name": fields.need("project", hint)?,
            "domain": domain("project-domain-id", "project-domain"),
        }),
    };
    Ok(json!({ "identity": identity, "scope": { "project": project } }))
}

fn url_of(text: &str) -> Result<Url, Failure> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or_else(|| {
        Failure::permanent(format!("`{}` is no address of Keystone or Swift", text.escape_debug()))
            .hint("it begins with https:// or http://")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(values: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::new("swift");
        for (name, value) in values {
            fields.set(name, value);
        }
        fields
    }

    #[test]
    fn the_kind_of_login_follows_from_what_is_given() {
        let user = [("user", "u"), ("password", "p"), ("project", "x")];
        let with = |url: &'static str| how(&fields(&[&[("auth-url", url)], &user[..]].concat())).unwrap();
        let How::Keystone { url, body } = with("http://k:5000") else { panic!("not Keystone") };
        assert_eq!(url.as_str(), "http://k:5000/v3/auth/tokens");
        assert!(String::from_utf8_lossy(body.expose()).contains(r#""domain":{"id":"default"}"#));
        assert!(matches!(with("http://k:5000/v3/"), How::Keystone { url, .. } if url.path() == "/v3/auth/tokens"));
        assert!(matches!(with("http://s:8080/auth/v1.0"), How::First { .. }));
        assert!(matches!(how(&fields(&[("token", "t")])), Ok(How::Given(_))));
        assert!(how(&fields(&[("auth-url", "http://k/v3")])).is_err());
        assert!(how(&fields(&[("auth-url", "ftp://k/v3")])).is_err());
    }
}
