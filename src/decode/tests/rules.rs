//! Tests of the rules for changes. Each test checks one rule.

use std::sync::Arc;

use super::support::{KEY, avro_decoder, capture, change, dead, decode, decoder, record, text, topics};
use crate::decode::{Decoder, FileSchemas, KeepUnknown, SchemaLookup, Schemas, SchemasError};
use crate::event::{Cell, ChangeBody, Column, Decoded, Format, Id, Ignored, Op, Row, Table, Wait};

fn like(members: &str) -> String {
    format!(
        r#"{{"id":"30000000-0000-4000-8000-000000000001","user_id":"00000000-0000-4000-8000-000000000001","post_id":"20000000-0000-4000-8000-000000000001","created_at":1795476488850012{members}}}"#
    )
}

fn envelope(op: &str, before: &str, after: &str) -> String {
    format!(r#"{{"before":{before},"after":{after},"source":{{"ts_ms":1795476488850,"lsn":26947152}},"op":"{op}"}}"#)
}

fn row(decoded: Decoded) -> Row {
    match change(decoded).body {
        ChangeBody::Upsert(row) => row,
        other => panic!("{other:?}"),
    }
}

fn cell(table: Table, row: &Row, name: &str) -> Cell {
    let is_it = |column: &Column| column.name == name;
    row.cells[table.columns().iter().position(is_it).unwrap()].clone()
}

#[test]
fn a_delete_takes_its_key_from_kafka_and_never_looks_at_an_image() {
    let other = r#"{"id":"99999999-0000-4000-8000-000000000001","user_id":"","post_id":"","created_at":0}"#;
    for before in [other, "null", r#""?""#, &like("")] {
        let deleted = change(decode("cdc.likes", &envelope("d", before, "null")));
        assert_eq!(deleted.key.to_string(), "30000000-0000-4000-8000-000000000001");
        assert_eq!((deleted.op, deleted.format, &deleted.body), (Op::Delete, Format::Envelope, &ChangeBody::Delete));
        assert_eq!((deleted.lsn, deleted.source_ts_us), (Some(26_947_152), Some(1_795_476_488_850_000)));
    }
}

#[test]
fn a_flattened_delete_is_told_by_string_or_bool_and_its_empty_columns_do_not_count() {
    for (flag, gone) in [(r#""true""#, true), ("true", true), (r#""false""#, false), ("false", false)] {
        let value = match gone {
            true => format!(r#"{{"id":"","user_id":"","post_id":"","created_at":0,"__deleted":{flag},"__lsn":7}}"#),
            false => like(&format!(r#","__deleted":{flag},"__lsn":7,"__ts_ms":1,"__source_txId":5"#)),
        };
        let told = change(decode("cdc.likes", &value));
        assert_eq!((told.body == ChangeBody::Delete, told.format), (gone, Format::FlatRewrite), "{value}");
        assert_eq!((told.lsn, told.source_ts_us), (Some(7), None));
    }
    let (reason, detail) = dead(decode("cdc.likes", &like(r#","__deleted":"maybe""#)));
    assert_eq!((reason, detail.contains("__deleted")), ("wrong-type", true));
}

#[test]
fn a_null_value_has_the_format_that_its_topic_had_last() {
    let mut decoder = decoder();
    let mut tell = |value: Option<&str>| {
        change(decoder.decode(&record("cdc.likes", Some(KEY.as_bytes()), value.map(str::as_bytes))))
    };
    for (value, format) in [
        (envelope("c", "null", &like("")), Format::Envelope),
        (like(""), Format::FlatTombstone),
        (like(r#","__deleted":"false""#), Format::FlatRewrite),
    ] {
        assert_eq!(tell(Some(&value)).format, format);
        for null in [None, Some("null"), Some(" null\n"), Some(r#"{"schema":null,"payload":null}"#)] {
            let tombstone = tell(null);
            assert_eq!((tombstone.body, tombstone.format), (ChangeBody::Tombstone, format), "{null:?}");
            assert_eq!(tombstone.key.to_string(), "30000000-0000-4000-8000-000000000001");
        }
    }
}

#[test]
fn truncates_messages_and_heartbeats_need_no_key() {
    let told = |value: &str| decoder().decode(&record("cdc.likes", None, Some(value.as_bytes())));
    let truncate = change(told(r#"{"before":null,"after":null,"source":{"lsn":5},"op":"t"}"#));
    assert_eq!((truncate.key, truncate.body, truncate.lsn), (Id::NIL, ChangeBody::Truncate, Some(5)));
    assert_eq!(told(r#"{"op":"m","message":{"prefix":"a"}}"#), Decoded::Ignore(Ignored::Message));
    assert_eq!(told(r#"{"ts_ms":1795476488850}"#), Decoded::Ignore(Ignored::Heartbeat));
}

#[test]
fn what_cannot_be_applied_is_dead_with_its_reason() {
    let null_user = like("").replace(r#""00000000-0000-4000-8000-000000000001""#, "null");
    let cases = [
        (envelope("u", "null", "null"), "missing-after"),
        (envelope("x", "null", &like("")), "unknown-operation"),
        (envelope("", "null", &like("")), "unknown-operation"),
        (r#"{"before":null,"after":null,"source":{}}"#.to_owned(), "unknown-operation"),
        (envelope("c", "null", "7"), "wrong-type"),
        (envelope("c", "null", &like("").replace("30000000", "31000000")), "key-mismatch"),
        (like(r#","__op":"q""#), "unknown-operation"),
        (null_user, "null-value"),
        (like("").replace("1795476488850012", r#""2026-11-20T09:00:00Z""#), "wrong-type"),
        (like("").replace("1795476488850012", "1795476488850012.5"), "wrong-type"),
        (like("").replace("1795476488850012", "18446744073709551615"), "wrong-type"),
        (like("").replace("1795476488850012", "9223372036854775807"), "invalid-value"),
        (like("").replace("1795476488850012", "1e400"), "malformed-json"),
        (like("").replace("20000000-", "2000000-"), "invalid-value"),
        (like(r#","__lsn":-1"#), "wrong-type"),
        (like(r#","__source_ts_ms":9223372036854775807"#), "invalid-value"),
        (r#"{"schema":{},"payload":{"schema":{},"payload":{}}}"#.to_owned(), "unrecognised-shape"),
        (r#"{"schema":{}}"#.to_owned(), "unrecognised-shape"),
        (r#"{"hello":"world"}"#.to_owned(), "unrecognised-shape"),
        ("{}".to_owned(), "unrecognised-shape"),
    ];
    for (value, expected) in cases {
        assert_eq!(dead(decode("cdc.likes", &value)).0, expected, "{value}");
    }
}

#[test]
fn a_change_without_a_readable_key_is_dead() {
    let row = envelope("c", "null", &like(""));
    for (key, expected) in [
        (None, "missing-key"),
        (Some(""), "missing-key"),
        (Some("{}"), "missing-key"),
        (Some(r#"{"id":null}"#), "missing-key"),
        (Some(r#"{"schema":{},"payload":{"other":1}}"#), "missing-key"),
        (Some(r#"{"id":7}"#), "wrong-type"),
        (Some(r#"{"id":"x"}"#), "invalid-value"),
        (
            Some(r#"{"id":"30000000-0000-4000-8000-000000000001","id":"30000000-0000-4000-8000-000000000001"}"#),
            "wrong-type",
        ),
        (Some("{"), "malformed-json"),
    ] {
        for value in [Some(row.as_bytes()), None] {
            let decoded = decoder().decode(&record("cdc.likes", key.map(str::as_bytes), value));
            assert_eq!(dead(decoded).0, expected, "{key:?}");
        }
    }
    let alone = record("cdc.likes", Some(br#""30000000-0000-4000-8000-000000000001""#), Some(row.as_bytes()));
    assert_eq!(change(decoder().decode(&alone)).op, Op::Create);
}

#[test]
fn unknown_columns_are_kept_word_for_word_and_dropped_ones_nowhere() {
    let user = r#"{"id":"30000000-0000-4000-8000-000000000001","email":"a@example.com","username":"u","password_hash":"hunter2",
        "zeta":{"b":1,"a":[1.0,1e2]},"Email":"b@example.com","email_verified":false,"is_active":true,"alpha":123456789012345678901234567890,
        "created_at":"2026-11-20T09:00:00Z","updated_at":"2026-11-20T09:00:00Z","deleted_at":null,"q\"":"\ud83d\udc4d"}"#;
    let all = KeepUnknown::parse(&["users".to_owned()]).unwrap();
    let row = row(decoder().with_kept(all).decode(&record("cdc.users", Some(KEY.as_bytes()), Some(user.as_bytes()))));
    let extra = r#"{"alpha":123456789012345678901234567890,"q\"":"\ud83d\udc4d","zeta":{"b":1,"a":[1.0,1e2]}}"#;
    assert_eq!(row.extra.as_deref(), Some(extra));
    let broken = user.replace(r#""is_active":true"#, r#""is_active":"hunter2""#);
    let (_, detail) = dead(decode("cdc.users", &broken));
    assert!(detail.contains("is_active") && !detail.contains("hunter2"), "{detail}");
    let cut = user.replace(r#""hunter2","#, r#""hunter2""#);
    assert!(!dead(decode("cdc.users", &cut)).1.contains("hunter2"));
}

#[test]
fn a_missing_column_is_missing_and_not_null() {
    let bare = like("").replace(r#","created_at":1795476488850012"#, "");
    let row = row(decode("cdc.likes", &bare));
    assert_eq!((&row.cells[3], &row.extra), (&Cell::Missing, &None));
}

#[test]
fn members_that_look_like_an_envelope_in_a_row_do_not_make_it_one() {
    for first in [r#""op":"c","#, r#""source":{"a":1},"#, r#""payload":{"id":"x"},"#, r#""schema":1,"#, r#""ts_ms":5,"#]
    {
        let value = format!("{{{first}{}", &like("")[1..]);
        let told = change(decode("cdc.likes", &value));
        assert_eq!(told.format, Format::FlatTombstone, "{value}");
    }
    let late = format!(r#"{{"version":9,{}"#, &envelope("c", "null", &like(""))[1..]);
    assert_eq!(change(decode("cdc.likes", &late)).format, Format::Envelope);
}

fn post(caption: &str, sizes: &str) -> String {
    format!(
        r#"{{"id":"30000000-0000-4000-8000-000000000001","user_id":"00000000-0000-4000-8000-000000000001","caption":{caption},"image_key":"k","image_sizes":{sizes},"status":"published","created_at":"infinity","updated_at":"-infinity","soft_delete":"1969-12-31T23:59:59.999999Z"}}"#
    )
}

#[test]
fn unchanged_values_are_unavailable_in_each_form() {
    let default = r#""__debezium_unavailable_value""#;
    let in_base64 = r#""X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==""#;
    let told = |placeholder: Option<&str>, value: &str| {
        let decoder = decoder();
        let mut decoder = match placeholder {
            Some(text) => decoder.with_placeholder(text),
            None => decoder,
        };
        decoder.decode(&record("cdc.posts", Some(KEY.as_bytes()), Some(value.as_bytes())))
    };
    let parts = |row: &Row| (cell(Table::Posts, row, "caption"), cell(Table::Posts, row, "image_sizes"));
    let both = row(told(None, &post(default, default)));
    assert_eq!(parts(&both), (Cell::Unavailable, Cell::Unavailable));
    // A text in base64 is not valid JSON, but it can be a caption.
    let encoded = row(told(None, &post(in_base64, in_base64)));
    assert!(matches!(parts(&encoded), (Cell::Text(_), Cell::Unavailable)));
    for custom in ["-?-", "hex:2d3f2d"] {
        let own = row(told(Some(custom), &post(r#""-?-""#, r#""-?-""#)));
        assert_eq!(parts(&own), (Cell::Unavailable, Cell::Unavailable), "{custom}");
        assert_eq!(dead(told(Some(custom), &post(default, default))).0, "invalid-value");
    }
}

#[test]
fn times_at_the_ends_and_json_text_are_exact() {
    let json = r#""{\"b\": [1, 1e400], \"a\": 12345678901234567890123}""#;
    let post = row(decode("cdc.posts", &post("null", json)));
    let of = |name| cell(Table::Posts, &post, name);
    assert_eq!(of("caption"), Cell::Null);
    assert_eq!(of("image_sizes"), Cell::Json(r#"{"b": [1, 1e400], "a": 12345678901234567890123}"#.into()));
    let times = [of("created_at"), of("updated_at"), of("soft_delete")];
    assert_eq!(times, [Cell::Micros(i64::MAX), Cell::Micros(i64::MIN), Cell::Micros(-1)]);
    for (sent, cell) in [("9223372036825200000", i64::MAX), ("-9223372036832400000", i64::MIN), ("-5", -5)] {
        let row = row(decode("cdc.likes", &like("").replace("1795476488850012", sent)));
        assert_eq!(row.cells[3], Cell::Micros(cell), "{sent}");
    }
    let (reason, detail) = dead(decode("cdc.posts", &self::post("null", r#""{""#)));
    assert_eq!((reason, detail.contains("image_sizes")), ("invalid-value", true));
}

struct Down;

impl Schemas for Down {
    fn schema(&self, _: u32) -> SchemaLookup {
        SchemaLookup::Unavailable("connection refused".to_owned())
    }
}

#[test]
fn avro_waits_for_a_registry_that_is_away_and_not_for_an_unknown_id() {
    let records = capture("envelope-avro.jsonl");
    let mut waiting = Decoder::new(topics(), Arc::new(Down));
    let mut unknown = decoder();
    for record in &records {
        let waits = waiting.decode(record);
        assert!(matches!(&waits, Decoded::Wait(Wait { reason: "schema-unavailable", .. })), "{waits:?}");
        assert_eq!(dead(unknown.decode(record)).0, "unknown-schema-id");
    }
}

#[test]
fn an_avro_datum_cut_anywhere_or_with_bytes_behind_it_is_dead() {
    let mut decoder = avro_decoder();
    let record = capture("envelope-avro.jsonl").into_iter().find(|record| record.value.is_some()).unwrap();
    let value = record.value.clone().unwrap();
    for end in 1..value.len() {
        let cut = crate::event::Record { value: Some(value.slice(..end)), ..record.clone() };
        dead(decoder.decode(&cut));
    }
    let longer = [&value[..], b"x"].concat();
    let longer = crate::event::Record { value: Some(longer.into()), ..record };
    assert_eq!(dead(decoder.decode(&longer)).0, "malformed-avro");
}

#[test]
fn a_schema_that_holds_itself_is_refused() {
    let list = r#"{"schemas":{"4":{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}}}"#;
    let error = FileSchemas::parse(list).unwrap_err();
    assert!(matches!(&error, SchemasError::Schema { id: 4, detail } if detail.contains("recursive")), "{error}");
    for broken in ["[]", r#"{"schemas":{"x":"long"}}"#, r#"{"schemas":{"1":{"type":"nope"}}}"#] {
        FileSchemas::parse(broken).unwrap_err();
    }
    assert!(FileSchemas::parse(&text("envelope-avro.schemas.json")).is_ok());
}
