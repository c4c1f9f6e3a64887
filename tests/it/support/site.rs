//! `forebay serve` as a child of the test, and a client that sends what it is told, byte for byte.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::sandbox::{Running, Sandbox};

/// Nothing that a test waits for takes longer, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(100);

/// A server, killed when dropped.
pub(crate) struct Site {
    pub(crate) sandbox: Sandbox,
    pub(crate) running: Running,
    pub(crate) port: u16,
    pub(crate) token: Option<String>,
    arguments: Vec<String>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Fails the test unless the status is this one.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}

impl Site {
    /// Starts a server on a free port with its state in `state`.
    pub(crate) fn start(sandbox: Sandbox, options: &[&str]) -> Self {
        Self::start_with(sandbox, options, &[])
    }

    /// Starts a server with more variables.
    pub(crate) fn start_with(sandbox: Sandbox, options: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut arguments: Vec<String> =
            ["serve", "--listen", "127.0.0.1:0", "--state", "state"].map(String::from).into();
        arguments.extend(options.iter().map(|option| (*option).to_owned()));
        let running = sandbox.start_with(&arguments, variables);
        let port = port(&running);
        Self { sandbox, running, port, token: None, arguments }
    }

    /// The server that `command` starts in `sandbox`.
    pub(crate) fn of(command: std::process::Command, sandbox: Sandbox) -> Self {
        let running = sandbox.spawn(command);
        let port = port(&running);
        Self { sandbox, running, port, token: None, arguments: Vec::new() }
    }

    /// Starts a server whose state lies on a disk of its own of so many kilobytes. `unshare` has the
    /// options by which this user may mount.
    pub(crate) fn start_on_disk(sandbox: Sandbox, unshare: &[&str], kilobytes: u64) -> Self {
        let script = "mkdir -p state && mount -t tmpfs -o size=$1 tmpfs state && shift && exec \"$@\"";
        let arguments: Vec<String> =
            ["serve", "--no-worker", "--listen", "127.0.0.1:0", "--state", "state"].map(String::from).into();
        let mut command = sandbox.command("unshare");
        command.args(unshare).args(["sh", "-c", script, "sh", &format!("{kilobytes}k")]);
        command.arg(env!("CARGO_BIN_EXE_forebay")).args(&arguments);
        let running = sandbox.spawn(command);
        let port = port(&running);
        Self { sandbox, running, port, token: None, arguments }
    }

    /// The same server again, after it ended in whatever way.
    pub(crate) fn restart(self) -> Self {
        let Self { sandbox, running, arguments, token, .. } = self;
        drop(running);
        let running = sandbox.start_with(&arguments, &[]);
        let port = port(&running);
        Self { sandbox, running, port, token, arguments }
    }

    /// Makes a token and uses it from now on.
    pub(crate) fn with_token(mut self, name: &str, scope: &str) -> Self {
        self.token = Some(self.add_token(name, scope));
        self
    }

    /// Makes a token.
    pub(crate) fn add_token(&self, name: &str, scope: &str) -> String {
        let run = self.sandbox.forebay(["token", "add", name, "--scope", scope, "--state", "state"]).expect(0);
        run.stdout.trim().to_owned()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Asks with the token, if there is one.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        let bearer = self.token.as_ref().map(|token| format!("Bearer {token}"));
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(bearer.as_ref().map(|bearer| ("authorization", bearer.as_str())));
        self.send(method, path, &headers, body)
    }

    /// Asks with these headers and none besides but `Host` and `Content-Length`.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        // Without chunks, so that a test reads what it gets.
        let mut lines = vec![format!("{method} {path} HTTP/1.0")];
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            lines.push(format!("host: 127.0.0.1:{}", self.port));
        }
        if !body.is_empty() || !matches!(method, "GET" | "HEAD") {
            lines.push(format!("content-length: {}", body.len()));
        }
        lines.extend(headers.iter().map(|(name, value)| format!("{name}: {value}")));
        stream.write_all(format!("{}\r\n\r\n", lines.join("\r\n")).as_bytes()).unwrap();
        // A server that refuses may close before it has read everything.
        stream.write_all(body).unwrap_or_default();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap_or_default();
        parse(&bytes)
    }

    /// Uploads a file and gives the name that a job calls it by.
    pub(crate) fn upload(&self, name: &str, bytes: &[u8]) -> String {
        let answer = self.ask("PUT", &format!("/api/v1/uploads/{name}"), bytes).expect(201);
        answer.json()["input"].as_str().unwrap().to_owned()
    }

    /// Hands in a job and gives its number.
    pub(crate) fn submit(&self, job: &Value) -> String {
        let answer = self.ask("POST", "/api/v1/jobs", job.to_string().as_bytes()).expect(201);
        answer.json()["id"].as_str().unwrap().to_owned()
    }
}

fn port(running: &Running) -> u16 {
    let said = wait("server to listen", || {
        let said = running.said();
        said.contains("serving http://").then_some(said)
    });
    let rest = said.split("serving http://127.0.0.1:").nth(1).unwrap();
    rest.split('/').next().unwrap().parse().unwrap()
}

/// Waits until there is something.
#[track_caller]
pub(crate) fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited too long for the {what}");
        std::thread::sleep(Duration::from_millis(30));
    }
}

/// Reads a message of HTTP/1 whose end is the end of the connection.
fn parse(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(bytes.len());
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0);
    let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    Answer {
        status,
        headers: lines.filter_map(header).collect(),
        body: bytes.get(end + 4..).unwrap_or_default().to_vec(),
    }
}

/// Somebody who is told by webhook: answers with the statuses it is given, the last one for ever.
pub(crate) struct Receiver {
    pub(crate) port: u16,
    pub(crate) messages: mpsc::Receiver<Answer>,
}

impl Receiver {
    pub(crate) fn start(statuses: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, messages) = mpsc::channel();
        let statuses = statuses.to_vec();
        std::thread::spawn(move || {
            for (place, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let status = statuses.get(place).or(statuses.last()).copied().unwrap_or(200);
                let message = receive(&mut stream);
                stream
                    .write_all(
                        format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").as_bytes(),
                    )
                    .unwrap_or_default();
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        Self { port, messages }
    }

    /// The next message.
    pub(crate) fn next(&self) -> Answer {
        self.messages.recv_timeout(PATIENCE).expect("a webhook comes")
    }
}

fn receive(stream: &mut TcpStream) -> Answer {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let message = parse(&bytes);
        let length: usize = message.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(usize::MAX);
        if message.body.len() >= length {
            return message;
        }
        match stream.read(&mut buffer) {
            Ok(read) if read > 0 => bytes.extend_from_slice(&buffer[..read]),
            _ => return message,
        }
    }
}
