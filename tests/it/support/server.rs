//! An HTTP server on a free port that misbehaves as the first part of a path
//! says: `/short/a.mp4` is the file `a.mp4` with half its body missing.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const PAGE: &str = "<!DOCTYPE html><html><head><title>Sorry</title></head><body>Please log in.</body></html>";

const XML: &str = "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>";

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    headers: HashMap<String, String>,
}

/// A server of one folder. Dropping it ends it.
pub(crate) struct Server {
    port: u16,
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

struct Shared {
    folder: PathBuf,
    log: Mutex<Vec<Request>>,
    ended: AtomicBool,
}

/// What is sent for one request.
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    flow: Flow,
}

/// How a body is sent.
enum Flow {
    Whole,
    /// The connection ends after so many bytes.
    Cut(usize),
    /// A byte a second.
    Drip,
}

impl Server {
    /// Serves the files of `folder`.
    pub(crate) fn start(folder: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (log, ended) = (Mutex::new(Vec::new()), AtomicBool::new(false));
        let shared = Arc::new(Shared { folder: folder.to_owned(), log, ended });
        let known = Arc::clone(&shared);
        let listening = thread::spawn(move || {
            for stream in listener.incoming() {
                if known.ended.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(stream), shared) = (stream, Arc::clone(&known)) else { continue };
                // A client that goes away is no fault of the server.
                thread::spawn(move || serve(stream, &shared).unwrap_or_default());
            }
        });
        Self { port, shared, listening: Some(listening) }
    }

    /// The address of `/path`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.log.lock().unwrap().clone()
    }

    /// Bytes that clients of this name have asked for in ranges.
    pub(crate) fn bytes_asked_by(&self, client: &str) -> u64 {
        let theirs = self
            .requests()
            .into_iter()
            .filter(|request| request.headers.get("user-agent").is_some_and(|name| name == client));
        let range = |request: Request| -> Option<u64> {
            let (from, to) = request.headers.get("range")?.strip_prefix("bytes=")?.split_once('-')?;
            Some(to.parse::<u64>().ok()? + 1 - from.parse::<u64>().ok()?)
        };
        theirs.filter_map(range).sum()
    }

    /// Requests so far for paths that begin with `/path`.
    pub(crate) fn count(&self, path: &str) -> usize {
        let path = format!("/{path}");
        self.requests().iter().filter(|request| request.path.starts_with(&path)).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the listener, which then ends.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        if let Some(listening) = self.listening.take() {
            listening.join().unwrap_or_default();
        }
    }
}

fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_mins(1)))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader)? {
        let before = {
            let mut log = shared.log.lock().unwrap();
            log.push(request.clone());
            log.iter().filter(|one| one.path == request.path).count() - 1
        };
        if !send(reader.get_mut(), &request, &answer(&request, before, shared), shared)? {
            return Ok(());
        }
    }
    Ok(())
}

fn read(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let Some((first, headers)) = lines.split_first() else { return Ok(None) };
    let mut words = first.split(' ').map(str::to_owned);
    let pair = |line: &String| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    Ok(Some(Request { method, path, headers: headers.iter().filter_map(pair).collect() }))
}

/// What is to be answered; `before` is how often the same path was asked for already.
fn answer(request: &Request, before: usize, shared: &Shared) -> Answer {
    let path = request.path.split('?').next().unwrap_or_default().trim_start_matches('/');
    let (behaviour, name) = path.split_once('/').unwrap_or((path, ""));
    let file = || file(request, &shared.folder.join(decoded(name)), true);
    let text = |kind: &str, text: &str| Answer::new(200, text.into()).header("Content-Type", kind.into());
    match behaviour {
        "no-ranges" => self::file(request, &shared.folder.join(decoded(name)), false),
        "403" | "404" | "410" | "500" => Answer::new(behaviour.parse().unwrap(), b"no".to_vec()),
        "busy" => Answer::new(429, Vec::new()).header("Retry-After", "1".into()),
        "later" if before == 0 => Answer::new(429, Vec::new()).header("Retry-After", "1".into()),
        "shaky" if before < 2 => Answer::new(503, Vec::new()),
        // Not before there is a file `ready`.
        "soon" if !shared.folder.join("ready").exists() => Answer::new(503, Vec::new()),
        // Only with the right query.
        "signed" if !request.path.contains("?token=a%26b") => Answer::new(403, b"no".to_vec()),
        "good" | "later" | "shaky" | "soon" | "signed" => file(),
        // A playlist signs what it names anew each time. Its first signature came too late for any segment, and each
        // that follows is good for two more.
        "expires" if name.contains(".m3u8") => {
            let mut answer = self::file(request, &shared.folder.join(decoded(name)), false);
            let list = String::from_utf8(answer.body).unwrap();
            answer.body = list.replace("SIGNATURE", &before.to_string()).into_bytes();
            answer
        }
        "expires" => {
            let signed: Option<usize> = request.path.rsplit_once('=').and_then(|(_, number)| number.parse().ok());
            let number: String = name.chars().filter(char::is_ascii_digit).collect();
            let number: usize = number.parse().unwrap();
            if signed.is_some_and(|signed| number < 2 * signed) {
                file()
            } else {
                Answer::new(403, b"expired".to_vec())
            }
        }
        "drops" => Answer { flow: Flow::Cut(40_000), ..file() },
        "short" => {
            let answer = self::file(request, &shared.folder.join(decoded(name)), false);
            Answer { flow: Flow::Cut(answer.body.len() / 2), ..answer }
        }
        "packed" => {
            let answer = self::file(request, &shared.folder.join(decoded(&format!("{name}.gz"))), false);
            answer.header("Content-Encoding", "gzip".into())
        }
        "drip" => Answer { flow: Flow::Drip, ..file() },
        "page" => text("text/html", PAGE),
        "dressed-page" => text("video/mp4", PAGE),
        "empty" => text("video/mp4", ""),
        "xml" => text("application/xml", XML),
        "lies" => lying(file()),
        "moved" => Answer::new(302, Vec::new()).header("Location", format!("/good/{name}")),
        "circle" => Answer::new(302, Vec::new()).header("Location", request.path.clone()),
        "away" => Answer::new(302, Vec::new()).header("Location", format!("http://{name}")),
        "to-file" => Answer::new(302, Vec::new()).header("Location", "file:///etc/passwd".into()),
        _ => Answer::new(404, b"no".to_vec()),
    }
}

/// A file or a part of it.
fn file(request: &Request, path: &Path, ranges: bool) -> Answer {
    let Ok(bytes) = fs::read(path) else { return Answer::new(404, b"no".to_vec()) };
    let kind = match path.extension().and_then(|ending| ending.to_str()) {
        Some("mp4") => "video/mp4",
        Some("m3u8") => "application/vnd.apple.mpegurl",
        Some("ts") => "video/mp2t",
        Some("html") => "text/html",
        _ => "application/octet-stream",
    };
    let size = bytes.len();
    let asked = request.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let answer = match asked.filter(|_| ranges) {
        Some((from, to)) => {
            let from = from.parse().unwrap_or(0);
            let to = to.parse().map_or(size, |last: usize| size.min(last + 1));
            if from >= to {
                return Answer::new(416, Vec::new()).header("Content-Range", format!("bytes */{size}"));
            }
            let answer = Answer::new(206, bytes.get(from..to).unwrap_or_default().to_vec());
            answer.header("Content-Range", format!("bytes {from}-{}/{size}", to - 1))
        }
        None => Answer::new(200, bytes),
    };
    let tag = format!("\"{size}\"");
    answer.header("Content-Type", kind.into()).header("ETag", tag)
}

/// The right bytes under the number of others.
fn lying(mut answer: Answer) -> Answer {
    for (name, value) in &mut answer.headers {
        if *name == "Content-Range" {
            *value = "bytes 77-99/100000".into();
        }
    }
    answer
}

impl Answer {
    fn new(status: u16, body: Vec<u8>) -> Self {
        Self { status, headers: Vec::new(), body, flow: Flow::Whole }
    }

    fn header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// Sends an answer; tells whether the connection stays open.
fn send(stream: &mut TcpStream, request: &Request, answer: &Answer, shared: &Shared) -> io::Result<bool> {
    let mut head = format!("HTTP/1.1 {} Test\r\nContent-Length: {}\r\n", answer.status, answer.body.len());
    for (name, value) in &answer.headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    stream.write_all((head + "\r\n").as_bytes())?;
    if request.method == "HEAD" {
        return Ok(true);
    }
    match answer.flow {
        Flow::Whole => stream.write_all(&answer.body)?,
        Flow::Cut(most) => {
            let sent = most.min(answer.body.len());
            stream.write_all(answer.body.get(..sent).unwrap_or_default())?;
            return Ok(sent == answer.body.len());
        }
        Flow::Drip => {
            for byte in answer.body.chunks(1) {
                stream.write_all(byte)?;
                thread::sleep(Duration::from_secs(1));
                if shared.ended.load(Ordering::SeqCst) {
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
}

/// A path without its percent signs.
fn decoded(path: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt as _;
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes().bytes();
    while let Some(byte) = rest.next() {
        let byte = byte.unwrap();
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next().unwrap().unwrap()).to_digit(16).unwrap();
        let number = digit() * 16 + digit();
        bytes.push(u8::try_from(number).unwrap());
    }
    // A server of tests may be asked for anything, but serves its folder only.
    let path = PathBuf::from(std::ffi::OsString::from_vec(bytes));
    path.components().filter(|part| matches!(part, std::path::Component::Normal(_))).collect()
}
