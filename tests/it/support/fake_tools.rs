//! Scripts in the role of ffmpeg and yt-dlp, which behave as a file beside them says.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::sandbox::{Sandbox, quick_tools};

/// What every encode meets. `…-once` is for the first one alone.
const FFMPEG: &str = r#"#!/bin/sh
[ "$1" = -version ] && exec "REAL" -version
printf '%s\n' "$*" >> LOG
mode=$(cat MODE)
case $mode in
*-once) mode=${mode%-once}; mkdir MODE.done 2>/dev/null || mode=real;;
esac
case $mode in
murder) case "$*" in *poison*) kill -9 $PPID; sleep 5;; esac;;
die) kill -9 $$;;
hang) sleep 1000;;
mute) exec >&- 2>&-; sleep 1000;;
empty) for name; do case $name in *chunk-*.mp4|*audio-*.mp4) : > "${name#file:}";; esac; done; exit 0;;
short)
    for name; do case $name in *chunk-*.mp4|*audio-*.mp4) echo 'no video' > "${name#file:}";; esac; done
    exit 0;;
cut)
    "REAL" "$@" || exit
    for name; do
        case $name in *chunk-*.mp4|*audio-*.mp4) truncate -s -500 "${name#file:}";; esac
    done
    exit 0;;
flood) yes 'a line of noise that nobody wants to read, over and over' | head -c 30000000 >&2;;
flood-die) yes '[error] a line of noise, over and over' | head -c 3000000 >&2; exit 1;;
slow) sleep 0.3;;
slower) sleep 1;;
esac
exec "REAL" "$@"
"#;

/// The quick ffmpeg, or the system's.
fn real() -> PathBuf {
    let quick = quick_tools().join("ffmpeg");
    if quick.exists() { quick } else { "ffmpeg".into() }
}

const YTDLP: &str = r#"#!/bin/sh
case "$*" in
*--version) echo 2026.07.04; exit;;
*--simulate*) echo 'V {"id":"7","extractor_key":"Site","title":"Seven"}'; exit;;
esac
echo download >> LOG
[ "$(cat MODE)" = hang ] && { sleep 1000 & wait; }
cp CLIP media.mp4 && echo 'F "media.mp4"'
"#;

/// A script, its switch and its log.
pub(crate) struct Fake {
    pub(crate) program: PathBuf,
    mode: PathBuf,
    log: PathBuf,
}

impl Fake {
    /// ffmpeg, counted and breakable.
    pub(crate) fn ffmpeg(sandbox: &Sandbox) -> Self {
        Self::new(sandbox, "ffmpeg", &FFMPEG.replace("REAL", real().to_str().unwrap()))
    }

    /// A yt-dlp that brings `clip` from everywhere.
    pub(crate) fn ytdlp(sandbox: &Sandbox, clip: &Path) -> Self {
        Self::new(sandbox, "yt-dlp", &YTDLP.replace("CLIP", clip.to_str().unwrap()))
    }

    fn new(sandbox: &Sandbox, name: &str, script: &str) -> Self {
        let (mode, log) =
            (sandbox.write(&format!("fake/{name}.mode"), "real"), sandbox.path(&format!("fake/{name}.log")));
        let script = script.replace("MODE", mode.to_str().unwrap()).replace("LOG", log.to_str().unwrap());
        let program = sandbox.write(&format!("fake/{name}"), script);
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self { program, mode, log }
    }

    /// How it behaves from now on.
    pub(crate) fn mode(&self, mode: &str) {
        fs::write(&self.mode, mode).unwrap();
        fs::remove_dir(self.mode.with_extension("mode.done")).unwrap_or_default();
    }

    /// How often it was started.
    pub(crate) fn starts(&self) -> usize {
        self.lines().len()
    }

    /// The arguments of every start.
    pub(crate) fn lines(&self) -> Vec<String> {
        fs::read_to_string(&self.log).map_or(Vec::new(), |log| log.lines().map(Into::into).collect())
    }

    /// How often each part was encoded, by the name of its file: `chunk-00003`, `audio-0`.
    pub(crate) fn encodes(&self) -> BTreeMap<String, usize> {
        let mut encodes = BTreeMap::new();
        for line in fs::read_to_string(&self.log).unwrap_or_default().lines() {
            // A chunk whose renditions are shared out is encoded once all the same.
            if line.contains("/chunk-") && !line.contains("-0.mp4") {
                continue;
            }
            let part = ["chunk-", "audio-"].into_iter().find_map(|begin| {
                let (_, rest) = line.split_once(&format!("/{begin}"))?;
                Some(format!("{begin}{}", rest.split(['-', '.']).next()?))
            });
            *encodes.entry(part.expect("every encode names its file")).or_default() += 1;
        }
        encodes
    }
}
