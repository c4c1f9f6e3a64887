//! `forebay migrate` between two real stores of which both fail, while it is killed again and again.
//!
//! `MIGRATE_OBJECTS` and `MIGRATE_KILLS` make it longer, `CHAOS_SEED` makes it another one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use forebay::storage::About;
use forebay::storage::body::FileBody;
use forebay::storage::store::Store;
use futures_util::stream::{self, StreamExt as _};
use rustix::process::Signal;
use sha2::{Digest as _, Sha256};

use crate::support::cutter::{Cutter, Fault};
use crate::support::postgres::Postgres;
use crate::support::sandbox::Sandbox;
use crate::support::stores::{self, Swift, open, unique};

/// Most bytes that a store of these tests takes whole.
const LARGEST: u64 = 5 << 20;

fn number_of(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().map_or(usual, |text| text.parse().unwrap())
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}

/// Settings for a bucket that is left by one port and a container that is reached by another.
fn config(sandbox: &Sandbox, from: (u16, &str), to: (u16, &str)) {
    sandbox.config(&format!(
        "[stores]\npart-size = \"5MiB\"\nlongest-wait = \"300ms\"\n\
         [storage.old.s3]\nendpoint = \"http://127.0.0.1:{}\"\nbucket = \"{}\"\nregion = \"us-east-1\"\n\
         access-key = \"test:tester\"\nsecret-key = \"testing\"\n\
         [storage.new.swift]\nauth-url = \"http://127.0.0.1:{}/auth/v1.0\"\ncontainer = \"{}\"\n\
         user = \"test:tester\"\npassword = \"testing\"\n",
        from.0, from.1, to.0, to.1
    ));
}

/// Objects of many sizes and odd names, one of them in parts; tells their digests.
async fn fill(store: &Store, count: u64) -> BTreeMap<String, String> {
    let objects = (0..count).map(|number| {
        let key = match number {
            0 => "empty".to_owned(),
            1 => "odd/gr\u{fc}n & 100% +'x'?.txt".to_owned(),
            2 => "large.bin".to_owned(),
            _ => format!("many/{}/{number:05}", number % 7),
        };
        let bytes = match number {
            0 => Vec::new(),
            2 => pattern(11_000_000),
            _ => format!("object {number} ").repeat(usize::try_from(number % 60).unwrap() + 1).into_bytes(),
        };
        (key, bytes)
    });
    let stored = stream::iter(objects).map(|(key, bytes)| async move {
        let digest = hex::encode(Sha256::digest(&bytes));
        put(store, &key, bytes).await;
        (key, digest)
    });
    stored.buffer_unordered(16).collect().await
}

async fn put(store: &Store, key: &str, bytes: Vec<u8>) {
    let about = About { content_type: Some("text/x-note".into()), ..About::default() };
    if bytes.len() as u64 <= LARGEST {
        store.write(key, Bytes::from(bytes), &about).await.unwrap();
        return;
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &bytes).unwrap();
    store.upload(key, &FileBody::of(file.path()).await.unwrap(), &about).await.unwrap();
}

fn pattern(count: u32) -> Vec<u8> {
    (0..count).map(|number| (number / 7).to_le_bytes()[0]).collect()
}

/// What a store really has, read back whole.
async fn digests(store: &Store) -> BTreeMap<String, String> {
    let found = store.list("").await.unwrap();
    let read = stream::iter(found).map(|stat| async move {
        let bytes = store.load(&stat.key, 20_000_000).await.unwrap().unwrap();
        (stat.key, hex::encode(Sha256::digest(&bytes)))
    });
    read.buffer_unordered(16).collect().await
}

#[test]
fn errors_of_both_stores_and_kills_together_lose_nothing_and_leave_a_row_for_each_object() {
    let (objects, kills) = (number_of("MIGRATE_OBJECTS", 300), number_of("MIGRATE_KILLS", 5));
    let mut chance = number_of("CHAOS_SEED", 7).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let (swift, from, to) = (stores::swift(), unique("flawed-from"), unique("flawed-to"));
    swift.make(&from);
    swift.make(&to);
    let (direct_from, direct_to) = (open(&swift.container(&from)), open(&swift.container(&to)));
    let expected = wait(fill(&direct_from, objects));
    let (before_source, before_destination) = (Cutter::before(swift.port), Cutter::before(swift.port));
    let (catalog, sandbox) = (Postgres::start(), Sandbox::new());
    config(&sandbox, (before_source.port, &from), (before_destination.port, &to));
    let address = catalog.address();
    let migrate = ["migrate", "old:", "--to", "new:", "--catalog", &address, "--state", "state"];
    before_source.set(Fault::Tenth);
    before_destination.set(Fault::Tenth);
    let mut killed = 0;
    for _ in 0..kills {
        let mut run = sandbox.start(migrate);
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        // A moment between its start and, mostly, its end.
        let (begun, moment) = (Instant::now(), Duration::from_millis(200 + chance % 1500));
        while begun.elapsed() < moment && run.ended().is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
        if run.ended().is_none() {
            run.signal(Signal::KILL);
            killed += 1;
        }
        run.wait();
        let rows: u64 = catalog.psql("SELECT count(*) FROM object").parse().unwrap_or(0);
        let there = wait(direct_to.list("")).unwrap().len() as u64;
        assert!(rows <= there, "no row is ahead of its object: {rows} rows, {there} objects");
    }
    assert!(killed > 0, "every run was over before its kill");
    sandbox.forebay(migrate).expect(0);
    let (asked, told) = (before_source.requests(), before_destination.requests());
    assert!(asked > 30 && told > 30, "{asked} and {told} requests went through the proxies");
    assert_eq!(wait(digests(&direct_to)), expected, "every object is there as it was");
    let rows: BTreeMap<String, String> = catalog
        .psql("SELECT key, sha256 FROM object")
        .lines()
        .map(|line| line.rsplit_once('|').unwrap())
        .map(|(key, sha256)| (key.into(), sha256.into()))
        .collect();
    assert_eq!(rows, expected, "a row for each object, and no other");
    let again = sandbox.forebay(migrate).expect(0);
    assert!(again.stderr.contains(&format!("{objects} the same")), "{}", again.stderr);
    assert!(!again.stderr.contains("copied"), "a second run copies nothing: {}", again.stderr);
}

#[test]
fn what_is_larger_than_a_store_takes_whole_arrives_in_segments() {
    let swift = Swift::start(&[("FAULT_LARGEST", &LARGEST.to_string())]);
    let (from, to) = (unique("large-from"), unique("large-to"));
    swift.make(&from);
    swift.make(&to);
    let (direct_from, direct_to) = (open(&swift.container(&from)), open(&swift.container(&to)));
    let sandbox = Sandbox::new();
    config(&sandbox, (swift.port, &from), (swift.port, &to));
    let large = pattern(16_000_001);
    wait(put(&direct_from, "large.bin", large.clone()));
    let whole = wait(direct_from.write("whole.bin", Bytes::from(large.clone()), &About::default()));
    assert!(whole.is_err(), "the store's limit is what this test takes it for");
    let migrate = ["migrate", "old:", "--to", "new:", "--catalog", "catalog.db", "--state", "state"];
    sandbox.forebay(migrate).expect(0);
    let (stat, bytes) = wait(direct_to.load_version("large.bin", 20_000_000)).unwrap().unwrap();
    assert!(bytes == large, "it is there as it was");
    assert_eq!(stat.about.content_type.as_deref(), Some("text/x-note"));
    let segments = open(&swift.container(&format!("{to}_segments")));
    let segments = wait(segments.list("")).unwrap();
    assert_eq!(segments.len(), 4, "{segments:?}");
    assert!(segments.iter().all(|segment| segment.bytes <= LARGEST));
    let again = sandbox.forebay(migrate).expect(0);
    assert!(again.stderr.contains("1 the same"), "{}", again.stderr);
}

#[test]
fn an_object_that_swift_lists_as_empty_arrives_with_all_its_bytes() {
    let (swift, from, parts) = (stores::swift(), unique("dynamic"), unique("dynamic-parts"));
    swift.make(&from);
    swift.make(&parts);
    let store = open(&swift.container(&parts));
    for (key, bytes) in [("large/1", pattern(3_000_000)), ("large/2", pattern(2_000_000)), ("small/1", pattern(9))] {
        wait(put(&store, key, bytes));
    }
    swift.join(&parts, &from, "large");
    swift.join(&parts, &from, "small");
    let sandbox = Sandbox::new();
    config(&sandbox, (swift.port, &from), (swift.port, &from));
    let migrate = ["migrate", "new:", "--to", "to", "--catalog", "catalog.db", "--state", "state"];
    sandbox.forebay(migrate).expect(0);
    let large = [pattern(3_000_000), pattern(2_000_000)].concat();
    assert!(std::fs::read(sandbox.path("to/large")).unwrap() == large);
    assert_eq!(std::fs::read(sandbox.path("to/small")).unwrap(), pattern(9));
    let again = sandbox.forebay(migrate).expect(0);
    assert!(again.stderr.contains("2 the same"), "{}", again.stderr);
}

#[test]
fn an_object_of_s3_that_changes_in_mid_copy_is_not_mixed_with_what_it_was() {
    let (swift, from, to) = (stores::swift(), unique("changing-from"), unique("changing-to"));
    swift.make(&from);
    swift.make(&to);
    let (direct_from, direct_to) = (open(&swift.container(&from)), open(&swift.container(&to)));
    wait(put(&direct_from, "large.bin", vec![1; 11_000_000]));
    let sandbox = Sandbox::new();
    config(&sandbox, (swift.port, &from), (swift.port, &to));
    let migrate = ["migrate", "old:", "--to", "new:", "--catalog", "catalog.db", "--state", "state"];
    let mut run = sandbox.start(migrate.iter().chain(&["--bandwidth", "3MB"]));
    let segments = open(&swift.container(&format!("{to}_segments")));
    let begun = Instant::now();
    while wait(segments.list("")).map_or(0, |found| found.len()) == 0 {
        assert!(run.ended().is_none() && begun.elapsed() < Duration::from_secs(30), "the copy does not begin");
        std::thread::sleep(Duration::from_millis(20));
    }
    wait(put(&direct_from, "large.bin", vec![2; 11_000_001]));
    assert!(run.ended().is_none(), "the source changes too late to be seen");
    run.wait().expect(0);
    let there = wait(direct_to.load("large.bin", 20_000_000)).unwrap().unwrap();
    assert!(there == vec![2; 11_000_001], "the version of the end, and none of the one before");
    let row = crate::migrate::sql(&sandbox, "SELECT bytes, sha256 FROM object");
    assert_eq!(row, format!("11000001|{}", hex::encode(Sha256::digest(vec![2; 11_000_001]))));
    let left = wait(segments.list("")).unwrap();
    assert!(left.len() <= 3, "segments of the version that was given up are gone: {left:?}");
}
