//! A proxy in front of any server that passes bytes on as they come, and cuts.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

/// The proxy. It ends with the process.
pub(crate) struct Pipe {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    behind: u16,
    /// Bytes, both ways together, after which a connection is reset.
    after: AtomicU64,
    /// Connections that will be reset.
    cuts: AtomicU64,
    /// Connections that came.
    came: AtomicU64,
    down: AtomicBool,
}

impl Pipe {
    /// Before the server on port `behind`.
    pub(crate) fn before(behind: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (after, cuts, came) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let shared = Arc::new(Shared { behind, after, cuts, came, down: AtomicBool::new(false) });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, shared) = (client.unwrap(), Arc::clone(&serving));
                shared.came.fetch_add(1, Ordering::SeqCst);
                // What goes wrong on a connection is what its client is tested with.
                thread::spawn(move || pass(&client, &shared).unwrap_or_default());
            }
        });
        Self { port, shared }
    }

    /// Resets each of the next connections after so many bytes.
    pub(crate) fn cut(&self, connections: u64, after: u64) {
        self.shared.after.store(after, Ordering::SeqCst);
        self.shared.cuts.store(connections, Ordering::SeqCst);
    }

    /// Resets every connection at once, or no more.
    pub(crate) fn down(&self, down: bool) {
        self.shared.down.store(down, Ordering::SeqCst);
    }

    /// Connections that will still be reset.
    pub(crate) fn cuts_left(&self) -> u64 {
        self.shared.cuts.load(Ordering::SeqCst)
    }

    /// Connections that came so far.
    pub(crate) fn connections(&self) -> u64 {
        self.shared.came.load(Ordering::SeqCst)
    }
}

/// Ends a connection as a broken line does.
fn reset(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
    stream.shutdown(std::net::Shutdown::Both)
}

fn pass(client: &TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    if shared.down.load(Ordering::SeqCst) {
        return reset(client);
    }
    let server = TcpStream::connect(("127.0.0.1", shared.behind))?;
    let passed = AtomicU64::new(0);
    thread::scope(|scope| {
        for (from, to) in [(client, &server), (&server, client)] {
            let passed = &passed;
            scope.spawn(move || {
                copy(from, to, passed, shared).unwrap_or_default();
                // The other direction ends with it.
                for end in [from, to] {
                    reset(end).unwrap_or_default();
                }
            });
        }
    });
    Ok(())
}

fn copy(mut from: &TcpStream, mut to: &TcpStream, passed: &AtomicU64, shared: &Shared) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let all = passed.fetch_add(count as u64, Ordering::SeqCst) + count as u64;
        let due = shared.cuts.load(Ordering::SeqCst) > 0 && all > shared.after.load(Ordering::SeqCst);
        if shared.down.load(Ordering::SeqCst) {
            return Ok(());
        }
        // Both directions may find that it is time: one of them cuts.
        if due && shared.cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |cuts| cuts.checked_sub(1)).is_ok() {
            return Ok(());
        }
        to.write_all(&buffer[..count])?;
    }
}
