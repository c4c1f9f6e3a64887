//! What bytes are by the look of them: media, a playlist, a picture, or a text that is none of these.

/// What a body is, by its first bytes and its declared type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looks {
    /// Media, or bytes that only ffprobe can judge.
    Media,
    /// A playlist of segments.
    Manifest,
    /// Text of this kind.
    Text(&'static str),
    /// A still picture of this kind.
    Image(&'static str),
}

/// The kind of text that may lead to media.
pub const PAGE: &str = "an HTML page";

/// How many bytes [`looks`] wants to see.
pub const HEAD: usize = 512;

/// Judges a body. Magic bytes win over the declared type, which is often wrong for media.
pub fn looks(content_type: &str, head: &[u8]) -> Looks {
    if let Some(looks) = animation(head) {
        return looks;
    }
    if let Some(kind) = image(head) {
        return Looks::Image(kind);
    }
    if has_media_magic(head) {
        return Looks::Media;
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let lower = text.to_ascii_lowercase();
    if let Some(looks) = script(&lower) {
        return looks;
    }
    match () {
        () if lower.starts_with(b"<") => markup(content_type, &lower),
        () if (text.starts_with(b"{") || text.starts_with(b"[")) && is_text(text) => Looks::Text("a JSON text"),
        () if content_type.contains("html") => Looks::Text(PAGE),
        () if content_type.contains("json") => Looks::Text("a JSON text"),
        () if content_type.starts_with("text/") && is_text(text) => Looks::Text("a text"),
        () => Looks::Media,
    }
}

/// Texts that make a careless reader open what they name.
fn script(lower: &[u8]) -> Option<Looks> {
    match () {
        () if lower.starts_with(b"#extm3u") => Some(Looks::Manifest),
        () if lower.starts_with(b"ffconcat") || lower.starts_with(b"file '") => Some(Looks::Text("a concat script")),
        () if lower.starts_with(b"[playlist]") => Some(Looks::Text("a playlist")),
        () if lower.starts_with(b"v=0") && holds(lower, b"m=") => Some(Looks::Text("a session description (SDP)")),
        () => None,
    }
}

fn markup(content_type: &str, lower: &[u8]) -> Looks {
    match () {
        () if holds(lower, b"<mpd") => Looks::Manifest,
        () if holds(lower, b"<html") || holds(lower, b"<!doctype html") => Looks::Text(PAGE),
        () if holds(lower, b"<svg") => Looks::Text("an SVG drawing"),
        () if lower.starts_with(b"<?xml") || lower.starts_with(b"<error") => Looks::Text("an XML text"),
        () if content_type.contains("xml") => Looks::Text("an XML text"),
        () => Looks::Text(PAGE),
    }
}

fn holds(text: &[u8], needle: &[u8]) -> bool {
    text.windows(needle.len()).any(|window| window == needle)
}

/// Pictures that move in a file like that of one that stands still: `acTL` before the first picture of a PNG, and
/// the second bit of the flags of a WebP, which ffmpeg cannot read.
fn animation(head: &[u8]) -> Option<Looks> {
    let webp = head.get(8..16) == Some(b"WEBPVP8X".as_slice()) && head.get(20).is_some_and(|flags| flags & 2 != 0);
    match () {
        () if head.starts_with(b"\x89PNG\r\n") && holds(head, b"acTL") => Some(Looks::Media),
        () if webp => Some(Looks::Text("an animated WebP")),
        () => None,
    }
}

/// Pictures that stand still. A GIF may move: what it holds tells.
fn image(head: &[u8]) -> Option<&'static str> {
    let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    let still: [&[u8]; 6] = [b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif"];
    match () {
        () if at(0, b"\x89PNG\r\n") => Some("PNG"),
        () if at(0, b"\xff\xd8\xff") => Some("JPEG"),
        () if at(0, b"RIFF") && at(8, b"WEBP") => Some("WebP"),
        () if at(0, b"II*\0") || at(0, b"MM\0*") => Some("TIFF"),
        () if at(0, b"8BPS") => Some("Photoshop"),
        () if at(0, b"BM") && at(6, b"\0\0\0\0") => Some("BMP"),
        () if at(4, b"ftyp") && still.iter().any(|brand| at(8, brand)) => Some("HEIF"),
        () => None,
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
        let cases: [(&str, &[u8], Looks); 24] = [
            ("text/html", b"\x00\x00\x00\x18ftypmp42", Looks::Media),
            ("text/plain", &ts, Looks::Media),
            ("video/mp4", b"  <!DOCTYPE html><html>", Looks::Text(PAGE)),
            ("video/mp4", b"\xef\xbb\xbf<html lang=en>", Looks::Text(PAGE)),
            ("video/mp4", b"<?xml version='1.0'?><Error><Code>AccessDenied", Looks::Text("an XML text")),
            ("application/xml", b"<rss><channel>", Looks::Text("an XML text")),
            ("application/json", b"{\"error\":1}", Looks::Text("a JSON text")),
            ("video/mp4", b"[1,2]", Looks::Text("a JSON text")),
            ("video/mp4", b"[\x00\x01\x02]", Looks::Media),
            ("text/plain", b"#EXTM3U\n#EXT-X-VERSION:3", Looks::Manifest),
            ("application/dash+xml", b"<?xml version='1.0'?>\n<MPD xmlns=''>", Looks::Manifest),
            ("text/plain; charset=utf-8", b"not found", Looks::Text("a text")),
            ("application/octet-stream", b"anything", Looks::Media),
            ("video/mp4", b"ffconcat version 1.0\nfile x", Looks::Text("a concat script")),
            ("video/mp4", b"[playlist]\nFile1=x", Looks::Text("a playlist")),
            ("video/mp4", b"v=0\r\no=- 0 0\r\nm=video 5004", Looks::Text("a session description (SDP)")),
            ("video/mp4", b"<?xml version='1.0'?><svg><image/>", Looks::Text("an SVG drawing")),
            ("video/mp4", b"\x89PNG\r\n\x1a\n", Looks::Image("PNG")),
            ("image/png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x08acTL", Looks::Media),
            ("image/webp", b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\x12\0\0\0", Looks::Text("an animated WebP")),
            ("image/webp", b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\x10\0\0\0", Looks::Image("WebP")),
            ("video/mp4", b"\0\0\0\x18ftypavif", Looks::Image("HEIF")),
            ("video/mp4", b"\0\0\0\x18ftypavis", Looks::Media),
            ("video/mp4", b"RIFF\0\0\0\0AVI LIST", Looks::Media),
        ];
        for (content_type, head, wanted) in cases {
            assert_eq!(looks(content_type, head), wanted, "{content_type} {head:?}");
        }
    }
}
