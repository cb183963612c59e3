//! The program `nova` as a separate process.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::api::client::Client;

/// Returns the command `nova` without nova's own variables of the environment.
#[expect(clippy::disallowed_methods, reason = "only the environment knows the names of its variables")]
pub fn bare() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nova"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("NOVA_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// Returns the command `nova` with a data directory, without variables of the environment.
pub fn command(data: &Path, args: &[&str]) -> Command {
    let mut command = bare();
    command.current_dir(data.parent().unwrap()).arg("--data").arg(data).args(args);
    command
}

pub fn nova(data: &Path, args: &[&str]) -> Output {
    command(data, args).output().unwrap()
}

pub fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A nova process that serves until this value is dropped.
pub struct Serving {
    pub child: Child,
    pub addr: SocketAddr,
}

impl Serving {
    pub fn start(data: &Path, env: &[(&str, &str)]) -> Serving {
        let mut command = command(data, &["serve", "--listen", "127.0.0.1:0"]);
        let mut child = command.envs(env.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addr = line.trim().rsplit('/').next().unwrap().parse().unwrap_or_else(|_| panic!("{line}"));
        Serving { child, addr }
    }

    pub fn ready(&self) -> Value {
        Client::connect(self.addr).get("/health/ready", "").json()
    }

    /// Ends the nova process with SIGTERM.
    pub fn end(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
