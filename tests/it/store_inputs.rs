//! Objects of stores as inputs, from real servers: fetched in pieces, known again, resumed, refused.

use std::fs;
use std::path::{Path, PathBuf};

use forebay::storage::About;
use forebay::storage::body::FileBody;
use forebay::storage::options::Fields;
use forebay::storage::store::Store;
use sha2::{Digest as _, Sha256};

use crate::support::cutter::{Cutter, Fault};
use crate::support::media;
use crate::support::oracle;
use crate::support::sandbox::{Run, Sandbox};
use crate::support::stores::{self, fields, open, unique};
use crate::support::watch;

/// Settings under which a small video is quickly made.
const QUICK: &str = r#"
[hls]
segment = "4s"
ladder = "tiny"
profile = "fast"
[ladders]
tiny = [{ name = "90p", short-side = 90, crf = 35.0, max-bitrate = 100 }]
[network]
longest-wait = "200ms"
[stores]
longest-wait = "200ms"
stall = "1s"
"#;

/// A place of the settings, the store behind it, and a sandbox that knows it.
struct Scene {
    sandbox: Sandbox,
    store: Store,
}

type Values<'a> = &'a [(&'a str, &'a str)];

impl Scene {
    fn new(kind: &str, values: Values<'_>) -> Self {
        Self::seen_by(&fields(kind, values), kind, values)
    }

    /// The program goes by `values`, the test by `direct`.
    fn seen_by(direct: &Fields, kind: &str, values: Values<'_>) -> Self {
        let sandbox = Sandbox::new();
        sandbox.config(&format!("{QUICK}[storage.place.{kind}]\n{}", stores::lines(values)));
        Self { sandbox, store: open(direct) }
    }

    fn put(&self, file: &Path, key: &str) {
        let work = async {
            let body = FileBody::of(file).await.unwrap();
            self.store.upload(key, &body, &About::default()).await.unwrap();
        };
        tokio::runtime::Runtime::new().unwrap().block_on(work);
    }

    fn run(&self, input: &str) -> Run {
        self.sandbox.forebay(arguments(input))
    }

    /// The pointers of all packages, in the order of their ids.
    fn masters(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.sandbox.path("out")).unwrap();
        let mut masters: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path().join("master.m3u8")).collect();
        masters.retain(|master| master.is_file());
        masters.sort();
        masters
    }

    /// The one package, which must be whole and made of `file`.
    fn made_of(&self, file: &Path) {
        let masters = self.masters();
        let [master] = &masters[..] else { panic!("{masters:?}") };
        oracle::judge(master).unwrap();
        let wanted = hex::encode(Sha256::digest(fs::read(file).unwrap()));
        let pointer = fs::read_to_string(master).unwrap();
        let variant = pointer.lines().find(|line| !line.starts_with('#') && line.contains('/')).unwrap();
        let manifest = master.with_file_name(variant.split('/').next().unwrap()).join("manifest.json");
        let manifest: serde_json::Value = serde_json::from_slice(&fs::read(manifest).unwrap()).unwrap();
        assert_eq!(manifest["source"]["sha256"], wanted, "{manifest}");
    }
}

fn arguments(input: &str) -> [&str; 7] {
    ["hls", input, "--to", "out", "--state", "state", "--json"]
}

fn last(run: &Run) -> serde_json::Value {
    run.events().pop().unwrap()
}

fn downloads(run: &Run) -> usize {
    run.events().iter().filter(|event| event["event"] == "downloading").count()
}

/// Two videos below a prefix, one in a folder: made, known again without a state folder, and
/// made anew when one has changed.
fn check(kind: &str, values: Values<'_>) {
    let scene = Scene::new(kind, values);
    scene.put(&media::clip(), "raw/a & b 100%.mp4");
    scene.put(&media::clip_of(3, "320x240"), "raw/deep/ü.mp4");
    for key in ["raw/notes.txt", "raw/.hidden.mp4", "raw/talk/0123456789abcdef0123/90p/0.ts", "raw-not/c.mp4"] {
        scene.put(&media::clip_of(1, "160x90"), key);
    }
    let run = scene.run("place:raw").expect(0);
    assert_eq!(last(&run)["done"], 2, "{}", run.stderr);
    assert!(downloads(&run) > 0);
    let masters = scene.masters();
    for master in &masters {
        oracle::judge(master).unwrap();
    }
    assert!(masters[0].to_str().unwrap().contains("/out/a-b-100-"), "{masters:?}");
    fs::remove_dir_all(scene.sandbox.path("state")).unwrap();
    let again = scene.run("place:raw/").expect(0);
    assert_eq!((last(&again)["already-done"].as_u64(), downloads(&again)), (Some(2), 0), "{}", again.stderr);
    scene.put(&media::clip_of(2, "160x90"), "raw/deep/ü.mp4");
    let changed = scene.run("place:raw").expect(0);
    assert_eq!((last(&changed)["already-done"].as_u64(), last(&changed)["done"].as_u64()), (Some(1), Some(1)));
    assert_eq!(scene.masters(), masters, "the same ids");
    let plan = scene.sandbox.forebay(["plan", "place:raw/a & b 100%.mp4"]).expect(0);
    assert!(plan.stdout.contains("320x180"), "{}", plan.stdout);
}

#[test]
fn videos_in_s3_are_inputs() {
    let (moto, bucket) = (stores::moto(), unique("inputs"));
    moto.make(&bucket);
    check("s3", &s3(moto.port, &bucket, &mut String::new()));
}

/// A playlist in a bucket names objects of that bucket.
#[test]
fn a_playlist_in_s3_is_the_film_it_was_made_of() {
    let (moto, bucket) = (stores::moto(), unique("inputs"));
    moto.make(&bucket);
    let mut address = String::new();
    let scene = Scene::new("s3", &s3(moto.port, &bucket, &mut address));
    let folder = scene.sandbox.path("cut");
    fs::create_dir(&folder).unwrap();
    let mut command = std::process::Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-i"]).arg(media::clip()).current_dir(&folder);
    command.args("-c copy -f hls -hls_time 2 -hls_list_size 0".split(' ')).arg("a b.m3u8");
    assert!(command.status().unwrap().success());
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        scene.put(&path, &format!("films/{}", path.file_name().unwrap().to_str().unwrap()));
    }
    scene.run("place:films/a b.m3u8").expect(0);
    let masters = scene.masters();
    oracle::judge(&masters[0]).unwrap();
    let playlist = &watch::playlists(&masters[0]).into_iter().find(|(name, _)| name == "90p").unwrap().1;
    assert_eq!(watch::shades(playlist).len(), 200);
    let again = scene.run("place:films/a b.m3u8").expect(0);
    assert_eq!(last(&again)["already-done"], 1, "{}", again.stderr);
}

#[test]
fn videos_in_swift_are_inputs() {
    let (swift, container) = (stores::swift(), unique("inputs"));
    swift.make(&container);
    let auth = format!("http://127.0.0.1:{}/auth/v1.0", swift.port);
    let user = [("user", "test:tester"), ("password", "testing")];
    check("swift", &[&[("auth-url", auth.as_str()), ("container", &container)], &user[..]].concat());
}

#[test]
fn videos_at_azure_are_inputs() {
    // The one of the contract's thousand objects is too slow for a second's stall.
    let (azurite, container) = (stores::Azurite::start(), unique("inputs"));
    azurite.make(&container);
    let values = azurite.values(&container, &[]);
    let values: Vec<(&str, &str)> = values.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    check("az", &values);
}

#[test]
fn videos_on_a_web_server_are_inputs() {
    let url = stores::nginx().url();
    // nginx leaves names that begin with a dot out of its answers, and has no folder before there is a file.
    check("webdav", &[("url", &url), ("user", "user"), ("password", "pass"), ("prefix", &unique("inputs"))]);
}

#[cfg(feature = "sftp")]
#[test]
fn videos_behind_ssh_are_inputs() {
    let values = stores::sshd().values(&unique("inputs"), &[]);
    let values: Vec<(&str, &str)> = values.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    check("sftp", &values);
}

fn s3<'a>(port: u16, bucket: &'a str, endpoint: &'a mut String) -> [(&'a str, &'a str); 5] {
    *endpoint = format!("http://127.0.0.1:{port}");
    [("endpoint", endpoint), ("bucket", bucket), ("region", "us-east-1"), ("access-key", "any"), ("secret-key", "any")]
}

/// A bucket with one film of some megabytes, which the program sees through a proxy.
fn behind_a_proxy(film: &Path) -> (Cutter, Scene) {
    let (moto, bucket) = (stores::moto(), unique("inputs"));
    moto.make(&bucket);
    let cutter = Cutter::before(moto.port);
    let scene = Scene::seen_by(&moto.bucket(&bucket), "s3", &s3(cutter.port, &bucket, &mut String::new()));
    scene.put(film, "film.mp4");
    (cutter, scene)
}

fn film() -> PathBuf {
    media::clip_of(media::SECONDS, "640x360")
}

#[test]
fn answers_that_break_off_are_gone_on_with() {
    let (cutter, scene) = behind_a_proxy(&film());
    for fault in [Fault::Cut, Fault::Busy] {
        cutter.set(fault);
        let run = scene.run("place:film.mp4");
        assert_eq!(run.code, Some(0), "{fault:?}: {}", run.stderr);
        scene.made_of(&film());
        fs::remove_dir_all(scene.sandbox.path("out")).unwrap();
        fs::remove_dir_all(scene.sandbox.path("state")).unwrap();
    }
}

#[test]
fn a_store_that_is_down_or_says_nothing_for_a_while_is_waited_for() {
    let (cutter, scene) = behind_a_proxy(&film());
    for (fault, count) in [(Fault::Down, 8), (Fault::Silent, 2)] {
        cutter.set(fault);
        let before = cutter.requests();
        let running = scene.sandbox.start(arguments("place:film.mp4"));
        while cutter.requests() - before < count {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        cutter.set(Fault::None);
        running.wait().expect(0);
        scene.made_of(&film());
        fs::remove_dir_all(scene.sandbox.path("out")).unwrap();
        fs::remove_dir_all(scene.sandbox.path("state")).unwrap();
    }
}

#[test]
fn what_is_not_there_or_not_allowed_is_said() {
    let (swift, container) = (stores::swift(), unique("inputs"));
    swift.make(&container);
    let mut endpoint = String::new();
    let mut values = s3(swift.port, &container, &mut endpoint);
    values[3].1 = "test:tester";
    values[4].1 = "testing";
    let scene = Scene::new("s3", &values);
    let run = scene.run("place:none.mp4").expect(1);
    assert!(run.stderr.contains("none.mp4` was not found"), "{}", run.stderr);
    let run = scene.run("place:none").expect(2);
    assert!(run.stderr.contains("no video lies below"), "{}", run.stderr);
    scene.put(Path::new("Cargo.toml"), "text.mp4");
    let run = scene.run("place:text.mp4").expect(1);
    assert!(run.stderr.contains("not a video"), "{}", run.stderr);
    values[4].1 = "wrong";
    let scene = Scene::new("s3", &values);
    let run = scene.run("place:none.mp4").expect(3);
    assert!(run.stderr.contains("the credentials are wrong"), "{}", run.stderr);
    let run = scene.sandbox.forebay(["hls", "webdav://ann:secret@h/a.mp4", "--to", "out"]).expect(2);
    assert!(run.stderr.contains("password") && !run.stderr.contains("secret"), "{}", run.stderr);
}

#[cfg(feature = "faults")]
#[test]
fn a_killed_download_goes_on_and_a_changed_object_begins_anew() {
    let (cutter, scene) = behind_a_proxy(&film());
    cutter.set(Fault::Late);
    for other in [false, true] {
        let kill = [("FOREBAY_FAULT_KILL", "piece-written:8"), ("FOREBAY_NETWORK__CONNECTIONS_PER_FILE", "2")];
        let killed = scene.sandbox.start_with(arguments("place:film.mp4"), &kill).wait();
        assert_eq!(killed.signal, Some(9), "{}", killed.stderr);
        if other {
            scene.put(&media::clip(), "film.mp4");
        }
        let run = scene.run("place:film.mp4").expect(0);
        let bytes: Vec<u64> = run.events().iter().filter_map(|event| event["bytes"].as_u64()).collect();
        assert_eq!(bytes[0] > 128 * 1024, !other, "{bytes:?}");
        scene.made_of(&if other { media::clip() } else { film() });
        fs::remove_dir_all(scene.sandbox.path("out")).unwrap();
        fs::remove_dir_all(scene.sandbox.path("state")).unwrap();
    }
}

#[test]
fn jobs_take_objects_where_they_may() {
    let (moto, bucket) = (stores::moto(), unique("inputs"));
    moto.make(&bucket);
    let mut endpoint = String::new();
    let scene = Scene::new("s3", &s3(moto.port, &bucket, &mut endpoint));
    scene.put(&media::clip_of(2, "160x90"), "raw/a.mp4");
    scene.put(&media::clip_of(2, "160x90"), "raw/b.mp4");
    let queue = format!("sqlite:{}", scene.sandbox.path("queue.db").display());
    scene.sandbox.forebay(["submit", "hls", "place:raw", "--to", "out", "--queue", &queue]).expect(0);
    let worker = |allowed: &str| {
        let out = scene.sandbox.path("out");
        let usual = ["worker", "--once", "--queue", &queue, "--state", "state", "--to", out.to_str().unwrap()];
        scene.sandbox.forebay(usual.iter().chain(&["--allow-input", allowed]))
    };
    worker("place:raw/a.mp4");
    assert_eq!(scene.masters().len(), 1, "only the allowed one");
    scene
        .sandbox
        .forebay(["submit", "hls", "place:raw/b.mp4", "--id", "b", "--to", "out", "--queue", &queue])
        .expect(0);
    worker("place:");
    assert_eq!(scene.masters().len(), 2);
}
