//! Names that other programs trip over: every one is published under a valid
//! id, none is run, and what is printed can be read.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use crate::inputs::{IMPATIENT, published};
use crate::support::sandbox::Sandbox;
use crate::support::server::Server;
use crate::support::{media, oracle, watch};

fn names() -> Vec<OsString> {
    let long = format!("{}.mp4", "x".repeat(246));
    let mut names: Vec<OsString> = [
        "a b  c.mp4",
        "it's \"quoted\".mp4",
        "Ünï – 日本語 🎬.mp4",
        "new\nline.mp4",
        "%05d.mp4",
        "100%.mp4",
        "12:30 talk.mp4",
        "pipe:0.mp4",
        "-rf.mp4",
        "--to.mp4",
        ";$(touch x).mp4",
        "`touch y`.mp4",
        "a|b&c>z.mp4",
        "[ab]*?.mp4",
        "back\\slash.mp4",
        "\u{1b}[31mred.mp4",
        &long,
    ]
    .map(OsString::from)
    .to_vec();
    names.push(OsStr::from_bytes(b"\xff\xfe\x80.mp4").to_owned());
    names
}

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.config(IMPATIENT);
    sandbox
}

/// A second of picture, small: there are many names.
fn short() -> std::path::PathBuf {
    media::clip_of(1, "160x90")
}

fn check(sandbox: &Sandbox, stderr: &str, count: usize) {
    let ids = published(&sandbox.path("out"));
    assert_eq!(ids.len(), count, "{ids:?}\n{stderr}");
    for id in &ids {
        let allowed = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
        assert!(
            id.len() <= 96 && id.chars().all(allowed) && id.starts_with(|first: char| first.is_ascii_alphanumeric()),
            "{id}"
        );
        oracle::judge(&watch::master(&sandbox.path("out"), id)).unwrap();
    }
    assert!(!stderr.chars().any(|letter| letter.is_control() && letter != '\n'), "{stderr:?}");
    for touched in ["x", "y", "z", "www/x", "www/y"] {
        assert!(!sandbox.path(touched).exists(), "{touched} was made");
    }
}

#[test]
fn files_of_any_name_are_published() {
    let sandbox = sandbox();
    for name in names() {
        fs::copy(short(), sandbox.path("").join(name)).unwrap();
    }
    let arguments = [OsString::from("hls"), "--to".into(), "out".into(), "--".into()];
    let run = sandbox.forebay(arguments.into_iter().chain(names()));
    check(&sandbox, &run.stderr, names().len());
    run.expect(0);
    assert_eq!(
        fs::read_dir(sandbox.path("")).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_file()).count(),
        names().len()
    );
}

#[test]
fn a_list_names_all_but_line_breaks_and_a_folder_names_all() {
    let sandbox = sandbox();
    fs::create_dir(sandbox.path("in")).unwrap();
    let mut list = Vec::new();
    for name in names() {
        fs::copy(short(), sandbox.path("in").join(&name)).unwrap();
        if !name.as_bytes().contains(&b'\n') {
            list.extend_from_slice(sandbox.path("in").join(&name).as_os_str().as_bytes());
            list.push(b'\n');
        }
    }
    sandbox.write("list.txt", list);
    let run = sandbox.forebay(["hls", "list.txt", "--to", "out"]).expect(0);
    check(&sandbox, &run.stderr, names().len() - 1);
    // The folder holds the same files, and the one that a line cannot name.
    let run = sandbox.forebay(["hls", "in", "--to", "out"]).expect(0);
    check(&sandbox, &run.stderr, names().len());
    assert!(run.stderr.contains("1 done, 17 already done"), "{}", run.stderr);
}

#[test]
fn addresses_of_any_name_are_published() {
    let sandbox = sandbox();
    fs::create_dir(sandbox.path("www")).unwrap();
    let mut urls = Vec::new();
    let server = Server::start(&sandbox.path("www"));
    for name in names() {
        fs::copy(short(), sandbox.path("www").join(&name)).unwrap();
        let quoted: Vec<String> = name.as_bytes().iter().map(|byte| format!("%{byte:02X}")).collect();
        urls.push(server.url(&format!("good/{}", quoted.concat())));
    }
    // A name that ends in nothing we know is looked at first; the query may hold anything.
    let urls: Vec<String> = urls.into_iter().map(|url| url + "?a=%2e%2e/&b=$(touch x);'\"&token=s3cret").collect();
    let run = sandbox.forebay(["hls", "--to", "out"].into_iter().chain(urls.iter().map(String::as_str)));
    check(&sandbox, &run.stderr, names().len());
    assert!(!run.stderr.contains("s3cret"), "{}", run.stderr);
    run.expect(0);
}
