//! The way out for yt-dlp when it works for strangers: a proxy on this machine
//! that looks at each connection, whatever a page, a playlist or a redirect names.
//!
//! It lives as long as one run of yt-dlp and serves nobody else: it wants a
//! password that was drawn for this run.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use url::{Host, Position, Url};

use super::guard::{look_up, refused};
use crate::model::address::Reach;
use crate::model::failure::{Class, Failure};

/// yt-dlp loads four fragments of picture and of sound at once, and asks a few pages besides.
const MOST_CONNECTIONS: usize = 64;

/// No request line and no header of yt-dlp is longer.
const LONGEST_HEAD: u64 = 64 * 1024;

/// Longest wait for a request to be spoken out, and for a server to take the connection.
const PATIENCE: Duration = Duration::from_secs(15);

/// A proxy for one run of yt-dlp.
pub(super) struct Gate {
    listener: TcpListener,
    /// What yt-dlp is told.
    url: String,
    shared: Arc<Shared>,
}

struct Shared {
    reach: Reach,
    /// The value of `Proxy-Authorization`.
    pass: String,
    /// The host that was asked for last and is out of reach.
    refused: Mutex<Option<String>>,
}

/// What a client wants.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    host: String,
    port: u16,
    /// What to say to the server; nothing for a tunnel.
    head: Option<String>,
    /// Bytes that follow the head.
    body: u64,
}

impl Gate {
    /// Opens a gate, if there is anything to guard.
    pub(super) async fn open(reach: &Reach) -> Result<Option<Self>, Failure> {
        if *reach == Reach::Anywhere {
            return Ok(None);
        }
        let open = async {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
            let port = listener.local_addr()?.port();
            let mut drawn = [0; 16];
            getrandom::fill(&mut drawn).map_err(|error| io::Error::other(error.to_string()))?;
            let password = hex::encode(drawn);
            let pass = format!("Basic {}", STANDARD.encode(format!("forebay:{password}")));
            let shared = Arc::new(Shared { reach: reach.clone(), pass, refused: Mutex::default() });
            Ok(Self { listener, url: format!("http://forebay:{password}@127.0.0.1:{port}"), shared })
        };
        open.await.map(Some).map_err(|error: io::Error| Failure::io("could not open a port for yt-dlp", &error))
    }

    /// The proxy's address with its password.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Serves while `work` goes on. If it failed and wanted out of reach, that is why.
    pub(super) async fn serve<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let outcome = tokio::select! {
            outcome = work => outcome,
            never = self.accept() => match never {},
        };
        outcome.map_err(|failure| match self.shared.refused().take() {
            Some(host) if failure.class != Class::Stopped => refused(&host),
            _ => failure,
        })
    }

    async fn accept(&self) -> Infallible {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((client, _)) if connections.len() < MOST_CONNECTIONS => {
                        let shared = Arc::clone(&self.shared);
                        connections.spawn(async move { talk(client, &shared).await });
                    }
                    // Closed at once: yt-dlp tries again.
                    Ok(_) => {}
                    Err(error) => {
                        tracing::warn!(%error, "the gate for yt-dlp cannot take a connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(ended) = connections.join_next() => {
                    if let Ok(Err(error)) = ended {
                        tracing::debug!(%error, "a connection through the gate ended");
                    }
                }
            }
        }
    }
}

impl Shared {
    fn refused(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection to a host, if it is within reach.
    async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let parsed = Host::parse(host).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let borrowed = match &parsed {
            Host::Domain(name) => Host::Domain(name.as_str()),
            Host::Ipv4(address) => Host::Ipv4(*address),
            Host::Ipv6(address) => Host::Ipv6(*address),
        };
        if !self.reach.may_ask_host(&borrowed, port) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "out of reach"));
        }
        let addresses = match parsed {
            Host::Domain(name) => look_up(&self.reach, &name, port).await?,
            Host::Ipv4(address) => vec![(address, port).into()],
            Host::Ipv6(address) => vec![(address, port).into()],
        };
        TcpStream::connect(addresses.as_slice()).await
    }
}

/// One connection: one request, or one tunnel.
async fn talk(client: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut client = BufReader::new(client);
    let head = within(read_head(&mut client)).await?;
    let request = match read_request(&head, &shared.pass) {
        Ok(request) => request,
        Err(status) => return answer(&mut client, status).await,
    };
    let mut server = match within(shared.connect(&request.host, request.port)).await {
        Ok(server) => server,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            tracing::info!(host = request.host, port = request.port, "a page led into a private network");
            *shared.refused() = Some(format!("{}:{}", request.host, request.port));
            return answer(&mut client, "403 Forbidden").await;
        }
        // yt-dlp takes it for a network that may be better later, which it is.
        Err(_) => return answer(&mut client, "504 Gateway Timeout").await,
    };
    match &request.head {
        None => {
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
            tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
        }
        Some(head) => {
            server.write_all(head.as_bytes()).await?;
            tokio::io::copy(&mut (&mut client).take(request.body), &mut server).await?;
            pass_answer(client, server).await
        }
    }
}

/// Passes one answer on, and says that it is the last on this connection, as the next
/// request may be meant for another server.
async fn pass_answer(mut client: BufReader<TcpStream>, server: TcpStream) -> io::Result<()> {
    let mut server = BufReader::new(server);
    let mut head = read_head(&mut server).await?;
    while head.split(' ').nth(1).is_some_and(|status| status.starts_with('1')) {
        head = read_head(&mut server).await?;
    }
    client.write_all(with_last_words(head.lines()).as_bytes()).await?;
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let mut silence = [0; 1];
    tokio::select! {
        copied = tokio::io::copy(&mut server, &mut to_client) => {
            copied?;
            to_client.shutdown().await
        }
        // It went away, or says what it must not say yet.
        _ = from_client.read(&mut silence) => Ok(()),
    }
}

async fn within<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn answer(client: &mut BufReader<TcpStream>, status: &str) -> io::Result<()> {
    let text = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    client.write_all(text.as_bytes()).await?;
    client.shutdown().await
}

/// Lines up to the empty one.
async fn read_head<R: AsyncRead + Unpin>(from: &mut BufReader<R>) -> io::Result<String> {
    let mut head = Vec::new();
    let mut limited = from.take(LONGEST_HEAD);
    while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"\n\n") {
        if limited.read_until(b'\n', &mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    // Headers are ASCII or UTF-8, and now and then Latin 1.
    Ok(String::from_utf8(head).unwrap_or_else(|error| error.as_bytes().iter().copied().map(char::from).collect()))
}

/// Reads a request to a proxy, or gives the status that refuses it.
fn read_request(head: &str, pass: &str) -> Result<Request, &'static str> {
    const BAD: &str = "400 Bad Request";
    let mut lines = head.lines();
    let mut words = lines.next().ok_or(BAD)?.split(' ');
    let (method, target) = (words.next().ok_or(BAD)?, words.next().ok_or(BAD)?);
    let header = |wanted: &str| {
        let mut headers = head.lines().skip(1).filter_map(|line| line.split_once(':'));
        headers.find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
    };
    if header("proxy-authorization") != Some(pass) {
        // ffmpeg says its password only when asked for it.
        return Err("407 Proxy Authentication Required\r\nproxy-authenticate: Basic realm=forebay");
    }
    if header("transfer-encoding").is_some() {
        return Err("411 Length Required");
    }
    if method == "CONNECT" {
        let (host, port) = target.rsplit_once(':').ok_or(BAD)?;
        return Ok(Request { host: host.into(), port: port.parse().map_err(|_| BAD)?, head: None, body: 0 });
    }
    let url = Url::parse(target).ok().filter(|url| url.scheme() == "http").ok_or(BAD)?;
    let first = format!("{method} {} HTTP/1.1", &url[Position::BeforePath..Position::AfterQuery]);
    Ok(Request {
        host: url.host_str().ok_or(BAD)?.into(),
        port: url.port_or_known_default().ok_or(BAD)?,
        head: Some(with_last_words([first.as_str()].into_iter().chain(lines))),
        body: header("content-length").map_or(Ok(0), str::parse).map_err(|_| BAD)?,
    })
}

/// A head without what concerns this one connection alone, which is then closed.
fn with_last_words<'l>(lines: impl Iterator<Item = &'l str>) -> String {
    let ours = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default().trim().to_ascii_lowercase();
        !name.is_empty() && name != "connection" && name != "keep-alive" && !name.starts_with("proxy-")
    };
    let kept: Vec<&str> = lines.filter(ours).chain(["connection: close", "", ""]).collect();
    kept.join("\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_and_strangers_refused() {
        let read = |head: &str| read_request(head, "Basic x");
        let tunnel = read("CONNECT [2606:4700::1]:443 HTTP/1.1\r\nProxy-Authorization: Basic x\r\n\r\n").unwrap();
        assert_eq!((tunnel.host.as_str(), tunnel.port, tunnel.head), ("[2606:4700::1]", 443, None));
        let plain = read(
            "POST http://h.example:81/a/b?c=d HTTP/1.1\r\nHost: h.example:81\r\nProxy-Authorization: Basic x\r\n\
             Connection: keep-alive\r\nContent-Length: 7\r\n\r\n",
        );
        let plain = plain.unwrap();
        assert_eq!((plain.host.as_str(), plain.port, plain.body), ("h.example", 81, 7));
        let head = "POST /a/b?c=d HTTP/1.1\r\nHost: h.example:81\r\nContent-Length: 7\r\nconnection: close\r\n\r\n";
        assert_eq!(plain.head.unwrap(), head);
        // The forms that are no dotted numbers are read as what they are.
        let odd = read("GET http://0x7f.1/ HTTP/1.1\r\nproxy-authorization: Basic x\r\n\r\n").unwrap();
        assert_eq!(odd.host, "127.0.0.1");
        for (head, status) in [
            ("GET http://h/ HTTP/1.1\r\n\r\n", "407"),
            ("GET http://h/ HTTP/1.1\r\nProxy-Authorization: Basic y\r\n\r\n", "407"),
            ("GET ftp://h/ HTTP/1.1\r\nProxy-Authorization: Basic x\r\n\r\n", "400"),
            ("GET / HTTP/1.1\r\nProxy-Authorization: Basic x\r\n\r\n", "400"),
            ("CONNECT h HTTP/1.1\r\nProxy-Authorization: Basic x\r\n\r\n", "400"),
            ("", "400"),
        ] {
            assert!(read(head).unwrap_err().starts_with(status), "{head}");
        }
    }

    #[tokio::test]
    async fn no_address_in_any_form_leads_home() {
        let gate = Gate::open(&Reach::listed(&[])).await.unwrap().unwrap();
        for host in ["127.0.0.1", "0177.0.0.1", "2130706433", "127.1", "[::1]", "[::ffff:10.0.0.1]", "localhost"] {
            let error = gate.shared.connect(host, 80).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{host}: {error}");
        }
        assert!(Gate::open(&Reach::Anywhere).await.unwrap().is_none());
    }
}
