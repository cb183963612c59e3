//! Decides which of two records of one key is newer (rule N6). The module `order` does no I/O. `docs/cdc.md` has the
//! facts on which the rules of the order rest.
//!
//! Because of PostgreSQL's row locks, the LSNs of the streamed changes of one key rise in the order of the commits. The
//! LSN of a read is the position of the log at the snapshot, not at the write of the row: a change with a lower LSN may
//! have been committed after the read. So nova orders two streamed changes by their LSNs, and a read and a change by
//! their places in the partition.

use std::cmp::Ordering;

use crate::event::Outcome;
use crate::mutant::{self, Mutant};

use super::stored::{Place, ReadMark, StoredRow};

/// The parts of a record that are compared with a stored row.
#[derive(Clone, Copy, Debug)]
pub struct Incoming {
    pub kind: Kind,
    pub lsn: Option<u64>,
    /// The time at which the source committed the change or read the row, epoch microseconds.
    pub ts_us: Option<i64>,
    pub place: Place,
    /// The epoch that the table had when the record came.
    pub epoch: u16,
    /// Whether the records of two partitions may be of two logs (see [`super::meta::TableMeta::mixed`]).
    pub mixed: bool,
    /// Whether the table's topic has several partitions.
    pub divided: bool,
    /// Whether the record is a replayed dead letter. Records that came after a replayed dead letter may already be
    /// applied.
    pub replayed: bool,
    /// Whether the record's row equals the stored row.
    pub same: bool,
}

/// The kinds of records that the order distinguishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Read,
    Upsert,
    Delete,
    /// A truncate of the table. The rule that the LSNs of one key rise does not hold for a truncate.
    Truncate,
}

/// The relation of a record to the stored row of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Newer,
    Skip(Outcome),
    /// The change belongs to a log that began again. The fields are the change's LSN and the higher LSN that nova saw
    /// before.
    Regression {
        lsn: u64,
        stored_lsn: u64,
    },
}

const STALE: Order = Order::Skip(Outcome::Stale);

impl Incoming {
    /// Returns the relation of the record to the stored row.
    pub fn against(&self, row: &StoredRow<'_>) -> Order {
        let raised = self.epoch > row.version.epoch;
        // If a person replays a record of the previous log in a raised epoch, only the place of the record shows that
        // the record is old.
        if self.replayed && (raised || self.mixed) && self.stands_before(row) {
            return STALE;
        }
        if raised {
            return self.against_earlier_epoch(row);
        }
        // One epoch may have LSNs of two logs, if one partition was behind the others when the epoch was raised. Only
        // the records of one partition are surely in the order of their log.
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

    /// Whether the record comes before the row in the row's partition, or, in another partition, was committed before
    /// the row.
    fn stands_before(&self, row: &StoredRow<'_>) -> bool {
        if self.elsewhere(row) { earlier(self.ts_us, row.ts_us()) } else { !self.behind(row) }
    }

    /// LSNs of two epochs cannot be compared. The changes of one key come in the order of their commits. A read may be
    /// from an earlier snapshot, and a truncate may be in another partition, so the times show which is older: the
    /// record or the row. A truncate and a change with the same commit time are of one log, and mostly of one
    /// transaction. If a read comes after the row in the row's partition and has a higher LSN than the row, the read is
    /// of the same log or of a later log, whatever its time is.
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

    /// Whether the record comes after the row in the row's partition and has a higher LSN than all known versions of
    /// the row.
    fn above_all(&self, row: &StoredRow<'_>) -> bool {
        !self.elsewhere(row) && self.behind(row) && self.lsn > known_lsn(row)
    }

    /// Judges a truncate in another partition than the row. A truncate waits for every transaction that has written to
    /// the table. So a change that the truncate deletes never has a later time than the truncate. If the LSNs and the
    /// times of a change and a truncate disagree, the change is of a log that began again. The LSN of a read proves
    /// nothing if the read has a later time than the truncate (see [`Self::read`]).
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

    /// Judges a record whose LSN equals the row's LSN. The record may be a redelivery of the change, or another change
    /// of the same statement. If a key was changed, its delete and its insert have the same LSN, and the insert is
    /// later.
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

    /// Judges a record whose LSN is lower than the LSN of the newest streamed version. A redelivery repeats versions
    /// that nova has seen. A version that nova has not seen is of a different log than the row. If a record's time
    /// contradicts its LSN, nova cannot tell whether the record is a redelivery, and applies the record if it comes
    /// after the row in the row's partition. A redelivered record does no harm, because the source also repeats all
    /// later records.
    fn below(&self, lsn: u64, stored_lsn: u64, row: &StoredRow<'_>) -> Order {
        let known = row.history.contains(lsn, self.ts_us) && !mutant::is(Mutant::TellByClock);
        if known || (!self.elsewhere(row) && !self.behind(row)) {
            return STALE;
        }
        // A truncate is not a version of the row.
        let covered = self.kind != Kind::Truncate && !self.elsewhere(row) && row.history.covers(lsn);
        let unseen = covered || later(self.ts_us, row.history.latest_us());
        match unseen {
            true => Order::Regression { lsn, stored_lsn },
            // nova remembers the truncates that it has applied (`TableMeta::truncated`), so this truncate is new in its
            // partition. Either the log began again and its clock is behind, or the truncate is a redelivery, and the
            // rows that were written after it come again. If the topic has several partitions, the redelivery may come
            // in a different partition than a first delivery that nova has not read yet, and the deleted row would
            // lack the values that its key's next row needs.
            false if !self.divided && !self.elsewhere(row) && self.kind == Kind::Truncate => Order::Newer,
            false if !self.elsewhere(row) && row.history.disputes(lsn, self.ts_us) => Order::Newer,
            false => STALE,
        }
    }

    /// Judges a streamed change if the row's content is from a read. nova applies the change even if the change has no
    /// effect on the values, because the row must remember that nova has seen the change.
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
            // A snapshot that is taken while changes are streamed may give its reads the LSN at which the slot begins.
            Some(newest) if self.lsn.is_some_and(|lsn| lsn < newest.lsn) => {
                !elsewhere && self.behind(row) && later(self.ts_us, latest_us)
            }
            _ if elsewhere => !earlier(self.ts_us, row.ts_us()),
            _ => self.behind(row) && !self.older_read(row.read),
        };
        let known = known_lsn(row);
        // The stream never had a change of this row, so each snapshot decides whether the row exists.
        let other = row.history.untold() && self.lsn.is_some() && self.lsn != known;
        match newer {
            // An equal row at a later position of the log is a version of its own.
            true if self.lsn > known || other => Order::Newer,
            true => self.newer(),
            false => STALE,
        }
    }

    /// Whether the read has a lower LSN and an earlier time than the stored read, so that it is from an older snapshot.
    fn older_read(&self, stored: Option<ReadMark>) -> bool {
        let Some(stored) = stored else { return false };
        self.lsn < stored.lsn && self.lsn.is_some() && earlier(self.ts_us, stored.ts_us)
    }

    /// Judges a change that has no LSN.
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

    /// Whether the record comes after the row in the order of offsets. `behind` has a meaning only if the record and
    /// the row are in the same partition.
    fn behind(&self, row: &StoredRow<'_>) -> bool {
        self.place.offset > row.place.offset
    }
}

/// The highest LSN that is known for the row.
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
