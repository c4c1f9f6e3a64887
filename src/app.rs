//! Builds the whole program from settings.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::engine::{Listener, Summary};
use crate::model::failure::Failure;
use crate::model::item::Item;

/// What `forebay hls` was asked to do, settings apart.
#[derive(Clone, Debug)]
pub struct HlsRequest {
    /// The videos, in order.
    pub items: Vec<Item>,
    /// Where packages go.
    pub to: String,
    /// The folder of work state; `None` takes the default beside the destination.
    pub state: Option<PathBuf>,
    /// Make packages anew that are there already.
    pub force: bool,
    /// Say what would be done and do nothing.
    pub dry_run: bool,
}

/// A line of a list that names no input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Where it stands, such as `videos.txt:3`.
    pub place: String,
    /// What is wrong with it.
    pub message: String,
}

/// What `forebay verify` was asked to check.
#[derive(Clone, Debug)]
pub struct VerifyRequest {
    /// A master playlist: a path, a folder that holds one, or a URL.
    pub master: String,
    /// The file that the package was made from.
    pub source: Option<PathBuf>,
    /// Folder of key files, to look into encrypted segments.
    pub keys: Option<PathBuf>,
    /// Decode some segments of each rendition.
    pub decode: bool,
}

/// What `forebay verify` found.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Whether no rule is broken.
    pub right: bool,
    /// The findings for people, safe to print.
    pub text: String,
    /// The findings for programs.
    pub json: serde_json::Value,
}

/// Where work state lies: as asked, else `.forebay` beside a folder, else the user's state folder.
pub fn state_folder(state: Option<&Path>, to: Option<&str>) -> PathBuf {
    if let Some(state) = state {
        return state.to_path_buf();
    }
    let beside = to.map(Path::new).and_then(Path::parent).map(|parent| parent.join(".forebay"));
    beside.unwrap_or_else(|| {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
        home.unwrap_or_else(std::env::temp_dir).join("forebay")
    })
}

/// Reads inputs and lists, one entry a video or bad line.
pub fn inputs(_inputs: &[OsString], _lists: &[OsString]) -> Result<Vec<Result<Item, BadLine>>, Failure> {
    Err(missing())
}

/// Downloads, encodes and publishes.
pub async fn hls(_config: &Config, _request: HlsRequest, _listener: &mut dyn Listener) -> Result<Summary, Failure> {
    std::future::ready(Err(missing())).await
}

/// Says in lines for people what would be made of an input and why.
pub async fn explain(_config: &Config, _item: &Item) -> Result<Vec<String>, Failure> {
    std::future::ready(Err(missing())).await
}

/// Checks a package against the HLS rules.
pub async fn verify(_config: &Config, _request: VerifyRequest) -> Result<Verdict, Failure> {
    std::future::ready(Err(missing())).await
}

fn missing() -> Failure {
    Failure::environment("this build has no engine")
}
