//! The main job into stores: a list, encrypted, checked straight from the bucket.

use std::fs;

use crate::support::media;
use crate::support::sandbox::{Run, Sandbox};
use crate::support::stores;

/// Settings under which a small video is quickly made.
const QUICK: &str = r#"
[hls]
segment = "1s"
ladder = "tiny"
profile = "fast"
[ladders]
tiny = [
    { name = "120p", short-side = 120, crf = 30.0, max-bitrate = 300 },
    { name = "90p", short-side = 90, crf = 30.0, max-bitrate = 200 },
]
"#;

fn publish(sandbox: &Sandbox) -> Run {
    let encrypt = ["--encrypt", "aes-128", "--keys", "keys", "--key-uri", "https://keys.example/{id}/{key}.key"];
    let arguments = ["hls", "-a", "list.jsonl", "--to", "place:videos", "--state", "state"];
    sandbox.forebay(arguments.into_iter().chain(encrypt)).expect(0)
}

/// Publishes two videos to the place that `settings` describe, and looks at them there.
fn check(settings: &str, secrets: &[(&str, &str)]) {
    let mut sandbox = Sandbox::new();
    sandbox.config(&format!("{QUICK}{settings}"));
    for (name, value) in secrets {
        sandbox.set(name, value);
    }
    sandbox.copy(&media::clip(), "clip.mp4");
    sandbox.copy(&media::clip_of(3, "320x240"), "kurz & gut.mp4");
    let lines = ["{\"input\":\"clip.mp4\",\"id\":\"talk\"}", "{\"input\":\"kurz & gut.mp4\",\"id\":\"short\"}"];
    fs::write(sandbox.path("list.jsonl"), lines.join("\n")).unwrap();
    let run = publish(&sandbox);
    assert!(run.stderr.contains("2 done"), "{}", run.stderr);
    for id in ["talk", "short"] {
        let address = format!("place:videos/{id}");
        let keys = sandbox.path("keys").join(id);
        let looked =
            sandbox.forebay(["verify", &address, "--keys", keys.to_str().unwrap(), "--decode", "all"]).expect(0);
        assert!(!looked.stdout.contains("could not"), "{}", looked.stdout);
        sandbox.forebay(["verify", &address]).expect(0);
    }
    // A state folder that is lost loses no package.
    fs::remove_dir_all(sandbox.path("state")).unwrap();
    let again = publish(&sandbox);
    assert!(again.stderr.contains("2 already done"), "{}", again.stderr);
    let none = sandbox.forebay(["gc", "place:videos", "--grace", "0s"]).expect(0);
    assert_eq!(none.stdout, "", "all is reached");
}

#[test]
fn a_list_goes_to_swift() {
    let (swift, container) = (stores::swift(), stores::unique("list"));
    swift.make(&container);
    let settings = format!(
        "[storage.place.swift]\nauth-url = \"http://127.0.0.1:{}/auth/v1.0\"\ncontainer = \"{container}\"\n\
         user = \"test:tester\"\npassword = \"testing\"\n",
        swift.port
    );
    check(&settings, &[]);
}

#[test]
fn a_list_goes_to_s3() {
    let (moto, bucket) = (stores::moto(), stores::unique("list"));
    moto.make(&bucket);
    let settings = format!(
        "[storage.place.s3]\nendpoint = \"http://127.0.0.1:{}\"\nbucket = \"{bucket}\"\nregion = \"us-east-1\"\n",
        moto.port
    );
    check(&settings, &[("AWS_ACCESS_KEY_ID", "any"), ("AWS_SECRET_ACCESS_KEY", "any")]);
}

#[test]
fn a_list_goes_to_azure() {
    let (azurite, container) = (stores::azurite(), stores::unique("list"));
    azurite.make(&container);
    let values = azurite.values(&container, &[]);
    let values: Vec<(&str, &str)> = values.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    check(&format!("[storage.place.az]\n{}", stores::lines(&values)), &[]);
    let mut sandbox = Sandbox::new();
    sandbox.set("AZURE_STORAGE_CONNECTION_STRING", azurite.connection());
    let run = sandbox.forebay(["doctor", "--to", &format!("az://{container}/probe")]).expect(0);
    assert!(run.stdout.contains("keeps types and cache headers; writes on conditions"), "{}", run.stdout);
}

#[cfg(feature = "sftp")]
#[test]
fn a_list_goes_over_ssh() {
    let values = stores::sshd().values(&stores::unique("list"), &[]);
    let values: Vec<(&str, &str)> = values.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    check(&format!("[storage.place.sftp]\n{}", stores::lines(&values)), &[]);
}
