//! `forebay photos` on real files: other programs make the pictures and look at what came out.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::support::sandbox::{Run, Sandbox};

/// Runs a program in the sandbox, which must succeed, and gives what it prints.
#[track_caller]
pub(crate) fn tool(sandbox: &Sandbox, program: &str, arguments: &[&str]) -> String {
    let output = sandbox.command(program).args(arguments).output().expect("installed by scripts/setup.sh --test");
    assert!(output.status.success(), "{program} {arguments:?}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A noisy picture, which takes many bytes, with another colour in each quarter.
pub(crate) fn quarters(sandbox: &Sandbox, name: &str, size: &str, more: &[&str]) -> PathBuf {
    let path = sandbox.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let resize = format!("{size}!");
    let mut arguments = vec!["-size", "2x2", "xc:red", "-fill", "lime", "-draw", "point 1,0", "-fill", "blue"];
    arguments.extend(["-draw", "point 0,1", "-fill", "yellow", "-draw", "point 1,1", "-filter", "point", "-resize"]);
    arguments.extend([resize.as_str(), "-seed", "7", "-attenuate", "0.4", "+noise", "gaussian", "-quality", "97"]);
    arguments.extend(more);
    let shown = path.to_str().unwrap();
    arguments.push(shown);
    tool(sandbox, "convert", &arguments);
    path
}

pub(crate) fn photos(sandbox: &Sandbox, arguments: &[&str]) -> Run {
    sandbox.forebay(["photos"].iter().chain(arguments))
}

/// What exiftool says of a file, by group and name.
pub(crate) fn exif(sandbox: &Sandbox, path: &Path) -> Value {
    let text = tool(sandbox, "exiftool", &["-j", "-G1", "-a", "-n", path.to_str().unwrap()]);
    serde_json::from_str::<Vec<Value>>(&text).unwrap().remove(0)
}

/// Whether any of what exiftool says is about a place.
fn has_place(facts: &Value) -> bool {
    facts.as_object().unwrap().keys().any(|key| key.to_lowercase().contains("gps"))
}

/// How far two pictures of one size are apart, from 0 to 1.
pub(crate) fn distance(sandbox: &Sandbox, a: &str, b: &str) -> f64 {
    let arguments = [a, b, "-metric", "RMSE", "-compare", "-format", "%[distortion]", "info:"];
    tool(sandbox, "convert", &arguments).trim().parse().unwrap()
}

pub(crate) fn digests(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(digests(&path));
        } else {
            let digest = hex::encode(Sha256::digest(fs::read(&path).unwrap()));
            found.insert(path, digest);
        }
    }
    found
}

/// PNG's checksum, so that a bomb goes off and does not just look damaged.
fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc)))
}

pub(crate) fn names(folder: &Path) -> Vec<String> {
    let below = |path: PathBuf| path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
    digests(folder).into_keys().map(below).collect()
}

#[test]
fn pictures_stand_upright_however_the_camera_was_held() {
    let sandbox = Sandbox::new();
    for (sampling, size) in [("2x2", "421x343"), ("2x1", "423x341"), ("1x1", "420x340")] {
        let first = quarters(&sandbox, &format!("in/{sampling}-1.jpg"), size, &["-sampling-factor", sampling]);
        for orientation in 2..=8 {
            sandbox.copy(&first, &format!("in/{sampling}-{orientation}.jpg"));
        }
    }
    for orientation in 1..=8 {
        let set = format!("-Orientation#={orientation}");
        let files = ["2x2", "2x1", "1x1"].map(|sampling| format!("in/{sampling}-{orientation}.jpg"));
        let mut arguments = vec!["-q", "-overwrite_original", &set, "-ExifImageWidth=999"];
        arguments.extend(files.iter().map(String::as_str));
        tool(&sandbox, "exiftool", &arguments);
    }
    photos(&sandbox, &["in", "--to", "out", "--max-size", "50kB"]).expect(0);
    for name in names(&sandbox.path("in")) {
        let out = format!("out/{name}");
        assert!(fs::metadata(sandbox.path(&out)).unwrap().len() <= 50_000, "{name}");
        let facts = exif(&sandbox, &sandbox.path(&out));
        assert_eq!(facts["IFD0:Orientation"], 1, "{name}");
        let (width, height) = (&facts["File:ImageWidth"], &facts["File:ImageHeight"]);
        assert_eq!(&facts["ExifIFD:ExifImageWidth"], width, "{name}");
        let expected = format!("upright-{name}.png");
        let (from, size) = (format!("in/{name}"), format!("{width}x{height}!"));
        tool(&sandbox, "convert", &[&from, "-auto-orient", "-resize", &size, &expected]);
        let far = distance(&sandbox, &out, &expected);
        assert!(far < 0.12, "{name} is {far} from what it should be");
    }
}

#[test]
fn the_place_goes_and_the_rest_stays_to_the_last_byte() {
    let sandbox = Sandbox::new();
    let profile = [&[0; 16][..], b"RGB ", &[3; 300]].concat();
    let icc = [&[0xff, 0xe2, 1, 80][..], b"ICC_PROFILE\0\x01\x01", &profile].concat();
    for name in ["in/small.jpg", "in/large.jpg"] {
        let size = if name == "in/small.jpg" { "160x120" } else { "400x300" };
        let path = quarters(&sandbox, name, size, &[]);
        let mut bytes = fs::read(&path).unwrap();
        bytes.splice(2..2, icc.clone());
        fs::write(&path, bytes).unwrap();
        let mut set = vec!["-q", "-overwrite_original", "-Make=Acme", "-IPTC:Keywords=dog"];
        set.extend(["-GPSLatitude=52.5", "-GPSLatitudeRef=N", "-GPSLongitude=13.4", "-GPSLongitudeRef=E"]);
        set.extend(["-XMP:GPSLatitude=52.5", "-XMP:Creator=Ann", "-Comment=hello"]);
        tool(&sandbox, "exiftool", &[set, vec![path.to_str().unwrap()]].concat());
    }
    let before = digests(&sandbox.path("in"));
    photos(&sandbox, &["in", "--to", "out", "--max-size", "60kB"]).expect(0);
    photos(&sandbox, &["in", "--to", "kept", "--max-size", "60kB", "--keep-location"]).expect(0);
    assert_eq!(digests(&sandbox.path("in")), before, "originals are never touched");
    for name in ["small.jpg", "large.jpg"] {
        let (gone, kept) = (sandbox.path(&format!("out/{name}")), sandbox.path(&format!("kept/{name}")));
        let facts = exif(&sandbox, &gone);
        let keys: Vec<_> = facts.as_object().unwrap().keys().filter(|key| key.contains("GPS")).collect();
        assert!(keys.is_empty(), "{name}: {keys:?}");
        assert!(exif(&sandbox, &kept).as_object().unwrap().keys().any(|key| key.contains("GPS")), "{name}");
        assert_eq!(
            (&facts["IFD0:Make"], &facts["XMP-dc:Creator"], &facts["IPTC:Keywords"], &facts["File:Comment"]),
            (&"Acme".into(), &"Ann".into(), &"dog".into(), &"hello".into()),
            "{name}"
        );
        let bytes = fs::read(&gone).unwrap();
        assert!(bytes.windows(icc.len()).any(|window| window == icc), "{name}: colours stay what they were");
    }
    let original = fs::read(sandbox.path("in/small.jpg")).unwrap();
    assert_eq!(fs::read(sandbox.path("kept/small.jpg")).unwrap(), original, "byte for byte");
    let (size, copied) = (original.len(), fs::read(sandbox.path("out/small.jpg")).unwrap());
    assert_eq!(copied.len(), size, "nothing moves");
    assert_eq!(distance(&sandbox, "in/small.jpg", "out/small.jpg").to_bits(), 0, "its pixels are the same");
}

#[test]
fn what_a_tiff_says_of_itself_goes_along() {
    let sandbox = Sandbox::new();
    let path = quarters(&sandbox, "in/a.tif", "60x40", &[]);
    let mut set = vec!["-q", "-overwrite_original", "-Make=Acme", "-DateTimeOriginal=2024:05:06 07:08:09", "-ISO=200"];
    set.extend(["-GPSLatitude=52.5", "-GPSLatitudeRef=N", "-Orientation#=6", path.to_str().unwrap()]);
    tool(&sandbox, "exiftool", &set);
    for (more, place) in [(&[][..], false), (&["--keep-location"], true)] {
        photos(&sandbox, &[&["in", "--to", "out"], more].concat()).expect(0);
        let facts = exif(&sandbox, &sandbox.path("out/a.jpg"));
        let said = (&facts["IFD0:Make"], &facts["ExifIFD:DateTimeOriginal"], &facts["ExifIFD:ISO"]);
        assert_eq!(said, (&"Acme".into(), &"2024:05:06 07:08:09".into(), &200.into()), "{facts}");
        let upright = (&facts["IFD0:Orientation"], &facts["File:ImageWidth"], &facts["File:ImageHeight"]);
        assert_eq!(upright, (&1.into(), &40.into(), &60.into()), "{facts}");
        assert_eq!(has_place(&facts), place, "{facts}");
    }
}

#[test]
fn what_is_no_picture_is_told_by_its_first_bytes() {
    let sandbox = Sandbox::new();
    let pipe = sandbox.path("pipe.jpg");
    tool(&sandbox, "mkfifo", &[pipe.to_str().unwrap()]);
    for input in ["pipe.jpg", "/dev/zero"] {
        let run = photos(&sandbox, &[input, "--to", "out"]).expect(2);
        assert!(run.stderr.contains("is neither a file nor a folder"), "{}", run.stderr);
    }
    // Holes take no room: reading them would.
    for (name, head) in [("nothing.jpg", &b"\0"[..]), ("endless.jpg", b"\xff\xd8\xff\xe0"), ("endless.bmp", b"BM")] {
        let file = fs::File::create(sandbox.path(name)).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, head, 0).unwrap();
        file.set_len(2 << 30).unwrap();
    }
    let inputs = ["nothing.jpg", "endless.jpg", "endless.bmp", "--to", "out", "--json"];
    let run = photos(&sandbox, &inputs).expect(1);
    for line in ["nothing.jpg: is no picture", "endless.jpg: has 2147483648 bytes", "endless.bmp: has 2147483648 bytes"]
    {
        assert!(run.stderr.contains(line), "{line}\n{}", run.stderr);
    }
    let seconds = run.events().last().unwrap()["seconds"].as_f64().unwrap();
    assert!(seconds < 5.0, "{seconds} s to look at three heads");
}

#[test]
fn a_drone_s_own_words_for_its_place_go_from_every_kind_that_is_copied() {
    let sandbox = Sandbox::new();
    let xmp = "<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>\
        <rdf:Description rdf:about='' xmlns:drone-dji='http://www.dji.com/drone-dji/1.0/' drone-dji:GpsLatitude='+52.5' \
        drone-dji:GpsLongtitude='+13.4' drone-dji:CamReverse='0'><drone-dji:GPSAltitude>7</drone-dji:GPSAltitude>\
        </rdf:Description></rdf:RDF></x:xmpmeta>";
    sandbox.write("place.xmp", xmp);
    let kinds = ["a.jpg", "b.png", "c.webp", "d.gif"];
    for name in kinds {
        let path = quarters(&sandbox, &format!("in/{name}"), "60x40", &[]);
        let arguments = ["-q", "-overwrite_original", "-XMP<=place.xmp", path.to_str().unwrap()];
        tool(&sandbox, "exiftool", &arguments);
        assert!(has_place(&exif(&sandbox, &path)), "{name}");
    }
    photos(&sandbox, &["in", "--to", "out"]).expect(0);
    for name in kinds {
        let out = format!("out/{name}");
        let facts = exif(&sandbox, &sandbox.path(&out));
        assert!(!has_place(&facts), "{name}: {facts}");
        assert_eq!(facts["XMP-drone-dji:CamReverse"], 0, "{name}: {facts}");
        assert_eq!(distance(&sandbox, &format!("in/{name}"), &out).to_bits(), 0, "{name}: its pixels are the same");
    }
}

#[test]
fn a_phone_s_own_pictures_lose_their_place_and_keep_their_notes() {
    let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/media");
    let fetched = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/media.sh")).status().unwrap();
    assert!(fetched.success(), "real pictures need apt and a network once");
    let sandbox = Sandbox::new();
    for entry in fs::read_dir(media).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "jpg") {
            sandbox.copy(&path, &format!("in/{}", path.file_name().unwrap().to_str().unwrap()));
        }
    }
    photos(&sandbox, &["in", "--to", "out", "--max-size", "4MB"]).expect(0);
    let pictures = names(&sandbox.path("in"));
    assert!(pictures.len() >= 3, "{pictures:?}");
    for name in pictures {
        let (before, after) = (sandbox.path(&format!("in/{name}")), sandbox.path(&format!("out/{name}")));
        assert!(fs::metadata(&after).unwrap().len() <= 4_000_000);
        let (old, new) = (exif(&sandbox, &before), exif(&sandbox, &after));
        assert!(old["GPS:GPSLatitude"].is_number(), "{name}");
        assert!(!new.to_string().contains("GPS"), "{name}");
        for key in ["IFD0:Model", "ExifIFD:DateTimeOriginal", "ExifIFD:ExposureTime", "ExifIFD:ISO"] {
            assert_eq!(old[key], new[key], "{name}");
        }
    }
}

#[test]
fn every_kind_of_picture_and_of_trouble_has_its_line() {
    let sandbox = Sandbox::new();
    let large = quarters(&sandbox, "in/large.jpg", "400x300", &[]);
    let make = |name: &str, more: &[&str]| quarters(&sandbox, &format!("in/{name}"), "400x300", more);
    make("inks.jpg", &["-colorspace", "CMYK"]);
    make("steps.jpg", &["-interlace", "JPEG"]);
    make("grey.jpg", &["-colorspace", "gray"]);
    make("deep.png", &["-alpha", "off", "-depth", "16"]);
    make("glass.png", &["-alpha", "set", "-channel", "A", "-evaluate", "set", "50%"]);
    make("old.tif", &[]);
    make("web.webp", &["-quality", "100"]);
    make("still.gif", &[]);
    make("solid.png", &["-define", "png:color-type=6", "-alpha", "opaque"]);
    make("plain.bmp", &[]);
    tool(&sandbox, "convert", &["in/old.tif", "in/old.tif", "in/pages.tif"]);
    let twice = fs::read(&large).unwrap();
    sandbox.write("in/both-eyes.mpo", twice.repeat(2));
    tool(&sandbox, "convert", &["in/large.jpg", "in/plain.bmp", "-delay", "10", "in/film.gif"]);
    make("phone.png", &[]);
    tool(&sandbox, "heif-enc", &["-q", "95", "in/phone.png", "-o", "in/phone.heic"]);
    fs::remove_file(sandbox.path("in/phone.png")).unwrap();
    let whole = fs::read(&large).unwrap();
    sandbox.write("in/cut.jpg", whole.get(..whole.len() / 2).unwrap());
    sandbox.write("in/nothing.jpg", "");
    sandbox.write("in/text.jpg", "this is not a picture");
    sandbox.write("in/raw.CR2", "II*\0");
    sandbox.write("in/notes.txt", "left alone");
    let mut bomb = fs::read(sandbox.path("in/deep.png")).unwrap();
    bomb.splice(16..24, [0, 1, 0, 0, 0, 1, 0, 0]);
    let crc = crc(bomb.get(12..29).unwrap());
    bomb.splice(29..33, crc.to_be_bytes());
    sandbox.write("in/bomb.png", &bomb);
    let frames = ["in/web.webp", "-delay", "10", "-loop", "0", "in/large.jpg", "-quality", "98", "in/moving.webp"];
    tool(&sandbox, "convert", &frames);
    let run = photos(&sandbox, &["in", "--to", "out", "--max-size", "50kB", "--report", "sheet.html"]).expect(1);
    let lines = [
        ("cut.jpg", "is cut off"),
        ("nothing.jpg", "is empty"),
        ("text.jpg", "is no picture"),
        ("bomb.png", "pixels"),
        ("moving.webp", "is animated"),
        ("film.gif", "is animated"),
        ("pages.jpg", "only the first is kept"),
        ("both-eyes.jpg", "another picture behind it"),
        ("inks.jpg", "printing inks"),
        ("deep.jpg", "16 bits"),
        ("glass.jpg", "see-through"),
        ("1 raw file and 1 other file", "left alone"),
    ];
    for (name, line) in lines {
        let said = run.stderr.lines().any(|text| text.contains(name) && text.contains(line));
        assert!(said, "{name}: {line}\n{}", run.stderr);
    }
    assert_eq!(run.stderr.matches("see-through").count(), 1, "opaque ones are not: {}", run.stderr);
    let expected = [
        "both-eyes.jpg",
        "deep.jpg",
        "glass.jpg",
        "grey.jpg",
        "inks.jpg",
        "large.jpg",
        "old.jpg",
        "pages.jpg",
        "phone.jpg",
        "plain.jpg",
        "solid.jpg",
        "steps.jpg",
        "still.jpg",
        "web.jpg",
    ];
    assert_eq!(names(&sandbox.path("out")), expected);
    for name in expected {
        let facts = exif(&sandbox, &sandbox.path(&format!("out/{name}")));
        assert_eq!(facts["File:MIMEType"], "image/jpeg", "{name}");
        assert!(fs::metadata(sandbox.path(&format!("out/{name}"))).unwrap().len() <= 50_000, "{name}");
        let width = &facts["File:ImageWidth"];
        tool(&sandbox, "convert", &["in/large.jpg", "-resize", &format!("{width}x"), "expected.png"]);
        if !matches!(name, "grey.jpg" | "glass.jpg") {
            let far = distance(&sandbox, &format!("out/{name}"), "expected.png");
            assert!(far < 0.13, "{name} is {far} from what it should be");
        }
    }
    let sheet = fs::read_to_string(sandbox.path("sheet.html")).unwrap();
    assert_eq!(sheet.matches("data:image/jpeg;base64,").count(), expected.len());
    assert_eq!(sheet.matches("<b>failed:</b>").count(), 6);
}

#[test]
fn part_of_a_picture_that_fits_is_copied_with_a_note() {
    let sandbox = Sandbox::new();
    for kind in ["jpg", "png", "webp", "gif"] {
        let whole = quarters(&sandbox, &format!("in/whole.{kind}"), "60x40", &[]);
        let bytes = fs::read(whole).unwrap();
        sandbox.write(&format!("in/part.{kind}"), bytes.get(..bytes.len() * 2 / 3).unwrap());
    }
    let run = photos(&sandbox, &["in", "--to", "out"]).expect(0);
    assert_eq!(names(&sandbox.path("out")).len(), 8);
    let notes: Vec<_> = run.stderr.lines().filter(|line| line.contains("is cut off")).collect();
    assert_eq!(notes.len(), 4, "{}", run.stderr);
    assert!(notes.iter().all(|line| line.starts_with("note  part.")), "{notes:?}");
}

#[test]
fn small_files_of_endless_pixels_are_refused_before_any_is_decoded() {
    let sandbox = Sandbox::new();
    let chunk = |name: &[u8; 4], body: &[u8]| {
        [&name[..], &u32::try_from(body.len()).unwrap().to_le_bytes(), body, &vec![0; body.len() % 2]].concat()
    };
    // One white pixel, on a canvas of 16383x16383.
    let pixel = chunk(b"VP8L", b"\x2f\0\0\0\0\x07\x10\x11\x11\x88\x88\xfe\x07\0");
    let frame = chunk(b"ANMF", &[&[0; 12][..], &[100, 0, 0, 0], &pixel].concat());
    let head = chunk(b"VP8X", &[2, 0, 0, 0, 0xfe, 0x3f, 0, 0xfe, 0x3f, 0]);
    for frames in [1, 3] {
        let body = [&b"WEBP"[..], &head, &chunk(b"ANIM", &[0; 6]), &frame.repeat(frames)].concat();
        sandbox.write(&format!("in/{frames}.webp"), chunk(b"RIFF", &body));
    }
    let spot = b",\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0";
    for frames in [1, 3] {
        let gif = [&b"GIF89a\xff\xff\xff\xff\x80\0\0\0\0\0\xff\xff\xff"[..], &spot.repeat(frames), b";"].concat();
        sandbox.write(&format!("in/{frames}.gif"), gif);
    }
    let run = photos(&sandbox, &["in", "--to", "out", "--max-edge", "100", "--json"]).expect(1);
    for (name, why) in [
        ("1.webp", "has 16383x16383 pixels"),
        ("1.gif", "has 65535x65535"),
        ("3.webp", "animated"),
        ("3.gif", "animated"),
    ] {
        let said = run.stderr.lines().any(|line| line.contains(name) && line.contains(why));
        assert!(said, "{name}: {why}\n{}", run.stderr);
    }
    let seconds = run.events().last().unwrap()["seconds"].as_f64().unwrap();
    assert!(seconds < 5.0, "{seconds} s to look at four headers");
}

#[test]
fn heic_that_fits_is_converted_and_not_copied() {
    let sandbox = Sandbox::new();
    quarters(&sandbox, "phone.png", "60x40", &[]);
    tool(&sandbox, "heif-enc", &["-q", "95", "phone.png", "-o", "phone.heic"]);
    let run = photos(&sandbox, &["phone.heic", "--to", "out", "--json"]).expect(0);
    assert!(run.stderr.contains("60x40 at quality 100"), "{}", run.stderr);
    assert_eq!(run.events().last().unwrap()["copied"], 0);
}

#[test]
fn half_a_picture_of_a_converter_that_was_killed_is_not_taken() {
    let mut sandbox = Sandbox::new();
    quarters(&sandbox, "phone.png", "600x400", &[]);
    tool(&sandbox, "heif-enc", &["-q", "95", "phone.png", "-o", "phone.heic"]);
    tool(&sandbox, "convert", &["phone.png", "whole.jpg"]);
    let path = std::env::var("PATH").unwrap();
    let dies = format!(
        "#!/bin/sh\nfor last; do :; done\nhead -c 3000 {} >\"$last\"\nkill -KILL $$\n",
        sandbox.path("whole.jpg").display()
    );
    for name in ["heif-dec", "heif-convert"] {
        let fake = sandbox.write(&format!("fake/{name}"), &dies);
        fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
    }
    sandbox.set("PATH", format!("{}:{path}", sandbox.path("fake").display()));
    let run = photos(&sandbox, &["phone.heic", "--to", "out"]).expect(1);
    assert!(run.stderr.contains("was killed by signal 9"), "{}", run.stderr);
    assert!(!sandbox.path("out/phone.jpg").exists());
    sandbox.set("PATH", path);
    photos(&sandbox, &["phone.heic", "--to", "out"]).expect(0);
    assert!(sandbox.path("out/phone.jpg").exists());
}

#[test]
fn heic_without_a_converter_says_what_to_install() {
    let mut sandbox = Sandbox::new();
    sandbox.write("a.heic", b"\0\0\0\x18ftypheic\0\0\0\0heicmif1");
    sandbox.set("PATH", "");
    let run = photos(&sandbox, &["a.heic", "--to", "out"]).expect(1);
    assert!(run.stderr.contains("heif-convert") && run.stderr.contains("apt-get install"), "{}", run.stderr);
}

#[test]
fn nothing_is_overwritten_and_nothing_is_done_twice() {
    let sandbox = Sandbox::new();
    for (name, size) in [("a/x.jpg", "300x200"), ("b/x.jpg", "310x200"), ("b/X.JPG", "320x200"), ("a/x.png", "330x200")]
    {
        quarters(&sandbox, name, size, &[]);
    }
    sandbox.write("out/x.jpg", "somebody's own");
    let inputs = ["a/x.jpg", "b/x.jpg", "b/X.JPG", "a/x.png", "--to", "out", "--max-size", "50kB"];
    photos(&sandbox, &inputs).expect(0);
    let out = digests(&sandbox.path("out"));
    assert_eq!(out.len(), 5, "{out:?}");
    assert_eq!(fs::read_to_string(sandbox.path("out/x.jpg")).unwrap(), "somebody's own");
    let run = photos(&sandbox, &inputs).expect(0);
    assert!(run.stderr.contains("0 pictures done, 4 already done"), "{}", run.stderr);
    assert_eq!(digests(&sandbox.path("out")), out);
    // Another version of one source, and one result that went missing, are made again in their places.
    quarters(&sandbox, "a/x.jpg", "200x300", &[]);
    let gone = out.keys().find(|path| path.extension().is_some_and(|ending| ending == "JPG"));
    fs::remove_file(gone.unwrap()).unwrap();
    let run = photos(&sandbox, &inputs).expect(0);
    assert!(run.stderr.contains("2 pictures done, 2 already done"), "{}", run.stderr);
    assert_eq!(names(&sandbox.path("out")).len(), 5);
    // Other wishes make other pictures, under the same names.
    let smaller = [&inputs[..], &["--max-edge", "50"]].concat();
    photos(&sandbox, &smaller).expect(0);
    assert_eq!(names(&sandbox.path("out")).len(), 5);
    let made = |path: &&PathBuf| path.file_name().unwrap() != "x.jpg";
    for path in digests(&sandbox.path("out")).keys().filter(made) {
        let facts = exif(&sandbox, path);
        let edge = facts["File:ImageHeight"].as_u64().max(facts["File:ImageWidth"].as_u64());
        assert_eq!(edge, Some(50), "{}", path.display());
    }
}

#[test]
fn a_destination_is_no_source_and_nothing_found_is_said() {
    let sandbox = Sandbox::new();
    quarters(&sandbox, "s/a.jpg", "60x40", &[]);
    quarters(&sandbox, "s/below/b.jpg", "60x40", &[]);
    for input in ["s", "s/a.jpg", "s/below", "./s/../s/below/b.jpg"] {
        let run = photos(&sandbox, &[input, "--to", "s"]).expect(2);
        assert!(run.stderr.contains("lies in the destination `s`") && run.stderr.contains("--to"), "{}", run.stderr);
    }
    sandbox.write("empty/notes.txt", "");
    let run = photos(&sandbox, &["empty", "--to", "out"]).expect(0);
    assert!(run.stderr.contains("note  no pictures found, 1 other file left alone"), "{}", run.stderr);
    // What lies in a destination within the source is an earlier run's.
    let run = photos(&sandbox, &["s", "--to", "s/below"]).expect(0);
    assert!(run.stderr.contains("1 picture done"), "{}", run.stderr);
    let run = photos(&sandbox, &["s", "--to", "s/below"]).expect(0);
    assert!(run.stderr.contains("0 pictures done, 1 already done"), "{}", run.stderr);
}

#[test]
fn names_in_an_old_alphabet_are_pictures_like_all_others() {
    let sandbox = Sandbox::new();
    let picture = quarters(&sandbox, "in/a.jpg", "60x40", &[]);
    for name in [&b"in/caf\xe8.jpg"[..], b"in/caf\xe9.jpg", b"in/caf%E9.jpg"] {
        fs::copy(&picture, sandbox.path("").join(OsStr::from_bytes(name))).unwrap();
    }
    let run = photos(&sandbox, &["in", "--to", "out"]).expect(0);
    assert!(run.stderr.contains("4 pictures done"), "{}", run.stderr);
    assert_eq!(names(&sandbox.path("out")), ["a.jpg", "caf%E8.jpg", "caf%E9-2.jpg", "caf%E9.jpg"]);
    // The same ones, named one by one.
    let one = [OsStr::new("photos"), OsStr::from_bytes(b"in/caf\xe8.jpg"), "--to".as_ref(), "out".as_ref()];
    let run = sandbox.forebay(one).expect(0);
    assert!(run.stderr.contains("0 pictures done, 1 already done"), "{}", run.stderr);
}

#[test]
fn links_that_lead_nowhere_matter_if_they_would_be_pictures() {
    let sandbox = Sandbox::new();
    quarters(&sandbox, "in/a.jpg", "60x40", &[]);
    std::os::unix::fs::symlink("nowhere", sandbox.path("in/notes.txt")).unwrap();
    let run = photos(&sandbox, &["in", "--to", "out"]).expect(0);
    assert!(run.stderr.contains("1 other file left alone"), "{}", run.stderr);
    std::os::unix::fs::symlink("nowhere", sandbox.path("in/b.jpg")).unwrap();
    let run = photos(&sandbox, &["in", "--to", "out"]).expect(1);
    assert!(run.stderr.contains("fail  b.jpg: is a link that leads nowhere"), "{}", run.stderr);
}

#[test]
fn a_result_that_went_missing_is_noticed_only_by_looking() {
    let mut sandbox = Sandbox::new();
    quarters(&sandbox, "in/a.jpg", "100x100", &[]);
    photos(&sandbox, &["in", "--to", "out"]).expect(0);
    fs::remove_file(sandbox.path("out/a.jpg")).unwrap();
    sandbox.set("FOREBAY_FAULT_MUTANT", "trust-album");
    photos(&sandbox, &["in", "--to", "out"]).expect(0);
    assert!(!sandbox.path("out/a.jpg").exists(), "the mutant believes the album");
    sandbox.unset("FOREBAY_FAULT_MUTANT");
    photos(&sandbox, &["in", "--to", "out"]).expect(0);
    assert!(sandbox.path("out/a.jpg").exists());
}

#[test]
fn a_killed_run_goes_on_and_makes_no_second_picture() {
    for step in ["photo-named:2", "half-written/b.jpg", "renamed/b.jpg", "photo-written:2"] {
        let sandbox = Sandbox::new();
        for name in ["in/a.jpg", "in/b.jpg", "in/c.jpg"] {
            quarters(&sandbox, name, "300x200", &[]);
        }
        let before = digests(&sandbox.path("in"));
        let arguments = ["photos", "in", "--to", "out", "--max-size", "50kB", "--threads", "1"];
        let run = sandbox.start_with(arguments, &[("FOREBAY_FAULT_KILL", step)]).wait();
        assert_eq!(run.signal, Some(9), "{step}");
        for (path, _) in digests(&sandbox.path("out")) {
            let name = path.to_string_lossy().into_owned();
            assert!(
                name.contains(".forebay-tmp") || fs::read(&path).unwrap().ends_with(&[0xff, 0xd9]),
                "{step}: {name}"
            );
        }
        sandbox.forebay(arguments).expect(0);
        let left: Vec<_> = names(&sandbox.path("out")).into_iter().filter(|name| !name.starts_with('.')).collect();
        assert_eq!(left, ["a.jpg", "b.jpg", "c.jpg"], "{step}");
        assert_eq!(digests(&sandbox.path("in")), before);
    }
}
