//! `forebay photos --format webp|avif`: other programs make the pictures, and look at what came out.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::photo::{digests, distance, exif, names, photos, quarters, tool};
use crate::support::media;
use crate::support::sandbox::Sandbox;

/// A colour profile that is long enough to be told from anything else.
fn profile() -> Vec<u8> {
    [&[0; 16][..], b"RGB ", &[3; 300]].concat()
}

/// A card with a picture of each kind that is decoded in another way.
fn card(sandbox: &Sandbox) {
    let held = quarters(sandbox, "in/held.jpg", "421x343", &["-sampling-factor", "2x2"]);
    let mut bytes = fs::read(&held).unwrap();
    bytes.splice(2..2, [&[0xff, 0xe2, 1, 80][..], b"ICC_PROFILE\0\x01\x01", &profile()].concat());
    fs::write(&held, bytes).unwrap();
    let mut set = vec!["-q", "-overwrite_original", "-Orientation#=6", "-Make=Acme", "-XMP:Creator=Ann"];
    set.extend(["-GPSLatitude=52.5", "-GPSLatitudeRef=N", "-XMP:GPSLatitude=52.5", held.to_str().unwrap()]);
    tool(sandbox, "exiftool", &set);
    quarters(sandbox, "in/wide.jpg", "423x341", &["-sampling-factor", "2x1"]);
    quarters(sandbox, "in/tall.jpg", "421x341", &["-sampling-factor", "1x2"]);
    quarters(sandbox, "in/full.jpg", "421x341", &["-sampling-factor", "1x1"]);
    quarters(sandbox, "in/grey.jpg", "421x341", &["-colorspace", "gray"]);
    quarters(sandbox, "in/lines.png", "421x341", &[]);
    quarters(sandbox, "in/small.jpg", "60x40", &[]);
    quarters(sandbox, "phone.png", "400x300", &[]);
    tool(sandbox, "heif-enc", &["-q", "95", "phone.png", "-o", "in/phone.heic"]);
}

/// A file's picture as these tests' tools read it: `convert` of Debian lacks AVIF, which libheif has.
fn as_jpeg(sandbox: &Sandbox, path: &str, format: &str) -> String {
    let jpeg = format!("{path}.jpg");
    if format == "avif" {
        tool(sandbox, "heif-convert", &["-q", "100", path, &jpeg]);
    } else {
        tool(sandbox, "convert", &[path, "-quality", "100", &jpeg]);
    }
    jpeg
}

#[test]
fn a_card_becomes_webp_or_avif_that_others_read() {
    for (format, media_type) in [("webp", "image/webp"), ("avif", "image/avif")] {
        let sandbox = Sandbox::new();
        card(&sandbox);
        let before = digests(&sandbox.path("in"));
        let arguments = ["in", "--to", "out", "--max-size", "50kB", "--format", format];
        photos(&sandbox, &arguments).expect(0);
        assert_eq!(digests(&sandbox.path("in")), before, "originals are never touched");
        let stems = ["full", "grey", "held", "lines", "phone", "small", "tall", "wide"];
        assert_eq!(names(&sandbox.path("out")), stems.map(|stem| format!("{stem}.{format}")));
        for stem in stems {
            let out = format!("out/{stem}.{format}");
            assert!(fs::metadata(sandbox.path(&out)).unwrap().len() <= 50_000, "{out}");
            let facts = exif(&sandbox, &sandbox.path(&out));
            assert_eq!(facts["File:MIMEType"], media_type, "{out}");
            let original = fs::read_dir(sandbox.path("in")).unwrap().map(|entry| entry.unwrap().path());
            let original = original.into_iter().find(|path| path.file_stem().unwrap() == stem).unwrap();
            let shown = as_jpeg(&sandbox, &out, format);
            let size = tool(&sandbox, "identify", &["-format", "%wx%h!", &shown]);
            let from = if stem == "phone" { sandbox.path("phone.png") } else { original };
            tool(&sandbox, "convert", &[from.to_str().unwrap(), "-auto-orient", "-resize", &size, "expected.png"]);
            let far = distance(&sandbox, &shown, "expected.png");
            assert!(far < 0.1, "{out} of {size} is {far} from what it should be");
        }
        let held = sandbox.path(&format!("out/held.{format}"));
        let facts = exif(&sandbox, &held);
        let seen = (&facts["IFD0:Orientation"], &facts["IFD0:Make"], &facts["XMP-dc:Creator"]);
        assert_eq!(seen, (&1.into(), &"Acme".into(), &"Ann".into()), "{format}: {facts}");
        assert!(!facts.to_string().contains("GPS"), "{format}: {facts}");
        let bytes = fs::read(&held).unwrap();
        assert!(bytes.windows(320).any(|window| window == profile()), "{format}: colours stay what they were");
        let run = photos(&sandbox, &arguments).expect(0);
        assert!(run.stderr.contains("0 pictures done, 8 already done"), "{}", run.stderr);
    }
}

#[test]
fn what_is_webp_already_and_fits_stays_byte_for_byte() {
    let sandbox = Sandbox::new();
    let path = quarters(&sandbox, "in/a.webp", "100x80", &["-quality", "80"]);
    photos(&sandbox, &["in", "--to", "out", "--format", "webp"]).expect(0);
    assert_eq!(fs::read(sandbox.path("out/a.webp")).unwrap(), fs::read(path).unwrap());
}

#[test]
fn pictures_on_a_queue_have_a_format_too() {
    let sandbox = Sandbox::new();
    quarters(&sandbox, "in/a.jpg", "100x80", &[]);
    sandbox.forebay(["submit", "photos", "in", "--to", "out", "--format", "webp", "--queue", "sqlite:q"]).expect(0);
    sandbox.forebay(["worker", "--queue", "sqlite:q", "--allow-input", ".", "--to", ".", "--once"]).expect(0);
    assert_eq!(names(&sandbox.path("out")), ["a.webp"]);
}

#[test]
fn without_an_encoder_of_av1_a_run_says_so_before_it_begins() {
    let mut sandbox = Sandbox::new();
    quarters(&sandbox, "in/a.jpg", "100x80", &[]);
    let poor = sandbox.write("poor-ffmpeg", "#!/bin/sh\necho ' V..... libx264 H.264'\n");
    fs::set_permissions(&poor, fs::Permissions::from_mode(0o755)).unwrap();
    sandbox.set("FOREBAY_TOOLS__FFMPEG", &poor);
    let run = photos(&sandbox, &["in", "--to", "out", "--format", "avif"]).expect(3);
    assert!(run.stderr.contains("has no encoder `libaom-av1`"), "{}", run.stderr);
    photos(&sandbox, &["in", "--to", "out", "--format", "gif"]).expect(2);
}

/// An ffmpeg that notes when two of it encode at the same time.
fn jealous(sandbox: &Sandbox) -> PathBuf {
    let (lock, log) = (sandbox.path("encoding"), sandbox.path("together"));
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *libx264*|*libaom-av1*) ;; *) exec ffmpeg \"$@\" ;; esac\n\
         mkdir '{0}' 2>/dev/null || echo \"$*\" >> '{1}'\nffmpeg \"$@\"; code=$?\nrmdir '{0}' 2>/dev/null\nexit $code\n",
        lock.display(),
        log.display()
    );
    let path = sandbox.write("jealous-ffmpeg", script);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_worker_with_films_and_pictures_computes_no_more_than_its_threads() {
    for (mutant, together) in [("", false), ("no-permits", true)] {
        let mut sandbox = Sandbox::new();
        let ffmpeg = jealous(&sandbox);
        sandbox.set("FOREBAY_TOOLS__FFMPEG", &ffmpeg);
        sandbox.set("FOREBAY_QUEUE__URL", "sqlite:q");
        for number in 0..6 {
            quarters(&sandbox, &format!("in/{number}.jpg"), "640x480", &[]);
        }
        let clip = media::clip();
        let clip = sandbox.copy(&clip, "clip.mp4");
        sandbox.forebay(["submit", "photos", "in", "--to", "out", "--format", "avif"]).expect(0);
        sandbox.forebay(["submit", "hls", clip.to_str().unwrap(), "--to", "out"]).expect(0);
        let worker = ["worker", "--allow-input", ".", "--to", ".", "--slots", "2", "--threads", "1"];
        let mut worker = sandbox.start_with(worker, &[("FOREBAY_FAULT_MUTANT", mutant)]);
        let begun = Instant::now();
        let published = || {
            fs::read_dir(sandbox.path("out"))
                .is_ok_and(|mut entries| entries.any(|entry| entry.unwrap().path().join("master.m3u8").exists()))
        };
        let pictures = || (0..6).all(|number| sandbox.path(&format!("out/{number}.avif")).exists());
        while !(published() && pictures()) {
            assert!(worker.ended().is_none() && begun.elapsed() < Duration::from_secs(100), "{}", worker.said());
            std::thread::sleep(Duration::from_millis(20));
        }
        worker.signal(rustix::process::Signal::TERM);
        worker.wait();
        let log = fs::read_to_string(sandbox.path("together")).unwrap_or_default();
        assert_eq!(!log.is_empty(), together, "{mutant}: {log}");
    }
}
