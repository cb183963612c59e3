//! One shard of the embedded cache: entries in slots, bounded in bytes, evicted by S3-FIFO (Yang et al., "FIFO queues
//! are all you need for cache eviction", SOSP 2023): newcomers pass a small queue, what is read twice there moves to the
//! main queue, and what was evicted from the small one and comes again goes to the main queue at once.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashTable;

use super::error::{CacheError, Outcome};
use super::value::Value;

/// Upper bound of what an entry takes beside its name and value: its slot in a vector that doubles, its place in the hash
/// table, the free heap and a queue that may hold as many tickets again for entries that are gone.
pub(super) const SLOT_BYTES: usize = 2 * size_of::<Option<Slot>>() + 24 + 8 + 4 * size_of::<Ticket>();
/// The deadline of what does not expire.
pub(super) const NEVER_MS: i64 = i64::MAX;
/// The small queue's share of the bytes: a tenth, as in the paper.
const SMALL_SHARE: usize = 10;
/// Reads that are remembered, and those that it takes to move to the main queue: as in the paper.
const MAX_USES: u8 = 3;
const PROMOTING_USES: u8 = 2;
/// A fingerprint of an evicted entry is kept per so many bytes of the shard.
const BYTES_PER_GHOST: usize = 512;
/// Slots that each write looks at for entries that ended: 1 M of them are gone after 250 k writes at most.
const SWEEP_PER_WRITE: usize = 4;
/// Tickets of entries that are gone, beyond as many as there are entries, before the queues are cleaned.
const TICKET_SLACK: usize = 64;

/// A namespace; its entries are those born in its current generation.
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

/// Which entry a command is about.
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
    /// Bytes of the value, without the name.
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

/// A place in a queue; it is void once the slot's stamp is another.
#[derive(Clone, Copy)]
struct Ticket {
    index: u32,
    stamp: u64,
}

#[derive(Default)]
pub(super) struct Shard {
    budget_bytes: usize,
    /// Bytes of names and values; of those, what the small queue holds.
    bytes: usize,
    small_bytes: usize,
    table: HashTable<u32>,
    slots: Vec<Option<Slot>>,
    /// Slots to fill, lowest first so that the vector can shrink; may name slots that are filled or gone.
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

    /// Bytes taken now, the fingerprints included.
    pub(super) fn total_bytes(&self) -> usize {
        self.used_bytes() + self.ghosts.len() * size_of::<u32>()
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    fn used_bytes(&self) -> usize {
        self.bytes + self.slots.len() * SLOT_BYTES
    }

    /// The live entry's slot; one that ended is removed.
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

    /// As `find`, counted as a hit or a miss and remembered for eviction.
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

    /// Makes room for `added` bytes of a new entry, or of the entry `keep`, which stays.
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

    /// Removes the next entry by S3-FIFO; false if there is none but `keep`.
    fn evict(&mut self, keep: Option<u32>, now_ms: i64) -> bool {
        let mut kept = false;
        loop {
            // What is kept may be all that the main queue has.
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

    /// Adds an entry that is not there; the caller has made room.
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

    /// Charges that the value of `index` takes `value_bytes` now.
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

    /// Gives back slots at the end, memory that stands empty, and tickets of entries that are gone.
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

    /// Looks at the next `count` slots and removes what ended; returns how many entries that was.
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

    /// How many live entries a namespace has.
    pub(super) fn count(&self, namespace: u64, now_ms: i64) -> usize {
        let live = |slot: &&Slot| slot.namespace.id == namespace && !slot.is_dead(now_ms);
        self.slots.iter().flatten().filter(live).count()
    }

    /// Names of live entries in slots `from..from + count`, and where to go on, if there is more.
    pub(super) fn scan(&self, from: usize, count: usize, namespace: u64, now_ms: i64) -> (Vec<&[u8]>, Option<usize>) {
        let end = from.saturating_add(count).min(self.slots.len());
        let slots = self.slots.get(from..end).unwrap_or_default().iter().flatten();
        let live = slots.filter(|slot| slot.namespace.id == namespace && !slot.is_dead(now_ms));
        (live.map(|slot| &*slot.name).collect(), (end < self.slots.len()).then_some(end))
    }
}

/// Never 0, which is an empty place.
fn fingerprint(hash: u64) -> u32 {
    (hash >> 32) as u32 | 1
}

fn hash_of(slots: &[Option<Slot>], index: u32) -> u64 {
    slots[index as usize].as_ref().map_or(0, |slot| slot.hash)
}
