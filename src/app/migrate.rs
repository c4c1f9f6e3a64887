//! `forebay migrate`, built from settings.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::apart;
use crate::catalog::sql::{self, Catalog, Places};
use crate::config::Config;
use crate::engine::stop::Stop;
use crate::job::migrate::check::check;
use crate::job::migrate::content::Pace;
use crate::job::migrate::run::run;
use crate::job::migrate::{Context, Listener, Summary};
use crate::model::failure::Failure;
use crate::model::job::MOST_TEXTS;
use crate::pipeline::lane::Lane;
use crate::plan::migrate::Filter;
use crate::scratch::file::Privacy;
use crate::scratch::lock::Lock;
use crate::storage::folder::is_leftover;
use crate::storage::store::Store;
use crate::tool::find;

/// Bytes of small objects that are held in memory while they are on their way.
pub(super) const ROOM: u64 = 128 << 20;

/// Large objects that pass through at once. Each has some parts in memory: by default five of 8 MiB.
pub(super) const PASSING: u64 = 4;

/// How often the bytes that passed are told.
pub(super) const TICK: Duration = Duration::from_millis(250);

/// One run of `forebay migrate`.
#[derive(Clone, Debug)]
pub struct MigrateRequest {
    /// Where objects come from.
    pub from: String,
    /// Where they go.
    pub to: String,
    /// The catalog: a path or `postgres://…`.
    pub catalog: String,
    /// Which objects are wanted.
    pub filter: Filter,
    /// Compare the catalog with the destination, and copy nothing.
    pub verify_only: bool,
    /// Read every object back and compare.
    pub read_back: bool,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
    /// The state folder, if the user chose one.
    pub state: Option<PathBuf>,
}

/// Runs `request` to its end. `tick` hears now and then how many bytes came.
pub async fn migrate(
    config: &Config,
    request: MigrateRequest,
    tick: &(dyn Fn(u64) + Sync),
    listener: Listener<'_>,
) -> Result<Summary, Failure> {
    let mut stop = Stop::on_signals(config.grace)
        .map_err(|error| Failure::environment(format!("signals cannot be caught: {error}")))?;
    // Before a state folder is made beside the destination, which may be the source.
    apart::check(config, &request.from, &request.to)?;
    let beside = Some(request.to.as_str()).filter(|to| config.stores.is_folder(to));
    let state = super::state_folder(request.state.as_deref(), beside).join("migrate");
    super::make_folder(&state, "state")?;
    let taken =
        Lock::take(&state).map_err(|error| Failure::io(&format!("could not lock `{}`", state.display()), &error))?;
    let _lock = taken.ok_or_else(|| {
        Failure::environment(format!("another run is using the state folder `{}`", state.display()))
            .hint("wait for it, or give this one a state folder of its own with --state")
    })?;
    let context = context(config, &request, &state, (&stop.begin, &stop.now)).await?;
    let work =
        async { if request.verify_only { check(&context, listener).await } else { run(&context, listener).await } };
    let mut running = std::pin::pin!(work);
    let mut ticks = tokio::time::interval(TICK);
    let summary = loop {
        tokio::select! {
            summary = &mut running => break summary,
            () = stop.step() => {}
            _ = ticks.tick() => tick(context.pace.passed()),
        }
    };
    tick(context.pace.passed());
    context.catalog.close().await;
    let mut summary = summary?;
    summary.stopped |= stop.begin.is_cancelled();
    Ok(summary)
}

/// What a migration works with. `stop` has what begins nothing new, and what ends everything.
pub(super) async fn context(
    config: &Config,
    request: &MigrateRequest,
    state: &Path,
    stop: (&CancellationToken, &CancellationToken),
) -> Result<Context, Failure> {
    if has_password(&request.catalog) {
        return Err(Failure::permanent("the address of the catalog holds a password, which others could see")
            .hint("give it in the variable PGPASSWORD, or in ~/.pgpass"));
    }
    apart::check(config, &request.from, &request.to)?;
    let source = config.stores.open(&request.from, Privacy::Private)?;
    let destination = config.stores.open(&request.to, Privacy::Public)?;
    apart::compare(&source, &destination)?;
    if !request.verify_only {
        source.require().await?;
    }
    if !request.dry_run && !request.verify_only {
        apart::probe(&source, &destination).await?;
    }
    let scratch = config.scratch.folder.clone().unwrap_or_else(|| state.join("scratch"));
    empty(&scratch)?;
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let threads = config.lanes.threads.get();
    Ok(Context {
        catalog: catalog(request, &source, &destination).await?,
        source,
        destination,
        filter: request.filter.clone(),
        keys: None,
        scratch,
        ffprobe: if config.migrate.probe { find::program("ffprobe", &config.tools.ffprobe) } else { None },
        limits: config.limits,
        transfers: count(config.migrate.transfers),
        threads: count(threads),
        room: Lane::new(ROOM),
        passing: Lane::new(PASSING),
        disk_room: Lane::new(config.scratch.limit.get()),
        cpu: Lane::new(threads),
        pace: Arc::new(Pace::new(config.migrate.bandwidth)),
        read_back: request.read_back,
        dry_run: request.dry_run,
        stop: stop.0.clone(),
        cancel: stop.1.clone(),
    })
}

async fn catalog(request: &MigrateRequest, source: &Store, destination: &Store) -> Result<Catalog, Failure> {
    let places = Places { source: source.identity(), destination: destination.identity() };
    let before = Places { source: source.address(""), destination: destination.address("") };
    // Who only asks what would be done finds no new file.
    let is_only_asked = request.dry_run && sql::is_new(&request.catalog);
    Catalog::open(if is_only_asked { sql::IN_MEMORY } else { &request.catalog }, places, &before).await
}

/// Divides a migration up into parts that many workers take.
pub struct Parts {
    source: Store,
    filter: Filter,
    most: usize,
    /// Where the next page begins.
    after: Option<String>,
    /// Whether all pages were read.
    listed: bool,
    keys: VecDeque<String>,
}

/// Bytes of keys in one part: with all else they fit into a job, even if each second byte is escaped.
const PART_BYTES: usize = 24 * 1024;

impl Parts {
    /// The wanted objects of `from`, at most `most` in a part.
    pub fn new(config: &Config, from: &str, filter: Filter, most: usize) -> Result<Self, Failure> {
        let source = config.stores.open(from, Privacy::Private)?;
        Ok(Self { source, filter, most: most.clamp(1, MOST_TEXTS), after: None, listed: false, keys: VecDeque::new() })
    }

    /// The keys of the next part; none after the last.
    pub async fn next(&mut self) -> Result<Vec<String>, Failure> {
        if self.after.is_none() && !self.listed {
            self.source.require().await?;
        }
        while self.keys.len() < self.most && !self.listed {
            let page = self.source.page("", self.after.as_deref()).await?;
            self.listed = page.next.is_none();
            self.after = page.next;
            let keys = page.found.into_iter().map(|stat| stat.key);
            self.keys.extend(keys.filter(|key| !is_leftover(key) && self.filter.wants(key)));
        }
        let mut bytes = 0;
        let fits = |key: &&String| {
            bytes += key.len() + 4;
            bytes <= PART_BYTES
        };
        let count = self.keys.iter().take(self.most).take_while(fits).count();
        Ok(self.keys.drain(..count).collect())
    }
}

/// Removes what a killed run left in the scratch folder.
fn empty(scratch: &Path) -> Result<(), Failure> {
    let Ok(entries) = std::fs::read_dir(scratch) else { return Ok(()) };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("object-") || name.ends_with(crate::scratch::file::TEMPORARY) {
            std::fs::remove_file(&path)
                .map_err(|error| Failure::io(&format!("could not remove `{}`", path.display()), &error))?;
        }
    }
    Ok(())
}

fn has_password(address: &str) -> bool {
    let authority = address.split_once("://").and_then(|(_, rest)| rest.split(['/', '?']).next());
    let user = authority.and_then(|authority| authority.rsplit_once('@'));
    user.is_some_and(|(user, _)| user.contains(':')) || address.contains("password=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_do_not_belong_into_addresses() {
        assert!(has_password("postgres://ann:pw@host/db") && has_password("postgres://host/db?password=pw"));
        assert!(!has_password("postgres://ann@host:5432/db") && !has_password("a:b@c.db"));
    }
}
