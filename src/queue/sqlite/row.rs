//! Rows of the tables, and the few changes that several verbs share.

use serde_json::Value;
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::queue::{End, Entry, Record, State, after, clock, note, word};

/// The columns of a record.
pub(super) const ALL: &str = "SELECT id, text, state, attempt, worker, submitted, due, started, ended, progress, result, log, \
                   cancel, version FROM job";

/// What a change of a job needs to know of it.
pub(super) struct Held {
    pub(super) attempt: u32,
    pub(super) attempts: u32,
    pub(super) cancel: bool,
    pub(super) worker: String,
    pub(super) log: Vec<Entry>,
}

/// The next number of a counter.
pub(super) async fn count(change: &mut SqliteConnection, name: &str) -> Result<i64, sqlx::Error> {
    let row =
        sqlx::query("INSERT INTO counter VALUES (?, 1) ON CONFLICT DO UPDATE SET value = value + 1 RETURNING value")
            .bind(name)
            .fetch_one(change)
            .await?;
    Ok(row.get(0))
}

/// The turn of a tenant's next job: one after its last, and not before the turn that is served now.
pub(super) async fn turn(change: &mut SqliteConnection, tenant: &str) -> Result<i64, sqlx::Error> {
    let row = sqlx::query(
        "INSERT INTO tenant VALUES (?1, 1 + coalesce((SELECT value FROM counter WHERE name = 'served'), 0))
         ON CONFLICT DO UPDATE
         SET turn = 1 + max(turn, coalesce((SELECT value FROM counter WHERE name = 'served'), 0)) RETURNING turn",
    )
    .bind(tenant)
    .fetch_one(change)
    .await?;
    Ok(row.get(0))
}

pub(super) async fn state_of(change: &mut SqliteConnection, id: &str) -> Result<Option<State>, sqlx::Error> {
    let row = sqlx::query("SELECT state FROM job WHERE id = ?").bind(id).fetch_optional(change).await?;
    Ok(row.and_then(|row| State::named(row.get(0))))
}

/// A running job, if the token is the one under which it was lent.
pub(super) async fn held(
    change: &mut SqliteConnection,
    id: &str,
    token: Option<&str>,
) -> Result<Option<Held>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT attempt, attempts, cancel, worker, log FROM job
         WHERE id = ?1 AND state = 'running' AND (?2 IS NULL OR token = ?2)",
    )
    .bind(id)
    .bind(token)
    .fetch_optional(change)
    .await?;
    Ok(row.map(|row| Held {
        attempt: row.get(0),
        attempts: row.get(1),
        cancel: row.get(2),
        worker: row.get::<Option<String>, _>(3).unwrap_or_default(),
        log: serde_json::from_str(row.get(4)).unwrap_or_default(),
    }))
}

/// Writes the end of a claim.
pub(super) async fn end_of(
    change: &mut SqliteConnection,
    id: &str,
    mut held: Held,
    end: &End,
) -> Result<State, sqlx::Error> {
    let (mut state, wait) = after(end, held.attempt, held.attempts);
    if held.cancel && !state.is_over() {
        state = State::Cancelled;
    }
    let now = clock::now();
    note(&mut held.log, Entry { at: now, attempt: held.attempt, worker: held.worker, what: word(end) });
    let result = if let End::Done(result) = end { Some(result.to_string()) } else { None };
    let released = matches!(end, End::Released { .. });
    let miss = matches!(end, End::Released { miss: true, .. });
    let version = count(change, "version").await?;
    sqlx::query(
        "UPDATE job SET state = ?, token = NULL, lease = NULL, boot = NULL, attempt = max(attempt - ?, 0),
            misses = CASE WHEN ? THEN misses + 1 ELSE 0 END, due = ?, ended = ?, result = ?, log = ?, version = ?
         WHERE id = ?",
    )
    .bind(state.name())
    .bind(i64::from(released))
    .bind(miss)
    .bind(now + clock::millis(wait))
    .bind(state.is_over().then_some(now))
    .bind(result)
    .bind(serde_json::to_string(&held.log).unwrap_or_default())
    .bind(version)
    .bind(id)
    .execute(change)
    .await?;
    Ok(state)
}

pub(super) fn record(row: &SqliteRow) -> Record {
    let json = |column: usize| row.get::<Option<&str>, _>(column).and_then(|text| serde_json::from_str(text).ok());
    Record {
        id: row.get(0),
        job: serde_json::from_str(row.get(1)).unwrap_or(Value::Null),
        state: State::named(row.get(2)).unwrap_or(State::Dead),
        attempt: row.get(3),
        worker: row.get(4),
        submitted: row.get(5),
        due: row.get(6),
        started: row.get(7),
        ended: row.get(8),
        progress: row.get::<Option<&str>, _>(9).and_then(|text| serde_json::from_str(text).ok()),
        result: json(10),
        log: serde_json::from_str(row.get(11)).unwrap_or_default(),
        cancel: row.get(12),
        version: u64::try_from(row.get::<i64, _>(13)).unwrap_or(0),
    }
}
