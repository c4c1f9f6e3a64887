//! The index of jobs, by which many thousands are searched and paged. It is
//! made from what the queue says, and could be made again.

use std::collections::BTreeSet;

use serde_json::Value;
use sqlx::{Row as _, SqliteConnection};

use super::store::Store;
use super::webhook;
use crate::model::failure::Failure;
use crate::queue::State;

use super::store::failure;

/// The mark of how far the queue was read.
const MARK: &str = "queue";

/// One job as it is indexed.
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) version: u64,
    pub(super) state: State,
    pub(super) submitted: i64,
    pub(super) ended: Option<i64>,
    pub(super) summary: Value,
}

/// Which jobs to give.
#[derive(Clone, Debug, Default)]
pub(super) struct Query {
    pub(super) state: Option<State>,
    /// All of these words, anywhere.
    pub(super) words: Vec<String>,
    /// Only older ones than this.
    pub(super) before: Option<(i64, String)>,
    pub(super) limit: u32,
}

impl Store {
    /// How far queue `address` was read; from the beginning if it is not the one that was read before.
    pub(super) async fn cursor(&self, address: &str) -> Result<u64, Failure> {
        let query = "SELECT value FROM mark WHERE name = ?";
        let row = sqlx::query(query).bind(MARK).fetch_optional(self.pool()).await.map_err(failure)?;
        let text: String = row.map(|row| row.get(0)).unwrap_or_default();
        let known = text.split_once(' ').filter(|(_, known)| *known == address);
        Ok(known.and_then(|(version, _)| version.parse().ok()).unwrap_or(0))
    }

    /// Forgets all jobs, to read them anew.
    pub(super) async fn forget_jobs(&self) -> Result<(), Failure> {
        let mut change = self.pool().begin().await.map_err(failure)?;
        for query in ["DELETE FROM job", "DELETE FROM mark WHERE name = 'queue'"] {
            sqlx::query(query).execute(&mut *change).await.map_err(failure)?;
        }
        change.commit().await.map_err(failure)
    }

    /// The job that changed last, of those that are known: its number, its version, and when it was over.
    pub(super) async fn newest(&self) -> Result<Option<(String, u64, Option<i64>)>, Failure> {
        let query = "SELECT id, version, ended FROM job ORDER BY version DESC LIMIT 1";
        let row = sqlx::query(query).fetch_optional(self.pool()).await.map_err(failure)?;
        Ok(row.map(|row| (row.get(0), u64::try_from(row.get::<i64, _>(1)).unwrap_or(0), row.get(2))))
    }

    /// Takes in jobs that changed, and with them, in one transaction, what is to
    /// be told of them and how far the queue was read.
    pub(super) async fn take_in(&self, entries: &[Entry], address: &str, now: i64) -> Result<(), Failure> {
        let mut change = self.pool().begin_with("BEGIN IMMEDIATE").await.map_err(failure)?;
        let mut last = 0;
        for entry in entries {
            let before = upsert(&mut change, entry).await.map_err(failure)?;
            // By the time of its end too: it may have been tried again, and failed again, since the last look.
            if entry.state.is_over() && before != Some((entry.state.name().to_owned(), entry.ended)) {
                webhook::announce(&mut change, entry, now).await.map_err(failure)?;
            }
            last = last.max(entry.version);
        }
        sqlx::query("INSERT OR REPLACE INTO mark VALUES (?, ?)")
            .bind(MARK)
            .bind(format!("{last} {address}"))
            .execute(&mut *change)
            .await
            .map_err(failure)?;
        change.commit().await.map_err(failure)
    }

    /// Jobs by `query`, the newest first.
    pub(super) async fn page(&self, query: &Query) -> Result<Vec<Value>, Failure> {
        let mut text = String::from("SELECT summary FROM job WHERE 1");
        if query.state.is_some() {
            text += " AND state = ?";
        }
        if query.before.is_some() {
            text += " AND (submitted, id) < (?, ?)";
        }
        for _ in &query.words {
            text += " AND instr(words, ?)";
        }
        text += " ORDER BY submitted DESC, id DESC LIMIT ?";
        let mut asked = sqlx::query(sqlx::AssertSqlSafe(text));
        if let Some(state) = query.state {
            asked = asked.bind(state.name());
        }
        if let Some((submitted, id)) = &query.before {
            asked = asked.bind(submitted).bind(id);
        }
        for word in &query.words {
            asked = asked.bind(word);
        }
        let rows = asked.bind(query.limit).fetch_all(self.pool()).await.map_err(failure)?;
        Ok(rows.iter().filter_map(|row| serde_json::from_str(row.get(0)).ok()).collect())
    }

    /// Jobs that changed after `version`, in the order of their changes.
    pub(super) async fn since(&self, version: u64, limit: u32) -> Result<Vec<Value>, Failure> {
        let rows = sqlx::query("SELECT summary FROM job WHERE version > ? ORDER BY version LIMIT ?")
            .bind(i64::try_from(version).unwrap_or(i64::MAX))
            .bind(limit)
            .fetch_all(self.pool())
            .await
            .map_err(failure)?;
        Ok(rows.iter().filter_map(|row| serde_json::from_str(row.get(0)).ok()).collect())
    }

    /// The uploads that jobs name which are not over.
    pub(super) async fn wanted_uploads(&self) -> Result<BTreeSet<String>, Failure> {
        let query = "SELECT substr(json_extract(summary, '$.input'), 8) FROM job
            WHERE state IN ('waiting', 'delayed', 'running') AND json_extract(summary, '$.input') LIKE 'upload:%'";
        let rows = sqlx::query(query).fetch_all(self.pool()).await.map_err(failure)?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// How many jobs there are in each state.
    pub(super) async fn job_counts(&self) -> Result<Vec<(State, u64)>, Failure> {
        let query = "SELECT state, count(*) FROM job GROUP BY state";
        let rows = sqlx::query(query).fetch_all(self.pool()).await.map_err(failure)?;
        let count = |state: State| {
            let row = rows.iter().find(|row| row.get::<String, _>(0) == state.name());
            (state, row.map_or(0, |row| u64::try_from(row.get::<i64, _>(1)).unwrap_or(0)))
        };
        Ok(State::ALL.map(count).into())
    }

    /// Forgets jobs that were over before `limit`.
    pub(super) async fn forget_jobs_before(&self, limit: i64) -> Result<(), Failure> {
        sqlx::query("DELETE FROM job WHERE ended < ?").bind(limit).execute(self.pool()).await.map_err(failure)?;
        Ok(())
    }
}

/// Writes a row, and gives the state that was there before, and when that was the job's end.
async fn upsert(change: &mut SqliteConnection, entry: &Entry) -> Result<Option<(String, Option<i64>)>, sqlx::Error> {
    let query = "SELECT state, ended FROM job WHERE id = ?";
    let before = sqlx::query(query).bind(&entry.id).fetch_optional(&mut *change).await?;
    sqlx::query("INSERT OR REPLACE INTO job VALUES (?, ?, ?, ?, ?, ?, ?)")
        .bind(&entry.id)
        .bind(i64::try_from(entry.version).unwrap_or(i64::MAX))
        .bind(entry.state.name())
        .bind(entry.submitted)
        .bind(entry.ended.filter(|_| entry.state.is_over()))
        .bind(super::summary::words(&entry.summary))
        .bind(entry.summary.to_string())
        .execute(change)
        .await?;
    Ok(before.map(|row| (row.get(0), row.get(1))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(number: u64, state: State, title: &str) -> Entry {
        let id = format!("{number:08}");
        let summary = json!({ "id": id, "title": title, "state": state.name() });
        let submitted = i64::try_from(number).unwrap();
        Entry { id, version: number + 1, state, submitted, ended: Some(submitted), summary }
    }

    #[tokio::test]
    async fn a_hundred_thousand_jobs_are_searched_and_paged_quickly() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        let states = [State::Done, State::Done, State::Dead, State::Waiting];
        for batch in 0..20_u64 {
            let entries: Vec<Entry> = (batch * 5000..(batch + 1) * 5000)
                .map(|number| {
                    let title = format!("Évening {number} at the lake, with a title of usual length");
                    entry(number, states[usize::try_from(number % 4).unwrap()], &title)
                })
                .collect();
            store.take_in(&entries, "q", 0).await.unwrap();
        }
        let begun = std::time::Instant::now();
        let mut query = Query { limit: 50, ..Query::default() };
        let first = store.page(&query).await.unwrap();
        assert_eq!(first[0]["id"], "00099999");
        query.before = Some((99_950, "00099950".into()));
        assert_eq!(store.page(&query).await.unwrap()[0]["id"], "00099949");
        query = Query { state: Some(State::Dead), words: vec!["évening 42 at".into()], limit: 50, before: None };
        assert_eq!(store.page(&query).await.unwrap().len(), 1);
        query.words.push("nowhere".into());
        assert!(store.page(&query).await.unwrap().is_empty());
        assert_eq!(store.job_counts().await.unwrap()[3], (State::Done, 50_000));
        let time = begun.elapsed();
        // Four questions, two of which look at every job; a tenth of this on an idle machine.
        assert!(time < std::time::Duration::from_secs(4), "{time:?}");
    }

    #[tokio::test]
    async fn the_cursor_belongs_to_one_queue() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        store.take_in(&[entry(6, State::Running, "a")], "redis://a b", 0).await.unwrap();
        assert_eq!(store.cursor("redis://a b").await.unwrap(), 7);
        assert_eq!(store.cursor("redis://other").await.unwrap(), 0);
        assert_eq!(store.since(6, 9).await.unwrap().len(), 1);
        store.forget_jobs().await.unwrap();
        assert_eq!(store.cursor("redis://a b").await.unwrap(), 0);
        assert!(store.since(0, 9).await.unwrap().is_empty());
    }
}
