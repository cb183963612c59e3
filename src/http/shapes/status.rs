//! The form of a node's state on one page.

use schemars::JsonSchema;
use serde::Serialize;

use super::admin::ClassState;
use super::node::CheckState;
use crate::pipeline::meta::TableTold;
use crate::schema::example;

/// The state of a node, as `nova status` and `nova top` show it.
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
    /// The format of the store's file.
    pub store_format: u8,
    #[schemars(extend("format" = "date-time"))]
    pub started_at: String,
    pub uptime_s: i64,
    /// The readiness of the node: `ready` or `not-ready`.
    pub status: &'static str,
    /// The reasons why the node is not ready.
    pub reasons: Vec<ReasonTold>,
    /// The warnings that a person should look at, although they do not keep the node from being ready.
    pub warnings: Vec<ReasonTold>,
    pub source: SourceTold,
    /// The halted tables, whose changes nova does not apply.
    pub halted: Vec<TableTold>,
    pub dead_letters: DeadTold,
    /// The state of the outbox, if nova sends rows to ClickHouse.
    pub outbox: Option<OutboxTold>,
    pub disk: DiskTold,
    /// The latest backup of the store, or null before the first backup.
    pub backup: Option<BackupTold>,
    pub store_check: CheckState,
    pub memory: Vec<MemoryTold>,
    pub counts: CountsTold,
}

/// A message for a person, and those commands from its text that work on the node's machine.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "ReasonWithCommands")]
pub struct ReasonTold {
    pub reason: String,
    pub commands: Vec<String>,
}

/// The source of changes and events.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "SourceSummary")]
pub struct SourceTold {
    /// The kind of the source: `postgres`, `kafka`, or `local` if the node takes only client events.
    pub kind: &'static str,
    pub state: &'static str,
    pub detail: Option<String>,
    /// The highest possible age of the oldest record that nova has not read yet, in seconds.
    pub lag_s: i64,
}

/// The dead letters, which wait for a person.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "DeadLetterSummary")]
pub struct DeadTold {
    pub waiting: u64,
    /// `by_reason` counts this number of dead letters, from the oldest on.
    pub counted: u64,
    pub by_reason: Vec<DeadReason>,
}

/// The number of dead letters of a topic with one reason.
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
    /// The seconds since nova began the oldest waiting batch, or null if no batch waits.
    pub oldest_s: Option<i64>,
    /// Whether nova reads no more records because the outbox is full.
    pub full: bool,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "DiskSummary")]
pub struct DiskTold {
    pub store_bytes: u64,
    /// The free bytes on the store's disk for this process, or null if the number is unknown.
    pub free_bytes: Option<u64>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "BackupSummary")]
pub struct BackupTold {
    #[schemars(extend("format" = "date-time"))]
    pub made_at: String,
    /// When nova last compared the backup's bytes with the backup's manifest.
    #[schemars(extend("format" = "date-time"))]
    pub verified_at: String,
    /// Whether a later verification found that a backup had changed.
    pub verify_failed: bool,
}

/// The bytes that a structure of nova takes in memory.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "MemorySummary")]
pub struct MemoryTold {
    pub structure: &'static str,
    pub bytes: usize,
}

/// Counts that only grow, so that a reader can compute rates from two answers.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "CountsSummary")]
pub struct CountsTold {
    /// The number of commits since the start.
    pub commits: u64,
    /// The numbers of records since the store was made, without numbers of 0.
    pub records: Vec<RecordsTold>,
    /// The numbers of requests since the start, by class.
    pub requests: Vec<ClassState>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "RecordsSummary")]
pub struct RecordsTold {
    pub topic: String,
    pub outcome: &'static str,
    pub count: u64,
}
