//! Tokens whose signature was checked, by their hash: a second use costs a hash and a look-up. What can change since
//! (time, revocation, the set of keys) is checked at every use by the owner.

use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::Verified;

/// Tokens of one generation; at most twice as many are kept, at about 400 bytes each.
pub(super) const GENERATION_MAX_TOKENS: usize = 16_384;

/// SHA-256 of a token.
pub(super) type Digest = [u8; 32];

/// Two generations: when the young one is full it becomes the old one, and the old one goes.
#[derive(Default)]
pub(super) struct TokenCache(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: FxHashMap<Digest, Arc<Verified>>,
    old: FxHashMap<Digest, Arc<Verified>>,
}

impl TokenCache {
    pub fn get(&self, digest: &Digest) -> Option<Arc<Verified>> {
        let mut all = self.0.lock();
        if let Some(known) = all.young.get(digest) {
            return Some(Arc::clone(known));
        }
        let known = all.old.remove(digest)?;
        all.put(*digest, Arc::clone(&known));
        Some(known)
    }

    pub fn put(&self, digest: Digest, verified: Arc<Verified>) {
        self.0.lock().put(digest, verified);
    }
}

impl Generations {
    fn put(&mut self, digest: Digest, verified: Arc<Verified>) {
        if self.young.len() >= GENERATION_MAX_TOKENS {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest, verified);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_bounded_and_keeps_what_is_used() {
        let cache = TokenCache::default();
        let digest = |n: usize| {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&n.to_le_bytes());
            digest
        };
        let verified = super::super::tests::verified();
        for n in 0..5 * GENERATION_MAX_TOKENS {
            cache.put(digest(n), Arc::clone(&verified));
            assert!(cache.get(&digest(0)).is_some(), "used all the time, {n}");
        }
        let all = cache.0.lock();
        assert!(all.young.len() + all.old.len() <= 2 * GENERATION_MAX_TOKENS);
    }
}
