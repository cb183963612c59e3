//! Faults that a test sets, and the double of ClickHouse that has the faults.

use std::io::{ErrorKind, Read as _};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use nova::clock::monotonic_now;
use nova::testing::{TestNova, json};

use super::{NOW, NOW_MS, asked, post, start, user, world};
use crate::api::client::Client;

#[test]
fn faults_are_felt_and_end_with_a_reset() {
    let nova = start();
    nova.fault(json!({ "source_lag_ms": 600_000 }));
    let (status, ready) = asked(&nova, "GET", "/health/ready", "", "");
    assert_eq!(status, 503, "{ready}");
    assert!(ready["reasons"][0].as_str().unwrap().starts_with("600 s behind"), "{ready}");
    nova.fault(json!({ "slow_commit_ms": 30 }));
    assert_eq!(asked(&nova, "GET", "/health/ready", "", "").0, 200);
    let began = monotonic_now();
    world(&nova);
    assert!(began.elapsed() >= Duration::from_millis(30));
    nova.reset();
    assert_eq!(asked(&nova, "GET", "/health/ready", "", "").0, 200);
}

/// Returns the value of a metric. `name` is the beginning of a line in `/metrics`.
fn metric(nova: &TestNova, name: &str) -> f64 {
    let addr = nova.url().trim_start_matches("http://").parse().unwrap();
    let text = String::from_utf8(Client::connect(addr).get("/metrics", "").body).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("there is no {name}"))
}

/// Returns how many rows of `users` wait for ClickHouse, how many ClickHouse has, and the state of the circuit breaker.
fn outbox(nova: &TestNova) -> (f64, f64, f64) {
    (
        metric(nova, r#"nova_outbox_rows{table="users_cdc"}"#),
        metric(nova, r#"nova_outbox_acknowledged_rows_total{table="users_cdc"}"#),
        metric(nova, r#"circuit_breaker_state{target="clickhouse"}"#),
    )
}

/// Returns what readiness says about ClickHouse. The node stays ready although ClickHouse has a problem.
fn complaint(nova: &TestNova) -> String {
    let (status, ready) = asked(nova, "GET", "/health/ready", "", "");
    assert_eq!(status, 200, "{ready}");
    ready["clickhouse"][0].as_str().unwrap_or_default().to_owned()
}

#[test]
fn rows_wait_while_what_stands_for_clickhouse_does_not_answer() {
    let nova = TestNova::builder().now(NOW).clickhouse().start().unwrap();
    world(&nova);
    assert_eq!(outbox(&nova), (0.0, 3.0, 0.0));
    let proxy = json!({ "status": 503, "body": "no healthy upstream" });
    for fault in [json!({ "refuses": true }), proxy, json!({ "code": 202 })] {
        nova.fault(json!({ "clickhouse": fault }));
        nova.rows(json!({ "users": [{ "id": user(7) }] }));
        let (waiting, _, breaker) = outbox(&nova);
        let told = complaint(&nova);
        assert!(waiting == 1.0 && breaker > 0.0, "{fault}: {waiting}, {breaker}, {told}");
        assert!(complaint(&nova).starts_with("it does not answer since"), "{fault}");
        nova.fault(json!({}));
        nova.settle();
        let (waiting, _, breaker) = outbox(&nova);
        assert_eq!((waiting, breaker, complaint(&nova)), (0.0, 0.0, String::new()), "{fault}");
        nova.reset();
    }
    nova.fault(json!({ "clickhouse": { "refuses": true } }));
    world(&nova);
    nova.snapshot("away");
    nova.reset();
    assert_eq!((outbox(&nova), complaint(&nova)), ((0.0, 0.0, 0.0), String::new()));
    // The rows were waiting when the snapshot was taken, and the reset ended the faults of ClickHouse, so the rows are
    // delivered.
    nova.reset_to("away");
    nova.settle();
    assert_eq!(outbox(&nova), (0.0, 3.0, 0.0));
}

#[test]
fn clickhouse_refuses_as_often_as_it_is_told() {
    let nova = TestNova::builder().now(NOW).clickhouse().start().unwrap();
    nova.fault(json!({ "clickhouse": { "code": 241, "body": "Memory limit exceeded", "times": 3 } }));
    nova.rows(json!({ "users": [{ "id": user(0) }] }));
    assert_eq!((outbox(&nova), metric(&nova, "clickhouse_query_errors_total")), ((0.0, 1.0, 0.0), 3.0));
    // nova soon stops its inserts into a table that does not exist: the rows wait, and readiness reports the table.
    nova.fault(json!({ "clickhouse": { "code": 60 } }));
    nova.rows(json!({ "users": [{ "id": user(1) }] }));
    assert_eq!(
        metric(&nova, r#"nova_outbox_stalled{table="users_cdc"}"#),
        1.0,
        "{:?}, {}",
        outbox(&nova),
        complaint(&nova)
    );
    assert!(complaint(&nova).starts_with("users_cdc takes no rows"));
    nova.fault(json!({}));
    nova.settle();
    assert_eq!((outbox(&nova), complaint(&nova)), ((0.0, 2.0, 0.0), String::new()));
    // A slow answer of ClickHouse still counts as an answer.
    nova.fault(json!({ "clickhouse": { "slow_ms": 200 } }));
    let began = monotonic_now();
    nova.rows(json!({ "users": [{ "id": user(2) }] }));
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert_eq!(outbox(&nova), (0.0, 3.0, 0.0));
    // A row becomes a dead letter if ClickHouse refuses the row's content both in an insert of several rows and in an
    // insert of this row only.
    nova.fault(json!({ "clickhouse": { "code": 469, "times": 2 } }));
    nova.rows(json!({ "users": [{ "id": user(3) }] }));
    assert_eq!(nova.settle()["dead_letters"], 1);
    assert_eq!(outbox(&nova), (0.0, 3.0, 0.0));
    nova.expect_dead_letters(1);
}

#[test]
fn the_effect_of_an_earlier_fault_ends_no_wait() {
    let nova = TestNova::builder().now(NOW).clickhouse().start().unwrap();
    // The circuit breaker is open, or the table is stalled, when the test replaces the fault by slow answers.
    for (number, fault) in [json!({ "status": 503 }), json!({ "code": 60 })].into_iter().enumerate() {
        nova.fault(json!({ "clickhouse": fault }));
        nova.rows(json!({ "users": [{ "id": user(number) }] }));
        assert_eq!(outbox(&nova).0, 1.0, "{fault}");
        nova.fault(json!({ "clickhouse": { "slow_ms": 10 } }));
        nova.settle();
        assert_eq!(outbox(&nova), (0.0, number as f64 + 1.0, 0.0), "{fault}");
    }
    // A slow server takes the rows of every request.
    for number in 2..18 {
        nova.rows(json!({ "users": [{ "id": user(number) }] }));
        assert_eq!(outbox(&nova), (0.0, number as f64 + 1.0, 0.0));
    }
    nova.fault(json!({ "clickhouse": { "status": 503 } }));
    nova.rows(json!({ "users": [{ "id": user(18) }] }));
    nova.fault(json!({ "clickhouse": { "code": 469, "times": 2 } }));
    assert_eq!(nova.settle()["dead_letters"], 1);
    assert_eq!(outbox(&nova), (0.0, 18.0, 0.0));
    nova.expect_dead_letters(1);
}

#[test]
fn rows_that_others_commit_meanwhile_are_not_waited_for() {
    let nova = TestNova::builder().now(NOW).clickhouse().start().unwrap();
    world(&nova);
    let addr = nova.url().trim_start_matches("http://").parse().unwrap();
    let headers = format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\n", nova.token(&user(0)));
    std::thread::scope(|scope| {
        // The thread ends when the test drops `_over`, also if the test fails.
        let (_over, open) = sync_channel::<()>(1);
        scope.spawn(move || {
            let (mut client, mut sent) = (Client::connect(addr), 0);
            while open.recv_timeout(Duration::from_millis(2)) == Err(RecvTimeoutError::Timeout) {
                let event = json!({ "event_time": NOW_MS - sent, "post_id": post(0), "action": "view" });
                let answer = client.post(&headers, json!({ "events": [event] }).to_string().as_bytes());
                assert!(answer.status < 300, "{}", answer.json());
                sent += 1;
            }
        });
        for number in 10..40 {
            nova.rows(json!({ "users": [{ "id": user(number) }] }));
            assert_eq!(outbox(&nova).0, 0.0);
        }
    });
    nova.settle();
    assert_eq!(metric(&nova, r#"nova_outbox_rows{table="post_events"}"#), 0.0);
}

#[test]
fn a_tap_goes_on_while_the_clock_stands_still() {
    let nova = start();
    let addr = nova.url().trim_start_matches("http://").parse().unwrap();
    let token = nova.token_of(json!({ "sub": user(0), "role": "admin" }));
    let mut tap = Client::connect(addr);
    assert_eq!(tap.get("/api/v1/admin/tap", &format!("Authorization: Bearer {token}\r\n")).status, 200);
    // The test sends more records than a listener gets in one second.
    let users: Vec<_> = (1..=200).map(|number| json!({ "id": user(number) })).collect();
    nova.rows(json!({ "users": users }));
    // In the next second, a listener of the tap gets records again. The timeout of a read is much shorter than a
    // second, so that the test can repeat its reads.
    tap.0.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let (mut heard, mut bytes, mut later) = (String::new(), [0; 4_096], 900);
    let deadline = monotonic_now() + Duration::from_secs(30);
    while !(900..later).any(|number| heard.contains(&user(number))) {
        assert!(monotonic_now() < deadline, "{heard}");
        nova.rows(json!({ "users": [{ "id": user(later) }] }));
        later += 1;
        match tap.0.read(&mut bytes) {
            Ok(count) => {
                assert!(count > 0, "{heard}");
                heard.push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
            Err(error) => assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}"),
        }
    }
}

#[test]
fn faults_of_clickhouse_say_one_thing_and_need_what_stands_for_it() {
    let nova = TestNova::builder().clickhouse().start().unwrap();
    for (fault, field) in [
        (json!({}), "clickhouse"),
        (json!({ "times": 3 }), "clickhouse"),
        (json!({ "body": "no" }), "clickhouse.body"),
        (json!({ "refuses": true, "status": 503 }), "clickhouse.refuses"),
        (json!({ "status": 200 }), "clickhouse.status"),
        (json!({ "code": 0 }), "clickhouse.code"),
        (json!({ "slow_ms": 10_001 }), "clickhouse.slow_ms"),
        (json!({ "status": 503, "times": 0 }), "clickhouse.times"),
    ] {
        let body = json!({ "clickhouse": fault }).to_string();
        let (status, problem) = asked(&nova, "POST", "/_test/fault", "", &body);
        assert_eq!((status, &problem["field"]), (400, &json!(field)), "{problem}");
    }
    let members = r#"{"clickhouse":[null,503,null,null,null,null]}"#;
    let (status, problem) = asked(&nova, "POST", "/_test/fault", "", members);
    assert_eq!(status, 400, "{problem}");
    let body = r#"{"slow_commit_ms":0,"clickhouse":{"status":503}}"#;
    let (status, problem) = asked(&start(), "POST", "/_test/fault", "", body);
    assert_eq!(status, 409);
    assert!(problem["detail"].as_str().unwrap().contains("--clickhouse"), "{problem}");
}
