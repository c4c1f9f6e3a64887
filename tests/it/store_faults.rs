//! Stores that answer badly, late or not at all, and what is bought with it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use forebay::storage::About;
use forebay::storage::body::{FileBody, ObjectBody};
use forebay::storage::store::Store;
use futures_util::stream::{self, StreamExt as _};

use super::support::cutter::{Cutter, Fault};
use super::support::media;
use super::support::sandbox::Sandbox;
use super::support::stores::{self, open, s3_fields, unique};

/// A container of Swift, seen directly and through the proxy as a bucket.
struct Setting {
    cutter: Cutter,
    container: String,
    direct: Store,
    through: Store,
}

fn setting() -> Setting {
    let (swift, container) = (stores::swift(), unique("faults"));
    swift.make(&container);
    let cutter = Cutter::before(swift.port);
    let through = open(&s3_fields(cutter.port, &container, "test:tester", "testing"));
    Setting { direct: open(&swift.container(&container)), cutter, container, through }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}

async fn write_all(store: &Store, count: usize) {
    let write = stream::iter(0..count).map(|number| async move {
        let bytes = Bytes::from(format!("object {number}"));
        store.write(&format!("many/{number:03}"), bytes, &About::default()).await.unwrap();
    });
    write.buffer_unordered(8).collect::<Vec<()>>().await;
}

#[test]
fn errors_and_lost_answers_cost_little_more_than_they_must() {
    for fault in [Fault::Busy, Fault::Lost] {
        let Setting { cutter, direct, through, .. } = setting();
        cutter.set(fault);
        run(async {
            write_all(&through, 100).await;
            let listed = direct.list("many").await.unwrap();
            assert_eq!(listed.len(), 100, "{fault:?}");
        });
        let requests = cutter.requests();
        assert!(requests <= 160, "{fault:?}: {requests} requests for 100 objects");
    }
}

#[test]
fn what_is_cut_in_the_middle_is_gone_on_with() {
    let Setting { cutter, direct, through, .. } = setting();
    let file = tempfile::NamedTempFile::new().unwrap();
    let bytes: Vec<u8> = (0..12_000_000_u32).map(|number| number.to_le_bytes()[usize::from(number % 7 == 0)]).collect();
    std::fs::write(file.path(), &bytes).unwrap();
    run(async {
        for fault in [Fault::Cut, Fault::Lost, Fault::Busy] {
            cutter.set(fault);
            let body = FileBody::of(file.path()).await.unwrap();
            through.upload("large", &body, &About::default()).await.unwrap();
            let whole = direct.load("large", 20_000_000).await.unwrap().unwrap();
            assert!(whole == bytes, "{fault:?} left other bytes");
            cutter.set(fault);
            let stat = through.stat("large").await.unwrap().unwrap();
            direct.upload("copy", &ObjectBody::new(through.clone(), stat), &About::default()).await.unwrap();
            assert!(
                direct.load("copy", 20_000_000).await.unwrap().unwrap() == bytes,
                "{fault:?} was read as other bytes"
            );
        }
    });
}

#[test]
fn an_outage_is_waited_for_and_costs_a_handful_of_requests() {
    let Setting { cutter, direct, through, .. } = setting();
    run(write_all(&through, 1));
    let before = cutter.requests();
    cutter.set(Fault::Down);
    let begun = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| run(write_all(&through, 60)));
        thread::sleep(Duration::from_secs(4));
        let asked = cutter.requests() - before;
        // Ten of the budget, those under way with them, then one at a time.
        assert!(asked < 60, "{asked} requests while the store was down");
        cutter.set(Fault::None);
    });
    assert!(begun.elapsed() < Duration::from_secs(19), "it took {:?} to go on", begun.elapsed());
    assert_eq!(run(direct.list("many")).unwrap().len(), 60);
}

/// A whole run through a proxy that breaks three requests in ten, then goes down for a while,
/// then answers again. A poller never finds a package that is not whole.
#[test]
fn a_package_is_whole_whenever_it_is_seen() {
    let Setting { cutter, direct, container, .. } = setting();
    let sandbox = Sandbox::new();
    sandbox.copy(&media::clip(), "clip.mp4");
    sandbox.config(&format!(
        "[hls]\nsegment = \"2s\"\nladder = \"120p\"\nprofile = \"fast\"\n[rungs.120p]\nshort-side = 120\ncrf = 30.0\n\
         max-bitrate = 300\n[stores]\nlongest-wait = \"500ms\"\n[storage.cdn.s3]\nendpoint = \"http://127.0.0.1:{}\"\n\
         bucket = \"{container}\"\naccess-key = \"test:tester\"\nsecret-key = \"testing\"\n",
        cutter.port
    ));
    cutter.set(Fault::Busy);
    let done = AtomicBool::new(false);
    let run_once = || {
        let arguments =
            ["hls", "clip.mp4", "--id", "clip", "--to", "cdn:films", "--state", "state", "--encrypt", "aes-128"];
        let keys = ["--keys", "keys", "--key-uri", "/keys/{id}/{key}.key", "--json"];
        sandbox.forebay(arguments.iter().chain(&keys))
    };
    thread::scope(|scope| {
        let poller = scope.spawn(|| {
            run(async {
                loop {
                    let last = done.load(Ordering::SeqCst);
                    look(&direct).await;
                    if last {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            });
        });
        scope.spawn(|| {
            thread::sleep(Duration::from_secs(1));
            cutter.set(Fault::Down);
            thread::sleep(Duration::from_secs(2));
            cutter.set(Fault::Lost);
        });
        // However the run ends, the poller must, or the test would wait for it for ever.
        let first = catch_unwind(AssertUnwindSafe(run_once));
        done.store(true, Ordering::SeqCst);
        poller.join().unwrap();
        let first = first.unwrap_or_else(|panic| resume_unwind(panic));
        assert_eq!(first.code, Some(0), "{}{}", first.stdout, first.stderr);
    });
    cutter.set(Fault::None);
    let url = format!("http://127.0.0.1:{}/v1/AUTH_test/{container}/films/clip/master.m3u8", stores::swift().port);
    let verified = sandbox.forebay(["verify", &url, "--keys", "keys"]);
    assert_eq!(verified.code, Some(0), "{}{}", verified.stdout, verified.stderr);
    let before = cutter.requests();
    let again = run_once();
    assert_eq!(again.code, Some(0), "{}{}", again.stdout, again.stderr);
    assert!(cutter.requests() - before < 12, "what is done already is asked for, and not made again");
}

/// If there is a pointer, all that its manifest names is there.
async fn look(store: &Store) {
    let Some(pointer) = store.load("films/clip/master.m3u8", 1 << 20).await.unwrap() else { return };
    let text = String::from_utf8_lossy(&pointer).into_owned();
    let uri = text.lines().find(|line| !line.is_empty() && !line.starts_with('#')).unwrap();
    let place = format!("films/clip/{}", uri.split('/').next().unwrap());
    let manifest = store.load(&format!("{place}/manifest.json"), 1 << 20).await.unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest.expect("a pointer without a manifest")).unwrap();
    let listed = store.list(&place).await.unwrap();
    for object in manifest["objects"].as_array().unwrap() {
        let key = format!("{place}/{}", object["name"].as_str().unwrap());
        assert!(listed.iter().any(|stat| stat.key == key && Some(stat.bytes) == object["bytes"].as_u64()), "{key}");
    }
}
