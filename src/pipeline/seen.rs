//! The stored rows as one commit left them, read beside the writer: the runs of the last checkpoint, and the journal
//! since then on top of them. A read transaction holds the commit, so the file keeps its pages until [`Seen`] is
//! dropped.

use nova_storage::codec::CodecError;
use nova_storage::schema::JOURNAL;
use nova_storage::{ReadError, ReadTxn};

use crate::event::{Id, Row, Table};

use super::journal::{self, Step};
use super::meta::Meta;
use super::rows::Rows;
use super::stored::StoredRow;

/// The stored rows of one commit. The rows take as much memory as the rows that changed since the last checkpoint,
/// which the settings of the checkpoint limit, and 2 B for each row.
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

    /// The row under a key. `None` if nothing was ever stored there, and an inner `None` for a tombstone.
    pub fn get(&self, table: Table, key: Id) -> Result<Option<Option<Row>>, ReadError> {
        let decode = |bytes: Option<&[u8]>| bytes.map(|bytes| StoredRow::decode(bytes)?.row()).transpose();
        Ok(self.rows.with(table, key, &self.read, decode)??)
    }

    /// Calls `each` for the stored rows of a table, including tombstones, in key order, until it returns false.
    pub fn scan(&self, table: Table, mut each: impl FnMut(&[u8]) -> bool) -> Result<(), ReadError> {
        self.rows.scan_while(table, &self.read, |_, bytes| each(bytes))
    }

    /// Like `scan`, for live rows only.
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
