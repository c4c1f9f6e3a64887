//! yt-dlp: finds the media behind pages.
//!
//! It runs with no configuration, plugins or cache, in a folder of its own. The
//! URL and headers reach it in files that only this user can read, because
//! everyone on the machine can read arguments. Its exit code proves nothing: it
//! is 0 for files that were never written.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::model::failure::{Class, Failure};
use crate::plan::language::{Wanted, language};

use super::child::{self, ChildError, Ended, Order, Output};
use super::ytdlp_error;

/// Older versions have known holes: CVE-2026-50019, -50023, -50574 and others.
pub const OLDEST: &str = "2026.07.04";

/// Folders with the URL and headers for one run begin with this.
pub const LETTER: &str = ".ask-";

/// Asking a page takes 4 to 10 s on a busy machine; some sites make it solve riddles first.
const LOOK: Duration = Duration::from_mins(3);

/// Merging a long film on a slow disk says nothing for minutes.
const FINISH: Duration = Duration::from_mins(30);

/// Downloads that go through a proxy: other protocols know none.
const BY_HTTP: &str = r"protocol~='^(https?|m3u8|m3u8_native|http_dash_segments|ism)([+](https?|m3u8|m3u8_native|http_dash_segments|ism))*$'";

/// One page.
pub struct Page<'a> {
    /// yt-dlp itself, as [`find`] gave it.
    pub program: &'a Path,
    /// Its address.
    pub url: &'a Url,
    /// Headers to send. Values may be secret.
    pub headers: &'a BTreeMap<String, String>,
    /// The longest wait for a socket.
    pub patience: Duration,
    /// The proxy that everything has to go through, with its password, if there is one.
    pub proxy: Option<&'a str>,
    /// Stops yt-dlp.
    pub cancel: &'a CancellationToken,
}

/// What yt-dlp found at a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The site's id of the video.
    pub id: String,
    /// The name of the site's extractor, such as `Youtube` or `Generic`.
    pub extractor: String,
    /// The title.
    pub title: Option<String>,
    /// Bytes of the wanted format, at least roughly.
    pub bytes: Option<u64>,
}

/// What a download may take.
pub struct Wish<'a> {
    /// The format, in yt-dlp's own language.
    pub format: &'a str,
    /// An existing folder that holds nothing but earlier tries for the same video.
    pub folder: &'a Path,
    /// The languages of subtitles to bring along, in yt-dlp's own words, if any.
    pub subtitles: Option<&'a str>,
    /// The largest file.
    pub max_bytes: u64,
    /// The least rate, and the time over which it is measured.
    pub least: (u64, Duration),
}

/// The subtitles that are wanted, as yt-dlp is asked for them: its languages are patterns of the sites' own tags.
pub fn languages(wanted: &Wanted) -> Option<String> {
    match wanted {
        Wanted::None => None,
        // What was said in a chat is a file of gigabytes.
        Wanted::All => Some("all,-live_chat".into()),
        Wanted::Languages(codes) => {
            let patterns = codes.iter().map(|code| {
                let tag = language(code).tag;
                if tag == *code { format!("{tag}([-_].*)?") } else { format!("({tag}|{code})([-_].*)?") }
            });
            Some(patterns.collect::<Vec<_>>().join(","))
        }
    }
}

/// Whether a download failed for nothing but its subtitles.
pub fn is_of_subtitles(failure: &Failure) -> bool {
    failure.what.contains("Unable to download video subtitles")
}

/// yt-dlp by preference: the one that is set, the project's own, the one in `PATH`.
pub fn find(set: &Path) -> PathBuf {
    if !set.as_os_str().is_empty() {
        return set.to_path_buf();
    }
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/share"));
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|data| data.is_absolute()).or(home);
    let own = data.map(|data| data.join("forebay/yt-dlp/bin/yt-dlp"));
    own.filter(|own| own.is_file()).unwrap_or_else(|| "yt-dlp".into())
}

/// The version of yt-dlp, if it is recent enough to be let near hostile pages.
pub async fn version(program: &Path, cancel: &CancellationToken) -> Result<String, Failure> {
    let order = Order { silence: LOOK, ..Order::new(program) }.args(["--ignore-config", "--version"]);
    let mut version = String::new();
    let ended = child::run(&order, cancel, |output, line| {
        if output == Output::Out && version.is_empty() {
            line.trim().clone_into(&mut version);
        }
        true
    });
    let ended = ended.await.map_err(|error| could_not_run(error, program))?;
    let hint = "run `make setup`, which installs a current yt-dlp for forebay alone";
    if !ended.status.success() || date(&version).is_none() {
        return Err(Failure::environment(format!("`{}` is no working yt-dlp", program.display())).hint(hint));
    }
    if date(&version) < date(OLDEST) {
        let what = format!("yt-dlp {version} has known security holes; {OLDEST} or later is needed");
        return Err(Failure::environment(what).hint(hint));
    }
    Ok(version)
}

/// `2026.07.04` and `2026.07.04.120000` as numbers that compare.
fn date(version: &str) -> Option<(u32, u32, u32)> {
    let mut parts = version.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?))
}

/// Asks what is at the page, without a download.
pub async fn identify(page: &Page<'_>, format: &str) -> Result<Found, Failure> {
    let secret = Letter::write(&std::env::temp_dir(), page)?;
    let fields = "id,extractor_key,title,filesize,filesize_approx,live_status,playlist_count,n_entries";
    let order = order(page, &secret, LOOK)
        // Two entries are enough to know that there is more than one.
        .args(["--simulate", "--playlist-items", "1:2", "--format", format, "--print"])
        .arg(format!("video:V %(.{{{fields}}})j"));
    let mut videos = Vec::new();
    let ended = child::run(&order, page.cancel, |output, line| {
        if output == Output::Out {
            videos.extend(line.strip_prefix("V ").and_then(|json| serde_json::from_str::<Value>(json).ok()));
        }
        true
    });
    let ended = ended.await.map_err(|error| could_not_run(error, page.program))?;
    match videos.as_slice() {
        [] => Err(failure(&ended, page)),
        [_] if !ended.status.success() => Err(failure(&ended, page)),
        [video] => found(video, page.url),
        [video, ..] => {
            let count = ["playlist_count", "n_entries"].iter().find_map(|key| video.get(key)?.as_u64());
            Err(several(page, &count.map_or("several".into(), |count| count.to_string())))
        }
    }
}

fn found(video: &Value, url: &Url) -> Result<Found, Failure> {
    let text = |key: &str| video.get(key).and_then(Value::as_str).map(str::to_owned).filter(|text| !text.is_empty());
    if let Some("is_live" | "is_upcoming") = text("live_status").as_deref() {
        let shown = crate::model::secret::masked_url(url);
        return Err(Failure::permanent(format!("`{shown}` is a live stream, which has no end yet")));
    }
    let title =
        text("title").map(|title| title.chars().filter(|character| !character.is_control()).take(300).collect());
    Ok(Found {
        id: text("id").unwrap_or_default(),
        extractor: text("extractor_key").unwrap_or_default(),
        title,
        bytes: ["filesize", "filesize_approx"].iter().find_map(|key| number(video.get(key)?)),
    })
}

/// Downloads what is at the page and gives the path of the file. `progress` hears the bytes so far
/// and all bytes, if known, and answers whether to go on.
pub async fn download(
    page: &Page<'_>,
    wish: &Wish<'_>,
    mut progress: impl FnMut(u64, Option<u64>) -> bool,
) -> Result<PathBuf, Failure> {
    let secret = Letter::write(wish.folder, page)?;
    let mut order = order(page, &secret, FINISH)
        .args(["--no-simulate", "--progress", "--newline", "--progress-delta", "0.2", "--progress-template"])
        .args(["download:P %(progress)j", "--print", "after_move:F %(filepath)j", "--abort-on-unavailable-fragments"])
        .args(["--no-mtime", "--retries", "3", "--fragment-retries", "3", "--concurrent-fragments", "4"])
        .args(["--downloader", "m3u8:native", "--merge-output-format", "mkv", "--output", "media.%(ext)s", "--format"])
        .args([wish.format, "--max-filesize", &wish.max_bytes.to_string()]);
    if let Some(languages) = wish.subtitles {
        order = order.args(["--write-subs", "--sub-format", "vtt/srt/ass/best", "--sub-langs", languages]);
    }
    order.folder = Some(wish.folder.to_path_buf());
    let stop = page.cancel.child_token();
    let watch = Mutex::new(Watch::new());
    let mut files = HashMap::new();
    let mut paths = Vec::new();
    let outcome = {
        let run = child::run(&order, &stop, |output, line| {
            if let Some(json) = line.strip_prefix("F ").filter(|_| output == Output::Out) {
                paths.extend(serde_json::from_str::<PathBuf>(json).ok());
            } else if let Some(json) = line.strip_prefix("P ") {
                let Ok(told) = serde_json::from_str::<Value>(json) else { return true };
                let (bytes, total) = bytes(&told, &mut files);
                lock(&watch).told(bytes, told.get("status").and_then(Value::as_str) == Some("finished"));
                if bytes > wish.max_bytes || !progress(bytes, total) {
                    stop.cancel();
                }
            }
            true
        });
        let mut run = std::pin::pin!(run);
        tokio::select! {
            outcome = &mut run => outcome,
            failure = too_slow(&watch, wish, page) => {
                stop.cancel();
                // Its answer is known: stopped. What counts is that it is gone.
                let (Ok(_) | Err(_)) = run.await;
                return Err(failure);
            }
        }
    };
    let ended = match outcome {
        Err(ChildError::Stopped { .. }) if !page.cancel.is_cancelled() => {
            return Err(Failure::permanent(format!("`{}` is larger than allowed", shown(page))));
        }
        outcome => outcome.map_err(|error| could_not_run(error, page.program))?,
    };
    arrived(&ended, &paths, wish, page)
}

/// Exit code 0 and no file, or an empty one, is not a download.
fn arrived(ended: &Ended, paths: &[PathBuf], wish: &Wish<'_>, page: &Page<'_>) -> Result<PathBuf, Failure> {
    if !ended.status.success() {
        let failure = failure(ended, page);
        return Err(match failure.class {
            Class::Environment => failure.context(&format!("in `{}`", wish.folder.display())),
            _ => failure,
        });
    }
    let path = match paths {
        [path] => path,
        [] => {
            let what = format!("yt-dlp brought no file of at most {} bytes from `{}`", wish.max_bytes, shown(page));
            return Err(Failure::permanent(what));
        }
        _ => return Err(several(page, "several")),
    };
    // Relative to the folder it ran in.
    let path = wish.folder.join(path);
    match path.symlink_metadata() {
        Ok(about) if about.is_file() && about.len() > 0 => Ok(path),
        _ => Err(Failure::temporary(format!("yt-dlp brought an empty file from `{}`", shown(page)))),
    }
}

/// Why it failed, by what it said; one that was killed could say nothing.
fn failure(ended: &Ended, page: &Page<'_>) -> Failure {
    child::killed(ended.status, "yt-dlp").unwrap_or_else(|| ytdlp_error::failure(&ended.last_lines, page.url))
}

fn several(page: &Page<'_>, count: &str) -> Failure {
    Failure::permanent(format!("`{}` holds {count} videos", shown(page))).hint("list them one by one")
}

fn shown(page: &Page<'_>) -> String {
    crate::model::secret::masked_url(page.url)
}

fn order(page: &Page<'_>, letter: &Letter, silence: Duration) -> Order {
    let mut order = Order { silence, ..Order::new(page.program) }
        .args(["--ignore-config", "--no-plugin-dirs", "--no-cache-dir", "--no-playlist", "--no-warnings", "--quiet"])
        .args(["--no-exec", "--no-update", "--no-remote-components", "--color", "never", "--socket-timeout"])
        .arg(page.patience.as_secs().max(1).to_string())
        .arg("--config-locations")
        .arg(&letter.headers)
        .arg("--batch-file")
        .arg(&letter.url);
    order.environment = vec![("YTDLP_NO_PLUGINS", "1".into())];
    if let Some(proxy) = page.proxy {
        // The ffmpeg that it may start knows the variables alone.
        let names = ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
        order.environment.extend(names.map(|name| (name, proxy.into())));
        order.environment.extend(["no_proxy", "NO_PROXY"].map(|name| (name, "".into())));
        order = order.args(["--match-filters", BY_HTTP]);
    }
    order
}

/// Sums the bytes of all files of one download, as picture and sound come apart.
fn bytes(told: &Value, files: &mut HashMap<String, (u64, Option<u64>)>) -> (u64, Option<u64>) {
    let of = |key: &str| told.get(key).and_then(number);
    let name = told.get("filename").and_then(Value::as_str).unwrap_or_default();
    let entry = (of("downloaded_bytes").unwrap_or_default(), of("total_bytes").or_else(|| of("total_bytes_estimate")));
    files.insert(name.to_owned(), entry);
    let total: Option<u64> = files.values().map(|(_, total)| *total).sum();
    (files.values().map(|(bytes, _)| bytes).sum(), total)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "estimates come as floats")]
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_f64().filter(|number| *number >= 0.0).map(|number| number as u64))
}

/// What the watchdog knows.
struct Watch {
    /// Begun at the first byte and paused while files are merged.
    window: Option<(Instant, u64)>,
    bytes: u64,
}

impl Watch {
    fn new() -> Self {
        Self { window: None, bytes: 0 }
    }

    fn told(&mut self, bytes: u64, finished: bool) {
        self.bytes = bytes;
        if finished {
            self.window = None;
        } else if self.window.is_none() {
            self.window = Some((Instant::now(), bytes));
        }
    }
}

fn lock(watch: &Mutex<Watch>) -> std::sync::MutexGuard<'_, Watch> {
    watch.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns when a download is slower than wished for a whole window.
async fn too_slow(watch: &Mutex<Watch>, wish: &Wish<'_>, page: &Page<'_>) -> Failure {
    let (rate, window) = wish.least;
    loop {
        tokio::time::sleep(window / 8).await;
        let mut watch = lock(watch);
        let Some((since, before)) = watch.window.filter(|(since, _)| since.elapsed() >= window) else { continue };
        let came = watch.bytes.saturating_sub(before);
        if u128::from(came) * 1000 < u128::from(rate) * since.elapsed().as_millis() {
            let what = format!("`{}` was slower than {rate} bytes/s for {} s", shown(page), window.as_secs());
            return Failure::temporary(what);
        }
        watch.window = Some((Instant::now(), watch.bytes));
    }
}

/// The URL and the headers, in files for this user alone. Gone when dropped.
struct Letter {
    folder: PathBuf,
    headers: PathBuf,
    url: PathBuf,
}

impl Letter {
    fn write(beside: &Path, page: &Page<'_>) -> Result<Self, Failure> {
        let name = format!("{LETTER}{}-{:016x}", std::process::id(), getrandom::u64().unwrap_or_default());
        let write = || {
            // yt-dlp may run in another folder than we do.
            let folder = std::path::absolute(beside)?.join(name);
            fs::DirBuilder::new().mode(0o700).create(&folder)?;
            let letter = Self { headers: folder.join("headers"), url: folder.join("url"), folder: folder.clone() };
            let mut headers: String = page.headers.iter().map(|(name, value)| header(name, value)).collect();
            headers.extend(page.proxy.map(|proxy| format!("--proxy '{proxy}'\n")));
            private(&letter.headers)?.write_all(headers.as_bytes())?;
            private(&letter.url)?.write_all(format!("{}\n", page.url).as_bytes())?;
            Ok(letter)
        };
        write().map_err(|error: io::Error| Failure::io(&format!("could not write to `{}`", beside.display()), &error))
    }
}

impl Drop for Letter {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::warn!(folder = %self.folder.display(), %error, "could not remove a private folder");
        }
    }
}

fn private(path: &Path) -> io::Result<File> {
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

/// One line of a yt-dlp configuration, which is split as a shell would.
fn header(name: &str, value: &str) -> String {
    format!("--add-headers '{}'\n", format!("{name}:{value}").replace('\'', r"'\''"))
}

fn could_not_run(error: ChildError, program: &Path) -> Failure {
    match error {
        ChildError::Stopped { .. } => Failure::stopped(),
        ChildError::Start { source, .. } => {
            Failure::environment(format!("could not start yt-dlp (`{}`): {source}", program.display()))
                .hint("run `make setup`, which installs a current yt-dlp for forebay alone")
        }
        ChildError::Hung { .. } => Failure::temporary(error.to_string()),
        ChildError::Lost { ref source, .. } => Failure::environment(format!("{error}: {source}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn versions_compare_by_date() {
        assert!(date("2026.07.04") >= date(OLDEST) && date("2026.10.26.232815") > date(OLDEST));
        assert!(date("2023.03.04") < date(OLDEST) && date("2026.06.30") < date(OLDEST));
        assert_eq!(date("yt-dlp"), None);
    }

    #[test]
    fn picture_and_sound_are_summed() {
        let mut files = HashMap::new();
        let told = |name: &str, bytes: u64, total: Option<f64>| json!({"filename": name, "downloaded_bytes": bytes, "total_bytes_estimate": total});
        assert_eq!(bytes(&told("v", 10, Some(100.5)), &mut files), (10, Some(100)));
        assert_eq!(bytes(&told("v", 100, Some(100.0)), &mut files), (100, Some(100)));
        assert_eq!(bytes(&told("a", 5, None), &mut files), (105, None));
    }

    #[test]
    fn what_was_found() {
        let url = Url::parse("https://h/watch?v=1").unwrap();
        let video = json!({"id": "x", "extractor_key": "Youtube", "title": "T\u{7}itle", "filesize_approx": 12.7});
        let wanted =
            Found { id: "x".into(), extractor: "Youtube".into(), title: Some("Title".into()), bytes: Some(12) };
        assert_eq!(found(&video, &url).unwrap(), wanted);
        let live = found(&json!({"id": "x", "live_status": "is_live"}), &url).unwrap_err();
        assert_eq!(live.what, "`https://h/watch?***` is a live stream, which has no end yet");
    }

    #[test]
    fn secrets_are_in_private_files_and_not_in_arguments() {
        use std::os::unix::fs::MetadataExt as _;
        let url = Url::parse("https://ann:pw@h/watch?token=s3cret").unwrap();
        let headers = BTreeMap::from([("X-Key".to_owned(), "it's s3cret".to_owned())]);
        let cancel = CancellationToken::new();
        let proxy = Some("http://forebay:s3cret@127.0.0.1:9");
        let program = Path::new("yt-dlp");
        let page = Page { program, url: &url, headers: &headers, patience: LOOK, proxy, cancel: &cancel };
        let folder = tempfile::tempdir().unwrap();
        let letter = Letter::write(folder.path(), &page).unwrap();
        let order = order(&page, &letter, LOOK);
        assert!(!format!("{:?}", order.arguments).contains("s3cret"));
        assert_eq!(letter.headers.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_to_string(&letter.headers).unwrap(),
            "--add-headers 'X-Key:it'\\''s s3cret'\n--proxy 'http://forebay:s3cret@127.0.0.1:9'\n"
        );
        drop(letter);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
