//! What a migration does with each object: which are wanted, which are done, and what the report says.

use std::time::Duration;

/// Which keys are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Patterns of which one must fit; all keys are wanted if there are none.
    pub include: Vec<String>,
    /// Patterns of which none may fit.
    pub exclude: Vec<String>,
}

/// What became of one object, by rclone's signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It was there already.
    Same,
    /// It was not there, and is now.
    New,
    /// Another version was there.
    Changed,
    /// It is at the destination and no longer at the source.
    Gone,
    /// It could not be copied or checked.
    Error,
}

/// What is known of an object that was copied before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The version of the source.
    pub version: String,
    /// Its bytes.
    pub bytes: u64,
    /// Its MD5, if it was taken.
    pub md5: Option<String>,
}

/// An object as a storage tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its version.
    pub version: String,
    /// Its bytes.
    pub bytes: u64,
    /// Its MD5, where the storage knows it.
    pub md5: Option<String>,
}

impl Filter {
    /// Whether `key` is wanted.
    pub fn wants(&self, key: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| fits(pattern, key));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }
}

impl Sign {
    /// The sign itself.
    pub fn letter(self) -> char {
        match self {
            Self::Same => '=',
            Self::New => '+',
            Self::Changed => '*',
            Self::Gone => '-',
            Self::Error => '!',
        }
    }
}

/// What has to be done with an object of the source: nothing, copy it, or copy it anew.
/// `there` is what the destination has under its key.
pub fn verdict(source: &Seen, known: Option<&Known>, there: Option<&Seen>) -> Sign {
    let Some(known) = known else {
        return if there.is_none() { Sign::New } else { Sign::Changed };
    };
    let unchanged = known.version == source.version && known.bytes == source.bytes;
    match there {
        None => Sign::New,
        Some(there) if unchanged && is_same(known, there) => Sign::Same,
        Some(_) => Sign::Changed,
    }
}

/// Whether the destination has what the catalog says, as far as a look can tell.
pub fn is_same(known: &Known, there: &Seen) -> bool {
    known.bytes == there.bytes && agree(known.md5.as_deref(), there.md5.as_deref())
}

/// Whether two digests are of the same bytes, as far as both are known.
pub fn agree(one: Option<&str>, other: Option<&str>) -> bool {
    one.is_none() || other.is_none() || one == other
}

/// Whether `pattern` fits the whole of `key`: `*` is anything but a slash, `**` anything,
/// `?` one character. A pattern without a slash fits the last part of a key.
pub fn fits(pattern: &str, key: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let last = if pattern.contains(&'/') { key } else { key.rsplit('/').next().unwrap_or(key) };
    let key: Vec<char> = last.chars().collect();
    // Which lengths of the key the pattern so far fits: no pattern takes longer than its length times the key's.
    let mut reached = vec![false; key.len() + 1];
    reached[0] = true;
    let mut at = 0;
    while let Some(&sign) = pattern.get(at) {
        let deep = sign == '*' && pattern.get(at + 1) == Some(&'*');
        at += 1 + usize::from(deep);
        let mut next = vec![false; key.len() + 1];
        for length in 0..=key.len() {
            let before = length.checked_sub(1).and_then(|index| Some((index, *key.get(index)?)));
            next[length] = match sign {
                '*' => reached[length] || before.is_some_and(|(index, last)| next[index] && (deep || last != '/')),
                '?' => before.is_some_and(|(index, last)| reached[index] && last != '/'),
                sign => before.is_some_and(|(index, last)| reached[index] && last == sign),
            };
        }
        reached = next;
    }
    reached.last() == Some(&true)
}

/// How long to wait before `bytes` more may pass, when so many passed in `elapsed`.
#[expect(clippy::cast_precision_loss, reason = "a wait is an estimate")]
pub fn pause(passed: u64, elapsed: Duration, bytes_per_second: u64) -> Duration {
    let due = Duration::from_secs_f64(passed as f64 / bytes_per_second.max(1) as f64);
    due.saturating_sub(elapsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_like_a_shell_s() {
        let cases = [
            ("*.jpg", "a/b/c.jpg", true),
            ("*.jpg", "a/b/c.jpeg", false),
            ("a/*.jpg", "a/c.jpg", true),
            ("a/*.jpg", "a/b/c.jpg", false),
            ("a/**", "a/b/c.jpg", true),
            ("**/c.*", "a/b/c.jpg", true),
            ("?.txt", "ab.txt", false),
            ("a/?.txt", "a/\u{fc}.txt", true),
            ("**", "", true),
            ("", "", true),
        ];
        for (pattern, key, expected) in cases {
            assert_eq!(fits(pattern, key), expected, "{pattern} {key}");
        }
        let slow = "*a".repeat(50);
        assert!(!fits(&slow, &"b".repeat(1024)));
    }

    #[test]
    fn what_is_wanted_is_included_and_not_excluded() {
        let filter = Filter { include: vec!["*.jpg".into()], exclude: vec!["tmp/**".into()] };
        assert!(filter.wants("a/b.jpg") && !filter.wants("tmp/b.jpg") && !filter.wants("a/b.png"));
        assert!(Filter::default().wants("anything"));
    }

    #[test]
    fn only_what_the_catalog_and_the_destination_agree_on_is_left_alone() {
        let seen =
            |version: &str, bytes, md5: Option<&str>| Seen { version: version.into(), bytes, md5: md5.map(Into::into) };
        let known = Known { version: "1".into(), bytes: 5, md5: Some("ab".into()) };
        let source = seen("1", 5, None);
        let cases = [
            (None, None, Sign::New),
            (None, Some(seen("x", 5, None)), Sign::Changed),
            (Some(&known), None, Sign::New),
            (Some(&known), Some(seen("x", 5, Some("ab"))), Sign::Same),
            (Some(&known), Some(seen("x", 5, None)), Sign::Same),
            (Some(&known), Some(seen("x", 5, Some("cd"))), Sign::Changed),
            (Some(&known), Some(seen("x", 6, None)), Sign::Changed),
        ];
        for (known, there, expected) in cases {
            assert_eq!(verdict(&source, known, there.as_ref()), expected, "{known:?} {there:?}");
        }
        assert_eq!(verdict(&seen("2", 5, None), Some(&known), Some(&seen("x", 5, None))), Sign::Changed);
    }

    #[test]
    fn a_limit_of_bandwidth_is_kept_on_average() {
        assert_eq!(pause(1000, Duration::from_secs(1), 500), Duration::from_secs(1));
        assert_eq!(pause(1000, Duration::from_secs(3), 500), Duration::ZERO);
    }
}
