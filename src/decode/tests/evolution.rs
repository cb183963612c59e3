//! Tests of a source table whose columns and Avro schemas change.

use std::sync::Arc;

use super::support::{KEY, change, record, topics};
use crate::decode::{Decoder, FileSchemas, KeepUnknown};
use crate::event::{Cell, ChangeBody, Decoded, Row, Wait};

const LIKE: &str = "30000000-0000-4000-8000-000000000001";
const USER: &str = "00000000-0000-4000-8000-000000000001";
const POST: &str = "20000000-0000-4000-8000-000000000001";

/// A value in the binary form of Avro.
enum Avro<'a> {
    Text(&'a str),
    Long(i64),
    /// The index of a union's branch, and the value of this branch.
    Branch(i64, Option<i64>),
    Double(f64),
    Bytes(&'a [u8]),
}

fn long(value: i64, out: &mut Vec<u8>) {
    let mut rest = (value << 1 ^ value >> 63) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// A message that was written with the schema id 1.
fn message(fields: &[Avro<'_>]) -> Vec<u8> {
    let mut out = vec![0, 0, 0, 0, 1];
    for field in fields {
        match field {
            Avro::Text(text) => {
                long(text.len() as i64, &mut out);
                out.extend_from_slice(text.as_bytes());
            }
            Avro::Long(value) => long(*value, &mut out),
            Avro::Double(value) => out.extend_from_slice(&value.to_le_bytes()),
            Avro::Bytes(bytes) => {
                long(bytes.len() as i64, &mut out);
                out.extend_from_slice(bytes);
            }
            Avro::Branch(branch, value) => {
                long(*branch, &mut out);
                value.iter().for_each(|value| long(*value, &mut out));
            }
        }
    }
    out
}

/// A schema of `likes` that has the given fields after its ids.
fn schema(fields: &str) -> String {
    let id = |name: &str| format!(r#"{{"name":"{name}","type":"string"}}"#);
    let ids = ["id", "user_id", "post_id"].map(id).join(",");
    format!(r#"{{"type":"record","name":"Value","fields":[{ids}{fields}]}}"#)
}

fn decode(schema: &str, value: &[u8]) -> Decoded {
    let schemas = FileSchemas::parse(&format!(r#"{{"schemas":{{"1":{schema}}}}}"#)).unwrap();
    Decoder::new(topics(), Arc::new(schemas)).decode(&record("cdc.likes", Some(KEY.as_bytes()), Some(value)))
}

fn like(fields: &str, values: Vec<Avro<'_>>) -> Decoded {
    let mut all = vec![Avro::Text(LIKE), Avro::Text(USER), Avro::Text(POST)];
    all.extend(values);
    decode(&schema(fields), &message(&all))
}

fn row(decoded: Decoded) -> Row {
    match change(decoded).body {
        ChangeBody::Upsert(row) => row,
        other => panic!("{other:?}"),
    }
}

#[test]
fn columns_that_are_added_dropped_defaulted_or_renamed_are_read() {
    let created_at = |row: &Row| row.cells[3].clone();
    let known = r#",{"name":"created_at","type":["null","long"],"default":null}"#;
    let at = || Avro::Branch(1, Some(7));
    let plain = row(like(known, vec![at()]));
    assert_eq!((created_at(&plain), plain.extra.as_deref()), (Cell::Micros(7), None));

    let added = format!(r#"{known},{{"name":"weight","type":"long"}}"#);
    let added = row(like(&added, vec![at(), Avro::Long(3)]));
    assert_eq!((created_at(&added), added.extra.as_deref()), (Cell::Micros(7), Some(r#"{"weight":3}"#)));

    assert_eq!(created_at(&row(like("", vec![]))), Cell::Missing, "dropped");

    let defaulted = r#",{"name":"created_at","type":["long","null"],"default":0}"#;
    assert_eq!(created_at(&row(like(defaulted, vec![Avro::Branch(0, Some(9))]))), Cell::Micros(9));
    assert_eq!(created_at(&row(like(defaulted, vec![Avro::Branch(1, None)]))), Cell::Null, "null is not the default");

    let renamed = r#",{"name":"liked_at","type":["null","long"],"aliases":["old","created_at"]}"#;
    let renamed = row(like(renamed, vec![at()]));
    assert_eq!((created_at(&renamed), renamed.extra.as_deref()), (Cell::Micros(7), None));

    // A field without the alias `created_at` is an unknown column. A field with the alias `created_at` is also an
    // unknown column if the record has a field `created_at`.
    let other = row(like(r#",{"name":"liked_at","type":"long"}"#, vec![Avro::Long(7)]));
    assert_eq!((created_at(&other), other.extra.as_deref()), (Cell::Missing, Some(r#"{"liked_at":7}"#)));
    let beside = format!(r#"{known},{{"name":"liked_at","type":"long","aliases":["created_at"]}}"#);
    let beside = row(like(&beside, vec![at(), Avro::Long(8)]));
    assert_eq!((created_at(&beside), beside.extra.as_deref()), (Cell::Micros(7), Some(r#"{"liked_at":8}"#)));

    // A private column that was renamed stays private if its field has the private name as an alias.
    let secret = r#",{"name":"mail","type":"string","aliases":["email"]}"#;
    assert_eq!(row(like(secret, vec![Avro::Text("a@example.com")])).extra, None);
}

/// A column that the allow-list names is kept even if its field has another name.
#[test]
fn a_column_is_kept_by_an_alias_of_its_field() {
    let keep = |entry: &str| KeepUnknown::parse(&[entry.to_owned()]).unwrap();
    let fields = r#",{"name":"importance","type":"long","aliases":["Weight"]}"#;
    let read = |keep: KeepUnknown| {
        let schemas = FileSchemas::parse(&format!(r#"{{"schemas":{{"1":{}}}}}"#, schema(fields))).unwrap();
        let value = message(&[Avro::Text(LIKE), Avro::Text(USER), Avro::Text(POST), Avro::Long(3)]);
        let record = record("cdc.likes", Some(KEY.as_bytes()), Some(&value));
        row(Decoder::new(topics(), Arc::new(schemas)).with_kept(keep).decode(&record)).extra
    };
    assert_eq!(read(keep("likes.weight")).as_deref(), Some(r#"{"Weight":3}"#));
    assert_eq!(read(keep("likes.importance")).as_deref(), Some(r#"{"importance":3}"#));
    assert_eq!(read(keep("likes.other")), None);
}

/// Numbers that JSON cannot express become text or base64 in the column's JSON, and are never rounded.
#[test]
fn values_of_added_columns_are_exact() {
    let decimal = r#"{"type":"bytes","logicalType":"decimal","precision":20,"scale":0}"#;
    for (kind, value, json) in [
        (r#""double""#, Avro::Double(f64::NAN), r#""NaN""#),
        (r#""double""#, Avro::Double(f64::NEG_INFINITY), r#""-inf""#),
        (r#""double""#, Avro::Double(1e-30), "1e-30"),
        (r#""long""#, Avro::Long(i64::MAX), "9223372036854775807"),
        (r#""bytes""#, Avro::Bytes(&[0, 255]), r#""AP8=""#),
        (decimal, Avro::Bytes(&[0x0d, 0xe0, 0xb6, 0xb3, 0xa7, 0x64, 0, 1]), r#""DeC2s6dkAAE=""#),
        (r#"{"type":"long","logicalType":"timestamp-micros"}"#, Avro::Long(-1), "-1"),
    ] {
        let row = row(like(&format!(r#",{{"name":"more","type":{kind}}}"#), vec![value]));
        assert_eq!(row.extra.as_deref(), Some(&*format!(r#"{{"more":{json}}}"#)), "{kind}");
    }
}

#[test]
fn an_incompatible_schema_waits_for_a_person_and_says_schema_mismatch() {
    let waits = |decoded: Decoded| match decoded {
        Decoded::Wait(Wait { reason: "schema-mismatch", detail }) => detail,
        other => panic!("{other:?}"),
    };
    for kind in [r#""string""#, r#"["null","boolean"]"#, r#"{"type":"int","logicalType":"date"}"#] {
        let detail = waits(like(&format!(r#",{{"name":"created_at","type":{kind}}}"#), vec![Avro::Long(0)]));
        for part in ["SchemaMismatch: schema 1", "likes.created_at", "microseconds", "nova cdc seek"] {
            assert!(detail.contains(part), "{part} is not in {detail}");
        }
    }
    // The schema lacks a column that must not be null.
    let (gone, id) = (
        r#"{"type":"record","name":"Value","fields":[{"name":"id","type":"string"},{"name":"user_id","type":"string"}]}"#,
        LIKE,
    );
    let detail = waits(decode(gone, &message(&[Avro::Text(id), Avro::Text(USER)])));
    assert!(detail.starts_with("SchemaMismatch: schema 1 has no likes.post_id"), "{detail}");
    // The schema of an envelope in which `before` defines the row, and `after` refers to this definition by its name.
    let value = schema(r#",{"name":"created_at","type":"string"}"#);
    let envelope = format!(
        r#"{{"type":"record","name":"Envelope","fields":[{{"name":"before","type":["null",{value}]}},{{"name":"after","type":["null","Value"]}},{{"name":"op","type":"string"}}]}}"#
    );
    let detail = waits(decode(&envelope, &message(&[Avro::Branch(0, None), Avro::Branch(0, None), Avro::Text("c")])));
    assert!(detail.contains("likes.created_at"), "{detail}");
}

/// A record that names another table, or that has no row, becomes a dead letter, because the schema of the topic's own
/// table is correct.
#[test]
fn a_schema_of_something_else_is_no_mismatch() {
    let text = |name: &str| format!(r#"{{"name":"{name}","type":"string"}}"#);
    let after = format!(r#"{{"type":"record","name":"Value","fields":[{},{}]}}"#, text("id"), text("created_at"));
    let source = format!(r#"{{"type":"record","name":"Source","fields":[{}]}}"#, text("table"));
    let envelope = format!(
        r#"{{"type":"record","name":"Envelope","fields":[{{"name":"after","type":["null",{after}]}},{{"name":"source","type":{source}}},{}]}}"#,
        text("op")
    );
    let told = |table: &str, op: &str| {
        let mut value = message(&[Avro::Branch(1, None), Avro::Text(LIKE), Avro::Text("x")]);
        value.extend_from_slice(&message(&[Avro::Text(table), Avro::Text(op)])[5..]);
        decode(&envelope, &value)
    };
    assert!(matches!(told("likes", "c"), Decoded::Wait(_)));
    assert!(matches!(told("likes", "d"), Decoded::Change(_)), "a delete needs no columns");
    for op in ["c", "d"] {
        assert_eq!(super::support::dead(told("posts", op)).0, "other-table");
    }
    let foreign = format!(r#"{{"type":"record","name":"Event","fields":[{},{}]}}"#, text("id"), text("data"));
    let foreign = decode(&foreign, &message(&[Avro::Text(LIKE), Avro::Text("x")]));
    assert_eq!(super::support::dead(foreign).0, "unrecognised-shape");
}
