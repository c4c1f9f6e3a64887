//! `forebay migrate`: what arrives, what is recorded, and that both survive kills, changes and damage.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use forebay::storage::About;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::support::media;
use crate::support::postgres::Postgres;
use crate::support::sandbox::{Run, Sandbox};
use crate::support::stores::{self, open, unique};

const MIGRATE: [&str; 6] = ["migrate", "from", "--to", "to", "--catalog", "catalog.db"];

fn migrate(sandbox: &Sandbox, more: &[&str]) -> Run {
    sandbox.forebay(MIGRATE.iter().chain(more))
}

/// What a statement answers, columns with `|` between.
pub(crate) fn sql(sandbox: &Sandbox, statement: &str) -> String {
    let script = "import sqlite3,sys\nfor row in sqlite3.connect(sys.argv[1]).execute(sys.argv[2]):\n \
                  print('|'.join('' if value is None else str(value) for value in row))";
    let catalog = sandbox.path("catalog.db");
    let output = Command::new("python3").args(["-c", script]).arg(catalog).arg(statement).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Changes the catalog.
fn sql_change(sandbox: &Sandbox, statement: &str) {
    let script = "import sqlite3,sys\nwith sqlite3.connect(sys.argv[1]) as catalog: catalog.execute(sys.argv[2])";
    let mut python = Command::new("python3");
    let changed = python.args(["-c", script]).arg(sandbox.path("catalog.db")).arg(statement).status().unwrap();
    assert!(changed.success());
}

pub(crate) fn digests(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if !path.to_string_lossy().ends_with(".forebay-tmp") {
            let digest = hex::encode(Sha256::digest(fs::read(&path).unwrap()));
            found.insert(path.strip_prefix(folder).unwrap().into(), digest);
        }
    }
    found
}

/// Both sides have the same, and the catalog has a right row for each.
#[track_caller]
pub(crate) fn all_is_there(sandbox: &Sandbox) {
    let (from, to) = (digests(&sandbox.path("from")), digests(&sandbox.path("to")));
    assert_eq!(from, to);
    let rows: BTreeMap<PathBuf, String> = sql(sandbox, "SELECT key, sha256 FROM object")
        .lines()
        .map(|line| line.rsplit_once('|').map(|(key, sha256)| (key.into(), sha256.to_owned())).unwrap())
        .collect();
    assert_eq!(rows, from, "a row for each object, and no other");
}

pub(crate) fn many(sandbox: &Sandbox, count: usize) {
    for number in 0..count {
        sandbox.write(&format!("from/{}/{number:04}.txt", number % 7), format!("object {number}").repeat(number % 50));
    }
}

#[test]
fn everything_arrives_with_a_row_and_a_second_run_copies_nothing() {
    let sandbox = Sandbox::new();
    many(&sandbox, 60);
    sandbox.write("from/empty", "");
    sandbox.write("from/gr\u{fc}n \u{1f3ac} & 'quoted' \"x\".txt", "odd");
    sandbox.write("from/large.bin", vec![7; 9_000_001]);
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let dated = fs::File::options().append(true).open(sandbox.path("from/large.bin")).unwrap();
    dated.set_modified(old).unwrap();
    let before = digests(&sandbox.path("from"));
    let run = migrate(&sandbox, &["--combined", "-", "--report", "page.html"]).expect(0);
    all_is_there(&sandbox);
    assert_eq!(digests(&sandbox.path("from")), before, "nothing is changed at the source");
    assert_eq!(run.stdout.lines().filter(|line| line.starts_with("+ ")).count(), 63, "{}", run.stdout);
    assert_eq!(fs::metadata(sandbox.path("to/large.bin")).unwrap().modified().unwrap(), old);
    assert!(fs::read_to_string(sandbox.path("page.html")).unwrap().contains("Bytes a second"));
    let run = migrate(&sandbox, &["--combined", "list.txt"]).expect(0);
    assert!(run.stderr.contains("63 the same") && !run.stderr.contains("copied"), "{}", run.stderr);
    let list = fs::read_to_string(sandbox.path("list.txt")).unwrap();
    assert!(list.lines().all(|line| line.starts_with("= ")), "{list}");
    // One is new, one is changed, one is gone.
    sandbox.write("from/new", "new");
    sandbox.write("from/0/0000.txt", "changed");
    fs::remove_file(sandbox.path("from/empty")).unwrap();
    let run = migrate(&sandbox, &["--dry-run", "--combined", "-"]).expect(0);
    assert!(run.stdout.contains("+ new") && run.stdout.contains("* 0/0000.txt"), "{}", run.stdout);
    assert!(!sandbox.path("to/new").exists());
    let run = migrate(&sandbox, &["--combined", "-"]).expect(0);
    for line in ["+ new", "* 0/0000.txt", "- empty"] {
        assert!(run.stdout.lines().any(|text| text == line), "{line}\n{}", run.stdout);
    }
    assert_eq!(fs::read_to_string(sandbox.path("to/0/0000.txt")).unwrap(), "changed");
    assert!(sandbox.path("to/empty").exists(), "what is gone from the source stays at the destination");
}

#[test]
fn rows_say_what_the_bytes_are_in_both_databases() {
    let sandbox = Sandbox::new();
    let server = Postgres::start();
    sandbox.copy(&media::clip(), "from/film.bin");
    sandbox.write("from/page", "<!doctype html><p>x");
    let path = sandbox.path("from/photo.dat");
    let arguments = ["-size", "64x48", "xc:teal", "jpg:from/photo.dat"];
    assert!(sandbox.command("convert").args(arguments).status().unwrap().success());
    let set = ["-q", "-overwrite_original", "-Make=Acme", "-Model=One", "-DateTimeOriginal=2024:05:06 07:08:09"];
    let place = ["-GPSLatitude=52.5", "-GPSLatitudeRef=S", "-GPSLongitude=13.25", "-GPSLongitudeRef=E"];
    assert!(sandbox.command("exiftool").args(set).args(place).arg(&path).status().unwrap().success());
    let address = server.address();
    migrate(&sandbox, &[]).expect(0);
    sandbox.forebay(["migrate", "from", "--to", "to2", "--catalog", &address]).expect(0);
    let statement = "SELECT key, media_type, width, height, taken, camera, round(latitude), longitude, \
                     seconds > 7.9, bytes > 0 FROM object ORDER BY key";
    let expected = [
        "film.bin|video/mp4|320|180|||||1|1",
        "page|text/html||||||||",
        "photo.dat|image/jpeg|64|48|2024-05-06T07:08:09|Acme One|-53|13.25|",
    ];
    for answer in [sql(&sandbox, statement), server.psql(statement)] {
        let answer = answer.replace("-53.0", "-53").replace("-52", "-53").replace("|t|", "|1|").replace("|t\n", "|1\n");
        for (line, expected) in answer.lines().zip(expected) {
            let start = expected.trim_end_matches('|');
            assert!(line.starts_with(start), "{line}\n{expected}");
        }
        assert_eq!(answer.lines().count(), 3, "{answer}");
    }
    let rows = "SELECT key, sha256, md5, version, facts, metadata FROM object ORDER BY key";
    let lines = |text: String| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines(sql(&sandbox, rows)), lines(server.psql(rows)), "both databases have the same");
    let facts: Value = serde_json::from_str(&server.psql("SELECT facts FROM object WHERE key = 'film.bin'")).unwrap();
    assert_eq!((&facts["video"], &facts["audio"]), (&"h264".into(), &"aac".into()));
    let run = sandbox.forebay(["migrate", "from", "--to", "to2", "--catalog", &address]).expect(0);
    assert!(run.stderr.contains("3 the same"), "{}", run.stderr);
    let secret = address.replace("forebay@", "forebay:pw@");
    let run = sandbox.forebay(["migrate", "from", "--to", "to2", "--catalog", &secret]).expect(2);
    assert!(run.stderr.contains("PGPASSWORD") && !run.stderr.contains("pw@"), "{}", run.stderr);
}

#[test]
fn catalogs_of_the_version_before_are_brought_up_with_all_they_hold() {
    let (sandbox, server) = (Sandbox::new(), Postgres::start());
    sandbox.write("from/new", "new");
    let made = "CREATE TABLE catalog_version (version BIGINT NOT NULL); INSERT INTO catalog_version VALUES (1); ";
    let row = "; INSERT INTO object (source, destination, key, version, bytes, md5, sha256, metadata, facts, \
               verified, seen) VALUES ('a', 'b', 'old', '1', 3, 'abc', 'def', '{}', '{}', 'then', 1)";
    let statements = format!("{made}{}{row}", include_str!("../../src/catalog/schema-1.sql"));
    for statement in statements.split(';') {
        sql_change(&sandbox, statement);
    }
    server.psql(&statements);
    migrate(&sandbox, &[]).expect(0);
    sandbox.forebay(["migrate", "from", "--to", "to2", "--catalog", &server.address()]).expect(0);
    let digest = "22af645d1859cb5ca6da0c484f1f37ea";
    for ask in [&|statement: &str| sql(&sandbox, statement), &|statement: &str| server.psql(statement)]
        as [&dyn Fn(&str) -> String; 2]
    {
        assert_eq!(ask("SELECT key, md5, sha256 FROM object WHERE source = 'a'").trim(), "old|abc|def");
        assert_eq!(ask("SELECT md5 FROM object WHERE key = 'new'").trim(), digest);
        assert_eq!(ask("SELECT MAX(version) FROM catalog_version").trim(), "2");
    }
}

#[test]
fn a_killed_run_goes_on_and_no_row_is_ahead_of_its_object() {
    for step in ["object-written:5", "object-copied:9", "object-recorded:13"] {
        let sandbox = Sandbox::new();
        many(&sandbox, 40);
        let run = sandbox.start_with(MIGRATE, &[("FOREBAY_FAULT_KILL", step)]).wait();
        assert_eq!(run.signal, Some(9), "{step}: {}", run.stderr);
        let to = digests(&sandbox.path("to"));
        for line in sql(&sandbox, "SELECT key, sha256 FROM object").lines() {
            let (key, sha256) = line.split_once('|').unwrap();
            assert_eq!(to.get(Path::new(key)).map(String::as_str), Some(sha256), "{step}: {key}");
        }
        migrate(&sandbox, &[]).expect(0);
        all_is_there(&sandbox);
    }
}

#[test]
fn a_source_that_changes_in_mid_copy_arrives_as_it_is_at_the_end() {
    let sandbox = Sandbox::new();
    sandbox.write("from/large.bin", vec![1; 9_000_000]);
    let mut run = sandbox.start(MIGRATE.iter().chain(&["--bandwidth", "4MB"]));
    let begun = Instant::now();
    // The probe of the destination has a few bytes.
    let is_copy = |entry: fs::DirEntry| entry.metadata().is_ok_and(|metadata| metadata.len() > 1000);
    while !fs::read_dir(sandbox.path("to")).is_ok_and(|mut entries| entries.any(|entry| is_copy(entry.unwrap()))) {
        assert!(run.ended().is_none() && begun.elapsed() < Duration::from_secs(30), "the copy does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    sandbox.write("from/large.bin", vec![2; 9_000_001]);
    run.wait().expect(0);
    all_is_there(&sandbox);
    assert!(begun.elapsed() > Duration::from_secs(2), "the limit of bandwidth is kept");
}

#[test]
fn damage_at_the_destination_is_found_and_mended() {
    let sandbox = Sandbox::new();
    many(&sandbox, 10);
    migrate(&sandbox, &[]).expect(0);
    migrate(&sandbox, &["--verify-only", "--read-back"]).expect(0);
    let bytes = fs::read(sandbox.path("to/3/0003.txt")).unwrap();
    sandbox.write("to/3/0003.txt", vec![b'x'; bytes.len()]);
    fs::remove_file(sandbox.path("to/4/0004.txt")).unwrap();
    sandbox.write("to/5/0005.txt", "short");
    let run = migrate(&sandbox, &["--verify-only", "--combined", "-"]).expect(1);
    let signs = |run: &Run, sign: char| run.stdout.lines().filter(|line| line.starts_with(sign)).count();
    assert_eq!((signs(&run, '+'), signs(&run, '*'), signs(&run, '=')), (1, 1, 8), "a look sees sizes only");
    let run = migrate(&sandbox, &["--verify-only", "--read-back", "--combined", "-"]).expect(1);
    assert_eq!((signs(&run, '+'), signs(&run, '*'), signs(&run, '=')), (1, 2, 7), "{}", run.stdout);
    migrate(&sandbox, &[]).expect(0);
    let run = migrate(&sandbox, &["--verify-only", "--combined", "-"]).expect(0);
    assert_eq!(signs(&run, '='), 10, "a run mends what a look sees");
}

#[test]
fn only_what_is_wanted_is_copied_and_nothing_is_overwritten_unseen() {
    let sandbox = Sandbox::new();
    for name in ["a.jpg", "b/c.jpg", "b/d.txt", "tmp/e.jpg"] {
        sandbox.write(&format!("from/{name}"), name);
    }
    let run = migrate(&sandbox, &["--dry-run", "--combined", "-"]).expect(0);
    assert_eq!(run.stdout.lines().filter(|line| line.starts_with("+ ")).count(), 4, "{}", run.stdout);
    assert!(!sandbox.path("catalog.db").exists() && !sandbox.path("to").exists(), "nothing is made for a question");
    let filter = ["--include", "*.jpg", "--exclude", "tmp/**", "--combined", "-"];
    let run = migrate(&sandbox, &filter).expect(0);
    assert_eq!(run.stdout.lines().count(), 2, "{}", run.stdout);
    assert_eq!(digests(&sandbox.path("to")).len(), 2);
    sandbox.write("blocked", "a file where a folder should be");
    let run = sandbox.forebay(["migrate", "from", "--to", "blocked/to", "--catalog", "x.db"]);
    assert!(run.code != Some(0) && run.stderr.contains("blocked"), "{}", run.stderr);
}

#[test]
fn a_place_is_not_copied_onto_itself_however_it_is_spelled() {
    let sandbox = Sandbox::new();
    sandbox.write("from/a/large.bin", vec![7; 5_000_000]);
    std::os::unix::fs::symlink("from", sandbox.path("link")).unwrap();
    let before = digests(&sandbox.path("from"));
    let whole = sandbox.path("from").display().to_string();
    let check = |from: &str, to: &str, says: &str| {
        let run = sandbox.forebay(["migrate", from, "--to", to, "--catalog", "x.db"]).expect(2);
        assert!(run.stderr.contains(says), "{from} to {to}: {}", run.stderr);
        assert_eq!(digests(&sandbox.path("from")), before, "{from} to {to}");
    };
    for to in ["from", "./from", "from/", "link", "from/a/..", &whole] {
        check("from", to, "both the source and the destination");
        check(to, "from", "both the source and the destination");
    }
    for to in ["from/new/b", "link/a", "from/a", "."] {
        check("from", to, "lies in the other");
    }
}

#[test]
fn buckets_of_the_same_name_at_two_servers_are_two_places() {
    let sandbox = Sandbox::new();
    let (swift, moto, name) = (stores::swift(), stores::moto(), unique("namesake"));
    moto.make(&name);
    swift.make(&name);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(open(&moto.bucket(&name)).write("a", Bytes::from_static(b"1"), &About::default())).unwrap();
    let place = |place: &str, port: u16| {
        format!(
            "[storage.{place}.s3]\nendpoint = \"http://127.0.0.1:{port}\"\nbucket = \"{name}\"\n\
             access-key = \"test:tester\"\nsecret-key = \"testing\"\n"
        )
    };
    sandbox.config(&(place("old", moto.port) + &place("new", swift.port)));
    let move_all = ["migrate", "old:", "--to", "new:", "--catalog", "catalog.db", "--state", "state"];
    sandbox.forebay(move_all).expect(0);
    let there = runtime.block_on(open(&swift.container(&name)).load("a", 9)).unwrap();
    assert_eq!(there.as_deref(), Some(&b"1"[..]));
    // A catalog of a version that did not tell them apart.
    sql_change(&sandbox, &format!("UPDATE object SET source = 's3://{name}/', destination = 's3://{name}/'"));
    let run = sandbox.forebay(move_all).expect(0);
    assert!(run.stderr.contains("1 the same"), "{}", run.stderr);
    let row = sql(&sandbox, "SELECT source, destination FROM object");
    assert_eq!(row, format!("s3://{name}@127.0.0.1:{}/|s3://{name}@127.0.0.1:{}/", moto.port, swift.port));
}

#[test]
fn what_a_list_and_an_answer_call_otherwise_is_copied_once() {
    let sandbox = Sandbox::new();
    let (nginx, name) = (stores::nginx(), unique("tags"));
    sandbox.config(&format!(
        "[storage.web.webdav]\nurl = \"{}\"\nuser = \"user\"\npassword = \"pass\"\nprefix = \"{name}\"\n",
        nginx.url()
    ));
    sandbox.write("from/file", "behind a link");
    std::os::unix::fs::symlink("file", sandbox.path("from/link")).unwrap();
    // nginx lists no tags, and tells one with each file.
    for (from, to) in [("from", "web:"), ("web:", "to")] {
        let copied = sandbox.forebay(["migrate", from, "--to", to, "--catalog", "catalog.db"]).expect(0);
        assert!(copied.stderr.contains("2 copied"), "{from}: {}", copied.stderr);
        let again = sandbox.forebay(["migrate", from, "--to", to, "--catalog", "catalog.db"]).expect(0);
        assert!(again.stderr.contains("2 the same") && !again.stderr.contains("replaced"), "{from}: {}", again.stderr);
    }
    assert_eq!(digests(&sandbox.path("from")), digests(&sandbox.path("to")));
}

#[test]
fn a_name_that_cannot_be_a_key_is_told_and_what_is_no_object_is_left_alone() {
    use std::os::unix::ffi::OsStrExt as _;
    let sandbox = Sandbox::new();
    sandbox.write("from/a/file", "1");
    sandbox.write("from/.forebay/state", "of a run");
    std::os::unix::fs::symlink("a", sandbox.path("from/folder")).unwrap();
    std::os::unix::fs::symlink("nowhere", sandbox.path("from/broken")).unwrap();
    migrate(&sandbox, &[]).expect(0);
    assert_eq!(digests(&sandbox.path("to")).into_keys().collect::<Vec<_>>(), [Path::new("a/file")]);
    fs::write(sandbox.path("from").join(std::ffi::OsStr::from_bytes(b"b\xff")), "1").unwrap();
    let run = migrate(&sandbox, &["--combined", "-"]).expect(1);
    assert!(run.stdout.contains("! b\u{fffd}") && run.stderr.contains("is not UTF-8"), "{}", run.stderr);
}

#[test]
fn what_stands_for_a_folder_in_a_bucket_is_none_of_the_files_elsewhere() {
    let (sandbox, moto, name) = (Sandbox::new(), stores::moto(), unique("marker"));
    moto.make(&name);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = open(&moto.bucket(&name));
    for (key, bytes) in [("dir/", &b""[..]), ("dir/file", b"1"), ("odd//name", b"2")] {
        runtime.block_on(store.write(key, Bytes::from_static(bytes), &About::default())).unwrap();
    }
    sandbox.config(&format!(
        "[storage.old.s3]\nendpoint = \"http://127.0.0.1:{}\"\nbucket = \"{name}\"\naccess-key = \"any\"\n\
         secret-key = \"any\"\n",
        moto.port
    ));
    let move_all = ["migrate", "old:", "--to", "to", "--catalog", "catalog.db"];
    let run = sandbox.forebay(move_all).expect(1);
    assert!(run.stderr.contains("fail  odd//name") && run.stderr.contains("--exclude"), "{}", run.stderr);
    let run = sandbox.forebay(move_all.iter().chain(&["--exclude", "odd/**"])).expect(0);
    assert!(run.stderr.contains("2 the same"), "{}", run.stderr);
    assert_eq!(digests(&sandbox.path("to")).into_keys().collect::<Vec<_>>(), [Path::new("dir/file")]);
}

#[test]
fn a_source_that_is_not_there_is_no_empty_one() {
    let sandbox = Sandbox::new();
    let (nginx, name) = (stores::nginx(), unique("missing"));
    sandbox.write("file", "no folder");
    sandbox.config(&format!(
        "[storage.web.webdav]\nurl = \"{}\"\nuser = \"user\"\npassword = \"pass\"\nprefix = \"{name}\"\n",
        nginx.url()
    ));
    for (from, code) in [("missing", 3), ("file", 3), ("web:", 3)] {
        let run = sandbox.forebay(["migrate", from, "--to", "to", "--catalog", "x.db"]).expect(code);
        assert!(run.stderr.contains("there is no folder"), "{from}: {}", run.stderr);
    }
    assert!(!sandbox.path("to").exists() && !sandbox.path("x.db").exists(), "nothing was begun");
}

#[test]
fn a_container_is_not_copied_onto_itself_by_another_protocol() {
    let (sandbox, swift, name) = (Sandbox::new(), stores::swift(), unique("itself"));
    swift.make(&name);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = open(&swift.container(&name));
    runtime.block_on(store.write("a", Bytes::from_static(b"1"), &About::default())).unwrap();
    sandbox.config(&format!(
        "[storage.old.s3]\nendpoint = \"http://127.0.0.1:{port}\"\nbucket = \"{name}\"\n\
         access-key = \"test:tester\"\nsecret-key = \"testing\"\n\
         [storage.new.swift]\nauth-url = \"http://127.0.0.1:{port}/auth/v1.0\"\ncontainer = \"{name}\"\n\
         user = \"test:tester\"\npassword = \"testing\"\n",
        port = swift.port
    ));
    let run = sandbox.forebay(["migrate", "old:", "--to", "new:", "--catalog", "x.db", "--state", "state"]).expect(2);
    assert!(run.stderr.contains("both the source and the destination"), "{}", run.stderr);
    let keys: Vec<String> = runtime.block_on(store.list("")).unwrap().into_iter().map(|stat| stat.key).collect();
    assert_eq!(keys, ["a"], "nothing is left of the look");
}

#[test]
fn the_tests_would_notice_a_program_that_trusts() {
    let mut sandbox = Sandbox::new();
    many(&sandbox, 3);
    migrate(&sandbox, &[]).expect(0);
    fs::remove_file(sandbox.path("to/1/0001.txt")).unwrap();
    sandbox.set("FOREBAY_FAULT_MUTANT", "trust-catalog");
    migrate(&sandbox, &[]).expect(0);
    assert!(!sandbox.path("to/1/0001.txt").exists(), "the mutant believes the catalog");
    sandbox.unset("FOREBAY_FAULT_MUTANT");
    migrate(&sandbox, &[]).expect(0);
    all_is_there(&sandbox);
}

#[test]
fn a_bucket_of_s3_arrives_in_swift_with_all_that_is_kept_with_it() {
    let sandbox = Sandbox::new();
    let (swift, moto, name) = (stores::swift(), stores::moto(), unique("migrate"));
    moto.make(&name);
    swift.make(&name);
    let (from, to) = (moto.bucket(&name), swift.container(&name));
    let about = About {
        content_type: Some("text/x-note".into()),
        cache_control: Some("max-age=60".into()),
        metadata: BTreeMap::from([("mood".into(), "good".into())]),
        ..About::default()
    };
    let large = Bytes::from((0..11_000_000_u32).map(|number| (number / 7).to_le_bytes()[0]).collect::<Vec<_>>());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut expected = BTreeMap::new();
    runtime.block_on(async {
        let source = open(&from);
        let mut objects = vec![("large.bin".to_owned(), large.clone()), ("empty".into(), Bytes::new())];
        objects.push(("odd/gr\u{fc}n & 100% +'x'.txt".into(), Bytes::from_static(b"odd")));
        objects.extend((0..30).map(|number| (format!("many/{number}"), Bytes::from(format!("object {number}")))));
        for (key, bytes) in objects {
            expected.insert(key.clone(), hex::encode(Sha256::digest(&bytes)));
            source.write(&key, bytes, &about).await.unwrap();
        }
    });
    let port = |port: u16| format!("http://127.0.0.1:{port}");
    sandbox.config(&format!(
        "[stores]\npart-size = \"5MiB\"\n[storage.old.s3]\nendpoint = \"{}\"\nbucket = \"{name}\"\n\
         region = \"us-east-1\"\naccess-key = \"any\"\nsecret-key = \"any\"\n\
         [storage.new.swift]\nauth-url = \"{}/auth/v1.0\"\ncontainer = \"{name}\"\nuser = \"test:tester\"\n\
         password = \"testing\"\n",
        port(moto.port),
        port(swift.port)
    ));
    let move_all = ["migrate", "old:", "--to", "new:", "--catalog", "catalog.db", "--state", "state"];
    let run = sandbox.start_with(move_all, &[("FOREBAY_FAULT_KILL", "object-recorded:9")]).wait();
    assert_eq!(run.signal, Some(9), "{}", run.stderr);
    sandbox.forebay(move_all).expect(0);
    let rows = sql(&sandbox, "SELECT key, sha256 FROM object");
    let rows: BTreeMap<String, String> = rows
        .lines()
        .map(|line| line.rsplit_once('|').unwrap())
        .map(|(key, sha256)| (key.into(), sha256.into()))
        .collect();
    assert_eq!(rows, expected);
    runtime.block_on(async {
        let destination = open(&to);
        for (key, sha256) in &expected {
            let (stat, bytes) = destination.load_version(key, 20_000_000).await.unwrap().unwrap();
            assert_eq!(&hex::encode(Sha256::digest(&bytes)), sha256, "{key}");
            assert_eq!(stat.about.content_type.as_deref(), Some("text/x-note"), "{key}");
            assert_eq!(stat.about.metadata.get("mood").map(String::as_str), Some("good"), "{key}");
        }
    });
    let metadata: Value =
        serde_json::from_str(&sql(&sandbox, "SELECT metadata FROM object WHERE key = 'empty'")).unwrap();
    assert_eq!((&metadata["mood"], &metadata["cache-control"]), (&"good".into(), &"max-age=60".into()));
    let run = sandbox.forebay(move_all).expect(0);
    assert!(run.stderr.contains("33 the same") && !run.stderr.contains("copied"), "{}", run.stderr);
    sandbox.forebay([&move_all[..], &["--verify-only", "--read-back"]].concat()).expect(0);
    // The source named the MD5 of its large object; of a file that goes in parts nobody knows another.
    assert_eq!(sql(&sandbox, "SELECT COUNT(*) FROM object WHERE md5 IS NULL"), "0");
    sandbox.write("files/large.bin", &large);
    sandbox.write("files/small.bin", "small");
    let move_files = ["migrate", "files", "--to", "new:files", "--catalog", "catalog.db", "--state", "state"];
    sandbox.forebay(move_files).expect(0);
    let rows = format!("large.bin|{}|1", hex::encode(Sha256::digest(&large)));
    assert_eq!(sql(&sandbox, "SELECT key, sha256, 1 FROM object WHERE md5 IS NULL"), rows);
    let run = sandbox.forebay(move_files).expect(0);
    assert!(run.stderr.contains("2 the same") && !run.stderr.contains("copied"), "{}", run.stderr);
    sandbox.forebay([&move_files[..], &["--verify-only", "--read-back"]].concat()).expect(0);
}
