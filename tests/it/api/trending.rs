//! Trending lists, their stream and their overrides, and the figures of a day, as a client sees them.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use nova::app::{self, Setup};
use nova::event::{Action, ClientEvent, Effect, Facts, Id, Record};
use serde_json::{Value, json};

use super::client::{Client, Live, NOW_MS};
use crate::support::{Listed, capture, setup};

const MINUTE_MS: i64 = 60_000;

pub(crate) fn post(n: u128) -> Id {
    Id::from_u128(n + 1_000)
}

/// Makes posts 0 to 29. Post number `n` got `n` views an hour ago.
pub(crate) fn world(live: &Live) {
    let mut state = live.state.write();
    for n in 0..30u128 {
        let row = Facts::Post { author: Id::from_u128(1), created_at_us: n as i64, published: true };
        state.apply(&Effect::Row { key: post(n), old: None, new: Some(row) });
        for user in 0..n {
            let (user, at_ms) = (Id::from_u128(5_000 + user), NOW_MS - 30 * MINUTE_MS);
            state.apply(&Effect::Event { user, post: post(n), action: Action::View, at_ms, dwell_ms: 0 });
        }
    }
}

fn ids(answer: &Value) -> Vec<String> {
    let posts = answer["posts"].as_array().unwrap();
    posts.iter().map(|post| post["post_id"].as_str().unwrap().to_owned()).collect()
}

fn trending(client: &mut Client, query: &str) -> Value {
    let answer = client.get(&format!("/api/v1/feed/trending?window=1h{query}"), "");
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    answer.json()
}

/// Requests the trending list until it contains a post, and returns how long that took.
pub(crate) fn until_shown(client: &mut Client, wanted: Id) -> Duration {
    let started = nova::clock::monotonic_now();
    while !ids(&trending(client, "&limit=200")).contains(&wanted.to_string()) {
        assert!(started.elapsed() < Duration::from_secs(30), "never shown");
    }
    started.elapsed()
}

#[test]
fn an_event_moves_trending_and_what_is_taken_back_is_gone_at_the_next_read() {
    let live = Live::start_in(tempfile::tempdir().unwrap());
    world(&live);
    let mut client = live.client();
    let took = until_shown(&mut client, post(29));
    // The limit of the wait is twice the promised time, because the tests share the machine.
    assert!(took < Duration::from_millis(2_400), "{took:?}");
    let list = trending(&mut client, "&limit=3");
    assert_eq!(ids(&list), [post(29), post(28), post(27)].map(|id| id.to_string()));
    assert_eq!(list["total_posts"], 29);
    // A deleted post disappears from the list before the next tick (invariant N11).
    let old = Some(Facts::Post { author: Id::from_u128(1), created_at_us: 29, published: true });
    live.state.write().apply(&Effect::Row { key: post(29), old, new: None });
    assert_eq!(ids(&trending(&mut client, "&limit=1")), [post(28).to_string()]);
    let author = Facts::User { username: "a".into(), active: false, created_at_us: 0 };
    live.state.write().apply(&Effect::Row { key: Id::from_u128(1), old: None, new: Some(author) });
    assert_eq!(trending(&mut client, "")["total_posts"], 0);
}

#[test]
fn n10_pages_stay_in_their_generation_and_an_unknown_one_says_which_it_is() {
    let live = Live::start_in(tempfile::tempdir().unwrap());
    world(&live);
    let mut client = live.client();
    until_shown(&mut client, post(29));
    let first = trending(&mut client, "&limit=10");
    let (generation, cursor) = (&first["generation"], first["cursor"].as_str().unwrap());
    let view = |n: u128| {
        let (user, post) = (Id::from_u128(9_000 + n), post(0));
        Effect::Event { user, post, action: Action::Share, at_ms: NOW_MS, dwell_ms: 0 }
    };
    (0..50).for_each(|n| live.state.write().apply(&view(n)));
    until_shown(&mut client, post(0));
    let second = trending(&mut client, &format!("&limit=100&cursor={cursor}"));
    assert_eq!((&second["generation"], &second["cursor"]), (generation, &Value::Null));
    let expected: Vec<_> = (1..20).rev().map(|n| post(n).to_string()).collect();
    assert_eq!(ids(&second), expected, "the list of before, to its end");
    let lost = trending(&mut client, "&limit=5&cursor=00000000000000aa-3");
    assert_ne!(&lost["generation"], generation);
    assert_eq!(lost["posts"][0]["rank"], 4);
    for wrong in ["x", "00000000000000aa", "00000000000000aa-", "-1", "zz000000000000aa-3"] {
        let answer = client.get(&format!("/api/v1/feed/trending?cursor={wrong}"), "");
        assert_eq!((answer.status, answer.json()["error"].as_str()), (400, Some("invalid-cursor")));
    }
}

#[test]
fn operators_pin_and_block_durably_and_nobody_else_may() {
    let live = Live::start_in(tempfile::tempdir().unwrap());
    world(&live);
    let mut client = live.client();
    until_shown(&mut client, post(29));
    let admin = live.headers_of(Id::from_u128(7), Some("admin"));
    let ask = |client: &mut Client, method: &str, id: &str, headers: &str, body: &str| {
        let path = format!("/api/v1/admin/trending/overrides/{id}");
        let length = body.len();
        client.send(
            format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
                .as_bytes(),
        );
        client.answer(method == "DELETE").status
    };
    let (low, top) = (post(3).to_string(), post(29).to_string());
    assert_eq!(ask(&mut client, "PUT", &low, &live.headers(Id::from_u128(7)), r#"{"action":"block"}"#), 403);
    assert_eq!(ask(&mut client, "PUT", &low, "", r#"{"action":"block"}"#), 401);
    for (id, body) in [
        ("x", r#"{"action":"block"}"#),
        (&low, "{"),
        (&low, r#"{"action":"raise"}"#),
        (&low, r#"{"action":"pin","place":0}"#),
        (&low, r#"{"action":"pin","place":201}"#),
    ] {
        assert_eq!(ask(&mut client, "PUT", id, &admin, body), 400, "{id} {body}");
    }
    assert_eq!(ask(&mut client, "PUT", &low, &admin, r#"{"action":"pin","place":2}"#), 200);
    assert_eq!(ask(&mut client, "PUT", &top, &admin, r#"{"action":"block"}"#), 200);
    let list = trending(&mut client, "&limit=3");
    assert_eq!(ids(&list), [post(28), post(3), post(27)].map(|id| id.to_string()));
    assert_eq!((&list["posts"][1]["pinned"], &list["posts"][1]["rank"]), (&json!(true), &json!(2)));
    let known = client.get("/api/v1/admin/trending/overrides", &admin).json();
    assert_eq!(known["overrides"].as_array().unwrap().len(), 2);
    assert_eq!(client.get("/api/v1/admin/trending/overrides", &live.headers(Id::from_u128(7))).status, 403);
    let live = Live::start_in(live.stop());
    world(&live);
    let mut client = live.client();
    until_shown(&mut client, post(28));
    assert_eq!(ids(&trending(&mut client, "&limit=3")), [post(28), post(3), post(27)].map(|id| id.to_string()));
    assert_eq!(ask(&mut client, "DELETE", &top, &admin, ""), 204);
    assert_eq!(ids(&trending(&mut client, "&limit=1")), [top]);
}

/// Reads the name and the data of the next event from a stream of events.
fn event(stream: &mut BufReader<std::net::TcpStream>) -> (String, Value) {
    let (mut name, mut line) = (String::new(), String::new());
    loop {
        line.clear();
        assert!(stream.read_line(&mut line).unwrap() > 0, "the stream ended");
        if let Some(rest) = line.trim().strip_prefix("event: ") {
            name = rest.to_owned();
        }
        if let Some(data) = line.trim().strip_prefix("data: ") {
            return (name, serde_json::from_str(data).unwrap());
        }
    }
}

#[test]
fn a_stream_begins_with_a_snapshot_tells_differences_and_ends_with_the_server() {
    let live = Live::start_in(tempfile::tempdir().unwrap());
    world(&live);
    let mut client = live.client();
    until_shown(&mut client, post(29));
    client.send(b"GET /api/v1/feed/trending/stream?window=1h&limit=5 HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut stream = BufReader::new(client.0);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        stream.read_line(&mut head).unwrap();
    }
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"), "{head}");
    assert!(head.to_lowercase().contains("x-request-id"), "{head}");
    // With its default of `proxy_buffering`, nginx would hold the events of the stream back.
    assert!(head.to_lowercase().contains("x-accel-buffering: no\r\n"), "{head}");
    let (name, snapshot) = event(&mut stream);
    assert_eq!((name.as_str(), ids(&snapshot).len()), ("snapshot", 5));
    let old = Some(Facts::Post { author: Id::from_u128(1), created_at_us: 29, published: true });
    live.state.write().apply(&Effect::Row { key: post(29), old, new: None });
    let (name, diff) = event(&mut stream);
    assert_eq!((name.as_str(), &diff["removed"]), ("diff", &json!([post(29).to_string()])));
    // After the first post was removed, the posts below it moved up, and a new last post came.
    let changed: Vec<_> = diff["changed"].as_array().unwrap().iter().map(|post| post["rank"].clone()).collect();
    assert_eq!(changed, [1, 2, 3, 4, 5]);
    let mut other = live.client();
    other.send(b"HEAD /api/v1/feed/trending/stream HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(other.answer(true).status, 405);
    assert_eq!(live.client().get("/api/v1/feed/trending/stream?window=2h", "").status, 400);
    let started = nova::clock::monotonic_now();
    drop(live.stop());
    assert!(started.elapsed() < Duration::from_secs(6), "the stream holds the server up");
}

#[test]
fn the_figures_of_a_day_come_from_its_events_and_survive_a_restart() {
    let live = Live::start_in(tempfile::tempdir().unwrap());
    let mut client = live.client();
    let headers = live.headers(Id::from_u128(1));
    let event = |n: u128, action: &str, dwell_ms: u32| json!({ "event_id": Id::from_u128(n).to_string(), "event_time": NOW_MS, "post_id": post(n).to_string(), "action": action, "dwell_ms": dwell_ms });
    let mut events: Vec<_> = (0..40).map(|n| event(n, "impression", 0)).collect();
    events.extend((40..50).map(|n| event(n, "view", 100 * (n - 39) as u32)));
    // Sending the same events again changes nothing in the list.
    for _ in 0..2 {
        assert_eq!(client.post(&headers, json!({ "events": events }).to_string().as_bytes()).status, 202);
    }
    for _ in 0..3 {
        assert_eq!(client.get("/api/v1/feed?limit=1", &headers).status, 200);
    }
    let today = client.get("/api/v1/feed/metrics", "").json();
    assert_eq!((&today["impressions"], &today["clicks"], &today["ctr"]), (&json!(40), &json!(10), &json!(0.25)));
    let near = |value: &Value, exact: f64| (exact..=exact * 1.125).contains(&value.as_f64().unwrap());
    assert!(near(&today["dwell_p50_ms"], 500.0) && near(&today["dwell_p95_ms"], 1_000.0), "{today}");
    assert_eq!((&today["feed_requests"], &today["hit_rate"]), (&json!(3), &json!(0.6667)));
    let date = today["date"].as_str().unwrap().to_owned();
    let live = Live::start_in(live.stop());
    let mut client = live.client();
    let again = client.get(&format!("/api/v1/feed/metrics?date={date}"), "").json();
    for figure in [
        "impressions",
        "clicks",
        "ctr",
        "dwell_p50_ms",
        "dwell_p95_ms",
        "feed_requests",
        "hit_rate",
        "event_visible_p95_ms",
    ] {
        assert_eq!(again[figure], today[figure], "{figure}");
    }
    assert_eq!(client.get("/api/v1/feed/metrics?date=2020-01-01", "").json()["impressions"], 0);
    assert_eq!(client.get("/api/v1/feed/metrics?date=yesterday", "").json()["field"], "date");
    let metrics = String::from_utf8(client.get("/metrics", "").body).unwrap();
    for name in
        ["job_refresh_total{job=\"trending_publish\",result=\"ok\"}", "feed_requests_total 0", "nova_event_visible"]
    {
        assert!(metrics.contains(name), "{name} is not in {metrics}");
    }
}

/// Makes a store with the rows of a capture, and with views of the posts.
fn stored() -> (tempfile::TempDir, i64) {
    let dir = tempfile::tempdir().unwrap();
    let mut setup = setup("envelope.jsonl");
    setup.data_dir = dir.path().to_owned();
    let mut records = capture("envelope.jsonl");
    let opened = app::open(&setup).unwrap();
    let running = opened.start(Box::new(Listed::new(records.clone(), 100)), &setup).unwrap();
    running.finish(|_| {}).unwrap();
    let at_ms = records.iter().map(|record| record.timestamp_ms).max().unwrap();
    let setup = Setup { data_dir: dir.path().to_owned(), ..setup };
    let opened = app::open(&setup).unwrap();
    let posts = opened.state.read().post_ids.all().collect::<Vec<_>>();
    records.clear();
    for (post, n) in posts.iter().flat_map(|post| [post; 3]).zip(0..) {
        let event = ClientEvent {
            event_id: Id::from_u128(n + 77),
            user_id: Id::from_u128(n + 88),
            post_id: *post,
            author_id: None,
            action: Action::View,
            event_time_ms: at_ms,
            dwell_ms: 0,
            device: "".into(),
            app_ver: "".into(),
        };
        let value = nova::decode::client::encode(&event).into();
        let topic = "events".into();
        let (key, headers, offset) = (None, Vec::new(), n as i64);
        let record = Record {
            topic,
            partition: 0,
            offset,
            timestamp_ms: at_ms,
            key,
            value: Some(value),
            headers,
            defect: None,
            origin: None,
            lsn_delta: 0,
        };
        records.push(record);
    }
    opened.start(Box::new(Listed::new(records, 100)), &setup).unwrap().finish(|_| {}).unwrap();
    (dir, at_ms)
}

#[test]
fn n13_dump_prints_the_bytes_that_http_answers_before_and_after_a_restart() {
    let (dir, at_ms) = stored();
    let now_ms = at_ms + 10 * MINUTE_MS;
    let live = Live::start_at(dir, now_ms);
    let ask = |live: &Live, query: &str| {
        let answer = live.client().get(&format!("/api/v1/feed/trending?{query}"), "");
        String::from_utf8(answer.body).unwrap()
    };
    let queries = [("1h", 20), ("6h", 1), ("24h", 2), ("7d", 200)];
    let asked = |live: &Live| queries.map(|(window, limit)| ask(live, &format!("window={window}&limit={limit}")));
    let before = asked(&live);
    assert!(before[3].contains("post_id") && before[1].contains("\"cursor\":\""), "{before:?}");
    let live = Live::start_at(live.stop(), now_ms);
    assert_eq!(asked(&live), before);
    let dir = live.stop();
    let now = jiff::Timestamp::from_millisecond(now_ms).unwrap().to_string();
    for ((window, limit), body) in queries.iter().zip(before) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nova"));
        let limit = limit.to_string();
        command.arg("--data").arg(dir.path()).stdin(Stdio::null());
        command.args(["dump", "--trending", window, "--now", &now, "--limit", &limit]);
        let output = command.output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim_end(), body);
    }
}
