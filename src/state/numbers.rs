//! Reads a sequence of packed blocks as one sorted list of numbers.

use super::blocks::{Block, Blocks, Span};
use super::chunks::ALLOCATED_BYTES;
use super::packed::{Entry, Iter, Packed};

/// The entries of all blocks of a sequence, in order.
#[derive(Clone, Debug)]
pub(super) struct Numbers<'a, const TIMED: bool> {
    front: Iter<'a>,
    rest: Span<'a, Packed<TIMED>>,
}

impl<const TIMED: bool> Iterator for Numbers<'_, TIMED> {
    type Item = Entry;

    #[inline]
    fn next(&mut self) -> Option<Entry> {
        loop {
            if let Some(entry) = self.front.next() {
                return Some(entry);
            }
            self.front = self.rest.next()?.iter();
        }
    }

    /// Reads one block at a time, so that a reader of all entries does not check at each entry whether the block has
    /// ended.
    fn fold<R, F: FnMut(R, Entry) -> R>(self, init: R, mut f: F) -> R {
        let folded = self.front.fold(init, &mut f);
        self.rest.fold(folded, |folded, block| block.iter().fold(folded, &mut f))
    }
}

impl<const TIMED: bool> Blocks<Packed<TIMED>> {
    /// Makes a sequence from sorted entries.
    pub(super) fn packed(entries: &[Entry]) -> Blocks<Packed<TIMED>> {
        let max = <Packed<TIMED> as Block>::MAX;
        let part = if entries.len() <= max { max } else { max * 3 / 4 };
        Blocks::of(entries.chunks(part).map(Packed::of).collect())
    }

    pub(super) fn contains(&self, number: u32) -> bool {
        self.find(number).is_some_and(|block| block.contains(number))
    }

    pub(super) fn time(&self, number: u32) -> Option<i64> {
        self.find(number)?.time(number)
    }

    /// Returns the numbers of all blocks, in order. The time of each entry is 0.
    pub(super) fn untimed(&self) -> impl Iterator<Item = Entry> {
        self.iter().flat_map(Packed::untimed)
    }

    pub(super) fn numbers(&self) -> Numbers<'_, TIMED> {
        let mut rest = self.iter();
        Numbers { front: rest.next().map_or(Iter::EMPTY, Packed::iter), rest }
    }
}

/// The state has many lists, and most of them are one block, so the size of this type matters.
const _: () = assert!(size_of::<Blocks<Packed<true>>>() == 32 && ALLOCATED_BYTES > 0);
