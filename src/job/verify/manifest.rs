//! What lies in the package: the manifest against the objects, objects that
//! nothing refers to, and keys that must not be there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use futures_util::StreamExt as _;

use crate::format::aes128::BLOCK;
use crate::format::playlist::attribute::short;

use super::address::Address;
use super::fetch::{self, Fetch, FetchError, PLAYLIST};
use super::finding::Findings;
use super::key::Keys;
use super::package::Package;

/// Files of one folder that are looked at; more are hostile.
const FILES: usize = 500_000;

/// Folders in folders that are followed.
const DEPTH: usize = 8;

/// A file up to this size is searched for keys.
const SMALL: u64 = 1 << 20;

/// The list of objects of a generation.
#[derive(serde::Deserialize)]
struct Manifest {
    version: u32,
    objects: Vec<Object>,
}

#[derive(serde::Deserialize)]
struct Object {
    name: String,
    bytes: u64,
    sha256: String,
}

/// Checks every `manifest.json` beside the renditions; answers the paths they list.
pub(super) async fn check(
    fetch: &dyn Fetch,
    package: &Package,
    at_once: usize,
    findings: &mut Findings,
) -> BTreeSet<String> {
    let mut listed = BTreeSet::new();
    for folder in generations(package) {
        let encoded = percent_encoding::utf8_percent_encode(&folder, PATH);
        let address = Address::top(&format!("{folder}/manifest.json"), &format!("{encoded}/manifest.json"));
        let bytes = match fetch.read(&address, None, PLAYLIST * 4).await {
            Ok(loaded) => loaded.bytes,
            Err(FetchError::Missing) => continue,
            Err(error) => {
                findings.violation("R55", &address.path, error.to_string());
                continue;
            }
        };
        listed.insert(address.path.clone());
        match serde_json::from_slice::<Manifest>(&bytes) {
            Ok(manifest) if manifest.version == 1 => {
                listed.extend(check_objects(fetch, package, &address, &manifest, at_once, findings).await);
            }
            Ok(manifest) => {
                findings.warning("R55", &address.path, format!("version {} is not known here", manifest.version));
            }
            Err(error) => findings.violation("R55", &address.path, format!("it cannot be read: {error}")),
        }
    }
    listed
}

/// The folders that playlists lead to, directly below the package's folder.
fn generations(package: &Package) -> BTreeSet<String> {
    let folders = package.renditions.iter().filter_map(|rendition| rendition.address.first_folder());
    folders.map(ToOwned::to_owned).collect()
}

async fn check_objects(
    fetch: &dyn Fetch,
    package: &Package,
    manifest_address: &Address,
    manifest: &Manifest,
    at_once: usize,
    findings: &mut Findings,
) -> BTreeSet<String> {
    let mut listed = BTreeMap::new();
    for object in manifest.objects.iter().take(FILES) {
        let encoded = percent_encoding::utf8_percent_encode(&object.name, PATH).to_string();
        match manifest_address.resolve(&encoded, None) {
            Ok(address) if listed.contains_key(&address.path) => {
                findings.violation("R55", &manifest_address.path, format!("`{}` is listed twice", short(&object.name)));
            }
            Ok(address) => {
                listed.insert(address.path.clone(), (address, object));
            }
            Err(why) => findings.violation("R55", &manifest_address.path, why),
        }
    }
    let sums = futures_util::stream::iter(listed.values().map(|(address, object)| async move {
        let known = package.referred.get(&address.path).copied().flatten();
        let sum = match known {
            Some(sum) => Ok(sum),
            None => fetch.sum(address).await,
        };
        (address, object, sum)
    }));
    let sums: Vec<_> = sums.buffered(at_once).collect().await;
    for (address, object, sum) in sums {
        match sum {
            Err(error) => findings.violation("R55", &address.path, format!("it is listed in the manifest: {error}")),
            Ok(sum) if sum.bytes != object.bytes => {
                let what = format!("it has {} bytes, {} in the manifest", sum.bytes, object.bytes);
                findings.violation("R55", &address.path, what);
            }
            Ok(sum) if !hex::encode(sum.sha256).eq_ignore_ascii_case(&object.sha256) => {
                findings.violation("R55", &address.path, "its SHA-256 is not the one in the manifest");
            }
            Ok(_) => {}
        }
    }
    let folder = manifest_address.first_folder();
    for path in package.referred.keys() {
        let here = path.split_once('/').map(|(first, _)| first) == folder;
        if here && !listed.contains_key(path) {
            findings.violation("R55", path, "it is played and not listed in the manifest");
        }
    }
    listed.into_keys().collect()
}

/// Characters of a name that a URL path must not hold.
const PATH: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}');

/// R04 and R46, for packages in a folder: nothing left over, and no key among it.
pub(super) async fn check_folder(
    fetch: &dyn Fetch,
    package: &Package,
    keys: &Keys,
    listed: &BTreeSet<String>,
    findings: &mut Findings,
) {
    let Some(root) = fetch.folder().map(Path::to_path_buf) else { return };
    let folders = generations(package);
    // Beside a lone media playlist there may be anything.
    let flat = package.master.is_some()
        && package.renditions.iter().any(|rendition| rendition.address.first_folder().is_none());
    let wanted: BTreeSet<String> = package.referred.keys().chain(listed).cloned().collect();
    let secrets: Vec<[u8; BLOCK]> = keys.distinct().into_iter().collect();
    let found = fetch::blocking(move || {
        let mut found = Findings::default();
        for file in files(&root, &mut found) {
            let Ok(below) = file.strip_prefix(&root) else { continue };
            let Some(path) = below.to_str() else {
                found.violation("R04", below.to_string_lossy(), "the name is not UTF-8");
                continue;
            };
            let in_generation = path.split_once('/').is_some_and(|(first, _)| folders.contains(first));
            let beside_master = !path.contains('/') && (flat || is_unfinished(path));
            if (in_generation || beside_master) && !wanted.contains(path) {
                found.violation("R04", path, "nothing refers to this file");
            }
            check_secret(&file, path, &secrets, &mut found);
        }
        found
    });
    findings.append(found.await);
}

fn is_unfinished(name: &str) -> bool {
    let end = Path::new(name).extension().and_then(|end| end.to_str());
    matches!(end, Some("tmp" | "part" | "partial")) || name.starts_with('.')
}

/// All plain files below `root`. Links are findings and are not followed.
fn files(root: &Path, findings: &mut Findings) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![(root.to_path_buf(), 0)];
    while let Some((folder, depth)) = open.pop() {
        let Ok(entries) = folder.read_dir() else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && depth < DEPTH => open.push((path, depth + 1)),
                Ok(kind) if kind.is_file() => files.push(path),
                Ok(_) | Err(_) => findings.violation("R04", name, "it is neither a plain file nor a folder in reach"),
            }
            if files.len() + open.len() >= FILES {
                let what = format!("more than {FILES} files: the rest was not looked at");
                findings.violation("R04", "the package", what);
                return files;
            }
        }
    }
    files.sort();
    files
}

fn check_secret(file: &Path, path: &str, secrets: &[[u8; BLOCK]], findings: &mut Findings) {
    let end = Path::new(path).extension().and_then(|end| end.to_str());
    if matches!(end, Some("key" | "keyinfo")) {
        return findings.violation("R46", path, "it is named like a key");
    }
    let length = file.metadata().map_or(u64::MAX, |metadata| metadata.len());
    if length == BLOCK as u64 {
        return findings.violation("R46", path, "it has the 16 bytes of a key");
    }
    if secrets.is_empty() || length > SMALL {
        return;
    }
    let Ok(bytes) = std::fs::read(file) else { return };
    let lower = bytes.to_ascii_lowercase();
    let holds = |bytes: &[u8], wanted: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
    if secrets.iter().any(|key| holds(&bytes, key) || holds(&lower, hex::encode(key).as_bytes())) {
        findings.violation("R46", path, "a key of this package is written in it");
    }
}
