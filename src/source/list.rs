//! Reads what the user names: inputs, folders, and lists of them.

use std::ffi::{OsStr, OsString};

use crate::model::failure::Failure;
use crate::model::item::Item;

/// One line of a list: an item, or why there is none.
pub type Entry = Result<Item, BadLine>;

/// A line of a list, or an argument, that names no input. The others go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Where it stands: `videos.txt:3`, or the argument itself.
    pub place: String,
    /// What is wrong with it, one line.
    pub message: String,
}

/// Reads `inputs` (URLs, files, folders, lists) and then `lists`, in this order.
///
/// Items are numbered from 0 over all of them. Fails only when a list cannot be read at all.
pub fn read(inputs: &[OsString], lists: &[OsString]) -> Result<Vec<Entry>, Failure> {
    let (_, _) = (inputs, lists);
    Err(Failure::environment("not written yet"))
}

/// Reads one argument: a URL, a file, a folder, a list, or `-` for standard input.
pub fn expand(argument: &OsStr) -> Result<Vec<Entry>, Failure> {
    read(&[argument.to_os_string()], &[])
}
