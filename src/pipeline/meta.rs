//! The writer's own record in `meta`: sequences, epochs, halts. One small blob, rewritten when it changed.

use nova_storage::codec::{CodecError, Put, Reader};
use nova_storage::schema::META;
use nova_storage::{ReadError, ReadTxn, WriteError, WriteTxn};

use crate::event::Table;

use super::TruncatePolicy;

const META_VERSION: u8 = 1;
const KEY: &str = "writer";
const WHAT: &str = "writer record";

/// An applied truncate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Truncated {
    pub epoch: u16,
    pub lsn: u64,
    /// Time of its commit, epoch microseconds; earlier versions did not keep it.
    pub source_ts_us: Option<i64>,
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
}

impl TableMeta {
    /// For a person: the table, its epoch, why it halted if it did.
    pub fn json(&self, table: Table) -> serde_json::Value {
        serde_json::json!({ "table": table.name(), "epoch": self.epoch, "halted": self.halt.as_deref() })
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
        for table in &self.tables {
            out.put_varint(u64::from(table.epoch));
            match table.truncated {
                None => out.put_u8(0),
                Some(Truncated { epoch, lsn, source_ts_us }) => {
                    out.put_u8(if source_ts_us.is_some() { 2 } else { 1 });
                    out.put_varint(u64::from(epoch));
                    out.put_varint(lsn);
                    source_ts_us.into_iter().for_each(|ts_us| out.put_zigzag(ts_us));
                }
            }
            out.put_optional_bytes(table.halt.as_deref().map(str::as_bytes));
            out.put_u8(table.truncate_once.map_or(0, |policy| policy as u8 + 1));
        }
        out
    }

    fn decode(bytes: &[u8]) -> Result<Meta, CodecError> {
        let (mut reader, _) = Reader::versioned(WHAT, bytes, META_VERSION)?;
        let mut meta = Meta {
            store_id: u64::from_le_bytes(reader.fixed()?),
            dead_next: reader.varint()?,
            covered: reader.varint()?,
            checkpoint_bytes: reader.varint()?,
            dedup_floor_ms: reader.zigzag()?,
            audit_next: reader.varint()?,
            tables: Default::default(),
        };
        for table in &mut meta.tables {
            let epoch =
                |reader: &mut Reader<'_>| u16::try_from(reader.varint()?).map_err(|_| CodecError::Invalid(WHAT));
            table.epoch = epoch(&mut reader)?;
            table.truncated = match reader.u8()? {
                0 => None,
                1 => Some(Truncated { epoch: epoch(&mut reader)?, lsn: reader.varint()?, source_ts_us: None }),
                2 => {
                    let (epoch, lsn) = (epoch(&mut reader)?, reader.varint()?);
                    Some(Truncated { epoch, lsn, source_ts_us: Some(reader.zigzag()?) })
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
            tables: [(u16, Option<(u16, u64, Option<i64>)>, Option<String>); 5],
        ) {
            let (store_id, dead_next, covered, checkpoint_bytes, dedup_floor_ms, audit_next) = numbers;
            let tables = tables.map(|(epoch, truncated, halt)| TableMeta {
                epoch,
                truncated: truncated.map(|(epoch, lsn, source_ts_us)| Truncated { epoch, lsn, source_ts_us }),
                halt: halt.map(Into::into),
                truncate_once: truncated.map(|_| TruncatePolicy::Apply),
            });
            let meta = Meta { store_id, dead_next, covered, checkpoint_bytes, dedup_floor_ms, audit_next, tables };
            prop_assert_eq!(Meta::decode(&meta.encode()), Ok(meta));
        }

        #[test]
        fn malformed_bytes_are_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Meta::decode(&bytes);
        }
    }
}
