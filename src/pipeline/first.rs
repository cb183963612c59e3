//! Handles a first snapshot that was taken twice, because the connector was stopped during the first attempt.
//!
//! A connector that is killed during its first snapshot reads all rows again, and streams from the position of the new
//! snapshot (seen with Debezium 3.6). If a row was deleted between the two snapshots, the topics have a read of the row
//! and no delete. If a row was deleted between two snapshots, the row's only read has the LSN of the earlier snapshot.
//! The order of the records within each partition shows, without any clock, that a snapshot was taken again: the
//! partition has reads of two LSNs without a streamed change between them.
//!
//! Somebody may request a snapshot with a signal. If nothing was streamed before the requested snapshot, it looks like
//! a repeated first snapshot. A requested snapshot may read only some tables, or some rows of each table
//! (`additional-conditions`). nova deletes rows only under two conditions. The later snapshot must have reads of every
//! table that the earlier snapshot has read. No earlier snapshot may have been read to its last row, because a
//! connector does not repeat a complete first snapshot.

use nova_storage::codec::{CodecError, Put, Reader};

const WHAT: &str = "first snapshot";
/// nova follows at most `PARTITIONS_MAX` partitions and `SNAPSHOTS_MAX` snapshots of a table. If a table has more
/// partitions or snapshots, nova deletes none of the table's rows.
const PARTITIONS_MAX: usize = 4_096;
const SNAPSHOTS_MAX: usize = 64;

/// What nova knows about one partition of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    partition: i32,
    /// The LSN of the last read before the first streamed change, or 0 if there is no such read.
    lsn: u64,
    /// Whether the partition has a streamed change.
    streamed: bool,
}

/// The reads of a table before its first streamed changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FirstReads {
    /// The state of each partition of the table.
    partitions: Vec<Known>,
    /// The LSNs of the table's reads, in rising order. The last LSN of the list belongs to the snapshot that was
    /// completed.
    lsns: Vec<u64>,
    /// The LSN of the last read that comes after a streamed change, that has a lower LSN than an earlier read, or that
    /// came in a raised epoch and has an LSN that no table has noted. Such a read does not belong to a first snapshot.
    other: Option<u64>,
    /// The lowest LSN of a snapshot that the connector has marked as read to its last row.
    whole: Option<u64>,
    /// Whether nova has stopped following the reads of the table.
    over: bool,
}

/// The result of checking the first reads of all tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeated {
    /// No first snapshot was taken twice, or nova has not seen the end of the second one yet.
    No,
    /// The snapshot with this LSN was read to its end, and an earlier first snapshot was not.
    By(u64),
    /// The first snapshot seems to have been taken twice, but nova must not delete rows. Either the later attempt did
    /// not read some table that the earlier attempt had read, or the earlier attempt was read to its last row.
    InPart,
}

impl Repeated {
    /// The meaning of [`Repeated::InPart`] in words for a person.
    pub const IN_PART: &str = "reads of two snapshots came before any change, and the later one has no read of some table, or \
         the earlier one had been read to its end: if a signal asked for it, nothing is wrong; if the connector was stopped \
         and took its first snapshot again, rows that were deleted between the two may still be here: read the tables into \
         new topics (docs/connector.md, \"When the slot is lost\")";
}

impl FirstReads {
    /// Notes that a partition has a read of the snapshot with the given LSN.
    pub fn read(&mut self, partition: i32, lsn: u64) {
        if self.over {
            return;
        }
        match self.partitions.binary_search_by_key(&partition, |known| known.partition) {
            Ok(at) => match &mut self.partitions[at] {
                known if known.lsn == lsn => return,
                known if known.streamed || lsn < known.lsn => {
                    self.other = Some(lsn);
                    return;
                }
                known => known.lsn = lsn,
            },
            Err(at) => self.partitions.insert(at, Known { partition, lsn, streamed: false }),
        }
        if let Err(at) = self.lsns.binary_search(&lsn) {
            self.lsns.insert(at, lsn);
        }
        if self.partitions.len() > PARTITIONS_MAX || self.lsns.len() > SNAPSHOTS_MAX {
            self.end();
        }
    }

    /// Whether a read with this LSN was noted.
    pub fn noted(&self, lsn: u64) -> bool {
        self.lsns.binary_search(&lsn).is_ok()
    }

    /// Notes that the table has a read of a snapshot that is perhaps of a later log than the first snapshot.
    pub fn read_beside(&mut self, lsn: u64) {
        if !self.over {
            self.other = Some(lsn);
        }
    }

    /// Notes that the snapshot with this LSN was read to its last row.
    pub fn whole(&mut self, lsn: u64) {
        if !self.over {
            self.whole = Some(self.whole.map_or(lsn, |whole| whole.min(lsn)));
        }
    }

    /// Notes that a partition has a streamed change.
    pub fn streamed(&mut self, partition: i32) {
        if self.over {
            return;
        }
        match self.partitions.binary_search_by_key(&partition, |known| known.partition) {
            Ok(at) => self.partitions[at].streamed = true,
            Err(at) => self.partitions.insert(at, Known { partition, lsn: 0, streamed: true }),
        }
        if self.partitions.len() > PARTITIONS_MAX {
            self.end();
        }
    }

    /// The first reads of a table whose store was written by a version of nova that did not note first reads.
    pub fn unknown() -> FirstReads {
        FirstReads { over: true, ..FirstReads::default() }
    }

    /// Stops following the reads of the table.
    pub fn end(&mut self) {
        *self = FirstReads::unknown();
    }

    /// Whether the snapshot with the LSN `by` left out a row whose only read has the LSN `lsn`.
    pub fn left_out(&self, lsn: u64, by: u64) -> bool {
        lsn < by && self.noted(lsn)
    }

    pub fn repeated<'a>(tables: impl Iterator<Item = &'a FirstReads> + Clone) -> Repeated {
        let streamed = |table: &FirstReads| table.partitions.iter().any(|known| known.streamed);
        let over = tables.clone().any(|table| table.over);
        // The connector streams changes only after it has read the snapshot to its end.
        if over || !tables.clone().any(|table| table.lsns.len() > 1) || !tables.clone().any(streamed) {
            return Repeated::No;
        }
        let read = tables.clone().filter_map(|table| table.lsns.last());
        let Some(by) = read.clone().max() else { return Repeated::No };
        if tables.clone().filter_map(|table| table.other).any(|other| other == *by) {
            return Repeated::No;
        }
        let was_whole = tables.filter_map(|table| table.whole).any(|whole| whole < *by);
        if read.min() == Some(by) && !was_whole { Repeated::By(*by) } else { Repeated::InPart }
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        let known = 2 * u8::from(self.other.is_some()) + 4 * u8::from(self.whole.is_some());
        out.put_u8(u8::from(self.over) + known);
        self.other.iter().chain(&self.whole).for_each(|lsn| out.put_varint(*lsn));
        out.put_varint(self.lsns.len() as u64);
        self.lsns.iter().for_each(|lsn| out.put_varint(*lsn));
        out.put_varint(self.partitions.len() as u64);
        for Known { partition, lsn, streamed } in &self.partitions {
            out.put_zigzag(i64::from(*partition));
            out.put_varint(*lsn);
            out.put_u8(u8::from(*streamed));
        }
    }

    pub fn decode(reader: &mut Reader<'_>) -> Result<FirstReads, CodecError> {
        let invalid = || CodecError::Invalid(WHAT);
        let flags = reader.u8()?;
        if flags > 7 {
            return Err(invalid());
        }
        let other = if flags & 2 != 0 { Some(reader.varint()?) } else { None };
        let whole = if flags & 4 != 0 { Some(reader.varint()?) } else { None };
        let mut reads = FirstReads { over: flags & 1 != 0, other, whole, ..FirstReads::default() };
        for _ in 0..reader.varint()? {
            let lsn = reader.varint()?;
            if reads.lsns.last().is_some_and(|last| *last >= lsn) {
                return Err(invalid());
            }
            reads.lsns.push(lsn);
        }
        for _ in 0..reader.varint()? {
            let partition = i32::try_from(reader.zigzag()?).map_err(|_| invalid())?;
            if reads.partitions.last().is_some_and(|last| last.partition >= partition) {
                return Err(invalid());
            }
            let (lsn, streamed) = (reader.varint()?, reader.flag()?);
            reads.partitions.push(Known { partition, lsn, streamed });
        }
        Ok(reads)
    }
}

#[cfg(test)]
mod tests;
