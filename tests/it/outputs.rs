//! What packages can be besides MPEG-TS, judged by ffmpeg, openssl and the
//! bytes: containers and encryption change nothing of what is seen and when.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::inputs::published;
use crate::support::sandbox::Sandbox;
use crate::support::{media, oracle, watch};
use crate::verify_packages::shaka;

const FRAMES: usize = 150;

const SEALED: [&str; 4] = ["--keys", "keys", "--key-uri", "/keys/{id}/{key}.key"];

/// Five seconds at a rate whose segments are no whole seconds, with sound.
fn source() -> PathBuf {
    media::make(
        "mp4",
        &[
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=320x180:rate=30000/1001:duration=5.005",
            "-f",
            "lavfi",
            "-i",
            "sine=frequency=440:sample_rate=48000:duration=5.005",
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-c:a",
            "aac",
            "-b:a",
            "64k",
            "-metadata:s:a:0",
            "language=deu",
        ],
    )
}

/// Makes a package with `options` and gives its master playlist.
fn package(sandbox: &Sandbox, name: &str, options: &[&str]) -> PathBuf {
    let source = source();
    let arguments = ["hls", source.to_str().unwrap(), "--to", name, "--state", &format!("state-{name}"), "--id", "v"];
    let usual = ["--ladder", "240p", "--profile", "fast", "--segment", "2s"];
    sandbox.forebay(arguments.into_iter().chain(usual).chain(options.iter().copied())).expect(0);
    let dest = sandbox.path(name);
    assert_eq!(published(&dest), ["v"]);
    watch::master(&dest, "v")
}

/// The segments of a playlist and the header they need, in order of use.
fn files(playlist: &Path) -> (Option<PathBuf>, Vec<PathBuf>) {
    let folder = playlist.parent().unwrap();
    let text = fs::read_to_string(playlist).unwrap();
    let map = text.lines().find_map(|line| line.strip_prefix("#EXT-X-MAP:URI=\"")?.strip_suffix('"'));
    let segments = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    (map.map(|map| folder.join(map)), segments.map(|name| folder.join(name)).collect())
}

/// All bytes of a rendition in the clear, as a player reads them on.
fn stream(playlist: &Path) -> Vec<u8> {
    let (map, segments) = files(playlist);
    map.iter().chain(&segments).flat_map(|path| fs::read(path).unwrap()).collect()
}

/// What a program prints that reads `bytes` from its standard input.
fn piped(program: &str, arguments: &[&str], bytes: &[u8]) -> String {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&bytes));
    let output = child.wait_with_output().unwrap();
    // Who has seen enough closes the pipe.
    writer.join().unwrap().unwrap_or_default();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{complaints}");
    String::from_utf8(output.stdout).unwrap()
}

/// Time and hash of every decoded picture or block of sound.
fn decoded(bytes: &[u8], key: Option<&str>) -> Vec<String> {
    let mut arguments = vec!["-v", "error", "-copyts"];
    arguments.extend(key.iter().flat_map(|key| ["-decryption_key", key]));
    arguments.extend(["-i", "-", "-f", "framemd5", "-"]);
    let text = piped("ffmpeg", &arguments, bytes);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    // Containers have units of their own: the times are compared by `times`.
    lines.map(|line| line.rsplit(',').next().unwrap().trim().to_owned()).collect()
}

/// Presentation times of all packets in order, in microseconds, and whether decoding times run on.
fn times(bytes: &[u8]) -> Vec<i64> {
    let arguments = ["-v", "error", "-show_entries", "packet=pts_time,dts_time", "-of", "csv=p=0", "-"];
    let text = piped("ffprobe", &arguments, bytes);
    let micros = |text: &str| format!("{:.0}", text.parse::<f64>().unwrap() * 1e6).parse::<i64>().unwrap();
    let lines = text.lines().filter(|line| !line.is_empty());
    let packets: Vec<(i64, i64)> = lines
        .map(|line| {
            let mut fields = line.split(',');
            (micros(fields.next().unwrap()), micros(fields.next().unwrap()))
        })
        .collect();
    let steps: Vec<i64> = packets.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
    let (shortest, longest) = (steps.iter().min().unwrap(), steps.iter().max().unwrap());
    assert!(longest - shortest < 100, "decoding times run on unevenly: {shortest} to {longest}");
    let mut times: Vec<i64> = packets.into_iter().map(|packet| packet.0).collect();
    times.sort_unstable();
    times
}

/// Fails unless two lists of times are the same but for the units of their containers.
fn check_times(name: &str, found: &[i64], wanted: &[i64]) {
    assert_eq!(found.len(), wanted.len(), "{name}");
    let off = found.iter().zip(wanted).map(|(one, other)| (one - other).abs()).max().unwrap();
    assert!(off < 50, "{name}: {off} microseconds off");
}

fn key_of(sandbox: &Sandbox) -> String {
    let [key] = &oracle::files(&sandbox.path("keys/v"))[..] else { panic!("one key is wanted") };
    hex::encode(fs::read(sandbox.path("keys/v").join(key)).unwrap())
}

#[test]
fn containers_and_encryption_change_nothing_of_what_is_seen_and_when() {
    let sandbox = Sandbox::with_system_tools();
    let plain_ts = package(&sandbox, "ts", &[]);
    let plain = package(&sandbox, "plain", &["--container", "fmp4", "--dash"]);
    let whole = package(&sandbox, "whole", &[&["--container", "fmp4", "--encrypt", "aes-128"], &SEALED[..]].concat());
    let whole_key = key_of(&sandbox);
    fs::remove_dir_all(sandbox.path("keys/v")).unwrap();
    let cbcs = ["--container", "fmp4", "--dash", "--encrypt", "cbcs"];
    let samples = package(&sandbox, "samples", &[&cbcs, &SEALED[..]].concat());
    let samples_key = key_of(&sandbox);
    for ((name, one), (_, other)) in watch::playlists(&plain_ts).into_iter().zip(watch::playlists(&plain)) {
        let (ts, mp4) = (stream(&one), stream(&other));
        check_times(&name, &times(&mp4), &times(&ts));
        assert_eq!(times(&mp4).first(), Some(&10_000_000), "{name} begins elsewhere");
        let pictures = decoded(&mp4, None);
        assert_eq!(pictures, decoded(&ts, None), "{name}");
        let of = |master: &Path| watch::playlists(master).into_iter().find(|found| found.0 == name).unwrap().1;
        check_whole(&of(&whole), &other, &whole_key);
        let sealed = stream(&of(&samples));
        assert_eq!(decoded(&sealed, Some(&samples_key)), pictures, "{name}");
        assert_eq!(sealed.len() / 1000, sealed.len().max(mp4.len()) / 1000, "{name} grew by more than its lists");
        if !name.starts_with("audio-") {
            assert_eq!(pictures.len(), FRAMES);
            check_segments(&other, &one);
        }
    }
    for master in [&plain, &whole, &samples] {
        oracle::judge(master).unwrap();
    }
}

/// For each sample, the bytes that are encrypted, as `senc` has them: first and the one behind the last.
fn sealed_ranges(bytes: &[u8]) -> Vec<Vec<(u32, u32)>> {
    let places = bytes.windows(4).enumerate().filter(|(_, name)| *name == b"senc").map(|(at, _)| at + 8);
    let mut samples = Vec::new();
    for at in places {
        let mut rest = &bytes[at..];
        let mut number = |length: usize| {
            let (bytes, behind) = rest.split_at(length);
            rest = behind;
            bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte))
        };
        for _ in 0..number(4) {
            let (mut place, mut ranges) = (0, Vec::new());
            for _ in 0..number(2) {
                let (clear, covered) = (number(2), number(4));
                place += clear + covered;
                ranges.push((place - covered, place));
            }
            ranges.retain(|(from, to)| to - from >= 16);
            samples.push(ranges);
        }
    }
    samples
}

#[test]
fn samples_of_every_codec_are_encrypted_as_others_do_it() {
    let sandbox = Sandbox::with_system_tools();
    let codecs = ["--container", "fmp4", "--dash", "--codec", "h264,hevc,av1"];
    let plain = package(&sandbox, "plain", &codecs);
    let sealed = package(&sandbox, "sealed", &[&codecs[..], &["--encrypt", "cbcs"], &SEALED].concat());
    let key = key_of(&sandbox);
    oracle::judge(&sealed).unwrap();
    for ((name, clear), (_, sealed)) in watch::playlists(&plain).into_iter().zip(watch::playlists(&sealed)) {
        let (clear, sealed) = (stream(&clear), stream(&sealed));
        let pictures = decoded(&clear, None);
        assert_eq!(decoded(&sealed, Some(&key)), pictures, "{name}");
        if name.starts_with("audio-") {
            continue;
        }
        assert_eq!(pictures.len(), FRAMES);
        // Another packager leaves the same headers in the clear.
        sandbox.write(&format!("{name}.mp4"), &clear);
        let input = format!("in={name}.mp4,stream=video,output={name}.sealed.mp4,drm_label=K");
        let keys = format!("--keys=label=K:key_id=00112233445566778899aabbccddeeff:key={key}");
        let scheme = [
            "--protection_scheme",
            "cbcs",
            "--clear_lead",
            "0",
            "--enable_raw_key_encryption",
            "--fragment_duration=1",
        ];
        shaka(&sandbox.path(""), &[&[input.as_str(), &keys], &scheme[..]].concat());
        let (ours, theirs) =
            (sealed_ranges(&sealed), sealed_ranges(&fs::read(sandbox.path(&format!("{name}.sealed.mp4"))).unwrap()));
        assert_eq!((ours.len(), theirs.len()), (FRAMES, FRAMES), "{name}");
        assert!(ours.iter().filter(|ranges| !ranges.is_empty()).count() > FRAMES / 2, "{name}");
        for (number, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            assert_eq!(ours, theirs, "{name}, sample {number}");
        }
    }
    let master = sealed.to_str().unwrap();
    sandbox.forebay(["verify", master, "--keys", "keys", "--decode"]).expect(0);
}

/// Fails unless openssl makes the plain segments of the encrypted ones; the header is in the clear.
fn check_whole(sealed: &Path, plain: &Path, key: &str) {
    let text = fs::read_to_string(sealed).unwrap();
    assert!(text.find("#EXT-X-MAP").unwrap() < text.find("#EXT-X-KEY").unwrap(), "{text}");
    let ivs: Vec<&str> = text.lines().filter_map(|line| Some(line.split_once("IV=0x")?.1)).collect();
    let ((map, segments), (plain_map, plain_segments)) = (files(sealed), files(plain));
    assert_eq!(fs::read(map.unwrap()).unwrap(), fs::read(plain_map.unwrap()).unwrap());
    assert_eq!((ivs.len(), segments.len()), (plain_segments.len(), plain_segments.len()));
    for ((segment, plain), iv) in segments.iter().zip(&plain_segments).zip(ivs) {
        let openssl = ["enc", "-d", "-aes-128-cbc", "-K", key, "-iv", iv, "-in"];
        let output = Command::new("openssl").args(openssl).arg(segment).output().unwrap();
        assert_eq!(output.stdout, fs::read(plain).unwrap(), "{}", segment.display());
    }
}

/// Fails unless every segment of fMP4 decodes by itself and begins with the picture the one of MPEG-TS begins with.
fn check_segments(fmp4: &Path, ts: &Path) {
    let ((map, segments), (_, transport)) = (files(fmp4), files(ts));
    let header = fs::read(map.unwrap()).unwrap();
    let mut frames = 0;
    for (segment, transport) in segments.iter().zip(&transport) {
        let bytes = [header.clone(), fs::read(segment).unwrap()].concat();
        frames += decoded(&bytes, None).len();
        check_times("a segment", &times(&bytes), &times(&fs::read(transport).unwrap()));
    }
    assert_eq!(frames, FRAMES);
}

#[test]
fn a_dash_manifest_leads_to_all_of_it_and_is_looked_after() {
    let sandbox = Sandbox::with_system_tools();
    let master = package(&sandbox, "out", &["--container", "fmp4", "--dash"]);
    let manifest = master.with_file_name("manifest.mpd");
    let arguments =
        ["-v", "error", "-count_packets", "-show_entries", "stream=codec_name,nb_read_packets", "-of", "csv=p=0"];
    let output = Command::new("ffprobe").args(arguments).arg(&manifest).output().unwrap();
    let mut seen: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    seen.retain(|line| !line.is_empty());
    seen.sort();
    seen.dedup();
    assert_eq!(seen, ["aac,235", "h264,150"], "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(&manifest).unwrap();
    assert!(text.contains("mediaPresentationDuration=\"PT5.005000S\"") && text.contains("lang=\"de\""), "{text}");
    // What is whole is left alone; without its second pointer it is not.
    let source = source();
    let again = |options: &[&str]| {
        let arguments = ["hls", source.to_str().unwrap(), "--to", "out", "--state", "state-out", "--id", "v"];
        let usual = ["--ladder", "240p", "--profile", "fast", "--segment", "2s", "--container", "fmp4"];
        sandbox.forebay(arguments.into_iter().chain(usual).chain(options.iter().copied())).expect(0).stderr
    };
    assert!(again(&["--dash"]).contains("already"), "made twice");
    fs::remove_file(&manifest).unwrap();
    assert!(!again(&["--dash"]).contains("already"));
    assert_eq!(fs::read_to_string(&manifest).unwrap(), text, "the same again");
    // Without DASH none is left that leads to what is no longer meant.
    again(&[]);
    assert!(!manifest.exists());
}

#[test]
fn every_codec_has_a_ladder_on_the_same_grid() {
    let sandbox = Sandbox::with_system_tools();
    let master = package(&sandbox, "out", &["--container", "fmp4", "--dash", "--codec", "h264,hevc,av1"]);
    oracle::judge(&master).unwrap();
    let text = fs::read_to_string(&master).unwrap();
    let playlists = watch::playlists(&master);
    let names: Vec<&str> = playlists.iter().map(|(name, _)| name.as_str()).collect();
    // The source is smaller than the rung, so it has its own size and name.
    assert_eq!(names, ["180p", "180p-av1", "180p-hevc", "audio-deu"]);
    for codec in ["CODECS=\"avc1.64", "CODECS=\"hvc1.1.6.L", "CODECS=\"av01.0."] {
        assert_eq!(text.matches(codec).count(), 1, "{text}");
    }
    let wanted = times(&stream(&playlists[0].1));
    for (name, playlist) in playlists.iter().take(3) {
        let bytes = stream(playlist);
        check_times(name, &times(&bytes), &wanted);
        assert_eq!(decoded(&bytes, None).len(), FRAMES, "{name}");
        let (map, segments) = files(playlist);
        assert_eq!(segments.len(), 3);
        for segment in segments {
            let bytes = [fs::read(map.as_ref().unwrap()).unwrap(), fs::read(segment).unwrap()].concat();
            let flags =
                piped("ffprobe", &["-v", "error", "-show_entries", "packet=flags", "-of", "csv=p=0", "-"], &bytes);
            assert!(flags.starts_with('K'), "{name}: a segment begins with no key frame");
            assert!(!decoded(&bytes, None).is_empty());
        }
    }
}

#[test]
fn what_does_not_fit_together_is_refused_with_the_way_out() {
    let sandbox = Sandbox::with_system_tools();
    for (options, way_out) in [
        (&["--dash"][..], "--container fmp4"),
        (&["--codec", "hevc"], "--container fmp4"),
        (&["--codec", "vp9"], "h264, hevc, av1"),
        (&["--encrypt", "cbcs", "--key-uri", "{key}"], "--container fmp4"),
        (&["--container", "fmp4", "--dash", "--encrypt", "aes-128", "--key-uri", "{key}"], "cbcs"),
        (&["--container", "fmp4", "--encrypt", "cbcs", "--key-uri", "{key}", "--rotate", "3"], "give 0"),
        (&["--container", "fmp4", "--codec", "hevc", "--two-pass"], "--codec h264"),
    ] {
        let run = sandbox.forebay(["hls", "nothing.mp4", "--to", "out"].iter().chain(options)).expect(2);
        assert!(run.stderr.contains(way_out), "{options:?}: {}", run.stderr);
    }
}

#[test]
fn an_ffmpeg_without_the_encoder_is_told_before_any_work() {
    let sandbox = Sandbox::with_system_tools();
    let script = "#!/bin/sh\ncase \"$*\" in *-encoders*) echo ' V....D libx264 x' ;; *) exec ffmpeg \"$@\" ;; esac\n";
    let poor = sandbox.write("poor-ffmpeg", script);
    fs::set_permissions(&poor, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    sandbox.config(&format!("[tools]\nffmpeg = \"{}\"\n", poor.display()));
    let source = source();
    let arguments = ["hls", source.to_str().unwrap(), "--to", "out", "--container", "fmp4", "--codec", "h264,hevc"];
    let run = sandbox.forebay(arguments).expect(3);
    assert!(run.stderr.contains("has no encoder `libx265`"), "{}", run.stderr);
}

#[test]
fn sound_alone_is_compared_with_its_source() {
    let sandbox = Sandbox::with_system_tools();
    let beep = |seconds: u32, late: u32| {
        let sound = format!("aevalsrc=0.5*sin(2*PI*880*t)*gte(mod(t-{late}/10\\,2)\\,1.3):d={seconds}:s=44100");
        media::make("flac", &["-f", "lavfi", "-i", &sound])
    };
    for (name, seconds, late) in [("talk.flac", 7, 0), ("shorter.flac", 5, 0), ("later.flac", 7, 3)] {
        sandbox.copy(&beep(seconds, late), name);
    }
    sandbox.forebay(["hls", "talk.flac", "--id", "talk", "--to", "site", "--quiet"]).expect(0);
    let compared = |source: &str| sandbox.forebay(["verify", "site/talk", "--source", source]);
    compared("talk.flac").expect(0);
    assert!(compared("shorter.flac").expect(1).stdout.contains("that of the source 5.0"));
    assert!(compared("later.flac").expect(1).stdout.contains("The sound comes -0.3"));
}
