//! Runs a thousand tests of a sample service with one nova, which is reset before each test. `.ci/test-clients.sh
//! --thousand` measures how long the thousand tests take.

use std::time::Duration;

use nova::testing::{TestNova, json};

const ADA: &str = "0193a5f0-c2d1-7e2c-9f0e-00000000000a";
const BEN: &str = "0193a5f0-c2d1-7e2c-9f0e-00000000000b";
const CAT: &str = "0193a5f0-c2d1-7e2c-9f0e-00000000000c";
const POST: &str = "0193a5f0-c2d1-7e2c-9f0e-000000000001";

/// The service under test: returns the first line of a user's home page.
fn headline(nova: &TestNova, user: &str) -> String {
    match nova.feed(user).len() {
        0 => "Nothing new".to_owned(),
        posts => format!("{posts} new posts"),
    }
}

fn followers_see_posts(nova: &TestNova) {
    assert_eq!(headline(nova, ADA), "1 new posts");
    assert_eq!(headline(nova, CAT), "Nothing new");
}

fn an_unfollow_is_seen_at_once(nova: &TestNova) {
    nova.rows(json!({ "follows": [{ "op": "delete", "follower_id": ADA, "following_id": BEN }] }));
    assert_eq!(headline(nova, ADA), "Nothing new");
}

fn what_trends_is_over_after_a_day(nova: &TestNova) {
    nova.events(CAT, json!([{ "post_id": POST, "action": "share", "event_time": nova.now_ms() }]));
    assert_eq!(nova.trending("24h"), [POST]);
    nova.advance(Duration::from_secs(25 * 3_600));
    assert!(nova.trending("24h").is_empty());
}

fn a_page_has_its_reasons_in_the_log(nova: &TestNova) {
    nova.feed(ADA);
    let log = nova.log(0);
    let page = log["entries"].as_array().and_then(|entries| entries.last()).map(|entry| &entry["page"]["answer"]);
    assert_eq!(page.map(|page| &page["items"][0]["sources"]), Some(&json!(["followed"])));
}

fn main() {
    let tests = [
        followers_see_posts,
        an_unfollow_is_seen_at_once,
        what_trends_is_over_after_a_day,
        a_page_has_its_reasons_in_the_log,
    ];
    let nova = TestNova::start();
    for test in tests.iter().cycle().take(1_000) {
        nova.reset();
        nova.rows(json!({
            "users": [{ "id": ADA }, { "id": BEN }, { "id": CAT }],
            "follows": [{ "follower_id": ADA, "following_id": BEN }],
            "posts": [{ "id": POST, "user_id": BEN }],
        }));
        test(&nova);
    }
}
