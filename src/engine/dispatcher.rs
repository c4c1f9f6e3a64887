//! The dispatcher: the one owner of what is running. It starts items, hears
//! all they tell, passes it on in order, and knows when to stop.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::job::hls::Outcome;
use crate::job::{Context, hls};
use crate::model::event::{Event, LaneUse, Usage, What};
use crate::model::failure::{Class, Failure};
use crate::model::item::{Item, Rank};
use crate::pipeline::lane::Lane;
use crate::plan::settings::HlsSettings;

use super::stop::Stop;
use super::{Listener, Summary};

/// After so many failures in a row that are this machine's fault, and no
/// success, the rest would fail the same way: the run stops and says so.
const ENVIRONMENT_STREAK: u64 = 3;

/// How often listeners hear of the lanes.
const TICK: Duration = Duration::from_millis(250);

/// Gives the settings of an item: the run's, unless the list says otherwise.
pub type SettingsOf = dyn Fn(&Item) -> Result<HlsSettings, Failure> + Send + Sync;

struct Running<'a> {
    context: Arc<Context>,
    settings_of: Arc<SettingsOf>,
    begun: Instant,
    sender: UnboundedSender<Event>,
    tasks: JoinSet<()>,
    listener: &'a mut dyn Listener,
    summary: Summary,
    downloaded: Downloaded,
    streak: u64,
    /// The time of the newest event.
    latest: f64,
}

/// Bytes that came in, over all items.
#[derive(Default)]
struct Downloaded {
    finished: u64,
    running: std::collections::HashMap<u64, u64>,
}

/// Runs all `items`, at most `look_ahead` of them at once, and returns when the
/// last has ended. Nothing one item does stops the others.
pub async fn run(
    items: Vec<Item>,
    context: Arc<Context>,
    settings_of: Arc<SettingsOf>,
    look_ahead: usize,
    mut stop: Stop,
    listener: &mut dyn Listener,
) -> Summary {
    let (sender, mut events) = mpsc::unbounded_channel();
    let mut waiting = in_order(items);
    let begun = Instant::now();
    let mut running = Running {
        context,
        settings_of,
        begun,
        sender,
        tasks: JoinSet::new(),
        listener,
        summary: Summary::default(),
        downloaded: Downloaded::default(),
        streak: 0,
        latest: 0.0,
    };
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        while running.tasks.len() < look_ahead.max(1) && !stop.begin.is_cancelled() {
            let Some(item) = waiting.pop_front() else { break };
            running.start(item);
        }
        if running.tasks.is_empty() {
            break;
        }
        tokio::select! {
            Some(event) = events.recv() => running.heard(event, &stop),
            Some(ended) = running.tasks.join_next() => running.lost(ended),
            _ = ticks.tick() => {
                let usage = running.usage();
                running.listener.tick(&usage);
            }
            () = stop.step() => running.summary.stopped = true,
        }
    }
    running.drain(&mut events, &stop);
    running.summary.parked += waiting.len() as u64;
    running.summary.seconds = begun.elapsed().as_secs_f64();
    running.summary.usage = running.usage();
    running.listener.tick(&running.summary.usage);
    running.summary
}

/// Higher priority first, then the order of the list.
fn in_order(mut items: Vec<Item>) -> VecDeque<Item> {
    items.sort_by_key(Item::rank);
    items.into()
}

impl Running<'_> {
    fn start(&mut self, item: Item) {
        let (context, settings_of) = (Arc::clone(&self.context), Arc::clone(&self.settings_of));
        let (sender, begun, number) = (self.sender.clone(), self.begun, item.number);
        let report = move |what: What| {
            let event = Event { at: begun.elapsed().as_secs_f64(), item: number, what };
            // The dispatcher hears until the last task has ended.
            sender.send(event).unwrap_or_default();
        };
        report(What::Started { input: item.locator.shown().into() });
        self.tasks.spawn(async move {
            let outcome = match settings_of(&item) {
                Ok(settings) => hls::run(&item, &settings, &context, &report).await,
                Err(failure) => Err(failure),
            };
            report(last_word(outcome));
        });
    }

    fn heard(&mut self, mut event: Event, stop: &Stop) {
        event.at = self.moment(event.at);
        let summary = &mut self.summary;
        match &event.what {
            What::Downloading { bytes, .. } => {
                self.downloaded.running.insert(event.item, *bytes);
            }
            What::Downloaded { .. } => {
                self.downloaded.finished += self.downloaded.running.remove(&event.item).unwrap_or(0);
            }
            What::Planned { seconds, .. } => summary.source_seconds += seconds,
            What::Done { .. } => {
                summary.done += 1;
                self.streak = 0;
            }
            What::AlreadyDone { .. } => summary.already += 1,
            What::Would { .. } => summary.would += 1,
            What::Parked => summary.parked += 1,
            What::Failed { failure } => {
                summary.failed += 1;
                if failure.class == Class::Environment {
                    summary.environment += 1;
                    self.streak += 1;
                }
                if self.streak == ENVIRONMENT_STREAK {
                    tracing::warn!(
                        "{ENVIRONMENT_STREAK} items in a row failed because of this machine or the destination; stopping"
                    );
                    stop.begin.cancel();
                }
            }
            _ => {}
        }
        if event.what.is_last() {
            self.downloaded.finished += self.downloaded.running.remove(&event.item).unwrap_or(0);
        }
        self.listener.event(&event);
    }

    /// A task that panicked told nothing; its item is counted here.
    fn lost(&mut self, ended: Result<(), tokio::task::JoinError>) {
        if let Err(error) = ended {
            tracing::error!(%error, "an item ended by a fault of the program");
            self.summary.failed += 1;
        }
    }

    fn drain(&mut self, events: &mut UnboundedReceiver<Event>, stop: &Stop) {
        while let Ok(event) = events.try_recv() {
            self.heard(event, stop);
        }
    }

    /// Events come from many tasks, and one may be stamped before another and heard after it.
    fn moment(&mut self, at: f64) -> f64 {
        self.latest = self.latest.max(at);
        self.latest
    }

    fn usage(&mut self) -> Usage {
        let at = self.moment(self.begun.elapsed().as_secs_f64());
        let lanes = &self.context.lanes;
        Usage {
            at,
            network: lane_use(&lanes.network),
            disk: lane_use(&lanes.disk),
            cpu: lane_use(&lanes.cpu),
            scratch: lane_use(&lanes.room),
            upload: lane_use(&lanes.upload),
            downloaded_bytes: self.downloaded.finished + self.downloaded.running.values().sum::<u64>(),
        }
    }
}

fn last_word(outcome: Result<Outcome, Failure>) -> What {
    match outcome {
        Ok(Outcome::Published { master, objects, bytes, .. }) => What::Done { master, objects, bytes },
        Ok(Outcome::AlreadyDone { master }) => What::AlreadyDone { master },
        Ok(Outcome::Would { what }) => What::Would { what },
        Err(failure) if failure.class == Class::Stopped => What::Parked,
        Err(failure) => What::Failed { failure },
    }
}

/// What a lane says of itself.
pub fn lane_use(lane: &Lane<Rank>) -> LaneUse {
    let stats = lane.stats();
    LaneUse {
        capacity: stats.capacity,
        taken: stats.taken,
        waiting: stats.waiting,
        busy_seconds: stats.busy.as_secs_f64(),
        active_seconds: stats.active.as_secs_f64(),
    }
}
