//! Why an item failed, in words for a person, and whether another try helps.

use std::fmt;

/// Who has to act, and whether trying again is worth it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// The input is at fault: another try gives the same answer.
    Permanent,
    /// The network or a server is at fault: worth another try later.
    Temporary,
    /// This machine or the destination is at fault: no space, no tool, no rights.
    Environment,
    /// The run was asked to stop; the item goes on with the next run.
    Stopped,
}

/// One item's failure: what, where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Who has to act.
    pub class: Class,
    /// What happened and where, one line.
    pub what: String,
    /// What the user can do, one line, if there is something.
    pub hint: Option<String>,
}

impl Failure {
    /// The input is at fault.
    pub fn permanent(what: impl Into<String>) -> Self {
        Self { class: Class::Permanent, what: what.into(), hint: None }
    }

    /// A server or the network is at fault.
    pub fn temporary(what: impl Into<String>) -> Self {
        Self { class: Class::Temporary, what: what.into(), hint: None }
    }

    /// This machine or the destination is at fault.
    pub fn environment(what: impl Into<String>) -> Self {
        Self { class: Class::Environment, what: what.into(), hint: None }
    }

    /// The run was asked to stop.
    pub fn stopped() -> Self {
        Self { class: Class::Stopped, what: "stopped".into(), hint: None }
    }

    /// Adds what the user can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Puts `context: ` before what happened.
    #[must_use]
    pub fn context(mut self, context: &str) -> Self {
        self.what = format!("{context}: {}", self.what);
        self
    }

    /// An IO error while doing `what`: a full disk and missing rights are the machine's, and so is the
    /// rest, but for a name that no file can have: that one was given.
    pub fn io(what: &str, error: &std::io::Error) -> Self {
        let failure = Self::environment(format!("{what}: {error}"));
        match error.kind() {
            std::io::ErrorKind::InvalidFilename => Self { class: Class::Permanent, ..failure },
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                failure.hint("free some space there and run the same command again")
            }
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                failure.hint("check the rights of that folder")
            }
            _ => failure,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_file_can_have_is_not_the_machines_fault() {
        let class = |number| Failure::io("write", &std::io::Error::from_raw_os_error(number)).class;
        // ENAMETOOLONG, ENOSPC, EACCES, EIO as Linux numbers them.
        assert_eq!(
            [36, 28, 13, 5].map(class),
            [Class::Permanent, Class::Environment, Class::Environment, Class::Environment]
        );
    }
}
