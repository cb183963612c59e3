//! The end of a rebuild, in the writer's commits.

use nova_storage::schema::UNREAD;
use nova_storage::{ReadTxn, WriteTxn};

use crate::event::Op;
use crate::pipeline::stored::Version;
use crate::pipeline::unread;
use crate::warehouse::rows::RowChange;

use super::{Writer, WriterError};

/// Rows of one command: a commit stays short.
const ROWS_MAX: usize = 5_000;

impl Writer {
    /// Forgets rows that were read again, and tells ClickHouse of those that were not; how many wait after that.
    pub(super) fn end_rebuild(&mut self, read: &ReadTxn, write: &WriteTxn) -> Result<u64, WriterError> {
        let page = unread::page(read, ROWS_MAX)?;
        for (table, key) in &page {
            let known = self.rows.with(*table, *key, read, |stored| stored.is_some())?;
            if !known && let Some(outbox) = &mut self.outbox {
                // Below every version that the source can still bring in this epoch.
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
}
