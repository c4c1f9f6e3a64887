//! Jobs of a queue that are many small things: pictures, and parts of a migration.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use crate::config::Config;
use crate::engine::worker::Order;
#[cfg(feature = "photos")]
use crate::job::share::Share;
use crate::model::event::What;
use crate::model::failure::{Class, Failure};
#[cfg(feature = "stores")]
use crate::pipeline::{Rank, lane::Lane};

/// Failures that are named in a job's log; the others are counted.
const NAMED: usize = 10;

/// What failed of a job.
#[derive(Default)]
struct Troubles {
    count: u64,
    named: Vec<String>,
    worst: Option<Failure>,
}

impl Troubles {
    fn note(&mut self, name: &str, failure: Failure) {
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.push(format!("`{}`: {}", name.escape_debug(), failure.what));
        }
        // What another try may mend decides whether there is one.
        let weight = |failure: &Failure| match failure.class {
            Class::Permanent => 0,
            Class::Environment => 1,
            Class::Temporary | Class::Stopped => 2,
        };
        if self.worst.as_ref().is_none_or(|worst| weight(&failure) > weight(worst)) {
            self.worst = Some(failure);
        }
    }

    /// How the job ended: what was done is in `result`.
    fn outcome(self, what: &str, result: Value) -> Result<Value, Failure> {
        let Some(worst) = self.worst else { return Ok(result) };
        let more = self.count - self.named.len() as u64;
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        let what = if self.count == 1 { what.to_owned() } else { format!("{what}s") };
        Err(Failure { what: format!("{} {what} failed: {}{more}", self.count, self.named.join("; ")), ..worst })
    }
}

/// Counts what is stored, as the signs of life by which a lease is renewed.
struct Life<'a> {
    order: &'a Order,
    objects: AtomicU64,
    bytes: AtomicU64,
}

impl<'a> Life<'a> {
    fn new(order: &'a Order) -> Self {
        Self { order, objects: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    fn stored(&self, bytes: u64) {
        let objects = self.objects.fetch_add(1, Ordering::Relaxed) + 1;
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        (self.order.report)(What::Uploading { objects, bytes });
    }
}

/// Runs work that many tasks share, and that therefore cannot move between threads, on one.
async fn on_one_thread<F>(work: impl FnOnce() -> F + Send + 'static) -> Result<Value, Failure>
where
    F: Future<Output = Result<Value, Failure>>,
{
    let runtime = tokio::runtime::Handle::current();
    let done = tokio::task::spawn_blocking(move || runtime.block_on(work())).await;
    done.unwrap_or_else(|error| Err(Failure::environment(error.to_string())))
}

fn lock(troubles: &Mutex<Troubles>) -> std::sync::MutexGuard<'_, Troubles> {
    troubles.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the pictures of a job fit. What is done already stands in the album in `state`.
#[cfg(feature = "photos")]
pub(super) async fn photos(config: Config, order: Order, state: PathBuf, share: Share) -> Result<Value, Failure> {
    on_one_thread(move || async move { fit(&config, &order, &state, share).await }).await
}

#[cfg(feature = "photos")]
async fn fit(config: &Config, order: &Order, state: &Path, share: Share) -> Result<Value, Failure> {
    use super::photos::{PhotosRequest, context, find};
    use crate::job::photo::Said;
    let state = state.join("photos");
    super::make_folder(&state, "state")?;
    let _lock = crate::scratch::lock::Lock::take(&state)
        .map_err(|error| Failure::io(&format!("could not lock `{}`", state.display()), &error))?
        .ok_or_else(|| Failure::environment(format!("another program works in `{}`", state.display())))?;
    let request = PhotosRequest {
        inputs: vec![order.job.input.clone().into()],
        to: order.job.to.clone(),
        mail: Vec::new(),
        eml: None,
        state: None,
        sheet: false,
    };
    let found = find(config, &request).await?;
    let (troubles, life) = (Mutex::new(Troubles::default()), Life::new(order));
    for (input, failure) in found.unreadable {
        lock(&troubles).note(&input, failure);
    }
    let context = context(config, &request, &state, share, (&order.stop, &order.cancel)).await?;
    let listener = |said| match said {
        Said::Done { after, .. } => life.stored(after),
        Said::Already { .. } => life.stored(0),
        Said::Failed { input, failure } => {
            lock(&troubles).note(&input, failure);
            life.stored(0);
        }
        Said::Mailed { .. } | Said::MailWaits { .. } | Said::NotMailed { .. } => {}
    };
    let summary = crate::job::photo::run::run(found.inputs, &context, &listener).await;
    context.album.close().await;
    let summary = summary?;
    if summary.left > 0 && order.stop.is_cancelled() {
        return Err(Failure::stopped());
    }
    let result = json!({
        "done": summary.done, "copied": summary.copied, "already": summary.already, "raw": found.raw,
        "other": found.other, "before": summary.before, "after": summary.after,
    });
    std::mem::take(&mut *lock(&troubles)).outcome("picture", result)
}

/// What all migrations of a worker share, however many there are at once.
#[cfg(feature = "stores")]
#[derive(Clone)]
pub(super) struct Moving {
    room: Lane<Rank>,
    passing: Lane<Rank>,
    disk_room: Lane<Rank>,
    cpu: Lane<Rank>,
}

#[cfg(feature = "stores")]
impl Moving {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            room: Lane::new(super::migrate::ROOM),
            passing: Lane::new(super::migrate::PASSING),
            disk_room: Lane::new(config.scratch.limit.get()),
            cpu: Lane::new(config.lanes.threads.get()),
        }
    }
}

/// Moves the objects of a job.
#[cfg(feature = "stores")]
pub(super) async fn migrate(config: Config, order: Order, folder: PathBuf, moving: Moving) -> Result<Value, Failure> {
    on_one_thread(move || async move { copy(&config, &order, &folder, &moving).await }).await
}

#[cfg(feature = "stores")]
async fn copy(config: &Config, order: &Order, folder: &Path, moving: &Moving) -> Result<Value, Failure> {
    use super::migrate::{MigrateRequest, TICK, context};
    use crate::plan::migrate::Filter;
    let job = &order.job;
    if config.migrate.catalog.is_empty() {
        return Err(Failure::environment("this worker has no catalog to record objects in")
            .hint("set `migrate.catalog` in its settings"));
    }
    let request = MigrateRequest {
        from: job.input.clone(),
        to: job.to.clone(),
        catalog: config.migrate.catalog.clone(),
        filter: Filter { include: job.texts("include"), exclude: job.texts("exclude") },
        verify_only: false,
        read_back: job.options.get("read-back").is_some_and(|text| text == "true"),
        dry_run: false,
        state: None,
    };
    let mut context = context(config, &request, folder, (&order.stop, &order.cancel)).await?;
    context.scratch = folder.join("scratch");
    context.keys = job.options.contains_key("keys").then(|| job.texts("keys"));
    (context.room, context.passing) = (moving.room.clone(), moving.passing.clone());
    context.disk_room = moving.disk_room.clone();
    context.cpu = moving.cpu.clone();
    let (troubles, life) = (Mutex::new(Troubles::default()), Life::new(order));
    let listener = |moved: crate::job::migrate::Moved| {
        life.stored(moved.bytes);
        if let Some(failure) = moved.failure {
            lock(&troubles).note(&moved.key, failure);
        }
    };
    let mut running = std::pin::pin!(crate::job::migrate::run::run(&context, &listener));
    let (mut ticks, mut passed) = (tokio::time::interval(TICK), 0);
    let summary = loop {
        tokio::select! {
            summary = &mut running => break summary,
            // A large object is a sign of life too, long before it is there.
            _ = ticks.tick() => if context.pace.passed() != passed {
                passed = context.pace.passed();
                (order.report)(What::Downloading { bytes: passed, total: None });
            },
        }
    };
    context.catalog.close().await;
    let summary = summary?;
    if order.stop.is_cancelled() && (summary.left > 0 || summary.stopped) {
        return Err(Failure::stopped());
    }
    let result = json!({
        "same": summary.same, "new": summary.new, "changed": summary.changed, "gone": summary.gone,
        "bytes": summary.bytes,
    });
    std::mem::take(&mut *lock(&troubles)).outcome("object", result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_that_may_pass_is_worth_another_attempt() {
        let mut troubles = Troubles::default();
        for number in 0..12 {
            troubles.note(&format!("{number}.jpg"), Failure::permanent("is empty"));
        }
        troubles.note("13.jpg", Failure::temporary("no answer"));
        let failure = troubles.outcome("picture", Value::Null).unwrap_err();
        assert_eq!(failure.class, Class::Temporary);
        assert!(
            failure.what.starts_with("13 pictures failed: `0.jpg`: is empty; ") && failure.what.ends_with("and 3 more")
        );
        assert_eq!(Troubles::default().outcome("picture", json!(1)), Ok(json!(1)));
    }
}
