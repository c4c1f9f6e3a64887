//! A small HTTP server with ranges, which counts what it sends.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Bytes sent at once.
const STEP: usize = 16 * 1024;

/// Serves one file at every path; at `/page` it is an HTML page.
pub(crate) struct Server {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    body: Vec<u8>,
    /// Wait after each step.
    pause: Duration,
    sent: AtomicU64,
    requests: AtomicU64,
}

impl Server {
    /// Serves `file` at about `bytes_per_second` to each connection.
    pub(crate) fn start(file: &Path, bytes_per_second: u32) -> Self {
        let body = fs::read(file).unwrap();
        let pause = Duration::from_micros(STEP as u64 * 1_000_000 / u64::from(bytes_per_second));
        let shared = Arc::new(Shared { body, pause, sent: AtomicU64::new(0), requests: AtomicU64::new(0) });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answering = Arc::clone(&shared);
        // It ends with the tests: a thread that waits for connections cannot be asked to.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&answering);
                // A client that was killed hangs up in the middle, which is no error here.
                std::thread::spawn(move || shared.answer(&stream).unwrap_or_default());
            }
        });
        Self { port, shared }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// Bytes of the file, and all bytes of bodies that were sent.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.shared.body.len() as u64, self.shared.sent.load(Ordering::SeqCst))
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn answer(&self, mut stream: &TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut request = String::new();
        while reader.read_line(&mut request)? > 2 {}
        self.requests.fetch_add(1, Ordering::SeqCst);
        if request.contains(" /page") {
            let page = "<!doctype html><title>a page</title>";
            let length = page.len();
            return write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{page}"
            );
        }
        let whole = self.body.len();
        let range = request.to_lowercase().split_once("range: bytes=").and_then(|(_, rest)| {
            let (from, to) = rest.lines().next()?.split_once('-')?;
            Some((from.parse().ok()?, to.parse::<usize>().map_or(whole, |to| (to + 1).min(whole))))
        });
        let (from, to) = range.unwrap_or((0, whole));
        let body = self.body.get(from..to).unwrap_or_default();
        let status = if range.is_some() { "206 Partial Content" } else { "200 OK" };
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: video/mp4\r\nETag: \"one\"\r\nContent-Length: {}\r\n",
            body.len()
        )?;
        if range.is_some() {
            write!(stream, "Content-Range: bytes {from}-{}/{whole}\r\n", to.saturating_sub(1))?;
        }
        write!(stream, "Accept-Ranges: bytes\r\nConnection: close\r\n\r\n")?;
        if request.starts_with("HEAD") {
            return Ok(());
        }
        for step in body.chunks(STEP) {
            stream.write_all(step)?;
            self.sent.fetch_add(step.len() as u64, Ordering::SeqCst);
            std::thread::sleep(self.pause);
        }
        Ok(())
    }
}
