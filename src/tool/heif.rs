//! HEIC and AVIF by libheif's own program: a decoder of such hostile and
//! patented formats stays outside of this one.

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use crate::model::failure::Failure;
use crate::plan::photo::heif_arguments;
use crate::tool::child::{ChildError, Order, killed, run};
use crate::tool::find;

/// Names of the program, newest first.
const PROGRAMS: [&str; 2] = ["heif-dec", "heif-convert"];

/// The converter, if this machine has one.
pub fn find() -> Option<PathBuf> {
    PROGRAMS.iter().find_map(|name| find::program(name, Path::new("")))
}

/// Makes a JPEG of the best quality of `input` as `output`. Both are paths of our own making.
pub async fn convert(
    program: &Path,
    input: &Path,
    output: &Path,
    cancel: &CancellationToken,
) -> Result<PathBuf, Failure> {
    let order = Order::new(program).args(heif_arguments(input, output));
    let ended = run(&order, cancel, |_, _| false).await.map_err(|error| match error {
        ChildError::Stopped { .. } => Failure::stopped(),
        error @ ChildError::Hung { .. } => Failure::permanent(error.to_string()),
        error => Failure::environment(error.to_string()),
    })?;
    // What it had written by then may be half a picture.
    if let Some(killed) = killed(ended.status, "the converter of HEIC") {
        return Err(killed);
    }
    // A file of several pictures gives several; the first is the one that is shown.
    let numbered = output.with_file_name(format!("{}-1.jpg", output.file_stem().unwrap_or_default().to_string_lossy()));
    if let Some(made) = [output.to_path_buf(), numbered].into_iter().find(|path| path.is_file()) {
        return Ok(made);
    }
    let why = ended.last_lines.last().map_or("it says nothing more", String::as_str);
    Err(Failure::permanent(format!("cannot be converted from HEIC: {why}")))
}
