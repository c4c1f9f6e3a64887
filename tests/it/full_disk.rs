//! Full disks: the scratch folder, the destination, the state folder. Nothing
//! half-made is visible, the message says what to do, and when there is room
//! the same command finishes.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::photo::quarters;
use crate::support::bench::Bench;
use crate::support::media;
use crate::support::oracle;
use crate::support::sandbox::Sandbox;
use crate::support::slow_server::Server;

/// Runs in a mount namespace of its own: on a small disk at `$1` of `$2` bytes,
/// then again after the disk has grown. What is at the destination after each
/// is copied out, as the disk goes with the namespace.
const SCRIPT: &str = r#"
disk=$1 size=$2; shift 2
mkdir -p "$disk" first second && mount -t tmpfs -o size="$size" tmpfs "$disk" || exit 99
"$@" > first/out 2> first/err; echo $? > first/code
cp -a dest first/ 2>/dev/null
mount -o remount,size=64m "$disk" || exit 99
"$@" > second/out 2> second/err; echo $? > second/code
cp -a dest second/
exit 0
"#;

/// `unshare` with the options by which this user may mount; nothing if there are none.
pub(crate) fn unshare() -> Option<&'static [&'static str]> {
    let ways: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];
    let works = |way: &&&[&str]| {
        let try_it = ["sh", "-c", "mount -t tmpfs -o size=4k tmpfs /tmp"];
        Command::new("unshare").args(**way).args(try_it).output().is_ok_and(|output| output.status.success())
    };
    ways.iter().find(works).copied()
}

/// How the two runs went.
struct Outcome {
    first: Option<i32>,
    first_error: String,
    first_master: PathBuf,
    /// Whether the second run ended well, with a whole package.
    second: Result<(), String>,
}

/// Runs with a disk of `kilobytes` at `disk`.
fn on_small_disk(input: &str, disk: &str, kilobytes: u64) -> Option<Outcome> {
    let way = unshare()?;
    let bench = Bench::new().with_input(input, &["--scratch", "scratch"]);
    let mut command = bench.sandbox.command("unshare");
    command.args(way).args(["sh", "-c", SCRIPT, "sh", disk, &format!("{kilobytes}k")]);
    command.arg(env!("CARGO_BIN_EXE_forebay")).args(&bench.arguments);
    bench.sandbox.spawn(command).wait().expect(0);
    let read = |name: &str| fs::read_to_string(bench.sandbox.path(name)).unwrap();
    let code = |name: &str| read(name).trim().parse().ok();
    let second = if code("second/code") == Some(0) {
        oracle::judge(&bench.sandbox.path("second/dest/cdn/clip/master.m3u8")).map(drop)
    } else {
        Err(read("second/err"))
    };
    let outcome = Outcome {
        first: code("first/code"),
        first_error: read("first/err"),
        first_master: bench.sandbox.path("first/dest/cdn/clip/master.m3u8"),
        second,
    };
    let visible =
        oracle::look(&outcome.first_master).unwrap_or_else(|problem| panic!("{disk} {kilobytes}k: {problem}"));
    assert_eq!(visible.is_some(), outcome.first == Some(0), "{disk} {kilobytes}k: {}", outcome.first_error);
    Some(outcome)
}

/// Tries disks of several sizes at `disk`, `too_small` of which cannot be enough.
#[track_caller]
fn check(input: &str, disk: &str, kilobytes: &[u64], too_small: usize) {
    for (number, &kilobytes) in kilobytes.iter().enumerate() {
        let Some(outcome) = on_small_disk(input, disk, kilobytes) else {
            eprintln!("SKIPPED: this user may not mount a disk, so full disks are not tested here");
            return;
        };
        let Outcome { first, first_error, second, .. } = outcome;
        eprintln!("{disk} of {kilobytes}k: exit {first:?}: {}", first_error.replace('\n', " | "));
        assert!(
            number < too_small && first == Some(3) || number >= too_small && matches!(first, Some(0 | 3)),
            "{first_error}"
        );
        if first == Some(3) {
            let clear =
                ["o space left", "disk is full", "check the space"].iter().any(|words| first_error.contains(words));
            assert!(clear && first_error.contains("hint:"), "{first_error}");
        }
        assert_eq!(second, Ok(()), "{disk} of {kilobytes}k");
    }
}

#[test]
fn the_scratch_folder_is_full() {
    check("clip.mp4", "scratch", &[4, 20, 60, 120, 240], 2);
}

#[test]
fn a_download_does_not_fit() {
    let server = Server::start(&media::clip(), 9_000_000);
    check(&server.url("film.mp4"), "scratch", &[100, 700, 1100], 2);
}

#[test]
fn the_destination_is_full() {
    check("clip.mp4", "dest", &[16, 60, 140, 240, 600], 4);
}

#[test]
fn the_state_folder_is_full() {
    check("clip.mp4", "state", &[4, 32, 60], 1);
}

/// Three pictures that do not fit end a run that made none, and that is no stop by somebody.
#[test]
fn pictures_have_no_room() {
    let Some(way) = unshare() else {
        eprintln!("SKIPPED: this user may not mount a disk, so full disks are not tested here");
        return;
    };
    let sandbox = Sandbox::new();
    let first = quarters(&sandbox, "in/0.jpg", "300x200", &[]);
    for number in 1..60 {
        sandbox.copy(&first, &format!("in/{number}.jpg"));
    }
    let mut command = sandbox.command("unshare");
    command.args(way).args(["sh", "-c", SCRIPT, "sh", "dest", "8k", env!("CARGO_BIN_EXE_forebay")]);
    command.args(["photos", "in", "--to", "dest", "--state", "state", "--json"]);
    sandbox.spawn(command).wait().expect(0);
    let read = |name: &str| fs::read_to_string(sandbox.path(name)).unwrap();
    assert_eq!(read("first/code").trim(), "3", "{}{}", read("first/out"), read("first/err"));
    let summary = serde_json::from_str::<serde_json::Value>(read("first/out").lines().last().unwrap()).unwrap();
    let (failed, left) = (summary["failed"].as_u64().unwrap(), summary["left"].as_u64().unwrap());
    assert!(failed >= 3 && left > 0 && failed + left == 60 && summary["stopped"] == false, "{summary}");
    assert_eq!(read("second/code").trim(), "0", "{}", read("second/err"));
    assert_eq!(crate::photo::names(&sandbox.path("second/dest")).len(), 60);
}
