//! The streamed versions that a row remembers, and what a record adds to them, also over a raised epoch.

use crate::event::{Format, Op};
use crate::mutant::{self, Mutant};
use crate::pipeline::stored::{History, ReadMark, Seen, StoredRow};

use super::told::Told;

impl Told {
    /// The versions that the stream has told, and whether the content is another's.
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
                // Newer by its time than what another partition told: that may be of another log, and the changes that
                // stand behind the read are newer than it.
                if self.mixed && in_epoch.is_some_and(|row| self.place.elsewhere(&row.place)) {
                    history.forget();
                }
                (history, mark)
            }
            (_, None) => {
                // A null value that deletes has no LSN. Where the connector repeats the rows before it, they are newer.
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

    /// The history of a stored row with a streamed version more.
    fn streamed(&self, version: Seen, stored: &StoredRow<'_>) -> History {
        if stored.version.epoch != self.epoch {
            return self.carried(version, stored);
        }
        let mut history = stored.history;
        // What another partition still holds of the row may be older, and was not seen. A lower LSN is of a log that began
        // again, or the redelivery of a version that was forgotten: whichever it is, what follows is newer.
        if self.place.elsewhere(&stored.place) || history.newest().is_some_and(|newest| version.lsn < newest.lsn) {
            history.forget();
        // The first change of a row that a snapshot told: nothing of it stands before.
        } else if stored.only_read() {
            return History::first(version, true);
        }
        history.push(version);
        history
    }

    /// The history over a raised epoch, with the first streamed version of the new one. Where partitions were behind, it may
    /// still be one of the log before. The versions from before are kept only where they are in the order of their LSNs
    /// with those that come: else a delete of the new log would be compared with versions of the old one.
    fn carried(&self, version: Seen, stored: &StoredRow<'_>) -> History {
        let (mut history, created) = (stored.history, self.op == Op::Create);
        // The insert of a changed key has another row's values. Of these no LSN of the epoch before is known.
        if !self.behind(stored) || self.renamed {
            return History::first(version, created);
        }
        if self.continues(stored) {
            history.push(version);
            return if created { history.from_beginning() } else { history };
        }
        // A redelivery of the log before: its next versions follow.
        if let Some(history) = history.back_to(&version) {
            return history;
        }
        // Never seen, so it is of the new log. What stands before it in the partition is of the old one.
        let began = history.newest().is_some() && history.covers(version.lsn);
        History::first(version, created || began || stored.only_read())
    }

    /// Whether the record stands behind the row in the row's partition.
    fn behind(&self, stored: &StoredRow<'_>) -> bool {
        !self.place.elsewhere(&stored.place) && self.place.offset > stored.place.offset
    }

    /// Whether LSNs order the record and what is known of the row, whose epoch may be an earlier one: in their partition
    /// they rise. If the log began again between the two, all that it tells of the row has a higher LSN, too.
    fn continues(&self, stored: &StoredRow<'_>) -> bool {
        let (newest, lsn) = (stored.history.newest(), self.lsn.unwrap_or(0));
        let above = newest.is_some_and(|newest| lsn > newest.lsn || newest.is(lsn, self.ts_us));
        above && self.op != Op::Read && self.behind(stored)
    }

    /// The epoch with whose LSNs those of the row's values are compared.
    pub(super) fn values_epoch(&self, stored: &StoredRow<'_>) -> u16 {
        if self.continues(stored) { stored.version.epoch } else { self.epoch }
    }
}
