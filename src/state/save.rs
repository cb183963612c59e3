//! The state as bytes and back, chunk by chunk: equal states give equal bytes.
//!
//! A chunk is stored in one piece; a long one in several, so that none exceeds a page of the store. Each piece can be read
//! by itself, on any thread; what one refers to is compared with what there is once all are read.

mod codec;
mod load;
mod old;

use nova_storage::codec::{CodecError, Put, Reader};

use crate::event::Action;

use super::chunks::Chunks;
use super::{ROWS, State, affinity, graph, ids, posts, sets, touches};

use self::codec::Piece;

/// The one structure of versions up to 4.
pub use self::old::STRUCTURE as STREAM;

/// Up to version 4 the state was one stream that was cut anywhere: `old` reads it.
const STATE_VERSION: u8 = 5;
const WHAT: &str = "state checkpoint";
/// Bits of a chunk's number that say which piece it is.
const PIECE_BITS: u32 = 8;
const PIECES_MAX: usize = 1 << PIECE_BITS;

/// What is stored as one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StateChunk {
    pub structure: &'static str,
    /// Of the structure; the numbers of one structure grow, and may leave some out.
    pub number: u32,
    /// What [`State::changes`] was when it last changed; 0 for one that was read back and has not changed.
    pub changed: u64,
}

/// What is not of one chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) users: usize,
    pub(super) posts: usize,
    pub(super) fold_at: usize,
    pub(super) folding: Option<usize>,
    pub(super) fold_from: i32,
}

/// One more than the largest numbers that a chunk refers to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Refs {
    users: u64,
    posts: u64,
}

impl Refs {
    fn user(&mut self, reader: &mut Reader<'_>) -> Result<u32, CodecError> {
        let user = reader.varint_u32()?;
        self.has_user(user);
        Ok(user)
    }

    fn post(&mut self, reader: &mut Reader<'_>) -> Result<u32, CodecError> {
        let post = reader.varint_u32()?;
        self.posts = self.posts.max(u64::from(post) + 1);
        Ok(post)
    }

    fn has_user(&mut self, user: u32) {
        self.users = self.users.max(u64::from(user) + 1);
    }

    fn has_post(&mut self, post: u32) {
        self.posts = self.posts.max(u64::from(post) + 1);
    }

    fn merge(&mut self, other: Refs) {
        (self.users, self.posts) = (self.users.max(other.users), self.posts.max(other.posts));
    }
}

/// Entries of one piece of a content, and how many pieces it takes.
fn pieces<C: Piece>(content: &C) -> (usize, usize) {
    let entries = content.entries();
    let each = C::ENTRIES.max(entries.div_ceil(PIECES_MAX));
    (each, entries.div_ceil(each).max(1))
}

/// Writes a piece of a chunk.
type PutPiece<'a> = Box<dyn Fn(usize, usize, &mut Vec<u8>) + 'a>;

/// Some chunks of one kind, whatever they hold.
struct Group<'a> {
    structure: &'static str,
    chunks: usize,
    /// Of a chunk: how many pieces it takes, and what its last change was noted as.
    look: Box<dyn Fn(usize) -> (usize, u64) + 'a>,
    put: PutPiece<'a>,
}

/// `all`: of how many things these are the chunks, if each thing has a place; `size`: how many one chunk has.
fn group<'a, C: Piece>(structure: &'static str, chunks: &'a Chunks<C>, all: usize, size: usize) -> Group<'a> {
    let look = |number| (chunks.get(number).map_or(1, |content| pieces(content).1), chunks.changed(number));
    let put = move |number: usize, piece: usize, out: &mut Vec<u8>| {
        let Some(content) = chunks.get(number) else { return };
        let (each, count) = pieces(content);
        out.put_varint(count as u64);
        let slots = all.saturating_sub(number * size).min(size);
        let end = if piece + 1 == count { usize::MAX } else { (piece + 1) * each };
        content.put(slots, piece * each..end, out);
    };
    Group { structure, chunks: chunks.len(), look: Box::new(look), put: Box::new(put) }
}

impl State {
    fn groups(&self) -> [Group<'_>; 13] {
        let (users, posts) = (self.users.len(), self.post_ids.len());
        let put_meta = |_, _, out: &mut Vec<u8>| {
            out.put_varint(1);
            self.meta().put(out);
        };
        let meta =
            Group { structure: "meta", chunks: 1, look: Box::new(|_| (1, self.meta_changed)), put: Box::new(put_meta) };
        [
            meta,
            group("user_ids", &self.users.ids, users, ids::IDS),
            group("users", &self.user_rows, users, ROWS),
            group("post_ids", &self.post_ids.ids, posts, ids::IDS),
            group("posts", &self.posts.chunks, posts, posts::POSTS),
            group("authors", &self.posts.authors, users, posts::AUTHORS),
            group("follows", &self.graph.following, users, graph::USERS),
            group("touches", &self.touches.chunks, users, touches::USERS),
            group("affinity", &self.affinity.users, users, affinity::USERS),
            group("pending", &self.affinity.pending, posts, affinity::PENDING_POSTS),
            group("liked", &self.liked.chunks, posts, sets::POSTS),
            group("dated", &self.dated.chunks, 0, 0),
            group("daily", &self.daily.chunks, 0, 0),
        ]
    }

    /// Every chunk there is, in an order that stays. One that is not named any more may stay stored: [`State::load`]
    /// leaves it out.
    pub fn chunks(&self) -> impl Iterator<Item = StateChunk> {
        self.groups().into_iter().flat_map(|group| {
            let Group { structure, chunks, look, .. } = group;
            (0..chunks).flat_map(move |chunk| {
                let (pieces, changed) = look(chunk);
                let first = (chunk as u32) << PIECE_BITS;
                (0..pieces as u32).map(move |piece| StateChunk { structure, number: first | piece, changed })
            })
        })
    }

    /// Writes one of [`State::chunks`]; nothing for one that is not there.
    pub fn encode_chunk(&self, structure: &str, number: u32, out: &mut Vec<u8>) {
        let Some(group) = self.groups().into_iter().find(|group| group.structure == structure) else { return };
        let (chunk, piece) = ((number >> PIECE_BITS) as usize, number as usize % PIECES_MAX);
        if chunk < group.chunks && piece < (group.look)(chunk).0 {
            out.put_u8(STATE_VERSION);
            out.put_varint(Action::ALL.len() as u64);
            (group.put)(chunk, piece, out);
        }
    }

    /// Hands every chunk over: structure, number, bytes.
    pub fn save(&self, put: &mut dyn FnMut(&'static str, u32, &[u8])) {
        let mut out = Vec::new();
        for chunk in self.chunks() {
            out.clear();
            self.encode_chunk(chunk.structure, chunk.number, &mut out);
            put(chunk.structure, chunk.number, &out);
        }
    }
}

fn small(value: i64) -> Result<i32, CodecError> {
    i32::try_from(value).map_err(|_| CodecError::Invalid(WHAT))
}

fn size(value: u64) -> Result<usize, CodecError> {
    usize::try_from(value).map_err(|_| CodecError::Invalid(WHAT))
}
