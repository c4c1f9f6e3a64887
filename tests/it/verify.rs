//! `verify` finds nothing in a good package, and exactly what was broken in a broken one.
#![expect(
    clippy::disallowed_methods,
    reason = "the tests make packages and break them, without the program's own care"
)]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use forebay::format::aes128;
use forebay::format::playlist;
use forebay::job::verify::render::render;
use forebay::job::verify::{Decode, Location, Report, VerifyOptions, verify};
use forebay::model::failure::Failure;
use sha2::{Digest as _, Sha256};

const KEY: [u8; 16] = [0xa1, 7, 0x33, 0x9c, 0x5e, 1, 0, 0xfe, 0x80, 0x44, 0x12, 0xd0, 0x6b, 0xee, 0x29, 0x57];
const NAMES: [&str; 3] = ["360p", "180p", "audio-und"];
const MASTER: &str = "master.m3u8";

/// Segments and lengths as ffmpeg made them, by rendition.
type Plain = BTreeMap<&'static str, Vec<(f64, Vec<u8>)>>;

/// Twelve seconds in three segments, made once.
fn plain() -> &'static Plain {
    static PLAIN: OnceLock<Plain> = OnceLock::new();
    PLAIN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        encode(folder.path());
        NAMES.into_iter().map(|name| (name, read_segments(&folder.path().join(name)))).collect()
    })
}

fn source() -> Vec<&'static str> {
    vec!["-f", "lavfi", "-i", "testsrc2=s=640x360:r=25:d=12", "-f", "lavfi", "-i", "sine=r=48000:d=12"]
}

fn encode(folder: &Path) {
    let mut command = Command::new("ffmpeg");
    command
        .args(["-v", "error", "-y"])
        .args(source())
        .args(["-filter_complex", "[0:v]split[a][b];[b]scale=320:180[c]"]);
    for (name, map) in NAMES.into_iter().zip(["[a]", "[c]", "1:a"]) {
        fs::create_dir(folder.join(name)).unwrap();
        command.args(["-map", map, "-output_ts_offset", "1", "-f", "hls", "-hls_time", "4"]);
        command.args(["-hls_playlist_type", "vod", "-hls_segment_filename"]).arg(folder.join(name).join("%05d.ts"));
        if map == "1:a" {
            command.args(["-c:a", "aac", "-b:a", "96k", "-ac", "2"]);
        } else {
            command.args([
                "-c:v",
                "libx264",
                "-preset",
                "veryfast",
                "-pix_fmt",
                "yuv420p",
                "-g",
                "50",
                "-sc_threshold",
                "0",
            ]);
            command.args([
                "-b:v",
                "250k",
                "-maxrate",
                "300k",
                "-bufsize",
                "300k",
                "-level",
                "3.0",
                "-color_range",
                "tv",
            ]);
            command.args(["-color_primaries", "bt709", "-color_trc", "bt709", "-colorspace", "bt709"]);
        }
        command.arg(folder.join(name).join("index.m3u8"));
    }
    assert!(command.status().expect("ffmpeg is installed").success());
}

fn read_segments(folder: &Path) -> Vec<(f64, Vec<u8>)> {
    let playlist = playlist::read(&fs::read(folder.join("index.m3u8")).unwrap());
    let playlist::Kind::Media(media) = playlist.kind else { panic!("not a media playlist") };
    let read = |segment: &playlist::media::Segment| (segment.seconds, fs::read(folder.join(&segment.uri)).unwrap());
    media.segments.iter().map(read).collect()
}

/// A package in a folder of its own, with its keys beside it.
struct Package {
    folder: tempfile::TempDir,
}

fn vector(name: &str, index: usize) -> [u8; 16] {
    let mut iv = [0; 16];
    iv[..8].copy_from_slice(&Sha256::digest(format!("{name}{index}"))[..8]);
    iv
}

impl Package {
    /// As Forebay publishes it.
    fn good() -> Self {
        let package = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir_all(package.keys()).unwrap();
        fs::write(package.keys().join("v1.key"), KEY).unwrap();
        for (name, segments) in plain() {
            fs::create_dir_all(package.path(&format!("g1/{name}"))).unwrap();
            let mut text =
                String::from("#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:4\n#EXT-X-PLAYLIST-TYPE:VOD\n");
            for (index, (seconds, bytes)) in segments.iter().enumerate() {
                let iv = vector(name, index);
                fs::write(package.path(&format!("g1/{name}/{index:05}.ts")), aes128::encrypt(&KEY, &iv, bytes.clone()))
                    .unwrap();
                let iv = hex::encode(iv);
                writeln!(text, "#EXT-X-KEY:METHOD=AES-128,URI=\"https://keys.example/v1\",IV=0x{iv}").unwrap();
                writeln!(text, "#EXTINF:{seconds:.6},\n{index:05}.ts").unwrap();
            }
            fs::write(package.path(&format!("g1/{name}/index.m3u8")), text + "#EXT-X-ENDLIST\n").unwrap();
        }
        package.write_master();
        package.list();
        package
    }

    fn write_master(&self) {
        let rates = |name: &str| {
            let sizes = plain()[name].iter().enumerate().map(|(index, (seconds, _))| {
                let file = self.path(&format!("g1/{name}/{index:05}.ts"));
                (f64::from(u32::try_from(fs::metadata(file).unwrap().len()).unwrap()) * 8.0, *seconds)
            });
            let sizes: Vec<_> = sizes.collect();
            // The sound has a last segment of one frame, which is measured together with the one before.
            let long = sizes.iter().filter(|(_, seconds)| *seconds >= 2.0);
            let peak = long.map(|(bits, seconds)| bits / seconds * 1.005).fold(0.0, f64::max);
            let all = sizes.iter().fold((0.0, 0.0), |all, size| (all.0 + size.0, all.1 + size.1));
            (peak, all.0 / all.1)
        };
        let sound = rates("audio-und");
        let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-INDEPENDENT-SEGMENTS\n");
        text += "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"aud\",NAME=\"und\",LANGUAGE=\"und\",DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"2\",URI=\"g1/audio-und/index.m3u8\"\n";
        for (name, size, codec) in [("360p", "640x360", "avc1.64001e"), ("180p", "320x180", "avc1.64001e")] {
            let (peak, average) = rates(name);
            let (peak, average) = ((peak + sound.0).ceil(), (average + sound.1).ceil());
            writeln!(text, "#EXT-X-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={average},CODECS=\"{codec},mp4a.40.2\",RESOLUTION={size},FRAME-RATE=25.000,AUDIO=\"aud\"\ng1/{name}/index.m3u8").unwrap();
        }
        fs::write(self.path(MASTER), text).unwrap();
    }

    /// Writes the manifest for what is there now.
    fn list(&self) {
        let mut objects = Vec::new();
        for name in NAMES {
            let mut files: Vec<_> = fs::read_dir(self.path(&format!("g1/{name}"))).unwrap().flatten().collect();
            files.sort_by_key(std::fs::DirEntry::path);
            for file in files.iter().filter(|file| file.file_type().unwrap().is_file()) {
                let bytes = fs::read(file.path()).unwrap();
                let object = format!("{name}/{}", file.file_name().to_str().unwrap());
                let sha256 = hex::encode(Sha256::digest(&bytes));
                objects.push(serde_json::json!({"name": object, "bytes": bytes.len(), "sha256": sha256}));
            }
        }
        let manifest = serde_json::json!({"version": 1, "id": "v", "generation": "g1", "objects": objects});
        fs::write(self.path("g1/manifest.json"), manifest.to_string()).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("v").join(name)
    }

    fn keys(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    /// Replaces a text that must be there.
    fn edit(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(from), "{from:?} is not in {name}");
        fs::write(self.path(name), text.replacen(from, to, 1)).unwrap();
    }

    /// Changes the bytes as stored.
    fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.path(name)).unwrap();
        change(&mut bytes);
        fs::write(self.path(name), bytes).unwrap();
    }

    /// Changes the media within the encryption.
    fn change_media(&self, name: &str, index: usize, change: impl FnOnce(&mut Vec<u8>)) {
        let iv = vector(name, index);
        self.change(&format!("g1/{name}/{index:05}.ts"), |bytes| {
            let mut plain = aes128::decrypt(&KEY, &iv, std::mem::take(bytes)).unwrap();
            change(&mut plain);
            *bytes = aes128::encrypt(&KEY, &iv, plain);
        });
    }

    fn options(&self) -> VerifyOptions {
        VerifyOptions {
            keys: Some(self.keys()),
            source: None,
            key: None,
            decode: Decode::Nothing,
            apple: true,
            at_once: 4,
            ffprobe: "ffprobe".into(),
            ffmpeg: "ffmpeg".into(),
            cancel: tokio_util::sync::CancellationToken::new(),
        }
    }

    fn verify(&self) -> Report {
        run(Location::Path(self.path(MASTER)), self.options()).unwrap()
    }
}

fn run(location: Location, options: VerifyOptions) -> Result<Report, Failure> {
    tokio::runtime::Runtime::new().unwrap().block_on(verify(location, options))
}

/// The rules with violations, each once.
fn rules(report: &Report) -> Vec<&'static str> {
    let mut rules: Vec<_> = report.violations.iter().map(|finding| finding.rule).collect();
    rules.sort_unstable();
    rules.dedup();
    rules
}

/// Breaks a good package, lists it anew, and expects violations of exactly these rules.
#[track_caller]
fn check(expected: &[&str], mutate: impl FnOnce(&Package)) {
    let package = Package::good();
    mutate(&package);
    package.list();
    let report = package.verify();
    assert_eq!(rules(&report), expected, "\n{}", render(&report));
}

/// The same without listing it anew.
#[track_caller]
fn check_unlisted(expected: &[&str], mutate: impl FnOnce(&Package)) {
    let package = Package::good();
    mutate(&package);
    let report = package.verify();
    assert_eq!(rules(&report), expected, "\n{}", render(&report));
}

#[test]
fn a_good_package_has_no_violation() {
    let package = Package::good();
    let source = package.folder.path().join("source.mkv");
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error"]).args(source_arguments()).arg(&source);
    assert!(command.status().unwrap().success());
    let options = VerifyOptions { decode: Decode::Sample, source: Some(source), ..package.options() };
    let report = run(Location::Path(package.path(MASTER)), options).unwrap();
    assert_eq!(rules(&report), [""; 0], "\n{}", render(&report));
    // ffmpeg begins segments with another table, which is allowed.
    assert!(report.warnings.iter().all(|finding| finding.rule == "R21"), "\n{}", render(&report));
    assert_eq!((report.segments, report.seconds.round()), (10, 12.0));
}

fn source_arguments() -> Vec<&'static str> {
    let mut arguments = source();
    arguments.extend(["-c:v", "ffv1", "-c:a", "flac"]);
    arguments
}

#[test]
fn objects_that_are_lost_or_changed_are_found() {
    check_unlisted(&["R04", "R55"], |package| fs::remove_file(package.path("g1/360p/00001.ts")).unwrap());
    check_unlisted(&["R55"], |package| package.edit("g1/360p/index.m3u8", "#EXTINF:4.000000,", "#EXTINF:4.000001,"));
    check(&["R04"], |package| fs::write(package.path("g1/00009.ts.tmp"), "x").unwrap());
    check(&["R04"], |package| fs::write(package.path("master.m3u8.tmp"), "x").unwrap());
    check_unlisted(&["R04"], |package| fs::write(package.path("g1/360p/00003.ts"), "x").unwrap());
}

#[test]
fn encryption_that_does_not_fit_is_found() {
    let segment = "g1/360p/00001.ts";
    // A flipped bit spoils one block, and here that is a sync byte.
    check(&["R21", "R26"], |package| package.change(segment, |bytes| bytes[188 * 20] ^= 1));
    check(&["R45"], |package| package.change(segment, |bytes| *bytes.last_mut().unwrap() ^= 1));
    check(&["R45"], |package| package.change(segment, |bytes| bytes.truncate(bytes.len() - 7)));
    check(&["R45"], |package| {
        let iv = hex::encode(vector("360p", 1));
        package.edit("g1/360p/index.m3u8", &iv, &hex::encode(vector("360p", 2)));
    });
    check(&["R49"], |package| package.change(segment, |bytes| *bytes = plain()["360p"][1].1.clone()));
    check(&["R45"], |package| fs::write(package.keys().join("v1.key"), [1; 16]).unwrap());
    check(&["R45"], |package| fs::write(package.keys().join("v1.key"), [1; 17]).unwrap());
    check(&["R46", "R48"], |package| {
        let iv = vector("360p", 0);
        package.change("g1/360p/00000.ts", |bytes| {
            let plain = aes128::decrypt(&KEY, &iv, std::mem::take(bytes)).unwrap();
            *bytes = aes128::encrypt(&KEY, &KEY, plain);
        });
        package.edit("g1/360p/index.m3u8", &hex::encode(iv), &hex::encode(KEY));
    });
    check(&["R50"], |package| {
        let text = fs::read_to_string(package.path("g1/180p/index.m3u8")).unwrap();
        fs::write(package.path("g1/180p/index.m3u8"), text.replace("https:", "http:")).unwrap();
    });
}

#[test]
fn keys_in_the_package_are_found() {
    check(&["R46"], |package| fs::write(package.path("g1/360p/k"), KEY).unwrap());
    check(&["R46"], |package| fs::write(package.path("keyinfo.key"), "x").unwrap());
    check(&["R46"], |package| {
        fs::create_dir(package.path("old")).unwrap();
        fs::write(package.path("old/notes.txt"), format!("key={}", hex::encode_upper(KEY))).unwrap();
    });
}

#[test]
fn playlists_that_promise_something_else_are_found() {
    let media = "g1/360p/index.m3u8";
    check(&["R05"], |package| package.edit(media, "#EXT-X-ENDLIST\n", ""));
    check(&["R06"], |package| package.edit(media, "#EXT-X-PLAYLIST-TYPE:VOD\n", ""));
    check(&["R10"], |package| package.edit(media, "#EXTINF:4.000000,", "#EXTINF:3.900000,"));
    check(&["R07", "R10"], |package| package.edit(media, "#EXTINF:4.000000,", "#EXTINF:4.600000,"));
    check(&["R08"], |package| package.edit(media, "DURATION:4", "DURATION:5"));
    check(&["R09"], |package| package.edit(MASTER, "#EXT-X-INDEPENDENT-SEGMENTS\n", ""));
    check(&["R12"], |package| package.edit(MASTER, "INF:BANDWIDTH=", "INF:BANDWIDTH=1"));
    check(&["R13"], |package| package.edit(MASTER, "AVERAGE-BANDWIDTH=", "X="));
    check(&["R15"], |package| package.edit(MASTER, "avc1.64001e", "avc1.640028"));
    check(&["R15"], |package| package.edit(MASTER, "avc1.64001e,mp4a.40.2", "avc1.64001e"));
    check(&["R15"], |package| package.edit(MASTER, "avc1.64001e", "avc1.64001e,mp4a.40.34"));
    check(&["R16"], |package| package.edit(MASTER, "640x360", "640x352"));
    check(&["R17"], |package| package.edit(MASTER, "25.000", "23.976"));
    check(&["R12", "R13", "R15", "R18"], |package| package.edit(MASTER, "AUDIO=\"aud\"", "AUDIO=\"sound\""));
    check(&["R18"], |package| package.edit(MASTER, "CHANNELS=\"2\"", "CHANNELS=\"6\""));
    check(&["R01"], |package| package.edit(MASTER, "#EXTM3U", "\u{feff}#EXTM3U"));
}

#[test]
fn damage_in_the_media_is_found() {
    check(&["R21", "R26"], |package| package.change_media("360p", 1, |bytes| bytes.truncate(bytes.len() - 100)));
    check(&["R26"], |package| {
        package.change_media("360p", 1, |bytes| drop(bytes.drain(188 * 50..188 * 51)));
    });
    // The last third is gone, at a packet's edge.
    check(&["R26"], |package| {
        package.change_media("360p", 1, |bytes| bytes.truncate(bytes.len() / 188 * 2 / 3 * 188));
    });
    check(&["R21"], |package| package.change_media("360p", 1, |bytes| bytes[188 + 12] ^= 0xff));
    check(&["R07", "R10", "R24", "R26", "R41"], |package| {
        // Two segments in the wrong order.
        let swap = |from: usize, to: usize| {
            let bytes = plain()["360p"][from].1.clone();
            package.change_media("360p", to, |now| *now = bytes);
        };
        swap(1, 2);
        swap(2, 1);
    });
}

#[test]
fn renditions_that_do_not_fit_together_are_found() {
    // One segment less than the others, in the list and in length.
    check(&["R24"], |package| {
        let media = "g1/180p/index.m3u8";
        let text = fs::read_to_string(package.path(media)).unwrap();
        let end = text.match_indices("#EXT-X-KEY").last().unwrap().0;
        fs::write(package.path(media), format!("{}#EXT-X-ENDLIST\n", text.split_at(end).0)).unwrap();
        fs::remove_file(package.path("g1/180p/00002.ts")).unwrap();
    });
    check(&["R41"], |package| {
        let media = "g1/audio-und/index.m3u8";
        let text = fs::read_to_string(package.path(media)).unwrap();
        let end = text.match_indices("#EXT-X-KEY").nth(2).unwrap().0;
        fs::write(package.path(media), format!("{}#EXT-X-ENDLIST\n", text.split_at(end).0)).unwrap();
        for index in 2..plain()["audio-und"].len() {
            fs::remove_file(package.path(&format!("g1/audio-und/{index:05}.ts"))).unwrap();
        }
    });
}

#[test]
fn a_source_of_another_length_or_size_is_found() {
    let package = Package::good();
    let source = package.folder.path().join("source.mkv");
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=s=480x270:r=25:d=13"]).arg(&source);
    assert!(command.status().unwrap().success());
    let options = VerifyOptions { source: Some(source), ..package.options() };
    let report = run(Location::Path(package.path(MASTER)), options).unwrap();
    assert_eq!(rules(&report), ["R35", "R42"], "\n{}", render(&report));
}

#[test]
fn damage_that_only_a_decoder_sees_is_found() {
    let package = Package::good();
    package.change_media("360p", 1, |bytes| {
        // The payload of packets in the middle, their headers left alone.
        for packet in 60..90 {
            bytes[packet * 188 + 20..packet * 188 + 188].fill(0x5a);
        }
    });
    package.list();
    let options = VerifyOptions { decode: Decode::Sample, ..package.options() };
    let report = run(Location::Path(package.path(MASTER)), options).unwrap();
    assert!(rules(&report).contains(&"R29"), "\n{}", render(&report));
}

#[test]
fn hostile_playlists_open_nothing_outside() {
    let media = "g1/360p/index.m3u8";
    for uri in
        ["../../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "%2e%2e/%2e%2e/x.ts", "https://other.example/x.ts"]
    {
        check(&["R04"], |package| {
            package.edit(media, "00001.ts", uri);
            fs::remove_file(package.path("g1/360p/00001.ts")).unwrap();
        });
    }
    check(&["R04", "R55"], |package| {
        fs::remove_file(package.path("g1/360p/00001.ts")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", package.path("g1/360p/00001.ts")).unwrap();
    });
    // A pipe that nobody writes to must not be waited for.
    check(&["R04", "R55"], |package| {
        fs::remove_file(package.path("g1/360p/00001.ts")).unwrap();
        assert!(Command::new("mkfifo").arg(package.path("g1/360p/00001.ts")).status().unwrap().success());
    });
}

/// With rules that follow from a missing rendition left aside.
#[test]
fn hostile_playlists_end() {
    for playlist in ["#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nindex.m3u8\n", "", "#EXTM3U\n", "\0\0\0"] {
        let package = Package::good();
        fs::write(package.path("g1/360p/index.m3u8"), playlist).unwrap();
        package.list();
        assert!(!package.verify().violations.is_empty());
    }
    let package = Package::good();
    fs::write(package.path(MASTER), "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nmaster.m3u8\n").unwrap();
    assert!(rules(&package.verify()).contains(&"R11"));
    let huge = fs::File::create(package.path(MASTER)).unwrap();
    huge.set_len(17 << 20).unwrap();
    assert!(run(Location::Path(package.path(MASTER)), package.options()).is_err());
}

/// Serves the folder of a package on a port of its own, until the test ends.
fn serve(package: &Package) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let root = package.path("");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 2048];
            let length = stream.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let path = request.split(' ').nth(1).unwrap_or("/").trim_start_matches('/');
            let path = path.split('?').next().unwrap_or_default();
            let (status, body) = match fs::read(root.join(path)) {
                Ok(body) => ("200 OK", body),
                Err(_) if path.ends_with("away.ts") => ("302 Found\r\nLocation: http://127.0.0.2:9/x", Vec::new()),
                Err(_) => ("404 Not Found", Vec::new()),
            };
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            // A client that has gone is no concern of the server.
            let _gone = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    url
}

#[test]
fn a_package_behind_a_url_is_checked_alike() {
    let package = Package::good();
    let url = serve(&package);
    let report = run(Location::parse(&format!("{url}/master.m3u8?sig=1")), package.options()).unwrap();
    assert_eq!((rules(&report), report.segments), (vec![], 10), "\n{}", render(&report));
    package.edit("g1/180p/index.m3u8", "00001.ts", "../../../away.ts");
    package.edit("g1/180p/index.m3u8", "00002.ts", "away.ts");
    fs::remove_file(package.path("g1/360p/00001.ts")).unwrap();
    let report = run(Location::parse(&format!("{url}/master.m3u8")), package.options()).unwrap();
    assert_eq!(rules(&report), ["R04", "R55"], "\n{}", render(&report));
    for reason in ["leads to a folder above", "redirects to another server", "it is not there"] {
        assert!(render(&report).contains(reason), "{reason} is not in\n{}", render(&report));
    }
}

#[test]
fn a_master_that_cannot_be_had_is_a_failure() {
    let package = Package::good();
    let url = serve(&package);
    assert!(run(Location::parse(&format!("{url}/none.m3u8")), package.options()).is_err());
    assert!(run(Location::parse("http://127.0.0.1:9/master.m3u8"), package.options()).is_err());
    assert!(run(Location::Path(package.path("none.m3u8")), package.options()).is_err());
}

#[test]
fn a_folder_of_packages_is_told_to_be_one() {
    let folder = tempfile::tempdir().unwrap();
    let asked = |what: &str| {
        let failure = run(Location::Path(folder.path().into()), Package::good().options()).unwrap_err();
        assert!(failure.hint.as_ref().is_some_and(|hint| hint.contains(what)), "{failure:?}");
    };
    asked("master playlist");
    fs::create_dir(folder.path().join("talk")).unwrap();
    fs::write(folder.path().join("talk/master.m3u8"), "#EXTM3U\n").unwrap();
    asked("/talk`");
}
