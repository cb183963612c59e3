//! Clients that break the rules of HTTP, and clients whose connections fail.

use std::io::Read as _;

use nova::event::Id;
use nova::http::stream::STREAMS_PER_ADDRESS_MAX;
use serde_json::{Value, json};

use super::client::{Client, Live, NOW_MS};

fn event(number: u128) -> Value {
    let id = |number: u128| Id::from_u128(number).to_string();
    json!({ "event_id": id(number), "event_time": NOW_MS, "post_id": id(7), "action": "view" })
}

fn body(events: &[Value]) -> Vec<u8> {
    json!({ "events": events }).to_string().into_bytes()
}

#[test]
fn an_answer_does_not_wait_for_the_rest_of_the_next_request() {
    let live = Live::start();
    for rest in ["\r\n", "GET /hea", "GET /health/live HTTP/1.1\r\nHost:"] {
        let mut client = live.client();
        client.send(format!("GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n{rest}").as_bytes());
        assert_eq!(client.answer(false).json()["status"], "live", "{rest:?}");
    }
}

#[test]
fn a_request_that_cannot_be_read_is_told_so() {
    let live = Live::start();
    let long = format!("GET /health/live HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "y".repeat(20_000));
    let many = (0..65).map(|n| format!("X-{n}: y\r\n")).collect::<String>();
    for (sent, status) in [
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n".to_owned(), 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n".to_owned(), 400),
        ("FOO BAR BAZ\r\n\r\n".to_owned(), 400),
        (long, 431),
        (format!("GET /health/live HTTP/1.1\r\n{many}\r\n"), 431),
    ] {
        let mut client = live.client();
        client.send(sent.as_bytes());
        assert_eq!(client.answer(false).status, status, "{}", &sent[..20]);
    }
}

#[test]
fn a_body_that_says_it_is_too_large_is_refused_before_it_is_sent() {
    let live = Live::start();
    let headers = live.headers(Id::from_u128(1));
    let mut client = live.client();
    let head = format!("POST /api/v1/events HTTP/1.1\r\nHost: x\r\n{headers}Expect: 100-continue\r\n");
    client.send(format!("{head}Content-Length: 262145\r\n\r\n").as_bytes());
    assert_eq!(client.answer(false).status, 413);
    let mut rest = Vec::new();
    client.0.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty(), "the connection ends: its rest would be read as a request");
    let mut client = live.client();
    let sent = body(&[event(1)]);
    client.send(format!("{head}Content-Length: {}\r\n\r\n", sent.len()).as_bytes());
    assert_eq!(client.answer(true).status, 100);
    client.send(&sent);
    assert_eq!(client.answer(false).json()["accepted"], 1);
}

#[test]
fn an_event_means_at_the_edge_what_it_means_in_the_pipeline() {
    let live = Live::start();
    let (own, other) = (Id::from_u128(0xabc), Id::from_u128(0xdef));
    let headers = live.headers(own);
    let mut client = live.client();
    let mut ask = |user: Value| {
        let mut event = event(1);
        event["user_id"] = user;
        client.post(&headers, &body(&[event]))
    };
    // The list begins with forms of the user's own id, and ends with forms of a second user's id.
    assert_eq!(ask(own.to_string().to_uppercase().into()).json()["accepted"], 1);
    assert_eq!(ask(own.to_string().replace('-', "").into()).json()["deduped"], 1);
    assert_eq!(ask(Value::Null).json()["deduped"], 1);
    assert_eq!((ask(other.to_string().into()).status, ask(other.to_string().to_uppercase().into()).status), (403, 403));
    assert_eq!(ask("nobody".into()).json()["results"][0]["code"], "invalid-value");
    // A JSON member that is given twice is refused, because the request could mean the first or the second value.
    let twice = format!(
        r#"{{"events":[{{"user_id":"{other}","user_id":"{own}","event_time":{NOW_MS},"post_id":"{own}","action":"view"}}]}}"#
    );
    let answer = client.post(&headers, twice.as_bytes()).json();
    assert_eq!((&answer["accepted"], &answer["results"][0]["code"]), (&json!(0), &json!("duplicate-field")));
    let array = client.post(&headers, format!("[[{}]]", event(2)).as_bytes());
    assert_eq!((array.status, array.json()["error"].as_str()), (400, Some("malformed-json")));
}

fn open(live: &Live) -> (Client, u16) {
    let mut client = live.client();
    client.send(b"GET /api/v1/feed/trending/stream HTTP/1.1\r\nHost: x\r\n\r\n");
    let status = client.answer(true).status;
    (client, status)
}

#[test]
fn one_address_cannot_take_every_stream_and_whoever_leaves_makes_room() {
    let live = Live::start();
    let held: Vec<_> = (0..STREAMS_PER_ADDRESS_MAX).map(|_| open(&live)).collect();
    assert!(held.iter().all(|(_, status)| *status == 200));
    let mut client = live.client();
    let refused = client.get("/api/v1/feed/trending/stream", "");
    assert_eq!((refused.status, refused.json()["error"].as_str()), (429, Some("quota-exceeded")));
    assert!(refused.header("retry-after").is_some());
    drop(held);
    // The server must notice that the clients have closed their streams, although it has nothing to send on the
    // streams.
    let deadline = nova::clock::monotonic_now() + std::time::Duration::from_secs(5);
    while open(&live).1 != 200 {
        assert!(nova::clock::monotonic_now() < deadline, "places of clients that have gone are kept");
    }
}
