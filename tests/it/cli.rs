//! The command line as people and scripts meet it.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use crate::inputs::{IMPATIENT, published};
use crate::support::sandbox::Sandbox;
use crate::support::server::Server;
use crate::support::{media, watch};

/// The most that a run may take of its own, children and the code of the program apart: 60 MB are promised for
/// all of it, and without optimization the code alone is 48.
const MOST_MEMORY_KB: u64 = 24 * 1024;

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::with_system_tools();
    sandbox.config(IMPATIENT);
    sandbox
}

fn has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "`{word}` is not in:\n{text}");
    }
}

#[test]
fn help_says_what_one_needs_and_is_quick() {
    let sandbox = sandbox();
    let begun = Instant::now();
    let run = sandbox.forebay(["--help"]).expect(0);
    println!("`forebay --help` took at most {:?}", begun.elapsed());
    has(&run.stdout, &["hls", "plan", "verify", "doctor", "config", "Examples:", "Exit codes:", "130"]);
    let commands: [(&str, &[&str]); 5] = [
        ("hls", &["--to <DEST>", "--list <LIST>", "--encrypt", "--accept-damaged", "--dry-run", "Exit codes:"]),
        ("plan", &["<INPUT>", "--ladder"]),
        ("verify", &["<MASTER>", "--source"]),
        ("doctor", &["--to"]),
        ("config", &["settings"]),
    ];
    for (command, words) in commands {
        has(&sandbox.forebay([command, "--help"]).expect(0).stdout, words);
    }
    has(&sandbox.forebay(["--version"]).expect(0).stdout, &["forebay ", env!("CARGO_PKG_VERSION")]);
}

#[test]
fn what_is_typed_wrong_is_exit_code_2_with_the_nearest_name() {
    let mut sandbox = sandbox();
    let clip = sandbox.copy(&media::clip(), "clip.mp4");
    let clip = clip.to_str().unwrap();
    let cases: [(&[&str], &[&str]); 9] = [
        (&[], &["Usage"]),
        (&["verfy"], &["verify"]),
        (&["hls", clip, "--to", "out", "--laddr", "360p"], &["--laddr", "--ladder"]),
        (&["hls", clip], &["--to"]),
        (&["hls", "--to", "out"], &["INPUT"]),
        (&["hls", clip, "--to", "out", "--ladder", "361p"], &["361p"]),
        (&["hls", clip, "--to", "out", "--downloads", "0"], &["downloads"]),
        (&["hls", clip, "--to", "out", "--id", "../x"], &["`../x` cannot be an id", "hint:"]),
        (&["hls", clip, "--to", "out", "--encrypt", "aes-129"], &["aes-129", "aes-128"]),
    ];
    for (arguments, words) in cases {
        let run = sandbox.forebay(arguments).expect(2);
        has(&run.stderr, words);
        assert!(!sandbox.path("out").exists(), "{arguments:?}");
    }
    sandbox.config("[lanes]\ndownlods = 3\n");
    has(
        &sandbox.forebay(["config"]).expect(2).stderr,
        &["lanes.downlods", "config.toml", "did you mean `lanes.downloads`?"],
    );
    sandbox.config("[storage.\"a b\".s3]\nbucket = \"x\"\n");
    has(&sandbox.forebay(["config"]).expect(2).stderr, &["storage.a b.s3.bucket", "hint: names of your own are"]);
    sandbox.write("config/forebay/config.toml", b"# caf\xe9\n");
    has(&sandbox.forebay(["config"]).expect(2).stderr, &["config.toml", "hint: save that file as UTF-8"]);
    sandbox.config("");
    fs::create_dir(sandbox.path("forebay.toml")).unwrap();
    has(&sandbox.forebay(["config"]).expect(2).stderr, &["forebay.toml", "hint: that is a folder"]);
    fs::remove_dir(sandbox.path("forebay.toml")).unwrap();
    sandbox.set("FOREBAY_LANES__DOWNLODS", "3");
    has(&sandbox.forebay(["config"]).expect(2).stderr, &["FOREBAY_LANES__DOWNLOADS"]);
    // What Kubernetes sets beside a service of our name is nobody's mistake.
    sandbox.unset("FOREBAY_LANES__DOWNLODS");
    sandbox.set("FOREBAY_SERVICE_HOST", "10.0.0.7");
    sandbox.set("FOREBAY_PORT", "tcp://10.0.0.7:8080");
    sandbox.forebay(["config"]).expect(0);
}

#[test]
fn settings_show_where_they_come_from() {
    let mut sandbox = sandbox();
    sandbox.write("forebay.toml", "[lanes]\nuploads = 7\n");
    sandbox.set("FOREBAY_LANES__DISK", "3");
    let text = sandbox.forebay(["config"]).expect(0).stdout;
    let line = |key: &str| text.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
    has(&line("lanes.uploads"), &["7", "forebay.toml"]);
    has(&line("lanes.disk"), &["3", "FOREBAY_LANES__DISK"]);
    has(&line("lanes.look-ahead"), &["64", "default"]);
    has(&line("network.retries"), &["2", "config.toml"]);
}

#[test]
fn a_state_folder_that_others_can_write_to_is_not_used() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut sandbox = sandbox();
    for name in ["HOME", "XDG_STATE_HOME"] {
        sandbox.set(name, "");
    }
    fs::create_dir(sandbox.path("in")).unwrap();
    fs::create_dir(sandbox.path("tmp/forebay")).unwrap();
    for (mode, trusted) in [(0o777, false), (0o775, false), (0o755, true)] {
        fs::set_permissions(sandbox.path("tmp/forebay"), fs::Permissions::from_mode(mode)).unwrap();
        // Nobody gave a password: the run ends at the state folder, or at the store.
        let run = sandbox.forebay(["photos", "in", "--to", "s3://bucket"]);
        assert_eq!(!run.stderr.contains("others may write there"), trusted, "{mode:o}: {}", run.stderr);
        assert!(run.code == Some(3) && run.stderr.contains("--state") || trusted, "{}", run.stderr);
    }
}

#[test]
fn a_file_in_the_way_of_the_destination_is_seen_before_any_work() {
    let sandbox = sandbox();
    sandbox.copy(&media::clip(), "clip.mp4");
    for to in ["clip.mp4", "clip.mp4/site"] {
        let run = sandbox.forebay(["hls", "clip.mp4", "--to", to]).expect(3);
        has(&run.stderr, &["clip.mp4` is a file", "hint: move the file away"]);
        assert!(!run.stderr.contains("plan"), "{}", run.stderr);
    }
}

#[test]
fn output_that_is_lost_is_no_success_and_a_reader_that_leaves_is_no_failure() {
    let sandbox = sandbox();
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_forebay"));
    let run = command.arg("config").stdout(fs::File::create("/dev/full").unwrap()).output().unwrap();
    assert_eq!(run.status.code(), Some(3));
    has(&String::from_utf8_lossy(&run.stderr), &["standard output"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_forebay"));
    assert_eq!(command.arg("config").stdout(writer).status().unwrap().code(), Some(0));
}

#[test]
fn doctor_and_plan_explain() {
    let mut sandbox = sandbox();
    let run = sandbox.forebay(["doctor", "--to", "out"]);
    has(&run.stdout, &["ffmpeg", "ffprobe", "yt-dlp", "cores"]);
    assert!(matches!(run.code, Some(0 | 3)));
    let clip = media::clip();
    let plan = sandbox.forebay(["plan".as_ref(), clip.as_os_str()]).expect(0);
    has(&plan.stdout, &["h264 320x180", "encode     180p", "25.000 frames", "left out   360p", "nothing is blown up"]);
    assert_eq!(published(&sandbox.path("")), ["config", "home", "tmp"], "a plan made something");
    let empty = sandbox.path("home");
    sandbox.set("PATH", empty);
    has(&sandbox.forebay(["doctor"]).expect(3).stdout, &["FAIL", "ffmpeg"]);
}

#[test]
fn json_is_one_event_a_line_and_ends_with_a_summary() {
    let sandbox = sandbox();
    sandbox.copy(&media::clip(), "clip.mp4");
    sandbox.write("zero.mp4", "");
    let run = sandbox.forebay(["hls", "clip.mp4", "zero.mp4", "ftp://x/y", "--to", "out", "--json"]).expect(1);
    let events: Vec<serde_json::Value> = run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    for name in ["bad-line", "started", "named", "planned", "chunk-encoded", "uploading", "done", "failed"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let last = events.last().unwrap();
    assert_eq!(
        (last["event"].as_str(), last["done"].as_u64(), last["failed"].as_u64()),
        (Some("summary"), Some(1), Some(1))
    );
    assert_eq!(last["bad-lines"], 1);
    let times: Vec<f64> = events.iter().map(|event| event["at"].as_f64().unwrap()).collect();
    assert!(times.windows(2).all(|pair| pair[0] <= pair[1]), "{times:?}");
    let done = events.iter().find(|event| event["event"] == "done").unwrap();
    assert!(done["master"].as_str().unwrap().ends_with("/master.m3u8"), "{done}");
}

#[test]
fn quiet_prints_failures_and_nothing_else() {
    let sandbox = sandbox();
    sandbox.copy(&media::clip(), "clip.mp4");
    sandbox.write("zero.mp4", "");
    let run = sandbox.forebay(["hls", "clip.mp4", "zero.mp4", "--to", "out", "--quiet"]).expect(1);
    assert_eq!(run.stdout, "");
    assert!(run.stderr.lines().all(|line| line.starts_with("FAIL") || line.starts_with("      ")), "{}", run.stderr);
    assert_eq!(run.stderr.matches("FAIL").count(), 1, "{}", run.stderr);
}

#[test]
fn a_report_has_a_row_a_video_and_no_foreign_markup() {
    let sandbox = sandbox();
    sandbox.copy(&media::clip(), "a.mp4");
    sandbox.copy(&media::clip(), "<script>alert(1)<\u{2028}script>.mp4");
    sandbox.write("zero<img src=x onerror=alert(2)>.mp4", "");
    let clip = sandbox.path("a.mp4");
    let title = "\"><script>alert(3)</script>";
    let line = serde_json::json!({ "url": clip, "id": "titled", "title": title });
    sandbox.write("list.jsonl", format!("{line}\n"));
    let hostile = ["<script>alert(1)<\u{2028}script>.mp4", "zero<img src=x onerror=alert(2)>.mp4"];
    let arguments = ["hls", hostile[0], hostile[1], "list.jsonl", "--to", "out", "--report", "run.html"];
    sandbox.forebay(arguments).expect(1);
    let page = fs::read_to_string(sandbox.path("run.html")).unwrap();
    let body = page.split("<tbody>").nth(1).unwrap().split("</tbody>").next().unwrap();
    assert_eq!(body.matches("<tr>").count(), 3, "{body}");
    for markup in ["<script>alert", "<img src=x", "\"><script"] {
        assert!(!page.contains(markup), "{markup} is in the report");
    }
    has(&page, &["<svg", "titled", "Content-Security-Policy"]);
    let bad = sandbox.forebay(["hls", "a.mp4", "--to", "other", "--report", "nowhere/run.html"]).expect(2);
    has(&bad.stderr, &["nowhere/run.html"]);
}

#[test]
fn a_dry_run_does_nothing() {
    let sandbox = sandbox();
    sandbox.copy(&media::clip(), "clip.mp4");
    fs::create_dir(sandbox.path("www")).unwrap();
    sandbox.copy(&media::clip(), "www/clip.mp4");
    let server = Server::start(&sandbox.path("www"));
    let url = server.url("good/clip.mp4");
    let run = sandbox.forebay(["hls", "clip.mp4", &url, "--to", "out", "--dry-run"]).expect(0);
    assert_eq!(run.stderr.matches("be downloaded, encoded and published as").count(), 2, "{}", run.stderr);
    assert!(run.stderr.contains("2 would be made"), "{}", run.stderr);
    assert!(published(&sandbox.path("out")).is_empty());
    assert_eq!(server.count("good/"), 0, "{:?}", server.requests());
    // What is done already is told as such.
    sandbox.forebay(["hls", "clip.mp4", "--to", "out"]).expect(0);
    let id = published(&sandbox.path("out")).remove(0);
    let before = fs::metadata(watch::master(&sandbox.path("out"), &id)).unwrap().modified().unwrap();
    let run = sandbox.forebay(["hls", "clip.mp4", "--to", "out", "--dry-run"]).expect(0);
    assert!(run.stderr.contains("already done"), "{}", run.stderr);
    assert_eq!(fs::metadata(watch::master(&sandbox.path("out"), &id)).unwrap().modified().unwrap(), before);
}

/// The memory that a process takes now which is none of its files'.
fn own_kb(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn ten_thousand_lines_take_little_memory() {
    let sandbox = sandbox();
    fs::create_dir(sandbox.path("www")).unwrap();
    let server = Server::start(&sandbox.path("www"));
    let mut list = String::new();
    for number in 0..10_000 {
        writeln!(list, "{}", server.url(&format!("404/videos-of-the-year/{number:05}.mp4"))).unwrap();
    }
    sandbox.write("list.txt", list);
    let mut running = sandbox.start(["hls", "list.txt", "--to", "out", "--quiet"]);
    let (mut peak, begun) = (0, Instant::now());
    let run = loop {
        peak = own_kb(running.pid()).unwrap_or(0).max(peak);
        if let Some(run) = running.ended() {
            break run;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    println!("10,000 lines: {} MB at most, {:?}", peak / 1024, begun.elapsed());
    let run = run.expect(1);
    assert_eq!(run.stderr.matches("FAIL").count(), 10_000);
    assert!(peak > 0 && peak <= MOST_MEMORY_KB, "{peak} kB");
}
