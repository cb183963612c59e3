//! Reads of the product's tables: the first snapshot, blocking and incremental snapshots, and reads that come late.

use std::collections::{BTreeSet, VecDeque};

use nova::event::{Id, Table};

use super::log::What;
use super::{Message, Product, Row};
use crate::support::events::Rng;

/// The longest time from the point of a snapshot to the time that the connector notes for the snapshot, in
/// microseconds.
const NOTED_MAX_US: u64 = 2_000_000;

/// A snapshot: rows that were read at one point in the log. The stream waits until every row of the snapshot is
/// written.
pub(super) struct Snapshot {
    lsn: u64,
    us: i64,
    rows: VecDeque<(Table, Id, Row)>,
    /// Whether a restarted connector takes the snapshot again.
    pub initial: bool,
}

/// The LSN and the time of a late snapshot, and the rows that it has read.
pub(super) type Late = (u64, i64, Vec<(Table, Id, Row)>);

impl Product {
    /// Reads the rows that are committed now. Open transactions have written to the log before the LSN of the snapshot,
    /// and the snapshot does not contain their changes.
    pub(super) fn begin_snapshot(&mut self, now_us: i64, all: bool) {
        self.stream.get_or_insert_default();
        self.lsn += 8;
        let us = self.read_time(now_us) + self.rng.below(NOTED_MAX_US) as i64;
        self.latest_us = self.latest_us.max(us);
        let rows = self.some_rows(if all { 1 } else { 2 });
        self.snapshot = Some(Snapshot { lsn: self.lsn, us, rows: rows.into(), initial: all });
    }

    /// Returns the time by the connector's clock.
    fn read_time(&self, now_us: i64) -> i64 {
        if self.kinds.clocks { now_us + self.connector_us } else { now_us.max(self.commit_us) }
    }

    /// Returns a random part of the committed rows: one row in `one_in`.
    fn some_rows(&mut self, one_in: u64) -> Vec<(Table, Id, Row)> {
        let mut rng = Rng(self.rng.next());
        let mut rows = Vec::new();
        for table in Table::ALL {
            let some = self.tables[table as usize].iter().filter(|_| rng.below(one_in) == 0);
            rows.extend(some.map(|(id, row)| (table, *id, row.clone())));
        }
        rows
    }

    /// Writes some reads of the present snapshot. Returns true if the last reads of the snapshot were written.
    pub(super) fn read_some(&mut self, out: &mut Vec<Message>) -> bool {
        let Some(mut snapshot) = self.snapshot.take() else { return true };
        for _ in 0..1 + self.rng.below(40) {
            let Some((table, id, row)) = snapshot.rows.pop_front() else { return true };
            out.push(self.read_message(table, id, &row, Some(snapshot.lsn), snapshot.us));
        }
        self.snapshot = Some(snapshot);
        false
    }

    /// Takes a snapshot that a signal has requested.
    pub fn snapshot(&mut self, now_us: i64) -> Vec<Message> {
        if self.stream.is_none() || self.snapshot.is_some() {
            return Vec::new();
        }
        match self.rng.below(3) {
            // If a partition got three snapshots before its first change, nothing would show which of them ended the
            // first snapshot.
            0 if self.kinds.snapshots && !self.retaken => {
                self.begin_snapshot(now_us, false);
                Vec::new()
            }
            1 if self.kinds.snapshots => self.incremental(now_us),
            _ => self.late(now_us),
        }
    }

    /// Makes one window of an incremental snapshot. The window reads rows between two marks in the log, and drops rows
    /// that changed between the marks. Rows that did not change between the two marks are written at the second mark,
    /// without an LSN.
    fn incremental(&mut self, now_us: i64) -> Vec<Message> {
        let end = |product: &Product| product.stream.as_ref().map_or(0, Vec::len);
        let low = end(self);
        self.work(now_us);
        let (mut rows, us) = (self.some_rows(3), self.read_time(now_us));
        self.latest_us = self.latest_us.max(us);
        self.work(now_us);
        let high = end(self);
        let mut out = Vec::new();
        self.write_until(high, &mut out);
        let stream = self.stream.as_deref().unwrap_or_default();
        let changed: BTreeSet<_> = stream[low..high]
            .iter()
            .filter_map(|committed| match &committed.what {
                What::Row(op) => Some((op.table, op.key)),
                What::Truncate { .. } => None,
            })
            .collect();
        rows.retain(|(table, id, _)| !changed.contains(&(*table, *id)));
        out.extend(rows.iter().map(|(table, id, row)| self.read_message(*table, *id, row, None, us)));
        self.produce(out)
    }

    /// Takes a snapshot of some rows, or writes the rows of an earlier snapshot. The stream may deliver later changes
    /// of the rows before the reads of a late snapshot. The product takes a late snapshot only if both the LSN and the
    /// time of a read show that the read is older than the delivered changes. A read does not show its age while
    /// transactions are open or clocks are set.
    fn late(&mut self, now_us: i64) -> Vec<Message> {
        if self.kinds.open || self.kinds.clocks || self.kinds.moving {
            return Vec::new();
        }
        if self.late.is_none() {
            self.lsn += 8;
            let rows = self.some_rows(3);
            self.late = Some((self.lsn, now_us.max(self.commit_us), rows));
            // If deletes have no LSN, a read that is older than a delete would bring the deleted row back.
            if self.style.numbered() {
                return Vec::new();
            }
        }
        let mut out = Vec::new();
        let end = self.stream.as_ref().map_or(0, Vec::len);
        self.write_until(end, &mut out);
        let (lsn, us, rows) = self.late.take().unwrap_or_default();
        out.extend(rows.iter().map(|(table, id, row)| self.read_message(*table, *id, row, Some(lsn), us)));
        self.produce(out)
    }
}
