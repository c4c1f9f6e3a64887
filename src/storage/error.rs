//! Why a storage did not do as asked, in words a person can act on.

use std::time::Duration;

use crate::model::failure::Failure;

/// What kind of trouble it is: this decides whether to try again, wait, or give up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The key would leave the storage, or cannot be a name in it.
    BadKey,
    /// The credentials are wrong, or do not allow this.
    Refused,
    /// The credentials were right and are so no longer.
    Expired,
    /// There is no such bucket, container or account.
    NoPlace,
    /// The clocks of this machine and the storage differ too much.
    Clock,
    /// There is no space left, or a quota is used up.
    Full,
    /// The storage asks for fewer requests.
    Busy,
    /// No whole answer came.
    Unreachable,
    /// The condition of a write does not hold.
    Conflict,
    /// What is being read is no longer the version it was.
    Changed,
    /// Bytes did not arrive as they were sent.
    Damaged,
    /// The object is larger than the caller accepts.
    TooLarge,
    /// The source of what is to be stored failed, and not the storage.
    Source,
    /// The storage cannot do this.
    Unsupported,
    /// Anything else.
    Other,
}

impl Kind {
    /// Whether the same request may well succeed a little later.
    pub fn may_pass(self) -> bool {
        matches!(self, Self::Busy | Self::Unreachable | Self::Damaged | Self::Expired)
    }
}

/// Why a storage did not do as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct StorageError {
    /// What kind of trouble it is.
    pub kind: Kind,
    /// What happened and where, one line.
    pub what: String,
    /// What the user can do, one line, if there is something.
    pub hint: Option<String>,
    /// The storage wants to be left alone for so long.
    pub wait: Option<Duration>,
}

impl StorageError {
    /// An error about which nothing more is known.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), hint: None, wait: None }
    }

    /// Adds what the user can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A key that cannot be.
    pub fn bad_key(key: &str, place: &str) -> Self {
        Self::new(Kind::BadKey, format!("`{}` cannot be a name at `{place}`", key.escape_debug()))
            .hint("a migration leaves it out with --exclude")
    }

    /// An error of this machine's files while doing `what`.
    pub fn io(what: &str, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let Failure { what, hint, .. } = Failure::io(what, error);
        let kind = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Kind::Full,
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Kind::Refused,
            ErrorKind::FileTooLarge => Kind::TooLarge,
            ErrorKind::InvalidFilename => Kind::BadKey,
            // A network file system that lost its server for a moment.
            ErrorKind::StaleNetworkFileHandle | ErrorKind::TimedOut | ErrorKind::HostUnreachable => Kind::Unreachable,
            _ => Kind::Other,
        };
        Self { kind, what, hint, wait: None }
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        let failure = match error.kind {
            Kind::BadKey | Kind::TooLarge => Self::permanent(error.what),
            Kind::Conflict | Kind::Changed | Kind::Damaged | Kind::Source => Self::temporary(error.what),
            _ => Self::environment(error.what),
        };
        match error.hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}
