//! The page in a real browser, from the login to the last frame.

use std::path::Path;
use std::process::Command;

use crate::support::media;
use crate::support::sandbox::Sandbox;
use crate::support::site::{Site, wait};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a script of `tests/browser` and gives what it saw.
fn drive(script: &str, arguments: &[&str]) -> serde_json::Value {
    assert!(root().join("web/dist/index.html").exists(), "the page is not built: run `make web`");
    let output = Command::new("node").arg(root().join("tests/browser").join(script)).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&said).unwrap()
}

#[test]
fn a_person_logs_in_drops_a_file_watches_plays_cancels_and_retries() {
    let options = ["--ladder", "240p,360p", "--profile", "fast", "--segment", "2s", "--threads", "1"];
    // What is cancelled comes from a slow server on this machine.
    let site = Site::start_with(Sandbox::new(), &options, &[("FOREBAY_WORKER__PRIVATE_HOSTS", "127.0.0.1")]);
    let token = site.add_token("ann", "admin");
    let clip = media::clip_of(24, "640x360");
    let seen = drive("page.mjs", &[&site.url("/"), "--token", &token, "--file", clip.to_str().unwrap()]);
    assert!(seen["currentTime"].as_f64().unwrap() > 0.5, "{seen}");
    assert!(seen["bars"].as_u64().unwrap() >= 3, "{seen}");
}

#[test]
fn a_website_of_a_few_lines_takes_an_upload_and_plays_it() {
    let sandbox = Sandbox::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    sandbox
        .config(&format!("[serve]\norigins = [\"http://127.0.0.1:{port}\"]\nprivate-hosts = [\"127.0.0.1:{port}\"]\n"));
    let hook = format!("http://127.0.0.1:{port}/hook");
    let secret = sandbox.forebay(["webhook", "add", &hook, "--state", "state"]).expect(0).stdout;
    let secret = secret.trim().rsplit(' ').next().unwrap().to_owned();
    let forebay = Site::start(sandbox, &["--ladder", "240p", "--profile", "fast", "--segment", "2s"]);
    let token = forebay.add_token("site", "submit");
    let mut command = forebay.sandbox.command("node");
    command
        .arg(root().join("examples/site/site.mjs"))
        .env("NODE_PATH", root().join("tests/browser/node_modules"))
        .env("FOREBAY", forebay.url(""))
        .env("TOKEN", token)
        .env("SECRET", secret)
        .env("PORT", port.to_string());
    let website = forebay.sandbox.spawn(command);
    wait("website to listen", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    let url = format!("http://127.0.0.1:{port}/");
    let seen = drive("site.mjs", &[&url, "--file", media::clip().to_str().unwrap()]);
    assert!(seen["currentTime"].as_f64().unwrap() > 0.5 && seen["keys"].as_u64().unwrap() > 0, "{seen}");
    drop(website);
}
