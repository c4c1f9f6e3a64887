//! Pages of a tree of folders, for stores that list one folder at a time.

use std::cmp::Ordering;

use async_trait::async_trait;

use super::error::StorageError;
use super::{Page, Stat};

/// Objects in one page.
const PAGE: usize = 1000;

/// One name in a folder.
pub(super) enum Entry {
    /// A folder of this name.
    Folder(String),
    /// An object of this name.
    Object(String, Box<Stat>),
}

impl Entry {
    fn name(&self) -> &str {
        match self {
            Self::Folder(name) | Self::Object(name, _) => name,
        }
    }
}

/// Lists one folder.
#[async_trait]
pub(super) trait Lister: Sync {
    /// What is in the folder at `key`, which is empty for the root; nothing if it is not there.
    async fn entries(&self, key: &str) -> Result<Vec<Entry>, StorageError>;
}

/// The objects below `prefix` that come after the key `after`, up to a page of them.
pub(super) async fn page(lister: &dyn Lister, prefix: &str, after: Option<&str>) -> Result<Page, StorageError> {
    let after: Vec<&str> = after.map(|after| after.split('/').collect()).unwrap_or_default();
    let mut found = Vec::new();
    // Folders to look into, the next one last, each with what of `after` still matters in it.
    let depth = if prefix.is_empty() { 0 } else { prefix.split('/').count() };
    let mut open = vec![(prefix.to_owned(), after.get(depth..).unwrap_or_default().to_vec(), Vec::new(), false)];
    while let Some((folder, after, mut entries, is_read)) = open.pop() {
        if !is_read {
            entries = lister.entries(&folder).await?;
            entries.sort_by(|a, b| b.name().cmp(a.name()));
        }
        let Some(entry) = entries.pop() else { continue };
        let order = after.first().map(|first| entry.name().cmp(first));
        let key = if folder.is_empty() { entry.name().to_owned() } else { format!("{folder}/{}", entry.name()) };
        open.push((folder, after.clone(), entries, true));
        match (entry, order) {
            (_, Some(Ordering::Less)) | (Entry::Object(..), Some(Ordering::Equal)) => {}
            (Entry::Folder(_), Some(Ordering::Equal)) => {
                open.push((key, after.get(1..).unwrap_or_default().to_vec(), Vec::new(), false));
            }
            (Entry::Folder(_), _) => open.push((key, Vec::new(), Vec::new(), false)),
            (Entry::Object(_, stat), _) => {
                found.push(Stat { key, ..*stat });
                if found.len() == PAGE {
                    let next = found.last().map(|last| last.key.clone());
                    return Ok(Page { found, next });
                }
            }
        }
    }
    Ok(Page { found, next: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Tree(Vec<String>);

    #[async_trait]
    impl Lister for Tree {
        async fn entries(&self, key: &str) -> Result<Vec<Entry>, StorageError> {
            let top = if key.is_empty() { String::new() } else { format!("{key}/") };
            let mut entries: Vec<Entry> = Vec::new();
            for rest in self.0.iter().filter_map(|path| path.strip_prefix(&top)) {
                let entry = match rest.split_once('/') {
                    Some((folder, _)) => Entry::Folder(folder.into()),
                    None => Entry::Object(rest.into(), Box::default()),
                };
                if !entries.iter().any(|known| known.name() == entry.name()) {
                    entries.push(entry);
                }
            }
            Ok(entries)
        }
    }

    #[tokio::test]
    async fn pages_go_on_where_the_one_before_ended() {
        let tree = Tree((0..2300).map(|number| format!("p/{}/x/{number:04}", number % 3)).collect());
        let (mut keys, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = page(&tree, "p", after.as_deref()).await.unwrap();
            keys.extend(page.found.into_iter().map(|stat| stat.key));
            (after, pages) = (page.next, pages + 1);
            if after.is_none() {
                break;
            }
        }
        assert_eq!(pages, 3);
        assert!(keys.is_sorted());
        keys.dedup();
        assert_eq!(keys.len(), 2300);
        assert_eq!(page(&tree, "", None).await.unwrap().found.len(), 1000);
    }
}
