//! 128-bit ids as dense numbers, in the order of their first mention. Each id is kept once: the tables that find a number
//! hold the numbers alone.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

use crate::event::Id;

use super::chunks::{ALLOCATED_BYTES, ARC_BYTES, Chunks, insert};

/// Tables, by some bits of the hash: none is large enough to stop readers when it grows.
const SHARDS: usize = 512;
/// Bits that a table itself does not use before it has millions of entries.
const SHARD_SHIFT: u32 = 40;
/// Ids of one chunk.
pub(super) const IDS: usize = 4_096;

#[derive(Clone, Debug)]
pub struct Ids {
    numbers: Vec<Arc<HashTable<u32>>>,
    pub(super) ids: Chunks<Vec<Id>>,
    len: usize,
}

impl Default for Ids {
    fn default() -> Ids {
        Ids { numbers: (0..SHARDS).map(|_| Arc::default()).collect(), ids: Chunks::default(), len: 0 }
    }
}

fn shard(hash: u64) -> usize {
    (hash >> SHARD_SHIFT) as usize % SHARDS
}

fn hash(id: Id) -> u64 {
    FxBuildHasher.hash_one(id)
}

/// The id of a number that was given out.
fn id_in(ids: &Chunks<Vec<Id>>, number: u32) -> Id {
    let chunk = ids.get(number as usize / IDS);
    chunk.and_then(|chunk| chunk.get(number as usize % IDS)).copied().unwrap_or(Id([0; 16]))
}

impl Ids {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn intern(&mut self, id: Id) -> u32 {
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
        number
    }

    /// The table of ids that were read back; `None` if one is there twice, or a chunk before the last is not full.
    pub(super) fn of(ids: Chunks<Vec<Id>>) -> Option<Ids> {
        let mut all = Ids { ids: Chunks::default(), ..Ids::default() };
        let len: usize = ids.iter().map(Vec::len).sum();
        let full =
            (0..ids.len()).all(|chunk| ids.get(chunk).is_some_and(|list| list.len() == IDS.min(len - chunk * IDS)));
        if !full {
            return None;
        }
        (all.ids, all.len) = (ids, len);
        for number in 0..len as u32 {
            let hashed = hash(all.id(number));
            let id = all.id(number);
            if all.number(id).is_some() {
                return None;
            }
            let table = Arc::make_mut(&mut all.numbers[shard(hashed)]);
            let ids = &all.ids;
            table.insert_unique(hashed, number, |number| hash(id_in(ids, *number)));
        }
        Some(all)
    }

    pub fn number(&self, id: Id) -> Option<u32> {
        let hashed = hash(id);
        self.numbers[shard(hashed)].find(hashed, |number| id_in(&self.ids, *number) == id).copied()
    }

    /// The id of a number that this gave out.
    pub fn id(&self, number: u32) -> Id {
        id_in(&self.ids, number)
    }

    /// Every id, in the order of the numbers.
    pub fn all(&self) -> impl Iterator<Item = Id> {
        self.ids.iter().flatten().copied()
    }

    pub fn mem_bytes(&self) -> usize {
        let table = |table: &Arc<HashTable<u32>>| table.allocation_size() + size_of::<HashTable<u32>>() + ARC_BYTES;
        let tables: usize = self.numbers.iter().map(|numbers| table(numbers) + 2 * ALLOCATED_BYTES).sum();
        let ids: usize = self.ids.iter().map(super::chunks::allocated).sum();
        tables + ids + self.ids.mem_bytes()
    }
}
