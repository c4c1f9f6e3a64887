//! One film on many workers that share nothing but a queue and the destination: the same package as
//! one worker makes, whoever dies, is cancelled, or changes the source meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use forebay::model::job::{Job, Task};
use forebay::queue::{Record, State};
use forebay::storage::About;
use rustix::process::Signal;

use crate::support::brokers::{RabbitServer, RedisServer};
use crate::support::media;
use crate::support::oracle;
use crate::support::sandbox::Running;
use crate::support::server::Server;
use crate::support::stores;
use crate::support::yard::{PATIENCE, Yard, ended};

/// Seconds of the film, in segments of one second.
const SECONDS: u32 = 20;

/// A chunk is only shown to be late, or encoded again, because of what a test does: three workers on a
/// busy machine may each make no picture for a while.
const LEASE: Duration = Duration::from_secs(8);

/// Every queue there is.
const QUEUES: [&str; 3] = ["sqlite", "redis", "rabbitmq"];

/// A queue, a film on a web server, and workers that have no folder in common but the destination.
struct Set {
    yard: Yard,
    server: Server,
    files: PathBuf,
}

impl Set {
    fn new(queue: &str) -> Self {
        let url = match queue {
            "redis" => Some(RedisServer::shared()),
            "rabbitmq" => Some(RabbitServer::shared()),
            _ => None,
        };
        let yard = Yard::new(url);
        let files = yard.sandbox.path("site");
        fs::create_dir_all(&files).unwrap();
        fs::copy(film(SECONDS), files.join("film.mp4")).unwrap();
        let server = Server::start(&files);
        Self { yard, server, files }
    }

    fn job(&self) -> Job {
        Job { input: self.server.url("good/film.mp4"), ..self.yard.job("film", "") }
    }

    /// Starts the worker `name`, which shares films of `share_after` and more.
    fn worker(&self, name: &str, share_after: &str) -> Running {
        let lease = format!("{}s", LEASE.as_secs());
        let variables = [
            ("FOREBAY_WORKER__NAME", name),
            ("FOREBAY_NETWORK__USER_AGENT", name),
            ("FOREBAY_WORKER__SHARE_AFTER", share_after),
            ("FOREBAY_WORKER__LEASE", &lease),
            ("FOREBAY_WORKER__INPUTS", "http:,shelf:"),
            ("FOREBAY_WORKER__PRIVATE_HOSTS", "*"),
        ];
        self.yard.sandbox.start_with(["worker", "--json", "--state", &format!("state-{name}")], &variables)
    }

    fn workers(&self) -> BTreeMap<&'static str, Running> {
        ["a", "b", "c"].map(|name| (name, self.worker(name, "5s"))).into()
    }

    /// The jobs of the film's chunks.
    fn chunks(&self) -> Vec<Record> {
        let all = self.yard.all_records().unwrap_or_default();
        all.into_iter().filter(|record| record.job["kind"] == "chunk").collect()
    }

    /// Waits until so many chunks are done.
    #[track_caller]
    fn chunks_done(&self, count: usize) {
        let end = Instant::now() + PATIENCE;
        while self.chunks().iter().filter(|record| record.state == State::Done).count() < count {
            assert!(Instant::now() < end, "{:#?}", self.yard.all_records());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// All files of the package, with their bytes.
    fn package(&self) -> BTreeMap<String, Vec<u8>> {
        self.yard.package("film").unwrap();
        let folder = self.yard.sandbox.path("dest/film");
        oracle::files(&folder).into_iter().map(|name| (name.clone(), fs::read(folder.join(name)).unwrap())).collect()
    }

    /// The package as one worker makes it by itself.
    fn alone(queue: &str) -> BTreeMap<String, Vec<u8>> {
        let set = Self::new(queue);
        // The key of a source is its address, which the manifest holds.
        let id = set.yard.submit(&set.job());
        let mut worker = set.worker("alone", "1h");
        set.yard.stands(&id, State::Done);
        assert_eq!(set.chunks(), []);
        worker.signal(Signal::TERM);
        ended(&mut worker);
        set.package()
    }

    /// Parts that were encoded more than once.
    fn again(&self) -> BTreeMap<String, usize> {
        let mut again = self.yard.ffmpeg.encodes();
        again.retain(|_, count| *count > 1);
        again
    }
}

/// A film whose segments are larger than what is read of any file to know it.
fn film(seconds: u32) -> PathBuf {
    let picture = format!("testsrc2=size=320x180:rate=24:duration={seconds}");
    let sound = format!("sine=frequency=330:sample_rate=48000:duration={seconds}");
    let codecs = "-c:v libx264 -preset ultrafast -g 24 -b:v 6M -minrate 6M -maxrate 6M -bufsize 6M \
                  -x264-params nal-hrd=cbr -pix_fmt yuv420p -c:a aac -b:a 64k";
    let mut arguments = vec!["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &sound];
    arguments.extend(codecs.split_whitespace());
    media::make("mp4", &arguments)
}

/// Overwrites the second in the middle of a film's picture, and nothing of its sound.
fn damage_picture(film: &Path) {
    let arguments = ["-v", "error", "-select_streams", "v:0", "-show_entries", "packet=size,pos", "-of", "csv=p=0"];
    let listed = Command::new("ffprobe").args(arguments).arg(film).output().unwrap().stdout;
    let listed = String::from_utf8(listed).unwrap();
    let packets = listed.lines().map(|line| line.split(',').map(|number| number.parse::<usize>().unwrap()));
    let packets: Vec<Vec<usize>> = packets.map(Iterator::collect).collect();
    let mut bytes = fs::read(film).unwrap();
    for packet in &packets[packets.len() / 2..][..24] {
        bytes[packet[1]..packet[1] + packet[0]].fill(0);
    }
    fs::write(film, bytes).unwrap();
}

fn drain(workers: BTreeMap<&'static str, Running>) {
    for mut worker in workers.into_values() {
        worker.signal(Signal::TERM);
        assert_eq!(ended(&mut worker).code, Some(0));
    }
}

/// What both packages must agree in: all but where the source was.
fn same(one: &BTreeMap<String, Vec<u8>>, other: &BTreeMap<String, Vec<u8>>) {
    let names = |package: &BTreeMap<String, Vec<u8>>| package.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(one), names(other));
    for (name, bytes) in one.iter().filter(|(name, _)| !name.ends_with("manifest.json")) {
        assert!(other.get(name) == Some(bytes), "{name} has other bytes");
    }
}

#[test]
fn a_film_of_three_workers_is_the_film_of_one() {
    let alone = Set::alone("sqlite");
    for queue in QUEUES {
        let set = Set::new(queue);
        set.yard.ffmpeg.mode("slower");
        let id = set.yard.submit(&set.job());
        let workers = set.workers();
        set.yard.stands(&id, State::Done);
        same(&alone, &set.package());
        let chunks = set.chunks();
        assert!(chunks.len() > 8, "{queue}: {} chunks", chunks.len());
        assert!(chunks.iter().all(|record| record.state == State::Done && record.attempt == 1), "{queue}: {chunks:#?}");
        let makers: BTreeSet<_> = chunks.iter().filter_map(|record| record.worker.clone()).collect();
        assert_eq!(makers.len(), 3, "{queue}: {makers:?}");
        assert_eq!(set.again(), BTreeMap::new(), "{queue}");
        // One line for the film.
        assert_eq!(set.yard.records().unwrap().len(), 1, "{queue}");
        let listed = set.yard.sandbox.forebay(["jobs", "list"]).expect(0);
        assert_eq!(listed.stdout.lines().count(), 1, "{}", listed.stdout);
        let listed = set.yard.sandbox.forebay(["jobs", "list", "--chunks"]).expect(0);
        assert_eq!(listed.stdout.lines().count(), 1 + chunks.len(), "{}", listed.stdout);
        drain(workers);
        set.yard.sandbox.forebay(["verify", set.yard.master("film").to_str().unwrap()]).expect(0);
    }
}

#[test]
fn a_film_goes_from_a_bucket_to_a_bucket() {
    let (moto, bucket) = (stores::moto(), stores::unique("film"));
    moto.make(&bucket);
    let (store, runtime) = (stores::open(&moto.bucket(&bucket)), tokio::runtime::Runtime::new().unwrap());
    let mut set = Set::new("sqlite");
    let bytes = fs::read(set.files.join("film.mp4")).unwrap();
    runtime.block_on(store.write("source/film.mp4", bytes.into(), &About::default())).unwrap();
    let endpoint = format!("http://127.0.0.1:{}", moto.port);
    for (name, value) in [("ENDPOINT", endpoint.as_str()), ("BUCKET", &bucket), ("REGION", "us-east-1")] {
        set.yard.sandbox.set(&format!("FOREBAY_STORAGE__SHELF__S3__{name}"), value);
    }
    set.yard.sandbox.set("AWS_ACCESS_KEY_ID", "any");
    set.yard.sandbox.set("AWS_SECRET_ACCESS_KEY", "any");
    set.yard.sandbox.set("FOREBAY_WORKER__OUTPUTS", "shelf:");
    set.yard.ffmpeg.mode("slower");
    let id = set.yard.submit(&Job { input: "shelf:source/film.mp4".into(), to: "shelf:out".into(), ..set.job() });
    let workers = set.workers();
    set.yard.stands(&id, State::Done);
    drain(workers);
    let makers: BTreeSet<_> = set.chunks().into_iter().filter_map(|record| record.worker).collect();
    assert_eq!(makers.len(), 3, "{makers:?}");
    let mut package = BTreeMap::new();
    for stat in runtime.block_on(store.list("out/film")).unwrap() {
        let bytes = runtime.block_on(store.load(&stat.key, 64 << 20)).unwrap().unwrap();
        package.insert(stat.key.strip_prefix("out/film/").unwrap().to_owned(), bytes.to_vec());
    }
    same(&Set::alone("sqlite"), &package);
}

#[test]
fn guests_read_what_they_need_and_no_more() {
    let set = Set::new("sqlite");
    set.yard.ffmpeg.mode("slow");
    let id = set.yard.submit(&set.job());
    let workers = set.workers();
    let leader = set.yard.stands(&id, State::Done).worker.unwrap();
    drain(workers);
    let size = fs::metadata(set.files.join("film.mp4")).unwrap().len();
    for name in ["a", "b", "c"].into_iter().filter(|name| **name != *leader) {
        let made = set.chunks().iter().filter(|record| record.worker.as_deref() == Some(name)).count() as u64;
        let asked = set.server.bytes_asked_by(name);
        eprintln!("{name}: {made} of {} chunks, {asked} of {size} bytes", set.chunks().len());
        assert!(made > 0 && asked < size * 3 / 4, "{name} made {made} chunks and asked for {asked} of {size} bytes");
    }
}

/// The film of workers of which one is killed in the middle.
fn killed(queue: &str, leader: bool) -> usize {
    let set = Set::new(queue);
    set.yard.ffmpeg.mode("slow");
    let id = set.yard.submit(&set.job());
    let mut workers = set.workers();
    set.chunks_done(3);
    let leading = set.yard.record(&id).worker.unwrap();
    let name = *workers.keys().find(|name| (**name == leading) == leader).unwrap();
    let mut dead = workers.remove(name).unwrap();
    dead.signal(Signal::KILL);
    ended(&mut dead);
    let done = set.yard.stands(&id, State::Done);
    assert_eq!(done.attempt, if leader { 2 } else { 1 }, "{queue}: {done:#?}");
    set.package();
    drain(workers);
    assert_eq!(set.yard.sandbox.alive_after(Duration::from_secs(5)), []);
    let again = set.again();
    eprintln!("{queue}, {}: encoded again {again:?}", if leader { "leader" } else { "guest" });
    again.values().map(|count| count - 1).sum()
}

#[test]
fn a_dead_worker_costs_one_chunk() {
    for queue in QUEUES {
        assert!(killed(queue, false) <= 1, "{queue}");
    }
}

#[test]
fn a_dead_leader_costs_what_it_was_making() {
    for queue in QUEUES {
        // Its chunk; and the sound, if that was not stored yet.
        assert!(killed(queue, true) <= 2, "{queue}");
    }
}

#[test]
fn a_cancel_reaches_all_chunks() {
    for queue in QUEUES {
        let set = Set::new(queue);
        set.yard.ffmpeg.mode("slow");
        let id = set.yard.submit(&set.job());
        let workers = set.workers();
        set.chunks_done(1);
        set.yard.sandbox.forebay(["jobs", "cancel", &id]).expect(0);
        set.yard.stands(&id, State::Cancelled);
        let begun = Instant::now();
        let over = |record: &Record| matches!(record.state, State::Cancelled | State::Done);
        while !set.chunks().iter().all(over) {
            assert!(begun.elapsed() < LEASE * 3, "{queue}: {:#?}", set.chunks());
            std::thread::sleep(Duration::from_millis(20));
        }
        let cancelled = set.chunks().iter().filter(|record| record.state == State::Cancelled).count();
        assert!(cancelled > 3, "{queue}: {cancelled}");
        assert!(!set.yard.master("film").exists());
        // Wanted after all.
        set.yard.ffmpeg.mode("real");
        set.yard.sandbox.forebay(["jobs", "retry", &id]).expect(0);
        set.yard.stands(&id, State::Done);
        set.package();
        drain(workers);
    }
}

#[test]
fn a_source_that_changes_meanwhile_is_encoded_anew() {
    let set = Set::new("sqlite");
    set.yard.ffmpeg.mode("slow");
    let id = set.yard.submit(&set.job());
    let workers = set.workers();
    set.chunks_done(2);
    let other = set.files.join("other.mp4");
    fs::copy(film(SECONDS - 6), &other).unwrap();
    fs::rename(other, set.files.join("film.mp4")).unwrap();
    let done = set.yard.stands(&id, State::Done);
    assert!(done.attempt > 1, "{done:#?}");
    assert!(done.log.iter().any(|entry| entry.what.contains("changed")), "{done:#?}");
    let seconds = done.result.as_ref().and_then(|result| result["seconds"].as_f64()).unwrap();
    assert!((seconds - f64::from(SECONDS - 6)).abs() < 0.2, "{done:#?}");
    oracle::look(&set.yard.master("film")).unwrap().unwrap();
    drain(workers);
}

#[test]
fn a_chunk_that_fails_for_good_fails_its_film_with_the_reason() {
    let set = Set::new("sqlite");
    set.yard.ffmpeg.mode("slow");
    damage_picture(&set.files.join("film.mp4"));
    let id = set.yard.submit(&set.job());
    let workers = set.workers();
    let dead = set.yard.stands(&id, State::Dead);
    let why = &dead.log.last().unwrap().what;
    assert!(why.contains("the chunk at") && why.contains("damaged"), "{why}");
    let begun = Instant::now();
    while set.chunks().iter().any(|record| !record.state.is_over()) {
        assert!(begun.elapsed() < LEASE * 3, "{:#?}", set.chunks());
        std::thread::sleep(Duration::from_millis(20));
    }
    drain(workers);
    assert_eq!(oracle::files(&set.yard.sandbox.path("dest/film")), [""; 0]);
}

#[test]
fn a_chunk_of_a_stranger_shapes_nothing() {
    let set = Set::new("sqlite");
    let mut worker = set.worker("a", "5s");
    let id = set.yard.submit(&set.job());
    set.yard.stands(&id, State::Done);
    let label = set.chunks()[0].job["labels"][0].as_str().unwrap().to_owned();
    let package = set.package();
    let generation = package.keys().find_map(|name| name.split_once('/')).unwrap().0.to_owned();
    fs::copy(film(SECONDS - 6), set.files.join("other.mp4")).unwrap();
    let options = [("film", id), ("generation", generation), ("chunk", "1".into())];
    let forged = Job {
        id: Some("film".into()),
        labels: [label].into(),
        options: options.into(),
        ..Job::new(Task::Chunk, &set.server.url("good/other.mp4"), &set.job().to)
    };
    let forged = set.yard.submit(&forged);
    let done = set.yard.stands(&forged, State::Done);
    assert_eq!(done.result, Some(serde_json::json!({ "over": true })));
    assert_eq!(set.package(), package);
    worker.signal(Signal::TERM);
    assert_eq!(ended(&mut worker).code, Some(0));
}
