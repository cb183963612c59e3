//! The streamed versions that a row remembers, and what a record adds to them, also across a raised epoch.

use crate::event::{Format, Op};
use crate::mutant::{self, Mutant};
use crate::pipeline::stored::{History, ReadMark, Seen, StoredRow};

use super::told::Told;

impl Told {
    /// The streamed versions, and the mark if the content is not from the newest of them.
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
                // The read is newer by its time than a version in another partition. The version may be of another
                // log, and then the changes after the read are newer than the version.
                if self.mixed && in_epoch.is_some_and(|row| self.place.elsewhere(&row.place)) {
                    history.forget();
                }
                (history, mark)
            }
            (_, None) => {
                // A null value that deletes has no LSN. If the connector repeats the rows before it, they count as
                // newer.
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
        // Another partition may still have older, unseen versions of the row. A lower LSN is of a log that began again,
        // or the redelivery of a forgotten version: in both cases the next versions are newer.
        if self.place.elsewhere(&stored.place) || history.newest().is_some_and(|newest| version.lsn < newest.lsn) {
            history.forget();
        // This is the first change of a row that came in a snapshot, so no version is before it.
        } else if stored.only_read() {
            return History::first(version, true);
        }
        history.push(version);
        history
    }

    /// The history across a raised epoch, with the first streamed version of the new epoch. If partitions were behind,
    /// this version may still be of the previous log. Earlier versions are kept only if their LSNs are in order with
    /// the new one. If all were kept, a delete of the new log would be compared with versions of the old log.
    fn carried(&self, version: Seen, stored: &StoredRow<'_>) -> History {
        let (mut history, created) = (stored.history, self.op == Op::Create);
        // The insert of a changed key has another row's values, and no LSN of the previous epoch is known for them.
        if !self.behind(stored) || self.renamed {
            return History::first(version, created);
        }
        if self.continues(stored) {
            history.push(version);
            return if created { history.from_beginning() } else { history };
        }
        // This is a redelivery of the previous log, and its next versions follow.
        if let Some(history) = history.back_to(&version) {
            return history;
        }
        // The version was never seen, so it is of the new log. Earlier records in the partition are of the old log.
        let began = history.newest().is_some() && history.covers(version.lsn);
        History::first(version, created || began || stored.only_read())
    }

    /// Whether the record comes after the row in the row's partition.
    fn behind(&self, stored: &StoredRow<'_>) -> bool {
        !self.place.elsewhere(&stored.place) && self.place.offset > stored.place.offset
    }

    /// Whether LSNs order the record and the known versions of the row, whose epoch may be an earlier one: in their
    /// partition they rise. If the log began again between the two, all versions of the new log have higher LSNs, too.
    fn continues(&self, stored: &StoredRow<'_>) -> bool {
        let (newest, lsn) = (stored.history.newest(), self.lsn.unwrap_or(0));
        let above = newest.is_some_and(|newest| lsn > newest.lsn || newest.is(lsn, self.ts_us));
        above && self.op != Op::Read && self.behind(stored)
    }

    /// The epoch whose LSNs can be compared with those of the row's values.
    pub(super) fn values_epoch(&self, stored: &StoredRow<'_>) -> u16 {
        if self.continues(stored) { stored.version.epoch } else { self.epoch }
    }
}
