//! An independent judge of packages: it shares no code with the program, and
//! reads a package as a player would, from the pointer down.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// A package that is whole: its generation, and every object below it with its SHA-256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    /// The master playlist.
    pub(crate) pointer: String,
    pub(crate) generation: String,
    pub(crate) objects: BTreeMap<String, String>,
    /// Segments of each media playlist, by the name of its folder.
    pub(crate) segments: BTreeMap<String, usize>,
}

/// The package that `master` leads to, by names and sizes alone; `None` if there is no pointer.
pub(crate) fn look(master: &Path) -> Result<Option<Package>, String> {
    let Ok(text) = fs::read_to_string(master) else { return Ok(None) };
    let folder = master.parent().unwrap();
    if !text.starts_with("#EXTM3U") || !text.ends_with('\n') {
        return Err(format!("the pointer is torn: {text:?}"));
    }
    let playlists = uris(&text);
    let generation = playlists.first().and_then(|uri| uri.split_once('/')).map(|(first, _)| first.to_owned());
    let generation = generation.ok_or_else(|| format!("the pointer leads nowhere: {text:?}"))?;
    let base = folder.join(&generation);
    let listed = manifest(&base)?;
    for (name, (bytes, _)) in &listed {
        let found = fs::metadata(base.join(name)).map_err(|error| format!("{name}: {error}"))?.len();
        if found != *bytes {
            return Err(format!("{name} has {found} bytes, {bytes} in the manifest"));
        }
    }
    let mut segments = BTreeMap::new();
    for uri in &playlists {
        let name = uri.strip_prefix(&format!("{generation}/")).ok_or_else(|| format!("{uri} is elsewhere"))?;
        let text = fs::read_to_string(base.join(name)).map_err(|error| format!("{uri}: {error}"))?;
        if !text.ends_with("#EXT-X-ENDLIST\n") || !listed.contains_key(name) {
            return Err(format!("{uri} has no end, or is not in the manifest"));
        }
        let (below, _) = name.rsplit_once('/').ok_or_else(|| format!("{uri} has no folder"))?;
        let files = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut count = 0;
        for file in files {
            count += 1;
            if !listed.contains_key(&format!("{below}/{file}")) {
                return Err(format!("{below}/{file} is played and not in the manifest"));
            }
        }
        if count == 0 || count != text.matches("#EXTINF:").count() {
            return Err(format!("{uri} has {count} segments"));
        }
        segments.insert(below.to_owned(), count);
    }
    let objects = listed.into_iter().map(|(name, (_, sha256))| (name, sha256)).collect();
    Ok(Some(Package { pointer: text, generation, objects, segments }))
}

/// As [`look`], and reads every byte; there must be a pointer, and nothing else beside its generation.
pub(crate) fn judge(master: &Path) -> Result<Package, String> {
    let package = look(master)?.ok_or("there is no pointer")?;
    let folder = master.parent().unwrap();
    let base = folder.join(&package.generation);
    for (name, sha256) in &package.objects {
        let bytes = fs::read(base.join(name)).map_err(|error| format!("{name}: {error}"))?;
        if hex::encode(Sha256::digest(&bytes)) != *sha256 {
            return Err(format!("{name} is not what the manifest says"));
        }
    }
    let on_disk = files(&base).into_iter().filter(|name| name != "manifest.json");
    match on_disk.into_iter().find(|name| !package.objects.contains_key(name)) {
        Some(name) => Err(format!("{name} belongs to nothing")),
        None => Ok(package),
    }
}

/// All files below `folder`, as names from there on, in order.
pub(crate) fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(below) = open.pop() {
        let Ok(entries) = fs::read_dir(folder.join(&below)) else { continue };
        for entry in entries.flatten() {
            let path = below.join(entry.file_name());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(path);
            } else {
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

/// The objects of a manifest: bytes and SHA-256 by name.
fn manifest(base: &Path) -> Result<BTreeMap<String, (u64, String)>, String> {
    let bytes = fs::read(base.join("manifest.json")).map_err(|error| format!("manifest.json: {error}"))?;
    let manifest: Value = serde_json::from_slice(&bytes).map_err(|error| format!("manifest.json: {error}"))?;
    let object = |object: &Value| {
        let text = |key: &str| Some(object.get(key)?.as_str()?.to_owned());
        Some((text("name")?, (object.get("bytes")?.as_u64()?, text("sha256")?)))
    };
    let objects = manifest.get("objects").and_then(Value::as_array).ok_or("the manifest lists nothing")?;
    objects.iter().map(object).collect::<Option<_>>().ok_or_else(|| "the manifest is broken".into())
}

/// The playlists a master leads to, each once.
fn uris(master: &str) -> Vec<String> {
    let quoted = |line: &str| {
        let uri = line.split_once("URI=\"").and_then(|(_, rest)| rest.split('"').next()).map(str::to_owned);
        uri.filter(|_| line.starts_with("#EXT-X-MEDIA:"))
    };
    let plain = |line: &str| (!line.is_empty() && !line.starts_with('#')).then(|| line.to_owned());
    let mut uris: Vec<String> = master.lines().filter_map(|line| plain(line).or_else(|| quoted(line))).collect();
    uris.sort();
    uris.dedup();
    uris
}
