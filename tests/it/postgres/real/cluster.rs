//! A PostgreSQL server that only one test uses; the test may kill, limit and restore the server. The programs of the
//! server are in `NOVA_TEST_PG_BIN`, or else in the directory of the newest version in `/usr/lib/postgresql`.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub struct Cluster {
    bin: PathBuf,
    data: PathBuf,
    port: u16,
    _dir: tempfile::TempDir,
}

/// Returns a directory that contains `initdb` and `postgres`.
fn programs() -> Option<PathBuf> {
    if let Some(named) = crate::support::environment("NOVA_TEST_PG_BIN") {
        return Some(named.into());
    }
    let found =
        std::fs::read_dir("/usr/lib/postgresql").ok()?.filter_map(Result::ok).map(|entry| entry.path().join("bin"));
    found.filter(|path| path.join("initdb").exists()).max()
}

impl Cluster {
    /// Starts a PostgreSQL server. Returns `None` if no PostgreSQL is installed, or if tests with real servers are not
    /// enabled.
    pub fn begin(settings: &[&str]) -> Option<Cluster> {
        if crate::support::environment("NOVA_TEST_POSTGRES").unwrap_or_default().is_empty() {
            eprintln!("skipped: NOVA_TEST_POSTGRES is not set");
            return None;
        }
        let Some(bin) = programs() else {
            eprintln!("skipped: no PostgreSQL in /usr/lib/postgresql, and NOVA_TEST_PG_BIN is not set");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let cluster = Cluster { bin, data: dir.path().join("data"), port, _dir: dir };
        // PostgreSQL refuses to run as root.
        cluster.shell(&format!("mkdir -p {0} && chmod 700 {0}", cluster.data.display()), true);
        // The test sets the encoding itself, because nova reports the encoding SQL_ASCII as a finding.
        cluster.run(
            "initdb",
            &format!("-D {} -A trust -U postgres --no-sync -E UTF8 --no-locale", cluster.data.display()),
        );
        let own = [
            "wal_level=logical".to_owned(),
            format!("port={port}"),
            "listen_addresses='127.0.0.1'".to_owned(),
            "unix_socket_directories=''".to_owned(),
            "max_wal_senders=10".to_owned(),
        ];
        let lines: Vec<_> = own.into_iter().chain(settings.iter().map(|one| (*one).to_owned())).collect();
        let conf = cluster.data.join("postgresql.conf");
        let text = std::fs::read_to_string(&conf).unwrap();
        std::fs::write(&conf, format!("{text}\n{}\n", lines.join("\n"))).unwrap();
        cluster.start();
        Some(cluster)
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    pub fn start(&self) {
        let (data, log) = (self.data.display(), self.data.join("server.log"));
        self.run("pg_ctl", &format!("-D {data} -l {} -w -t 60 start >/dev/null", log.display()));
    }

    /// Kills the whole PostgreSQL server with `kill -9`.
    pub fn kill(&self) {
        let pid = std::fs::read_to_string(self.data.join("postmaster.pid")).unwrap();
        let pid = pid.lines().next().unwrap().to_owned();
        // The child processes notice that the postmaster is gone, and end. The next start of the server waits for the
        // end of the child processes.
        self.shell(&format!("pkill -9 -P {pid}; kill -9 {pid}; for i in $(seq 100); do kill -0 {pid} 2>/dev/null || break; sleep 0.05; done"), false);
        let _ = std::fs::remove_file(self.data.join("postmaster.pid"));
    }

    pub fn stop(&self) {
        self.run("pg_ctl", &format!("-D {} -m immediate -w stop >/dev/null", self.data.display()));
    }

    /// Lets the server also accept connections over TLS, with a certificate and its key in PEM. Connections of the role
    /// `role` must use TLS. Returns false if the server's programs were built without TLS.
    pub fn speak_tls(&self, certificate: &str, key: &str, role: &str) -> bool {
        let library = format!("{}/postgres -D {} -C ssl_library | grep -q .", self.bin.display(), self.data.display());
        if !self.shell(&library, false) {
            eprintln!("skipped: {} has no TLS", self.bin.display());
            return false;
        }
        let (conf, rules) = (self.data.join("postgresql.conf"), self.data.join("pg_hba.conf"));
        let text = std::fs::read_to_string(&conf).unwrap();
        std::fs::write(&conf, format!("{text}\nssl=on\n")).unwrap();
        let others = std::fs::read_to_string(&rules).unwrap();
        let own = format!("hostssl all {role} 127.0.0.1/32 trust\nhost all {role} 127.0.0.1/32 reject\n");
        std::fs::write(&rules, own + &others).unwrap();
        std::fs::write(self.data.join("server.crt"), certificate).unwrap();
        std::fs::write(self.data.join("server.key"), key).unwrap();
        assert!(self.shell(&format!("chmod 600 {}/server.key", self.data.display()), true));
        self.stop();
        self.start();
        true
    }

    fn run(&self, program: &str, arguments: &str) {
        assert!(self.shell(&format!("{}/{program} {arguments}", self.bin.display()), false), "{program} {arguments}");
    }

    /// Runs a shell command, as the user `postgres` if the test runs as root.
    fn shell(&self, command: &str, owner: bool) -> bool {
        let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
        let mut shell = match root && !owner {
            true => {
                let mut su = Command::new("su");
                su.args(["postgres", "-s", "/bin/bash", "-c", command]);
                su
            }
            false => {
                let mut bash = Command::new("bash");
                bash.args(["-c", command]);
                bash
            }
        };
        let done = shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success();
        if owner && root {
            let dir = self.data.parent().unwrap();
            let chown = format!("chown -R postgres {0} && chmod 755 {0}", dir.display());
            assert!(Command::new("bash").args(["-c", &chown]).status().unwrap().success());
        }
        done
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.data.join("postmaster.pid").exists() {
            let command = format!("{}/pg_ctl -D {} -m immediate stop", self.bin.display(), self.data.display());
            self.shell(&command, false);
        }
    }
}
