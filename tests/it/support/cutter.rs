//! A proxy in front of a store that breaks a part of what goes through it.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::SockRef;

/// What happens to requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// Three in ten are answered 503.
    Busy,
    /// Three in ten reach the store, and their answer is lost.
    Lost,
    /// Three in ten are cut in the middle of the answer, after it began.
    Cut,
    /// Three in ten are reset: in the middle of what is sent, or in the middle of the answer.
    Reset,
    /// One in ten is answered 503, or its answer is lost, or is cut in the middle.
    Tenth,
    /// All are cut at once.
    Down,
    /// All are answered, but not at once.
    Late,
    /// All are taken, and none is answered.
    Silent,
}

/// The proxy. Dropping it ends it.
pub(crate) struct Cutter {
    pub(crate) port: u16,
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

struct Shared {
    behind: u16,
    fault: Mutex<Fault>,
    requests: AtomicU64,
    ended: AtomicBool,
}

impl Cutter {
    /// Before the server on port `behind`.
    pub(crate) fn before(behind: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (requests, ended) = (AtomicU64::new(0), AtomicBool::new(false));
        let shared = Arc::new(Shared { behind, fault: Mutex::new(Fault::None), requests, ended });
        let serving = Arc::clone(&shared);
        let listening = thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.ended.load(Ordering::SeqCst) {
                    return;
                }
                let (stream, shared) = (stream.unwrap(), Arc::clone(&serving));
                // What goes wrong on a connection is what its client is tested with.
                thread::spawn(move || pass(stream, &shared).unwrap_or_default());
            }
        });
        Self { port, shared, listening: Some(listening) }
    }

    pub(crate) fn set(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap() = fault;
    }

    /// Requests that came so far.
    pub(crate) fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        TcpStream::connect(("127.0.0.1", self.port)).map(drop).unwrap_or_default();
        self.listening.take().unwrap().join().unwrap();
    }
}

/// Passes one request on, or does not.
fn pass(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap_or(0),
            // One request a connection is enough here.
            "connection" => continue,
            _ => {}
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    head.push_str("connection: close\r\n\r\n");
    let number = shared.requests.fetch_add(1, Ordering::SeqCst);
    let asked = *shared.fault.lock().unwrap();
    let fault = match asked {
        Fault::Tenth if number % 10 == 3 => {
            [Fault::Busy, Fault::Lost, Fault::Cut][usize::try_from(number / 10 % 3).unwrap()]
        }
        Fault::Tenth => Fault::None,
        other => other,
    };
    let hit = asked == Fault::Tenth || [2, 5, 9].contains(&(number.wrapping_mul(7) % 10));
    if fault == Fault::Down {
        return client.shutdown(Shutdown::Both);
    }
    let reset = hit && fault == Fault::Reset;
    let mut body = vec![0; length];
    if reset && length > 1 && number.is_multiple_of(2) {
        reader.read_exact(&mut body[..length / 2])?;
        return SockRef::from(&client).set_linger(Some(Duration::ZERO));
    }
    reader.read_exact(&mut body)?;
    if hit && fault == Fault::Busy {
        let answer = "HTTP/1.1 503 Slow Down\r\nretry-after: 0\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        return client.write_all(answer.as_bytes());
    }
    if fault == Fault::Silent {
        while *shared.fault.lock().unwrap() == Fault::Silent && !shared.ended.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(20));
        }
        return client.shutdown(Shutdown::Both);
    }
    if fault == Fault::Late {
        thread::sleep(Duration::from_millis(250));
    }
    let mut server = TcpStream::connect(("127.0.0.1", shared.behind))?;
    server.write_all(head.as_bytes())?;
    server.write_all(&body)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    let sent = match fault {
        Fault::Lost if hit => 0,
        Fault::Cut | Fault::Reset if hit => answer.len() * 2 / 3,
        _ => answer.len(),
    };
    client.write_all(answer.get(..sent).unwrap_or_default())?;
    if reset {
        return SockRef::from(&client).set_linger(Some(Duration::ZERO));
    }
    client.shutdown(Shutdown::Both)
}
