//! Keeps the counts of a post by minute and action, in eight bytes for each count.

use crate::event::Action;

use super::blocks::{Blocks, Item};

/// The number of bits of a count in an entry. If a count has more bits, the minute has a second entry for the same
/// action.
const COUNT_BITS: u32 = 29;
const COUNT_BIAS: i64 = 1 << (COUNT_BITS - 1);

/// An entry of a post's minutes: a minute, an action and a count. Entries are compared by minute, then by action, then
/// by count. Deleted rows may make a count negative for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry(u64);

impl Entry {
    /// Makes an entry of a minute. Returns `None` if the count has more than [`COUNT_BITS`] bits.
    pub(super) fn new(minute: i32, action: usize, count: i64) -> Option<Entry> {
        let count = u64::try_from(count.checked_add(COUNT_BIAS)?).ok().filter(|count| *count < 1 << COUNT_BITS)?;
        Some(Entry(Entry::first(minute).0 | (action as u64 & 7) << COUNT_BITS | count))
    }

    /// The lowest possible entry of the minute.
    pub(super) fn first(minute: i32) -> Entry {
        Entry(u64::from(minute as u32 ^ 1 << 31) << 32)
    }

    /// Returns the minute and the action as one number.
    fn place(self) -> u64 {
        self.0 >> COUNT_BITS
    }

    /// Returns the minute of the entry, in minutes since the epoch.
    pub(super) fn minute(self) -> i32 {
        ((self.0 >> 32) as u32 ^ 1 << 31) as i32
    }

    /// Returns the number of the entry's [`Action`].
    pub(super) fn action(self) -> usize {
        (self.place() & 7) as usize
    }

    pub(super) fn count(self) -> i64 {
        (self.0 & ((1 << COUNT_BITS) - 1)) as i64 - COUNT_BIAS
    }
}

impl Item for Entry {
    fn key(self) -> Entry {
        Entry(self.place() << COUNT_BITS)
    }
}

pub(super) type Minutes = Blocks<Vec<Entry>>;

/// Returns the first minute of a range, limited to the minutes that an entry can hold.
fn bound(minute: i64) -> i32 {
    minute.clamp(i32::MIN.into(), i32::MAX.into()) as i32
}

impl Minutes {
    /// Adds one to the count of an action in a minute, or subtracts one.
    pub(super) fn count(&mut self, minute: i32, action: Action, sign: i32) {
        let Some(new) = Entry::new(minute, action as usize, sign.into()) else { return };
        self.change(new.key(), |block| {
            let at = match block.last() {
                // Most new entries belong to the end of the list.
                Some(last) if last.place() < new.place() => block.len(),
                _ => block.partition_point(|entry| entry.place() < new.place()),
            };
            let same = block.get(at).filter(|entry| entry.place() == new.place());
            let sum = same.and_then(|known| Entry::new(minute, action as usize, known.count() + i64::from(sign)));
            match sum {
                Some(sum) if sum.count() == 0 => {
                    block.remove(at);
                    super::chunks::give_back(block);
                }
                Some(sum) => block[at] = sum,
                None => super::chunks::insert(block, at, new),
            }
        });
    }

    pub(super) fn last_minute(&self) -> Option<i32> {
        self.last()?.last().map(|entry| entry.minute())
    }

    /// Returns the entries whose minutes are in a range of epoch minutes.
    pub(super) fn within(&self, minutes: &std::ops::Range<i64>) -> impl Iterator<Item = Entry> + use<'_> {
        let end = minutes.end;
        self.entries_from(Entry::first(bound(minutes.start))).take_while(move |entry| i64::from(entry.minute()) < end)
    }
}

/// Combines minutes before `fine` into hours, and drops minutes before `kept`.
pub(super) fn folded(minutes: &Minutes, fine: i32, kept: i32) -> Option<Minutes> {
    let first = minutes.iter().next().and_then(|block| block.first()).map(|entry| entry.minute());
    if first.is_none_or(|first| first >= fine) {
        return None;
    }
    let hour = |entry: Entry| {
        let minute = entry.minute();
        if minute < fine { minute.div_euclid(60) * 60 } else { minute }
    };
    let entries = minutes.entries().filter(|entry| entry.minute() >= kept);
    let mut list: Vec<(i32, usize, i64)> = entries.map(|entry| (hour(entry), entry.action(), entry.count())).collect();
    list.sort_by_key(|(minute, action, _)| (*minute, *action));
    let same = list.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1));
    let sums = same.map(|group| (group[0].0, group[0].1, group.iter().map(|(.., count)| count).sum()));
    Some(Minutes::sorted(&sums.flat_map(|(minute, action, sum)| entries_of(minute, action, sum)).collect::<Vec<_>>()))
}

/// Returns the entries for a count. Most counts need one entry.
pub(super) fn entries_of(minute: i32, action: usize, count: i64) -> impl Iterator<Item = Entry> {
    let mut rest = count;
    let parts = std::iter::from_fn(move || {
        let part = rest.clamp(-COUNT_BIAS, COUNT_BIAS - 1);
        rest -= part;
        (part != 0).then_some(part)
    });
    let mut list: Vec<Entry> = parts.filter_map(|part| Entry::new(minute, action, part)).collect();
    list.sort_unstable();
    list.into_iter()
}
