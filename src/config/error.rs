//! What can be wrong with settings: each error says what, where, and what to do.

use std::io::ErrorKind;

use super::layer::Origin;
use crate::model::id;

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file is there but cannot be read.
    #[error("could not read `{file}`")]
    Unreadable {
        /// The file.
        file: String,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// A file is not TOML.
    #[error("`{file}` is not TOML at line {line}: {message}")]
    Syntax {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// There is no such setting.
    #[error("there is no setting `{key}` (from {origin})")]
    Unknown {
        /// The key as written.
        key: String,
        /// Who wrote it.
        origin: Origin,
        /// A key that exists and looks like it.
        nearest: Option<String>,
    },
    /// A setting has a value it cannot have.
    #[error("`{key}` cannot be {value} (from {origin})")]
    Wrong {
        /// The key.
        key: String,
        /// The value as written, in back-ticks.
        value: String,
        /// Who wrote it.
        origin: Origin,
        /// What it has to be, as an order: "give a time such as `6s`".
        wanted: String,
    },
    /// A rung or profile of the user's own lacks a field.
    #[error("`{key}` lacks `{field}` (from {origin})")]
    Incomplete {
        /// The rung or profile.
        key: String,
        /// What it lacks.
        field: String,
        /// Who wrote the rest.
        origin: Origin,
    },
}

impl ConfigError {
    /// What to do about it, one line.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable { source, .. } => Some(readable(source.kind()).into()),
            Self::Syntax { .. } => Some("`config/default.toml` of the project shows how settings are written".into()),
            Self::Unknown { nearest: Some(nearest), .. } => Some(format!("did you mean `{nearest}`?")),
            Self::Unknown { nearest: None, key, .. } if has_odd_name(key) => {
                Some("names of your own are of the letters A to Z, digits, `-` and `_`".into())
            }
            Self::Unknown { nearest: None, .. } => Some("`forebay config` lists all settings".into()),
            Self::Wrong { wanted, .. } => Some(wanted.clone()),
            Self::Incomplete { key, field, .. } => Some(format!("set `{key}.{field}` too")),
        }
    }
}

/// What to do so that a file can be read.
fn readable(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidData => "save that file as UTF-8",
        ErrorKind::IsADirectory => "that is a folder: put the settings into a file",
        ErrorKind::PermissionDenied => "check the rights of that file",
        _ => "check that file, and the links that lead to it",
    }
}

/// Whether a part of the key is a name that nothing can have.
fn has_odd_name(key: &str) -> bool {
    key.split('.').any(|part| !id::check(part))
}
