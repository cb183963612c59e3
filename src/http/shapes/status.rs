//! How a node is, at a glance.

use schemars::JsonSchema;
use serde::Serialize;

use super::admin::ClassState;
use super::node::CheckState;
use crate::pipeline::meta::TableTold;
use crate::schema::example;

/// How a node is: what `nova status` and `nova top` show.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{
    "version": "0.1.0", "store_format": 2, "started_at": "2026-11-24T06:00:00.000000Z", "uptime_s": 3600,
    "status": "ready", "reasons": [], "warnings": [],
    "source": { "kind": "kafka", "state": "reading", "detail": null, "lag_s": 0 }, "halted": [],
    "dead_letters": { "waiting": 0, "counted": 0, "by_reason": [] }, "outbox": null,
    "disk": { "store_bytes": 52428800, "free_bytes": 8589934592 }, "backup": null, "store_check": "ok", "memory": [],
    "counts": { "commits": 12, "records": [], "requests": [] }
}"#))]
pub struct NodeStatus {
    pub version: &'static str,
    /// Of the file of the store.
    pub store_format: u8,
    #[schemars(extend("format" = "date-time"))]
    pub started_at: String,
    pub uptime_s: i64,
    /// `ready` or `not-ready`.
    pub status: &'static str,
    /// Why it is not ready.
    pub reasons: Vec<ReasonTold>,
    /// What somebody should look at, and what does not keep the node from being ready.
    pub warnings: Vec<ReasonTold>,
    pub source: SourceTold,
    /// Tables that take no changes.
    pub halted: Vec<TableTold>,
    pub dead_letters: DeadTold,
    /// Where rows go to ClickHouse.
    pub outbox: Option<OutboxTold>,
    pub disk: DiskTold,
    /// The latest backup; null before the first.
    pub backup: Option<BackupTold>,
    pub store_check: CheckState,
    pub memory: Vec<MemoryTold>,
    pub counts: CountsTold,
}

/// Something for a person, and the commands in it that can be typed on the machine of the node.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "ReasonWithCommands")]
pub struct ReasonTold {
    pub reason: String,
    pub commands: Vec<String>,
}

/// Where changes and events come from.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "SourceSummary")]
pub struct SourceTold {
    /// `postgres`, `kafka` or `local`: client events only.
    pub kind: &'static str,
    pub state: &'static str,
    pub detail: Option<String>,
    /// How old the oldest record may be that was not read yet, seconds.
    pub lag_s: i64,
}

/// Dead letters that wait for a person.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "DeadLetterSummary")]
pub struct DeadTold {
    pub waiting: u64,
    /// Those that `by_reason` counts, the oldest.
    pub counted: u64,
    pub by_reason: Vec<DeadReason>,
}

/// How many letters of a topic have one reason.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[schemars(rename = "DeadLetterReason")]
pub struct DeadReason {
    pub topic: String,
    pub stage: String,
    pub reason: String,
    pub letters: u64,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "OutboxSummary")]
pub struct OutboxTold {
    pub rows: u64,
    pub bytes: u64,
    /// Since the oldest waiting batch was begun, seconds; null where none waits.
    pub oldest_s: Option<i64>,
    /// Consumption waits for it.
    pub full: bool,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "DiskSummary")]
pub struct DiskTold {
    pub store_bytes: u64,
    /// For this process; null where it cannot be told.
    pub free_bytes: Option<u64>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "BackupSummary")]
pub struct BackupTold {
    #[schemars(extend("format" = "date-time"))]
    pub made_at: String,
    /// When its bytes were last compared with its manifest.
    #[schemars(extend("format" = "date-time"))]
    pub verified_at: String,
    /// A backup was verified since, and was not what was made.
    pub verify_failed: bool,
}

/// What a structure takes.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "MemorySummary")]
pub struct MemoryTold {
    pub structure: &'static str,
    pub bytes: usize,
}

/// What only grows: two answers tell the rates between them.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "CountsSummary")]
pub struct CountsTold {
    /// Since the start.
    pub commits: u64,
    /// Since the store was made; what is 0 is left out.
    pub records: Vec<RecordsTold>,
    /// Since the start.
    pub requests: Vec<ClassState>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "RecordsSummary")]
pub struct RecordsTold {
    pub topic: String,
    pub outcome: &'static str,
    pub count: u64,
}
