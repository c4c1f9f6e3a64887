//! The server as a website uses it: uploads, jobs, events, webhooks, keys, and kills.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use forebay::queue::{self, Asker, End};
use hmac::Mac as _;
use serde_json::json;

use crate::support::brokers::RedisServer;
use crate::support::media;
use crate::support::sandbox::Sandbox;
use crate::support::site::{Receiver, Site, wait};

const QUICK: [&str; 6] = ["--ladder", "240p", "--profile", "fast", "--segment", "2s"];

/// The playlist's lines that are addresses.
fn addresses(playlist: &str) -> Vec<String> {
    playlist.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(String::from).collect()
}

#[test]
fn an_upload_becomes_a_protected_video_and_the_site_is_told() {
    let sandbox = Sandbox::new();
    let receiver = Receiver::start(&[503, 200]);
    sandbox.config(&format!("[serve]\nprivate-hosts = [\"127.0.0.1:{}\"]\n", receiver.port));
    let site = Site::start(sandbox, &QUICK).with_token("site", "submit");
    let admin = site.add_token("admin", "admin");
    let bearer = format!("Bearer {admin}");
    let hook = json!({ "url": format!("http://127.0.0.1:{}/hook?x=1", receiver.port) }).to_string();
    let json_type = ("content-type", "application/json");
    let headers = [("authorization", bearer.as_str()), json_type];
    let secret = site.send("POST", "/api/v1/webhooks", &headers, hook.as_bytes()).expect(201).json();

    let input = site.upload("Holiday%20%3Cb%3E%20film.mp4", &std::fs::read(media::clip()).unwrap());
    let id = site.submit(&json!({ "input": input, "id": "film", "options": { "encrypt": "aes-128", "rotate": 2 } }));

    // The first try is refused, the second comes five seconds later with the same number.
    let (first, again) = (receiver.next(), receiver.next());
    assert_eq!(first.header("webhook-id"), again.header("webhook-id"));
    let told = again.json();
    assert_eq!(
        (&told["type"], &told["data"]["id"], &told["data"]["title"]),
        (&json!("job.done"), &json!(id), &json!("Holiday <b> film"))
    );
    let key = STANDARD.decode(secret["secret"].as_str().unwrap().strip_prefix("whsec_").unwrap()).unwrap();
    let mut code = hmac::Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
    let (number, time) = (again.header("webhook-id").unwrap(), again.header("webhook-timestamp").unwrap());
    code.update(format!("{number}.{time}.{}", again.text()).as_bytes());
    let expected = format!("v1,{}", STANDARD.encode(code.finalize().into_bytes()));
    assert_eq!(again.header("webhook-signature"), Some(expected.as_str()));

    let job = site.ask("GET", &format!("/api/v1/jobs/{id}"), b"").expect(403);
    assert!(job.text().contains("`read`"), "a token that submits does not read: {}", job.text());
    let job = site.send("GET", &format!("/api/v1/jobs/{id}"), &headers, b"").expect(200).json();
    assert_eq!(job["media"], "/media/film/master.m3u8", "{job:#}");

    // Media take a token that reads, or a grant; keys too, and nobody may keep them.
    site.send("GET", "/media/film/master.m3u8", &[], b"").expect(401);
    let wish = json!({ "video": "film", "seconds": 60 }).to_string();
    let grant = site.ask("POST", "/api/v1/grants", wish.as_bytes()).expect(201).json();
    let play = grant["play"].as_str().unwrap();
    let folder = play.strip_suffix("master.m3u8").unwrap();
    let master = site.send("GET", play, &[], b"").expect(200);
    assert_eq!(master.header("content-type"), Some("application/vnd.apple.mpegurl"));
    let playlist = addresses(&master.text()).into_iter().next_back().unwrap();
    let text = site.send("GET", &format!("{folder}{playlist}"), &[], b"").expect(200).text();
    let key = text.split("URI=\"").nth(1).unwrap().split('"').next().unwrap();
    let served = site.send("GET", key, &[], b"").expect(200);
    assert_eq!((served.body.len(), served.header("cache-control")), (16, Some("no-store")));
    let bare = key.split('?').next().unwrap();
    site.send("GET", bare, &[], b"").expect(403);
    site.send("GET", &key.replace("/keys/film/", "/keys/other/"), &[], b"").expect(403);
    site.send("GET", bare, &headers, b"").expect(200);
    assert!(!text.contains(&hex::encode(&served.body)), "the key is no part of the playlist");

    let (below, _) = playlist.rsplit_once('/').unwrap();
    let segment = format!("{folder}{below}/{}", addresses(&text)[0]);
    let whole = site.send("GET", &segment, &[], b"").expect(200);
    assert_eq!(whole.header("content-type"), Some("video/mp2t"));
    let part = site.send("GET", &segment, &[("range", "bytes=16-31")], b"").expect(206);
    assert_eq!(part.body, whole.body[16..32]);
    let other = play.replace("/film/", "/other/");
    site.send("GET", &other, &[], b"").expect(403);

    // What was uploaded is gone once the video is there.
    wait("upload to go", || {
        std::fs::read_dir(site.sandbox.path("state/uploads")).unwrap().next().is_none().then_some(())
    });
    let checked = site.ask("POST", &format!("/api/v1/jobs/{id}/verify"), b"").expect(200).json();
    assert_eq!(checked["right"], true, "{checked:#}");
}

#[test]
fn an_upload_by_tus_goes_on_where_it_broke() {
    let site = Site::start(Sandbox::new(), &["--no-worker"]);
    let tus = ("tus-resumable", "1.0.0");
    let bytes: Vec<u8> = (0..400_000_u32).flat_map(u32::to_le_bytes).collect();
    let length = bytes.len().to_string();
    let name = format!("filename {}", STANDARD.encode("../../étude.mp4"));
    let begun =
        site.send("POST", "/api/v1/uploads", &[tus, ("upload-length", &length), ("upload-metadata", &name)], b"");
    let place = begun.expect(201).header("location").unwrap().to_owned();
    let patch = |offset: usize, announced: usize, body: &[u8]| {
        let mut stream = TcpStream::connect(("127.0.0.1", site.port)).unwrap();
        let head = format!(
            "PATCH {place} HTTP/1.0\r\nhost: localhost\r\ntus-resumable: 1.0.0\r\nupload-offset: {offset}\r\n\
             content-type: application/offset+octet-stream\r\ncontent-length: {announced}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        stream
    };
    // A connection that breaks in the middle of a piece.
    drop(patch(0, bytes.len(), &bytes[..700_000]));
    let here = wait("half of the upload", || {
        let head = site.send("HEAD", &place, &[tus], b"").expect(200);
        let here: usize = head.header("upload-offset").unwrap().parse().unwrap();
        (here == 700_000).then_some(here)
    });
    let wrong = [("upload-offset", "5"), ("content-type", "application/offset+octet-stream")];
    let refused = site.send("PATCH", &place, &[&[tus][..], &wrong[..]].concat(), b"x").expect(409);
    assert_eq!(refused.header("tus-resumable"), Some("1.0.0"));
    let refused =
        site.send("PATCH", &place, &[&[("tus-resumable", "0.2.2")][..], &wrong[..]].concat(), b"x").expect(412);
    assert_eq!((refused.header("tus-resumable"), refused.header("tus-version")), (Some("1.0.0"), Some("1.0.0")));
    let head = site.send("HEAD", &place, &[tus], b"").expect(200);
    assert_eq!(head.header("upload-metadata"), Some(name.as_str()));
    let id = place.rsplit('/').next().unwrap();
    let early = json!({ "input": format!("upload:{id}") }).to_string();
    site.ask("POST", "/api/v1/jobs", early.as_bytes()).expect(409);
    // The rest comes after a restart.
    let site = site.restart();
    let answer = wait("the writer before to be gone", || {
        let piece = [tus, ("upload-offset", "700000"), ("content-type", "application/offset+octet-stream")];
        let answer = site.send("PATCH", &place, &piece, &bytes[here..]);
        (answer.status != 423).then_some(answer)
    });
    assert_eq!(answer.expect(204).header("upload-offset"), Some(length.as_str()));
    let shown = site.ask("GET", &place, b"").expect(200).json();
    assert_eq!((&shown["complete"], &shown["bytes"]), (&json!(true), &json!(bytes.len())));
    let kept = std::fs::read(site.sandbox.path(&format!("state/uploads/{id}/tude.mp4"))).unwrap();
    assert!(kept == bytes, "every byte is there, in order");
    site.send("DELETE", &place, &[tus], b"").expect(204);
    site.send("HEAD", &place, &[tus], b"").expect(404);
}

#[test]
fn a_job_is_measured_with_all_that_is_added() {
    let site = Site::start(Sandbox::new(), &["--no-worker"]);
    let body = |last: usize| {
        let keys: Vec<String> =
            (0..64).map(|number| format!("{number:02}{}", "k".repeat(if number == 0 { last } else { 1020 }))).collect();
        json!({ "kind": "migrate", "input": "a:", "options": { "keys": keys } }).to_string()
    };
    let (fits, bare) = (body(10), body(0).len());
    site.ask("POST", "/api/v1/jobs", fits.as_bytes()).expect(201);
    let full = body(65_530 - bare);
    assert_eq!(full.len(), 65_530);
    site.ask("POST", "/api/v1/jobs", full.as_bytes()).expect(413);
}

#[test]
fn an_upload_by_tus_needs_no_method_but_post() {
    let site = Site::start(Sandbox::new(), &["--no-worker"]);
    let tus = ("tus-resumable", "1.0.0");
    let begun = site.send("POST", "/api/v1/uploads", &[tus, ("upload-length", "4")], b"").expect(201);
    let place = begun.header("location").unwrap();
    let instead = |method: &'static str| ("x-http-method-override", method);
    let piece = [tus, instead("PATCH"), ("upload-offset", "0"), ("content-type", "application/offset+octet-stream")];
    assert_eq!(site.send("POST", place, &piece, b"film").expect(204).header("upload-offset"), Some("4"));
    for headers in [vec![tus], vec![tus, instead("PUT")]] {
        site.send("POST", place, &headers, b"").expect(405);
    }
    site.send("POST", place, &[tus, instead("DELETE")], b"").expect(204);
    site.send("HEAD", place, &[tus], b"").expect(404);
}

#[test]
fn uploads_are_bounded() {
    let sandbox = Sandbox::new();
    sandbox.config("[serve]\nupload-limit = \"1MB\"\nupload-room = \"1500kB\"\n");
    let site = Site::start(sandbox, &["--no-worker"]);
    let (small, large) = (vec![7; 900_000], vec![7; 1_000_001]);
    site.ask("PUT", "/api/v1/uploads/large.mp4", &large).expect(413);
    site.ask("PUT", "/api/v1/uploads/empty.mp4", b"").expect(400);
    let first = site.ask("POST", "/api/v1/uploads?name=one.mp4", &small).expect(201).json();
    site.ask("PUT", "/api/v1/uploads/two.mp4", &small).expect(507);
    site.send("POST", "/api/v1/uploads", &[("tus-resumable", "1.0.0"), ("upload-length", "700000")], b"").expect(507);
    let place = format!("/api/v1/uploads/{}", first["id"].as_str().unwrap());
    site.ask("DELETE", &place, b"").expect(204);
    site.ask("PUT", "/api/v1/uploads/two.mp4", &small).expect(201);
    // Without a length, in chunks, it ends at the limit all the same.
    let mut stream = TcpStream::connect(("127.0.0.1", site.port)).unwrap();
    let head = "PUT /api/v1/uploads/x.mp4 HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let sent =
        (0..40).try_for_each(|_| stream.write_all(format!("{:x}\r\n{}\r\n", 50_000, "x".repeat(50_000)).as_bytes()));
    drop(sent);
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap_or_default();
    assert!(said.is_empty() || said.contains(" 507 ") || said.contains(" 413 "), "{said}");
    let left = std::fs::read_dir(site.sandbox.path("state/uploads")).unwrap().count();
    assert_eq!(left, 1, "refused uploads leave nothing behind");
}

/// Lets a worker elsewhere do the one job that is due.
fn one_job_is_done(site: &Site) {
    let url = format!("sqlite:{}", site.sandbox.path("state/queue.db").display());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let queue = queue::open(&url, Duration::from_hours(1)).await.unwrap();
        let asker = Asker { worker: "w".into(), labels: std::collections::BTreeSet::new(), only: None };
        let claim = queue.claim(&asker, Duration::from_mins(1)).await.unwrap().expect("a job is due");
        queue.settle(&claim, &End::Done(json!({}))).await.unwrap();
    });
}

/// Waits until the list has that many jobs in that state.
fn counted(site: &Site, state: &str, count: u64) {
    wait("jobs in the list", || (site.ask("GET", "/api/v1/jobs", b"").json()["counts"][state] == count).then_some(()));
}

#[test]
fn an_upload_stays_until_the_last_of_its_jobs_is_done() {
    let site = Site::start(Sandbox::new(), &["--no-worker"]);
    let input = site.upload("film.mp4", b"not looked at");
    let later = json!({ "input": input, "id": "two", "delay": 86_400 });
    site.submit(&json!({ "input": input, "id": "one" }));
    let later = site.submit(&later);
    one_job_is_done(&site);
    counted(&site, "done", 1);
    let place = format!("/api/v1/uploads/{}", input.strip_prefix("upload:").unwrap());
    // What is to go goes before the next change is looked at.
    let other = site.submit(&json!({ "input": "https://films.example/1.mp4" }));
    counted(&site, "waiting", 1);
    site.ask("GET", &place, b"").expect(200);
    site.ask("POST", &format!("/api/v1/jobs/{other}/cancel"), b"").expect(200);
    site.ask("POST", &format!("/api/v1/jobs/{later}/retry"), b"").expect(200);
    one_job_is_done(&site);
    wait("upload to go", || (site.ask("GET", &place, b"").status == 404).then_some(()));
}

#[test]
fn a_request_sent_again_finds_its_job_when_the_upload_is_used_up() {
    let site = Site::start(Sandbox::new(), &["--no-worker"]);
    let input = site.upload("film.mp4", b"not looked at");
    let send = |key: &str, more: &serde_json::Value| {
        let mut job = json!({ "input": input, "id": "film" });
        job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        site.send("POST", "/api/v1/jobs", &headers, job.to_string().as_bytes())
    };
    let id = send("order-1", &json!({})).expect(201).json()["id"].clone();
    one_job_is_done(&site);
    let place = input.replace("upload:", "/api/v1/uploads/");
    wait("upload to go", || (site.ask("GET", &place, b"").status == 404).then_some(()));
    let again = send("order-1", &json!({})).expect(200).json();
    assert_eq!((&again["id"], &again["state"]), (&id, &json!("done")));
    send("order-1", &json!({ "title": "Another" })).expect(422);
    send("order-2", &json!({})).expect(422);
    site.ask("POST", "/api/v1/jobs", json!({ "input": input }).to_string().as_bytes()).expect(422);
}

#[test]
fn old_uploads_go_but_for_those_that_jobs_wait_for() {
    let sandbox = Sandbox::new();
    sandbox.config("[serve]\nupload-keep = \"1h\"\n");
    let site = Site::start(sandbox, &["--no-worker"]);
    let inputs = [1, 2, 3].map(|number| site.upload(&format!("{number}.mp4"), &vec![7; 1000 * number]));
    site.submit(&json!({ "input": inputs[1] }));
    counted(&site, "waiting", 1);
    let long_ago = std::time::SystemTime::now() - Duration::from_hours(2);
    for folder in std::fs::read_dir(site.sandbox.path("state/uploads")).unwrap() {
        for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            std::fs::File::open(file.unwrap().path()).unwrap().set_modified(long_ago).unwrap();
        }
    }
    let site = site.restart();
    // The sweep is over when the room is counted.
    wait("uploads to be swept", || {
        let figures = site.ask("GET", "/metrics", b"").expect(200).text();
        figures.lines().any(|line| line == "forebay_upload_reserved_bytes 2000").then_some(())
    });
    let status = |input: &String| site.ask("GET", &input.replace("upload:", "/api/v1/uploads/"), b"").status;
    assert_eq!(inputs.each_ref().map(status), [404, 200, 404]);
}

#[test]
fn jobs_are_handed_in_once_listed_cancelled_and_retried() {
    let site = Site::start(Sandbox::new(), &["--no-worker"]);
    let send = |key: &str, job: &serde_json::Value| {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        site.send("POST", "/api/v1/jobs", &headers, job.to_string().as_bytes())
    };
    let job = |number: u32| json!({ "input": format!("https://films.example/{number}.mp4"), "title": format!("Film {number}") });
    let first = send("order-1", &job(1)).expect(201);
    let id = first.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(first.header("location"), Some(format!("/api/v1/jobs/{id}").as_str()));
    assert_eq!(send("order-1", &job(1)).expect(200).json()["id"], id.as_str());
    send("order-1", &job(2)).expect(422);
    for number in 3..40 {
        site.submit(&job(number));
    }
    let list = |query: &str| site.ask("GET", &format!("/api/v1/jobs?{query}"), b"").expect(200).json();
    wait("the jobs in the list", || (list("limit=1")["counts"]["waiting"] == 38).then_some(()));
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = list(&format!("limit=15&after={after}"));
        seen.extend(page["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen.len(), 38);
    let found = list("q=FILM%20/17.MP4");
    assert_eq!(found["jobs"].as_array().unwrap().len(), 1, "{found}");
    let cancelled = site.ask("POST", &format!("/api/v1/jobs/{id}/cancel"), b"").expect(200).json();
    assert_eq!(cancelled["state"], "cancelled");
    site.ask("POST", &format!("/api/v1/jobs/{id}/cancel"), b"").expect(409);
    assert_eq!(site.ask("POST", &format!("/api/v1/jobs/{id}/retry"), b"").expect(200).json()["state"], "waiting");
    for (path, status) in [
        ("jobs/nothing", 404),
        ("jobs?state=odd", 400),
        ("jobs?limit=0", 400),
        ("jobs?limit=1000", 400),
        ("jobs?after=odd", 400),
        ("jobs?colour=red", 400),
        ("nothing", 404),
    ] {
        let answer = site.ask("GET", &format!("/api/v1/{path}"), b"").expect(status);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}");
    }
    for body in ["", "[]", "{}", "{\"input\": 5}", "{\"input\": \"-x\"}", "{\"input\":\"https://a/\",\"odd\":1}"] {
        let status = site.ask("POST", "/api/v1/jobs", body.as_bytes()).status;
        assert!(status == 400 || status == 422, "{body}: {status}");
    }
}

/// The stream of events, after the one that was heard `last`.
fn listen(site: &Site, last: Option<&str>) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", site.port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let last = last.map(|last| format!("last-event-id: {last}\r\n")).unwrap_or_default();
    stream.write_all(format!("GET /api/v1/events HTTP/1.0\r\nhost: localhost\r\n{last}\r\n").as_bytes()).unwrap();
    BufReader::new(stream)
}

/// The id and the data of the next event of that name.
fn next(stream: &mut BufReader<TcpStream>, wanted: &str) -> (String, String) {
    let (mut event, mut id, mut data) = (String::new(), String::new(), String::new());
    for line in stream.lines().map(Result::unwrap) {
        match line.split_once(": ") {
            Some(("event", text)) => event = text.into(),
            Some(("id", text)) => id = text.into(),
            Some(("data", text)) => data = text.into(),
            _ if line.is_empty() && event == wanted => return (id, data),
            _ => {}
        }
    }
    panic!("the stream ended");
}

#[test]
fn a_webhook_that_hangs_keeps_no_other_waiting() {
    let sandbox = Sandbox::new();
    let (hangs, receiver) = (TcpListener::bind("127.0.0.1:0").unwrap(), Receiver::start(&[200]));
    let ports = [hangs.local_addr().unwrap().port(), receiver.port];
    let hosts = ports.map(|port| format!("127.0.0.1:{port}"));
    sandbox.config(&format!("[serve]\nprivate-hosts = {hosts:?}\n"));
    let site = Site::start(sandbox, &["--no-worker"]);
    for port in ports {
        let hook = json!({ "url": format!("http://127.0.0.1:{port}/") }).to_string();
        site.ask("POST", "/api/v1/webhooks", hook.as_bytes()).expect(201);
    }
    let begun = std::time::Instant::now();
    for number in 0..20 {
        let id = site.submit(&json!({ "input": format!("https://films.example/{number}.mp4") }));
        site.ask("POST", &format!("/api/v1/jobs/{id}/cancel"), b"").expect(200);
    }
    for _ in 0..20 {
        receiver.next();
    }
    // The other gives its first answer up after 15 s.
    assert!(begun.elapsed() < Duration::from_secs(14), "{:?}", begun.elapsed());
}

#[test]
fn a_queue_that_was_emptied_is_read_anew() {
    let url = RedisServer::shared();
    let site = Site::start(Sandbox::new(), &["--no-worker", "--queue", &url]);
    let job = |number: u32| json!({ "input": format!("https://films.example/{number}.mp4") });
    let old = [1, 2, 3].map(|number| site.submit(&job(number)));
    counted(&site, "waiting", 3);
    let mut stream = listen(&site, None);
    next(&mut stream, "counts");
    let flushed = Command::new("redis-cli").args(["-u", &url, "FLUSHDB"]).output().unwrap();
    assert!(flushed.status.success(), "{flushed:?}");
    // As many changes as before, so that the versions alone tell nothing.
    let new = [4, 5, 6, 7].map(|number| site.submit(&job(number)));
    next(&mut stream, "reset");
    let (last, told) = next(&mut stream, "jobs");
    assert!(new.iter().any(|id| told.contains(id)) && !old.iter().any(|id| told.contains(id)), "{told}");
    counted(&site, "waiting", 4);
    let listed = site.ask("GET", "/api/v1/jobs", b"").text();
    assert!(new.iter().all(|id| listed.contains(id)) && !old.iter().any(|id| listed.contains(id)), "{listed}");
    // Nothing comes after it: the silence is noticed too.
    let flushed = Command::new("redis-cli").args(["-u", &url, "FLUSHDB"]).output().unwrap();
    assert!(flushed.status.success(), "{flushed:?}");
    next(&mut stream, "reset");
    counted(&site, "waiting", 0);
    next(&mut listen(&site, Some(&last)), "reset");
}

#[test]
fn who_comes_back_hears_what_was_missed() {
    let site = Site::start(Sandbox::new(), &["--no-worker"]);
    let listen = |last: Option<&str>| listen(&site, last);
    let mut stream = listen(None);
    next(&mut stream, "counts");
    let one = site.submit(&json!({ "input": "https://films.example/1.mp4" }));
    let (last, data) = next(&mut stream, "jobs");
    assert!(data.contains(&one), "{data}");
    drop(stream);
    let two = site.submit(&json!({ "input": "https://films.example/2.mp4" }));
    wait("the second job in the list", || site.ask("GET", "/api/v1/jobs", b"").text().contains(&two).then_some(()));
    let (_, missed) = next(&mut listen(Some(&last)), "jobs");
    assert!(missed.contains(&two) && !missed.contains(&one), "{missed}");
    // A server that ends lets its listeners go.
    let mut stream = listen(None);
    next(&mut stream, "counts");
    site.running.signal(rustix::process::Signal::TERM);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert_eq!(site.running.wait().code, Some(0));
}

#[cfg(feature = "faults")]
#[test]
fn a_job_that_was_accepted_outlives_a_kill_before_the_answer() {
    let site = Site::start_with(Sandbox::new(), &["--no-worker"], &[("FOREBAY_FAULT_KILL", "job-accepted:3")]);
    let send = |site: &Site, number: u32| {
        let key = format!("key-{number}");
        let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
        let job = json!({ "input": format!("https://films.example/{number}.mp4") }).to_string();
        site.send("POST", "/api/v1/jobs", &headers, job.as_bytes())
    };
    send(&site, 1).expect(201);
    send(&site, 2).expect(201);
    send(&site, 3).expect(0);
    let site = site.restart();
    let known = |site: &Site| site.ask("GET", "/api/v1/jobs", b"").expect(200).json()["jobs"].as_array().unwrap().len();
    wait("three jobs", || (known(&site) == 3).then_some(()));
    // Who had no answer asks again, and it is the same job.
    send(&site, 3).expect(200);
    assert_eq!(known(&site), 3);
}

#[cfg(feature = "faults")]
#[test]
fn an_upload_that_was_whole_outlives_a_kill() {
    let site = Site::start_with(Sandbox::new(), &["--no-worker"], &[("FOREBAY_FAULT_KILL", "upload-whole")]);
    let tus = ("tus-resumable", "1.0.0");
    let begun = site.send("POST", "/api/v1/uploads", &[tus, ("upload-length", "50000")], b"").expect(201);
    let place = begun.header("location").unwrap().to_owned();
    let piece = ("content-type", "application/offset+octet-stream");
    site.send("PATCH", &place, &[tus, ("upload-offset", "0"), piece], &vec![5; 50_000]).expect(0);
    let site = site.restart();
    let head = site.send("HEAD", &place, &[tus], b"").expect(200);
    assert_eq!(head.header("upload-offset"), Some("50000"), "what is on disk is not sent again");
    assert_eq!(site.ask("GET", &place, b"").expect(200).json()["complete"], true);
}

#[test]
fn webhooks_outlive_a_restart_and_can_be_replayed() {
    let sandbox = Sandbox::new();
    let receiver = Receiver::start(&[500, 200]);
    sandbox.config("[serve]\nprivate-hosts = [\"127.0.0.1\"]\n");
    let hook = format!("http://127.0.0.1:{}/", receiver.port);
    sandbox.forebay(["webhook", "add", &hook, "--state", "state"]).expect(0);
    let site = Site::start(sandbox, &["--no-worker"]);
    let id = site.submit(&json!({ "input": "https://films.example/1.mp4" }));
    site.ask("POST", &format!("/api/v1/jobs/{id}/cancel"), b"").expect(200);
    let first = receiver.next();
    assert_eq!(first.json()["type"], "job.cancelled");
    let site = site.restart();
    let again = receiver.next();
    assert_eq!(again.header("webhook-id"), first.header("webhook-id"));
    wait("the outbox to be empty", || {
        let hooks = site.ask("GET", "/api/v1/webhooks", b"").expect(200).json();
        (hooks["webhooks"][0]["waiting"] == 0).then_some(())
    });
    let run = site.sandbox.forebay(["webhook", "replay", "--state", "state"]).expect(0);
    assert!(run.stderr.contains("1 messages"), "{}", run.stderr);
    assert_eq!(receiver.next().header("webhook-id"), first.header("webhook-id"));
}

#[test]
fn figures_are_as_prometheus_wants_them() {
    let site = Site::start(Sandbox::new(), &["--no-worker"]);
    site.submit(&json!({ "input": "https://films.example/1.mp4" }));
    assert_eq!(site.ask("GET", "/healthz", b"").expect(200).text(), "ok\n");
    site.ask("GET", "/readyz", b"").expect(200);
    let text = wait("the job in the figures", || {
        let text = site.ask("GET", "/metrics", b"").expect(200).text();
        text.contains("forebay_jobs{state=\"waiting\"} 1\n").then_some(text)
    });
    let mut kinds = std::collections::BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} {kind}");
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let name = name.split('{').next().unwrap();
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            assert!(kinds.contains_key(name) || base.is_some_and(|base| kinds.contains_key(base)), "{line}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }
}
