//! Tests of `nova tap` and `nova top`, which show what a running node does at this time.

use std::process::Stdio;

use nova::event::Id;
use serde_json::{Value, json};

use super::{an_id, stored};
use crate::api::client::Client;
use crate::support::program::{Serving, command, nova, out, told};

#[test]
fn tap_tells_records_as_they_come_and_top_prints_a_frame() {
    let dir = tempfile::tempdir().unwrap();
    let data = stored(dir.path());
    let (user, post) = (an_id(&data, "users"), an_id(&data, "posts"));
    let unasked = nova(&data, &["top", "--count", "1"]);
    assert!(unasked.status.code() == Some(1) && told(&unasked).contains("no node runs"), "{unasked:?}");
    let node = Serving::start(&data, &[("NOVA_LIMITS_ENABLED", "false")]);
    let tap = |args: &[&str]| {
        let args = [&["tap", "--count", "1", "--json"], args].concat();
        command(&data, &args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let (mut heard, mut worded) = (tap(&["--topic", "events", "--user", &user]), {
        let args = ["tap", "--count", "1", "--outcome", "applied", "--topic", "likes"];
        command(&data, &args).stdout(Stdio::piped()).spawn().unwrap()
    });
    let headers = crate::api::client::bearer(out(&nova(&data, &["token", "--sub", &user])).trim());
    let admin = nova(&data, &["token", "--sub", &user, "--role", "admin"]);
    let admin = crate::api::client::bearer(out(&admin).trim());
    let rows = |rows: Value| {
        let answer = Client::connect(node.addr).ask("POST", "/api/v1/rows", &admin, rows.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    let liked = Id::from_u128(0x11).to_string();
    rows(json!({ "posts": [{ "id": liked, "user_id": Id::from_u128(0x12).to_string(), "caption": "liked" }] }));
    let now_ms = nova::clock::Clock::System.now_ms();
    // The loop ends as soon as both commands listen and have received an event.
    let mut sent = 0u64;
    while heard.try_wait().unwrap().is_none() || worded.try_wait().unwrap().is_none() {
        let event = json!({ "event_time": now_ms, "post_id": post, "action": "view" });
        let answer = Client::connect(node.addr).post(&headers, json!({ "events": [event] }).to_string().as_bytes());
        assert_eq!(answer.status, 202, "{answer:?}");
        // Each like is by a different user, so each like counts.
        let by = Id::from_u128(0x1_0000 + u128::from(sent)).to_string();
        rows(json!({ "likes": [{ "user_id": by, "post_id": liked }] }));
        sent += 1;
        assert!(sent < 100_000, "nothing is heard");
    }
    let record: Value = serde_json::from_str(&out(&heard.wait_with_output().unwrap())).unwrap();
    assert_eq!(
        (&record["topic"], &record["outcome"], &record["kind"]),
        (&json!("events"), &json!("applied"), &json!("event"))
    );
    assert_eq!(
        (&record["user_id"], &record["post_id"], &record["action"]),
        (&json!(user), &json!(post), &json!("view"))
    );
    // All views are by one user, so only the first view counts. The command may have begun to listen after the first
    // view.
    let effect = record["effect"].as_str().unwrap();
    let ends = ["counts: ", "does not count: an earlier one of the same user does"];
    assert!(ends.iter().any(|end| effect.starts_with(&format!("view of post {post} {end}"))), "{effect}");
    let words = out(&worded.wait_with_output().unwrap());
    assert!(words.contains(&format!("like of post {liked} added: moved trending 24 h by 2\n")), "{words}");
    let bad = nova(&data, &["tap", "--outcome", "lost"]);
    assert_eq!(bad.status.code(), Some(2), "{bad:?}");
    let frame = out(&nova(&data, &["top", "--count", "1", "--interval", "1"]));
    for part in ["records/s", "requests/s", "commits ", "events ", "memory "] {
        assert!(frame.contains(part), "{part}: {frame}");
    }
    assert!(!frame.contains('\x1b') && frame.lines().all(|line| line.chars().count() <= 80), "{frame}");
    node.end();
}
