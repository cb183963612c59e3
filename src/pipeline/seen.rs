//! Reads the stored rows as one commit left them, while the writer runs. The rows of the commit are in the runs of the
//! last checkpoint, and in the journal since that checkpoint. A read transaction keeps the pages of the commit in the
//! file until [`Seen`] is dropped.

use nova_storage::codec::CodecError;
use nova_storage::schema::JOURNAL;
use nova_storage::{ReadError, ReadTxn};

use crate::event::{Id, Row, Table};

use super::journal::{self, Step};
use super::meta::Meta;
use super::rows::Rows;
use super::stored::StoredRow;

/// The stored rows of one commit. A `Seen` needs memory for the rows that changed since the last checkpoint, and 2
/// bytes for each row. The settings of checkpoints limit the number of changed rows.
pub struct Seen {
    read: ReadTxn,
    rows: Rows,
}

impl Seen {
    /// Loads the rows of the commit that `read` sees.
    pub fn load(read: ReadTxn) -> Result<Seen, ReadError> {
        let covered = Meta::load(&read)?.map_or(0, |meta| meta.covered);
        let (mut rows, mut failed) = (Rows::load(&read)?, None);
        read.scan(JOURNAL, covered + 1.., |_, blob| {
            let done = journal::read::<CodecError>(blob, |step| {
                if let Step::Row { table, key, stored } = step {
                    rows.put(table, key, stored.into());
                }
                Ok(())
            });
            failed = done.err();
            failed.is_none()
        })?;
        failed.map_or(Ok(Seen { read, rows }), |error| Err(error.into()))
    }

    /// Returns the stored row of a key. Returns `None` if nothing was ever stored under the key, and an inner `None`
    /// for a tombstone.
    pub fn get(&self, table: Table, key: Id) -> Result<Option<Option<Row>>, ReadError> {
        let decode = |bytes: Option<&[u8]>| bytes.map(|bytes| StoredRow::decode(bytes)?.row()).transpose();
        Ok(self.rows.with(table, key, &self.read, decode)??)
    }

    /// Calls `each` for the stored rows of a table, including tombstones, in key order, until `each` returns false.
    pub fn scan(&self, table: Table, mut each: impl FnMut(&[u8]) -> bool) -> Result<(), ReadError> {
        self.rows.scan_while(table, &self.read, |_, bytes| each(bytes))
    }

    /// Does the same as `scan`, for live rows only.
    pub fn live(&self, table: Table, mut each: impl FnMut(Row) -> bool) -> Result<(), ReadError> {
        let mut failed = None;
        self.scan(table, |bytes| match StoredRow::decode(bytes).and_then(|stored| stored.row()) {
            Ok(Some(row)) => each(row),
            Ok(None) => true,
            Err(error) => {
                failed = Some(error);
                false
            }
        })?;
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}
