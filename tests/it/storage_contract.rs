//! One promise, and every kind of store held to it, each by a real server.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use forebay::storage::body::{Body, FileBody, ObjectBody};
use forebay::storage::error::{Kind, StorageError};
use forebay::storage::store::Store;
use forebay::storage::{About, ByteStream, Conditions, Large, Stat, WHOLE, When};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::support::cutter::Cutter;
use super::support::stores::{self, open, unique};

/// What differs between the kinds.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a peculiarity of its own")]
struct Kin {
    /// What conditional writes really do there.
    conditions: Conditions,
    /// Keys are names of files: no part of one may be empty or longer than a file's name.
    files: bool,
    /// The server does not say when an upload was begun.
    undated: bool,
    /// A server without a second copy may miss an object at the moment it is replaced.
    gaps: bool,
    /// Names that begin with a dot are left out of listings.
    hides: bool,
    /// Of those who write at the same time on the same condition, one wins.
    atomic: bool,
    /// A backslash would become a slash, and is refused.
    slashes: bool,
    /// What uploads leave that nobody finished cannot be listed: the store drops it by itself.
    forgets: bool,
    /// Small objects in the test of many.
    many: usize,
}

const NO_CONDITIONS: Conditions = Conditions { if_absent: false, if_same: false };
const ABSENT: Conditions = Conditions { if_absent: true, if_same: false };
const BOTH: Conditions = Conditions { if_absent: true, if_same: true };

#[test]
fn a_folder_keeps_the_promise() {
    let (_folder, store) = stores::folder();
    hold(&store, Kin { conditions: ABSENT, files: true, ..USUAL });
}

#[test]
fn swift_keeps_the_promise() {
    let (swift, container) = (stores::swift(), unique("contract"));
    swift.make(&container);
    hold(&open(&swift.container(&container)), Kin { conditions: NO_CONDITIONS, gaps: true, ..USUAL });
}

#[test]
fn swift_with_keystone_keeps_the_promise() {
    let (cloud, container) = (stores::cloud(), unique("contract"));
    cloud.make(&container);
    let store = open(&cloud.password(&container, &[]));
    hold(&store, Kin { conditions: NO_CONDITIONS, gaps: true, many: 60, ..USUAL });
}

#[test]
fn keystone_takes_passwords_and_application_credentials_and_no_others() {
    let (cloud, container, runtime) = (stores::cloud(), unique("keystone"), tokio::runtime::Runtime::new().unwrap());
    cloud.make(&container);
    runtime.block_on(async {
        let by_password = open(&cloud.password(&container, &[]));
        put(&by_password, "a", b"by the password").await;
        let by_credential = open(&cloud.credential(&container, "appsecret"));
        assert_eq!(get(&by_credential, "a").await.as_deref(), Some(&b"by the password"[..]));
        put(&by_credential, "a", b"by the credential").await;
        assert_eq!(get(&by_password, "a").await.as_deref(), Some(&b"by the credential"[..]));
        for (wrong, wanted) in [
            (cloud.password(&container, &[("password", "guess")]), "check user, password"),
            (cloud.password(&container, &[("project", "none")]), "check user, password"),
            (cloud.password(&container, &[("region", "Elsewhere")]), "regions with one: RegionOne"),
            (cloud.password(&container, &[("user", "stranger"), ("password", "strangerpass")]), "check user, password"),
            (cloud.credential(&container, "guess"), "application credential"),
        ] {
            let error = open(&wrong).stat("a").await.unwrap_err();
            assert!(matches!(error.kind, Kind::Expired | Kind::Refused), "{error}");
            let hint = error.hint.unwrap_or_default();
            assert!(hint.contains(wanted), "{hint}");
        }
    });
}

#[test]
fn a_token_that_runs_out_is_renewed_once_for_all_who_need_it() {
    const LIFE: u64 = 12;
    let (cloud, container, runtime) = (stores::cloud(), unique("expiry"), tokio::runtime::Runtime::new().unwrap());
    cloud.make(&container);
    // Both servers take their time for the first request, and a token would run out meanwhile.
    runtime.block_on(put(&open(&cloud.password(&container, &[])), "warm", b"0"));
    let keystone = cloud.short_lived(LIFE);
    let counter = Cutter::before(keystone.port);
    let url = format!("http://127.0.0.1:{}/v3", counter.port);
    let store = open(&cloud.password(&container, &[("auth-url", &url)]));
    runtime.block_on(async {
        put(&store, "first", b"1").await;
        assert_eq!(counter.requests(), 1);
        // That is how long it lives, rounded up to whole seconds on both sides.
        tokio::time::sleep(Duration::from_secs(LIFE + 2)).await;
        let all = (0..4).map(|number| {
            let store = store.clone();
            async move { put(&store, &format!("later/{number}"), b"2").await }
        });
        futures_util::future::join_all(all).await;
        assert_eq!(counter.requests(), 2, "one asks for all");
        assert_eq!(keys(&store, "later").await.len(), 4);
    });
}

#[test]
fn swift_as_s3_keeps_the_promise() {
    let (swift, container) = (stores::swift(), unique("contract"));
    swift.make(&container);
    hold(&open(&swift.bucket(&container)), Kin { conditions: NO_CONDITIONS, gaps: true, many: 60, ..USUAL });
}

#[test]
fn s3_keeps_the_promise() {
    let (moto, bucket) = (stores::moto(), unique("contract"));
    moto.make(&bucket);
    hold(&open(&moto.bucket(&bucket)), Kin { undated: true, atomic: false, ..USUAL });
}

#[test]
fn azure_keeps_the_promise() {
    let (azurite, container) = (stores::azurite(), unique("contract"));
    azurite.make(&container);
    hold(&open(&azurite.place(&container, &[])), Kin { slashes: true, forgets: true, ..USUAL });
}

#[test]
fn azure_takes_keys_signatures_and_connection_strings_and_no_others() {
    let (azurite, container, runtime) = (stores::azurite(), unique("access"), tokio::runtime::Runtime::new().unwrap());
    azurite.make(&container);
    let access = stores::Azurite::access(&container, 600);
    let over = stores::Azurite::access(&container, -600);
    let text =
        format!("BlobEndpoint=http://127.0.0.1:{}/devstoreaccount1;SharedAccessSignature={access}", azurite.port);
    runtime.block_on(async {
        let by_key = open(&azurite.place(&container, &[]));
        put(&by_key, "a", b"1").await;
        let by_access = open(&azurite.place(&container, &[("key", ""), ("sas", &access)]));
        assert_eq!(get(&by_access, "a").await.as_deref(), Some(&b"1"[..]));
        put(&by_access, "b c", b"2").await;
        assert_eq!(keys(&by_access, "").await, ["a", "b c"]);
        let by_text = open(&stores::fields("az", &[("connection-string", &text), ("container", &container)]));
        assert_eq!(get(&by_text, "b c").await.as_deref(), Some(&b"2"[..]));
        let key = "AAAA";
        for (more, kind) in [
            (&[("key", key)][..], Kind::Refused),
            (&[("key", ""), ("sas", &over)], Kind::Refused),
            (&[("container", "none")], Kind::NoPlace),
        ] {
            let error = open(&azurite.place(&container, more)).write("a", Bytes::new(), &About::default()).await;
            let error = error.unwrap_err();
            assert_eq!(error.kind, kind, "{error}");
            assert!(error.hint.is_some() && !error.what.contains("sig="), "{error}");
        }
    });
}

#[test]
fn webdav_keeps_the_promise() {
    let store = open(&stores::nginx().place(&unique("contract")));
    hold(&store, Kin { conditions: NO_CONDITIONS, files: true, hides: true, many: 60, ..USUAL });
}

#[cfg(feature = "sftp")]
#[test]
fn sftp_keeps_the_promise() {
    let store = open(&stores::sshd().place(&unique("contract"), &[]));
    hold(&store, Kin { conditions: ABSENT, files: true, ..USUAL });
}

/// Objects have no folders. While one deletes the last object of a folder, another may write one there.
#[cfg(feature = "sftp")]
#[test]
fn sftp_keeps_no_empty_folders_and_all_that_is_written_into_one_that_goes() {
    let (sshd, name, runtime) = (stores::sshd(), unique("folders"), tokio::runtime::Runtime::new().unwrap());
    let folder = sshd.files(&name);
    let (one, other) = (open(&sshd.place(&name, &[])), open(&sshd.place(&name, &[])));
    runtime.block_on(async {
        put(&one, "a/b/c/first", b"1").await;
        put(&one, "a/second", b"2").await;
        one.delete("a/b/c/first").await.unwrap();
        assert!(!folder.join("a/b").exists() && folder.join("a").is_dir());
        one.delete("a/second").await.unwrap();
        assert!(folder.is_dir() && std::fs::read_dir(&folder).unwrap().next().is_none());
        for number in 0..50 {
            let key = format!("x/y/{number}");
            put(&one, "x/y/gone", b"3").await;
            let (deleted, ()) = tokio::join!(one.delete("x/y/gone"), put(&other, &key, b"4"));
            deleted.unwrap();
            assert_eq!(get(&one, &key).await.as_deref(), Some(&b"4"[..]));
            one.delete(&key).await.unwrap();
        }
        assert!(std::fs::read_dir(&folder).unwrap().next().is_none());
    });
}

#[cfg(feature = "sftp")]
#[test]
fn sftp_trusts_only_known_hosts_and_shows_only_keys_that_are_given() {
    let (sshd, runtime) = (stores::sshd(), tokio::runtime::Runtime::new().unwrap());
    let ask = |more: &[(&str, &str)]| runtime.block_on(open(&sshd.place("hosts", more)).stat("a"));
    assert_eq!(ask(&[]), Ok(None));
    assert_eq!(ask(&[("key-file", "locked"), ("passphrase", "open sesame")]), Ok(None));
    for (more, wanted) in [
        (&[("known-hosts", "known-none")][..], "is not known"),
        (&[("known-hosts", "known-wrong")], "shows another key than the known one"),
        (&[("key-file", "other")], "does not let"),
        (&[("key-file", "locked"), ("passphrase", "guess")], "could not read the key"),
        (&[("key-file", "none")], "could not read the key"),
    ] {
        let error = ask(more).unwrap_err();
        assert_eq!(error.kind, Kind::Refused, "{error}");
        assert!(error.what.contains(wanted), "{error}");
        let line = error.hint.unwrap_or_default().contains(": [127.0.0.1]:");
        assert_eq!(line, more[0].0 == "known-hosts", "{more:?}");
    }
}

/// A kind without peculiarities.
const USUAL: Kin = Kin {
    conditions: BOTH,
    files: false,
    undated: false,
    gaps: false,
    hides: false,
    atomic: true,
    slashes: false,
    forgets: false,
    many: 1005,
};

/// Runs every check, one after the other.
fn hold(store: &Store, kin: Kin) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        objects_come_back_as_they_were_put(store).await;
        sizes_at_the_edges_are_right(store).await;
        ranges_and_versions_are_obeyed(store).await;
        what_is_kept_with_an_object_comes_back(store).await;
        names_of_every_kind_are_kept_apart(store, kin).await;
        a_source_that_fails_leaves_what_was_there(store).await;
        readers_never_see_a_mix(store, kin).await;
        large_objects_are_swept_when_nobody_finished_them(store, kin).await;
        conditions_are_what_was_found_out(store, kin).await;
        many_small_objects_are_listed_by_pages(store, kin.many).await;
    });
}

async fn put(store: &Store, key: &str, bytes: &[u8]) {
    store.write(key, Bytes::copy_from_slice(bytes), &About::default()).await.unwrap();
}

async fn get(store: &Store, key: &str) -> Option<Bytes> {
    store.load(key, 64 << 20).await.unwrap()
}

async fn keys(store: &Store, prefix: &str) -> Vec<String> {
    let mut keys: Vec<String> = store.list(prefix).await.unwrap().into_iter().map(|stat| stat.key).collect();
    keys.sort();
    keys
}

async fn objects_come_back_as_they_were_put(store: &Store) {
    assert_eq!(store.stat("round/none").await.unwrap(), None);
    assert_eq!(get(store, "round/none").await, None);
    assert!(store.read("round/none", WHOLE, None).await.unwrap().is_none());
    assert_eq!(keys(store, "round").await, [""; 0]);
    put(store, "round/a/gen/0.ts", b"xyz").await;
    put(store, "round/a/gen/0.ts", b"wxyz").await;
    put(store, "round-not/b", b"1").await;
    assert_eq!(get(store, "round/a/gen/0.ts").await.as_deref(), Some(&b"wxyz"[..]));
    assert_eq!(store.load("round/a/gen/0.ts", 3).await.unwrap_err().kind, Kind::TooLarge);
    let stat = store.stat("round/a/gen/0.ts").await.unwrap().unwrap();
    assert_eq!((stat.key.as_str(), stat.bytes, stat.etag.is_some()), ("round/a/gen/0.ts", 4, true));
    let age = jiff::Timestamp::now().as_second() - stat.stored.unwrap().as_second();
    assert!((-60..600).contains(&age), "stored {age} s ago");
    let listed = store.list("round").await.unwrap();
    let shown: Vec<_> = listed.iter().map(|stat| (stat.key.as_str(), stat.bytes)).collect();
    assert_eq!(shown, [("round/a/gen/0.ts", 4)]);
    assert_eq!(store.stat("round/a/gen").await.unwrap(), None, "a folder is no object");
    for _ in 0..2 {
        store.delete("round/a/gen/0.ts").await.unwrap();
    }
    assert_eq!(keys(store, "round").await, [""; 0]);
    assert_eq!(keys(store, "").await, ["round-not/b"]);
}

/// Bytes that no two places of have in common.
fn pattern(count: usize) -> Bytes {
    let mut state = 0x9E37_79B9_u32;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(count).collect()
}

async fn sizes_at_the_edges_are_right(store: &Store) {
    let folder = tempfile::tempdir().unwrap();
    for count in [0, 1, (5 << 20) - 1, 5 << 20, (5 << 20) + 1, 11 << 20] {
        let (bytes, path) = (pattern(count), folder.path().join("source"));
        std::fs::write(&path, &bytes).unwrap();
        let about = About { content_type: Some("video/mp4".into()), ..About::default() };
        store.upload("size/large.mp4", &FileBody::of(&path).await.unwrap(), &about).await.unwrap();
        let stat = store.stat("size/large.mp4").await.unwrap().unwrap();
        assert_eq!(stat.bytes, count as u64);
        if store.storage().abilities().serving {
            assert_eq!(stat.about.content_type.as_deref(), Some("video/mp4"), "{count} bytes");
        }
        assert!(get(store, "size/large.mp4").await.unwrap() == bytes, "{count} bytes came back as others");
    }
    let stat = store.stat("size/large.mp4").await.unwrap().unwrap();
    let copy = ObjectBody::new(store.clone(), stat.clone());
    store.upload("size/copy.mp4", &copy, &stat.about).await.unwrap();
    assert_eq!(get(store, "size/copy.mp4").await, get(store, "size/large.mp4").await);
    put(store, "size/copy.mp4", b"small again").await;
    assert_eq!(get(store, "size/copy.mp4").await.as_deref(), Some(&b"small again"[..]));
    assert_eq!(keys(store, "size").await, ["size/copy.mp4", "size/large.mp4"]);
    for key in ["size/copy.mp4", "size/large.mp4"] {
        store.delete(key).await.unwrap();
    }
    assert_eq!(keys(store, "size").await, [""; 0]);
}

async fn ranges_and_versions_are_obeyed(store: &Store) {
    let bytes = pattern(1000);
    put(store, "range/a", &bytes).await;
    let etag = store.stat("range/a").await.unwrap().unwrap().etag.unwrap();
    for (range, wanted) in
        [(0..1000, 0..1000), (10..20, 10..20), (990..5000, 990..1000), (0..1, 0..1), (7..u64::MAX, 7..1000)]
    {
        let reading = store.read("range/a", range.clone(), Some(&etag)).await.unwrap().unwrap();
        assert_eq!(reading.stat.bytes, 1000, "{range:?}");
        let read: Vec<Bytes> = reading.stream.try_collect().await.unwrap();
        assert!(read.concat() == bytes[wanted], "{range:?}");
    }
    let nothing = store.read("range/a", 5000..6000, None).await.unwrap().unwrap();
    assert_eq!(nothing.stream.try_collect::<Vec<_>>().await.unwrap().concat().len(), 0);
    put(store, "range/a", &pattern(999)).await;
    let changed = store.read("range/a", WHOLE, Some(&etag)).await;
    assert_eq!(changed.err().map(|error| error.kind), Some(Kind::Changed));
    store.delete("range/a").await.unwrap();
}

/// What `gzip` makes of a word.
const PACKED: &[u8] =
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xcb\x48\xcd\xc9\xc9\x07\x00\x86\xa6\x10\x36\x05\x00\x00\x00";

async fn what_is_kept_with_an_object_comes_back(store: &Store) {
    let abilities = store.storage().abilities();
    let text = |text: &str| Some(text.to_owned());
    let mut about = About { modified: Some("2021-02-03T04:05:06.5Z".parse().unwrap()), ..About::default() };
    if abilities.serving {
        about.content_type = text("application/vnd.apple.mpegurl");
        about.cache_control = text("public, max-age=31536000, immutable");
        about.content_disposition = text("attachment; filename=\"a b.m3u8\"");
        about.content_language = text("de");
        about.content_encoding = text("gzip");
    }
    if abilities.metadata {
        about.metadata = BTreeMap::from([("title".into(), "Grüße, 日本".into()), ("one-two".into(), "3".into())]);
    }
    // Who signs headers may have to write it otherwise.
    let odd = About { content_disposition: text("attachment; filename=\"gr\u{fc}n.txt\""), ..About::default() };
    store.write("about/small", Bytes::from_static(b"1"), &odd).await.unwrap();
    let kept = store.stat("about/small").await.unwrap().unwrap().about.content_disposition;
    assert!(!abilities.serving || kept.is_some_and(|kept| kept.contains("n.txt")), "the name of a file is lost");
    let path = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(path.path(), pattern(6 << 20)).unwrap();
    store.write("about/small", Bytes::from_static(PACKED), &about).await.unwrap();
    store.upload("about/large", &FileBody::of(path.path()).await.unwrap(), &about).await.unwrap();
    for key in ["about/small", "about/large"] {
        let mut kept = store.stat(key).await.unwrap().unwrap().about;
        if !abilities.serving {
            kept.content_type = None;
        }
        if about.modified.is_some() && kept.modified.is_some_and(|time| time.as_second() == 1_612_325_106) {
            kept.modified = about.modified;
        }
        // Where a store has no place for a date, it says so by having none.
        let modified = if abilities.metadata || kept.modified.is_some() { about.modified } else { None };
        assert_eq!(kept, About { modified, ..about.clone() }, "{key}");
    }
    assert_eq!(get(store, "about/small").await.as_deref(), Some(PACKED), "nobody unpacks it");
    for key in ["about/small", "about/large"] {
        store.delete(key).await.unwrap();
    }
}

async fn names_of_every_kind_are_kept_apart(store: &Store, kin: Kin) {
    let long = "l".repeat(200);
    let names = [
        "a b",
        "a+b",
        "a%20b",
        "a%2Fb",
        "ü/日本/é",
        "e\u{301}",
        "q?x=1&y#z",
        "quote'\"`",
        "back\\slash",
        "semi;colon,",
        "-rf",
        "~tilde",
        "star*[x]{y}",
        "a&amp;<b>",
        ".hidden",
        "dots..",
        "a:b@c",
        "$(x)|y!^",
        " blank ",
        "tab\tin",
        &long,
    ];
    let names: Vec<&str> = names.into_iter().filter(|name| !kin.slashes || !name.contains('\\')).collect();
    let put_all =
        stream::iter(&names).map(|name| async move { put(store, &format!("name/{name}"), name.as_bytes()).await });
    put_all.buffer_unordered(8).collect::<Vec<()>>().await;
    for name in &names {
        let key = format!("name/{name}");
        assert_eq!(get(store, &key).await.as_deref(), Some(name.as_bytes()), "{key:?}");
    }
    let mut wanted: Vec<String> = names.iter().map(|name| format!("name/{name}")).collect();
    wanted.retain(|key| !kin.hides || key != "name/.hidden");
    wanted.sort();
    assert_eq!(keys(store, "name").await, wanted);
    wanted.retain(|key| key != "name/.hidden");
    wanted.push("name/.hidden".into());
    stream::iter(wanted)
        .map(|key| async move { store.delete(&key).await.unwrap() })
        .buffer_unordered(8)
        .collect::<Vec<()>>()
        .await;
    assert_eq!(keys(store, "name").await, [""; 0]);
    let odd = kin.slashes.then_some("back\\slash");
    let mut bad = vec!["", "../x", "a/../../x", "a/./b", "a\0b"];
    if kin.files {
        bad.extend(["/etc/passwd", "a//b", "a/"]);
    }
    bad.extend(odd);
    for key in bad {
        let refused = store.write(key, Bytes::from_static(b"1"), &About::default()).await;
        assert_eq!(refused.unwrap_err().kind, Kind::BadKey, "{key:?}");
        assert!(store.stat(key).await.is_err() && store.delete(key).await.is_err(), "{key:?}");
    }
}

/// A source that declares one length and has another, or breaks off.
struct Faulty {
    declared: u64,
    real: usize,
    breaks: bool,
}

#[async_trait]
impl Body for Faulty {
    fn bytes(&self) -> u64 {
        self.declared
    }

    async fn open(&self) -> Result<ByteStream, StorageError> {
        let mut pieces: Vec<Result<Bytes, StorageError>> =
            pattern(self.real).chunks(64 << 10).map(|it| Ok(Bytes::copy_from_slice(it))).collect();
        if self.breaks {
            pieces.push(Err(StorageError::new(Kind::Source, "the disk is broken")));
        }
        Ok(stream::iter(pieces).boxed())
    }
}

async fn a_source_that_fails_leaves_what_was_there(store: &Store) {
    put(store, "fails/kept", b"before").await;
    let megabyte = 1 << 20;
    for (declared, real, breaks) in [
        (9 * megabyte, 7 << 20, true),
        (9 * megabyte, 8 << 20, false),
        (8 * megabyte, 9 << 20, false),
        (100, 50, false),
        (100, 50, true),
        (50, 100, false),
    ] {
        for key in ["fails/kept", "fails/new"] {
            let failed = store.upload(key, &Faulty { declared, real, breaks }, &About::default()).await;
            let error = failed.expect_err("a wrong source was stored");
            assert_eq!(error.kind, Kind::Source, "{error} {:?}", (declared, real, breaks));
        }
        assert_eq!(get(store, "fails/kept").await.as_deref(), Some(&b"before"[..]));
        assert_eq!(keys(store, "fails").await, ["fails/kept"], "something is left behind");
    }
    if let Large::Parts(parts) = store.storage().large() {
        assert_eq!(parts.unfinished("fails").await.unwrap(), []);
    }
    store.delete("fails/kept").await.unwrap();
}

async fn readers_never_see_a_mix(store: &Store, kin: Kin) {
    const SIZE: usize = 300_000;
    let stop = AtomicBool::new(false);
    store.write("mix", Bytes::from(vec![0; SIZE]), &About::default()).await.unwrap();
    let write = async {
        for round in 1..=10_u8 {
            store.write("mix", Bytes::from(vec![round; SIZE]), &About::default()).await.unwrap();
        }
        stop.store(true, Ordering::SeqCst);
    };
    let read = async {
        let mut reads = 0;
        while !stop.load(Ordering::SeqCst) {
            let bytes = get(store, "mix").await;
            assert!(bytes.is_some() || kin.gaps, "it is there all the time");
            let Some(bytes) = bytes else { continue };
            assert!(bytes.len() == SIZE && bytes.iter().all(|byte| *byte == bytes[0]), "a mix of two versions");
            reads += 1;
        }
        assert!(reads > 0);
    };
    tokio::join!(write, read);
    store.delete("mix").await.unwrap();
}

/// Discards the uploads that were begun longer than `age` ago and never finished; tells how many.
async fn sweep(store: &Store, prefix: &str, age: Duration) -> usize {
    let left = store.unfinished(prefix, age).await.unwrap();
    for upload in &left {
        store.discard(upload).await.unwrap();
    }
    left.len()
}

async fn large_objects_are_swept_when_nobody_finished_them(store: &Store, kin: Kin) {
    let Large::Parts(parts) = store.storage().large() else { return };
    // What large objects were made of that others have replaced since.
    sweep(store, "", Duration::ZERO).await;
    let finished = Faulty { declared: 6 << 20, real: 6 << 20, breaks: false };
    store.upload("sweep/whole", &finished, &About::default()).await.unwrap();
    // Who did not hear that it was finished gives it up.
    let upload = parts.begin("sweep/done", &About::default()).await.unwrap();
    let part = parts.part(&upload, 0, pattern(5 << 20)).await.unwrap();
    parts.finish(&upload, &[part]).await.unwrap();
    store.discard(&upload).await.unwrap();
    assert_eq!(get(store, "sweep/done").await.map(|bytes| bytes.len()), Some(5 << 20));
    store.delete("sweep/done").await.unwrap();
    if kin.forgets {
        assert_eq!(parts.unfinished("").await.unwrap(), []);
        return store.delete("sweep/whole").await.unwrap();
    }
    let upload = parts.begin("sweep/half", &About::default()).await.unwrap();
    parts.part(&upload, 0, pattern(5 << 20)).await.unwrap();
    assert_eq!(keys(store, "sweep").await, ["sweep/whole"]);
    let left = parts.unfinished("sweep").await.unwrap();
    assert_eq!(left.iter().map(|left| left.key.as_str()).collect::<Vec<_>>(), ["sweep/half"]);
    if !kin.undated {
        assert_eq!(sweep(store, "sweep", Duration::from_hours(1)).await, 0, "it may still be going on");
    }
    assert_eq!(sweep(store, "sweep", Duration::ZERO).await, 1);
    assert_eq!(parts.unfinished("sweep").await.unwrap(), []);
    assert_eq!(get(store, "sweep/whole").await.map(|bytes| bytes.len()), Some(6 << 20));
    store.delete("sweep/whole").await.unwrap();
    assert_eq!(sweep(store, "", Duration::ZERO).await, 0, "deleting left segments behind");
}

async fn conditions_are_what_was_found_out(store: &Store, kin: Kin) {
    let conditions = store.conditions().await.unwrap();
    assert_eq!(conditions, kin.conditions);
    assert!(keys(store, "").await.iter().all(|key| !key.contains("probe")), "the probe is left behind");
    let about = About::default();
    let race = async |when: When<'_>| {
        let one = |number: u8| store.write_if("race/pointer", Bytes::from(vec![number; 9]), &about, when);
        let outcomes = futures_util::future::join_all((0..8).map(one)).await;
        let lost = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
        assert!(lost.clone().all(|error| error.kind == Kind::Conflict), "{:?}", lost.collect::<Vec<_>>());
        outcomes.iter().filter(|outcome| outcome.is_ok()).count()
    };
    if conditions.if_absent {
        let winners = race(When::Absent).await;
        assert!(winners == 1 || !kin.atomic, "{winners} made the object");
    }
    if conditions.if_same {
        let etag = store.stat("race/pointer").await.unwrap().unwrap().etag.unwrap();
        let winners = race(When::Same(&etag)).await;
        assert!(winners == 1 || !kin.atomic, "{winners} replaced the same version");
    }
    store.delete("race/pointer").await.unwrap();
}

async fn many_small_objects_are_listed_by_pages(store: &Store, count: usize) {
    let begun = Instant::now();
    let key = |number: usize| format!("many/{}/{number:05}.ts", number % 7);
    let write =
        stream::iter(0..count).map(|number| async move { put(store, &key(number), &pattern(number % 50)).await });
    write.buffer_unordered(16).collect::<Vec<()>>().await;
    let written = begun.elapsed();
    let mut found: Vec<Stat> = Vec::new();
    let (mut after, mut pages) = (None, 0);
    loop {
        let page = store.page("many", after.as_deref()).await.unwrap();
        assert!(page.found.len() <= 1000, "a page holds {}", page.found.len());
        found.extend(page.found);
        pages += 1;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    found.sort_by(|a, b| a.key.cmp(&b.key));
    found.dedup_by(|a, b| a.key == b.key);
    assert_eq!(found.len(), count);
    assert!(found.iter().all(|stat| stat.etag.is_some()));
    // Swift's end is where nothing comes any more.
    let least = count.div_ceil(1000);
    assert!((least..=least + 1).contains(&pages), "{pages} pages");
    let delete = stream::iter(&found).map(|stat| async move { store.delete(&stat.key).await.unwrap() });
    delete.buffer_unordered(16).collect::<Vec<()>>().await;
    assert_eq!(keys(store, "many").await, [""; 0]);
    println!("{}: {count} small objects in {written:.1?}, all in {:.1?}", store.address(""), begun.elapsed());
}
