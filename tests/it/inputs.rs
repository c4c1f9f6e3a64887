//! Bad inputs among good ones: one clear line each, the right exit code,
//! nothing at the destination, and the others done.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::inotify;

use crate::support::sandbox::{Run, Sandbox};
use crate::support::server::Server;
use crate::support::{media, oracle, watch};

/// Short waits, so that what never comes is given up soon.
pub(crate) const IMPATIENT: &str = "\
    [hls]\nprofile = \"fast\"\nladder = \"360p\"\n\
    [lanes]\ndownloads = 16\n\
    [network]\nretries = 2\nconnect-timeout = \"2s\"\nmin-rate = \"1kB\"\nslow-window = \"2s\"\nlongest-wait = \"1s\"\n";

/// A sandbox with short waits and the yt-dlp of this machine.
pub(crate) fn sandbox() -> Sandbox {
    let mut sandbox = Sandbox::new();
    sandbox.config(IMPATIENT);
    if let Some(ytdlp) = ytdlp() {
        sandbox.set("FOREBAY_TOOLS__YT_DLP", ytdlp);
    }
    sandbox
}

/// The yt-dlp that `make setup` installed for this user, if it did.
pub(crate) fn ytdlp() -> Option<PathBuf> {
    let home = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/share")));
    Some(home?.join("forebay/yt-dlp/bin/yt-dlp")).filter(|ytdlp| ytdlp.exists())
}

/// The lines that say what became of the item whose line names `part`.
pub(crate) fn failures<'a>(run: &'a Run, part: &str) -> Vec<&'a str> {
    run.stderr.lines().filter(|line| line.starts_with("FAIL") && line.contains(part)).collect()
}

/// Fails unless exactly one line says that `part` failed, with all of these words.
#[track_caller]
pub(crate) fn fails_once(run: &Run, part: &str, words: &[&str]) {
    let lines = failures(run, part);
    let [line] = lines[..] else { panic!("{part}: {lines:?}\n{}", run.stderr) };
    for word in words {
        assert!(line.contains(word), "`{word}` is not in: {line}");
    }
    assert!(line.len() < 600 && !line.chars().any(char::is_control), "{line:?}");
}

/// The names in a folder that somebody would see.
pub(crate) fn published(dest: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dest) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

/// The hint that follows the failure of `part`.
fn hint(run: &Run, part: &str) -> String {
    let mut lines = run.stderr.lines().skip_while(|line| !(line.starts_with("FAIL") && line.contains(part)));
    lines.nth(1).filter(|line| line.trim_start().starts_with("hint:")).unwrap_or_default().trim().into()
}

/// Puts what the server needs into `folder`.
fn fill(folder: &Path) {
    fs::create_dir_all(folder.join("hls")).unwrap();
    let clip = media::clip();
    for number in 1..40 {
        fs::copy(&clip, folder.join(format!("v{number:02}.mp4"))).unwrap();
    }
    let bytes = fs::read(&clip).unwrap();
    fs::write(folder.join("half.mp4"), &bytes[..bytes.len() / 2]).unwrap();
    fs::write(folder.join("watch.html"), "<html><title>A film</title><video src=\"v30.mp4\"></video></html>").unwrap();
    let cut = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-y", "-i"])
        .arg(&clip)
        .args(["-c", "copy", "-f", "hls", "-hls_time", "2", "-hls_list_size", "0"])
        .arg(folder.join("hls/whole.m3u8"))
        .status()
        .unwrap();
    assert!(cut.success());
    let list = fs::read_to_string(folder.join("hls/whole.m3u8")).unwrap();
    fs::write(folder.join("hls/torn.m3u8"), list.replace("whole2.ts", "nowhere2.ts")).unwrap();
}

/// A port that nobody listens on.
fn closed_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn a_list_full_of_trouble_gives_a_line_each_and_all_the_good_ones() {
    let sandbox = sandbox();
    fill(&sandbox.path("www"));
    let server = Server::start(&sandbox.path("www"));
    let good = [
        "good/v01.mp4",
        "no-ranges/v02.mp4",
        "later/v03.mp4",
        "shaky/v04.mp4",
        "drops/v05.mp4",
        "lies/v06.mp4",
        "moved/v07.mp4",
        "good/watch.html",
        "good/hls/whole.m3u8",
    ];
    let bad: &[(&str, &[&str])] = &[
        ("403/v10.mp4", &["refuses access", "403"]),
        ("404/v11.mp4", &["not found", "404"]),
        ("410/v12.mp4", &["gone for good", "410"]),
        ("busy/v13.mp4", &["fewer requests", "429"]),
        ("500/v14.mp4", &["server error", "500"]),
        ("short/v15.mp4", &["could not read on"]),
        ("drip/v16.mp4", &["slower than 1000 bytes/s"]),
        ("page/v17.mp4", &["an HTML page, not a video"]),
        ("dressed-page/v18.mp4", &["an HTML page, not a video"]),
        ("empty/v19.mp4", &["empty (0 bytes)"]),
        ("xml/v20.mp4", &["an XML text, not a video"]),
        ("good/half.mp4", &["cut short", "8.0 s"]),
        ("circle/v21.mp4", &["redirect"]),
        ("to-file/v22.mp4", &["redirect"]),
        ("good/hls/torn.m3u8", &[]),
    ];
    let mut list: String =
        good.iter().chain(bad.iter().map(|(path, _)| path)).map(|path| server.url(path) + "\n").collect();
    let refused = format!("http://127.0.0.1:{}/v23.mp4", closed_port());
    list.extend([&refused, "\nhttp://nowhere.invalid/v24.mp4\n"]);
    let list = sandbox.write("list.txt", list);
    let arguments = || ["hls".as_ref(), "-a".as_ref(), list.as_os_str(), "--to".as_ref(), "out".as_ref()];

    let run = sandbox.forebay(arguments()).expect(1);
    println!("{}", run.stderr);
    for (path, words) in bad {
        fails_once(&run, &server.url(path), words);
    }
    let torn = failures(&run, "torn.m3u8").join("");
    assert!(torn.contains("nowhere2.ts") && torn.contains("was not found (404)"), "{torn}");
    fails_once(&run, &refused, &["connect"]);
    fails_once(&run, "nowhere.invalid", &["could not connect", "lookup"]);
    assert!(!hint(&run, "half.mp4").is_empty());
    let ids = published(&sandbox.path("out"));
    assert_eq!(ids.len(), good.len(), "{ids:?}");
    for id in &ids {
        let master = watch::master(&sandbox.path("out"), id);
        oracle::judge(&master).unwrap();
        let picture = watch::playlists(&master).into_iter().find(|(name, _)| name.ends_with('p')).unwrap().1;
        assert_eq!(watch::shades(&picture).len(), 200, "{id}");
    }
    assert!(run.stderr.contains(&format!("{} done, {} failed", good.len(), bad.len() + 2)), "{}", run.stderr);

    let again = sandbox.forebay(arguments()).expect(1);
    assert!(
        again.stderr.contains(&format!("{} already done, {} failed", good.len(), bad.len() + 2)),
        "{}",
        again.stderr
    );
}

#[test]
fn a_bad_line_is_named_with_its_place_and_the_others_are_done() {
    let sandbox = sandbox();
    let clip = sandbox.copy(&media::clip(), "clip.mp4");
    let clip = clip.to_str().unwrap();
    let lists = [
        (
            "a.txt",
            format!("# a comment\r\n\r\n{clip}\r\nftp://example.org/x.mp4\r\nnowhere.mp4\r\n"),
            ["a.txt:4", "a.txt:5"],
        ),
        ("b.yaml", format!("- {clip}\n- url: {clip}\n  idd: x\n- url: {clip}\n  id: ../x\n"), ["b.yaml:2", "b.yaml:4"]),
        ("c.jsonl", format!("\"{clip}\"\n{{\"url\":\n{{\"title\":\"x\"}}\n"), ["c.jsonl:2", "c.jsonl:3"]),
    ];
    for (name, text, places) in lists {
        sandbox.write(name, text);
        let run = sandbox.forebay(["hls", name, "--to", &format!("out-{name}")]).expect(1);
        println!("{}", run.stderr);
        for place in places {
            fails_once(&run, place, &[]);
        }
        assert!(run.stderr.contains("1 done, 2 bad lines"), "{}", run.stderr);
        assert_eq!(published(&sandbox.path(&format!("out-{name}"))).len(), 1);
    }
    sandbox.write("all-bad.txt", "ftp://example.org/x.mp4\nnowhere.mp4\n");
    let run = sandbox.forebay(["hls", "all-bad.txt", "--to", "out"]).expect(2);
    assert_eq!(failures(&run, "all-bad.txt:").len(), 2, "{}", run.stderr);
    assert!(!sandbox.path("out").exists());
}

#[test]
fn trouble_of_the_machine_alone_is_exit_code_3() {
    let mut sandbox = sandbox();
    let clip = sandbox.copy(&media::clip(), "clip.mp4");
    sandbox.write("file", "no folder");
    let run = sandbox.forebay(["hls", clip.to_str().unwrap(), "--to", "file/out"]).expect(3);
    assert!(run.stderr.contains("file/out"), "{}", run.stderr);
    fs::create_dir(sandbox.path("empty")).unwrap();
    let empty = sandbox.path("empty");
    sandbox.set("PATH", empty);
    let run = sandbox.forebay(["hls", clip.to_str().unwrap(), "--to", "out"]).expect(3);
    assert!(run.stderr.contains("ffmpeg") && run.stderr.contains("hint:"), "{}", run.stderr);
    assert!(published(&sandbox.path("out")).is_empty());
}

#[test]
fn damage_is_refused_or_published_with_a_warning() {
    let sandbox = sandbox();
    let clip = fs::read(media::clip()).unwrap();
    // The index stands first, so that the header promises all of it.
    sandbox.write("short.mp4", &clip[..clip.len() * 6 / 10]);
    let mut corrupt = clip.clone();
    let middle = corrupt.len() / 2;
    for byte in &mut corrupt[middle..middle + 30_000] {
        *byte ^= 0x5a;
    }
    sandbox.write("corrupt.mp4", corrupt);
    // Nothing after a certain point can be decoded, and whole chunks are gone.
    let mut tail = clip.clone();
    let from = tail.len() * 6 / 10;
    for byte in &mut tail[from..] {
        *byte ^= 0x5a;
    }
    sandbox.write("tail.mp4", tail);
    let arguments = ["hls", "short.mp4", "corrupt.mp4", "tail.mp4", "--to", "out", "--segment", "1s"];
    let run = sandbox.forebay(arguments).expect(1);
    println!("{}", run.stderr);
    fails_once(&run, "`short.mp4`", &["cut short", "says 8.0 s"]);
    fails_once(&run, "`corrupt.mp4`", &["damaged", "cannot be decoded"]);
    fails_once(&run, "`tail.mp4`", &["damaged"]);
    for name in ["short", "corrupt", "tail"] {
        assert!(hint(&run, name).contains("--accept-damaged"), "{}", run.stderr);
    }
    assert!(published(&sandbox.path("out")).is_empty());

    let run = sandbox.forebay(arguments.into_iter().chain(["--accept-damaged"])).expect(0);
    println!("{}", run.stderr);
    assert!(
        run.stderr.lines().any(|line| line.starts_with("warn  short") && line.contains("cut short")),
        "{}",
        run.stderr
    );
    assert!(
        run.stderr.lines().any(|line| line.starts_with("warn  corrupt") && line.contains("damaged")),
        "{}",
        run.stderr
    );
    for id in published(&sandbox.path("out")) {
        let master = watch::master(&sandbox.path("out"), &id);
        oracle::judge(&master).unwrap();
        let picture = watch::playlists(&master).into_iter().find(|(name, _)| name.ends_with('p')).unwrap().1;
        let frames = watch::shades(&picture).len();
        let expected = if id.starts_with("short") { 80..=160 } else { 200..=200 };
        assert!(expected.contains(&frames), "{id}: {frames} frames");
    }
}

#[test]
fn nothing_is_opened_that_a_disguised_text_names() {
    let sandbox = sandbox();
    fs::create_dir(sandbox.path("www")).unwrap();
    let server = Server::start(&sandbox.path("www"));
    fs::copy(media::clip(), sandbox.path("www/secret.mp4")).unwrap();
    let secret = sandbox.copy(&media::clip(), "secret.mp4");
    let secret = secret.to_str().unwrap();
    let url = server.url("good/secret.mp4");
    let disguises = [
        ("playlist.mp4", "a playlist", format!("#EXTM3U\n#EXT-X-TARGETDURATION:8\n#EXTINF:8,\n{url}\n#EXTINF:8,\n{secret}\n#EXT-X-ENDLIST\n")),
        ("concat.mp4", "a concat script", format!("ffconcat version 1.0\nfile '{secret}'\nfile '{url}'\n")),
        ("session.mp4", "a session description", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n".into()),
        ("text.mp4", "a text", "Just some words, not a film.\n".repeat(50)),
        ("picture.mp4", "an SVG drawing", format!("<svg xmlns=\"http://www.w3.org/2000/svg\"><image href=\"{url}\"/></svg>")),
        ("manifest.mp4", "a playlist", format!("<?xml version=\"1.0\"?><MPD><Period><BaseURL>{url}</BaseURL></Period></MPD>")),
    ];
    for (name, _, text) in &disguises {
        sandbox.write(name, text);
    }
    let names = disguises.iter().map(|(name, ..)| *name);
    let opened = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&opened, secret, inotify::WatchFlags::OPEN).unwrap();
    let run = sandbox.forebay(["hls"].into_iter().chain(names.clone()).chain(["--to", "out"])).expect(1);
    println!("{}", run.stderr);
    for (name, kind, _) in &disguises {
        fails_once(&run, &format!("`{name}`"), &[&format!("the file is {kind}"), "not a video"]);
    }
    assert_eq!(server.requests().len(), 0);
    let seen = rustix::io::read(&opened, &mut [0; 512]);
    assert_eq!(seen, Err(rustix::io::Errno::AGAIN), "a file that a text names was opened");
    drop(fs::File::open(secret).unwrap());
    assert!(rustix::io::read(&opened, &mut [0; 512]).is_ok(), "the watch sees who opens the file");
    assert!(published(&sandbox.path("out")).is_empty());

    // The same from a server: a playlist is fetched as such, but only over HTTP, never from this machine's disk.
    for (name, _, text) in &disguises {
        sandbox.write(&format!("www/{name}"), text.replace(&url, "missing.ts"));
    }
    let urls: Vec<String> = names.map(|name| server.url(&format!("good/{name}"))).collect();
    let run =
        sandbox.forebay(["hls"].into_iter().chain(urls.iter().map(String::as_str)).chain(["--to", "out"])).expect(1);
    println!("{}", run.stderr);
    for url in &urls {
        fails_once(&run, url, &[]);
    }
    assert!(published(&sandbox.path("out")).is_empty());
}

#[test]
fn what_is_no_video_is_refused_for_what_it_is() {
    let sandbox = sandbox();
    sandbox.write("zero.mp4", "");
    fs::create_dir(sandbox.path("folder.mp4")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, sandbox.path("pipe.mp4"), rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    sandbox.copy(&media::make("png", &["-f", "lavfi", "-i", "testsrc2=size=320x180", "-frames:v", "1"]), "png.mp4");
    sandbox.copy(&media::make("jpg", &["-f", "lavfi", "-i", "testsrc2=size=320x180", "-frames:v", "1"]), "jpg.mp4");
    sandbox.write("bomb.gif", bomb(16_000));
    sandbox.write("larger-bomb.mp4", bomb(65_535));
    let names = ["zero.mp4", "folder.mp4", "pipe.mp4", "png.mp4", "jpg.mp4", "bomb.gif", "larger-bomb.mp4"];
    let run = sandbox.forebay(["hls"].into_iter().chain(names).chain(["--to", "out"])).expect(1);
    println!("{}", run.stderr);
    fails_once(&run, "`zero.mp4`", &["empty (0 bytes)"]);
    fails_once(&run, "folder.mp4", &["no video"]);
    fails_once(&run, "`pipe.mp4`", &["not a regular file"]);
    fails_once(&run, "`png.mp4`", &["a still image (PNG), not a video"]);
    fails_once(&run, "`jpg.mp4`", &["a still image (JPEG), not a video"]);
    fails_once(&run, "`bomb.gif`", &["the picture is 16000x16000, more than 67108864 pixels"]);
    fails_once(&run, "`larger-bomb.mp4`", &["the picture is 65535x65535"]);
    assert!(published(&sandbox.path("out")).is_empty());
}

/// An animation of a few kilobytes whose canvas says to be a square of this side.
fn bomb(side: u16) -> Vec<u8> {
    let mut bytes = fs::read(media::make("gif", &["-f", "lavfi", "-i", "testsrc2=s=64x36:r=5:d=1"])).unwrap();
    bytes[6..8].copy_from_slice(&side.to_le_bytes());
    bytes[8..10].copy_from_slice(&side.to_le_bytes());
    bytes
}

#[test]
fn limits_are_settings() {
    let sandbox = sandbox();
    let clip = sandbox.copy(&media::clip(), "clip.mp4");
    for (name, value, words) in [
        ("PIXELS", "50000", "320x180, more than 50000 pixels"),
        ("STREAMS", "1", "2 streams, more than 1"),
        ("DURATION", "7s", "lasts 8 s, more than 7 s"),
    ] {
        let variable = (&*format!("FOREBAY_LIMITS__{name}"), value);
        let arguments = ["hls", clip.to_str().unwrap(), "--to", "out"];
        let run = sandbox.start_with(arguments, &[variable]).wait().expect(1);
        fails_once(&run, "clip", &[words]);
        assert!(run.stderr.contains(&format!("`limits.{}`", name.to_lowercase())), "{}", run.stderr);
    }
    assert!(published(&sandbox.path("out")).is_empty());
}

#[test]
fn subtitles_of_a_page_come_along() {
    let sandbox = sandbox();
    let www = sandbox.path("www");
    fs::create_dir(&www).unwrap();
    fs::copy(media::clip(), www.join("clip.mp4")).unwrap();
    sandbox.write("www/de.vtt", "WEBVTT\n\n00:01.000 --> 00:02.500\n<v Ann>Tom &amp; Jerry\n");
    let page =
        |track: &str| format!("<html><title>A film</title><video><source src=\"clip.mp4\">{track}</video></html>");
    let track = |tag: &str| format!("<track kind=\"subtitles\" srclang=\"{tag}\" src=\"{tag}.vtt\">");
    sandbox.write("www/watch.html", page(&(track("de") + &track("en"))));
    sandbox.write("www/only.html", page(&track("de")));
    let server = Server::start(&www);
    let hls = |path: &str, id: &str, more: &[&str]| {
        let url = server.url(path);
        let arguments = ["hls", &url, "--to", "out", "--id", id, "--ladder", "240p"];
        sandbox.forebay(arguments.into_iter().chain(more.iter().copied())).expect(0)
    };
    let words = |id: &str| {
        let master = watch::master(&sandbox.path("out"), id);
        oracle::judge(&master).unwrap();
        let texts = watch::playlists(&master).into_iter().filter(|(name, _)| name.starts_with("subs-"));
        texts
            .map(|(name, playlist)| (name, fs::read_to_string(playlist.with_file_name("00000.vtt")).unwrap()))
            .collect::<Vec<_>>()
    };
    hls("good/only.html", "one", &[]);
    let [(name, text)] = &words("one")[..] else { panic!("{:?}", words("one")) };
    assert_eq!(name, "subs-deu");
    assert!(text.contains("00:00:01.000 --> 00:00:02.500\nTom &amp; Jerry"), "{text}");
    // One that is not there costs nothing but itself, and none is asked for that is not wanted.
    let run = hls("good/watch.html", "two", &[]);
    assert!(run.stderr.contains("subtitles are left out"), "{}", run.stderr);
    let before = server.requests().len();
    hls("good/only.html", "three", &["--subtitles", "en"]);
    assert!(server.requests().iter().skip(before).all(|request| !request.path.contains(".vtt")));
    assert_eq!(words("three"), []);
}

#[test]
fn a_file_that_is_replaced_while_it_is_encoded_is_not_mixed_with_the_other() {
    let mut sandbox = sandbox();
    let film = sandbox.copy(&media::clip(), "film.mp4");
    sandbox.set("FOREBAY_FAULT_STOP", "planned");
    let arguments = ["hls", "film.mp4", "--to", "out", "--ladder", "240p"];
    let run = sandbox.start(arguments);
    run.wait_until_stopped();
    let other = sandbox.copy(&media::clip_of(5, "320x180"), "other.mp4");
    fs::rename(other, &film).unwrap();
    // Only who has lost half a second knows that it was stopped.
    std::thread::sleep(std::time::Duration::from_millis(700));
    run.signal(rustix::process::Signal::CONT);
    let run = run.wait();
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    fails_once(&run, "film", &["changed while it was encoded"]);
    assert!(
        published(&sandbox.path("out")).iter().all(|id| !sandbox.path("out").join(id).join("master.m3u8").exists())
    );
    sandbox.unset("FOREBAY_FAULT_STOP");
    sandbox.forebay(arguments).expect(0);
    let id = published(&sandbox.path("out")).remove(0);
    let playlists = watch::playlists(&watch::master(&sandbox.path("out"), &id));
    let picture = playlists.into_iter().find(|(name, _)| name.ends_with('p')).unwrap().1;
    assert_eq!(watch::shades(&picture).len(), 125);
}
