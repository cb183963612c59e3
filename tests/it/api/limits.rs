//! Quotas of requests, as a client meets them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nova::event::Id;
use nova::http::EdgeSettings;
use nova::http::limit::LimitSettings;

use super::client::{Answer, Live};

fn live(per_s: u32) -> Live {
    let limits =
        LimitSettings { feed_per_s: per_s, trending_per_s: per_s, refused_per_s: per_s, ..LimitSettings::default() };
    Live::with(EdgeSettings {
        limits,
        trusted_proxies: vec!["127.0.0.1/32".parse().unwrap()],
        ..EdgeSettings::default()
    })
}

/// Returns the number of remaining requests, which is `r` in the `RateLimit` header.
fn left(answer: &Answer) -> u64 {
    let limit = answer.header("ratelimit").unwrap();
    limit.split(';').find_map(|part| part.strip_prefix("r=")).unwrap().parse().unwrap()
}

#[test]
fn a_quota_is_told_kept_and_its_end_is_429_for_this_caller_only() {
    let live = live(1);
    let mut client = live.client();
    let (mine, other) = (live.headers(Id::from_u128(1)), live.headers(Id::from_u128(2)));
    let first = client.get("/api/v1/feed", &mine);
    assert_eq!(first.header("ratelimit-policy"), Some("\"feed\";q=2;w=2"));
    assert_eq!((first.status, left(&first)), (200, 1));
    let mut granted = 1;
    let refused = loop {
        let answer = client.get("/api/v1/feed", &mine);
        match answer.status {
            200 => granted += 1,
            _ => break answer,
        }
        assert!(granted < 100);
    };
    assert_eq!((refused.status, refused.json()["error"].as_str()), (429, Some("quota-exceeded")));
    assert_eq!((left(&refused), refused.header("retry-after")), (0, Some("1")));
    assert_eq!(refused.json()["retry_after"], 1);
    // A used-up quota affects neither a second class of requests nor a second caller.
    assert_eq!(client.get("/api/v1/discover/suggested-users", &mine).status, 200);
    assert_eq!(client.get("/api/v1/feed", &other).status, 200);
    let live_answer = client.get("/health/live", &mine);
    assert!(live_answer.status == 200 && live_answer.header("ratelimit").unwrap().starts_with("\"probes\";"));
    let metrics = String::from_utf8(client.get("/metrics", "").body).unwrap();
    assert!(metrics.contains(r#"rate_limit_total{class="feed",decision="over_quota"} 1"#), "{metrics}");
}

#[test]
fn without_a_token_the_address_counts_as_a_trusted_proxy_tells_it() {
    let live = live(1);
    let mut client = live.client();
    let mut ask = |from: &str, path: &str| client.get(path, &format!("X-Forwarded-For: 6.6.6.6, {from}\r\n"));
    let statuses = |from: &str, path: &str, ask: &mut dyn FnMut(&str, &str) -> Answer| {
        (0..20).map(|_| ask(from, path).status).collect::<Vec<_>>()
    };
    let list = "/api/v1/feed/trending";
    assert!(statuses("1.1.1.1", list, &mut ask).contains(&429));
    assert_eq!(ask("1.1.1.2", list).status, 200);
    // nova limits the guesses at tokens from each address.
    let guesses = statuses("1.1.1.3", "/api/v1/feed", &mut ask);
    assert!(guesses.contains(&401) && guesses.contains(&429) && !guesses.contains(&200));
}

#[test]
fn when_nova_is_unwell_it_says_503_and_never_429_to_who_is_within_the_quota() {
    let live = live(20);
    let (mut client, headers) = (live.client(), live.headers(Id::from_u128(1)));
    // Forty requests are within the burst of the quota. The test reports a high load before each request, because the
    // node replaces the reported load every second by the load that it measures.
    let answers: Vec<_> = (0..40)
        .map(|_| {
            live.health.tick(0.0, 1_000.0, 0.0);
            client.get("/api/v1/feed", &headers)
        })
        .collect();
    assert!(answers.iter().all(|answer| [200, 503].contains(&answer.status)));
    let shed: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert!(shed.len() > 20, "{}", shed.len());
    assert_eq!(shed[0].json()["error"], "temporary-reduced-capacity");
    assert!(shed[0].header("retry-after").is_some() && left(shed[0]) == 0);
}

#[test]
fn without_limits_nothing_is_refused_and_nothing_promised() {
    let limits = LimitSettings { enabled: false, feed_per_s: 1, ..LimitSettings::default() };
    let live = Live::with(EdgeSettings { limits, ..EdgeSettings::default() });
    let (mut client, headers) = (live.client(), live.headers(Id::from_u128(1)));
    for _ in 0..20 {
        let answer = client.get("/api/v1/feed", &headers);
        assert_eq!((answer.status, answer.header("ratelimit")), (200, None));
    }
}

#[test]
fn one_abusive_subject_leaves_anothers_answers_as_they_were() {
    let live = live(100);
    let (abuser, other) = (live.headers(Id::from_u128(1)), live.headers(Id::from_u128(2)));
    let quiet = (0..2).map(|n| p99_ms(&live, &live.headers(Id::from_u128(10 + n)))).fold(0.0, f64::max);
    let (stop, refused) = (AtomicBool::new(false), AtomicUsize::new(0));
    let during = std::thread::scope(|scope| {
        let attack = || {
            let mut client = live.client();
            while !stop.load(Ordering::Relaxed) {
                let beyond = client.get("/api/v1/feed", &abuser).status == 429;
                refused.fetch_add(usize::from(beyond), Ordering::Relaxed);
            }
        };
        (0..2).for_each(|_| drop(scope.spawn(attack)));
        while refused.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        let during = p99_ms(&live, &other);
        stop.store(true, Ordering::Relaxed);
        during
    });
    // The client, the attackers and the server share one machine, so some delay is no error. Only a queue of requests
    // behind the attackers would be an error.
    assert!(during < (quiet * 10.0).max(50.0), "p99 {during:.1} ms beside an abuser, {quiet:.1} ms without");
}

/// Returns the 99th of 100 response times, in milliseconds. All 100 requests are within the quota and must be granted.
fn p99_ms(live: &Live, headers: &str) -> f64 {
    let mut client = live.client();
    let mut times: Vec<f64> = (0..100)
        .map(|_| {
            let started = nova::clock::monotonic_now();
            assert_eq!(client.get("/api/v1/feed", headers).status, 200);
            started.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[98]
}

#[test]
fn a_node_without_room_on_its_disk_is_not_ready_and_says_why() {
    let limits = LimitSettings { disk_min_mib: 1_048_576 * 1_024, ..LimitSettings::default() };
    let live = Live::with(EdgeSettings { limits, ..EdgeSettings::default() });
    let answer = live.client().get("/health/ready", "");
    let reason = answer.json()["reasons"][0].as_str().unwrap().to_owned();
    assert_eq!(answer.status, 503);
    assert!(reason.contains("disk") && reason.contains("limits.disk_min_mib"), "{reason}");
    assert_eq!(Live::start().client().get("/health/ready", "").status, 200);
}
