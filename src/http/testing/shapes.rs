//! What the control routes read and answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::http::body::{integer, maybe_integer};
use crate::http::shapes::TappedRecord;
use crate::schema::{Time, Uuid, example};

/// A day and a half beyond the longest window of trending, milliseconds: one advance moves the clock no further.
pub const ADVANCE_MAX_MS: i64 = 400 * 86_400_000;
/// Characters of a snapshot's name.
pub const NAME_MAX_CHARS: usize = 64;
/// Milliseconds that a commit may be made to take: requests wait for 5 s.
pub const SLOW_COMMIT_MAX_MS: u64 = 10_000;
/// HTTP statuses of a refusal.
pub const REFUSAL_STATUS_MIN: u16 = 400;
pub const REFUSAL_STATUS_MAX: u16 = 599;
/// ClickHouse's own error codes have at most four digits.
pub const REFUSAL_CODE_MAX: u32 = 9_999;
/// Characters of a refusal's text.
pub const REFUSAL_BODY_MAX_CHARS: usize = 4_096;
/// Milliseconds that an answer of ClickHouse may be made to take.
pub const SLOW_ANSWER_MAX_MS: u64 = 10_000;
/// Requests that a fault of ClickHouse may be for.
pub const FAULT_TIMES_MAX: u64 = 1_000_000;

/// The time, and who moves it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "now": "2026-11-24T06:00:00.000000Z", "now_ms": 1795500000000, "clock": "manual" }"#))]
pub struct ClockTold {
    #[schemars(extend("format" = "date-time"))]
    pub now: String,
    /// Epoch milliseconds.
    pub now_ms: i64,
    /// `manual` or `real`.
    pub clock: &'static str,
}

/// A time to which the clock moves.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ClockSetRequest", example = example(r#"{ "now": "2026-11-24T06:00:00Z" }"#))]
pub struct ClockSet {
    #[schemars(with = "Time")]
    pub now: Value,
}

/// How far the clock moves.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ClockAdvanceRequest", example = example(r#"{ "ms": 3600000 }"#))]
pub struct Advance {
    /// Milliseconds.
    #[serde(deserialize_with = "integer")]
    #[schemars(range(min = 0, max = ADVANCE_MAX_MS))]
    pub ms: i64,
}

/// Everything that was accepted is applied and published.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "now_ms": 1795500000000, "records": 12, "dead_letters": 0, "last_dead": [], "balanced": true }"#))]
pub struct Settled {
    /// Epoch milliseconds.
    pub now_ms: i64,
    /// Records that were consumed since the beginning.
    pub records: u64,
    /// Records that wait as dead letters.
    pub dead_letters: u64,
    /// The last of each partition since the last reset, and why.
    pub last_dead: Vec<String>,
    /// Of every partition, outcomes add up to the records consumed.
    pub balanced: bool,
}

/// What became of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Counted {
    pub consumed: u64,
    pub applied: u64,
    pub duplicate: u64,
    pub stale: u64,
    pub ignored: u64,
    pub late: u64,
    pub dead: u64,
    /// Below the partition's next offset; not counted as consumed.
    pub redelivered: u64,
}

/// What became of the records of one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PartitionCounted {
    pub topic: String,
    pub partition: i32,
    pub next_offset: i64,
    #[serde(flatten)]
    pub counts: Counted,
    /// Why the partition is held.
    pub held: Option<String>,
}

/// What became of a capture.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{
    "partitions": [{ "topic": "cdc.posts", "partition": 0, "next_offset": 7, "consumed": 1, "applied": 1, "duplicate": 0,
        "stale": 0, "ignored": 0, "late": 0, "dead": 0, "redelivered": 0, "held": null }],
    "totals": { "consumed": 1, "applied": 1, "duplicate": 0, "stale": 0, "ignored": 0, "late": 0, "dead": 0, "redelivered": 0 }
}"#))]
pub struct CapturesTaken {
    pub partitions: Vec<PartitionCounted>,
    pub totals: Counted,
}

/// Which snapshot; left out: the beginning.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SnapshotRequest", example = example(r#"{ "name": "two users" }"#))]
pub struct SnapshotNamed {
    #[schemars(length(min = 1, max = NAME_MAX_CHARS))]
    pub name: Option<String>,
}

/// A snapshot that was made or gone back to.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "name": "seed", "now_ms": 1795500000000, "took_ms": 2.1 }"#))]
pub struct SnapshotTold {
    pub name: String,
    /// The clock, epoch milliseconds.
    pub now_ms: i64,
    pub took_ms: f64,
}

/// What happened.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "entries": [], "next": 12, "left_out": 0 }"#))]
pub struct TestLog {
    /// Oldest first.
    pub entries: Vec<Logged>,
    /// Ask with this `since` for what comes behind these.
    pub next: u64,
    /// Entries of which only the count was kept.
    pub left_out: u64,
}

/// One thing that happened: a record was committed, or a page was served.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Logged {
    pub seq: u64,
    /// The clock, epoch milliseconds.
    pub at_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<TappedRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<LoggedPage>,
}

/// A page that was served.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LoggedPage {
    /// `feed`, `trending` or `suggestions`.
    pub what: &'static str,
    /// Whose; of trending nobody's.
    pub user_id: Option<Uuid>,
    /// The answer; of a feed with the reasons of every post, whether or not they were asked for.
    pub answer: Value,
}

/// Faults that are put in; those that are left out end.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "FaultRequest", example = example(r#"{ "slow_commit_ms": 200, "source_lag_ms": 600000, "clickhouse": { "status": 503 } }"#))]
pub struct Fault {
    /// What each commit takes longer, milliseconds.
    #[serde(default, deserialize_with = "maybe_integer")]
    #[schemars(range(min = 0, max = SLOW_COMMIT_MAX_MS))]
    pub slow_commit_ms: Option<u64>,
    /// How far the source is said to be behind, milliseconds: readiness, metrics and limits go by it.
    #[serde(default, deserialize_with = "maybe_integer")]
    #[schemars(range(min = 0))]
    pub source_lag_ms: Option<i64>,
    /// What the stand-in for ClickHouse does instead of taking rows.
    pub clickhouse: Option<ClickHouseFault>,
}

/// What the stand-in for ClickHouse does instead of taking rows: `refuses`, or an answer with `status` or `code`, or
/// `slow_ms`, alone or before such an answer.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ClickHouseFaultRequest", example = example(r#"{ "code": 241, "body": "Memory limit exceeded", "times": 3 }"#))]
pub struct ClickHouseFault {
    /// Connections are refused, as if no server ran.
    pub refuses: Option<bool>,
    /// The HTTP status of the answer. Alone it is a proxy's, which answers every request.
    #[serde(default, deserialize_with = "maybe_integer")]
    #[schemars(range(min = REFUSAL_STATUS_MIN, max = REFUSAL_STATUS_MAX))]
    pub status: Option<u16>,
    /// ClickHouse's own error code, with which it refuses inserts; the status is 500 where it is left out.
    #[serde(default, deserialize_with = "maybe_integer")]
    #[schemars(range(min = 1, max = REFUSAL_CODE_MAX))]
    pub code: Option<u32>,
    /// The text of the answer; with `code` it stands behind the code.
    #[schemars(length(max = REFUSAL_BODY_MAX_CHARS))]
    pub body: Option<String>,
    /// How long each answer takes, milliseconds: from 1000 on nova has given the request up.
    #[serde(default, deserialize_with = "maybe_integer")]
    #[schemars(range(min = 0, max = SLOW_ANSWER_MAX_MS))]
    pub slow_ms: Option<u64>,
    /// So many requests meet the fault, which ends with the last of them. Left out: until it is ended.
    #[serde(default, deserialize_with = "maybe_integer")]
    #[schemars(range(min = 1, max = FAULT_TIMES_MAX))]
    pub times: Option<u64>,
}

/// A token that is wanted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TestTokenRequest", example = example(r#"{ "sub": "0193a5f0-c2d1-7e2c-9f0e-5b0f6f2f8f3d", "ttl": "1h" }"#))]
pub struct TokenAsked {
    /// The user.
    #[schemars(with = "Uuid")]
    pub sub: String,
    /// `admin` or `service`.
    pub role: Option<String>,
    /// How long it is good: seconds, or a number with s, m, h or d. Left out: an hour.
    #[schemars(with = "Option<String>")]
    pub ttl: Option<Value>,
    /// What is wrong with it: `expired`, `not-yet-valid`, `signature`, `issuer` or `audience`.
    pub broken: Option<String>,
}

/// A token.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "token": "eyJhbGciOiJFZERTQSJ9.e30.c2ln" }"#))]
pub struct TestToken {
    pub token: String,
}
