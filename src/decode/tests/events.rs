//! Tests of client events.

use proptest::prelude::*;

use super::support::{dead, decoder, record};
use crate::decode::client;
use crate::event::{Action, ClientEvent, Decoded, Id, Stage};

fn decode(value: &str) -> Decoded {
    decoder().decode(&record("events", None, Some(value.as_bytes())))
}

fn event(value: &str) -> ClientEvent {
    match decode(value) {
        Decoded::Event(event) => event,
        other => panic!("{other:?}"),
    }
}

const USER: &str = "00000000-0000-4000-8000-000000000001";
const POST: &str = "20000000-0000-4000-8000-000000000001";

fn with(members: &str) -> String {
    format!(r#"{{"user_id":"{USER}","post_id":"{POST}","action":"view","event_time":1795132800000{members}}}"#)
}

#[test]
fn unknown_members_are_ignored_and_null_is_absent() {
    let plain = event(&with(""));
    let more = event(&with(r#","author_id":null,"dwell_ms":null,"device":null,"later":[{"a":1}],"event_id":null"#));
    assert_eq!(plain, more);
    assert_eq!((plain.action, plain.dwell_ms, &*plain.device, plain.author_id), (Action::View, 0, "", None));
    let text = with("").replace("1795132800000", r#""2026-11-20T00:00:00.0009Z""#);
    assert_eq!(event(&text).event_time_ms, 1_795_132_800_000);
}

#[test]
fn an_event_without_an_id_gets_one_that_only_its_place_decides() {
    let first = event(&with(""));
    assert_eq!(first.event_id, event(&with(r#","device":"web""#)).event_id);
    let mut record = record("events", None, Some(with("").as_bytes()));
    record.offset += 1;
    let Decoded::Event(next) = decoder().decode(&record) else { panic!("not an event") };
    assert_ne!(first.event_id, next.event_id);
    assert_eq!(first.event_id.to_string().as_bytes()[14], b'8');
}

#[test]
fn what_is_no_event_is_dead_with_its_reason() {
    let long = "x".repeat(client::DEVICE_MAX_CHARS + 1);
    let cases = [
        (with("").replace("view", "dance"), "unknown-action", "action"),
        (with("").replace(r#""view""#, "3"), "wrong-type", "action"),
        (with("").replace("user_id", "user"), "missing-field", "user_id"),
        (with("").replace("1795132800000", "-1"), "invalid-value", "event_time"),
        (with("").replace("1795132800000", "1795132800000000"), "invalid-value", "event_time"),
        (with("").replace("1795132800000", r#""yesterday""#), "invalid-value", "event_time"),
        (with(r#","dwell_ms":4294967296"#), "invalid-value", "dwell_ms"),
        (with(r#","dwell_ms":-1"#), "invalid-value", "dwell_ms"),
        (with(r#","dwell_ms":1.5"#), "wrong-type", "dwell_ms"),
        (with(r#","event_id":"e-1""#), "invalid-value", "event_id"),
        (with(&format!(r#","device":"{long}""#)), "too-long", "device"),
        (with(r#","action":"like""#), "duplicate-field", "action"),
        ("null".to_owned(), "wrong-type", "object"),
        ("[1]".to_owned(), "wrong-type", "object"),
        ("nonsense".to_owned(), "malformed-json", "column 2"),
    ];
    for (value, reason, named) in cases {
        let (found, detail) = dead(decode(&value));
        assert!(found == reason && detail.contains(named), "{value}: {found}: {detail}");
    }
    let Decoded::Dead(none) = decoder().decode(&record("events", None, None)) else { panic!("not dead") };
    assert_eq!((none.stage, none.reason), (Stage::Decode, "missing-value"));
}

#[test]
fn integers_and_lengths_are_what_the_schema_says() {
    for (written, read) in
        [("5400.0", 5_400), ("1e3", 1_000), ("5.4E3", 5_400), ("-0", 0), ("-0.0", 0), ("4294967295.000", u32::MAX)]
    {
        assert_eq!(event(&with(&format!(r#","dwell_ms":{written}"#))).dwell_ms, read, "{written}");
    }
    let at = |written: &str| event(&with("").replace("1795132800000", written)).event_time_ms;
    for written in ["1795132800000.0", "1795132800000.000000", "1.7951328e12", "17951328E5"] {
        assert_eq!(at(written), 1_795_132_800_000, "{written}");
    }
    for (bad, reason) in [("5400.5", "wrong-type"), ("4294967296.0", "invalid-value"), ("1e300", "wrong-type")] {
        assert_eq!(dead(decode(&with(&format!(r#","dwell_ms":{bad}"#)))).0, reason, "{bad}");
    }
    // The limit of a text counts code points, whatever number of bytes or units the text needs in UTF-8 or UTF-16.
    for one in ["x", "é", "世", "😀"] {
        let text = |chars: usize| with(&format!(r#","device":"{}""#, one.repeat(chars)));
        assert_eq!(event(&text(client::DEVICE_MAX_CHARS)).device.chars().count(), client::DEVICE_MAX_CHARS);
        assert_eq!(dead(decode(&text(client::DEVICE_MAX_CHARS + 1))).0, "too-long");
    }
}

fn any_event() -> impl Strategy<Value = ClientEvent> {
    let ids = (any::<u128>(), any::<u128>(), any::<u128>(), any::<Option<u128>>());
    let texts = (".{0,16}", ".{0,16}");
    (ids, 0..Action::ALL.len(), 0..4_102_444_800_000i64, any::<u32>(), texts).prop_map(
        |((event_id, user_id, post_id, author_id), action, event_time_ms, dwell_ms, (device, app_ver))| ClientEvent {
            event_id: Id::from_u128(event_id),
            user_id: Id::from_u128(user_id),
            post_id: Id::from_u128(post_id),
            author_id: author_id.map(Id::from_u128),
            action: Action::ALL[action],
            event_time_ms,
            dwell_ms,
            device: device.into(),
            app_ver: app_ver.into(),
        },
    )
}

proptest! {
    #[test]
    fn encode_and_decode_are_inverse(sent in any_event()) {
        let bytes = client::encode(&sent);
        let read = event(std::str::from_utf8(&bytes).unwrap());
        prop_assert_eq!(client::payload_hash(&read), client::payload_hash(&sent));
        prop_assert_eq!(read, sent);
    }

    #[test]
    fn the_payload_hash_sees_everything_but_the_id(one in any_event(), other in any_event(), id in any::<u128>()) {
        let renamed = ClientEvent { event_id: Id::from_u128(id), ..one.clone() };
        prop_assert_eq!(client::payload_hash(&renamed), client::payload_hash(&one));
        for changed in [
            ClientEvent { user_id: other.user_id, ..one.clone() },
            ClientEvent { post_id: other.post_id, ..one.clone() },
            ClientEvent { author_id: other.author_id, ..one.clone() },
            ClientEvent { action: other.action, ..one.clone() },
            ClientEvent { event_time_ms: other.event_time_ms, ..one.clone() },
            ClientEvent { dwell_ms: other.dwell_ms, ..one.clone() },
            ClientEvent { device: other.device.clone(), ..one.clone() },
            ClientEvent { app_ver: other.app_ver.clone(), ..one.clone() },
            // If a byte moves from one text of the event to the next, the event's hash changes.
            ClientEvent { device: format!("{}a", one.device).into(), ..one.clone() },
            ClientEvent { app_ver: format!("a{}", one.app_ver).into(), ..one.clone() },
        ] {
            prop_assert_eq!(client::payload_hash(&changed) == client::payload_hash(&one), changed == one);
        }
        let swapped = client::dedup_key(one.event_id, one.user_id) == client::dedup_key(one.user_id, one.event_id);
        prop_assert_eq!(swapped, one.user_id == one.event_id);
    }
}
