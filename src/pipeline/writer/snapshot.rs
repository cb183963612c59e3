//! Handles, in the writer's commits, the snapshots that nova reads from PostgreSQL directly. Keeps the source's
//! position, raises the epoch when a snapshot begins, and sweeps the rows that the snapshot did not read.

use nova_storage::codec::COOKIE_MAX_BYTES;
use nova_storage::{ReadTxn, WriteTxn};

use crate::event::{Op, Outcome, Record, SnapshotMark, Table, TopicPartition};
use crate::pipeline::apply::swept::swept_row;
use crate::pipeline::halt::Halt;
use crate::pipeline::progress::Slot;
use crate::pipeline::sweep::{self, Sweep};
use crate::source::Cookie;

use super::error::WriterError;
use super::fate::Fate;
use super::place::place;
use super::structures::Writer;

impl Writer {
    /// Puts the source's position into the present commit, if every record before the position was consumed.
    pub(super) fn keep(&mut self, slot: Slot, rewind: u32, cookie: Cookie) {
        let partition = &mut self.partitions[slot.index()];
        if partition.rewind != rewind || partition.row.next < cookie.offset {
            return;
        }
        if cookie.bytes.len() > COOKIE_MAX_BYTES {
            let (bytes, name) = (cookie.bytes.len(), &partition.name);
            tracing::error!(partition = %name, bytes, "the source's position is longer than {COOKIE_MAX_BYTES} bytes");
            return;
        }
        partition.cookie = cookie.bytes;
        partition.touched = true;
    }

    /// Changes the stored position of a source, because a person asked for the change. The partition begins again from
    /// the changed position.
    pub(super) fn restart(&mut self, name: &TopicPartition, change: impl FnOnce(&[u8]) -> Vec<u8>) {
        let slot = self.parts.shared.slot(name);
        self.catch_up();
        let partition = &mut self.partitions[slot.index()];
        partition.cookie = change(&partition.cookie).into();
        // The old digest belongs to a record from before the changed position.
        partition.row.digest = 0;
        self.release(slot);
    }

    /// Notes that a snapshot of tables begins or has ended.
    pub(super) fn snapshot(&mut self, mark: SnapshotMark, record: &Record) -> Result<Fate, WriterError> {
        match mark {
            SnapshotMark::Begin(tables) => {
                for table in tables.iter() {
                    self.begin_snapshot(table)?;
                }
            }
            SnapshotMark::End(tables) => {
                let place = place(record);
                let (lsn, ts_us) = record.origin.as_ref().map_or((0, 0), |origin| (origin.base_lsn, origin.commit_us));
                for table in tables.iter() {
                    let epoch = self.meta.tables[table as usize].epoch;
                    let (partition, offset) = (place.partition.unwrap_or_default(), place.offset);
                    self.sweeps.end(Sweep { table, epoch, after: None, lsn, ts_us, partition, offset });
                }
            }
        }
        self.sweeps_changed = true;
        Ok(Fate::Outcome(Outcome::Ignored))
    }

    /// Raises the epoch, so that every row that nova reads from now on is newer than all earlier rows, whatever server
    /// and log the rows come from.
    fn begin_snapshot(&mut self, table: Table) -> Result<(), WriterError> {
        let had_rows = self.rows.any(table);
        self.sweeps.begin(table, had_rows);
        let meta = &mut self.meta.tables[table as usize];
        if had_rows {
            meta.epoch = meta.epoch.checked_add(1).ok_or(WriterError::Epochs(table))?;
        }
        meta.truncated = None;
        // If a person has paused the table, it stays paused. A halt that the snapshot repairs is removed.
        if matches!(meta.halt, Some(Halt::Truncate { .. } | Halt::LsnRegression(_) | Halt::Partitions(_))) {
            meta.halt = None;
        }
        Ok(())
    }

    /// Deletes some of the rows that the last snapshot did not read.
    pub(super) fn sweep(&mut self, read: &ReadTxn, write: &WriteTxn) -> Result<(), WriterError> {
        if let Some(sweep) = self.sweeps.next() {
            let page = sweep::page(&self.rows, read, &sweep)?;
            for key in &page.old {
                let swept = |stored: Option<&[u8]>| stored.map_or(Ok(None), |stored| swept_row(stored, &sweep));
                if let Some(written) = self.rows.with(sweep.table, *key, read, swept)?? {
                    self.write_row(sweep.table, *key, written, (Op::Delete, Some(sweep.ts_us)), None);
                }
            }
            self.sweeps.done(&page);
            self.sweeps_changed = true;
            if page.last.is_none() {
                tracing::info!(table = %sweep.table, "rows that the snapshot did not read are deleted");
            }
        }
        if std::mem::take(&mut self.sweeps_changed) {
            self.sweeps.save(write)?;
        }
        Ok(())
    }
}
