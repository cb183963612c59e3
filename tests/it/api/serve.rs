//! The real binary as a server: started, used, stopped, killed.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nova::event::Id;
use serde_json::json;

use super::client::Client;

pub(super) fn nova(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nova"));
    command.arg("--data").arg(data).stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::piped());
    command
}

fn serve(data: &Path) -> (Child, SocketAddr) {
    let mut child = nova(data).args(["serve", "--listen", "127.0.0.1:0"]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let addr = line.trim().strip_prefix("listening on http://").unwrap().parse().unwrap();
    (child, addr)
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn accepted_events_survive_kill_9_and_sigterm_exits_0() {
    let dir = tempfile::tempdir().unwrap();
    let output = nova(dir.path()).args(["token", "--sub", &Id::from_u128(1).to_string()]).output().unwrap();
    let token = String::from_utf8(output.stdout).unwrap();
    let headers = format!("Content-Type: application/json\r\nAuthorization: Bearer {}\r\n", token.trim());
    let now_ms = nova::clock::Clock::System.now_ms();
    let body = |from: u128| {
        let event = |n: u128| json!({ "event_id": Id::from_u128(n).to_string(), "event_time": now_ms, "post_id": Id::from_u128(7).to_string(), "action": "view" });
        json!({ "events": (from..from + 50).map(event).collect::<Vec<_>>() }).to_string().into_bytes()
    };
    for round in 0..4 {
        let (mut child, addr) = serve(dir.path());
        let mut client = Client::connect(addr);
        if round > 0 {
            // What was confirmed before the kill is known.
            assert_eq!(client.post(&headers, &body((round - 1) * 50)).json()["deduped"], 50);
        }
        assert_eq!(client.post(&headers, &body(round * 50)).json()["accepted"], 50);
        if round < 3 {
            child.kill().unwrap();
            child.wait().unwrap();
        } else {
            signal(&child, "-TERM");
            assert_eq!(child.wait().unwrap().code(), Some(0));
        }
    }
}

#[test]
fn where_another_issuer_is_configured_nova_signs_nothing_and_wants_its_keys_before_it_listens() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys.json");
    let run = |args: &[&str]| {
        let mut command = nova(dir.path());
        command.args(args).env("NOVA_AUTH_JWKS_FILE", &keys).stderr(Stdio::piped());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap(), output.stdout)
    };
    let (code, told, _) = run(&["token", "--sub", &Id::from_u128(1).to_string()]);
    assert!(code == Some(1) && told.contains("configured issuer"), "{told}");
    std::fs::write(&keys, r#"{"keys":[]}"#).unwrap();
    let (code, told, printed) = run(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(code == Some(1) && told.contains("auth.jwks_file") && told.contains("keys.json"), "{told}");
    assert!(printed.is_empty(), "nothing was bound");
}
