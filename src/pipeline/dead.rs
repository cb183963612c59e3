//! Reading the dead letters. Only the writer changes them.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use nova_storage::codec::DeadLetter;
use nova_storage::schema::DEAD;
use nova_storage::{ReadError, ReadTxn};
use serde_json::{Value, json};

use crate::decode::origin::{self, ORIGIN_HEADER};
use crate::event::Record;

/// Letters of one page: a listing never pins the file for long.
pub const PAGE_MAX_LETTERS: usize = 1_000;

/// The letters with an id above `after`, oldest first, at most `limit` and [`PAGE_MAX_LETTERS`].
pub fn page(read: &ReadTxn, after: Option<u64>, limit: usize) -> Result<Vec<(u64, DeadLetter)>, ReadError> {
    let mut letters = Vec::new();
    each(read, after, limit, |id, letter| letters.push((id, letter)))?;
    Ok(letters)
}

/// The same, told one by one: their bytes may be many.
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

/// One letter.
pub fn get(read: &ReadTxn, id: u64) -> Result<Option<DeadLetter>, ReadError> {
    Ok(read.get_with(DEAD, id, DeadLetter::decode)?.transpose()?)
}

/// The record that a dead letter was made from.
pub fn record(letter: &DeadLetter) -> Record {
    let (origins, headers): (Vec<_>, Vec<_>) = letter.headers.iter().partition(|(name, _)| name == ORIGIN_HEADER);
    // One that cannot be read is left out: the record then is of a topic that nobody follows.
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

/// A letter without its bytes, as it is listed.
pub fn summary(id: u64, letter: &DeadLetter) -> Value {
    json!({
        "id": id, "topic": letter.topic, "partition": letter.partition, "offset": letter.offset,
        "timestamp_ms": letter.timestamp_ms, "stage": letter.stage, "reason": letter.reason,
        "detail": letter.detail, "attempts": letter.attempts,
        "key_bytes": letter.key_bytes, "value_bytes": letter.value_bytes,
    })
}

/// A letter with its bytes, in Base64 and as text.
pub fn whole(id: u64, letter: &DeadLetter) -> Value {
    let bytes = |bytes: &Option<Vec<u8>>| match bytes {
        None => Value::Null,
        Some(bytes) => json!({ "base64": STANDARD.encode(bytes), "text": String::from_utf8_lossy(bytes) }),
    };
    let mut all = summary(id, letter);
    all["died_at_ms"] = letter.died_at_ms.into();
    all["key"] = bytes(&letter.key);
    all["value"] = bytes(&letter.value);
    let headers = letter.headers.iter().map(|(name, value)| json!([name, String::from_utf8_lossy(value)]));
    all["headers"] = Value::from(headers.collect::<Vec<_>>());
    all
}
