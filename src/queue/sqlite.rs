//! A queue in one file, for the processes of one machine.
//!
//! Each verb is one transaction that is on the disk when it returns
//! (`synchronous=FULL`). Leases run by the clock since boot, which nobody sets.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnection, SqlitePool};
use sqlx::{Row as _, Sqlite as Driver, Transaction};

use super::{
    Abilities, Asker, Claim, Counts, End, Filter, Progress, Queue, QueueError, Record, State, Submitted, clock,
    label_key, label_keys, new_id, random,
};
use crate::model::failure::Failure;
use crate::model::fault;
use crate::model::job::{Job, OWN_LABEL};
use crate::scratch::database;

mod row;

use row::{ALL, count, end_of, held, record, state_of, turn};

/// The layout of the tables. A newer one is refused.
const LAYOUT: i64 = 1;

const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS job (
        id TEXT PRIMARY KEY, text TEXT NOT NULL, state TEXT NOT NULL,
        labels TEXT NOT NULL, priority INTEGER NOT NULL, turn INTEGER NOT NULL, place INTEGER NOT NULL,
        identity TEXT NOT NULL, named INTEGER NOT NULL, attempts INTEGER NOT NULL,
        attempt INTEGER NOT NULL DEFAULT 0, misses INTEGER NOT NULL DEFAULT 0,
        worker TEXT, token TEXT, boot TEXT, lease INTEGER, cancel INTEGER NOT NULL DEFAULT 0,
        submitted INTEGER NOT NULL, due INTEGER NOT NULL, started INTEGER, ended INTEGER,
        progress TEXT, result TEXT, log TEXT NOT NULL DEFAULT '[]', version INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS job_order ON job (state, labels, priority DESC, turn, place)",
    "CREATE INDEX IF NOT EXISTS job_due ON job (state, due)",
    "CREATE INDEX IF NOT EXISTS job_version ON job (version)",
    "CREATE INDEX IF NOT EXISTS job_identity ON job (identity)",
    "CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS tenant (name TEXT PRIMARY KEY, turn INTEGER NOT NULL) STRICT, WITHOUT ROWID",
];

/// Leases that are looked after at one claim.
const REAPED_AT_ONCE: i64 = 100;

/// The queue in one file.
#[derive(Debug)]
pub struct Sqlite {
    pool: SqlitePool,
    path: PathBuf,
    boot: String,
    keep: i64,
}

impl Sqlite {
    /// Opens or makes the file at `path`. Finished jobs are kept for `keep`.
    pub async fn open(path: &Path, keep: Duration) -> Result<Self, Failure> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)
                .map_err(|error| Failure::io(&format!("could not make `{}`", folder.display()), &error))?;
        }
        // Jobs are nobody else's business, and nobody else may add some.
        std::fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| Failure::io(&format!("could not open the queue `{}`", path.display()), &error))?;
        let unusable = |error: sqlx::Error| {
            Failure::environment(format!("the queue `{}` cannot be used: {error}", path.display()))
                .hint("check the space and the rights of that folder")
        };
        // Readers need not wait for the one who writes.
        let pool = database::open(path, 3).await.map_err(unusable)?;
        let layout: i64 = sqlx::query("PRAGMA user_version").fetch_one(&pool).await.map_err(unusable)?.get(0);
        if layout > LAYOUT {
            return Err(Failure::environment(format!("`{}` was written by a newer version", path.display()))
                .hint("use that version, or another file with --queue"));
        }
        if layout < LAYOUT {
            let mut change = pool.begin_with("BEGIN IMMEDIATE").await.map_err(unusable)?;
            for table in TABLES {
                sqlx::query(*table).execute(&mut *change).await.map_err(unusable)?;
            }
            sqlx::query("PRAGMA user_version = 1").execute(&mut *change).await.map_err(unusable)?;
            change.commit().await.map_err(unusable)?;
        }
        Ok(Self { pool, path: path.into(), boot: clock::boot(), keep: clock::millis(keep) })
    }

    async fn change(&self) -> Result<Transaction<'_, Driver>, QueueError> {
        self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(|error| self.unreachable(&error))
    }

    fn unreachable(&self, error: &sqlx::Error) -> QueueError {
        QueueError::Unreachable { queue: self.address(), why: error.to_string() }
    }

    /// Whether a claim could find anything to do: most looks of an idle worker find nothing,
    /// and need not wait for who writes.
    async fn stirs(&self) -> Result<bool, sqlx::Error> {
        let row = sqlx::query(
            "SELECT EXISTS (SELECT 1 FROM job WHERE state = 'waiting')
                OR EXISTS (SELECT 1 FROM job WHERE state = 'delayed' AND due <= ?1)
                OR EXISTS (SELECT 1 FROM job WHERE state = 'running' AND (lease < ?2 OR boot <> ?3))
                OR EXISTS (SELECT 1 FROM job WHERE state IN ('done', 'dead', 'cancelled') AND due < ?1 - ?4)",
        )
        .bind(clock::now())
        .bind(clock::since_boot())
        .bind(&self.boot)
        .bind(self.keep)
        .fetch_one(&self.pool)
        .await?;
        Ok(row.get::<i64, _>(0) != 0)
    }

    /// Jobs whose lease ran out are due again, or dead; delayed ones come of age; old ones are forgotten.
    async fn tidy(&self, change: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let now = clock::now();
        let lost = sqlx::query("SELECT id FROM job WHERE state = 'running' AND (lease < ? OR boot <> ?) LIMIT ?")
            .bind(clock::since_boot())
            .bind(&self.boot)
            .bind(REAPED_AT_ONCE)
            .fetch_all(&mut *change)
            .await?;
        for row in lost {
            let id: String = row.get(0);
            let held = held(change, &id, None).await?;
            if let Some(held) = held {
                let why = format!("worker `{}` died, or was silent for longer than its lease", held.worker);
                let end = if held.cancel { End::Cancelled } else { End::Retry { why, wait: Duration::ZERO } };
                end_of(change, &id, held, &end).await?;
            }
        }
        let grown = sqlx::query("SELECT id FROM job WHERE state = 'delayed' AND due <= ? ORDER BY due LIMIT 1000")
            .bind(now)
            .fetch_all(&mut *change)
            .await?;
        for row in grown {
            let version = count(change, "version").await?;
            sqlx::query("UPDATE job SET state = 'waiting', version = ? WHERE id = ?")
                .bind(version)
                .bind(row.get::<String, _>(0))
                .execute(&mut *change)
                .await?;
        }
        sqlx::query(
            "DELETE FROM job WHERE id IN
                (SELECT id FROM job WHERE state IN ('done', 'dead', 'cancelled') AND due < ? LIMIT 1000)",
        )
        .bind(now - self.keep)
        .execute(&mut *change)
        .await?;
        Ok(())
    }

    async fn first(&self, change: &mut SqliteConnection, asker: &Asker) -> Result<Option<String>, sqlx::Error> {
        let mut best: Option<(i64, i64, i64, String)> = None;
        for labels in label_keys(asker) {
            let row = sqlx::query(
                "SELECT -priority, turn, place, id FROM job WHERE state = 'waiting' AND labels = ?
                 ORDER BY priority DESC, turn, place LIMIT 1",
            )
            .bind(labels)
            .fetch_optional(&mut *change)
            .await?;
            let Some(row) = row else { continue };
            let next = (row.get(0), row.get(1), row.get(2), row.get(3));
            if best.as_ref().is_none_or(|best| next < *best) {
                best = Some(next);
            }
        }
        let Some((_, turn, _, id)) = best else { return Ok(None) };
        sqlx::query("INSERT INTO counter VALUES ('served', ?1) ON CONFLICT DO UPDATE SET value = max(value, ?1)")
            .bind(turn)
            .execute(change)
            .await?;
        Ok(Some(id))
    }

    async fn submitted(&self, change: &mut SqliteConnection, job: &Job) -> Result<Submitted, QueueError> {
        let unreachable = |error: sqlx::Error| self.unreachable(&error);
        let (identity, named) = job.identity();
        if let Some(id) = twin_of(&mut *change, &identity).await.map_err(unreachable)? {
            return Ok(Submitted { id, new: false });
        }
        let now = clock::now();
        let id = new_id(now)?;
        let turn = turn(change, &job.tenant).await.map_err(unreachable)?;
        let place = count(change, "place").await.map_err(unreachable)?;
        let version = count(change, "version").await.map_err(unreachable)?;
        let delay = i64::try_from(job.delay).unwrap_or(0) * 1000;
        sqlx::query(
            "INSERT INTO job (id, text, state, labels, priority, turn, place, identity, named, attempts, submitted,
                due, version) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&id)
        .bind(job.to_value().to_string())
        .bind(if delay > 0 { "delayed" } else { "waiting" })
        .bind(label_key(&job.labels))
        .bind(job.priority)
        .bind(turn)
        .bind(place)
        .bind(identity)
        .bind(named)
        .bind(job.attempts)
        .bind(now)
        .bind(now + delay)
        .bind(version)
        .execute(change)
        .await
        .map_err(unreachable)?;
        Ok(Submitted { id, new: true })
    }

    async fn taken(
        &self,
        change: &mut SqliteConnection,
        asker: &Asker,
        lease: Duration,
    ) -> Result<Option<Claim>, QueueError> {
        let unreachable = |error: sqlx::Error| self.unreachable(&error);
        self.tidy(change).await.map_err(unreachable)?;
        let Some(id) = self.first(change, asker).await.map_err(unreachable)? else { return Ok(None) };
        let token = random(16)?;
        let counted = i64::from(!fault::mutant("no-attempts"));
        let version = count(change, "version").await.map_err(unreachable)?;
        let row = sqlx::query(
            "UPDATE job SET state = 'running', attempt = attempt + ?, worker = ?, token = ?, boot = ?, lease = ?,
                started = ?, progress = NULL, version = ? WHERE id = ? RETURNING text, attempt, misses",
        )
        .bind(counted)
        .bind(&asker.worker)
        .bind(&token)
        .bind(&self.boot)
        .bind(clock::since_boot() + clock::millis(lease))
        .bind(clock::now())
        .bind(version)
        .bind(&id)
        .fetch_one(change)
        .await
        .map_err(unreachable)?;
        let worker = asker.worker.clone();
        Ok(Some(Claim { id, text: row.get(0), attempt: row.get(1), misses: row.get(2), worker, token }))
    }
}

#[async_trait]
impl Queue for Sqlite {
    async fn submit(&self, job: &Job) -> Result<Submitted, QueueError> {
        let mut change = self.change().await?;
        let submitted = self.submitted(&mut change, job).await?;
        change.commit().await.map_err(|error| self.unreachable(&error))?;
        Ok(submitted)
    }

    async fn twin(&self, job: &Job) -> Result<Option<String>, QueueError> {
        twin_of(&self.pool, &job.identity().0).await.map_err(|error| self.unreachable(&error))
    }

    async fn claim(&self, asker: &Asker, lease: Duration) -> Result<Option<Claim>, QueueError> {
        if !self.stirs().await.map_err(|error| self.unreachable(&error))? {
            return Ok(None);
        }
        let mut change = self.change().await?;
        let claim = self.taken(&mut change, asker, lease).await?;
        change.commit().await.map_err(|error| self.unreachable(&error))?;
        Ok(claim)
    }

    async fn renew(&self, claim: &Claim, lease: Duration, progress: Option<&Progress>) -> Result<bool, QueueError> {
        let unreachable = |error: sqlx::Error| self.unreachable(&error);
        let Some(progress) = progress else {
            let row = sqlx::query("SELECT cancel FROM job WHERE id = ? AND token = ? AND state = 'running'")
                .bind(&claim.id)
                .bind(&claim.token)
                .fetch_optional(&self.pool)
                .await
                .map_err(unreachable)?;
            return row.map(|row| row.get(0)).ok_or_else(|| lost(claim));
        };
        let mut change = self.change().await?;
        let version = count(&mut change, "version").await.map_err(unreachable)?;
        let row = sqlx::query(
            "UPDATE job SET lease = ?, progress = ?, version = ? WHERE id = ? AND token = ? AND state = 'running'
             RETURNING cancel",
        )
        .bind(clock::since_boot() + clock::millis(lease))
        .bind(serde_json::to_string(progress).unwrap_or_default())
        .bind(version)
        .bind(&claim.id)
        .bind(&claim.token)
        .fetch_optional(&mut *change)
        .await
        .map_err(unreachable)?;
        change.commit().await.map_err(unreachable)?;
        row.map(|row| row.get(0)).ok_or_else(|| lost(claim))
    }

    async fn settle(&self, claim: &Claim, end: &End) -> Result<State, QueueError> {
        let unreachable = |error: sqlx::Error| self.unreachable(&error);
        let mut change = self.change().await?;
        let token = Some(claim.token.as_str()).filter(|_| !fault::mutant("no-owner"));
        let held = held(&mut change, &claim.id, token).await.map_err(unreachable)?.ok_or_else(|| lost(claim))?;
        let state = end_of(&mut change, &claim.id, held, end).await.map_err(unreachable)?;
        change.commit().await.map_err(unreachable)?;
        Ok(state)
    }

    async fn cancel(&self, id: &str) -> Result<Option<State>, QueueError> {
        let unreachable = |error: sqlx::Error| self.unreachable(&error);
        let mut change = self.change().await?;
        let version = count(&mut change, "version").await.map_err(unreachable)?;
        let row = sqlx::query(
            "UPDATE job SET cancel = 1, version = ?1,
                ended = CASE WHEN state = 'running' THEN ended ELSE ?2 END,
                due = CASE WHEN state = 'running' THEN due ELSE ?2 END,
                state = CASE WHEN state = 'running' THEN state ELSE 'cancelled' END
             WHERE id = ?3 AND state IN ('waiting', 'delayed', 'running') RETURNING state",
        )
        .bind(version)
        .bind(clock::now())
        .bind(id)
        .fetch_optional(&mut *change)
        .await
        .map_err(unreachable)?;
        let state = match row {
            Some(row) => State::named(row.get(0)),
            None => state_of(&mut change, id).await.map_err(unreachable)?,
        };
        change.commit().await.map_err(unreachable)?;
        Ok(state)
    }

    async fn revive(&self, id: &str) -> Result<Option<State>, QueueError> {
        let unreachable = |error: sqlx::Error| self.unreachable(&error);
        let mut change = self.change().await?;
        let version = count(&mut change, "version").await.map_err(unreachable)?;
        sqlx::query(
            "UPDATE job SET state = 'waiting', cancel = 0, attempt = 0, misses = 0, ended = NULL, due = ?, version = ?
             WHERE id = ? AND state IN ('dead', 'cancelled', 'delayed')",
        )
        .bind(clock::now())
        .bind(version)
        .bind(id)
        .execute(&mut *change)
        .await
        .map_err(unreachable)?;
        let state = state_of(&mut change, id).await.map_err(unreachable)?;
        change.commit().await.map_err(unreachable)?;
        Ok(state)
    }

    async fn get(&self, id: &str) -> Result<Option<Record>, QueueError> {
        let query = sqlx::AssertSqlSafe(format!("{ALL} WHERE id = ?"));
        let row = sqlx::query(query).bind(id).fetch_optional(&self.pool).await;
        Ok(row.map_err(|error| self.unreachable(&error))?.as_ref().map(record))
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Record>, QueueError> {
        let order = if filter.after.is_some() { "version" } else { "submitted DESC, id DESC" };
        let query = format!(
            "{ALL} WHERE version > ? AND (? = '' OR state = ?) AND (? OR instr(labels, '{OWN_LABEL}') = 0)
             ORDER BY {order} LIMIT ?"
        );
        let state = filter.state.map_or("", State::name);
        let rows = sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(i64::try_from(filter.after.unwrap_or(0)).unwrap_or(i64::MAX))
            .bind(state)
            .bind(state)
            .bind(filter.chunks)
            .bind(filter.limit)
            .fetch_all(&self.pool)
            .await;
        Ok(rows.map_err(|error| self.unreachable(&error))?.iter().map(record).collect())
    }

    async fn counts(&self) -> Result<Counts, QueueError> {
        let rows = sqlx::query("SELECT state, count(*) FROM job GROUP BY state").fetch_all(&self.pool).await;
        let mut counts = Counts::default();
        for row in rows.map_err(|error| self.unreachable(&error))? {
            if let Some(state) = State::named(row.get(0)) {
                *counts.of(state) = u64::try_from(row.get::<i64, _>(1)).unwrap_or(0);
            }
        }
        Ok(counts)
    }

    async fn warnings(&self) -> Result<Vec<String>, QueueError> {
        Ok(Vec::new())
    }

    fn address(&self) -> String {
        format!("sqlite:{}", self.path.display())
    }

    fn abilities(&self) -> Abilities {
        Abilities { once: true, fair: true, lists_waiting: true, remote: false }
    }
}

/// The job that stands for a wish already.
async fn twin_of(queue: impl sqlx::SqliteExecutor<'_>, identity: &str) -> Result<Option<String>, sqlx::Error> {
    let query = "SELECT id FROM job WHERE identity = ?
        AND ((named AND state <> 'dead') OR state IN ('waiting', 'delayed', 'running')) LIMIT 1";
    let row = sqlx::query(query).bind(identity).fetch_optional(queue).await?;
    Ok(row.map(|row| row.get(0)))
}

fn lost(claim: &Claim) -> QueueError {
    QueueError::Lost { id: claim.id.clone() }
}
