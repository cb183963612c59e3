//! The real binary as a server: the tests start, use, stop and kill it.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nova::app::{self, Setup};
use nova::decode::{NoSchemas, Topics};
use nova::event::Id;
use rustix::process::Signal;
use serde_json::json;

use crate::support::{asked, signal};

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

/// Returns the header lines for a user who posts events.
fn headers(data: &Path) -> String {
    let output = nova(data).args(["token", "--sub", &Id::from_u128(1).to_string()]).output().unwrap();
    let token = String::from_utf8(output.stdout).unwrap();
    format!("Content-Type: application/json\r\nAuthorization: Bearer {}\r\n", token.trim())
}

/// Returns a request body with 50 views, whose ids begin at the number `from`.
fn views(from: u128, now_ms: i64) -> Vec<u8> {
    let event = |n: u128| json!({ "event_id": Id::from_u128(n).to_string(), "event_time": now_ms, "post_id": Id::from_u128(7).to_string(), "action": "view" });
    json!({ "events": (from..from + 50).map(event).collect::<Vec<_>>() }).to_string().into_bytes()
}

#[test]
fn accepted_events_survive_kill_9_and_sigterm_exits_0() {
    let dir = tempfile::tempdir().unwrap();
    let headers = headers(dir.path());
    let now_ms = nova::clock::Clock::System.now_ms();
    let body = |from: u128| views(from, now_ms);
    for round in 0..4 {
        let (mut child, addr) = serve(dir.path());
        let mut client = Client::connect(addr);
        if round > 0 {
            // Events that nova confirmed before the kill are known after the restart.
            assert_eq!(client.post(&headers, &body((round - 1) * 50)).json()["deduped"], 50);
        }
        assert_eq!(client.post(&headers, &body(round * 50)).json()["accepted"], 50);
        if round < 3 {
            child.kill().unwrap();
            child.wait().unwrap();
        } else {
            signal(&child, Signal::TERM);
            assert_eq!(child.wait().unwrap().code(), Some(0));
        }
    }
}

/// A number that is larger than the number of answers that the clients can get before the kill.
const ANSWERS_MAX: usize = 1 << 16;

/// Sends requests until the server is gone, and reports the number of each request that was answered with 202.
fn publish(addr: SocketAddr, headers: &str, first: u128, now_ms: i64, confirmed: &crossbeam_channel::Sender<u128>) {
    let Ok(stream) = std::net::TcpStream::connect(addr) else { return };
    let mut client = Client(stream);
    for from in (first..).step_by(50) {
        match client.try_ask("POST", "/api/v1/events", headers, &views(from, now_ms)) {
            Ok(answer) if answer.status == 202 => confirmed.send(from).unwrap(),
            Ok(answer) => assert!([429, 503].contains(&answer.status), "{answer:?}"),
            Err(_) => return,
        }
    }
}

#[test]
fn sigterm_under_load_ends_in_ten_seconds_and_keeps_every_202() {
    let dir = tempfile::tempdir().unwrap();
    let (headers, now_ms) = (headers(dir.path()), nova::clock::Clock::System.now_ms());
    let (mut child, addr) = serve(dir.path());
    let (confirmed, answers) = crossbeam_channel::bounded(ANSWERS_MAX);
    let clients = (0..4u128).map(|number| {
        let (headers, confirmed) = (headers.clone(), confirmed.clone());
        std::thread::spawn(move || publish(addr, &headers, number << 64, now_ms, &confirmed))
    });
    let clients: Vec<_> = clients.collect();
    drop(confirmed);
    let mut kept: Vec<u128> = answers.iter().take(40).collect();
    let told = nova::clock::monotonic_now();
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
    clients.into_iter().for_each(|client| client.join().unwrap());
    kept.extend(answers.iter());
    let opened = app::open(&Setup::new(dir.path(), Topics::default(), Arc::new(NoSchemas))).unwrap();
    assert_eq!(opened.recovery.journal_batches, 0, "the end wrote a checkpoint");
    drop(opened);
    let (mut child, addr) = serve(dir.path());
    let mut client = Client::connect(addr);
    for from in kept {
        assert_eq!(client.post(&headers, &views(from, now_ms)).json()["deduped"], 50);
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The number of crashes in a normal run of the test. The variable `NOVA_TEST_KILLS` overrides this number.
const CRASHES: u64 = 10;
/// The longest time that a start after a crash may take. If starts took longer than this limit, repeated crashes would
/// be an outage.
const RECOVERY_MAX: Duration = Duration::from_secs(5);

#[test]
fn a_loop_of_crashes_recovers_in_five_seconds_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let (headers, now_ms) = (headers(dir.path()), nova::clock::Clock::System.now_ms());
    for round in 0..u128::from(asked("NOVA_TEST_KILLS").unwrap_or(CRASHES)) {
        let started = nova::clock::monotonic_now();
        let (mut child, addr) = serve(dir.path());
        assert!(started.elapsed() < RECOVERY_MAX, "{:?}", started.elapsed());
        let mut client = Client::connect(addr);
        for request in 0..20 {
            let answer = client.post(&headers, &views((round * 20 + request) * 50, now_ms));
            assert_eq!(answer.json()["accepted"], 50);
        }
        // The kill comes while clients wait for answers to their requests.
        let (confirmed, answers) = crossbeam_channel::bounded(ANSWERS_MAX);
        let (headers, first) = (headers.clone(), (round + 1) << 64);
        let client = std::thread::spawn(move || publish(addr, &headers, first, now_ms, &confirmed));
        answers.recv().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        client.join().unwrap();
    }
}

#[test]
fn check_tells_what_of_tokens_is_not_checked_and_which_keys_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys.json");
    let good = r#"{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let check = |set: &str, more: &[(&str, &str)]| {
        std::fs::write(&keys, format!(r#"{{"keys":[{set}]}}"#)).unwrap();
        let mut command = nova(dir.path());
        let settings = [("NOVA_HTTP_LISTEN", "127.0.0.1:0")];
        command.args(["--json", "check"]).env("NOVA_AUTH_JWKS_FILE", &keys).envs(settings).envs(more.iter().copied());
        let report: serde_json::Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
        let codes = report["findings"].as_array().unwrap().iter().map(|one| one["code"].as_str().unwrap().to_owned());
        codes.collect::<Vec<_>>()
    };
    let said = [("NOVA_AUTH_ISSUER", "https://id.example"), ("NOVA_AUTH_AUDIENCE", "*")];
    assert_eq!(check(good, &said), Vec::<String>::new());
    assert_eq!(check(good, &said[..1]), ["token-unchecked"]);
    assert_eq!(check(good, &[]), ["token-unchecked", "token-unchecked"]);
    assert_eq!(check(&format!(r#"{good},{{"kty":"AKP"}}"#), &said), ["key-left-out"]);
    assert_eq!(check("", &said), ["start-refused"]);
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
    assert!(code == Some(64) && told.contains("auth.jwks_file") && told.contains("keys.json"), "{told}");
    assert!(printed.is_empty(), "nothing was bound");
}
