//! The forms of requests and answers of the control routes.

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::http::body::{integer, maybe_integer};
use crate::http::shapes::TappedRecord;
use crate::schema::{Time, Uuid, example};

/// The longest advance of the clock in one call, milliseconds. It is longer than any window of trending.
pub const ADVANCE_MAX_MS: i64 = 400 * 86_400_000;
/// The most characters of a snapshot's name.
pub const NAME_MAX_CHARS: usize = 64;
/// The longest pretended time of a commit, milliseconds. Requests wait for 5 s.
pub const SLOW_COMMIT_MAX_MS: u64 = 10_000;
/// The lowest and the highest HTTP status of a refusal.
pub const REFUSAL_STATUS_MIN: u16 = 400;
pub const REFUSAL_STATUS_MAX: u16 = 599;
/// The highest error code of ClickHouse: its codes have at most four digits.
pub const REFUSAL_CODE_MAX: u32 = 9_999;
/// The most characters of a refusal's text.
pub const REFUSAL_BODY_MAX_CHARS: usize = 4_096;
/// The longest pretended time of an answer of ClickHouse, milliseconds.
pub const SLOW_ANSWER_MAX_MS: u64 = 10_000;
/// The most requests to which a fault of ClickHouse may apply.
pub const FAULT_TIMES_MAX: u64 = 1_000_000;

/// The time, and whether tests or the system move it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "now": "2026-11-24T06:00:00.000000Z", "now_ms": 1795500000000, "clock": "manual" }"#))]
pub struct ClockTold {
    #[schemars(extend("format" = "date-time"))]
    pub now: String,
    /// The time in epoch milliseconds.
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
    /// The distance in milliseconds.
    #[serde(deserialize_with = "integer")]
    #[schemars(range(min = 0, max = ADVANCE_MAX_MS))]
    pub ms: i64,
}

/// The result when everything that was accepted is applied and published.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "now_ms": 1795500000000, "records": 12, "dead_letters": 0, "last_dead": [], "balanced": true }"#))]
pub struct Settled {
    /// The clock in epoch milliseconds.
    pub now_ms: i64,
    /// The number of records consumed since the beginning.
    pub records: u64,
    /// The number of dead letters.
    pub dead_letters: u64,
    /// The last dead letter of each partition since the last reset, with its reason.
    pub last_dead: Vec<String>,
    /// Whether the outcomes of every partition add up to the records consumed.
    pub balanced: bool,
}

/// The numbers of records by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Counted {
    pub consumed: u64,
    pub applied: u64,
    pub duplicate: u64,
    pub stale: u64,
    pub ignored: u64,
    pub late: u64,
    pub dead: u64,
    /// Records below the partition's next offset. Redelivered records do not count as consumed.
    pub redelivered: u64,
}

/// The outcomes of the records of one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PartitionCounted {
    pub topic: String,
    pub partition: i32,
    pub next_offset: i64,
    #[serde(flatten)]
    pub counts: Counted,
    /// Why the partition is held, if it is.
    pub held: Option<String>,
}

/// The outcome of a capture.
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

/// The name of a snapshot. The default is the beginning.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SnapshotRequest", example = example(r#"{ "name": "two users" }"#))]
pub struct SnapshotNamed {
    #[schemars(length(min = 1, max = NAME_MAX_CHARS))]
    pub name: Option<String>,
}

/// A snapshot that was made or restored.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "name": "seed", "now_ms": 1795500000000, "took_ms": 2.1 }"#))]
pub struct SnapshotTold {
    pub name: String,
    /// The clock, epoch milliseconds.
    pub now_ms: i64,
    pub took_ms: f64,
}

/// A part of the log of a server for tests.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "entries": [], "next": 12, "left_out": 0 }"#))]
pub struct TestLog {
    /// The entries, oldest first.
    pub entries: Vec<Logged>,
    /// The `since` of the next request.
    pub next: u64,
    /// The number of entries that were not kept.
    pub left_out: u64,
}

/// One entry: a record was committed, or a page was served.
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
    /// The user of the page. Trending has none.
    pub user_id: Option<Uuid>,
    /// The answer. The answer with a feed has the reasons of every post, whether or not they were requested.
    pub answer: Value,
}

/// The faults to set. Faults that are left out end.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "FaultRequest", example = example(r#"{ "slow_commit_ms": 200, "source_lag_ms": 600000, "clickhouse": { "status": 503 } }"#))]
pub struct Fault {
    /// The additional time of each commit, milliseconds.
    #[serde(default, deserialize_with = "maybe_integer")]
    #[schemars(range(min = 0, max = SLOW_COMMIT_MAX_MS))]
    pub slow_commit_ms: Option<u64>,
    /// The pretended delay of the source, milliseconds. Readiness, metrics and limits use it.
    #[serde(default, deserialize_with = "maybe_integer")]
    #[schemars(range(min = 0))]
    pub source_lag_ms: Option<i64>,
    /// The behaviour of the stand-in for ClickHouse instead of taking rows.
    #[serde(default, deserialize_with = "maybe_fault")]
    pub clickhouse: Option<ClickHouseFault>,
}

/// The behaviour of the stand-in for ClickHouse instead of taking rows: `refuses`, or an answer with `status` or
/// `code`, or `slow_ms`, alone or before such an answer.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ClickHouseFaultRequest", example = example(r#"{ "code": 241, "body": "Memory limit exceeded", "times": 3 }"#))]
pub struct ClickHouseFault {
    /// Connections are refused, as if no server ran.
    pub refuses: Option<bool>,
    /// The HTTP status of the answer. Without `code` it acts like a proxy that answers every request.
    #[serde(default, deserialize_with = "maybe_integer")]
    #[schemars(range(min = REFUSAL_STATUS_MIN, max = REFUSAL_STATUS_MAX))]
    pub status: Option<u16>,
    /// ClickHouse's own error code, with which it refuses inserts. The default status is then 500.
    #[serde(default, deserialize_with = "maybe_integer")]
    #[schemars(range(min = 1, max = REFUSAL_CODE_MAX))]
    pub code: Option<u32>,
    /// The text of the answer. With `code` it follows the code.
    #[schemars(length(max = REFUSAL_BODY_MAX_CHARS))]
    pub body: Option<String>,
    /// How long each answer takes, milliseconds. From 1000 on nova gives the request up before the answer.
    #[serde(default, deserialize_with = "maybe_integer")]
    #[schemars(range(min = 0, max = SLOW_ANSWER_MAX_MS))]
    pub slow_ms: Option<u64>,
    /// The number of requests to which the fault applies. The default is all until the fault is ended.
    #[serde(default, deserialize_with = "maybe_integer")]
    #[schemars(range(min = 1, max = FAULT_TIMES_MAX))]
    pub times: Option<u64>,
}

/// Reads a fault of ClickHouse. Without this check serde would also accept an array of its members, which is not
/// documented.
fn maybe_fault<'de, D: Deserializer<'de>>(json: D) -> Result<Option<ClickHouseFault>, D::Error> {
    let Some(fault) = Option::<&RawValue>::deserialize(json)? else { return Ok(None) };
    if fault.get().starts_with('[') {
        return Err(D::Error::custom("expected an object, found an array"));
    }
    serde_json::from_str(fault.get()).map(Some).map_err(D::Error::custom)
}

/// The properties of a requested token.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TestTokenRequest", example = example(r#"{ "sub": "0193a5f0-c2d1-7e2c-9f0e-5b0f6f2f8f3d", "ttl": "1h" }"#))]
pub struct TokenAsked {
    /// The user's id.
    #[schemars(with = "Uuid")]
    pub sub: String,
    /// `admin` or `service`.
    pub role: Option<String>,
    /// The lifetime: seconds, or a number with s, m, h or d. The default is an hour.
    #[schemars(with = "Option<String>")]
    pub ttl: Option<Value>,
    /// The defect of the token: `expired`, `not-yet-valid`, `signature`, `issuer` or `audience`.
    pub broken: Option<String>,
}

/// A token.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "token": "eyJhbGciOiJFZERTQSJ9.e30.c2ln" }"#))]
pub struct TestToken {
    pub token: String,
}
