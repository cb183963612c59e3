//! Handles a truncate of a source table.

use nova_storage::ReadTxn;

use crate::event::{Change, Ignored, Outcome};
use crate::pipeline::TruncatePolicy;
use crate::pipeline::apply::{Judgement, truncate_row};
use crate::pipeline::decided::Truncation;
use crate::pipeline::halt::Halt;
use crate::pipeline::meta::Truncated;
use crate::pipeline::progress::Slot;
use crate::pipeline::stored::Place;

use super::error::WriterError;
use super::fate::Fate;
use super::structures::Writer;

impl Writer {
    pub(super) fn truncate(
        &mut self,
        slot: Slot,
        change: &Change,
        place: Place,
        read: &ReadTxn,
    ) -> Result<Fate, WriterError> {
        let table = change.table;
        let partition = self.partitions[slot.index()].name.clone();
        let (lsn, source_ts_us) = (change.lsn, change.source_ts_us);
        let at = Truncation { partition, offset: place.offset, lsn, source_ts_us };
        let decided = self.meta.tables[table as usize].decided.decided(&at);
        match decided.map_or(self.parts.settings.truncate, TruncatePolicy::from) {
            TruncatePolicy::Ignore => {
                tracing::warn!(%table, kind = ?Ignored::Truncate, "a truncate of the source table was ignored");
                Ok(Fate::Outcome(Outcome::Ignored))
            }
            TruncatePolicy::Quarantine => {
                self.halt(table, slot, Halt::Truncate { table, at: Some(at) });
                Ok(Fate::Held)
            }
            TruncatePolicy::Apply => {
                if let Err(halt) = self.apply_truncate(change, place, read)? {
                    self.halt(table, slot, halt);
                    return Ok(Fate::Held);
                }
                Ok(Fate::Outcome(Outcome::Applied))
            }
        }
    }

    /// Deletes every row of the table that is older than the truncate. The function returns `Err` if the table must
    /// halt.
    fn apply_truncate(
        &mut self,
        change: &Change,
        place: Place,
        read: &ReadTxn,
    ) -> Result<Result<(), Halt>, WriterError> {
        let table = change.table;
        let meta = &self.meta.tables[table as usize];
        let epoch = meta.epoch;
        // The truncate is a redelivery: the rows that it deletes are gone, and the remaining rows are newer than the
        // truncate.
        let known = |truncated: Truncated| {
            truncated.epoch == epoch
                && change.lsn.is_some_and(|lsn| lsn <= truncated.lsn)
                && change.source_ts_us <= truncated.source_ts_us
        };
        if meta.truncated.is_some_and(known) {
            return Ok(Ok(()));
        }
        let (mut gone, mut halt, mut failed) = (Vec::new(), None, None);
        let mut decided = false;
        self.rows.scan(table, read, |key, stored| match truncate_row((table, key), stored, change, place, meta) {
            Ok(Judgement::Write(written)) => gone.push((key, *written)),
            Ok(Judgement::Skip(_) | Judgement::Late(_)) => {}
            Ok(Judgement::Halt(regression)) => {
                decided |= meta.restarts.decided(regression.key, regression.lsn);
                halt = Some(Halt::LsnRegression(regression));
            }
            Err(error) => failed = Some(error),
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        if let Some(halt) = halt {
            // A person decided about this truncate before a rebuild. The recursion ends after one step, because no
            // truncate is a regression for a row of an earlier epoch.
            return match decided && self.raise_epoch(table).is_some() {
                true => self.apply_truncate(change, place, read),
                false => Ok(Err(halt)),
            };
        }
        for (key, written) in gone {
            self.write_row(table, key, written, (change.op, change.source_ts_us), None);
        }
        if let Some(lsn) = change.lsn {
            let latest = &mut self.meta.tables[table as usize].truncated;
            let truncated = Truncated { epoch, lsn, source_ts_us: change.source_ts_us, partition: place.partition };
            *latest = (*latest).max(Some(truncated));
        }
        Ok(Ok(()))
    }
}
