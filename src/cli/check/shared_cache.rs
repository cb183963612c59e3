//! Checks the Redis server to which nova copies lists.

use crate::cache::{CacheError, Redis};
use crate::clock::Clock;

use super::finding::Finding;

/// The oldest major version of Redis with which nova is tested.
const MAJOR_MIN: u32 = 7;
/// The size of the memory cache for an unreachable Redis. The check of Redis stores no values, so the memory cache is
/// small.
const STAND_IN_MAX_BYTES: usize = 1 << 20;

/// The problem of the Redis server at `url`, or `None` if the server answers and is new enough.
pub(super) fn finding(url: &str) -> Option<Finding> {
    told(Redis::new(url, STAND_IN_MAX_BYTES, Clock::System).and_then(|redis| redis.version()))
}

fn told(version: Result<String, CacheError>) -> Option<Finding> {
    let version = match version {
        Ok(version) => version,
        Err(error) => {
            let remedy = "start Redis, or correct cache.redis_url, its user and password; nova serves without it";
            return Some(Finding::unreachable("cache.redis_url", &error.to_string(), remedy));
        }
    };
    let major: Option<u32> = version.split('.').next().and_then(|major| major.parse().ok());
    match major {
        Some(MAJOR_MIN..) => None,
        _ => {
            let detail = format!("cache.redis_url is Redis {version}: nova is tested with {MAJOR_MIN}.0 and newer");
            Some(Finding::new("redis-old", detail, "run a newer Redis or Valkey"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redis_that_does_not_answer_or_is_old_is_found() {
        assert_eq!(told(Ok("7.0.15".to_owned())), None);
        assert_eq!(told(Ok("8.2.1".to_owned())), None);
        for old in ["6.2.7", "x", ""] {
            assert_eq!(told(Ok(old.to_owned())).unwrap().code, "redis-old", "{old}");
        }
        let found = finding("redis://127.0.0.1:1/").unwrap();
        assert!(found.code == "unreachable" && found.detail.starts_with("cache.redis_url"), "{found:?}");
    }
}
