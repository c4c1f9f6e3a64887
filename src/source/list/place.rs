//! Objects of stores: one that is named, or all videos below a prefix.

use crate::model::failure::Failure;
use crate::model::id;
use crate::model::item::{Item, Locator, object};
use crate::storage::folder::is_leftover;
use crate::storage::open::Stores;

use super::super::name;

/// How much of an address names the whole store: `s3://bucket` or `name:`.
fn head(address: &str) -> usize {
    match address.split_once("://") {
        Some((scheme, rest)) => scheme.len() + 3 + rest.find('/').unwrap_or(rest.len()),
        None => address.find(':').map_or(0, |colon| colon + 1),
    }
}

/// A place as the whole store and the prefix there.
pub(in super::super) fn whole_store(place: &str) -> (&str, &str) {
    let (store, prefix) = place.split_at(head(place));
    (store, prefix.trim_matches('/'))
}

/// The address of an object as the place that holds it and the key there.
pub fn split(address: &str) -> (&str, &str) {
    let head = head(address);
    match address.rfind('/').filter(|slash| *slash >= head) {
        Some(slash) => (address.get(..slash).unwrap_or_default(), address.get(slash + 1..).unwrap_or_default()),
        None => address.split_at(head),
    }
}

/// The items that a draft stands for: itself, unless it names a prefix of a store.
pub(super) async fn expand(draft: Result<Item, String>, stores: &Stores) -> Vec<Result<Item, Failure>> {
    let draft = draft.map_err(Failure::permanent);
    let Ok(Item { locator: Locator::Object { place, key }, .. }) = &draft else { return vec![draft] };
    if name::is_media(key.as_bytes()) {
        return vec![draft];
    }
    let keys = match below(place, key, stores).await {
        Ok(None) => return vec![draft],
        Ok(Some(keys)) => keys,
        Err(why) => return vec![Err(why)],
    };
    let place = if key.is_empty() { place.clone() } else { object(place, key) };
    let Ok(item) = draft else { return Vec::new() };
    if item.id.is_some() && keys.len() > 1 {
        return vec![Err(Failure::permanent("a prefix of several videos cannot have one id"))];
    }
    let found = |key| Ok(Item { locator: Locator::Object { place: place.clone(), key }, ..item.clone() });
    keys.into_iter().map(found).collect()
}

/// The keys of all videos below the prefix `key` of `place`, in order; `None` if that is an object itself.
async fn below(place: &str, key: &str, stores: &Stores) -> Result<Option<Vec<String>>, Failure> {
    let store = stores.open_to_read(place)?;
    if !key.is_empty() && store.stat(key).await?.is_some() {
        return Ok(None);
    }
    let found = store.list(key).await?;
    let top = if key.is_empty() { 0 } else { key.len() + 1 };
    let mut keys: Vec<String> = found.into_iter().filter_map(|stat| Some(stat.key.get(top..)?.to_owned())).collect();
    keys.retain(|key| is_video(key));
    keys.sort();
    if keys.is_empty() {
        let address = store.address(key);
        return Err(Failure::permanent(format!("no video lies below `{address}`")));
    }
    Ok(Some(keys))
}

/// Whether an object of this key is taken for a video. Hidden names are left out, and packages, which have segments.
fn is_video(key: &str) -> bool {
    name::is_media(key.as_bytes())
        && !is_leftover(key)
        && !key.split('/').any(|part| part.starts_with('.') || id::is_generation(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split_into_place_and_key() {
        for (address, wanted) in [
            ("s3://bucket/a/b.mp4", ("s3://bucket/a", "b.mp4")),
            ("s3://bucket/b.mp4", ("s3://bucket", "b.mp4")),
            ("s3://bucket", ("s3://bucket", "")),
            ("s3://bucket/a/", ("s3://bucket/a", "")),
            ("films:b.mp4", ("films:", "b.mp4")),
            ("films:a/b.mp4", ("films:a", "b.mp4")),
            ("films:", ("films:", "")),
        ] {
            assert_eq!(split(address), wanted, "{address}");
            assert!(wanted.1.is_empty() || object(wanted.0, wanted.1) == address, "{address}");
        }
    }

    #[test]
    fn a_place_is_a_prefix_of_a_store() {
        assert_eq!(whole_store("s3://bucket/a/b"), ("s3://bucket", "a/b"));
        assert_eq!(whole_store("s3://bucket"), ("s3://bucket", ""));
        assert_eq!(whole_store("films:a"), ("films:", "a"));
        assert_eq!(whole_store("films:"), ("films:", ""));
    }

    #[test]
    fn segments_of_packages_are_no_videos() {
        assert!(is_video("a/b.mp4") && is_video("b.ts") && !is_video("a/.b.mp4") && !is_video("a/b.txt"));
        assert!(!is_video("talk/0123456789abcdef0123/120p/0.ts"));
    }
}
