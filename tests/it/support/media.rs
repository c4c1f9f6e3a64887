//! Small videos, made once and kept for the next run of the tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

/// Seconds of [`clip`].
pub(crate) const SECONDS: u32 = 8;

/// Pictures a second of [`clip`].
pub(crate) const RATE: u32 = 25;

/// Eight seconds of 320x180 with a tone, a key frame every half second.
pub(crate) fn clip() -> PathBuf {
    clip_of(SECONDS, "320x180")
}

/// The same with another length and size.
pub(crate) fn clip_of(seconds: u32, size: &str) -> PathBuf {
    let picture = format!("testsrc2=size={size}:rate={RATE}:duration={seconds}");
    let sound = format!("sine=frequency=440:sample_rate=48000:duration={seconds}");
    let codecs = "-c:v libx264 -preset ultrafast -g 12 -pix_fmt yuv420p -c:a aac -b:a 64k -movflags +faststart";
    let mut arguments = vec!["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &sound];
    arguments.extend(codecs.split(' '));
    make("mp4", &arguments)
}

/// The file that ffmpeg makes of these arguments, with this ending. They are its name too.
pub(crate) fn make(ending: &str, arguments: &[&str]) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("media");
    let mut digest = hex::encode(Sha256::digest(arguments.join("\0")));
    digest.truncate(16);
    let path = folder.join(format!("{digest}.{ending}"));
    let _making = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    if !path.is_file() {
        fs::create_dir_all(&folder).unwrap();
        // Another process may make the same one: both are whole when they get their name.
        let temporary = folder.join(format!("{digest}-{}.{ending}", std::process::id()));
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-v", "error", "-y"]).args(arguments).arg(&temporary);
        let output = command.output().expect("ffmpeg is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::rename(temporary, &path).unwrap();
    }
    path
}
