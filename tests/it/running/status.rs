//! Tests of `nova status`, which says what waits for a person on a running node.

use serde_json::{Value, json};

use super::{stored, truncated};
use crate::support::program::{Serving, nova, out, told};

#[test]
fn status_names_the_reasons_with_commands_that_repair_them() {
    let dir = tempfile::tempdir().unwrap();
    let data = stored(dir.path());
    let unasked = nova(&data, &["status"]);
    assert_eq!(unasked.status.code(), Some(2), "{unasked:?}");
    assert!(told(&unasked).contains("no node runs over the store"), "{unasked:?}");
    truncated(dir.path(), &data);
    let node = Serving::start(&data, &[]);
    let output = nova(&data, &["status", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&status["status"], &status["source"]["kind"]), (&json!("not-ready"), &json!("local")));
    assert_eq!(status["halted"][0]["table"], "likes");
    let by_reason = &status["dead_letters"]["by_reason"][0];
    assert_eq!((&by_reason["topic"], &by_reason["letters"]), (&json!("cdc.users"), &json!(1)), "{status}");
    assert!(status["disk"]["store_bytes"].as_u64().unwrap() > 0 && status["backup"].is_null());
    assert!(status["memory"].as_array().unwrap().len() > 5);
    let applied = status["counts"]["records"].as_array().unwrap().iter().any(|one| one["outcome"] == "applied");
    assert!(applied, "{status}");
    let commands = status["reasons"][0]["commands"].as_array().unwrap();
    assert_eq!(commands.len(), 2, "{status}");
    let words = out(&nova(&data, &["status"]));
    for part in
        ["nova       ", "not-ready", "reason     cdc.likes/0", "$ nova cdc resume likes --truncate", "1 letters;"]
    {
        assert!(words.contains(part), "{part}: {words}");
    }
    assert!(words.lines().filter(|line| !line.starts_with("reason")).all(|line| line.len() <= 240), "{words}");
    let line = commands[0].as_str().unwrap().strip_prefix("nova ").unwrap();
    let args: Vec<&str> = line.split(' ').collect();
    assert!(nova(&data, &args).status.success());
    assert!(nova(&data, &["backup", dir.path().join("copy").to_str().unwrap()]).status.success());
    let output = nova(&data, &["status"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(out(&output).contains("backup     made 2"), "{output:?}");
    node.end();
}
