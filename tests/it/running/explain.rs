//! Tests of `nova explain`, which explains the place of a post in the feed of a user.

use serde_json::{Value, json};

use super::stored;
use crate::api::client::Client;
use crate::support::program::{Serving, nova, out};

/// The feed that HTTP serves, the feed that the command prints, and the explanation of each post agree.
#[test]
fn explain_agrees_with_the_feed_that_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let data = stored(dir.path());
    let ids = |table: &str| -> Vec<String> {
        let rows = out(&nova(&data, &["dump", "--table", table]));
        rows.lines().map(|row| serde_json::from_str::<Value>(row).unwrap()["id"].as_str().unwrap().to_owned()).collect()
    };
    let (users, posts) = (ids("users"), ids("posts"));
    let stranger = "00000000-0000-4000-8000-00000000beef";
    let stopped = out(&nova(&data, &["explain", "--user", &users[0], "--post", stranger]));
    assert!(stopped.starts_with("not shown: unknown-post: "), "{stopped}");
    let node = Serving::start(&data, &[]);
    let token = out(&nova(&data, &["token", "--sub", &users[0]]));
    let headers = crate::api::client::bearer(token.trim());
    let page = Client::connect(node.addr).get("/api/v1/feed?limit=100&explain=1", &headers).json();
    let items = page["items"].as_array().unwrap();
    let listed: Value =
        serde_json::from_slice(&nova(&data, &["explain", "--user", &users[0], "--limit", "100", "--json"]).stdout)
            .unwrap();
    assert_eq!(listed["items"], page["items"]);
    for post in posts.iter().map(String::as_str).chain([stranger]) {
        let output = nova(&data, &["explain", "--user", &users[0], "--post", post, "--json"]);
        let explained: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        match items.iter().find(|item| item["post_id"] == post) {
            Some(item) => {
                assert_eq!((&explained["shown"], &explained["rule"]), (&json!(true), &Value::Null), "{explained}");
                for member in ["rank", "score", "terms", "features", "sources", "rank_before_spacing"] {
                    assert_eq!(explained["item"][member], item[member], "{member}");
                }
                assert_eq!(explained["as_of"], page["as_of"]);
            }
            None => {
                assert_eq!(explained["shown"], false, "{explained}");
                assert!(explained["rule"].is_string() && explained["why"].is_string(), "{explained}");
            }
        }
    }
    let audit = out(&nova(&data, &["audit"]));
    assert!(audit.contains(&format!("feed-explain {}", users[0])), "{audit}");
}
