//! What bytes are by the look of them: media, a playlist, or a text that is neither.

/// What a body is, by its first bytes and its declared type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looks {
    /// Media, or bytes that only ffprobe can judge.
    Media,
    /// A playlist of segments.
    Manifest,
    /// Text of this kind.
    Text(&'static str),
}

/// How many bytes [`looks`] wants to see.
pub(super) const HEAD: usize = 512;

/// Judges a body. Magic bytes win over the declared type, which is often wrong for media.
pub(super) fn looks(content_type: &str, head: &[u8]) -> Looks {
    if has_media_magic(head) {
        return Looks::Media;
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let lower = text.to_ascii_lowercase();
    let holds = |needle: &[u8]| lower.windows(needle.len()).any(|window| window == needle);
    match () {
        () if text.starts_with(b"#EXTM3U") => Looks::Manifest,
        () if lower.starts_with(b"<") && holds(b"<mpd") => Looks::Manifest,
        () if lower.starts_with(b"<") && (holds(b"<html") || holds(b"<!doctype html")) => Looks::Text("an HTML page"),
        () if lower.starts_with(b"<?xml") || lower.starts_with(b"<error") => Looks::Text("an XML text"),
        () if lower.starts_with(b"<") && content_type.contains("xml") => Looks::Text("an XML text"),
        () if lower.starts_with(b"<") => Looks::Text("an HTML page"),
        () if (text.starts_with(b"{") || text.starts_with(b"[")) && is_text(text) => Looks::Text("a JSON text"),
        () if content_type.contains("html") => Looks::Text("an HTML page"),
        () if content_type.contains("json") => Looks::Text("a JSON text"),
        () if content_type.starts_with("text/") && is_text(text) => Looks::Text("a text"),
        () => Looks::Media,
    }
}

fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte >= 0x20 || byte.is_ascii_whitespace())
}

fn has_media_magic(head: &[u8]) -> bool {
    let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    let boxes: [&[u8]; 7] = [b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp"];
    let starts: [&[u8]; 9] = [
        b"\x1a\x45\xdf\xa3",
        b"RIFF",
        b"FLV\x01",
        b"OggS",
        b"\x00\x00\x01\xba",
        b"\x00\x00\x01\xb3",
        b"\x30\x26\xb2\x75",
        b".RMF",
        b"\x06\x0e\x2b\x34",
    ];
    boxes.iter().any(|magic| at(4, magic))
        || starts.iter().any(|magic| at(0, magic))
        || (at(0, b"\x47") && at(188, b"\x47"))
        || (at(4, b"\x47") && at(196, b"\x47"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_what_they_look_like() {
        let mut ts = vec![0; 400];
        (ts[0], ts[188]) = (0x47, 0x47);
        let cases: [(&str, &[u8], Looks); 13] = [
            ("text/html", b"\x00\x00\x00\x18ftypmp42", Looks::Media),
            ("text/plain", &ts, Looks::Media),
            ("video/mp4", b"  <!DOCTYPE html><html>", Looks::Text("an HTML page")),
            ("video/mp4", b"\xef\xbb\xbf<html lang=en>", Looks::Text("an HTML page")),
            ("video/mp4", b"<?xml version='1.0'?><Error><Code>AccessDenied", Looks::Text("an XML text")),
            ("application/xml", b"<rss><channel>", Looks::Text("an XML text")),
            ("application/json", b"{\"error\":1}", Looks::Text("a JSON text")),
            ("video/mp4", b"[1,2]", Looks::Text("a JSON text")),
            ("video/mp4", b"[\x00\x01\x02]", Looks::Media),
            ("text/plain", b"#EXTM3U\n#EXT-X-VERSION:3", Looks::Manifest),
            ("application/dash+xml", b"<?xml version='1.0'?>\n<MPD xmlns=''>", Looks::Manifest),
            ("text/plain; charset=utf-8", b"not found", Looks::Text("a text")),
            ("application/octet-stream", b"anything", Looks::Media),
        ];
        for (content_type, head, wanted) in cases {
            assert_eq!(looks(content_type, head), wanted, "{content_type} {head:?}");
        }
    }
}
