//! Pages, with a small script in the role of yt-dlp.

use std::path::PathBuf;
use std::time::Duration;

use crate::model::item::Rank;
use crate::pipeline::lane::Lane;

use super::super::{SourceSettings, Sources};
use super::server::{Behaviour, Server};
use super::{Bench, settings};

/// A program that plays yt-dlp: knows its version, answers to `--simulate`, and downloads by `download`.
fn play_ytdlp(bench: &Bench, found: &str, download: &str) -> PathBuf {
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = bench.folder.path().join("play-yt-dlp");
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *--version) echo {}; exit;; *--simulate*) {found}; exit;; esac\n{download}\n",
        crate::tool::ytdlp::OLDEST
    );
    let mut file = std::fs::File::options().write(true).create(true).truncate(true).mode(0o755).open(&path).unwrap();
    std::io::Write::write_all(&mut file, script.as_bytes()).unwrap();
    path
}

#[tokio::test]
async fn what_ytdlp_brings_is_looked_at() {
    let one = r#"echo 'V {"id":"7","extractor_key":"Site","title":"Seven"}'"#;
    let moved = r#"echo 'F "media.mkv"'"#;
    let broken = "echo 'ERROR: [site] 7: HTTP Error 503: no' >&2; exit 1";
    // It notes a fragment as written that it gave up on, and would go on after it.
    let torn = "[ -e media.ytdl ] && echo frames > media.mkv && echo 'F \"media.mkv\"' && exit; : > media.ytdl";
    let cases = [
        (one, format!("{torn}; {broken}"), Err("HTTP Error 503: no (tried 3 times)")),
        (one, format!("echo frames > media.mkv; {moved}"), Ok(7)),
        (one, "exit 0".into(), Err("brought no file")),
        (one, format!(": > media.mkv; {moved}"), Err("brought an empty file")),
        (one, format!("echo '<html>' > media.mkv; {moved}"), Err("led to an HTML page, not a video")),
        (one, broken.into(), Err("HTTP Error 503: no (tried 3 times)")),
        (one, "echo 'ERROR: [Errno 28] No space left on device' >&2; exit 1".into(), Err("No space left")),
        (one, format!("echo a > media.mkv; {moved}; {moved}"), Err("holds several videos")),
        ("echo 'V {}'; echo 'V {}'", String::new(), Err("holds several videos")),
        ("echo 'ERROR: [site] 7: Video unavailable' >&2; exit 1", String::new(), Err(": Video unavailable")),
        ("exit 0", String::new(), Err("did not say why")),
    ];
    let server = Server::start(Behaviour::good(b"<html></html>".to_vec())).await;
    for (found, download, wanted) in cases {
        let mut bench = Bench::new(settings());
        let ytdlp = play_ytdlp(&bench, found, &download);
        bench.sources =
            Sources::new(SourceSettings { ytdlp, ..settings() }, crate::storage::open::Stores::bare()).unwrap();
        match (bench.get(&server, "/watch").await, wanted) {
            (Ok(fetched), Ok(bytes)) => {
                assert_eq!(fetched.bytes, bytes);
                assert_eq!(std::fs::read(&fetched.path).unwrap(), b"frames\n");
                assert_eq!(bench.room.stats().taken, bytes);
                // What is whole is not fetched again.
                play_ytdlp(&bench, found, "exit 1");
                assert_eq!(bench.get(&server, "/watch").await.unwrap().sha256, fetched.sha256);
            }
            (Err(failure), Err(words)) => {
                assert!(failure.what.contains(words), "{failure}");
                assert_eq!((bench.network.stats().taken, bench.room.stats().taken), (0, 0));
            }
            (outcome, _) => panic!("{download:?} gave {:?}", outcome.map(|fetched| fetched.bytes)),
        }
    }
}

#[tokio::test]
async fn a_page_that_can_never_fit_is_refused() {
    let moved = r#"echo frames > media.mkv; echo 'F "media.mkv"'"#;
    let told = r#"echo 'V {"id":"7","extractor_key":"Site","filesize":300000000}'"#;
    let silent = r#"echo 'V {"id":"7","extractor_key":"Site"}'"#;
    let progress = r#"echo 'P {"filename":"m","downloaded_bytes":300000000,"status":"downloading"}'; sleep 5"#;
    let server = Server::start(Behaviour::good(b"<html></html>".to_vec())).await;
    for (found, download) in [(told, moved), (silent, progress)] {
        let mut bench = Bench::new(settings());
        let ytdlp = play_ytdlp(&bench, found, download);
        bench.sources =
            Sources::new(SourceSettings { ytdlp, ..settings() }, crate::storage::open::Stores::bare()).unwrap();
        bench.room = Lane::new(20_000_000);
        let failure = bench.get(&server, "/watch").await.err().unwrap();
        assert!(failure.what.contains("needs 300000000 bytes of scratch space"), "{failure}");
        assert_eq!((bench.network.stats().taken, bench.room.stats().taken), (0, 0));
    }
}

#[tokio::test]
async fn a_page_may_have_the_name_of_a_film() {
    let server = Server::start(Behaviour::good(b"<html></html>".to_vec())).await;
    let mut bench = Bench::new(settings());
    let ytdlp = play_ytdlp(&bench, "exit 1", "echo frames > media.mkv; echo 'F \"media.mkv\"'");
    bench.sources = Sources::new(SourceSettings { ytdlp, ..settings() }, crate::storage::open::Stores::bare()).unwrap();
    let fetched = bench.get(&server, "/wiki/File:Clip.webm").await.unwrap();
    assert_eq!(std::fs::read(&fetched.path).unwrap(), b"frames\n");
    // One that yt-dlp finds nothing on either is what it was taken for.
    play_ytdlp(&bench, "exit 1", "echo 'ERROR: Unsupported URL' >&2; exit 1");
    let failure = bench.get(&server, "/wiki/File:Other.webm").await.err().unwrap();
    assert!(failure.what.ends_with("answered an HTML page, not a video"), "{failure}");
}

#[tokio::test]
async fn a_page_that_outgrows_its_room_waits_for_more() {
    let one = r#"echo 'V {"id":"7","extractor_key":"Site","filesize":1000}'"#;
    let download = r#"echo 'P {"filename":"m","downloaded_bytes":400000000,"status":"downloading"}'
        sleep 0.3; echo frames > media.mkv; echo 'F "media.mkv"'"#;
    let mut bench = Bench::new(settings());
    let ytdlp = play_ytdlp(&bench, one, download);
    bench.sources = Sources::new(SourceSettings { ytdlp, ..settings() }, crate::storage::open::Stores::bare()).unwrap();
    bench.room = Lane::new(1 << 30);
    let held = bench.room.acquire(Rank::default(), 1 << 29).await;
    let server = Server::start(Behaviour::good(b"<html></html>".to_vec())).await;
    let release = async {
        while bench.room.stats().waiting == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(bench.network.stats().taken, 0);
        drop(held);
    };
    let (fetched, ()) = tokio::join!(bench.get(&server, "/watch"), release);
    assert_eq!(fetched.unwrap().bytes, 7);
}
