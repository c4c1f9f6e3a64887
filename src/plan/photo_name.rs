//! Names of pictures at the destination: like the source's, and never two alike.

use std::collections::HashSet;

/// Names that are taken, whatever their case: cards and Macs do not tell `A` from `a`.
#[derive(Debug, Default)]
pub struct Names {
    taken: HashSet<String>,
}

impl Names {
    /// Notes a name that somebody has.
    pub fn take(&mut self, name: &str) {
        self.taken.insert(name.to_lowercase());
    }

    /// The first name like `wanted` that nobody has, now taken: `a.jpg`, `a-2.jpg`, …
    pub fn choose(&mut self, wanted: &str) -> String {
        let (stem, ending) = split(wanted);
        let mut name = wanted.to_owned();
        let mut number = 2_u64;
        while !self.taken.insert(name.to_lowercase()) {
            name = format!("{stem}-{number}{ending}");
            number += 1;
        }
        name
    }
}

/// The key of a picture whose path below its folder is `path`, with the ending of `kind` unless it has it.
pub fn key(path: &str, endings: &[&str]) -> String {
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "." | ".."));
    let parts: Vec<String> = parts.map(plain).collect();
    let path = if parts.is_empty() { "photo".into() } else { parts.join("/") };
    let (stem, ending) = split(&path);
    let has = endings.iter().any(|known| ending.trim_start_matches('.').eq_ignore_ascii_case(known));
    let wanted = endings.first().copied().unwrap_or("jpg");
    if has { path } else { format!("{stem}.{wanted}") }
}

/// A part of a path without what confuses terminals and other systems.
fn plain(part: &str) -> String {
    let odd =
        |character: char| character.is_control() || matches!(character, '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|');
    let text: String = part.chars().map(|character| if odd(character) { '_' } else { character }).collect();
    // A leading dot hides a file, and a trailing one is lost on other systems.
    text.trim_end_matches(['.', ' ']).replacen('.', "_", usize::from(text.starts_with('.')))
}

/// A name before its ending, and the ending with its dot.
fn split(path: &str) -> (&str, &str) {
    let name = path.rfind('/').map_or(0, |slash| slash + 1);
    match path.rfind('.') {
        Some(dot) if dot > name => path.split_at(dot),
        _ => (path, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_pictures_never_have_one_name() {
        let mut names = Names::default();
        names.take("A.JPG");
        let chosen = ["a.jpg", "b/a.jpg", "a.jpg", "B/A.jpg", "c.d/e"].map(|name| names.choose(name));
        assert_eq!(chosen, ["a-2.jpg", "b/a.jpg", "a-3.jpg", "B/A-2.jpg", "c.d/e"]);
    }

    #[test]
    fn keys_stay_below_the_destination_and_say_what_they_are() {
        let jpeg = |path| key(path, &["jpg", "jpeg"]);
        let cases = [
            ("DCIM/100/IMG_1.JPG", "DCIM/100/IMG_1.JPG"),
            ("a.jpeg", "a.jpeg"),
            ("a.heic", "a.jpg"),
            ("a.b.tiff", "a.b.jpg"),
            ("../../etc/x", "etc/x.jpg"),
            ("..", "photo.jpg"),
            (".hidden.jpg", "_hidden.jpg"),
            ("a\n\x1b[2J?.jpg", "a__[2J_.jpg"),
            ("dot./a.jpg", "dot/a.jpg"),
        ];
        for (path, expected) in cases {
            assert_eq!(jpeg(path), expected, "{path:?}");
        }
    }
}
