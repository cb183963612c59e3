//! A cache of tokens whose signature was checked, so that the next use of a token costs only a look-up. The owner of
//! the cache checks conditions that can change (time, revocation, the set of keys) at every use of a token.
//!
//! The cache finds a token by a fast hash with a secret seed, and then compares the whole token. If two tokens have the
//! same hash, the newer token displaces the older token, and the cache never confuses the two tokens.

use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::verified::Verified;

/// The most tokens in one generation of the cache. Two generations together have at most twice this number of tokens. A
/// token takes about 400 bytes in addition to its text.
pub(super) const GENERATION_MAX_TOKENS: usize = 16_384;
/// The most bytes of the tokens' text in one generation.
const GENERATION_MAX_BYTES: usize = GENERATION_MAX_TOKENS * 512;

/// A cache with two generations of tokens. When the young generation is full, it becomes the old generation, and nova
/// drops the previous old generation.
pub(super) struct TokenCache {
    seed: u64,
    generations: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    young: Generation,
    old: Generation,
}

#[derive(Default)]
struct Generation {
    tokens: FxHashMap<u64, Known>,
    text_bytes: usize,
}

struct Known {
    token: Box<str>,
    verified: Arc<Verified>,
}

impl TokenCache {
    /// Makes a cache with a secret seed.
    pub fn new(seed: u64) -> TokenCache {
        TokenCache { seed, generations: Mutex::default() }
    }

    pub fn get(&self, token: &str) -> Option<Arc<Verified>> {
        let hash = self.hash(token);
        let mut all = self.generations.lock();
        if let Some(known) = all.young.tokens.get(&hash) {
            return (*known.token == *token).then(|| Arc::clone(&known.verified));
        }
        let known = all.old.take(hash).filter(|known| *known.token == *token)?;
        let verified = Arc::clone(&known.verified);
        all.put(hash, known);
        Some(verified)
    }

    pub fn put(&self, token: &str, verified: Arc<Verified>) {
        let known = Known { token: token.into(), verified };
        self.generations.lock().put(self.hash(token), known);
    }

    fn hash(&self, token: &str) -> u64 {
        xxh3_64_with_seed(token.as_bytes(), self.seed)
    }
}

impl Generations {
    fn put(&mut self, hash: u64, known: Known) {
        if self.young.tokens.len() >= GENERATION_MAX_TOKENS || self.young.text_bytes >= GENERATION_MAX_BYTES {
            self.old = std::mem::take(&mut self.young);
        }
        // The entry of the young generation may be a different token that has the same hash as the wanted token.
        drop(self.young.take(hash));
        self.young.text_bytes += known.token.len();
        self.young.tokens.insert(hash, known);
    }
}

impl Generation {
    fn take(&mut self, hash: u64) -> Option<Known> {
        let known = self.tokens.remove(&hash)?;
        self.text_bytes -= known.token.len();
        Some(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_bounded_and_keeps_what_is_used() {
        let verified = super::super::tests::verified();
        for (length, most) in [(20, GENERATION_MAX_TOKENS), (8_192, GENERATION_MAX_BYTES / 8_192)] {
            let cache = TokenCache::new(7);
            let token = |n: usize| format!("{n:0length$}");
            for n in 0..3 * most {
                cache.put(&token(n), Arc::clone(&verified));
                assert!(cache.get(&token(0)).is_some(), "used all the time, {n}");
            }
            let all = cache.generations.lock();
            for generation in [&all.young, &all.old] {
                assert!(generation.tokens.len() <= most);
                let bytes: usize = generation.tokens.values().map(|known| known.token.len()).sum();
                assert_eq!(generation.text_bytes, bytes);
            }
        }
    }

    #[test]
    fn another_token_of_the_same_hash_is_not_taken_for_it() {
        let (cache, verified) = (TokenCache::new(7), super::super::tests::verified());
        let known = |token: &str| Known { token: token.into(), verified: Arc::clone(&verified) };
        cache.generations.lock().put(cache.hash("one"), known("other"));
        assert!(cache.get("one").is_none());
        cache.put("one", Arc::clone(&verified));
        assert!(cache.get("one").is_some());
        assert_eq!(cache.generations.lock().young.text_bytes, "one".len());
    }
}
