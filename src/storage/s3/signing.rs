//! Signs requests, with credentials that are given or found where AWS's and
//! Google's own tools find them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqsign_aws_v4 as aws;
use reqsign_core::{Context, Error, ErrorKind, OsEnv, Signer};
use reqsign_file_read_tokio::TokioFileRead;
use reqsign_google as google;

use super::super::error::{Kind, StorageError};
use super::super::options::Fields;
use crate::model::secret::Secret;

/// Services that hand out credentials are near; those that are not there must not keep us waiting.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(10);

/// Whose rules requests are signed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// Amazon's, version 4.
    Aws,
    /// Google's tokens.
    Google,
}

/// Signs the requests to one bucket.
pub(super) struct Signing {
    scheme: Scheme,
    region: String,
    fixed: Option<Fixed>,
    profile: Option<String>,
    credential_file: Option<String>,
    client: reqwest::Client,
    signer: Mutex<Option<Pen>>,
}

/// Credentials that are given, and so cannot be renewed.
struct Fixed {
    access_key: String,
    secret_key: Secret,
    session_token: Option<Secret>,
}

/// A signer with the credentials it has found.
#[derive(Clone)]
enum Pen {
    Aws(Signer<aws::Credential>),
    Google(Signer<google::Credential>),
}

impl Signing {
    pub(super) fn new(scheme: Scheme, region: String, fields: &Fields, client: reqwest::Client) -> Self {
        let secret = |text: &str| Secret::new(text.as_bytes().to_vec());
        let fixed = fields.get("access-key").zip(fields.get("secret-key")).map(|(access, key)| Fixed {
            access_key: access.into(),
            secret_key: secret(key),
            session_token: fields.get("session-token").map(secret),
        });
        let (profile, credential_file) = (fields.text("profile"), fields.text("credential-file"));
        Self { scheme, region, fixed, profile, credential_file, client, signer: Mutex::new(None) }
    }

    /// Adds the signature to a request.
    pub(super) async fn sign(&self, parts: &mut http::request::Parts) -> Result<(), StorageError> {
        let pen = self.signer.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| self.pen()).clone();
        let signed = match pen {
            Pen::Aws(signer) => signer.sign(parts, None).await,
            Pen::Google(signer) => signer.sign(parts, None).await,
        };
        signed.map_err(|error| match error.kind() {
            ErrorKind::RequestInvalid => {
                StorageError::new(Kind::Other, format!("the request cannot be signed as it is: {error}"))
                    .hint("is there an odd character in what is kept with the object?")
            }
            _ => self.no_credentials(&error),
        })
    }

    /// Forgets the credentials, so that the next request looks for new ones.
    pub(super) fn renew(&self) {
        *self.signer.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn pen(&self) -> Pen {
        let context =
            Context::new().with_file_read(TokioFileRead).with_http_send(Messenger(self.client.clone())).with_env(OsEnv);
        match (self.scheme, &self.fixed) {
            // Google takes keys of its own for programs that speak S3.
            (_, Some(fixed)) => {
                let text = |secret: &Secret| String::from_utf8_lossy(secret.expose()).into_owned();
                let mut given = aws::StaticCredentialProvider::new(&fixed.access_key, &text(&fixed.secret_key));
                if let Some(token) = &fixed.session_token {
                    given = given.with_session_token(&text(token));
                }
                Pen::Aws(Signer::new(context, given, aws::RequestSigner::new("s3", &self.region)))
            }
            (Scheme::Aws, None) => {
                let mut found = aws::DefaultCredentialProvider::builder();
                if let Some(profile) = &self.profile {
                    found = found.with_profile(profile);
                }
                Pen::Aws(Signer::new(context, found.build(), aws::RequestSigner::new("s3", &self.region)))
            }
            (Scheme::Google, None) => {
                let signer = google::RequestSigner::new("storage");
                Pen::Google(match &self.credential_file {
                    Some(path) => Signer::new(context, google::FileCredentialProvider::new(path), signer),
                    None => Signer::new(context, google::DefaultCredentialProvider::new(), signer),
                })
            }
        }
    }

    fn no_credentials(&self, error: &Error) -> StorageError {
        let hint = match self.scheme {
            Scheme::Aws => {
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or access-key and secret-key in the \
                 settings of the storage"
            }
            Scheme::Google => "set GOOGLE_APPLICATION_CREDENTIALS to the file of a service account",
        };
        StorageError::new(Kind::Refused, format!("there are no credentials to sign requests with: {error}")).hint(hint)
    }
}

/// Fetches credentials from the services that hand them out.
#[derive(Debug)]
struct Messenger(reqwest::Client);

impl reqsign_core::HttpSend for Messenger {
    async fn http_send(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, Error> {
        let failed = |error: reqwest::Error| Error::unexpected(error.without_url().to_string());
        let mut request = reqwest::Request::try_from(request).map_err(failed)?;
        *request.timeout_mut() = Some(CREDENTIALS_TIMEOUT);
        let response = self.0.execute(request).await.map_err(failed)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut answer = http::Response::new(response.bytes().await.map_err(failed)?);
        *answer.status_mut() = status;
        *answer.headers_mut() = headers;
        Ok(answer)
    }
}
