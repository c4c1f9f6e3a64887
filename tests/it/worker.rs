//! Workers: they drain, cancel, bench themselves, and outlive hung tools, killers and brokers.

use std::time::{Duration, Instant};

use forebay::model::job::Job;
use forebay::queue::State;
use rustix::process::Signal;

use crate::support::brokers::{RabbitServer, RedisServer};
use crate::support::media;
use crate::support::sandbox::{Running, Sandbox};
use crate::support::yard::{LEASE, PATIENCE, Yard, ended};

/// Every queue there is.
fn yards() -> [(&'static str, Yard); 3] {
    [
        ("sqlite", Yard::new(None)),
        ("redis", Yard::new(Some(RedisServer::shared()))),
        ("rabbitmq", Yard::new(Some(RabbitServer::shared()))),
    ]
}

#[test]
fn a_job_longer_than_its_lease_is_done_once_on_every_queue() {
    for (name, yard) in yards() {
        yard.sandbox.copy(&media::clip(), "long.mp4");
        yard.ffmpeg.mode("slow");
        let id = yard.submit(&yard.job("long", "long.mp4"));
        let workers = [yard.worker(&[], &[]), yard.worker(&[], &[])];
        let done = yard.stands(&id, State::Done);
        let took = (done.ended.unwrap() - done.started.unwrap()) / 1000;
        eprintln!("{name}: {took} s under a lease of {LEASE:?}");
        assert_eq!(done.attempt, 1, "{name}: {done:?}");
        assert!(took >= 2, "{name}: the job was too short to prove anything");
        yard.package("long").unwrap();
        for mut worker in workers {
            worker.signal(Signal::TERM);
            assert_eq!(ended(&mut worker).code, Some(0));
        }
        assert_eq!(yard.sandbox.alive(), []);
    }
}

/// RabbitMQ closes the channel of a consumer that keeps a message longer than this (30 minutes, as it comes).
const RABBITS_PATIENCE: Duration = Duration::from_secs(2);

/// A consumer that keeps a message loses its channel.
async fn a_plain_consumer_is_cut_off(url: &str) {
    use futures_util::stream::StreamExt as _;
    use lapin::options::{BasicConsumeOptions, BasicPublishOptions, QueueDeclareOptions};
    use lapin::types::FieldTable;
    let connection = lapin::Connection::connect(url, lapin::ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let (declare, consume) = (QueueDeclareOptions::default(), BasicConsumeOptions::default());
    channel.queue_declare("plain".into(), declare, FieldTable::default()).await.unwrap();
    let publish = BasicPublishOptions::default();
    channel
        .basic_publish("".into(), "plain".into(), publish, b"a film", lapin::BasicProperties::default())
        .await
        .unwrap();
    let taken = channel.basic_consume("plain".into(), "".into(), consume, FieldTable::default()).await;
    let mut consumer = taken.unwrap();
    let _kept = consumer.next().await.unwrap().unwrap();
    let next = tokio::time::timeout(PATIENCE, consumer.next()).await;
    assert!(!matches!(next.expect("the server has patience without end"), Some(Ok(_))));
}

#[test]
fn a_job_of_six_times_rabbits_patience_is_done_once() {
    let seconds = RABBITS_PATIENCE.as_secs();
    // It looks once a tick.
    let more = format!("-rabbit consumer_timeout {} channel_tick_interval 1000", seconds * 1000);
    let server = RabbitServer::start_with(&more);
    let yard = Yard::new(Some(server.url(0)));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(a_plain_consumer_is_cut_off(&server.url(1)));
    yard.sandbox.copy(&media::clip_of(24, "160x90"), "long.mp4");
    yard.ffmpeg.mode("slower");
    let id = yard.submit(&yard.job("long", "long.mp4"));
    // The lease is no matter here, and may end early on a busy machine.
    let mut worker = yard.worker(&[], &[("FOREBAY_WORKER__LEASE", "20s")]);
    let done = yard.stands(&id, State::Done);
    let took = u64::try_from(done.ended.unwrap() - done.started.unwrap()).unwrap() / 1000;
    assert_eq!(done.attempt, 1, "{done:?}");
    assert!(took >= 6 * seconds, "{took} s prove little");
    yard.package("long").unwrap();
    worker.signal(Signal::TERM);
    assert_eq!(ended(&mut worker).code, Some(0));
}

#[test]
fn a_worker_that_is_asked_to_stop_gives_its_job_back_and_another_goes_on() {
    for (name, yard) in yards() {
        yard.ffmpeg.mode("slow");
        yard.sandbox.copy(&media::clip(), "long.mp4");
        let id = yard.submit(&Job { attempts: 1, ..yard.job("long", "long.mp4") });
        let mut worker = yard.worker(&[], &[]);
        yard.encodes_begin(3);
        let begun = Instant::now();
        worker.signal(Signal::TERM);
        let run = ended(&mut worker);
        assert_eq!(run.code, Some(0), "{name}: {}", run.stderr);
        assert!(begun.elapsed() < Duration::from_secs(6) + LEASE, "{name}: {:?}", begun.elapsed());
        let back = yard.record(&id);
        assert_eq!((back.state, back.attempt), (State::Waiting, 0), "{name}: {back:?}");
        assert_eq!(yard.sandbox.alive(), []);
        yard.ffmpeg.mode("real");
        assert_eq!(ended(&mut yard.worker(&["--once"], &[])).code, Some(0), "{name}");
        assert_eq!(yard.stands(&id, State::Done).attempt, 1);
        yard.package("long").unwrap();
        let again: usize = yard.ffmpeg.encodes().values().filter(|count| **count > 1).count();
        assert!(again <= 1, "{name}: finished chunks were made again: {:?}", yard.ffmpeg.encodes());
    }
}

#[test]
fn a_cancel_reaches_a_running_encoder_within_two_seconds() {
    for (name, yard) in yards() {
        yard.settings("");
        yard.ffmpeg.mode("hang");
        let id = yard.submit(&yard.job("a", "clip.mp4"));
        let mut worker = yard.worker(&[], &[("FOREBAY_WORKER__LEASE", "1m")]);
        yard.encodes_begin(1);
        yard.stands(&id, State::Running);
        yard.sandbox.forebay(["jobs", "cancel", &id]).expect(0);
        let begun = Instant::now();
        let encoders =
            || yard.sandbox.alive().iter().any(|(_, line)| line.contains("sleep") || line.contains("ffmpeg"));
        while encoders() && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
        let time = begun.elapsed();
        eprintln!("{name}: cancelled after {time:?}");
        assert!(time < Duration::from_secs(2), "{name}: {time:?}");
        yard.stands(&id, State::Cancelled);
        // The worker lives, and takes the next.
        yard.ffmpeg.mode("real");
        let id = yard.submit(&yard.job("b", "clip.mp4"));
        yard.stands(&id, State::Done);
        worker.signal(Signal::TERM);
        assert_eq!(ended(&mut worker).code, Some(0));
    }
}

/// A job that hangs is stopped when its lease is about to end, and done by the next attempt.
fn hang(mutant: &str) -> Result<(), String> {
    let yard = Yard::new(None);
    yard.ffmpeg.mode("hang-once");
    let id = yard.submit(&yard.job("a", "clip.mp4"));
    let _worker = yard.worker(&[], &[("FOREBAY_FAULT_MUTANT", mutant)]);
    yard.encodes_begin(1);
    let begun = Instant::now();
    while begun.elapsed() < LEASE * 6 {
        let record = yard.record(&id);
        if record.state == State::Done {
            assert_eq!(record.attempt, 2, "{record:?}");
            assert!(record.log[0].what.contains("no progress"), "{record:?}");
            return yard.package("a").map(drop);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(format!("it hangs on: {:?}", yard.record(&id)))
}

#[test]
fn a_job_that_hangs_is_ended_and_tried_again() {
    hang("").unwrap();
    hang("renew-by-timer").unwrap_err();
}

/// A job that ends every worker ends in the dead queue after its attempts, while others flow.
fn poison(yard: &Yard, mutant: &str) -> Result<(), String> {
    yard.ffmpeg.mode("murder");
    let poison = yard.submit(&Job { attempts: 3, ..yard.job("poison", "poison.mp4") });
    let others: Vec<String> = (0..3).map(|number| yard.submit(&yard.job(&format!("v{number}"), "clip.mp4"))).collect();
    let mut deaths = 0;
    let begun = Instant::now();
    let mut worker = yard.worker(&[], &[("FOREBAY_FAULT_MUTANT", mutant)]);
    while yard.record(&poison).state != State::Dead {
        if worker.ended().is_some_and(|run| run.signal == Some(Signal::KILL.as_raw())) {
            deaths += 1;
            if deaths > 5 {
                return Err(format!("it has ended {deaths} workers"));
            }
            worker = yard.worker(&[], &[("FOREBAY_FAULT_MUTANT", mutant)]);
        }
        assert!(begun.elapsed() < PATIENCE, "{:?}", yard.record(&poison));
        std::thread::sleep(Duration::from_millis(30));
    }
    for id in &others {
        yard.stands(id, State::Done);
    }
    let dead = yard.record(&poison);
    assert_eq!((deaths, dead.attempt), (3, 3), "{dead:?}");
    assert_eq!(dead.log.iter().filter(|entry| entry.what.contains("died")).count(), 3, "{dead:?}");
    let run = yard.sandbox.forebay(["jobs", "show", &poison]).expect(0);
    assert!(run.stdout.contains("died"), "{}", run.stdout);
    Ok(())
}

#[test]
fn a_job_that_kills_its_workers_is_dead_after_three() {
    for (name, yard) in yards() {
        poison(&yard, "").unwrap_or_else(|problem| panic!("{name}: {problem}"));
    }
    poison(&Yard::new(None), "no-attempts").unwrap_err();
    poison(&Yard::new(Some(RabbitServer::shared())), "no-attempts").unwrap_err();
}

/// Killed at any moment, a worker leaves no job that says it is done and is not.
fn killed_at_work(yard: &Yard, mutant: &str) -> Result<(), String> {
    let id = yard.submit(&yard.job("a", "clip.mp4"));
    let variables = [("FOREBAY_FAULT_MUTANT", mutant), ("FOREBAY_FAULT_KILL", "job-claimed")];
    assert_eq!(ended(&mut yard.worker(&[], &variables)).signal, Some(Signal::KILL.as_raw()));
    let _worker = yard.worker(&[], &[]);
    let done = yard.stands(&id, State::Done);
    yard.package("a")?;
    assert_eq!(done.attempt, 2);
    Ok(())
}

#[test]
fn no_job_is_lost_with_its_worker() {
    for (name, yard) in yards() {
        killed_at_work(&yard, "").unwrap_or_else(|problem| panic!("{name}: {problem}"));
    }
    killed_at_work(&Yard::new(None), "ack-first").unwrap_err();
    killed_at_work(&Yard::new(Some(RedisServer::shared())), "ack-first").unwrap_err();
    killed_at_work(&Yard::new(Some(RabbitServer::shared())), "ack-first").unwrap_err();
}

/// A worker that sleeps through its lease and then wants to say how its job ended says nothing.
fn zombie(yard: &Yard, mutant: &str) -> Result<(), String> {
    yard.ffmpeg.mode("die-once");
    let id = yard.submit(&yard.job("a", "clip.mp4"));
    let zombie = yard.worker(
        &["--name", "zombie", "--once"],
        &[("FOREBAY_FAULT_MUTANT", mutant), ("FOREBAY_FAULT_STOP", "job-ended"), ("FOREBAY_NETWORK__RETRIES", "0")],
    );
    // It fails, and stops before it says so.
    zombie.wait_until_stopped();
    yard.ffmpeg.mode("hang");
    let mut second = yard.worker(&["--name", "second"], &[("FOREBAY_WORKER__LEASE", "1m")]);
    let begun = Instant::now();
    while yard.record(&id).worker.as_deref() != Some("second") {
        assert!(begun.elapsed() < PATIENCE, "{:?}", yard.record(&id));
        std::thread::sleep(Duration::from_millis(50));
    }
    zombie.signal(Signal::CONT);
    let mut zombie = zombie;
    ended(&mut zombie);
    let record = yard.record(&id);
    second.signal(Signal::KILL);
    ended(&mut second);
    let said = record.log.iter().any(|entry| entry.what.starts_with("failed: ") && !entry.what.contains("died"));
    if said || record.state != State::Running {
        return Err(format!("the zombie wrote: {record:?}"));
    }
    Ok(())
}

#[test]
fn a_zombie_writes_nothing() {
    for (name, yard) in yards() {
        zombie(&yard, "").unwrap_or_else(|problem| panic!("{name}: {problem}"));
    }
    for (name, yard) in yards() {
        assert!(zombie(&yard, "no-owner").is_err(), "{name}: a queue that asks for no owner was not noticed");
    }
}

#[test]
fn a_machine_that_is_unfit_burns_no_attempt_and_takes_a_rest() {
    let yard = Yard::new(None);
    // A file where the destination should be is nobody's fault but the machine's.
    yard.sandbox.write("dest", "in the way");
    let ids: Vec<String> =
        (0..3).map(|number| yard.submit(&Job { attempts: 1, ..yard.job(&format!("v{number}"), "clip.mp4") })).collect();
    let mut worker = yard.worker(&[], &[]);
    let begun = Instant::now();
    let out = || std::fs::read_to_string(yard.sandbox.path("tmp/out-0")).unwrap_or_default();
    while !out().contains("\"benched\"") {
        assert!(begun.elapsed() < PATIENCE, "{}", out());
        std::thread::sleep(Duration::from_millis(50));
    }
    for id in &ids {
        let record = yard.record(id);
        assert!(!record.state.is_over() && record.attempt <= 1, "{record:?}");
    }
    std::fs::remove_file(yard.sandbox.path("dest")).unwrap();
    for (number, id) in ids.iter().enumerate() {
        assert_eq!(yard.stands(id, State::Done).attempt, 1);
        yard.package(&format!("v{number}")).unwrap();
    }
    worker.signal(Signal::TERM);
    assert_eq!(ended(&mut worker).code, Some(0));
}

/// A worker that is told to goes home, and never took a rest.
fn goes_home_unbenched(mut worker: Running) {
    worker.signal(Signal::TERM);
    let run = ended(&mut worker);
    assert!(run.code == Some(0) && !run.stdout.contains("\"benched\""), "{}", run.stdout);
}

/// The lease is no matter here, and may end early on a busy machine.
const PATIENT: (&str, &str) = ("FOREBAY_WORKER__LEASE", "1m");

#[test]
fn names_that_no_file_can_have_are_the_jobs_fault() {
    let yard = Yard::new(None);
    let long = |id: &str| {
        let job = yard.job(id, "clip.mp4");
        yard.submit(&Job { to: format!("{}/{}", job.to, "a".repeat(300)), ..job })
    };
    let ids = ["v0", "v1", "v2"].map(long);
    let good = yard.submit(&yard.job("good", "clip.mp4"));
    let worker = yard.worker(&[], &[PATIENT]);
    for id in &ids {
        let dead = yard.stands(id, State::Dead);
        assert_eq!((dead.attempt, dead.log.len()), (1, 1), "{dead:?}");
    }
    yard.stands(&good, State::Done);
    goes_home_unbenched(worker);
}

#[test]
fn a_job_that_no_machine_can_do_is_dead_in_the_end() {
    let yard = Yard::new(None);
    yard.sandbox.write("dest", "in the way");
    let id = yard.submit(&Job { attempts: 1, ..yard.job("a", "clip.mp4") });
    let worker = yard.worker(&[], &[PATIENT, ("FOREBAY_WORKER__RETRY_WAIT", "1ms")]);
    let dead = yard.stands(&id, State::Dead);
    assert!(dead.attempt == 1 && dead.log.len() == 11, "{dead:?}");
    goes_home_unbenched(worker);
}

#[test]
fn settings_that_are_wrong_for_a_while_kill_no_job() {
    let yard = Yard::new(None);
    let mut worker = yard.worker(&[], &[PATIENT]);
    let out = || std::fs::read_to_string(yard.sandbox.path("tmp/out-0")).unwrap_or_default();
    let begun = Instant::now();
    while !out().contains("\"worker\"") {
        assert!(begun.elapsed() < PATIENCE, "{}", out());
        std::thread::sleep(Duration::from_millis(20));
    }
    yard.sandbox.config("[worker\nslots = ");
    let id = yard.submit(&Job { attempts: 1, ..yard.job("a", "clip.mp4") });
    while yard.record(&id).log.is_empty() {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(20));
    }
    yard.settings("");
    let done = yard.stands(&id, State::Done);
    assert!(done.log[0].what.starts_with("given back: ") && done.attempt == 1, "{done:?}");
    // What is wrong with the job itself is still its fault.
    let mut odd = yard.job("b", "clip.mp4");
    odd.options.insert("profile", "no such".into());
    assert_eq!(yard.stands(&yard.submit(&odd), State::Dead).log.len(), 1);
    worker.signal(Signal::TERM);
    assert_eq!(ended(&mut worker).code, Some(0));
}

#[test]
fn jobs_may_use_what_the_worker_allows_and_nothing_else() {
    let yard = Yard::new(None);
    let ok = yard.job("a", "clip.mp4");
    let jobs = [
        Job { input: "/etc/passwd".into(), ..ok.clone() },
        Job { to: "/tmp/forebay-elsewhere".into(), ..ok.clone() },
        Job { to: format!("{}/../forebay-elsewhere", ok.to), ..ok.clone() },
        Job { input: "https://example.org/a.mp4".into(), ..ok.clone() },
    ];
    for job in &jobs {
        let id = yard.submit(job);
        assert_eq!(ended(&mut yard.worker(&["--once"], &[])).code, Some(1));
        let dead = yard.record(&id);
        assert_eq!(dead.state, State::Dead, "{dead:?}");
        assert!(dead.log[0].what.contains("this worker does not"), "{dead:?}");
    }
    assert_eq!(yard.ffmpeg.starts(), 0);
}

#[test]
fn once_takes_one_job_or_none() {
    let yard = Yard::new(None);
    assert_eq!(ended(&mut yard.worker(&["--once"], &[])).code, Some(0));
    let ids = ["a", "b"].map(|id| yard.submit(&yard.job(id, "clip.mp4")));
    let run = ended(&mut yard.worker(&["--once"], &[]));
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    assert_eq!(ids.map(|id| yard.record(&id).state), [State::Done, State::Waiting]);
}

/// The first change to a new file is one that `SQLite` waits for nobody with.
#[test]
fn workers_that_begin_at_once_share_a_new_queue() {
    const AT_ONCE: usize = 4;
    for round in 0..20 {
        let sandbox = Sandbox::new();
        let begin = |number: usize| {
            let state = format!("state-{number}");
            sandbox.start(["worker", "--once", "--queue", "sqlite:queue.db", "--to", "site", "--state", &state])
        };
        let workers: Vec<_> = (0..AT_ONCE).map(begin).collect();
        for worker in workers {
            let run = worker.wait();
            assert_eq!(run.code, Some(0), "round {round}: {}", run.stderr);
        }
    }
}

#[test]
fn commands_submit_show_and_retry() {
    let yard = Yard::new(None);
    let submit = |more: &[&str]| {
        let usual = ["submit", "hls", "clip.mp4", "--to", "dest", "--id", "a"];
        yard.sandbox.forebay(usual.iter().chain(more))
    };
    let id = submit(&["--title", "x"]).expect(2);
    assert!(id.stderr.contains("--title"), "{}", id.stderr);
    let id = submit(&["--priority", "3", "--ladder", "tiny"]).expect(0).stdout.trim().to_owned();
    assert_eq!(submit(&["--ladder", "tiny"]).expect(0).stdout.trim(), id);
    let list = yard.sandbox.forebay(["jobs"]).expect(0);
    assert!(list.stdout.contains(&id) && list.stderr.contains("1 waiting"), "{list:?}");
    yard.sandbox.forebay(["jobs", "cancel", &id]).expect(0);
    yard.sandbox.forebay(["jobs", "cancel", "nothing"]).expect(1);
    yard.sandbox.forebay(["jobs", "retry", &id]).expect(0);
    let mut watch = yard.sandbox.start(["jobs", "watch", &id, "--json"]);
    assert_eq!(ended(&mut yard.worker(&["--once"], &[])).code, Some(0));
    let seen = ended(&mut watch).expect(0);
    assert_eq!(seen.events().last().unwrap()["state"], "done", "{}", seen.stdout);
    let shown = yard.sandbox.forebay(["jobs", "show", &id, "--json"]).expect(0);
    assert_eq!(shown.events()[0]["job"]["options"]["ladder"], "tiny");
    yard.package("a").unwrap();
    let bad = submit(&["--priority", "99"]).expect(2);
    assert!(bad.stderr.contains("priority"), "{}", bad.stderr);
}

#[test]
fn who_watches_a_job_that_is_lost_is_told() {
    let url = RedisServer::shared();
    let yard = Yard::new(Some(url.clone()));
    let id = yard.submit(&yard.job("a", "clip.mp4"));
    let mut watch = yard.sandbox.start(["jobs", "watch", &id]);
    let (begun, out) = (Instant::now(), || std::fs::read_to_string(yard.sandbox.path("tmp/out-0")).unwrap_or_default());
    while !out().contains("waiting") {
        assert!(begun.elapsed() < PATIENCE, "{}", out());
        std::thread::sleep(Duration::from_millis(20));
    }
    let flushed = std::process::Command::new("redis-cli").args(["-u", &url, "FLUSHDB"]).output().unwrap();
    assert!(flushed.status.success(), "{flushed:?}");
    let run = ended(&mut watch).expect(1);
    assert!(run.stderr.contains("any more"), "{}", run.stderr);
}

#[test]
fn a_redis_that_could_forget_is_named_at_the_start() {
    let server = RedisServer::start("everysec");
    let yard = Yard::new(Some(server.url(0)));
    let run = ended(&mut yard.worker(&["--once"], &[]));
    assert!(run.stderr.contains("appendfsync everysec"), "{}", run.stderr);
    let yard = Yard::new(Some(RedisServer::shared()));
    let run = ended(&mut yard.worker(&["--once"], &[]));
    assert!(!run.stderr.contains("warning"), "{}", run.stderr);
}
