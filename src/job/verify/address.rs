//! Where an object is inside the package; nothing outside has an address.

use percent_encoding::percent_decode_str;

use crate::format::playlist::attribute::short;

/// An object of the package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Address {
    /// Its path below the package's folder, as a person would write it.
    pub(super) path: String,
    /// The same as in a URL, with the query if there is one.
    pub(super) encoded: String,
}

impl Address {
    /// The address of a file that lies in the package's folder itself.
    pub(super) fn top(name: &str, encoded: &str) -> Self {
        Self { path: name.to_owned(), encoded: encoded.to_owned() }
    }

    /// What `uri` means in a playlist that is here, or why it may not be opened.
    ///
    /// `root` is the URL of the package's folder, if it has one: an absolute
    /// URL below it is as good as a relative one.
    pub(super) fn resolve(&self, uri: &str, root: Option<&str>) -> Result<Self, String> {
        if let Some(below) = root.and_then(|root| uri.strip_prefix(root)) {
            return Self { path: String::new(), encoded: String::new() }.resolve(below, None);
        }
        let refuse = |why: &str| Err(format!("`{}` {why}", short(uri)));
        let (uri_path, query) = uri.split_once('?').map_or((uri, None), |(path, query)| (path, Some(query)));
        let uri_path = uri_path.split_once('#').map_or(uri_path, |(path, _)| path);
        if uri_path.is_empty() {
            return refuse("names no file");
        }
        if has_scheme(uri_path) || uri_path.starts_with("//") {
            return refuse("leads out of the package");
        }
        if uri_path.starts_with('/') {
            // On its own server, below the folder of the package, it is as good as a relative one.
            let origin = root.map(|root| root.split('/').take(3).collect::<Vec<_>>().join("/"));
            let whole = origin.map(|origin| format!("{origin}{uri}"));
            let below = whole.as_deref().zip(root).and_then(|(whole, root)| whole.strip_prefix(root));
            return match below {
                Some(below) => Self { path: String::new(), encoded: String::new() }.resolve(below, None),
                None => refuse("is an absolute path"),
            };
        }
        let mut path = folder(&self.path).to_owned();
        let mut encoded = folder(&self.encoded).to_owned();
        let mut parts = uri_path.split('/').peekable();
        while let Some(part) = parts.next() {
            let Ok(plain) = percent_decode_str(part).decode_utf8() else { return refuse("is not UTF-8") };
            match &*plain {
                "." if parts.peek().is_some() => continue,
                ".." if part == ".." && parts.peek().is_some() && path.ends_with('/') => {
                    for text in [&mut path, &mut encoded] {
                        let above = folder(text.trim_end_matches('/')).len();
                        text.truncate(above);
                    }
                    continue;
                }
                ".." => return refuse("leads to a folder above"),
                "" | "." => return refuse("has an empty name in it"),
                _ if plain.contains(['/', '\\', '\0']) || plain.chars().any(char::is_control) => {
                    return refuse("hides a separator in a name");
                }
                _ => {}
            }
            let slash = if parts.peek().is_some() { "/" } else { "" };
            path.extend([&*plain, slash]);
            encoded.extend([part, slash]);
        }
        if let Some(query) = query {
            encoded.extend(["?", query]);
        }
        Ok(Self { path, encoded })
    }

    /// Whether it is the same object: what a script answers depends on the query.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.path == other.path && self.query() == other.query()
    }

    fn query(&self) -> Option<&str> {
        self.encoded.split_once('?').map(|(_, query)| query)
    }

    /// The first folder of the path, if it has one.
    pub(super) fn first_folder(&self) -> Option<&str> {
        self.path.split_once('/').map(|(first, _)| first)
    }
}

/// Whether every character of `uri` may stand in a URI.
pub(super) fn is_encoded(uri: &str) -> bool {
    uri.bytes().all(|byte| {
        byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
    })
}

/// `https:` and the like, also `file:` and `data:`.
pub(super) fn has_scheme(uri: &str) -> bool {
    uri.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
    })
}

/// Everything up to and with the last slash of the path.
fn folder(path: &str) -> &str {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    path.rsplit_once('/').map_or("", |(folder, _)| path.split_at(folder.len() + 1).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(uri: &str, expected: Option<(&str, &str)>) {
        let playlist = Address::top("g/1080p/index.m3u8", "g/1080p/index.m3u8?s=1");
        let got = playlist.resolve(uri, Some("https://cdn/v/")).ok();
        assert_eq!(got.as_ref().map(|address| (address.path.as_str(), address.encoded.as_str())), expected);
    }

    #[test]
    fn names_are_taken_from_the_folder_of_the_playlist() {
        check("00000.ts", Some(("g/1080p/00000.ts", "g/1080p/00000.ts")));
        check("./a%20b.ts?sig=1/../2", Some(("g/1080p/a b.ts", "g/1080p/a%20b.ts?sig=1/../2")));
        check("https://cdn/v/x/1.ts", Some(("x/1.ts", "x/1.ts")));
        check("/v/x/1.ts?s", Some(("x/1.ts", "x/1.ts?s")));
        check("../media/a%20b.ts", Some(("g/media/a b.ts", "g/media/a%20b.ts")));
        check("a/../../b.ts", Some(("g/b.ts", "g/b.ts")));
        assert_eq!(Address::top("master.m3u8", "master.m3u8").resolve("a/b", None).unwrap().path, "a/b");
    }

    #[test]
    fn nothing_outside_has_an_address() {
        let hostile = [
            "",
            "?x",
            "..",
            "../..",
            "../../../a.ts",
            "../../../etc/passwd",
            "a/../../../../b",
            "%2e%2e/a.ts",
            "..%2fa",
            "a%2f..%2fb",
            "/etc/passwd",
            "//host/a.ts",
            "file:///etc/passwd",
            "file:a",
            "https://other/v/a.ts",
            "https://cdn/v/../a.ts",
            "data:video/mp2t;base64,AA",
            "a\\..\\b",
            "a%00",
            "%ff",
            "a//b",
            "a/",
            ".",
        ];
        for uri in hostile {
            check(uri, None);
        }
    }

    #[test]
    fn blanks_and_letters_beyond_ascii_are_not_encoded() {
        assert!(is_encoded("a%20b/c.ts?x=1&y=[2]"));
        assert!(!is_encoded("a b.ts") && !is_encoded("ü.ts") && !is_encoded("a\"b"));
    }
}
