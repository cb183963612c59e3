//! Tests of times in the unit that the record states.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::support::{KEY, change, dead, decode, record, topics};
use crate::decode::{Decoder, FileSchemas};
use crate::event::{Cell, ChangeBody, Decoded};

const LIKE: &str = "30000000-0000-4000-8000-000000000001";
const MILLIS: [&str; 2] = ["io.debezium.time.Timestamp", "org.apache.kafka.connect.data.Timestamp"];

fn like(created_at: &Value) -> Value {
    json!({
        "id": LIKE, "user_id": "00000000-0000-4000-8000-000000000001",
        "post_id": "20000000-0000-4000-8000-000000000001", "created_at": created_at,
    })
}

/// Returns the flattened record and the envelope, with a schema in which `created_at` has the type `name`.
fn with_schema(name: &str, created_at: &Value) -> [Value; 2] {
    let fields = json!([
        {"type": "string", "optional": false, "name": "io.debezium.data.Uuid", "field": "id"},
        {"type": "int64", "optional": true, "name": name, "version": 1, "field": "created_at"},
    ]);
    let row = like(created_at);
    let image = |of: &str| json!({"type": "struct", "fields": fields, "optional": true, "field": of});
    let images = json!([image("before"), image("after"), {"type": "string", "field": "op"}]);
    let envelope = json!({"before": null, "after": row, "source": {"table": "likes"}, "op": "c"});
    [
        json!({"schema": {"type": "struct", "fields": fields}, "payload": row}),
        json!({"payload": envelope, "schema": {"type": "struct", "fields": images}}),
    ]
}

fn created_at(decoded: Decoded) -> Cell {
    match change(decoded).body {
        ChangeBody::Upsert(row) => row.cells[3].clone(),
        other => panic!("{other:?}"),
    }
}

fn both(name: &str, value: &Value) -> Vec<Decoded> {
    with_schema(name, value).iter().map(|value| decode("cdc.likes", &value.to_string())).collect()
}

#[test]
fn infinity_and_years_before_christ_are_what_they_are_in_each_unit() {
    let micros = "io.debezium.time.MicroTimestamp";
    let nanos = "io.debezium.time.NanoTimestamp";
    let iso = "io.debezium.time.IsoTimestamp";
    let (infinity, negative) = (Cell::Micros(i64::MAX), Cell::Micros(i64::MIN));
    let mut cases = vec![
        (micros, json!(9_223_372_036_825_200_000i64), infinity.clone()),
        (micros, json!(-9_223_372_036_832_400_000i64), negative.clone()),
        (micros, json!(-63_517_780_800_000_000i64), Cell::Micros(-63_517_780_800_000_000)),
        (nanos, json!(1_795_476_488_850_012_000i64), Cell::Micros(1_795_476_488_850_012)),
        (nanos, json!(-1_000), Cell::Micros(-1)),
        (iso, json!("2026-11-23T23:28:08.850012Z"), Cell::Micros(1_795_476_488_850_012)),
        (iso, json!("-0043-03-15T12:00:00Z"), Cell::Micros(-63_517_780_800_000_000)),
        (iso, json!("+294247-01-10T04:00:25.2Z"), infinity.clone()),
        (iso, json!("infinity"), infinity.clone()),
        (iso, json!("-infinity"), negative.clone()),
        ("my.own.Name", json!(7), Cell::Micros(7)),
        (nanos, json!(null), Cell::Null),
    ];
    for millis in MILLIS {
        cases.push((millis, json!(9_223_372_036_825_200i64), infinity.clone()));
        cases.push((millis, json!(-9_223_372_036_832_400i64), negative.clone()));
        cases.push((millis, json!(9_223_372_036_825_200_000i64), infinity.clone()));
        cases.push((millis, json!(-63_517_780_800_000i64), Cell::Micros(-63_517_780_800_000_000)));
        cases.push((millis, json!(-62_135_596_800_000i64), Cell::Micros(-62_135_596_800_000_000)));
    }
    for (name, value, expected) in cases {
        for decoded in both(name, &value) {
            assert_eq!(created_at(decoded), expected, "{value} as {name}");
        }
    }
}

#[test]
fn a_value_that_may_be_another_time_is_dead_and_names_the_unit() {
    let nanos = "io.debezium.time.NanoTimestamp";
    for (name, value, reason, part) in [
        // If Debezium converts an infinity to nanoseconds, the number overflows modulo 2^64. The overflow gives a time
        // 30 s before or 22 s after the beginning of 1970.
        (nanos, json!(-29_575_808_000i64), "invalid-value", "nanoseconds"),
        (nanos, json!(22_375_808_000i64), "invalid-value", "nanoseconds"),
        (nanos, json!(i64::MAX), "invalid-value", "nanoseconds"),
        (nanos, json!(i64::MIN), "invalid-value", "nanoseconds"),
        (nanos, json!(1_795_476_488_850_012_345i64), "invalid-value", "nanoseconds"),
        (MILLIS[0], json!(i64::MAX), "invalid-value", "milliseconds"),
        (MILLIS[1], json!(9_223_372_036_854_776i64), "invalid-value", "milliseconds"),
        (MILLIS[1], json!(-210_866_803_200_001i64), "invalid-value", "milliseconds"),
        ("io.debezium.time.MicroTimestamp", json!(i64::MIN), "invalid-value", "microseconds"),
        ("io.debezium.time.Date", json!(20_777), "invalid-value", "no timestamp"),
        ("org.apache.kafka.connect.data.Time", json!(5), "invalid-value", "no timestamp"),
        ("io.debezium.time.IsoTimestamp", json!(5), "invalid-value", "ISO 8601"),
        ("io.debezium.time.IsoTimestamp", json!("2026-11-23T23:28:08"), "invalid-value", "ISO 8601"),
        (MILLIS[0], json!("2026-11-23T23:28:08Z"), "wrong-type", "a string"),
        ("io.debezium.time.StructuredTimestamp", json!({"seconds": 1}), "wrong-type", "an object"),
    ] {
        for decoded in both(name, &value) {
            let (is, detail) = dead(decoded);
            assert!(
                is == reason && detail.contains(part) && detail.contains("created_at"),
                "{name} {value}: {is} {detail}"
            );
        }
    }
}

#[test]
fn one_schema_after_the_other_is_told_apart() {
    let mut decoder = super::support::decoder();
    for round in 0..40i64 {
        for (name, factor) in [(MILLIS[0], 1_000), ("io.debezium.time.MicroTimestamp", 1), (MILLIS[1], 1_000)] {
            // The test uses more schemas than nova remembers.
            let value = with_schema(name, &json!(round));
            let mut value = value[usize::from(round % 2 == 0)].clone();
            value["schema"]["version"] = json!(round % 11);
            let like = record("cdc.likes", Some(KEY.as_bytes()), Some(value.to_string().as_bytes()));
            assert_eq!(created_at(decoder.decode(&like)), Cell::Micros(round * factor));
        }
    }
}

proptest! {
    /// A time means the same whether the record states its unit or not.
    #[test]
    fn units_agree_with_the_column_s_own(millis in -62_135_596_800_000i64..253_402_300_800_000, nanos_apart in any::<bool>()) {
        let micros = millis * 1_000 + i64::from(nanos_apart);
        let expected = created_at(decode("cdc.likes", &like(&json!(micros)).to_string()));
        let mut stated = vec![("io.debezium.time.MicroTimestamp", json!(micros))];
        if let Some(nanos) = micros.checked_mul(1_000).filter(|nanos| ![-29_575_808_000, 22_375_808_000].contains(nanos)) {
            stated.push(("io.debezium.time.NanoTimestamp", json!(nanos)));
        }
        if !nanos_apart {
            stated.extend(MILLIS.map(|name| (name, json!(millis))));
        }
        let text = jiff::Timestamp::from_microsecond(micros).unwrap().to_string();
        stated.push(("io.debezium.time.IsoTimestamp", json!(text)));
        for (name, value) in stated {
            for decoded in both(name, &value) {
                prop_assert_eq!(created_at(decoded), expected.clone(), "{} as {}", value, name);
            }
        }
    }
}

/// If nova cannot read a schema, it does not know the units of the schema, and a number may be in any unit.
#[test]
fn a_schema_that_is_nested_too_deep_makes_no_time_of_1970() {
    for mut value in with_schema(MILLIS[0], &json!(1_795_476_488_850i64)) {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        value["schema"]["parameters"] = json!("HERE");
        let text = value.to_string().replace("\"HERE\"", &deep);
        assert_eq!(dead(decode("cdc.likes", &text)).0, "invalid-value");
    }
}

/// Avro states a unit by the logical type, and Confluent's converter states the unit by `connect.name`.
#[test]
fn avro_states_a_unit_in_two_ways() {
    let decoded = |kind: &str, number: i64| {
        let id = |name: &str| format!(r#"{{"name":"{name}","type":"string"}}"#);
        let ids = ["id", "user_id", "post_id"].map(id).join(",");
        let schema = format!(
            r#"{{"schemas":{{"1":{{"type":"record","name":"Value","fields":[{ids},{{"name":"created_at","type":["null",{kind}]}}]}}}}}}"#
        );
        let mut value = vec![0, 0, 0, 0, 1];
        for id in [LIKE, LIKE, LIKE] {
            value.push(72);
            value.extend_from_slice(id.as_bytes());
        }
        value.push(2);
        let mut rest = (number << 1 ^ number >> 63) as u64;
        while rest >= 0x80 {
            value.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        value.push(rest as u8);
        let schemas = FileSchemas::parse(&schema).unwrap();
        Decoder::new(topics(), Arc::new(schemas)).decode(&record("cdc.likes", Some(KEY.as_bytes()), Some(&value)))
    };
    let connect = |name: &str| format!(r#"{{"type":"long","connect.version":1,"connect.name":"{name}"}}"#);
    let logical = |name: &str| format!(r#"{{"type":"long","logicalType":"{name}"}}"#);
    let both_ways =
        |name: &str, logical: &str| format!(r#"{{"type":"long","connect.name":"{name}","logicalType":"{logical}"}}"#);
    for (kind, number, micros) in [
        (connect(MILLIS[0]), 1_795_476_488_850, 1_795_476_488_850_000),
        (connect(MILLIS[1]), 1_795_476_488_850, 1_795_476_488_850_000),
        (connect("io.debezium.time.MicroTimestamp"), 7, 7),
        (connect("io.debezium.time.NanoTimestamp"), 7_000, 7),
        (logical("timestamp-millis"), 7, 7_000),
        (logical("local-timestamp-micros"), 7, 7),
        (connect(MILLIS[0]), 9_223_372_036_825_200, i64::MAX),
        (r#""long""#.to_owned(), 7, 7),
        (both_ways(MILLIS[0], "timestamp-millis"), 7, 7_000),
        (both_ways(MILLIS[1], "local-timestamp-millis"), 7, 7_000),
        // nova ignores a logical type that Avro does not know.
        (both_ways(MILLIS[0], "epoch-of-mine"), 7, 7_000),
        (both_ways("my.own.Name", "timestamp-micros"), 7, 7),
    ] {
        assert_eq!(created_at(decoded(&kind, number)), Cell::Micros(micros), "{kind}");
    }
    assert_eq!(dead(decoded(&connect("io.debezium.time.NanoTimestamp"), 7)).0, "invalid-value");
    for kind in [
        connect("io.debezium.time.MicroTime"),
        connect("io.debezium.time.MicroDuration"),
        connect("io.debezium.time.NewTimestamp"),
        connect("org.apache.kafka.connect.data.New"),
        both_ways("io.debezium.time.MicroTimestamp", "timestamp-millis"),
        both_ways(MILLIS[0], "timestamp-micros"),
        both_ways(MILLIS[0], "time-micros"),
        r#"{"type":"int","connect.name":"io.debezium.time.Date"}"#.into(),
        r#"{"type":"int","connect.name":"io.debezium.time.Year"}"#.into(),
        r#"{"type":"int","connect.name":"io.debezium.time.Timestamp"}"#.into(),
    ] {
        assert!(matches!(decoded(&kind, 7), Decoded::Wait(_)), "{kind}");
    }
}
