//! The house rules that no compiler knows, kept by reading the source.

use std::fs;
use std::path::{Path, PathBuf};

/// Which module may name which. Everything else is a mistake, and a module
/// that is not listed has no place in the house yet.
const MAY_USE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("pipeline", &["model"]),
    ("plan", &["model"]),
    ("format", &["model", "plan"]),
    ("scratch", &["format", "plan", "pipeline", "model"]),
    ("tool", &["format", "plan", "pipeline", "model"]),
    ("storage", &["scratch", "format", "plan", "pipeline", "model"]),
    ("queue", &["scratch", "model"]),
    ("source", &["storage", "tool", "format", "plan", "pipeline", "model"]),
    ("catalog", &["scratch", "plan", "model"]),
    ("mail", &["scratch", "plan", "pipeline", "model"]),
    ("job", &["catalog", "mail", "source", "storage", "tool", "scratch", "format", "plan", "pipeline", "model"]),
    ("engine", &["job", "queue", "source", "storage", "tool", "scratch", "format", "plan", "pipeline", "model"]),
    // Uploads lie in scratch folders, and keys are read from their store.
    ("web", &["engine", "queue", "storage", "scratch", "model"]),
    ("config", &["source", "storage", "plan", "model"]),
    (
        "app",
        &[
            "web", "catalog", "config", "engine", "job", "mail", "queue", "source", "storage", "tool", "scratch",
            "format", "plan", "pipeline", "model",
        ],
    ),
    ("cli", &["app", "web", "engine", "queue", "config", "job", "source", "plan", "model", "tool"]),
    ("main", &["cli"]),
];

/// Names under which anything could be put, and so everything would be.
const SAYS_NOTHING: &[&str] = &["util", "utils", "helper", "helpers", "common", "misc", "manager"];

const LONGEST_FILE: usize = 500;

const MOST_LINES_OF_ARCHITECTURE: usize = 200;

/// One file of `src`.
struct Source {
    /// Its path from `src` on, with `/` between.
    path: String,
    text: String,
}

impl Source {
    /// The top-level module it belongs to.
    fn module(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or_default();
        first.trim_end_matches(".rs")
    }

    /// The text without tests and without comments.
    fn code(&self) -> String {
        let is_comment = |line: &&str| line.trim_start().starts_with("//");
        self.without_tests().lines().filter(|line| !is_comment(line)).flat_map(|line| [line, "\n"]).collect()
    }

    /// The text up to the tests, which stand last.
    fn without_tests(&self) -> &str {
        if self.path.ends_with("/tests.rs") || self.path.contains("/tests/") {
            return "";
        }
        self.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
    }

    /// How many modules deep it is: 0 for the root, 1 for `src/model/mod.rs`.
    fn depth(&self) -> usize {
        let path = self.path.trim_end_matches(".rs").trim_end_matches("/mod");
        if matches!(path, "lib" | "main") { 0 } else { path.split('/').count() }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `folder` whose names end in `ending`.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<Source> {
    let folder = root().join("src");
    let sources: Vec<_> = files(&folder, ".rs")
        .into_iter()
        .map(|path| {
            let below = path.strip_prefix(&folder).unwrap();
            Source { path: below.to_str().unwrap().replace('\\', "/"), text: fs::read_to_string(&path).unwrap() }
        })
        .collect();
    assert!(sources.len() > 10, "the source is not where it was");
    sources
}

/// Fails with all that `complaint` has to say about the files of `src`.
#[track_caller]
fn check_files(complaint: impl Fn(&Source) -> Option<String>) {
    let all: Vec<_> =
        sources().iter().filter_map(|source| Some(format!("src/{} {}", source.path, complaint(source)?))).collect();
    assert!(all.is_empty(), "\n{}\n", all.join("\n"));
}

/// Fails if `pattern` stands in the code of any file that is not `allowed`.
#[track_caller]
fn check_absent(pattern: &str, why: &str, allowed: impl Fn(&Source) -> bool) {
    check_files(|source| {
        let found = !allowed(source) && source.code().contains(pattern);
        found.then(|| format!("has `{pattern}`: {why}"))
    });
}

/// Every name that follows `crate::`.
fn crate_names(code: &str) -> Vec<&str> {
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    let after = code.split("crate::").skip(1);
    after.filter_map(|rest| rest.split(|letter| !is_name(letter)).next()).filter(|name| !name.is_empty()).collect()
}

/// The longest run of `super::` in the code.
fn steps_up(code: &str) -> usize {
    (0..9).rev().find(|steps| code.contains(&"super::".repeat(*steps))).unwrap_or_default()
}

#[test]
fn modules_use_only_what_lies_below() {
    check_files(|source| {
        let module = source.module();
        if module == "lib" {
            return None;
        }
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
            return Some("is in no module that `MAY_USE` lists".into());
        };
        let code = source.code();
        let wrong = crate_names(&code).into_iter().find(|used| *used != module && !allowed.contains(used))?;
        Some(format!("uses `crate::{wrong}`, which `{module}` may not"))
    });
}

#[test]
fn nobody_climbs_out_of_a_module() {
    check_files(|source| {
        let climbs = source.depth() > 0 && steps_up(&source.code()) >= source.depth();
        climbs.then(|| "leaves its top-level module by `super::`: write `crate::`".into())
    });
}

#[test]
fn every_use_names_one_module() {
    check_absent("crate::{", "write one `use` for each module", |_| false);
}

#[test]
fn every_file_says_what_it_is_for() {
    check_files(|source| (!source.text.starts_with("//! ")).then(|| "does not begin with `//!`".into()));
    for folder in ["tests", "examples"] {
        for path in files(&root().join(folder), ".rs") {
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.starts_with("//! "), "{} does not begin with `//!`", path.display());
        }
    }
}

#[test]
fn no_file_is_too_long() {
    check_files(|source| {
        let lines = source.without_tests().lines().count();
        (lines > LONGEST_FILE).then(|| format!("has {lines} lines without its tests; {LONGEST_FILE} are enough"))
    });
}

#[test]
fn every_module_has_a_name_that_says_something() {
    check_files(|source| {
        let mut names = source.path.trim_end_matches(".rs").split('/');
        let empty = names.find(|name| SAYS_NOTHING.contains(name))?;
        Some(format!("is named `{empty}`: say what is in it"))
    });
    for name in SAYS_NOTHING {
        check_absent(&format!("mod {name} {{"), "say what is in it", |_| false);
    }
}

#[test]
fn only_cli_prints() {
    for pattern in ["println!(", "eprintln!(", "print!(", "dbg!("] {
        check_absent(pattern, "only `cli` prints", |source| source.module() == "cli");
    }
}

#[test]
fn only_one_place_starts_processes() {
    check_absent("Command::new(", "only `tool/child.rs` starts processes", |source| source.path == "tool/child.rs");
}

#[test]
fn nothing_is_spawned_that_nobody_waits_for() {
    check_absent("tokio::spawn", "spawn into a `JoinSet` that somebody waits for", |_| false);
}

#[test]
fn only_the_root_gives_second_names() {
    check_absent("pub use ", "one thing has one path", |source| source.path == "lib.rs");
}

#[test]
fn every_exception_has_its_reason() {
    check_absent("#[allow(", "write `#[expect(…, reason = \"…\")]`", |_| false);
    check_absent("#![allow(", "write `#![expect(…, reason = \"…\")]`", |_| false);
}

#[test]
fn the_map_stays_short() {
    let Ok(text) = fs::read_to_string(root().join("ARCHITECTURE.md")) else { return };
    let lines = text.lines().count();
    assert!(lines <= MOST_LINES_OF_ARCHITECTURE, "ARCHITECTURE.md has {lines} lines: only what rarely changes");
}

#[test]
fn links_between_pages_lead_somewhere() {
    let top = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    let top = top.filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    for page in top.chain(files(&root().join("docs"), ".md")) {
        let text = fs::read_to_string(&page).unwrap();
        for rest in text.split("](").skip(1) {
            let target = rest.split([')', '#', ' ']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let file = page.parent().unwrap().join(target);
            assert!(file.exists(), "{} links to `{target}`, which is not there", page.display());
        }
    }
}
