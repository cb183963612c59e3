//! Commands that find a running node without its address. The commands give the same answers with a running node as
//! with a stopped store. The tests also run every command that a reason, an alert or a page of the documentation
//! prints.

mod answers;
mod backup;
mod explain;
mod printed;
mod reached;
mod seed;
mod status;
mod tap;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::program::{nova, out, told};

const ENVELOPE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/cdc/envelope.jsonl");

/// Makes a store with the rows of a capture, a halted truncate of likes, and a dead letter.
fn stored(dir: &Path) -> PathBuf {
    let (data, bad) = (dir.join("data"), dir.join("bad.jsonl"));
    let dead =
        json!({ "topic": "cdc.users", "partition": 3, "offset": 0, "timestamp_ms": 1, "key": "k", "value": "x" });
    std::fs::write(&bad, format!("{dead}\n")).unwrap();
    let done = nova(&data, &["replay", ENVELOPE, bad.to_str().unwrap()]);
    assert!(done.status.success(), "{done:?}");
    data
}

/// Delivers a truncate of likes from the source.
fn truncated(dir: &Path, data: &Path) {
    let capture = dir.join("truncate.jsonl");
    let source = json!({ "version": "3.6.0", "connector": "postgresql", "name": "nova", "ts_ms": 1_795_640_000_000i64,
        "snapshot": "false", "db": "nova", "schema": "public", "table": "likes", "lsn": 900_000_000u64 });
    let value = json!({ "before": null, "after": null, "source": source, "op": "t", "ts_ms": 1_795_640_000_000i64 });
    let line = json!({ "topic": "cdc.likes", "partition": 0, "offset": 100_000, "timestamp_ms": 1_795_640_000_000i64,
        "key": null, "value": value.to_string() });
    std::fs::write(&capture, format!("{line}\n")).unwrap();
    let done = nova(data, &["replay", capture.to_str().unwrap()]);
    assert!(told(&done).contains("is held: truncate:"), "{done:?}");
}

/// Returns the id of one row of the table in the store.
fn an_id(data: &Path, table: &str) -> String {
    let row = out(&nova(data, &["dump", "--table", table, "--limit", "1"]));
    serde_json::from_str::<Value>(&row).unwrap()["id"].as_str().unwrap().to_owned()
}
