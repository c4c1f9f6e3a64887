//! Sweeps a destination: generations that no pointer leads to, and uploads that were never finished.
//!
//! What is young stays: a run that is under way has no pointer yet, and players that began with the
//! pointer before go on with what it led to.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::failure::Failure;
use crate::model::id;
use crate::storage::store::Store;
use crate::storage::{Stat, Upload};

use super::dash;
use super::publish::MASTER;

/// A pointer is a page of text, however many renditions it has.
const LARGEST_POINTER: u64 = 16 << 20;

/// One generation at the destination.
#[derive(Clone, Debug, PartialEq)]
pub struct Generation {
    /// The id of its video.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When its youngest object was stored, if the store tells of all of them.
    pub newest: Option<Timestamp>,
}

/// Why a generation stays, or that it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A pointer leads to it.
    Reached,
    /// It is younger than the grace.
    Young,
    /// The store does not say how old it is.
    Ageless,
    /// Nothing leads to it.
    Swept,
}

/// Every generation at a destination, by id and name. Holds a line for each and none for an object.
pub async fn generations(store: &Store) -> Result<Vec<Generation>, Failure> {
    let mut found: BTreeMap<(String, String), Generation> = BTreeMap::new();
    let mut after = None;
    loop {
        let page = store.page("", after.as_deref()).await?;
        for stat in page.found {
            let Some((id, name)) = place(&stat.key) else { continue };
            let key = (id.to_owned(), name.to_owned());
            found.entry(key).or_insert_with_key(|(id, name)| Generation::empty(id, name)).add(&stat);
        }
        after = page.next;
        if after.is_none() {
            return Ok(found.into_values().collect());
        }
    }
}

/// What is to become of `generation`, looked at just now.
pub async fn judge(store: &Store, generation: &Generation, grace: Duration) -> Result<Verdict, Failure> {
    let age = match generation.newest {
        Some(newest) => Duration::try_from(Timestamp::now().duration_since(newest)).unwrap_or_default(),
        None => return Ok(if is_reached(store, generation).await? { Verdict::Reached } else { Verdict::Ageless }),
    };
    if is_reached(store, generation).await? {
        return Ok(Verdict::Reached);
    }
    Ok(if age < grace { Verdict::Young } else { Verdict::Swept })
}

/// Removes `generation`, unless it has changed or a pointer leads to it by now. Tells whether it did.
pub async fn remove(store: &Store, generation: &Generation) -> Result<bool, Failure> {
    let place = format!("{}/{}", generation.id, generation.name);
    let objects = store.list(&place).await?;
    let mut now = Generation::empty(&generation.id, &generation.name);
    for stat in &objects {
        now.add(stat);
    }
    if now != *generation || is_reached(store, generation).await? {
        return Ok(false);
    }
    // Its manifest goes first: what is left of a sweep that is cut short is no package.
    let (manifest, others): (Vec<&Stat>, Vec<&Stat>) =
        objects.iter().partition(|stat| stat.key.ends_with("/manifest.json"));
    for stat in manifest.into_iter().chain(others) {
        store.delete(&stat.key).await?;
    }
    Ok(true)
}

/// The uploads to places of ours that were begun longer than `grace` ago and never finished.
///
/// Those to other places are somebody else's, or a migration's that is still under way.
pub async fn unfinished(store: &Store, grace: Duration) -> Result<Vec<Upload>, Failure> {
    let mut left = store.unfinished("", grace).await?;
    left.retain(|upload| place(&upload.key).is_some());
    Ok(left)
}

/// Whether a pointer of its video names `generation`.
async fn is_reached(store: &Store, generation: &Generation) -> Result<bool, Failure> {
    for pointer in [MASTER, dash::NAME] {
        let key = format!("{}/{pointer}", generation.id);
        let text = store.load(&key, LARGEST_POINTER).await?.unwrap_or_default();
        if text.windows(generation.name.len()).any(|window| window == generation.name.as_bytes()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The id and the generation's name in a key of ours: `talk/5e30db139e1aa9e33093/…`.
fn place(key: &str) -> Option<(&str, &str)> {
    let mut parts = key.splitn(3, '/');
    let (id, name, _) = (parts.next()?, parts.next()?, parts.next()?);
    (id::check(id) && id::is_generation(name)).then_some((id, name))
}

impl Generation {
    fn empty(id: &str, name: &str) -> Self {
        Self { id: id.into(), name: name.into(), objects: 0, bytes: 0, newest: Some(Timestamp::MIN) }
    }

    fn add(&mut self, stat: &Stat) {
        self.objects += 1;
        self.bytes += stat.bytes;
        self.newest = self.newest.zip(stat.stored).map(|(newest, stored)| newest.max(stored));
    }

    /// Seconds since its youngest object was stored.
    pub fn age(&self) -> Option<Duration> {
        self.newest.map(|newest| Duration::try_from(Timestamp::now().duration_since(newest)).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_ours_is_looked_at() {
        assert_eq!(place("talk/5e30db139e1aa9e33093/720p/00000.ts"), Some(("talk", "5e30db139e1aa9e33093")));
        for other in [
            "talk/master.m3u8",
            "talk/5e30db139e1aa9e33093",
            "talk/5e30db139e1aa9e3309/x",
            "talk/5E30DB139E1AA9E33093/x",
            "talk/holiday-photos-2024x/x",
            ".forebay/5e30db139e1aa9e33093/x",
            "a/b/5e30db139e1aa9e33093/x",
            "t ä/5e30db139e1aa9e33093/x",
        ] {
            assert_eq!(place(other), None, "{other}");
        }
    }
}
