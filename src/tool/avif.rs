//! AVIF by ffmpeg's encoder of AV1: raw pixels in, a file out.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::model::failure::Failure;
use crate::tool::child::{ChildError, Order, run};

/// The encoder that is asked for.
pub const ENCODER: &str = "libaom-av1";

/// It says nothing while it works, which takes seconds for a picture, but minutes on a busy machine.
const SILENCE: Duration = Duration::from_mins(20);

/// Runs ffmpeg with `arguments`, which write `output`, and gives what that holds.
pub async fn encode(
    ffmpeg: &Path,
    arguments: Vec<OsString>,
    output: &Path,
    cancel: &CancellationToken,
) -> Result<Vec<u8>, Failure> {
    let order = Order { silence: SILENCE, ..Order::new(ffmpeg).args(arguments) };
    let ended = run(&order, cancel, |_, _| false).await.map_err(|error| match error {
        ChildError::Stopped { .. } => Failure::stopped(),
        error => Failure::environment(error.to_string()),
    })?;
    // The file of an encoder that failed is not there, or is not whole.
    if ended.status.success()
        && let Ok(bytes) = std::fs::read(output)
    {
        return Ok(bytes);
    }
    let why = ended.last_lines.last().map_or("it says nothing more", String::as_str);
    Err(Failure::environment(format!("ffmpeg could not encode a picture as AVIF: {why}")))
}
