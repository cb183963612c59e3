//! Adds the version of a record to the streamed versions that a row remembers. The epoch may have been raised after the
//! remembered versions.

use crate::event::{Format, Op};
use crate::mutant::{self, Mutant};
use crate::pipeline::stored::{History, ReadMark, Seen, StoredRow};

use super::told::Told;

impl Told {
    /// The streamed versions of the row, and a `ReadMark` if the row's content is not from the newest streamed version.
    pub(super) fn history(
        &self,
        stored: Option<&StoredRow<'_>>,
        format: Format,
        upsert: bool,
    ) -> (History, Option<ReadMark>) {
        let in_epoch = stored.filter(|row| row.version.epoch == self.epoch);
        let mut history = in_epoch.map(|row| row.history).unwrap_or_default();
        let mark = Some(ReadMark { lsn: self.lsn, ts_us: self.ts_us });
        match (self.op, self.lsn) {
            (Op::Read, lsn) if lsn.is_none() || !mutant::is(Mutant::ReadsAreChanges) => {
                // The read's time is not earlier than the time of the row's version in another partition. A version in
                // another partition may be of another log, so changes after the read count as newer than that version.
                if self.mixed && in_epoch.is_some_and(|row| self.place.elsewhere(&row.place)) {
                    history.forget();
                }
                (history, mark)
            }
            (_, None) => {
                // A null value that deletes a row has no LSN. If the connector repeats changes that the row had before
                // the delete, these changes count as newer than the delete.
                if !upsert && format == Format::FlatTombstone {
                    history.forget();
                }
                (history, mark)
            }
            (op, Some(lsn)) => {
                let version = Seen { lsn, ts_us: self.ts_us };
                let Some(stored) = stored else { return (History::first(version, op == Op::Create), None) };
                (self.streamed(version, stored), None)
            }
        }
    }

    /// The history of a stored row with one more streamed version.
    fn streamed(&self, version: Seen, stored: &StoredRow<'_>) -> History {
        if stored.version.epoch != self.epoch {
            return self.carried(version, stored);
        }
        let mut history = stored.history;
        // Another partition may still have earlier versions of the row that nova has not seen. If a version's LSN is
        // lower than the LSN of an earlier version, the log began again, or a forgotten version is delivered again. In
        // both cases nova forgets the earlier versions, because the versions that follow are newer.
        if self.place.elsewhere(&stored.place) || history.newest().is_some_and(|newest| version.lsn < newest.lsn) {
            history.forget();
        // The row came in a snapshot and this is the row's first change, so no earlier streamed version exists.
        } else if stored.only_read() {
            return History::first(version, true);
        }
        history.push(version);
        history
    }

    /// Returns the row's history with the first streamed version of a raised epoch. If a partition was behind the
    /// others when the epoch was raised, the first version of the new epoch may still be of the previous log. Earlier
    /// versions are kept only if their LSNs are in order with the LSN of the new version. If all earlier versions were
    /// kept, a delete of the new log would be compared with versions of the old log.
    fn carried(&self, version: Seen, stored: &StoredRow<'_>) -> History {
        let (mut history, created) = (stored.history, self.op == Op::Create);
        // The insert of a changed key has values of the row under the old key, and no LSN of the previous epoch is
        // known for these values.
        if !self.behind(stored) || self.renamed {
            return History::first(version, created);
        }
        if self.continues(stored) {
            history.push(version);
            return if created { history.from_beginning() } else { history };
        }
        // The version is a redelivery from the previous log, and the next versions of that log follow.
        if let Some(history) = history.back_to(&version) {
            return history;
        }
        // The version was never seen, so it is of the new log. Earlier records of the version's partition are of the
        // old log.
        let began = history.newest().is_some() && history.covers(version.lsn);
        History::first(version, created || began || stored.only_read())
    }

    /// Whether the record comes after the stored row in the row's own partition.
    fn behind(&self, stored: &StoredRow<'_>) -> bool {
        !self.place.elsewhere(&stored.place) && self.place.offset > stored.place.offset
    }

    /// Whether the LSNs give the order of the record and the known versions of the row. The row may be from an earlier
    /// epoch. In one partition of one log, LSNs rise. The log may have begun again after the row's versions. If the
    /// record's LSN is nevertheless higher than the row's, all later versions of the new log also have higher LSNs than
    /// the row.
    fn continues(&self, stored: &StoredRow<'_>) -> bool {
        let (newest, lsn) = (stored.history.newest(), self.lsn.unwrap_or(0));
        let above = newest.is_some_and(|newest| lsn > newest.lsn || newest.is(lsn, self.ts_us));
        above && self.op != Op::Read && self.behind(stored)
    }

    /// The epoch whose LSNs can be compared with the LSNs of the row's values.
    pub(super) fn values_epoch(&self, stored: &StoredRow<'_>) -> u16 {
        if self.continues(stored) { stored.version.epoch } else { self.epoch }
    }
}
