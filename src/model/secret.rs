//! Values that must never be printed.

use std::fmt;

/// Holds bytes that print as `***` wherever they end up by mistake.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Wraps the bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes themselves, for the one place that needs them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A URL fit for a log: user, password and query replaced by `***`.
///
/// Signed URLs carry their signature in the query, so all of it goes.
pub fn masked_url(url: &url::Url) -> String {
    let mut shown = url.clone();
    if !shown.username().is_empty() || shown.password().is_some() {
        // Both fail only for URLs that cannot carry a user, which then have none.
        shown.set_password(None).unwrap_or_default();
        shown.set_username("***").unwrap_or_default();
    }
    if shown.query().is_some() {
        shown.set_query(Some("***"));
    }
    shown.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_print() {
        assert_eq!(format!("{:?} {}", Secret::new(vec![1]), Secret::new(vec![2])), "*** ***");
    }

    #[test]
    fn signed_urls_are_masked() {
        let url = url::Url::parse("https://ann:pw@host/a.mp4?X-Amz-Signature=abc").unwrap();
        assert_eq!(masked_url(&url), "https://***@host/a.mp4?***");
    }
}
