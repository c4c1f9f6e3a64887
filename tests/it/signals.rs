//! Asked to stop, a run stops soon, says how to go on, and leaves nobody behind.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::bench::{Bench, LAST_BREATH};
use crate::support::fake_tools::Fake;
use crate::support::media;
use crate::support::sandbox::{Run, Running};
use crate::support::slow_server::Server;

/// Asked once, work has a second to finish, and children half a second to end.
const ONCE: Duration = Duration::from_millis(2500);
const TWICE: Duration = Duration::from_secs(1);

/// Sends `signals` to a run that is at work, and checks how it ends and that the same command goes on.
#[track_caller]
fn check(bench: &Bench, mut running: Running, signals: &[Signal], longest: Duration) {
    let begun = Instant::now();
    for signal in signals {
        running.signal(*signal);
        std::thread::sleep(Duration::from_millis(100));
    }
    let run = loop {
        if let Some(run) = running.ended() {
            break run;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{signals:?}: it does not stop");
        std::thread::sleep(Duration::from_millis(5));
    };
    let time = begun.elapsed();
    eprintln!("{signals:?}: ended after {time:?}");
    assert!(time < longest, "{signals:?}: it took {time:?}");
    stopped(bench, &run);
}

#[track_caller]
fn stopped(bench: &Bench, run: &Run) {
    assert_eq!(run.code, Some(130), "{}", run.stderr);
    assert!(run.stderr.contains("Run the same command to go on."), "{}", run.stderr);
    assert_eq!(bench.sandbox.alive_after(LAST_BREATH), []);
    assert!(!bench.master().exists());
}

/// Waits until `condition` holds for a run that goes on.
#[track_caller]
fn until(running: &mut Running, condition: impl Fn(&Running) -> bool) {
    while !condition(running) {
        if let Some(run) = running.ended() {
            panic!("it ended too early: {:?} {}", run.code, run.stderr);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn stopped_while_encoders_hang() {
    let cases: [(&[Signal], Duration); 5] = [
        (&[Signal::TERM], ONCE),
        (&[Signal::INT], ONCE),
        (&[Signal::HUP], ONCE),
        (&[Signal::TERM, Signal::TERM], TWICE),
        (&[Signal::INT, Signal::INT], TWICE),
    ];
    let bench = Bench::new();
    for (signals, longest) in cases {
        bench.ffmpeg.mode("hang");
        let before = bench.ffmpeg.starts();
        let mut running = bench.start(&[]);
        until(&mut running, |_| bench.ffmpeg.starts() >= before + 2);
        check(&bench, running, signals, longest);
    }
    bench.ffmpeg.mode("real");
    bench.run().expect(0);
    bench.package(&[]).unwrap();
}

#[test]
fn what_is_done_when_it_stops_is_not_done_again() {
    let bench = Bench::new();
    bench.ffmpeg.mode("slow");
    let mut running = bench.start(&[]);
    until(&mut running, |_| bench.ffmpeg.starts() >= 4);
    check(&bench, running, &[Signal::TERM], ONCE);
    let begun = bench.ffmpeg.starts();
    bench.ffmpeg.mode("real");
    let run = bench.run().expect(0);
    let resumed = run.events().iter().find_map(|event| event.get("resumed")?.as_u64()).unwrap();
    assert!(resumed >= 3, "{resumed} of {begun} parts were kept");
    bench.package(&[]).unwrap();
}

#[test]
fn stopped_while_a_download_crawls() {
    let server = Server::start(&media::clip(), 60_000);
    let bench = Bench::new().with_input(&server.url("film.mp4"), &[]);
    for signals in [&[Signal::INT][..], &[Signal::TERM, Signal::TERM]] {
        let mut running = bench.start(&[]);
        let before = server.bytes().1;
        until(&mut running, |_| server.bytes().1 > before + 40_000);
        check(&bench, running, signals, TWICE);
    }
    assert_eq!(bench.ffmpeg.starts(), 0);
}

#[test]
fn stopped_while_yt_dlp_hangs() {
    let server = Server::start(&media::clip(), 9_000_000);
    let bench = Bench::new().with_input(&server.url("page"), &[]);
    let ytdlp = Fake::ytdlp(&bench.sandbox, &bench.sandbox.path("clip.mp4"));
    bench.tools(&[("yt-dlp", &ytdlp)]);
    for signals in [&[Signal::INT][..], &[Signal::KILL]] {
        ytdlp.mode("hang");
        let before = ytdlp.starts();
        let mut running = bench.start(&[]);
        until(&mut running, |_| ytdlp.starts() > before);
        until(&mut running, |_| bench.sandbox.alive().iter().any(|(_, command)| command.starts_with("sleep")));
        if signals == [Signal::KILL] {
            running.signal(Signal::KILL);
            running.wait();
            assert_eq!(bench.sandbox.alive_after(LAST_BREATH), []);
        } else {
            check(&bench, running, signals, ONCE);
        }
    }
    ytdlp.mode("real");
    bench.run().expect(0);
    bench.package(&[]).unwrap();
}
