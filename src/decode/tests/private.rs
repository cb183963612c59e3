//! Tests of private members: no change and no dead letter has them, at any depth and in any notation.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::support::{KEY, avro_decoder, capture, change, decode, decoder, record, topics};
use crate::decode::private::{column, mask, purge};
use crate::decode::{Decoder, FileSchemas, Part};
use crate::event::{ChangeBody, DROPPED_COLUMNS};

const SECRET: &str = "s3cr3t";

/// Every spelling of a name that stands for a private column.
const NAMES: [&str; 12] = [
    "email",
    "password_hash",
    "Email",
    "EMAIL",
    "passwordHash",
    "PasswordHash",
    "password-hash",
    "PASSWORD_HASH",
    "e-mail",
    "after.email",
    "before_password_hash",
    "afterEmail",
];

#[test]
fn a_private_name_is_found_in_each_writing_and_others_are_not() {
    for name in NAMES {
        assert!(column(name).is_some(), "{name}");
    }
    for name in ["email_verified", "emails", "mail", "password", "hash", "password_hash_at", "my_email", "", "after"] {
        assert_eq!(column(name), None, "{name}");
    }
    // `purge` relies on the letter `a`, which is in every private name.
    assert!(DROPPED_COLUMNS.iter().all(|name| name.contains('a')));
}

#[test]
fn what_holds_nothing_private_stays_word_for_word() {
    for json in [
        r#"{"a" :  1.50,"b":[ ],"email_verified":true}"#,
        r#""{\"a\": 1e400, \"mail\":\"email\"}""#,
        r#""my email: me@example.com, {\"email\" is a word""#,
        r#"["email","password_hash"]"#,
        r#"123456789012345678901234567890"#,
    ] {
        assert_eq!(purge(json), None, "{json}");
        assert_eq!(mask(json.as_bytes()), json.as_bytes(), "{json}");
    }
}

#[test]
fn members_are_removed_with_one_comma_and_the_rest_stays_word_for_word() {
    for (json, expected) in [
        (r#"{"email":1}"#, "{}"),
        (r#"{"email":1,"a":1.0}"#, r#"{"a":1.0}"#),
        (r#"{"a":1.0 , "email":{"b":[1,"}"]} }"#, r#"{"a":1.0 }"#),
        (r#"{"a":1,"email":[],"b":2}"#, r#"{"a":1,"b":2}"#),
        (r#"{"email":1,"Password_Hash":null}"#, "{}"),
        (r#"[{"x":{"email":"a"}},2.50]"#, r#"[{"x":{}},2.50]"#),
        (r#"{"\u0065mail":"a","b":1}"#, r#"{"b":1}"#),
        (r#""{\"email\":\"a\",\"b\":1.0}""#, r#""{\"b\":1.0}""#),
        (r#""{\"email\":\"a""#, r#""{\"email\":\"*""#),
        // An unpaired surrogate is not Unicode text, so it is kept as it is written.
        (r#"{"a":"\ud800{\"email\":\"a\"}"}"#, r#"{"a":"\ud800{\"email\":\"*\"}"}"#),
    ] {
        assert_eq!(purge(json).as_deref(), Some(expected), "{json}");
    }
}

#[test]
fn a_mask_keeps_the_length_and_the_form() {
    for (bytes, expected) in [
        (r#"{"email":"me@x","id":1}"#, r#"{"email":"****","id":1}"#),
        (r#"{"email":"","password_hash":"\"\\"}"#, r#"{"email":"","password_hash":"****"}"#),
        (r#"{"email":null,"a":[{"email":7}]}"#, r#"{"email":"**","a":[{"email":0}]}"#),
        (r#"{"email":{"b":[1,"}"]},"c":1}"#, r#"{"email":"***********","c":1}"#),
        (r#"{"x":"{\"email\":\"me\"}"}"#, r#"{"x":"{\"email\":\"**\"}"}"#),
        (r#"{"x":"{\"email\":true}"}"#, r#"{"x":"{\"email\":1000}"}"#),
        // In the next cases of the list, the text is cut, is in a notation other than JSON, or is a string within a
        // string.
        (r#"{"email":"me@x"#, r#"{"email":"****"#),
        (r#"{"email":"me@x","b":"#, r#"{"email":"****","b":"#),
        (r#"{"id":1,"email":tr"#, r#"{"id":1,"email":"""#),
        (r#"{"x":"{\"email\":\"m\\\"e\",\"b\":1}"#, r#"{"x":"{\"email\":\"******\",\"b\":1}"#),
        (r#"{"x":"{\u0022email\u0022:\u0022me\u0022"#, r#"{"x":"{\u0022email\u0022:\u0022**\u0022"#),
        (r#"Struct{id=1,email=a,b,name=c}"#, r#"Struct{id=1,email=***********"#),
        (r#""email"=>"a", "b"=>"c","#, r#""email"=>"*", "b"=>"c","#),
        (r#"{'email': 'a'}"#, r#"{'email': ****"#),
    ] {
        let masked = mask(bytes.as_bytes());
        assert_eq!(std::str::from_utf8(&masked).unwrap(), expected, "{bytes}");
    }
    let utf16: Vec<u8> = format!(r#"{{"email":"{SECRET}"}}"#).bytes().flat_map(|byte| [byte, 0]).collect();
    let masked: Vec<u8> = mask(&utf16).iter().copied().filter(|byte| *byte != 0).collect();
    assert!(!String::from_utf8_lossy(&masked).contains(SECRET));
}

/// The texts of this test are not JSON. Each text has a private member, and most texts spell the member's name with
/// escapes or additional punctuation.
#[test]
fn a_private_member_of_broken_text_is_hidden_in_each_writing() {
    for text in [
        r#"{"meta":"{\"email\":\n\"s3cr3t\"}""#,
        r#"{"meta":"{\"email\"\n:\"s3cr3t\"}""#,
        r#"{"m":"{\"n\":\"{\\\"email\\\":\\t\\\"s3cr3t\\\"}\"}""#,
        r#"{"email_":"s3cr3t""#,
        r#"{"email-" : "s3cr3t","#,
        r#"{"m":"{\"email\"\u003a\"s3cr3t\"}""#,
        r#"{"m":"{\"\u005cu0065mail\":\"s3cr3t\"}""#,
        r#"{"m":"{\"\\u00\u00365mail\":\"s3cr3t\"}""#,
        r#"{"m":"{\"email\":{\"v\":\u007b\"a\":1},\"w\":\"s3cr3t\"}}""#,
        r#"{"m":"{\n \"email\": [\n  \"s3cr3t\",\n  \"s3cr3t\"\n ]\n}""#,
        r#"{"email":"a"b","c":"s3cr3t""#,
        "{\"email\"\u{c}:\"s3cr3t\"}",
        "{\"email\"\u{a0}:\"s3cr3t\"}",
        "\u{feff}{\"email\":\"s3cr3t\"}",
    ] {
        let masked = mask(text.as_bytes());
        assert_eq!(masked.len(), text.len());
        assert!(!shows(&masked), "{text} became {}", String::from_utf8_lossy(&masked));
    }
}

#[test]
fn headers_with_a_private_name_and_json_behind_a_schema_id_are_masked_in_every_topic() {
    let decoder = decoder();
    for topic in ["cdc.users", "cdc.posts", "events", "elsewhere"] {
        for name in ["email", "password_hash", "E-Mail"] {
            assert_eq!(decoder.mask(topic, Part::Header(name), SECRET.as_bytes()), &b"******"[..], "{topic} {name}");
        }
        for head in [&b"\0\0\0\0\x07"[..], b"\0\0\0\0\x07 ", b"\0"] {
            let bytes = [head, br#"{"id":"1","email":"s3cr3t"}"#].concat();
            for part in [Part::Key, Part::Value, Part::Header("x")] {
                let masked = decoder.mask(topic, part, &bytes);
                assert_eq!(masked.len(), bytes.len());
                assert!(!shows(&masked), "{topic} {part:?}");
            }
        }
    }
}

/// A JSON value with private members at any depth, also in strings that contain JSON text. The private values contain
/// [`SECRET`].
fn values() -> impl Strategy<Value = Value> {
    let plain = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        r#"[a-z\\" é{}:,]{0,8}"#.prop_map(Value::from),
    ];
    let secret = prop_oneof![
        r#"[\\" ,:{}é]{0,4}"#.prop_map(|text| json!(format!("{text}{SECRET}{text}"))),
        r#"[\\" ,:]{0,4}"#.prop_map(|text| json!({ "x": [format!("{text}{SECRET}")], "y": null })),
    ];
    let name = proptest::sample::select(&NAMES[..]);
    plain.prop_recursive(6, 40, 4, move |inner| {
        let object = (
            proptest::collection::vec(("[a-z]{1,3}", inner.clone()), 0..3),
            proptest::collection::vec((name.clone(), secret.clone()), 0..2),
            any::<bool>(),
        );
        let object = object.prop_map(|(plain, private, first)| {
            let plain = plain.into_iter();
            let private = private.into_iter().map(|(name, value)| (name.to_owned(), value));
            let members: Map<String, Value> =
                if first { private.chain(plain).collect() } else { plain.chain(private).collect() };
            Value::Object(members)
        });
        prop_oneof![
            3 => object,
            1 => proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            1 => inner.prop_map(|value| Value::from(value.to_string())),
        ]
    })
}

/// Returns the value without its private members, computed in a simple and slow way.
fn without(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.iter().filter(|(name, _)| column(name).is_none());
            Value::Object(kept.map(|(name, value)| (name.clone(), without(value))).collect())
        }
        Value::Array(items) => items.iter().map(without).collect(),
        Value::String(text) if text.trim_start().starts_with(['{', '[', '"']) => match serde_json::from_str(text) {
            Ok(inner) => match without(&inner) {
                same if same == inner => value.clone(),
                less => Value::from(less.to_string()),
            },
            Err(_) => value.clone(),
        },
        value => value.clone(),
    }
}

fn shows(bytes: &[u8]) -> bool {
    String::from_utf8_lossy(bytes).contains(&SECRET[..4])
}

/// Returns the text with some letters of names and values written as escapes.
fn escaped(json: &str) -> String {
    json.replace("mail", r"\u006dail").replace("assword", r"\u0061ssword").replace("ASS", r"\u0041SS")
}

proptest! {
    #[test]
    fn purging_removes_the_private_members_and_nothing_else(value in values()) {
        for json in [value.to_string(), serde_json::to_string_pretty(&value).unwrap(), escaped(&value.to_string())] {
            let purged = purge(&json).unwrap_or_else(|| json.clone());
            prop_assert!(!shows(purged.as_bytes()), "{} became {}", json, purged);
            let read: Value = serde_json::from_str(&purged).unwrap();
            prop_assert_eq!(read, without(&value), "{}", json);
            prop_assert_eq!(purge(&purged), None);
        }
    }

    /// A masked value is as long as the value itself, is still JSON, and means the same as the value without its
    /// private members.
    #[test]
    fn a_masked_value_replays_like_the_value(value in values()) {
        for json in [value.to_string(), escaped(&value.to_string())] {
            let masked = mask(json.as_bytes()).into_owned();
            prop_assert_eq!(masked.len(), json.len());
            prop_assert!(!shows(&masked), "{} became {}", json, String::from_utf8_lossy(&masked));
            let text = String::from_utf8(masked.clone()).unwrap();
            let read: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(without(&read), without(&value));
            prop_assert_eq!(mask(&masked).into_owned(), masked.clone());
        }
    }

    #[test]
    fn what_is_cut_or_damaged_shows_nothing_either(value in values(), cut in 0.0..1.0f64, damage in 0..4usize) {
        for json in [value.to_string(), escaped(&value.to_string())] {
            let end = (json.len() as f64 * cut) as usize;
            let mut bytes = json.as_bytes()[..end].to_vec();
            match damage {
                0 => bytes.insert(0, 0xff),
                1 => bytes.push(0xff),
                2 => bytes.insert(0, b'"'),
                _ => {}
            }
            let masked = mask(&bytes);
            prop_assert_eq!(masked.len(), bytes.len());
            prop_assert!(!shows(&masked), "{} became {}", String::from_utf8_lossy(&bytes), String::from_utf8_lossy(&masked));
        }
    }

    /// The tap and a dead letter show the first bytes of the masked record.
    #[test]
    fn every_cut_of_a_masked_record_shows_nothing(value in values(), cut in 0.0..1.0f64) {
        for json in [value.to_string(), serde_json::to_string_pretty(&value).unwrap(), escaped(&value.to_string())] {
            for topic in ["cdc.users", "cdc.posts", "elsewhere"] {
                let masked = decoder().mask(topic, Part::Value, json.as_bytes()).into_owned();
                let end = (masked.len() as f64 * cut) as usize;
                prop_assert!(!shows(&masked[..end]), "{} became {}", json, String::from_utf8_lossy(&masked));
            }
        }
    }

    #[test]
    fn a_mask_of_any_bytes_has_their_length(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(mask(&bytes).len(), bytes.len());
    }

    #[test]
    fn a_change_shows_nothing_private_in_any_shape(value in values(), as_text in any::<bool>()) {
        let value = if as_text { Value::from(value.to_string()) } else { value };
        let row = json!({
            "id": "30000000-0000-4000-8000-000000000001", "user_id": "00000000-0000-4000-8000-000000000001",
            "post_id": "20000000-0000-4000-8000-000000000001", "created_at": 1, "more": value, "email": SECRET,
        });
        let envelope = json!({"before": row, "after": row, "source": {"table": "likes"}, "op": "u", "id": value, "x": row});
        let wrapped = json!({"schema": {"type": "struct"}, "payload": envelope});
        for record in [&row, &envelope, &wrapped] {
            let told = format!("{:?}", decode("cdc.likes", &record.to_string()));
            prop_assert!(told.starts_with("Change"), "{}", told);
            prop_assert!(!told.contains(&SECRET[..4]), "{}", told);
        }
    }
}

/// The test masks a record of a user in Avro. The schema of the user is known, is unknown, or belongs to another topic.
#[test]
fn a_letter_of_avro_keeps_its_schema_id_and_says_why_it_cannot_be_replayed() {
    let users = capture("envelope-avro.jsonl").into_iter().find(|record| record.topic.ends_with(".users")).unwrap();
    let value = users.value.clone().unwrap();
    for (decoder, topic) in [(avro_decoder(), "cdc.users"), (avro_decoder(), "cdc.likes"), (decoder(), "cdc.users")] {
        let masked = decoder.mask(topic, Part::Value, &value);
        assert_eq!((masked.len(), &masked[..5]), (value.len(), &value[..5]));
        assert!(masked[5..].iter().all(|byte| *byte == b'*'));
        let mut decoder = decoder;
        let again = record(topic, users.key.as_deref(), Some(&masked));
        let (reason, detail) = super::support::dead(decoder.decode(&again));
        assert_eq!((reason, detail.contains("read the record again from Kafka")), ("masked-value", true));
    }
    // A dead letter without private members is not changed, and can be replayed.
    let likes = capture("envelope-avro.jsonl").into_iter().find(|record| record.topic.ends_with(".likes")).unwrap();
    let value = likes.value.unwrap();
    for decoder in [avro_decoder(), decoder()] {
        assert_eq!(decoder.mask("cdc.likes", Part::Value, &value), &value[..]);
    }
}

#[test]
fn records_and_maps_of_avro_lose_their_private_members() {
    let fields =
        r#"{"name":"id","type":"string"},{"name":"user_id","type":"string"},{"name":"post_id","type":"string"}"#;
    let inner =
        r#"{"type":"record","name":"Image","fields":[{"name":"email","type":"string"},{"name":"a","type":"long"}]}"#;
    let schema = format!(
        r#"{{"type":"record","name":"Value","fields":[{fields},{{"name":"image","type":{inner}}},{{"name":"tags","type":{{"type":"map","values":"string"}}}}]}}"#
    );
    let schemas = FileSchemas::parse(&format!(r#"{{"schemas":{{"1":{schema}}}}}"#)).unwrap();
    let mut value = vec![0, 0, 0, 0, 1];
    let text = |text: &str, value: &mut Vec<u8>| {
        value.push(u8::try_from(text.len() * 2).unwrap());
        value.extend_from_slice(text.as_bytes());
    };
    for id in ["30000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000001"] {
        text(id, &mut value);
    }
    text("20000000-0000-4000-8000-000000000001", &mut value);
    text(SECRET, &mut value);
    value.push(14);
    value.push(2);
    text("passwordHash", &mut value);
    text(SECRET, &mut value);
    value.push(0);
    let like = record("cdc.likes", Some(KEY.as_bytes()), Some(&value));
    let ChangeBody::Upsert(row) = change(Decoder::new(topics(), Arc::new(schemas)).decode(&like)).body else {
        panic!()
    };
    assert_eq!(row.extra.as_deref(), Some(r#"{"image":{"a":7},"tags":{}}"#));
}
