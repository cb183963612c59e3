//! Reads chunks on every core. Each chunk is first read without the other chunks. After all chunks were read, nova
//! makes the parts of the state that depend on several chunks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};
use nova_storage::codec::{CodecError, Reader};

use crate::event::{Action, Id};
use crate::state::affinity::{self, Pending};
use crate::state::chunks::Chunks;
use crate::state::daily::Days;
use crate::state::dense::{PostNo, UserNo};
use crate::state::graph::{self, Following};
use crate::state::ids::{self, Ids};
use crate::state::meta::Meta;
use crate::state::posts::{self, Authors, PostChunk};
use crate::state::sets::{self, DATED_CHUNKS, DatedRows, Likers};
use crate::state::settings::StateSettings;
use crate::state::threads::start_threads;
use crate::state::touches;
use crate::state::users::{ROWS, UserRows};
use crate::state::whole::State;

use super::codec::{Head, Piece};
use super::format::{PIECE_BITS, PIECES_MAX, STATE_VERSION, STATE_VERSION_FIRST, WHAT};
use super::old;
use super::refs::Refs;

/// The maximum number of chunks that wait for one thread.
const WAITING_MAX: usize = 4;

type Stored = (String, u32, Vec<u8>);

/// The pieces of one structure, each with its number, the count of its chunk's pieces, and its content. The content is
/// behind a pointer, because it is large, and nova moves each piece several times.
type Parts<C> = Vec<(u32, u64, Arc<C>)>;

/// The chunks that one thread has read so far.
#[derive(Default)]
struct Read {
    refs: Refs,
    meta: Option<Meta>,
    user_ids: Parts<Vec<Id>>,
    users: Parts<UserRows>,
    post_ids: Parts<Vec<Id>>,
    posts: Parts<PostChunk>,
    authors: Parts<Authors>,
    follows: Parts<Following>,
    touches: Parts<touches::Users>,
    affinity: Parts<affinity::Users>,
    pending: Parts<BTreeMap<PostNo, Pending>>,
    liked: Parts<Likers>,
    dated: Parts<DatedRows>,
    daily: Parts<Days>,
}

impl Read {
    fn chunk(&mut self, (structure, number, bytes): &Stored) -> Result<(), CodecError> {
        let (mut reader, version) = Reader::versioned(WHAT, bytes, STATE_VERSION)?;
        if version < STATE_VERSION_FIRST {
            return Err(CodecError::Invalid(WHAT));
        }
        let actions = reader.varint()?;
        if actions > Action::ALL.len() as u64 {
            return Err(CodecError::Unknown { what: "action", number: actions - 1 });
        }
        let pieces = reader.varint()?;
        if pieces == 0 || pieces > PIECES_MAX as u64 {
            return Err(CodecError::Invalid(WHAT));
        }
        let at = (*number, pieces, actions as usize, version);
        match structure.as_str() {
            "meta" => {
                self.meta = Some(Meta::read(&mut reader)?);
                reader.end()
            }
            "user_ids" => part(&mut self.user_ids, at, reader, &mut self.refs),
            "users" => part(&mut self.users, at, reader, &mut self.refs),
            "post_ids" => part(&mut self.post_ids, at, reader, &mut self.refs),
            "posts" => part(&mut self.posts, at, reader, &mut self.refs),
            "authors" => part(&mut self.authors, at, reader, &mut self.refs),
            "follows" => part(&mut self.follows, at, reader, &mut self.refs),
            "touches" => part(&mut self.touches, at, reader, &mut self.refs),
            "affinity" => part(&mut self.affinity, at, reader, &mut self.refs),
            "pending" => part(&mut self.pending, at, reader, &mut self.refs),
            "liked" => part(&mut self.liked, at, reader, &mut self.refs),
            "dated" => part(&mut self.dated, at, reader, &mut self.refs),
            "daily" => part(&mut self.daily, at, reader, &mut self.refs),
            _ => Err(CodecError::Invalid(WHAT)),
        }
    }

    fn merge(&mut self, other: Read) {
        self.refs.merge(other.refs);
        self.meta = self.meta.or(other.meta);
        self.user_ids.extend(other.user_ids);
        self.users.extend(other.users);
        self.post_ids.extend(other.post_ids);
        self.posts.extend(other.posts);
        self.authors.extend(other.authors);
        self.follows.extend(other.follows);
        self.touches.extend(other.touches);
        self.affinity.extend(other.affinity);
        self.pending.extend(other.pending);
        self.liked.extend(other.liked);
        self.dated.extend(other.dated);
        self.daily.extend(other.daily);
    }

    fn state(self, settings: StateSettings) -> Result<State, CodecError> {
        let invalid = CodecError::Invalid(WHAT);
        let meta = self.meta.ok_or(invalid.clone())?;
        let (users, posts) = (meta.users, meta.posts);
        if self.refs.users > users as u64 || self.refs.posts > posts as u64 {
            return Err(invalid);
        }
        let mut state = State::new(settings);
        let (mut user_ids, mut post_ids) = (Chunks::default(), Chunks::default());
        install(&mut user_ids, self.user_ids, Some((users, ids::IDS)))?;
        install(&mut post_ids, self.post_ids, Some((posts, ids::IDS)))?;
        install(&mut state.user_rows, self.users, Some((users, ROWS)))?;
        install(&mut state.posts.chunks, self.posts, Some((posts, posts::POSTS)))?;
        install(&mut state.posts.authors, self.authors, Some((users, posts::AUTHORS)))?;
        install(&mut state.graph.following, self.follows, Some((users, graph::USERS)))?;
        install(&mut state.touches.chunks, self.touches, Some((users, touches::USERS)))?;
        install(&mut state.affinity.users, self.affinity, Some((users, affinity::USERS)))?;
        install(&mut state.affinity.pending, self.pending, None)?;
        install(&mut state.liked.chunks, self.liked, None)?;
        install(&mut state.dated.chunks, self.dated, None)?;
        install(&mut state.daily.chunks, self.daily, Some((1, 1)))?;
        let fits = |chunks: usize, size: usize| chunks <= posts.div_ceil(size);
        let sparse = fits(state.affinity.pending.len(), affinity::PENDING_POSTS)
            && fits(state.liked.chunks.len(), sets::POSTS)
            && state.dated.chunks.len() <= DATED_CHUNKS;
        if !sparse || meta.folding.is_some_and(|next| next >= posts) {
            return Err(invalid);
        }
        state.affinity.pending_len = state.affinity.pending.iter().flat_map(BTreeMap::values).map(Vec::len).sum();
        state.dated.len = state.dated.chunks.iter().map(BTreeMap::len).sum();
        state.posts.len = posts;
        (state.posts.fold_at, state.posts.folding, state.posts.fold_from) =
            (meta.fold_at, meta.folding, meta.fold_from);
        let (known_users, known_posts) = derive(&mut state, (user_ids, post_ids), users)?;
        if (known_users.len(), known_posts.len()) != (users, posts) {
            return Err(invalid);
        }
        (state.users, state.post_ids) = (known_users, known_posts);
        state.posts.index(&state.post_ids);
        Ok(state)
    }
}

/// Makes the parts of the state that are not stored: the followers of users, and the tables that find the number of an
/// id.
fn derive(
    state: &mut State,
    (user_ids, post_ids): (Chunks<Vec<Id>>, Chunks<Vec<Id>>),
    users: usize,
) -> Result<(Ids<UserNo>, Ids<PostNo>), CodecError> {
    state.graph.grow(users);
    let graph = &mut state.graph;
    std::thread::scope(|scope| {
        let known = scope.spawn(|| Some((Ids::of(user_ids)?, Ids::of(post_ids)?)));
        graph.invert(users);
        known.join().ok().flatten().ok_or(CodecError::Invalid(WHAT))
    })
}

fn part<C: Piece>(
    parts: &mut Parts<C>,
    (number, pieces, actions, version): (u32, u64, usize, u8),
    mut reader: Reader<'_>,
    refs: &mut Refs,
) -> Result<(), CodecError> {
    let first = (number as usize).is_multiple_of(PIECES_MAX);
    let head = Head { chunk: number >> PIECE_BITS, first, actions, version };
    let content = C::read(head, &mut reader, refs)?;
    reader.end()?;
    parts.push((number, pieces, Arc::new(content)));
    Ok(())
}

/// Joins pieces. `all` has the total number of things, and the number of things in one chunk. If `all` is given, no
/// chunk may be missing.
fn install<C: Piece + Clone + Default>(
    chunks: &mut Chunks<C>,
    mut parts: Parts<C>,
    all: Option<(usize, usize)>,
) -> Result<(), CodecError> {
    let invalid = CodecError::Invalid(WHAT);
    parts.sort_unstable_by_key(|(number, ..)| *number);
    let mut parts = parts.into_iter().peekable();
    let mut next = 0;
    while let Some((number, pieces, mut content)) = parts.next() {
        let chunk = number >> PIECE_BITS;
        if !(number as usize).is_multiple_of(PIECES_MAX) || chunk != next {
            return Err(invalid);
        }
        let mut have = 1;
        while let Some((number, of, more)) = parts.next_if(|(number, ..)| number >> PIECE_BITS == chunk) {
            // The store may still have pieces from a time when the chunk was longer.
            if u64::from(number) % (PIECES_MAX as u64) < pieces {
                if of != pieces {
                    return Err(invalid);
                }
                Arc::make_mut(&mut content).append(Arc::unwrap_or_clone(more))?;
                have += 1;
            }
        }
        if have != pieces {
            return Err(invalid);
        }
        if let Some((all, size)) = all
            && content.slots() > all.saturating_sub(chunk as usize * size)
        {
            return Err(invalid);
        }
        chunks.put(chunk as usize, content);
        next += 1;
    }
    match all {
        Some((all, size)) if next as usize != all.div_ceil(size) => Err(invalid),
        _ => Ok(()),
    }
}

/// Reads a state that [`State::save`] wrote, while the caller still reads chunks from the store. A loader uses
/// [`start_threads`] threads.
pub struct Loader {
    settings: StateSettings,
    sender: Sender<Stored>,
    readers: Vec<JoinHandle<Result<Read, CodecError>>>,
    /// Whether the first chunk has the format of version 4 and older. The value is `None` before the first chunk came.
    is_old: Option<bool>,
    /// The chunks of the format of version 4 and older.
    old: Vec<Stored>,
}

impl Loader {
    pub fn new(settings: StateSettings) -> Loader {
        let threads = start_threads();
        let (sender, receiver) = crossbeam_channel::bounded::<Stored>(threads * WAITING_MAX);
        let reader = |receiver: Receiver<Stored>| {
            move || {
                let mut read = Read::default();
                receiver.iter().try_for_each(|stored| read.chunk(&stored)).map(|()| read)
            }
        };
        let readers = (0..threads).map(|_| std::thread::spawn(reader(receiver.clone()))).collect();
        Loader { settings, sender, readers, is_old: None, old: Vec::new() }
    }

    /// Takes a chunk. The chunks may come in any order, except chunks of version 4 and older, which must come in the
    /// order of their numbers.
    pub fn chunk(&mut self, stored: Stored) {
        if *self.is_old.get_or_insert(stored.0 == old::STRUCTURE) {
            self.old.push(stored);
            return;
        }
        // A thread that fails no longer receives chunks. If all threads have failed, sending a chunk fails, and `end`
        // returns the error.
        let _ = self.sender.send(stored);
    }

    /// Returns the state when the loader has all chunks.
    ///
    /// # Errors
    /// The function returns an error if a chunk cannot be read, is missing, or refers to something that does not exist.
    pub fn end(self) -> Result<State, CodecError> {
        drop(self.sender);
        let mut all = Read::default();
        for reader in self.readers {
            all.merge(reader.join().map_err(|_| CodecError::Invalid(WHAT))??);
        }
        match self.is_old {
            Some(true) => State::load_old(self.settings, self.old.into_iter()),
            _ => all.state(self.settings),
        }
    }
}

impl State {
    /// Uses a [`Loader`] to read a state that [`State::save`] wrote.
    ///
    /// # Errors
    /// The errors are the errors of [`Loader::end`].
    pub fn load(settings: StateSettings, chunks: impl Iterator<Item = Stored>) -> Result<State, CodecError> {
        let mut loader = Loader::new(settings);
        chunks.for_each(|stored| loader.chunk(stored));
        loader.end()
    }
}
