//! A rung that is added later is all that is encoded; what comes of it is judged by the oracle and compared,
//! byte for byte, with what was published before and with the same made at once.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::support::bench::Bench;
use crate::support::media;
use crate::support::oracle::{self, Package};
use crate::support::sandbox::Run;
use crate::support::slow_server::Server;

/// A master key for tests, in hex.
const MASTER_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

const ENCRYPTED: &[&str] =
    &["--encrypt", "aes-128", "--key-uri", "https://keys.example/{id}/{key}", "--keys", "keys", "--rotate", "3"];

/// Chunks of the clip's picture.
const CHUNKS: usize = 8;

fn bench(options: &[&str]) -> Bench {
    let mut bench = Bench::new().with_input("clip.mp4", &[&["--no-copy"], options].concat());
    let rung = |size| format!("{{ name = \"{size}p\", short-side = {size}, crf = 30.0, max-bitrate = {} }}", size * 2);
    let ladder = |name: &str, sizes: &[u32]| {
        format!("{name} = [{}]\n", sizes.iter().map(|size| rung(*size)).collect::<Vec<_>>().join(", "))
    };
    let ladders = [("s", &[90][..]), ("m", &[120]), ("ms", &[120, 90]), ("lms", &[180, 120, 90])];
    let ladders: String = ladders.iter().map(|(name, sizes)| ladder(name, sizes)).collect();
    bench.sandbox.config(&format!(
        "[hls]\nsegment = \"1s\"\nprofile = \"fast\"\n[lanes]\nthreads = 2\n[tools]\nffmpeg = \"{}\"\n[ladders]\n{ladders}",
        bench.ffmpeg.program.display()
    ));
    bench.sandbox.set("FOREBAY_MASTER_KEY", MASTER_KEY);
    bench
}

fn start(bench: &Bench, ladder: &str, kill: &str) -> Run {
    let arguments = bench.arguments.iter().cloned().chain(["--ladder".into(), ladder.into()]).collect::<Vec<_>>();
    bench.sandbox.start_with(&arguments, &[("FOREBAY_FAULT_KILL", kill)]).wait()
}

/// Publishes with a ladder; gives the package, what ffmpeg was asked for, and the plan in a line.
#[track_caller]
fn publish(bench: &Bench, ladder: &str) -> (Package, Vec<String>, String) {
    let before = bench.ffmpeg.lines().len();
    let run = start(bench, ladder, "").expect(0);
    let planned = run.events().into_iter().find(|event| event["event"] == "planned").unwrap_or_default();
    let keys = bench.sandbox.path("keys");
    let verify = if keys.exists() { vec!["--keys", "keys", "--decode"] } else { vec!["--decode"] };
    let lines = bench.ffmpeg.lines().split_off(before);
    (bench.package(&verify).unwrap(), lines, planned["summary"].as_str().unwrap_or_default().into())
}

/// The same from scratch, elsewhere.
fn at_once(options: &[&str], ladder: &str) -> Package {
    publish(&bench(options), ladder).0
}

fn objects<'a>(package: &'a Package, folder: &'a str) -> impl Iterator<Item = (&'a String, &'a String)> {
    package.objects.iter().filter(move |(name, _)| name.starts_with(folder))
}

fn place(bench: &Bench, package: &Package) -> PathBuf {
    bench.sandbox.path("dest/cdn/clip").join(&package.generation)
}

/// The chunk that a line of arguments makes.
fn chunk(line: &str) -> Option<&str> {
    line.split("/chunk-").nth(1)?.split('-').next()
}

#[test]
fn a_smaller_rung_later_is_all_that_is_encoded() {
    let more = ["--container", "fmp4", "--dash", "--i-frames", "--poster", "--storyboard"];
    for options in [&[][..], &more, ENCRYPTED, &["--two-pass"]] {
        let bench = bench(options);
        let (first, _, summary) = publish(&bench, "m");
        assert_eq!(summary, "120p + audio-und");
        let (second, lines, summary) = publish(&bench, "ms");
        assert_eq!(summary, "120p (kept) 90p + audio-und (kept)", "{options:?}");
        let passes = if options == ["--two-pass"] { 2 } else { 1 };
        let at_least = CHUNKS * passes;
        // The first and the last chunk are several pieces.
        assert!((at_least..at_least + 8).contains(&lines.len()), "{options:?}: {}", lines.join("\n"));
        assert!(lines.iter().all(|line| line.contains("-map [v1]") && !line.contains("-map [v0]")), "{lines:?}");
        assert_eq!(second, at_once(options, "ms"), "{options:?}");
        // Players in the middle of the earlier package go on with it.
        assert!(place(&bench, &first).join("manifest.json").exists());
        let again = start(&bench, "ms", "").expect(0);
        assert!(again.stderr.contains("1 already done"), "{}", again.stderr);
    }
}

#[test]
fn a_larger_rung_later_leaves_the_others_as_they_are() {
    let bench = bench(&[]);
    let (first, ..) = publish(&bench, "s");
    let (second, lines, summary) = publish(&bench, "ms");
    assert_eq!(summary, "120p 90p (kept) + audio-und (kept)");
    assert!(lines.iter().all(|line| line.contains("-map [v0]") && !line.contains("-map [v1]")), "{lines:?}");
    assert!(objects(&second, "90p/").eq(objects(&first, "90p/")));
    // From scratch, the small picture is made of the larger one and has other bytes: so it has another name.
    let whole = at_once(&[], "ms");
    assert!(
        objects(&second, "120p/").eq(objects(&whole, "120p/")) && !objects(&second, "90p/").eq(objects(&whole, "90p/"))
    );
    assert_ne!(second.generation, whole.generation);
    // What is lost of it comes back the way it came.
    fs::remove_file(place(&bench, &second).join("90p/00003.ts")).unwrap();
    fs::remove_file(place(&bench, &first).join("90p/00003.ts")).unwrap();
    assert_eq!(publish(&bench, "ms").0, second);
    let (third, _, summary) = publish(&bench, "lms");
    assert_eq!(summary, "180p 120p (kept) 90p (kept) + audio-und (kept)");
    for folder in ["120p/", "90p/", "audio-und/"] {
        assert!(objects(&third, folder).eq(objects(&second, folder)), "{folder}");
    }
    let run = start(&bench, "lms", "").expect(0);
    assert!(run.stderr.contains("1 already done"), "{}", run.stderr);
}

#[test]
fn what_is_lost_of_an_earlier_package_is_encoded() {
    for (before, after, kept) in [("m", "ms", "120p"), ("s", "ms", "90p")] {
        let undamaged = bench(&[]);
        publish(&undamaged, before);
        let expected = publish(&undamaged, after).0;
        let bench = bench(&[]);
        let (first, ..) = publish(&bench, before);
        let folder = place(&bench, &first).join(kept);
        fs::remove_file(folder.join("00002.ts")).unwrap();
        fs::write(folder.join("00004.ts"), "torn").unwrap();
        let mut other = fs::read(folder.join("00006.ts")).unwrap();
        *other.last_mut().unwrap() ^= 1;
        fs::write(folder.join("00006.ts"), other).unwrap();
        fs::write(folder.join("00007.ts"), vec![0; 4 << 20]).unwrap();
        let (second, lines, _) = publish(&bench, after);
        assert_eq!(second, expected, "{before} {after}");
        let number = if kept == "90p" { "-map [v1]" } else { "-map [v0]" };
        let anew: BTreeSet<&str> =
            lines.iter().filter(|line| line.contains(number)).filter_map(|line| chunk(line)).collect();
        assert_eq!(anew, BTreeSet::from(["00002", "00004", "00006", "00007"]), "{lines:?}");
    }
}

#[test]
fn a_rung_that_is_added_survives_kills() {
    let steps = ["chunk-noted:5", "segment-stored:3", "half-written/master.m3u8"];
    for (options, steps) in [(&[][..], &steps[..]), (ENCRYPTED, &steps[..1])] {
        let expected = at_once(options, "ms");
        for step in steps {
            let bench = bench(options);
            publish(&bench, "m");
            let watch = bench.watch();
            assert_eq!(start(&bench, "ms", step).signal, Some(Signal::KILL.as_raw()), "{step}");
            let (package, lines, _) = publish(&bench, "ms");
            assert_eq!((watch.answer(), &package), (Ok(()), &expected), "{step}");
            assert!(lines.iter().all(|line| !line.contains("-map [v0]")), "{step}: {lines:?}");
        }
    }
}

#[test]
fn another_source_or_other_settings_keep_nothing() {
    let bench = bench(&[]);
    publish(&bench, "m");
    bench.sandbox.copy(&media::clip_of(5, "320x180"), "clip.mp4");
    assert_eq!(publish(&bench, "ms").2, "120p 90p + audio-und");
    let mut other = bench;
    other.arguments.extend(["--profile".into(), "balanced".into()]);
    // What the encoder of the picture is told is nothing to the sound.
    assert_eq!(publish(&other, "ms").2, "120p 90p + audio-und (kept)");
    other.arguments.push("--force".into());
    assert_eq!(publish(&other, "m").2, "120p + audio-und");
}

#[test]
fn a_rung_is_added_to_what_came_over_the_network() {
    let server = Server::start(&media::clip(), 9_000_000);
    let mut bench = bench(&[]);
    for argument in &mut bench.arguments {
        if argument == "clip.mp4" {
            *argument = server.url("film.mp4");
        }
    }
    publish(&bench, "m");
    let (_, lines, summary) = publish(&bench, "ms");
    assert_eq!(summary, "120p (kept) 90p + audio-und (kept)");
    assert!(lines.iter().all(|line| !line.contains("-map [v0]")), "{lines:?}");
}

#[test]
fn plan_says_what_is_kept() {
    let bench = bench(&[]);
    let (first, ..) = publish(&bench, "m");
    let plan = |id: &str| {
        let arguments = ["plan", "clip.mp4", "--no-copy", "--ladder", "ms", "--to", "dest/cdn", "--id", id];
        bench.sandbox.forebay(arguments).expect(0).stdout
    };
    let text = plan("clip");
    assert!(text.contains("  keep       120p      214x120, as it is published\n"), "{text}");
    assert!(
        text.contains("  encode     90p ") && text.contains("  keep       audio-und as it is published\n"),
        "{text}"
    );
    assert!(!plan("other").contains("keep"));
    assert_eq!(oracle::look(&bench.master()), Ok(Some(first)));
}
