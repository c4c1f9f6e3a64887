//! Which pictures are done: what was made of which source, under which name, and whom it was mailed to.
//!
//! A name is noted before its picture is written, so that a run that is killed
//! in between finds its own file again and does not make a second one. So is a
//! message before it is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sqlx::Row as _;
use sqlx::sqlite::SqlitePool;

use crate::model::failure::Failure;
use crate::scratch::database;

const TABLES: [&str; 3] = [
    "CREATE TABLE IF NOT EXISTS picture (
        destination TEXT NOT NULL,
        source TEXT NOT NULL,
        name TEXT NOT NULL,
        stamp TEXT NOT NULL,
        settings TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        PRIMARY KEY (destination, source)
    ) STRICT, WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS mailed (
        recipients TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        message TEXT NOT NULL,
        PRIMARY KEY (recipients, sha256)
    ) STRICT, WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS outgoing (
        recipients TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        message TEXT NOT NULL,
        PRIMARY KEY (recipients, sha256)
    ) STRICT, WITHOUT ROWID",
];

/// Of a picture, by recipients, digest and message: it is about to be sent.
const SENDING: &str = "INSERT OR REPLACE INTO outgoing (recipients, sha256, message) VALUES (?1, ?2, ?3)";

/// It is known whether it was sent.
const SETTLED: &str = "DELETE FROM outgoing WHERE recipients = ?1 AND sha256 = ?2";

/// It was sent.
const SENT: &str = "INSERT OR REPLACE INTO mailed (recipients, sha256, message) VALUES (?1, ?2, ?3)";

/// What is noted of one picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// Its name at the destination.
    pub name: String,
    /// Which version of the source it was made of; empty while it is only named.
    pub stamp: String,
    /// With which settings.
    pub settings: String,
    /// Its bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
}

/// The pictures of one destination.
#[derive(Clone, Debug)]
pub struct Album {
    pool: SqlitePool,
    destination: String,
}

impl Album {
    /// Opens or makes `photos.db` in `folder`, and looks at the pictures of `destination`.
    pub async fn open(folder: &Path, destination: &str) -> Result<Self, Failure> {
        let pool = database::open(&folder.join("photos.db"), 1).await.map_err(failure)?;
        for table in TABLES {
            sqlx::query(table).execute(&pool).await.map_err(failure)?;
        }
        Ok(Self { pool, destination: destination.into() })
    }

    /// What is noted of `source`.
    pub async fn find(&self, source: &str) -> Result<Option<Picture>, Failure> {
        let row = sqlx::query(
            "SELECT name, stamp, settings, bytes, sha256 FROM picture WHERE destination = ? AND source = ?",
        )
        .bind(&self.destination)
        .bind(source)
        .fetch_optional(&self.pool)
        .await
        .map_err(failure)?;
        Ok(row.map(|row| Picture {
            name: row.get(0),
            stamp: row.get(1),
            settings: row.get(2),
            bytes: row.get::<i64, _>(3).unsigned_abs(),
            sha256: row.get(4),
        }))
    }

    /// Every name that a picture has, or will have.
    pub async fn names(&self) -> Result<Vec<String>, Failure> {
        let rows = sqlx::query("SELECT name FROM picture WHERE destination = ?")
            .bind(&self.destination)
            .fetch_all(&self.pool)
            .await
            .map_err(failure)?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Notes what was made of `source`, or with an empty stamp what it will be called.
    pub async fn note(&self, source: &str, picture: &Picture) -> Result<(), Failure> {
        sqlx::query(
            "INSERT OR REPLACE INTO picture (destination, source, name, stamp, settings, bytes, sha256) \
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&self.destination)
        .bind(source)
        .bind(&picture.name)
        .bind(&picture.stamp)
        .bind(&picture.settings)
        .bind(picture.bytes.cast_signed())
        .bind(&picture.sha256)
        .execute(&self.pool)
        .await
        .map_err(failure)?;
        Ok(())
    }

    /// Whether a picture with these bytes was mailed to these people.
    pub async fn was_mailed(&self, recipients: &str, sha256: &str) -> Result<bool, Failure> {
        let row = sqlx::query("SELECT 1 FROM mailed WHERE recipients = ? AND sha256 = ?")
            .bind(recipients)
            .bind(sha256)
            .fetch_optional(&self.pool)
            .await
            .map_err(failure)?;
        Ok(row.is_some())
    }

    /// Notes that the message with these pictures is about to be sent. Nobody knows whether it was
    /// taken until [`Album::mailed`] says so.
    pub async fn mailing(&self, recipients: &str, message: &str, sha256s: &[String]) -> Result<(), Failure> {
        self.of_each(&[SENDING], recipients, message, sha256s).await
    }

    /// Notes that the message with these pictures was refused, so that they may go with others.
    pub async fn not_mailed(&self, recipients: &str, sha256s: &[String]) -> Result<(), Failure> {
        self.of_each(&[SETTLED], recipients, "", sha256s).await
    }

    /// Messages to these people that may have been taken or not: the ids, and the pictures of each.
    pub async fn unanswered(&self, recipients: &str) -> Result<BTreeMap<String, BTreeSet<String>>, Failure> {
        let rows = sqlx::query("SELECT message, sha256 FROM outgoing WHERE recipients = ?")
            .bind(recipients)
            .fetch_all(&self.pool)
            .await
            .map_err(failure)?;
        let mut messages: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for row in rows {
            messages.entry(row.get(0)).or_default().insert(row.get(1));
        }
        Ok(messages)
    }

    /// Notes that the message with these pictures was accepted.
    pub async fn mailed(&self, recipients: &str, message: &str, sha256s: &[String]) -> Result<(), Failure> {
        self.of_each(&[SENT, SETTLED], recipients, message, sha256s).await
    }

    /// Runs `statements` for every picture of a message, all or none.
    async fn of_each(
        &self,
        statements: &[&'static str],
        recipients: &str,
        message: &str,
        sha256s: &[String],
    ) -> Result<(), Failure> {
        let mut transaction = self.pool.begin().await.map_err(failure)?;
        for sha256 in sha256s {
            for statement in statements {
                let query = sqlx::query(*statement).bind(recipients).bind(sha256).bind(message);
                query.execute(&mut *transaction).await.map_err(failure)?;
            }
        }
        transaction.commit().await.map_err(failure)
    }

    /// Flushes and closes the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

#[expect(clippy::needless_pass_by_value, reason = "fits `map_err`")]
fn failure(error: sqlx::Error) -> Failure {
    Failure::environment(format!("the album of pictures cannot be used: {error}"))
        .hint("check the space and the rights of the state folder, or choose another with --state")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pictures_are_known_after_a_restart_and_by_destination() {
        let folder = tempfile::tempdir().unwrap();
        let picture = Picture { name: "a.jpg".into(), stamp: "1".into(), bytes: 7, ..Picture::default() };
        let album = Album::open(folder.path(), "/out").await.unwrap();
        album.note("/in/a.jpg", &picture).await.unwrap();
        album.mailing("ann", "id", &["ab".into(), "cd".into()]).await.unwrap();
        album.mailing("bob", "other", &["ab".into()]).await.unwrap();
        album.mailed("ann", "id", &["ab".into()]).await.unwrap();
        album.close().await;
        let album = Album::open(folder.path(), "/out").await.unwrap();
        assert_eq!(album.find("/in/a.jpg").await.unwrap(), Some(picture));
        assert_eq!(album.names().await.unwrap(), ["a.jpg"]);
        album.not_mailed("bob", &["ab".into()]).await.unwrap();
        assert!(album.unanswered("bob").await.unwrap().is_empty());
        let unanswered = album.unanswered("ann").await.unwrap();
        assert_eq!(unanswered, BTreeMap::from([("id".into(), BTreeSet::from(["cd".into()]))]));
        assert!(album.was_mailed("ann", "ab").await.unwrap() && !album.was_mailed("bob", "ab").await.unwrap());
        album.close().await;
        let other = Album::open(folder.path(), "/other").await.unwrap();
        assert_eq!(other.find("/in/a.jpg").await.unwrap(), None);
    }
}
