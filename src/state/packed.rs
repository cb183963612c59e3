//! Stores sorted numbers in few bytes: each number is stored as a varint of its distance from the previous number. If
//! `TIMED` is set, each number has a time. The time is stored as its distance from the block's earliest time, in the
//! largest unit that loses nothing, in as many bytes as the largest distance needs. If all times of a block are equal,
//! no distance of a time is stored.

use super::blocks::Block;
use super::chunks::{allocated, give_back};
use super::varint::{Small, replace, varint};

/// The units of times, in microseconds.
pub(super) const UNITS_US: [u64; 3] = [1, 1_000, 1_000_000];
/// The number of bytes that the block's earliest time has. The earliest time is stored after the distances of the
/// times.
const BASE_BYTES: usize = size_of::<i64>();

/// A number and its time in epoch microseconds.
pub(super) type Entry = (u32, i64);

#[derive(Clone, Debug, Default)]
pub(super) struct Packed<const TIMED: bool> {
    /// The bytes of the block: the distances of the numbers, the distances of the times, and the earliest time.
    bytes: Vec<u8>,
    len: u16,
    /// The number of bytes that the distance of one time has.
    width: u8,
    /// The index of the block's unit in [`UNITS_US`].
    unit: u8,
}

/// The place in a block where a number is, or where it would be inserted.
struct Place {
    index: usize,
    /// The range of bytes that hold the distance of the number at this place.
    at: std::ops::Range<usize>,
    /// The previous number of the block, from which the distance at this place is counted.
    floor: u64,
    /// The number at this place: the first number of the block that is not below the caller's number.
    number: Option<u32>,
}

impl<const TIMED: bool> Packed<TIMED> {
    /// Makes a block from at most [`Block::MAX`] sorted entries.
    pub(super) fn of(entries: &[Entry]) -> Packed<TIMED> {
        let mut block = Packed { bytes: Vec::new(), len: entries.len() as u16, width: 0, unit: 0 };
        let mut bytes = Vec::with_capacity(entries.len() * 3 + BASE_BYTES);
        let mut floor = 0;
        for (number, _) in entries {
            let mut small = Small::default();
            small.put(u64::from(*number) - floor);
            bytes.extend_from_slice(small.as_slice());
            floor = u64::from(*number) + 1;
        }
        block.bytes = bytes;
        if TIMED && !entries.is_empty() {
            block.put_times(entries.iter().map(|(_, since_us)| *since_us));
        }
        block.bytes.shrink_to_fit();
        block
    }

    /// Writes the times after the distances of the numbers.
    fn put_times(&mut self, times: impl Iterator<Item = i64> + Clone) {
        let base_us = times.clone().min().unwrap_or_default();
        let after = |time: i64| time.wrapping_sub(base_us) as u64;
        let whole = |unit: u64| times.clone().all(|time| after(time).is_multiple_of(unit));
        let unit = (0..UNITS_US.len()).rev().find(|unit| whole(UNITS_US[*unit])).unwrap_or_default();
        let most = times.clone().map(|time| after(time) / UNITS_US[unit]).max().unwrap_or_default();
        self.unit = unit as u8;
        self.width = (u64::BITS - most.leading_zeros()).div_ceil(8) as u8;
        for time in times {
            let value = after(time) / UNITS_US[unit];
            self.bytes.extend_from_slice(&value.to_le_bytes()[..self.width.into()]);
        }
        self.bytes.extend_from_slice(&base_us.to_le_bytes());
    }

    /// Returns the position in the bytes at which the times begin.
    fn times_at(&self) -> usize {
        if !TIMED || self.len == 0 {
            return self.bytes.len();
        }
        self.bytes.len().saturating_sub(BASE_BYTES + usize::from(self.len) * usize::from(self.width))
    }

    fn base_us(&self) -> i64 {
        self.bytes.last_chunk().map_or(0, |base| i64::from_le_bytes(*base))
    }

    /// Returns the number with which a time is stored in this block, or `None` if the block's unit and width do not fit
    /// the time.
    fn code(&self, since_us: i64) -> Option<u64> {
        let (base_us, unit) = (self.base_us(), UNITS_US[usize::from(self.unit)]);
        let after = since_us.wrapping_sub(base_us) as u64;
        let fits = since_us >= base_us && after.is_multiple_of(unit);
        let value = after / unit;
        (fits && (self.width >= 8 || value >> (8 * self.width) == 0)).then_some(value)
    }

    fn seek(&self, target: u32) -> Place {
        let (mut end, mut floor) = (0, 0);
        for index in 0..usize::from(self.len) {
            let start = end;
            let number = floor + varint(&self.bytes, &mut end);
            if number >= u64::from(target) {
                return Place { index, at: start..end, floor, number: Some(number as u32) };
            }
            floor = number + 1;
        }
        Place { index: self.len.into(), at: end..end, floor, number: None }
    }

    pub(super) fn contains(&self, number: u32) -> bool {
        self.seek(number).number == Some(number)
    }

    /// Returns the time of a number that is in the block.
    pub(super) fn time(&self, number: u32) -> Option<i64> {
        let place = self.seek(number);
        (place.number == Some(number)).then(|| self.entries_at(place.index).1)
    }

    /// Returns the index of the first byte and the time of the entry that has this index.
    fn entries_at(&self, index: usize) -> (usize, i64) {
        let width = usize::from(self.width);
        let at = self.times_at() + index * width;
        let mut value = [0; 8];
        if let Some(bytes) = self.bytes.get(at..at + width) {
            value[..width].copy_from_slice(bytes);
        }
        let after = u64::from_le_bytes(value).wrapping_mul(UNITS_US[usize::from(self.unit)]);
        (at, self.base_us().wrapping_add(after as i64))
    }

    /// Inserts a number into the block. Returns false if the number is already in the block.
    pub(super) fn insert(&mut self, number: u32, since_us: i64) -> bool {
        let place = self.seek(number);
        if place.number == Some(number) {
            return false;
        }
        if TIMED && (self.len == 0 || self.code(since_us).is_none()) {
            let mut entries: Vec<Entry> = self.iter().collect();
            entries.insert(place.index, (number, since_us));
            *self = Packed::of(&entries);
            return true;
        }
        if let Some(value) = self.code(since_us).filter(|_| TIMED) {
            let at = self.times_at() + place.index * usize::from(self.width);
            replace(&mut self.bytes, at..at, &value.to_le_bytes()[..self.width.into()]);
        }
        let mut distances = Small::default();
        distances.put(u64::from(number) - place.floor);
        if let Some(next) = place.number {
            distances.put(u64::from(next - number - 1));
        }
        replace(&mut self.bytes, place.at, distances.as_slice());
        self.len += 1;
        true
    }

    /// Removes a number from the block. Returns false if the number is not in the block.
    pub(super) fn remove(&mut self, number: u32) -> bool {
        let place = self.seek(number);
        if place.number != Some(number) {
            return false;
        }
        if self.len == 1 {
            *self = Packed::default();
            return true;
        }
        if TIMED {
            let (at, _) = self.entries_at(place.index);
            replace(&mut self.bytes, at..at + usize::from(self.width), &[]);
        }
        let (mut end, mut distance) = (place.at.end, Small::default());
        if place.index + 1 < usize::from(self.len) {
            let next = u64::from(number) + 1 + varint(&self.bytes, &mut end);
            distance.put(next - place.floor);
        }
        replace(&mut self.bytes, place.at.start..end, distance.as_slice());
        self.len -= 1;
        give_back(&mut self.bytes);
        true
    }

    /// Changes the time of a number that is in the block.
    pub(super) fn set_time(&mut self, number: u32, since_us: i64) {
        let place = self.seek(number);
        if place.number != Some(number) {
            return;
        }
        match self.code(since_us) {
            Some(value) => {
                let (at, _) = self.entries_at(place.index);
                let width = usize::from(self.width);
                self.bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
            }
            None => {
                let mut entries: Vec<Entry> = self.iter().collect();
                entries[place.index].1 = since_us;
                *self = Packed::of(&entries);
            }
        }
    }

    /// Returns the numbers of the block, in order. The time of each entry is 0.
    pub(super) fn untimed(&self) -> Iter<'_> {
        Iter { distances: &self.bytes, left: self.len.into(), ..Iter::EMPTY }
    }

    /// Returns the entries of the block, in order. The time of each entry is 0 if the block has no times.
    pub(super) fn iter(&self) -> Iter<'_> {
        let times = if TIMED { &self.bytes[self.times_at()..] } else { &[] };
        Iter {
            distances: &self.bytes,
            at: 0,
            floor: 0,
            left: self.len.into(),
            times,
            width: self.width.into(),
            unit_us: UNITS_US[usize::from(self.unit)],
            base_us: if TIMED { self.base_us() } else { 0 },
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Iter<'a> {
    distances: &'a [u8],
    at: usize,
    floor: u64,
    left: usize,
    times: &'a [u8],
    width: usize,
    unit_us: u64,
    base_us: i64,
}

impl Iterator for Iter<'_> {
    type Item = Entry;

    #[inline]
    fn next(&mut self) -> Option<Entry> {
        self.left = self.left.checked_sub(1)?;
        let number = self.floor + varint(self.distances, &mut self.at);
        self.floor = number + 1;
        if self.width == 0 {
            return Some((number as u32, self.base_us));
        }
        let mut value = [0; 8];
        if let Some((time, rest)) = self.times.split_at_checked(self.width) {
            value[..self.width].copy_from_slice(time);
            self.times = rest;
        }
        let after = u64::from_le_bytes(value).wrapping_mul(self.unit_us);
        Some((number as u32, self.base_us.wrapping_add(after as i64)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl Iter<'_> {
    pub(super) const EMPTY: Iter<'static> =
        Iter { distances: &[], at: 0, floor: 0, left: 0, times: &[], width: 0, unit_us: 1, base_us: 0 };
}

impl<const TIMED: bool> Block for Packed<TIMED> {
    type Key = u32;
    const MAX: usize = 128;

    fn len(&self) -> usize {
        self.len.into()
    }

    fn first(&self) -> Option<u32> {
        self.iter().next().map(|(number, _)| number)
    }

    fn split(&mut self) -> Self {
        let entries: Vec<Entry> = self.iter().collect();
        let (lower, upper) = entries.split_at(entries.len() / 2);
        *self = Packed::of(lower);
        Packed::of(upper)
    }

    fn append(&mut self, next: &Self) {
        let entries: Vec<Entry> = self.iter().chain(next.iter()).collect();
        *self = Packed::of(&entries);
    }

    fn mem_bytes(&self) -> usize {
        allocated(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::blocks::Blocks;
    use super::*;
    use proptest::prelude::*;

    /// Makes times of three kinds: equal times, whole seconds, and any times.
    fn time() -> impl Strategy<Value = i64> {
        prop_oneof![4 => Just(7i64), 4 => (0i64..1_000).prop_map(|s| s * 1_000_000), 2 => 0i64..1_000_000, 1 => any::<i64>()]
    }

    fn number() -> impl Strategy<Value = u32> {
        prop_oneof![6 => 0u32..2_000, 2 => 0u32..2_000_000, 1 => any::<u32>()]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// After any insertions, changes and removals, in one block or in many, the list equals a map.
        #[test]
        fn a_packed_list_is_what_a_map_is(
            first in proptest::collection::btree_map(number(), time(), 0..1_000),
            steps in proptest::collection::vec((0u8..4, number(), time()), 0..1_500),
        ) {
            let mut naive: BTreeMap<u32, i64> = first;
            let start: Vec<Entry> = naive.iter().map(|(number, time)| (*number, *time)).collect();
            let mut timed = Blocks::<Packed<true>>::packed(&start);
            let mut plain = Blocks::<Packed<false>>::packed(&start);
            for (step, number, time) in steps {
                // Half of the numbers that the test removes are in the list.
                let there = naive.range(number..).next().map_or(number, |(number, _)| *number);
                match step {
                    0 | 1 => {
                        let new = !naive.contains_key(&number);
                        prop_assert_eq!(timed.change(number, |block| block.insert(number, time)), new);
                        prop_assert_eq!(plain.change(number, |block| block.insert(number, 0)), new);
                        naive.entry(number).or_insert(time);
                    }
                    2 => {
                        let gone = naive.remove(&there).is_some();
                        prop_assert_eq!(timed.change(there, |block| block.remove(there)), gone);
                        prop_assert_eq!(plain.change(there, |block| block.remove(there)), gone);
                    }
                    _ => {
                        timed.change(there, |block| block.set_time(there, time));
                        naive.entry(there).and_modify(|known| *known = time);
                    }
                }
                prop_assert_eq!(timed.time(there), naive.get(&there).copied());
                prop_assert_eq!(plain.contains(number), naive.contains_key(&number));
            }
            prop_assert_eq!((timed.len(), plain.len()), (naive.len(), naive.len()));
            prop_assert!(timed.numbers().eq(naive.iter().map(|(number, time)| (*number, *time))));
            prop_assert!(plain.numbers().map(|(number, _)| number).eq(naive.keys().copied()));
        }
    }

    #[test]
    fn a_time_that_all_share_takes_no_byte_and_a_second_takes_one() {
        let block = |step: i64| {
            Packed::<true>::of(&(0..100).map(|n| (n, 1_794_000_000_000_000 + i64::from(n) * step)).collect::<Vec<_>>())
        };
        assert_eq!(block(0).bytes.len(), 100 + BASE_BYTES);
        assert_eq!(block(1_000_000).bytes.len(), 200 + BASE_BYTES);
    }
}
