//! `verify` looks at packages in a bucket as it does at those in a folder.

use std::fs;
use std::path::Path;

use forebay::job::verify::render::render;
use forebay::job::verify::{Decode, Location, Report, VerifyOptions, verify};
use forebay::storage::About;
use forebay::storage::store::Store;

use crate::support::sandbox::Sandbox;
use crate::support::stores;
use crate::verify_packages::{Kind, made, options};

/// Puts every file of the package below `prefix`.
async fn upload(store: &Store, folder: &Path, prefix: &str) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let key = format!("{prefix}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            Box::pin(upload(store, &entry.path(), &key)).await;
        } else {
            let bytes = fs::read(entry.path()).unwrap();
            store.write(&key, bytes.into(), &About::default()).await.unwrap();
        }
    }
}

fn look(store: &Store, name: Option<&str>) -> Report {
    let looked = VerifyOptions { decode: Decode::Sample, ..options() };
    let location = Location::Store(store.clone(), name.map(Into::into));
    tokio::runtime::Runtime::new().unwrap().block_on(verify(location, looked)).unwrap()
}

#[test]
fn packages_in_a_bucket_are_checked_alike() {
    let (moto, bucket) = (stores::moto(), stores::unique("verify"));
    moto.make(&bucket);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let whole = stores::open(&moto.bucket(&bucket));
    for (kind, name) in [(Kind::ShakaFragments, "files"), (Kind::ShakaOneFile, "ranges")] {
        runtime.block_on(upload(&whole, &made(kind), name));
        let mut fields = moto.bucket(&bucket);
        fields.set("prefix", name);
        let store = stores::open(&fields);
        let report = look(&store, None);
        assert_eq!(report.violations, [], "{name}\n{}", render(&report));
        assert!(report.segments >= 9 && report.bytes > 200_000, "{name}\n{}", render(&report));
        let gone = if kind == Kind::ShakaOneFile { "a.mp4" } else { "v/2.m4s" };
        runtime.block_on(store.delete(gone)).unwrap();
        let report = look(&store, Some("master.m3u8"));
        let missing = report.violations.iter().any(|finding| finding.rule == "R04" && finding.what.contains(gone));
        assert!(missing, "{name}\n{}", render(&report));
    }
    let mut sandbox = Sandbox::new();
    sandbox.config(&format!(
        "[storage.shelf.s3]\nendpoint = \"http://127.0.0.1:{}\"\nbucket = \"{bucket}\"\nregion = \"us-east-1\"\n",
        moto.port
    ));
    sandbox.set("AWS_ACCESS_KEY_ID", "any");
    sandbox.set("AWS_SECRET_ACCESS_KEY", "any");
    for address in ["shelf:files/master.m3u8", "shelf:files"] {
        let run = sandbox.forebay(["verify", address, "--decode", "none"]).expect(1);
        assert!(run.stdout.contains("`v/2.m4s`: it is not there"), "{}", run.stdout);
    }
    assert!(sandbox.forebay(["verify", "shelf:none/master.m3u8"]).expect(3).stderr.contains("it is not there"));
}
