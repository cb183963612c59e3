//! The rows that a store had before a rebuild. If nova reads a row again, it writes the row in a higher epoch. If nova
//! has read the source to its end and a row was not read again, the row no longer exists in the source. If a row was
//! not read again, ClickHouse gets a delete of the row.

use nova_storage::codec::CodecError;
use nova_storage::schema::{JOURNAL, UNREAD};
use nova_storage::{ReadError, ReadTxn, WriteError, WriteTxn};

use crate::event::{Id, Table};

use super::journal::{self, Step};
use super::rows;
use super::stored::StoredRow;

/// The value of an entry in the table of unread rows. The key of the entry names the row, so the value says nothing.
/// The value is a version number, because the value of every entry in the store begins with a version number.
const VALUE: [u8; 1] = [1];

/// Notes a row that ClickHouse may have.
pub fn remember(write: &WriteTxn, table: Table, key: Id) -> Result<(), WriteError> {
    write.put(UNREAD, (table.number(), &key.0), &VALUE)
}

/// The number of a row's table, and the key of the row.
pub type Name = (u8, [u8; 16]);

/// Returns every row of a stopped store. A row in the journal may already be deleted. An unnecessary delete has no
/// effect in ClickHouse.
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

/// Notes all rows that the caller gives.
pub fn remember_all(write: &WriteTxn, rows: &[Name]) -> Result<(), WriteError> {
    write.put_all(UNREAD, rows.iter().map(|(number, key)| ((*number, key), &VALUE[..])))
}

/// The number of noted rows that no command has handled yet.
pub fn waiting(read: &ReadTxn) -> Result<u64, ReadError> {
    read.len(UNREAD)
}

/// Returns the first noted rows, at most `limit`.
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
