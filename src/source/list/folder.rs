//! The media files below a folder, without what was made of them there.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::model::id;

use super::super::name;

/// All media files below `folder` in the order of their names. Hidden files and
/// folders are left out, and packages of ours; a folder that links lead to twice is entered once.
pub(super) fn files(folder: &Path) -> Vec<Result<PathBuf, String>> {
    let mut found = Vec::new();
    walk(folder, &mut HashSet::new(), &mut found);
    if found.is_empty() {
        found.push(Err(format!("the folder `{}` holds no video files", shown(folder))));
    }
    found
}

fn walk(folder: &Path, seen: &mut HashSet<(u64, u64)>, found: &mut Vec<Result<PathBuf, String>>) {
    let unreadable = |error: std::io::Error| format!("could not read the folder `{}`: {error}", shown(folder));
    match folder.metadata() {
        Ok(about) if !seen.insert((about.dev(), about.ino())) => return,
        Ok(_) => (),
        Err(error) => return found.push(Err(unreadable(error))),
    }
    let entries = match folder.read_dir().and_then(Iterator::collect::<Result<Vec<_>, _>>) {
        Ok(entries) => entries,
        Err(error) => return found.push(Err(unreadable(error))),
    };
    let mut names: Vec<_> = entries.into_iter().map(|entry| entry.file_name()).collect();
    names.sort();
    for name in names.iter().filter(|name| !name.as_bytes().starts_with(b".")) {
        let path = folder.join(name);
        // Follows links.
        let about = match path.metadata() {
            Ok(about) => about,
            Err(error) if name::is_media(name.as_bytes()) => {
                found.push(Err(format!("could not read `{}`: {error}", shown(&path))));
                continue;
            }
            Err(_) => continue,
        };
        if about.is_dir() && name.to_str().is_some_and(id::is_generation) {
            continue;
        }
        if about.is_dir() {
            walk(&path, seen, found);
        } else if about.is_file() && name::is_media(name.as_bytes()) {
            found.push(Ok(path));
        }
    }
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}
