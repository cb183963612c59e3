//! Removes from the outbox the rows that ClickHouse already has, because the store sent them before it was restored
//! from a backup.

use nova_storage::schema::{OUTBOX_BATCH, OUTBOX_SEGMENT};
use nova_storage::{ReadError, ReadTxn, WriteError, WriteTxn};

use crate::warehouse::delivered::Totals;
use crate::warehouse::rows::{self, NotRows};
use crate::warehouse::target::Target;

use super::Outbox;
use super::chunks::{Body, body};
use super::error::OutboxError;

/// The column with the number of the batch in which a row was sent.
const BATCH_COLUMN: &str = "_nova_batch";

/// The reason why an outbox could not be reconciled. A failed reconciliation commits nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    NotRows(#[from] NotRows),
}

/// The number of waiting rows that a reconciliation dropped, and the number that it kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    pub dropped: u64,
    pub left: u64,
}

impl Outbox {
    /// Returns the number of the first batch of `post_events` whose rows may be in ClickHouse although this store does
    /// not know of the delivery.
    pub fn unsettled_from(&self) -> u64 {
        let sealed = self.sealed.keys().filter(|(target, _)| *target == Target::Events);
        let open = self.open.iter().filter(|(target, _)| *target == Target::Events);
        let waiting = sealed.map(|(_, batch)| *batch).chain(open.map(|(_, open)| open.batch)).min();
        waiting.unwrap_or(self.ledgers.tables[Target::Events.index()].next)
    }

    /// Puts the waiting rows of `post_events` that ClickHouse lacks into new batches, and drops the waiting rows that
    /// ClickHouse has. The numbers of the new batches were never used, not even before the restore. `totals` are the
    /// counts of this store's rows in ClickHouse, and the ledger adopts these counts.
    pub fn reconcile(
        &mut self,
        read: &ReadTxn,
        write: &WriteTxn,
        totals: &Totals,
        has: impl Fn(&[u8]) -> Result<bool, ReadError>,
        now_ms: i64,
    ) -> Result<Reconciled, ReconcileError> {
        let number = Target::Events.number();
        let sealed = self.sealed.range((Target::Events, 0)..=(Target::Events, u64::MAX));
        let mut waiting: Vec<_> = sealed.map(|((_, batch), sealed)| (*batch, sealed.partition)).collect();
        let open = self.open.extract_if(.., |(target, _)| *target == Target::Events);
        waiting.extend(open.map(|(_, open)| (open.batch, open.partition)));
        let ledger = self.ledgers.of(Target::Events);
        ledger.next = ledger.next.max(totals.highest_batch.map_or(0, |highest| highest + 1));
        let mut done = Reconciled::default();
        for (batch, partition) in waiting {
            let Body { columns, rows: bytes } = body(read, Target::Events, batch)?;
            for range in rows::split(&columns, &bytes)? {
                let row = &bytes[range];
                if has(row)? {
                    done.dropped += 1;
                    continue;
                }
                let number_at = rows::column(&columns, BATCH_COLUMN, row)?;
                let open = self.open(Target::Events, &columns, partition, now_ms);
                let begin = open.pending.len();
                open.pending.extend_from_slice(row);
                if let Some(at) = number_at {
                    open.pending[begin..][at].copy_from_slice(&open.batch.to_le_bytes());
                }
                open.pending_rows += 1;
                done.left += 1;
            }
            self.sealed.remove(&(Target::Events, batch));
            write.remove(OUTBOX_BATCH, (number, batch))?;
            write.remove_range(OUTBOX_SEGMENT, (number, batch, 0)..=(number, batch, u32::MAX))?;
            self.write(write, now_ms, false)?;
        }
        let ledger = self.ledgers.of(Target::Events);
        ledger.acknowledged = totals.rows;
        ledger.emitted = totals.rows + ledger.dead + done.left;
        self.ledgers.forget_marks();
        self.changed = true;
        self.write(write, now_ms, true)?;
        self.check()?;
        Ok(done)
    }
}
