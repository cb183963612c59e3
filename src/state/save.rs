//! Writes the state as bytes and reads it, chunk by chunk. Equal states give equal bytes.
//!
//! A chunk is stored in one piece. A long chunk is stored in several pieces, so that none exceeds a page of the store.
//! Each piece can be read alone, on any thread. The references between pieces are checked once all
//! pieces are read.

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

/// The content of a chunk of any structure.
trait Content: Send + Sync {
    /// The number of its pieces.
    fn pieces(&self) -> u32;
    /// Writes one piece. `slots` is the number of the chunk's places in use.
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

/// The number of entries in one piece.
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

/// A chunk at the time when the state was frozen. A later change of the state copies the chunk first, unless this was
/// dropped before.
pub struct Frozen {
    pub structure: &'static str,
    chunk: u32,
    /// The number of the chunk's places in use, if each thing has a place.
    slots: usize,
    content: Arc<dyn Content>,
}

impl Frozen {
    /// The number of values in which the chunk is stored.
    pub fn pieces(&self) -> u32 {
        self.content.pieces()
    }

    /// Writes one of its pieces to `out`. Returns the number under which it is stored. The numbers of one structure
    /// grow, with gaps.
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
    /// Adds the chunks of a structure. `all` is the number of things, if each thing has a place, and `size` is the
    /// number of things in one chunk.
    fn add<C: Piece + 'static>(&mut self, structure: &'static str, chunks: &Chunks<C>, all: usize, size: usize) {
        for (number, content) in chunks.changed_after(self.since) {
            let slots = all.saturating_sub(number * size).min(size);
            self.frozen.push(Frozen { structure, chunk: number as u32, slots, content });
        }
    }
}

impl State {
    /// The chunks that changed after [`State::changes`] was `since`, or all, in their present state and in a fixed
    /// order. It costs one reference count for each chunk. A piece that is no longer named may stay stored, because
    /// [`State::load`] ignores it.
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

    /// Calls `put` for every chunk with structure, number and bytes.
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
