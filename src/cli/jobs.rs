//! `forebay jobs`: what the queue holds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::options::{Flags, QueueArgs};
use super::text::clean;
use super::trouble::Trouble;
use super::{Exit, block_on, print_err, print_out};
use crate::app;
use crate::config::Config;
use crate::engine::worker::shown;
use crate::model::failure::Failure;
use crate::queue::clock;
use crate::queue::{Filter, Progress, Queue, Record, State};

/// Changes that are asked for at once.
const PAGE: u32 = 500;

/// How often `watch` looks.
const LOOK: Duration = Duration::from_millis(500);

/// Shows, cancels and retries the jobs of a queue.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    queue: QueueArgs,
    /// JSON on standard output, one job a line.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Lists jobs, the newest first, and how many there are of each state.
    List {
        /// Only those: waiting, delayed, running, done, dead or cancelled.
        #[arg(long, value_name = "STATE", value_parser = state)]
        state: Option<State>,
        /// At most so many.
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u32,
        /// Chunks of long films too, which workers share.
        #[arg(long)]
        chunks: bool,
    },
    /// Shows all that is known of a job, its log too.
    Show {
        /// The job's number.
        id: String,
    },
    /// Ends jobs: those that wait at once, those that run within two seconds.
    Cancel {
        /// The jobs' numbers.
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Makes dead, cancelled or delayed jobs due again.
    Retry {
        /// The jobs' numbers.
        #[arg(required_unless_present = "dead")]
        ids: Vec<String>,
        /// All dead ones.
        #[arg(long)]
        dead: bool,
    },
    /// Prints changes as they come; with numbers, until those jobs are over.
    Watch {
        /// The jobs' numbers; all jobs if there are none.
        ids: Vec<String>,
    },
}

fn state(name: &str) -> Result<State, String> {
    let known = || State::ALL.map(State::name).join(", ");
    State::named(name).ok_or_else(|| format!("give one of: {}", known()))
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<Exit, Trouble> {
    let mut flags = Flags::default();
    args.queue.add_to(&mut flags);
    let config = flags.config()?;
    Ok(block_on(act(&config, args))??)
}

async fn act(config: &Config, args: &Args) -> Result<Exit, Failure> {
    let queue = app::queue::open(config).await?;
    match &args.verb {
        None => list(&queue, Filter { limit: 50, ..Filter::default() }, args.json).await,
        Some(Verb::List { state, limit, chunks }) => {
            let filter = Filter { state: *state, limit: *limit, chunks: *chunks, after: None };
            list(&queue, filter, args.json).await
        }
        Some(Verb::Show { id }) => show(&queue, id, args.json).await,
        Some(Verb::Cancel { ids }) => cancel(&queue, ids, args.json).await,
        Some(Verb::Retry { ids, dead }) => retry(&queue, ids, *dead, args.json).await,
        Some(Verb::Watch { ids }) => watch(&queue, ids, args.json).await,
    }
}

async fn list(queue: &Arc<dyn Queue>, filter: Filter, json: bool) -> Result<Exit, Failure> {
    let records = queue.list(&filter).await?;
    for record in &records {
        print_out(&if json { masked(record).to_string() } else { row(record) });
    }
    let mut counts = queue.counts().await?;
    if !json {
        let all = State::ALL.map(|state| format!("{} {}", counts.of(state), state.name()));
        print_err(&all.join(", "));
        if !queue.abilities().lists_waiting {
            print_err("note: this queue does not list waiting jobs that other programs put there");
        }
    }
    Ok(Exit::Done)
}

async fn show(queue: &Arc<dyn Queue>, id: &str, json: bool) -> Result<Exit, Failure> {
    let Some(record) = queue.get(id).await? else { return Ok(unknown(id)) };
    if json {
        print_out(&masked(&record).to_string());
    } else {
        for line in page(&record) {
            print_out(&clean(&line));
        }
    }
    Ok(Exit::Done)
}

async fn cancel(queue: &Arc<dyn Queue>, ids: &[String], json: bool) -> Result<Exit, Failure> {
    let mut exit = Exit::Done;
    for id in ids {
        let state = queue.cancel(id).await?;
        match state {
            None => exit = unknown(id),
            Some(state) if json => print_out(&json!({ "job": id, "state": state }).to_string()),
            Some(State::Running) => print_out(&format!("{id} is told to end")),
            Some(State::Cancelled) => print_out(&format!("{id} is cancelled")),
            Some(state) => print_out(&format!("{id} was {} already", state.name())),
        }
    }
    Ok(exit)
}

async fn retry(queue: &Arc<dyn Queue>, ids: &[String], dead: bool, json: bool) -> Result<Exit, Failure> {
    let mut ids = ids.to_vec();
    if dead {
        let filter = Filter { state: Some(State::Dead), after: None, limit: 100_000, chunks: false };
        ids.extend(queue.list(&filter).await?.into_iter().map(|record| record.id));
    }
    let mut exit = Exit::Done;
    for id in &ids {
        match queue.revive(id).await? {
            None => exit = unknown(id),
            Some(state) if json => print_out(&json!({ "job": id, "state": state }).to_string()),
            Some(State::Waiting) => print_out(&format!("{id} waits for a worker")),
            Some(state) => print_out(&format!("{id} is {}: left as it is", state.name())),
        }
    }
    Ok(exit)
}

async fn watch(queue: &Arc<dyn Queue>, ids: &[String], json: bool) -> Result<Exit, Failure> {
    // Whether those that are over were done.
    let mut over: HashMap<&str, bool> = HashMap::new();
    let mut after = 0;
    if ids.is_empty() {
        // Only what happens from now on.
        loop {
            let page = queue.list(&Filter { state: None, after: Some(after), limit: PAGE, chunks: false }).await?;
            let Some(last) = page.last() else { break };
            after = last.version;
        }
    }
    for id in ids {
        let Some(record) = queue.get(id).await? else { return Ok(unknown(id)) };
        print_out(&if json { masked(&record).to_string() } else { row(&record) });
        after = after.max(record.version);
        if record.state.is_over() {
            over.insert(id, record.state == State::Done);
        }
    }
    while ids.is_empty() || over.len() < ids.len() {
        tokio::time::sleep(LOOK).await;
        for record in queue.list(&Filter { state: None, after: Some(after), limit: PAGE, chunks: false }).await? {
            after = record.version;
            let wanted = ids.iter().find(|id| **id == record.id);
            if ids.is_empty() || wanted.is_some() {
                print_out(&if json { masked(&record).to_string() } else { row(&record) });
            }
            if let Some(id) = wanted.filter(|_| record.state.is_over()) {
                over.insert(id, record.state == State::Done);
            }
        }
        // A change may have come between two looks at different jobs.
        for id in ids.iter().filter(|id| !over.contains_key(id.as_str())).collect::<Vec<_>>() {
            match queue.get(id).await? {
                Some(record) if record.state.is_over() => drop(over.insert(id, record.state == State::Done)),
                Some(_) => {}
                None => {
                    print_err(&format!("error: there is no job `{}` any more", clean(id)));
                    over.insert(id, false);
                }
            }
        }
    }
    Ok(if over.values().all(|done| *done) { Exit::Done } else { Exit::SomeFailed })
}

fn unknown(id: &str) -> Exit {
    print_err(&format!("error: there is no job `{}`", clean(id)));
    Exit::SomeFailed
}

/// One line about a job.
fn row(record: &Record) -> String {
    let mut parts = vec![record.id.clone(), format!("{:<9}", record.state.name())];
    let runs = record.state == State::Running;
    if runs {
        parts.push(bars(record.progress.as_ref()));
    }
    if record.attempt > 1 {
        parts.push(format!("attempt {}", record.attempt));
    }
    if record.cancel && runs {
        parts.push("to be cancelled".into());
    }
    parts.push(shown(&text(&record.job, "input")));
    match (&record.result, record.log.last()) {
        (Some(result), _) => parts.push(format!("-> {}", text(result, "master"))),
        (None, Some(entry)) if !runs => parts.push(format!("({})", entry.what)),
        _ => {}
    }
    clean(&parts.join("  "))
}

fn bars(progress: Option<&Progress>) -> String {
    let Some(progress) = progress else { return "begins".into() };
    let part = |name: &str, part: Option<f64>| part.map(|part| format!("{name} {:.0} %", part * 100.0));
    let parts = [part("download", progress.download), part("encode", progress.encode), part("upload", progress.upload)];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "begins".into() } else { parts.join(", ") }
}

/// All about a job, for people.
fn page(record: &Record) -> Vec<String> {
    let ago = |at: i64| {
        let seconds = (clock::now() - at) / 1000;
        if seconds < 0 { format!("in {} s", -seconds) } else { format!("{seconds} s ago") }
    };
    let mut lines = vec![
        format!("job        {}", record.id),
        format!("state      {}", record.state.name()),
        format!("input      {}", shown(&text(&record.job, "input"))),
        format!("to         {}", shown(&text(&record.job, "to"))),
        format!("attempt    {}", record.attempt),
        format!("submitted  {}", ago(record.submitted)),
    ];
    let mut add = |name: &str, value: Option<String>| lines.extend(value.map(|value| format!("{name:<10} {value}")));
    add("due", (record.state == State::Delayed).then(|| ago(record.due)));
    add("worker", record.worker.clone());
    add("started", record.started.map(ago));
    add("ended", record.ended.map(ago));
    let progress = record.progress.as_ref();
    add("progress", progress.map(|progress| bars(Some(progress))));
    add("id", progress.and_then(|progress| progress.id.clone()));
    add("makes", progress.and_then(|progress| progress.plan.clone()));
    add("note", progress.and_then(|progress| progress.note.clone()));
    add("result", record.result.as_ref().map(Value::to_string));
    for entry in &record.log {
        add("log", Some(format!("{}, attempt {}, {}: {}", ago(entry.at), entry.attempt, entry.worker, entry.what)));
    }
    lines
}

/// A record as JSON; the queries of URLs may be signatures, and are left out.
fn masked(record: &Record) -> Value {
    let mut value = json!(record);
    for member in ["input", "to"] {
        if let Some(text) = value.get_mut("job").and_then(|job| job.get_mut(member)) {
            *text = json!(shown(text.as_str().unwrap_or_default()));
        }
    }
    value
}

fn text(value: &Value, member: &str) -> String {
    value.get(member).and_then(Value::as_str).unwrap_or_default().to_owned()
}
