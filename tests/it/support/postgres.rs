//! A `PostgreSQL` of a test's own, gone when it is dropped.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running server.
pub(crate) struct Postgres {
    child: Child,
    port: u16,
    programs: PathBuf,
    _folder: tempfile::TempDir,
}

impl Postgres {
    /// Makes a cluster and waits until it answers.
    pub(crate) fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("forebay-postgres-").tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let programs = programs();
        let data = folder.path().join("data");
        let mut initdb = as_postgres(&programs.join("initdb"));
        initdb.args(["-U", "forebay", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N", "-D"]).arg(&data);
        let made = initdb.current_dir(folder.path()).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut serve = as_postgres(&programs.join("postgres"));
        serve.arg("-D").arg(&data).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        serve.args(["-c", "fsync=off", "-c", "shared_buffers=16MB", "-c"]);
        serve.arg(format!("unix_socket_directories={}", folder.path().display()));
        serve.current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self { child: serve.spawn().unwrap(), port, programs, _folder: folder };
        let begun = Instant::now();
        while !server.psql_status("SELECT 1") {
            assert!(begun.elapsed() < Duration::from_mins(2), "PostgreSQL does not come up");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    /// Its address.
    pub(crate) fn address(&self) -> String {
        format!("postgres://forebay@127.0.0.1:{}/postgres", self.port)
    }

    /// What it answers to a statement, columns with `|` between.
    pub(crate) fn psql(&self, statement: &str) -> String {
        let output = self.client(statement).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn psql_status(&self, statement: &str) -> bool {
        self.client(statement).output().unwrap().status.success()
    }

    fn client(&self, statement: &str) -> Command {
        let mut client = Command::new(self.programs.join("psql"));
        client.args(["-X", "-At", "-d", &self.address(), "-c", statement]);
        client
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGINT ends its sessions; a kill would leave its children a moment longer.
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap_or_default();
        self.child.wait().unwrap();
    }
}

/// The newest `PostgreSQL` of this machine, which Debian does not put into `PATH`.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("scripts/setup.sh --test installs it");
    let version = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    versions.map(|entry| entry.unwrap().path()).max_by_key(version).unwrap().join("bin")
}

/// The program as a user that it accepts: it refuses to run as root.
fn as_postgres(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]).arg(program);
    command
}
