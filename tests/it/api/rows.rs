//! Plain rows that a caller sends over HTTP to a node without Kafka and PostgreSQL.

use nova::event::Id;
use serde_json::{Value, json};

use super::client::{Live, NOW_MS};

const ADA: &str = "00000000-0000-0000-0000-00000000000a";
const BOB: &str = "00000000-0000-0000-0000-00000000000b";
const POST: &str = "00000000-0000-0000-0000-000000000100";

fn put(live: &Live, rows: &Value) -> (u16, Value) {
    let headers = live.role(Id::from_u128(1), "service");
    let answer = live.client().ask("POST", "/api/v1/rows", &headers, rows.to_string().as_bytes());
    (answer.status, answer.json())
}

fn feed(live: &Live, user: &str) -> Vec<String> {
    let headers = live.headers(Id::parse(user.as_bytes()).unwrap());
    let page = live.client().get("/api/v1/feed?limit=20", &headers).json();
    let items = page["items"].as_array().or(page["posts"].as_array()).unwrap().clone();
    items.iter().map(|item| item["post_id"].as_str().or(item.as_str()).unwrap().to_owned()).collect()
}

#[test]
fn rows_with_defaults_make_a_feed_and_a_pair_names_its_row_again() {
    let live = Live::start();
    let rows = json!({
        "users": [{ "id": ADA }, { "id": BOB, "username": "bob" }],
        "posts": [{ "id": POST, "user_id": BOB }],
        "follows": [{ "follower_id": ADA, "following_id": BOB }],
    });
    let (status, taken) = put(&live, &rows);
    assert_eq!((status, &taken["success"], &taken["outcomes"]), (200, &json!(true), &json!({ "applied": 4 })));
    assert_eq!(taken["rows"][0], json!({ "table": "users", "id": ADA, "outcome": "applied" }));
    assert_eq!(feed(&live, ADA), [POST]);
    let pair = json!({ "follows": [{ "follower_id": ADA, "following_id": BOB, "op": "delete" }] });
    assert_eq!(put(&live, &pair).1["outcomes"], json!({ "applied": 1 }));
    assert_eq!(feed(&live, ADA), Vec::<String>::new());
    // The caller gives one of the rows an id.
    let own = "00000000-0000-0000-0000-000000000999";
    let follow = json!({ "follows": [{ "id": own, "follower_id": ADA, "following_id": BOB }] });
    put(&live, &follow);
    assert_eq!(feed(&live, ADA), [POST]);
    let gone = put(&live, &pair).1;
    assert_eq!(gone["rows"][0], json!({ "table": "follows", "id": own, "outcome": "applied" }));
    assert_eq!(feed(&live, ADA), Vec::<String>::new());
    live.stop();
}

#[test]
fn a_row_that_cannot_be_is_refused_with_its_place_and_nothing_is_written() {
    let live = Live::start();
    for (rows, words) in [
        (json!({ "posts": [{ "id": POST, "user_id": ADA }, {}] }), "posts[1].user_id: is left out"),
        (json!({ "users": [{ "id": "x" }] }), "users[0].id: expected a UUID"),
        (json!({ "users": [{ "is_active": "yes" }] }), "users[0].is_active: expected true or false"),
        (
            json!({ "likes": [{ "user_id": ADA, "post_id": POST, "created_at": "soon" }] }),
            "likes[0].created_at: expected a time",
        ),
        (json!({ "comments": [{ "op": "delete" }] }), "comments[0].id: is left out"),
        (json!({ "users": [{ "op": "remove" }] }), "users[0].op: expected delete or upsert"),
        (json!({ "users": [{ "username": null }] }), "users[0].username: expected a value"),
        (json!({}), "send rows"),
        (json!({ "people": [] }), "people"),
    ] {
        let (status, problem) = put(&live, &rows);
        assert!(status == 400 && problem["detail"].as_str().unwrap().contains(words), "{rows}: {status} {problem}");
    }
    let headers = live.headers(Id::from_u128(1));
    assert_eq!(live.client().ask("POST", "/api/v1/rows", &headers, b"{}").status, 403);
    let admin = live.role(Id::from_u128(1), "admin");
    let listed = live.client().get("/api/v1/admin/rows/posts", &admin);
    assert_eq!(String::from_utf8_lossy(&listed.body).trim(), "");
    live.stop();
}

#[test]
fn a_time_of_a_row_is_the_same_however_it_is_written() {
    let live = Live::start();
    let admin = live.role(Id::from_u128(1), "admin");
    for given in [
        json!(NOW_MS),
        json!(NOW_MS as f64),
        json!("2026-11-24T08:00:00+02:00"),
        json!("2026-11-24T06:00:00.0000009999Z"),
        json!("2026-11-24T05:59:60Z"),
    ] {
        let rows = json!({
            "posts": [{ "id": POST, "user_id": BOB, "created_at": given, "op": null }],
            "follows": [{ "follower_id": ADA, "following_id": BOB, "created_at": given }],
            "likes": null,
        });
        let (status, taken) = put(&live, &rows);
        assert_eq!((status, &taken["success"]), (200, &json!(true)), "{given}: {taken}");
        for table in ["posts", "follows"] {
            let listed = live.client().get(&format!("/api/v1/admin/rows/{table}"), &admin);
            let row: Value = serde_json::from_slice(listed.body.trim_ascii()).unwrap();
            assert_eq!(row["created_at"], "2026-11-24T06:00:00.000000Z", "{table} {given}");
        }
    }
    live.stop();
}

#[test]
fn rows_survive_a_restart_and_their_partitions_go_on() {
    let live = Live::start();
    let user = |name: &str| json!({ "users": [{ "id": ADA, "username": name }] });
    put(&live, &user("ada"));
    let dir = live.stop();
    let live = Live::start_in(dir);
    assert_eq!(put(&live, &user("countess")).1["outcomes"], json!({ "applied": 1 }));
    let admin = live.role(Id::from_u128(1), "admin");
    let rows = live.client().get("/api/v1/admin/rows/users", &admin);
    let row: Value = serde_json::from_slice(rows.body.trim_ascii()).unwrap();
    assert_eq!(row["username"], "countess");
    live.stop();
}
