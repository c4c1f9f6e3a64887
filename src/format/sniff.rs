//! What bytes are by their content, whatever they are called.

/// Bytes of a head that are enough to tell.
pub const HEAD: usize = 512;

/// Marks at the start of a file, and what it then is.
const MARKS: [(usize, &[u8], &str); 26] = [
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"GIF8", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (8, b"WAVE", "audio/wav"),
    (8, b"AVI ", "video/x-msvideo"),
    (0, b"II*\0", "image/tiff"),
    (0, b"MM\0*", "image/tiff"),
    (4, b"ftypheic", "image/heic"),
    (4, b"ftypmif1", "image/heif"),
    (4, b"ftypavif", "image/avif"),
    (4, b"ftypM4A", "audio/mp4"),
    (4, b"ftypqt", "video/quicktime"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1a\x45\xdf\xa3", "video/x-matroska"),
    (0, b"OggS", "application/ogg"),
    (0, b"fLaC", "audio/flac"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"\xff\xfb", "audio/mpeg"),
    (0, b"FLV\x01", "video/x-flv"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"PK\x03\x04", "application/zip"),
    (0, b"\x1f\x8b", "application/gzip"),
    (0, b"\x28\xb5\x2f\xfd", "application/zstd"),
    (257, b"ustar", "application/x-tar"),
    (0, b"SQLite format 3\0", "application/vnd.sqlite3"),
];

/// The media type of a file by its head; `None` where nothing tells.
pub fn media_type(head: &[u8]) -> Option<&'static str> {
    let found = MARKS.iter().find(|(at, mark, _)| head.get(*at..).is_some_and(|rest| rest.starts_with(mark)));
    if let Some((_, _, media_type)) = found {
        return Some(media_type);
    }
    if head.first() == Some(&0x47) && head.get(188) == Some(&0x47) {
        return Some("video/mp2t");
    }
    text(head)
}

/// Whether ffprobe has something to say of such a file.
pub fn has_timeline(media_type: &str) -> bool {
    media_type.starts_with("video/") || media_type.starts_with("audio/") || media_type == "application/ogg"
}

fn text(head: &[u8]) -> Option<&'static str> {
    // The head may end within a character.
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => std::str::from_utf8(head.get(..error.valid_up_to())?).ok()?,
        Err(_) => return None,
    };
    let odd = |character: char| character.is_control() && !matches!(character, '\n' | '\r' | '\t');
    if text.trim().is_empty() || text.contains(odd) {
        return None;
    }
    let begin = text.trim_start().to_ascii_lowercase();
    let starts = |words: &[&str]| words.iter().any(|word| begin.starts_with(word));
    Some(match () {
        () if starts(&["<!doctype html", "<html"]) => "text/html",
        () if starts(&["<svg"]) => "image/svg+xml",
        () if starts(&["<?xml"]) => "text/xml",
        () if starts(&["{\"", "{\n", "[{", "[\n"]) => "application/json",
        () => "text/plain",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_tell_what_they_are() {
        let cases: [(&[u8], Option<&str>); 9] = [
            (b"\xff\xd8\xff\xe0", Some("image/jpeg")),
            (b"\0\0\0\x18ftypisom", Some("video/mp4")),
            (b"RIFF\0\0\0\0WEBP", Some("image/webp")),
            (b"  <!DOCTYPE html>", Some("text/html")),
            (b"{\"a\":1}", Some("application/json")),
            ("gr\u{fc}n".as_bytes(), Some("text/plain")),
            (b"gr\xc3", Some("text/plain")),
            (b"\0\x01\x02", None),
            (b"", None),
        ];
        for (head, expected) in cases {
            assert_eq!(media_type(head), expected, "{head:?}");
        }
        let stream = [&[0x47][..], &[0; 187], &[0x47]].concat();
        assert_eq!(media_type(&stream), Some("video/mp2t"));
    }
}
