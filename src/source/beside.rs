//! Subtitles that lie beside a film: a local one, or one that was downloaded with them.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::item::{Item, Locator};
use crate::model::media::{Media, Text};
use crate::model::sha256::Sha256;
use crate::plan::language::Wanted;
use crate::plan::sidecar::{self, Format};

use super::hash::blocking;
use super::name;

/// The words of a long film are a hundred kilobytes; more than this is something else.
pub const LARGEST: u64 = 16 << 20;

/// Nobody has more of them; a folder may hold anything.
const MOST: usize = 64;

/// What came with a download is noted in a file of this name.
const INDEX: &str = "texts.json";

/// What lies beside a film.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    /// The files, in the order of their names.
    pub files: Vec<Sidecar>,
    /// What is left out, each with the reason.
    pub skipped: Vec<String>,
}

/// One file of subtitles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sidecar {
    /// Where it is.
    pub path: PathBuf,
    /// Its name, for people.
    pub shown: String,
    /// How it is written.
    pub format: Format,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
    /// What its name says.
    pub text: Text,
}

impl Beside {
    /// Adds what it holds to what the film itself holds.
    pub fn join(&self, media: &mut Media) {
        media.text.extend(self.files.iter().map(|file| file.text.clone()));
        media.skipped.extend(self.skipped.iter().cloned());
    }

    /// A digest of all of it; nothing where there is nothing.
    pub fn digest(&self) -> Option<String> {
        let mut hash = Sha256::new();
        for file in &self.files {
            hash.update(&file.sha256);
            hash.update(file.path.file_name().unwrap_or_default().as_bytes());
            hash.update([0]);
        }
        (!self.files.is_empty()).then(|| hex::encode(hash.finalize()))
    }

    /// Notes in the folder of a download what came with it.
    pub(super) fn save(&self, folder: &Path) -> io::Result<()> {
        File::create(folder.join(INDEX))?.write_all(&serde_json::to_vec(self)?)
    }

    /// What came with the download in this folder.
    pub(super) fn load(folder: &Path) -> Self {
        let noted = fs::read(folder.join(INDEX)).ok();
        noted.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }
}

impl Sidecar {
    /// Its bytes, if they are what they were when it was found.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let bytes = read(&self.path)?;
        let same = hex::encode(Sha256::digest(&bytes)) == self.sha256;
        if same { Ok(bytes) } else { Err(io::Error::other("it changed while the film was made")) }
    }
}

/// Finds the subtitles beside `item`, if any are `wanted`. `None` where that cannot be told: the film is gone, or
/// they come with its download.
pub async fn find(item: &Item, wanted: &Wanted) -> Option<Beside> {
    let Locator::File(path) = &item.locator else { return None };
    if *wanted == Wanted::None {
        return Some(Beside::default());
    }
    let path = path.clone();
    blocking(move || Ok(path.is_file().then(|| look(&path)))).await.ok().flatten()
}

/// The subtitles beside a film.
pub(super) fn look(film: &Path) -> Beside {
    let Some(own) = film.file_name() else { return Beside::default() };
    let folder = film.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A folder that may not be listed has nothing for us.
    let Ok(entries) = folder.read_dir() else { return Beside::default() };
    let mut names: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
    names.sort();
    let films: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).filter(|name| name::is_media(name)).collect();
    let mut beside = Beside::default();
    for name in &names {
        let Some(format) = sidecar::belongs(own.as_bytes(), name.as_bytes(), &films) else { continue };
        let (path, shown) = (folder.join(name), name.to_string_lossy().escape_debug().to_string());
        if format == Format::Pictures {
            beside.skipped.push(format!("`{shown}` holds pictures of text, which are left out"));
            continue;
        }
        if beside.files.len() == MOST {
            beside.skipped.push(format!("`{shown}` is left out: there are {MOST} others"));
            break;
        }
        match read(&path) {
            Ok(bytes) => beside.files.push(Sidecar {
                sha256: hex::encode(Sha256::digest(&bytes)),
                text: sidecar::text(own.as_bytes(), name.as_bytes(), beside.files.len()),
                path,
                shown,
                format,
            }),
            Err(error) => beside.skipped.push(format!("`{shown}` is left out: {error}")),
        }
    }
    beside
}

/// All of a file that may be subtitles.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a FIFO would wait for a writer, for ever.
    let about = path.metadata()?;
    if !about.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::other(format!("it has more than {LARGEST} bytes")));
    }
    Ok(bytes)
}
