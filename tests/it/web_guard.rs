//! What the server refuses: strangers, other pages, names that are not its own, and paths that lead out.

use std::io::Write as _;
use std::net::TcpStream;

use serde_json::json;

use crate::support::sandbox::Sandbox;
use crate::support::site::{Receiver, Site, wait};

#[test]
fn nobody_beyond_this_machine_gets_in_without_a_token() {
    let sandbox = Sandbox::new();
    let run = sandbox.forebay(["serve", "--listen", "0.0.0.0:0", "--state", "state"]).expect(2);
    assert!(run.stderr.contains("there is no token") && run.stderr.contains("forebay token add"), "{}", run.stderr);
    let run = sandbox.forebay(["token", "add", "ann", "--scope", "everything", "--state", "state"]).expect(2);
    assert!(run.stderr.contains("`read`, `submit` or `admin`"), "{}", run.stderr);
    sandbox.forebay(["token", "add", "../x", "--scope", "read", "--state", "state"]).expect(2);
    sandbox.forebay(["token", "revoke", "nobody", "--state", "state"]).expect(2);
}

#[cfg(feature = "faults")]
#[test]
fn an_upload_that_fills_the_disk_is_refused_and_leaves_room_for_others() {
    let Some(unshare) = crate::full_disk::unshare() else { return };
    let site = Site::start_on_disk(Sandbox::new(), unshare, 6000);
    let (large, small) = (vec![7; 9_000_000], vec![7; 300_000]);
    for _ in 0..2 {
        let answer = site.ask("PUT", "/api/v1/uploads/large.mp4", &large).expect(507);
        assert!(answer.text().contains("the server's disk is full"), "{}", answer.text());
        assert!(answer.header("retry-after").is_some());
    }
    // What came by tus is kept, as it may go on when there is room again, or be given up.
    let (tus, length) = (("tus-resumable", "1.0.0"), ("upload-length", "9000000"));
    let made = site.send("POST", "/api/v1/uploads", &[tus, length], b"").expect(201);
    let place = made.header("location").unwrap();
    let patch = [tus, ("upload-offset", "0"), ("content-type", "application/offset+octet-stream")];
    site.send("PATCH", place, &patch, &large).expect(507);
    let head = site.send("HEAD", place, &[tus], b"").expect(200);
    let offset: usize = head.header("upload-offset").unwrap().parse().unwrap();
    assert!((1_000_000..9_000_000).contains(&offset), "{offset}");
    site.send("DELETE", place, &[tus], b"").expect(204);
    site.ask("PUT", "/api/v1/uploads/small.mp4", &small).expect(201);
    site.ask("GET", "/readyz", b"").expect(200);
}

#[test]
fn a_token_opens_what_its_scope_says() {
    let site = Site::start(Sandbox::new(), &["--no-worker"]);
    // Until there is a token, this machine's user needs none.
    site.ask("GET", "/api/v1/jobs", b"").expect(200);
    let tokens = [
        ("read", site.add_token("r", "read")),
        ("submit", site.add_token("s", "submit")),
        ("admin", site.add_token("a", "admin")),
    ];
    site.ask("GET", "/api/v1/jobs", b"").expect(401);
    let hook = json!({ "url": "https://site.example/" }).to_string();
    for (method, path, body, allowed) in [
        ("GET", "/api/v1/jobs", "", "read admin"),
        ("GET", "/metrics", "", "read admin"),
        ("GET", "/api/v1/timeline", "", "read admin"),
        ("POST", "/api/v1/grants", "{\"video\":\"v\"}", "submit admin"),
        ("PUT", "/api/v1/uploads/a.mp4", "x", "submit admin"),
        ("POST", "/api/v1/webhooks", hook.as_str(), "admin"),
        ("GET", "/api/v1/webhooks", "", "admin"),
    ] {
        for (scope, token) in &tokens {
            let bearer = format!("Bearer {token}");
            let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
            let status = site.send(method, path, &headers, body.as_bytes()).status;
            let expected = allowed.split(' ').any(|one| one == *scope);
            assert_eq!(status < 300, expected, "{method} {path} with {scope}: {status}");
            assert!(expected || status == 403, "{method} {path} with {scope}: {status}");
        }
        assert_eq!(site.send(method, path, &[], body.as_bytes()).status, 401, "{method} {path}");
    }
    for bad in ["Bearer", "Bearer x", "Bearer fby_00000000_x", "Basic YTpi"] {
        site.send("GET", "/api/v1/jobs", &[("authorization", bad)], b"").expect(401);
    }
    // A server file is an administrator's to name; a token that is revoked is worthless at once.
    let bearer = format!("Bearer {}", tokens[1].1);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    site.send("POST", "/api/v1/jobs", &headers, b"{\"input\":\"/etc/passwd\"}").expect(403);
    site.sandbox.forebay(["token", "revoke", "s", "--state", "state"]).expect(0);
    site.send("PUT", "/api/v1/uploads/a.mp4", &headers, b"x").expect(401);
    let listed = site.sandbox.forebay(["token", "list", "--state", "state"]).expect(0).stdout;
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert!(tokens.iter().all(|(_, token)| !listed.contains(token.as_str())), "{listed}");
}

#[test]
fn a_login_becomes_a_cookie_that_only_our_page_can_use() {
    let site = Site::start(Sandbox::new(), &["--no-worker"]);
    let token = site.add_token("ann", "admin");
    let body = json!({ "token": token }).to_string();
    let host = format!("127.0.0.1:{}", site.port);
    let ours = format!("http://{host}");
    let json_type = ("content-type", "application/json");
    site.send("POST", "/api/v1/login", &[json_type], b"{\"token\":\"fby_00000000_x\"}").expect(401);
    site.send("POST", "/api/v1/login", &[json_type, ("origin", "https://evil.example")], body.as_bytes()).expect(403);
    let answer = site.send("POST", "/api/v1/login", &[json_type, ("origin", &ours)], body.as_bytes()).expect(200);
    let cookie = answer.header("set-cookie").unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains(&token), "the token itself is not in it");
    let cookie = cookie.split(';').next().unwrap();
    let job = json!({ "input": "https://films.example/1.mp4" }).to_string();
    let post = |more: &[(&str, &str)]| {
        let headers: Vec<_> = [("cookie", cookie)].into_iter().chain(more.iter().copied()).collect();
        site.send("POST", "/api/v1/jobs", &headers, job.as_bytes()).status
    };
    assert_eq!(post(&[json_type, ("origin", &ours)]), 201);
    assert_eq!(post(&[json_type, ("sec-fetch-site", "same-origin")]), 200);
    for (what, headers) in [
        ("another page", vec![json_type, ("origin", "https://evil.example")]),
        ("another port", vec![json_type, ("origin", "http://127.0.0.1:1")]),
        ("a frame without origin", vec![json_type, ("origin", "null")]),
        ("another site", vec![json_type, ("sec-fetch-site", "cross-site"), ("origin", ours.as_str())]),
        ("a sister site", vec![json_type, ("sec-fetch-site", "same-site")]),
        ("no origin at all", vec![json_type]),
    ] {
        assert_eq!(post(&headers), 403, "{what}");
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        assert_eq!(post(&[("content-type", kind), ("origin", &ours)]), 415, "{kind}");
    }
    let forged = format!("{cookie}x");
    site.send("GET", "/api/v1/jobs", &[("cookie", &forged)], b"").expect(401);
    site.send("GET", "/api/v1/jobs", &[("cookie", cookie)], b"").expect(200);
    site.add_token("bob", "read");
    site.sandbox.forebay(["token", "revoke", "ann", "--state", "state"]).expect(0);
    site.send("GET", "/api/v1/jobs", &[("cookie", cookie)], b"").expect(401);
}

#[test]
fn pages_of_others_cannot_use_a_server_without_tokens() {
    let site = Site::start(Sandbox::new(), &["--no-worker"]);
    let json_type = ("content-type", "application/json");
    let job = json!({ "input": "https://films.example/1.mp4" }).to_string();
    for headers in [
        vec![json_type, ("origin", "https://evil.example")],
        vec![json_type, ("sec-fetch-site", "cross-site")],
        vec![("content-type", "text/plain"), ("origin", "https://evil.example")],
    ] {
        site.send("POST", "/api/v1/jobs", &headers, job.as_bytes()).expect(403);
    }
    site.send("POST", "/api/v1/jobs", &[("content-type", "text/plain")], job.as_bytes()).expect(415);
    // A name that somebody made lead here.
    for host in ["evil.example", "127.0.0.1.evil.example:80", "localhost.evil.example", "", "a b"] {
        for path in ["/", "/api/v1/jobs", "/healthz"] {
            let status = site.send("GET", path, &[("host", host)], b"").status;
            assert!(status == 421 || status == 400, "{host} {path}: {status}");
        }
    }
    for host in ["localhost", "localhost:1234", "127.0.0.1", "[::1]:9"] {
        site.send("GET", "/api/v1/jobs", &[("host", host)], b"").expect(200);
    }
}

#[test]
fn every_answer_tells_browsers_what_it_may_do() {
    let sandbox = Sandbox::new();
    sandbox.config("[serve]\norigins = [\"https://www.example.org\"]\n");
    let site = Site::start(sandbox, &["--no-worker"]);
    for path in ["/", "/api/v1/jobs", "/nothing", "/media/a/master.m3u8", "/keys/a/b", "/metrics"] {
        let answer = site.ask("GET", path, b"");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self';"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
    }
    let from = |path: &str, origin: &str| site.send("GET", path, &[("origin", origin)], b"");
    let shared = from("/keys/a/b", "https://www.example.org");
    assert_eq!(shared.header("access-control-allow-origin"), Some("https://www.example.org"));
    assert_eq!(from("/keys/a/b", "https://evil.example").header("access-control-allow-origin"), None);
    assert_eq!(from("/api/v1/jobs", "https://www.example.org").status, 403, "the API is not shared");
    let page = site.ask("GET", "/", b"").text();
    assert!(!page.contains("<script>") && !page.contains("onclick") && !page.contains("style="), "{page}");
}

#[test]
fn no_path_leads_out_of_the_media() {
    let site = Site::start(Sandbox::new(), &["--no-worker"]);
    let media = site.sandbox.path("state/media");
    std::fs::create_dir_all(media.join("film/gen")).unwrap();
    std::fs::write(media.join("film/master.m3u8"), "#EXTM3U\n").unwrap();
    std::fs::write(media.join("film/secret.txt"), "secret").unwrap();
    std::fs::write(media.join(".hidden.json"), "secret").unwrap();
    site.sandbox.write("state/outside.json", "secret");
    std::os::unix::fs::symlink(site.sandbox.path("state/outside.json"), media.join("film/link.json")).unwrap();
    site.ask("GET", "/media/film/master.m3u8", b"").expect(200);
    for path in [
        "../outside.json",
        "film/../../outside.json",
        "%2e%2e/outside.json",
        "film/..%2f..%2foutside.json",
        "film/%2e%2e/%2e%2e/outside.json",
        "/etc/passwd",
        "film//master.m3u8",
        "film/link.json",
        "film/secret.txt",
        ".hidden.json",
        "film/gen",
        "film/",
        "film%00.json",
        "film/master.m3u8%00.json",
        "..%5coutside.json",
        "%252e%252e/outside.json",
    ] {
        let answer = site.ask("GET", &format!("/media/{path}"), b"");
        assert!(answer.status == 404 || answer.status == 400, "{path}: {}", answer.status);
        assert!(!answer.text().contains("secret"), "{path}");
    }
    for path in [
        "/keys/..%2f..%2fserve.db/00000000000000000000000000000000",
        "/keys/a/..%2fmaster",
        "/assets/..%2findex.html",
        "/api/v1/uploads/..%2f..%2fserve.db",
    ] {
        let answer = site.ask("GET", path, b"");
        assert_eq!(answer.status, 404, "{path}");
    }
}

#[test]
fn webhooks_do_not_reach_into_private_networks() {
    let receiver = Receiver::start(&[200]);
    let site = Site::start(Sandbox::new(), &["--no-worker"]);
    for url in [
        format!("http://127.0.0.1:{}/", receiver.port),
        format!("http://localhost:{}/", receiver.port),
        format!("http://[::ffff:127.0.0.1]:{}/", receiver.port),
        format!("http://2130706433:{}/", receiver.port),
        format!("http://0:{}/", receiver.port),
    ] {
        let body = json!({ "url": url }).to_string();
        site.ask("POST", "/api/v1/webhooks", body.as_bytes()).expect(201);
    }
    for url in ["file:///etc/passwd", "gopher://x/", "http://a:b@site.example/", "nonsense"] {
        site.ask("POST", "/api/v1/webhooks", json!({ "url": url }).to_string().as_bytes()).expect(422);
    }
    let id = site.submit(&json!({ "input": "https://films.example/1.mp4" }));
    site.ask("POST", &format!("/api/v1/jobs/{id}/cancel"), b"").expect(200);
    wait("every try to fail", || {
        let hooks = site.ask("GET", "/api/v1/webhooks", b"").expect(200).json()["webhooks"].clone();
        let failed = |hook: &serde_json::Value| {
            matches!(hook["last"].as_str(), Some("it leads into a private network" | "it could not be reached"))
        };
        hooks.as_array().unwrap().iter().all(failed).then_some(())
    });
    assert!(receiver.messages.try_recv().is_err(), "nobody was reached");
}

/// Connections of strangers who say nothing, or half of it: more than the server may have files open.
#[test]
fn strangers_who_only_connect_keep_nobody_out() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command("sh");
    command.args(["-c", "ulimit -n 128 && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_forebay"), "serve", "--no-worker"]);
    command.args(["--listen", "127.0.0.1:0", "--state", "state"]);
    let site = Site::of(command, sandbox);
    let strangers: Vec<_> = (0..120)
        .map(|number| {
            let mut stream = TcpStream::connect(("127.0.0.1", site.port)).unwrap();
            let half = if number % 2 == 0 { "" } else { "GET / HTTP/1.1\r\nhost: localhost\r\n" };
            stream.write_all(half.as_bytes()).unwrap();
            stream
        })
        .collect();
    site.ask("GET", "/healthz", b"").expect(200);
    drop(strangers);
}

#[test]
fn too_many_requests_are_slowed_down() {
    let sandbox = Sandbox::new();
    sandbox.config("[serve]\nrate = 3\n");
    let site = Site::start(sandbox, &["--no-worker"]);
    let statuses: Vec<_> = (0..12).map(|_| site.ask("GET", "/api/v1/jobs", b"")).collect();
    let slowed: Vec<_> = statuses.iter().filter(|answer| answer.status == 429).collect();
    assert!(!slowed.is_empty() && statuses[0].status == 200);
    assert_eq!(slowed[0].header("retry-after"), Some("1"));
}
