//! Real servers of queues: each a child of the test, in a folder of its own, on a free port.

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
const PATIENCE: Duration = Duration::from_mins(3);

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
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let spread = u16::try_from(std::process::id() % 600).unwrap() * 20;
    loop {
        let port = 20_000 + (spread + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A server that was killed has its port for a moment longer.
fn wait_until_free(port: u16) {
    let end = Instant::now() + PATIENCE;
    while let Err(error) = TcpListener::bind(("127.0.0.1", port)) {
        assert!(Instant::now() < end, "port {port}: {error}");
        std::thread::sleep(Duration::from_millis(10));
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
        wait_until_free(self.port);
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

/// What a rabbitmq-server takes to stand alone: its own names, ports and folders.
const RABBIT: &str = r#"epmd -port "$ERL_EPMD_PORT" -address 127.0.0.1 & exec /usr/lib/rabbitmq/bin/rabbitmq-server"#;

/// A rabbitmq-server of our own, which keeps what it was told through `kill -9`.
pub(crate) struct RabbitServer {
    folder: tempfile::TempDir,
    port: u16,
    others: [u16; 2],
    more: String,
    running: Option<Guarded>,
}

impl RabbitServer {
    /// Virtual hosts, each a world of its own.
    const HOSTS: u64 = 40;

    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// With more settings, as Erlang's command line has them.
    pub(crate) fn start_with(more: &str) -> Self {
        let (folder, others) = (tempfile::tempdir().unwrap(), [free_port(), free_port()]);
        let mut server = Self { folder, port: free_port(), others, more: more.into(), running: None };
        let path = |name: &str| server.folder.path().join(name);
        fs::write(path("definitions.json"), definitions()).unwrap();
        let settings = format!(
            "listeners.tcp.1 = 127.0.0.1:{}\nlog.console = true\nlog.console.level = warning\nlog.file = false\n\
             vm_memory_high_watermark.absolute = 1GB\ndisk_free_limit.absolute = 50MB\n\
             load_definitions = {}\n",
            server.port,
            path("definitions.json").display()
        );
        fs::write(path("rabbitmq.conf"), settings).unwrap();
        fs::write(path("plugins"), "[].").unwrap();
        server.again();
        server
    }

    /// Starts it anew, on the same port with the same data.
    pub(crate) fn again(&mut self) {
        self.running = None;
        wait_until_free(self.port);
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let [distribution, epmd] = self.others.map(|port| port.to_string());
        let environment = [
            ("HOME", path("")),
            ("RABBITMQ_NODENAME", format!("forebay{}@localhost", self.port)),
            ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".into()),
            ("RABBITMQ_NODE_PORT", self.port.to_string()),
            ("RABBITMQ_DIST_PORT", distribution),
            ("ERL_EPMD_PORT", epmd),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".into()),
            ("RABBITMQ_MNESIA_BASE", path("mnesia")),
            ("RABBITMQ_LOG_BASE", path("logs")),
            ("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", path("plugins")),
            ("RABBITMQ_CONF_ENV_FILE", "/dev/null".into()),
            ("RABBITMQ_PID_FILE", path("pid")),
            (
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                format!("-kernel inet_dist_use_interface {{127,0,0,1}} {}", self.more),
            ),
            ("RABBITMQ_SERVER_START_ARGS", "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none".into()),
            ("LC_ALL", "C.UTF-8".into()),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value));
        let arguments = ["bash", "-c", RABBIT].map(String::from);
        self.running = Some(Guarded::start(self.folder.path(), &arguments, &environment));
        let log = self.folder.path().join("log");
        // It answers a wrong greeting with the right one.
        wait_for("rabbitmq-server", &log, || answers(self.port, b"XXXX0000", b"AMQP"));
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.running.as_ref().unwrap().signal(signal);
    }

    /// The address of one of its virtual hosts.
    pub(crate) fn url(&self, host: u64) -> String {
        assert!(host < Self::HOSTS, "more hosts are needed");
        format!("amqp://guest:guest@127.0.0.1:{}/v{host}", self.port)
    }

    /// The one that all tests share, and a virtual host in it that nobody else uses.
    pub(crate) fn shared() -> String {
        static SERVER: OnceLock<RabbitServer> = OnceLock::new();
        static HOST: AtomicU64 = AtomicU64::new(0);
        let server = SERVER.get_or_init(Self::start);
        server.url(HOST.fetch_add(1, Ordering::Relaxed))
    }
}

/// The virtual hosts, and who may use them.
fn definitions() -> String {
    let names: Vec<String> = (0..RabbitServer::HOSTS).map(|host| format!("v{host}")).collect();
    let hosts: Vec<_> = names.iter().map(|name| serde_json::json!({ "name": name })).collect();
    let rights =
        |name| serde_json::json!({ "user": "guest", "vhost": name, "configure": ".*", "write": ".*", "read": ".*" });
    let rights: Vec<_> = names.iter().map(rights).collect();
    let user = serde_json::json!({ "name": "guest", "password": "guest", "tags": "administrator" });
    serde_json::json!({ "users": [user], "vhosts": hosts, "permissions": rights }).to_string()
}
