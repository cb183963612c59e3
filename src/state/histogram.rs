//! A histogram that can be added to another histogram. The histogram has eight buckets for each power of two, so a
//! percentile is wrong by at most an eighth of its value. These are the log-linear buckets of HdrHistogram, with fixed
//! precision.

use nova_storage::codec::{CodecError, Put, Reader};

/// Each value below this number has a bucket of its own.
const LINEAR: u32 = 16;
/// The binary logarithm of the number of buckets for each power of two.
const SUB_BITS: u32 = 3;
/// The number of buckets for all `u32` values.
const BUCKETS: usize = (LINEAR + (32 - LINEAR.ilog2()) * (1 << SUB_BITS)) as usize;

/// Counts of `u32` values. The caller chooses the unit of the values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// The count of each bucket, without the empty buckets at the end.
    counts: Vec<u64>,
}

fn bucket(value: u32) -> usize {
    if value < LINEAR {
        return value as usize;
    }
    let power = value.ilog2();
    let sub = (value >> (power - SUB_BITS)) & ((1 << SUB_BITS) - 1);
    (LINEAR + (power - LINEAR.ilog2()) * (1 << SUB_BITS) + sub) as usize
}

/// Returns the largest value that belongs to a bucket.
fn upper(bucket: usize) -> u32 {
    let bucket = bucket as u32;
    if bucket < LINEAR {
        return bucket;
    }
    let (power, sub) = ((bucket - LINEAR) >> SUB_BITS, (bucket - LINEAR) & ((1 << SUB_BITS) - 1));
    let width = 1u64 << (power + LINEAR.ilog2() - SUB_BITS);
    let first = u64::from((1 << SUB_BITS) + sub) * width;
    (first + width - 1) as u32
}

impl Histogram {
    pub fn add(&mut self, value: u32) {
        let at = bucket(value);
        if self.counts.len() <= at {
            self.counts.resize(at + 1, 0);
        }
        self.counts[at] += 1;
    }

    pub fn merge(&mut self, other: &Histogram) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(sum, count)| *sum += count);
    }

    /// Returns how many values are at most `value`, to the precision of the buckets.
    pub fn up_to(&self, value: u32) -> u64 {
        self.counts.iter().take(bucket(value) + 1).sum()
    }

    /// Returns the sum of all values, in which each value counts as the upper end of its bucket.
    pub fn sum(&self) -> u64 {
        self.counts.iter().enumerate().map(|(bucket, count)| u64::from(upper(bucket)) * count).sum()
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns a percentile of all values, rounded up to the end of the percentile's bucket. `percent` is 1 to 100.
    /// Returns `None` if the histogram has no values.
    pub fn percentile(&self, percent: u64) -> Option<u32> {
        let rank = (self.count() * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        found.map(upper)
    }

    pub fn save(&self, out: &mut Vec<u8>) {
        out.put_varint(self.counts.len() as u64);
        self.counts.iter().for_each(|count| out.put_varint(*count));
    }

    /// Reads a histogram that [`Histogram::save`] wrote.
    pub fn load(what: &'static str, reader: &mut Reader<'_>) -> Result<Histogram, CodecError> {
        let len = reader.varint()?;
        if len > BUCKETS as u64 {
            return Err(CodecError::Invalid(what));
        }
        let counts = (0..len).map(|_| reader.varint()).collect::<Result<Vec<_>, _>>()?;
        match counts.last() {
            Some(0) => Err(CodecError::Invalid(what)),
            _ => Ok(Histogram { counts }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_cover_every_value_without_a_gap() {
        assert_eq!((bucket(u32::MAX), upper(BUCKETS - 1)), (BUCKETS - 1, u32::MAX));
        for at in 0..BUCKETS - 1 {
            assert_eq!((bucket(upper(at)), bucket(upper(at) + 1)), (at, at + 1));
        }
    }

    proptest! {
        #[test]
        fn a_percentile_is_off_by_at_most_an_eighth(
            mut values in proptest::collection::vec(any::<u32>().prop_map(|v| v >> (v % 32)), 1..200),
            percent in 1u64..=100,
            split in 0usize..200,
        ) {
            let (mut first, mut second) = (Histogram::default(), Histogram::default());
            for (index, value) in values.iter().enumerate() {
                if index < split { first.add(*value) } else { second.add(*value) }
            }
            first.merge(&second);
            values.sort_unstable();
            let rank = (values.len() as u64 * percent).div_ceil(100).max(1) as usize;
            let exact = u64::from(values[rank - 1]);
            let found = u64::from(first.percentile(percent).unwrap());
            prop_assert!(found >= exact && found <= exact + exact / 8, "{found} for {exact}");
        }
    }
}
