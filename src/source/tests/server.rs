//! A small HTTP server that behaves as badly as it is told.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What the server does. May be changed while it runs.
#[derive(Clone)]
pub(super) struct Behaviour {
    pub(super) body: Arc<Vec<u8>>,
    pub(super) content_type: &'static str,
    pub(super) etag: Option<String>,
    /// Whether it answers 206 to ranges.
    pub(super) ranges: bool,
    /// Whether it says how long a body is.
    pub(super) length: bool,
    /// Closes the connection after so many bytes of each body.
    pub(super) cut: Option<usize>,
    /// Added to the bytes that `Content-Range` names.
    pub(super) lie: u64,
    /// Answers with these first: status and further headers.
    pub(super) script: VecDeque<(u16, &'static str)>,
    /// Bytes sent at once, and the wait after each.
    pub(super) pace: Option<(usize, Duration)>,
    /// A new entity tag and body from this request on.
    pub(super) flips_at: Option<usize>,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) headers: Vec<(String, String)>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) behaviour: Arc<Mutex<Behaviour>>,
    log: Arc<Mutex<Vec<Request>>>,
    _tasks: JoinSet<()>,
}

impl Behaviour {
    pub(super) fn good(body: Vec<u8>) -> Self {
        Self {
            body: Arc::new(body),
            content_type: "video/mp4",
            etag: Some("\"one\"".into()),
            ranges: true,
            length: true,
            cut: None,
            lie: 0,
            script: VecDeque::new(),
            pace: None,
            flips_at: None,
        }
    }
}

impl Server {
    pub(super) async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (behaviour, log) = (Arc::new(Mutex::new(behaviour)), Arc::new(Mutex::new(Vec::new())));
        let mut tasks = JoinSet::new();
        let (known, seen) = (Arc::clone(&behaviour), Arc::clone(&log));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (known, seen) = (Arc::clone(&known), Arc::clone(&seen));
                connections.spawn(async move {
                    // A client that goes away is no fault of the server.
                    serve(stream, &known, &seen).await.unwrap_or_default();
                });
            }
        });
        Self { address, behaviour, log, _tasks: tasks }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.behaviour.lock().unwrap());
    }
}

async fn serve(stream: TcpStream, known: &Mutex<Behaviour>, log: &Mutex<Vec<Request>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await? {
        let (behaviour, scripted) = {
            let mut log = log.lock().unwrap();
            log.push(request.clone());
            let mut behaviour = known.lock().unwrap();
            if behaviour.flips_at.is_some_and(|at| log.len() >= at) {
                behaviour.flips_at = None;
                behaviour.etag = Some("\"two\"".into());
                behaviour.body = Arc::new(behaviour.body.iter().map(|byte| !byte).collect());
            }
            let scripted = behaviour.script.pop_front();
            (behaviour.clone(), scripted)
        };
        if let Some((status, headers)) = scripted {
            let head = format!("HTTP/1.1 {status} Scripted\r\nContent-Length: 0\r\n{headers}\r\n");
            stream.get_mut().write_all(head.as_bytes()).await?;
        } else if !answer(stream.get_mut(), &request, &behaviour).await? {
            return Ok(());
        }
    }
    Ok(())
}

async fn read(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<Request>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let method = lines[0].split(' ').next().unwrap().to_owned();
    let pair = |line: &String| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    Ok(Some(Request { method, headers: lines.iter().skip(1).filter_map(pair).collect() }))
}

/// Sends the body. Answers whether the connection stays open.
async fn answer(stream: &mut TcpStream, request: &Request, behaviour: &Behaviour) -> std::io::Result<bool> {
    let size = behaviour.body.len();
    let same = request.header("if-range").is_none_or(|tag| Some(tag) == behaviour.etag.as_deref());
    let asked = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let (from, to, status) = match asked.filter(|_| behaviour.ranges && same) {
        Some((from, to)) => {
            let (from, to) = (from.parse().unwrap(), to.parse().map_or(size, |last: usize| size.min(last + 1)));
            if from >= size { (0, 0, 416) } else { (from, to, 206) }
        }
        None => (0, size, 200),
    };
    let mut head = format!("HTTP/1.1 {status} Fine\r\nContent-Type: {}\r\n", behaviour.content_type);
    if behaviour.length {
        write!(head, "Content-Length: {}\r\n", to - from).unwrap();
    } else {
        head += "Connection: close\r\n";
    }
    if let Some(etag) = &behaviour.etag {
        write!(head, "ETag: {etag}\r\n").unwrap();
    }
    if status == 206 {
        let (first, last) = (from as u64 + behaviour.lie, (to - 1) as u64 + behaviour.lie);
        write!(head, "Content-Range: bytes {first}-{last}/{}\r\n", size as u64 + behaviour.lie).unwrap();
    }
    stream.write_all((head + "\r\n").as_bytes()).await?;
    if request.method == "HEAD" {
        return Ok(true);
    }
    let body = &behaviour.body[from..to];
    let sent = &body[..behaviour.cut.unwrap_or(body.len()).min(body.len())];
    match behaviour.pace {
        None => stream.write_all(sent).await?,
        Some((step, wait)) => {
            for bytes in sent.chunks(step) {
                stream.write_all(bytes).await?;
                tokio::time::sleep(wait).await;
            }
        }
    }
    Ok(behaviour.length && sent.len() == body.len())
}
