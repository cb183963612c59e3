//! The state as bytes and back, chunk by chunk: equal states give equal bytes.
//!
//! A chunk is stored in one piece; a long one in several, so that none exceeds a page of the store. Each piece can be read
//! by itself, on any thread; what one refers to is compared with what there is once all are read.

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

/// What a chunk holds, whichever structure it is of.
trait Content: Send + Sync {
    /// Of how many pieces it is.
    fn pieces(&self) -> u32;
    /// Writes one piece; `slots`: places of the chunk that are given out.
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

/// Entries of one piece.
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

/// A chunk as it was when the state was frozen: a later change of the state copies the chunk first, unless this was
/// dropped before.
pub struct Frozen {
    pub structure: &'static str,
    chunk: u32,
    /// Places of the chunk that are given out, if each thing has a place.
    slots: usize,
    content: Arc<dyn Content>,
}

impl Frozen {
    /// In how many values it is stored.
    pub fn pieces(&self) -> u32 {
        self.content.pieces()
    }

    /// Writes one of its pieces to `out`; the number under which it is stored. The numbers of one structure grow, and leave
    /// some out.
    pub fn encode(&self, piece: u32, out: &mut Vec<u8>) -> u32 {
        out.put_u8(STATE_VERSION);
        out.put_varint(Action::ALL.len() as u64);
        out.put_varint(u64::from(self.pieces()));
        self.content.put_piece(self.slots, piece, out);
        self.chunk << PIECE_BITS | piece
    }
}

/// Collects chunks that changed after `since`, or all.
struct Freeze {
    since: Option<u64>,
    frozen: Vec<Frozen>,
}

impl Freeze {
    /// `all`: of how many things these are the chunks, if each thing has a place; `size`: how many one chunk has.
    fn add<C: Piece + 'static>(&mut self, structure: &'static str, chunks: &Chunks<C>, all: usize, size: usize) {
        for (number, content) in chunks.changed_after(self.since) {
            let slots = all.saturating_sub(number * size).min(size);
            self.frozen.push(Frozen { structure, chunk: number as u32, slots, content });
        }
    }
}

impl State {
    /// The chunks that changed after [`State::changes`] was `since`, or all, as they are now, in an order that stays. It
    /// costs one count a chunk. What is not named any more may stay stored: [`State::load`] leaves it out.
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

    /// Hands every chunk over: structure, number, bytes.
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
