//! The conformance suite: what every cache guarantees.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{Subject, embedded, redis};
use crate::cache::{
    Bound, Cache, CacheError, Command, ExpireWhen, Expiry, Key, Members, Reply, SetOptions, Ttl, When, ZAddWhen,
};

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
        // The names in this test look like globs and like the prefix of a foreign namespace.
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

#[test]
fn what_the_redis_port_needs_is_answered_by_each() {
    on_each(|cache, subject| {
        let name = |kind: &str| format!("{}:p{kind}", subject.unique);
        let (s, h, z, m) = (name("s"), name("h"), name("z"), name("m"));
        let [s, h, z, m] = [&s, &h, &z, &m].map(|name| Key::plain(name));
        let int = |value: i64| Ok(Reply::Int(value));
        let text = |value: &'static str| Ok(Reply::Bytes(b(value)));
        let scored = |list: &[(&'static str, f64)]| {
            Ok(Reply::Scored(list.iter().map(|(member, score)| (b(member), *score)).collect()))
        };
        let far_ms = 4_000_000_000_000;
        let (later, without) = (
            ExpireWhen { only_later: true, ..ExpireWhen::default() },
            ExpireWhen { only_without: true, ..ExpireWhen::default() },
        );
        let greater = ZAddWhen { only_greater: true, changed: true, ..ZAddWhen::default() };
        let present = ZAddWhen { when: When::IfPresent, ..ZAddWhen::default() };
        let (low, high) = (Bound::Excluded(1.0), Bound::Included(f64::INFINITY));
        let by_score =
            |reverse, skip, take| Command::ZRangeByScore { key: z, min: low, max: high, reverse, skip, take };
        for (command, expected) in [
            (Command::Type(s), text("none")),
            (Command::Append(s, b("ab")), int(2)),
            (Command::Append(s, b("c")), int(3)),
            (Command::StrLen(s), int(3)),
            (Command::PExpireAt(s, far_ms, later), int(0)),
            (Command::PExpireAt(s, far_ms, without), int(1)),
            (Command::PExpireAt(s, far_ms - 1, later), int(0)),
            (Command::GetEx(s, Expiry::Never), text("abc")),
            (Command::Pttl(s), int(-1)),
            (Command::HLen(s), Err(CacheError::WrongType)),
            (Command::GetDel(s), text("abc")),
            (Command::GetDel(s), Ok(Reply::Nil)),
            (Command::HSetNx(h, b("f"), b("1")), int(1)),
            (Command::HSetNx(h, b("f"), b("2")), int(0)),
            (Command::HIncrBy(h, b("f"), 4), int(5)),
            (Command::HSetNx(h, b("g"), b("x")), int(1)),
            (Command::HIncrBy(h, b("g"), 1), Err(CacheError::HashNotAnInteger)),
            (Command::HLen(h), int(2)),
            (
                Command::HMGet(h, vec![b("g"), b("no"), b("f")]),
                Ok(Reply::Values(vec![Some(b("x")), None, Some(b("5"))])),
            ),
            (Command::Type(h), text("hash")),
            (Command::SCard(m), int(0)),
            (Command::SAdd(m, vec![b("a"), b("b")]), int(2)),
            (Command::SCard(m), int(2)),
            (Command::ZAddWhen(z, ZAddWhen::default(), vec![(1.0, b("a")), (2.0, b("b")), (3.0, b("c"))]), int(3)),
            (Command::ZAddWhen(z, greater, vec![(0.0, b("a")), (2.5, b("b")), (9.0, b("d"))]), int(2)),
            (Command::ZAddWhen(z, present, vec![(5.0, b("e"))]), int(0)),
            (Command::ZCount(z, low, high), int(3)),
            (by_score(false, 1, 1), scored(&[("c", 3.0)])),
            (by_score(true, 0, usize::MAX), scored(&[("d", 9.0), ("c", 3.0), ("b", 2.5)])),
            (Command::ZRank { key: z, member: b("c"), reverse: false }, int(2)),
            (Command::ZRank { key: z, member: b("c"), reverse: true }, int(1)),
            (Command::ZRank { key: z, member: b("x"), reverse: true }, Ok(Reply::Nil)),
            (Command::ZPop { key: z, count: 1, highest: true }, scored(&[("d", 9.0)])),
            (Command::ZRemRange(z, Members::Scores(Bound::Included(2.5), high)), int(2)),
            (Command::ZRemRange(z, Members::Ranks(0, -1)), int(1)),
            (Command::ZCard(z), int(0)),
            (Command::Type(z), text("none")),
        ] {
            assert_eq!(cache.one(&command), expected, "{command:?}");
        }
        cache.del(vec![h, m]).unwrap();
    });
}

#[test]
fn names_are_bytes() {
    on_each(|cache, subject| {
        let name = [subject.unique.as_bytes(), b":\xff\0"].concat();
        let key = Key::bytes(&name);
        assert_eq!(cache.set(key, b("1"), SetOptions::default()), Ok(true));
        assert_eq!(cache.get(key), Ok(Some(b("1"))));
        let mut cursor = 0;
        loop {
            let page = cache.scan("", cursor, &[subject.unique.as_bytes(), b":\xff*"].concat(), 1_000).unwrap();
            if page.names.iter().any(|found| found[..] == name[..]) {
                break;
            }
            cursor = page.cursor;
            assert_ne!(cursor, 0, "it is not found");
        }
        assert_eq!(cache.del(vec![key]), Ok(1));
    });
}
