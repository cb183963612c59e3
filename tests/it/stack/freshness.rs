//! Measures how old data is when readers see it. One measurement goes from a COMMIT in SQL to a follower's feed, and
//! the other from the answer 202 to the trending list.

use std::time::Duration;

use nova::event::Id;
use serde_json::json;

use crate::api::client::Client;

use super::world::{Form, PATIENCE, Servers, World, nap};

const ROUNDS: usize = 60;
/// The limits of the 95th percentiles with the shipped connector, for feeds and for trending, and the factor by which a
/// shared machine may exceed these limits.
const FEED_P95: Duration = Duration::from_millis(200);
const TRENDING_P95: Duration = Duration::from_millis(1_200);
const SLACK: u32 = 4;

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * percent).div_ceil(100) - 1]
}

fn watched(client: &mut Client, path: &str, headers: &str, seen: impl Fn(&serde_json::Value) -> bool) -> Duration {
    let begun = nova::clock::monotonic_now();
    while !seen(&client.get(path, headers).json()) {
        assert!(begun.elapsed() < PATIENCE, "{path} never showed it");
        nap(2);
    }
    begun.elapsed()
}

#[test]
fn a_commit_reaches_the_feed_and_an_event_trending_in_time() {
    let Some(servers) = Servers::find() else { return };
    let world = World::begin(servers, Form::Envelope);
    let (reader, author) = (Id::from_u128(1 << 64 | 1).to_string(), Id::from_u128(1 << 64 | 2).to_string());
    let mut sql = world.sql();
    sql.batch_execute(&format!(
        "INSERT INTO users (id, email, username, password_hash) VALUES ('{reader}', 'r', 'r', 'x'), ('{author}', 'a', 'a', 'x');
         INSERT INTO follows (follower_id, following_id) VALUES ('{reader}', '{author}')"
    ))
    .unwrap();
    let mut client = Client::connect(world.url().strip_prefix("http://").unwrap().parse().unwrap());
    let headers = format!("Content-Type: application/json\r\nAuthorization: Bearer {}\r\n", world.token(&reader));
    let (mut feed, mut trending) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS as u128 {
        let post = Id::from_u128(2 << 64 | round).to_string();
        sql.batch_execute(&format!(
            "INSERT INTO posts (id, user_id, image_key, status) VALUES ('{post}', '{author}', 'k', 'published')"
        ))
        .unwrap();
        let first = |page: &serde_json::Value| page["posts"][0] == *post;
        feed.push(watched(&mut client, "/api/v1/feed?algo=time&limit=1", &headers, first));
        // Each earlier post has one share and is older than the new post, so one share lifts the new post above the
        // earlier posts.
        let now_ms = nova::clock::Clock::System.now_ms();
        let body = json!({ "events": [{ "event_id": Id::from_u128(3 << 64 | round).to_string(), "event_time": now_ms,
            "post_id": post, "action": "share" }] });
        assert_eq!(client.post(&headers, body.to_string().as_bytes()).status, 202);
        let top = |list: &serde_json::Value| list["posts"][0]["post_id"] == *post;
        trending.push(watched(&mut client, "/api/v1/feed/trending?window=1h&limit=1", "", top));
    }
    // The first rounds wait for topics, for partitions and for the start of the connector, so they are not measured.
    let (mut feed, mut trending) = (feed.split_off(10), trending.split_off(10));
    for (what, times, promise) in [("feed", &mut feed, FEED_P95), ("trending", &mut trending, TRENDING_P95)] {
        let (p50, p95) = (percentile(times, 50), percentile(times, 95));
        eprintln!("{what}: p50 {p50:?}, p95 {p95:?}");
        assert!(p95 <= promise * SLACK, "{what}: p95 {p95:?}, promised {promise:?}");
    }
}
