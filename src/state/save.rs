//! Writes the state as bytes and reads it, one chunk at a time. Equal states give equal bytes.
//!
//! Most chunks are stored in one piece. A long chunk is stored in several pieces, so that no piece is larger than a
//! page of the store. Each piece of a chunk can be read without the other pieces, on any thread. The references between
//! pieces are checked after all pieces were read.

#![warn(clippy::indexing_slicing)]

mod codec;
mod format;
mod load;
mod old;
mod refs;

use std::sync::Arc;

use nova_storage::codec::Put;

use crate::event::Action;

use super::chunks::Chunks;
use super::meta::Meta;
use super::users::ROWS;
use super::whole::State;
use super::{affinity, graph, ids, posts, sets, touches};

use self::codec::Piece;
use self::format::{PIECE_BITS, PIECES_MAX, STATE_VERSION};
pub use self::load::Loader;

/// The content of a chunk, for any structure of the state.
trait Content: Send + Sync {
    /// Returns the number of pieces in which the content is stored.
    fn pieces(&self) -> u32;
    /// Writes one piece of the content. `slots` is the number of places of the chunk that are in use.
    fn put_piece(&self, slots: usize, piece: u32, out: &mut Vec<u8>);
}

impl<C: Piece> Content for C {
    fn pieces(&self) -> u32 {
        self.entries().div_ceil(each(self)).max(1) as u32
    }

    fn put_piece(&self, slots: usize, piece: u32, out: &mut Vec<u8>) {
        let (each, piece) = (each(self), piece as usize);
        let end = if piece + 1 == self.pieces() as usize { usize::MAX } else { (piece + 1) * each };
        self.put(slots, piece * each..end, out);
    }
}

/// Returns the number of entries that each piece of a chunk has.
fn each<C: Piece>(content: &C) -> usize {
    C::ENTRIES.max(content.entries().div_ceil(PIECES_MAX))
}

impl Content for Meta {
    fn pieces(&self) -> u32 {
        1
    }

    fn put_piece(&self, _: usize, _: u32, out: &mut Vec<u8>) {
        self.put(out);
    }
}

/// A chunk as it was when the state was frozen. If the state changes later, it copies the chunk first, unless the
/// frozen chunk has already been dropped.
pub struct Frozen {
    pub structure: &'static str,
    chunk: u32,
    /// The number of places of the chunk that are in use, if the chunk has a place for each thing.
    slots: usize,
    content: Arc<dyn Content>,
}

impl Frozen {
    /// Returns the number of pieces in which the chunk is stored.
    pub fn pieces(&self) -> u32 {
        self.content.pieces()
    }

    /// Writes one piece of the chunk to `out`. Returns the number under which the piece is stored. The numbers of the
    /// pieces of one structure rise, with gaps.
    pub fn encode(&self, piece: u32, out: &mut Vec<u8>) -> u32 {
        out.put_u8(STATE_VERSION);
        out.put_varint(Action::ALL.len() as u64);
        out.put_varint(u64::from(self.pieces()));
        self.content.put_piece(self.slots, piece, out);
        self.chunk << PIECE_BITS | piece
    }
}

/// Collects the chunks that changed after `since`, or all chunks.
struct Freeze {
    since: Option<u64>,
    frozen: Vec<Frozen>,
}

impl Freeze {
    /// Adds the chunks of one structure. `all` is the number of things, if the structure has a place for each thing,
    /// and `size` is the number of things in one chunk.
    fn add<C: Piece + 'static>(&mut self, structure: &'static str, chunks: &Chunks<C>, all: usize, size: usize) {
        for (number, content) in chunks.changed_after(self.since) {
            let slots = all.saturating_sub(number * size).min(size);
            self.frozen.push(Frozen { structure, chunk: number as u32, slots, content });
        }
    }
}

impl State {
    /// Returns, in a fixed order, the chunks that changed after [`State::changes`] was `since`. Returns all chunks if
    /// `since` is `None`. To freeze the state costs one reference count for each chunk. Pieces that a shorter chunk no
    /// longer needs may stay in the store, because [`State::load`] ignores them.
    pub fn freeze(&self, since: Option<u64>) -> Vec<Frozen> {
        let (users, posts) = (self.users.len(), self.post_ids.len());
        let mut all = Freeze { since, frozen: Vec::new() };
        if since.is_none_or(|since| self.meta_changed > since) {
            all.frozen.push(Frozen { structure: "meta", chunk: 0, slots: 0, content: Arc::new(self.meta()) });
        }
        all.add("user_ids", &self.users.ids, users, ids::IDS);
        all.add("users", &self.user_rows, users, ROWS);
        all.add("post_ids", &self.post_ids.ids, posts, ids::IDS);
        all.add("posts", &self.posts.chunks, posts, posts::POSTS);
        all.add("authors", &self.posts.authors, users, posts::AUTHORS);
        all.add("follows", &self.graph.following, users, graph::USERS);
        all.add("touches", &self.touches.chunks, users, touches::USERS);
        all.add("affinity", &self.affinity.users, users, affinity::USERS);
        all.add("pending", &self.affinity.pending, posts, affinity::PENDING_POSTS);
        all.add("liked", &self.liked.chunks, posts, sets::POSTS);
        all.add("dated", &self.dated.chunks, 0, 0);
        all.add("daily", &self.daily.chunks, 0, 0);
        all.frozen
    }

    /// Calls `put` for every chunk with the name of its structure, its number and its bytes.
    pub fn save(&self, put: &mut dyn FnMut(&'static str, u32, &[u8])) {
        let mut out = Vec::new();
        for chunk in self.freeze(None) {
            for piece in 0..chunk.pieces() {
                out.clear();
                let number = chunk.encode(piece, &mut out);
                put(chunk.structure, number, &out);
            }
        }
    }
}
