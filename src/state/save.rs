//! The state as bytes and back: equal states give equal bytes.

use nova_storage::codec::{CodecError, Put, Reader};

use crate::event::{Action, Id};

use super::affinity::{self, Cell, Weights};
use super::blocks::Blocks;
use super::daily::Daily;
use super::minutes::{Minutes, entries_of};
use super::packed::Entry;
use super::posts::{Post, PostRow, Totals, author_place};
use super::touches::{self, AT_MAX_MS, AT_MIN_MS, Kind, Touch};
use super::{State, StateSettings, UserRow, graph};

/// Version 1 had no daily figures, one map of touches, and folded all posts at once; version 2 no likes by events;
/// version 3 no dated rows, the latest times of all that had been counted, and not how many actions and shards there were.
const STATE_VERSION: u8 = 4;
const LENGTHS_V3: Lengths = Lengths { actions: 5, shards: 512 };
const WHAT: &str = "state checkpoint";
const STRUCTURE: &str = "state";
/// Bytes of one stored chunk.
const CHUNK_BYTES: usize = 1 << 18;

/// How long the lists are that have one entry for each of something that nova knows.
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
    /// Hands the state over in chunks: structure, number, bytes.
    pub fn save(&self, put: &mut dyn FnMut(&'static str, u32, &[u8])) {
        let mut out = vec![STATE_VERSION];
        out.put_varint(Action::ALL.len() as u64);
        out.put_varint(self.touches.chunks.len() as u64);
        self.save_rows(&mut out);
        self.save_graph(&mut out);
        self.save_posts(&mut out);
        self.save_touches(&mut out);
        self.save_affinity(&mut out);
        self.daily.save(&mut out);
        self.save_liked(&mut out);
        self.save_dated(&mut out);
        for (chunk, number) in out.chunks(CHUNK_BYTES).zip(0..) {
            put(STRUCTURE, number, chunk);
        }
    }

    fn all_users(&self) -> std::ops::Range<u32> {
        0..self.users.len() as u32
    }

    fn save_rows(&self, out: &mut Vec<u8>) {
        out.put_varint(self.users.len() as u64);
        for (id, user) in self.users.all().zip(0..) {
            let row = self.user_row(user);
            out.put_id(id);
            out.put_optional_bytes(row.map(|row| row.username.as_bytes()));
            if let Some(row) = row {
                out.put_u8(u8::from(row.active));
                // Earlier versions kept the row's time.
                out.put_zigzag(0);
            }
        }
        out.put_varint(self.post_ids.len() as u64);
        self.post_ids.all().for_each(|id| out.put_id(id));
    }

    fn save_graph(&self, out: &mut Vec<u8>) {
        for user in self.all_users() {
            out.put_varint(u64::from(self.graph.version(user)));
            out.put_varint(self.graph.followees_len(user) as u64);
            for followee in self.graph.followees(user) {
                out.put_varint(u64::from(followee.user));
                out.put_zigzag(followee.since_us);
            }
        }
        let more: Vec<_> = self.graph.following.iter().flat_map(|chunk| &chunk.more).collect();
        out.put_varint(more.len() as u64);
        for ((from, to), times) in more {
            out.put_varint(u64::from(*from));
            out.put_varint(u64::from(*to));
            out.put_varint(times.len() as u64);
            times.iter().for_each(|time| out.put_zigzag(*time));
        }
    }

    fn save_posts(&self, out: &mut Vec<u8>) {
        self.all_users().for_each(|user| out.put_varint(u64::from(self.posts.version(user))));
        out.put_varint(self.posts.fold_at as u64);
        out.put_varint(self.posts.folding.map_or(0, |next| next as u64 + 1));
        out.put_zigzag(i64::from(self.posts.fold_from));
        for post in self.posts.chunks.iter().flat_map(|chunk| &chunk.list).take(self.posts.len()) {
            out.put_varint(post.author.map_or(0, |author| u64::from(author) + 1));
            match post.row {
                None => out.put_u8(0),
                Some(row) => {
                    out.put_u8(1 + u8::from(row.published));
                    out.put_zigzag(row.created_at_us);
                }
            }
            post.totals.counts().iter().for_each(|total| out.put_zigzag(*total));
            let entries: Vec<_> = post.minutes.entries().collect();
            let buckets: Vec<_> = entries.chunk_by(|a, b| a.minute() == b.minute()).collect();
            out.put_varint(buckets.len() as u64);
            for bucket in buckets {
                out.put_zigzag(i64::from(bucket[0].minute()));
                let mut counts = [0; 5];
                bucket.iter().for_each(|entry| counts[entry.action()] += entry.count());
                counts.iter().for_each(|count| out.put_zigzag(*count));
            }
        }
    }

    fn save_touches(&self, out: &mut Vec<u8>) {
        self.touches.chunks.iter().for_each(|users| out.put_varint(u64::from(users.sweep_at)));
        let lists = self.touches.chunks.iter().flat_map(|users| &users.lists).zip(0u64..);
        let mut touches = Vec::new();
        let mut len = 0u64;
        for (list, user) in lists {
            let all: Vec<Touch> = list.entries().collect();
            for group in all.chunk_by(|a, b| a.post() == b.post()) {
                len += 1;
                touches.put_varint(user);
                touches.put_varint(u64::from(group[0].post()));
                let views = group.iter().filter(|touch| matches!(touch.kind(), Kind::View | Kind::Viewed));
                touches.put_zigzag(views.last().map_or(i64::MIN, |touch| touch.at_ms()));
                let counted: Vec<_> =
                    group.iter().filter_map(|touch| Some((touch.kind().action()?, touch.at_ms()))).collect();
                touches.put_varint(counted.len() as u64);
                for (action, at_ms) in counted {
                    touches.put_u8(action as u8);
                    touches.put_zigzag(at_ms);
                }
            }
        }
        out.put_varint(len);
        out.put_fixed(&touches);
    }

    fn save_affinity(&self, out: &mut Vec<u8>) {
        for weights in self.affinity.users.iter().flat_map(|users| &users.list).take(self.users.len()) {
            let cells = weights.cells();
            out.put_varint(cells.len() as u64);
            for cell in cells {
                out.put_varint(u64::from(cell.author));
                out.put_zigzag(i64::from(cell.day));
                out.put_zigzag(cell.weight);
            }
        }
        let pending: Vec<_> = self.affinity.pending.iter().flatten().collect();
        out.put_varint(pending.len() as u64);
        for (post, list) in pending {
            out.put_varint(u64::from(*post));
            out.put_varint(list.len() as u64);
            for (user, day, weight) in list {
                out.put_varint(u64::from(*user));
                out.put_zigzag(i64::from(*day));
                out.put_zigzag(*weight);
            }
        }
    }

    fn save_liked(&self, out: &mut Vec<u8>) {
        out.put_varint(self.liked.len() as u64);
        for (post, user) in &self.liked {
            out.put_varint(u64::from(*post));
            out.put_varint(u64::from(*user));
        }
    }

    fn save_dated(&self, out: &mut Vec<u8>) {
        let mut dated: Vec<_> = self.dated.iter().collect();
        dated.sort_unstable();
        out.put_varint(dated.len() as u64);
        for ((action, key), at_ms) in dated {
            out.put_u8(*action);
            out.put_id(*key);
            out.put_zigzag(*at_ms);
        }
    }

    /// The inverse of [`State::save`]; the chunks in the order of their numbers.
    pub fn load(
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
        let (mut reader, version) = Reader::versioned(WHAT, &bytes, STATE_VERSION)?;
        let lengths = if version > 3 { Lengths::load(&mut reader)? } else { LENGTHS_V3 };
        let mut state = State::new(settings);
        state.load_rows(&mut reader)?;
        state.load_graph(&mut reader)?;
        state.load_posts(&mut reader, version, lengths)?;
        state.load_touches(&mut reader, version, lengths)?;
        state.load_affinity(&mut reader)?;
        if version > 1 {
            state.daily = Daily::load(WHAT, &mut reader, lengths.actions)?;
        }
        if version > 2 {
            for _ in 0..reader.varint()? {
                let like = (state.known_post(&mut reader)?, state.known_user(&mut reader)?);
                state.liked.insert(like);
            }
        }
        if version > 3 {
            for _ in 0..reader.varint()? {
                let key = (reader.u8()?, reader.id()?);
                state.dated.insert(key, reader.zigzag()?);
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
            if u64::from(self.post(reader.id()?)) != number {
                return Err(CodecError::Invalid(WHAT));
            }
        }
        Ok(())
    }

    fn fresh_user(&mut self, id: Id) -> Result<u32, CodecError> {
        let known = self.users.len();
        let user = self.user(id);
        if user as usize == known { Ok(user) } else { Err(CodecError::Invalid(WHAT)) }
    }

    fn known_user(&self, reader: &mut Reader<'_>) -> Result<u32, CodecError> {
        let user = reader.varint_u32()?;
        if (user as usize) < self.users.len() { Ok(user) } else { Err(CodecError::Invalid(WHAT)) }
    }

    fn known_post(&self, reader: &mut Reader<'_>) -> Result<u32, CodecError> {
        let post = reader.varint_u32()?;
        if (post as usize) < self.post_ids.len() { Ok(post) } else { Err(CodecError::Invalid(WHAT)) }
    }

    fn load_graph(&mut self, reader: &mut Reader<'_>) -> Result<(), CodecError> {
        for user in self.all_users() {
            let version = reader.varint_u32()?;
            let mut list: Vec<Entry> = Vec::new();
            for _ in 0..reader.varint()? {
                let followee = (self.known_user(reader)?, reader.zigzag()?);
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

    fn load_posts(&mut self, reader: &mut Reader<'_>, version: u8, lengths: Lengths) -> Result<(), CodecError> {
        for user in self.all_users() {
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
        // What was the latest time of all may be one that a single row claimed.
        self.posts.folding = self.posts.folding.filter(|_| version > 3);
        for number in 0..self.post_ids.len() as u32 {
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
            Some(author) if author < self.users.len() as u64 => Some(author as u32),
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
            if entries.last().is_some_and(|last: &super::minutes::Entry| last.minute() >= minute) {
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

    fn load_touches(&mut self, reader: &mut Reader<'_>, version: u8, lengths: Lengths) -> Result<(), CodecError> {
        if version < 4 {
            reader.zigzag()?;
        }
        // Version 1 had one map, and with it one number that says nothing of a shard. What another number of shards says,
        // says nothing of these either: a shard without it is swept sooner.
        for number in 0..if version > 1 { lengths.shards } else { 1 } {
            let sweep_at = u32::try_from(reader.varint()?).map_err(|_| CodecError::Invalid(WHAT))?;
            if version > 1 && lengths.shards == self.touches.chunks.len() {
                self.touches.chunks.change(number).sweep_at = sweep_at;
            }
        }
        let mut lists: Vec<Vec<Touch>> = vec![Vec::new(); self.users.len()];
        for _ in 0..reader.varint()? {
            let (user, post) = (self.known_user(reader)?, self.known_post(reader)?);
            load_touch(post, reader, &mut lists[user as usize])?;
        }
        for (mut list, user) in lists.into_iter().zip(0..) {
            list.sort_unstable();
            list.dedup();
            let (chunk, at) = touches::place(user);
            let users = self.touches.chunks.change(chunk);
            users.lists[at] = touches::List::sorted(&list);
            users.len += list.len() as u32;
        }
        Ok(())
    }

    fn load_affinity(&mut self, reader: &mut Reader<'_>) -> Result<(), CodecError> {
        for user in self.all_users() {
            let mut cells: Vec<Cell> = Vec::new();
            for _ in 0..reader.varint()? {
                let author = self.known_user(reader)?;
                let cell = Cell { author, day: small(reader.zigzag()?)?, weight: reader.zigzag()? };
                if cells.last().is_some_and(|last| (last.author, last.day) >= (cell.author, cell.day)) {
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
                list.push((self.known_user(reader)?, small(reader.zigzag()?)?, reader.zigzag()?));
            }
            self.affinity.pend_all(post, list);
        }
        Ok(())
    }
}

fn small(value: i64) -> Result<i32, CodecError> {
    i32::try_from(value).map_err(|_| CodecError::Invalid(WHAT))
}

/// What a user did to one post: when it was last viewed, and what counted.
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
