//! Entries on their way into the log: all that wait go together, in one message.
//!
//! So who asks for little waits for nobody, and who asks for much costs the server little.

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use lapin::Channel;
use tokio::sync::mpsc;

use super::event::Event;
use super::link::publish;
use super::queues::LOG;

/// Entries of one message, which RabbitMQ limits to 16 MiB. A job has 64 KiB at most, which JSON may make six times as
/// many.
const TOGETHER: usize = 32;

/// Messages that the server has not confirmed yet.
const UNCONFIRMED: usize = 2;

/// Writes what comes, in its order, until something is not taken.
pub(super) async fn write(channel: Channel, mut outbox: mpsc::UnboundedReceiver<Event>) {
    let mut unconfirmed = FuturesUnordered::new();
    let mut events = Vec::new();
    loop {
        tokio::select! {
            count = outbox.recv_many(&mut events, TOGETHER), if unconfirmed.len() < UNCONFIRMED => {
                if count == 0 {
                    return;
                }
                let entry = serde_json::to_vec(&events).unwrap_or_default();
                events.clear();
                match publish(&channel, LOG, &entry).await {
                    Ok(confirm) => unconfirmed.push(confirm),
                    Err(_) => return,
                }
            }
            Some(confirmed) = unconfirmed.next() => {
                let taken = confirmed.is_ok_and(|confirmed| confirmed.is_ack() && confirmed.take_message().is_none());
                if !taken {
                    tracing::warn!("RabbitMQ did not take an entry of the log");
                    return;
                }
            }
        }
    }
}
