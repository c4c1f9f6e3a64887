//! `gc` removes what no pointer leads to, and nothing else.

use forebay::storage::store::Store;
use forebay::storage::{About, Large};

use crate::support::bench::Bench;
use crate::support::cutter::{Cutter, Fault};
use crate::support::sandbox::Sandbox;
use crate::support::stores;

const REACHED: &str = "aaaaaaaaaaaaaaaaaaaa";
const BY_DASH: &str = "bbbbbbbbbbbbbbbbbbbb";
const OLD: &str = "cccccccccccccccccccc";
const UNFINISHED: &str = "dddddddddddddddddddd";

/// Every key that there is, in order.
fn keys(store: &Store) -> Vec<String> {
    let listed = tokio::runtime::Runtime::new().unwrap().block_on(store.list("")).unwrap();
    let mut keys: Vec<String> = listed.into_iter().map(|stat| stat.key).collect();
    keys.sort();
    keys
}

/// Fills `store`; gives the keys that have to stay, and those that have to go.
fn fill(store: &Store) -> (Vec<String>, Vec<String>) {
    let stay = [
        "holiday/2024/beach.jpg".to_owned(),
        "talk/master.m3u8".into(),
        "talk/manifest.mpd".into(),
        "talk/notes.txt".into(),
        format!("talk/{REACHED}/720p/00000.ts"),
        format!("talk/{REACHED}/manifest.json"),
        format!("talk/{BY_DASH}/720p/00000.m4s"),
        format!("{OLD}/index.html"),
    ];
    let go = [
        format!("talk/{OLD}/720p/00000.ts"),
        format!("talk/{OLD}/720p/index.m3u8"),
        format!("talk/{OLD}/manifest.json"),
        format!("film/{UNFINISHED}/720p/00000.ts"),
    ];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for key in stay.iter().chain(&go) {
        let text = match key.as_str() {
            "talk/master.m3u8" => format!("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{REACHED}/720p/index.m3u8\n"),
            "talk/manifest.mpd" => format!("<MPD><BaseURL>{BY_DASH}/</BaseURL></MPD>"),
            _ => "x".repeat(100),
        };
        runtime.block_on(store.write(key, text.into(), &About::default())).unwrap();
    }
    let mut stay = stay.to_vec();
    stay.sort();
    (stay, go.to_vec())
}

/// Sweeps the place that the settings call `place`, which `store` is. `break_off` leaves an `upload` unfinished.
fn check(store: &Store, sandbox: &Sandbox, break_off: &dyn Fn(), upload: Option<&str>) {
    let (stay, go) = fill(store);
    let all = keys(store);
    assert_eq!(all.len(), stay.len() + go.len());

    let run = sandbox.forebay(["gc", "place:", "--grace", "1h"]).expect(0);
    assert_eq!((run.stdout.as_str(), keys(store)), ("", all.clone()), "{}", run.stderr);
    assert!(
        run.stderr.contains("0 generations, 0 objects, 0 B removed; 2 kept, younger than the grace"),
        "{}",
        run.stderr
    );

    break_off();
    let run = sandbox.forebay(["gc", "place:", "--grace", "0s", "--dry-run"]).expect(0);
    assert_eq!(keys(store), all, "a dry run removes nothing");
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines.len(), 2 + usize::from(upload.is_some()), "{}", run.stdout);
    assert!(lines[0].starts_with(&format!("would remove  film/{UNFINISHED}  1 object, 100 B")), "{}", run.stdout);
    assert!(lines[1].starts_with(&format!("would remove  talk/{OLD}  3 objects, 300 B")), "{}", run.stdout);
    let mut sums = "2 generations, 4 objects, 400 B would be removed".to_owned();
    if let Some(upload) = upload {
        assert_eq!(lines[2], format!("would remove  {upload}  an upload that was never finished"));
        sums += "; 1 unfinished upload would be removed";
    }
    assert!(run.stderr.contains(&sums), "{}", run.stderr);

    let run = sandbox.forebay(["gc", "place:", "--grace", "0s", "--json"]).expect(0);
    let summary = run.events().pop().unwrap();
    assert_eq!((summary["generations"].as_u64(), summary["objects"].as_u64()), (Some(2), Some(4)), "{}", run.stdout);
    assert_eq!(keys(store), stay);

    let run = sandbox.forebay(["gc", "place:", "--grace", "0s"]).expect(0);
    assert_eq!((run.stdout.as_str(), keys(store)), ("", stay));
}

/// A sandbox whose `place:` is a bucket.
fn with_bucket(port: u16, bucket: &str) -> Sandbox {
    let mut sandbox = Sandbox::new();
    sandbox.config(&format!(
        "[storage.place.s3]\nendpoint = \"http://127.0.0.1:{port}\"\nbucket = \"{bucket}\"\nregion = \"us-east-1\"\n",
    ));
    sandbox.set("AWS_ACCESS_KEY_ID", "any");
    sandbox.set("AWS_SECRET_ACCESS_KEY", "any");
    sandbox
}

#[test]
fn a_bucket_is_swept() {
    let (moto, bucket) = (stores::moto(), stores::unique("gc"));
    moto.make(&bucket);
    let store = stores::open(&moto.bucket(&bucket));
    let Large::Parts(parts) = store.storage().large() else { panic!("S3 has parts") };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sandbox = with_bucket(moto.port, &bucket);
    // The server gives every upload the same date of long ago.
    let (ours, foreign) = (format!("talk/{OLD}/720p/00001.ts"), "backup/disk.img".to_owned());
    let break_off = || {
        for key in [&ours, &foreign] {
            runtime.block_on(parts.begin(key, &About::default())).unwrap();
        }
    };
    check(&store, &sandbox, &break_off, Some(&ours));
    let left = runtime.block_on(parts.unfinished("")).unwrap();
    assert_eq!(left.iter().map(|upload| &upload.key).collect::<Vec<_>>(), [&foreign]);
}

#[test]
fn a_server_that_does_not_list_uploads_is_swept_all_the_same() {
    let (moto, bucket) = (stores::moto(), stores::unique("gc"));
    moto.make(&bucket);
    let cutter = Cutter::before(moto.port);
    cutter.set(Fault::NoUploads);
    check(&stores::open(&moto.bucket(&bucket)), &with_bucket(cutter.port, &bucket), &|| (), None);
}

#[test]
fn a_container_is_swept() {
    let (swift, container) = (stores::swift(), stores::unique("gc"));
    swift.make(&container);
    let sandbox = Sandbox::new();
    sandbox.config(&format!(
        "[storage.place.swift]\nauth-url = \"http://127.0.0.1:{}/auth/v1.0\"\ncontainer = \"{container}\"\n\
         user = \"test:tester\"\npassword = \"testing\"\n",
        swift.port
    ));
    let store = stores::open(&swift.container(&container));
    let Large::Parts(parts) = store.storage().large() else { panic!("Swift has segments") };
    let (ours, foreign) = (format!("talk/{OLD}/720p/00001.ts"), "backup/disk.img".to_owned());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let break_off = || {
        for key in [&ours, &foreign] {
            let upload = runtime.block_on(parts.begin(key, &About::default())).unwrap();
            runtime.block_on(parts.part(&upload, 0, "half".into())).unwrap();
        }
    };
    check(&store, &sandbox, &break_off, Some(&ours));
    let left = runtime.block_on(parts.unfinished("")).unwrap();
    assert_eq!(left.iter().map(|upload| &upload.key).collect::<Vec<_>>(), [&foreign]);
}

#[test]
fn a_folder_that_is_not_there_is_no_empty_one() {
    let sandbox = Sandbox::new();
    let run = sandbox.forebay(["gc", "dest/nowhere"]).expect(3);
    assert!(run.stderr.contains("there is no folder") && run.stderr.contains("dest/nowhere"), "{}", run.stderr);
}

#[test]
fn a_generation_that_was_replaced_goes() {
    let bench = Bench::new();
    bench.run().expect(0);
    let first = bench.package(&[]).unwrap();
    let bench = bench.with_input("clip.mp4", &["--segment", "2s"]);
    bench.run().expect(0);
    let second = bench.package(&[]).unwrap();
    let folder = bench.sandbox.path("dest/cdn/clip");
    assert!(folder.join(&first.generation).is_dir() && folder.join(&second.generation).is_dir());
    let run = bench.sandbox.forebay(["gc", "dest/cdn", "--grace", "0s"]).expect(0);
    assert!(run.stdout.starts_with(&format!("removed  clip/{}  ", first.generation)), "{}", run.stdout);
    assert!(!folder.join(&first.generation).exists(), "no empty folder is left");
    assert_eq!(bench.package(&[]).unwrap(), second);
    // What is gone is made anew.
    let bench = bench.with_input("clip.mp4", &[]);
    bench.run().expect(0);
    assert_eq!(bench.package(&[]).unwrap(), first);
}
