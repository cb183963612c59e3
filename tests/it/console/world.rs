//! A node with all the data that a console has to show: users and posts with hostile texts, dead letters with raw
//! bytes, a halted table, and a ClickHouse that does not answer.

use std::path::{Path, PathBuf};

use nova::event::Id;
use serde_json::{Value, json};

use crate::support::program::{nova, out, told};

const USERS: u128 = 12;
const POSTS: u128 = 24;
/// The size in bytes of a text that is far too long for a page.
const LONG: usize = 1 << 20;
/// The user with a name that is far too long.
pub const LONG_NAMED: u128 = 7;

pub fn user(number: u128) -> Id {
    Id::from_u128(0x1000 + number)
}

pub fn post(number: u128) -> Id {
    Id::from_u128(0x2000 + number)
}

/// Texts that do harm if a page treats them as anything but text.
pub const HOSTILE: [&str; 5] = [
    "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>",
    "\u{202e}gnp.exe\u{202c} \u{2066}turned\u{2069} around",
    "one\u{1}two\u{7f}three",
    "${alert(1)} {{7*7}} javascript:alert(1)",
    "</bdi></td></table><h1>owned</h1>",
];

/// The name of a user. One name is far too long for a page, and the last names in the list are hostile.
fn name(number: u128) -> String {
    match number {
        ..LONG_NAMED => format!("person_{number}"),
        LONG_NAMED => "name ".repeat(LONG / 5),
        _ => HOSTILE[(number - LONG_NAMED - 1) as usize].to_owned(),
    }
}

/// The lines of a capture, and the next offset of each topic.
#[derive(Default)]
struct Capture {
    lines: String,
    lsn: u64,
}

impl Capture {
    fn line(&mut self, topic: &str, key: Value, value: &Value, at_ms: i64) {
        self.lsn += 1;
        let line = json!({ "topic": topic, "partition": 0, "offset": self.lsn, "timestamp_ms": at_ms, "key": key, "value": value });
        self.lines.push_str(&format!("{line}\n"));
    }

    /// Adds a record that cannot be decoded, and whose headers are hostile.
    fn letter(&mut self, value: &str, at_ms: i64) {
        self.lsn += 1;
        let headers = [HOSTILE[0], HOSTILE[1], HOSTILE[4], HOSTILE[2]];
        let line = json!({ "topic": "cdc.comments", "partition": 0, "offset": self.lsn, "timestamp_ms": at_ms, "key": HOSTILE[1],
            "value": value, "headers": headers });
        self.lines.push_str(&format!("{line}\n"));
    }

    fn change(&mut self, table: &str, op: &str, row: Value, at_ms: i64) {
        let source = json!({ "version": "3.6.0", "connector": "postgresql", "name": "nova", "ts_ms": at_ms, "snapshot": "false",
            "db": "nova", "schema": "public", "table": table, "lsn": self.lsn + 1_000 });
        let key = json!({ "id": row["id"] }).to_string();
        let value = json!({ "before": null, "after": if op == "t" { Value::Null } else { row }, "source": source, "op": op, "ts_ms": at_ms });
        let key = if op == "t" { Value::Null } else { key.into() };
        self.line(&format!("cdc.{table}"), key, &value.to_string().into(), at_ms);
    }
}

fn people(capture: &mut Capture, canary: &str, at_ms: i64, time: &str) {
    for number in 1..=USERS {
        let row = json!({ "id": user(number).to_string(), "username": name(number), "email": format!("{canary}@example.org"),
            "password_hash": canary, "email_verified": true, "is_active": true, "created_at": time, "updated_at": time, "deleted_at": null });
        capture.change("users", "c", row, at_ms);
    }
    for number in 1..=POSTS {
        let caption = match HOSTILE.get(number as usize - 1) {
            Some(text) => (*text).to_owned(),
            None if number == POSTS => "long ".repeat(LONG / 5),
            None => format!("A walk along the shore, part {number}"),
        };
        let row = json!({ "id": post(number).to_string(), "user_id": user(1 + number % USERS).to_string(), "caption": caption,
            "image_key": "img", "image_sizes": null, "status": "published", "created_at": time, "updated_at": time, "soft_delete": null });
        capture.change("posts", "c", row, at_ms);
    }
    for number in 2..=USERS {
        for (from, to) in [(1, number), (number, 1 + number % USERS)] {
            let id = Id::from_u128(0x3000 + from * 100 + to).to_string();
            let row = json!({ "id": id, "follower_id": user(from).to_string(), "following_id": user(to).to_string(), "created_at": at_ms * 1_000 });
            capture.change("follows", "c", row, at_ms);
        }
        let id = Id::from_u128(0x4000 + number).to_string();
        let row = json!({ "id": id, "user_id": user(number).to_string(), "post_id": post(number).to_string(), "created_at": at_ms * 1_000 });
        capture.change("likes", "c", row, at_ms);
    }
    for number in 1..=USERS {
        for (post_number, action) in [(number, "view"), (number + 1, "view"), (3, "share")] {
            let event = json!({ "event_id": Id::from_u128(0x5000 + number * 10 + post_number).to_string(), "user_id": user(number).to_string(),
                "post_id": post(post_number).to_string(), "event_time": at_ms, "action": action });
            capture.line("events", Value::Null, &event.to_string().into(), at_ms);
        }
    }
}

/// Makes the store of the node. The source rows of the store have the text `canary` in columns that nova must drop.
pub fn stored(dir: &Path, canary: &str) -> PathBuf {
    let data = dir.join("data");
    let now_ms = nova::clock::Clock::System.now_ms() - 600_000;
    let time = nova::clock::rfc3339(now_ms * 1_000);
    let mut capture = Capture::default();
    people(&mut capture, canary, now_ms, &time);
    // The dead letters are a text that is not JSON, raw bytes of every kind, and a row that has private columns and
    // lacks a required column.
    capture.letter("no json, but <b>markup</b> \u{0} \u{202e}turned", now_ms);
    capture.letter(&"x".repeat(LONG), now_ms);
    let source = json!({ "connector": "postgresql", "name": "nova", "ts_ms": now_ms, "snapshot": "false", "table": "users", "lsn": 9_000 });
    let row = json!({ "id": user(40).to_string(), "username": null, "email": format!("{canary}@example.org"), "password_hash": canary });
    let value = json!({ "before": null, "after": row, "source": source, "op": "c", "ts_ms": now_ms });
    capture.line(
        "cdc.users",
        json!({ "id": user(40).to_string() }).to_string().into(),
        &value.to_string().into(),
        now_ms,
    );
    capture.change("likes", "t", json!({ "id": null }), now_ms);
    let file = dir.join("capture.jsonl");
    std::fs::write(&file, &capture.lines).unwrap();
    let done = nova(&data, &["replay", file.to_str().unwrap()]);
    assert!(told(&done).contains("is held: truncate:"), "{done:?}");
    data
}

/// Returns a token with the role admin.
pub fn admin(data: &Path) -> String {
    let made = nova(data, &["token", "--sub", &user(1).to_string(), "--role", "admin"]);
    out(&made).split_whitespace().last().unwrap().to_owned()
}
