//! Parses one line of a capture.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rustc_hash::FxHashSet;
use serde::Deserialize;
use serde_json::Value;

use crate::event::{NO_TIMESTAMP, Record};

/// The maximum number of topic names of a capture that records share in memory.
const TOPICS_MAX: usize = 4_096;

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    topic: Cow<'a, str>,
    partition: i32,
    offset: i64,
    #[serde(default)]
    timestamp_ms: Option<i64>,
    #[serde(borrow, default)]
    key: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    value: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    key_b64: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    value_b64: Option<Cow<'a, str>>,
    /// The headers of the record as a flat list in which each value follows its name.
    #[serde(borrow, default)]
    headers: Vec<Option<Cow<'a, str>>>,
}

/// Parses one line of a capture to a record. The `Err` of the result says what is wrong with the line.
pub(in crate::source) fn parse(bytes: &[u8], topics: &mut FxHashSet<Arc<str>>) -> Result<Record, String> {
    let line: Line<'_> = serde_json::from_slice(bytes).map_err(|error| told(bytes, &error))?;
    if line.offset < 0 || line.offset == i64::MAX {
        return Err(format!("offset: {} is not a Kafka offset", line.offset));
    }
    if line.partition < 0 {
        return Err(format!("partition: {} is negative", line.partition));
    }
    if line.topic.is_empty() {
        return Err("topic: is empty".to_owned());
    }
    Ok(Record {
        topic: shared(&line.topic, topics),
        partition: line.partition,
        offset: line.offset,
        timestamp_ms: line.timestamp_ms.unwrap_or(NO_TIMESTAMP),
        key: payload("key_b64", line.key, line.key_b64)?,
        value: payload("value_b64", line.value, line.value_b64)?,
        headers: headers(line.headers),
        defect: None,
        origin: None,
        lsn_delta: 0,
    })
}

/// A member of a line: its name, its expected form, and whether a value has this form.
type Member = (&'static str, &'static str, fn(&Value) -> bool);
const MEMBERS: [Member; 9] = [
    ("topic", "a string", Value::is_string),
    ("partition", "a number of 32 bits", |value| value.as_i64().is_some_and(|number| i32::try_from(number).is_ok())),
    ("offset", "a whole number", Value::is_i64),
    ("timestamp_ms", "a whole number or null", |value| value.is_i64() || value.is_null()),
    ("key", TEXT, text),
    ("value", TEXT, text),
    ("key_b64", TEXT, text),
    ("value_b64", TEXT, text),
    ("headers", "a list of strings", Value::is_array),
];
const TEXT: &str = "a string or null";

fn text(value: &Value) -> bool {
    value.is_string() || value.is_null()
}

/// Returns the message for a line that serde refuses. The message names the member with the wrong form, or the position
/// at which serde stopped.
fn told(bytes: &[u8], error: &serde_json::Error) -> String {
    if let Ok(Value::Object(members)) = serde_json::from_slice(bytes) {
        let wrong = |(name, _, is): &&Member| members.get(*name).is_some_and(|value| !is(value));
        if let Some((name, expected, _)) = MEMBERS.iter().find(wrong) {
            return format!("{name}: expected {expected}");
        }
    }
    // serde parses one line at a time, so the line number in its message is always 1 and is removed.
    let words = error.to_string();
    let place = format!(" at line 1 column {}", error.column());
    match words.strip_suffix(&place) {
        Some(words) => format!("column {}: {words}", error.column()),
        None => words,
    }
}

fn shared(topic: &str, topics: &mut FxHashSet<Arc<str>>) -> Arc<str> {
    if let Some(known) = topics.get(topic) {
        return Arc::clone(known);
    }
    let topic: Arc<str> = topic.into();
    if topics.len() < TOPICS_MAX {
        topics.insert(Arc::clone(&topic));
    }
    topic
}

fn payload(name: &str, text: Option<Cow<'_, str>>, base64: Option<Cow<'_, str>>) -> Result<Option<Bytes>, String> {
    match (text, base64) {
        (Some(text), _) => Ok(Some(Bytes::from(text.into_owned()))),
        (None, Some(base64)) => match STANDARD.decode(base64.as_bytes()) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) => Err(format!("{name}: is not base64: {error}")),
        },
        (None, None) => Ok(None),
    }
}

fn headers(flat: Vec<Option<Cow<'_, str>>>) -> Vec<(Box<str>, Bytes)> {
    let text = |text: &Option<Cow<'_, str>>| text.as_deref().unwrap_or_default().to_owned();
    flat.chunks_exact(2).map(|pair| (text(&pair[0]).into(), text(&pair[1]).into())).collect()
}
