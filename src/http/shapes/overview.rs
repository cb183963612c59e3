//! The forms of the data on the console's first page.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::admin::{ClassState, SlotTold};
use super::node::CheckState;
use super::status::{BackupTold, DiskTold, MemoryTold, OutboxTold, SourceTold};
use crate::schema::example;

/// The state of the node, stage by stage of the pipeline.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{
    "version": "0.1.0", "now_ms": 1795500000000, "started_at": "2026-11-24T06:00:00.000000Z", "uptime_s": 3600,
    "status": "ready", "findings": [], "stages": [{ "stage": "source", "state": "ok", "figure": "local, lag 0 s" }],
    "source": { "kind": "local", "state": "reading", "detail": null, "lag_s": 0 }, "snapshot": null, "slot": null,
    "runs_out": [], "partitions": [], "partitions_left_out": 0, "topics": [], "commits": 12, "requests": [],
    "memory": [], "disk": { "store_bytes": 52428800, "free_bytes": 8589934592 }, "backup": null, "store_check": "ok",
    "dead_letters": 0, "outbox": null, "tables": [], "jobs": [], "breakers": [], "feeds": 120, "feed_hit_rate": 0.95,
    "trending": { "24h": "0f3a5c2e91b7d846" },
    "gauges": { "records_per_s": 20, "lag_s": 0 }
}"#))]
pub struct Overview {
    pub version: &'static str,
    /// The time of nova's clock, in epoch milliseconds.
    pub now_ms: i64,
    #[schemars(extend("format" = "date-time"))]
    pub started_at: String,
    pub uptime_s: i64,
    /// The readiness of the node: `ready` or `not-ready`.
    pub status: &'static str,
    /// The findings for a person, beginning with the findings that keep the node from being ready.
    pub findings: Vec<FindingTold>,
    /// The stages of the pipeline, in the order in which data passes them.
    pub stages: Vec<StageTold>,
    pub source: SourceTold,
    /// The snapshot of tables that nova is reading, if changes come from PostgreSQL directly.
    pub snapshot: Option<SnapshotTold>,
    /// The replication slot, if changes come from PostgreSQL directly.
    pub slot: Option<SlotTold>,
    /// The times when Kafka or PostgreSQL will remove data that nova still needs.
    pub runs_out: Vec<RunsOut>,
    pub partitions: Vec<PartitionState>,
    pub partitions_left_out: usize,
    /// The numbers of records by topic, since the store was made. `consumed` is the sum of the numbers of all outcomes.
    pub topics: Vec<Accounting>,
    /// The number of commits since the start.
    pub commits: u64,
    pub requests: Vec<ClassState>,
    pub memory: Vec<MemoryTold>,
    pub disk: DiskTold,
    pub backup: Option<BackupTold>,
    pub store_check: CheckState,
    pub dead_letters: u64,
    /// The state of the outbox, if nova sends rows to ClickHouse.
    pub outbox: Option<OutboxTold>,
    /// The state of each ClickHouse table in the outbox.
    pub tables: Vec<OutboxTable>,
    pub jobs: Vec<JobTold>,
    pub breakers: Vec<BreakerTold>,
    /// The number of feed pages since the start.
    pub feeds: u64,
    pub feed_hit_rate: f64,
    /// The generation of the trending list of each window. The generation changes whenever the list does.
    pub trending: BTreeMap<&'static str, String>,
    /// The newest point of each plot by the plot's name, or null if nova has nothing to measure.
    pub gauges: BTreeMap<&'static str, Option<f64>>,
}

/// A stage of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Source,
    Decode,
    Writer,
    Memory,
    Outbox,
    Clickhouse,
}

/// The health of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// The configuration does not have the stage.
    Off,
    Ok,
    /// The stage works, and a person should look at a warning about it.
    Warns,
    /// The stage keeps the node from being ready.
    Stops,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "OverviewStage")]
pub struct StageTold {
    pub stage: Stage,
    pub state: Health,
    /// The present work of the stage in a few words.
    pub figure: String,
}

/// A finding for a person, with its stage, and with those commands from its text that work on the node's machine.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "OverviewFinding")]
pub struct FindingTold {
    pub stage: Stage,
    pub state: Health,
    pub reason: String,
    pub commands: Vec<String>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "SnapshotProgress")]
pub struct SnapshotTold {
    pub table: &'static str,
    pub rows: u64,
    /// The estimated number of rows in the tables, or 0 if the server has no statistics.
    pub estimated_rows: u64,
    pub rows_per_s: u64,
    pub left_s: Option<u64>,
}

/// The time until Kafka or PostgreSQL removes data that nova still needs, at the present rates.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "RunsOut")]
pub struct RunsOut {
    /// The data that will be removed, in words.
    pub what: String,
    /// The number of records or bytes that remain until the removal.
    pub left: i64,
    /// The unit of `left`: `records` or `bytes`.
    pub unit: &'static str,
    /// The seconds until the removal, or null while the remaining number does not shrink.
    pub left_s: Option<i64>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "OverviewPartition")]
pub struct PartitionState {
    pub topic: String,
    pub partition: i32,
    pub next_offset: i64,
    /// The reason why the partition waits for a person, or for a server such as the schema registry.
    pub held: Option<String>,
    /// The number of records that nova has not read yet, or null if the number is unknown.
    pub lag_records: Option<i64>,
    /// The highest possible age of the oldest record that nova has not read yet, in seconds.
    pub lag_s: Option<i64>,
}

#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[schemars(rename = "TopicAccounting")]
pub struct Accounting {
    pub topic: String,
    pub consumed: u64,
    pub applied: u64,
    pub duplicate: u64,
    pub stale: u64,
    pub ignored: u64,
    pub late: u64,
    pub dead: u64,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "OutboxTable")]
pub struct OutboxTable {
    pub table: &'static str,
    /// The number of rows that nova has made for the table: acknowledged + dead + waiting_rows.
    pub emitted: u64,
    pub acknowledged: u64,
    pub dead: u64,
    pub waiting_rows: u64,
    pub waiting_bytes: u64,
    /// The age of the oldest waiting batch in seconds, or null if no batch waits.
    pub oldest_s: Option<i64>,
    /// Whether the table in ClickHouse takes no rows until a person acts.
    pub stalled: bool,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "JobState")]
pub struct JobTold {
    pub job: &'static str,
    /// The number of the job's refreshes by result.
    pub results: BTreeMap<&'static str, u64>,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    /// The last error, if the job keeps failing.
    pub parked: Option<String>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "BreakerState")]
pub struct BreakerTold {
    pub target: &'static str,
    /// The state of the circuit breaker: `closed`, `half-open` or `open`.
    pub state: &'static str,
}

/// The values of the console's plots over ten minutes.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "until_ms": 1795500000000, "step_ms": 1000, "gauges": { "lag_s": [null, 0, 0] } }"#))]
pub struct OverviewHistory {
    /// When nova took the newest point of the plots, in epoch milliseconds.
    pub until_ms: i64,
    /// The milliseconds between two points of the plots.
    pub step_ms: i64,
    /// The points of each gauge, oldest first. A point is null if nova measured nothing.
    pub gauges: BTreeMap<&'static str, Vec<Option<f64>>>,
}

/// The data of the stream's event `patch`: a JSON Merge Patch (RFC 7396) for the client's overview. The data of the
/// stream's event `snapshot` is an `Overview`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "now_ms": 1795500000500, "uptime_s": 3600 }"#))]
pub struct OverviewPatch {
    #[serde(flatten)]
    pub members: BTreeMap<String, serde_json::Value>,
}
