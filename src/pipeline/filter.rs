//! A split block Bloom filter, as Apache Parquet specifies it (parquet-format, `BloomFilter.md`, after Putze, Sanders
//! and Singler, "Cache-, Hash- and Space-Efficient Bloom Filters", 2007). A key has one block of 32 bytes in which it
//! sets eight bits, so a look-up has one cache miss. With 16 bits a key, the filter answers "maybe" for about one of 1
//! 500 absent keys.

/// The number of bits that a filter has for each key.
const BITS_PER_KEY: usize = 16;
const BLOCK_BITS: usize = 256;

/// The odd multipliers that the specification names. Each multiplier picks one bit in one word of the block.
const SALT: [u32; 8] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// A hash, and the bit that the hash sets in each word of its block. A caller can ask any number of filters with one
/// probe.
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    hash: u64,
    bits: [u32; 8],
}

impl Probe {
    pub fn new(hash: u64) -> Probe {
        Probe { hash, bits: SALT.map(|salt| 1 << ((hash as u32).wrapping_mul(salt) >> 27)) }
    }
}

/// A set of 64-bit hashes that answers "no" or "maybe".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    blocks: Vec<[u32; 8]>,
}

impl Filter {
    /// Makes an empty filter for this many keys.
    pub fn with_keys(keys: usize) -> Filter {
        Filter { blocks: vec![[0; 8]; (keys * BITS_PER_KEY).div_ceil(BLOCK_BITS).max(1)] }
    }

    fn block(&self, hash: u64) -> usize {
        (((hash >> 32) * self.blocks.len() as u64) >> 32) as usize
    }

    pub fn insert(&mut self, hash: u64) {
        let at = self.block(hash);
        for (word, bit) in self.blocks[at].iter_mut().zip(Probe::new(hash).bits) {
            *word |= bit;
        }
    }

    /// Whether the filter may contain a hash. The function compares all words without a branch. So the processor need
    /// not guess which word says "no", and a caller who asks many filters waits for the memory of all of them at the
    /// same time.
    #[inline]
    pub fn may_contain(&self, probe: &Probe) -> bool {
        let block = &self.blocks[self.block(probe.hash)];
        let missing = block.iter().zip(&probe.bits).fold(0, |missing, (word, bit)| missing | (!word & bit));
        missing == 0
    }

    pub fn bytes(&self) -> usize {
        self.blocks.len() * 32
    }

    /// Writes the words in little-endian order, block by block.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.bytes());
        for word in self.blocks.iter().flatten() {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }

    /// Reads a filter that [`Filter::encode`] wrote. Returns `None` if the length is not a whole number of blocks.
    pub fn decode(bytes: &[u8]) -> Option<Filter> {
        let (chunks, rest) = bytes.as_chunks::<32>();
        if chunks.is_empty() || !rest.is_empty() {
            return None;
        }
        let blocks = chunks.iter().map(|chunk| {
            let mut block = [0; 8];
            for (word, bytes) in block.iter_mut().zip(chunk.as_chunks::<4>().0) {
                *word = u32::from_le_bytes(*bytes);
            }
            block
        });
        Some(Filter { blocks: blocks.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xxhash_rust::xxh3::xxh3_64;

    #[test]
    fn every_key_is_found_and_few_others_are() {
        let keys = 100_000u64;
        let mut filter = Filter::with_keys(keys as usize);
        for key in 0..keys {
            filter.insert(xxh3_64(&key.to_le_bytes()));
        }
        assert!((0..keys).all(|key| filter.may_contain(&Probe::new(xxh3_64(&key.to_le_bytes())))));
        let wrong =
            (keys..keys * 11).filter(|key| filter.may_contain(&Probe::new(xxh3_64(&key.to_le_bytes())))).count();
        assert!(wrong < 2_000, "{wrong} of 1 000 000 absent keys may be there");
        let mut bytes = Vec::new();
        filter.encode(&mut bytes);
        assert_eq!(bytes.len(), filter.bytes());
        assert_eq!(Filter::decode(&bytes), Some(filter));
    }

    #[test]
    fn bytes_that_are_no_filter_are_refused() {
        assert_eq!(Filter::decode(&[]), None);
        assert_eq!(Filter::decode(&[0; 33]), None);
    }
}
