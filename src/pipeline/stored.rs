//! The value that is stored under a primary key: the row or its tombstone, the versions of the row that the stream has
//! had, and the place of the row's content in its topic.
//!
//! Streamed changes and reads are kept apart (rule N6): the LSN of a streamed change is the position of its write, and
//! the LSN of a read is the position of the log at the snapshot. `order` compares both kinds of LSN.

#![warn(clippy::indexing_slicing)]

use nova_storage::codec::{CodecError, Put, Reader};

use crate::event::{Format, Id, Row};

use super::cells::decode_cells;

/// The version of the format of stored rows. Version 1 of the format had no partition. Version 1 stored one LSN and one
/// time. Both belonged to a change, or both belonged to a read.
const ROW_VERSION: u8 = 2;
const WHAT: &str = "stored row";
/// The typical number of bytes that a stored row has before its cells.
const HEAD_TYPICAL_BYTES: usize = 64;

/// The number of streamed versions that nova remembers of each row. A redelivery repeats remembered versions, and a log
/// that began again does not.
pub const SEEN_MAX: usize = 4;

const LIVE: u8 = 0x80;
const MOVED: u8 = 0x40;
const READ: u8 = 0x20;
const COMPLETE: u8 = 0x10;
const HOLES: u8 = 0x08;
/// The record's place has another offset than the row's version.
const PLACED: u8 = 0x04;
const FORMAT: u8 = 0x03;
/// A flag that version 1 of the format used.
const RAISED: u8 = 0x40;
/// The value `i64::MIN` stands for an unknown time. No commit has the time `i64::MIN`.
const NO_TIME: i64 = i64::MIN;

/// The version of a row in ClickHouse. The version rises with every write of the row, so that ClickHouse also keeps the
/// last write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Version {
    pub epoch: u16,
    /// The LSN of the record, or 0 if the record's format has none.
    pub lsn: u64,
    pub offset: i64,
}

impl Version {
    /// The version as one number with the same order: 16 bits of epoch, 64 bits of LSN, and 48 bits of offset.
    pub fn number(&self) -> u128 {
        const OFFSET_MASK: i64 = (1 << 48) - 1;
        u128::from(self.epoch) << 112 | u128::from(self.lsn) << 48 | (self.offset & OFFSET_MASK) as u128
    }

    /// Returns this version if it is above `stored`, otherwise the next version above `stored`.
    pub fn above(self, stored: Version) -> Version {
        if self > stored { self } else { Version { offset: stored.offset.saturating_add(1), ..stored } }
    }
}

/// The place of a record in its topic. Offsets of two partitions cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Place {
    /// The partition. The partition is `None` in rows that were written before nova stored partitions.
    pub partition: Option<i32>,
    pub offset: i64,
}

impl Place {
    /// Whether the record is in another partition than the stored record.
    pub fn elsewhere(&self, stored: &Place) -> bool {
        matches!((self.partition, stored.partition), (Some(one), Some(other)) if one != other)
    }
}

/// A version of a row that came in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Seen {
    pub lsn: u64,
    /// The time at which the change was committed, epoch microseconds.
    pub ts_us: Option<i64>,
}

impl Seen {
    /// Whether a record is a redelivery of this version. The formats of records differ in the precision of times.
    pub fn is(&self, lsn: u64, ts_us: Option<i64>) -> bool {
        let same_time = match (self.ts_us, ts_us) {
            (Some(one), Some(other)) => one.div_euclid(1_000) == other.div_euclid(1_000),
            _ => true,
        };
        self.lsn == lsn && same_time
    }
}

/// The streamed versions of a row in one epoch, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct History {
    seen: [Seen; SEEN_MAX],
    len: usize,
    /// Whether the oldest remembered version is the row's first version: it created the row, or it is the first version
    /// after a snapshot that had the row.
    complete: bool,
    /// The latest commit time of all versions of the row, including forgotten versions.
    latest_us: Option<i64>,
}

impl History {
    pub fn newest(&self) -> Option<&Seen> {
        self.versions().first()
    }

    pub fn versions(&self) -> &[Seen] {
        self.seen.get(..self.len).unwrap_or_default()
    }

    pub fn latest_us(&self) -> Option<i64> {
        self.latest_us
    }

    pub fn contains(&self, lsn: u64, ts_us: Option<i64>) -> bool {
        self.versions().iter().any(|seen| seen.is(lsn, ts_us))
    }

    /// Whether the history remembers every version whose LSN is `lsn` or higher.
    pub fn covers(&self, lsn: u64) -> bool {
        self.complete || self.versions().last().is_some_and(|oldest| oldest.lsn < lsn)
    }

    /// Whether the time of a version contradicts the version's LSN. The time contradicts the LSN if a remembered
    /// version has a higher LSN and no later time. In one log this happens only if a clock was set back, or in a
    /// transaction of many changes.
    pub fn disputes(&self, lsn: u64, ts_us: Option<i64>) -> bool {
        let later = |seen: &Seen| matches!((seen.ts_us, ts_us), (Some(seen), Some(at)) if seen <= at);
        self.versions().iter().any(|seen| seen.lsn > lsn && later(seen))
    }

    /// The history of a row whose first streamed version is `version`.
    pub fn first(version: Seen, created: bool) -> History {
        let mut history = History { complete: created, ..History::default() };
        history.push(version);
        history
    }

    pub fn push(&mut self, version: Seen) {
        self.latest_us = self.latest_us.max(version.ts_us);
        if self.newest().is_some_and(|newest| newest.is(version.lsn, version.ts_us)) {
            return;
        }
        if self.len == SEEN_MAX {
            self.complete = false;
        }
        self.seen.copy_within(..SEEN_MAX - 1, 1);
        self.seen[0] = version;
        self.len = (self.len + 1).min(SEEN_MAX);
    }

    /// Returns the history as it was when `version` was the newest version. Returns `None` if the history does not
    /// remember `version`.
    pub fn back_to(mut self, version: &Seen) -> Option<History> {
        let newer = self.versions().iter().position(|seen| seen.is(version.lsn, version.ts_us))?;
        self.seen.copy_within(newer..self.len, 0);
        self.len -= newer;
        self.seen.iter_mut().skip(self.len).for_each(|seen| *seen = Seen::default());
        Some(self)
    }

    /// Marks the newest version of the history as the creation of the row.
    pub fn from_beginning(self) -> History {
        History { complete: true, ..self }
    }

    /// Whether the stream has never had a change of the row.
    pub fn untold(&self) -> bool {
        self.len == 0 && self.latest_us.is_none()
    }

    /// Forgets the versions and keeps the latest time, because the next versions may be older than the forgotten
    /// versions, or may come in another partition.
    pub fn forget(&mut self) {
        *self = History { latest_us: self.latest_us, ..History::default() };
    }

    fn encode(&self, version: &Version, out: &mut Vec<u8>) {
        out.put_varint(self.len as u64);
        let (mut lsn, mut ts_us) = (version.lsn, 0);
        for seen in self.versions() {
            out.put_zigzag(lsn.wrapping_sub(seen.lsn) as i64);
            put_time(out, seen.ts_us.map(|at| at.wrapping_sub(ts_us)));
            (lsn, ts_us) = (seen.lsn, seen.ts_us.unwrap_or(ts_us));
        }
        put_time(out, self.latest_us.map(|at| at.wrapping_sub(ts_us)));
    }

    fn decode(reader: &mut Reader<'_>, version: &Version, complete: bool) -> Result<History, CodecError> {
        let len = usize::try_from(reader.varint()?).ok().filter(|len| *len <= SEEN_MAX);
        let len = len.ok_or(CodecError::Invalid(WHAT))?;
        let mut history = History { len, complete, ..History::default() };
        let (mut lsn, mut ts_us) = (version.lsn, 0i64);
        for seen in history.seen.iter_mut().take(len) {
            seen.lsn = lsn.wrapping_sub(reader.zigzag()? as u64);
            seen.ts_us = time(reader)?.map(|at| at.wrapping_add(ts_us));
            (lsn, ts_us) = (seen.lsn, seen.ts_us.unwrap_or(ts_us));
        }
        history.latest_us = time(reader)?.map(|at| at.wrapping_add(ts_us));
        Ok(history)
    }
}

/// A mark that the row's content is from a read or from a change without an LSN, and not from the newest streamed
/// version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ReadMark {
    pub lsn: Option<u64>,
    /// The time of the read or of the change, epoch microseconds.
    pub ts_us: Option<i64>,
}

/// A column whose value the row's own record did not repeat. The value of a column with a hole is from an older
/// version, which need not be the previous version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The index of the column in the table's columns, or [`EXTRA`] for all unknown columns together.
    pub column: u8,
    /// The LSN of the version from which the column's value comes, or 0 if the column has no value.
    pub lsn: u64,
}

/// The number that stands for all unknown columns in a [`Hole`].
pub const EXTRA: u8 = 31;

/// The content that is stored under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// A live row, with its encoded cells.
    Live(&'a [u8]),
    Gone,
    /// A deleted row whose key was changed to another key. The encoded cells of a moved row stay until the row under
    /// the new key has taken the values that it needs. Afterwards the cells of the moved row are empty.
    Moved {
        to: Id,
        cells: &'a [u8],
    },
}

/// The stored row of a primary key, with cells that are still encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRow<'a> {
    pub version: Version,
    pub format: Format,
    /// The place of the record from which the row's content comes.
    pub place: Place,
    pub history: History,
    pub read: Option<ReadMark>,
    pub holes: Vec<Hole>,
    pub content: Content<'a>,
}

impl<'a> StoredRow<'a> {
    pub fn encode(&self) -> Box<[u8]> {
        let (state, to, cells) = match self.content {
            Content::Live(cells) => (LIVE, None, cells),
            Content::Gone => (0, None, &[][..]),
            Content::Moved { to, cells } => (MOVED, Some(to), cells),
        };
        let placed = self.place.offset != self.version.offset;
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        let flags = state
            | self.format as u8
            | bit(self.read.is_some(), READ)
            | bit(self.history.complete, COMPLETE)
            | bit(!self.holes.is_empty(), HOLES)
            | bit(placed, PLACED);
        let mut out = Vec::with_capacity(HEAD_TYPICAL_BYTES);
        out.put_u8(ROW_VERSION);
        out.put_u8(flags);
        out.put_varint(u64::from(self.version.epoch));
        out.put_varint(self.version.lsn);
        out.put_zigzag(self.version.offset);
        if placed {
            out.put_zigzag(self.place.offset);
        }
        out.put_varint(self.place.partition.map_or(0, |partition| u64::from(partition as u32) + 1));
        self.history.encode(&self.version, &mut out);
        if let Some(ReadMark { lsn, ts_us }) = self.read {
            // The stored number is the read's LSN plus 1, or 0 if the read has no LSN. The sum does not overflow,
            // because no read has the highest possible LSN.
            out.put_varint(lsn.map_or(0, |lsn| lsn.saturating_add(1)));
            put_time(&mut out, ts_us);
        }
        if !self.holes.is_empty() {
            out.put_varint(self.holes.len() as u64);
            for Hole { column, lsn } in &self.holes {
                out.put_u8(*column);
                out.put_varint(*lsn);
            }
        }
        to.into_iter().for_each(|to| out.put_id(to));
        // The buffer of the row is allocated with its final size. If a larger buffer were shrunk, the allocator would
        // be left with a small free piece for each row.
        let mut row = Vec::with_capacity(out.len() + cells.len());
        row.put_fixed(&out);
        row.put_fixed(cells);
        row.into_boxed_slice()
    }

    pub fn decode(bytes: &'a [u8]) -> Result<StoredRow<'a>, CodecError> {
        let (mut reader, version) = Reader::versioned(WHAT, bytes, ROW_VERSION)?;
        let flags = reader.u8()?;
        if version == 1 {
            return StoredRow::decode_1(flags, reader);
        }
        let version = Version { epoch: epoch(&mut reader)?, lsn: reader.varint()?, offset: reader.zigzag()? };
        let offset = if flags & PLACED != 0 { reader.zigzag()? } else { version.offset };
        let partition = match reader.varint()? {
            0 => None,
            more => Some(u32::try_from(more - 1).map_err(|_| CodecError::Invalid(WHAT))? as i32),
        };
        let history = History::decode(&mut reader, &version, flags & COMPLETE != 0)?;
        let read = match flags & READ != 0 {
            true => Some(ReadMark { lsn: reader.varint()?.checked_sub(1), ts_us: time(&mut reader)? }),
            false => None,
        };
        let mut holes = Vec::new();
        if flags & HOLES != 0 {
            for _ in 0..reader.varint()? {
                holes.push(Hole { column: reader.u8()?, lsn: reader.varint()? });
            }
        }
        let content = content(flags & (LIVE | MOVED), reader)?;
        let place = Place { partition, offset };
        Ok(StoredRow { version, format: format(flags & FORMAT)?, place, history, read, holes, content })
    }

    /// Decodes a row of format version 1. In version 1 it is unknown whether the LSN belongs to a change or to a read,
    /// so nova treats it as the LSN of a change.
    fn decode_1(flags: u8, mut reader: Reader<'a>) -> Result<StoredRow<'a>, CodecError> {
        let format = format(flags & !(LIVE | RAISED))?;
        let (epoch, lsn) = (epoch(&mut reader)?, reader.varint()?);
        let raised_from = if flags & RAISED != 0 { Some(reader.varint()?) } else { None };
        let version = Version { epoch, lsn, offset: reader.zigzag()? };
        let ts_us = time(&mut reader)?;
        let content = content(flags & LIVE, reader)?;
        // A null value that has deleted the row has no LSN with which later versions could be compared. In version 1
        // the LSN 0 meant that the LSN is unknown.
        let null = content == Content::Gone && format == Format::FlatTombstone;
        let lsn = Some(raised_from.unwrap_or(lsn)).filter(|lsn| *lsn != 0 && !null);
        let mut history = History { latest_us: ts_us, ..History::default() };
        lsn.into_iter().for_each(|lsn| history.push(Seen { lsn, ts_us }));
        let read = if lsn.is_none() { Some(ReadMark { lsn: None, ts_us }) } else { None };
        let place = Place { partition: None, offset: version.offset };
        Ok(StoredRow { version, format, place, history, read, holes: Vec::new(), content })
    }

    /// The time at which the source committed or read the row's content, epoch microseconds.
    pub fn ts_us(&self) -> Option<i64> {
        match &self.read {
            Some(read) => read.ts_us,
            None => self.history.newest().and_then(|seen| seen.ts_us),
        }
    }

    /// Whether only snapshots, and no streamed change, had the row. If a row has no times, a history that was forgotten
    /// because of a null value looks like the history of a row that only snapshots had.
    pub fn only_read(&self) -> bool {
        self.history.untold() && self.read.is_some_and(|read| read.lsn.and(read.ts_us).is_some())
    }

    /// The live row, or `None` for a tombstone.
    pub fn row(&self) -> Result<Option<Row>, CodecError> {
        match self.content {
            Content::Live(cells) => decode_cells(cells).map(Some),
            Content::Gone | Content::Moved { .. } => Ok(None),
        }
    }

    pub fn live(&self) -> bool {
        matches!(self.content, Content::Live(_))
    }
}

fn format(code: u8) -> Result<Format, CodecError> {
    match code {
        0 => Ok(Format::Envelope),
        1 => Ok(Format::FlatRewrite),
        2 => Ok(Format::FlatTombstone),
        _ => Err(CodecError::Invalid(WHAT)),
    }
}

fn content(state: u8, mut reader: Reader<'_>) -> Result<Content<'_>, CodecError> {
    match state {
        LIVE => Ok(Content::Live(reader.rest())),
        MOVED => Ok(Content::Moved { to: reader.id()?, cells: reader.rest() }),
        0 if reader.is_empty() => Ok(Content::Gone),
        0 => Err(CodecError::Trailing(WHAT)),
        _ => Err(CodecError::Invalid(WHAT)),
    }
}

fn epoch(reader: &mut Reader<'_>) -> Result<u16, CodecError> {
    u16::try_from(reader.varint()?).map_err(|_| CodecError::Invalid(WHAT))
}

fn put_time(out: &mut Vec<u8>, at_us: Option<i64>) {
    out.put_zigzag(at_us.unwrap_or(NO_TIME));
}

fn time(reader: &mut Reader<'_>) -> Result<Option<i64>, CodecError> {
    Ok(Some(reader.zigzag()?).filter(|at| *at != NO_TIME))
}

#[cfg(test)]
mod tests;
