//! 128-bit ids as dense numbers, in the order of their first mention.

use rustc_hash::FxHashMap;

use crate::event::Id;

/// Maps, by the last byte of the id: none is large enough to stop readers when it grows.
const SHARDS: usize = 256;

#[derive(Clone, Debug)]
pub struct Ids {
    numbers: Vec<FxHashMap<Id, u32>>,
    ids: Vec<Id>,
}

impl Default for Ids {
    fn default() -> Ids {
        Ids { numbers: vec![FxHashMap::default(); SHARDS], ids: Vec::new() }
    }
}

fn shard(id: Id) -> usize {
    usize::from(id.0[15]) % SHARDS
}

impl Ids {
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(super) fn intern(&mut self, id: Id) -> u32 {
        *self.numbers[shard(id)].entry(id).or_insert_with(|| {
            self.ids.push(id);
            (self.ids.len() - 1) as u32
        })
    }

    pub fn number(&self, id: Id) -> Option<u32> {
        self.numbers[shard(id)].get(&id).copied()
    }

    /// The id of a number that this gave out.
    pub fn id(&self, number: u32) -> Id {
        self.ids[number as usize]
    }

    pub fn all(&self) -> &[Id] {
        &self.ids
    }

    pub fn mem_bytes(&self) -> usize {
        let slots: usize = self.numbers.iter().map(FxHashMap::capacity).sum();
        self.ids.capacity() * size_of::<Id>() + slots * (size_of::<(Id, u32)>() + 1)
    }
}
