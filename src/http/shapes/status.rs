//! The state of a node on one page.

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
    /// `ready` or `not-ready`.
    pub status: &'static str,
    /// Why the node is not ready.
    pub reasons: Vec<ReasonTold>,
    /// What somebody should look at although it does not keep the node from being ready.
    pub warnings: Vec<ReasonTold>,
    pub source: SourceTold,
    /// Tables that take no changes.
    pub halted: Vec<TableTold>,
    pub dead_letters: DeadTold,
    /// The outbox, if rows go to ClickHouse.
    pub outbox: Option<OutboxTold>,
    pub disk: DiskTold,
    /// The latest backup. Null before the first.
    pub backup: Option<BackupTold>,
    pub store_check: CheckState,
    pub memory: Vec<MemoryTold>,
    pub counts: CountsTold,
}

/// A message for a person, and the commands in it that work on the node's machine.
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
    /// `postgres`, `kafka`, or `local` for client events only.
    pub kind: &'static str,
    pub state: &'static str,
    pub detail: Option<String>,
    /// The possible age of the oldest record that was not read yet, seconds.
    pub lag_s: i64,
}

/// The dead letters, which wait for a person.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "DeadLetterSummary")]
pub struct DeadTold {
    pub waiting: u64,
    /// The number of letters, from the oldest on, that `by_reason` counts.
    pub counted: u64,
    pub by_reason: Vec<DeadReason>,
}

/// The number of letters of a topic with one reason.
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
    /// The seconds since the oldest waiting batch was begun. Null if none waits.
    pub oldest_s: Option<i64>,
    /// Whether nova reads no more records because the outbox is full.
    pub full: bool,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "DiskSummary")]
pub struct DiskTold {
    pub store_bytes: u64,
    /// The free bytes for this process. Null if they are unknown.
    pub free_bytes: Option<u64>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "BackupSummary")]
pub struct BackupTold {
    #[schemars(extend("format" = "date-time"))]
    pub made_at: String,
    /// When the backup's bytes were last compared with its manifest.
    #[schemars(extend("format" = "date-time"))]
    pub verified_at: String,
    /// Whether a later verification found that a backup had changed.
    pub verify_failed: bool,
}

/// The bytes of a structure in memory.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "MemorySummary")]
pub struct MemoryTold {
    pub structure: &'static str,
    pub bytes: usize,
}

/// Counts that only grow. Two answers give the rates between them.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "CountsSummary")]
pub struct CountsTold {
    /// The number of commits since the start.
    pub commits: u64,
    /// The records since the store was made. Counts of 0 are left out.
    pub records: Vec<RecordsTold>,
    /// The requests since the start.
    pub requests: Vec<ClassState>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "RecordsSummary")]
pub struct RecordsTold {
    pub topic: String,
    pub outcome: &'static str,
    pub count: u64,
}
