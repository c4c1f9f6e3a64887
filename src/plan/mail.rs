//! Messages with pictures: how many go into one, and what it is called.

use std::collections::BTreeSet;

use crate::model::sha256::Sha256;

/// Room for headers, the text and the borders between parts.
const ENVELOPE: u64 = 4096;

/// Headers and borders of one attachment, long names included.
const PART: u64 = 1024;

/// Bytes an attachment takes in a message: base64 in lines of 76.
pub fn encoded(bytes: u64) -> u64 {
    let base64 = bytes.div_ceil(3) * 4;
    base64 + base64.div_ceil(76) * 2 + PART
}

/// The largest picture that fits into a message of at most `limit` bytes.
pub fn largest(limit: u64) -> u64 {
    limit.saturating_sub(ENVELOPE + PART) / 78 * 76 / 4 * 3
}

/// Collects pictures until a message is full.
#[derive(Clone, Debug)]
pub struct Filling<T> {
    limit: u64,
    bytes: u64,
    parts: Vec<T>,
}

impl<T> Filling<T> {
    /// An empty message of at most `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self { limit, bytes: ENVELOPE, parts: Vec::new() }
    }

    /// Adds a picture; gives the message that was full before it.
    pub fn add(&mut self, part: T, bytes: u64) -> Option<Vec<T>> {
        let full = self.bytes + encoded(bytes) > self.limit && !self.parts.is_empty();
        let message = full.then(|| self.take());
        self.bytes += encoded(bytes);
        self.parts.push(part);
        message
    }

    /// What has been collected, which may be nothing.
    pub fn take(&mut self) -> Vec<T> {
        self.bytes = ENVELOPE;
        std::mem::take(&mut self.parts)
    }
}

/// A message that an earlier run may have sent, and its pictures as far as they have come by.
#[derive(Clone, Debug)]
pub struct Again<T> {
    /// Its id.
    pub id: String,
    missing: BTreeSet<String>,
    bytes: u64,
    /// Its pictures so far.
    pub parts: Vec<T>,
}

impl<T> Again<T> {
    /// The message of that id with the pictures of these digests.
    pub fn new(id: String, sha256s: BTreeSet<String>) -> Self {
        Self { id, missing: sha256s, bytes: ENVELOPE, parts: Vec::new() }
    }

    /// Whether the picture of this digest is awaited.
    pub fn wants(&self, sha256: &str) -> bool {
        self.missing.contains(sha256)
    }

    /// Adds a picture that is awaited.
    pub fn add(&mut self, part: T, sha256: &str, bytes: u64) {
        self.missing.remove(sha256);
        self.bytes += encoded(bytes);
        self.parts.push(part);
    }

    /// Whether all its pictures are here, and it may go as it is in at most `limit` bytes.
    pub fn is_whole(&self, limit: u64) -> bool {
        self.missing.is_empty() && self.bytes <= limit
    }
}

/// The same message always gets the same id, so that a mail server or program
/// can tell one that was sent twice because a run was killed in between.
pub fn message_id<'a>(recipients: &[String], pictures: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut digest = Sha256::new();
    for recipient in recipients {
        digest.update(format!("{recipient}\0"));
    }
    for (name, sha256) in pictures {
        digest.update(format!("{name}\0{sha256}\0"));
    }
    let mut id = hex::encode(digest.finalize());
    id.truncate(32);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_is_over_the_limit_and_none_is_empty() {
        let mut filling = Filling::new(1_000_000);
        let mut messages = Vec::new();
        for number in 0..50_u64 {
            messages.extend(filling.add(number, 40_000 + number * 10_000));
        }
        messages.push(filling.take());
        assert_eq!(messages.iter().flatten().copied().collect::<Vec<_>>(), (0..50).collect::<Vec<_>>());
        for message in messages {
            let bytes: u64 = message.iter().map(|number| encoded(40_000 + number * 10_000)).sum();
            assert!(!message.is_empty() && bytes + ENVELOPE <= 1_000_000, "{message:?}");
        }
    }

    #[test]
    fn the_largest_picture_fits_alone() {
        for limit in [20_000_000, 10_000_000, 100_000, 7000] {
            assert!(encoded(largest(limit)) + ENVELOPE <= limit, "{limit}");
            assert!(encoded(largest(limit) + 300) + ENVELOPE > limit - 300, "{limit}");
        }
        assert_eq!(largest(0), 0);
    }

    #[test]
    fn ids_of_messages_tell_them_apart() {
        let id = |to: &str, name: &'static str| message_id(&[to.into()], [(name, "ab")].into_iter());
        assert_eq!(id("a@b", "x"), id("a@b", "x"));
        assert_ne!(id("a@b", "x"), id("a@c", "x"));
        assert_ne!(id("a@b", "x"), id("a@b", "y"));
    }

    #[test]
    fn a_message_goes_again_when_all_of_it_is_there() {
        let mut again = Again::new("id".into(), ["a", "b"].map(String::from).into());
        assert!(again.wants("a") && !again.wants("c"));
        again.add(1, "a", 3000);
        assert!(!again.wants("a") && !again.is_whole(1_000_000));
        again.add(2, "b", 3000);
        assert!(again.is_whole(1_000_000) && !again.is_whole(9000), "the limit may be lower now");
        assert_eq!(again.parts, [1, 2]);
    }
}
