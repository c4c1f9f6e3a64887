//! One line of a list: what it names, and what it says about it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use serde_saphyr::Spanned;
use url::Url;

use crate::model::failure::Failure;
use crate::model::id;
use crate::model::item::{Item, Locator};
use crate::storage::open::Stores;

use super::{folder, place};

/// What a line gave: items still without a number, some of which may be in error.
pub(super) type Drafts = Result<Vec<Result<Item, String>>, String>;

const KEYS: &[&str] = &["url", "input", "id", "title", "ladder", "headers", "priority"];

/// Headers that the fetch itself decides.
const OURS: &[&str] = &[
    "accept-encoding",
    "connection",
    "content-length",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "range",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// A line that is nothing but an input.
pub(super) fn plain(bytes: &[u8], stores: &Stores) -> Drafts {
    let items = locate(bytes, stores)?;
    Ok(items.into_iter().map(|locator| locator.map(|locator| Item::new(0, locator))).collect())
}

/// A line of JSON: a string or an object.
pub(super) fn json(bytes: &[u8], stores: &Stores) -> Drafts {
    value(serde_json::from_slice(bytes).map_err(|error| format!("not valid JSON: {error}"))?, stores)
}

/// A YAML document: each entry with its line.
pub(super) fn yaml(text: &str, stores: &Stores) -> Result<Vec<(u64, Drafts)>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.lines().all(|line| line.trim_start().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Vec::new());
    }
    let entries: Vec<Spanned<Value>> = serde_saphyr::from_str(text).map_err(|error| {
        let error = error.to_string();
        let first = error.lines().next().unwrap_or_default();
        format!("not a YAML sequence of inputs (`- https://…`): {first}")
    })?;
    Ok(entries.into_iter().map(|entry| (entry.referenced.line(), value(entry.value, stores))).collect())
}

fn value(value: Value, stores: &Stores) -> Drafts {
    match value {
        Value::String(text) => plain(text.as_bytes(), stores),
        Value::Object(map) => object(&map, stores),
        _ => Err("neither an input nor a map with `url`".into()),
    }
}

fn object(map: &Map<String, Value>, stores: &Stores) -> Drafts {
    if let Some(key) = map.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(format!("unknown key `{}`; did you mean `{}`?", key.escape_debug(), nearest(key)));
    }
    let input = match (text(map, "url")?, text(map, "input")?) {
        (Some(input), None) | (None, Some(input)) => input,
        (Some(_), Some(_)) => return Err("has both `url` and `input`, which mean the same".into()),
        (None, None) => return Err("has no `url`".into()),
    };
    let mut drafts = plain(input.as_bytes(), stores)?;
    let id = text(map, "id")?;
    if let Some(id) = id.as_ref().filter(|id| !id::check(id)) {
        return Err(format!(
            "the id `{}` must be at most {} letters, digits, `.`, `_` or `-`, and begin with a letter or digit",
            id.escape_debug(),
            id::LONGEST
        ));
    }
    if id.is_some() && drafts.len() > 1 {
        return Err("a folder of several videos cannot have one id".into());
    }
    let title = text(map, "title")?;
    if title.as_ref().is_some_and(|title| title.chars().any(char::is_control)) {
        return Err("`title` holds control characters".into());
    }
    let (ladder, headers, priority) = (ladder(map)?, headers(map)?, priority(map)?);
    for item in drafts.iter_mut().flatten() {
        (item.id, item.title, item.ladder) = (id.clone(), title.clone(), ladder.clone());
        (item.headers, item.priority) = (headers.clone(), priority);
    }
    Ok(drafts)
}

fn text(map: &Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(_) | Value::Bool(_)) => Err(format!("`{key}` must be text: put it in quotes")),
        Some(_) => Err(format!("`{key}` must be text")),
    }
}

fn ladder(map: &Map<String, Value>) -> Result<Option<String>, String> {
    let Some(Value::Array(rungs)) = map.get("ladder") else { return text(map, "ladder") };
    let rungs: Option<Vec<_>> = rungs.iter().map(Value::as_str).collect();
    rungs.map(|rungs| Some(rungs.join(","))).ok_or_else(|| "`ladder` must be text or a list of rungs".into())
}

fn priority(map: &Map<String, Value>) -> Result<i32, String> {
    let Some(value) = map.get("priority") else { return Ok(0) };
    let number = value.as_i64().and_then(|number| i32::try_from(number).ok());
    number.ok_or_else(|| "`priority` must be a whole number".into())
}

fn headers(map: &Map<String, Value>) -> Result<BTreeMap<String, String>, String> {
    let headers = match map.get("headers") {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::Object(headers)) => headers,
        Some(_) => return Err("`headers` must be a map of names to values".into()),
    };
    let mut checked = BTreeMap::new();
    for (name, value) in headers {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(token) {
            return Err(format!("`{}` is not the name of a header", name.escape_debug()));
        }
        if OURS.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(format!("the header `{name}` is set by the download itself"));
        }
        // The value may be secret, so no message shows it.
        let value = value.as_str().ok_or_else(|| format!("the header `{name}` must be text"))?;
        if value.chars().any(char::is_control) {
            return Err(format!("the header `{name}` holds control characters"));
        }
        checked.insert(name.clone(), value.to_owned());
    }
    Ok(checked)
}

/// Whether this begins with `scheme://`.
pub(super) fn has_scheme(bytes: &[u8]) -> bool {
    scheme(bytes).is_some_and(|scheme| bytes.get(scheme.len()..).is_some_and(|rest| rest.starts_with(b"://")))
}

/// What stands before the first colon, if it can be the scheme of a URL.
fn scheme(bytes: &[u8]) -> Option<String> {
    let colon = bytes.iter().position(|&byte| byte == b':')?;
    let scheme = str::from_utf8(bytes.get(..colon)?).ok()?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte);
    let valid = scheme.starts_with(|first: char| first.is_ascii_alphabetic()) && scheme.bytes().all(allowed);
    valid.then(|| scheme.to_ascii_lowercase())
}

/// The inputs that one string names: one, or all videos of a folder.
fn locate(bytes: &[u8], stores: &Stores) -> Result<Vec<Result<Locator, String>>, String> {
    if bytes.contains(&0) {
        return Err("holds a zero byte, which no URL and no path can".into());
    }
    let path = Path::new(OsStr::from_bytes(bytes));
    let shown = super::shown(bytes);
    let scheme = scheme(bytes).unwrap_or_default();
    if has_scheme(bytes) && matches!(scheme.as_str(), "http" | "https") {
        return Ok(vec![Ok(Locator::Url(web(bytes, &shown)?))]);
    }
    if let Ok(text) = str::from_utf8(bytes)
        && (has_scheme(bytes) || path.symlink_metadata().is_err())
        && stores.is_place(text).map_err(|failure| said(&failure))?
    {
        let (place, key) = place::split(text);
        return Ok(vec![Ok(Locator::Object { place: place.into(), key: key.into() })]);
    }
    if has_scheme(bytes) || path.symlink_metadata().is_err() {
        if let Some(refusal) = refusal(&scheme, &shown) {
            return Err(refusal);
        }
        if has_scheme(bytes) {
            return Err(format!("`{scheme}://` is not a kind of input; URLs begin with http:// or https://"));
        }
    }
    match path.metadata() {
        Ok(about) if about.is_dir() => {
            Ok(folder::files(path).into_iter().map(|file| file.map(Locator::File)).collect())
        }
        Ok(about) if about.is_file() => Ok(vec![Ok(Locator::File(PathBuf::from(path)))]),
        Ok(_) => Err(format!("`{shown}` is not a regular file")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(format!("`{shown}` is not a URL, and there is no such file"))
        }
        Err(error) => Err(format!("could not look at `{shown}`: {error}")),
    }
}

/// Whether this is the address of a store, right or wrong.
pub(super) fn is_place(bytes: &[u8], stores: &Stores) -> bool {
    str::from_utf8(bytes).is_ok_and(|text| stores.is_place(text) != Ok(false))
}

/// A failure as one line, with what can be done about it.
pub(super) fn said(failure: &Failure) -> String {
    let hint = failure.hint.as_ref().map_or(String::new(), |hint| format!("; {hint}"));
    format!("{}{hint}", failure.what)
}

fn web(bytes: &[u8], shown: &str) -> Result<Url, String> {
    let text = str::from_utf8(bytes).map_err(|_| format!("`{shown}` is not a valid URL: it is not UTF-8"))?;
    let url = Url::parse(text).map_err(|error| format!("`{shown}` is not a valid URL: {error}"))?;
    Ok(url)
}

/// Why an input of this scheme is refused, if it is one that people try.
fn refusal(scheme: &str, shown: &str) -> Option<String> {
    match scheme {
        "file" => Some(format!("`{shown}`: give the path itself, without file://")),
        "ftp" | "ftps" | "rtmp" | "rtsp" | "data" | "javascript" | "about" | "blob" => {
            Some(format!("`{scheme}:` is refused as an input; URLs begin with http:// or https://"))
        }
        _ if scheme.contains("search") => Some(format!("`{scheme}:` searches are refused; list the videos one by one")),
        _ => None,
    }
}

/// The known key that is most like `key`.
fn nearest(key: &str) -> &'static str {
    KEYS.iter().min_by_key(|known| distance(key, known)).copied().unwrap_or("url")
}

/// How many characters must be changed, added or taken away to make `one` into `two`.
fn distance(one: &str, two: &str) -> usize {
    let two: Vec<char> = two.chars().collect();
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for (line, from) in one.chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], line + 1);
        for (column, to) in two.iter().enumerate() {
            let changed = corner + usize::from(from.to_ascii_lowercase() != *to);
            corner = row[column + 1];
            row[column + 1] = changed.min(corner + 1).min(row[column] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}
