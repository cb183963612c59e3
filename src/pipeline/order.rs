//! Which of two records of one key is newer (N6). Pure. The facts behind the rules are in `docs/cdc.md`.
//!
//! Among streamed changes of one key LSNs rise in the order of commits: row locks see to it. A read's LSN says where
//! the log stood, not when the row was written: a change with a lower LSN may have been committed after the read. So
//! streamed changes are ordered by their LSNs, and a read and a change by their places in the partition.

use std::cmp::Ordering;

use crate::event::Outcome;
use crate::mutant::{self, Mutant};

use super::stored::{Place, ReadMark, StoredRow};

/// What is compared of a record.
#[derive(Clone, Copy, Debug)]
pub struct Incoming {
    pub kind: Kind,
    pub lsn: Option<u64>,
    /// Time of the source's commit or read, epoch microseconds.
    pub ts_us: Option<i64>,
    pub place: Place,
    /// Of the table at the record.
    pub epoch: u16,
    /// Records of two partitions may be of two logs: [`super::meta::TableMeta::mixed`].
    pub mixed: bool,
    /// It is a dead letter that is replayed: records that stood behind it may be applied already.
    pub replayed: bool,
    /// The row would be the stored one.
    pub same: bool,
}

/// What a record is to the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Read,
    Upsert,
    Delete,
    /// A truncate of the table: its place is not in the order of the row's key.
    Truncate,
}

/// How a record stands to the stored row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Newer,
    Skip(Outcome),
    /// Of a change and what was seen before it, the change is of a log that began again; their LSNs.
    Regression {
        lsn: u64,
        stored_lsn: u64,
    },
}

const STALE: Order = Order::Skip(Outcome::Stale);

impl Incoming {
    /// How the record stands to the stored row.
    pub fn against(&self, row: &StoredRow<'_>) -> Order {
        let raised = self.epoch > row.version.epoch;
        // Nothing else orders a record of the log before, which a person replays in a raised epoch.
        if self.replayed && (raised || self.mixed) && self.stands_before(row) {
            return STALE;
        }
        if raised {
            return self.against_earlier_epoch(row);
        }
        // LSNs of two logs may stand side by side in an epoch where one partition was behind when it was raised. Only
        // records of one partition are in the order of their log.
        if self.mixed && self.elsewhere(row) && self.ts_us != row.ts_us() && self.ts_us.is_some() {
            return if earlier(self.ts_us, row.ts_us()) { STALE } else { self.newer() };
        }
        match (self.kind, self.lsn) {
            (Kind::Read, _) => self.read(row),
            (Kind::Truncate, Some(lsn)) if self.elsewhere(row) => self.truncate(lsn, row),
            (_, Some(lsn)) => self.streamed(lsn, row),
            (_, None) => self.unnumbered(row),
        }
    }

    /// Whether the record stands before the row in the row's partition, or was committed before it elsewhere.
    fn stands_before(&self, row: &StoredRow<'_>) -> bool {
        if self.elsewhere(row) { earlier(self.ts_us, row.ts_us()) } else { !self.behind(row) }
    }

    /// LSNs of two epochs say nothing about each other. Of a key, changes come in their order; a snapshot that was read
    /// before, or a truncate in another partition, is known by its time. A truncate and a change of one time are of one log,
    /// and mostly of one transaction. A read with a higher LSN that stands behind the row in its partition is of the same log
    /// or of a later one: its time says nothing against it.
    fn against_earlier_epoch(&self, row: &StoredRow<'_>) -> Order {
        let same_time = self.ts_us.is_some() && self.ts_us == row.ts_us();
        let before = match self.kind {
            Kind::Upsert | Kind::Delete => false,
            Kind::Truncate if same_time => {
                matches!((self.lsn, row.history.newest()), (Some(lsn), Some(newest)) if lsn < newest.lsn)
            }
            Kind::Read if self.above_all(row) => false,
            Kind::Read | Kind::Truncate => earlier(self.ts_us, row.ts_us()),
        };
        if before { STALE } else { Order::Newer }
    }

    /// Whether the record stands behind the row in its partition, and has a higher LSN than all that is known of the row.
    fn above_all(&self, row: &StoredRow<'_>) -> bool {
        !self.elsewhere(row) && self.behind(row) && self.lsn > known_lsn(row)
    }

    /// A truncate in another partition than the row's, whose row is older by its LSN. It waits for every transaction that has
    /// written to the table: a change that it deletes is not later than it by the time, either. Where both disagree, the
    /// change is of a log that began again. A read's LSN says nothing against a later time (see [`Self::read`]).
    fn truncate(&self, lsn: u64, row: &StoredRow<'_>) -> Order {
        let order = self.streamed(lsn, row);
        match (order, row.read, row.history.newest()) {
            (Order::Newer, _, _) if !earlier(self.ts_us, row.ts_us()) => Order::Newer,
            (Order::Newer, None, Some(newest)) => Order::Regression { lsn: newest.lsn, stored_lsn: lsn },
            (Order::Newer, _, _) => STALE,
            (order, _, _) => order,
        }
    }

    fn streamed(&self, lsn: u64, row: &StoredRow<'_>) -> Order {
        let Some(newest) = row.history.newest() else { return self.against_read(row) };
        match lsn.cmp(&newest.lsn) {
            Ordering::Greater if row.read.is_some() => self.against_read(row),
            Ordering::Greater => Order::Newer,
            Ordering::Equal => self.equal(row),
            Ordering::Less => self.below(lsn, newest.lsn, row),
        }
    }

    /// The same LSN: the same change again, another change of the same statement, or the delete and the insert of a
    /// changed key, of which the insert is later.
    fn equal(&self, row: &StoredRow<'_>) -> Order {
        if self.same {
            return Order::Skip(Outcome::Duplicate);
        }
        match self.elsewhere(row) {
            true if self.kind == Kind::Upsert && !row.live() => Order::Newer,
            true => STALE,
            false if self.behind(row) => Order::Newer,
            false => STALE,
        }
    }

    /// A lower LSN than that of the newest streamed version. A redelivery repeats what was seen; what was not seen is of
    /// another log. What may be either is applied where it stands behind the row: a redelivery repeats all that follows, too.
    fn below(&self, lsn: u64, stored_lsn: u64, row: &StoredRow<'_>) -> Order {
        let known = row.history.contains(lsn, self.ts_us) && !mutant::is(Mutant::TellByClock);
        if known || (!self.elsewhere(row) && !self.behind(row)) {
            return STALE;
        }
        // A truncate is none of the row's versions.
        let covered = self.kind != Kind::Truncate && !self.elsewhere(row) && row.history.covers(lsn);
        let unseen = covered || later(self.ts_us, row.history.latest_us());
        match unseen {
            true => Order::Regression { lsn, stored_lsn },
            false if !self.elsewhere(row) && row.history.disputes(lsn, self.ts_us) => Order::Newer,
            false => STALE,
        }
    }

    /// A streamed change, where the content is a read's. It is taken also where it changes nothing: the row must know
    /// that it was seen.
    fn against_read(&self, row: &StoredRow<'_>) -> Order {
        let read = row.read.unwrap_or_default();
        let above = matches!((self.lsn, read.lsn), (Some(lsn), Some(read)) if lsn > read);
        let newer = match self.elsewhere(row) {
            true => above || !earlier_or_same(self.ts_us, read.ts_us),
            false => above || self.behind(row),
        };
        if newer { Order::Newer } else { STALE }
    }

    fn read(&self, row: &StoredRow<'_>) -> Order {
        let elsewhere = self.elsewhere(row);
        let latest_us = row.history.latest_us().max(row.read.and_then(|read| read.ts_us));
        let newer = match row.history.newest() {
            // The reads of a snapshot that a running connector takes may carry the LSN of its slot's beginning.
            Some(newest) if self.lsn.is_some_and(|lsn| lsn < newest.lsn) => {
                !elsewhere && self.behind(row) && later(self.ts_us, latest_us)
            }
            _ if elsewhere => !earlier(self.ts_us, row.ts_us()),
            _ => self.behind(row) && !self.older_read(row.read),
        };
        let known = known_lsn(row);
        // The stream never told this row, so each snapshot says anew whether the row exists.
        let other = row.history.untold() && self.lsn.is_some() && self.lsn != known;
        match newer {
            // The same row at a later place of the log is a version of its own.
            true if self.lsn > known || other => Order::Newer,
            true => self.newer(),
            false => STALE,
        }
    }

    /// An older snapshot than the stored one, by LSN and by time.
    fn older_read(&self, stored: Option<ReadMark>) -> bool {
        let Some(stored) = stored else { return false };
        self.lsn < stored.lsn && self.lsn.is_some() && earlier(self.ts_us, stored.ts_us)
    }

    /// A change without an LSN.
    fn unnumbered(&self, row: &StoredRow<'_>) -> Order {
        let newer = match self.elsewhere(row) {
            true => !earlier(self.ts_us, row.ts_us()),
            false => self.behind(row),
        };
        match (self.same, newer) {
            (true, _) => Order::Skip(Outcome::Duplicate),
            (false, true) => Order::Newer,
            (false, false) => STALE,
        }
    }

    fn newer(&self) -> Order {
        if self.same { Order::Skip(Outcome::Duplicate) } else { Order::Newer }
    }

    fn elsewhere(&self, row: &StoredRow<'_>) -> bool {
        self.place.elsewhere(&row.place) && !mutant::is(Mutant::CompareOffsets)
    }

    /// Meaningful within a partition.
    fn behind(&self, row: &StoredRow<'_>) -> bool {
        self.place.offset > row.place.offset
    }
}

/// The highest LSN that is known of the row.
fn known_lsn(row: &StoredRow<'_>) -> Option<u64> {
    row.history.newest().map(|newest| newest.lsn).max(row.read.and_then(|read| read.lsn))
}

pub(super) fn earlier(one_us: Option<i64>, than_us: Option<i64>) -> bool {
    matches!((one_us, than_us), (Some(one), Some(than)) if one < than)
}

fn earlier_or_same(one_us: Option<i64>, than_us: Option<i64>) -> bool {
    matches!((one_us, than_us), (Some(one), Some(than)) if one <= than)
}

pub(super) fn later(one_us: Option<i64>, than_us: Option<i64>) -> bool {
    earlier(than_us, one_us)
}

#[cfg(test)]
mod tests;
