//! Reads objects of a package from a store: a bucket, a container, a share.

use std::path::Path;

use futures_util::TryStreamExt as _;

use crate::model::failure::Failure;
use crate::model::sha256::Sha256;
use crate::storage::error::{Kind, StorageError};
use crate::storage::store::Store;
use crate::storage::{Reading, WHOLE};

use super::address::Address;
use super::fetch::{Budget, Fetch, FetchError, Loaded, PLAYLIST, Part};
use super::package::Sum;

/// A package in a store.
pub(super) struct Stored {
    store: Store,
    budget: Budget,
}

impl Stored {
    /// The package in `store`, opened by the object `name`, or by `master.m3u8` or a manifest where there is no name.
    pub(super) async fn open(store: Store, name: Option<&str>) -> Result<(Self, Address, Loaded), Failure> {
        let stored = Self { store, budget: Budget::new() };
        let usual = ["master.m3u8", "index.m3u8", "manifest.mpd"];
        let names = name.map_or(usual.to_vec(), |name| vec![name]);
        let mut reason = FetchError::Missing;
        for name in &names {
            let address = Address::top(name, name);
            match stored.read(&address, None, PLAYLIST).await {
                Ok(loaded) => return Ok((stored, address, loaded)),
                Err(error) => reason = error,
            }
        }
        let place = stored.store.address(names.first().copied().unwrap_or_default());
        Err(Failure::environment(format!("could not read `{place}`: {reason}")))
    }

    /// The object's bytes as they come, and how many there will be.
    async fn reading(&self, address: &Address, part: Part) -> Result<Reading, FetchError> {
        let range = part.map_or(WHOLE, |(offset, length)| offset..offset.saturating_add(length));
        let reading = self.store.read(&address.path, range, None).await.map_err(|error| refused(&error))?;
        reading.ok_or(FetchError::Missing)
    }
}

fn refused(error: &StorageError) -> FetchError {
    match error.kind {
        Kind::Refused | Kind::Expired => FetchError::Refused("the store does not give it out"),
        _ => FetchError::Failed(error.to_string()),
    }
}

#[async_trait::async_trait]
impl Fetch for Stored {
    async fn read(&self, address: &Address, part: Part, most: u64) -> Result<Loaded, FetchError> {
        if part.is_some_and(|(_, length)| length > most) {
            return Err(FetchError::TooLarge(most));
        }
        let mut reading = self.reading(address, part).await?;
        let whole = reading.stat.bytes;
        let wanted = part.map_or(whole, |(_, length)| length);
        if wanted > most {
            return Err(FetchError::TooLarge(most));
        }
        if part.is_some_and(|(offset, length)| offset.checked_add(length).is_none_or(|end| end > whole)) {
            return Err(FetchError::Range);
        }
        let room = self.budget.room(wanted).await;
        let mut bytes = Vec::new();
        while let Some(piece) = reading.stream.try_next().await.map_err(|error| refused(&error))? {
            if (bytes.len() + piece.len()) as u64 > wanted {
                return Err(FetchError::TooLarge(most));
            }
            bytes.extend_from_slice(&piece);
        }
        if bytes.len() as u64 != wanted {
            return Err(FetchError::Failed("it ended before its length".into()));
        }
        let kind = reading.stat.about.content_type.as_deref().and_then(|kind| kind.split(';').next());
        Ok(Loaded::new(bytes, kind.map(|kind| kind.trim().to_ascii_lowercase()), room))
    }

    async fn sum(&self, address: &Address) -> Result<Sum, FetchError> {
        let mut stream = self.reading(address, None).await?.stream;
        let (mut bytes, mut hasher) = (0, Sha256::new());
        while let Some(piece) = stream.try_next().await.map_err(|error| refused(&error))? {
            bytes += piece.len() as u64;
            hasher.update(&piece);
        }
        Ok(Sum { bytes, sha256: hasher.finalize() })
    }

    fn root_url(&self) -> Option<&str> {
        None
    }

    fn folder(&self) -> Option<&Path> {
        None
    }
}
