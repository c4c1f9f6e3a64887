//! Whole runs into stores that fail in every way, while somebody follows each pointer all the time.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use forebay::model::job::Job;
use forebay::queue::State;
use forebay::storage::store::Store;

use super::support::cutter::{Cutter, Fault};
use super::support::media;
use super::support::sandbox::{Run, Running, Sandbox};
use super::support::server::Server;
use super::support::stores::{self, open, unique};
use super::support::yard::{self, Yard};

const QUICK: &str = r#"
[hls]
segment = "1s"
ladder = "tiny"
profile = "fast"
[ladders]
tiny = [{ name = "90p", short-side = 90, crf = 35.0, max-bitrate = 100 }]
[stores]
longest-wait = "500ms"
stall = "1s"
"#;

/// A kind of store behind the proxy.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Swift,
    SwiftAsS3,
    Moto,
}

/// A store, as the program reaches it through the proxy and as others reach it directly.
struct Rig {
    cutter: Cutter,
    direct: Store,
    /// The place `cdn` of the settings.
    place: String,
}

impl Rig {
    fn new(kind: Kind) -> Self {
        let name = unique("outages");
        let (behind, direct) = if let Kind::Moto = kind {
            let moto = stores::moto();
            moto.make(&name);
            (moto.port, open(&moto.bucket(&name)))
        } else {
            let swift = stores::swift();
            swift.make(&name);
            (swift.port, open(&swift.container(&name)))
        };
        let cutter = Cutter::before(behind);
        let endpoint = format!("http://127.0.0.1:{}", cutter.port);
        let place = match kind {
            Kind::Swift => format!(
                "[storage.cdn.swift]\nauth-url = \"{endpoint}/auth/v1.0\"\ncontainer = \"{name}\"\n\
                 user = \"test:tester\"\npassword = \"testing\"\n"
            ),
            Kind::SwiftAsS3 | Kind::Moto => format!(
                "[storage.cdn.s3]\nendpoint = \"{endpoint}\"\nbucket = \"{name}\"\nregion = \"us-east-1\"\n\
                 access-key = \"test:tester\"\nsecret-key = \"testing\"\n"
            ),
        };
        Self { cutter, direct, place }
    }
}

/// How long stores are down: seconds, or more where somebody has the time.
fn outage(least: u64) -> Duration {
    let wanted = std::env::var("OUTAGE_SECONDS").map_or(0, |seconds| seconds.parse().unwrap());
    Duration::from_secs(least.max(wanted))
}

/// Waits until something is so that is bound to come.
#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < yard::PATIENCE, "it never comes that {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// What somebody saw who followed pointers.
#[derive(Debug, Default)]
struct Seen {
    looks: usize,
    whole: BTreeSet<String>,
}

/// Does `work` while every 50 ms somebody follows the pointers of `ids` below `place`.
/// Gives what was found missing behind one, if anything was.
fn watched<T>(store: &Store, place: &str, ids: &[&str], work: impl FnOnce() -> T) -> (T, Result<Seen, String>) {
    let over = AtomicBool::new(false);
    let look = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut seen = Seen::default();
            loop {
                let last = over.load(Ordering::SeqCst);
                for id in ids {
                    if follow(store, &format!("{place}/{id}")).await? {
                        seen.whole.insert((*id).to_owned());
                    } else if seen.whole.contains(*id) {
                        return Err(format!("the pointer of `{id}` is gone"));
                    }
                }
                seen.looks += 1;
                if last {
                    return Ok(seen);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
    };
    thread::scope(|scope| {
        let poller = scope.spawn(look);
        // However the work ends, the poller must, or the test would wait for it for ever.
        let outcome = catch_unwind(AssertUnwindSafe(work));
        over.store(true, Ordering::SeqCst);
        let seen = poller.join().unwrap();
        (outcome.unwrap_or_else(|panic| resume_unwind(panic)), seen)
    })
}

/// Whether there is a pointer; an error if anything is missing to which it leads.
async fn follow(store: &Store, package: &str) -> Result<bool, String> {
    const LARGEST: u64 = 4 << 20;
    let Some(pointer) = store.load(&format!("{package}/master.m3u8"), LARGEST).await.unwrap() else {
        return Ok(false);
    };
    let playlists = uris(str::from_utf8(&pointer).unwrap());
    let Some(generation) = playlists.first().and_then(|uri| uri.split('/').next()) else {
        return Err(format!("the pointer of `{package}` leads nowhere"));
    };
    let below = format!("{package}/{generation}");
    let listed = store.list(&below).await.unwrap();
    let has = |key: &str, bytes: Option<u64>| {
        listed.iter().any(|stat| stat.key == key && bytes.is_none_or(|bytes| stat.bytes == bytes))
    };
    for playlist in &playlists {
        let key = format!("{package}/{playlist}");
        let text = store.load(&key, LARGEST).await.unwrap().ok_or_else(|| format!("no `{key}`"))?;
        let text = String::from_utf8(text.to_vec()).unwrap();
        if !text.ends_with("#EXT-X-ENDLIST\n") {
            return Err(format!("`{key}` has no end"));
        }
        let folder = key.rsplit_once('/').unwrap().0;
        let keys = uris(&text).into_iter().filter(|uri| !uri.starts_with("/keys/"));
        if let Some(gone) = keys.map(|uri| format!("{folder}/{uri}")).find(|key| !has(key, None)) {
            return Err(format!("no `{gone}`, and `{key}` names it"));
        }
    }
    let manifest = store.load(&format!("{below}/manifest.json"), LARGEST).await.unwrap();
    let manifest = manifest.ok_or_else(|| format!("no manifest in `{below}`"))?;
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    for object in manifest["objects"].as_array().unwrap() {
        let key = format!("{below}/{}", object["name"].as_str().unwrap());
        if !has(&key, object["bytes"].as_u64()) {
            return Err(format!("no `{key}` with its size"));
        }
    }
    Ok(true)
}

/// All that a playlist names.
fn uris(playlist: &str) -> Vec<String> {
    let uri = |line: &str| match line.strip_prefix('#') {
        None => Some(line.to_owned()).filter(|line| !line.is_empty()),
        Some(tag) => Some(tag.split_once("URI=\"")?.1.split('"').next()?.to_owned()),
    };
    playlist.lines().filter_map(uri).collect()
}

const IDS: &[&str] = &["one", "two", "three"];

/// Three short videos in a list, and the settings of `rig`.
fn three_videos(rig: &Rig) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.config(&format!("{QUICK}{}", rig.place));
    let mut list = String::new();
    for (id, seconds) in IDS.iter().zip([6, 5, 4]) {
        sandbox.copy(&media::clip_of(seconds, "160x90"), &format!("{id}.mp4"));
        list.extend(["{\"input\":\"", id, ".mp4\",\"id\":\"", id, "\"}\n"]);
    }
    sandbox.write("list.jsonl", list);
    sandbox
}

fn publish(sandbox: &Sandbox, place: &str, variables: &[(&str, &str)]) -> Running {
    let (to, state) = (format!("cdn:{place}"), format!("state-{place}"));
    let arguments = ["hls", "-a", "list.jsonl", "--to", &to, "--state", &state];
    let seal = ["--encrypt", "aes-128", "--keys", "keys", "--key-uri", "/keys/{id}/{key}.key"];
    sandbox.start_with(arguments.into_iter().chain(seal), variables)
}

/// The run under `fault`, with a look at all pointers all the time; tells how many requests it took.
fn faulty(rig: &Rig, sandbox: &Sandbox, place: &str, fault: Fault) -> u64 {
    let before = rig.cutter.requests();
    rig.cutter.set(fault);
    let (run, seen) = watched(&rig.direct, place, IDS, || publish(sandbox, place, &[]).wait());
    rig.cutter.set(Fault::None);
    assert_eq!(run.code, Some(0), "{fault:?}: {}", run.stderr);
    let seen = seen.unwrap_or_else(|problem| panic!("{fault:?}: {problem}"));
    assert!(seen.whole.len() == IDS.len() && seen.looks > 2, "{fault:?}: {seen:?}");
    rig.cutter.requests() - before
}

/// Every way to fail at which three requests in ten come to nothing.
fn three_in_ten_fail(kind: Kind) {
    let rig = Rig::new(kind);
    let sandbox = three_videos(&rig);
    let usual = faulty(&rig, &sandbox, "usual", Fault::None);
    assert!(usual > 60, "{usual} requests are too few to count with");
    for (fault, place) in [(Fault::Busy, "busy"), (Fault::Lost, "lost"), (Fault::Reset, "reset"), (Fault::Cut, "cut")] {
        let asked = faulty(&rig, &sandbox, place, fault);
        println!("{kind:?}, {fault:?}: {asked} requests where {usual} are usual");
        assert!(asked * 10 <= usual * 16, "{kind:?}, {fault:?}: {asked} requests where {usual} are usual");
    }
    for id in IDS {
        let keys = sandbox.path("keys").join(id);
        sandbox.forebay(["verify", &format!("cdn:lost/{id}"), "--keys", keys.to_str().unwrap()]).expect(0);
    }
    let before = rig.cutter.requests();
    publish(&sandbox, "lost", &[]).wait().expect(0);
    let again = rig.cutter.requests() - before;
    assert!(again < 12 * IDS.len() as u64, "what is done is asked for, and not made again: {again} requests");
}

#[test]
fn swift_with_three_failures_in_ten_costs_little_more_and_shows_nothing_half() {
    three_in_ten_fail(Kind::Swift);
}

#[test]
fn swift_as_s3_with_three_failures_in_ten_costs_little_more_and_shows_nothing_half() {
    three_in_ten_fail(Kind::SwiftAsS3);
}

#[test]
fn s3_with_three_failures_in_ten_costs_little_more_and_shows_nothing_half() {
    three_in_ten_fail(Kind::Moto);
}

/// A program that writes the pointer first is found out, so the others passed for a reason.
#[test]
fn who_follows_pointers_sees_what_is_half_published() {
    let rig = Rig::new(Kind::SwiftAsS3);
    let sandbox = three_videos(&rig);
    rig.cutter.set(Fault::Busy);
    let work = || publish(&sandbox, "half", &[("FOREBAY_FAULT_MUTANT", "pointer-first")]).wait();
    let (_, seen) = watched(&rig.direct, "half", IDS, work);
    seen.unwrap_err();
}

#[test]
fn a_store_that_takes_requests_and_answers_none_is_tried_again_after_the_stall() {
    for kind in [Kind::Swift, Kind::SwiftAsS3] {
        let rig = Rig::new(kind);
        let sandbox = three_videos(&rig);
        let (run, seen) = watched(&rig.direct, "hole", IDS, || {
            let running = publish(&sandbox, "hole", &[]);
            until("objects are stored", || rig.cutter.requests() > 20);
            rig.cutter.set(Fault::Silent);
            let asked = rig.cutter.requests();
            thread::sleep(outage(3));
            let asked = rig.cutter.requests() - asked;
            rig.cutter.set(Fault::None);
            assert!(asked < 30 + 2 * outage(3).as_secs(), "{asked} requests into a black hole");
            running.wait_for(outage(3) + yard::PATIENCE)
        });
        assert_eq!(run.code, Some(0), "{kind:?}: {}", run.stderr);
        assert_eq!(seen.unwrap().whole.len(), IDS.len(), "{kind:?}");
    }
}

/// All bytes of files below a folder that may change meanwhile.
fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(about) if about.is_dir() => bytes_below(&entry.path()),
        Ok(about) => about.len(),
        Err(_) => 0,
    });
    bytes.sum()
}

/// Six downloads, room for two, and a store that goes down when a part is stored.
#[test]
fn a_store_that_is_down_fills_no_disk_and_fails_nothing() {
    for kind in [Kind::Swift, Kind::Moto] {
        let rig = Rig::new(kind);
        let sandbox = Sandbox::new();
        let ids = ["a", "b", "c", "d", "e", "f"];
        let source = media::clip_of(6, "640x360");
        let bytes = source.metadata().unwrap().len();
        let server = Server::start(&sandbox.path("served"));
        let mut list = String::new();
        for id in ids {
            sandbox.copy(&source, &format!("served/{id}.mp4"));
            let url = server.url(&format!("/good/{id}.mp4"));
            list.extend(["{\"input\":\"", &url, "\",\"id\":\"", id, "\"}\n"]);
        }
        sandbox.write("list.jsonl", list);
        let limit = bytes * 5 / 2;
        sandbox.config(&format!("{QUICK}{}[scratch]\nlimit = \"{limit}B\"\n", rig.place));
        let scratch = sandbox.path("state-down/scratch");
        let (run, seen) = watched(&rig.direct, "down", &ids, || {
            let mut running = publish(&sandbox, "down", &[]);
            until("objects are stored", || rig.cutter.requests() > 10);
            rig.cutter.set(Fault::Down);
            let (asked, begun) = (rig.cutter.requests(), Instant::now());
            let mut most = 0;
            while begun.elapsed() < outage(4) {
                most = most.max(bytes_below(&scratch));
                let ended = running.ended();
                assert!(ended.is_none(), "{kind:?}: {ended:?}");
                thread::sleep(Duration::from_millis(20));
            }
            let asked = rig.cutter.requests() - asked;
            rig.cutter.set(Fault::None);
            println!("{kind:?}: {most} bytes of {limit} at most, {asked} requests while it was down");
            assert!(most <= limit, "{kind:?}: {most} bytes in the work folder, and {limit} are allowed");
            assert!(most > bytes, "{kind:?}: {most} bytes: nothing was downloaded meanwhile");
            assert!(asked < 60 + 8 * outage(4).as_secs(), "{kind:?}: {asked} requests while the store was down");
            running.wait_for(outage(4) + yard::PATIENCE)
        });
        assert_eq!(run.code, Some(0), "{kind:?}: {}", run.stderr);
        assert!(run.stderr.contains("6 done"), "{kind:?}: {}", run.stderr);
        assert_eq!(seen.unwrap().whole.len(), ids.len(), "{kind:?}");
    }
}

/// Jobs of one attempt each outlive an outage that is longer than their lease.
#[test]
fn jobs_in_a_queue_wait_for_a_store_that_is_down() {
    for fault in [Fault::Down, Fault::Silent] {
        let rig = Rig::new(Kind::SwiftAsS3);
        let yard = Yard::new(None);
        yard.settings_with("outputs = [\"cdn:\"]", &format!("{}\n[stores]\nlongest-wait = \"500ms\"\n", rig.place));
        let ids: Vec<String> = IDS
            .iter()
            .map(|id| {
                yard.sandbox.copy(&media::clip_of(3, "160x90"), &format!("{id}.mp4"));
                let job = yard.job(id, &format!("{id}.mp4"));
                yard.submit(&Job { to: "cdn:jobs".into(), attempts: 1, ..job })
            })
            .collect();
        let longer = outage(10);
        let (run, seen): (Run, _) = watched(&rig.direct, "jobs", IDS, || {
            let mut worker = yard.worker(&[], &[("FOREBAY_WORKER__LEASE", "6s")]);
            until("objects are stored", || rig.cutter.requests() > 5);
            rig.cutter.set(fault);
            thread::sleep(longer);
            rig.cutter.set(Fault::None);
            for id in &ids {
                let done = yard.stands(id, State::Done);
                assert_eq!(done.attempt, 1, "{fault:?}: {done:?}");
            }
            worker.signal(rustix::process::Signal::TERM);
            yard::ended(&mut worker)
        });
        assert_eq!(run.code, Some(0), "{fault:?}: {}", run.stderr);
        assert!(run.stdout.contains("waits for a store"), "{fault:?}: {}", run.stdout);
        assert_eq!(seen.unwrap().whole.len(), IDS.len(), "{fault:?}");
    }
}
