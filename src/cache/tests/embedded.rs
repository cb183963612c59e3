//! What only the embedded cache guarantees: its limit, the choice of entries that stay, and an invalidation that takes
//! no time.

use std::time::Duration;

use bytes::Bytes;

use super::{NOW_MS, Random};
use crate::cache::{Cache, CacheError, Embedded, Key, SetOptions};
use crate::clock::{Clock, monotonic_now};

#[test]
fn memory_stays_under_its_bound_whatever_is_written() {
    let clock = Clock::manual(NOW_MS);
    for limit_bytes in [300_000, 1 << 20, 9 << 20] {
        let (cache, mut random) = (Embedded::new(limit_bytes, clock.clone()), Random(limit_bytes as u64));
        for step in 0..60_000 {
            let (name, bytes) = (random.below(20_000).to_string(), Bytes::from(vec![7; random.below(3_000) as usize]));
            let key = Key::of(if random.below(2) == 0 { "" } else { "space" }, &name);
            let outcome = match random.below(8) {
                0 => cache.hset(Key::plain("h"), vec![(name.clone().into(), bytes)]).map(drop),
                1 => cache.zadd(Key::plain("z"), vec![(random.below(9) as f64, name.clone().into())]).map(drop),
                2 => cache.del(vec![key]).map(drop),
                3 => cache.get(key).map(drop),
                _ => cache.set(key, bytes, SetOptions::millis(random.below(5_000) as i64 + 1)).map(drop),
            };
            assert!(matches!(outcome, Ok(()) | Err(CacheError::TooLarge)), "{outcome:?}");
            clock.set(clock.now_ms() + i64::from(step % 7 == 0));
            if step % 20_000 == 19_999 {
                cache.invalidate("space").unwrap();
            }
            if step % 64 == 0 {
                assert!(cache.stats().bytes <= limit_bytes as u64, "{step}: {:?}", cache.stats());
            }
        }
        assert!(cache.stats().evictions > 0);
    }
}

/// Returns the resident memory of this process in bytes, without pages of files such as its own code. A page of memory
/// has a size of 4 KiB.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: Vec<u64> = statm.split_whitespace().map(|pages| pages.parse().unwrap()).collect();
    (pages[1] - pages[2]) * 4096
}

/// The environment variable that tells a separate process which shape of entries to measure. A separate process
/// measures the memory, because all tests in this process take memory.
const SHAPE: &str = "NOVA_TEST_CACHE_SHAPE";

#[test]
#[expect(clippy::disallowed_methods, reason = "the environment tells the process apart that measures")]
fn what_is_counted_covers_what_the_process_takes() {
    if !std::path::Path::new("/proc/self/statm").exists() {
        return;
    }
    let Some(shape) = std::env::var(SHAPE).ok() else {
        let own = "cache::tests::embedded::what_is_counted_covers_what_the_process_takes";
        for shape in ["text", "hash", "set", "sorted", "large hash", "large sorted"] {
            let mut child = std::process::Command::new(std::env::current_exe().unwrap());
            let done = child.args(["--exact", own, "--nocapture"]).env(SHAPE, shape).output().unwrap();
            assert!(done.status.success(), "{shape}: {}", String::from_utf8_lossy(&done.stderr));
        }
        return;
    };
    let before = resident_bytes();
    let cache = Embedded::new(32 << 20, Clock::manual(NOW_MS));
    for number in 0..150_000 {
        let text = || Bytes::from(number.to_string().into_bytes());
        let (own, shared) = (format!("k{number}"), format!("k{}", number % 100));
        let outcome = match shape.as_str() {
            "text" => cache.set(Key::plain(&own), text(), SetOptions::default()).map(drop),
            "hash" => cache.hset(Key::plain(&own), vec![(text(), text())]).map(drop),
            "set" => cache.sadd(Key::plain(&own), vec![text()]).map(drop),
            "sorted" => cache.zadd(Key::plain(&own), vec![(1.0, text())]).map(drop),
            "large hash" => cache.hset(Key::plain(&shared), vec![(text(), text())]).map(drop),
            _ => cache.zadd(Key::plain(&shared), vec![(f64::from(number), text())]).map(drop),
        };
        outcome.unwrap();
    }
    let (taken, counted) = (resident_bytes() - before, cache.stats().bytes);
    assert!(cache.stats().evictions > 0 && taken <= counted, "{taken} bytes are taken, {counted} counted");
}

#[test]
fn a_value_too_large_for_the_cache_is_refused_and_nothing_makes_room_for_it() {
    let cache = Embedded::new(1 << 20, Clock::manual(NOW_MS));
    cache.set(Key::plain("a"), Bytes::from_static(b"1"), SetOptions::default()).unwrap();
    let large = Bytes::from(vec![0; 1 << 20]);
    assert_eq!(cache.set(Key::plain("b"), large.clone(), SetOptions::default()), Err(CacheError::TooLarge));
    assert_eq!(cache.set(Key::plain("a"), large, SetOptions::default()), Err(CacheError::TooLarge));
    assert_eq!(cache.get(Key::plain("a")), Ok(Some(Bytes::from_static(b"1"))));
    let most = Bytes::from(vec![0; 900_000]);
    for _ in 0..3 {
        assert_eq!(cache.set(Key::plain("c"), most.clone(), SetOptions::default()), Ok(true));
    }
}

#[test]
fn what_is_read_survives_a_flood_of_what_is_not() {
    let cache = Embedded::new(4 << 20, Clock::manual(NOW_MS));
    let value = Bytes::from(vec![0; 500]);
    let hot: Vec<String> = (0..500).map(|number| format!("hot{number}")).collect();
    for name in &hot {
        cache.set(Key::plain(name), value.clone(), SetOptions::default()).unwrap();
        for _ in 0..2 {
            cache.get(Key::plain(name)).unwrap();
        }
    }
    for number in 0..50_000 {
        cache.set(Key::plain(&format!("once{number}")), value.clone(), SetOptions::default()).unwrap();
    }
    let left = hot.iter().filter(|name| cache.get(Key::plain(name)).unwrap().is_some()).count();
    assert_eq!(left, hot.len());
}

fn time_to_invalidate(cache: &Embedded, namespace: &str) -> Duration {
    let begin = monotonic_now();
    cache.invalidate(namespace).unwrap();
    begin.elapsed()
}

#[test]
fn a_namespace_of_a_million_keys_is_gone_at_once_and_its_memory_soon() {
    let cache = Embedded::new(1 << 30, Clock::manual(NOW_MS));
    let empty = cache.stats().bytes;
    for number in 0..1_000_000 {
        cache.set(Key::of("big", &number.to_string()), Bytes::from_static(b"1"), SetOptions::default()).unwrap();
    }
    for key in [Key::plain("other"), Key::of("small", "1")] {
        cache.set(key, Bytes::from_static(b"1"), SetOptions::default()).unwrap();
    }
    assert_eq!((cache.stats().entries, cache.stats().evictions), (1_000_002, 0));
    let entries = cache.stats().entries;
    let (big, small) = (time_to_invalidate(&cache, "big"), time_to_invalidate(&cache, "small"));
    eprintln!("to invalidate 1 M keys: {big:?}, one key: {small:?}");
    assert!(big < 50 * small.max(Duration::from_micros(200)), "1 M keys: {big:?}, one key: {small:?}");
    assert_eq!(cache.stats().entries, entries, "invalidation visits no entry");
    assert!((0..1_000_000).step_by(997).all(|number| cache.get(Key::of("big", &number.to_string())) == Ok(None)));
    assert_eq!(super::scan_all(&cache, "big", "*"), Vec::<String>::new());
    let name = |number: u64| Key::of("big", if number.is_multiple_of(2) { "even" } else { "odd" });
    (0..16).for_each(|number| assert_eq!(cache.incrby(name(number), 1), Ok(number as i64 / 2 + 1)));
    assert!(cache.sweep(usize::MAX) > 990_000);
    assert_eq!(cache.stats().entries, 3, "even, odd and other");
    assert_eq!(cache.del(vec![name(0), name(1), Key::plain("other")]), Ok(3));
    assert_eq!(cache.stats().bytes, empty);
}

#[test]
fn an_invalidation_holds_for_all_threads_when_it_returns() {
    let cache = Embedded::new(16 << 20, Clock::manual(NOW_MS));
    let key = Key::of("space", "n");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| (0..20_000).for_each(|_| assert!(cache.incrby(key, 1).is_ok())));
        }
        scope.spawn(|| {
            for round in 0..2_000 {
                let own = Key::of("mine", "x");
                cache.set(own, Bytes::from(round.to_string()), SetOptions::default()).unwrap();
                cache.invalidate("mine").unwrap();
                assert_eq!(cache.get(own), Ok(None));
            }
        });
    });
    assert_eq!(cache.incrby(key, 0), Ok(60_000));
}
