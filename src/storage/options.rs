//! How places are described: fields of `[storage.<name>.<kind>]`, or of the environment.

use std::collections::BTreeMap;
use std::fmt;

#[cfg(feature = "stores")]
use crate::model::failure::Failure;

/// Fields whose values are never shown.
pub const SECRETS: &[&str] = &[
    "secret-key",
    "session-token",
    "password",
    "passphrase",
    "application-credential-secret",
    "token",
    "key",
    "sas",
    "connection-string",
];

/// Looks up a variable of the environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The fields of one place, as written.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fields {
    kind: String,
    values: BTreeMap<String, String>,
}

impl Fields {
    /// No fields of a place of this kind.
    pub fn new(kind: &str) -> Self {
        Self { kind: kind.into(), values: BTreeMap::new() }
    }

    /// Which kind of place it is, such as `s3`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Sets a field. An empty value is none.
    pub fn set(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.values.insert(name.into(), value.into());
        }
    }

    /// Sets a field from the first of these variables that has a value, unless it has one already.
    pub(super) fn default_from(&mut self, name: &str, environment: Environment<'_>, variables: &[&str]) {
        if self.get(name).is_none()
            && let Some(value) = variables.iter().find_map(|variable| environment(variable).filter(|it| !it.is_empty()))
        {
            self.set(name, &value);
        }
    }

    /// The value of a field.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The value of a field, as its owner.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(Into::into)
    }

    /// The value of a field that has to be there.
    #[cfg(feature = "stores")]
    pub(super) fn need(&self, name: &str, where_from: &str) -> Result<String, Failure> {
        self.text(name).ok_or_else(|| {
            Failure::environment(format!("a store of kind `{}` needs its `{name}`", self.kind)).hint(where_from)
        })
    }

    /// Whether a field says yes.
    #[cfg(feature = "stores")]
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |(name, value): (&String, &String)| {
            let value = if SECRETS.contains(&name.as_str()) { "***".into() } else { value.clone() };
            (name.clone(), value)
        };
        f.debug_map().entry(&"kind", &self.kind).entries(self.values.iter().map(shown)).finish()
    }
}
