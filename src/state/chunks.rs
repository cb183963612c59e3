//! Keeps numbered things, such as users or posts, in chunks. Copies of the state share a chunk until one copy changes
//! it, so a copy costs one reference count for each chunk and not one for each thing.

use std::sync::Arc;

/// One chunk.
#[derive(Clone, Debug)]
struct Chunk<C> {
    content: Arc<C>,
    /// The value that [`Chunks::now`] had at the last change of the chunk.
    changed: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Chunks<C> {
    list: Vec<Chunk<C>>,
    /// The number that is noted at each changed chunk (see [`super::State::changes`]).
    now: u64,
}

impl<C> Default for Chunks<C> {
    fn default() -> Chunks<C> {
        Chunks { list: Vec::new(), now: 0 }
    }
}

impl<C: Clone + Default> Chunks<C> {
    /// Adds chunks until there are at least `count` chunks.
    pub(super) fn grow(&mut self, count: usize) {
        if self.list.len() < count {
            let changed = self.now;
            self.list.resize_with(count, || Chunk { content: Arc::default(), changed });
        }
    }

    /// Sets the number that is noted at every later change.
    pub(super) fn stamp(&mut self, now: u64) {
        self.now = now;
    }

    /// Returns the chunks that changed after `since`, or all chunks, with their numbers. The returned chunks are shared
    /// and not copied.
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

    /// Returns the chunk with this number, so that the caller can change it. A chunk with this number must exist.
    pub(super) fn change(&mut self, number: usize) -> &mut C {
        let chunk = &mut self.list[number];
        chunk.changed = self.now;
        Arc::make_mut(&mut chunk.content)
    }

    /// Puts a chunk that was read from the store, without noting a change.
    pub(super) fn put(&mut self, number: usize, content: Arc<C>) {
        self.grow(number + 1);
        self.list[number].content = content;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &C> {
        self.list.iter().map(|chunk| chunk.content.as_ref())
    }

    /// The number of bytes of the chunks themselves, without the data to which they point.
    pub(super) fn mem_bytes(&self) -> usize {
        self.list.capacity() * size_of::<Chunk<C>>() + self.list.len() * (size_of::<C>() + ARC_BYTES)
    }
}

/// The number of bytes that the two counts of an [`Arc`] need.
pub(super) const ARC_BYTES: usize = 2 * size_of::<usize>();
/// The average number of bytes that the allocator adds to each allocation for bookkeeping and rounding.
pub(super) const ALLOCATED_BYTES: usize = 16;

/// Inserts a value into a list that keeps little spare room. The state has many lists, and with usual growth half of
/// their memory would be unused.
pub(super) fn insert<T>(list: &mut Vec<T>, at: usize, value: T) {
    if list.len() == list.capacity() {
        list.reserve_exact((list.len() / SPARE_PART).max(1));
    }
    list.insert(at, value);
}

/// A full list grows by its length divided by this number.
pub(super) const SPARE_PART: usize = 8;
/// A list frees memory if it uses less than its memory divided by this number.
const USED_PART: usize = 2;

/// Frees memory of a list after a removal, if much of the memory is unused.
pub(super) fn give_back<T>(list: &mut Vec<T>) {
    if list.capacity() / USED_PART > list.len() + SPARE_PART {
        list.shrink_to(list.len() + list.len() / SPARE_PART);
    }
}

/// The number of bytes that a list has allocated.
pub(super) fn allocated<T>(list: &Vec<T>) -> usize {
    match list.capacity() * size_of::<T>() {
        0 => 0,
        bytes => bytes + ALLOCATED_BYTES,
    }
}
