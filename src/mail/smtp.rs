//! A message handed to a mail server.

use std::time::Duration;

use lettre::Message;
use lettre::address::Envelope;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use tokio::time::timeout;

use super::{Retry, Server, Tls};
use crate::model::failure::Failure;
use crate::model::fault;

/// Longest wait for a connection with all that comes before a message: a server that is well takes a second.
const GREETING: Duration = Duration::from_secs(30);

/// Longest wait for the answer to a message: servers look into large ones before they say yes.
const ANSWER: Duration = Duration::from_mins(5);

/// Bytes a second at which a message goes at least, or else nobody listens.
const SLOWEST: u64 = 10_000;

/// Longest wait for a goodbye, which changes nothing.
const GOODBYE: Duration = Duration::from_secs(2);

/// Waits between tries for what may pass: greylisting wants some minutes' patience, which another run has.
const WAITS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(15)];

/// Why a message was not taken.
enum Trouble {
    /// No connection, or none that messages may go over.
    NoConnection(Error),
    /// The server did not say a word in time.
    NoGreeting,
    /// The message was refused, or the connection broke.
    Refused(Error),
    /// No answer to the message: the server may have taken it, or not.
    NoAnswer,
}

pub(super) async fn send(server: &Server, message: &Message, retry: Retry<'_>) -> Result<u64, Failure> {
    let cover = if server.tls == Tls::None { None } else { Some(parameters(server)?) };
    let (envelope, bytes) = (message.envelope(), message.formatted());
    let mut waits = WAITS.iter();
    loop {
        let Err(trouble) = attempt(server, cover.as_ref(), envelope, &bytes).await else {
            return Ok(bytes.len() as u64);
        };
        let failure = trouble.failure(server);
        let Some(wait) = waits.next().filter(|_| trouble.may_pass()) else { return Err(failure) };
        let wait = fault::limit("MAIL_WAIT", *wait);
        retry(&failure, wait);
        tokio::time::sleep(wait).await;
    }
}

/// One try with one connection.
async fn attempt(
    server: &Server,
    cover: Option<&TlsParameters>,
    envelope: &Envelope,
    bytes: &[u8],
) -> Result<(), Trouble> {
    let connected = timeout(fault::limit("MAIL_GREETING", GREETING), connect(server, cover)).await;
    let mut connection = connected.map_err(|_| Trouble::NoGreeting)?.map_err(Trouble::NoConnection)?;
    let longest = ANSWER + Duration::from_secs(bytes.len() as u64 / SLOWEST);
    let sent = timeout(longest, connection.send(envelope, bytes)).await;
    sent.map_err(|_| Trouble::NoAnswer)?.map_err(Trouble::Refused)?;
    // The message is taken: whatever comes of this is no matter.
    drop(timeout(GOODBYE, connection.quit()).await);
    Ok(())
}

/// A connection that messages may go over.
async fn connect(server: &Server, cover: Option<&TlsParameters>) -> Result<AsyncSmtpConnection, Error> {
    let (place, name) = ((server.host.as_str(), server.port), ClientId::default());
    let first = cover.filter(|_| server.tls == Tls::Implicit).cloned();
    let mut connection = AsyncSmtpConnection::connect_tokio1(place, None, &name, first, None).await?;
    if let Some(cover) = cover.filter(|_| server.tls == Tls::StartTls) {
        connection.starttls(cover.clone(), &name).await?;
    }
    if let Some((user, password)) = &server.login {
        let password = String::from_utf8_lossy(password.expose()).into_owned();
        connection.auth(DEFAULT_MECHANISMS, &Credentials::new(user.clone(), password)).await?;
    }
    Ok(connection)
}

fn parameters(server: &Server) -> Result<TlsParameters, Failure> {
    let unusable = |error: Error| {
        Failure::environment(format!("TLS to the mail server cannot be used: {error}"))
            .hint("check `mail.authority`, which must hold certificates in PEM")
    };
    let mut parameters = TlsParameters::builder(server.host.clone());
    if let Some(pem) = &server.authority {
        parameters = parameters.add_root_certificate(Certificate::from_pem(pem).map_err(unusable)?);
    }
    parameters.build().map_err(unusable)
}

impl Trouble {
    /// Whether another try may help: the server said so, or there was no connection. A server that does not
    /// answer a message may have taken it, and a second copy is left to the next run.
    fn may_pass(&self) -> bool {
        match self {
            Self::NoConnection(error) | Self::Refused(error) => {
                !error.is_permanent() && !error.is_client() && !error.is_tls()
            }
            Self::NoGreeting => true,
            Self::NoAnswer => false,
        }
    }

    fn failure(&self, server: &Server) -> Failure {
        let what = format!("the mail server `{}` did not take a message: {}", server.host, self.why());
        match self.code().as_deref() {
            // The server lives, and may like the next message better.
            Some(_) if self.may_pass() => Failure::temporary(what),
            _ => Failure::environment(what),
        }
        .hint(self.hint())
    }

    fn why(&self) -> String {
        match self {
            Self::NoConnection(error) | Self::Refused(error) => told(error),
            Self::NoGreeting => "it does not answer".into(),
            Self::NoAnswer => "it does not say whether it has it".into(),
        }
    }

    fn code(&self) -> Option<String> {
        match self {
            Self::NoConnection(error) | Self::Refused(error) => error.status().map(|status| status.to_string()),
            Self::NoGreeting | Self::NoAnswer => None,
        }
    }

    fn hint(&self) -> &'static str {
        match (self, self.code().as_deref()) {
            (_, Some("530" | "534" | "535" | "538")) => "check `mail.user` and FOREBAY_MAIL_PASSWORD",
            (Self::Refused(_), Some("552" | "554")) => "the server may take smaller messages only: lower --mail-limit",
            (Self::Refused(_), Some(_)) | (Self::NoAnswer, _) => {
                "the pictures are stored; run the same command again to mail them"
            }
            _ => "check `mail.server`, `mail.port` and `mail.encryption`; the pictures are stored",
        }
    }
}

/// An error with all its causes, each of which is said once.
fn told(error: &Error) -> String {
    let mut why = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let text = cause.to_string();
        if !why.contains(&text) {
            why = format!("{why}: {text}");
        }
        source = cause.source();
    }
    why
}
