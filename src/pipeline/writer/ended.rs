//! Ends a rebuild, and a first snapshot that was taken twice, in commits of the writer.

use nova_storage::schema::UNREAD;
use nova_storage::{ReadTxn, WriteTxn};

use crate::event::{Op, Table};
use crate::mutant::{self, Mutant};
use crate::pipeline::apply::swept::unread_row;
use crate::pipeline::first::Repeated;
use crate::pipeline::stored::Version;
use crate::pipeline::unread;
use crate::warehouse::rows::RowChange;

use super::error::WriterError;
use super::structures::Writer;

/// The maximum number of rows that one command handles, so that a commit stays short.
const ROWS_MAX: usize = 5_000;

impl Writer {
    /// Forgets the rows that were read again, and sends ClickHouse deletes for rows that were not read again. Returns
    /// the number of noted rows that a later command must handle.
    pub(super) fn end_rebuild(&mut self, read: &ReadTxn, write: &WriteTxn) -> Result<u64, WriterError> {
        let page = unread::page(read, ROWS_MAX)?;
        for (table, key) in &page {
            let known = self.rows.with(*table, *key, read, |stored| stored.is_some())?;
            if !known && let Some(outbox) = &mut self.outbox {
                // The version of the delete is below every version that the source can still send in this epoch.
                let version = Version { epoch: self.meta.tables[*table as usize].epoch, ..Version::default() };
                let change = RowChange {
                    table: *table,
                    key: *key,
                    row: None,
                    deleted: true,
                    op: Op::Delete,
                    version: version.number(),
                    lsn: 0,
                    source_ts_us: 0,
                };
                outbox.change(&change, self.parts.clock.now_ms());
            }
            write.remove(UNREAD, (table.number(), &key.0))?;
        }
        Ok(unread::waiting(read)?.saturating_sub(page.len() as u64))
    }

    /// Deletes the rows that an earlier first snapshot has read and the completed first snapshot has not. Returns the
    /// number of deleted rows. Before the call, nova must have read each partition up to the end that the partition had
    /// when nova saw the complete snapshot.
    pub(super) fn end_first_snapshot(&mut self, read: &ReadTxn) -> Result<u64, WriterError> {
        let Repeated::By(lsn) = self.meta.repeated() else { return Ok(0) };
        // nova has not read the last records of a held partition.
        if self.partitions.iter().any(|partition| partition.hold.is_some()) || mutant::is(Mutant::KeepUnread) {
            return Ok(0);
        }
        let mut deleted = 0;
        for table in Table::ALL {
            let meta = &self.meta.tables[table as usize];
            let (mut gone, mut failed) = (Vec::new(), None);
            self.rows.scan(table, read, |key, stored| match unread_row(stored, lsn, meta) {
                Ok(written) => gone.extend(written.map(|written| (key, written))),
                Err(error) => failed = Some(error),
            })?;
            if let Some(error) = failed {
                return Err(error.into());
            }
            deleted += gone.len() as u64;
            for (key, written) in gone {
                self.write_row(table, key, written, (Op::Delete, None), None);
            }
        }
        self.meta.tables.iter_mut().for_each(|table| table.first.end());
        tracing::warn!(
            rows = deleted,
            lsn,
            "the connector took its first snapshot again: rows that were deleted between the two are deleted here, too"
        );
        Ok(deleted)
    }
}
