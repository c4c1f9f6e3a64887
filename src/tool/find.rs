//! Finds the programs that do the work, and what they can do.

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use crate::model::failure::Failure;
use crate::plan::quality::Metric;
use crate::tool::child::{Order, Output, run};

/// ffmpeg and ffprobe, as found on this machine.
#[derive(Clone, Debug)]
pub struct Ffmpeg {
    /// The encoder.
    pub ffmpeg: PathBuf,
    /// The prober.
    pub ffprobe: PathBuf,
    /// ffmpeg's version as it prints it: `5.1.9-0+deb12u1`, `n9.0.2`.
    pub version: String,
}

/// The program the user set, which is a path, or a name to look up in `PATH`; `name` if nothing is set.
pub fn program(name: &str, set: &Path) -> Option<PathBuf> {
    let runnable = |path: &Path| rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file();
    if set.components().count() > 1 {
        return runnable(set).then(|| set.to_path_buf());
    }
    let name = if set.as_os_str().is_empty() { Path::new(name) } else { set };
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|candidate| runnable(candidate))
}

/// Finds ffmpeg and ffprobe and asks their version.
pub async fn ffmpeg(set_ffmpeg: &Path, set_ffprobe: &Path) -> Result<Ffmpeg, Failure> {
    let find = |name: &str, set: &Path| {
        program(name, set).ok_or_else(|| {
            let place = if set.components().count() > 1 { format!("at `{}`", set.display()) } else { "in PATH".into() };
            Failure::environment(format!("there is no `{name}` {place}")).hint(
                "install it (`apt-get install ffmpeg`, or `make setup`), or set `tools.ffmpeg` and `tools.ffprobe`",
            )
        })
    };
    let (ffmpeg, ffprobe) = (find("ffmpeg", set_ffmpeg)?, find("ffprobe", set_ffprobe)?);
    let version = version(&ffmpeg).await?;
    Ok(Ffmpeg { ffmpeg, ffprobe, version })
}

/// Makes sure that `ffmpeg` has the encoders `wanted`.
pub async fn encoders(ffmpeg: &Path, wanted: &[&str]) -> Result<(), Failure> {
    let found = listed(ffmpeg, "-encoders").await?;
    match wanted.iter().find(|wanted| !found.iter().any(|found| found == *wanted)) {
        None => Ok(()),
        Some(missing) => Err(Failure::environment(format!("`{}` has no encoder `{missing}`", ffmpeg.display()))
            .hint("install an ffmpeg that has it (Debian's does), or leave its codec out of --codec")),
    }
}

/// Makes sure that `ffmpeg` can measure `metric`.
pub async fn metric(ffmpeg: &Path, metric: Metric) -> Result<(), Failure> {
    let found = listed(ffmpeg, "-filters").await?;
    if found.iter().any(|found| found == metric.filter()) {
        return Ok(());
    }
    let what =
        format!("`{}` cannot measure {}: it has no filter `{}`", ffmpeg.display(), metric.name(), metric.filter());
    Err(Failure::environment(what).hint(
        "give --quality ssim=0.98, which every ffmpeg can measure, or set `tools.ffmpeg` to one with libvmaf, \
         such as that of the Python package imageio-ffmpeg",
    ))
}

/// The names in a list that ffmpeg prints: the second words of its lines.
async fn listed(ffmpeg: &Path, what: &str) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    let order = Order::new(ffmpeg).args(["-hide_banner", what]);
    let second_words = |output, line: &str| {
        if output == Output::Out {
            found.extend(line.split_whitespace().nth(1).map(str::to_owned));
        }
        true
    };
    let ended = run(&order, &CancellationToken::new(), second_words).await;
    ended.map_err(|error| Failure::environment(format!("`{}` does not run: {error}", ffmpeg.display())))?;
    Ok(found)
}

async fn version(ffmpeg: &Path) -> Result<String, Failure> {
    let mut version = None;
    let order = Order::new(ffmpeg).arg("-version");
    let first_words = |output, line: &str| {
        if output == Output::Out && version.is_none() {
            version = line.strip_prefix("ffmpeg version ").and_then(|rest| rest.split(' ').next()).map(Into::into);
        }
        true
    };
    let ended = run(&order, &CancellationToken::new(), first_words).await;
    ended.map_err(|error| Failure::environment(format!("`{}` does not run: {error}", ffmpeg.display())))?;
    version.ok_or_else(|| Failure::environment(format!("`{}` is not ffmpeg", ffmpeg.display())))
}
