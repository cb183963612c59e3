//! PostgreSQL's simulated log: transactions that may stay open, LSNs in the order of writing, and changes in the order
//! of commits.

use std::collections::BTreeSet;

use nova::event::{Id, Table};

use super::{Op, Product};

/// The largest amount by which a clock is set, in microseconds.
const CLOCK_MAX_US: u64 = 2 * 3_600_000_000;

/// The changes of a transaction, and the number of changes that are already in the log.
pub(super) struct Transaction {
    pub ops: Vec<Op>,
    pub written: usize,
    /// The keys of the rows that the transaction has locked.
    pub keys: BTreeSet<Id>,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Row(Op),
    Truncate { table: Table, lsn: u64 },
}

/// A change as the slot delivers it.
#[derive(Clone, Debug)]
pub(super) struct Committed {
    pub what: What,
    /// The time of the commit by the server's clock, in epoch microseconds.
    pub us: i64,
}

impl Product {
    /// Begins, writes and commits concurrent transactions. Some transactions stay open if the run has open
    /// transactions.
    pub(super) fn work(&mut self, now_us: i64) {
        for _ in 0..1 + self.rng.below(3) {
            let locked = self.open.iter().flat_map(|open| &open.keys).copied().collect();
            let transaction = self.transaction(now_us, &locked);
            self.open.push(transaction);
        }
        self.write_log(false);
        let mut at = 0;
        while let Some(open) = self.open.get(at) {
            if open.written < open.ops.len() || (self.kinds.open && self.rng.below(3) == 0) {
                at += 1;
            } else {
                let open = self.open.remove(at);
                self.commit(open, now_us);
            }
        }
    }

    /// Commits all open transactions.
    pub(super) fn commit_all(&mut self, now_us: i64) {
        self.write_log(true);
        for open in std::mem::take(&mut self.open) {
            self.commit(open, now_us);
        }
        assert!(self.latest == self.tables, "the model's own rows differ");
    }

    /// Assigns LSNs to changes when they are written, independently of the order of commits.
    fn write_log(&mut self, all: bool) {
        while let Some((pick, joined)) = self.pick_unwritten() {
            if self.kinds.open && !all && !joined && self.rng.below(8) == 0 {
                return;
            }
            if !joined {
                self.lsn += 8 + self.rng.below(100);
            }
            let open = &mut self.open[pick];
            open.ops[open.written].lsn = self.lsn;
            open.written += 1;
        }
    }

    /// Picks an open transaction that still has changes to write. A transaction whose next change shares the LSN of its
    /// previous change comes first.
    fn pick_unwritten(&mut self) -> Option<(usize, bool)> {
        let next = |one: usize| self.open[one].ops.get(self.open[one].written);
        let left: Vec<_> = (0..self.open.len()).filter(|one| next(*one).is_some()).collect();
        let joined = left.iter().find(|one| next(**one).is_some_and(|op| op.same_lsn));
        match (joined, left.len() as u64) {
            (Some(one), _) => Some((*one, true)),
            (None, 0) => None,
            (None, count) => Some((left[self.rng.below(count) as usize], false)),
        }
    }

    fn commit(&mut self, transaction: Transaction, now_us: i64) {
        let us = self.commit_time(now_us);
        for op in transaction.ops {
            let rows = &mut self.tables[op.table as usize];
            match &op.after {
                Some(row) => rows.insert(op.key, row.clone()),
                None => rows.remove(&op.key),
            };
            self.stream(Committed { what: What::Row(op), us });
        }
    }

    /// Returns the time of a commit by the server's clock. Times of commits rise unless the clock is set.
    fn commit_time(&mut self, now_us: i64) -> i64 {
        self.commit_us = self.next_commit_us(now_us);
        self.latest_us = self.latest_us.max(self.commit_us);
        self.commit_us
    }

    /// Returns the time that a commit would have now.
    pub(super) fn next_commit_us(&self, now_us: i64) -> i64 {
        let now_us = now_us + self.server_us;
        if self.kinds.clocks { now_us } else { now_us.max(self.commit_us + 1) }
    }

    fn stream(&mut self, committed: Committed) {
        if let Some(stream) = &mut self.stream {
            stream.push(committed);
        }
    }

    /// Truncates a table if no open transaction works on the table.
    pub(super) fn truncate_table(&mut self, table: Table, now_us: i64) {
        if self.open.iter().any(|open| open.ops.iter().any(|op| op.table == table)) {
            return;
        }
        self.lsn += 8;
        self.tables[table as usize].clear();
        self.latest[table as usize].clear();
        let us = self.commit_time(now_us);
        self.stream(Committed { what: What::Truncate { table, lsn: self.lsn }, us });
    }

    /// Sets the clocks of the server and of the connector, unless a table with several partitions was truncated (see
    /// [`Self::truncate`]).
    pub fn set_clocks(&mut self) {
        if self.kinds.clocks && (self.ordered || !self.truncated) {
            self.server_us = self.rng.below(2 * CLOCK_MAX_US) as i64 - CLOCK_MAX_US as i64;
            self.connector_us = self.rng.below(CLOCK_MAX_US) as i64 - CLOCK_MAX_US as i64 / 2;
        }
    }
}
