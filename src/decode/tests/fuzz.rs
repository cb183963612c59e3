//! Tests with random and mutated bytes: nothing panics, the result is bounded, and the same bytes give the same result
//! each time.

use bytes::Bytes;
use proptest::prelude::*;

use super::support::{avro_decoder, capture, record};
use crate::decode::{DETAIL_MAX_BYTES, Decoder, Part};
use crate::event::{Decoded, Record};

const TOPICS: [&str; 6] = ["cdc.users", "cdc.posts", "cdc.follows", "cdc.comments", "cdc.likes", "events"];

/// The variable `NOVA_FUZZ_ROUNDS` sets more rounds. The default number of rounds takes a few seconds.
const ROUNDS: u64 = 30_000;

fn check(decoder: &mut Decoder, record: &Record) {
    let first = decoder.decode(record);
    if let Decoded::Dead(dead) = &first {
        assert!(!dead.reason.is_empty() && !dead.detail.is_empty());
        assert!(dead.detail.len() <= DETAIL_MAX_BYTES, "{}", dead.detail.len());
    }
    if let Decoded::Change(change) = &first
        && let crate::event::ChangeBody::Upsert(row) = &change.body
    {
        assert_eq!(row.cells.len(), change.table.columns().len());
        if let Some(extra) = &row.extra {
            assert!(serde_json::from_str::<serde::de::IgnoredAny>(extra).is_ok(), "{extra}");
        }
    }
    assert_eq!(decoder.decode(record), first);
    for bytes in record.key.iter().chain(&record.value).chain(record.headers.iter().map(|(_, value)| value)) {
        assert_eq!(decoder.mask(&record.topic, Part::Value, bytes).len(), bytes.len());
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        topic in 0..TOPICS.len(),
        key in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..80)),
        value in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200)),
    ) {
        check(&mut avro_decoder(), &record(TOPICS[topic], key.as_deref(), value.as_deref()));
    }

    #[test]
    fn arbitrary_json_like_text_never_panics(
        topic in 0..TOPICS.len(),
        value in r#"(\{"(id|op|after|source|payload|__deleted)":|[\{\}\[\],:"]|[0-9]{1,22}|null|true|"[a-z\\u0-9]{0,8}"){0,24}"#,
    ) {
        let key = br#"{"id":"30000000-0000-4000-8000-000000000001"}"#;
        check(&mut avro_decoder(), &record(TOPICS[topic], Some(key), Some(value.as_bytes())));
    }
}

/// A small random number generator (splitmix64), so that the rounds are the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// Bytes that have a meaning in JSON, Avro or UTF-8.
const TELLING: &[u8] = b"\"{}[],:0-9en\\\0\x80\xff";

/// Members, values and lists that have a meaning for the decoder.
const PARTS: [&str; 12] = [
    r#""email":"a","#,
    r#""password_hash":{"x":[1]},"#,
    r#""more":"__debezium_unavailable_value","#,
    r#""more":{"__debezium_unavailable_value":"__debezium_unavailable_value"},"#,
    r#"{"schema":{"fields":[{"field":"created_at","name":"io.debezium.time.NanoTimestamp"}]},"payload":"#,
    r#""op":"c","source":{"table":"posts","snapshot":"incremental","lsn":-1},"#,
    r#""after":{"id":""},"#,
    r#""\u0065mail\":\"{\"email\":1"#,
    r#"["id","status","body"]"#,
    "[id, status]",
    "00000000-0000-0000-0000-000000000000",
    r#"{"id":"30000000-0000-4000-8000-000000000001"}"#,
];

fn mutate(bytes: &Bytes, other: &Bytes, random: &mut Random) -> Bytes {
    let mut out = bytes.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(out.len());
        match random.below(9) {
            0 if !out.is_empty() => out[at] ^= 1 << random.below(8),
            1 if !out.is_empty() => out[at] = TELLING[random.below(TELLING.len())],
            2 => out.truncate(at),
            3 if !out.is_empty() => drop(out.drain(at..(at + 1 + random.below(16)).min(out.len()))),
            4 => {
                let from = random.below(other.len());
                let to = (from + random.below(64)).min(other.len());
                drop(out.splice(at..at, other[from..to].iter().copied()));
            }
            5 => {
                let to = (at + random.below(32)).min(out.len());
                out.extend_from_within(at..to);
            }
            6 | 7 => drop(out.splice(at..at, PARTS[random.below(PARTS.len())].bytes())),
            _ => out.insert(at, random.next() as u8),
        }
    }
    out.into()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the environment says how long a test runs, and with which server")]
fn mutated_captures_never_panic() {
    let rounds = std::env::var("NOVA_FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let names = [
        "envelope.jsonl",
        "envelope-schemas.jsonl",
        "flat-rewrite.jsonl",
        "envelope-avro.jsonl",
        "side-topics.jsonl",
        "forms.jsonl",
        "connect-times.jsonl",
        "left-out.jsonl",
    ];
    let mut corpus: Vec<Record> = names.into_iter().flat_map(capture).collect();
    let event = br#"{"event_id":"495e64e4-e518-53e1-8bfe-45cb68649960","user_id":"e98a160c-f09e-5ab3-ae8d-ae1c0c20645e","post_id":"83038a40-b296-5882-8774-10ea48545388","author_id":"7e3e2cdc-12a0-5429-9c2f-95de63da5720","action":"view","dwell_ms":1831,"event_time":1795132800000,"device":"web","app_ver":"1"}"#;
    corpus.push(record("events", None, Some(event)));
    let mut random = Random(20_261_124);
    let mut decoder = avro_decoder();
    for _ in 0..rounds {
        let mut record = corpus[random.below(corpus.len())].clone();
        let other = corpus[random.below(corpus.len())].clone();
        if random.below(4) == 0 {
            record.topic = TOPICS[random.below(TOPICS.len())].into();
        }
        let empty = Bytes::new();
        let donor = other.value.as_ref().unwrap_or(&empty);
        if random.below(3) == 0 {
            record.key = record.key.map(|key| mutate(&key, donor, &mut random));
        }
        if random.below(8) == 0 {
            let name = ["Unchanged", "__debezium.oldkey", "__debezium.newkey"][random.below(3)];
            let list = Bytes::from_static(PARTS[random.below(PARTS.len())].as_bytes());
            record.headers.push((name.into(), mutate(&list, donor, &mut random)));
        }
        record.value = record.value.map(|value| mutate(&value, donor, &mut random));
        check(&mut decoder, &record);
    }
}
