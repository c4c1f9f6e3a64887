//! An error that ends the program: what, why, and what to do.

use std::error::Error;
use std::fmt;

use super::Exit;
use super::text::clean;
use crate::config::error::ConfigError;
use crate::model::failure::{Class, Failure};

/// Printed as `error: …`, `  caused by: …` lines, and `hint: …`.
#[derive(Debug)]
pub(super) struct Trouble {
    /// How the program ends.
    pub(super) exit: Exit,
    what: String,
    causes: Vec<String>,
    hint: Option<String>,
}

impl Trouble {
    /// The command line or a setting is wrong.
    pub(super) fn usage(what: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, what: what.into(), causes: Vec::new(), hint: None }
    }

    /// This machine or the destination is at fault.
    pub(super) fn environment(what: impl Into<String>) -> Self {
        Self { exit: Exit::Environment, ..Self::usage(what) }
    }

    /// Adds what the user can do.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds an error and its sources.
    pub(super) fn because(mut self, error: &dyn Error) -> Self {
        let mut next = Some(error);
        while let Some(cause) = next {
            self.causes.push(cause.to_string());
            next = cause.source();
        }
        self
    }

    /// Ends the program with `exit`.
    pub(super) fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        let exit = match failure.class {
            Class::Permanent => Exit::Usage,
            Class::Temporary | Class::Environment => Exit::Environment,
            Class::Stopped => Exit::Stopped,
        };
        Self { exit, what: failure.what, causes: Vec::new(), hint: failure.hint }
    }
}

impl From<ConfigError> for Trouble {
    fn from(error: ConfigError) -> Self {
        let trouble = Self { hint: error.hint(), ..Self::usage(error.to_string()) };
        match error.source() {
            Some(source) => trouble.because(source),
            None => trouble,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", clean(&self.what))?;
        for cause in &self.causes {
            writeln!(f, "  caused by: {}", clean(cause))?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {}", clean(hint)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_why_and_what_to_do() {
        let source = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let error = ConfigError::Unreadable { file: "/etc/forebay.toml".into(), source };
        let expected = "\
            error: could not read `/etc/forebay.toml`\n  \
              caused by: permission denied\n\n\
            hint: check the rights of that file";
        assert_eq!(Trouble::from(error).to_string(), expected);
    }
}
