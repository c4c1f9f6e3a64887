//! The keys of a package: found, fetched, and judged by what playlists say of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::format::aes128::BLOCK;
use crate::format::playlist::attribute::short;
use crate::format::playlist::media::Key;

use super::VerifyOptions;
use super::address::has_scheme;
use super::fetch::{self, Fetch, FetchError};
use super::finding::Findings;
use super::package::{Package, Rendition};

/// Distinct keys of one package; a rotation for every segment of ten hours has 6,000.
const KEYS: usize = 20_000;

/// Keys by the playlist that names them and their URI as written there.
#[derive(Default)]
pub(super) struct Keys(BTreeMap<(String, String), [u8; BLOCK]>);

impl Keys {
    /// The key that `rendition` means.
    pub(super) fn get(&self, rendition: &Rendition, key: &Key) -> Option<[u8; BLOCK]> {
        self.0.get(&(rendition.address.path.clone(), key.uri.clone()?)).copied()
    }

    /// All different keys.
    pub(super) fn distinct(&self) -> BTreeSet<[u8; BLOCK]> {
        self.0.values().copied().collect()
    }
}

/// Gets every key that the playlists name, from the folder first.
pub(super) async fn collect(
    fetch: &dyn Fetch,
    package: &Package,
    options: &VerifyOptions,
    findings: &mut Findings,
) -> Keys {
    let mut keys = Keys::default();
    let given = options.key.as_ref().map(|key| key.expose().to_vec());
    let folder = options.keys.as_deref();
    let mut tried: BTreeMap<String, Option<[u8; BLOCK]>> = BTreeMap::new();
    let client = fetch::client(reqwest::redirect::Policy::none()).ok();
    for rendition in package.renditions.iter().chain(&package.tricks) {
        for key in rendition.media.keys.iter().take(KEYS) {
            let Some(uri) = key.uri.clone().filter(|_| is_plain(key)) else { continue };
            let name = (rendition.address.path.clone(), uri.clone());
            if keys.0.contains_key(&name) {
                continue;
            }
            // A relative URI means another key in another folder.
            let global = if has_scheme(&uri) { uri.clone() } else { format!("{} {uri}", rendition.address.path) };
            if !tried.contains_key(&global) && tried.len() < KEYS {
                let where_ = rendition.line(key.line);
                let found = match (&given, folder) {
                    (Some(given), None) => Ok(Some(given.clone())),
                    _ => find(fetch, rendition, &uri, folder, client.as_ref()).await,
                };
                // The key given stands in for those that cannot be had.
                let found = found.map(|found| found.or_else(|| given.clone()));
                let found = judge(found, &where_, findings);
                tried.insert(global.clone(), found);
            }
            if let Some(Some(bytes)) = tried.get(&global) {
                keys.0.insert(name, *bytes);
            }
        }
    }
    keys
}

/// Whether the URI leads to the key itself and not into a system for rights.
pub(super) fn is_plain(key: &Key) -> bool {
    key.format.as_deref().is_none_or(|format| format == "identity")
}

fn judge(found: Result<Option<Vec<u8>>, FetchError>, where_: &str, findings: &mut Findings) -> Option<[u8; BLOCK]> {
    match found {
        Ok(Some(bytes)) => {
            let key = <[u8; BLOCK]>::try_from(bytes.as_slice()).ok();
            if key.is_none() {
                findings.violation("R45", where_, format!("the key has {} bytes instead of 16", bytes.len()));
            }
            key
        }
        Ok(None) => {
            findings.warning("R45", where_, "the key is not at hand: its segments were not looked into");
            None
        }
        Err(error) => {
            let what = format!("the key could not be read ({error}): its segments were not looked into");
            findings.warning("R45", where_, what);
            None
        }
    }
}

/// The bytes of a key: in the folder of keys, at its URL, or, as it must not be, in the package.
async fn find(
    fetch: &dyn Fetch,
    rendition: &Rendition,
    uri: &str,
    folder: Option<&Path>,
    client: Option<&reqwest::Client>,
) -> Result<Option<Vec<u8>>, FetchError> {
    if let Some(folder) = folder
        && let Some(bytes) = in_folder(folder, uri).await?
    {
        return Ok(Some(bytes));
    }
    if !has_scheme(uri) {
        let Ok(address) = rendition.address.resolve(uri, None) else { return Ok(None) };
        return Ok(Some(fetch.read(&address, None, 1 << 10).await?.bytes));
    }
    let (Some(client), Ok(url)) = (client, Url::parse(uri)) else { return Ok(None) };
    if url.scheme() != "https" && !is_local_http(&url) {
        return Ok(None);
    }
    let mut answer = fetch::ask(client, url.as_str(), None).await?;
    let mut bytes = Vec::new();
    // One byte more than a key is enough to see that it is none.
    while bytes.len() <= BLOCK
        && let Some(part) = answer.chunk().await.map_err(fetch::network)?
    {
        bytes.extend_from_slice(&part);
    }
    Ok(Some(bytes))
}

/// `NAME` or `NAME.key`, where NAME is the last part of the URI's path: in the folder or in
/// one of its folders, since Forebay keeps the keys of each package in a folder of its own.
async fn in_folder(folder: &Path, uri: &str) -> Result<Option<Vec<u8>>, FetchError> {
    let path = uri.split(['?', '#']).next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    let Ok(name) = percent_decode_str(name).decode_utf8() else { return Ok(None) };
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', '\0']) {
        return Ok(None);
    }
    let (folder, name) = (folder.to_path_buf(), name.into_owned());
    fetch::blocking(move || match key_file(&folder, &name) {
        Some(path) => std::fs::read(&path).map(Some).map_err(|error| FetchError::Failed(error.to_string())),
        None => Ok(None),
    })
    .await
}

/// The file in `folder`, or one level below, that may hold the key `name`.
fn key_file(folder: &Path, name: &str) -> Option<PathBuf> {
    let within = |folder: &Path| {
        let candidates = [folder.join(name), folder.join(format!("{name}.key"))];
        let is_small_file =
            |path: &PathBuf| path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() <= 1 << 10);
        candidates.into_iter().find(is_small_file)
    };
    within(folder).or_else(|| {
        let folders = std::fs::read_dir(folder).ok()?.filter_map(Result::ok).map(|entry| entry.path());
        folders.filter(|path| path.is_dir()).find_map(|path| within(&path))
    })
}

/// What can be said of the tags alone.
pub(super) fn check(fetch: &dyn Fetch, package: &Package, keys: &Keys, findings: &mut Findings) {
    for key in keys.distinct().iter().filter(|key| !looks_random(key)) {
        let kind = if is_text(key) { "text" } else { "a pattern" };
        findings.warning("R47", "the package", format!("a key is {kind}, not drawn by chance"));
    }
    for rendition in &package.renditions {
        let mut uris = BTreeSet::new();
        for key in &rendition.media.keys {
            if let Some(uri) = &key.uri
                && is_plain(key)
                && uris.insert(uri)
            {
                check_uri(fetch, uri, &rendition.line(key.line), findings);
            }
            if let (Some(iv), Some(bytes)) = (key.iv, keys.get(rendition, key))
                && iv == bytes
            {
                findings.violation("R48", rendition.line(key.line), "the IV is the key itself");
            }
        }
        check_coverage(rendition, findings);
        check_vectors(rendition, findings);
    }
}

fn is_text(key: &[u8; BLOCK]) -> bool {
    key.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ')
}

/// A key drawn by chance has a dozen different bytes and is not text.
fn looks_random(key: &[u8; BLOCK]) -> bool {
    let different = key.iter().collect::<BTreeSet<_>>().len();
    let steps = key.windows(2).filter(|pair| pair[1].wrapping_sub(pair[0]) == 1).count();
    different >= 8 && steps < 8 && !is_text(key)
}

fn check_uri(fetch: &dyn Fetch, uri: &str, where_: &str, findings: &mut Findings) {
    let shown = short(uri);
    if !has_scheme(uri) {
        let what = format!("`{shown}` is relative: the key is asked for beside the segments");
        if fetch.folder().is_some() || uri.starts_with('/') {
            findings.warning("R50", where_, what);
        }
        return;
    }
    match Url::parse(uri) {
        Ok(url) if url.scheme() == "https" => {}
        Ok(url) if is_local_http(&url) => {
            findings.warning("R50", where_, format!("`{shown}` is plain http on this machine, good for tests only"));
        }
        Ok(url) => findings.violation("R50", where_, format!("the key's URI is {}: and not https:", url.scheme())),
        Err(_) => findings.violation("R50", where_, format!("`{shown}` is no URL")),
    }
}

fn is_local_http(url: &Url) -> bool {
    url.scheme() == "http"
        && match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
}

/// All segments are encrypted or none: a clear one among them is forgotten rather than meant.
fn check_coverage(rendition: &Rendition, findings: &mut Findings) {
    let segments = &rendition.media.segments;
    let clear = segments.iter().filter(|segment| segment.key.is_none()).count();
    if clear > 0 && clear < segments.len() {
        let what = format!("{clear} of {} segments have no key", segments.len());
        findings.violation("R44", &rendition.address.path, what);
    }
}

fn check_vectors(rendition: &Rendition, findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    let mut again = 0;
    for (index, segment) in rendition.media.segments.iter().enumerate() {
        let Some(key) = segment.key.and_then(|key| rendition.media.keys.get(key)) else { continue };
        if key.method != "AES-128" {
            continue;
        }
        if !seen.insert((key.uri.as_deref(), key.iv.unwrap_or_else(|| number(rendition, index)))) {
            again += 1;
        }
    }
    if again > 0 {
        let what = format!("{again} segments have an IV that another one has with the same key");
        findings.warning("R48", &rendition.address.path, what);
    }
}

/// The sequence number of a segment as an IV.
pub(super) fn number(rendition: &Rendition, index: usize) -> [u8; BLOCK] {
    (u128::from(rendition.media.sequence) + index as u128).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_nobody_drew_are_told() {
        assert!(looks_random(&hex::decode("a107339c5e0100fe804412d06bee2957").unwrap().try_into().unwrap()));
        let mut counting = [0; BLOCK];
        (0..).zip(&mut counting).for_each(|(at, byte)| *byte = at);
        for weak in [counting, [0; BLOCK], *b"0123456789abcdef", *b"Hunter2Hunter2!!"] {
            assert!(!looks_random(&weak));
        }
    }

    #[test]
    fn keys_are_found_in_the_folder_and_one_below() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("talk");
        std::fs::create_dir(&below).unwrap();
        for path in [folder.path().join("one"), below.join("two.key")] {
            crate::scratch::file::write(&path, &[7; BLOCK], crate::scratch::file::Privacy::Private).unwrap();
        }
        assert_eq!(key_file(folder.path(), "one"), Some(folder.path().join("one")));
        assert_eq!(key_file(folder.path(), "two"), Some(below.join("two.key")));
        assert_eq!(key_file(folder.path(), "two.key"), Some(below.join("two.key")));
        assert_eq!(key_file(folder.path(), "three"), None);
    }
}
