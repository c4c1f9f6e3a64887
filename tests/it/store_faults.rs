//! Stores that answer badly, late or not at all, and what is bought with it.

use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use forebay::storage::About;
use forebay::storage::body::{FileBody, ObjectBody};
use forebay::storage::store::Store;
use futures_util::stream::{self, StreamExt as _};

use super::support::cutter::{Cutter, Fault};
use super::support::stores::{self, open, s3_fields, unique};

/// A container of Swift, seen directly and through the proxy as a bucket.
struct Setting {
    cutter: Cutter,
    direct: Store,
    through: Store,
}

fn setting() -> Setting {
    let (swift, container) = (stores::swift(), unique("faults"));
    swift.make(&container);
    let cutter = Cutter::before(swift.port);
    let through = open(&s3_fields(cutter.port, &container, "test:tester", "testing"));
    Setting { direct: open(&swift.container(&container)), cutter, through }
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
    for fault in [Fault::Busy, Fault::Lost, Fault::Reset] {
        let Setting { cutter, direct, through } = setting();
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
    let Setting { cutter, direct, through } = setting();
    let file = tempfile::NamedTempFile::new().unwrap();
    let bytes: Vec<u8> = (0..12_000_000_u32).map(|number| number.to_le_bytes()[usize::from(number % 7 == 0)]).collect();
    std::fs::write(file.path(), &bytes).unwrap();
    run(async {
        for fault in [Fault::Cut, Fault::Lost, Fault::Busy, Fault::Reset] {
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
    let Setting { cutter, direct, through } = setting();
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
