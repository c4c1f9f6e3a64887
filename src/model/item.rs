//! One line of the list: what to fetch, and what the list says about it.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where one video comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Locator {
    /// An `http` or `https` URL: a media file, a manifest, or a page.
    Url(url::Url),
    /// A file on this machine. The path may hold any bytes.
    File(PathBuf),
    /// An object of a store.
    Object {
        /// The address of the store: `s3://bucket/prefix`, `name:` or `name:prefix`.
        place: String,
        /// The object's key there.
        key: String,
    },
}

impl Locator {
    /// The locator for people: secrets masked, control characters escaped.
    pub fn shown(&self) -> String {
        match self {
            Self::Url(url) => super::secret::masked_url(url),
            Self::File(path) => path.to_string_lossy().escape_debug().to_string(),
            Self::Object { place, key } => object(place, key).escape_debug().to_string(),
        }
    }
}

/// The address of the object `key` of the store at `place`.
pub fn object(place: &str, key: &str) -> String {
    if place.ends_with([':', '/']) { format!("{place}{key}") } else { format!("{place}/{key}") }
}

/// One video to make.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Its place in the run, from 0. Earlier items have the right of way.
    pub number: u64,
    /// Where it comes from.
    pub locator: Locator,
    /// The id the list asks for, already checked by [`super::id::check`].
    pub id: Option<String>,
    /// The title the list gives.
    pub title: Option<String>,
    /// Rungs or the name of a ladder, instead of the run's.
    pub ladder: Option<String>,
    /// HTTP headers to send with the download. Values may be secret.
    pub headers: BTreeMap<String, String>,
    /// Higher goes first. 0 where the list is silent.
    pub priority: i32,
}

impl Item {
    /// An item about which nothing but its locator is known.
    pub fn new(number: u64, locator: Locator) -> Self {
        Self { number, locator, id: None, title: None, ladder: None, headers: BTreeMap::new(), priority: 0 }
    }

    /// Its place in every lane: priority first, then the order of the list.
    pub fn rank(&self) -> crate::model::item::Rank {
        Rank { priority: -i64::from(self.priority), turn: 0, number: self.number }
    }
}

/// The order in which work gets a lane; the smallest goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank {
    /// The negated priority of the item.
    pub priority: i64,
    /// How often this item has had its fair share already.
    pub turn: u64,
    /// The item's place in the run.
    pub number: u64,
}
