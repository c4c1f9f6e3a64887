//! Media of a destination that is a folder: ranges, right types, and nothing
//! that is not part of a package.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::IntoResponse as _;
use futures_util::stream;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::problem::{Answer, Problem};
use super::token::Scope;
use super::{Site, grant, guest, keys, now};

/// The type of playlists, which are written anew for a grant.
const PLAYLIST: &str = "application/vnd.apple.mpegurl";

/// What is served, by its ending.
const TYPES: &[(&str, &str)] = &[
    ("m3u8", PLAYLIST),
    ("mpd", "application/dash+xml"),
    ("ts", "video/mp2t"),
    ("m4s", "video/iso.segment"),
    ("mp4", "video/mp4"),
    ("m4a", "audio/mp4"),
    ("aac", "audio/aac"),
    ("vtt", "text/vtt; charset=utf-8"),
    ("jpg", "image/jpeg"),
    ("png", "image/png"),
    ("webp", "image/webp"),
    ("json", "application/json"),
];

/// Largest playlist that is written anew for a grant.
const LONGEST_PLAYLIST: u64 = 16 << 20;

/// Bytes that are read at once.
const PIECE: usize = 256 * 1024;

/// `GET /media/{*path}`: for who may read, or everybody if the settings say so.
pub(super) async fn media(
    State(site): State<Arc<Site>>,
    Path(path): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Answer {
    if !site.settings.public_media {
        let guest = guest::recognise(&site, &headers).await?;
        if !guest.is_some_and(|guest| guest.token.may(Scope::Read)) {
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "media need a token that may read, or a grant"));
        }
    }
    let cached = if site.settings.public_media { "public" } else { "private" };
    file(&site, &path, &method, &headers, cached).await
}

/// `GET /play/{grant}/{*path}`: for who was given a grant. Playlists lead to keys with the same grant.
pub(super) async fn play(
    State(site): State<Arc<Site>>,
    Path((signed, path)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Answer {
    let granted = grant::read(&site.secret, keys::PURPOSE, &signed, now());
    let video = granted.ok_or_else(|| Problem::new(StatusCode::FORBIDDEN, "the grant is not valid, or over"))?;
    if path.split('/').next() != Some(video.as_str()) {
        return Err(Problem::new(StatusCode::FORBIDDEN, "the grant is for another video"));
    }
    if content_type(&path) != Some(PLAYLIST) {
        return file(&site, &path, &method, &headers, "private").await;
    }
    let place = locate(&site, &path).await?;
    let text = tokio::fs::read(&place).await.map_err(|_| Problem::missing("file"))?;
    if text.len() as u64 > LONGEST_PLAYLIST {
        return Err(Problem::missing("file"));
    }
    let text = with_grant(&String::from_utf8_lossy(&text), &signed);
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PLAYLIST));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Ok(response)
}

/// The playlist with the grant in every key's address.
fn with_grant(playlist: &str, grant: &str) -> String {
    let line = |line: &str| {
        if !line.starts_with("#EXT-X-KEY:") && !line.starts_with("#EXT-X-SESSION-KEY:") {
            return line.to_owned();
        }
        let Some((before, rest)) = line.split_once("URI=\"") else { return line.to_owned() };
        let Some((uri, after)) = rest.split_once('"') else { return line.to_owned() };
        let joint = if uri.contains('?') { '&' } else { '?' };
        format!("{before}URI=\"{uri}{joint}grant={grant}\"{after}")
    };
    playlist.lines().flat_map(|text| [line(text), "\n".to_owned()]).collect()
}

/// The file that a path names, if it is one of a package.
async fn locate(site: &Site, path: &str) -> Answer<PathBuf> {
    let Some(folder) = &site.settings.media else { return Err(Problem::missing("file")) };
    if !is_plain(path) || content_type(path).is_none() {
        return Err(Problem::missing("file"));
    }
    // Links that lead out of the folder are not followed.
    let real = |path: PathBuf| async move { tokio::fs::canonicalize(path).await.map_err(|_| Problem::missing("file")) };
    let (folder, file) = (real(folder.clone()).await?, real(folder.join(path)).await?);
    if file.starts_with(&folder) { Ok(file) } else { Err(Problem::missing("file")) }
}

/// Names of letters, digits, `.`, `_` and `-`, none of which begins with a dot.
fn is_plain(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    path.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && part.bytes().all(plain))
}

fn content_type(path: &str) -> Option<&'static str> {
    let ending = FilePath::new(path).extension()?.to_str()?;
    TYPES.iter().find(|(known, _)| *known == ending).map(|(_, kind)| *kind)
}

async fn file(site: &Site, path: &str, method: &Method, headers: &HeaderMap, cached: &str) -> Answer {
    let place = locate(site, path).await?;
    let opened = tokio::fs::File::open(&place).await.map_err(|_| Problem::missing("file"))?;
    let meta = opened.metadata().await.map_err(|_| Problem::missing("file"))?;
    if !meta.is_file() {
        return Err(Problem::missing("file"));
    }
    let length = meta.len();
    let modified = meta.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    let tag = format!("\"{length:x}-{:x}\"", modified.unwrap_or_default().as_millis());
    // Only the pointers change; all else has a name of its own.
    let pointer = path.ends_with("/master.m3u8") || path.ends_with("/manifest.mpd");
    let caching =
        if pointer { format!("{cached}, no-cache") } else { format!("{cached}, max-age=31536000, immutable") };
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let range = if known { Ok(None) } else { range(headers, length, &tag) };
    let (status, part) = match range {
        Err(()) => (StatusCode::RANGE_NOT_SATISFIABLE, None),
        Ok(None) if known => (StatusCode::NOT_MODIFIED, None),
        Ok(None) => (StatusCode::OK, Some((0, length))),
        Ok(Some(part)) => (StatusCode::PARTIAL_CONTENT, Some(part)),
    };
    let body = match part {
        Some((from, to)) if *method != Method::HEAD => stream_part(opened, from, to - from).await?,
        _ => Body::empty(),
    };
    let mut response = (status, body).into_response();
    let answer = response.headers_mut();
    let mut put = |name, value: &str| answer.extend(HeaderValue::try_from(value).ok().map(|value| (name, value)));
    put(header::ACCEPT_RANGES, "bytes");
    put(header::ETAG, &tag);
    put(header::CACHE_CONTROL, &caching);
    match (status, part) {
        (StatusCode::RANGE_NOT_SATISFIABLE, _) => put(header::CONTENT_RANGE, &format!("bytes */{length}")),
        (StatusCode::PARTIAL_CONTENT, Some((from, to))) => {
            put(header::CONTENT_RANGE, &format!("bytes {from}-{}/{length}", to - 1));
        }
        _ => {}
    }
    if let Some((from, to)) = part {
        put(header::CONTENT_LENGTH, &(to - from).to_string());
        put(header::CONTENT_TYPE, content_type(path).unwrap_or("application/octet-stream"));
    }
    Ok(response)
}

/// The one range that is asked for; all for several, which no player asks for.
fn range(headers: &HeaderMap, size: u64, tag: &str) -> Result<Option<(u64, u64)>, ()> {
    let Some(text) = headers.get(header::RANGE).and_then(|value| value.to_str().ok()) else { return Ok(None) };
    let changed = headers.get(header::IF_RANGE).is_some_and(|known| known.as_bytes() != tag.as_bytes());
    let Some(text) = text.strip_prefix("bytes=").filter(|text| !changed && !text.contains(',')) else {
        return Ok(None);
    };
    let Some((from, to)) = text.split_once('-') else { return Ok(None) };
    let (from, to) = match (from.trim().parse::<u64>(), to.trim().parse::<u64>()) {
        (Ok(from), Ok(to)) if from <= to => (from, to.saturating_add(1).min(size)),
        (Ok(from), Err(_)) if to.trim().is_empty() => (from, size),
        (Err(_), Ok(last)) if from.trim().is_empty() => (size.saturating_sub(last), size),
        _ => return Ok(None),
    };
    if from < to { Ok(Some((from, to))) } else { Err(()) }
}

async fn stream_part(mut file: tokio::fs::File, from: u64, bytes: u64) -> Answer<Body> {
    if from > 0 {
        file.seek(std::io::SeekFrom::Start(from)).await.map_err(|_| Problem::missing("file"))?;
    }
    let pieces = stream::try_unfold((file, bytes), |(mut file, left)| async move {
        if left == 0 {
            return Ok::<_, std::io::Error>(None);
        }
        let mut piece = vec![0; PIECE.min(usize::try_from(left).unwrap_or(PIECE))];
        let read = file.read(&mut piece).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        piece.truncate(read);
        Ok(Some((Bytes::from(piece), (file, left - read as u64))))
    });
    Ok(Body::from_stream(pieces))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_files_of_packages_alone() {
        for good in ["film/master.m3u8", "a-b_c.d/0f/720p/00001.ts"] {
            assert!(is_plain(good) && content_type(good).is_some(), "{good}");
        }
        for bad in ["../x.ts", "a/../../x.ts", "a//x.ts", ".forebay/x.ts", "a/.hidden.ts", "", "a/\0.ts", "a\\..\\x.ts"]
        {
            assert!(!is_plain(bad), "{bad}");
        }
        for bad in ["a/master.key", "a/queue.db", "a/x.html", "a/x.svg", "a/x", "a/x.TS"] {
            assert!(content_type(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn ranges_are_read_as_players_write_them() {
        let asked = |text: &str| {
            let headers: HeaderMap = [(header::RANGE, text.parse().unwrap())].into_iter().collect();
            range(&headers, 100, "\"t\"")
        };
        for (text, expected) in [
            ("bytes=0-9", Ok(Some((0, 10)))),
            ("bytes=90-", Ok(Some((90, 100)))),
            ("bytes=-5", Ok(Some((95, 100)))),
            ("bytes=50-1000", Ok(Some((50, 100)))),
            ("bytes=100-", Err(())),
            ("bytes=-0", Err(())),
            ("bytes=9-1", Ok(None)),
            ("bytes=0-1,5-6", Ok(None)),
            ("lines=1-2", Ok(None)),
            ("bytes=18446744073709551615-18446744073709551615", Err(())),
        ] {
            assert_eq!(asked(text), expected, "{text}");
        }
    }

    #[test]
    fn keys_are_led_to_with_the_grant() {
        let playlist = "#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\"/keys/a/b\",IV=0x00\n#EXTINF:6,\n00000.ts\n";
        let expected = "#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\"/keys/a/b?grant=g\",IV=0x00\n#EXTINF:6,\n00000.ts\n";
        assert_eq!(with_grant(playlist, "g"), expected);
    }
}
