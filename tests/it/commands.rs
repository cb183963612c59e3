//! Commands of the real binary, as a person or a script uses them.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::api::client::{Client, bearer};
use crate::support::signal;

const ENVELOPE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/cdc/envelope.jsonl");

fn nova(data: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nova"));
    command.arg("--data").arg(data).args(args).stdin(Stdio::null()).output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Makes a store with the rows of a capture and one dead letter.
fn stored(dir: &Path) -> PathBuf {
    let (data, bad) = (dir.join("data"), dir.join("bad.jsonl"));
    std::fs::write(&bad, "{\"topic\":\"cdc.users\",\"partition\":\"x\"}\n").unwrap();
    let done = nova(&data, &["replay", ENVELOPE, bad.to_str().unwrap()]);
    assert!(done.status.success(), "{done:?}");
    data
}

/// An earlier version of nova accepted each of the wrong arguments in this test of `nova cdc seek`.
#[test]
fn a_seek_to_what_is_no_place_says_which_argument_is_wrong_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = stored(dir.path());
    let audit = || String::from_utf8(nova(&data, &["audit"]).stdout).unwrap();
    let before = audit();
    for (args, words) in [
        (["cdc.users", "0", "-5"], "offset: -5 is none"),
        (["cdc.users", "0", "9223372036854775807"], "offset: 9223372036854775807 is none"),
        (["cdc.users", "-7", "3"], "partition: -7 is none"),
        (["other.users", "0", "3"], "kafka.topic_prefix"),
        (["cdc.orders", "0", "3"], "kafka.topic_prefix"),
    ] {
        let output = nova(&data, &[&["cdc", "seek"][..], &args].concat());
        assert!(output.status.code() == Some(1) && told(&output).contains(words), "{args:?}: {}", told(&output));
    }
    assert_eq!(audit(), before);
}

#[test]
fn with_json_every_report_is_one_json_document() {
    let dir = tempfile::tempdir().unwrap();
    let data = stored(dir.path());
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (copy, other) = (path("copy.redb"), path("other"));
    let user = "00000000-0000-4000-8000-000000000001";
    for args in [
        &["replay", ENVELOPE][..],
        &["config"],
        &["config", "--default"],
        &["check"],
        &["token", "--sub", user],
        &["migrate", "--dry-run"],
        &["backup", &copy],
        &["backup", &copy, "--verify"],
        &["restore", &copy, "--data", &other],
        &["store", "verify"],
        &["store", "compact"],
        &["dlq", "list"],
        &["dlq", "show", "0"],
        &["dlq", "discard", "0", "--reason", "test"],
        &["cdc", "state"],
        &["audit"],
        &["cdc", "seek", "cdc.users", "0", "1"],
        &["cdc", "epoch", "bump", "users"],
        &["dump", "--trending", "24h"],
        &["dump", "--feed", user],
        &["dump", "--suggestions", user],
    ] {
        let output = nova(&data, &[args, &["--json"]].concat());
        assert!(output.status.success(), "{args:?}: {}", told(&output));
        assert!(serde_json::from_slice::<Value>(&output.stdout).is_ok(), "{args:?}: {output:?}");
    }
}

#[test]
fn a_store_restored_over_itself_stays_and_what_a_restore_kept_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let data = stored(dir.path());
    let rows = || nova(&data, &["dump", "--table", "posts"]).stdout;
    let before = rows();
    assert!(before.len() > 100);
    let store = data.join("nova.redb").to_str().unwrap().to_owned();
    let once = nova(&data, &["restore", &store, "--replace"]);
    assert!(once.status.success(), "{}", told(&once));
    assert_eq!(rows(), before);
    let twice = nova(&data, &["restore", &store, "--replace"]);
    assert!(!twice.status.success() && told(&twice).contains("before-restore"), "{}", told(&twice));
    assert_eq!(rows(), before);
}

#[test]
fn a_capture_that_breaks_off_and_a_line_that_is_no_record_are_told_with_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let data = stored(dir.path());
    let list = nova(&data, &["dlq", "list"]);
    let list = String::from_utf8_lossy(&list.stdout);
    assert!(list.contains("line 1: partition: expected a number of 32 bits"), "{list}");
    let whole = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/cdc/random-envelope.jsonl.gz"));
    let whole = whole.unwrap();
    let broken = dir.path().join("broken.jsonl.gz");
    std::fs::write(&broken, &whole[..whole.len() / 2]).unwrap();
    let output = nova(&dir.path().join("other"), &["replay", broken.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let told = told(&output);
    assert!(told.contains("broken.jsonl.gz from line") && told.contains("repair the file"), "{told}");
}

#[test]
fn a_dump_of_nothing_is_wrong_usage() {
    let dir = tempfile::tempdir().unwrap();
    for args in [&["dump"][..], &["dump", "--limit", "5"], &["dump", "--now", "2026-11-22T00:00:00Z"]] {
        assert_eq!(nova(dir.path(), args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn a_letter_that_nobody_would_take_stays_when_it_is_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let data = stored(dir.path());
    let output = nova(&data, &["dlq", "replay", "--all"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("no record: repair the capture"), "{output:?}");
    let list: Value = serde_json::from_slice(&nova(&data, &["--json", "dlq", "list"]).stdout).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert!(told(&output).contains("one dead letter was not applied and stays"), "{output:?}");
}

#[test]
fn a_letter_that_there_is_not_is_told_as_such_when_it_is_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let data = stored(dir.path());
    let output = nova(&data, &["dlq", "replay", "999"]);
    let words = "there is no dead letter 999; nova dlq list shows those that wait";
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(told(&output), format!("nova: {words}\n"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("999: {words}\n"));
}

/// An earlier version of nova refused a URL without a scheme only after it had checked everything else.
#[test]
fn an_address_that_is_none_is_refused_before_a_token_is_looked_for() {
    let dir = tempfile::tempdir().unwrap();
    for command in [&["health"][..], &["status"], &["dlq", "list"], &["cdc", "state"]] {
        for url in ["http://", "ftp://nova", "nova:port"] {
            let output = nova(dir.path(), &[command, &["--url", url]].concat());
            assert_eq!(output.status.code(), Some(2), "{output:?}");
            let words = told(&output);
            assert!(
                words.contains(url) && words.contains("http://127.0.0.1:8080") && !words.contains("token"),
                "{words}"
            );
        }
    }
    // No program listens on the port, which was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = nova(dir.path(), &["health", "--url", &free.to_string()]);
    assert!(told(&output).contains(&format!("http://{free}/health/ready: cannot be reached")), "{output:?}");
}

#[test]
fn what_cannot_be_printed_is_an_error_of_every_command() {
    for args in [&["--version"][..], &["--help"], &["help", "dlq"], &["config", "--default"], &["completions", "bash"]]
    {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_nova"));
        let output = command.args(args).stdin(Stdio::null()).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
        assert!(told(&output).contains("cannot write the output"), "{args:?}: {output:?}");
    }
}

#[test]
fn a_second_signal_ends_nova_while_rows_still_wait_for_clickhouse() {
    let dir = tempfile::tempdir().unwrap();
    let data = stored(dir.path());
    // The listener accepts connections, and never answers on them.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_nova"));
    command.arg("--data").arg(&data).args(["serve", "--listen", "127.0.0.1:0"]).env("NOVA_CLICKHOUSE_URL", &url);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let addr: std::net::SocketAddr = line.trim().strip_prefix("listening on http://").unwrap().parse().unwrap();
    let user = nova::event::Id::from_u128(1).to_string();
    let token = String::from_utf8(nova(&data, &["token", "--sub", &user]).stdout).unwrap();
    let now_ms = nova::clock::Clock::System.now_ms();
    let body = format!(r#"{{"events":[{{"event_time":{now_ms},"post_id":"{user}","action":"view"}}]}}"#);
    assert_eq!(Client::connect(addr).post(&bearer(token.trim()), body.as_bytes()).status, 202);
    signal(&child, Signal::TERM);
    // The node no longer serves requests, and only sends the outbox.
    let deadline = nova::clock::monotonic_now() + Duration::from_secs(10);
    while std::net::TcpStream::connect(addr).is_ok() {
        assert!(nova::clock::monotonic_now() < deadline, "still serving");
    }
    // A second signal counts as a repetition if it comes within a second of the first signal.
    while child.try_wait().unwrap().is_none() {
        assert!(nova::clock::monotonic_now() < deadline, "it waits for rows that nobody takes");
        signal(&child, Signal::TERM);
        std::thread::yield_now();
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(told(&output).contains("second signal"), "{}", told(&output));
}

#[test]
fn the_demo_of_few_users_does_not_get_in_the_way_of_the_whole_one() {
    let dir = tempfile::tempdir().unwrap();
    let demo = |args: &[&str]| {
        let output = nova(dir.path(), &[&["demo", "--once", "--json"], args].concat());
        assert!(output.status.success(), "{}", told(&output));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["accounting"]["totals"].clone()
    };
    let few = demo(&["--users", "20"]);
    assert!(few["applied"].as_u64().unwrap() >= 20 && few["redelivered"] == 0, "{few}");
    let other = demo(&["--users", "30"]);
    assert_eq!((&other["applied"], &other["redelivered"]), (&other["consumed"], &Value::from(0)));
    assert_eq!(demo(&["--users", "20"])["redelivered"], few["consumed"]);
}

#[test]
fn a_file_that_is_no_store_is_left_alone_and_told_with_the_way_out() {
    for content in [&b""[..], &[7; 100_000]] {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("nova.redb");
        std::fs::write(&store, content).unwrap();
        for args in [&["serve", "--listen", "127.0.0.1:0"][..], &["dump", "--table", "users"]] {
            let output = nova(dir.path(), args);
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            assert!(told(&output).contains("restore a backup, or move the file away"), "{}", told(&output));
        }
        assert_eq!(std::fs::read(&store).unwrap(), content);
    }
}

#[test]
fn who_did_what_is_told_and_what_was_refused_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let data = stored(dir.path());
    let done = |args: &[&str]| nova(&data, args).status.success();
    assert!(done(&["dlq", "discard", "0", "--reason", "a test"]) && done(&["cdc", "epoch", "bump", "likes"]));
    assert!(!done(&["cdc", "resume", "users"]) && !done(&["cdc", "seek", "cdc.nowhere", "0", "1"]));
    let list: Value = serde_json::from_slice(&nova(&data, &["--json", "audit"]).stdout).unwrap();
    let deeds: Vec<_> = list.as_array().unwrap().iter().map(|deed| [&deed["action"], &deed["subject"]]).collect();
    assert_eq!(deeds, [["dlq-discard", "0"], ["cdc-epoch-bump", "likes"]]);
    assert_eq!(list[0]["detail"], "a test");
    let words = nova(&data, &["audit", "--after", "0"]).stdout;
    assert!(String::from_utf8_lossy(&words).trim_end().ends_with("cdc-epoch-bump likes 1"), "{words:?}");
}
