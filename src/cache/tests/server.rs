//! Tests with a Redis server (`NOVA_TEST_REDIS`), and tests that need no server.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::{NOW_MS, Random, Subject, embedded, scan_all};
use crate::cache::{Cache, CacheError, Key, Redis, SetOptions};
use crate::clock::Clock;

/// Deletes the keys whose names contain the test's name.
pub struct Cleaner {
    url: String,
    unique: String,
}

impl Drop for Cleaner {
    fn drop(&mut self) {
        let mut connection = redis::Client::open(self.url.as_str()).unwrap().get_connection().unwrap();
        let names: Vec<Vec<u8>> = redis::cmd("KEYS").arg(format!("*{}*", self.unique)).query(&mut connection).unwrap();
        for name in names {
            redis::cmd("UNLINK").arg(name).exec(&mut connection).unwrap();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the environment says how long a test runs, and with which server")]
fn url() -> Option<String> {
    let url = std::env::var("NOVA_TEST_REDIS").ok();
    if url.is_none() {
        writeln!(std::io::stderr(), "skipped: NOVA_TEST_REDIS is not set").unwrap();
    }
    url
}

pub fn subject() -> Option<Subject> {
    let url = url()?;
    let unique = format!("nova-test-{}", uuid::Uuid::new_v4().simple());
    Some(Subject {
        cache: Box::new(Redis::new(&url, 1 << 20, Clock::System).unwrap()),
        other: Some(Box::new(Redis::new(&url, 1 << 20, Clock::System).unwrap())),
        clock: None,
        unique: unique.clone(),
        cleaner: Some(Cleaner { url, unique }),
    })
}

/// A proxy in front of the Redis server, whose connections a test can cut. When the test cuts the proxy, the open
/// streams of the proxy close.
struct Way {
    port: u16,
    open: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<std::net::TcpStream>>>,
}

impl Way {
    fn to(server: String) -> Way {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let way = Way { port: listener.local_addr().unwrap().port(), open: Arc::default(), streams: Arc::default() };
        way.open.store(true, Ordering::SeqCst);
        let (open, streams) = (Arc::clone(&way.open), Arc::clone(&way.streams));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // The proxy registers a stream before it carries the stream's first byte, so `set` can end every open
                // stream.
                let mut known = streams.lock().unwrap();
                if !open.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(upstream) = std::net::TcpStream::connect(&server) else { continue };
                let both = [(&client, &upstream), (&upstream, &client)];
                let both = both.map(|(from, to)| (from.try_clone().unwrap(), to.try_clone().unwrap()));
                known.extend([client, upstream]);
                drop(known);
                for (from, to) in both {
                    std::thread::spawn(move || std::io::copy(&mut { from }, &mut { to }));
                }
            }
        });
        way
    }

    fn set(&self, open: bool) {
        let mut known = self.streams.lock().unwrap();
        self.open.store(open, Ordering::SeqCst);
        for stream in known.drain(..).filter(|_| !open) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

#[test]
fn a_server_that_goes_away_is_replaced_by_the_stand_in_and_invalidations_are_made_up() {
    let Some(url) = url() else { return };
    let address = url.trim_start_matches("redis://").trim_end_matches('/').to_owned();
    let way = Way::to(address);
    let clock = Clock::manual(NOW_MS);
    let unique = format!("nova-test-{}", uuid::Uuid::new_v4().simple());
    let _cleaner = Cleaner { url: url.clone(), unique: unique.clone() };
    let cache = Redis::new(&format!("redis://127.0.0.1:{}/", way.port), 1 << 20, clock.clone()).unwrap();
    let other = Redis::new(&url, 1 << 20, Clock::System).unwrap();
    let (key, space) = (Key::plain(&unique), Key::of(&unique, "x"));
    let one = Bytes::from_static(b"1");
    assert_eq!(cache.set(key, one.clone(), SetOptions::default()), Ok(true));
    assert_eq!(cache.set(space, one.clone(), SetOptions::default()), Ok(true));
    way.set(false);
    let failures = (0..3).filter(|_| matches!(cache.get(key), Err(CacheError::Unavailable(_)))).count();
    assert_eq!((failures, cache.stats().breaker_open), (2, true), "the third one opens the breaker");
    assert_eq!(cache.incrby(key, 5), Ok(5), "by the stand-in, which starts empty");
    assert_eq!(cache.invalidate(&unique), Ok(()));
    assert_eq!((cache.get(space), other.get(space)), (Ok(None), Ok(Some(one.clone()))));
    assert!(cache.stats().fallback_commands >= 3);
    way.set(true);
    assert_eq!(cache.get(key), Ok(Some(Bytes::from_static(b"5"))), "the server still rests");
    clock.set(NOW_MS + 60_000);
    assert_eq!((cache.get(space), cache.get(key)), (Ok(None), Ok(Some(one))), "the invalidation went first");
    assert_eq!((other.get(space), cache.stats().breaker_open), (Ok(None), false));
}

#[test]
fn two_readers_see_each_others_invalidations_at_once_and_old_keys_are_reclaimed() {
    let (Some(subject), Some(url)) = (subject(), url()) else { return };
    let other = Redis::new(&url, 1 << 20, Clock::System).unwrap();
    let key = Key::of(&subject.unique, "n");
    for round in 0..50 {
        let (writer, invalidator): (&dyn Cache, &dyn Cache) =
            if round % 2 == 0 { (&*subject.cache, &other) } else { (&other, &*subject.cache) };
        assert_eq!(writer.incrby(key, 1), Ok(1), "round {round}");
        assert_eq!(invalidator.incrby(key, 1), Ok(2));
        invalidator.invalidate(&subject.unique).unwrap();
        assert_eq!(writer.get(key), Ok(None));
    }
    other.incrby(key, 1).unwrap();
    let mut cursor = other.reclaim(0, 1000).unwrap();
    while cursor != 0 {
        cursor = other.reclaim(cursor, 1000).unwrap();
    }
    let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
    let pattern = format!("nova:ns:*{}*", subject.unique);
    let left: Vec<String> = redis::cmd("KEYS").arg(pattern).query(&mut connection).unwrap();
    assert_eq!((left.len(), other.get(key)), (1, Ok(Some(Bytes::from_static(b"1")))));
}

#[test]
fn without_a_server_the_stand_in_serves() {
    // The port was free a moment ago, so no server listens on the port.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let cache = Redis::new(&format!("redis://127.0.0.1:{port}/"), 1 << 20, Clock::manual(NOW_MS)).unwrap();
    let key = Key::of("space", "n");
    for _ in 0..3 {
        let _ = cache.get(key);
    }
    assert_eq!((cache.incrby(key, 1), cache.incrby(key, 1)), (Ok(1), Ok(2)));
    cache.invalidate("space").unwrap();
    assert_eq!(cache.get(key), Ok(None));
    let stats = cache.stats();
    assert_eq!((stats.breaker_open, stats.server_failures), (true, 3));
}

#[test]
fn a_server_that_answers_without_serving_is_given_a_rest() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = client.read(&mut buffer) {
                let commands = buffer[..read].iter().filter(|byte| **byte == b'*').count();
                let answers = "-LOADING Redis is loading the dataset in memory\r\n".repeat(commands);
                client.write_all(answers.as_bytes()).unwrap();
            }
        }
    });
    let cache = Redis::new(&format!("redis://127.0.0.1:{port}/"), 1 << 20, Clock::manual(NOW_MS)).unwrap();
    let key = Key::plain("n");
    for _ in 0..2 {
        assert!(matches!(cache.get(key), Err(CacheError::Unavailable(error)) if error.contains("LOADING")));
    }
    assert_eq!((cache.incrby(key, 1), cache.incrby(key, 1)), (Ok(1), Ok(2)), "by the stand-in");
    assert!(cache.stats().breaker_open);
}

#[test]
fn random_globs_match_what_redis_matches() {
    let Some(subject) = subject() else { return };
    let (local, mut random) = (embedded(), Random(3));
    let mut text =
        |letters: &[char], most: u64| -> String { (0..random.below(most + 1)).map(|_| random.pick(letters)).collect() };
    for _ in 0..60 {
        let name = text(&['a', 'b', 'c', '-', ']', '^', '*', '\\'], 5);
        for cache in [&subject.cache, &local.cache] {
            cache.set(Key::of(&subject.unique, &name), Bytes::from_static(b"1"), SetOptions::default()).unwrap();
        }
    }
    for _ in 0..1_000 {
        let pattern = text(&['a', 'b', '*', '*', '?', '[', ']', '^', '-', '\\'], 8);
        let found = [&subject.cache, &local.cache]
            .map(|cache| scan_all(&**cache, &subject.unique, &pattern).into_iter().collect::<BTreeSet<_>>());
        assert_eq!(found[0], found[1], "{pattern}");
    }
}
