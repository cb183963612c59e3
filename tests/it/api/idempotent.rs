//! Two requests with the same idempotency key and body get the same answer.

use nova::event::Id;
use nova::http::EdgeSettings;
use serde_json::{Value, json};

use super::client::{Live, NOW_MS};

/// Returns a body with one event that has no id of its own.
fn body(post: u128) -> Vec<u8> {
    let post = Id::from_u128(post).to_string();
    json!({ "events": [{ "event_time": NOW_MS, "post_id": post, "action": "view" }] }).to_string().into_bytes()
}

fn error(answer: &super::client::Answer) -> (u16, Value) {
    (answer.status, answer.json()["error"].clone())
}

#[test]
fn a_repeated_request_gets_the_same_bytes_and_counts_once_also_after_a_restart() {
    let live = Live::start();
    let keyed = |user, key: &str| format!("{}Idempotency-Key: {key}\r\n", live.headers(Id::from_u128(user)));
    let headers = keyed(1, "\"order-1\"");
    let stranger = keyed(2, "order-1");
    let mut client = live.client();
    let first = client.post(&headers, &body(7));
    assert_eq!((first.status, first.json()["accepted"].clone()), (202, json!(1)));
    assert_eq!(first.header("idempotent-replayed"), None);
    let again = client.post(&headers, &body(7));
    assert_eq!((again.status, again.header("idempotent-replayed")), (202, Some("true")));
    assert_eq!(again.body, first.body);
    let plain = client.post(&keyed(1, "order-1"), &body(7));
    assert_eq!(plain.body, first.body, "quoted or not, it is the same key");
    assert_eq!(error(&client.post(&headers, &body(8))), (422, json!("idempotency-mismatch")));
    assert_eq!(client.post(&stranger, &body(8)).json()["accepted"], 1, "another user's key is another key");
    // nova does not remember an idempotency key of a refused request.
    let fresh = keyed(1, "order-2");
    assert_eq!(client.post(&fresh, b"{").status, 400);
    assert_eq!(client.post(&fresh, &body(9)).status, 202);
    for bad in [String::new(), "x".repeat(129), "a\r\nIdempotency-Key: b".to_owned(), "\"\"".to_owned()] {
        let answer = client.post(&keyed(1, &bad), &body(7));
        assert_eq!(answer.json()["field"], "idempotency-key", "{bad}");
    }
    let live = Live::again(live.stop(), EdgeSettings::default());
    let mut client = live.client();
    assert_eq!(client.post(&headers, &body(7)).body, first.body);
    assert_eq!(client.post(&headers, &body(8)).status, 422);
    let metrics = String::from_utf8(client.get("/metrics", "").body).unwrap();
    assert!(metrics.contains(r#"nova_records_total{topic="events",outcome="applied"} 3"#), "{metrics}");
}

#[test]
fn a_repeated_request_is_the_same_however_its_content_is_compressed() {
    let live = Live::start();
    let headers = format!("{}Idempotency-Key: k\r\n", live.headers(Id::from_u128(1)));
    let zipped = format!("{headers}Content-Encoding: gzip\r\n");
    // Two gzip files with the same content may differ in the time in the header, in the level, and in the number of
    // members.
    let gzip = |content: &[u8], mtime: u32, level: u32| {
        let builder = flate2::GzBuilder::new().mtime(mtime);
        let mut gzip = builder.write(Vec::new(), flate2::Compression::new(level));
        std::io::Write::write_all(&mut gzip, content).unwrap();
        gzip.finish().unwrap()
    };
    let content = body(7);
    let first = live.client().post(&zipped, &gzip(&content, 1, 1));
    assert_eq!(first.json()["accepted"], 1);
    let members = [gzip(&content[..9], 3, 1), gzip(&content[9..], 4, 9)].concat();
    for (headers, sent) in [(&zipped, gzip(&content, 2, 9)), (&zipped, members), (&headers, content)] {
        let again = live.client().post(headers, &sent);
        assert_eq!((again.status, again.header("idempotent-replayed")), (202, Some("true")));
        assert_eq!(again.body, first.body);
    }
    assert_eq!(error(&live.client().post(&zipped, &gzip(&body(8), 1, 1))), (422, json!("idempotency-mismatch")));
}

#[test]
fn a_repeated_request_is_the_same_however_its_json_is_written() {
    let live = Live::start();
    let headers = format!("{}Idempotency-Key: k\r\n", live.headers(Id::from_u128(1)));
    let post = Id::from_u128(7).to_string();
    let plain = format!(r#"{{"events":[{{"event_time":{NOW_MS},"post_id":"{post}","action":"view"}}]}}"#);
    let first = live.client().post(&headers, plain.as_bytes());
    assert_eq!(first.json()["accepted"], 1);
    let spaced = format!(
        r#"{{ "events": [
            {{ "action": "view", "post_id": "{post}", "event_time": {NOW_MS} }}
        ] }}"#
    );
    for written in [plain.clone(), spaced, plain.replace("view", "vi\\u0065w")] {
        let again = live.client().post(&headers, written.as_bytes());
        assert_eq!((again.status, again.header("idempotent-replayed")), (202, Some("true")), "{written}");
        assert_eq!(again.body, first.body);
    }
    for other in [plain.replace("view", "share"), plain.replace('}', ",\"x\":0}"), plain.replace(']', "") + " ]"] {
        assert_ne!(live.client().post(&headers, other.as_bytes()).status, 202, "{other}");
    }
    let metrics = String::from_utf8(live.client().get("/metrics", "").body).unwrap();
    assert!(metrics.contains(r#"nova_records_total{topic="events",outcome="applied"} 1"#), "{metrics}");
}

#[test]
fn a_request_of_which_nothing_was_taken_may_come_again_corrected() {
    let live = Live::start();
    let headers = format!("{}Idempotency-Key: k\r\n", live.headers(Id::from_u128(1)));
    let event = |post: u128, action: &str| {
        let post = Id::from_u128(post).to_string();
        json!({ "event_time": NOW_MS, "post_id": post, "action": action })
    };
    let send = |events: &[Value]| live.client().post(&headers, json!({ "events": events }).to_string().as_bytes());
    let refused = send(&[event(7, "look"), event(8, "look")]);
    assert_eq!((refused.status, &refused.json()["rejected"]), (202, &json!(2)));
    let partly = send(&[event(7, "view"), event(8, "look")]);
    assert_eq!((partly.status, &partly.json()["accepted"], &partly.json()["rejected"]), (202, &json!(1), &json!(1)));
    assert_eq!(partly.header("idempotent-replayed"), None);
    // From this request on the idempotency key has an answer.
    assert_eq!(error(&send(&[event(7, "view"), event(8, "view")])), (422, json!("idempotency-mismatch")));
    assert_eq!(send(&[event(7, "view"), event(8, "look")]).body, partly.body);
}

#[test]
fn while_a_request_is_on_its_way_its_repetition_is_told_so() {
    let live = Live::start();
    let headers = format!("{}Idempotency-Key: k\r\n", live.headers(Id::from_u128(1)));
    let (mut one, mut two) = (live.client(), live.client());
    let state = std::sync::Arc::clone(&live.state);
    // The test holds a lock; the effects of a commit wait for this lock, and the answer waits for the effects.
    let held = state.read();
    let (sent, length) = (body(7), body(7).len());
    one.send(
        format!("POST /api/v1/events HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {length}\r\n\r\n").as_bytes(),
    );
    one.send(&sent);
    for _ in 0..20 {
        assert_eq!(two.get("/health/live", "").status, 200);
    }
    let repeated = two.post(&headers, &sent);
    assert_eq!(error(&repeated), (409, json!("idempotency-conflict")));
    assert!(repeated.header("retry-after").is_some());
    assert_eq!(error(&two.post(&headers, &body(8))), (422, json!("idempotency-mismatch")));
    drop(held);
    let first = one.answer(false);
    assert_eq!((first.status, two.post(&headers, &sent).body), (202, first.body));
}
