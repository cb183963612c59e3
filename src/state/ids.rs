//! 128-bit ids as dense numbers, in the order of their first mention.

use rustc_hash::FxHashMap;

use crate::event::Id;

#[derive(Clone, Debug, Default)]
pub struct Ids {
    numbers: FxHashMap<Id, u32>,
    ids: Vec<Id>,
}

impl Ids {
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(super) fn intern(&mut self, id: Id) -> u32 {
        *self.numbers.entry(id).or_insert_with(|| {
            self.ids.push(id);
            (self.ids.len() - 1) as u32
        })
    }

    pub fn number(&self, id: Id) -> Option<u32> {
        self.numbers.get(&id).copied()
    }

    /// The id of a number that this gave out.
    pub fn id(&self, number: u32) -> Id {
        self.ids[number as usize]
    }

    pub fn all(&self) -> &[Id] {
        &self.ids
    }

    pub fn mem_bytes(&self) -> usize {
        self.ids.capacity() * size_of::<Id>() + self.numbers.capacity() * (size_of::<(Id, u32)>() + 1)
    }
}
