//! The master key and the store for key files.

use std::path::{Path, PathBuf};

use crate::config::{Config, EncryptWish};
use crate::model::failure::Failure;
use crate::model::fault;
use crate::model::secret::Secret;
use crate::plan::settings::Encryption;
use crate::scratch::file::{self, Privacy};
use crate::storage::store::Store;

/// The environment variable with the master key, in hex.
pub const MASTER_KEY_VARIABLE: &str = "FOREBAY_MASTER_KEY";

/// Bytes of a master key that is made here.
const MASTER_KEY_BYTES: usize = 32;

/// What encrypts packages, and where key files go; nothing if they are not encrypted.
pub(super) type Keys = (Option<Encryption>, Option<Store>);

/// The master key and the store for key files, if packages are encrypted.
pub(super) fn encryption(config: &Config, to: &str, state: &Path) -> Result<Keys, Failure> {
    let Some(wish) = &config.hls.encrypt else { return Ok((None, None)) };
    if let Some(keys) = wish.keys.as_ref().map(|keys| keys.to_string_lossy())
        && !config.stores.is_folder(&keys)
    {
        return Err(Failure::permanent(format!("keys cannot be kept at `{}`", keys.escape_debug()))
            .hint("give --keys a folder that only you can read; a mounted bucket is one too"));
    }
    super::make_folder(state, "state")?;
    let folder = key_folder(wish, to, state)?;
    let master_key = match std::env::var(MASTER_KEY_VARIABLE) {
        Ok(text) => read_key(&text).ok_or_else(|| {
            Failure::permanent(format!("`{MASTER_KEY_VARIABLE}` is not a key"))
                .hint("give 32 to 128 hex digits: `openssl rand -hex 32`")
        })?,
        Err(_) => kept_key(&folder.join("master.key"))?,
    };
    let keys = config.stores.open(&folder.to_string_lossy(), Privacy::Private)?;
    Ok((Some(wish.with_master_key(master_key)), Some(keys)))
}

/// The folder for keys, which must not be where everybody can fetch them.
fn key_folder(wish: &EncryptWish, to: &str, state: &Path) -> Result<PathBuf, Failure> {
    let folder = wish.keys.clone().unwrap_or_else(|| state.join("keys"));
    if file::real(&folder).starts_with(file::real(Path::new(to))) {
        return Err(Failure::permanent(format!("the key folder `{}` is inside the destination", folder.display()))
            .hint("everyone who can fetch the videos could fetch the keys: choose another folder with --keys"));
    }
    file::make_folder(&folder, Privacy::Private)
        .map_err(|error| Failure::io(&format!("could not make the key folder `{}`", folder.display()), &error))?;
    Ok(folder)
}

/// The master key kept in `path`, made there the first time.
fn kept_key(path: &Path) -> Result<Secret, Failure> {
    let problem =
        |what: &str, error: &std::io::Error| Failure::io(&format!("could not {what} `{}`", path.display()), error);
    match std::fs::read_to_string(path) {
        Ok(text) => read_key(&text).ok_or_else(|| {
            Failure::environment(format!("`{}` does not hold a key", path.display()))
                .hint("restore it from a backup: packages that are published need it")
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut bytes = vec![0; MASTER_KEY_BYTES];
            getrandom::fill(&mut bytes)
                .map_err(|error| Failure::environment(format!("the system gives no random bytes: {error}")))?;
            let text = format!("{}\n", hex::encode(&bytes));
            file::write(path, text.as_bytes(), Privacy::Private).map_err(|error| problem("write", &error))?;
            fault::point("master-key-made");
            Ok(Secret::new(bytes))
        }
        Err(error) => Err(problem("read", &error)),
    }
}

fn read_key(text: &str) -> Option<Secret> {
    hex::decode(text.trim()).ok().filter(|bytes| (16..=64).contains(&bytes.len())).map(Secret::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::settings::Method;

    #[test]
    fn the_master_key_is_made_once_and_kept_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        let made = kept_key(&path).unwrap();
        assert_eq!(kept_key(&path).unwrap(), made);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn keys_are_not_put_where_the_videos_are() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("cdn");
        let wish = |keys: &Path| EncryptWish {
            method: Method::Aes128,
            key_uri: "k".into(),
            keys: Some(keys.into()),
            rotate: 0,
        };
        assert!(key_folder(&wish(&to.join("keys")), &to.to_string_lossy(), folder.path()).is_err());
        assert!(key_folder(&wish(&folder.path().join("x/../cdn/keys")), &to.to_string_lossy(), folder.path()).is_err());
        assert!(!to.exists(), "a refusal leaves nothing behind");
        assert!(key_folder(&wish(&folder.path().join("keys")), &to.to_string_lossy(), folder.path()).is_ok());
    }
}
