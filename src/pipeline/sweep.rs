//! Deletes rows after the end of a snapshot that nova read from PostgreSQL directly. A row that was stored before the
//! snapshot and that the snapshot did not read no longer exists in the source. Versions of rows that the snapshot did
//! not read are of an earlier epoch, because nova raised the epoch when the snapshot began. The writer deletes one page
//! of unread rows in each commit. The progress of the deletion is in the store, so a crash only interrupts it.

use nova_storage::codec::{CodecError, Put, Reader};
use nova_storage::schema::META;
use nova_storage::{ReadError, ReadTxn, WriteError, WriteTxn};

use crate::event::{Id, Table, Tables};

use super::rows::Rows;
use super::stored::StoredRow;

/// The maximum number of rows that one commit checks.
pub const PAGE_MAX_ROWS: usize = 20_000;
/// The maximum number of rows that one commit deletes.
pub const PAGE_MAX_GONE: usize = 5_000;

const KEY: &str = "sweeps";
const VERSION: u8 = 1;
const WHAT: &str = "sweeps of tables";

/// The rows of one table that must still be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sweep {
    pub table: Table,
    /// The sweep deletes rows whose epoch is lower than `epoch`.
    pub epoch: u16,
    /// The last key that the sweep has checked.
    pub after: Option<Id>,
    /// The position of the log at which the snapshot was taken.
    pub lsn: u64,
    /// The time of the snapshot, epoch microseconds.
    pub ts_us: i64,
    /// The partition of the record that ended the snapshot.
    pub partition: i32,
    pub offset: i64,
}

/// The sweeps that are not finished, at most one for each table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweeps {
    list: Vec<Sweep>,
    /// The number of snapshots that have ended in this process. A sweep checks only rows in the store. All rows of the
    /// earlier epoch must be in the store first, so the sweep needs a checkpoint that began after the last snapshot
    /// ended.
    ended: u64,
    /// The number of snapshots that had ended when the last complete checkpoint began.
    stored: u64,
    /// The tables whose snapshot has begun, and that had rows before the snapshot.
    reading: Tables,
}

impl Sweeps {
    /// Loads the unfinished sweeps of a store.
    pub fn load(read: &ReadTxn) -> Result<Sweeps, ReadError> {
        let list = read.get_with(META, KEY, decode)?.transpose()?.unwrap_or_default();
        Ok(Sweeps { ended: u64::from(!list.is_empty()), stored: 0, list, reading: Tables::NONE })
    }

    pub fn save(&self, write: &WriteTxn) -> Result<(), WriteError> {
        if self.list.is_empty() {
            return write.remove(META, KEY).map(drop);
        }
        write.put(META, KEY, &encode(&self.list))
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Notes that a snapshot of the table begins. `had_rows` says whether the store has rows of an earlier epoch.
    pub fn begin(&mut self, table: Table, had_rows: bool) {
        self.list.retain(|sweep| sweep.table != table);
        let one = Tables::NONE.with(table);
        self.reading = if had_rows { self.reading.union(one) } else { self.reading.without(one) };
    }

    /// Notes that the snapshot of the sweep's table was read to its end.
    pub fn end(&mut self, sweep: Sweep) {
        if self.reading.contains(sweep.table) {
            self.reading = self.reading.without(Tables::NONE.with(sweep.table));
            self.list.push(sweep);
            self.ended += 1;
        }
    }

    pub fn wants_checkpoint(&self) -> bool {
        self.stored < self.ended
    }

    /// The number of snapshots that have ended in this process.
    pub fn ended(&self) -> u64 {
        self.ended
    }

    /// Notes that a checkpoint is complete. `ended` is the number of snapshots that had ended when the checkpoint
    /// began.
    pub fn checkpointed(&mut self, ended: u64) {
        self.stored = ended;
    }

    /// Returns the sweep that continues next. Returns `None` until the checkpoint that the sweeps need is complete.
    pub fn next(&self) -> Option<Sweep> {
        self.list.first().copied().filter(|_| !self.wants_checkpoint())
    }

    /// Notes that the first sweep has checked all rows up to a key, or all rows of its table.
    pub fn done(&mut self, page: &Page) {
        match (page.last, self.list.first_mut()) {
            (Some(last), Some(first)) => first.after = Some(last),
            (None, Some(_)) => drop(self.list.remove(0)),
            (_, None) => {}
        }
    }
}

/// A page of a table's rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The keys of rows that are live and of an earlier epoch.
    pub old: Vec<Id>,
    /// The last key that this page has checked. `last` is `None` if the table has no more rows.
    pub last: Option<Id>,
}

/// Returns the next rows of a sweep, as the store has them.
pub fn page(rows: &Rows, read: &ReadTxn, sweep: &Sweep) -> Result<Page, ReadError> {
    let (mut page, mut seen, mut failed) = (Page::default(), 0, None);
    rows.scan_stored(sweep.table, sweep.after.unwrap_or(Id([0; 16])), read, |key, bytes| {
        if Some(key) == sweep.after {
            return true;
        }
        match StoredRow::decode(bytes) {
            Ok(row) if row.live() && row.version.epoch < sweep.epoch => page.old.push(key),
            Ok(_) => {}
            Err(error) => failed = Some(error),
        }
        seen += 1;
        page.last = Some(key);
        failed.is_none() && seen < PAGE_MAX_ROWS && page.old.len() < PAGE_MAX_GONE
    })?;
    if seen < PAGE_MAX_ROWS && page.old.len() < PAGE_MAX_GONE {
        page.last = None;
    }
    failed.map_or(Ok(page), |error| Err(error.into()))
}

fn encode(list: &[Sweep]) -> Vec<u8> {
    let mut out = vec![VERSION];
    for Sweep { table, epoch, after, lsn, ts_us, partition, offset } in list {
        out.put_u8(table.number());
        out.put_varint(u64::from(*epoch));
        out.put_optional_bytes(after.as_ref().map(|id| &id.0[..]));
        out.put_varint(*lsn);
        out.put_zigzag(*ts_us);
        out.put_zigzag(i64::from(*partition));
        out.put_zigzag(*offset);
    }
    out
}

fn decode(bytes: &[u8]) -> Result<Vec<Sweep>, CodecError> {
    let invalid = || CodecError::Invalid(WHAT);
    let (mut reader, _) = Reader::versioned(WHAT, bytes, VERSION)?;
    let mut list: Vec<Sweep> = Vec::new();
    while !reader.is_empty() {
        let table = Table::numbered(reader.u8()?)?;
        let epoch = u16::try_from(reader.varint()?).map_err(|_| invalid())?;
        let after = reader.optional_bytes()?.map(|id| id.try_into().map(Id).map_err(|_| invalid())).transpose()?;
        let (lsn, ts_us) = (reader.varint()?, reader.zigzag()?);
        let partition = i32::try_from(reader.zigzag()?).map_err(|_| invalid())?;
        if list.iter().any(|sweep| sweep.table == table) {
            return Err(invalid());
        }
        list.push(Sweep { table, epoch, after, lsn, ts_us, partition, offset: reader.zigzag()? });
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nova_storage::testing::mutate::check_bytes;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sweeps_read_back_and_mutants_are_errors_or_sweeps(
            numbers: [(u16, Option<u128>, u64, i64, i32, i64); 5], count in 1usize..=5, seed: u64,
        ) {
            let sweep = |(table, (epoch, after, lsn, ts_us, partition, offset)): (Table, _)| {
                Sweep { table, epoch, after: Option::map(after, Id::from_u128), lsn, ts_us, partition, offset }
            };
            let list: Vec<_> = Table::ALL.into_iter().zip(numbers).take(count).map(sweep).collect();
            let bytes = encode(&list);
            prop_assert_eq!(decode(&bytes), Ok(list));
            check_bytes(&bytes, seed, decode, |list| encode(list));
        }
    }
}
