//! TIFF as far as it is asked here: whether a file holds more than one picture.

/// The tag that says what a picture is for.
const KIND_OF_PICTURE: u16 = 254;

/// The bit of that tag by which a picture is a small copy of another.
const SMALL_COPY: u32 = 1;

/// Pictures that are looked at: chains that bite their tail end here.
const MOST_PAGES: usize = 16;

/// Whether a TIFF holds another picture behind its first that is no small copy of it.
pub fn has_more_pages(bytes: &[u8]) -> bool {
    let Some(file) = File::new(bytes) else { return false };
    let mut at = file.long(4);
    for page in 0..MOST_PAGES {
        let Some(directory) = at.filter(|at| *at != 0).and_then(|at| usize::try_from(at).ok()) else { return false };
        let Some(entries) = file.short(directory).map(usize::from) else { return false };
        if page > 0 && !file.is_small_copy(directory, entries) {
            return true;
        }
        at = file.long(directory + 2 + 12 * entries);
    }
    false
}

struct File<'a> {
    bytes: &'a [u8],
    little: bool,
}

impl<'a> File<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        match bytes {
            [b'I', b'I', b'*', 0, ..] => Some(Self { bytes, little: true }),
            [b'M', b'M', 0, b'*', ..] => Some(Self { bytes, little: false }),
            _ => None,
        }
    }

    fn is_small_copy(&self, directory: usize, entries: usize) -> bool {
        let mut places = (0..entries).map(|entry| directory + 2 + 12 * entry);
        let found = places.find(|at| self.short(*at) == Some(KIND_OF_PICTURE));
        found.and_then(|at| self.long(at + 8)).is_some_and(|kind| kind & SMALL_COPY != 0)
    }

    fn short(&self, at: usize) -> Option<u16> {
        let bytes = self.bytes.get(at..)?.first_chunk()?;
        Some(if self.little { u16::from_le_bytes(*bytes) } else { u16::from_be_bytes(*bytes) })
    }

    fn long(&self, at: usize) -> Option<u32> {
        let bytes = self.bytes.get(at..)?.first_chunk()?;
        Some(if self.little { u32::from_le_bytes(*bytes) } else { u32::from_be_bytes(*bytes) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of directories with one entry each: the kind of its picture.
    fn file(kinds: &[u32]) -> Vec<u8> {
        let mut bytes = b"MM\0*\0\0\0\x08".to_vec();
        for (number, kind) in (1_u32..).zip(kinds) {
            let next = if number as usize == kinds.len() { 0 } else { 8 + 18 * number };
            bytes.extend([0, 1, 0, 254, 0, 4, 0, 0, 0, 1]);
            bytes.extend(kind.to_be_bytes());
            bytes.extend(next.to_be_bytes());
        }
        bytes
    }

    #[test]
    fn pages_are_told_from_small_copies() {
        for (kinds, more) in [(&[0][..], false), (&[0, 1], false), (&[0, 0], true), (&[0, 1, 2], true)] {
            assert_eq!(has_more_pages(&file(kinds)), more, "{kinds:?}");
        }
        let mut circle = file(&[1]);
        circle.splice(22..26, 8_u32.to_be_bytes());
        for broken in [circle.as_slice(), b"II*\0", b"II*\0\xff\xff\xff\xff", b""] {
            assert!(!has_more_pages(broken), "{broken:?}");
        }
    }
}
