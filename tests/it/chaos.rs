//! Workers and brokers are killed and stopped at random; no job is lost, and nothing half-made is seen.
//!
//! `CHAOS_KILLS` and `CHAOS_JOBS` make it longer, `CHAOS_OUTAGES` shorter, `CHAOS_SEED` makes it the same again.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use forebay::queue::{Entry, State};
use rustix::process::Signal;

use crate::support::brokers::{RabbitServer, RedisServer};
use crate::support::oracle;
use crate::support::sandbox::Running;
use crate::support::yard::{LEASE, PARTS, Yard, ended};

/// Kills of workers, if nobody wants more.
const KILLS: usize = 40;

/// Deaths of a broker, one each `BETWEEN_OUTAGES`: five minutes of them.
const OUTAGES: usize = 30;

const BETWEEN_OUTAGES: Duration = Duration::from_secs(10);

const WORKERS: usize = 3;

/// A hundred jobs take a while, and one that failed often waits long.
const PATIENCE: Duration = Duration::from_mins(10);

/// So long after the last misfortune the jobs of those who were killed may be nobody's.
const RECOVERY: Duration = LEASE.saturating_add(Duration::from_secs(10));

/// A worker may have one part in the encoder and one on its way out.
const WASTE_A_KILL: usize = 2;

/// Chance that can be had again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// A server that can be hurt.
trait Broker {
    fn kill_and_start(&mut self);
    fn signal(&self, signal: Signal);
    /// The least time between two misfortunes.
    fn pause(&self) -> Duration;
}

impl Broker for RedisServer {
    fn kill_and_start(&mut self) {
        self.signal(Signal::KILL);
        self.again("always");
    }

    fn signal(&self, signal: Signal) {
        RedisServer::signal(self, signal);
    }

    fn pause(&self) -> Duration {
        Duration::from_secs(3)
    }
}

impl Broker for RabbitServer {
    fn kill_and_start(&mut self) {
        self.signal(Signal::KILL);
        self.again();
    }

    fn signal(&self, signal: Signal) {
        RabbitServer::signal(self, signal);
    }

    fn pause(&self) -> Duration {
        Duration::from_secs(4)
    }
}

/// What was done and what it cost.
#[derive(Debug, Default)]
struct Tally {
    jobs: usize,
    kills: usize,
    stops: usize,
    broker_kills: usize,
    broker_stops: usize,
    wasted: usize,
    attempts: u32,
    /// From the last misfortune until the jobs of all who were killed are anyone's again.
    recovery: Duration,
    /// From the last misfortune until the last job is done.
    rest: Duration,
}

struct Chaos<'a> {
    yard: &'a Yard,
    broker: Option<&'a mut dyn Broker>,
    dice: Dice,
    ids: Vec<(String, String)>,
    workers: Vec<(Running, Option<Instant>)>,
    /// The workers that were killed.
    killed: Vec<u32>,
    tally: Tally,
}

impl Chaos<'_> {
    fn submit(&mut self, count: usize) {
        for _ in 0..count {
            let id = format!("v{}", self.ids.len());
            let number = self.yard.submit(&self.yard.job(&id, "clip.mp4"));
            self.ids.push((number, id));
        }
    }

    fn worker(&self) -> (Running, Option<Instant>) {
        (self.yard.worker(&[], &[]), None)
    }

    fn rage(&mut self, kills: usize) {
        let mut next_broker = Instant::now() + Duration::from_secs(2);
        while self.tally.kills < kills {
            std::thread::sleep(Duration::from_millis(100 + self.dice.below(400)));
            let chosen = usize::try_from(self.dice.below(WORKERS as u64)).unwrap();
            for place in 0..self.workers.len() {
                let (worker, stopped) = &mut self.workers[place];
                if stopped.is_some_and(|until| until < Instant::now()) {
                    worker.signal(Signal::CONT);
                    *stopped = None;
                }
            }
            self.none_ended();
            let misfortune = self.dice.below(10);
            if misfortune < 8 {
                let fresh = self.worker();
                let mut old = std::mem::replace(&mut self.workers[chosen], fresh);
                old.0.signal(Signal::KILL);
                self.killed.push(old.0.pid());
                ended(&mut old.0);
                self.tally.kills += 1;
            } else if misfortune < 9 && self.workers[chosen].1.is_none() {
                self.workers[chosen].0.signal(Signal::STOP);
                self.workers[chosen].1 = Some(Instant::now() + LEASE * 2);
                self.tally.stops += 1;
            }
            if let Some(broker) = self.broker.as_mut().filter(|_| Instant::now() > next_broker) {
                if (self.tally.broker_kills + self.tally.broker_stops).is_multiple_of(2) {
                    broker.kill_and_start();
                    self.tally.broker_kills += 1;
                } else {
                    broker.signal(Signal::STOP);
                    std::thread::sleep(LEASE + Duration::from_secs(1));
                    broker.signal(Signal::CONT);
                    self.tally.broker_stops += 1;
                }
                next_broker = Instant::now() + broker.pause();
            }
            // A worker that stands still may have the lock of a queue in a file.
            if self.workers.iter().all(|(_, stopped)| stopped.is_none()) {
                self.keep_busy();
            }
        }
    }

    /// Kills the broker again and again, and leaves the workers alone.
    fn outages(&mut self, count: usize) {
        for _ in 0..count {
            let next = Instant::now() + BETWEEN_OUTAGES;
            while Instant::now() < next {
                std::thread::sleep(Duration::from_millis(200));
                self.none_ended();
                self.keep_busy();
            }
            self.broker.as_mut().unwrap().kill_and_start();
            self.tally.broker_kills += 1;
        }
    }

    /// Whether `entry` tells that the worker of a job died, which was killed here.
    fn is_of_a_killed_one(&self, entry: &Entry) -> bool {
        let pid = entry.worker.rsplit('-').next().and_then(|pid| pid.parse().ok());
        entry.what.contains("died") && pid.is_some_and(|pid| self.killed.contains(&pid))
    }

    /// Workers never end by themselves.
    fn none_ended(&mut self) {
        for (worker, _) in &mut self.workers {
            if let Some(run) = worker.ended() {
                panic!("a worker ended by itself: {:?} {:?}\n{}", run.code, run.signal, run.stderr);
            }
        }
    }

    /// There is always something to do.
    fn keep_busy(&mut self) {
        let open = self.yard.records().map(|all| all.iter().filter(|record| !record.state.is_over()).count());
        if open.is_some_and(|open| open < 2 * WORKERS) {
            self.submit(2 * WORKERS);
        }
    }

    /// Lets the workers finish, and looks at everything.
    fn peace(&mut self) -> Result<(), String> {
        let (begun, last) = (Instant::now(), now());
        for (worker, stopped) in &mut self.workers {
            if stopped.take().is_some() {
                worker.signal(Signal::CONT);
            }
        }
        self.submit(wish("CHAOS_JOBS", 0).saturating_sub(self.ids.len()));
        for (number, id) in &self.ids {
            while !self.yard.record(number).state.is_over() {
                if begun.elapsed() > PATIENCE {
                    return Err(format!("{id} is not over: {:?}", self.yard.record(number)));
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        self.tally.rest = begun.elapsed();
        for (worker, _) in &mut self.workers {
            worker.signal(Signal::TERM);
            let run = ended(worker);
            if run.code != Some(0) {
                return Err(format!("a worker ends with {:?}: {}", run.code, run.stderr));
            }
        }
        let (mut generation, mut recovery) = (None, Duration::ZERO);
        for (number, id) in &self.ids {
            let record = self.yard.record(number);
            if record.state != State::Done {
                return Err(format!("{id} is {:?}: {record:?}", record.state));
            }
            self.tally.attempts = self.tally.attempts.max(record.attempt);
            let recovered =
                record.log.iter().filter(|entry| self.is_of_a_killed_one(entry)).map(|entry| entry.at - last);
            let longest = recovered.filter_map(|after| after.try_into().ok()).max().unwrap_or(0);
            recovery = recovery.max(Duration::from_millis(longest));
            let package = self.yard.package(id)?;
            if *generation.get_or_insert_with(|| package.generation.clone()) != package.generation {
                return Err(format!("{id} is another generation"));
            }
        }
        let alive = self.yard.sandbox.alive_after(Duration::from_secs(2));
        if !alive.is_empty() {
            return Err(format!("still alive: {alive:?}"));
        }
        self.tally.recovery = recovery;
        if recovery > RECOVERY {
            return Err(format!("a job waited for {recovery:?} after all had calmed down"));
        }
        self.tally.jobs = self.ids.len();
        let encodes: usize = self.yard.ffmpeg.encodes().values().sum();
        self.tally.wasted = encodes.saturating_sub(self.ids.len() * PARTS);
        Ok(())
    }
}

/// Milliseconds of 1970, as in records.
fn now() -> i64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_millis().try_into().unwrap()
}

fn wish(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn run<'a>(name: &str, yard: &'a Yard, broker: Option<&'a mut dyn Broker>) {
    let tally = suffer(name, yard, broker, |chaos| chaos.rage(wish("CHAOS_KILLS", KILLS)));
    let hurt = tally.kills + (tally.stops + tally.broker_kills + tally.broker_stops) * WORKERS;
    assert!(tally.wasted <= hurt * WASTE_A_KILL, "{name}: {tally:?}");
}

fn suffer<'a>(
    name: &str,
    yard: &'a Yard,
    broker: Option<&'a mut dyn Broker>,
    misfortune: impl FnOnce(&mut Chaos<'a>),
) -> Tally {
    let seed = std::env::var("CHAOS_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos().into());
    println!("chaos {name}: CHAOS_SEED={seed}");
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, dest) = (Arc::clone(&stop), yard.sandbox.path("dest"));
    let reader = std::thread::spawn(move || read_all(&dest, &stopped));
    let (ids, workers, killed) = (Vec::new(), Vec::new(), Vec::new());
    let mut chaos = Chaos { yard, broker, dice: Dice(seed | 1), ids, workers, killed, tally: Tally::default() };
    chaos.submit(4 * WORKERS);
    chaos.workers = (0..WORKERS).map(|_| chaos.worker()).collect();
    misfortune(&mut chaos);
    let outcome = chaos.peace();
    stop.store(true, Ordering::SeqCst);
    let read = reader.join().unwrap();
    let tally = chaos.tally;
    println!("chaos {name}: seed {seed}: {tally:?}");
    outcome.unwrap_or_else(|problem| panic!("seed {seed}: {problem}"));
    read.unwrap_or_else(|problem| panic!("seed {seed}: a player would have found: {problem}"));
    tally
}

/// A player that looks at every pointer all the time.
fn read_all(dest: &PathBuf, stop: &AtomicBool) -> Result<(), String> {
    loop {
        let last = stop.load(Ordering::SeqCst);
        for folder in std::fs::read_dir(dest).into_iter().flatten().flatten() {
            oracle::look(&folder.path().join("master.m3u8"))?;
        }
        if last {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn nothing_is_lost_on_sqlite() {
    run("sqlite", &Yard::new(None), None);
}

#[test]
fn nothing_is_lost_on_redis() {
    let mut server = RedisServer::start("always");
    let yard = Yard::new(Some(server.url(0)));
    run("redis", &yard, Some(&mut server));
}

#[test]
fn nothing_is_lost_on_rabbitmq() {
    let mut server = RabbitServer::start();
    let yard = Yard::new(Some(server.url(0)));
    run("rabbitmq", &yard, Some(&mut server));
}

#[test]
#[ignore = "it takes five minutes: `make chaos` runs it"]
fn workers_outlive_a_redis_that_dies_again_and_again() {
    let mut server = RedisServer::start("always");
    let yard = Yard::new(Some(server.url(0)));
    suffer("redis dies", &yard, Some(&mut server), |chaos| chaos.outages(wish("CHAOS_OUTAGES", OUTAGES)));
}

#[test]
#[ignore = "it takes five minutes: `make chaos` runs it"]
fn workers_outlive_a_rabbitmq_that_dies_again_and_again() {
    let mut server = RabbitServer::start();
    let yard = Yard::new(Some(server.url(0)));
    suffer("rabbitmq dies", &yard, Some(&mut server), |chaos| chaos.outages(wish("CHAOS_OUTAGES", OUTAGES)));
}
