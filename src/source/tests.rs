//! Fetches over real sockets from a server that misbehaves on purpose.

mod page;
mod server;

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

use url::Url;

use crate::model::failure::Class;
use crate::model::sha256::Sha256;
use crate::plan::language::Wanted as Languages;

use super::*;
use server::{Behaviour, Server};

const MIB: usize = 1024 * 1024;

struct Bench {
    sources: Sources,
    network: Lane<Rank>,
    disk: Lane<Rank>,
    room: Lane<Rank>,
    cancel: CancellationToken,
    arrival: tokio::sync::watch::Sender<Option<crate::source::Arrival>>,
    heard: Mutex<Vec<What>>,
    folder: tempfile::TempDir,
}

fn settings() -> SourceSettings {
    SourceSettings {
        user_agent: "forebay/test".into(),
        connect_timeout: Duration::from_secs(2),
        min_bytes_per_second: 1024,
        slow_window: Duration::from_secs(2),
        retries: 2,
        longest_wait: Duration::from_millis(300),
        connections_per_file: 4,
        max_bytes: 1 << 30,
        tools: ("ffmpeg".into(), "ffprobe".into()),
        limits: Limits { pixels: 1 << 26, streams: 32, seconds: 1e5, bytes: 1 << 30 },
        ytdlp: "/no/yt-dlp".into(),
        ytdlp_format: "b".into(),
        reach: Reach::Anywhere,
    }
}

impl Bench {
    fn new(settings: SourceSettings) -> Self {
        Self {
            sources: Sources::new(settings, Stores::bare()).unwrap(),
            network: Lane::new(8),
            disk: Lane::new(2),
            room: Lane::new(1 << 30),
            cancel: CancellationToken::new(),
            arrival: tokio::sync::watch::Sender::new(None),
            heard: Mutex::new(Vec::new()),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    async fn fetch(&self, locator: Locator) -> Result<Fetched, Failure> {
        let report = |what| self.heard.lock().unwrap().push(what);
        let context = self.context(&report);
        let item = Item::new(0, locator);
        let identity = self.sources.identify(&item, &context).await?;
        self.sources.fetch(&item, &identity, self.folder.path(), &context).await
    }

    fn context<'a>(&'a self, report: &'a (dyn Fn(What) + Sync)) -> FetchContext<'a> {
        let rank = Rank::default();
        let (network, disk, room) = (&self.network, &self.disk, &self.room);
        FetchContext {
            rank,
            network,
            disk,
            room,
            tallest: 1080,
            subtitles: &Languages::None,
            cancel: &self.cancel,
            report,
            arrival: &self.arrival,
        }
    }

    async fn get(&self, server: &Server, path: &str) -> Result<Fetched, Failure> {
        self.fetch(Locator::Url(Url::parse(&server.url(path)).unwrap())).await
    }

    /// Drops the fetch when `bytes` have arrived.
    async fn get_until(&self, server: &Server, bytes: u64) {
        let arrived = |what: &What| matches!(what, What::Downloading { bytes: now, .. } if *now >= bytes);
        let enough = async {
            while !self.heard.lock().unwrap().iter().any(arrived) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            fetched = self.get(server, "/a.mp4") => panic!("was not stopped: {:?}", fetched.map(|whole| whole.bytes)),
            () = enough => (),
        }
    }

    fn retries(&self) -> usize {
        self.heard.lock().unwrap().iter().filter(|what| matches!(what, What::Retrying { .. })).count()
    }

    /// All permits are back, and nothing looks whole.
    fn assert_clean(&self) {
        assert_eq!((self.network.stats().taken, self.room.stats().taken), (0, 0));
        assert!(!self.folder.path().join("source").exists());
    }
}

/// Bytes that begin like an MP4 and of which no two MiB are alike.
fn media(size: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(size + 32);
    body.extend_from_slice(b"\x00\x00\x00\x18ftypmp42");
    let mut counter = 0_u64;
    while body.len() < size {
        body.extend_from_slice(&Sha256::digest(counter.to_le_bytes()));
        counter += 1;
    }
    body.truncate(size);
    body
}

fn assert_whole(fetched: &Fetched, body: &[u8]) {
    assert!(std::fs::read(&fetched.path).unwrap() == body, "other bytes than the server's");
    assert_eq!(fetched.sha256, hex::encode(Sha256::digest(body)));
    assert_eq!((fetched.bytes, fetched.record.bytes), (body.len() as u64, Some(body.len() as u64)));
    assert_eq!(fetched.room.as_ref().map(Permit::count), Some(body.len() as u64));
    assert!(fetched.temporary);
}

#[tokio::test]
async fn a_file_comes_in_pieces() {
    let body = media(9 * MIB + 123);
    let server = Server::start(Behaviour::good(body.clone())).await;
    let bench = Bench::new(settings());
    let fetched = bench.get(&server, "/a.mp4").await.unwrap();
    assert_whole(&fetched, &body);
    let mut ranges: Vec<_> =
        server.requests().iter().map(|request| request.header("range").unwrap().to_owned()).collect();
    assert_eq!(ranges[0], "bytes=0-32767");
    ranges.sort();
    ranges.dedup();
    assert_eq!(ranges.len(), server.requests().len(), "nothing is asked for twice: {ranges:?}");
    assert!(ranges.len() >= 8, "{ranges:?}");
    assert_eq!(bench.network.stats().taken, 0);
    // A second fetch asks only whether the file is the same.
    drop(fetched);
    let before = server.requests().len();
    assert_whole(&bench.get(&server, "/a.mp4").await.unwrap(), &body);
    let after = server.requests();
    assert_eq!((after.len(), after[before].method.as_str()), (before + 1, "HEAD"));
}

#[tokio::test]
async fn small_files_need_one_request() {
    let body = media(700);
    let server = Server::start(Behaviour::good(body.clone())).await;
    assert_whole(&Bench::new(settings()).get(&server, "/a.mp4").await.unwrap(), &body);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn servers_without_ranges_or_lengths_are_served_in_one_go() {
    let body = media(3 * MIB);
    for length in [true, false] {
        let behaviour = Behaviour { ranges: false, length, etag: None, ..Behaviour::good(body.clone()) };
        let server = Server::start(behaviour).await;
        assert_whole(&Bench::new(settings()).get(&server, "/a.mp4").await.unwrap(), &body);
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn cut_connections_are_taken_up_again() {
    let body = media(3 * MIB);
    let server = Server::start(Behaviour { cut: Some(100_000), ..Behaviour::good(body.clone()) }).await;
    let quick = SourceSettings { longest_wait: Duration::from_millis(20), ..settings() };
    let bench = Bench::new(quick);
    assert_whole(&bench.get(&server, "/a.mp4").await.unwrap(), &body);
    assert!(bench.retries() >= 6, "{}", bench.retries());
    let asked: u64 = server.requests().iter().map(|request| span(request.header("range").unwrap())).sum();
    assert!(asked < 4 * body.len() as u64, "{asked} bytes asked for");
}

/// Bytes of `bytes=A-B`.
fn span(range: &str) -> u64 {
    let (from, to) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    to.parse::<u64>().unwrap() + 1 - from.parse::<u64>().unwrap()
}

#[tokio::test]
async fn a_body_shorter_than_promised_is_an_error() {
    let behaviour = Behaviour { ranges: false, cut: Some(MIB), ..Behaviour::good(media(3 * MIB)) };
    let server = Server::start(behaviour).await;
    let bench = Bench::new(settings());
    let failure = bench.get(&server, "/a.mp4").await.err().unwrap();
    assert_eq!(failure.class, Class::Temporary);
    assert!(failure.what.contains("(tried 3 times)"), "{failure}");
    assert_eq!(server.requests().len(), 3);
    bench.assert_clean();
}

#[tokio::test]
async fn lying_ranges_are_not_spliced() {
    let body = media(4 * MIB);
    let server = Server::start(Behaviour { lie: 100, ..Behaviour::good(body.clone()) }).await;
    let bench = Bench::new(settings());
    assert_whole(&bench.get(&server, "/a.mp4").await.unwrap(), &body);
    assert_eq!(server.requests().last().unwrap().header("range"), None);
}

#[tokio::test]
async fn a_file_that_changes_meanwhile_is_begun_anew() {
    let body = media(6 * MIB);
    let server = Server::start(Behaviour { flips_at: Some(4), ..Behaviour::good(body.clone()) }).await;
    // The new file does not begin like an MP4, which nobody minds.
    let bench = Bench::new(settings());
    let fetched = bench.get(&server, "/a.mp4").await.unwrap();
    let flipped: Vec<u8> = body.iter().map(|byte| !byte).collect();
    assert_whole(&fetched, &flipped);
    assert_eq!(fetched.record.etag.as_deref(), Some("\"two\""));
}

#[tokio::test]
async fn busy_servers_are_asked_again() {
    let body = media(10_000);
    let scripts: [&[(u16, &str)]; 3] =
        [&[(429, "Retry-After: 1\r\n")], &[(503, ""), (503, "")], &[(500, ""), (408, "")]];
    for script in scripts {
        let behaviour = Behaviour { script: script.iter().copied().collect(), ..Behaviour::good(body.clone()) };
        let server = Server::start(behaviour).await;
        let bench = Bench::new(SourceSettings { longest_wait: Duration::from_secs(3), ..settings() });
        let begun = Instant::now();
        assert_whole(&bench.get(&server, "/a.mp4").await.unwrap(), &body);
        assert_eq!((server.requests().len(), bench.retries()), (script.len() + 1, script.len()));
        if script[0].0 == 429 {
            assert!(begun.elapsed() >= Duration::from_secs(1), "Retry-After was not waited for");
        }
    }
}

#[tokio::test]
async fn redirects_may_be_written_as_people_do() {
    let body = media(10_000);
    let server = Server::start(Behaviour::good(body.clone())).await;
    server.set(|behaviour| behaviour.script = [(302, "Location: /r\u{e9}al.mp4\r\n")].into());
    let bench = Bench::new(settings());
    assert_whole(&bench.get(&server, "/a.mp4").await.unwrap(), &body);
    // To the same server, which still wants to know who asks.
    let to: &'static str = Box::leak(format!("Location: {}\r\n", server.url("/b.mp4")).into_boxed_str());
    server.set(|behaviour| behaviour.script = [(302, to)].into());
    let url = server.url("/a.mp4").replace("http://", "http://ann:secret@");
    let bench = Bench::new(settings());
    let fetched = bench.fetch(Locator::Url(Url::parse(&url).unwrap())).await.unwrap();
    assert_whole(&fetched, &body);
    assert!(server.requests().last().unwrap().header("authorization").is_some());
}

#[tokio::test]
async fn a_refused_range_of_a_file_with_bytes_is_asked_for_as_a_whole() {
    let body = media(10_000);
    let script = [(416, "Content-Range: bytes */10000\r\n")].into();
    let server = Server::start(Behaviour { script, ..Behaviour::good(body.clone()) }).await;
    assert_whole(&Bench::new(settings()).get(&server, "/a.mp4").await.unwrap(), &body);
}

#[tokio::test]
async fn whether_a_file_changed_is_asked_of_those_who_know() {
    let server = Server::start(Behaviour::good(media(10_000))).await;
    let bench = Bench::new(settings());
    let report = |what| bench.heard.lock().unwrap().push(what);
    let context = bench.context(&report);
    let item = Item::new(0, Locator::Url(Url::parse(&server.url("/a.mp4")).unwrap()));
    let record = bench.get(&server, "/a.mp4").await.unwrap().record;
    // A handler by hand that has no bytes for HEAD.
    server.set(|behaviour| behaviour.script = [(200, "ETag: \"one\"\r\n")].into());
    assert!(bench.sources.unchanged(&item, &record, &context).await);
    // Where there are no validators, the size tells.
    server.set(|behaviour| behaviour.etag = None);
    let record = Record { etag: None, ..record };
    assert!(bench.sources.unchanged(&item, &record, &context).await);
    server.set(|behaviour| behaviour.body = Arc::new(media(20_000)));
    assert!(!bench.sources.unchanged(&item, &record, &context).await);
}

#[tokio::test]
async fn refusals_are_final_and_clear() {
    let cases = [
        (404, Class::Permanent, "was not found (404)", 1),
        (403, Class::Permanent, "refuses access (403)", 1),
        (401, Class::Permanent, "wants a login (401)", 1),
        (410, Class::Permanent, "is gone for good (410)", 1),
        (503, Class::Temporary, "has a server error (503) (tried 3 times)", 3),
    ];
    for (status, class, words, requests) in cases {
        let behaviour = Behaviour { script: vec![(status, ""); 9].into(), ..Behaviour::good(media(100)) };
        let server = Server::start(behaviour).await;
        let bench = Bench::new(settings());
        let failure = bench.get(&server, "/a.mp4?secret=x").await.err().unwrap();
        assert_eq!((failure.class, server.requests().len()), (class, requests), "{failure}");
        assert!(failure.what.contains(words) && !failure.what.contains("secret"), "{failure}");
        bench.assert_clean();
    }
}

#[tokio::test]
async fn what_is_no_video_is_told_apart() {
    let cases: [(&[u8], &str); 4] = [
        (b"<!DOCTYPE html><html><body>Please log in</body></html>", "answered an HTML page, not a video"),
        (b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>", "answered an XML text, not a video"),
        (b"{\"error\": \"no\"}", "answered a JSON text, not a video"),
        (b"", "is empty (0 bytes)"),
    ];
    for (body, words) in cases {
        let server = Server::start(Behaviour::good(body.to_vec())).await;
        let bench = Bench::new(settings());
        let failure = bench.get(&server, "/a.mp4").await.err().unwrap();
        assert_eq!((failure.class, server.requests().len()), (Class::Permanent, 1), "{failure}");
        assert!(failure.what.ends_with(words), "{failure}");
        bench.assert_clean();
    }
    // Without a media extension it is a page, which is yt-dlp's, also where pages are kept compressed.
    let script = [(200, "Content-Encoding: gzip\r\n")].into();
    let server = Server::start(Behaviour { script, ..Behaviour::good(b"<html></html>".to_vec()) }).await;
    let failure = Bench::new(settings()).get(&server, "/watch").await.err().unwrap();
    assert_eq!(failure.class, Class::Environment);
    assert!(failure.what.starts_with("could not start yt-dlp"), "{failure}");
}

#[tokio::test]
async fn a_url_without_extension_may_be_media() {
    let body = media(2 * MIB);
    let server = Server::start(Behaviour::good(body.clone())).await;
    assert_whole(&Bench::new(settings()).get(&server, "/download?id=7").await.unwrap(), &body);
}

#[tokio::test]
async fn a_dripping_server_is_given_up() {
    let pace = Some((1, Duration::from_millis(200)));
    let server = Server::start(Behaviour { pace, ..Behaviour::good(media(5000)) }).await;
    let bench = Bench::new(SourceSettings { slow_window: Duration::from_secs(1), retries: 1, ..settings() });
    let begun = Instant::now();
    let failure = bench.get(&server, "/a.mp4").await.err().unwrap();
    assert!(failure.what.contains("was slower than 1024 bytes/s for 1 s (tried 2 times)"), "{failure}");
    assert!(begun.elapsed() < Duration::from_secs(6));
    bench.assert_clean();
    // Also when it begins well.
    server.set(|behaviour| {
        behaviour.body = Arc::new(media(50_000));
        behaviour.pace = Some((200, Duration::from_millis(300)));
    });
    let failure = bench.get(&server, "/b.mp4").await.err().unwrap();
    assert!(failure.what.contains("was slower than 1024 bytes/s"), "{failure}");
    // A playlist as well as a film.
    server.set(|behaviour| behaviour.body = Arc::new(b"#EXTM3U\n".repeat(9000)));
    let failure = bench.get(&server, "/c.m3u8").await.err().unwrap();
    assert!(failure.what.contains("was slower than 1024 bytes/s"), "{failure}");
}

#[tokio::test]
async fn a_stopped_fetch_goes_on_where_it_was() {
    let body = media(8 * MIB);
    let pace = Some((32 * 1024, Duration::from_millis(30)));
    let server = Server::start(Behaviour { pace, ..Behaviour::good(body.clone()) }).await;
    let bench = Bench::new(settings());
    bench.get_until(&server, 5 * MIB as u64).await;
    bench.assert_clean();
    let before = server.requests().len();
    server.set(|behaviour| behaviour.pace = None);
    assert_whole(&bench.get(&server, "/a.mp4").await.unwrap(), &body);
    let again = server.requests().split_off(before);
    let asked: u64 = again.iter().map(|request| span(request.header("range").unwrap())).sum();
    assert!(asked < 13 * MIB as u64 / 2, "{asked} bytes asked for again");
    assert!(again.iter().all(|request| request.header("if-range") == Some("\"one\"")), "{again:?}");
    // The same with a file that is another one by then.
    let bench = Bench::new(settings());
    server.set(|behaviour| behaviour.pace = pace);
    bench.get_until(&server, 3 * MIB as u64).await;
    let other: Vec<u8> = body.iter().rev().copied().collect();
    server.set(|behaviour| {
        (behaviour.pace, behaviour.etag) = (None, Some("\"three\"".into()));
        behaviour.body = Arc::new(other.clone());
    });
    assert_whole(&bench.get(&server, "/a.mp4").await.unwrap(), &other);
}

#[tokio::test]
async fn cancelling_is_quick() {
    let pace = Some((1000, Duration::from_millis(50)));
    let server = Server::start(Behaviour { pace, ..Behaviour::good(media(MIB)) }).await;
    let bench = Bench::new(settings());
    let stop = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        bench.cancel.cancel();
        Instant::now()
    };
    let (outcome, since) = tokio::join!(bench.get(&server, "/a.mp4"), stop);
    assert_eq!(outcome.err().unwrap().class, Class::Stopped);
    assert!(since.elapsed() < Duration::from_millis(100));
    bench.assert_clean();
}

#[tokio::test]
async fn downloads_wait_for_room_without_a_connection() {
    let body = media(2 * MIB);
    for length in [true, false] {
        let behaviour = Behaviour { length, ranges: length, ..Behaviour::good(body.clone()) };
        let server = Server::start(behaviour).await;
        let mut bench = Bench::new(settings());
        bench.room = Lane::new(3 * MIB as u64);
        let held = bench.room.acquire(Rank::default(), 2 * MIB as u64).await;
        let release = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert_eq!((bench.network.stats().taken, bench.room.stats().waiting), (0, 1));
            drop(held);
        };
        let (fetched, ()) = tokio::join!(bench.get(&server, "/a.mp4"), release);
        assert_whole(&fetched.unwrap(), &body);
    }
}

#[tokio::test]
async fn what_can_never_fit_is_refused() {
    let server = Server::start(Behaviour::good(media(2 * MIB))).await;
    let mut bench = Bench::new(settings());
    bench.room = Lane::new(MIB as u64);
    let failure = bench.get(&server, "/a.mp4").await.err().unwrap();
    assert_eq!(failure.class, Class::Environment);
    assert!(failure.what.contains("scratch space, which is limited to 1048576"), "{failure}");
    server.set(|behaviour| (behaviour.length, behaviour.ranges) = (false, false));
    let failure = bench.get(&server, "/b.mp4").await.err().unwrap();
    assert!(failure.what.contains("scratch space, which is limited to 1048576"), "{failure}");
    let bench = Bench::new(SourceSettings { max_bytes: 1000, ..settings() });
    let failure = bench.get(&server, "/c.mp4").await.err().unwrap();
    assert_eq!(failure.class, Class::Permanent);
    assert!(failure.what.contains("at most 1000 are allowed"), "{failure}");
    bench.assert_clean();
}

#[tokio::test]
async fn redirects_are_few_and_keep_headers_from_strangers() {
    let body = media(3 * MIB);
    let end = Server::start(Behaviour::good(body.clone())).await;
    let location: &'static str = format!("Location: {}\r\n", end.url("/real.mp4")).leak();
    let start = Server::start(Behaviour { script: vec![(302, location); 20].into(), ..Behaviour::good(vec![]) }).await;
    let bench = Bench::new(settings());
    let mut item = Item::new(0, Locator::Url(Url::parse(&start.url("/a.mp4")).unwrap()));
    item.headers.insert("X-Token".into(), "s3cret".into());
    let report = |_| ();
    let context = bench.context(&report);
    let identity = bench.sources.identify(&item, &context).await.unwrap();
    assert_whole(&bench.sources.fetch(&item, &identity, bench.folder.path(), &context).await.unwrap(), &body);
    assert_eq!(start.requests()[0].header("x-token"), Some("s3cret"));
    assert_eq!(start.requests().len(), 1, "where it leads is remembered");
    assert!(end.requests().iter().all(|request| request.header("x-token").is_none()));
    for (location, words) in
        [("Location: file:///etc/passwd\r\n", "redirects to `file:`"), ("Location: /\r\n", "more than 5 times")]
    {
        start.set(|behaviour| behaviour.script = vec![(302, location); 20].into());
        let failure = Bench::new(settings()).get(&start, "/b.mp4").await.err().unwrap();
        assert!(failure.what.contains(words) && failure.class == Class::Permanent, "{failure}");
    }
}

#[tokio::test]
async fn unchanged_asks_for_validators_alone() {
    let server = Server::start(Behaviour::good(media(1000))).await;
    let bench = Bench::new(settings());
    let record = bench.get(&server, "/a.mp4").await.unwrap().record;
    let item = Item::new(0, Locator::Url(Url::parse(&server.url("/a.mp4")).unwrap()));
    let report = |_| ();
    let context = bench.context(&report);
    assert!(bench.sources.unchanged(&item, &record, &context).await);
    server.set(|behaviour| behaviour.etag = Some("\"new\"".into()));
    assert!(!bench.sources.unchanged(&item, &record, &context).await);
    drop(server);
    assert!(bench.sources.unchanged(&item, &record, &context).await, "nobody to ask counts as unchanged");
}

#[tokio::test]
async fn unreachable_hosts_are_named() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = Url::parse(&format!("http://127.0.0.1:{port}/a.mp4")).unwrap();
    let failure = Bench::new(settings()).fetch(Locator::Url(url)).await.err().unwrap();
    assert_eq!(failure.class, Class::Temporary);
    assert!(failure.what.contains("could not connect to") && failure.what.contains("refused"), "{failure}");
}

#[tokio::test]
async fn local_files_are_used_in_place() {
    let bench = Bench::new(settings());
    let path = bench.folder.path().join("-a b\n%05d.mp4");
    let body = media(MIB + 7);
    tokio::fs::File::create(&path).await.unwrap();
    std::io::Write::write_all(&mut std::fs::File::create(&path).unwrap(), &body).unwrap();
    let fetched = bench.fetch(Locator::File(path.clone())).await.unwrap();
    assert_eq!((&fetched.path, fetched.temporary, fetched.room.is_none()), (&path, false, true));
    assert_eq!(fetched.sha256, hex::encode(Sha256::digest(&body)));
    let item = Item::new(0, Locator::File(path.clone()));
    let report = |_| ();
    let context = bench.context(&report);
    assert!(bench.sources.unchanged(&item, &fetched.record, &context).await);
    std::fs::File::options().append(true).open(&path).unwrap().set_len(9).unwrap();
    assert!(!bench.sources.unchanged(&item, &fetched.record, &context).await);
    for (path, words) in
        [("/dev/null", "is not a regular file"), ("/tmp", "is a folder"), ("/no/file.mp4", "is not there")]
    {
        let failure = bench.fetch(Locator::File(PathBuf::from(path))).await.err().unwrap();
        assert!(failure.what.contains(words) && failure.class == Class::Permanent, "{failure}");
    }
}
