//! Run again: what is done is known at once, what is not whole is made anew,
//! and what was published stays whole until the new pointer is there.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::bench::{Bench, PARTS};
use crate::support::media;
use crate::support::oracle::{self, Package};
use crate::support::sandbox::Run;
use crate::support::slow_server::Server;

/// A master key for tests, in hex.
const MASTER_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

const ENCRYPTED: &[&str] =
    &["--encrypt", "aes-128", "--key-uri", "https://keys.example/{id}/{key}", "--keys", "keys", "--rotate", "3"];

/// Runs again and counts what is encoded.
fn again(bench: &Bench) -> (Run, usize) {
    let before = bench.ffmpeg.starts();
    let run = bench.run().expect(0);
    (run, bench.ffmpeg.starts() - before)
}

fn has_event(run: &Run, name: &str) -> bool {
    run.events().iter().any(|event| event.get("event").is_some_and(|event| event == name))
}

#[track_caller]
fn check_already_done(bench: &Bench) {
    let begun = Instant::now();
    let (run, encodes) = again(bench);
    assert!(has_event(&run, "already-done") && run.stderr.contains("1 already done"), "{}", run.stderr);
    assert_eq!((encodes, has_event(&run, "downloading")), (0, false));
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[test]
fn what_is_done_is_known_without_a_download() {
    let server = Server::start(&media::clip(), 9_000_000);
    let bench = Bench::new().with_input(&server.url("film.mp4"), &[]);
    bench.run().expect(0);
    let (size, sent) = server.bytes();
    assert_eq!(sent, size);
    let asked = server.requests();
    check_already_done(&bench);
    // A state folder that is lost loses no package.
    fs::remove_dir_all(bench.sandbox.path("state")).unwrap();
    check_already_done(&bench);
    assert!(server.bytes().1 < size + 1000 && server.requests() - asked < 5);
}

#[test]
fn force_makes_the_same_again() {
    let mut bench = Bench::new();
    bench.run().expect(0);
    let first = bench.package(&[]).unwrap();
    bench.arguments.push("--force".into());
    let watch = bench.watch();
    let (_, encodes) = again(&bench);
    assert_eq!((encodes, watch.answer()), (PARTS, Ok(())));
    assert_eq!(bench.package(&[]).unwrap(), first);
}

#[test]
fn what_is_made_again_stays_whole_through_kills() {
    let mut bench = Bench::new();
    bench.run().expect(0);
    let first = bench.package(&[]).unwrap();
    bench.arguments.push("--force".into());
    let watch = bench.watch();
    for step in ["half-written/00004.ts", "playlist-stored", "playlists-stored", "half-written/manifest.json"] {
        let run = bench.start(&[("FOREBAY_FAULT_KILL", step)]).wait();
        assert_eq!(run.signal, Some(Signal::KILL.as_raw()), "{step}");
        assert_eq!(oracle::look(&bench.master()).as_ref(), Ok(&Some(first.clone())), "{step}");
    }
    bench.run().expect(0);
    assert_eq!((watch.answer(), bench.package(&[]).as_ref()), (Ok(()), Ok(&first)));
}

#[test]
fn a_folder_with_rubbish_is_not_a_package() {
    let bench = Bench::new();
    bench.sandbox.write("dest/cdn/clip/old/notes.txt", "mine");
    bench.sandbox.write("dest/cdn/clip/master.m3u8", "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nold/index.m3u8\n");
    let (run, encodes) = again(&bench);
    assert!(has_event(&run, "done"));
    assert_eq!(encodes, PARTS);
    bench.package(&[]).unwrap();
    assert!(bench.sandbox.path("dest/cdn/clip/old/notes.txt").exists(), "what is not ours stays");
}

#[test]
fn a_package_that_lost_something_is_made_again() {
    let bench = Bench::new();
    bench.run().expect(0);
    let first = bench.package(&[]).unwrap();
    let base = bench.sandbox.path("dest/cdn/clip").join(&first.generation);
    let damage: [(&str, &dyn Fn()); 4] = [
        ("a segment", &|| fs::remove_file(base.join("120p/00002.ts")).unwrap()),
        ("the end of a segment", &|| fs::write(base.join("90p/00004.ts"), "torn").unwrap()),
        ("a playlist", &|| fs::remove_file(base.join("90p/index.m3u8")).unwrap()),
        ("the manifest", &|| fs::write(base.join("manifest.json"), "{}").unwrap()),
    ];
    for (what, damage) in damage {
        damage();
        let (run, _) = again(&bench);
        assert!(has_event(&run, "done"), "{what}");
        assert_eq!(bench.package(&[]).as_ref(), Ok(&first), "{what}");
        check_already_done(&bench);
    }
}

/// Changes something, runs again under the eyes of a player, and gives both packages.
#[track_caller]
fn check_made_anew(bench: &Bench, change: impl FnOnce(&Bench)) -> (Package, Package) {
    let before = bench.package(&[]).unwrap();
    change(bench);
    let watch = bench.watch();
    let (run, _) = again(bench);
    assert!(has_event(&run, "done"), "{}", run.stdout);
    watch.answer().unwrap();
    check_already_done(bench);
    (before, bench.package(&[]).unwrap())
}

#[test]
fn a_changed_source_is_made_again() {
    let bench = Bench::new();
    bench.run().expect(0);
    let (before, after) = check_made_anew(&bench, |bench| {
        bench.sandbox.copy(&media::clip_of(5, "320x180"), "clip.mp4");
    });
    assert_ne!(before.generation, after.generation);
    // Other content of the same size, at another time.
    let (before, after) = check_made_anew(&bench, |bench| {
        let path = bench.sandbox.path("clip.mp4");
        let old = fs::metadata(&path).unwrap().modified().unwrap();
        let mut bytes = fs::read(&path).unwrap();
        let name = bytes.windows(4).rposition(|window| window == b"Lavf").unwrap();
        bytes[name] = b'l';
        fs::write(&path, bytes).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(old + Duration::from_secs(9)).unwrap();
    });
    assert_ne!(before.generation, after.generation);
    // Another date of the same bytes gives the same package.
    let (before, after) = check_made_anew(&bench, |bench| {
        let file = fs::File::options().write(true).open(bench.sandbox.path("clip.mp4")).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_hours(24)).unwrap();
    });
    assert_eq!(before, after);
}

#[test]
fn changed_settings_make_another_package() {
    let mut bench = Bench::new();
    bench.run().expect(0);
    bench.arguments.extend(["--profile".into(), "balanced".into()]);
    let (before, after) = check_made_anew(&bench, |_| {});
    assert_ne!(before.generation, after.generation);
    let old = bench.sandbox.path("dest/cdn/clip").join(before.generation);
    assert!(old.join("manifest.json").exists(), "a player may still be in the old package");
}

#[test]
fn two_runs_do_not_share_a_state_folder() {
    let bench = Bench::new();
    bench.ffmpeg.mode("slow");
    let first = bench.start(&[]);
    while bench.ffmpeg.starts() == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let second = bench.run().expect(3);
    assert!(second.stderr.contains("another run is using the state folder"), "{}", second.stderr);
    first.wait().expect(0);
    bench.package(&[]).unwrap();
    check_already_done(&bench);
}

/// Every file of the sandbox outside of the key folder, and what runs said, without any key.
#[track_caller]
fn check_no_key_leaks(bench: &Bench, secrets: &[Vec<u8>]) {
    assert!(secrets.len() > 3, "{} secrets", secrets.len());
    for name in oracle::files(&bench.sandbox.path("")) {
        if name.starts_with("keys/") {
            continue;
        }
        let bytes = fs::read(bench.sandbox.path(&name)).unwrap();
        let lower = bytes.to_ascii_lowercase();
        for secret in secrets {
            let hexed = hex::encode(secret);
            let holds = |bytes: &[u8], secret: &[u8]| bytes.windows(secret.len()).any(|window| window == secret);
            assert!(!holds(&bytes, secret) && !holds(&lower, hexed.as_bytes()), "{name} holds a key");
        }
    }
}

#[test]
fn keys_are_in_the_key_folder_and_nowhere_else() {
    let mut bench = Bench::new().with_input("clip.mp4", ENCRYPTED);
    bench.arguments.extend(["--report".into(), "report.html".into()]);
    bench.sandbox.set("FOREBAY_LOG", "trace");
    bench.run().expect(0);
    bench.sandbox.unset("FOREBAY_LOG");
    bench.package(&["--keys", "keys"]).unwrap();
    let keys = bench.sandbox.path("keys");
    let mut secrets = Vec::new();
    for name in oracle::files(&keys) {
        let mode = fs::metadata(keys.join(&name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name}");
        let bytes = fs::read(keys.join(&name)).unwrap();
        secrets.push(if name == "master.key" { hex::decode(bytes.trim_ascii()).unwrap() } else { bytes });
    }
    check_no_key_leaks(&bench, &secrets);
}

#[test]
fn encrypted_runs_go_on_to_the_same_bytes() {
    let mut whole = Bench::new().with_input("clip.mp4", ENCRYPTED);
    whole.sandbox.set("FOREBAY_MASTER_KEY", MASTER_KEY);
    whole.run().expect(0);
    let expected = whole.package(&["--keys", "keys", "--decode"]).unwrap();
    for step in ["chunk-noted:5", "manifest-stored", "half-written/clip.key", "keys-stored"] {
        let mut bench = Bench::new().with_input("clip.mp4", ENCRYPTED);
        bench.sandbox.set("FOREBAY_MASTER_KEY", MASTER_KEY);
        // A key is named after its content, so its file is found by what a whole run wrote.
        let keys = oracle::files(&whole.sandbox.path("keys/clip"));
        let step = step.replace("clip.key", keys.first().unwrap());
        let run = bench.start(&[("FOREBAY_FAULT_KILL", &step)]).wait();
        assert_eq!(run.signal, Some(Signal::KILL.as_raw()), "{step}");
        bench.run().expect(0);
        assert_eq!(bench.package(&["--keys", "keys"]).as_ref(), Ok(&expected), "{step}");
        assert_eq!(oracle::files(&bench.sandbox.path("keys/clip")), keys, "{step}");
    }
}

#[test]
fn a_master_key_outlives_the_kill_after_it_was_made() {
    let bench = Bench::new().with_input("clip.mp4", ENCRYPTED);
    let run = bench.start(&[("FOREBAY_FAULT_KILL", "half-written/master.key")]).wait();
    assert_eq!(run.signal, Some(Signal::KILL.as_raw()));
    let run = bench.start(&[("FOREBAY_FAULT_KILL", "master-key-made")]).wait();
    assert_eq!(run.signal, Some(Signal::KILL.as_raw()));
    let key = fs::read(bench.sandbox.path("keys/master.key")).unwrap();
    bench.run().expect(0);
    assert_eq!(fs::read(bench.sandbox.path("keys/master.key")).unwrap(), key);
    bench.package(&["--keys", "keys"]).unwrap();
}

#[test]
fn keys_are_not_put_where_everybody_can_fetch_them() {
    for keys in ["dest/cdn", "dest/cdn/keys", "dest/cdn/../cdn/keys", "link/keys"] {
        let mut bench = Bench::new().with_input("clip.mp4", ENCRYPTED);
        fs::create_dir_all(bench.sandbox.path("dest/cdn")).unwrap();
        std::os::unix::fs::symlink("dest/cdn", bench.sandbox.path("link")).unwrap();
        let at = bench.arguments.iter().position(|argument| argument == "keys").unwrap();
        bench.arguments[at] = keys.into();
        let run = bench.run().expect(2);
        assert!(run.stderr.contains("is inside the destination"), "{keys}: {}", run.stderr);
        assert_eq!(oracle::files(&bench.sandbox.path("dest")), [""; 0], "{keys}");
        assert_eq!(bench.ffmpeg.starts(), 0);
    }
}
