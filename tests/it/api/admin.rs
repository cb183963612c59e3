//! Tests of operations that need the role admin.

use nova::event::Id;
use nova::http::EdgeSettings;
use nova_storage::schema::EDGE;
use nova_storage::{Options, Store};
use serde_json::{Value, json};

use super::client::{Answer, Client, Live, NOW_MS};
use super::serve::nova;

fn post(client: &mut Client, path: &str, headers: &str, body: &Value) -> Answer {
    client.ask("POST", path, headers, body.to_string().as_bytes())
}

#[test]
fn dead_letters_are_listed_shown_replayed_and_discarded_on_a_running_node() {
    let dir = tempfile::tempdir().unwrap();
    let capture = dir.path().join("garbage.jsonl");
    let line = |offset| json!({ "topic": "cdc.posts", "partition": 0, "offset": offset, "timestamp_ms": 1, "key": "k", "value": "garbage" });
    std::fs::write(&capture, (0..3).map(|offset| format!("{}\n", line(offset))).collect::<String>()).unwrap();
    let done = nova(dir.path()).arg("replay").arg(&capture).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let live = Live::again(dir, EdgeSettings::default());
    let admin = live.role(Id::from_u128(1), "admin");
    let mut client = live.client();
    let list = client.get("/api/v1/admin/dlq?limit=2", &admin).json();
    let ids: Vec<u64> = list["letters"].as_array().unwrap().iter().map(|one| one["id"].as_u64().unwrap()).collect();
    assert_eq!((ids.len(), &list["letters"][0]["topic"]), (2, &json!("cdc.posts")));
    let rest = client.get(&format!("/api/v1/admin/dlq?after={}", ids[1]), &admin).json();
    assert_eq!(rest["letters"].as_array().unwrap().len(), 1);
    let shown = client.get(&format!("/api/v1/admin/dlq/{}", ids[0]), &admin).json();
    assert_eq!(shown["value"]["text"], "garbage");
    assert_eq!(client.get("/api/v1/admin/dlq/999", &admin).status, 404);
    let replayed = post(&mut client, "/api/v1/admin/dlq/replay", &admin, &json!({ "ids": [ids[0], 999] })).json();
    assert_eq!([&replayed["results"][0]["outcome"], &replayed["results"][1]["outcome"]], ["kept", "kept"]);
    let discard = "/api/v1/admin/dlq/discard";
    assert_eq!(post(&mut client, discard, &admin, &json!({ "id": ids[0], "reason": "" })).status, 400);
    for (path, body, unknown) in [
        ("dlq/replay", json!({ "ids": [ids[0]], "dryrun": true }), "dryrun"),
        ("dlq/discard", json!({ "id": ids[0], "reason": "test", "dry_run": true }), "dry_run"),
        ("cdc/resnapshot", json!({ "table": ["posts"] }), "`table`"),
        ("cdc/posts/resume", json!({ "truncated": "apply" }), "truncated"),
    ] {
        let refused = post(&mut client, &format!("/api/v1/admin/{path}"), &admin, &body);
        assert_eq!(refused.status, 400, "{path}: {refused:?}");
        assert!(refused.json()["detail"].as_str().unwrap().contains(unknown), "{path}: {refused:?}");
    }
    assert_eq!(post(&mut client, discard, &admin, &json!({ "id": ids[0], "reason": "test" })).status, 200);
    assert_eq!(post(&mut client, discard, &admin, &json!({ "id": ids[0], "reason": "test" })).status, 404);
    let left = client.get("/api/v1/admin/dlq", &admin).json();
    assert_eq!((left["letters"].as_array().unwrap().len(), &left["total"]), (2, &json!(2)));
    let audit = client.get("/api/v1/admin/audit?limit=5", &admin).json();
    let done = audit["entries"].as_array().unwrap().iter().map(|entry| (&entry["action"], &entry["subject"]));
    let id = json!(ids[0].to_string());
    assert_eq!(done.collect::<Vec<_>>(), [(&json!("dlq-read"), &id), (&json!("dlq-discard"), &id)], "{audit}");
    let user = Id::from_u128(1);
    assert_eq!(audit["entries"][0]["actor"], format!("user {user}"));
    assert_eq!(client.get("/api/v1/admin/audit", &live.role(user, "service")).status, 403);
}

#[test]
fn a_table_is_paused_resumed_and_put_into_a_new_epoch() {
    let live = Live::start();
    let admin = live.role(Id::from_u128(1), "admin");
    let mut client = live.client();
    let halted = |client: &mut Client| client.get("/api/v1/admin/cdc", &admin).json()["tables"][1]["halted"].clone();
    assert_eq!(halted(&mut client), Value::Null);
    assert_eq!(post(&mut client, "/api/v1/admin/cdc/posts/pause", &admin, &json!({})).status, 200);
    let paused = format!("paused by user {}; to go on: nova cdc resume posts", Id::from_u128(1));
    assert_eq!(halted(&mut client), paused);
    assert_eq!(post(&mut client, "/api/v1/admin/cdc/posts/resume", &admin, &json!({})).status, 200);
    assert_eq!(halted(&mut client), Value::Null);
    let again = post(&mut client, "/api/v1/admin/cdc/posts/resume", &admin, &json!({}));
    assert_eq!((again.status, again.json()["error"].as_str()), (409, Some("conflict")));
    assert_eq!(client.ask("POST", "/api/v1/admin/cdc/posts/epoch", &admin, b"").json()["epoch"], 1);
    assert_eq!(post(&mut client, "/api/v1/admin/cdc/secrets/pause", &admin, &json!({})).status, 404);
    let decided = post(&mut client, "/api/v1/admin/cdc/posts/resume", &admin, &json!({ "truncate": "apply" }));
    assert_eq!(decided.status, 409, "a decision without a halt");
}

#[test]
fn a_partition_is_moved_to_a_place_that_can_be() {
    let live = Live::start();
    let admin = live.role(Id::from_u128(1), "admin");
    let mut client = live.client();
    let mut seek = |topic: &str, partition: i64, offset: i64| {
        let ask = json!({ "topic": topic, "partition": partition, "offset": offset });
        let answer = post(&mut client, "/api/v1/admin/cdc/seek", &admin, &ask);
        (answer.status, answer.json().to_string())
    };
    for (topic, partition, offset, field) in [
        ("cdc.posts", -7, 3, "partition: -7 is none"),
        ("cdc.posts", 0, -5, "offset: -5 is none"),
        ("cdc.posts", 0, i64::MAX, "offset: 9223372036854775807 is none"),
        ("cdc.orders", 0, 3, "kafka.topic_prefix"),
    ] {
        let (status, words) = seek(topic, partition, offset);
        assert!(status == 400 && words.contains(field), "{status} {words}");
    }
    assert_eq!(seek("cdc.posts", 2, 7).0, 200);
    let state = client.get("/api/v1/admin/cdc", &admin).json();
    let moved = state["partitions"].as_array().unwrap().iter().find(|one| one["topic"] == "cdc.posts").unwrap();
    assert_eq!((&moved["partition"], &moved["next_offset"]), (&json!(2), &json!(7)));
    // The next offset of the local log has not changed.
    let own = live.headers(Id::from_u128(1));
    let event = json!({ "events": [{
        "event_id": Id::from_u128(9).to_string(), "event_time": NOW_MS, "post_id": Id::from_u128(7).to_string(), "action": "view",
    }] });
    assert_eq!(client.ask("POST", "/api/v1/events", &own, event.to_string().as_bytes()).status, 202);
    let state = client.get("/api/v1/admin/cdc", &admin).json();
    let log = state["partitions"].as_array().unwrap().iter().find(|one| one["topic"] == "events").unwrap();
    assert_eq!(log["next_offset"], 1);
}

#[test]
fn services_forget_others_feeds_and_users_only_their_own() {
    let live = Live::start();
    let mut client = live.client();
    let path = "/api/v1/feed/invalidate";
    let others = json!({ "user_ids": [Id::from_u128(7).to_string()], "scope": "feed" });
    let own = live.headers(Id::from_u128(1));
    assert_eq!(client.ask("POST", path, &own, b"").json()["success"], true);
    let refused = post(&mut client, path, &own, &others);
    assert_eq!((refused.status, refused.json()["error"].as_str()), (403, Some("insufficient-scope")));
    for role in ["service", "admin"] {
        assert_eq!(post(&mut client, path, &live.role(Id::from_u128(1), role), &others).json()["users"], 1);
    }
    let admin = live.role(Id::from_u128(1), "admin");
    assert_eq!(post(&mut client, "/api/v1/admin/cache/invalidate", &admin, &others).json()["users"], 1);
    for bad in [json!({ "user_ids": [] }), json!({ "user_ids": ["x"] }), json!({ "scope": "world" })] {
        assert_eq!(post(&mut client, path, &admin, &bad).status, 400, "{bad}");
    }
    let explained = client.get(&format!("/api/v1/admin/users/{}/explain-feed?limit=5", Id::from_u128(7)), &admin);
    assert!(explained.status == 200 && explained.json()["items"].is_array());
    let limits = client.get("/api/v1/admin/limits", &admin).json();
    assert_eq!((&limits["enabled"], &limits["health"]["factor"]), (&json!(true), &json!(1.0)));
}

#[test]
fn a_letter_of_a_topic_that_is_not_followed_any_more_stays() {
    let dir = tempfile::tempdir().unwrap();
    let capture = dir.path().join("other.jsonl");
    let line = json!({ "topic": "other.posts", "partition": 0, "offset": 0, "timestamp_ms": 1, "key": "k", "value": "garbage" });
    std::fs::write(&capture, line.to_string()).unwrap();
    assert!(nova(dir.path()).arg("replay").arg(&capture).output().unwrap().status.success());
    let live = Live::again(dir, EdgeSettings::default());
    let admin = live.role(Id::from_u128(1), "admin");
    let mut client = live.client();
    let replayed = post(&mut client, "/api/v1/admin/dlq/replay", &admin, &json!({ "ids": [0] })).json();
    assert_eq!(replayed["results"][0]["outcome"], "kept");
    assert!(replayed["results"][0]["detail"].as_str().unwrap().contains("kafka.topic_prefix"), "{replayed}");
    assert_eq!(client.get("/api/v1/admin/dlq", &admin).json()["total"], 1);
}

/// Makes a store that takes some time to copy.
fn large() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("nova.redb"), &Options::default(), |_| {}).unwrap();
    let write = store.write().unwrap();
    for number in 0..20_000u32 {
        write.put(EDGE, ("test", &number.to_be_bytes()[..]), &[0; 1_000]).unwrap();
    }
    write.commit().unwrap();
    dir
}

#[test]
fn backups_that_are_asked_for_at_once_are_made_whole_or_refused() {
    let live = Live::again(large(), EdgeSettings::default());
    let admin = live.role(Id::from_u128(1), "admin");
    let names = ["a.redb", "a.bak", "a.redb"];
    let mut clients: Vec<_> = names.iter().map(|_| live.client()).collect();
    for (client, name) in clients.iter_mut().zip(names) {
        let body = json!({ "name": name }).to_string();
        let head =
            format!("POST /api/v1/admin/backup HTTP/1.1\r\nHost: x\r\n{admin}Content-Length: {}\r\n\r\n", body.len());
        client.send((head + &body).as_bytes());
    }
    let mut statuses: Vec<_> = clients.iter_mut().map(|client| client.answer(false).status).collect();
    let made = names.iter().zip(&statuses).find(|(_, status)| **status == 200).unwrap().0;
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409]);
    let copy = Store::open(&live.dir.path().join("backups").join(made), &Options::default(), |_| {}).unwrap();
    let mut entries = 0;
    copy.read()
        .unwrap()
        .scan(EDGE, ("test", &[][..]).., |_, _| {
            entries += 1;
            true
        })
        .unwrap();
    assert!(entries >= 20_000, "{entries}");
    let left = std::fs::read_dir(live.dir.path().join("backups")).unwrap();
    assert_eq!(left.count(), 1);
}
