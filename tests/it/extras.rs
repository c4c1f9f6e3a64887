//! What a package can have besides segments: key frames to jump to, pictures,
//! and an even loudness; judged by ffmpeg and by the bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::inputs::published;
use crate::support::sandbox::Sandbox;
use crate::support::slow_server::Server;
use crate::support::{media, oracle, watch};

/// Red, green and blue for two seconds each, and a quiet tone.
fn source() -> PathBuf {
    let picture = "color=red:size=320x180:rate=25:duration=2[a];color=lime:size=320x180:rate=25:duration=2[b];\
                   color=blue:size=320x180:rate=25:duration=2[c];[a][b][c]concat=n=3[out0];\
                   sine=frequency=440:sample_rate=48000:duration=6,volume=-20dB[out1]";
    let codecs = "-c:v libx264 -preset ultrafast -g 25 -pix_fmt yuv420p -c:a aac -b:a 96k";
    let arguments: Vec<&str> = ["-f", "lavfi", "-i", picture].into_iter().chain(codecs.split(' ')).collect();
    media::make("mp4", &arguments)
}

/// Makes a package with `options`; gives its master playlist and what was said.
fn package(sandbox: &Sandbox, name: &str, options: &[&str]) -> (PathBuf, String) {
    let source = source();
    let arguments = ["hls", source.to_str().unwrap(), "--to", name, "--state", &format!("state-{name}"), "--id", "v"];
    let usual = ["--ladder", "240p", "--profile", "fast", "--segment", "2s"];
    let run = sandbox.forebay(arguments.into_iter().chain(usual).chain(options.iter().copied())).expect(0);
    let dest = sandbox.path(name);
    assert_eq!(published(&dest), ["v"]);
    let master = watch::master(&dest, "v");
    oracle::judge(&master).unwrap();
    (master, run.stderr)
}

fn generation(master: &Path) -> PathBuf {
    master.with_file_name(oracle::look(master).unwrap().unwrap().generation)
}

/// What ffmpeg or ffprobe prints, read as text; it must have nothing to complain of.
fn said(program: &str, arguments: &[&str], file: &Path, then: &[&str]) -> String {
    let output = Command::new(program).args(arguments).arg(file).args(then).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The colour in the middle of a part of a picture, as red, green and blue.
fn colour(picture: &Path, (x, y): (u32, u32)) -> [u8; 3] {
    let graph = format!("crop=4:4:{x}:{y},scale=1:1");
    let arguments = ["-v", "error", "-vf", &graph, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"];
    let output = Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(picture).args(arguments).output().unwrap();
    output.stdout.try_into().unwrap()
}

fn is_like(found: [u8; 3], wanted: [u8; 3]) -> bool {
    found.iter().zip(wanted).all(|(one, other)| one.abs_diff(other) < 20)
}

#[test]
fn playlists_of_key_frames_lead_to_one_picture_each() {
    let sandbox = Sandbox::with_system_tools();
    for (name, options) in [("ts", &[][..]), ("fmp4", &["--container", "fmp4"])] {
        let (master, _) = package(&sandbox, name, &[options, &["--i-frames"]].concat());
        let text = fs::read_to_string(&master).unwrap();
        let line = text.lines().find(|line| line.starts_with("#EXT-X-I-FRAME-STREAM-INF:")).unwrap();
        assert!(line.contains("CODECS=\"avc1.") && line.contains("RESOLUTION=320x180"), "{line}");
        let playlist = generation(&master).join("180p/iframes.m3u8");
        let text = fs::read_to_string(&playlist).unwrap();
        assert!(text.contains("#EXT-X-I-FRAMES-ONLY\n"), "{text}");
        let ranges = text.lines().filter_map(|line| line.strip_prefix("#EXT-X-BYTERANGE:")?.strip_suffix("@0"));
        let files = text.lines().filter(|line| !line.starts_with('#'));
        let folder = playlist.parent().unwrap();
        let header = fs::read(folder.join("init.mp4")).unwrap_or_default();
        let mut count = 0;
        for (range, file) in ranges.zip(files) {
            let segment = fs::read(folder.join(file)).unwrap();
            let range: usize = range.parse().unwrap();
            assert!(range < segment.len());
            let alone = sandbox.write(&format!("{name}-{file}"), [&header, &segment[..range]].concat());
            let frames = ["-v", "error", "-count_frames", "-show_entries", "frame=pict_type", "-of", "csv=p=0"];
            let output = Command::new("ffprobe").args(frames).arg(&alone).output().unwrap();
            let seen = String::from_utf8(output.stdout).unwrap();
            assert_eq!(seen.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>(), ["I"], "{name} {file}");
            count += 1;
        }
        assert_eq!(count, 3, "{text}");
    }
    let refused = ["hls", "nothing.mp4", "--to", "out", "--i-frames", "--encrypt", "aes-128", "--key-uri", "{key}"];
    assert!(sandbox.forebay(refused).expect(2).stderr.contains("cbcs"));
}

#[test]
fn poster_and_storyboard_show_the_video() {
    let sandbox = Sandbox::with_system_tools();
    let (master, _) = package(&sandbox, "out", &["--poster", "--storyboard"]);
    let folder = generation(&master);
    let size = ["-v", "error", "-show_entries", "stream=width,height", "-of", "csv=p=0"];
    assert_eq!(said("ffprobe", &size, &folder.join("poster.jpg"), &[]).trim(), "320,180");
    assert!(is_like(colour(&folder.join("poster.jpg"), (100, 100)), [255, 0, 0]));
    let cues = fs::read_to_string(folder.join("storyboard.vtt")).unwrap();
    let expected = "WEBVTT\n\n00:00:00.000 --> 00:00:02.000\nstoryboard-000.jpg#xywh=0,0,160,90\n\n\
                    00:00:02.000 --> 00:00:04.000\nstoryboard-000.jpg#xywh=160,0,160,90\n\n\
                    00:00:04.000 --> 00:00:06.000\nstoryboard-000.jpg#xywh=320,0,160,90\n";
    assert_eq!(cues, expected);
    let sheet = folder.join("storyboard-000.jpg");
    assert_eq!(said("ffprobe", &size, &sheet, &[]).trim(), "800,450");
    for (left, wanted) in [(0, [255, 0, 0]), (160, [0, 255, 0]), (320, [0, 0, 255])] {
        let found = colour(&sheet, (left + 80, 40));
        assert!(is_like(found, wanted), "at {left}: {found:?}, not {wanted:?}");
    }
    // The same command finds all of it there, and makes what is gone again, byte for byte.
    let before = fs::read(&sheet).unwrap();
    fs::remove_file(&sheet).unwrap();
    let (_, said) = package(&sandbox, "out", &["--poster", "--storyboard"]);
    assert!(!said.contains("already"), "{said}");
    assert_eq!(fs::read(&sheet).unwrap(), before);
    assert!(package(&sandbox, "out", &["--poster", "--storyboard"]).1.contains("already"));
}

/// A picture of another shape keeps it in the storyboard too, between black bars, and no sheet is begun anew for it.
#[test]
fn a_storyboard_keeps_the_shape_of_what_changes_it() {
    let sandbox = Sandbox::with_system_tools();
    let part = |colour: &str, size: &str, after: &str| {
        let picture = format!("color={colour}:size={size}:rate=25:duration=4");
        let codecs = "-c:v libx264 -preset ultrafast -g 25 -pix_fmt yuv420p -output_ts_offset";
        let input = ["-f", "lavfi", "-i", &picture].into_iter();
        fs::read(media::make("ts", &input.chain(codecs.split(' ')).chain([after]).collect::<Vec<_>>())).unwrap()
    };
    let joined = [part("red", "320x180", "0"), part("lime", "180x320", "4")].concat();
    sandbox.write("film.ts", joined);
    let usual = ["--ladder", "240p", "--profile", "fast", "--segment", "2s", "--id", "v", "--poster", "--storyboard"];
    sandbox.forebay(["hls", "film.ts", "--to", "out"].into_iter().chain(usual)).expect(0);
    let folder = generation(&watch::master(&sandbox.path("out"), "v"));
    let sheet = folder.join("storyboard-000.jpg");
    assert!(!folder.join("storyboard-001.jpg").exists());
    let at = |x, y| colour(&sheet, (x, y));
    assert!(is_like(at(4, 40), [255, 0, 0]) && is_like(at(240, 40), [255, 0, 0]));
    // The third and the fourth of 160 by 90: the picture is 50 wide.
    for left in [320, 480] {
        assert!(is_like(at(left + 80, 40), [0, 255, 0]), "{left}: {:?}", at(left + 80, 40));
        assert!(is_like(at(left + 20, 40), [0, 0, 0]) && is_like(at(left + 136, 40), [0, 0, 0]), "{left}");
    }
}

/// Integrated loudness of a playlist in LUFS, by another filter than the program's.
fn loudness(playlist: &Path) -> f64 {
    let text = said("ffmpeg", &["-nostdin", "-i"], playlist, &["-af", "ebur128", "-f", "null", "-"]);
    let summary = text.split("Summary:").last().unwrap();
    summary.split("I:").nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn sound_gets_the_loudness_that_was_asked_for() {
    let sandbox = Sandbox::with_system_tools();
    let of = |name: &str, options: &[&str]| {
        let (master, said) = package(&sandbox, name, options);
        (loudness(&generation(&master).join("audio-und/index.m3u8")), said)
    };
    let plain = of("plain", &[]).0;
    assert!(plain < -40.0, "{plain}");
    let (even, said) = of("even", &["--loudness", "-23"]);
    assert!((even + 23.0).abs() < 0.5, "{even}\n{said}");
    // A tone at full scale is far above any loudness that broadcasters know: its peaks are the limit.
    let (limited, said) = of("limited", &["--loudness", "-5"]);
    assert!((-6.0..=-4.0).contains(&limited) || said.contains("peaks"), "{limited}\n{said}");
    let run = sandbox.forebay(["hls", "nothing.mp4", "--to", "out", "--loudness", "3"]).expect(2);
    assert!(run.stderr.contains("from -70 to -5"), "{}", run.stderr);
}

/// A title that would be a tag, a line of times, an attribute, or two lines.
const HOSTILE: &str = "<b>A --> B</b> & \"C\"";

/// Six seconds with three chapters, of which the second has a hostile title.
fn with_chapters(sandbox: &Sandbox, ending: &str, rest: &[&str]) -> PathBuf {
    let chapter = |from, to, title| format!("[CHAPTER]\nTIMEBASE=1/1000\nSTART={from}\nEND={to}\ntitle={title}\n");
    let text = [chapter(0, 1500, "Beginning"), chapter(1500, 4000, HOSTILE), chapter(4000, 5900, "Grüße")].concat();
    let list = sandbox.write("chapters.txt", format!(";FFMETADATA1\n{text}"));
    let made = sandbox.path(&format!("film.{ending}"));
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(source())
        .args(["-f", "ffmetadata", "-i"])
        .arg(list)
        .args(["-map_chapters", "1", "-c", "copy"])
        .args(rest)
        .arg(&made)
        .status();
    assert!(status.unwrap().success());
    made
}

#[track_caller]
fn check_chapters(master: &Path) {
    let folder = generation(master);
    let list: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("chapters.json")).unwrap()).unwrap();
    let title = |title| serde_json::json!([{ "language": "und", "title": title }]);
    let expected = serde_json::json!([
        { "chapter": 1, "start-time": 0.0, "duration": 1.5, "titles": title("Beginning") },
        { "chapter": 2, "start-time": 1.5, "duration": 2.5, "titles": title(HOSTILE) },
        { "chapter": 3, "start-time": 4.0, "duration": 1.9, "titles": title("Grüße") },
    ]);
    assert_eq!(list, expected);
    let text = said("ffmpeg", &["-v", "error", "-i"], &folder.join("chapters.vtt"), &["-f", "srt", "-"]);
    let expected = format!(
        "1\n00:00:00,000 --> 00:00:01,500\nBeginning\n\n2\n00:00:01,500 --> 00:00:04,000\n{HOSTILE}\n\n\
         3\n00:00:04,000 --> 00:00:05,900\nGrüße\n\n"
    );
    assert_eq!(text, expected);
    let name = folder.file_name().unwrap().to_str().unwrap();
    let line = format!("#EXT-X-SESSION-DATA:DATA-ID=\"com.apple.hls.chapters\",URI=\"{name}/chapters.json\"\n");
    assert!(fs::read_to_string(master).unwrap().contains(&line));
}

#[test]
fn chapters_of_the_source_are_those_of_the_package() {
    let sandbox = Sandbox::with_system_tools();
    for (ending, rest) in [("mp4", &[][..]), ("mkv", &["-an"]), ("m4a", &["-vn"])] {
        let source = with_chapters(&sandbox, ending, rest);
        let arguments =
            ["hls", source.to_str().unwrap(), "--to", ending, "--state", "state", "--id", "v", "--ladder", "240p"];
        let run = sandbox.forebay(arguments).expect(0);
        let master = watch::master(&sandbox.path(ending), "v");
        oracle::judge(&master).unwrap_or_else(|problem| panic!("{ending}: {problem}\n{}", run.stderr));
        sandbox.forebay(["verify", master.to_str().unwrap()]).expect(0);
        check_chapters(&master);
        assert!(sandbox.forebay(arguments).expect(0).stderr.contains("already"), "{ending}");
        assert!(sandbox.forebay(["plan", source.to_str().unwrap()]).expect(0).stdout.contains("  chapters   3, "));
    }
    // A film that has none gets none.
    let (master, _) = package(&sandbox, "none", &[]);
    assert!(!generation(&master).join("chapters.vtt").exists());
    assert!(!fs::read_to_string(master).unwrap().contains("SESSION-DATA"));
}

#[test]
fn titles_of_chapters_that_come_last_are_waited_for() {
    // Six megabytes, so that there is a head start; the titles lie among the pictures and at the end.
    let sandbox = Sandbox::with_system_tools();
    let film = with_chapters(
        &sandbox,
        "mp4",
        &[
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-qp",
            "0",
            "-vf",
            "noise=alls=60:allf=t",
            "-movflags",
            "+faststart",
        ],
    );
    assert!(fs::metadata(&film).unwrap().len() > 3 << 20);
    let server = Server::start(&film, 1_500_000);
    let url = server.url("film.mp4");
    let arguments =
        ["hls", &url, "--to", "out", "--state", "state", "--id", "v", "--ladder", "240p", "--profile", "fast"];
    sandbox.forebay(arguments).expect(0);
    check_chapters(&watch::master(&sandbox.path("out"), "v"));
}
