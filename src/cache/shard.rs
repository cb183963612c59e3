//! One shard of the embedded cache. A shard keeps its entries in slots and has a limit in bytes. The algorithm S3-FIFO
//! chooses the entry to evict (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023). New entries
//! go to the small queue. An entry that is read twice while it is in the small queue moves to the main queue. An entry
//! that is set again soon after its eviction from the small queue goes to the main queue at once.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashTable;

use super::error::{CacheError, Outcome};
use super::value::Value;

/// An upper bound of the bytes that an entry takes in addition to its name and value. The bound includes the slot in a
/// vector that grows by doubling, the places in the hash table and in the heap of free slots, and the tickets in a
/// queue. A queue may hold as many tickets of removed entries as of live entries.
pub(super) const SLOT_BYTES: usize = 2 * size_of::<Option<Slot>>() + 24 + 8 + 4 * size_of::<Ticket>();
/// The deadline of an entry that never expires.
pub(super) const NEVER_MS: i64 = i64::MAX;
/// The small queue has a tenth of the shard's bytes, as in the paper on S3-FIFO.
const SMALL_SHARE: usize = 10;
/// The highest count of reads that an entry keeps, as in the paper on S3-FIFO.
const MAX_USES: u8 = 3;
const PROMOTING_USES: u8 = 2;
/// For this many bytes of its limit, a shard remembers the fingerprint of one evicted entry.
const BYTES_PER_GHOST: usize = 512;
/// Each write to a shard looks at this many slots for expired entries. With four slots a write, a shard removes 1 M
/// expired entries after at most 250 k writes.
const SWEEP_PER_WRITE: usize = 4;
/// A shard cleans its queues when its tickets are more than twice its entries plus this number.
const TICKET_SLACK: usize = 64;

/// A namespace. A namespace contains the entries that were made in its current generation.
#[derive(Debug)]
pub(super) struct Namespace {
    pub id: u64,
    pub generation: AtomicU64,
}

impl Namespace {
    pub(super) fn current(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

/// The place of the entry that a command names.
pub(super) struct Place<'a> {
    pub hash: u64,
    pub namespace: &'a Arc<Namespace>,
    pub name: &'a [u8],
}

#[derive(Debug)]
pub(super) struct Slot {
    hash: u64,
    namespace: Arc<Namespace>,
    born: u64,
    name: Box<[u8]>,
    pub value: Value,
    /// The number of bytes of the entry's value, without the name.
    pub value_bytes: usize,
    pub deadline_ms: i64,
    stamp: u64,
    in_small: bool,
    uses: u8,
}

impl Slot {
    fn is_dead(&self, now_ms: i64) -> bool {
        now_ms >= self.deadline_ms || self.born != self.namespace.current()
    }

    fn bytes(&self) -> usize {
        self.name.len() + self.value_bytes
    }
}

/// A ticket is an entry's place in a queue. A ticket is void once the stamp of its slot differs from the stamp of the
/// ticket.
#[derive(Clone, Copy)]
struct Ticket {
    index: u32,
    stamp: u64,
}

#[derive(Default)]
pub(super) struct Shard {
    budget_bytes: usize,
    /// The number of bytes of all names and values in the shard; `small_bytes` is the part in the small queue.
    bytes: usize,
    small_bytes: usize,
    table: HashTable<u32>,
    slots: Vec<Option<Slot>>,
    /// Free slots. The heap returns the lowest slot first, so that the vector can shrink. The heap of free slots may
    /// also name slots that are in use or no longer exist.
    free: BinaryHeap<Reverse<u32>>,
    small: VecDeque<Ticket>,
    main: VecDeque<Ticket>,
    ghosts: Box<[u32]>,
    hand: usize,
    last_stamp: u64,
    pub hits: u64,
    pub misses: u64,
    pub evictions: u64,
}

impl Shard {
    pub(super) fn new(limit_bytes: usize) -> Shard {
        let ghosts = (limit_bytes / BYTES_PER_GHOST).max(1);
        let budget_bytes = limit_bytes.saturating_sub(ghosts * size_of::<u32>());
        Shard { budget_bytes, ghosts: vec![0; ghosts].into(), ..Shard::default() }
    }

    /// Returns the number of bytes that the shard takes now, including its fingerprints of evicted entries.
    pub(super) fn total_bytes(&self) -> usize {
        self.used_bytes() + self.ghosts.len() * size_of::<u32>()
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    fn used_bytes(&self) -> usize {
        self.bytes + self.slots.len() * SLOT_BYTES
    }

    /// Returns the slot of a live entry. `find` removes an entry that has expired.
    pub(super) fn find(&mut self, place: &Place<'_>, now_ms: i64) -> Option<u32> {
        let slots = &self.slots;
        let index = *self.table.find(place.hash, |index| {
            slots[*index as usize].as_ref().is_some_and(|slot| {
                slot.hash == place.hash && slot.namespace.id == place.namespace.id && *slot.name == *place.name
            })
        })?;
        if self.slot(index)?.is_dead(now_ms) {
            self.remove(index);
            return None;
        }
        Some(index)
    }

    /// Does the same as `find`, counts a hit or a miss, and notes the read for the choice of the entry to evict.
    pub(super) fn find_to_read(&mut self, place: &Place<'_>, now_ms: i64) -> Option<u32> {
        let found = self.find(place, now_ms);
        match found.and_then(|index| self.slot_mut(index)) {
            Some(slot) => {
                slot.uses = (slot.uses + 1).min(MAX_USES);
                self.hits += 1;
            }
            None => self.misses += 1,
        }
        found
    }

    pub(super) fn slot(&self, index: u32) -> Option<&Slot> {
        self.slots.get(index as usize)?.as_ref()
    }

    pub(super) fn slot_mut(&mut self, index: u32) -> Option<&mut Slot> {
        self.slots.get_mut(index as usize)?.as_mut()
    }

    /// Evicts entries until the shard has space for `added` more bytes of a new entry, or of the entry `keep`. The
    /// entry `keep` is not evicted.
    pub(super) fn make_room(&mut self, added: usize, keep: Option<u32>, now_ms: i64) -> Outcome<()> {
        let own = keep.and_then(|index| self.slot(index)).map_or(0, Slot::bytes);
        let added = added + if keep.is_none() { SLOT_BYTES } else { 0 };
        if own + added + SLOT_BYTES > self.budget_bytes {
            return Err(CacheError::TooLarge);
        }
        while self.used_bytes() + added > self.budget_bytes {
            if !self.evict(keep, now_ms) {
                return Err(CacheError::TooLarge);
            }
        }
        Ok(())
    }

    /// Evicts the next entry by S3-FIFO. Returns false if the shard has no entry other than `keep`.
    fn evict(&mut self, keep: Option<u32>, now_ms: i64) -> bool {
        let mut kept = false;
        loop {
            // `keep` may be the only entry of the main queue.
            let from_small = kept || self.small_bytes * SMALL_SHARE >= self.bytes || self.main.is_empty();
            let queue = if from_small && !self.small.is_empty() { &mut self.small } else { &mut self.main };
            let Some(ticket) = queue.pop_front() else { return false };
            let Some(slot) = self.slots.get_mut(ticket.index as usize).and_then(Option::as_mut) else { continue };
            if slot.stamp != ticket.stamp {
                continue;
            }
            if slot.is_dead(now_ms) {
                self.remove(ticket.index);
                return true;
            }
            let is_kept = keep == Some(ticket.index);
            let promoted = slot.in_small && slot.uses >= PROMOTING_USES;
            if is_kept || promoted || (!slot.in_small && slot.uses > 0) {
                let bytes = slot.bytes();
                slot.uses = if slot.in_small { 0 } else { slot.uses.saturating_sub(1) };
                if std::mem::take(&mut slot.in_small) {
                    self.small_bytes -= bytes;
                }
                self.main.push_back(ticket);
                if is_kept && std::mem::replace(&mut kept, true) && self.table.len() == 1 {
                    return false;
                }
                continue;
            }
            let (hash, was_small) = (slot.hash, slot.in_small);
            if was_small {
                let place = hash as usize % self.ghosts.len();
                self.ghosts[place] = fingerprint(hash);
            }
            self.remove(ticket.index);
            self.evictions += 1;
            return true;
        }
    }

    /// Adds a new entry to the shard. The caller has made space for the entry.
    pub(super) fn insert(&mut self, place: &Place<'_>, value: Value, value_bytes: usize, deadline_ms: i64) {
        let ghost = &mut self.ghosts[place.hash as usize % self.ghosts.len()];
        let in_small = *ghost != fingerprint(place.hash);
        if !in_small {
            *ghost = 0;
        }
        self.last_stamp += 1;
        let slot = Slot {
            hash: place.hash,
            namespace: Arc::clone(place.namespace),
            born: place.namespace.current(),
            name: place.name.into(),
            value,
            value_bytes,
            deadline_ms,
            stamp: self.last_stamp,
            in_small,
            uses: 0,
        };
        self.bytes += slot.bytes();
        if in_small {
            self.small_bytes += slot.bytes();
        }
        let index = self.fill(slot);
        let ticket = Ticket { index, stamp: self.last_stamp };
        if in_small {
            self.small.push_back(ticket)
        } else {
            self.main.push_back(ticket)
        }
        let slots = &self.slots;
        self.table.insert_unique(place.hash, index, |index| hash_of(slots, *index));
    }

    fn fill(&mut self, slot: Slot) -> u32 {
        while let Some(Reverse(index)) = self.free.pop() {
            if let Some(empty @ None) = self.slots.get_mut(index as usize) {
                *empty = Some(slot);
                return index;
            }
        }
        self.slots.push(Some(slot));
        (self.slots.len() - 1) as u32
    }

    /// Notes that the value in the slot `index` now takes `value_bytes`.
    pub(super) fn charge(&mut self, index: u32, value_bytes: usize) {
        let Some(slot) = self.slots.get_mut(index as usize).and_then(Option::as_mut) else { return };
        let old = std::mem::replace(&mut slot.value_bytes, value_bytes);
        self.bytes = self.bytes - old + value_bytes;
        if slot.in_small {
            self.small_bytes = self.small_bytes - old + value_bytes;
        }
    }

    pub(super) fn remove(&mut self, index: u32) {
        let Some(slot) = self.slots.get_mut(index as usize).and_then(Option::take) else { return };
        if let Ok(entry) = self.table.find_entry(slot.hash, |other| *other == index) {
            entry.remove();
        }
        self.bytes -= slot.bytes();
        if slot.in_small {
            self.small_bytes -= slot.bytes();
        }
        self.free.push(Reverse(index));
        self.shrink();
    }

    /// Frees empty slots at the end of the vector, unused memory, and tickets of removed entries.
    fn shrink(&mut self) {
        while let Some(None) = self.slots.last() {
            self.slots.pop();
        }
        let len = self.slots.len();
        if self.slots.capacity() > TICKET_SLACK && len * 2 < self.slots.capacity() {
            self.slots.shrink_to(len + len / 2);
            self.free.retain(|Reverse(index)| (*index as usize) < len);
            self.free.shrink_to(len);
            let slots = &self.slots;
            self.table.shrink_to(self.table.len() * 2, |index| hash_of(slots, *index));
        }
        if self.small.len() + self.main.len() > 2 * self.table.len() + TICKET_SLACK {
            let slots = &self.slots;
            let holds = |ticket: &Ticket| {
                slots.get(ticket.index as usize).and_then(Option::as_ref).is_some_and(|slot| slot.stamp == ticket.stamp)
            };
            for queue in [&mut self.small, &mut self.main] {
                queue.retain(holds);
                queue.shrink_to(queue.len() * 2);
            }
        }
    }

    /// Looks at the next `count` slots, removes the entries that have ended, and returns the number of removed entries.
    pub(super) fn sweep(&mut self, count: usize, now_ms: i64) -> usize {
        let before = self.table.len();
        for _ in 0..count.min(self.slots.len()) {
            self.hand = if self.hand >= self.slots.len() { 0 } else { self.hand };
            if self.slots.get(self.hand).and_then(Option::as_ref).is_some_and(|slot| slot.is_dead(now_ms)) {
                self.remove(self.hand as u32);
            }
            self.hand += 1;
        }
        before - self.table.len()
    }

    pub(super) fn sweep_after_write(&mut self, now_ms: i64) {
        self.sweep(SWEEP_PER_WRITE, now_ms);
    }

    /// Returns the number of live entries in a namespace.
    pub(super) fn count(&self, namespace: u64, now_ms: i64) -> usize {
        let live = |slot: &&Slot| slot.namespace.id == namespace && !slot.is_dead(now_ms);
        self.slots.iter().flatten().filter(live).count()
    }

    /// Returns the names of live entries in the slots `from..from + count`. The second value of the result is the first
    /// slot of the next page, if there is a next page.
    pub(super) fn scan(&self, from: usize, count: usize, namespace: u64, now_ms: i64) -> (Vec<&[u8]>, Option<usize>) {
        let end = from.saturating_add(count).min(self.slots.len());
        let slots = self.slots.get(from..end).unwrap_or_default().iter().flatten();
        let live = slots.filter(|slot| slot.namespace.id == namespace && !slot.is_dead(now_ms));
        (live.map(|slot| &*slot.name).collect(), (end < self.slots.len()).then_some(end))
    }
}

/// Returns the fingerprint of a hash. A fingerprint is never 0, because 0 marks an empty place.
fn fingerprint(hash: u64) -> u32 {
    (hash >> 32) as u32 | 1
}

fn hash_of(slots: &[Option<Slot>], index: u32) -> u64 {
    slots[index as usize].as_ref().map_or(0, |slot| slot.hash)
}
