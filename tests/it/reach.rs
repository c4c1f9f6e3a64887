//! Jobs come from outside: whatever they name, no request gets into a private network.

use std::fs;
use std::process::Command;

use forebay::queue::State;

use crate::inputs::ytdlp;
use crate::support::media;
use crate::support::server::Server;
use crate::support::yard::{Yard, ended};

/// Fills the folder of the server that jobs may reach with what leads to `secret`, which they may not.
fn fill(yard: &Yard, secret: &Server) {
    let www = yard.sandbox.path("www");
    fs::create_dir_all(www.join("hls")).unwrap();
    fs::copy(media::clip_of(2, "160x90"), www.join("clip.mp4")).unwrap();
    let cut = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-y", "-i"])
        .arg(www.join("clip.mp4"))
        .args(["-c", "copy", "-f", "hls", "-hls_time", "1", "-hls_list_size", "0"])
        .arg(www.join("hls/whole.m3u8"))
        .status()
        .unwrap();
    assert!(cut.success());
    let list = fs::read_to_string(www.join("hls/whole.m3u8")).unwrap();
    let elsewhere = |host: &str| list.replace("whole", &format!("{host}:{}/good/hls/whole", secret.port()));
    fs::write(www.join("hls/far.m3u8"), elsewhere("http://127.0.0.1")).unwrap();
    fs::write(www.join("hls/named.m3u8"), elsewhere("http://localhost")).unwrap();
    fs::write(www.join("hls/tunnel.m3u8"), elsewhere("https://2130706433")).unwrap();
    let key = format!("#EXT-X-KEY:METHOD=AES-128,URI=\"{}\"\n#EXTINF", secret.url("good/clip.mp4"));
    fs::write(www.join("hls/key.m3u8"), list.replacen("#EXTINF", &key, 1)).unwrap();
    let page = format!("<html><title>A film</title><video src=\"{}\"></video></html>", secret.url("good/clip.mp4"));
    fs::write(www.join("watch.html"), page).unwrap();
}

#[test]
fn no_job_leads_into_a_private_network() {
    let yard = Yard::new(None);
    let www = yard.sandbox.path("www");
    let (open, secret) = (Server::start(&www), Server::start(&www));
    fill(&yard, &secret);
    yard.settings(&format!("private-hosts = [\"127.0.0.1:{}\"]\n", open.port()));
    let port = secret.port();
    let good = [open.url("good/clip.mp4"), open.url("moved/clip.mp4"), open.url("good/hls/whole.m3u8")];
    let bad = [
        secret.url("good/clip.mp4"),
        format!("http://[::1]:{port}/good/clip.mp4"),
        format!("http://[::ffff:127.0.0.1]:{port}/good/clip.mp4"),
        format!("http://2130706433:{port}/good/clip.mp4"),
        format!("http://0177.0.0.1:{port}/good/clip.mp4"),
        format!("http://0x7f.1:{port}/good/clip.mp4"),
        format!("http://localhost:{port}/good/clip.mp4"),
        format!("http://localhost:{}/good/clip.mp4", open.port()),
        format!("http://localhost:{port}/watch"),
        format!("http://localhost:{port}/good/hls/whole.m3u8"),
        "http://169.254.169.254/latest/meta-data/film.mp4".to_owned(),
        open.url(&format!("away/127.0.0.1:{port}/good/clip.mp4")),
        open.url(&format!("away/localhost:{port}/good/clip.mp4")),
        open.url(&format!("away/127.0.0.1:{port}/good/hls/whole.m3u8")),
        open.url("good/watch.html"),
        open.url("good/hls/far.m3u8"),
        open.url("good/hls/named.m3u8"),
        open.url("good/hls/tunnel.m3u8"),
        open.url("good/hls/key.m3u8"),
    ];
    let submit = |number: usize, input: &String| {
        let job = yard.job(&format!("v{number}"), "x");
        yard.submit(&forebay::model::job::Job { input: input.clone(), attempts: 1, ..job })
    };
    let bad: Vec<_> = bad.iter().enumerate().map(|(number, input)| (input, submit(number, input))).collect();
    let good: Vec<_> = good.iter().enumerate().map(|(number, input)| submit(100 + number, input)).collect();
    let ytdlp = ytdlp().unwrap_or_default();
    let mut worker = yard.worker(
        &[],
        &[
            ("FOREBAY_WORKER__INPUTS", "http:,https:"),
            ("FOREBAY_WORKER__SLOTS", "6"),
            ("FOREBAY_WORKER__LEASE", "1m"),
            ("FOREBAY_NETWORK__RETRIES", "0"),
            ("FOREBAY_TOOLS__YT_DLP", ytdlp.to_str().unwrap()),
            // What would lead around the guard is not listened to.
            ("no_proxy", "*"),
            ("http_proxy", "http://127.0.0.1:9"),
        ],
    );
    for (input, id) in &bad {
        let dead = yard.stands(id, State::Dead);
        let said = dead.log.last().unwrap().what.clone();
        assert!(said.contains("leads into a private network"), "{input}: {said}");
    }
    for id in &good {
        yard.stands(id, State::Done);
    }
    assert!(secret.requests().is_empty(), "{:?}", secret.requests());
    worker.signal(rustix::process::Signal::TERM);
    ended(&mut worker);
}
