//! Tests with a real registry, if `NOVA_TEST_REGISTRY` names one.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustc_hash::FxHashMap;

use super::support::{avro_decoder, capture, record, text, topics};
use crate::breaker::BreakerState;
use crate::decode::{Decoder, HttpSchemas, RegistrySettings, SchemaLookup, Schemas};
use crate::event::{Decoded, Record};

/// Registers a schema under a subject of its own, and returns the new id.
fn register(address: &str, subject: &str, schema: &serde_json::Value) -> u32 {
    let body = serde_json::json!({ "schema": schema.to_string() }).to_string();
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST /subjects/{subject}/versions HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let answer: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"));
    u32::try_from(answer["id"].as_u64().unwrap()).unwrap()
}

fn renumbered(bytes: Option<Bytes>, ids: &FxHashMap<u32, u32>) -> Option<Bytes> {
    let bytes = bytes?;
    let id = u32::from_be_bytes(bytes[1..5].try_into().unwrap());
    Some([&[0][..], &ids[&id].to_be_bytes(), &bytes[5..]].concat().into())
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the environment says how long a test runs, and with which server")]
fn the_avro_capture_reads_the_same_through_a_registry() {
    let Ok(url) = std::env::var("NOVA_TEST_REGISTRY") else {
        eprintln!("skipped: NOVA_TEST_REGISTRY is not set");
        return;
    };
    let address = url.strip_prefix("http://").unwrap().trim_end_matches('/');
    let file: serde_json::Value = serde_json::from_str(&text("envelope-avro.schemas.json")).unwrap();
    let own = |(id, schema): (&String, &serde_json::Value)| {
        (id.parse().unwrap(), register(address, &format!("decode-test-{id}"), schema))
    };
    let ids: FxHashMap<u32, u32> = file["schemas"].as_object().unwrap().iter().map(own).collect();
    let settings =
        RegistrySettings { url: url.clone(), ca_file: None, basic_auth: None, timeout: Duration::from_secs(5) };
    let schemas = HttpSchemas::start(settings, || 0).unwrap();
    let mut through = Decoder::new(topics(), Arc::new(schemas));
    let mut from_file = avro_decoder();
    for record in capture("envelope-avro.jsonl") {
        let (key, value) = (renumbered(record.key.clone(), &ids), renumbered(record.value.clone(), &ids));
        let theirs = Record { key, value, ..record.clone() };
        let mut decoded = through.decode(&theirs);
        while let Decoded::Wait(wait) = &decoded {
            assert!(wait.detail.contains("asked for"), "{}", wait.detail);
            decoded = through.decode(&theirs);
        }
        assert_eq!(decoded, from_file.decode(&record));
    }
}

/// A registry that answers requests but knows no schema.
struct Empty;

impl Schemas for Empty {
    fn schema(&self, _: u32) -> SchemaLookup {
        SchemaLookup::Unknown
    }

    fn breaker(&self) -> Option<BreakerState> {
        Some(BreakerState::Closed)
    }
}

/// A registry from which nova has no answer yet. No caller may wait for this registry.
struct Hangs;

impl Schemas for Hangs {
    fn schema(&self, id: u32) -> SchemaLookup {
        panic!("schema {id} was asked for")
    }

    fn known(&self, _: u32) -> SchemaLookup {
        SchemaLookup::Unavailable("not known here yet".to_owned())
    }
}

#[test]
fn what_is_decoded_without_being_remembered_asks_for_no_schema() {
    let decoder = Decoder::new(topics(), Arc::new(Hangs));
    let key = br#"{"id":"00000000-0000-4000-8000-000000000001"}"#;
    for topic in ["cdc.users", "cdc.likes"] {
        let decoded = decoder.decode_unremembered(&record(topic, Some(key), Some(&[0, 0, 0, 0, 9, 2])));
        assert!(
            matches!(decoded, Decoded::Wait(wait) if wait.detail.contains("schema 9") && wait.detail.contains("yet"))
        );
    }
}

/// The test `dlq_retry` found that a dead letter of `users` keeps nothing of a record that cannot be read, so that the
/// letter could never be replayed.
#[test]
fn a_record_of_users_waits_for_its_schema_and_others_are_put_aside() {
    let mut decoder = Decoder::new(topics(), Arc::new(Empty));
    let key = br#"{"id":"00000000-0000-4000-8000-000000000001"}"#;
    let record = |topic: &str| record(topic, Some(key), Some(&[0, 0, 0, 0, 9, 2]));
    assert!(matches!(decoder.decode(&record("cdc.users")), Decoded::Wait(wait) if wait.detail.contains("schema 9")));
    assert!(matches!(decoder.decode(&record("cdc.likes")), Decoded::Dead(dead) if dead.reason == "unknown-schema-id"));
}
