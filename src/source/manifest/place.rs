//! Where a manifest and what it names lie: on a web server, or in the store it came from.

use percent_encoding::percent_decode_str;
use url::Url;

use crate::format::playlist::attribute::short;
use crate::model::failure::Failure;
use crate::model::item::Locator;

use super::super::name;

/// A file on a web server, or an object of the manifest's own store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) enum Place {
    Web(Url),
    /// The key of an object.
    Object(String),
}

/// A URL that leads nowhere and is nobody's server: RFC 6761 keeps `.invalid` free.
pub(in super::super) fn nowhere() -> Url {
    Url::parse("http://store.invalid/").expect("it is a URL")
}

impl Place {
    /// What `uri` means in a manifest that lies here. Only `http` and `https` lead out of it.
    pub(super) fn join(&self, uri: &str) -> Result<Self, Failure> {
        let refused = |why: &str| Failure::permanent(format!("the manifest names `{}`, {why}", short(uri)));
        let uri = uri.trim();
        if uri.contains("{$") {
            return Err(refused("a variable (EXT-X-DEFINE), which is not supported"));
        }
        let base = match self {
            Self::Web(url) => url.clone(),
            Self::Object(key) => {
                let mut url = nowhere();
                if let Ok(mut segments) = url.path_segments_mut() {
                    segments.clear().extend(key.split('/'));
                }
                url
            }
        };
        let mut url = base.join(uri).map_err(|error| refused(&format!("which is no URL: {error}")))?;
        url.set_fragment(None);
        match url.scheme() {
            "http" | "https" if url.has_host() => (),
            scheme => return Err(refused(&format!("and `{scheme}:` is refused"))),
        }
        if url.host_str() != nowhere().host_str() {
            return Ok(Self::Web(url));
        }
        if matches!(self, Self::Web(_)) {
            return Err(refused("which is no server"));
        }
        let path = percent_decode_str(url.path().trim_start_matches('/')).decode_utf8();
        let key = path.map_err(|_| refused("which is no key: it is not UTF-8"))?;
        Ok(Self::Object(key.into_owned()))
    }

    /// The name by which it is known again, without what signs a URL.
    pub(super) fn stable(&self) -> String {
        match self {
            Self::Web(url) => name::key(&Locator::Url(url.clone())),
            Self::Object(key) => format!("object:{key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(base: &Place, uri: &str, wanted: Option<&Place>) {
        let joined = base.join(uri);
        assert_eq!(joined.as_ref().ok(), wanted, "{uri}: {joined:?}");
    }

    #[test]
    fn relative_names_stay_where_the_manifest_is_and_only_http_leads_out() {
        let web = |text: &str| Place::Web(Url::parse(text).unwrap());
        let object = |key: &str| Place::Object(key.to_owned());
        let manifest = web("https://h/a/b.m3u8?token=1");
        check(&manifest, "c.ts?x=2", Some(&web("https://h/a/c.ts?x=2")));
        check(&manifest, "/c.ts", Some(&web("https://h/c.ts")));
        check(&manifest, " //o/c.ts ", Some(&web("https://o/c.ts")));
        for refused in [
            "file:///etc/passwd",
            "data:,x",
            "s3://b/c",
            "javascript:1",
            "{$host}/c.ts",
            "http://",
            "//store.invalid/x",
        ] {
            check(&manifest, refused, None);
        }
        let manifest = object("films/a b/%41.m3u8");
        check(&manifest, "c%20d.ts?x", Some(&object("films/a b/c d.ts")));
        check(&manifest, "../../../../c.ts", Some(&object("c.ts")));
        check(&manifest, "/c.ts", Some(&object("c.ts")));
        check(&manifest, "https://keys/1", Some(&web("https://keys/1")));
        check(&manifest, "file:///etc/passwd", None);
        check(&manifest, "%ff.ts", None);
    }
}
