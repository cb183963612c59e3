//! Reads the dead letters. Only the writer changes dead letters.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use nova_storage::codec::DeadLetter;
use nova_storage::schema::DEAD;
use nova_storage::{ReadError, ReadTxn};
use schemars::JsonSchema;
use serde::Serialize;

use crate::decode::origin::{self, ORIGIN_HEADER};
use crate::event::Record;

/// The maximum number of dead letters on one page, so that a listing never holds a read transaction open for long.
pub const PAGE_MAX_LETTERS: usize = 1_000;

/// The dead letters whose ids are above `after`, oldest first. The page has at most `limit` and at most
/// [`PAGE_MAX_LETTERS`] letters.
pub fn page(read: &ReadTxn, after: Option<u64>, limit: usize) -> Result<Vec<(u64, DeadLetter)>, ReadError> {
    let mut letters = Vec::new();
    each(read, after, limit, |id, letter| letters.push((id, letter)))?;
    Ok(letters)
}

/// Does the same as `page`, but calls `each` with one letter after the other, because the bytes of many letters may not
/// fit into memory.
pub fn each(
    read: &ReadTxn,
    after: Option<u64>,
    limit: usize,
    mut told: impl FnMut(u64, DeadLetter),
) -> Result<(), ReadError> {
    let (mut left, mut failed) = (limit.min(PAGE_MAX_LETTERS), None);
    let from = after.map_or(0, |id| id.saturating_add(1));
    read.scan(DEAD, from.., |id, bytes| {
        if left == 0 {
            return false;
        }
        left -= 1;
        match DeadLetter::decode(bytes) {
            Ok(letter) => told(id, letter),
            Err(error) => failed = Some(error),
        }
        failed.is_none()
    })?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// Reads one dead letter by its id.
pub fn get(read: &ReadTxn, id: u64) -> Result<Option<DeadLetter>, ReadError> {
    Ok(read.get_with(DEAD, id, DeadLetter::decode)?.transpose()?)
}

/// The record from which a dead letter was made.
pub fn record(letter: &DeadLetter) -> Record {
    let (origins, headers): (Vec<_>, Vec<_>) = letter.headers.iter().partition(|(name, _)| name == ORIGIN_HEADER);
    // If the origin of the record cannot be read, the record has no origin. A record without an origin belongs to a
    // topic that nova does not follow.
    let origin = origins.first().and_then(|(_, bytes)| origin::decode(bytes).ok()).map(Arc::new);
    Record {
        topic: letter.topic.as_str().into(),
        partition: letter.partition,
        offset: letter.offset,
        timestamp_ms: letter.timestamp_ms,
        key: letter.key.clone().map(Bytes::from),
        value: letter.value.clone().map(Bytes::from),
        headers: headers.into_iter().map(|(name, value)| (name.as_str().into(), value.clone().into())).collect(),
        defect: None,
        origin,
        lsn_delta: 0,
    }
}

/// A dead letter without its bytes, in the form of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "DeadLetter", example = crate::schema::example(r#"{
    "id": 7, "topic": "cdc.posts", "partition": 0, "offset": 4711, "timestamp_ms": 1795500000000, "stage": "decode",
    "reason": "malformed-json", "detail": "expected value at line 1 column 1", "attempts": 1, "key_bytes": 45,
    "value_bytes": 12
}"#))]
pub struct Summary {
    pub id: u64,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// The arrival of the record, epoch milliseconds.
    pub timestamp_ms: i64,
    /// The stage that refused the record.
    pub stage: String,
    /// The reason for which the record was refused, as a code.
    pub reason: String,
    /// The reason for which the record was refused, in words for a person.
    pub detail: String,
    pub attempts: u32,
    /// The sizes of the record's key and value in bytes, before nova cut them.
    pub key_bytes: u64,
    pub value_bytes: u64,
}

/// A dead letter with its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "DeadLetterWithBytes", example = crate::schema::example(r#"{
    "id": 7, "topic": "cdc.posts", "partition": 0, "offset": 4711, "timestamp_ms": 1795500000000, "stage": "decode",
    "reason": "malformed-json", "detail": "expected value at line 1 column 1", "attempts": 1, "key_bytes": 2,
    "value_bytes": 8, "died_at_ms": 1795500000125, "key": null,
    "value": { "base64": "bm8ganNvbg==", "text": "no json" }, "headers": [["source", "a"]]
}"#))]
pub struct Whole {
    #[serde(flatten)]
    pub summary: Summary,
    /// The time at which the dead letter was made, epoch milliseconds.
    pub died_at_ms: i64,
    pub key: Option<Shown>,
    pub value: Option<Shown>,
    /// The name and the value of each header of the record.
    pub headers: Vec<(String, String)>,
}

/// The bytes of a record in Base64, and as text with U+FFFD for bytes that are not UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Bytes")]
pub struct Shown {
    pub base64: String,
    pub text: String,
}

/// A dead letter without its bytes.
pub fn summary(id: u64, letter: &DeadLetter) -> Summary {
    Summary {
        id,
        topic: letter.topic.clone(),
        partition: letter.partition,
        offset: letter.offset,
        timestamp_ms: letter.timestamp_ms,
        stage: letter.stage.clone(),
        reason: letter.reason.clone(),
        detail: letter.detail.clone(),
        attempts: letter.attempts,
        key_bytes: letter.key_bytes,
        value_bytes: letter.value_bytes,
    }
}

/// A dead letter with its bytes.
pub fn whole(id: u64, letter: &DeadLetter) -> Whole {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let shown = |bytes: &Vec<u8>| Shown { base64: STANDARD.encode(bytes), text: text(bytes) };
    Whole {
        summary: summary(id, letter),
        died_at_ms: letter.died_at_ms,
        key: letter.key.as_ref().map(shown),
        value: letter.value.as_ref().map(shown),
        headers: letter.headers.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
    }
}
