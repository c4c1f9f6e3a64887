//! GIF as far as it is asked here: how many pictures a file holds, and whether it is whole.

/// What a walk over the blocks of a file finds, without a look at its pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gif {
    /// Its pictures; more than one are a film.
    pub frames: usize,
    /// Whether it ends where a file may end.
    pub is_whole: bool,
}

/// Bytes before the first table of colours or block.
const HEADER: usize = 13;

impl Gif {
    /// Walks over a file.
    pub fn read(bytes: &[u8]) -> Self {
        let mut gif = Self { frames: 0, is_whole: false };
        let mut at = bytes.get(10).map(|packed| HEADER + colours(*packed));
        while let Some(block) = at {
            // Some writers leave out the last byte, and some put zeros before it.
            gif.is_whole = matches!(bytes.get(block), None | Some(b';')) && block <= bytes.len() && gif.frames > 0;
            at = match bytes.get(block) {
                Some(0) => Some(block + 1),
                Some(b'!') => after_parts(bytes, block + 2),
                Some(b',') => {
                    gif.frames += 1;
                    bytes.get(block + 9).and_then(|packed| after_parts(bytes, block + 11 + colours(*packed)))
                }
                _ => None,
            };
        }
        gif
    }
}

/// Bytes of the table of colours that these flags announce.
fn colours(packed: u8) -> usize {
    if packed & 0x80 == 0 { 0 } else { 6 << (packed & 7) }
}

/// Where the parts that begin at `at` end, each with its length before it and an empty one at last.
fn after_parts(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1 + length;
        if length == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with a table of two colours, a comment, and as many pictures of one pixel.
    fn file(frames: usize) -> Vec<u8> {
        let frame = b",\0\0\0\0\x01\0\x01\0\x80\0\0\0\xff\xff\xff\x02\x02D\x01\0";
        [&b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff!\xfe\x03a;b\0"[..], &frame.repeat(frames), b";"].concat()
    }

    #[test]
    fn pictures_are_counted_and_what_is_cut_off_is_told() {
        for frames in [1, 2, 5] {
            assert_eq!(Gif::read(&file(frames)), Gif { frames, is_whole: true });
        }
        let whole = file(1);
        for cut in 0..whole.len() - 1 {
            assert!(!Gif::read(whole.get(..cut).unwrap()).is_whole, "{cut}");
        }
        assert!(Gif::read(whole.get(..whole.len() - 1).unwrap()).is_whole, "only the mark of the end is missing");
        assert!(!Gif::read(&file(0)).is_whole);
    }
}
