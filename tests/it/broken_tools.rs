//! ffmpeg and yt-dlp that die, hang, lie or shout: what can be mended by another
//! try is, the rest is one clear line, and nothing half-made is published.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::bench::{Bench, LAST_BREATH, PARTS};
use crate::support::fake_tools::Fake;
use crate::support::media;
use crate::support::oracle;
use crate::support::sandbox::{Run, Running};
use crate::support::slow_server::Server;

/// Runs with an ffmpeg that behaves as `mode` says and hangs after `silence` milliseconds.
fn run(bench: &mut Bench, mode: &str, silence: u32) -> Run {
    bench.sandbox.set("FOREBAY_FAULT_SILENCE", silence.to_string());
    bench.ffmpeg.mode(mode);
    let run = bench.run();
    assert_eq!(bench.sandbox.alive_after(LAST_BREATH), [], "{mode}");
    run
}

/// The run must fail with these words, and show nothing.
#[track_caller]
fn check_fails(mode: &str, silence: u32, words: &str) {
    let mut bench = Bench::new();
    let run = run(&mut bench, mode, silence);
    assert!(matches!(run.code, Some(1 | 3)), "{mode}: {:?} {}", run.code, run.stderr);
    assert!(run.stderr.contains(words), "{mode}: {}", run.stderr);
    assert!(run.stderr.len() < 2000, "{mode}: {} bytes of errors", run.stderr.len());
    assert!(!bench.master().exists(), "{mode}: something is published");
    // Once the tool is mended, the same command finishes.
    bench.ffmpeg.mode("real");
    bench.sandbox.unset("FOREBAY_FAULT_SILENCE");
    bench.run().expect(0);
    bench.package(&[]).unwrap();
}

/// The run must end well all the same.
#[track_caller]
fn check_mended(mode: &str) {
    let mut bench = Bench::new();
    run(&mut bench, mode, 6000).expect(0);
    bench.package(&[]).unwrap();
    assert!(bench.ffmpeg.encodes().values().sum::<usize>() <= PARTS + 1, "{mode}: {:?}", bench.ffmpeg.encodes());
}

#[test]
fn an_encoder_that_always_dies() {
    check_fails("die", 9000, "ffmpeg was killed by signal 9");
}

#[test]
fn an_encoder_that_always_hangs() {
    check_fails("hang", 800, "showed no progress for");
}

#[test]
fn a_probe_that_dies_says_nothing_of_the_file() {
    let mut bench = Bench::new();
    let probe = bench.sandbox.write("fake/ffprobe", "#!/bin/sh\nkill -SEGV $$\n");
    fs::set_permissions(&probe, fs::Permissions::from_mode(0o755)).unwrap();
    bench.sandbox.set("FOREBAY_TOOLS__FFPROBE", &probe);
    let run = bench.run().expect(1);
    assert!(run.stderr.contains("ffprobe was killed by signal 11") && !run.stderr.contains("file"), "{}", run.stderr);
    bench.sandbox.unset("FOREBAY_TOOLS__FFPROBE");
    bench.run().expect(0);
    bench.package(&[]).unwrap();
}

#[test]
fn an_encoder_that_closes_its_outputs_and_hangs() {
    check_fails("mute", 800, "showed no progress for");
}

#[test]
fn an_encoder_that_writes_nothing_and_says_it_is_done() {
    check_fails("empty", 9000, "FAIL");
}

#[test]
fn an_encoder_that_writes_rubbish_and_says_it_is_done() {
    check_fails("short", 9000, "FAIL");
}

#[test]
fn an_encoder_whose_files_lack_their_end() {
    check_fails("cut", 9000, "FAIL");
}

#[test]
fn an_encoder_that_shouts_and_fails() {
    check_fails("flood-die", 9000, "a line of noise");
}

#[test]
fn what_goes_wrong_once_is_tried_again() {
    check_mended("die-once");
    check_mended("hang-once");
    check_mended("flood-once");
}

/// The pids of processes of `bench` whose command line has all of `words`.
fn pids(bench: &Bench, words: &[&str]) -> Vec<i32> {
    let alive = bench.sandbox.alive().into_iter();
    alive.filter(|(_, command)| words.iter().all(|word| command.contains(word))).map(|(pid, _)| pid).collect()
}

/// Kills the first process with `words` in its command line as soon as there is one.
fn kill_first(bench: &Bench, running: &mut Running, words: &[&str]) {
    loop {
        if let Some(&pid) = pids(bench, words).first() {
            // It may have ended in between.
            kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap_or_default();
            return;
        }
        if let Some(run) = running.ended() {
            panic!("it ended too early: {:?} {}", run.code, run.stderr);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_killed_encoder_is_started_again() {
    let bench = Bench::new();
    bench.ffmpeg.mode("slow");
    let mut running = bench.start(&[]);
    for part in ["chunk-00001-", "chunk-00004-"] {
        kill_first(&bench, &mut running, &[part]);
    }
    let run = running.wait().expect(0);
    let tries = run.events().iter().filter(|event| event.get("event").is_some_and(|name| name == "retrying")).count();
    assert_eq!(tries, 2, "{}", run.stderr);
    bench.package(&[]).unwrap();
    // One that was killed early had no time to be counted.
    assert!(bench.ffmpeg.starts() <= PARTS + 2, "{:?}", bench.ffmpeg.encodes());
}

#[test]
fn a_killed_yt_dlp_is_started_again() {
    let server = Server::start(&media::clip(), 9_000_000);
    let bench = Bench::new().with_input(&server.url("page"), &[]);
    let ytdlp = Fake::ytdlp(&bench.sandbox, &bench.sandbox.path("clip.mp4"));
    bench.tools(&[("yt-dlp", &ytdlp)]);
    ytdlp.mode("hang");
    let mut running = bench.start(&[]);
    while !bench.sandbox.alive().iter().any(|(_, command)| command.starts_with("sleep")) {
        assert!(running.ended().is_none());
        std::thread::sleep(Duration::from_millis(10));
    }
    ytdlp.mode("real");
    kill_first(&bench, &mut running, &["fake/yt-dlp", "--no-simulate"]);
    running.wait().expect(0);
    assert_eq!((ytdlp.starts(), bench.sandbox.alive_after(LAST_BREATH)), (2, vec![]));
    bench.package(&[]).unwrap();
}

/// A source with a hole in its picture must not be published; says what is wrong with that.
fn damaged_source(mutant: &str) -> Result<(), String> {
    let mut bench = Bench::new();
    bench.sandbox.set("FOREBAY_FAULT_MUTANT", mutant);
    let mut bytes = std::fs::read(bench.sandbox.path("clip.mp4")).unwrap();
    let middle = bytes.len() / 2;
    bytes.get_mut(middle..middle + 60_000).unwrap().fill(0);
    bench.sandbox.write("clip.mp4", bytes);
    let run = bench.run();
    if run.code == Some(0) || bench.master().exists() {
        return Err("a damaged source is published".into());
    }
    let left = oracle::files(&bench.sandbox.path("dest"));
    if !run.stderr.contains("the source is damaged") || !left.is_empty() {
        return Err(format!("{:?} {} {left:?}", run.code, run.stderr));
    }
    Ok(())
}

#[test]
fn exit_codes_prove_nothing() {
    assert_eq!(damaged_source(""), Ok(()));
    let problem = damaged_source("trust-exit-codes").unwrap_err();
    eprintln!("trust-exit-codes is caught: {problem}");
}
