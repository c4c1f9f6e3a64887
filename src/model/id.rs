//! Names at the destination: ids of items and of generations.

use super::sha256::Sha256;

/// The longest id, in bytes.
pub const LONGEST: usize = 96;

/// Whether `id` is `^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$`, so that it can be a
/// folder, an object key and a part of a URL without quoting.
pub fn check(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    id.len() <= LONGEST
        && id.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && id.bytes().all(allowed)
}

/// Whether `name` is one that generations have: 20 hex digits.
pub fn is_generation(name: &str) -> bool {
    name.len() == 20 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// An id made from a name that may hold anything, and from what makes it unique.
///
/// `slug("Mein Film!.mp4", b"https://…")` is `Mein-Film-1f0c2a9b`.
pub fn slug(name: &str, unique: &[u8]) -> String {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| if stem.is_empty() { name } else { stem });
    let mut slug = String::new();
    for character in stem.chars() {
        if character.is_ascii_alphanumeric() || (character == '_' && !slug.is_empty()) {
            slug.push(character);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() == 60 {
            break;
        }
    }
    let slug = slug.trim_end_matches(['-', '_']);
    let digest = short_digest(unique);
    if slug.is_empty() { format!("v-{digest}") } else { format!("{slug}-{digest}") }
}

/// The first 8 hex digits of the SHA-256 of `bytes`.
pub fn short_digest(bytes: &[u8]) -> String {
    hex::encode(&Sha256::digest(bytes)[..4])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_becomes_a_valid_id() {
        for name in ["a b.mp4", "-rf.mp4", "../../x", "", ".mp4", "日本.mkv", "a\nb'\"%05d.mp4", &"x".repeat(250)] {
            assert!(check(&slug(name, name.as_bytes())), "{name:?} gave {:?}", slug(name, name.as_bytes()));
        }
        assert_eq!(slug("Mein Film!.mp4", b"1"), format!("Mein-Film-{}", short_digest(b"1")));
    }

    #[test]
    fn ids_that_could_leave_the_folder_are_refused() {
        for id in ["", ".", "..", "a/b", "-a", ".a", "a b", "é", &"a".repeat(97)] {
            assert!(!check(id), "{id:?}");
        }
        assert!(check("dQw4w9WgXcQ") && check("a..b"));
    }
}
