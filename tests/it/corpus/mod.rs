//! Sources of every kind, each of which must become a right package, or be
//! refused with the reason. What they are and what is expected stands in `table.toml`.

mod judge;
mod making;
mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::sandbox::{Run, Sandbox};
use crate::support::watch;
use table::{Source, Table};

/// All of the corpus in one run, on a machine that has other things to do.
const LONGEST_RUN: Duration = Duration::from_mins(10);

/// Does `work` with every item, as many at once as there are cores, and gives the answers in order.
fn at_once<T: Sync, A: Send>(items: &[T], work: impl Fn(&T) -> A + Sync) -> Vec<A> {
    let next = AtomicUsize::new(0);
    let answers = Mutex::new(BTreeMap::new());
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(number) else { return };
                    let answer = work(item);
                    answers.lock().unwrap().insert(number, answer);
                }
            });
        }
    });
    answers.into_inner().unwrap().into_values().collect()
}

/// What a run told of one item: its last event, and all warnings.
struct Told {
    last: Value,
    warnings: Vec<String>,
}

fn told(run: &Run) -> BTreeMap<u64, Told> {
    let mut all: BTreeMap<u64, Told> = BTreeMap::new();
    for event in run.events() {
        let Some(item) = event["item"].as_u64() else { continue };
        let told = all.entry(item).or_insert(Told { last: Value::Null, warnings: Vec::new() });
        if event["event"] == "warning" {
            told.warnings.push(event["message"].as_str().unwrap_or_default().into());
        }
        told.last = event;
    }
    all
}

/// What is wrong with what came of `source`.
fn wrong(source: &Source, told: &Told, dest: &Path) -> Vec<String> {
    let master = watch::master(dest, &source.name);
    if let Some(reason) = &source.refused {
        let why = told.last["why"].as_str().unwrap_or("it was not refused");
        let mut wrong = Vec::new();
        if !why.contains(reason) || told.last["class"] != "permanent" {
            wrong.push(format!("refused with: {why}"));
        }
        if master.exists() || dest.join(&source.name).exists() {
            wrong.push("something was published".into());
        }
        return wrong;
    }
    if told.last["event"] != "done" {
        return vec![format!("not published: {} ({})", told.last["why"], told.last["hint"])];
    }
    let mut wrong = judge::wrong(source, &master);
    match &source.warns {
        Some(words) if !told.warnings.iter().any(|warning| warning.contains(words.as_str())) => {
            wrong.push(format!("no warning of `{words}` but {:?}", told.warnings));
        }
        None if !told.warnings.is_empty() => wrong.push(format!("warned of {:?}", told.warnings)),
        _ => {}
    }
    wrong
}

#[test]
fn every_kind_of_source_becomes_a_right_package_or_is_refused() {
    let table = Table::read();
    // `CORPUS=hdr10,av1` looks at these alone.
    let only = std::env::var("CORPUS").unwrap_or_default();
    let wanted = |source: &&Source| only.is_empty() || only.split(',').any(|name| name == source.name);
    let sources: Vec<Source> = table.sources.iter().filter(wanted).cloned().collect();
    let sandbox = Sandbox::with_system_tools();
    let folder = sandbox.path("sources");
    let make = |source: &Source| making::make(&folder, &source.name, &source.ending, &table.steps(source));
    let files: Vec<PathBuf> = at_once(&sources, make);
    let line = |(source, file): (&Source, &PathBuf)| json!({ "url": file, "id": source.name }).to_string() + "\n";
    sandbox.write("corpus.jsonl", sources.iter().zip(&files).map(line).collect::<String>());
    let arguments = ["hls", "corpus.jsonl", "--to", "out", "--segment", "1s", "--json"];
    let run = sandbox.start(arguments).wait_for(LONGEST_RUN);
    let (told, dest) = (told(&run), sandbox.path("out"));
    let numbered: Vec<(u64, &Source)> = (0..).zip(&sources).collect();
    let judged = at_once(&numbered, |(number, source)| match told.get(number) {
        Some(told) => wrong(source, told, &dest),
        None => vec!["nothing was told of it".into()],
    });
    let complaints: Vec<String> = sources
        .iter()
        .zip(judged)
        .flat_map(|(source, wrong)| wrong.into_iter().map(|what| format!("{} ({}): {what}", source.name, source.about)))
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}\n{}", run.stderr);
    run.expect(i32::from(sources.iter().any(|source| source.refused.is_some())));
}
