//! SFTP beyond the promise of all stores: every way to log in, lines that break, and moves to and from it.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use forebay::storage::About;
use forebay::storage::body::FileBody;
use forebay::storage::options::Fields;

use crate::migrate::{digests, many, sql};
use crate::support::cutter::{Cutter, Fault};
use crate::support::pipe::Pipe;
use crate::support::sandbox::Sandbox;
use crate::support::stores::{self, Login, Sshd, Tethered, open, unique};

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}

/// Puts an object and looks at it, or says in which words that failed.
fn try_it(fields: &Fields) -> Result<(), String> {
    wait(async {
        let store = open(fields);
        let told = |error: forebay::storage::error::StorageError| format!("{:?}: {error}", error.kind);
        store.write("a", "bytes".into(), &About::default()).await.map_err(told)?;
        let read = store.load("a", 100).await.map_err(told)?;
        assert_eq!(read.as_deref(), Some(&b"bytes"[..]));
        Ok(())
    })
}

#[test]
fn keys_of_every_usual_kind_are_taken() {
    for key in ["key", "rsa", "ecdsa"] {
        try_it(&stores::sshd().place(&unique("keys"), &[("key-file", key)])).unwrap();
    }
}

#[test]
fn passwords_are_sent_or_answered_as_the_server_wants() {
    for login in [Login::Password, Login::Question, Login::Both] {
        let sshd = Sshd::start(login);
        let key = if login == Login::Both { "rsa" } else { "" };
        let with = |password: &str| sshd.place("films", &[("key-file", key), ("password", password)]);
        try_it(&with("open sesame")).unwrap_or_else(|error| panic!("{login:?}: {error}"));
        let refused = try_it(&with("guess")).unwrap_err();
        assert!(refused.starts_with("Refused") && refused.contains("the password"), "{login:?}: {refused}");
        assert!(!refused.contains("guess"), "{refused}");
        try_it(&with("")).unwrap_err();
    }
}

/// The settings of a place `cdn` on a server, for the program.
fn settings(sshd: &Sshd, more: &[(&str, &str)]) -> String {
    let values = sshd.values(&unique("place"), more);
    let values: Vec<(&str, &str)> = values
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .filter(|(_, value)| !value.is_empty())
        .collect();
    format!("[storage.cdn.sftp]\n{}[stores]\nlongest-wait = \"300ms\"\npart-size = \"5MiB\"\n", stores::lines(&values))
}

#[test]
fn the_agent_shows_its_keys() {
    let sshd = stores::sshd();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent");
    let agent = ["-D", "-a", socket.to_str().unwrap()];
    let _agent = Tethered::serving(folder, "ssh-agent", &agent, || socket.exists());
    let mut sandbox = Sandbox::new();
    sandbox.config(&settings(sshd, &[("key-file", "")]));
    let refused = sandbox.forebay(["doctor", "--to", "cdn:"]).expect(3);
    assert!(refused.stdout.contains("does not let"), "{}", refused.stdout);
    sandbox.set("SSH_AUTH_SOCK", &socket);
    for (key, opens) in [("other", false), ("rsa", true), ("ecdsa", true), ("key", true)] {
        let agent = |arguments: &[&str]| {
            let mut add = Command::new("ssh-add");
            add.args(["-q"]).args(arguments).env("SSH_AUTH_SOCK", &socket);
            assert!(add.status().unwrap().success(), "{arguments:?}");
        };
        agent(&[sshd.folder.join(key).to_str().unwrap()]);
        let run = sandbox.forebay(["doctor", "--to", "cdn:"]).expect(if opens { 0 } else { 3 });
        let wanted = if opens { "writes, reads, lists and deletes" } else { "the agent's key `other`" };
        assert!(run.stdout.contains(wanted), "{key}: {}", run.stdout);
        agent(&["-D"]);
    }
}

/// Bytes that no two places of have in common.
fn pattern(count: u32) -> Vec<u8> {
    (0..count).map(|number| (number.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect()
}

#[test]
fn a_line_that_breaks_in_the_middle_costs_time_and_nothing_else() {
    let (sshd, folder) = (stores::sshd(), unique("broken"));
    let pipe = Pipe::before(sshd.port);
    let known = sshd.known_behind(pipe.port);
    let port = pipe.port.to_string();
    let through = open(&sshd.place(&folder, &[("port", &port), ("known-hosts", &known)]));
    let direct = open(&sshd.place(&folder, &[]));
    let file = tempfile::NamedTempFile::new().unwrap();
    let bytes = pattern(12_000_000);
    fs::write(file.path(), &bytes).unwrap();
    wait(async {
        let body = FileBody::of(file.path()).await.unwrap();
        pipe.cut(3, 5_000_000);
        through.upload("large", &body, &About::default()).await.unwrap();
        assert_eq!(pipe.cuts_left(), 0, "the line did not break");
        assert!(direct.load("large", 20_000_000).await.unwrap().unwrap() == bytes, "other bytes were stored");
        pipe.cut(3, 3_000_000);
        assert!(through.load("large", 20_000_000).await.unwrap().unwrap() == bytes, "other bytes were read");
        assert_eq!(pipe.cuts_left(), 0, "the line did not break");
    });
    let left: Vec<_> = fs::read_dir(sshd.folder.join("files").join(&folder))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(left, ["large"], "something is left behind");
}

#[test]
fn a_migration_goes_to_it_and_back_over_a_line_that_breaks() {
    let sshd = stores::sshd();
    let pipe = Pipe::before(sshd.port);
    let known = sshd.known_behind(pipe.port);
    let sandbox = Sandbox::new();
    sandbox.config(&settings(sshd, &[("port", &pipe.port.to_string()), ("known-hosts", &known)]));
    many(&sandbox, 80);
    sandbox.write("from/large.bin", pattern(9_000_001));
    sandbox.write("from/gr\u{fc}n & 'quoted'.txt", "odd");
    let before = digests(&sandbox.path("from"));
    pipe.cut(2, 2_000_000);
    sandbox.forebay(["migrate", "from", "--to", "cdn:moved", "--catalog", "there.db"]).expect(0);
    assert_eq!(pipe.cuts_left(), 0, "the line did not break");
    let again = sandbox.forebay(["migrate", "from", "--to", "cdn:moved", "--catalog", "there.db"]).expect(0);
    assert!(again.stderr.contains("82 the same") && !again.stderr.contains("copied"), "{}", again.stderr);
    pipe.cut(2, 2_000_000);
    sandbox.forebay(["migrate", "cdn:moved", "--to", "to", "--catalog", "catalog.db"]).expect(0);
    assert_eq!(pipe.cuts_left(), 0, "the line did not break");
    assert_eq!(digests(&sandbox.path("to")), before);
    let rows: BTreeMap<_, _> = sql(&sandbox, "SELECT key, sha256 FROM object")
        .lines()
        .map(|line| line.rsplit_once('|').map(|(key, sha256)| (key.into(), sha256.to_owned())).unwrap())
        .collect();
    assert_eq!(rows, before, "a row for each object, and no other");
}

/// What was typed is right, and the place cannot be asked: that is nobody's typing.
#[test]
fn a_prefix_whose_store_is_down_is_trouble_of_the_surroundings() {
    let sshd = stores::sshd();
    let pipe = Pipe::before(sshd.port);
    let known = sshd.known_behind(pipe.port);
    let cutter = Cutter::before(stores::swift().port);
    let sandbox = Sandbox::new();
    let place = settings(sshd, &[("port", &pipe.port.to_string()), ("known-hosts", &known)]);
    sandbox.config(&format!(
        "{place}patience = \"1s\"\n[storage.s3.s3]\nendpoint = \"http://127.0.0.1:{}\"\nbucket = \"any\"\n\
         access-key = \"a\"\nsecret-key = \"b\"\n",
        cutter.port
    ));
    pipe.down(true);
    cutter.set(Fault::Down);
    let queue = format!("sqlite:{}", sandbox.path("queue.db").display());
    for prefix in ["cdn:films", "s3:films"] {
        let begun = Instant::now();
        let run = sandbox.forebay(["hls", prefix, "--to", "out"]).expect(3);
        assert!(run.stderr.contains("it has been like this"), "{}", run.stderr);
        sandbox.forebay(["submit", "hls", prefix, "--to", "out", "--queue", &queue]).expect(3);
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    }
    assert!(pipe.connections() > 2);
    pipe.down(false);
    // Now it can be asked, and there is nothing.
    let run = sandbox.forebay(["hls", "cdn:films", "--to", "out"]).expect(2);
    assert!(run.stderr.contains("no video lies below"), "{}", run.stderr);
}
