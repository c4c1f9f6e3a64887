//! Where pictures come from: files, folders, cards, stores.

use std::collections::HashSet;
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::model::failure::Failure;
use crate::plan::photo::{HEAD, Kind, Promise, kind, promise};
use crate::storage::store::Store;

/// Largest file that is read, whatever it holds.
const LARGEST: u64 = 2 << 30;

/// One picture to be made to fit.
#[derive(Clone)]
pub struct Input {
    /// Where it is.
    pub place: Place,
    /// Its path below what the user named, with `/` between.
    pub path: String,
    /// Its bytes.
    pub bytes: u64,
    /// Another stamp is another version.
    pub stamp: String,
}

/// Where a picture is.
#[derive(Clone)]
pub enum Place {
    /// A file of this machine, by its absolute path.
    File(PathBuf),
    /// An object of a store, by its key.
    Object(Store, String),
}

/// What was found.
#[derive(Default)]
pub struct Found {
    /// Pictures, in order of their paths.
    pub inputs: Vec<Input>,
    /// Raw files, which are left alone.
    pub raw: u64,
    /// Other files, which are left alone.
    pub other: u64,
    /// What could not be looked at.
    pub unreadable: Vec<(String, Failure)>,
}

impl Found {
    /// Adds a file, or the pictures of a folder and of all folders in it.
    pub fn add_path(&mut self, path: &Path) -> Result<(), Failure> {
        let unreadable = |error: &std::io::Error| Failure::io(&format!("could not read `{}`", path.display()), error);
        let absolute = std::path::absolute(path).map_err(|error| unreadable(&error))?;
        let metadata = fs::metadata(&absolute).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::permanent(format!("there is no `{}`", path.display())),
            _ => unreadable(&error),
        })?;
        if metadata.is_dir() {
            return fs::read_dir(&absolute).map_err(|error| unreadable(&error)).map(|_| self.add_folder(&absolute));
        }
        if !metadata.is_file() {
            return Err(Failure::permanent(format!("`{}` is neither a file nor a folder", path.display())));
        }
        let name = text_of(Path::new(absolute.file_name().unwrap_or_default()));
        self.inputs.push(Input::of_file(absolute, name, &metadata));
        Ok(())
    }

    fn add_folder(&mut self, top: &Path) {
        let mut folders = vec![top.to_path_buf()];
        // A link that leads back would show the same pictures again and again.
        let mut known: HashSet<_> = fs::metadata(top).map(|top| (top.dev(), top.ino())).into_iter().collect();
        let begin = self.inputs.len();
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) => {
                    let failure = Failure::io("could not be read", &error);
                    self.unreadable.push((folder.display().to_string(), failure));
                    continue;
                }
            };
            for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
                let below = text_of(path.strip_prefix(top).unwrap_or(&path));
                // What a Mac leaves beside every file has the file's ending and is none.
                let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
                match fs::metadata(&path) {
                    _ if hidden => {}
                    Ok(metadata) if metadata.is_dir() => {
                        if known.insert((metadata.dev(), metadata.ino())) {
                            folders.push(path);
                        }
                    }
                    Ok(metadata) if metadata.is_file() && self.wants(&below) => {
                        self.inputs.push(Input::of_file(path, below, &metadata));
                    }
                    // A link that leads nowhere is no matter if it would be no picture.
                    Err(error) if self.wants(&below) => self.unreadable.push((below, not_there(&error))),
                    Ok(_) | Err(_) => {}
                }
            }
        }
        self.inputs[begin..].sort_by(|a, b| a.path.cmp(&b.path));
    }

    /// Adds the pictures of a store.
    pub async fn add_store(&mut self, store: &Store) -> Result<(), Failure> {
        let begin = self.inputs.len();
        for stat in store.list("").await? {
            if self.wants(&stat.key) {
                let stamp = format!("{} {}", stat.bytes, stat.etag.as_deref().unwrap_or_default());
                let place = Place::Object(store.clone(), stat.key.clone());
                self.inputs.push(Input { place, path: stat.key, bytes: stat.bytes, stamp });
            }
        }
        self.inputs[begin..].sort_by(|a, b| a.path.cmp(&b.path));
        Ok(())
    }

    /// Whether a name in a folder is a picture's; counts what is left alone.
    fn wants(&mut self, name: &str) -> bool {
        match promise(name) {
            Promise::Picture => return true,
            Promise::Raw => self.raw += 1,
            Promise::Other => self.other += 1,
        }
        false
    }
}

impl Input {
    fn of_file(path: PathBuf, below: String, metadata: &fs::Metadata) -> Self {
        let stamp = format!("{} {}.{:09}", metadata.len(), metadata.mtime(), metadata.mtime_nsec());
        Self { place: Place::File(path), path: below, bytes: metadata.len(), stamp }
    }

    /// Its address, by which the album knows it: no other picture has the same.
    pub fn address(&self) -> String {
        match &self.place {
            // An absolute path never looks like a URL, and only a path that is no UTF-8 becomes one.
            Place::File(path) => path.to_str().map_or_else(|| format!("file://{}", text_of(path)), str::to_owned),
            Place::Object(store, key) => store.address(key),
        }
    }

    /// Reads it whole, if it is a picture that can have so many pixels.
    pub async fn read(&self, max_pixels: u64) -> Result<Vec<u8>, Failure> {
        if self.bytes > LARGEST {
            return Err(too_large(self.bytes));
        }
        match &self.place {
            Place::Object(store, key) => {
                let bytes = store.load(key, LARGEST).await?;
                Ok(bytes.ok_or_else(|| Failure::permanent("is not there any more"))?.into())
            }
            Place::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || read_file(&path, max_pixels)).await;
                read.unwrap_or_else(|error| Err(Failure::environment(error.to_string())))
            }
        }
    }
}

/// Reads a file, and no more than the head of one that is no picture.
fn read_file(path: &Path, max_pixels: u64) -> Result<Vec<u8>, Failure> {
    // A card that is pulled out is trouble of this machine, not of each picture.
    let unreadable = |error: std::io::Error| Failure::io("could not be read", &error);
    let mut file = fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.by_ref().take(HEAD as u64).read_to_end(&mut bytes).map_err(unreadable)?;
    let largest = kind_of(&bytes)?.most_bytes(max_pixels).min(LARGEST);
    let length = file.metadata().map_err(unreadable)?.len();
    if length > largest {
        return Err(too_large(length));
    }
    bytes.reserve(usize::try_from(length).unwrap_or_default().saturating_sub(bytes.len()));
    // A file that grows meanwhile is no larger for it.
    let left = (largest + 1).saturating_sub(bytes.len() as u64);
    file.take(left).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > largest {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes)
}

/// The kind of picture that begins with `head`, or why it is none.
pub(super) fn kind_of(head: &[u8]) -> Result<Kind, Failure> {
    if head.is_empty() {
        return Err(Failure::permanent("is empty").hint("copy it from the card again"));
    }
    kind(head).ok_or_else(|| Failure::permanent("is no picture, whatever its name says"))
}

fn too_large(bytes: u64) -> Failure {
    Failure::permanent(format!("has {bytes} bytes, more than any picture of `photos.pixels`"))
}

fn not_there(error: &std::io::Error) -> Failure {
    if error.kind() == std::io::ErrorKind::NotFound {
        return Failure::permanent("is a link that leads nowhere");
    }
    Failure::io("could not be looked at", error)
}

/// A path as text. One that is no UTF-8 has its odd bytes, and percent signs, as URLs have them.
fn text_of(path: &Path) -> String {
    if let Some(path) = path.to_str() {
        return path.to_owned();
    }
    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        text.push_str(&chunk.valid().replace('%', "%25"));
        text.extend(chunk.invalid().iter().map(|byte| format!("%{byte:02X}")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_read_in_order_and_with_all_its_folders() {
        let card = tempfile::tempdir().unwrap();
        for name in ["DCIM/101/B.JPG", "DCIM/100/A.jpg", "DCIM/100/._A.jpg", "DCIM/100/A.CR2", "MISC/x.txt"] {
            let path = card.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::File::create(path).unwrap();
        }
        std::os::unix::fs::symlink(card.path(), card.path().join("DCIM/loop")).unwrap();
        let mut found = Found::default();
        found.add_path(&card.path().join("DCIM/100")).unwrap();
        found.add_path(&card.path().join("DCIM/101/B.JPG")).unwrap();
        let paths: Vec<_> = found.inputs.iter().map(|input| input.path.as_str()).collect();
        assert_eq!((paths, found.raw, found.other), (vec!["A.jpg", "B.JPG"], 1, 0));
        assert!(found.add_path(&card.path().join("nothing")).is_err());
        let mut all = Found::default();
        all.add_path(card.path()).unwrap();
        let paths: Vec<_> = all.inputs.iter().map(|input| input.path.as_str()).collect();
        assert_eq!(paths, ["DCIM/100/A.jpg", "DCIM/101/B.JPG"], "a link that leads back shows nothing twice");
    }

    #[test]
    fn no_two_files_have_one_address() {
        let address = |name: &[u8]| {
            let path = PathBuf::from(std::ffi::OsStr::from_bytes(name));
            Input { place: Place::File(path), path: String::new(), bytes: 0, stamp: String::new() }.address()
        };
        let cases: [(&[u8], &str); 5] = [
            (b"/a/caf\xc3\xa9.jpg", "/a/caf\u{e9}.jpg"),
            (b"/a/caf\xe9.jpg", "file:///a/caf%E9.jpg"),
            (b"/a/caf\xe8.jpg", "file:///a/caf%E8.jpg"),
            (b"/a/caf%E9.jpg", "/a/caf%E9.jpg"),
            (b"/a/caf%E9\xe9.jpg", "file:///a/caf%25E9%E9.jpg"),
        ];
        for (name, expected) in cases {
            assert_eq!(address(name), expected);
        }
    }
}
