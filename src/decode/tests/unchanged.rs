//! Tests of values that a record does not repeat, because the record has a placeholder in any form, or because a header
//! names the column.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::support::{KEY, change, dead, decode, decoder, record};
use crate::decode::DEFAULT_PLACEHOLDER;
use crate::decode::placeholder::Placeholders;
use crate::event::{Cell, ChangeBody, Id, Record, Row, Table};

const POST: &str = "30000000-0000-4000-8000-000000000001";

fn post() -> Value {
    json!({
        "id": POST, "user_id": "00000000-0000-4000-8000-000000000001", "caption": "c", "image_key": "k",
        "image_sizes": null, "status": "published", "created_at": "2026-11-20T10:00:00Z",
        "updated_at": "2026-11-20T10:00:00Z", "soft_delete": null,
    })
}

fn row(placeholder: Option<&str>, value: &Value, headers: &[(&str, &str)]) -> Row {
    let decoder = decoder();
    let mut decoder = match placeholder {
        Some(text) => decoder.with_placeholder(text),
        None => decoder,
    };
    let post = record("cdc.posts", Some(KEY.as_bytes()), Some(value.to_string().as_bytes()));
    match change(decoder.decode(&with_headers(post, headers))).body {
        ChangeBody::Upsert(row) => row,
        other => panic!("{other:?}"),
    }
}

fn with_headers(record: Record, headers: &[(&str, &str)]) -> Record {
    let headers = headers.iter().map(|(name, value)| ((*name).into(), value.to_string().into())).collect();
    Record { headers, ..record }
}

fn names(row: &Row) -> Vec<&str> {
    row.extra_unavailable.iter().map(|name| &**name).collect()
}

/// The forms in which Debezium writes an unchanged value, one for each type of column.
fn forms(text: &str, uuid: &str) -> Vec<Value> {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    let (base64, url) = (STANDARD.encode(text), URL_SAFE.encode(text));
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let signed: Vec<Value> = text.bytes().map(|byte| json!(byte as i8)).collect();
    vec![
        json!(text),
        json!(base64),
        json!(url),
        json!(hex),
        json!([text]),
        json!([base64]),
        json!([uuid]),
        json!(signed),
        text.bytes().map(|byte| json!(f64::from(byte as i8))).collect(),
        text.bytes().map(|byte| json!((byte as i8).to_string())).collect(),
        text.bytes().map(|byte| json!({ "scale": 0, "value": STANDARD.encode([byte]) })).collect(),
        json!({ text: text }),
        json!(json!({ text: text }).to_string()),
        json!([[text, text]]),
        json!([{"key": text, "value": text}]),
    ]
}

#[test]
fn an_unknown_column_with_the_placeholder_is_named_and_not_kept() {
    let default = forms("__debezium_unavailable_value", "b68a35a7-17ad-35b3-af2a-ae46edb4545a");
    for form in &default {
        let mut value = post();
        (value["more"], value["lang"]) = (form.clone(), json!("en"));
        let envelope = json!({"after": value, "before": null, "op": "u", "source": {}});
        for value in [&value, &envelope] {
            let row = row(None, value, &[]);
            assert_eq!((names(&row), row.extra.as_deref()), (vec!["more"], Some(r#"{"lang":"en"}"#)), "{form}");
        }
    }
    let uuid = uuid::Builder::from_md5_bytes(<md5::Md5 as md5::Digest>::digest("-?é").into()).into_uuid().to_string();
    for form in forms("-?é", &uuid) {
        for setting in ["-?é", "hex:2d3fc3a9", "hex:2D3FC3A9"] {
            let mut value = post();
            value["more"] = form.clone();
            assert_eq!(names(&row(Some(setting), &value, &[])), ["more"], "{form} of {setting}");
        }
        // The connector of this record has its own placeholder, so Debezium's default placeholder is an ordinary value.
        let mut value = post();
        value["more"] = json!("__debezium_unavailable_value");
        assert!(names(&row(Some("-?é"), &value, &[])).is_empty());
    }
}

#[test]
fn a_decoder_that_is_told_nothing_knows_the_placeholder_of_the_connectors_that_we_ship() {
    for connector in [
        include_str!("../../../deploy/debezium/nova.json"),
        include_str!("../../../deploy/debezium/nova-flat.json"),
        include_str!("../../../deploy/debezium/nova-avro.json"),
    ] {
        let connector: Value = serde_json::from_str(connector).unwrap();
        let shipped = connector["unavailable.value.placeholder"].as_str().unwrap();
        for text in [shipped, DEFAULT_PLACEHOLDER] {
            let mut value = post();
            value["caption"] = json!(text);
            value["image_sizes"] = json!(text);
            value["body"] = json!([text]);
            let told_nothing = row(None, &value, &[]);
            assert_eq!(told_nothing.cells.iter().filter(|cell| **cell == Cell::Unavailable).count(), 2);
            assert_eq!(names(&told_nothing), ["body"]);
        }
        // If a connector has its own placeholder, Debezium's public default must not count as a placeholder.
        let mut value = post();
        value["caption"] = json!(shipped);
        assert!(!row(Some("their own"), &value, &[]).cells.contains(&Cell::Unavailable));
    }
}

#[test]
fn what_only_looks_like_the_placeholder_is_a_value() {
    let text = "__debezium_unavailable_value";
    for value in [
        json!(format!("{text} ")),
        json!([text, text]),
        json!([[text]]),
        json!({ text: "x" }),
        json!({"key": text}),
        json!([95, 95]),
        json!({}),
        json!([]),
        json!(""),
        json!(null),
        json!(7),
    ] {
        let mut post = post();
        post["more"] = value.clone();
        let row = row(None, &post, &[]);
        assert_eq!((names(&row).len(), row.extra.as_deref()), (0, Some(&*json!({ "more": value }).to_string())));
    }
    let mut twice = post().to_string();
    twice.truncate(twice.len() - 1);
    for pair in [(json!(text), json!(1)), (json!(1), json!([text])), (json!(text), json!(text))] {
        let value = format!(r#"{twice},"more":{},"more":{}}}"#, pair.0, pair.1);
        assert_eq!(dead(decode("cdc.posts", &value)).0, "duplicate-field", "{value}");
    }
}

proptest! {
    #[test]
    fn unknown_columns_are_either_kept_or_named(
        columns in proptest::collection::btree_map("x[a-z]{0,6}", 0..20usize, 0..8),
        setting in "[ -~]{1,40}",
    ) {
        let forms = forms("PLACE", &uuid::Uuid::nil().to_string());
        let custom = Placeholders::of("PLACE");
        let mut value = post();
        for (name, form) in &columns {
            value[name] = forms.get(*form).cloned().unwrap_or_else(|| json!({ "v": form }));
        }
        let row = row(Some("PLACE"), &value, &[]);
        let is_placeholder = |name: &&String| custom.is_json(&value[name.as_str()].to_string());
        let expected: Vec<&str> = columns.keys().filter(is_placeholder).map(String::as_str).collect();
        prop_assert_eq!(names(&row), expected.clone());
        let kept: Value = row.extra.as_deref().map_or(json!({}), |extra| serde_json::from_str(extra).unwrap());
        prop_assert_eq!(kept.as_object().unwrap().len() + expected.len(), columns.len());
        // nova recognises every form of any placeholder, whatever characters the placeholder has.
        let own = Placeholders::of(&setting);
        prop_assume!(!setting.starts_with("hex:"));
        for form in [json!(setting), json!([setting]), json!({ setting.clone(): setting })] {
            prop_assert!(own.is_json(&form.to_string()), "{}", form);
        }
    }
}

#[test]
fn a_column_that_a_header_names_is_unchanged_and_one_that_none_names_is_missing() {
    let lists = [
        r#"["id","caption","status","body"]"#,
        r#"[ "id", "caption", "status", "body" ]"#,
        "[id, caption, status, body]",
        r#"{"schema":{"type":"array"},"payload":["id","caption","status","body"]}"#,
    ];
    let mut value = post();
    for name in ["caption", "status", "soft_delete"] {
        value.as_object_mut().unwrap().remove(name);
    }
    for list in lists {
        let row = row(None, &value, &[("__debezium.context.taskId", "0"), ("Unchanged", list)]);
        let cells: Vec<&Cell> = [2, 5, 8].iter().map(|index| &row.cells[*index]).collect();
        assert_eq!(cells, [&Cell::Unavailable, &Cell::Unavailable, &Cell::Missing], "{list}");
        assert_eq!(names(&row), ["body"]);
        // If a record has a value of a column, the value counts, whatever a header says about the column.
        let mut there = post();
        there["body"] = json!("text");
        let row = self::row(None, &there, &[("Unchanged", list)]);
        assert_eq!((&row.cells[2], names(&row).len()), (&Cell::Text("c".into()), 0));
    }
    for other in ["[]", "drp", "[1,2]", r#"[{"a":1}]"#, "{", "[", r#"["caption"]"#, r#"{"payload":7}"#] {
        let post = record("cdc.posts", Some(KEY.as_bytes()), Some(value.to_string().as_bytes()));
        let (reason, detail) = dead(decoder().decode(&with_headers(post, &[("Unchanged", other)])));
        assert_eq!((reason, detail.contains("posts.status")), ("schema-mismatch", true), "{detail}");
        assert!(detail.contains("drop.fields.header.name") && detail.contains("UPDATE posts SET id = id"), "{detail}");
    }
    // A record is still a row if it has only the columns that no header names.
    let alone = json!({"id": POST, "more": 1});
    let all: Vec<&str> = Table::Posts.columns().iter().map(|column| column.name).collect();
    let row = row(None, &alone, &[("Unchanged", &json!(all).to_string())]);
    assert!(row.cells[1..].iter().all(|cell| *cell == Cell::Unavailable));
}

#[test]
fn the_headers_of_a_changed_key_are_read_in_each_form() {
    let old = "20000000-0000-4000-8000-000000000009";
    let id: Id = old.parse().unwrap();
    let forms = [
        format!(r#"{{"id": "{old}"}}"#),
        format!(r#"{{"schema":{{}},"payload":{{"id":"{old}"}}}}"#),
        format!("\"{old}\""),
        format!("Struct{{id={old}}}"),
        format!("Struct{{x=1,id={old},y=2}}"),
        old.to_owned(),
    ];
    let delete = json!({"before": {"id": POST}, "after": null, "source": {}, "op": "d"});
    let told = |value: &Value, headers: &[(&str, &str)]| {
        let post = record("cdc.posts", Some(KEY.as_bytes()), Some(value.to_string().as_bytes()));
        let change = change(decoder().decode(&with_headers(post, headers)));
        (change.renamed_from(), change.renamed_to())
    };
    let envelope = json!({"before": null, "after": post(), "source": {}, "op": "c"});
    for form in &forms {
        let both = [("__debezium.oldkey", form.as_str()), ("__debezium.newkey", form.as_str())];
        for value in [&post(), &envelope] {
            assert_eq!(told(value, &both), (Some(id), None), "{form}");
        }
        assert_eq!(told(&delete, &both), (None, Some(id)), "{form}");
    }
    for unreadable in ["", "{}", "7", r#"{"id":7}"#, "Struct{}", "\u{0}\u{0}\u{0}\u{0}\u{1}x"] {
        assert_eq!(told(&post(), &[("__debezium.oldkey", unreadable)]), (None, None), "{unreadable}");
    }
}
