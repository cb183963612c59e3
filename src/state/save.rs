//! The state as bytes and back: equal states give equal bytes.

use nova_storage::codec::{CodecError, Put, Reader};

use crate::event::{Action, Id};

use super::affinity::Cell;
use super::daily::Daily;
use super::graph::Followee;
use super::posts::{Bucket, Post, PostRow};
use super::touches::{SHARDS, Touch};
use super::{State, StateSettings, UserRow};

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
        out.put_varint(SHARDS as u64);
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

    fn save_rows(&self, out: &mut Vec<u8>) {
        out.put_varint(self.users.len() as u64);
        for (id, row) in self.users.all().iter().zip(&self.user_rows) {
            out.put_id(*id);
            out.put_optional_bytes(row.as_ref().map(|row| row.username.as_bytes()));
            if let Some(row) = row {
                out.put_u8(u8::from(row.active));
                out.put_zigzag(row.created_at_us);
            }
        }
        out.put_varint(self.post_ids.len() as u64);
        self.post_ids.all().iter().for_each(|id| out.put_id(*id));
    }

    fn save_graph(&self, out: &mut Vec<u8>) {
        for (list, version) in self.graph.out.iter().zip(&self.graph.versions) {
            out.put_varint(u64::from(*version));
            out.put_varint(list.len() as u64);
            for followee in list {
                out.put_varint(u64::from(followee.user));
                out.put_zigzag(followee.since_us);
            }
        }
        let mut more: Vec<_> = self.graph.more.iter().collect();
        more.sort_unstable();
        out.put_varint(more.len() as u64);
        for ((from, to), times) in more {
            out.put_varint(u64::from(*from));
            out.put_varint(u64::from(*to));
            out.put_varint(times.len() as u64);
            times.iter().for_each(|time| out.put_zigzag(*time));
        }
    }

    fn save_posts(&self, out: &mut Vec<u8>) {
        self.posts.versions.iter().for_each(|version| out.put_varint(u64::from(*version)));
        out.put_varint(self.posts.fold_at as u64);
        out.put_varint(self.posts.folding.map_or(0, |next| next as u64 + 1));
        out.put_zigzag(i64::from(self.posts.fold_from));
        for post in &self.posts.posts {
            out.put_varint(post.author.map_or(0, |author| u64::from(author) + 1));
            match post.row {
                None => out.put_u8(0),
                Some(row) => {
                    out.put_u8(1 + u8::from(row.published));
                    out.put_zigzag(row.created_at_us);
                }
            }
            post.totals.iter().for_each(|total| out.put_zigzag(*total));
            out.put_varint(post.buckets.len() as u64);
            for bucket in &post.buckets {
                out.put_zigzag(i64::from(bucket.minute));
                bucket.counts.iter().for_each(|count| out.put_zigzag(i64::from(*count)));
            }
        }
    }

    fn save_touches(&self, out: &mut Vec<u8>) {
        self.touches.shards.iter().for_each(|shard| out.put_varint(shard.sweep_at as u64));
        let mut touches: Vec<_> = self.touches.shards.iter().flat_map(|shard| &shard.map).collect();
        touches.sort_unstable_by_key(|(key, _)| **key);
        out.put_varint(touches.len() as u64);
        for ((user, post), touch) in touches {
            out.put_varint(u64::from(*user));
            out.put_varint(u64::from(*post));
            out.put_zigzag(touch.viewed_ms.unwrap_or(i64::MIN));
            out.put_varint(touch.counted.len() as u64);
            for (action, at_ms) in &touch.counted {
                out.put_u8(*action as u8);
                out.put_zigzag(*at_ms);
            }
        }
    }

    fn save_affinity(&self, out: &mut Vec<u8>) {
        for cells in &self.affinity.users {
            out.put_varint(cells.len() as u64);
            for cell in cells {
                out.put_varint(u64::from(cell.author));
                out.put_zigzag(i64::from(cell.day));
                out.put_zigzag(cell.weight);
            }
        }
        let mut pending: Vec<_> = self.affinity.pending.iter().collect();
        pending.sort_unstable();
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
                let row = UserRow { username, active, created_at_us: reader.zigzag()? };
                self.user_rows[user as usize] = Some(row);
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
        for user in 0..self.users.len() {
            self.graph.versions[user] = reader.varint_u32()?;
            for _ in 0..reader.varint()? {
                let followee = Followee { user: self.known_user(reader)?, since_us: reader.zigzag()? };
                if self.graph.out[user].last().is_some_and(|last| last.user >= followee.user) {
                    return Err(CodecError::Invalid(WHAT));
                }
                self.graph.out[user].push(followee);
                self.graph.follows += 1;
                // Users come in order, so followers are sorted.
                self.graph.followers[followee.user as usize].push(user as u32);
            }
        }
        for _ in 0..reader.varint()? {
            let pair = (self.known_user(reader)?, self.known_user(reader)?);
            let mut times = Vec::new();
            for _ in 0..reader.varint()? {
                times.push(reader.zigzag()?);
            }
            self.graph.more.insert(pair, times);
        }
        Ok(())
    }

    fn load_posts(&mut self, reader: &mut Reader<'_>, version: u8, lengths: Lengths) -> Result<(), CodecError> {
        for version in &mut self.posts.versions {
            *version = reader.varint_u32()?;
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
        for number in 0..self.post_ids.len() {
            let post = self.load_post(reader, lengths)?;
            self.posts.buckets += post.buckets.len();
            if let Some(row) = post.row {
                self.posts.by_author[row.author as usize].push(number as u32);
            }
            self.posts.posts[number] = post;
        }
        let (posts, ids) = (&self.posts.posts, &self.post_ids);
        for list in &mut self.posts.by_author {
            list.sort_unstable_by_key(|post| {
                let created_at_us = posts[*post as usize].row.map_or(i64::MIN, |row| row.created_at_us);
                (std::cmp::Reverse(created_at_us), ids.id(*post))
            });
        }
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
        for total in post.totals.iter_mut().take(lengths.actions) {
            *total = reader.zigzag()?;
        }
        for _ in 0..reader.varint()? {
            let mut bucket = Bucket { minute: small(reader.zigzag()?)?, counts: [0; 5] };
            for count in bucket.counts.iter_mut().take(lengths.actions) {
                *count = small(reader.zigzag()?)?;
            }
            post.buckets.push(bucket);
        }
        Ok(post)
    }

    fn load_touches(&mut self, reader: &mut Reader<'_>, version: u8, lengths: Lengths) -> Result<(), CodecError> {
        if version < 4 {
            reader.zigzag()?;
        }
        // Version 1 had one map, and with it one number that says nothing of a shard. What another number of shards says,
        // says nothing of these either: a shard without it is swept sooner.
        for number in 0..if version > 1 { lengths.shards } else { 1 } {
            let sweep_at = usize::try_from(reader.varint()?).map_err(|_| CodecError::Invalid(WHAT))?;
            if version > 1 && lengths.shards == SHARDS {
                self.touches.shards[number].sweep_at = sweep_at;
            }
        }
        for _ in 0..reader.varint()? {
            let key = (self.known_user(reader)?, self.known_post(reader)?);
            let viewed_ms = Some(reader.zigzag()?).filter(|viewed_ms| *viewed_ms != i64::MIN);
            let mut counted = Vec::new();
            for _ in 0..reader.varint()? {
                let action = Action::numbered(reader.u8()?)?;
                counted.push((action, reader.zigzag()?));
            }
            self.touches.shards[key.0 as usize % SHARDS].map.insert(key, Touch { viewed_ms, counted });
        }
        Ok(())
    }

    fn load_affinity(&mut self, reader: &mut Reader<'_>) -> Result<(), CodecError> {
        for user in 0..self.users.len() {
            for _ in 0..reader.varint()? {
                let author = self.known_user(reader)?;
                let cell = Cell { author, day: small(reader.zigzag()?)?, weight: reader.zigzag()? };
                self.affinity.users[user].push(cell);
            }
        }
        for _ in 0..reader.varint()? {
            let post = self.known_post(reader)?;
            let mut list = Vec::new();
            for _ in 0..reader.varint()? {
                list.push((self.known_user(reader)?, small(reader.zigzag()?)?, reader.zigzag()?));
            }
            self.affinity.pending_len += list.len();
            self.affinity.pending.insert(post, list);
        }
        Ok(())
    }
}

fn small(value: i64) -> Result<i32, CodecError> {
    i32::try_from(value).map_err(|_| CodecError::Invalid(WHAT))
}
