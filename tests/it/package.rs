//! What is in a package, judged without any code of the program: openssl
//! decrypts it, ffmpeg decodes it, and every picture is the source's.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::inputs::{IMPATIENT, published};
use crate::support::sandbox::Sandbox;
use crate::support::{media, oracle, watch};

/// Seven segments of two seconds, each a chunk of its own, and a short one.
const SECONDS: u32 = 15;

const FRAMES: usize = 375;

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::with_system_tools();
    sandbox.config(&IMPATIENT.replace("[hls]\n", "[hls]\nsegment = \"2s\"\n"));
    sandbox
}

/// Makes a package of `source` with `options` and gives its master playlist.
fn package(sandbox: &Sandbox, source: &Path, name: &str, options: &[&str]) -> PathBuf {
    let arguments = ["hls", source.to_str().unwrap(), "--to", name, "--state", &format!("state-{name}")];
    sandbox.forebay(arguments.into_iter().chain(options.iter().copied())).expect(0);
    let dest = sandbox.path(name);
    let [id] = &published(&dest)[..] else { panic!("{:?}", published(&dest)) };
    watch::master(&dest, id)
}

/// One segment as its playlist describes it.
struct Segment {
    path: PathBuf,
    /// Key and IV in hex, if it is encrypted.
    key: Option<(String, String)>,
}

fn segments(playlist: &Path, keys: &Path) -> Vec<Segment> {
    let mut key = None;
    let mut found = Vec::new();
    for line in fs::read_to_string(playlist).unwrap().lines() {
        if let Some(attributes) = line.strip_prefix("#EXT-X-KEY:METHOD=AES-128,") {
            let name = attributes.split_once("URI=\"/keys/").unwrap().1.split('"').next().unwrap();
            let iv = attributes.split_once("IV=0x").unwrap().1.split(',').next().unwrap();
            let bytes = fs::read(keys.join(name)).unwrap();
            assert_eq!((bytes.len(), iv.len()), (16, 32));
            key = Some((hex::encode(bytes), iv.to_owned()));
        } else if !line.is_empty() && !line.starts_with('#') {
            found.push(Segment { path: playlist.parent().unwrap().join(line), key: key.clone() });
        }
    }
    found
}

/// The bytes of a segment in the clear, by openssl.
fn clear(segment: &Segment) -> Vec<u8> {
    let Some((key, iv)) = &segment.key else { return fs::read(&segment.path).unwrap() };
    let output = Command::new("openssl")
        .args(["enc", "-d", "-aes-128-cbc", "-K", key, "-iv", iv, "-in"])
        .arg(&segment.path)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", segment.path.display());
    output.stdout
}

/// Fails unless every continuity counter runs on over all of the bytes.
fn check_counters(name: &str, stream: &[u8]) {
    assert_eq!(stream.len() % 188, 0);
    let mut last: BTreeMap<u16, u8> = BTreeMap::new();
    for (number, packet) in stream.chunks_exact(188).enumerate() {
        assert_eq!(packet[0], 0x47);
        let pid = u16::from(packet[1] & 0x1f) << 8 | u16::from(packet[2]);
        let has_payload = packet[3] & 0x10 != 0;
        let counter = packet[3] & 0x0f;
        if let Some(before) = last.insert(pid, counter) {
            let expected = if has_payload { (before + 1) & 0x0f } else { before };
            assert_eq!(counter, expected, "{name}: packet {number}, pid {pid}");
        }
    }
    assert!(last.len() >= 3, "{last:?}");
}

/// How like the source each picture is, from 0 to 1.
fn likeness(playlist: &Path, source: &Path, size: (u32, u32)) -> Vec<f64> {
    let scaled = format!("scale={}:{}:flags=bicubic", size.0, size.1);
    let graph = format!("[0:v]settb=1/25,setpts=N[a];[1:v]settb=1/25,setpts=N,{scaled}[b];[a][b]ssim=stats_file=-");
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(playlist)
        .arg("-i")
        .arg(source)
        .args(["-filter_complex", &graph, "-f", "null", "/dev/null"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let all = |line: &str| line.split_once("All:").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    text.lines().filter_map(all).collect()
}

/// Fails unless the package shows the source, picture by picture, with its sound.
fn check_pictures(sandbox: &Sandbox, master: &Path, source: &Path, size: (u32, u32)) {
    oracle::judge(master).unwrap();
    let verified = sandbox.forebay(["verify".as_ref(), master.as_os_str(), "--source".as_ref(), source.as_os_str()]);
    verified.expect(0);
    let playlists = watch::playlists(master);
    let (audio, video): (Vec<_>, Vec<_>) = playlists.iter().partition(|(name, _)| name.starts_with("audio-"));
    let picture = watch::picture(&video[0].1);
    assert_eq!((picture.size, picture.rate.as_str(), picture.frames), (size, "25/1", FRAMES));
    assert!((picture.start - watch::audio_start(&audio[0].1)).abs() < 0.001);
    let likeness = likeness(&video[0].1, source, size);
    let worst = likeness.iter().copied().fold(1.0, f64::min);
    println!("{}: the least like picture has {worst}", master.display());
    assert_eq!(likeness.len(), FRAMES);
    assert!(worst > 0.9, "{likeness:?}");
}

/// Fails unless all segments of every playlist are one stream that decodes without complaint.
fn check_streams(sandbox: &Sandbox, master: &Path) -> BTreeMap<String, Vec<Vec<u8>>> {
    let mut all = BTreeMap::new();
    for (name, playlist) in watch::playlists(master) {
        let parts: Vec<Vec<u8>> = segments(&playlist, &sandbox.path("keys")).iter().map(clear).collect();
        let stream = parts.concat();
        check_counters(&name, &stream);
        let joined = sandbox.write(&format!("joined-{name}.ts"), &stream);
        assert_eq!(watch::complaints(&joined), "", "{name}");
        all.insert(name, parts);
    }
    all
}

#[test]
fn encryption_changes_nothing_but_who_can_read() {
    let sandbox = sandbox();
    let source = media::clip_of(SECONDS, "320x180");
    let size = (320, 180);
    let plain = package(&sandbox, &source, "plain", &[]);
    check_pictures(&sandbox, &plain, &source, size);
    let wanted = check_streams(&sandbox, &plain);
    let encrypt = ["--encrypt", "aes-128", "--keys", "keys", "--key-uri", "/keys/{id}/{key}.key"];
    for (name, more, keys) in [("sealed", &[][..], 1), ("rotated", &["--rotate", "2"][..], 4)] {
        let options: Vec<&str> = encrypt.into_iter().chain(more.iter().copied()).collect();
        let master = package(&sandbox, &source, name, &options);
        oracle::judge(&master).unwrap();
        assert_eq!(check_streams(&sandbox, &master), wanted, "{name}");
        for (_, playlist) in watch::playlists(&master) {
            let segments = segments(&playlist, &sandbox.path("keys"));
            let mut seen: Vec<_> = segments.iter().map(|segment| segment.key.clone().unwrap()).collect();
            let ivs: std::collections::BTreeSet<_> = seen.iter().map(|(_, iv)| iv.clone()).collect();
            assert_eq!(ivs.len(), 8, "an IV is used twice");
            seen.dedup_by(|a, b| a.0 == b.0);
            assert_eq!(seen.len(), keys, "{name}");
        }
        let keys = sandbox.path("keys");
        let verify = ["verify".as_ref(), master.as_os_str(), "--keys".as_ref(), keys.as_os_str()];
        let verified = sandbox.forebay(verify).expect(0);
        assert!(!verified.stdout.contains("not at hand"), "{}", verified.stdout);
        // No key, as bytes or in hex, lies where the videos are.
        for key in oracle::files(&keys) {
            let key = fs::read(keys.join(key)).unwrap();
            for file in oracle::files(&sandbox.path(name)) {
                let bytes = fs::read(sandbox.path(name).join(&file)).unwrap();
                assert!(!bytes.windows(key.len()).any(|part| part == key), "{file} holds a key");
            }
        }
    }
}

#[test]
fn two_passes_make_the_same_pictures() {
    let sandbox = sandbox();
    let source = media::clip_of(SECONDS, "320x180");
    let master = package(&sandbox, &source, "twice", &["--two-pass"]);
    check_pictures(&sandbox, &master, &source, (320, 180));
    check_streams(&sandbox, &master);
}

#[test]
fn portrait_keeps_its_shape_in_every_rendition() {
    let sandbox = sandbox();
    let source = media::clip_of(SECONDS, "360x640");
    let master = package(&sandbox, &source, "tall", &["--ladder", "240p,360p"]);
    let sizes: Vec<_> = watch::playlists(&master).iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(sizes, ["240p", "360p", "audio-und"]);
    let small = watch::picture(&watch::playlists(&master)[0].1);
    assert_eq!((small.size, small.frames), ((240, 426), FRAMES));
    let playlists = watch::playlists(&master);
    let worst = likeness(&playlists[1].1, &source, (360, 640)).into_iter().fold(1.0, f64::min);
    assert!(worst > 0.9, "{worst}");
    sandbox.forebay(["verify".as_ref(), master.as_os_str()]).expect(0);
    check_streams(&sandbox, &master);
}
