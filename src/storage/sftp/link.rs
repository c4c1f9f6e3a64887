//! A connection to an SSH server that is known, by a key, an agent or a password.

use std::borrow::Cow;
use std::fmt::Display;
use std::future::ready;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::MethodKind;
use russh::client::{self, AuthResult, Handle, KeyboardInteractiveAuthResponse};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::known_hosts::known_host_keys_path;
use russh::keys::{Algorithm, HashAlg, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate, decode_secret_key};
use russh_sftp::client::RawSftpSession;
use russh_sftp::client::error::Error;
use tokio::net::TcpStream;

use super::super::error::{Kind, StorageError};
use super::super::open::WireSettings;
use super::super::options::Fields;
use crate::model::failure::Failure;
use crate::model::secret::Secret;

/// How often a silent server is asked whether it is still there; after three times it is not.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Where people keep their keys, the best first.
const KEYS: &[&str] = &["id_ed25519", "id_ecdsa", "id_rsa"];

/// Servers that let somebody in by questions ask one or two; more is somebody who plays.
const MOST_QUESTIONS: usize = 4;

/// Where a server is and who we are there.
pub(super) struct Link {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    password: Option<Secret>,
    key_file: Option<PathBuf>,
    passphrase: Option<Secret>,
    /// Files of known hosts; the first is where a user adds one.
    known_hosts: Vec<PathBuf>,
    home: PathBuf,
    connect_timeout: Duration,
    stall: Duration,
    session: tokio::sync::Mutex<Option<Arc<Session>>>,
}

/// A session that is open.
pub(super) struct Session {
    pub(super) sftp: RawSftpSession,
    /// Whether the server can put a file in the place of another in one step.
    pub(super) replaces: bool,
    /// Whether the server can say that a file is on its disk.
    pub(super) syncs: bool,
    handle: Handle<Doorman>,
}

impl Link {
    /// The server that `fields` describe. Asks nobody anything.
    pub(super) fn new(fields: &Fields, settings: &WireSettings) -> Result<Self, Failure> {
        let host = fields.need("host", "write it as `sftp://user@host/path`, or in the settings of the storage")?;
        let port = fields.get("port").filter(|port| *port != "0").unwrap_or("22");
        let port = port.parse().map_err(|_| Failure::permanent(format!("`{}` is no port", port.escape_debug())))?;
        let secret = |name| fields.text(name).map(|text| Secret::new(text.into_bytes()));
        let home = PathBuf::from(fields.text("home").unwrap_or_else(|| "/".into()));
        let known_hosts = match fields.get("known-hosts") {
            Some(file) => vec![file.into()],
            None => vec![home.join(".ssh/known_hosts"), "/etc/ssh/ssh_known_hosts".into()],
        };
        Ok(Self {
            user: fields.need("user", "write it as `sftp://user@host/path`, or set SFTP_USER")?,
            password: secret("password"),
            key_file: fields.text("key-file").map(Into::into),
            passphrase: secret("passphrase"),
            connect_timeout: settings.connect_timeout,
            stall: settings.stall,
            session: tokio::sync::Mutex::new(None),
            host,
            port,
            known_hosts,
            home,
        })
    }

    /// The host and port as known hosts are written.
    pub(super) fn place(&self) -> String {
        if self.port == 22 { self.host.clone() } else { format!("[{}]:{}", self.host, self.port) }
    }

    /// The open session, or a new one.
    pub(super) async fn session(&self) -> Result<Arc<Session>, StorageError> {
        let mut session = self.session.lock().await;
        if let Some(open) = session.as_ref().filter(|open| !open.handle.is_closed()) {
            return Ok(Arc::clone(open));
        }
        let opened = tokio::time::timeout(self.stall, self.connect()).await;
        let opened = opened.map_err(|_| self.unreachable(&"no answer"))??;
        Ok(Arc::clone(session.insert(Arc::new(opened))))
    }

    /// Forgets a session that failed, so that the next request opens another.
    pub(super) async fn forget(&self, failed: &Arc<Session>) {
        let mut session = self.session.lock().await;
        if session.as_ref().is_some_and(|open| Arc::ptr_eq(open, failed)) {
            *session = None;
        }
    }

    /// Removes what a failed write has left, by another session if that one is gone.
    /// What cannot be removed now is no object, and stays.
    pub(super) async fn remove(&self, temporary: String) {
        let removed = async {
            let Ok(session) = self.session().await else { return };
            session.sftp.remove(temporary).await.map(drop).unwrap_or_default();
        };
        tokio::time::timeout(self.connect_timeout, removed).await.unwrap_or_default();
    }

    fn unreachable(&self, why: &dyn Display) -> StorageError {
        StorageError::new(Kind::Unreachable, format!("could not reach `sftp://{}`: {why}", self.place()))
    }

    async fn connect(&self) -> Result<Session, StorageError> {
        let connecting = TcpStream::connect((self.host.as_str(), self.port));
        let stream = tokio::time::timeout(self.connect_timeout, connecting).await;
        let stream = stream.map_err(|_| self.unreachable(&"timed out"))?.map_err(|error| self.unreachable(&error))?;
        let known = self.known_keys()?;
        let mut config = client::Config { nodelay: true, keepalive_interval: Some(KEEPALIVE), ..Default::default() };
        config.preferred.key = preferred(&known, &config.preferred.key);
        let refusal = Arc::new(Mutex::new(None));
        let doorman = Doorman { known, place: self.place(), file: self.known_hosts[0].clone(), refusal };
        let refusal = Arc::clone(&doorman.refusal);
        let connected = client::connect_stream(Arc::new(config), stream, doorman).await;
        let mut handle = connected.map_err(|error| {
            let refused = refusal.lock().unwrap_or_else(PoisonError::into_inner).take();
            refused.unwrap_or_else(|| self.unreachable(&error))
        })?;
        self.log_in(&mut handle).await?;
        let failed = |error: russh::Error| self.unreachable(&error);
        let channel = handle.channel_open_session().await.map_err(failed)?;
        channel.request_subsystem(true, "sftp").await.map_err(failed)?;
        let sftp = RawSftpSession::new(channel.into_stream());
        sftp.set_timeout(self.stall.as_secs().max(1));
        let version = sftp.init().await.map_err(|error: Error| self.unreachable(&error))?;
        let can = |name: &str| version.extensions.contains_key(name);
        let (replaces, syncs) = (can("posix-rename@openssh.com"), can("fsync@openssh.com"));
        Ok(Session { sftp, replaces, syncs, handle })
    }

    fn known_keys(&self) -> Result<Vec<PublicKey>, StorageError> {
        let mut known = Vec::new();
        for file in &self.known_hosts {
            let keys = known_host_keys_path(&self.host, self.port, file).map_err(|error| {
                StorageError::new(Kind::Refused, format!("could not read `{}`: {error}", file.display()))
            })?;
            known.extend(keys.into_iter().map(|(_, key)| key));
        }
        Ok(known)
    }

    /// Shows every key there is, then the password.
    async fn log_in(&self, handle: &mut Handle<Doorman>) -> Result<(), StorageError> {
        let failed = |error: russh::Error| self.unreachable(&error);
        let mut tried = Vec::new();
        for file in self.key_files() {
            let Some(key) = self.key(&file).await? else { continue };
            tried.push(format!("the key `{}`", file.display()));
            let hash = rsa_hash(handle, &key.algorithm()).await;
            let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
            if handle.authenticate_publickey(self.user.clone(), key).await.map_err(failed)?.success() {
                return Ok(());
            }
        }
        if self.key_file.is_none() && self.ask_agent(handle, &mut tried).await {
            return Ok(());
        }
        if let Some(password) = &self.password {
            let password = String::from_utf8_lossy(password.expose()).into_owned();
            tried.push("the password".into());
            let answer = handle.authenticate_password(self.user.clone(), password.clone()).await.map_err(failed)?;
            let asks = match answer {
                AuthResult::Success => return Ok(()),
                AuthResult::Failure { remaining_methods, .. } => {
                    remaining_methods.contains(&MethodKind::KeyboardInteractive)
                }
            };
            if asks && self.answer_questions(handle, &password).await.map_err(failed)? {
                return Ok(());
            }
        }
        let tried = if tried.is_empty() { "nothing, for there is none".into() } else { tried.join(", ") };
        let what = format!("`sftp://{}` does not let `{}` in; shown was {tried}", self.place(), self.user);
        Err(StorageError::new(Kind::Refused, what)
            .hint("give a key-file, a password or an SSH agent: see docs/stores.md"))
    }

    fn key_files(&self) -> Vec<PathBuf> {
        match &self.key_file {
            Some(file) => vec![file.clone()],
            None => KEYS.iter().map(|name| self.home.join(".ssh").join(name)).collect(),
        }
    }

    /// The key in a file, if it is there. One that was not asked for by name may be of no use.
    async fn key(&self, file: &Path) -> Result<Option<russh::keys::PrivateKey>, StorageError> {
        let named = self.key_file.is_some();
        let refused = |why: &dyn Display| {
            StorageError::new(Kind::Refused, format!("could not read the key `{}`: {why}", file.display()))
        };
        let text = match tokio::fs::read_to_string(file).await {
            Ok(text) => text,
            Err(error) if named => return Err(refused(&error)),
            Err(_) => return Ok(None),
        };
        let passphrase = self.passphrase.as_ref().map(|secret| String::from_utf8_lossy(secret.expose()));
        match decode_secret_key(&text, passphrase.as_deref()) {
            Ok(key) => Ok(Some(key)),
            Err(error) if named => Err(refused(&error).hint("give its passphrase, or use an SSH agent")),
            Err(_) => Ok(None),
        }
    }

    /// Answers what the server asks: servers behind PAM want the password like this.
    async fn answer_questions(&self, handle: &mut Handle<Doorman>, password: &str) -> Result<bool, russh::Error> {
        let mut answer = handle.authenticate_keyboard_interactive_start(self.user.clone(), None).await?;
        for _ in 0..MOST_QUESTIONS {
            let KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } = answer else { break };
            // What is shown while it is typed is no password.
            let answers = prompts.iter().map(|prompt| if prompt.echo { String::new() } else { password.into() });
            answer = handle.authenticate_keyboard_interactive_respond(answers.collect()).await?;
        }
        Ok(matches!(answer, KeyboardInteractiveAuthResponse::Success))
    }

    /// Lets the user's agent answer, if there is one.
    async fn ask_agent(&self, handle: &mut Handle<Doorman>, tried: &mut Vec<String>) -> bool {
        let Ok(mut agent) = AgentClient::connect_env().await else { return false };
        for identity in agent.request_identities().await.unwrap_or_default() {
            let AgentIdentity::PublicKey { key, comment } = identity else { continue };
            tried.push(format!("the agent's key `{}`", comment.escape_debug()));
            let hash = rsa_hash(handle, &key.algorithm()).await;
            let answer = handle.authenticate_publickey_with(self.user.clone(), key, hash, &mut agent).await;
            if answer.is_ok_and(|answer| answer.success()) {
                return true;
            }
        }
        false
    }
}

/// By which hash the server wants to be signed for with an RSA key; other keys have theirs.
/// A server that does not say is taken for one that has learnt RFC 8332.
async fn rsa_hash(handle: &Handle<Doorman>, algorithm: &Algorithm) -> Option<HashAlg> {
    if !matches!(algorithm, Algorithm::Rsa { .. }) {
        return None;
    }
    let said = handle.best_supported_rsa_hash().await.ok().flatten();
    said.unwrap_or(Some(HashAlg::Sha256))
}

/// The kinds of keys that are known of the host before all others, so that the server shows one of them.
fn preferred(known: &[PublicKey], usual: &[Algorithm]) -> Cow<'static, [Algorithm]> {
    let is_known = |algorithm: &&Algorithm| known.iter().any(|key| key.algorithm() == **algorithm);
    let first = usual.iter().filter(is_known);
    let rest = usual.iter().filter(|algorithm| !is_known(algorithm));
    first.chain(rest).cloned().collect()
}

/// Looks at the server's key.
struct Doorman {
    known: Vec<PublicKey>,
    place: String,
    file: PathBuf,
    /// Why the server was turned away.
    refusal: Arc<Mutex<Option<StorageError>>>,
}

impl Doorman {
    fn judge(&self, key: &PublicKey) -> Result<(), StorageError> {
        if self.known.iter().any(|known| known.key_data() == key.key_data()) {
            return Ok(());
        }
        let (place, file) = (&self.place, self.file.display());
        let shown = PublicKey::new(key.key_data().clone(), "").to_openssh().unwrap_or_default();
        if self.known.is_empty() {
            let what = format!("the host `{place}` is not known, so nobody can tell whether it is the right one");
            let hint = format!("if this is its key, add the line to `{file}`: {place} {}", shown.trim());
            return Err(StorageError::new(Kind::Refused, what).hint(hint));
        }
        let what = format!("the host `{place}` shows another key than the known one: somebody may be in between");
        let hint = format!("if its key was changed, replace the line in `{file}`: {place} {}", shown.trim());
        Err(StorageError::new(Kind::Refused, what).hint(hint))
    }
}

impl client::Handler for Doorman {
    type Error = russh::Error;

    fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> impl Future<Output = Result<bool, Self::Error>> + Send {
        let judged = match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => self.judge(key),
            PublicKeyOrCertificate::Certificate(_) => {
                let what = format!("the host `{}` shows a certificate, and none was asked for", self.place);
                Err(StorageError::new(Kind::Refused, what))
            }
        };
        let is_known = judged.is_ok();
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = judged.err();
        ready(Ok(is_known))
    }
}
