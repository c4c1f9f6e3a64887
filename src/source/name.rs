//! Names of inputs: the stable key, the file name, and the id made from them.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use percent_encoding::percent_decode_str;
use url::Url;

use crate::model::id;
use crate::model::item::{self, Locator};
use crate::model::sha256::Sha256;

/// File name extensions of media that may hold a picture, in lower case.
const MEDIA: &[&str] = &[
    "3g2", "3gp", "asf", "avi", "divx", "dv", "f4v", "flv", "m2ts", "m2v", "m4v", "mkv", "mov", "mp4", "mpe", "mpeg",
    "mpg", "mts", "mxf", "nut", "ogg", "ogm", "ogv", "qt", "rm", "rmvb", "ts", "vob", "webm", "wmv", "wtv", "y4m",
];

/// Query parameters that sign a URL. They change with every signature, and whoever holds them may download.
const SIGNING: &[&str] = &[
    "awsaccesskeyid",
    "expires",
    "googleaccessid",
    "key-pair-id",
    "policy",
    "signature",
    "temp_url_expires",
    "temp_url_sig",
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-security-token",
    "x-amz-signature",
    "x-amz-signedheaders",
    "x-goog-algorithm",
    "x-goog-credential",
    "x-goog-date",
    "x-goog-expires",
    "x-goog-signature",
    "x-goog-signedheaders",
];

/// Whether a file of this name is taken for a video.
pub(super) fn is_media(name: &[u8]) -> bool {
    extension(name).is_some_and(|extension| MEDIA.contains(&extension.as_str()))
}

/// Whether this is the name of a playlist of segments.
pub(super) fn is_manifest(name: &[u8]) -> bool {
    extension(name).is_some_and(|extension| matches!(extension.as_str(), "m3u8" | "m3u" | "mpd"))
}

/// The extension in lower case, without the dot.
pub(super) fn extension(name: &[u8]) -> Option<String> {
    let dot = name.iter().rposition(|&byte| byte == b'.').filter(|&dot| dot > 0)?;
    let extension = str::from_utf8(name.get(dot + 1..)?).ok()?;
    Some(extension.to_ascii_lowercase())
}

/// The last part of a URL's path, decoded; empty if there is none.
pub(super) fn of_url(url: &Url) -> Vec<u8> {
    let last = url.path_segments().and_then(|mut segments| segments.rfind(|segment| !segment.is_empty()));
    last.map(|last| percent_decode_str(last).collect()).unwrap_or_default()
}

/// The name by which an input is recognised in later runs. Holds no password and no signature.
pub(super) fn key(locator: &Locator) -> String {
    match locator {
        Locator::Url(url) => url_key(url),
        Locator::File(path) => file_key(path),
        Locator::Object { place, key } => shown_bytes(item::object(place, key).as_bytes()),
    }
}

fn url_key(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_fragment(None);
    shown.set_query(None);
    // Both fail only for URLs that cannot carry a user, which then have none.
    shown.set_password(None).unwrap_or_default();
    shown.set_username("").unwrap_or_default();
    let mut rest = Sha256::new();
    rest.update(url.username());
    let mut plain = url.username().is_empty();
    for part in url.query().unwrap_or_default().split('&') {
        let name = part.split_once('=').map_or(part, |(name, _)| name);
        if !part.is_empty() && !SIGNING.contains(&name.to_ascii_lowercase().as_str()) {
            rest.update("&");
            rest.update(part);
            plain = false;
        }
    }
    // What else is in a query may be secret too, so only its digest is kept.
    if plain { shown.into() } else { format!("{shown}?{}", hex::encode(&rest.finalize()[..8])) }
}

fn file_key(path: &Path) -> String {
    // The folder is resolved and the name is not: a link and its target are two inputs.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let whole = match (folder.canonicalize(), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()),
    };
    format!("file:{}", shown_bytes(whole.as_os_str().as_bytes()))
}

/// Bytes as text: what is not printable UTF-8 becomes `%XX`, and so does `%`, so that two names never become one.
fn shown_bytes(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() || character == '%' {
                let mut buffer = [0; 4];
                shown.extend(character.encode_utf8(&mut buffer).bytes().flat_map(escaped));
            } else {
                shown.push(character);
            }
        }
        shown.extend(chunk.invalid().iter().copied().flat_map(escaped));
    }
    shown
}

/// `%XX`.
fn escaped(byte: u8) -> [char; 3] {
    let digit = |digit: u8| char::from_digit(u32::from(digit), 16).unwrap_or('0').to_ascii_uppercase();
    ['%', digit(byte >> 4), digit(byte & 15)]
}

/// The id of an input that nobody has named.
pub(super) fn id_of(locator: &Locator, key: &str) -> String {
    let name = match locator {
        Locator::Url(url) => {
            let name = of_url(url);
            if name.is_empty() { url.host_str().unwrap_or_default().replace('.', "-").into_bytes() } else { name }
        }
        Locator::File(path) => path.file_name().map(|name| name.as_bytes().to_vec()).unwrap_or_default(),
        Locator::Object { key, .. } => key.rsplit('/').next().unwrap_or_default().as_bytes().to_vec(),
    };
    id::slug(&String::from_utf8_lossy(&name), key.as_bytes())
}

/// The id of what yt-dlp found. Ids are unique within one site only, so all but
/// `YouTube`'s, which people know by sight, carry the name of the site.
pub(super) fn id_of_page(extractor: &str, found: &str, locator: &Locator, key: &str) -> String {
    let generic = ["", "generic", "html5mediaembed"].contains(&extractor.to_ascii_lowercase().as_str());
    let wanted = match extractor {
        "Youtube" => found.to_owned(),
        _ => format!("{}-{found}", extractor.to_ascii_lowercase()),
    };
    match () {
        () if generic || found.is_empty() => id_of(locator, key),
        () if id::check(&wanted) => wanted,
        () => id::slug(found, wanted.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    fn url(text: &str) -> Locator {
        Locator::Url(Url::parse(text).unwrap())
    }

    #[test]
    fn keys_hold_no_secret_and_tell_inputs_apart() {
        let signed = |signature| key(&url(&format!("https://h/a.mp4?X-Amz-Date=1&X-Amz-Signature={signature}")));
        assert_eq!(signed("one"), "https://h/a.mp4");
        assert_eq!(signed("one"), signed("two"));
        assert_eq!(key(&url("https://ann:pw@h/a.mp4#t=3")), key(&url("https://ann:other@h/a.mp4")));
        assert!(!key(&url("https://ann:pw@h/a?token=s3cret")).contains("s3cret"));
        let keys = ["https://h/a?x=1", "https://h/a?x=2", "https://h/a", "https://bob@h/a", "http://h/a"];
        for (number, one) in keys.iter().enumerate() {
            assert!(keys.iter().skip(number + 1).all(|two| key(&url(one)) != key(&url(two))), "{one}");
        }
    }

    #[test]
    fn names_of_any_bytes_have_a_key_and_an_id() {
        let names: [&[u8]; 6] = [b"a b.mp4", b"\xff\xfe.mp4", b"%FF%FE.mp4", b"a\nb.mp4", b"-rf.mp4", &[b'x'; 250]];
        let mut seen = std::collections::HashSet::new();
        for name in names {
            let locator = Locator::File(Path::new(OsStr::from_bytes(name)).to_path_buf());
            let key = key(&locator);
            assert!(!key.chars().any(char::is_control), "{key:?}");
            assert!(id::check(&id_of(&locator, &key)));
            assert!(seen.insert(id_of(&locator, &key)) && seen.insert(key));
        }
    }

    #[test]
    fn ids_of_two_sites_differ() {
        let page = url("https://site/watch");
        assert_eq!(id_of_page("Youtube", "dQw4w9WgXcQ", &page, "k"), "dQw4w9WgXcQ");
        assert_eq!(id_of_page("Vimeo", "123", &page, "k"), "vimeo-123");
        let dashed = id_of_page("Youtube", "-abc_def123", &page, "k");
        assert!(id::check(&dashed) && dashed.starts_with("abc_def123-"), "{dashed}");
        assert_eq!(id_of_page("Generic", "a", &page, "k"), id_of(&page, "k"));
    }

    #[test]
    fn extensions_decide_what_is_media() {
        for (name, media) in
            [("a.MP4", true), ("a.m3u8", false), (".mp4", false), ("mp4", false), ("a.mkv.part", false)]
        {
            assert_eq!(is_media(name.as_bytes()), media, "{name}");
        }
        assert!(is_manifest(b"master.m3u8") && is_manifest(b"a.MPD"));
        assert_eq!(of_url(&Url::parse("http://h/x/a%20b.mp4?q#f").unwrap()), b"a b.mp4");
    }
}
