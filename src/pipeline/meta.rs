//! The small state of the writer in the table `meta` of the store: sequence numbers, epochs, halts and decisions. The
//! writer's state in `meta` is one small blob, which the writer stores again when the state changes.

use nova_storage::codec::{CodecError, Put, Reader};
use nova_storage::schema::META;
use nova_storage::{ReadError, ReadTxn, WriteError, WriteTxn};

use crate::event::Table;
use crate::state::CountedFrom;

use super::decided::{Decision, Restarts, Seeks, Truncates};
use super::first::{FirstReads, Repeated};
use super::halt::{Halt, Repartitioned};
use super::stored::Place;

/// The version of the blob's format. Version 1 had neither [`TableMeta::partitions`] nor [`Meta::counted`]. Versions 1
/// and 2 had one entry for each of their five tables, without the table's number. In versions 1 and 2, halts were
/// sentences, and a decision was forgotten after it was used. Version 3 did not note the reads of first snapshots.
/// Version 4 did not note the generation of the last checkpoint. Version 5 did not note whether a first snapshot was
/// read to its last row.
const META_VERSION: u8 = 6;
const KEY: &str = "writer";
const WHAT: &str = "writer record";
/// The tables of versions 1 and 2, in the order of their entries.
const TABLES_V2: [Table; 5] = [Table::Users, Table::Posts, Table::Follows, Table::Comments, Table::Likes];

/// A truncate that nova has applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Truncated {
    pub epoch: u16,
    pub lsn: u64,
    /// The time at which the truncate was committed, epoch microseconds. Earlier versions of nova did not store the
    /// time of a truncate.
    pub source_ts_us: Option<i64>,
    /// The partition of the truncate's record. Earlier versions of nova did not store the partition of a truncate.
    pub partition: Option<i32>,
}

impl Truncated {
    /// Whether a record is in another partition than the truncate.
    pub fn elsewhere(&self, place: Place) -> bool {
        place.elsewhere(&Place { partition: self.partition, offset: 0 })
    }
}

/// The writer's state of a source table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableMeta {
    /// The table's epoch. A person raises the epoch of a table after the source's LSNs began again (`lsn_regression`).
    pub epoch: u16,
    /// The epoch of the table at the last rebuild. If the present epoch is higher than the epoch of the last rebuild, a
    /// partition may still have changes of the previous log.
    pub first_epoch: u16,
    /// The latest truncate that was applied to the table. nova deletes rows that are older than the truncate, even if
    /// nova reads the rows after the truncate.
    pub truncated: Option<Truncated>,
    /// The reason for which the table takes no more changes.
    pub halt: Option<Halt>,
    /// The decisions of people about the table's truncates.
    pub decided: Truncates,
    /// The number of partitions that the topic had when it was read, or 0 before the first record.
    pub partitions: u32,
    /// The number of partitions that the topic has now.
    pub partitions_found: u32,
    /// Whether nova applied a change without an LSN. Changes without an LSN have no order across partitions.
    pub without_lsn: bool,
    /// The reads before the table's first streamed changes.
    pub first: FirstReads,
    /// The changes for which people decided that the source's log began again.
    pub restarts: Restarts,
}

/// The state of a source table, as nova shows it to a person.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[schemars(rename = "SourceTable")]
pub struct TableTold {
    pub table: &'static str,
    /// The table's epoch. A person raises the epoch of a table after the source's LSNs began again.
    pub epoch: u16,
    /// The reason for which the table takes no more changes, if the table is halted.
    pub halted: Option<String>,
    /// The number of partitions of the topic, or 0 before the first record.
    pub partitions: u32,
}

impl TableMeta {
    /// Whether partitions may have records of two logs, whose LSNs cannot be compared.
    pub fn mixed(&self) -> bool {
        self.epoch > self.first_epoch
    }

    /// Returns the state of the table as nova shows it to a person.
    pub fn told(&self, table: Table) -> TableTold {
        let halted = self.halt.as_ref().map(Halt::to_string);
        TableTold { table: table.name(), epoch: self.epoch, halted, partitions: self.partitions }
    }

    /// Returns the old and the new number of partitions if they differ, so that the table must halt.
    pub fn repartitioned(&self, table: Table) -> Option<Repartitioned> {
        let (read, found, ordered) = (self.partitions, self.partitions_found, !self.without_lsn);
        (read != found).then_some(Repartitioned { table, read, found, ordered })
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_varint(u64::from(self.epoch));
        match self.truncated {
            None => out.put_u8(0),
            Some(Truncated { epoch, lsn, source_ts_us, partition }) => {
                out.put_u8(1 + u8::from(source_ts_us.is_some()) + 2 * u8::from(partition.is_some()));
                out.put_varint(u64::from(epoch));
                out.put_varint(lsn);
                source_ts_us.into_iter().for_each(|ts_us| out.put_zigzag(ts_us));
                partition.into_iter().for_each(|partition| out.put_zigzag(i64::from(partition)));
            }
        }
        out.put_u8(u8::from(self.halt.is_some()));
        self.halt.iter().for_each(|halt| halt.encode(&mut out));
        self.decided.encode(&mut out);
        out.put_varint(u64::from(self.partitions));
        out.put_varint(u64::from(self.partitions_found));
        out.put_u8(u8::from(self.without_lsn));
        out.put_varint(u64::from(self.first_epoch));
        self.first.encode(&mut out);
        self.restarts.encode(&mut out);
        out
    }

    fn decode(table: Table, reader: &mut Reader<'_>, version: u8) -> Result<TableMeta, CodecError> {
        let (epoch, truncated) = (small(reader)?, truncated(reader)?);
        let halt = reader.flag()?.then(|| Halt::decode(table, reader)).transpose()?;
        let decided = Truncates::decode(reader)?;
        let (partitions, partitions_found) = (reader.varint_u32()?, reader.varint_u32()?);
        let without_lsn = reader.flag()?;
        let first_epoch = small(reader)?;
        let (first, restarts) = match version {
            ..4 => (FirstReads::unknown(), Restarts::default()),
            _ => (FirstReads::decode(reader)?, Restarts::decode(reader)?),
        };
        Ok(TableMeta {
            epoch,
            first_epoch,
            truncated,
            halt,
            decided,
            partitions,
            partitions_found,
            without_lsn,
            first,
            restarts,
        })
    }

    /// Decodes the entry of a table in format version 1 or 2.
    fn decode_v2(table: Table, reader: &mut Reader<'_>, version: u8) -> Result<TableMeta, CodecError> {
        let (epoch, truncated) = (small(reader)?, truncated(reader)?);
        let mut meta = TableMeta { epoch, truncated, first: FirstReads::unknown(), ..TableMeta::default() };
        let words = reader.optional_bytes()?.map(std::str::from_utf8).transpose();
        let words = words.map_err(|_| CodecError::Invalid(WHAT))?;
        match reader.u8()? {
            // In format versions 1 and 2, the value 1 stood for a decision that no command could make.
            0 | 1 => {}
            2 => meta.decided.decide(None, Decision::Apply),
            3 => meta.decided.decide(None, Decision::Ignore),
            _ => return Err(CodecError::Invalid(WHAT)),
        }
        if version > 1 {
            (meta.partitions, meta.partitions_found) = (reader.varint_u32()?, reader.varint_u32()?);
            meta.without_lsn = reader.flag()?;
        }
        let (read, found, ordered) = (meta.partitions, meta.partitions_found, !meta.without_lsn);
        meta.halt = words.map(|words| Halt::of_words(table, words, read, found, ordered));
        Ok(meta)
    }
}

fn small(reader: &mut Reader<'_>) -> Result<u16, CodecError> {
    u16::try_from(reader.varint()?).map_err(|_| CodecError::Invalid(WHAT))
}

fn truncated(reader: &mut Reader<'_>) -> Result<Option<Truncated>, CodecError> {
    let known = match reader.u8()? {
        0 => return Ok(None),
        code @ 1..=4 => code - 1,
        _ => return Err(CodecError::Invalid(WHAT)),
    };
    let (epoch, lsn) = (small(reader)?, reader.varint()?);
    let source_ts_us = if known & 1 != 0 { Some(reader.zigzag()?) } else { None };
    let partition = if known & 2 != 0 { Some(reader.zigzag()?) } else { None };
    let partition = partition.map(i32::try_from).transpose().map_err(|_| CodecError::Invalid(WHAT))?;
    Ok(Some(Truncated { epoch, lsn, source_ts_us, partition }))
}

/// The small state of the writer, which the store keeps beside the rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// A random number that nova draws when it makes the store. The store's number is part of every deduplication token
    /// for ClickHouse.
    pub store_id: u64,
    /// The id of the next dead letter.
    pub dead_next: u64,
    /// The sequence number of the last journal blob whose changes are in the checkpoint.
    pub covered: u64,
    /// The number of bytes of the state that the last checkpoint wrote.
    pub checkpoint_bytes: u64,
    /// The number of the last complete checkpoint. Chunks and runs with a higher number belong to an incomplete
    /// checkpoint. The generation is `None` in a store of format 2 or older, where every chunk and run is complete.
    pub generation: Option<u64>,
    /// Dedup keys that arrived before this time are forgotten, epoch milliseconds.
    pub dedup_floor_ms: i64,
    /// The id of the next entry of the audit log.
    pub audit_next: u64,
    /// Whether nova counts likes and comments from rows or from events. `counted` is `None` before nova has counted
    /// anything.
    pub counted: Option<[CountedFrom; 2]>,
    /// The ranges of partitions that people decided to skip.
    pub seeks: Seeks,
    /// The tables in the order of [`Table::ALL`].
    pub tables: [TableMeta; Table::ALL.len()],
}

impl Meta {
    /// Whether the first snapshot was taken twice.
    pub fn repeated(&self) -> Repeated {
        FirstReads::repeated(self.tables.iter().map(|table| &table.first))
    }

    pub fn load(read: &ReadTxn) -> Result<Option<Meta>, ReadError> {
        Ok(read.get_with(META, KEY, Meta::decode)?.transpose()?)
    }

    pub fn save(&self, write: &WriteTxn) -> Result<(), WriteError> {
        write.put(META, KEY, &self.encode())
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = vec![META_VERSION];
        out.put_fixed(&self.store_id.to_le_bytes());
        out.put_varint(self.dead_next);
        out.put_varint(self.covered);
        out.put_varint(self.checkpoint_bytes);
        out.put_zigzag(self.dedup_floor_ms);
        out.put_varint(self.audit_next);
        let bit = |from: CountedFrom| u8::from(from == CountedFrom::Events);
        out.put_u8(self.counted.map_or(0, |[likes, comments]| 1 + bit(likes) + 2 * bit(comments)));
        out.put_varint(self.generation.map_or(0, |generation| generation.saturating_add(1)));
        self.seeks.encode(&mut out);
        out.put_varint(self.tables.len() as u64);
        for (table, meta) in Table::ALL.iter().zip(&self.tables) {
            out.put_u8(table.number());
            out.put_bytes(&meta.encode());
        }
        out
    }

    fn decode(bytes: &[u8]) -> Result<Meta, CodecError> {
        let (mut reader, version) = Reader::versioned(WHAT, bytes, META_VERSION)?;
        let mut meta = Meta {
            store_id: u64::from_le_bytes(reader.fixed()?),
            dead_next: reader.varint()?,
            covered: reader.varint()?,
            checkpoint_bytes: reader.varint()?,
            dedup_floor_ms: reader.zigzag()?,
            audit_next: reader.varint()?,
            counted: Some([CountedFrom::Cdc; 2]),
            generation: None,
            seeks: Seeks::default(),
            tables: Default::default(),
        };
        if version > 1 {
            let from = |bit: bool| if bit { CountedFrom::Events } else { CountedFrom::Cdc };
            meta.counted = match reader.u8()? {
                0 => None,
                code @ 1..=4 => Some([from((code - 1) & 1 != 0), from((code - 1) & 2 != 0)]),
                _ => return Err(CodecError::Invalid(WHAT)),
            };
        }
        if version > 4 {
            meta.generation = reader.varint()?.checked_sub(1);
        }
        if version < 3 {
            for table in TABLES_V2 {
                meta.tables[table as usize] = TableMeta::decode_v2(table, &mut reader, version)?;
            }
        } else {
            meta.seeks = Seeks::decode(&mut reader)?;
            meta.decode_tables(&mut reader, version)?;
        }
        reader.end()?;
        Ok(meta)
    }

    /// Decodes the entries of the tables. The numbers of the tables must rise, so that no table comes twice.
    fn decode_tables(&mut self, reader: &mut Reader<'_>, version: u8) -> Result<(), CodecError> {
        let mut last = None;
        for _ in 0..reader.varint()? {
            let number = reader.u8()?;
            let table = Table::numbered(number)?;
            if last.replace(number).is_some_and(|last| last >= number) {
                return Err(CodecError::Invalid(WHAT));
            }
            let mut entry = Reader::new(WHAT, reader.bytes()?);
            self.tables[table as usize] = TableMeta::decode(table, &mut entry, version)?;
            entry.end()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
