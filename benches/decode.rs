//! Measures how many records per second one core decodes: client events, and Debezium's formats from real captures.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a measurement that fails ends")]

use std::hint::black_box;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nova::decode::{Decoder, FileSchemas, NoSchemas, Schemas, Topics, client};
use nova::event::{Action, ClientEvent, Decoded, Id, Record};

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cdc").join(name);
    let bytes = std::fs::read(path).expect("fixture");
    let mut text = String::new();
    match name.ends_with(".gz") {
        true => flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).expect("gzip"),
        false => (&bytes[..]).read_to_string(&mut text).expect("text"),
    };
    text
}

/// Returns the records of one table that have a value.
fn capture(name: &str, table: &str) -> Vec<Record> {
    let records = fixture(name);
    let lines = records.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("capture line"));
    let bytes = |line: &serde_json::Value, member: &str| match (
        line[member].as_str(),
        line[format!("{member}_b64")].as_str(),
    ) {
        (Some(text), _) => Some(Bytes::from(text.to_owned())),
        (_, Some(text)) => Some(Bytes::from(base64::engine::general_purpose::STANDARD.decode(text).expect("base64"))),
        _ => None,
    };
    lines
        .map(|line| record(line["topic"].as_str().unwrap_or_default(), bytes(&line, "key"), bytes(&line, "value")))
        .filter(|record| record.topic.ends_with(table) && record.value.is_some())
        .collect()
}

fn record(topic: &str, key: Option<Bytes>, value: Option<Bytes>) -> Record {
    Record {
        topic: topic.into(),
        partition: 0,
        offset: 0,
        timestamp_ms: 1_795_476_489_660,
        key,
        value,
        headers: Vec::new(),
        defect: None,
        origin: None,
        lsn_delta: 0,
    }
}

fn events() -> Vec<Record> {
    let event = |n: u128| ClientEvent {
        event_id: Id::from_u128(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)),
        user_id: Id::from_u128(n.wrapping_mul(0x2545_f491_4f6c_dd1d_0000_0000_0000_0001)),
        post_id: Id::from_u128(n.wrapping_mul(0xd6e8_feb8_6659_fd93_0000_0000_0000_0001)),
        author_id: Some(Id::from_u128(n.wrapping_mul(0xa076_1d64_78bd_642f_0000_0000_0000_0001))),
        action: Action::ALL[(n % 5) as usize],
        event_time_ms: 1_795_132_800_000 + n as i64,
        dwell_ms: 1_831,
        device: "android".into(),
        app_ver: "web-2026.46.2".into(),
    };
    (0..2_000).map(|n| record("events", None, Some(Bytes::from(client::encode(&event(n)))))).collect()
}

fn decode(criterion: &mut Criterion) {
    let file = FileSchemas::parse(&fixture("envelope-avro.schemas.json")).expect("schemas");
    let none: Arc<dyn Schemas> = Arc::new(NoSchemas);
    let subjects = [
        ("client events", events(), Arc::clone(&none)),
        ("likes envelope", capture("random-envelope.jsonl.gz", ".likes"), Arc::clone(&none)),
        ("posts envelope", capture("random-envelope.jsonl.gz", ".posts"), Arc::clone(&none)),
        ("likes flattened", capture("random-flat.jsonl.gz", ".likes"), Arc::clone(&none)),
        ("likes envelope with schema", capture("envelope-schemas.jsonl", ".likes"), none),
        ("likes envelope Avro", capture("envelope-avro.jsonl", ".likes"), Arc::new(file)),
    ];
    let mut group = criterion.benchmark_group("decode");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3)).sample_size(20);
    for (name, records, schemas) in subjects {
        let topics = Topics { last_part: true, ..Topics::default() };
        let mut decoder = Decoder::new(topics, schemas);
        group.throughput(Throughput::Elements(records.len() as u64));
        let mut out: Vec<Decoded> = Vec::with_capacity(records.len());
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                out.extend(records.iter().map(|record| decoder.decode(black_box(record))));
            })
        });
        assert!(out.iter().all(|decoded| !matches!(decoded, Decoded::Dead(_) | Decoded::Wait(_))), "{name}");
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
