//! Database files, opened alike everywhere.

use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

/// How long one process waits for another that writes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// The primary code of a file that somebody else has, <https://www.sqlite.org/rescode.html#busy>.
const BUSY: u32 = 5;

/// Opens or makes the file at `path`: what is committed is on the disk, and nobody who reads waits.
///
/// Of several processes that begin with a new file at once, all but one are told that it is locked, whatever their
/// patience: the change to a log that is written ahead does not wait. So they try again.
pub(crate) async fn open(path: &Path, connections: u32) -> Result<SqlitePool, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(PATIENCE);
    let end = Instant::now() + PATIENCE;
    loop {
        // A connection to a file does not age, and one to memory takes all with it.
        let pool = SqlitePoolOptions::new().max_connections(connections).idle_timeout(None).max_lifetime(None);
        let opened = pool.connect_with(options.clone()).await;
        match opened {
            Err(error) if is_busy(&error) && Instant::now() < end => tokio::time::sleep(PAUSE).await,
            opened => return opened,
        }
    }
}

fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
    // The upper bits say why.
    code.is_some_and(|code| code & 0xff == BUSY)
}
