//! The programs of `docs/queue.md` are run as they stand there, and what they hand over is a job.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use forebay::model::job::{Job, Task};
use forebay::queue::{self, Asker, Counts, End};
use serde_json::{Value, json};

use crate::support::brokers::{RabbitServer, RedisServer, free_port};
use crate::support::sandbox::Sandbox;

fn page() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/queue.md")).unwrap()
}

/// The blocks of the page in one language.
fn blocks(language: &str) -> Vec<String> {
    let page = page();
    let begin = format!("```{language}\n");
    page.split(&begin).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// Runs a program with the server's address in its environment.
#[track_caller]
fn run(program: &str, arguments: &[&str], url: &str) {
    let output = Command::new(program).args(arguments).env("REDIS", url).env("RABBITMQ", url).output();
    let output = output.unwrap_or_else(|error| panic!("{program} is missing ({error}): run `make setup-test`"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {said}{}", String::from_utf8_lossy(&output.stdout));
}

/// The inputs of the jobs that a worker gets from the queue at `url`.
fn received(url: &str, count: usize) -> Vec<String> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let queue = queue::open(url, Duration::from_hours(1)).await.unwrap();
        let asker = Asker { worker: "w".into(), labels: std::collections::BTreeSet::new(), only: None };
        let mut inputs = Vec::new();
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let Some(claim) = queue.claim(&asker, Duration::from_mins(1)).await.unwrap() else {
                // Some queues take in what strangers sent a little later.
                if inputs.len() >= count || Instant::now() > end {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            inputs.push(Job::parse(claim.text.as_bytes()).unwrap().input);
            queue.settle(&claim, &End::Done(json!(null))).await.unwrap();
        }
        assert_eq!(inputs.len(), count, "{inputs:?}");
        inputs
    })
}

#[test]
fn what_the_page_shows_for_redis_works() {
    let url = RedisServer::shared();
    let shell = blocks("sh").into_iter().find(|block| block.contains("redis-cli")).unwrap();
    run("sh", &["-ec", &shell], &url);
    assert_eq!(received(&url, 2), ["https://example.org/a.mp4", "https://example.org/b.mp4"]);
    run("python3", &["-c", &blocks("python")[0]], &url);
    assert_eq!(received(&url, 1), ["https://example.org/python.mp4"]);
    run("node", &["-e", &blocks("js")[0]], &url);
    assert_eq!(received(&url, 1), ["https://example.org/node.mp4"]);
    let php = blocks("php")[0].trim_start_matches("<?php").to_owned();
    run("php", &["-r", &php], &url);
    assert_eq!(received(&url, 1), ["https://example.org/php.mp4"]);
}

/// A Python that has the package of the page's example.
fn python() -> &'static str {
    let has = |program: &str| Command::new(program).args(["-c", "import pika"]).output();
    let has = |program| has(program).is_ok_and(|output| output.status.success());
    if has("python3") { "python3" } else { "/usr/bin/python3" }
}

#[test]
fn what_the_page_shows_for_rabbitmq_works() {
    let url = RabbitServer::shared();
    // Its queues are made by the first who uses it.
    assert_eq!(received(&url, 0), [""; 0]);
    let shell = blocks("sh").into_iter().find(|block| block.contains("amqp-publish")).unwrap();
    run("sh", &["-ec", &shell], &url);
    assert_eq!(received(&url, 1), ["https://example.org/a.mp4"]);
    let program = blocks("python").into_iter().find(|block| block.contains("pika")).unwrap();
    run(python(), &["-c", &program], &url);
    assert_eq!(received(&url, 1), ["https://example.org/python.mp4"]);
}

#[test]
fn what_strangers_write_to_redis_harms_nobody() {
    let url = RedisServer::shared();
    harms_nobody(&url, "redis-cli", &["-u", &url, "-x", "LPUSH", "forebay:inbox"]);
}

#[test]
fn what_strangers_write_to_rabbitmq_harms_nobody() {
    let url = RabbitServer::shared();
    assert_eq!(received(&url, 0), [""; 0]);
    harms_nobody(&url, "amqp-publish", &["-u", &url, "-r", "forebay.jobs", "-p"]);
}

fn harms_nobody(url: &str, program: &str, arguments: &[&str]) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let long = format!("{{\"v\":1,\"title\":\"{}\"}}", "x".repeat(100_000));
    let deep = "[".repeat(5000);
    let labelled =
        [json!(["GPU"]), json!(["a", "b", "c", "d", "e", "f", "g"]), json!(["gpu", 7]), json!(["forebay-x"])].map(
            |labels| {
                json!({ "v": 1, "kind": "hls", "input": "https://a/b.mp4", "to": "/x", "labels": labels }).to_string()
            },
        );
    let odd = ["", "{", "[]", "7", r#"{"priority":1e99,"labels":[[]],"tenant":{}}"#, "\u{0}", &long, &deep];
    let odd: Vec<&str> = odd.into_iter().chain(labelled.iter().map(String::as_str)).collect();
    for text in &odd {
        let mut command = Command::new(program);
        command.args(arguments).stdin(std::process::Stdio::piped());
        let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), text.as_bytes()).unwrap();
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }
    runtime.block_on(async {
        let queue = queue::open(url, Duration::from_hours(1)).await.unwrap();
        let asker = Asker { worker: "w".into(), labels: std::collections::BTreeSet::new(), only: None };
        let mut seen = 0;
        let end = Instant::now() + Duration::from_secs(20);
        while seen < odd.len() && Instant::now() < end {
            let Some(claim) = queue.claim(&asker, Duration::from_mins(1)).await.unwrap() else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let failure = Job::parse(claim.text.as_bytes()).unwrap_err();
            queue.settle(&claim, &End::Dead { why: failure.to_string() }).await.unwrap();
            seen += 1;
        }
        assert_eq!(seen, odd.len());
        assert_eq!(queue.counts().await.unwrap().dead, odd.len() as u64);
    });
}

/// An eviction, or somebody's DEL, takes a job's hash and leaves its number wherever it stands.
#[test]
fn a_job_that_redis_lost_blocks_no_other() {
    let url = RedisServer::shared();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let queue = queue::open(&url, Duration::from_hours(1)).await.unwrap();
        let asker = Asker { worker: "w".into(), labels: std::collections::BTreeSet::new(), only: None };
        let job = |name: &str| Job::new(Task::Hls, &format!("https://a/{name}.mp4"), "/x");
        let mut lost = Vec::new();
        for name in ["over", "running"] {
            lost.push(queue.submit(&job(name)).await.unwrap().id);
            let claim = queue.claim(&asker, Duration::from_millis(1)).await.unwrap().unwrap();
            if name == "over" {
                queue.settle(&claim, &End::Done(json!(null))).await.unwrap();
            }
        }
        lost.push(queue.submit(&job("waiting")).await.unwrap().id);
        lost.push(queue.submit(&Job { delay: 1, ..job("delayed") }).await.unwrap().id);
        let good = queue.submit(&job("good")).await.unwrap().id;
        for id in &lost {
            run("redis-cli", &["-u", &url, "DEL", &format!("forebay:job:{id}")], &url);
        }
        // What is over is forgotten at once.
        let queue = queue::open(&url, Duration::ZERO).await.unwrap();
        let claim = queue.claim(&asker, Duration::from_mins(1)).await.unwrap().unwrap();
        assert_eq!(claim.id, good);
        let end = Instant::now() + Duration::from_secs(20);
        while queue.counts().await.unwrap() != (Counts { running: 1, ..Counts::default() }) {
            assert!(Instant::now() < end, "{:?}", queue.counts().await);
            assert!(queue.claim(&asker, Duration::from_mins(1)).await.unwrap().is_none());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
}

#[test]
fn an_inbox_that_is_none_is_named_and_stops_nothing() {
    let url = RedisServer::shared();
    run("redis-cli", &["-u", &url, "SET", "forebay:inbox", "a job"], &url);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let queue = queue::open(&url, Duration::from_hours(1)).await.unwrap();
        queue.submit(&Job::new(Task::Hls, "https://a/b.mp4", "/x")).await.unwrap();
        assert_eq!(queue.counts().await.unwrap().waiting, 1);
        let warnings = queue.warnings().await.unwrap();
        assert!(warnings.iter().any(|warning| warning.contains("`forebay:inbox`")), "{warnings:?}");
    });
}

#[test]
fn a_redis_with_a_certificate_of_ones_own_is_reached_by_naming_it() {
    let (mut sandbox, port) = (Sandbox::new(), free_port());
    let subject = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    let names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
    let rest = ["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", "key.pem", "-out", "ca.pem"];
    let made = sandbox.command("openssl").args(subject).args(names).args(rest).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut server = sandbox.command("redis-server");
    server.args(["--bind", "127.0.0.1", "--port", "0", "--save", "", "--tls-port", &port.to_string()]);
    server.args(["--tls-cert-file", "ca.pem", "--tls-key-file", "key.pem", "--tls-auth-clients", "no"]);
    let _server = sandbox.spawn(server);
    let end = Instant::now() + Duration::from_mins(1);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < end, "redis-server does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    let jobs = ["jobs", "--queue", &format!("rediss://localhost:{port}")];
    let stranger = sandbox.forebay(jobs).expect(3);
    assert!(stranger.stderr.contains("SSL_CERT_FILE"), "{}", stranger.stderr);
    let authority = sandbox.path("ca.pem");
    sandbox.set("SSL_CERT_FILE", authority);
    sandbox.forebay(jobs).expect(0);
}

#[test]
fn strangers_may_name_a_label_twice() {
    let url = RedisServer::shared();
    let job = r#"{"v":1,"kind":"hls","input":"https://a/b.mp4","to":"/x","labels":["gpu","big-disk","gpu"]}"#;
    run("redis-cli", &["-u", &url, "LPUSH", "forebay:inbox", job], &url);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let queue = queue::open(&url, Duration::from_hours(1)).await.unwrap();
        let labels = ["big-disk", "gpu"].map(String::from).into();
        let asker = Asker { worker: "w".into(), labels, only: None };
        assert!(queue.claim(&asker, Duration::from_mins(1)).await.unwrap().is_some());
    });
}

/// The schema, and what the program reads, are two tellings of one thing.
#[test]
fn the_schema_says_what_the_program_reads() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/job.schema.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let ok = json!({ "v": 1, "kind": "hls", "input": "https://a/b.mp4", "to": "/srv/video" });
    let with = |part: &Value| {
        let mut job = ok.clone();
        job.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
        job
    };
    let cases = [
        json!({}),
        json!({ "id": "a", "title": "x", "priority": 9, "tenant": "t", "key": "k", "labels": ["gpu"], "delay": 1 }),
        json!({ "attempts": 20, "options": { "ladder": "360p", "two-pass": true, "rotate": 5, "force": true } }),
        json!({ "options": { "profile": "fast", "segment": "6s", "audio-bitrate": 96, "encrypt": "none" } }),
        json!({ "options": { "container": "fmp4", "dash": true, "codec": "h264,hevc", "copy": false } }),
        json!({ "options": { "key-uri": "https://k/{key}", "accept-damaged": false } }),
        json!({ "kind": "photos", "options": { "format": "avif", "max-size": "2MB", "max-edge": 3000, "keep-location": true } }),
        json!({ "kind": "migrate", "options": { "keys": ["a", "b"], "exclude": ["tmp/**"], "read-back": true } }),
        json!({ "kind": "migrate", "options": { "keys": "a" } }),
        json!({ "kind": "migrate", "options": { "keys": [""] } }),
        json!({ "kind": "migrate", "options": { "catalog": "postgres://db" } }),
        json!({ "v": 2 }),
        json!({ "kind": "rm" }),
        json!({ "shell": "x" }),
        json!({ "id": "../x" }),
        json!({ "id": "-x" }),
        json!({ "input": "" }),
        json!({ "input": "-x" }),
        json!({ "to": "a\nb" }),
        json!({ "priority": 10 }),
        json!({ "priority": 0.5 }),
        json!({ "tenant": "a b" }),
        json!({ "tenant": "x".repeat(65) }),
        json!({ "labels": ["A"] }),
        json!({ "labels": "gpu" }),
        json!({ "labels": ["a", "b", "c", "d", "e", "f", "g"] }),
        json!({ "delay": -1 }),
        json!({ "attempts": 0 }),
        json!({ "options": { "scratch": "/" } }),
        json!({ "options": { "two-pass": "yes" } }),
        json!({ "options": [] }),
    ];
    for case in &cases {
        let job = with(case);
        let program = Job::from_value(&job).is_ok();
        assert_eq!(program, fits(&schema, &job), "{job}");
    }
}

/// As much of JSON Schema as ours uses.
fn fits(schema: &Value, value: &Value) -> bool {
    let rules = schema.as_object().unwrap();
    rules.iter().all(|(rule, wanted)| match rule.as_str() {
        "const" => value == wanted,
        "enum" => wanted.as_array().unwrap().contains(value),
        "type" => match wanted.as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64(),
            other => panic!("{other}"),
        },
        "required" => wanted.as_array().unwrap().iter().all(|name| value.get(name.as_str().unwrap()).is_some()),
        "properties" => value.as_object().is_none_or(|map| {
            map.iter().all(|(name, value)| wanted.get(name).is_none_or(|schema| fits(schema, value)))
        }),
        "additionalProperties" => {
            let known = rules["properties"].as_object().unwrap();
            value.as_object().is_none_or(|map| map.keys().all(|name| known.contains_key(name)))
        }
        "items" => value.as_array().is_none_or(|list| list.iter().all(|value| fits(wanted, value))),
        "maxItems" => value.as_array().is_none_or(|list| list.len() as u64 <= wanted.as_u64().unwrap()),
        "minLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 >= wanted.as_u64().unwrap()),
        "maxLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 <= wanted.as_u64().unwrap()),
        "minimum" => value.as_i64().is_none_or(|number| number >= wanted.as_i64().unwrap()),
        "maximum" => value.as_i64().is_none_or(|number| number <= wanted.as_i64().unwrap()),
        "pattern" => value.as_str().is_none_or(|text| matches(wanted.as_str().unwrap(), text)),
        "$schema" | "$id" | "title" | "description" | "default" | "uniqueItems" => true,
        other => panic!("the schema has `{other}`, which this test does not know"),
    })
}

/// Whether a text fits a pattern, by a program that knows them.
fn matches(pattern: &str, text: &str) -> bool {
    let script = "process.exit(new RegExp(process.argv[1], 'u').test(process.argv[2]) ? 0 : 1)";
    Command::new("node").args(["-e", script, "--", pattern, text]).status().unwrap().success()
}
