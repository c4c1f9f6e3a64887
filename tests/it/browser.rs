//! Packages play in a real browser, by hls.js in headless Chromium.

use std::path::Path;
use std::process::Command;

use crate::inputs::published;
use crate::support::media;
use crate::support::sandbox::Sandbox;

/// Plays the one package of `dest` and gives what was seen, as `play.mjs` prints it.
fn play(dest: &Path, options: &[&str]) -> serde_json::Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert!(root.join("tests/browser/node_modules/hls.js").exists(), "hls.js is missing: run `make setup-test`");
    let [id] = &published(dest)[..] else { panic!("{:?}", published(dest)) };
    let output = Command::new("node")
        .arg(root.join("tests/browser/play.mjs"))
        .arg(dest)
        .args(["--master", &format!("{id}/master.m3u8"), "--seconds", "6"])
        .args(options)
        .output()
        .expect("node is installed by `make setup-test`");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&said).unwrap()
}

/// Fails unless every level was shown and heard, and moved on.
fn check(seen: &serde_json::Value, levels: usize) {
    assert_eq!(seen["ok"], true, "{seen}");
    let shown = seen["levels"].as_array().unwrap();
    assert_eq!(shown.len(), levels, "{seen}");
    for level in shown {
        assert!(level["advanced"].as_f64().unwrap() > 0.5, "{seen}");
        assert!(level["videoBytes"].as_f64().unwrap() > 0.0 && level["audioBytes"].as_f64().unwrap() > 0.0, "{seen}");
    }
    assert!(seen["switches"].as_array().unwrap().len() >= 2, "{seen}");
}

#[test]
fn a_browser_plays_every_level_plain_and_encrypted() {
    let sandbox = Sandbox::new();
    // Long enough for each level to have its turn.
    let source = media::clip_of(24, "640x360");
    let source = source.to_str().unwrap();
    let common = ["--ladder", "240p,360p", "--profile", "fast", "--segment", "2s"];
    let hls = |to: &str, more: &[&str]| {
        let arguments = ["hls", source, "--to", to, "--state", &format!("state-{to}")];
        sandbox.forebay(arguments.into_iter().chain(common).chain(more.iter().copied())).expect(0);
    };
    hls("plain", &[]);
    check(&play(&sandbox.path("plain"), &[]), 2);
    let encrypt = ["--encrypt", "aes-128", "--keys", "keys", "--key-uri", "/keys/{id}/{key}.key", "--rotate", "3"];
    hls("sealed", &encrypt);
    let keys = sandbox.path("keys");
    let seen = play(&sandbox.path("sealed"), &["--keys", keys.to_str().unwrap(), "--encrypted"]);
    check(&seen, 2);
    assert!(seen["keyRequests"].as_u64().unwrap() >= 2, "{seen}");
}
