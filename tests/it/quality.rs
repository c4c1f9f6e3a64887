//! Quality by the number: what is asked for comes out, measured by ffmpeg on
//! the finished package against the source, and less costs fewer bits.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::sandbox::{Run, Sandbox};
use crate::support::{media, oracle, watch};

/// Four seconds of moving pictures with noise in them, nearly lossless.
fn film() -> PathBuf {
    let picture = "mandelbrot=size=192x108:rate=25:start_scale=0.3:end_scale=0.01:end_pts=200,noise=alls=6:allf=t";
    let codecs = "-t 4 -c:v libx264 -preset ultrafast -crf 4 -g 25 -pix_fmt yuv420p -colorspace bt709 \
                  -color_primaries bt709 -color_trc bt709 -color_range tv";
    let arguments: Vec<&str> = ["-f", "lavfi", "-i", picture].into_iter().chain(codecs.split_whitespace()).collect();
    media::make("mp4", &arguments)
}

fn arguments<'a>(film: &'a str, to: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let usual = ["hls", film, "--to", to, "--state", "state", "--id", "v", "--ladder", "240p", "--profile", "fast"];
    usual.into_iter().chain(["--segment", "2s", "--json"]).chain(more.iter().copied()).collect()
}

/// The similarity of the finished rendition to the film, by ffmpeg's own words, and the bytes of its segments.
fn judged(sandbox: &Sandbox, film: &Path, to: &str) -> (f64, u64) {
    let master = watch::master(&sandbox.path(to), "v");
    let package = oracle::judge(&master).unwrap();
    let playlist = &watch::playlists(&master)[0].1;
    let graph = "[0:v]settb=1/25,setpts=N[a];[1:v]settb=1/25,setpts=N[b];[a][b]ssim";
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-i"]).arg(playlist).arg("-i").arg(film).args(["-lavfi", graph, "-f", "null", "-"]);
    let said = String::from_utf8(command.output().unwrap().stderr).unwrap();
    let score = said.rsplit_once(" All:").unwrap().1.split(' ').next().unwrap().parse().unwrap();
    let folder = master.with_file_name(package.generation).join("108p");
    let segments = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let is_segment = |entry: &fs::DirEntry| entry.path().extension() == Some(OsStr::new("ts"));
    (score, segments.filter(is_segment).map(|entry| entry.metadata().unwrap().len()).sum())
}

fn warnings(run: &Run) -> Vec<String> {
    let all = run.events().into_iter().filter(|event| event["event"] == "warning");
    all.map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}

/// Fails unless the run told how its search went, round by round, before the plan.
#[track_caller]
fn check_search(run: &Run, metric: &str) {
    let events = run.events();
    let at = |name: &str| events.iter().position(|event| event["event"] == name).unwrap();
    assert!(at("searching") < at("planned"), "{}", run.stdout);
    let told: Vec<_> = events.iter().filter(|event| event["event"] == "searching").collect();
    let rounds: Vec<u64> = told.iter().map(|event| event["round"].as_u64().unwrap()).collect();
    assert!(rounds.is_sorted() && rounds.first() == Some(&1), "{rounds:?}");
    for event in &told {
        let (done, of) = (event["done"].as_u64().unwrap(), event["samples"].as_u64().unwrap());
        let found = event["found"].as_str().unwrap();
        assert_eq!(done == of, found.starts_with("108p CRF ") && found.contains(metric), "{event}");
    }
    let ends = told.iter().filter(|event| event["found"] != "").count() as u64;
    assert_eq!(rounds.last(), Some(&ends), "{}", run.stdout);
}

#[test]
fn the_wanted_similarity_comes_out_and_less_costs_less() {
    let sandbox = Sandbox::with_system_tools();
    sandbox.config("[rungs.240p]\nmax-bitrate = 8000\n");
    let film = film();
    let name = film.to_str().unwrap();
    let mut found = Vec::new();
    for (to, quality, wanted) in [("good", "ssim=0.97", 0.97), ("poor", "ssim=0.9", 0.9)] {
        let run = sandbox.forebay(arguments(name, to, &["--quality", quality])).expect(0);
        assert_eq!(warnings(&run), [""; 0]);
        check_search(&run, quality.split('=').next().unwrap());
        let (score, bytes) = judged(&sandbox, &film, to);
        // The film is as long as its samples, but for an edge: so the mean is what was measured, or nearly.
        assert!((wanted - 0.003..wanted + 0.02).contains(&score), "{quality}: {score}");
        found.push(bytes);
        if wanted > 0.95 {
            continue;
        }
        let told = sandbox.forebay(["plan", name, "--ladder", "240p", "--profile", "fast", "--quality", quality]);
        let told = told.expect(0).stdout;
        assert!(told.contains(&format!(" for {quality}, at most")), "{told}");
    }
    assert!(found[1] * 2 < found[0], "{found:?}");
    let again = sandbox.forebay(arguments(name, "good", &["--quality", "ssim=0.97"])).expect(0);
    assert!(again.stdout.contains("already-done"), "{}", again.stdout);
}

#[test]
fn a_cap_holds_whatever_quality_is_wanted() {
    let sandbox = Sandbox::with_system_tools();
    let film = film();
    sandbox.config("[rungs.240p]\nmax-bitrate = 100\n");
    let run = sandbox.forebay(arguments(film.to_str().unwrap(), "out", &["--quality", "ssim=0.99"])).expect(0);
    let said = warnings(&run);
    assert!(said.len() == 1 && said[0].contains("not 0.99: at most 100 kb/s"), "{said:?}");
    let (score, bytes) = judged(&sandbox, &film, "out");
    assert!(score < 0.99, "{score}");
    // Four seconds, a buffer that is full at first, and what MPEG-TS adds.
    assert!(bytes * 8 < 100_000 * (4 + 2) * 12 / 10, "{bytes}");
}

#[test]
fn what_cannot_be_measured_or_meant_is_refused_before_any_work() {
    let sandbox = Sandbox::with_system_tools();
    let film = film();
    let name = film.to_str().unwrap();
    for (options, words) in [
        (&["--quality", "good"][..], "give `vmaf=93`"),
        (&["--quality", "ssim=0.9", "--two-pass"], "give one of the two"),
    ] {
        assert!(sandbox.forebay(arguments(name, "out", options)).expect(2).stderr.contains(words), "{words}");
    }
    let filters = watch::tool("ffmpeg", ["-hide_banner", "-filters"]);
    if !filters.contains(" libvmaf ") {
        let run = sandbox.forebay(arguments(name, "out", &["--quality", "vmaf=93"])).expect(3);
        assert!(run.stderr.contains("has no filter `libvmaf`") && run.stderr.contains("ssim=0.98"), "{}", run.stderr);
        assert!(!sandbox.path("out").join("v").exists());
    }
}
