//! Helpers that read captures as records, and make records by hand.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine;
use bytes::Bytes;
use serde_json::Value;

use crate::decode::{Decoder, FileSchemas, NoSchemas, Topics};
use crate::event::{Change, Decoded, Record};

pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cdc").join(name)
}

pub fn text(name: &str) -> String {
    let bytes = std::fs::read(fixture(name)).unwrap();
    let mut text = String::new();
    match name.ends_with(".gz") {
        true => flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap(),
        false => (&bytes[..]).read_to_string(&mut text).unwrap(),
    };
    text
}

/// Returns the records of a capture in the order of the file.
pub fn capture(name: &str) -> Vec<Record> {
    text(name).lines().map(|line| record_of(&serde_json::from_str(line).unwrap())).collect()
}

fn record_of(line: &Value) -> Record {
    let bytes = |name: &str| match (&line[name], &line[format!("{name}_b64")]) {
        (Value::String(text), _) => Some(Bytes::from(text.clone())),
        (_, Value::String(text)) => Some(Bytes::from(base64::engine::general_purpose::STANDARD.decode(text).unwrap())),
        _ => None,
    };
    Record {
        topic: line["topic"].as_str().unwrap().into(),
        partition: i32::try_from(line["partition"].as_i64().unwrap()).unwrap(),
        offset: line["offset"].as_i64().unwrap(),
        timestamp_ms: line["timestamp_ms"].as_i64().unwrap(),
        key: bytes("key"),
        value: bytes("value"),
        headers: headers(&line["headers"]),
        defect: None,
        origin: None,
        lsn_delta: 0,
    }
}

/// Reads a flat list of names and values, in which each value follows its name.
fn headers(list: &Value) -> Vec<(Box<str>, Bytes)> {
    let parts: Vec<&str> = list.as_array().into_iter().flatten().map(|part| part.as_str().unwrap()).collect();
    parts.chunks_exact(2).map(|pair| (pair[0].into(), Bytes::copy_from_slice(pair[1].as_bytes()))).collect()
}

pub fn topics() -> Topics {
    Topics { last_part: true, ..Topics::default() }
}

pub fn decoder() -> Decoder {
    Decoder::new(topics(), Arc::new(NoSchemas))
}

pub fn avro_decoder() -> Decoder {
    let schemas = FileSchemas::parse(&text("envelope-avro.schemas.json")).unwrap();
    Decoder::new(topics(), Arc::new(schemas))
}

/// Decodes a capture whose records are all changes.
pub fn changes(mut decoder: Decoder, name: &str) -> Vec<(Record, Change)> {
    let change = |record: Record| match decoder.decode(&record) {
        Decoded::Change(change) => (record, change),
        other => panic!("{name} {}/{}@{}: {other:?}", record.topic, record.partition, record.offset),
    };
    capture(name).into_iter().map(change).collect()
}
pub fn record(topic: &str, key: Option<&[u8]>, value: Option<&[u8]>) -> Record {
    Record {
        topic: topic.into(),
        partition: 3,
        offset: 17,
        timestamp_ms: 1_795_476_489_660,
        key: key.map(Bytes::copy_from_slice),
        value: value.map(Bytes::copy_from_slice),
        headers: Vec::new(),
        defect: None,
        origin: None,
        lsn_delta: 0,
    }
}

pub const KEY: &str = r#"{"id":"30000000-0000-4000-8000-000000000001"}"#;

/// Decodes a record of `topic` with the key [`KEY`].
pub fn decode(topic: &str, value: &str) -> Decoded {
    decoder().decode(&record(topic, Some(KEY.as_bytes()), Some(value.as_bytes())))
}

pub fn change(decoded: Decoded) -> Change {
    match decoded {
        Decoded::Change(change) => change,
        other => panic!("{other:?}"),
    }
}

/// Returns the reason and the detail of a dead letter.
pub fn dead(decoded: Decoded) -> (&'static str, String) {
    match decoded {
        Decoded::Dead(dead) => (dead.reason, dead.detail),
        other => panic!("{other:?}"),
    }
}
