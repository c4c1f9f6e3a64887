//! Pictures by mail: a real server with TLS and a login, and message files.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use sha2::{Digest as _, Sha256};

use crate::support::sandbox::{Run, Sandbox};

/// aiosmtpd as a child. Dropped, it is gone.
struct MailServer {
    child: Child,
    port: u16,
    folder: PathBuf,
}

impl MailServer {
    fn start(sandbox: &Sandbox) -> Self {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = sandbox.path("inbox");
        fs::create_dir_all(&folder).unwrap();
        let subject = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
        let names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
        let rest = ["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", "key.pem", "-out", "ca.pem"];
        let made = sandbox.command("openssl").args(subject).args(names).args(rest).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(root.join("target/test-venv/bin/python3"))
            .arg(root.join("tests/it/support/smtp.py"))
            .args([folder.as_path(), &sandbox.path("ca.pem"), &sandbox.path("key.pem")])
            .arg(port.to_string())
            .stdout(Stdio::null())
            .spawn()
            .expect("scripts/setup.sh --test installs it");
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_mins(1), "the mail server does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, port, folder }
    }

    fn config(&self, sandbox: &Sandbox) {
        let authority = sandbox.path("ca.pem");
        sandbox.config(&format!(
            "[mail]\nserver = \"localhost\"\nport = {}\nauthority = \"{}\"\nuser = \"ann\"\nfrom = \"ann@example.org\"\n",
            self.port,
            authority.display()
        ));
    }

    fn messages(&self) -> Vec<Message> {
        let mut paths: Vec<_> = fs::read_dir(&self.folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.iter().map(|path| Message::read(&fs::read_to_string(path).unwrap())).collect()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A message as a mail program would see it.
#[derive(Debug)]
struct Message {
    id: String,
    bytes: usize,
    /// SHA-256 of each attachment, by name.
    attachments: BTreeMap<String, String>,
}

impl Message {
    fn read(text: &str) -> Self {
        let quoted = |after: &str, text: &str| {
            let rest = text.split(after).nth(1)?;
            rest.split('"').next().map(str::to_owned)
        };
        let id = text.lines().find_map(|line| line.strip_prefix("Message-ID: ")).unwrap().trim().to_owned();
        let border = quoted("boundary=\"", text).unwrap();
        let mut attachments = BTreeMap::new();
        for part in text.split(&format!("--{border}")) {
            let (head, body) = part.trim_start().split_once("\r\n\r\n").unwrap_or_default();
            let Some(name) = quoted("filename=\"", head) else { continue };
            let base64: String = body.split_whitespace().collect();
            let bytes = base64::engine::general_purpose::STANDARD.decode(base64).unwrap();
            attachments.insert(name, hex::encode(Sha256::digest(bytes)));
        }
        Self { id, bytes: text.len(), attachments }
    }
}

const MAIL: [&str; 10] =
    ["photos", "in", "--to", "out", "--max-size", "60kB", "--mail", "bob@example.org", "--mail-limit", "200kB"];

/// Pictures that are made to fit, a few to a message.
fn card(sandbox: &Sandbox, pictures: usize) {
    for number in 0..pictures {
        let size = format!("{}x200", 300 + number);
        let noise = ["-size", &size, "xc:teal", "-attenuate", "0.5", "+noise", "gaussian", "-quality", "96"];
        fs::create_dir_all(sandbox.path("in")).unwrap();
        let made = sandbox.command("convert").args(noise).arg(format!("in/{number}.jpg")).status().unwrap();
        assert!(made.success());
    }
}

fn stored(sandbox: &Sandbox) -> BTreeMap<String, String> {
    let entries = fs::read_dir(sandbox.path("out")).unwrap().map(|entry| entry.unwrap().path());
    let digest = |path: PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, hex::encode(Sha256::digest(fs::read(path).unwrap())))
    };
    entries.map(digest).collect()
}

/// Removes what a killed run was writing just then: it has no picture's name. Other runs leave nothing like it.
fn clear_away(sandbox: &Sandbox) {
    for path in fs::read_dir(sandbox.path("out")).unwrap().map(|entry| entry.unwrap().path()) {
        if path.to_string_lossy().ends_with(".forebay-tmp") {
            fs::remove_file(path).unwrap();
        }
    }
}

#[track_caller]
fn every_picture_once(sandbox: &Sandbox, messages: &[Message]) {
    let sent: Vec<_> = messages.iter().flat_map(|message| message.attachments.clone()).collect();
    let stored = stored(sandbox);
    assert_eq!(sent.len(), stored.len(), "{messages:?}");
    assert_eq!(sent.into_iter().collect::<BTreeMap<_, _>>(), stored);
    assert!(messages.iter().all(|message| message.bytes <= 200_000), "{messages:?}");
}

fn mail(sandbox: &Sandbox, password: &str) -> Run {
    sandbox.start_with(MAIL, &[("FOREBAY_MAIL_PASSWORD", password)]).wait()
}

#[test]
fn messages_reach_a_server_by_tls_with_a_login_and_only_once() {
    let sandbox = Sandbox::new();
    let server = MailServer::start(&sandbox);
    server.config(&sandbox);
    card(&sandbox, 6);
    let run = mail(&sandbox, "wrong").expect(3);
    assert!(run.stderr.contains("535") && run.stderr.contains("FOREBAY_MAIL_PASSWORD"), "{}", run.stderr);
    assert!(!run.stderr.contains("wrong") && server.messages().is_empty());
    assert_eq!(stored(&sandbox).len(), 6, "the pictures are made all the same");
    // The first message meets a server that is busy, and waits a moment.
    fs::write(server.folder.join("busy"), "").unwrap();
    let run = mail(&sandbox, "s3cret").expect(0);
    assert!(run.stderr.contains("6 already done"), "{}", run.stderr);
    let messages = server.messages();
    assert!(messages.len() >= 2, "{messages:?}");
    every_picture_once(&sandbox, &messages);
    mail(&sandbox, "s3cret").expect(0);
    assert_eq!(server.messages().len(), messages.len(), "what was mailed is not mailed again");
    let traces = sandbox.path(".forebay/photos/photos.db");
    assert!(!String::from_utf8_lossy(&fs::read(traces).unwrap()).contains("s3cret"));
}

#[test]
fn a_message_that_was_sent_before_a_kill_can_be_told_from_a_new_one() {
    let sandbox = Sandbox::new();
    let server = MailServer::start(&sandbox);
    server.config(&sandbox);
    card(&sandbox, 2);
    let variables = [("FOREBAY_MAIL_PASSWORD", "s3cret"), ("FOREBAY_FAULT_KILL", "photo-mailed")];
    assert_eq!(sandbox.start_with(MAIL, &variables).wait().signal, Some(9));
    clear_away(&sandbox);
    mail(&sandbox, "s3cret").expect(0);
    let messages = server.messages();
    let [first, second] = messages.as_slice() else { panic!("{messages:?}") };
    assert_eq!(first.id, second.id, "mail programs show one of them");
    every_picture_once(&sandbox, &messages[1..]);
}

#[test]
fn a_message_of_a_killed_run_goes_once_more_as_it_was_whatever_is_done_first_now() {
    let sandbox = Sandbox::new();
    let server = MailServer::start(&sandbox);
    server.config(&sandbox);
    card(&sandbox, 6);
    // The first run takes the pictures in another order, as chance may have it.
    let backwards: Vec<_> = (0..6).rev().map(|number| format!("in/{number}.jpg")).collect();
    let first = [&["photos"], &backwards.iter().map(String::as_str).collect::<Vec<_>>()[..], &MAIL[2..]].concat();
    let variables = [("FOREBAY_MAIL_PASSWORD", "s3cret"), ("FOREBAY_FAULT_KILL", "photo-mailed")];
    assert_eq!(sandbox.start_with(first, &variables).wait().signal, Some(9));
    clear_away(&sandbox);
    mail(&sandbox, "s3cret").expect(0);
    let messages = server.messages();
    let (before, after) = messages.split_first().unwrap();
    let again = after.iter().find(|message| message.id == before.id).expect("the id is used again");
    assert_eq!(again.attachments, before.attachments, "it is the same message");
    every_picture_once(&sandbox, after);
}

#[test]
fn a_message_of_a_killed_run_that_is_too_large_now_is_sent_in_parts() {
    let sandbox = Sandbox::new();
    card(&sandbox, 4);
    sandbox.config("[mail]\nfrom = \"ann@example.org\"\n");
    let arguments = |limit: &'static str, folder: &'static str| {
        let mut arguments = MAIL.to_vec();
        arguments.pop();
        arguments.extend([limit, "--eml", folder]);
        arguments
    };
    let kill = [("FOREBAY_FAULT_KILL", "photo-mailed")];
    assert_eq!(sandbox.start_with(arguments("1MB", "first"), &kill).wait().signal, Some(9));
    clear_away(&sandbox);
    sandbox.forebay(arguments("100kB", "second")).expect(0);
    let messages: Vec<_> = fs::read_dir(sandbox.path("second")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(messages.len() >= 2, "{messages:?}");
    assert!(messages.iter().all(|path| fs::metadata(path).unwrap().len() <= 100_000), "{messages:?}");
    let messages: Vec<_> = messages.iter().map(|path| Message::read(&fs::read_to_string(path).unwrap())).collect();
    every_picture_once(&sandbox, &messages);
}

#[test]
fn a_server_that_is_not_trusted_gets_no_password() {
    let sandbox = Sandbox::new();
    let server = MailServer::start(&sandbox);
    card(&sandbox, 1);
    let settings =
        format!("[mail]\nserver = \"localhost\"\nport = {}\nuser = \"ann\"\nfrom = \"a@b.org\"\n", server.port);
    sandbox.config(&settings);
    let run = mail(&sandbox, "s3cret").expect(3);
    assert!(run.stderr.contains("certificate") || run.stderr.contains("invalid peer"), "{}", run.stderr);
    sandbox.config(&settings.replace("localhost", "mail.example.org").replace("user", "encryption = \"none\"\nuser"));
    let run = mail(&sandbox, "s3cret").expect(2);
    assert!(run.stderr.contains("without TLS"), "{}", run.stderr);
}

/// Settings for a mail server on this machine that nobody has to trust.
fn plain_server(sandbox: &Sandbox, port: u16) {
    let settings = "encryption = \"none\"\nserver = \"127.0.0.1\"\nfrom = \"ann@example.org\"\n";
    sandbox.config(&format!("[mail]\n{settings}port = {port}\n[shutdown]\ngrace = \"100ms\"\n"));
}

#[test]
fn a_run_that_is_stopped_while_it_mails_is_no_failure_and_no_success() {
    let sandbox = Sandbox::new();
    // A server that takes the call and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    plain_server(&sandbox, silent.local_addr().unwrap().port());
    card(&sandbox, 2);
    let mut running = sandbox.start([&MAIL[..], &["--json"]].concat());
    silent.set_nonblocking(true).unwrap();
    let call = loop {
        match silent.accept() {
            Ok(call) => break call,
            Err(_) => assert!(running.ended().is_none(), "{}", running.said()),
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    running.signal(rustix::process::Signal::INT);
    let run = running.wait().expect(130);
    drop(call);
    let events = run.events();
    let last = events.last().unwrap();
    assert_eq!((&last["unsent"], &last["failed"], &last["stopped"]), (&2.into(), &0.into(), &true.into()), "{last}");
    assert!(run.stderr.contains("2 to be mailed by the next run"), "{}", run.stderr);
    assert!(!run.stderr.contains("fail "), "{}", run.stderr);
}

#[test]
fn a_server_that_is_down_or_dumb_delays_one_message_and_not_all() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let limits = [("FOREBAY_FAULT_MAIL_WAIT", "1"), ("FOREBAY_FAULT_MAIL_GREETING", "200")];
    let sandbox = Sandbox::new();
    plain_server(&sandbox, port);
    card(&sandbox, 6);
    let check = |why: &str| {
        let run = sandbox.start_with(MAIL, &limits).wait().expect(3);
        assert_eq!(run.stderr.matches("; again in ").count(), 3, "{}", run.stderr);
        let failed: Vec<_> = run.stderr.lines().filter(|line| line.starts_with("fail  ")).collect();
        assert!(failed.len() >= 2 && failed.iter().all(|line| line.matches(why).count() == 1), "{}", run.stderr);
    };
    check("does not answer");
    drop(silent);
    check("refused");
}

#[test]
fn messages_can_be_files_for_a_mail_program() {
    let sandbox = Sandbox::new();
    card(&sandbox, 4);
    sandbox.config("[mail]\nfrom = \"Ann <ann@example.org>\"\n");
    let arguments = [&MAIL[..], &["--eml", "outbox"]].concat();
    sandbox.forebay(&arguments).expect(0);
    let read = || {
        let entries = fs::read_dir(sandbox.path("outbox")).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| Message::read(&fs::read_to_string(path).unwrap())).collect::<Vec<_>>()
    };
    every_picture_once(&sandbox, &read());
    let count = read().len();
    sandbox.forebay(&arguments).expect(0);
    assert_eq!(read().len(), count);
    let run = sandbox.forebay(MAIL).expect(2);
    assert!(run.stderr.contains("mail.server") && run.stderr.contains("--eml"), "{}", run.stderr);
    let large = ["photos", "in", "--to", "out", "--mail", "bob@example.org", "--mail-limit", "1MB", "--eml", "o"];
    let run = sandbox.forebay(large).expect(2);
    assert!(run.stderr.contains("--max-size"), "{}", run.stderr);
}
