//! One filter over the keys of all rows that were written since the start. A new row is nearly always absent from this
//! filter, so its look-up waits for memory a few times, and not once for each run.

use crate::pipeline::filter::{Filter, Probe};

/// The number of keys in the first layer, which needs 32 KiB.
const FIRST_KEYS: usize = 1 << 14;
/// Up to this number of keys, each layer has four times as many keys as the layer before it. Beyond this number, each
/// layer has twice as many keys as the layer before it. Small layers stay in the processor's cache, and a large layer
/// should not be much larger than its keys need.
const STEEP_KEYS: usize = 1 << 20;
/// The maximum number of keys in all layers, which need 256 MiB. When the layers have `MAX_KEYS` keys, the filter takes
/// no more keys. nova then looks for a further key in one run after the other.
const MAX_KEYS: usize = 1 << 27;

/// A filter that grows with its keys (after Almeida et al., "Scalable Bloom Filters", 2007).
#[derive(Debug)]
pub struct Known {
    /// The filters, oldest first. Only the last filter takes new keys.
    layers: Vec<Filter>,
    /// The number of keys that the last layer can still take.
    free_keys: usize,
    /// The total number of keys that the last layer can take.
    layer_keys: usize,
    keys: usize,
    /// The maximum number of keys in all layers, which is [`MAX_KEYS`] or, in tests, a lower number.
    max_keys: usize,
}

impl Default for Known {
    fn default() -> Known {
        Known::with_max(MAX_KEYS)
    }
}

impl Known {
    pub(super) fn with_max(max_keys: usize) -> Known {
        Known { layers: Vec::new(), free_keys: 0, layer_keys: 0, keys: 0, max_keys }
    }

    /// Whether a row with the key may have been written since the start. The answer "no" is certain for every key that
    /// was inserted before the filter was full. The function asks every layer without a branch, so that the processor
    /// waits for the memory of all layers at the same time.
    #[inline]
    pub fn may_contain(&self, probe: &Probe) -> bool {
        self.layers.iter().fold(false, |any, layer| any | layer.may_contain(probe))
    }

    /// Adds a key, unless the filter seems to have it already.
    pub fn insert(&mut self, hash: u64) {
        if self.may_contain(&Probe::new(hash)) {
            return;
        }
        self.keys = self.keys.saturating_add(1);
        if !self.is_complete() {
            return;
        }
        if self.free_keys == 0 {
            self.layer_keys = match self.layer_keys {
                0 => FIRST_KEYS,
                keys if keys < STEEP_KEYS => keys * 4,
                keys => keys * 2,
            };
            // A layer is not larger than the number of keys that the filter can still take.
            let left = (self.max_keys - self.keys).saturating_add(1);
            self.free_keys = self.layer_keys.min(left);
            self.layers.push(Filter::with_keys(self.free_keys));
        }
        if let Some(last) = self.layers.last_mut() {
            self.free_keys -= 1;
            last.insert(hash);
        }
    }

    /// Whether the filter has every key that was inserted.
    pub fn is_complete(&self) -> bool {
        self.keys <= self.max_keys
    }

    pub fn mem_bytes(&self) -> usize {
        self.layers.iter().map(Filter::bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xxhash_rust::xxh3::xxh3_64;

    fn hash(key: u64) -> u64 {
        xxh3_64(&key.to_le_bytes())
    }

    #[test]
    fn every_key_is_found_in_any_layer_and_few_others_are() {
        let (mut known, keys) = (Known::default(), 200_000u64);
        assert!(!known.may_contain(&Probe::new(hash(0))));
        (0..keys).for_each(|key| known.insert(hash(key)));
        assert_eq!(known.layers.len(), 3);
        assert!(known.is_complete());
        assert!((0..keys).all(|key| known.may_contain(&Probe::new(hash(key)))));
        let wrong = (keys..keys * 6).filter(|key| known.may_contain(&Probe::new(hash(*key)))).count();
        assert!(wrong < 3_000, "{wrong} of 1 000 000 absent keys may be there");
        let bytes = known.mem_bytes();
        (0..keys).for_each(|key| known.insert(hash(key)));
        assert_eq!(known.mem_bytes(), bytes, "a key is added once");
    }

    #[test]
    fn a_full_filter_says_that_it_lacks_keys_and_grows_no_more() {
        let mut known = Known::with_max(1_000);
        (0..1_000).for_each(|key| known.insert(hash(key)));
        assert!(known.is_complete());
        let bytes = known.mem_bytes();
        (1_000..100_000).for_each(|key| known.insert(hash(key)));
        assert!(!known.is_complete());
        assert_eq!(known.mem_bytes(), bytes);
        assert!((0..1_000).all(|key| known.may_contain(&Probe::new(hash(key)))));
    }
}
