//! Reads what the user names: inputs, folders, and lists of them.
//!
//! A list is bytes, not text: a path in it may hold any. A line that names
//! nothing is one clear message, and the others go on.

pub mod place;

mod entry;
mod folder;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::model::failure::{Class, Failure};
use crate::model::item::{Item, Locator};
use crate::storage::open::Stores;

use super::name;

/// One line of a list: an item, or why there is none.
pub type Entry = Result<Item, BadLine>;

/// A line of a list, or an argument, that names no input. The others go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Where it stands: `videos.txt:3`, or the argument itself.
    pub place: String,
    /// What is wrong with it, one line.
    pub message: String,
    /// Who has to act: the line is wrong, or its store cannot be asked.
    pub class: Class,
}

impl BadLine {
    /// The same as any other failure.
    pub fn failure(&self) -> Failure {
        Failure { class: self.class, what: self.message.clone(), hint: None }
    }
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// A longer line is no input; it keeps a binary file that was taken for a list from filling our memory.
const LONGEST_LINE: u64 = 64 * 1024;

/// A YAML list is read whole. 10,000 lines with headers fill a few megabytes.
const LARGEST_YAML: u64 = 16 * 1024 * 1024;

/// Reads `inputs` (URLs, files, folders, objects and prefixes of `stores`, lists) and then `lists`, in this order.
///
/// Items are numbered from 0 over all of them. Fails only when a list cannot be read at all.
pub async fn read(inputs: &[OsString], lists: &[OsString], stores: &Stores) -> Result<Vec<Entry>, Failure> {
    let mut reader = Reader::new(stores);
    for input in inputs {
        reader.argument(input).await?;
    }
    for list in lists {
        reader.list(list).await?;
    }
    Ok(reader.entries)
}

/// How the lines of a list are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    JsonLines,
    Yaml,
    /// Text or JSON, told apart line by line.
    Mixed,
}

impl Form {
    /// The form of a list by the name of its file; `None` if the name is no list's.
    fn of(file: &OsStr) -> Option<Self> {
        match name::extension(file.as_bytes())?.as_str() {
            "txt" => Some(Self::Text),
            "yaml" | "yml" => Some(Self::Yaml),
            "jsonl" | "ndjson" => Some(Self::JsonLines),
            _ => None,
        }
    }
}

/// Collects entries and remembers which inputs and ids it has seen where.
struct Reader<'a> {
    stores: &'a Stores,
    entries: Vec<Entry>,
    number: u64,
    inputs: HashMap<(String, Option<String>), String>,
    ids: HashMap<String, String>,
    stdin_read: bool,
}

impl<'a> Reader<'a> {
    fn new(stores: &'a Stores) -> Self {
        let (inputs, ids) = (HashMap::new(), HashMap::new());
        Self { stores, entries: Vec::new(), number: 0, inputs, ids, stdin_read: false }
    }

    async fn argument(&mut self, argument: &OsStr) -> Result<(), Failure> {
        let path = Path::new(argument);
        if argument == "-"
            || (Form::of(argument).is_some()
                && !entry::has_scheme(argument.as_bytes())
                && !path.is_dir()
                && !entry::is_place(argument.as_bytes(), self.stores))
        {
            return self.list(argument).await;
        }
        let place = shown(argument.as_bytes());
        self.add(&place, entry::plain(argument.as_bytes(), self.stores)).await;
        Ok(())
    }

    async fn list(&mut self, list: &OsStr) -> Result<(), Failure> {
        if list == "-" {
            if std::mem::replace(&mut self.stdin_read, true) {
                return Err(Failure::environment("standard input (`-`) is named as a list twice"));
            }
            return self.lines("standard input", Form::Mixed, &mut io::stdin().lock()).await;
        }
        let shown = shown(list.as_bytes());
        let form = Form::of(list).unwrap_or(Form::Text);
        let unreadable = |error| Failure::io(&format!("could not read the list `{shown}`"), &error);
        let mut file = BufReader::new(File::open(list).map_err(unreadable)?);
        if form == Form::Yaml {
            return self.yaml(&shown, &mut file).await;
        }
        self.lines(&shown, form, &mut file).await
    }

    async fn lines(&mut self, list: &str, form: Form, file: &mut dyn BufRead) -> Result<(), Failure> {
        let mut line = Vec::new();
        for number in 1_u64.. {
            line.clear();
            let read = file.take(LONGEST_LINE).read_until(b'\n', &mut line);
            if read.map_err(|error| Failure::io(&format!("could not read the list `{list}`"), &error))? == 0 {
                return Ok(());
            }
            if line.len() as u64 == LONGEST_LINE && !line.ends_with(b"\n") {
                return Err(Failure::environment(format!("{list}:{number}: this line is too long to be an input"))
                    .hint("is this file really a list?"));
            }
            let bytes = if number == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) } else { &line };
            let bytes = bytes.trim_ascii();
            if bytes.is_empty() || bytes.starts_with(b"#") {
                continue;
            }
            let json = form == Form::JsonLines || (form == Form::Mixed && bytes.starts_with(b"{"));
            let drafts = if json { entry::json(bytes, self.stores) } else { entry::plain(bytes, self.stores) };
            self.add(&format!("{list}:{number}"), drafts).await;
        }
        Ok(())
    }

    async fn yaml(&mut self, list: &str, file: &mut dyn BufRead) -> Result<(), Failure> {
        let mut text = String::new();
        let read = file.take(LARGEST_YAML + 1).read_to_string(&mut text);
        read.map_err(|error| Failure::io(&format!("could not read the list `{list}`"), &error))?;
        if text.len() as u64 > LARGEST_YAML {
            return Err(Failure::environment(format!("the list `{list}` is larger than {LARGEST_YAML} bytes"))
                .hint("write it as .txt or .jsonl, which are read line by line"));
        }
        let entries = entry::yaml(&text, self.stores);
        for (line, drafts) in entries.map_err(|why| Failure::environment(format!("{list}: {why}")))? {
            self.add(&format!("{list}:{line}"), drafts).await;
        }
        Ok(())
    }

    /// Takes what one line named, or why it named nothing.
    async fn add(&mut self, place: &str, drafts: Result<Vec<Result<Item, String>>, String>) {
        let drafts = drafts.unwrap_or_else(|message| vec![Err(message)]);
        let mut found = Vec::new();
        for draft in drafts {
            found.extend(place::expand(draft, self.stores).await);
        }
        for draft in found {
            let entry = draft.and_then(|item| self.first_time(place, item).map_err(Failure::permanent));
            if let Err(failure) = &entry {
                tracing::debug!(place, %failure, "bad line");
            }
            self.entries.push(entry.map_err(|failure| {
                let (place, message) = (place.to_owned(), entry::said(&failure));
                BadLine { place, message, class: failure.class }
            }));
        }
    }

    /// Numbers an item, unless it was named before.
    fn first_time(&mut self, place: &str, mut item: Item) -> Result<Item, String> {
        let input = (name::key(&item.locator), item.id.clone());
        if let Some(first) = self.inputs.get(&input) {
            return Err(format!("the same input as in {first}"));
        }
        if let Some(id) = &item.id {
            if let Some(first) = self.ids.get(id) {
                return Err(format!("the id `{id}` is taken by {first}"));
            }
            self.ids.insert(id.clone(), place.to_owned());
        }
        self.inputs.insert(input, place.to_owned());
        item.number = self.number;
        self.number += 1;
        Ok(item)
    }
}

/// A path or an argument as shown to people.
fn shown(bytes: &[u8]) -> String {
    match str::from_utf8(bytes).ok().filter(|_| entry::has_scheme(bytes)).and_then(|text| url::Url::parse(text).ok()) {
        Some(url) => Locator::Url(url).shown(),
        None => String::from_utf8_lossy(bytes).escape_debug().to_string(),
    }
}

#[cfg(test)]
mod tests;
