//! Tests of the HTTP edge, as a client sees it.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use nova::app::{self, Setup};
use nova::decode::{NoSchemas, Topics};
use nova::event::{Effect, Facts, Id, Outcome};
use serde_json::{Value, json};

use super::client::{Live, NOW_MS};

fn id(number: u128) -> String {
    Id::from_u128(number).to_string()
}

fn event(number: u128, action: &str) -> Value {
    json!({ "event_id": id(number), "event_time": NOW_MS, "post_id": id(7), "action": action })
}

fn body(events: &[Value]) -> Vec<u8> {
    json!({ "events": events }).to_string().into_bytes()
}

#[test]
fn events_are_durable_before_the_202_and_each_id_counts_once() {
    let live = Live::start();
    let headers = live.headers(Id::from_u128(1));
    let mut client = live.client();
    let mut other = event(1, "view");
    other["dwell_ms"] = 5.into();
    let bad = json!({ "event_time": NOW_MS, "post_id": "x", "action": "view" });
    let old = json!({ "event_time": NOW_MS - 90_000_000, "post_id": id(7), "action": "view" });
    let first = client.post(&headers, &body(&[event(1, "view"), event(1, "view"), bad, event(2, "share"), old, other]));
    assert_eq!(first.status, 202);
    let report = first.json();
    assert_eq!(report["received"], 6);
    assert_eq!([&report["accepted"], &report["deduped"], &report["rejected"]], [2, 2, 2]);
    let results: Vec<_> = report["results"].as_array().unwrap().iter().map(|r| (&r["i"], &r["status"])).collect();
    let said = ["accepted", "deduped", "rejected", "accepted", "rejected", "deduped"];
    let places: Vec<Value> = (0..6).map(Value::from).collect();
    let said: Vec<Value> = said.iter().map(|status| json!(status)).collect();
    assert_eq!(results, places.iter().zip(&said).collect::<Vec<_>>());
    assert_eq!(report["results"][5]["code"], "conflict");
    assert!(report["results"][2]["detail"].as_str().unwrap().contains("post_id"));
    // nova has had no record of the event's post. The answer notes `unknown-post` for an event whose post is unknown,
    // and does not refuse the event.
    assert_eq!([&report["results"][0]["note"], &report["results"][0]["code"]], [&json!("unknown-post"), &Value::Null]);
    // If two users send events with the same id, these events are different events.
    let second = client.post(&live.headers(Id::from_u128(2)), &body(&[event(1, "view")]));
    assert_eq!(second.json()["accepted"], 1);
    let metrics = String::from_utf8(client.get("/metrics", "").body).unwrap();
    assert!(
        metrics.contains("events_ingested_total 3") && metrics.contains("nova_accounting_imbalance 0"),
        "{metrics}"
    );
    assert!(metrics.contains(r#"nova_records_total{topic="events",outcome="applied"} 3"#), "{metrics}");
    for name in [
        "cdc_lag_seconds",
        "cdc_offset_commits_total",
        "event_processing_duration_seconds_bucket",
        "cache_hit_ratio",
        "cache_invalidation_lag_ms_bucket",
        "job_refresh_duration_seconds_bucket",
        "job_refresh_total",
        "clickhouse_query_duration_seconds_bucket",
        "clickhouse_query_errors_total",
        "mv_refresh_duration_seconds",
        "mv_staleness_seconds",
        "feed_requests_total",
        "feed_latency_seconds_bucket",
        "events_deduped_total",
        "circuit_breaker_state",
        "nova_commit_seconds_bucket",
        "nova_dlq_depth",
        "nova_outbox_rows",
        "nova_outbox_bytes",
        "nova_outbox_oldest_seconds",
        "nova_mem_bytes",
        "nova_event_visible_seconds_bucket",
        "nova_dedup_keys",
        "nova_recovery_seconds",
    ] {
        let sample = |line: &str| line.split(['{', ' ']).next() == Some(name);
        assert!(metrics.lines().any(sample), "{name} has no sample in\n{metrics}");
    }
    // A histogram without a bucket for `+Inf` gives no quantile in Prometheus.
    let histograms = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" histogram"));
    for name in histograms {
        let last = |line: &str| line.starts_with(&format!("{name}_bucket{{")) && line.contains(r#"le="+Inf""#);
        assert!(metrics.lines().any(last), "{name} has no bucket without a bound in\n{metrics}");
    }

    let dir = live.stop();
    let opened = app::open(&Setup::new(dir.path(), Topics::default(), Arc::new(NoSchemas))).unwrap();
    let row = opened.shared.partitions()[0].row;
    assert_eq!(
        (row.consumed, row.outcomes[Outcome::Applied as usize], row.outcomes[Outcome::Duplicate as usize]),
        (5, 3, 2)
    );
}

#[test]
fn whoever_has_no_valid_token_gets_401_without_a_hint() {
    let live = Live::start();
    let mut client = live.client();
    let refused = [
        "Content-Type: application/json\r\n".to_owned(),
        "Content-Type: application/json\r\nAuthorization: Basic eDp5\r\n".to_owned(),
        "Content-Type: application/json\r\nAuthorization: Bearer x.y.z\r\n".to_owned(),
        format!("{}Authorization: Bearer x\r\n", live.headers(Id::NIL)),
    ];
    let answers: Vec<_> = refused.iter().map(|headers| client.post(headers, &body(&[event(1, "view")]))).collect();
    for answer in &answers {
        assert_eq!(answer.status, 401);
        assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer realm=\"nova\""));
        let (mut problem, mut first) = (answer.json(), answers[0].json());
        problem["request_id"] = Value::Null;
        first["request_id"] = Value::Null;
        assert_eq!(problem, first);
    }
    // A request without a token has no token that could be wrong (RFC 6750 §3.1).
    let challenges = answers.iter().map(|answer| answer.header("www-authenticate").unwrap());
    let named: Vec<_> = challenges.map(|challenge| challenge.contains("error=\"invalid_token\"")).collect();
    assert_eq!(named, [false, false, true, false]);
    let mut foreign = event(1, "view");
    foreign["user_id"] = id(9).into();
    assert_eq!(client.post(&live.headers(Id::from_u128(1)), &body(&[foreign])).status, 403);
}

#[test]
fn bad_requests_get_the_problem_that_names_them() {
    let live = Live::start();
    let headers = live.headers(Id::from_u128(1));
    let mut client = live.client();
    let plain = headers.replace("application/json", "text/plain");
    let untyped = client.post(&plain, &body(&[event(1, "view")]));
    assert_eq!((untyped.status, untyped.header("accept-encoding")), (415, None));
    let coded = client.post(&format!("{headers}Content-Encoding: br\r\n"), b"x");
    assert_eq!((coded.status, coded.header("accept-encoding")), (415, Some("gzip, identity")));
    for (sent, status, kind) in [
        (b"{".to_vec(), 400, "malformed-json"),
        (b"{\"events\":5}".to_vec(), 400, "malformed-json"),
        (body(&[]), 400, "invalid-parameter"),
        (b"{\"events\":null}".to_vec(), 400, "malformed-json"),
        (body(&vec![event(1, "view"); 101]), 413, "batch-too-large"),
    ] {
        let answer = client.post(&headers, &sent);
        assert_eq!((answer.status, answer.json()["error"].as_str()), (status, Some(kind)));
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.json()["request_id"].as_str(), answer.header("x-request-id"));
    }
    assert_eq!(live.client().post(&headers, &vec![b' '; 300 << 10]).status, 413);
    let missing = client.get("/nowhere", "X-Request-ID: mine-1\r\n");
    assert_eq!((missing.status, missing.header("x-request-id")), (404, Some("mine-1")));
    let wrong = client.get("/api/v1/events", "");
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST")));
    assert_eq!(client.get("/api/v1/feed/trending?window=2h", "").json()["field"], "window");
    for limit in ["0", "+5", "-5", "5.0", ""] {
        assert_eq!(client.get(&format!("/api/v1/feed/trending?limit={limit}"), "").json()["field"], "limit", "{limit}");
    }
    assert_eq!(client.get("/api/v1/discover/suggested-users", "").status, 401);
}

/// Returns the results of the events that were not accepted.
fn refused(answer: &Value) -> Vec<&Value> {
    answer["results"].as_array().unwrap().iter().filter(|result| result["status"] != "accepted").collect()
}

#[test]
fn an_event_that_is_none_is_refused_alone() {
    let live = Live::start();
    let headers = live.headers(Id::from_u128(1));
    let odd =
        [json!(null), json!(7), json!("x"), json!([]), json!([event(3, "view")]), json!({}), json!(true), json!(1.5)];
    let mut events = vec![event(1, "view")];
    events.extend(odd.iter().cloned());
    events.push(event(2, "share"));
    let answer = live.client().post(&headers, &body(&events)).json();
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(2), &json!(odd.len())), "{answer}");
    let places: Vec<_> = refused(&answer).iter().map(|result| result["i"].as_u64().unwrap()).collect();
    assert_eq!(places, (1..=odd.len() as u64).collect::<Vec<_>>());
}

#[test]
fn gzip_bodies_are_read_and_bombs_refused() {
    let live = Live::start();
    let headers = format!("{}Content-Encoding: gzip\r\n", live.headers(Id::from_u128(1)));
    let zip = |bytes: &[u8]| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    };
    let mut client = live.client();
    assert_eq!(client.post(&headers, &zip(&body(&[event(1, "view")]))).json()["accepted"], 1);
    assert_eq!(client.post(&headers, &zip(&vec![b' '; 64 << 20])).status, 413);
    assert_eq!(client.post(&headers, b"not gzip").status, 400);
}

#[test]
fn conditional_head_and_pipelined_requests_behave_as_http_says() {
    let live = Live::start();
    let mut client = live.client();
    let full = client.get("/api/v1/feed/trending?window=1h", "");
    let etag = full.header("etag").unwrap().to_owned();
    assert_eq!((full.status, full.json()["window"].as_str()), (200, Some("1h")));
    let same = client.get("/api/v1/feed/trending?window=1h", &format!("If-None-Match: \"z\", W/{etag}\r\n"));
    assert_eq!((same.status, same.body.len(), same.header("etag")), (304, 0, Some(etag.as_str())));
    client.send(b"HEAD /api/v1/feed/trending?window=1h HTTP/1.1\r\nHost: x\r\n\r\n");
    let head = client.answer(true);
    assert_eq!(head.header("content-length"), Some(full.body.len().to_string().as_str()));
    client.send(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\nGET /health/ready HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.answer(false).json()["status"], "live");
    assert_eq!(client.answer(false).json()["status"], "ready");
    assert!(client.get("/.well-known/jwks.json", "").json()["keys"][0]["x"].is_string());
}

/// Makes thirty authors with two posts each, all followed by user 1.
pub(crate) fn world(live: &Live) {
    let mut state = live.state.write();
    let mut put = |key, new| state.apply(&Effect::Row { key, old: None, new: Some(new) });
    for n in 100..130u128 {
        let (author, at) = (Id::from_u128(n), |k: i64| (NOW_MS - (n as i64 - 90) * 60_000 - k) * 1_000);
        let follow = Facts::Follow { follower: Id::from_u128(1), followee: author, created_at_us: at(0) };
        put(Id::from_u128(n + 1_000), follow);
        for k in 0..2 {
            put(Id::from_u128(n * 10 + k), Facts::Post { author, created_at_us: at(k as i64), published: true });
        }
        put(author, Facts::User { username: format!("u{n}").into(), active: true, created_at_us: 0 });
    }
}

#[test]
fn n10_pages_of_a_feed_repeat_nothing_and_a_foreign_cursor_is_refused() {
    let live = Live::start();
    world(&live);
    let headers = live.headers(Id::from_u128(1));
    let mut client = live.client();
    let whole = client.get("/api/v1/feed?limit=100&explain=1", &headers).json();
    let all: Vec<_> = whole["posts"].as_array().unwrap().clone();
    // If only posts of the author just shown are left, the spacing rule ends the list.
    assert!((55..=60).contains(&all.len()), "{}", all.len());
    assert_eq!((&whole["has_more"], &whole["cursor"]), (&json!(false), &Value::Null));
    assert_eq!(whole["items"].as_array().unwrap().len(), all.len());
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("/api/v1/feed?limit=7&cursor={cursor}"), &headers).json();
        assert_eq!(page["cache_hit"], true);
        seen.extend(page["posts"].as_array().unwrap().clone());
        // Between two pages a writer adds a post, which must neither shift nor repeat an entry of the list.
        let n = 50_000 + seen.len() as u128;
        let row = Facts::Post { author: Id::from_u128(100), created_at_us: NOW_MS * 1_000, published: true };
        live.state.write().apply(&Effect::Row { key: Id::from_u128(n), old: None, new: Some(row) });
        match page["cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
        let foreign = client.get(&format!("/api/v1/feed?cursor={cursor}"), &live.headers(Id::from_u128(2)));
        assert_eq!((foreign.status, foreign.json()["error"].as_str()), (400, Some("invalid-cursor")));
        assert_eq!(client.get(&format!("/api/v1/feed?algo=time&cursor={cursor}"), &headers).status, 400);
    }
    assert_eq!(seen, all);
    let hydrated = client.get("/api/v1/feed?hydrate=1&limit=1", &headers).json();
    assert_eq!(hydrated["items"][0]["post_id"], hydrated["posts"][0]);
    let fresh = client.get("/api/v1/feed?algo=time&limit=1", &headers).json();
    assert_eq!(fresh["posts"][0], id(50_007), "the newest post leads a new first page; equal times by smallest id");
    assert_eq!(client.get("/api/v1/feed", "").status, 401);
    let suggested = client.get("/api/v1/discover/suggested-users", &live.headers(Id::from_u128(2))).json();
    assert_eq!(suggested["users"][0]["reason"], "rising");
}

#[test]
fn n11_a_dismissed_person_is_gone_at_the_next_read_and_after_a_restart() {
    let live = Live::start();
    world(&live);
    let user = Id::from_u128(2);
    let headers = live.headers(user);
    let mut client = live.client();
    let people = |client: &mut super::client::Client| -> Vec<Value> {
        let list = client.get("/api/v1/discover/suggested-users?limit=100", &headers).json();
        list["users"].as_array().unwrap().iter().map(|person| person["user_id"].clone()).collect()
    };
    let before = people(&mut client);
    let gone = before[0].as_str().unwrap();
    let delete =
        |path: &str| format!("DELETE /api/v1/discover/suggested-users/{path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
    client.send(delete(gone).as_bytes());
    assert_eq!(client.answer(true).status, 204);
    assert_eq!(people(&mut client), before[1..]);
    client.send(delete("nobody").as_bytes());
    assert_eq!(client.answer(false).json()["field"], "user_id");
    let state = Arc::clone(&live.state);
    let number = state.read().users.number(gone.parse().unwrap()).unwrap();
    let dir = live.stop();
    let opened = app::open(&Setup::new(dir.path(), Topics::default(), Arc::new(NoSchemas))).unwrap();
    let dismissals = app::load_dismissals(&opened.store).unwrap();
    assert!(dismissals.of(user, &state.read()).contains(&number));
    assert!(dismissals.of(Id::from_u128(3), &state.read()).is_empty());
}

#[test]
fn broken_connections_disturb_nobody() {
    let live = Live::start();
    let headers = live.headers(Id::from_u128(1));
    let mut cut = live.client();
    cut.send(
        format!("POST /api/v1/events HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: 500\r\n\r\n{{\"ev").as_bytes(),
    );
    cut.0.shutdown(std::net::Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    // A client that sends broken bytes gets an answer or a closed connection, and never waits for ever.
    let _ = cut.0.read_to_end(&mut rest);
    let mut gone = live.client();
    gone.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    drop(gone);
    let mut garbage = live.client();
    garbage.send(b"\x16\x03\x01 not http\r\n\r\n");
    let mut rest = Vec::new();
    let _ = garbage.0.read_to_end(&mut rest);
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 400"));
    let mut huge = live.client();
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "y".repeat(1 << 20));
    let _ = huge.0.write_all(head.as_bytes());
    let mut rest = Vec::new();
    let _ = huge.0.read_to_end(&mut rest);
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 431"));
    assert_eq!(live.client().post(&headers, &body(&[event(1, "view")])).json()["accepted"], 1);
}
