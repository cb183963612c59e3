//! The forms of the outcome of client events, and of the reports about the node.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::schema::{Uuid, example};

/// The outcome of client events. All counts are for this request only.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{
    "success": true, "received": 2, "accepted": 1, "deduped": 1, "rejected": 0, "count": 1, "latency_ms": 2.4,
    "results": [{ "i": 1, "status": "deduped", "code": "duplicate", "detail": "" }]
}"#))]
pub struct EventsTaken {
    /// Whether nova rejected none of the events.
    pub success: bool,
    pub received: usize,
    pub accepted: usize,
    /// The number of events that nova already had.
    pub deduped: usize,
    pub rejected: usize,
    /// The same number as `accepted`, under its older name.
    pub count: usize,
    pub latency_ms: f64,
    /// The results of the events that nova did not accept, or accepted with a note.
    pub results: Vec<EventResult>,
}

/// The outcome of the rows of one request.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{
    "success": true, "outcomes": { "applied": 1 },
    "rows": [{ "table": "users", "id": "0193a5f0-c2d1-7e2c-9f0e-5b0f6f2f8f3d", "outcome": "applied" }]
}"#))]
pub struct RowsTaken {
    /// Whether no row became a dead letter.
    pub success: bool,
    /// The number of rows by outcome. A row has the outcome of its record.
    pub outcomes: BTreeMap<&'static str, usize>,
    /// The outcomes of the rows: first by table (users, posts, follows, comments, likes), then in the order of the
    /// request.
    pub rows: Vec<RowTaken>,
}

/// The outcome of one row of a request.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RowTaken {
    pub table: &'static str,
    pub id: Uuid,
    pub outcome: &'static str,
}

/// The result for one event of a request.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct EventResult {
    /// The index of the event in the request, from 0.
    pub i: usize,
    /// The status of the event: `deduped`, `rejected`, or `accepted` with a note.
    pub status: &'static str,
    /// The code of the reason why nova did not accept the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// The code of a note to an accepted event: `unknown-post`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<&'static str>,
    /// The reason or the note in words for a person.
    pub detail: String,
}

impl EventResult {
    /// The result for an event that nova did not accept.
    pub fn not(i: usize, status: &'static str, code: &'static str, detail: String) -> EventResult {
        EventResult { i, status, code: Some(code), note: None, detail }
    }

    /// The result for an event that nova accepted with a note.
    pub fn noted(i: usize, note: &'static str, detail: &str) -> EventResult {
        EventResult { i, status: "accepted", code: None, note: Some(note), detail: detail.to_owned() }
    }
}

/// The answer to a check whether the process runs.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "status": "live" }"#))]
pub struct Liveness {
    pub status: &'static str,
}

/// Whether the node serves requests.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{
    "status": "ready", "reasons": [], "parked_jobs": {}, "clickhouse": [], "dead_letters": [], "postgres": [], "away": [],
    "store_check": "ok"
}"#))]
pub struct Readiness {
    /// The readiness of the node: `ready` or `not-ready`.
    pub status: &'static str,
    /// The reasons why the node is not ready.
    pub reasons: Vec<String>,
    /// The jobs that keep failing, each with its last error.
    pub parked_jobs: BTreeMap<String, String>,
    /// The present problems with ClickHouse.
    pub clickhouse: Vec<String>,
    /// The number of dead letters, and the last dead letter of each partition, in words.
    pub dead_letters: Vec<String>,
    /// The problems of PostgreSQL that do not keep nova from reading.
    pub postgres: Vec<String>,
    /// The servers that do not answer, each with the consequence. The list can name Redis, the schema registry and the
    /// issuer of the key set.
    pub away: Vec<String>,
    /// The state of the check of the store's pages.
    pub store_check: CheckState,
}

/// The state of the check of the store's pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// The check found every page of the store as nova wrote it.
    Ok,
    Running,
    /// The check did not finish, because nova wrote too many pages during the check.
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

/// A set of public keys (RFC 7517).
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{
    "keys": [{ "alg": "EdDSA", "crv": "Ed25519", "kid": "dev-qUtkNnl2", "kty": "OKP", "use": "sig", "x": "-cseVC_XmyEx" }]
}"#))]
pub struct KeySet {
    pub keys: Vec<Jwk>,
}

/// A public key. The members of a key depend on `kty`.
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

/// The answer to a request to forget snapshots of feeds.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "success": true, "users": 2 }"#))]
pub struct Forgotten {
    pub success: bool,
    /// The number of users that the request named. `users` is missing if the request named no users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<usize>,
}

/// The answer that says only that the request succeeded.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "success": true }"#))]
pub struct Done {
    pub success: bool,
}
