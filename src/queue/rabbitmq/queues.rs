//! The queues on the server: their names, and what they are made with.

use lapin::Connection;
use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};

/// The log of all changes.
pub(super) const LOG: &str = "forebay.log";

/// The log of signs of life.
pub(super) const PULSES: &str = "forebay.pulse";

/// Where other programs put jobs.
pub(super) const INBOX: &str = "forebay.jobs";

/// The log is kept for as long as the ledger remembers, which is longer than any job may stand still in it.
const LOG_AGE: &str = "14D";

/// The log is thrown away by files of this size.
const LOG_FILE: i64 = 20_000_000;

/// Signs of life are of use for a minute or so; whoever comes reads all of them.
const PULSES_SIZE: i64 = 4_000_000;

/// The signs of life are thrown away by files of this size.
const PULSES_FILE: i64 = 1_000_000;

/// Makes what is not there yet.
pub(super) async fn declare_all(connection: &Connection) -> lapin::Result<()> {
    let file = |bytes| ("x-stream-max-segment-size-bytes", AMQPValue::LongLongInt(bytes));
    let log = [("x-max-age", AMQPValue::LongString(LOG_AGE.into())), file(LOG_FILE)];
    let pulses = [("x-max-length-bytes", AMQPValue::LongLongInt(PULSES_SIZE)), file(PULSES_FILE)];
    declare(connection, INBOX, arguments("quorum", [])).await?;
    declare(connection, LOG, arguments("stream", log)).await?;
    declare(connection, PULSES, arguments("stream", pulses)).await
}

/// Makes a queue, unless there is one of that name.
async fn declare(connection: &Connection, name: &str, arguments: FieldTable) -> lapin::Result<()> {
    let channel = connection.create_channel().await?;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::durable() };
    if channel.queue_declare(name.into(), passive, FieldTable::default()).await.is_ok() {
        return Ok(());
    }
    // The channel is closed by the answer that there is none.
    let channel = connection.create_channel().await?;
    channel.queue_declare(name.into(), QueueDeclareOptions::durable(), arguments).await?;
    Ok(())
}

fn arguments<const COUNT: usize>(kind: &str, more: [(&str, AMQPValue); COUNT]) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString(kind.into()));
    for (name, value) in more {
        arguments.insert(name.into(), value);
    }
    arguments
}
