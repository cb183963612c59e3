//! Collects the effects of a change of a source row.

use nova_storage::ReadTxn;

use crate::arrival::Arrival;
use crate::event::{Change, ChangeBody, Id, Op, Outcome, Record};
use crate::pipeline::apply::Judgement;
use crate::pipeline::halt::{Halt, Hold};
use crate::pipeline::progress::Slot;
use crate::pipeline::stored::Place;

use super::error::WriterError;
use super::fate::Fate;
use super::place::place;
use super::structures::Writer;

impl Writer {
    pub(super) fn change(
        &mut self,
        slot: Slot,
        change: Change,
        (record, arrival): (&Record, Option<Arrival>),
        read: &ReadTxn,
    ) -> Result<Fate, WriterError> {
        let table = change.table;
        if let Some(halt) = &self.meta.tables[table as usize].halt {
            let hold = Hold::Table(halt.clone());
            self.hold(slot, hold);
            return Ok(Fate::Held);
        }
        self.reads += usize::from(change.op == Op::Read);
        self.follow_first(&change, record.partition);
        if matches!(change.body, ChangeBody::Truncate) {
            return self.truncate(slot, &change, place(record), read);
        }
        match self.judged(change, (place(record), false), arrival, read)? {
            Ok(outcome) => Ok(Fate::Outcome(outcome)),
            Err(halt) => {
                self.halt(table, slot, halt);
                Ok(Fate::Held)
            }
        }
    }

    /// Applies a change if it is newer than the stored row. The function returns `Err` if the table of the change must
    /// halt. The flag in the pair with the place says whether the change is a replayed dead letter.
    pub(super) fn judged(
        &mut self,
        change: Change,
        place: (Place, bool),
        arrival: Option<Arrival>,
        read: &ReadTxn,
    ) -> Result<Result<Outcome, Halt>, WriterError> {
        let (table, key) = (change.table, change.key);
        let told = (change.op, change.source_ts_us);
        let numbered = change.lsn.is_some() || change.op == Op::Read;
        // If a key of several columns changes and the row's id stays the same, the tombstone under this id keeps the
        // image.
        let other = |id: Option<Id>| id.filter(|id| *id != key);
        let renamed = (other(change.renamed_from()), other(change.renamed_to()));
        let meta = &self.meta.tables[table as usize];
        let again = (!meta.restarts.is_empty()).then(|| change.clone());
        Ok(match self.judgement(change, place, read)? {
            Judgement::Skip(outcome) => Ok(outcome),
            Judgement::Late(late) => {
                self.late(table, key, *late, read)?;
                Ok(Outcome::Stale)
            }
            Judgement::Halt(regression) => match again.filter(|_| meta.restarts.decided(key, regression.lsn)) {
                Some(change) if self.raise_epoch(table).is_some() => {
                    let lsn = regression.lsn;
                    tracing::warn!(
                        "{table}: the source's log began again at LSN {lsn}, as decided before: a new epoch"
                    );
                    // The recursion ends after one step, because no change is a regression for a row of an earlier
                    // epoch.
                    return self.judged(change, place, arrival, read);
                }
                _ => Err(Halt::LsnRegression(regression)),
            },
            Judgement::Write(written) => {
                self.meta.tables[table as usize].without_lsn |= !numbered;
                let mut written = *written;
                let (lsn, image) = (written.lsn, written.image.take());
                self.write_row(table, key, written, told, arrival);
                match renamed {
                    (_, Some(to)) => self.moved(table, (key, to), image, read)?,
                    (Some(from), _) => self.drop_image(table, (from, key), lsn, read)?,
                    (None, None) => {}
                }
                Ok(Outcome::Applied)
            }
        })
    }

    /// Notes the reads that come before the first streamed change of a partition.
    fn follow_first(&mut self, change: &Change, partition: i32) {
        let tables = &mut self.meta.tables;
        // In a raised epoch, a partition may have reads of two logs. A read of the first snapshot has the LSN of other
        // reads of this snapshot, and a read of a new log's snapshot has not.
        let of_first = |lsn: u64| tables.iter().any(|table| table.first.noted(lsn));
        let beside = tables[change.table as usize].mixed() && !change.lsn.is_some_and(of_first);
        let first = &mut tables[change.table as usize].first;
        match (change.op, change.lsn) {
            (Op::Read, Some(lsn)) => {
                match beside {
                    true => first.read_beside(lsn),
                    false => first.read(partition, lsn),
                }
                if change.ends_snapshot {
                    first.whole(lsn);
                }
            }
            // A read without an LSN may come from an incremental snapshot, and no mark of the record says so.
            (Op::Read | Op::Unknown, None) => {}
            _ => first.streamed(partition),
        }
    }
}
