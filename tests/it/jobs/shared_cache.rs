//! Copies of lists in a real Redis server, which `NOVA_TEST_REDIS` names.

use bytes::Bytes;
use nova::app::Setup;
use nova::cache::{Cache, Key, Redis, Ttl};
use nova::clock::Clock;
use nova::decode::{NoSchemas, Topics};
use nova::event::{Effect, Facts, Id};
use serde_json::{Value, json};
use std::sync::Arc;

use super::super::api::client::{Live, NOW_MS};
use super::until;

fn fresh() -> Id {
    Id(uuid::Uuid::new_v4().into_bytes())
}

/// Starts a node that copies its served lists to the Redis server at `url`.
fn live(url: &str) -> Live {
    let dir = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(dir.path(), Topics::default(), Arc::new(NoSchemas));
    setup.clock = Clock::manual(NOW_MS);
    setup.edge.limits.enabled = false;
    setup.redis_url = Some(url.to_owned());
    Live::of(dir, &setup)
}

/// Makes `user` follow `friend`, who has written a post and who follows `other`. Returns the id of the post that
/// `friend` has written.
fn world(live: &Live, user: Id, friend: Id, other: Id) -> Id {
    let (post, mut state) = (fresh(), live.state.write());
    let mut put = |key: Id, new: Facts| state.apply(&Effect::Row { key, old: None, new: Some(new) });
    for person in [user, friend, other] {
        put(person, Facts::User { username: person.to_string().into(), active: true, created_at_us: 0 });
    }
    put(fresh(), Facts::Follow { follower: user, followee: friend, created_at_us: 1 });
    put(fresh(), Facts::Follow { follower: friend, followee: other, created_at_us: 1 });
    put(post, Facts::Post { author: friend, created_at_us: (NOW_MS - 60_000) * 1_000, published: true });
    post
}

#[test]
fn other_services_find_feeds_and_suggestions_in_redis_and_lose_them_when_they_change() {
    let Some(url) = crate::support::environment("NOVA_TEST_REDIS") else {
        eprintln!("skipped: NOVA_TEST_REDIS is not set");
        return;
    };
    let live = live(&url);
    let theirs = Redis::new(&url, 1 << 20, Clock::System).unwrap();
    let (user, friend, other) = (fresh(), fresh(), fresh());
    let post = world(&live, user, friend, other);
    let (feed, suggested) = (format!("feed:v1:{user}"), format!("nova:cache:suggested_users:{user}"));
    let found = |name: &str| theirs.get(Key::plain(name)).unwrap();
    let json = |text: Bytes| -> Value { serde_json::from_slice(&text).unwrap() };
    let gone = |name: &str| until(name, || found(name).is_none().then_some(()));
    let (mut client, headers) = (live.client(), live.headers(user));
    let mut read = |path: &str| client.get(path, &headers).json();

    let page = read("/api/v1/feed");
    let copy = json(until("the feed", || found(&feed)));
    for member in ["posts", "cursor", "has_more", "total_count", "algorithm", "snapshot", "as_of", "degraded"] {
        assert_eq!(copy[member], page[member], "{member}");
    }
    assert_eq!(copy["posts"], json!([post.to_string()]));
    let list = read("/api/v1/discover/suggested-users");
    let copy = json(until("the suggestions", || found(&suggested)));
    assert_eq!((&copy["users"], &copy["total_suggestions"]), (&list["users"], &json!(1)));
    assert_eq!(copy["users"][0]["user_id"], other.to_string());
    assert!(matches!(theirs.pttl(Key::plain(&feed)), Ok(Ttl::Millis(1..=60_000))));
    until("trending", || found("nova:cache:trending:24h"));

    // A post that is deleted in nova must also disappear for readers of the copy.
    let row = Facts::Post { author: friend, created_at_us: (NOW_MS - 60_000) * 1_000, published: true };
    live.state.write().apply(&Effect::Row { key: post, old: Some(row), new: None });
    gone(&feed);
    assert_eq!(read("/api/v1/feed")["posts"], json!([]));
    until("a new copy", || found(&feed));
    let mut client = live.client();
    assert_eq!(client.ask("POST", "/api/v1/feed/invalidate", &headers, b"").status, 200);
    gone(&feed);
    let path = format!("/api/v1/discover/suggested-users/{other}");
    assert_eq!(client.ask("DELETE", &path, &headers, b"").status, 204);
    gone(&suggested);
    let metrics = String::from_utf8(client.get("/metrics", "").body).unwrap();
    for line in
        ["circuit_breaker_state{target=\"redis\"} 0", "nova_shared_copies ", "nova_shared_copies_dropped_total 0"]
    {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}

/// Returns the value of a metric.
fn shown(metrics: &str, name: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[test]
fn without_redis_nothing_degrades_but_the_copies_and_that_is_shown() {
    // The port was free a moment ago, so no program listens on it.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let live = live(&format!("redis://127.0.0.1:{port}/"));
    let (user, friend, other) = (fresh(), fresh(), fresh());
    let post = world(&live, user, friend, other);
    let (mut client, headers) = (live.client(), live.headers(user));
    let metrics = until("the outage", || {
        let page = client.get("/api/v1/feed", &headers);
        assert_eq!((page.status, &page.json()["posts"]), (200, &json!([post.to_string()])));
        let metrics = String::from_utf8(client.get("/metrics", "").body).unwrap();
        let open = shown(&metrics, "circuit_breaker_state{target=\"redis\"}") == Some(2.0);
        let away = shown(&metrics, "job_refresh_total{job=\"cache_publish\",result=\"away\"}") >= Some(3.0);
        (open && away).then_some(metrics)
    });
    assert_eq!(shown(&metrics, "nova_job_parked{job=\"cache_publish\"}"), Some(0.0));
    assert_eq!(shown(&metrics, "nova_shared_copies_waiting"), Some(1.0), "what was read waits");
    assert_eq!(client.get("/health/ready", "").status, 200);
}
