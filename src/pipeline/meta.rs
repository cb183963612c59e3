//! The writer's own record in `meta`: sequences, epochs, halts. One small blob, rewritten when it changed.

use nova_storage::codec::{CodecError, Put, Reader};
use nova_storage::schema::META;
use nova_storage::{ReadError, ReadTxn, WriteError, WriteTxn};

use crate::event::Table;
use crate::state::CountedFrom;

use super::TruncatePolicy;
use super::stored::Place;

/// Version 1 knew neither partitions nor what counts.
const META_VERSION: u8 = 2;
const KEY: &str = "writer";
const WHAT: &str = "writer record";

/// An applied truncate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Truncated {
    pub epoch: u16,
    pub lsn: u64,
    /// Time of its commit, epoch microseconds; earlier versions did not keep it.
    pub source_ts_us: Option<i64>,
    /// Where its record stood; earlier versions did not keep it.
    pub partition: Option<i32>,
}

impl Truncated {
    /// Whether a record stands in another partition than the truncate did.
    pub fn elsewhere(&self, place: Place) -> bool {
        place.elsewhere(&Place { partition: self.partition, offset: 0 })
    }
}

/// What the writer remembers of a source table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableMeta {
    /// Raised by hand after the source's LSNs began again (`lsn_regression`).
    pub epoch: u16,
    /// The latest applied truncate: rows older than it are gone, also those still on their way.
    pub truncated: Option<Truncated>,
    /// Why the table takes no more changes, in words for a person.
    pub halt: Option<Box<str>>,
    /// A person's decision about the truncate that halted the table: consumed by the next one.
    pub truncate_once: Option<TruncatePolicy>,
    /// Partitions of the topic when it was read; 0 before anything of it was.
    pub partitions: u32,
    /// Partitions that the topic was found to have.
    pub partitions_found: u32,
    /// A change without an LSN was applied: such changes have no order across partitions.
    pub without_lsn: bool,
}

/// How a halt over partitions begins.
const REPARTITIONED: &str = "partitions:";

impl TableMeta {
    /// For a person: the table, its epoch, why it halted if it did, the partitions of its topic.
    pub fn json(&self, table: Table) -> serde_json::Value {
        let (epoch, halted, partitions) = (self.epoch, self.halt.as_deref(), self.partitions);
        serde_json::json!({ "table": table.name(), "epoch": epoch, "halted": halted, "partitions": partitions })
    }

    /// Why the table must halt, where its topic has another number of partitions than was read: a key's changes are
    /// in several partitions then, and come in any order.
    pub fn repartitioned(&self, table: Table) -> Option<String> {
        if self.partitions == self.partitions_found {
            return None;
        }
        let way_out = match self.without_lsn {
            false => format!("its changes carry the LSN, by which rows converge all the same: nova cdc resume {table}"),
            true => "its changes carry no LSN, and nothing else tells which of two is later: give the topic a new \
                     snapshot and read it with nova rebuild (docs/cdc.md)"
                .to_owned(),
        };
        Some(format!(
            "{REPARTITIONED} the topic of {table} has {} partitions and was read with {}: keys have moved between them; \
             {way_out}",
            self.partitions_found, self.partitions
        ))
    }

    /// Whether it halted for that.
    pub fn awaits_partitions(&self) -> bool {
        self.halt.as_deref().is_some_and(|halt| halt.starts_with(REPARTITIONED))
    }
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Random, made with the store; part of every ClickHouse deduplication token.
    pub store_id: u64,
    /// The next dead letter's id.
    pub dead_next: u64,
    /// The last journal sequence that the checkpoint covers.
    pub covered: u64,
    /// Size of the last checkpoint.
    pub checkpoint_bytes: u64,
    /// No dedup key that arrived before this is known any more, epoch milliseconds.
    pub dedup_floor_ms: i64,
    /// The next audit entry.
    pub audit_next: u64,
    /// Where likes and comments are counted from; `None` before anything was.
    pub counted: Option<[CountedFrom; 2]>,
    pub tables: [TableMeta; Table::ALL.len()],
}

impl Meta {
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
        for table in &self.tables {
            out.put_varint(u64::from(table.epoch));
            match table.truncated {
                None => out.put_u8(0),
                Some(Truncated { epoch, lsn, source_ts_us, partition }) => {
                    out.put_u8(1 + u8::from(source_ts_us.is_some()) + 2 * u8::from(partition.is_some()));
                    out.put_varint(u64::from(epoch));
                    out.put_varint(lsn);
                    source_ts_us.into_iter().for_each(|ts_us| out.put_zigzag(ts_us));
                    partition.into_iter().for_each(|partition| out.put_zigzag(i64::from(partition)));
                }
            }
            out.put_optional_bytes(table.halt.as_deref().map(str::as_bytes));
            out.put_u8(table.truncate_once.map_or(0, |policy| policy as u8 + 1));
            out.put_varint(u64::from(table.partitions));
            out.put_varint(u64::from(table.partitions_found));
            out.put_u8(u8::from(table.without_lsn));
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
        for table in &mut meta.tables {
            let epoch =
                |reader: &mut Reader<'_>| u16::try_from(reader.varint()?).map_err(|_| CodecError::Invalid(WHAT));
            table.epoch = epoch(&mut reader)?;
            table.truncated = match reader.u8()? {
                0 => None,
                code @ 1..=4 => {
                    let (epoch, lsn) = (epoch(&mut reader)?, reader.varint()?);
                    let source_ts_us = if (code - 1) & 1 != 0 { Some(reader.zigzag()?) } else { None };
                    let partition = if (code - 1) & 2 != 0 { Some(reader.zigzag()?) } else { None };
                    let partition = partition.map(i32::try_from).transpose().map_err(|_| CodecError::Invalid(WHAT))?;
                    Some(Truncated { epoch, lsn, source_ts_us, partition })
                }
                _ => return Err(CodecError::Invalid(WHAT)),
            };
            if let Some(halt) = reader.optional_bytes()? {
                table.halt = Some(std::str::from_utf8(halt).map_err(|_| CodecError::Invalid(WHAT))?.into());
            }
            table.truncate_once = match reader.u8()? {
                0 => None,
                1 => Some(TruncatePolicy::Quarantine),
                2 => Some(TruncatePolicy::Apply),
                3 => Some(TruncatePolicy::Ignore),
                _ => return Err(CodecError::Invalid(WHAT)),
            };
            if version > 1 {
                (table.partitions, table.partitions_found) = (reader.varint_u32()?, reader.varint_u32()?);
                table.without_lsn = reader.u8()? == 1;
            }
        }
        reader.end()?;
        Ok(meta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_round_trips(
            numbers: (u64, u64, u64, u64, i64, u64),
            counted: Option<(bool, bool)>,
            tables: [(u16, Option<(u16, u64, Option<i64>)>, Option<String>, (u32, u32, bool)); 5],
        ) {
            let (store_id, dead_next, covered, checkpoint_bytes, dedup_floor_ms, audit_next) = numbers;
            let tables = tables.map(|(epoch, truncated, halt, partitions)| TableMeta {
                epoch,
                truncated: truncated.map(|(epoch, lsn, source_ts_us)| Truncated {
                    epoch,
                    lsn,
                    source_ts_us,
                    partition: source_ts_us.map(|ts_us| ts_us as i32),
                }),
                halt: halt.map(Into::into),
                truncate_once: truncated.map(|_| TruncatePolicy::Apply),
                partitions: partitions.0,
                partitions_found: partitions.1,
                without_lsn: partitions.2,
            });
            let from = |events| if events { CountedFrom::Events } else { CountedFrom::Cdc };
            let counted = counted.map(|(likes, comments)| [from(likes), from(comments)]);
            let meta =
                Meta { store_id, dead_next, covered, checkpoint_bytes, dedup_floor_ms, audit_next, counted, tables };
            prop_assert_eq!(Meta::decode(&meta.encode()), Ok(meta));
        }

        #[test]
        fn malformed_bytes_are_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Meta::decode(&bytes);
        }
    }
}
