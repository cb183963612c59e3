//! The rows that a store had before a rebuild. A row that is read again is written again, in a higher epoch. When the
//! source was read to its end, a row that was not read no longer exists in the source, so ClickHouse gets a delete for
//! it.

use nova_storage::codec::CodecError;
use nova_storage::schema::{JOURNAL, UNREAD};
use nova_storage::{ReadError, ReadTxn, WriteError, WriteTxn};

use crate::event::{Id, Table};

use super::journal::{self, Step};
use super::rows;
use super::stored::StoredRow;

/// The value of an entry. It says nothing about the row, but the value of every table begins with a version.
const VALUE: [u8; 1] = [1];

/// Adds a row that ClickHouse may have.
pub fn remember(write: &WriteTxn, table: Table, key: Id) -> Result<(), WriteError> {
    write.put(UNREAD, (table.number(), &key.0), &VALUE)
}

/// The name of a row: its table's number and its key.
pub type Name = (u8, [u8; 16]);

/// Every row of a stopped store. A row that the journal has may already be deleted; an unnecessary delete has no
/// effect.
pub fn all(read: &ReadTxn) -> Result<Vec<Name>, ReadError> {
    let (mut keys, mut failed) = (Vec::new(), None);
    rows::scan_all(read, |number, key, bytes| {
        if StoredRow::decode(bytes)?.live() {
            keys.push((number, key.0));
        }
        Ok(())
    })?;
    read.scan(JOURNAL, 0u64.., |_, blob| {
        let done = journal::read(blob, |step| {
            if let Step::Row { table, key, .. } = step {
                keys.push((table.number(), key.0));
            }
            Ok::<_, CodecError>(())
        });
        failed = done.err();
        failed.is_none()
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

/// Adds these rows.
pub fn remember_all(write: &WriteTxn, rows: &[Name]) -> Result<(), WriteError> {
    write.put_all(UNREAD, rows.iter().map(|(number, key)| ((*number, key), &VALUE[..])))
}

/// The number of rows that wait.
pub fn waiting(read: &ReadTxn) -> Result<u64, ReadError> {
    read.len(UNREAD)
}

/// The first rows that wait, at most `limit`.
pub fn page(read: &ReadTxn, limit: usize) -> Result<Vec<(Table, Id)>, ReadError> {
    let (mut page, mut failed) = (Vec::new(), None);
    read.scan(UNREAD, (0u8, &[0u8; 16]).., |(number, key), _| {
        match Table::numbered(number) {
            Ok(table) => page.push((table, Id(*key))),
            Err(error) => failed = Some(error),
        }
        failed.is_none() && page.len() < limit
    })?;
    failed.map_or(Ok(page), |error| Err(error.into()))
}
