//! What only some worlds have: likes that client events told, and rows dated ahead of the clock.

use std::collections::BTreeMap;

use crate::event::{Action, Id};

use super::blocks::Blocks;
use super::chunks::Chunks;
use super::packed::Packed;

/// Posts of one chunk of likes.
pub(super) const POSTS: usize = 64;
/// Chunks of dated rows, by the last byte of their keys.
pub(super) const DATED_CHUNKS: usize = 256;
/// Rows dated ahead of the clock that count at another time than their own; more count at their own.
const DATED_MAX: usize = 1 << 20;
/// What a dated row takes in a tree whose nodes are two thirds full.
const DATED_BYTES: usize = size_of::<((u8, Id), i64)>() * 3 / 2;

/// Who likes some posts.
#[derive(Clone, Debug)]
pub(super) struct Likers {
    pub(super) lists: [Blocks<Packed<false>>; POSTS],
}

impl Default for Likers {
    fn default() -> Likers {
        Likers { lists: std::array::from_fn(|_| Blocks::default()) }
    }
}

/// Likes that client events told, by post.
#[derive(Clone, Debug, Default)]
pub(super) struct Liked {
    pub(super) chunks: Chunks<Likers>,
}

impl Liked {
    /// False if it was there.
    pub(super) fn insert(&mut self, post: u32, user: u32) -> bool {
        let (chunk, at) = (post as usize / POSTS, post as usize % POSTS);
        if self.chunks.get(chunk).is_some_and(|likers| likers.lists[at].contains(user)) {
            return false;
        }
        self.chunks.grow(chunk + 1);
        self.chunks.change(chunk).lists[at].change(user, |block| block.insert(user, 0))
    }

    pub(super) fn mem_bytes(&self) -> usize {
        let lists = self.chunks.iter().flat_map(|likers| &likers.lists);
        lists.map(Blocks::mem_bytes).sum::<usize>() + self.chunks.mem_bytes()
    }
}

/// Likes and comments whose rows are dated ahead of the clock, by action and key: when they count, epoch milliseconds.
pub(super) type DatedRows = BTreeMap<(u8, Id), i64>;

#[derive(Clone, Debug, Default)]
pub(super) struct Dated {
    pub(super) chunks: Chunks<DatedRows>,
    pub(super) len: usize,
}

impl Dated {
    pub(super) fn insert(&mut self, action: Action, key: Id, at_ms: i64) {
        if self.len < DATED_MAX {
            self.chunks.grow(DATED_CHUNKS);
            let known = self.chunks.change(usize::from(key.0[15]) % DATED_CHUNKS).insert((action as u8, key), at_ms);
            self.len += usize::from(known.is_none());
        }
    }

    pub(super) fn get(&self, action: Action, key: Id) -> Option<i64> {
        self.chunks.get(usize::from(key.0[15]) % DATED_CHUNKS)?.get(&(action as u8, key)).copied()
    }

    pub(super) fn remove(&mut self, action: Action, key: Id) -> Option<i64> {
        self.get(action, key)?;
        self.len -= 1;
        self.chunks.change(usize::from(key.0[15]) % DATED_CHUNKS).remove(&(action as u8, key))
    }

    pub(super) fn mem_bytes(&self) -> usize {
        self.len * DATED_BYTES + self.chunks.mem_bytes()
    }
}
