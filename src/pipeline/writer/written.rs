//! Writes a changed row to four places: to the effects for memory, to the rows for ClickHouse, to the journal and to
//! the stored rows.

use crate::arrival::Arrival;
use crate::decode::facts;
use crate::event::{Facts, Id, Op, Row, Table};
use crate::mutant::{self, Mutant};
use crate::pipeline::apply::Written;
use crate::pipeline::journal::{Step, effects};
use crate::warehouse::rows::RowChange;

use super::structures::Writer;

impl Writer {
    /// `told` has the operation of the record, and the time at which the source committed the change.
    pub(super) fn write_row(
        &mut self,
        table: Table,
        key: Id,
        written: Written,
        told: (Op, Option<i64>),
        arrival: Option<Arrival>,
    ) {
        let of = |row: Option<&Row>| row.and_then(|row| facts(table, row));
        let (mut old, new) = (of(written.old.as_ref()), of(written.new.as_ref()));
        if mutant::is(Mutant::TrustBefore) && new.is_none() {
            old = None;
        }
        if old != new {
            let counted = new.as_ref().and_then(Facts::counted);
            let ahead = counted.and_then(|(_, at_us)| self.time.ahead(arrival, at_us.div_euclid(1_000)));
            let ahead = ahead.map(Arrival::ms);
            ahead.into_iter().for_each(|at_ms| self.journal.push(Step::Dated { at_ms }));
            effects((key, old, new), ahead, |effect| self.effects.push(effect));
        }
        if let Some(outbox) = &mut self.outbox {
            let change = RowChange {
                table,
                key,
                row: written.new.as_ref().or(written.old.as_ref()),
                deleted: written.new.is_none(),
                op: told.0,
                version: written.version.number(),
                lsn: written.lsn,
                source_ts_us: told.1.unwrap_or(0),
            };
            outbox.change(&change, self.parts.clock.now_ms());
        }
        self.toast_unfilled += u64::from(written.unfilled);
        self.journal.push(Step::Row { table, key, stored: &written.stored });
        self.rows.put(table, key, written.stored);
    }

    /// Stores a tombstone of a row that was already deleted.
    pub(super) fn store_quietly(&mut self, table: Table, key: Id, stored: Box<[u8]>) {
        self.journal.push(Step::Row { table, key, stored: &stored });
        self.rows.put(table, key, stored);
    }
}
