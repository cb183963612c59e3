//! The changed rows of one checkpoint, while nova writes them into a run, one segment at a time. Changes that come
//! after the checkpoint began are kept beside the rows of the checkpoint, because the run gets each row as it was when
//! the checkpoint began.

use nova_storage::{WriteError, WriteTxn};

use super::changed::{Changed, ENTRY_OVERHEAD_BYTES};
use super::key::Key;
use super::runs::Runs;
use super::segment::Home;

/// The maximum number of keys that are sorted at once.
const STRETCH_KEYS: usize = 4_096;

/// The changed rows of one checkpoint while nova writes them.
#[derive(Debug)]
pub struct Flush {
    /// The rows. A row that is written is removed from `rows`.
    rows: Changed,
    order: Ordered,
    home: Home,
    /// Whether the filter over all keys ([`super::known::Known`]) has every key of the run.
    known: bool,
}

impl Flush {
    pub fn new(rows: Changed, home: Home, known: bool) -> Flush {
        Flush { order: Ordered::new(rows.places().collect()), rows, home, known }
    }

    /// The rows of the checkpoint that are not written yet.
    pub fn rows(&self) -> &Changed {
        &self.rows
    }

    /// Writes one segment, which ends when it is full or has about `most_bytes` bytes. Returns the number of bytes of
    /// the segment's rows, or 0 if no row is left. Nobody may look a row up between a call of this function and the
    /// commit.
    pub fn segment(&mut self, runs: &mut Runs, write: &WriteTxn, most_bytes: u64) -> Result<u64, WriteError> {
        let (mut writer, mut bytes) = (runs.segment(write), 0);
        while bytes < most_bytes
            && let Some((key, place)) = self.order.first()
            && let Some(row) = self.rows.at(place)
        {
            if writer.is_full_for(key, row) {
                break;
            }
            writer.push(key, row)?;
            bytes += (row.len() + ENTRY_OVERHEAD_BYTES) as u64;
            self.rows.take(place);
            self.order.pop();
        }
        runs.keep(writer, self.home, self.known)?;
        Ok(bytes)
    }
}

/// Keys that are returned in order. The keys are sorted only as far as needed, because sorting a million keys at once
/// would delay commits. The algorithm is the incremental quicksort of Paredes and Navarro (2006).
#[derive(Debug)]
struct Ordered {
    /// The keys with the indexes of their rows. The last key of the list is returned next.
    keys: Vec<(Key, u32)>,
    /// The index from which on the keys are sorted.
    sorted: usize,
    /// Rising indexes that divide the keys: all keys before such an index are above all keys from the index on.
    cuts: Vec<usize>,
}

impl Ordered {
    fn new(keys: Vec<(Key, u32)>) -> Ordered {
        Ordered { sorted: keys.len(), keys, cuts: Vec::new() }
    }

    fn first(&mut self) -> Option<(Key, u32)> {
        if self.sorted == self.keys.len() {
            self.sort();
        }
        self.keys.last().copied()
    }

    fn pop(&mut self) {
        self.keys.pop();
    }

    /// Sorts the next keys, but at most [`STRETCH_KEYS`] of them.
    fn sort(&mut self) {
        let mut from = loop {
            match self.cuts.last() {
                Some(cut) if *cut == self.keys.len() => drop(self.cuts.pop()),
                cut => break cut.copied().unwrap_or(0),
            }
        };
        while self.keys.len() - from > STRETCH_KEYS {
            let half = (self.keys.len() - from) / 2;
            self.keys[from..].select_nth_unstable_by(half, |one, other| other.cmp(one));
            from += half;
            self.cuts.push(from);
        }
        self.keys[from..].sort_unstable_by(|one, other| other.cmp(one));
        self.sorted = from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Id;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]
        #[test]
        fn keys_come_in_their_order(count in 0u32..40_000, factor: u32, tables in 1u8..5) {
            let key = |number: u32| {
                ((number % u32::from(tables)) as u8, Id::from_u128(u128::from(number.wrapping_mul(factor))))
            };
            let keys: Vec<(Key, u32)> = (0..count).map(|number| (key(number), number)).collect();
            let (mut ordered, mut seen) = (Ordered::new(keys.clone()), Vec::new());
            while let Some(first) = ordered.first() {
                seen.push(first);
                ordered.pop();
            }
            let mut sorted = keys;
            sorted.sort_unstable();
            prop_assert_eq!(seen, sorted);
        }
    }
}
