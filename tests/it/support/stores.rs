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

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use forebay::scratch::file::Privacy;
use forebay::storage::open::{Stores, Variables, WireSettings};
use forebay::storage::options::Fields;
use forebay::storage::outage::Outages;
use forebay::storage::patience::Rules;
use forebay::storage::store::{Store, StoreSettings};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

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
        Self::serving(folder, program, arguments, || TcpStream::connect(("127.0.0.1", port)).is_ok())
    }

    /// The same for a program that shows in another way that it is ready.
    pub(crate) fn serving(
        folder: tempfile::TempDir,
        program: &str,
        arguments: &[&str],
        is_ready: impl Fn() -> bool,
    ) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", TETHER, "tether", program]).args(arguments);
        let mut started = Self::start(shell, folder);
        let begun = Instant::now();
        while !is_ready() {
            assert!(started.child.try_wait().unwrap().is_none(), "{program} ended: {}", started.log());
            assert!(begun.elapsed() < START, "{program} is not ready: {}", started.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        started
    }

    /// Starts one of our Python servers, which prints what there is to know of it and then serves.
    pub(crate) fn script(name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> (Self, Vec<String>) {
        // The distribution's own Python has the distribution's packages.
        Self::script_by(Path::new("/usr/bin/python3"), name, arguments, variables)
    }

    /// The same by another Python.
    pub(crate) fn script_by(
        python: &Path,
        name: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> (Self, Vec<String>) {
        let folder = tempfile::Builder::new().prefix("forebay-server-").tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers").join(name);
        let mut python = Command::new(python);
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
    Stores { settings: SETTINGS, wire, named, variables: Variables::default(), outages: Outages::default() }
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

    /// Makes an object of all objects of `parts`, a container, whose names begin with the object's own.
    pub(crate) fn join(&self, parts: &str, container: &str, key: &str) {
        let (token, url) = self.token();
        let manifest = format!("{parts}/{key}/");
        let headers = [("X-Auth-Token", token.as_str()), ("X-Object-Manifest", &manifest)];
        assert_eq!(request("PUT", &format!("{url}/{container}/{key}"), &headers), Ok(201));
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

/// Keystone, and a Swift that trusts its tokens.
pub(crate) struct Cloud {
    keystone: Keystone,
    swift: u16,
    _server: Tethered,
}

/// A server of tokens.
pub(crate) struct Keystone {
    pub(crate) port: u16,
    /// The application credential of `demo`.
    credential: String,
    server: Tethered,
}

pub(crate) fn cloud() -> &'static Cloud {
    static CLOUD: OnceLock<Cloud> = OnceLock::new();
    CLOUD.get_or_init(|| {
        let swift = free_port();
        let keystone = Keystone::start(&format!("http://127.0.0.1:{swift}"), None, 3600);
        let (url, port) = (keystone.url(), swift.to_string());
        let (server, _) = Tethered::script_by(&openstack(), "swift_server.py", &[&url], &[("FAULT_PORT", &port)]);
        Cloud { keystone, swift, _server: server }
    })
}

/// The Python that has `OpenStack`.
fn openstack() -> PathBuf {
    forebay_home().join("openstack/bin/python3")
}

impl Keystone {
    /// With tokens that live for some seconds; `first` is another one whose users it shares.
    fn start(swift: &str, first: Option<&Self>, seconds: u64) -> Self {
        let mut arguments = vec![swift];
        let folder = first.map(|first| first.server.folder.path().to_str().unwrap().to_owned());
        arguments.extend(folder.as_deref());
        let life = seconds.to_string();
        let variables = [("FAULT_TOKEN_LIFE", life.as_str())];
        let (server, said) = Tethered::script_by(&openstack(), "keystone_server.py", &arguments, &variables);
        Self { port: said[0].parse().unwrap(), credential: said[1].clone(), server }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v3", self.port)
    }
}

impl Cloud {
    /// The fields of a container, by a user with a password; `more` comes last.
    pub(crate) fn password(&self, container: &str, more: &[(&str, &str)]) -> Fields {
        let url = self.keystone.url();
        let user = [("user", "demo"), ("password", "demopass"), ("project", "demo"), ("region", "RegionOne")];
        let place = [("auth-url", url.as_str()), ("container", container)];
        fields("swift", &[&place[..], &user, more].concat())
    }

    /// The fields of a container, by an application credential with this secret.
    pub(crate) fn credential(&self, container: &str, secret: &str) -> Fields {
        let (url, id) = (self.keystone.url(), self.keystone.credential.as_str());
        let credential = [("application-credential-id", id), ("application-credential-secret", secret)];
        fields("swift", &[&[("auth-url", url.as_str()), ("container", container)], &credential[..]].concat())
    }

    /// Another server of tokens for the same users, whose tokens live for some seconds.
    pub(crate) fn short_lived(&self, seconds: u64) -> Keystone {
        Keystone::start(&format!("http://127.0.0.1:{}", self.swift), Some(&self.keystone), seconds)
    }

    /// Makes a container, as its user would.
    pub(crate) fn make(&self, container: &str) {
        let domain = serde_json::json!({ "id": "default" });
        let user = serde_json::json!({ "name": "demo", "password": "demopass", "domain": domain });
        let identity = serde_json::json!({ "methods": ["password"], "password": { "user": user } });
        let scope = serde_json::json!({ "project": { "name": "demo", "domain": domain } });
        let body = serde_json::json!({ "auth": { "identity": identity, "scope": scope } });
        let url = format!("{}/auth/tokens", self.keystone.url());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (token, account) = runtime.block_on(async {
            let request = reqwest::Client::new().post(url).header("content-type", "application/json");
            let answer = request.body(body.to_string()).send().await.unwrap();
            let token = answer.headers()["x-subject-token"].to_str().unwrap().to_owned();
            let said: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
            let services = said["token"]["catalog"].as_array().unwrap();
            let swift = services.iter().find(|service| service["type"] == "object-store").unwrap();
            (token, swift["endpoints"][0]["url"].as_str().unwrap().to_owned())
        });
        let headers = [("X-Auth-Token", token.as_str()), ("X-Container-Read", ".r:*,.rlistings")];
        let made = request("PUT", &format!("{account}/{container}"), &headers);
        assert!(made.as_ref().is_ok_and(|status| *status < 300), "{container} cannot be made: {made:?}");
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

impl Moto {
    /// Lets everybody read a bucket.
    pub(crate) fn publish(&self, bucket: &str) {
        let statement = serde_json::json!({
            "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": format!("arn:aws:s3:::{bucket}/*"),
        });
        let policy = serde_json::json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
        let url = format!("http://127.0.0.1:{}/{bucket}?policy", self.port);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer = runtime.block_on(reqwest::Client::new().put(url).body(policy).send()).unwrap();
        assert!(answer.status().is_success(), "{bucket} cannot be published: {}", answer.status());
    }
}

/// Azure's Blob Storage as Microsoft emulates it.
pub(crate) struct Azurite {
    pub(crate) port: u16,
    _server: Tethered,
}

/// The account that every Azurite has, and its key, which is no secret.
const ACCOUNT: &str = "devstoreaccount1";
const ACCOUNT_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

pub(crate) fn azurite() -> &'static Azurite {
    static AZURITE: OnceLock<Azurite> = OnceLock::new();
    AZURITE.get_or_init(Azurite::start)
}

impl Azurite {
    /// One of its own.
    pub(crate) fn start() -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let program = forebay_home().join("azurite/node_modules/.bin/azurite-blob");
        let (program, place, number) = (program.to_str().unwrap(), folder.path().to_owned(), port.to_string());
        let arguments =
            ["--blobPort", &number, "--location", place.to_str().unwrap(), "--silent", "--disableTelemetry"];
        let server = Tethered::listening(folder, program, &arguments, port);
        Self { port, _server: server }
    }

    /// The fields of a container, as names and values; `more` comes last.
    pub(crate) fn values(&self, container: &str, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let endpoint = format!("http://127.0.0.1:{}/{ACCOUNT}", self.port);
        let place = [("endpoint", endpoint.as_str()), ("container", container)];
        let usual = [("account", ACCOUNT), ("key", ACCOUNT_KEY)];
        let all = [&place[..], &usual, more].concat();
        let all: BTreeMap<String, String> = all.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        all.into_iter().filter(|(_, value)| !value.is_empty()).collect()
    }

    /// All that is to be known of the account in one text.
    pub(crate) fn connection(&self) -> String {
        let endpoint = format!("http://127.0.0.1:{}/{ACCOUNT}", self.port);
        format!("AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};BlobEndpoint={endpoint}")
    }

    pub(crate) fn place(&self, container: &str, more: &[(&str, &str)]) -> Fields {
        let values = self.values(container, more);
        fields("az", &values.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>())
    }

    /// Makes a container, as its owner would.
    pub(crate) fn make(&self, container: &str) {
        let date = jiff::fmt::rfc2822::DateTimePrinter::new();
        let date = date.timestamp_to_rfc9110_string(&jiff::Timestamp::now()).unwrap();
        let to_sign = format!(
            "PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:2021-12-02\n/{ACCOUNT}/{ACCOUNT}/{container}\nrestype:container"
        );
        let mut mac = Hmac::<Sha256>::new_from_slice(&STANDARD.decode(ACCOUNT_KEY).unwrap()).unwrap();
        mac.update(to_sign.as_bytes());
        let proof = format!("SharedKey {ACCOUNT}:{}", STANDARD.encode(mac.finalize().into_bytes()));
        let url = format!("http://127.0.0.1:{}/{ACCOUNT}/{container}?restype=container", self.port);
        let headers = [("authorization", proof.as_str()), ("x-ms-date", &date), ("x-ms-version", "2021-12-02")];
        assert_eq!(request("PUT", &url, &headers), Ok(201), "{container} cannot be made");
    }

    /// A signature by which a container can be used for some seconds from now on.
    pub(crate) fn access(container: &str, seconds: i64) -> String {
        let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
        let end = end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let fields = ["racwdl", "", &end, &format!("/blob/{ACCOUNT}/{container}"), "", "", "", "2021-12-02", "c"];
        let to_sign = format!("{}\n\n\n\n\n\n\n", fields.join("\n"));
        let mut mac = Hmac::<Sha256>::new_from_slice(&STANDARD.decode(ACCOUNT_KEY).unwrap()).unwrap();
        mac.update(to_sign.as_bytes());
        let proof = STANDARD.encode(mac.finalize().into_bytes());
        let proof: String = url::form_urlencoded::byte_serialize(proof.as_bytes()).collect();
        format!("sv=2021-12-02&sr=c&sp=racwdl&se={}&sig={proof}", end.replace(':', "%3A"))
    }
}

/// Where scripts/setup.sh puts the servers that no package has.
pub(crate) fn tool_home() -> PathBuf {
    forebay_home().join("servers")
}

fn forebay_home() -> PathBuf {
    let home = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = home.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".local/share"));
    home.join("forebay")
}

/// Fields as they stand in a file of settings.
pub(crate) fn lines(values: &[(&str, &str)]) -> String {
    let line = |(name, value): &(&str, &str)| {
        if value.parse::<u16>().is_ok() { format!("{name} = {value}\n") } else { format!("{name} = \"{value}\"\n") }
    };
    values.iter().map(line).collect::<Vec<_>>().concat()
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

/// An SSH server for files, for the user of the tests alone.
#[cfg(feature = "sftp")]
pub(crate) struct Sshd {
    pub(crate) port: u16,
    pub(crate) folder: PathBuf,
    _server: Tethered,
}

#[cfg(feature = "sftp")]
pub(crate) fn sshd() -> &'static Sshd {
    static SSHD: OnceLock<Sshd> = OnceLock::new();
    SSHD.get_or_init(|| Sshd::start(Login::Key))
}

/// By what a server lets somebody in.
#[cfg(feature = "sftp")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Login {
    Key,
    /// The password `open sesame`, sent as one.
    Password,
    /// The same as the answer to a question, as servers behind PAM want it.
    Question,
    /// A key first, then the password.
    Both,
}

/// Lets the child see another `shadow`, in which the password of who runs it is known, and another rule of PAM.
#[cfg(feature = "sftp")]
const DISGUISE: &str =
    r#"mount --bind shadow /etc/shadow && mount --bind pam /etc/pam.d/sshd && exec /usr/sbin/sshd "$@""#;

#[cfg(feature = "sftp")]
impl Sshd {
    /// One of its own.
    pub(crate) fn start(login: Login) -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let path = folder.path().to_owned();
        for (name, passphrase) in
            [("host", ""), ("other", ""), ("key", ""), ("locked", "open sesame"), ("rsa", ""), ("ecdsa", "")]
        {
            let kind = if matches!(name, "rsa" | "ecdsa") { name } else { "ed25519" };
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", kind, "-C", name, "-N", passphrase, "-f"]).arg(path.join(name));
            assert!(keygen.status().unwrap().success());
        }
        let public = |name: &str| std::fs::read_to_string(path.join(name).with_extension("pub")).unwrap();
        let authorized = ["key", "locked", "rsa", "ecdsa"].map(public).concat();
        std::fs::write(path.join("authorized"), authorized).unwrap();
        let known = |name: &str| format!("[127.0.0.1]:{port} {}", public(name));
        std::fs::write(path.join("known"), known("host")).unwrap();
        std::fs::write(path.join("known-wrong"), known("other")).unwrap();
        std::fs::write(path.join("known-none"), "").unwrap();
        std::fs::write(path.join("sshd_config"), sshd_config(&path, port, login)).unwrap();
        if rustix::process::geteuid().is_root() {
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let config = path.join("sshd_config");
        // It starts itself anew for each connection, and therefore wants to know its whole path.
        let arguments = ["-D", "-e", "-f", config.to_str().unwrap()];
        let server = if login == Login::Key {
            Tethered::listening(folder, "/usr/sbin/sshd", &arguments, port)
        } else {
            std::fs::write(path.join("shadow"), shadow()).unwrap();
            let rules = "auth required pam_unix.so\naccount required pam_permit.so\nsession required pam_permit.so\n";
            std::fs::write(path.join("pam"), rules).unwrap();
            let disguised = ["--mount", "sh", "-c", DISGUISE, "sshd"];
            Tethered::listening(folder, "unshare", &[&disguised[..], &arguments].concat(), port)
        };
        Self { port, folder: path, _server: server }
    }

    /// A file of known hosts with this server behind another port.
    pub(crate) fn known_behind(&self, port: u16) -> String {
        let known = std::fs::read_to_string(self.folder.join("known")).unwrap();
        let name = format!("known-{port}");
        std::fs::write(self.folder.join(&name), known.replace(&format!("]:{} ", self.port), &format!("]:{port} ")))
            .unwrap();
        name
    }

    /// Where the files of a place lie.
    pub(crate) fn files(&self, prefix: &str) -> PathBuf {
        self.folder.join("files").join(prefix)
    }

    /// The fields of a folder, as names and values; `more` comes last.
    pub(crate) fn values(&self, prefix: &str, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let path = |name: &str| self.folder.join(name).to_str().unwrap().to_owned();
        let mut values: BTreeMap<String, String> = BTreeMap::from([
            ("host".into(), "127.0.0.1".into()),
            ("port".into(), self.port.to_string()),
            ("user".into(), user()),
            ("key-file".into(), path("key")),
            ("known-hosts".into(), path("known")),
            ("prefix".into(), self.files(prefix).to_str().unwrap().trim_start_matches('/').to_owned()),
        ]);
        for (name, value) in more {
            let is_file = matches!(*name, "key-file" | "known-hosts") && !value.is_empty();
            values.insert((*name).into(), if is_file { path(value) } else { (*value).into() });
        }
        values.into_iter().collect()
    }

    pub(crate) fn place(&self, prefix: &str, more: &[(&str, &str)]) -> Fields {
        let values = self.values(prefix, more);
        let values: Vec<_> = values.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        fields("sftp", &values)
    }
}

#[cfg(feature = "sftp")]
fn user() -> String {
    let user = Command::new("id").arg("-un").output().unwrap().stdout;
    String::from_utf8(user).unwrap().trim().to_owned()
}

/// A file of passwords with the one of the tests.
#[cfg(feature = "sftp")]
fn shadow() -> String {
    let hash = Command::new("openssl").args(["passwd", "-6", "open sesame"]).output().unwrap().stdout;
    format!("{}:{}:19000:0:99999:7:::\n", user(), String::from_utf8(hash).unwrap().trim())
}

#[cfg(feature = "sftp")]
fn sshd_config(folder: &Path, port: u16, login: Login) -> String {
    let folder = folder.display();
    let (root, rules) = match login {
        Login::Key => ("prohibit-password", "UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no"),
        Login::Password => ("yes", "UsePAM no\nPasswordAuthentication yes\nKbdInteractiveAuthentication no"),
        Login::Question => ("yes", "UsePAM yes\nPasswordAuthentication no\nKbdInteractiveAuthentication yes"),
        Login::Both => (
            "yes",
            "UsePAM no\nPasswordAuthentication yes\nKbdInteractiveAuthentication no\n\
             AuthenticationMethods publickey,password",
        ),
    };
    format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\n\
         AuthorizedKeysFile {folder}/authorized\nStrictModes no\n{rules}\nPermitRootLogin {root}\nMaxStartups 100\n\
         Subsystem sftp internal-sftp\nForceCommand internal-sftp\n"
    )
}
