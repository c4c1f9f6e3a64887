//! A message handed to a mail server.

use std::time::Duration;

use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls as Cover, TlsParameters};
use lettre::transport::smtp::{AsyncSmtpTransport, Error};
use lettre::{AsyncTransport as _, Message, Tokio1Executor};

use super::{Server, Tls};
use crate::model::failure::Failure;

/// Longest wait for one answer: servers look into large messages before they say yes.
const ANSWER: Duration = Duration::from_mins(5);

/// Waits between tries for what may pass: greylisting wants some minutes' patience, which another run has.
const WAITS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(15)];

pub(super) async fn send(server: &Server, message: Message) -> Result<u64, Failure> {
    let transport = transport(server)?;
    let (envelope, bytes) = (message.envelope().clone(), message.formatted());
    let mut waits = WAITS.iter();
    loop {
        let Err(error) = transport.send_raw(&envelope, &bytes).await else { return Ok(bytes.len() as u64) };
        match waits.next().filter(|_| may_pass(&error)) {
            Some(wait) => tokio::time::sleep(*wait).await,
            None => return Err(failure(server, &error)),
        }
    }
}

fn transport(server: &Server) -> Result<AsyncSmtpTransport<Tokio1Executor>, Failure> {
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&server.host)
        .port(server.port)
        .timeout(Some(ANSWER))
        .tls(match server.tls {
            Tls::Implicit => Cover::Wrapper(parameters(server)?),
            Tls::StartTls => Cover::Required(parameters(server)?),
            Tls::None => Cover::None,
        });
    if let Some((user, password)) = &server.login {
        let password = String::from_utf8_lossy(password.expose()).into_owned();
        builder = builder.credentials(Credentials::new(user.clone(), password));
    }
    Ok(builder.build())
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

/// Whether another try may help: the server said so, or no whole answer came.
fn may_pass(error: &Error) -> bool {
    !error.is_permanent() && !error.is_client() && !error.is_tls()
}

fn failure(server: &Server, error: &Error) -> Failure {
    let mut why = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        why = format!("{why}: {cause}");
        source = cause.source();
    }
    let what = format!("the mail server `{}` did not take a message: {why}", server.host);
    let code = error.status().map(|status| status.to_string());
    let failure = if may_pass(error) { Failure::temporary(what) } else { Failure::environment(what) };
    match code.as_deref() {
        Some("530" | "534" | "535" | "538") => failure.hint("check `mail.user` and FOREBAY_MAIL_PASSWORD"),
        Some("552" | "554") => failure.hint("the server may take smaller messages only: lower --mail-limit"),
        Some(_) => failure.hint("the pictures are stored; run the same command again to mail them"),
        None => failure.hint("check `mail.server`, `mail.port` and `mail.encryption`; the pictures are stored"),
    }
}
