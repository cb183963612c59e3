//! What the console's first page shows, and who is signed in there.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::admin::{ClassState, SlotTold};
use super::node::CheckState;
use super::status::{BackupTold, DiskTold, MemoryTold, OutboxTold, SourceTold};
use crate::schema::example;

/// How the node is, stage by stage.
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
    /// nova's clock, epoch milliseconds.
    pub now_ms: i64,
    #[schemars(extend("format" = "date-time"))]
    pub started_at: String,
    pub uptime_s: i64,
    /// `ready` or `not-ready`.
    pub status: &'static str,
    /// What somebody should look at, what keeps the node from being ready first.
    pub findings: Vec<FindingTold>,
    /// In the order that data takes.
    pub stages: Vec<StageTold>,
    pub source: SourceTold,
    /// Where changes come from PostgreSQL itself and a snapshot is read.
    pub snapshot: Option<SnapshotTold>,
    /// Where changes come from PostgreSQL itself.
    pub slot: Option<SlotTold>,
    /// When what is waited for is gone.
    pub runs_out: Vec<RunsOut>,
    pub partitions: Vec<PartitionState>,
    pub partitions_left_out: usize,
    /// Records by topic, since the store was made: consumed is the sum of the outcomes.
    pub topics: Vec<Accounting>,
    /// Since the start.
    pub commits: u64,
    pub requests: Vec<ClassState>,
    pub memory: Vec<MemoryTold>,
    pub disk: DiskTold,
    pub backup: Option<BackupTold>,
    pub store_check: CheckState,
    pub dead_letters: u64,
    /// Where rows go to ClickHouse.
    pub outbox: Option<OutboxTold>,
    /// Of the outbox.
    pub tables: Vec<OutboxTable>,
    pub jobs: Vec<JobTold>,
    pub breakers: Vec<BreakerTold>,
    /// Pages of feeds since the start.
    pub feeds: u64,
    pub feed_hit_rate: f64,
    /// The generation of each window of trending that is kept: another one, when the list has changed.
    pub trending: BTreeMap<&'static str, String>,
    /// The newest point of each plot, by name; null where nothing is measured.
    pub gauges: BTreeMap<&'static str, Option<f64>>,
}

/// A part of the pipeline.
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

/// How a stage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It is not configured.
    Off,
    Ok,
    /// Somebody should look.
    Warns,
    /// The node is not ready for it.
    Stops,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "OverviewStage")]
pub struct StageTold {
    pub stage: Stage,
    pub state: Health,
    /// What it does, in a few words.
    pub figure: String,
}

/// Something for a person, the stage that it is of, and the commands in it that can be typed on the machine of the node.
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
    /// 0 where the server's statistics say nothing.
    pub estimated_rows: u64,
    pub rows_per_s: u64,
    pub left_s: Option<u64>,
}

/// How long it takes until something is gone that nova still needs, as things go now.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "RunsOut")]
pub struct RunsOut {
    /// What, in words.
    pub what: String,
    /// Records or bytes until then.
    pub left: i64,
    /// `records` or `bytes`.
    pub unit: &'static str,
    /// Seconds; null while it comes no nearer.
    pub left_s: Option<i64>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "OverviewPartition")]
pub struct PartitionState {
    pub topic: String,
    pub partition: i32,
    pub next_offset: i64,
    /// Why it waits for a person, or for something outside.
    pub held: Option<String>,
    /// Records that were not read yet; null where it cannot be told.
    pub lag_records: Option<i64>,
    /// How old the oldest of them may be, seconds.
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
    /// emitted = acknowledged + dead + waiting_rows.
    pub emitted: u64,
    pub acknowledged: u64,
    pub dead: u64,
    pub waiting_rows: u64,
    pub waiting_bytes: u64,
    /// Seconds; null where nothing waits.
    pub oldest_s: Option<i64>,
    /// It takes no rows before a person acts.
    pub stalled: bool,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "JobState")]
pub struct JobTold {
    pub job: &'static str,
    /// Refreshes by how they ended.
    pub results: BTreeMap<&'static str, u64>,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    /// The last error of a job that keeps failing.
    pub parked: Option<String>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "BreakerState")]
pub struct BreakerTold {
    pub target: &'static str,
    /// `closed`, `half-open` or `open`.
    pub state: &'static str,
}

/// Ten minutes of what is plotted.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "until_ms": 1795500000000, "step_ms": 1000, "gauges": { "lag_s": [null, 0, 0] } }"#))]
pub struct OverviewHistory {
    /// When the newest point was taken, epoch milliseconds.
    pub until_ms: i64,
    /// Between two points.
    pub step_ms: i64,
    /// The oldest first; null where nothing was measured.
    pub gauges: BTreeMap<&'static str, Vec<Option<f64>>>,
}

/// The data of the stream's event `patch`: a JSON Merge Patch (RFC 7396) of the overview that this client has. The data of
/// `snapshot` is an `Overview`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "now_ms": 1795500000500, "uptime_s": 3600 }"#))]
pub struct OverviewPatch {
    #[serde(flatten)]
    pub members: BTreeMap<String, serde_json::Value>,
}
