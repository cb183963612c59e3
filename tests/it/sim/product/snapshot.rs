//! Reads of the tables: the first snapshot, blocking and incremental ones, and reads that come late.

use std::collections::{BTreeSet, VecDeque};

use nova::event::{Id, Table};

use super::log::What;
use super::{Message, Product, Row};
use crate::support::events::Rng;

/// The longest time from a snapshot's point to the time that the connector notes, microseconds.
const NOTED_MAX_US: u64 = 2_000_000;

/// Rows read at one point. The stream waits until all are written.
pub(super) struct Snapshot {
    lsn: u64,
    us: i64,
    rows: VecDeque<(Table, Id, Row)>,
    /// Whether the snapshot is taken again when the connector restarts.
    pub initial: bool,
}

/// The LSN and the time of a late snapshot, and the rows that it read.
pub(super) type Late = (u64, i64, Vec<(Table, Id, Row)>);

impl Product {
    /// Reads the rows that are committed now. Open transactions have written below the LSN, and the snapshot does not
    /// have their changes.
    pub(super) fn begin_snapshot(&mut self, now_us: i64, all: bool) {
        self.stream.get_or_insert_default();
        self.lsn += 8;
        let us = self.read_time(now_us) + self.rng.below(NOTED_MAX_US) as i64;
        self.latest_us = self.latest_us.max(us);
        let rows = self.some_rows(if all { 1 } else { 2 });
        self.snapshot = Some(Snapshot { lsn: self.lsn, us, rows: rows.into(), initial: all });
    }

    /// The time by the connector's clock.
    fn read_time(&self, now_us: i64) -> i64 {
        if self.kinds.clocks { now_us + self.connector_us } else { now_us.max(self.commit_us) }
    }

    /// One in `one_in` of the committed rows.
    fn some_rows(&mut self, one_in: u64) -> Vec<(Table, Id, Row)> {
        let mut rng = Rng(self.rng.next());
        let mut rows = Vec::new();
        for table in Table::ALL {
            let some = self.tables[table as usize].iter().filter(|_| rng.below(one_in) == 0);
            rows.extend(some.map(|(id, row)| (table, *id, row.clone())));
        }
        rows
    }

    /// Writes some of the reads. Returns true when they were the last.
    pub(super) fn read_some(&mut self, out: &mut Vec<Message>) -> bool {
        let Some(mut snapshot) = self.snapshot.take() else { return true };
        for _ in 0..1 + self.rng.below(40) {
            let Some((table, id, row)) = snapshot.rows.pop_front() else { return true };
            out.push(self.read_message(table, id, &row, Some(snapshot.lsn), snapshot.us));
        }
        self.snapshot = Some(snapshot);
        false
    }

    /// A snapshot that a signal requests.
    pub fn snapshot(&mut self, now_us: i64) -> Vec<Message> {
        if self.stream.is_none() || self.snapshot.is_some() {
            return Vec::new();
        }
        match self.rng.below(3) {
            // If a partition has three snapshots before its first change, nothing shows which of them ended the first
            // one.
            0 if self.kinds.snapshots && !self.retaken => {
                self.begin_snapshot(now_us, false);
                Vec::new()
            }
            1 if self.kinds.snapshots => self.incremental(now_us),
            _ => self.late(now_us),
        }
    }

    /// A window of an incremental snapshot. Rows are read between two marks in the log, and rows that changed between
    /// the marks are dropped. The rest is written at the second mark, without an LSN.
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

    /// Reads or writes a snapshot of some rows. The stream may have later changes of these rows before the reads come.
    /// This happens only if both the LSN and the time of a read show it, which they do not while transactions are open
    /// or clocks are set.
    fn late(&mut self, now_us: i64) -> Vec<Message> {
        if self.kinds.open || self.kinds.clocks || self.kinds.moving {
            return Vec::new();
        }
        if self.late.is_none() {
            self.lsn += 8;
            let rows = self.some_rows(3);
            self.late = Some((self.lsn, now_us.max(self.commit_us), rows));
            // If deletes have no LSN, a snapshot that is older than a delete would bring the row back.
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
