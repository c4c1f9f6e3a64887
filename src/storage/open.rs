//! From an address to a store.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::Storage;
use super::address::{self, Address};
use super::folder::Folder;
use super::options::Fields;
use super::outage::Outages;
use super::store::{Store, StoreSettings};
use crate::model::failure::Failure;
use crate::scratch::file::{self, Privacy};

/// Knows every store there is.
#[derive(Clone, Debug)]
pub struct Stores {
    /// What every store is opened with.
    pub settings: StoreSettings,
    /// How those are spoken to that speak HTTP.
    pub wire: WireSettings,
    /// The places of the settings, by name.
    pub named: BTreeMap<String, Fields>,
    /// The environment.
    pub variables: Variables,
    /// Which of the stores that were opened here, or by a clone, fail right now.
    pub outages: Outages,
}

/// How HTTP stores are spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireSettings {
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// A request that moves no byte for so long is given up.
    pub stall: Duration,
    /// What we call ourselves.
    pub user_agent: String,
    /// A file of certificates to trust besides the usual ones.
    pub ca_bundle: Option<PathBuf>,
}

/// Variables of the environment. Their values are not shown: some are secrets.
#[derive(Clone, Default)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Those of `pairs` that are text.
    pub fn new(pairs: &[(std::ffi::OsString, std::ffi::OsString)]) -> Self {
        let text = |(name, value): &(std::ffi::OsString, std::ffi::OsString)| {
            Some((name.to_str()?.to_owned(), value.to_str()?.to_owned()))
        };
        Self(pairs.iter().filter_map(text).collect())
    }

    fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Stores {
    /// No place of any settings.
    #[cfg(test)]
    pub fn bare() -> Self {
        use super::patience::Rules;
        let second = Duration::from_secs(1);
        let rules = Rules { most: 4, tries: 2, longest_wait: second, patience: second };
        let settings = StoreSettings { rules, part_bytes: 5 << 20, parts_at_once: 1 };
        let wire = WireSettings { connect_timeout: second, stall: second, user_agent: String::new(), ca_bundle: None };
        Self { settings, wire, named: BTreeMap::new(), variables: Variables::default(), outages: Outages::default() }
    }

    /// Opens the store at `address`. `privacy` is for what is written there. Asks nobody anything.
    pub fn open(&self, address: &str, privacy: Privacy) -> Result<Store, Failure> {
        let parsed = address::parse(address, |name| self.named.contains_key(name))?;
        let (mut fields, prefix) = match parsed {
            Address::Folder(path) => return self.folder(path, privacy),
            Address::Place(fields, prefix) => (fields, prefix),
            Address::Named(name, prefix) => {
                let fields = self.named.get(&name).cloned().unwrap_or_default();
                let inner = fields.text("prefix").unwrap_or_default();
                let parts = [inner.trim_matches('/'), prefix.trim_matches('/')];
                let prefix = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
                (fields, prefix)
            }
        };
        address::fill(&mut fields, &|name| self.variables.get(name));
        let storage = self.place(&fields, &prefix, privacy)?;
        Ok(Store::new(storage, self.settings, &self.outages))
    }

    /// Opens the store at `address` for nothing but reading.
    pub fn open_to_read(&self, address: &str) -> Result<Store, Failure> {
        self.open(address, Privacy::Private)
    }

    /// Whether a text is the address of a store that is no folder. Fails if it is a wrong one.
    pub fn is_place(&self, text: &str) -> Result<bool, Failure> {
        if !address::has_kind(text) && !text.split_once(':').is_some_and(|(name, _)| self.named.contains_key(name)) {
            return Ok(false);
        }
        address::parse(text, |name| self.named.contains_key(name)).map(|_| true)
    }

    /// Whether an address is one of a folder of this machine.
    pub fn is_folder(&self, address: &str) -> bool {
        self.folder_of(address).is_some()
    }

    /// The folder of this machine that an address leads to, by its one path without links.
    pub fn folder_of(&self, address: &str) -> Option<PathBuf> {
        match address::parse(address, |name| self.named.contains_key(name)) {
            Ok(Address::Folder(path)) => Some(file::real(&path)),
            _ => None,
        }
    }

    fn folder(&self, path: PathBuf, privacy: Privacy) -> Result<Store, Failure> {
        let folder = Folder::new(path, privacy);
        if let Some(point) = folder.unmounted() {
            let what = format!("`{}` should be a mounted share and is not", point.display());
            return Err(Failure::environment(what).hint(format!("mount it: mount {}", point.display())));
        }
        if let Some(path) = folder.obstacle() {
            let what = format!("there is no folder at `{}`: `{}` is a file", folder.address(""), path.display());
            return Err(Failure::environment(what).hint("move the file away, or give another folder"));
        }
        Ok(Store::new(Box::new(folder), self.settings, &self.outages))
    }

    #[cfg(feature = "stores")]
    fn place(&self, fields: &Fields, prefix: &str, _privacy: Privacy) -> Result<Box<dyn Storage>, Failure> {
        Ok(match fields.kind() {
            "s3" | "gs" => Box::new(super::s3::S3::new(fields, prefix, &self.wire)?),
            "az" => Box::new(super::az::Az::new(fields, prefix, &self.wire)?),
            "swift" => Box::new(super::swift::Swift::new(fields, prefix, &self.wire)?),
            "webdav" => Box::new(super::webdav::WebDav::new(fields, prefix, &self.wire)?),
            #[cfg(feature = "sftp")]
            "sftp" => Box::new(super::sftp::Sftp::new(fields, prefix, &self.wire)?),
            #[cfg(not(feature = "sftp"))]
            "sftp" => {
                return Err(Failure::environment("this program was built without storage of kind `sftp`")
                    .hint("build it with the feature `sftp`"));
            }
            kind => return Err(Failure::permanent(format!("`{}` is no kind of storage", kind.escape_debug()))),
        })
    }

    #[cfg(not(feature = "stores"))]
    #[expect(clippy::unused_self, reason = "the same as with the feature")]
    fn place(&self, fields: &Fields, _prefix: &str, _privacy: Privacy) -> Result<Box<dyn Storage>, Failure> {
        let what = format!("this program was built without storage of kind `{}`", fields.kind());
        Err(Failure::environment(what).hint("build it with the feature `stores`, or give a folder"))
    }
}
