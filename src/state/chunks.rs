//! Numbered things in chunks that copies of the state share until one side changes a chunk: a copy costs one count per
//! chunk, not one per thing.

use std::sync::Arc;

#[derive(Clone, Debug)]
pub(super) struct Chunks<C> {
    list: Vec<Arc<C>>,
}

impl<C> Default for Chunks<C> {
    fn default() -> Chunks<C> {
        Chunks { list: Vec::new() }
    }
}

impl<C: Clone + Default> Chunks<C> {
    /// So many chunks, at least.
    pub(super) fn grow(&mut self, count: usize) {
        if self.list.len() < count {
            self.list.resize_with(count, Arc::default);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn get(&self, number: usize) -> Option<&C> {
        self.list.get(number).map(Arc::as_ref)
    }

    /// The chunk, to be changed; it is there.
    pub(super) fn change(&mut self, number: usize) -> &mut C {
        Arc::make_mut(&mut self.list[number])
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &C> {
        self.list.iter().map(Arc::as_ref)
    }

    /// What the chunks themselves take, without what they point to.
    pub(super) fn mem_bytes(&self) -> usize {
        self.list.capacity() * size_of::<Arc<C>>() + self.list.len() * (size_of::<C>() + ARC_BYTES)
    }
}

/// The two counts of an [`Arc`].
pub(super) const ARC_BYTES: usize = 2 * size_of::<usize>();
/// What the allocator keeps beside each piece of memory, and what it rounds up by, on average.
pub(super) const ALLOCATED_BYTES: usize = 16;

/// Inserts into a list that has little room to spare: lists are many, and half of their memory would be unused.
pub(super) fn insert<T>(list: &mut Vec<T>, at: usize, value: T) {
    if list.len() == list.capacity() {
        list.reserve_exact((list.len() / SPARE_PART).max(1));
    }
    list.insert(at, value);
}

/// A list that is full grows by this part of its length.
pub(super) const SPARE_PART: usize = 8;
/// A list that uses less than one part in so many of its memory gives the rest back.
const USED_PART: usize = 2;

/// Gives memory back after a removal, if much is unused.
pub(super) fn give_back<T>(list: &mut Vec<T>) {
    if list.capacity() / USED_PART > list.len() + SPARE_PART {
        list.shrink_to(list.len() + list.len() / SPARE_PART);
    }
}

/// What a list has allocated.
pub(super) fn allocated<T>(list: &Vec<T>) -> usize {
    match list.capacity() * size_of::<T>() {
        0 => 0,
        bytes => bytes + ALLOCATED_BYTES,
    }
}
