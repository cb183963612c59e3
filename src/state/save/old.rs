//! Reads the state in the format of versions 1 to 4, which is one stream that was cut into chunks at any byte.

use nova_storage::codec::{CodecError, Reader};

use crate::event::{Action, Id};

use crate::state::affinity::{self, Cell, Pended, WEIGHED, Weights};
use crate::state::blocks::Blocks;
use crate::state::daily::Days;
use crate::state::dense::{PostNo, UserNo};
use crate::state::graph;
use crate::state::minutes::{Minutes, entries_of};
use crate::state::packed::Entry;
use crate::state::posts::{Post, PostRow, author_place};
use crate::state::settings::StateSettings;
use crate::state::totals::Totals;
use crate::state::touches::{self, AT_MAX_MS, AT_MIN_MS, Kind, Touch};
use crate::state::users::UserRow;
use crate::state::whole::State;

use super::format::{WHAT, small};

/// The last version of the format with one stream. Version 1 had no daily figures and only one map of touches, and it
/// combined the minutes of all posts at once. Version 2 had no likes from client events. Version 3 had the latest times
/// of all counted actions. Version 3 had neither dated rows nor the numbers of actions and shards.
const VERSION: u8 = 4;
const LENGTHS_V3: Lengths = Lengths { actions: 5, shards: 512 };
pub const STRUCTURE: &str = "state";

/// The lengths of the lists that have one entry for each known user or post.
#[derive(Clone, Copy)]
struct Lengths {
    actions: usize,
    shards: usize,
}

impl Lengths {
    fn load(reader: &mut Reader<'_>) -> Result<Lengths, CodecError> {
        let (actions, shards) = (reader.varint()?, reader.varint()?);
        if actions > Action::ALL.len() as u64 {
            return Err(CodecError::Unknown { what: "action", number: actions - 1 });
        }
        let shards = usize::try_from(shards).map_err(|_| CodecError::Invalid(WHAT))?;
        Ok(Lengths { actions: actions as usize, shards })
    }
}

impl State {
    /// Reads the chunks of the stream in the order of their numbers.
    pub(super) fn load_old(
        settings: StateSettings,
        chunks: impl Iterator<Item = (String, u32, Vec<u8>)>,
    ) -> Result<State, CodecError> {
        let mut bytes = Vec::new();
        for ((structure, number, chunk), expected) in chunks.zip(0..) {
            if structure != STRUCTURE || number != expected {
                return Err(CodecError::Invalid(WHAT));
            }
            bytes.extend_from_slice(&chunk);
        }
        let (mut reader, version) = Reader::versioned(WHAT, &bytes, VERSION)?;
        let lengths = if version > 3 { Lengths::load(&mut reader)? } else { LENGTHS_V3 };
        let mut state = State::new(settings);
        state.load_rows(&mut reader)?;
        state.load_graph(&mut reader)?;
        state.load_posts(&mut reader, version, lengths)?;
        state.load_touches(&mut reader, version, lengths)?;
        state.load_affinity(&mut reader)?;
        if version > 1 {
            let days = Days::load(WHAT, &mut reader, lengths.actions)?;
            state.daily.chunks.put(0, days.into());
        }
        if version > 2 {
            for _ in 0..reader.varint()? {
                let like = (state.known_post(&mut reader)?, state.known_user(&mut reader)?);
                state.liked.insert(like.0, like.1);
            }
        }
        if version > 3 {
            for _ in 0..reader.varint()? {
                let (action, key) = (Action::numbered(reader.u8()?)?, reader.id()?);
                state.dated.insert(action, key, reader.zigzag()?);
            }
        }
        reader.end()?;
        Ok(state)
    }

    fn load_rows(&mut self, reader: &mut Reader<'_>) -> Result<(), CodecError> {
        for _ in 0..reader.varint()? {
            let user = self.fresh_user(reader.id()?)?;
            if let Some(username) = reader.optional_bytes()? {
                let username = std::str::from_utf8(username).map_err(|_| CodecError::Invalid(WHAT))?.into();
                let active = reader.u8()? == 1;
                reader.zigzag()?;
                self.set_user_row(user, Some(UserRow { username, active }));
            }
        }
        for number in 0..reader.varint()? {
            if u64::from(self.post(reader.id()?).get()) != number {
                return Err(CodecError::Invalid(WHAT));
            }
        }
        Ok(())
    }

    fn fresh_user(&mut self, id: Id) -> Result<UserNo, CodecError> {
        let known = self.users.len();
        let user = self.user(id);
        if user.index() == known { Ok(user) } else { Err(CodecError::Invalid(WHAT)) }
    }

    fn known_user(&self, reader: &mut Reader<'_>) -> Result<UserNo, CodecError> {
        let user = UserNo::of(reader.varint_u32()?);
        if user.index() < self.users.len() { Ok(user) } else { Err(CodecError::Invalid(WHAT)) }
    }

    fn known_post(&self, reader: &mut Reader<'_>) -> Result<PostNo, CodecError> {
        let post = PostNo::of(reader.varint_u32()?);
        if post.index() < self.post_ids.len() { Ok(post) } else { Err(CodecError::Invalid(WHAT)) }
    }

    #[allow(clippy::indexing_slicing, reason = "the number is known, and a place is below the size of its chunk")]
    fn load_graph(&mut self, reader: &mut Reader<'_>) -> Result<(), CodecError> {
        for user in self.users.numbers() {
            let version = reader.varint_u32()?;
            let mut list: Vec<Entry> = Vec::new();
            for _ in 0..reader.varint()? {
                let followee = (self.known_user(reader)?.get(), reader.zigzag()?);
                if list.last().is_some_and(|last| last.0 >= followee.0) {
                    return Err(CodecError::Invalid(WHAT));
                }
                list.push(followee);
            }
            let (chunk, at) = graph::place(user);
            let following = self.graph.following.change(chunk);
            (following.versions[at], following.lists[at]) = (version, Blocks::packed(&list));
        }
        for _ in 0..reader.varint()? {
            let pair = (self.known_user(reader)?, self.known_user(reader)?);
            let mut times = Vec::new();
            for _ in 0..reader.varint()? {
                times.push(reader.zigzag()?);
            }
            times.sort_unstable();
            self.graph.following.change(graph::place(pair.0).0).more.insert(pair, times);
        }
        self.graph.invert(self.users.len());
        Ok(())
    }

    #[allow(clippy::indexing_slicing, reason = "the number is known, and a place is below the size of its chunk")]
    fn load_posts(&mut self, reader: &mut Reader<'_>, version: u8, lengths: Lengths) -> Result<(), CodecError> {
        for user in self.users.numbers() {
            let (chunk, at) = author_place(user);
            self.posts.authors.change(chunk).versions[at] = reader.varint_u32()?;
        }
        self.posts.fold_at = usize::try_from(reader.varint()?).map_err(|_| CodecError::Invalid(WHAT))?;
        let folding = if version > 1 { reader.varint()? } else { 0 };
        self.posts.folding = match folding.checked_sub(1) {
            Some(next) if next >= self.post_ids.len() as u64 => return Err(CodecError::Invalid(WHAT)),
            next => next.map(|next| next as usize),
        };
        self.posts.fold_from = small(reader.zigzag()?)?;
        // In version 3 and older, the latest minute may be a time that only a single row claimed, so a running
        // combination of minutes does not continue.
        self.posts.folding = self.posts.folding.filter(|_| version > 3);
        for number in self.post_ids.numbers() {
            let post = self.load_post(reader, lengths)?;
            *self.posts.change(number) = post;
        }
        self.posts.index(&self.post_ids);
        Ok(())
    }

    fn load_post(&self, reader: &mut Reader<'_>, lengths: Lengths) -> Result<Post, CodecError> {
        let mut post = Post::default();
        post.author = match reader.varint()?.checked_sub(1) {
            None => None,
            Some(author) if author < self.users.len() as u64 => Some(UserNo::of(author as u32)),
            Some(_) => return Err(CodecError::Invalid(WHAT)),
        };
        post.row = match (reader.u8()?, post.author) {
            (0, _) => None,
            (flag @ 1..=2, Some(author)) => {
                Some(PostRow { author, created_at_us: reader.zigzag()?, published: flag == 2 })
            }
            _ => return Err(CodecError::Invalid(WHAT)),
        };
        let mut totals = [0; 5];
        for total in totals.iter_mut().take(lengths.actions) {
            *total = reader.zigzag()?;
        }
        post.totals = Totals::of(totals);
        let mut entries = Vec::new();
        for _ in 0..reader.varint()? {
            let minute = small(reader.zigzag()?)?;
            if entries.last().is_some_and(|last: &crate::state::minutes::Entry| last.minute() >= minute) {
                return Err(CodecError::Invalid(WHAT));
            }
            for action in 0..lengths.actions {
                let count = small(reader.zigzag()?)?;
                entries.extend(entries_of(minute, action, count.into()));
            }
        }
        post.minutes = Minutes::sorted(&entries);
        Ok(post)
    }

    #[allow(clippy::indexing_slicing, reason = "the number is known, and a place is below the size of its chunk")]
    fn load_touches(&mut self, reader: &mut Reader<'_>, version: u8, lengths: Lengths) -> Result<(), CodecError> {
        if version < 4 {
            reader.zigzag()?;
        }
        // Version 1 had one map of touches, and stored one number for the whole map. The number that version 1 stored
        // has no meaning for a shard. If the stored numbers belong to a different count of shards than the present
        // count, they have no meaning for the present shards. A shard without a stored number is swept sooner.
        for number in 0..if version > 1 { lengths.shards } else { 1 } {
            let sweep_at = u32::try_from(reader.varint()?).map_err(|_| CodecError::Invalid(WHAT))?;
            if version > 1 && lengths.shards == self.touches.chunks.len() {
                self.touches.chunks.change(number).sweep_at = sweep_at;
            }
        }
        let mut lists: Vec<Vec<Touch>> = vec![Vec::new(); self.users.len()];
        for _ in 0..reader.varint()? {
            let (user, post) = (self.known_user(reader)?, self.known_post(reader)?);
            load_touch(post.get(), reader, &mut lists[user.index()])?;
        }
        for (mut list, user) in lists.into_iter().zip(self.users.numbers()) {
            list.sort_unstable();
            list.dedup();
            let (chunk, at) = touches::place(user);
            let users = self.touches.chunks.change(chunk);
            users.lists[at] = touches::List::sorted(&list);
            users.len += list.len() as u32;
        }
        Ok(())
    }

    #[allow(clippy::indexing_slicing, reason = "the number is known, and a place is below the size of its chunk")]
    fn load_affinity(&mut self, reader: &mut Reader<'_>) -> Result<(), CodecError> {
        for user in self.users.numbers() {
            let mut cells: Vec<Cell> = Vec::new();
            for _ in 0..reader.varint()? {
                let author = self.known_user(reader)?;
                let cell = Cell { author, day: small(reader.zigzag()?)?, kind: WEIGHED, count: reader.zigzag()? };
                if cells.last().is_some_and(|last| last.place() >= cell.place()) {
                    return Err(CodecError::Invalid(WHAT));
                }
                cells.push(cell);
            }
            let (chunk, at) = affinity::place(user);
            self.affinity.users.change(chunk).list[at] = Weights::of(&cells);
        }
        for _ in 0..reader.varint()? {
            let post = self.known_post(reader)?;
            let mut list = Vec::new();
            for _ in 0..reader.varint()? {
                let (user, day) = (self.known_user(reader)?, small(reader.zigzag()?)?);
                list.push(Pended { user, day, count: small(reader.zigzag()?)?, kind: WEIGHED });
            }
            self.affinity.pend_all(post, list);
        }
        Ok(())
    }
}

/// Reads what a user did to one post: the latest view, and the counted actions.
fn load_touch(post: u32, reader: &mut Reader<'_>, list: &mut Vec<Touch>) -> Result<(), CodecError> {
    let at = |at_ms: i64, kind| match at_ms {
        AT_MIN_MS..=AT_MAX_MS => Ok(Touch::new(post, at_ms, kind)),
        _ => Err(CodecError::Invalid(WHAT)),
    };
    let viewed_ms = Some(reader.zigzag()?).filter(|viewed_ms| *viewed_ms != i64::MIN);
    let mut latest_ms = None;
    for _ in 0..reader.varint()? {
        let kind = Kind::of(Action::numbered(reader.u8()?)?).ok_or(CodecError::Invalid(WHAT))?;
        let touch = at(reader.zigzag()?, kind)?;
        if kind == Kind::View {
            latest_ms = latest_ms.max(Some(touch.at_ms()));
        }
        list.push(touch);
    }
    if let Some(viewed_ms) = viewed_ms.filter(|viewed_ms| Some(*viewed_ms) > latest_ms) {
        list.push(at(viewed_ms, Kind::Viewed)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
