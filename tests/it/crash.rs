//! Killed at any moment, the same command goes on: same names, same bytes,
//! little work done twice, and nothing half-made is ever visible.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::bench::{Bench, CORES, LAST_BREATH, PARTS};
use crate::support::media;
use crate::support::oracle::Package;
use crate::support::slow_server::Server;

/// Kills at random moments, over all videos, and at most so many in one.
const RANDOM_KILLS: usize = 30;
const KILLS_A_VIDEO: usize = 5;

/// Fast enough to be quick, slow enough to be killed in between.
const BYTES_PER_SECOND: u32 = 4_000_000;

/// What a kill may cost: the chunks that were encoded just then, and one that
/// was encoded and not yet stored for each of them.
const MOST_WASTE: usize = 2 * CORES;

/// Every step at which a run is killed, and how many parts may be encoded again. The kills of one line befall one
/// video, in this order. While the source is coming each core may have a head start of one part.
const STEPS: &[&[(&str, usize)]] = &[
    &[("folder-made", 0), ("mark-before-rename", 0), ("mark-saved", 0), ("piece-written", 0), ("pointer-stored", 0)],
    &[("piece-written:6", CORES), ("source-renamed", CORES)],
    &[("source-before-rename", CORES), ("fetched", CORES)],
    &[("renamed/master.m3u8", 0)],
    &[("publish-noted", 0)],
    &[("chunk-started", MOST_WASTE), ("chunk-encoded:3", MOST_WASTE), ("half-written/00003.ts", MOST_WASTE)],
    &[("chunk-noted", MOST_WASTE), ("unsynced/00004.ts", MOST_WASTE), ("renamed/00005.ts", MOST_WASTE)],
    &[("segment-stored:7", MOST_WASTE), ("chunk-stored:4", MOST_WASTE)],
    &[("chunk-started:6", MOST_WASTE)],
    &[
        ("planned", 0),
        ("chunk-noted:9", 0),
        ("playlist-stored", 0),
        ("playlist-stored:2", 0),
        ("playlists-stored", 0),
        ("half-written/manifest.json", 0),
        ("manifest-stored", 0),
        ("keys-stored", 0),
        ("chunks-forgotten", 0),
    ],
    &[("half-written/master.m3u8", 0), ("unsynced/master.m3u8", 0), ("folder-removed", 0)],
];

/// When a run is killed.
#[derive(Clone, Copy, Debug)]
enum Kill<'a> {
    At(&'a str),
    After(Duration),
}

/// A video on a server.
struct Film {
    bench: Bench,
    server: Server,
}

impl Film {
    fn new() -> Self {
        let server = Server::start(&media::clip_of(media::SECONDS, "640x360"), BYTES_PER_SECOND);
        let bench = Bench::new().with_input(&server.url("film.mp4"), &[]);
        Self { bench, server }
    }

    /// Runs the command and kills it; `false` if it ended before that.
    fn killed(&self, kill: Kill<'_>) -> Result<bool, String> {
        let step = if let Kill::At(step) = kill { step } else { "" };
        let mut running = self.bench.start(&[("FOREBAY_FAULT_KILL", step)]);
        if let Kill::After(time) = kill {
            let end = Instant::now() + time;
            while Instant::now() < end && running.ended().is_none() {
                std::thread::sleep(Duration::from_millis(2));
            }
            if running.ended().is_none() {
                running.signal(Signal::KILL);
            }
        }
        let run = running.wait();
        if matches!((kill, run.code), (Kill::After(_), Some(0))) {
            return Ok(false);
        }
        if run.signal != Some(Signal::KILL.as_raw()) {
            return Err(format!("{kill:?} was never reached: {:?}\n{}", run.code, run.stderr));
        }
        let alive = self.bench.sandbox.alive_after(LAST_BREATH);
        if alive.is_empty() { Ok(true) } else { Err(format!("still alive after {kill:?}: {alive:?}")) }
    }

    /// Runs the command to its end: the package must be whole, and the same as ever.
    fn finished(&self) -> Result<(), String> {
        let run = self.bench.run();
        if run.code != Some(0) {
            return Err(format!("the same command ends with {:?}: {}", run.code, run.stderr));
        }
        let package = self.bench.package(&[])?;
        if package != *undisturbed() {
            return Err(format!("another package than undisturbed: {package:?}"));
        }
        Ok(())
    }

    /// Parts that were encoded more than once.
    fn waste(&self) -> usize {
        self.bench.ffmpeg.encodes().values().sum::<usize>().saturating_sub(PARTS)
    }
}

/// What comes out if nothing goes wrong, and how long it takes here.
fn undisturbed() -> &'static Package {
    static PACKAGE: OnceLock<Package> = OnceLock::new();
    PACKAGE.get_or_init(|| {
        let film = Film::new();
        film.bench.run().expect(0);
        assert_eq!(film.waste(), 0);
        let package = film.bench.package(&["--decode"]).unwrap();
        let segments = media::SECONDS as usize;
        assert_eq!(package.segments.values().copied().collect::<Vec<_>>(), [segments; 3]);
        package
    })
}

/// Kills a run at each step, lets the next one finish, and says what is wrong with that.
fn kill_and_go_on(steps: &[(&str, usize)], mutant: &str) -> Result<(), String> {
    let mut film = Film::new();
    film.bench.sandbox.set("FOREBAY_FAULT_MUTANT", mutant);
    let watch = film.bench.watch();
    for (step, _) in steps {
        film.killed(Kill::At(step))?;
    }
    film.finished()?;
    watch.answer()?;
    let (waste, most) = (film.waste(), steps.iter().map(|(_, most)| most).sum());
    if waste > most {
        return Err(format!("{waste} parts were encoded again: {:?}", film.bench.ffmpeg.encodes()));
    }
    Ok(())
}

#[test]
fn killed_at_every_step_the_same_command_goes_on() {
    let problems = STEPS.iter().filter_map(|steps| Some(format!("{steps:?}: {}", kill_and_go_on(steps, "").err()?)));
    let problems: Vec<String> = problems.collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_step_of_the_program_is_tried() {
    let mut steps = BTreeSet::new();
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for call in ["fault::point(\"", "fault::point_at(\""] {
            steps.extend(text.split(call).skip(1).filter_map(|rest| rest.split('"').next().map(str::to_owned)));
        }
    }
    let elsewhere = [
        "master-key-made",
        "job-accepted",
        "upload-whole",
        "job-claimed",
        "chunk-fetched",
        "job-ended",
        "photo-named",
        "photo-written",
        "photo-mailed",
        "object-written",
        "object-copied",
        "object-recorded",
        // Below, with a film that comes more slowly.
        "early-kept",
    ];
    for step in steps {
        let tried = STEPS.iter().copied().flatten().any(|(tried, _)| tried.split([':', '/']).next() == Some(&step));
        assert!(tried || elsewhere.contains(&step.as_str()), "no test kills a run at `{step}`");
    }
}

/// Chunks that were encoded while the source was coming are not encoded again.
#[test]
fn a_head_start_outlives_a_kill() {
    let clip = media::clip_of(12, "1280x720");
    let quick = Server::start(&clip, u32::MAX);
    let whole = Bench::new().with_input(&quick.url("film.mp4"), &[]);
    whole.run().expect(0);
    // So many seconds over four connections: longer than the chunks take, also on a busy machine.
    let rate = clip.metadata().unwrap().len() / 4 / 18;
    let server = Server::start(&clip, u32::try_from(rate).unwrap());
    let bench = Bench::new().with_input(&server.url("film.mp4"), &[]);
    let film = Film { bench, server };
    assert_eq!(film.killed(Kill::At("early-kept:4")), Ok(true));
    let before = film.bench.ffmpeg.encodes().values().sum::<usize>();
    assert!(before >= 4, "{before}");
    film.bench.run().expect(0);
    assert_eq!(film.bench.package(&["--decode"]), whole.package(&["--decode"]));
    let again = film.bench.ffmpeg.encodes().values().sum::<usize>() - whole.ffmpeg.encodes().values().sum::<usize>();
    assert!(again <= CORES, "{again} parts were encoded again: {:?}", film.bench.ffmpeg.encodes());
}

/// A decoder that reads on to where nothing is yet is given the source again when it is whole.
#[test]
fn a_head_start_that_came_too_early_is_made_good() {
    let clip = media::clip_of(12, "1280x720");
    let server = Server::start(&clip, u32::try_from(clip.metadata().unwrap().len() / 4 / 12).unwrap());
    let mut bench = Bench::new().with_input(&server.url("film.mp4"), &[]);
    bench.run().expect(0);
    let (whole, encodes) = (bench.package(&["--decode"]).unwrap(), bench.ffmpeg.encodes().values().sum::<usize>());
    bench = Bench::new().with_input(&server.url("film.mp4"), &[]);
    bench.sandbox.set("FOREBAY_FAULT_MUTANT", "too-early");
    bench.run().expect(0);
    assert_eq!(bench.package(&["--decode"]).unwrap(), whole);
    let again = bench.ffmpeg.encodes().values().sum::<usize>().saturating_sub(encodes);
    assert!(again > 0, "nothing came too early: {:?}", bench.ffmpeg.encodes());
}

#[test]
fn killed_at_random_moments_the_same_command_goes_on() {
    let seed = std::env::var("TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("TEST_SEED={seed}");
    let mut random = Random(seed);
    undisturbed();
    let begun = Instant::now();
    Film::new().bench.run().expect(0);
    let longest = begun.elapsed();
    let (mut kills, mut waste, mut films) = (0, 0, 0);
    while kills < RANDOM_KILLS {
        let film = Film::new();
        let watch = film.bench.watch();
        let mut here = 0;
        while here < KILLS_A_VIDEO && kills + here < RANDOM_KILLS {
            match film.killed(Kill::After(longest.mul_f64(random.part()))) {
                Ok(true) => here += 1,
                Ok(false) => break,
                Err(problem) => panic!("seed {seed}: {problem}"),
            }
        }
        let outcome = film.finished().and_then(|()| watch.answer());
        assert_eq!(outcome, Ok(()), "seed {seed}, after {here} kills");
        let most = here * MOST_WASTE;
        assert!(film.waste() <= most, "seed {seed}: {here} kills, {:?}", film.bench.ffmpeg.encodes());
        let (size, sent) = film.server.bytes();
        assert!(sent <= size * (1 + here as u64), "seed {seed}: {here} kills, {sent} bytes of {size} sent");
        eprintln!("{here} kills: {} parts encoded again, {sent} bytes sent of {size}", film.waste());
        (kills, waste, films) = (kills + here, waste + film.waste(), films + 1);
    }
    eprintln!("{kills} kills over {films} videos of {PARTS} parts: {waste} parts encoded again");
    assert!(waste <= kills * CORES, "{waste} parts were encoded again after {kills} kills");
}

#[test]
fn a_run_that_goes_on_takes_nothing_for_granted() {
    assert_eq!(lost_segment(""), Ok(()));
}

/// Teeth: each broken behaviour must be found by a check that passes without it.
#[test]
fn broken_behaviour_is_caught() {
    let caught = |mutant: &str, outcome: Result<(), String>| {
        let problem = outcome.expect_err(mutant);
        eprintln!("{mutant} is caught: {problem}");
    };
    let killed = |mutant, step| caught(mutant, kill_and_go_on(&[(step, MOST_WASTE)], mutant));
    killed("pointer-first", "playlist-stored");
    killed("skip-if-folder-exists", "chunk-noted:3");
    killed("no-rename", "half-written/master.m3u8");
    caught("unverified-resume", lost_segment("unverified-resume"));
}

/// A segment that was stored and noted is lost between two runs.
fn lost_segment(mutant: &str) -> Result<(), String> {
    let mut film = Film::new();
    film.bench.sandbox.set("FOREBAY_FAULT_MUTANT", mutant);
    film.killed(Kill::At("chunk-noted:9"))?;
    let generation = film.bench.sandbox.path("dest/cdn/clip").join(&undisturbed().generation);
    fs::remove_file(generation.join("120p/00003.ts")).unwrap();
    fs::write(generation.join("90p/00005.ts"), "torn").unwrap();
    film.finished()?;
    if film.waste() == 2 { Ok(()) } else { Err(format!("encoded {:?}", film.bench.ffmpeg.encodes())) }
}

/// Numbers that look random and come again with the same seed (splitmix64).
struct Random(u64);

impl Random {
    /// From 0 to 1.
    fn part(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        f64::from(u32::try_from(mixed >> 32).unwrap()) / f64::from(u32::MAX)
    }
}
