//! Keeps structures that only some installations use: likes from client events, and rows dated ahead of the clock.

use std::collections::BTreeMap;

use crate::event::{Action, Id};

use super::blocks::Blocks;
use super::chunks::Chunks;
use super::dense::{PostNo, UserNo};
use super::packed::Packed;

/// The number of posts whose likes are in one chunk.
pub(super) const POSTS: usize = 64;
/// The number of chunks of dated rows. The last byte of a row's key chooses its chunk.
pub(super) const DATED_CHUNKS: usize = 256;
/// The maximum number of rows dated ahead of the clock that count at another time than their own. Any further rows
/// count at their own time.
const DATED_MAX: usize = 1 << 20;
/// The number of bytes of a dated row in a tree whose nodes are two thirds full.
const DATED_BYTES: usize = size_of::<((u8, Id), i64)>() * 3 / 2;

/// The users who like the posts of one chunk.
#[derive(Clone, Debug)]
pub(super) struct Likers {
    pub(super) lists: [Blocks<Packed<false>>; POSTS],
}

impl Default for Likers {
    fn default() -> Likers {
        Likers { lists: std::array::from_fn(|_| Blocks::default()) }
    }
}

/// The likes from client events, by their posts.
#[derive(Clone, Debug, Default)]
pub(super) struct Liked {
    pub(super) chunks: Chunks<Likers>,
}

impl Liked {
    /// Adds a like of a user for a post. Returns false if the user already likes the post.
    pub(super) fn insert(&mut self, post: PostNo, user: UserNo) -> bool {
        let (chunk, at) = (post.index() / POSTS, post.index() % POSTS);
        let user = user.get();
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

/// The likes and comments whose rows are dated ahead of the clock, by action and key. The value is the time at which
/// the row counts, in epoch milliseconds.
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
