//! Incidents for which the console has a button. Within five seconds, the overview shows each incident together with
//! the command that repairs it; a person repairs the incident from the page. `.ci/incidents.py` makes all incidents of
//! `docs/operations.md`, and reads the overview for each incident.

use std::path::Path;

use nova::event::Id;
use serde_json::{Value, json};

use crate::support::program::nova;

use super::walker::{Walk, chromium};

/// The longest time until the overview has an incident.
const SHOWN_MS: i64 = 5_000;
const HOUR_MS: i64 = 3_600_000;

/// Returns the record of a row in Debezium's envelope.
fn record(table: &str, (offset, lsn): (u64, u64), row: &Value, at_ms: i64) -> Value {
    let source = json!({ "version": "3.6.0", "connector": "postgresql", "name": "nova", "ts_ms": at_ms, "snapshot": "false",
        "db": "nova", "schema": "public", "table": table, "lsn": lsn });
    let change = json!({ "before": null, "after": row, "source": source, "op": "c", "ts_ms": at_ms });
    json!({ "topic": format!("cdc.{table}"), "partition": 0, "offset": offset, "timestamp_ms": at_ms,
        "key": json!({ "id": row["id"] }).to_string(), "value": change.to_string() })
}

fn like(offset: u64, lsn: u64, id: u128, at_ms: i64) -> Value {
    let row = json!({ "id": Id::from_u128(id).to_string(), "user_id": Id::from_u128(1).to_string(),
        "post_id": Id::from_u128(2).to_string(), "created_at": at_ms * 1_000 });
    record("likes", (offset, lsn), &row, at_ms)
}

fn post(at_ms: i64) -> Value {
    let time = nova::clock::rfc3339(at_ms * 1_000);
    let row = json!({ "id": Id::from_u128(2).to_string(), "user_id": Id::from_u128(1).to_string(), "caption": "liked",
        "image_key": "img", "image_sizes": null, "status": "published", "created_at": time, "updated_at": time,
        "soft_delete": null });
    record("posts", (1, 999_000), &row, at_ms)
}

/// Makes a store in which the log of the source began again, and whose latest backup is 40 hours old.
fn stored(dir: &Path, data: &Path) {
    let now_ms = nova::clock::Clock::System.now_ms();
    let at_ms = now_ms - HOUR_MS;
    let mut lines: Vec<Value> = (1..4).map(|n| like(n, 1_000_000 + n, 100 + u128::from(n), at_ms)).collect();
    lines.push(post(at_ms));
    // The commit of the last change has a lower LSN than the stored row.
    lines.push(like(9, 10, 101, at_ms));
    let capture = dir.join("capture.jsonl");
    std::fs::write(&capture, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    nova(data, &["replay", capture.to_str().unwrap()]);
    let copied = nova(data, &["backup", dir.join("old.redb").to_str().unwrap()]);
    assert!(copied.status.success(), "{copied:?}");
    let note = data.join("backup.json");
    let mut told: Value = serde_json::from_slice(&std::fs::read(&note).unwrap()).unwrap();
    for member in ["made_at_ms", "verified_at_ms"] {
        told[member] = (now_ms - 40 * HOUR_MS).into();
    }
    std::fs::write(&note, told.to_string()).unwrap();
}

#[test]
fn an_incident_with_a_button_is_on_the_overview_at_once_and_is_repaired_from_the_page() {
    let Some(chromium) = chromium() else { return };
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    stored(dir.path(), &data);
    let walk = Walk::over(dir, data, &chromium);
    let browser = &walk.browser;
    walk.sign_in();
    walk.visit("", "What needs you");
    for text in ["lsn_regression", "nova cdc epoch bump likes", "the latest one is 40 hours old", "nova backup FILE"] {
        browser.shows(text);
    }
    // The overview was opened long after the start of the node, so the test halts a table while the overview is open.
    walk.visit("source", "Halt posts");
    browser.click("main", "Halt posts …");
    walk.act(&[], "Halt", "posts is halted");
    let halted_ms = nova::clock::Clock::System.now_ms();
    browser.click("header", "Overview");
    browser.shows("nova cdc resume posts");
    let shown_ms = nova::clock::Clock::System.now_ms() - halted_ms;
    assert!(shown_ms < SHOWN_MS, "the overview had it after {shown_ms} ms");
    walk.visit("failed", "paused by");
    browser.click(".findings", "Go on …");
    walk.act(&[], "Go on", "takes changes again");
    browser.until("!document.body.innerText.includes('paused by')");
    browser.click(".findings", "Raise the epoch …");
    walk.act(&[], "Raise it", "The epoch is");
    walk.visit("system/store", "Latest backup");
    browser.click("main", "Make a backup …");
    walk.act(&[("name", "repaired")], "Copy", "entries are in");
    walk.visit("", "What needs you");
    for text in ["lsn_regression", "hours old", "paused by"] {
        browser.until(&format!("!document.body.innerText.includes('{text}')"));
    }
    walk.is_clean();
}
