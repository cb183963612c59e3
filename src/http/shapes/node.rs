//! What became of client events, and what a node tells of itself.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::schema::{Uuid, example};

/// What became of client events. All counts are of this request.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{
    "success": true, "received": 2, "accepted": 1, "deduped": 1, "rejected": 0, "count": 1, "latency_ms": 2.4,
    "results": [{ "i": 1, "status": "deduped", "code": "duplicate", "detail": "" }]
}"#))]
pub struct EventsTaken {
    /// No event was rejected.
    pub success: bool,
    pub received: usize,
    pub accepted: usize,
    /// Known already.
    pub deduped: usize,
    pub rejected: usize,
    /// As `accepted`.
    pub count: usize,
    pub latency_ms: f64,
    /// What was not accepted, and what was accepted with a note.
    pub results: Vec<EventResult>,
}

/// What became of rows.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{
    "success": true, "outcomes": { "applied": 1 },
    "rows": [{ "table": "users", "id": "0193a5f0-c2d1-7e2c-9f0e-5b0f6f2f8f3d", "outcome": "applied" }]
}"#))]
pub struct RowsTaken {
    /// No row went to the dead letters.
    pub success: bool,
    /// Rows by outcome, as of records.
    pub outcomes: BTreeMap<&'static str, usize>,
    /// In the order of the tables (users, posts, follows, comments, likes), and within one in that of the request.
    pub rows: Vec<RowTaken>,
}

/// What became of one row.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RowTaken {
    pub table: &'static str,
    pub id: Uuid,
    pub outcome: &'static str,
}

/// What there is to say of one event.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct EventResult {
    /// The event's place in the request, from 0.
    pub i: usize,
    /// `deduped`, `rejected`, or `accepted` with a note.
    pub status: &'static str,
    /// Why it was not accepted, for a machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// Of an accepted event: `unknown-post`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<&'static str>,
    /// The same for a person.
    pub detail: String,
}

impl EventResult {
    /// Of an event that was not accepted.
    pub fn not(i: usize, status: &'static str, code: &'static str, detail: String) -> EventResult {
        EventResult { i, status, code: Some(code), note: None, detail }
    }

    /// Of one that was.
    pub fn noted(i: usize, note: &'static str, detail: &str) -> EventResult {
        EventResult { i, status: "accepted", code: None, note: Some(note), detail: detail.to_owned() }
    }
}

/// The process runs.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "status": "live" }"#))]
pub struct Liveness {
    pub status: &'static str,
}

/// Whether requests are served.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{
    "status": "ready", "reasons": [], "parked_jobs": {}, "clickhouse": [], "dead_letters": [], "postgres": [], "away": [],
    "store_check": "ok"
}"#))]
pub struct Readiness {
    /// `ready` or `not-ready`.
    pub status: &'static str,
    /// Why not.
    pub reasons: Vec<String>,
    /// Jobs that keep failing, each with the last error.
    pub parked_jobs: BTreeMap<String, String>,
    /// What is wrong with ClickHouse.
    pub clickhouse: Vec<String>,
    /// How many records are put aside, and the last of each partition.
    pub dead_letters: Vec<String>,
    /// What is wrong at PostgreSQL and does not keep nova from reading.
    pub postgres: Vec<String>,
    /// Other servers that do not answer (Redis, the schema registry, the key set), and what waits for each.
    pub away: Vec<String>,
    /// How far the check of the store's pages is.
    pub store_check: CheckState,
}

/// What is known of the store's pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// Every page was as it was written.
    Ok,
    Running,
    /// Too much was written for a check beside it.
    Unfinished,
    Damaged,
}

impl CheckState {
    pub const ALL: [CheckState; 4] = [CheckState::Ok, CheckState::Running, CheckState::Unfinished, CheckState::Damaged];

    pub const fn name(self) -> &'static str {
        match self {
            CheckState::Ok => "ok",
            CheckState::Running => "running",
            CheckState::Unfinished => "unfinished",
            CheckState::Damaged => "damaged",
        }
    }
}

/// Public keys (RFC 7517).
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{
    "keys": [{ "alg": "EdDSA", "crv": "Ed25519", "kid": "dev-qUtkNnl2", "kty": "OKP", "use": "sig", "x": "-cseVC_XmyEx" }]
}"#))]
pub struct KeySet {
    pub keys: Vec<Jwk>,
}

/// A public key; which members it has follows from `kty`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Jwk {
    pub kty: String,
    #[serde(flatten)]
    pub members: BTreeMap<String, serde_json::Value>,
}

/// An OpenAPI document.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "openapi": "3.1.0", "info": { "title": "nova", "version": "0.1.0" }, "paths": {} }"#))]
pub struct ApiDescription {
    pub openapi: String,
    pub info: BTreeMap<String, serde_json::Value>,
    pub paths: BTreeMap<String, serde_json::Value>,
    #[serde(flatten)]
    pub members: BTreeMap<String, serde_json::Value>,
}

/// Snapshots were forgotten.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "success": true, "users": 2 }"#))]
pub struct Forgotten {
    pub success: bool,
    /// How many users were named; not there for one's own feed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<usize>,
}

/// It is done.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "success": true }"#))]
pub struct Done {
    pub success: bool,
}
