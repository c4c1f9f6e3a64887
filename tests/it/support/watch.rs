//! What a player gets to see and hear of a package, by ffmpeg and ffprobe.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The one master playlist of `dest/id`.
pub(crate) fn master(dest: &Path, id: &str) -> PathBuf {
    dest.join(id).join("master.m3u8")
}

/// The media playlists of a package by the names of their folders, in order.
pub(crate) fn playlists(master: &Path) -> Vec<(String, PathBuf)> {
    let text = std::fs::read_to_string(master).unwrap();
    let folder = master.parent().unwrap();
    let named = |line: &str| {
        let quoted = line.split_once("URI=\"").and_then(|(_, rest)| rest.split('"').next());
        let uri = if line.starts_with("#EXT-X-MEDIA:") { quoted } else { Some(line) };
        let uri = uri.filter(|uri| Path::new(uri).extension().is_some_and(|ending| ending == "m3u8"))?;
        let name = Path::new(uri).parent()?.file_name()?.to_str()?.to_owned();
        Some((name, folder.join(uri)))
    };
    let mut all: Vec<_> = text.lines().filter_map(named).collect();
    all.sort();
    all.dedup();
    all
}

/// The picture of a playlist.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Picture {
    pub(crate) size: (u32, u32),
    pub(crate) rate: String,
    pub(crate) frames: usize,
    /// Seconds at which it begins, on the clock of the package.
    pub(crate) start: f64,
}

/// Decodes the whole picture of `playlist`.
pub(crate) fn picture(playlist: &Path) -> Picture {
    let probe = |entries: &str| {
        let entries = format!("stream={entries}");
        let arguments = ["-v", "error", "-select_streams", "v:0", "-show_entries", &entries, "-of", "csv=p=0"];
        tool("ffprobe", arguments.map(OsStr::new).into_iter().chain([playlist.as_os_str()]))
    };
    let text = probe("width,height,r_frame_rate,start_time");
    let line = text.lines().next().unwrap_or_default();
    let fields: Vec<&str> = line.split(',').collect();
    let [width, height, rate, start] = fields[..] else { panic!("{}: {text:?}", playlist.display()) };
    let frames = shades(playlist).len();
    let size = (width.parse().unwrap(), height.parse().unwrap());
    Picture { size, rate: rate.into(), frames, start: start.parse().unwrap() }
}

/// The mean brightness of every decoded picture.
pub(crate) fn shades(playlist: &Path) -> Vec<u8> {
    let before = ["-v", "error", "-nostdin", "-i"].map(OsStr::new);
    // `-vsync 0` is understood by every version; its new name is not.
    let after = ["-map", "0:v:0", "-vsync", "0", "-vf", "scale=1:1:flags=area,format=gray", "-f", "rawvideo", "-"];
    let output = output("ffmpeg", before.into_iter().chain([playlist.as_os_str()]).chain(after.map(OsStr::new)));
    output.stdout
}

/// Seconds at which the sound begins.
pub(crate) fn audio_start(playlist: &Path) -> f64 {
    let arguments = ["-v", "error", "-select_streams", "a:0", "-show_entries", "stream=start_time", "-of", "csv=p=0"];
    let text = tool("ffprobe", arguments.map(OsStr::new).into_iter().chain([playlist.as_os_str()]));
    text.lines().next().unwrap_or_default().trim_matches(',').parse().unwrap()
}

/// What ffmpeg has to complain of when it decodes the file.
pub(crate) fn complaints(file: &Path) -> String {
    let before = ["-v", "warning", "-nostdin", "-i"].map(OsStr::new);
    let after = ["-map", "0", "-f", "null", "-"];
    let arguments = before.into_iter().chain([file.as_os_str()]).chain(after.map(OsStr::new));
    let output = output("ffmpeg", arguments);
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What ffmpeg makes of a file on its standard output.
pub(crate) fn bytes(file: &Path, options: &[&str]) -> Vec<u8> {
    let before = ["-v", "error", "-nostdin", "-i"].map(OsStr::new);
    let options = options.iter().map(OsStr::new);
    output("ffmpeg", before.into_iter().chain([file.as_os_str()]).chain(options)).stdout
}

/// The answer of a tool.
pub(crate) fn tool<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) -> String {
    String::from_utf8_lossy(&output(program, arguments).stdout).into_owned()
}

#[track_caller]
fn output<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) -> Output {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    output
}
