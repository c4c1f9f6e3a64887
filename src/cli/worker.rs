//! `forebay worker`: takes jobs from a queue, and never stops.

use std::path::PathBuf;

use serde_json::json;

use super::options::{Flags, MachineArgs, QueueArgs, cores};
use super::text::clean;
use super::trouble::Trouble;
use super::{Exit, block_on, json, print_err, print_out};
use crate::app;
use crate::app::worker::{Introduction, WorkerRequest};
use crate::engine::worker::{News, shown};
use crate::model::event::What;
use crate::queue::State;

const EXAMPLES: &str = "\
Examples:
  forebay worker --to /srv/video
  forebay worker --to /srv/video --queue redis://queue:6379 --label gpu
  forebay worker --to /srv/video --once

SIGTERM drains: running chunks are finished, jobs go back to the queue with what
they have, no attempt is counted, and the exit code is 0.";

/// Takes jobs from a queue and does them, for ever.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    queue: QueueArgs,
    /// Destinations that jobs may name: the beginning of a path or URL; may be given several times.
    #[arg(long, value_name = "DEST")]
    to: Vec<String>,
    /// Inputs that jobs may name, next to http and https: the beginning of a path or URL.
    #[arg(long, value_name = "PLACE")]
    allow_input: Vec<String>,
    /// What this worker has, for jobs that ask for it; may be given several times.
    #[arg(long = "label", value_name = "LABEL")]
    labels: Vec<String>,
    /// Its name; the machine's and the process's if not given.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Jobs at once; they share the lanes.
    #[arg(long, value_name = "N")]
    slots: Option<String>,
    /// A collector of OpenTelemetry that hears of jobs, such as `http://127.0.0.1:4318`.
    #[arg(long, value_name = "URL")]
    otlp: Option<String>,
    /// Take one job, or none if none is due, and end.
    #[arg(long)]
    once: bool,
    /// Folder of the work state; in the user's state folder if not given.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// One JSON event a line on standard output.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: MachineArgs,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<Exit, Trouble> {
    let mut flags = Flags::default();
    args.queue.add_to(&mut flags);
    args.machine.add_to(&mut flags)?;
    flags.text("--name", "worker.name", args.name.as_ref());
    flags.text("--otlp", "worker.otlp", args.otlp.as_ref());
    flags.text("--slots", "worker.slots", args.slots.as_ref());
    flags.list("--label", "worker.labels", &args.labels)?;
    flags.list("--to", "worker.outputs", &places(&args.to))?;
    if !args.allow_input.is_empty() {
        let all: Vec<String> =
            ["http:", "https:"].map(String::from).into_iter().chain(places(&args.allow_input)).collect();
        flags.list("--allow-input", "worker.inputs", &all)?;
    }
    // Errors of the settings end the program before it takes a job.
    let all = flags.clone();
    all.config()?;
    let request =
        WorkerRequest { flags: flags.into_flags(), cores: cores(), state: args.state.clone(), once: args.once };
    let json = args.json;
    let begin = move |introduction: &Introduction| begin(introduction, json);
    let mut listener = move |news: &News| tell(news, json);
    let summary = block_on(app::worker::worker(request, begin, &mut listener))??;
    if !json {
        let (done, failed, released) = (summary.done, summary.failed, summary.released);
        print_err(&format!("worker ends: {done} done, {failed} failed, {released} given back"));
    }
    Ok(match (summary.unreachable, args.once && summary.failed > 0, args.once && summary.released > 0) {
        (true, _, _) => Exit::Environment,
        (_, true, _) => Exit::SomeFailed,
        // A signal is a good reason to give a job back, trouble of this machine is not; the job waits either way.
        _ => Exit::Done,
    })
}

/// Paths are taken from here; the rest is no path.
fn places(places: &[String]) -> Vec<String> {
    let absolute = |place: &String| {
        let path = std::path::absolute(place).ok().filter(|_| !place.contains(':'));
        path.and_then(|path| path.to_str().map(String::from)).unwrap_or_else(|| place.clone())
    };
    places.iter().map(absolute).collect()
}

fn begin(introduction: &Introduction, json: bool) {
    let Introduction { name, queue, labels, warnings } = introduction;
    for warning in warnings {
        print_err(&format!("warning: {}", clean(warning)));
    }
    if json {
        let line = json!({
            "event": "worker", "name": name, "queue": queue, "labels": labels, "warnings": warnings,
        });
        print_out(&line.to_string());
        return;
    }
    let labels: Vec<_> = labels.iter().map(String::as_str).collect();
    let labels = if labels.is_empty() { String::new() } else { format!(" with {}", labels.join(", ")) };
    print_err(&format!("worker {name}{labels} takes jobs from {}", clean(queue)));
}

fn tell(news: &News, as_json: bool) {
    if as_json {
        print_out(&line(news).to_string());
    } else if let Some(text) = text(news) {
        print_err(&clean(&text));
    }
}

fn text(news: &News) -> Option<String> {
    Some(match news {
        News::Took { id, attempt, input, to } => format!("{id} begins, attempt {attempt}: {input} to {to}"),
        News::Job { id, what } => match what {
            What::Warning { message } => format!("{id} warning: {message}"),
            What::Retrying { why, wait, .. } => format!("{id} tries again in {wait:.0} s: {why}"),
            What::Planned { summary, .. } => format!("{id} makes {summary}"),
            _ => return None,
        },
        News::Ended { id, outcome: Ok(result), seconds, .. } => {
            let master = result.get("master").and_then(serde_json::Value::as_str).unwrap_or_default();
            format!("{id} done in {seconds:.1} s: {master}")
        }
        News::Ended { id, state, outcome: Err(failure), .. } => {
            let hint = failure.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
            format!("{id} {}: {failure}{hint}", standing(*state))
        }
        News::Outage { why } => format!("warning: {why}; trying again"),
        News::Back => "the queue is there again".into(),
        News::Benched { seconds, why } => {
            format!("warning: this machine failed several jobs in a row; taking none for {seconds:.0} s: {why}")
        }
        News::Draining => "stopping: running chunks are finished, no job is taken".into(),
    })
}

fn standing(state: Option<State>) -> &'static str {
    match state {
        Some(State::Dead) => "is dead",
        Some(State::Cancelled) => "is cancelled",
        Some(_) => "goes back to the queue",
        None => "is not ours any more",
    }
}

fn line(news: &News) -> serde_json::Value {
    match news {
        News::Took { id, attempt, input, to } => {
            json!({ "event": "took", "job": id, "attempt": attempt, "input": input, "to": to })
        }
        News::Job { id, what } => {
            let mut line = json::details(what);
            line.insert("event".into(), json!(what.name()));
            line.insert("job".into(), json!(id));
            line.into()
        }
        News::Ended { id, state, outcome, seconds } => json!({
            "event": "ended",
            "job": id,
            "state": state,
            "result": outcome.as_ref().ok(),
            "why": outcome.as_ref().err().map(|failure| shown(&failure.what)),
            "class": outcome.as_ref().err().map(|failure| failure.class),
            "seconds": seconds,
        }),
        News::Outage { why } => json!({ "event": "outage", "why": why }),
        News::Back => json!({ "event": "back" }),
        News::Benched { seconds, why } => json!({ "event": "benched", "seconds": seconds, "why": why }),
        News::Draining => json!({ "event": "draining" }),
    }
}
