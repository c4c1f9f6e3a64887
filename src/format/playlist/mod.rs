//! Reads HLS playlists, line by line and without losing anything, and says
//! what in them is against the format.

pub mod attribute;
pub mod line;
pub mod master;
pub mod media;

/// Something in a playlist that is against the format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The rule it breaks, such as `R03`.
    pub rule: &'static str,
    /// Number of the line, from 1.
    pub line: usize,
    /// What is wrong, one clause.
    pub what: String,
}

impl Problem {
    /// A problem with the line `line`.
    pub fn new(rule: &'static str, line: usize, what: impl Into<String>) -> Self {
        Self { rule, line, what: what.into() }
    }
}

/// A playlist of either kind, with everything that is wrong in it.
#[derive(Clone, Debug)]
pub struct Playlist {
    /// All lines, in order.
    pub lines: Vec<line::Line>,
    /// What the lines mean.
    pub kind: Kind,
    /// What is against the format, in no order.
    pub problems: Vec<Problem>,
}

/// What a playlist lists.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Variants and renditions.
    Master(master::Master),
    /// Segments.
    Media(media::Media),
}

/// Reads a playlist. A file that lists nothing gives an empty master playlist.
pub fn read(bytes: &[u8]) -> Playlist {
    let mut problems = Vec::new();
    let lines = line::split(bytes, &mut problems);
    line::check(&lines, &mut problems);
    let has = |test: fn(&str) -> bool| lines.iter().any(|line| line.tag_name().is_some_and(test));
    let kind = if has(line::only_in_media) && !has(line::only_in_master) {
        Kind::Media(media::read(&lines, &mut problems))
    } else {
        Kind::Master(master::read(&lines, &mut problems))
    };
    Playlist { lines, kind, problems }
}
