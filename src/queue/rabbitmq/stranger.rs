//! Jobs of other programs: from the queue into which they are put, into the log.

use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::options::BasicAckOptions;

use super::super::{clock, label_key, new_id};
use super::event::{Change, Place};
use super::ledger::DAY;
use super::link::{Live, Shared};
use super::queues::INBOX;
use crate::model::job::{ATTEMPTS, Job, LONGEST};
use crate::model::sha256::Sha256;

/// Jobs that are moved together.
const TOGETHER: u16 = 50;

/// How long to wait for one more to move with others.
const COMPANY: Duration = Duration::from_millis(2);

/// Moves jobs as long as the connection lives. Each is acknowledged when it stands in the
/// log; one that was moved just before somebody died is moved twice, and is the same job.
pub(super) async fn take_in(live: &Live, shared: &Shared) -> Result<(), String> {
    let mut consumer = live.consumer(INBOX, TOGETHER, None).await?;
    while let Some(delivery) = consumer.next().await {
        let delivery = delivery.map_err(|error| error.to_string())?;
        let mut sent = vec![shared.send(live, Change::Submit(place(&delivery.data)?)).await?];
        let mut last = delivery.acker;
        while sent.len() < usize::from(TOGETHER) {
            let Ok(Some(Ok(delivery))) = tokio::time::timeout(COMPANY, consumer.next()).await else { break };
            sent.push(shared.send(live, Change::Submit(place(&delivery.data)?)).await?);
            last = delivery.acker;
        }
        for sent in sent {
            shared.outcome(sent).await?;
        }
        let acknowledged = last.ack(BasicAckOptions { multiple: true }).await.map_err(|error| error.to_string())?;
        if !acknowledged {
            return Err("the connection broke".into());
        }
    }
    Ok(())
}

/// What a stranger's job says of its place. What is wrong with it, a worker finds and says.
fn place(text: &[u8]) -> Result<Place, String> {
    let id = new_id(clock::now()).map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(text.get(..=LONGEST).unwrap_or(text)).into_owned();
    if let Ok(job) = Job::parse(text.as_bytes()) {
        return Ok(place_of(&job, id, DAY));
    }
    Ok(Place {
        id,
        identity: hex::encode(Sha256::digest(text.as_bytes())),
        text,
        named: false,
        labels: String::new(),
        priority: 0,
        tenant: String::new(),
        attempts: ATTEMPTS,
        delay: 0,
        keep: 0,
    })
}

/// Where a job stands among others.
pub(super) fn place_of(job: &Job, id: String, keep: i64) -> Place {
    let (identity, named) = job.identity();
    Place {
        id,
        text: job.to_value().to_string(),
        identity,
        named,
        labels: label_key(&job.labels),
        priority: job.priority,
        tenant: job.tenant.clone(),
        attempts: job.attempts,
        delay: i64::try_from(job.delay).unwrap_or(0) * 1000,
        keep,
    }
}
