//! How requests to Azure are signed: with the key of the account ("Shared Key", version 2009-09-19
//! and later), or by a shared access signature that goes along as a part of the query.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use reqwest::header::HeaderMap;
use reqwest::{Method, Url};
use sha2::Sha256;

use super::super::wire;
use crate::model::secret::Secret;

/// Headers that are a part of what is signed, in this order, besides `x-ms-*`.
const SIGNED: &[&str] = &[
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

/// What proves who we are.
pub(super) enum Signing {
    /// The key of an account.
    Key { account: String, key: Secret },
    /// A query that the owner of the account has signed.
    Access(Secret),
    /// Nothing, for containers that everybody may read.
    Nothing,
}

impl Signing {
    /// Adds the proof to a request whose body has `length` bytes. All else about it is settled before.
    pub(super) fn sign(&self, method: &Method, url: &mut Url, headers: &mut HeaderMap, length: usize) {
        match self {
            Self::Nothing => {}
            Self::Access(query) => {
                let query = String::from_utf8_lossy(query.expose()).into_owned();
                let all = url.query().map_or_else(|| query.clone(), |known| format!("{known}&{query}"));
                url.set_query(Some(&all));
            }
            Self::Key { account, key } => {
                let text = to_sign(method, url, headers, length, account);
                let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).expect("keys of any length will do");
                mac.update(text.as_bytes());
                let signature = STANDARD.encode(mac.finalize().into_bytes());
                if let Ok(mut value) =
                    format!("SharedKey {account}:{signature}").parse::<reqwest::header::HeaderValue>()
                {
                    value.set_sensitive(true);
                    headers.insert("authorization", value);
                }
            }
        }
    }
}

/// The text that is signed.
fn to_sign(method: &Method, url: &Url, headers: &HeaderMap, length: usize, account: &str) -> String {
    let mut text = format!("{method}\n");
    for name in SIGNED {
        match *name {
            "content-length" if length > 0 => text += &length.to_string(),
            "content-length" => {}
            _ => text += wire::text_of(headers, name).unwrap_or_default(),
        }
        text.push('\n');
    }
    let mut named: Vec<(&str, &str)> = headers
        .keys()
        .map(reqwest::header::HeaderName::as_str)
        .filter(|name| name.starts_with("x-ms-"))
        .map(|name| (name, wire::text_of(headers, name).unwrap_or_default().trim()))
        .collect();
    named.sort_unstable();
    for (name, value) in named {
        text.extend([name, ":", value, "\n"]);
    }
    text.extend(["/", account, url.path()]);
    let mut query: Vec<(String, String)> =
        url.query_pairs().map(|(name, value)| (name.to_ascii_lowercase(), value.into_owned())).collect();
    query.sort();
    for (name, value) in query {
        text.extend(["\n", name.as_str(), ":", value.as_str()]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_as_the_rules_have_it() {
        let url = Url::parse("https://a.example/box/a%20b?restype=container&comp=list&prefix=x%2Fy").unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-ms-version", "2021-12-02"), ("x-ms-date", "now"), ("range", "bytes=0-1")] {
            headers.insert(name, value.parse().unwrap());
        }
        assert_eq!(
            to_sign(&Method::GET, &url, &headers, 0, "acc"),
            "GET\n\n\n\n\n\n\n\n\n\n\nbytes=0-1\nx-ms-date:now\nx-ms-version:2021-12-02\n\
             /acc/box/a%20b\ncomp:list\nprefix:x/y\nrestype:container"
        );
    }

    #[test]
    fn a_signature_of_the_owner_goes_along_as_it_is() {
        let mut url = Url::parse("https://a.example/box/a?comp=list").unwrap();
        let access = Signing::Access(Secret::new(b"sv=1&sig=a%2Bb".to_vec()));
        access.sign(&Method::GET, &mut url, &mut HeaderMap::new(), 0);
        assert_eq!(url.query(), Some("comp=list&sv=1&sig=a%2Bb"));
    }
}
