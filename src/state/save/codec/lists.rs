//! Writes touches, follows and likes as bytes and reads them.

use std::collections::BTreeMap;
use std::ops::Range;

use nova_storage::codec::{CodecError, Put, Reader};

use crate::state::affinity::{self, Cell, KINDS, Pended, Pending, WEIGHED, Weights};
use crate::state::blocks::Blocks;
use crate::state::daily::Days;
use crate::state::dense::{PostNo, UserNo};
use crate::state::graph::{self, Following};
use crate::state::save::format::{WHAT, small};
use crate::state::save::refs::Refs;
use crate::state::sets::{self, DatedRows, Likers};
use crate::state::touches::{self, List, Touch};

use super::{Head, INVALID, Piece, appended, cut, grows, put_numbers, read_numbers, slots};

impl Piece for Following {
    const ENTRIES: usize = 12_000;

    fn entries(&self) -> usize {
        self.lists.iter().map(Blocks::len).sum::<usize>() + self.more.values().map(Vec::len).sum::<usize>()
    }

    fn put(&self, slots: usize, entries: Range<usize>, out: &mut Vec<u8>) {
        out.put_varint(slots as u64);
        let more: Vec<_> =
            self.more.iter().flat_map(|(pair, times)| times.iter().map(move |since_us| (pair, since_us))).collect();
        let lens = self.lists.iter().map(Blocks::len).chain(std::iter::once(more.len()));
        let mut ranges = cut(lens, entries.clone());
        for ((list, version), of) in self.lists.iter().zip(&self.versions).zip(ranges.by_ref()).take(slots) {
            out.put_varint(if entries.start == 0 { u64::from(*version) } else { 0 });
            let numbers: Vec<_> = list.numbers().skip(of.start).take(of.len()).collect();
            put_numbers(&numbers, true, out);
        }
        let of = ranges.last().unwrap_or(0..0);
        out.put_varint(of.len() as u64);
        for ((from, to), since_us) in more.get(of).unwrap_or_default() {
            out.put_varint(u64::from(from.get()));
            out.put_varint(u64::from(to.get()));
            out.put_zigzag(**since_us);
        }
    }

    fn read(head: Head, reader: &mut Reader<'_>, refs: &mut Refs) -> Result<Following, CodecError> {
        let mut following = Following::default();
        let slots = slots::<{ graph::USERS }>(reader)?;
        for (version, list) in following.versions.iter_mut().zip(&mut following.lists).take(slots) {
            *version = reader.varint_u32()?;
            let numbers = read_numbers(true, reader)?;
            numbers.last().into_iter().for_each(|(user, _)| refs.has_user(*user));
            *list = Blocks::packed(&numbers);
        }
        for _ in 0..reader.varint()? {
            let (from, to) = (refs.user(reader)?, refs.user(reader)?);
            if graph::place(from).0 != head.chunk as usize {
                return Err(INVALID);
            }
            let times = following.more.entry((from, to)).or_default();
            times.push(reader.zigzag()?);
            times.sort_unstable();
        }
        Ok(following)
    }

    fn append(&mut self, next: Following) -> Result<(), CodecError> {
        for (pair, times) in next.more {
            let known = self.more.entry(pair).or_default();
            known.extend(times);
            known.sort_unstable();
        }
        self.lists.iter_mut().zip(&next.lists).try_for_each(|(list, next)| appended(list, next))
    }

    fn slots(&self) -> usize {
        self.lists.iter().rposition(|list| list.len() > 0).map_or(0, |last| last + 1)
    }
}

impl Piece for touches::Users {
    const ENTRIES: usize = 14_000;

    fn entries(&self) -> usize {
        self.lists.iter().map(Blocks::len).sum()
    }

    fn put(&self, slots: usize, entries: Range<usize>, out: &mut Vec<u8>) {
        out.put_varint(u64::from(self.sweep_at));
        out.put_varint(slots as u64);
        for (list, of) in self.lists.iter().take(slots).zip(cut(self.lists.iter().map(Blocks::len), entries)) {
            out.put_varint(of.len() as u64);
            let (mut post, mut word) = (0, 0);
            for touch in list.entries().skip(of.start).take(of.len()) {
                out.put_varint(u64::from(touch.post() - post));
                out.put_zigzag(touch.word() as i64 - word);
                (post, word) = (touch.post(), touch.word() as i64);
            }
        }
    }

    fn read(_: Head, reader: &mut Reader<'_>, refs: &mut Refs) -> Result<touches::Users, CodecError> {
        let mut users = touches::Users { sweep_at: reader.varint_u32()?, ..touches::Users::default() };
        let slots = slots::<{ touches::USERS }>(reader)?;
        for place in users.lists.iter_mut().take(slots) {
            let (mut list, mut post, mut word) = (Vec::new(), 0u32, 0i64);
            for _ in 0..reader.varint()? {
                post = post.checked_add(reader.varint_u32()?).ok_or(INVALID)?;
                word = word.checked_add(reader.zigzag()?).ok_or(INVALID)?;
                list.push(Touch::of_word(post, u64::try_from(word).map_err(|_| INVALID)?).ok_or(INVALID)?);
            }
            grows(&list)?;
            list.last().into_iter().for_each(|touch| refs.has_post(touch.post()));
            users.len = users.len.saturating_add(list.len() as u32);
            *place = List::sorted(&list);
        }
        Ok(users)
    }

    fn append(&mut self, next: touches::Users) -> Result<(), CodecError> {
        for (list, next) in self.lists.iter_mut().zip(&next.lists).filter(|(_, next)| next.len() > 0) {
            let all: Vec<Touch> = list.entries().chain(next.entries()).collect();
            grows(&all)?;
            *list = List::sorted(&all);
        }
        self.len = self.len.saturating_add(next.len);
        Ok(())
    }

    fn slots(&self) -> usize {
        self.lists.iter().rposition(|list| list.len() > 0).map_or(0, |last| last + 1)
    }
}

/// Version 5 of the format had weights and no counts.
fn kind(head: Head, reader: &mut Reader<'_>) -> Result<u8, CodecError> {
    if head.version < 6 {
        return Ok(WEIGHED);
    }
    Some(reader.u8()?).filter(|kind| *kind < KINDS).ok_or(INVALID)
}

impl Piece for affinity::Users {
    const ENTRIES: usize = 9_000;

    fn entries(&self) -> usize {
        self.list.iter().map(Weights::len).sum()
    }

    fn put(&self, slots: usize, entries: Range<usize>, out: &mut Vec<u8>) {
        out.put_varint(slots as u64);
        for (weights, of) in self.list.iter().take(slots).zip(cut(self.list.iter().map(Weights::len), entries)) {
            out.put_varint(of.len() as u64);
            let (mut author, mut day) = (0, 0);
            for cell in weights.cells().get(of).unwrap_or_default() {
                out.put_varint(u64::from(cell.author.get() - author));
                out.put_zigzag(i64::from(cell.day) - day);
                out.put_u8(cell.kind);
                out.put_zigzag(cell.count);
                (author, day) = (cell.author.get(), i64::from(cell.day));
            }
        }
    }

    fn read(head: Head, reader: &mut Reader<'_>, refs: &mut Refs) -> Result<affinity::Users, CodecError> {
        let mut users = affinity::Users::default();
        let slots = slots::<{ affinity::USERS }>(reader)?;
        for weights in users.list.iter_mut().take(slots) {
            let (mut cells, mut author, mut day) = (Vec::new(), 0u32, 0i64);
            for _ in 0..reader.varint()? {
                author = author.checked_add(reader.varint_u32()?).ok_or(INVALID)?;
                day = day.checked_add(reader.zigzag()?).ok_or(INVALID)?;
                refs.has_user(author);
                let (day, kind) = (small(day)?, kind(head, reader)?);
                cells.push(Cell { author: UserNo::of(author), day, kind, count: reader.zigzag()? });
            }
            if !cells.is_sorted_by(|a: &Cell, b| a.place() < b.place()) {
                return Err(INVALID);
            }
            *weights = Weights::of(&cells);
        }
        Ok(users)
    }

    fn append(&mut self, next: affinity::Users) -> Result<(), CodecError> {
        for (weights, next) in self.list.iter_mut().zip(&next.list).filter(|(_, next)| next.len() > 0) {
            let all = [weights.cells(), next.cells()].concat();
            if !all.is_sorted_by(|a, b| a.place() < b.place()) {
                return Err(INVALID);
            }
            *weights = Weights::of(&all);
        }
        Ok(())
    }

    fn slots(&self) -> usize {
        self.list.iter().rposition(|weights| weights.len() > 0).map_or(0, |last| last + 1)
    }
}

impl Piece for BTreeMap<PostNo, Pending> {
    const ENTRIES: usize = 7_000;

    fn entries(&self) -> usize {
        self.values().map(Vec::len).sum()
    }

    fn put(&self, _: usize, entries: Range<usize>, out: &mut Vec<u8>) {
        let all = self.iter().flat_map(|(post, list)| list.iter().map(move |action| (post, action)));
        let all: Vec<_> = all.skip(entries.start).take(entries.len()).collect();
        out.put_varint(all.len() as u64);
        for (post, Pended { user, day, count, kind }) in all {
            out.put_varint(u64::from(post.get()));
            out.put_varint(u64::from(user.get()));
            out.put_zigzag(i64::from(*day));
            out.put_u8(*kind);
            out.put_zigzag(i64::from(*count));
        }
    }

    fn read(head: Head, reader: &mut Reader<'_>, refs: &mut Refs) -> Result<BTreeMap<PostNo, Pending>, CodecError> {
        let mut pending = BTreeMap::<PostNo, Pending>::new();
        for _ in 0..reader.varint()? {
            let (post, user) = (refs.post(reader)?, refs.user(reader)?);
            if post.index() / affinity::PENDING_POSTS != head.chunk as usize {
                return Err(INVALID);
            }
            let (day, kind) = (small(reader.zigzag()?)?, kind(head, reader)?);
            pending.entry(post).or_default().push(Pended { user, day, count: small(reader.zigzag()?)?, kind });
        }
        Ok(pending)
    }

    fn append(&mut self, next: BTreeMap<PostNo, Pending>) -> Result<(), CodecError> {
        next.into_iter().for_each(|(post, list)| self.entry(post).or_default().extend(list));
        Ok(())
    }
}

impl Piece for Likers {
    const ENTRIES: usize = 36_000;

    fn entries(&self) -> usize {
        self.lists.iter().map(Blocks::len).sum()
    }

    fn put(&self, _: usize, entries: Range<usize>, out: &mut Vec<u8>) {
        out.put_varint(self.lists.len() as u64);
        for (list, of) in self.lists.iter().zip(cut(self.lists.iter().map(Blocks::len), entries)) {
            let numbers: Vec<_> = list.numbers().skip(of.start).take(of.len()).collect();
            put_numbers(&numbers, false, out);
        }
    }

    fn read(head: Head, reader: &mut Reader<'_>, refs: &mut Refs) -> Result<Likers, CodecError> {
        let mut likers = Likers::default();
        let slots = slots::<{ sets::POSTS }>(reader)?;
        for (at, list) in likers.lists.iter_mut().take(slots).enumerate() {
            let numbers = read_numbers(false, reader)?;
            if let Some((user, _)) = numbers.last() {
                refs.has_user(*user);
                refs.has_post(head.chunk.saturating_mul(sets::POSTS as u32).saturating_add(at as u32));
            }
            *list = Blocks::packed(&numbers);
        }
        Ok(likers)
    }

    fn append(&mut self, next: Likers) -> Result<(), CodecError> {
        self.lists.iter_mut().zip(&next.lists).try_for_each(|(list, next)| appended(list, next))
    }
}

impl Piece for DatedRows {
    const ENTRIES: usize = 7_000;

    fn entries(&self) -> usize {
        self.len()
    }

    fn put(&self, _: usize, entries: Range<usize>, out: &mut Vec<u8>) {
        let all: Vec<_> = self.iter().skip(entries.start).take(entries.len()).collect();
        out.put_varint(all.len() as u64);
        for ((action, key), at_ms) in all {
            out.put_u8(*action);
            out.put_id(*key);
            out.put_zigzag(*at_ms);
        }
    }

    fn read(head: Head, reader: &mut Reader<'_>, _: &mut Refs) -> Result<DatedRows, CodecError> {
        let mut rows = DatedRows::new();
        for _ in 0..reader.varint()? {
            let (action, key) = (reader.u8()?, reader.id()?);
            if usize::from(key.0[15]) % sets::DATED_CHUNKS != head.chunk as usize {
                return Err(INVALID);
            }
            rows.insert((action, key), reader.zigzag()?);
        }
        Ok(rows)
    }

    fn append(&mut self, next: DatedRows) -> Result<(), CodecError> {
        self.extend(next);
        Ok(())
    }
}

impl Piece for Days {
    const ENTRIES: usize = usize::MAX;

    fn entries(&self) -> usize {
        0
    }

    fn put(&self, _: usize, _: Range<usize>, out: &mut Vec<u8>) {
        self.save(out);
    }

    fn read(head: Head, reader: &mut Reader<'_>, _: &mut Refs) -> Result<Days, CodecError> {
        Days::load(WHAT, reader, head.actions)
    }

    fn append(&mut self, _: Days) -> Result<(), CodecError> {
        Err(INVALID)
    }
}
