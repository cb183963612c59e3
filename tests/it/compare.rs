//! `nova replay --compare` with the real binary: the effects that different ranking parameters would have had in the
//! past.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::program::{nova, out, told};

const BEGIN_MS: i64 = 1_795_000_000_000;
const HOUR_MS: i64 = 3_600_000;
/// The time of every record of the snapshot. The snapshot is later than all events and rows of the test.
const SNAPSHOT_MS: i64 = BEGIN_MS + 100 * HOUR_MS;

fn id(kind: u64, n: u64) -> String {
    format!("{kind:08x}-0000-4000-8000-{n:012x}")
}

/// Returns a snapshot's record of a row. A snapshot reads all rows at one moment, and the rows of users and posts have
/// times with a time zone.
fn read(topic: &str, offset: u64, id: &str, mut row: Value, at_ms: i64) -> String {
    row["id"] = json!(id);
    match topic {
        "users" | "posts" => {
            row["created_at"] = json!(nova::clock::rfc3339(at_ms * 1_000));
            row["updated_at"] = row["created_at"].clone();
        }
        _ => row["created_at"] = json!(at_ms * 1_000),
    }
    let source = json!({"ts_ms": SNAPSHOT_MS, "lsn": 1_000, "table": topic, "schema": "public", "snapshot": "true"});
    let value = json!({"before": null, "after": row, "source": source, "op": "r", "ts_ms": SNAPSHOT_MS});
    json!({"topic": format!("cdc.{topic}"), "partition": 0, "offset": offset, "timestamp_ms": SNAPSHOT_MS,
        "key": json!({"id": id}).to_string(), "value": value.to_string()})
    .to_string()
}

/// Makes ten readers who follow an author, and the author writes a post each hour. In the hour after each post, every
/// reader likes the two posts before it.
fn world(dir: &Path) -> PathBuf {
    const READERS: u64 = 10;
    const POSTS: u64 = 48;
    let author = id(1, 0);
    let mut users = Vec::new();
    let mut posts = Vec::new();
    let mut follows = Vec::new();
    let mut likes = Vec::new();
    for n in 0..=READERS {
        let row = json!({"username": format!("u{n}"), "email_verified": true, "is_active": true, "deleted_at": null});
        users.push(read("users", n, &id(1, n), row, BEGIN_MS - HOUR_MS));
        if n > 0 {
            let row = json!({"follower_id": id(1, n), "following_id": author});
            follows.push(read("follows", n, &id(3, n), row, BEGIN_MS - HOUR_MS));
        }
    }
    for n in 0..POSTS {
        let at_ms = BEGIN_MS + n as i64 * HOUR_MS;
        let row =
            json!({"user_id": author, "status": "published", "soft_delete": null, "image_key": "k", "caption": "c"});
        posts.push(read("posts", n, &id(2, n), row, at_ms));
        for (before, reader) in [1, 2].into_iter().flat_map(|before| (1..=READERS).map(move |reader| (before, reader)))
        {
            if n >= before {
                let row = json!({"user_id": id(1, reader), "post_id": id(2, n - before)});
                let number = likes.len() as u64;
                likes.push(read("likes", number, &id(4, number), row, at_ms + reader as i64 * 1_000));
            }
        }
    }
    let file = dir.join("world.jsonl");
    std::fs::write(&file, [likes, posts, follows, users].concat().join("\n")).unwrap();
    file
}

fn config(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_comparison_counts_the_later_likes_that_each_configuration_would_have_shown_and_changes_no_store() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let capture = world(dir.path());
    let capture = capture.to_str().unwrap();
    let a = config(dir.path(), "a.toml", "");
    // The settings limit a feed to one post of the followed author, and to no post of any other author.
    let b = config(dir.path(), "b.toml", "[feed]\nfollowed_max = 1\naffinity_max = 0\ntrending_max = 0\n");
    let compared = || nova(&data, &["--json", "replay", "--compare", &a, &b, capture]);
    let output = compared();
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(out(&compared()), out(&output), "two runs say the same");
    let report: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(report["dead"], 0);
    let keys: Vec<_> = report["changed"].as_array().unwrap().iter().map(|number| &number["key"]).collect();
    assert_eq!(keys, ["feed.followed_max", "feed.affinity_max", "feed.trending_max"]);
    assert_eq!(report["moments"].as_array().unwrap().len(), 8);
    assert_eq!((&report["feeds"], &report["later_clicks"]), (&json!(80), &json!(0)), "{report}");
    // In both configurations a feed has one post, because the spacing rule allows only one post of the only author. By
    // score, the feed has a liked post that is older than the newest post. A feed that may contain only the newest post
    // shows the post that readers will like in the next hours.
    let likes = report["later_likes"].as_u64().unwrap();
    assert_eq!((&report["a"]["posts"], &report["b"]["posts"]), (&json!(1.0), &json!(1.0)), "{report}");
    let age_h = |side: &str| report[side]["median_age_h"].as_f64().unwrap();
    assert!(age_h("b") < 1.0 && age_h("a") > 1.0, "{report}");
    let shown = |side: &str| report[side]["likes_shown"].as_u64().unwrap();
    assert!(shown("a") < shown("b") && shown("b") <= likes, "{report}");
    assert_eq!(report["overlap"], 0.0, "{report}");
    assert_eq!(report["trending_overlap"][2], json!(["24h", 1.0]), "the windows are not changed: {report}");
    let left: Vec<_> = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
    let text = out(&nova(&data, &["replay", "--compare", &a, &b, capture]));
    assert!(text.contains("feed.followed_max: a has 500, b has 1"), "{text}");
    assert!(text.contains("later likes of a post that was there"), "{text}");
}

#[test]
fn a_comparison_says_what_it_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let capture = world(dir.path());
    let a = config(dir.path(), "a.toml", "");
    let b = config(dir.path(), "b.toml", "[feed]\nfollowed_max = 1\n");
    let wrong = config(dir.path(), "wrong.toml", "[feed]\nfollowed_max = -1\n");
    let empty = config(dir.path(), "empty.jsonl", "");
    for (args, code, words) in [
        ([&a, &a, capture.to_str().unwrap()], 2, "nothing to compare"),
        ([&a, &b, "-"], 2, "must be files"),
        ([&a, &b, &empty], 2, "clicks and likes"),
        ([&a, &wrong, capture.to_str().unwrap()], 64, "wrong.toml: feed.followed_max"),
    ] {
        let output = nova(&data, &[&["replay", "--compare"][..], &args].concat());
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", told(&output));
        assert!(told(&output).contains(words), "{args:?}: {}", told(&output));
    }
}
