//! Numbered things in chunks that copies of the state share until one side changes a chunk: a copy costs one count per
//! chunk, not one per thing.

use std::sync::Arc;

/// One chunk.
#[derive(Clone, Debug)]
struct Chunk<C> {
    content: Arc<C>,
    /// What [`Chunks::now`] was when it last changed.
    changed: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Chunks<C> {
    list: Vec<Chunk<C>>,
    /// What a change is noted as: [`super::State::changes`].
    now: u64,
}

impl<C> Default for Chunks<C> {
    fn default() -> Chunks<C> {
        Chunks { list: Vec::new(), now: 0 }
    }
}

impl<C: Clone + Default> Chunks<C> {
    /// So many chunks, at least.
    pub(super) fn grow(&mut self, count: usize) {
        if self.list.len() < count {
            let changed = self.now;
            self.list.resize_with(count, || Chunk { content: Arc::default(), changed });
        }
    }

    /// From here on changes are noted as `now`.
    pub(super) fn stamp(&mut self, now: u64) {
        self.now = now;
    }

    /// The chunks that changed after so much was noted, or all, by their numbers: a share of each.
    pub(super) fn changed_after(&self, since: Option<u64>) -> impl Iterator<Item = (usize, Arc<C>)> {
        let changed = move |chunk: &Chunk<C>| since.is_none_or(|since| chunk.changed > since);
        let numbered = self.list.iter().enumerate().filter(move |(_, chunk)| changed(chunk));
        numbered.map(|(number, chunk)| (number, Arc::clone(&chunk.content)))
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn get(&self, number: usize) -> Option<&C> {
        self.list.get(number).map(|chunk| chunk.content.as_ref())
    }

    /// The chunk, to be changed; it is there.
    pub(super) fn change(&mut self, number: usize) -> &mut C {
        let chunk = &mut self.list[number];
        chunk.changed = self.now;
        Arc::make_mut(&mut chunk.content)
    }

    /// A chunk as it was read back: nothing has changed it.
    pub(super) fn put(&mut self, number: usize, content: C) {
        self.grow(number + 1);
        self.list[number].content = Arc::new(content);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &C> {
        self.list.iter().map(|chunk| chunk.content.as_ref())
    }

    /// What the chunks themselves take, without what they point to.
    pub(super) fn mem_bytes(&self) -> usize {
        self.list.capacity() * size_of::<Chunk<C>>() + self.list.len() * (size_of::<C>() + ARC_BYTES)
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
