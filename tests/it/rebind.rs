//! A name that leads elsewhere when it is looked up again must not lead a request into a private network.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::media;
use crate::support::sandbox::Sandbox;
use crate::support::server::Server;
use crate::support::site::{Receiver, Site};
use crate::support::yard::Yard;

/// A library that answers `rebind.example` with a public address first, and with this machine's next, in turns.
fn library(sandbox: &Sandbox) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/rebind.c");
    let library = sandbox.path("rebind.so");
    let made =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl").status();
    assert!(made.unwrap().success());
    library
}

/// Whether the job of a worker reached a private server, by a name whose answer changes.
fn a_job_gets_in(mutant: &str) -> bool {
    let yard = Yard::new(None);
    let www = yard.sandbox.path("www");
    std::fs::create_dir_all(&www).unwrap();
    std::fs::copy(media::clip_of(2, "160x90"), www.join("clip.mp4")).unwrap();
    let secret = Server::start(&www);
    for number in 0..2 {
        let input = format!("http://rebind.example:{}/good/clip.mp4", secret.port());
        let job = yard.job(&format!("v{number}"), "x");
        yard.submit(&forebay::model::job::Job { input, attempts: 1, ..job });
    }
    let preload = library(&yard.sandbox);
    let variables = [
        ("LD_PRELOAD", preload.to_str().unwrap()),
        ("FOREBAY_WORKER__INPUTS", "http:"),
        ("FOREBAY_NETWORK__RETRIES", "2"),
        ("FOREBAY_NETWORK__LONGEST_WAIT", "100ms"),
        ("FOREBAY_FAULT_MUTANT", mutant),
    ];
    for _ in 0..2 {
        yard.worker(&["--once"], &variables).wait();
    }
    !secret.requests().is_empty()
}

#[test]
fn no_job_follows_a_name_whose_answer_changes() {
    assert!(!a_job_gets_in(""));
    assert!(a_job_gets_in("look-twice"), "the test would notice a program that checks one answer and uses another");
}

/// Whether a webhook reached a private server, by a name whose answer changes.
fn a_webhook_gets_in(mutant: &str) -> bool {
    let receiver = Receiver::start(&[200]);
    let sandbox = Sandbox::new();
    let preload = library(&sandbox);
    let variables = [("LD_PRELOAD", preload.to_str().unwrap()), ("FOREBAY_FAULT_MUTANT", mutant)];
    let site = Site::start_with(sandbox, &["--no-worker"], &variables);
    // Each is tried once at once: with two of them both answers have been given. One that looks twice takes both.
    let count = if mutant.is_empty() { 2 } else { 1 };
    for _ in 0..count {
        let body = json!({ "url": format!("http://rebind.example:{}/", receiver.port) }).to_string();
        site.ask("POST", "/api/v1/webhooks", body.as_bytes()).expect(201);
    }
    let id = site.submit(&json!({ "input": "https://films.example/1.mp4" }));
    site.ask("POST", &format!("/api/v1/jobs/{id}/cancel"), b"").expect(200);
    let begun = Instant::now();
    loop {
        if receiver.messages.try_recv().is_ok() {
            return true;
        }
        let hooks = site.ask("GET", "/api/v1/webhooks", b"").expect(200).json()["webhooks"].clone();
        let tried = hooks.as_array().unwrap().iter().filter(|hook| hook["last"].is_string()).count();
        if tried == count {
            return receiver.messages.try_recv().is_ok();
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "nothing was tried: {hooks}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn no_webhook_follows_a_name_whose_answer_changes() {
    assert!(!a_webhook_gets_in(""));
    assert!(a_webhook_gets_in("look-twice"), "the test would notice a program that checks one answer and uses another");
}
