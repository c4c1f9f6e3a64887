//! Messages with pictures: sent to a mail server, or written as files that
//! every mail program opens.

use std::path::PathBuf;
use std::time::Duration;

use crate::model::failure::Failure;
use crate::model::secret::Secret;

mod letter;
mod smtp;

/// Where messages go.
#[derive(Clone, Debug)]
pub enum Outbox {
    /// To a mail server.
    Server(Server),
    /// Into this folder, one `.eml` file each.
    Folder(PathBuf),
}

/// A mail server.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its name, which its certificate must bear.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: Tls,
    /// One more authority to trust, in PEM.
    pub authority: Option<Vec<u8>>,
    /// Who we are to it, if it asks.
    pub login: Option<(String, Secret)>,
}

/// How a connection to a mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// From the first byte on, as on port 465.
    Implicit,
    /// Begun by STARTTLS, as on port 587, and not gone on without.
    StartTls,
    /// Not at all: for a server on this machine.
    None,
}

/// A message to be sent.
#[derive(Clone, Debug)]
pub struct Letter {
    /// The sender's address.
    pub from: String,
    /// The recipients' addresses.
    pub to: Vec<String>,
    /// Its subject.
    pub subject: String,
    /// Its text.
    pub text: String,
    /// Always the same for the same pictures to the same people.
    pub id: String,
    /// The pictures.
    pub pictures: Vec<Attachment>,
}

/// A picture in a message.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// Its file name.
    pub name: String,
    /// Its media type.
    pub media_type: &'static str,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Hears why a message is tried again, and after which time.
pub type Retry<'a> = &'a (dyn Fn(&Failure, Duration) + Sync);

impl Outbox {
    /// Sends one message; tells its bytes. When this returns the message is in the hands of the server, or durable.
    pub async fn send(&self, letter: Letter, retry: Retry<'_>) -> Result<u64, Failure> {
        let id = letter.id.clone();
        let message = letter::build(letter)?;
        match self {
            // What talks to a server is large, and lies in the future of a whole run.
            Self::Server(server) => Box::pin(smtp::send(server, &message, retry)).await,
            Self::Folder(folder) => letter::keep(folder.clone(), id, message).await,
        }
    }
}

/// Whether `address` can be written to.
pub fn is_address(address: &str) -> bool {
    letter::mailbox(address).is_ok()
}
