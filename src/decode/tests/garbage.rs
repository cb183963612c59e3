//! Tests of records that are broken on purpose: each record is decoded exactly or becomes a dead letter, with a bounded
//! detail and without recursion on the stack.

use super::support::{KEY, dead, decode, decoder, record};
use crate::decode::{DETAIL_MAX_BYTES, RECORD_MAX_BYTES};
use crate::event::{Dead, Decoded, Ignored, Record, Stage};

#[test]
fn depth_bombs_end_as_dead_letters() {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(1 << 19), close.repeat(1 << 19));
    let arrays = deep("[", "]");
    let objects = deep(r#"{"a":"#, "}").replace(":}", ":1}");
    let row = r#""user_id":"00000000-0000-4000-8000-000000000001","post_id":"00000000-0000-4000-8000-000000000001""#;
    for topic in ["cdc.likes", "events"] {
        for bomb in
            [&arrays, &objects, &"[".repeat(1 << 20), &r#"{"payload":"#.repeat(1 << 17), &"{\"after\":".repeat(1 << 17)]
        {
            dead(decode(topic, bomb));
            dead(decode(topic, &format!(r#"{{"after":{{"id":{bomb}}},"op":"c"}}"#)));
            let key = record("cdc.likes", Some(bomb.as_bytes()), None);
            dead(decoder().decode(&key));
        }
    }
    // The value is well-formed JSON, so nova keeps the value in an unknown column.
    let unknown = format!(r#"{{"id":"30000000-0000-4000-8000-000000000001",{row},"bomb":{arrays}}}"#);
    assert!(matches!(decode("cdc.likes", &unknown), Decoded::Change(_)));
}

#[test]
fn what_is_no_json_names_its_place() {
    for (value, reason) in [
        (&b"\xff\xfe"[..], "invalid-utf8"),
        (b"{\"id\":\"\xc3\x28\"}", "invalid-utf8"),
        (b"", "malformed-json"),
        (b"{", "malformed-json"),
        (b"{}{}", "malformed-json"),
        (b"\x01\x02\x03", "malformed-json"),
        (b"\x00\x01", "malformed-avro"),
        (b"\x00\x00\x00\x00\x09\x00", "unknown-schema-id"),
        (br#"{"id":"\ud800"}"#, "malformed-json"),
        (
            br#"{"id":"30000000-0000-4000-8000-000000000001","id":"30000000-0000-4000-8000-000000000001"}"#,
            "duplicate-field",
        ),
        (br#"{"op":"c","op":"d","source":{}}"#, "duplicate-field"),
        (br#"{"after":null,"op":"c","after":{},"source":{}}"#, "duplicate-field"),
        (br#"{"id":"30000000-0000-4000-8000-000000000001","x":1,"x":2}"#, "duplicate-field"),
        (b"true", "wrong-type"),
        (b"[]", "wrong-type"),
    ] {
        let shown = String::from_utf8_lossy(value);
        let decoded = decoder().decode(&record("cdc.likes", Some(KEY.as_bytes()), Some(value)));
        assert_eq!(dead(decoded).0, reason, "{shown}");
    }
}

#[test]
fn a_detail_is_bounded_and_a_record_too() {
    let name = "é".repeat(10_000);
    let (_, detail) = dead(decode("cdc.likes", &format!(r#"{{"id":1,"{name}":1,"{name}":2}}"#)));
    assert!(detail.len() <= DETAIL_MAX_BYTES);
    let huge = vec![b'['; RECORD_MAX_BYTES + 1];
    for (key, value) in [(Some(&huge[..]), None), (None, Some(&huge[..]))] {
        assert_eq!(dead(decoder().decode(&record("cdc.likes", key, value))).0, "too-long");
    }
    // If nova does not follow a topic, it does not even check the length of the topic's records.
    assert_eq!(decoder().decode(&record("orders", None, Some(&huge))), Decoded::Ignore(Ignored::UnknownTopic));
}

#[test]
fn what_the_source_could_not_read_stays_dead_for_its_reason() {
    let defect = Dead { stage: Stage::Source, reason: "malformed-line", detail: "line 4".to_owned() };
    let broken = Record { defect: Some(Box::new(defect.clone())), ..record("cdc.likes", None, None) };
    assert_eq!(decoder().decode(&broken), Decoded::Dead(defect));
}
