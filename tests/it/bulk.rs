//! Pictures and migrations from a queue: many small things, shared by workers that die.

use std::fs;

use forebay::queue::State;

use crate::migrate::{all_is_there, digests, many, sql};
use crate::support::media;
use crate::support::sandbox::Running;
use crate::support::yard::{Yard, ended};

/// A worker with a catalog, ended by the fault if one is named.
fn worker(yard: &Yard, kill: &str) -> Running {
    let variables = [("FOREBAY_MIGRATE__CATALOG", "catalog.db"), ("FOREBAY_FAULT_KILL", kill)];
    yard.worker(&[], &variables)
}

fn submit(yard: &Yard, arguments: &[&str]) -> Vec<String> {
    let run = yard.sandbox.forebay(["submit"].iter().chain(arguments)).expect(0);
    run.stdout.lines().map(String::from).collect()
}

fn stop(mut worker: Running) {
    worker.signal(rustix::process::Signal::TERM);
    assert_eq!(ended(&mut worker).code, Some(0));
}

#[test]
fn workers_share_a_migration_and_one_that_dies_loses_nothing() {
    let yard = Yard::new(None);
    many(&yard.sandbox, 120);
    yard.sandbox.write("from/odd/gr\u{fc}n & 100% 'x'.txt", "odd");
    let all = ["migrate", "from", "--to", "to", "--batch", "25"];
    let ids = submit(&yard, &all);
    assert_eq!(ids.len(), 5, "{ids:?}");
    let mut first = worker(&yard, "object-recorded:40");
    let second = worker(&yard, "");
    assert_eq!(ended(&mut first).signal, Some(9));
    for id in &ids {
        yard.stands(id, State::Done);
    }
    all_is_there(&yard.sandbox);
    // One object more, and one that is gone: the rest is not touched.
    yard.sandbox.write("from/new.txt", "new");
    let again = submit(&yard, &all);
    let (mut same, mut new) = (0, 0);
    for id in &again {
        let result = yard.stands(id, State::Done).result.unwrap();
        same += result["same"].as_u64().unwrap();
        new += result["new"].as_u64().unwrap();
    }
    assert_eq!((same, new), (121, 1));
    all_is_there(&yard.sandbox);
    assert_eq!(sql(&yard.sandbox, "SELECT COUNT(*) FROM object"), "122");
    // An object that cannot be copied is named.
    yard.sandbox.write("blocked/new.txt/in-the-way", "a folder where a file should be");
    let id = submit(&yard, &["migrate", "from", "--to", "blocked", "--attempts", "1"]).remove(0);
    while !yard.record(&id).log.iter().any(|entry| entry.what.contains(" failed: `")) {
        assert!(!yard.record(&id).state.is_over() || yard.record(&id).state == State::Dead, "{:?}", yard.record(&id));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    stop(second);
}

#[test]
fn keys_that_no_job_can_hold_are_named_and_left_out() {
    let yard = Yard::new(None);
    yard.sandbox.write("from/a.txt", "a");
    let long = vec!["d".repeat(250); 5].join("/");
    yard.sandbox.write(&format!("from/{long}/b.txt"), "b");
    let run = yard.sandbox.forebay(["submit", "migrate", "from", "--to", "to"]).expect(1);
    assert!(run.stderr.contains("is left out"), "{}", run.stderr);
    let ids: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(ids.len(), 1, "{}", run.stdout);
    assert_eq!(yard.record(ids[0]).job["options"]["keys"], serde_json::json!(["a.txt"]));
}

#[test]
fn pictures_from_a_queue_are_made_once_and_what_fails_is_named() {
    let yard = Yard::new(None);
    let noise = "nullsrc=s=640x480,geq=random(1)*255:128:128";
    let picture = media::make("jpg", &["-f", "lavfi", "-i", noise, "-frames:v", "1", "-q:v", "2"]);
    for name in ["card/1/a.jpg", "card/2/a.jpg", "card/b.jpg"] {
        yard.sandbox.copy(&picture, name);
    }
    yard.sandbox.write("card/empty.jpg", "");
    let make = ["photos", "card", "--to", "small", "--max-size", "60kB"];
    let worker = worker(&yard, "");
    let id = submit(&yard, &make).remove(0);
    let dead = yard.stands(&id, State::Dead);
    assert!(dead.log[0].what.contains("1 picture failed: `") && dead.log[0].what.contains("is empty"), "{dead:?}");
    fs::remove_file(yard.sandbox.path("card/empty.jpg")).unwrap();
    let ids: Vec<String> =
        (0..2).flat_map(|turn| submit(&yard, &[&make[..], &["--key", &turn.to_string()]].concat())).collect();
    for id in &ids {
        let result = yard.stands(id, State::Done).result.unwrap();
        assert_eq!((&result["done"], &result["already"]), (&0.into(), &3.into()), "{result}");
    }
    let small = digests(&yard.sandbox.path("small"));
    assert_eq!(small.len(), 3, "{small:?}");
    for name in small.keys() {
        assert!(fs::metadata(yard.sandbox.path("small").join(name)).unwrap().len() <= 60_000);
    }
    stop(worker);
    let refused = yard.sandbox.forebay(["submit", "photos", "card", "--to", "small", "--max-edge", "wide"]).expect(2);
    assert!(refused.stderr.contains("--max-edge"), "{}", refused.stderr);
}
