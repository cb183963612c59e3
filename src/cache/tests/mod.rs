//! One conformance suite and one differential test for all caches, and tests that only the embedded cache needs.

mod conformance;
mod differential;
mod embedded;
mod model;
#[cfg(feature = "redis-cache")]
mod server;

use crate::cache::{Cache, Embedded};
use crate::clock::Clock;

const NOW_MS: i64 = 1_795_000_000_000;

/// A cache under test, with a prefix of names that only this test uses.
struct Subject {
    cache: Box<dyn Cache>,
    /// A second cache with the same keys as the cache under test, as a second process would have it. The second cache
    /// is `None` if processes cannot share the cache under test.
    other: Option<Box<dyn Cache>>,
    /// The clock of the cache, if the test sets the time.
    clock: Option<Clock>,
    /// The prefix of the test's plain names and namespaces.
    unique: String,
    #[cfg(feature = "redis-cache")]
    #[expect(dead_code, reason = "deletes the test's keys at its end")]
    cleaner: Option<server::Cleaner>,
}

fn embedded() -> Subject {
    let clock = Clock::manual(NOW_MS);
    Subject {
        cache: Box::new(Embedded::new(64 << 20, clock.clone())),
        other: None,
        clock: Some(clock),
        unique: "test".to_owned(),
        #[cfg(feature = "redis-cache")]
        cleaner: None,
    }
}

#[cfg(feature = "redis-cache")]
fn redis() -> Option<Subject> {
    server::subject()
}

#[cfg(not(feature = "redis-cache"))]
fn redis() -> Option<Subject> {
    None
}

/// Returns all names that a scan finds. A name that the scan finds twice is twice in the result.
fn scan_all(cache: &dyn Cache, namespace: &str, pattern: &str) -> Vec<String> {
    let (mut all, mut cursor) = (Vec::new(), 0);
    loop {
        let page = cache.scan(namespace, cursor, pattern.as_bytes(), 1000).unwrap();
        all.extend(page.names.iter().map(|name| String::from_utf8(name.to_vec()).unwrap()));
        cursor = page.cursor;
        if cursor == 0 {
            return all;
        }
    }
}

/// The generator SplitMix64. The numbers of SplitMix64 are random enough for the test, and the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}
