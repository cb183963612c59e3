//! Keeps sorted sequences in blocks. An insertion moves only the entries of one block, however long the sequence is.
//! Most sequences are one block, and need no more memory than the block itself. A sequence of several blocks is a tree
//! of two levels. Copies of a sequence share the lower nodes of the tree until one copy changes them.

use std::fmt::Debug;
use std::sync::Arc;

use super::chunks::{ALLOCATED_BYTES, ARC_BYTES};

/// The maximum number of blocks in one node.
const NODE_MAX_BLOCKS: usize = 64;

/// A block has adjacent entries of a sorted sequence.
pub(super) trait Block: Clone + Debug + Default {
    type Key: Copy + Debug + Ord;
    /// The number of entries at which a block is cut in two.
    const MAX: usize;
    fn len(&self) -> usize;
    fn first(&self) -> Option<Self::Key>;
    /// Keeps the lower half of the entries and returns the upper half.
    fn split(&mut self) -> Self;
    /// Appends the entries of the block that follows.
    fn append(&mut self, next: &Self);
    /// The number of bytes that the block has allocated.
    fn mem_bytes(&self) -> usize;
}

/// The blocks of a node, each with a key. The key of a block is not above the first entry of the block, and is above
/// all entries before the block.
type Node<B> = Vec<(<B as Block>::Key, B)>;

#[derive(Clone, Debug)]
pub(super) enum Blocks<B: Block> {
    One(B),
    Many(Box<Many<B>>),
}

#[derive(Clone, Debug)]
pub(super) struct Many<B: Block> {
    len: usize,
    /// The nodes of the tree with their keys. No node of the tree is empty.
    nodes: Vec<(B::Key, Arc<Node<B>>)>,
}

impl<B: Block> Default for Blocks<B> {
    fn default() -> Blocks<B> {
        Blocks::One(B::default())
    }
}

/// Returns the index of the entry with the key in a list sorted by keys, or the index at which an entry with the key
/// would be inserted. A key below the first key of the list belongs to the first index.
fn place<T, K: Ord>(list: &[(K, T)], key: &K) -> usize {
    list.partition_point(|(first, _)| first <= key).saturating_sub(1)
}

impl<B: Block> Blocks<B> {
    /// Makes a sequence from full blocks, which are in order.
    pub(super) fn of(blocks: Vec<B>) -> Blocks<B> {
        let len = blocks.iter().map(B::len).sum();
        if blocks.len() <= 1 {
            return Blocks::One(blocks.into_iter().next().unwrap_or_default());
        }
        let mut nodes: Vec<(B::Key, Arc<Node<B>>)> = Vec::new();
        let mut node = Vec::new();
        for block in blocks {
            let Some(first) = block.first() else { continue };
            node.push((first, block));
            if node.len() == NODE_MAX_BLOCKS / 2 {
                nodes.extend(Self::node(std::mem::take(&mut node)));
            }
        }
        nodes.extend(Self::node(node));
        Blocks::Many(Box::new(Many { len, nodes }))
    }

    fn node(blocks: Node<B>) -> Option<(B::Key, Arc<Node<B>>)> {
        blocks.first().map(|(first, _)| *first).map(|first| (first, Arc::new(blocks)))
    }

    /// The number of entries in the sequence.
    pub(super) fn len(&self) -> usize {
        match self {
            Blocks::One(block) => block.len(),
            Blocks::Many(many) => many.len,
        }
    }

    /// Returns the block that has an entry with the key, if there is such a block.
    pub(super) fn find(&self, key: B::Key) -> Option<&B> {
        match self {
            Blocks::One(block) => Some(block),
            Blocks::Many(many) => {
                let (_, node) = many.nodes.get(place(&many.nodes, &key))?;
                node.get(place(node, &key)).map(|(_, block)| block)
            }
        }
    }

    /// Returns every block of the sequence, in order.
    pub(super) fn iter(&self) -> Span<'_, B> {
        match self {
            Blocks::One(block) => Span { first: Some(block), blocks: [].iter(), nodes: [].iter() },
            Blocks::Many(many) => Span { first: None, blocks: [].iter(), nodes: many.nodes.iter() },
        }
    }

    /// Returns the blocks of the sequence in order, beginning with the block to which the key belongs.
    pub(super) fn from(&self, key: B::Key) -> Span<'_, B> {
        let Blocks::Many(many) = self else { return self.iter() };
        let mut nodes = many.nodes[place(&many.nodes, &key)..].iter();
        let blocks = nodes.next().map_or([].iter(), |(_, node)| node[place(node, &key)..].iter());
        Span { first: None, blocks, nodes }
    }

    pub(super) fn last(&self) -> Option<&B> {
        match self {
            Blocks::One(block) => Some(block),
            Blocks::Many(many) => many.nodes.last()?.1.last().map(|(_, block)| block),
        }
    }

    /// Changes a few entries of the block to which the key belongs.
    pub(super) fn change<R>(&mut self, key: B::Key, change: impl FnOnce(&mut B) -> R) -> R {
        match self {
            Blocks::One(block) => {
                let changed = change(block);
                if block.len() > B::MAX {
                    let upper = block.split();
                    *self = Blocks::of(vec![std::mem::take(block), upper]);
                }
                changed
            }
            Blocks::Many(many) => {
                let changed = many.change(key, change);
                // The tree does not become one block as soon as its entries fit into one, because the next insertion
                // would cut that block again.
                if many.len <= B::MAX / 2 {
                    let mut whole = B::default();
                    self.iter().for_each(|block| whole.append(block));
                    *self = Blocks::One(whole);
                }
                changed
            }
        }
    }

    pub(super) fn mem_bytes(&self) -> usize {
        let blocks: usize = self.iter().map(B::mem_bytes).sum();
        let Blocks::Many(many) = self else { return blocks };
        let node = |node: &Node<B>| {
            node.capacity() * size_of::<(B::Key, B)>() + size_of::<Node<B>>() + ARC_BYTES + 2 * ALLOCATED_BYTES
        };
        let nodes: usize = many.nodes.iter().map(|(_, blocks)| node(blocks)).sum();
        let heads = many.nodes.capacity() * size_of::<(B::Key, Arc<Node<B>>)>() + size_of::<Many<B>>();
        blocks + nodes + heads + 2 * ALLOCATED_BYTES
    }
}

/// Adjacent blocks.
#[derive(Clone, Debug)]
pub(super) struct Span<'a, B: Block> {
    first: Option<&'a B>,
    blocks: std::slice::Iter<'a, (B::Key, B)>,
    nodes: std::slice::Iter<'a, (B::Key, Arc<Node<B>>)>,
}

impl<'a, B: Block> Iterator for Span<'a, B> {
    type Item = &'a B;

    #[inline]
    fn next(&mut self) -> Option<&'a B> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            if let Some((_, block)) = self.blocks.next() {
                return Some(block);
            }
            self.blocks = self.nodes.next()?.1.iter();
        }
    }
}

impl<B: Block> Many<B> {
    fn change<R>(&mut self, key: B::Key, change: impl FnOnce(&mut B) -> R) -> R {
        let number = place(&self.nodes, &key);
        let node = Arc::make_mut(&mut self.nodes[number].1);
        let at = place(node, &key);
        let block = &mut node[at].1;
        let before = block.len();
        let changed = change(block);
        let now = block.len();
        self.len = self.len + now - before;
        if now > B::MAX {
            let upper = block.split();
            if let Some(first) = upper.first() {
                node.insert(at + 1, (first, upper));
            }
        } else if now < before && now < B::MAX / 4 {
            shrink(node, at);
        }
        if node.len() > NODE_MAX_BLOCKS {
            let upper = node.split_off(node.len() / 2);
            if let Some(upper) = Blocks::node(upper) {
                self.nodes.insert(number + 1, upper);
            }
        } else if node.is_empty() {
            self.nodes.remove(number);
        }
        changed
    }
}

/// Handles a block with few entries: the neighbour takes the entries if it has room, and a block without entries is
/// removed.
fn shrink<B: Block>(node: &mut Node<B>, at: usize) {
    let lower = if at + 1 < node.len() { at } else { at.saturating_sub(1) };
    if node[at].1.len() == 0 {
        node.remove(at);
    } else if lower + 1 < node.len() && node[lower].1.len() + node[lower + 1].1.len() <= B::MAX / 2 {
        let (_, upper) = node.remove(lower + 1);
        node[lower].1.append(&upper);
    }
}

/// An entry of a sorted list.
pub(super) trait Item: Copy + Debug + Ord {
    /// Returns the lowest entry that is equal to this entry in the order of keys. nova finds a block by this lowest
    /// entry.
    fn key(self) -> Self {
        self
    }
}

impl<T: Item> Block for Vec<T> {
    type Key = T;
    const MAX: usize = 512;

    fn len(&self) -> usize {
        self.len()
    }

    fn first(&self) -> Option<T> {
        <[T]>::first(self).map(|entry| entry.key())
    }

    fn split(&mut self) -> Vec<T> {
        let upper = self[self.len() / 2..].to_vec();
        self.truncate(self.len() / 2);
        self.shrink_to_fit();
        upper
    }

    fn append(&mut self, next: &Vec<T>) {
        self.extend_from_slice(next);
    }

    fn mem_bytes(&self) -> usize {
        super::chunks::allocated(self)
    }
}

impl<T: Item> Blocks<Vec<T>> {
    /// Makes a sequence from sorted entries.
    pub(super) fn sorted(entries: &[T]) -> Blocks<Vec<T>> {
        debug_assert!(entries.is_sorted());
        let part =
            if entries.len() <= <Vec<T> as Block>::MAX { entries.len().max(1) } else { <Vec<T> as Block>::MAX * 3 / 4 };
        Blocks::of(entries.chunks(part).map(<[T]>::to_vec).collect())
    }

    pub(super) fn entries(&self) -> Entries<'_, T> {
        Entries { front: [].iter(), rest: self.iter() }
    }

    /// Returns the entries that are not below `from`, in order.
    pub(super) fn entries_from(&self, from: T) -> Entries<'_, T> {
        let mut rest = self.from(from);
        // The entries of every block after the first one are above `from`.
        let front = rest.next().map_or([].iter(), |block| block[block.partition_point(|entry| *entry < from)..].iter());
        Entries { front, rest }
    }

    pub(super) fn insert(&mut self, entry: T) {
        self.change(entry.key(), |block| {
            let at = block.partition_point(|other| *other < entry);
            super::chunks::insert(block, at, entry);
        });
    }

    /// Removes an entry from the sequence, if the entry exists.
    pub(super) fn remove(&mut self, entry: T) {
        self.change(entry.key(), |block| {
            if let Ok(at) = block.binary_search(&entry) {
                block.remove(at);
                super::chunks::give_back(block);
            }
        });
    }
}

/// Iterates over the entries of a sequence, in order.
#[derive(Clone, Debug)]
pub(super) struct Entries<'a, T: Item> {
    front: std::slice::Iter<'a, T>,
    rest: Span<'a, Vec<T>>,
}

impl<T: Item> Iterator for Entries<'_, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        loop {
            if let Some(entry) = self.front.next() {
                return Some(*entry);
            }
            self.front = self.rest.next()?.iter();
        }
    }
}
