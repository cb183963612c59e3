//! The forms of requests and answers of the control routes.

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::http::body::{integer, maybe_integer};
use crate::http::shapes::TappedRecord;
use crate::schema::{Time, Uuid, example};

/// The longest time by which one call may advance the clock, in milliseconds. This time is longer than every window of
/// trending.
pub const ADVANCE_MAX_MS: i64 = 400 * 86_400_000;
/// The most characters of a snapshot's name.
pub const NAME_MAX_CHARS: usize = 64;
/// The longest pretended time of a commit, in milliseconds. Requests wait only 5 s for a commit.
pub const SLOW_COMMIT_MAX_MS: u64 = 10_000;
/// The lowest and the highest HTTP status of a refusal.
pub const REFUSAL_STATUS_MIN: u16 = 400;
pub const REFUSAL_STATUS_MAX: u16 = 599;
/// The highest error code of ClickHouse: the codes of ClickHouse have at most four digits.
pub const REFUSAL_CODE_MAX: u32 = 9_999;
/// The most characters of a refusal's text.
pub const REFUSAL_BODY_MAX_CHARS: usize = 4_096;
/// The longest pretended time of an answer of ClickHouse, in milliseconds.
pub const SLOW_ANSWER_MAX_MS: u64 = 10_000;
/// The most requests to which a fault of ClickHouse may apply.
pub const FAULT_TIMES_MAX: u64 = 1_000_000;

/// The time of the server's clock, and whether a test or the system moves the clock.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "now": "2026-11-24T06:00:00.000000Z", "now_ms": 1795500000000, "clock": "manual" }"#))]
pub struct ClockTold {
    #[schemars(extend("format" = "date-time"))]
    pub now: String,
    /// The time of the server's clock in epoch milliseconds.
    pub now_ms: i64,
    /// The kind of the clock: `manual` or `real`.
    pub clock: &'static str,
}

/// The time to which the server's clock moves.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ClockSetRequest", example = example(r#"{ "now": "2026-11-24T06:00:00Z" }"#))]
pub struct ClockSet {
    #[schemars(with = "Time")]
    pub now: Value,
}

/// The time by which the server's clock moves.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ClockAdvanceRequest", example = example(r#"{ "ms": 3600000 }"#))]
pub struct Advance {
    /// The time by which the clock moves, in milliseconds.
    #[serde(deserialize_with = "integer")]
    #[schemars(range(min = 0, max = ADVANCE_MAX_MS))]
    pub ms: i64,
}

/// The state of the server after it has applied and published every accepted record.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "now_ms": 1795500000000, "records": 12, "dead_letters": 0, "last_dead": [], "balanced": true }"#))]
pub struct Settled {
    /// The time of the server's clock in epoch milliseconds.
    pub now_ms: i64,
    /// The number of records that the server has consumed since its beginning.
    pub records: u64,
    /// The number of dead letters.
    pub dead_letters: u64,
    /// The last dead letter of each partition since the last reset, with its reason.
    pub last_dead: Vec<String>,
    /// Whether, for every partition, the numbers of all outcomes add up to the number of consumed records.
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
    /// The number of redelivered records, whose offsets are below the partition's next offset. Redelivered records do
    /// not count as consumed.
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
    /// The reason why the partition is held, or null if it is not held.
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

/// The name of a snapshot. A reset without a name restores the initial state of the server.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SnapshotRequest", example = example(r#"{ "name": "two users" }"#))]
pub struct SnapshotNamed {
    #[schemars(length(min = 1, max = NAME_MAX_CHARS))]
    pub name: Option<String>,
}

/// A snapshot that the server has made or restored.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "name": "seed", "now_ms": 1795500000000, "took_ms": 2.1 }"#))]
pub struct SnapshotTold {
    pub name: String,
    /// The time of the server's clock, in epoch milliseconds.
    pub now_ms: i64,
    pub took_ms: f64,
}

/// A part of the log of a server for tests.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "entries": [], "next": 12, "left_out": 0 }"#))]
pub struct TestLog {
    /// The entries of the log, oldest first.
    pub entries: Vec<Logged>,
    /// The value of `since` for the next request.
    pub next: u64,
    /// The number of entries that the server no longer keeps.
    pub left_out: u64,
}

/// One entry of the test log: a committed record, or a served page.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Logged {
    pub seq: u64,
    /// The time of the server's clock at the entry, in epoch milliseconds.
    pub at_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<TappedRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<LoggedPage>,
}

/// A page that the server served.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LoggedPage {
    /// The kind of the page: `feed`, `trending` or `suggestions`.
    pub what: &'static str,
    /// The user of the page. A page of trending has no user.
    pub user_id: Option<Uuid>,
    /// The answer that the server sent. A feed has the reasons for every post, even if the request did not ask for
    /// reasons.
    pub answer: Value,
}

/// The faults that the server sets. A request ends every fault that it does not name.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "FaultRequest", example = example(r#"{ "slow_commit_ms": 200, "source_lag_ms": 600000, "clickhouse": { "status": 503 } }"#))]
pub struct Fault {
    /// The additional time of each commit, in milliseconds.
    #[serde(default, deserialize_with = "maybe_integer")]
    #[schemars(range(min = 0, max = SLOW_COMMIT_MAX_MS))]
    pub slow_commit_ms: Option<u64>,
    /// The pretended delay of the source in milliseconds, which readiness, metrics and limits use.
    #[serde(default, deserialize_with = "maybe_integer")]
    #[schemars(range(min = 0))]
    pub source_lag_ms: Option<i64>,
    /// The fault of the stand-in for ClickHouse. A stand-in without a fault takes all rows.
    #[serde(default, deserialize_with = "maybe_fault")]
    pub clickhouse: Option<ClickHouseFault>,
}

/// A fault of the stand-in for ClickHouse: `refuses`, an error with `status` or `code`, or slow answers with `slow_ms`.
/// `slow_ms` may also delay an error.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ClickHouseFaultRequest", example = example(r#"{ "code": 241, "body": "Memory limit exceeded", "times": 3 }"#))]
pub struct ClickHouseFault {
    /// Whether the stand-in refuses connections, as if ClickHouse did not run.
    pub refuses: Option<bool>,
    /// The HTTP status of the stand-in's answer. Without `code` the stand-in acts like a proxy that answers every
    /// request with the same status.
    #[serde(default, deserialize_with = "maybe_integer")]
    #[schemars(range(min = REFUSAL_STATUS_MIN, max = REFUSAL_STATUS_MAX))]
    pub status: Option<u16>,
    /// ClickHouse's error code, with which the stand-in refuses inserts. If a fault has `code`, the default of `status`
    /// is 500.
    #[serde(default, deserialize_with = "maybe_integer")]
    #[schemars(range(min = 1, max = REFUSAL_CODE_MAX))]
    pub code: Option<u32>,
    /// The text of the stand-in's answer. If a fault has `code`, this text stands after the code in the answer.
    #[schemars(length(max = REFUSAL_BODY_MAX_CHARS))]
    pub body: Option<String>,
    /// The time that each answer of the stand-in takes, in milliseconds. If an answer takes 1000 ms or longer, nova
    /// ends the request before the answer.
    #[serde(default, deserialize_with = "maybe_integer")]
    #[schemars(range(min = 0, max = SLOW_ANSWER_MAX_MS))]
    pub slow_ms: Option<u64>,
    /// The number of requests to which the fault applies (default: all requests until a test ends the fault).
    #[serde(default, deserialize_with = "maybe_integer")]
    #[schemars(range(min = 1, max = FAULT_TIMES_MAX))]
    pub times: Option<u64>,
}

/// Reads a fault of ClickHouse, which must be an object. Without the check for an object, serde would also read the
/// fault from an array of its members. The API does not document such arrays.
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
    /// The id of the token's user.
    #[schemars(with = "Uuid")]
    pub sub: String,
    /// The role of the token's user: `admin` or `service`.
    pub role: Option<String>,
    /// The lifetime of the token: a number of seconds, or a number with s, m, h or d (default: an hour).
    #[schemars(with = "Option<String>")]
    pub ttl: Option<Value>,
    /// The defect of the token: `expired`, `not-yet-valid`, `signature`, `issuer` or `audience`.
    pub broken: Option<String>,
}

/// The token that the server made.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = example(r#"{ "token": "eyJhbGciOiJFZERTQSJ9.e30.c2ln" }"#))]
pub struct TestToken {
    pub token: String,
}
