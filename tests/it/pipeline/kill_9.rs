//! The test kills the real binary at random moments and starts it again, and compares the result with a run without
//! interruption.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::asked;
use crate::support::events::{Rng, lines, mix};

/// The number of kills in a normal run of the test. The variable `NOVA_TEST_KILLS` overrides this number.
const KILLS: u64 = 6;

fn nova(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nova"));
    command.arg("--data").arg(data).stdin(Stdio::null()).stderr(Stdio::piped()).stdout(Stdio::piped());
    command
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Returns everything that must be equal at the end of both runs.
fn outcome(data: &Path) -> (String, usize, String) {
    let letters: Value = serde_json::from_str(&output(nova(data).args(["dlq", "list", "--json"]))).unwrap();
    let letters =
        letters.as_array().unwrap().iter().map(|letter| {
            format!("{} {} {} {}", letter["topic"], letter["partition"], letter["offset"], letter["reason"])
        });
    let mut letters: Vec<_> = letters.collect();
    letters.sort();
    let now = ["--now", "2026-11-20T00:30:00Z", "--limit", "200"];
    let trending = output(nova(data).args(["dump", "--trending", "24h"]).args(now));
    let users = output(nova(data).args(["dump", "--table", "users"]));
    (trending, letters.len(), letters.join("\n") + &users)
}

#[test]
fn n5_n13_kill_9_at_random_moments_changes_nothing() {
    let kills = asked("NOVA_TEST_KILLS").unwrap_or(KILLS);
    let dir = tempfile::tempdir().unwrap();
    let (records, expected) = mix(100_000, 11);
    let capture = dir.path().join("events.jsonl");
    // The capture also has the rows of the viewed posts, because only a known post can trend.
    let mut text = String::new();
    for number in 0..100u128 {
        let id = nova::event::Id::from_u128(2 << 100 | number);
        let row = format!(
            r#"{{"id":"{id}","user_id":"{}","caption":null,"image_key":"k","image_sizes":null,"status":"published","created_at":"2026-11-20T00:00:00Z","updated_at":"2026-11-20T00:00:00Z","soft_delete":null,"__deleted":"false","__lsn":{}}}"#,
            nova::event::Id::from_u128(3 << 100),
            number + 1
        );
        let line = serde_json::json!({
            "topic": "cdc.posts", "partition": 0, "offset": number as u64, "timestamp_ms": 1_795_132_800_000_i64,
            "key": format!(r#"{{"id":"{id}"}}"#), "value": row,
        });
        text.push_str(&format!("{line}\n"));
    }
    text.push_str(&lines(&records));
    std::fs::write(&capture, text).unwrap();

    let whole = dir.path().join("whole");
    let started = nova::clock::monotonic_now();
    let report: Value = serde_json::from_str(&output(nova(&whole).arg("replay").arg(&capture).arg("--json"))).unwrap();
    let run_time = started.elapsed();
    assert_eq!(report["totals"]["applied"], expected.applied + 100);
    assert_eq!(report["totals"]["duplicate"], expected.duplicate);
    assert_eq!(report["totals"]["dead"], expected.dead);

    let killed = dir.path().join("killed");
    let mut rng = Rng(5);
    for _ in 0..kills {
        let mut child =
            nova(&killed).arg("replay").arg(&capture).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let moment = Duration::from_micros(rng.below(run_time.as_micros() as u64));
        // The test waits until the moment of the kill.
        let (alive, ended) = crossbeam_channel::bounded::<()>(0);
        let _ = ended.recv_timeout(moment);
        drop(alive);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    output(nova(&killed).arg("replay").arg(&capture));
    assert_eq!(outcome(&killed), outcome(&whole));
    let again: Value = serde_json::from_str(&output(nova(&killed).arg("replay").arg(&capture).arg("--json"))).unwrap();
    assert_eq!(again["totals"]["consumed"], 0);
    assert_eq!(again["totals"]["redelivered"], 100_100);
}

#[test]
fn a_second_process_on_the_same_store_exits_75() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(nova::app::STORE_FILE);
    let _held = nova_storage::Store::open(&path, &nova_storage::Options::default(), |_| {}).unwrap();
    let output = nova(dir.path()).args(["dlq", "list"]).output().unwrap();
    assert_eq!(output.status.code(), Some(75));
    assert!(String::from_utf8_lossy(&output.stderr).contains("in use"));
}

#[test]
fn a_halted_table_is_told_and_resumed_on_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let capture = dir.path().join("truncate.jsonl");
    let line = |offset: u64, key: Option<&str>, value: &str| {
        serde_json::json!({
            "topic": "cdc.users", "partition": 0, "offset": offset, "timestamp_ms": 1_795_132_800_000_i64, "key": key, "value": value,
        })
    };
    let id = nova::event::Id::from_u128(9);
    let columns = crate::support::rows::USER_COLUMNS;
    let row = format!(r#"{{"id":"{id}","username":"u",{columns},"__deleted":"false","__lsn":5}}"#);
    let key = format!(r#"{{"id":"{id}"}}"#);
    let truncate = r#"{"before":null,"after":null,"source":{"lsn":9},"op":"t"}"#;
    std::fs::write(&capture, format!("{}\n{}\n", line(0, Some(&key), &row), line(1, None, truncate))).unwrap();
    let data = dir.path().join("data");
    let replay = |code: i32| {
        let output = nova(&data).arg("replay").arg(&capture).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(replay(1).contains("nova cdc resume users"));
    assert_eq!(output(nova(&data).args(["dump", "--table", "users"])).lines().count(), 1);
    assert!(output(nova(&data).args(["cdc", "state"])).contains("halted: truncate"));
    assert_eq!(nova(&data).args(["cdc", "resume", "users"]).output().unwrap().status.code(), Some(2));
    output(nova(&data).args(["cdc", "resume", "users", "--truncate", "apply"]));
    replay(0);
    assert_eq!(output(nova(&data).args(["dump", "--table", "users"])), "");
    assert!(output(nova(&data).args(["cdc", "epoch", "bump", "users"])).contains("epoch 1"));
}

#[test]
fn a_bad_configuration_exits_64_before_anything_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let output =
        nova(&data).args(["serve"]).env("NOVA_HTTP_LISTEN", "nowhere").env("NOVA_LOG_COLOR", "x").output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("http.listen") && words.contains("log.color"), "{words}");
    assert!(!data.exists());
}

#[test]
fn dead_letters_are_listed_replayed_and_discarded_on_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let capture = dir.path().join("events.jsonl");
    let (records, expected) = mix(2_000, 3);
    std::fs::write(&capture, lines(&records)).unwrap();
    let data = dir.path().join("data");
    output(nova(&data).arg("replay").arg(&capture));
    let list = || -> Vec<Value> { serde_json::from_str(&output(nova(&data).args(["dlq", "list", "--json"]))).unwrap() };
    let before = list();
    assert_eq!(before.len() as u64, expected.dead + expected.conflicts);
    // A conflict counts as a duplicate when it is decoded again. The letters of malformed events stay in the queue,
    // with one more attempt.
    assert_eq!(nova(&data).args(["dlq", "replay", "--all"]).output().unwrap().status.code(), Some(1));
    let after = list();
    assert_eq!(after.len() as u64, expected.dead);
    assert!(after.iter().all(|letter| letter["attempts"] == 2 && letter["reason"] != "conflict"));
    let id = after[0]["id"].to_string();
    assert!(output(nova(&data).args(["dlq", "show", &id])).contains("base64"));
    output(nova(&data).args(["dlq", "discard", &id, "--reason", "test"]));
    assert_eq!(nova(&data).args(["dlq", "show", &id]).output().unwrap().status.code(), Some(1));
    assert_eq!(list().len(), after.len() - 1);
}
