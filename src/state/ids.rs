//! Gives dense numbers to 128-bit ids, in the order of their first use. Each id is stored once, because the tables that
//! find the number of an id hold only numbers.

use std::hash::BuildHasher;
use std::marker::PhantomData;
use std::sync::Arc;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

use crate::event::Id;

use super::chunks::{ALLOCATED_BYTES, ARC_BYTES, Chunks, insert};
use super::dense::Dense;

/// The number of tables of ids. Some bits of an id's hash choose the table. No table is so large that readers have to
/// wait while it grows.
const SHARDS: usize = 512;
/// The lowest of the bits of the hash that choose a table. A table itself uses the bits that choose a table only when
/// it has millions of entries.
const SHARD_SHIFT: u32 = 40;
/// The number of ids in one chunk.
pub(super) const IDS: usize = 4_096;

/// The ids of one kind of thing with their dense numbers.
#[derive(Clone, Debug)]
pub struct Ids<N> {
    numbers: Vec<Arc<HashTable<u32>>>,
    pub(super) ids: Chunks<Vec<Id>>,
    len: usize,
    kind: PhantomData<N>,
}

impl<N> Default for Ids<N> {
    fn default() -> Ids<N> {
        let numbers = (0..SHARDS).map(|_| Arc::default()).collect();
        Ids { numbers, ids: Chunks::default(), len: 0, kind: PhantomData }
    }
}

fn shard(hash: u64) -> usize {
    (hash >> SHARD_SHIFT) as usize % SHARDS
}

fn hash(id: Id) -> u64 {
    FxBuildHasher.hash_one(id)
}

/// Returns the id of a number that was assigned.
fn id_in(ids: &Chunks<Vec<Id>>, number: u32) -> Id {
    let chunk = ids.get(number as usize / IDS);
    chunk.and_then(|chunk| chunk.get(number as usize % IDS)).copied().unwrap_or(Id([0; 16]))
}

impl<N: Dense> Ids<N> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn intern(&mut self, id: Id) -> N {
        if let Some(number) = self.number(id) {
            return number;
        }
        let number = self.len as u32;
        let chunk = self.len / IDS;
        self.ids.grow(chunk + 1);
        let list = self.ids.change(chunk);
        insert(list, self.len % IDS, id);
        self.len += 1;
        let ids = &self.ids;
        let hashed = hash(id);
        let table = Arc::make_mut(&mut self.numbers[shard(hashed)]);
        table.insert_unique(hashed, number, |number| hash(id_in(ids, *number)));
        N::of(number)
    }

    /// Makes the table for ids that were read from the store. Returns `None` if an id is repeated, or if a chunk before
    /// the last chunk is not full.
    pub(super) fn of(ids: Chunks<Vec<Id>>) -> Option<Ids<N>> {
        let mut all = Ids::<N>::default();
        let len: usize = ids.iter().map(Vec::len).sum();
        let full =
            (0..ids.len()).all(|chunk| ids.get(chunk).is_some_and(|list| list.len() == IDS.min(len - chunk * IDS)));
        if !full {
            return None;
        }
        (all.ids, all.len) = (ids, len);
        for number in 0..len as u32 {
            let id = id_in(&all.ids, number);
            let hashed = hash(id);
            if all.number(id).is_some() {
                return None;
            }
            let table = Arc::make_mut(&mut all.numbers[shard(hashed)]);
            let ids = &all.ids;
            table.insert_unique(hashed, number, |number| hash(id_in(ids, *number)));
        }
        Some(all)
    }

    pub fn number(&self, id: Id) -> Option<N> {
        let hashed = hash(id);
        self.numbers[shard(hashed)].find(hashed, |number| id_in(&self.ids, *number) == id).map(|number| N::of(*number))
    }

    /// Returns the id of a number that was assigned.
    pub fn id(&self, number: N) -> Id {
        id_in(&self.ids, number.get())
    }

    /// Returns every number that was assigned, in order.
    pub fn numbers(&self) -> impl Iterator<Item = N> + use<N> {
        (0..self.len as u32).map(N::of)
    }

    /// Returns all ids, in the order of their numbers.
    pub fn all(&self) -> impl Iterator<Item = Id> {
        self.ids.iter().flatten().copied()
    }

    /// Returns the ids of the numbers from `start` up to `end`, without `end`, as far as these numbers were assigned.
    pub fn between(&self, start: u64, end: u64) -> impl Iterator<Item = Id> {
        (start..end.min(self.len as u64)).map(move |number| id_in(&self.ids, number as u32))
    }

    pub fn mem_bytes(&self) -> usize {
        let table = |table: &Arc<HashTable<u32>>| table.allocation_size() + size_of::<HashTable<u32>>() + ARC_BYTES;
        let tables: usize = self.numbers.iter().map(|numbers| table(numbers) + 2 * ALLOCATED_BYTES).sum();
        let ids: usize = self.ids.iter().map(super::chunks::allocated).sum();
        tables + ids + self.ids.mem_bytes()
    }
}
