//! What is done already, in a database file: which chunks of a generation are stored at
//! the destination, and which inputs are published.
//!
//! A row is written only after its objects are durable, with
//! `synchronous=FULL`, so that no row is ever ahead of the truth.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqlitePool;
use sqlx::{Row as _, SqlSafeStr as _};

use crate::model::failure::Failure;
use crate::scratch::database;

/// The layout of the tables. A newer one is refused, an older one would be changed here.
const LAYOUT: i64 = 1;

const TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS chunk (
        place TEXT NOT NULL,
        name TEXT NOT NULL,
        objects TEXT NOT NULL,
        PRIMARY KEY (place, name)
    ) STRICT, WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS published (
        input TEXT NOT NULL,
        destination TEXT NOT NULL,
        settings TEXT NOT NULL,
        id TEXT NOT NULL,
        PRIMARY KEY (input, destination)
    ) STRICT, WITHOUT ROWID",
];

/// One stored object of a chunk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Object {
    /// Its name below the generation, such as `720p/00004.ts`.
    pub name: String,
    /// Its bytes as stored.
    pub bytes: u64,
    /// SHA-256 of the bytes as stored, in hex.
    pub sha256: String,
    /// Seconds of media in it; 0 for what is not a segment.
    #[serde(default)]
    pub seconds: f64,
    /// Bytes up to the end of its first picture, where a playlist of key frames is to lead to it; else 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub head: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What is kept of a finished chunk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// Codec string of each rendition in it, by folder; all chunks must agree.
    pub codecs: Vec<(String, String)>,
    /// SHA-256 of each rendition's header, by folder, where it has one; all chunks must agree.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inits: Vec<(String, String)>,
    /// Its segments.
    pub objects: Vec<Object>,
}

impl Chunk {
    /// This and other renditions of the same part.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.codecs.extend(other.codecs);
        self.inits.extend(other.inits);
        self.objects.extend(other.objects);
        self
    }
}

/// The journal of one state folder.
#[derive(Clone, Debug)]
pub struct Journal {
    pool: SqlitePool,
}

impl Journal {
    /// Opens or makes `forebay.db` in `folder`.
    pub async fn open(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("forebay.db");
        // One connection: one thread owns the file, as SQLite writes one at a time anyway.
        let pool = database::open(&path, 1).await.map_err(failure)?;
        let layout: i64 = sqlx::query("PRAGMA user_version").fetch_one(&pool).await.map_err(failure)?.get(0);
        if layout > LAYOUT {
            return Err(Failure::environment(format!("`{}` was written by a newer version", path.display()))
                .hint("use that version, or another folder with --state"));
        }
        for table in TABLES {
            sqlx::query(table).execute(&pool).await.map_err(failure)?;
        }
        let version = format!("PRAGMA user_version = {LAYOUT}");
        sqlx::query(sqlx::AssertSqlSafe(version).into_sql_str()).execute(&pool).await.map_err(failure)?;
        Ok(Self { pool })
    }

    /// The finished chunks of the generation at `place`, by name.
    pub async fn chunks(&self, place: &str) -> Result<Vec<(String, Chunk)>, Failure> {
        let rows = sqlx::query("SELECT name, objects FROM chunk WHERE place = ? ORDER BY name")
            .bind(place)
            .fetch_all(&self.pool)
            .await
            .map_err(failure)?;
        let read = |row: &sqlx::sqlite::SqliteRow| {
            // A row this version cannot read is a chunk to make again.
            serde_json::from_str(row.get(1)).ok().map(|chunk| (row.get(0), chunk))
        };
        Ok(rows.iter().filter_map(read).collect())
    }

    /// Notes a chunk, whose objects are durable at the destination.
    pub async fn chunk_done(&self, place: &str, name: &str, chunk: &Chunk) -> Result<(), Failure> {
        let objects = serde_json::to_string(chunk).map_err(|error| Failure::environment(error.to_string()))?;
        sqlx::query("INSERT OR REPLACE INTO chunk (place, name, objects) VALUES (?, ?, ?)")
            .bind(place)
            .bind(name)
            .bind(objects)
            .execute(&self.pool)
            .await
            .map_err(failure)?;
        Ok(())
    }

    /// Forgets one chunk, whose objects turned out not to be there.
    pub async fn forget_chunk(&self, place: &str, name: &str) -> Result<(), Failure> {
        sqlx::query("DELETE FROM chunk WHERE place = ? AND name = ?")
            .bind(place)
            .bind(name)
            .execute(&self.pool)
            .await
            .map_err(failure)?;
        Ok(())
    }

    /// Forgets the chunks at `place`: they are published, or given up.
    pub async fn forget(&self, place: &str) -> Result<(), Failure> {
        sqlx::query("DELETE FROM chunk WHERE place = ?").bind(place).execute(&self.pool).await.map_err(failure)?;
        Ok(())
    }

    /// Notes under which id an input was published with these settings.
    pub async fn published(&self, input: &str, destination: &str, settings: &str, id: &str) -> Result<(), Failure> {
        sqlx::query("INSERT OR REPLACE INTO published (input, destination, settings, id) VALUES (?, ?, ?, ?)")
            .bind(input)
            .bind(destination)
            .bind(settings)
            .bind(id)
            .execute(&self.pool)
            .await
            .map_err(failure)?;
        Ok(())
    }

    /// The id an input was published under, if with these settings. Only a
    /// shortcut past asking the source: the destination has the last word.
    pub async fn id_of(&self, input: &str, destination: &str, settings: &str) -> Result<Option<String>, Failure> {
        let row = sqlx::query("SELECT id FROM published WHERE input = ? AND destination = ? AND settings = ?")
            .bind(input)
            .bind(destination)
            .bind(settings)
            .fetch_optional(&self.pool)
            .await
            .map_err(failure)?;
        Ok(row.map(|row| row.get(0)))
    }

    /// Flushes and closes the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

#[expect(clippy::needless_pass_by_value, reason = "fits `map_err`")]
fn failure(error: sqlx::Error) -> Failure {
    Failure::environment(format!("the journal cannot be used: {error}"))
        .hint("check the space and the rights of the state folder, or choose another with --state")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn chunks_are_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let object = Object { name: "720p/00000.ts".into(), bytes: 9, sha256: "ab".into(), seconds: 6.0, head: 9 };
        let codecs = vec![("720p".into(), "avc1.64001f".into())];
        let chunk = Chunk { codecs, inits: vec![("720p".into(), "cd".into())], objects: vec![object] };
        let journal = Journal::open(folder.path()).await.unwrap();
        journal.chunk_done("p", "v00000", &chunk).await.unwrap();
        journal.chunk_done("p", "v00000", &chunk).await.unwrap();
        journal.published("in", "dest", "set", "id").await.unwrap();
        journal.close().await;
        let journal = Journal::open(folder.path()).await.unwrap();
        assert_eq!(journal.chunks("p").await.unwrap(), [("v00000".to_string(), chunk)]);
        assert_eq!(journal.id_of("in", "dest", "set").await.unwrap().as_deref(), Some("id"));
        assert_eq!(journal.id_of("in", "dest", "other").await.unwrap(), None);
        journal.forget("p").await.unwrap();
        assert!(journal.chunks("p").await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_journal_of_the_future_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).await.unwrap();
        sqlx::query("PRAGMA user_version = 99").execute(&journal.pool).await.unwrap();
        journal.close().await;
        assert!(Journal::open(folder.path()).await.unwrap_err().what.contains("newer version"));
    }
}
