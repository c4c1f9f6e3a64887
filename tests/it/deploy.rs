//! The files of `config/deploy`, by the programs they are for. The image is built by `scripts/image.py`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::sandbox::Sandbox;
use crate::support::site::{Site, wait};
use crate::support::stores::free_port;

const HOST: &str = "video.example.org";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// Runs a program, which must succeed, and gives all that it says.
#[track_caller]
fn said(command: &mut Command) -> String {
    let output = command.output().expect("scripts/setup.sh --test installs it");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{command:?}\n{said}");
    said
}

/// Names of our figures in a text.
fn figures(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let ours = words.filter(|word| word.starts_with("forebay_"));
    ours.map(|word| word.trim_end_matches("_bucket").to_owned()).collect()
}

#[test]
fn alerts_and_the_dashboard_ask_for_figures_that_there_are() {
    let site = Site::start(Sandbox::with_system_tools(), &[]).with_token("prometheus", "read");
    // A worker tells of its lanes when it has looked at them for the first time.
    let metrics = wait("the worker's figures", || {
        let metrics = site.ask("GET", "/metrics", b"").expect(200).text();
        metrics.contains("forebay_lane_permits").then_some(metrics)
    });
    let path = site.sandbox.write("metrics", &metrics);
    let lint = said(Command::new("promtool").args(["check", "metrics"]).stdin(fs::File::open(path).unwrap()));
    assert_eq!(lint.trim(), "", "names and units are as Prometheus wants them");
    let rules = said(Command::new("promtool").args(["check", "rules"]).arg(root().join("config/deploy/alerts.yaml")));
    assert!(rules.contains("SUCCESS"), "{rules}");
    let there = figures(&metrics);
    let dashboard: Value = serde_json::from_str(&text("config/deploy/grafana.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let asked = panels.iter().flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default());
    let asked: Vec<String> = asked.map(|target| target["expr"].as_str().unwrap().to_owned()).collect();
    assert!(asked.len() > 10);
    let wanted = figures(&(asked.join("\n") + &text("config/deploy/alerts.yaml")));
    let missing: Vec<_> = wanted.difference(&there).collect();
    assert!(missing.is_empty(), "no such figures: {missing:?}");
}

#[test]
fn units_are_as_systemd_wants_them() {
    let sandbox = Sandbox::with_system_tools();
    for unit in ["config/deploy/forebay.service", "examples/forebay-worker.service"] {
        let name = Path::new(unit).file_name().unwrap().to_str().unwrap();
        let here = text(unit).replace("/usr/local/bin/forebay", env!("CARGO_BIN_EXE_forebay"));
        let path = sandbox.write(name, here);
        let verdict = said(Command::new("systemd-analyze").arg("verify").arg(&path));
        // What it says of the machine's own units is not ours.
        let ours: Vec<_> = verdict.lines().filter(|line| line.contains("forebay")).collect();
        assert!(ours.is_empty(), "{ours:?}");
    }
}

#[test]
fn an_image_is_built_from_files_that_there_are() {
    let ignored = text(".dockerignore");
    let ignored: Vec<_> = ignored.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    for line in text("config/deploy/Dockerfile").lines().filter(|line| line.starts_with("COPY ")) {
        let words: Vec<_> = line.split_whitespace().skip(1).collect();
        if words[0].starts_with("--from") {
            continue;
        }
        for name in &words[..words.len() - 1] {
            assert!(root().join(name).exists() && !ignored.contains(name), "{line}");
        }
    }
    assert!(ignored.contains(&"target") && ignored.contains(&".git"), "gigabytes are not sent to the builder");
    let compose: Value = serde_saphyr::from_str(&text("config/deploy/compose.yaml")).unwrap();
    let build = &compose["services"]["forebay"]["build"];
    let context = root().join("config/deploy").join(build["context"].as_str().unwrap());
    assert!(context.join(build["dockerfile"].as_str().unwrap()).exists(), "{build}");
}

/// nginx as a child, with the example in front of a server.
struct Front {
    _running: crate::support::sandbox::Running,
    port: u16,
    authority: PathBuf,
}

impl Front {
    fn start(sandbox: &Sandbox, behind: u16) -> Self {
        let (port, authority) = (free_port(), sandbox.path("site.pem"));
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=video.example.org"]);
        openssl.args(["-addext", "subjectAltName=DNS:video.example.org", "-out"]).arg(&authority);
        said(openssl.arg("-keyout").arg(sandbox.path("site.key")));
        let folder = sandbox.path("nginx");
        fs::create_dir_all(&folder).unwrap();
        let site = text("config/deploy/nginx.conf")
            .replace("/etc/ssl/video.example.org.pem", authority.to_str().unwrap())
            .replace("/etc/ssl/video.example.org.key", sandbox.path("site.key").to_str().unwrap())
            .replace("listen 443", &format!("listen 127.0.0.1:{port}"))
            .replace("127.0.0.1:8080", &format!("127.0.0.1:{behind}"));
        let folder = folder.display();
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let conf = format!(
            "worker_processes 1; daemon off; pid {folder}/pid; error_log stderr; {user}\n\
             events {{ worker_connections 64; }}\nhttp {{ access_log off; client_body_temp_path {folder}/b;\n\
             proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u;\n\
             scgi_temp_path {folder}/s;\n{site}\n}}"
        );
        let conf = sandbox.write("nginx.conf", conf);
        said(Command::new("nginx").arg("-t").arg("-c").arg(&conf).args(["-g", "", "-e", "stderr"]));
        let mut nginx = sandbox.command("nginx");
        nginx.arg("-c").arg(&conf).args(["-e", "stderr"]);
        let running = sandbox.spawn(nginx);
        wait("nginx to listen", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Self { _running: running, port, authority }
    }

    /// What curl says with these arguments, the address last.
    fn curl(&self, arguments: &[&str], path: &str) -> String {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "20", "--cacert"]).arg(&self.authority);
        curl.args(["--resolve", &format!("{HOST}:{}:127.0.0.1", self.port)]).args(arguments);
        let output = curl.arg(format!("https://{HOST}:{}{path}", self.port)).output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }
}

#[test]
fn behind_nginx_uploads_and_events_pass_and_figures_do_not() {
    let (sandbox, behind) = (Sandbox::with_system_tools(), free_port());
    let public = ["--public-url", "https://video.example.org", "--state", "state", "--no-worker", "--listen"];
    let token = sandbox.forebay(["token", "add", "ann", "--scope", "admin", "--state", "state"]).expect(0).stdout;
    let token = format!("Authorization: Bearer {}", token.trim());
    // As the image and the unit have it.
    let log = [("FOREBAY_LOG", "info"), ("FOREBAY_LOG_FORMAT", "json")];
    let address = format!("127.0.0.1:{behind}");
    let _site = sandbox.start_with([&["serve"], &public[..], &[&address]].concat(), &log);
    wait("the server to listen", || std::net::TcpStream::connect(("127.0.0.1", behind)).ok());
    let front = Front::start(&sandbox, behind);
    assert_eq!(front.curl(&["-o", "/dev/null", "-w", "%{http_code}"], "/healthz"), "200");
    assert!(front.curl(&[], "/").contains("<html"), "the page");
    assert_eq!(front.curl(&["-H", &token, "-o", "/dev/null", "-w", "%{http_code}"], "/metrics"), "403");
    // More than nginx takes unless it is told to.
    let film = sandbox.write("film.mp4", vec![7; 3_000_000]);
    let put = ["-H", &token, "-T", film.to_str().unwrap(), "-w", "%{http_code}", "-o", "/dev/null"];
    assert_eq!(front.curl(&put, "/api/v1/uploads/film.mp4"), "201");
    let events = ["-N", "-H", &token, "--max-time", "3"];
    let heard = front.curl(&events, "/api/v1/events");
    assert!(heard.contains("event:") || heard.contains("data:"), "events come at once: {heard}");
}
