//! A real server of queues: a child of the test, in a folder of its own, on a free port.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// Long enough for a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Runs `"$@"` in a group of its own, and kills that group when standard input
/// closes: with this handle, or with the test, however that ends.
const GUARD: &str =
    r#"exec 2>/dev/null; set -m; "$@" </dev/null >>log 2>&1 & echo $!; cat >/dev/null; kill -9 -- -$! 2>/dev/null"#;

/// A server that ends with this handle, and with the test.
struct Guarded {
    guard: Child,
    input: Option<ChildStdin>,
    server: Pid,
}

impl Guarded {
    fn start(folder: &Path, arguments: &[String], environment: &[(String, String)]) -> Self {
        let mut command = Command::new("bash");
        command.args(["-c", GUARD, "guard"]).args(arguments).current_dir(folder);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut guard = command.spawn().unwrap();
        let input = guard.stdin.take();
        let mut line = String::new();
        BufReader::new(guard.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { guard, input, server: Pid::from_raw(line.trim().parse().unwrap()).unwrap() }
    }

    fn signal(&self, signal: Signal) {
        // The whole group: a server of several processes stops as one.
        kill_process_group(self.server, signal).unwrap_or_default();
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        drop(self.input.take());
        self.guard.wait().unwrap();
    }
}

/// Ports below those that the kernel gives out, so that a server that starts anew finds its own again.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let spread = u16::try_from(std::process::id() % 600).unwrap() * 20;
    loop {
        let port = 20_000 + (spread + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn wait_for(what: &str, log: &Path, ready: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !ready() {
        let said = || fs::read_to_string(log).unwrap_or_default();
        assert!(Instant::now() < end, "{what} does not start: {}", said());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whether the server answers `question` with something that begins with `answer`.
fn answers(port: u16, question: &[u8], answer: &[u8]) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut got = vec![0; answer.len()];
    stream.write_all(question).is_ok() && stream.read_exact(&mut got).is_ok() && got == answer
}

/// A redis-server of our own, which keeps what it was told through `kill -9`.
pub(crate) struct RedisServer {
    folder: tempfile::TempDir,
    pub(crate) port: u16,
    running: Option<Guarded>,
}

impl RedisServer {
    pub(crate) fn start(fsync: &str) -> Self {
        let mut server = Self { folder: tempfile::tempdir().unwrap(), port: free_port(), running: None };
        server.again(fsync);
        server
    }

    /// Starts it anew, on the same port with the same data.
    pub(crate) fn again(&mut self, fsync: &str) {
        let port = self.port.to_string();
        let aof = if fsync == "off" { ["no", "everysec"] } else { ["yes", fsync] };
        let arguments = [
            "redis-server",
            "--bind",
            "127.0.0.1",
            "--port",
            &port,
            "--databases",
            "64",
            "--save",
            "",
            "--appendonly",
            aof[0],
            "--appendfsync",
            aof[1],
        ];
        self.running = None;
        self.running = Some(Guarded::start(self.folder.path(), &arguments.map(String::from), &[]));
        let log = self.folder.path().join("log");
        wait_for("redis-server", &log, || answers(self.port, b"PING\r\n", b"+PONG"));
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.running.as_ref().unwrap().signal(signal);
    }

    /// The address of one of its databases.
    pub(crate) fn url(&self, database: u64) -> String {
        format!("redis://127.0.0.1:{}/{database}", self.port)
    }

    /// The one that all tests share, and a database in it that nobody else uses.
    pub(crate) fn shared() -> String {
        static SERVER: OnceLock<RedisServer> = OnceLock::new();
        static DATABASE: AtomicU64 = AtomicU64::new(0);
        let server = SERVER.get_or_init(|| Self::start("always"));
        server.url(DATABASE.fetch_add(1, Ordering::Relaxed))
    }
}
