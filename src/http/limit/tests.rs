//! Tests of the limits with random and concurrent callers.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

fn limiter(per_s: u32) -> Limiter {
    Limiter::new(LimitSettings { feed_per_s: per_s, ..LimitSettings::default() }, Arc::default())
}

fn user(number: u128) -> Caller {
    Caller::User { id: Id::from_u128(number), service: false }
}

/// Checks that no interval of t seconds between two grants has more than burst + rate · t grants.
fn never_more_than_promised(granted: &mut [u64], per_s: u32) -> Result<(), TestCaseError> {
    granted.sort_unstable();
    let burst = u64::from(per_s * BURST_S);
    // `best` gives the beginning of the interval with the most grants beyond the rate.
    let mut best = f64::INFINITY;
    for (place, at_us) in granted.iter().enumerate() {
        let allowed = f64::from(per_s) * *at_us as f64 / 1e6;
        best = best.min(place as f64 - allowed);
        let beyond = (place + 1) as f64 - allowed - best;
        prop_assert!(beyond <= burst as f64 + 1e-6, "{} beyond the rate at {} us", beyond, at_us);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_interval_lets_more_through_than_burst_and_rate_whatever_the_health(
        per_s in 1..40u32, steps in proptest::collection::vec((0..200_000u64, 0..100u8), 1..300),
    ) {
        let limiter = limiter(per_s);
        let (mut now_us, mut granted) = (0, Vec::new());
        for (step_us, queue) in steps {
            now_us += step_us;
            limiter.health.tick(f64::from(queue) / 100.0, f64::from(queue), 0.0);
            if limiter.check(Class::Feed, user(1), now_us).unwrap().decision == Decision::Granted {
                granted.push(now_us);
            }
        }
        never_more_than_promised(&mut granted, per_s)?;
    }

    #[test]
    fn what_the_headers_promise_is_granted(
        per_s in 1..40u32, waits in proptest::collection::vec(0..300_000u64, 1..100), delay_ms in 0..500u32,
    ) {
        let limiter = limiter(per_s);
        limiter.health.tick(0.0, f64::from(delay_ms), 0.0);
        let mut now_us = 0;
        for wait_us in waits {
            now_us += wait_us;
            let verdict = limiter.check(Class::Feed, user(1), now_us).unwrap();
            match verdict.decision {
                Decision::Granted => {
                    for _ in 0..verdict.remaining {
                        let next = limiter.check(Class::Feed, user(1), now_us).unwrap();
                        prop_assert_eq!(next.decision, Decision::Granted);
                    }
                    let beyond = limiter.check(Class::Feed, user(1), now_us).unwrap();
                    prop_assert_ne!(beyond.decision, Decision::Granted);
                    prop_assert_eq!(beyond.remaining, 0);
                }
                Decision::OverQuota { retry_after_us } | Decision::Shed { retry_after_us } => {
                    now_us += retry_after_us;
                    let next = limiter.check(Class::Feed, user(1), now_us).unwrap();
                    // When nova no longer refuses the caller because of the node's health, it may still refuse the
                    // caller because of the quota.
                    prop_assert!(next.decision == Decision::Granted || delay_ms > 50, "{:?}", next);
                }
            }
        }
    }
}

#[test]
fn eight_concurrent_clients_get_no_more_than_one_would() {
    let limiter = Arc::new(limiter(1_000));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let limiter = Arc::clone(&limiter);
            std::thread::spawn(move || {
                let mut granted = Vec::new();
                for _ in 0..2_000 {
                    let now_us = limiter.now_us();
                    if limiter.check(Class::Feed, user(1), now_us).unwrap().decision == Decision::Granted {
                        granted.push(now_us);
                    }
                }
                granted
            })
        })
        .collect();
    let mut granted: Vec<u64> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    never_more_than_promised(&mut granted, 1_000).unwrap();
    assert!(granted.len() >= 2_000, "the burst is there: {}", granted.len());
}

#[test]
fn quota_and_health_are_never_mixed_up() {
    let limiter = limiter(10);
    let ask = |caller, now_us| limiter.check(Class::Feed, caller, now_us).unwrap().decision;
    // The node is healthy, so a caller who asks too often is refused because of the quota.
    let healthy: Vec<_> = (0..40).map(|_| ask(user(1), 0)).collect();
    assert!(healthy[..20].iter().all(|decision| *decision == Decision::Granted));
    assert!(healthy[20..].iter().all(|decision| matches!(decision, Decision::OverQuota { .. })));
    // Now the node is not healthy. nova refuses a caller within the quota only because of the node's health, and a
    // caller beyond the quota because of the quota.
    limiter.health.tick(0.0, 500.0, 0.0);
    let slow: Vec<_> = (0..100).map(|n| ask(user(2), n * 100_000)).collect();
    let shed = slow.iter().filter(|decision| matches!(decision, Decision::Shed { .. })).count();
    assert!((70..=95).contains(&shed), "{shed}");
    assert!(slow.iter().all(|decision| !matches!(decision, Decision::OverQuota { .. })));
    let greedy = (0..40).map(|_| ask(user(3), 0));
    assert_eq!(greedy.filter(|decision| matches!(decision, Decision::OverQuota { .. })).count(), 20);
    // The refusals of one caller do not affect a second caller.
    assert_eq!(ask(user(4), 0), Decision::Granted);
    let counts: u64 = limiter.decisions.all().map(|(_, _, count)| count).sum();
    assert_eq!(counts, 40 + 100 + 40 + 1);
}

#[test]
fn callers_are_bounded_and_swept() {
    let limiter = limiter(1);
    for number in 0..(CALLERS_MAX as u128) * 5 / 4 {
        limiter.check(Class::Feed, user(number), 0);
    }
    assert!(limiter.callers() <= CALLERS_MAX);
    // Callers above the limit of remembered callers share a cell, so nova still limits them.
    let strangers = (0..1_000).filter(|n| {
        let verdict = limiter.check(Class::Feed, user(1 << 100 | n), 0).unwrap();
        verdict.decision == Decision::Granted
    });
    assert!(strangers.count() <= 2 * SHARDS);
    limiter.sweep(10_000_000);
    assert_eq!(limiter.callers(), 0);
}

#[test]
fn one_ipv6_customer_is_one_caller_and_services_have_more() {
    let address = |text: &str| Caller::address(text.parse().unwrap());
    assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:2"));
    assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
    assert_eq!(address("::ffff:1.2.3.4"), address("1.2.3.4"));
    let limiter = limiter(1);
    let service = Caller::User { id: Id::NIL, service: true };
    let granted = |caller| {
        (0..100).filter(|_| limiter.check(Class::Feed, caller, 0).unwrap().decision == Decision::Granted).count()
    };
    assert_eq!((granted(service), granted(user(1))), (40, 2));
}
