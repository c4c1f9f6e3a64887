//! A source that is already what a rendition has to be is cut, not encoded.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::sandbox::{Run, Sandbox};
use crate::support::{media, oracle, watch};

const CONFIG: &str = r#"
[hls]
segment = "2s"
profile = "fast"
ladder = "tiny"
[ladders]
tiny = [
    { name = "180p", short-side = 180, crf = 30.0, max-bitrate = 400 },
    { name = "90p", short-side = 90, crf = 30.0, max-bitrate = 200 },
]
"#;

/// The sandbox turns copying off for all other tests.
const COPY: [(&str, &str); 1] = [("FOREBAY_HLS__COPY", "true")];

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::with_system_tools();
    sandbox.config(CONFIG);
    sandbox
}

/// Eleven seconds of 320x180 with a key frame every `group` pictures, and more of x264's settings.
fn source(group: u32, more: &str) -> PathBuf {
    let settings = format!("keyint={group}:min-keyint={group}:scenecut=0:{more}");
    let settings = format!("{settings}:colorprim=bt709:transfer=bt709:colormatrix=bt709");
    let inputs = "-f lavfi -i testsrc2=size=320x180:rate=25:duration=11 -f lavfi -i sine=sample_rate=48000:duration=11";
    let codecs = "-c:v libx264 -preset veryfast -b:v 300k -pix_fmt yuv420p -c:a aac -b:a 64k -movflags +faststart";
    let mut arguments: Vec<&str> = inputs.split(' ').chain(codecs.split(' ')).collect();
    arguments.extend(["-x264-params", &settings]);
    media::make("mp4", &arguments)
}

fn forebay<A: AsRef<OsStr>>(sandbox: &Sandbox, arguments: impl IntoIterator<Item = A>) -> Run {
    sandbox.start_with(arguments, &COPY).wait()
}

fn package(sandbox: &Sandbox, source: &Path, more: &[&str]) -> PathBuf {
    let arguments = ["hls", source.to_str().unwrap(), "--id", "clip", "--to", "dest", "--state", "state"];
    forebay(sandbox, arguments.iter().chain(more)).expect(0);
    watch::master(&sandbox.path("dest"), "clip")
}

fn playlist(master: &Path, rendition: &str) -> PathBuf {
    watch::playlists(master).into_iter().find(|(name, _)| name == rendition).unwrap().1
}

/// A digest of every decoded picture.
fn pictures(file: &Path) -> Vec<String> {
    let before = ["-v", "error", "-nostdin", "-i"].map(OsStr::new);
    let after = ["-map", "0:v:0", "-f", "framemd5", "-"].map(OsStr::new);
    let text = watch::tool("ffmpeg", before.into_iter().chain([file.as_os_str()]).chain(after));
    let digest = |line: &str| line.rsplit(',').next().unwrap().trim().to_owned();
    text.lines().filter(|line| !line.starts_with('#')).map(digest).collect()
}

/// The lengths of the segments in a playlist.
fn lengths(playlist: &Path) -> Vec<String> {
    let text = fs::read_to_string(playlist).unwrap();
    text.lines().filter_map(|line| line.strip_prefix("#EXTINF:")).map(str::to_owned).collect()
}

#[test]
fn a_rendition_that_the_source_is_has_its_very_pictures() {
    let sandbox = sandbox();
    // Its key frames are no divisor of two seconds: all renditions follow them.
    let source = source(35, "bframes=2");
    let master = package(&sandbox, &source, &["--encrypt", "aes-128", "--key-uri", "/keys/{key}", "--keys", "keys"]);
    let keys = sandbox.path("keys");
    let text = fs::read_to_string(playlist(&master, "180p")).unwrap();
    assert!(text.contains("#EXT-X-KEY:METHOD=AES-128") && keys.is_dir());
    sandbox.forebay(["verify".as_ref(), master.as_os_str()]).expect(0);

    let master = package(&sandbox, &source, &[]);
    oracle::judge(&master).unwrap();
    sandbox.forebay(["verify".as_ref(), master.as_os_str(), "--source".as_ref(), source.as_os_str()]).expect(0);
    let (copied, encoded) = (playlist(&master, "180p"), playlist(&master, "90p"));
    assert!(pictures(&copied) == pictures(&source), "the pictures are others");
    assert_eq!(pictures(&encoded).len(), 275);
    assert_eq!(lengths(&copied), lengths(&encoded), "a player may change between them at every segment");
    let seconds: Vec<f64> =
        lengths(&copied).iter().map(|length| length.trim_end_matches(',').parse().unwrap()).collect();
    assert!(seconds.iter().all(|seconds| *seconds <= 3.5), "{seconds:?}");
    assert!((watch::picture(&copied).start - watch::picture(&encoded).start).abs() < 0.001);

    let master = package(&sandbox, &source, &["--no-copy"]);
    assert!(pictures(&playlist(&master, "180p")) != pictures(&source), "nothing was encoded");
}

#[test]
fn plan_says_what_is_copied_and_why_the_rest_is_not() {
    let sandbox = sandbox();
    let plan = |source: &Path, more: &[&str]| {
        let arguments = [OsStr::new("plan"), source.as_os_str()];
        let run = forebay(&sandbox, arguments.into_iter().chain(more.iter().map(OsStr::new))).expect(0);
        run.stdout
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let good = source(35, "bframes=2");
    assert!(plan(&good, &[]).contains("copy 180p 320x180, the source's own packets"), "{}", plan(&good, &[]));
    assert!(plan(&good, &["--no-copy"]).contains("not copied 180p copying is turned off"));
    assert!(plan(&source(250, "bframes=2"), &[]).contains("not copied 180p its key frames are up to 10.0 s apart"));
    assert!(plan(&media::clip_of(8, "640x360"), &[]).contains("not copied 180p it is 640x360, not 320x180"));

    // Refreshed bit by bit, it may be entered at many places, and cut at none.
    let said = plan(&source(35, "bframes=0:intra-refresh=1"), &[]);
    assert!(said.contains("not copied 180p its pictures refer back over its key frames"), "{said}");
}

#[test]
fn a_damaged_source_is_not_copied_unseen() {
    let sandbox = sandbox();
    let mut bytes = fs::read(source(35, "bframes=2")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 6000].fill(0x55);
    let damaged = sandbox.write("damaged.mp4", bytes);
    // With no other rendition, nothing would have to be decoded.
    sandbox.config(&CONFIG.replace("    { name = \"90p\", short-side = 90, crf = 30.0, max-bitrate = 200 },\n", ""));
    let arguments = ["hls", damaged.to_str().unwrap(), "--id", "clip", "--to", "dest", "--state", "state"];
    let run = forebay(&sandbox, arguments).expect(1);
    assert!(run.stderr.contains("the source is damaged"), "{}", run.stderr);
    assert!(!watch::master(&sandbox.path("dest"), "clip").exists());
}
