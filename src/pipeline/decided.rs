//! Decisions of people about places in the source's log. The decisions are kept for a rebuild: when the rebuild reads
//! the same truncate or the same records, nova applies the decision a second time. Every list of decisions is bounded,
//! and the oldest decision is dropped first.

use std::fmt;

use nova_storage::codec::{CodecError, Put, Reader};

use crate::event::{Id, TopicPartition};

/// The maximum number of decisions about truncates that nova keeps for each table.
pub const TRUNCATES_MAX: usize = 64;
/// The maximum number of decisions that nova keeps for each table about changes at which the source's log began again.
pub const RESTARTS_MAX: usize = 64;
/// The maximum number of decisions about seeks that nova keeps over all partitions.
pub const SEEKS_MAX: usize = 256;

const WHAT: &str = "decision";

/// The effect that a truncate of the source has in nova.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The truncate deletes every row of the table that is older than the truncate.
    Apply,
    /// The truncate deletes no row.
    Ignore,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Decision::Apply => "apply",
            Decision::Ignore => "ignore",
        })
    }
}

/// One truncate that the source reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truncation {
    pub partition: TopicPartition,
    pub offset: i64,
    pub lsn: Option<u64>,
    /// The time at which the truncate was committed, epoch microseconds.
    pub source_ts_us: Option<i64>,
}

impl Truncation {
    /// Whether two records describe the same truncate: a connector may produce one truncate twice, at two offsets. If
    /// the truncate has no LSN, its offset in the topic decides.
    pub fn same_as(&self, other: &Truncation) -> bool {
        let place = self.partition == other.partition && self.offset == other.offset;
        self.lsn == other.lsn && self.source_ts_us == other.source_ts_us && (self.lsn.is_some() || place)
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        put_partition(out, &self.partition);
        out.put_zigzag(self.offset);
        out.put_u8(u8::from(self.lsn.is_some()) | u8::from(self.source_ts_us.is_some()) << 1);
        self.lsn.into_iter().for_each(|lsn| out.put_varint(lsn));
        self.source_ts_us.into_iter().for_each(|ts_us| out.put_zigzag(ts_us));
    }

    pub fn decode(reader: &mut Reader<'_>) -> Result<Truncation, CodecError> {
        let (partition, offset) = (partition(reader)?, reader.zigzag()?);
        let known = reader.u8()?;
        if known > 3 {
            return Err(CodecError::Invalid(WHAT));
        }
        let lsn = if known & 1 != 0 { Some(reader.varint()?) } else { None };
        let source_ts_us = if known & 2 != 0 { Some(reader.zigzag()?) } else { None };
        Ok(Truncation { partition, offset, lsn, source_ts_us })
    }
}

impl fmt::Display for Truncation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at offset {}", self.partition, self.offset)?;
        self.lsn.map_or(Ok(()), |lsn| write!(f, ", LSN {lsn}"))
    }
}

/// The truncates of one table that a person decided about, in the order of the decisions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Truncates(Vec<(Option<Truncation>, Decision)>);

impl Truncates {
    /// Notes a decision about a truncate. The decision replaces an earlier decision about the same truncate. If `at` is
    /// `None`, the decision is about the next truncate, because an earlier version of nova stored the halt without the
    /// truncate's place.
    pub fn decide(&mut self, at: Option<Truncation>, decision: Decision) {
        self.0.retain(|(known, _)| match (known, &at) {
            (Some(known), Some(at)) => !known.same_as(at),
            (known, at) => known.is_some() || at.is_some(),
        });
        if self.0.len() >= TRUNCATES_MAX {
            self.0.remove(0);
        }
        self.0.push((at, decision));
    }

    /// The decision that applies to the truncate `at`, which nova has just read.
    pub fn decided(&mut self, at: &Truncation) -> Option<Decision> {
        let same = |known: &Option<Truncation>| known.as_ref().is_some_and(|known| known.same_as(at));
        if let Some((_, decision)) = self.0.iter().find(|(known, _)| same(known)) {
            return Some(*decision);
        }
        let (open, decision) = self.0.iter_mut().find(|(known, _)| known.is_none())?;
        *open = Some(at.clone());
        Some(*decision)
    }

    pub fn iter(&self) -> impl Iterator<Item = &(Option<Truncation>, Decision)> {
        self.0.iter()
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_varint(self.0.len() as u64);
        for (at, decision) in &self.0 {
            let number = match decision {
                Decision::Apply => 0,
                Decision::Ignore => 2,
            };
            out.put_u8(number | u8::from(at.is_some()));
            at.iter().for_each(|at| at.encode(out));
        }
    }

    pub fn decode(reader: &mut Reader<'_>) -> Result<Truncates, CodecError> {
        let mut list = Vec::new();
        for _ in 0..bounded(reader, TRUNCATES_MAX)? {
            let flags = reader.u8()?;
            let decision = match flags >> 1 {
                0 => Decision::Apply,
                1 => Decision::Ignore,
                number => return Err(CodecError::Unknown { what: WHAT, number: number.into() }),
            };
            let at = if flags & 1 != 0 { Some(Truncation::decode(reader)?) } else { None };
            list.push((at, decision));
        }
        Ok(Truncates(list))
    }
}

/// The changes for which a person decided that the source's log began again. Each change is known by the key of its row
/// and by its LSN, and the changes are in the order of the decisions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restarts(Vec<(Id, u64)>);

impl Restarts {
    pub fn decide(&mut self, key: Id, lsn: u64) {
        if self.decided(key, lsn) {
            return;
        }
        if self.0.len() >= RESTARTS_MAX {
            self.0.remove(0);
        }
        self.0.push((key, lsn));
    }

    pub fn decided(&self, key: Id, lsn: u64) -> bool {
        self.0.contains(&(key, lsn))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_varint(self.0.len() as u64);
        for (key, lsn) in &self.0 {
            out.put_id(*key);
            out.put_varint(*lsn);
        }
    }

    pub fn decode(reader: &mut Reader<'_>) -> Result<Restarts, CodecError> {
        let mut list = Vec::new();
        for _ in 0..bounded(reader, RESTARTS_MAX)? {
            list.push((reader.id()?, reader.varint()?));
        }
        Ok(Restarts(list))
    }
}

/// A range of a partition that a person decided to skip: nova continued at `to` instead of `from`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seek {
    pub partition: TopicPartition,
    pub from: i64,
    pub to: i64,
    /// The digest of the record at `from - 1`. The decision applies only to a log that has the same record at `from -
    /// 1`. The digest is 0 if no record was read before `from`.
    pub digest: u64,
}

/// The skipped ranges of all partitions, in the order of the decisions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seeks(Vec<Seek>);

impl Seeks {
    /// Notes that a person moved a partition to a new offset. nova continues exactly at the new offset, so earlier
    /// decisions no longer skip ranges that include or begin at the new offset. If the new range begins where a known
    /// range ends, nova extends the known range.
    pub fn decide(&mut self, seek: Seek) {
        let (low, high) = (seek.from.min(seek.to), seek.from.max(seek.to));
        let apart = |known: &Seek| known.to <= low || known.from > high;
        self.0.retain(|known| known.partition != seek.partition || apart(known));
        if seek.to <= seek.from {
            return;
        }
        let before = self.0.iter_mut().find(|known| known.partition == seek.partition && known.to == seek.from);
        if let Some(before) = before {
            before.to = seek.to;
            return;
        }
        if self.0.len() >= SEEKS_MAX {
            self.0.remove(0);
        }
        self.0.push(seek);
    }

    /// Forgets the decisions about a partition, because the partition now has a different log than before.
    pub fn forget(&mut self, partition: &TopicPartition) {
        self.0.retain(|known| known.partition != *partition);
    }

    /// The offset at which nova continues instead of the offset `next`. `digest` is the digest of the record before
    /// `next`. Returns `None` if no person has decided about the offset `next`.
    pub fn decided(&self, partition: &TopicPartition, next: i64, digest: u64) -> Option<i64> {
        let here = |seek: &&Seek| seek.from == next && seek.digest == digest && seek.partition == *partition;
        self.0.iter().find(here).map(|seek| seek.to)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Seek> {
        self.0.iter()
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_varint(self.0.len() as u64);
        for Seek { partition, from, to, digest } in &self.0 {
            put_partition(out, partition);
            out.put_zigzag(*from);
            out.put_zigzag(*to);
            out.put_fixed(&digest.to_le_bytes());
        }
    }

    pub fn decode(reader: &mut Reader<'_>) -> Result<Seeks, CodecError> {
        let mut list = Vec::new();
        for _ in 0..bounded(reader, SEEKS_MAX)? {
            let partition = partition(reader)?;
            let (from, to) = (reader.zigzag()?, reader.zigzag()?);
            list.push(Seek { partition, from, to, digest: u64::from_le_bytes(reader.fixed()?) });
        }
        Ok(Seeks(list))
    }
}

fn bounded(reader: &mut Reader<'_>, most: usize) -> Result<usize, CodecError> {
    let count = usize::try_from(reader.varint()?).map_err(|_| CodecError::Invalid(WHAT))?;
    if count > most { Err(CodecError::Invalid(WHAT)) } else { Ok(count) }
}

fn put_partition(out: &mut Vec<u8>, name: &TopicPartition) {
    out.put_bytes(name.topic.as_bytes());
    out.put_zigzag(i64::from(name.partition));
}

fn partition(reader: &mut Reader<'_>) -> Result<TopicPartition, CodecError> {
    let topic = reader.text()?;
    let partition = i32::try_from(reader.zigzag()?).map_err(|_| CodecError::Invalid(WHAT))?;
    Ok(TopicPartition::new(topic, partition))
}
