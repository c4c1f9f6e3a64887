//! Encrypted packages in a bucket are verified by the bucket's address, and play from the store's own server.

use std::path::Path;
use std::process::Command;

use crate::support::media;
use crate::support::sandbox::Sandbox;
use crate::support::stores::{self, free_port, unique};

const QUICK: &str = r#"
[hls]
segment = "2s"
ladder = "tiny"
profile = "fast"
[ladders]
tiny = [
    { name = "180p", short-side = 180, crf = 30.0, max-bitrate = 400 },
    { name = "90p", short-side = 90, crf = 30.0, max-bitrate = 200 },
]
"#;

/// Publishes to the place at `address`, looks at it there, and plays it from `url`.
fn check(address: &str, url: &str, variables: &[(&str, &str)]) {
    let mut sandbox = Sandbox::new();
    for (name, value) in variables {
        sandbox.set(name, value);
    }
    sandbox.config(QUICK);
    sandbox.copy(&media::clip_of(12, "320x180"), "clip.mp4");
    let port = free_port();
    let keys_at = format!("http://127.0.0.1:{port}/keys/{{id}}/{{key}}.key");
    let to = format!("{address}/videos");
    let seal = ["--encrypt", "aes-128", "--keys", "keys", "--key-uri", &keys_at];
    let publish = ["hls", "clip.mp4", "--id", "talk", "--to", &to, "--state", "state"];
    sandbox.forebay(publish.into_iter().chain(seal)).expect(0);
    let package = format!("{to}/talk");
    let verify = |more: &[&str]| sandbox.forebay(["verify", &package].iter().chain(more)).expect(0);
    let looked = verify(&["--keys", "keys/talk", "--decode", "all"]);
    assert!(!looked.stdout.contains("could not"), "{}", looked.stdout);
    verify(&[]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("node")
        .arg(root.join("tests/browser/play.mjs"))
        .arg(sandbox.path("tmp"))
        .args(["--master", &format!("{url}/videos/talk/master.m3u8"), "--port", &port.to_string(), "--seconds", "4"])
        .args(["--encrypted", "--keys"])
        .arg(sandbox.path("keys"))
        .output()
        .expect("node is installed by `make setup-test`");
    let said = String::from_utf8_lossy(&output.stdout);
    let seen: serde_json::Value =
        serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}\n{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(seen["ok"], true, "{seen}");
    assert_eq!(seen["levels"].as_array().unwrap().len(), 2, "{seen}");
}

#[test]
fn what_lies_in_swift_is_verified_there_and_plays_from_it() {
    let (swift, container) = (stores::swift(), unique("play"));
    swift.make(&container);
    let (auth, place) = (format!("http://127.0.0.1:{}/auth/v1.0", swift.port), format!("swift://{container}"));
    let url = format!("http://127.0.0.1:{}/v1/AUTH_test/{container}", swift.port);
    check(&place, &url, &[("ST_AUTH", &auth), ("ST_USER", "test:tester"), ("ST_KEY", "testing")]);
}

#[test]
fn what_lies_in_s3_is_verified_there_and_plays_from_it() {
    let (moto, bucket) = (stores::moto(), unique("play"));
    moto.make(&bucket);
    moto.publish(&bucket);
    let endpoint = format!("http://127.0.0.1:{}", moto.port);
    let credentials = [("AWS_ACCESS_KEY_ID", "any"), ("AWS_SECRET_ACCESS_KEY", "any"), ("AWS_REGION", "us-east-1")];
    let all = [&[("AWS_ENDPOINT_URL", endpoint.as_str())], &credentials[..]].concat();
    check(&format!("s3://{bucket}"), &format!("{endpoint}/{bucket}"), &all);
}
