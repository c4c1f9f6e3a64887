//! What the server remembers by itself, in `serve.db`: tokens, webhooks and
//! their outbox, and an index of jobs for searching, which can be made anew.

use std::path::Path;

use sqlx::sqlite::SqlitePool;
use sqlx::{Row as _, SqlSafeStr as _};

use crate::model::failure::Failure;
use crate::model::secret::Secret;
use crate::scratch::database;
use crate::scratch::file::{self, Privacy};

/// The layout of the tables. A newer one is refused, an older one would be changed here.
const LAYOUT: i64 = 1;

/// Readers at the same time; writers take turns anyway.
const CONNECTIONS: u32 = 6;

const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS secret (name TEXT PRIMARY KEY, bytes BLOB NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS token (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        scopes TEXT NOT NULL,
        digest BLOB NOT NULL,
        created INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS mark (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS job (
        id TEXT PRIMARY KEY,
        version INTEGER NOT NULL,
        state TEXT NOT NULL,
        submitted INTEGER NOT NULL,
        ended INTEGER,
        words TEXT NOT NULL,
        summary TEXT NOT NULL
    ) STRICT",
    "CREATE INDEX IF NOT EXISTS job_newest ON job (submitted DESC, id DESC)",
    "CREATE INDEX IF NOT EXISTS job_state ON job (state, submitted DESC, id DESC)",
    "CREATE INDEX IF NOT EXISTS job_version ON job (version)",
    "CREATE TABLE IF NOT EXISTS webhook (
        id TEXT PRIMARY KEY,
        url TEXT NOT NULL,
        secret BLOB NOT NULL,
        created INTEGER NOT NULL,
        disabled TEXT
    ) STRICT, WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS message (
        id TEXT NOT NULL,
        webhook TEXT NOT NULL,
        body TEXT NOT NULL,
        created INTEGER NOT NULL,
        due INTEGER,
        tries INTEGER NOT NULL DEFAULT 0,
        sent INTEGER,
        answer TEXT,
        PRIMARY KEY (id, webhook)
    ) STRICT, WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS message_due ON message (due) WHERE due IS NOT NULL",
];

/// The file.
#[derive(Clone, Debug)]
pub struct Store {
    pool: SqlitePool,
}

impl Store {
    /// Opens or makes `serve.db` in `folder`, for the owner's eyes alone.
    pub async fn open(folder: &Path) -> Result<Self, Failure> {
        file::make_folder(folder, Privacy::Private)
            .map_err(|error| Failure::io(&format!("could not make the folder `{}`", folder.display()), &error))?;
        let path = folder.join("serve.db");
        private(&path).map_err(|error| Failure::io(&format!("could not make `{}`", path.display()), &error))?;
        let pool = database::open(&path, CONNECTIONS).await.map_err(failure)?;
        let layout: i64 = sqlx::query("PRAGMA user_version").fetch_one(&pool).await.map_err(failure)?.get(0);
        if layout > LAYOUT {
            return Err(Failure::environment(format!("`{}` was written by a newer version", path.display()))
                .hint("use that version, or another folder with --state"));
        }
        for table in TABLES {
            sqlx::query(*table).execute(&pool).await.map_err(failure)?;
        }
        let version = format!("PRAGMA user_version = {LAYOUT}");
        sqlx::query(sqlx::AssertSqlSafe(version).into_sql_str()).execute(&pool).await.map_err(failure)?;
        Ok(Self { pool })
    }

    /// The secret called `name`, drawn the first time.
    pub(super) async fn secret(&self, name: &str) -> Result<Secret, Failure> {
        sqlx::query("INSERT OR IGNORE INTO secret VALUES (?, ?)")
            .bind(name)
            .bind(random(32)?)
            .execute(&self.pool)
            .await
            .map_err(failure)?;
        let row = sqlx::query("SELECT bytes FROM secret WHERE name = ?").bind(name).fetch_one(&self.pool).await;
        Ok(Secret::new(row.map_err(failure)?.get(0)))
    }

    /// Whether it can be read.
    pub(super) async fn ping(&self) -> Result<(), Failure> {
        sqlx::query("SELECT 1").execute(&self.pool).await.map_err(failure)?;
        Ok(())
    }

    /// The file's connections, for the modules that own a table.
    pub(super) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Flushes and closes the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Makes the file before the database does, which would let everybody read it.
fn private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    Ok(())
}

/// Random bytes.
pub(super) fn random(bytes: usize) -> Result<Vec<u8>, Failure> {
    let mut buffer = vec![0; bytes];
    getrandom::fill(&mut buffer)
        .map_err(|error| Failure::environment(format!("the system gives no random bytes: {error}")))?;
    Ok(buffer)
}

/// An error of the database in words.
#[expect(clippy::needless_pass_by_value, reason = "fits `map_err`")]
pub(super) fn failure(error: sqlx::Error) -> Failure {
    Failure::environment(format!("the server's own database cannot be used: {error}"))
        .hint("check the space and the rights of the state folder")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn secrets_are_drawn_once_and_kept_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        let secret = store.secret("a").await.unwrap();
        assert_ne!(secret, store.secret("b").await.unwrap());
        store.close().await;
        let store = Store::open(folder.path()).await.unwrap();
        assert_eq!(secret, store.secret("a").await.unwrap());
        let mode = std::fs::metadata(folder.path().join("serve.db")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
