//! Makes the sources of the corpus, step by step as the table says.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The files so far.
struct Making<'a> {
    folder: &'a Path,
    name: &'a str,
    ending: &'a str,
    made: Vec<PathBuf>,
}

/// Takes all `steps` and gives the file that the last one makes.
pub(super) fn make(folder: &Path, name: &str, ending: &str, steps: &[String]) -> PathBuf {
    let folder = folder.join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let mut making = Making { folder: &folder, name, ending, made: Vec::new() };
    for step in steps {
        making.step(step);
    }
    let path = folder.join(format!("{name}.{ending}"));
    std::fs::rename(making.made.last().unwrap(), &path).unwrap();
    path
}

impl Making<'_> {
    fn step(&mut self, step: &str) {
        let (ending, step) = match step.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
            Some((ending, step)) => (ending, step),
            None => (self.ending, step),
        };
        let path = self.folder.join(format!("step-{}.{ending}", self.made.len()));
        let (verb, rest) = step.split_once(' ').unwrap_or((step, ""));
        let last = self.made.last().cloned().unwrap_or_default();
        let percent = || rest.parse::<usize>().unwrap();
        let bytes = || std::fs::read(&last).unwrap();
        match verb {
            "ffmpeg" => self.ffmpeg(rest, Some(&path)),
            "pipe" => {
                let (format, rest) = rest.split_once(' ').unwrap();
                std::fs::write(&path, self.output(&format!("{rest} -f {format} -"), None)).unwrap();
            }
            "matrix" => std::fs::write(&path, with_matrix(bytes(), rest)).unwrap(),
            "dolby" => std::fs::write(&path, with_dolby(bytes(), rest)).unwrap(),
            "join" => {
                let all: Vec<u8> = self.made.iter().flat_map(|part| std::fs::read(part).unwrap()).collect();
                std::fs::write(&path, all).unwrap();
            }
            "splice" => {
                let lines = self.made.iter().map(|part| format!("file '{}'\n", part.display()));
                let names = self.folder.join("names");
                std::fs::write(&names, lines.collect::<String>()).unwrap();
                self.ffmpeg(&format!("-f concat -safe 0 -i {} -c copy", names.display()), Some(&path));
            }
            "head" => std::fs::write(&path, &bytes()[..bytes().len() * percent() / 100]).unwrap(),
            "tail" => {
                // Whole packets, where it is a transport stream.
                let from = bytes().len() * (100 - percent()) / 100 / 188 * 188;
                std::fs::write(&path, &bytes()[from..]).unwrap();
            }
            "patch" => std::fs::write(&path, with_patch(bytes(), rest)).unwrap(),
            "text" => std::fs::write(&path, rest.replace("\\n", "\n")).unwrap(),
            _ => panic!("{}: no such step: {verb}", self.name),
        }
        self.made.push(path);
    }

    fn ffmpeg(&self, options: &str, to: Option<&Path>) {
        self.output(options, to);
    }

    fn output(&self, options: &str, to: Option<&Path>) -> Vec<u8> {
        let last = self.made.last().map(|path| path.display().to_string()).unwrap_or_default();
        let options = options.split_whitespace().map(|word| word.replace("{in}", &last));
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-v", "error", "-y"]).args(options).args(to);
        let output = command.output().expect("ffmpeg is installed");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}\n{command:?}", self.name);
        output.stdout
    }
}

/// The file with the first of two words, which is longer, replaced by the second and zeros.
fn with_patch(mut bytes: Vec<u8>, words: &str) -> Vec<u8> {
    let (old, new) = words.split_once(' ').unwrap();
    let at = bytes.windows(old.len()).position(|window| window == old.as_bytes()).unwrap();
    let mut new = new.as_bytes().to_vec();
    new.resize(old.len(), 0);
    bytes[at..at + old.len()].copy_from_slice(&new);
    bytes
}

/// The file with the display matrix `a b c d` in its first track header.
fn with_matrix(mut bytes: Vec<u8>, numbers: &str) -> Vec<u8> {
    let at = bytes.windows(4).position(|four| four == b"tkhd").unwrap() + 44;
    let numbers: Vec<i32> = numbers.split(' ').map(|number| number.parse().unwrap()).collect();
    let [a, b, c, d] = numbers[..] else { panic!("four numbers make a matrix") };
    let one = 0x1_0000;
    let matrix = [a * one, b * one, 0, c * one, d * one, 0, 0, 0, 0x4000_0000];
    for (number, value) in matrix.iter().enumerate() {
        bytes[at + number * 4..at + number * 4 + 4].copy_from_slice(&value.to_be_bytes());
    }
    bytes
}

/// An MP4 of HEVC, with its index at its end, that says to be Dolby Vision of a profile and a compatibility: the
/// numbers of `dvcC`.
fn with_dolby(mut bytes: Vec<u8>, numbers: &str) -> Vec<u8> {
    let (profile, compatibility) = numbers.split_once(' ').unwrap();
    let (profile, compatibility): (u16, u8) = (profile.parse().unwrap(), compatibility.parse().unwrap());
    // Level 1; a picture with what Dolby adds to it.
    let [high, low] = (profile << 9 | 1 << 3 | 0b101).to_be_bytes();
    let mut record = [&32_u32.to_be_bytes()[..], b"dvcC", &[1, 0, high, low, compatibility << 4]].concat();
    record.resize(32, 0);
    let mut at = 0;
    for name in [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"hvc1"] {
        at += bytes[at..].windows(4).position(|four| four == name).unwrap();
        let size = u32::from_be_bytes(bytes[at - 4..at].try_into().unwrap()) + 32;
        bytes[at - 4..at].copy_from_slice(&size.to_be_bytes());
    }
    let size = u32::from_be_bytes(bytes[at - 4..at].try_into().unwrap()) as usize - 32;
    let end = at - 4 + size;
    bytes.splice(end..end, record);
    bytes
}
