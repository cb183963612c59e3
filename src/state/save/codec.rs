//! One piece of each structure as bytes and back.

use std::collections::BTreeMap;
use std::ops::Range;

use nova_storage::codec::{CodecError, Put, Reader};

use crate::event::Id;
use crate::state::affinity::{self, Cell, Pending, Weights};
use crate::state::blocks::Blocks;
use crate::state::daily::Days;
use crate::state::graph::Following;
use crate::state::minutes::{self, Minutes};
use crate::state::packed::{self, Packed};
use crate::state::posts::{Authors, Post, PostChunk, PostRow, Totals};
use crate::state::sets::{DatedRows, Likers};
use crate::state::touches::{self, List, Touch};
use crate::state::{UserRow, UserRows};

use super::{Meta, Refs, WHAT, size, small};

/// Bytes of a user's name that count as one entry.
const NAME_BYTES: usize = 16;

/// Where a piece stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) chunk: u32,
    /// Whether it is the chunk's first piece.
    pub(super) first: bool,
    /// How many actions were counted.
    pub(super) actions: usize,
}

/// What one chunk holds: places with a list of entries each, written in pieces of so many entries.
pub(super) trait Piece: Clone + Default + Send {
    /// Entries of one piece, so that it takes 200 KiB at most.
    const ENTRIES: usize;
    fn entries(&self) -> usize;
    /// Writes some of the entries, of the first `slots` places; what is not a list goes with entry 0.
    fn put(&self, slots: usize, entries: Range<usize>, out: &mut Vec<u8>);
    fn read(head: Head, reader: &mut Reader<'_>, refs: &mut Refs) -> Result<Self, CodecError>;
    /// Takes the entries of the piece behind it.
    fn append(&mut self, next: Self) -> Result<(), CodecError>;
    /// How many places it has at least.
    fn slots(&self) -> usize {
        0
    }
}

const INVALID: CodecError = CodecError::Invalid(WHAT);

/// Which entries of each list a range over all of them has.
fn cut(lens: impl Iterator<Item = usize>, range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    lens.map(move |len| {
        let of = range.start.saturating_sub(start).min(len)..range.end.saturating_sub(start).min(len);
        start += len;
        of
    })
}

/// As many places as were written, `N` at most.
fn slots<const N: usize>(reader: &mut Reader<'_>) -> Result<usize, CodecError> {
    let slots = size(reader.varint()?)?;
    if slots <= N { Ok(slots) } else { Err(INVALID) }
}

/// Whether numbers grow from one to the next.
fn grows<T: PartialOrd>(list: &[T]) -> Result<(), CodecError> {
    if list.is_sorted_by(|a, b| a < b) { Ok(()) } else { Err(INVALID) }
}

/// Writes numbers that grow.
fn put_numbers(numbers: &[packed::Entry], timed: bool, out: &mut Vec<u8>) {
    out.put_varint(numbers.len() as u64);
    let mut floor = 0;
    for (number, _) in numbers {
        out.put_varint(u64::from(*number) - floor);
        floor = u64::from(*number) + 1;
    }
    if !timed || numbers.is_empty() {
        return;
    }
    let base_us = numbers.iter().map(|(_, since_us)| *since_us).min().unwrap_or_default();
    let after = |since_us: i64| since_us.wrapping_sub(base_us) as u64;
    let whole = |unit: u64| numbers.iter().all(|(_, since_us)| after(*since_us).is_multiple_of(unit));
    let unit = (0..packed::UNITS_US.len()).rev().find(|unit| whole(packed::UNITS_US[*unit])).unwrap_or_default();
    let equal = numbers.iter().all(|(_, since_us)| *since_us == base_us);
    out.put_zigzag(base_us);
    out.put_u8(if equal { packed::UNITS_US.len() as u8 } else { unit as u8 });
    if !equal {
        numbers.iter().for_each(|(_, since_us)| out.put_varint(after(*since_us) / packed::UNITS_US[unit]));
    }
}

fn read_numbers(timed: bool, reader: &mut Reader<'_>) -> Result<Vec<packed::Entry>, CodecError> {
    let (len, mut floor, mut numbers) = (reader.varint()?, 0u64, Vec::new());
    for _ in 0..len {
        let number = floor.checked_add(reader.varint()?).ok_or(INVALID)?;
        numbers.push((u32::try_from(number).map_err(|_| INVALID)?, 0));
        floor = number + 1;
    }
    if !timed || numbers.is_empty() {
        return Ok(numbers);
    }
    let (base_us, unit) = (reader.zigzag()?, usize::from(reader.u8()?));
    let unit_us = packed::UNITS_US.get(unit).copied();
    if unit > packed::UNITS_US.len() {
        return Err(INVALID);
    }
    for (_, since_us) in &mut numbers {
        *since_us = match unit_us {
            None => base_us,
            Some(unit_us) => {
                let after = reader.varint()?.checked_mul(unit_us).ok_or(INVALID)?;
                base_us.wrapping_add(after as i64)
            }
        };
        if *since_us < base_us {
            return Err(INVALID);
        }
    }
    Ok(numbers)
}

fn appended<const TIMED: bool>(
    list: &mut Blocks<Packed<TIMED>>,
    next: &Blocks<Packed<TIMED>>,
) -> Result<(), CodecError> {
    if next.len() > 0 {
        let all: Vec<packed::Entry> = list.numbers().chain(next.numbers()).collect();
        if !all.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(INVALID);
        }
        *list = Blocks::packed(&all);
    }
    Ok(())
}

impl Meta {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.put_varint(self.users as u64);
        out.put_varint(self.posts as u64);
        out.put_varint(self.fold_at as u64);
        out.put_varint(self.folding.map_or(0, |next| next as u64 + 1));
        out.put_zigzag(i64::from(self.fold_from));
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Meta, CodecError> {
        let (users, posts) = (reader.varint_u32()? as usize, reader.varint_u32()? as usize);
        let (fold_at, folding) = (size(reader.varint()?)?, size(reader.varint()?)?.checked_sub(1));
        Ok(Meta { users, posts, fold_at, folding, fold_from: small(reader.zigzag()?)? })
    }
}

impl Piece for Vec<Id> {
    const ENTRIES: usize = 1 << 13;

    fn entries(&self) -> usize {
        self.len()
    }

    fn put(&self, _: usize, _: Range<usize>, out: &mut Vec<u8>) {
        out.put_varint(self.len() as u64);
        self.iter().for_each(|id| out.put_id(*id));
    }

    fn read(_: Head, reader: &mut Reader<'_>, _: &mut Refs) -> Result<Vec<Id>, CodecError> {
        (0..slots::<{ crate::state::ids::IDS }>(reader)?).map(|_| reader.id()).collect()
    }

    fn append(&mut self, _: Vec<Id>) -> Result<(), CodecError> {
        Err(INVALID)
    }

    fn slots(&self) -> usize {
        self.len()
    }
}

impl Piece for UserRows {
    const ENTRIES: usize = 10_000;

    fn entries(&self) -> usize {
        self.0.iter().map(row_entries).sum()
    }

    fn put(&self, slots: usize, entries: Range<usize>, out: &mut Vec<u8>) {
        out.put_varint(slots as u64);
        let mut start = 0;
        for row in &self.0[..slots] {
            match row.as_ref().filter(|_| entries.contains(&start)) {
                None => out.put_u8(0),
                Some(row) => {
                    out.put_u8(1 + u8::from(row.active));
                    out.put_bytes(row.username.as_bytes());
                }
            }
            start += row_entries(row);
        }
    }

    fn read(_: Head, reader: &mut Reader<'_>, _: &mut Refs) -> Result<UserRows, CodecError> {
        let mut rows = UserRows::default();
        for at in 0..slots::<{ crate::state::ROWS }>(reader)? {
            let flag = reader.u8()?;
            rows.0[at] = match flag {
                0 => None,
                1 | 2 => Some(UserRow { username: reader.text()?.into(), active: flag == 2 }),
                _ => return Err(INVALID),
            };
        }
        Ok(rows)
    }

    fn append(&mut self, next: UserRows) -> Result<(), CodecError> {
        for (row, next) in self.0.iter_mut().zip(next.0) {
            if next.is_some() {
                *row = next;
            }
        }
        Ok(())
    }

    fn slots(&self) -> usize {
        self.0.iter().rposition(Option::is_some).map_or(0, |last| last + 1)
    }
}

/// A row of a long name counts as many.
fn row_entries(row: &Option<UserRow>) -> usize {
    row.as_ref().map_or(0, |row| 1 + row.username.len() / NAME_BYTES)
}

impl Piece for PostChunk {
    const ENTRIES: usize = 16_000;

    fn entries(&self) -> usize {
        self.list.iter().map(|post| post.minutes.len()).sum()
    }

    fn put(&self, slots: usize, entries: Range<usize>, out: &mut Vec<u8>) {
        out.put_varint(slots as u64);
        let first = entries.start == 0;
        let lens = self.list.iter().map(|post| post.minutes.len());
        for (post, of) in self.list.iter().take(slots).zip(cut(lens, entries)) {
            if first {
                put_post(post, out);
            }
            out.put_varint(of.len() as u64);
            let mut last = 0;
            for entry in post.minutes.entries().skip(of.start).take(of.len()) {
                out.put_zigzag(i64::from(entry.minute()) - last);
                last = i64::from(entry.minute());
                let count = entry.count();
                out.put_varint(((count << 1) ^ (count >> 63)) as u64 * 8 + entry.action() as u64);
            }
        }
    }

    fn read(head: Head, reader: &mut Reader<'_>, refs: &mut Refs) -> Result<PostChunk, CodecError> {
        let mut chunk = PostChunk::default();
        for at in 0..slots::<{ crate::state::posts::POSTS }>(reader)? {
            let mut post = if head.first { read_post(head, reader, refs)? } else { Post::default() };
            let (mut entries, mut minute) = (Vec::new(), 0i64);
            for _ in 0..reader.varint()? {
                minute = minute.checked_add(reader.zigzag()?).ok_or(INVALID)?;
                let (word, action) = reader.varint().map(|word| (word / 8, word as usize % 8))?;
                let count = (word >> 1) as i64 ^ -((word & 1) as i64);
                if action >= head.actions || count == 0 {
                    return Err(INVALID);
                }
                entries.push(minutes::Entry::new(small(minute)?, action, count).ok_or(INVALID)?);
            }
            if !entries.is_sorted() {
                return Err(INVALID);
            }
            post.minutes = Minutes::sorted(&entries);
            if head.first || post.minutes.len() > 0 {
                refs.has_post(head.chunk.saturating_mul(crate::state::posts::POSTS as u32).saturating_add(at as u32));
            }
            chunk.list[at] = post;
        }
        Ok(chunk)
    }

    fn append(&mut self, next: PostChunk) -> Result<(), CodecError> {
        for (post, next) in self.list.iter_mut().zip(&next.list).filter(|(_, next)| next.minutes.len() > 0) {
            let all: Vec<_> = post.minutes.entries().chain(next.minutes.entries()).collect();
            if !all.is_sorted() {
                return Err(INVALID);
            }
            post.minutes = Minutes::sorted(&all);
        }
        Ok(())
    }
}

/// All of a post but its minutes.
fn put_post(post: &Post, out: &mut Vec<u8>) {
    out.put_varint(post.author.map_or(0, |author| u64::from(author) + 1));
    match post.row {
        None => out.put_u8(0),
        Some(row) => {
            out.put_u8(1 + u8::from(row.published));
            out.put_zigzag(row.created_at_us);
        }
    }
    post.totals.counts().iter().for_each(|total| out.put_zigzag(*total));
}

fn read_post(head: Head, reader: &mut Reader<'_>, refs: &mut Refs) -> Result<Post, CodecError> {
    let mut post = Post::default();
    if let Some(author) = reader.varint()?.checked_sub(1) {
        let author = u32::try_from(author).map_err(|_| INVALID)?;
        refs.has_user(author);
        post.author = Some(author);
    }
    post.row = match (reader.u8()?, post.author) {
        (0, _) => None,
        (flag @ 1..=2, Some(author)) => Some(PostRow { author, created_at_us: reader.zigzag()?, published: flag == 2 }),
        _ => return Err(INVALID),
    };
    let mut totals = [0; 5];
    for total in totals.iter_mut().take(head.actions) {
        *total = reader.zigzag()?;
    }
    post.totals = Totals::of(totals);
    Ok(post)
}

impl Piece for Authors {
    const ENTRIES: usize = usize::MAX;

    fn entries(&self) -> usize {
        0
    }

    fn put(&self, slots: usize, _: Range<usize>, out: &mut Vec<u8>) {
        out.put_varint(slots as u64);
        self.versions[..slots].iter().for_each(|version| out.put_varint(u64::from(*version)));
    }

    fn read(_: Head, reader: &mut Reader<'_>, _: &mut Refs) -> Result<Authors, CodecError> {
        let mut authors = Authors::default();
        for at in 0..slots::<{ crate::state::posts::AUTHORS }>(reader)? {
            authors.versions[at] = reader.varint_u32()?;
        }
        Ok(authors)
    }

    fn append(&mut self, _: Authors) -> Result<(), CodecError> {
        Err(INVALID)
    }
}

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
        for ((from, to), since_us) in &more[of] {
            out.put_varint(u64::from(*from));
            out.put_varint(u64::from(*to));
            out.put_zigzag(**since_us);
        }
    }

    fn read(head: Head, reader: &mut Reader<'_>, refs: &mut Refs) -> Result<Following, CodecError> {
        let mut following = Following::default();
        for at in 0..slots::<{ crate::state::graph::USERS }>(reader)? {
            following.versions[at] = reader.varint_u32()?;
            let numbers = read_numbers(true, reader)?;
            numbers.last().into_iter().for_each(|(user, _)| refs.has_user(*user));
            following.lists[at] = Blocks::packed(&numbers);
        }
        for _ in 0..reader.varint()? {
            let (from, to) = (refs.user(reader)?, refs.user(reader)?);
            if from / crate::state::graph::USERS as u32 != head.chunk {
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
        for at in 0..slots::<{ touches::USERS }>(reader)? {
            let (mut list, mut post, mut word) = (Vec::new(), 0u32, 0i64);
            for _ in 0..reader.varint()? {
                post = post.checked_add(reader.varint_u32()?).ok_or(INVALID)?;
                word = word.checked_add(reader.zigzag()?).ok_or(INVALID)?;
                list.push(Touch::of_word(post, u64::try_from(word).map_err(|_| INVALID)?).ok_or(INVALID)?);
            }
            grows(&list)?;
            list.last().into_iter().for_each(|touch| refs.has_post(touch.post()));
            users.len = users.len.saturating_add(list.len() as u32);
            users.lists[at] = List::sorted(&list);
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
            for cell in &weights.cells()[of] {
                out.put_varint(u64::from(cell.author - author));
                out.put_zigzag(i64::from(cell.day) - day);
                out.put_zigzag(cell.weight);
                (author, day) = (cell.author, i64::from(cell.day));
            }
        }
    }

    fn read(_: Head, reader: &mut Reader<'_>, refs: &mut Refs) -> Result<affinity::Users, CodecError> {
        let mut users = affinity::Users::default();
        for at in 0..slots::<{ affinity::USERS }>(reader)? {
            let (mut cells, mut author, mut day) = (Vec::new(), 0u32, 0i64);
            for _ in 0..reader.varint()? {
                author = author.checked_add(reader.varint_u32()?).ok_or(INVALID)?;
                day = day.checked_add(reader.zigzag()?).ok_or(INVALID)?;
                refs.has_user(author);
                cells.push(Cell { author, day: small(day)?, weight: reader.zigzag()? });
            }
            if !cells.is_sorted_by(|a, b| (a.author, a.day) < (b.author, b.day)) {
                return Err(INVALID);
            }
            users.list[at] = Weights::of(&cells);
        }
        Ok(users)
    }

    fn append(&mut self, next: affinity::Users) -> Result<(), CodecError> {
        for (weights, next) in self.list.iter_mut().zip(&next.list).filter(|(_, next)| next.len() > 0) {
            let all = [weights.cells(), next.cells()].concat();
            if !all.is_sorted_by(|a, b| (a.author, a.day) < (b.author, b.day)) {
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

impl Piece for BTreeMap<u32, Pending> {
    const ENTRIES: usize = 7_000;

    fn entries(&self) -> usize {
        self.values().map(Vec::len).sum()
    }

    fn put(&self, _: usize, entries: Range<usize>, out: &mut Vec<u8>) {
        let all = self.iter().flat_map(|(post, list)| list.iter().map(move |action| (post, action)));
        let all: Vec<_> = all.skip(entries.start).take(entries.len()).collect();
        out.put_varint(all.len() as u64);
        for (post, (user, day, weight)) in all {
            out.put_varint(u64::from(*post));
            out.put_varint(u64::from(*user));
            out.put_zigzag(i64::from(*day));
            out.put_zigzag(*weight);
        }
    }

    fn read(head: Head, reader: &mut Reader<'_>, refs: &mut Refs) -> Result<BTreeMap<u32, Pending>, CodecError> {
        let mut pending = BTreeMap::<u32, Pending>::new();
        for _ in 0..reader.varint()? {
            let (post, user) = (refs.post(reader)?, refs.user(reader)?);
            if post / affinity::PENDING_POSTS as u32 != head.chunk {
                return Err(INVALID);
            }
            pending.entry(post).or_default().push((user, small(reader.zigzag()?)?, reader.zigzag()?));
        }
        Ok(pending)
    }

    fn append(&mut self, next: BTreeMap<u32, Pending>) -> Result<(), CodecError> {
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
        for at in 0..slots::<{ crate::state::sets::POSTS }>(reader)? {
            let numbers = read_numbers(false, reader)?;
            if let Some((user, _)) = numbers.last() {
                refs.has_user(*user);
                refs.has_post(head.chunk.saturating_mul(crate::state::sets::POSTS as u32).saturating_add(at as u32));
            }
            likers.lists[at] = Blocks::packed(&numbers);
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
            if usize::from(key.0[15]) % crate::state::sets::DATED_CHUNKS != head.chunk as usize {
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
