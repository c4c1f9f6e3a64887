//! Whether a source and a destination are two places, however their addresses are spelled.

use bytes::Bytes;

use crate::config::Config;
use crate::model::failure::Failure;
use crate::scratch::file::TEMPORARY;
use crate::storage::About;
use crate::storage::error::Kind;
use crate::storage::store::Store;

/// Bytes of a mark, with room to spare.
const LARGEST_MARK: u64 = 1024;

/// Fails if the addresses alone tell that the places have objects in common.
pub(super) fn check(config: &Config, from: &str, to: &str) -> Result<(), Failure> {
    let stores = &config.stores;
    if let (Some(source), Some(destination)) = (stores.folder_of(from), stores.folder_of(to)) {
        if source == destination {
            return Err(one_place(from));
        }
        if source.starts_with(&destination) || destination.starts_with(&source) {
            return Err(nested(from, to));
        }
    }
    Ok(())
}

/// Fails if two stores call themselves the same, or one a part of the other.
pub(super) fn compare(source: &Store, destination: &Store) -> Result<(), Failure> {
    let (from, to) = (source.identity(), destination.identity());
    if from == to {
        return Err(one_place(&source.address("")));
    }
    if from.starts_with(&to) || to.starts_with(&from) {
        return Err(nested(&source.address(""), &destination.address("")));
    }
    Ok(())
}

/// Fails if an object that is written to `destination` shows up in `source`: two names, mounts or
/// gateways may lead to one place.
pub(super) async fn probe(source: &Store, destination: &Store) -> Result<(), Failure> {
    // What a killed run leaves, the next one replaces and removes; and as a leftover it is copied by none.
    let key = format!("forebay-probe{TEMPORARY}");
    let drawn = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
    let mark = Bytes::from(format!("{drawn:016x}"));
    destination.write(&key, mark.clone(), &About::default()).await?;
    let seen = source.load(&key, LARGEST_MARK).await;
    match destination.delete(&key).await {
        // Who may write and not delete is no less welcome.
        Err(error) if error.kind == Kind::Refused => tracing::warn!(%key, %error, "the probe stays where it is"),
        deleted => deleted?,
    }
    match seen {
        Ok(Some(seen)) if seen == mark => Err(one_place(&source.address(""))),
        // Some stores refuse to say what is not there to who may not list.
        Err(error) if error.kind != Kind::Refused => Err(error.into()),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn one_place(address: &str) -> Failure {
    Failure::permanent(format!("`{address}` is both the source and the destination"))
}

fn nested(from: &str, to: &str) -> Failure {
    Failure::permanent(format!("one of `{from}` and `{to}` lies in the other"))
        .hint("give a destination that is not in the source, nor around it")
}
