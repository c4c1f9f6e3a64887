//! Real servers that keep objects, as children of the test: each is started
//! once, when the first test asks for it, and ends with this process.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use forebay::scratch::file::Privacy;
use forebay::storage::open::{Stores, Variables, WireSettings};
use forebay::storage::options::Fields;
use forebay::storage::patience::Rules;
use forebay::storage::store::{Store, StoreSettings};

/// A machine with many tests at once takes its time to start a server.
const START: Duration = Duration::from_mins(2);

/// Ends its child when its own standard input ends, which it does when this process is gone.
const TETHER: &str = r#""$@" </dev/null & child=$!; cat >/dev/null; kill $child; wait $child"#;

/// The settings with which tests open stores: quick to try again, small parts.
pub(crate) const SETTINGS: StoreSettings = StoreSettings {
    rules: Rules { most: 32, tries: 10, longest_wait: Duration::from_millis(500), patience: Duration::from_mins(5) },
    part_bytes: 5 << 20,
    parts_at_once: 3,
};

/// A server that ends with this process, or when it is dropped.
pub(crate) struct Tethered {
    child: Child,
    line: Option<ChildStdin>,
    folder: tempfile::TempDir,
}

impl Tethered {
    /// Starts a program in a folder of its own that is ready when something listens on `port`.
    pub(crate) fn listening(folder: tempfile::TempDir, program: &str, arguments: &[&str], port: u16) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", TETHER, "tether", program]).args(arguments);
        let mut started = Self::start(shell, folder);
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.child.try_wait().unwrap().is_none(), "{program} ended: {}", started.log());
            assert!(begun.elapsed() < START, "{program} does not listen: {}", started.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        started
    }

    /// Starts one of our Python servers, which prints what there is to know of it and then serves.
    pub(crate) fn script(name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> (Self, Vec<String>) {
        let folder = tempfile::Builder::new().prefix("forebay-server-").tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers").join(name);
        // The distribution's own Python has the distribution's packages.
        let mut python = Command::new("/usr/bin/python3");
        python.arg(script).arg(folder.path()).args(arguments).envs(variables.iter().copied()).stdout(Stdio::piped());
        let mut started = Self::start(python, folder);
        let mut out = BufReader::new(started.child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "{name} ended: {}", started.log());
        (started, line.split_whitespace().map(Into::into).collect())
    }

    fn start(mut command: Command, folder: tempfile::TempDir) -> Self {
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        command.current_dir(folder.path()).stdin(Stdio::piped()).stderr(log).env_remove("PYTHONHOME");
        let mut child = command.spawn().expect("scripts/setup.sh --test installs what tests need");
        let line = child.stdin.take();
        Self { child, line, folder }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Tethered {
    fn drop(&mut self) {
        drop(self.line.take());
        self.child.wait().unwrap();
    }
}

/// A port on which nothing listens.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// A name that no other test uses.
pub(crate) fn unique(name: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{name}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// All stores, with the places in `named`.
pub(crate) fn stores(named: &[(&str, Fields)]) -> Stores {
    let wire = WireSettings {
        connect_timeout: Duration::from_secs(10),
        stall: Duration::from_secs(30),
        user_agent: "forebay-tests".into(),
        ca_bundle: None,
    };
    let named: BTreeMap<String, Fields> = named.iter().map(|(name, fields)| ((*name).into(), fields.clone())).collect();
    Stores { settings: SETTINGS, wire, named, variables: Variables::default() }
}

/// The fields of a place.
pub(crate) fn fields(kind: &str, values: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::new(kind);
    for (name, value) in values {
        fields.set(name, value);
    }
    fields
}

/// Opens the place that `fields` describe.
pub(crate) fn open(fields: &Fields) -> Store {
    stores(&[("place", fields.clone())]).open("place:", Privacy::Public).unwrap()
}

/// Swift, with S3's tongue too.
pub(crate) struct Swift {
    pub(crate) port: u16,
    _server: Tethered,
    auth: String,
}

/// Swift with tokens of its own.
pub(crate) fn swift() -> &'static Swift {
    static SWIFT: OnceLock<Swift> = OnceLock::new();
    SWIFT.get_or_init(|| Swift::start(&[]))
}

impl Swift {
    /// One of its own, with these variables.
    pub(crate) fn start(variables: &[(&str, &str)]) -> Self {
        let (server, said) = Tethered::script("swift_server.py", &[], variables);
        let port: u16 = said[0].parse().unwrap();
        let auth = format!("http://127.0.0.1:{port}/auth/v1.0");
        Self { port, _server: server, auth }
    }

    /// The fields of a container, by a user with a password.
    pub(crate) fn container(&self, container: &str) -> Fields {
        let user = [("auth-url", self.auth.as_str()), ("container", container)];
        fields("swift", &[&user[..], &[("user", "test:tester"), ("password", "testing")]].concat())
    }

    /// The fields of a bucket, through its S3 side.
    pub(crate) fn bucket(&self, bucket: &str) -> Fields {
        s3_fields(self.port, bucket, "test:tester", "testing")
    }

    /// Makes a container, as an administrator would.
    pub(crate) fn make(&self, container: &str) {
        let (token, url) = self.token();
        let made = request(
            "PUT",
            &format!("{url}/{container}"),
            &[("X-Auth-Token", &token), ("X-Container-Read", ".r:*,.rlistings")],
        );
        assert!(made.is_ok_and(|status| status < 300), "{container} cannot be made");
    }

    fn token(&self) -> (String, String) {
        let script = "import sys, json, urllib.request as u\n\
            r = u.urlopen(u.Request(sys.argv[1], headers={'X-Auth-User': 'test:tester', 'X-Auth-Key': 'testing'}))\n\
            print(r.headers['X-Auth-Token'], r.headers['X-Storage-Url'])";
        let out = Command::new("python3").args(["-c", script, &self.auth]).output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        let (token, url) = text.trim().split_once(' ').unwrap();
        (token.into(), url.into())
    }
}

/// The fields of a bucket at a server on this machine.
pub(crate) fn s3_fields(port: u16, bucket: &str, access: &str, secret: &str) -> Fields {
    let endpoint = format!("http://127.0.0.1:{port}");
    let keys = [("access-key", access), ("secret-key", secret)];
    fields("s3", &[&[("endpoint", endpoint.as_str()), ("bucket", bucket), ("region", "us-east-1")], &keys[..]].concat())
}

/// Sends a request without a body; tells the status.
pub(crate) fn request(method: &str, url: &str, headers: &[(&str, &str)]) -> Result<u16, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = reqwest::Client::new().request(method, url).header("content-length", 0);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.map(|response| response.status().as_u16()).map_err(|error| error.to_string())
    })
}

/// A second server of S3, which keeps all in memory.
pub(crate) struct Moto {
    pub(crate) port: u16,
    _server: Tethered,
}

pub(crate) fn moto() -> &'static Moto {
    static MOTO: OnceLock<Moto> = OnceLock::new();
    MOTO.get_or_init(|| {
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let program = tool_home().join("bin/moto_server");
        let program = program.to_str().unwrap();
        let server = Tethered::listening(folder, program, &["-H", "127.0.0.1", "-p", &port.to_string()], port);
        Moto { port, _server: server }
    })
}

impl Moto {
    pub(crate) fn bucket(&self, bucket: &str) -> Fields {
        s3_fields(self.port, bucket, "any", "any")
    }

    pub(crate) fn make(&self, bucket: &str) {
        let made = request("PUT", &format!("http://127.0.0.1:{}/{bucket}", self.port), &[]);
        assert_eq!(made, Ok(200));
    }
}

/// Where scripts/setup.sh puts the servers that no package has.
pub(crate) fn tool_home() -> PathBuf {
    let home = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = home.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".local/share"));
    home.join("forebay/servers")
}

/// A folder that is a store, and goes when it is dropped.
pub(crate) fn folder() -> (Arc<tempfile::TempDir>, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = stores(&[]).open(folder.path().join("dest").to_str().unwrap(), Privacy::Public).unwrap();
    (Arc::new(folder), store)
}

/// nginx with `WebDAV`.
pub(crate) struct Nginx {
    port: u16,
    _server: Tethered,
}

pub(crate) fn nginx() -> &'static Nginx {
    static NGINX: OnceLock<Nginx> = OnceLock::new();
    NGINX.get_or_init(|| {
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        for name in ["files", "tmp"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        std::fs::write(folder.path().join("htpasswd"), "user:{PLAIN}pass\n").unwrap();
        let conf = folder.path().join("nginx.conf");
        std::fs::write(&conf, nginx_conf(folder.path(), port)).unwrap();
        let arguments = ["-p", folder.path().to_str().unwrap(), "-c", conf.to_str().unwrap()].map(String::from);
        let server = Tethered::listening(folder, "nginx", &arguments.each_ref().map(String::as_str), port);
        Nginx { port, _server: server }
    })
}

impl Nginx {
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn place(&self, prefix: &str) -> Fields {
        fields("webdav", &[("url", &self.url()), ("user", "user"), ("password", "pass"), ("prefix", prefix)])
    }
}

fn nginx_conf(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    format!(
        "load_module /usr/lib/nginx/modules/ngx_http_dav_ext_module.so;
        worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; {user}
        events {{ worker_connections 256; }}
        http {{
            access_log off; client_body_temp_path {folder}/tmp; proxy_temp_path {folder}/tmp/p;
            fastcgi_temp_path {folder}/tmp/f; uwsgi_temp_path {folder}/tmp/u; scgi_temp_path {folder}/tmp/s;
            server {{
                listen 127.0.0.1:{port}; client_max_body_size 0; root {folder}/files;
                location / {{
                    auth_basic x; auth_basic_user_file {folder}/htpasswd;
                    dav_methods PUT DELETE MKCOL COPY MOVE; dav_ext_methods PROPFIND OPTIONS;
                }}
            }}
        }}"
    )
}
