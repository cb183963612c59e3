//! Writes pieces of each structure of the state as bytes, and reads them.

mod lists;

use std::ops::Range;

use nova_storage::codec::{CodecError, Put, Reader};

use crate::event::Id;
use crate::state::blocks::Blocks;
use crate::state::dense::UserNo;
use crate::state::meta::Meta;
use crate::state::minutes::{self, Minutes};
use crate::state::packed::{self, Packed};
use crate::state::posts::{Authors, Post, PostChunk, PostRow};
use crate::state::totals::Totals;
use crate::state::users::{ROWS, UserRow, UserRows};

use super::format::{WHAT, size, small};
use super::refs::Refs;

/// The number of bytes of a user's name that count as one entry.
const NAME_BYTES: usize = 16;

/// The facts about a piece that a reader needs to read its content.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) chunk: u32,
    /// Whether this piece is the first piece of its chunk.
    pub(super) first: bool,
    /// The number of actions that were counted when the piece was written.
    pub(super) actions: usize,
    /// The version of the format in which the piece was written.
    pub(super) version: u8,
}

/// The content of one chunk. The chunk has places with a list of entries in each place, and it is written in pieces.
pub(super) trait Piece: Clone + Default + Send + Sync {
    /// The number of entries in one piece, so that a piece has at most 200 KiB.
    const ENTRIES: usize;
    fn entries(&self) -> usize;
    /// Writes a range of the entries in the lists of the first `slots` places. The piece with the entry 0 also has all
    /// content that is not in a list.
    fn put(&self, slots: usize, entries: Range<usize>, out: &mut Vec<u8>);
    fn read(head: Head, reader: &mut Reader<'_>, refs: &mut Refs) -> Result<Self, CodecError>;
    /// Appends the entries of the piece that follows.
    fn append(&mut self, next: Self) -> Result<(), CodecError>;
    /// Returns the minimum number of places that the chunk must have.
    fn slots(&self) -> usize {
        0
    }
}

const INVALID: CodecError = CodecError::Invalid(WHAT);

/// Splits a range over the entries of all lists into the ranges of the single lists.
fn cut(lens: impl Iterator<Item = usize>, range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    lens.map(move |len| {
        let of = range.start.saturating_sub(start).min(len)..range.end.saturating_sub(start).min(len);
        start += len;
        of
    })
}

/// Reads the number of places that were written, which is at most `N`.
fn slots<const N: usize>(reader: &mut Reader<'_>) -> Result<usize, CodecError> {
    let slots = size(reader.varint()?)?;
    if slots <= N { Ok(slots) } else { Err(INVALID) }
}

/// Checks that each number of a list is larger than the number before it.
fn grows<T: PartialOrd>(list: &[T]) -> Result<(), CodecError> {
    if list.is_sorted_by(|a, b| a < b) { Ok(()) } else { Err(INVALID) }
}

/// Writes a list of rising numbers.
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
    let whole = |unit_us: u64| numbers.iter().all(|(_, since_us)| after(*since_us).is_multiple_of(unit_us));
    let mut units = packed::UNITS_US.into_iter().enumerate().rev();
    let (unit, unit_us) = units.find(|(_, unit_us)| whole(*unit_us)).unwrap_or((0, 1));
    let equal = numbers.iter().all(|(_, since_us)| *since_us == base_us);
    out.put_zigzag(base_us);
    out.put_u8(if equal { packed::UNITS_US.len() as u8 } else { unit as u8 });
    if !equal {
        numbers.iter().for_each(|(_, since_us)| out.put_varint(after(*since_us) / unit_us));
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
        for row in self.0.iter().take(slots) {
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
        for row in rows.0.iter_mut().take(slots::<ROWS>(reader)?) {
            let flag = reader.u8()?;
            *row = match flag {
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

/// A user's row with a long name counts as several entries.
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
        let slots = slots::<{ crate::state::posts::POSTS }>(reader)?;
        for (at, place) in chunk.list.iter_mut().take(slots).enumerate() {
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
            *place = post;
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

/// Writes a post without the counts of its minutes.
fn put_post(post: &Post, out: &mut Vec<u8>) {
    out.put_varint(post.author.map_or(0, |author| u64::from(author.get()) + 1));
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
        post.author = Some(UserNo::of(author));
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
        self.versions.iter().take(slots).for_each(|version| out.put_varint(u64::from(*version)));
    }

    fn read(_: Head, reader: &mut Reader<'_>, _: &mut Refs) -> Result<Authors, CodecError> {
        let mut authors = Authors::default();
        let slots = slots::<{ crate::state::posts::AUTHORS }>(reader)?;
        for version in authors.versions.iter_mut().take(slots) {
            *version = reader.varint_u32()?;
        }
        Ok(authors)
    }

    fn append(&mut self, _: Authors) -> Result<(), CodecError> {
        Err(INVALID)
    }
}
