//! All statements of the catalog, the same for `SQLite` and `PostgreSQL`.

use std::path::Path;

use sqlx::sqlite::SqlitePool;
use sqlx::{Row as _, SqlSafeStr as _};

use super::{Facts, Row};
use crate::model::failure::Failure;
use crate::plan::migrate::Known;
use crate::scratch::database;

/// What makes each version of the schema from the one before, statement by statement.
const MIGRATIONS: [&str; 2] = [include_str!("schema-1.sql"), include_str!("schema-2.sql")];

/// Connections to `PostgreSQL`: questions are short.
#[cfg(feature = "postgres")]
const CONNECTIONS: u32 = 8;

const FIND: &str = "SELECT version, bytes, md5 FROM object WHERE source = $1 AND destination = $2 AND key = $3";

const PUT: &str = "INSERT INTO object (source, destination, key, version, bytes, content_type, media_type, modified, \
     md5, sha256, metadata, width, height, seconds, taken, camera, latitude, longitude, facts, verified, seen) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21) \
     ON CONFLICT (source, destination, key) DO UPDATE SET version = excluded.version, bytes = excluded.bytes, \
     content_type = excluded.content_type, media_type = excluded.media_type, modified = excluded.modified, \
     md5 = excluded.md5, sha256 = excluded.sha256, metadata = excluded.metadata, width = excluded.width, \
     height = excluded.height, seconds = excluded.seconds, taken = excluded.taken, camera = excluded.camera, \
     latitude = excluded.latitude, longitude = excluded.longitude, facts = excluded.facts, \
     verified = excluded.verified, seen = excluded.seen";

const SEEN: &str = "UPDATE object SET seen = $4 WHERE source = $1 AND destination = $2 AND key = $3";

const LAST_RUN: &str = "SELECT COALESCE(MAX(seen), 0) FROM object WHERE source = $1 AND destination = $2";

const UNSEEN: &str = "SELECT key FROM object WHERE source = $1 AND destination = $2 AND seen < $3 AND key > $4 \
     ORDER BY key LIMIT 1000";

const PAGE: &str = "SELECT key, version, bytes, md5, sha256 FROM object WHERE source = $1 AND destination = $2 \
     AND key > $3 ORDER BY key LIMIT 1000";

/// Rows under names that tell less become those of the migration, unless it has rows of its own.
const ADOPT: &str = "UPDATE object SET source = $1, destination = $2 WHERE source = $3 AND destination = $4 \
     AND NOT EXISTS (SELECT 1 FROM object WHERE source = $1 AND destination = $2)";

/// What a migration is told from others by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Where objects come from.
    pub source: String,
    /// Where they go.
    pub destination: String,
}

/// The catalog of one migration.
pub struct Catalog {
    pool: Pool,
    source: String,
    destination: String,
    run: i64,
}

enum Pool {
    Sqlite(SqlitePool),
    #[cfg(feature = "postgres")]
    Postgres(sqlx::PgPool),
}

/// One change of the catalog.
#[derive(Clone, Debug)]
pub enum Change {
    /// An object was copied and checked.
    Put(Box<Row>),
    /// An object is still as its row says.
    Seen(String),
}

/// A row that is to be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// What is known of it.
    pub known: Known,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
}

/// Does the same with either kind of pool.
macro_rules! with_pool {
    ($catalog:expr, $pool:ident => $work:expr) => {
        match &$catalog.pool {
            Pool::Sqlite($pool) => $work,
            #[cfg(feature = "postgres")]
            Pool::Postgres($pool) => $work,
        }
    };
}

/// The address of a catalog that is gone with the run.
pub const IN_MEMORY: &str = "sqlite::memory:";

/// Whether `address` is that of a file which is not there yet.
pub fn is_new(address: &str) -> bool {
    !is_postgres(address) && !file(address).exists()
}

impl Catalog {
    /// Opens or makes the catalog at `address`: a path, `sqlite:PATH`, or `postgres://USER@HOST/DATABASE`. `before` is
    /// what the places were called by versions that did not tell servers apart.
    pub async fn open(address: &str, places: Places, before: &Places) -> Result<Self, Failure> {
        let pool =
            if is_postgres(address) { postgres(address).await? } else { Pool::Sqlite(sqlite(file(address)).await?) };
        let adopts = places != *before;
        let mut catalog = Self { pool, source: places.source, destination: places.destination, run: 0 };
        catalog.migrate().await?;
        if adopts {
            catalog.adopt(before).await?;
        }
        let last: i64 = with_pool!(catalog, pool => sqlx::query(LAST_RUN)
            .bind(&catalog.source).bind(&catalog.destination).fetch_one(pool).await.map_err(failure)?.get(0));
        catalog.run = last + 1;
        Ok(catalog)
    }

    async fn migrate(&self) -> Result<(), Failure> {
        with_pool!(self, pool => {
            let begin = "CREATE TABLE IF NOT EXISTS catalog_version (version BIGINT NOT NULL)";
            sqlx::query(begin).execute(pool).await.map_err(failure)?;
            let version: i64 = sqlx::query("SELECT COALESCE(MAX(version), 0) FROM catalog_version")
                .fetch_one(pool).await.map_err(failure)?.get(0);
            let version = usize::try_from(version).unwrap_or(usize::MAX);
            if version > MIGRATIONS.len() {
                return Err(Failure::environment("the catalog was written by a newer version of forebay")
                    .hint("use that version, or another catalog"));
            }
            for (number, text) in (1_i64..).zip(MIGRATIONS).skip(version) {
                let mut transaction = pool.begin().await.map_err(failure)?;
                for statement in text.split(';').map(str::trim).filter(|statement| !statement.is_empty()) {
                    let statement = sqlx::AssertSqlSafe(statement.to_owned()).into_sql_str();
                    sqlx::query(statement).execute(&mut *transaction).await.map_err(failure)?;
                }
                sqlx::query("INSERT INTO catalog_version (version) VALUES ($1)")
                    .bind(number).execute(&mut *transaction).await.map_err(failure)?;
                transaction.commit().await.map_err(failure)?;
            }
        });
        Ok(())
    }

    async fn adopt(&self, before: &Places) -> Result<(), Failure> {
        with_pool!(self, pool => sqlx::query(ADOPT)
            .bind(&self.source).bind(&self.destination).bind(&before.source).bind(&before.destination)
            .execute(pool).await.map_err(failure).map(|_| ()))
    }

    /// What is known of an object.
    pub async fn find(&self, key: &str) -> Result<Option<Known>, Failure> {
        Ok(with_pool!(self, pool => sqlx::query(FIND)
            .bind(&self.source).bind(&self.destination).bind(key)
            .fetch_optional(pool).await.map_err(failure)?
            .map(|row| Known { version: row.get(0), bytes: row.get::<i64, _>(1).unsigned_abs(), md5: row.get(2) })))
    }

    /// Makes all changes, durably, or none.
    pub async fn change(&self, changes: &[Change]) -> Result<(), Failure> {
        let now = jiff::Timestamp::now().to_string();
        with_pool!(self, pool => {
            let mut transaction = pool.begin().await.map_err(failure)?;
            for change in changes {
                match change {
                    Change::Seen(key) => {
                        let update = sqlx::query(SEEN).bind(&self.source).bind(&self.destination).bind(key);
                        update.bind(self.run).execute(&mut *transaction).await.map_err(failure)?;
                    }
                    Change::Put(row) => {
                        let Facts { width, height, seconds, taken, camera, latitude, longitude, more } = &row.facts;
                        let put = sqlx::query(PUT).bind(&self.source).bind(&self.destination).bind(&row.key)
                            .bind(&row.version).bind(row.bytes.cast_signed()).bind(&row.content_type)
                            .bind(&row.media_type).bind(&row.modified).bind(&row.md5).bind(&row.sha256)
                            .bind(text(&row.metadata)).bind(width.map(i64::from)).bind(height.map(i64::from))
                            .bind(seconds).bind(taken).bind(camera).bind(latitude).bind(longitude)
                            .bind(text(more)).bind(&now).bind(self.run);
                        put.execute(&mut *transaction).await.map_err(failure)?;
                    }
                }
            }
            transaction.commit().await.map_err(failure)
        })
    }

    /// Up to a thousand keys that this run did not meet, from behind `after` on.
    pub async fn unseen(&self, after: &str) -> Result<Vec<String>, Failure> {
        Ok(with_pool!(self, pool => sqlx::query(UNSEEN)
            .bind(&self.source).bind(&self.destination).bind(self.run).bind(after)
            .fetch_all(pool).await.map_err(failure)?.iter().map(|row| row.get(0)).collect()))
    }

    /// Up to a thousand rows, from behind `after` on.
    pub async fn page(&self, after: &str) -> Result<Vec<Listed>, Failure> {
        Ok(with_pool!(self, pool => sqlx::query(PAGE)
            .bind(&self.source).bind(&self.destination).bind(after)
            .fetch_all(pool).await.map_err(failure)?.iter().map(|row| Listed {
                key: row.get(0),
                known: Known { version: row.get(1), bytes: row.get::<i64, _>(2).unsigned_abs(), md5: row.get(3) },
                sha256: row.get(4),
            }).collect()))
    }

    /// Flushes and closes it.
    pub async fn close(&self) {
        with_pool!(self, pool => pool.close().await);
    }
}

fn is_postgres(address: &str) -> bool {
    address.starts_with("postgres://") || address.starts_with("postgresql://")
}

fn file(address: &str) -> &Path {
    Path::new(address.strip_prefix("sqlite:").unwrap_or(address))
}

async fn sqlite(path: &Path) -> Result<SqlitePool, Failure> {
    database::open(path, 1).await.map_err(failure)
}

#[cfg(feature = "postgres")]
async fn postgres(address: &str) -> Result<Pool, Failure> {
    let options = sqlx::postgres::PgPoolOptions::new().max_connections(CONNECTIONS);
    Ok(Pool::Postgres(options.connect(address).await.map_err(failure)?))
}

#[cfg(not(feature = "postgres"))]
async fn postgres(_address: &str) -> Result<Pool, Failure> {
    std::future::ready(()).await;
    Err(Failure::permanent("this forebay was built without PostgreSQL").hint("build it with the feature `postgres`"))
}

fn text(words: &std::collections::BTreeMap<String, String>) -> String {
    serde_json::to_string(words).unwrap_or_else(|_| "{}".into())
}

#[expect(clippy::needless_pass_by_value, reason = "fits `map_err`")]
fn failure(error: sqlx::Error) -> Failure {
    Failure::environment(format!("the catalog cannot be used: {error}"))
        .hint("check the address and the rights of --catalog, and for PostgreSQL PGPASSWORD")
}
