//! `forebay doctor`: what this machine can do, and what to install.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::civil::Date;
use tokio_util::sync::CancellationToken;

use super::options::{Flags, cores};
use super::text::{clean, count, size};
use super::trouble::Trouble;
use super::{Exit, block_on, print_out};
use crate::app;
use crate::app::store_check;
use crate::config::{Config, Tools};
use crate::model::failure::Failure;
use crate::queue;
use crate::tool::child::{self, ChildError, Order, Output};

/// Sites change; older versions of yt-dlp also have known security holes.
const OLDEST_YTDLP: Date = jiff::civil::date(2026, 7, 4);

/// A clock before this is wrong: certificates would not be valid yet.
const OLDEST_NOW: Date = jiff::civil::date(2026, 1, 1);

/// Shows what this machine can do, and what to install.
///
/// Every line is ok, warn (it works, but not at its best) or FAIL (it does not
/// work). Exits with 3 if any line is FAIL.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A destination to look at: can it be written?
    #[arg(long, value_name = "DEST")]
    to: Option<String>,
    /// A queue to look at: is it there, and could it lose jobs?
    #[arg(long, value_name = "URL")]
    queue: Option<String>,
    /// Folder of the work state to look at.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

/// One line of the diagnosis.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    grade: Grade,
    subject: &'static str,
    text: String,
    todo: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grade {
    Ok,
    Warn,
    Fail,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<Exit, Trouble> {
    let config = Flags::default().config()?;
    let findings = block_on(examine(args, &config))?;
    for finding in &findings {
        print_out(&finding.line());
        if let Some(todo) = finding.todo {
            print_out(&format!("      hint: {todo}"));
        }
    }
    let failed = findings.iter().any(|finding| finding.grade == Grade::Fail);
    Ok(if failed { Exit::Environment } else { Exit::Done })
}

async fn examine(args: &Args, config: &Config) -> Vec<Finding> {
    let mut findings = tools(&config.tools).await;
    findings.push(processor(config));
    findings.push(memory());
    let beside = args.to.as_deref().filter(|to| config.stores.is_folder(to));
    let state = app::state_folder(args.state.as_deref(), beside);
    let scratch = config.scratch.folder.clone().unwrap_or_else(|| state.join("scratch"));
    findings.push(space("scratch", &scratch, config.scratch.limit.get()));
    findings.push(writable("state", &state));
    if let Some(to) = &args.to {
        findings.push(destination(to, config).await);
    }
    if let Some(url) = &args.queue {
        findings.extend(queue_at(url).await);
    }
    findings.push(clock());
    findings
}

async fn tools(tools: &Tools) -> Vec<Finding> {
    let ffmpeg = answer(&tools.ffmpeg, &["-hide_banner", "-version"]).await;
    let encoders = answer(&tools.ffmpeg, &["-hide_banner", "-encoders"]).await;
    let ffprobe = answer(&tools.ffprobe, &["-hide_banner", "-version"]).await;
    let ytdlp = tools.yt_dlp.clone().unwrap_or_else(installed_ytdlp);
    let ytdlp = answer(&ytdlp, &["--ignore-config", "--version"]).await;
    let mut findings = vec![program("ffmpeg", ffmpeg.as_deref())];
    if ffmpeg.is_ok() {
        findings.push(encoders_found(&encoders.unwrap_or_default()));
    }
    findings.push(program("ffprobe", ffprobe.as_deref()));
    findings.push(ytdlp_found(ytdlp.as_deref(), today()));
    findings
}

/// Where `make setup` puts yt-dlp, else the one in `PATH`.
fn installed_ytdlp() -> PathBuf {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")));
    let own = home.map(|home| home.join("forebay/yt-dlp/bin/yt-dlp"));
    own.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from("yt-dlp"))
}

/// What a program says on standard output.
async fn answer(program: &Path, arguments: &[&str]) -> Result<Vec<String>, String> {
    // Starting yt-dlp on a slow disk takes seconds, not half a minute.
    let order = Order { silence: Duration::from_secs(30), ..Order::new(program).args(arguments) };
    let mut lines = Vec::new();
    let never = CancellationToken::new();
    let ended = child::run(&order, &never, |output, line| {
        if output == Output::Out {
            lines.push(line.to_owned());
        }
        true
    });
    match ended.await {
        Ok(ended) if ended.status.success() => Ok(lines),
        Ok(ended) => Err(ended.last_lines.last().cloned().unwrap_or_else(|| ended.status.to_string())),
        Err(ChildError::Start { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Err("not found".into())
        }
        Err(error) => Err(error.to_string()),
    }
}

type Answer<'a> = Result<&'a [String], &'a String>;

fn program(name: &'static str, answer: Answer<'_>) -> Finding {
    match answer {
        Err(why) => Finding::fail(name, why.clone()).todo("apt-get install ffmpeg"),
        Ok(lines) => {
            let version = ffmpeg_version(lines.first().map_or("", String::as_str));
            let major: Option<u32> =
                version.split('.').next().and_then(|major| major.trim_start_matches('n').parse().ok());
            match major {
                // Older ones lack options that we give.
                Some(major) if major < 5 => Finding::fail(name, format!("{version} is too old"))
                    .todo("install version 5 or later: apt-get install ffmpeg"),
                Some(major) if major < 7 && name == "ffmpeg" => {
                    Finding::ok(name, format!("{version}; its encoders run in turn, so several chunks run at once"))
                }
                _ if name == "ffmpeg" => Finding::ok(name, format!("{version}; its encoders run at the same time")),
                _ => Finding::ok(name, version.to_owned()),
            }
        }
    }
}

/// `5.1.9-0+deb12u1` of `ffmpeg version 5.1.9-0+deb12u1 Copyright (c) …`.
fn ffmpeg_version(line: &str) -> &str {
    line.split_whitespace().nth(2).unwrap_or("unknown version")
}

fn encoders_found(lines: &[String]) -> Finding {
    let has = |name: &str| lines.iter().any(|line| line.split_whitespace().nth(1) == Some(name));
    let missing: Vec<&str> = ["libx264", "aac"].into_iter().filter(|name| !has(name)).collect();
    if missing.is_empty() {
        let more = |&(encoder, codec): &(&str, &str)| {
            if has(encoder) { encoder.to_owned() } else { format!("no {encoder}, so no --codec {codec}") }
        };
        let more: Vec<String> = [("libx265", "hevc"), ("libsvtav1", "av1")].iter().map(more).collect();
        return Finding::ok("encoders", format!("libx264, aac, {}", more.join(", ")));
    }
    Finding::fail("encoders", format!("ffmpeg lacks {}", missing.join(" and ")))
        .todo("apt-get install ffmpeg, whose build has both")
}

fn ytdlp_found(answer: Answer<'_>, today: Date) -> Finding {
    const NAME: &str = "yt-dlp";
    let lines = match answer {
        Ok(lines) => lines,
        Err(why) => {
            let text = format!("{why}; plain media files need none, pages of video sites do");
            return Finding::warn(NAME, text).todo("make setup");
        }
    };
    let version = lines.first().map_or("", |line| line.trim());
    let Some(date) = ytdlp_date(version) else {
        return Finding::warn(NAME, format!("unknown version `{version}`")).todo("make setup");
    };
    let days = (today - date).get_days();
    let age = if days < 2 { "new".into() } else { format!("{days} days old") };
    if date < OLDEST_YTDLP {
        return Finding::fail(NAME, format!("{version} has known holes; {OLDEST_YTDLP} or later is needed"))
            .todo("make setup");
    }
    // Sites change about every quarter.
    if days > 90 {
        return Finding::warn(NAME, format!("{version}, {age}: some sites may have changed since")).todo("make setup");
    }
    Finding::ok(NAME, format!("{version}, {age}"))
}

/// The date in `2026.07.04` or `2026.07.04.232815`.
fn ytdlp_date(version: &str) -> Option<Date> {
    let mut parts = version.split('.');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok()
}

fn today() -> Date {
    jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date()
}

fn processor(config: &Config) -> Finding {
    let (cores, threads) = (cores().get(), config.lanes.threads.get());
    let text = format!("{}, {} for encoders", count(cores, "core"), count(threads, "thread"));
    if threads > cores * 2 {
        return Finding::warn("cores", text).todo("lower lanes.threads: more threads than cores only cost memory");
    }
    Finding::ok("cores", text)
}

fn memory() -> Finding {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    match available_memory(&text) {
        None => Finding::warn("memory", "unknown".into()),
        // One 1080p chunk takes up to 700 MB in ffmpeg.
        Some(bytes) if bytes < 1_000_000_000 => Finding::warn("memory", format!("{} free", size(bytes)))
            .todo("lower lanes.threads, or use a ladder without 1080p"),
        Some(bytes) => Finding::ok("memory", format!("{} free", size(bytes))),
    }
}

fn available_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

fn space(subject: &'static str, folder: &Path, limit: u64) -> Finding {
    let shown = folder.to_string_lossy();
    let free = existing(folder).and_then(|folder| rustix::fs::statvfs(folder).ok());
    let Some(free) = free.map(|free| free.f_bavail.saturating_mul(free.f_frsize)) else {
        return Finding::fail(subject, format!("{shown} is out of reach"));
    };
    let text = format!("{shown}: {} free, {} may be used", size(free), size(limit));
    if free < 1_000_000_000 {
        return Finding::fail(subject, text).todo("free some space, or give --scratch another folder");
    }
    if free < limit {
        return Finding::warn(subject, text).todo("lower scratch.limit below the free space");
    }
    Finding::ok(subject, text)
}

/// What waits at a queue, and what its operator should know.
async fn queue_at(url: &str) -> Vec<Finding> {
    let looked = async {
        let queue = queue::open(url, Duration::from_hours(1)).await?;
        let counts = queue.counts().await?;
        let text = format!("{}: {} waiting, {} running", queue.address(), counts.waiting, counts.running);
        Ok::<_, Failure>((text, queue.warnings().await?))
    };
    match looked.await {
        Ok((text, warnings)) => {
            let warnings = warnings.into_iter().map(|warning| Finding::warn("queue", warning));
            std::iter::once(Finding::ok("queue", text)).chain(warnings).collect()
        }
        Err(failure) => vec![Finding::fail("queue", failure.to_string()).todo("start the server, or correct the URL")],
    }
}

async fn destination(to: &str, config: &Config) -> Finding {
    if config.stores.is_folder(to) {
        return writable("to", Path::new(to));
    }
    match store_check::examine(config, to).await {
        Ok(text) => Finding::ok("to", text),
        Err(failure) => {
            let hint = failure.hint.as_ref().map_or(String::new(), |hint| format!(" ({hint})"));
            Finding::fail("to", format!("{failure}{hint}"))
        }
    }
}

/// Whether files can be made in the folder, or where it will be made.
fn writable(subject: &'static str, folder: &Path) -> Finding {
    let shown = folder.to_string_lossy();
    let Some(nearest) = existing(folder) else {
        return Finding::fail(subject, format!("{shown} is out of reach"));
    };
    let new = if nearest == folder { "" } else { " (will be made)" };
    if !nearest.is_dir() {
        return Finding::fail(subject, format!("{} is not a folder", nearest.to_string_lossy()));
    }
    match try_write(nearest) {
        Ok(()) => Finding::ok(subject, format!("{shown} can be written{new}")),
        Err(error) => Finding::fail(subject, format!("{shown} cannot be written: {error}"))
            .todo("check the rights of that folder"),
    }
}

/// Makes a file and takes it away: rights alone say nothing of read-only and special file systems.
fn try_write(folder: &Path) -> std::io::Result<()> {
    let file = folder.join(format!(".forebay-doctor-{}", std::process::id()));
    std::fs::File::create_new(&file)?;
    std::fs::remove_file(&file)
}

/// The folder itself, or the nearest one above it that is there.
fn existing(folder: &Path) -> Option<&Path> {
    let named = folder.ancestors().find(|folder| folder.as_os_str().is_empty() || folder.exists())?;
    Some(if named.as_os_str().is_empty() { Path::new(".") } else { named })
}

fn clock() -> Finding {
    let today = today();
    if today >= OLDEST_NOW {
        return Finding::ok("clock", today.to_string());
    }
    Finding::fail("clock", format!("{today} is long past, so certificates seem invalid")).todo("set the clock")
}

impl Finding {
    fn ok(subject: &'static str, text: String) -> Self {
        Self { grade: Grade::Ok, subject, text, todo: None }
    }

    fn warn(subject: &'static str, text: String) -> Self {
        Self { grade: Grade::Warn, ..Self::ok(subject, text) }
    }

    fn fail(subject: &'static str, text: String) -> Self {
        Self { grade: Grade::Fail, ..Self::ok(subject, text) }
    }

    fn todo(mut self, todo: &'static str) -> Self {
        self.todo = Some(todo);
        self
    }

    fn line(&self) -> String {
        let grade = match self.grade {
            Grade::Ok => "ok  ",
            Grade::Warn => "warn",
            Grade::Fail => "FAIL",
        };
        format!("{grade}  {:8}  {}", self.subject, clean(&self.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(String::from).collect()
    }

    #[test]
    fn ffmpeg_is_graded_by_version_and_encoders() {
        let grade = |line: &str| program("ffmpeg", Ok(&lines(line)));
        let old = grade("ffmpeg version 4.4.2-0ubuntu0.22.04.1 Copyright (c) 2000-2021");
        assert_eq!((old.grade, old.todo.is_some()), (Grade::Fail, true));
        let debian = grade("ffmpeg version 5.1.9-0+deb12u1 Copyright (c) 2000-2024");
        assert_eq!(
            debian.line(),
            "ok    ffmpeg    5.1.9-0+deb12u1; its encoders run in turn, so several chunks run at once"
        );
        assert!(grade("ffmpeg version n8.1.2 Copyright").text.contains("at the same time"));
        assert_eq!(program("ffprobe", Err(&"not found".into())).line(), "FAIL  ffprobe   not found");
        assert_eq!(encoders_found(&lines(" V....D libx264   x\n A....D aac   y")).grade, Grade::Ok);
        assert_eq!(encoders_found(&lines(" A....D aac   y")).text, "ffmpeg lacks libx264");
    }

    #[test]
    fn ytdlp_is_graded_by_age() {
        let today = jiff::civil::date(2026, 10, 1);
        let grade = |version: &str| ytdlp_found(Ok(&lines(version)), today).grade;
        assert_eq!(grade("2026.09.28"), Grade::Ok);
        assert_eq!(grade("2026.09.28.232815"), Grade::Ok);
        assert_eq!(grade("2026.07.04"), Grade::Ok);
        assert_eq!(grade("2023.03.04"), Grade::Fail);
        assert_eq!(grade("banana"), Grade::Warn);
        let far = jiff::civil::date(2027, 10, 1);
        assert_eq!(ytdlp_found(Ok(&lines("2026.09.28")), far).grade, Grade::Warn);
    }

    #[test]
    fn folders_that_will_be_made_are_judged_by_the_one_above() {
        let folder = tempfile::tempdir().unwrap();
        let new = writable("to", &folder.path().join("a/b"));
        assert!(new.grade == Grade::Ok && new.text.ends_with("can be written (will be made)"), "{new:?}");
        let file = folder.path().join("file");
        std::fs::File::create(&file).unwrap();
        assert_eq!(writable("to", &file.join("x")).grade, Grade::Fail);
        assert_eq!(available_memory("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), Some(2_097_152));
    }
}
