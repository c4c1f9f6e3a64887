//! The connection to the server: follows both logs, and writes to them.
//!
//! It is made with the first verb and made anew with the next one after it broke.
//! What was read stays, and reading goes on behind it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::uri::AMQPUri;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer, PublisherConfirm};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::super::{QueueError, clock, random};
use super::event::{Change, Event, Pulse, events};
use super::ledger::{Ledger, Moment, Outcome};
use super::queues::{LOG, PULSES};
use super::{outbox, queues, stranger};

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Longest wait until the log is read to its end, if nothing comes meanwhile.
const SILENCE: Duration = Duration::from_secs(5);

/// A connection on which nothing comes for twice this is dead.
const HEARTBEAT: u16 = 10;

/// Entries on their way to us. The server sends no more until they are acknowledged.
const AHEAD: u16 = 2000;

/// Read entries are acknowledged by so many at once.
const ACKNOWLEDGED: u32 = 500;

/// Or after such a pause: the server takes who acknowledges nothing for half an hour for dead.
const PAUSE: Duration = Duration::from_millis(500);

/// After such a silence the server is asked whether it is there before what we know is believed.
const FRESH: Duration = Duration::from_secs(1);

/// The connection, and what came over it.
pub(super) struct Link {
    uri: AMQPUri,
    shown: String,
    shared: Arc<Shared>,
    live: tokio::sync::Mutex<Option<Arc<Live>>>,
    moves: AtomicBool,
}

/// What the followers write and the verbs read.
pub(super) struct Shared {
    ledger: Mutex<Ledger>,
    /// Who waits for which entry.
    waiting: Mutex<HashMap<String, oneshot::Sender<Outcome>>>,
    /// The next places to read.
    log: AtomicU64,
    pulses: AtomicU64,
    /// When something came last, in milliseconds since boot.
    heard: AtomicU64,
}

/// One connection.
pub(super) struct Live {
    connection: Connection,
    /// For what is confirmed.
    channel: Channel,
    /// Entries on their way into the log.
    outbox: mpsc::UnboundedSender<Event>,
    dead: CancellationToken,
    moving: AtomicBool,
    tasks: Mutex<JoinSet<()>>,
}

/// An entry on its way into the log.
pub(super) struct Sent {
    mark: String,
    outcome: oneshot::Receiver<Outcome>,
    dead: CancellationToken,
}

impl Link {
    /// A link that is not connected yet.
    pub(super) fn new(mut uri: AMQPUri, shown: String) -> Self {
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        let shared = Shared {
            ledger: Mutex::default(),
            waiting: Mutex::default(),
            log: AtomicU64::new(0),
            pulses: AtomicU64::new(0),
            heard: AtomicU64::new(0),
        };
        Self {
            uri,
            shown,
            shared: Arc::new(shared),
            live: tokio::sync::Mutex::new(None),
            moves: AtomicBool::new(false),
        }
    }

    /// Its address for people.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// What is known now.
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.shared.ledger()
    }

    /// From now on, jobs of other programs are moved into the log.
    pub(super) fn move_strangers(&self) {
        self.moves.store(true, Ordering::Relaxed);
    }

    /// Makes sure that what is known is fresh.
    pub(super) async fn refresh(&self) -> Result<(), QueueError> {
        let live = self.live().await?;
        let heard = self.shared.heard.load(Ordering::Relaxed);
        if since_boot().saturating_sub(heard) < u64::try_from(FRESH.as_millis()).unwrap_or(0) {
            return Ok(());
        }
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let asked = live.channel.queue_declare(LOG.into(), passive, FieldTable::default());
        self.answered(&live, asked).await?;
        self.shared.heard.store(since_boot(), Ordering::Relaxed);
        Ok(())
    }

    /// Writes an entry, and says what became of it.
    pub(super) async fn append(&self, change: Change) -> Result<Outcome, QueueError> {
        let live = self.live().await?;
        let sent = self.shared.send(&live, change).await.map_err(|why| self.broken(&live, why))?;
        self.shared.outcome(sent).await.map_err(|why| self.broken(&live, why))
    }

    /// Writes a sign of life.
    pub(super) async fn pulse(&self, pulse: &Pulse) -> Result<(), QueueError> {
        let live = self.live().await?;
        let text = serde_json::to_vec(pulse).unwrap_or_default();
        let sent =
            publish(&live.channel, PULSES, &text).await.map_err(|error| self.broken(&live, error.to_string()))?;
        let confirmed = self.answered(&live, sent).await?;
        if confirmed.is_ack() { Ok(()) } else { Err(self.broken(&live, "the server took no sign of life".into())) }
    }

    /// The connection, made anew if it broke.
    pub(super) async fn live(&self) -> Result<Arc<Live>, QueueError> {
        let mut held = self.live.lock().await;
        if let Some(live) = held.as_ref().filter(|live| live.is_good()) {
            self.move_on(live);
            return Ok(Arc::clone(live));
        }
        *held = None;
        let made = tokio::time::timeout(CONNECT, self.connect()).await.unwrap_or_else(|_| Err(late()));
        let live = Arc::new(made.map_err(|why| self.unreachable(why))?);
        self.catch_up(&live).await.map_err(|why| self.unreachable(why))?;
        self.move_on(&live);
        *held = Some(Arc::clone(&live));
        Ok(live)
    }

    /// Waits until all that is in the log is read.
    async fn catch_up(&self, live: &Live) -> Result<(), String> {
        let mut sent = self.shared.put(live, Change::Hello)?;
        let mut before = self.shared.log.load(Ordering::Relaxed);
        loop {
            let waited = tokio::time::timeout(SILENCE, &mut sent.outcome).await;
            match waited {
                // Signs of life mean nothing to who does not know yet whose they are.
                Ok(Ok(_)) => return self.listen(live).await,
                Ok(Err(_)) => return Err("the connection broke".into()),
                Err(_) => {}
            }
            let now = self.shared.log.load(Ordering::Relaxed);
            if now == before {
                // The log may be another, shorter one: it is read from its beginning then.
                self.shared.forget();
                return Err("the log cannot be read".into());
            }
            before = now;
        }
    }

    async fn connect(&self) -> Result<Live, String> {
        self.shared.waiting().retain(|_, waiting| !waiting.is_closed());
        let properties = ConnectionProperties::default().with_connection_name("forebay".into());
        let connection = Connection::connect_uri(self.uri.clone(), properties).await.map_err(text)?;
        queues::declare_all(&connection).await.map_err(text)?;
        let channel = connection.create_channel().await.map_err(text)?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(text)?;
        let (outbox, waiting) = mpsc::unbounded_channel();
        let live = Live {
            connection,
            channel,
            outbox,
            dead: CancellationToken::new(),
            moving: AtomicBool::new(false),
            tasks: Mutex::default(),
        };
        let log = live.consumer(LOG, AHEAD, Some(self.shared.log.load(Ordering::Relaxed))).await?;
        live.follow(log, Arc::clone(&self.shared), Shared::read);
        live.work(outbox::write(live.channel.clone(), waiting));
        Ok(live)
    }

    /// Begins to follow the signs of life.
    async fn listen(&self, live: &Live) -> Result<(), String> {
        let from = self.shared.pulses.load(Ordering::Relaxed);
        let pulses = tokio::time::timeout(ANSWER, live.consumer(PULSES, AHEAD, Some(from))).await;
        live.follow(pulses.unwrap_or_else(|_| Err(late()))?, Arc::clone(&self.shared), Shared::feel);
        Ok(())
    }

    /// Begins to move jobs of other programs, if that is wanted and not done yet.
    fn move_on(&self, live: &Arc<Live>) {
        if !self.moves.load(Ordering::Relaxed) || live.moving.swap(true, Ordering::Relaxed) {
            return;
        }
        let (shared, weak) = (Arc::clone(&self.shared), Arc::downgrade(live));
        let work = async move {
            let Some(live) = weak.upgrade() else { return };
            let moved = live.dead.run_until_cancelled(stranger::take_in(&live, &shared)).await;
            if let Some(Err(why)) = moved {
                tracing::warn!(why, "jobs of other programs cannot be taken in");
            }
            live.dead.cancel();
        };
        live.tasks().spawn(work);
    }

    /// Waits for an answer of the server.
    async fn answered<T>(&self, live: &Live, answer: impl Future<Output = lapin::Result<T>>) -> Result<T, QueueError> {
        match tokio::time::timeout(ANSWER, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.broken(live, error.to_string())),
            Err(_) => Err(self.broken(live, late())),
        }
    }

    /// Whatever is wrong with a connection, a new one is as good or better.
    fn broken(&self, live: &Live, why: String) -> QueueError {
        live.dead.cancel();
        self.unreachable(why)
    }

    fn unreachable(&self, why: String) -> QueueError {
        QueueError::Unreachable { queue: self.shown.clone(), why }
    }
}

impl Shared {
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<Outcome>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends an entry; entries of one connection stand in the log in the order in which they were sent.
    /// Before it goes what has stood still for so long that it would leave the log.
    pub(super) async fn send(&self, live: &Live, change: Change) -> Result<Sent, String> {
        loop {
            let old = {
                let ledger = self.ledger();
                ledger.oldest(clock::now() - super::ledger::REMEMBERED / 2).cloned()
            };
            let Some(held) = old else { break };
            let sent = self.put(live, Change::Keep { seen: held.seen, held: Box::new(held) })?;
            self.outcome(sent).await?;
        }
        self.put(live, change)
    }

    /// Puts an entry where the connection takes it from.
    fn put(&self, live: &Live, change: Change) -> Result<Sent, String> {
        let mark = random(8).map_err(|error| error.to_string())?;
        let event = Event { at: clock::now(), mark: mark.clone(), what: change };
        let (sender, outcome) = oneshot::channel();
        self.waiting().insert(mark.clone(), sender);
        // Who takes nothing any more is dead, and `dead` tells so.
        drop(live.outbox.send(event));
        Ok(Sent { mark, outcome, dead: live.dead.clone() })
    }

    /// Waits until an entry is read, and says what became of it. What is read is safe: the server shows no other.
    pub(super) async fn outcome(&self, sent: Sent) -> Result<Outcome, String> {
        let Sent { mark, outcome, dead } = sent;
        let told = tokio::time::timeout(ANSWER, dead.run_until_cancelled(outcome)).await.map_err(|_| late());
        let told = told.and_then(|told| told.and_then(Result::ok).ok_or_else(|| "the connection broke".into()));
        self.waiting().remove(&mark);
        told
    }

    /// Takes in an entry of the log.
    fn read(&self, offset: u64, text: &[u8]) {
        // What cannot be read, nobody can: all go over it alike.
        let events = events(text).unwrap_or_default();
        let mut ledger = self.ledger();
        // A connection that was given up may still read; what both read counts once, and in order.
        if self.log.fetch_max(offset + 1, Ordering::Relaxed) > offset {
            return;
        }
        let told: Vec<_> = (offset << 16..)
            .zip(events)
            .map(|(place, event)| (event.mark.clone(), ledger.apply(place, event, moment())))
            .collect();
        drop(ledger);
        let mut waiting = self.waiting();
        for (mark, outcome) in told {
            if let Some(waiting) = waiting.remove(&mark) {
                drop(waiting.send(outcome));
            }
        }
    }

    /// Takes in a sign of life.
    fn feel(&self, offset: u64, text: &[u8]) {
        let pulse = serde_json::from_slice::<Pulse>(text);
        let mut ledger = self.ledger();
        if self.pulses.fetch_max(offset + 1, Ordering::Relaxed) > offset {
            return;
        }
        if let Ok(pulse) = pulse {
            ledger.hear(pulse, moment());
        }
    }

    /// Begins from the beginning.
    fn forget(&self) {
        let mut ledger = self.ledger();
        *ledger = Ledger::default();
        self.log.store(0, Ordering::Relaxed);
        self.pulses.store(0, Ordering::Relaxed);
    }
}

impl Live {
    fn is_good(&self) -> bool {
        !self.dead.is_cancelled() && self.connection.status().connected() && self.channel.status().connected()
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens to a queue, or to a log from `offset` on.
    pub(super) async fn consumer(&self, queue: &str, ahead: u16, offset: Option<u64>) -> Result<Consumer, String> {
        let channel = self.connection.create_channel().await.map_err(text)?;
        channel.basic_qos(ahead, BasicQosOptions::default()).await.map_err(text)?;
        let mut arguments = FieldTable::default();
        if let Some(offset) = offset.and_then(|offset| i64::try_from(offset).ok()) {
            arguments.insert("x-stream-offset".into(), AMQPValue::LongLongInt(offset));
        }
        let consumed = channel.basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), arguments);
        consumed.await.map_err(text)
    }

    /// Reads a log as long as the connection lives.
    fn follow(&self, mut consumer: Consumer, shared: Arc<Shared>, take: fn(&Shared, u64, &[u8])) {
        let reading = async move {
            let mut open = 0;
            let mut last = None;
            loop {
                let next = tokio::time::timeout(PAUSE, consumer.next()).await;
                let pause = next.is_err();
                match next {
                    Ok(Some(Ok(delivery))) => {
                        shared.heard.store(since_boot(), Ordering::Relaxed);
                        if let Some(offset) = offset_of(&delivery.properties) {
                            take(&shared, offset, &delivery.data);
                        }
                        open += 1;
                        last = Some(delivery.acker);
                    }
                    Ok(_) => break,
                    Err(_) => {}
                }
                if open >= ACKNOWLEDGED || (pause && open > 0) {
                    let all = BasicAckOptions { multiple: true };
                    let acknowledged = match last.take() {
                        Some(acker) => acker.ack(all).await.unwrap_or(false),
                        None => true,
                    };
                    if !acknowledged {
                        break;
                    }
                    open = 0;
                }
            }
        };
        self.work(reading);
    }

    /// Does something as long as the connection lives, and no connection is good that does it no more.
    fn work(&self, work: impl Future<Output = ()> + Send + 'static) {
        let dead = self.dead.clone();
        self.tasks().spawn(async move {
            dead.run_until_cancelled(work).await;
            dead.cancel();
        });
    }
}

pub(super) async fn publish(channel: &Channel, queue: &str, text: &[u8]) -> lapin::Result<PublisherConfirm> {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let properties = BasicProperties::default().with_delivery_mode(2).with_content_type("application/json".into());
    channel.basic_publish("".into(), queue.into(), options, text, properties).await
}

/// The place of an entry in its log.
fn offset_of(properties: &BasicProperties) -> Option<u64> {
    let header = properties.headers().as_ref()?.inner().get("x-stream-offset")?;
    header.as_long_long_int().and_then(|offset| u64::try_from(offset).ok())
}

fn moment() -> Moment {
    Moment { since_boot: clock::since_boot(), calendar: clock::now() }
}

fn since_boot() -> u64 {
    u64::try_from(clock::since_boot()).unwrap_or(0)
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` takes")]
fn text(error: lapin::Error) -> String {
    error.to_string()
}

fn late() -> String {
    "the server does not answer".into()
}
