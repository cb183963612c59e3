//! What every cache promises.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{Subject, embedded, redis};
use crate::cache::{Cache, CacheError, Command, Expiry, Key, Reply, SetOptions, Ttl, When};

fn on_each(check: impl Fn(&dyn Cache, &Subject)) {
    for subject in [Some(embedded()), redis()].into_iter().flatten() {
        check(&*subject.cache, &subject);
    }
}

fn b(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn names(cache: &dyn Cache, namespace: &str, pattern: &str) -> BTreeSet<String> {
    super::scan_all(cache, namespace, pattern).into_iter().collect()
}

#[test]
fn strings_are_set_by_condition_with_a_time_to_live_and_counted() {
    on_each(|cache, subject| {
        let (name, other) = (format!("{}:s", subject.unique), format!("{}:t", subject.unique));
        let key = Key::plain(&name);
        let when = |when| SetOptions { when, ..SetOptions::default() };
        assert_eq!(cache.get(key), Ok(None));
        assert_eq!(cache.set(key, b("1"), when(When::IfPresent)), Ok(false));
        assert_eq!(cache.set(key, b("1"), when(When::IfAbsent)), Ok(true));
        assert_eq!(cache.set(key, b("2"), when(When::IfAbsent)), Ok(false));
        assert_eq!(cache.set_get(key, b("5"), SetOptions::default()), Ok(Some(b("1"))));
        assert_eq!((cache.incrby(key, -7), cache.get(key)), (Ok(-2), Ok(Some(b("-2")))));
        assert_eq!(cache.pttl(key), Ok(Ttl::Forever));
        assert_eq!((cache.expire(key, 1_000_000), cache.incrby(key, 1)), (Ok(true), Ok(-1)));
        let keep = SetOptions { expiry: Expiry::Keep, ..SetOptions::default() };
        assert_eq!(cache.set(key, b("x"), keep), Ok(true));
        assert!(matches!(cache.pttl(key), Ok(Ttl::Millis(990_000..=1_000_000))));
        assert_eq!((cache.persist(key), cache.persist(key)), (Ok(true), Ok(false)));
        assert_eq!(cache.incrby(key, 1), Err(CacheError::NotAnInteger));
        assert_eq!(cache.set(key, b("9223372036854775807"), SetOptions::default()), Ok(true));
        assert_eq!(cache.incrby(key, 1), Err(CacheError::Overflow));
        assert_eq!(cache.set(key, b("x"), SetOptions::millis(0)), Err(CacheError::InvalidExpiry));
        let plain = Key::plain(&other);
        assert_eq!(cache.mget(vec![key, plain]), Ok(vec![Some(b("9223372036854775807")), None]));
        assert_eq!((cache.exists(vec![key, plain, key]), cache.del(vec![key, plain, key])), (Ok(2), Ok(1)));
        assert_eq!((cache.expire(key, 5), cache.pttl(key)), (Ok(false), Ok(Ttl::Missing)));
        assert_eq!((cache.mget(vec![]), cache.del(vec![])), (Ok(vec![]), Ok(0)));
    });
}

#[test]
fn a_key_is_gone_when_its_time_is_over() {
    on_each(|cache, subject| {
        let name = format!("{}:e", subject.unique);
        let key = Key::plain(&name);
        cache.set(key, b("1"), SetOptions::millis(20)).unwrap();
        match &subject.clock {
            Some(clock) => {
                clock.set(clock.now_ms() + 19);
                assert_eq!((cache.get(key), cache.pttl(key)), (Ok(Some(b("1"))), Ok(Ttl::Millis(1))));
                clock.set(clock.now_ms() + 1);
            }
            None => while cache.exists(vec![key]).unwrap() == 1 {},
        }
        assert_eq!((cache.get(key), cache.pttl(key)), (Ok(None), Ok(Ttl::Missing)));
        cache.set(key, b("1"), SetOptions::default()).unwrap();
        assert_eq!((cache.expire(key, 0), cache.get(key)), (Ok(true), Ok(None)));
    });
}

#[test]
fn collections_do_as_redis_does_and_types_do_not_mix() {
    on_each(|cache, subject| {
        let name = |kind: &str| format!("{}:c{kind}", subject.unique);
        let (h, s, z) = (name("h"), name("s"), name("z"));
        let (h, s, z) = (Key::plain(&h), Key::plain(&s), Key::plain(&z));
        assert_eq!(cache.hset(h, vec![(b("f"), b("1")), (b("f"), b("2")), (b("g"), b("3"))]), Ok(2));
        assert_eq!((cache.hget(h, b("f")), cache.hget(h, b("x"))), (Ok(Some(b("2"))), Ok(None)));
        assert_eq!(cache.hgetall(h), Ok(vec![(b("f"), b("2")), (b("g"), b("3"))]));
        assert_eq!(cache.sadd(s, vec![b("b"), b("a"), b("b")]), Ok(2));
        assert_eq!((cache.sismember(s, b("a")), cache.sismember(s, b("z"))), (Ok(true), Ok(false)));
        assert_eq!((cache.smembers(s), cache.srem(s, vec![b("a"), b("z")])), (Ok(vec![b("a"), b("b")]), Ok(1)));
        assert_eq!(cache.zadd(z, vec![(2.0, b("b")), (1.0, b("z")), (2.0, b("a"))]), Ok(3));
        assert_eq!((cache.zincrby(z, 0.5, b("z")), cache.zscore(z, b("q"))), (Ok(1.5), Ok(None)));
        assert_eq!(cache.zrange(z, 0, -1), Ok(vec![(b("z"), 1.5), (b("a"), 2.0), (b("b"), 2.0)]));
        assert_eq!(cache.zrevrange(z, 0, 0), Ok(vec![(b("b"), 2.0)]));
        assert_eq!((cache.zrange(z, 2, 1), cache.zrange(z, -99, 0)), (Ok(vec![]), Ok(vec![(b("z"), 1.5)])));
        assert_eq!(cache.zadd(z, vec![(f64::NAN, b("n"))]), Err(CacheError::NotAFloat));
        assert_eq!((cache.zincrby(z, f64::INFINITY, b("i")), cache.zcard(z)), (Ok(f64::INFINITY), Ok(4)));
        assert_eq!(cache.zincrby(z, f64::NEG_INFINITY, b("i")), Err(CacheError::NotANumber));
        assert_eq!(cache.get(h), Err(CacheError::WrongType));
        assert_eq!(cache.hset(s, vec![(b("f"), b("1"))]), Err(CacheError::WrongType));
        assert_eq!((cache.incrby(z, 1), cache.zcard(s)), (Err(CacheError::WrongType), Err(CacheError::WrongType)));
        assert_eq!(cache.set_get(h, b("1"), SetOptions::default()), Err(CacheError::WrongType));
        assert_eq!(cache.mget(vec![h]), Ok(vec![None]));
        assert_eq!((cache.hdel(h, vec![b("f"), b("g")]), cache.exists(vec![h])), (Ok(2), Ok(0)));
        assert_eq!(cache.zrem(z, vec![b("a"), b("b"), b("z"), b("i")]), Ok(4));
        assert_eq!((cache.exists(vec![z]), cache.set(s, b("1"), SetOptions::default())), (Ok(0), Ok(true)));
    });
}

#[test]
fn commands_in_one_run_are_done_in_order_and_fail_alone() {
    on_each(|cache, subject| {
        let name = format!("{}:r", subject.unique);
        let (plain, spaced) = (Key::plain(&name), Key::of(&subject.unique, "r"));
        let replies = cache.run(&[
            Command::IncrBy(plain, 2),
            Command::SAdd(plain, vec![b("a")]),
            Command::IncrBy(spaced, 3),
            Command::Del(vec![]),
            Command::Get(Key::plain("nova:ns:forged")),
            Command::MGet(vec![plain, spaced]),
        ]);
        assert_eq!(replies[..4], [Ok(Reply::Int(2)), Err(CacheError::WrongType), Ok(Reply::Int(3)), Ok(Reply::Int(0))]);
        assert_eq!(replies[4], Err(CacheError::InvalidKey));
        assert_eq!(replies[5], Ok(Reply::Values(vec![Some(b("2")), Some(b("3"))])));
        assert!(cache.stats().hits >= 2);
    });
}

#[test]
fn a_scan_finds_what_matches_in_its_namespace_only() {
    on_each(|cache, subject| {
        // Names that look like globs, and like another namespace's prefix.
        let space = format!("{}*[x]", subject.unique);
        let inner = format!("{}:1", subject.unique);
        let plain = format!("{}:feed:0", subject.unique);
        cache.set(Key::plain(&plain), b("1"), SetOptions::default()).unwrap();
        for number in 0..250 {
            let name = format!("feed:{number}");
            cache.set(Key::of(&space, &name), b("1"), SetOptions::default()).unwrap();
            cache.sadd(Key::of(&inner, "x"), vec![b("a")]).unwrap();
        }
        assert_eq!(names(cache, &space, "*").len(), 250);
        assert_eq!(names(cache, &space, "feed:2?"), (20..30).map(|number| format!("feed:{number}")).collect());
        assert_eq!(names(cache, &inner, "*"), BTreeSet::from(["x".to_owned()]));
        assert_eq!(names(cache, "", &format!("{}:*", subject.unique)), BTreeSet::from([plain]));
    });
}

#[test]
fn an_invalidated_namespace_is_empty_at_once_and_others_stay() {
    on_each(|cache, subject| {
        let (gone, stays) = (format!("{}-gone", subject.unique), format!("{}-stays", subject.unique));
        for namespace in [&gone, &stays] {
            cache.set(Key::of(namespace, "a"), b("1"), SetOptions::default()).unwrap();
        }
        cache.invalidate(&gone).unwrap();
        let (old, other) = (Key::of(&gone, "a"), Key::of(&stays, "a"));
        assert_eq!((cache.get(old), cache.get(other)), (Ok(None), Ok(Some(b("1")))));
        assert_eq!(names(cache, &gone, "*"), BTreeSet::new());
        assert_eq!((cache.incrby(old, 1), cache.incrby(old, 1)), (Ok(1), Ok(2)));
        assert_eq!(cache.invalidate(""), Err(CacheError::InvalidKey));
    });
}
