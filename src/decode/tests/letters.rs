//! Tests of dead letters of a table with private columns. Whatever the shape of a record, no byte of a private value is
//! in its letter, and a letter that can be applied later has the same effect as its record.

use std::sync::LazyLock;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::support::{avro_decoder, capture, dead, decoder, record};
use crate::decode::{Decoder, FileSchemas, KeepUnknown, Part};
use crate::event::Record;

/// A private value that can be part of a text and of a number.
const SECRET: &str = "73910468";
/// Columns that `cdc.keep_unknown` does not name. Some of the names are spelled as Kafka Connect's transforms or other
/// frameworks spell names.
const NAMES: [&str; 12] = [
    "phone",
    "Phone",
    "PHONE_NUMBER",
    "totp_secret",
    "totpSecret",
    "TOTP-Secret",
    "email",
    "eMail",
    "after.phone",
    "before_phone",
    "\u{fc}ber",
    "x\"y\\z",
];
const CAPTURES: [&str; 7] = [
    "envelope.jsonl",
    "envelope-schemas.jsonl",
    "flat-rewrite.jsonl",
    "flat-bare.jsonl",
    "envelope-avro.jsonl",
    "left-out.jsonl",
    "forms.jsonl",
];

fn users() -> &'static [Record] {
    static USERS: LazyLock<Vec<Record>> = LazyLock::new(|| {
        let all = CAPTURES.iter().flat_map(|name| capture(name));
        all.filter(|record| record.topic.ends_with("users")).collect()
    });
    &USERS
}

/// Returns the record as its dead letter has it.
fn letter(decoder: &Decoder, record: &Record) -> Record {
    let mask = |part, bytes: &Bytes| {
        let masked = Bytes::from(decoder.mask(&record.topic, part, bytes).into_owned());
        assert_eq!(masked.len(), bytes.len());
        masked
    };
    Record {
        key: record.key.as_ref().map(|key| mask(Part::Key, key)),
        value: record.value.as_ref().map(|value| mask(Part::Value, value)),
        headers: record.headers.iter().map(|(name, value)| (name.clone(), mask(Part::Header(name), value))).collect(),
        ..record.clone()
    }
}

fn shows(record: &Record) -> bool {
    let shows = |bytes: &Bytes| bytes.windows(3).any(|part| SECRET.as_bytes().windows(3).any(|secret| secret == part));
    record.key.iter().chain(&record.value).chain(record.headers.iter().map(|(_, value)| value)).any(shows)
}

/// Adds the member to every object in a value, also to objects in JSON text.
fn with_member(value: &mut Value, at: &mut usize, name: &str, secret: &Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(|inner| with_member(inner, at, name, secret));
            if *at == 0 {
                members.insert(name.to_owned(), secret.clone());
            }
            *at = at.wrapping_sub(1);
        }
        Value::Array(items) => items.iter_mut().for_each(|inner| with_member(inner, at, name, secret)),
        _ => {}
    }
}

fn secrets() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(SECRET)),
        Just(json!(73_910_468)),
        Just(json!(-739_104.68)),
        Just(json!([SECRET, 73_910_468, { "id": SECRET }])),
        Just(json!({ "id": SECRET, "username": SECRET, "after": { "username": SECRET }, "a": [[73_910_468]] })),
        Just(json!(format!("{{\"id\": \"{SECRET}\", \"username\": {SECRET}}}"))),
        r#"[\\" ,:{}\[\]é\u{1F600}]{0,4}"#.prop_map(|text| json!(format!("{text}{SECRET}{text}"))),
    ]
}

#[test]
fn a_letter_of_users_replays_as_the_record_in_each_form() {
    let mut replayed = 0;
    for record in users() {
        let letter = letter(&avro_decoder(), record);
        let (mut once, mut again) = (avro_decoder(), avro_decoder());
        let is_blank = record.value != letter.value && record.value.as_ref().is_some_and(|value| value[0] == 0);
        if !is_blank {
            assert_eq!(once.decode(record), again.decode(&letter), "{record:?}");
            replayed += 1;
        }
    }
    assert!(replayed > 10, "{replayed}");
}

proptest! {
    #[test]
    fn a_letter_shows_no_column_that_is_not_kept(
        which in 0..1_000usize, at in 0..12usize, name in proptest::sample::select(&NAMES[..]), secret in secrets(),
        texts in any::<bool>(), escaped in any::<bool>(), cut in proptest::option::of(0.0..1.0f64),
    ) {
        let all: Vec<_> = users().iter().filter(|record| record.value.as_ref().is_some_and(|value| value[0] == b'{')).collect();
        let mut record = all[which % all.len()].clone();
        let with = |bytes: &Bytes, at: usize| {
            let mut value: Value = serde_json::from_slice(bytes).ok()?;
            with_member(&mut value, &mut at.clone(), name, &secret);
            if texts && let Some(after) = value.get_mut("after") {
                *after = Value::from(after.to_string());
            }
            let text = value.to_string();
            let hidden = ["phone", "totp", "after", "user"].map(|part| (part, format!("\\u{:04x}{}", part.as_bytes()[0], &part[1..])));
            let text = hidden.iter().filter(|_| escaped).fold(text, |text, (part, escape)| text.replace(part, escape));
            Some(Bytes::from(text))
        };
        let Some(value) = record.value.as_ref().and_then(|value| with(value, at)) else { return Ok(()) };
        record.value = Some(value);
        if let Some(key) = record.key.as_ref().and_then(|key| with(key, at % 2)) {
            record.key = Some(key);
        }
        record.headers.push(("phone".into(), Bytes::from(secret.to_string())));
        record.headers.push(("__debezium.newkey".into(), Bytes::from(format!("Struct{{phone={SECRET}}}"))));
        if let Some(cut) = cut {
            let value = record.value.take().unwrap();
            record.value = Some(value.slice(..(value.len() as f64 * cut) as usize));
        }
        let letter = letter(&decoder(), &record);
        prop_assert!(!shows(&letter), "{:?} became {:?}", record, letter);
        if cut.is_none() {
            prop_assert_eq!(decoder().decode(&letter), decoder().decode(&record));
        }
    }

    #[test]
    fn a_letter_of_bytes_that_are_no_json_shows_none_of_them(
        before in proptest::collection::vec(any::<u8>(), 0..40), after in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let value = [&before[..], SECRET.as_bytes(), &after[..]].concat();
        // The head of an Avro value has five bytes with the id of the schema, and masking does not overwrite these
        // bytes.
        prop_assume!(value[0] != 0);
        let letter = letter(&decoder(), &record("cdc.users", Some(&value), Some(&value)));
        prop_assert!(!shows(&letter));
    }
}

/// If the registry knows the schema, the schema shows which columns the record has.
#[test]
fn avro_with_a_column_that_is_not_kept_is_overwritten_and_without_one_it_stays() {
    let schema = |more: &str| {
        let fields = format!(r#"{{"name":"id","type":"string"}},{{"name":"username","type":["null","string"]}}{more}"#);
        format!(r#"{{"type":"record","name":"Value","fields":[{fields}]}}"#)
    };
    let phone = schema(r#",{"name":"phone","type":"string"}"#);
    let alias = schema(r#",{"name":"bio","type":"string","aliases":["e_mail"]}"#);
    let within = schema(r#",{"name":"source","type":{"type":"map","values":"string"}}"#);
    let bio = schema(r#",{"name":"bio","type":"string"}"#);
    let schemas = format!(r#"{{"schemas":{{"1":{},"2":{phone},"3":{alias},"4":{within},"5":{bio}}}}}"#, schema(""));
    let decoder = Decoder::new(super::support::topics(), std::sync::Arc::new(FileSchemas::parse(&schemas).unwrap()));
    for (id, hidden) in [(1, false), (2, true), (3, true), (4, true), (5, false), (6, true)] {
        let value = [&[0, 0, 0, 0, id], SECRET.as_bytes()].concat();
        let masked = decoder.mask("cdc.users", Part::Value, &value).into_owned();
        assert_eq!(masked[5..].iter().all(|byte| *byte == b'*'), hidden, "{id}");
    }
}

#[test]
fn headers_and_keys_keep_what_says_which_row_is_meant() {
    let decoder = decoder();
    let id = "00000000-0000-4000-8000-000000000001";
    for (part, bytes, expected) in [
        (Part::Key, id.to_owned(), id.to_owned()),
        (Part::Key, format!("\"{id}\""), format!("\"{id}\"")),
        (Part::Key, "\"+49\"".to_owned(), "\"***\"".to_owned()),
        (Part::Key, "+49".to_owned(), "***".to_owned()),
        (Part::Value, id.to_owned(), "*".repeat(36)),
        (Part::Value, "null".to_owned(), "null".to_owned()),
        (Part::Key, format!(r#"{{"id":"{id}","phone":490}}"#), format!(r#"{{"id":"{id}","phone":"*"}}"#)),
        (Part::Header("__debezium.newkey"), format!("Struct{{id={id}}}"), format!("Struct{{id={id}}}")),
        (Part::Header("__debezium.newkey"), format!("Struct{{id={id},p=4}}"), format!("Struct{{id={id},***}}")),
        (Part::Header("Changed"), r#"["id","phone"]"#.to_owned(), r#"["id","*****"]"#.to_owned()),
        (Part::Header("Changed"), "[username, phone]".to_owned(), "[username,******]".to_owned()),
        (Part::Header("phone"), "+49".to_owned(), "***".to_owned()),
        (Part::Header("username"), "me".to_owned(), "me".to_owned()),
    ] {
        let masked = decoder.mask("cdc.users", part, bytes.as_bytes()).into_owned();
        let masked = String::from_utf8(masked).unwrap();
        assert_eq!(masked, expected, "{part:?} {bytes}");
    }
}

/// The letter also has the unknown columns that nova keeps, without the private members within them.
#[test]
fn columns_that_are_kept_stay_in_the_letter() {
    let keep = |entries: &[&str]| {
        let entries: Vec<_> = entries.iter().map(|entry| (*entry).to_owned()).collect();
        decoder().with_kept(KeepUnknown::parse(&entries).unwrap())
    };
    let value = br#"{"id":"1","phone":"+49","Locale":{"email":"a","tag":["de"]},"username":{"phone":"+49"}}"#;
    let masked =
        |decoder: &Decoder| String::from_utf8(decoder.mask("cdc.users", Part::Value, value).into_owned()).unwrap();
    let hidden = masked(&keep(&[]));
    let stars = |count| "*".repeat(count);
    let expected = format!(r#"{{"id":"1","phone":"***","Locale":"{}","username":"{}"}}"#, stars(24), stars(13));
    assert_eq!(hidden, expected);
    let shown = masked(&keep(&["users.locale"]));
    assert!(shown.contains(r#""Locale":{"email":"*","tag":["de"]}"#) && !shown.contains("+49"), "{shown}");
    assert!(masked(&keep(&["users"])).contains(r#""phone":"+49""#));
}

/// serde_json skips values of any depth, but nova's pass over the values has a limit.
#[test]
fn a_letter_of_arrays_in_arrays_is_overwritten_within_a_bound() {
    for (open, close) in [("[", "]"), (r#"{"payload":"#, "}")] {
        let deep = format!("{}\"{SECRET}\"{}", open.repeat(100_000), close.repeat(100_000));
        let letter = letter(&decoder(), &record("cdc.users", None, Some(deep.as_bytes())));
        assert!(!shows(&letter));
        let (reason, _) = dead(decoder().decode(&letter));
        assert!(!reason.is_empty());
    }
}
