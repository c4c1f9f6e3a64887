//! Packages play in a real browser, by hls.js and by shaka-player in headless Chromium.

use std::path::Path;
use std::process::Command;

use crate::inputs::published;
use crate::support::media;
use crate::support::sandbox::Sandbox;

/// As [`try_play`], and fails unless it played.
fn play(dest: &Path, options: &[&str]) -> serde_json::Value {
    let seen = try_play(dest, options);
    assert_eq!(seen["ok"], true, "{seen}");
    seen
}

/// Plays the one package of `dest` and gives what was seen, as `play.mjs` prints it.
fn try_play(dest: &Path, options: &[&str]) -> serde_json::Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert!(root.join("tests/browser/node_modules/hls.js").exists(), "hls.js is missing: run `make setup-test`");
    let [id] = &published(dest)[..] else { panic!("{:?}", published(dest)) };
    let output = Command::new("node")
        .arg(root.join("tests/browser/play.mjs"))
        .arg(dest)
        .args(["--seconds", "6", "--master", &format!("{id}/master.m3u8")])
        .args(options)
        .output()
        .expect("node is installed by `make setup-test`");
    let said = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}\n{}", String::from_utf8_lossy(&output.stderr)))
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
    assert!(levels == 1 || seen["switches"].as_array().unwrap().len() >= 2, "{seen}");
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

#[test]
fn fragments_play_by_both_players_as_hls_and_as_dash() {
    let sandbox = Sandbox::new();
    let source = media::clip_of(9, "640x360");
    let source = source.to_str().unwrap();
    let hls = |to: &str, more: &[&str]| {
        let common = ["hls", source, "--to", to, "--id", "v", "--state", &format!("state-{to}")];
        let usual = ["--ladder", "240p,360p", "--profile", "fast", "--segment", "2s", "--container", "fmp4"];
        sandbox.forebay(common.into_iter().chain(usual).chain(more.iter().copied())).expect(0);
    };
    let few = ["--seconds", "3"];
    let shaka = ["--player", "shaka"];
    let dash = ["--master", "v/manifest.mpd"];
    hls("plain", &["--dash"]);
    let plain = sandbox.path("plain");
    check(&play(&plain, &few), 2);
    check(&play(&plain, &[&few[..], &shaka, &dash].concat()), 2);
    let seal = ["--keys", "keys", "--key-uri", "/keys/{id}/{key}.key", "--encrypt"];
    let keys = sandbox.path("keys");
    let with_keys = ["--keys", keys.to_str().unwrap(), "--encrypted"];
    hls("whole", &[&seal[..], &["aes-128"]].concat());
    check(&play(&sandbox.path("whole"), &[&few[..], &with_keys].concat()), 2);
    check(&play(&sandbox.path("whole"), &[&few[..], &with_keys, &shaka].concat()), 2);
    std::fs::remove_dir_all(keys.join("v")).unwrap();
    hls("samples", &[&seal[..], &["cbcs", "--dash"]].concat());
    let samples = sandbox.path("samples");
    check(&play(&samples, &[&few[..], &with_keys, &shaka].concat()), 2);
    let pair = key_pair(&keys);
    check(&play(&samples, &[&few[..], &shaka, &dash, &["--clear-key", &pair]].concat()), 2);
    // The wrong key shows nothing: the test above can fail.
    let wrong = format!("{}:{}", pair.split(':').next().unwrap(), "00".repeat(16));
    let seen = try_play(&samples, &[&few[..], &shaka, &dash, &["--clear-key", &wrong]].concat());
    assert_eq!(seen["ok"], false, "{seen}");
    std::fs::remove_dir_all(keys.join("v")).unwrap();
    hls("av1", &[&seal[..], &["cbcs", "--dash", "--codec", "av1"]].concat());
    let pair = key_pair(&keys);
    check(&play(&sandbox.path("av1"), &[&few[..], &shaka, &dash, &["--clear-key", &pair]].concat()), 2);
}

/// The one key of a video by its id, as shaka-player takes it.
fn key_pair(keys: &Path) -> String {
    let [key] = &crate::support::oracle::files(&keys.join("v"))[..] else { panic!("one key is wanted") };
    let bytes = hex::encode(std::fs::read(keys.join("v").join(key)).unwrap());
    format!("{}:{bytes}", key.trim_end_matches(".key"))
}

#[test]
fn a_player_of_dash_shows_the_subtitles() {
    let sandbox = Sandbox::new();
    let film = sandbox.copy(&media::clip_of(9, "640x360"), "film.mp4");
    let srt =
        |words: &str| format!("1\n00:00:01,000 --> 00:00:02,500\n{words}\n\n2\n00:00:07,000 --> 00:00:08,000\nend\n");
    for (name, words) in [("film.de.forced.srt", "Schild"), ("film.en.srt", "one < two & three")] {
        sandbox.write(name, srt(words));
    }
    let place = ["--to", "out", "--id", "v", "--ladder", "240p", "--profile", "fast"];
    let form = ["--segment", "2s", "--container", "fmp4", "--dash"];
    let arguments = ["hls", film.to_str().unwrap()].into_iter().chain(place).chain(form);
    sandbox.forebay(arguments).expect(0);
    let master = sandbox.path("out/v/master.m3u8");
    sandbox.forebay(["verify", master.to_str().unwrap()]).expect(0);
    let out = sandbox.path("out");
    let seen = play(&out, &["--seconds", "3", "--player", "shaka", "--master", "v/manifest.mpd"]);
    let mut texts: Vec<String> = seen["texts"].as_array().unwrap().iter().map(ToString::to_string).collect();
    texts.sort();
    assert_eq!(texts.len(), 2, "{seen}");
    for (text, parts) in texts.iter().zip([
        ["\"language\":\"de\"", "\"forced-subtitle\"", "[1,\"Schild\"]", "[7,\"end\"]"],
        ["\"language\":\"en\"", "\"subtitle\"", "[1,\"one < two & three\"]", "[7,\"end\"]"],
    ]) {
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
}
